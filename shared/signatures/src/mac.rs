//! Message authentication codes: HMAC fed in pieces, and the text that signatures are written in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};
use subtle::ConstantTimeEq as _;

use crate::options::names;

names! {
    /// The hash under the HMAC (RFC 2104).
    Algorithm, "algorithm" {
        /// HMAC-SHA1, 20 bytes: what some providers still sign with (RFC 6151 section 2 on HMAC over weak hashes: sound as a MAC).
        Sha1 = "sha1",
        /// HMAC-SHA256, 32 bytes.
        Sha256 = "sha256",
        /// HMAC-SHA512, 64 bytes.
        Sha512 = "sha512",
    }
}

names! {
    /// How a signature is written in its header.
    Encoding, "encoding" {
        /// Hexadecimal digits in either case.
        Hex = "hex",
        /// The standard alphabet of RFC 4648 section 4, padded, canonical.
        Base64 = "base64",
    }
}

impl Algorithm {
    /// Length of the MAC in bytes.
    pub(crate) const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// A MAC, computed or received. It is compared by [`Tag::same`] only.
#[derive(Clone, Copy)]
pub(crate) struct Tag {
    bytes: [u8; 64],
    len: usize,
}

impl Tag {
    fn new(bytes: &[u8]) -> Option<Self> {
        let mut tag = Self { bytes: [0; 64], len: bytes.len() };
        tag.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(tag)
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Equal, in a time that does not depend on where they differ.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.as_slice().ct_eq(other.as_slice()).into()
    }
}

impl Encoding {
    /// The tag that `text` stands for: the whole text, of exactly the length that the algorithm has, in its one canonical spelling
    /// (hexadecimal: in either case).
    pub(crate) fn decode(self, text: &[u8], algorithm: Algorithm) -> Option<Tag> {
        let len = algorithm.len();
        let mut bytes = [0; 96];
        match self {
            // Refuses any other length than twice that of the slice.
            Self::Hex => hex::decode_to_slice(text, &mut bytes[..len]).ok()?,
            Self::Base64 => {
                if STANDARD.decode_slice(text, &mut bytes).ok()? != len {
                    return None;
                }
            }
        }
        Tag::new(&bytes[..len])
    }

    /// The bytes that `text` stands for, `max` at most.
    pub(crate) fn decode_up_to(self, text: &[u8], max: usize) -> Option<Vec<u8>> {
        if text.len() > max * 2 {
            return None;
        }
        let bytes = match self {
            Self::Hex => hex::decode(text).ok()?,
            Self::Base64 => STANDARD.decode(text).ok()?,
        };
        (bytes.len() <= max).then_some(bytes)
    }

    pub(crate) fn encode_bytes(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::Base64 => STANDARD.encode(bytes),
        }
    }

    pub(crate) fn encode(self, tag: &Tag) -> String {
        match self {
            Self::Hex => hex::encode(tag.as_slice()),
            Self::Base64 => STANDARD.encode(tag.as_slice()),
        }
    }

    /// What a signature should look like, for a message.
    pub(crate) fn expected(self, algorithm: Algorithm) -> &'static str {
        match (self, algorithm) {
            (Self::Hex, Algorithm::Sha1) => "40 hexadecimal digits",
            (Self::Base64, Algorithm::Sha1) => "20 bytes in padded base64",
            (Self::Hex, Algorithm::Sha256) => "64 hexadecimal digits",
            (Self::Hex, Algorithm::Sha512) => "128 hexadecimal digits",
            (Self::Base64, Algorithm::Sha256) => "32 bytes in padded base64",
            (Self::Base64, Algorithm::Sha512) => "64 bytes in padded base64",
        }
    }
}

/// An HMAC that is being fed.
pub(crate) enum Mac {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

impl Mac {
    pub(crate) fn new(algorithm: Algorithm, key: &[u8]) -> Self {
        const ANY_LENGTH: &str = "RFC 2104 section 2: a key of any length is padded or hashed to the block size";
        match algorithm {
            Algorithm::Sha1 => Self::Sha1(Hmac::new_from_slice(key).expect(ANY_LENGTH)),
            Algorithm::Sha256 => Self::Sha256(Hmac::new_from_slice(key).expect(ANY_LENGTH)),
            Algorithm::Sha512 => Self::Sha512(Hmac::new_from_slice(key).expect(ANY_LENGTH)),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(mac) => mac.update(bytes),
            Self::Sha256(mac) => mac.update(bytes),
            Self::Sha512(mac) => mac.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Tag {
        let mut tag = Tag { bytes: [0; 64], len: 0 };
        match self {
            Self::Sha1(mac) => {
                tag.len = Algorithm::Sha1.len();
                tag.bytes[..20].copy_from_slice(&mac.finalize().into_bytes());
            }
            Self::Sha256(mac) => {
                tag.len = Algorithm::Sha256.len();
                tag.bytes[..32].copy_from_slice(&mac.finalize().into_bytes());
            }
            Self::Sha512(mac) => {
                tag.len = Algorithm::Sha512.len();
                tag.bytes.copy_from_slice(&mac.finalize().into_bytes());
            }
        }
        tag
    }
}

/// Whether a received shared token is the expected one. Both are hashed first, so that the time does not tell the length either.
pub(crate) fn same_token(received: &[u8], expected: &[u8]) -> bool {
    Sha256::digest(received).ct_eq(&Sha256::digest(expected)).into()
}

/// `sha256:` and the hexadecimal SHA-256 of the bytes.
pub(crate) fn fingerprint(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(algorithm: Algorithm, key: &[u8], pieces: &[&[u8]]) -> String {
        let mut mac = Mac::new(algorithm, key);
        pieces.iter().for_each(|piece| mac.update(piece));
        Encoding::Hex.encode(&mac.finish())
    }

    #[test]
    fn the_mac_is_that_of_rfc_4231_and_the_pieces_do_not_matter() {
        let whole = mac(Algorithm::Sha256, b"Jefe", &[b"what do ya want for nothing?"]);
        assert_eq!(whole, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(mac(Algorithm::Sha256, b"Jefe", &[b"what do ya ", b"", b"want for nothing?"]), whole);
        let long = mac(Algorithm::Sha512, b"Jefe", &[b"what do ya want for nothing?"]);
        assert!(long.starts_with("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"));
    }

    #[test]
    fn only_the_canonical_spelling_decodes() {
        let base64 = "EyPIJiQL7HUUbkDCb9SA+HW3GjHf5zGmfjFxGDt9krU=";
        let hexadecimal = "1323c826240bec75146e40c26fd480f875b71a31dfe731a67e3171183b7d92b5";
        for (encoding, text, good) in [
            (Encoding::Base64, base64, true),
            (Encoding::Base64, "EyPIJiQL7HUUbkDCb9SA+HW3GjHf5zGmfjFxGDt9krU", false),
            (Encoding::Base64, "EyPIJiQL7HUUbkDCb9SA+HW3GjHf5zGmfjFxGDt9krU==", false),
            (Encoding::Base64, "EyPIJiQL7HUUbkDCb9SA+HW3GjHf5zGmfjFxGDt9krV=", false),
            (Encoding::Base64, "EyPIJiQL7HUUbkDCb9SA-HW3GjHf5zGmfjFxGDt9krU=", false),
            (Encoding::Base64, "EyPIJiQL7HUUbkDCb9SA+HW3GjHf5zGmfjFxGDt9kr==", false),
            (Encoding::Base64, hexadecimal, false),
            (Encoding::Hex, hexadecimal, true),
            (Encoding::Hex, &hexadecimal.to_uppercase(), true),
            (Encoding::Hex, &hexadecimal[..62], false),
            (Encoding::Hex, &hexadecimal.replace('c', "g"), false),
            (Encoding::Hex, base64, false),
            (Encoding::Hex, "", false),
        ] {
            assert_eq!(encoding.decode(text.as_bytes(), Algorithm::Sha256).is_some(), good, "{encoding} {text}");
        }
        assert!(Encoding::Hex.decode(hexadecimal.as_bytes(), Algorithm::Sha512).is_none());
    }

    #[test]
    fn tokens_of_another_length_differ() {
        assert!(same_token(b"tok", b"tok"));
        assert!(!same_token(b"to", b"tok"));
        assert!(!same_token(b"", b"tok"));
    }
}
