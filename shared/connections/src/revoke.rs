//! A connection is taken back: what is done, in which order. Pure, like [`refresh`](crate::refresh).
//!
//! The item first, so that nobody refreshes any more; its generation goes past what any refresh under way can make. Then the secret, which
//! Secrets Manager keeps for [`RECOVERY_DAYS`]: an account that is connected again in the same moment takes the deletion back.

use crate::name::ConnectionName;
use crate::record::{Change, Landed, Record, Status};
use crate::step::{Done, Outcome, Step};
use crate::version::{Held, Seen};
use clawbridge_clock::Timestamp;
use std::time::Duration;

/// How long a deleted secret can be had back, days: the least that Secrets Manager takes.
pub const RECOVERY_DAYS: i64 = 7;

/// How often is tried what others get in the way of.
const TRIES: u32 = 8;

#[derive(Clone, Debug)]
enum Phase {
    Fresh,
    Reading,
    Looking,
    Marking,
    Deleting,
    Waiting,
    Over,
}

/// Taking a connection back.
#[derive(Clone, Debug)]
pub struct Revoke {
    name: ConnectionName,
    /// Random.
    nonce: String,
    phase: Phase,
    record: Option<Box<Record>>,
    held: Option<Box<Held>>,
    tries: u32,
}

impl Revoke {
    /// Of the connection `name`. `nonce` is random.
    #[must_use]
    pub fn new(name: ConnectionName, nonce: String) -> Revoke {
        Revoke { name, nonce, phase: Phase::Fresh, record: None, held: None, tries: 0 }
    }

    /// The first step.
    pub fn begin(&mut self) -> Step {
        self.phase = Phase::Looking;
        Step::ReadCurrent
    }

    /// What was in use, for who tells the provider.
    #[must_use]
    pub fn held(&self) -> Option<&Held> {
        self.held.as_deref()
    }

    /// The step after one that came to `done`. The end is [`Outcome::NotConnected`] where it succeeded.
    pub fn next(&mut self, done: Done, now: Timestamp) -> Step {
        match (std::mem::replace(&mut self.phase, Phase::Over), done) {
            (Phase::Looking, Done::Secret(seen)) => {
                self.held = match seen {
                    Seen::Held(held) => Some(held),
                    Seen::Missing | Seen::Deleting => None,
                };
                self.phase = Phase::Reading;
                Step::ReadRecord
            }
            (Phase::Reading, Done::Record(record)) | (Phase::Marking, Done::Wrote(Landed::Lost(record))) => {
                self.record = record;
                self.mark(now)
            }
            (Phase::Marking, Done::Wrote(Landed::Written(_))) => {
                self.phase = Phase::Deleting;
                Step::Delete
            }
            (Phase::Deleting, Done::Deleted) => Step::End(Outcome::NotConnected),
            (Phase::Waiting, Done::Waited) => self.begin(),
            (_, done) => self.again(&done, now),
        }
    }

    fn mark(&mut self, now: Timestamp) -> Step {
        self.tries += 1;
        let held = self.held.as_ref().map_or(0, |held| held.set.generation);
        let record = match self.record.take() {
            Some(record) => *record,
            None if self.held.is_none() => return Step::End(Outcome::NotConnected),
            None => Record::new(self.name.clone(), now),
        };
        let is_done = record.status == Status::Revoked && record.generation > held;
        if self.tries > TRIES {
            return self.again(&Done::Waited, now);
        }
        let generation = if is_done { record.generation } else { record.generation.max(held).saturating_add(1) };
        let after = Record {
            status: Status::Revoked,
            generation,
            version: None,
            token_expires_at: None,
            cool_until: None,
            last_error: None,
            announced: true,
            ..record
        };
        self.phase = Phase::Marking;
        Step::Write(Box::new(Change::new(record.revision, after, &self.nonce)))
    }

    fn again(&mut self, done: &Done, now: Timestamp) -> Step {
        self.tries += 1;
        let at = now.plus(Duration::from_millis(200).saturating_mul(self.tries));
        if self.tries < TRIES {
            self.phase = Phase::Waiting;
            return Step::Wait(at);
        }
        let (code, reason) = match done {
            Done::Failed(failure) => (failure.code.to_owned(), failure.reason.clone()),
            _ => ("CONTENDED".to_owned(), "the connection changes hands too fast".to_owned()),
        };
        Step::End(Outcome::Later { code, reason, at })
    }
}
