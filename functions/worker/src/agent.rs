//! Tasks for agents: a prompt goes over the channel, and the answer comes back as that of a job does.
//!
//! The response's id follows from the task, so whoever asks again asks for the same answer: an attempt that its worker did not live through is
//! made again, and the agent hears of it once. Only a task that had ended and is wanted again asks anew. While a task waits, its record's token holds
//! the response's id and whether the agent has it.

use crate::execute::{policy_of, writer};
use crate::{Loaded, Trouble, Worker};
use clawbridge_channel::{Asked, Ended, Prompt, TaskRef};
use clawbridge_clock::Timestamp;
use clawbridge_journal::Entry;
use clawbridge_queue::{AnswerMessage, Message, TaskMessage};
use clawbridge_responses::model::{Status, Usage};
use clawbridge_responses::{MAX_ID_CHARS, ResponseId, SessionId};
use clawbridge_submit::{AgentInput, agent_of};
use clawbridge_tasks::machine::{Ask, Policy};
use clawbridge_tasks::receipt::{Answer, Call, Done, Receipt};
use clawbridge_tasks::{Class, Code, Origin, RETENTION, Record, State, TaskError};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};

/// How long an answer waits that came before the record says that it is waited for, and a question that the channel could not answer.
const EARLY: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(30);

/// Between two looks at a response: half as long again each time. The channel tells of its end; a look finds what was not told.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// How much longer the record waits than the agent may take: the last look ends the response and says why; without one the task ends all the same.
const GRACE: Duration = Duration::from_secs(15 * 60);

/// What is kept of an answer that ended before it was complete, bytes.
const MAX_EVIDENCE_BYTES: usize = 1024;

/// What the machine is to know of agents. To ask again is harmless, see above; what the agent made of it is its answer, and no reason to ask anew.
pub(crate) const POLICY: Policy =
    Policy { repeatable: true, max_failures: 1, timeout: Duration::from_secs(20), verify: None, retention: RETENTION };

/// What a task waits for: a response, and whether the agent had it when it was last looked at. Written `sent:RESPONSE` or `queued:RESPONSE`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    response: ResponseId,
    is_sent: bool,
}

impl Token {
    fn read(text: &str) -> Option<Token> {
        let (word, response) = text.split_once(':')?;
        Some(Token { response: ResponseId::new(response).ok()?, is_sent: word == "sent" })
    }

    fn write(&self) -> String {
        format!("{}:{}", if self.is_sent { "sent" } else { "queued" }, self.response)
    }
}

/// The response that an attempt asks for. That of a user who asked before there was a task is the task's key.
fn response_of(record: &Record) -> ResponseId {
    let over = asked_anew(record);
    if over == 0
        && record.key.starts_with("resp_")
        && let Ok(own) = ResponseId::new(&record.key)
    {
        return own;
    }
    let mut hash = Sha256::new();
    hash.update(record.id.as_bytes());
    hash.update(over.to_be_bytes());
    let id = format!("resp_{}", &hex::encode(hash.finalize())[..32]);
    ResponseId::new(&id).expect("hexadecimal digits")
}

/// The attempt after which the task had ended and was wanted again; 0 if there was none. It is the same for each claim since.
fn asked_anew(record: &Record) -> u32 {
    let ended = |decision: &str| matches!(decision, "failed" | "cancelled" | "parked");
    let before = record.attempts.iter().rev().find(|attempt| attempt.n < record.attempt && ended(&attempt.decision));
    before.map_or(0, |attempt| attempt.n)
}

/// The conversation that a task belongs to, among those of tasks with its agent: nobody names another's. A group's is the group's.
fn session_of(record: &Record, input: &AgentInput) -> Result<SessionId, TaskError> {
    let owner = match &record.origin {
        Some(Origin::Submitter { submitter }) => submitter.as_str(),
        Some(Origin::Route { .. }) | None => "events",
    };
    let session = match &input.session {
        Some(session) if input.group().is_some() => return Ok(session.clone()),
        Some(session) => {
            let whole = format!("{owner}/{session}");
            // That of a user of the channel may be as long as ids get.
            if whole.chars().count() <= MAX_ID_CHARS { whole } else { hex::encode(Sha256::digest(whole.as_bytes())) }
        }
        None => record.id.clone(),
    };
    SessionId::new(&session).map_err(|error| refused(&format!("session: {error}")))
}

fn prompt(agent: &str, record: &Record, response: ResponseId) -> Result<Prompt, TaskError> {
    let read = AgentInput::read(agent, &record.input).map_err(|error| refused(&error.to_string()))?;
    let session = session_of(record, &read)?;
    let task = Some(TaskRef { task: record.id.clone(), attempt: record.attempt });
    Ok(Prompt { response, agent: agent.to_owned(), session, input: read.input, settings: read.settings, task })
}

/// Until when the answer is waited for, and how long the agent may take of it once it has the prompt.
fn bounds(loaded: &Loaded, agent: &str, record: &Record) -> (Timestamp, Option<Duration>) {
    let declared = loaded.config.agent(agent);
    let since = if asked_anew(record) == 0 { record.created_at } else { record.updated_at };
    (since.plus(declared.wait.duration()), declared.answer_within.map(|within| within.duration()))
}

/// What there is to wait for, until `end` at the latest.
fn later(token: &Token, looks: u32, within: Option<Duration>, end: Timestamp, now: Timestamp) -> Answer {
    let longest = within.map_or(LONGEST_PAUSE, |within| within.min(LONGEST_PAUSE));
    let pause = FIRST_PAUSE.saturating_mul(3u32.saturating_pow(looks.min(12))) / 2u32.saturating_pow(looks.min(12));
    let look_at = now.plus(pause.min(longest)).min(end);
    Answer::Later { token: token.write(), look_at, deadline: end.plus(GRACE) }
}

impl Worker {
    /// Asks the agent.
    pub(crate) async fn ask_agent(&self, loaded: &Loaded, agent: &str, record: &Record) -> Done {
        let (started, now) = (Instant::now(), Timestamp::now());
        let response = response_of(record);
        let (end, within) = bounds(loaded, agent, record);
        let called = |answer| Done::Called(Call { answer, status: None, ms: crate::execute::since(started) });
        let prompt = match prompt(agent, record, response.clone()) {
            Ok(prompt) => prompt,
            Err(error) => return called(Answer::Final(Err(error))),
        };
        let is_sent = match self.channel.ask(prompt, now).await {
            Ok(Asked::Over(ended)) => return called(Answer::Final(outcome(&response, ended))),
            Ok(Asked::Refused { code, message }) => {
                return called(Answer::Final(Err(refused(&format!("{message} ({code})")))));
            }
            Ok(Asked::Sent) => true,
            Ok(Asked::Queued { .. }) => false,
            Err(error) if end <= now => return called(Answer::Final(Err(unavailable(&error.to_string())))),
            Err(error) => return Done::NotCalled(unavailable(&error.to_string())),
        };
        let end = within.filter(|_| is_sent).map_or(end, |within| end.min(now.plus(within)));
        called(later(&Token { response, is_sent }, 0, within, end, now))
    }

    /// Looks at the response that a task waits for, and ends it when its time is over.
    pub(crate) async fn poll_agent(&self, loaded: &Loaded, agent: &str, record: &Record) -> Done {
        let (started, now) = (Instant::now(), Timestamp::now());
        let polled = |answer| Done::Polled(Call { answer, status: None, ms: crate::execute::since(started) });
        let Some((waiting, token)) = record.waiting.as_ref().and_then(|one| Some((one, Token::read(&one.token)?)))
        else {
            return polled(Answer::Final(Err(refused("what the task waits for is not in its record any more"))));
        };
        let (end, (_, within)) = (waiting.deadline.minus(GRACE), bounds(loaded, agent, record));
        let prompt = match prompt(agent, record, token.response.clone()) {
            Ok(prompt) => prompt,
            Err(error) => return polled(Answer::Final(Err(error))),
        };
        let (is_sent, is_online) = match self.channel.ask(prompt, now).await {
            Ok(Asked::Over(ended)) => return polled(Answer::Final(outcome(&token.response, ended))),
            Ok(Asked::Refused { code, message }) => {
                return polled(Answer::Final(Err(refused(&format!("{message} ({code})")))));
            }
            Ok(Asked::Sent) => (true, true),
            Ok(Asked::Queued { online }) => (false, online),
            Err(error) => return self.not_looked(record, &error, now),
        };
        if end <= now {
            let error = if is_sent || is_online { timed_out(agent) } else { offline(agent) };
            return match self.channel.give_up(&token.response, error.code.as_str(), &error.message, now).await {
                // It may have been answered in this very moment.
                Ok(Some(ended)) => polled(Answer::Final(outcome(&token.response, ended))),
                Ok(None) => polled(Answer::Final(Err(error))),
                Err(error) => self.not_looked(record, &error, now),
            };
        }
        let is_new = is_sent && !token.is_sent;
        let end = within.filter(|_| is_new).map_or(end, |within| end.min(now.plus(within)));
        let token = Token { is_sent: is_sent || token.is_sent, ..token };
        let looks = if is_new { 0 } else { record.looks.saturating_add(1) };
        polled(later(&token, looks, within, end, now))
    }

    fn not_looked(&self, record: &Record, error: &clawbridge_channel::ChannelError, now: Timestamp) -> Done {
        let reason = error.to_string();
        clawbridge_journal::write(&Entry::BridgeFailed { code: error.code(), reason: &reason, subject: &record.id });
        Done::NotLooked { at: now.plus(SOON) }
    }

    /// The channel tells what came of a response.
    pub(crate) async fn agent_answered(
        &self,
        message: &AnswerMessage,
        record: Record,
        deadline: Timestamp,
    ) -> Result<(), Trouble> {
        let told: Result<Told, _> = serde_json::from_value(crate::job::content(&message.body)?);
        let told = match told {
            Ok(told) => told,
            Err(error) => return crate::job::ignored(message, &error.to_string()),
        };
        if record.state.has_ended() {
            return crate::job::ignored(message, "the task has ended");
        }
        let Some(waiting) = record.waiting.as_ref().filter(|_| record.state == State::Waiting) else {
            // Faster than our own note that it is waited for.
            return Ok(self.queues.send(&Message::Answer(message.clone()), EARLY).await?);
        };
        if Token::read(&waiting.token).is_none_or(|token| token.response != told.response_id) {
            return crate::job::ignored(message, "the task waits for another response");
        }
        let (token, answer) = (waiting.token.clone(), outcome(&told.response_id.clone(), told.into()));
        let loaded = self.loaded().await?;
        let receipt = Receipt::of_task(Ask::Answer { token, answer }, |tool: &str| policy_of(&loaded, tool), writer());
        self.carry_out(&loaded, receipt, &TaskMessage::due(&message.task), deadline).await
    }

    /// Nobody waits for the answer of a task any more that has ended without it: the agent need not go on, and its session does not wait for it.
    pub(crate) async fn let_go(&self, record: &Record) -> Result<(), Trouble> {
        if agent_of(&record.tool).is_none() || record.state == State::Succeeded || record.attempt == 0 {
            return Ok(());
        }
        let error = record.error.as_ref();
        let code = error.map_or(Code::GivenUp, |error| error.code).as_str();
        let message = error.map_or("the task has ended", |error| error.message.as_str());
        let gone = self.channel.give_up(&response_of(record), code, message, Timestamp::now()).await;
        Ok(gone.map(drop)?)
    }
}

/// The body of the message with which the channel tells of a response's end.
#[derive(Debug, Deserialize)]
struct Told {
    status: Status,
    #[serde(default)]
    text: String,
    response_id: ResponseId,
    error: Option<ToldError>,
    usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
struct ToldError {
    code: String,
    #[serde(default)]
    message: String,
}

impl From<Told> for Ended {
    fn from(told: Told) -> Ended {
        let error = told.error.map(|error| (error.code, error.message));
        Ended { status: told.status, text: told.text, error, usage: told.usage }
    }
}

/// What a response's end means for its task. An answer that the agent cut short because it may not say more is one; what broke off is none.
fn outcome(response: &ResponseId, ended: Ended) -> Result<Value, TaskError> {
    let reason = ended.error.as_ref().map(|(code, _)| code.as_str());
    let is_answer = match ended.status {
        Status::Completed => true,
        Status::Incomplete => reason == Some("max_output_tokens"),
        Status::Queued | Status::InProgress | Status::Failed | Status::Cancelled => false,
    };
    if is_answer {
        let mut result = json!({"status": ended.status.as_str(), "text": ended.text, "response_id": response});
        if let Some(usage) = ended.usage {
            result["usage"] = json!(usage);
        }
        return Ok(result);
    }
    // Codes of responses are in lower case, those of tasks in upper case.
    let (word, said) = ended.error.unwrap_or_else(|| (ended.status.as_str().to_owned(), String::new()));
    let ours = [Code::AgentOffline, Code::AgentTimeout, Code::Cancelled, Code::GivenUp];
    let (code, message) = match ours.into_iter().find(|code| code.as_str().eq_ignore_ascii_case(&word)) {
        Some(code) => (code, said),
        None if ended.status == Status::Cancelled => (Code::Cancelled, "whoever asked took it back".to_owned()),
        None => {
            let said = clawbridge_journal::shortened(&said, 1000);
            (Code::AgentFailed, format!("the agent did not answer to the end ({word}): {said}"))
        }
    };
    let text = clawbridge_journal::shortened(&ended.text, MAX_EVIDENCE_BYTES);
    Err(TaskError {
        evidence: (!text.is_empty()).then(|| text.to_owned()),
        may_have_acted: code != Code::AgentOffline,
        ..TaskError::unsent(code, Class::Unknown, message)
    })
}

fn refused(reason: &str) -> TaskError {
    TaskError::unsent(Code::AgentRefused, Class::Client, format!("the agent cannot be asked this: {reason}"))
}

fn unavailable(reason: &str) -> TaskError {
    TaskError::unsent(Code::Unavailable, Class::Transient, format!("the channel is out of reach: {reason}"))
}

fn offline(agent: &str) -> TaskError {
    let message = format!("the agent {agent} did not connect in time; start its connector, then run the task again");
    TaskError::unsent(Code::AgentOffline, Class::Transient, message)
}

fn timed_out(agent: &str) -> TaskError {
    let message = format!("the agent {agent} did not answer in time");
    TaskError { may_have_acted: true, ..TaskError::unsent(Code::AgentTimeout, Class::Transient, message) }
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
