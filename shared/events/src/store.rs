//! The `events` table.
//!
//! Key: event id. Index `by_day` (`day`, `at`) lists events by the day they were accepted. A packed body larger than [`CHUNK_BYTES`] stands
//! in items of its own, `chunk:NONCE:N`, written before the event that names them; the same items take in the parts of bodies that
//! did not fit into one message.

use crate::event::Event;
use crate::{CHUNK_BYTES, RETENTION};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use clawbridge_aws::explain;
use clawbridge_clock::Timestamp;
use clawbridge_packed::{Encoding, Packed};
use clawbridge_queue::{MAX_BODY_BYTES, PART_BYTES};
use clawbridge_table::{Item, Reader, WrongAttribute, b, get_many, n, s};
use std::collections::HashMap;

/// Chunks in one part of a body.
const CHUNKS_PER_PART: usize = PART_BYTES / CHUNK_BYTES;

// A part must fill its chunks exactly, or the joined body would have gaps.
const _: () = assert!(CHUNKS_PER_PART * CHUNK_BYTES == PART_BYTES);

/// Why the table did not do what was asked. The work stays on the queue.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB refused or did not answer.
    #[error("the events table: {0}")]
    Table(String),
    /// A record that this code cannot read.
    #[error("the record of event {id} cannot be read: {what}")]
    Record {
        /// Event id.
        id: String,
        /// What is wrong with it.
        what: String,
    },
}

/// What storing an event found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is new.
    New,
    /// This very acceptance stored it before: its message came again, and what follows from it may not have happened yet.
    Before,
    /// Another acceptance of the same delivery stored it: a repeat, counted.
    Repeat,
}

/// What the index tells of an event.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Listed {
    /// Event id.
    pub id: String,
    /// Source name.
    pub source: String,
    /// Event type.
    pub r#type: String,
    /// The provider's delivery id.
    pub delivery_id: String,
    /// When it was accepted.
    pub received_at: Timestamp,
}

/// The table.
#[derive(Clone, Debug)]
pub struct Events {
    client: Client,
    table: String,
}

impl Events {
    /// The table named `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Events {
        Events { client, table }
    }

    /// Stores an event whose packed body is `packed`, once. One call for bodies up to [`CHUNK_BYTES`] packed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn store(&self, event: &Event, packed: &Packed, now: Timestamp) -> Result<Stored, StoreError> {
        let mut item: Item = HashMap::from([
            ("id".to_owned(), s(&event.id)),
            ("source".to_owned(), s(&event.source)),
            ("type".to_owned(), s(&event.r#type)),
            ("delivery_id".to_owned(), s(&event.delivery_id)),
            ("headers".to_owned(), AttributeValue::L(event.headers.iter().map(pair).collect())),
            ("hops".to_owned(), n(i64::from(event.hops))),
            ("nonce".to_owned(), s(&event.nonce)),
            ("body_encoding".to_owned(), s(packed.encoding.as_str())),
            ("day".to_owned(), s(&event.received_at.day())),
            ("at".to_owned(), n(event.received_at.millis())),
            ("expires_at".to_owned(), n(now.plus(RETENTION).seconds())),
        ]);
        if let Some(trace) = event.trace {
            item.insert("trace".to_owned(), s(&trace.to_string()));
        }
        if packed.bytes.len() <= CHUNK_BYTES {
            item.insert("body".to_owned(), b(packed.bytes.clone()));
        } else {
            let chunks = self.put_chunks(&event.nonce, 0, &packed.bytes, now).await?;
            item.insert("chunks".to_owned(), n(i64::try_from(chunks).unwrap_or(i64::MAX)));
        }
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let existing = match put.send().await {
            Ok(_) => return Ok(Stored::New),
            Err(SdkError::ServiceError(context)) => match context.into_err() {
                PutItemError::ConditionalCheckFailedException(failed) => failed.item.unwrap_or_default(),
                error => {
                    return Err(StoreError::Table(explain(&SdkError::<PutItemError, ()>::service_error(error, ()))));
                }
            },
            Err(error) => return Err(StoreError::Table(explain(&error))),
        };
        if existing.get("nonce") == Some(&s(&event.nonce)) {
            return Ok(Stored::Before);
        }
        self.count_repeat(&event.id).await?;
        Ok(Stored::Repeat)
    }

    async fn count_repeat(&self, id: &str) -> Result<(), StoreError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("id", s(id))
            .condition_expression("attribute_exists(id)")
            .update_expression("ADD repeats :one")
            .expression_attribute_values(":one", n(1));
        match update.send().await {
            Ok(_) => Ok(()),
            // It expired between the two calls.
            Err(SdkError::ServiceError(context)) if context.err().is_conditional_check_failed_exception() => Ok(()),
            Err(error) => Err(StoreError::Table(explain(&error))),
        }
    }

    /// Takes in one part of a body that came in several messages. Writing it twice changes nothing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn put_part(&self, nonce: &str, index: u32, data: &[u8], now: Timestamp) -> Result<(), StoreError> {
        let first = usize::try_from(index).unwrap_or(usize::MAX).saturating_mul(CHUNKS_PER_PART);
        self.put_chunks(nonce, first, data, now).await?;
        Ok(())
    }

    async fn put_chunks(&self, nonce: &str, first: usize, data: &[u8], now: Timestamp) -> Result<usize, StoreError> {
        let mut count = 0;
        for (place, chunk) in data.chunks(CHUNK_BYTES).enumerate() {
            self.client
                .put_item()
                .table_name(&self.table)
                .item("id", s(&chunk_id(nonce, first + place)))
                .item("data", b(chunk.to_vec()))
                .item("expires_at", n(now.plus(RETENTION).seconds()))
                .send()
                .await
                .map_err(|error| StoreError::Table(explain(&error)))?;
            count += 1;
        }
        Ok(count)
    }

    /// The packed body of `bytes` bytes whose parts came in messages of their own, or `None` while some have not arrived.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn parts(&self, nonce: &str, encoding: Encoding, bytes: usize) -> Result<Option<Packed>, StoreError> {
        let chunks = self.chunks(nonce, bytes.div_ceil(CHUNK_BYTES)).await?;
        let joined = chunks.into_iter().collect::<Option<Vec<_>>>().map(|chunks| chunks.concat());
        Ok(joined.filter(|joined| joined.len() == bytes).map(|bytes| Packed { encoding, bytes }))
    }

    async fn chunks(&self, nonce: &str, count: usize) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let keys = (0..count).map(|place| Item::from([("id".to_owned(), s(&chunk_id(nonce, place)))])).collect();
        let items = get_many(&self.client, &self.table, keys, true).await.map_err(StoreError::Table)?;
        let mut found: HashMap<String, Vec<u8>> = items
            .iter()
            .filter_map(|item| {
                let from = Reader(item);
                Some((from.text("id").ok()?.to_owned(), from.bytes("data").ok()?.to_vec()))
            })
            .collect();
        Ok((0..count).map(|place| found.remove(&chunk_id(nonce, place))).collect())
    }

    /// The event, read consistently, with its body.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn get(&self, id: &str) -> Result<Option<Event>, StoreError> {
        // A chunk is no event.
        if !id.starts_with("evt_") {
            return Ok(None);
        }
        let answer = self.client.get_item().table_name(&self.table).key("id", s(id)).consistent_read(true).send().await;
        let Some(item) = answer.map_err(|error| StoreError::Table(explain(&error)))?.item else { return Ok(None) };
        let damaged = |what: &str| StoreError::Record { id: id.to_owned(), what: what.to_owned() };
        let (mut event, packed) = read(id, Reader(&item)).map_err(|wrong| damaged(&wrong.to_string()))?;
        let packed = match packed {
            Kept::Here(packed) => packed,
            Kept::InChunks { encoding, count } => {
                let chunks = self.chunks(&event.nonce, count).await?.into_iter().collect::<Option<Vec<_>>>();
                Packed { encoding, bytes: chunks.ok_or_else(|| damaged("a chunk of the body is missing"))?.concat() }
            }
        };
        event.body = packed.unpack(MAX_BODY_BYTES).map_err(|error| damaged(&error.to_string()))?;
        Ok(Some(event))
    }

    /// Events accepted on one UTC day (`2026-11-21`), newest first, at most `limit` (1–1000), and whether there are more.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn list(&self, day: &str, limit: usize) -> Result<(Vec<Listed>, bool), StoreError> {
        let (listed, next) = self.page(day, None, limit).await?;
        Ok((listed, next.is_some()))
    }

    /// As [`Events::list`] from behind a place on, and the place behind which there may be more.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn page(
        &self,
        day: &str,
        after: Option<(i64, &str)>,
        limit: usize,
    ) -> Result<(Vec<Listed>, Option<(i64, String)>), StoreError> {
        let query = self.query(day, after, limit).key_condition_expression("#day = :day").scan_index_forward(false);
        listing(query).await
    }

    /// Events accepted on one UTC day between two times (both included), oldest first, from behind a place on, at most `limit` (1–1000),
    /// and the place behind which there may be more.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn between(
        &self,
        day: &str,
        (since, until): (Timestamp, Timestamp),
        after: Option<(i64, &str)>,
        limit: usize,
    ) -> Result<(Vec<Listed>, Option<(i64, String)>), StoreError> {
        let query = self
            .query(day, after, limit)
            .key_condition_expression("#day = :day AND #at BETWEEN :since AND :until")
            .expression_attribute_names("#at", "at")
            .expression_attribute_values(":since", n(since.millis()))
            .expression_attribute_values(":until", n(until.millis()))
            .scan_index_forward(true);
        listing(query).await
    }

    fn query(&self, day: &str, after: Option<(i64, &str)>, limit: usize) -> QueryFluentBuilder {
        let after = after.map(|(at, id)| {
            Item::from([("day".to_owned(), s(day)), ("at".to_owned(), n(at)), ("id".to_owned(), s(id))])
        });
        self.client
            .query()
            .table_name(&self.table)
            .index_name("by_day")
            .expression_attribute_names("#day", "day")
            .expression_attribute_values(":day", s(day))
            .limit(i32::try_from(limit.clamp(1, 1000)).unwrap_or(1000))
            .set_exclusive_start_key(after)
    }
}

async fn listing(query: QueryFluentBuilder) -> Result<(Vec<Listed>, Option<(i64, String)>), StoreError> {
    let answer = query.send().await.map_err(|error| StoreError::Table(explain(&error)))?;
    let next = answer.last_evaluated_key.as_ref().and_then(|key| {
        let from = Reader(key);
        Some((from.number("at").ok()?, from.text("id").ok()?.to_owned()))
    });
    let listed = answer.items.unwrap_or_default().iter().filter_map(|item| listed(Reader(item)).ok()).collect();
    Ok((listed, next))
}

fn chunk_id(nonce: &str, place: usize) -> String {
    format!("chunk:{nonce}:{place}")
}

fn pair((name, value): &(String, String)) -> AttributeValue {
    AttributeValue::L(vec![s(name), s(value)])
}

fn unpair(pair: &AttributeValue) -> Option<(String, String)> {
    match pair.as_l().ok()?.as_slice() {
        [AttributeValue::S(name), AttributeValue::S(value)] => Some((name.clone(), value.clone())),
        _ => None,
    }
}

/// Where an event's body is kept.
enum Kept {
    Here(Packed),
    InChunks { encoding: Encoding, count: usize },
}

/// The event in an item, its body still to be fetched or unpacked.
fn read(id: &str, from: Reader<'_>) -> Result<(Event, Kept), WrongAttribute> {
    let kept = if from.has("body") {
        Kept::Here(from.packed("body", "body_encoding")?)
    } else {
        let encoding = Encoding::parse(from.text("body_encoding")?);
        let encoding = encoding.ok_or_else(|| WrongAttribute("body_encoding".to_owned()))?;
        Kept::InChunks { encoding, count: from.number("chunks")? }
    };
    let event = Event {
        id: id.to_owned(),
        source: from.text("source")?.to_owned(),
        r#type: from.text("type")?.to_owned(),
        delivery_id: from.text("delivery_id")?.to_owned(),
        received_at: Timestamp::from_millis(from.number("at")?),
        headers: from.list("headers")?.iter().filter_map(unpair).collect(),
        body: Vec::new(),
        hops: from.number("hops")?,
        nonce: from.text("nonce")?.to_owned(),
        repeats: from.optional("repeats", Reader::number)?.unwrap_or(0),
        // What it belongs to is no reason not to have it.
        trace: from.optional("trace", Reader::text)?.and_then(|text| text.to_owned().try_into().ok()),
    };
    Ok((event, kept))
}

fn listed(from: Reader<'_>) -> Result<Listed, WrongAttribute> {
    Ok(Listed {
        id: from.text("id")?.to_owned(),
        source: from.text("source")?.to_owned(),
        r#type: from.text("type")?.to_owned(),
        delivery_id: from.text("delivery_id")?.to_owned(),
        received_at: Timestamp::from_millis(from.number("at")?),
    })
}
