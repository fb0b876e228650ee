//! Secrets Manager on one machine: secrets, their versions and staging labels, kept in SQLite behind the service's own
//! API.
//!
//! A stand-in for one machine: values lie unencrypted in a file that only its owner can read, and there are no
//! policies, replicas or rotation schedules (rotation by moving labels works).

mod error;
mod secret;
mod versions;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::Transaction;
use uuid::Uuid;

pub use error::SecretsError;

use crate::clock::{Clock, Millis};
use crate::store::Store;
use secret::Secret;
use versions::Value;

/// The secrets. Cloning shares them.
#[derive(Clone, Debug)]
pub struct SecretsManager {
    store: Arc<Store>,
    clock: Clock,
}

impl SecretsManager {
    pub(crate) fn new(store: Arc<Store>, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Creates a secret whose current version is this text, and returns its ARN.
    ///
    /// # Errors
    /// A name that is taken or refused; a text that is empty or over 65 536 bytes; a state that cannot be written.
    pub fn create(&self, name: &str, text: &str) -> Result<String, SecretsError> {
        let new =
            NewSecret { name: name.to_owned(), value: Some(Value::Text(text.to_owned())), ..NewSecret::default() };
        self.write(|tx, now| create(tx, &new, now)).map(|(secret, _)| secret.arn)
    }

    /// Makes this text the current version of a secret, and the current version the previous one. Returns the version's
    /// id.
    ///
    /// # Errors
    /// No such secret; a secret that is being deleted; a text that is empty or over 65 536 bytes; a state that cannot
    /// be written.
    pub fn put(&self, secret: &str, text: &str) -> Result<String, SecretsError> {
        let token = Uuid::new_v4().to_string();
        let value = Value::Text(text.to_owned());
        self.write(|tx, now| {
            let secret = Secret::load_usable(tx, secret)?;
            versions::put(tx, &secret.name, &token, &value, None, now)
        })?;
        Ok(token)
    }

    /// The text of a secret's current version; `None` if there is no such secret, or no version, or it is binary.
    ///
    /// # Errors
    /// A secret that is being deleted; a state that cannot be read.
    pub fn get(&self, secret: &str) -> Result<Option<String>, SecretsError> {
        let found = self.write(|tx, now| {
            let secret = Secret::load_usable(tx, secret)?;
            versions::get(tx, &secret.name, None, None, now)
        });
        match found {
            Ok(version) => Ok(match version.value {
                Value::Text(text) => Some(text),
                Value::Binary(_) => None,
            }),
            Err(SecretsError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes secrets whose recovery window is over.
    pub(crate) fn sweep(&self) -> Result<(), SecretsError> {
        self.write(|_, _| Ok(()))
    }

    /// Runs `change` in one transaction. Secrets past their recovery window are gone before it looks.
    fn write<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>, Millis) -> Result<T, SecretsError>,
    ) -> Result<T, SecretsError> {
        let now = self.clock.now();
        self.store.write(|tx| {
            tx.prepare_cached("DELETE FROM secrets WHERE deletion <= ?1")?.execute([now])?;
            change(tx, now)
        })
    }
}

/// What a secret starts with.
#[derive(Default)]
struct NewSecret {
    name: String,
    token: Option<String>,
    value: Option<Value>,
    description: Option<String>,
    kms_key: Option<String>,
    tags: BTreeMap<String, String>,
}

/// Creates a secret and, if it has a value, its first version (whose id is returned).
///
/// A repeat with the token and value of a version that exists is a success that changes nothing. Source:
/// API_CreateSecret.
fn create(tx: &Transaction<'_>, new: &NewSecret, now: Millis) -> Result<(Secret, Option<String>), SecretsError> {
    secret::check_name(&new.name)?;
    let token = new.token.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
    versions::check_token(&token)?;
    if let Some(value) = &new.value {
        value.check()?;
    }
    if let Some(existing) = Secret::find_by_name(tx, &new.name)? {
        if existing.deletion.is_some() {
            return Err(SecretsError::InvalidRequest(
                "You can't create this secret because a secret with this name is already scheduled for deletion."
                    .to_owned(),
            ));
        }
        return match &new.value {
            Some(value) if versions::holds(tx, &existing.name, &token)?.as_ref() == Some(value) => {
                Ok((existing, Some(token)))
            }
            _ => Err(SecretsError::Exists("The operation failed because the secret already exists.".to_owned())),
        };
    }
    let secret = Secret {
        arn: secret::new_arn(&new.name),
        name: new.name.clone(),
        description: new.description.clone(),
        kms_key: new.kms_key.clone(),
        tags: new.tags.clone(),
        created: now,
        changed: now,
        accessed: None,
        deletion: None,
    };
    secret.insert(tx)?;
    let version = match &new.value {
        Some(value) => {
            versions::put(tx, &secret.name, &token, value, None, now)?;
            Some(token)
        }
        None => None,
    };
    Ok((secret, version))
}
