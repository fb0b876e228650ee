//! The provider's answer comes back: checked, exchanged, stored.

use crate::answer::{Answer, Refusal};
use crate::{Oauth, Whom, browser, providers, too_slow};
use clawbridge_clock::Timestamp;
use clawbridge_config::IssuerCheck;
use clawbridge_connections::links::has_expired;
use clawbridge_connections::{Server, Wanted};
use clawbridge_journal::Entry;
use clawbridge_oauth::{
    AuthorizationCode, Callback, Failure, Outcome, Presented, Refused, TokenSet, Verifier, redirect_uri, scopes,
};
use clawbridge_outbound::Outbound;
use clawbridge_queue::{ConnectionChange, ConnectionEvent};
use lambda_http::Request;
use std::time::Duration;

/// The longest that a code's exchange may take, so that what came of it is still dealt with: API Gateway gives up after 30 seconds.
const EXCHANGE: Duration = Duration::from_secs(12);

/// The longest that the provider is told about tokens that nobody keeps.
const REVOKE: Duration = Duration::from_secs(4);

impl Oauth {
    /// `text`: the query or the form.
    pub(crate) async fn answered(
        &self,
        request: &Request,
        name: &str,
        text: &str,
        request_id: &str,
        whom: &mut Whom,
    ) -> Result<Answer, Refusal> {
        let now = Timestamp::now();
        let version = self.version().await?;
        let declared = version.config.provider(name).ok_or(Failure::UnknownProvider)?;
        whom.knows(name, declared);
        let callback = Callback::parse(text)?;
        let state = &callback.state;

        let begun = self.links.begun(state).await.map_err(Refusal::ours)?.ok_or(Failure::StateUnknown)?;
        if has_expired(begun.created_at, now) {
            return Err(Failure::StateExpired.into());
        }
        if begun.used_at.is_some() {
            return Err(Failure::StateUsed.into());
        }
        let (base, cookie) = self.address(request, declared)?;
        if !browser(request, cookie).is_some_and(|browser| browser.has_hash(&begun.browser)) {
            return Err(Failure::BrowserMismatch.into());
        }
        if begun.provider != name {
            return Err(Failure::StateUnknown.into());
        }
        // Before anything is done with the answer: of two that come at once, one goes on.
        if !self.links.spend(state, now).await.map_err(Refusal::ours)? {
            return Err(Failure::StateUsed.into());
        }

        let link = self.links.find(&begun.link).await.map_err(Refusal::ours)?.ok_or(Failure::LinkUnknown)?;
        link.name.account().clone_into(&mut whom.account);
        let providers = providers(&version);
        let server = self.server(&providers.outbound, &link, declared).await?;
        callback.check_issuer(issuer_check(&server), server.endpoints.issuer.as_deref())?;
        let code = match &callback.outcome {
            Outcome::Code(code) => code,
            Outcome::Failed(failure) => return Err(described(failure, &callback)),
        };
        if link.completed_at.is_some() {
            return Err(Failure::LinkUsed.into());
        }

        let redirect_uri = redirect_uri(&base, name).map_err(Refusal::ours)?;
        let verifier = self.verifier(state).await?;
        let asked = self.exchanged(&providers.outbound, &server, code, &redirect_uri, &verifier);
        let set = asked.await.map_err(Failure::from)?;
        // Those that are optional may lack.
        let missing = scopes::missing(&server.provider.scopes, &set.scopes);
        if !missing.is_empty() {
            self.give_back(&providers.outbound, &server, &set).await;
            return Err(Failure::ScopesMissing(missing).into());
        }
        // Of several consents with one link, the first that comes here counts.
        let completed_at = Timestamp::now();
        let refusal = match self.links.complete(&link, completed_at).await {
            Ok(true) => None,
            Ok(false) => Some(Failure::LinkUsed.into()),
            Err(error) => Some(Refusal::ours(error)),
        };
        if let Some(refusal) = refusal {
            self.give_back(&providers.outbound, &server, &set).await;
            return Err(refusal);
        }
        let granted = set.scopes.clone();
        let token = match self.connections.connect(&link.name, set.clone(), server.asked()).await {
            Ok(token) => token,
            Err(unusable) => {
                // The page says to open the link once more, which must be possible then.
                let reopened = self.links.reopen(&link, completed_at).await;
                self.give_back(&providers.outbound, &server, &set).await;
                let again =
                    reopened.map_or_else(|error| format!("; the link stays used up: {error}"), |()| String::new());
                return Err(Refusal::ours(format!("{unusable}{again}")));
            }
        };
        let (provider, account, generation) = (link.name.provider(), link.name.account(), token.generation());
        let scopes = &granted.join(" ");
        clawbridge_journal::write(&Entry::ConnectionConnected { provider, account, generation, scopes, request_id });
        let event = ConnectionEvent { provider, account, generation, change: ConnectionChange::Connected };
        // Where it cannot be sent a line says so; the account is connected all the same.
        let _is_told = self.tell(&version, &event).await;
        let title = server.provider.title;
        Ok(Answer::Connected { title, account: account.to_owned(), scopes: granted })
    }

    async fn exchanged(
        &self,
        outbound: &Outbound,
        server: &Server,
        code: &AuthorizationCode,
        redirect_uri: &str,
        verifier: &Verifier,
    ) -> Result<TokenSet, Refused> {
        let verifier = server.provider.pkce.then_some(verifier);
        let presented = Presented::Code { code: code.expose(), redirect_uri, verifier };
        let exchange = self.connections.exchange();
        let ask = |previous_secret| {
            let wanted = Wanted { previous: None, generation: 1, previous_secret };
            exchange.tokens(outbound, server, &presented, wanted)
        };
        let asked = async {
            match ask(false).await {
                // A provider that refuses the client has not looked at the code. A secret may have been rotated here before it was there.
                Err(refused @ Refused::Client { .. }) if server.provider.secret.is_some() => {
                    ask(true).await.map_err(|_| refused)
                }
                outcome => outcome,
            }
        };
        tokio::time::timeout(EXCHANGE, asked).await.unwrap_or_else(|_| Err(too_slow()))
    }

    /// Tokens that are not kept are revoked, where the provider has a way and takes it.
    async fn give_back(&self, outbound: &Outbound, server: &Server, set: &TokenSet) {
        let revoked = self.connections.exchange().revoke(outbound, server, set);
        // Nobody has them any more, whatever comes of it.
        drop(tokio::time::timeout(REVOKE, revoked).await);
    }
}

/// A server that says that its answers name it must be held to that (RFC 9207, section 2.4).
fn issuer_check(server: &Server) -> IssuerCheck {
    match &server.metadata {
        Some(metadata) if metadata.names_itself => IssuerCheck::Required,
        _ => server.provider.iss,
    }
}

/// With what the provider says of it, for the operator: somebody else's text, unless it repeats what opens something.
fn described(failure: &Failure, callback: &Callback) -> Refusal {
    match callback.description().filter(|text| !text.contains(callback.state.expose())) {
        Some(text) => Refusal::noted(failure.clone(), format_args!("it says {text:?}")),
        None => failure.clone().into(),
    }
}
