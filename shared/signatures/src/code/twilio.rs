//! Twilio: <https://www.twilio.com/docs/usage/webhooks/webhooks-security>.
//!
//! Signed is the public URL with its query, followed by the form's fields: names sorted by their bytes, and after each name its values, sorted
//! and without repetitions. Nothing separates them, so that whoever holds one signed request can build others whose text is the same (a letter
//! moved from a name to its value, or from a field to the end of the URL). That is Twilio's own and no receiver can tell; what a receiver
//! can do is done here: a form that two parsers read differently is refused, and so is a body that nothing covers.
//!
//! A body that is no form is covered by its SHA-256 in the query parameter `bodySHA256`, which the URL's signature covers. When that parameter
//! is there the body must have that hash, whatever its type.
//!
//! There is no timestamp: a replay is stopped by the delivery's id only.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Asked, form};
use crate::refusal::Refusal;
use crate::sign::{Outgoing, SignError};
use crate::source::Source;

const SIGNATURE: &str = "X-Twilio-Signature";
const SETTINGS: &str = "X-Twilio-Webhooks-Signature-Settings";
const BODY_HASH: &str = "bodySHA256";

pub(super) fn verify(asked: &Asked<'_>) -> Result<usize, Refusal> {
    let header = asked.header(SIGNATURE)?.ok_or_else(|| Refusal::SignatureMissing { place: SIGNATURE.to_owned() })?;
    let algorithm = match asked.header(SETTINGS)? {
        None => Algorithm::Sha1,
        Some(settings) => algorithm(settings).ok_or_else(|| Refusal::VersionUnsupported {
            place: SETTINGS.to_owned(),
            accepted: "algorithm=HMAC_SHA256",
        })?,
    };
    // Another algorithm's signature is a mismatch: the settings may have been changed on the way.
    let received = STANDARD.decode(header).ok().filter(|tag| [SHA1_BYTES, SHA256_BYTES].contains(&tag.len()));
    let received = received.ok_or_else(|| Refusal::SignatureMalformed {
        header: SIGNATURE.to_owned(),
        expected: format!("{} bytes in padded base64 and nothing else", algorithm.len()),
    })?;
    let url = asked.url()?;
    let body = asked.request.body;
    let hash = body_hash(&url)?;
    let fields = match hash {
        Some(_) => String::new(),
        None if body.is_empty() => String::new(),
        None if asked.header("content-type")?.is_some_and(form::is_content_type) => {
            fields_text(body).ok_or(Refusal::BodyMalformed { expected: form::EXPECTED })?
        }
        None => return Err(Refusal::SignatureMissing { place: format!("{BODY_HASH} in the query of the URL") }),
    };
    let urls = spellings(&url);
    let matching = asked
        .source
        .keys()
        .position(|key| urls.iter().any(|url| algorithm.made(key, [url.as_bytes(), fields.as_bytes()], &received)));
    let mismatch = || Refusal::SignatureMismatch { secrets: asked.source.secret_count() };
    let index = matching.ok_or_else(mismatch)?;
    match hash {
        Some(hash) if !bool::from(Sha256::digest(body).as_slice().ct_eq(&hash)) => Err(mismatch()),
        _ => Ok(index),
    }
}

/// Signs as Twilio does with the account's auth token: HMAC-SHA1. A URL with `bodySHA256` is signed alone; the caller puts the body's hash
/// there. Without it a form is signed with the URL, and any other body is left to nothing but the URL, which a receiver refuses.
pub(super) fn sign(source: &Source, delivery: &Outgoing<'_>) -> Result<Vec<(String, String)>, SignError> {
    let url = delivery.url.ok_or(SignError::UrlUnknown)?;
    let key = source.keys().next().ok_or(SignError::NoSecret)?;
    let fields = match body_hash(url) {
        Ok(None) => fields_text(delivery.body).unwrap_or_default(),
        Ok(Some(_)) | Err(_) => String::new(),
    };
    let mut mac = keyed::<Hmac<Sha1>>(key);
    mac.update(url.as_bytes());
    mac.update(fields.as_bytes());
    Ok(vec![(SIGNATURE.to_owned(), STANDARD.encode(mac.finalize().into_bytes()))])
}

const SHA1_BYTES: usize = 20;
const SHA256_BYTES: usize = 32;

/// The hash under the HMAC.
#[derive(Clone, Copy)]
enum Algorithm {
    /// With the account's auth token.
    Sha1,
    /// With a shared key, which the request says.
    Sha256,
}

impl Algorithm {
    const fn len(self) -> usize {
        match self {
            Self::Sha1 => SHA1_BYTES,
            Self::Sha256 => SHA256_BYTES,
        }
    }

    /// Whether the key made the tag over the pieces, in a time that does not depend on where it differs.
    fn made(self, key: &[u8], pieces: [&[u8]; 2], tag: &[u8]) -> bool {
        fn check<M: Mac + KeyInit>(key: &[u8], pieces: [&[u8]; 2], tag: &[u8]) -> bool {
            let mut mac = keyed::<M>(key);
            pieces.iter().for_each(|piece| mac.update(piece));
            mac.verify_slice(tag).is_ok()
        }
        match self {
            Self::Sha1 => check::<Hmac<Sha1>>(key, pieces, tag),
            Self::Sha256 => check::<Hmac<Sha256>>(key, pieces, tag),
        }
    }
}

fn keyed<M: Mac + KeyInit>(key: &[u8]) -> M {
    <M as KeyInit>::new_from_slice(key)
        .expect("RFC 2104 section 2: a key of any length is padded or hashed to the block size")
}

/// The algorithm that `key=NAME,algorithm=HMAC_SHA256` names, if it names one, once. Which key it names does not matter: all of the
/// source's are tried.
fn algorithm(settings: &[u8]) -> Option<Algorithm> {
    let mut named =
        settings.split(|byte| *byte == b',').filter_map(|item| item.trim_ascii().strip_prefix(b"algorithm="));
    match (named.next(), named.next()) {
        (Some(b"HMAC_SHA256"), None) => Some(Algorithm::Sha256),
        _ => None,
    }
}

/// The hash that the URL says the body has.
fn body_hash(url: &str) -> Result<Option<[u8; SHA256_BYTES]>, Refusal> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut values = query.split('&').filter_map(|field| match field.split_once('=') {
        Some((BODY_HASH, value)) => Some(value),
        _ => (field == BODY_HASH).then_some(""),
    });
    let (Some(value), second) = (values.next(), values.next()) else { return Ok(None) };
    let mut hash = [0; SHA256_BYTES];
    match (hex::decode_to_slice(value, &mut hash), second) {
        (Ok(()), None) => Ok(Some(hash)),
        _ => Err(Refusal::SignatureMalformed {
            header: format!("{BODY_HASH} in the query of the URL"),
            expected: "64 hexadecimal digits, once".into(),
        }),
    }
}

/// What a form adds to the signed text.
fn fields_text(body: &[u8]) -> Option<String> {
    let mut sorted = BTreeMap::<String, BTreeSet<String>>::new();
    for (name, value) in form::parse(body)? {
        sorted.entry(name).or_default().insert(value);
    }
    let mut text = String::with_capacity(body.len());
    for (name, values) in &sorted {
        for value in values {
            text.push_str(name);
            text.push_str(value);
        }
    }
    Some(text)
}

/// The URL in the spellings that a sender may have signed: with its port, without it or with the scheme's default one, and an apostrophe in the
/// query escaped or not. Twilio's own libraries, the senders' code and gateways differ in these. What each spelling asks for is the same, but
/// for the port.
fn spellings(url: &str) -> Vec<String> {
    let mut spellings = vec![url.to_owned()];
    spellings.extend(other_port(url));
    if let Some((path, query)) = url.split_once('?')
        && query.contains('\'')
    {
        let escaped = format!("{path}?{}", query.replace('\'', "%27"));
        spellings.extend(other_port(&escaped));
        spellings.push(escaped);
    }
    spellings
}

fn other_port(url: &str) -> Option<String> {
    let (scheme, after_scheme) = url.split_once("://")?;
    let default_port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let (authority, rest) = after_scheme.split_at(after_scheme.find(['/', '?', '#']).unwrap_or(after_scheme.len()));
    // The colons of credentials are before an @, those of an IPv6 address before a bracket.
    let port = authority.rfind(['@', ']', ':']).filter(|at| authority[*at..].starts_with(':'));
    Some(match port {
        Some(colon) => format!("{scheme}://{}{rest}", &authority[..colon]),
        None => format!("{scheme}://{authority}{default_port}{rest}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Headers, Request, verify};

    const FORM: &str = "application/x-www-form-urlencoded";
    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
    // The example of Twilio's documentation.
    const BODY: &str =
        "To=%2B18005551212&From=%2B12349013030&Digits=1234&Caller=%2B12349013030&CallSid=CA1234567890ABCDE";
    const SIGNED: &str = "0/KCTR6DLpKmkAf8muzZqo1nDgQ=";

    fn outcome(url: &str, fields: &[(&str, &str)], body: &[u8]) -> Result<usize, &'static str> {
        let source = Source::from_secret(br#"{"scheme":"twilio","secrets":["other","12345"]}"#).expect("a source");
        let headers: Headers<'_> = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let request = Request { method: "POST", url: Some(url), query, headers, body };
        verify(&source, &request, 0).map(|verified| verified.secret_index()).map_err(|refusal| refusal.code())
    }

    fn signature<M: Mac + KeyInit>(text: &str) -> String {
        let mut mac = keyed::<M>(b"12345");
        mac.update(text.as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }

    #[test]
    fn a_form_is_signed_with_the_url_in_the_order_of_its_names() {
        let good = [("Content-Type", FORM), (SIGNATURE, SIGNED)];
        assert_eq!(outcome(URL, &good, BODY.as_bytes()), Ok(1));
        for (url, body) in [
            (URL, BODY.replace("Digits=1234", "Digits=1235")),
            (URL, BODY.replace("Digits", "digits")),
            (URL, BODY.replace("%2B1800", "+1800")),
            (URL, format!("{BODY}&Zz=")),
            (URL, String::new()),
            ("https://mycompany.com/myapp.php?bar=2&foo=1", BODY.into()),
            ("https://mycompany.com/MyApp.php?foo=1&bar=2", BODY.into()),
            ("http://mycompany.com/myapp.php?foo=1&bar=2", BODY.into()),
        ] {
            assert_eq!(outcome(url, &good, body.as_bytes()), Err("SIGNATURE_MISMATCH"), "{url} {body}");
        }
        // The order of fields is not signed.
        let moved = BODY.replacen("To=%2B18005551212&", "", 1) + "&To=%2B18005551212";
        assert_eq!(outcome(URL, &good, moved.as_bytes()), Ok(1));
    }

    #[test]
    fn names_and_values_sort_by_their_bytes_and_a_value_counts_once() {
        let text = format!("{URL}B2a1a3b\u{e9}");
        let signed = signature::<Hmac<Sha1>>(&text);
        let fields = [("content-type", "application/x-www-form-urlencoded; charset=utf-8"), (SIGNATURE, &signed)];
        assert_eq!(outcome(URL, &fields, b"b=%C3%A9&a=3&B=2&a=1&a=3"), Ok(1));
        assert_eq!(outcome(URL, &fields, b"b=%C3%A9&a=3&B=2&a=1&a=4"), Err("SIGNATURE_MISMATCH"));
    }

    #[test]
    fn a_get_is_signed_by_its_url_alone() {
        let document = br#"{"scheme":"twilio","secrets":["12345"],"url":"https://mycompany.com/call"}"#;
        let source = Source::from_secret(document).expect("a source");
        let signed = signature::<Hmac<Sha1>>("https://mycompany.com/call?From=%2B1415&Digits=12");
        for (query, expected) in [("From=%2B1415&Digits=12", true), ("From=%2B1415&Digits=13", false), ("", false)] {
            let headers = [(SIGNATURE, signed.as_bytes())].into_iter().collect();
            let request = Request { method: "GET", url: Some("https://gateway.example/"), query, headers, body: b"" };
            assert_eq!(verify(&source, &request, 0).is_ok(), expected, "{query}");
        }
    }

    #[test]
    fn a_body_that_nothing_covers_is_refused() {
        let url_alone = signature::<Hmac<Sha1>>(URL);
        for (content_type, body, expected) in [
            (Some("application/json"), "", Ok(1)),
            (None, "", Ok(1)),
            (Some(FORM), "", Ok(1)),
            (Some("application/json"), "{}", Err("SIGNATURE_MISSING")),
            (Some("text/plain"), "a=1", Err("SIGNATURE_MISSING")),
            (None, "a=1", Err("SIGNATURE_MISSING")),
            (Some(FORM), "a=1", Err("SIGNATURE_MISMATCH")),
            (Some(FORM), "{}", Err("BODY_MALFORMED")),
            (Some(FORM), "a=%zz", Err("BODY_MALFORMED")),
            (Some(FORM), "a", Err("BODY_MALFORMED")),
        ] {
            let mut fields = vec![(SIGNATURE, url_alone.as_str())];
            fields.extend(content_type.map(|value| ("content-type", value)));
            assert_eq!(outcome(URL, &fields, body.as_bytes()), expected, "{content_type:?} {body}");
        }
        let twice = [("content-type", FORM), ("content-type", "application/json"), (SIGNATURE, SIGNED)];
        assert_eq!(outcome(URL, &twice, BODY.as_bytes()), Err("HEADER_DUPLICATED"));
    }

    #[test]
    fn a_hash_in_the_url_binds_the_body_whatever_its_type() {
        let body = br#"{"property": "value", "boolean": true}"#;
        let hash = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
        let url = format!("{URL}&bodySHA256={hash}");
        let signed = "a9nBmqA0ju/hNViExpshrM61xv4=";
        for content_type in ["application/json", FORM] {
            let fields = [("content-type", content_type), (SIGNATURE, signed)];
            assert_eq!(outcome(&url, &fields, body), Ok(1));
            assert_eq!(outcome(&url, &fields, b""), Err("SIGNATURE_MISMATCH"));
            assert_eq!(outcome(&url, &fields, br#"{"property": "valuf", "boolean": true}"#), Err("SIGNATURE_MISMATCH"));
            assert_eq!(outcome(&url.replace("foo=1", "foo=2"), &fields, body), Err("SIGNATURE_MISMATCH"));
        }
        for query in [
            "bodySHA256".to_owned(),
            "bodySHA256=".into(),
            "bodySHA256=0a1f".into(),
            format!("bodySHA256={hash}&bodySHA256={hash}"),
        ] {
            let url = format!("https://mycompany.com/?{query}");
            let signed = signature::<Hmac<Sha1>>(&url);
            assert_eq!(outcome(&url, &[(SIGNATURE, &signed)], body), Err("SIGNATURE_MALFORMED"), "{query}");
        }
    }

    #[test]
    fn the_settings_choose_the_hash_and_only_a_known_one() {
        let text = format!("{URL}a1");
        let (short, long) = (signature::<Hmac<Sha1>>(&text), signature::<Hmac<Sha256>>(&text));
        for (settings, signed, expected) in [
            (None, &short, Ok(1)),
            (None, &long, Err("SIGNATURE_MISMATCH")),
            (Some("key=webhooks_sharedkey_01,algorithm=HMAC_SHA256"), &long, Ok(1)),
            (Some("algorithm=HMAC_SHA256"), &long, Ok(1)),
            (Some("algorithm=HMAC_SHA256, key=k"), &long, Ok(1)),
            (Some("key=k,algorithm=HMAC_SHA256"), &short, Err("SIGNATURE_MISMATCH")),
            (Some("key=k,algorithm=HMAC_MD5"), &short, Err("VERSION_UNSUPPORTED")),
            (Some("key=k,algorithm=hmac_sha256"), &long, Err("VERSION_UNSUPPORTED")),
            (Some("key=k,algorithm=HMAC_SHA256,algorithm=HMAC_MD5"), &long, Err("VERSION_UNSUPPORTED")),
            (Some("key=k"), &short, Err("VERSION_UNSUPPORTED")),
            (Some(""), &short, Err("VERSION_UNSUPPORTED")),
        ] {
            let mut fields = vec![("content-type", FORM), (SIGNATURE, signed.as_str())];
            fields.extend(settings.map(|settings| (SETTINGS, settings)));
            assert_eq!(outcome(URL, &fields, b"a=1"), expected, "{settings:?} {signed}");
        }
    }

    #[test]
    fn a_signature_is_padded_base64_once() {
        for (fields, expected) in [
            (vec![(SIGNATURE, &SIGNED[..27])], "SIGNATURE_MALFORMED"),
            (vec![(SIGNATURE, "WRONG_SIGNATURE")], "SIGNATURE_MALFORMED"),
            (vec![(SIGNATURE, "AAAA")], "SIGNATURE_MALFORMED"),
            (vec![(SIGNATURE, "")], "SIGNATURE_MALFORMED"),
            (vec![(SIGNATURE, SIGNED), (SIGNATURE, SIGNED)], "HEADER_DUPLICATED"),
            (vec![], "SIGNATURE_MISSING"),
        ] {
            let fields = [&fields[..], &[("content-type", FORM)]].concat();
            assert_eq!(outcome(URL, &fields, BODY.as_bytes()), Err(expected), "{fields:?}");
        }
    }

    #[test]
    fn a_url_has_few_spellings() {
        for (url, expected) in [
            ("https://h.example/a:1?b=c:2", &["https://h.example:443/a:1?b=c:2"][..]),
            ("http://h.example", &["http://h.example:80"]),
            ("https://h.example:8443/a", &["https://h.example/a"]),
            ("https://u:p@h.example/a", &["https://u:p@h.example:443/a"]),
            ("https://u:p@h.example:443/a", &["https://u:p@h.example/a"]),
            ("https://[2001:db8::1]/a", &["https://[2001:db8::1]:443/a"]),
            ("https://[2001:db8::1]:443/a", &["https://[2001:db8::1]/a"]),
            (
                "https://h.example/it's?a=it's",
                &[
                    "https://h.example:443/it's?a=it's",
                    "https://h.example:443/it's?a=it%27s",
                    "https://h.example/it's?a=it%27s",
                ],
            ),
            ("ftp://h.example/", &[]),
            ("", &[]),
        ] {
            assert_eq!(spellings(url), [&[url], expected].concat(), "{url}");
        }
    }

    #[test]
    fn what_is_signed_has_the_headers_of_twilio() {
        let source = Source::from_secret(br#"{"scheme":"twilio","secrets":["12345"]}"#).expect("a source");
        let outgoing =
            Outgoing { method: "POST", url: Some(URL), body: BODY.as_bytes(), delivery_id: "d", event_type: None };
        assert_eq!(sign(&source, &outgoing), Ok(vec![(SIGNATURE.to_owned(), SIGNED.to_owned())]));
        assert_eq!(sign(&source, &Outgoing { url: None, ..outgoing }), Err(SignError::UrlUnknown));
    }
}
