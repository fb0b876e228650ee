//! `connect-account`.

use super::accounts::{Accounts, misfit, no_secret, refused, unusable};
use super::print_json;
use super::reach::unreachable;
use crate::cli::{ConnectArgs, Global};
use crate::failure::Failure;
use crate::out::say;
use crate::random;
use clawbridge_clock::Timestamp;
use clawbridge_config::{Grant, Provider};
use clawbridge_connections::links::LIFETIME;
use clawbridge_connections::record::{Record, Status};
use clawbridge_connections::{ConnectionName, Server, Wanted};
use clawbridge_oauth::{DeviceAnswer, DeviceAuthorization, Presented, Refused, TokenSet, redirect_uri, scopes};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often it is looked whether the person is through.
const LOOK: Duration = Duration::from_secs(2);

/// What RFC 8628, section 3.5 adds to the interval where the server asks to slow down.
const SLOWER: Duration = Duration::from_secs(5);

pub(crate) async fn run(global: &Global, args: &ConnectArgs) -> Result<(), Failure> {
    let own = own(&args.set)?;
    let name = ConnectionName::new(&args.provider, &args.account).map_err(|error| {
        Failure::usage("CONNECTION_NAME", format!("{:?}/{:?}: {error}", args.provider, args.account))
    })?;
    let accounts = Accounts::reach(global).await?;
    let declared = accounts.declared(name.provider())?;
    declared.for_account(&own).map_err(|error| misfit(name.provider(), &error))?;
    if let Some(secret) = &declared.secret
        && accounts.secret(secret).await?.is_none()
    {
        return Err(no_secret(secret));
    }
    let connecting = Connecting { accounts: &accounts, name: &name, own: &own, json: global.json };
    match declared.grant {
        Grant::ClientCredentials | Grant::JwtBearer if args.device => Err(Failure::usage(
            "NO_PERSON_NEEDED",
            format!("{} has grant = {:?}, for which nobody types a code", args.provider, declared.grant.as_str()),
        )),
        Grant::ClientCredentials | Grant::JwtBearer => connecting.machine(declared).await,
        Grant::DeviceCode => connecting.device(declared).await,
        Grant::AuthorizationCode if args.device => {
            connecting.device(&Provider { grant: Grant::DeviceCode, ..declared.clone() }).await
        }
        Grant::AuthorizationCode => connecting.link(args).await,
    }
}

fn own(set: &[(String, String)]) -> Result<BTreeMap<String, String>, Failure> {
    let mut own = BTreeMap::new();
    for (key, value) in set {
        if own.insert(key.clone(), value.clone()).is_some() {
            return Err(Failure::usage("PARAMETER_TWICE", format!("--set gives {key:?} twice")));
        }
    }
    Ok(own)
}

/// An account that is being connected.
struct Connecting<'a> {
    accounts: &'a Accounts,
    name: &'a ConnectionName,
    own: &'a BTreeMap<String, String>,
    json: bool,
}

impl Connecting<'_> {
    /// A link for the person whose account it is.
    async fn link(&self, args: &ConnectArgs) -> Result<(), Failure> {
        let base = args.url.as_deref().or(self.accounts.reached.public_url()).ok_or_else(|| {
            let message = "where people reach the stack is not known here; give its output WebhookUrl as --url";
            Failure::negative("NO_ADDRESS", message)
        })?;
        let returns_to = redirect_uri(base, self.name.provider())
            .map_err(|error| Failure::negative("PUBLIC_URL_UNUSABLE", format!("{base}: {error}")))?;
        let before = self.seen().await?;
        let ticket = random::ticket();
        let now = Timestamp::now();
        let made = self.accounts.reached.links().make(&ticket, self.name, self.own, now).await;
        made.map_err(|error| unreachable("REGISTRY_UNAVAILABLE", &error.to_string()))?;
        let url = format!("{}/oauth/connect/{}", base.trim_end_matches('/'), ticket.expose());
        let expires_at = now.plus(LIFETIME);
        if self.json {
            print_json(&json!({"connection": self.name.to_string(), "url": url,
                "expires_at": expires_at.rfc3339(), "redirect_uri": returns_to}));
        } else {
            say!("{url}");
            eprintln!(
                "Open it within ten minutes in the browser of the person whose account it is: it connects {}.",
                self.name
            );
            if before.as_ref().is_some_and(|record| record.status == Status::Active) {
                eprintln!("It is connected already; what is consented to takes the place of what there is.");
            }
        }
        if args.wait { self.wait(before.as_ref(), expires_at).await } else { Ok(()) }
    }

    async fn seen(&self) -> Result<Option<Record>, Failure> {
        self.accounts.connections.show(self.name).await.map_err(|error| unusable(self.name, error))
    }

    async fn wait(&self, before: Option<&Record>, until: Timestamp) -> Result<(), Failure> {
        eprintln!("Waiting for the person, until {until} …");
        let known = before.map(|record| (record.connected_at, record.generation));
        loop {
            // A refresh counts generations too; only a consent sets the time.
            if let Some(record) = self.seen().await?
                && record.status == Status::Active
                && known.is_none_or(|(at, generation)| record.connected_at != at && record.generation > generation)
            {
                return self.connected(&record.scopes, record.token_expires_at);
            }
            if Timestamp::now() >= until {
                return Err(Failure::time_over(format!("the link has expired, and {} was not connected", self.name)));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Where the grant needs nobody, the provider is asked at once.
    async fn machine(&self, declared: &Provider) -> Result<(), Failure> {
        let server = self.server(declared).await?;
        let asked = server.asked();
        let presented = match declared.grant {
            Grant::JwtBearer => Presented::Assertion(&asked),
            _ => Presented::Client(&asked),
        };
        let wanted = Wanted { previous: None, generation: 1, previous_secret: false };
        let set = self.accounts.exchange().tokens(self.accounts.outbound(), &server, &presented, wanted).await;
        self.store(&server, set.map_err(|error| self.refused(&error))?).await
    }

    /// The person types a code on another device (RFC 8628).
    async fn device(&self, declared: &Provider) -> Result<(), Failure> {
        let server = self.server(declared).await?;
        if server.endpoints.device().is_err() {
            let message = format!("{} has no device_url, and its issuer names none", self.name.provider());
            return Err(Failure::negative("NO_DEVICE_FLOW", message));
        }
        let device = self.accounts.exchange().device(self.accounts.outbound(), &server).await;
        let device = device.map_err(|error| self.refused(&error))?;
        let until = Timestamp::now().plus(device.lifetime);
        if self.json {
            print_json(&json!({"connection": self.name.to_string(), "user_code": device.user_code,
                "verification_uri": device.verification_uri,
                "verification_uri_complete": device.verification_uri_complete, "expires_at": until.rfc3339()}));
        } else {
            say!("{}", device.verification_uri);
            say!("{}", device.user_code);
            if let Some(complete) = &device.verification_uri_complete {
                say!("{complete}");
            }
            eprintln!("The person whose account it is opens the first address and types the code, until {until} …");
        }
        let set = self.poll(&server, &device, until).await?;
        self.store(&server, set).await
    }

    async fn poll(&self, server: &Server, device: &DeviceAuthorization, until: Timestamp) -> Result<TokenSet, Failure> {
        let expired = || Failure::time_over(format!("the code has expired, and {} was not connected", self.name));
        let mut interval = device.interval;
        while Timestamp::now() < until {
            tokio::time::sleep(interval).await;
            let polled = self.accounts.exchange().poll(self.accounts.outbound(), server, &device.device_code).await;
            match polled {
                Ok(DeviceAnswer::Tokens(set)) => return Ok(*set),
                Ok(DeviceAnswer::Pending) => {}
                Ok(DeviceAnswer::SlowDown) => interval += SLOWER,
                Ok(DeviceAnswer::Expired) => return Err(expired()),
                Ok(DeviceAnswer::Denied) => {
                    let message = format!("access was denied at {}", server.provider.title);
                    return Err(Failure::negative("OAUTH_DENIED", message));
                }
                // RFC 8628, section 3.5: less often where the server is out of reach.
                Err(Refused::Later(retry)) => interval = (interval * 2).max(retry.after.unwrap_or_default()),
                Err(error) => return Err(self.refused(&error)),
            }
        }
        Err(expired())
    }

    async fn server(&self, declared: &Provider) -> Result<Server, Failure> {
        let server =
            self.accounts.exchange().server(self.accounts.outbound(), self.name.provider(), declared, self.own);
        server.await.map_err(|error| self.refused(&error))
    }

    async fn store(&self, server: &Server, set: TokenSet) -> Result<(), Failure> {
        let missing = scopes::missing(&server.provider.scopes, &set.scopes);
        let failure = if missing.is_empty() {
            let (scopes, expires_at) = (set.scopes.clone(), set.expires_at);
            let stored = self.accounts.connections.connect(self.name, set.clone(), server.asked()).await;
            match stored {
                Ok(_) => return self.connected(&scopes, expires_at),
                Err(error) => Failure::new("OAUTH_NOT_STORED", unusable(self.name, error).message),
            }
        } else {
            let message = format!(
                "{} granted fewer scopes than were asked for, and nothing was stored; missing: {}; \
                 enable them for the client in the provider's console, or move them to optional_scopes",
                server.provider.title,
                missing.join(" ")
            );
            Failure::negative("OAUTH_SCOPES_MISSING", message)
        };
        // Best effort: nobody has them any more.
        let _ = self.accounts.exchange().revoke(self.accounts.outbound(), server, &set).await;
        Err(failure)
    }

    fn connected(&self, scopes: &[String], expires_at: Option<Timestamp>) -> Result<(), Failure> {
        if self.json {
            print_json(&json!({"connected": true, "connection": self.name.to_string(), "scopes": scopes,
                "token_expires_at": expires_at.map(Timestamp::rfc3339)}));
        } else {
            let until = expires_at.map(|at| format!(", its token is good until {at}")).unwrap_or_default();
            say!("{} is connected{until}.", self.name);
        }
        Ok(())
    }

    fn refused(&self, error: &Refused) -> Failure {
        refused(self.name.provider(), error)
    }
}
