//! What an upstream's answer means: a result, or an error with a code and a class. Pure.

use clawbridge_tasks::{Class, Code, TaskError};
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// How much of an answer that cannot be used is kept as evidence, bytes.
const MAX_EVIDENCE: usize = 2048;

/// An upstream's answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, or an empty string.
    pub content_type: &'a str,
    /// `Retry-After`, if it was sent.
    pub retry_after: Option<&'a str>,
    /// `Location`, if it was sent.
    pub location: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// The result in `answer`, or what is wrong with it. `secret` is removed from whatever is kept.
///
/// A 2xx answer is a result if it is JSON, plain text (a string) or empty (null). Other statuses follow the table of codes and classes
/// in ARCHITECTURE.md; `now` makes a wait of a `Retry-After` that is a date.
///
/// # Errors
/// Everything that is not a result.
pub fn classify(answer: &Answer<'_>, secret: Option<&str>, now: SystemTime) -> Result<Value, TaskError> {
    match answer.status {
        200..=299 => result(answer, secret),
        status => Err(refused(answer, status, secret, now)),
    }
}

fn result(answer: &Answer<'_>, secret: Option<&str>) -> Result<Value, TaskError> {
    if answer.body.is_empty() {
        return Ok(Value::Null);
    }
    let Ok(text) = std::str::from_utf8(answer.body) else {
        return Err(unexpected(answer, secret, "the answer is not UTF-8"));
    };
    let media_type = media_type(answer.content_type);
    match serde_json::from_str(text) {
        Ok(value) => Ok(redacted(value, secret)),
        Err(_) if media_type == "text/plain" => Ok(Value::String(without(text, secret))),
        Err(error) if media_type.ends_with("json") => {
            Err(unexpected(answer, secret, &format!("the answer says that it is JSON and is not: {error}")))
        }
        Err(_) if media_type.is_empty() => Err(unexpected(answer, secret, "the answer is not JSON")),
        Err(_) => Err(unexpected(answer, secret, &format!("the answer is {media_type}, not JSON"))),
    }
}

fn refused(answer: &Answer<'_>, status: u16, secret: Option<&str>, now: SystemTime) -> TaskError {
    // Whether the upstream may have acted: not where the status says that it declined; perhaps where it broke.
    let (code, class, may_have_acted, message) = match status {
        429 => (Code::RateLimited, Class::Transient, false, "the upstream wants fewer calls"),
        408 | 425 | 503 => (Code::Unavailable, Class::Transient, false, "the upstream is not available at the moment"),
        500 | 502 | 504 => (Code::UpstreamError, Class::Server, true, "the upstream failed"),
        401 => (
            Code::AuthenticationFailed,
            Class::Auth,
            false,
            "the upstream does not accept the credential; put a valid one into the tool's secret",
        ),
        403 => {
            (Code::Forbidden, Class::Auth, false, "the credential is accepted and lacks the permission for this call")
        }
        404 | 410 => (Code::NotFound, Class::Missing, false, "the upstream has no such thing"),
        409 => {
            (Code::Conflict, Class::Client, false, "the upstream says that the call conflicts with its present state")
        }
        400..=499 => (Code::ValidationError, Class::Client, false, "the upstream refuses the call as it is"),
        300..=399 => {
            let place = answer.location.map(|place| format!(" to {}", shortened(place, 200))).unwrap_or_default();
            let reason = format!(
                "the upstream redirects{place}, and redirects are not followed; put the final address into the tool's url"
            );
            return unexpected(answer, secret, &reason);
        }
        _ => return unexpected(answer, secret, "the upstream answered with a status that no tool expects"),
    };
    TaskError {
        code,
        class,
        message: format!("{message} (status {status})"),
        status: Some(status),
        evidence: evidence(answer.body, secret),
        may_have_acted,
        retry_after: answer.retry_after.and_then(|value| wait(value, now)),
    }
}

/// An answer that is none of those that a tool expects. The upstream has answered, so it may have acted.
pub(crate) fn unexpected(answer: &Answer<'_>, secret: Option<&str>, reason: &str) -> TaskError {
    TaskError {
        code: Code::UnexpectedResponse,
        class: Class::Unknown,
        message: without(reason, secret),
        status: Some(answer.status),
        evidence: evidence(answer.body, secret),
        may_have_acted: true,
        retry_after: None,
    }
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn wait(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

fn evidence(body: &[u8], secret: Option<&str>) -> Option<String> {
    if body.is_empty() {
        return None;
    }
    // Some room beyond the bound, so that a secret that the bound would cut in two is seen whole and removed whole.
    let start = &body[..body.len().min(MAX_EVIDENCE + 2 * secret.map_or(0, str::len))];
    let mut text = without(&String::from_utf8_lossy(start), secret);
    // One may stand at the end in part: the answer was cut there, by this or by the tool's bound.
    text.truncate(text.len() - secret.map_or(0, |secret| begun(&text, secret)));
    let printable: String = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    Some(shortened(&printable, MAX_EVIDENCE).to_owned())
}

/// Credentials shorter than this would be found by accident everywhere.
const SHORTEST_SECRET: usize = 6;

/// What stands where a secret stood.
const REDACTED: &str = "[redacted]";

/// `text` with every occurrence of `secret` removed: an upstream that repeats what it was sent must not carry a credential into a result.
/// Text may be JSON that could not be used, so the secret is looked for as JSON writes it too (`/` as `\/` is common).
fn without(text: &str, secret: Option<&str>) -> String {
    let Some(secret) = secret.filter(|secret| secret.len() >= SHORTEST_SECRET) else { return text.to_owned() };
    let mut text = text.replace(secret, REDACTED);
    let quoted = secret.replace('\\', "\\\\").replace('"', "\\\"");
    for written in [quoted.replace('/', "\\/"), quoted] {
        if written != secret {
            text = text.replace(&written, REDACTED);
        }
    }
    text
}

/// How many bytes at the end of `text` are the beginning of `secret`, if they are enough to mean something.
fn begun(text: &str, secret: &str) -> usize {
    (SHORTEST_SECRET..secret.len())
        .rev()
        .find(|len| secret.is_char_boundary(*len) && text.ends_with(&secret[..*len]))
        .unwrap_or(0)
}

/// The same for a document that was read, where it does not matter how its characters were written.
fn redacted(value: Value, secret: Option<&str>) -> Value {
    match value {
        Value::String(text) => Value::String(without(&text, secret)),
        // A secret of digits may come back as a number.
        Value::Number(number) if secret.is_some_and(|secret| secret == number.to_string()) => {
            Value::String(without(&number.to_string(), secret))
        }
        Value::Array(items) => items.into_iter().map(|item| redacted(item, secret)).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (without(&name, secret), redacted(value, secret))).collect()
        }
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain,
    }
}

fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn shortened(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn answer(status: u16, content_type: &'static str, body: &'static [u8]) -> Answer<'static> {
        Answer { status, content_type, retry_after: None, location: None, body }
    }

    #[test]
    fn each_status_has_its_code_and_class() {
        let cases = [
            (429, Code::RateLimited, Class::Transient, false),
            (408, Code::Unavailable, Class::Transient, false),
            (425, Code::Unavailable, Class::Transient, false),
            (503, Code::Unavailable, Class::Transient, false),
            (500, Code::UpstreamError, Class::Server, true),
            (502, Code::UpstreamError, Class::Server, true),
            (504, Code::UpstreamError, Class::Server, true),
            (400, Code::ValidationError, Class::Client, false),
            (402, Code::ValidationError, Class::Client, false),
            (422, Code::ValidationError, Class::Client, false),
            (409, Code::Conflict, Class::Client, false),
            (401, Code::AuthenticationFailed, Class::Auth, false),
            (403, Code::Forbidden, Class::Auth, false),
            (404, Code::NotFound, Class::Missing, false),
            (410, Code::NotFound, Class::Missing, false),
            (301, Code::UnexpectedResponse, Class::Unknown, true),
            (304, Code::UnexpectedResponse, Class::Unknown, true),
            (100, Code::UnexpectedResponse, Class::Unknown, true),
            (501, Code::UnexpectedResponse, Class::Unknown, true),
            (599, Code::UnexpectedResponse, Class::Unknown, true),
        ];
        for (status, code, class, may_have_acted) in cases {
            let error = classify(&answer(status, "", b"x"), None, SystemTime::now()).expect_err("an error");
            assert_eq!(
                (error.code, error.class, error.may_have_acted, error.status),
                (code, class, may_have_acted, Some(status))
            );
        }
    }

    #[test]
    fn an_answer_is_json_text_or_nothing_and_the_rest_is_evidence() {
        let good: [(Answer<'_>, Value); 5] = [
            (answer(200, "application/json", b"{\"id\":1}"), json!({"id": 1})),
            (answer(201, "", b"[1]"), json!([1])),
            (answer(200, "text/html", b"{\"id\":1}"), json!({"id": 1})),
            (answer(200, "text/plain; charset=utf-8", b"ok"), json!("ok")),
            (answer(204, "", b""), Value::Null),
        ];
        for (answer, expected) in good {
            assert_eq!(classify(&answer, None, SystemTime::now()), Ok(expected));
        }
        let bad = [
            (answer(200, "text/html", b"<html>maintenance</html>"), "text/html"),
            (answer(200, "application/problem+json", b"{broken"), "says that it is JSON"),
            (answer(200, "application/json", b"\xff\xfe"), "not UTF-8"),
        ];
        for (answer, reason) in bad {
            let error = classify(&answer, None, SystemTime::now()).expect_err("an error");
            assert_eq!(error.code, Code::UnexpectedResponse);
            assert!(error.message.contains(reason), "{}", error.message);
            assert!(error.evidence.is_some());
        }
    }

    #[test]
    fn a_credential_that_the_upstream_repeats_is_removed() {
        let echo = answer(200, "application/json", b"{\"authorization\":\"Bearer sk_live_123\"}");
        assert_eq!(
            classify(&echo, Some("sk_live_123"), SystemTime::now()),
            Ok(json!({"authorization": "Bearer [redacted]"}))
        );
        let refused = answer(400, "text/plain", b"bad key sk_live_123");
        let error = classify(&refused, Some("sk_live_123"), SystemTime::now()).expect_err("an error");
        assert_eq!(error.evidence.as_deref(), Some("bad key [redacted]"));
    }

    #[test]
    fn a_credential_is_removed_however_json_writes_it() {
        let secret = "sk/live\\\"1";
        let echoes: [&[u8]; 4] = [
            br#"{"key":"Bearer sk/live\\\"1"}"#,
            br#"{"key":"Bearer sk\/live\\\"1"}"#,
            br#"{"key":"Bearer \u0073k\u002flive\\\"\u0031"}"#,
            br#"{"key":"Bearer sk\/live\u005c\"1"}"#,
        ];
        for echo in echoes {
            let answer =
                Answer { status: 200, content_type: "application/json", retry_after: None, location: None, body: echo };
            let result = classify(&answer, Some(secret), SystemTime::now());
            assert_eq!(result, Ok(json!({"key": "Bearer [redacted]"})), "{}", String::from_utf8_lossy(echo));
        }
        for echo in &echoes[..2] {
            let answer = Answer { status: 422, content_type: "", retry_after: None, location: None, body: echo };
            let error = classify(&answer, Some(secret), SystemTime::now()).expect_err("an error");
            assert_eq!(error.evidence.as_deref(), Some(r#"{"key":"Bearer [redacted]"}"#));
        }
        let number = answer(200, "application/json", b"{\"20261121\":[20261121]}");
        let result = classify(&number, Some("20261121"), SystemTime::now());
        assert_eq!(result, Ok(json!({"[redacted]": ["[redacted]"]})));
    }

    #[test]
    fn no_piece_of_a_credential_is_kept_where_an_answer_is_cut() {
        let secret: String = (0..1500).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
        let whole = secret.repeat(3);
        let bodies = [
            format!("{}{secret}", "-".repeat(2_000)),
            format!("{}{secret}", "-".repeat(2_040)),
            // What the tool's own bound has cut.
            format!("--{}", &secret[..1_000]),
            format!("--{whole}{}", &secret[..200]),
            format!("--{whole}{whole}"),
        ];
        for body in bodies {
            let kept = evidence(body.as_bytes(), Some(&secret)).unwrap_or_default();
            assert!(kept.starts_with("--") && !kept.contains("abcdef"), "{kept}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sat, 21 Nov 2026 03:40:00 GMT").expect("a date");
        let cases = [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sat, 21 Nov 2026 03:41:30 GMT", Some(90)),
            ("Sat, 21 Nov 2026 03:39:00 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
            ("", None),
            ("99999999999999999999999", Some(u64::from(u32::MAX))),
        ];
        for (value, seconds) in cases {
            assert_eq!(wait(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic_or_keeps_a_secret(
            status in 100u16..600, content_type in "\\PC{0,30}", mut body in proptest::collection::vec(any::<u8>(), 0..4000),
            place in 0usize..4000,
        ) {
            let place = place.min(body.len());
            body.splice(place..place, b"sk_live_123".iter().copied());
            let answer = Answer { status, content_type: &content_type, retry_after: None, location: None, body: &body };
            let kept = format!("{:?}", classify(&answer, Some("sk_live_123"), SystemTime::now()));
            prop_assert!(!kept.contains("sk_live_123"));
        }
    }
}
