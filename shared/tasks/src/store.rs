//! The `tasks` table.
//!
//! Key: task id. On the healthy path a task costs two calls, the claim and the finish. Indexes: `by_day` (`day`, `at`) lists every task by
//! the day it was made; `by_state` (`listed`, `at`) only those that somebody may have to look after (queued again, failed, parked),
//! so that the healthy path writes one index entry and not three.

use crate::item::read;
use crate::machine::{Ask, Outcome, Policy, Verdict, consider};
use crate::record::{Attempt, Origin, Record, RecordError, State, input_hash, task_id};
use crate::{LEASE_MARGIN, MAX_INPUT_BYTES, MAX_PACKED_BYTES, RETENTION};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use clawbridge_aws::explain;
use clawbridge_clock::Timestamp;
use clawbridge_packed::Packed;
use clawbridge_table::{Item, b, get_many, n, s};
use serde_json::Value;
use std::time::Duration;

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

/// A task that may not have a record yet.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// Tool name.
    pub tool: String,
    /// Idempotency key within the tool.
    pub key: String,
    /// Where it comes from.
    pub origin: Origin,
    /// The input.
    pub input: Value,
    /// The tool's time limit, from which the lease follows.
    pub timeout: Duration,
    /// The event's hops.
    pub hops: u32,
}

/// Names one claim: random, so that a claim whose answer got lost on the way can be recognised as one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder(pub String);

/// What came of trying to claim.
#[derive(Clone, Debug, PartialEq)]
pub enum Claimed {
    /// It is ours until the lease ends: run it.
    Ours(Box<Record>),
    /// It has ended.
    Ended(Box<Record>),
    /// Its key stands for another input.
    Conflict(Box<Record>),
    /// Look again at that time.
    Later {
        /// When.
        at: Timestamp,
        /// The record as it was seen.
        record: Box<Record>,
    },
    /// It was just given up or parked, by this call.
    Closed(Box<Record>),
    /// There is no such task.
    Gone,
}

/// One page of records, newest first.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The records.
    pub records: Vec<Record>,
    /// Whether there are more of that day.
    pub more: bool,
}

/// The table.
#[derive(Clone, Debug)]
pub struct Tasks {
    client: Client,
    table: String,
}

impl Tasks {
    /// The table named `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Tasks {
        Tasks { client, table }
    }

    /// Claims the task that an event's route makes, or that the named replay makes again, or says why not. One call where there is no
    /// record yet.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn claim_new(
        &self,
        new: &NewTask,
        replay: Option<&str>,
        policy: Policy,
        holder: &Holder,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        let id = task_id(&new.tool, &new.key);
        let hash = input_hash(&new.input);
        let input = pack_input(&new.input)?;
        let lease = new.timeout + LEASE_MARGIN;
        let mut update = self.update(&id).condition_expression("attribute_not_exists(id)");
        let mut set = "SET tool = :tool, task_key = :key, event = :event, route = :route, input_hash = :hash, #input = :input, \
                       input_encoding = :encoding, #state = :running, attempt = :one, failures = :zero, lease_ms = :lease, \
                       lease_until = :until, hops = :hops, created_at = :now, updated_at = :now, expires_at = :expires, \
                       holder = :holder, #day = :day, #at = :now"
            .to_owned();
        if let Some(nonce) = replay {
            set.push_str(", replay = :replay");
            update = update.expression_attribute_values(":replay", s(nonce));
        }
        let update = update
            .update_expression(set)
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#input", "input")
            .expression_attribute_names("#day", "day")
            .expression_attribute_names("#at", "at")
            .expression_attribute_values(":tool", s(&new.tool))
            .expression_attribute_values(":key", s(&new.key))
            .expression_attribute_values(":event", s(&new.origin.event))
            .expression_attribute_values(":route", s(&new.origin.route))
            .expression_attribute_values(":hash", s(&hash))
            .expression_attribute_values(":input", b(input.bytes))
            .expression_attribute_values(":encoding", s(input.encoding.as_str()))
            .expression_attribute_values(":running", s(State::Running.as_str()))
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":lease", n(millis(lease)))
            .expression_attribute_values(":until", n(now.plus(lease).millis()))
            .expression_attribute_values(":hops", n(i64::from(new.hops)))
            .expression_attribute_values(":now", n(now.millis()))
            .expression_attribute_values(":expires", n(now.plus(RETENTION).seconds()))
            .expression_attribute_values(":day", s(&now.day()))
            .expression_attribute_values(":holder", s(&holder.0));
        match changed(update).await? {
            Changed::Yes(_) => Ok(Claimed::Ours(Box::new(Record {
                id,
                tool: new.tool.clone(),
                key: new.key.clone(),
                origin: Some(new.origin.clone()),
                input_hash: hash,
                input: new.input.clone(),
                state: State::Running,
                attempt: 1,
                failures: 0,
                lease,
                lease_until: Some(now.plus(lease)),
                retry_at: None,
                result: None,
                result_omitted: false,
                error: None,
                attempts: Vec::new(),
                hops: new.hops,
                replay: replay.map(str::to_owned),
                created_at: now,
                updated_at: now,
            }))),
            Changed::No(None) => Err(StoreError::Table("a failed condition came without its item".to_owned())),
            // The SDK tried twice: the first try took effect and its answer was lost.
            Changed::No(Some(item)) if held_by(&item, holder, 1) => Ok(Claimed::Ours(Box::new(read(&item)?))),
            Changed::No(Some(item)) => {
                let (origin, input_hash) = (&new.origin, hash.as_str());
                let ask = match replay {
                    Some(nonce) => Ask::Replay { origin, input_hash, nonce },
                    None => Ask::Route { origin, input_hash },
                };
                self.pursue(read(&item)?, &ask, policy, holder, now).await
            }
        }
    }

    /// Claims a task that has a record, or says why not. `policy` is asked for once the tool is known.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn claim(
        &self,
        id: &str,
        ask: &Ask<'_>,
        policy: impl Fn(&Record) -> Policy,
        holder: &Holder,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        match self.get(id).await? {
            None => Ok(Claimed::Gone),
            Some(record) => {
                let policy = policy(&record);
                self.pursue(record, ask, policy, holder, now).await
            }
        }
    }

    /// Acts on what the machine says about a record, and says it again about what the record has become when somebody was faster.
    async fn pursue(
        &self,
        mut record: Record,
        ask: &Ask<'_>,
        policy: Policy,
        holder: &Holder,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        // Each round that loses means that somebody else moved the task on; a handful of rounds without an end is a livelock.
        for _ in 0..5 {
            let written = match consider(&record, ask, policy, now) {
                Verdict::Ended => return Ok(Claimed::Ended(Box::new(record))),
                Verdict::Conflict => return Ok(Claimed::Conflict(Box::new(record))),
                Verdict::Later { at } => {
                    return Ok(Claimed::Later { at, record: Box::new(record) });
                }
                Verdict::Run => {
                    self.take(&record, ask, holder, now).await?.map(|record| Claimed::Ours(Box::new(record)))
                }
                Verdict::Fail(error) => self
                    .finish(&record, &Outcome::Failed { error }, 0, now)
                    .await?
                    .map(|r| Claimed::Closed(Box::new(r))),
                Verdict::Park(error) => self
                    .finish(&record, &Outcome::Parked { error }, 0, now)
                    .await?
                    .map(|r| Claimed::Closed(Box::new(r))),
            };
            if let Some(claimed) = written {
                return Ok(claimed);
            }
            record = match self.get(&record.id).await? {
                Some(record) => record,
                None => return Ok(Claimed::Gone),
            };
        }
        Err(StoreError::Table(format!("task {} changes hands too fast", record.id)))
    }

    /// The claim of a known record: fenced by state and attempt. `None`: somebody was faster.
    async fn take(
        &self,
        seen: &Record,
        ask: &Ask<'_>,
        holder: &Holder,
        now: Timestamp,
    ) -> Result<Option<Record>, StoreError> {
        let asked_anew = matches!(ask, Ask::Person { .. } | Ask::Replay { .. })
            && matches!(seen.state, State::Failed | State::Parked);
        let failures = if asked_anew { 0 } else { i64::from(seen.failures) };
        let (set_replay, replay) = match ask {
            Ask::Replay { nonce, .. } => (", replay = :replay", Some(s(nonce))),
            Ask::Route { .. } | Ask::Due | Ask::Person { .. } => ("", None),
        };
        let update = self
            .update(&seen.id)
            .condition_expression("#state = :state AND attempt = :attempt")
            .update_expression(format!(
                "SET #state = :running, attempt = :next, failures = :failures, lease_until = :until, holder = :holder, \
                 updated_at = :now{set_replay} REMOVE retry_at, listed",
            ))
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":state", s(seen.state.as_str()))
            .expression_attribute_values(":attempt", n(i64::from(seen.attempt)))
            .expression_attribute_values(":running", s(State::Running.as_str()))
            .expression_attribute_values(":next", n(i64::from(seen.attempt) + 1))
            .expression_attribute_values(":failures", n(failures))
            .expression_attribute_values(":until", n(now.plus(seen.lease).millis()))
            .expression_attribute_values(":now", n(now.millis()))
            .expression_attribute_values(":holder", s(&holder.0))
            .return_values(ReturnValue::AllNew);
        let update = match replay {
            Some(nonce) => update.expression_attribute_values(":replay", nonce),
            None => update,
        };
        match changed(update).await? {
            Changed::Yes(Some(item)) => Ok(Some(read(&item)?)),
            Changed::Yes(None) => Err(StoreError::Table("an update came without its item".to_owned())),
            Changed::No(Some(item)) if held_by(&item, holder, seen.attempt + 1) => Ok(Some(read(&item)?)),
            Changed::No(_) => Ok(None),
        }
    }

    /// Writes down how the claimed attempt `seen` ended, after a call of `ms` milliseconds. `None`: the lease ran out and somebody else
    /// has the task now, so this attempt's outcome no longer counts.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn finish(
        &self,
        seen: &Record,
        outcome: &Outcome,
        ms: u64,
        now: Timestamp,
    ) -> Result<Option<Record>, StoreError> {
        let mut ended = seen.clone();
        ended.updated_at = now;
        ended.lease_until = None;
        let decision = match outcome {
            Outcome::Succeeded { result } => {
                ended.state = State::Succeeded;
                ended.error = None;
                ended.result = Some(result.clone());
                "succeeded"
            }
            Outcome::Retry { error, at, failures } => {
                ended.state = State::Queued;
                ended.failures = *failures;
                ended.retry_at = Some(*at);
                ended.error = Some(error.clone());
                "retry"
            }
            Outcome::Failed { error } => {
                ended.state = State::Failed;
                ended.failures = seen.failures + 1;
                ended.error = Some(error.clone());
                "failed"
            }
            Outcome::Parked { error } => {
                ended.state = State::Parked;
                ended.error = Some(error.clone());
                "parked"
            }
        };
        let attempt = Attempt {
            n: seen.attempt,
            at: now,
            ms,
            decision: decision.to_owned(),
            status: ended.error.as_ref().and_then(|error| error.status),
            code: ended.error.as_ref().map(|error| error.code.as_str().to_owned()),
        };
        let mut set = "SET #state = :state, failures = :failures, updated_at = :now, \
                       attempts = list_append(if_not_exists(attempts, :none), :attempt)"
            .to_owned();
        let mut remove = " REMOVE lease_until".to_owned();
        let mut update = self
            .update(&seen.id)
            .condition_expression("#state = :running AND attempt = :fence")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":running", s(seen.state.as_str()))
            .expression_attribute_values(":fence", n(i64::from(seen.attempt)))
            .expression_attribute_values(":state", s(ended.state.as_str()))
            .expression_attribute_values(":failures", n(i64::from(ended.failures)))
            .expression_attribute_values(":now", n(now.millis()))
            .expression_attribute_values(":none", AttributeValue::L(Vec::new()))
            .expression_attribute_values(":attempt", AttributeValue::L(vec![json_s(&attempt)?]));
        if let Some(result) = &ended.result {
            let packed = Packed::pack(result.to_string().as_bytes());
            if packed.bytes.len() > MAX_PACKED_BYTES {
                // The effect has happened; a result that is too large to keep must not make the task look undone.
                ended.result = None;
                ended.result_omitted = true;
                set.push_str(", result_omitted = :true");
                update = update.expression_attribute_values(":true", AttributeValue::Bool(true));
            } else {
                // "result" is one of DynamoDB's reserved words.
                set.push_str(", #result = :result, result_encoding = :result_encoding");
                update = update
                    .expression_attribute_names("#result", "result")
                    .expression_attribute_values(":result_encoding", s(packed.encoding.as_str()))
                    .expression_attribute_values(":result", b(packed.bytes));
            }
        }
        match &ended.error {
            Some(error) => {
                set.push_str(", #error = :error, listed = :listed, #at = :now");
                let listed = listed(ended.state, now);
                update = update
                    .expression_attribute_names("#at", "at")
                    .expression_attribute_values(":error", json_s(error)?)
                    .expression_attribute_values(":listed", s(&listed));
                // The day goes with `at`: the record moves to where its last change is looked for.
                set.push_str(", #day = :day");
                update =
                    update.expression_attribute_names("#day", "day").expression_attribute_values(":day", s(&now.day()));
            }
            None => remove.push_str(", #error, listed"),
        }
        update = update.expression_attribute_names("#error", "error");
        match ended.retry_at.filter(|_| ended.state == State::Queued) {
            Some(at) => {
                set.push_str(", retry_at = :retry_at");
                update = update.expression_attribute_values(":retry_at", n(at.millis()));
            }
            None => remove.push_str(", retry_at"),
        }
        ended.attempts.push(attempt);
        match changed(update.update_expression(set + &remove)).await? {
            Changed::Yes(_) => Ok(Some(ended)),
            // Only the holder of an attempt can end it, so an attempt that stands ended in this way was ended by this very write,
            // tried twice by the SDK.
            Changed::No(Some(item)) if stands(&item, ended.state, seen.attempt) => Ok(Some(ended)),
            Changed::No(_) => Ok(None),
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

    /// Tasks of one UTC day (`2026-11-21`), newest first, at most `limit` (1–100); with `state`, only those that wait, failed or
    /// are parked since that day.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn list(&self, day: &str, state: Option<State>, limit: usize) -> Result<Listing, StoreError> {
        let (index, attribute, value) = match state {
            Some(state @ (State::Queued | State::Failed | State::Parked)) => {
                ("by_state", "listed", format!("{}#{day}", state.as_str()))
            }
            Some(State::Running | State::Succeeded) | None => ("by_day", "day", day.to_owned()),
        };
        let limit = limit.clamp(1, 100);
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
            .send()
            .await
            .map_err(|error| StoreError::Table(explain(&error)))?;
        let more = answer.last_evaluated_key.is_some();
        let keys: Vec<Item> = answer
            .items
            .unwrap_or_default()
            .into_iter()
            .filter_map(|mut item| Some([("id".to_owned(), item.remove("id")?)].into()))
            .collect();
        let items = get_many(&self.client, &self.table, keys, false).await.map_err(StoreError::Table)?;
        let mut records = items.iter().map(read).collect::<Result<Vec<Record>, RecordError>>()?;
        records.sort_by_key(|record| std::cmp::Reverse(record.updated_at));
        if let Some(state) = state {
            records.retain(|record| record.state == state);
        }
        Ok(Listing { records, more })
    }

    fn update(&self, id: &str) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("id", s(id))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

enum Changed {
    Yes(Option<Item>),
    No(Option<Item>),
}

async fn changed(update: UpdateItemFluentBuilder) -> Result<Changed, StoreError> {
    match update.send().await {
        Ok(output) => Ok(Changed::Yes(output.attributes)),
        Err(SdkError::ServiceError(context)) if context.err().is_conditional_check_failed_exception() => {
            match context.into_err() {
                UpdateItemError::ConditionalCheckFailedException(failed) => Ok(Changed::No(failed.item)),
                _ => Ok(Changed::No(None)),
            }
        }
        Err(error) => Err(StoreError::Table(explain(&error))),
    }
}

fn held_by(item: &Item, holder: &Holder, attempt: u32) -> bool {
    let held = item.get("holder").and_then(|value| value.as_s().ok());
    held == Some(&holder.0) && stands(item, State::Running, attempt)
}

fn stands(item: &Item, state: State, attempt: u32) -> bool {
    item.get("state") == Some(&s(state.as_str())) && item.get("attempt") == Some(&n(i64::from(attempt)))
}

fn listed(state: State, now: Timestamp) -> String {
    format!("{}#{}", state.as_str(), now.day())
}

fn pack_input(input: &Value) -> Result<Packed, StoreError> {
    let text = input.to_string();
    let packed = Packed::pack(text.as_bytes());
    if text.len() > MAX_INPUT_BYTES || packed.bytes.len() > MAX_PACKED_BYTES {
        return Err(StoreError::InputTooLarge { bytes: text.len(), max: MAX_PACKED_BYTES });
    }
    Ok(packed)
}

fn json_s(value: &impl serde::Serialize) -> Result<AttributeValue, StoreError> {
    let text = serde_json::to_string(value).map_err(|error| StoreError::Table(error.to_string()))?;
    Ok(AttributeValue::S(text))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
