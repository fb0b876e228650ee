//! Signatures that a public key checks: Ed25519 and ECDSA over P-256, by ring, which the TLS stack brings along anyway.

use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

/// Which signature a row has instead of a MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// RFC 8032; 64 bytes.
    Ed25519,
    /// FIPS 186-5 with SHA-256; DER (RFC 3279 section 2.2.3).
    EcdsaP256,
}

/// What precedes the point in the SubjectPublicKeyInfo of a P-256 key (RFC 5480 section 2), and the mark of an uncompressed point.
const P256_SPKI: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";

impl PublicKey {
    /// Whether `signature` over `message` is good.
    pub(crate) fn verifies(self, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519 => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
            Self::EcdsaP256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(message, signature),
        }
        .is_ok()
    }

    /// What a signature should look like, for a message.
    pub(crate) const fn expected(self) -> &'static str {
        match self {
            Self::Ed25519 => "an Ed25519 signature of 64 bytes",
            Self::EcdsaP256 => "an ECDSA signature in DER",
        }
    }

    /// Whether a signature can have this many bytes.
    pub(crate) const fn has_len(self, len: usize) -> bool {
        match self {
            Self::Ed25519 => len == 64,
            // Two integers of at most 33 bytes with their headers.
            Self::EcdsaP256 => len >= 8 && len <= 72,
        }
    }
}

/// A public key that signatures can be checked with: 32 bytes that are no point of small order, for which a signature over anything can be
/// made by anybody (RFC 8032 section 5.1.7; <https://eprint.iacr.org/2020/1244>).
pub(crate) fn ed25519(key: &[u8]) -> Option<Vec<u8>> {
    // By y, with the sign bit cleared: 0, 1, -1, the two of order eight, and the spellings of 0 and 1 beyond the prime.
    const SMALL: [&str; 7] = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let mut unsigned: [u8; 32] = key.try_into().ok()?;
    unsigned[31] &= 0x7f;
    let text = hex::encode(unsigned);
    (!SMALL.contains(&text.as_str())).then(|| key.to_vec())
}

/// The point of a P-256 key in its SubjectPublicKeyInfo form.
pub(crate) fn p256(spki: &[u8]) -> Option<Vec<u8>> {
    let point = spki.strip_prefix(P256_SPKI)?;
    (point.len() == 64).then(|| [&[4], point].concat())
}

/// The pair that a 32-byte seed, or seed and public key together, makes.
pub(crate) fn pair(secret: &[u8]) -> Option<Ed25519KeyPair> {
    match secret.len() {
        32 => Ed25519KeyPair::from_seed_unchecked(secret).ok(),
        64 => Ed25519KeyPair::from_seed_and_public_key(&secret[..32], &secret[32..]).ok(),
        _ => None,
    }
}

/// The public half.
pub(crate) fn public_half(secret: &[u8]) -> Option<Vec<u8>> {
    Some(pair(secret)?.public_key().as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_of_the_pair_is_good_and_a_changed_one_is_not() {
        let pair = pair(&[7; 32]).expect("a seed");
        let key = ed25519(pair.public_key().as_ref()).expect("a key");
        let mut signature = pair.sign(b"message").as_ref().to_vec();
        assert!(PublicKey::Ed25519.verifies(&key, b"message", &signature));
        assert!(!PublicKey::Ed25519.verifies(&key, b"massage", &signature));
        signature[0] ^= 1;
        assert!(!PublicKey::Ed25519.verifies(&key, b"message", &signature));
        let whole = [&[7; 32], key.as_slice()].concat();
        assert_eq!(public_half(&whole), Some(key));
        assert_eq!(public_half(&[7; 31]), None);
    }

    #[test]
    fn keys_that_anybody_can_sign_for_are_none() {
        assert_eq!(ed25519(&[0; 32]), None);
        assert_eq!(ed25519(&[0; 31]), None);
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(ed25519(&identity), None);
        identity[31] = 0x80;
        assert_eq!(ed25519(&identity), None);
    }

    #[test]
    fn only_an_uncompressed_p256_point_is_a_key() {
        let good = [P256_SPKI, &[1; 64]].concat();
        assert_eq!(p256(&good).map(|point| point.len()), Some(65));
        assert_eq!(p256(&good[1..]), None);
        assert_eq!(p256(&good[..90]), None);
    }
}
