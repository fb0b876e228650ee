//! A turn as each dialect wants it.

use super::{Dialect, bridge};
use crate::model::Settings;
use crate::model::input::{InputItem, Part, Role, Source};
use crate::{ResponseId, SessionId};
use clawbridge_clock::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The largest request, bytes: what API Gateway carries to a client.
pub const MAX_REQUEST_BYTES: usize = 128 * 1024;

/// One turn of a conversation, as it goes to the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// The response that it asks for.
    pub response: ResponseId,
    /// The conversation.
    pub session: SessionId,
    /// When it was accepted.
    pub at: Timestamp,
    /// What is said.
    pub input: Vec<InputItem>,
    /// How it is to be answered.
    pub settings: Settings,
}

/// Why a turn cannot be sent in a dialect. The response fails with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// There is neither text nor an attachment; connectors drop such requests without a word.
    #[error("there is nothing in the input that this agent's connector could pass on")]
    Blank,
    /// Something that the dialect has no place for.
    #[error("this agent's connector cannot take {0}")]
    Unsupported(&'static str),
    /// More than [`MAX_REQUEST_BYTES`].
    #[error("the input is larger than what reaches this agent's connector, {MAX_REQUEST_BYTES} bytes")]
    TooLarge,
}

impl EncodeError {
    /// A stable word.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            EncodeError::Blank => "empty_input",
            EncodeError::Unsupported(_) => "unsupported_input",
            EncodeError::TooLarge => "input_too_large",
        }
    }
}

/// The text frames that ask for an answer.
///
/// # Errors
/// See [`EncodeError`].
pub fn encode_request(dialect: Dialect, turn: &Turn) -> Result<Vec<String>, EncodeError> {
    let frame = match dialect {
        Dialect::Bridge => bridge::write(&bridge::ToConnector::Turn(Box::new(turn.clone()))),
        Dialect::Bare => bare(turn)?.to_string(),
        Dialect::Topic => {
            let data = json!({"content": plain(turn)?}).to_string();
            let headers = json!({"messageId": turn.response, "topic": "/v1.0/im/user/messages"});
            json!({"type": "MESSAGE", "headers": headers, "data": data}).to_string()
        }
        Dialect::Enveloped => {
            let data = json!({"type": "text", "content": plain(turn)?, "userId": turn.session}).to_string();
            let headers = json!({"messageId": turn.response, "requestId": turn.response});
            json!({"type": "request", "headers": headers, "data": data}).to_string()
        }
    };
    if frame.len() > MAX_REQUEST_BYTES { Err(EncodeError::TooLarge) } else { Ok(vec![frame]) }
}

/// The body of `POST /v1/responses` on an OpenClaw gateway, for a connector beside it. `model` is `openclaw` or `openclaw/AGENT`; the session
/// goes as `user`, from which the gateway derives a lasting one.
#[must_use]
pub fn gateway_request(turn: &Turn, model: &str) -> Value {
    let mut body = json!({"model": model, "stream": true, "user": turn.session, "input": turn.input});
    if let Some(instructions) = &turn.settings.instructions {
        body["instructions"] = instructions.as_str().into();
    }
    if !turn.settings.tools.is_empty() {
        let tool = |tool: &crate::model::FunctionTool| {
            let mut value = json!({"type": "function", "name": tool.name});
            if let Some(description) = &tool.description {
                value["description"] = description.as_str().into();
            }
            if let Some(parameters) = &tool.parameters {
                value["parameters"] = Value::Object(parameters.clone());
            }
            value
        };
        body["tools"] = turn.settings.tools.iter().map(tool).collect();
        body["tool_choice"] = turn.settings.tool_choice.clone();
    }
    body
}

/// Refuses what the connectors of others could only swallow.
fn check(turn: &Turn) -> Result<(), EncodeError> {
    let settings = &turn.settings;
    // An agent that may do without the client's functions does.
    let insists = !matches!(settings.tool_choice.as_str(), Some("auto" | "none"));
    if insists && !settings.tools.is_empty() {
        return Err(EncodeError::Unsupported("functions of the client"));
    }
    Ok(())
}

/// The items as messages: who says it, and the parts. Connectors of others know no roles, so all but the user's begin with a label.
fn messages(turn: &Turn) -> Vec<Vec<Part>> {
    let label = |label: &str, parts: &[Part]| -> Vec<Part> {
        match parts.split_first() {
            Some((Part::Text(first), rest)) => {
                std::iter::once(Part::Text(format!("{label}: {first}"))).chain(rest.iter().cloned()).collect()
            }
            _ => std::iter::once(Part::Text(format!("{label}:"))).chain(parts.iter().cloned()).collect(),
        }
    };
    let instructions = turn.settings.instructions.iter().map(|text| label("System", &[Part::Text(text.clone())]));
    let items = turn.input.iter().filter_map(|item| match item {
        InputItem::Message { role: Role::User, content, .. } => Some(content.clone()),
        InputItem::Message { role: Role::Assistant, content, .. } => Some(label("Assistant", content)),
        InputItem::Message { role: Role::System | Role::Developer, content, .. } => Some(label("System", content)),
        InputItem::FunctionCallOutput { call_id, output } => Some(label(&format!("Tool:{call_id}"), output)),
        InputItem::FunctionCall { call_id, name, arguments } => {
            Some(vec![Part::Text(format!("Assistant called {name} as {call_id}: {arguments}"))])
        }
        // Only who made it can read it.
        InputItem::Opaque(_) => None,
    });
    instructions.chain(items).collect()
}

/// What the person says, not what stands around it.
fn says_nothing(messages: &[Vec<Part>]) -> bool {
    messages.iter().flatten().all(|part| matches!(part, Part::Text(text) if text.trim().is_empty()))
}

fn bare(turn: &Turn) -> Result<Value, EncodeError> {
    check(turn)?;
    let messages = messages(turn);
    if says_nothing(&messages) {
        return Err(EncodeError::Blank);
    }
    let input: Vec<Value> = messages
        .iter()
        .map(|parts| {
            let content: Vec<Value> = parts.iter().map(bare_part).collect();
            json!({"type": "message", "role": "user", "content": content})
        })
        .collect();
    Ok(json!({
        "model": turn.settings.model,
        "stream": true,
        "input": input,
        // The connector keys what it is doing by message_id: one of our own for each turn keeps two from overwriting each other.
        "metadata": {"session_id": turn.session, "message_id": turn.response},
    }))
}

fn bare_part(part: &Part) -> Value {
    let mut value = part.to_value(Role::User);
    // It reads an address only where it expects one.
    if let (Part::File { source: Source::Data(url), .. }, Value::Object(members)) = (part, &mut value) {
        members.remove("file_data");
        members.insert("file_url".to_owned(), url.as_str().into());
    }
    value
}

/// All of it as one text, attachments as Markdown: for agents' sides that take nothing else.
///
/// # Errors
/// See [`EncodeError`].
pub fn plain(turn: &Turn) -> Result<String, EncodeError> {
    check(turn)?;
    let messages = messages(turn);
    if says_nothing(&messages) {
        return Err(EncodeError::Blank);
    }
    let write = |part: &Part| match part {
        Part::Text(text) => Ok(text.clone()),
        Part::Image { source: Source::Url(url), .. } => Ok(format!("![image]({url})")),
        Part::File { source: Source::Url(url), filename } => {
            Ok(format!("[{}]({url})", filename.as_deref().unwrap_or("file")))
        }
        Part::Image { .. } | Part::File { .. } => Err(EncodeError::Unsupported("attachments without an address")),
    };
    let texts: Vec<String> = messages
        .iter()
        .map(|parts| Ok(parts.iter().map(write).collect::<Result<Vec<_>, _>>()?.join("\n")))
        .collect::<Result<_, EncodeError>>()?;
    Ok(texts.join("\n\n"))
}
