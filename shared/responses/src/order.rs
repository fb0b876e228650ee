//! Frames that arrive out of order.
//!
//! API Gateway hands each frame to an invocation of its own, so that two frames of one connection may arrive in either order, and one may be
//! handled twice.
//!
//! **Numbered frames** ([`Numbered`]) come out in the order of their numbers, each once, whatever the order of arrival and however often each
//! came. A frame that never comes is noticed: when what follows it has waited for the buffer's patience, or is further ahead than
//! its window. The buffer then says so, once and for all, and what came out before is a true beginning.
//!
//! **Frames with a time only** ([`HeldBack`]) are held back for a moment and come out sorted by (time, rank, arrival). Exactly:
//!
//! - If no frame arrives later than `hold` after any frame that was sent after it, they come out in the order of their times.
//! - Of frames of one millisecond, those of lower rank come first (a beginning before text, text before an end). Within one rank the order
//!   of arrival decides: two pieces of text that were sent in the same millisecond *can* come out swapped, and nothing can tell.
//! - A frame that comes too late comes out at once, and is marked as late: text may then stand in the wrong place.
//! - Nothing is lost, and nothing is recognised as a duplicate: without numbers, two frames with the same text are two.

use clawbridge_clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A frame is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("frame {missing} did not come")]
pub struct Gap {
    /// Its number.
    pub missing: u64,
}

/// Numbered frames, in order and once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Numbered<T> {
    next: u64,
    window: u64,
    patience: Duration,
    waiting: BTreeMap<u64, T>,
    /// Since when the next one is missing.
    missing_since: Option<Timestamp>,
    gap: Option<Gap>,
}

impl<T> Numbered<T> {
    /// Begins with number `first`. Frames from `first + window` on are too far ahead; one that is missing is waited for `patience` long.
    #[must_use]
    pub fn new(first: u64, window: u64, patience: Duration) -> Numbered<T> {
        Numbered { next: first, window, patience, waiting: BTreeMap::new(), missing_since: None, gap: None }
    }

    /// A frame arrives. What comes out is next in order; nothing for a frame that has come before.
    ///
    /// # Errors
    /// A frame is missing for good, now or earlier.
    pub fn offer(&mut self, number: u64, frame: T, now: Timestamp) -> Result<Vec<T>, Gap> {
        self.tick(now)?;
        if number >= self.next.saturating_add(self.window.max(1)) {
            return Err(self.break_off());
        }
        if number >= self.next {
            self.waiting.entry(number).or_insert(frame);
        }
        let mut out = Vec::new();
        while let Some(frame) = self.waiting.remove(&self.next) {
            out.push(frame);
            self.next += 1;
        }
        if self.waiting.is_empty() {
            self.missing_since = None;
        } else if !out.is_empty() || self.missing_since.is_none() {
            self.missing_since = Some(now);
        }
        Ok(out)
    }

    /// Time has passed.
    ///
    /// # Errors
    /// A frame is missing for good, now or earlier.
    pub fn tick(&mut self, now: Timestamp) -> Result<(), Gap> {
        match (self.gap, self.deadline()) {
            (Some(gap), _) => Err(gap),
            (None, Some(at)) if at <= now => Err(self.break_off()),
            (None, _) => Ok(()),
        }
    }

    /// When the missing frame is given up.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.missing_since.map(|since| since.plus(self.patience))
    }

    /// The number that comes next.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    fn break_off(&mut self) -> Gap {
        let gap = Gap { missing: self.next };
        self.gap = Some(gap);
        self.waiting.clear();
        gap
    }
}

/// A frame that was held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released<T> {
    /// The frame.
    pub frame: T,
    /// Something that was sent after it came out before it.
    pub is_late: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Waiting<T> {
    place: Place,
    arrived_at: Timestamp,
    frame: T,
}

/// Where a frame stands: its time, its rank, its arrival.
type Place = (Timestamp, u8, u64);

/// Frames with a time only, sorted within a moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HeldBack<T> {
    hold: Duration,
    max: usize,
    arrivals: u64,
    /// Sorted.
    waiting: Vec<Waiting<T>>,
    /// The latest time that was seen, and the last place that came out.
    latest: Option<Timestamp>,
    released: Option<Place>,
}

impl<T> HeldBack<T> {
    /// Holds frames back for `hold`, and no more than `max` of them: beyond that, the first come out early.
    #[must_use]
    pub fn new(hold: Duration, max: usize) -> HeldBack<T> {
        HeldBack { hold, max, arrivals: 0, waiting: Vec::new(), latest: None, released: None }
    }

    /// A frame arrives: its time by the sender's clock (without one it stands after those that came before), and its rank.
    pub fn offer(&mut self, sent_at: Option<Timestamp>, rank: u8, frame: T, now: Timestamp) {
        let at = sent_at.or(self.latest).unwrap_or(now);
        self.latest = self.latest.max(Some(at));
        let place = (at, rank, self.arrivals);
        self.arrivals += 1;
        let index = self.waiting.partition_point(|waiting| waiting.place < place);
        self.waiting.insert(index, Waiting { place, arrived_at: now, frame });
    }

    /// What comes out at `now`, in order.
    pub fn due(&mut self, now: Timestamp) -> Vec<Released<T>> {
        let ripe = self.waiting.iter().rposition(|waiting| waiting.arrived_at.plus(self.hold) <= now);
        let count = ripe.map_or(0, |index| index + 1).max(self.waiting.len().saturating_sub(self.max));
        self.release(count)
    }

    /// All that is there, in order: the connection is over.
    pub fn flush(&mut self) -> Vec<Released<T>> {
        self.release(self.waiting.len())
    }

    /// When something comes out next.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.waiting.iter().map(|waiting| waiting.arrived_at).min().map(|at| at.plus(self.hold))
    }

    fn release(&mut self, count: usize) -> Vec<Released<T>> {
        let mut out = Vec::with_capacity(count);
        for waiting in self.waiting.drain(..count) {
            // Of one moment and rank, a later arrival is not late.
            let (at, rank, _) = waiting.place;
            let is_late = self.released.is_some_and(|(last_at, last_rank, _)| (at, rank) < (last_at, last_rank));
            self.released = self.released.max(Some(waiting.place));
            out.push(Released { frame: waiting.frame, is_late });
        }
        out
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
