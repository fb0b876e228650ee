//! PayPal (<https://developer.paypal.com/api/rest/webhooks/rest/>): an RSA signature over the delivery's id, its time, the webhook's id and a
//! CRC-32 of the body, with a certificate from an address that a header names.
//!
//! A CRC-32 is no hash: whoever has a delivery with its headers can make another body with the same sum, and it verifies. Deliveries come over
//! TLS, so that is PayPal, this bridge, and what terminates TLS in between. It is how PayPal signs; nothing here can make it stronger.
//!
//! PayPal documents no window for the time, so there is none; a replayed delivery has the id of the first.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::address::Address;
use super::rsa::Hash;
use super::{Asked, certificate};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::source::Options;
use crate::verify::Wanted;

const ID: &str = "PayPal-Transmission-Id";
const TIME: &str = "PayPal-Transmission-Time";
const SIGNATURE: &str = "PayPal-Transmission-Sig";
const CERTIFICATE: &str = "PayPal-Cert-Url";
const ALGORITHM: &str = "PayPal-Auth-Algo";

/// The headers of a delivery.
struct Transmission<'a> {
    id: &'a str,
    time: &'a str,
    signature: Vec<u8>,
    certificate: &'a str,
}

impl<'a> Transmission<'a> {
    fn read(request: &Request<'a>) -> Result<Self, Refusal> {
        let header = |name: &str| {
            let value = request.headers.one(name).map_err(|_| Refusal::HeaderDuplicated { header: name.to_owned() });
            // The bar separates what is signed, so no part can have one.
            let plain = |value: &&[u8]| value.iter().all(|b| b.is_ascii_graphic() && *b != b'|') && value.len() <= 2048;
            Ok(value?.filter(plain).and_then(|value| std::str::from_utf8(value).ok()).filter(|value| !value.is_empty()))
        };
        let signature = header(SIGNATURE)?.ok_or_else(|| Refusal::SignatureMissing { place: SIGNATURE.into() })?;
        let signature = STANDARD.decode(signature).map_err(|_| Refusal::SignatureMalformed {
            header: SIGNATURE.into(),
            expected: "an RSA signature in base64".into(),
        })?;
        let id = header(ID)?.ok_or_else(|| Refusal::DeliveryIdMissing { header: ID.into() })?;
        let time = header(TIME)?.ok_or_else(|| Refusal::TimestampMissing { place: TIME.into() })?;
        if !header(ALGORITHM)?.is_some_and(|name| name.eq_ignore_ascii_case("SHA256withRSA")) {
            return Err(Refusal::VersionUnsupported { place: ALGORITHM.into(), accepted: "SHA256withRSA" });
        }
        let certificate =
            header(CERTIFICATE)?.filter(|url| is_certificate_address(url)).ok_or_else(|| Refusal::KeyUrlForbidden {
                place: CERTIFICATE.into(),
                expected: "https://api.paypal.com/v1/notifications/certs/NAME",
            })?;
        Ok(Self { id, time, signature, certificate })
    }
}

/// A certificate of `paypal.com` or a subdomain, in the folder that is for those of notifications.
fn is_certificate_address(url: &str) -> bool {
    Address::parse(url).is_some_and(|address| {
        let subdomain = address.host.strip_suffix(".paypal.com").unwrap_or_default();
        !subdomain.is_empty()
            && subdomain.split('.').all(|label| !label.is_empty())
            && address.file_in("/v1/notifications/certs/").is_some()
    })
}

pub(super) fn wanted(request: &Request<'_>) -> Result<Wanted, Refusal> {
    Ok(Wanted::at(Transmission::read(request)?.certificate.to_owned()))
}

pub(super) fn verify(asked: &Asked<'_>) -> Result<usize, Refusal> {
    let transmission = Transmission::read(asked.request)?;
    let key = certificate::key(asked, CERTIFICATE)?;
    let sum = crc32fast::hash(asked.request.body);
    let signed_for = |webhook: &str| {
        let signed = format!("{}|{}|{webhook}|{sum}", transmission.id, transmission.time);
        key.signed(Hash::Sha256, signed.as_bytes(), &transmission.signature)
    };
    asked
        .source
        .secrets()
        .position(signed_for)
        .ok_or_else(|| Refusal::SignatureMismatch { secrets: asked.source.secret_count() })
}

/// A secret of such a source is the id of a webhook.
pub(super) fn webhook(text: &str) -> Result<Vec<u8>, &'static str> {
    // The simulator of the dashboard signs for the id WEBHOOK_ID, whoever asks it to.
    if text.is_empty() || text.len() > 50 || !text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(
            "is not a webhook's id: at most 50 letters and digits, as the developer dashboard shows it beside the webhook",
        );
    }
    Ok(text.as_bytes().to_vec())
}

pub(super) fn check_options(options: &Options) -> Result<(), (&'static str, String)> {
    certificate::check_pinned(options.keys.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;
    use crate::code::testdata::{CERTIFICATE as PEM, sign};
    use crate::verify::{verify_with, wanted};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    const NOW: i64 = 1_790_000_000;
    const CERT_URL: &str = "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-ab66f33d";
    const BODY: &[u8] = br#"{"id":"WH-1","event_type":"PAYMENT.CAPTURE.COMPLETED"}"#;

    type Fields = Vec<(&'static str, String)>;

    fn fields(webhook: &str, body: &[u8]) -> Fields {
        let (id, time) = ("db49fb10-1343-11ef-ac58-e32457403f67", "2026-09-21T14:13:20Z");
        let signed = format!("{id}|{time}|{webhook}|{}", crc32fast::hash(body));
        vec![
            ("PAYPAL-TRANSMISSION-ID", id.to_owned()),
            ("PAYPAL-TRANSMISSION-TIME", time.to_owned()),
            ("PAYPAL-TRANSMISSION-SIG", STANDARD.encode(sign(signed.as_bytes()))),
            ("PAYPAL-CERT-URL", CERT_URL.to_owned()),
            ("PAYPAL-AUTH-ALGO", "SHA256withRSA".to_owned()),
        ]
    }

    fn source() -> Source {
        Source::from_secret(br#"{"scheme":"paypal","secrets":["8PT597110X687430L","0NH55953DH663215D"]}"#)
            .expect("a source")
    }

    fn request<'a>(fields: &'a Fields, body: &'a [u8]) -> Request<'a> {
        let headers = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        Request { method: "POST", url: None, query: "", headers, body }
    }

    fn outcome(fields: &Fields, body: &[u8]) -> Result<usize, &'static str> {
        verify_with(&source(), &request(fields, body), Some(PEM.as_bytes()), NOW)
            .map(|verified| verified.secret_index())
            .map_err(|refusal| refusal.code())
    }

    fn changed(name: &str, value: Option<&str>) -> Fields {
        let mut fields = fields("0NH55953DH663215D", BODY);
        fields.retain(|(field, _)| *field != name || value.is_some());
        for (_, old) in fields.iter_mut().filter(|(field, _)| *field == name) {
            *old = value.unwrap_or_default().to_owned();
        }
        fields
    }

    #[test]
    fn every_webhook_of_the_source_is_tried() {
        assert_eq!(outcome(&fields("8PT597110X687430L", BODY), BODY), Ok(0));
        assert_eq!(outcome(&fields("0NH55953DH663215D", BODY), BODY), Ok(1));
        assert_eq!(outcome(&fields("5GP028458E2496506", BODY), BODY), Err("SIGNATURE_MISMATCH"));
        assert_eq!(outcome(&fields("", BODY), BODY), Err("SIGNATURE_MISMATCH"));
        assert_eq!(outcome(&fields("0NH55953DH663215D", b""), b""), Ok(1));
    }

    #[test]
    fn a_header_that_is_missing_or_changed_is_refused() {
        for (name, value, expected) in [
            ("PAYPAL-TRANSMISSION-ID", None, "DELIVERY_ID_MISSING"),
            ("PAYPAL-TRANSMISSION-ID", Some(""), "DELIVERY_ID_MISSING"),
            ("PAYPAL-TRANSMISSION-ID", Some("a|b"), "DELIVERY_ID_MISSING"),
            ("PAYPAL-TRANSMISSION-ID", Some("db49fb10-1343-11ef-ac58-e32457403f68"), "SIGNATURE_MISMATCH"),
            ("PAYPAL-TRANSMISSION-TIME", None, "TIMESTAMP_MISSING"),
            ("PAYPAL-TRANSMISSION-TIME", Some("2026-09-21T14:13:21Z"), "SIGNATURE_MISMATCH"),
            ("PAYPAL-TRANSMISSION-SIG", None, "SIGNATURE_MISSING"),
            ("PAYPAL-TRANSMISSION-SIG", Some("!"), "SIGNATURE_MALFORMED"),
            ("PAYPAL-TRANSMISSION-SIG", Some("AAAA"), "SIGNATURE_MISMATCH"),
            ("PAYPAL-AUTH-ALGO", None, "VERSION_UNSUPPORTED"),
            ("PAYPAL-AUTH-ALGO", Some("SHA1withRSA"), "VERSION_UNSUPPORTED"),
            ("PAYPAL-CERT-URL", None, "KEY_URL_FORBIDDEN"),
        ] {
            assert_eq!(outcome(&changed(name, value), BODY), Err(expected), "{name} {value:?}");
        }
        let mut twice = fields("0NH55953DH663215D", BODY);
        twice.push(("paypal-transmission-time", "2026-09-21T14:13:20Z".into()));
        assert_eq!(outcome(&twice, BODY), Err("HEADER_DUPLICATED"));
    }

    #[test]
    fn a_certificate_comes_from_paypal_or_not_at_all() {
        let asked = |url: &str| {
            let fields = changed("PAYPAL-CERT-URL", Some(url));
            wanted(&source(), &request(&fields, BODY)).map(|wanted| wanted.map(|wanted| wanted.url().to_owned()))
        };
        for url in [
            CERT_URL,
            "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-1d93a270",
            "https://api-m.sandbox.paypal.com/v1/notifications/certs/A",
        ] {
            assert_eq!(asked(url), Ok(Some(url.to_owned())));
        }
        for url in [
            "http://api.paypal.com/v1/notifications/certs/A",
            "https://api.paypal.com:444/v1/notifications/certs/A",
            "https://api.paypal.com@evil.example/v1/notifications/certs/A",
            "https://evil.example/v1/notifications/certs/A",
            "https://evilpaypal.com/v1/notifications/certs/A",
            "https://.paypal.com/v1/notifications/certs/A",
            "https://a..paypal.com/v1/notifications/certs/A",
            "https://api.paypal.com.evil.example/v1/notifications/certs/A",
            "https://api.paypal.com/v1/notifications/certs/",
            "https://api.paypal.com/v1/notifications/certs/../../x",
            "https://api.paypal.com/v1/notifications/certs/A?x",
            "https://api.paypal.com/A",
        ] {
            assert_eq!(asked(url).map_err(|refusal| refusal.code()), Err("KEY_URL_FORBIDDEN"), "{url}");
        }
    }

    #[test]
    fn a_secret_is_a_webhooks_id() {
        assert!(webhook("0NH55953DH663215D").is_ok());
        for bad in ["", "WEBHOOK_ID", "a|b", "https://hooks.example/paypal", &"a".repeat(51)] {
            assert!(webhook(bad).expect_err(bad).contains("dashboard"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_bit_of_the_body_is_refused(body in vec(any::<u8>(), 1..100), at in any::<Index>(), bit in 0..8_u32) {
            let fields = fields("0NH55953DH663215D", &body);
            let mut changed = body.clone();
            changed[at.index(body.len())] ^= 1 << bit;
            prop_assert_eq!(outcome(&fields, &changed), Err("SIGNATURE_MISMATCH"));
        }

        #[test]
        fn a_changed_bit_of_a_signed_header_is_refused(header in 0..3_usize, at in any::<Index>(), bit in 0..8_u32) {
            let fields = fields("0NH55953DH663215D", BODY);
            let mut values: Vec<(&str, Vec<u8>)> =
                fields.iter().map(|(name, value)| (*name, value.clone().into_bytes())).collect();
            let value = &mut values[header].1;
            let at = at.index(value.len());
            value[at] ^= 1 << bit;
            let headers = values.iter().map(|(name, value)| (*name, value.as_slice())).collect();
            let request = Request { method: "POST", url: None, query: "", headers, body: BODY };
            prop_assert!(verify_with(&source(), &request, Some(PEM.as_bytes()), NOW).is_err());
        }

        #[test]
        fn no_header_panics(values in vec(vec(any::<u8>(), 0..60), 5)) {
            let names = ["PAYPAL-TRANSMISSION-ID", "PAYPAL-TRANSMISSION-TIME", "PAYPAL-TRANSMISSION-SIG", "PAYPAL-CERT-URL", "PAYPAL-AUTH-ALGO"];
            let headers = names.into_iter().zip(values.iter().map(Vec::as_slice)).collect();
            let request = Request { method: "POST", url: None, query: "", headers, body: BODY };
            prop_assert!(verify_with(&source(), &request, Some(PEM.as_bytes()), NOW).is_err());
        }
    }
}
