//! With the lease: what was stored already, the question, and what its refusal means.

use super::{Phase, Refresh, STORE_RESERVE, cool_down, needs_reauth, time_to_ask};
use crate::record::{LastError, Record, Status};
use crate::step::{Asking, Note, Outcome, Step};
use crate::version::{Held, Seen};
use clawbridge_clock::Timestamp;
use clawbridge_oauth::{Refused, Retry};
use std::time::Duration;

impl Refresh {
    /// The version in use was read with the lease in hand, before the question or after its refusal.
    pub(super) fn checked(&mut self, seen: Seen, now: Timestamp, dice: f64) -> Step {
        let Some(record) = self.record.clone() else { return self.look_again(now, dice, "CONTENDED") };
        match seen {
            Seen::Held(current) if current.set.generation < record.generation => {
                // Older than the table knows it to be: not believed.
                self.held = Some(current);
                self.let_go("SECRET_BEHIND", "Secrets Manager is behind", now.plus(Duration::from_secs(1)), now)
            }
            Seen::Held(current) if record.version.as_ref() != Some(&current.version) => {
                // Somebody has finished in the meantime, or a person has consented anew.
                self.refused = None;
                self.record(current, now)
            }
            Seen::Held(current) => {
                let next = current.version.next();
                self.held = Some(current);
                self.phase = Phase::Following(None);
                Step::ReadVersion(next)
            }
            Seen::Missing if self.begins => {
                self.held = None;
                self.go_on(now, dice)
            }
            Seen::Missing | Seen::Deleting => {
                self.held = None;
                self.give(&record, Outcome::NotConnected)
            }
        }
    }

    /// What came of the version in use and was stored.
    pub(super) fn followed(&mut self, last: Option<Box<Held>>, seen: Seen, now: Timestamp, dice: f64) -> Step {
        match (seen, last) {
            (Seen::Held(found), _) => {
                let next = found.version.next();
                self.phase = Phase::Following(Some(found));
                Step::ReadVersion(next)
            }
            (Seen::Missing, Some(last)) => {
                self.notes.push(Note::Recovered { generation: last.set.generation });
                self.refused = None;
                self.promote(last)
            }
            (Seen::Missing, None) => self.go_on(now, dice),
            (Seen::Deleting, _) => Step::End(Outcome::NotConnected),
        }
    }

    /// Nothing newer is stored: ask, or believe the refusal.
    fn go_on(&mut self, now: Timestamp, dice: f64) -> Step {
        match (self.refused.take(), self.record.clone()) {
            (Some(code), Some(record)) => self.mark(*record, &code, now),
            (None, Some(_)) => self.ask(false, now),
            (_, None) => self.look_again(now, dice, "CONTENDED"),
        }
    }

    /// Asks, if the answer can be stored under the lease.
    fn ask(&mut self, previous_secret: bool, now: Timestamp) -> Step {
        let lease = self.record.as_ref().and_then(|record| record.lease.as_ref());
        let until = lease.map_or(now, |lease| lease.until.minus(STORE_RESERVE)).min(self.deadline);
        if time_to_ask(until, now).is_none() {
            return self.no_time(now);
        }
        self.phase = Phase::Asking { previous_secret };
        Step::Ask(Box::new(Asking { held: self.held.as_deref().cloned(), previous_secret, until }))
    }

    pub(super) fn no_time(&mut self, now: Timestamp) -> Step {
        self.let_go(
            "TIMEOUT",
            "too little time is left to refresh the connection",
            now.plus(Duration::from_secs(1)),
            now,
        )
    }

    pub(super) fn was_refused(&mut self, refused: Refused, previous_secret: bool, now: Timestamp, dice: f64) -> Step {
        match refused {
            Refused::Grant { code, .. } => {
                // Believed only if nobody has put something newer in its place.
                self.notes.push(Note::Refused { code: code.clone() });
                self.refused = Some(code);
                self.phase = Phase::Checking;
                Step::ReadCurrent
            }
            Refused::Client { .. } if !previous_secret => self.ask(true, now),
            Refused::Client { code, reason } => self.cool(&code, &reason, None, now, dice),
            Refused::Later(Retry { code, reason, after, .. }) => self.cool(code, &reason, after, now, dice),
            Refused::Nonce(_) => self.cool("UNEXPECTED_RESPONSE", "a nonce was wanted twice", None, now, dice),
        }
    }

    /// The provider is left alone for a while, by everybody.
    fn cool(&mut self, code: &str, reason: &str, after: Option<Duration>, now: Timestamp, dice: f64) -> Step {
        self.notes.push(Note::Refused { code: code.to_owned() });
        let Some(record) = self.record.clone() else { return self.later(code, reason, now, now) };
        let asked = after.unwrap_or_default().min(super::MAX_RETRY_AFTER);
        let at = now.plus(cool_down(record.failures, dice).max(asked));
        let cooled = Record {
            failures: record.failures.saturating_add(1),
            cool_until: Some(at),
            last_error: Some(LastError { code: code.to_owned(), at: now }),
            ..*record
        };
        self.let_go_of(&cooled, code, reason, at, now)
    }

    /// It has to be authorised again: the item says so, if nobody wrote it since.
    pub(super) fn mark(&mut self, record: Record, code: &str, now: Timestamp) -> Step {
        self.phase = Phase::Marking { code: code.to_owned() };
        let after = Record {
            status: Status::NeedsReauth,
            failures: record.failures.saturating_add(1),
            cool_until: None,
            last_error: Some(LastError { code: code.to_owned(), at: now }),
            lease: None,
            announced: false,
            ..record
        };
        self.write(record.revision, after)
    }

    pub(super) fn marked(&mut self, record: &Record, code: String, now: Timestamp) -> Step {
        self.notes.push(Note::Expired { generation: record.generation, code });
        Step::End(self.stopgap(now).unwrap_or_else(|| needs_reauth(record)))
    }

    fn let_go(&mut self, code: &str, reason: &str, at: Timestamp, now: Timestamp) -> Step {
        let Some(record) = self.record.clone() else { return self.later(code, reason, at, now) };
        self.let_go_of(&record, code, reason, at, now)
    }

    fn let_go_of(&mut self, record: &Record, code: &str, reason: &str, at: Timestamp, now: Timestamp) -> Step {
        let later = Outcome::Later { code: code.to_owned(), reason: reason.to_owned(), at };
        let outcome = self.stopgap(now).unwrap_or(later);
        self.give(record, outcome)
    }

    /// Lets go of the lease; where that fails it runs out by itself.
    pub(super) fn give(&mut self, record: &Record, outcome: Outcome) -> Step {
        self.phase = Phase::Giving(outcome);
        self.write(record.revision, Record { lease: None, ..record.clone() })
    }
}
