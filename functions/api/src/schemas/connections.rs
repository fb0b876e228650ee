//! Those of connections.

use super::{closed, list};
use serde_json::{Value, json};

pub(super) fn schemas() -> Value {
    let text = || json!({"type": "string"});
    let texts = || json!({"type": "array", "items": {"type": "string"}});
    let by_name = || json!({"type": "object", "additionalProperties": {"type": "string"}});
    let moment = || json!({"type": "string", "format": "date-time"});
    let maybe_moment = || json!({"type": ["string", "null"], "format": "date-time"});
    let count = || json!({"type": "integer", "minimum": 0});
    let maybe = |kind: &str| json!({"type": [kind, "null"]});
    let error = json!({"type": ["object", "null"], "properties": {"code": text(), "at": moment()}, "additionalProperties": false});
    json!({
        "Connection": closed(json!({"connection": text(), "provider": text(), "account": text(),
            "status": {"enum": ["active", "needs_reauth", "revoked"]}, "generation": count(), "scopes": texts(), "asked_scopes": texts(),
            "token_expires_at": maybe_moment(), "obtained_at": maybe_moment(), "connected_at": moment(), "last_refresh_at": maybe_moment(),
            "failures": count(), "cool_until": maybe_moment(), "last_error": error, "refreshing_until": maybe_moment(), "kept": by_name(),
            "parameters": by_name()}), &["connection", "provider", "account", "status", "generation", "scopes", "connected_at"]),
        "ConnectionList": list("connections", "Connection", json!({"next_after": maybe("string")})),
        "LinkConnection": closed(json!({"parameters": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 500}, "maxProperties": 20}}), &[]),
        "ConnectionLink": closed(json!({"connection": text(), "url": text(), "expires_at": moment(), "redirect_uri": text()}),
            &["connection", "url", "expires_at", "redirect_uri"]),
        "ConnectionRefreshed": closed(json!({"connection": text(), "refreshed": {"const": true}, "generation": count()}), &["connection", "refreshed", "generation"]),
        "ConnectionTested": closed(json!({"connection": text(), "passed": maybe("boolean"), "status": maybe("integer"), "url": maybe("string"),
            "ms": maybe("integer"), "generation": count(), "hint": maybe("string")}), &["connection", "passed", "generation"]),
        "ConnectionRevoked": closed(json!({"connection": text(), "revoked": {"const": true}, "at_provider": {"type": "boolean"}}), &["connection", "revoked", "at_provider"]),
        "Wished": closed(json!({"connection": text(), "asked": {"const": true}}), &["connection", "asked"]),
    })
}
