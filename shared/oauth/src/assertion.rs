//! Assertions (RFC 7523): a client's proof of itself, and the grant of a service account.

use std::time::Duration;

use clawbridge_clock::Timestamp;
use ring::rand::SecureRandom;
use serde_json::{Map, Value};

use crate::encoding::base64url;
use crate::jws::{KeyError, SigningKey};

/// How long an assertion is good. It is used at once; Salesforce takes none that is good for more than three minutes.
pub const MAX_ASSERTION: Duration = Duration::from_secs(150);
/// How far back it is dated: servers refuse what comes from the future.
const BACK: Duration = Duration::from_secs(10);

/// What an assertion says (RFC 7523, section 3), beside its times and its identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims<'a> {
    /// `iss`.
    pub issuer: &'a str,
    /// `sub`.
    pub subject: &'a str,
    /// `aud`.
    pub audience: &'a str,
    /// `scope`, where the server wants it here (Google).
    pub scope: Option<&'a str>,
}

impl Claims<'_> {
    /// The signed assertion.
    ///
    /// # Errors
    /// The key did not sign.
    pub fn sign(
        &self,
        key: &SigningKey,
        key_id: Option<&str>,
        now: Timestamp,
        random: &dyn SecureRandom,
    ) -> Result<String, KeyError> {
        let mut header = Map::new();
        header.insert("alg".into(), key.algorithm().as_str().into());
        header.insert("typ".into(), "JWT".into());
        if let Some(id) = key_id.or(key.key_id()) {
            header.insert("kid".into(), id.into());
        }
        let mut claims = Map::new();
        for (name, text) in [("iss", self.issuer), ("sub", self.subject), ("aud", self.audience)] {
            claims.insert(name.into(), text.into());
        }
        claims.insert("iat".into(), now.minus(BACK).seconds().into());
        claims.insert("exp".into(), now.plus(MAX_ASSERTION).seconds().into());
        claims.insert("jti".into(), identifier(random)?.into());
        if let Some(scope) = self.scope {
            claims.insert("scope".into(), scope.into());
        }
        key.sign(&Value::Object(header), &Value::Object(claims), random)
    }
}

/// A `jti`: 128 random bits.
pub(crate) fn identifier(random: &dyn SecureRandom) -> Result<String, KeyError> {
    let mut bytes = [0; 16];
    random.fill(&mut bytes).map_err(|_| KeyError::Sign)?;
    Ok(base64url(&bytes))
}
