//! What the bridge itself does, as events of the source [`BRIDGE_SOURCE`].

use crate::BRIDGE_SOURCE;
use crate::message::{Body, EventMessage, MessageError};
use crate::split::event_messages;
use clawbridge_clock::Timestamp;
use clawbridge_packed::Packed;
use clawbridge_trace::TraceContext;
use serde_json::{Value, json};

/// Something that the bridge did. Each costs a message and a write, so they are made only where a route listens or a subscription
/// wants them; who makes one asks first.
#[derive(Clone, Debug, PartialEq)]
pub struct BridgeEvent<'a> {
    /// Its type, which routes and subscriptions name: `agent.connected`.
    pub event_type: &'a str,
    /// What it is known by: the same however often it is told.
    pub delivery_id: String,
    /// When it happened.
    pub at: Timestamp,
    /// What there is to know.
    pub data: Value,
    /// How many tasks' events lie between a provider's delivery and this.
    pub hops: u32,
    /// The trace that it belongs to.
    pub trace: Option<TraceContext>,
}

impl<'a> BridgeEvent<'a> {
    /// An agent's connector has connected (`agent.connected`) or is gone (`agent.disconnected`): data is `{agent, connection}`.
    #[must_use]
    pub fn agent(event_type: &'a str, agent: &str, connection: &str, at: Timestamp) -> BridgeEvent<'a> {
        let delivery_id = format!("{event_type}/{agent}/{connection}");
        BridgeEvent {
            data: json!({"agent": agent, "connection": connection}),
            ..BridgeEvent::of(event_type, delivery_id, at)
        }
    }

    /// One that follows from no task and belongs to no trace, with nothing to know.
    #[must_use]
    pub fn of(event_type: &'a str, delivery_id: String, at: Timestamp) -> BridgeEvent<'a> {
        BridgeEvent { event_type, delivery_id, at, data: json!({}), hops: 0, trace: None }
    }

    /// The texts of its messages: the body is `{event, timestamp, data}`.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn messages(&self, now: Timestamp) -> Result<Vec<String>, MessageError> {
        let body = json!({"event": self.event_type, "timestamp": self.at.rfc3339(), "data": self.data}).to_string();
        let message = EventMessage {
            nonce: self.delivery_id.clone(),
            source: BRIDGE_SOURCE.to_owned(),
            r#type: self.event_type.to_owned(),
            delivery_id: self.delivery_id.clone(),
            received_at: now,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Body::inline(Packed::pack(&[])),
            hops: self.hops,
            deferrals: 0,
            trace: self.trace,
        };
        event_messages(message, Packed::pack(body.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    #[test]
    fn what_happened_is_an_event_of_the_bridge_with_the_same_id_each_time() {
        let at = Timestamp::from_millis(1_700_000_000_000);
        let event = BridgeEvent {
            data: json!({"about": 1}),
            ..BridgeEvent::of("system.error", "system.error/1".to_owned(), at)
        };
        let texts = event.messages(at.plus(std::time::Duration::from_secs(9))).expect("messages");
        let [text] = texts.as_slice() else { panic!("{texts:?}") };
        let Ok(Message::Event(message)) = Message::decode(text) else { panic!("{text}") };
        assert_eq!((message.source.as_str(), message.r#type.as_str()), (BRIDGE_SOURCE, "system.error"));
        assert_eq!(message.delivery_id, "system.error/1");
        let Body::Inline { encoding, data } = message.body else { panic!("no body") };
        let body = Packed { encoding, bytes: data }.unpack(1024).expect("a body");
        let expected = json!({"event": "system.error", "timestamp": "2023-11-14T22:13:20.000Z", "data": {"about": 1}});
        assert_eq!(serde_json::from_slice::<Value>(&body).expect("JSON"), expected);
        let agent = BridgeEvent::agent("agent.connected", "main", "c-1", at);
        assert_eq!(agent, BridgeEvent::agent("agent.connected", "main", "c-1", at));
    }
}
