//! How often a handshake is answered that nobody signed.

use clawbridge_clock::Timestamp;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Handshakes of one source at once, and then one for each second: a provider asks once, and perhaps again.
const BURST: u32 = 10;

/// Sources that are counted at a time. They exist, so there is a handful.
const MAX_SOURCES: usize = 256;

/// A bucket for each source of this environment. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handshakes(Arc<Mutex<HashMap<String, Bucket>>>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u32,
    filled_at: Timestamp,
}

impl Handshakes {
    /// Whether one more of this source is answered.
    pub(crate) fn allow(&self, source: &str, now: Timestamp) -> bool {
        // No half-made state between statements, so a panic elsewhere leaves the map usable.
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_SOURCES && !buckets.contains_key(source) {
            buckets.clear();
        }
        let bucket = buckets.entry(source.to_owned()).or_insert(Bucket { left: BURST, filled_at: now });
        let seconds = u32::try_from(bucket.filled_at.until(now).as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            *bucket = Bucket { left: bucket.left.saturating_add(seconds).min(BURST), filled_at: now };
        }
        let allowed = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_source_has_ten_at_once_and_then_one_a_second() {
        let handshakes = Handshakes::default();
        let now = Timestamp::from_millis(1_790_000_000_000);
        let answered = |at: Timestamp| (0..20).filter(|_| handshakes.allow("meta", at)).count();
        assert_eq!(answered(now), 10);
        assert_eq!(answered(now.plus(Duration::from_millis(999))), 0);
        assert_eq!(answered(now.plus(Duration::from_secs(3))), 3);
        assert_eq!(answered(now.plus(Duration::from_secs(3600))), 10);
        assert!(handshakes.allow("x", now));
    }
}
