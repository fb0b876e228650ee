//! `bridge.v1`: how Clawbridge's own connector speaks with the channel.
//!
//! Every frame is a JSON object in a text message, with `"bridge": 1` and a `type`. The transport may lose a connection at any moment and may
//! hand over two frames of one connection in either order; it does not change frames.
//!
//! ```text
//! connector                                   bridge
//!   hello {connector, instance, holds} ─────▶        first on every connection
//!          ◀───── welcome {until, beat_seconds, max_frame_bytes}
//!          ◀───── turn {response, session, at, input, settings}
//!   say {response, number: 0, events} ──────▶
//!          ◀───── ack {response, next: 1}
//!   say {response, number: 1, events} ──────▶        …, the last with `completed`, `incomplete` or `failed`
//!          ◀───── ack {response, next: 2}
//!   beat {} ──▶  ◀── beat {}
//! ```
//!
//! - **A turn is sent at least once.** The connector knows a turn by its `response` and begins it once. The first `say` tells that it arrived; until
//!   then the bridge may send it again.
//! - **One frame in flight for each response.** `say` frames of a response are numbered from 0; the next is sent when `ack.next` has passed the one
//!   before. So no two of them can overtake each other, and the bridge slows the connector down by not answering. What the
//!   agent says meanwhile is put together: many deltas become one ([`super::Outbox`]). Different responses do not wait for each other.
//! - **`ack` comes after the frame is stored**, and `next` is the number that the bridge lacks: a frame that came twice is answered with the same
//!   `ack`, one that came too early with a lower one than it hoped for, and the connector sends again what is missing.
//! - **A lost connection** ends nothing. The connector connects anew, says `hello` with the same `instance` and what it still `holds` (each
//!   response, and the number of its frame in flight), and repeats those frames. What is not held any more has been lost with the process: the bridge ends those
//!   responses.
//! - **Hand-over**: `drain {before}` asks for a new connection before that moment, because this one will be cut. The connector opens the
//!   second, says `hello` there, sends `leaving {}` on the first when nothing of its own is on the way there, and closes it.
//!   New turns go to the connection that said `hello` last.
//! - **`beat`** is due in both directions at the interval that `welcome` names, since an idle connection is cut; three missed ones mean that it is dead.
//!   A connector whose agent works without a word sends `say` with no events, so that the answer is not given up.
//! - **`cancel {response}`**: nobody wants it any more, or the bridge does not know it. The connector stops it and forgets it.
//! - Unknown members are ignored, unknown types are an error that changes nothing; a version other than 1 is refused.

use super::FrameError;
use super::request::Turn;
use crate::{AgentEvent, ResponseId};
use clawbridge_clock::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The name that a connector gives when it connects.
pub const NAME: &str = "bridge.v1";

/// The version in every frame.
pub const VERSION: u64 = 1;

/// A response that a connector has not brought to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// Which.
    pub response: ResponseId,
    /// The number of the frame that is in flight, or would be next.
    pub next: u64,
}

/// What a connector sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromConnector {
    /// The first frame on a connection.
    Hello {
        /// Program and version, for people.
        connector: String,
        /// A random name of this process: another one knows nothing of what this one held.
        instance: String,
        /// The responses that it works on.
        #[serde(default)]
        holds: Vec<Holds>,
    },
    /// What the agent says.
    Say {
        /// In this response.
        response: ResponseId,
        /// From 0, one in flight.
        number: u64,
        /// None at all: the agent works.
        events: Vec<AgentEvent>,
    },
    /// Still there.
    Beat {},
    /// This connection will be closed; another one has taken over.
    Leaving {},
}

/// What the bridge sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToConnector {
    /// The answer to `hello`.
    Welcome {
        /// When the connection will be cut, milliseconds since 1970. A `drain` comes earlier.
        until: Timestamp,
        /// How often to send a `beat`, seconds.
        beat_seconds: u32,
        /// The largest `say` frame, bytes.
        max_frame_bytes: usize,
    },
    /// Somebody wants an answer.
    Turn(Box<Turn>),
    /// What was stored.
    Ack {
        /// Of this response.
        response: ResponseId,
        /// The number that comes next.
        next: u64,
    },
    /// Nobody wants it any more, or it is not known.
    Cancel {
        /// Which.
        response: ResponseId,
    },
    /// Connect anew.
    Drain {
        /// Before this moment, milliseconds since 1970.
        before: Timestamp,
    },
    /// Still there.
    Beat {},
}

#[derive(Serialize)]
struct Framed<'a, T> {
    bridge: u64,
    #[serde(flatten)]
    frame: &'a T,
}

/// A frame as text.
#[must_use]
pub fn write(frame: &impl Serialize) -> String {
    serde_json::to_string(&Framed { bridge: VERSION, frame })
        .expect("the frames above have text keys and no floating point numbers of their own")
}

pub(super) fn read(frame: Value) -> Result<FromConnector, FrameError> {
    from_value(frame)
}

/// Reads a frame that the bridge sent: for the connector.
///
/// # Errors
/// See [`FrameError`].
pub fn read_from_bridge(text: &str) -> Result<ToConnector, FrameError> {
    if text.len() > super::MAX_FRAME_BYTES {
        return Err(FrameError::TooLarge);
    }
    from_value(crate::json::read(text)?)
}

fn from_value<T: serde::de::DeserializeOwned>(frame: Value) -> Result<T, FrameError> {
    if frame.get("bridge").and_then(Value::as_u64) != Some(VERSION) {
        return Err(FrameError::Malformed("bridge version"));
    }
    if frame.get("type").and_then(Value::as_str).is_none() {
        return Err(FrameError::Malformed("type"));
    }
    serde_json::from_value(frame).map_err(|_| FrameError::Malformed("content"))
}
