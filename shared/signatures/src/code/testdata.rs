//! A provider for tests: its keys, and what it signs with them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

/// The PEM certificate of the test key.
pub(crate) const CERTIFICATE: &str = include_str!("../../testdata/provider.pem");
/// The JSON Web Key Set of the test key.
pub(crate) const KEY_SET: &str = include_str!("../../testdata/provider.jwks.json");

/// An RSA signature with SHA-256 by the test key.
pub(crate) fn sign(message: &[u8]) -> Vec<u8> {
    let pair = RsaKeyPair::from_pkcs8(include_bytes!("../../testdata/provider.pk8")).expect("the test key");
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).expect("a signature");
    signature
}

/// A token with these claims.
pub(crate) fn token(claims: &Value) -> String {
    token_with(&json!({ "alg": "RS256", "kid": "test-1", "typ": "JWT" }), claims)
}

/// A token with this header, signed with RS256 whatever the header says.
pub(crate) fn token_with(header: &Value, claims: &Value) -> String {
    let signed =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}
