use super::*;
use crate::assertion::{Claims, MAX_ASSERTION};
use crate::encoding::from_base64url;
use clawbridge_clock::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use serde_json::json;

pub(crate) const RSA_PKCS1: &str = include_str!("../testdata/rfc7515-a2.pem");
const RSA_PKCS8: &str = include_str!("../testdata/rsa-pkcs8.pem");
const ED25519_PKCS8: &str = include_str!("../testdata/rfc8037-a.pem");
pub(crate) const P256_SEC1: &str = include_str!("../testdata/p256-sec1.pem");
const P256_PKCS8_PEM: &str = include_str!("../testdata/p256-pkcs8.pem");
const P384_SEC1: &str = include_str!("../testdata/p384-sec1.pem");
const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn key(algorithm: Assertion, secret: &str) -> SigningKey {
    SigningKey::read(algorithm, secret.as_bytes()).expect("a key")
}

/// Checks a compact serialization and returns its header and its claims.
pub(crate) fn verified(token: &str, key: &SigningKey) -> (Value, Value) {
    let algorithm: &'static dyn VerificationAlgorithm = match key.algorithm() {
        Assertion::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        Assertion::Ps256 => &RSA_PSS_2048_8192_SHA256,
        Assertion::Es256 => &ECDSA_P256_SHA256_FIXED,
        Assertion::EdDsa => &ED25519,
    };
    let (input, signature) = token.rsplit_once('.').expect("three parts");
    let signature = from_base64url(signature).expect("base64url");
    UnparsedPublicKey::new(algorithm, key.public()).verify(input.as_bytes(), &signature).expect("a good signature");
    let (header, claims) = input.split_once('.').expect("three parts");
    let read = |part| serde_json::from_slice(&from_base64url(part).expect("base64url")).expect("JSON");
    (read(header), read(claims))
}

#[test]
fn rs256_signs_as_rfc_7515_appendix_a_2() {
    let input = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let expected = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CU\
        Ar7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkH\
        WEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    for pem in [RSA_PKCS1, RSA_PKCS8] {
        let signature = key(Assertion::Rs256, pem).signature(input.as_bytes(), &SystemRandom::new()).expect("signed");
        assert_eq!(base64url(&signature), expected);
    }
}

#[test]
fn eddsa_signs_as_rfc_8037_appendix_a_4() {
    let input = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = key(Assertion::EdDsa, ED25519_PKCS8).signature(input, &SystemRandom::new()).expect("signed");
    let expected = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(base64url(&signature), expected);
}

#[test]
fn every_algorithm_and_form_of_key_signs_what_a_verifier_takes() {
    let claims = Claims { issuer: "me", subject: "you", audience: "https://example.com/token", scope: Some("a b") };
    let one_line = P256_PKCS8_PEM.trim().replace('\n', "\\n");
    for (algorithm, pem) in [
        (Assertion::Rs256, RSA_PKCS1),
        (Assertion::Rs256, RSA_PKCS8),
        (Assertion::Ps256, RSA_PKCS1),
        (Assertion::Es256, P256_SEC1),
        (Assertion::Es256, P256_PKCS8_PEM),
        (Assertion::Es256, one_line.as_str()),
        (Assertion::EdDsa, ED25519_PKCS8),
    ] {
        let key = key(algorithm, pem);
        let token = claims.sign(&key, Some("k1"), NOW, &SystemRandom::new()).expect("signed");
        let (header, claims) = verified(&token, &key);
        assert_eq!(header, json!({"alg": algorithm.as_str(), "typ": "JWT", "kid": "k1"}));
        assert_eq!(claims["iss"], "me");
        assert_eq!(claims["sub"], "you");
        assert_eq!(claims["aud"], "https://example.com/token");
        assert_eq!(claims["scope"], "a b");
        assert_eq!(claims["iat"], 1_790_000_000 - 10);
        assert_eq!(claims["exp"], 1_790_000_000 + MAX_ASSERTION.as_secs());
        assert_eq!(claims["jti"].as_str().map(str::len), Some(22));
        assert_eq!(format!("{key:?}"), format!("SigningKey {{ algorithm: {algorithm:?}, .. }}"));
    }
}

#[test]
fn a_service_accounts_file_has_the_key_and_its_names() {
    let file = json!({"type": "service_account", "private_key": RSA_PKCS8, "private_key_id": "abc",
        "client_email": "robot@project.iam.gserviceaccount.com", "token_uri": "https://evil.example/token"});
    let key = key(Assertion::Rs256, &file.to_string());
    assert_eq!((key.key_id(), key.client_email()), (Some("abc"), Some("robot@project.iam.gserviceaccount.com")));
    let claims = Claims { issuer: "i", subject: "s", audience: "a", scope: None };
    let (header, claims) = verified(&claims.sign(&key, None, NOW, &SystemRandom::new()).expect("signed"), &key);
    assert_eq!(header["kid"], "abc");
    assert!(claims.get("scope").is_none());
}

#[test]
fn a_secret_that_is_no_fitting_key_is_refused_and_not_repeated() {
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----";
    let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----";
    let broken = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----";
    for (algorithm, secret, expected) in [
        (Assertion::Rs256, "", "holds no private key"),
        (Assertion::Rs256, "hunter2hunter2", "holds no private key"),
        (Assertion::Rs256, "{\"client_email\":\"hunter2\"}", "holds no private key"),
        (Assertion::Rs256, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "holds no private key"),
        (Assertion::Rs256, encrypted, "without a passphrase"),
        (Assertion::Rs256, legacy, "without a passphrase"),
        (Assertion::Rs256, broken, "cannot sign RS256, which wants an RSA key of 2048"),
        (Assertion::Ps256, P256_SEC1, "cannot sign PS256"),
        (Assertion::Es256, RSA_PKCS1, "cannot sign ES256, which wants a P-256 key"),
        (Assertion::Es256, P384_SEC1, "cannot sign ES256"),
        (Assertion::EdDsa, P256_PKCS8_PEM, "cannot sign EdDSA"),
    ] {
        let error = SigningKey::read(algorithm, secret.as_bytes()).expect_err("no key").to_string();
        assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
    }
    assert_eq!(SigningKey::read(Assertion::Rs256, b"\xff\xfe").expect_err("no text"), KeyError::NoKey);
}
