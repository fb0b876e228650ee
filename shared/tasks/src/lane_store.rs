//! Lanes in the `tasks` table. Their ids are no task's, and they are in none of its indexes.

use crate::change::Rule;
use crate::lane::{Entry, Lane, LaneChange, LaneLanded};
use crate::record::RecordError;
use crate::store::{StoreError, Tasks};
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use clawbridge_aws::explain;
use clawbridge_clock::Timestamp;
use clawbridge_table::{Item, Reader, WrongAttribute, n, s};

/// A task of a lane as the item has it: short, since each change writes all of them.
type Row = (i64, u32, String, i64, u32);

impl Tasks {
    /// The lane, read consistently.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn lane(&self, id: &str) -> Result<Option<Lane>, StoreError> {
        let answer = self.client.get_item().table_name(&self.table).key("id", s(id)).consistent_read(true).send().await;
        let item = answer.map_err(|error| StoreError::Table(explain(&error)))?.item;
        Ok(item.as_ref().map(read).transpose()?)
    }

    /// Writes the change if the lane still is as it was seen, by [`LaneChange::rule`].
    ///
    /// # Errors
    /// See [`StoreError`]. The write may have taken effect all the same.
    pub async fn write_lane(&self, change: Box<LaneChange>) -> Result<LaneLanded, StoreError> {
        let lane = &change.after;
        let condition = if change.seen.is_some() { "#version = :seen" } else { "attribute_not_exists(id)" };
        let kept = "SET #version = :version, begun = :begun, entries = :entries, holder = :holder";
        let update = match lane.expires_at {
            Some(_) => format!("{kept}, expires_at = :expires_at"),
            None => format!("{kept} REMOVE expires_at"),
        };
        let number = |version: u64| n(i64::try_from(version).unwrap_or(i64::MAX));
        let mut request = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("id", s(&lane.id))
            .condition_expression(condition)
            .update_expression(update)
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":version", number(lane.version))
            .expression_attribute_values(":begun", AttributeValue::Bool(lane.has_begun))
            .expression_attribute_values(":entries", s(&rows(lane)?))
            .expression_attribute_values(":holder", s(&lane.writer))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if let Some(seen) = change.seen {
            request = request.expression_attribute_values(":seen", number(seen));
        }
        if let Some(at) = lane.expires_at {
            request = request.expression_attribute_values(":expires_at", n(at.seconds()));
        }
        let current = match request.send().await {
            Ok(_) => return Ok(LaneLanded::Written(Box::new(change.after))),
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
            Rule::Written => Ok(LaneLanded::Written(Box::new(change.after))),
            Rule::Lost => Ok(LaneLanded::Lost(current.map(Box::new))),
            Rule::Write => Err(StoreError::Table("a condition failed that its own item fulfils".to_owned())),
        }
    }
}

fn rows(lane: &Lane) -> Result<String, StoreError> {
    let row = |entry: &Entry| -> Row {
        (entry.received_at.millis(), entry.nth, entry.task.clone(), entry.joined_at.millis(), entry.stay)
    };
    let rows: Vec<Row> = lane.entries.iter().map(row).collect();
    serde_json::to_string(&rows).map_err(|error| StoreError::Table(error.to_string()))
}

fn read(item: &Item) -> Result<Lane, RecordError> {
    let from = Reader(item);
    let id = from.text("id").unwrap_or_default().to_owned();
    lane(from, &id).map_err(|wrong| RecordError { id, what: wrong.to_string() })
}

fn lane(from: Reader<'_>, id: &str) -> Result<Lane, WrongAttribute> {
    let entry = |(received_at, nth, task, joined_at, stay): Row| Entry {
        received_at: Timestamp::from_millis(received_at),
        nth,
        task,
        joined_at: Timestamp::from_millis(joined_at),
        stay,
    };
    let rows: Vec<Row> = from.json("entries")?;
    let has_begun = from.0.get("begun").and_then(|value| value.as_bool().ok());
    Ok(Lane {
        id: id.to_owned(),
        version: from.number("version")?,
        has_begun: *has_begun.ok_or_else(|| WrongAttribute("begun".to_owned()))?,
        entries: rows.into_iter().map(entry).collect(),
        writer: from.text("holder")?.to_owned(),
        expires_at: from
            .optional("expires_at", Reader::number::<i64>)?
            .map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1000))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::MAX_TASKS;

    #[test]
    fn a_full_lane_is_a_small_part_of_what_an_item_holds() {
        let entry = |n: usize| Entry {
            received_at: Timestamp::from_millis(1_795_232_439_120),
            nth: u32::MAX,
            task: format!("task_{n:024}"),
            joined_at: Timestamp::from_millis(1_795_232_439_120),
            stay: u32::MAX,
        };
        let entries = (0..MAX_TASKS).map(entry).collect();
        let lane =
            Lane { id: String::new(), version: 1, has_begun: true, entries, writer: String::new(), expires_at: None };
        let bytes = rows(&lane).expect("text").len();
        assert!(bytes < 50_000, "{bytes}");
    }
}
