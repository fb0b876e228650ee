//! The complete resource as JSON.
//!
//! The specification's schema requires every member, null where it allows null and a value where it does not: a client that
//! validates strictly refuses a resource with one missing.

use super::{ItemStatus, Message, Phase, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The members that requests may set and responses repeat, with what the resource says where the request said nothing.
pub(crate) fn defaults() -> Map<String, Value> {
    let defaults = json!({
        "truncation": "disabled",
        "parallel_tool_calls": true,
        "text": {"format": {"type": "text"}},
        "top_p": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "top_logprobs": 0,
        "temperature": 1.0,
        "reasoning": null,
        "max_output_tokens": null,
        "max_tool_calls": null,
        "service_tier": "default",
        "safety_identifier": null,
        "prompt_cache_key": null,
    });
    match defaults {
        Value::Object(defaults) => defaults,
        _ => Map::new(),
    }
}

impl Response {
    /// The resource, every member present.
    #[must_use]
    pub fn resource(&self) -> Value {
        let settings = &self.settings;
        let tools: Vec<Value> = settings.tools.iter().map(tool).collect();
        let mut resource = json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created_at.seconds(),
            "completed_at": self.completed_at.map(|at| at.seconds()),
            "status": self.status.as_str(),
            "incomplete_details": self.incomplete_reason.as_ref().map(|reason| json!({"reason": reason})),
            "model": settings.model,
            "previous_response_id": settings.previous_response_id,
            "instructions": settings.instructions,
            "output": self.output,
            "error": self.error,
            "tools": tools,
            "tool_choice": settings.tool_choice,
            "usage": self.usage,
            "store": settings.store,
            "background": false,
            "metadata": settings.metadata,
        });
        if let Value::Object(members) = &mut resource {
            for (name, default) in defaults() {
                let value = settings.repeated.get(&name).cloned().unwrap_or(default);
                members.insert(name, value);
            }
        }
        resource
    }
}

fn tool(tool: &super::FunctionTool) -> Value {
    json!({
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    })
}

/// A message as the resource has it.
#[derive(Serialize, Deserialize)]
pub(super) struct MessageForm {
    id: String,
    status: ItemStatus,
    role: String,
    content: Vec<PartForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phase: Option<Phase>,
}

#[derive(Serialize, Deserialize)]
struct PartForm {
    #[serde(rename = "type")]
    kind: String,
    text: String,
    annotations: Vec<Value>,
    logprobs: Vec<Value>,
}

/// A part of a message as the resource has it.
pub(super) fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

impl From<Message> for MessageForm {
    fn from(message: Message) -> MessageForm {
        // A message that has just begun has no part yet.
        let begun = !(message.status == ItemStatus::InProgress && message.text.is_empty());
        let part = PartForm {
            kind: "output_text".to_owned(),
            text: message.text,
            annotations: Vec::new(),
            logprobs: Vec::new(),
        };
        MessageForm {
            id: message.id,
            status: message.status,
            role: "assistant".to_owned(),
            content: if begun { vec![part] } else { Vec::new() },
            phase: message.phase,
        }
    }
}

impl TryFrom<MessageForm> for Message {
    type Error = &'static str;

    fn try_from(form: MessageForm) -> Result<Message, &'static str> {
        if form.role != "assistant" {
            return Err("a message of an output is the assistant's");
        }
        let text = form.content.into_iter().map(|part| part.text).collect();
        Ok(Message { id: form.id, status: form.status, text, phase: form.phase })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Item, Settings, Status};
    use crate::{ResponseId, SessionId};
    use clawbridge_clock::Timestamp;

    /// What the specification's schema requires of a resource, and whether null is allowed.
    const REQUIRED: [(&str, bool); 31] = [
        ("id", false),
        ("object", false),
        ("created_at", false),
        ("completed_at", true),
        ("status", false),
        ("incomplete_details", true),
        ("model", false),
        ("previous_response_id", true),
        ("instructions", true),
        ("output", false),
        ("error", true),
        ("tools", false),
        ("tool_choice", false),
        ("truncation", false),
        ("parallel_tool_calls", false),
        ("text", false),
        ("top_p", false),
        ("presence_penalty", false),
        ("frequency_penalty", false),
        ("top_logprobs", false),
        ("temperature", false),
        ("reasoning", true),
        ("usage", true),
        ("max_output_tokens", true),
        ("max_tool_calls", true),
        ("store", false),
        ("background", false),
        ("service_tier", false),
        ("metadata", false),
        ("safety_identifier", true),
        ("prompt_cache_key", true),
    ];

    fn response() -> Response {
        let (id, session) = (ResponseId::new("resp_1").unwrap(), SessionId::new("s").unwrap());
        Response::new(id, session, Timestamp::from_millis(1_795_222_385_999), Settings::of_model("agent"))
    }

    #[test]
    fn every_member_is_there_and_null_only_where_it_may_be() {
        let resource = response().resource();
        for (name, nullable) in REQUIRED {
            let value = resource.get(name).unwrap_or_else(|| panic!("{name} is missing"));
            assert!(nullable || !value.is_null(), "{name} is null");
        }
        assert_eq!(resource.as_object().unwrap().len(), REQUIRED.len(), "{resource}");
        assert_eq!(resource["created_at"], 1_795_222_385);
    }

    #[test]
    fn what_the_request_asked_for_is_repeated() {
        let mut response = response();
        response.settings.repeated.insert("temperature".into(), json!(0.25));
        response.settings.repeated.insert("max_output_tokens".into(), json!(99));
        let resource = response.resource();
        assert_eq!((&resource["temperature"], &resource["max_output_tokens"]), (&json!(0.25), &json!(99)));
    }

    #[test]
    fn a_response_is_written_and_read_back() {
        let mut response = response();
        response.status = Status::Completed;
        response.output.push(Item::Message(Message {
            id: "msg_1_0".into(),
            status: ItemStatus::Completed,
            text: "hello".into(),
            phase: Some(Phase::FinalAnswer),
        }));
        let written = serde_json::to_string(&response).unwrap();
        assert_eq!(serde_json::from_str::<Response>(&written).unwrap(), response);
        assert_eq!(
            response.resource()["output"],
            json!([{"type": "message", "id": "msg_1_0", "status": "completed", "role": "assistant", "phase": "final_answer",
                "content": [{"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}]}])
        );
    }
}
