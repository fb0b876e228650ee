//! RSA signatures (RFC 8017 section 8.2, PKCS #1 v1.5) under the key of a certificate or of a key set.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use serde::Deserialize;
use webpki::EndEntityCert;

use crate::refusal::Refusal;

/// The hash under the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    /// For senders that know no other (SNS, signature version 1).
    Sha1,
    Sha256,
}

impl Hash {
    const fn parameters(self) -> &'static RsaParameters {
        match self {
            Self::Sha1 => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
        }
    }
}

impl SignatureVerificationAlgorithm for Hash {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        UnparsedPublicKey::new(self.parameters(), key).verify(message, signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self {
            // RFC 8017 appendix A.2.4, sha1WithRSAEncryption.
            Self::Sha1 => AlgorithmIdentifier::from_slice(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05\x05\x00"),
            Self::Sha256 => alg_id::RSA_PKCS1_SHA256,
        }
    }
}

/// Whether the key of the PEM certificate made `signature` over `message`. That the certificate is the provider's follows from the address
/// that it came from, or from who pinned it: its chain is not looked at.
pub(super) fn by_certificate(pem: &[u8], hash: Hash, message: &[u8], signature: &[u8]) -> Result<bool, Refusal> {
    let invalid = |problem| Refusal::KeyInvalid { problem };
    let der = CertificateDer::from_pem_slice(pem).map_err(|_| invalid("it is not a certificate in PEM"))?;
    let certificate = EndEntityCert::try_from(&der).map_err(|_| invalid("it is not an X.509 certificate"))?;
    match certificate.verify_signature(&hash, message, signature) {
        Ok(()) => Ok(true),
        Err(webpki::Error::InvalidSignatureForPublicKey) => Ok(false),
        Err(_) => Err(invalid("it is not an RSA key of 2048 bits or more")),
    }
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Key>,
}

/// RFC 7517 section 4, as far as it is used.
#[derive(Deserialize)]
struct Key {
    kty: String,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

/// Whether the key called `kid` of a JSON Web Key Set made `signature` over `message` (RS256).
pub(super) fn by_key_set(set: &[u8], kid: &str, message: &[u8], signature: &[u8]) -> Result<bool, Refusal> {
    let invalid = |problem| Refusal::KeyInvalid { problem };
    let set: KeySet = serde_json::from_slice(set).map_err(|_| invalid("it is not a JSON Web Key Set"))?;
    let key = set.keys.iter().find(|key| key.kid.as_deref() == Some(kid) && key.kty == "RSA");
    let key = key.ok_or_else(|| Refusal::KeyUnknown { place: "kid in the token's header".into() })?;
    let number = |text: &Option<String>| text.as_ref().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let (Some(n), Some(e)) = (number(&key.n), number(&key.e)) else {
        return Err(invalid("a key of the set has no modulus or no exponent in base64url"));
    };
    let components = RsaPublicKeyComponents { n, e };
    Ok(components.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok())
}
