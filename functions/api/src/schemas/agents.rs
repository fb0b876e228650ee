//! The schemas of agents and pairings.

use super::{closed, list};
use serde_json::{Value, json};

pub(super) fn schemas() -> Value {
    let text = || json!({"type": "string"});
    let maybe_text = || json!({"type": ["string", "null"]});
    let moment = || json!({"type": "string", "format": "date-time"});
    let maybe_moment = || json!({"type": ["string", "null"], "format": "date-time"});
    let agent_name = json!({"type": "string", "pattern": "^[a-z0-9_-]{1,64}$"});
    let agent = json!({"name": text(), "description": maybe_text(), "online": {"type": "boolean"}, "dialect": maybe_text(),
        "connected_at": maybe_moment(), "under_way": {"type": "integer", "minimum": 0, "description": "Prompts that it has and has not answered."},
        "waiting": {"type": "integer", "minimum": 0, "description": "Conversations with prompts that wait for it."}, "created_at": moment()});
    let pairing = json!({"id": text(), "agent": text(), "name": text(), "status": {"enum": ["pending", "confirmed", "refused", "expired"]},
        "created_at": moment(), "expires_at": moment()});
    let (mut new_pairing, mut confirmed) = (pairing.clone(), pairing.clone());
    new_pairing["token"] = text();
    new_pairing["code"] = json!({"type": "string", "description": "For the agent's owner."});
    confirmed["token_name"] = text();
    let of_pairing: &[&str] = &["id", "agent", "name", "status", "created_at", "expires_at"];
    let with = |more: &[&'static str]| [of_pairing, more].concat();
    json!({
        "Agent": closed(agent, &["name", "online", "under_way", "waiting", "created_at"]),
        "AgentList": list("agents", "Agent", json!({})),
        "CreateAgent": closed(json!({"name": agent_name}), &["name"]),
        "NewAgent": closed(json!({"name": text(), "key": text(), "secret": text(), "created_at": moment()}), &["name", "key", "secret", "created_at"]),
        "RotateAgent": closed(json!({"now": {"type": "boolean", "default": false,
            "description": "The secret before is good no longer; else it is until the next rotation."}}), &[]),
        "Removed": closed(json!({"name": text(), "removed": {"const": true}}), &["name", "removed"]),
        "CreatePairing": closed(json!({"agent": agent_name, "name": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,48}$"}}), &["agent", "name"]),
        "NewPairing": closed(new_pairing, &with(&["token", "code"])),
        "Pairing": closed(pairing, of_pairing),
        "PairingList": list("pairings", "Pairing", json!({})),
        "ConfirmPairing": closed(json!({"code": {"type": "string", "minLength": 8, "maxLength": 20}, "expires_at": moment()}), &["code"]),
        "ConfirmedPairing": closed(confirmed, &with(&["token_name"])),
    })
}
