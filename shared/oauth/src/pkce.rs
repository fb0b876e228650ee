//! Proof Key for Code Exchange (RFC 7636), method S256.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::encoding::base64url;
use crate::word::State;

/// The shortest key of the stack, bytes.
pub const MIN_KEY_BYTES: usize = 32;

/// The code verifier of one authorization request. It is derived, so that nothing has to keep it: whoever has the stack's key and the state
/// makes it again.
///
/// ```text
/// verifier = base64url(HMAC-SHA256(key, "pkce" NUL state))          43 characters (RFC 7636, section 4.1)
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier(String);

/// A key too short to derive from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stack's key for OAuth states has fewer than {MIN_KEY_BYTES} bytes; make the secret anew")]
pub struct WeakKey;

impl Verifier {
    /// Of the stack's key and the request's state.
    ///
    /// # Errors
    /// The key has fewer than [`MIN_KEY_BYTES`].
    pub fn derive(key: &[u8], state: &State) -> Result<Verifier, WeakKey> {
        if key.len() < MIN_KEY_BYTES {
            return Err(WeakKey);
        }
        let mut mac = <Hmac<Sha256>>::new_from_slice(key).map_err(|_| WeakKey)?;
        mac.update(b"pkce\0");
        mac.update(state.expose().as_bytes());
        Ok(Verifier(base64url(&mac.finalize().into_bytes())))
    }

    /// What the token request carries.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the authorization request carries (RFC 7636, section 4.2).
    #[must_use]
    pub fn challenge(&self) -> String {
        base64url(&Sha256::digest(self.0.as_bytes()))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Verifier").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_rfc_7636_appendix_b() {
        let verifier = Verifier("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into());
        assert_eq!(verifier.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn a_verifier_is_made_again_of_the_same_key_and_state_only() {
        let (key, state) = ([1; 32], State::new([2; 32]));
        let verifier = Verifier::derive(&key, &state).expect("a key");
        assert_eq!(verifier.expose().len(), 43);
        assert_eq!(Verifier::derive(&key, &state), Ok(verifier.clone()));
        assert_ne!(Verifier::derive(&[3; 32], &state), Ok(verifier.clone()));
        assert_ne!(Verifier::derive(&key, &State::new([4; 32])), Ok(verifier.clone()));
        assert_eq!(Verifier::derive(&[1; 31], &state), Err(WeakKey));
        assert_eq!(format!("{verifier:?}"), "Verifier(..)");
    }
}
