//! Calls over time: at most [`MAX_BINS`] equal stretches of time that grow with the log.

/// More would be narrower than a line on paper.
pub(crate) const MAX_BINS: usize = 120;
/// Steps of the scale of durations: four for each power of ten, from a millisecond to a quarter of an hour.
pub(crate) const SCALE: usize = 24;
const STEPS_PER_DECADE: f64 = 4.0;
const FIRST_WIDTH: i64 = 1_000;

/// How a call ended, as the chart tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Success,
    Failure,
    /// It has no outcome, or one that nobody observed.
    Unknown,
}

/// One stretch of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bin {
    pub(crate) success: u64,
    pub(crate) failure: u64,
    pub(crate) unknown: u64,
    /// Successes and failures by duration.
    pub(crate) durations: [[u64; SCALE]; 2],
}

impl Bin {
    pub(crate) fn total(&self) -> u64 {
        self.success + self.failure + self.unknown
    }

    fn take_in(&mut self, other: &Self) {
        self.success += other.success;
        self.failure += other.failure;
        self.unknown += other.unknown;
        for (mine, theirs) in self.durations.iter_mut().flatten().zip(other.durations.iter().flatten()) {
            *mine += theirs;
        }
    }
}

/// When calls began, how they ended, how long they took.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    /// Where the first bin begins, in microseconds since the epoch.
    start: i64,
    /// Of one bin, in microseconds.
    width: i64,
    bins: Vec<Bin>,
}

impl Timeline {
    pub(crate) fn new() -> Self {
        Self { start: 0, width: FIRST_WIDTH, bins: Vec::new() }
    }

    pub(crate) fn add(&mut self, began: i64, mark: Mark, duration: Option<u64>) {
        self.make_room_for(began);
        let index = usize::try_from((began - self.start) / self.width).expect("room was made for it");
        let bin = &mut self.bins[index];
        let row = match mark {
            Mark::Success => {
                bin.success += 1;
                0
            }
            Mark::Failure => {
                bin.failure += 1;
                1
            }
            Mark::Unknown => {
                bin.unknown += 1;
                return;
            }
        };
        if let Some(micros) = duration {
            bin.durations[row][step_of(micros)] += 1;
        }
    }

    pub(crate) fn bins(&self) -> &[Bin] {
        &self.bins
    }

    /// First and last microsecond.
    pub(crate) fn range(&self) -> (i64, i64) {
        let count = i64::try_from(self.bins.len()).expect("at most MAX_BINS");
        (self.start, self.start + count * self.width)
    }

    pub(crate) fn bin_start(&self, index: usize) -> i64 {
        self.start + self.width * i64::try_from(index).expect("at most MAX_BINS")
    }

    fn make_room_for(&mut self, time: i64) {
        if self.bins.is_empty() {
            self.start = time.div_euclid(self.width) * self.width;
            self.bins.push(Bin::default());
        }
        loop {
            let before = (self.start - time).max(0).unsigned_abs().div_ceil(self.width.unsigned_abs());
            let end = self.range().1;
            let after = (time + 1 - end).max(0).unsigned_abs().div_ceil(self.width.unsigned_abs());
            if before + after + self.bins.len() as u64 <= MAX_BINS as u64 {
                let (before, after) = (before as usize, after as usize);
                self.start -= self.width * i64::try_from(before).expect("at most MAX_BINS");
                self.bins.splice(0..0, std::iter::repeat_n(Bin::default(), before));
                self.bins.extend(std::iter::repeat_n(Bin::default(), after));
                return;
            }
            self.coarsen();
        }
    }

    /// Two bins become one.
    fn coarsen(&mut self) {
        self.width *= 2;
        self.bins = self
            .bins
            .chunks(2)
            .map(|pair| {
                let mut bin = pair[0].clone();
                if let Some(second) = pair.get(1) {
                    bin.take_in(second);
                }
                bin
            })
            .collect();
    }
}

/// Which step of the scale a duration is on.
fn step_of(micros: u64) -> usize {
    let step = (micros.max(1) as f64 / 1000.0).log10() * STEPS_PER_DECADE;
    step.clamp(0.0, (SCALE - 1) as f64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_millisecond_and_a_year_apart_are_both_shown() {
        let mut timeline = Timeline::new();
        let year = 365 * 86_400_000_000;
        for began in [0, 1_000, year] {
            timeline.add(began, Mark::Success, Some(5_000));
        }
        assert!(timeline.bins().len() <= MAX_BINS && timeline.bins().len() > MAX_BINS / 2);
        assert_eq!(timeline.bins().iter().map(Bin::total).sum::<u64>(), 3);
        assert_eq!(timeline.bins().last().unwrap().success, 1);
    }

    #[test]
    fn the_scale_reaches_from_a_millisecond_to_a_quarter_of_an_hour_and_clamps() {
        assert_eq!([step_of(0), step_of(1_000), step_of(10_000), step_of(u64::MAX)], [0, 0, 4, SCALE - 1]);
    }

    proptest::proptest! {
        #[test]
        fn no_call_is_lost_in_whatever_order_they_come(
            times in proptest::collection::vec(-62_167_219_200_000_000_i64..253_402_300_799_000_000, 1..60),
        ) {
            let mut timeline = Timeline::new();
            for time in &times {
                timeline.add(*time, Mark::Failure, None);
                let (start, end) = timeline.range();
                proptest::prop_assert!((start..end).contains(time));
            }
            proptest::prop_assert!(timeline.bins().len() <= MAX_BINS);
            proptest::prop_assert_eq!(
                timeline.bins().iter().map(Bin::total).sum::<u64>(), times.len() as u64
            );
        }
    }
}
