//! From an upgrade request to a connection: the handshake of RFC 6455 (4.2) around the `$connect` integration.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{
    CONNECTION, CONTENT_TYPE, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use serde_json::Value;
use sha1::{Digest as _, Sha1};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::connection::{Connection, run};
use super::event::{About, Arrival, connect};
use super::routes::CONNECT;
use super::{Shared, WebSockets, error_body, new_id};
use crate::clock::Millis;
use crate::gateway::{InvokeError, MalformedAnswer, Outcome, domain_name, message, text, trace_id};

/// What becomes of an upgrade request.
pub(crate) struct Handshake {
    pub(crate) response: Response<Bytes>,
    pub(crate) outcome: Outcome,
    /// The connection, to be run in a task of its own when the response is 101.
    pub(crate) connection: Option<BoxFuture<'static, ()>>,
}

impl Handshake {
    fn refused(response: Response<Bytes>, outcome: Outcome) -> Self {
        Self { response, outcome, connection: None }
    }
}

impl WebSockets {
    /// Whether this is an upgrade request for this API. `path` is decoded.
    pub(crate) fn takes(&self, parts: &Parts, path: &str) -> bool {
        let stage = path.strip_prefix('/').map(|path| path.strip_suffix('/').unwrap_or(path));
        let ours = stage == Some(self.shared.stage.as_str()) || self.shared.aliases.iter().any(|alias| alias == path);
        ours && has_token(&parts.headers, &UPGRADE, "websocket") && has_token(&parts.headers, &CONNECTION, "upgrade")
    }

    /// Asks the `$connect` integration, which goes on should the client leave, and answers the client.
    pub(crate) async fn connect(&self, parts: Parts, source_ip: IpAddr, port: u16, request_id: &str) -> Handshake {
        let shared = &self.shared;
        let accept = match check(&parts) {
            Ok(accept) => accept,
            Err(status) => return Handshake::refused(not_a_handshake(status), Outcome::Refused),
        };
        let now = shared.clock.now();
        if !shared.new_connections.admit(shared.limits.new_connections, now) {
            return Handshake::refused(message(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests"), Outcome::Refused);
        }
        let header = |name| parts.headers.get(name).map(|value: &HeaderValue| text(value.as_bytes()));
        let host = header(&HOST).unwrap_or_else(|| shared.api.domain_name.clone());
        let domain = domain_name(&host).to_owned();
        let (connection, outgoing) = Connection::new(new_id(), domain, source_ip, header(&USER_AGENT), now);
        let protocol = match shared.ask(&connection, &parts, port, request_id).await {
            Ok(protocol) => protocol,
            Err(refused) => return Handshake::refused(refused.response(&connection.id, request_id), refused.outcome),
        };
        let connection = Arc::new(connection);
        shared.open(&connection);
        let mut request = Request::from_parts(parts, ());
        let upgrade = hyper::upgrade::on(&mut request);
        Handshake {
            response: switching_protocols(&accept, protocol),
            outcome: Outcome::Answered,
            connection: Some(Box::pin(run(Arc::clone(shared), connection, outgoing, upgrade))),
        }
    }
}

impl Shared {
    /// Invokes the `$connect` integration. `Ok`: the client may connect, with this subprotocol.
    async fn ask(
        &self,
        connection: &Connection,
        parts: &Parts,
        port: u16,
        request_id: &str,
    ) -> Result<Option<HeaderValue>, NotConnected> {
        // Without an integration everybody may.
        let Some(function) = self.routes.get(CONNECT).cloned() else { return Ok(None) };
        let now = SystemTime::now();
        let about = About { api: &self.api, stage: &self.stage, connection, request_id, now: self.clock.now() };
        let trace_id = trace_id(now, Uuid::new_v4());
        let arrival = Arrival { parts, source_ip: connection.source_ip, port, trace_id: &trace_id };
        let payload = connect(&about, &arrival);
        let (answered, answer) = oneshot::channel();
        self.spawn(async move {
            // Nobody waits any longer when the time is up or the client has left.
            let _unheard = answered.send(function.call(payload, Uuid::new_v4().to_string(), now).await);
        });
        let failed = |outcome| Err(NotConnected::failed(StatusCode::BAD_GATEWAY, "Internal server error", outcome));
        match tokio::time::timeout(self.limits.integration_time, answer).await {
            Err(_elapsed) => {
                let (status, text) = (StatusCode::GATEWAY_TIMEOUT, "Endpoint request timed out");
                Err(NotConnected::failed(status, text, Outcome::IntegrationTimeout))
            }
            Ok(Err(_cut)) => {
                failed(Outcome::Invocation(InvokeError::Failed("it was stopped at the shutdown".to_owned())))
            }
            Ok(Ok(Err(failure))) => failed(Outcome::Invocation(failure)),
            Ok(Ok(Ok(answer))) => match Answer::read(&answer) {
                Err(malformed) => failed(Outcome::Malformed(malformed)),
                Ok(Answer { status, protocol }) if status.is_success() => Ok(protocol),
                Ok(Answer { status, .. }) => Err(NotConnected { status, text: None, outcome: Outcome::Answered }),
            },
        }
    }
}

/// Why a client is not connected after its `$connect`.
struct NotConnected {
    status: StatusCode,
    /// The gateway's own words, where the function did not decide.
    text: Option<&'static str>,
    outcome: Outcome,
}

impl NotConnected {
    fn failed(status: StatusCode, text: &'static str, outcome: Outcome) -> Self {
        Self { status, text: Some(text), outcome }
    }

    fn response(&self, connection_id: &str, request_id: &str) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = self.status;
        if let Some(text) = self.text {
            *response.body_mut() = Bytes::from(error_body(text, connection_id, request_id));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        response
    }
}

/// What counts of a function's answer.
pub(super) struct Answer {
    status: StatusCode,
    /// `Sec-WebSocket-Protocol` (developer guide, "WebSocket APIs that require a WebSocket subprotocol").
    protocol: Option<HeaderValue>,
}

impl Answer {
    pub(super) fn read(answer: &[u8]) -> Result<Self, MalformedAnswer> {
        let answer: Value = serde_json::from_slice(answer).map_err(|_| MalformedAnswer::NotJson)?;
        let status = answer
            .get("statusCode")
            .and_then(Value::as_u64)
            .filter(|status| (200..=599).contains(status))
            .and_then(|status| u16::try_from(status).ok())
            .and_then(|status| StatusCode::from_u16(status).ok())
            .ok_or(MalformedAnswer::StatusCode)?;
        let protocol = match answer.get("headers") {
            None | Some(Value::Null) => None,
            Some(Value::Object(headers)) => headers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(SEC_WEBSOCKET_PROTOCOL.as_str()))
                .map(|(_, value)| {
                    value.as_str().and_then(|value| HeaderValue::from_str(value).ok()).ok_or(MalformedAnswer::Headers)
                })
                .transpose()?,
            Some(_) => return Err(MalformedAnswer::Headers),
        };
        Ok(Self { status, protocol })
    }
}

/// How many clients have connected in the present second.
#[derive(Debug, Default)]
pub(super) struct Rate(std::sync::Mutex<(Millis, u32)>);

impl Rate {
    fn admit(&self, limit: Option<u32>, now: Millis) -> bool {
        let Some(limit) = limit else { return true };
        let mut counted = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let second = now.div_euclid(1000);
        if counted.0 != second {
            *counted = (second, 0);
        }
        counted.1 = counted.1.saturating_add(1);
        counted.1 <= limit
    }
}

/// The `Sec-WebSocket-Accept` of a handshake that may be completed (RFC 6455, 4.2.1 and 4.2.2), else the status to refuse it with.
fn check(parts: &Parts) -> Result<HeaderValue, StatusCode> {
    if parts.headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(StatusCode::UPGRADE_REQUIRED);
    }
    let key = parts.headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    let whole = STANDARD.decode(key).is_ok_and(|key| key.len() == 16);
    if parts.method != Method::GET || parts.version != Version::HTTP_11 || !whole {
        return Err(StatusCode::BAD_REQUEST);
    }
    let digest = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    HeaderValue::from_str(&STANDARD.encode(digest)).map_err(|_| StatusCode::BAD_REQUEST)
}

fn not_a_handshake(status: StatusCode) -> Response<Bytes> {
    let mut response = message(status, status.canonical_reason().unwrap_or_default());
    if status == StatusCode::UPGRADE_REQUIRED {
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    response
}

fn switching_protocols(accept: &HeaderValue, protocol: Option<HeaderValue>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept.clone());
    if let Some(protocol) = protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_answered_as_in_the_rfcs_example() {
        let request = Request::get("/")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(check(&parts).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_handshake_that_cannot_be_completed_is_refused() {
        let cases = [
            (Request::get("/").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), 426),
            (
                Request::get("/")
                    .header("sec-websocket-version", "8")
                    .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                426,
            ),
            (Request::get("/").header("sec-websocket-version", "13"), 400),
            (Request::get("/").header("sec-websocket-version", "13").header("sec-websocket-key", "c2hvcnQ="), 400),
            (
                Request::post("/")
                    .header("sec-websocket-version", "13")
                    .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                400,
            ),
        ];
        for (request, status) in cases {
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(check(&parts).unwrap_err(), status, "{parts:?}");
        }
    }

    #[test]
    fn of_an_answer_the_status_and_the_subprotocol_count() {
        let read =
            |answer: &str| Answer::read(answer.as_bytes()).map(|answer| (answer.status.as_u16(), answer.protocol));
        let mine = Some(HeaderValue::from_static("mine"));
        let cases = [
            (r#"{"statusCode":200}"#, Ok((200, None))),
            (r#"{"statusCode":403,"body":"no","headers":null}"#, Ok((403, None))),
            (r#"{"statusCode":200,"headers":{"Sec-WebSocket-Protocol":"mine","x":1}}"#, Ok((200, mine.clone()))),
            (r#"{"statusCode":200,"headers":{"sec-websocket-protocol":"mine"}}"#, Ok((200, mine))),
            (r#"{"statusCode":200,"headers":{"sec-websocket-protocol":"a\n"}}"#, Err(MalformedAnswer::Headers)),
            (r#"{"statusCode":200,"headers":[]}"#, Err(MalformedAnswer::Headers)),
            (r#"{"statusCode":"200"}"#, Err(MalformedAnswer::StatusCode)),
            (r#"{"statusCode":101}"#, Err(MalformedAnswer::StatusCode)),
            ("null", Err(MalformedAnswer::StatusCode)),
            ("{", Err(MalformedAnswer::NotJson)),
        ];
        for (answer, expected) in cases {
            assert_eq!(read(answer), expected, "{answer}");
        }
    }

    #[test]
    fn only_so_many_clients_connect_in_a_second() {
        let rate = Rate::default();
        let admitted: Vec<_> = [0, 1, 999, 1000, 1001, 1999, 5000].map(|now| rate.admit(Some(2), now)).into();
        assert_eq!(admitted, [true, true, false, true, true, false, true]);
        assert!(rate.admit(None, 5000));
    }
}
