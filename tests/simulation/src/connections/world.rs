//! One run: what happens, when.

use super::cloud::Cloud;
use super::server::{Manner, Server, consent_of};
use super::{Fault, Report, Rule, Violation};
use crate::scenario::{EPOCH, MAX_SKEW};
use clawbridge_clock::Timestamp;
use clawbridge_connections::ConnectionName;
use clawbridge_connections::consent::Consent;
use clawbridge_connections::record::{Change, Record, Status};
use clawbridge_connections::refresh::{Refresh, Want};
use clawbridge_connections::revoke::Revoke;
use clawbridge_connections::step::{Done, Note, Outcome, Step};
use clawbridge_connections::version::{Held, Seen, VersionId};
use clawbridge_oauth::{TokenKind, TokenSet};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// More steps than any run needs that ends.
const MAX_STEPS: u64 = 100_000;

/// How far a read of a secret may be behind, milliseconds.
pub(super) const BEHIND: u64 = 2_000;

/// What two clocks and a read may take from a lease, milliseconds.
const BLUR: u64 = BEHIND + 2 * MAX_SKEW.unsigned_abs() + 100;

/// How often what goes wrong, of a million.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    pub(super) crash: u32,
    pub(super) stall: u32,
    pub(super) cloud: u32,
    pub(super) stale: u32,
    pub(super) provider: u32,
}

/// A request on its way to the table or to Secrets Manager.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Current,
    Version(VersionId),
    Record,
    Write(Box<Change>),
    Create(Box<Held>),
    Stash(Box<Held>),
    Promote(VersionId, VersionId),
    Restore,
    Delete,
}

/// Something that happens at a time.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Somebody wants a token, and can wait so many milliseconds.
    Want {
        wait: u64,
        last: bool,
    },
    /// A person consents, or takes back.
    Consent,
    Revoke,
    Sweep,
    Begin(u64, Step),
    /// A request arrives, for the n-th time. Without a process, nobody waits for the answer any more.
    Arrive(Option<u64>, Request, u32),
    /// A step's result reaches the process.
    Complete(u64, Box<Done>),
    /// The provider acts on a question, whose answer gets there or not.
    Act {
        ask: u64,
        answered: Option<u64>,
    },
    /// The invocation is killed.
    Kill(u64),
    /// Somebody is told that it has to be authorised again.
    Tell(u64),
}

pub(super) enum Work {
    Refresh(Refresh),
    Consent(Consent),
    Revoke(Revoke),
}

pub(super) struct Process {
    /// How far its clock is ahead, milliseconds.
    pub(super) skew: i64,
    pub(super) work: Work,
    pub(super) owner: String,
    /// It runs when nothing goes wrong any more, and should succeed.
    pub(super) last: bool,
    /// The question that it has asked, and what it presented.
    pub(super) asking: Option<u64>,
    pub(super) presented: Option<Held>,
    /// The last question was refused, at this time.
    pub(super) refused_at: Option<u64>,
    /// Of what the secret was read last.
    pub(super) read: Option<Held>,
}

/// A question to the provider.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) process: u64,
    pub(super) token: String,
    /// When it is given up.
    pub(super) until: u64,
    /// When the lease ends that it was asked under, by a true clock.
    pub(super) lease_until: u64,
    /// What came of it.
    pub(super) granted: Option<String>,
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) rule: Rule,
    pub(super) rates: Rates,
    calm_at: u64,
    pub(super) lifetime: u64,
    early: Duration,
    pub(super) now: u64,
    agenda: BTreeMap<(u64, u32, u64), Event>,
    scheduled: u64,
    pub(super) cloud: Cloud,
    pub(super) server: Server,
    pub(super) processes: BTreeMap<u64, Process>,
    pub(super) asked: BTreeMap<u64, Asked>,
    /// Spent tokens that were presented again: by whom before, and whether that can have been known.
    pub(super) twice: Vec<(u64, u64)>,
    /// Versions that a consent made.
    pub(super) consents: BTreeSet<VersionId>,
    told: BTreeSet<u64>,
    pub(super) next: u64,
    tracing: bool,
    pub(super) report: Report,
}

fn rate(rng: &mut Rng, much: u32) -> u32 {
    match rng.u32(0..4) {
        0 => 0,
        1 | 2 => rng.u32(0..=much / 8),
        _ => rng.u32(0..=much),
    }
}

impl World {
    pub(super) fn new(seed: u64, rule: Rule, tracing: bool) -> World {
        let mut rng = Rng::with_seed(seed);
        let mut rates = Rates {
            crash: rate(&mut rng, 80_000),
            stall: rate(&mut rng, 120_000),
            cloud: rate(&mut rng, 200_000),
            stale: rate(&mut rng, 300_000),
            provider: rate(&mut rng, 600_000),
        };
        let grace = if rng.u32(0..4) == 0 { rng.u64(1_000..60_000) } else { 0 };
        let mut manner =
            Manner { rotates: rng.u32(0..5) > 0, grace, kills: rng.u32(0..4) > 0, one_consent: rng.bool() };
        match rule {
            // What they break takes a process that stood still at the wrong moment.
            Rule::AskOutlivesLease => rates.stall = 250_000,
            Rule::RefusalBelieved => {
                rates.stall = 200_000;
                manner = Manner { rotates: true, kills: false, grace: 0, ..manner };
            }
            Rule::StaleBelieved => rates.stale = 300_000,
            _ => {}
        }
        let lifetime = [60_000, 120_000, 300_000][rng.usize(0..3)];
        World {
            rule,
            rates,
            calm_at: rng.u64(200_000..1_500_000),
            lifetime,
            early: Duration::from_millis(rng.u64(0..lifetime)),
            now: 0,
            agenda: BTreeMap::new(),
            scheduled: 0,
            cloud: Cloud::default(),
            server: Server::new(manner),
            processes: BTreeMap::new(),
            asked: BTreeMap::new(),
            twice: Vec::new(),
            consents: BTreeSet::new(),
            told: BTreeSet::new(),
            next: 0,
            tracing,
            report: Report::default(),
            rng,
        }
    }

    pub(super) fn run(mut self) -> Report {
        self.at(0, Event::Consent);
        let calm = self.calm_at;
        for _ in 0..self.rng.u32(2..12) {
            // Several at once: at an expiry, most of the time.
            let expiry = self.rng.u64(0..=calm / self.lifetime) * self.lifetime;
            let base = if self.rng.bool() { expiry } else { self.rng.u64(0..calm) };
            for _ in 0..self.rng.u32(1..5) {
                let at = base + self.rng.u64(0..2_000);
                let wait = self.rng.u64(500..40_000);
                self.at(at, Event::Want { wait, last: false });
            }
        }
        for _ in 0..self.rng.u32(0..3) {
            let at = self.rng.u64(0..calm);
            self.at(at, Event::Consent);
        }
        if self.rng.u32(0..4) == 0 {
            let at = self.rng.u64(0..calm);
            self.at(at, Event::Revoke);
            // Connected again in the same moment.
            if self.rng.bool() {
                let at = at + self.rng.u64(0..3_000);
                self.at(at, Event::Consent);
            }
        }
        for minute in 1..=(calm / 60_000 + 2) {
            self.at(minute * 60_000, Event::Sweep);
        }
        // When leases have run out and nothing goes wrong any more, and again when tokens have expired.
        for at in [calm + 400_000, calm + 800_000] {
            self.at(at, Event::Want { wait: 40_000, last: true });
            self.at(at + 60_000, Event::Sweep);
        }
        let mut happened = 0;
        while let Some((key, event)) = self.agenda.pop_first() {
            self.now = key.0;
            happened += 1;
            if happened > MAX_STEPS {
                self.violated(Violation::Endless);
                return self.finished();
            }
            self.report.figures.steps += 1;
            self.happen(event);
        }
        self.check_the_end();
        self.finished()
    }

    fn finished(mut self) -> Report {
        self.report.figures.millis = self.now;
        self.report
    }

    fn check_the_end(&mut self) {
        let mut named = false;
        for (first, second) in std::mem::take(&mut self.twice) {
            let (first, second) = (&self.asked[&first], &self.asked[&second]);
            let stored = first.granted.as_ref().and_then(|token| self.cloud.stored_at(token));
            let in_time = stored.is_some_and(|at| at + BLUR <= first.lease_until);
            if in_time && second.lease_until > first.lease_until {
                self.violated(Violation::PresentedTwice);
            } else {
                named = true;
                self.report.figures.named += 1;
            }
        }
        let Some(record) = self.cloud.record.clone() else { return };
        if record.status == Status::NeedsReauth && !record.announced {
            self.violated(Violation::Unannounced);
        }
        // A question whose answer was lost leaves a spent token behind, whether or not it has been presented again.
        let spent_in_vain = self.asked.values().any(|asked| {
            let stored = asked.granted.as_ref().map(|token| self.cloud.stored_at(token));
            stored.is_some_and(|at| at.is_none_or(|at| at + BLUR > asked.lease_until))
        });
        if let Some((held, _)) = self.cloud.in_use()
            && record.status == Status::Active
            && !self.is_good(&held)
            && !named
            && !spent_in_vain
            && self.is_of_the_last_consent(&held)
            && self.report.figures.revocations == 0
        {
            self.violated(Violation::Lost);
        }
    }

    pub(super) fn is_good(&self, held: &Held) -> bool {
        held.set.refresh_token.as_deref().is_some_and(|token| self.server.is_good(token))
    }

    /// Where the server knows one consent at a time, those before are dead.
    fn is_of_the_last_consent(&self, held: &Held) -> bool {
        consent_of(held.set.refresh_token.as_deref().unwrap_or_default()) == self.report.figures.consents
    }

    pub(super) fn at(&mut self, at: u64, event: Event) {
        self.scheduled += 1;
        let key = (at.max(self.now), self.rng.u32(..), self.scheduled);
        self.agenda.insert(key, event);
    }

    pub(super) fn after(&mut self, from: u64, to: u64, event: Event) {
        let wait = self.rng.u64(from..=to);
        self.at(self.now + wait, event);
    }

    /// Whether what happens so often of a million happens now.
    pub(super) fn strikes(&mut self, rate: u32) -> bool {
        self.rng.u32(0..1_000_000) < rate && self.now < self.calm_at
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        *self.report.figures.faults.entry(fault).or_default() += 1;
        self.trace(|| format!("  ! {fault:?}"));
    }

    pub(super) fn violated(&mut self, violation: Violation) {
        self.trace(|| format!("VIOLATION: {violation}"));
        if !self.report.violations.contains(&violation) {
            self.report.violations.push(violation);
        }
    }

    pub(super) fn trace(&mut self, line: impl FnOnce() -> String) {
        if self.tracing {
            let (seconds, millis) = (self.now / 1000, self.now % 1000);
            self.report.trace.push(format!("{seconds:>6}.{millis:03}  {}", line()));
        }
    }

    /// What a clock says that is so far ahead.
    pub(super) fn clock(&self, skew: i64) -> Timestamp {
        Timestamp::from_millis(EPOCH + i64::try_from(self.now).unwrap_or(i64::MAX) + skew)
    }

    /// When it is true that such a clock says so.
    pub(super) fn truly(at: Timestamp, skew: i64) -> u64 {
        u64::try_from(at.millis() - EPOCH - skew).unwrap_or(0)
    }

    pub(super) fn token_set(&self, refresh_token: String, skew: i64) -> TokenSet {
        let now = self.clock(skew);
        TokenSet {
            v: 1,
            generation: 0,
            access_token: format!("a{refresh_token}"),
            kind: TokenKind::Bearer,
            refresh_token: Some(refresh_token),
            expires_at: Some(now.plus(Duration::from_millis(self.lifetime))),
            refresh_expires_at: None,
            scopes: Vec::new(),
            obtained_at: now,
            dpop_key: None,
            kept: BTreeMap::new(),
            parameters: BTreeMap::new(),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Want { wait, last } => self.want(wait, last),
            Event::Consent => {
                self.report.figures.consents += 1;
                let token = self.server.consent();
                self.trace(|| format!("a person consents: {token}"));
                let (set, owner) = (self.token_set(token, 0), self.owner());
                let work = Work::Consent(Consent::new(name(), set, Vec::new(), owner.clone()));
                self.start(work, owner, false, None);
            }
            Event::Revoke => {
                self.report.figures.revocations += 1;
                let owner = self.owner();
                self.start(Work::Revoke(Revoke::new(name(), owner.clone())), owner, false, None);
            }
            Event::Sweep => self.sweep(),
            Event::Begin(process, step) => self.begin(process, step),
            Event::Arrive(process, request, tries) => self.arrive(process, request, tries),
            Event::Complete(process, done) => self.complete(process, *done),
            Event::Act { ask, answered } => self.act(ask, answered),
            Event::Kill(process) => {
                if self.processes.contains_key(&process) {
                    self.fault(Fault::TimeLimit);
                    self.die(process);
                }
            }
            Event::Tell(generation) => self.tell(generation),
        }
    }

    fn owner(&mut self) -> String {
        format!("{:016x}", self.rng.u64(..))
    }

    fn want(&mut self, wait: u64, last: bool) {
        self.report.figures.wants += 1;
        let in_use = self.cloud.in_use().map(|(held, _)| held.version);
        let want = match (self.rng.u32(0..8), in_use) {
            (0, _) if !last => Want::Forced,
            (1, Some(version)) if !last => Want::Other(version),
            _ => Want::Fresh { early: self.early },
        };
        let owner = self.owner();
        self.trace(|| format!("somebody wants {want:?} within {wait} ms"));
        let make = |deadline| Work::Refresh(Refresh::new(name(), false, want, owner.clone(), deadline));
        let skew = self.rng.i64(-MAX_SKEW / 2..=MAX_SKEW / 2);
        let deadline = self.clock(skew).plus(Duration::from_millis(wait));
        self.start(make(deadline), owner, last, Some(skew));
        let killed = self.now + wait + 2_000;
        if !last && self.rng.u32(0..4) == 0 {
            self.at(killed, Event::Kill(self.next - 1));
        }
    }

    fn start(&mut self, mut work: Work, owner: String, last: bool, skew: Option<i64>) {
        let skew = skew.unwrap_or_else(|| self.rng.i64(-MAX_SKEW / 2..=MAX_SKEW / 2));
        let step = match &mut work {
            Work::Refresh(work) => work.begin(),
            Work::Consent(work) => work.begin(),
            Work::Revoke(work) => work.begin(),
        };
        let process = self.next;
        self.next += 1;
        let new = Process { skew, work, owner, last, asking: None, presented: None, refused_at: None, read: None };
        self.processes.insert(process, new);
        self.go_on(process, step);
    }

    /// The schedule tells what was not told, and refreshes.
    fn sweep(&mut self) {
        let waiting = self.cloud.record.as_ref().filter(|record| is_untold(record)).map(|record| record.generation);
        if let Some(generation) = waiting.filter(|_| self.rule != Rule::ToldOnce) {
            self.after(1, 500, Event::Tell(generation));
        }
        if self.now < self.calm_at {
            self.want(20_000, false);
        }
    }

    fn tell(&mut self, generation: u64) {
        if self.strikes(self.rates.crash) {
            return self.fault(Fault::CrashBeforeStep);
        }
        self.told.insert(generation);
        if self.strikes(self.rates.crash) {
            return self.fault(Fault::CrashAfterStep);
        }
        let record = self.cloud.record.clone().filter(|record| is_untold(record) && record.generation == generation);
        if let Some(record) = record {
            let change = Change::new(record.revision, Record { announced: true, ..record }, "teller");
            self.cloud.write(&change, false);
        }
    }

    pub(super) fn noted(&mut self, process: u64, notes: Vec<Note>) {
        for note in notes {
            self.trace(|| format!("process {process}: {note:?}"));
            match note {
                Note::Recovered { .. } => self.report.figures.recovered += 1,
                Note::Superseded { .. } => self.report.figures.superseded += 1,
                Note::Expired { generation, .. } => {
                    self.report.figures.expired += 1;
                    self.after(1, 500, Event::Tell(generation));
                }
                Note::Refreshed { .. } | Note::Unstored { .. } | Note::Refused { .. } => {}
            }
        }
    }

    pub(super) fn ended(&mut self, process: u64, outcome: Outcome) {
        let Some(process) = self.processes.remove(&process) else { return };
        self.trace(|| format!("ended: {outcome:?}"));
        match &process.work {
            Work::Refresh(_) => {}
            Work::Revoke(_) => return self.server.revoke(),
            Work::Consent(_) => return,
        }
        let (now, good) = (self.clock(0), self.cloud.in_use().is_some_and(|(held, _)| self.is_good(&held)));
        let is_gone = self.cloud.record.as_ref().is_none_or(|record| record.status == Status::Revoked);
        let end = match outcome {
            Outcome::Use(held) => {
                if held.set.expires_at.is_some_and(|at| at <= now) {
                    self.violated(Violation::Expired);
                }
                "token"
            }
            Outcome::NeedsReauth { .. } | Outcome::NotConnected | Outcome::Later { .. }
                if process.last && good && !is_gone =>
            {
                self.violated(Violation::Withheld(format!("{outcome:?}")));
                "withheld"
            }
            Outcome::NeedsReauth { .. } => "needs_reauth",
            Outcome::NotConnected => {
                if process.last && !is_gone && self.cloud.is_deleting() {
                    self.violated(Violation::Withheld("its secret is being deleted".to_owned()));
                }
                "not connected"
            }
            Outcome::Later { .. } => "later",
        };
        *self.report.figures.ends.entry(end).or_default() += 1;
    }

    /// What the table was made to say is checked against what is so.
    pub(super) fn check_record(&mut self, process: Option<u64>, before: Option<&Record>) {
        let Some(record) = &self.cloud.record else { return };
        if record.status != Status::NeedsReauth || before.is_some_and(|before| before.status == Status::NeedsReauth) {
            return;
        }
        let refused_at =
            process.and_then(|process| self.processes.get(&process)).and_then(|process| process.refused_at);
        if let Some(refused_at) = refused_at
            && self.cloud.chain().iter().any(|(held, since)| self.is_good(held) && since + BEHIND < refused_at)
        {
            self.violated(Violation::Needless);
        }
    }

    /// What is in use has changed.
    pub(super) fn check_swap(&mut self, before: Option<&Held>) {
        let (Some(before), Some((after, _))) = (before, self.cloud.in_use()) else { return };
        let consent = |held: &Held| consent_of(held.set.refresh_token.as_deref().unwrap_or_default());
        if before.version != after.version
            && !self.consents.contains(&after.version)
            && consent(&after) < consent(before)
        {
            self.violated(Violation::ConsentOverwritten);
        }
    }

    /// What the process believes to have read, where a rule is broken.
    pub(super) fn believed(&self, process: &Process, mut done: Done) -> Done {
        use clawbridge_connections::record::Landed;
        match (&mut done, self.rule) {
            (Done::Record(Some(record)) | Done::Wrote(Landed::Lost(Some(record))), Rule::LeaseIgnored) => {
                record.lease = record.lease.take().filter(|lease| lease.owner == process.owner);
            }
            (
                Done::Record(Some(record)) | Done::Wrote(Landed::Lost(Some(record)) | Landed::Written(record)),
                Rule::StaleBelieved,
            ) => {
                if let Some(read) = process.read.as_ref().filter(|read| read.set.generation < record.generation) {
                    record.generation = read.set.generation;
                    record.version = Some(read.version.clone());
                }
            }
            (Done::Secret(seen), Rule::RefusalBelieved) if process.refused_at.is_some() => {
                *seen = match &process.presented {
                    Some(held) if matches!(seen, Seen::Held(_)) => Seen::Held(Box::new(held.clone())),
                    _ => Seen::Missing,
                };
            }
            _ => {}
        }
        done
    }
}

fn is_untold(record: &Record) -> bool {
    record.status == Status::NeedsReauth && !record.announced
}

pub(super) fn name() -> ConnectionName {
    match ConnectionName::new("provider", "account") {
        Ok(name) => name,
        Err(error) => panic!("{error}"),
    }
}
