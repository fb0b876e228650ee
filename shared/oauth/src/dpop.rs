//! Demonstrating proof of possession (RFC 9449): tokens that are good only with a key of the connection.

use std::fmt;

use clawbridge_clock::Timestamp;
use ring::rand::SecureRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::assertion::identifier;
use crate::encoding::{base64, base64url, from_base64};
use crate::jws::{KeyError, SigningKey};

/// The longest nonce that is taken, bytes.
const MAX_NONCE_BYTES: usize = 1024;

/// The key that a connection's tokens are bound to: P-256, signing ES256. Debug output shows its thumbprint.
pub struct DpopKey {
    key: SigningKey,
    stored: String,
}

impl DpopKey {
    /// A new one.
    ///
    /// # Errors
    /// There are no random bytes.
    pub fn generate(random: &dyn SecureRandom) -> Result<DpopKey, KeyError> {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, random).map_err(|_| KeyError::Sign)?;
        DpopKey::read(&base64(pkcs8.as_ref()), random)
    }

    /// From a token set's `dpop_key`.
    ///
    /// # Errors
    /// It is no P-256 key in PKCS #8, Base64.
    pub fn read(stored: &str, random: &dyn SecureRandom) -> Result<DpopKey, KeyError> {
        let key = from_base64(stored).and_then(|pkcs8| SigningKey::p256(&pkcs8, random)).ok_or(KeyError::NoKey)?;
        Ok(DpopKey { key, stored: stored.to_owned() })
    }

    /// For a token set's `dpop_key`: the private key.
    #[must_use]
    pub fn stored(&self) -> &str {
        &self.stored
    }

    /// The public key (RFC 7517, RFC 7518 section 6.2), members in the order of RFC 7638.
    fn jwk(&self) -> Value {
        let (x, y) = self.key.public().get(1..).unwrap_or_default().split_at_checked(32).unwrap_or_default();
        json!({"crv": "P-256", "kty": "EC", "x": base64url(x), "y": base64url(y)})
    }

    /// The key's thumbprint (RFC 7638): `dpop_jkt` of an authorization request, `cnf.jkt` of a token.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        thumbprint(&self.jwk())
    }

    /// The header `DPoP` of one request (RFC 9449, section 4.2). `token` is the access token that it carries, if it is for a resource.
    ///
    /// # Errors
    /// The key did not sign.
    pub fn proof(
        &self,
        method: &str,
        url: &str,
        token: Option<&str>,
        nonce: Option<&str>,
        now: Timestamp,
        random: &dyn SecureRandom,
    ) -> Result<String, KeyError> {
        // `htu` is without query and fragment.
        let url = url.split(['?', '#']).next().unwrap_or_default();
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk()});
        let mut claims = json!({"jti": identifier(random)?, "htm": method, "htu": url, "iat": now.seconds()});
        if let Some(token) = token {
            claims["ath"] = token_hash(token).into();
        }
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        self.key.sign(&header, &claims, random)
    }
}

fn thumbprint(jwk: &Value) -> String {
    let member = |name: &str| jwk[name].as_str().unwrap_or_default();
    let text = format!(
        r#"{{"crv":"{}","kty":"{}","x":"{}","y":"{}"}}"#,
        member("crv"),
        member("kty"),
        member("x"),
        member("y")
    );
    base64url(&Sha256::digest(text.as_bytes()))
}

fn token_hash(token: &str) -> String {
    base64url(&Sha256::digest(token.as_bytes()))
}

/// The nonce of a header `DPoP-Nonce`, of a refusal or of a success (RFC 9449, section 8): for the next proof to that server. `None`: it has
/// characters that none has (section 8.1), or is longer than is taken.
#[must_use]
pub fn nonce(header: &str) -> Option<String> {
    let is_one = |byte: u8| byte == 0x21 || (0x23..=0x5b).contains(&byte) || (0x5d..=0x7e).contains(&byte);
    ((1..=MAX_NONCE_BYTES).contains(&header.len()) && header.bytes().all(is_one)).then(|| header.to_owned())
}

impl fmt::Debug for DpopKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DpopKey").field("thumbprint", &self.thumbprint()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::from_base64url;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    #[test]
    fn thumbprint_and_token_hash_are_those_of_rfc_9449() {
        let jwk = json!({"kty": "EC", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
            "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA", "crv": "P-256"});
        assert_eq!(thumbprint(&jwk), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
        let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
        assert_eq!(token_hash(token), "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
    }

    #[test]
    fn a_proof_is_of_this_request_by_this_key() {
        let random = SystemRandom::new();
        let key = DpopKey::generate(&random).expect("a key");
        let key = DpopKey::read(key.stored(), &random).expect("the same");
        let url = "https://api.example.com/items?page=2#x";
        let proof = key.proof("GET", url, Some("token"), Some("n-1"), NOW, &random).expect("a proof");
        let (input, signature) = proof.rsplit_once('.').expect("three parts");
        let good = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.key.public());
        good.verify(input.as_bytes(), &from_base64url(signature).expect("base64url")).expect("a good signature");
        let (header, claims) = input.split_once('.').expect("two parts");
        let read = |part| serde_json::from_slice::<Value>(&from_base64url(part).expect("base64url")).expect("JSON");
        let (header, claims) = (read(header), read(claims));
        assert_eq!((&header["typ"], &header["alg"]), (&json!("dpop+jwt"), &json!("ES256")));
        assert_eq!(thumbprint(&header["jwk"]), key.thumbprint());
        assert!(header["jwk"].get("d").is_none());
        assert_eq!((&claims["htm"], &claims["htu"]), (&json!("GET"), &json!("https://api.example.com/items")));
        assert_eq!((&claims["iat"], &claims["nonce"]), (&json!(1_790_000_000), &json!("n-1")));
        assert_eq!(claims["ath"], json!(token_hash("token")));
        let other = key.proof("GET", url, None, None, NOW, &random).expect("a proof");
        let claims = read(other.split('.').nth(1).expect("claims"));
        assert!(claims.get("ath").is_none() && claims.get("nonce").is_none());
        assert_ne!(claims["jti"], read(proof.split('.').nth(1).expect("claims"))["jti"]);
        assert!(!format!("{key:?}").contains(key.stored()));
    }

    #[test]
    fn only_a_key_is_read_and_only_a_nonce_is_taken() {
        for bad in ["", "AAAA", "not base64!"] {
            assert!(DpopKey::read(bad, &SystemRandom::new()).is_err(), "{bad}");
        }
        assert_eq!(nonce("eyJ7S_zG.eyJH0-Z.HX4w-7v"), Some("eyJ7S_zG.eyJH0-Z.HX4w-7v".into()));
        for bad in ["", "a b", "a\"b", "a\\b", "é", "a".repeat(1025).as_str()] {
            assert_eq!(nonce(bad), None, "{bad}");
        }
    }
}
