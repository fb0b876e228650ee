//! HubSpot: version 3, an HMAC of method, URL, body and time; or the older plain hashes where the newer header is not sent.
//! <https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests>

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Asked;
use crate::mac::{Algorithm, Encoding, Mac, Tag};
use crate::options::DEFAULT_TOLERANCE_S;
use crate::refusal::Refusal;
use crate::sign::{Outgoing, SignError};
use crate::source::Source;
use crate::timestamp::TimestampUnit;

const V3: &str = "X-HubSpot-Signature-v3";
const TIME: &str = "X-HubSpot-Request-Timestamp";
const OLD: &str = "X-HubSpot-Signature";
const VERSION: &str = "X-HubSpot-Signature-Version";

/// The escapes that HubSpot undoes in the URL before it signs.
const DECODED: [(&str, &str); 12] = [
    ("%3A", ":"),
    ("%2F", "/"),
    ("%3F", "?"),
    ("%40", "@"),
    ("%21", "!"),
    ("%24", "$"),
    ("%27", "'"),
    ("%28", "("),
    ("%29", ")"),
    ("%2A", "*"),
    ("%2C", ","),
    ("%3B", ";"),
];

pub(super) fn verify(asked: &Asked<'_>) -> Result<usize, Refusal> {
    // Who sends the newest version is held to it: the older ones sign no time.
    let (v3, time) = (asked.header(V3)?, asked.header(TIME)?);
    if v3.is_some() || time.is_some() {
        let signature = v3.ok_or_else(|| Refusal::SignatureMissing { place: V3.into() })?;
        return verify_v3(asked, signature, time);
    }
    let signature = asked.header(OLD)?.ok_or_else(|| Refusal::SignatureMissing { place: format!("{V3} or {OLD}") })?;
    let url = match asked.header(VERSION)? {
        Some(b"v1") => None,
        Some(b"v2") => Some(asked.url()?),
        _ => {
            return Err(Refusal::VersionUnsupported { place: VERSION.into(), accepted: "v1, v2, or the header of v3" });
        }
    };
    let mut received = [0; 32];
    let expected = || Encoding::Hex.expected(Algorithm::Sha256).to_owned();
    hex::decode_to_slice(signature, &mut received)
        .map_err(|_| Refusal::SignatureMalformed { header: OLD.into(), expected: expected() })?;
    let good = |key: &[u8]| {
        let mut hash = Sha256::new();
        hash.update(key);
        if let Some(url) = &url {
            hash.update(asked.request.method);
            hash.update(url.as_bytes());
        }
        hash.update(asked.request.body);
        hash.finalize().ct_eq(received.as_slice()).into()
    };
    asked.source.keys().position(good).ok_or(Refusal::SignatureMismatch { secrets: asked.source.secret_count() })
}

fn verify_v3(asked: &Asked<'_>, signature: &[u8], time: Option<&[u8]>) -> Result<usize, Refusal> {
    let unit = TimestampUnit::Milliseconds;
    let expected = || Encoding::Base64.expected(Algorithm::Sha256).to_owned();
    let received = Encoding::Base64
        .decode(signature, Algorithm::Sha256)
        .ok_or_else(|| Refusal::SignatureMalformed { header: V3.into(), expected: expected() })?;
    let text = time.ok_or_else(|| Refusal::TimestampMissing { place: TIME.into() })?;
    let malformed = || Refusal::TimestampMalformed { header: TIME.into(), expected: unit.expected() };
    let time = unit.parse(text).ok_or_else(malformed)?;
    let url = asked.url()?;
    let index = asked
        .source
        .keys()
        .position(|key| tag(key, asked.request.method, &url, asked.request.body, text).same(&received))
        .ok_or(Refusal::SignatureMismatch { secrets: asked.source.secret_count() })?;
    let tolerance_s = asked.source.options().tolerance_s.unwrap_or(DEFAULT_TOLERANCE_S);
    unit.check_window(time, asked.now_unix_seconds, tolerance_s)?;
    Ok(index)
}

fn tag(key: &[u8], method: &str, url: &str, body: &[u8], time: &[u8]) -> Tag {
    let url = DECODED.iter().fold(url.to_owned(), |url, (escape, plain)| url.replace(escape, plain));
    let mut mac = Mac::new(Algorithm::Sha256, key);
    for part in [method.as_bytes(), url.as_bytes(), body, time] {
        mac.update(part);
    }
    mac.finish()
}

/// Version 3.
pub(super) fn sign(
    source: &Source,
    delivery: &Outgoing<'_>,
    now_unix_seconds: i64,
) -> Result<Vec<(String, String)>, SignError> {
    let unit = TimestampUnit::Milliseconds;
    let url = delivery.url.ok_or(SignError::UrlUnknown)?;
    let key = source.keys().next().ok_or(SignError::NoSecret)?;
    let clock = SignError::Clock { now_unix_seconds, expected: unit.expected() };
    let time = unit.write(now_unix_seconds).ok_or(clock)?;
    let signature = Encoding::Base64.encode(&tag(key, delivery.method, url, delivery.body, time.as_bytes()));
    Ok(vec![(TIME.to_owned(), time), (V3.to_owned(), signature)])
}
