//! Invocations, and the steps of their receipts: what the worker, the table and the queue do.

use super::{Event, Invocation, Job, MAX_DELAY, Place, Request, Run, TIME_LIMIT, World};
use crate::figures::Fault;
use crate::queue::{Handle, Said};
use crate::rules::Rule;
use crate::scenario::{MAX_SKEW, millis};
use crate::violation::Violation;
use clawbridge_clock::Timestamp;
use clawbridge_tasks::change::{Change, Fence, Landed, Rule as Written};
use clawbridge_tasks::lane::LaneLanded;
use clawbridge_tasks::machine::Ask;
use clawbridge_tasks::receipt::{Done, Receipt, Step, What};
use clawbridge_tasks::{State, task_id};

impl World {
    pub(super) fn poll(&mut self) {
        let mut visible = self.queue.visible(self.now);
        if visible.is_empty() {
            return;
        }
        if self.invocations.len() >= self.scenario.concurrency {
            if !self.crowded {
                self.crowded = true;
                self.after(50, 2_000, Event::PollAgain);
            }
            return;
        }
        self.rng.shuffle(&mut visible);
        let count = self.rng.usize(1..=self.scenario.batch).min(visible.len());
        let mut jobs = Vec::new();
        for id in visible.drain(..count) {
            // Seldom a message is handed to a second one while the first has it.
            let twice = self.strikes(self.scenario.rates.twice);
            let hidden = if twice { self.rng.u64(0..=30_000) } else { self.scenario.visibility };
            if twice {
                self.fault(Fault::DeliveredTwice);
            }
            self.at(self.now + hidden, Event::Poll);
            match self.queue.receive(id, self.now + hidden) {
                Some((handle, said)) => jobs.push(self.job(handle, said)),
                // An alarm tells somebody, who looks for the cause first.
                None => self.at(self.scenario.calm_at.max(self.now + 600_000), Event::Redrive),
            }
        }
        if !visible.is_empty() {
            self.after(0, 100, Event::Poll);
        }
        if jobs.is_empty() {
            return;
        }
        let invocation = self.next;
        self.next += 1;
        let half = MAX_SKEW / 2;
        let skew = self.rng.i64(-half..=half);
        let until = self.now + TIME_LIMIT;
        let places: Vec<(usize, usize)> =
            jobs.iter().enumerate().flat_map(|(job, it)| (0..it.runs.len()).map(move |task| (job, task))).collect();
        self.trace(|| format!("invocation {invocation}, clock {skew:+} ms: {} messages", jobs.len()));
        let left = jobs.len();
        self.invocations.insert(invocation, Invocation { skew, until, jobs, left, calls: Vec::new() });
        self.at(until, Event::Kill(invocation));
        for (job, task) in places {
            let now = self.clock(skew);
            let place = Place { invocation, job, task };
            let step = self.run_at(place).map(|run| run.work.begin(now));
            self.go_on(place, step);
        }
    }

    fn job(&mut self, handle: Handle, said: Said) -> Job {
        let runs: Vec<Run> = match said {
            Said::Event { tasks, replay } => tasks
                .into_iter()
                .map(|new| {
                    let writer = format!("{:016x}", self.rng.u64(..));
                    let task = task_id(&new.tool, &new.key);
                    let replay = replay.clone();
                    let work = self.new_work(|policy| Receipt::of_new(new, replay, policy, writer));
                    Run { task, ask: Ask::Due, work, acted: false, reused: false }
                })
                .collect(),
            Said::Task { task, ask } => {
                let writer = format!("{:016x}", self.rng.u64(..));
                let work = self.new_work(|policy| Receipt::of_task(ask.clone(), policy, writer));
                vec![Run { task, ask, work, acted: false, reused: false }]
            }
        };
        Job { handle, left: runs.len(), runs, failed: false }
    }

    fn run_at(&mut self, place: Place) -> Option<&mut Run> {
        let invocation = self.invocations.get_mut(&place.invocation)?;
        invocation.jobs.get_mut(place.job)?.runs.get_mut(place.task)
    }

    pub(super) fn skew(&self, place: Place) -> i64 {
        self.invocations.get(&place.invocation).map_or(0, |invocation| invocation.skew)
    }

    /// Tells what the receipt has to tell, and begins its next step, at once or after the process stood still.
    pub(super) fn go_on(&mut self, place: Place, step: Option<Step>) {
        let Some(step) = step else { return };
        let Some(run) = self.run_at(place) else { return };
        let (task, notes) = (run.task.clone(), run.work.notes());
        run.reused |= notes.iter().any(|note| note.what == What::Reused);
        let waits = notes.iter().filter(|note| matches!(note.what, What::InLine { .. })).count();
        self.report.figures.waits += waits as u64;
        for note in notes {
            self.trace(|| {
                format!("{task}: invocation {}: attempt {}: {:?}", place.invocation, note.attempt, note.what)
            });
        }
        let stall = if self.strikes(self.scenario.rates.stall) {
            self.fault(Fault::Stall);
            self.rng.u64(1_000..40_000)
        } else {
            self.rng.u64(0..5)
        };
        self.at(self.now + stall, Event::Begin(place, step));
    }

    /// Whether the invocation dies here.
    pub(super) fn crashes(&mut self, place: Place, fault: Fault) -> bool {
        let crashes = self.strikes(self.scenario.rates.crash);
        if crashes {
            self.fault(fault);
            self.die(place.invocation);
        }
        crashes
    }

    pub(super) fn die(&mut self, invocation: u64) {
        let Some(dead) = self.invocations.remove(&invocation) else { return };
        self.trace(|| format!("invocation {invocation} is dead"));
        for (task, call) in dead.calls {
            self.upstream.of(&task).open.retain(|open| *open != call);
        }
    }

    pub(super) fn begin(&mut self, place: Place, step: Step) {
        if self.run_at(place).is_none() || self.crashes(place, Fault::CrashBeforeStep) {
            return;
        }
        let skew = self.skew(place);
        let request = match step {
            Step::Read => {
                let Some(run) = self.run_at(place) else { return };
                Request::Read(run.task.clone())
            }
            Step::Write(change) => {
                self.report.figures.writes += 1;
                Request::Write(change)
            }
            Step::Send { at, same } => {
                let at = self.seen_at(skew, at);
                let Some(run) = self.run_at(place) else { return };
                let ask = if same { run.ask.clone() } else { Ask::Due };
                let said = Box::new(Said::Task { task: run.task.clone(), ask });
                if self.rule == Rule::ReleasedBeforeSent {
                    let handle = self.invocations[&place.invocation].jobs[place.job].handle;
                    self.queue.delete(handle);
                }
                Request::Send { said, at }
            }
            Step::ReadLane(lane) => Request::ReadLane(lane),
            Step::WriteLane(change) => {
                self.report.figures.writes += 1;
                Request::WriteLane(change)
            }
            Step::ReadOther(task) => Request::ReadOther(task),
            Step::Wake { task, at } => Request::Wake { task, at: self.seen_at(skew, at) },
            Step::Announce(record) => {
                if self.rule == Rule::EndAnnouncedOnce && self.run_at(place).is_some_and(|run| run.reused) {
                    return self.after(0, 1, Event::Complete(place, Some(Box::new(Done::Announced))));
                }
                Request::Announce(record)
            }
            Step::Call(record) => return self.call(place, &record),
            Step::Look(record) | Step::Poll(record) => return self.look(place, record),
            Step::Release => return self.leave(place, false),
            Step::Return(reason) => {
                self.trace(|| format!("  returned: {reason}"));
                return self.leave(place, true);
            }
        };
        self.after(1, 20, Event::Arrive(Some(place), request, 0));
        self.crashes(place, Fault::CrashDuringStep);
    }

    /// When a message is seen that a worker sends for `at`: a delay is counted by the queue's clock from now on, in whole seconds, rounded up.
    fn seen_at(&self, skew: i64, at: Timestamp) -> u64 {
        let delay = millis(self.clock(skew).until(at)).div_ceil(1000) * 1000;
        self.now + delay.min(MAX_DELAY)
    }

    /// A task of a job is through with, or the job has failed.
    fn leave(&mut self, place: Place, failed: bool) {
        let Some(invocation) = self.invocations.get_mut(&place.invocation) else { return };
        let job = &mut invocation.jobs[place.job];
        job.failed |= failed;
        job.left -= 1;
        if job.left > 0 {
            return;
        }
        invocation.left -= 1;
        if invocation.left > 0 {
            return;
        }
        // The whole batch is answered at once; only then messages are deleted.
        let done: Vec<Handle> = invocation.jobs.iter().filter(|job| !job.failed).map(|job| job.handle).collect();
        self.invocations.remove(&place.invocation);
        for handle in done {
            self.after(1, 500, Event::Delete(handle));
        }
    }

    pub(super) fn delete(&mut self, handle: Handle) {
        if self.strikes(self.scenario.rates.queue / 4) {
            return self.fault(Fault::DeleteLost);
        }
        // A handle that is not the latest may or may not delete.
        if self.queue.is_latest(handle) || self.one_in(2) {
            self.queue.delete(handle);
        }
    }

    pub(super) fn arrive(&mut self, place: Option<Place>, request: Request, tries: u32) {
        let Some(place) = place else {
            self.fault(Fault::TableLate);
            self.carry_out(&request);
            return;
        };
        let is_write = matches!(request, Request::Write(_) | Request::WriteLane(_));
        let is_table = is_write || matches!(request, Request::Read(_) | Request::ReadLane(_) | Request::ReadOther(_));
        let rate = if is_table { self.scenario.rates.table } else { self.scenario.rates.queue };
        if !self.strikes(rate) {
            let done = self.carry_out(&request);
            return self.after(1, 20, Event::Complete(place, Some(Box::new(done))));
        }
        match (is_table, self.rng.u32(0..4)) {
            (true, 0) => self.fault(Fault::TableThrottled),
            (true, 1) => {
                self.fault(Fault::TableSilent);
                self.carry_out(&request);
            }
            (true, 2) if is_write => {
                // It is somewhere in the network, and lands when nobody counts on it any more.
                self.after(500, 40_000, Event::Arrive(None, request.clone(), 0));
            }
            (true, _) => self.fault(Fault::TableTimeout),
            (false, 0 | 1) => {
                self.fault(Fault::SendSilent);
                self.carry_out(&request);
            }
            (false, _) => self.fault(Fault::SendFailed),
        }
        // The SDK tries again, and then gives up.
        if tries < 2 && self.run_at(place).is_some() {
            self.after(20, 3_000, Event::Arrive(Some(place), request, tries + 1));
        } else {
            self.after(20, 3_000, Event::Complete(place, None));
        }
    }

    fn carry_out(&mut self, request: &Request) -> Done {
        match request {
            Request::Read(task) => Done::Read(self.table.get(task).cloned().map(Box::new)),
            Request::Write(change) => Done::Wrote(self.write(change)),
            Request::ReadLane(lane) => Done::Lane(self.lanes.get(lane).cloned().map(Box::new)),
            Request::WriteLane(change) => Done::WroteLane(self.write_lane(change)),
            Request::ReadOther(task) => Done::Other(self.table.get(task).cloned().map(Box::new)),
            Request::Send { said, at } => {
                self.send((**said).clone(), *at);
                Done::Sent
            }
            Request::Wake { task, at } => {
                self.send(Said::Task { task: task.clone(), ask: Ask::Due }, *at);
                Done::Woke
            }
            Request::Announce(record) => {
                self.announced.insert((record.id.clone(), record.attempt, record.state.as_str()));
                Done::Announced
            }
        }
    }

    fn write(&mut self, change: &Change) -> Landed {
        let current = self.table.get(&change.after.id);
        let rule = match change.rule(current) {
            Written::Lost if self.rule == Rule::FenceDropped => Written::Write,
            rule => rule,
        };
        match rule {
            Written::Write => {
                let after = &change.after;
                let undone = current.is_some_and(|before| {
                    before.attempt > after.attempt || (before.state == State::Succeeded && before != after)
                });
                let (from, to) = (Fence::of(current), Fence::of(Some(after)));
                let task = after.id.clone();
                self.table.insert(task.clone(), after.clone());
                self.trace(|| format!("{task}: {from:?} → {to:?}"));
                if undone {
                    self.violated(Violation::Undone { task });
                }
                self.mind_the_lane(after);
                Landed::Written(Box::new(change.after.clone()))
            }
            Written::Written => Landed::Written(Box::new(change.after.clone())),
            Written::Lost => {
                self.report.figures.races += 1;
                Landed::Lost(current.cloned().map(Box::new))
            }
        }
    }

    pub(super) fn complete(&mut self, place: Place, done: Option<Box<Done>>) {
        if self.run_at(place).is_none() {
            return;
        }
        let Some(mut done) = done.map(|done| *done) else {
            self.trace(|| format!("invocation {}: a step failed", place.invocation));
            return self.leave(place, true);
        };
        if self.crashes(place, Fault::CrashAfterStep) {
            return;
        }
        let (rule, dice) = (self.rule, self.rng.f64());
        let now = self.clock(self.skew(place));
        if rule == Rule::LeaseIgnored
            && let Done::Read(Some(record)) | Done::Wrote(Landed::Lost(Some(record))) = &mut done
        {
            record.lease_until = record.lease_until.map(|_| Timestamp::from_millis(0));
        }
        if rule == Rule::StayIgnored
            && let Done::Lane(Some(lane)) | Done::WroteLane(LaneLanded::Lost(Some(lane))) = &mut done
        {
            lane.entries.iter_mut().for_each(|entry| entry.stay = 0);
        }
        if rule == Rule::WishOutlivesAttempt
            && let Done::Read(Some(record)) = &done
            && let Some(Ask::Person { wish, .. }) = self.run_at(place).map(|run| run.ask.clone())
        {
            let ask = Ask::Person { after_attempt: record.attempt, wish };
            let mut work = self.new_work(|policy| Receipt::of_task(ask, policy, format!("wish {}", place.invocation)));
            work.begin(now);
            if let Some(run) = self.run_at(place) {
                run.work = work;
            }
        }
        let Some(run) = self.run_at(place) else { return };
        if rule == Rule::LostAttemptLetsGo && run.acted && matches!(done, Done::Wrote(Landed::Lost(_))) {
            return self.go_on(place, Some(Step::Release));
        }
        match &done {
            Done::Called(_) | Done::NotCalled(_) | Done::Looked { .. } | Done::Polled(_) => run.acted = true,
            Done::Wrote(_)
            | Done::Read(_)
            | Done::NotLooked { .. }
            | Done::Sent
            | Done::Announced
            | Done::Lane(_)
            | Done::WroteLane(_)
            | Done::Other(_)
            | Done::Woke => run.acted = false,
        }
        let step = run.work.next(done, now, dice);
        self.go_on(place, Some(step));
    }
}
