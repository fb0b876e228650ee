//! Where an account's authorization server is.

use clawbridge_config::Provider;
use url::{Host, Url};

use crate::discovery::Metadata;

/// The addresses of a provider, for one account: those of a declaration that is filled in. Each is an absolute URL over TLS (over plain HTTP
/// on loopback), without credentials and without a fragment (RFC 6749, sections 3.1 and 3.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// The issuer identifier (RFC 8414, section 2).
    pub issuer: Option<String>,
    /// The authorization endpoint.
    pub authorize: Option<String>,
    /// The token endpoint.
    pub token: Option<String>,
    /// Where tokens are revoked.
    pub revoke: Option<String>,
    /// The device authorization endpoint.
    pub device: Option<String>,
    /// What a valid token can GET.
    pub test: Option<String>,
}

/// Why a declaration gives no usable address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// An address that is none, or none that secrets may be sent to.
    #[error("{field}: {reason}")]
    Address {
        /// The declaration's field, `token_url`.
        field: &'static str,
        /// What is wrong and what to do.
        reason: &'static str,
    },
    /// Neither declared nor discovered.
    #[error("the provider has no {0}; declare it, or an issuer that has it in its metadata")]
    Missing(&'static str),
}

impl Endpoints {
    /// Those that a declaration names.
    ///
    /// # Errors
    /// One of them is no usable address.
    pub fn of(provider: &Provider) -> Result<Endpoints, EndpointError> {
        let address = |field, text: &Option<String>| {
            let wrong = |reason| EndpointError::Address { field, reason };
            text.as_deref().map(|text| usable(text).map(|_| text.to_owned()).map_err(wrong)).transpose()
        };
        Ok(Endpoints {
            issuer: address("issuer", &provider.issuer)?,
            authorize: address("authorize_url", &provider.authorize_url)?,
            token: address("token_url", &provider.token_url)?,
            revoke: address("revoke_url", &provider.revoke_url)?,
            device: address("device_url", &provider.device_url)?,
            test: address("test_url", &provider.test_url)?,
        })
    }

    /// With what the issuer's metadata adds. What is declared stays.
    #[must_use]
    pub fn with(self, metadata: &Metadata) -> Endpoints {
        Endpoints {
            issuer: self.issuer.or_else(|| Some(metadata.issuer.clone())),
            authorize: self.authorize.or_else(|| metadata.authorize.clone()),
            token: self.token.or_else(|| metadata.token.clone()),
            revoke: self.revoke.or_else(|| metadata.revoke.clone()),
            device: self.device.or_else(|| metadata.device.clone()),
            test: self.test,
        }
    }

    /// The authorization endpoint.
    ///
    /// # Errors
    /// There is none.
    pub fn authorize(&self) -> Result<&str, EndpointError> {
        self.authorize.as_deref().ok_or(EndpointError::Missing("authorize_url"))
    }

    /// The token endpoint.
    ///
    /// # Errors
    /// There is none.
    pub fn token(&self) -> Result<&str, EndpointError> {
        self.token.as_deref().ok_or(EndpointError::Missing("token_url"))
    }

    /// The device authorization endpoint.
    ///
    /// # Errors
    /// There is none.
    pub fn device(&self) -> Result<&str, EndpointError> {
        self.device.as_deref().ok_or(EndpointError::Missing("device_url"))
    }

    /// Where tokens are revoked.
    ///
    /// # Errors
    /// There is none.
    pub fn revoke(&self) -> Result<&str, EndpointError> {
        self.revoke.as_deref().ok_or(EndpointError::Missing("revoke_url"))
    }
}

/// Whether a URL is of this very machine, where plain HTTP gives nothing away.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A URL that secrets may be sent to.
pub(crate) fn usable(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "it is no absolute URL")?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        _ => return Err("it must begin with https:// (http:// is for loopback only)"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must not have a user or a password in it");
    }
    if url.fragment().is_some() {
        return Err("it must not have a fragment (#)");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::tests::provider;

    fn token_url(text: &str) -> Result<String, EndpointError> {
        let provider = Provider { token_url: Some(text.into()), ..provider() };
        Endpoints::of(&provider)?.token().map(str::to_owned)
    }

    #[test]
    fn addresses_that_secrets_can_be_sent_to_are_taken_as_they_are() {
        for text in [
            "https://login.example.com/contoso.com/token",
            "https://example.com:8443/token?t=a.b",
            "http://127.0.0.1:9/a",
            "http://[::1]:9/a",
            "http://idp.localhost:9/token",
        ] {
            assert_eq!(token_url(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn addresses_that_secrets_cannot_be_sent_to_are_refused() {
        for template in [
            "http://example.com/token",
            "ftp://example.com/token",
            "/token",
            "https:///",
            "https://user@example.com/token",
            "https://user:pass@example.com/token",
            "https://example.com/token#a",
        ] {
            assert!(matches!(token_url(template), Err(EndpointError::Address { .. })), "{template}");
        }
    }

    #[test]
    fn what_is_declared_stays_when_metadata_says_otherwise() {
        let metadata = Metadata {
            issuer: "https://i".into(),
            token: Some("https://other/token".into()),
            revoke: Some("https://other/revoke".into()),
            ..Metadata::default()
        };
        let declared = Endpoints { token: Some("https://own/token".into()), ..Endpoints::default() };
        let both = declared.with(&metadata);
        assert_eq!((both.token(), both.revoke()), (Ok("https://own/token"), Ok("https://other/revoke")));
        assert_eq!(both.device(), Err(EndpointError::Missing("device_url")));
    }
}
