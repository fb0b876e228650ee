//! What an event is.

use crate::body::body_value;
use clawbridge_clock::Timestamp;
use clawbridge_trace::TraceContext;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// One verified delivery, or one happening inside the bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// [`event_id`] of source and delivery id.
    pub id: String,
    /// Source name; `bridge` for what happened inside.
    pub source: String,
    /// Event type, as the provider names it.
    pub r#type: String,
    /// The provider's delivery id, or the scheme's fallback.
    pub delivery_id: String,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// Headers worth keeping, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as received.
    #[serde(skip)]
    pub body: Vec<u8>,
    /// How many tasks' events lie between a provider's delivery and this event.
    pub hops: u32,
    /// The acceptance that stored it: API Gateway's request id, or what made the event.
    pub nonce: String,
    /// How often the same delivery came again.
    pub repeats: u32,
    /// The trace that it belongs to. `None`: it was stored before events said so.
    pub trace: Option<TraceContext>,
}

impl Event {
    /// What routes' filters and mappings see:
    /// `{id, source, type, delivery_id, received_at (RFC 3339), headers: {…}, body}`; for `body` see [`body_value`].
    #[must_use]
    pub fn view(&self) -> Value {
        let headers: serde_json::Map<String, Value> =
            self.headers.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
        json!({
            "id": self.id,
            "source": self.source,
            "type": self.r#type,
            "delivery_id": self.delivery_id,
            "received_at": self.received_at.rfc3339(),
            "headers": headers,
            "body": body_value(self.content_type(), &self.body),
        })
    }

    /// The content type that the sender gave, or an empty string.
    #[must_use]
    pub fn content_type(&self) -> &str {
        self.headers.iter().find(|(name, _)| name == "content-type").map_or("", |(_, value)| value)
    }
}

/// An event's id: `evt_` and 24 hexadecimal digits of a SHA-256 over source and delivery id.
#[must_use]
pub fn event_id(source: &str, delivery_id: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(source.as_bytes());
    hash.update([0]);
    hash.update(delivery_id.as_bytes());
    format!("evt_{}", &hex::encode(hash.finalize())[..24])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_delivery_of_the_same_source_is_the_same_event() {
        assert_eq!(event_id("stripe", "evt_1"), event_id("stripe", "evt_1"));
        assert_ne!(event_id("stripe", "evt_1"), event_id("stripe-eu", "evt_1"));
        assert_ne!(event_id("a", "b"), event_id("ab", ""));
    }

    #[test]
    fn routes_see_the_parsed_body_beside_what_the_bridge_knows() {
        let event = Event {
            id: "evt_x".into(),
            source: "stripe".into(),
            r#type: "invoice.paid".into(),
            delivery_id: "evt_1".into(),
            received_at: Timestamp::from_millis(1_795_232_439_120),
            headers: vec![("content-type".into(), "application/json".into())],
            body: b"{\"id\":\"evt_1\"}".to_vec(),
            hops: 0,
            nonce: "n".into(),
            repeats: 0,
            trace: None,
        };
        assert_eq!(
            event.view(),
            json!({"id": "evt_x", "source": "stripe", "type": "invoice.paid", "delivery_id": "evt_1",
                "received_at": "2026-11-21T03:40:39.120Z", "headers": {"content-type": "application/json"}, "body": {"id": "evt_1"}})
        );
    }
}
