//! The answers of an OpenClaw gateway to `POST /v1/responses`, for a connector beside it: an SSE stream or one JSON object becomes [`AgentEvent`]s.
//!
//! What the gateway does and a reader must know: events have no `sequence_number`; a function call is preceded by an empty message
//! and has no deltas; a failure in a stream comes under HTTP 200; without a stream, a refusal of the model is HTTP 400 with a failed
//! response in it, other refusals are `{"error": {message, type}}`; `[DONE]` ends a stream. A stream that has failed and then says that it
//! completed has failed: nothing after the first end is read.

use crate::dialects::events::{self, Style};
use crate::json;
use crate::{AgentEvent, words};
use serde_json::Value;

/// The longest line of a stream, bytes. The last event holds the whole answer in one line.
pub const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// A line, or the lines of an event together, have more than [`MAX_LINE_BYTES`].
    #[error("an event of the stream has more than {MAX_LINE_BYTES} bytes")]
    TooLarge,
    /// It is not UTF-8.
    #[error("the stream is not UTF-8")]
    NotText,
    /// The data of an event is not JSON, or is nested too deep.
    #[error("an event of the stream is not JSON")]
    NotJson,
}

/// Reads a stream piece by piece, however it is cut.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed after it belongs to it.
    after_return: bool,
    has_begun: bool,
    data: Option<String>,
    has_ended: bool,
}

impl Reader {
    /// For a new stream.
    #[must_use]
    pub fn new() -> Reader {
        Reader::default()
    }

    /// Whether the answer has ended: what comes after is not read.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// More bytes. What they say is added to `out`.
    ///
    /// # Errors
    /// The stream cannot be read on. What came before it is in `out` and counts; [`Reader::finish`] says how the answer ends.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<AgentEvent>) -> Result<(), SseError> {
        while !bytes.is_empty() && !self.has_ended {
            if std::mem::take(&mut self.after_return) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            let pending = self.data.as_ref().map_or(0, String::len);
            if self.line.len() + part.len() + pending > MAX_LINE_BYTES {
                return Err(SseError::TooLarge);
            }
            self.line.extend_from_slice(part);
            if let Some(end) = rest.first() {
                self.after_return = *end == b'\r';
                self.end_line(out)?;
            }
            bytes = rest.get(1..).unwrap_or_default();
        }
        Ok(())
    }

    fn end_line(&mut self, out: &mut Vec<AgentEvent>) -> Result<(), SseError> {
        let line = std::mem::take(&mut self.line);
        let line = std::str::from_utf8(&line).map_err(|_| SseError::NotText)?;
        let line =
            if std::mem::replace(&mut self.has_begun, true) { line } else { line.trim_start_matches('\u{feff}') };
        if line.is_empty() {
            return match self.data.take() {
                Some(data) => self.dispatch(&data, out),
                None => Ok(()),
            };
        }
        // The event's name is repeated as `type` in its data; comments and ids mean nothing here.
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        if field == "data" {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                data @ None => *data = Some(value.to_owned()),
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, data: &str, out: &mut Vec<AgentEvent>) -> Result<(), SseError> {
        if data.trim() == "[DONE]" {
            return Ok(());
        }
        let event = json::read(data).map_err(|_| SseError::NotJson)?;
        let events = if event.get("type").is_none() && event.get("error").is_some() {
            vec![events::failed(&event)]
        } else {
            events::read(&event, Style::STRICT)
        };
        self.has_ended = events.iter().any(AgentEvent::is_end);
        out.extend(events);
        Ok(())
    }

    /// The stream is over, by itself or because of an error. What ends the answer, if nothing has.
    pub fn finish(&mut self, error: Option<SseError>) -> Vec<AgentEvent> {
        if std::mem::replace(&mut self.has_ended, true) {
            return Vec::new();
        }
        let message = match error {
            Some(error) => format!("The gateway's answer cannot be read: {error}."),
            None => "The gateway's answer broke off.".to_owned(),
        };
        vec![AgentEvent::Failed { code: "gateway_stream_broken".to_owned(), message }]
    }
}

/// Reads an answer that is no stream: a response, or a refusal. `status` is HTTP's.
#[must_use]
pub fn read_object(status: u16, body: &[u8]) -> Vec<AgentEvent> {
    let value = std::str::from_utf8(body).ok().filter(|text| text.len() <= MAX_LINE_BYTES);
    let value = value.and_then(|text| json::read(text).ok()).unwrap_or(Value::Null);
    if value.get("object").and_then(Value::as_str) == Some("response") {
        let mut events = events::read(&value, Style::STRICT);
        // A failed response under 400 says so itself; a completed one would be no answer to trust.
        if (200..300).contains(&status) || matches!(events.last(), Some(AgentEvent::Failed { .. })) {
            events.insert(0, AgentEvent::Began);
            return events;
        }
    }
    let code = match status {
        401 | 403 => "gateway_refused_token",
        408 | 504 => "gateway_timeout",
        413 => "input_too_large",
        429 => "gateway_busy",
        400..=499 => "gateway_refused_request",
        _ => "gateway_error",
    };
    let message = match events::failed(&value) {
        AgentEvent::Failed { message, .. } if value.get("error").is_some() => message,
        _ => format!("The gateway answered with HTTP {status}."),
    };
    vec![AgentEvent::Failed { code: words::code(code), message }]
}

/// Whether a request may be made again after an answer with this status: the gateway did not begin it.
#[must_use]
pub fn is_not_begun(status: u16) -> bool {
    matches!(status, 429 | 503)
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
