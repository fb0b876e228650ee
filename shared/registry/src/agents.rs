//! Agents in the registry table.
//!
//! Two items for each, so that every look is a key: `agent`/NAME, the record, and `agent-key`/KEY, which says whose key it is. A record that is
//! changed is written only over the version that was read.

use crate::{Registry, RegistryError};
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem};
use clawbridge_access::{AgentRecord, AppKey, AppSecretHash, KeptSecret};
use clawbridge_aws::explain;
use clawbridge_clock::Timestamp;
use clawbridge_table::{Item, Reader, WrongAttribute, n, s};

/// The most agents of a list.
pub const MAX_AGENTS: i32 = 1000;

impl Registry {
    /// Keeps a new agent. False where there is one of its name.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn put_agent(&self, record: &AgentRecord) -> Result<bool, RegistryError> {
        let by_name = written(Put::builder().table_name(&self.table), record, 1)
            .condition_expression("attribute_not_exists(kind)");
        let by_key = Put::builder()
            .table_name(&self.table)
            .item("kind", s("agent-key"))
            .item("name", s(record.key.as_str()))
            .item("agent", s(&record.name))
            .condition_expression("attribute_not_exists(kind)");
        let (Ok(by_name), Ok(by_key)) = (by_name.build(), by_key.build()) else { return Err(unbuilt()) };
        let write = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().put(by_name).build())
            .transact_items(TransactWriteItem::builder().put(by_key).build());
        match write.send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(context)) if context.err().is_transaction_canceled_exception() => Ok(false),
            Err(error) => Err(RegistryError::Table(explain(&error))),
        }
    }

    /// The agent of this name, read consistently.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn agent(&self, name: &str) -> Result<Option<AgentRecord>, RegistryError> {
        Ok(self.versioned_agent(name).await?.map(|(record, _)| record))
    }

    /// The agent with this app key, read consistently.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn agent_by_key(&self, key: &AppKey) -> Result<Option<AgentRecord>, RegistryError> {
        let Some(item) = self.item("agent-key", key.as_str()).await? else { return Ok(None) };
        let name = Reader(&item).text("agent").map_err(|wrong| unreadable(&wrong))?;
        Ok(self.agent(name).await?.filter(|record| record.key == *key))
    }

    /// All agents, by name; at most [`MAX_AGENTS`].
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn agents(&self) -> Result<Vec<AgentRecord>, RegistryError> {
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("kind = :kind")
            .expression_attribute_values(":kind", s("agent"))
            .consistent_read(true)
            .limit(MAX_AGENTS)
            .send()
            .await
            .map_err(|error| RegistryError::Table(explain(&error)))?;
        let items = answer.items.unwrap_or_default();
        Ok(items.iter().filter_map(|item| read(item).ok()).map(|(record, _)| record).collect())
    }

    /// Gives the agent another secret; the one before it is valid until `until` (`now`: no longer). `None` where there is no such agent.
    ///
    /// # Errors
    /// [`RegistryError`]; `Raced` where it was changed in the same moment.
    pub async fn rotate_agent_secret(
        &self,
        name: &str,
        secret: AppSecretHash,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<AgentRecord>, RegistryError> {
        let Some((record, version)) = self.versioned_agent(name).await? else { return Ok(None) };
        let record = record.rotated(secret, until, now);
        let put = written(Put::builder().table_name(&self.table), &record, version + 1).build();
        let Some(item) = put.ok().map(|put| put.item) else { return Err(unbuilt()) };
        let write = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("version = :version")
            .expression_attribute_values(":version", n(version));
        match write.send().await {
            Ok(_) => Ok(Some(record)),
            Err(SdkError::ServiceError(context)) if context.err().is_conditional_check_failed_exception() => {
                Err(RegistryError::Raced)
            }
            Err(error) => Err(RegistryError::Table(explain(&error))),
        }
    }

    /// Removes the agent; its record, or `None` where there is none. A connection that it has stays until it ends or is ended.
    ///
    /// # Errors
    /// [`RegistryError`]; `Raced` where it was removed and made anew in the same moment.
    pub async fn remove_agent(&self, name: &str) -> Result<Option<AgentRecord>, RegistryError> {
        let Some((record, _)) = self.versioned_agent(name).await? else { return Ok(None) };
        let by_name = Delete::builder()
            .table_name(&self.table)
            .key("kind", s("agent"))
            .key("name", s(name))
            .condition_expression("app_key = :key")
            .expression_attribute_values(":key", s(record.key.as_str()));
        let by_key =
            Delete::builder().table_name(&self.table).key("kind", s("agent-key")).key("name", s(record.key.as_str()));
        let (Ok(by_name), Ok(by_key)) = (by_name.build(), by_key.build()) else { return Err(unbuilt()) };
        let write = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().delete(by_name).build())
            .transact_items(TransactWriteItem::builder().delete(by_key).build());
        match write.send().await {
            Ok(_) => Ok(Some(record)),
            Err(SdkError::ServiceError(context)) if context.err().is_transaction_canceled_exception() => {
                Err(RegistryError::Raced)
            }
            Err(error) => Err(RegistryError::Table(explain(&error))),
        }
    }

    async fn versioned_agent(&self, name: &str) -> Result<Option<(AgentRecord, i64)>, RegistryError> {
        let Some(item) = self.item("agent", name).await? else { return Ok(None) };
        read(&item).map(Some).map_err(|wrong| unreadable(&wrong))
    }
}

fn written(
    put: aws_sdk_dynamodb::types::builders::PutBuilder,
    record: &AgentRecord,
    version: i64,
) -> aws_sdk_dynamodb::types::builders::PutBuilder {
    let secret = |kept: &KeptSecret| {
        let mut members = Item::from([
            ("hash".to_owned(), s(kept.hash.as_str())),
            ("created_at".to_owned(), n(kept.created_at.millis())),
        ]);
        if let Some(at) = kept.expires_at {
            members.insert("expires_ms".to_owned(), n(at.millis()));
        }
        AttributeValue::M(members)
    };
    put.item("kind", s("agent"))
        .item("name", s(&record.name))
        .item("app_key", s(record.key.as_str()))
        .item("secrets", AttributeValue::L(record.secrets.iter().map(secret).collect()))
        .item("created_at", n(record.created_at.millis()))
        .item("version", n(version))
}

fn read(item: &Item) -> Result<(AgentRecord, i64), WrongAttribute> {
    let from = Reader(item);
    let moment = |from: Reader<'_>, name: &str| from.number(name).map(Timestamp::from_millis);
    let secret = |value: &AttributeValue| {
        let from = Reader(value.as_m().ok()?);
        let hash = AppSecretHash::kept(from.text("hash").ok()?);
        let expires_at = from.optional("expires_ms", moment).ok()?;
        Some(KeptSecret { hash, created_at: moment(from, "created_at").ok()?, expires_at })
    };
    let record = AgentRecord {
        name: from.text("name")?.to_owned(),
        key: AppKey::kept(from.text("app_key")?),
        // One that cannot be read admits nobody.
        secrets: from.list("secrets")?.iter().filter_map(secret).collect(),
        created_at: moment(from, "created_at")?,
    };
    Ok((record, from.number("version")?))
}

fn unreadable(wrong: &WrongAttribute) -> RegistryError {
    RegistryError::Table(format!("agent: {wrong}"))
}

fn unbuilt() -> RegistryError {
    RegistryError::Table("the write could not be built".to_owned())
}
