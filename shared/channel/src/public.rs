//! What other functions ask of the channel.

use clawbridge_clock::Timestamp;
use clawbridge_responses::model::input::InputItem;
use clawbridge_responses::model::{Response, Settings, Status, Usage};
use clawbridge_responses::{ResponseId, SessionId};
use serde::{Deserialize, Serialize};

/// A turn that no user's connection asks for: a task's.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// Under which the answer is kept. Who asks chooses it once, so that asking again is asking for the same.
    pub response: ResponseId,
    /// The agent's name.
    pub agent: String,
    /// The conversation, among those of tasks with this agent.
    pub session: SessionId,
    /// What is said.
    pub input: Vec<InputItem>,
    /// How it is to be answered.
    pub settings: Settings,
    /// The task that waits for it.
    pub task: Option<TaskRef>,
}

/// A task's attempt that waits for a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRef {
    /// Task id.
    pub task: String,
    /// The attempt.
    pub attempt: u32,
}

/// What came of a response.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// How it ended.
    pub status: Status,
    /// All text of all its messages.
    pub text: String,
    /// Why it failed or is incomplete: a stable code, and words for a person.
    pub error: Option<(String, String)>,
    /// What it cost, where the agent says so.
    pub usage: Option<Usage>,
}

impl Ended {
    /// Of a response that is over.
    #[must_use]
    pub fn of(response: &Response) -> Ended {
        let failed = response.error.as_ref().map(|error| (error.code.clone(), error.message.clone()));
        let incomplete = response.incomplete_reason.as_ref().map(|reason| {
            let message = format!("The answer ended before it was complete ({reason}).");
            (reason.clone(), message)
        });
        Ended { status: response.status, text: response.text(), error: failed.or(incomplete), usage: response.usage }
    }
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// The agent has it.
    Sent,
    /// Something comes first, or the agent is not there.
    Queued {
        /// Whether the agent is connected.
        online: bool,
    },
    /// It has been answered.
    Over(Ended),
    /// It cannot be asked.
    Refused {
        /// A stable word.
        code: String,
        /// For a person.
        message: String,
    },
}

/// How an agent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgentState {
    /// Its name.
    pub name: String,
    /// Whether it is connected, as far as the table knows: a connection that was lost without a word is noticed when something is sent there.
    pub online: bool,
    /// The way of speaking of its connector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<&'static str>,
    /// Since when it is connected, or has been away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Turns that it has been sent and has not answered.
    pub under_way: usize,
    /// Conversations with turns that wait for it.
    pub waiting: usize,
}

/// Why the channel could not do its part: the work must come back.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// DynamoDB refused or did not answer.
    #[error("the channel table: {0}")]
    Table(String),
    /// An item that this code cannot read.
    #[error("the channel table: {0} cannot be read")]
    Unreadable(String),
    /// Too many others changed the same thing at once.
    #[error("the channel table: {0} was changed by others each time")]
    Contended(String),
    /// The queue did not take a message.
    #[error(transparent)]
    Queue(#[from] clawbridge_queue::SendError),
    /// The registry did not answer.
    #[error(transparent)]
    Registry(#[from] clawbridge_registry::RegistryError),
    /// API Gateway refused to be asked.
    #[error("API Gateway's management API: {0}")]
    Gateway(String),
}

impl ChannelError {
    /// A stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            ChannelError::Table(_) | ChannelError::Unreadable(_) | ChannelError::Contended(_) => "CHANNEL_UNAVAILABLE",
            ChannelError::Queue(_) => "QUEUE_UNAVAILABLE",
            ChannelError::Registry(_) => "REGISTRY_UNAVAILABLE",
            ChannelError::Gateway(_) => "GATEWAY_UNAVAILABLE",
        }
    }
}
