//! A consent's token set is put in use: what is done, in which order. Pure, like [`refresh`](crate::refresh).
//!
//! It replaces whatever is in use, and no refresh of what was before can replace it: each version is put in use in the place of one that
//! is named, and a refresh names the one that it came of.

use crate::name::ConnectionName;
use crate::record::{Change, Landed, Record};
use crate::step::{Done, Outcome, Step};
use crate::version::{Held, Seen, VersionId};
use clawbridge_clock::Timestamp;
use clawbridge_oauth::TokenSet;
use std::time::Duration;

/// How often is tried what others get in the way of.
const TRIES: u32 = 12;

#[derive(Clone, Debug)]
enum Phase {
    Fresh,
    Reading,
    Looking,
    Restoring,
    Creating(Box<Held>),
    Storing(Box<Held>),
    Promoting(Box<Held>),
    /// It is not known which version is in use now.
    Checking(Box<Held>),
    Recording(Box<Held>),
    Waiting,
    Over,
}

/// What a person has consented to.
#[derive(Clone, Debug)]
pub struct Consent {
    name: ConnectionName,
    set: TokenSet,
    asked_scopes: Vec<String>,
    /// Random.
    nonce: String,
    phase: Phase,
    record: Option<Box<Record>>,
    in_use: Option<VersionId>,
    tries: u32,
}

impl Consent {
    /// Of `set` (whose generation is chosen here) to the connection `name`. `nonce` is random.
    #[must_use]
    pub fn new(name: ConnectionName, set: TokenSet, asked_scopes: Vec<String>, nonce: String) -> Consent {
        Consent { name, set, asked_scopes, nonce, phase: Phase::Fresh, record: None, in_use: None, tries: 0 }
    }

    /// The first step.
    pub fn begin(&mut self) -> Step {
        self.phase = Phase::Reading;
        Step::ReadRecord
    }

    /// The step after one that came to `done`.
    pub fn next(&mut self, done: Done, now: Timestamp) -> Step {
        match (std::mem::replace(&mut self.phase, Phase::Over), done) {
            (Phase::Reading, Done::Record(record)) => {
                self.record = record;
                self.look()
            }
            (Phase::Looking, Done::Secret(seen)) => self.looked(seen),
            (Phase::Restoring, Done::Restored) => self.look(),
            (Phase::Waiting, Done::Waited) => self.begin(),
            (Phase::Creating(held), Done::Stored) => self.record(held, now),
            (Phase::Storing(held), Done::Stored) => self.promote(held),
            (Phase::Promoting(held), Done::Promoted) => self.record(held, now),
            (Phase::Promoting(held), Done::NotInUse | Done::Failed(_)) => {
                self.phase = Phase::Checking(held);
                Step::ReadCurrent
            }
            (Phase::Checking(held), Done::Secret(Seen::Held(current))) if current.version == held.version => {
                self.record(held, now)
            }
            (Phase::Recording(held), Done::Wrote(Landed::Lost(current)))
                if current.as_ref().is_none_or(|current| current.generation < held.set.generation) =>
            {
                self.record = current;
                self.record(held, now)
            }
            // Something newer has been written, or the write failed: the next refresh makes it good.
            (Phase::Recording(held), Done::Wrote(_) | Done::Failed(_)) => Step::End(Outcome::Use(held)),
            (_, done) => self.again(&done, now),
        }
    }

    fn look(&mut self) -> Step {
        self.phase = Phase::Looking;
        Step::ReadCurrent
    }

    fn looked(&mut self, seen: Seen) -> Step {
        let known = self.record.as_ref().map_or(0, |record| record.generation);
        let current = match seen {
            Seen::Deleting => {
                self.phase = Phase::Restoring;
                return Step::Restore;
            }
            Seen::Missing => None,
            Seen::Held(current) => Some(current),
        };
        let before = current.as_ref().map_or(0, |current| current.set.generation).max(known);
        let generation = before.saturating_add(1);
        let version = VersionId::of_first(&self.nonce, generation);
        let held = Box::new(Held { version, set: TokenSet { generation, ..self.set.clone() } });
        self.in_use = current.map(|current| current.version);
        match self.in_use {
            None => {
                self.phase = Phase::Creating(held.clone());
                Step::Create(held)
            }
            Some(_) => {
                self.phase = Phase::Storing(held.clone());
                Step::Stash(held)
            }
        }
    }

    fn promote(&mut self, held: Box<Held>) -> Step {
        let Some(from) = self.in_use.clone() else { return self.begin() };
        let to = held.version.clone();
        self.phase = Phase::Promoting(held);
        Step::Promote { from, to }
    }

    fn record(&mut self, held: Box<Held>, now: Timestamp) -> Step {
        let record = self.record.take().map_or_else(|| Record::new(self.name.clone(), now), |record| *record);
        let after =
            Record { asked_scopes: self.asked_scopes.clone(), connected_at: now, lease: None, ..record.holding(&held) };
        self.phase = Phase::Recording(held);
        Step::Write(Box::new(Change::new(record.revision, after, &self.nonce)))
    }

    /// Something got in the way, or failed with or without effect: everything is looked at again.
    fn again(&mut self, done: &Done, now: Timestamp) -> Step {
        self.tries += 1;
        let at = now.plus(Duration::from_millis(100).saturating_mul(self.tries));
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
