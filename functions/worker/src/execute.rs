//! Carrying out the steps of a receipt: what they are, and in which order, is decided by [`clawbridge_tasks::receipt`].

use crate::guard::{self, Report};
use crate::{Loaded, Trouble, Worker, accounts, agent, deliver, job};
use clawbridge_clock::Timestamp;
use clawbridge_config::{CompiledTool, CompiledVerify, Effect};
use clawbridge_journal::{Decision, Entry, MAX_ANSWER_BYTES, Wire};
use clawbridge_queue::{Decision as Wanted, Message, Priority, SubmitMessage, TaskMessage};
use clawbridge_submit::agent_of;
use clawbridge_subscriptions::of_tool;
use clawbridge_tasks::change::Landed;
use clawbridge_tasks::machine::{Ask, Finding, Policy, SHORTEST_CALL, Verify, Wish, time_for_call};
use clawbridge_tasks::receipt::{Answer, Call, Done, Note, Receipt, Step, What};
use clawbridge_tasks::{By, Class, Code, NewTask, Origin, Record, State, StoreError, TaskError, task_id};
use clawbridge_tools::{Called, Sender};
use std::time::{Duration, Instant};

/// Left of an invocation when a call must have ended: room for the finishing write and the answer.
const RESERVE: Duration = Duration::from_secs(2);

/// When another invocation is to do what this one has no time left for.
const SOON: Duration = Duration::from_secs(1);

impl Worker {
    /// Runs what somebody submitted, unless it was run before.
    pub(crate) async fn submitted(&self, message: SubmitMessage, deadline: Timestamp) -> Result<(), Trouble> {
        let mut loaded = self.loaded().await?;
        if loaded.config.tool(&message.tool).is_none() {
            // Who handed it in knew the tool: it may have come within the seconds that a configuration is kept.
            self.registry.renew().await;
            loaded = self.loaded().await?;
        }
        let SubmitMessage { tool, key, input, submitter, priority, trace } = message;
        let new = NewTask { tool, key, origin: Origin::Submitter { submitter }, input, hops: 0, seat: None, trace };
        self.run_new(&loaded, &new, None, priority, deadline).await
    }

    /// Runs a task that a route or a submitter made, unless it was run before.
    pub(crate) async fn run_new(
        &self,
        loaded: &Loaded,
        new: &NewTask,
        replay: Option<&str>,
        priority: Priority,
        deadline: Timestamp,
    ) -> Result<(), Trouble> {
        let message = TaskMessage { priority, ..TaskMessage::due(&task_id(&new.tool, &new.key)) };
        let policy_of = |tool: &str| policy_of(loaded, tool);
        let receipt = Receipt::of_new(new.clone(), replay.map(str::to_owned), policy_of, writer());
        match self.carry_out(loaded, receipt, &message, deadline).await {
            Err(Trouble::Tasks(error @ StoreError::InputTooLarge { .. })) => {
                let reason = error.to_string();
                let entry = match &new.origin {
                    // Nothing is recorded that could be looked up, but the event is, and a smaller mapping can be replayed over it.
                    Origin::Route { event, route } => Entry::RouteFailed { event, route, reason: &reason },
                    // Who submits looks at the size first.
                    Origin::Submitter { .. } => {
                        Entry::BridgeFailed { code: "INPUT_TOO_LARGE", reason: &reason, subject: &message.task }
                    }
                };
                clawbridge_journal::write(&entry);
                Ok(())
            }
            end => end,
        }
    }

    /// Runs a task whose message came, or does with it what a person wants.
    pub(crate) async fn task(&self, message: &TaskMessage, deadline: Timestamp) -> Result<(), Trouble> {
        let loaded = self.loaded().await?;
        let receipt = Receipt::of_task(ask(message), |tool: &str| policy_of(&loaded, tool), writer());
        self.carry_out(&loaded, receipt, message, deadline).await
    }

    pub(crate) async fn carry_out(
        &self,
        loaded: &Loaded,
        mut receipt: Receipt<impl Fn(&str) -> Policy>,
        message: &TaskMessage,
        deadline: Timestamp,
    ) -> Result<(), Trouble> {
        let mut step = receipt.begin(Timestamp::now());
        let mut report = None;
        let mut wire = None;
        let is_due = TaskMessage { priority: message.priority, ..TaskMessage::due(&message.task) } == *message;
        loop {
            for note in receipt.notes() {
                // What went over the wire belongs to the line of the decision that came of it.
                let seen = if matches!(note.what, What::Closed { .. }) { wire.take() } else { None };
                tell(&note, &message.task, seen.as_ref());
            }
            let done = match step {
                Step::Read => Done::Read(self.tasks.get(&message.task).await?.map(Box::new)),
                Step::Write(change) => {
                    if is_due && let Some(at) = self.held_up(loaded, &change) {
                        let delay = Timestamp::now().until(at);
                        let next = TaskMessage { priority: message.priority.after(delay), ..message.clone() };
                        self.queues.send(&Message::Task(next), delay).await?;
                        return Ok(());
                    }
                    let landed = self.tasks.write(change).await?;
                    if let Some(report) = report.take() {
                        self.report(report).await;
                    }
                    if let Landed::Written(record) = &landed
                        && is_waiting_for_its_first_turn(record)
                    {
                        self.created(loaded, record).await;
                    }
                    Done::Wrote(landed)
                }
                Step::Call(record) => {
                    self.started(loaded, &record).await;
                    let (done, told, seen) = self.call(loaded, &record, deadline).await;
                    (report, wire) = (told, seen);
                    done
                }
                Step::Look(record) => look(loaded, &record, deadline).await,
                Step::Poll(record) => match agent_of(&record.tool) {
                    Some(agent) => self.poll_agent(loaded, agent, &record).await,
                    None => job::poll(loaded, &record, deadline.minus(RESERVE)).await,
                },
                Step::Send { at, same } => {
                    let delay = Timestamp::now().until(at);
                    let next = if same { message.clone() } else { TaskMessage::due(&message.task) };
                    let next = TaskMessage { priority: message.priority.after(delay), ..next };
                    self.queues.send(&Message::Task(next), delay).await?;
                    Done::Sent
                }
                Step::ReadLane(lane) => Done::Lane(self.tasks.lane(&lane).await?.map(Box::new)),
                Step::WriteLane(change) => Done::WroteLane(self.tasks.write_lane(change).await?),
                Step::ReadOther(task) => Done::Other(self.tasks.get(&task).await?.map(Box::new)),
                Step::Wake { task, at } => {
                    let due = Message::Task(TaskMessage::due(&task));
                    self.queues.send(&due, Timestamp::now().until(at)).await?;
                    Done::Woke
                }
                Step::Announce(record) => {
                    self.let_go(&record).await?;
                    self.happened(loaded, &record).await?;
                    Done::Announced
                }
                Step::Release => return Ok(()),
                Step::Return(reason) => return Err(Trouble::Other(format!("task {}: {reason}", message.task))),
            };
            step = receipt.next(done, Timestamp::now(), fastrand::f64());
        }
    }

    /// Makes the call that was claimed, if what protects its upstream lets it.
    async fn call(
        &self,
        loaded: &Loaded,
        record: &Record,
        deadline: Timestamp,
    ) -> (Done, Option<Report>, Option<Seen>) {
        let failed =
            |error: TaskError, ms: u64| Done::Called(Call { answer: Answer::Final(Err(error)), status: None, ms });
        if let Some(id) = of_tool(&record.tool) {
            return (self.deliver(loaded, record, id, deadline.minus(RESERVE)).await, None, None);
        }
        if let Some(agent) = agent_of(&record.tool) {
            return (self.ask_agent(loaded, agent, record).await, None, None);
        }
        let Some(tool) = loaded.config.tool(&record.tool) else {
            return (failed(unknown_tool(&record.tool), 0), None, None);
        };
        let started = Instant::now();
        let leave = match self.leave(tool, record).await {
            Ok(leave) => leave,
            Err(error) => return (Done::NotCalled(error), None, None),
        };
        let callback = match self.callback(tool, record).await {
            Ok(callback) => callback,
            Err(error) => return (failed(error, since(started)), leave.map(guard::unused), None),
        };
        let end = deadline.minus(RESERVE);
        let Some(left) = time_for_call(record, tool.attempt_time(), Timestamp::now(), end) else {
            // Another invocation has more time.
            return (Done::NotCalled(no_time_left()), leave.map(guard::unused), None);
        };
        let called = loaded.caller.call(tool, &record.input, &sender(record, callback.as_deref()), left).await;
        self.note_connections();
        if let Some(error) = accounts::waits(loaded, tool, record, &called, Timestamp::now()) {
            let report =
                leave.map(|leave| if called.requests > 0 { guard::told(leave, &called) } else { guard::unused(leave) });
            return (Done::NotCalled(error), report, Seen::of(&called));
        }
        let report = leave.map(|leave| guard::told(leave, &called));
        let seen = Seen::of(&called);
        let answer = match tool.job() {
            Some(job) => job::begun(tool, job, record, called.answer),
            None => Answer::Final(called.answer),
        };
        (Done::Called(Call { status: called.status, answer, ms: since(started) }), report, seen)
    }
}

/// What a message asks for.
fn ask(message: &TaskMessage) -> Ask {
    let wish = match (&message.settle, message.retry_after_attempt) {
        (Some(settlement), _) => match &settlement.decision {
            Wanted::Done { result } => (settlement.after_attempt, Wish::Done { result: result.clone() }),
            Wanted::Fail { reason } => (settlement.after_attempt, Wish::Fail { reason: reason.clone() }),
            Wanted::Cancel { reason } => (settlement.after_attempt, Wish::Cancel { reason: reason.clone() }),
        },
        (None, Some(after_attempt)) => (after_attempt, Wish::Retry),
        (None, None) => return Ask::Due,
    };
    Ask::Person { after_attempt: wish.0, wish: wish.1 }
}

/// Asks whether a call was made whose answer never came.
async fn look(loaded: &Loaded, record: &Record, deadline: Timestamp) -> Done {
    let verify = loaded.config.tool(&record.tool).and_then(CompiledTool::verify);
    let asked = verify.and_then(|verify| Some((verify, loaded.config.tool(&verify.verify().tool)?)));
    let undecided = |reason: String| Done::Looked { finding: Finding::Undecided { reason }, status: None, ms: 0 };
    let Some((verify, tool)) = asked else {
        return undecided("it is not declared any more".to_owned());
    };
    let left = Timestamp::now().until(deadline.minus(RESERVE));
    if left < tool.tool().timeout.duration().min(SHORTEST_CALL) {
        return Done::NotLooked { at: Timestamp::now().plus(SOON) };
    }
    let input = match verify.input(&record.input, &record.id, record.attempt) {
        Ok(input) => input,
        Err(error) => return undecided(format!("input: {error}")),
    };
    let started = Instant::now();
    let called = loaded.caller.call(tool, &input, &sender(record, None), left).await;
    let finding = match called.answer {
        Ok(answer) => finding(verify, &answer, record),
        Err(error)
            if accounts::has_no_token(&error)
                && record.updated_at.plus(accounts::wait(loaded, tool)) > Timestamp::now() =>
        {
            return Done::NotLooked { at: Timestamp::now().plus(error.retry_after.unwrap_or(SOON)) };
        }
        Err(error) => Finding::Failed(error),
    };
    Done::Looked { finding, status: called.status, ms: since(started) }
}

/// All requests of an attempt are one step of the task's trace: the call, its pages, looks at what became of it.
pub(crate) fn sender<'a>(record: &'a Record, callback: Option<&'a str>) -> Sender<'a> {
    Sender { task: &record.id, step: record.step(), callback }
}

fn finding(verify: &CompiledVerify, answer: &serde_json::Value, record: &Record) -> Finding {
    match verify.done(answer, &record.input) {
        // What was done is done, also where nobody can say what it returned.
        Ok(Some(true)) => Finding::Done { result: verify.result(answer, &record.input).unwrap_or_default() },
        Ok(Some(false)) => Finding::NotDone,
        Ok(None) => Finding::Undecided { reason: "done gave null".to_owned() },
        Err(error) => Finding::Undecided { reason: error.to_string() },
    }
}

/// A new task that was written down before anything was done about it.
fn is_waiting_for_its_first_turn(record: &Record) -> bool {
    record.state == State::Queued && record.attempt == 0 && record.looks == 0
}

pub(crate) fn policy_of(loaded: &Loaded, tool: &str) -> Policy {
    if of_tool(tool).is_some() {
        return deliver::POLICY;
    }
    if agent_of(tool).is_some() {
        return agent::POLICY;
    }
    loaded.config.tool(tool).map_or(Policy::UNKNOWN_TOOL, policy)
}

fn policy(tool: &CompiledTool) -> Policy {
    let verify = tool
        .verify()
        .map(|verify| Verify { settle: verify.verify().settle.duration(), max_looks: verify.verify().attempts });
    let (timeout, tool) = (tool.attempt_time(), tool.tool());
    let repeatable = match tool.effect {
        Effect::Read | Effect::Idempotent | Effect::Keyed => true,
        Effect::Unsafe => false,
    };
    Policy { repeatable, max_failures: tool.attempts, timeout, verify, retention: tool.result_retention.duration() }
}

/// Names who writes: random, so that a write whose answer got lost is known again.
pub(crate) fn writer() -> String {
    format!("{:032x}", fastrand::u128(..))
}

pub(crate) fn since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn unknown_tool(name: &str) -> TaskError {
    let message = format!("the tool {name} is not declared any more; declare it again and retry the task");
    TaskError::unsent(Code::UnknownTool, Class::Client, message)
}

fn no_time_left() -> TaskError {
    TaskError::unsent(Code::Timeout, Class::Transient, "the invocation or the lease had no time left for the call")
}

/// What went over the wire in one attempt. What a verify or a person closes had its line before.
struct Seen {
    request_id: Option<String>,
    requests: u32,
    sent_bytes: u64,
    received_bytes: u64,
    excerpt: Option<String>,
}

impl Seen {
    fn of(called: &Called) -> Option<Seen> {
        (called.requests > 0).then(|| Seen {
            request_id: called.request_id.clone(),
            requests: called.requests,
            sent_bytes: called.sent_bytes,
            received_bytes: called.received_bytes,
            excerpt: called.excerpt.clone(),
        })
    }

    fn body(&self) -> Option<&str> {
        self.excerpt.as_deref().map(|body| clawbridge_journal::shortened(body, MAX_ANSWER_BYTES))
    }

    fn wire(&self) -> Wire<'_> {
        Wire {
            upstream_request_id: self.request_id.as_deref().map(|id| clawbridge_journal::shortened(id, 128)),
            requests: self.requests,
            sent_bytes: self.sent_bytes,
            received_bytes: self.received_bytes,
        }
    }
}

/// The line of what happened.
fn tell(note: &Note, task: &str, seen: Option<&Seen>) {
    let mut retry_in_ms = None;
    let in_line;
    let (decision, code, reason) = match &note.what {
        What::Closed { state, error, at, by } => {
            retry_in_ms = at.map(|at| u64::try_from(Timestamp::now().until(at).as_millis()).unwrap_or(u64::MAX));
            let decided = match by {
                Some(By::Verify) if *state == State::Succeeded => Some("verify found that it was done"),
                Some(By::Person) => Some("a person settled it"),
                Some(By::Verify) | None => None,
            };
            let code = error.as_ref().map(|error| error.code.as_str());
            let reason = error.as_ref().map(|error| error.message.as_str()).or(decided);
            (decision(*state), code, reason)
        }
        What::Reused => (Decision::Reused, None, None),
        What::Conflict => {
            let reason = "this key was used before with another input; nothing was called";
            (Decision::Conflict, Some("IDEMPOTENCY_CONFLICT"), Some(reason))
        }
        What::Deferred => (Decision::Deferred, None, None),
        What::InLine { ahead } => {
            in_line = match ahead {
                0 => "waits a moment for those of its order key that may still come before it".to_owned(),
                1 => "waits for its turn: 1 task of its order key is before it".to_owned(),
                ahead => format!("waits for its turn: {ahead} tasks of its order key are before it"),
            };
            (Decision::Deferred, None, Some(in_line.as_str()))
        }
        What::LeaseLost => {
            let reason = "the lease ran out before the outcome could be written; the attempt that took over decides";
            return clawbridge_journal::write(&Entry::BridgeFailed { code: "LEASE_LOST", reason, subject: task });
        }
        What::Gone => {
            let reason = "the record of this task is not in the table any more";
            return clawbridge_journal::write(&Entry::BridgeFailed { code: "TASK_GONE", reason, subject: task });
        }
    };
    let trace_id = note.step.map(|step| step.trace_id().to_string());
    // Where nothing was called, there is no step to speak of; before the first attempt it would be somebody else's.
    let is_of_attempt = note.attempt > 0 && matches!(note.what, What::Closed { .. });
    let span_id = note.step.filter(|_| is_of_attempt).and_then(|step| step.span_id()).map(|id| id.to_string());
    clawbridge_journal::write(&Entry::TaskAttempt {
        task: &note.task,
        tool: &note.tool,
        event: &note.event,
        attempt: note.attempt,
        decision,
        status: note.status,
        code,
        reason: reason.map(|reason| clawbridge_journal::shortened(reason, 300)),
        ms: note.ms,
        retry_in_ms,
        trace_id: trace_id.as_deref(),
        span_id: span_id.as_deref(),
        body: seen.and_then(Seen::body),
        wire: seen.map(Seen::wire),
    });
}

fn decision(state: State) -> Decision {
    match state {
        // Nothing is left running by what closes an attempt.
        State::Queued | State::Running => Decision::Retry,
        State::Waiting => Decision::Waiting,
        State::Unknown => Decision::Unknown,
        State::Succeeded => Decision::Succeeded,
        State::Failed => Decision::Failed,
        State::Parked => Decision::Parked,
        State::Cancelled => Decision::Cancelled,
    }
}
