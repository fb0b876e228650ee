//! Mailgun: time, token and signature stand in the body, and the signature covers only the first two. Who saw one delivery can write another
//! body under its signature; the token, which no two deliveries share, is what a delivery is then known by.
//! <https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks>

use super::Asked;
use crate::mac::{Algorithm, Encoding, Mac};
use crate::pick::pick;
use crate::refusal::Refusal;
use crate::timestamp::TimestampUnit;

const EXPECTED: &str = "a JSON object with a member `signature`";

/// Time and token are signed without anything between them, so where one ends is not signed: nothing here depends on it but an optional window.
pub(super) fn verify(asked: &Asked<'_>) -> Result<usize, Refusal> {
    if serde_json::from_slice::<serde::de::IgnoredAny>(asked.request.body).is_err() {
        return Err(Refusal::BodyMalformed { expected: EXPECTED });
    }
    let pointers = ["/signature/timestamp", "/signature/token", "/signature/signature"];
    let [time, token, signature] = pick(asked.request.body, pointers.map(Some));
    let missing = |pointer: &str| Refusal::SignatureMissing { place: format!("{pointer} in the body") };
    let time = time.ok_or_else(|| missing(pointers[0]))?;
    let token = token.ok_or_else(|| missing(pointers[1]))?;
    let signature = signature.ok_or_else(|| missing(pointers[2]))?;
    let expected = Encoding::Hex.expected(Algorithm::Sha256).to_owned();
    let received = Encoding::Hex
        .decode(signature.as_bytes(), Algorithm::Sha256)
        .ok_or_else(|| Refusal::SignatureMalformed { header: pointers[2].into(), expected })?;
    let good = |key: &[u8]| {
        let mut mac = Mac::new(Algorithm::Sha256, key);
        mac.update(time.as_bytes());
        mac.update(token.as_bytes());
        mac.finish().same(&received)
    };
    let index = asked.source.keys().position(good);
    let index = index.ok_or(Refusal::SignatureMismatch { secrets: asked.source.secret_count() })?;
    if let Some(tolerance_s) = asked.source.options().tolerance_s {
        let unit = TimestampUnit::Seconds;
        let malformed = || Refusal::TimestampMalformed { header: pointers[0].into(), expected: unit.expected() };
        let time = unit.parse(time.as_bytes()).ok_or_else(malformed)?;
        unit.check_window(time, asked.now_unix_seconds, tolerance_s)?;
    }
    Ok(index)
}
