//! An issuer's metadata (RFC 8414, OpenID Connect Discovery 1.0): where to ask, and what the answer says.

use serde::Deserialize;
use url::Url;

use crate::endpoints::{EndpointError, is_loopback, usable};

/// The most bytes of metadata that are read.
pub const MAX_BYTES: usize = 64 * 1024;

/// What an issuer says of itself, of what the bridge uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Its identifier: the one that was asked for, to the character.
    pub issuer: String,
    /// `authorization_endpoint`.
    pub authorize: Option<String>,
    /// `token_endpoint`.
    pub token: Option<String>,
    /// `revocation_endpoint`.
    pub revoke: Option<String>,
    /// `device_authorization_endpoint`.
    pub device: Option<String>,
    /// `code_challenge_methods_supported` (RFC 7636). `None`: it does not say.
    pub challenge_methods: Option<Vec<String>>,
    /// `response_modes_supported`. Where it does not say: `query` and `fragment` (RFC 8414, section 2).
    pub response_modes: Vec<String>,
    /// `token_endpoint_auth_methods_supported`. Where it does not say: `client_secret_basic`.
    pub auth_methods: Vec<String>,
    /// `grant_types_supported`. Where it does not say: `authorization_code` and `implicit`.
    pub grant_types: Vec<String>,
    /// `scopes_supported`. `None`: it does not say; a server need not name all that it knows.
    pub scopes: Option<Vec<String>>,
    /// `authorization_response_iss_parameter_supported` (RFC 9207, section 3).
    pub names_itself: bool,
    /// `dpop_signing_alg_values_supported` (RFC 9449, section 5.1). Empty: no DPoP.
    pub dpop_algorithms: Vec<String>,
}

/// Why an answer is not the issuer's metadata. Nothing of it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// No JSON object of that form, or too large.
    #[error("the answer is no authorization server metadata (RFC 8414)")]
    Unreadable,
    /// RFC 8414, section 3.3: somebody may be posing as the issuer.
    #[error(
        "the metadata is of another issuer; declare the issuer exactly as the provider writes it, a final slash included"
    )]
    Issuer,
    /// An endpoint that is no URL over TLS.
    #[error("the metadata names an endpoint that is no https:// address")]
    Endpoint,
}

/// The addresses at which an issuer's metadata may be, in the order in which they are asked: RFC 8414's (its section 3 puts the well-known
/// part before the issuer's path), OpenID's (which puts it behind), and the mixture of the two that RFC 8414, section 5 tells of.
///
/// # Errors
/// The issuer is no URL over TLS, or has a query (RFC 8414, section 2).
pub fn places(issuer: &str) -> Result<Vec<String>, EndpointError> {
    let wrong = |reason| EndpointError::Address { field: "issuer", reason };
    let url = usable(issuer).map_err(wrong)?;
    if url.query().is_some() {
        return Err(wrong("an issuer must not have a query (?)"));
    }
    let origin = url.origin().ascii_serialization();
    let path = url.path().trim_end_matches('/');
    let mut places = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}{path}/.well-known/openid-configuration"),
    ];
    if !path.is_empty() {
        places.push(format!("{origin}/.well-known/openid-configuration{path}"));
    }
    Ok(places)
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    code_challenge_methods_supported: Option<Vec<String>>,
    response_modes_supported: Option<Vec<String>>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    grant_types_supported: Option<Vec<String>>,
    scopes_supported: Option<Vec<String>>,
    authorization_response_iss_parameter_supported: Option<bool>,
    dpop_signing_alg_values_supported: Option<Vec<String>>,
}

impl Metadata {
    /// From an answer with status 200.
    ///
    /// # Errors
    /// It is not the metadata of this issuer, or names an endpoint that secrets cannot be sent to.
    pub fn parse(issuer: &str, body: &[u8]) -> Result<Metadata, DiscoveryError> {
        if body.len() > MAX_BYTES {
            return Err(DiscoveryError::Unreadable);
        }
        let document: Document = serde_json::from_slice(body).map_err(|_| DiscoveryError::Unreadable)?;
        if document.issuer != issuer {
            return Err(DiscoveryError::Issuer);
        }
        let is_local = Url::parse(issuer).is_ok_and(|url| is_loopback(&url));
        let endpoint = |text: Option<String>| match text {
            None => Ok(None),
            // A public issuer cannot send the bridge to its own machine.
            Some(text) if usable(&text).is_ok_and(|url| is_local || !is_loopback(&url)) => Ok(Some(text)),
            Some(_) => Err(DiscoveryError::Endpoint),
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Ok(Metadata {
            authorize: endpoint(document.authorization_endpoint)?,
            token: endpoint(document.token_endpoint)?,
            revoke: endpoint(document.revocation_endpoint)?,
            device: endpoint(document.device_authorization_endpoint)?,
            issuer: document.issuer,
            challenge_methods: document.code_challenge_methods_supported,
            response_modes: document.response_modes_supported.unwrap_or_else(|| words(&["query", "fragment"])),
            auth_methods: document
                .token_endpoint_auth_methods_supported
                .unwrap_or_else(|| words(&["client_secret_basic"])),
            grant_types: document.grant_types_supported.unwrap_or_else(|| words(&["authorization_code", "implicit"])),
            scopes: document.scopes_supported,
            names_itself: document.authorization_response_iss_parameter_supported.unwrap_or_default(),
            dpop_algorithms: document.dpop_signing_alg_values_supported.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn the_well_known_part_stands_before_the_path_and_behind_it() {
        let at = |issuer| places(issuer).expect("an issuer");
        let plain = [
            "https://example.com/.well-known/oauth-authorization-server",
            "https://example.com/.well-known/openid-configuration",
        ];
        assert_eq!(at("https://example.com"), plain);
        assert_eq!(at("https://example.com/"), plain);
        let below = [
            "https://example.com/.well-known/oauth-authorization-server/tenant/a",
            "https://example.com/tenant/a/.well-known/openid-configuration",
            "https://example.com/.well-known/openid-configuration/tenant/a",
        ];
        assert_eq!(at("https://example.com/tenant/a"), below);
        assert_eq!(at("http://127.0.0.1:8080")[0], "http://127.0.0.1:8080/.well-known/oauth-authorization-server");
        for bad in ["http://example.com", "https://example.com/?a", "https://example.com#a", "example.com", ""] {
            assert!(places(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn metadata_is_read_with_the_defaults_of_rfc_8414() {
        let body = json!({
            "issuer": "https://example.com/a", "authorization_endpoint": "https://login.example.com/authorize",
            "token_endpoint": "https://example.com/token", "code_challenge_methods_supported": ["S256", "plain"],
            "authorization_response_iss_parameter_supported": true, "jwks_uri": "ignored",
        });
        let metadata = Metadata::parse("https://example.com/a", body.to_string().as_bytes()).expect("metadata");
        assert_eq!(metadata.token.as_deref(), Some("https://example.com/token"));
        assert_eq!(metadata.challenge_methods.as_deref(), Some(["S256".to_owned(), "plain".to_owned()].as_slice()));
        assert_eq!(metadata.auth_methods, ["client_secret_basic"]);
        assert!(metadata.names_itself && metadata.revoke.is_none() && metadata.dpop_algorithms.is_empty());
    }

    #[test]
    fn metadata_of_somebody_else_or_with_unsafe_endpoints_is_refused() {
        let issuer = "https://example.com";
        for (body, expected) in [
            (json!({"issuer": "https://example.com/"}), DiscoveryError::Issuer),
            (json!({"issuer": "https://EXAMPLE.com"}), DiscoveryError::Issuer),
            (json!({"issuer": issuer, "token_endpoint": "http://example.com/token"}), DiscoveryError::Endpoint),
            (json!({"issuer": issuer, "token_endpoint": "http://127.0.0.1/token"}), DiscoveryError::Endpoint),
            (json!({"issuer": issuer, "revocation_endpoint": "/revoke"}), DiscoveryError::Endpoint),
            (json!({"token_endpoint": "https://example.com/token"}), DiscoveryError::Unreadable),
            (json!({"issuer": issuer, "token_endpoint": 1}), DiscoveryError::Unreadable),
            (json!([]), DiscoveryError::Unreadable),
            (json!({"issuer": issuer, "x": "y".repeat(MAX_BYTES)}), DiscoveryError::Unreadable),
        ] {
            assert_eq!(Metadata::parse(issuer, body.to_string().as_bytes()), Err(expected));
        }
        assert_eq!(Metadata::parse(issuer, b"<html>"), Err(DiscoveryError::Unreadable));
    }

    proptest! {
        #[test]
        fn no_issuer_and_no_answer_panics(issuer in "\\PC{0,60}", body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = places(&issuer);
            let _ = places(&format!("https://{issuer}"));
            prop_assert!(Metadata::parse(&issuer, &body).is_err());
        }
    }
}
