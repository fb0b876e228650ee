//! A response as the bridge knows it.
//!
//! [`Response`] is the one model; [`Response::resource`] writes it as the complete resource of Open Responses (2026-04-24), every member
//! present; [`StreamEvent`] is what a user sees of its making; [`input`] is what a turn begins with.

mod event;
pub mod input;
mod resource;
mod settings;

pub use event::{EventBody, StreamEvent};
#[cfg(test)]
pub(crate) use resource::defaults;
pub use settings::{FunctionTool, Settings};

use crate::{ResponseId, SessionId};
use clawbridge_clock::Timestamp;
use serde::{Deserialize, Serialize};

/// How far a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Accepted; other turns of its session come first, or its agent is not connected.
    Queued,
    /// The agent has it.
    InProgress,
    /// The agent has answered.
    Completed,
    /// There is no answer, and the error says why.
    Failed,
    /// There is a part of an answer.
    Incomplete,
    /// Given up by whoever wanted it.
    Cancelled,
}

impl Status {
    /// As the resource has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::InProgress => "in_progress",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Incomplete => "incomplete",
            Status::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will come.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Status::Queued | Status::InProgress => false,
            Status::Completed | Status::Failed | Status::Incomplete | Status::Cancelled => true,
        }
    }
}

/// How far an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemStatus {
    /// More will come.
    InProgress,
    /// This is all.
    Completed,
    /// More should have come.
    Incomplete,
}

/// What an agent's message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Said on the way.
    Commentary,
    /// The answer.
    FinalAnswer,
}

/// An item of a response's output, as it is serialised there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Item {
    /// A message of the agent.
    Message(Message),
    /// A call of one of the client's functions.
    FunctionCall(FunctionCall),
}

impl Item {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Item::Message(message) => &message.id,
            Item::FunctionCall(call) => &call.id,
        }
    }
}

/// A message of the agent: one part of text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "resource::MessageForm", try_from = "resource::MessageForm")]
pub struct Message {
    /// Its id.
    pub id: String,
    /// How far it is.
    pub status: ItemStatus,
    /// Its text.
    pub text: String,
    /// What it is, where the agent says so.
    pub phase: Option<Phase>,
}

/// A call of one of the client's functions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// The item's id.
    pub id: String,
    /// By which the function's output refers to it.
    pub call_id: String,
    /// The function.
    pub name: String,
    /// Its arguments, a JSON text.
    pub arguments: String,
    /// How far it is.
    pub status: ItemStatus,
}

/// Why a response failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseError {
    /// A stable word.
    pub code: String,
    /// For a person.
    pub message: String,
}

/// What a response cost, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Read.
    pub input_tokens: u64,
    /// Details of those read.
    #[serde(default)]
    pub input_tokens_details: InputTokensDetails,
    /// Written.
    pub output_tokens: u64,
    /// Details of those written.
    #[serde(default)]
    pub output_tokens_details: OutputTokensDetails,
    /// Together.
    pub total_tokens: u64,
}

/// Of the tokens read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputTokensDetails {
    /// Those that a cache had.
    #[serde(default)]
    pub cached_tokens: u64,
}

/// Of the tokens written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputTokensDetails {
    /// Those spent on reasoning.
    #[serde(default)]
    pub reasoning_tokens: u64,
}

/// A response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Its id.
    pub id: ResponseId,
    /// The conversation that it belongs to.
    pub session: SessionId,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it was completed, if it was.
    pub completed_at: Option<Timestamp>,
    /// How far it is.
    pub status: Status,
    /// What the agent has said.
    pub output: Vec<Item>,
    /// Why it failed, if it did.
    pub error: Option<ResponseError>,
    /// Why there is only a part, if so.
    pub incomplete_reason: Option<String>,
    /// What it cost, where the agent says so.
    pub usage: Option<Usage>,
    /// What the request said about it.
    pub settings: Settings,
}

impl Response {
    /// A response that was accepted just now.
    #[must_use]
    pub fn new(id: ResponseId, session: SessionId, created_at: Timestamp, settings: Settings) -> Response {
        Response {
            id,
            session,
            created_at,
            completed_at: None,
            status: Status::Queued,
            output: Vec::new(),
            error: None,
            incomplete_reason: None,
            usage: None,
            settings,
        }
    }

    /// All text of all its messages.
    #[must_use]
    pub fn text(&self) -> String {
        self.messages().map(|message| message.text.as_str()).collect()
    }

    /// Its messages.
    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        self.output.iter().filter_map(|item| match item {
            Item::Message(message) => Some(message),
            Item::FunctionCall(_) => None,
        })
    }

    /// The calls that its client has to make.
    pub fn function_calls(&self) -> impl Iterator<Item = &FunctionCall> {
        self.output.iter().filter_map(|item| match item {
            Item::Message(_) => None,
            Item::FunctionCall(call) => Some(call),
        })
    }
}
