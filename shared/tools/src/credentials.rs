//! The secrets of a tool, read from Secrets Manager with a bounded age.

use crate::call::Deployment;
use crate::redact::Redaction;
use crate::sign::stand_in;
use clawbridge_config::{Auth, Carrier, CompiledTool, Credential, Tls};
use clawbridge_connections::AccessToken;
use clawbridge_outbound::{Identity, unusable};
use clawbridge_secrets::{SecretError, SecretValue, Secrets, Stage};
use clawbridge_tasks::{Class, Code, TaskError};
use std::fmt;

/// What a tool's requests are made with. Debug output does not show it.
#[derive(Clone, Default)]
pub(crate) struct Credentials {
    /// What `auth` sends.
    pub(crate) auth: Option<String>,
    /// What `sign` signs with.
    pub(crate) key: Option<String>,
    /// What `tls` shows and trusts.
    pub(crate) identity: Identity,
    /// The connection's token, where `auth` sends one.
    pub(crate) token: Option<AccessToken>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// How old a secret may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    /// As old as the cache allows.
    Known,
    /// As Secrets Manager has it now: the one in hand was refused.
    Newest,
}

impl Credentials {
    /// Those of `tool`, with the token of its connection if it has one.
    ///
    /// # Errors
    /// As [`credential`].
    pub(crate) async fn read(
        secrets: &Secrets,
        deployment: &Deployment,
        tool: &CompiledTool,
        token: Option<AccessToken>,
    ) -> Result<Credentials, TaskError> {
        Ok(Credentials::of(secrets, deployment, tool, Age::Known).await?.with(token))
    }

    /// Those of `tool` as they are now, with this token, if they are not these, which were just refused.
    pub(crate) async fn newer(
        &self,
        secrets: &Secrets,
        deployment: &Deployment,
        tool: &CompiledTool,
        token: Option<AccessToken>,
    ) -> Option<Credentials> {
        let newest = Credentials::of(secrets, deployment, tool, Age::Newest).await.ok()?.with(token);
        let is_other = newest.auth != self.auth || newest.key != self.key || newest.identity != self.identity;
        is_other.then_some(newest)
    }

    fn with(self, token: Option<AccessToken>) -> Credentials {
        let auth = token.as_ref().map(|token| token.value().to_owned());
        Credentials { auth: auth.or(self.auth), token, ..self }
    }

    async fn of(
        secrets: &Secrets,
        deployment: &Deployment,
        tool: &CompiledTool,
        age: Age,
    ) -> Result<Credentials, TaskError> {
        let read = async |name: Option<&str>| match name {
            Some(name) => value(secrets, deployment, name, age).await.map(Some),
            None => Ok(None),
        };
        let tool = tool.tool();
        let auth = tool.auth.as_ref().and_then(|auth| match &auth.credential {
            Credential::Secret(name) => Some(name.as_str()),
            Credential::Connection(_) => None,
        });
        let key = tool.sign.as_ref().map(|sign| sign.secret.as_str());
        let tls = tool.tls.as_ref();
        let text = |name: Option<&str>, value: Option<SecretValue>| match (name, value) {
            (Some(name), Some(value)) => readable(name, &value).map(Some),
            _ => Ok(None),
        };
        Ok(Credentials {
            auth: text(auth, read(auth).await?)?,
            key: text(key, read(key).await?)?,
            identity: Identity {
                certificate: read(tls.and_then(|tls| tls.secret.as_deref())).await?,
                authority: read(tls.and_then(|tls: &Tls| tls.ca.as_deref())).await?,
            },
            token: None,
        })
    }

    /// Others that can be used in the place of those of `tool`, for showing what would be sent.
    pub(crate) fn stand_ins(tool: &CompiledTool) -> Credentials {
        let auth = tool.tool().auth.as_ref().map(|auth| match auth.carrier {
            Carrier::Basic { user: None } => "a-stand-in:for-the-credential".to_owned(),
            Carrier::Basic { user: Some(_) } | Carrier::Header { .. } | Carrier::Query { .. } => {
                "a-stand-in-for-the-credential".to_owned()
            }
        });
        let key = tool.tool().sign.as_ref().map(|sign| stand_in(sign.secret_encoding).to_owned());
        Credentials { auth, key, identity: Identity::default(), token: None }
    }

    /// `user:password` of a tool that sends Basic (RFC 7617).
    pub(crate) fn user_and_password(&self, user: Option<&str>) -> String {
        let secret = self.auth.as_deref().unwrap_or_default();
        user.map_or_else(|| secret.to_owned(), |user| format!("{user}:{secret}"))
    }

    /// What must not be told of a call with these. The private key of a certificate is never sent.
    pub(crate) fn redaction(&self, tool: &CompiledTool) -> Redaction {
        let mut redaction = Redaction::default();
        if let (Some(auth), Some(secret)) = (&tool.tool().auth, &self.auth) {
            redaction.add(secret);
            if let Carrier::Basic { user } = &auth.carrier {
                let both = self.user_and_password(user.as_deref());
                redaction.add(both.split_once(':').map_or("", |(_, password)| password));
                redaction.add(&both);
            }
        }
        if let Some(key) = &self.key {
            redaction.add(key);
            redaction.add(key.strip_prefix("whsec_").unwrap_or(key));
        }
        redaction
    }
}

/// A credential that a request must have, and its value.
pub(crate) fn required<'a>(auth: &Auth, value: Option<&'a str>) -> Result<&'a str, TaskError> {
    value.ok_or_else(|| unusable(auth.credential.name(), "was not read"))
}

/// The value of the secret that bridge.toml calls `declared`, as text that a header can carry.
///
/// # Errors
/// [`Code::CredentialUnavailable`]: of class `auth` where a person has to set it, transient where Secrets Manager did not answer.
pub async fn credential(secrets: &Secrets, deployment: &Deployment, declared: &str) -> Result<String, TaskError> {
    readable(declared, &value(secrets, deployment, declared, Age::Known).await?)
}

async fn value(secrets: &Secrets, deployment: &Deployment, declared: &str, age: Age) -> Result<SecretValue, TaskError> {
    let name = deployment.secret_name(declared);
    let value = match age {
        Age::Known => secrets.get(&name, Stage::Current).await,
        Age::Newest => secrets.get_again(&name, Stage::Current).await,
    };
    value.map_err(|error| match error {
        SecretError::Missing { .. } => {
            let message = format!("{error}; `clawbridge secret set {declared}` makes it");
            TaskError::unsent(Code::CredentialUnavailable, Class::Auth, message)
        }
        SecretError::Unavailable { .. } | SecretError::Throttled { .. } => {
            TaskError::unsent(Code::CredentialUnavailable, Class::Transient, error.to_string())
        }
    })
}

fn readable(declared: &str, value: &SecretValue) -> Result<String, TaskError> {
    let text = std::str::from_utf8(value.expose()).map(str::trim).unwrap_or_default();
    if text.is_empty() || !text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Err(unusable(declared, "is empty or not a text that a header can carry"));
    }
    Ok(text.to_owned())
}
