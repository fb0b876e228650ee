//! Subscriptions in the registry table: `subscription`/ID. Their secrets are in Secrets Manager.
//!
//! All of them are one query, which functions keep for [`FRESH`]: there are [`MAX_SUBSCRIPTIONS`] at most. How deliveries fare is written only
//! where they fail, and where one succeeds after that.

use crate::{FRESH, Registry, RegistryError};
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use clawbridge_aws::explain;
use clawbridge_clock::Timestamp;
use clawbridge_config::Compiled;
use clawbridge_subscriptions::{MAX_SUBSCRIPTIONS, Reason, Status, Subscription, is_wanted_by_somebody};
use clawbridge_table::{Item, Reader, WrongAttribute, n, s};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

const KIND: &str = "subscription";

/// What was read last, and when.
pub(crate) type Memory = Arc<Mutex<Option<(Arc<Vec<Subscription>>, Instant)>>>;

/// What somebody changes of a subscription. `None`: as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionChange {
    /// Where deliveries go.
    pub url: Option<String>,
    /// Patterns of event types.
    pub events: Option<Vec<String>>,
    /// The filter; `Some(None)` takes it away.
    pub filter: Option<Option<String>>,
    /// The description; `Some(None)` takes it away.
    pub description: Option<Option<String>>,
    /// How long it may do nothing but fail.
    pub pause_after: Option<Duration>,
}

impl Registry {
    /// Whether an event of the bridge's own is worth making: a route listens, or a subscription wants it, perhaps later.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn wants(&self, config: &Compiled, source: &str, event_type: &str) -> Result<bool, RegistryError> {
        if config.routes_for(source, event_type).next().is_some() {
            return Ok(true);
        }
        Ok(is_wanted_by_somebody(&self.subscriptions().await?, event_type))
    }

    /// All of them, at most [`FRESH`] behind; older when the table does not answer.
    ///
    /// # Errors
    /// [`RegistryError::Table`]; only when there is nothing kept to go on with.
    pub async fn subscriptions(&self) -> Result<Arc<Vec<Subscription>>, RegistryError> {
        let mut kept = self.subscriptions.lock().await;
        if let Some((all, read_at)) = &*kept
            && read_at.elapsed() < FRESH
        {
            return Ok(all.clone());
        }
        let all = match (self.subscriptions_from(None, MAX_SUBSCRIPTIONS + 1).await, &*kept) {
            (Ok((all, _)), _) => Arc::new(all),
            (Err(_), Some((all, _))) => all.clone(),
            (Err(error), None) => return Err(error),
        };
        *kept = Some((all.clone(), Instant::now()));
        Ok(all)
    }

    /// Those behind the id `after`, in the order of their ids, at most `limit`, and whether there may be more.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn subscriptions_from(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Subscription>, bool), RegistryError> {
        let key = |name: &str| Item::from([("kind".to_owned(), s(KIND)), ("name".to_owned(), s(name))]);
        let (mut found, mut place) = (Vec::new(), after.map(key));
        loop {
            let left = limit.saturating_sub(found.len());
            let query = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("kind = :kind")
                .expression_attribute_values(":kind", s(KIND))
                .consistent_read(true)
                .limit(i32::try_from(left.max(1)).unwrap_or(i32::MAX))
                .set_exclusive_start_key(place.take());
            let answer = query.send().await.map_err(|error| RegistryError::Table(explain(&error)))?;
            for item in answer.items.unwrap_or_default() {
                found.push(read_or(&item)?);
            }
            place = answer.last_evaluated_key;
            if place.is_none() || found.len() >= limit {
                return Ok((found, place.is_some()));
            }
        }
    }

    /// The subscription, read consistently.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn subscription(&self, id: &str) -> Result<Option<Subscription>, RegistryError> {
        self.item(KIND, id).await?.map(|item| read_or(&item)).transpose()
    }

    /// Keeps a new one.
    ///
    /// # Errors
    /// [`RegistryError::Table`], also where there is one of its id.
    pub async fn put_subscription(&self, new: &Subscription) -> Result<(), RegistryError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("kind", s(KIND))
            .item("name", s(&new.id))
            .item("url", s(&new.url))
            .item("events", texts(&new.events))
            .item("pause_after_ms", millis(new.pause_after))
            .item("created_at", n(new.created_at.millis()))
            .item("updated_at", n(new.updated_at.millis()))
            .condition_expression("attribute_not_exists(kind)");
        let put = match &new.filter {
            Some(filter) => put.item("filter", s(filter)),
            None => put,
        };
        let put = match &new.description {
            Some(description) => put.item("description", s(description)),
            None => put,
        };
        put.send().await.map_err(|error| RegistryError::Table(explain(&error)))?;
        self.forget_subscriptions().await;
        Ok(())
    }

    /// Changes what was set up. `None`: there is no such subscription.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn change_subscription(
        &self,
        id: &str,
        change: SubscriptionChange,
        now: Timestamp,
    ) -> Result<Option<Subscription>, RegistryError> {
        let mut set = vec![("updated_at", Some(n(now.millis())))];
        set.extend(change.url.map(|url| ("url", Some(s(&url)))));
        set.extend(change.events.map(|events| ("events", Some(texts(&events)))));
        set.extend(change.filter.map(|filter| ("filter", filter.map(|filter| s(&filter)))));
        set.extend(change.description.map(|text| ("description", text.map(|text| s(&text)))));
        set.extend(change.pause_after.map(|time| ("pause_after_ms", Some(millis(time)))));
        self.update(id, &set, "attribute_exists(kind)").await
    }

    /// Takes it away; false where there is none.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn delete_subscription(&self, id: &str) -> Result<bool, RegistryError> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key("kind", s(KIND))
            .key("name", s(id))
            .return_values(ReturnValue::AllOld);
        let answer = delete.send().await.map_err(|error| RegistryError::Table(explain(&error)))?;
        self.forget_subscriptions().await;
        Ok(answer.attributes.is_some_and(|item| !item.is_empty()))
    }

    /// Pauses one that is active. `None`: there is none, or it is paused already. Where it is to hold what comes, that counts from
    /// `held_since` on.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn pause_subscription(
        &self,
        id: &str,
        reason: Reason,
        held_since: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Subscription>, RegistryError> {
        let mut set = vec![("paused", Some(s(reason.as_str()))), ("paused_at", Some(n(now.millis())))];
        if reason.holds() {
            set.push(("held_since?", Some(n(held_since.millis()))));
        } else {
            set.push(("held_since", None));
        }
        self.update(id, &set, "attribute_exists(kind) AND attribute_not_exists(paused)").await
    }

    /// Makes it active, as if it had never failed. What it holds is still said: see [`Registry::held_is_sent`]. `None`: there is none.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn resume_subscription(&self, id: &str, now: Timestamp) -> Result<Option<Subscription>, RegistryError> {
        let set = [
            ("paused", None),
            ("paused_at", None),
            ("failures", None),
            ("failing_since", None),
            ("updated_at", Some(n(now.millis()))),
        ];
        self.update(id, &set, "attribute_exists(kind)").await
    }

    /// Notes that what it held since then is on the queue.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn held_is_sent(&self, id: &str, since: Timestamp) -> Result<(), RegistryError> {
        let update = self
            .of(id)
            .update_expression("REMOVE held_since")
            .condition_expression("held_since = :since AND attribute_not_exists(paused)")
            .expression_attribute_values(":since", n(since.millis()));
        self.carry_out(update).await.map(drop)
    }

    /// Counts an attempt that failed; how it stands then.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn note_delivery_failed(&self, id: &str, now: Timestamp) -> Result<Option<Subscription>, RegistryError> {
        let update = self
            .of(id)
            .update_expression("SET failing_since = if_not_exists(failing_since, :now) ADD failures :one")
            .condition_expression("attribute_exists(kind)")
            .expression_attribute_values(":now", n(now.millis()))
            .expression_attribute_values(":one", n(1));
        self.carry_out(update).await
    }

    /// Notes that one succeeded, after others had failed.
    ///
    /// # Errors
    /// [`RegistryError::Table`].
    pub async fn note_delivery_succeeded(&self, id: &str) -> Result<(), RegistryError> {
        let set = [("failures", None), ("failing_since", None)];
        self.update(id, &set, "attribute_exists(kind)").await.map(drop)
    }

    fn of(&self, id: &str) -> UpdateItemFluentBuilder {
        let update = self.client.update_item().table_name(&self.table).key("kind", s(KIND)).key("name", s(id));
        update.return_values(ReturnValue::AllNew)
    }

    /// Sets and removes attributes; a name with `?` at its end is set where it is not there yet.
    async fn update(
        &self,
        id: &str,
        set: &[(&str, Option<AttributeValue>)],
        condition: &str,
    ) -> Result<Option<Subscription>, RegistryError> {
        let mut update = self.of(id).condition_expression(condition);
        let (mut sets, mut removes) = (Vec::new(), Vec::new());
        for (place, (name, value)) in set.iter().enumerate() {
            let name = match name.strip_suffix('?') {
                Some(name) => {
                    sets.push(format!("#a{place} = if_not_exists(#a{place}, :v{place})"));
                    name
                }
                None if value.is_some() => {
                    sets.push(format!("#a{place} = :v{place}"));
                    *name
                }
                None => {
                    removes.push(format!("#a{place}"));
                    *name
                }
            };
            update = update.expression_attribute_names(format!("#a{place}"), name);
            if let Some(value) = value {
                update = update.expression_attribute_values(format!(":v{place}"), value.clone());
            }
        }
        let clause = |word: &str, parts: &[String]| {
            if parts.is_empty() { String::new() } else { format!("{word} {} ", parts.join(", ")) }
        };
        let expression = clause("SET", &sets) + &clause("REMOVE", &removes);
        self.carry_out(update.update_expression(expression.trim_end())).await
    }

    async fn carry_out(&self, update: UpdateItemFluentBuilder) -> Result<Option<Subscription>, RegistryError> {
        let after = match update.send().await {
            Ok(answer) => answer.attributes.map(|item| read_or(&item)).transpose()?,
            Err(SdkError::ServiceError(context)) if context.err().is_conditional_check_failed_exception() => None,
            Err(error) => return Err(RegistryError::Table(explain(&error))),
        };
        self.forget_subscriptions().await;
        Ok(after)
    }

    /// Whoever changed one sees it at once; other processes within [`FRESH`].
    async fn forget_subscriptions(&self) {
        *self.subscriptions.lock().await = None;
    }
}

fn texts(texts: &[String]) -> AttributeValue {
    AttributeValue::L(texts.iter().map(|text| s(text)).collect())
}

fn millis(time: Duration) -> AttributeValue {
    n(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

fn read_or(item: &Item) -> Result<Subscription, RegistryError> {
    read(Reader(item)).map_err(|wrong| RegistryError::Table(format!("subscription: {wrong}")))
}

fn read(from: Reader<'_>) -> Result<Subscription, WrongAttribute> {
    let moment = |from: Reader<'_>, name: &str| from.number(name).map(Timestamp::from_millis);
    let text = |name: &str| from.optional(name, |from, name| from.text(name).map(str::to_owned));
    let status = match from.optional("paused", Reader::text)? {
        // A reason that this version does not know is one that somebody has to look at.
        Some(word) => {
            Status::Paused { reason: Reason::parse(word).unwrap_or(Reason::Person), since: moment(from, "paused_at")? }
        }
        None => Status::Active,
    };
    let events = from.list("events")?.iter().filter_map(|one| one.as_s().ok().cloned()).collect();
    Ok(Subscription {
        id: from.text("name")?.to_owned(),
        url: from.text("url")?.to_owned(),
        events,
        filter: text("filter")?,
        description: text("description")?,
        status,
        pause_after: Duration::from_millis(from.number("pause_after_ms")?),
        created_at: moment(from, "created_at")?,
        updated_at: moment(from, "updated_at")?,
        failures: from.optional("failures", Reader::number)?.unwrap_or(0),
        failing_since: from.optional("failing_since", moment)?,
        held_since: from.optional("held_since", moment)?,
    })
}
