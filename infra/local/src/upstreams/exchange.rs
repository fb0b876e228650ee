//! One exchange with an upstream, as it stands in a file: to be read, compared and edited by people.
//!
//! Nothing of a credential is in it: the headers that carry one are left out, the query parameter that does is masked, and wherever else the
//! credential stands in request or answer it is masked as well.

use super::wire::Answer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clawbridge_outbound::Received;
use clawbridge_tasks::TaskError;
use clawbridge_tools::{Led, Redaction, is_ours};
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName,
    HeaderValue, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What stands for a body that cannot be looked through for credentials.
const LEFT_OUT: &str = "[left out]";

/// The most white space that JSON is given back, bytes: as much as the largest answer that is read.
const MAX_PADDING: usize = 4 * 1024 * 1024;

/// An exchange. It ended with a response or with a failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exchange {
    /// The tool.
    pub(crate) tool: String,
    /// When the request was made, RFC 3339.
    pub(crate) at: String,
    pub(crate) request: Request,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) response: Option<Response>,
    /// Why there was no response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<TaskError>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) url: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: Headers,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Body>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Response {
    pub(crate) status: u16,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: Headers,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Body>,
    /// How long it took, milliseconds.
    #[serde(default)]
    pub(crate) ms: u64,
}

/// Values by name in lower case.
pub(crate) type Headers = BTreeMap<String, Values>;

/// The value of a header, or those of one that was sent several times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Values {
    One(String),
    Many(Vec<String>),
}

/// A body, in the most readable of the forms that it can have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Body {
    Json(Value),
    Text(String),
    Base64(String),
}

impl Body {
    /// `None` where there is nothing. JSON is written as such only where its spelling does not count.
    pub(crate) fn of(bytes: &[u8], is_json_welcome: bool) -> Option<Body> {
        if bytes.is_empty() {
            return None;
        }
        if is_json_welcome && let Ok(json) = serde_json::from_slice(bytes) {
            return Some(Body::Json(json));
        }
        Some(match std::str::from_utf8(bytes) {
            Ok(text) => Body::Text(text.to_owned()),
            Err(_) => Body::Base64(STANDARD.encode(bytes)),
        })
    }

    pub(crate) fn to_bytes(&self) -> Result<Bytes, String> {
        match self {
            Body::Json(json) => Ok(json.to_string().into()),
            Body::Text(text) => Ok(text.clone().into()),
            Body::Base64(text) => {
                STANDARD.decode(text).map(Bytes::from).map_err(|error| format!("body.base64: {error}"))
            }
        }
    }

    fn redacted(self, redaction: &Redaction) -> Body {
        match self {
            Body::Json(json) => Body::Json(redaction.value(json)),
            Body::Text(text) => Body::Text(redaction.text(&text)),
            Body::Base64(text) => {
                let bytes = STANDARD.decode(&text).unwrap_or_default();
                let readable = String::from_utf8_lossy(&bytes);
                if redaction.text(&readable) == readable { Body::Base64(text) } else { Body::Text(LEFT_OUT.to_owned()) }
            }
        }
    }
}

impl Request {
    /// A call as it may be told.
    pub(crate) fn of(led: &Led, body: &[u8], redaction: &Redaction) -> Request {
        let is_told = |name: &HeaderName| {
            let is_ours_to_set = [HOST, USER_AGENT, ACCEPT_ENCODING, CONTENT_LENGTH, CONNECTION].contains(name);
            let is_credential = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name);
            !is_ours_to_set && !is_credential && !led.masked_headers.iter().any(|masked| masked == name.as_str())
        };
        Request {
            method: led.method.to_string(),
            url: redaction.text(&led.masked_url()),
            headers: headers(&led.headers, is_told, redaction),
            body: Body::of(body, true).map(|body| body.redacted(redaction)),
        }
    }
}

/// The headers of an answer that are its own, not those of a connection.
pub(crate) fn own_headers(received: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in received.iter().filter(|(name, _)| is_own(name)) {
        headers.append(name.clone(), value.clone());
    }
    headers
}

fn is_own(name: &HeaderName) -> bool {
    // RFC 9110, section 7.6.1.
    let is_of_connection = [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE].contains(name);
    !is_of_connection && !is_ours(name) && !["keep-alive", "proxy-connection"].contains(&name.as_str())
}

impl Response {
    /// An answer as it may be told.
    pub(crate) fn of(received: &Received, ms: u64, redaction: &Redaction) -> Response {
        // A cookie is a credential of a session, which the bridge does not keep.
        let is_told = |name: &HeaderName| is_own(name) && *name != SET_COOKIE;
        let is_plain = received
            .headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
        // In an error the spelling counts: its beginning is kept as evidence.
        let is_result = (200..300).contains(&received.status) && !received.cut;
        let body = Body::of(&received.body, is_result).map(|body| match is_plain {
            true => body.redacted(redaction),
            false => Body::Text(LEFT_OUT.to_owned()),
        });
        Response { status: received.status, headers: headers(&received.headers, is_told, redaction), body, ms }
    }

    /// The headers to answer with, but for the length.
    pub(crate) fn to_headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, values) in &self.headers {
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no header name"))?;
            let values = match values {
                Values::One(value) => std::slice::from_ref(value),
                Values::Many(values) => values,
            };
            for value in values {
                let value =
                    HeaderValue::from_str(value).map_err(|_| format!("the value of header {name} cannot be sent"))?;
                headers.append(key.clone(), value);
            }
        }
        Ok(own_headers(&headers))
    }

    /// The answer that this was, to a HEAD or to another request. Parts that cannot be sent are left out: they were refused when it was read.
    pub(crate) fn answer(&self, is_head: bool) -> Answer {
        let headers = self.to_headers().unwrap_or_default();
        let mut body = self.body.as_ref().and_then(|body| body.to_bytes().ok()).unwrap_or_default();
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()).map(str::to_owned);
        // JSON is kept without the white space that it came with. At its end it is none the worse, and the length is what it was.
        let missing = length.as_ref().and_then(|length| length.parse::<usize>().ok()?.checked_sub(body.len()));
        if let (Some(Body::Json(_)), Some(missing @ 1..=MAX_PADDING)) = (&self.body, missing) {
            body = [&body[..], &b" ".repeat(missing)].concat().into();
        }
        let answer = Answer { status: self.status, headers, body, ..Answer::default() };
        if length.is_some() && !is_head { answer.with_length() } else { answer }
    }
}

fn headers(headers: &HeaderMap, is_told: impl Fn(&HeaderName) -> bool, redaction: &Redaction) -> Headers {
    let values = |name: &HeaderName| {
        let text = |value: &HeaderValue| redaction.text(&String::from_utf8_lossy(value.as_bytes()));
        let mut values: Vec<String> = headers.get_all(name).iter().map(text).collect();
        match (values.len(), values.pop()) {
            (1, Some(value)) => Values::One(value),
            (_, last) => Values::Many(values.into_iter().chain(last).collect()),
        }
    };
    headers.keys().filter(|name| is_told(name)).map(|name| (name.as_str().to_owned(), values(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clawbridge_tasks::{Class, Code};
    use http::Method;
    use serde_json::json;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).expect("a name"), HeaderValue::from_str(value).expect("a value"))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    fn led() -> Led {
        Led {
            tool: "pay".into(),
            method: Method::POST,
            url: "https://a.example/v1?x=1&key=secret-1".parse().expect("a URL"),
            headers: map(&[
                ("host", "127.0.0.1:1"),
                ("user-agent", "clawbridge/0"),
                ("content-length", "7"),
                ("content-type", "application/json"),
                ("authorization", "Bearer x"),
                ("x-signature", "secret-2"),
                ("x-note", "of secret-1"),
            ]),
            masked_query: vec!["key".into()],
            masked_headers: vec!["x-signature".into()],
        }
    }

    fn received(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Received {
        Received { status, headers: map(headers), body: body.to_vec(), cut: false }
    }

    #[test]
    fn a_call_is_told_without_its_credential_wherever_it_stands() {
        let redaction = Redaction::of(["secret-1", "secret-2"]);
        let request = Request::of(&led(), br#"{"a": 1.0, "b": "secret-2"}"#, &redaction);
        let told = json!({
            "method": "POST",
            "url": "https://a.example/v1?x=1&key=[redacted]",
            "headers": {"content-type": "application/json", "x-note": "of [redacted]"},
            "body": {"json": {"a": 1.0, "b": "[redacted]"}},
        });
        assert_eq!(json!(request), told);
        assert_eq!(serde_json::from_value::<Request>(told).expect("a request"), request);
        assert_eq!(Request::of(&led(), b"", &redaction).body, None);
    }

    #[test]
    fn an_answer_is_told_as_readably_as_it_can_be_read_back() {
        let redaction = Redaction::of(["secret-1"]);
        let gzip = [("content-encoding", "gzip")];
        let rows: [(Received, Value, &[u8]); 8] = [
            (
                received(200, &[], b" {\"a\":\"secret-1\"}"),
                json!({"json": {"a": "[redacted]"}}),
                b"{\"a\":\"[redacted]\"}",
            ),
            (received(400, &[], b" {\"a\": 1}"), json!({"text": " {\"a\": 1}"}), b" {\"a\": 1}"),
            (received(200, &[], b"null"), json!({"json": null}), b"null"),
            (received(200, &[], b"{\"a\":"), json!({"text": "{\"a\":"}), b"{\"a\":"),
            (received(200, &[], b"of secret-1"), json!({"text": "of [redacted]"}), b"of [redacted]"),
            (received(200, &[], b"\xff\xfe"), json!({"base64": "//4="}), b"\xff\xfe"),
            (received(200, &[], b"\xffsecret-1"), json!({"text": LEFT_OUT}), LEFT_OUT.as_bytes()),
            (received(200, &gzip, b"{}"), json!({"text": LEFT_OUT}), LEFT_OUT.as_bytes()),
        ];
        for (received, body, bytes) in rows {
            let response = Response::of(&received, 5, &redaction);
            assert_eq!(json!(response)["body"], body);
            let read: Response = serde_json::from_value(json!(response)).expect("a response");
            assert_eq!(read.body.as_ref().map(Body::to_bytes), Some(Ok(Bytes::copy_from_slice(bytes))));
        }
        // What was cut is no JSON, though it may look like it.
        let cut = Received { cut: true, ..received(200, &[], b"11") };
        assert_eq!(Response::of(&cut, 5, &redaction).body, Some(Body::Text("11".into())));
        assert_eq!(Response::of(&received(204, &[], b""), 5, &redaction).body, None);
        assert!(Body::Base64("?".into()).to_bytes().is_err());
    }

    #[test]
    fn an_answers_own_headers_are_kept_and_no_cookie_in_a_file() {
        let headers = [
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "timeout=5"),
            ("x-clawbridge-failure", "e30="),
            ("set-cookie", "session=1"),
            ("content-length", "2"),
            ("x-total", "7"),
            ("x-total", "8"),
        ];
        let received = received(200, &headers, b"{}");
        let names = |headers: &HeaderMap| headers.keys().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&own_headers(&received.headers)), ["set-cookie", "content-length", "x-total"]);
        let response = Response::of(&received, 5, &Redaction::default());
        assert_eq!(json!(response)["headers"], json!({"content-length": "2", "x-total": ["7", "8"]}));
        let back = response.to_headers().expect("headers");
        assert_eq!(back.get_all("x-total").iter().collect::<Vec<_>>(), ["7", "8"]);
    }

    #[test]
    fn an_answer_is_as_long_as_it_was_where_it_said_so() {
        for (length, body, is_head, sent, announced) in [
            (Some("8"), json!({"json": [1]}), false, "[1]     ", Some("8")),
            (Some("2"), json!({"json": [1]}), false, "[1]", Some("3")),
            (Some("99999999999999"), json!({"json": [1]}), false, "[1]", Some("3")),
            (Some("8"), json!({"text": "abc"}), false, "abc", Some("3")),
            (None, json!({"json": [1]}), false, "[1]", None),
            (Some("8"), Value::Null, true, "", Some("8")),
        ] {
            let mut response = json!({"status": 200, "body": body});
            response["headers"] = length.map_or(json!({}), |length| json!({"content-length": length}));
            let response: Response = serde_json::from_value(response).expect("a response");
            let answer = response.answer(is_head);
            let told = answer.headers.get(CONTENT_LENGTH).map(|length| length.to_str().expect("a length"));
            assert_eq!((&answer.body[..], told), (sent.as_bytes(), announced), "{body}");
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_nothing_else_is() {
        let exchange = Exchange {
            tool: "pay".into(),
            at: "2026-01-01T00:00:00.000Z".into(),
            request: Request::of(&led(), b"", &Redaction::default()),
            response: None,
            failure: Some(TaskError::unsent(Code::Timeout, Class::Transient, "no answer")),
        };
        assert_eq!(serde_json::from_value::<Exchange>(json!(exchange)).expect("an exchange"), exchange);
        let mut other = json!(exchange);
        other["reqest"] = json!(1);
        assert!(serde_json::from_value::<Exchange>(other).is_err());
    }
}
