//! Tokens of connections, for the tools whose credential they are.

use crate::request::invalid;
use clawbridge_clock::Timestamp;
use clawbridge_config::{Compiled, ConnectionTemplate};
use clawbridge_connections::{AccessToken, ConnectionName, Connections, Providers, Unusable};
use clawbridge_tasks::{Class, Code, TaskError};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a task looks whether its account was authorised again.
const REAUTH_PAUSE: Duration = Duration::from_secs(60);

/// Where tokens come from. Clones share what is kept.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    connections: Connections,
    providers: Providers,
}

impl Tokens {
    pub(crate) fn new(connections: Connections, config: &Arc<Compiled>) -> Tokens {
        Tokens { connections, providers: Providers::new(config) }
    }

    /// The token of the account that `input` names, by `end`.
    pub(crate) async fn get(
        &self,
        connection: &ConnectionTemplate,
        input: &Value,
        end: Instant,
    ) -> Result<AccessToken, TaskError> {
        let name = name(connection, input)?;
        let left = end.saturating_duration_since(Instant::now());
        self.connections.token(&self.providers, &name, left).await.map_err(|unusable| error(&name, unusable))
    }

    /// Another one than this, which the upstream refused. `None`: there is no other.
    pub(crate) async fn refused(
        &self,
        connection: &ConnectionTemplate,
        input: &Value,
        token: &AccessToken,
        end: Instant,
    ) -> Result<Option<AccessToken>, TaskError> {
        let name = name(connection, input)?;
        let left = end.saturating_duration_since(Instant::now());
        let newer = self.connections.refused(&self.providers, &name, token, left).await;
        newer.map_err(|unusable| error(&name, unusable))
    }
}

fn name(connection: &ConnectionTemplate, input: &Value) -> Result<ConnectionName, TaskError> {
    let account = connection.account(input).map_err(|error| invalid(format!("auth.connection: {error}")))?;
    ConnectionName::new(connection.provider(), &account).map_err(|error| invalid(format!("auth.connection: {error}")))
}

/// There is no way to tokens from here.
pub(crate) fn unreachable() -> TaskError {
    let message = "connections cannot be used from here: no stack is reached";
    TaskError::unsent(Code::CredentialUnavailable, Class::Auth, message)
}

fn error(name: &ConnectionName, unusable: Unusable) -> TaskError {
    let connect = format!("`clawbridge connect-account {} --account {}`", name.provider(), name.account());
    let auth = |code, message: String| TaskError::unsent(code, Class::Auth, message);
    match unusable {
        Unusable::UnknownProvider(provider) => {
            auth(Code::CredentialUnavailable, format!("bridge.toml declares no provider {provider}"))
        }
        Unusable::NotConnected(_) => {
            auth(Code::CredentialUnavailable, format!("the account {name} is not connected; {connect} connects it"))
        }
        Unusable::NeedsReauth { code, .. } => TaskError {
            retry_after: Some(REAUTH_PAUSE),
            ..auth(
                Code::ConnectionExpired,
                format!("the account {name} has to be authorised again ({code}); {connect} makes the link"),
            )
        },
        Unusable::Later { code, reason, at } => TaskError {
            retry_after: Some(Timestamp::now().until(at)),
            ..TaskError::unsent(
                Code::CredentialUnavailable,
                Class::Transient,
                format!("no token of {name} for now ({code}): {reason}"),
            )
        },
    }
}
