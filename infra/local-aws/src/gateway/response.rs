//! What a function answered, as the HTTP response that API Gateway makes of it (payload format 2.0).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value};

/// Why an answer cannot be turned into a response. The caller gets 500; the function's author needs the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedAnswer {
    /// The answer is not one JSON document.
    #[error("the answer is not JSON")]
    NotJson,
    /// `statusCode` is not a whole number from 200 to 599.
    #[error("statusCode is not a whole number from 200 to 599")]
    StatusCode,
    /// `headers` is not an object of texts, numbers and truth values, or one of them is not a valid header.
    #[error("headers is not an object of valid header names and values")]
    Headers,
    /// `cookies` is not an array of valid header values.
    #[error("cookies is not an array of valid Set-Cookie values")]
    Cookies,
    /// `body` is not a text.
    #[error("body is not a text")]
    Body,
    /// `isBase64Encoded` is true and `body` is not base64, or it is not a truth value.
    #[error("isBase64Encoded is not a truth value, or body is not base64")]
    Base64,
}

/// The response for a function's answer.
///
/// With a `statusCode`, the answer describes the response; `content-type` is then `text/plain; charset=utf-8` unless the
/// function names one. Without, the answer is itself the body: 200, `application/json`. `cookies` become `set-cookie`
/// headers. Lengths and connection headers are the gateway's own and those of the function are dropped.
///
/// # Errors
/// [`MalformedAnswer`]: API Gateway answers 500 to the caller.
pub(super) fn from_answer(answer: &[u8]) -> Result<Response<Bytes>, MalformedAnswer> {
    let parsed: Value = serde_json::from_slice(answer).map_err(|_| MalformedAnswer::NotJson)?;
    let described = match &parsed {
        Value::Object(object) => object.get("statusCode").map(|status| (object, status)),
        _ => None,
    };
    let Some((object, status)) = described else {
        return Ok(json(StatusCode::OK, Bytes::copy_from_slice(answer)));
    };
    let body = body(object)?;
    let mut response = Response::new(body);
    *response.status_mut() = status_code(status)?;
    *response.headers_mut() = headers(object)?;
    Ok(response)
}

/// An error in API Gateway's own words: `{"message":"…"}`.
#[must_use]
pub fn message(status: StatusCode, text: &str) -> Response<Bytes> {
    let body = serde_json::json!({ "message": text });
    json(status, Bytes::from(body.to_string()))
}

fn json(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn status_code(status: &Value) -> Result<StatusCode, MalformedAnswer> {
    // Informational codes are excluded: none of them ends a response.
    status
        .as_u64()
        .filter(|status| (200..=599).contains(status))
        .and_then(|status| u16::try_from(status).ok())
        .and_then(|status| StatusCode::from_u16(status).ok())
        .ok_or(MalformedAnswer::StatusCode)
}

fn headers(object: &Map<String, Value>) -> Result<HeaderMap, MalformedAnswer> {
    let mut headers = HeaderMap::new();
    match object.get("headers") {
        None | Some(Value::Null) => {}
        Some(Value::Object(given)) => {
            for (name, value) in given {
                let value = match value {
                    Value::String(text) => text.clone(),
                    Value::Number(_) | Value::Bool(_) => value.to_string(),
                    Value::Null => continue,
                    Value::Array(_) | Value::Object(_) => return Err(MalformedAnswer::Headers),
                };
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| MalformedAnswer::Headers)?;
                let value = HeaderValue::from_str(&value).map_err(|_| MalformedAnswer::Headers)?;
                if ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE].contains(&name) {
                    headers.append(name, value);
                }
            }
        }
        Some(_) => return Err(MalformedAnswer::Headers),
    }
    match object.get("cookies") {
        None | Some(Value::Null) => {}
        Some(Value::Array(cookies)) => {
            for cookie in cookies {
                let cookie = cookie.as_str().ok_or(MalformedAnswer::Cookies)?;
                headers.append(SET_COOKIE, HeaderValue::from_str(cookie).map_err(|_| MalformedAnswer::Cookies)?);
            }
        }
        Some(_) => return Err(MalformedAnswer::Cookies),
    }
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(headers)
}

fn body(object: &Map<String, Value>) -> Result<Bytes, MalformedAnswer> {
    let encoded = match object.get("isBase64Encoded") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(encoded)) => *encoded,
        Some(_) => return Err(MalformedAnswer::Base64),
    };
    match object.get("body") {
        None | Some(Value::Null) => Ok(Bytes::new()),
        Some(Value::String(text)) if encoded => {
            STANDARD.decode(text).map(Bytes::from).map_err(|_| MalformedAnswer::Base64)
        }
        Some(Value::String(text)) => Ok(Bytes::from(text.clone())),
        Some(_) => Err(MalformedAnswer::Body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status, headers as `name: value` lines, body.
    fn shown(response: &Response<Bytes>) -> (u16, Vec<String>, Vec<u8>) {
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        (response.status().as_u16(), headers, response.body().to_vec())
    }

    #[test]
    fn an_answer_with_a_status_describes_the_response() {
        let cases: &[(&str, u16, &[&str], &[u8])] = &[
            (r#"{"statusCode":204}"#, 204, &["content-type: text/plain; charset=utf-8"], b""),
            (r#"{"statusCode":200.0,"body":"x"}"#, 0, &[], b""),
            (r#"{"statusCode":200,"body":"ü"}"#, 200, &["content-type: text/plain; charset=utf-8"], "ü".as_bytes()),
            (
                r#"{"statusCode":429,"headers":{"Content-Type":"application/json","Retry-After":3,"x-ok":true,"x-none":null},"body":"{}"}"#,
                429,
                &["content-type: application/json", "retry-after: 3", "x-ok: true"],
                b"{}",
            ),
            (
                r#"{"statusCode":200,"headers":{},"multiValueHeaders":{},"cookies":["a=1; Secure","b=2"],"body":"AP8=","isBase64Encoded":true}"#,
                200,
                &["set-cookie: a=1; Secure", "set-cookie: b=2", "content-type: text/plain; charset=utf-8"],
                &[0, 255],
            ),
            (
                r#"{"statusCode":200,"headers":{"content-length":"9999","connection":"close","transfer-encoding":"chunked"},"body":null,"cookies":null,"isBase64Encoded":null}"#,
                200,
                &["content-type: text/plain; charset=utf-8"],
                b"",
            ),
        ];
        for (answer, status, headers, body) in cases {
            match from_answer(answer.as_bytes()) {
                Ok(response) => {
                    let (got_status, mut got_headers, got_body) = shown(&response);
                    let mut headers: Vec<_> = headers.iter().map(|line| (*line).to_owned()).collect();
                    got_headers.sort();
                    headers.sort();
                    assert_eq!((got_status, got_headers, got_body.as_slice()), (*status, headers, *body), "{answer}");
                }
                Err(error) => assert_eq!((*status, error), (0, MalformedAnswer::StatusCode), "{answer}"),
            }
        }
    }

    #[test]
    fn a_json_answer_without_a_status_is_the_body() {
        for answer in
            ["\"Hello from Lambda!\"", "{\"message\":\"hi\"}", "[1, 2]", "null", " 1 ", "{\"headers\":{\"x\":1}}"]
        {
            let expected = (200, vec!["content-type: application/json".to_owned()], answer.as_bytes().to_vec());
            assert_eq!(shown(&from_answer(answer.as_bytes()).unwrap()), expected);
        }
    }

    #[test]
    fn a_malformed_answer_is_told_from_a_good_one() {
        let cases: &[(&[u8], MalformedAnswer)] = &[
            (b"", MalformedAnswer::NotJson),
            (b"{", MalformedAnswer::NotJson),
            (b"\"\xff\"", MalformedAnswer::NotJson),
            (br#"{"statusCode":"200"}"#, MalformedAnswer::StatusCode),
            (br#"{"statusCode":null}"#, MalformedAnswer::StatusCode),
            (br#"{"statusCode":0}"#, MalformedAnswer::StatusCode),
            (br#"{"statusCode":101}"#, MalformedAnswer::StatusCode),
            (br#"{"statusCode":600}"#, MalformedAnswer::StatusCode),
            (br#"{"statusCode":-200}"#, MalformedAnswer::StatusCode),
            (br#"{"statusCode":65736}"#, MalformedAnswer::StatusCode),
            (br#"{"statusCode":200,"headers":[]}"#, MalformedAnswer::Headers),
            (br#"{"statusCode":200,"headers":{"a":["b"]}}"#, MalformedAnswer::Headers),
            (br#"{"statusCode":200,"headers":{"a b":"c"}}"#, MalformedAnswer::Headers),
            (br#"{"statusCode":200,"headers":{"a":"b\r\nc: d"}}"#, MalformedAnswer::Headers),
            (br#"{"statusCode":200,"cookies":"a=1"}"#, MalformedAnswer::Cookies),
            (br#"{"statusCode":200,"cookies":["a\n"]}"#, MalformedAnswer::Cookies),
            (br#"{"statusCode":200,"body":{}}"#, MalformedAnswer::Body),
            (br#"{"statusCode":200,"body":"%","isBase64Encoded":true}"#, MalformedAnswer::Base64),
            (br#"{"statusCode":200,"isBase64Encoded":"yes"}"#, MalformedAnswer::Base64),
        ];
        for (answer, expected) in cases {
            assert_eq!(from_answer(answer).unwrap_err(), *expected, "{}", String::from_utf8_lossy(answer));
        }
    }

    #[test]
    fn the_gateways_own_errors_are_json_with_a_message() {
        let response = message(StatusCode::NOT_FOUND, "Not Found");
        let expected = (404, vec!["content-type: application/json".to_owned()], br#"{"message":"Not Found"}"#.to_vec());
        assert_eq!(shown(&response), expected);
    }
}
