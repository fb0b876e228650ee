//! HubSpot: <https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests>.
//!
//! | version | signed | with |
//! |---|---|---|
//! | v3 | method, URL (some escapes decoded), body, timestamp in milliseconds | HMAC-SHA256, base64 |
//! | v2 | secret, method, URL, body | SHA-256, hexadecimal |
//! | v1 | secret, body | SHA-256, hexadecimal |
//!
//! A request with a v3 signature is judged by that alone. v1 and v2 have no timestamp, so that what was sent once can be sent again: a source
//! with `tolerance_s` asks for a window and accepts v3 only. Without it, v1 and v2 are accepted from requests that have no v3 header.
//!
//! v1 and v2 hash the secret before the text, and whoever holds such a hash can continue it: with SHA-256's padding, then anything. The
//! padding begins with the byte 80, which is no character after the end of one, so a body under v1 or v2 must be UTF-8.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Asked;
use crate::mac::{Algorithm, Encoding, Mac, Tag};
use crate::options::DEFAULT_TOLERANCE_S;
use crate::refusal::Refusal;
use crate::sign::{Outgoing, SignError};
use crate::source::Source;
use crate::timestamp::TimestampUnit;

const SIGNATURE_V3: &str = "X-HubSpot-Signature-v3";
const TIMESTAMP: &str = "X-HubSpot-Request-Timestamp";
const SIGNATURE: &str = "X-HubSpot-Signature";
const VERSION: &str = "X-HubSpot-Signature-Version";
const UNIT: TimestampUnit = TimestampUnit::Milliseconds;

pub(super) fn verify(asked: &Asked<'_>) -> Result<usize, Refusal> {
    verify_within(asked, asked.source.options().tolerance_s)
}

fn verify_within(asked: &Asked<'_>, tolerance_s: Option<u32>) -> Result<usize, Refusal> {
    match (asked.header(SIGNATURE_V3)?, tolerance_s) {
        (Some(signature), _) => verify_v3(asked, signature, tolerance_s.unwrap_or(DEFAULT_TOLERANCE_S)),
        (None, Some(_)) => Err(Refusal::SignatureMissing { place: SIGNATURE_V3.to_owned() }),
        (None, None) => verify_hash(asked),
    }
}

/// Signs with version 3.
pub(super) fn sign(
    source: &Source,
    delivery: &Outgoing<'_>,
    now_unix_seconds: i64,
) -> Result<Vec<(String, String)>, SignError> {
    let url = delivery.url.ok_or(SignError::UrlUnknown)?;
    let key = source.keys().next().ok_or(SignError::NoSecret)?;
    let timestamp =
        UNIT.write(now_unix_seconds).ok_or(SignError::Clock { now_unix_seconds, expected: UNIT.expected() })?;
    let tag = mac_v3(key, delivery.method, &decoded(url), delivery.body, timestamp.as_bytes());
    Ok(vec![(TIMESTAMP.to_owned(), timestamp), (SIGNATURE_V3.to_owned(), Encoding::Base64.encode(&tag))])
}

fn verify_v3(asked: &Asked<'_>, signature: &[u8], tolerance_s: u32) -> Result<usize, Refusal> {
    let received = Encoding::Base64
        .decode(signature, Algorithm::Sha256)
        .ok_or_else(|| malformed(SIGNATURE_V3, Encoding::Base64))?;
    let text = asked.header(TIMESTAMP)?.ok_or_else(|| Refusal::TimestampMissing { place: TIMESTAMP.to_owned() })?;
    let timestamp = UNIT
        .parse(text)
        .ok_or_else(|| Refusal::TimestampMalformed { header: TIMESTAMP.to_owned(), expected: UNIT.expected() })?;
    let url = asked.url()?;
    let decoded = decoded(&url);
    let request = asked.request;
    let matching = asked.source.keys().position(|key| {
        let made = |url: &str| received.same(&mac_v3(key, request.method, url, request.body, text));
        // HubSpot's own libraries sign what they are given.
        made(&decoded) || (*decoded != *url && made(&url))
    });
    let index = matching.ok_or(Refusal::SignatureMismatch { secrets: asked.source.secret_count() })?;
    UNIT.check_window(timestamp, asked.now_unix_seconds, tolerance_s)?;
    Ok(index)
}

fn mac_v3(key: &[u8], method: &str, url: &str, body: &[u8], timestamp: &[u8]) -> Tag {
    let mut mac = Mac::new(Algorithm::Sha256, key);
    for piece in [method.as_bytes(), url.as_bytes(), body, timestamp] {
        mac.update(piece);
    }
    mac.finish()
}

/// Versions 1 and 2.
fn verify_hash(asked: &Asked<'_>) -> Result<usize, Refusal> {
    let missing = |header: &str| Refusal::SignatureMissing { place: header.to_owned() };
    let signature = asked.header(SIGNATURE)?.ok_or_else(|| missing(&format!("{SIGNATURE_V3} or {SIGNATURE}")))?;
    let version = asked.header(VERSION)?.ok_or_else(|| missing(VERSION))?;
    let request = asked.request;
    let url = match version {
        b"v1" => None,
        b"v2" => Some(asked.url()?),
        _ => {
            let accepted = "v1 and v2, and version 3 in its own header";
            return Err(Refusal::VersionUnsupported { place: VERSION.to_owned(), accepted });
        }
    };
    let mut received = [0; 32];
    hex::decode_to_slice(signature, &mut received).map_err(|_| malformed(SIGNATURE, Encoding::Hex))?;
    if std::str::from_utf8(request.body).is_err() {
        return Err(Refusal::BodyMalformed { expected: "UTF-8" });
    }
    let matching = asked.source.keys().position(|key| {
        let mut hash = Sha256::new_with_prefix(key);
        if let Some(url) = &url {
            hash.update(request.method);
            hash.update(url.as_bytes());
        }
        hash.update(request.body);
        hash.finalize().as_slice().ct_eq(&received).into()
    });
    matching.ok_or(Refusal::SignatureMismatch { secrets: asked.source.secret_count() })
}

fn malformed(header: &str, encoding: Encoding) -> Refusal {
    let expected = format!("{} and nothing else", encoding.expected(Algorithm::Sha256));
    Refusal::SignatureMalformed { header: header.to_owned(), expected }
}

/// The URL with the escapes decoded that HubSpot decodes before it signs, and no others.
fn decoded(url: &str) -> Cow<'_, str> {
    const DECODED: &[u8] = b":/?@!$'()*,;";
    let mut text = String::new();
    let mut copied = 0;
    for (at, _) in url.match_indices('%') {
        let mut byte = [0];
        let digits = url.as_bytes().get(at + 1..at + 3).unwrap_or_default();
        if hex::decode_to_slice(digits, &mut byte).is_ok() && DECODED.contains(&byte[0]) {
            text.push_str(&url[copied..at]);
            text.push(char::from(byte[0]));
            copied = at + 3;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(url);
    }
    text.push_str(&url[copied..]);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Headers, Request, verify};

    const NOW: i64 = 1_790_000_000;
    const URL: &str = "https://www.example.com/webhook_uri";
    const BODY: &[u8] = br#"{"example_field":"example_value"}"#;

    fn source() -> Source {
        Source::from_secret(br#"{"scheme":"hubspot","secrets":["new","k"]}"#).expect("a source")
    }

    fn outcome_at(url: &str, fields: &[(&str, &str)], body: &[u8], now: i64) -> Result<usize, &'static str> {
        let headers: Headers<'_> = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let request = Request { method: "POST", url: Some(url), query: "", headers, body };
        verify(&source(), &request, now).map(|verified| verified.secret_index()).map_err(|refusal| refusal.code())
    }

    fn outcome(fields: &[(&str, &str)], body: &[u8]) -> Result<usize, &'static str> {
        outcome_at(URL, fields, body, NOW)
    }

    fn v3(url: &str, body: &[u8], timestamp: &str) -> String {
        Encoding::Base64.encode(&mac_v3(b"k", "POST", url, body, timestamp.as_bytes()))
    }

    fn hash(pieces: &[&[u8]]) -> String {
        hex::encode(Sha256::digest(pieces.concat()))
    }

    #[test]
    fn version_3_covers_all_and_has_a_window() {
        let timestamp = "1790000000000";
        let signed = v3(URL, BODY, timestamp);
        let good = [(SIGNATURE_V3, signed.as_str()), (TIMESTAMP, timestamp)];
        assert_eq!(outcome(&good, BODY), Ok(1));
        assert_eq!(outcome(&good, b"{}"), Err("SIGNATURE_MISMATCH"));
        assert_eq!(outcome(&[good[0], (TIMESTAMP, "1790000000001")], BODY), Err("SIGNATURE_MISMATCH"));
        assert_eq!(outcome(&good[..1], BODY), Err("TIMESTAMP_MISSING"));
        assert_eq!(outcome(&good[1..], BODY), Err("SIGNATURE_MISSING"));
        assert_eq!(outcome(&[good[0], good[1], good[0]], BODY), Err("HEADER_DUPLICATED"));
        assert_eq!(outcome(&[good[0], good[1], good[1]], BODY), Err("HEADER_DUPLICATED"));
        for (now, expected) in [
            (NOW + 300, Ok(1)),
            (NOW - 300, Ok(1)),
            (NOW + 301, Err("TIMESTAMP_STALE")),
            (NOW - 301, Err("TIMESTAMP_AHEAD")),
        ] {
            assert_eq!(outcome_at(URL, &good, BODY, now), expected, "{now}");
            assert_eq!(outcome_at(URL, &good, b"{}", now), Err("SIGNATURE_MISMATCH"), "{now}");
        }
        for text in ["abc", "", "1790000000", "+179000000000", "17900000000000", "NaN"] {
            let signed = v3(URL, BODY, text);
            assert_eq!(
                outcome(&[(SIGNATURE_V3, &signed), (TIMESTAMP, text)], BODY),
                Err("TIMESTAMP_MALFORMED"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_request_with_version_3_is_judged_by_that_alone() {
        let v1 = hash(&[b"k", BODY]);
        let older = [(SIGNATURE, v1.as_str()), (VERSION, "v1")];
        let signed = v3(URL, BODY, "1790000000000");
        assert_eq!(outcome(&older, BODY), Ok(1));
        let with = |fields: &[(&'static str, &str)]| outcome(&[&older[..], fields].concat(), BODY);
        assert_eq!(with(&[(SIGNATURE_V3, &signed), (TIMESTAMP, "1790000000000")]), Ok(1));
        assert_eq!(with(&[(SIGNATURE_V3, ""), (TIMESTAMP, "1790000000000")]), Err("SIGNATURE_MALFORMED"));
        assert_eq!(with(&[(SIGNATURE_V3, "nonsense")]), Err("SIGNATURE_MALFORMED"));
        assert_eq!(with(&[(SIGNATURE_V3, &signed)]), Err("TIMESTAMP_MISSING"));
        assert_eq!(with(&[(SIGNATURE_V3, &signed), (TIMESTAMP, "1790000000001")]), Err("SIGNATURE_MISMATCH"));
        assert_eq!(with(&[(SIGNATURE_V3, &signed), (SIGNATURE_V3, &signed)]), Err("HEADER_DUPLICATED"));
    }

    #[test]
    fn a_window_that_is_asked_for_leaves_version_3_only() {
        let source = source();
        let v1 = hash(&[b"k", BODY]);
        let signed = v3(URL, BODY, "1790000000000");
        let older = [(SIGNATURE, v1.as_bytes()), (VERSION, b"v1")];
        let newer = [(SIGNATURE_V3, signed.as_bytes()), (TIMESTAMP, b"1790000000000")];
        let within = |fields: &[(&'static str, &[u8])], tolerance_s, now_unix_seconds| {
            let headers = fields.iter().copied().collect();
            let request = Request { method: "POST", url: Some(URL), query: "", headers, body: BODY };
            let asked = Asked { source: &source, request: &request, key: None, now_unix_seconds };
            verify_within(&asked, tolerance_s).map_err(|refusal| refusal.code())
        };
        assert_eq!(within(&older, None, NOW), Ok(1));
        assert_eq!(within(&older, Some(300), NOW), Err("SIGNATURE_MISSING"));
        assert_eq!(within(&newer, Some(10), NOW + 10), Ok(1));
        assert_eq!(within(&newer, Some(10), NOW + 11), Err("TIMESTAMP_STALE"));
        assert_eq!(within(&newer, Some(1000), NOW + 1000), Ok(1));
    }

    #[test]
    fn versions_1_and_2_hash_the_secret_first() {
        let v1 = hash(&[b"k", BODY]);
        let v2 = hash(&[b"k", b"POST", URL.as_bytes(), BODY]);
        for (version, signed, body, expected) in [
            ("v1", &v1, BODY, Ok(1)),
            ("v2", &v2, BODY, Ok(1)),
            ("v1", &v1.to_uppercase(), BODY, Ok(1)),
            ("v1", &v2, BODY, Err("SIGNATURE_MISMATCH")),
            ("v2", &v1, BODY, Err("SIGNATURE_MISMATCH")),
            ("v1", &v1, b"{}", Err("SIGNATURE_MISMATCH")),
            ("v3", &v1, BODY, Err("VERSION_UNSUPPORTED")),
            ("V1", &v1, BODY, Err("VERSION_UNSUPPORTED")),
            ("", &v1, BODY, Err("VERSION_UNSUPPORTED")),
            ("v1", &v1[..62].to_owned(), BODY, Err("SIGNATURE_MALFORMED")),
            ("v1", &String::new(), BODY, Err("SIGNATURE_MALFORMED")),
        ] {
            assert_eq!(outcome(&[(SIGNATURE, signed), (VERSION, version)], body), expected, "{version} {signed}");
        }
        assert_eq!(outcome(&[(SIGNATURE, &v1)], BODY), Err("SIGNATURE_MISSING"));
        assert_eq!(outcome(&[(VERSION, "v1")], BODY), Err("SIGNATURE_MISSING"));
        let twice = [(SIGNATURE, v1.as_str()), (VERSION, "v1"), (VERSION, "v2")];
        assert_eq!(outcome(&twice, BODY), Err("HEADER_DUPLICATED"));
        assert_eq!(
            outcome_at("https://www.example.com/webhook_uri/", &[(SIGNATURE, &v2), (VERSION, "v2")], BODY, NOW),
            Err("SIGNATURE_MISMATCH")
        );
    }

    /// What somebody without the secret makes of one request: the hash goes on after the padding that ends it (RFC 6234 section 4.1).
    #[test]
    fn a_hash_that_was_continued_is_refused() {
        let mut padded = [b"k", BODY].concat();
        let bits = u64::try_from(padded.len()).expect("few") * 8;
        padded.push(0x80);
        padded.resize(56, 0);
        padded.extend(bits.to_be_bytes());
        assert_eq!(padded.len(), 64, "one block, whose state is the hash of the request");
        let continued = [&padded[1..], br#"{"example_field":"forged"}"#].concat();
        // It is the right hash, so that only the form of the body stands against it.
        let signed = hash(&[b"k", &continued]);
        assert_eq!(outcome(&[(SIGNATURE, &signed), (VERSION, "v1")], &continued), Err("BODY_MALFORMED"));
    }

    #[test]
    fn version_3_signs_the_url_with_some_escapes_decoded() {
        for (url, expected) in [
            ("https://h.example/a?b=c", "https://h.example/a?b=c"),
            ("https://h.example/a?b=%3A%2F%3F%40%21%24%27%28%29%2A%2C%3B", "https://h.example/a?b=:/?@!$'()*,;"),
            ("https://h.example/a?b=%3a%2f", "https://h.example/a?b=:/"),
            ("https://h.example/a?b=%20%26%3D%25%2B%23%C3%A9", "https://h.example/a?b=%20%26%3D%25%2B%23%C3%A9"),
            ("https://h.example/a?b=%253A", "https://h.example/a?b=%253A"),
            ("https://h.example/%2", "https://h.example/%2"),
            ("%%3A%", "%:%"),
            ("%3", "%3"),
            ("%é", "%é"),
            ("", ""),
        ] {
            assert_eq!(decoded(url), expected, "{url}");
            let timestamp = "1790000000000";
            for signed in [v3(expected, BODY, timestamp), v3(url, BODY, timestamp)] {
                assert_eq!(
                    outcome_at(url, &[(SIGNATURE_V3, &signed), (TIMESTAMP, timestamp)], BODY, NOW),
                    Ok(1),
                    "{url}"
                );
            }
        }
    }

    #[test]
    fn what_is_signed_has_the_headers_of_version_3() {
        let outgoing = Outgoing { method: "POST", url: Some(URL), body: BODY, delivery_id: "d", event_type: None };
        let source = source().with_secrets(vec!["k".into()]).expect("a source");
        let expected = [(TIMESTAMP, "1790000000000"), (SIGNATURE_V3, &v3(URL, BODY, "1790000000000"))];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        assert_eq!(sign(&source, &outgoing, NOW), Ok(expected));
        assert_eq!(sign(&source, &Outgoing { url: None, ..outgoing }, NOW), Err(SignError::UrlUnknown));
        assert!(matches!(sign(&source, &outgoing, -1), Err(SignError::Clock { now_unix_seconds: -1, .. })));
    }
}
