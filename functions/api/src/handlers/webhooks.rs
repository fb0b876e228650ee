//! Webhooks that the bridge sends: subscriptions, their secrets, pause and resume. What was delivered is in `deliveries`.

use crate::call::Call;
use crate::endpoint::{Endpoint, Kind, Needs, Param, Reply};
use crate::problem::{Code, Field, Problem};
use crate::state::{Api, random};
use aws_sdk_secretsmanager::error::SdkError;
use axum::http::{Method, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clawbridge_access::Wish;
use clawbridge_aws::explain;
use clawbridge_clock::Timestamp;
use clawbridge_outbound::check_endpoint;
use clawbridge_queue::{BridgeEvent, Message, RedeliverMessage};
use clawbridge_registry::{FRESH, SubscriptionChange};
use clawbridge_subscriptions::{
    Document, Filter, MAX_SUBSCRIPTIONS, Reason, Status, Subscription, WrittenSecret, check_pattern, check_secret,
    check_url, is_id,
};
use clawbridge_tasks::Code as TaskCode;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a subscription may do nothing but fail, where it does not say.
const PAUSE_AFTER_S: u64 = 3 * 24 * 60 * 60;

/// For how long the secret before goes on signing, where nobody says.
const OVERLAP_S: u64 = 24 * 60 * 60;

/// What functions know of a subscription is at most so old, and their clocks differ by less than the rest.
const SETTLED: Duration = Duration::from_secs(2 * FRESH.as_secs());

const LIST: &[Param] = &[
    Param {
        name: "limit",
        kind: Kind::Number { min: 1, max: 100, default: Some(20) },
        says: "The most subscriptions of a page.",
    },
    Param { name: "cursor", kind: Kind::Cursor, says: "`next_cursor` of the page before." },
];

const ADMIN: Needs = Needs::Wish(Wish::Administer);

pub(crate) fn endpoints() -> Vec<Endpoint> {
    let shown = &[(200, "Webhook")];
    vec![
        Endpoint::new(
            Method::POST,
            "/api/v1/webhooks",
            "createWebhook",
            "Have the bridge's own events sent to an endpoint. A secret that is made here is shown in this answer alone.",
            ADMIN,
            &[(201, "NewWebhook")],
            |api, call| Box::pin(create(api, call)),
        )
        .body("CreateWebhook")
        .fails(&[409]),
        Endpoint::new(
            Method::GET,
            "/api/v1/webhooks",
            "listWebhooks",
            "List the subscriptions.",
            Needs::Wish(Wish::Look),
            &[(200, "WebhookList")],
            |api, call| Box::pin(list(api, call)),
        )
        .query(LIST),
        Endpoint::new(
            Method::GET,
            "/api/v1/webhooks/{id}",
            "getWebhook",
            "Show a subscription.",
            Needs::Wish(Wish::Look),
            shown,
            |api, call| Box::pin(show(api, call)),
        ),
        Endpoint::new(
            Method::PATCH,
            "/api/v1/webhooks/{id}",
            "updateWebhook",
            "Change a subscription: what is given. Functions know it within five seconds.",
            ADMIN,
            shown,
            |api, call| Box::pin(change(api, call)),
        )
        .body("ChangeWebhook"),
        Endpoint::new(
            Method::DELETE,
            "/api/v1/webhooks/{id}",
            "deleteWebhook",
            "Take a subscription away, with its secret. What was to be tried again is not.",
            ADMIN,
            &[(200, "Deleted")],
            |api, call| Box::pin(delete(api, call)),
        ),
        Endpoint::new(
            Method::POST,
            "/api/v1/webhooks/{id}/pause",
            "pauseWebhook",
            "Deliver nothing until it is resumed; what comes in the meantime is held.",
            ADMIN,
            shown,
            |api, call| Box::pin(pause(api, call)),
        ),
        Endpoint::new(
            Method::POST,
            "/api/v1/webhooks/{id}/resume",
            "resumeWebhook",
            "Deliver again, what was held first. Also for one that was paused because it failed.",
            ADMIN,
            shown,
            |api, call| Box::pin(resume(api, call)),
        )
        .body("ResumeWebhook")
        .fails(&[409]),
        Endpoint::new(
            Method::POST,
            "/api/v1/webhooks/{id}/rotate",
            "rotateWebhookSecret",
            "Put a new secret in use. The one before goes on signing beside it for a time.",
            ADMIN,
            &[(200, "RotatedSecret")],
            |api, call| Box::pin(rotate(api, call)),
        )
        .body("RotateSecret")
        .fails(&[409]),
    ]
}

/// A subscription as callers see it.
pub(crate) fn view(one: &Subscription) -> Value {
    let at = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
    let (status, paused) = match one.status {
        Status::Active => ("active", Value::Null),
        Status::Paused { reason, since } => ("paused", json!({"reason": reason.as_str(), "since": since.rfc3339()})),
    };
    json!({"id": one.id, "url": one.url, "events": one.events, "filter": one.filter, "description": one.description, "status": status,
        "paused": paused, "failures": one.failures, "failing_since": at(one.failing_since), "held_since": at(one.held_since),
        "pause_after_s": one.pause_after.as_secs(), "created_at": one.created_at.rfc3339(), "updated_at": one.updated_at.rfc3339()})
}

/// The subscription that the request is about.
pub(crate) async fn find(api: &Api, call: &Call) -> Result<Subscription, Problem> {
    let id = call.param("id");
    let found = if is_id(id) { api.registry.subscription(id).await? } else { None };
    found.ok_or_else(|| Problem::not_found("webhook"))
}

/// A field that was left out, null, or there.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(field: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(field).map(Some)
}

#[derive(Deserialize)]
struct Wanted {
    url: Option<String>,
    events: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    filter: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
    secret: Option<String>,
    pause_after_s: Option<u64>,
}

/// All that is wrong with what somebody wants; at last whether the address may be called, which takes a look at its name.
async fn check(api: &Api, wanted: &Wanted) -> Result<(), Problem> {
    let mut fields = Vec::new();
    for (place, pattern) in wanted.events.iter().flatten().enumerate() {
        if let Err(error) = check_pattern(pattern) {
            fields.push(Field::new(format!("events.{place}"), error.to_string()));
        }
    }
    if let Some(Some(filter)) = &wanted.filter
        && let Err(error) = Filter::compile(filter)
    {
        fields.push(Field::new("filter", error.to_string()));
    }
    if let Some(secret) = &wanted.secret
        && let Err(error) = check_secret(secret)
    {
        fields.push(Field::new("secret", error.to_string()));
    }
    if let Some(url) = &wanted.url {
        match check_url(url) {
            Ok(url) => {
                let config = api.registry.current().await?.config;
                if let Err(error) = check_endpoint(&config, &url).await {
                    let advice = match error.code {
                        TaskCode::Unavailable => "; check the name, and try again",
                        _ => "",
                    };
                    fields.push(Field::new("url", format!("{}{advice}", error.message)));
                }
            }
            Err(error) => fields.push(Field::new("url", error.to_string())),
        }
    }
    if fields.is_empty() { Ok(()) } else { Err(Problem::fields(fields)) }
}

async fn create(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let wanted: Wanted = call.body()?;
    check(api, &wanted).await?;
    if api.registry.subscriptions_from(None, MAX_SUBSCRIPTIONS).await?.0.len() >= MAX_SUBSCRIPTIONS {
        let message = format!(
            "there are {MAX_SUBSCRIPTIONS} webhooks, and no more; delete one, or send to something that distributes"
        );
        return Err(Problem::new(Code::Conflict, message));
    }
    let new = Subscription {
        id: format!("wh_{}", hex::encode(random::<12>()?)),
        url: wanted.url.unwrap_or_default(),
        events: wanted.events.unwrap_or_default(),
        filter: wanted.filter.flatten(),
        description: wanted.description.flatten(),
        status: Status::Active,
        pause_after: Duration::from_secs(wanted.pause_after_s.unwrap_or(PAUSE_AFTER_S)),
        created_at: call.now,
        updated_at: call.now,
        failures: 0,
        failing_since: None,
        held_since: None,
    };
    let made = if wanted.secret.is_some() { None } else { Some(WrittenSecret::of(random()?)) };
    let secret = wanted.secret.as_deref().or(made.as_ref().map(WrittenSecret::reveal)).unwrap_or_default();
    // The secret first: a subscription without one could deliver nothing.
    let name = secret_name(api, &new.id);
    let document = Document::new(secret, None).write();
    let creating = api.secrets.create_secret().name(&name).secret_string(document);
    creating.send().await.map_err(|error| Problem::unavailable(explain(&error)))?;
    if let Err(error) = api.registry.put_subscription(&new).await {
        delete_secret(api, &new.id).await;
        return Err(error.into());
    }
    let mut body = view(&new);
    if let Some(made) = made {
        body["secret"] = json!(made.reveal());
    }
    let place = format!("/api/v1/webhooks/{}", new.id);
    Ok(Reply::with(StatusCode::CREATED, body).header(header::LOCATION, &place))
}

fn secret_name(api: &Api, id: &str) -> String {
    format!("{}/webhooks/{id}", api.settings.secret_prefix)
}

/// A secret that stays behind costs money and harms nobody: what goes wrong is written down.
async fn delete_secret(api: &Api, id: &str) {
    let deleting = api.secrets.delete_secret().secret_id(secret_name(api, id)).recovery_window_in_days(7);
    if let Err(error) = deleting.send().await {
        crate::note_inside(&explain(&error), id);
    }
}

async fn list(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let wrong = || Problem::field("cursor", "this is no cursor of this list");
    let after = match call.text("cursor") {
        Some(text) => {
            let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
            Some(String::from_utf8(bytes).ok().filter(|id| is_id(id)).ok_or_else(wrong)?)
        }
        None => None,
    };
    let limit = usize::try_from(call.number("limit", 20)).unwrap_or(20);
    let (found, more) = api.registry.subscriptions_from(after.as_deref(), limit).await?;
    let next = found.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(&last.id));
    Ok(Reply::ok(json!({"webhooks": found.iter().map(view).collect::<Vec<_>>(), "next_cursor": next})))
}

async fn show(api: &Api, call: &Call) -> Result<Reply, Problem> {
    Ok(Reply::ok(view(&find(api, call).await?)))
}

async fn change(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let wanted: Wanted = call.body()?;
    let known = find(api, call).await?;
    check(api, &wanted).await?;
    let change = SubscriptionChange {
        url: wanted.url,
        events: wanted.events,
        filter: wanted.filter,
        description: wanted.description,
        pause_after: wanted.pause_after_s.map(Duration::from_secs),
    };
    let changed = api.registry.change_subscription(&known.id, change, call.now).await?;
    changed.map(|one| Reply::ok(view(&one))).ok_or_else(|| Problem::not_found("webhook"))
}

async fn delete(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let id = find(api, call).await?.id;
    if !api.registry.delete_subscription(&id).await? {
        return Err(Problem::not_found("webhook"));
    }
    delete_secret(api, &id).await;
    Ok(Reply::ok(json!({"id": id, "deleted": true})))
}

async fn pause(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let known = find(api, call).await?;
    // Functions go on for seconds; what they deliver meanwhile is known as delivered when it is held as well.
    let paused = api.registry.pause_subscription(&known.id, Reason::Person, call.now, call.now).await?;
    match paused {
        Some(one) => {
            let event = BridgeEvent {
                data: json!({"webhook_id": one.id, "reason": "person", "failures": one.failures, "description": one.description,
                    "failing_since": one.failing_since.map(Timestamp::rfc3339)}),
                ..BridgeEvent::of(
                    "webhook.paused",
                    format!("{}/{}/webhook.paused", one.id, call.now.millis()),
                    call.now,
                )
            };
            api.tell(&event).await;
            Ok(Reply::ok(view(&one)))
        }
        // It was paused before.
        None => Ok(Reply::ok(view(&find(api, call).await?))),
    }
}

#[derive(Deserialize)]
struct Resume {
    #[serde(default = "yes")]
    replay: bool,
}

fn yes() -> bool {
    true
}

async fn resume(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let Resume { replay } = if call.body.is_null() { Resume { replay: true } } else { call.body()? };
    let known = find(api, call).await?;
    let resumed = api.registry.resume_subscription(&known.id, call.now).await?;
    let mut resumed = resumed.ok_or_else(|| Problem::not_found("webhook"))?;
    // Where the queue does not take it, it is still said that something is held, and resuming again sends it.
    if let Some(since) = resumed.held_since {
        if replay {
            let message = RedeliverMessage {
                subscription: resumed.id.clone(),
                since: since.minus(SETTLED),
                until: None,
                after: None,
                nonce: format!("resume-{}", hex::encode(random::<8>()?)),
                again: false,
            };
            // Until then functions may take it for paused and hold what comes: the period ends when the message is worked.
            api.queues.work.send(&Message::Redeliver(message), SETTLED).await?;
        }
        api.registry.held_is_sent(&resumed.id, since).await?;
        resumed.held_since = None;
    }
    if !known.is_active() {
        let event = BridgeEvent {
            data: json!({"webhook_id": resumed.id, "description": resumed.description}),
            ..BridgeEvent::of(
                "webhook.resumed",
                format!("{}/{}/webhook.resumed", resumed.id, call.now.millis()),
                call.now,
            )
        };
        api.tell(&event).await;
    }
    Ok(Reply::ok(view(&resumed)))
}

#[derive(Deserialize, Default)]
struct Rotate {
    secret: Option<String>,
    overlap_s: Option<u64>,
}

async fn rotate(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let wanted: Rotate = if call.body.is_null() { Rotate::default() } else { call.body()? };
    if let Some(secret) = &wanted.secret {
        check_secret(secret).map_err(|error| Problem::field("secret", error.to_string()))?;
    }
    let known = find(api, call).await?;
    let until = call.now.plus(Duration::from_secs(wanted.overlap_s.unwrap_or(OVERLAP_S)));
    let made = if wanted.secret.is_some() { None } else { Some(WrittenSecret::of(random()?)) };
    let secret = wanted.secret.as_deref().or(made.as_ref().map(WrittenSecret::reveal)).unwrap_or_default();
    let document = Document::new(secret, Some(until)).write();
    let putting = api.secrets.put_secret_value().secret_id(secret_name(api, &known.id)).secret_string(document);
    putting.send().await.map_err(|error| match &error {
        SdkError::ServiceError(context) if context.err().is_resource_not_found_exception() => Problem::new(
            Code::Conflict,
            "its secret is not in Secrets Manager any more; delete this webhook and make it anew",
        ),
        _ => Problem::unavailable(explain(&error)),
    })?;
    let mut body = json!({"id": known.id, "previous_until": until.rfc3339()});
    if let Some(made) = made {
        body["secret"] = json!(made.reveal());
    }
    Ok(Reply::ok(body))
}
