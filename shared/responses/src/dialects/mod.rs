//! Connectors' frames, both ways.
//!
//! | dialect | who | the request | what comes back |
//! |---|---|---|---|
//! | [`Dialect::Enveloped`] | InstaClaw plugin 1.0.0–1.0.2 | `{type: "request", headers, data: "…"}`; 1.0.0 takes none | events in `{type: "message", headers: {messageId, timestamp}, data: "…"}` |
//! | [`Dialect::Topic`] | the same, 1.0.2–1.0.4 | `{type: "MESSAGE", headers: {messageId, topic}, data: "{content}"}` | events in the same envelope, whose deltas hold the whole text so far |
//! | [`Dialect::Bare`] | the same, from 1.0.4 | a bare request object | bare events, with the quirks below |
//! | [`Dialect::Bridge`] | Clawbridge's own connector | `bridge.v1`, see [`bridge`] | `bridge.v1` |
//!
//! Every frame shows its dialect, so [`decode`] needs to know nothing of the connection. What to send a request in must be known before
//! the first frame came: a connector of ours says so when it connects, all others are taken for [`Dialect::Bare`] until a frame shows
//! otherwise.
//!
//! None but `bridge.v1` names the request that it answers, numbers its frames or repeats them after a lost connection. Hence
//! [`Dialect::serial`]: how many turns may be under way, so that [`crate::correlate`] can tell whose answer it is; and
//! [`Dialect::hold_back`]: how long frames are sorted by their time ([`crate::order::HeldBack`]).
//!
//! Quirks of the bare dialect, each recorded in `events/channel/connector`: the text of a reply that is given as one block comes after its end;
//! the final object of an answer that is not streamed has `output.items` where a list should be, and `output_text: ""` where it
//! does not know the text; `in_progress` may be missing; messages that nobody asked for come without a session; `delta` is an object or
//! a text; events are flat or have a nested `response`; errors have stack traces (never passed on).

pub mod bridge;
mod envelope;
pub(crate) mod events;
mod outbox;
mod request;

pub use outbox::Outbox;
pub use request::{EncodeError, MAX_REQUEST_BYTES, Turn, encode_request, gateway_request, plain};

use crate::json::{self, Unreadable};
use crate::machine::Policy;
use crate::{AgentEvent, AgentKey, SessionId};
use clawbridge_clock::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// The largest frame that is read, bytes: what API Gateway carries.
pub const MAX_FRAME_BYTES: usize = 128 * 1024;

/// A way of speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Events in an envelope of type `message`.
    Enveloped,
    /// Events in an envelope of type `MESSAGE` with a topic.
    Topic,
    /// Bare events.
    Bare,
    /// `bridge.v1`.
    Bridge,
}

/// How many turns a connector may have under way, if their answers are to be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serial {
    /// One: nothing in an answer says more than that it is one.
    OfConnection,
    /// One of each session: answers name the session.
    OfSession,
    /// Any number: answers name the response.
    No,
}

impl Dialect {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Dialect::Enveloped => "enveloped",
            Dialect::Topic => "topic",
            Dialect::Bare => "bare",
            Dialect::Bridge => bridge::NAME,
        }
    }

    /// How many turns may be under way.
    #[must_use]
    pub fn serial(self) -> Serial {
        match self {
            Dialect::Enveloped | Dialect::Topic => Serial::OfConnection,
            Dialect::Bare => Serial::OfSession,
            Dialect::Bridge => Serial::No,
        }
    }

    /// For how long frames should be held back to be sorted, where the transport may swap them.
    #[must_use]
    pub fn hold_back(self) -> Duration {
        match self {
            Dialect::Enveloped | Dialect::Topic | Dialect::Bare => Duration::from_millis(400),
            Dialect::Bridge => Duration::ZERO,
        }
    }

    /// What an answer waits for.
    #[must_use]
    pub fn policy(self) -> Policy {
        match self {
            // The plugin gives up after 60 s itself and says so.
            Dialect::Enveloped | Dialect::Topic | Dialect::Bare => {
                Policy { silence: Duration::from_secs(90), ..Policy::default() }
            }
            // An end says that all text is there, and a connector that waits for its gateway says that it does.
            Dialect::Bridge => Policy { late_text: Duration::ZERO, ..Policy::default() },
        }
    }

    /// Whose frame it is. `None`: nobody's.
    #[must_use]
    pub fn of_frame(frame: &Value) -> Option<Dialect> {
        let kind = frame.get("type").and_then(Value::as_str);
        if frame.get("bridge").is_some() {
            Some(Dialect::Bridge)
        } else if frame.get("headers").is_some_and(Value::is_object) {
            match kind {
                Some("message") => Some(Dialect::Enveloped),
                Some("MESSAGE") => Some(Dialect::Topic),
                _ => None,
            }
        } else {
            let is_event = kind.is_some_and(|kind| kind.starts_with("response.") || kind == "error");
            (is_event || frame.get("object").and_then(Value::as_str) == Some("response")).then_some(Dialect::Bare)
        }
    }
}

/// What a frame of a connector that is not ours says.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// What the agent's side calls the response.
    pub key: Option<AgentKey>,
    /// The session, where the frame names it.
    pub session: Option<SessionId>,
    /// When it was sent, by the connector's clock.
    pub sent_at: Option<Timestamp>,
    /// What it says; nothing, if the event has no meaning here.
    pub events: Vec<AgentEvent>,
}

impl Said {
    /// Where it stands among frames of the same moment: see [`AgentEvent::rank`].
    #[must_use]
    pub fn rank(&self) -> u8 {
        self.events.iter().map(AgentEvent::rank).max().unwrap_or_default()
    }
}

/// What a frame holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    /// A part of an answer, in a dialect that is not ours.
    Said(Said),
    /// A frame of our own connector.
    Bridge(bridge::FromConnector),
}

/// Why a frame of a connector is dropped. Its text is in none of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More than [`MAX_FRAME_BYTES`].
    #[error("the frame is larger than {MAX_FRAME_BYTES} bytes")]
    TooLarge,
    /// Nested deeper than [`crate::MAX_DEPTH`].
    #[error("the frame is nested deeper than {} levels", crate::MAX_DEPTH)]
    TooDeep,
    /// Not JSON, or an envelope around something that is not.
    #[error("the frame is not JSON")]
    NotJson,
    /// JSON of no known dialect.
    #[error("the frame is of no known dialect")]
    Unrecognised,
    /// Of a known dialect, with something missing.
    #[error("the frame has no proper {0}")]
    Malformed(&'static str),
}

impl FrameError {
    /// A stable word.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            FrameError::TooLarge => "frame_too_large",
            FrameError::TooDeep => "frame_too_deep",
            FrameError::NotJson => "frame_not_json",
            FrameError::Unrecognised => "frame_unrecognised",
            FrameError::Malformed(_) => "frame_malformed",
        }
    }
}

impl From<Unreadable> for FrameError {
    fn from(why: Unreadable) -> FrameError {
        match why {
            Unreadable::TooDeep => FrameError::TooDeep,
            Unreadable::NotJson => FrameError::NotJson,
        }
    }
}

/// Reads a text frame of a connector.
///
/// # Errors
/// See [`FrameError`].
pub fn decode(text: &str) -> Result<(Dialect, Decoded), FrameError> {
    if text.len() > MAX_FRAME_BYTES {
        return Err(FrameError::TooLarge);
    }
    let frame = json::read(text)?;
    let dialect = Dialect::of_frame(&frame).ok_or(FrameError::Unrecognised)?;
    let decoded = match dialect {
        Dialect::Enveloped => Decoded::Said(envelope::read(&frame, events::Style::LENIENT)?),
        Dialect::Topic => Decoded::Said(envelope::read(&frame, events::Style::CUMULATIVE)?),
        Dialect::Bare => Decoded::Said(events::said(&frame, events::Style::LENIENT)),
        Dialect::Bridge => Decoded::Bridge(bridge::read(frame)?),
    };
    Ok((dialect, decoded))
}

#[cfg(test)]
mod frame_tests;
#[cfg(test)]
mod recorded_tests;
