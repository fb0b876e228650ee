//! JSON Web Signatures, compact (RFC 7515), of a private key.

use std::fmt;

use clawbridge_config::Assertion;
use ring::rand::SecureRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaEncoding, RsaKeyPair,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::Value;

use crate::encoding::base64url;

/// What stands before an ECPrivateKey (RFC 5915) of P-256 in a PKCS #8 (RFC 5958) of 128 more bytes at most: version 0, id-ecPublicKey, prime256v1.
const P256_PKCS8: &[u8] =
    b"\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";

/// A private key with what its file says of itself. Debug output shows the algorithm.
pub struct SigningKey {
    pair: Pair,
    algorithm: Assertion,
    key_id: Option<String>,
    client_email: Option<String>,
}

enum Pair {
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
    Ecdsa(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// Why a secret is no key that can sign. Nothing of it is repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither PEM nor a service account's file.
    #[error(
        "the secret holds no private key; it wants PEM (-----BEGIN PRIVATE KEY-----) or Google's JSON file of a service account"
    )]
    NoKey,
    /// Locked with a passphrase.
    #[error("the private key is encrypted; store it without a passphrase: openssl pkcs8 -in KEY -topk8 -nocrypt")]
    Encrypted,
    /// A key of another kind.
    #[error("the private key cannot sign {algorithm}, which wants {wanted}{hint}")]
    Unfit {
        /// The declared algorithm.
        algorithm: Assertion,
        /// What it wants.
        wanted: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// No random bytes, or no memory.
    #[error("the key could not sign")]
    Sign,
}

#[derive(Deserialize)]
struct ServiceAccount {
    private_key: String,
    private_key_id: Option<String>,
    client_email: Option<String>,
}

impl SigningKey {
    /// From a secret: PEM with a private key (PKCS #8; PKCS #1 for RSA; SEC 1 for P-256), or the JSON file of a Google service account, of
    /// which `private_key`, `private_key_id` and `client_email` are used.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn read(algorithm: Assertion, secret: &[u8]) -> Result<SigningKey, KeyError> {
        let text = std::str::from_utf8(secret).map_err(|_| KeyError::NoKey)?.trim();
        if text.starts_with('{') {
            let file: ServiceAccount = serde_json::from_str(text).map_err(|_| KeyError::NoKey)?;
            let pair = pair(algorithm, &file.private_key)?;
            return Ok(SigningKey { pair, algorithm, key_id: file.private_key_id, client_email: file.client_email });
        }
        Ok(SigningKey { pair: pair(algorithm, text)?, algorithm, key_id: None, client_email: None })
    }

    /// P-256, from a PKCS #8 that ring made.
    pub(crate) fn p256(pkcs8: &[u8], random: &dyn SecureRandom) -> Option<SigningKey> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, random).ok()?;
        Some(SigningKey {
            pair: Pair::Ecdsa(Box::new(pair)),
            algorithm: Assertion::Es256,
            key_id: None,
            client_email: None,
        })
    }

    /// The algorithm that it signs with.
    #[must_use]
    pub fn algorithm(&self) -> Assertion {
        self.algorithm
    }

    /// The key's identifier, where its file has it.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The service account, where its file has it.
    #[must_use]
    pub fn client_email(&self) -> Option<&str> {
        self.client_email.as_deref()
    }

    /// The public key: an RSAPublicKey, a point or 32 bytes.
    pub(crate) fn public(&self) -> &[u8] {
        match &self.pair {
            Pair::Rsa(pair, _) => pair.public_key().as_ref(),
            Pair::Ecdsa(pair) => pair.public_key().as_ref(),
            Pair::Ed25519(pair) => pair.public_key().as_ref(),
        }
    }

    /// The compact serialization of a header and a payload (RFC 7515, section 3.1).
    pub(crate) fn sign(&self, header: &Value, claims: &Value, random: &dyn SecureRandom) -> Result<String, KeyError> {
        let input =
            format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
        let signature = self.signature(input.as_bytes(), random)?;
        Ok(format!("{input}.{}", base64url(&signature)))
    }

    /// A signature as JWS has it (RFC 7518, section 3): ECDSA's is R and S, 64 bytes.
    fn signature(&self, message: &[u8], random: &dyn SecureRandom) -> Result<Vec<u8>, KeyError> {
        match &self.pair {
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, random, message, &mut signature).map_err(|_| KeyError::Sign)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => Ok(pair.sign(random, message).map_err(|_| KeyError::Sign)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

fn pair(algorithm: Assertion, pem: &str) -> Result<Pair, KeyError> {
    if pem.contains("ENCRYPTED") {
        return Err(KeyError::Encrypted);
    }
    // Copied out of a JSON file or an environment variable, a key has `\n` for its line ends.
    let unescaped = (!pem.contains('\n')).then(|| pem.replace("\\n", "\n"));
    let pem = unescaped.as_deref().unwrap_or(pem);
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::NoKey)?;
    match algorithm {
        Assertion::Rs256 => rsa(algorithm, &der, &RSA_PKCS1_SHA256),
        Assertion::Ps256 => rsa(algorithm, &der, &RSA_PSS_SHA256),
        Assertion::Es256 => ecdsa(&der),
        Assertion::EdDsa => ed25519(&der),
    }
}

fn rsa(algorithm: Assertion, der: &PrivateKeyDer<'_>, encoding: &'static dyn RsaEncoding) -> Result<Pair, KeyError> {
    let pair = match der {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok(),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok(),
        _ => None,
    };
    let wanted = "an RSA key of 2048 to 4096 bits";
    pair.map(|pair| Pair::Rsa(Box::new(pair), encoding)).ok_or(KeyError::Unfit { algorithm, wanted, hint: "" })
}

fn ecdsa(der: &PrivateKeyDer<'_>) -> Result<Pair, KeyError> {
    // The key is only checked against itself with these; signing takes the caller's.
    let random = ring::rand::SystemRandom::new();
    let read = |der: &[u8]| EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random).ok();
    let pair = match der {
        PrivateKeyDer::Pkcs8(der) => read(der.secret_pkcs8_der()),
        PrivateKeyDer::Sec1(der) => wrapped(der.secret_sec1_der()).and_then(|der| read(&der)),
        _ => None,
    };
    pair.map(|pair| Pair::Ecdsa(Box::new(pair))).ok_or(KeyError::Unfit {
        algorithm: Assertion::Es256,
        wanted: "a P-256 key with its public key",
        hint: "; convert it: openssl pkcs8 -in KEY -topk8 -nocrypt",
    })
}

/// An ECPrivateKey as PKCS #8. `None`: longer than one of P-256 is.
fn wrapped(sec1: &[u8]) -> Option<Vec<u8>> {
    let inner = u8::try_from(sec1.len()).ok().filter(|len| *len < 0x80)?;
    let all = P256_PKCS8.len() + 2 + sec1.len();
    let mut der = vec![0x30, 0x81, u8::try_from(all).ok()?];
    der.extend_from_slice(P256_PKCS8);
    der.extend_from_slice(&[0x04, inner]);
    der.extend_from_slice(sec1);
    Some(der)
}

fn ed25519(der: &PrivateKeyDer<'_>) -> Result<Pair, KeyError> {
    let pair = match der {
        // OpenSSL writes no public key into it.
        PrivateKeyDer::Pkcs8(der) => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).ok(),
        _ => None,
    };
    let wanted = "an Ed25519 key in PKCS #8";
    pair.map(|pair| Pair::Ed25519(Box::new(pair))).ok_or(KeyError::Unfit {
        algorithm: Assertion::EdDsa,
        wanted,
        hint: "",
    })
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "jws_tests.rs"]
pub(crate) mod tests;
