//! Requests to a token endpoint (RFC 6749, sections 4 and 6; RFC 7523; RFC 8628).

use std::fmt;

use clawbridge_clock::Timestamp;
use clawbridge_config::{Assertion, ClientAuth, Grant, Method, Provider, TokenBody};
use ring::rand::SecureRandom;
use serde_json::{Map, Value};
use url::Url;

use crate::assertion::Claims;
use crate::dpop::DpopKey;
use crate::encoding::{base64, form, form_body};
use crate::endpoints::{EndpointError, Endpoints};
use crate::jws::{KeyError, SigningKey};
use crate::pkce::Verifier;

/// One request, for whoever sends it. Debug output shows the method, the host and the names of headers: the rest may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// An absolute URL.
    pub url: String,
    /// Headers, in small letters.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty where there is none.
    pub body: Vec<u8>,
}

/// What proves the client or signs its assertions, from the provider's secret. Debug output does not show it.
pub enum Credential {
    /// A public client, or one that its certificate proves.
    None,
    /// The client secret.
    Secret(String),
    /// A private key.
    Key(Box<SigningKey>),
}

/// What tokens are asked for with.
#[derive(Clone, Copy)]
pub enum Presented<'a> {
    /// The code of an authorization response (RFC 6749, section 4.1.3).
    Code {
        /// It.
        code: &'a str,
        /// The one of the authorization request, to the character.
        redirect_uri: &'a str,
        /// Where PKCE is used.
        verifier: Option<&'a Verifier>,
    },
    /// A refresh token (RFC 6749, section 6).
    Refresh(&'a str),
    /// Nothing but the client itself (RFC 6749, section 4.4), for these scopes.
    Client(&'a [String]),
    /// An assertion that the key signs (RFC 7523, section 2.1), for these scopes.
    Assertion(&'a [String]),
    /// A device code (RFC 8628, section 3.4).
    Device(&'a str),
}

/// Why a request cannot be made: the declaration and its secret have to be mended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// About an address.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// About the private key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The declaration's ways and its secret do not go together.
    #[error("{0}")]
    Misdeclared(&'static str),
    /// A further parameter that is the protocol's own.
    #[error("token_params: {0:?} is a parameter of OAuth's own, which the bridge sets")]
    Reserved(String),
    /// What is needed is not among what the connection has.
    #[error("the connection has no {0}, which this way of revoking needs")]
    Lacking(&'static str),
}

/// Who asks, and of whom.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// The declaration.
    pub provider: &'a Provider,
    /// Its addresses, for the account.
    pub endpoints: &'a Endpoints,
    /// What its secret holds.
    pub credential: &'a Credential,
    /// When.
    pub now: Timestamp,
    /// For signatures and identifiers of assertions.
    pub random: &'a dyn SecureRandom,
}

/// Parameters of a body, in their order.
pub(crate) type Pairs = Vec<(String, String)>;

impl Credential {
    /// What a provider's secret holds, by what the declaration needs it for: a key, if the client or the grant signs; else the client secret,
    /// without white space around it. `None` where the declaration names no secret.
    ///
    /// # Errors
    /// The secret is not what the declaration needs.
    pub fn read(provider: &Provider, secret: Option<&[u8]>) -> Result<Credential, RequestError> {
        let signs = provider.client_auth == ClientAuth::PrivateKeyJwt || provider.grant == Grant::JwtBearer;
        match secret {
            None => Ok(Credential::None),
            Some(secret) if signs => {
                let algorithm = provider.jwt.as_ref().map_or(Assertion::Rs256, |jwt| jwt.algorithm);
                Ok(Credential::Key(Box::new(SigningKey::read(algorithm, secret)?)))
            }
            Some(secret) => {
                let text = std::str::from_utf8(secret).map(str::trim).unwrap_or_default();
                if text.is_empty() || !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
                    return Err(RequestError::Misdeclared(
                        "the provider's secret is no client secret: it has to be one line of ASCII",
                    ));
                }
                Ok(Credential::Secret(text.to_owned()))
            }
        }
    }
}

impl Asking<'_> {
    /// A token request.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn token(&self, presented: &Presented<'_>) -> Result<Request, RequestError> {
        let url = self.endpoints.token()?;
        let mut pairs = Pairs::new();
        let mut add = |name: &str, value: &str| pairs.push((name.to_owned(), value.to_owned()));
        match presented {
            Presented::Code { code, redirect_uri, verifier } => {
                add("grant_type", "authorization_code");
                add("code", code);
                add("redirect_uri", redirect_uri);
                if let Some(verifier) = verifier {
                    add("code_verifier", verifier.expose());
                }
            }
            Presented::Refresh(token) => {
                add("grant_type", "refresh_token");
                add("refresh_token", token);
            }
            Presented::Client(scopes) => {
                add("grant_type", "client_credentials");
                if !scopes.is_empty() {
                    add("scope", &self.joined(scopes));
                }
            }
            Presented::Assertion(scopes) => {
                add("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
                add("assertion", &self.grant_assertion(url, scopes)?);
                let is_claim = self.provider.jwt.as_ref().is_some_and(|jwt| jwt.scope_claim);
                if !(scopes.is_empty() || is_claim) {
                    add("scope", &self.joined(scopes));
                }
            }
            Presented::Device(code) => {
                add("grant_type", "urn:ietf:params:oauth:grant-type:device_code");
                add("device_code", code);
            }
        }
        for (name, value) in &self.provider.token_params {
            let is_own = pairs.iter().any(|(own, _)| own == name)
                || ["client_id", "client_secret", "client_assertion", "client_assertion_type"].contains(&name.as_str());
            if is_own {
                return Err(RequestError::Reserved(name.clone()));
            }
            pairs.push((name.clone(), value.clone()));
        }
        self.proven(url, pairs)
    }

    /// A device authorization request (RFC 8628, section 3.1).
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn device(&self, scopes: &[String]) -> Result<Request, RequestError> {
        let mut pairs = Pairs::new();
        if !scopes.is_empty() {
            pairs.push(("scope".into(), self.joined(scopes)));
        }
        self.proven(self.endpoints.device()?, pairs)
    }

    fn joined(&self, scopes: &[String]) -> String {
        scopes.join(&self.provider.scope_separator)
    }

    /// A POST with the client's proof.
    pub(crate) fn proven(&self, url: &str, mut pairs: Pairs) -> Result<Request, RequestError> {
        let mut headers = vec![("accept", "application/json".to_owned())];
        let client_id = &self.provider.client_id;
        match self.provider.client_auth {
            ClientAuth::None | ClientAuth::Tls => pairs.push(("client_id".into(), client_id.clone())),
            ClientAuth::Basic => headers.push(("authorization", self.basic()?)),
            ClientAuth::Post => {
                pairs.push(("client_id".into(), client_id.clone()));
                pairs.push(("client_secret".into(), self.secret()?.to_owned()));
            }
            ClientAuth::PrivateKeyJwt => {
                let assertion = self.assertion(client_id, client_id, url, None)?;
                pairs.push(("client_id".into(), client_id.clone()));
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                pairs.push(("client_assertion_type".into(), kind.into()));
                pairs.push(("client_assertion".into(), assertion));
            }
        }
        Ok(written(Method::Post, url, headers, &pairs, self.provider.token_body))
    }

    /// RFC 6749, section 2.3.1: each part is written as in a form before they are joined.
    pub(crate) fn basic(&self) -> Result<String, RequestError> {
        let pair = format!("{}:{}", form(&self.provider.client_id), form(self.secret()?));
        Ok(format!("Basic {}", base64(pair.as_bytes())))
    }

    pub(crate) fn secret(&self) -> Result<&str, RequestError> {
        match self.credential {
            Credential::Secret(secret) => Ok(secret),
            Credential::None | Credential::Key(_) => Err(RequestError::Misdeclared(
                "client_auth = \"basic\" and \"post\" need the client secret: declare secret and store it",
            )),
        }
    }

    fn grant_assertion(&self, url: &str, scopes: &[String]) -> Result<String, RequestError> {
        let jwt = self.provider.jwt.as_ref();
        let email = match self.credential {
            Credential::Key(key) => key.client_email(),
            Credential::None | Credential::Secret(_) => None,
        };
        let issuer = jwt.and_then(|jwt| jwt.issuer.clone());
        let issuer = issuer.unwrap_or_else(|| email.unwrap_or(&self.provider.client_id).to_owned());
        let subject = jwt.and_then(|jwt| jwt.subject.clone()).unwrap_or_else(|| issuer.clone());
        let is_claim = jwt.is_some_and(|jwt| jwt.scope_claim) && !scopes.is_empty();
        let scope = is_claim.then(|| self.joined(scopes));
        self.assertion(&issuer, &subject, url, scope.as_deref())
    }

    fn assertion(&self, issuer: &str, subject: &str, url: &str, scope: Option<&str>) -> Result<String, RequestError> {
        let Credential::Key(key) = self.credential else {
            return Err(RequestError::Misdeclared(
                "an assertion needs a private key: declare secret and store the key there",
            ));
        };
        let jwt = self.provider.jwt.as_ref();
        let audience = jwt.and_then(|jwt| jwt.audience.as_deref());
        let claims = Claims { issuer, subject, audience: audience.unwrap_or(url), scope };
        let key_id = jwt.and_then(|jwt| jwt.key_id.as_deref());
        Ok(claims.sign(key, key_id, self.now, self.random)?)
    }
}

impl Request {
    /// With a DPoP proof (RFC 9449, section 5), in the place of the one it has.
    ///
    /// # Errors
    /// The key did not sign.
    pub fn with_proof(
        mut self,
        key: &DpopKey,
        nonce: Option<&str>,
        now: Timestamp,
        random: &dyn SecureRandom,
    ) -> Result<Request, KeyError> {
        let proof = key.proof(self.method.as_str(), &self.url, None, nonce, now, random)?;
        self.headers.retain(|(name, _)| *name != "dpop");
        self.headers.push(("dpop", proof));
        Ok(self)
    }
}

pub(crate) fn written(
    method: Method,
    url: &str,
    mut headers: Vec<(&'static str, String)>,
    pairs: &[(String, String)],
    body: TokenBody,
) -> Request {
    let (media_type, body) = match body {
        TokenBody::Form => {
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            ("application/x-www-form-urlencoded", form_body(&pairs))
        }
        TokenBody::Json => {
            let fields: Map<String, Value> =
                pairs.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
            ("application/json", Value::Object(fields).to_string())
        }
    };
    headers.push(("content-type", media_type.to_owned()));
    Request { method, url: url.to_owned(), headers, body: body.into_bytes() }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = Url::parse(&self.url).ok();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("host", &url.as_ref().and_then(Url::host_str).unwrap_or_default())
            .field("headers", &self.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Secret(_) => "Secret(..)",
            Self::Key(_) => "Key(..)",
        })
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Code { .. } => "Code { .. }",
            Self::Refresh(_) => "Refresh(..)",
            Self::Client(_) => "Client(..)",
            Self::Assertion(_) => "Assertion(..)",
            Self::Device(_) => "Device(..)",
        })
    }
}

impl fmt::Debug for Asking<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").field("title", &self.provider.title).field("now", &self.now).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
