//! Bytes made small for messages and tables, and back.
//!
//! Bodies, inputs and results are stored compressed (raw DEFLATE, RFC 1951) where that makes them smaller, and as they are where not.
//! Unpacking is bounded: what claims to be larger than the caller expects is an error, not an allocation.

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};

/// How bytes are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As they are.
    Plain,
    /// Raw DEFLATE.
    Deflate,
}

impl Encoding {
    /// The word for it in a table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Encoding::Plain => "plain",
            Encoding::Deflate => "deflate",
        }
    }

    /// From the word for it.
    #[must_use]
    pub fn parse(word: &str) -> Option<Encoding> {
        match word {
            "plain" => Some(Encoding::Plain),
            "deflate" => Some(Encoding::Deflate),
            _ => None,
        }
    }
}

/// Packed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// How `bytes` are written.
    pub encoding: Encoding,
    /// The bytes to store.
    pub bytes: Vec<u8>,
}

/// Why bytes could not be unpacked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// Larger than the caller said it may be.
    #[error("the unpacked bytes exceed {max} bytes")]
    TooLarge {
        /// The bound, bytes.
        max: usize,
    },
    /// Not what the encoding says.
    #[error("the packed bytes are damaged")]
    Damaged,
}

/// Below this size compression saves nothing worth its time.
const WORTH_TRYING: usize = 512;

impl Packed {
    /// Packs `bytes`.
    #[must_use]
    pub fn pack(bytes: &[u8]) -> Packed {
        if bytes.len() >= WORTH_TRYING
            && let Some(small) = deflate(bytes)
            && small.len() < bytes.len()
        {
            return Packed { encoding: Encoding::Deflate, bytes: small };
        }
        Packed { encoding: Encoding::Plain, bytes: bytes.to_vec() }
    }

    /// The original bytes, at most `max` of them.
    ///
    /// # Errors
    /// [`UnpackError::TooLarge`] and [`UnpackError::Damaged`].
    pub fn unpack(&self, max: usize) -> Result<Vec<u8>, UnpackError> {
        match self.encoding {
            Encoding::Plain if self.bytes.len() > max => Err(UnpackError::TooLarge { max }),
            Encoding::Plain => Ok(self.bytes.clone()),
            Encoding::Deflate => {
                let mut out = Vec::with_capacity(self.bytes.len().saturating_mul(3).min(max));
                let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
                DeflateDecoder::new(&self.bytes[..])
                    .take(limit)
                    .read_to_end(&mut out)
                    .map_err(|_| UnpackError::Damaged)?;
                if out.len() > max { Err(UnpackError::TooLarge { max }) } else { Ok(out) }
            }
        }
    }
}

fn deflate(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_made_smaller_and_noise_is_left_alone() {
        let text = "amount ".repeat(1000);
        assert_eq!(Packed::pack(text.as_bytes()).encoding, Encoding::Deflate);
        assert!(Packed::pack(text.as_bytes()).bytes.len() < 200);
        assert_eq!(Packed::pack(b"short").encoding, Encoding::Plain);
    }

    #[test]
    fn what_unpacks_to_more_than_was_expected_is_refused() {
        let bomb = Packed::pack(&vec![0; 10_000_000]);
        assert!(bomb.bytes.len() < 100_000);
        assert_eq!(bomb.unpack(1_000_000), Err(UnpackError::TooLarge { max: 1_000_000 }));
        assert_eq!(Packed::pack(b"abc").unpack(2), Err(UnpackError::TooLarge { max: 2 }));
    }

    #[test]
    fn damaged_bytes_are_reported() {
        let packed = Packed { encoding: Encoding::Deflate, bytes: vec![0xff; 40] };
        assert_eq!(packed.unpack(1000), Err(UnpackError::Damaged));
    }

    proptest! {
        #[test]
        fn unpacking_gives_back_what_was_packed(bytes in proptest::collection::vec(any::<u8>(), 0..5000), fold in 1u8..) {
            let bytes: Vec<u8> = bytes.into_iter().map(|byte| byte % fold).collect();
            prop_assert_eq!(Packed::pack(&bytes).unpack(bytes.len()), Ok(bytes));
        }
    }
}
