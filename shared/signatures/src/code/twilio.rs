//! Twilio: an HMAC of the public URL and the form's parameters, or of the URL and, through `bodySHA256` in its query, the body.
//! <https://www.twilio.com/docs/usage/webhooks/webhooks-security>

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Asked;
use crate::mac::{Algorithm, Encoding, Mac, Tag};
use crate::refusal::Refusal;
use crate::sign::{Outgoing, SignError};
use crate::source::Source;

const SIGNATURE: &str = "X-Twilio-Signature";
const SETTINGS: &str = "X-Twilio-Webhooks-Signature-Settings";
const ALGORITHMS: &str = "algorithm=HMAC_SHA256, or none for HMAC-SHA1";

pub(super) fn verify(asked: &Asked<'_>) -> Result<usize, Refusal> {
    let algorithm = match asked.header(SETTINGS)? {
        None => Algorithm::Sha1,
        Some(settings) => {
            let mut named = settings.split(|byte| *byte == b',').filter_map(|part| part.strip_prefix(b"algorithm="));
            match (named.next(), named.next()) {
                (Some(b"HMAC_SHA256"), None) => Algorithm::Sha256,
                _ => return Err(Refusal::VersionUnsupported { place: SETTINGS.into(), accepted: ALGORITHMS }),
            }
        }
    };
    let text = asked.header(SIGNATURE)?.ok_or_else(|| Refusal::SignatureMissing { place: SIGNATURE.into() })?;
    let mismatch = || Refusal::SignatureMismatch { secrets: asked.source.secret_count() };
    let received = match Encoding::Base64.decode(text, algorithm) {
        Some(received) => received,
        // Correct in its form for the other algorithm: it was made for another one.
        None if [Algorithm::Sha1, Algorithm::Sha256].iter().any(|a| Encoding::Base64.decode(text, *a).is_some()) => {
            return Err(mismatch());
        }
        None => {
            let expected = Encoding::Base64.expected(algorithm).to_owned();
            return Err(Refusal::SignatureMalformed { header: SIGNATURE.into(), expected });
        }
    };
    let url = asked.url()?;
    let parameters = parameters(&url, asked)?;
    for (index, key) in asked.source.keys().enumerate() {
        if spellings(&url).iter().any(|url| tag(algorithm, key, url, &parameters).same(&received)) {
            return Ok(index);
        }
    }
    Err(mismatch())
}

/// For a form, its parameters; for anything else nothing, when the URL vouches for the body.
fn parameters(url: &str, asked: &Asked<'_>) -> Result<String, Refusal> {
    let body = asked.request.body;
    let query = url.split_once('?').map_or("", |(_, query)| query);
    if let Some(hash) = query.split('&').find_map(|pair| pair.strip_prefix("bodySHA256=")) {
        let own = hex::encode(Sha256::digest(body));
        let same: bool = own.as_bytes().ct_eq(hash.as_bytes()).into();
        return if same {
            Ok(String::new())
        } else {
            Err(Refusal::SignatureMismatch { secrets: asked.source.secret_count() })
        };
    }
    if body.is_empty() {
        return Ok(String::new());
    }
    let is_form = asked.header("content-type")?.is_some_and(|value| {
        let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
        value[..end].trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    });
    let expected = "a form in UTF-8, or covered by bodySHA256 in the URL";
    if is_form {
        signed_form(body).ok_or(Refusal::BodyMalformed { expected })
    } else {
        Err(Refusal::BodyMalformed { expected })
    }
}

/// Names and values, decoded, in the order of the names' bytes; the values of one name sorted and without repetitions.
fn signed_form(body: &[u8]) -> Option<String> {
    let mut fields: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let value = pair.get(at + 1..).unwrap_or_default();
        fields.entry(decoded(&pair[..at])?).or_default().insert(decoded(value)?);
    }
    let mut text = String::with_capacity(body.len());
    for (name, values) in fields {
        for value in values {
            text.push_str(&name);
            text.push_str(&value);
        }
    }
    Some(text)
}

/// Undoes form encoding. Strict: what parsers read differently is nothing.
pub(crate) fn decoded(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                let [byte] = hex::decode(digits).ok()?.try_into().ok()?;
                byte
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The URL as it is, and with its scheme's default port added or any port taken away: what Twilio signed depends on the product.
fn spellings(url: &str) -> Vec<String> {
    let mut spellings = vec![url.to_owned()];
    // A browser's parser, which some products sign through, escapes it.
    if url.contains('\'') {
        spellings.push(url.replace('\'', "%27"));
    }
    let Some((scheme, rest)) = url.split_once("://") else { return spellings };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            let without = &authority[..authority.len() - port.len() - 1];
            spellings.push(format!("{scheme}://{without}{path}"));
        }
        _ => {
            let port = if scheme == "http" { 80 } else { 443 };
            spellings.push(format!("{scheme}://{authority}:{port}{path}"));
        }
    }
    spellings
}

fn tag(algorithm: Algorithm, key: &[u8], url: &str, parameters: &str) -> Tag {
    let mut mac = Mac::new(algorithm, key);
    mac.update(url.as_bytes());
    mac.update(parameters.as_bytes());
    mac.finish()
}

/// A form; anything else needs `bodySHA256` in the URL that it is sent to.
pub(super) fn sign(source: &Source, delivery: &Outgoing<'_>) -> Result<Vec<(String, String)>, SignError> {
    let url = delivery.url.ok_or(SignError::UrlUnknown)?;
    let key = source.keys().next().ok_or(SignError::NoSecret)?;
    let form = if url.contains("bodySHA256=") { String::new() } else { signed_form(delivery.body).unwrap_or_default() };
    let signature = Encoding::Base64.encode(&tag(Algorithm::Sha1, key, url, &form));
    Ok(vec![(SIGNATURE.to_owned(), signature)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_decoded_sorted_and_freed_of_repetitions() {
        for (form, text) in [
            ("b=2&a=1", Some("a1b2")),
            ("a=2&a=1&a=2", Some("a1a2")),
            ("B=x&a=y", Some("Bxay")),
            ("a=%2B+%C3%AB", Some("a+ ë")),
            ("a&b=", Some("ab")),
            ("", Some("")),
            ("a=%", None),
            ("a=%zz", None),
            ("a=%ff", None),
        ] {
            assert_eq!(signed_form(form.as_bytes()).as_deref(), text, "{form}");
        }
    }

    #[test]
    fn a_url_is_tried_with_and_without_a_port() {
        for (url, other) in [
            ("https://h/p?q", "https://h:443/p?q"),
            ("http://h", "http://h:80"),
            ("https://u:p@h/p", "https://u:p@h:443/p"),
            ("https://h:1234/p", "https://h/p"),
        ] {
            assert_eq!(spellings(url), [url, other]);
        }
    }
}
