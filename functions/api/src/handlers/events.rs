//! Events: what came in, and routing it again.

use crate::call::Call;
use crate::cursor::{Cursor, days, fingerprint};
use crate::endpoint::{Endpoint, Kind, Needs, Param, Reply};
use crate::problem::Problem;
use crate::state::{Api, random};
use axum::http::{Method, StatusCode};
use clawbridge_access::Wish;
use clawbridge_clock::Timestamp;
use clawbridge_events::Listed;
use clawbridge_queue::{Message, ReplayMessage};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Entries of the index that one request looks at.
const MAX_LOOKED_AT: usize = 5_000;

/// The most events that one request has routed again.
const MAX_REPLAYED: usize = 500;

const LIST: &[Param] = &[
    Param { name: "source", kind: Kind::Text, says: "Only events of this source." },
    Param { name: "type", kind: Kind::Text, says: "Only events of this type." },
    Param { name: "since", kind: Kind::Moment, says: "Accepted then or later [default: six days before `until`]." },
    Param { name: "until", kind: Kind::Moment, says: "Accepted then or earlier [default: now]." },
    Param {
        name: "limit",
        kind: Kind::Number { min: 1, max: 100, default: Some(20) },
        says: "The most events of a page.",
    },
    Param { name: "cursor", kind: Kind::Cursor, says: "`next_cursor` of the page before." },
];

pub(crate) fn endpoints() -> Vec<Endpoint> {
    const LOOK: Needs = Needs::Token("read, or source:NAME of its source");
    vec![
        Endpoint::new(
            Method::GET,
            "/api/v1/events",
            "listEvents",
            "List events, the newest first. With source:NAME, `source` must be it.",
            LOOK,
            &[(200, "EventList")],
            |api, call| Box::pin(list(api, call)),
        )
        .query(LIST),
        Endpoint::new(
            Method::POST,
            "/api/v1/events/replay",
            "replayEvents",
            "Have the events of a period routed again.",
            Needs::Wish(Wish::Replay),
            &[(200, "Replays"), (202, "Replays")],
            |api, call| Box::pin(replay_many(api, call)),
        )
        .body("ReplayMany"),
        Endpoint::new(
            Method::GET,
            "/api/v1/events/{id}",
            "getEvent",
            "Show an event with its body.",
            LOOK,
            &[(200, "Event")],
            |api, call| Box::pin(show(api, call)),
        ),
        Endpoint::new(
            Method::POST,
            "/api/v1/events/{id}/replay",
            "replayEvent",
            "Have an event routed again.",
            Needs::Wish(Wish::Replay),
            &[(202, "Replays")],
            |api, call| Box::pin(replay(api, call)),
        )
        .body("Again"),
    ]
}

fn view(event: &Listed) -> Value {
    json!({"id": event.id, "source": event.source, "type": event.r#type, "delivery_id": event.delivery_id,
        "received_at": event.received_at.rfc3339()})
}

/// Which events somebody means.
struct Filter<'a> {
    source: Option<&'a str>,
    kind: Option<&'a str>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Filter<'_> {
    fn fits(&self, event: &Listed) -> bool {
        self.source.is_none_or(|source| event.source == source)
            && self.kind.is_none_or(|kind| event.r#type == kind)
            && self.since.is_none_or(|since| event.received_at >= since)
            && self.until.is_none_or(|until| event.received_at <= until)
    }
}

async fn list(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let source = call.text("source");
    if !call.may(Wish::Look) && !source.is_some_and(|source| call.may(Wish::LookAtSource(source))) {
        return Err(Problem::forbidden("read, or source:NAME together with the parameter `source`"));
    }
    let filter = Filter { source, kind: call.text("type"), since: call.moment("since"), until: call.moment("until") };
    let names = ["source", "type", "since", "until"];
    let list = fingerprint(&[&[Some("events")][..], &names.map(|name| call.text(name))].concat());
    let days = days(filter.since, filter.until, call.now)?;
    let cursor = call.text("cursor").map(|text| Cursor::read(text, &list, &days)).transpose()?;
    let limit = usize::try_from(call.number("limit", 20)).unwrap_or(20);
    let (events, next) = gather(api, &filter, &days, cursor, &list, limit).await?;
    let events: Vec<Value> = events.iter().map(view).collect();
    Ok(Reply::ok(json!({"events": events, "next_cursor": next.map(|cursor| cursor.write())})))
}

/// Up to `limit` events of these days that fit, and where it goes on.
async fn gather(
    api: &Api,
    filter: &Filter<'_>,
    days: &[String],
    cursor: Option<Cursor>,
    list: &str,
    limit: usize,
) -> Result<(Vec<Listed>, Option<Cursor>), Problem> {
    let mut after = cursor.as_ref().and_then(|cursor| cursor.after.clone());
    let first = cursor.map_or(0, |cursor| days.iter().position(|day| *day == cursor.day).unwrap_or(0));
    let (mut events, mut looked_at) = (Vec::new(), 0);
    for day in &days[first..] {
        loop {
            let behind = after.as_ref().map(|(at, id)| (*at, id.as_str()));
            let (page, next) = api.events.page(day, behind, 200).await?;
            looked_at += 200;
            for event in page {
                if !filter.fits(&event) {
                    continue;
                }
                if events.len() == limit {
                    return Ok((events, Some(Cursor { list: list.to_owned(), day: day.clone(), after })));
                }
                after = Some((event.received_at.millis(), event.id.clone()));
                events.push(event);
            }
            after = next;
            if after.is_none() {
                break;
            }
            if looked_at >= MAX_LOOKED_AT {
                return Ok((events, Some(Cursor { list: list.to_owned(), day: day.clone(), after })));
            }
        }
    }
    Ok((events, None))
}

async fn show(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let event = find(api, call).await?;
    let event = event.filter(|event| call.may(Wish::LookAtSource(&event.source)));
    let event = event.ok_or_else(|| Problem::not_found("event"))?;
    let mut view = event.view();
    view["repeats"] = json!(event.repeats);
    view["hops"] = json!(event.hops);
    view["trace_id"] = json!(event.trace.map(|trace| trace.trace_id().to_string()));
    Ok(Reply::ok(view))
}

/// Ids of events only: what else the table holds under `id` are pieces of bodies.
async fn find(api: &Api, call: &Call) -> Result<Option<clawbridge_events::Event>, Problem> {
    let id = call.param("id");
    if !id.starts_with("evt_") || id.len() > 64 {
        return Ok(None);
    }
    Ok(api.events.get(id).await?)
}

#[derive(Deserialize, Default)]
struct Again {
    #[serde(default)]
    again: bool,
}

async fn replay(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let Again { again } = if call.body.is_null() { Again::default() } else { call.body()? };
    let event = find(api, call).await?.ok_or_else(|| Problem::not_found("event"))?;
    let nonce = nonce()?;
    let message = Message::Replay(ReplayMessage { event: event.id, nonce: nonce.clone(), again, subscription: None });
    api.queues.work.send(&message, Duration::ZERO).await?;
    Ok(Reply::with(StatusCode::ACCEPTED, json!({"events": 1, "dry_run": false, "more": false, "replay": nonce})))
}

fn nonce() -> Result<String, Problem> {
    Ok(format!("replay-{}", hex::encode(random::<8>()?)))
}

#[derive(Deserialize)]
struct ReplayMany {
    source: Option<String>,
    r#type: Option<String>,
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
    let since = Some(moment("since", &wanted.since)?);
    let until = wanted.until.as_deref().map(|text| moment("until", text)).transpose()?;
    let filter = Filter { source: wanted.source.as_deref(), kind: wanted.r#type.as_deref(), since, until };
    let days = days(since, until, call.now)?;
    let (events, more) = gather(api, &filter, &days, None, "", MAX_REPLAYED).await?;
    let (count, more) = (events.len(), more.is_some());
    if wanted.dry_run {
        return Ok(Reply::ok(json!({"events": count, "dry_run": true, "more": more, "replay": null})));
    }
    if more {
        let message = format!(
            "there are more than {MAX_REPLAYED} such events, or too many to look through; choose a shorter period"
        );
        return Err(Problem::field("since", message));
    }
    let nonce = nonce()?;
    let text = |event: Listed| {
        Message::Replay(ReplayMessage {
            event: event.id,
            nonce: nonce.clone(),
            again: wanted.again,
            subscription: None,
        })
        .encode()
    };
    let texts = events.into_iter().map(text).collect::<Result<Vec<String>, _>>().map_err(Problem::unavailable)?;
    api.queues.work.send_texts(texts).await?;
    Ok(Reply::with(StatusCode::ACCEPTED, json!({"events": count, "dry_run": false, "more": false, "replay": nonce})))
}
