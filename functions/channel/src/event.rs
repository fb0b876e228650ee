//! What API Gateway's WebSocket API hands over and takes back.
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-mapping-template-reference.html>

use clawbridge_clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An event of a connection, as far as it is used.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    pub(crate) request_context: Context,
    /// Of `$connect`; names in whatever case the client or API Gateway wrote them.
    #[serde(default)]
    pub(crate) headers: Option<BTreeMap<String, String>>,
    /// Of a message.
    #[serde(default)]
    pub(crate) body: Option<String>,
    #[serde(default)]
    pub(crate) is_base64_encoded: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Context {
    pub(crate) route_key: String,
    pub(crate) connection_id: String,
    #[serde(default)]
    pub(crate) request_id: String,
    /// When the connection was opened.
    #[serde(default = "now")]
    pub(crate) connected_at: Timestamp,
}

fn now() -> Timestamp {
    Timestamp::now()
}

impl Event {
    /// A header's value, whatever the case of its name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let headers = self.headers.as_ref()?;
        let found = headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// What is answered: a status, which only a client that connects gets to see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    pub(crate) status_code: u16,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
}

impl Answer {
    pub(crate) fn status(status_code: u16) -> Answer {
        Answer { status_code, headers: BTreeMap::new() }
    }

    pub(crate) fn ok() -> Answer {
        Answer::status(200)
    }

    /// The connection is accepted in the subprotocol that was chosen, if the client had offered any.
    pub(crate) fn connected(subprotocol: Option<&str>) -> Answer {
        let header = |name: &str| ("Sec-WebSocket-Protocol".to_owned(), name.to_owned());
        Answer { status_code: 200, headers: subprotocol.map(header).into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_whatever_their_case() {
        let event: Event = serde_json::from_str(
            r#"{"headers": {"X-App-Key": "k"}, "requestContext": {"routeKey": "$connect", "connectionId": "c",
                "connectedAt": 1607854667185, "requestId": "r", "stage": "responses"}, "isBase64Encoded": false}"#,
        )
        .expect("an event");
        assert_eq!((event.header("x-app-key"), event.header("x-app-secret")), (Some("k"), None));
        assert_eq!(event.request_context.connected_at, Timestamp::from_millis(1_607_854_667_185));
    }

    #[test]
    fn the_subprotocol_that_was_chosen_is_named() {
        let written = |answer: &Answer| serde_json::to_string(answer).expect("JSON");
        assert_eq!(written(&Answer::ok()), r#"{"statusCode":200}"#);
        let chosen = r#"{"statusCode":200,"headers":{"Sec-WebSocket-Protocol":"clawbridge.v1"}}"#;
        assert_eq!(written(&Answer::connected(Some("clawbridge.v1"))), chosen);
    }
}
