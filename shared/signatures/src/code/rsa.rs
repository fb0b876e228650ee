//! RSA signatures of the providers (PKCS #1 v1.5, RFC 8017 section 8.2).

use ring::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents,
};

use crate::refusal::Refusal;

/// The shortest modulus that is accepted, in bits: what NIST SP 800-131A asks for, and what every provider here uses.
const MIN_BITS: usize = 2048;
const MAX_BITS: usize = 8192;

/// The hash that is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    /// Only where the provider still signs with it. Collisions can be made, second preimages cannot: a sender who chooses what the provider
    /// signs could have two messages of its own under one signature, and nobody else's.
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

/// A public key of 2048 to 8192 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl Key {
    /// From big-endian numbers, with or without leading zeros.
    pub(super) fn new(modulus: &[u8], exponent: &[u8]) -> Result<Self, Refusal> {
        let bare = |number: &[u8]| number[number.iter().take_while(|byte| **byte == 0).count()..].to_vec();
        let (modulus, exponent) = (bare(modulus), bare(exponent));
        let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
        if !(MIN_BITS..=MAX_BITS).contains(&bits) {
            return Err(Refusal::KeyInvalid { problem: "it is an RSA key with less than 2048 bits or more than 8192" });
        }
        // ring's own limit on exponents is 33 bits.
        if exponent.is_empty() || exponent.len() > 5 {
            return Err(Refusal::KeyInvalid { problem: "its RSA exponent is out of range" });
        }
        Ok(Self { modulus, exponent })
    }

    /// Whether the signature over `message` is this key's.
    pub(super) fn signed(&self, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
        RsaPublicKeyComponents { n: &self.modulus, e: &self.exponent }
            .verify(hash.parameters(), message, signature)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn a_key_of_the_wrong_size_is_refused() {
        let modulus = |bits: usize| [vec![1_u8 << ((bits - 1) % 8)], vec![0xff; (bits - 1) / 8]].concat();
        for (bits, good) in [(8, false), (1024, false), (2047, false), (2048, true), (8192, true), (8193, false)] {
            assert_eq!(Key::new(&modulus(bits), &[1, 0, 1]).is_ok(), good, "{bits}");
            assert_eq!(Key::new(&[&[0, 0], &modulus(bits)[..]].concat(), &[0, 1, 0, 1]).is_ok(), good, "{bits}");
        }
        for exponent in [&[][..], &[0], &[1, 0, 0, 0, 0, 0]] {
            assert!(Key::new(&modulus(2048), exponent).is_err(), "{exponent:?}");
        }
        assert!(Key::new(&[], &[3]).is_err());
    }

    proptest! {
        #[test]
        fn no_key_panics_and_none_verifies_noise(
            modulus in vec(any::<u8>(), 250..260), exponent in vec(any::<u8>(), 0..6), signature in vec(any::<u8>(), 0..300),
        ) {
            if let Ok(key) = Key::new(&modulus, &exponent) {
                prop_assert!(!key.signed(Hash::Sha256, b"message", &signature));
                prop_assert!(!key.signed(Hash::Sha1, b"message", &signature));
            }
        }
    }
}
