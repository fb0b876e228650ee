//! What somebody wants about an account: a new token, a test, the end. `api` is asked for it and may read no token; this function may, and writes down
//! what came of it.

use crate::{Trouble, Worker};
use clawbridge_clock::Timestamp;
use clawbridge_connections::{AccessToken, ConnectionName, NotWithdrawn, Providers, Tested, Told, Untested, Unusable};
use clawbridge_oauth::Refused;
use clawbridge_queue::{ConnectionMessage, ConnectionWish};
use serde_json::{Value, json};
use std::time::Duration;

/// The longest that a token is waited for: who asked looks for half a minute.
const PATIENCE: Duration = Duration::from_secs(15);

/// Left of an invocation when the outcome must be written.
const RESERVE: Duration = Duration::from_secs(25);

impl Worker {
    /// Does what is wanted, unless that was done, and writes down what came of it.
    pub(crate) async fn wish(&self, message: &ConnectionMessage, deadline: Timestamp) -> Result<(), Trouble> {
        if self.registry.outcome(&message.id).await?.is_some() {
            return Ok(());
        }
        // A provider that was just declared is known.
        self.registry.renew().await;
        let providers = Providers::new(&self.loaded().await?.config);
        let left = Timestamp::now().until(deadline).saturating_sub(RESERVE).min(PATIENCE);
        let outcome = match ConnectionName::new(&message.provider, &message.account) {
            Ok(name) => self.carry_out_wish(&providers, &name, message.wish, left).await,
            Err(error) => Err(json!({"code": "not_found", "message": error.to_string()})),
        };
        self.note_connections();
        let outcome = outcome.unwrap_or_else(|error| json!({ "error": error }));
        Ok(self.registry.put_outcome(&message.id, &outcome, Timestamp::now()).await?)
    }

    async fn carry_out_wish(
        &self,
        providers: &Providers,
        name: &ConnectionName,
        wish: ConnectionWish,
        left: Duration,
    ) -> Result<Value, Value> {
        match wish {
            ConnectionWish::Refresh => {
                let token = self.connections.refresh(providers, name, left).await;
                let token: AccessToken = token.map_err(|error| unusable(name, &error))?;
                Ok(json!({"connection": name.to_string(), "refreshed": true, "generation": token.generation()}))
            }
            ConnectionWish::Test => {
                let Tested { generation, answer } =
                    self.connections.test(providers, name, left).await.map_err(|error| untested(name, &error))?;
                let hint = answer.as_ref().filter(|answer| !answer.passed).map(|answer| answer.hint());
                Ok(json!({"connection": name.to_string(), "passed": answer.as_ref().map(|answer| answer.passed),
                    "status": answer.as_ref().map(|answer| answer.status), "url": answer.as_ref().map(|answer| &answer.url),
                    "ms": answer.as_ref().map(|answer| answer.ms), "generation": generation, "hint": hint}))
            }
            ConnectionWish::Revoke | ConnectionWish::Forget => {
                let forget = wish == ConnectionWish::Forget;
                let told = self.connections.withdraw(providers, name, forget).await;
                let told = told.map_err(|error| match error {
                    NotWithdrawn::Unusable(error) => unusable(name, &error),
                    NotWithdrawn::Unreadable(reason) => error_of("conflict", format!("{name}: {reason}")),
                    NotWithdrawn::NotTold(error) => error_of(
                        "conflict",
                        format!("{}; nothing was deleted. Try again, or say force, which deletes the tokens although they may stay good there", refused(name, &error)),
                    ),
                })?;
                Ok(json!({"connection": name.to_string(), "revoked": true, "at_provider": told == Told::Revoked}))
            }
        }
    }
}

fn error_of(code: &str, message: String) -> Value {
    json!({"code": code, "message": message})
}

fn unusable(name: &ConnectionName, error: &Unusable) -> Value {
    match error {
        Unusable::UnknownProvider(_) => error_of("not_found", error.to_string()),
        Unusable::NotConnected(_) => error_of("not_found", format!("{name} is not connected")),
        Unusable::NeedsReauth { code, since } => {
            error_of("conflict", format!("{name} is refused since {since} ({code}); it has to be connected again"))
        }
        Unusable::Later { code, reason, at } => {
            let seconds = Timestamp::now().until(*at).as_secs().clamp(1, 3600);
            json!({"code": "unavailable", "message": format!("{name}: {code}: {reason}"), "retry_after": seconds})
        }
    }
}

fn refused(name: &ConnectionName, error: &Refused) -> String {
    format!("{}: {error}", name.provider())
}

fn untested(name: &ConnectionName, untested: &Untested) -> Value {
    match untested {
        Untested::Unusable(error) => unusable(name, error),
        Untested::Parameters(error) => error_of("conflict", format!("{name}: {error}")),
        Untested::Identity(error) => error_of("conflict", refused(name, error)),
        Untested::NotSent(reason) => error_of("conflict", reason.clone()),
        Untested::NoAnswer(error) => {
            json!({"code": "unavailable", "message": format!("{name}: {}", error.message), "retry_after": 5})
        }
    }
}
