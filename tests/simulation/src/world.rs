//! One run: what happens, when.

use crate::Report;
use crate::figures::Fault;
use crate::queue::{Handle, Queue, Said};
use crate::rules::Rule;
use crate::scenario::{Kind, MAX_SKEW, Scenario, Tool, millis};
use crate::upstream::Upstream;
use crate::violation::Violation;
use clawbridge_clock::Timestamp;
use clawbridge_tasks::change::{Change, Fence, Landed, Rule as Written};
use clawbridge_tasks::machine::{Ask, Finding, Policy, SHORTEST_CALL, Wish, time_for_call};
use clawbridge_tasks::receipt::{Answer, Call, Done, Receipt, Step, What};
use clawbridge_tasks::{Class, Code, Record, State, TaskError, task_id};
use fastrand::Rng;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// When the virtual clock starts, so that clocks that are slow do not run below zero.
const EPOCH: i64 = 1_000_000_000;

/// How long an invocation may take, milliseconds.
const TIME_LIMIT: u64 = 60_000;

/// Left of an invocation when a call must have ended, milliseconds; as the worker's.
const RESERVE: u64 = 2_000;

/// More steps than any run needs that ends.
const MAX_STEPS: u64 = 200_000;

/// What a queue delays a message at most, milliseconds.
const MAX_DELAY: u64 = 900_000;

type Work = Receipt<Box<dyn Fn(&str) -> Policy>>;

/// Where a receipt is: invocation, job, task of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    invocation: u64,
    job: usize,
    task: usize,
}

/// A request on its way to the table or the queue.
#[derive(Clone, Debug)]
enum Request {
    Read(String),
    Write(Box<Change>),
    Send { said: Box<Said>, at: u64 },
    Announce(Box<Record>),
}

/// Something that happens at a time.
#[derive(Clone, Debug)]
enum Event {
    Accept(usize),
    /// The queue is polled for messages.
    Poll,
    Begin(Place, Step),
    /// A request arrives, for the n-th time. Without a place, nobody waits for the answer any more.
    Arrive(Option<Place>, Request, u32),
    /// A step's result reaches the worker. `None`: it failed.
    Complete(Place, Option<Box<Done>>),
    /// The upstream acts on a call.
    Act {
        task: String,
        call: u64,
        late: bool,
    },
    /// A call is over, one way or the other.
    Close {
        task: String,
        call: u64,
    },
    /// Verify, or a poll, is answered.
    Looked(Place, Box<Record>),
    /// The upstream brings the answer of a job.
    Callback {
        task: String,
        token: String,
    },
    /// The invocation is killed.
    Kill(u64),
    Delete(Handle),
    /// A person looks at a task.
    Person,
}

struct Job {
    handle: Handle,
    runs: Vec<Run>,
    left: usize,
    failed: bool,
}

struct Run {
    task: String,
    ask: Ask,
    work: Work,
    /// Its last step was a call or a look of its own.
    acted: bool,
    /// The task had ended when it was looked at.
    reused: bool,
}

struct Invocation {
    /// How far its clock is ahead, milliseconds.
    skew: i64,
    /// When it is killed.
    until: u64,
    jobs: Vec<Job>,
    left: usize,
    /// Calls under way.
    calls: Vec<(String, u64)>,
}

pub(crate) struct World {
    rng: Rng,
    rule: Rule,
    scenario: Scenario,
    now: u64,
    agenda: BTreeMap<(u64, u32, u64), Event>,
    scheduled: u64,
    queue: Queue,
    table: BTreeMap<String, Record>,
    upstream: Upstream,
    accepted: BTreeSet<String>,
    announced: BTreeSet<(String, u32, &'static str)>,
    invocations: BTreeMap<u64, Invocation>,
    next: u64,
    tracing: bool,
    report: Report,
}

impl World {
    pub(crate) fn new(seed: u64, rule: Rule, tracing: bool) -> World {
        let mut rng = Rng::with_seed(seed);
        let scenario = Scenario::new(&mut rng, rule);
        World {
            rng,
            rule,
            scenario,
            now: 0,
            agenda: BTreeMap::new(),
            scheduled: 0,
            queue: Queue::default(),
            table: BTreeMap::new(),
            upstream: Upstream::default(),
            accepted: BTreeSet::new(),
            announced: BTreeSet::new(),
            invocations: BTreeMap::new(),
            next: 0,
            tracing,
            report: Report::default(),
        }
    }

    pub(crate) fn run(mut self) -> Report {
        if self.tracing {
            for (name, tool) in self.scenario.tools.clone().iter() {
                self.trace(|| format!("{name}: {tool:?}"));
            }
            let rates = self.scenario.rates;
            self.trace(|| format!("{rates:?}"));
        }
        for index in 0..self.scenario.arrivals.len() {
            self.at(self.scenario.arrivals[index].at, Event::Accept(index));
        }
        for _ in 0..self.scenario.wishes {
            let at = self.rng.u64(0..self.scenario.calm_at);
            self.at(at, Event::Person);
        }
        let mut happened = 0;
        loop {
            while let Some((key, event)) = self.agenda.pop_first() {
                self.now = key.0;
                happened += 1;
                if happened > MAX_STEPS {
                    self.violated(Violation::Endless);
                    return self.finished();
                }
                // A look at the queue is no step of anybody's.
                self.report.figures.steps += u64::from(!matches!(event, Event::Poll));
                self.happen(event);
            }
            let moved = self.queue.redrive(self.now);
            if moved == 0 {
                break;
            }
            for _ in 0..moved {
                self.fault(Fault::DeadLetter);
            }
            self.at(self.now, Event::Poll);
        }
        self.check_the_end();
        self.finished()
    }

    fn finished(mut self) -> Report {
        self.report.figures.millis = self.now;
        self.report.figures.tasks = self.accepted.len() as u64;
        for record in self.table.values() {
            *self.report.figures.ends.entry(record.state.as_str()).or_default() += 1;
        }
        self.report
    }

    fn check_the_end(&mut self) {
        for task in self.accepted.clone() {
            let Some(record) = self.table.get(&task) else {
                self.violated(Violation::Lost { task, stands: "it has no record".to_owned() });
                continue;
            };
            let (state, attempt) = (record.state, record.attempt);
            if !state.has_ended() {
                self.violated(Violation::Lost { task, stands: format!("it is {}", state.as_str()) });
                continue;
            }
            if !self.announced.contains(&(task.clone(), attempt, state.as_str())) {
                self.violated(Violation::Unannounced { task: task.clone(), end: state.as_str().to_owned() });
            }
            let deeds = self.upstream.of(&task);
            if state == State::Succeeded && deeds.effects == 0 && !deeds.said_done {
                self.violated(Violation::Invented { task });
            }
        }
    }

    // --- time, chance and words ---------------------------------------------------------------------------------------------------------

    fn at(&mut self, at: u64, event: Event) {
        self.scheduled += 1;
        // What happens at one moment happens in any order.
        let key = (at.max(self.now), self.rng.u32(..), self.scheduled);
        self.agenda.insert(key, event);
    }

    fn after(&mut self, from: u64, to: u64, event: Event) {
        let wait = self.rng.u64(from..=to);
        self.at(self.now + wait, event);
    }

    fn calm(&self) -> bool {
        self.now >= self.scenario.calm_at
    }

    /// Whether what happens so often of a million happens now.
    fn strikes(&mut self, rate: u32) -> bool {
        let strikes = self.rng.u32(0..1_000_000) < rate;
        strikes && !self.calm()
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.rng.u32(0..many) == 0
    }

    fn fault(&mut self, fault: Fault) {
        self.report.figures.count(fault);
        self.trace(|| format!("  ! {fault:?}"));
    }

    fn violated(&mut self, violation: Violation) {
        self.trace(|| format!("VIOLATION: {violation}"));
        if !self.report.violations.contains(&violation) {
            self.report.violations.push(violation);
        }
    }

    fn trace(&mut self, line: impl FnOnce() -> String) {
        if self.tracing {
            let (seconds, millis) = (self.now / 1000, self.now % 1000);
            self.report.trace.push(format!("{seconds:>6}.{millis:03}  {}", line()));
        }
    }

    /// What a clock says that is so far ahead.
    fn clock(&self, skew: i64) -> Timestamp {
        Timestamp::from_millis(EPOCH + i64::try_from(self.now).unwrap_or(i64::MAX) + skew)
    }

    fn tool(&self, name: &str) -> Tool {
        self.scenario.tools[name].clone()
    }

    fn new_work(&self, make: impl FnOnce(Box<dyn Fn(&str) -> Policy>) -> Work) -> Work {
        let tools = self.scenario.tools.clone();
        make(Box::new(move |name: &str| tools.get(name).map_or(Policy::UNKNOWN_TOOL, |tool| tool.policy)))
    }

    // --- what happens -------------------------------------------------------------------------------------------------------------------

    fn happen(&mut self, event: Event) {
        match event {
            Event::Accept(index) => {
                let tasks = self.scenario.arrivals[index].tasks.clone();
                let replay = None;
                self.accepted.extend(tasks.iter().map(|task| task_id(&task.tool, &task.key)));
                self.trace(|| {
                    format!(
                        "accepted: {}",
                        tasks
                            .iter()
                            .map(|task| task_id(&task.tool, &task.key) + " of " + &task.tool + " ")
                            .collect::<String>()
                    )
                });
                self.send(Said::Event { tasks, replay }, self.now);
            }
            Event::Poll => self.poll(),
            Event::Begin(place, step) => self.begin(place, step),
            Event::Arrive(place, request, tries) => self.arrive(place, request, tries),
            Event::Complete(place, done) => self.complete(place, done),
            Event::Act { task, call, late } => self.act(&task, call, late),
            Event::Close { task, call } => self.upstream.of(&task).open.retain(|open| *open != call),
            Event::Looked(place, record) => self.looked(place, &record),
            Event::Callback { task, token } => {
                self.trace(|| format!("{task}: the upstream brings an answer"));
                let answer = Ok(json!("job"));
                self.send(Said::Task { task, ask: Ask::Answer { token, answer } }, self.now);
            }
            Event::Kill(invocation) => {
                if self.invocations.contains_key(&invocation) {
                    self.fault(Fault::TimeLimit);
                    self.die(invocation);
                }
            }
            Event::Delete(handle) => self.delete(handle),
            Event::Person => self.person(),
        }
    }

    fn send(&mut self, said: Said, visible_at: u64) {
        let visible_at = visible_at.min(self.now + MAX_DELAY).max(self.now);
        self.queue.send(said, visible_at);
        self.at(visible_at, Event::Poll);
    }

    fn poll(&mut self) {
        let mut visible = self.queue.visible(self.now);
        if visible.is_empty() {
            return;
        }
        if self.invocations.len() >= self.scenario.concurrency {
            self.after(50, 2_000, Event::Poll);
            return;
        }
        self.rng.shuffle(&mut visible);
        let count = self.rng.usize(1..=self.scenario.batch).min(visible.len());
        let mut jobs = Vec::new();
        for id in visible.drain(..count) {
            // Seldom a message is handed to a second one while the first has it.
            let twice = self.strikes(self.scenario.rates.queue);
            let hidden = if twice { self.rng.u64(0..=30_000) } else { self.scenario.visibility };
            if twice {
                self.fault(Fault::DeliveredTwice);
            }
            self.at(self.now + hidden, Event::Poll);
            if let Some((handle, said)) = self.queue.receive(id, self.now + hidden) {
                jobs.push(self.job(handle, said));
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

    fn skew(&self, place: Place) -> i64 {
        self.invocations.get(&place.invocation).map_or(0, |invocation| invocation.skew)
    }

    /// Tells what the receipt has to tell, and begins its next step, at once or after the process stood still.
    fn go_on(&mut self, place: Place, step: Option<Step>) {
        let Some(step) = step else { return };
        let Some(run) = self.run_at(place) else { return };
        let (task, notes) = (run.task.clone(), run.work.notes());
        run.reused |= notes.iter().any(|note| note.what == What::Reused);
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
    fn crashes(&mut self, place: Place, fault: Fault) -> bool {
        let crashes = self.strikes(self.scenario.rates.crash);
        if crashes {
            self.fault(fault);
            self.die(place.invocation);
        }
        crashes
    }

    fn die(&mut self, invocation: u64) {
        let Some(dead) = self.invocations.remove(&invocation) else { return };
        self.trace(|| format!("invocation {invocation} is dead"));
        for (task, call) in dead.calls {
            self.upstream.of(&task).open.retain(|open| *open != call);
        }
    }

    fn begin(&mut self, place: Place, step: Step) {
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
                // A delay is counted by the queue's clock from now on, in whole seconds, rounded up.
                let delay = millis(self.clock(skew).until(at)).div_ceil(1000) * 1000;
                let now = self.now;
                let Some(run) = self.run_at(place) else { return };
                let ask = if same { run.ask.clone() } else { Ask::Due };
                let said = Box::new(Said::Task { task: run.task.clone(), ask });
                if self.rule == Rule::ReleasedBeforeSent {
                    let handle = self.invocations[&place.invocation].jobs[place.job].handle;
                    self.queue.delete(handle);
                }
                Request::Send { said, at: now + delay.min(MAX_DELAY) }
            }
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

    fn delete(&mut self, handle: Handle) {
        if self.strikes(self.scenario.rates.queue / 4) {
            return self.fault(Fault::DeleteLost);
        }
        // A handle that is not the latest may or may not delete.
        if self.queue.is_latest(handle) || self.one_in(2) {
            self.queue.delete(handle);
        }
    }

    // --- table and queue ----------------------------------------------------------------------------------------------------------------

    fn arrive(&mut self, place: Option<Place>, request: Request, tries: u32) {
        let Some(place) = place else {
            self.fault(Fault::TableLate);
            self.carry_out(&request);
            return;
        };
        let is_table = matches!(request, Request::Read(_) | Request::Write(_));
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
            (true, 2) if matches!(request, Request::Write(_)) => {
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
            Request::Send { said, at } => {
                self.send((**said).clone(), *at);
                Done::Sent
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
                Landed::Written(Box::new(change.after.clone()))
            }
            Written::Written => Landed::Written(Box::new(change.after.clone())),
            Written::Lost => {
                self.report.figures.races += 1;
                Landed::Lost(current.cloned().map(Box::new))
            }
        }
    }

    fn complete(&mut self, place: Place, done: Option<Box<Done>>) {
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
            Done::Wrote(_) | Done::Read(_) | Done::NotLooked { .. } | Done::Sent | Done::Announced => run.acted = false,
        }
        let step = run.work.next(done, now, dice);
        self.go_on(place, Some(step));
    }

    // --- the upstream -------------------------------------------------------------------------------------------------------------------

    fn call(&mut self, place: Place, record: &Record) {
        let Some(invocation) = self.invocations.get(&place.invocation) else { return };
        let tool = self.tool(&record.tool);
        let (now, left_of_it) = (self.clock(invocation.skew), invocation.until.saturating_sub(self.now + RESERVE));
        let end = now.plus(Duration::from_millis(left_of_it));
        let time = match self.rule {
            Rule::CallOutlivesLease => Some(tool.policy.timeout),
            _ => time_for_call(record, tool.policy.timeout, now, end),
        };
        let Some(time) = time.map(millis) else {
            let error = TaskError::unsent(Code::Timeout, Class::Transient, "no time left");
            return self.after(0, 1, Event::Complete(place, Some(Box::new(Done::NotCalled(error)))));
        };
        let (task, call) = (record.id.clone(), self.next);
        self.next += 1;
        self.report.figures.calls += 1;
        self.trace(|| format!("{task}: call {call} of {} by invocation {}, {time} ms", record.tool, place.invocation));
        let deeds = self.upstream.of(&task);
        deeds.open.push(call);
        if deeds.open.len() > 1 {
            self.violated(Violation::Overlap { task: task.clone() });
        }
        if let Some(invocation) = self.invocations.get_mut(&place.invocation) {
            invocation.calls.push((task.clone(), call));
        }
        self.fare(place, record, &tool, call, time);
        self.crashes(place, Fault::CrashDuringStep);
    }

    /// What becomes of a call.
    fn fare(&mut self, place: Place, record: &Record, tool: &Tool, call: u64, time: u64) {
        let task = record.id.clone();
        let there = self.rng.u64(1..=time.clamp(2, 800) / 2);
        let back = self.rng.u64(1..=time.clamp(2, 800) / 2);
        let quick = (there + back).min(time);
        let act = |late| Event::Act { task: task.clone(), call, late };
        let error = |code, class, may_have_acted| TaskError { may_have_acted, ..TaskError::unsent(code, class, "") };
        let silence = error(Code::Timeout, Class::Transient, true);
        let (answer, at) = if !self.strikes(self.scenario.rates.upstream) {
            self.at(self.now + there, act(false));
            (self.answer(record, tool), quick)
        } else {
            match self.rng.u32(0..10) {
                0 => {
                    self.fault(Fault::NotConnected);
                    (Answer::Final(Err(error(Code::Unavailable, Class::Transient, false))), quick)
                }
                1 => {
                    self.fault(Fault::Declined);
                    let wait = Duration::from_secs(self.rng.u64(0..20));
                    let error = error(Code::RateLimited, Class::Transient, false);
                    (Answer::Final(Err(TaskError { retry_after: Some(wait), ..error })), quick)
                }
                2 => {
                    self.fault(Fault::Refused);
                    (Answer::Final(Err(error(Code::ValidationError, Class::Client, false))), quick)
                }
                3 => {
                    self.fault(Fault::BrokeBefore);
                    (Answer::Final(Err(error(Code::UpstreamError, Class::Server, true))), quick)
                }
                4 | 5 => {
                    self.fault(Fault::BrokeAfter);
                    self.at(self.now + there, act(false));
                    (Answer::Final(Err(error(Code::Unavailable, Class::Transient, true))), quick)
                }
                6 => {
                    self.fault(Fault::SilentBefore);
                    (Answer::Final(Err(silence)), time)
                }
                7 => {
                    self.fault(Fault::SilentAfter);
                    self.at(self.now + there, act(false));
                    (Answer::Final(Err(silence)), time)
                }
                8 => {
                    let late = self.rng.u64(0..=tool.lateness);
                    self.at(self.now + time + late, act(true));
                    (Answer::Final(Err(silence)), time)
                }
                _ => {
                    self.fault(Fault::Unreadable);
                    self.at(self.now + there, act(false));
                    (Answer::Final(Err(error(Code::UnexpectedResponse, Class::Unknown, true))), quick)
                }
            }
        };
        self.at(self.now + at, Event::Close { task, call });
        let done = Done::Called(Call { answer, status: None, ms: at });
        self.at(self.now + at, Event::Complete(place, Some(Box::new(done))));
    }

    /// The answer of an upstream that does as it is asked.
    fn answer(&mut self, record: &Record, tool: &Tool) -> Answer {
        if !tool.is_job {
            return Answer::Final(Ok(Value::Null));
        }
        let ends = self.now + self.rng.u64(0..40_000);
        let overdue = self.strikes(self.scenario.rates.upstream);
        let deadline = if overdue {
            self.fault(Fault::JobOverdue);
            self.rng.u64(self.now..=ends)
        } else {
            // The look that finds it ended comes a while after.
            ends + 60_000
        };
        self.upstream.of(&record.id).job_ends = Some(ends);
        let token = format!("{}/{}", record.id, record.attempt);
        let brought = if self.one_in(4) { 0 } else { self.rng.u32(1..=2) };
        for _ in 0..brought {
            // Also before the record says that it is waited for.
            let at = ends + self.rng.u64(0..2_000);
            self.at(at, Event::Callback { task: record.id.clone(), token: token.clone() });
        }
        let look = self.rng.u64(500..20_000);
        let from_now = |rng: u64| self.clock(0).plus(Duration::from_millis(rng));
        Answer::Later { token, look_at: from_now(look), deadline: from_now(deadline - self.now) }
    }

    fn act(&mut self, task: &str, call: u64, late: bool) {
        let Some(record) = self.table.get(task) else { return };
        let tool = self.tool(&record.tool.clone());
        if late {
            self.fault(Fault::ActedLate);
        }
        if !self.upstream.act(task, &tool) {
            return;
        }
        self.report.figures.effects += 1;
        self.trace(|| format!("{task}: call {call} has acted"));
        let deeds = self.upstream.of(task);
        let (effects, asked) = (deeds.effects, deeds.wanted);
        let lied = if tool.settles { 0 } else { deeds.not_done };
        let allowed = 1 + asked + lied;
        match tool.kind {
            Kind::Unsafe if effects > allowed => {
                self.violated(Violation::UnsafeRepeated { task: task.to_owned(), effects, allowed });
            }
            Kind::Unsafe if effects > 1 + asked => self.report.figures.lied_to += 1,
            Kind::Keyed if effects > 1 => self.violated(Violation::KeyedRepeated { task: task.to_owned() }),
            Kind::Unsafe | Kind::Keyed | Kind::Again => {}
        }
    }

    fn look(&mut self, place: Place, record: Box<Record>) {
        let Some(invocation) = self.invocations.get(&place.invocation) else { return };
        let left = invocation.until.saturating_sub(self.now + RESERVE);
        if left < millis(SHORTEST_CALL) {
            let at = self.clock(self.skew(place)).plus(Duration::from_secs(1));
            return self.after(0, 1, Event::Complete(place, Some(Box::new(Done::NotLooked { at }))));
        }
        self.report.figures.looks += 1;
        self.after(1, 400, Event::Looked(place, record));
        self.crashes(place, Fault::CrashDuringStep);
    }

    fn looked(&mut self, place: Place, record: &Record) {
        let fails = self.strikes(self.scenario.rates.look);
        let (now, effects) = (self.clock(self.skew(place)), self.upstream.of(&record.id).effects);
        let failure = TaskError::unsent(Code::Unavailable, Class::Transient, "the look failed");
        if fails {
            self.fault(Fault::LookFailed);
        }
        let done = match record.state {
            State::Waiting => {
                let ended = self.upstream.of(&record.id).job_ends.is_some_and(|ends| ends <= self.now);
                let answer = match &record.waiting {
                    Some(waiting) if fails || !ended => Answer::Later {
                        token: waiting.token.clone(),
                        look_at: now.plus(Duration::from_millis(self.rng.u64(500..10_000))),
                        deadline: waiting.deadline,
                    },
                    _ => Answer::Final(Ok(json!("job"))),
                };
                Done::Polled(Call { answer, status: None, ms: 0 })
            }
            _ => {
                let finding = if fails && self.rule == Rule::SilenceMeansNotDone {
                    Finding::NotDone
                } else if fails && self.one_in(5) {
                    self.fault(Fault::LookUndecided);
                    Finding::Undecided { reason: "it does not know".to_owned() }
                } else if fails {
                    Finding::Failed(failure)
                } else if effects > 0 {
                    Finding::Done { result: Value::Null }
                } else {
                    self.upstream.of(&record.id).not_done += 1;
                    Finding::NotDone
                };
                self.trace(|| format!("{}: verify: {finding:?}", record.id));
                Done::Looked { finding, status: None, ms: 0 }
            }
        };
        self.after(1, 400, Event::Complete(place, Some(Box::new(done))));
    }

    // --- persons ------------------------------------------------------------------------------------------------------------------------

    /// A person looks at a task, thinks, and wants something of it.
    fn person(&mut self) {
        let tasks: Vec<&Record> = self.table.values().collect();
        if tasks.is_empty() {
            return;
        }
        let record = tasks[self.rng.usize(0..tasks.len())].clone();
        let task = record.id.clone();
        let careful = !self.one_in(3);
        let done = self.upstream.of(&task).effects > 0;
        let wish = match (record.state, self.rng.u32(0..4)) {
            (State::Parked | State::Unknown, 0) => Wish::Fail { reason: None },
            (State::Parked | State::Unknown, _) if careful && done => Wish::Done { result: Value::Null },
            (State::Queued | State::Waiting | State::Parked, 1) => Wish::Cancel { reason: None },
            (State::Failed, 1) => return self.replay(&record),
            (State::Succeeded | State::Running | State::Waiting, _) => return,
            _ => Wish::Retry,
        };
        self.report.figures.wishes += 1;
        let deeds = self.upstream.of(&task);
        deeds.wanted += u32::from(wish == Wish::Retry);
        deeds.said_done |= matches!(wish, Wish::Done { .. });
        self.trace(|| {
            format!("{task}: a person saw {:?} after attempt {} and wants {wish:?}", record.state, record.attempt)
        });
        let thinks = self.rng.u64(0..90_000);
        // Some click twice.
        for _ in 0..if self.one_in(4) { 2 } else { 1 } {
            let ask = Ask::Person { after_attempt: record.attempt, wish: wish.clone() };
            self.send(Said::Task { task: task.clone(), ask }, self.now + thinks);
        }
    }

    fn replay(&mut self, record: &Record) {
        let arrivals = self.scenario.arrivals.iter();
        let event = arrivals
            .flat_map(|arrival| std::iter::once(&arrival.tasks))
            .find(|tasks| tasks.iter().any(|task| task_id(&task.tool, &task.key) == record.id));
        let Some(tasks) = event.cloned() else { return };
        self.report.figures.wishes += 1;
        let nonce = format!("{:08x}", self.rng.u32(..));
        self.trace(|| format!("{}: a person replays its event as {nonce}", record.id));
        for task in &tasks {
            self.upstream.of(&task_id(&task.tool, &task.key)).wanted += 1;
        }
        self.send(Said::Event { tasks, replay: Some(nonce) }, self.now);
    }
}
