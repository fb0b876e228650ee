//! Asking an agent's owner for access to it: a code that they confirm, a token that is good from then on.

use super::args::ChatArgs;
use super::target::paired_at;
use crate::cli::Global;
use crate::failure::Failure;
use crate::operator::reach;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// How often it is looked whether the owner has decided.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The answer to a request for access.
#[derive(Deserialize)]
struct Pairing {
    id: String,
    /// What the owner compares and confirms.
    code: String,
    /// It works once they have.
    token: String,
}

/// Asks, waits for the decision, and stores the token.
///
/// # Errors
/// The bridge cannot be asked, or the owner says no.
pub(super) async fn pair(global: &Global, args: &ChatArgs, channel: &Url) -> Result<(), Failure> {
    let agent = args.agent.as_deref().unwrap_or_default();
    let api = api_url(global, args).await?;
    let client = reach::http_client()?;
    let failed = |error: &reqwest::Error| Failure::new("API_UNREACHABLE", format!("{api}: {}", reach::cause(error)));
    let asked = client.post(format!("{api}/api/v1/pairings")).header("content-type", "application/json");
    let answer =
        asked.body(json!({"agent": agent, "name": name()}).to_string()).send().await.map_err(|error| failed(&error))?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(|error| failed(&error))?;
    if !status.is_success() {
        return Err(refused(status.as_u16(), &body));
    }
    let pairing: Pairing = serde_json::from_slice(&body)
        .map_err(|_| Failure::new("API_UNREACHABLE", format!("{api}: what answers is not the bridge's API")))?;
    eprintln!("Ask the agent's owner to confirm the code {} for {agent}, within fifteen minutes.", pairing.code);
    eprintln!("Waiting for them; Ctrl-C gives up …");

    let look = format!("{api}/api/v1/pairings/{}", pairing.id);
    loop {
        let asked = client.get(&look).header("authorization", format!("Bearer {}", pairing.token));
        let decision = match asked.send().await {
            Ok(answer) if answer.status().is_success() => {
                let body = answer.bytes().await.map_err(|error| failed(&error))?;
                let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
                body["status"].as_str().unwrap_or("pending").to_owned()
            }
            Ok(answer) if matches!(answer.status().as_u16(), 404 | 410) => "expired".to_owned(),
            Ok(answer) if answer.status().is_client_error() && answer.status() != 429 => {
                let status = answer.status().as_u16();
                return Err(refused(status, &answer.bytes().await.unwrap_or_default()));
            }
            // It may be back with the next look.
            Ok(_) | Err(_) => "pending".to_owned(),
        };
        match decision.as_str() {
            "confirmed" => break,
            "pending" => tokio::time::sleep(LOOK_EVERY).await,
            "expired" => {
                return Err(Failure::negative("PAIRING_EXPIRED", "nobody confirmed the code in time; ask again"));
            }
            _ => return Err(Failure::negative("PAIRING_REFUSED", "the agent's owner says no")),
        }
    }
    let file = paired_at(&args.state, channel, agent);
    store(&file, &pairing.token)
        .map_err(|error| Failure::usage("TOKEN_NOT_STORED", format!("{}: {error}", file.display())))?;
    eprintln!("Confirmed; the token is in {}.", file.display());
    Ok(())
}

/// By which the owner knows who asks: letters, digits, `.`, `_` and `-`, at most 48.
fn name() -> String {
    let user = std::env::var("USER").unwrap_or_default();
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let user: String = user.chars().filter(is_plain).take(40).collect();
    if user.is_empty() { "chat".to_owned() } else { format!("chat-{user}") }
}

async fn api_url(global: &Global, args: &ChatArgs) -> Result<String, Failure> {
    if let Some(url) = &args.api_url {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    if args.url.is_some() || global.stack.is_some() {
        return Err(Failure::usage(
            "URL_MISSING",
            "the channel's address does not say where the bridge's API is: give it with --api-url",
        ));
    }
    Ok(reach::local(global).await?.public_url.unwrap_or_default())
}

fn refused(status: u16, body: &[u8]) -> Failure {
    let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let said = body["error"]["message"].as_str().or_else(|| body["message"].as_str()).unwrap_or("it does not say why");
    let said = super::render::harmless(said);
    Failure::negative("PAIRING_REFUSED", format!("the bridge refuses the request for access ({status}): {said}"))
}

/// A file that only its owner can read.
fn store(file: &Path, token: &str) -> std::io::Result<()> {
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir)?;
    }
    // Its mode counts only where it is made.
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    writeln!(options.open(file)?, "{token}")
}
