//! Authorization requests (RFC 6749, section 4.1.1; RFC 7636, section 4.3).

use clawbridge_config::Provider;

use crate::encoding::percent;
use crate::endpoints::{EndpointError, Endpoints};
use crate::pkce::Verifier;
use crate::word::State;

/// Parameters that a declaration cannot set: the bridge does.
const OWN: [&str; 7] =
    ["response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method"];

/// What a person is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Consent<'a> {
    /// The declaration.
    pub provider: &'a Provider,
    /// Its addresses, for the account.
    pub endpoints: &'a Endpoints,
    /// Where the answer goes: one address for each provider.
    pub redirect_uri: &'a str,
    /// What is asked for.
    pub scopes: &'a [String],
    /// Which request it is.
    pub state: &'a State,
    /// Of that state; used where the declaration uses PKCE.
    pub verifier: &'a Verifier,
    /// The thumbprint of the key that the tokens will be bound to, where the code shall be too (RFC 9449, section 10).
    pub dpop_thumbprint: Option<&'a str>,
}

/// Why there is no such address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorizeError {
    /// About the endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A further parameter that is the protocol's own.
    #[error("authorize_params: {0:?} is a parameter of OAuth's own, which the bridge sets")]
    Reserved(String),
}

/// The address that the person's browser is sent to. It has the state in it and belongs into no log.
///
/// # Errors
/// The declaration has no endpoint, or sets a parameter of the protocol's own.
pub fn authorization_url(consent: &Consent<'_>) -> Result<String, AuthorizeError> {
    let provider = consent.provider;
    let endpoint = consent.endpoints.authorize()?;
    let mut pairs: Vec<(&str, String)> = vec![
        ("response_type", "code".into()),
        ("client_id", provider.client_id.clone()),
        ("redirect_uri", consent.redirect_uri.into()),
    ];
    if !consent.scopes.is_empty() {
        pairs.push(("scope", consent.scopes.join(&provider.scope_separator)));
    }
    pairs.push(("state", consent.state.expose().into()));
    if provider.pkce {
        pairs.push(("code_challenge", consent.verifier.challenge()));
        pairs.push(("code_challenge_method", "S256".into()));
    }
    if let Some(thumbprint) = consent.dpop_thumbprint {
        pairs.push(("dpop_jkt", thumbprint.into()));
    }
    for (name, value) in &provider.authorize_params {
        if OWN.contains(&name.as_str()) {
            return Err(AuthorizeError::Reserved(name.clone()));
        }
        pairs.push((name, value.clone()));
    }
    let query: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", percent(name), percent(value))).collect();
    // RFC 6749, section 3.1: a query that the endpoint has stays.
    let joint = match endpoint.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    Ok(format!("{endpoint}{joint}{}", query.join("&")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::tests::provider;
    use std::collections::BTreeMap;
    use url::Url;

    fn query(provider: &Provider, scopes: &[&str]) -> Result<BTreeMap<String, String>, AuthorizeError> {
        let state = State::new([1; 32]);
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let url = authorization_url(&Consent {
            provider,
            endpoints: &Endpoints::of(provider).expect("endpoints"),
            redirect_uri: "https://bridge.example.com/oauth/callback/example",
            scopes: &scopes,
            state: &state,
            verifier: &Verifier::derive(&[2; 32], &state).expect("a verifier"),
            dpop_thumbprint: None,
        })?;
        assert!(!url.contains(['+', ' ']), "{url}");
        Ok(Url::parse(&url).expect("a URL").query_pairs().into_owned().collect())
    }

    #[test]
    fn a_request_has_what_the_protocol_wants_and_what_is_declared() {
        let with = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let slack = Provider {
            authorize_url: Some("https://slack.example.com/authorize?v=2".into()),
            authorize_params: with("user_scope", "chat:write,im:read T1"),
            scope_separator: ",".into(),
            ..provider()
        };
        let state = State::new([1; 32]);
        let challenge = Verifier::derive(&[2; 32], &state).expect("a verifier").challenge();
        let got = query(&slack, &["commands", "users:read+"]).expect("a URL");
        let expected = [
            ("client_id", "the-client"),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("redirect_uri", "https://bridge.example.com/oauth/callback/example"),
            ("response_type", "code"),
            ("scope", "commands,users:read+"),
            ("state", state.expose()),
            ("user_scope", "chat:write,im:read T1"),
            ("v", "2"),
        ];
        assert_eq!(got, expected.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect());
    }

    #[test]
    fn without_pkce_and_scopes_neither_is_there() {
        let got = query(&Provider { pkce: false, ..provider() }, &[]).expect("a URL");
        assert_eq!(
            got.keys().map(String::as_str).collect::<Vec<_>>(),
            ["client_id", "redirect_uri", "response_type", "state"]
        );
    }

    #[test]
    fn a_declaration_cannot_set_what_protects_the_flow() {
        for name in OWN {
            let provider = Provider { authorize_params: BTreeMap::from([(name.into(), "x".into())]), ..provider() };
            assert_eq!(query(&provider, &[]), Err(AuthorizeError::Reserved(name.into())));
        }
        let none = Provider { authorize_url: None, ..provider() };
        assert_eq!(query(&none, &[]), Err(EndpointError::Missing("authorize_url").into()));
    }
}
