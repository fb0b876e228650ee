//! Whether a connection's token works: the provider's `test_url` is asked with it.

use crate::connections::{AccessToken, Connections, Providers, Unusable};
use crate::name::ConnectionName;
use clawbridge_clock::Timestamp;
use clawbridge_config::{ParameterError, Provider};
use clawbridge_oauth::{DpopKey, Refused, TokenKind, nonce};
use clawbridge_outbound::{Received, Request};
use clawbridge_tasks::TaskError;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use ring::rand::SystemRandom;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(20);

/// As much of it is read, bytes.
const BOUND: usize = 64 * 1024;

/// What a test came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// Which of the connection's token sets was tried.
    pub generation: u64,
    /// What was answered. `None`: the provider has no `test_url`, so there was nothing to ask.
    pub answer: Option<TestAnswer>,
}

/// What a provider answered to a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestAnswer {
    /// The address that was asked.
    pub url: String,
    /// The HTTP status.
    pub status: u16,
    /// Whether the token is taken: the status is 2xx, and the answer does not say `"ok": false`, which is Slack's way to say no.
    pub passed: bool,
    /// How long it took, milliseconds.
    pub ms: u64,
}

impl TestAnswer {
    /// What to look at where it is not taken.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self.status {
            401 => "the API does not take the token, and a new one neither: is test_url of this provider?",
            403 => "the API knows the token and refuses it this: a scope or the account's own permission is missing",
            200..300 => "the answer says \"ok\": false",
            _ => "is test_url right?",
        }
    }
}

/// Why a token was not tried.
#[derive(Clone, Debug, PartialEq)]
pub enum Untested {
    /// There is none.
    Unusable(Unusable),
    /// The account's own parameters do not fit the declaration.
    Parameters(ParameterError),
    /// The client's certificate could not be had.
    Identity(Refused),
    /// The request cannot be made: in plain words.
    NotSent(String),
    /// No answer came.
    NoAnswer(TaskError),
}

impl Connections {
    /// Asks the provider's `test_url` with a connection's token; where that is refused, with a new one. `left`: how long the caller can wait for a token.
    ///
    /// # Errors
    /// See [`Untested`].
    pub async fn test(&self, providers: &Providers, name: &ConnectionName, left: Duration) -> Result<Tested, Untested> {
        let mut token = self.token(providers, name, left).await.map_err(Untested::Unusable)?;
        let declared = providers.declared.get(name.provider());
        let unknown = || Untested::Unusable(Unusable::UnknownProvider(name.provider().to_owned()));
        let provider = declared.ok_or_else(unknown)?.for_account(token.parameters()).map_err(Untested::Parameters)?;
        let Some(url) = &provider.test_url else { return Ok(Tested { generation: token.generation(), answer: None }) };
        let started = Instant::now();
        let mut answer = self.ask_with(providers, &provider, url, &token).await?;
        if answer.status == 401
            && let Some(other) = self.refused(providers, name, &token, left).await.map_err(Untested::Unusable)?
        {
            token = other;
            answer = self.ask_with(providers, &provider, url, &token).await?;
        }
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let says_no = serde_json::from_slice::<Value>(&answer.body).is_ok_and(|body| body["ok"] == false);
        let passed = (200..300).contains(&answer.status) && !says_no;
        let answer = TestAnswer { url: url.clone(), status: answer.status, passed, ms };
        Ok(Tested { generation: token.generation(), answer: Some(answer) })
    }

    /// GET with the token, twice where the API wants a nonce in the proof (RFC 9449, section 9).
    async fn ask_with(
        &self,
        providers: &Providers,
        provider: &Provider,
        url: &str,
        token: &AccessToken,
    ) -> Result<Received, Untested> {
        let answer = self.get_with(providers, provider, url, token, None).await?;
        if answer.status != 401 || token.kind() != TokenKind::Dpop {
            return Ok(answer);
        }
        let header = answer.headers.get("dpop-nonce").and_then(|value| value.to_str().ok());
        match header.and_then(nonce) {
            Some(nonce) => self.get_with(providers, provider, url, token, Some(&nonce)).await,
            None => Ok(answer),
        }
    }

    async fn get_with(
        &self,
        providers: &Providers,
        provider: &Provider,
        url: &str,
        token: &AccessToken,
        nonce: Option<&str>,
    ) -> Result<Received, Untested> {
        let unsendable = |what: &str| Untested::NotSent(format!("{url}: {what}"));
        let mut headers = HeaderMap::new();
        let mut put = |name: HeaderName, value: String| {
            let mut value = HeaderValue::from_str(&value).map_err(|_| unsendable("no header can carry the token"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
            Ok::<(), Untested>(())
        };
        match token.kind() {
            TokenKind::Bearer => put(AUTHORIZATION, format!("Bearer {}", token.value()))?,
            TokenKind::Dpop => {
                let random = SystemRandom::new();
                let key = DpopKey::read(token.dpop_key().unwrap_or_default(), &random);
                let proof =
                    key.and_then(|key| key.proof("GET", url, Some(token.value()), nonce, Timestamp::now(), &random));
                put(HeaderName::from_static("dpop"), proof.map_err(|error| unsendable(&error.to_string()))?)?;
                put(AUTHORIZATION, format!("DPoP {}", token.value()))?;
            }
        }
        let identity = match &provider.tls {
            Some(tls) => Some((tls, self.exchange().identity(tls).await.map_err(Untested::Identity)?)),
            None => None,
        };
        let target = Url::parse(url).map_err(|_| unsendable("it is no URL"))?;
        let request = Request { method: Method::GET, url: target, headers, body: None };
        let identity = identity.as_ref().map(|(tls, identity)| (*tls, identity));
        providers.outbound.exchange(request, identity, LIMIT, BOUND).await.map_err(Untested::NoAnswer)
    }
}
