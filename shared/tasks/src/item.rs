//! A task's record, read from its item.

use crate::MAX_INPUT_BYTES;
use crate::record::{Attempt, Origin, Record, RecordError, State};
use clawbridge_clock::Timestamp;
use clawbridge_table::{Item, Reader, WrongAttribute};
use serde_json::Value;
use std::time::Duration;

/// The record in `item`.
pub(crate) fn read(item: &Item) -> Result<Record, RecordError> {
    let from = Reader(item);
    let id = from.text("id").unwrap_or_default().to_owned();
    record(from, &id).map_err(|wrong| RecordError { id, what: wrong.to_string() })
}

fn record(from: Reader<'_>, id: &str) -> Result<Record, WrongAttribute> {
    let origin = match (from.optional("event", Reader::text)?, from.optional("route", Reader::text)?) {
        (Some(event), Some(route)) => Some(Origin { event: event.to_owned(), route: route.to_owned() }),
        _ => None,
    };
    Ok(Record {
        id: id.to_owned(),
        tool: from.text("tool")?.to_owned(),
        key: from.text("task_key")?.to_owned(),
        origin,
        input_hash: from.text("input_hash")?.to_owned(),
        input: value(from, "input", "input_encoding")?,
        state: State::parse(from.text("state")?).ok_or_else(|| WrongAttribute("state".to_owned()))?,
        attempt: from.number("attempt")?,
        failures: from.number("failures")?,
        lease: Duration::from_millis(from.number("lease_ms")?),
        lease_until: from.optional("lease_until", moment)?,
        retry_at: from.optional("retry_at", moment)?,
        result: from.optional("result", |from, name| value(from, name, "result_encoding"))?,
        result_omitted: from.has("result_omitted"),
        error: from.optional("error", Reader::json)?,
        attempts: from.optional("attempts", attempts)?.unwrap_or_default(),
        hops: from.number("hops")?,
        replay: from.optional("replay", Reader::text)?.map(str::to_owned),
        created_at: moment(from, "created_at")?,
        updated_at: moment(from, "updated_at")?,
    })
}

fn moment(from: Reader<'_>, name: &str) -> Result<Timestamp, WrongAttribute> {
    from.number(name).map(Timestamp::from_millis)
}

fn value(from: Reader<'_>, name: &str, encoding: &str) -> Result<Value, WrongAttribute> {
    let wrong = || WrongAttribute(name.to_owned());
    // A result may have been read from an upstream with a larger bound than an input.
    let bytes = from.packed(name, encoding)?.unpack(16 * MAX_INPUT_BYTES).map_err(|_| wrong())?;
    serde_json::from_slice(&bytes).map_err(|_| wrong())
}

fn attempts(from: Reader<'_>, name: &str) -> Result<Vec<Attempt>, WrongAttribute> {
    let wrong = || WrongAttribute(name.to_owned());
    let read = |one: &aws_sdk_dynamodb::types::AttributeValue| -> Option<Attempt> {
        serde_json::from_str(one.as_s().ok()?).ok()
    };
    from.list(name)?.iter().map(|one| read(one).ok_or_else(wrong)).collect()
}
