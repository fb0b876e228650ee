//! Those of skills.

use super::{closed, list, reference};
use serde_json::{Value, json};

pub(super) fn schemas() -> Value {
    let text = || json!({"type": "string"});
    let maybe_text = || json!({"type": ["string", "null"]});
    let moment = || json!({"type": "string", "format": "date-time"});
    let count = || json!({"type": "integer", "minimum": 0});
    let member_state = json!({"enum": ["present", "edited", "missing"]});
    let needs = closed(
        json!({"source": {"type": ["object", "null"]}, "secrets": {"type": "array", "items": {"type": "object"}}, "provider": {"type": ["object", "null"]}}),
        &["source", "secrets", "provider"],
    );
    let skill = json!({"name": text(), "version": text(), "description": text(), "state": member_state, "newest": maybe_text(), "installed_at": moment(),
        "config_version": count(), "members": {"type": "array", "items": closed(json!({"path": text(), "state": member_state}), &["path", "state"])},
        "options": {"type": "object"}, "needs": needs, "skill_md": text()});
    let skill_names: &[&str] =
        &["name", "version", "description", "state", "installed_at", "config_version", "members", "options", "needs"];
    let offered = json!({"name": text(), "version": text(), "description": text(), "installed": maybe_text(), "tools": {"type": "array", "items": text()},
        "routes": {"type": "array", "items": text()}, "parameters": {"type": "object"}, "needs": needs});
    let mut offered_whole = offered.clone();
    offered_whole["bundle"] = json!({"type": "object"});
    offered_whole["skill_md"] = text();
    let offered_names: &[&str] =
        &["name", "version", "description", "installed", "tools", "routes", "parameters", "needs"];
    json!({
        "Skill": closed(skill, skill_names),
        "SkillList": list("skills", "Skill", json!({})),
        "InstallSkill": {"type": "object", "additionalProperties": false, "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 64, "description": "Of the catalogue."},
            "version": {"type": "string", "maxLength": 40, "description": "`latest`, or the one that the catalogue must have."},
            "bundle": {"type": "object", "description": "A whole skill, as the catalogue's are."},
            "parameters": {"type": "object", "additionalProperties": text(), "maxProperties": 50},
            "connection": {"type": "string", "maxLength": 130, "description": "PROVIDER/ACCOUNT: the account that tools act as, instead of the secret. Empty: the secret."},
            "client_id": {"type": "string", "maxLength": 500, "description": "Your OAuth client: the skill then brings its provider along."},
            "routes": {"type": "array", "items": text(), "maxItems": 50, "description": "The routes to switch on, by name."},
            "force": {"type": "boolean", "description": "Changes since the installation may be lost, and an earlier version take a later one's place."}},
            "oneOf": [{"required": ["name"]}, {"required": ["bundle"], "not": {"required": ["version"]}}]},
        "SkillInstalled": closed(json!({"change": {"enum": ["installed", "upgraded", "unchanged"]}, "replaces": maybe_text(), "skill": reference("Skill")}), &["change", "replaces", "skill"]),
        "SkillRemoved": closed(json!({"name": text(), "version": text(), "removed": {"const": true}, "config_version": count()}), &["name", "version", "removed", "config_version"]),
        "CatalogueEntry": closed(offered, offered_names),
        "Catalogue": list("skills", "CatalogueEntry", json!({})),
        "CatalogueSkill": closed(offered_whole, offered_names),
    })
}
