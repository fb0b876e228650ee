//! The headers that a sender of a source would send: the inverse of `verify`, for sending test events.

use crate::request::Headers;
use crate::source::{CheckRow, Pair, Source};
use crate::table::{Place, TimestampPlace};
use crate::template::Piece;
use crate::verify::Fields;

/// A delivery to sign.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The method. Only schemes that sign it read it.
    pub method: &'a str,
    /// The public URL. Only schemes that sign it need it.
    pub url: Option<&'a str>,
    /// The body, exactly as it will be sent.
    pub body: &'a [u8],
    /// The delivery's id, for schemes that have a header for it: visible ASCII.
    pub delivery_id: &'a str,
    /// The event's type, for schemes that have a header for it. What GitHub calls the action (`opened` of `issues.opened`) is in its body
    /// and left out of the header. Without it the header is left out.
    pub event_type: Option<&'a str>,
}

/// Why a delivery cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// A value that no header can carry.
    #[error("the {what} cannot be sent in the header {header}; use visible ASCII without spaces")]
    NotAHeaderValue {
        /// `delivery id`, `event type` or `token`.
        what: &'static str,
        /// The header.
        header: String,
    },
    /// The scheme signs the URL and there is none.
    #[error("the scheme signs the URL; give the public URL that this is sent to")]
    UrlUnknown,
    /// The scheme's private key is the provider's.
    #[error("only the provider can sign with this scheme; send a delivery that it has signed")]
    OnlyTheProvider,
    /// The source waits for its secret.
    #[error("the source has no secret yet; it learns it from the provider's handshake")]
    NoSecret,
    /// The clock cannot be written in the scheme's timestamp.
    #[error("the time {now_unix_seconds} cannot be written as {expected}; check the clock")]
    Clock {
        /// The time given.
        now_unix_seconds: i64,
        /// The form of the timestamp.
        expected: &'static str,
    },
}

/// The headers for a delivery at `now_unix_seconds`, signed with the source's first secret. `content-type` is the caller's.
///
/// # Errors
/// When a value cannot be put in a header, or something that the scheme signs is missing.
pub fn sign(
    source: &Source,
    delivery: &Outgoing<'_>,
    now_unix_seconds: i64,
) -> Result<Vec<(String, String)>, SignError> {
    let mut headers = Vec::new();
    let identity = source.identity();
    if let Some(Place::Header(header)) = identity.delivery[0] {
        headers.push(checked("delivery id", header, delivery.delivery_id)?);
    }
    if let (Some(Place::Header(header)), Some(event_type)) = (identity.event_type[0], delivery.event_type) {
        let in_header =
            if identity.type_suffix.is_some() { event_type.split('.').next().unwrap_or_default() } else { event_type };
        headers.push(checked("event type", header, in_header)?);
    }
    let first = source.keys().next().ok_or(SignError::NoSecret)?;
    match source.check() {
        CheckRow::Token(places) => {
            // The last place is the one that the provider itself sends.
            if let Some(place) = places.last() {
                let token = std::str::from_utf8(first).unwrap_or_default();
                // Okta's may be `Basic` and what follows it.
                let is_sendable = token.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
                if token.is_empty() || token.trim() != token || !is_sendable {
                    return Err(SignError::NotAHeaderValue { what: "token", header: place.header.to_owned() });
                }
                headers.push((place.header.to_owned(), format!("{}{token}", place.prefix)));
            }
        }
        CheckRow::Code(code) => headers.extend(code.sign(source, delivery, now_unix_seconds)?),
        CheckRow::Hmac => {
            let (row, signed) = source.row_for(&Headers::default());
            if row.public_key.is_some() {
                return Err(SignError::OnlyTheProvider);
            }
            if let Some(header) = row.id_header.filter(|id| !is_there(&headers, id)) {
                headers.push(checked("delivery id", header, delivery.delivery_id)?);
            }
            let stamp = row.timestamp.filter(|stamp| !matches!(stamp.place, TimestampPlace::Body(_)));
            let timestamp = match stamp {
                Some(stamp) => stamp
                    .unit
                    .write(now_unix_seconds)
                    .ok_or(SignError::Clock { now_unix_seconds, expected: stamp.unit.expected() })?,
                None => String::new(),
            };
            let id = if signed.contains(&Piece::Id) { delivery.delivery_id } else { "" };
            let fields = Fields {
                timestamp: timestamp.as_bytes(),
                id: id.as_bytes(),
                method: delivery.method,
                url: delivery.url,
                body: delivery.body,
            };
            // A sender that may leave the prefix out does.
            let prefix = if row.prefix_optional { "" } else { row.prefix };
            let mut value = match (source.first_pair(), row.public_prefix) {
                (Pair::None, _) => {
                    let tag = fields.mac(row, signed, first).ok_or(SignError::UrlUnknown)?;
                    format!("{prefix}{}", row.encoding.encode(&tag))
                }
                (Pair::Private(pair), Some(prefix)) => {
                    let message = fields.message(signed).ok_or(SignError::UrlUnknown)?;
                    format!("{prefix}{}", row.encoding.encode_bytes(pair.sign(&message).as_ref()))
                }
                (Pair::Private(_) | Pair::PublicOnly, _) => return Err(SignError::OnlyTheProvider),
            };
            match stamp.map(|stamp| stamp.place) {
                Some(TimestampPlace::Header(header)) => headers.push((header.to_owned(), timestamp)),
                Some(TimestampPlace::Element(prefix)) => {
                    let separator = row.separator.unwrap_or(',');
                    value = format!("{prefix}{timestamp}{separator}{value}");
                }
                Some(TimestampPlace::Body(_)) | None => {}
            }
            headers.push((row.header.to_owned(), value));
        }
    }
    Ok(headers)
}

/// A header, if it can carry the value.
fn checked(what: &'static str, header: &str, value: &str) -> Result<(String, String), SignError> {
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(SignError::NotAHeaderValue { what, header: header.to_owned() });
    }
    Ok((header.to_owned(), value.to_owned()))
}

fn is_there(headers: &[(String, String)], name: &str) -> bool {
    headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn signed(document: &str, delivery: &Outgoing<'_>, now: i64) -> Result<Vec<(String, String)>, SignError> {
        sign(&Source::from_secret(document.as_bytes()).expect(document), delivery, now)
    }

    #[test]
    fn the_headers_are_those_of_the_provider() {
        let delivery = Outgoing {
            method: "POST",
            url: None,
            body: b"Hello, World!",
            delivery_id: "d-1",
            event_type: Some("issues.opened"),
        };
        let headers =
            signed(r#"{"scheme":"github","secrets":["It's a Secret to Everybody"]}"#, &delivery, NOW).expect("headers");
        // The example of GitHub's documentation.
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let expected = [("X-GitHub-Delivery", "d-1"), ("X-GitHub-Event", "issues"), ("X-Hub-Signature-256", signature)];
        assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));

        let headers = signed(r#"{"scheme":"standard-webhooks","secrets":["AAAA"]}"#, &delivery, NOW).expect("headers");
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["webhook-id", "webhook-timestamp", "webhook-signature"]);
        let headers = signed(r#"{"scheme":"openclaw-token","secrets":["tok"]}"#, &delivery, NOW).expect("headers");
        assert_eq!(headers, [("Authorization".to_owned(), "Bearer tok".to_owned())]);
        let headers = signed(r#"{"scheme":"okta","secrets":["Basic dXNlcjpw"]}"#, &delivery, NOW).expect("headers");
        assert_eq!(headers, [("Authorization".to_owned(), "Basic dXNlcjpw".to_owned())]);
        let headers = signed(r#"{"scheme":"anthropic","secrets":["AAAA"]}"#, &delivery, NOW).expect("headers");
        assert_eq!(headers[0], ("webhook-id".to_owned(), "d-1".to_owned()));
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let good = Outgoing { method: "POST", url: None, body: b"{}", delivery_id: "d", event_type: None };
        let github = r#"{"scheme":"github","secrets":["k"]}"#;
        for id in ["", "a b", "a\r\nx: y", "é"] {
            let problem = signed(github, &Outgoing { delivery_id: id, ..good }, NOW).expect_err(id);
            assert!(matches!(problem, SignError::NotAHeaderValue { what: "delivery id", .. }), "{problem}");
        }
        assert!(signed(github, &Outgoing { event_type: Some("a\nb"), ..good }, NOW).is_err());
        assert!(matches!(
            signed(r#"{"scheme":"stripe","secrets":["k"]}"#, &good, 5),
            Err(SignError::Clock { now_unix_seconds: 5, .. })
        ));
        let url = r#"{"scheme":"hmac","secrets":["k"],"hmac":{"header":"S","signed":"{url}{body}"}}"#;
        assert_eq!(signed(url, &good, NOW), Err(SignError::UrlUnknown));
    }
}
