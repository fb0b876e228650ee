//! An account is given up: its provider is told, then its tokens are deleted.

use crate::connections::{Connections, Providers, Unusable};
use crate::exchange::Server;
use crate::name::ConnectionName;
use crate::record::Status;
use clawbridge_config::{Provider, Revocation};
use clawbridge_oauth::{Refused, TokenSet};

/// What the provider was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has revoked the tokens.
    Revoked,
    /// It has no way, or could not be told and that was not to be waited for: a person does it there.
    ByHand,
    /// There was nothing to revoke.
    Nothing,
}

/// Why an account is not given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotWithdrawn {
    /// There is none, or it cannot be deleted at the moment.
    Unusable(Unusable),
    /// Nobody can read the tokens, so nobody can have them revoked: in plain words.
    Unreadable(String),
    /// The provider could not be told. Nothing was deleted.
    NotTold(Refused),
}

impl Connections {
    /// Has the provider revoke a connection's tokens and deletes them. `forget`: deletes them even where the provider cannot be told.
    ///
    /// # Errors
    /// See [`NotWithdrawn`].
    pub async fn withdraw(
        &self,
        providers: &Providers,
        name: &ConnectionName,
        forget: bool,
    ) -> Result<Told, NotWithdrawn> {
        let record = self.show(name).await.map_err(NotWithdrawn::Unusable)?;
        let set = match self.held(name).await {
            // They are deleted all the same.
            Err(_) if forget => None,
            Err(reason) => return Err(NotWithdrawn::Unreadable(reason)),
            Ok(set) => set,
        };
        if set.is_none() && record.is_none_or(|record| record.status == Status::Revoked) {
            return Err(NotWithdrawn::Unusable(Unusable::NotConnected(name.clone())));
        }
        let mut told = self.tell(providers, name, set.as_ref(), forget).await?;
        let last = self.revoke(name).await.map_err(NotWithdrawn::Unusable)?;
        // A refresh came in between, and what it brought was revoked by nobody.
        if let Some(last) = last.filter(|last| set.is_none_or(|set| set.generation < last.generation)) {
            told = self.tell(providers, name, Some(&last), true).await?;
        }
        Ok(told)
    }

    async fn tell(
        &self,
        providers: &Providers,
        name: &ConnectionName,
        set: Option<&TokenSet>,
        forget: bool,
    ) -> Result<Told, NotWithdrawn> {
        let Some(set) = set else { return Ok(Told::Nothing) };
        let Some(declared) = providers.declared.get(name.provider()) else { return Ok(Told::ByHand) };
        if declared.revocation == Revocation::Never {
            return Ok(Told::ByHand);
        }
        match self.at_provider(providers, name, declared, set).await {
            Ok(true) => Ok(Told::Revoked),
            Ok(false) => Ok(Told::ByHand),
            Err(_) if forget => Ok(Told::ByHand),
            Err(error) => Err(NotWithdrawn::NotTold(error)),
        }
    }

    /// `false`: the provider has no way.
    async fn at_provider(
        &self,
        providers: &Providers,
        name: &ConnectionName,
        declared: &Provider,
        set: &TokenSet,
    ) -> Result<bool, Refused> {
        let (exchange, outbound) = (self.exchange(), &providers.outbound);
        let mut server: Server = exchange.server(outbound, name.provider(), declared, &set.parameters).await?;
        if server.endpoints.revoke().is_err() {
            // Its metadata was not asked for, because nothing else was missing.
            let Some(issuer) = server.endpoints.issuer.clone() else { return Ok(false) };
            server.endpoints = server.endpoints.with(&exchange.metadata(outbound, &issuer).await?);
            if server.endpoints.revoke().is_err() {
                return Ok(false);
            }
        }
        exchange.revoke(outbound, &server, set).await
    }
}
