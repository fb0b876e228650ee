//! Work that goes on after its call was answered: what its receipt means, how far it is, and what the upstream tells of it.

use crate::execute::{policy_of, sender, since, writer};
use crate::{Loaded, Trouble, Worker};
use clawbridge_callbacks::{KEY_NAME, Ticket};
use clawbridge_clock::Timestamp;
use clawbridge_config::{CompiledJob, CompiledTool, Progress};
use clawbridge_journal::Entry;
use clawbridge_packed::Packed;
use clawbridge_queue::{AnswerMessage, Body, MAX_BODY_BYTES, Message, MessageError, TaskMessage};
use clawbridge_secrets::{SecretError, Stage};
use clawbridge_submit::agent_of;
use clawbridge_tasks::machine::{Ask, SHORTEST_CALL};
use clawbridge_tasks::receipt::{Answer, Call, Done, Receipt};
use clawbridge_tasks::{Class, Code, Record, State, TaskError};
use clawbridge_tools::check_output;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long an answer waits that came before the record says that it is waited for.
const EARLY: Duration = Duration::from_secs(2);

/// How long a task is left alone whose tool is not declared as it was.
const UNDECLARED: Duration = Duration::from_secs(60);

/// The longest answer, bytes.
const MAX_ANSWER_BYTES: usize = MAX_BODY_BYTES;

impl Worker {
    /// The address at which the upstream is to answer, if the tool has a place for one.
    pub(crate) async fn callback(&self, tool: &CompiledTool, record: &Record) -> Result<Option<String>, TaskError> {
        let Some(job) = tool.job().filter(|job| job.job().callback.is_some()) else { return Ok(None) };
        if self.public_url.is_empty() {
            let message = "the tool gives its upstream an address to answer at, and the stack does not know its own; set PublicUrl";
            return Err(TaskError::unsent(Code::ValidationError, Class::Client, message));
        }
        let name = self.deployment.secret_name(&format!("clawbridge/{KEY_NAME}"));
        let key = self.secrets.get(&name, Stage::Current).await.map_err(|error| {
            let class = match error {
                SecretError::Missing { .. } => Class::Auth,
                SecretError::Unavailable { .. } | SecretError::Throttled { .. } => Class::Transient,
            };
            TaskError::unsent(Code::CredentialUnavailable, class, error.to_string())
        })?;
        let expires_at = Timestamp::now().plus(job.job().within.duration() + tool.tool().timeout.duration());
        let ticket = Ticket::new(&record.id, record.attempt, expires_at).write(key.expose());
        Ok(Some(format!("{}/callbacks/{ticket}", self.public_url)))
    }

    /// What the upstream told of a task, at the address that it was given for one attempt.
    pub(crate) async fn answered(&self, message: &AnswerMessage, deadline: Timestamp) -> Result<(), Trouble> {
        let Some(record) = self.tasks.get(&message.task).await? else {
            return ignored(message, "there is no such task any more");
        };
        if agent_of(&record.tool).is_some() {
            return self.agent_answered(message, record, deadline).await;
        }
        if record.attempt != message.attempt || record.state.has_ended() {
            return ignored(message, "the task has ended, or another attempt is under way");
        }
        let Some(waiting) = record.waiting.clone().filter(|_| record.state == State::Waiting) else {
            // Faster than our own note that it is waited for.
            return Ok(self.queues.send(&Message::Answer(message.clone()), EARLY).await?);
        };
        let loaded = self.loaded().await?;
        let Some((tool, job)) = loaded.config.tool(&record.tool).and_then(|tool| Some((tool, tool.job()?))) else {
            return ignored(message, "the tool is not declared as it was when it was called");
        };
        let content = content(&message.body)?;
        let answer = match job.progress(&content, job_id(&waiting.token), &record.input) {
            Ok(Progress::Running) => return ignored(message, "it says that the job has not come to an end"),
            Ok(Progress::Done(result)) => finished(tool, result),
            Ok(Progress::Failed(reason)) => Err(failed(&reason)),
            // Anybody who got hold of the address could say anything: what cannot be read ends nothing.
            Err(error) => return ignored(message, &error.to_string()),
        };
        let ask = Ask::Answer { token: waiting.token, answer };
        let receipt = Receipt::of_task(ask, |tool: &str| policy_of(&loaded, tool), writer());
        self.carry_out(&loaded, receipt, &TaskMessage::due(&message.task), deadline).await
    }
}

pub(crate) fn ignored(message: &AnswerMessage, reason: &str) -> Result<(), Trouble> {
    clawbridge_journal::write(&Entry::AnswerIgnored { task: &message.task, attempt: message.attempt, reason });
    Ok(())
}

/// What was told, as JSON if it is, else as text.
pub(crate) fn content(body: &Body) -> Result<Value, Trouble> {
    let packed = match body {
        Body::Inline { encoding, data } => Packed { encoding: *encoding, bytes: data.clone() },
        Body::Parts { .. } => return Err(Trouble::Other("an answer is never sent in parts".to_owned())),
    };
    let bytes = packed.unpack(MAX_ANSWER_BYTES).map_err(MessageError::from)?;
    Ok(serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned())))
}

/// What a task waits for is named by the attempt and what the upstream calls the job.
fn token(attempt: u32, id: &str) -> String {
    format!("{attempt}:{id}")
}

fn job_id(token: &str) -> &str {
    token.split_once(':').map_or("", |(_, id)| id)
}

/// What the answer to a call means whose work goes on.
pub(crate) fn begun(
    tool: &CompiledTool,
    job: &CompiledJob,
    record: &Record,
    answer: Result<Value, TaskError>,
) -> Answer {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Answer::Final(Err(error)),
    };
    match job.id(&answer, &record.input, &record.id) {
        Ok(None) => Answer::Final(finished(tool, answer)),
        Ok(Some(id)) => {
            let now = Timestamp::now();
            let deadline = now.plus(job.job().within.duration());
            let look_at = if job.job().tool.is_some() { now.plus(job.pause(0)) } else { deadline };
            Answer::Later { token: token(record.attempt, &id), look_at, deadline }
        }
        Err(error) => Answer::Final(Err(unreadable(&format!("job.{error}")))),
    }
}

/// Asks how far it is.
pub(crate) async fn poll(loaded: &Loaded, record: &Record, end: Timestamp) -> Done {
    let Some(waiting) = &record.waiting else { return Done::NotLooked { at: Timestamp::now() } };
    let declared = loaded.config.tool(&record.tool).and_then(|tool| Some((tool, tool.job()?)));
    let asked = declared.and_then(|(tool, job)| Some((tool, job, loaded.config.tool(job.job().tool.as_deref()?)?)));
    let Some((tool, job, asking)) = asked else {
        let at = match declared {
            // It is told, not asked.
            Some((_, job)) if job.job().tool.is_none() => waiting.deadline,
            // It may be declared again.
            _ => Timestamp::now().plus(UNDECLARED).min(waiting.deadline),
        };
        return Done::NotLooked { at };
    };
    let left = Timestamp::now().until(end);
    if left < asking.tool().timeout.duration().min(SHORTEST_CALL) {
        return Done::NotLooked { at: Timestamp::now().plus(EARLY) };
    }
    let id = job_id(&waiting.token);
    let again = || Answer::Later {
        token: waiting.token.clone(),
        look_at: Timestamp::now().plus(job.pause(record.looks.saturating_add(1))),
        deadline: waiting.deadline,
    };
    let polled = |answer, status, ms| Done::Polled(Call { answer, status, ms });
    let input = match job.input(id, &record.input, &record.id) {
        Ok(input) => input,
        Err(error) => return polled(Answer::Final(Err(unreadable(&format!("job.{error}")))), None, 0),
    };
    let started = Instant::now();
    let called = loaded.caller.call(asking, &input, &sender(record, None), left).await;
    let answer = match called.answer.map(|answer| job.progress(&answer, id, &record.input)) {
        Ok(Ok(Progress::Running)) => again(),
        Ok(Ok(Progress::Done(result))) => Answer::Final(finished(tool, result)),
        Ok(Ok(Progress::Failed(reason))) => Answer::Final(Err(failed(&reason))),
        Ok(Err(error)) => Answer::Final(Err(unreadable(&format!("job.{error}")))),
        // Whatever keeps the question from being answered says nothing about the job: it is asked until its time is over.
        Err(_) => again(),
    };
    polled(answer, called.status, since(started))
}

/// The result of a job, if it is what the tool's output schema says.
fn finished(tool: &CompiledTool, result: Value) -> Result<Value, TaskError> {
    match check_output(tool, &result) {
        Ok(()) => Ok(result),
        Err(reason) => Err(unreadable(&reason)),
    }
}

fn failed(reason: &str) -> TaskError {
    let reason = clawbridge_journal::shortened(reason, 1000);
    TaskError::unsent(
        Code::JobFailed,
        Class::Client,
        format!("the upstream took the job and says that it failed: {reason}"),
    )
}

fn unreadable(reason: &str) -> TaskError {
    TaskError { may_have_acted: true, ..TaskError::unsent(Code::UnexpectedResponse, Class::Unknown, reason) }
}
