//! Rules for header names and values, and signs of a credential in places where none belongs.

/// Headers that the bridge, its HTTP client or the connection sets.
const RESERVED: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// Whether `name` can be the name of a header: a token (RFC 9110, section 5.6.2) of at most 64 characters.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(is_token)
}

/// Whether a tool may not set the header.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved))
}

/// Whether `value` can be sent in a header as it is: visible ASCII, spaces and tabs inside (RFC 9110, section 5.5). Other
/// bytes mean something else to each server, and line ends would begin another header.
#[must_use]
pub fn is_value(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) && value.trim_matches([' ', '\t']) == value
}

/// Whether a header or a query parameter of this name is for credentials and nothing else. Such a value comes from a secret:
/// neither from a document nor from an input, which is stored and shown.
#[must_use]
pub fn is_for_credentials(name: &str) -> bool {
    const NAMES: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "password", "credential"];
    const PARTS: [&str; 7] =
        ["api-key", "apikey", "auth-key", "authkey", "private-token", "client-secret", "secret-key"];
    let name = name.to_ascii_lowercase().replace('_', "-");
    NAMES.contains(&name.as_str()) || PARTS.iter().any(|part| name.contains(part))
}

/// Whether a header or a query parameter of this name may be for credentials. It may also be a page token or a link's
/// signature, which an input can have; but a fixed value of that name has no other use.
#[must_use]
pub fn may_be_for_credentials(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    ["token", "secret", "passwd", "sig", "signature"].contains(&name.as_str())
        || ["-token", "-secret", "-password", "-authorization"].iter().any(|end| name.ends_with(end))
}

/// Whether `value` looks like a credential: it begins as those of well-known services do.
#[must_use]
pub fn looks_like_a_secret(value: &str) -> bool {
    const BEGINNINGS: [&str; 30] = [
        "sk_live_",
        "sk_test_",
        "rk_live_",
        "rk_test_",
        "whsec_",
        "sk-",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        "glpat-",
        "xoxb-",
        "xoxp-",
        "xoxa-",
        "xapp-",
        "shpat_",
        "shpss_",
        "shpca_",
        "AKIA",
        "ASIA",
        "AIza",
        "SG.",
        "eyJ",
        "ya29.",
        "npm_",
        "pypi-",
        "dop_v1_",
        "-----BEGIN",
    ];
    let value = value.trim();
    let value = ["Bearer ", "Basic ", "token ", "bearer ", "basic "]
        .iter()
        .find_map(|scheme| value.strip_prefix(scheme))
        .unwrap_or(value);
    BEGINNINGS.iter().any(|beginning| value.strip_prefix(beginning).is_some_and(|rest| rest.trim().len() >= 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens() {
        for name in ["x-api-version", "Idempotency-Key", "X_Y", "a"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "x y", "x:y", "x\r\ny", "é", "x\0", &"x".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_reserved("Host") && is_reserved("content-length") && !is_reserved("accept"));
    }

    #[test]
    fn values_cannot_begin_another_header() {
        for value in ["", "2026-01-01", "a b", "a\tb", "\"x\"; y=1"] {
            assert!(is_value(value), "{value:?}");
        }
        for value in [" a", "a ", "a\nb", "a\r\nx: y", "a\0", "é", "\u{7f}"] {
            assert!(!is_value(value), "{value:?}");
        }
    }

    #[test]
    fn credentials_are_known_by_their_names_and_beginnings() {
        for name in ["Authorization", "x-api-key", "X-API-Key", "api_key", "apikey", "cookie", "client_secret"] {
            assert!(is_for_credentials(name), "{name}");
        }
        for name in ["access_token", "x-auth-token", "token", "page_token", "x-vault-token", "sig"] {
            assert!(may_be_for_credentials(name) && !is_for_credentials(name), "{name}");
        }
        for name in
            ["Idempotency-Key", "x-api-version", "accept", "tokens", "key", "x-request-id", "secretary", "design"]
        {
            assert!(!is_for_credentials(name) && !may_be_for_credentials(name), "{name}");
        }
        for value in
            ["sk_live_abcdefgh", "Bearer ghp_abcdefgh1234", "eyJhbGciOiJIUzI1NiJ9.e30.x", "AKIAIOSFODNN7EXAMPLE"]
        {
            assert!(looks_like_a_secret(value), "{value}");
        }
        for value in ["2026-01-01", "sk_live_", "application/json", "{id}", "SG.", "sketch", "Bearer ", "asia-east1"] {
            assert!(!looks_like_a_secret(value), "{value}");
        }
    }
}
