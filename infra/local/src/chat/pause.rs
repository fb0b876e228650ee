//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// After the first failure.
const FIRST: Duration = Duration::from_millis(500);

/// However many there were.
const LONGEST: Duration = Duration::from_secs(15);

/// The pause after so many failures in a row: it doubles, and the later half of it is chance, so that clients that were cut off together do
/// not come back together. `chance`: from 0 to 1.
pub(super) fn after(failures: u32, chance: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(LONGEST).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_grows_and_has_an_end() {
        for (failures, least, most) in
            [(1, 250, 500), (2, 500, 1000), (3, 1000, 2000), (6, 7500, 15_000), (u32::MAX, 7500, 15_000)]
        {
            assert_eq!(after(failures, 0.0), Duration::from_millis(least));
            assert_eq!(after(failures, 1.0), Duration::from_millis(most));
        }
    }
}
