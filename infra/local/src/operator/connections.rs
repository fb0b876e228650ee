//! `connections list|show|test|refresh|revoke`.

use super::accounts::{Accounts, PATIENCE, connect_again, misfit, name, refused, unusable, when};
use super::print_json;
use super::table;
use crate::cli::{ConnectionsCommand, Global};
use crate::failure::Failure;
use crate::out::say;
use clawbridge_clock::Timestamp;
use clawbridge_connections::record::{Record, Status};
use clawbridge_connections::{ConnectionName, NotWithdrawn, Told, Untested};
use clawbridge_oauth::{TokenKind, scopes};
use serde_json::{Value, json};

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
        print_json(&records.iter().map(Record::view).collect::<Vec<Value>>());
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

async fn show(accounts: &Accounts, name: &ConnectionName, json: bool) -> Result<(), Failure> {
    let record = accounts.record(name).await?;
    let set = if record.status == Status::Revoked { None } else { accounts.tokens(name).await? };
    if json {
        let mut shown = record.view();
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
    accounts.declared(name.provider())?;
    let tested = accounts.connections.test(&accounts.providers, name, PATIENCE).await;
    let tested = tested.map_err(|untested| match untested {
        Untested::Unusable(error) => unusable(name, error),
        Untested::Parameters(error) => misfit(name.provider(), &error),
        Untested::Identity(error) => refused(name.provider(), &error),
        Untested::NotSent(reason) => Failure::negative("TEST_NOT_SENT", reason),
        Untested::NoAnswer(error) => Failure::new(error.code.as_str(), format!("{name}: {}", error.message)),
    })?;
    let expires_at = accounts.record(name).await?.token_expires_at;
    let Some(answer) = tested.answer else {
        if json {
            print_json(&json!({"connection": name.to_string(), "passed": null, "generation": tested.generation,
                "token_expires_at": expires_at.map(Timestamp::rfc3339)}));
        } else {
            let until = expires_at.map_or_else(|| "nobody said until when".to_owned(), |at| format!("until {at}"));
            say!("{name} has a token, {until}. It was not tried: {} has no test_url.", name.provider());
        }
        return Ok(());
    };
    if json {
        print_json(
            &json!({"connection": name.to_string(), "passed": answer.passed, "url": answer.url, "status": answer.status,
            "ms": answer.ms, "generation": tested.generation, "token_expires_at": expires_at.map(Timestamp::rfc3339)}),
        );
    } else {
        let until = expires_at.map(|at| format!("; the token expires {}", when(at, Timestamp::now())));
        say!("{}  GET {} in {} ms{}", answer.status, answer.url, answer.ms, until.unwrap_or_default());
    }
    if answer.passed {
        return Ok(());
    }
    let message = format!("{name}: GET {} answered {}; {}", answer.url, answer.status, answer.hint());
    Err(Failure::negative("TEST_FAILED", message))
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

async fn revoke(
    accounts: &Accounts,
    name: &ConnectionName,
    yes: bool,
    forget: bool,
    json: bool,
) -> Result<(), Failure> {
    accounts.record(name).await?;
    if !yes {
        confirm(name)?;
    }
    let told = accounts.connections.withdraw(&accounts.providers, name, forget).await;
    let told = told.map_err(|error| match error {
        NotWithdrawn::Unusable(error) => unusable(name, error),
        NotWithdrawn::Unreadable(reason) => {
            Failure::negative("TOKEN_SET_UNREADABLE", format!("{reason}; {}", connect_again(name)))
        }
        NotWithdrawn::NotTold(error) => {
            let failure = refused(name.provider(), &error);
            let message = format!(
                "{}; nothing was deleted. Try again, or give --forget, which deletes the tokens although they may stay good there",
                failure.message
            );
            Failure { code: "PROVIDER_NOT_TOLD", message, exit: failure.exit }
        }
    })?;
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
