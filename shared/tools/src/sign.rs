//! Signatures over requests: HMACs (RFC 2104) as a tool declares them. Pure.

use base64::Engine as _;
use base64::alphabet::{STANDARD as STANDARD_ALPHABET, URL_SAFE as URL_SAFE_ALPHABET};
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use clawbridge_clock::Timestamp;
use clawbridge_config::{Algorithm, Encoding, SecretEncoding, Sign, TimestampUnit};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// The signature of `message`, as `sign` has it written. `None`: the secret is not written as `sign` says, or is empty.
pub(crate) fn signature(sign: &Sign, secret: &str, message: &[u8]) -> Option<String> {
    let key = key(sign.secret_encoding, secret).filter(|key| !key.is_empty())?;
    let mac = match sign.algorithm {
        Algorithm::Sha1 => {
            Hmac::<Sha1>::new_from_slice(&key).ok()?.chain_update(message).finalize().into_bytes().to_vec()
        }
        Algorithm::Sha256 => {
            Hmac::<Sha256>::new_from_slice(&key).ok()?.chain_update(message).finalize().into_bytes().to_vec()
        }
        Algorithm::Sha512 => {
            Hmac::<Sha512>::new_from_slice(&key).ok()?.chain_update(message).finalize().into_bytes().to_vec()
        }
    };
    Some(match sign.encoding {
        Encoding::Hex => hex::encode(mac),
        Encoding::Base64 => STANDARD.encode(mac),
    })
}

/// The bytes of the key that `secret` is written for.
fn key(encoding: SecretEncoding, secret: &str) -> Option<Vec<u8>> {
    match encoding {
        SecretEncoding::Utf8 => Some(secret.as_bytes().to_vec()),
        SecretEncoding::Hex => hex::decode(secret).ok(),
        SecretEncoding::Base64 => from_base64(secret),
        SecretEncoding::Whsec => from_base64(secret.strip_prefix("whsec_").unwrap_or(secret)),
    }
}

/// Either alphabet, padded or not.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = if text.contains(['-', '_']) { URL_SAFE_ALPHABET } else { STANDARD_ALPHABET };
    GeneralPurpose::new(&alphabet, config).decode(text).ok()
}

/// A secret that can be used wherever a real one is, for showing what would be sent.
pub(crate) fn stand_in(encoding: SecretEncoding) -> &'static str {
    match encoding {
        SecretEncoding::Utf8 => "a-stand-in-for-the-key",
        SecretEncoding::Hex => "5eed5eed5eed5eed",
        SecretEncoding::Base64 => "c3RhbmQtaW4tZm9yLXRoZS1rZXk=",
        SecretEncoding::Whsec => "whsec_c3RhbmQtaW4tZm9yLXRoZS1rZXk=",
    }
}

/// How the time of a signature is written.
pub(crate) fn timestamp(unit: TimestampUnit, now: Timestamp) -> String {
    match unit {
        TimestampUnit::Seconds => now.seconds().to_string(),
        TimestampUnit::Millis => now.millis().to_string(),
        // Whole seconds, as most that check it expect.
        TimestampUnit::Rfc3339 => Timestamp::from_millis(now.seconds() * 1000).rfc3339().replace(".000Z", "Z"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(algorithm: Algorithm, encoding: Encoding, secret_encoding: SecretEncoding) -> Sign {
        Sign {
            secret: "clawbridge/tools/a".into(),
            secret_encoding,
            algorithm,
            over: "{body}".into(),
            encoding,
            header: "x-signature".into(),
            prefix: String::new(),
            timestamp_header: None,
            timestamp_unit: TimestampUnit::Seconds,
            id_header: None,
        }
    }

    #[test]
    fn signatures_are_those_of_the_rfcs() {
        use Algorithm::{Sha1, Sha256, Sha512};
        use Encoding::{Base64, Hex};
        use SecretEncoding::{Utf8, Whsec};
        // RFC 2202, section 3, and RFC 4231, section 4.3: test case 2.
        let (key, text) = ("Jefe", &b"what do ya want for nothing?"[..]);
        let cases = [
            (Sha1, Hex, Utf8, key, text, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (Sha256, Hex, Utf8, key, text, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (
                Sha256,
                Encoding::Base64,
                SecretEncoding::Hex,
                "4a656665",
                text,
                "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=",
            ),
            (
                Sha512,
                Hex,
                SecretEncoding::Base64,
                "SmVmZQ",
                text,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
            // The example of the Standard Webhooks specification.
            (
                Sha256,
                Base64,
                Whsec,
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                br#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#,
                "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
        ];
        for (algorithm, encoding, secret_encoding, secret, message, expected) in cases {
            let sign = sign(algorithm, encoding, secret_encoding);
            assert_eq!(signature(&sign, secret, message).as_deref(), Some(expected), "{algorithm} {secret_encoding}");
        }
    }

    #[test]
    fn a_secret_that_is_not_written_as_declared_signs_nothing() {
        for (encoding, secret) in [
            (SecretEncoding::Utf8, ""),
            (SecretEncoding::Hex, "5ee"),
            (SecretEncoding::Hex, "xy"),
            (SecretEncoding::Base64, "a"),
            (SecretEncoding::Base64, "=="),
            (SecretEncoding::Whsec, "whsec_"),
            (SecretEncoding::Whsec, "whsec_!"),
        ] {
            let sign = sign(Algorithm::Sha256, Encoding::Hex, encoding);
            assert_eq!(signature(&sign, secret, b"x"), None, "{encoding} {secret}");
        }
        for encoding in SecretEncoding::ALL {
            let sign = sign(Algorithm::Sha256, Encoding::Hex, *encoding);
            assert!(signature(&sign, stand_in(*encoding), b"x").is_some(), "{encoding}");
        }
    }

    #[test]
    fn the_time_is_written_in_each_unit() {
        let now = Timestamp::from_millis(1_763_696_400_987);
        for (unit, expected) in [
            (TimestampUnit::Seconds, "1763696400"),
            (TimestampUnit::Millis, "1763696400987"),
            (TimestampUnit::Rfc3339, "2025-11-21T03:40:00Z"),
        ] {
            assert_eq!(timestamp(unit, now), expected);
        }
    }
}
