//! Who calls.

use crate::rate::Rate;
use crate::scope::{Scope, Wish};
use crate::token::{Presented, TokenHash};
use clawbridge_clock::Timestamp;

/// A token as the registry keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its hash.
    pub hash: TokenHash,
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is no longer valid.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to a few minutes.
    pub last_used_at: Option<Timestamp>,
    /// How often it may be used, where that is another rate than the stack's.
    pub rate: Option<Rate>,
}

/// Why nobody is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such token, or no longer.
    #[error("there is no such token; it was revoked, or is another bridge's")]
    Unknown,
    /// Its time is over.
    #[error("this token has expired; make another one")]
    Expired,
}

/// Somebody whose token was found valid. Only [`admit`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    name: String,
    hash: TokenHash,
    scopes: Vec<Scope>,
    rate: Option<Rate>,
}

/// Makes a caller of what came with a request and what the registry has under its hash.
///
/// # Errors
/// See [`Refused`].
pub fn admit(presented: &Presented, record: Option<&TokenRecord>, now: Timestamp) -> Result<Caller, Refused> {
    let record = record.filter(|record| record.hash == *presented.hash()).ok_or(Refused::Unknown)?;
    if record.expires_at.is_some_and(|at| at <= now) {
        return Err(Refused::Expired);
    }
    Ok(Caller {
        name: record.name.clone(),
        hash: record.hash.clone(),
        scopes: record.scopes.clone(),
        rate: record.rate,
    })
}

impl Caller {
    /// The token's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The token's hash.
    #[must_use]
    pub fn hash(&self) -> &TokenHash {
        &self.hash
    }

    /// Whether one of the scopes is enough for it.
    #[must_use]
    pub fn may(&self, wish: Wish<'_>) -> bool {
        self.scopes.iter().any(|scope| scope.allows(wish))
    }

    /// How often the token may be used, where that is another rate than the stack's.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        self.rate
    }

    /// The scopes, in words.
    #[must_use]
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Token;

    #[test]
    fn only_a_token_that_is_kept_and_has_not_expired_makes_a_caller() {
        let (token, other) = (Token::of([1; 32]), Token::of([2; 32]));
        let presented = Presented::parse(Some(&format!("Bearer {}", token.reveal()))).expect("a token");
        let at = Timestamp::from_millis;
        let record = |hash: TokenHash, expires_at| TokenRecord {
            hash,
            name: "ci".into(),
            scopes: vec![Scope::Tool("ping".into())],
            created_at: at(0),
            expires_at,
            last_used_at: None,
            rate: None,
        };
        let admit = |record: Option<&TokenRecord>| admit(&presented, record, at(1_000));
        assert_eq!(admit(None), Err(Refused::Unknown));
        assert_eq!(admit(Some(&record(other.hash(), None))), Err(Refused::Unknown));
        assert_eq!(admit(Some(&record(token.hash(), Some(at(1_000))))), Err(Refused::Expired));
        let caller = admit(Some(&record(token.hash(), Some(at(1_001))))).expect("a caller");
        assert_eq!((caller.name(), caller.may(Wish::Call("ping"))), ("ci", true));
        assert!(!caller.may(Wish::Call("pong")) && !caller.may(Wish::Look));
    }
}
