//! The provider is asked: the grants `refresh_token` and `client_credentials` with a client secret.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clawbridge_clock::Timestamp;
use clawbridge_config::{ClientAuth, Grant, Provider};
use clawbridge_oauth::{Refused, Retry, TokenKind, TokenSet};
use clawbridge_outbound::{Outbound, Received, Request};
use clawbridge_secrets::{Secrets, Stage};
use clawbridge_tasks::TaskError;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Url};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use url::form_urlencoded::{Serializer, byte_serialize};

/// The longest answer that is read, bytes.
const BOUND: usize = 64 * 1024;

/// How the provider is asked.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) secrets: Secrets,
}

fn client(reason: &str) -> Refused {
    Refused::Client { code: "CLIENT_MISDECLARED".to_owned(), reason: reason.to_owned() }
}

impl Exchange {
    /// New tokens, within `time`: for the refresh token of `set`, or for nothing where the grant needs no person.
    pub(crate) async fn ask(
        &self,
        outbound: &Outbound,
        provider: &Provider,
        set: Option<&TokenSet>,
        previous_secret: bool,
        time: Duration,
    ) -> Result<TokenSet, Refused> {
        let url = provider.token_url.as_deref().ok_or_else(|| client("the provider has no token_url"))?;
        let parameters = provider.parameters.iter().chain(set.into_iter().flat_map(|set| &set.parameters));
        let url = parameters.fold(url.to_owned(), |url, (name, value)| url.replace(&format!("{{{name}}}"), value));
        let url = Url::parse(&url).map_err(|_| client("the provider's token_url is no URL"))?;
        let mut fields: Vec<(&str, &str)> = Vec::new();
        match (provider.grant, set.and_then(|set| set.refresh_token.as_deref())) {
            (Grant::AuthorizationCode | Grant::DeviceCode, Some(token)) => {
                fields.extend([("grant_type", "refresh_token"), ("refresh_token", token)]);
            }
            (Grant::ClientCredentials, _) => fields.push(("grant_type", "client_credentials")),
            _ => return Err(client("the provider's grant cannot be asked again for tokens")),
        }
        let secret = self.client_secret(provider, previous_secret).await?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        match (provider.client_auth, &secret) {
            (ClientAuth::None, _) => fields.push(("client_id", &provider.client_id)),
            (ClientAuth::Post, Some(secret)) => {
                fields.extend([("client_id", provider.client_id.as_str()), ("client_secret", secret)]);
            }
            (ClientAuth::Basic, Some(secret)) => {
                let part = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                let proof = BASE64_STANDARD.encode(format!("{}:{}", part(&provider.client_id), part(secret)));
                let mut value = HeaderValue::try_from(format!("Basic {proof}")).map_err(|_| client("no header"))?;
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
            }
            _ => return Err(client("the provider's client_auth is not known here, or has no secret")),
        }
        fields.extend(provider.token_params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let body = Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes();
        let request = Request { method: Method::POST, url, headers, body: Some(body) };
        let answer = outbound.exchange(request, time, BOUND).await.map_err(|error| unsent(&error))?;
        read(&answer, provider, set, Timestamp::now())
    }

    async fn client_secret(&self, provider: &Provider, previous: bool) -> Result<Option<String>, Refused> {
        let Some(name) = &provider.secret else { return Ok(None) };
        // The current one was refused: it may have been rotated a moment ago, or not be known to the provider yet.
        let stage = if previous { Stage::Previous } else { Stage::Current };
        let value = self.secrets.get(name, stage).await.map_err(|error| client(&error.to_string()))?;
        let text = std::str::from_utf8(value.expose()).map_err(|_| client("the client secret is no text"))?;
        Ok(Some(text.trim_end().to_owned()))
    }
}

fn later(code: &'static str, reason: &str, after: Option<Duration>, may_have_acted: bool) -> Refused {
    Refused::Later(Retry { code, reason: reason.to_owned(), after, may_have_acted })
}

fn unsent(error: &TaskError) -> Refused {
    later(error.code.as_str(), &error.message, error.retry_after, error.may_have_acted)
}

/// What the answer means.
fn read(
    answer: &Received,
    provider: &Provider,
    before: Option<&TokenSet>,
    now: Timestamp,
) -> Result<TokenSet, Refused> {
    let after = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let after = after.map(Duration::from_secs);
    let json: Option<Value> = serde_json::from_slice(&answer.body).ok().filter(|_| !answer.cut);
    let text = |name: &str| json.as_ref().and_then(|json| json.get(name)).and_then(Value::as_str);
    match (answer.status, text("error")) {
        (429 | 503, _) => return Err(later("RATE_LIMITED", "the provider wants to be left alone", after, false)),
        (_, Some("invalid_grant")) => {
            let reason = "the provider does not take the refresh token (any more)".to_owned();
            return Err(Refused::Grant { code: "invalid_grant".to_owned(), reason });
        }
        (_, Some(code @ ("invalid_client" | "unauthorized_client"))) => {
            let reason = "the provider does not know the client, or its secret".to_owned();
            return Err(Refused::Client { code: code.to_owned(), reason });
        }
        (500.., _) => return Err(later("UPSTREAM_ERROR", "the provider broke", after, true)),
        _ => {}
    }
    let (Some(token), 200) = (text("access_token").filter(|token| !token.is_empty()), answer.status) else {
        return Err(later("UNEXPECTED_RESPONSE", "the provider's answer is no token response", after, true));
    };
    let said = json.as_ref().and_then(|json| json.get("expires_in")).and_then(Value::as_u64).map(Duration::from_secs);
    let lifetime = said.or_else(|| provider.token_lifetime.map(clawbridge_config::Lifetime::duration));
    let scopes = text("scope").map(|scopes| scopes.split(' ').map(str::to_owned).collect());
    Ok(TokenSet {
        v: 1,
        generation: 0,
        access_token: token.to_owned(),
        kind: TokenKind::Bearer,
        // The one before goes on where there is no new one (RFC 6749, section 6).
        refresh_token: text("refresh_token")
            .map(str::to_owned)
            .or_else(|| before.and_then(|before| before.refresh_token.clone())),
        expires_at: lifetime.map(|lifetime| now.plus(lifetime)),
        refresh_expires_at: None,
        scopes: scopes
            .or_else(|| before.map(|before| before.scopes.clone()))
            .unwrap_or_else(|| provider.scopes.clone()),
        obtained_at: now,
        dpop_key: before.and_then(|before| before.dpop_key.clone()),
        kept: before.map_or_else(BTreeMap::new, |before| before.kept.clone()),
        parameters: before.map_or_else(BTreeMap::new, |before| before.parameters.clone()),
    })
}
