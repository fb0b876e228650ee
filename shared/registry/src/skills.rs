//! Installed skills in the registry table: `skill`/NAME says what was installed, what was chosen and what it brought.
//!
//! An item changes only together with the configuration, in one transaction under the version in use: what a skill brought and what is remembered of it
//! cannot say different things.

use crate::{Registry, RegistryError, packed};
use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem};
use clawbridge_aws::explain;
use clawbridge_clock::Timestamp;
use clawbridge_config::Config;
use clawbridge_packed::Packed;
use clawbridge_skills::Record;
use clawbridge_table::{Item, Reader, b, n, s};

/// The largest record of a skill, bytes of JSON.
const MAX_RECORD_BYTES: usize = 2 * 1024 * 1024;

/// The largest packed record: an item holds 400 KB.
const MAX_PACKED_BYTES: usize = 380 * 1024;

/// An installed skill.
#[derive(Clone, Debug, PartialEq)]
pub struct Installed {
    /// What was installed, what was chosen, what it brought.
    pub record: Record,
    /// When this version of it was installed.
    pub at: Timestamp,
    /// The configuration version that it came with.
    pub config_version: u64,
}

/// What becomes of a skill along with a configuration version.
#[derive(Clone, Copy, Debug)]
pub enum SkillChange<'a> {
    /// It is installed so.
    Put(&'a Record),
    /// The one of this name is removed.
    Delete(&'a str),
}

impl Registry {
    /// Puts `config` as the version after `over`, if that still is the one in use, together with what becomes of a skill.
    ///
    /// # Errors
    /// See [`RegistryError`]; `Raced` where another version is in use.
    pub async fn apply_skill(
        &self,
        config: &Config,
        over: u64,
        change: SkillChange<'_>,
        now: Timestamp,
    ) -> Result<u64, RegistryError> {
        let document = packed(config)?;
        let unbuilt = |_| RegistryError::Table("the write could not be built".to_owned());
        let with = match change {
            SkillChange::Put(record) => {
                let json = serde_json::to_vec(record).map_err(|error| RegistryError::Table(error.to_string()))?;
                let packed = Packed::pack(&json);
                if packed.bytes.len() > MAX_PACKED_BYTES || json.len() > MAX_RECORD_BYTES {
                    return Err(RegistryError::TooLarge { bytes: packed.bytes.len() });
                }
                let put = Put::builder()
                    .table_name(&self.table)
                    .item("kind", s("skill"))
                    .item("name", s(&record.bundle.name))
                    .item("skill_version", s(&record.bundle.version.to_string()))
                    .item("encoding", s(packed.encoding.as_str()))
                    .item("document", b(packed.bytes))
                    .item("config_version", n(i64::try_from(over + 1).unwrap_or(i64::MAX)))
                    .item("installed_at", n(now.millis()));
                TransactWriteItem::builder().put(put.build().map_err(unbuilt)?).build()
            }
            SkillChange::Delete(name) => {
                let delete = Delete::builder().table_name(&self.table).key("kind", s("skill")).key("name", s(name));
                TransactWriteItem::builder().delete(delete.build().map_err(unbuilt)?).build()
            }
        };
        self.put_version(&document, over, Some(with), now).await
    }

    /// The skill of this name, read consistently.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn skill(&self, name: &str) -> Result<Option<Installed>, RegistryError> {
        self.item("skill", name).await?.map(|item| read(&item)).transpose()
    }

    /// All installed skills, by name.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn skills(&self) -> Result<Vec<Installed>, RegistryError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("kind = :kind")
            .expression_attribute_values(":kind", s("skill"));
        let mut pages = query.into_paginator().items().send();
        let mut skills = Vec::new();
        while let Some(item) = pages.next().await {
            skills.push(read(&item.map_err(|error| RegistryError::Table(explain(&error)))?)?);
        }
        Ok(skills)
    }
}

fn read(item: &Item) -> Result<Installed, RegistryError> {
    let from = Reader(item);
    let wrong = |reason: String| RegistryError::Table(format!("skill: {reason}"));
    let fields =
        || Ok((from.packed("document", "encoding")?, from.number("installed_at")?, from.number("config_version")?));
    let (packed, at, config_version): (Packed, i64, u64) =
        fields().map_err(|error: clawbridge_table::WrongAttribute| wrong(error.to_string()))?;
    let json = packed.unpack(MAX_RECORD_BYTES).map_err(|error| wrong(error.to_string()))?;
    let record = serde_json::from_slice(&json).map_err(|error| wrong(error.to_string()))?;
    Ok(Installed { record, at: Timestamp::from_millis(at), config_version })
}
