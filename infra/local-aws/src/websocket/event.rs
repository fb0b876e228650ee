//! The events that a WebSocket API hands to its functions.
//!
//! AWS documents the parts (developer guide, "API Gateway WebSocket API mapping template reference" and "Pass connection
//! information from the $connect route") and not the whole; the shape is that of events which others recorded on AWS. Header names
//! are in lower case, as AWS has them behind a custom domain with a mapping of several levels.

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::request::Parts;
use http::{HeaderMap, HeaderName, header};
use serde_json::{Map, Value, json};

use super::connection::{Connection, Ending};
use super::routes::{CONNECT, DISCONNECT};
use crate::clock::Millis;
use crate::gateway::{Api, common_log_time, decode_query, text};

/// What every event says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub(super) api: &'a Api,
    pub(super) stage: &'a str,
    pub(super) connection: &'a Connection,
    pub(super) request_id: &'a str,
    pub(super) now: Millis,
}

/// How the client reached the gateway.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    pub(super) parts: &'a Parts,
    pub(super) source_ip: IpAddr,
    pub(super) port: u16,
    /// The trace id of a client that came without one.
    pub(super) trace_id: &'a str,
}

/// The event of a client that wants to connect.
pub(super) fn connect(about: &About<'_>, arrival: &Arrival<'_>) -> Vec<u8> {
    let (headers, multi) = single_and_multi(headers(about, arrival));
    let mut event = json!({
        "headers": headers,
        "multiValueHeaders": multi,
        "requestContext": context(about, CONNECT, "CONNECT"),
        "isBase64Encoded": false,
    });
    let query = query_parameters(arrival.parts.uri.query().unwrap_or_default());
    if !query.is_empty() {
        let (single, multi) = single_and_multi(query);
        event["queryStringParameters"] = single;
        event["multiValueQueryStringParameters"] = multi;
    }
    event.to_string().into_bytes()
}

/// The event of a message.
pub(super) fn message(about: &About<'_>, route_key: &str, message_id: &str, body: &str) -> Vec<u8> {
    let mut context = context(about, route_key, "MESSAGE");
    context.insert("messageId".to_owned(), json!(message_id));
    json!({ "requestContext": context, "body": body, "isBase64Encoded": false }).to_string().into_bytes()
}

/// The event of a connection that has ended.
pub(super) fn disconnect(about: &About<'_>, ending: &Ending) -> Vec<u8> {
    let mut context = context(about, DISCONNECT, "DISCONNECT");
    context.insert("disconnectStatusCode".to_owned(), json!(ending.code));
    context.insert("disconnectReason".to_owned(), json!(ending.reason));
    let blank = ["x-api-key", "x-forwarded-for", "x-restapi"].map(|name| (name.to_owned(), vec![String::new()]));
    let mut given = BTreeMap::from(blank);
    given.insert("host".to_owned(), vec![about.connection.domain_name.clone()]);
    let (headers, multi) = single_and_multi(given);
    json!({
        "headers": headers,
        "multiValueHeaders": multi,
        "requestContext": context,
        "isBase64Encoded": false,
    })
    .to_string()
    .into_bytes()
}

fn context(about: &About<'_>, route_key: &str, event_type: &str) -> Map<String, Value> {
    let connection = about.connection;
    let mut identity = json!({ "sourceIp": connection.source_ip.to_string() });
    if let Some(user_agent) = &connection.user_agent {
        identity["userAgent"] = json!(user_agent);
    }
    let context = json!({
        "routeKey": route_key,
        "eventType": event_type,
        "extendedRequestId": about.request_id,
        "requestTime": common_log_time(about.now),
        "messageDirection": "IN",
        "stage": about.stage,
        "connectedAt": connection.connected_at,
        "requestTimeEpoch": about.now,
        "identity": identity,
        "requestId": about.request_id,
        "domainName": connection.domain_name,
        "connectionId": connection.id,
        "apiId": about.api.api_id,
    });
    match context {
        Value::Object(context) => context,
        _ => Map::new(),
    }
}

fn headers(about: &About<'_>, arrival: &Arrival<'_>) -> BTreeMap<String, Vec<String>> {
    const OF_THE_CONNECTION: [HeaderName; 3] =
        [header::CONNECTION, header::UPGRADE, HeaderName::from_static("keep-alive")];
    let given = &arrival.parts.headers;
    let mut headers: BTreeMap<_, _> = given
        .keys()
        .filter(|name| !OF_THE_CONNECTION.contains(name))
        .map(|name| (name.as_str().to_owned(), values(given, name)))
        .collect();
    headers.entry("host".to_owned()).or_insert_with(|| vec![about.connection.domain_name.clone()]);
    headers.entry("x-amzn-trace-id".to_owned()).or_insert_with(|| vec![arrival.trace_id.to_owned()]);
    let mut forwarded_for = values(given, &HeaderName::from_static("x-forwarded-for"));
    forwarded_for.push(arrival.source_ip.to_string());
    headers.insert("x-forwarded-for".to_owned(), vec![forwarded_for.join(", ")]);
    headers.insert("x-forwarded-port".to_owned(), vec![arrival.port.to_string()]);
    headers.insert("x-forwarded-proto".to_owned(), vec!["http".to_owned()]);
    headers
}

fn values(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    headers.get_all(name).iter().map(|value| text(value.as_bytes())).collect()
}

fn query_parameters(raw: &str) -> BTreeMap<String, Vec<String>> {
    let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        parameters.entry(decode_query(name)).or_default().push(decode_query(value));
    }
    parameters
}

/// The last value of each name, and all of them.
fn single_and_multi(given: BTreeMap<String, Vec<String>>) -> (Value, Value) {
    let single: Map<_, _> = given
        .iter()
        .filter_map(|(name, values)| values.last().map(|value| (name.clone(), Value::String(value.clone()))))
        .collect();
    (Value::Object(single), json!(given))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const NOW: Millis = 1_607_854_667_186;

    fn built(build: impl FnOnce(&About<'_>) -> Vec<u8>) -> Value {
        let (connection, _outbox) = Connection::new(
            "XfGLwdPqtjMCFsg=".to_owned(),
            "api.example.com".to_owned(),
            IpAddr::from([203, 0, 113, 1]),
            Some("ws/8".to_owned()),
            NOW - 1,
        );
        let api = Api { api_id: "abc123".to_owned(), ..Api::default() };
        let about =
            About { api: &api, stage: "responses", connection: &connection, request_id: "XfGLwFTktjMFsLg=", now: NOW };
        serde_json::from_slice(&build(&about)).unwrap()
    }

    fn expected_context(route_key: &str, event_type: &str) -> Value {
        json!({
            "routeKey": route_key,
            "eventType": event_type,
            "extendedRequestId": "XfGLwFTktjMFsLg=",
            "requestTime": "13/Dec/2020:10:17:47 +0000",
            "messageDirection": "IN",
            "stage": "responses",
            "connectedAt": 1_607_854_667_185_i64,
            "requestTimeEpoch": 1_607_854_667_186_i64,
            "identity": { "sourceIp": "203.0.113.1", "userAgent": "ws/8" },
            "requestId": "XfGLwFTktjMFsLg=",
            "domainName": "api.example.com",
            "connectionId": "XfGLwdPqtjMCFsg=",
            "apiId": "abc123",
        })
    }

    #[test]
    fn the_event_of_a_connecting_client_has_its_headers_and_query() {
        let request = Request::builder()
            .uri("/responses?a=1&a=2&b=x%20y&c")
            .header("Host", "api.example.com")
            .header("Upgrade", "websocket")
            .header("Connection", "Upgrade")
            .header("X-App-Key", "k1")
            .header("X-App-Key", "k2")
            .header("X-Forwarded-For", "10.0.0.1");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let source_ip = IpAddr::from([203, 0, 113, 1]);
        let arrival = Arrival { parts: &parts, source_ip, port: 8080, trace_id: "Root=1-a-b" };
        let event = built(|about| connect(about, &arrival));
        let expected = json!({
            "headers": {
                "host": "api.example.com",
                "x-amzn-trace-id": "Root=1-a-b",
                "x-app-key": "k2",
                "x-forwarded-for": "10.0.0.1, 203.0.113.1",
                "x-forwarded-port": "8080",
                "x-forwarded-proto": "http",
            },
            "multiValueHeaders": {
                "host": ["api.example.com"],
                "x-amzn-trace-id": ["Root=1-a-b"],
                "x-app-key": ["k1", "k2"],
                "x-forwarded-for": ["10.0.0.1, 203.0.113.1"],
                "x-forwarded-port": ["8080"],
                "x-forwarded-proto": ["http"],
            },
            "queryStringParameters": { "a": "2", "b": "x y", "c": "" },
            "multiValueQueryStringParameters": { "a": ["1", "2"], "b": ["x y"], "c": [""] },
            "requestContext": expected_context("$connect", "CONNECT"),
            "isBase64Encoded": false,
        });
        assert_eq!(event, expected);
    }

    #[test]
    fn the_event_of_a_message_has_its_text_and_no_headers() {
        let event = built(|about| message(about, "$default", "XfGMxcQBNjMCFsg=", "{\"a\":1}"));
        let mut context = expected_context("$default", "MESSAGE");
        context["messageId"] = json!("XfGMxcQBNjMCFsg=");
        assert_eq!(event, json!({ "requestContext": context, "body": "{\"a\":1}", "isBase64Encoded": false }));
    }

    #[test]
    fn the_event_of_an_ended_connection_says_why() {
        let event = built(|about| disconnect(about, &Ending::GOING_AWAY));
        let mut context = expected_context("$disconnect", "DISCONNECT");
        context["disconnectStatusCode"] = json!(1001);
        context["disconnectReason"] = json!("Going away");
        assert_eq!(event["requestContext"], context);
        let headers = json!({ "host": "api.example.com", "x-api-key": "", "x-forwarded-for": "", "x-restapi": "" });
        assert_eq!((&event["headers"], &event["multiValueHeaders"]["x-restapi"]), (&headers, &json!([""])));
        assert_eq!(event.get("body"), None);
    }
}
