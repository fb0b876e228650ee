//! Envelopes: headers, and an event as a text in `data`.

use super::events::{self, Style};
use super::{FrameError, Said};
use crate::json;
use clawbridge_clock::Timestamp;
use serde_json::Value;

pub(super) fn read(frame: &Value, style: Style) -> Result<Said, FrameError> {
    let event = match frame.get("data") {
        Some(Value::String(data)) => json::read(data)?,
        Some(data @ Value::Object(_)) => data.clone(),
        _ => return Err(FrameError::Malformed("data")),
    };
    if !event.is_object() {
        return Err(FrameError::Malformed("data"));
    }
    let mut said = events::said(&event, style);
    // The envelope is dated when it is sent, the event inside when its answer began.
    if let Some(millis) = frame.pointer("/headers/timestamp").and_then(Value::as_i64) {
        said.sent_at = Some(Timestamp::from_millis(millis));
    }
    Ok(said)
}
