//! The `channel` table: documents under `id` and `part`, each with a version.
//!
//! Every write is conditional on the version that was read (0: there was nothing), so two who change the same thing never undo each other: the second
//! reads again. Documents are JSON, packed where that makes them smaller. Nothing scans.

use crate::public::ChannelError;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem};
use clawbridge_aws::explain;
use clawbridge_clock::Timestamp;
use clawbridge_packed::Packed;
use clawbridge_table::{Item, Reader, b, get_many, n, s};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The largest document, bytes of JSON.
const MAX_DOCUMENT_BYTES: usize = 2 * 1024 * 1024;

/// How often a change is tried that others keep overtaking.
const TRIES: u32 = 24;

/// The key of an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) part: String,
}

impl Key {
    pub(crate) fn new(id: impl Into<String>, part: impl Into<String>) -> Key {
        Key { id: id.into(), part: part.into() }
    }

    /// The item that stands for all of `id`.
    pub(crate) fn of(id: impl Into<String>) -> Key {
        Key::new(id, "-")
    }

    fn item(&self) -> Item {
        Item::from([("id".to_owned(), s(&self.id)), ("part".to_owned(), s(&self.part))])
    }
}

/// A document as it was read; version 0 is none.
#[derive(Clone, Debug)]
pub(crate) struct Versioned<T> {
    pub(crate) document: T,
    pub(crate) version: i64,
}

/// A write among others that take place together or not at all.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// A document over the version that was read.
    Over { key: Key, json: Vec<u8>, version: i64, expires_at: Timestamp },
    /// A document whose content follows from its key: writing it twice is writing it once.
    Same { key: Key, json: Vec<u8>, expires_at: Timestamp },
    /// Nothing under this key.
    Nothing { key: Key },
}

impl Write {
    pub(crate) fn over<T: Serialize>(key: Key, document: &T, version: i64, expires_at: Timestamp) -> Write {
        Write::Over { key, json: json(document), version, expires_at }
    }

    pub(crate) fn same<T: Serialize>(key: Key, document: &T, expires_at: Timestamp) -> Write {
        Write::Same { key, json: json(document), expires_at }
    }
}

/// What a change makes of a document.
#[derive(Debug)]
pub(crate) enum Change<R> {
    /// It is written with what was changed.
    Write(R),
    /// It stays as it is.
    Leave(R),
}

/// The table.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    client: Client,
    table: String,
}

impl Store {
    pub(crate) fn new(client: Client, table: String) -> Store {
        Store { client, table }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<Versioned<T>>, ChannelError> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key.item())).consistent_read(true);
        let answer = get.send().await.map_err(|error| ChannelError::Table(explain(&error)))?;
        answer.item.as_ref().map(read).transpose()
    }

    /// Two documents of different types in one call.
    pub(crate) async fn get_both<T: DeserializeOwned, U: DeserializeOwned>(
        &self,
        one: &Key,
        other: &Key,
    ) -> Result<(Option<Versioned<T>>, Option<Versioned<U>>), ChannelError> {
        let items = get_many(&self.client, &self.table, vec![one.item(), other.item()], true).await;
        let items = items.map_err(ChannelError::Table)?;
        let find = |key: &Key| {
            items.iter().find(|item| {
                let from = Reader(item);
                from.text("id") == Ok(key.id.as_str()) && from.text("part") == Ok(key.part.as_str())
            })
        };
        Ok((find(one).map(read).transpose()?, find(other).map(read).transpose()?))
    }

    /// All documents under `id` whose parts begin with `prefix`, in the order of the parts, from `after` on (not included), at most `limit`.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        id: &str,
        prefix: &str,
        after: Option<&str>,
        limit: i32,
    ) -> Result<Vec<(String, T)>, ChannelError> {
        let query = self.client.query().table_name(&self.table).consistent_read(true).limit(limit);
        // A part is below its prefix with the highest character behind it.
        let query = match after {
            None => query
                .key_condition_expression("id = :id AND begins_with(part, :prefix)")
                .expression_attribute_values(":prefix", s(prefix)),
            Some(after) => query
                .key_condition_expression("id = :id AND part BETWEEN :after AND :last")
                .expression_attribute_values(":after", s(&format!("{after}\u{0}")))
                .expression_attribute_values(":last", s(&format!("{prefix}\u{10ffff}"))),
        };
        let answer = query.expression_attribute_values(":id", s(id)).send().await;
        let items = answer.map_err(|error| ChannelError::Table(explain(&error)))?.items.unwrap_or_default();
        items
            .iter()
            .map(|item| {
                let part = Reader(item).text("part").map_err(|_| unreadable(id, prefix))?.to_owned();
                Ok((part, read::<T>(item)?.document))
            })
            .collect()
    }

    /// Writes all or nothing. False: something had changed since it was read.
    pub(crate) async fn commit(&self, writes: Vec<Write>) -> Result<bool, ChannelError> {
        let transact = self.client.transact_write_items();
        let items: Vec<TransactWriteItem> = writes.iter().map(|write| self.item(write)).collect::<Result<_, _>>()?;
        match transact.set_transact_items(Some(items)).send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(context))
                if context.err().is_transaction_canceled_exception()
                    || context.err().is_transaction_in_progress_exception() =>
            {
                Ok(false)
            }
            Err(error) => Err(ChannelError::Table(explain(&error))),
        }
    }

    /// Writes a document over the version that was read. False: it had changed.
    pub(crate) async fn put<T: Serialize>(
        &self,
        key: &Key,
        document: &T,
        version: i64,
        expires_at: Timestamp,
    ) -> Result<bool, ChannelError> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(written(
            key,
            &json(document),
            version + 1,
            expires_at,
        )));
        let put = if version == 0 {
            put.condition_expression("attribute_not_exists(id)")
        } else {
            put.condition_expression("version = :version").expression_attribute_values(":version", n(version))
        };
        match put.send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(context))
                if context.err().is_conditional_check_failed_exception()
                    || context.err().is_transaction_conflict_exception() =>
            {
                Ok(false)
            }
            Err(error) => Err(ChannelError::Table(explain(&error))),
        }
    }

    /// Writes a document whose content follows from its key.
    pub(crate) async fn keep<T: Serialize>(
        &self,
        key: &Key,
        document: &T,
        expires_at: Timestamp,
    ) -> Result<(), ChannelError> {
        let item = written(key, &json(document), 1, expires_at);
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map_err(|error| ChannelError::Table(explain(&error)))?;
        Ok(())
    }

    pub(crate) async fn remove(&self, key: &Key) -> Result<(), ChannelError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key.item()));
        delete.send().await.map_err(|error| ChannelError::Table(explain(&error)))?;
        Ok(())
    }

    /// Reads a document (the default of its type where there is none), lets `decide` change it, and writes it if it is still what was read; else
    /// again. `decide` may be called several times.
    pub(crate) async fn change<T: DeserializeOwned + Serialize + Default, R>(
        &self,
        key: &Key,
        keep: Duration,
        now: Timestamp,
        mut decide: impl FnMut(&mut T) -> Change<R>,
    ) -> Result<R, ChannelError> {
        for attempt in 0..TRIES {
            let found: Option<Versioned<T>> = self.get(key).await?;
            let (mut document, version) =
                found.map_or_else(|| (T::default(), 0), |found| (found.document, found.version));
            match decide(&mut document) {
                Change::Leave(result) => return Ok(result),
                Change::Write(result) => {
                    if self.put(key, &document, version, now.plus(keep)).await? {
                        return Ok(result);
                    }
                }
            }
            pause(attempt).await;
        }
        Err(ChannelError::Contended(key.id.clone()))
    }

    fn item(&self, write: &Write) -> Result<TransactWriteItem, ChannelError> {
        let unbuilt = |error: aws_sdk_dynamodb::error::BuildError| ChannelError::Table(error.to_string());
        let built = TransactWriteItem::builder();
        Ok(match write {
            Write::Over { key, json, version, expires_at } => {
                let put =
                    Put::builder().table_name(&self.table).set_item(Some(written(key, json, version + 1, *expires_at)));
                let put = if *version == 0 {
                    put.condition_expression("attribute_not_exists(id)")
                } else {
                    put.condition_expression("version = :version").expression_attribute_values(":version", n(*version))
                };
                built.put(put.build().map_err(unbuilt)?).build()
            }
            Write::Same { key, json, expires_at } => {
                let put = Put::builder().table_name(&self.table).set_item(Some(written(key, json, 1, *expires_at)));
                built.put(put.build().map_err(unbuilt)?).build()
            }
            Write::Nothing { key } => {
                let delete = Delete::builder().table_name(&self.table).set_key(Some(key.item()));
                built.delete(delete.build().map_err(unbuilt)?).build()
            }
        })
    }
}

/// A short rest for who was overtaken: longer each time, and not as long as the others'.
pub(crate) async fn pause(attempt: u32) {
    let most = 5_u64 << attempt.min(5);
    tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=most))).await;
}

fn json<T: Serialize>(document: &T) -> Vec<u8> {
    serde_json::to_vec(document).expect("the documents have text keys and finite numbers")
}

fn written(key: &Key, json: &[u8], version: i64, expires_at: Timestamp) -> Item {
    let packed = Packed::pack(json);
    let mut item = key.item();
    item.insert("version".to_owned(), n(version));
    item.insert("encoding".to_owned(), s(packed.encoding.as_str()));
    item.insert("document".to_owned(), b(packed.bytes));
    item.insert("expires_at".to_owned(), n(expires_at.seconds()));
    item
}

fn read<T: DeserializeOwned>(item: &Item) -> Result<Versioned<T>, ChannelError> {
    let from = Reader(item);
    let wrong = || unreadable(from.text("id").unwrap_or_default(), from.text("part").unwrap_or_default());
    let packed = from.packed("document", "encoding").map_err(|_| wrong())?;
    let json = packed.unpack(MAX_DOCUMENT_BYTES).map_err(|_| wrong())?;
    let document = serde_json::from_slice(&json).map_err(|_| wrong())?;
    Ok(Versioned { document, version: from.number("version").map_err(|_| wrong())? })
}

fn unreadable(id: &str, part: &str) -> ChannelError {
    ChannelError::Unreadable(format!("{id}/{part}"))
}
