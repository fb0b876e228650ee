//! `source add|list|rotate|remove`; `catch-up` has a file of its own.

use super::catch_up;
use super::print_json;
use super::reach::{Reached, unreachable};
use super::secrets;
use super::table;
use crate::cli::{Global, SecretArgs, SourceAddArgs, SourceCommand};
use crate::failure::Failure;
use crate::out::say;
use crate::random::signing_secret;
use clawbridge_aws::explain;
use clawbridge_signatures::{Scheme, Source};
use serde_json::json;

/// Days during which a removed source can be restored.
const RECOVERY_DAYS: i64 = 7;

pub(crate) async fn run(global: &Global, command: SourceCommand) -> Result<(), Failure> {
    match command {
        SourceCommand::Add(args) => add(global, &args).await,
        SourceCommand::List => list(global).await,
        SourceCommand::Schemes => {
            schemes(global);
            Ok(())
        }
        SourceCommand::Secret { name } => show_secret(global, &name).await,
        SourceCommand::Rotate { name, secret } => rotate(global, &name, &secret).await,
        SourceCommand::Remove { name } => remove(global, &name).await,
        SourceCommand::CatchUp(args) => catch_up::run(global, &args).await,
    }
}

async fn add(global: &Global, args: &SourceAddArgs) -> Result<(), Failure> {
    check_name(&args.name)?;
    let named = args.scheme.as_deref().unwrap_or(&args.name);
    let scheme = Scheme::parse(named)
        .map_err(|error| Failure::negative("UNKNOWN_SCHEME", format!("{error}; give it as --scheme")))?;
    let (secrets, generated) = if args.pending {
        (Vec::new(), None)
    } else {
        let (value, generated) = value(&args.secret, scheme)?;
        (vec![value], generated)
    };
    // The secret's own form carries the options and checks them.
    let mut document = json!({"scheme": scheme.name(), "secrets": secrets});
    for (name, text) in [("hmac", &args.hmac), ("token", &args.token)] {
        if let Some(text) = text {
            let options: serde_json::Value = serde_json::from_str(text)
                .map_err(|error| Failure::negative("SOURCE_INVALID", format!("--{name} is not JSON: {error}")))?;
            document[name] = options;
        }
    }
    let keys = match &args.keys_file {
        None => None,
        Some(file) => Some(
            std::fs::read_to_string(file)
                .map_err(|error| Failure::not_found("KEYS_UNREADABLE", format!("{}: {error}", file.display())))?,
        ),
    };
    for (name, text) in
        [("url", &args.url), ("verify_token", &args.verify_token), ("audience", &args.audience), ("keys", &keys)]
    {
        if let Some(text) = text {
            document[name] = json!(text);
        }
    }
    if let Some(tolerance) = args.tolerance {
        document["tolerance_s"] = json!(tolerance);
    }
    if args.pending {
        document["pending"] = json!(true);
    }
    let source = Source::from_secret(document.to_string().as_bytes());
    let source = source.map_err(|error| Failure::negative("SOURCE_INVALID", error.to_string()))?;
    let reached = Reached::stack(global).await?;
    let secret = reached.stack.source_secret(&args.name);
    secrets::write(&reached, &secret, &source.to_secret(), args.replace).await.map_err(|failure| {
        match failure.code {
            "SECRET_EXISTS" => Failure::negative(
                "SOURCE_EXISTS",
                format!(
                    "there is a source {0} already; `source rotate {0}` changes its secret, --replace the whole of it",
                    args.name
                ),
            ),
            _ => failure,
        }
    })?;
    done(global, &reached, &args.name, "added", generated.as_deref());
    Ok(())
}

async fn rotate(global: &Global, name: &str, secret: &SecretArgs) -> Result<(), Failure> {
    check_name(name)?;
    let reached = Reached::stack(global).await?;
    let secret_name = reached.stack.source_secret(name);
    let before = secrets::read(&reached, &secret_name).await?.ok_or_else(|| unknown(name))?;
    let before = Source::from_secret(&before).map_err(|error| {
        Failure::negative(
            "SOURCE_INVALID",
            format!("source {name} does not work: {error}; add it again with --replace"),
        )
    })?;
    let (value, generated) = value(secret, before.scheme())?;
    let source =
        before.with_secrets(vec![value]).map_err(|error| Failure::negative("SOURCE_INVALID", error.to_string()))?;
    secrets::write(&reached, &secret_name, &source.to_secret(), true).await?;
    done(global, &reached, name, "rotated", generated.as_deref());
    Ok(())
}

async fn remove(global: &Global, name: &str) -> Result<(), Failure> {
    check_name(name)?;
    let reached = Reached::stack(global).await?;
    let secret = reached.stack.source_secret(name);
    if secrets::read(&reached, &secret).await?.is_none() {
        return Err(unknown(name));
    }
    let delete = reached.secrets.delete_secret().secret_id(&secret).recovery_window_in_days(RECOVERY_DAYS).send().await;
    delete.map_err(|error| unreachable("SECRETS_UNAVAILABLE", &explain(&error)))?;
    if global.json {
        print_json(&json!({"removed": true, "source": name}));
    } else {
        say!(
            "{name} is removed; its webhooks are refused within a minute. RestoreSecret brings it back for {RECOVERY_DAYS} days."
        );
    }
    Ok(())
}

fn schemes(global: &Global) {
    if global.json {
        let schemes: Vec<_> = Scheme::all()
            .map(|scheme| json!({"name": scheme.name(), "summary": scheme.summary(), "secret": scheme.secret_is()}))
            .collect();
        print_json(&schemes);
        return;
    }
    let row =
        |scheme: Scheme| vec![scheme.name().to_owned(), scheme.summary().to_owned(), scheme.secret_is().to_owned()];
    table::print(&["SCHEME", "FOR", "ITS SECRET IS"], &Scheme::all().map(row).collect::<Vec<_>>());
}

/// On request alone: what a handshake told must be compared with what the provider shows.
async fn show_secret(global: &Global, name: &str) -> Result<(), Failure> {
    check_name(name)?;
    let reached = Reached::stack(global).await?;
    let value = secrets::read(&reached, &reached.stack.source_secret(name)).await?.ok_or_else(|| unknown(name))?;
    let source = Source::from_secret(&value).map_err(|error| Failure::negative("SOURCE_INVALID", error.to_string()))?;
    let secrets: Vec<&str> = source.secrets().collect();
    if global.json {
        print_json(&json!({"source": name, "pending": source.is_pending(), "secrets": secrets}));
    } else if source.is_pending() {
        say!("{name} has no secret yet: it waits for the provider's handshake.");
    } else {
        for secret in secrets {
            say!("{secret}");
        }
    }
    Ok(())
}

async fn list(global: &Global) -> Result<(), Failure> {
    let reached = Reached::stack(global).await?;
    let prefix = reached.stack.source_secret("");
    let filter = aws_sdk_secretsmanager::types::Filter::builder()
        .key(aws_sdk_secretsmanager::types::FilterNameStringType::Name)
        .values(&prefix)
        .build();
    let mut sources = Vec::new();
    let mut next = None;
    loop {
        let page = reached.secrets.list_secrets().filters(filter.clone()).set_next_token(next).send().await;
        let page = page.map_err(|error| unreachable("SECRETS_UNAVAILABLE", &explain(&error)))?;
        for secret in page.secret_list.unwrap_or_default() {
            let Some(name) = secret.name.as_deref().and_then(|name| name.strip_prefix(&prefix)) else { continue };
            // The bridge keeps the key of its own addresses beside them.
            if !clawbridge_webhook::is_source_name(name) {
                continue;
            }
            let scheme = match secrets::read(&reached, secret.name.as_deref().unwrap_or_default()).await? {
                Some(value) => Source::from_secret(&value)
                    .map_or_else(|error| format!("does not work: {error}"), |source| source.scheme().name().to_owned()),
                None => continue,
            };
            sources.push((name.to_owned(), scheme));
        }
        next = page.next_token;
        if next.is_none() {
            break;
        }
    }
    sources.sort();
    if global.json {
        let sources: Vec<_> = sources.iter().map(|(name, scheme)| json!({"name": name, "scheme": scheme})).collect();
        print_json(&sources);
    } else if sources.is_empty() {
        say!("No sources; `clawbridge source add NAME --scheme SCHEME` makes one.");
    } else {
        let address = reached.stack.public_url.clone().unwrap_or_else(|| "…".to_owned());
        let rows: Vec<Vec<String>> = sources
            .into_iter()
            .map(|(name, scheme)| vec![name.clone(), scheme, format!("{address}/hooks/{name}")])
            .collect();
        table::print(&["SOURCE", "SCHEME", "ADDRESS"], &rows);
    }
    Ok(())
}

/// The secret that was given, or a generated one, which is shown once.
fn value(args: &SecretArgs, scheme: Scheme) -> Result<(String, Option<String>), Failure> {
    match &args.secret {
        Some(value) => Ok((value.clone(), None)),
        None if args.generate => {
            let value = signing_secret(scheme);
            Ok((value.clone(), Some(value)))
        }
        None => Ok((secrets::from_standard_input()?, None)),
    }
}

fn done(global: &Global, reached: &Reached, name: &str, verb: &str, generated: Option<&str>) {
    let address = reached.stack.public_url.as_ref().map(|url| format!("{url}/hooks/{name}"));
    if global.json {
        print_json(&json!({"source": name, verb: true, "url": address, "secret": generated}));
        return;
    }
    say!(
        "{name} is {verb}. Its webhooks go to {}.",
        address.unwrap_or_else(|| format!("the stack's WebhookUrl + /hooks/{name}"))
    );
    if let Some(secret) = generated {
        say!("Its secret, shown this once: {secret}");
    }
    if verb == "rotated" {
        say!("The secret before it stays valid until the next rotation.");
    }
}

fn check_name(name: &str) -> Result<(), Failure> {
    if clawbridge_webhook::is_source_name(name) {
        return Ok(());
    }
    let message = format!(
        "{name:?} cannot be a source's name: lower-case letters, digits, - and _, at most 64, a letter or digit first; \
         `bridge` is the bridge itself"
    );
    Err(Failure::negative("SOURCE_NAME", message))
}

fn unknown(name: &str) -> Failure {
    Failure::not_found("UNKNOWN_SOURCE", format!("there is no source {name}; `clawbridge source list` shows them"))
}
