//! What a verified request is: a handshake, or one event or many, each with an identity of its own.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::code::{salesforce, sns};
use crate::handshake::{Reply, answer};
use crate::identify::{Identity, identify, named};
use crate::mac::fingerprint;
use crate::pick::pick;
use crate::source::Source;
use crate::verify::Verified;

/// How a provider puts several events into one request, or names the one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batch {
    /// One event, named as the row says.
    One,
    /// One event that says only that there is something to fetch, without an id: equal ones within a minute are one.
    Hint,
    GoogleChannel,
    Telegram,
    HubSpot,
    Graph,
    SendGrid,
    Meta,
    Okta,
    Salesforce,
}

/// One event of a verified request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its name and type.
    pub identity: Identity,
    /// Its body: the request's own, or, where the request has several events, the part that is this one's.
    pub body: Cow<'a, [u8]>,
}

/// What a verified request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// Events, at least one. When all of them are on the queue the sender is answered with `reply`, or in the bridge's own words.
    Events {
        /// In the order of the request.
        events: Vec<Event<'a>>,
        /// The answer that the provider needs.
        reply: Option<Reply>,
    },
    /// A handshake that the provider signs: no event.
    Handshake(Reply),
    /// A subscription that begins when its address is called (SNS): call it, then answer; no event. The address has passed the
    /// provider's rule.
    Confirm {
        /// To be called with GET, without redirects.
        url: String,
        /// The answer.
        reply: Reply,
    },
}

/// What Salesforce takes for an answer; a 200 without it is repeated for a day.
const SALESFORCE_ACK: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
    <soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\"><soapenv:Body>\
    <notificationsResponse xmlns=\"http://soap.sforce.com/2005/09/outbound\"><Ack>true</Ack></notificationsResponse>\
    </soapenv:Body></soapenv:Envelope>";

/// Reads what a verified request holds. `source` is the one that it was verified with.
///
/// A batch that is not of its provider's form is one event with the whole body: it was signed, so it is not dropped.
pub fn receive<'a>(source: &Source, verified: &Verified<'a>, now_unix_seconds: i64) -> Received<'a> {
    if let Some(reply) = answer(source, verified) {
        return Received::Handshake(reply);
    }
    let body = verified.body();
    let whole = || Event { identity: identify(source, verified), body: Cow::Borrowed(body) };
    let header = |name: &str| verified.headers().one(name).ok().flatten().unwrap_or_default();
    let batch = source.scheme().entry().batch;
    let events = match batch {
        Batch::One => {
            if let Some(url) = sns::confirmation(body).filter(|_| source.scheme().name() == "aws-sns") {
                return Received::Confirm { url, reply: Reply::empty(200) };
            }
            None
        }
        Batch::Hint => {
            let minute = now_unix_seconds.div_euclid(60).to_be_bytes();
            let id = fingerprint(&[body, &minute].concat());
            Some(vec![Event { identity: Identity { delivery_id: id, ..whole().identity }, ..whole() }])
        }
        Batch::GoogleChannel => {
            let id = [header("X-Goog-Channel-ID"), header("X-Goog-Message-Number")].join(&b'-');
            let kind = String::from_utf8_lossy(header("X-Goog-Resource-State")).into_owned();
            Some(vec![Event { identity: named(Some(&id), Some(&kind), body), ..whole() }])
        }
        Batch::Telegram => {
            let members: Option<Map<String, Value>> = serde_json::from_slice(body).ok();
            let kind =
                members.and_then(|members| members.into_iter().map(|(name, _)| name).find(|name| name != "update_id"));
            let own = whole().identity;
            let event_type = kind.map_or(own.event_type, |kind| named(None, Some(&kind), body).event_type);
            Some(vec![Event { identity: Identity { event_type, ..own }, ..whole() }])
        }
        Batch::HubSpot => items(body).map(|items| items.into_iter().map(hubspot).collect()),
        Batch::SendGrid => items(body).map(|items| items.into_iter().map(sendgrid).collect()),
        Batch::Graph => Some(graph(body)),
        Batch::Meta => meta(body),
        Batch::Okta => okta(body),
        Batch::Salesforce => salesforce::notifications(body).ok().map(|notifications| {
            let event = |notification: &salesforce::Notification| {
                let body = notification.to_json();
                let identity = named(Some(notification.id().as_bytes()), notification.object_type(), &body);
                Event { identity, body: Cow::Owned(body) }
            };
            notifications.iter().map(event).collect()
        }),
    };
    let reply = (batch == Batch::Salesforce).then(|| Reply {
        status: 200,
        content_type: Some("text/xml"),
        body: SALESFORCE_ACK.as_bytes().to_vec(),
    });
    let events = events.filter(|events| !events.is_empty()).unwrap_or_else(|| vec![whole()]);
    Received::Events { events: told_apart(events), reply }
}

/// Two items of one request with one id and different contents are two events: what an id of the provider's repeats (HubSpot documents that
/// its may) must not be lost.
fn told_apart(mut events: Vec<Event<'_>>) -> Vec<Event<'_>> {
    for index in 1..events.len() {
        let (before, rest) = events.split_at_mut(index);
        let [event, ..] = rest else { break };
        let twin =
            |other: &Event<'_>| other.identity.delivery_id == event.identity.delivery_id && other.body != event.body;
        if before.iter().any(twin) {
            event.identity.delivery_id = fingerprint(&[event.identity.delivery_id.as_bytes(), &event.body].concat());
        }
    }
    events
}

/// The items of a list, each as it was written.
fn items(body: &[u8]) -> Option<Vec<&[u8]>> {
    let items: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
    Some(items.into_iter().map(|item| item.get().as_bytes()).collect())
}

fn hubspot(item: &[u8]) -> Event<'_> {
    let pointers = ["/eventId", "/subscriptionId", "/occurredAt", "/objectId", "/subscriptionType"];
    let [event, subscription, at, object, kind] = pick(item, pointers.map(Some));
    // The event's id alone is documented not to be unique.
    let id = match (event, subscription, at) {
        (Some(event), Some(subscription), Some(at)) => {
            Some(format!("{event}-{subscription}-{at}-{}", object.unwrap_or_default()))
        }
        _ => None,
    };
    Event { identity: named(id.as_deref().map(str::as_bytes), kind.as_deref(), item), body: Cow::Borrowed(item) }
}

fn sendgrid(item: &[u8]) -> Event<'_> {
    let [id, kind] = pick(item, [Some("/sg_event_id"), Some("/event")]);
    Event { identity: named(id.as_deref().map(str::as_bytes), kind.as_deref(), item), body: Cow::Borrowed(item) }
}

#[derive(Deserialize)]
struct Notifications {
    value: Vec<Map<String, Value>>,
}

/// The notifications, each without the `clientState`, which is the source's secret.
fn graph<'a>(body: &[u8]) -> Vec<Event<'a>> {
    // Verification has read it: there is at least one.
    let notifications = serde_json::from_slice(body).map_or_else(|_| Vec::new(), |read: Notifications| read.value);
    let event = |mut item: Map<String, Value>| {
        item.remove("clientState");
        let text = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
        let kind = match text("lifecycleEvent") {
            Some(lifecycle) => Some(format!("lifecycle.{lifecycle}")),
            None => text("changeType"),
        };
        let id = text("id");
        let body = Value::Object(item).to_string().into_bytes();
        let identity = named(id.as_deref().map(str::as_bytes), kind.as_deref(), &body);
        Event { identity, body: Cow::Owned(body) }
    };
    notifications.into_iter().map(event).collect()
}

/// Each change or message in an envelope of its own, in the form that Meta documents.
fn meta<'a>(body: &[u8]) -> Option<Vec<Event<'a>>> {
    let envelope: Value = serde_json::from_slice(body).ok()?;
    let object = envelope.get("object")?.as_str()?;
    let mut events = Vec::new();
    for entry in envelope.get("entry")?.as_array()? {
        for list in ["changes", "messaging"] {
            for item in entry.get(list).and_then(Value::as_array).into_iter().flatten() {
                let mut one = entry.as_object()?.clone();
                one.retain(|name, _| name != "changes" && name != "messaging");
                one.insert(list.to_owned(), json!([item]));
                let body = json!({ "object": object, "entry": [one] }).to_string().into_bytes();
                let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str);
                let many =
                    |pointer: &str| item.pointer(pointer).and_then(Value::as_array).is_some_and(|list| list.len() > 1);
                // Several messages in one change are named by their bytes.
                let id = match text("/value/messages/0/id").filter(|_| !many("/value/messages")) {
                    Some(id) => Some(id.to_owned()),
                    None => text("/message/mid").map(str::to_owned),
                };
                let kind = text("/field").unwrap_or(list);
                let identity = named(id.as_deref().map(str::as_bytes), Some(kind), &body);
                events.push(Event { identity, body: Cow::Owned(body) });
            }
        }
    }
    Some(events)
}

/// Each of `data.events` in an envelope of its own.
fn okta<'a>(body: &[u8]) -> Option<Vec<Event<'a>>> {
    let envelope: Value = serde_json::from_slice(body).ok()?;
    let events = envelope.pointer("/data/events")?.as_array()?;
    let event = |item: &Value| {
        let mut one = envelope.clone();
        one["data"]["events"] = json!([item]);
        let body = one.to_string().into_bytes();
        let text = |name: &str| item.get(name).and_then(Value::as_str);
        let identity = named(text("uuid").map(str::as_bytes), text("eventType"), &body);
        Event { identity, body: Cow::Owned(body) }
    };
    Some(events.iter().map(event).collect())
}
