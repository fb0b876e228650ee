//! What somebody wants, and whether it can be.

use clawbridge_config::{Compiled, KeyError};
use clawbridge_queue::{MAX_MESSAGE_BYTES, Message, MessageError, Priority, SubmitMessage};
use clawbridge_tasks::{input_fits, input_hash, task_id};
use clawbridge_trace::TraceContext;
use serde_json::Value;

/// The longest idempotency key, bytes.
pub const MAX_KEY_BYTES: usize = 255;

/// A call that somebody wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Tool name.
    pub tool: String,
    /// The input.
    pub input: Value,
    /// The caller's idempotency key: the same one again is the same call. Where it is left out and the tool makes none of its input, the
    /// call is one of its own.
    pub key: Option<String>,
    /// Who wants it.
    pub submitter: String,
    /// Whether they wait for it.
    pub priority: Priority,
    /// The trace that it belongs to: that of the caller's request ([`TraceContext::received`]), or one that begins with it.
    pub trace: TraceContext,
}

/// A call that can be made, with the id of its task.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// The task's id.
    pub task: String,
    /// Its idempotency key.
    pub key: String,
    /// The key is random: no other task can have it.
    pub is_unique: bool,
    /// The input's fingerprint.
    pub input_hash: String,
    /// Whether somebody waits.
    pub priority: Priority,
    pub(crate) text: String,
}

/// Why nothing is submitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such tool.
    #[error("there is no tool {tool:?}; declared are: {known}")]
    UnknownTool {
        /// As it was asked for.
        tool: String,
        /// Those that there are.
        known: String,
    },
    /// The input is not one that the tool takes.
    #[error("{tool} does not take this input: {reason}")]
    Input {
        /// Tool name.
        tool: String,
        /// What is wrong with it, from its schema.
        reason: String,
    },
    /// The tool makes its own key of the input.
    #[error("the tool {tool} makes its idempotency key of the input (here {made:?}); leave the other out")]
    KeyOfInput {
        /// Tool name.
        tool: String,
        /// What it makes of this input.
        made: String,
    },
    /// The tool's program makes no key of this input.
    #[error("the tool {tool} makes no idempotency key of this input: {reason}")]
    NoKey {
        /// Tool name.
        tool: String,
        /// What it said.
        reason: KeyError,
    },
    /// The caller's key is none.
    #[error(
        "an idempotency key is 1 to {MAX_KEY_BYTES} visible ASCII characters, and for an agent does not begin with resp_"
    )]
    Key,
    /// More than a record or a message holds.
    #[error("the input is too large: {0}")]
    TooLarge(String),
    /// It cannot be written.
    #[error("the message could not be written: {0}")]
    Message(String),
}

impl Refusal {
    /// A stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::UnknownTool { .. } => "UNKNOWN_TOOL",
            Refusal::Input { .. } | Refusal::NoKey { .. } => "INPUT_INVALID",
            Refusal::KeyOfInput { .. } => "KEY_OF_INPUT",
            Refusal::Key => "KEY_INVALID",
            Refusal::TooLarge(_) => "INPUT_TOO_LARGE",
            Refusal::Message(_) => "MESSAGE_UNWRITABLE",
        }
    }
}

impl From<MessageError> for Refusal {
    fn from(error: MessageError) -> Refusal {
        Refusal::Message(error.to_string())
    }
}

/// Looks at what somebody wants. `random` becomes the key where there is no other: it must not come twice.
///
/// # Errors
/// See [`Refusal`].
pub fn prepare(config: &Compiled, request: Request, random: &str) -> Result<Submission, Refusal> {
    let Request { tool: name, input, key, submitter, priority, trace } = request;
    let Some(tool) = config.tool(&name) else {
        let known: Vec<&str> = config.tools().keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Refusal::UnknownTool { tool: name, known });
    };
    tool.check_input(&input).map_err(|violations| {
        let reasons: Vec<String> = violations.iter().take(3).map(ToString::to_string).collect();
        Refusal::Input { tool: name.clone(), reason: reasons.join("; ") }
    })?;
    input_fits(&input).map_err(|error| Refusal::TooLarge(error.to_string()))?;
    let of_input = tool.idempotency_key(&input).map_err(|reason| Refusal::NoKey { tool: name.clone(), reason })?;
    let is_unique = of_input.is_none() && key.is_none();
    let key = match (of_input, key) {
        (Some(made), Some(key)) if made != key => return Err(Refusal::KeyOfInput { tool: name, made }),
        (Some(made), _) => made,
        (None, Some(key)) if is_key(&key) => key,
        (None, Some(_)) => return Err(Refusal::Key),
        (None, None) => random.to_owned(),
    };
    hand_in(Request { tool: name, input, key: None, submitter, priority, trace }, key, is_unique)
}

/// What has been looked at, with its key, as a message.
pub(crate) fn hand_in(request: Request, key: String, is_unique: bool) -> Result<Submission, Refusal> {
    let Request { tool, input, key: _, submitter, priority, trace } = request;
    let (task, input_hash) = (task_id(&tool, &key), input_hash(&input));
    let message = SubmitMessage { tool, key: key.clone(), input, submitter, priority, trace: Some(trace) };
    let text = Message::Submit(message).encode()?;
    if text.len() > MAX_MESSAGE_BYTES {
        let reason = format!("as a message it has {} bytes, and the queue carries {MAX_MESSAGE_BYTES}", text.len());
        return Err(Refusal::TooLarge(reason));
    }
    Ok(Submission { task, key, is_unique, input_hash, priority, text })
}

pub(crate) fn is_key(key: &str) -> bool {
    !key.is_empty() && key.len() <= MAX_KEY_BYTES && key.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config() -> Compiled {
        let text = r#"{"tools": {
            "charge": {"method": "POST", "url": "https://api.example.com/", "effect": "unsafe", "idempotency_key": ".order",
                "input": {"type": "object", "required": ["order"]}},
            "ping": {"method": "GET", "url": "https://api.example.com/", "effect": "read"}
        }}"#;
        Compiled::from_json(text.as_bytes()).expect("a document")
    }

    fn request(tool: &str, input: Value, key: Option<&str>) -> Result<Submission, Refusal> {
        let request = Request {
            tool: tool.into(),
            input,
            key: key.map(str::to_owned),
            submitter: "operator".into(),
            priority: Priority::Interactive,
            trace: TraceContext::begin(1),
        };
        prepare(&config(), request, "random")
    }

    #[test]
    fn the_tasks_id_is_known_before_anything_is_sent() {
        let rows = [
            ("ping", json!({}), None, "random", true),
            ("ping", json!({}), Some("mine"), "mine", false),
            ("charge", json!({"order": "o-1"}), None, "o-1", false),
            ("charge", json!({"order": "o-1"}), Some("o-1"), "o-1", false),
        ];
        for (tool, input, key, expected, is_unique) in rows {
            let submission = request(tool, input.clone(), key).expect("a submission");
            assert_eq!((submission.key.as_str(), submission.is_unique), (expected, is_unique), "{tool} {key:?}");
            assert_eq!(submission.task, task_id(tool, expected));
            assert_eq!(submission.input_hash, input_hash(&input));
            let Ok(Message::Submit(message)) = Message::decode(&submission.text) else { panic!("{submission:?}") };
            assert_eq!((message.tool.as_str(), message.key.as_str(), message.input), (tool, expected, input));
            assert_eq!(message.trace, Some(TraceContext::begin(1)));
        }
    }

    #[test]
    fn what_cannot_be_called_is_refused_with_a_code_and_the_reason() {
        let long = "k".repeat(MAX_KEY_BYTES + 1);
        let noise: String = (0..600_000u32)
            .map(|n| char::from_u32(0x4e00 + n.wrapping_mul(2_654_435_761) % 20_000).unwrap_or('x'))
            .collect();
        let rows = [
            ("chrage", json!({}), None, "UNKNOWN_TOOL", "declared are: charge, ping"),
            ("charge", json!({}), None, "INPUT_INVALID", "order"),
            ("charge", json!({"order": null}), None, "INPUT_INVALID", "a key is a text or a number"),
            ("charge", json!({"order": "o-1"}), Some("o-2"), "KEY_OF_INPUT", "\"o-1\""),
            ("ping", json!({}), Some(""), "KEY_INVALID", "1 to 255"),
            ("ping", json!({}), Some("with space"), "KEY_INVALID", "visible ASCII"),
            ("ping", json!({}), Some(long.as_str()), "KEY_INVALID", "1 to 255"),
            ("ping", json!({"text": noise}), None, "INPUT_TOO_LARGE", "bytes"),
        ];
        for (tool, input, key, code, says) in rows {
            let refusal = request(tool, input, key).expect_err("a refusal");
            assert_eq!(refusal.code(), code, "{refusal}");
            assert!(refusal.to_string().contains(says), "{code}: {refusal}");
        }
    }
}
