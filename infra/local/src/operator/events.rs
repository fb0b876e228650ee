//! `events list|show|replay`.

use super::print_json;
use super::reach::{Reached, unreachable};
use super::table;
use crate::cli::{EventsCommand, Global, ListArgs};
use crate::failure::Failure;
use crate::out::say;
use clawbridge_clock::Timestamp;
use clawbridge_events::Listed;
use clawbridge_queue::{Message, ReplayMessage};
use serde_json::json;
use std::time::Duration;

/// Days looked back for a list.
const DAYS_BACK: u64 = 7;

pub(crate) async fn run(global: &Global, command: EventsCommand) -> Result<(), Failure> {
    let reached = Reached::stack(global).await?;
    match command {
        EventsCommand::List(args) => list(&reached, &args, global.json).await,
        EventsCommand::Show(args) => show(&reached, &args.id, global.json).await,
        EventsCommand::Replay { id, again } => replay(&reached, &id, again, global.json).await,
    }
}

/// The UTC days that a list covers, newest first.
pub(super) fn days(args: &ListArgs, now: Timestamp) -> Vec<String> {
    match &args.day {
        Some(day) => vec![day.clone()],
        None => (0..DAYS_BACK).map(|back| now.minus(Duration::from_secs(back * 86_400)).day()).collect(),
    }
}

/// The days that a list covers, in words.
pub(super) fn period(args: &ListArgs) -> String {
    match &args.day {
        Some(day) => format!("on {day}"),
        None => format!("in the last {DAYS_BACK} days"),
    }
}

async fn list(reached: &Reached, args: &ListArgs, json: bool) -> Result<(), Failure> {
    let mut events: Vec<Listed> = Vec::new();
    for day in days(args, Timestamp::now()) {
        let left = usize::from(args.limit) - events.len();
        let (page, _) = reached
            .events
            .list(&day, left)
            .await
            .map_err(|error| unreachable("EVENTS_UNAVAILABLE", &error.to_string()))?;
        events.extend(page);
        if events.len() >= usize::from(args.limit) {
            break;
        }
    }
    if json {
        let events: Vec<_> = events
            .iter()
            .map(|event| {
                json!({"id": event.id, "source": event.source, "type": event.r#type, "delivery_id": event.delivery_id,
                    "received_at": event.received_at.rfc3339()})
            })
            .collect();
        print_json(&events);
    } else if events.is_empty() {
        say!("No events {}.", period(args));
    } else {
        let rows: Vec<Vec<String>> = events
            .into_iter()
            .map(|event| vec![event.received_at.rfc3339(), event.id, event.source, event.r#type, event.delivery_id])
            .collect();
        table::print(&["RECEIVED", "EVENT", "SOURCE", "TYPE", "DELIVERY"], &rows);
    }
    Ok(())
}

async fn show(reached: &Reached, id: &str, json: bool) -> Result<(), Failure> {
    let event = reached.events.get(id).await.map_err(|error| unreachable("EVENTS_UNAVAILABLE", &error.to_string()))?;
    let event = event.ok_or_else(|| unknown(id))?;
    let mut view = event.view();
    view["repeats"] = json!(event.repeats);
    view["hops"] = json!(event.hops);
    view["request_id"] = json!(event.nonce);
    view["trace_id"] = json!(event.trace.map(|trace| trace.trace_id().to_string()));
    if json {
        print_json(&view);
        return Ok(());
    }
    say!("event     {}", event.id);
    say!("source    {}", event.source);
    say!("type      {}", event.r#type);
    say!("delivery  {}", event.delivery_id);
    say!("received  {}", event.received_at);
    say!("repeats   {}", event.repeats);
    if let Some(trace) = event.trace {
        say!("trace     {}", trace.trace_id());
    }
    say!("body      {} bytes", event.body.len());
    say!("{}", serde_json::to_string_pretty(&view["body"]).unwrap_or_default());
    Ok(())
}

async fn replay(reached: &Reached, id: &str, again: bool, json: bool) -> Result<(), Failure> {
    let event = reached.events.get(id).await.map_err(|error| unreachable("EVENTS_UNAVAILABLE", &error.to_string()))?;
    let event = event.ok_or_else(|| unknown(id))?;
    let nonce = format!("replay-{:016x}", fastrand::u64(..));
    let message =
        Message::Replay(ReplayMessage { event: event.id.clone(), nonce: nonce.clone(), again, subscription: None });
    let queue = reached.queue().await?;
    queue.send(&message, Duration::ZERO).await.map_err(|error| unreachable("QUEUE_UNAVAILABLE", &error.to_string()))?;
    if json {
        print_json(&json!({"queued": true, "event": event.id, "replay": nonce, "again": again}));
    } else if again {
        say!("{} is queued to be routed again; its tasks act again, under new keys ({nonce}).", event.id);
    } else {
        say!("{} is queued to be routed again; tasks that succeeded stay as they are.", event.id);
    }
    Ok(())
}

fn unknown(id: &str) -> Failure {
    Failure::not_found("UNKNOWN_EVENT", format!("there is no event {id}; `clawbridge events list` shows them"))
}
