//! What travels on the queue, and how it gets there.
//!
//! The queue is the truth about accepted work. [`message`] is what a message says (pure: values to text and back), [`split`] how a body
//! larger than SQS carries is sent in parts, [`Queue`] the sender.

mod connection_event;
mod message;
mod sender;
mod split;

pub use connection_event::{ConnectionChange, ConnectionEvent};
pub use message::{
    AnswerMessage, Body, CatchUpMessage, ChannelMessage, Decision, EventMessage, MAX_INTERACTIVE_DELAY, Message,
    MessageError, PartMessage, Priority, ReplayMessage, Settlement, SourceSecretMessage, SubmitMessage, TaskMessage,
};
pub use sender::{Queue, Queues, SendError};
pub use split::{MAX_PARTS, PART_BYTES, event_messages};

/// What SQS carries in one message, bytes of text.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
pub const MAX_MESSAGE_BYTES: usize = 1_048_576;

/// The longest delay that SQS gives a message.
pub const MAX_DELAY: std::time::Duration = std::time::Duration::from_secs(900);

/// The largest body that the bridge accepts, bytes: more than a Lambda function can be handed.
pub const MAX_BODY_BYTES: usize = 6 * 1024 * 1024;

/// The source name of events that the bridge itself makes.
pub const BRIDGE_SOURCE: &str = "bridge";
