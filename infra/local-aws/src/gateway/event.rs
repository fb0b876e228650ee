//! The event that an HTTP API hands to a function: payload format version 2.0, built from one request.
//!
//! The format is that of the API Gateway developer guide, "Create AWS Lambda proxy integrations for HTTP APIs". What the
//! guide leaves open follows what others measured on AWS: `rawPath` is percent-*decoded* (and ends before a decoded `?`)
//! while `rawQueryString` is as sent; only `text/*` and the three types of [`is_text`] arrive as plain text, so that a form,
//! a `+json` type and a body without a type come as base64.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Version, header};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::api::ACCOUNT_ID;

/// Who the API is, as its events name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// The account, twelve digits.
    pub account_id: String,
    /// The API's id.
    pub api_id: String,
    /// The domain of a request that has no `Host` header.
    pub domain_name: String,
}

impl Default for Api {
    fn default() -> Self {
        Self { account_id: ACCOUNT_ID.to_owned(), api_id: "local".to_owned(), domain_name: "localhost".to_owned() }
    }
}

/// Everything that an event is made of.
#[derive(Clone, Copy, Debug)]
pub struct EventSource<'a> {
    /// The API that received the request.
    pub api: &'a Api,
    /// Method, target, version and headers.
    pub parts: &'a Parts,
    /// The path, decoded by [`decode_path`].
    pub path: &'a str,
    /// The key of the route that the request took.
    pub route_key: &'a str,
    /// What the route's variables stand for.
    pub path_parameters: &'a BTreeMap<String, String>,
    /// The body, whole.
    pub body: &'a [u8],
    /// The address that the connection came from.
    pub source_ip: IpAddr,
    /// The port that the gateway listens on.
    pub port: u16,
    /// When the request arrived.
    pub now: SystemTime,
    /// API Gateway's id of the request.
    pub request_id: &'a str,
    /// The trace id of a request that came without one, `Root=1-TIME-ID`.
    pub trace_id: &'a str,
}

/// The event as JSON.
#[must_use]
pub fn event(source: &EventSource<'_>) -> Vec<u8> {
    let parts = source.parts;
    let headers = headers(source);
    let epoch_millis = source.now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let epoch_millis = i64::try_from(epoch_millis).unwrap_or(i64::MAX);
    let host = headers.get("host").map_or(source.api.domain_name.as_str(), String::as_str);
    let domain = domain_name(host);
    let raw_query = parts.uri.query().unwrap_or_default();

    let mut event = json!({
        "version": "2.0",
        "routeKey": source.route_key,
        "rawPath": source.path,
        "rawQueryString": raw_query,
        "requestContext": {
            "accountId": source.api.account_id,
            "apiId": source.api.api_id,
            "domainName": domain,
            "domainPrefix": domain_prefix(domain),
            "http": {
                "method": parts.method.as_str(),
                "path": source.path,
                "protocol": protocol(parts.version),
                "sourceIp": source.source_ip.to_string(),
                "userAgent": headers.get("user-agent").map_or("", String::as_str),
            },
            "requestId": source.request_id,
            "routeKey": source.route_key,
            "stage": "$default",
            "time": common_log_time(epoch_millis),
            "timeEpoch": epoch_millis,
        },
        "isBase64Encoded": false,
    });
    event["headers"] = json!(headers);
    let cookies = cookies(&parts.headers);
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    let query = query_parameters(raw_query);
    if !query.is_empty() {
        event["queryStringParameters"] = Value::Object(query);
    }
    if !source.path_parameters.is_empty() {
        event["pathParameters"] = json!(source.path_parameters);
    }
    if !source.body.is_empty() {
        let plain = std::str::from_utf8(source.body).ok().filter(|_| is_text(&parts.headers));
        event["isBase64Encoded"] = Value::Bool(plain.is_none());
        event["body"] = Value::String(plain.map_or_else(|| STANDARD.encode(source.body), ToOwned::to_owned));
    }
    event.to_string().into_bytes()
}

/// The path of a request target, percent-decoded, up to a decoded `?`. `None`: an escape is broken or hides bytes that are
/// not UTF-8, so that no event can carry the path.
#[must_use]
pub fn decode_path(path: &str) -> Option<String> {
    let (bytes, whole) = percent_decode(path, false);
    let mut path = String::from_utf8(bytes).ok().filter(|_| whole)?;
    if let Some(end) = path.find('?') {
        path.truncate(end);
    }
    Some(path)
}

/// Whether a body of this content type is handed over as text when it is UTF-8.
///
/// No page of AWS's lists the types; these are the ones observed on an HTTP API.
fn is_text(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let essence = content_type.as_deref().and_then(|text| text.split(';').next()).unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    essence.starts_with("text/")
        || ["application/json", "application/javascript", "application/xml"].contains(&essence.as_str())
}

/// The event's headers: lower-case names, repeated ones joined, without cookies and without what belongs to one connection.
fn headers(source: &EventSource<'_>) -> BTreeMap<String, String> {
    const OF_THE_CONNECTION: [HeaderName; 8] = [
        header::CONNECTION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::EXPECT,
    ];
    let given = &source.parts.headers;
    let mut headers = BTreeMap::new();
    for name in given.keys() {
        if name != header::COOKIE && !OF_THE_CONNECTION.contains(name) {
            headers.insert(name.as_str().to_owned(), joined(given, name, ","));
        }
    }
    headers.insert("content-length".to_owned(), source.body.len().to_string());
    headers.entry("host".to_owned()).or_insert_with(|| source.api.domain_name.clone());
    headers.entry("x-amzn-trace-id".to_owned()).or_insert_with(|| source.trace_id.to_owned());
    let forwarded_for = match joined(given, &HeaderName::from_static("x-forwarded-for"), ", ") {
        before if before.is_empty() => source.source_ip.to_string(),
        before => format!("{before}, {}", source.source_ip),
    };
    headers.insert("x-forwarded-for".to_owned(), forwarded_for);
    headers.insert("x-forwarded-port".to_owned(), source.port.to_string());
    headers.insert("x-forwarded-proto".to_owned(), "http".to_owned());
    headers
}

fn joined(headers: &HeaderMap, name: &HeaderName, separator: &str) -> String {
    headers.get_all(name).iter().map(|value| text(value.as_bytes())).collect::<Vec<_>>().join(separator)
}

/// A header value as text. RFC 9110 (5.5) leaves bytes above 127 without a meaning: UTF-8 where they are UTF-8, else
/// ISO-8859-1, which loses nothing. What AWS does with the second kind is not documented.
pub(crate) fn text(value: &[u8]) -> String {
    std::str::from_utf8(value).map_or_else(|_| value.iter().map(|byte| char::from(*byte)).collect(), ToOwned::to_owned)
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(header::COOKIE).iter().map(|value| text(value.as_bytes()));
    lines
        .flat_map(|line| line.split(';').map(|cookie| cookie.trim().to_owned()).collect::<Vec<_>>())
        .filter(|cookie| !cookie.is_empty())
        .collect()
}

fn query_parameters(raw: &str) -> Map<String, Value> {
    let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        parameters.entry(decode_query(name)).or_default().push(decode_query(value));
    }
    parameters.into_iter().map(|(name, values)| (name, Value::String(values.join(",")))).collect()
}

pub(crate) fn decode_query(text: &str) -> String {
    String::from_utf8_lossy(&percent_decode(text, true).0).into_owned()
}

/// The decoded bytes, and whether every `%` began an escape. A `%` that does not stays as it is.
fn percent_decode(text: &str, plus_is_space: bool) -> (Vec<u8>, bool) {
    let digit = |byte: Option<&u8>| {
        byte.and_then(|byte| char::from(*byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok())
    };
    let bytes = text.as_bytes();
    let (mut decoded, mut whole, mut at) = (Vec::with_capacity(bytes.len()), true, 0);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match (*byte, digit(bytes.get(at)), digit(bytes.get(at + 1))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(high * 16 + low);
                at += 2;
            }
            (b'+', ..) if plus_is_space => decoded.push(b' '),
            (byte, ..) => {
                whole &= byte != b'%';
                decoded.push(byte);
            }
        }
    }
    (decoded, whole)
}

/// `Host` without its port: API Gateway's own domains never have one.
pub(crate) fn domain_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        // `[::1]:8080` has a port, `[::1]` has none.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The first label of a domain name; an address has no labels.
fn domain_prefix(domain: &str) -> &str {
    if domain.starts_with('[') || domain.parse::<IpAddr>().is_ok() {
        return domain;
    }
    domain.split('.').next().unwrap_or(domain)
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// `21/Nov/2026:03:40:39 +0000`, the form of Apache's common log.
pub(crate) fn common_log_time(epoch_millis: i64) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // Only years beyond 9999 have no form; no clock shows them.
    let at = OffsetDateTime::from_unix_timestamp(epoch_millis / 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let month = MONTHS[usize::from(u8::from(at.month()) - 1)];
    format!("{:02}/{month}/{:04}:{:02}:{:02}:{:02} +0000", at.day(), at.year(), at.hour(), at.minute(), at.second())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderValue, Request};
    use proptest::prelude::*;

    use super::*;

    const REQUEST_ID: &str = "JKJaXmPLvHcESHA=";
    const TRACE_ID: &str = "Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e";

    struct Given<'a> {
        target: &'a str,
        headers: &'a [(&'a str, &'a [u8])],
        body: &'a [u8],
        route_key: &'a str,
        path_parameters: &'a [(&'a str, &'a str)],
    }

    impl Default for Given<'_> {
        fn default() -> Self {
            Self { target: "/", headers: &[], body: b"", route_key: "$default", path_parameters: &[] }
        }
    }

    fn build(given: &Given<'_>) -> Value {
        let mut request = Request::builder().method("POST").uri(given.target);
        for (name, value) in given.headers {
            request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let path_parameters = given.path_parameters.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let source = EventSource {
            api: &Api {
                account_id: "123456789012".into(),
                api_id: "r3pmxmplak".into(),
                domain_name: "localhost".into(),
            },
            parts: &parts,
            path: &decode_path(parts.uri.path()).unwrap(),
            route_key: given.route_key,
            path_parameters: &path_parameters,
            body: given.body,
            source_ip: IpAddr::from([205, 255, 255, 176]),
            port: 443,
            now: UNIX_EPOCH + Duration::from_millis(1_583_817_383_220),
            request_id: REQUEST_ID,
            trace_id: TRACE_ID,
        };
        serde_json::from_slice(&event(&source)).unwrap()
    }

    /// A real-looking request through every field; the expected document has the shape of AWS's documented example.
    #[test]
    fn an_event_has_the_documented_shape() {
        let built = build(&Given {
            target: "/hooks/stripe?parameter1=value1&parameter1=value2&parameter2=value%20x",
            headers: &[
                ("Host", b"r3pmxmplak.execute-api.us-east-2.amazonaws.com"),
                ("Header1", b"value1"),
                ("Header2", b"value1"),
                ("HEADER2", b"value2"),
                ("Cookie", b"cookie1=a; cookie2=b"),
                ("Cookie", b"cookie3=c"),
                ("Content-Type", b"text/plain"),
                ("User-Agent", b"agent"),
            ],
            body: b"Hello from Lambda",
            route_key: "POST /hooks/{source}",
            path_parameters: &[("source", "stripe")],
        });
        let expected = json!({
            "version": "2.0",
            "routeKey": "POST /hooks/{source}",
            "rawPath": "/hooks/stripe",
            "rawQueryString": "parameter1=value1&parameter1=value2&parameter2=value%20x",
            "cookies": ["cookie1=a", "cookie2=b", "cookie3=c"],
            "headers": {
                "content-length": "17",
                "content-type": "text/plain",
                "header1": "value1",
                "header2": "value1,value2",
                "host": "r3pmxmplak.execute-api.us-east-2.amazonaws.com",
                "user-agent": "agent",
                "x-amzn-trace-id": TRACE_ID,
                "x-forwarded-for": "205.255.255.176",
                "x-forwarded-port": "443",
                "x-forwarded-proto": "http",
            },
            "queryStringParameters": { "parameter1": "value1,value2", "parameter2": "value x" },
            "pathParameters": { "source": "stripe" },
            "requestContext": {
                "accountId": "123456789012",
                "apiId": "r3pmxmplak",
                "domainName": "r3pmxmplak.execute-api.us-east-2.amazonaws.com",
                "domainPrefix": "r3pmxmplak",
                "http": {
                    "method": "POST",
                    "path": "/hooks/stripe",
                    "protocol": "HTTP/1.1",
                    "sourceIp": "205.255.255.176",
                    "userAgent": "agent",
                },
                "requestId": REQUEST_ID,
                "routeKey": "POST /hooks/{source}",
                "stage": "$default",
                "time": "10/Mar/2020:05:16:23 +0000",
                "timeEpoch": 1_583_817_383_220_i64,
            },
            "body": "Hello from Lambda",
            "isBase64Encoded": false,
        });
        assert_eq!(built, expected);
    }

    #[test]
    fn what_a_request_does_not_have_is_absent() {
        let built = build(&Given::default());
        for field in ["cookies", "queryStringParameters", "pathParameters", "body", "stageVariables"] {
            assert_eq!(built.get(field), None, "{field}");
        }
        assert_eq!(built["rawQueryString"], "");
        assert_eq!(built["isBase64Encoded"], false);
        assert_eq!(built["headers"]["content-length"], "0");
        assert_eq!(built["headers"]["host"], "localhost");
        assert_eq!(built["requestContext"]["http"]["userAgent"], "");
    }

    #[test]
    fn a_body_is_plain_only_when_its_type_is_text_and_its_bytes_are() {
        let plain: &[&str] = &[
            "text/plain",
            "TEXT/HTML; charset=iso-8859-1",
            "text/x-anything",
            "application/json",
            "Application/JSON ; charset=utf-8",
            "application/javascript",
            "application/xml;charset=UTF-8",
        ];
        let encoded: &[&str] = &[
            "",
            "application/x-www-form-urlencoded",
            "application/octet-stream",
            "application/cloudevents+json",
            "application/soap+xml",
            "application/jsonp",
            "multipart/form-data; boundary=x",
            "text",
            "json",
            ";application/json",
        ];
        for (types, base64) in [(plain, false), (encoded, true)] {
            for content_type in types {
                let headers: &[(&str, &[u8])] = &[("content-type", content_type.as_bytes())];
                let text = build(&Given { headers, body: "{\"ü\":1}".as_bytes(), ..Given::default() });
                let expected = if base64 { "eyLDvCI6MX0=" } else { "{\"ü\":1}" };
                assert_eq!(
                    (&text["isBase64Encoded"], &text["body"]),
                    (&json!(base64), &json!(expected)),
                    "{content_type}"
                );
                let bytes = build(&Given { headers, body: &[b'{', 0xff, b'}'], ..Given::default() });
                assert_eq!(
                    (&bytes["isBase64Encoded"], &bytes["body"]),
                    (&json!(true), &json!("e/99")),
                    "{content_type}"
                );
            }
        }
        assert_eq!(build(&Given { body: b"x", ..Given::default() })["isBase64Encoded"], true);
    }

    #[test]
    fn a_path_is_decoded_and_a_query_is_kept_as_sent() {
        let cases = [
            ("/a%20b/%C3%BC?q=%20", "/a b/ü", "q=%20", json!({ "q": " " })),
            ("/a%2Fb", "/a/b", "", Value::Null),
            ("/a%3Fb%3Dc/d?e=f", "/a", "e=f", json!({ "e": "f" })),
            (
                "/a+b?c=d+e&c=%2B&=x&y&&z=a=b",
                "/a+b",
                "c=d+e&c=%2B&=x&y&&z=a=b",
                json!({ "": "x", "c": "d e,+", "y": "", "z": "a=b" }),
            ),
            ("/?a=%&b=%zz&c=%ff", "/", "a=%&b=%zz&c=%ff", json!({ "a": "%", "b": "%zz", "c": "\u{fffd}" })),
            ("/?", "/", "", Value::Null),
        ];
        for (target, path, raw_query, query) in cases {
            let built = build(&Given { target, ..Given::default() });
            let got = (&built["rawPath"], &built["requestContext"]["http"]["path"], &built["rawQueryString"]);
            assert_eq!(got, (&json!(path), &json!(path), &json!(raw_query)), "{target}");
            assert_eq!(built.get("queryStringParameters").unwrap_or(&Value::Null), &query, "{target}");
        }
    }

    #[test]
    fn a_path_that_cannot_be_text_has_no_decoded_form() {
        for path in ["/%", "/%4", "/%zz", "/%+1", "/%ff", "/%C3"] {
            assert_eq!(decode_path(path), None, "{path}");
        }
    }

    #[test]
    fn headers_of_one_connection_and_forged_forwarding_do_not_reach_the_function() {
        let built = build(&Given {
            headers: &[
                ("connection", b"keep-alive, x-foo"),
                ("keep-alive", b"timeout=5"),
                ("transfer-encoding", b"chunked"),
                ("te", b"trailers"),
                ("expect", b"100-continue"),
                ("content-length", b"999"),
                ("x-forwarded-for", b"10.0.0.1"),
                ("x-forwarded-proto", b"https"),
                ("x-forwarded-port", b"1"),
                ("x-amzn-trace-id", b"Root=1-a-b"),
            ],
            body: b"abc",
            ..Given::default()
        });
        let expected = json!({
            "content-length": "3",
            "host": "localhost",
            "x-amzn-trace-id": "Root=1-a-b",
            "x-forwarded-for": "10.0.0.1, 205.255.255.176",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "http",
        });
        assert_eq!(built["headers"], expected);
    }

    #[test]
    fn a_header_value_that_is_not_utf_8_is_read_as_latin_1() {
        let built = build(&Given {
            headers: &[("x-latin", b"caf\xe9"), ("x-utf8", "café".as_bytes()), ("cookie", b"a=\xe9")],
            ..Given::default()
        });
        assert_eq!(built["headers"]["x-latin"], "café");
        assert_eq!(built["headers"]["x-utf8"], "café");
        assert_eq!(built["cookies"], json!(["a=é"]));
    }

    #[test]
    fn the_domain_is_the_host_without_its_port() {
        let cases = [
            ("bridge.example.com", "bridge.example.com", "bridge"),
            ("bridge.example.com:8443", "bridge.example.com", "bridge"),
            ("localhost:9000", "localhost", "localhost"),
            ("127.0.0.1:9000", "127.0.0.1", "127.0.0.1"),
            ("[::1]:9000", "[::1]", "[::1]"),
            ("[::1]", "[::1]", "[::1]"),
        ];
        for (host, domain, prefix) in cases {
            let built = build(&Given { headers: &[("host", host.as_bytes())], ..Given::default() });
            let context = &built["requestContext"];
            assert_eq!((&context["domainName"], &context["domainPrefix"]), (&json!(domain), &json!(prefix)), "{host}");
            assert_eq!(built["headers"]["host"], host);
        }
    }

    #[test]
    fn times_have_the_form_of_the_common_log() {
        for (millis, expected) in [
            (0, "01/Jan/1970:00:00:00 +0000"),
            (1_795_232_439_999, "21/Nov/2026:03:40:39 +0000"),
            (1_709_164_799_000, "28/Feb/2024:23:59:59 +0000"),
            (i64::MAX, "01/Jan/1970:00:00:00 +0000"),
        ] {
            assert_eq!(common_log_time(millis), expected);
        }
    }

    proptest! {
        #[test]
        fn any_body_of_any_type_arrives_as_the_same_bytes(
            body in prop_oneof![any::<Vec<u8>>(), any::<String>().prop_map(String::into_bytes)],
            content_type in prop_oneof![Just("application/json"), Just("text/plain"), Just("image/png"), Just("")],
        ) {
            let built = build(&Given { headers: &[("content-type", content_type.as_bytes())], body: &body, ..Given::default() });
            let arrived = match (built.get("body").and_then(Value::as_str), built["isBase64Encoded"].as_bool()) {
                (None, Some(false)) => Vec::new(),
                (Some(text), Some(false)) => text.as_bytes().to_vec(),
                (Some(text), Some(true)) => STANDARD.decode(text).unwrap(),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(arrived, body);
        }

        #[test]
        fn any_header_value_becomes_an_event(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            if HeaderValue::from_bytes(&value).is_ok() {
                build(&Given { headers: &[("x-any", &value), ("host", &value), ("cookie", &value), ("content-type", &value)], ..Given::default() });
            }
        }

        #[test]
        fn any_target_that_parses_has_a_path_or_is_refused(target in "/[ -~]{0,40}") {
            if let Ok(uri) = target.parse::<http::Uri>() {
                let _path = decode_path(uri.path());
            }
        }
    }
}
