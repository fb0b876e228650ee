//! Mailgun: <https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks>.
//!
//! The body's `signature` holds a timestamp (text of digits, Unix seconds), a token and the hexadecimal HMAC-SHA256 of the one followed by the
//! other. **The event is not covered**: whoever has seen one signature can put any event beside it, for as long as the source accepts the
//! timestamp. Mailgun states no window; a source's `tolerance_s` sets one.
//!
//! Nothing separates timestamp and token, so the timestamp has 10 digits. One of 9 is accepted before a token that begins with no digit,
//! which keeps what a text can be split into unique.

use serde::de::IgnoredAny;

use super::Asked;
use crate::mac::{Algorithm, Encoding, Mac};
use crate::pick::pick;
use crate::refusal::Refusal;
use crate::timestamp::TimestampUnit;

pub(super) fn verify(asked: &Asked<'_>) -> Result<usize, Refusal> {
    verify_within(asked, asked.source.options().tolerance_s)
}

fn verify_within(asked: &Asked<'_>, tolerance_s: Option<u32>) -> Result<usize, Refusal> {
    let body = asked.request.body;
    let [timestamp, token, signature] =
        pick(body, [Some("/signature/timestamp"), Some("/signature/token"), Some("/signature/signature")]);
    let place = |name: &str| format!("signature.{name} in the body");
    let Some(signature) = signature else {
        return Err(match serde_json::from_slice::<IgnoredAny>(body) {
            Ok(_) => Refusal::SignatureMissing { place: place("signature") },
            Err(_) => Refusal::BodyMalformed { expected: "JSON" },
        });
    };
    let received = Encoding::Hex.decode(signature.as_bytes(), Algorithm::Sha256).ok_or_else(|| {
        let expected = format!("{} and nothing else", Encoding::Hex.expected(Algorithm::Sha256));
        Refusal::SignatureMalformed { header: place("signature"), expected }
    })?;
    let text = timestamp.ok_or_else(|| Refusal::TimestampMissing { place: place("timestamp") })?;
    let token = token.ok_or_else(|| Refusal::DeliveryIdMissing { header: place("token") })?;
    let timestamp = seconds(&text, &token).ok_or_else(|| Refusal::TimestampMalformed {
        header: place("timestamp"),
        expected: TimestampUnit::Seconds.expected(),
    })?;
    let matching = asked.source.keys().position(|key| {
        let mut mac = Mac::new(Algorithm::Sha256, key);
        mac.update(text.as_bytes());
        mac.update(token.as_bytes());
        received.same(&mac.finish())
    });
    let index = matching.ok_or(Refusal::SignatureMismatch { secrets: asked.source.secret_count() })?;
    if let Some(tolerance_s) = tolerance_s {
        TimestampUnit::Seconds.check_window(timestamp, asked.now_unix_seconds, tolerance_s)?;
    }
    Ok(index)
}

fn seconds(text: &str, token: &str) -> Option<i64> {
    match text.len() {
        9 if !token.starts_with(|first: char| first.is_ascii_digit()) => {
            TimestampUnit::Seconds.parse(format!("0{text}").as_bytes())
        }
        _ => TimestampUnit::Seconds.parse(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Headers, Request, Source, verify};

    const NOW: i64 = 1_790_000_000;

    fn outcome(document: &str, body: &str, now: i64) -> Result<usize, &'static str> {
        let source = Source::from_secret(document.as_bytes()).expect(document);
        let request =
            Request { method: "POST", url: None, query: "", headers: Headers::default(), body: body.as_bytes() };
        verify(&source, &request, now).map(|verified| verified.secret_index()).map_err(|refusal| refusal.code())
    }

    fn body(timestamp: &str, token: &str, text: &str) -> String {
        let mut mac = super::Mac::new(super::Algorithm::Sha256, b"k");
        mac.update(text.as_bytes());
        let signature = super::Encoding::Hex.encode(&mac.finish());
        let signature = serde_json::json!({ "timestamp": timestamp, "token": token, "signature": signature });
        serde_json::json!({ "signature": signature, "event-data": { "event": "opened" } }).to_string()
    }

    #[test]
    fn the_signature_covers_timestamp_and_token_and_not_the_event() {
        let document = r#"{"scheme":"mailgun","secrets":["new","k"]}"#;
        let good = body("1790000000", "a8ce0edb", "1790000000a8ce0edb");
        assert_eq!(outcome(document, &good, NOW), Ok(1));
        assert_eq!(outcome(document, &good.replace("opened", "FORGED"), NOW), Ok(1));
        assert_eq!(outcome(document, &good.replace("a8ce", "a8cf"), NOW), Err("SIGNATURE_MISMATCH"));
        assert_eq!(outcome(document, &good.replace("1790000000", "1790000001"), NOW), Err("SIGNATURE_MISMATCH"));
        for (body, expected) in [
            ("not json", "BODY_MALFORMED"),
            ("", "BODY_MALFORMED"),
            ("[]", "SIGNATURE_MISSING"),
            (r#"{"signature":"x"}"#, "SIGNATURE_MISSING"),
            (r#"{"signature":{"signature":"x"}}"#, "SIGNATURE_MALFORMED"),
            (r#"{"signature":{"signature":["x"]}}"#, "SIGNATURE_MISSING"),
        ] {
            assert_eq!(outcome(document, body, NOW), Err(expected), "{body}");
        }
        let without = |name: &str| good.replace(&format!("\"{name}\":"), "\"x\":");
        assert_eq!(outcome(document, &without("timestamp"), NOW), Err("TIMESTAMP_MISSING"));
        assert_eq!(outcome(document, &without("token"), NOW), Err("DELIVERY_ID_MISSING"));
    }

    #[test]
    fn what_is_signed_splits_into_timestamp_and_token_in_one_way() {
        let document = r#"{"scheme":"mailgun","secrets":["k"]}"#;
        for (timestamp, token, expected) in [
            ("1790000000", "12ab", Ok(0)),
            ("179000000", "012ab", Err("TIMESTAMP_MALFORMED")),
            ("17900000001", "2ab", Err("TIMESTAMP_MALFORMED")),
            ("17900000", "0012ab", Err("TIMESTAMP_MALFORMED")),
        ] {
            let body = body(timestamp, token, "179000000012ab");
            assert_eq!(outcome(document, &body, NOW), expected, "{timestamp} {token}");
        }
        // That of the example in Mailgun's library for Go, which is no time in this century.
        assert_eq!(outcome(document, &body("123456789", "token", "123456789token"), NOW), Ok(0));
        assert_eq!(outcome(document, &body("12345678", "9token", "123456789token"), NOW), Err("TIMESTAMP_MALFORMED"));
        for timestamp in ["+179000000", "179000000.", "1.79000000", "-79000000", "٣٣٣٣٣"] {
            let body = body(timestamp, "t", &format!("{timestamp}t"));
            assert_eq!(outcome(document, &body, NOW), Err("TIMESTAMP_MALFORMED"), "{timestamp}");
        }
    }

    #[test]
    fn there_is_no_window_unless_one_is_asked_for() {
        let source = Source::from_secret(br#"{"scheme":"mailgun","secrets":["k"]}"#).expect("a source");
        let within = |body: &str, tolerance_s, now_unix_seconds| {
            let request =
                Request { method: "POST", url: None, query: "", headers: Headers::default(), body: body.as_bytes() };
            let asked = super::Asked { source: &source, request: &request, key: None, now_unix_seconds };
            super::verify_within(&asked, tolerance_s).map_err(|refusal| refusal.code())
        };
        let body = body("1790000000", "t", "1790000000t");
        assert_eq!(within(&body, None, NOW + 1_000_000), Ok(0));
        assert_eq!(within(&body, Some(600), NOW + 600), Ok(0));
        assert_eq!(within(&body, Some(600), NOW + 601), Err("TIMESTAMP_STALE"));
        assert_eq!(within(&body, Some(600), NOW - 601), Err("TIMESTAMP_AHEAD"));
        assert_eq!(within(&body.replace("\"t\"", "\"u\""), Some(600), NOW + 601), Err("SIGNATURE_MISMATCH"));
    }
}
