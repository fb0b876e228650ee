//! What the provider gave: stored, put in use, written into the item.

use super::{Phase, Refresh};
use crate::record::{Landed, Record, Status};
use crate::step::{Done, Note, Outcome, Step};
use crate::version::{Held, Seen, VersionId};
use clawbridge_clock::Timestamp;
use clawbridge_oauth::TokenSet;
use std::time::Duration;

/// How often a step that puts a stored version in use is tried.
const TRIES: u32 = 4;

impl Refresh {
    /// The provider's answer. The next await stores it.
    pub(super) fn answered(&mut self, set: TokenSet) -> Step {
        let before = self.held.as_ref().map(|held| held.set.generation);
        let known = self.record.as_ref().map_or(0, |record| record.generation);
        let generation = before.unwrap_or(known).saturating_add(1);
        let version = match &self.held {
            Some(held) => held.version.next(),
            None => VersionId::of_first(&self.owner, generation),
        };
        self.notes.push(Note::Refreshed { generation });
        self.tries = 0;
        self.has_asked = true;
        self.store(Box::new(Held { version, set: TokenSet { generation, ..set } }))
    }

    pub(super) fn store(&mut self, held: Box<Held>) -> Step {
        self.phase = Phase::Storing(held.clone());
        if self.held.is_some() { Step::Stash(held) } else { Step::Create(held) }
    }

    pub(super) fn stored(&mut self, held: Box<Held>, done: Done, now: Timestamp) -> Step {
        self.tries += 1;
        match done {
            Done::Stored if self.held.is_some() => {
                self.tries = 0;
                self.promote(held)
            }
            Done::Stored => self.record(held, now),
            Done::Taken if self.held.is_some() => {
                let version = held.version.clone();
                self.phase = Phase::Contested(held);
                Step::ReadVersion(version)
            }
            Done::Taken => {
                // Somebody has made the secret: theirs counts.
                self.notes.push(Note::Superseded { generation: held.set.generation });
                self.begin()
            }
            Done::Gone => {
                self.notes.push(Note::Superseded { generation: held.set.generation });
                Step::End(Outcome::NotConnected)
            }
            // What cannot be stored may be the only good refresh token there is: as long as nobody else asks, it is tried again.
            _ => {
                let at = now.plus(Duration::from_millis(100).saturating_mul(2u32.saturating_pow(self.tries.min(5))));
                if self.is_leased_at(at) {
                    self.phase = Phase::StoringAgain(held);
                    return Step::Wait(at);
                }
                self.notes.push(Note::Unstored { generation: held.set.generation });
                Step::End(Outcome::Use(held))
            }
        }
    }

    fn is_leased_at(&self, at: Timestamp) -> bool {
        self.record.as_ref().and_then(|record| record.lease.as_ref()).is_some_and(|lease| lease.until > at)
    }

    /// Somebody else has stored what they got for the same refresh token: a refresher that was held up beyond its lease, or we are that
    /// one. Whoever has the lease asked last, and what was got last counts.
    pub(super) fn contested(&mut self, mine: Box<Held>, done: Done, now: Timestamp) -> Step {
        match done {
            Done::Secret(Seen::Held(other)) if self.is_leased_at(now) => {
                let generation = other.set.generation.saturating_add(1);
                let set = TokenSet { generation, ..mine.set };
                self.store(Box::new(Held { version: other.version.next(), set }))
            }
            Done::Secret(Seen::Held(other)) => {
                self.notes.push(Note::Superseded { generation: mine.set.generation });
                self.promote(other)
            }
            Done::Secret(Seen::Deleting) => Step::End(Outcome::NotConnected),
            // Not to be seen yet.
            _ => {
                let at = now.plus(Duration::from_millis(500));
                if self.is_leased_at(at) {
                    self.phase = Phase::StoringAgain(mine);
                    return Step::Wait(at);
                }
                self.notes.push(Note::Unstored { generation: mine.set.generation });
                Step::End(Outcome::Use(mine))
            }
        }
    }

    pub(super) fn promote(&mut self, to: Box<Held>) -> Step {
        let Some(held) = &self.held else { return Step::End(Outcome::Use(to)) };
        let step = Step::Promote { from: held.version.clone(), to: to.version.clone() };
        self.phase = Phase::Promoting(to);
        step
    }

    pub(super) fn promoted(&mut self, to: Box<Held>, done: Done, now: Timestamp) -> Step {
        match done {
            Done::Promoted => self.record(to, now),
            Done::NotInUse => {
                self.phase = Phase::Checked(to);
                Step::ReadCurrent
            }
            Done::Gone => Step::End(Outcome::NotConnected),
            _ => self.promote_again(to, now),
        }
    }

    /// It is stored: should this not succeed, the next one who looks puts it in use.
    fn promote_again(&mut self, to: Box<Held>, now: Timestamp) -> Step {
        self.tries += 1;
        if self.tries >= TRIES {
            return Step::End(Outcome::Use(to));
        }
        self.phase = Phase::PromotingAgain(to);
        Step::Wait(now.plus(Duration::from_millis(300)))
    }

    /// Another version is in use than the one that was to be replaced.
    pub(super) fn not_in_use(&mut self, to: Box<Held>, done: Done, now: Timestamp) -> Step {
        let current = match done {
            Done::Secret(Seen::Held(current)) => current,
            Done::Secret(Seen::Missing | Seen::Deleting) => return Step::End(Outcome::NotConnected),
            _ => return self.promote_again(to, now),
        };
        let from = self.held.as_ref().map(|held| held.version.clone());
        if current.version == to.version {
            // An earlier try took effect.
            return self.record(to, now);
        }
        if from.is_some_and(|from| from.leads_to(&current.version) && current.version.leads_to(&to.version)) {
            // The read was behind, or somebody has put in use what lies between.
            self.held = Some(current);
            return self.promote_again(to, now);
        }
        self.notes.push(Note::Superseded { generation: to.set.generation });
        self.record(current, now)
    }

    /// It is in use: the item is to say so, and the lease is let go of.
    pub(super) fn record(&mut self, held: Box<Held>, now: Timestamp) -> Step {
        let record = match self.record.take() {
            Some(record) => *record,
            None => Record::new(self.name.clone(), now),
        };
        let lease = record.lease.clone().filter(|lease| lease.owner != self.owner);
        let after = Record { lease, last_refresh_at: Some(now), ..record.holding(&held) };
        self.phase = Phase::Recording(held);
        self.write(record.revision, after)
    }

    pub(super) fn recorded(&mut self, held: Box<Held>, done: Done, now: Timestamp) -> Step {
        match done {
            Done::Wrote(Landed::Lost(Some(current))) if current.status == Status::Revoked => {
                if current.generation >= held.set.generation {
                    return Step::End(Outcome::NotConnected);
                }
                self.record = Some(current);
                self.record(held, now)
            }
            Done::Wrote(Landed::Lost(Some(current))) if current.generation >= held.set.generation => {
                // Somebody else wrote it down, or something newer.
                self.held = Some(held);
                let outcome = self.stopgap_of_ours(now);
                if current.lease.as_ref().is_some_and(|lease| lease.owner == self.owner) {
                    return self.give(&current, outcome);
                }
                Step::End(outcome)
            }
            Done::Wrote(Landed::Lost(current)) => {
                self.record = current;
                self.record(held, now)
            }
            Done::Wrote(Landed::Written(_)) if !self.has_asked && !self.serves(&held, now) => {
                // It was put aside long ago.
                self.held = Some(held);
                self.rounds += 1;
                self.begin()
            }
            _ => Step::End(Outcome::Use(held)),
        }
    }

    fn stopgap_of_ours(&self, now: Timestamp) -> Outcome {
        let reason = "the connection is being refreshed elsewhere".to_owned();
        let at = now.plus(Duration::from_secs(1));
        self.stopgap(now).unwrap_or(Outcome::Later { code: "REFRESHING".to_owned(), reason, at })
    }
}
