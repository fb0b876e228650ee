//! A task's record as an item: read, and written as an update.

use crate::change::{Change, Fence};
use crate::record::{Attempt, Origin, Record, RecordError, State};
use crate::store::StoreError;
use crate::{MAX_INPUT_BYTES, MAX_PACKED_BYTES};
use aws_sdk_dynamodb::types::AttributeValue;
use clawbridge_clock::Timestamp;
use clawbridge_packed::Packed;
use clawbridge_table::{Item, Reader, WrongAttribute, b, n, s};
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;

/// A conditional update of one item.
pub(crate) struct Write {
    pub(crate) condition: String,
    pub(crate) update: String,
    pub(crate) names: HashMap<String, String>,
    pub(crate) values: HashMap<String, AttributeValue>,
}

/// The attributes that the change writes, and those that it takes away.
#[derive(Default)]
struct Attributes {
    set: Vec<(&'static str, AttributeValue)>,
    remove: Vec<&'static str>,
}

impl Attributes {
    fn set(&mut self, name: &'static str, value: AttributeValue) {
        self.set.push((name, value));
    }

    fn keep(&mut self, name: &'static str, value: Option<AttributeValue>) {
        match value {
            Some(value) => self.set(name, value),
            None => self.remove.push(name),
        }
    }

    /// Under the condition that the item stands at the fence. Each name stands behind a `#`: some are DynamoDB's reserved words.
    fn write(self, fence: Fence) -> Write {
        let list = |names: Vec<String>| names.join(", ");
        let set = list(self.set.iter().map(|(name, _)| format!("#{name} = :{name}")).collect());
        let remove = list(self.remove.iter().map(|name| format!("#{name}")).collect());
        let update = if remove.is_empty() { format!("SET {set}") } else { format!("SET {set} REMOVE {remove}") };
        let named = |name: &&'static str| (format!("#{name}"), (*name).to_owned());
        let names = self.set.iter().map(|(name, _)| name).chain(&self.remove).map(named).collect();
        let mut values: HashMap<_, _> = self.set.into_iter().map(|(name, value)| (format!(":{name}"), value)).collect();
        let condition = match fence {
            Fence::Absent => "attribute_not_exists(id)".to_owned(),
            Fence::At { state, attempt, looks } => {
                values.insert(":seen_state".to_owned(), s(state.as_str()));
                values.insert(":seen_attempt".to_owned(), n(i64::from(attempt)));
                // No looks are written as no attribute.
                let looked = if looks == 0 { "attribute_not_exists(#looks)" } else { "#looks = :seen_looks" };
                if looks > 0 {
                    values.insert(":seen_looks".to_owned(), n(i64::from(looks)));
                }
                format!("#state = :seen_state AND #attempt = :seen_attempt AND {looked}")
            }
        };
        Write { condition, update, names, values }
    }
}

/// The update that makes the item what the change says, where its fence holds.
pub(crate) fn write(change: &Change) -> Result<Write, StoreError> {
    let record = &change.after;
    let mut to = Attributes::default();
    let moment = |at: Timestamp| n(at.millis());
    if change.fence == Fence::Absent {
        let input = pack_input(&record.input)?;
        to.set("tool", s(&record.tool));
        to.set("task_key", s(&record.key));
        match &record.origin {
            Some(Origin::Route { event, route }) => {
                to.set("event", s(event));
                to.set("route", s(route));
            }
            Some(Origin::Submitter { submitter }) => to.set("submitter", s(submitter)),
            None => {}
        }
        to.set("input_hash", s(&record.input_hash));
        to.set("input_encoding", s(input.encoding.as_str()));
        to.set("input", b(input.bytes));
        to.set("hops", n(i64::from(record.hops)));
        to.set("created_at", moment(record.created_at));
        if let Some(trace) = record.trace {
            to.set("trace", s(&trace.to_string()));
        }
    }
    to.set("state", s(record.state.as_str()));
    to.set("attempt", n(i64::from(record.attempt)));
    to.set("failures", n(i64::from(record.failures)));
    to.set("lease_ms", n(millis(record.lease)));
    to.set("updated_at", moment(record.updated_at));
    to.set("expires_at", n(record.expires_at.seconds()));
    to.set("holder", s(&record.writer));
    to.keep("postponed", (record.postponed > 0).then(|| n(i64::from(record.postponed))));
    to.keep("looks", (record.looks > 0).then(|| n(i64::from(record.looks))));
    to.keep("lease_until", record.lease_until.map(moment));
    to.keep("retry_at", record.retry_at.map(moment));
    if !record.replays.is_empty() {
        to.set("replays", AttributeValue::L(record.replays.iter().map(|nonce| s(nonce)).collect()));
    }
    if let Some(seat) = &record.seat {
        to.set("seat", json(seat)?);
    }
    to.keep("waiting", record.waiting.as_ref().map(json).transpose()?);
    to.keep("error", record.error.as_ref().map(json).transpose()?);
    if !record.attempts.is_empty() {
        to.set("attempts", AttributeValue::L(record.attempts.iter().map(json).collect::<Result<_, _>>()?));
    }
    if let Some(result) = &record.result {
        let packed = Packed::pack(result.to_string().as_bytes());
        if packed.bytes.len() > MAX_PACKED_BYTES {
            // The effect has happened; a result that is too large to keep must not make the task look undone.
            to.set("result_omitted", AttributeValue::Bool(true));
        } else {
            to.set("result_encoding", s(packed.encoding.as_str()));
            to.set("result", b(packed.bytes));
        }
    }
    let day = record.updated_at.day();
    to.keep("listed", record.state.is_listed().then(|| s(&listed(record.state, &day))));
    // The day goes with `at`: the record moves to where its last change is looked for. One that goes well stays where it was made.
    if change.fence == Fence::Absent || record.state.is_listed() {
        to.set("day", s(&day));
        to.set("at", moment(record.updated_at));
    }
    if change.fence == Fence::Absent {
        // There is nothing to take away.
        to.remove.clear();
    }
    Ok(to.write(change.fence))
}

/// The key of the index by state.
pub(crate) fn listed(state: State, day: &str) -> String {
    format!("{}#{day}", state.as_str())
}

/// Whether a record holds the input.
///
/// # Errors
/// [`StoreError::InputTooLarge`].
pub fn input_fits(input: &Value) -> Result<(), StoreError> {
    pack_input(input).map(|_packed| ())
}

fn pack_input(input: &Value) -> Result<Packed, StoreError> {
    let text = input.to_string();
    let packed = Packed::pack(text.as_bytes());
    if text.len() > MAX_INPUT_BYTES || packed.bytes.len() > MAX_PACKED_BYTES {
        return Err(StoreError::InputTooLarge { bytes: text.len(), max: MAX_PACKED_BYTES });
    }
    Ok(packed)
}

fn json(value: &impl serde::Serialize) -> Result<AttributeValue, StoreError> {
    serde_json::to_string(value).map(AttributeValue::S).map_err(|error| StoreError::Table(error.to_string()))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The record in `item`.
pub(crate) fn read(item: &Item) -> Result<Record, RecordError> {
    let from = Reader(item);
    let id = from.text("id").unwrap_or_default().to_owned();
    record(from, &id).map_err(|wrong| RecordError { id, what: wrong.to_string() })
}

fn record(from: Reader<'_>, id: &str) -> Result<Record, WrongAttribute> {
    let origin = match (from.optional("event", Reader::text)?, from.optional("route", Reader::text)?) {
        (Some(event), Some(route)) => Some(Origin::Route { event: event.to_owned(), route: route.to_owned() }),
        _ => from
            .optional("submitter", Reader::text)?
            .map(|submitter| Origin::Submitter { submitter: submitter.to_owned() }),
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
        postponed: from.optional("postponed", Reader::number)?.unwrap_or(0),
        looks: from.optional("looks", Reader::number)?.unwrap_or(0),
        failures: from.number("failures")?,
        lease: Duration::from_millis(from.number("lease_ms")?),
        lease_until: from.optional("lease_until", moment)?,
        retry_at: from.optional("retry_at", moment)?,
        waiting: from.optional("waiting", Reader::json)?,
        result: from.optional("result", |from, name| value(from, name, "result_encoding"))?,
        result_omitted: from.has("result_omitted"),
        error: from.optional("error", Reader::json)?,
        attempts: from.optional("attempts", attempts)?.unwrap_or_default(),
        hops: from.number("hops")?,
        replays: from.optional("replays", texts)?.unwrap_or_default(),
        seat: from.optional("seat", Reader::json)?,
        trace: from.optional("trace", Reader::text)?.and_then(|text| text.to_owned().try_into().ok()),
        created_at: moment(from, "created_at")?,
        updated_at: moment(from, "updated_at")?,
        expires_at: from
            .number::<i64>("expires_at")
            .map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1000)))?,
        writer: from.optional("holder", Reader::text)?.unwrap_or_default().to_owned(),
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

fn texts(from: Reader<'_>, name: &str) -> Result<Vec<String>, WrongAttribute> {
    let text = |one: &AttributeValue| one.as_s().cloned().map_err(|_| WrongAttribute(name.to_owned()));
    from.list(name)?.iter().map(text).collect()
}

fn attempts(from: Reader<'_>, name: &str) -> Result<Vec<Attempt>, WrongAttribute> {
    let wrong = || WrongAttribute(name.to_owned());
    let read = |one: &aws_sdk_dynamodb::types::AttributeValue| -> Option<Attempt> {
        serde_json::from_str(one.as_s().ok()?).ok()
    };
    from.list(name)?.iter().map(|one| read(one).ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Policy;
    use crate::record::NewTask;
    use clawbridge_trace::TraceContext;
    use serde_json::json;

    /// What the table has after the write.
    fn item(change: &Change) -> Item {
        let written = write(change).unwrap_or_else(|error| panic!("{error}"));
        let set = written.values.into_iter().map(|(name, value)| (name.trim_start_matches(':').to_owned(), value));
        set.chain([("id".to_owned(), s(&change.after.id))]).collect()
    }

    #[test]
    fn a_new_record_is_read_back_as_it_was_written_with_and_without_a_trace() {
        let now = Timestamp::from_millis(1_795_232_439_000);
        for trace in [None, Some(TraceContext::begin(1)), Some(TraceContext::begin(1).attempt("task_0", 2))] {
            let origin = Origin::Submitter { submitter: "operator".into() };
            let new = NewTask {
                tool: "t".into(),
                key: "k".into(),
                origin,
                input: json!({"n": 1}),
                hops: 1,
                seat: None,
                trace,
            };
            let change = Change::first(&new, None, Policy::UNKNOWN_TOOL, "writer", now);
            let item = item(&change);
            assert_eq!(item.contains_key("trace"), trace.is_some());
            assert_eq!(read(&item).as_ref(), Ok(&change.after));
            assert_eq!(change.after.trace, trace);
        }
    }

    #[test]
    fn a_trace_that_cannot_be_read_is_no_reason_not_to_have_the_task() {
        let new = NewTask {
            tool: "t".into(),
            key: "k".into(),
            origin: Origin::Submitter { submitter: "operator".into() },
            input: json!({}),
            hops: 0,
            seat: None,
            trace: Some(TraceContext::begin(1)),
        };
        let change =
            Change::first(&new, None, Policy::UNKNOWN_TOOL, "writer", Timestamp::from_millis(1_795_232_439_000));
        let mut item = item(&change);
        item.insert("trace".to_owned(), s("01-of-another-bridge"));
        assert_eq!(read(&item).map(|record| record.trace), Ok(None));
    }
}
