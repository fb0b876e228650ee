//! The schemas of bodies and answers: requests are checked with them, and the OpenAPI document has them.

mod agents;
mod connections;
mod skills;

use clawbridge_subscriptions::{MAX_DESCRIPTION_CHARS, MAX_OVERLAP, MAX_PATTERNS, MAX_URL_BYTES};
use serde_json::{Value, json};

/// By name. `Anything` is any JSON.
pub(crate) fn schemas() -> Value {
    let mut all = most();
    for more in [skills::schemas(), connections::schemas()] {
        if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
            all.extend(more);
        }
    }
    all
}

/// An object with these fields and no others.
#[allow(clippy::needless_pass_by_value)]
fn closed(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// A list under `key`, with what else stands beside it.
fn list(key: &str, item: &str, more: Value) -> Value {
    let mut properties = more;
    properties[key] = json!({"type": "array", "items": reference(item)});
    closed(properties, &[key])
}

fn most() -> Value {
    let text = || json!({"type": "string"});
    let maybe_text = || json!({"type": ["string", "null"]});
    let moment = || json!({"type": "string", "format": "date-time"});
    let maybe_moment = || json!({"type": ["string", "null"], "format": "date-time"});
    let count = || json!({"type": "integer", "minimum": 0});
    let name = || json!({"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z0-9._-]+$"});
    let status =
        json!({"enum": ["queued", "running", "waiting", "unknown", "completed", "failed", "parked", "cancelled"]});
    let error = json!({"type": ["object", "null"], "properties": {"code": text(), "message": text(), "status": {"type": ["integer", "null"]}},
        "required": ["code", "message"], "additionalProperties": false});
    let field =
        closed(json!({"path": text(), "message": text(), "line": count(), "column": count()}), &["path", "message"]);
    let queue =
        closed(json!({"waiting": count(), "running": count(), "delayed": count()}), &["waiting", "running", "delayed"]);
    let codes: Vec<&str> = crate::problem::Code::ALL.iter().map(|code| code.as_str()).collect();
    let token = json!({"name": text(), "scopes": {"type": "array", "items": text()}, "created_at": moment(),
        "expires_at": maybe_moment(), "last_used_at": maybe_moment(),
        "rate": {"type": ["string", "null"], "description": "null: the stack's."}, "burst": {"type": ["integer", "null"]}});
    let mut new_token = token.clone();
    new_token["token"] = text();
    let names: &[&str] = &["name", "scopes", "created_at", "expires_at", "last_used_at"];
    let mut schemas = json!({
        "Anything": {},
        "Error": closed(json!({"error": closed(json!({"code": {"enum": codes}, "message": text(), "request_id": text(),
            "retry_after": count(), "fields": {"type": "array", "items": field}}), &["code", "message", "request_id"])}), &["error"]),
        "Status": closed(json!({"status": {"enum": ["ok", "degraded"]}, "version": text(),
            "uptime_s": {"type": "integer", "description": "Of the environment that answers."}, "config_version": count(), "tools": count(),
            "agents": closed(json!({"online": count()}), &["online"]),
            "queues": closed(json!({"work": queue, "interactive": queue, "dead": queue}), &["work", "interactive", "dead"])}),
            &["status", "version", "uptime_s", "config_version", "tools", "agents", "queues"]),
        "CreateTask": {"type": "object", "properties": {"tool": text(), "input": {}, "prompt": {"type": "string", "minLength": 1}, "agent": name(),
            "session": {"type": "string", "minLength": 1, "maxLength": 64,
                "description": "The conversation that it belongs to, among those of the token; `group:NAME` is the group's. Left out: one of its own."},
            "instructions": {"type": "string", "minLength": 1},
            "options": {"type": "object", "properties": {"model": text(), "max_tokens": {"type": "integer", "minimum": 1}, "working_directory": text(), "agent": name()}, "additionalProperties": false}},
            "additionalProperties": false,
            "oneOf": [{"required": ["tool"], "not": {"anyOf": [{"required": ["prompt"]}, {"required": ["options"]}, {"required": ["agent"]},
                    {"required": ["session"]}, {"required": ["instructions"]}]}},
                {"required": ["prompt"], "not": {"anyOf": [{"required": ["tool"]}, {"required": ["input"]}]}}]},
        "Task": closed(json!({"id": text(), "status": status, "tool": text(), "idempotency_key": text(), "event": maybe_text(), "route": maybe_text(),
            "submitter": maybe_text(), "input": {}, "attempt": count(), "attempts": {"type": "array", "items": {"type": "object"}}, "error": error,
            "next_attempt_at": maybe_moment(), "trace_id": maybe_text(), "created_at": moment(), "updated_at": moment()}),
            &["id", "status", "tool", "created_at"]),
        "TaskList": list("tasks", "Task", json!({"next_cursor": maybe_text()})),
        "TaskResult": closed(json!({"id": text(), "status": status, "tool": text(), "output": {}, "output_omitted": {"type": "boolean"},
            "error": error, "duration_ms": count(), "completed_at": moment()}), &["id", "status", "tool", "output", "error", "duration_ms", "completed_at"]),
        "Asked": closed(json!({"id": text(), "status": status, "asked": {"const": true}, "after_attempt": count()}), &["id", "status", "asked", "after_attempt"]),
        "Reason": closed(json!({"reason": {"type": "string", "maxLength": 500}}), &[]),
        "Settle": closed(json!({"decision": {"enum": ["done", "fail", "retry"]}, "result": {}, "reason": {"type": "string", "maxLength": 500}}), &["decision"]),
        "Tool": closed(json!({"name": text(), "description": maybe_text(), "method": maybe_text(), "effect": maybe_text(), "input": {}, "output": {}}), &["name", "effect", "input", "output"]),
        "ToolList": list("tools", "Tool", json!({})),
        "Invoke": closed(json!({"input": {}}), &[]),
        "SkillInvoke": closed(json!({"action": {"type": "string", "minLength": 1}, "payload": {}}), &["action"]),
        "ListedEvent": closed(json!({"id": text(), "source": text(), "type": text(), "delivery_id": text(), "received_at": moment()}),
            &["id", "source", "type", "delivery_id", "received_at"]),
        "EventList": list("events", "ListedEvent", json!({"next_cursor": maybe_text()})),
        "Event": closed(json!({"id": text(), "source": text(), "type": text(), "delivery_id": text(), "received_at": moment(), "headers": {"type": "object"},
            "body": {}, "repeats": count(), "hops": count(), "trace_id": maybe_text()}), &["id", "source", "type", "delivery_id", "received_at", "body"]),
        "Again": closed(json!({"again": {"type": "boolean", "description": "Act again even where a task succeeded."}}), &[]),
        "ReplayMany": closed(json!({"source": text(), "type": text(), "since": moment(), "until": moment(), "again": {"type": "boolean"},
            "dry_run": {"type": "boolean", "default": true, "description": "Count them; do nothing."}}), &["since"]),
        "Replays": closed(json!({"events": count(), "dry_run": {"type": "boolean"}, "more": {"type": "boolean"}, "replay": maybe_text()}), &["events", "dry_run", "more", "replay"]),
        "Document": {"type": "object", "description": "As bridge.toml."},
        "Config": closed(json!({"version": count(), "config": reference("Document")}), &["version", "config"]),
        "Applied": closed(json!({"version": count(), "changed": {"type": "boolean"}, "warnings": {"type": "array", "items": text()}}), &["version", "changed", "warnings"]),
        "Version": closed(json!({"version": count(), "applied_at": moment()}), &["version", "applied_at"]),
        "VersionList": list("versions", "Version", json!({"next_before": {"type": ["integer", "null"]}})),
        "Rollback": closed(json!({"version": {"type": "integer", "minimum": 1}}), &["version"]),
        "ConfigDiff": closed(json!({"from": count(), "to": count(), "differences": {"type": "array",
            "items": closed(json!({"path": text(), "before": {}, "after": {}}), &["path", "before", "after"])}}), &["from", "to", "differences"]),
        "Source": closed(json!({"name": text(), "path": text()}), &["name", "path"]),
        "SourceList": list("sources", "Source", json!({})),
        "CreateToken": closed(json!({"name": name(), "scopes": {"type": "array", "items": text(), "minItems": 1, "maxItems": 50}, "expires_at": moment(),
            "rate": {"type": "string", "description": "10/s, 600/min or 5000/h", "maxLength": 20}, "burst": {"type": "integer", "minimum": 1, "maximum": clawbridge_access::Rate::MAX}}), &["name", "scopes"]),
        "Token": closed(token, names),
        "NewToken": closed(new_token, &["name", "token", "scopes"]),
        "TokenList": list("tokens", "Token", json!({})),
        "Revoked": closed(json!({"name": text(), "revoked": {"const": true}}), &["name", "revoked"]),
    });
    for more in [webhook_schemas(), agents::schemas()] {
        if let (Some(all), Value::Object(more)) = (schemas.as_object_mut(), more) {
            all.extend(more);
        }
    }
    schemas
}

/// Those of subscriptions and deliveries.
fn webhook_schemas() -> Value {
    let text = || json!({"type": "string"});
    let maybe_text = || json!({"type": ["string", "null"]});
    let moment = || json!({"type": "string", "format": "date-time"});
    let maybe_moment = || json!({"type": ["string", "null"], "format": "date-time"});
    let count = || json!({"type": "integer", "minimum": 0});
    let with = |mut properties: Value, name: &str, schema: Value| {
        properties[name] = schema;
        properties
    };
    let url = json!({"type": "string", "minLength": 1, "maxLength": MAX_URL_BYTES, "description": "https; http where [network] allow has the address."});
    let events = json!({"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 100}, "minItems": 1, "maxItems": MAX_PATTERNS,
        "description": "Types of events, or patterns of them: task.*"});
    let filter = json!({"type": ["string", "null"], "minLength": 1, "maxLength": 4096,
        "description": "A jq program over the payload: only where it gives true is it delivered."});
    let description = json!({"type": ["string", "null"], "maxLength": MAX_DESCRIPTION_CHARS});
    let pause_after = json!({"type": "integer", "minimum": 1, "maximum": 2_592_000,
        "description": "Seconds without anything but failures until it is paused [default: three days]."});
    let secret = json!({"type": "string", "description": "16 to 256 visible ASCII characters; what begins with whsec_ is base64 behind it."});
    let set_up = json!({"url": url, "events": events, "filter": filter, "description": description, "pause_after_s": pause_after});
    let mut changeable = closed(set_up.clone(), &[]);
    changeable["minProperties"] = json!(1);
    let paused = json!({"type": ["object", "null"], "properties": {"reason": {"enum": ["person", "failing", "gone"]}, "since": moment()},
        "required": ["reason", "since"], "additionalProperties": false});
    let webhook = json!({"id": text(), "url": text(), "events": {"type": "array", "items": text()}, "filter": maybe_text(),
        "description": maybe_text(), "status": {"enum": ["active", "paused"]}, "paused": paused, "failures": count(), "failing_since": maybe_moment(),
        "held_since": maybe_moment(), "pause_after_s": count(), "created_at": moment(), "updated_at": moment()});
    let names: &[&str] = &["id", "url", "events", "status", "paused", "failures", "created_at", "updated_at"];
    let attempt = closed(
        json!({"at": moment(), "ms": count(), "status": {"type": ["integer", "null"]}, "code": maybe_text(), "body": maybe_text()}),
        &["at", "ms", "status", "code", "body"],
    );
    json!({
        "CreateWebhook": closed(with(set_up, "secret", secret.clone()), &["url", "events"]),
        "ChangeWebhook": changeable,
        "Webhook": closed(webhook.clone(), names),
        "NewWebhook": closed(with(webhook, "secret", json!({"type": "string", "description": "Only where it was made here."})), names),
        "WebhookList": closed(json!({"webhooks": {"type": "array", "items": reference("Webhook")}, "next_cursor": maybe_text()}), &["webhooks"]),
        "Deleted": closed(json!({"id": text(), "deleted": {"const": true}}), &["id", "deleted"]),
        "ResumeWebhook": closed(json!({"replay": {"type": "boolean", "default": true, "description": "Deliver what was held."}}), &[]),
        "RotateSecret": closed(json!({"secret": secret, "overlap_s": {"type": "integer", "minimum": 0, "maximum": MAX_OVERLAP.as_secs(),
            "description": "Seconds for which the secret before goes on signing [default: a day]."}}), &[]),
        "RotatedSecret": closed(json!({"id": text(), "secret": text(), "previous_until": moment()}), &["id", "previous_until"]),
        "Delivery": closed(json!({"id": text(), "event_id": text(), "event": text(), "status": {"enum": ["pending", "delivered", "failed", "cancelled"]},
            "attempts": {"type": "array", "items": attempt}, "error": maybe_text(), "next_attempt_at": maybe_moment(), "created_at": moment(),
            "updated_at": moment()}), &["id", "event_id", "event", "status", "attempts"]),
        "DeliveryList": closed(json!({"deliveries": {"type": "array", "items": reference("Delivery")}, "next_cursor": maybe_text()}), &["deliveries"]),
        "ReplayWebhook": closed(json!({"since": moment(), "until": moment(), "again": {"type": "boolean", "default": false,
            "description": "Also what was delivered."}, "dry_run": {"type": "boolean", "default": true, "description": "Count them; do nothing."}}), &["since"]),
    })
}

/// Where the document has a schema.
pub(crate) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}
