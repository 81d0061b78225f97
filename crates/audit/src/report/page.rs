//! The page itself, section by section.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::chart;
use super::tally::{Call, End, MAX_CALLS, MAX_FAILURES, Table, Tally, ToolTally};
use super::text::{counted, duration, from_log, number, short_id, time, tool};
use super::{MAX_SKIPPED, Report};
use crate::chain::sha256;
use crate::{VerifyLevel, VerifyReport};

const STYLE: &str = include_str!("style.css");
/// Rows of a table; the rest is counted.
const MAX_ROWS: usize = 50;

pub(super) fn page(report: &Report) -> Markup {
    let tally = &report.tally;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                meta name="color-scheme" content="light dark";
                title { "Agent activity report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    p .brand { "entrabot audit" }
                    h1 { "Agent activity report" }
                    p .lead { (headline(tally)) }
                    @if !report.filter.is_empty() {
                        p .filter {
                            "Only events with "
                            @for (index, (name, value)) in report.filter.iter().enumerate() {
                                @if index > 0 { ", " }
                                (name) " " code { (from_log(value)) }
                            }
                        }
                    }
                }
                main {
                    (verdict(&report.verified))
                    (figures(tally))
                    (actors(tally))
                    (when(tally))
                    (tools(tally))
                    (failures(tally))
                    (without_outcome(report))
                    (latest(report))
                    (statements(tally))
                    (evidence(report))
                }
                footer {
                    "Made " (time(&report.generated.to_string())) " UTC by entrabot " (env!("CARGO_PKG_VERSION"))
                    " from " code { (from_log(&report.dir)) } ". All times are UTC. A record holds who, what and when, and"
                    " nothing of the content: no document, address or message can be on this page."
                }
            }
        }
    }
}

/// Nothing may run and nothing may be loaded; the one style sheet is named by its hash.
fn policy() -> String {
    let hash = STANDARD.encode(sha256(STYLE.as_bytes()));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'")
}

fn headline(tally: &Tally) -> Markup {
    let agents: std::collections::BTreeSet<_> = tally.actors.rows.keys().map(|actor| &actor.id).collect();
    let range = match (&tally.first, &tally.last) {
        (Some(first), Some(last)) if first.get(..16) == last.get(..16) => format!("at {}", minute(first)),
        (Some(first), Some(last)) => format!("from {} to {}", minute(first), minute(last)),
        _ => String::new(),
    };
    html! {
        @if tally.events == 0 {
            "Nothing is on record here."
        } @else {
            (counted(agents.len() as u64, "actor")) " made " (counted(tally.calls(), "call")) ", " (range) " UTC."
        }
    }
}

fn minute(timestamp: &str) -> String {
    time(timestamp).get(..16).map_or_else(|| time(timestamp), str::to_owned)
}

/// What can be said about the log as a whole, in one box.
fn verdict(verified: &VerifyReport) -> Markup {
    let (class, sign, title, text) = match (&verified.first_error, verified.level) {
        (Some(_), _) => (
            "bad",
            "✕",
            "The log is not intact",
            "Something was changed, removed or added. What follows is what the lines say, and may be false.",
        ),
        (None, _) if verified.events + verified.foreign == 0 => {
            ("plain", "–", "The log is empty", "There is nothing to verify yet.")
        }
        (None, VerifyLevel::Chain) => (
            "weak",
            "!",
            "The lines hang together, and nothing more is known",
            "No signed checkpoint was checked: whoever can write the directory could have written all of it anew.",
        ),
        (None, VerifyLevel::Signed) => (
            "good",
            "✓",
            "The log is intact and signed",
            "A signed checkpoint covers it. Whether lines after the last checkpoint were cut off is not known here.",
        ),
        (None, VerifyLevel::Anchored) => (
            "good",
            "✓",
            "The log is intact, signed and anchored",
            "No line was changed, removed, added or moved, and none is missing at the end.",
        ),
        (None, VerifyLevel::Witnessed) => (
            "good",
            "✓",
            "The log is intact, signed, anchored and witnessed",
            "No line was changed, removed, added or moved, and an independent witness cosigned the last checkpoint.",
        ),
    };
    html! {
        section .verdict .(class) aria-label="Verdict" {
            span .sign aria-hidden="true" { (sign) }
            div {
                h2 { (title) }
                p { (text) }
                @if let Some(error) = &verified.first_error {
                    p .where {
                        code { (from_log(&error.file)) @if error.line > 0 { ", line " (number(error.line)) } }
                        ": " (from_log(&error.reason))
                    }
                }
            }
        }
    }
}

fn figures(tally: &Tally) -> Markup {
    let figure = |value: u64, one: &str, many: &str, class: &str| {
        html! {
            div .figure {
                dd class=(if value > 0 { class } else { "" }) { (number(value)) }
                dt { (if value == 1 { one } else { many }) }
            }
        }
    };
    html! {
        section aria-label="Figures" {
            dl .figures {
                (figure(tally.calls(), "call", "calls", ""))
                (figure(tally.success, "succeeded", "succeeded", "ok"))
                (figure(tally.failure, "failed", "failed", "bad"))
                (figure(tally.unknown, "outcome unknown", "outcome unknown", "open"))
                (figure(tally.events, "event on record", "events on record", ""))
            }
        }
    }
}

fn actors(tally: &Tally) -> Markup {
    html! {
        section {
            h2 { "Who acted, and for whom" }
            @if tally.actors.rows.is_empty() { p .none { "Nobody." } } @else {
                table {
                    thead { tr {
                        th { "Actor" } th { "Acted" } th { "Known by" }
                        th .n { "Calls" } th .n { "Failed" } th .n { "Other records" } th { "Last (UTC)" }
                    } }
                    tbody {
                        @for (actor, counts) in tally.actors.rows.iter().take(MAX_ROWS) {
                            tr {
                                td .whole { code { (from_log(&actor.id)) } }
                                td { (acted(&actor.attribution)) }
                                td .whole { (known_by(&actor.via)) }
                                td .n { (number(counts.calls)) }
                                td .n .bad[counts.failures > 0] { (number(counts.failures)) }
                                td .n { (number(counts.statements)) }
                                td .time { (time(&counts.last)) }
                            }
                        }
                    }
                }
                (left_out(&tally.actors, "actor"))
            }
        }
    }
}

fn acted(attribution: &str) -> Markup {
    html! {
        @match attribution {
            "agent" => { "as itself, under its own identity" }
            "delegated-human" => { strong { "for a person" } ", with that person's token" }
            "none" => { "before there was an identity" }
            other => { (from_log(other)) }
        }
    }
}

fn known_by(via: &str) -> String {
    match via {
        "session" => "its sign-in".to_owned(),
        "agent_id" => "the settings (agent id)".to_owned(),
        "blueprint_app_id" => "the settings (blueprint)".to_owned(),
        "store" => "the keyring".to_owned(),
        "none" => "–".to_owned(),
        other => from_log(other),
    }
}

fn when(tally: &Tally) -> Markup {
    html! {
        section .when {
            h2 { "When" }
            @if tally.timeline.bins().is_empty() { p .none { "No calls." } } @else {
                (legend())
                (chart(&tally.timeline))
            }
        }
    }
}

fn legend() -> Markup {
    html! {
        p .legend {
            @for (class, name) in [("ok", "succeeded"), ("bad", "failed"), ("open", "outcome unknown")] {
                span {
                    svg viewBox="0 0 10 10" aria-hidden="true" {
                        @if class == "bad" { path .bad d="M0 5L5 0L10 5L5 10Z" {} }
                        @else if class == "ok" { circle .ok cx="5" cy="5" r="4" {} }
                        @else { rect class=(class) x="1" y="1" width="8" height="8" {} }
                    }
                    (name)
                }
            }
        }
    }
}

fn tools(tally: &Tally) -> Markup {
    let mut rows: Vec<_> = tally.tools.rows.iter().collect();
    rows.sort_unstable_by(|(one, a), (other, b)| b.calls().cmp(&a.calls()).then(one.cmp(other)));
    let most = rows.first().map_or(1, |(_, counts)| counts.calls()).max(1);
    html! {
        section {
            h2 { "Calls by tool" }
            @if rows.is_empty() { p .none { "No calls." } } @else {
                table {
                    thead { tr {
                        th { "Tool" } th .n { "Calls" } th .bars {} th .n { "Failed" }
                        th .n { "Median" } th .n { "95 %" } th .n { "Longest" }
                    } }
                    tbody {
                        @for (action, counts) in rows.iter().take(MAX_ROWS) {
                            tr {
                                td { (tool_name(action)) }
                                td .n { (number(counts.calls())) }
                                td .bars { (share(counts, most)) }
                                td .n .bad[counts.failure > 0] { (number(counts.failure)) }
                                td .n { (optional(counts.durations.quantile(50))) }
                                td .n { (optional(counts.durations.quantile(95))) }
                                td .n { (optional(counts.durations.longest())) }
                            }
                        }
                    }
                }
                (left_out(&tally.tools, "tool"))
                p .note { "Median and 95 % are right to within 5 %." }
            }
        }
    }
}

fn tool_name(action: &str) -> Markup {
    let (tool, server) = tool(action);
    html! { code { (tool) } @if let Some(server) = server { " " span .server { (server) } } }
}

fn optional(micros: Option<u64>) -> String {
    micros.map_or_else(|| "–".to_owned(), duration)
}

/// A bar as long as the tool's share of the most used one's calls.
fn share(counts: &ToolTally, most: u64) -> Markup {
    let length = |count: u64| count as f64 / most as f64 * 100.0;
    let mut x = 0.0;
    let mut pieces = Vec::new();
    for (count, class) in [(counts.success, "ok"), (counts.failure, "bad"), (counts.unknown, "open")] {
        if count > 0 {
            let width = length(count).max(0.8);
            pieces.push((class, format!("{x:.1}"), format!("{width:.1}")));
            x += width;
        }
    }
    html! {
        svg .share viewBox="0 0 102 10" preserveAspectRatio="none" aria-hidden="true" {
            @for (class, x, width) in pieces { rect class=(class) x=(x) y="1" width=(width) height="8" {} }
        }
    }
}

fn failures(tally: &Tally) -> Markup {
    let mut rows: Vec<_> = tally.reasons.rows.iter().collect();
    rows.sort_unstable_by(|(one, a), (other, b)| b.count.cmp(&a.count).then(one.cmp(other)));
    let nameless = rows.iter().any(|((_, reason), _)| reason.is_none());
    html! {
        section {
            h2 { "Failures" }
            @if rows.is_empty() { p .none { "No call failed." } } @else {
                table {
                    thead { tr { th { "Tool" } th { "Reason" } th .n { "Times" } th { "Last (UTC)" } } }
                    tbody {
                        @for ((action, reason), counts) in rows.iter().take(MAX_ROWS) {
                            tr {
                                td { (tool_name(action)) }
                                td { (self::reason(reason.as_deref())) }
                                td .n { (number(counts.count)) }
                                td .time { (time(&counts.last)) }
                            }
                        }
                    }
                }
                (left_out(&tally.reasons, "kind"))
                @if nameless {
                    p .note {
                        "A record of a Work IQ call holds the names of server and tool and nothing else, so its failure"
                        " bears no reason. The caller was told the reason at the time."
                    }
                }
                h3 { "One by one" }
                (calls(tally.failures.iter().rev()))
                @if tally.failure > MAX_FAILURES as u64 {
                    p .note { "The last " (number(MAX_FAILURES as u64)) " of " (number(tally.failure)) " failures." }
                }
            }
        }
    }
}

fn reason(reason: Option<&str>) -> Markup {
    html! { @match reason {
        Some(name) => code { (from_log(name)) },
        None => span .none { "not on record" },
    } }
}

/// Whether a call without an outcome is at work, as far as the verification can tell.
fn state_of(verified: &VerifyReport, call: &Call) -> (&'static str, bool) {
    match verified.pending.iter().find(|span| span.call_id.eq_ignore_ascii_case(&call.call_id)) {
        Some(span) if span.in_flight => ("in flight: its process is at work", false),
        Some(_) => ("orphan: its process is gone", true),
        // The verification read the log later, and read all of it.
        None if verified.ok && verified.pending_without_outcome == verified.pending.len() as u64 => {
            ("ended while this page was made", false)
        }
        None => ("no outcome on record", true),
    }
}

fn without_outcome(report: &Report) -> Markup {
    let open = &report.tally.open;
    let closed = report.tally.unknown - open.len() as u64;
    let any_orphan = open.iter().any(|call| state_of(&report.verified, call).1);
    html! {
        section {
            h2 { "Calls without an outcome" }
            @if open.is_empty() && closed == 0 { p .none { "Every call has its outcome." } }
            @if !open.is_empty() {
                table {
                    thead { tr { th { "Began (UTC)" } th { "Tool" } th { "Actor" } th { "State" } th { "Call" } } }
                    tbody {
                        @for call in open.iter().rev().take(MAX_FAILURES) {
                            @let (state, is_orphan) = state_of(&report.verified, call);
                            tr {
                                td .time { (time(&call.timestamp)) }
                                td { (tool_name(&call.action)) }
                                td { (short(&call.actor)) }
                                td .bad[is_orphan] { (state) }
                                td { code .id { (from_log(&call.call_id)) } }
                            }
                        }
                    }
                }
                @if open.len() > MAX_FAILURES {
                    p .note { "The last " (number(MAX_FAILURES as u64)) " of " (number(open.len() as u64)) "." }
                }
            }
            @if closed > 0 {
                p { (counted(closed, "call")) " had no outcome when their process died and were closed afterwards." }
            }
            @if any_orphan || closed > 0 {
                p .note {
                    "An orphan may have reached Microsoft 365 or not: look at its effect there. "
                    code { "entrabot audit close-orphans" } " puts on record that its outcome is not known."
                }
            }
        }
    }
}

fn latest(report: &Report) -> Markup {
    let tally = &report.tally;
    html! {
        section .latest {
            h2 { "Latest calls" }
            @if tally.latest.is_empty() { p .none { "No calls." } } @else {
                (calls(tally.latest.iter().rev()))
                @if tally.calls() > MAX_CALLS as u64 {
                    p .note {
                        "The last " (number(MAX_CALLS as u64)) " of " (number(tally.calls())) " calls. "
                        code { "entrabot audit query" } " shows any of them."
                    }
                }
            }
        }
    }
}

/// One row for each call, with a bar for the time it took.
fn calls<'a>(calls: impl Iterator<Item = &'a Call> + Clone) -> Markup {
    let longest = calls.clone().filter_map(|call| call.duration).max().unwrap_or(1).max(1);
    html! {
        table {
            thead { tr {
                th { "Began (UTC)" } th { "Tool" } th { "Outcome" } th .n { "Took" } th .bars {} th { "Actor" }
            } }
            tbody {
                @for call in calls {
                    tr {
                        td .time title={ "call " (from_log(&call.call_id)) } { (time(&call.timestamp)) }
                        td { (tool_name(&call.action)) }
                        td .whole { (outcome(&call.end)) }
                        td .n { (optional(call.duration)) }
                        td .bars { (took(call, longest)) }
                        td { (short(&call.actor)) }
                    }
                }
            }
        }
    }
}

/// An id in a list; whole where the pointer rests on it.
fn short(id: &str) -> Markup {
    html! { code .id title=(from_log(id)) { (short_id(id)) } }
}

fn outcome(end: &End) -> Markup {
    html! { @match end {
        End::Success => span .ok { "✓ success" },
        End::Failure(None) => span .bad { "✕ failure" },
        End::Failure(Some(name)) => { span .bad { "✕ " code { (from_log(name)) } } }
        End::ClosedAfterwards => span .open { "? unknown, closed afterwards" },
        End::Open => span .open { "… no outcome" },
    } }
}

fn took(call: &Call, longest: u64) -> Markup {
    let class = if matches!(call.end, End::Failure(_)) { "bad" } else { "ok" };
    html! {
        @if let Some(micros) = call.duration.filter(|_| call.end != End::ClosedAfterwards) {
            @let width = (micros as f64 / longest as f64 * 100.0).max(0.8);
            svg .share viewBox="0 0 102 10" preserveAspectRatio="none" aria-hidden="true" {
                rect class=(class) x="0" y="2.5" width=(format!("{width:.1}")) height="5" {}
            }
        }
    }
}

fn statements(tally: &Tally) -> Markup {
    html! {
        @if !tally.statements.rows.is_empty() {
            section {
                h2 { "Other records" }
                p .note {
                    "What a model or an operator wrote down, what the log says of itself, and lines of other programs."
                    " Nobody observed these; the calls above were."
                }
                table {
                    thead { tr {
                        th { "Written by" } th { "Action" }
                        th .n { "Success" } th .n { "Failure" } th .n { "Other" } th { "Last (UTC)" }
                    } }
                    tbody {
                        @for ((source, action), counts) in tally.statements.rows.iter().take(MAX_ROWS) {
                            tr {
                                td { (writer(source)) }
                                td { code { (from_log(action)) } }
                                td .n { (number(counts.success)) }
                                td .n { (number(counts.failure)) }
                                td .n { (number(counts.other)) }
                                td .time { (time(&counts.last)) }
                            }
                        }
                    }
                }
                (left_out(&tally.statements, "kind"))
            }
        }
    }
}

fn writer(source: &str) -> String {
    match source {
        "tool" => "a model, through audit_log".to_owned(),
        "cli" => "an operator, on the command line".to_owned(),
        "system" => "the log itself".to_owned(),
        "foreign" => "another program, without a chain".to_owned(),
        other => from_log(other),
    }
}

/// The days that were removed, all in all.
fn pruned(verified: &VerifyReport) -> Option<String> {
    let (first, last) = (verified.pruned.first()?, verified.pruned.last()?);
    let lines = verified.pruned.iter().map(|pruned| pruned.lines).sum();
    Some(format!("{} to {}, {} lines", from_log(&first.from), from_log(&last.to), number(lines)))
}

fn evidence(report: &Report) -> Markup {
    let verified = &report.verified;
    let lines = verified.events + verified.foreign;
    let facts = [
        ("Level", Some(verified.level.as_str().to_owned())),
        ("Lines", Some(number(lines))),
        ("Lines of other programs", (verified.foreign > 0).then(|| number(verified.foreign))),
        ("Day files", Some(number(verified.files))),
        ("Pruned, by a signed tombstone", pruned(verified)),
        ("Signed checkpoints", Some(number(verified.checkpoints))),
        (
            "Lines under a checkpoint",
            Some(format!("{} of {}", number(verified.sealed_lines.min(lines)), number(lines))),
        ),
        (
            "Unfinished last line",
            (verified.torn_tail_bytes > 0)
                .then(|| format!("{} bytes, never acknowledged", number(verified.torn_tail_bytes))),
        ),
        ("Lines of a newer format", (verified.newer_version > 0).then(|| number(verified.newer_version))),
        (
            "Names that are not the log's",
            (verified.ignored_names > 0).then(|| number(verified.ignored_names)),
        ),
        ("Lines that could not be read", (report.skipped > 0).then(|| number(report.skipped))),
    ];
    html! {
        section .evidence {
            h2 { "Evidence" }
            dl .facts {
                @for (name, value) in facts {
                    @if let Some(value) = value { div { dt { (name) } dd { (value) } } }
                }
            }
            @if !verified.warnings.is_empty() || !report.first_skipped.is_empty() {
                ul .warnings {
                    @for warning in &verified.warnings { li { (from_log(warning)) } }
                    @for line in &report.first_skipped {
                        li { code { (from_log(&line.file)) ", line " (number(line.line)) } ": " (line.reason) }
                    }
                    @if report.skipped > MAX_SKIPPED as u64 {
                        li { "and " (number(report.skipped - MAX_SKIPPED as u64)) " more lines" }
                    }
                }
            }
            @if let Some(note) = &report.checkpoint {
                p {
                    "The last signed checkpoint. Whoever keeps this page, or these lines on paper, can show later that the"
                    " log was rewritten: the lines it covers cannot be made anew to fit."
                }
                pre { @for line in note.lines() { (printable(line)) "\n" } }
            }
            p .note { "To check it yourself: " code { "entrabot audit verify" } "; it needs no keyring and no network." }
        }
    }
}

/// A checkpoint's line whole: it is checked by its characters, and only its dash is not ASCII.
fn printable(line: &str) -> String {
    line.chars().take(512).filter(|c| matches!(c, ' '..='~' | '\u{2014}')).collect()
}

fn left_out<K, V>(table: &Table<K, V>, one: &str) -> Markup {
    let more = table.rows.len().saturating_sub(MAX_ROWS) as u64;
    html! {
        @if more > 0 || table.beyond > 0 {
            p .note {
                @if more > 0 { (counted(more, one)) " more are not shown. " }
                @if table.beyond > 0 {
                    "There were too many to tell apart; " (counted(table.beyond, "record")) " are left out here."
                }
            }
        }
    }
}
