//! What a verified request is: a handshake, or one event or many, each with an identity of its own.

mod meta;

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::code::{salesforce, sns};
use crate::handshake::{Reply, answer};
use crate::identify::{Identity, UNKNOWN_TYPE, identify, named};
use crate::mac::fingerprint;
use crate::pick::pick;
use crate::source::Source;
use crate::verify::Verified;

/// How a provider puts several events into one request, or names the one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batch {
    /// One event, named as the row says.
    One,
    /// One event that says only that there is something to fetch, without an id: equal ones within a second are one.
    Hint,
    /// One event. Where its type is nowhere else, it is the name of the first member that is none of these.
    Member(&'static [&'static str]),
    GoogleChannel,
    Discord,
    Twitch,
    HubSpot,
    Graph,
    SendGrid,
    Meta,
    Okta,
    Line,
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
    let batch = source.scheme().entry().batch;
    let one = |identity: Identity| {
        let is_hint = identity.is_fallback && (batch == Batch::Hint || body.is_empty());
        let identity = if is_hint { identity.at(now_unix_seconds) } else { identity };
        Event { identity, body: Cow::Borrowed(body) }
    };
    let typed = |kind: &str| {
        let event_type = named(None, Some(kind), b"").event_type;
        Some(vec![one(Identity { event_type, ..identify(source, verified) })])
    };
    let header = |name: &str| verified.headers().one(name).ok().flatten().unwrap_or_default();
    let mut reply = None;
    let events = match batch {
        Batch::One => {
            if let Some(url) = sns::confirmation(body).filter(|_| source.scheme().name() == "aws-sns") {
                return Received::Confirm { url, reply: Reply::empty(200) };
            }
            None
        }
        Batch::Hint => None,
        Batch::Member(besides) => member(body, besides)
            .filter(|_| identify(source, verified).event_type == UNKNOWN_TYPE)
            .and_then(|kind| typed(&kind)),
        Batch::GoogleChannel => {
            let parts = [header("X-Goog-Channel-ID"), header("X-Goog-Message-Number")];
            // A number without its channel is that of any channel.
            let id = parts.iter().all(|part| !part.is_empty()).then(|| parts.join(&b':'));
            let kind = String::from_utf8_lossy(header("X-Goog-Resource-State"));
            Some(vec![one(named(id.as_deref(), Some(&kind), body))])
        }
        Batch::Discord => {
            let (kind, answer) = discord(body);
            reply = answer;
            kind.and_then(typed)
        }
        // A subscription has ended, which is nothing like one more event of it.
        Batch::Twitch if header("Twitch-Eventsub-Message-Type") == b"revocation" => {
            typed(&format!("revocation.{}", identify(source, verified).event_type))
        }
        Batch::Twitch => None,
        Batch::HubSpot => items(body).map(|items| items.into_iter().map(hubspot).collect()),
        Batch::SendGrid => items(body).map(|items| items.into_iter().map(sendgrid).collect()),
        Batch::Graph => Some(graph(body, now_unix_seconds)),
        Batch::Meta => meta::events(body),
        Batch::Okta => enveloped(body, "/data/events", "uuid", "eventType"),
        Batch::Line => enveloped(body, "/events", "webhookEventId", "type"),
        Batch::Salesforce => salesforce::notifications(body).ok().map(|notifications| {
            let event = |notification: &salesforce::Notification| {
                let body = notification.to_json();
                let identity = named(Some(notification.id().as_bytes()), notification.object_type(), &body);
                Event { identity, body: Cow::Owned(body) }
            };
            notifications.iter().map(event).collect()
        }),
    };
    if batch == Batch::Salesforce {
        let body = SALESFORCE_ACK.as_bytes().to_vec();
        reply = Some(Reply { status: 200, content_type: Some("text/xml"), body });
    }
    let events = events.filter(|events| !events.is_empty()).unwrap_or_else(|| vec![one(identify(source, verified))]);
    Received::Events { events: told_apart(events), reply }
}

/// Two items of one request with one id and different contents are two events: what an id of the provider's repeats (HubSpot documents that
/// its may) must not be lost.
fn told_apart(mut events: Vec<Event<'_>>) -> Vec<Event<'_>> {
    if events.len() < 2 {
        return events;
    }
    let mut seen: HashMap<String, [u8; 32]> = HashMap::with_capacity(events.len());
    for event in &mut events {
        let contents: [u8; 32] = Sha256::digest(&event.body).into();
        let id = &mut event.identity.delivery_id;
        match seen.get(id.as_str()) {
            None => drop(seen.insert(id.clone(), contents)),
            Some(first) if *first == contents => {}
            Some(_) => *id = fingerprint(&[id.as_bytes(), &event.body].concat()),
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
///
/// Without an id one is known by what has changed and to which version (`@odata.etag`); what does not say that either is a hint.
fn graph<'a>(body: &[u8], now_unix_seconds: i64) -> Vec<Event<'a>> {
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
        let version = item.get("resourceData").and_then(|data| data.get("@odata.etag")).cloned();
        let change =
            version.map(|version| json!([text("subscriptionId"), text("resource"), kind, version]).to_string());
        let body = Value::Object(item).to_string().into_bytes();
        let identity = match (id, change) {
            (Some(id), _) => named(Some(id.as_bytes()), kind.as_deref(), &body),
            (None, Some(change)) => named(None, kind.as_deref(), change.as_bytes()),
            (None, None) => named(None, kind.as_deref(), &body).at(now_unix_seconds),
        };
        Event { identity, body: Cow::Owned(body) }
    };
    notifications.into_iter().map(event).collect()
}

/// Each item of the list at `pointer` in an envelope of its own, known by its own members `id` and `kind`.
fn enveloped<'a>(body: &[u8], pointer: &str, id: &str, kind: &str) -> Option<Vec<Event<'a>>> {
    let mut envelope: Value = serde_json::from_slice(body).ok()?;
    let Value::Array(items) = envelope.pointer_mut(pointer)?.take() else { return None };
    let mut events = Vec::with_capacity(items.len());
    for item in items {
        let text = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
        let (id, kind) = (text(id), text(kind));
        let mut one = envelope.clone();
        *one.pointer_mut(pointer)? = json!([item]);
        let body = one.to_string().into_bytes();
        let identity = named(id.as_deref().map(str::as_bytes), kind.as_deref(), &body);
        events.push(Event { identity, body: Cow::Owned(body) });
    }
    Some(events)
}

/// The name of the first member that is none of these.
fn member(body: &[u8], besides: &[&str]) -> Option<String> {
    let members: Map<String, Value> = serde_json::from_slice(body).ok()?;
    members.into_iter().map(|(name, _)| name).find(|name| !name.is_empty() && !besides.contains(&name.as_str()))
}

/// The type of an interaction of Discord's, and what Discord must hear within three seconds of it or of an event
/// (<https://docs.discord.com/developers/interactions/receiving-and-responding#interaction-response-object-interaction-callback-type>).
///
/// To the person who waits, an interaction that is not answered in kind has failed: a command or a form is told that an answer follows (5), a
/// component that its message may be edited (6). Whoever acts on the event has 15 minutes and the interaction's token for it. The choices of an
/// autocompletion cannot be promised.
fn discord(body: &[u8]) -> (Option<&'static str>, Option<Reply>) {
    let [kind, event] = pick(body, [Some("/type"), Some("/event/type")]);
    if event.is_some() {
        return (None, Some(Reply::empty(204)));
    }
    let promise = |callback: u8| Some(Reply::json(&json!({ "type": callback })));
    match kind.as_deref() {
        Some("2") => (Some("interaction.application_command"), promise(5)),
        Some("3") => (Some("interaction.message_component"), promise(6)),
        Some("4") => (Some("interaction.application_command_autocomplete"), None),
        Some("5") => (Some("interaction.modal_submit"), promise(5)),
        _ => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Scheme;
    use crate::verify::verify;
    use crate::{Options, Outgoing, Request, sign};

    const NOW: i64 = 1_790_000_000;

    /// As `look` finds it. Discord's own key is nobody's: its events are looked at by [`discord`].
    fn received<T>(
        scheme: &str,
        fields: &[(&str, &str)],
        body: &str,
        now: i64,
        look: impl FnOnce(Received<'_>) -> T,
    ) -> T {
        let secret = if scheme == "airtable" { "AAAA" } else { "k" };
        let scheme = Scheme::parse(scheme).expect(scheme);
        let source = Source::new(scheme, vec![secret.to_owned()], Options::default()).expect("a source");
        let body = body.as_bytes();
        let outgoing = Outgoing { method: "POST", url: None, body, delivery_id: "d", event_type: None };
        let signed = sign(&source, &outgoing, NOW).expect("headers");
        let own = signed.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let own = own.filter(|(name, _)| !fields.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)));
        let headers = own.chain(fields.iter().copied()).map(|(name, value)| (name, value.as_bytes())).collect();
        let request = Request { method: "POST", url: None, query: "", headers, body };
        let verified = verify(&source, &request, NOW).expect("verified");
        look(receive(&source, &verified, now))
    }

    /// Ids and types.
    fn events(scheme: &str, fields: &[(&str, &str)], body: &str, now: i64) -> Vec<(String, String)> {
        received(scheme, fields, body, now, |received| match received {
            Received::Events { events, .. } => {
                let identities = events.into_iter().map(|event| event.identity);
                identities.map(|identity| (identity.delivery_id, identity.event_type)).collect()
            }
            other => panic!("{other:?}"),
        })
    }

    fn only(scheme: &str, fields: &[(&str, &str)], body: &str, now: i64) -> (String, String) {
        let found = events(scheme, fields, body, now);
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().expect("one")
    }

    #[test]
    fn two_equal_hints_are_two_events_and_two_equal_bodies_are_one() {
        let hint = r#"{"list_folder":{"accounts":["dbid:AAH4f99T0taONFbNO56Ru6wQQq-aVsd8"]}}"#;
        let etag = r#"{"value":[{"clientState":"k","resource":"r","resourceData":{"@odata.etag":"W/1"}}]}"#;
        let graph = r#"{"value":[{"clientState":"k","resource":"r","changeType":"updated"}]}"#;
        for (scheme, body, is_hint) in [
            ("dropbox", hint, true),
            ("airtable", "{}", true),
            ("openclaw", hint, false),
            ("openclaw", "", true),
            ("microsoft-graph", etag, false),
            ("microsoft-graph", graph, true),
        ] {
            let id = |now| only(scheme, &[], body, now).0;
            assert_eq!(id(NOW), id(NOW), "{scheme} {body}");
            assert_eq!(id(NOW) != id(NOW + 1), is_hint, "{scheme} {body}");
        }
    }

    #[test]
    fn a_graph_notification_without_an_id_is_known_by_its_version() {
        let body = |etag: &str, expires: u8| {
            format!(
                r#"{{"value":[{{"clientState":"k","resource":"r","subscriptionExpirationDateTime":"{expires}","resourceData":{{"@odata.etag":"{etag}"}}}}]}}"#
            )
        };
        let id = |etag, expires| only("microsoft-graph", &[], &body(etag, expires), NOW).0;
        // The subscription was renewed between the first delivery and the second.
        assert_eq!(id("1", 1), id("1", 2));
        assert_ne!(id("1", 1), id("2", 1));
    }

    #[test]
    fn a_channels_message_is_known_by_channel_and_number() {
        let fields =
            [("X-Goog-Channel-ID", "c-1"), ("X-Goog-Message-Number", "4"), ("X-Goog-Resource-State", "exists")];
        assert_eq!(only("google-channel", &fields, "", NOW), ("c-1:4".to_owned(), "exists".to_owned()));
        let (first, second) =
            (only("google-channel", &fields[1..], "", NOW), only("google-channel", &fields[1..], "", NOW + 9));
        assert!(first.0.starts_with("sha256:") && first.0 != second.0);
    }

    #[test]
    fn the_type_can_be_the_name_of_a_member() {
        for (scheme, body, kind) in [
            ("telegram", r#"{"update_id":1,"message":{"text":"a"}}"#, "message"),
            ("telegram", r#"{"callback_query":{},"update_id":1}"#, "callback_query"),
            ("telegram", r#"{"update_id":1}"#, "unknown"),
            ("telegram", r#"{"update_id":1,"":2}"#, "unknown"),
            ("telegram", "[]", "unknown"),
            ("x", r#"{"for_user_id":"1","user_has_blocked":false,"tweet_create_events":[]}"#, "tweet_create_events"),
            ("x", r#"{"data":{"event_uuid":"7","event_type":"post.create"},"other":1}"#, "post.create"),
        ] {
            assert_eq!(only(scheme, &[], body, NOW).1, kind, "{body}");
        }
        assert_eq!(only("x", &[], r#"{"data":{"event_uuid":"7"}}"#, NOW).0, "7");
    }

    #[test]
    fn the_end_of_a_subscription_of_twitchs_has_a_type_of_its_own() {
        let stamp = ("Twitch-Eventsub-Subscription-Type", "channel.follow");
        for (message, kind) in [("notification", "channel.follow"), ("revocation", "revocation.channel.follow")] {
            let fields = [stamp, ("Twitch-Eventsub-Message-Type", message)];
            assert_eq!(only("twitch", &fields, "{}", NOW), ("d".to_owned(), kind.to_owned()));
        }
    }

    #[test]
    fn the_events_of_one_request_are_told_apart_and_a_request_without_any_is_answered() {
        let body = r#"{"destination":"U1","events":[{"type":"message","webhookEventId":"a"},{"type":"follow","webhookEventId":"b"},{"type":"x"}]}"#;
        let found = events("line", &[], body, NOW);
        assert_eq!(found[..2], [("a".to_owned(), "message".to_owned()), ("b".to_owned(), "follow".to_owned())]);
        assert!(found.len() == 3 && found[2].0.starts_with("sha256:"), "{found:?}");
        received("line", &[], body, NOW, |received| {
            let Received::Events { events, .. } = received else { panic!("{received:?}") };
            let second: Value = serde_json::from_slice(&events[1].body).expect("JSON");
            assert_eq!(second, json!({"destination": "U1", "events": [{"type": "follow", "webhookEventId": "b"}]}));
        });
        received("line", &[], r#"{"destination":"U1","events":[]}"#, NOW, |received| {
            assert_eq!(received, Received::Handshake(Reply::empty(200)));
        });
        for (scheme, body) in [("line", r#"{"events":{}}"#), ("line", "[]"), ("okta", r#"{"data":{"events":[]}}"#)] {
            received(scheme, &[], body, NOW, |received| {
                let Received::Events { events, .. } = received else { panic!("{received:?}") };
                assert!(events.len() == 1 && events[0].body == body.as_bytes(), "{body}: {events:?}");
            });
        }
    }

    #[test]
    fn discord_hears_in_time_that_an_answer_follows() {
        for (body, kind, answer) in [
            (r#"{"type":2}"#, Some("interaction.application_command"), Some((200, r#"{"type":5}"#))),
            (r#"{"type":3}"#, Some("interaction.message_component"), Some((200, r#"{"type":6}"#))),
            (r#"{"type":4}"#, Some("interaction.application_command_autocomplete"), None),
            (r#"{"type":5}"#, Some("interaction.modal_submit"), Some((200, r#"{"type":5}"#))),
            (r#"{"type":1,"event":{"type":"APPLICATION_AUTHORIZED"}}"#, None, Some((204, ""))),
            (r#"{"type":9}"#, None, None),
            ("not JSON", None, None),
        ] {
            let (found, reply) = discord(body.as_bytes());
            let reply = reply.map(|reply| (reply.status, String::from_utf8(reply.body).expect("text")));
            assert_eq!((found, reply), (kind, answer.map(|(status, body)| (status, body.to_owned()))), "{body}");
        }
    }
}
