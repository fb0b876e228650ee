//! Providers are asked: `clawbridge-oauth` makes the requests and reads the answers, and this sends them.

use crate::name::ConnectionName;
use clawbridge_clock::Timestamp;
use clawbridge_config::{Grant, Provider, Tls};
use clawbridge_oauth::discovery::{self, Metadata};
use clawbridge_oauth::{
    Answer, Asking, Credential, DeviceAnswer, DeviceAuthorization, DpopKey, Endpoints, Expected, Presented, Refused,
    Request, RequestError, Retry, TokenSet,
};
use clawbridge_outbound::{Identity, Outbound, Received};
use clawbridge_secrets::{SecretError, SecretValue, Secrets, Stage, name_in_stack};
use clawbridge_tasks::TaskError;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Url};
use ring::rand::SystemRandom;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest answer that is read, bytes.
const BOUND: usize = 64 * 1024;

/// How long an issuer's metadata is used. RFC 8414 names no time; endpoints move in months.
const METADATA_AGE: Duration = Duration::from_secs(60 * 60);

/// The most issuers whose metadata is kept.
const MAX_ISSUERS: usize = 64;

/// How providers are asked. Clones share what was discovered.
#[derive(Clone, Debug)]
pub struct Exchange {
    secrets: Secrets,
    prefix: Arc<str>,
    discovered: Arc<Mutex<HashMap<String, (Instant, Metadata)>>>,
}

/// The authorization server of one account, with everything filled in.
#[derive(Clone, Debug)]
pub struct Server {
    /// The declaration, without templates.
    pub provider: Provider,
    /// Its addresses, discovered ones among them.
    pub endpoints: Endpoints,
    /// What its issuer says of itself, where it was asked.
    pub metadata: Option<Metadata>,
    /// The account's own values of the provider's parameters.
    pub own: BTreeMap<String, String>,
    /// The name in bridge.toml.
    name: String,
}

impl Server {
    /// What is asked for: what must be granted, and what need not be.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.provider.scopes.iter().chain(&self.provider.optional_scopes).cloned().collect()
    }
}

/// What tokens are asked for, besides what is presented.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The token set that is refreshed.
    pub previous: Option<&'a TokenSet>,
    /// The generation of what comes, where there is no previous one.
    pub generation: u64,
    /// The client's previous secret is used.
    pub previous_secret: bool,
}

/// The declaration or its secret has to be mended.
fn misdeclared(reason: impl ToString) -> Refused {
    Refused::Client { code: "CLIENT_MISDECLARED".to_owned(), reason: reason.to_string() }
}

fn later(code: &'static str, reason: String) -> Refused {
    Refused::Later(Retry { code, reason, after: None, may_have_acted: false })
}

impl Exchange {
    /// Reads client secrets with `secrets`, whose names in this stack begin with `prefix`.
    #[must_use]
    pub fn new(secrets: Secrets, prefix: &str) -> Exchange {
        Exchange { secrets, prefix: prefix.into(), discovered: Arc::default() }
    }

    /// The server of an account at `provider`, called `name` in bridge.toml; its issuer is asked for what the declaration leaves out.
    ///
    /// # Errors
    /// The account's parameters do not fit, or the issuer cannot be asked.
    pub async fn server(
        &self,
        outbound: &Outbound,
        name: &str,
        provider: &Provider,
        own: &BTreeMap<String, String>,
    ) -> Result<Server, Refused> {
        let provider = provider.for_account(own).map_err(misdeclared)?;
        let endpoints = Endpoints::of(&provider).map_err(misdeclared)?;
        let has_all = endpoints.token.is_some()
            && match provider.grant {
                Grant::AuthorizationCode => endpoints.authorize.is_some(),
                Grant::DeviceCode => endpoints.device.is_some(),
                Grant::ClientCredentials | Grant::JwtBearer => true,
            };
        let metadata = match &endpoints.issuer {
            Some(issuer) if !has_all => Some(self.metadata(outbound, issuer).await?),
            Some(_) | None => None,
        };
        let endpoints = match &metadata {
            Some(metadata) => endpoints.with(metadata),
            None => endpoints,
        };
        Ok(Server { provider, endpoints, metadata, own: own.clone(), name: name.to_owned() })
    }

    /// What an issuer says of itself (RFC 8414, OpenID Connect Discovery), at most an hour old.
    ///
    /// # Errors
    /// It cannot be asked, or says what is not its own.
    pub async fn metadata(&self, outbound: &Outbound, issuer: &str) -> Result<Metadata, Refused> {
        // No half-made state between statements, so a panic elsewhere leaves the map usable.
        let known = self.discovered.lock().unwrap_or_else(PoisonError::into_inner).get(issuer).cloned();
        if let Some((_, metadata)) = known.filter(|(at, _)| at.elapsed() < METADATA_AGE) {
            return Ok(metadata);
        }
        let mut last = later("UNAVAILABLE", "the issuer has no metadata where it should be".to_owned());
        for place in discovery::places(issuer).map_err(misdeclared)? {
            let url = Url::parse(&place).map_err(|_| misdeclared("issuer: it is no URL"))?;
            let sent = outbound.send(Method::GET, url, HeaderMap::new(), Duration::from_secs(5), discovery::MAX_BYTES);
            match sent.await {
                Ok(answer) if answer.status == 200 && !answer.cut => {
                    let metadata = Metadata::parse(issuer, &answer.body).map_err(misdeclared)?;
                    let mut kept = self.discovered.lock().unwrap_or_else(PoisonError::into_inner);
                    if kept.len() >= MAX_ISSUERS {
                        kept.clear();
                    }
                    kept.insert(issuer.to_owned(), (Instant::now(), metadata.clone()));
                    return Ok(metadata);
                }
                Ok(_) => {}
                Err(error) => last = unsent(&error),
            }
        }
        Err(last)
    }

    /// Tokens for what is presented.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn tokens(
        &self,
        outbound: &Outbound,
        server: &Server,
        presented: &Presented<'_>,
        wanted: Wanted<'_>,
    ) -> Result<TokenSet, Refused> {
        let random = SystemRandom::new();
        let credential = self.credential(server, wanted.previous_secret).await?;
        let key = bound_key(&server.provider, wanted.previous, &random)?;
        let asked = server.asked();
        let request = asking(server, &credential, &random).token(presented).map_err(|error| misdeclared(&error))?;
        let expected = |now| Expected {
            provider: &server.provider,
            asked: &asked,
            previous: wanted.previous,
            generation: wanted.generation,
            parameters: &server.own,
            dpop_key: key.as_ref().map(DpopKey::stored),
            now,
        };
        let first = self.send(outbound, server, proven(request.clone(), key.as_ref(), None, &random)?).await?;
        let refused = match expected(Timestamp::now()).tokens(&answer(&first)) {
            Err(Refused::Nonce(nonce)) => nonce,
            outcome => return outcome,
        };
        let again = proven(request, key.as_ref(), Some(&refused), &random)?;
        let second = self.send(outbound, server, again).await?;
        match expected(Timestamp::now()).tokens(&answer(&second)) {
            Err(Refused::Nonce(_)) => {
                Err(later("UPSTREAM_ERROR", "the provider wants one nonce after the other".to_owned()))
            }
            outcome => outcome,
        }
    }

    /// New tokens in the place of `set`: by its refresh token, or anew where the grant needs no person.
    pub(crate) async fn ask(
        &self,
        outbound: &Outbound,
        name: &ConnectionName,
        provider: &Provider,
        set: Option<&TokenSet>,
        previous_secret: bool,
    ) -> Result<TokenSet, Refused> {
        let none = BTreeMap::new();
        let own = set.map_or(&none, |set| &set.parameters);
        let server = self.server(outbound, name.provider(), provider, own).await?;
        let asked = server.asked();
        let presented = match (server.provider.grant, set.and_then(|set| set.refresh_token.as_deref())) {
            (Grant::ClientCredentials, _) => Presented::Client(&asked),
            (Grant::JwtBearer, _) => Presented::Assertion(&asked),
            (Grant::AuthorizationCode | Grant::DeviceCode, Some(token)) => Presented::Refresh(token),
            (Grant::AuthorizationCode | Grant::DeviceCode, None) => {
                let reason = "the provider gave no refresh token".to_owned();
                return Err(Refused::Grant { code: "NO_REFRESH_TOKEN".to_owned(), reason });
            }
        };
        let wanted = Wanted { previous: set, generation: 1, previous_secret };
        self.tokens(outbound, &server, &presented, wanted).await
    }

    /// The codes with which a person consents on another device (RFC 8628).
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn device(&self, outbound: &Outbound, server: &Server) -> Result<DeviceAuthorization, Refused> {
        let random = SystemRandom::new();
        let credential = self.credential(server, false).await?;
        let asked = server.asked();
        let request = asking(server, &credential, &random).device(&asked).map_err(|error| misdeclared(&error))?;
        let received = self.send(outbound, server, request).await?;
        let expected = plain(server, &asked, None);
        expected.device(&answer(&received))
    }

    /// Whether the person has consented by now. `key`: what the tokens are to be bound to.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn poll(&self, outbound: &Outbound, server: &Server, device_code: &str) -> Result<DeviceAnswer, Refused> {
        let random = SystemRandom::new();
        let credential = self.credential(server, false).await?;
        let key = bound_key(&server.provider, None, &random)?;
        let asked = server.asked();
        let request = asking(server, &credential, &random).token(&Presented::Device(device_code));
        let request = request.map_err(|error| misdeclared(&error))?;
        let received = self.send(outbound, server, proven(request.clone(), key.as_ref(), None, &random)?).await?;
        let read = |received: &Received| plain(server, &asked, key.as_ref()).poll(&answer(received));
        match read(&received) {
            Err(Refused::Nonce(nonce)) => {
                let again = proven(request, key.as_ref(), Some(&nonce), &random)?;
                read(&self.send(outbound, server, again).await?)
            }
            outcome => outcome,
        }
    }

    /// Has the provider revoke a token set. `false`: it has no way.
    ///
    /// # Errors
    /// It was not told, or did not take it: the tokens may still be good.
    pub async fn revoke(&self, outbound: &Outbound, server: &Server, set: &TokenSet) -> Result<bool, Refused> {
        let random = SystemRandom::new();
        let credential = self.credential(server, false).await?;
        let request = asking(server, &credential, &random).revocation(set).map_err(|error| misdeclared(&error))?;
        let Some(request) = request else { return Ok(false) };
        let received = self.send(outbound, server, request).await?;
        if (200..300).contains(&received.status) {
            return Ok(true);
        }
        let reason = format!("the provider answered the revocation with status {}", received.status);
        Err(later("UPSTREAM_ERROR", reason))
    }

    async fn credential(&self, server: &Server, previous: bool) -> Result<Credential, Refused> {
        let secret = match &server.provider.secret {
            None => None,
            // The current one was refused: it may have been rotated a moment ago, or not be known to the provider yet.
            Some(name) => Some(self.secret(name, if previous { Stage::Previous } else { Stage::Current }).await?),
        };
        Credential::read(&server.provider, secret.as_ref().map(SecretValue::expose))
            .map_err(|error| misdeclared(&error))
    }

    async fn secret(&self, declared: &str, stage: Stage) -> Result<SecretValue, Refused> {
        let read = self.secrets.get(&name_in_stack(&self.prefix, declared), stage).await;
        read.map_err(|error| match error {
            SecretError::Missing { .. } => Refused::Client {
                code: "CREDENTIAL_UNAVAILABLE".to_owned(),
                reason: format!("{error}; `clawbridge secret set {declared}` makes it"),
            },
            SecretError::Unavailable { .. } | SecretError::Throttled { .. } => later("UNAVAILABLE", error.to_string()),
        })
    }

    async fn send(&self, outbound: &Outbound, server: &Server, request: Request) -> Result<Received, Refused> {
        let identity = match &server.provider.tls {
            Some(tls) => Some((tls, self.identity(tls).await?)),
            None => None,
        };
        let url =
            Url::parse(&request.url).map_err(|_| misdeclared(format!("{}: an address is no URL", server.name)))?;
        let method = Method::from_bytes(request.method.as_str().as_bytes()).map_err(|_| misdeclared("no method"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| misdeclared("a header cannot be sent; see the client secret"))?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static(name), value);
        }
        let body = (!request.body.is_empty()).then_some(request.body);
        let request = clawbridge_outbound::Request { method, url, headers, body };
        let identity = identity.as_ref().map(|(tls, identity)| (*tls, identity));
        outbound.exchange(request, identity, crate::refresh::ASK, BOUND).await.map_err(|error| unsent(&error))
    }

    /// RFC 8705: the client's certificate, and whom it trusts.
    pub(crate) async fn identity(&self, tls: &Tls) -> Result<Identity, Refused> {
        let mut identity = Identity::default();
        if let Some(name) = &tls.secret {
            identity.certificate = Some(self.secret(name, Stage::Current).await?);
        }
        if let Some(name) = &tls.ca {
            identity.authority = Some(self.secret(name, Stage::Current).await?);
        }
        Ok(identity)
    }
}

fn asking<'a>(server: &'a Server, credential: &'a Credential, random: &'a SystemRandom) -> Asking<'a> {
    Asking { provider: &server.provider, endpoints: &server.endpoints, credential, now: Timestamp::now(), random }
}

fn plain<'a>(server: &'a Server, asked: &'a [String], key: Option<&'a DpopKey>) -> Expected<'a> {
    Expected {
        provider: &server.provider,
        asked,
        previous: None,
        generation: 1,
        parameters: &server.own,
        dpop_key: key.map(DpopKey::stored),
        now: Timestamp::now(),
    }
}

/// The key that tokens are bound to: that of the set that is refreshed, else a new one.
fn bound_key(
    provider: &Provider,
    previous: Option<&TokenSet>,
    random: &SystemRandom,
) -> Result<Option<DpopKey>, Refused> {
    let key = match previous.and_then(|previous| previous.dpop_key.as_deref()) {
        Some(stored) => DpopKey::read(stored, random),
        None if provider.dpop => DpopKey::generate(random),
        None => return Ok(None),
    };
    key.map(Some).map_err(|error| misdeclared(RequestError::from(error)))
}

fn proven(
    request: Request,
    key: Option<&DpopKey>,
    nonce: Option<&str>,
    random: &SystemRandom,
) -> Result<Request, Refused> {
    match key {
        None => Ok(request),
        Some(key) => request
            .with_proof(key, nonce, Timestamp::now(), random)
            .map_err(|error| misdeclared(RequestError::from(error))),
    }
}

fn answer(received: &Received) -> Answer<'_> {
    let header = |name: HeaderName| received.headers.get(name).and_then(|value| value.to_str().ok());
    Answer {
        status: received.status,
        content_type: header(CONTENT_TYPE),
        retry_after: header(RETRY_AFTER),
        dpop_nonce: header(HeaderName::from_static("dpop-nonce")),
        body: &received.body,
        is_cut: received.cut,
    }
}

fn unsent(error: &TaskError) -> Refused {
    Refused::Later(Retry {
        code: error.code.as_str(),
        reason: error.message.clone(),
        after: error.retry_after,
        may_have_acted: error.may_have_acted,
    })
}
