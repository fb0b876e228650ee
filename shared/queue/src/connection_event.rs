//! What happens to connections, as events of the source [`BRIDGE_SOURCE`].

use crate::bridge_event::BridgeEvent;
use crate::message::MessageError;
use clawbridge_clock::Timestamp;
use serde_json::json;

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionChange<'a> {
    /// `connection.connected`: a person has authorised it.
    Connected,
    /// `connection.expired`: a person has to authorise it again.
    Expired {
        /// The server's error code, or a stable one of the bridge's.
        code: &'a str,
        /// Since when, where that is known.
        since: Option<Timestamp>,
    },
}

/// An event about a connection. It is made only where a route listens, like those of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionEvent<'a> {
    /// The provider's name in bridge.toml.
    pub provider: &'a str,
    /// The account's name.
    pub account: &'a str,
    /// Which of its token sets: part of the delivery id, so that however often it is told, it is one event.
    pub generation: u64,
    /// What happened.
    pub change: ConnectionChange<'a>,
}

impl ConnectionEvent<'_> {
    /// The event's type, which routes name.
    #[must_use]
    pub fn event_type(&self) -> &'static str {
        match self.change {
            ConnectionChange::Connected => "connection.connected",
            ConnectionChange::Expired { .. } => "connection.expired",
        }
    }

    /// The texts of its messages: `{event, timestamp, data: {connection, provider, account, code, since?}}`, delivery id
    /// `PROVIDER/ACCOUNT/GENERATION/expired` (or `connected`, which has neither `code` nor `since`).
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn messages(&self, now: Timestamp) -> Result<Vec<String>, MessageError> {
        let connection = format!("{}/{}", self.provider, self.account);
        let mut data = json!({"connection": connection, "provider": self.provider, "account": self.account});
        let what = match self.change {
            ConnectionChange::Connected => "connected",
            ConnectionChange::Expired { code, since } => {
                data["code"] = code.into();
                if let Some(since) = since {
                    data["since"] = since.rfc3339().into();
                }
                "expired"
            }
        };
        let delivery_id = format!("{connection}/{}/{what}", self.generation);
        BridgeEvent { data, ..BridgeEvent::of(self.event_type(), delivery_id, now) }.messages(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Message};
    use clawbridge_packed::Packed;

    fn event(change: ConnectionChange<'_>) -> (String, String, serde_json::Value) {
        let event = ConnectionEvent { provider: "crm", account: "prod", generation: 3, change };
        let texts = event.messages(Timestamp::from_millis(1_700_000_000_000)).expect("messages");
        let [text] = texts.as_slice() else { panic!("{texts:?}") };
        let Ok(Message::Event(event)) = Message::decode(text) else { panic!("{text}") };
        let Body::Inline { encoding, data } = event.body else { panic!("no body") };
        let body = Packed { encoding, bytes: data }.unpack(1024).expect("a body");
        (event.r#type, event.delivery_id, serde_json::from_slice(&body).expect("JSON"))
    }

    #[test]
    fn an_event_says_which_connection_and_why_and_has_the_same_id_each_time() {
        let since = Some(Timestamp::from_millis(1_699_999_999_000));
        let (kind, id, body) = event(ConnectionChange::Expired { code: "invalid_grant", since });
        assert_eq!((kind.as_str(), id.as_str()), ("connection.expired", "crm/prod/3/expired"));
        let expected = json!({
            "event": "connection.expired", "timestamp": "2023-11-14T22:13:20.000Z",
            "data": {"connection": "crm/prod", "provider": "crm", "account": "prod", "code": "invalid_grant", "since": "2023-11-14T22:13:19.000Z"},
        });
        assert_eq!(body, expected);
        let (kind, id, body) = event(ConnectionChange::Connected);
        assert_eq!((kind.as_str(), id.as_str()), ("connection.connected", "crm/prod/3/connected"));
        assert_eq!(body["data"], json!({"connection": "crm/prod", "provider": "crm", "account": "prod"}));
    }
}
