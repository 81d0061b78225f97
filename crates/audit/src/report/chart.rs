//! The timeline as a drawing: above, how many calls began when; below, how long each took, on a logarithmic scale.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::text::{counted, duration, number};
use super::timeline::{Bin, SCALE, Timeline};
use crate::Timestamp;

const WIDTH: i64 = 960;
const LEFT: i64 = 64;
const RIGHT: i64 = 12;
const BARS_TOP: i64 = 16;
const BARS_HEIGHT: i64 = 110;
const DOTS_TOP: i64 = BARS_TOP + BARS_HEIGHT + 34;
const DOTS_HEIGHT: i64 = 170;
const HEIGHT: i64 = DOTS_TOP + DOTS_HEIGHT + 34;

const MAX_BAR: f64 = 20.0;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// Distances between the marks of the time axis.
const TICKS: [i64; 24] = [
    SECOND / 100,
    SECOND / 50,
    SECOND / 20,
    SECOND / 10,
    SECOND / 5,
    SECOND / 2,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    15 * SECOND,
    30 * SECOND,
    60 * SECOND,
    5 * 60 * SECOND,
    15 * 60 * SECOND,
    30 * 60 * SECOND,
    3_600 * SECOND,
    3 * 3_600 * SECOND,
    6 * 3_600 * SECOND,
    12 * 3_600 * SECOND,
    DAY,
    2 * DAY,
    7 * DAY,
    30 * DAY,
    365 * DAY,
];

pub(crate) fn chart(timeline: &Timeline) -> Markup {
    let highest = timeline.bins().iter().map(Bin::total).max().unwrap_or(0).max(1);
    let calls: u64 = timeline.bins().iter().map(Bin::total).sum();
    let failures: u64 = timeline.bins().iter().map(|bin| bin.failure).sum();
    let summary = format!("{} over time, {} of them failed", counted(calls, "call"), number(failures));
    html! {
        svg .chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(summary) {
            (axes(timeline, highest))
            @for (index, bin) in timeline.bins().iter().enumerate() {
                (bar(timeline, index, bin, highest))
            }
            @for (index, bin) in timeline.bins().iter().enumerate() {
                (dots(timeline, index, bin))
            }
        }
    }
}

fn axes(timeline: &Timeline, highest: u64) -> Markup {
    let (start, end) = timeline.range();
    let (bars_bottom, dots_bottom) = (BARS_TOP + BARS_HEIGHT, DOTS_TOP + DOTS_HEIGHT);
    let step = TICKS.into_iter().find(|step| (end - start) / step <= 7).unwrap_or(100 * 365 * DAY);
    let first = start.div_euclid(step) * step + if start.rem_euclid(step) == 0 { 0 } else { step };
    let ticks: Vec<i64> = (0..).map(|count| first + count * step).take_while(|time| *time <= end).collect();
    html! {
        text .axis-name x=(LEFT) y=(BARS_TOP - 5) { "calls" }
        text .axis-name x=(LEFT) y=(DOTS_TOP - 8) { "time taken" }
        @for (count, y) in [(highest, BARS_TOP), (0, bars_bottom)] {
            line .grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(y) y2=(y) {}
            text .tick .end x=(LEFT - 8) y=(y + 4) { (number(count)) }
        }
        @for (at, name) in [(0, "1 ms"), (4, "10 ms"), (8, "100 ms"), (12, "1 s"), (16, "10 s"), (20, "100 s")] {
            @let y = dots_bottom - DOTS_HEIGHT * at / SCALE as i64;
            line .grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(y) y2=(y) {}
            text .tick .end x=(LEFT - 8) y=(y + 4) { (name) }
        }
        @for time in ticks {
            @let x = x_of(timeline, time);
            line .grid x1=(x) x2=(x) y1=(BARS_TOP) y2=(dots_bottom) {}
            text .tick .middle x=(x) y=(dots_bottom + 18) { (tick_label(time, step)) }
        }
    }
}

fn bar(timeline: &Timeline, index: usize, bin: &Bin, highest: u64) -> Markup {
    let (x, next) =
        (x_of(timeline, timeline.bin_start(index)), x_of(timeline, timeline.bin_start(index + 1)));
    // A few calls are no blocks.
    let width = (next - x - 0.8).clamp(0.8, MAX_BAR);
    let x = (x + next - width) / 2.0;
    let mut y = (BARS_TOP + BARS_HEIGHT) as f64;
    let mut pieces = Vec::new();
    for (count, class) in [(bin.success, "ok"), (bin.failure, "bad"), (bin.unknown, "open")] {
        if count > 0 {
            // One call among thousands is still a line.
            let height = (BARS_HEIGHT as f64 * count as f64 / highest as f64).max(1.5);
            y -= height;
            pieces.push((class, one_decimal(y), one_decimal(height)));
        }
    }
    html! {
        @if !pieces.is_empty() {
            g {
                title { (bin_title(timeline, index, bin)) }
                @for (class, y, height) in pieces {
                    rect class=(class) x=(one_decimal(x)) y=(y) width=(one_decimal(width)) height=(height) {}
                }
            }
        }
    }
}

/// Successes as circles, failures as squares that stand on a corner: the difference survives a black printer.
fn dots(timeline: &Timeline, index: usize, bin: &Bin) -> Markup {
    let x = (x_of(timeline, timeline.bin_start(index)) + x_of(timeline, timeline.bin_start(index + 1))) / 2.0;
    let y_of = |step: usize| {
        (DOTS_TOP + DOTS_HEIGHT) as f64 - DOTS_HEIGHT as f64 * (step as f64 + 0.5) / SCALE as f64
    };
    let size = |count: u64| 2.0 + (count as f64).log10() * 0.8;
    let [successes, failures] = &bin.durations;
    html! {
        @for (step, count) in successes.iter().enumerate().filter(|(_, count)| **count > 0) {
            circle .ok cx=(one_decimal(x)) cy=(one_decimal(y_of(step))) r=(one_decimal(size(*count))) {
                @if *count > 1 { title { (counted(*count, "call")) } }
            }
        }
        @for (step, count) in failures.iter().enumerate().filter(|(_, count)| **count > 0) {
            path .bad d=(diamond(x, y_of(step), size(*count) + 1.0)) {
                title { (counted(*count, "failure")) }
            }
        }
    }
}

fn diamond(x: f64, y: f64, size: f64) -> String {
    let (left, right, top, bottom) = (x - size, x + size, y - size, y + size);
    format!("M{left:.1} {y:.1}L{x:.1} {top:.1}L{right:.1} {y:.1}L{x:.1} {bottom:.1}Z")
}

fn x_of(timeline: &Timeline, time: i64) -> f64 {
    let (start, end) = timeline.range();
    let width = (WIDTH - LEFT - RIGHT) as f64;
    LEFT as f64 + width * (time - start) as f64 / (end - start).max(1) as f64
}

fn one_decimal(number: f64) -> String {
    format!("{number:.1}")
}

/// As much of the time as tells marks of this distance apart.
fn tick_label(micros: i64, step: i64) -> String {
    let text = Timestamp::from_micros(micros).to_string();
    let (day, time) = (text.get(..10).unwrap_or_default(), text.get(11..).unwrap_or_default());
    match step {
        ..SECOND => time.get(..12).unwrap_or_default().trim_end_matches('0').trim_end_matches('.').to_owned(),
        SECOND..60_000_000 => time.get(..8).unwrap_or_default().to_owned(),
        60_000_000..DAY if time.starts_with("00:00") => day.to_owned(),
        60_000_000..DAY => time.get(..5).unwrap_or_default().to_owned(),
        _ => day.to_owned(),
    }
}

fn bin_title(timeline: &Timeline, index: usize, bin: &Bin) -> String {
    let began = Timestamp::from_micros(timeline.bin_start(index)).to_string();
    let began = super::text::time(&began);
    let length = timeline.bin_start(index + 1) - timeline.bin_start(index);
    let mut title = format!("{began}, within {}: ", duration(length.unsigned_abs()));
    // A String takes any text.
    let _written = write!(title, "{} succeeded, {} failed", number(bin.success), number(bin.failure));
    if bin.unknown > 0 {
        let _written = write!(title, ", {} without an outcome", number(bin.unknown));
    }
    title
}
