//! What an authorization server sent, as names and values.

use std::fmt;
use std::time::Duration;

use clawbridge_clock::Timestamp;
use serde_json::{Map, Value};

/// An answer of an authorization server, as far as it was read. Debug output shows no body.
#[derive(Clone, Copy, Default)]
pub struct Answer<'a> {
    /// The status code.
    pub status: u16,
    /// The header `Content-Type`.
    pub content_type: Option<&'a str>,
    /// The header `Retry-After`.
    pub retry_after: Option<&'a str>,
    /// The header `DPoP-Nonce`.
    pub dpop_nonce: Option<&'a str>,
    /// The body, to the caller's bound.
    pub body: &'a [u8],
    /// Whether there was more than the bound.
    pub is_cut: bool,
}

impl fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("content_type", &self.content_type)
            .field("bytes", &self.body.len())
            .field("is_cut", &self.is_cut)
            .finish_non_exhaustive()
    }
}

impl Answer<'_> {
    /// The fields of a JSON object, whatever the answer calls itself, or of a form (GitHub's, where it is not asked for JSON). `None`: it is
    /// neither, or not whole.
    pub(crate) fn fields(&self) -> Option<Map<String, Value>> {
        if self.is_cut {
            return None;
        }
        let text = std::str::from_utf8(self.body).ok()?.trim_start_matches('\u{feff}').trim();
        if text.starts_with('{') {
            return serde_json::from_str(text).ok();
        }
        let media_type = self.content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let is_form =
            ["application/x-www-form-urlencoded", "text/plain"].iter().any(|one| media_type.eq_ignore_ascii_case(one));
        // A form has a name before its first "=", which no page and no sentence has.
        let begins = text.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        });
        if !(is_form && begins) {
            return None;
        }
        let mut fields = Map::new();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            if fields.insert(name.into_owned(), Value::String(value.into_owned())).is_some() {
                return None;
            }
        }
        Some(fields)
    }

    /// How long the server wants to be left alone (RFC 9110, section 10.2.3): seconds, or until a date. At most a day: nobody comes back
    /// to a header that says more.
    pub(crate) fn wait(&self, now: Timestamp) -> Option<Duration> {
        const MOST: Duration = Duration::from_secs(86_400);
        let value = self.retry_after?.trim();
        if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)).min(MOST));
        }
        let at = httpdate::parse_http_date(value).ok()?;
        Some(now.until(Timestamp::from(at)).min(MOST))
    }
}

/// The value at a path of names separated by dots.
pub(crate) fn at<'a>(fields: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut names = path.split('.');
    let first = fields.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

/// A text that is not empty.
pub(crate) fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// A whole number of seconds, as a number or as its digits (Microsoft's first version), with nothing after the point.
pub(crate) fn seconds(fields: &Map<String, Value>, name: &str) -> Option<i64> {
    let value = fields.get(name)?;
    let number = match value {
        Value::Number(number) => number.as_i64().map_or_else(|| number.as_f64(), |whole| Some(whole as f64)),
        Value::String(text) => text.trim().parse::<f64>().ok(),
        _ => None,
    }?;
    // Beyond this a float is not a whole number any more, and nothing lives as long.
    (number.is_finite() && number.abs() < 9e15).then_some(number.trunc() as i64)
}
