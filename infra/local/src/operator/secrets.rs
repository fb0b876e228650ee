//! `secret set`, and what all commands share that write secrets.

use super::print_json;
use super::reach::{Reached, unreachable};
use crate::cli::{Global, SecretCommand};
use crate::failure::Failure;
use crate::out::say;
use clawbridge_aws::explain;
use serde_json::json;
use std::io::{IsTerminal, Read};

/// The longest secret value, bytes: Secrets Manager's bound.
const MAX_SECRET_BYTES: u64 = 65_536;

pub(crate) async fn run(global: &Global, command: SecretCommand) -> Result<(), Failure> {
    let SecretCommand::Set { name, value } = command;
    let value = match value {
        Some(value) if value.is_empty() => return Err(Failure::negative("SECRET_UNREADABLE", "the value is empty")),
        Some(value) => value,
        None => from_standard_input()?,
    };
    let reached = Reached::stack(global).await?;
    // bridge.toml says clawbridge/…, whatever the stack's prefix is.
    let is_named = |below: &&str| ["tools/", "providers/"].iter().any(|kind| is_below(below, kind));
    let Some(below) = name.strip_prefix("clawbridge/").filter(is_named) else {
        let last = name.rsplit('/').next().unwrap_or_default();
        let message = format!(
            "tools may read secrets below clawbridge/tools/ alone, and providers below clawbridge/providers/; call it clawbridge/tools/{last} or clawbridge/providers/{last}"
        );
        return Err(Failure::negative("SECRET_NAME", message));
    };
    let name = format!("{}/{below}", reached.stack.secret_prefix);
    write(&reached, &name, &value, true).await?;
    if global.json {
        print_json(&json!({"set": true, "secret": name}));
    } else {
        say!("{name} is set; functions that hold the value before use it for up to a minute, or until it is refused.");
    }
    Ok(())
}

fn is_below(name: &str, kind: &str) -> bool {
    name.strip_prefix(kind).is_some_and(|rest| !rest.is_empty())
}

/// Creates the secret or, where `replace` allows it, gives it a new version; the one before stays as `AWSPREVIOUS`. One that was removed and
/// is only waiting for its end is made anew, and nothing of what it was stays valid.
pub(super) async fn write(reached: &Reached, name: &str, value: &str, replace: bool) -> Result<(), Failure> {
    let created = reached.secrets.create_secret().name(name).secret_string(value).send().await;
    match created {
        Ok(_) => Ok(()),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_exists_exception()) => {
            if !replace {
                return Err(Failure::negative("SECRET_EXISTS", format!("there is a secret {name} already")));
            }
            let put = reached.secrets.put_secret_value().secret_id(name).secret_string(value).send().await;
            put.map(|_| ()).map_err(|error| unreachable("SECRETS_UNAVAILABLE", &explain(&error)))
        }
        Err(error) if error.as_service_error().is_some_and(|error| error.is_invalid_request_exception()) => {
            let restored = reached.secrets.restore_secret().secret_id(name).send().await;
            restored.map_err(|error| unreachable("SECRETS_UNAVAILABLE", &explain(&error)))?;
            // Twice, so that the previous version is this one too.
            for _ in 0..2 {
                let put = reached.secrets.put_secret_value().secret_id(name).secret_string(value).send().await;
                put.map_err(|error| unreachable("SECRETS_UNAVAILABLE", &explain(&error)))?;
            }
            Ok(())
        }
        Err(error) => Err(unreachable("SECRETS_UNAVAILABLE", &explain(&error))),
    }
}

/// The secret's current value, if there is such a secret.
pub(crate) async fn read(reached: &Reached, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    match reached.secrets.get_secret_value().secret_id(name).send().await {
        Ok(output) => Ok(Some(match (output.secret_string, output.secret_binary) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(blob)) => blob.into_inner(),
            (None, None) => Vec::new(),
        })),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|e| e.is_resource_not_found_exception() || e.is_invalid_request_exception()) =>
        {
            Ok(None)
        }
        Err(error) => Err(unreachable("SECRETS_UNAVAILABLE", &explain(&error))),
    }
}

/// A value from standard input, without the line's end.
pub(crate) fn from_standard_input() -> Result<String, Failure> {
    let input = std::io::stdin();
    if input.is_terminal() {
        eprintln!("Type the secret, then Enter and Ctrl-D:");
    }
    let mut text = String::new();
    input
        .take(MAX_SECRET_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::negative("SECRET_UNREADABLE", format!("standard input: {error}")))?;
    let value = text.trim_end_matches(['\r', '\n']).to_owned();
    if value.is_empty() || value.len() > 65_536 {
        return Err(Failure::negative(
            "SECRET_UNREADABLE",
            "standard input holds no secret, or one of more than 65,536 bytes",
        ));
    }
    Ok(value)
}
