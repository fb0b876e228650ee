//! The `limits` table. Key: `scope`. Every decision is one conditional update, which brings the newer item along where it does not hold.

use crate::bucket::{Bucket, Full, Rule, Take, Write, nanos};
use crate::circuit::{Failure, State};
use crate::guard::Scope;
use crate::slots::{self, Held, Holder, Slip, Slots};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use clawbridge_aws::explain;
use clawbridge_clock::Timestamp;
use clawbridge_table::{Item, Reader, WrongAttribute, get_many, n, s};
use std::str::FromStr;
use std::time::Duration;

/// How long an item is kept that says nothing any more.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The attributes of slot 3 are `until_3` and `holder_3`.
const UNTIL: &str = "until_";
const HOLDER: &str = "holder_";

/// Why the table did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB refused or did not answer.
    #[error("the limits table: {0}")]
    Table(String),
    /// An item that this code cannot read.
    #[error("the limits table: {scope}: {wrong}; `clawbridge limits reset {scope}` removes it")]
    Item {
        /// Its key.
        scope: String,
        /// What is wrong.
        wrong: WrongAttribute,
    },
}

/// A circuit as the table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circuit {
    /// Grows with each change. That of a new item is the time, so that it is none that an item before it had.
    pub version: i64,
    /// The state.
    pub state: State,
}

/// What the table has under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The key.
    pub scope: Scope,
    /// The bucket, and the pause whatever it is of.
    pub bucket: Bucket,
    /// The circuit, if it is one.
    pub circuit: Option<Circuit>,
    /// The slots that are or were held, if any.
    pub slots: Slots,
}

/// What came of a conditional update.
#[derive(Debug)]
pub(crate) enum Changed<T> {
    /// It held.
    Yes(T),
    /// It did not: this is what is there now.
    No(Option<T>),
}

#[derive(Clone, Debug)]
pub(crate) struct Store {
    /// For an operator, who waits for an answer.
    patient: Client,
    client: Client,
    table: String,
    /// Names this environment in what it writes, so that a write whose answer was lost is recognised.
    writer: String,
}

impl Store {
    /// A limit is no reason to wait for long: the table answers within a second or is done without.
    pub(crate) fn new(client: &Client, table: String, writer: String) -> Store {
        let impatient = client
            .config()
            .to_builder()
            .retry_config(RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(50)))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_millis(500))
                    .operation_attempt_timeout(Duration::from_millis(700))
                    .operation_timeout(Duration::from_secs(1))
                    .build(),
            )
            .build();
        Store { patient: client.clone(), client: Client::from_conf(impatient), table, writer }
    }

    pub(crate) async fn take(&self, scope: &Scope, take: &Take) -> Result<Changed<Bucket>, StoreError> {
        const UNPAUSED: &str = "(attribute_not_exists(paused_until) OR paused_until <= :now_ms)";
        let update = self
            .update(scope)
            .expression_attribute_names("#rule", "rule")
            .expression_attribute_values(":rule", s(&take.rule.to_string()))
            .expression_attribute_values(":now_ms", n(take.now.millis()))
            .expression_attribute_values(":expires", n(expiry(take.now.plus(take.rule.fill_time()))))
            .return_values(ReturnValue::AllNew);
        let now = nanos(take.now);
        let update = match take.write {
            Write::FromFull { full_at } => update
                .condition_expression(format!(
                    "{UNPAUSED} AND (attribute_not_exists(full_at) OR (#rule = :rule AND full_at <= :now))"
                ))
                .update_expression("SET full_at = :full_at, #rule = :rule, expires_at = :expires")
                .expression_attribute_values(":now", n(now))
                .expression_attribute_values(":full_at", n(full_at)),
            Write::Add { upto, cost } => update
                .condition_expression(format!("{UNPAUSED} AND #rule = :rule AND full_at > :now AND full_at <= :upto"))
                .update_expression("SET full_at = full_at + :cost, expires_at = :expires")
                .expression_attribute_values(":now", n(now))
                .expression_attribute_values(":upto", n(upto))
                .expression_attribute_values(":cost", n(cost)),
            Write::Replace { seen, full_at } => update
                .condition_expression(format!("{UNPAUSED} AND #rule = :seen_rule AND full_at = :seen"))
                .update_expression("SET full_at = :full_at, #rule = :rule, expires_at = :expires")
                .expression_attribute_values(":seen_rule", s(&seen.rule.to_string()))
                .expression_attribute_values(":seen", n(seen.at))
                .expression_attribute_values(":full_at", n(full_at)),
        };
        match changed(update).await? {
            Changed::Yes(item) => bucket(scope, &item).map(Changed::Yes),
            Changed::No(item) => item.map(|item| bucket(scope, &item)).transpose().map(Changed::No),
        }
    }

    pub(crate) async fn take_slot(&self, scope: &Scope, take: &slots::Take) -> Result<Changed<Slots>, StoreError> {
        let update = self
            .update(scope)
            .condition_expression("attribute_not_exists(#until) OR #until <= :now OR #until > :beyond")
            .update_expression("SET #until = :until, #holder = :holder, expires_at = :expires")
            .expression_attribute_names("#until", format!("{UNTIL}{}", take.slot))
            .expression_attribute_names("#holder", format!("{HOLDER}{}", take.slot))
            .expression_attribute_values(":now", n(take.now.millis()))
            .expression_attribute_values(":beyond", n(take.beyond_belief().millis()))
            .expression_attribute_values(":until", n(take.until.millis()))
            .expression_attribute_values(":holder", s(&take.holder.to_string()))
            .expression_attribute_values(":expires", n(expiry(take.until)))
            .return_values(ReturnValue::AllNew);
        match changed(update).await? {
            Changed::Yes(item) => slots(scope, &item).map(Changed::Yes),
            Changed::No(item) => {
                let actual = item.map(|item| slots(scope, &item)).transpose()?;
                Ok(match actual {
                    // The SDK tried twice: the first try took effect and its answer was lost.
                    Some(actual) if actual.0.get(&take.slot).is_some_and(|held| held.by == take.holder) => {
                        Changed::Yes(actual)
                    }
                    actual => Changed::No(actual),
                })
            }
        }
    }

    /// Gives a slot back, unless its lease ran out and another holds it.
    pub(crate) async fn free_slot(&self, scope: &Scope, slip: &Slip) -> Result<Changed<Slots>, StoreError> {
        let update = self
            .update(scope)
            .condition_expression("#holder = :holder")
            .update_expression("REMOVE #until, #holder")
            .expression_attribute_names("#until", format!("{UNTIL}{}", slip.slot))
            .expression_attribute_names("#holder", format!("{HOLDER}{}", slip.slot))
            .expression_attribute_values(":holder", s(&slip.holder.to_string()))
            .return_values(ReturnValue::AllNew);
        match changed(update).await? {
            Changed::Yes(item) => slots(scope, &item).map(Changed::Yes),
            Changed::No(item) => item.map(|item| slots(scope, &item)).transpose().map(Changed::No),
        }
    }

    /// Pauses a key, unless it is paused for longer already. `keep` is how long the item must live for what else is in it.
    pub(crate) async fn pause(
        &self,
        scope: &Scope,
        until: Timestamp,
        keep: Duration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let update = self
            .update(scope)
            .condition_expression("attribute_not_exists(paused_until) OR paused_until < :until")
            .update_expression("SET paused_until = :until, expires_at = :expires")
            .expression_attribute_values(":until", n(until.millis()))
            .expression_attribute_values(":expires", n(expiry(until.max(now.plus(keep)))));
        changed(update).await.map(drop)
    }

    pub(crate) async fn circuit(&self, scope: &Scope) -> Result<Option<Kept>, StoreError> {
        let get = self.client.get_item().table_name(&self.table).key("scope", s(scope.as_str())).consistent_read(true);
        let answer = get.send().await.map_err(|error| StoreError::Table(explain(&error)))?;
        answer.item.map(|item| kept(scope, &item)).transpose()
    }

    /// Puts a circuit's next state in the place of the one that was `seen`.
    pub(crate) async fn change(
        &self,
        scope: &Scope,
        seen: Option<&Circuit>,
        next: &State,
        now: Timestamp,
    ) -> Result<Changed<Kept>, StoreError> {
        let version = seen.map_or(now.millis(), |seen| seen.version.saturating_add(1));
        let (condition, seen) = match seen {
            Some(seen) => ("#version = :seen", Some(seen.version)),
            None => ("attribute_not_exists(#version)", None),
        };
        let mut update = self.update(scope).condition_expression(condition).return_values(ReturnValue::AllNew);
        if let Some(seen) = seen {
            update = update.expression_attribute_values(":seen", n(seen));
        }
        let mut sets = Vec::new();
        let attributes = attributes(next);
        let more = [("version", n(version)), ("writer", s(&self.writer)), ("expires_at", n(expiry(last(next, now))))];
        for (name, value) in attributes.into_iter().chain(more) {
            // Some of these names are reserved words of DynamoDB's.
            sets.push(format!("#{name} = :{name}"));
            update = update
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(format!(":{name}"), value);
        }
        match changed(update.update_expression(format!("SET {}", sets.join(", ")))).await? {
            Changed::Yes(item) => kept(scope, &item).map(Changed::Yes),
            // The SDK tried twice: the first try took effect and its answer was lost.
            Changed::No(Some(item)) if item.get("version") == Some(&n(version)) && self.is_writer_of(&item) => {
                kept(scope, &item).map(Changed::Yes)
            }
            Changed::No(item) => item.map(|item| kept(scope, &item)).transpose().map(Changed::No),
        }
    }

    pub(crate) async fn list(&self, scopes: &[Scope]) -> Result<Vec<Kept>, StoreError> {
        let mut found = Vec::new();
        for scopes in scopes.chunks(100) {
            let keys = scopes.iter().map(|scope| Item::from([("scope".to_owned(), s(scope.as_str()))])).collect();
            let items = get_many(&self.patient, &self.table, keys, true).await.map_err(StoreError::Table)?;
            for item in items {
                let scope = Scope::named(Reader(&item).text("scope").unwrap_or_default());
                found.push(kept(&scope, &item)?);
            }
        }
        found.sort_by(|a, b| a.scope.cmp(&b.scope));
        Ok(found)
    }

    pub(crate) async fn remove(&self, scope: &Scope) -> Result<bool, StoreError> {
        let delete = self
            .patient
            .delete_item()
            .table_name(&self.table)
            .key("scope", s(scope.as_str()))
            .return_values(ReturnValue::AllOld);
        let answer = delete.send().await.map_err(|error| StoreError::Table(explain(&error)))?;
        Ok(answer.attributes.is_some())
    }

    fn update(&self, scope: &Scope) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("scope", s(scope.as_str()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    fn is_writer_of(&self, item: &Item) -> bool {
        item.get("writer").and_then(|value| value.as_s().ok()) == Some(&self.writer)
    }
}

async fn changed(update: UpdateItemFluentBuilder) -> Result<Changed<Item>, StoreError> {
    match update.send().await {
        Ok(output) => Ok(Changed::Yes(output.attributes.unwrap_or_default())),
        Err(SdkError::ServiceError(context)) if context.err().is_conditional_check_failed_exception() => {
            match context.into_err() {
                UpdateItemError::ConditionalCheckFailedException(failed) => Ok(Changed::No(failed.item)),
                _ => Ok(Changed::No(None)),
            }
        }
        Err(error) => Err(StoreError::Table(explain(&error))),
    }
}

fn expiry(at: Timestamp) -> i64 {
    at.plus(KEPT).seconds()
}

/// The last moment that a state speaks of.
fn last(state: &State, now: Timestamp) -> Timestamp {
    match state {
        // No window is longer than the day that is added.
        State::Closed { .. } => now,
        State::Open { until, .. } | State::HalfOpen { until, .. } => *until,
    }
}

/// A state as attributes: always the same ones, so that none is left over from the state before.
fn attributes(state: &State) -> [(&'static str, AttributeValue); 8] {
    let nothing: &[Failure] = &[];
    let (failed, until, streak, round, under_way, succeeded) = match state {
        State::Closed { failed } => (failed.as_slice(), None, 0, 0, 0, 0),
        State::Open { until, streak } => (nothing, Some(*until), *streak, 0, 0, 0),
        State::HalfOpen { round, under_way, succeeded, until, streak } => {
            (nothing, Some(*until), *streak, *round, *under_way, *succeeded)
        }
    };
    let list = |of: fn(&Failure) -> i64| AttributeValue::L(failed.iter().map(|failure| n(of(failure))).collect());
    [
        ("state", s(state.as_str())),
        ("failed_at", list(|failure| failure.at.millis())),
        ("failed_calls", list(|failure| failure.calls.into())),
        ("until", n(until.map_or(0, Timestamp::millis))),
        ("streak", n(streak.into())),
        ("round", n(round.into())),
        ("under_way", n(under_way.into())),
        ("succeeded", n(succeeded.into())),
    ]
}

fn kept(scope: &Scope, item: &Item) -> Result<Kept, StoreError> {
    let from = Reader(item);
    let circuit = match from.has("version") {
        true => Some(circuit(from).map_err(|wrong| StoreError::Item { scope: scope.to_string(), wrong })?),
        false => None,
    };
    Ok(Kept { scope: scope.clone(), bucket: bucket(scope, item)?, circuit, slots: slots(scope, item)? })
}

fn slots(scope: &Scope, item: &Item) -> Result<Slots, StoreError> {
    let from = Reader(item);
    let held = |slot: &str| {
        let (until, holder) = (format!("{UNTIL}{slot}"), format!("{HOLDER}{slot}"));
        let number = slot.parse().map_err(|_| WrongAttribute(until.clone()))?;
        let by = Holder::from_str(from.text(&holder)?).map_err(|()| WrongAttribute(holder.clone()))?;
        Ok((number, Held { by, until: Timestamp::from_millis(from.number(&until)?) }))
    };
    let slots = item.keys().filter_map(|name| name.strip_prefix(UNTIL)).map(held).collect::<Result<_, _>>();
    slots.map(Slots).map_err(|wrong: WrongAttribute| StoreError::Item { scope: scope.to_string(), wrong })
}

fn bucket(scope: &Scope, item: &Item) -> Result<Bucket, StoreError> {
    let from = Reader(item);
    let full = |from: Reader<'_>, name: &str| {
        let rule = Rule::from_str(from.text("rule")?).map_err(|()| WrongAttribute("rule".to_owned()))?;
        Ok(Full { at: from.number(name)?, rule })
    };
    let read = || {
        Ok(Bucket {
            full: from.optional("full_at", full)?,
            paused_until: from.optional("paused_until", |from, name| from.number(name).map(Timestamp::from_millis))?,
        })
    };
    read().map_err(|wrong: WrongAttribute| StoreError::Item { scope: scope.to_string(), wrong })
}

fn circuit(from: Reader<'_>) -> Result<Circuit, WrongAttribute> {
    let until = || from.number("until").map(Timestamp::from_millis);
    let state = match from.text("state")? {
        "closed" => {
            let (at, calls) = (numbers::<i64>(from, "failed_at")?, numbers::<u32>(from, "failed_calls")?);
            let failures = at.into_iter().zip(calls);
            let failed = failures.map(|(at, calls)| Failure { at: Timestamp::from_millis(at), calls }).collect();
            State::Closed { failed }
        }
        "open" => State::Open { until: until()?, streak: from.number("streak")? },
        "half-open" => State::HalfOpen {
            round: from.number("round")?,
            under_way: from.number("under_way")?,
            succeeded: from.number("succeeded")?,
            until: until()?,
            streak: from.number("streak")?,
        },
        _ => return Err(WrongAttribute("state".to_owned())),
    };
    Ok(Circuit { version: from.number("version")?, state })
}

fn numbers<T: FromStr>(from: Reader<'_>, name: &str) -> Result<Vec<T>, WrongAttribute> {
    let read = |value: &AttributeValue| value.as_n().ok().and_then(|number| number.parse().ok());
    from.list(name)?.iter().map(|value| read(value).ok_or_else(|| WrongAttribute(name.to_owned()))).collect()
}
