//! A consent's token set is put in use: what is done, in which order. Pure, like [`refresh`](crate::refresh).
//!
//! A step that failed may have taken effect all the same, and a refresher may have gone on from there: the tokens that were consented to are
//! spent then. So they are put in use again only where it is certain that they never were.
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
    Checking,
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
    /// What may have been put in use, each with what it was to replace.
    tried: Vec<(Option<VersionId>, VersionId)>,
    tries: u32,
}

/// What a version in use says of what was tried.
enum Fate {
    /// It is what was consented to, or came of that.
    Taken,
    /// It has nothing to do with it: somebody else consented in the meantime.
    Replaced,
    /// What was consented to never was in use.
    Open,
}

impl Consent {
    /// Of `set` (whose generation is chosen here) to the connection `name`. `nonce` is random.
    #[must_use]
    pub fn new(name: ConnectionName, set: TokenSet, asked_scopes: Vec<String>, nonce: String) -> Consent {
        Consent {
            name,
            set,
            asked_scopes,
            nonce,
            phase: Phase::Fresh,
            record: None,
            in_use: None,
            tried: Vec::new(),
            tries: 0,
        }
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
            (Phase::Looking, Done::Secret(seen)) => self.looked(seen, now),
            (Phase::Restoring, Done::Restored) => self.look(),
            (Phase::Waiting, Done::Waited) => self.begin(),
            (Phase::Creating(held), Done::Stored) => self.record(held, now),
            (Phase::Storing(held), Done::Stored) => self.promote(held),
            (Phase::Promoting(held), Done::Promoted) => self.record(held, now),
            (Phase::Promoting(_), Done::NotInUse | Done::Failed(_)) => {
                self.phase = Phase::Checking;
                Step::ReadCurrent
            }
            (Phase::Creating(held), done @ Done::Failed(_)) => {
                self.tried.push((None, held.version));
                self.again(&done, now)
            }
            (Phase::Checking, Done::Secret(Seen::Held(current))) => match self.fate(&current) {
                Fate::Taken => self.record(current, now),
                Fate::Replaced => Step::End(Outcome::Use(current)),
                Fate::Open => self.again(&Done::NotInUse, now),
            },
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

    fn fate(&self, current: &Held) -> Fate {
        let came_of = |version: &VersionId| version.leads_to(&current.version);
        if self.tried.iter().any(|(_, to)| came_of(to)) {
            Fate::Taken
        } else if self.tried.iter().all(|(from, _)| from.as_ref().is_some_and(came_of)) {
            Fate::Open
        } else {
            Fate::Replaced
        }
    }

    fn looked(&mut self, seen: Seen, now: Timestamp) -> Step {
        let known = self.record.as_ref().map_or(0, |record| record.generation);
        let current = match seen {
            Seen::Deleting => {
                self.phase = Phase::Restoring;
                return Step::Restore;
            }
            Seen::Missing => None,
            Seen::Held(current) => match self.fate(&current) {
                Fate::Taken => return self.record(current, now),
                Fate::Replaced => return Step::End(Outcome::Use(current)),
                Fate::Open => Some(current),
            },
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
        self.tried.push((Some(from.clone()), to.clone()));
        self.phase = Phase::Promoting(held);
        Step::Promote { from, to }
    }

    fn record(&mut self, held: Box<Held>, now: Timestamp) -> Step {
        let record = self.record.take().map_or_else(|| Record::new(self.name.clone(), now), |record| *record);
        // A lease stays: its holder may still be asking for what was before.
        let after = Record { asked_scopes: self.asked_scopes.clone(), connected_at: now, ..record.holding(&held) };
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

#[cfg(test)]
mod tests {
    use super::*;
    use clawbridge_oauth::TokenKind;
    use std::collections::BTreeMap;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn held(version: &VersionId, generation: u64) -> Box<Held> {
        let set = TokenSet {
            v: 1,
            generation,
            access_token: "a".to_owned(),
            kind: TokenKind::Bearer,
            refresh_token: Some("r".to_owned()),
            expires_at: None,
            refresh_expires_at: None,
            scopes: Vec::new(),
            obtained_at: NOW,
            dpop_key: None,
            kept: BTreeMap::new(),
            parameters: BTreeMap::new(),
        };
        Box::new(Held { version: version.clone(), set })
    }

    /// A consent in the place of `before`, of which nobody knows whether it took effect; then `found` is in use. What it does next.
    fn after_silence(before: &VersionId, found: impl Fn(&VersionId) -> VersionId) -> Step {
        let name = ConnectionName::new("a", "b").expect("a name");
        let mut work = Consent::new(name, held(before, 0).set, Vec::new(), "nonce".to_owned());
        work.begin();
        work.next(Done::Record(None), NOW);
        let Step::Stash(own) = work.next(Done::Secret(Seen::Held(held(before, 4))), NOW) else { panic!("it stores") };
        assert_eq!(own.set.generation, 5);
        assert!(matches!(work.next(Done::Stored, NOW), Step::Promote { .. }));
        assert_eq!(work.next(Done::NotInUse, NOW), Step::ReadCurrent);
        work.next(Done::Secret(Seen::Held(held(&found(&own.version), 6))), NOW)
    }

    #[test]
    fn what_was_consented_to_is_put_in_use_again_only_where_it_never_was() {
        let before = VersionId::of_first("before", 1);
        // It took effect, and somebody has refreshed it since.
        for refreshes in 0..3 {
            let step = after_silence(&before, |own| (0..refreshes).fold(own.clone(), |id, _| id.next()));
            assert!(matches!(step, Step::Write(_)), "{step:?}");
        }
        // What it was to replace was refreshed first.
        assert!(matches!(after_silence(&before, |_| before.next()), Step::Wait(_)));
        // Another person has consented in the meantime.
        assert!(matches!(after_silence(&before, |_| VersionId::of_first("other", 6)), Step::End(Outcome::Use(_))));
    }
}
