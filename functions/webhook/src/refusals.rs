//! Which refusals are written down, so that a flood of them cannot flood the log. Pure: the caller brings the time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Lines of one source and code that are written in a window.
const LINES: u32 = 5;

/// The window.
const WINDOW: Duration = Duration::from_secs(10);

/// Pairs of source and code kept at most.
const MAX_PAIRS: usize = 256;

/// Counts refusals by source and code. What strangers invent is one source, the caller sees to it.
#[derive(Debug, Default)]
pub(crate) struct Refusals(HashMap<(String, &'static str), Pair>);

#[derive(Debug)]
struct Pair {
    begun_at: Instant,
    written: u32,
    /// Since the last line.
    unwritten: u64,
}

impl Refusals {
    /// How many refusals the line for this one stands for: itself, and those before it that were not written. `None`: no line.
    pub(crate) fn count(&mut self, source: &str, code: &'static str, now: Instant) -> Option<u64> {
        let key = (source.to_owned(), code);
        if !self.0.contains_key(&key) {
            self.make_room();
        }
        let pair = self.0.entry(key).or_insert(Pair { begun_at: now, written: 0, unwritten: 0 });
        if now.saturating_duration_since(pair.begun_at) >= WINDOW {
            (pair.begun_at, pair.written) = (now, 0);
        }
        pair.unwritten += 1;
        if pair.written >= LINES {
            return None;
        }
        pair.written += 1;
        Some(std::mem::take(&mut pair.unwritten))
    }

    /// The pair that was quiet longest goes; where it has something unwritten that is lost, so one without goes first.
    fn make_room(&mut self) {
        if self.0.len() < MAX_PAIRS {
            return;
        }
        let quietest =
            self.0.iter().min_by_key(|(_, pair)| (pair.unwritten > 0, pair.begun_at)).map(|(key, _)| key.clone());
        if let Some(key) = quietest {
            self.0.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_window_are_written_and_the_next_line_stands_for_the_others() {
        let (start, mut refusals) = (Instant::now(), Refusals::default());
        let mut count = |source: &str, code: &'static str, millis: u64| {
            refusals.count(source, code, start + Duration::from_millis(millis))
        };
        for _ in 0..5 {
            assert_eq!(count("a", "X", 0), Some(1));
        }
        for _ in 0..100 {
            assert_eq!(count("a", "X", 9_999), None);
        }
        // Another code and another source are pairs of their own.
        assert_eq!((count("a", "Y", 9_999), count("b", "X", 9_999)), (Some(1), Some(1)));
        assert_eq!((count("a", "X", 10_000), count("a", "X", 10_001)), (Some(101), Some(1)));
    }

    #[test]
    fn the_counts_of_the_lines_add_up_to_what_was_refused() {
        let (start, mut refusals) = (Instant::now(), Refusals::default());
        let mut written = 0;
        for n in 0..1000 {
            written += refusals.count("a", "X", start + Duration::from_millis(n * 37)).unwrap_or(0);
        }
        // The next line has what is left.
        written += refusals.count("a", "X", start + Duration::from_secs(3600)).unwrap_or(0);
        assert_eq!(written, 1001);
    }

    #[test]
    fn memory_is_bounded() {
        let (start, mut refusals) = (Instant::now(), Refusals::default());
        for n in 0..1000 {
            assert_eq!(refusals.count(&format!("s{n}"), "X", start), Some(1));
        }
        assert_eq!(refusals.0.len(), MAX_PAIRS);
    }
}
