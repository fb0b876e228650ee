//! `connections list|show|test|refresh|revoke`.

use super::accounts::{Accounts, PATIENCE, connect_again, misfit, name, not_connected, refused, unusable, when};
use super::print_json;
use super::table;
use crate::cli::{ConnectionsCommand, Global};
use crate::failure::Failure;
use crate::out::say;
use clawbridge_clock::Timestamp;
use clawbridge_config::{Provider, Revocation};
use clawbridge_connections::record::{Record, Status};
use clawbridge_connections::{AccessToken, ConnectionName, Server};
use clawbridge_oauth::{DpopKey, Refused, TokenKind, TokenSet, nonce, scopes};
use clawbridge_outbound::{Received, Request};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use ring::rand::SystemRandom;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long an answer to a test may take.
const LIMIT: Duration = Duration::from_secs(20);

/// As much of it is read, bytes.
const BOUND: usize = 64 * 1024;

pub(crate) async fn run(global: &Global, command: ConnectionsCommand) -> Result<(), Failure> {
    let json = global.json;
    match command {
        ConnectionsCommand::List => list(&Accounts::reach(global).await?, json).await,
        ConnectionsCommand::Show { name: text } => {
            let name = name(&text)?;
            show(&Accounts::reach(global).await?, &name, json).await
        }
        ConnectionsCommand::Test { name: text } => {
            let name = name(&text)?;
            test(&Accounts::reach(global).await?, &name, json).await
        }
        ConnectionsCommand::Refresh { name: text } => {
            let name = name(&text)?;
            refresh(&Accounts::reach(global).await?, &name, json).await
        }
        ConnectionsCommand::Revoke { name: text, yes, forget } => {
            let name = name(&text)?;
            revoke(&Accounts::reach(global).await?, &name, yes, forget, json).await
        }
    }
}

/// All of them, by name.
pub(super) async fn all(accounts: &Accounts) -> Result<Vec<Record>, Failure> {
    let (mut records, mut after) = (Vec::new(), None);
    loop {
        let page = accounts.connections.list(after.as_ref(), 100).await;
        let page = page.map_err(|error| Failure::new("REGISTRY_UNAVAILABLE", error.to_string()))?;
        records.extend(page.records);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(records),
        }
    }
}

async fn list(accounts: &Accounts, json: bool) -> Result<(), Failure> {
    let records = all(accounts).await?;
    let now = Timestamp::now();
    if json {
        print_json(&records.iter().map(document).collect::<Vec<Value>>());
    } else if records.is_empty() {
        say!("No account is connected; `clawbridge connect-account PROVIDER --account NAME` connects one.");
    } else {
        let row = |record: &Record| {
            let refreshed = record.last_refresh_at.map_or_else(|| "never".to_owned(), |at| when(at, now));
            let error = record.last_error.as_ref().map(|error| error.code.clone()).unwrap_or_default();
            let scopes = record.scopes.len().to_string();
            vec![record.name.to_string(), record.status.as_str().into(), expiry(record, now), scopes, refreshed, error]
        };
        let headings = ["CONNECTION", "STATUS", "TOKEN EXPIRES", "SCOPES", "REFRESHED", "LAST ERROR"];
        table::print(&headings, &records.iter().map(row).collect::<Vec<_>>());
    }
    Ok(())
}

fn expiry(record: &Record, now: Timestamp) -> String {
    match record.token_expires_at {
        Some(at) => when(at, now),
        None if record.status == Status::Revoked => "-".to_owned(),
        None => "not said".to_owned(),
    }
}

fn document(record: &Record) -> Value {
    let time = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
    let error = record.last_error.as_ref().map(|error| json!({"code": error.code, "at": error.at.rfc3339()}));
    json!({
        "connection": record.name.to_string(),
        "provider": record.name.provider(),
        "account": record.name.account(),
        "status": record.status.as_str(),
        "generation": record.generation,
        "scopes": record.scopes,
        "asked_scopes": record.asked_scopes,
        "token_expires_at": time(record.token_expires_at),
        "obtained_at": time(record.obtained_at),
        "connected_at": record.connected_at.rfc3339(),
        "last_refresh_at": time(record.last_refresh_at),
        "failures": record.failures,
        "cool_until": time(record.cool_until),
        "last_error": error,
        "refreshing_until": time(record.lease.as_ref().map(|lease| lease.until)),
        "kept": record.kept,
        "parameters": record.parameters,
    })
}

async fn show(accounts: &Accounts, name: &ConnectionName, json: bool) -> Result<(), Failure> {
    let record = accounts.record(name).await?;
    let set = if record.status == Status::Revoked { None } else { accounts.tokens(name).await? };
    if json {
        let mut shown = document(&record);
        shown["tokens"] = set.as_ref().map_or(Value::Null, |set| {
            json!({"generation": set.generation, "kind": set.kind, "refresh_token": set.refresh_token.is_some(),
                "refresh_expires_at": set.refresh_expires_at.map(Timestamp::rfc3339)})
        });
        print_json(&shown);
        return Ok(());
    }
    let now = Timestamp::now();
    let time = |at: Timestamp| format!("{at} ({})", when(at, now));
    let provider = accounts.providers.declared.get(name.provider());
    say!("connection  {name}");
    say!("provider    {}", provider.map_or("not in bridge.toml any more", |provider| provider.title.as_str()));
    say!("status      {}", record.status.as_str());
    say!("connected   {}", time(record.connected_at));
    if let Some(set) = &set {
        let kind = if set.kind == TokenKind::Dpop { "DPoP" } else { "Bearer" };
        let until =
            set.expires_at.map_or_else(|| "nobody said until when".to_owned(), |at| format!("until {}", time(at)));
        say!("token       {kind}, generation {}, {until}", set.generation);
        let of_refresh = match (&set.refresh_token, set.refresh_expires_at) {
            (None, _) => "none".to_owned(),
            (Some(_), None) => "yes".to_owned(),
            (Some(_), Some(at)) => format!("until {}", time(at)),
        };
        say!("refresh     {of_refresh}");
    }
    say!("scopes      {}", record.scopes.join(" "));
    let missing = scopes::missing(&record.asked_scopes, &record.scopes);
    if !missing.is_empty() {
        say!("not granted {}", missing.join(" "));
    }
    if let Some(at) = record.last_refresh_at {
        say!("refreshed   {}", time(at));
    }
    if let Some(error) = &record.last_error {
        say!("last error  {} at {}, {} in a row", error.code, time(error.at), record.failures);
    }
    if let Some(at) = record.cool_until.filter(|at| *at > now) {
        say!("resting     until {}", time(at));
    }
    for (label, values) in [("parameter", &record.parameters), ("kept", &record.kept)] {
        for (key, value) in values {
            say!("{label:<11} {key} = {}", value.escape_debug());
        }
    }
    if record.status == Status::NeedsReauth {
        eprintln!("Its tokens are refused; {}.", connect_again(name));
    }
    Ok(())
}

async fn test(accounts: &Accounts, name: &ConnectionName, json: bool) -> Result<(), Failure> {
    let declared = accounts.declared(name.provider())?;
    let left = |error| unusable(name, error);
    let mut token = accounts.connections.token(&accounts.providers, name, PATIENCE).await.map_err(left)?;
    let provider = declared.for_account(token.parameters()).map_err(|error| misfit(name.provider(), &error))?;
    let Some(url) = &provider.test_url else {
        return untested(accounts, name, &token, json).await;
    };
    let started = Instant::now();
    let mut answer = ask(accounts, &provider, url, &token).await?;
    if answer.status == 401
        && let Some(other) =
            accounts.connections.refused(&accounts.providers, name, &token, PATIENCE).await.map_err(left)?
    {
        token = other;
        answer = ask(accounts, &provider, url, &token).await?;
    }
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    // Slack's way to say no.
    let says_no = serde_json::from_slice::<Value>(&answer.body).is_ok_and(|body| body["ok"] == false);
    let passed = (200..300).contains(&answer.status) && !says_no;
    let expires_at = accounts.record(name).await?.token_expires_at;
    if json {
        print_json(&json!({"connection": name.to_string(), "passed": passed, "url": url, "status": answer.status,
            "ms": ms, "generation": token.generation(), "token_expires_at": expires_at.map(Timestamp::rfc3339)}));
    } else {
        let until = expires_at.map(|at| format!("; the token expires {}", when(at, Timestamp::now())));
        say!("{}  GET {url} in {ms} ms{}", answer.status, until.unwrap_or_default());
    }
    if passed {
        return Ok(());
    }
    let hint = match answer.status {
        401 => "the API does not take the token, and a new one neither: is test_url of this provider?",
        403 => "the API knows the token and refuses it this: a scope or the account's own permission is missing",
        _ if says_no => "the answer says \"ok\": false",
        _ => "is test_url right?",
    };
    Err(Failure::negative("TEST_FAILED", format!("{name}: GET {url} answered {}; {hint}", answer.status)))
}

/// There is nothing to ask, so it is told what is known.
async fn untested(accounts: &Accounts, name: &ConnectionName, token: &AccessToken, json: bool) -> Result<(), Failure> {
    let expires_at = accounts.record(name).await?.token_expires_at;
    if json {
        print_json(&json!({"connection": name.to_string(), "passed": null, "generation": token.generation(),
            "token_expires_at": expires_at.map(Timestamp::rfc3339)}));
    } else {
        let until = expires_at.map_or_else(|| "nobody said until when".to_owned(), |at| format!("until {at}"));
        say!("{name} has a token, {until}. It was not tried: {} has no test_url.", name.provider());
    }
    Ok(())
}

/// GET with the token, twice where the API wants a nonce in the proof (RFC 9449, section 9).
async fn ask(accounts: &Accounts, provider: &Provider, url: &str, token: &AccessToken) -> Result<Received, Failure> {
    let wanted = match get(accounts, provider, url, token, None).await? {
        answer if answer.status == 401 && token.kind() == TokenKind::Dpop => {
            let header = answer.headers.get("dpop-nonce").and_then(|value| value.to_str().ok());
            match header.and_then(nonce) {
                Some(nonce) => nonce,
                None => return Ok(answer),
            }
        }
        answer => return Ok(answer),
    };
    get(accounts, provider, url, token, Some(&wanted)).await
}

async fn get(
    accounts: &Accounts,
    provider: &Provider,
    url: &str,
    token: &AccessToken,
    nonce: Option<&str>,
) -> Result<Received, Failure> {
    let unsendable = |what: &str| Failure::negative("TEST_NOT_SENT", format!("{url}: {what}"));
    let mut headers = HeaderMap::new();
    let mut put = |name: HeaderName, value: String| {
        let mut value = HeaderValue::from_str(&value).map_err(|_| unsendable("no header can carry the token"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok::<(), Failure>(())
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
    let identity = accounts.identity(provider).await?;
    let target = Url::parse(url).map_err(|_| unsendable("it is no URL"))?;
    let request = Request { method: Method::GET, url: target, headers, body: None };
    let identity = provider.tls.as_ref().map(|tls| (tls, &identity));
    let answer = accounts.outbound().exchange(request, identity, LIMIT, BOUND).await;
    answer.map_err(|error| Failure::new(error.code.as_str(), format!("{url}: {}", error.message)))
}

async fn refresh(accounts: &Accounts, name: &ConnectionName, json: bool) -> Result<(), Failure> {
    accounts.declared(name.provider())?;
    accounts.connected(name).await?;
    let token = accounts.connections.refresh(&accounts.providers, name, PATIENCE).await;
    let token = token.map_err(|error| unusable(name, error))?;
    let expires_at = accounts.record(name).await?.token_expires_at;
    if json {
        print_json(&json!({"refreshed": true, "connection": name.to_string(), "generation": token.generation(),
            "token_expires_at": expires_at.map(Timestamp::rfc3339)}));
    } else {
        let until = expires_at.map(|at| format!(", good until {at}")).unwrap_or_default();
        say!("{name} has a new token{until}; it is number {}.", token.generation());
    }
    Ok(())
}

/// What the provider was told.
enum Told {
    /// It has revoked the tokens.
    Revoked,
    /// It has no way: a person does it there.
    ByHand,
    /// There was nothing to revoke.
    Nothing,
}

async fn revoke(
    accounts: &Accounts,
    name: &ConnectionName,
    yes: bool,
    forget: bool,
    json: bool,
) -> Result<(), Failure> {
    let record = accounts.record(name).await?;
    let set = match accounts.tokens(name).await {
        // Nobody can read them, so nobody can have them revoked.
        Err(failure) if failure.code == "TOKEN_SET_UNREADABLE" && forget => None,
        set => set?,
    };
    if record.status == Status::Revoked && set.is_none() {
        return Err(not_connected(name));
    }
    if !yes {
        confirm(name)?;
    }
    let mut told = tell(accounts, name, set.as_ref(), forget).await?;
    let last = accounts.connections.revoke(name).await.map_err(|error| unusable(name, error))?;
    // A refresh came in between, and what it brought was revoked by nobody.
    if let Some(last) = last.filter(|last| set.is_none_or(|set| set.generation < last.generation)) {
        told = tell(accounts, name, Some(&last), true).await?;
    }
    let title = accounts.providers.declared.get(name.provider()).map_or(name.provider(), |provider| &provider.title);
    if json {
        print_json(&json!({"revoked": true, "connection": name.to_string(),
            "at_provider": matches!(told, Told::Revoked)}));
        return Ok(());
    }
    match told {
        Told::Revoked => say!("{title} has revoked the tokens of {name}, and they are deleted."),
        Told::Nothing => say!("{name} is deleted; there were no tokens."),
        Told::ByHand => {
            say!("The tokens of {name} are deleted here.");
            eprintln!(
                "{title} was not told, and they may stay good until they expire: end the app's access there, \
                 in the account's settings (connected apps) or in an administrator's."
            );
        }
    }
    Ok(())
}

fn confirm(name: &ConnectionName) -> Result<(), Failure> {
    eprintln!("The tokens of {name} are revoked and deleted, and tools that use them fail. Type yes to go on:");
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    if read.is_ok() && matches!(line.trim(), "yes" | "y") {
        return Ok(());
    }
    Err(Failure::negative("NOT_CONFIRMED", "nothing was done; --yes does it without asking"))
}

async fn tell(
    accounts: &Accounts,
    name: &ConnectionName,
    set: Option<&TokenSet>,
    forget: bool,
) -> Result<Told, Failure> {
    let Some(set) = set else { return Ok(Told::Nothing) };
    let Some(declared) = accounts.providers.declared.get(name.provider()) else { return Ok(Told::ByHand) };
    if declared.revocation == Revocation::Never {
        return Ok(Told::ByHand);
    }
    let failure = match at_provider(accounts, name, declared, set).await {
        Ok(true) => return Ok(Told::Revoked),
        Ok(false) => return Ok(Told::ByHand),
        Err(error) => refused(name.provider(), &error),
    };
    if forget {
        eprintln!("{}", failure.message);
        return Ok(Told::ByHand);
    }
    let message = format!(
        "{}; nothing was deleted. Try again, or give --forget, which deletes the tokens although they may stay good there",
        failure.message
    );
    Err(Failure { code: "PROVIDER_NOT_TOLD", message, exit: failure.exit })
}

/// `false`: the provider has no way.
async fn at_provider(
    accounts: &Accounts,
    name: &ConnectionName,
    declared: &Provider,
    set: &TokenSet,
) -> Result<bool, Refused> {
    let (exchange, outbound) = (accounts.exchange(), accounts.outbound());
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
