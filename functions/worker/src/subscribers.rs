//! From an event to its deliveries, and from a period to the events that a subscription is to get again.

use crate::{Trouble, Worker};
use clawbridge_clock::Timestamp;
use clawbridge_events::Event;
use clawbridge_journal::Entry;
use clawbridge_queue::{BRIDGE_SOURCE, Message, RedeliverMessage, ReplayMessage};
use clawbridge_subscriptions::{Filter, Subscription, payload};
use clawbridge_tasks::{NewTask, Origin};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Events that one step of a redelivery looks at.
const STEP: usize = 200;

/// The most filters that are remembered.
const MAX_FILTERS: usize = 200;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Filters that were compiled, by their text. Clones share it.
pub(crate) type Filters = Arc<Mutex<HashMap<String, Filter>>>;

impl Worker {
    /// The deliveries that `event` makes; with `only`, those to this subscription. `again` names a replay that wants them under new keys.
    ///
    /// One that is paused gets none now: it gets them when it is resumed, from the events table.
    pub(crate) async fn deliveries(
        &self,
        event: &Event,
        only: Option<&str>,
        again: Option<&str>,
    ) -> Result<Vec<NewTask>, Trouble> {
        if event.source != BRIDGE_SOURCE {
            return Ok(Vec::new());
        }
        let all = self.registry.subscriptions().await?;
        let wanted = all.iter().filter(|one| one.is_active() && only.is_none_or(|id| id == one.id));
        let Ok(body) = serde_json::from_slice::<Value>(&event.body) else { return Ok(Vec::new()) };
        let payload = payload(&event.id, &body);
        let mut tasks = Vec::new();
        for subscription in wanted.filter(|one| one.wants(&payload)) {
            let tool = subscription.tool();
            match self.lets_pass(subscription, &payload) {
                Ok(true) => tasks.push(NewTask {
                    key: again.map_or_else(|| event.id.clone(), |nonce| format!("{}#{nonce}", event.id)),
                    origin: Origin::Route { event: event.id.clone(), route: tool.clone() },
                    tool,
                    input: payload.clone(),
                    hops: event.hops,
                    seat: None,
                    trace: event.trace,
                }),
                Ok(false) => {}
                Err(reason) => {
                    let reason = clawbridge_journal::shortened(&reason, 300);
                    clawbridge_journal::write(&Entry::RouteFailed { event: &event.id, route: &tool, reason });
                }
            }
        }
        Ok(tasks)
    }

    fn lets_pass(&self, subscription: &Subscription, payload: &Value) -> Result<bool, String> {
        let Some(source) = &subscription.filter else { return Ok(true) };
        let filter = {
            // No half-made state between statements, so a panic elsewhere leaves the map usable.
            let mut known = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
            match known.get(source) {
                Some(filter) => filter.clone(),
                None => {
                    let filter = Filter::compile(source).map_err(|error| format!("filter: {error}"))?;
                    if known.len() >= MAX_FILTERS {
                        known.clear();
                    }
                    known.insert(source.clone(), filter.clone());
                    filter
                }
            }
        };
        filter.lets_pass(payload).map_err(|error| format!("filter: {error}"))
    }

    /// Has a subscription get the events of a period again, one step of it, oldest first; the rest is another message.
    pub(crate) async fn redeliver(&self, message: RedeliverMessage) -> Result<(), Trouble> {
        let until = message.until.unwrap_or_else(Timestamp::now);
        let day = message.since.day();
        let after = message.after.as_ref().map(|(at, id)| (*at, id.as_str()));
        let (listed, next) = self.events.between(&day, (message.since, until), after, STEP).await?;
        let Some(subscription) = self.registry.subscription(&message.subscription).await? else { return Ok(()) };
        let wanted = listed.iter().filter(|one| one.source == BRIDGE_SOURCE && subscription.wants_type(&one.r#type));
        let texts = wanted.map(|one| {
            Message::Replay(ReplayMessage {
                event: one.id.clone(),
                nonce: message.nonce.clone(),
                again: message.again,
                subscription: Some(message.subscription.clone()),
            })
            .encode()
        });
        self.queues.work.send_texts(texts.collect::<Result<Vec<String>, _>>()?).await?;
        let step = match next {
            Some(place) => RedeliverMessage { after: Some(place), until: Some(until), ..message },
            None => {
                let next_day = Timestamp::parse_rfc3339(&format!("{day}T00:00:00Z")).map(|at| at.plus(DAY));
                match next_day.filter(|since| *since <= until) {
                    Some(since) => RedeliverMessage { since, after: None, until: Some(until), ..message },
                    None => return Ok(()),
                }
            }
        };
        Ok(self.queues.work.send(&Message::Redeliver(step), Duration::ZERO).await?)
    }
}
