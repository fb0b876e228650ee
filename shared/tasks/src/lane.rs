//! Lanes: tasks that run one after the other, in the order in which the bridge took their events. Pure, like the
//! [`machine`](mod@crate::machine).
//!
//! A lane is a record of its own, for one route and one order key: a bounded list of tasks, sorted by when their events were taken. The
//! first of them may begin, and marks the lane when it does; from then on nobody comes before it. Who ends leaves the lane and wakes the
//! next one through the queue.
//!
//! The queue may hand out a later event before an earlier one. So a task begins no sooner than [`WINDOW`] after it has joined: what
//! joins until then finds its place. An event whose message takes longer than that to be worked while a later one's is not comes too
//! late, and runs next.

use crate::change::Rule;
use crate::machine::Ask;
use crate::record::{Record, State};
use clawbridge_clock::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long a task that has joined its lane waits for those before it that the queue hands out after it.
pub const WINDOW: Duration = Duration::from_secs(2);

/// How many tasks a lane holds. Those with the latest events wait outside until there is room.
pub const MAX_TASKS: usize = 500;

/// When a task in a lane looks again by itself, in case that nobody wakes it: the longest delay that the queue gives a message.
pub const LOOK_AGAIN: Duration = Duration::from_secs(15 * 60);

/// When a task looks again that found no room in its lane.
pub const LOOK_FOR_ROOM: Duration = Duration::from_secs(60);

/// How long an empty lane is kept: longer than any write of a worker's may take to land.
pub const KEPT_EMPTY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where a task belongs in its lane. Part of its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// [`lane_id`].
    pub lane: String,
    /// When the bridge took its event.
    pub received_at: Timestamp,
    /// Its event's place among those of one request.
    #[serde(default)]
    pub nth: u32,
    /// How often it has come back to the lane after it had ended, because a person wanted it run again.
    #[serde(default)]
    pub stay: u32,
    /// The next task does not wait for a person where this one is parked.
    #[serde(default)]
    pub skip_parked: bool,
}

impl Seat {
    /// Whether a task in this state lets the next one begin. A parked one does not, unless the route says so: nobody knows whether it
    /// was done, and what comes after it may count on that.
    #[must_use]
    pub fn lets_go(&self, state: State) -> bool {
        match state {
            State::Succeeded | State::Failed | State::Cancelled => true,
            State::Parked => self.skip_parked,
            State::Queued | State::Running | State::Waiting | State::Unknown => false,
        }
    }
}

/// A task in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When the bridge took its event.
    pub received_at: Timestamp,
    /// Its event's place among those of one request.
    pub nth: u32,
    /// Task id. The last word where everything else is alike.
    pub task: String,
    /// When it joined.
    pub joined_at: Timestamp,
    /// See [`Seat::stay`].
    pub stay: u32,
}

impl Entry {
    fn place(&self) -> (Timestamp, u32, &str) {
        (self.received_at, self.nth, &self.task)
    }
}

/// A lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// [`lane_id`].
    pub id: String,
    /// Counts its changes: the fence.
    pub version: u64,
    /// Its first task has begun: nobody comes before it.
    pub has_begun: bool,
    /// Its tasks, in the order in which they run.
    pub entries: Vec<Entry>,
    /// Who wrote it last: random, as in a task's record.
    pub writer: String,
    /// When the table forgets it. Only an empty one is forgotten.
    pub expires_at: Option<Timestamp>,
}

/// A lane as it is to become, if it still is as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneChange {
    /// The version that was seen. `None`: there was none.
    pub seen: Option<u64>,
    /// What it becomes.
    pub after: Lane,
}

/// What came of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneLanded {
    /// The lane is what the change makes it: this.
    Written(Box<Lane>),
    /// Somebody was faster. What stands there now.
    Lost(Option<Box<Lane>>),
}

/// Whether it is a task's turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is: run.
    Mine,
    /// Write this, then ask again.
    Change(LaneChange),
    /// It is not: look again then.
    Wait(Wait),
}

/// What a task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When to look again.
    pub until: Timestamp,
    /// How many tasks are before it, as far as the lane knows.
    pub ahead: usize,
    /// The first of them.
    pub head: Option<String>,
}

/// A lane's id: `lane_` and 24 hexadecimal digits of a SHA-256 over route and order key.
#[must_use]
pub fn lane_id(route: &str, order: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(route.as_bytes());
    hash.update([0]);
    hash.update(order.as_bytes());
    format!("lane_{}", &hex::encode(hash.finalize())[..24])
}

impl LaneChange {
    /// What the table does with the change, where it has `current`.
    #[must_use]
    pub fn rule(&self, current: Option<&Lane>) -> Rule {
        if current.map(|lane| lane.version) == self.seen {
            Rule::Write
        } else if current.is_some_and(|lane| lane.version == self.after.version && lane.writer == self.after.writer) {
            Rule::Written
        } else {
            Rule::Lost
        }
    }

    fn of(lane: Option<&Lane>, id: &str, writer: &str, now: Timestamp, change: impl FnOnce(&mut Lane)) -> LaneChange {
        let mut after = lane.cloned().unwrap_or_else(|| Lane {
            id: id.to_owned(),
            version: 0,
            has_begun: false,
            entries: Vec::new(),
            writer: String::new(),
            expires_at: None,
        });
        change(&mut after);
        after.version += 1;
        writer.clone_into(&mut after.writer);
        after.expires_at = after.entries.is_empty().then(|| now.plus(KEPT_EMPTY));
        LaneChange { seen: lane.map(|lane| lane.version), after }
    }
}

/// Whether it is the turn of `task`, whose record says `seat`, in `lane`.
#[must_use]
pub fn turn(lane: Option<&Lane>, task: &str, seat: &Seat, writer: &str, now: Timestamp) -> Turn {
    let entries = lane.map_or(&[][..], |lane| &lane.entries);
    let has_begun = lane.is_some_and(|lane| lane.has_begun);
    let change = |change: &dyn Fn(&mut Lane)| Turn::Change(LaneChange::of(lane, &seat.lane, writer, now, change));
    let head = entries.first().map(|first| first.task.clone());
    match entries.iter().position(|entry| entry.task == task) {
        None => {
            let (received_at, nth, stay) = (seat.received_at, seat.nth, seat.stay);
            let entry = Entry { received_at, nth, task: task.to_owned(), joined_at: now, stay };
            let begun = usize::from(has_begun).min(entries.len());
            let place = begun + entries[begun..].partition_point(|other| other.place() < entry.place());
            if place >= MAX_TASKS {
                return Turn::Wait(Wait { until: now.plus(LOOK_FOR_ROOM), ahead: entries.len(), head });
            }
            change(&|lane| {
                lane.entries.insert(place, entry.clone());
                // Who is sent out has a message of its own, and comes back when there is room.
                lane.entries.truncate(MAX_TASKS);
            })
        }
        // It has ended, left no trace of that in the lane, and is wanted again: that end must not count for this stay.
        Some(place) if entries[place].stay < seat.stay => change(&|lane| lane.entries[place].stay = seat.stay),
        Some(0) if has_begun => Turn::Mine,
        Some(0) => match entries[0].joined_at.plus(WINDOW) {
            ripe if ripe > now => Turn::Wait(Wait { until: ripe, ahead: 0, head: None }),
            _ => change(&|lane| lane.has_begun = true),
        },
        Some(ahead) => Turn::Wait(Wait { until: now.plus(LOOK_AGAIN), ahead, head }),
    }
}

/// The lane without `task`, if that is in it for a stay that is over. `stay` is the one whose end was seen.
#[must_use]
pub fn without(lane: Option<&Lane>, task: &str, stay: u32, writer: &str, now: Timestamp) -> Option<LaneChange> {
    let seen = lane?;
    let place = seen.entries.iter().position(|entry| entry.task == task && entry.stay <= stay)?;
    Some(LaneChange::of(lane, &seen.id, writer, now, |lane| {
        lane.entries.remove(place);
        lane.has_begun &= place > 0;
    }))
}

/// The stay of the first task of a lane that is over by what its record says; the task behind it may put it out then. That takes a worker
/// that died twice over, or a record that the table has forgotten.
#[must_use]
pub fn is_over(lane: &Lane, head: Option<&Record>) -> Option<u32> {
    let Some(record) = head else { return Some(u32::MAX) };
    match &record.seat {
        Some(seat) if seat.lane == lane.id => seat.lets_go(record.state).then_some(seat.stay),
        // It was forgotten, and made again elsewhere.
        Some(_) | None => Some(u32::MAX),
    }
}

/// Who is to be woken, and when: the first task, unless it has begun.
#[must_use]
pub fn next(lane: Option<&Lane>, now: Timestamp) -> Option<(String, Timestamp)> {
    let lane = lane.filter(|lane| !lane.has_begun)?;
    let first = lane.entries.first()?;
    Some((first.task.clone(), first.joined_at.plus(WINDOW).max(now)))
}

/// Whether a task that is to run, and has a seat, has to go back to its lane first: it had ended, and others have gone on.
#[must_use]
pub fn comes_back(state: State) -> bool {
    match state {
        State::Failed | State::Parked | State::Cancelled | State::Succeeded => true,
        State::Queued | State::Running | State::Waiting | State::Unknown => false,
    }
}

/// The replay that a task comes back for, if one wants it.
pub(crate) fn replay(ask: &Ask) -> Option<&str> {
    match ask {
        Ask::Replay { nonce, .. } => Some(nonce),
        Ask::Route { .. } | Ask::Due | Ask::Person { .. } | Ask::Answer { .. } => None,
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
