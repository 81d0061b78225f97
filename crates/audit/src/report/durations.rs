//! How long things took, in a few hundred bytes however many there were.

use std::collections::BTreeMap;

/// Steps per doubling: a quantile is right to within 5 %.
const STEPS: f64 = 8.0;

/// A histogram over a logarithmic scale.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durations {
    counts: BTreeMap<u16, u64>,
    total: u64,
    longest: u64,
}

impl Durations {
    pub(crate) fn add(&mut self, micros: u64) {
        *self.counts.entry(step_of(micros)).or_default() += 1;
        self.total += 1;
        self.longest = self.longest.max(micros);
    }

    pub(crate) fn longest(&self) -> Option<u64> {
        (self.total > 0).then_some(self.longest)
    }

    /// The duration, in microseconds, that so many of a hundred did not exceed.
    pub(crate) fn quantile(&self, percent: u64) -> Option<u64> {
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let step = self.counts.iter().find_map(|(step, count)| {
            seen += count;
            (seen >= rank).then_some(*step)
        })?;
        Some(middle_of(step).min(self.longest))
    }
}

fn step_of(micros: u64) -> u16 {
    ((micros.saturating_add(1) as f64).log2() * STEPS) as u16
}

fn middle_of(step: u16) -> u64 {
    ((f64::from(step) + 0.5) / STEPS).exp2() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(Durations::default().quantile(50), None);
        assert_eq!(Durations::default().longest(), None);
    }

    #[test]
    fn one_duration_is_every_quantile_to_within_five_percent() {
        let mut one = Durations::default();
        one.add(1_000_000);
        for percent in [0, 50, 95, 100] {
            let value = one.quantile(percent).unwrap();
            assert!((950_000..=1_000_000).contains(&value), "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn quantiles_are_right_to_within_five_percent(
            mut durations in proptest::collection::vec(100_u64..10_000_000_000, 1..300),
            percent in 1_u64..=100,
        ) {
            let mut histogram = Durations::default();
            durations.iter().for_each(|micros| histogram.add(*micros));
            durations.sort_unstable();
            let rank = (durations.len() as u64 * percent).div_ceil(100) as usize;
            let (exact, told) = (durations[rank - 1] as f64, histogram.quantile(percent).unwrap() as f64);
            proptest::prop_assert!((told / exact - 1.0).abs() < 0.06, "{} for {}", told, exact);
        }
    }
}
