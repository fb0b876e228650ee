//! The channel: users and agents, connected over WebSockets to functions that keep nothing in memory.

mod public;

pub use public::{AgentState, Asked, ChannelError, Ended, Prompt, TaskRef};

use clawbridge_clock::Timestamp;
use clawbridge_queue::{ChannelMessage, Queues};
use clawbridge_responses::ResponseId;

/// What the channel needs to know about its deployment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `CHANNEL_TABLE`.
    pub table: String,
}

/// The channel with its clients. Clones share them.
#[derive(Clone, Debug)]
pub struct Channel {
    tables: aws_sdk_dynamodb::Client,
    queues: Queues,
    gateway: aws_sdk_apigatewaymanagement::Client,
    settings: Settings,
}

impl Channel {
    /// With these clients.
    #[must_use]
    pub fn new(
        tables: aws_sdk_dynamodb::Client,
        queues: Queues,
        gateway: aws_sdk_apigatewaymanagement::Client,
        settings: Settings,
    ) -> Channel {
        Channel { tables, queues, gateway, settings }
    }

    /// Idempotent by the response's id. A response that exists gets the task attached.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn ask(&self, prompt: Prompt, now: Timestamp) -> Result<Asked, ChannelError> {
        drop((prompt, now));
        Err(ChannelError::Table("not there yet".to_owned()))
    }

    /// What came of a response; `None` if it is under way or unknown.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn ended(&self, response: &ResponseId) -> Result<Option<Ended>, ChannelError> {
        Err(ChannelError::Table(format!("not there yet: {response}")))
    }

    /// Nobody waits any more: `code` and `message` become the response's truthful end.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn give_up(
        &self,
        response: &ResponseId,
        code: &str,
        message: &str,
        now: Timestamp,
    ) -> Result<Option<Ended>, ChannelError> {
        Err(ChannelError::Table(format!("not there yet: {response} {code} {message} {now}")))
    }

    /// Does what a message of the channel's own asks for.
    ///
    /// # Errors
    /// See [`ChannelError`]: the message must come back.
    pub async fn handle(&self, message: &ChannelMessage, now: Timestamp) -> Result<(), ChannelError> {
        Err(ChannelError::Table(format!("not there yet: {message:?} {now}")))
    }

    /// How these agents are.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn agents_online(&self, names: &[String]) -> Result<Vec<AgentState>, ChannelError> {
        Err(ChannelError::Table(format!("not there yet: {names:?}")))
    }
}
