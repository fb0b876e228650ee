//! Secrets Manager, read with a bounded age.
//!
//! A value is used for [`Ages::fresh`] and then read again, so that a rotated secret works without a deploy; when Secrets Manager
//! does not answer, the last value goes on being used for [`Ages::stale`]. Names that do not exist are remembered as such, and
//! names never seen before may cost only so many calls: a stranger who invents names cannot run up a bill.
//! Values are never logged and [`SecretValue`] does not show them.

mod cache;

pub use cache::Ages;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use cache::{Cache, Kept, Lookup};
use clawbridge_aws::explain;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Which version of a secret: Secrets Manager's staging labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// `AWSCURRENT`.
    Current,
    /// `AWSPREVIOUS`: what was current before the last rotation.
    Previous,
}

impl Stage {
    fn label(self) -> &'static str {
        match self {
            Stage::Current => "AWSCURRENT",
            Stage::Previous => "AWSPREVIOUS",
        }
    }
}

/// A secret's bytes. Debug output does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Arc<[u8]>);

impl SecretValue {
    /// From the bytes themselves.
    #[must_use]
    pub fn new(bytes: &[u8]) -> SecretValue {
        SecretValue(Arc::from(bytes))
    }

    /// The bytes, for the code that uses the secret.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager knows no such secret, or none at that stage. Asking again soon is pointless.
    #[error("there is no secret {name}")]
    Missing {
        /// The secret's name.
        name: String,
    },
    /// Secrets Manager did not answer or refused: try again later.
    #[error("the secret {name} could not be read: {reason}")]
    Unavailable {
        /// The secret's name.
        name: String,
        /// What the SDK said; it never holds the value.
        reason: String,
    },
    /// Too many names that were never seen before: not asked, try again later.
    #[error("too many unknown names were asked for; {name} was not looked up")]
    Throttled {
        /// The secret's name.
        name: String,
    },
}

/// The name in a stack whose secrets begin with `prefix` of a secret that bridge.toml names: one document serves several stacks.
#[must_use]
pub fn name_in_stack(prefix: &str, declared: &str) -> String {
    match declared.strip_prefix("clawbridge/") {
        Some(rest) => format!("{prefix}/{rest}"),
        None => declared.to_owned(),
    }
}

/// A reader with a cache. Clones share both.
#[derive(Clone, Debug)]
pub struct Secrets {
    client: Client,
    cache: Arc<Mutex<Cache>>,
    /// One reader at a time per process: a burst of first requests is one call, not many.
    reading: Arc<tokio::sync::Mutex<()>>,
}

impl Secrets {
    /// A reader with an empty cache.
    #[must_use]
    pub fn new(client: Client, ages: Ages) -> Secrets {
        Secrets {
            client,
            cache: Arc::new(Mutex::new(Cache::new(ages, Instant::now()))),
            reading: Arc::new(tokio::sync::Mutex::new(())),
        }
    }

    /// The value at `stage`, at most [`Ages::fresh`] old unless Secrets Manager is out of reach.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub async fn get(&self, name: &str, stage: Stage) -> Result<SecretValue, SecretError> {
        let kept = self.lock().known(name, stage, Instant::now());
        if let Some(kept) = kept {
            return known(name, kept);
        }
        let _turn = self.reading.lock().await;
        // Somebody else may have read it by now.
        let lookup = self.lock().look(name, stage, Instant::now());
        match lookup {
            Lookup::Known(kept) => known(name, kept),
            Lookup::Refused => Err(SecretError::Throttled { name: name.to_owned() }),
            Lookup::Read { stale } => self.read(name, stage, stale).await,
        }
    }

    /// The value as Secrets Manager has it now, unless it was read within [`Ages::settle`]: for the moment when the value in
    /// hand turned out not to fit, which after a rotation is the first sign of it.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub async fn get_again(&self, name: &str, stage: Stage) -> Result<SecretValue, SecretError> {
        let _turn = self.reading.lock().await;
        let kept = self.lock().settled(name, stage, Instant::now());
        match kept {
            Some(kept) => known(name, kept),
            None => self.read(name, stage, None).await,
        }
    }

    /// The value as Secrets Manager has it now, for who is about to change it.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub async fn get_now(&self, name: &str, stage: Stage) -> Result<SecretValue, SecretError> {
        let _turn = self.reading.lock().await;
        self.read(name, stage, None).await
    }

    /// Makes `text` the current value of a secret that exists.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub async fn put(&self, name: &str, text: &str) -> Result<(), SecretError> {
        match self.client.put_secret_value().secret_id(name).secret_string(text).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()) => {
                Err(SecretError::Missing { name: name.to_owned() })
            }
            Err(error) => Err(SecretError::Unavailable { name: name.to_owned(), reason: explain(&error) }),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        // The cache holds no half-made state between statements, so a panic elsewhere leaves it usable.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, name: &str, stage: Stage, stale: Option<SecretValue>) -> Result<SecretValue, SecretError> {
        let answer = self.client.get_secret_value().secret_id(name).version_stage(stage.label()).send().await;
        let now = Instant::now();
        match answer {
            Ok(output) => {
                let bytes = match (&output.secret_string, &output.secret_binary) {
                    (Some(text), _) => text.as_bytes(),
                    (None, Some(blob)) => blob.as_ref(),
                    (None, None) => &[],
                };
                let value = SecretValue::new(bytes);
                self.lock().keep(name, stage, Kept::Value(value.clone()), now);
                Ok(value)
            }
            Err(error) if is_missing(error.as_service_error()) => {
                self.lock().keep(name, stage, Kept::Missing, now);
                Err(SecretError::Missing { name: name.to_owned() })
            }
            Err(error) => match stale {
                Some(value) => {
                    self.lock().extend(name, stage, now);
                    Ok(value)
                }
                None => Err(SecretError::Unavailable { name: name.to_owned(), reason: explain(&error) }),
            },
        }
    }
}

/// A secret that is scheduled for deletion answers InvalidRequestException: for its users it is gone.
fn is_missing(error: Option<&GetSecretValueError>) -> bool {
    error.is_some_and(|error| error.is_resource_not_found_exception() || error.is_invalid_request_exception())
}

fn known(name: &str, kept: Kept) -> Result<SecretValue, SecretError> {
    match kept {
        Kept::Value(value) => Ok(value),
        Kept::Missing => Err(SecretError::Missing { name: name.to_owned() }),
    }
}
