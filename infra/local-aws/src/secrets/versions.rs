//! The versions of a secret and the staging labels on them.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction, params};

use super::error::SecretsError;
use crate::clock::Millis;

/// The version in use.
pub(super) const CURRENT: &str = "AWSCURRENT";
/// The version that was in use before.
pub(super) const PREVIOUS: &str = "AWSPREVIOUS";

/// Versions without a label are kept up to this number per secret, the newest. Source: API_PutSecretValue.
const KEPT: i64 = 100;

/// What a version holds.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Binary(Vec<u8>),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text(…)",
            Self::Binary(_) => "Binary(…)",
        })
    }
}

impl Value {
    /// Refuses an empty value and one over 65 536 bytes. Source: API_PutSecretValue.
    pub(super) fn check(&self) -> Result<(), SecretsError> {
        let bytes = match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        };
        if (1..=65_536).contains(&bytes) {
            return Ok(());
        }
        Err(SecretsError::parameter(format!("A secret value has 1 to 65536 bytes; this one has {bytes}.")))
    }
}

/// One version, with its value.
pub(super) struct Version {
    pub(super) id: String,
    pub(super) value: Value,
    pub(super) stages: Vec<String>,
    pub(super) created: Millis,
}

/// One version, without its value.
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) stages: Vec<String>,
    pub(super) created: Millis,
    pub(super) accessed: Option<Millis>,
}

/// Refuses a token that cannot be a version's id. Source: API_PutSecretValue, `ClientRequestToken`.
pub(super) fn check_token(token: &str) -> Result<(), SecretsError> {
    if (32..=64).contains(&token.len()) {
        return Ok(());
    }
    Err(SecretsError::parameter("ClientRequestToken must be 32-64 characters long."))
}

/// What the version `token` holds, if there is one.
pub(super) fn holds(tx: &Transaction<'_>, secret: &str, token: &str) -> Result<Option<Value>, SecretsError> {
    let found: Option<(Option<String>, Option<Vec<u8>>)> = tx
        .prepare_cached("SELECT text, binary FROM secret_versions WHERE secret = ?1 AND version_id = ?2")?
        .query_row((secret, token), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(found.and_then(|(text, binary)| text.map(Value::Text).or(binary.map(Value::Binary))))
}

/// Adds a version and puts labels on it (`AWSCURRENT` unless others are given; the first version of a secret has it in
/// any case). Returns the labels it has then.
///
/// A repeat with the same value changes nothing; another value under a token that is used is an error.
pub(super) fn put(
    tx: &Transaction<'_>,
    secret: &str,
    token: &str,
    value: &Value,
    stages: Option<&[String]>,
    now: Millis,
) -> Result<Vec<String>, SecretsError> {
    check_token(token)?;
    value.check()?;
    if let Some(stages) = stages {
        check_stages(stages)?;
    }
    match holds(tx, secret, token)? {
        Some(existing) if existing == *value => return stages_of(tx, secret, token),
        Some(_) => {
            return Err(SecretsError::Exists(
                "You can't use ClientRequestToken because that value is already in use for a version of secret with other content."
                    .to_owned(),
            ));
        }
        None => {}
    }
    let (text, binary) = match value {
        Value::Text(text) => (Some(text), None),
        Value::Binary(bytes) => (None, Some(bytes)),
    };
    tx.prepare_cached(
        "INSERT INTO secret_versions (secret, version_id, text, binary, created) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![secret, token, text, binary, now])?;
    let current = [CURRENT.to_owned()];
    for stage in stages.unwrap_or(&current) {
        attach(tx, secret, stage, token)?;
    }
    if version_with(tx, secret, CURRENT)?.is_none() {
        attach(tx, secret, CURRENT, token)?;
    }
    tx.prepare_cached("UPDATE secrets SET changed = ?2 WHERE name = ?1")?.execute((secret, now))?;
    forget_old(tx, secret)?;
    stages_of(tx, secret, token)
}

fn check_stages(stages: &[String]) -> Result<(), SecretsError> {
    if !(1..=20).contains(&stages.len()) || stages.iter().any(|stage| !(1..=256).contains(&stage.chars().count())) {
        return Err(SecretsError::parameter("VersionStages has 1 to 20 labels of 1 to 256 characters."));
    }
    Ok(())
}

/// Puts a label on a version, and takes it off the one that had it. `AWSPREVIOUS` follows `AWSCURRENT`.
fn attach(tx: &Transaction<'_>, secret: &str, stage: &str, version: &str) -> Result<(), SecretsError> {
    let before = version_with(tx, secret, stage)?;
    if before.as_deref() == Some(version) {
        return Ok(());
    }
    let mut set =
        tx.prepare_cached("INSERT OR REPLACE INTO secret_stages (secret, stage, version_id) VALUES (?1, ?2, ?3)")?;
    set.execute((secret, stage, version))?;
    if let Some(before) = before.filter(|_| stage == CURRENT) {
        set.execute((secret, PREVIOUS, before))?;
    }
    Ok(())
}

fn version_with(tx: &Transaction<'_>, secret: &str, stage: &str) -> Result<Option<String>, SecretsError> {
    let mut statement = tx.prepare_cached("SELECT version_id FROM secret_stages WHERE secret = ?1 AND stage = ?2")?;
    Ok(statement.query_row((secret, stage), |row| row.get(0)).optional()?)
}

fn stages_of(tx: &Transaction<'_>, secret: &str, version: &str) -> Result<Vec<String>, SecretsError> {
    let mut statement =
        tx.prepare_cached("SELECT stage FROM secret_stages WHERE secret = ?1 AND version_id = ?2 ORDER BY stage")?;
    let stages = statement.query_map((secret, version), |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(stages)
}

fn forget_old(tx: &Transaction<'_>, secret: &str) -> Result<(), SecretsError> {
    tx.prepare_cached(
        "DELETE FROM secret_versions WHERE secret = ?1
            AND id NOT IN (SELECT id FROM secret_versions WHERE secret = ?1 ORDER BY id DESC LIMIT ?2)
            AND version_id NOT IN (SELECT version_id FROM secret_stages WHERE secret = ?1)",
    )?
    .execute((secret, KEPT))?;
    Ok(())
}

/// A version: by its id, by a label on it, by both (which must agree), or else the current one. Notes that it was read.
pub(super) fn get(
    tx: &Transaction<'_>,
    secret: &str,
    id: Option<&str>,
    stage: Option<&str>,
    now: Millis,
) -> Result<Version, SecretsError> {
    let missing = |what: String| {
        SecretsError::NotFound(format!("Secrets Manager can't find the specified secret value for {what}"))
    };
    let by_stage = match (id, stage) {
        (Some(_), None) => None,
        (_, stage) => version_with(tx, secret, stage.unwrap_or(CURRENT))?,
    };
    let id = match (id, by_stage) {
        (Some(id), by_stage) => {
            if holds(tx, secret, id)?.is_none() {
                return Err(missing(format!("VersionId: {id}")));
            }
            if stage.is_some() && by_stage.as_deref() != Some(id) {
                return Err(SecretsError::InvalidRequest(
                    "You provided a VersionStage that is not associated to the provided VersionId.".to_owned(),
                ));
            }
            id.to_owned()
        }
        (None, Some(id)) => id,
        (None, None) => return Err(missing(format!("staging label: {}", stage.unwrap_or(CURRENT)))),
    };
    let value = holds(tx, secret, &id)?.ok_or_else(|| missing(format!("VersionId: {id}")))?;
    // To the day, as Secrets Manager does; and so most reads write nothing.
    let today = now - now.rem_euclid(86_400_000);
    tx.prepare_cached("UPDATE secrets SET accessed = ?2 WHERE name = ?1 AND accessed IS NOT ?2")?
        .execute((secret, today))?;
    tx.prepare_cached(
        "UPDATE secret_versions SET accessed = ?3 WHERE secret = ?1 AND version_id = ?2 AND accessed IS NOT ?3",
    )?
    .execute((secret, &id, today))?;
    let created = tx
        .prepare_cached("SELECT created FROM secret_versions WHERE secret = ?1 AND version_id = ?2")?
        .query_row((secret, &id), |row| row.get(0))?;
    Ok(Version { stages: stages_of(tx, secret, &id)?, id, value, created })
}

/// The versions, oldest first; those without a label only with `deprecated`.
pub(super) fn list(tx: &Transaction<'_>, secret: &str, deprecated: bool) -> Result<Vec<Listed>, SecretsError> {
    let mut statement =
        tx.prepare_cached("SELECT version_id, created, accessed FROM secret_versions WHERE secret = ?1 ORDER BY id")?;
    let rows = statement.query_map([secret], |row| {
        Ok(Listed { id: row.get(0)?, stages: Vec::new(), created: row.get(1)?, accessed: row.get(2)? })
    })?;
    let mut versions = rows.collect::<Result<Vec<_>, _>>()?;
    for version in &mut versions {
        version.stages = stages_of(tx, secret, &version.id)?;
    }
    versions.retain(|version| deprecated || !version.stages.is_empty());
    Ok(versions)
}

/// The labels of each version that has any.
pub(super) fn stages(tx: &Transaction<'_>, secret: &str) -> Result<BTreeMap<String, Vec<String>>, SecretsError> {
    let mut stages: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for version in list(tx, secret, false)? {
        stages.insert(version.id, version.stages);
    }
    Ok(stages)
}

/// Moves, adds or removes a label. Who moves one must say which version has it, so that two movers cannot both succeed.
///
/// Source: API_UpdateSecretVersionStage.
pub(super) fn move_stage(
    tx: &Transaction<'_>,
    secret: &str,
    stage: &str,
    from: Option<&str>,
    to: Option<&str>,
    now: Millis,
) -> Result<(), SecretsError> {
    check_stages(&[stage.to_owned()])?;
    for version in [from, to].into_iter().flatten() {
        if holds(tx, secret, version)?.is_none() {
            return Err(SecretsError::NotFound(format!(
                "Secrets Manager can't find the specified secret value for VersionId: {version}"
            )));
        }
    }
    let has = version_with(tx, secret, stage)?;
    let mismatch = |has: Option<&str>| {
        let has = has.map_or_else(|| "no version".to_owned(), |version| format!("version {version}"));
        Err(SecretsError::parameter(format!(
            "The parameter RemoveFromVersionId can't be empty or name another version. Staging label {stage} is currently attached to {has}."
        )))
    };
    match (from, to) {
        (None, None) => Err(SecretsError::parameter("You must provide RemoveFromVersionId, MoveToVersionId or both.")),
        (Some(_), None) if stage == CURRENT => Err(SecretsError::parameter(
            "You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.",
        )),
        (Some(from), _) if has.as_deref() != Some(from) => mismatch(has.as_deref()),
        (None, Some(to)) if has.as_deref().is_some_and(|has| has != to) => mismatch(has.as_deref()),
        (_, to) => {
            match to {
                Some(to) => attach(tx, secret, stage, to)?,
                None => {
                    tx.prepare_cached("DELETE FROM secret_stages WHERE secret = ?1 AND stage = ?2")?
                        .execute((secret, stage))?;
                }
            }
            tx.prepare_cached("UPDATE secrets SET changed = ?2 WHERE name = ?1")?.execute((secret, now))?;
            Ok(())
        }
    }
}
