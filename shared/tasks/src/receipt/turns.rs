//! The part of a receipt that concerns lanes: having one's turn, and letting the next one have its own.
//!
//! The order of steps, again, is what makes a crash harmless. A task has its record before it joins its lane, so whoever finds it there
//! finds the record too. It marks the lane before it is claimed, so nobody comes before it who joins later. It leaves when its end is
//! written, and its message is let go of after that: a receipt that finds it ended makes it leave again, and wakes the next one again.
//! Whoever waits has a message of their own all the while.

use super::{Done, Phase, Receipt, Step, What};
use crate::change::{Change, Landed};
use crate::lane::{self, Lane, LaneLanded, Turn, Wait, turn, without};
use crate::machine::Policy;
use crate::record::Record;
use clawbridge_clock::Timestamp;
use std::time::Duration;

/// How often a receipt tries again at a lane that others change. More is a crowd: it comes back when that is over.
const ROUNDS: u32 = 12;

/// When a receipt comes back that met a crowd.
const CROWDED: Duration = Duration::from_secs(1);

/// A step at the lane of a task.
#[derive(Clone, Debug)]
pub(super) struct Lining {
    record: Box<Record>,
    at: At,
}

/// What the step is for.
#[derive(Clone, Debug)]
enum At {
    /// To have its turn: the lane is being read or written.
    Turn,
    /// To know whether the first one of the lane is over: its record is being read.
    Head { lane: Box<Lane>, wait: Wait },
    /// To put out the first one, which is over.
    PutOut,
    /// To have the next one come, whose turn it is after one was put out.
    WakeOther { lane: Box<Lane> },
    /// To leave, having ended.
    Leave,
    /// To have the next one come.
    Wake,
    /// To be kept while it waits.
    Keep { until: Timestamp },
}

/// What a receipt knows about its way through the lane.
#[derive(Clone, Debug, Default)]
pub(super) struct Course {
    rounds: u32,
    /// The lane as it was when it was its turn: mostly it still is so when it leaves.
    seen: Option<Box<Lane>>,
    /// It has only just joined, or has seen to the first one already: that one is not looked at.
    has_looked: bool,
}

impl<P: Fn(&str) -> Policy> Receipt<P> {
    /// A task is to run that has a seat: at once, if it is its turn.
    pub(super) fn line_up(&mut self, record: Box<Record>, now: Timestamp) -> Step {
        if lane::comes_back(record.state) {
            let policy = (self.policy_of)(&record.tool);
            let change = Change::back(&record, lane::replay(&self.ask), policy, &self.writer, now);
            self.phase = Phase::Queueing { is_new: false };
            return Step::Write(Box::new(change));
        }
        self.read_lane(record, At::Turn)
    }

    /// The record of a task that is to wait for its turn is written.
    pub(super) fn queued(&mut self, record: Box<Record>, is_new: bool, now: Timestamp) -> Step {
        if !is_new {
            return self.read_lane(record, At::Turn);
        }
        self.course.has_looked = true;
        // Most lanes are new with their first task: it is tried without a look.
        self.take_turn(record, None, now)
    }

    /// A task has ended, or was found ended: its lane is seen to before anybody is told.
    pub(super) fn ended(&mut self, record: Box<Record>, now: Timestamp) -> Step {
        if !record.seat.as_ref().is_some_and(|seat| seat.lets_go(record.state)) {
            return self.announce(record);
        }
        match self.course.seen.take() {
            Some(lane) => self.leave(record, Some(&lane), now),
            None => self.read_lane(record, At::Leave),
        }
    }

    /// A step at the lane came to `done`.
    pub(super) fn lined(&mut self, lining: Lining, done: Done, now: Timestamp, dice: f64) -> Step {
        let Lining { record, at } = lining;
        match (at, done) {
            (At::Turn, Done::Lane(lane) | Done::WroteLane(LaneLanded::Lost(lane))) => {
                self.take_turn(record, lane.as_deref(), now)
            }
            (At::Turn, Done::WroteLane(LaneLanded::Written(lane))) => self.take_turn(record, Some(&lane), now),
            (At::Head { lane, wait }, Done::Other(head)) => {
                let over = lane::is_over(&lane, head.as_deref());
                let out = over.zip(wait.head.as_deref());
                let change = out.and_then(|(stay, head)| without(Some(&lane), head, stay, &self.writer, now));
                match change {
                    Some(change) => self.step(record, At::PutOut, Step::WriteLane(Box::new(change))),
                    None => self.wait(record, &wait, now),
                }
            }
            (At::PutOut, Done::WroteLane(LaneLanded::Lost(lane))) => self.take_turn(record, lane.as_deref(), now),
            (At::PutOut, Done::WroteLane(LaneLanded::Written(lane))) => match lane::next(Some(&lane), now) {
                Some((task, at)) if task != record.id => {
                    self.step(record, At::WakeOther { lane }, Step::Wake { task, at })
                }
                _ => self.take_turn(record, Some(&lane), now),
            },
            (At::WakeOther { lane }, Done::Woke) => self.take_turn(record, Some(&lane), now),
            (At::Leave, Done::Lane(lane) | Done::WroteLane(LaneLanded::Lost(lane))) => {
                self.leave(record, lane.as_deref(), now)
            }
            (At::Leave, Done::WroteLane(LaneLanded::Written(lane))) => self.wake_next(record, Some(&lane), now),
            (At::Wake, Done::Woke) => self.announce(record),
            (At::Keep { until }, Done::Wrote(Landed::Written(_))) => self.send(until, false),
            (At::Keep { .. }, Done::Wrote(Landed::Lost(current))) => self.decide_on(current, now, dice),
            _ => Step::Return("a step of the receipt was answered by another's result"),
        }
    }

    fn read_lane(&mut self, record: Box<Record>, at: At) -> Step {
        let id = record.seat.as_ref().map(|seat| seat.lane.clone()).unwrap_or_default();
        self.step(record, at, Step::ReadLane(id))
    }

    fn step(&mut self, record: Box<Record>, at: At, step: Step) -> Step {
        self.phase = Phase::Lining(Lining { record, at });
        step
    }

    fn take_turn(&mut self, record: Box<Record>, lane: Option<&Lane>, now: Timestamp) -> Step {
        let Some(seat) = &record.seat else { return Step::Return("a task without a seat is in a lane") };
        self.course.rounds += 1;
        if self.course.rounds > ROUNDS {
            let ahead = lane.map_or(0, |lane| lane.entries.len());
            return self.wait(record, &Wait { until: now.plus(CROWDED), ahead, head: None }, now);
        }
        match turn(lane, &record.id, seat, &self.writer, now) {
            Turn::Mine => {
                self.course.seen = lane.cloned().map(Box::new);
                let policy = (self.policy_of)(&record.tool);
                self.phase = Phase::Claiming;
                Step::Write(Box::new(Change::claim(&record, &self.ask, policy, &self.writer, now)))
            }
            Turn::Change(change) => {
                let before = lane.map_or(0, |lane| lane.entries.len());
                self.course.has_looked |= change.after.entries.len() > before;
                self.step(record, At::Turn, Step::WriteLane(Box::new(change)))
            }
            Turn::Wait(wait) => match (lane, &wait.head) {
                (Some(lane), Some(head)) if !self.course.has_looked => {
                    self.course.has_looked = true;
                    let (lane, head) = (Box::new(lane.clone()), head.clone());
                    self.step(record, At::Head { lane, wait }, Step::ReadOther(head))
                }
                _ => self.wait(record, &wait, now),
            },
        }
    }

    /// It is not its turn: it looks again later, also if nobody wakes it.
    fn wait(&mut self, record: Box<Record>, wait: &Wait, now: Timestamp) -> Step {
        self.note(Some(&record), What::InLine { ahead: wait.ahead });
        let policy = (self.policy_of)(&record.tool);
        if record.expires_at < now.plus(policy.retention / 2) {
            // Whoever waits for so long that the table would forget it: behind a task that is parked, for weeks.
            let change = Change::kept(&record, policy, &self.writer, now);
            return self.step(record, At::Keep { until: wait.until }, Step::Write(Box::new(change)));
        }
        self.send(wait.until, false)
    }

    fn leave(&mut self, record: Box<Record>, lane: Option<&Lane>, now: Timestamp) -> Step {
        self.course.rounds += 1;
        if self.course.rounds > ROUNDS {
            // The next receipt finds it ended and goes on here.
            return self.send(now.plus(CROWDED), false);
        }
        let stay = record.seat.as_ref().map_or(0, |seat| seat.stay);
        match without(lane, &record.id, stay, &self.writer, now) {
            Some(change) => self.step(record, At::Leave, Step::WriteLane(Box::new(change))),
            None => self.wake_next(record, lane, now),
        }
    }

    fn wake_next(&mut self, record: Box<Record>, lane: Option<&Lane>, now: Timestamp) -> Step {
        match lane::next(lane, now) {
            Some((task, at)) => self.step(record, At::Wake, Step::Wake { task, at }),
            None => self.announce(record),
        }
    }
}
