//! `token create|list|revoke`.

use super::print_json;
use super::reach::{Reached, unreachable};
use super::table;
use crate::cli::{Global, TokenCommand, TokenCreateArgs};
use crate::failure::Failure;
use crate::out::say;
use crate::random;
use clawbridge_access::{Rate, Scope, TokenRecord, is_token_name};
use clawbridge_clock::Timestamp;
use clawbridge_registry::RegistryError;
use serde_json::{Value, json};

pub(crate) async fn run(global: &Global, command: TokenCommand) -> Result<(), Failure> {
    let reached = Reached::stack(global).await?;
    match command {
        TokenCommand::Create(args) => create(&reached, args, global.json).await,
        TokenCommand::List => list(&reached, global.json).await,
        TokenCommand::Revoke { name } => {
            let revoked = reached.registry.revoke_token(&name).await.map_err(failed)?;
            revoked.ok_or_else(|| Failure::not_found("UNKNOWN_TOKEN", format!("there is no token {name}")))?;
            if global.json {
                print_json(&json!({"name": name, "revoked": true}));
            } else {
                say!("{name} is revoked; it is refused everywhere within five seconds.");
            }
            Ok(())
        }
    }
}

fn failed(error: RegistryError) -> Failure {
    unreachable("REGISTRY_UNAVAILABLE", &error.to_string())
}

async fn create(reached: &Reached, args: TokenCreateArgs, json: bool) -> Result<(), Failure> {
    if !is_token_name(&args.name) {
        return Err(Failure::usage("NAME_INVALID", "a token's name is 1 to 64 letters, digits, - _ and ."));
    }
    let mut scopes = args.scope;
    for tool in &args.tool {
        let scope = format!("tool:{tool}").parse::<Scope>();
        scopes.push(scope.map_err(|error| Failure::usage("SCOPE_INVALID", error.to_string()))?);
    }
    if scopes.is_empty() {
        scopes.push(Scope::Admin);
    }
    let rate = args.rate.and_then(|rate| args.burst.map_or(Some(rate), |burst| rate.with_burst(burst)));
    let (token, now) = (random::token(), Timestamp::now());
    let record = TokenRecord {
        hash: token.hash(),
        name: args.name,
        scopes,
        created_at: now,
        expires_at: args.expires.map(|time| now.plus(time)),
        last_used_at: None,
        rate,
    };
    if !reached.registry.put_token(&record, now).await.map_err(failed)? {
        let message = format!("there is a token {}; revoke it, or choose another name", record.name);
        return Err(Failure::negative("TOKEN_EXISTS", message));
    }
    if json {
        let mut shown = view(&record);
        shown["token"] = json!(token.reveal());
        print_json(&shown);
    } else {
        // Alone on standard output, for scripts.
        say!("{}", token.reveal());
        eprintln!("Keep it: it is not shown again.");
    }
    Ok(())
}

async fn list(reached: &Reached, json: bool) -> Result<(), Failure> {
    let tokens = reached.registry.tokens().await.map_err(failed)?;
    if json {
        print_json(&tokens.iter().map(view).collect::<Vec<_>>());
        return Ok(());
    }
    let at = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), Timestamp::rfc3339);
    let row = |token: &TokenRecord| {
        vec![
            token.name.clone(),
            words(token).join(" "),
            token.created_at.rfc3339(),
            at(token.expires_at),
            at(token.last_used_at),
            token.rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate}, {} at once", rate.burst())),
        ]
    };
    table::print(
        &["NAME", "SCOPES", "CREATED", "EXPIRES", "LAST USED", "RATE"],
        &tokens.iter().map(row).collect::<Vec<_>>(),
    );
    Ok(())
}

fn words(token: &TokenRecord) -> Vec<String> {
    token.scopes.iter().map(ToString::to_string).collect()
}

fn view(token: &TokenRecord) -> Value {
    json!({"name": token.name, "scopes": words(token), "created_at": token.created_at.rfc3339(),
        "expires_at": token.expires_at.map(Timestamp::rfc3339), "last_used_at": token.last_used_at.map(Timestamp::rfc3339),
        "rate": token.rate.map(|rate| rate.to_string()), "burst": token.rate.map(Rate::burst)})
}
