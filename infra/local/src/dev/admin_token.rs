//! The token with which this machine's own programs use the API of `dev`: made at the first start, kept in the state directory.

use crate::failure::Failure;
use crate::random;
use clawbridge_access::{Presented, Scope, TokenRecord};
use clawbridge_clock::Timestamp;
use clawbridge_registry::Registry;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What it is called.
const NAME: &str = "dev-admin";

/// Where it is: a file that only its owner can read.
pub(crate) fn path(state: &Path) -> PathBuf {
    state.join("token")
}

/// Makes the token, unless there is one that the registry knows.
pub(crate) async fn provide(state: &Path, registry: &Registry) -> Result<(), Failure> {
    let unavailable = |reason: String| Failure::new("STATE_UNAVAILABLE", format!("the token of the API: {reason}"));
    if let Ok(text) = std::fs::read_to_string(path(state))
        && let Ok(presented) = Presented::parse(Some(&format!("Bearer {}", text.trim())))
        && registry.token(presented.hash()).await.map_err(|error| unavailable(error.to_string()))?.is_some()
    {
        return Ok(());
    }
    let (token, now) = (random::token(), Timestamp::now());
    let record = TokenRecord {
        hash: token.hash(),
        name: NAME.to_owned(),
        scopes: vec![Scope::Admin],
        created_at: now,
        expires_at: None,
        last_used_at: None,
        rate: None,
    };
    // The file before it was lost; nobody can have what it held.
    registry.revoke_token(NAME).await.map_err(|error| unavailable(error.to_string()))?;
    registry.put_token(&record, now).await.map_err(|error| unavailable(error.to_string()))?;
    write(&path(state), token.reveal()).map_err(|error| unavailable(error.to_string()))
}

fn write(path: &Path, token: &str) -> std::io::Result<()> {
    // Its mode counts only where it is made, and may have been changed since.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    writeln!(options.open(path)?, "{token}")
}
