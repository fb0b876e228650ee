//! One run: what happens, when.

mod lanes;
mod outside;
mod steps;

use crate::Report;
use crate::figures::Fault;
use crate::queue::{Handle, Queue, Said};
use crate::rules::Rule;
use crate::scenario::{EPOCH, Scenario, Tool};
use crate::upstream::Upstream;
use crate::violation::Violation;
use clawbridge_clock::Timestamp;
use clawbridge_tasks::change::Change;
use clawbridge_tasks::lane::LaneChange;
use clawbridge_tasks::machine::{Ask, Policy};
use clawbridge_tasks::receipt::{Done, Receipt, Step};
use clawbridge_tasks::{Record, State, task_id};
use fastrand::Rng;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

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
    ReadLane(String),
    WriteLane(Box<LaneChange>),
    ReadOther(String),
    Send { said: Box<Said>, at: u64 },
    Wake { task: String, at: u64 },
    Announce(Box<Record>),
}

/// Something that happens at a time.
#[derive(Clone, Debug)]
enum Event {
    Accept(usize),
    /// The queue is polled for messages.
    Poll,
    /// The same, after there were as many invocations as there may be.
    PollAgain,
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
    /// An operator moves the dead letters back.
    Redrive,
    /// A person sees to a task that is parked, because others wait behind it.
    Relieve(String),
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
    lanes: lanes::Lanes,
    upstream: Upstream,
    accepted: BTreeSet<String>,
    announced: BTreeSet<(String, u32, &'static str)>,
    invocations: BTreeMap<u64, Invocation>,
    /// Messages wait for an invocation to end.
    crowded: bool,
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
            lanes: lanes::Lanes::default(),
            upstream: Upstream::default(),
            accepted: BTreeSet::new(),
            announced: BTreeSet::new(),
            invocations: BTreeMap::new(),
            crowded: false,
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
                self.report.figures.steps += u64::from(!matches!(event, Event::Poll | Event::PollAgain));
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
        self.report.figures.ordered = self.lanes.seated();
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

    fn happen(&mut self, event: Event) {
        match event {
            Event::Accept(index) => {
                let mut tasks = self.scenario.arrivals[index].tasks.clone();
                let replay = None;
                self.seat(&mut tasks);
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
            Event::PollAgain => {
                self.crowded = false;
                self.poll();
            }
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
            Event::Redrive => {
                for _ in 0..self.queue.redrive(self.now) {
                    self.fault(Fault::DeadLetter);
                }
                self.at(self.now, Event::Poll);
            }
            Event::Relieve(task) => self.relieve(&task),
        }
    }

    fn send(&mut self, said: Said, visible_at: u64) {
        let visible_at = visible_at.min(self.now + MAX_DELAY).max(self.now);
        self.queue.send(said, visible_at);
        self.at(visible_at, Event::Poll);
    }
}
