//! What users send, and what they are told when it is wrong.
//!
//! The one frame is `response.create`, flat: the body of `POST /v1/responses` with a `type`. [`parse`] reads it; every refusal is an
//! [`ErrorFrame`] `{"type": "error", "status", "error": {"code", "message", "type", "param"?}}` with a code from the closed list
//! [`Code`]. Answers are `crate::model::StreamEvent`s; [`pieces`] cuts text for them.

mod settings;

use crate::json::{self, Unreadable, text};
use crate::model::Settings;
use crate::model::input::{self, InputError, InputItem};
use crate::{MAX_DEPTH, SessionId};
use serde_json::{Value, json};

pub use settings::MAX_REPEATED_BYTES;

/// The largest frame of a user, bytes: a little less than API Gateway carries, so that the turn that it becomes still reaches the agent.
pub const MAX_FRAME_BYTES: usize = 120 * 1024;

/// Why a frame is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// It is not JSON, or not an object.
    InvalidJson,
    /// It is a binary message.
    BinaryNotSupported,
    /// It has more than [`MAX_FRAME_BYTES`].
    RequestTooLarge,
    /// It is nested deeper than [`MAX_DEPTH`].
    RequestTooDeep,
    /// Its type is not `response.create`.
    UnknownEventType,
    /// It lacks something.
    MissingRequiredParameter,
    /// Something has a value that it may not have.
    InvalidValue,
    /// Something has no place in this transport, or is not supported.
    UnsupportedParameter,
    /// A part of the input is too large.
    InputTooLarge,
    /// What it continues is not known here.
    PreviousResponseNotFound,
    /// A response or session that the request is about is not known to whoever asks.
    NotFound,
    /// The connection is as old as connections get.
    ConnectionLimitReached,
    /// There were too many requests.
    RateLimitExceeded,
    /// Too many turns wait on this connection or in this session.
    QueueFull,
    /// The bridge could not do its part.
    ServerError,
}

impl Code {
    /// As the frame has it. Stable.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Code::InvalidJson => "invalid_json",
            Code::BinaryNotSupported => "binary_not_supported",
            Code::RequestTooLarge => "request_too_large",
            Code::RequestTooDeep => "request_too_deep",
            Code::UnknownEventType => "unknown_event_type",
            Code::MissingRequiredParameter => "missing_required_parameter",
            Code::InvalidValue => "invalid_value",
            Code::UnsupportedParameter => "unsupported_parameter",
            Code::InputTooLarge => "input_too_large",
            Code::PreviousResponseNotFound => "previous_response_not_found",
            Code::NotFound => "not_found",
            Code::ConnectionLimitReached => "websocket_connection_limit_reached",
            Code::RateLimitExceeded => "rate_limit_exceeded",
            Code::QueueFull => "queue_full",
            Code::ServerError => "server_error",
        }
    }

    /// As HTTP would put it.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Code::NotFound => 404,
            Code::RequestTooLarge | Code::InputTooLarge => 413,
            Code::RateLimitExceeded | Code::QueueFull => 429,
            Code::ServerError => 500,
            Code::InvalidJson
            | Code::BinaryNotSupported
            | Code::RequestTooDeep
            | Code::UnknownEventType
            | Code::MissingRequiredParameter
            | Code::InvalidValue
            | Code::UnsupportedParameter
            | Code::PreviousResponseNotFound
            | Code::ConnectionLimitReached => 400,
        }
    }

    /// The error's `type`.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self.status() {
            429 => "rate_limit_error",
            500 => "server_error",
            _ => "invalid_request_error",
        }
    }
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ErrorFrame {
    /// Why.
    pub code: Code,
    /// For a person.
    pub message: String,
    /// Which member, as a path: `input[0].content`.
    pub param: Option<String>,
}

impl ErrorFrame {
    /// A refusal that is about no member of the request.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> ErrorFrame {
        ErrorFrame { code, message: message.into(), param: None }
    }

    /// A refusal that is about one member.
    #[must_use]
    pub fn about(code: Code, param: impl Into<String>, message: impl Into<String>) -> ErrorFrame {
        ErrorFrame { code, message: message.into(), param: Some(param.into()) }
    }

    /// Something that must be there is not.
    #[must_use]
    pub fn missing(param: &str) -> ErrorFrame {
        ErrorFrame::about(Code::MissingRequiredParameter, param, format!("Missing required parameter: '{param}'."))
    }

    /// A binary message came.
    #[must_use]
    pub fn binary() -> ErrorFrame {
        ErrorFrame::new(Code::BinaryNotSupported, "Send text messages: binary ones are not supported.")
    }

    /// What a turn continues is not known, or may not be continued any more.
    #[must_use]
    pub fn previous_response_not_found(id: &str) -> ErrorFrame {
        let shown: String = id.chars().take(crate::MAX_ID_CHARS).collect();
        let message = format!("Previous response with id '{shown}' not found.");
        ErrorFrame::about(Code::PreviousResponseNotFound, "previous_response_id", message)
    }

    /// The connection is an hour old.
    #[must_use]
    pub fn connection_limit_reached() -> ErrorFrame {
        let message = "This connection is 60 minutes old, which is the limit. Connect anew and continue there.";
        ErrorFrame::new(Code::ConnectionLimitReached, message)
    }

    /// The frame as JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut error = json!({"code": self.code.as_str(), "message": self.message, "type": self.code.kind()});
        if let Some(param) = &self.param {
            error["param"] = param.as_str().into();
        }
        json!({"type": "error", "status": self.code.status(), "error": error})
    }

    /// The frame as a WebSocket text frame.
    #[must_use]
    pub fn to_frame(&self) -> String {
        self.to_value().to_string()
    }
}

impl From<InputError> for ErrorFrame {
    fn from(error: InputError) -> ErrorFrame {
        let code = match error.code {
            "missing_required_parameter" => Code::MissingRequiredParameter,
            "input_too_large" => Code::InputTooLarge,
            _ => Code::InvalidValue,
        };
        ErrorFrame::about(code, error.param, error.message)
    }
}

/// A `response.create`, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Create {
    /// The session that the client names (`metadata.session_id`). Standard clients name none: theirs is what they continue, or a new one.
    pub session: Option<SessionId>,
    /// What is said.
    pub input: Vec<InputItem>,
    /// How it is to be answered.
    pub settings: Settings,
}

impl Create {
    /// The session, for the users of connectors whose protocol wants it named.
    ///
    /// # Errors
    /// It is not named.
    pub fn required_session(&self) -> Result<&SessionId, ErrorFrame> {
        self.session.as_ref().ok_or_else(|| ErrorFrame::missing("metadata.session_id"))
    }
}

/// Reads a text frame of a user.
///
/// # Errors
/// What is wrong first.
pub fn parse(frame: &str) -> Result<Create, ErrorFrame> {
    if frame.len() > MAX_FRAME_BYTES {
        let message = format!("The message is larger than {MAX_FRAME_BYTES} bytes. Send files by their addresses.");
        return Err(ErrorFrame::new(Code::RequestTooLarge, message));
    }
    let body = json::read(frame).map_err(|why| match why {
        Unreadable::TooDeep => {
            ErrorFrame::new(Code::RequestTooDeep, format!("The message is nested deeper than {MAX_DEPTH} levels."))
        }
        Unreadable::NotJson => ErrorFrame::new(Code::InvalidJson, "The message is not JSON."),
    })?;
    if !body.is_object() {
        return Err(ErrorFrame::new(Code::InvalidJson, "The message must be a JSON object."));
    }
    match body.get("type") {
        None => return Err(ErrorFrame::missing("type")),
        Some(Value::String(kind)) if kind == "response.create" => {}
        Some(_) => {
            let message = "The only type of message that is known here is response.create.";
            return Err(ErrorFrame::about(Code::UnknownEventType, "type", message));
        }
    }
    parse_body(&body)
}

/// Reads the body of a request, without a `type`: for whoever has it from elsewhere.
///
/// # Errors
/// What is wrong first.
pub fn parse_body(body: &Value) -> Result<Create, ErrorFrame> {
    for name in ["stream", "stream_options", "background"] {
        if body.get(name).is_some() {
            let message = format!("'{name}' has no meaning over a WebSocket: every answer is streamed. Leave it out.");
            return Err(ErrorFrame::about(Code::UnsupportedParameter, name, message));
        }
    }
    // They change what a request means; to ignore them would be to answer another one.
    for name in ["stream_id", "generate", "conversation", "prompt"] {
        if body.get(name).is_some_and(|value| !value.is_null()) {
            let message = format!("'{name}' is not supported.");
            return Err(ErrorFrame::about(Code::UnsupportedParameter, name, message));
        }
    }
    let settings = settings::read(body)?;
    let input = match body.get("input") {
        None | Some(Value::Null) => return Err(ErrorFrame::missing("input")),
        Some(input) => input::read(input)?,
    };
    let session = match body.get("metadata").and_then(|metadata| text(metadata, "session_id")) {
        None => None,
        Some(id) => Some(SessionId::new(id).map_err(|error| {
            ErrorFrame::about(Code::InvalidValue, "metadata.session_id", format!("It is no id: {error}."))
        })?),
    };
    Ok(Create { session, input, settings })
}

/// `text` in pieces that take at most `max_bytes` each in a JSON string (12 at least), cut between characters. Together they are `text`.
pub fn pieces(text: &str, max_bytes: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, tail) = json::split_escaped(rest, max_bytes.max(12));
        rest = tail;
        Some(piece)
    })
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
