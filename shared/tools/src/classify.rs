//! What an upstream's answer means: a result, or an error with a code and a class. Pure.

use crate::quota::Quota;
use crate::redact::{Redaction, shortened};
use clawbridge_clock::Timestamp;
use clawbridge_tasks::{Class, Code, TaskError};
use serde_json::Value;
use std::time::Duration;

/// An upstream's answer, read whole.
#[derive(Clone, Debug, Default)]
pub struct Answer<'a> {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, or an empty string.
    pub content_type: &'a str,
    /// `Content-Encoding`, or an empty string.
    pub content_encoding: &'a str,
    /// What its headers tell of the caller's quota.
    pub quota: Option<Quota>,
    /// `Retry-After`, if it was sent.
    pub retry_after: Option<&'a str>,
    /// `Location`, if it was sent.
    pub location: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// The result in `answer`, or what is wrong with it. What `redaction` knows is removed from whatever is kept.
///
/// A 2xx answer is a result if it is JSON, plain text (a string) or empty (null). Other statuses follow the table of codes and classes
/// in ARCHITECTURE.md; `now` makes a wait of a `Retry-After` that is a date.
///
/// # Errors
/// Everything that is not a result.
pub fn classify(answer: &Answer<'_>, redaction: &Redaction, now: Timestamp) -> Result<Value, TaskError> {
    match answer.status {
        200..=299 => result(answer, redaction),
        status => Err(refused(answer, status, redaction, now)),
    }
}

fn result(answer: &Answer<'_>, redaction: &Redaction) -> Result<Value, TaskError> {
    if answer.body.is_empty() {
        return Ok(Value::Null);
    }
    if !matches!(answer.content_encoding, "" | "identity") {
        let coding = shortened(answer.content_encoding, 40);
        return Err(unexpected(
            answer,
            redaction,
            &format!("the answer is compressed ({coding}), which was not asked for"),
        ));
    }
    let Ok(text) = std::str::from_utf8(answer.body) else {
        return Err(unexpected(answer, redaction, "the answer is not UTF-8"));
    };
    let media_type = media_type(answer.content_type);
    match serde_json::from_str(text) {
        Ok(value) => Ok(redaction.value(value)),
        Err(_) if media_type == "text/plain" => Ok(Value::String(redaction.text(text))),
        Err(error) if media_type.ends_with("json") => {
            Err(unexpected(answer, redaction, &format!("the answer says that it is JSON and is not: {error}")))
        }
        Err(_) if media_type.is_empty() => Err(unexpected(answer, redaction, "the answer is not JSON")),
        Err(_) => Err(unexpected(answer, redaction, &format!("the answer is {media_type}, not JSON"))),
    }
}

fn refused(answer: &Answer<'_>, status: u16, redaction: &Redaction, now: Timestamp) -> TaskError {
    // Whether the upstream may have acted: not where the status says that it declined; perhaps where it broke.
    let (code, class, may_have_acted, message) = match status {
        // GitHub, among others, tells with 403 that there were too many calls.
        403 if answer.retry_after.is_some() || answer.quota.is_some_and(|quota| quota.remaining == 0) => {
            (Code::RateLimited, Class::Transient, false, "the upstream wants fewer calls")
        }
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
            let place = answer
                .location
                .map(|place| format!(" to {}", shortened(&redaction.text(place), 200)))
                .unwrap_or_default();
            let reason = format!(
                "the upstream redirects{place}, and redirects are not followed; put the final address into the tool's url"
            );
            return unexpected(answer, redaction, &reason);
        }
        _ => return unexpected(answer, redaction, "the upstream answered with a status that no tool expects"),
    };
    TaskError {
        status: Some(status),
        evidence: redaction.evidence(answer.body),
        may_have_acted,
        retry_after: answer
            .retry_after
            .and_then(|value| retry_after(value, now))
            .or_else(|| answer.quota.filter(|_| code == Code::RateLimited).and_then(|quota| quota.wait(now))),
        ..TaskError::unsent(code, class, format!("{message} (status {status})"))
    }
}

/// An answer that is none of those that a tool expects. The upstream has answered, so it may have acted.
pub(crate) fn unexpected(answer: &Answer<'_>, redaction: &Redaction, reason: &str) -> TaskError {
    TaskError {
        status: Some(answer.status),
        evidence: redaction.evidence(answer.body),
        may_have_acted: true,
        ..TaskError::unsent(Code::UnexpectedResponse, Class::Unknown, redaction.text(reason))
    }
}

/// How long `Retry-After` asks to wait. RFC 9110 §10.2.3: seconds, or a date.
#[must_use]
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(now.until(Timestamp::from(at)))
}

fn media_type(content_type: &str) -> String {
    shortened(content_type.split(';').next().unwrap_or_default().trim(), 100).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn answer<'a>(status: u16, content_type: &'a str, body: &'a [u8]) -> Answer<'a> {
        Answer { status, content_type, body, ..Answer::default() }
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
            let error =
                classify(&answer(status, "", b"x"), &Redaction::default(), Timestamp::now()).expect_err("an error");
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
            assert_eq!(classify(&answer, &Redaction::default(), Timestamp::now()), Ok(expected));
        }
        let bad = [
            (answer(200, "text/html", b"<html>maintenance</html>"), "text/html"),
            (answer(200, "application/problem+json", b"{broken"), "says that it is JSON"),
            (answer(200, "application/json", b"\xff\xfe"), "not UTF-8"),
        ];
        for (answer, reason) in bad {
            let error = classify(&answer, &Redaction::default(), Timestamp::now()).expect_err("an error");
            assert_eq!(error.code, Code::UnexpectedResponse);
            assert!(error.message.contains(reason), "{}", error.message);
            assert!(error.evidence.is_some());
        }
    }

    #[test]
    fn a_quota_that_is_gone_is_no_missing_permission_and_says_how_long() {
        let now = Timestamp::parse_rfc3339("2026-11-21T03:40:00Z").expect("a date");
        let quota = |remaining| Some(Quota { remaining, reset_at: Some(now.plus(Duration::from_secs(60))) });
        let (gone, left) = (quota(0), quota(1));
        let cases = [
            (429, None, gone, Code::RateLimited, Some(60)),
            (429, Some("5"), gone, Code::RateLimited, Some(5)),
            (429, None, left, Code::RateLimited, None),
            (403, None, gone, Code::RateLimited, Some(60)),
            (403, Some("5"), None, Code::RateLimited, Some(5)),
            (403, None, left, Code::Forbidden, None),
            (503, None, gone, Code::Unavailable, None),
        ];
        for (status, retry_after, quota, code, seconds) in cases {
            let answer = Answer { retry_after, quota, ..answer(status, "", b"x") };
            let error = classify(&answer, &Redaction::default(), now).expect_err("an error");
            assert_eq!((error.code, error.retry_after), (code, seconds.map(Duration::from_secs)), "{status}");
        }
    }

    #[test]
    fn what_is_compressed_is_not_undone() {
        for (coding, expected) in [("", true), ("identity", true), ("gzip", false), ("br", false)] {
            let answer = Answer { content_encoding: coding, ..answer(200, "application/json", b"1") };
            assert_eq!(classify(&answer, &Redaction::default(), Timestamp::now()).is_ok(), expected, "{coding}");
        }
    }

    #[test]
    fn a_credential_that_the_upstream_repeats_is_removed() {
        let echo = answer(200, "application/json", b"{\"authorization\":\"Bearer sk_live_123\"}");
        assert_eq!(
            classify(&echo, &Redaction::of(["sk_live_123"]), Timestamp::now()),
            Ok(json!({"authorization": "Bearer [redacted]"}))
        );
        let refused = answer(400, "text/plain", b"bad key sk_live_123");
        let error = classify(&refused, &Redaction::of(["sk_live_123"]), Timestamp::now()).expect_err("an error");
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
            let answer = answer(200, "application/json", echo);
            let result = classify(&answer, &Redaction::of([secret]), Timestamp::now());
            assert_eq!(result, Ok(json!({"key": "Bearer [redacted]"})), "{}", String::from_utf8_lossy(echo));
        }
        for echo in &echoes[..2] {
            let answer = answer(422, "", echo);
            let error = classify(&answer, &Redaction::of([secret]), Timestamp::now()).expect_err("an error");
            assert_eq!(error.evidence.as_deref(), Some(r#"{"key":"Bearer [redacted]"}"#));
        }
        let number = answer(200, "application/json", b"{\"20261121\":[20261121]}");
        let result = classify(&number, &Redaction::of(["20261121"]), Timestamp::now());
        assert_eq!(result, Ok(json!({"[redacted]": ["[redacted]"]})));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::parse_rfc3339("2026-11-21T03:40:00Z").expect("a date");
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
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
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
            let answer = Answer { status, content_type: &content_type, body: &body, ..Answer::default() };
            let kept = format!("{:?}", classify(&answer, &Redaction::of(["sk_live_123"]), Timestamp::now()));
            prop_assert!(!kept.contains("sk_live_123"));
        }
    }
}
