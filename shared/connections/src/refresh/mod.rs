//! One refresh of one connection: what is done, in which order. Pure: [`Connections`](crate::Connections) carries the steps out, and so does the simulation.
//!
//! The order is what makes a crash between any two steps harmless, but for one: between the provider's answer and the first write of it
//! lies the point at which a refresh token that can be used once is lost. Nothing stands between the two.
//!
//! - *A lease before the question, all that is known before the question too.* Under the lease the secret is read again, and beyond the
//!   version in use whatever a refresher before has stored and not put in use: that is put in use instead of asking.
//! - *Stored, then in use, then in the table.* Where the process dies between two of them, the next one finds it and goes on from there.
//! - *A version's successor has one id.* Two refreshers that came of the same version cannot both store, and what came of a version that
//!   is no longer in use cannot take the place of what is: a newer consent stays.
//! - *The table knows what the secret must at least be.* Secrets Manager is eventually consistent: what it answers that is older than the
//!   table says is not believed, or a refresh token that is spent would be presented once more.

mod asking;
mod keeping;

use crate::name::ConnectionName;
use crate::record::{Change, Landed, Lease, Record, Status};
use crate::step::{Done, Failure, Note, Outcome, Step};
use crate::version::{Held, Seen, VersionId};
use clawbridge_clock::Timestamp;
use std::time::Duration;

/// How long nobody else refreshes a connection.
pub const LEASE: Duration = Duration::from_secs(30);

/// The longest that a provider is waited for.
pub const ASK: Duration = Duration::from_secs(10);

/// Less than this is too little to ask.
pub const SHORTEST_ASK: Duration = Duration::from_secs(1);

/// So much of a lease is left when the provider has been asked: to store the answer, and for clocks that differ.
pub const STORE_RESERVE: Duration = Duration::from_secs(12);

/// The longest pause after failures.
pub const MAX_COOL: Duration = Duration::from_secs(5 * 60);

/// The longest pause that a provider's `Retry-After` makes.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// How often is looked anew at a connection that changes hands. More is a livelock.
const ROUNDS: u32 = 48;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// A token that does not expire within this time.
    Fresh {
        /// How long before its expiry a token is refreshed.
        early: Duration,
    },
    /// Another token than this version's, which was refused.
    Other(VersionId),
    /// Another token than the one there is: a person wants it, whatever the last refresh came to.
    Forced,
}

/// How long a question may take that is begun now. `None`: too little is left, and it must not be begun.
#[must_use]
pub fn time_to_ask(until: Timestamp, now: Timestamp) -> Option<Duration> {
    let time = now.until(until).min(ASK);
    (time >= SHORTEST_ASK).then_some(time)
}

/// Full jitter: anywhere between nothing and one second doubled `failures` times, at most [`MAX_COOL`].
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
#[must_use]
pub fn cool_down(failures: u32, dice: f64) -> Duration {
    let ceiling = Duration::from_secs(1).saturating_mul(2u32.saturating_pow(failures.min(16))).min(MAX_COOL);
    ceiling.mul_f64(dice.clamp(0.0, 1.0))
}

/// What is waited for.
#[derive(Clone, Debug)]
enum Phase {
    Fresh,
    /// The version in use is being read, without a lease.
    Looking,
    Restoring,
    Reading(Seen),
    Claiming,
    Waiting,
    /// With the lease: the version in use is being read.
    Checking,
    /// With the lease: what was stored after it is being read; the last that was found.
    Following(Option<Box<Held>>),
    Asking {
        previous_secret: bool,
    },
    Storing(Box<Held>),
    StoringAgain(Box<Held>),
    /// Somebody else stored a successor of the same version.
    Contested(Box<Held>),
    Promoting(Box<Held>),
    PromotingAgain(Box<Held>),
    /// Another version was in use when this one was to be.
    Checked(Box<Held>),
    Recording(Box<Held>),
    Marking {
        code: String,
    },
    /// The lease is let go of.
    Giving(Outcome),
    Over,
}

/// One refresh.
#[derive(Clone, Debug)]
pub struct Refresh {
    name: ConnectionName,
    /// The grant needs no person: tokens can be had without any.
    begins: bool,
    want: Want,
    /// A person wants it.
    insists: bool,
    owner: String,
    deadline: Timestamp,
    phase: Phase,
    /// The version in use, as it was read last.
    held: Option<Box<Held>>,
    /// The item, as it was read or written last.
    record: Option<Box<Record>>,
    /// The provider refused what the version in use has.
    refused: Option<String>,
    /// The provider was asked and gave: it is not asked twice, however short-lived what it gave is.
    has_asked: bool,
    rounds: u32,
    tries: u32,
    notes: Vec<Note>,
}

impl Refresh {
    /// Of the connection `name`, by somebody who can wait until `deadline`. `begins`: its grant needs no person. `owner` is random.
    #[must_use]
    pub fn new(name: ConnectionName, begins: bool, want: Want, owner: String, deadline: Timestamp) -> Refresh {
        Refresh {
            name,
            begins,
            insists: want == Want::Forced,
            want,
            owner,
            deadline,
            phase: Phase::Fresh,
            held: None,
            record: None,
            refused: None,
            has_asked: false,
            rounds: 0,
            tries: 0,
            notes: Vec::new(),
        }
    }

    /// The first step.
    pub fn begin(&mut self) -> Step {
        self.phase = Phase::Looking;
        Step::ReadCurrent
    }

    /// What there is to tell since the last time.
    pub fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// The step after one that came to `done`. `dice` in `[0, 1)` spreads what is tried again.
    pub fn next(&mut self, done: Done, now: Timestamp, dice: f64) -> Step {
        match self.step(done, now, dice) {
            // It took so long that what was got has expired again.
            Step::End(Outcome::Use(held)) if held.has_expired(now) => {
                let reason = "the token expired while it was stored".to_owned();
                Step::End(Outcome::Later { code: "TIMEOUT".to_owned(), reason, at: now })
            }
            step => step,
        }
    }

    fn step(&mut self, done: Done, now: Timestamp, dice: f64) -> Step {
        match (std::mem::replace(&mut self.phase, Phase::Over), done) {
            (Phase::Looking, Done::Secret(seen)) => self.looked(seen, now),
            (Phase::Reading(seen), Done::Record(record)) => self.consider(seen, record, now, dice),
            (Phase::Restoring, Done::Restored) | (Phase::Waiting, Done::Waited) => self.begin(),
            (Phase::Claiming, Done::Wrote(Landed::Written(record))) => {
                self.record = Some(record);
                self.phase = Phase::Checking;
                Step::ReadCurrent
            }
            (Phase::Claiming, Done::Wrote(Landed::Lost(current))) => {
                let seen = self.held.take().map_or(Seen::Missing, Seen::Held);
                self.consider(seen, current, now, dice)
            }
            (Phase::Checking, Done::Secret(seen)) => self.checked(seen, now, dice),
            (Phase::Following(last), Done::Secret(seen)) => self.followed(last, seen, now, dice),
            (Phase::Asking { .. }, Done::Asked(set)) => self.answered(*set),
            (Phase::Asking { previous_secret }, Done::Refused(refused)) => {
                self.was_refused(refused, previous_secret, now, dice)
            }
            (Phase::Asking { .. }, Done::NotAsked) => self.no_time(now),
            (Phase::Storing(held), done) => self.stored(held, done, now),
            (Phase::StoringAgain(held), Done::Waited) => self.store(held),
            (Phase::Contested(mine), done) => self.contested(mine, done, now),
            (Phase::Promoting(held), done) => self.promoted(held, done, now),
            (Phase::PromotingAgain(held), Done::Waited) => self.promote(held),
            (Phase::Checked(held), done) => self.not_in_use(held, done, now),
            (Phase::Recording(held), done) => self.recorded(held, done, now),
            (Phase::Marking { code }, Done::Wrote(Landed::Written(record))) => self.marked(&record, code, now),
            (Phase::Marking { .. }, Done::Wrote(Landed::Lost(_))) => self.look_again(now, dice, "CONTENDED"),
            (Phase::Giving(outcome), Done::Wrote(_) | Done::Failed(_)) => Step::End(outcome),
            (_, Done::Failed(failure)) => self.failed(failure, now),
            _ => {
                let reason = "a step of the refresh was answered by another's result".to_owned();
                self.failed(Failure { code: "UNEXPECTED_RESPONSE", reason }, now)
            }
        }
    }

    /// The version in use is known, and nothing else.
    fn looked(&mut self, seen: Seen, now: Timestamp) -> Step {
        if let Seen::Held(held) = &seen {
            if self.want == Want::Forced {
                self.want = Want::Other(held.version.clone());
            }
            if self.serves(held, now) {
                return Step::End(Outcome::Use(held.clone()));
            }
        }
        self.phase = Phase::Reading(seen);
        Step::ReadRecord
    }

    /// Whether this is what is wanted.
    fn serves(&self, held: &Held, now: Timestamp) -> bool {
        match &self.want {
            Want::Fresh { early } => !held.is_due(*early, now),
            Want::Other(refused) => held.version != *refused && held.is_valid(now),
            Want::Forced => false,
        }
    }

    /// What there is does, as long as there is nothing better.
    fn stopgap(&self, now: Timestamp) -> Option<Outcome> {
        let held = self.held.as_ref()?;
        let does = match &self.want {
            Want::Fresh { .. } => true,
            Want::Other(refused) => held.version != *refused,
            Want::Forced => false,
        };
        (does && held.is_valid(now)).then(|| Outcome::Use(held.clone()))
    }

    /// The item is known too: is it for us to refresh?
    fn consider(&mut self, seen: Seen, record: Option<Box<Record>>, now: Timestamp, dice: f64) -> Step {
        self.rounds += 1;
        if self.rounds > ROUNDS {
            return self.later(
                "CONTENDED",
                "the connection changes hands too fast",
                now.plus(Duration::from_secs(1)),
                now,
            );
        }
        let known = record.is_some();
        let mut record = record.unwrap_or_else(|| Box::new(Record::new(self.name.clone(), now)));
        self.held = match seen {
            Seen::Held(held) => Some(held),
            Seen::Missing => None,
            Seen::Deleting if known && record.status != Status::Revoked => {
                // A deletion that came late: the account has been connected again since it was taken back.
                self.phase = Phase::Restoring;
                return Step::Restore;
            }
            Seen::Deleting => return Step::End(Outcome::NotConnected),
        };
        let generation = self.held.as_ref().map_or(0, |held| held.set.generation);
        if record.status == Status::Revoked && record.generation >= generation {
            return Step::End(Outcome::NotConnected);
        }
        let is_leased = record.is_leased(&self.owner, now);
        match &self.held {
            None if !self.begins => {
                return match record.status {
                    Status::NeedsReauth => self.needs_reauth(&record, now),
                    Status::Active | Status::Revoked => Step::End(Outcome::NotConnected),
                };
            }
            None => {}
            Some(_) if record.generation > generation => {
                return self.look_again(now, dice, "SECRET_BEHIND");
            }
            // Somebody died before the item was written; what claims it writes this too.
            Some(held) if record.version.as_ref() != Some(&held.version) && !is_leased => {
                *record = record.holding(held);
            }
            Some(_) => {}
        }
        if is_leased {
            return self.look_again(now, dice, "REFRESHING");
        }
        if record.status == Status::NeedsReauth && !self.insists {
            return self.needs_reauth(&record, now);
        }
        if let Some(at) = record.cool_until.filter(|at| *at > now && !self.insists) {
            let code = record.last_error.as_ref().map_or("COOLING_DOWN", |error| error.code.as_str()).to_owned();
            return self.later(&code, "the last refresh failed, and the provider is left alone", at, now);
        }
        if !self.begins && self.held.as_ref().is_some_and(|held| held.set.refresh_token.is_none()) {
            return match self.stopgap(now) {
                Some(outcome) => Step::End(outcome),
                None => self.mark(*record, "NO_REFRESH_TOKEN", now),
            };
        }
        if time_to_ask(self.deadline, now).is_none() {
            return self.later("TIMEOUT", "too little time is left to refresh the connection", now, now);
        }
        self.claim(&record, now)
    }

    fn claim(&mut self, record: &Record, now: Timestamp) -> Step {
        let lease = Some(Lease { owner: self.owner.clone(), until: now.plus(LEASE) });
        self.phase = Phase::Claiming;
        self.write(record.revision, Record { lease, ..record.clone() })
    }

    fn write(&self, seen: u64, after: Record) -> Step {
        Step::Write(Box::new(Change::new(seen, after, &self.owner)))
    }

    /// Somebody else is at it, or what was read is not the newest: what there is does, or is looked for again in a while.
    fn look_again(&mut self, now: Timestamp, dice: f64, code: &'static str) -> Step {
        if let Some(outcome) = self.stopgap(now) {
            return Step::End(outcome);
        }
        // Short at first, since most refreshes take no longer than one request: whoever waits has callers of its own.
        let pause = Duration::from_millis(50).saturating_mul(2u32.saturating_pow(self.rounds.min(6)));
        let at = now.plus(pause.mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0));
        if at >= self.deadline {
            let until = self.record.as_ref().and_then(|record| record.lease.as_ref()).map(|lease| lease.until);
            let at = until.filter(|until| *until > now).unwrap_or_else(|| now.plus(Duration::from_secs(1)));
            return self.later(code, "the connection is being refreshed elsewhere", at, now);
        }
        self.refused = None;
        self.phase = Phase::Waiting;
        Step::Wait(at)
    }

    fn needs_reauth(&self, record: &Record, now: Timestamp) -> Step {
        Step::End(self.stopgap(now).unwrap_or_else(|| needs_reauth(record)))
    }

    fn later(&self, code: &str, reason: &str, at: Timestamp, now: Timestamp) -> Step {
        let later = || Outcome::Later { code: code.to_owned(), reason: reason.to_owned(), at };
        Step::End(self.stopgap(now).unwrap_or_else(later))
    }

    /// A step failed before the provider gave anything that would have to be kept. A lease, if there is one, runs out by itself.
    fn failed(&self, failure: Failure, now: Timestamp) -> Step {
        self.later(failure.code, &failure.reason, now.plus(Duration::from_secs(1)), now)
    }
}

/// Somebody has to authorise it again, as the item says.
pub(crate) fn needs_reauth(record: &Record) -> Outcome {
    let error = record.last_error.as_ref();
    Outcome::NeedsReauth {
        code: error.map_or_else(|| "invalid_grant".to_owned(), |error| error.code.clone()),
        since: error.map_or(record.connected_at, |error| error.at),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
