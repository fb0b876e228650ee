//! Pairings in the registry table.
//!
//! `pairing`/ID is the pairing, `pairing-code`/HASH leads to it from its code. `pairing-gate` has two items that all share: `requests`, the bucket and the
//! pairings that wait, and `codes`, the wrong codes. Both are written over the version that was read, so that what is asked for at once
//! is counted one by one. All go with their time.

use crate::{Registry, RegistryError};
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem, Update};
use clawbridge_access::{
    Gate, Guard, Pairing, PairingCode, PairingCodeHash, PairingState, Scope, TokenHash, TokenRecord, TooMany,
};
use clawbridge_aws::explain;
use clawbridge_clock::Timestamp;
use clawbridge_table::{Item, Reader, WrongAttribute, n, s};
use std::collections::HashMap;
use std::time::Duration;

/// How long after its time a pairing can still be asked about.
const TOLD_FOR: Duration = Duration::from_secs(60 * 60);

/// How often a write is tried that others get in the way of.
const TRIES: u32 = 5;

/// What came of a code that somebody wants confirmed.
#[derive(Clone, Debug, PartialEq)]
pub enum Confirmation {
    /// This token is good from now on.
    Confirmed {
        /// The pairing.
        pairing: Box<Pairing>,
        /// The token.
        token: Box<TokenRecord>,
    },
    /// No pairing that waits has this code: it was mistyped, used, refused, or its time is over.
    Unknown,
    /// There is no such agent.
    NoAgent(String),
    /// There were too many wrong ones.
    TooMany(TooMany),
}

impl Registry {
    /// Keeps a new pairing, if there is room.
    ///
    /// # Errors
    /// [`RegistryError`]; `Raced` where too many asked in the same moment.
    pub async fn open_pairing(&self, pairing: &Pairing, now: Timestamp) -> Result<Result<(), TooMany>, RegistryError> {
        let kept_until = n(pairing.expires_at.plus(TOLD_FOR).seconds());
        for _ in 0..TRIES {
            let (gate, version) = self.gate().await?;
            let gate = match gate.admit(&pairing.id, now) {
                Ok(gate) => gate,
                Err(refused) => return Ok(Err(refused)),
            };
            let by_id = Put::builder()
                .table_name(&self.table)
                .item("kind", s("pairing"))
                .item("name", s(&pairing.id))
                .item("agent", s(&pairing.agent))
                .item("display_name", s(&pairing.name))
                .item("code", s(pairing.code.as_str()))
                .item("token", s(pairing.token.as_str()))
                .item("said", s(pairing.said.as_str()))
                .item("created_at", n(pairing.created_at.millis()))
                .item("expires_ms", n(pairing.expires_at.millis()))
                .item("expires_at", kept_until.clone())
                .condition_expression("attribute_not_exists(kind)");
            let by_code = Put::builder()
                .table_name(&self.table)
                .item("kind", s("pairing-code"))
                .item("name", s(pairing.code.as_str()))
                .item("pairing", s(&pairing.id))
                .item("expires_at", kept_until.clone())
                .condition_expression("attribute_not_exists(kind)");
            let (Ok(by_id), Ok(by_code), Ok(gate)) =
                (by_id.build(), by_code.build(), self.gate_put(&gate, version).build())
            else {
                return Err(unbuilt());
            };
            if self.together([by_id, by_code, gate].map(|put| TransactWriteItem::builder().put(put).build())).await? {
                return Ok(Ok(()));
            }
        }
        Err(RegistryError::Raced)
    }

    /// The pairing of this id.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn pairing(&self, id: &str) -> Result<Option<Pairing>, RegistryError> {
        let Some(item) = self.item("pairing", id).await? else { return Ok(None) };
        read(&item).map(Some).map_err(|wrong| unreadable(&wrong))
    }

    /// The pairings that wait, the oldest first.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn pairings(&self, now: Timestamp) -> Result<Vec<Pairing>, RegistryError> {
        let (gate, _) = self.gate().await?;
        let mut open = Vec::new();
        for (id, _) in gate.open {
            open.extend(self.pairing(&id).await?.filter(|pairing| pairing.state(now) == PairingState::Pending));
        }
        Ok(open)
    }

    /// Makes the token good that was given with this code: for its agent, and until `until` if that is said. A code is good for this once.
    ///
    /// # Errors
    /// [`RegistryError`]; `Raced` where somebody else tries codes in the same moment.
    pub async fn confirm_pairing(
        &self,
        code: &PairingCode,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Confirmation, RegistryError> {
        let (before, version) = self.guard().await?;
        let charged = match before.charge(now) {
            Ok(charged) => charged,
            Err(refused) => return Ok(Confirmation::TooMany(refused)),
        };
        self.put_guard(charged, version, now).await?;
        let Some(pairing) = self.pairing_of(code).await?.filter(|found| found.state(now) == PairingState::Pending)
        else {
            return Ok(Confirmation::Unknown);
        };
        let confirmation = if self.item("agent", &pairing.agent).await?.is_none() {
            Confirmation::NoAgent(pairing.agent)
        } else {
            self.confirm(pairing, until, now).await?
        };
        // It was no guess. Whether that is noted or somebody has guessed meanwhile, the code was right.
        drop(self.put_guard(before, version + 1, now).await);
        Ok(confirmation)
    }

    async fn confirm(
        &self,
        pairing: Pairing,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Confirmation, RegistryError> {
        let token = TokenRecord {
            hash: pairing.token.clone(),
            name: pairing.token_name(),
            scopes: vec![Scope::Agent(pairing.agent.clone())],
            created_at: now,
            expires_at: until,
            last_used_at: None,
            rate: None,
        };
        let (by_hash, by_name) = self.token_items(&token, now)?;
        let (Ok(said), Ok(spent)) =
            (self.say(&pairing, PairingState::Confirmed, now).build(), self.spend(&pairing).build())
        else {
            return Err(unbuilt());
        };
        let write = TransactWriteItem::builder;
        let writes = [
            write().update(said).build(),
            write().delete(spent).build(),
            write().put(by_hash).build(),
            write().put(by_name).build(),
        ];
        if !self.together(writes).await? {
            return Ok(Confirmation::Unknown);
        }
        self.close(&pairing.id).await;
        let pairing = Box::new(Pairing { said: PairingState::Confirmed, ..pairing });
        Ok(Confirmation::Confirmed { pairing, token: Box::new(token) })
    }

    /// Refuses a pairing that waits; `None` where there is none of this id that does.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn refuse_pairing(&self, id: &str, now: Timestamp) -> Result<Option<Pairing>, RegistryError> {
        let waits = |found: &Pairing| found.state(now) == PairingState::Pending;
        let Some(pairing) = self.pairing(id).await?.filter(waits) else { return Ok(None) };
        let (Ok(said), Ok(spent)) =
            (self.say(&pairing, PairingState::Refused, now).build(), self.spend(&pairing).build())
        else {
            return Err(unbuilt());
        };
        let write = TransactWriteItem::builder;
        if !self.together([write().update(said).build(), write().delete(spent).build()]).await? {
            return Ok(None);
        }
        self.close(id).await;
        Ok(Some(Pairing { said: PairingState::Refused, ..pairing }))
    }

    async fn pairing_of(&self, code: &PairingCode) -> Result<Option<Pairing>, RegistryError> {
        let Some(item) = self.item("pairing-code", code.hash().as_str()).await? else { return Ok(None) };
        let id = Reader(&item).text("pairing").map_err(|wrong| unreadable(&wrong))?;
        Ok(self.pairing(id).await?.filter(|pairing| pairing.code == code.hash()))
    }

    /// Writes down what the owner said of a pairing that waits.
    fn say(
        &self,
        pairing: &Pairing,
        said: PairingState,
        now: Timestamp,
    ) -> aws_sdk_dynamodb::types::builders::UpdateBuilder {
        Update::builder()
            .table_name(&self.table)
            .key("kind", s("pairing"))
            .key("name", s(&pairing.id))
            .update_expression("SET said = :said")
            .condition_expression("said = :pending AND expires_ms > :now")
            .expression_attribute_values(":said", s(said.as_str()))
            .expression_attribute_values(":pending", s(PairingState::Pending.as_str()))
            .expression_attribute_values(":now", n(now.millis()))
    }

    fn spend(&self, pairing: &Pairing) -> aws_sdk_dynamodb::types::builders::DeleteBuilder {
        Delete::builder()
            .table_name(&self.table)
            .key("kind", s("pairing-code"))
            .key("name", s(pairing.code.as_str()))
            .condition_expression("attribute_exists(kind)")
    }

    /// Makes room for another. Where that fails, there is room once the time of this one is over.
    async fn close(&self, id: &str) {
        for _ in 0..TRIES {
            let Ok((gate, version)) = self.gate().await else { return };
            let Ok(put) = self.gate_put(&gate.without(id), version).build() else { return };
            match self.together([TransactWriteItem::builder().put(put).build()]).await {
                Ok(false) => {}
                Ok(true) | Err(_) => return,
            }
        }
    }

    async fn gate(&self) -> Result<(Gate, i64), RegistryError> {
        let Some(item) = self.item("pairing-gate", "requests").await? else { return Ok((Gate::default(), 0)) };
        let from = Reader(&item);
        let read = || -> Result<(Gate, i64), WrongAttribute> {
            let one = |value: &AttributeValue| {
                let from = Reader(value.as_m().ok()?);
                Some((from.text("id").ok()?.to_owned(), Timestamp::from_millis(from.number("until").ok()?)))
            };
            let open = from.list("open")?.iter().filter_map(one).collect();
            Ok((Gate { full_at: from.number("full_at")?, open }, from.number("version")?))
        };
        read().map_err(|wrong| unreadable(&wrong))
    }

    fn gate_put(&self, gate: &Gate, version: i64) -> aws_sdk_dynamodb::types::builders::PutBuilder {
        let one = |(id, until): &(String, Timestamp)| {
            AttributeValue::M(HashMap::from([("id".to_owned(), s(id)), ("until".to_owned(), n(until.millis()))]))
        };
        Put::builder()
            .table_name(&self.table)
            .item("kind", s("pairing-gate"))
            .item("name", s("requests"))
            .item("full_at", n(gate.full_at))
            .item("open", AttributeValue::L(gate.open.iter().map(one).collect()))
            .item("version", n(version + 1))
            .condition_expression("attribute_not_exists(kind) OR version = :version")
            .expression_attribute_values(":version", n(version))
    }

    async fn guard(&self) -> Result<(Guard, i64), RegistryError> {
        let Some(item) = self.item("pairing-gate", "codes").await? else { return Ok((Guard::default(), 0)) };
        let from = Reader(&item);
        let read = || -> Result<(Guard, i64), WrongAttribute> {
            Ok((Guard { wrong: from.number("wrong")?, last: from.number("last")? }, from.number("version")?))
        };
        read().map_err(|wrong| unreadable(&wrong))
    }

    async fn put_guard(&self, guard: Guard, version: i64, now: Timestamp) -> Result<(), RegistryError> {
        let write = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("kind", s("pairing-gate"))
            .item("name", s("codes"))
            .item("wrong", n(guard.wrong.into()))
            .item("last", n(guard.last))
            .item("at", n(now.millis()))
            .item("version", n(version + 1))
            .condition_expression("attribute_not_exists(kind) OR version = :version")
            .expression_attribute_values(":version", n(version));
        match write.send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(context)) if context.err().is_conditional_check_failed_exception() => {
                Err(RegistryError::Raced)
            }
            Err(error) => Err(RegistryError::Table(explain(&error))),
        }
    }

    /// Writes all of it or, where a condition does not hold, nothing.
    async fn together(&self, writes: impl IntoIterator<Item = TransactWriteItem>) -> Result<bool, RegistryError> {
        let writes = Some(writes.into_iter().collect());
        match self.client.transact_write_items().set_transact_items(writes).send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(context)) if context.err().is_transaction_canceled_exception() => Ok(false),
            Err(error) => Err(RegistryError::Table(explain(&error))),
        }
    }
}

fn read(item: &Item) -> Result<Pairing, WrongAttribute> {
    let from = Reader(item);
    Ok(Pairing {
        id: from.text("name")?.to_owned(),
        agent: from.text("agent")?.to_owned(),
        name: from.text("display_name")?.to_owned(),
        code: PairingCodeHash::kept(from.text("code")?),
        token: TokenHash::kept(from.text("token")?),
        // A word that this version does not know confirms nothing.
        said: PairingState::parse(from.text("said")?).unwrap_or(PairingState::Refused),
        created_at: Timestamp::from_millis(from.number("created_at")?),
        expires_at: Timestamp::from_millis(from.number("expires_ms")?),
    })
}

fn unreadable(wrong: &WrongAttribute) -> RegistryError {
    RegistryError::Table(format!("pairing: {wrong}"))
}

fn unbuilt() -> RegistryError {
    RegistryError::Table("the write could not be built".to_owned())
}
