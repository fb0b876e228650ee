//! The schemas of bodies and answers: requests are checked with them, and the OpenAPI document has them.

use serde_json::{Value, json};

/// By name. `Anything` is any JSON.
pub(crate) fn schemas() -> Value {
    let text = || json!({"type": "string"});
    let maybe_text = || json!({"type": ["string", "null"]});
    let moment = || json!({"type": "string", "format": "date-time"});
    let maybe_moment = || json!({"type": ["string", "null"], "format": "date-time"});
    let count = || json!({"type": "integer", "minimum": 0});
    let name = || json!({"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z0-9._-]+$"});
    let status =
        json!({"enum": ["queued", "running", "waiting", "unknown", "completed", "failed", "parked", "cancelled"]});
    let closed = |properties: Value, required: &[&str]| json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
    let list = |key: &str, item: &str, more: Value| {
        let mut properties = more;
        properties[key] = json!({"type": "array", "items": reference(item)});
        closed(properties, &[key])
    };
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
    json!({
        "Anything": {},
        "Error": closed(json!({"error": closed(json!({"code": {"enum": codes}, "message": text(), "request_id": text(),
            "retry_after": count(), "fields": {"type": "array", "items": field}}), &["code", "message", "request_id"])}), &["error"]),
        "Status": closed(json!({"status": {"enum": ["ok", "degraded"]}, "version": text(),
            "uptime_s": {"type": "integer", "description": "Of the environment that answers."}, "config_version": count(), "tools": count(),
            "agents": closed(json!({"online": count()}), &["online"]),
            "queues": closed(json!({"work": queue, "interactive": queue, "dead": queue}), &["work", "interactive", "dead"])}),
            &["status", "version", "uptime_s", "config_version", "tools", "agents", "queues"]),
        "CreateTask": {"type": "object", "properties": {"tool": text(), "input": {}, "prompt": {"type": "string", "minLength": 1},
            "options": {"type": "object", "properties": {"model": text(), "max_tokens": {"type": "integer", "minimum": 1}, "working_directory": text(), "agent": name()}, "additionalProperties": false}},
            "additionalProperties": false,
            "oneOf": [{"required": ["tool"], "not": {"anyOf": [{"required": ["prompt"]}, {"required": ["options"]}]}},
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
        "Source": closed(json!({"name": text(), "path": text()}), &["name", "path"]),
        "SourceList": list("sources", "Source", json!({})),
        "CreateToken": closed(json!({"name": name(), "scopes": {"type": "array", "items": text(), "minItems": 1, "maxItems": 50}, "expires_at": moment(),
            "rate": {"type": "string", "description": "10/s, 600/min or 5000/h", "maxLength": 20}, "burst": {"type": "integer", "minimum": 1, "maximum": clawbridge_access::Rate::MAX}}), &["name", "scopes"]),
        "Token": closed(token, names),
        "NewToken": closed(new_token, &["name", "token", "scopes"]),
        "TokenList": list("tokens", "Token", json!({})),
        "Revoked": closed(json!({"name": text(), "revoked": {"const": true}}), &["name", "revoked"]),
    })
}

/// Where the document has a schema.
pub(crate) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}
