//! Processes: how their steps fare.

use super::server::Verdict;
use super::world::{Asked, BEHIND, Event, Request, Work, World};
use super::{Fault, Rule, Violation};
use crate::scenario::millis;
use clawbridge_connections::record::Landed;
use clawbridge_connections::refresh::{ASK, time_to_ask};
use clawbridge_connections::step::{Asking, Done, Failure, Step};
use clawbridge_connections::version::Seen;
use clawbridge_oauth::{Refused, Retry};
use std::time::Duration;

impl World {
    /// Begins the next step, at once or after the process stood still.
    pub(super) fn go_on(&mut self, process: u64, step: Step) {
        let notes = match self.processes.get_mut(&process).map(|process| &mut process.work) {
            Some(Work::Refresh(work)) => work.notes(),
            Some(Work::Consent(_) | Work::Revoke(_)) | None => Vec::new(),
        };
        self.noted(process, notes);
        if let Step::End(outcome) = step {
            return self.ended(process, outcome);
        }
        let stall = if self.strikes(self.rates.stall) {
            self.fault(Fault::Stall);
            self.rng.u64(1_000..40_000)
        } else {
            self.rng.u64(0..5)
        };
        self.at(self.now + stall, Event::Begin(process, step));
    }

    fn crashes(&mut self, process: u64, fault: Fault) -> bool {
        let crashes = self.strikes(self.rates.crash);
        if crashes {
            self.fault(fault);
            self.die(process);
        }
        crashes
    }

    pub(super) fn die(&mut self, process: u64) {
        self.processes.remove(&process);
        self.trace(|| format!("process {process} is dead"));
    }

    pub(super) fn begin(&mut self, process: u64, step: Step) {
        if !self.processes.contains_key(&process) || self.crashes(process, Fault::CrashBeforeStep) {
            return;
        }
        let request = match step {
            Step::ReadCurrent => Request::Current,
            Step::ReadVersion(_) if self.rule == Rule::StoredNotRead => {
                return self.after(0, 5, Event::Complete(process, Box::new(Done::Secret(Seen::Missing))));
            }
            Step::ReadVersion(version) => Request::Version(version),
            Step::ReadRecord => Request::Record,
            Step::Write(change) => Request::Write(change),
            Step::Create(held) => Request::Create(held),
            Step::Stash(held) => Request::Stash(held),
            Step::Promote { from, to } => Request::Promote(from, to),
            Step::Restore if self.rule == Rule::DeletionStays => {
                return self.ended(process, clawbridge_connections::step::Outcome::NotConnected);
            }
            Step::Restore => Request::Restore,
            Step::Delete => Request::Delete,
            Step::Wait(at) => {
                let skew = self.processes[&process].skew;
                return self.at(World::truly(at, skew), Event::Complete(process, Box::new(Done::Waited)));
            }
            Step::Ask(asking) => return self.ask(process, &asking),
            Step::End(_) => return,
        };
        if let (Request::Create(held) | Request::Stash(held), Work::Consent(_)) =
            (&request, &self.processes[&process].work)
        {
            self.consents.insert(held.version.clone());
        }
        if let (Request::Stash(_), Rule::LetGoFirst) = (&request, self.rule) {
            if let Some(record) = &mut self.cloud.record {
                record.lease = None;
            }
            self.after(1_000, 5_000, Event::Arrive(Some(process), request, 0));
            return;
        }
        self.after(1, 20, Event::Arrive(Some(process), request, 0));
        self.crashes(process, Fault::CrashDuringStep);
    }

    fn ask(&mut self, process: u64, asking: &Asking) {
        let skew = self.processes[&process].skew;
        let time = match self.rule {
            Rule::AskOutlivesLease => Some(ASK),
            _ => time_to_ask(asking.until, self.clock(skew)),
        };
        let Some(time) = time.map(millis) else {
            return self.after(0, 1, Event::Complete(process, Box::new(Done::NotAsked)));
        };
        if self.processes.values().any(|process| process.asking.is_some()) {
            self.violated(Violation::Overlap);
        }
        let ask = self.next;
        self.next += 1;
        self.report.figures.asks += 1;
        let token = asking.held.as_ref().and_then(|held| held.set.refresh_token.clone()).unwrap_or_default();
        self.trace(|| format!("process {process}: asks with {token}, {time} ms"));
        let lease = self.cloud.record.as_ref().and_then(|record| record.lease.clone());
        if let Some(process) = self.processes.get_mut(&process) {
            process.asking = Some(ask);
            process.presented = asking.held.clone();
        }
        // Its own lease; where somebody else has it by now, it is over.
        let owner = self.processes[&process].owner.clone();
        let lease_until =
            lease.filter(|lease| lease.owner == owner).map_or(self.now, |lease| World::truly(lease.until, skew));
        let asked = Asked { process, token, until: self.now + time, lease_until, granted: None };
        self.asked.insert(ask, asked);
        self.fare(process, ask, time, asking.previous_secret);
        self.crashes(process, Fault::CrashDuringStep);
    }

    /// What becomes of a question.
    fn fare(&mut self, process: u64, ask: u64, time: u64, previous_secret: bool) {
        let there = self.rng.u64(1..=time.clamp(2, 1_500) / 2);
        let back = self.rng.u64(1..=time.clamp(2, 1_500) / 2);
        let quick = self.now + (there + back).min(time);
        let end = self.now + time;
        let later = |code, after, may_have_acted| {
            Box::new(Done::Refused(Refused::Later(Retry { code, reason: String::new(), after, may_have_acted })))
        };
        if !self.strikes(self.rates.provider) {
            return self.at(self.now + there, Event::Act { ask, answered: Some(quick) });
        }
        match self.rng.u32(0..8) {
            0 => {
                self.fault(Fault::NotConnected);
                self.at(quick, Event::Complete(process, later("UNAVAILABLE", None, false)));
            }
            1 => {
                self.fault(Fault::Declined);
                let after = self.rng.bool().then(|| Duration::from_secs(self.rng.u64(0..60)));
                self.at(quick, Event::Complete(process, later("RATE_LIMITED", after, false)));
            }
            2 if !previous_secret || self.rng.bool() => {
                self.fault(Fault::ClientRefused);
                let refused = Refused::Client { code: "invalid_client".to_owned(), reason: String::new() };
                self.at(quick, Event::Complete(process, Box::new(Done::Refused(refused))));
            }
            3 | 2 => {
                self.fault(Fault::BrokeBefore);
                self.at(quick, Event::Complete(process, later("UPSTREAM_ERROR", None, true)));
            }
            4 | 5 => {
                self.fault(Fault::AnswerLost);
                self.at(self.now + there, Event::Act { ask, answered: None });
                self.at(end, Event::Complete(process, later("TIMEOUT", None, true)));
            }
            6 => {
                self.fault(Fault::ActedLate);
                let late = self.rng.u64(0..5_000);
                self.at(end + late, Event::Act { ask, answered: None });
                self.at(end, Event::Complete(process, later("TIMEOUT", None, true)));
            }
            _ => self.at(self.now + there, Event::Act { ask, answered: Some(end) }),
        }
    }

    pub(super) fn act(&mut self, ask: u64, answered: Option<u64>) {
        let asked = self.asked[&ask].clone();
        let verdict = self.server.refresh(&asked.token, ask, self.now);
        self.trace(|| format!("the provider acts on {}: {verdict:?}", asked.token));
        let done = match verdict {
            Verdict::Granted(token) => {
                self.report.figures.refreshes += 1;
                if let Some(asked) = self.asked.get_mut(&ask).filter(|asked| asked.token != token) {
                    asked.granted = Some(token.clone());
                }
                let skew = self.processes.get(&asked.process).map_or(0, |process| process.skew);
                Done::Asked(Box::new(self.token_set(token, skew)))
            }
            Verdict::Reused(by) => {
                self.twice.push((by, ask));
                Done::Refused(grant())
            }
            Verdict::Dead => Done::Refused(grant()),
        };
        if let Some(at) = answered {
            self.at(at.min(asked.until), Event::Complete(asked.process, Box::new(done)));
        }
    }

    pub(super) fn arrive(&mut self, process: Option<u64>, request: Request, tries: u32) {
        let Some(waiting) = process else {
            self.fault(Fault::Late);
            self.carry_out(None, &request);
            return;
        };
        if !self.strikes(self.rates.cloud) {
            let done = self.carry_out(process, &request);
            return self.after(1, 20, Event::Complete(waiting, Box::new(done)));
        }
        let is_read = matches!(request, Request::Current | Request::Version(_) | Request::Record);
        match self.rng.u32(0..4) {
            0 => self.fault(Fault::Throttled),
            1 => {
                self.fault(Fault::Silent);
                self.carry_out(process, &request);
            }
            // It is somewhere in the network, and lands when nobody counts on it any more.
            2 if !is_read => self.after(500, 40_000, Event::Arrive(None, request.clone(), 0)),
            _ => self.fault(Fault::Timeout),
        }
        // The SDK tries again, and then gives up.
        if tries < 2 && self.processes.contains_key(&waiting) {
            self.after(20, 3_000, Event::Arrive(process, request, tries + 1));
        } else {
            let failure = Failure { code: "UNAVAILABLE", reason: String::new() };
            self.after(20, 3_000, Event::Complete(waiting, Box::new(Done::Failed(failure))));
        }
    }

    fn carry_out(&mut self, process: Option<u64>, request: &Request) -> Done {
        let behind = match request {
            Request::Current | Request::Version(_) if self.strikes(self.rates.stale) => {
                self.fault(Fault::Stale);
                self.rng.u64(0..BEHIND)
            }
            _ => 0,
        };
        let (now, read_at) = (self.now, self.now.saturating_sub(behind));
        let before = self.cloud.in_use().map(|(held, _)| held);
        let done = match request {
            Request::Current => self.cloud.read(None, read_at),
            Request::Version(version) => self.cloud.read(Some(version), read_at),
            Request::Record => Done::Record(self.cloud.record.clone().map(Box::new)),
            Request::Write(change) => {
                let before = self.cloud.record.clone();
                let done = self.cloud.write(change, self.rule == Rule::FenceDropped);
                self.check_record(process, before.as_ref());
                done
            }
            Request::Create(held) => self.cloud.create(held, now),
            Request::Stash(held) => self.cloud.stash(held, now),
            Request::Promote(from, to) => self.cloud.promote(from, to, self.rule == Rule::SwapUnconditional, now),
            Request::Restore => self.cloud.delete(false, now),
            Request::Delete => self.cloud.delete(true, now),
        };
        self.check_swap(before.as_ref());
        self.report.figures.races += u64::from(matches!(done, Done::Wrote(Landed::Lost(_))));
        self.trace(|| format!("{process:?}: {} → {}", brief(request), brief(&done)));
        done
    }

    pub(super) fn complete(&mut self, process: u64, done: Done) {
        if !self.processes.contains_key(&process) || self.crashes(process, Fault::CrashAfterStep) {
            return;
        }
        let now = self.clock(self.processes[&process].skew);
        let (dice, at) = (self.rng.f64(), self.now);
        let done = self.believed(&self.processes[&process], done);
        let Some(running) = self.processes.get_mut(&process) else { return };
        match &done {
            Done::Refused(refused) => {
                running.asking = None;
                running.refused_at = matches!(refused, Refused::Grant { .. }).then_some(at);
            }
            Done::Asked(_) | Done::NotAsked => running.asking = None,
            Done::Secret(Seen::Held(held)) => running.read = Some((**held).clone()),
            _ => {}
        }
        let step = match &mut running.work {
            Work::Refresh(work) => work.next(done, now, dice),
            Work::Consent(work) => work.next(done, now),
            Work::Revoke(work) => work.next(done, now),
        };
        self.go_on(process, step);
    }
}

fn grant() -> Refused {
    Refused::Grant { code: "invalid_grant".to_owned(), reason: String::new() }
}

fn brief(what: &impl std::fmt::Debug) -> String {
    format!("{what:?}").chars().take(400).collect()
}
