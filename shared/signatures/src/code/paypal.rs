//! PayPal: an RSA signature over transmission id, time, webhook id and the body's CRC-32, under a certificate whose address a header names.
//! <https://developer.paypal.com/api/rest/webhooks/rest/>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Asked;
use super::rsa::{Hash, by_certificate};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::verify::Wanted;

const ID: &str = "PAYPAL-TRANSMISSION-ID";
const TIME: &str = "PAYPAL-TRANSMISSION-TIME";
const SIGNATURE: &str = "PAYPAL-TRANSMISSION-SIG";
const CERTIFICATE: &str = "PAYPAL-CERT-URL";
const ALGORITHM: &str = "PAYPAL-AUTH-ALGO";

pub(super) fn wanted(request: &Request<'_>) -> Result<Wanted, Refusal> {
    certificate_address(one(request, CERTIFICATE)?).map(Wanted::at)
}

fn one<'a>(request: &Request<'a>, name: &str) -> Result<&'a [u8], Refusal> {
    let value = request.headers.one(name).map_err(|_| Refusal::HeaderDuplicated { header: name.to_owned() })?;
    value.filter(|value| !value.is_empty()).ok_or_else(|| Refusal::SignatureMissing { place: name.to_owned() })
}

fn certificate_address(url: &[u8]) -> Result<String, Refusal> {
    let good = |url: &str| {
        let (host, path) = url.strip_prefix("https://")?.split_once('/')?;
        let name = host.strip_suffix(".paypal.com")?;
        let host_good = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-');
        let id = path.strip_prefix("v1/notifications/certs/")?;
        let path_good = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (host_good && path_good).then(|| url.to_owned())
    };
    let forbidden = Refusal::KeyUrlForbidden {
        place: CERTIFICATE.into(),
        expected: "https://api.paypal.com/v1/notifications/certs/ID",
    };
    std::str::from_utf8(url).ok().and_then(good).ok_or(forbidden)
}

pub(super) fn verify(asked: &Asked<'_>) -> Result<usize, Refusal> {
    let (id, time) = (one(asked.request, ID)?, one(asked.request, TIME)?);
    let signature = one(asked.request, SIGNATURE)?;
    if one(asked.request, ALGORITHM)? != b"SHA256withRSA" {
        return Err(Refusal::VersionUnsupported { place: ALGORITHM.into(), accepted: "SHA256withRSA" });
    }
    certificate_address(one(asked.request, CERTIFICATE)?)?;
    let signature = STANDARD
        .decode(signature)
        .map_err(|_| Refusal::SignatureMalformed { header: SIGNATURE.into(), expected: "padded base64".into() })?;
    let key = asked.key.ok_or_else(|| Refusal::KeyUnknown { place: CERTIFICATE.into() })?;
    let checksum = crc32fast::hash(asked.request.body).to_string();
    for (index, webhook) in asked.source.keys().enumerate() {
        let signed = [id, time, webhook, checksum.as_bytes()].join(&b'|');
        if by_certificate(key, Hash::Sha256, &signed, &signature)? {
            return Ok(index);
        }
    }
    Err(Refusal::SignatureMismatch { secrets: asked.source.secret_count() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paypals_own_certificates_are_fetched() {
        for url in [
            "https://api.paypal.com/v1/notifications/certs/CERT-1a",
            "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1a",
        ] {
            assert_eq!(certificate_address(url.as_bytes()).as_deref(), Ok(url));
        }
        for url in [
            "http://api.paypal.com/v1/notifications/certs/CERT-1a",
            "https://paypal.com.evil.example/v1/notifications/certs/CERT-1a",
            "https://evilpaypal.com/v1/notifications/certs/CERT-1a",
            "https://api.paypal.com:444/v1/notifications/certs/CERT-1a",
            "https://a@api.paypal.com/v1/notifications/certs/CERT-1a",
            "https://api.paypal.com/other/CERT-1a",
            "https://api.paypal.com/v1/notifications/certs/../x",
            "\u{e9}",
        ] {
            assert!(certificate_address(url.as_bytes()).is_err(), "{url}");
        }
    }
}
