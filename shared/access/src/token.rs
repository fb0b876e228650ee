//! Tokens: `ocl_`, 256 random bits, a checksum.

use sha2::{Digest, Sha256};
use std::fmt;

/// What every token begins with, so that scanners of repositories and logs find it.
const PREFIX: &str = "ocl_";

/// Digits of the random part and of the checksum, hexadecimal.
const RANDOM_DIGITS: usize = 64;
const CHECK_DIGITS: usize = 8;

/// A token, for the one time that it is shown. Never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// What is kept of a token: SHA-256 of all of it, in hexadecimal.
///
/// A plain hash and no password hash: there are 256 random bits in it, so that nobody can try them out, and a slow hash would only make every
/// request slow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenHash(String);

/// What a request brought and could be a token: its form and its checksum are right. Whether there is such a token is for the table to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented(TokenHash);

/// Why what a request brought cannot be a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is no `Authorization` header.
    #[error("a token is missing; send it as `Authorization: Bearer ocl_…`")]
    Missing,
    /// The header is not `Bearer TOKEN`.
    #[error("the header Authorization is not `Bearer ocl_…`")]
    Header,
    /// The token's form or checksum is wrong: it was mistyped or cut.
    #[error("this is not a token of this bridge: it was cut or mistyped")]
    Malformed,
}

impl Token {
    /// Of 256 random bits.
    #[must_use]
    pub fn of(random: [u8; 32]) -> Token {
        let digits = hex::encode(random);
        Token(format!("{PREFIX}{digits}{}", checksum(&digits)))
    }

    /// The text that is shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ocl_…")
    }
}

impl TokenHash {
    fn of(token: &str) -> TokenHash {
        TokenHash(hex::encode(Sha256::digest(token.as_bytes())))
    }

    /// As a table has it.
    #[must_use]
    pub fn kept(text: &str) -> TokenHash {
        TokenHash(text.to_owned())
    }

    /// 64 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Presented {
    /// Of an `Authorization` header's value. The checksum keeps what was mistyped from costing a look at the table; it is no protection.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn parse(header: Option<&str>) -> Result<Presented, TokenError> {
        let header = header.ok_or(TokenError::Missing)?;
        let (scheme, token) = header.split_once(' ').ok_or(TokenError::Header)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(TokenError::Header);
        }
        let token = token.trim();
        let digits = token.strip_prefix(PREFIX).ok_or(TokenError::Malformed)?;
        let is_lower_hex = digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if digits.len() != RANDOM_DIGITS + CHECK_DIGITS || !is_lower_hex {
            return Err(TokenError::Malformed);
        }
        let (random, check) = digits.split_at(RANDOM_DIGITS);
        if checksum(random) != check {
            return Err(TokenError::Malformed);
        }
        Ok(Presented(TokenHash::of(token)))
    }

    /// Under which it is kept, if there is such a token.
    #[must_use]
    pub fn hash(&self) -> &TokenHash {
        &self.0
    }
}

/// CRC-32 of the digits.
fn checksum(digits: &str) -> String {
    format!("{:08x}", crc32fast::hash(digits.as_bytes()))
}

/// Whether a token can be called so: 1 to 64 letters, digits, `-`, `_` and `.`.
#[must_use]
pub fn is_token_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_again_by_its_hash_and_is_not_in_it() {
        let token = Token::of([7; 32]);
        let presented = Presented::parse(Some(&format!("Bearer {}", token.reveal())));
        assert_eq!(presented.map(|presented| presented.hash().clone()), Ok(token.hash()));
        assert_eq!(token.reveal().len(), 76);
        assert!(!token.hash().as_str().contains(&hex::encode([7; 32])));
        assert_eq!(format!("{token:?}"), "ocl_…");
    }

    #[test]
    fn what_cannot_be_a_token_is_refused_without_a_look_at_the_table() {
        let token = Token::of([7; 32]).reveal().to_owned();
        let (cut, upper) = (&token[..75], token.to_ascii_uppercase());
        let changed = token.replacen("07", "08", 1);
        let rows = [
            (None, TokenError::Missing),
            (Some(String::new()), TokenError::Header),
            (Some(token.clone()), TokenError::Header),
            (Some(format!("Basic {token}")), TokenError::Header),
            (Some("Bearer ".to_owned()), TokenError::Malformed),
            (Some("Bearer ocl_your_token_here".to_owned()), TokenError::Malformed),
            (Some(format!("Bearer {cut}")), TokenError::Malformed),
            (Some(format!("Bearer {upper}")), TokenError::Malformed),
            (Some(format!("Bearer {changed}")), TokenError::Malformed),
            (Some(format!("Bearer {token}é")), TokenError::Malformed),
        ];
        for (header, expected) in rows {
            assert_eq!(Presented::parse(header.as_deref()), Err(expected), "{header:?}");
        }
        assert!(Presented::parse(Some(&format!("bearer  {token}"))).is_ok());
    }

    #[test]
    fn names_are_short_and_plain() {
        for (name, expected) in
            [("ci-pipeline", true), ("a.b_c", true), ("", false), ("a b", false), (&"x".repeat(65), false)]
        {
            assert_eq!(is_token_name(name), expected, "{name}");
        }
    }
}
