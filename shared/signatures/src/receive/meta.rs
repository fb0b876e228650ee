//! Meta's webhooks: Facebook, Instagram, Messenger, WhatsApp. A request has entries, an entry has changes or messages, and a change of WhatsApp's
//! has messages and statuses again. Each becomes an event in an envelope of its own, in the form that Meta documents.
//!
//! - <https://developers.facebook.com/docs/graph-api/webhooks/getting-started>
//! - <https://developers.facebook.com/docs/messenger-platform/webhooks>
//! - <https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/components>

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::Event;
use crate::identify::named;

/// The lists of an entry that hold events.
const LISTS: [&str; 3] = ["changes", "messaging", "standby"];
/// The lists of a WhatsApp change's value that hold events.
const WHATSAPP_LISTS: [&str; 2] = ["messages", "statuses"];
/// What every message to a page has besides what it is.
const OF_EVERY_MESSAGE: [&str; 3] = ["sender", "recipient", "timestamp"];

/// A change or a message as its event's body shows it, with what it is known by.
struct Item {
    value: Value,
    id: Option<String>,
    /// After the object's name: the field, or the list and what kind of message it is.
    kind: String,
}

/// The events of a request, or nothing when it is not of Meta's form.
pub(super) fn events<'a>(body: &[u8]) -> Option<Vec<Event<'a>>> {
    let Value::Object(mut envelope) = serde_json::from_slice(body).ok()? else { return None };
    let object = envelope.get("object")?.as_str()?.to_owned();
    let Value::Array(entries) = envelope.get_mut("entry")?.take() else { return None };
    let event = |entry: Value, id: Option<&str>, kind: &str| {
        let mut one = envelope.clone();
        one.insert("entry".to_owned(), json!([entry]));
        let body = Value::Object(one).to_string().into_bytes();
        Event { identity: named(id.map(str::as_bytes), Some(kind), &body), body: Cow::Owned(body) }
    };
    let mut events = Vec::new();
    for entry in entries {
        let before = events.len();
        let mut rest = entry.as_object().cloned().unwrap_or_default();
        let lists = LISTS.map(|list| (list, taken(&mut rest, list)));
        for (list, values) in lists {
            for item in values.into_iter().flat_map(|value| items(list, value)) {
                let mut one = rest.clone();
                one.insert(list.to_owned(), json!([item.value]));
                events.push(event(Value::Object(one), item.id.as_deref(), &format!("{object}.{}", item.kind)));
            }
        }
        if events.len() == before {
            // Of a form of its own (a user's `changed_fields`): nothing is left behind.
            events.push(event(entry, None, &object));
        }
    }
    Some(events)
}

/// Takes the list out of the members. What is no list stays.
fn taken(members: &mut Map<String, Value>, name: &str) -> Vec<Value> {
    match members.get_mut(name) {
        Some(Value::Array(items)) => {
            let items = std::mem::take(items);
            members.remove(name);
            items
        }
        _ => Vec::new(),
    }
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer)?.as_str().map(str::to_owned)
}

fn items(list: &str, value: Value) -> Vec<Item> {
    if list != "changes" {
        return vec![message(list, value)];
    }
    let kind = text(&value, "/field").unwrap_or_else(|| list.to_owned());
    let single = |value, id| Item { value, id, kind: kind.clone() };
    let split = whatsapp(&value);
    if split.is_empty() {
        vec![single(value, None)]
    } else {
        split.into_iter().map(|(one, id)| single(one, id)).collect()
    }
}

/// A message to a page or an Instagram account. A reaction or a receipt names the message that it is about: only a message itself is known by its
/// id, and one that takes it back by that and the taking back.
fn message(list: &str, value: Value) -> Item {
    let members = value.as_object();
    let kind = members.and_then(|members| members.keys().find(|name| !OF_EVERY_MESSAGE.contains(&name.as_str())));
    let kind = kind.map_or_else(|| list.to_owned(), |kind| format!("{list}.{kind}"));
    let suffix = if value.pointer("/message/is_deleted").is_some() { "-deleted" } else { "" };
    let id = text(&value, "/message/mid").map(|id| id + suffix);
    Item { value, id, kind }
}

/// The messages and statuses of a change of WhatsApp's, each as a change of its own: a later request may group them otherwise, and known by the
/// first of them the others would be lost.
fn whatsapp(change: &Value) -> Vec<(Value, Option<String>)> {
    let mut rest = change.clone();
    let Some(value) = rest.get_mut("value").filter(|value| value["messaging_product"] == "whatsapp") else {
        return Vec::new();
    };
    let Some(members) = value.as_object_mut() else { return Vec::new() };
    let lists = WHATSAPP_LISTS.map(|list| (list, taken(members, list)));
    let mut found = Vec::new();
    for (list, values) in lists {
        for item in values {
            let id = match list {
                // A message is sent, delivered and read.
                "statuses" => {
                    text(&item, "/id").zip(text(&item, "/status")).map(|(id, status)| format!("{id}-{status}"))
                }
                _ => text(&item, "/id"),
            };
            let mut one = rest.clone();
            one["value"][list] = json!([item]);
            found.push((one, id));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Id (`hash` for any), type and body of each.
    fn shown(body: &Value) -> Vec<(String, String, Value)> {
        let events = events(body.to_string().as_bytes()).expect("Meta's form");
        let shown = |event: Event<'_>| {
            let id = if event.identity.is_fallback { "hash".to_owned() } else { event.identity.delivery_id };
            (id, event.identity.event_type, serde_json::from_slice(&event.body).expect("JSON"))
        };
        events.into_iter().map(shown).collect()
    }

    #[test]
    fn whatsapps_messages_and_statuses_are_told_apart() {
        let value = json!({
            "messaging_product": "whatsapp", "metadata": {"phone_number_id": "1"}, "contacts": [{"wa_id": "2"}],
            "messages": [{"id": "wamid.A"}, {"id": "wamid.B"}, {"type": "unsupported"}],
            "statuses": [{"id": "wamid.C", "status": "sent"}, {"id": "wamid.C", "status": "read"}, {"id": "wamid.C"}],
        });
        let request = |value: &Value| json!({"object": "whatsapp_business_account", "entry": [{"id": "w", "changes": [{"value": value, "field": "messages"}]}]});
        let found = shown(&request(&value));
        let ids: Vec<&str> = found.iter().map(|(id, ..)| id.as_str()).collect();
        assert_eq!(ids, ["wamid.A", "wamid.B", "hash", "wamid.C-sent", "wamid.C-read", "hash"]);
        assert!(found.iter().all(|(_, kind, _)| kind == "whatsapp_business_account.messages"));
        let mut alone = value;
        alone.as_object_mut().expect("an object").remove("statuses");
        alone["messages"] = json!([{"id": "wamid.B"}]);
        assert_eq!(found[1].2, request(&alone));
        let other = request(&json!({"messaging_product": "whatsapp", "event": "VERIFIED_ACCOUNT", "messages": []}));
        assert_eq!(shown(&other).len(), 1);
    }

    #[test]
    fn changes_and_messages_are_typed_by_object_and_field() {
        let about = |kind: &str, what: Value| json!({"sender": {"id": "1"}, "recipient": {"id": "2"}, "timestamp": 5, kind: what});
        let messaging = json!([
            about("message", json!({"mid": "m_1", "text": "a"})),
            about("message", json!({"mid": "m_1", "is_deleted": true})),
            about("reaction", json!({"mid": "m_1", "emoji": "x"})),
            7,
        ]);
        let found = shown(&json!({"object": "page", "entry": [
            {"id": "e", "time": 5, "messaging": messaging, "standby": [about("read", json!({"watermark": 1}))]},
            {"id": "f", "changes": [{"field": "feed", "value": {"item": "status"}}, {"value": 1}]},
        ]}));
        let named: Vec<(&str, &str)> = found.iter().map(|(id, kind, _)| (id.as_str(), kind.as_str())).collect();
        assert_eq!(
            named,
            [
                ("m_1", "page.messaging.message"),
                ("m_1-deleted", "page.messaging.message"),
                ("hash", "page.messaging.reaction"),
                ("hash", "page.messaging"),
                ("hash", "page.standby.read"),
                ("hash", "page.feed"),
                ("hash", "page.changes"),
            ]
        );
        assert_eq!(
            found[0].2,
            json!({"object": "page", "entry": [{"id": "e", "time": 5, "messaging": [messaging[0]]}]})
        );
    }

    #[test]
    fn an_entry_of_another_form_is_an_event_as_it_is() {
        let body = json!({"object": "user", "entry": [{"uid": "1", "changed_fields": ["photos"]}, 7, {"changes": {}}, {"messaging": []}]});
        let found = shown(&body);
        assert_eq!(found.len(), 4);
        for ((_, kind, found), entry) in found.iter().zip(body["entry"].as_array().expect("a list")) {
            assert_eq!((kind.as_str(), found), ("user", &json!({"object": "user", "entry": [entry]})));
        }
        assert!(events(b"{\"entry\":[{}]}").is_none() && events(b"[]").is_none());
    }
}
