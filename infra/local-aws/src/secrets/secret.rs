//! A secret without its values: its names, what is said about it, and whether it is being deleted.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde_json::json;
use uuid::Uuid;

use super::error::SecretsError;
use crate::api::{ACCOUNT_ID, REGION};
use crate::clock::Millis;

/// A secret as it stands.
#[derive(Clone, Debug)]
pub(super) struct Secret {
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) description: Option<String>,
    pub(super) kms_key: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) created: Millis,
    pub(super) changed: Millis,
    pub(super) accessed: Option<Millis>,
    /// When its recovery window ends, if it was deleted.
    pub(super) deletion: Option<Millis>,
}

const COLUMNS: &str = "name, arn, description, kms_key, tags, created, changed, accessed, deletion";

impl Secret {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let tags: String = row.get(4)?;
        let tags = serde_json::from_str(&tags).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(4, rusqlite::types::Type::Text, Box::new(error))
        })?;
        Ok(Self {
            name: row.get(0)?,
            arn: row.get(1)?,
            description: row.get(2)?,
            kms_key: row.get(3)?,
            tags,
            created: row.get(5)?,
            changed: row.get(6)?,
            accessed: row.get(7)?,
            deletion: row.get(8)?,
        })
    }

    pub(super) fn find_by_name(tx: &Transaction<'_>, name: &str) -> Result<Option<Self>, SecretsError> {
        let sql = format!("SELECT {COLUMNS} FROM secrets WHERE name = ?1");
        Ok(tx.prepare_cached(&sql)?.query_row([name], Self::read).optional()?)
    }

    /// The secret that `id` names: its name, its ARN, or its ARN without the six characters at the end.
    pub(super) fn load(tx: &Transaction<'_>, id: &str) -> Result<Self, SecretsError> {
        if id.is_empty() {
            return Err(SecretsError::parameter("You must provide a value for the SecretId parameter."));
        }
        let found = if id.starts_with("arn:") {
            let sql = format!(
                "SELECT {COLUMNS} FROM secrets WHERE arn = ?1 OR substr(arn, 1, length(arn) - 7) = ?1 ORDER BY arn <> ?1"
            );
            tx.prepare_cached(&sql)?.query_row([id], Self::read).optional()?
        } else {
            Self::find_by_name(tx, id)?
        };
        found.ok_or_else(|| SecretsError::NotFound("Secrets Manager can't find the specified secret.".to_owned()))
    }

    /// The secret that `id` names, unless it is being deleted.
    pub(super) fn load_usable(tx: &Transaction<'_>, id: &str) -> Result<Self, SecretsError> {
        let secret = Self::load(tx, id)?;
        if secret.deletion.is_some() {
            return Err(SecretsError::InvalidRequest(
                "You can't perform this operation on the secret because it was marked for deletion.".to_owned(),
            ));
        }
        Ok(secret)
    }

    pub(super) fn all(tx: &Transaction<'_>) -> Result<Vec<Self>, SecretsError> {
        let sql = format!("SELECT {COLUMNS} FROM secrets ORDER BY name");
        let mut statement = tx.prepare_cached(&sql)?;
        let secrets = statement.query_map([], Self::read)?.collect::<Result<_, _>>()?;
        Ok(secrets)
    }

    pub(super) fn insert(&self, tx: &Transaction<'_>) -> Result<(), SecretsError> {
        tx.execute(
            "INSERT INTO secrets (name, arn, description, kms_key, tags, created, changed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                self.name,
                self.arn,
                self.description,
                self.kms_key,
                json!(self.tags).to_string(),
                self.created,
                self.changed
            ],
        )?;
        Ok(())
    }

    /// Writes what can change. `changed` moves to `now`.
    pub(super) fn update(&mut self, tx: &Transaction<'_>, now: Millis) -> Result<(), SecretsError> {
        self.changed = now;
        tx.execute(
            "UPDATE secrets SET description = ?2, kms_key = ?3, tags = ?4, changed = ?5, deletion = ?6 WHERE name = ?1",
            params![
                self.name,
                self.description,
                self.kms_key,
                json!(self.tags).to_string(),
                self.changed,
                self.deletion
            ],
        )?;
        Ok(())
    }
}

/// An ARN ends in a hyphen and six characters, so that a secret made again under the same name has another one.
pub(super) fn new_arn(name: &str) -> String {
    let random = Uuid::new_v4().simple().to_string();
    format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT_ID}:secret:{name}-{}", random.get(..6).unwrap_or("local0"))
}

/// Refuses what Secrets Manager refuses: a name is 1 to 512 ASCII letters, digits and `/_+=.@-`. Source:
/// API_CreateSecret.
pub(super) fn check_name(name: &str) -> Result<(), SecretsError> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"/_+=.@-".contains(&b);
    if name.is_empty() || name.len() > 512 || !name.bytes().all(fits) {
        return Err(SecretsError::parameter(
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@, 1 to 512 in \
             length.",
        ));
    }
    Ok(())
}
