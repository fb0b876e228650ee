//! The second subject: one connection, the workers that want its token, persons who consent and take back.
//!
//! What decides is [`clawbridge_connections`]: its refreshes, consents and revocations say which step comes next, its changes whether a
//! write counts. Made up are Secrets Manager (eventually consistent: a read may be two seconds behind), the table, the network, clocks,
//! and an authorization server that rotates refresh tokens and revokes everything when one comes twice.
//!
//! # What is promised, precisely
//!
//! A refresh token that can be used once is lost only where the answer to it was not stored by the end of its lease (less what clocks
//! differ and reads lag): because the process died or stood still between the two, the answer never came, or nothing could be stored all
//! that time. These losses are counted ([`Figures::named`]); any other is a [`Violation`].

mod cloud;
mod server;
mod steps;
mod world;

use std::collections::BTreeMap;
use std::fmt;

/// Which rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// None: the real thing.
    Kept,
    /// The table writes whatever it is sent.
    FenceDropped,
    /// A lease counts for nothing.
    LeaseIgnored,
    /// What a refresher has stored and not put in use is not looked for.
    StoredNotRead,
    /// One version takes the place of another, whichever that is.
    SwapUnconditional,
    /// A refused refresh token is believed without another look.
    RefusalBelieved,
    /// The provider is asked without a look at how much is left of the lease.
    AskOutlivesLease,
    /// What Secrets Manager answers is believed, also where the table knows better.
    StaleBelieved,
    /// The lease is let go of before the answer is stored.
    LetGoFirst,
    /// Who writes down that a connection has to be authorised again tells it; nobody else does.
    ToldOnce,
    /// A deletion that comes late is left at that.
    DeletionStays,
}

impl Rule {
    /// Those that can be broken.
    pub const BROKEN: [Rule; 10] = [
        Rule::FenceDropped,
        Rule::LeaseIgnored,
        Rule::StoredNotRead,
        Rule::SwapUnconditional,
        Rule::RefusalBelieved,
        Rule::AskOutlivesLease,
        Rule::StaleBelieved,
        Rule::LetGoFirst,
        Rule::ToldOnce,
        Rule::DeletionStays,
    ];
}

/// What must not happen and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two refreshes of the connection were asking at the same time.
    Overlap,
    /// A spent refresh token was presented again, though what came of it had been stored in time.
    PresentedTwice,
    /// The tokens in use are dead at the server, for no reason that is known.
    Lost,
    /// What came of an older consent took the place of a newer one.
    ConsentOverwritten,
    /// The item said that it has to be authorised again, and what was in use was good.
    Needless,
    /// Somebody was given a token that had expired.
    Expired,
    /// A good connection gave no token when nothing was wrong any more.
    Withheld(String),
    /// It has to be authorised again, and nobody was told.
    Unannounced,
    /// Things go on happening and lead to no end.
    Endless,
}

impl Violation {
    /// Whether tokens were lost by it.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(self, Violation::PresentedTwice | Violation::Lost | Violation::ConsentOverwritten)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Overlap => f.write_str("two refreshes were asking at once"),
            Violation::PresentedTwice => {
                f.write_str("a refresh token was presented again whose successor was stored in time")
            }
            Violation::Lost => f.write_str("the tokens in use are dead, and nothing explains it"),
            Violation::ConsentOverwritten => f.write_str("a newer consent was overwritten"),
            Violation::Needless => f.write_str("a good connection was said to need authorising again"),
            Violation::Expired => f.write_str("somebody was given an expired token"),
            Violation::Withheld(how) => write!(f, "a good connection gave no token: {how}"),
            Violation::Unannounced => f.write_str("it needs authorising again, and nobody was told"),
            Violation::Endless => f.write_str("it does not end"),
        }
    }
}

/// What goes wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process died before a step's request left it.
    CrashBeforeStep,
    /// The process died after a request had left it.
    CrashDuringStep,
    /// The process died with the answer in hand.
    CrashAfterStep,
    /// The invocation was killed at the end of its time.
    TimeLimit,
    /// The process stood still.
    Stall,
    /// Table or secrets refused, without effect.
    Throttled,
    /// They did not answer, without effect.
    Timeout,
    /// They acted and did not answer.
    Silent,
    /// A write landed long after its sender gave up on it.
    Late,
    /// A read of a secret was behind.
    Stale,
    /// No connection to the provider.
    NotConnected,
    /// 429 with `Retry-After`, or 503.
    Declined,
    /// The client secret was refused.
    ClientRefused,
    /// The provider broke before it acted.
    BrokeBefore,
    /// The provider acted, and its answer was lost.
    AnswerLost,
    /// The provider acted after it was given up.
    ActedLate,
}

/// Counts of one run, or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Things that happened.
    pub steps: u64,
    /// Virtual time that passed, milliseconds.
    pub millis: u64,
    /// Workers that wanted a token.
    pub wants: u64,
    /// Questions to the provider.
    pub asks: u64,
    /// Answers with tokens.
    pub refreshes: u64,
    /// Token sets that were found stored and put in use.
    pub recovered: u64,
    /// Token sets that were dropped because another counted.
    pub superseded: u64,
    /// Consents and revocations.
    pub consents: u64,
    /// See `consents`.
    pub revocations: u64,
    /// Losses at the named point: the answer was not stored by the end of the lease.
    pub named: u64,
    /// Writes that lost against another.
    pub races: u64,
    /// Times that it had to be authorised again.
    pub expired: u64,
    /// What went wrong on purpose.
    pub faults: BTreeMap<Fault, u64>,
    /// How wants ended.
    pub ends: BTreeMap<&'static str, u64>,
}

impl Figures {
    /// Adds another run's.
    pub fn add(&mut self, other: &Figures) {
        self.steps += other.steps;
        self.millis += other.millis;
        self.wants += other.wants;
        self.asks += other.asks;
        self.refreshes += other.refreshes;
        self.recovered += other.recovered;
        self.superseded += other.superseded;
        self.consents += other.consents;
        self.revocations += other.revocations;
        self.named += other.named;
        self.races += other.races;
        self.expired += other.expired;
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (end, count) in &other.ends {
            *self.ends.entry(end).or_default() += count;
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was done, and what went wrong on purpose.
    pub figures: Figures,
    /// What must not happen and did, each once.
    pub violations: Vec<Violation>,
    /// One line for each thing that happened, if asked for.
    pub trace: Vec<String>,
}

/// Runs one seed with one rule broken, or none.
#[must_use]
pub fn run(seed: u64, rule: Rule, trace: bool) -> Report {
    world::World::new(seed, rule, trace).run()
}
