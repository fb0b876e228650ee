//! What the commands about connections share.

use super::reach::{Reached, unreachable};
use super::secrets;
use crate::cli::Global;
use crate::failure::Failure;
use clawbridge_clock::Timestamp;
use clawbridge_config::{ParameterError, Provider};
use clawbridge_connections::record::{Record, Status};
use clawbridge_connections::{ConnectionName, Connections, Exchange, Providers, Unusable};
use clawbridge_oauth::{Refused, TokenSet};
use clawbridge_outbound::{Identity, Outbound};
use clawbridge_secrets::{SecretValue, name_in_stack};
use std::time::Duration;

/// How long a command waits for a token.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A stack's accounts, and the providers that its configuration declares.
pub(super) struct Accounts {
    pub(super) reached: Reached,
    pub(super) providers: Providers,
    pub(super) connections: Connections,
}

impl Accounts {
    pub(super) async fn reach(global: &Global) -> Result<Accounts, Failure> {
        let reached = Reached::stack(global).await?;
        let version = reached.registry.current().await;
        let version = version.map_err(|error| unreachable("REGISTRY_UNAVAILABLE", &error.to_string()))?;
        let connections = reached.connections();
        Ok(Accounts { providers: Providers::new(&version.config), connections, reached })
    }

    pub(super) fn outbound(&self) -> &Outbound {
        &self.providers.outbound
    }

    pub(super) fn exchange(&self) -> &Exchange {
        self.connections.exchange()
    }

    pub(super) fn declared(&self, name: &str) -> Result<&Provider, Failure> {
        self.providers.declared.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.providers.declared.keys().map(String::as_str).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let message = format!("the configuration has no provider {name:?}; it has {known}");
            Failure::not_found("UNKNOWN_PROVIDER", message)
        })
    }

    /// What the table says of a connection, one that was taken back too.
    pub(super) async fn record(&self, name: &ConnectionName) -> Result<Record, Failure> {
        let record = self.connections.show(name).await.map_err(|error| unusable(name, error))?;
        record.ok_or_else(|| not_connected(name))
    }

    /// The same, if it is a connection still.
    pub(super) async fn connected(&self, name: &ConnectionName) -> Result<Record, Failure> {
        let record = self.record(name).await?;
        if record.status == Status::Revoked { Err(not_connected(name)) } else { Ok(record) }
    }

    /// The tokens, if there are any.
    pub(super) async fn tokens(&self, name: &ConnectionName) -> Result<Option<TokenSet>, Failure> {
        let secret = format!("{}/connections/{name}", self.reached.stack.secret_prefix);
        let Some(bytes) = secrets::read(&self.reached, &secret).await? else { return Ok(None) };
        let set = TokenSet::read(&bytes).map_err(|error| {
            Failure::negative("TOKEN_SET_UNREADABLE", format!("{secret}: {error}; {}", connect_again(name)))
        })?;
        Ok(Some(set))
    }

    /// The value of a secret that bridge.toml names, if there is one.
    pub(super) async fn secret(&self, declared: &str) -> Result<Option<Vec<u8>>, Failure> {
        secrets::read(&self.reached, &name_in_stack(&self.reached.stack.secret_prefix, declared)).await
    }

    /// The certificate that a client shows, and whom it trusts.
    pub(super) async fn identity(&self, provider: &Provider) -> Result<Identity, Failure> {
        let mut identity = Identity::default();
        let Some(tls) = &provider.tls else { return Ok(identity) };
        for (name, place) in [(&tls.secret, &mut identity.certificate), (&tls.ca, &mut identity.authority)] {
            if let Some(name) = name {
                let value = self.secret(name).await?.ok_or_else(|| no_secret(name))?;
                *place = Some(SecretValue::new(&value));
            }
        }
        Ok(identity)
    }
}

pub(super) fn name(text: &str) -> Result<ConnectionName, Failure> {
    text.parse().map_err(|error| Failure::usage("CONNECTION_NAME", format!("{text:?}: {error}")))
}

pub(super) fn not_connected(name: &ConnectionName) -> Failure {
    Failure::not_found("NOT_CONNECTED", format!("{name} is not connected; {} connects it", connect_command(name)))
}

pub(super) fn no_secret(declared: &str) -> Failure {
    let message = format!("there is no secret {declared}; `clawbridge secret set {declared}` makes it");
    Failure::negative("CREDENTIAL_UNAVAILABLE", message)
}

pub(super) fn connect_command(name: &ConnectionName) -> String {
    format!("`clawbridge connect-account {} --account {}`", name.provider(), name.account())
}

pub(super) fn connect_again(name: &ConnectionName) -> String {
    format!("connect it again: {}", connect_command(name))
}

/// Why there is no token.
pub(super) fn unusable(name: &ConnectionName, error: Unusable) -> Failure {
    match error {
        Unusable::UnknownProvider(_) => Failure::not_found("UNKNOWN_PROVIDER", error.to_string()),
        Unusable::NotConnected(_) => not_connected(name),
        Unusable::NeedsReauth { code, since } => {
            let message = format!("{name} is refused since {since} ({code}); {}", connect_again(name));
            Failure::negative("NEEDS_REAUTH", message)
        }
        Unusable::Later { code, reason, at } => {
            Failure::new("CONNECTION_UNAVAILABLE", format!("{name}: {code}: {reason}; again from {at}"))
        }
    }
}

/// Why a provider gives no tokens.
pub(super) fn refused(provider: &str, error: &Refused) -> Failure {
    let message = format!("{provider}: {error}");
    match error {
        Refused::Grant { .. } => Failure::negative("OAUTH_GRANT_REFUSED", message),
        Refused::Client { .. } => Failure::negative(
            "OAUTH_CLIENT_REFUSED",
            format!("{message}; `clawbridge doctor {provider}` compares the declaration with the provider"),
        ),
        Refused::Later(_) | Refused::Nonce(_) => Failure::new("OAUTH_EXCHANGE_FAILED", message),
    }
}

/// An account's own parameters do not fit.
pub(super) fn misfit(provider: &str, error: &ParameterError) -> Failure {
    let message = format!("{provider}: {error}; the account's own are given as --set {}=VALUE", error.name());
    Failure::usage(error.code(), message)
}

/// A time as people say it.
pub(super) fn when(at: Timestamp, now: Timestamp) -> String {
    if at > now { format!("in {}", span(now.until(at))) } else { format!("{} ago", span(at.until(now))) }
}

fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_words() {
        let now = Timestamp::from_millis(1_790_000_000_000);
        for (seconds, expected) in [
            (0, "0 s ago"),
            (1, "in 1 s"),
            (-119, "119 s ago"),
            (120, "in 2 min"),
            (-7_199, "119 min ago"),
            (7_200, "in 2 h"),
            (172_799, "in 47 h"),
            (-172_800, "2 d ago"),
        ] {
            assert_eq!(when(Timestamp::from_millis(now.millis() + seconds * 1000), now), expected);
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_form_of_one() {
        for bad in ["crm", "crm/", "/main", "crm/main/x", "CRM/main", ""] {
            let failure = name(bad).unwrap_err();
            assert_eq!(failure.code, "CONNECTION_NAME");
            assert!(failure.message.contains("PROVIDER/ACCOUNT"), "{failure}");
        }
    }
}
