//! What was delivered to subscriptions, and delivering it again.

use super::webhooks::find;
use crate::call::Call;
use crate::cursor::{Cursor, days, fingerprint};
use crate::endpoint::{Endpoint, Kind, Needs, Param, Reply};
use crate::problem::{Code, Problem};
use crate::state::{Api, random};
use axum::http::{Method, StatusCode, header};
use clawbridge_access::Wish;
use clawbridge_clock::Timestamp;
use clawbridge_queue::{BRIDGE_SOURCE, Message, Priority, RedeliverMessage, ReplayMessage, SubmitMessage};
use clawbridge_submit::Waited;
use clawbridge_subscriptions::Subscription;
use clawbridge_tasks::{Origin, Place, Record, State, task_id};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Entries of an index that one request looks at: tasks, and events.
const MAX_TASKS: usize = 300;
const MAX_EVENTS: usize = 5_000;

/// How long a test's answer is waited for. API Gateway gives up after 30 s.
const TEST_PATIENCE: Duration = Duration::from_secs(20);

const STATUSES: &[&str] = &["pending", "delivered", "failed", "cancelled"];

const LIST: &[Param] = &[
    Param { name: "status", kind: Kind::Word(STATUSES), says: "Only deliveries that are so." },
    Param {
        name: "since",
        kind: Kind::Moment,
        says: "Begun on this UTC day or later [default: six days before `until`].",
    },
    Param { name: "until", kind: Kind::Moment, says: "Begun on this UTC day or earlier [default: now]." },
    Param {
        name: "limit",
        kind: Kind::Number { min: 1, max: 100, default: Some(20) },
        says: "The most deliveries of a page. It may have fewer and still a next one.",
    },
    Param { name: "cursor", kind: Kind::Cursor, says: "`next_cursor` of the page before." },
];

pub(crate) fn endpoints() -> Vec<Endpoint> {
    const ADMIN: Needs = Needs::Wish(Wish::Administer);
    vec![
        Endpoint::new(
            Method::POST,
            "/api/v1/webhooks/{id}/test",
            "testWebhook",
            "Deliver an event `webhook.test` now, once, and wait for what comes of it. Also where the subscription is paused.",
            ADMIN,
            &[(200, "Delivery"), (202, "Delivery")],
            |api, call| Box::pin(test(api, call)),
        )
        .fails(&[409]),
        Endpoint::new(
            Method::GET,
            "/api/v1/webhooks/{id}/deliveries",
            "listDeliveries",
            "List what was delivered, or was to be, the last first, with each attempt and the beginning of what was answered.",
            Needs::Wish(Wish::Look),
            &[(200, "DeliveryList")],
            |api, call| Box::pin(list(api, call)),
        )
        .query(LIST),
        Endpoint::new(
            Method::POST,
            "/api/v1/webhooks/{id}/deliveries/{delivery}/replay",
            "replayDelivery",
            "Deliver an event again, whatever came of it before. Its webhook-id stays the same.",
            ADMIN,
            &[(202, "Replays")],
            |api, call| Box::pin(replay_one(api, call)),
        )
        .fails(&[409]),
        Endpoint::new(
            Method::POST,
            "/api/v1/webhooks/{id}/replay",
            "replayWebhook",
            "Deliver the events of a period that did not arrive; with `again`, those that did as well. Counts them first, unless told otherwise.",
            ADMIN,
            &[(200, "Replays"), (202, "Replays")],
            |api, call| Box::pin(replay_many(api, call)),
        )
        .body("ReplayWebhook")
        .fails(&[409]),
    ]
}

fn status(state: State) -> &'static str {
    match state {
        State::Queued | State::Running | State::Waiting | State::Unknown => "pending",
        State::Succeeded => "delivered",
        State::Failed | State::Parked => "failed",
        State::Cancelled => "cancelled",
    }
}

/// A delivery as callers see it.
fn view(task: &Record) -> Value {
    let last = task.attempts.len();
    let attempts: Vec<Value> = task
        .attempts
        .iter()
        .enumerate()
        .map(|(place, one)| {
            let result = task.result.as_ref().filter(|_| place + 1 == last && task.state == State::Succeeded);
            let status = one
                .status
                .map_or_else(|| result.map_or(Value::Null, |result| result["status"].clone()), |status| json!(status));
            let body = one
                .answer
                .as_ref()
                .map_or_else(|| result.map_or(Value::Null, |result| result["body"].clone()), |body| json!(body));
            json!({"at": one.at.rfc3339(), "ms": one.ms, "status": status, "code": one.code, "body": body})
        })
        .collect();
    let error = task.error.as_ref().filter(|_| task.state != State::Succeeded).map(|error| error.message.as_str());
    json!({"id": task.id, "event_id": task.input["id"], "event": task.input["event"], "status": status(task.state), "attempts": attempts,
        "error": error, "next_attempt_at": task.retry_at.map(Timestamp::rfc3339), "created_at": task.created_at.rfc3339(),
        "updated_at": task.updated_at.rfc3339()})
}

async fn test(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let webhook = find(api, call).await?;
    let id = format!("test_{}", hex::encode(random::<12>()?));
    let data = json!({"webhook_id": webhook.id, "message": "A test that somebody asked for."});
    let input = json!({"id": id, "event": "webhook.test", "timestamp": call.now.rfc3339(), "data": data});
    let (tool, task) = (webhook.tool(), task_id(&webhook.tool(), &id));
    let message = Message::Submit(SubmitMessage {
        tool,
        key: id.clone(),
        input,
        submitter: call.submitter(),
        priority: Priority::Interactive,
        trace: Some(call.trace),
    });
    api.queues.send(&message, Duration::ZERO).await?;
    match api.desk.wait(&task, None, TEST_PATIENCE).await? {
        Waited::Ended(record) | Waited::Conflict(record) => Ok(Reply::ok(view(&record))),
        Waited::TimeOver(record) => {
            let pending =
                json!({"id": task, "event_id": id, "event": "webhook.test", "status": "pending", "attempts": []});
            Ok(Reply::with(StatusCode::ACCEPTED, record.map_or(pending, |record| view(&record))))
        }
    }
}

async fn list(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let tool = find(api, call).await?.tool();
    let days = days(call.moment("since"), call.moment("until"), call.now)?;
    let list = fingerprint(&[Some(&tool), call.text("status"), call.text("since"), call.text("until")]);
    let cursor = call.text("cursor").map(|text| Cursor::read(text, &list, &days)).transpose()?;
    let limit = usize::try_from(call.number("limit", 20)).unwrap_or(20);
    let first = cursor.as_ref().map_or(0, |cursor| days.iter().position(|day| *day == cursor.day).unwrap_or(0));
    let mut after = cursor.and_then(|cursor| cursor.after).map(|(at, id)| Place { at, id });
    let (mut found, mut looked_at) = (Vec::new(), 0);
    for day in &days[first..] {
        loop {
            let page = api.tasks.page(day, None, after.as_ref(), 50).await?;
            looked_at += 50;
            for (record, place) in page.records.iter().zip(&page.places) {
                if record.tool != tool || call.text("status").is_some_and(|wanted| wanted != status(record.state)) {
                    continue;
                }
                if found.len() == limit {
                    return Ok(page_of(found, list, day, after));
                }
                found.push(view(record));
                after = Some(place.clone());
            }
            after = page.next;
            if after.is_none() {
                break;
            }
            if looked_at >= MAX_TASKS {
                return Ok(page_of(found, list, day, after));
            }
        }
    }
    Ok(Reply::ok(json!({"deliveries": found, "next_cursor": null})))
}

fn page_of(found: Vec<Value>, list: String, day: &str, after: Option<Place>) -> Reply {
    let cursor = Cursor { list, day: day.to_owned(), after: after.map(|place| (place.at, place.id)) };
    Reply::ok(json!({"deliveries": found, "next_cursor": cursor.write()}))
}

fn nonce() -> Result<String, Problem> {
    Ok(format!("replay-{}", hex::encode(random::<8>()?)))
}

/// A subscription that can get something now.
async fn find_active(api: &Api, call: &Call) -> Result<Subscription, Problem> {
    let webhook = find(api, call).await?;
    if webhook.is_active() {
        return Ok(webhook);
    }
    Err(Problem::new(Code::Conflict, "the webhook is paused; resume it first"))
}

async fn replay_one(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let webhook = find_active(api, call).await?;
    let delivery = call.param("delivery");
    let known =
        if delivery.starts_with("task_") && delivery.len() <= 64 { api.tasks.get(delivery).await? } else { None };
    let record = known.filter(|record| record.tool == webhook.tool()).ok_or_else(|| Problem::not_found("delivery"))?;
    let Some(event) = record.origin.as_ref().and_then(Origin::event) else {
        return Err(Problem::new(Code::Conflict, "a test is not delivered again; make another one"));
    };
    if api.events.get(event).await?.is_none() {
        return Err(Problem::new(Code::Conflict, "the event is not kept any more"));
    }
    let nonce = nonce()?;
    let message = ReplayMessage {
        event: event.to_owned(),
        nonce: nonce.clone(),
        again: true,
        subscription: Some(webhook.id.clone()),
    };
    api.queues.work.send(&Message::Replay(message), Duration::ZERO).await?;
    let body = json!({"events": 1, "dry_run": false, "more": false, "replay": nonce});
    let place = format!("/api/v1/webhooks/{}/deliveries", webhook.id);
    Ok(Reply::with(StatusCode::ACCEPTED, body).header(header::LOCATION, &place))
}

#[derive(Deserialize)]
struct ReplayMany {
    since: String,
    until: Option<String>,
    #[serde(default)]
    again: bool,
    #[serde(default = "yes")]
    dry_run: bool,
}

fn yes() -> bool {
    true
}

async fn replay_many(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let wanted: ReplayMany = call.body()?;
    let moment = |path: &str, text: &str| {
        Timestamp::parse_rfc3339(text).ok_or_else(|| Problem::field(path, "a time as in RFC 3339 is wanted"))
    };
    let since = moment("since", &wanted.since)?;
    let until =
        wanted.until.as_deref().map(|text| moment("until", text)).transpose()?.unwrap_or(call.now).min(call.now);
    let days = days(Some(since), Some(until), call.now)?;
    let webhook = if wanted.dry_run { find(api, call).await? } else { find_active(api, call).await? };
    let (events, more) = count(api, &webhook, &days, since, until).await?;
    if wanted.dry_run {
        return Ok(Reply::ok(json!({"events": events, "dry_run": true, "more": more, "replay": null})));
    }
    let nonce = nonce()?;
    let message = RedeliverMessage {
        subscription: webhook.id,
        since,
        until: Some(until),
        after: None,
        nonce: nonce.clone(),
        again: wanted.again,
    };
    api.queues.work.send(&Message::Redeliver(message), Duration::ZERO).await?;
    Ok(Reply::with(StatusCode::ACCEPTED, json!({"events": events, "dry_run": false, "more": more, "replay": nonce})))
}

/// How many events of the period are of the subscription's types, and whether there may be more than were looked at. Its filter is asked
/// when they are delivered.
async fn count(
    api: &Api,
    webhook: &Subscription,
    days: &[String],
    since: Timestamp,
    until: Timestamp,
) -> Result<(usize, bool), Problem> {
    let (mut events, mut looked_at) = (0, 0);
    for day in days {
        let mut after: Option<(i64, String)> = None;
        loop {
            if looked_at >= MAX_EVENTS {
                return Ok((events, true));
            }
            let behind = after.as_ref().map(|(at, id)| (*at, id.as_str()));
            let (page, next) = api.events.between(day, (since, until), behind, 1000).await?;
            looked_at += 1000;
            events += page.iter().filter(|one| one.source == BRIDGE_SOURCE && webhook.wants_type(&one.r#type)).count();
            after = next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok((events, false))
}
