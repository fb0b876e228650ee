//! What a run did, counted.

use std::collections::BTreeMap;

/// What goes wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process died before a step's request left it.
    CrashBeforeStep,
    /// The process died after a request had left it, before the answer was there.
    CrashDuringStep,
    /// The process died with the answer in hand.
    CrashAfterStep,
    /// The invocation was killed at the end of its time.
    TimeLimit,
    /// The process stood still.
    Stall,
    /// The table refused, without effect.
    TableThrottled,
    /// The table did not answer, without effect.
    TableTimeout,
    /// The table wrote and did not answer.
    TableSilent,
    /// A write landed long after its sender gave up on it.
    TableLate,
    /// The queue did not take a message.
    SendFailed,
    /// The queue took a message and did not answer.
    SendSilent,
    /// A message was delivered while somebody had it.
    DeliveredTwice,
    /// A delete had no effect.
    DeleteLost,
    /// A message went to the dead-letter queue, and was moved back.
    DeadLetter,
    /// No connection to the upstream.
    NotConnected,
    /// The upstream refused for now.
    Declined,
    /// The upstream refused for good.
    Refused,
    /// The upstream broke, or the connection did, before it acted.
    BrokeBefore,
    /// The upstream acted, and it or the connection broke.
    BrokeAfter,
    /// The upstream was silent and did nothing.
    SilentBefore,
    /// The upstream acted and was silent.
    SilentAfter,
    /// The upstream acted after the call was given up.
    ActedLate,
    /// The upstream acted, and its answer could not be read.
    Unreadable,
    /// A job was not finished by its deadline.
    JobOverdue,
    /// The verify call, or asking for a job, failed.
    LookFailed,
    /// Verify did not know.
    LookUndecided,
}

/// Counts of one run, or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Things that happened.
    pub steps: u64,
    /// Virtual time that passed, milliseconds.
    pub millis: u64,
    /// Tasks accepted.
    pub tasks: u64,
    /// Calls of tools begun.
    pub calls: u64,
    /// Calls that acted.
    pub effects: u64,
    /// Looks by verify, and polls.
    pub looks: u64,
    /// Writes to the table, and those that lost against another.
    pub writes: u64,
    /// See `writes`.
    pub races: u64,
    /// `unsafe` effects repeated after a verify that said *not done* of an upstream which acted later than is promised.
    pub lied_to: u64,
    /// Tasks that belong to a lane.
    pub ordered: u64,
    /// Turns in lanes.
    pub turns: u64,
    /// Receipts of tasks whose turn it was not.
    pub waits: u64,
    /// Turns of tasks while one whose event was taken before had not come to the lane yet.
    pub late: u64,
    /// Wishes of persons.
    pub wishes: u64,
    /// What went wrong on purpose.
    pub faults: BTreeMap<Fault, u64>,
    /// How tasks ended.
    pub ends: BTreeMap<&'static str, u64>,
}

impl Figures {
    /// Adds another run's.
    pub fn add(&mut self, other: &Figures) {
        self.steps += other.steps;
        self.millis += other.millis;
        self.tasks += other.tasks;
        self.calls += other.calls;
        self.effects += other.effects;
        self.looks += other.looks;
        self.writes += other.writes;
        self.races += other.races;
        self.lied_to += other.lied_to;
        self.ordered += other.ordered;
        self.turns += other.turns;
        self.waits += other.waits;
        self.late += other.late;
        self.wishes += other.wishes;
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (end, count) in &other.ends {
            *self.ends.entry(end).or_default() += count;
        }
    }

    pub(crate) fn count(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }
}
