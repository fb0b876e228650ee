//! From a message to the tasks that it makes.

use crate::{Loaded, Trouble, Worker};
use clawbridge_clock::Timestamp;
use clawbridge_config::{CompiledRoute, OnParked, Target};
use clawbridge_events::{Event, Stored, event_id};
use clawbridge_journal::Entry;
use clawbridge_packed::Packed;
use clawbridge_queue::{Body, EventMessage, MAX_BODY_BYTES, Message, Priority, ReplayMessage};
use clawbridge_submit::{AgentInput, agent_tool};
use clawbridge_tasks::lane::{Seat, lane_id};
use clawbridge_tasks::{NewTask, Origin};
use futures_util::future::join_all;
use serde_json::Value;
use std::time::Duration;

/// How long an event waits for its parts before it is looked at again.
const PARTS_DELAY: Duration = Duration::from_secs(2);

/// How often an event waits for its parts. All of them were on the queue before the event was: what is not here after an hour is in the
/// dead-letter queue, and there the event belongs too.
const MAX_DEFERRALS: u32 = 1800;

/// Why an event is routed.
#[derive(Clone, Copy, Debug)]
enum Occasion<'a> {
    /// It came in.
    Arrival,
    /// An operator wants it routed again: what failed is run again.
    Replay,
    /// An operator wants everything done again, under new keys.
    Again {
        /// Names the replay.
        nonce: &'a str,
    },
}

impl Worker {
    pub(crate) async fn event(&self, message: EventMessage, deadline: Timestamp) -> Result<(), Trouble> {
        let now = Timestamp::now();
        let packed = match &message.body {
            Body::Inline { encoding, data } => Packed { encoding: *encoding, bytes: data.clone() },
            Body::Parts { encoding, bytes, .. } => match self.events.parts(&message.nonce, *encoding, *bytes).await? {
                Some(packed) => packed,
                None => return self.wait_for_parts(message).await,
            },
        };
        let body = packed.unpack(MAX_BODY_BYTES).map_err(clawbridge_queue::MessageError::from)?;
        let event = Event {
            id: event_id(&message.source, &message.delivery_id),
            source: message.source,
            r#type: message.r#type,
            delivery_id: message.delivery_id,
            received_at: message.received_at,
            headers: message.headers,
            body,
            hops: message.hops,
            nonce: message.nonce,
            repeats: 0,
            trace: message.trace,
        };
        match self.events.store(&event, &packed, now).await? {
            Stored::Repeat => {
                clawbridge_journal::write(&Entry::EventRepeated {
                    event: &event.id,
                    source: &event.source,
                    delivery_id: &event.delivery_id,
                });
                Ok(())
            }
            // The message may have come again because the worker died somewhere after the store: go through it again, each task
            // record knows what has been done.
            Stored::New | Stored::Before => {
                let loaded = self.loaded().await?;
                let mut tasks = routed(&loaded, &event, Occasion::Arrival);
                tasks.extend(self.deliveries(&event, None, None).await?);
                clawbridge_journal::write(&Entry::EventStored {
                    event: &event.id,
                    source: &event.source,
                    r#type: &event.r#type,
                    delivery_id: &event.delivery_id,
                    tasks: tasks.len(),
                });
                self.run_all(&loaded, tasks, None, deadline).await
            }
        }
    }

    async fn wait_for_parts(&self, message: EventMessage) -> Result<(), Trouble> {
        if message.deferrals >= MAX_DEFERRALS {
            return Err(Trouble::Other(format!("parts of the body of request {} never arrived", message.nonce)));
        }
        let later = EventMessage { deferrals: message.deferrals + 1, ..message };
        Ok(self.queues.send(&Message::Event(later), PARTS_DELAY).await?)
    }

    pub(crate) async fn replay(&self, message: &ReplayMessage, deadline: Timestamp) -> Result<(), Trouble> {
        let Some(event) = self.events.get(&message.event).await? else {
            // It expired between the command and now: nothing to come back for.
            let reason = "the event to replay is not in the table any more";
            clawbridge_journal::write(&Entry::BridgeFailed { code: "EVENT_GONE", reason, subject: &message.event });
            return Ok(());
        };
        let occasion = if message.again { Occasion::Again { nonce: &message.nonce } } else { Occasion::Replay };
        let loaded = self.loaded().await?;
        let again = message.again.then_some(message.nonce.as_str());
        let mut tasks = match message.subscription {
            Some(_) => Vec::new(),
            None => routed(&loaded, &event, occasion),
        };
        tasks.extend(self.deliveries(&event, message.subscription.as_deref(), again).await?);
        clawbridge_journal::write(&Entry::EventReplayed { event: &event.id, tasks: tasks.len() });
        self.run_all(&loaded, tasks, Some(&message.nonce), deadline).await
    }

    async fn run_all(
        &self,
        loaded: &Loaded,
        tasks: Vec<NewTask>,
        replay: Option<&str>,
        deadline: Timestamp,
    ) -> Result<(), Trouble> {
        let ends =
            join_all(tasks.iter().map(|task| self.run_new(loaded, task, replay, Priority::Background, deadline))).await;
        // All of them were tried; one that could not be recorded brings the message back, and the others know that they are done.
        ends.into_iter().collect()
    }
}

/// The tasks that `event`'s routes make of it. A route whose filter or mapping fails makes none, is reported, and leaves the others alone.
fn routed(loaded: &Loaded, event: &Event, occasion: Occasion<'_>) -> Vec<NewTask> {
    let view = event.view();
    let mut tasks = Vec::new();
    for route in loaded.config.routes_for(&event.source, &event.r#type) {
        match one(loaded, route, event, &view, occasion) {
            Ok(Some(task)) => tasks.push(task),
            Ok(None) => {}
            Err(reason) => {
                let reason = clawbridge_journal::shortened(&reason, 300);
                clawbridge_journal::write(&Entry::RouteFailed { event: &event.id, route: route.name(), reason });
            }
        }
    }
    tasks
}

/// The task's place in its lane, where the route keeps an order.
fn seat(route: &CompiledRoute, event: &Event, view: &Value) -> Result<Option<Seat>, String> {
    let key = route.order(view).map_err(|error| format!("order: {error}"))?;
    Ok(key.map(|key| Seat {
        lane: lane_id(route.name(), &key),
        received_at: event.received_at,
        nth: nth(&event.nonce),
        stay: 0,
        skip_parked: route.route().order_on_parked == OnParked::Skip,
    }))
}

/// An event's place among those of its request: `webhook` numbers their nonces, `ID`, `ID/1`, `ID/2`, …
fn nth(nonce: &str) -> u32 {
    nonce.rsplit_once('/').and_then(|(_, nth)| nth.parse().ok()).unwrap_or(0)
}

fn one(
    loaded: &Loaded,
    route: &CompiledRoute,
    event: &Event,
    view: &Value,
    occasion: Occasion<'_>,
) -> Result<Option<NewTask>, String> {
    if !route.lets_pass(view).map_err(|error| format!("filter: {error}"))? {
        return Ok(None);
    }
    let input = route.input(view).map_err(|error| format!("input: {error}"))?;
    let (tool, of_input) = match route.target() {
        Target::Tool(name) => {
            let tool = loaded.config.tool(name).ok_or_else(|| format!("there is no tool {name}"))?;
            (name.clone(), tool.idempotency_key(&input).map_err(|error| error.to_string())?)
        }
        Target::Agent(name) => {
            AgentInput::check(name, &input).map_err(|refused| format!("input: {refused}"))?;
            (agent_tool(name), None)
        }
    };
    let key = match of_input {
        Some(key) => key,
        // Two routes may send one event to the same tool with different inputs: the route is part of the key.
        None => format!("{}/{}", event.id, route.name()),
    };
    let key = match occasion {
        Occasion::Arrival | Occasion::Replay => key,
        Occasion::Again { nonce } => format!("{key}#{nonce}"),
    };
    Ok(Some(NewTask {
        tool,
        key,
        origin: Origin::Route { event: event.id.clone(), route: route.name().to_owned() },
        input,
        hops: event.hops,
        seat: seat(route, event, view)?,
        trace: event.trace,
    }))
}
