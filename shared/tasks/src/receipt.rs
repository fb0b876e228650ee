//! One receipt of a message about a task: what is done, in which order. Pure: the worker carries the steps out, and so does the simulation.
//!
//! The order is what makes a crash between any two steps harmless. A record is written before the queue is told, and the queue is told
//! before the message is let go of. So each receipt that lets go of its message has either seen its task ended and announced, or has put
//! another message for it on the queue itself; it never counts on somebody else's.

mod turns;

use crate::LEASE_MARGIN;
use crate::change::{Account, Change, Landed};
use crate::error::TaskError;
use crate::lane::{self, Lane, LaneChange, LaneLanded};
use crate::machine::{Ask, Finding, Outcome, Policy, Verdict, consider, judge, postpone, settle};
use crate::record::{By, NewTask, Origin, Record, State};
use clawbridge_clock::Timestamp;
use clawbridge_trace::TraceContext;
use serde_json::Value;

/// How often a receipt looks again at a task that others move on. More is a livelock: the message comes back.
const ROUNDS: u32 = 5;

/// The next step. Each is one await of the worker's.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Read the record, consistently.
    Read,
    /// Write it, if its fence holds.
    Write(Box<Change>),
    /// Call the tool. See [`time_for_call`](crate::machine::time_for_call).
    Call(Box<Record>),
    /// Ask the tool's `verify` whether this was done.
    Look(Box<Record>),
    /// Ask how far the upstream has come with this.
    Poll(Box<Record>),
    /// Put a message on the queue that is to be seen then.
    Send {
        /// When.
        at: Timestamp,
        /// The message that this is the receipt of, once more; else the task's own.
        same: bool,
    },
    /// Read a lane, consistently.
    ReadLane(String),
    /// Write it, if it still is as it was seen.
    WriteLane(Box<LaneChange>),
    /// Read another task's record, consistently.
    ReadOther(String),
    /// Put another task's message on the queue, that is to be seen then.
    Wake {
        /// The task.
        task: String,
        /// When.
        at: Timestamp,
    },
    /// Make the event of a task that has ended, if somebody listens.
    Announce(Box<Record>),
    /// Let go of the message.
    Release,
    /// Let the message come back.
    Return(&'static str),
}

/// What a step came to. A step that failed ends the receipt, and its message comes back.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// [`Step::Read`].
    Read(Option<Box<Record>>),
    /// [`Step::Write`].
    Wrote(Landed),
    /// [`Step::Call`]: it was made, or failed before it was.
    Called(Call),
    /// [`Step::Call`]: it was not begun, for the bridge's own reasons.
    NotCalled(TaskError),
    /// [`Step::Look`].
    Looked {
        /// What was found.
        finding: Finding,
        /// HTTP status of the upstream, if it answered.
        status: Option<u16>,
        /// Milliseconds that it took.
        ms: u64,
    },
    /// [`Step::Look`] or [`Step::Poll`]: it was not begun; another receipt has more time.
    NotLooked {
        /// When to try again.
        at: Timestamp,
    },
    /// [`Step::Poll`].
    Polled(Call),
    /// [`Step::Send`].
    Sent,
    /// [`Step::ReadLane`].
    Lane(Option<Box<Lane>>),
    /// [`Step::WriteLane`].
    WroteLane(LaneLanded),
    /// [`Step::ReadOther`].
    Other(Option<Box<Record>>),
    /// [`Step::Wake`].
    Woke,
    /// [`Step::Announce`].
    Announced,
}

/// A call that has come to an end.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What it came to.
    pub answer: Answer,
    /// HTTP status of the upstream, if it answered.
    pub status: Option<u16>,
    /// Milliseconds.
    pub ms: u64,
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The result, or the error.
    Final(Result<Value, TaskError>),
    /// The upstream took it and answers later.
    Later {
        /// Names the answer.
        token: String,
        /// When the upstream is asked how far it has come; the deadline if never.
        look_at: Timestamp,
        /// When it is given up waiting.
        deadline: Timestamp,
    },
}

/// What there is to tell about a receipt, for the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// Task id; empty where there is no record.
    pub task: String,
    /// Tool name.
    pub tool: String,
    /// The event that it came from, or empty.
    pub event: String,
    /// Claims so far.
    pub attempt: u32,
    /// The attempt as a step of the task's trace.
    pub step: Option<TraceContext>,
    /// What happened.
    pub what: What,
    /// HTTP status of the upstream, if it was asked and answered.
    pub status: Option<u16>,
    /// Milliseconds that the upstream took.
    pub ms: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The record says so now.
    Closed {
        /// Where it stands.
        state: State,
        /// Why, unless it succeeded.
        error: Option<TaskError>,
        /// When it is run or looked at next.
        at: Option<Timestamp>,
        /// Whose decision it was, unless the answer's own.
        by: Option<By>,
    },
    /// It had ended before.
    Reused,
    /// Its key stands for another input.
    Conflict,
    /// Its time has not come, or somebody else is at it.
    Deferred,
    /// It waits for its turn in its lane.
    InLine {
        /// How many are before it; none where only those are waited for that may still come.
        ahead: usize,
    },
    /// An attempt outlived its lease: what it came to no longer counts.
    LeaseLost,
    /// There is no such task.
    Gone,
}

/// What the receipt waits for.
#[derive(Clone, Debug)]
enum Phase {
    Fresh,
    Reading,
    /// A message is being sent that finds the task when this receipt does not live to the end of what it revives.
    Insuring(Box<Record>),
    /// The record of a task that is to wait for its turn is being written.
    Queueing {
        /// It has none yet.
        is_new: bool,
    },
    /// Something is done about its lane.
    Lining(turns::Lining),
    /// A claim is being written.
    Claiming,
    Calling(Box<Record>),
    Looking(Box<Record>),
    Polling(Box<Record>),
    /// A decision is being written.
    Closing(Closing),
    /// The queue is being told.
    Leaving,
    Over,
}

/// A decision on its way into the record, and what there is to tell of it.
#[derive(Clone, Copy, Debug)]
struct Closing {
    account: Account,
    status: Option<u16>,
    /// Whether it came of a call or a look of this receipt's own.
    own: bool,
}

/// One receipt of a message about a task.
#[derive(Clone, Debug)]
pub struct Receipt<P> {
    new: Option<Box<NewTask>>,
    ask: Ask,
    policy_of: P,
    writer: String,
    phase: Phase,
    rounds: u32,
    course: turns::Course,
    notes: Vec<Note>,
}

impl<P: Fn(&str) -> Policy> Receipt<P> {
    /// Of the message of an event whose route makes `new`, which may have a record already; or of a replay of the event, named `replay`.
    /// `policy_of` knows what a tool declares, `writer` is random.
    pub fn of_new(new: NewTask, replay: Option<String>, policy_of: P, writer: String) -> Receipt<P> {
        let (origin, input_hash) = (new.origin.clone(), crate::input_hash(&new.input));
        let ask = match replay {
            Some(nonce) => Ask::Replay { origin, input_hash, nonce },
            None => Ask::Route { origin, input_hash },
        };
        Receipt { new: Some(Box::new(new)), ..Receipt::of_task(ask, policy_of, writer) }
    }

    /// Of a message about a task that has a record.
    pub fn of_task(ask: Ask, policy_of: P, writer: String) -> Receipt<P> {
        let course = turns::Course::default();
        Receipt { new: None, ask, policy_of, writer, phase: Phase::Fresh, rounds: 0, course, notes: Vec::new() }
    }

    /// The first step.
    pub fn begin(&mut self, now: Timestamp) -> Step {
        match &self.new {
            None => {
                self.phase = Phase::Reading;
                Step::Read
            }
            Some(new) => {
                let (replay, policy) = (lane::replay(&self.ask), (self.policy_of)(&new.tool));
                let change = if new.seat.is_some() {
                    self.phase = Phase::Queueing { is_new: true };
                    Change::queued(new, replay, policy, &self.writer, now)
                } else {
                    self.phase = Phase::Claiming;
                    Change::first(new, replay, policy, &self.writer, now)
                };
                Step::Write(Box::new(change))
            }
        }
    }

    /// The step after one that came to `done`. `dice` in `[0, 1)` spreads what is tried again.
    pub fn next(&mut self, done: Done, now: Timestamp, dice: f64) -> Step {
        match (std::mem::replace(&mut self.phase, Phase::Over), done) {
            (Phase::Reading, Done::Read(Some(record))) => self.decide(*record, now, dice),
            (Phase::Reading, Done::Read(None)) => self.gone(),
            (Phase::Insuring(record), Done::Sent) => self.go(*record, now),
            (Phase::Queueing { is_new }, Done::Wrote(Landed::Written(record))) => self.queued(record, is_new, now),
            (Phase::Lining(lining), done) => self.lined(lining, done, now, dice),
            (Phase::Claiming, Done::Wrote(Landed::Written(record))) => {
                self.phase = Phase::Calling(record.clone());
                Step::Call(record)
            }
            (Phase::Calling(record), Done::Called(call)) => {
                let policy = (self.policy_of)(&record.tool);
                let outcome = outcome_of(call.answer, record.failures, policy, now, dice);
                self.close(&record, &outcome, Account { ms: call.ms, ..Account::default() }, call.status, true, now)
            }
            (Phase::Calling(record), Done::NotCalled(error)) => {
                let outcome = postpone(error, record.failures, now, dice);
                let account = Account { postponed: true, ..Account::default() };
                self.close(&record, &outcome, account, None, true, now)
            }
            (Phase::Looking(record), Done::Looked { finding, status, ms }) => {
                let outcome = judge(&record, finding, (self.policy_of)(&record.tool), now, dice);
                self.close(
                    &record,
                    &outcome,
                    Account { by: Some(By::Verify), ms, ..Account::default() },
                    status,
                    true,
                    now,
                )
            }
            (Phase::Polling(record), Done::Polled(call)) => {
                let outcome = outcome_of(call.answer, record.failures, (self.policy_of)(&record.tool), now, dice);
                self.close(&record, &outcome, Account { ms: call.ms, ..Account::default() }, call.status, true, now)
            }
            (Phase::Looking(record) | Phase::Polling(record), Done::NotLooked { at }) => {
                self.note(Some(&record), What::Deferred);
                self.send(at, false)
            }
            (Phase::Closing(closing), Done::Wrote(Landed::Written(record))) => self.closed(record, closing, now),
            (Phase::Closing(closing), Done::Wrote(Landed::Lost(current))) if closing.own => {
                // Whoever was faster has a message of its own, or had: it may be this very message, received twice, and the other
                // receipt may die. So the task is looked at like any other before the message is let go of.
                self.note(current.as_deref(), What::LeaseLost);
                self.ask = Ask::Due;
                self.decide_on(current, now, dice)
            }
            (Phase::Queueing { .. } | Phase::Claiming | Phase::Closing(_), Done::Wrote(Landed::Lost(current))) => {
                self.decide_on(current, now, dice)
            }
            (Phase::Leaving, Done::Sent | Done::Announced) => Step::Release,
            (
                Phase::Fresh
                | Phase::Reading
                | Phase::Insuring(_)
                | Phase::Queueing { .. }
                | Phase::Claiming
                | Phase::Calling(_)
                | Phase::Looking(_)
                | Phase::Polling(_)
                | Phase::Closing(_)
                | Phase::Leaving
                | Phase::Over,
                _,
            ) => Step::Return("a step of the receipt was answered by another's result"),
        }
    }

    /// What there is to tell since the last time.
    pub fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    fn decide_on(&mut self, current: Option<Box<Record>>, now: Timestamp, dice: f64) -> Step {
        match current {
            Some(record) => self.decide(*record, now, dice),
            None => self.gone(),
        }
    }

    fn decide(&mut self, record: Record, now: Timestamp, dice: f64) -> Step {
        self.rounds += 1;
        if self.rounds > ROUNDS {
            return Step::Return("the task changes hands too fast");
        }
        let policy = (self.policy_of)(&record.tool);
        match consider(&record, &self.ask, policy, now) {
            Verdict::Run if record.state.has_ended() && matches!(self.ask, Ask::Replay { .. }) => {
                // Another receipt of this very message may have found the task ended, by an earlier replay, and deleted the message.
                let at = now.plus(policy.timeout + LEASE_MARGIN);
                self.phase = Phase::Insuring(Box::new(record));
                Step::Send { at, same: false }
            }
            Verdict::Run => self.go(record, now),
            Verdict::Look => {
                let record = Box::new(record);
                self.phase = Phase::Looking(record.clone());
                Step::Look(record)
            }
            Verdict::Poll => {
                let record = Box::new(record);
                self.phase = Phase::Polling(record.clone());
                Step::Poll(record)
            }
            Verdict::Resume(answer) => {
                let outcome = settle(answer, record.failures, policy, now, dice);
                self.close(&record, &outcome, Account::default(), None, false, now)
            }
            Verdict::Close(outcome) => {
                let by = matches!(self.ask, Ask::Person { .. }).then_some(By::Person);
                self.close(&record, &outcome, Account { by, ..Account::default() }, None, false, now)
            }
            Verdict::Ended => {
                // The worker may have died between the last write and its event; the event's id is the same each time.
                self.note(Some(&record), What::Reused);
                self.ended(Box::new(record), now)
            }
            Verdict::Conflict => {
                self.note(Some(&record), What::Conflict);
                Step::Release
            }
            Verdict::Later { at } => {
                self.note(Some(&record), What::Deferred);
                // An answer can come before the record says that it is waited for.
                self.send(at, matches!(self.ask, Ask::Answer { .. }) && record.state == State::Running)
            }
        }
    }

    /// Runs the task, in its turn where it has a lane.
    fn go(&mut self, record: Record, now: Timestamp) -> Step {
        if record.seat.is_some() { self.line_up(Box::new(record), now) } else { self.claim(&record, now) }
    }

    fn claim(&mut self, record: &Record, now: Timestamp) -> Step {
        self.phase = Phase::Claiming;
        let policy = (self.policy_of)(&record.tool);
        Step::Write(Box::new(Change::claim(record, &self.ask, policy, &self.writer, now)))
    }

    fn close(
        &mut self,
        record: &Record,
        outcome: &Outcome,
        account: Account,
        status: Option<u16>,
        own: bool,
        now: Timestamp,
    ) -> Step {
        let retention = (self.policy_of)(&record.tool).retention;
        self.phase = Phase::Closing(Closing { account, status, own });
        Step::Write(Box::new(Change::close(record, outcome, account, retention, &self.writer, now)))
    }

    /// The decision is written: the queue is told.
    fn closed(&mut self, record: Box<Record>, closing: Closing, now: Timestamp) -> Step {
        let what = What::Closed {
            state: record.state,
            error: record.error.clone(),
            at: record.retry_at,
            by: closing.account.by,
        };
        self.note(Some(&record), what);
        if let Some(note) = self.notes.last_mut() {
            (note.status, note.ms) = (closing.status, closing.account.ms);
        }
        if record.state.has_ended() {
            self.ended(record, now)
        } else {
            self.send(record.retry_at.unwrap_or(record.updated_at), false)
        }
    }

    fn announce(&mut self, record: Box<Record>) -> Step {
        self.phase = Phase::Leaving;
        Step::Announce(record)
    }

    fn send(&mut self, at: Timestamp, same: bool) -> Step {
        self.phase = Phase::Leaving;
        Step::Send { at, same }
    }

    fn gone(&mut self) -> Step {
        self.note(None, What::Gone);
        Step::Release
    }

    fn note(&mut self, record: Option<&Record>, what: What) {
        let event = record.and_then(|record| record.origin.as_ref()).and_then(Origin::event).map(str::to_owned);
        self.notes.push(Note {
            task: record.map(|record| record.id.clone()).unwrap_or_default(),
            tool: record.map(|record| record.tool.clone()).unwrap_or_default(),
            event: event.unwrap_or_default(),
            attempt: record.map_or(0, |record| record.attempt),
            step: record.and_then(Record::step),
            what,
            status: None,
            ms: 0,
        });
    }
}

/// What an answer means that was got from the upstream.
fn outcome_of(answer: Answer, failures: u32, policy: Policy, now: Timestamp, dice: f64) -> Outcome {
    match answer {
        Answer::Final(answer) => settle(answer, failures, policy, now, dice),
        Answer::Later { token, look_at, deadline } => {
            Outcome::Waiting { token, look_at: look_at.min(deadline), deadline }
        }
    }
}

#[cfg(test)]
#[path = "receipt_tests.rs"]
mod tests;
