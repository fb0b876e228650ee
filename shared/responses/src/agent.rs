//! What an agent says, in no dialect.

use crate::model::{Phase, Usage};
use serde::{Deserialize, Serialize};

/// A call of one of the client's functions that the agent wants made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentFunctionCall {
    /// By which the function's output refers to it.
    pub call_id: String,
    /// The function.
    pub name: String,
    /// Its arguments, a JSON text.
    pub arguments: String,
}

/// One thing that an agent says in an answer.
///
/// Serialised as `bridge.v1` has it: `{"event": "text", "text": "…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum AgentEvent {
    /// It has begun to answer.
    Began,
    /// More text.
    Text {
        /// What comes next.
        text: String,
    },
    /// The whole text of the message so far.
    Snapshot {
        /// All of it.
        text: String,
    },
    /// Either of the two, from connectors that send both in the same frame. It is the whole text so far if it begins with what was said before.
    Cumulative {
        /// More text, or all of it.
        text: String,
    },
    /// A message's text is complete.
    TextDone {
        /// All of the message's text, where the agent repeats it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// A message begins.
    ItemAdded {
        /// What the agent calls it. The same message may be added twice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// What it is, where the agent says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        phase: Option<Phase>,
    },
    /// A call of one of the client's functions.
    FunctionCall(AgentFunctionCall),
    /// The answer is complete.
    Completed {
        /// All text of all messages, where the agent repeats it: empty if it says that there is none, `None` if it says nothing about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// What it cost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<Usage>,
    },
    /// The answer ends before it is complete.
    Incomplete {
        /// Why, a word like `max_output_tokens`.
        reason: String,
    },
    /// There is no answer.
    Failed {
        /// A stable word.
        code: String,
        /// For a person. Without stack traces and paths.
        message: String,
    },
}

impl AgentEvent {
    /// Where it stands among others of the same moment: agents that number nothing date their frames to the millisecond.
    #[must_use]
    pub fn rank(&self) -> u8 {
        match self {
            AgentEvent::Began => 0,
            AgentEvent::ItemAdded { .. } => 1,
            AgentEvent::Text { .. } | AgentEvent::Snapshot { .. } | AgentEvent::Cumulative { .. } => 2,
            AgentEvent::TextDone { .. } => 3,
            AgentEvent::FunctionCall(_) => 4,
            AgentEvent::Completed { .. } | AgentEvent::Incomplete { .. } | AgentEvent::Failed { .. } => 5,
        }
    }

    /// Whether nothing but late text can follow.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, AgentEvent::Completed { .. } | AgentEvent::Incomplete { .. } | AgentEvent::Failed { .. })
    }
}
