//! The rules of streamable HTTP that are about headers. Pure.

use super::version::Version;
use crate::problem::{Code, Problem};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The methods: there is no stream to listen to, and no session to end.
const ALLOWED: &str = "POST";

/// Where a request comes from: a page in a browser may have made a name of its own lead here (DNS rebinding).
///
/// Programs send no `Origin`. That of a page of this machine is taken where the request is for this machine as well; no other page has
/// anything to do here, and none is told more than that.
///
/// # Errors
/// `forbidden`
pub(crate) fn origin(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let of_machine = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .is_some_and(|(scheme, host)| matches!(scheme, "http" | "https") && is_loopback(host));
    let to_machine = headers.get(header::HOST).and_then(|host| host.to_str().ok()).is_some_and(is_loopback);
    if of_machine && to_machine {
        return Ok(());
    }
    Err(Problem::new(Code::Forbidden, "requests with this Origin are not taken"))
}

fn is_loopback(host: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|machine| machine.eq_ignore_ascii_case(name))
}

/// # Errors
/// `method_not_allowed`, with `Allow`.
pub(crate) fn method(method: &Method) -> Result<(), Problem> {
    if method == Method::POST {
        return Ok(());
    }
    let problem =
        Problem::new(Code::MethodNotAllowed, "messages are posted here; there is neither a stream nor a session");
    Err(Problem { headers: vec![(header::ALLOW, HeaderValue::from_static(ALLOWED))], ..problem })
}

/// What the client takes, sends and speaks.
///
/// # Errors
/// `not_acceptable`, `unsupported_media_type`, `validation_error`
pub(crate) fn talk(headers: &HeaderMap, media: &str) -> Result<Version, Problem> {
    let accept: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let ranges = accept.iter().flat_map(|value| value.split(','));
    let mut ranges = ranges.map(|range| range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let takes_json = ranges.any(|range| matches!(range.as_str(), "application/json" | "application/*" | "*/*"));
    if !accept.is_empty() && !takes_json {
        let message = "answers are application/json; a client accepts that and text/event-stream";
        return Err(Problem::new(Code::NotAcceptable, message));
    }
    if media != "application/json" {
        return Err(Problem::new(Code::UnsupportedMediaType, "a message is application/json; say so in Content-Type"));
    }
    let version = headers.get(VERSION).map(|value| value.to_str().unwrap_or_default());
    Version::of_header(version).map_err(|message| Problem::new(Code::ValidationError, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(&str, &str)]) -> HeaderMap {
        let row = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().expect("a name"), value.parse::<HeaderValue>().expect("a value"))
        };
        rows.iter().map(row).collect()
    }

    #[test]
    fn pages_of_this_machine_may_ask_this_machine_and_no_others() {
        for (origin_of, host, expected) in [
            ("http://localhost:6274", "127.0.0.1:3000", true),
            ("http://127.0.0.1", "localhost:3000", true),
            ("https://[::1]:1", "[::1]:3000", true),
            ("http://LOCALHOST:1", "localhost", true),
            // The name of the page leads here.
            ("http://evil.example:3000", "evil.example:3000", false),
            ("http://evil.example", "127.0.0.1:3000", false),
            ("http://localhost:6274", "abc.execute-api.us-east-1.amazonaws.com", false),
            ("http://localhost.evil.example", "127.0.0.1:3000", false),
            ("http://127.0.0.1.evil.example:80", "127.0.0.1:3000", false),
            ("http://localhost:6274/", "127.0.0.1:3000", false),
            ("file://localhost", "127.0.0.1:3000", false),
            ("null", "127.0.0.1:3000", false),
            ("", "127.0.0.1:3000", false),
        ] {
            let got = origin(&headers(&[("origin", origin_of), ("host", host)]));
            assert_eq!(got.is_ok(), expected, "{origin_of} {host}");
        }
        assert!(origin(&headers(&[("host", "abc.example")])).is_ok());
    }

    #[test]
    fn what_is_taken_sent_and_spoken_must_fit() {
        let both = "application/json, text/event-stream";
        for (accept, media, version, expected) in [
            (Some(both), "application/json", Some("2025-11-25"), Ok(Version::November2025)),
            (Some("*/*"), "application/json", None, Ok(Version::March2025)),
            (Some("text/event-stream;q=1, Application/JSON;q=0.5"), "application/json", None, Ok(Version::March2025)),
            (None, "application/json", Some("2025-06-18"), Ok(Version::June2025)),
            (Some("text/event-stream"), "application/json", None, Err(Code::NotAcceptable)),
            (Some(both), "text/plain", None, Err(Code::UnsupportedMediaType)),
            (Some(both), "", None, Err(Code::UnsupportedMediaType)),
            (Some(both), "application/json", Some("2024-11-05"), Err(Code::ValidationError)),
            (Some(both), "application/json", Some("x"), Err(Code::ValidationError)),
        ] {
            let rows: Vec<(&str, &str)> =
                [accept.map(|accept| ("accept", accept)), version.map(|version| ("mcp-protocol-version", version))]
                    .into_iter()
                    .flatten()
                    .collect();
            let got = talk(&headers(&rows), media).map_err(|problem| problem.code);
            assert_eq!(got, expected, "{accept:?} {media} {version:?}");
        }
    }
}
