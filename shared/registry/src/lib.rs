//! The registry table: configuration versions, (`tokens`) the API's tokens and (`agents`) agents.
//!
//! `apply` puts a new version; functions look for it every few seconds and keep what they compiled. Key: `kind`, `name`. The item
//! `config`/`current` holds the version in use; `config`/`v00000012` each one that was.

mod agents;
mod submissions;
mod tokens;

pub use agents::MAX_AGENTS;
pub use submissions::Submitted;
pub use tokens::{MAX_TOKENS, USE_NOTED_EVERY};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
use clawbridge_aws::explain;
use clawbridge_clock::Timestamp;
use clawbridge_config::{Compiled, Config, Diagnostic};
use clawbridge_packed::Packed;
use clawbridge_table::{Item, Reader, WrongAttribute, b, n, s};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long a function works with a configuration before it looks for a newer one.
pub const FRESH: Duration = Duration::from_secs(5);

/// The largest configuration document, bytes of JSON.
pub const MAX_CONFIG_BYTES: usize = 4 * 1024 * 1024;

/// The largest packed document: an item holds 400 KB.
const MAX_PACKED_BYTES: usize = 380 * 1024;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// DynamoDB refused or did not answer.
    #[error("the registry table: {0}")]
    Table(String),
    /// What is in the table does not work.
    #[error("configuration version {version} does not work: {reason}; apply one that does")]
    Invalid {
        /// Its number.
        version: u64,
        /// What is wrong.
        reason: String,
    },
    /// Somebody else applied a version in the same moment.
    #[error("another version was applied in the same moment; look at it and apply again")]
    Raced,
    /// Too large for the table.
    #[error("the configuration is {bytes} bytes after compression; {MAX_PACKED_BYTES} fit into the registry")]
    TooLarge {
        /// Its packed size, bytes.
        bytes: usize,
    },
}

/// A configuration with its number.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its number; 0 for the empty configuration that there is before the first.
    pub number: u64,
    /// The configuration, ready to use.
    pub config: Arc<Compiled>,
}

/// The table's configuration versions, with what was read last. Clones share it.
#[derive(Clone, Debug)]
pub struct Registry {
    client: Client,
    table: String,
    kept: Arc<Mutex<Option<Kept>>>,
}

#[derive(Debug)]
struct Kept {
    version: Version,
    checked_at: Instant,
}

impl Registry {
    /// The table named `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Registry {
        Registry { client, table, kept: Arc::default() }
    }

    /// The version in use, at most [`FRESH`] behind; older when the table does not answer, and the last one that worked when the
    /// newest does not.
    ///
    /// # Errors
    /// See [`RegistryError`]; only when there is nothing kept to go on with.
    pub async fn current(&self) -> Result<Version, RegistryError> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = &*kept
            && kept.checked_at.elapsed() < FRESH
        {
            return Ok(kept.version.clone());
        }
        let version = match (self.read(kept.as_ref().map(|kept| kept.version.number)).await, &*kept) {
            (Ok(Some(version)), _) => version,
            (Ok(None), Some(kept)) => kept.version.clone(),
            (Ok(None), None) => Version { number: 0, config: Arc::new(empty()?) },
            (Err(_), Some(kept)) => kept.version.clone(),
            (Err(error), None) => return Err(error),
        };
        *kept = Some(Kept { version: version.clone(), checked_at: Instant::now() });
        Ok(version)
    }

    /// The version in the table, or `None` if that is the `known` one or there is none.
    async fn read(&self, known: Option<u64>) -> Result<Option<Version>, RegistryError> {
        let Some((number, packed)) = self.document().await? else { return Ok(None) };
        if known == Some(number) {
            return Ok(None);
        }
        let invalid = |reason: String| RegistryError::Invalid { version: number, reason };
        let json = packed.unpack(MAX_CONFIG_BYTES).map_err(|error| invalid(error.to_string()))?;
        let config = Compiled::from_json(&json)
            .map_err(|problems| invalid(problems.first().map(ToString::to_string).unwrap_or_default()))?;
        Ok(Some(Version { number, config: Arc::new(config) }))
    }

    async fn document(&self) -> Result<Option<(u64, Packed)>, RegistryError> {
        self.document_named("current").await
    }

    async fn document_named(&self, name: &str) -> Result<Option<(u64, Packed)>, RegistryError> {
        let Some(item) = self.item("config", name).await? else { return Ok(None) };
        let from = Reader(&item);
        let read = || Ok((from.number("version")?, from.packed("document", "encoding")?));
        read().map(Some).map_err(|wrong: WrongAttribute| RegistryError::Table(format!("config/{name}: {wrong}")))
    }

    async fn item(&self, kind: &str, name: &str) -> Result<Option<Item>, RegistryError> {
        let get = self.client.get_item().table_name(&self.table).key("kind", s(kind)).key("name", s(name));
        let answer = get.consistent_read(true).send().await;
        Ok(answer.map_err(|error| RegistryError::Table(explain(&error)))?.item)
    }

    /// The document in use as it stands in the table now, JSON, with its number; 0 and an empty one before the first.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn latest(&self) -> Result<(u64, Vec<u8>), RegistryError> {
        match self.document().await? {
            Some((number, packed)) => Ok((number, unpacked(number, &packed)?)),
            None => Ok((0, Config::default().to_json())),
        }
    }

    /// The document of a version, JSON.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn version(&self, number: u64) -> Result<Option<Vec<u8>>, RegistryError> {
        let found = self.document_named(&version_name(number)).await?;
        found.map(|(number, packed)| unpacked(number, &packed)).transpose()
    }

    /// The versions before `before`, newest first, at most `limit`: number and when each was applied.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn versions(&self, before: Option<u64>, limit: i32) -> Result<Vec<(u64, Timestamp)>, RegistryError> {
        let last = before.map_or_else(|| "v99999999".to_owned(), |before| version_name(before.saturating_sub(1)));
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("kind = :kind AND #name BETWEEN :first AND :last")
            .expression_attribute_names("#name", "name")
            .expression_attribute_values(":kind", s("config"))
            .expression_attribute_values(":first", s("v00000000"))
            .expression_attribute_values(":last", s(&last))
            .projection_expression("version, applied_at")
            .scan_index_forward(false)
            .limit(limit);
        let answer = query.send().await.map_err(|error| RegistryError::Table(explain(&error)))?;
        let read = |item: &Item| -> Result<(u64, Timestamp), WrongAttribute> {
            let from = Reader(item);
            Ok((from.number("version")?, Timestamp::from_millis(from.number("applied_at")?)))
        };
        Ok(answer.items.unwrap_or_default().iter().filter_map(|item| read(item).ok()).collect())
    }

    /// Puts `config` as a new version and returns its number; the number in use, without a write, if that is the same configuration.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn apply(&self, config: &Config, now: Timestamp) -> Result<u64, RegistryError> {
        self.apply_over(config, None, now).await
    }

    /// As [`Registry::apply`], if the version in use is still `expected`.
    ///
    /// # Errors
    /// See [`RegistryError`]; `Raced` where it is another.
    pub async fn apply_over(
        &self,
        config: &Config,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<u64, RegistryError> {
        let packed = Packed::pack(&config.to_json());
        if packed.bytes.len() > MAX_PACKED_BYTES {
            return Err(RegistryError::TooLarge { bytes: packed.bytes.len() });
        }
        let document = self.document().await?;
        let in_use = document.as_ref().map_or(0, |(number, _)| *number);
        if expected.is_some_and(|expected| expected != in_use) {
            return Err(RegistryError::Raced);
        }
        let number = match document {
            Some((number, current)) if current == packed => return Ok(number),
            Some((number, _)) => number + 1,
            None => 1,
        };
        let version = i64::try_from(number).unwrap_or(i64::MAX);
        let item = |name: &str| {
            Put::builder()
                .table_name(&self.table)
                .item("kind", s("config"))
                .item("name", s(name))
                .item("version", n(version))
                .item("encoding", s(packed.encoding.as_str()))
                .item("document", b(packed.bytes.clone()))
                .item("applied_at", n(now.millis()))
        };
        let current = item("current")
            .condition_expression("attribute_not_exists(version) OR version = :before")
            .expression_attribute_values(":before", n(version - 1))
            .build();
        let archived = item(&version_name(number)).condition_expression("attribute_not_exists(kind)").build();
        let (Ok(current), Ok(archived)) = (current, archived) else {
            return Err(RegistryError::Table("the write could not be built".to_owned()));
        };
        let write = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().put(current).build())
            .transact_items(TransactWriteItem::builder().put(archived).build());
        match write.send().await {
            Ok(_) => Ok(number),
            Err(SdkError::ServiceError(context)) if context.err().is_transaction_canceled_exception() => {
                Err(RegistryError::Raced)
            }
            Err(error) => Err(RegistryError::Table(explain(&error))),
        }
    }
}

fn version_name(number: u64) -> String {
    format!("v{number:08}")
}

fn unpacked(version: u64, packed: &Packed) -> Result<Vec<u8>, RegistryError> {
    packed.unpack(MAX_CONFIG_BYTES).map_err(|error| RegistryError::Invalid { version, reason: error.to_string() })
}

/// The configuration that there is before the first.
fn empty() -> Result<Compiled, RegistryError> {
    let invalid = |problems: Vec<Diagnostic>| RegistryError::Invalid {
        version: 0,
        reason: problems.first().map(ToString::to_string).unwrap_or_default(),
    };
    Config::default().compile().map_err(invalid)
}
