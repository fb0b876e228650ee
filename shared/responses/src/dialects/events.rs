//! `response.*` events as agents' sides write them, whatever is around them.

use super::Said;
use crate::json::text;
use crate::model::{Phase, Usage};
use crate::{AgentEvent, AgentFunctionCall, AgentKey, SessionId, words};
use clawbridge_clock::Timestamp;
use serde_json::Value;

/// What differs between those who write them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// A delta may hold the whole text so far.
    cumulative: bool,
    /// An empty text at the end means that there is none. Otherwise it means nothing.
    empty_is_known: bool,
}

impl Style {
    /// Connectors that do not know what they have sent.
    pub(crate) const LENIENT: Style = Style { cumulative: false, empty_is_known: false };
    /// The same, with deltas that grow.
    pub(crate) const CUMULATIVE: Style = Style { cumulative: true, empty_is_known: false };
    /// The OpenClaw gateway.
    pub(crate) const STRICT: Style = Style { cumulative: false, empty_is_known: true };
}

/// Reads an event, or the final object of an answer that is not streamed.
pub(super) fn said(event: &Value, style: Style) -> Said {
    let nested = event.get("response");
    let member = |name: &str| text(event, name).or_else(|| nested.and_then(|response| text(response, name)));
    let key = text(event, "response_id").or_else(|| nested.and_then(|response| text(response, "id"))).or_else(|| {
        let is_object = event.get("object").and_then(Value::as_str) == Some("response");
        text(event, "id").filter(|_| is_object)
    });
    let metadata = event.get("metadata").or_else(|| nested.and_then(|response| response.get("metadata")));
    let session = metadata.and_then(|metadata| text(metadata, "session_id")).or_else(|| member("session_id"));
    let sent_at = match event.get("timestamp") {
        Some(Value::String(at)) => Timestamp::parse_rfc3339(at),
        Some(Value::Number(at)) => at.as_i64().map(Timestamp::from_millis),
        _ => None,
    };
    Said {
        key: key.and_then(|key| AgentKey::new(key).ok()),
        session: session.and_then(|session| SessionId::new(session).ok()),
        sent_at,
        events: read(event, style),
    }
}

/// What an event says. Nothing, if it is of a type without meaning here.
pub(crate) fn read(event: &Value, style: Style) -> Vec<AgentEvent> {
    let response = event.get("response").filter(|response| response.is_object()).unwrap_or(event);
    match event.get("type").and_then(Value::as_str) {
        Some("response.created" | "response.queued" | "response.in_progress") => vec![AgentEvent::Began],
        Some("response.output_item.added") => event.get("item").map(item_added).unwrap_or_default(),
        Some("response.output_text.delta" | "response.refusal.delta") => delta(event, style),
        Some("response.output_text.done") => text_done(text(event, "text")),
        Some("response.refusal.done") => text_done(text(event, "refusal")),
        Some("response.content_part.done") => text_done(event.get("part").and_then(part_text)),
        Some("response.output_item.done") => event.get("item").map(item_done).unwrap_or_default(),
        Some("response.completed") => ended(response, "completed", style),
        Some("response.failed" | "error") => ended(response, "failed", style),
        Some("response.incomplete") => ended(response, "incomplete", style),
        Some("response.cancelled") => vec![AgentEvent::Incomplete { reason: "cancelled".to_owned() }],
        None if event.get("object").and_then(Value::as_str) == Some("response") => ended(event, "completed", style),
        _ => Vec::new(),
    }
}

fn delta(event: &Value, style: Style) -> Vec<AgentEvent> {
    let delta = match event.get("delta") {
        Some(Value::String(delta)) => delta.as_str(),
        Some(delta) => delta.get("text").and_then(Value::as_str).unwrap_or_default(),
        None => "",
    };
    match delta {
        "" => Vec::new(),
        text if style.cumulative => vec![AgentEvent::Cumulative { text: text.to_owned() }],
        text => vec![AgentEvent::Text { text: text.to_owned() }],
    }
}

/// An empty text is none: what it might take back, it does not know.
fn text_done(text: Option<&str>) -> Vec<AgentEvent> {
    vec![AgentEvent::TextDone { text: text.filter(|text| !text.is_empty()).map(str::to_owned) }]
}

fn phase(item: &Value) -> Option<Phase> {
    match item.get("phase").and_then(Value::as_str) {
        Some("commentary") => Some(Phase::Commentary),
        Some("final_answer") => Some(Phase::FinalAnswer),
        _ => None,
    }
}

fn item_added(item: &Value) -> Vec<AgentEvent> {
    if item.get("type").and_then(Value::as_str) != Some("message") {
        // A function call is whole when it is done.
        return Vec::new();
    }
    let mut events = vec![AgentEvent::ItemAdded { key: text(item, "id").map(str::to_owned), phase: phase(item) }];
    let text = message_text(item);
    if !text.is_empty() {
        events.push(AgentEvent::Snapshot { text });
    }
    events
}

fn item_done(item: &Value) -> Vec<AgentEvent> {
    match item.get("type").and_then(Value::as_str) {
        Some("message") => {
            let added = AgentEvent::ItemAdded { key: text(item, "id").map(str::to_owned), phase: phase(item) };
            std::iter::once(added).chain(text_done(Some(&message_text(item)))).collect()
        }
        Some("function_call") => function_call(item).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn function_call(item: &Value) -> Option<AgentEvent> {
    Some(AgentEvent::FunctionCall(AgentFunctionCall {
        call_id: text(item, "call_id").or_else(|| text(item, "id"))?.to_owned(),
        name: text(item, "name")?.to_owned(),
        arguments: match item.get("arguments") {
            Some(Value::String(arguments)) => arguments.clone(),
            Some(arguments @ Value::Object(_)) => arguments.to_string(),
            _ => "{}".to_owned(),
        },
    }))
}

fn part_text(part: &Value) -> Option<&str> {
    text(part, "text").or_else(|| text(part, "refusal"))
}

fn message_text(item: &Value) -> String {
    match item.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(part_text).collect(),
        _ => String::new(),
    }
}

fn ended(response: &Value, by_type: &str, style: Style) -> Vec<AgentEvent> {
    // Some have said `response.completed` of what had failed. The status knows.
    let status = match (text(response, "status"), by_type) {
        (Some(status @ ("failed" | "incomplete" | "cancelled")), _) => status,
        (_, by_type) => by_type,
    };
    let items = match response.get("output") {
        Some(Value::Array(items)) => Some(items),
        Some(output) => output.get("items").and_then(Value::as_array),
        None => None,
    };
    let is = |item: &&Value, kind: &str| item.get("type").and_then(Value::as_str) == Some(kind);
    let messages = || items.into_iter().flatten().filter(|item| is(item, "message"));
    let all: String = match text(response, "output_text") {
        Some(all) => all.to_owned(),
        None => messages().map(message_text).collect(),
    };
    let mut events: Vec<AgentEvent> =
        items.into_iter().flatten().filter(|item| is(item, "function_call")).filter_map(function_call).collect();
    let is_known = !all.is_empty() || (style.empty_is_known && items.is_some());
    let end = match status {
        "completed" => AgentEvent::Completed { text: is_known.then_some(all), usage: usage(response) },
        status => {
            if !all.is_empty() {
                events.push(AgentEvent::TextDone { text: Some(all) });
            }
            if status == "failed" { failed(response) } else { incomplete(response, status) }
        }
    };
    events.push(end);
    events
}

fn usage(response: &Value) -> Option<Usage> {
    response.get("usage").and_then(|usage| serde_json::from_value(usage.clone()).ok())
}

fn incomplete(response: &Value, status: &str) -> AgentEvent {
    let reason = response.pointer("/incomplete_details/reason").and_then(Value::as_str).unwrap_or(status);
    AgentEvent::Incomplete { reason: words::code(reason) }
}

/// The error's code and its message. Its `details` hold stack traces and are not looked at.
pub(crate) fn failed(response: &Value) -> AgentEvent {
    let error = response.get("error").unwrap_or(response);
    let code = text(error, "code").or_else(|| text(error, "type").filter(|_| response.get("error").is_some()));
    let message = error.as_str().or_else(|| text(error, "message")).unwrap_or_default();
    AgentEvent::Failed { code: words::code(code.unwrap_or_default()), message: words::message(message) }
}
