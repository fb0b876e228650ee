//! Tokens of the API in the registry table.
//!
//! Two items for each, so that every look is a key: `token`/HASH, which a request is checked against, and `token-name`/NAME, by which a person
//! revokes it. Both go with its time.

use crate::{Registry, RegistryError};
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem};
use clawbridge_access::{Rate, Scope, TokenHash, TokenRecord};
use clawbridge_aws::explain;
use clawbridge_clock::Timestamp;
use clawbridge_table::{Item, Reader, WrongAttribute, n, s};
use std::time::Duration;

/// How often it is written down that a token was used.
pub const USE_NOTED_EVERY: Duration = Duration::from_secs(5 * 60);

/// The most tokens of a list.
pub const MAX_TOKENS: i32 = 1000;

impl Registry {
    /// Keeps a new token. False where there is another one of its name that is still valid.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn put_token(&self, record: &TokenRecord, now: Timestamp) -> Result<bool, RegistryError> {
        let scopes: Vec<AttributeValue> = record.scopes.iter().map(|scope| s(&scope.to_string())).collect();
        let expiry = record.expires_at.map(|at| n(at.seconds()));
        let mut by_hash = Put::builder()
            .table_name(&self.table)
            .item("kind", s("token"))
            .item("name", s(record.hash.as_str()))
            .item("display_name", s(&record.name))
            .item("scopes", AttributeValue::L(scopes))
            .item("created_at", n(record.created_at.millis()))
            .condition_expression("attribute_not_exists(kind)");
        let mut by_name = Put::builder()
            .table_name(&self.table)
            .item("kind", s("token-name"))
            .item("name", s(&record.name))
            .item("hash", s(record.hash.as_str()))
            // One whose time is over may not have been swept away yet.
            .condition_expression("attribute_not_exists(kind) OR expires_at <= :now")
            .expression_attribute_values(":now", n(now.seconds()));
        if let Some(rate) = record.rate {
            by_hash = by_hash.item("rate", s(&rate.to_string())).item("burst", n(i64::from(rate.burst())));
        }
        if let (Some(expiry), Some(at)) = (expiry, record.expires_at) {
            by_hash = by_hash.item("expires_at", expiry.clone()).item("expires_ms", n(at.millis()));
            by_name = by_name.item("expires_at", expiry);
        }
        let (Ok(by_hash), Ok(by_name)) = (by_hash.build(), by_name.build()) else { return Err(unbuilt()) };
        let write = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().put(by_hash).build())
            .transact_items(TransactWriteItem::builder().put(by_name).build());
        match write.send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(context)) if context.err().is_transaction_canceled_exception() => Ok(false),
            Err(error) => Err(RegistryError::Table(explain(&error))),
        }
    }

    /// The token of this hash, read consistently.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn token(&self, hash: &TokenHash) -> Result<Option<TokenRecord>, RegistryError> {
        let Some(item) = self.item("token", hash.as_str()).await? else { return Ok(None) };
        read(&item).map(Some).map_err(|wrong| RegistryError::Table(format!("token: {wrong}")))
    }

    /// All tokens, by name; at most [`MAX_TOKENS`].
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, RegistryError> {
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("kind = :kind")
            .expression_attribute_values(":kind", s("token"))
            .limit(MAX_TOKENS)
            .send()
            .await
            .map_err(|error| RegistryError::Table(explain(&error)))?;
        let items = answer.items.unwrap_or_default();
        let mut tokens: Vec<TokenRecord> = items.iter().filter_map(|item| read(item).ok()).collect();
        tokens.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tokens)
    }

    /// Revokes the token of this name; its hash, or `None` where there is none.
    ///
    /// # Errors
    /// [`RegistryError`]; `Raced` where it was revoked and made anew in the same moment.
    pub async fn revoke_token(&self, name: &str) -> Result<Option<TokenHash>, RegistryError> {
        let Some(item) = self.item("token-name", name).await? else { return Ok(None) };
        let hash = Reader(&item).text("hash").map_err(|wrong| RegistryError::Table(format!("token-name: {wrong}")))?;
        let by_name = Delete::builder()
            .table_name(&self.table)
            .key("kind", s("token-name"))
            .key("name", s(name))
            .condition_expression("#hash = :hash")
            .expression_attribute_names("#hash", "hash")
            .expression_attribute_values(":hash", s(hash));
        let by_hash = Delete::builder().table_name(&self.table).key("kind", s("token")).key("name", s(hash));
        let (Ok(by_name), Ok(by_hash)) = (by_name.build(), by_hash.build()) else { return Err(unbuilt()) };
        let write = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().delete(by_name).build())
            .transact_items(TransactWriteItem::builder().delete(by_hash).build());
        match write.send().await {
            Ok(_) => Ok(Some(TokenHash::kept(hash))),
            Err(SdkError::ServiceError(context)) if context.err().is_transaction_canceled_exception() => {
                Err(RegistryError::Raced)
            }
            Err(error) => Err(RegistryError::Table(explain(&error))),
        }
    }

    /// Writes down that a token was used, unless that was done within [`USE_NOTED_EVERY`] or the token is gone.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn note_token_use(&self, hash: &TokenHash, now: Timestamp) -> Result<(), RegistryError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("kind", s("token"))
            .key("name", s(hash.as_str()))
            .condition_expression(
                "attribute_exists(kind) AND (attribute_not_exists(last_used_at) OR last_used_at < :before)",
            )
            .update_expression("SET last_used_at = :now")
            .expression_attribute_values(":before", n(now.minus(USE_NOTED_EVERY).millis()))
            .expression_attribute_values(":now", n(now.millis()));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(context)) if context.err().is_conditional_check_failed_exception() => Ok(()),
            Err(error) => Err(RegistryError::Table(explain(&error))),
        }
    }
}

fn read(item: &Item) -> Result<TokenRecord, WrongAttribute> {
    let from = Reader(item);
    let scope = |one: &AttributeValue| one.as_s().ok()?.parse::<Scope>().ok();
    let moment = |from: Reader<'_>, name: &str| from.number(name).map(Timestamp::from_millis);
    Ok(TokenRecord {
        hash: TokenHash::kept(from.text("name")?),
        name: from.text("display_name")?.to_owned(),
        // A scope that this version does not know allows nothing.
        scopes: from.list("scopes")?.iter().filter_map(scope).collect(),
        created_at: moment(from, "created_at")?,
        expires_at: from.optional("expires_ms", moment)?,
        last_used_at: from.optional("last_used_at", moment)?,
        rate: from.optional("rate", rate)?,
    })
}

fn rate(from: Reader<'_>, name: &str) -> Result<Rate, WrongAttribute> {
    let rate = from.text(name)?.parse::<Rate>().map_err(|_| WrongAttribute(name.to_owned()))?;
    rate.with_burst(from.number("burst")?).ok_or_else(|| WrongAttribute("burst".to_owned()))
}

fn unbuilt() -> RegistryError {
    RegistryError::Table("the write could not be built".to_owned())
}
