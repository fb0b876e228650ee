//! The upstream and persons: calls, what becomes of them, and what somebody wants who looks at a task.

use super::{Event, Place, RESERVE, World};
use crate::figures::Fault;
use crate::queue::Said;
use crate::rules::Rule;
use crate::scenario::{Kind, Tool, millis};
use crate::violation::Violation;
use clawbridge_tasks::machine::{Ask, Finding, SHORTEST_CALL, Wish, time_for_call};
use clawbridge_tasks::receipt::{Answer, Call, Done};
use clawbridge_tasks::{Class, Code, Record, State, TaskError, task_id};
use serde_json::{Value, json};
use std::time::Duration;

impl World {
    pub(super) fn call(&mut self, place: Place, record: &Record) {
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

    pub(super) fn act(&mut self, task: &str, call: u64, late: bool) {
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

    pub(super) fn look(&mut self, place: Place, record: Box<Record>) {
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

    pub(super) fn looked(&mut self, place: Place, record: &Record) {
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

    /// A person looks at a task, thinks, and wants something of it.
    pub(super) fn person(&mut self) {
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
