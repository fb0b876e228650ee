//! The `tasks` table.
//!
//! Key: task id, or a lane's. On the healthy path a task costs two calls, the claim and the finish. Indexes: `by_day` (`day`, `at`) lists every task by
//! the day it was made; `by_state` (`listed`, `at`) only those that somebody may have to look after (see [`State::is_listed`]), so that
//! the healthy path writes one index entry and not three.

use crate::change::{Change, Landed, Rule};
use crate::item::{self, read};
use crate::record::{Record, RecordError, State};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use clawbridge_aws::explain;
use clawbridge_table::{Item, Reader, get_many, n, s};

/// Why the table did not do what was asked. The work stays on the queue.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB refused or did not answer.
    #[error("the tasks table: {0}")]
    Table(String),
    /// A record that this code cannot read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The input is too large to keep.
    #[error(
        "the input is {bytes} bytes of JSON, and {max} after compression are kept at most; map less of the event into it"
    )]
    InputTooLarge {
        /// Its size, bytes of JSON.
        bytes: usize,
        /// The bound on its packed size, bytes.
        max: usize,
    },
}

/// One page of records, newest first.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The records.
    pub records: Vec<Record>,
    /// Whether there are more of that day.
    pub more: bool,
}

/// A place in the order of an index within its day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Milliseconds since the epoch.
    pub at: i64,
    /// Task id.
    pub id: String,
}

/// One page of records in the order of the index.
#[derive(Clone, Debug)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// Where each of them stands.
    pub places: Vec<Place>,
    /// Behind which the next page begins, if the day may have more.
    pub next: Option<Place>,
}

/// The table.
#[derive(Clone, Debug)]
pub struct Tasks {
    pub(crate) client: Client,
    pub(crate) table: String,
}

impl Tasks {
    /// The table named `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Tasks {
        Tasks { client, table }
    }

    /// Writes the change if its fence holds, by [`Change::rule`].
    ///
    /// # Errors
    /// See [`StoreError`]. The write may have taken effect all the same.
    pub async fn write(&self, change: Box<Change>) -> Result<Landed, StoreError> {
        let write = item::write(&change)?;
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("id", s(&change.after.id))
            .condition_expression(write.condition)
            .update_expression(write.update)
            .set_expression_attribute_names(Some(write.names))
            .set_expression_attribute_values(Some(write.values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let current = match update.send().await {
            Ok(_) => return Ok(Landed::Written(Box::new(change.after))),
            Err(SdkError::ServiceError(context)) if context.err().is_conditional_check_failed_exception() => {
                match context.into_err() {
                    UpdateItemError::ConditionalCheckFailedException(failed) => failed.item,
                    _ => None,
                }
            }
            Err(error) => return Err(StoreError::Table(explain(&error))),
        };
        let current = current.as_ref().map(read).transpose()?;
        match change.rule(current.as_ref()) {
            // The SDK tried twice: the first try took effect and its answer was lost.
            Rule::Written => Ok(Landed::Written(Box::new(change.after))),
            Rule::Lost => Ok(Landed::Lost(current.map(Box::new))),
            Rule::Write => Err(StoreError::Table("a condition failed that its own item fulfils".to_owned())),
        }
    }

    /// The record, read consistently.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn get(&self, id: &str) -> Result<Option<Record>, StoreError> {
        let answer = self.client.get_item().table_name(&self.table).key("id", s(id)).consistent_read(true).send().await;
        match answer.map_err(|error| StoreError::Table(explain(&error)))?.item {
            Some(item) => Ok(Some(read(&item)?)),
            None => Ok(None),
        }
    }

    /// Tasks of one UTC day (`2026-11-21`), newest first, at most `limit` (1–100); with `state`, only those in it; those that
    /// somebody may have to look after by the day since when.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn list(&self, day: &str, state: Option<State>, limit: usize) -> Result<Listing, StoreError> {
        let page = self.page(day, state, None, limit).await?;
        let mut records = page.records;
        records.sort_by_key(|record| std::cmp::Reverse(record.updated_at));
        Ok(Listing { records, more: page.next.is_some() })
    }

    /// As [`Tasks::list`] in the order of the index, from behind a place on: as many of its entries are looked at as `limit` says, of which
    /// those are left out whose state is another by now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn page(
        &self,
        day: &str,
        state: Option<State>,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let (index, attribute, value) = match state {
            Some(state) if state.is_listed() => ("by_state", "listed", item::listed(state, day)),
            Some(_) | None => ("by_day", "day", day.to_owned()),
        };
        let limit = limit.clamp(1, 100);
        let after = after.map(|place| {
            Item::from([
                (attribute.to_owned(), s(&value)),
                ("at".to_owned(), n(place.at)),
                ("id".to_owned(), s(&place.id)),
            ])
        });
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(index)
            .key_condition_expression("#k = :v")
            .expression_attribute_names("#k", attribute)
            .expression_attribute_values(":v", s(&value))
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(100))
            .set_exclusive_start_key(after)
            .send()
            .await
            .map_err(|error| StoreError::Table(explain(&error)))?;
        let place = |item: &Item| {
            let from = Reader(item);
            Some(Place { at: from.number("at").ok()?, id: from.text("id").ok()?.to_owned() })
        };
        let next = answer.last_evaluated_key.as_ref().and_then(place);
        let places: Vec<Place> = answer.items.unwrap_or_default().iter().filter_map(place).collect();
        let keys = places.iter().map(|place| Item::from([("id".to_owned(), s(&place.id))])).collect();
        let items = get_many(&self.client, &self.table, keys, false).await.map_err(StoreError::Table)?;
        let mut records = items.iter().map(read).collect::<Result<Vec<Record>, RecordError>>()?;
        records.sort_by_key(|record| places.iter().position(|place| place.id == record.id));
        if let Some(state) = state {
            records.retain(|record| record.state == state);
        }
        let places =
            records.iter().filter_map(|record| places.iter().find(|place| place.id == record.id).cloned()).collect();
        Ok(Page { records, places, next })
    }
}
