//! Certificates (X.509, RFC 5280) that a provider publishes at an https address of its own.
//!
//! Who made the certificate is not checked: the trust is in the address, which follows the provider's rule and is asked over TLS, or in the
//! operator who pinned it. Such certificates are also not reliably chained to a public root. What is read is the key and the dates.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_cert::Certificate as X509;
use x509_cert::der::asn1::UintRef;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode as _, Reader as _, SliceReader};

use super::Asked;
use super::rsa::Key;
use crate::refusal::Refusal;

/// rsaEncryption, RFC 8017 appendix A.1.
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The largest document that is looked at, in bytes. A certificate with its chain has some 6000.
const MAX_BYTES: usize = 64 * 1024;

#[derive(Debug)]
struct Certificate {
    key: Key,
    /// Unix seconds.
    not_before: u64,
    not_after: u64,
}

/// The key of the certificate at hand. `place` is where the request names it.
pub(super) fn key(asked: &Asked<'_>, place: &str) -> Result<Key, Refusal> {
    let document = asked.key.ok_or_else(|| Refusal::KeyUnknown { place: place.to_owned() })?;
    let certificate = read(document)?;
    let invalid = |problem| Err(Refusal::KeyInvalid { problem });
    // How long a pinned certificate is good for is the operator's decision.
    if asked.source.options().keys.is_none() {
        let now = u64::try_from(asked.now_unix_seconds).unwrap_or(0);
        if now < certificate.not_before {
            return invalid("the certificate is not valid yet; compare its dates with this machine's clock");
        }
        if now > certificate.not_after {
            return invalid("the certificate has expired; the provider should have replaced it");
        }
    }
    Ok(certificate.key)
}

/// Refuses a pinned certificate that could verify nothing.
pub(super) fn check_pinned(keys: Option<&str>) -> Result<(), (&'static str, String)> {
    match keys.map(|keys| read(keys.as_bytes())) {
        Some(Err(problem)) => Err(("keys", format!("is not a PEM certificate with an RSA key: {problem}"))),
        Some(Ok(_)) | None => Ok(()),
    }
}

/// Reads the first certificate of a PEM document: where there are several, the others are its chain.
fn read(document: &[u8]) -> Result<Certificate, Refusal> {
    let invalid = |problem| Refusal::KeyInvalid { problem };
    if document.len() > MAX_BYTES {
        return Err(invalid("the document is larger than a certificate can be"));
    }
    let der = CertificateDer::pem_slice_iter(document)
        .next()
        .and_then(Result::ok)
        .ok_or_else(|| invalid("the document has no PEM block CERTIFICATE"))?;
    let certificate = X509::from_der(&der).map_err(|_| invalid("the PEM block is not an X.509 certificate"))?;
    let tbs = certificate.tbs_certificate();
    let spki = tbs.subject_public_key_info();
    if spki.algorithm.oid != RSA_ENCRYPTION {
        return Err(invalid("the certificate's key is not an RSA key"));
    }
    let (modulus, exponent) = spki
        .subject_public_key
        .as_bytes()
        .and_then(rsa_numbers)
        .ok_or_else(|| invalid("the certificate's RSA key is malformed"))?;
    let validity = tbs.validity();
    Ok(Certificate {
        key: Key::new(modulus, exponent)?,
        not_before: validity.not_before.to_unix_duration().as_secs(),
        not_after: validity.not_after.to_unix_duration().as_secs(),
    })
}

/// `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }`, RFC 8017 appendix A.1.1.
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(der).ok()?;
    let numbers = reader
        .sequence(|reader| Ok::<_, x509_cert::der::Error>((UintRef::decode(reader)?, UintRef::decode(reader)?)))
        .ok()?;
    reader.is_finished().then(|| (numbers.0.as_bytes(), numbers.1.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::testdata::CERTIFICATE;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    #[test]
    fn a_certificate_is_read_with_its_dates() {
        let certificate = read(CERTIFICATE.as_bytes()).expect("a certificate");
        assert_eq!((certificate.not_before, certificate.not_after), (1_577_836_800, 2_524_608_000));
        let chain = format!("subject=provider\n{CERTIFICATE}\n{CERTIFICATE}");
        assert_eq!(read(chain.as_bytes()).expect("a chain").key, certificate.key);
    }

    #[test]
    fn what_is_not_an_rsa_certificate_says_so() {
        let key_block = "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n";
        let empty = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        for (document, words) in [
            ("", "no PEM block"),
            ("{}", "no PEM block"),
            ("<html>Not found</html>", "no PEM block"),
            (key_block, "no PEM block"),
            (&CERTIFICATE[..CERTIFICATE.len() / 2], "no PEM block"),
            (empty, "not an X.509"),
            (include_str!("../../testdata/rsa-1024.pem"), "2048 bits"),
            (include_str!("../../testdata/p-256.pem"), "not an RSA key"),
            (&" ".repeat(MAX_BYTES + 1), "larger"),
        ] {
            let problem = read(document.as_bytes()).expect_err(words).to_string();
            assert!(problem.contains(words), "{problem}");
            let (option, problem) = check_pinned(Some(document)).expect_err(words);
            assert!(option == "keys" && problem.contains(words), "{problem}");
        }
        assert_eq!(check_pinned(Some(CERTIFICATE)), Ok(()));
        assert_eq!(check_pinned(None), Ok(()));
    }

    proptest! {
        #[test]
        fn no_document_panics(
            noise in vec(any::<u8>(), 0..200), at in any::<Index>(), change in any::<u8>(), length in any::<Index>(),
        ) {
            let _ = read(&noise);
            let mut pem = CERTIFICATE.as_bytes().to_vec();
            pem[at.index(CERTIFICATE.len())] = change;
            let _ = read(&pem);
            // Past the base64: changed DER.
            let mut der = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).expect("a certificate").to_vec();
            let place = at.index(der.len());
            der[place] = change;
            der.truncate(length.index(der.len()) + 1);
            let _ = X509::from_der(&der);
            let _ = rsa_numbers(&der);
            let _ = rsa_numbers(&noise);
        }
    }
}
