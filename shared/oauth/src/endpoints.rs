//! Where an account's authorization server is.

use clawbridge_config::Provider;
use url::{Host, Url};

use crate::discovery::Metadata;
use crate::parameters::{ParameterError, Parameters};

/// The addresses of a provider, for one account: as declared, with its parameters in them. Each is an absolute URL over TLS (over plain HTTP
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
    /// About a parameter.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
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
    /// Those that a declaration names, for an account with these parameters.
    ///
    /// # Errors
    /// One of them is no usable address.
    pub fn of(provider: &Provider, parameters: &Parameters) -> Result<Endpoints, EndpointError> {
        let address =
            |field, text: &Option<String>| text.as_deref().map(|text| address(field, text, parameters)).transpose();
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

/// Fills in a template. The check is of the result as well as of the values: whatever a value does, the host must read as it was written.
fn address(field: &'static str, template: &str, parameters: &Parameters) -> Result<String, EndpointError> {
    let wrong = |reason| EndpointError::Address { field, reason };
    let start = template.find("://").map(|at| at + 3).ok_or_else(|| wrong("it is no absolute URL"))?;
    let end = template[start..].find(['/', '?', '#']).map_or(template.len(), |at| start + at);
    if template[..start].contains(['{', '}']) {
        return Err(wrong("a parameter cannot stand in the scheme"));
    }
    let mut out = String::with_capacity(template.len());
    let mut at = 0;
    while let Some(open) = template[at..].find(['{', '}']).map(|found| at + found) {
        out.push_str(&template[at..open]);
        let close = template[open..].find('}').map(|found| open + found);
        let (Some(close), true) = (close, template[open..].starts_with('{')) else {
            return Err(wrong("a brace stands alone"));
        };
        let name = &template[open + 1..close];
        let value =
            parameters.get(name).ok_or_else(|| wrong("it has {name} that is not among the provider's parameters"))?;
        let rest = &template[close + 1..end.max(close + 1)];
        // Before `.example.com` (or as the whole) a value may have several labels; elsewhere in a host it would say whose host it is.
        let is_free = open >= end || rest.starts_with('.') || (open == start && rest.is_empty());
        if !is_word(value) || (!is_free && value.contains('.')) {
            return Err(ParameterError::Value(name.to_owned()).into());
        }
        out.push_str(value);
        at = close + 1;
    }
    out.push_str(&template[at..]);
    let url = usable(&out).map_err(wrong)?;
    let authority = out[start..].split(['/', '?']).next().unwrap_or_default().to_ascii_lowercase();
    let path = out[start + authority.len()..].split('?').next().unwrap_or_default();
    let is_same_host = host_of(&authority) == url.host_str().unwrap_or_default() && !authority.contains("..");
    let is_same_path = url.path() == path || (path.is_empty() && url.path() == "/");
    if template.contains('{') && !(is_same_host && is_same_path) {
        return Err(wrong("a parameter's value makes another host or path of it"));
    }
    Ok(out)
}

fn host_of(authority: &str) -> &str {
    let port = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    port.map_or(authority, |at| &authority[..at])
}

fn is_word(value: &str) -> bool {
    !value.is_empty()
        && !value.starts_with(['.', '-'])
        && !value.ends_with('.')
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::tests::provider;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn token_url(template: &str, value: &str) -> Result<String, EndpointError> {
        let provider = Provider {
            token_url: Some(template.into()),
            parameters: BTreeMap::from([("x".into(), value.into())]),
            ..provider()
        };
        let parameters = Parameters::new(&provider, &BTreeMap::new())?;
        Endpoints::of(&provider, &parameters)?.token().map(str::to_owned)
    }

    #[test]
    fn templates_become_addresses() {
        for (template, value, expected) in [
            ("https://login.example.com/{x}/token", "contoso.com", "https://login.example.com/contoso.com/token"),
            ("https://{x}.example.com/token?a=b", "my--uat.sandbox", "https://my--uat.sandbox.example.com/token?a=b"),
            ("https://{x}/token", "acme.example.com", "https://acme.example.com/token"),
            ("https://{x}", "acme.example.com", "https://acme.example.com"),
            ("https://api-{x}.example.com/token", "eu1", "https://api-eu1.example.com/token"),
            ("https://example.com:8443/token?t={x}", "a.b", "https://example.com:8443/token?t=a.b"),
            ("http://127.0.0.1:9/{x}", "a", "http://127.0.0.1:9/a"),
            ("http://[::1]:9/{x}", "a", "http://[::1]:9/a"),
            ("http://idp.localhost:9/token", "a", "http://idp.localhost:9/token"),
        ] {
            assert_eq!(token_url(template, value).as_deref(), Ok(expected), "{template} {value}");
        }
    }

    #[test]
    fn a_value_cannot_make_another_host_or_path() {
        for (template, value) in [
            ("https://login.{x}/token", "evil.com"),
            ("https://example{x}/token", "a.evil.com"),
            ("https://{x}.example.com/token", "evil.com/"),
            ("https://{x}.example.com/token", "evil.com#"),
            ("https://{x}.example.com/token", "evil.com:1@"),
            ("https://{x}.example.com/token", "a..b"),
            ("https://{x}.example.com/token", ".a"),
            ("https://{x}.example.com/token", "a."),
            ("https://{x}/token", "2130706433"),
            ("https://{x}/token", "0x7f.1"),
            ("https://example.com/{x}/token", ".."),
            ("https://example.com/{x}/token", "."),
            ("https://example.com/a.{x}/token", ""),
            ("https://example.com/{x}/token", "a/b"),
            ("https://example.com/{x}/token", "a?b"),
            ("https://example.com/{x}/token", "%2e%2e"),
            ("https://example.com/{x}/token", "a b"),
            ("https://example.com:{x}/token", "a"),
        ] {
            assert!(token_url(template, value).is_err(), "{template} {value}");
        }
    }

    #[test]
    fn addresses_that_secrets_cannot_be_sent_to_are_refused() {
        for template in [
            "http://example.com/token",
            "ftp://example.com/token",
            "{x}://example.com/token",
            "{x}",
            "/token",
            "https:///",
            "https://user@example.com/token",
            "https://user:pass@example.com/token",
            "https://example.com/token#a",
            "https://example.com/{y}",
            "https://example.com/{x",
            "https://example.com/x}",
            "https://example.com/}{x}",
        ] {
            assert!(matches!(token_url(template, "a"), Err(EndpointError::Address { .. })), "{template}");
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

    proptest! {
        #[test]
        fn no_value_and_no_template_panics_or_leaves_the_domain(template in "\\PC{0,40}", value in "\\PC{1,40}") {
            let _ = token_url(&template, &value);
            let _ = token_url(&format!("https://{template}"), &value);
            if let Ok(url) = token_url("https://{x}.example.com/{x}/token", &value) {
                let url = Url::parse(&url).expect("a URL");
                prop_assert!(url.host_str().is_some_and(|host| host.ends_with(".example.com")));
                prop_assert!(url.path().ends_with("/token") && url.path().matches('/').count() == 2);
            }
        }
    }
}
