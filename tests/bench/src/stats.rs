//! Order statistics of a few thousand durations.

use serde::Serialize;
use std::time::Duration;

/// Measured durations, in order of size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample(Vec<Duration>);

/// What is said about a sample, microseconds. `None` of an empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
}

impl Sample {
    pub(crate) fn new(mut durations: Vec<Duration>) -> Sample {
        durations.sort_unstable();
        Sample(durations)
    }

    /// The smallest value that at least `percent` of the values do not exceed (nearest rank); always one that was measured.
    pub(crate) fn percentile(&self, percent: u32) -> Option<Duration> {
        let rank = (self.0.len() as u64 * u64::from(percent.min(100))).div_ceil(100).max(1);
        self.0.get(usize::try_from(rank - 1).ok()?).copied()
    }

    pub(crate) fn median(&self) -> Option<Duration> {
        self.percentile(50)
    }

    pub(crate) fn spread(&self) -> Spread {
        Spread { p50_us: self.percentile(50).map(micros), p99_us: self.percentile(99).map(micros) }
    }
}

impl FromIterator<Duration> for Sample {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Sample {
        Sample::new(durations.into_iter().collect())
    }
}

/// The median of figures that are themselves medians or means of a series (nearest rank).
pub(crate) fn median_of(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len().div_ceil(2).checked_sub(1)?).copied()
}

/// Microseconds.
pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// How many a second; `None` if no time passed.
pub(crate) fn per_second(count: usize, over: Duration) -> Option<f64> {
    (!over.is_zero()).then(|| count as f64 / over.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(numbers: &[u64]) -> Sample {
        numbers.iter().map(|number| Duration::from_micros(*number)).collect()
    }

    #[test]
    fn a_percentile_is_the_value_at_its_nearest_rank() {
        let hundred: Vec<u64> = (1..=100).rev().collect();
        for (numbers, percent, expected) in [
            (&hundred[..], 50, Some(50)),
            (&hundred[..], 99, Some(99)),
            (&hundred[..], 100, Some(100)),
            (&hundred[..], 0, Some(1)),
            (&hundred[..], 200, Some(100)),
            (&[3, 1, 2][..], 50, Some(2)),
            (&[4, 1, 3, 2][..], 50, Some(2)),
            (&[4, 1, 3, 2][..], 99, Some(4)),
            (&[7][..], 50, Some(7)),
            (&[7][..], 99, Some(7)),
            (&[][..], 50, None),
        ] {
            let found = sample(numbers).percentile(percent);
            assert_eq!(found, expected.map(Duration::from_micros), "{percent} % of {numbers:?}");
        }
    }

    #[test]
    fn a_spread_is_in_microseconds() {
        let spread = sample(&[1500, 500]).spread();
        assert_eq!(spread, Spread { p50_us: Some(500.0), p99_us: Some(1500.0) });
        assert_eq!(Sample::default().spread(), Spread::default());
    }

    #[test]
    fn the_median_of_series_is_one_of_them() {
        assert_eq!(median_of([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median_of([2.0, 1.0]), Some(1.0));
        assert_eq!(median_of([]), None);
    }

    #[test]
    fn a_rate_needs_time_to_pass() {
        assert_eq!(per_second(10, Duration::from_millis(500)), Some(20.0));
        assert_eq!(per_second(10, Duration::ZERO), None);
    }

    proptest! {
        #[test]
        fn at_least_the_percentage_is_not_above_its_percentile(numbers in proptest::collection::vec(0u64..1000, 1..200), percent in 0u32..=100) {
            let bound = sample(&numbers).percentile(percent).expect("a value");
            let within = |below: &dyn Fn(Duration) -> bool| numbers.iter().filter(|number| below(Duration::from_micros(**number))).count();
            prop_assert!(within(&|number| number <= bound) * 100 >= numbers.len() * percent as usize);
            prop_assert!(within(&|number| number < bound) * 100 <= numbers.len() * percent as usize);
        }
    }
}
