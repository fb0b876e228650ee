//! How long everything takes.

use clawbridge_clock::Timestamp;
use std::time::Duration;

/// A moment: by a clock that never jumps, since the start, and by the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the start. Everything is timed by it.
    pub up: Duration,
    /// What the bridge's times are compared with.
    pub at: Timestamp,
}

/// The connector's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two beats, each with a ping. The bridge may want them more often.
    pub heartbeat: Duration,
    /// A connection on which nothing was heard for so long is dead.
    pub dead_after: Duration,
    /// Before the next attempt, after the first that failed; it doubles.
    pub backoff: Duration,
    /// What it doubles to.
    pub backoff_most: Duration,
    /// What is added to it at random, at most.
    pub jitter: Duration,
    /// Before the next attempt after a refusal that somebody has to mend: a revoked key, a wrong path.
    pub slow: Duration,
    /// How long the bridge may take for its `welcome`. Half-way, `hello` is repeated.
    pub welcome: Duration,
    /// When a connection is handed over by itself: AWS cuts it after two hours.
    pub hand_over: Duration,
    /// Between two hand-overs, at least.
    pub between_hand_overs: Duration,
    /// How long a connection that was handed over waits for what is on the way there.
    pub leaving: Duration,
    /// A frame without an `ack` is sent again after so long; the time doubles, to eight times as much.
    pub again: Duration,
    /// Of an answer without a word from the agent, a sign of life is sent after so long.
    pub sign_of_life: Duration,
    /// How long turns may take to end when the connector is stopped.
    pub stop: Duration,
    /// How long the last frames may take then.
    pub last_words: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            heartbeat: Duration::from_secs(30),
            dead_after: Duration::from_secs(90),
            backoff: Duration::from_secs(1),
            backoff_most: Duration::from_secs(30),
            jitter: Duration::from_secs(1),
            slow: Duration::from_secs(60),
            welcome: Duration::from_secs(15),
            hand_over: Duration::from_secs(110 * 60),
            between_hand_overs: Duration::from_secs(5),
            leaving: Duration::from_secs(10),
            again: Duration::from_secs(5),
            sign_of_life: Duration::from_secs(30),
            stop: Duration::from_secs(30),
            last_words: Duration::from_secs(3),
        }
    }
}

impl Timing {
    /// The delay before another attempt after `failures` + 1 that failed in a row: `min(backoff · 2^failures, backoff_most)` and up to
    /// `jitter`, which `random` decides.
    #[must_use]
    pub fn delay(&self, failures: u32, random: u64) -> Duration {
        let factor = 2_u32.checked_pow(failures).unwrap_or(u32::MAX);
        self.backoff.saturating_mul(factor).min(self.backoff_most) + self.jittered(random)
    }

    /// The delay after a refusal that somebody has to mend.
    #[must_use]
    pub fn slow_delay(&self, random: u64) -> Duration {
        self.slow + self.jittered(random)
    }

    fn jittered(&self, random: u64) -> Duration {
        let most = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX).max(1);
        Duration::from_millis(random % most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn delays_double_to_thirty_seconds() {
        let timing = Timing::default();
        let delays: Vec<u64> = (0..7).map(|failures| timing.delay(failures, 0).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(timing.delay(0, 999), Duration::from_millis(1999));
        assert_eq!(timing.slow_delay(1000), Duration::from_secs(60));
    }

    proptest! {
        #[test]
        fn a_delay_is_within_the_formula(failures in any::<u32>(), random in any::<u64>()) {
            let base = (1000_u128 << failures.min(20)).min(30_000);
            let delay = Timing::default().delay(failures, random).as_millis();
            prop_assert!((base..base + 1000).contains(&delay), "{}", delay);
        }
    }
}
