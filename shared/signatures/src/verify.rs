//! The verdict on a request: a verified delivery, or the reason for refusing it.

use crate::code::Asked;
use crate::mac::{Mac, Tag, same_token};
use crate::pick::pick;
use crate::public_key::PublicKey;
use crate::refusal::Refusal;
use crate::request::{Headers, Request};
use crate::source::{CheckRow, Key, Source};
use crate::table::{HmacRow, Scheme, TimestampPlace, TokenPlace};
use crate::template::Piece;

/// A delivery whose sender knew one of the source's secrets. Only [`verify`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'a> {
    request: &'a Request<'a>,
    scheme: Scheme,
    secret_index: usize,
}

impl<'a> Verified<'a> {
    /// The body that was verified, as received.
    pub const fn body(&self) -> &'a [u8] {
        self.request.body
    }

    /// The scheme that it was verified with.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Which of the source's secrets matched, from 0. While a secret is rotated, a count of each tells when the old one is no longer used.
    pub const fn secret_index(&self) -> usize {
        self.secret_index
    }

    /// The headers of the request. A scheme that does not sign a header does not vouch for it.
    pub const fn headers(&self) -> &'a Headers<'a> {
        &self.request.headers
    }
}

/// A document that must be at hand before a request can be verified: the provider's certificate or key set. Only [`wanted`] makes one, so its
/// address keeps the provider's rule (scheme, host, path).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    url: String,
}

impl Wanted {
    pub(crate) fn at(url: String) -> Self {
        Self { url }
    }

    /// Where it is: an https address, to be called with GET and without following redirects.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// The document that a request cannot be verified without, if its scheme has one and the source does not pin it.
///
/// # Errors
/// The request names no such document, or one at an address that is not the provider's.
pub fn wanted(source: &Source, request: &Request<'_>) -> Result<Option<Wanted>, Refusal> {
    match source.check() {
        CheckRow::Code(code) if source.options().keys.is_none() => code.wanted(source, request),
        CheckRow::Code(_) | CheckRow::Hmac | CheckRow::Token(_) => Ok(None),
    }
}

/// Checks a request against a source at the time `now_unix_seconds`. Every secret of the source is tried. A scheme whose keys must be fetched
/// needs [`verify_with`].
///
/// A caller with a second candidate (the previous version of a rotating source secret) calls again with it, and need not when
/// [`Refusal::another_secret_may_match`] is false.
///
/// Memory does not grow with the body: the MAC is fed with it where it is.
///
/// # Errors
/// With the first reason found, in the order header, form, signature, window. That a timestamp is out of its window is said only of a
/// request with a good signature.
pub fn verify<'a>(source: &Source, request: &'a Request<'a>, now_unix_seconds: i64) -> Result<Verified<'a>, Refusal> {
    verify_with(source, request, None, now_unix_seconds)
}

/// As [`verify`], with the document that [`wanted`] asked for. Keys that the source pins go before it.
///
/// # Errors
/// As [`verify`]; [`Refusal::KeyUnknown`] when the document is missing or does not hold the key that the request names.
pub fn verify_with<'a>(
    source: &Source,
    request: &'a Request<'a>,
    key: Option<&[u8]>,
    now_unix_seconds: i64,
) -> Result<Verified<'a>, Refusal> {
    let secret_index = match source.check() {
        CheckRow::Hmac => {
            let (row, signed) = source.row_for(&request.headers);
            verify_hmac(row, signed, source, request, now_unix_seconds)?
        }
        CheckRow::Token(places) => verify_token(&places, source, &request.headers)?,
        CheckRow::Code(code) => {
            let key = source.options().keys.as_deref().map(str::as_bytes).or(key);
            code.verify(&Asked { source, request, key, now_unix_seconds })?
        }
    };
    Ok(Verified { request, scheme: source.scheme(), secret_index })
}

fn verify_hmac(
    row: HmacRow<'_>,
    signed: &[Piece],
    source: &Source,
    request: &Request<'_>,
    now_unix_seconds: i64,
) -> Result<usize, Refusal> {
    let header =
        one(&request.headers, row.header)?.ok_or_else(|| Refusal::SignatureMissing { place: row.header.to_owned() })?;
    let received = Received::read(row, header)?;
    let id = match row.id_header {
        Some(name) if signed.contains(&Piece::Id) => one(&request.headers, name)?
            .filter(|id| !id.is_empty())
            .ok_or_else(|| Refusal::DeliveryIdMissing { header: name.to_owned() })?,
        _ => &[],
    };
    let mut timestamp: (&[u8], i64) = (&[], 0);
    if let Some(stamp) = row.timestamp
        && let Some((text, place)) = match stamp.place {
            TimestampPlace::Element(prefix) => Some((received.timestamp, format!("{prefix} in {}", row.header))),
            TimestampPlace::Header(name) => Some((one(&request.headers, name)?, name.to_owned())),
            TimestampPlace::Body(_) => None,
        }
    {
        let text = text.ok_or_else(|| Refusal::TimestampMissing { place: place.clone() })?;
        let malformed = || Refusal::TimestampMalformed { header: place, expected: stamp.unit.expected() };
        timestamp = (text, stamp.unit.parse(text).ok_or_else(malformed)?);
    }
    let asked = Asked { source, request, key: None, now_unix_seconds };
    let url = if signed.contains(&Piece::Url) { Some(asked.url()?) } else { None };
    let fields = Fields { timestamp: timestamp.0, id, method: request.method, url: url.as_deref(), body: request.body };
    let mut matching = None;
    for (index, key) in source.live().enumerate() {
        let good = match key {
            Key::Mac(key) if row.public_key.is_none() => {
                let expected = fields.mac(row, signed, key).ok_or(Refusal::UrlUnknown)?;
                received.signatures.iter().any(|signature| signature.same(&expected))
            }
            Key::Public(algorithm, key) if !received.public.is_empty() => {
                let message = fields.message(signed).ok_or(Refusal::UrlUnknown)?;
                received.public.iter().any(|signature| algorithm.verifies(key, &message, signature))
            }
            Key::Mac(_) | Key::Public(..) => false,
        };
        if good {
            matching = Some(index);
            break;
        }
    }
    let index = matching.ok_or(Refusal::SignatureMismatch { secrets: source.secret_count() })?;
    if let Some(stamp) = row.timestamp {
        if let TimestampPlace::Body(pointer) = stamp.place {
            let [text] = pick(request.body, [Some(pointer)]);
            let text = text.ok_or_else(|| Refusal::TimestampMissing { place: format!("{pointer} in the body") })?;
            timestamp.1 = stamp.unit.parse(text.as_bytes()).ok_or_else(|| Refusal::TimestampMalformed {
                header: format!("{pointer} in the body"),
                expected: stamp.unit.expected(),
            })?;
        }
        if let Some(tolerance_s) = stamp.tolerance_s {
            stamp.unit.check_window(timestamp.1, now_unix_seconds, tolerance_s)?;
        }
    }
    Ok(index)
}

/// The longest signature that is decoded.
const MAX_SIGNATURE_BYTES: usize = 96;

/// What the signature's header holds.
struct Received<'a> {
    /// The MACs in a form that can match. Elements that cannot are left out: a good one beside them suffices.
    signatures: Vec<Tag>,
    /// The signatures that a public key checks.
    public: Vec<Vec<u8>>,
    timestamp: Option<&'a [u8]>,
}

impl<'a> Received<'a> {
    fn read(row: HmacRow<'_>, header: &'a [u8]) -> Result<Self, Refusal> {
        let malformed = || Refusal::SignatureMalformed { header: row.header.to_owned(), expected: expected_form(row) };
        let mut received = Self { signatures: Vec::new(), public: Vec::new(), timestamp: None };
        let Some(separator) = row.separator else {
            let text = match header.strip_prefix(row.prefix.as_bytes()) {
                Some(text) => text,
                None if row.prefix_optional => header,
                None => return Err(malformed()),
            };
            match row.public_key {
                Some(algorithm) => received.public.push(public(row, algorithm, text).ok_or_else(malformed)?),
                None => received.signatures.push(row.encoding.decode(text, row.algorithm).ok_or_else(malformed)?),
            }
            return Ok(received);
        };
        let timestamp_prefix = match row.timestamp.map(|stamp| (stamp.place, stamp.unit)) {
            Some((TimestampPlace::Element(prefix), unit)) => Some((prefix, unit)),
            _ => None,
        };
        let mut elements = 0_usize;
        for element in header.split(|byte| char::from(*byte) == separator) {
            if let Some((prefix, unit)) = timestamp_prefix
                && let Some(text) = element.strip_prefix(prefix.as_bytes())
            {
                // Which of two counts differs between receivers, so two must agree.
                if received.timestamp.is_some_and(|first| first != text) {
                    return Err(Refusal::TimestampMalformed {
                        header: row.header.to_owned(),
                        expected: unit.expected(),
                    });
                }
                received.timestamp = Some(text);
            } else if let Some(text) = row.public_prefix.and_then(|prefix| element.strip_prefix(prefix.as_bytes())) {
                elements += 1;
                received.public.extend(public(row, PublicKey::Ed25519, text));
            } else if let Some(text) = element.strip_prefix(row.prefix.as_bytes()) {
                elements += 1;
                received.signatures.extend(row.encoding.decode(text, row.algorithm));
            }
        }
        match (elements, received.signatures.is_empty() && received.public.is_empty()) {
            (0, _) if received.timestamp.is_some() => {
                Err(Refusal::SignatureMissing { place: format!("{} in {}", row.prefix, row.header) })
            }
            (_, true) => Err(malformed()),
            (_, false) => Ok(received),
        }
    }
}

/// The bytes of a signature that a public key checks.
fn public(row: HmacRow<'_>, algorithm: PublicKey, text: &[u8]) -> Option<Vec<u8>> {
    row.encoding.decode_up_to(text, MAX_SIGNATURE_BYTES).filter(|bytes| algorithm.has_len(bytes.len()))
}

fn expected_form(row: HmacRow<'_>) -> String {
    let digits = match row.public_key {
        Some(algorithm) => format!("{} in {}", algorithm.expected(), row.encoding),
        None => row.encoding.expected(row.algorithm).to_owned(),
    };
    match (row.prefix, row.separator) {
        ("", None) => format!("{digits} and nothing else"),
        (prefix, None) => format!("{prefix} and {digits}"),
        (prefix, Some(_)) => format!("a list with at least one {prefix} and {digits}"),
    }
}

/// The values that a template's pieces stand for.
pub(crate) struct Fields<'a> {
    pub(crate) timestamp: &'a [u8],
    pub(crate) id: &'a [u8],
    pub(crate) method: &'a str,
    pub(crate) url: Option<&'a str>,
    pub(crate) body: &'a [u8],
}

impl Fields<'_> {
    /// The pieces in one, for signatures that are not fed; nothing when they cover a URL that is not known.
    pub(crate) fn message(&self, pieces: &[Piece]) -> Option<Vec<u8>> {
        let mut message = Vec::with_capacity(self.body.len() + 128);
        for piece in pieces {
            message.extend_from_slice(self.value(piece)?);
        }
        Some(message)
    }

    fn value<'s>(&'s self, piece: &'s Piece) -> Option<&'s [u8]> {
        Some(match piece {
            Piece::Literal(text) => text.as_bytes(),
            Piece::Timestamp => self.timestamp,
            Piece::Id => self.id,
            Piece::Body => self.body,
            Piece::Method => self.method.as_bytes(),
            Piece::Url => self.url?.as_bytes(),
        })
    }

    /// The MAC over the pieces, or nothing when they cover a URL that is not known.
    pub(crate) fn mac(&self, row: HmacRow<'_>, pieces: &[Piece], key: &[u8]) -> Option<Tag> {
        let mut mac = Mac::new(row.algorithm, key);
        for piece in pieces {
            mac.update(self.value(piece)?);
        }
        Some(mac.finish())
    }
}

fn verify_token(places: &[TokenPlace<'_>], source: &Source, headers: &Headers<'_>) -> Result<usize, Refusal> {
    for place in places {
        let Some(value) = one(headers, place.header)? else { continue };
        let malformed = || Refusal::SignatureMalformed {
            header: place.header.to_owned(),
            expected: format!("{}and the token", place.prefix),
        };
        let (prefix, token) = value.split_at_checked(place.prefix.len()).ok_or_else(malformed)?;
        if !prefix.eq_ignore_ascii_case(place.prefix.as_bytes()) {
            return Err(malformed());
        }
        if token.is_empty() {
            return Err(Refusal::SignatureMissing { place: format!("the token in {}", place.header) });
        }
        return source
            .keys()
            .position(|key| same_token(token, key))
            .ok_or(Refusal::SignatureMismatch { secrets: source.secret_count() });
    }
    let names: Vec<&str> = places.iter().map(|place| place.header).collect();
    Err(Refusal::SignatureMissing { place: names.join(" or ") })
}

fn one<'a>(headers: &Headers<'a>, name: &str) -> Result<Option<&'a [u8]>, Refusal> {
    headers.one(name).map_err(|_| Refusal::HeaderDuplicated { header: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;
    const BODY: &[u8] = b"{}";

    fn hexmac(key: &str, signed: &str) -> String {
        let mut mac = Mac::new(crate::Algorithm::Sha256, key.as_bytes());
        mac.update(signed.as_bytes());
        crate::Encoding::Hex.encode(&mac.finish())
    }

    fn outcome(document: &str, fields: &[(&str, &str)], now: i64) -> Result<usize, &'static str> {
        let source = Source::from_secret(document.as_bytes()).expect(document);
        let headers = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let request = Request { method: "POST", url: None, query: "", headers, body: BODY };
        verify(&source, &request, now).map(|verified| verified.secret_index()).map_err(|refusal| refusal.code())
    }

    #[test]
    fn a_stripe_header_is_read_as_a_list() {
        let good = hexmac("k", "1790000000.{}");
        let old = hexmac("old", "1790000000.{}");
        let zeros = "0".repeat(64);
        for (header, expected) in [
            (format!("t=1790000000,v1={good}"), Ok(0)),
            (format!("t=1790000000,v1={old}"), Ok(1)),
            (format!("v1={good},t=1790000000"), Ok(0)),
            (format!("t=1790000000,v1={zeros},v1={good},v0=x,foo=bar"), Ok(0)),
            (format!("t=1790000000,v1=short,v1={good}"), Ok(0)),
            (format!("t=1790000000,v1={good},t=1790000000,v1={zeros}"), Ok(0)),
            (format!("t=1790000000,v1={zeros}"), Err("SIGNATURE_MISMATCH")),
            (format!("t=1790000001,v1={good}"), Err("SIGNATURE_MISMATCH")),
            (format!("t=1790000000,t=1790000001,v1={good}"), Err("TIMESTAMP_MALFORMED")),
            (format!("t=01790000000,v1={good}"), Err("TIMESTAMP_MALFORMED")),
            (format!("t=,v1={good}"), Err("TIMESTAMP_MALFORMED")),
            (format!("v1={good}"), Err("TIMESTAMP_MISSING")),
            (format!("t=1790000000,v0={good}"), Err("SIGNATURE_MISSING")),
            (format!("t=1790000000, v1={good}"), Err("SIGNATURE_MISSING")),
            ("t=1790000000".into(), Err("SIGNATURE_MISSING")),
            ("t=1790000000,v1=".into(), Err("SIGNATURE_MALFORMED")),
            ("nonsense".into(), Err("SIGNATURE_MALFORMED")),
            (String::new(), Err("SIGNATURE_MALFORMED")),
        ] {
            let document = r#"{"scheme":"stripe","secrets":["k","old"]}"#;
            assert_eq!(outcome(document, &[("Stripe-Signature", &header)], NOW), expected, "{header}");
        }
    }

    #[test]
    fn a_stale_timestamp_is_refused_only_after_a_good_signature() {
        let document = r#"{"scheme":"stripe","secrets":["k"]}"#;
        let good = format!("t=1790000000,v1={}", hexmac("k", "1790000000.{}"));
        let forged = format!("t=1790000000,v1={}", hexmac("guess", "1790000000.{}"));
        assert_eq!(outcome(document, &[("stripe-signature", &good)], NOW + 300), Ok(0));
        assert_eq!(outcome(document, &[("stripe-signature", &good)], NOW + 301), Err("TIMESTAMP_STALE"));
        assert_eq!(outcome(document, &[("stripe-signature", &good)], NOW - 300), Ok(0));
        assert_eq!(outcome(document, &[("stripe-signature", &good)], NOW - 301), Err("TIMESTAMP_AHEAD"));
        assert_eq!(outcome(document, &[("stripe-signature", &forged)], NOW + 301), Err("SIGNATURE_MISMATCH"));
        let wide = r#"{"scheme":"stripe","secrets":["k"],"tolerance_s":600}"#;
        assert_eq!(outcome(wide, &[("stripe-signature", &good)], NOW + 600), Ok(0));
        assert_eq!(outcome(wide, &[("stripe-signature", &good)], NOW + 601), Err("TIMESTAMP_STALE"));
    }

    #[test]
    fn a_repeated_header_is_refused_whichever_holds_the_good_value() {
        let document = r#"{"scheme":"byterover","secrets":["k"]}"#;
        let good = hexmac("k", "{}");
        let bad = "0".repeat(64);
        let name = "x-byterover-signature";
        assert_eq!(outcome(document, &[(name, &good)], NOW), Ok(0));
        for pair in [[&good, &bad], [&bad, &good], [&good, &good]] {
            assert_eq!(
                outcome(document, &[(name, pair[0]), ("X-ByteRover-Signature", pair[1])], NOW),
                Err("HEADER_DUPLICATED")
            );
            assert_eq!(
                outcome(document, &[(name, &format!("{}, {}", pair[0], pair[1]))], NOW),
                Err("SIGNATURE_MALFORMED")
            );
        }
    }

    #[test]
    fn an_id_of_one_family_of_headers_does_not_stand_beside_the_signature_of_another() {
        let document = r#"{"scheme":"svix","secrets":["whsec_a2V5"]}"#;
        let mut mac = Mac::new(crate::Algorithm::Sha256, b"key");
        mac.update(b"id-1.1790000000.{}");
        let signature = format!("v1,{}", crate::Encoding::Base64.encode(&mac.finish()));
        let good =
            [("webhook-id", "id-1"), ("webhook-timestamp", "1790000000"), ("webhook-signature", signature.as_str())];
        assert_eq!(outcome(document, &good, NOW), Ok(0));
        let renamed = [good.as_slice(), &[("svix-id", "id-2")]].concat();
        assert_eq!(outcome(document, &renamed, NOW), Err("SIGNATURE_MISSING"));
    }

    #[test]
    fn a_prefix_is_needed_unless_the_row_says_otherwise() {
        let bare = hexmac("k", "{}");
        let prefixed = format!("sha256={bare}");
        for (document, header, value, expected) in [
            (r#"{"scheme":"github","secrets":["k"]}"#, "x-hub-signature-256", &prefixed, Ok(0)),
            (r#"{"scheme":"github","secrets":["k"]}"#, "x-hub-signature-256", &bare, Err("SIGNATURE_MALFORMED")),
            (r#"{"scheme":"openclaw","secrets":["k"]}"#, "x-openclaw-signature", &bare, Ok(0)),
            (r#"{"scheme":"openclaw","secrets":["k"]}"#, "x-openclaw-signature", &prefixed, Ok(0)),
            (
                r#"{"scheme":"byterover","secrets":["k"]}"#,
                "x-byterover-signature",
                &prefixed,
                Err("SIGNATURE_MALFORMED"),
            ),
        ] {
            assert_eq!(outcome(document, &[(header, value)], NOW), expected, "{document} {value}");
        }
    }

    #[test]
    fn a_configured_scheme_signs_what_its_template_says() {
        let document = r#"{"scheme":"hmac","secrets":["k"],"hmac":{"header":"X-Sig","prefix":"sha256=","delivery_header":"X-Id",
            "signed":"{method} {id}:{timestamp}:{body}","timestamp_header":"X-Ts","timestamp_unit":"ms","tolerance_s":5}}"#;
        let signature = format!("sha256={}", hexmac("k", "POST d1:1790000000123:{}"));
        let good = [("X-Sig", signature.as_str()), ("X-Ts", "1790000000123"), ("X-Id", "d1")];
        assert_eq!(outcome(document, &good, NOW), Ok(0));
        assert_eq!(outcome(document, &good, NOW + 6), Err("TIMESTAMP_STALE"));
        for (without, code) in [(0, "SIGNATURE_MISSING"), (1, "TIMESTAMP_MISSING"), (2, "DELIVERY_ID_MISSING")] {
            let mut fields = good.to_vec();
            fields.remove(without);
            assert_eq!(outcome(document, &fields, NOW), Err(code));
            let mut fields = good.to_vec();
            fields.push(good[without]);
            assert_eq!(outcome(document, &fields, NOW), Err("HEADER_DUPLICATED"));
        }
        assert_eq!(outcome(document, &[good[0], good[1], ("X-Id", "d2")], NOW), Err("SIGNATURE_MISMATCH"));
        assert_eq!(outcome(document, &[good[0], ("X-Ts", "1790000000"), good[2]], NOW), Err("TIMESTAMP_MALFORMED"));
    }

    #[test]
    fn a_scheme_that_signs_the_url_needs_to_know_it() {
        let document = r#"{"scheme":"hmac","secrets":["k"],"hmac":{"header":"X-Sig","signed":"{url}{body}"}}"#;
        let source = Source::from_secret(document.as_bytes()).expect("a source");
        let signature = hexmac("k", "https://h.example/hooks/a?b=c{}");
        let headers: Headers<'_> = [("x-sig", signature.as_bytes())].into_iter().collect();
        let mut request = Request { method: "POST", url: None, query: "", headers, body: BODY };
        assert_eq!(verify(&source, &request, NOW).map(|v| v.secret_index()), Err(Refusal::UrlUnknown));
        request.url = Some("https://h.example/hooks/a?b=c");
        assert_eq!(verify(&source, &request, NOW).map(|v| v.body()), Ok(BODY));
        request.url = Some("https://h.example/hooks/a");
        assert!(verify(&source, &request, NOW).is_err());
    }

    #[test]
    fn the_first_place_of_a_token_decides() {
        let document = r#"{"scheme":"openclaw-token","secrets":["new","old"]}"#;
        for (fields, expected) in [
            (&[("Authorization", "Bearer old")][..], Ok(1)),
            (&[("authorization", "bearer new")], Ok(0)),
            (&[("x-openclaw-token", "new")], Ok(0)),
            (&[("x-openclaw-token", "bad"), ("authorization", "Bearer new")], Err("SIGNATURE_MISMATCH")),
            (&[("authorization", "Bearer new"), ("Authorization", "Bearer new")], Err("HEADER_DUPLICATED")),
            (&[("authorization", "Bearer  new")], Err("SIGNATURE_MISMATCH")),
            (&[("authorization", "new")], Err("SIGNATURE_MALFORMED")),
            (&[("authorization", "Basic bmV3")], Err("SIGNATURE_MALFORMED")),
            (&[("authorization", "Bearer ")], Err("SIGNATURE_MISSING")),
            (&[], Err("SIGNATURE_MISSING")),
        ] {
            assert_eq!(outcome(document, fields, NOW), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_refusal_does_not_show_what_was_expected() {
        let source = Source::from_secret(br#"{"scheme":"github","secrets":["k"]}"#).expect("a source");
        let wrong = format!("sha256={}", "0".repeat(64));
        let headers = [("X-Hub-Signature-256", wrong.as_bytes())].into_iter().collect();
        let request = Request { method: "POST", url: None, query: "", headers, body: BODY };
        let refusal = verify(&source, &request, NOW).expect_err("a wrong signature");
        assert!(refusal.another_secret_may_match());
        let shown = format!("{refusal} {refusal:?}");
        assert!(!shown.contains(&hexmac("k", "{}")) && !shown.contains(&wrong), "{shown}");
    }
}
