//! How many frames a connection may send.
//!
//! A bucket of tokens that fill up with time. Who takes one too many is told once, and cut off when they go on all the same.

use clawbridge_clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How many frames in a row, and one more in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// So many at once.
    pub(crate) burst: u32,
    /// One more after this time.
    pub(crate) every: Duration,
}

/// Users': 20 at once, ten a second.
pub(crate) const USER: Rule = Rule { burst: 20, every: Duration::from_millis(100) };

/// Agents', whose answers are many frames: 400 at once, 200 a second.
pub(crate) const AGENT: Rule = Rule { burst: 400, every: Duration::from_millis(5) };

/// How many frames more than allowed are dropped before the connection is cut, and cut again where more were on their way.
const PATIENCE: u32 = 20;

/// A connection's bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    /// When it will be full again.
    full_at: Option<Timestamp>,
    /// Refused since the last one that was not.
    refused: u32,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may be read.
    Admitted,
    /// It is too much, and the sender is to be told.
    Warned,
    /// It is too much, and they have been told, or are being cut off.
    Dropped,
    /// They go on and on.
    Cut,
}

impl Bucket {
    /// A frame comes.
    pub(crate) fn take(&mut self, rule: Rule, now: Timestamp) -> Admission {
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        let next = full_at.plus(rule.every);
        if now.until(next) > rule.every.saturating_mul(rule.burst) {
            self.refused = self.refused.saturating_add(1);
            return match self.refused {
                1 => Admission::Warned,
                refused if refused % PATIENCE == 0 => Admission::Cut,
                _ => Admission::Dropped,
            };
        }
        self.full_at = Some(next);
        self.refused = 0;
        Admission::Admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + ms)
    }

    #[test]
    fn who_sends_too_much_is_told_once_and_then_cut_off() {
        let mut bucket = Bucket::default();
        for _ in 0..USER.burst {
            assert_eq!(bucket.take(USER, at(0)), Admission::Admitted);
        }
        assert_eq!(bucket.take(USER, at(0)), Admission::Warned);
        for _ in 2..PATIENCE {
            assert_eq!(bucket.take(USER, at(50)), Admission::Dropped);
        }
        assert_eq!(bucket.take(USER, at(99)), Admission::Cut);
        assert_eq!(bucket.take(USER, at(100)), Admission::Admitted);
        assert_eq!(bucket.take(USER, at(100)), Admission::Warned);
    }

    proptest! {
        #[test]
        fn no_time_has_more_frames_than_the_burst_and_the_rate(gaps in prop::collection::vec(0..300_i64, 1..200)) {
            let (mut bucket, mut now, mut admitted) = (Bucket::default(), 0, 0_i64);
            for gap in gaps {
                now += gap;
                if bucket.take(USER, at(now)) == Admission::Admitted {
                    admitted += 1;
                }
                prop_assert!(admitted <= 20 + now / 100);
            }
        }
    }
}
