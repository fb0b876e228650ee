//! A skill for the agent: the file `SKILL.md` that OpenClaw reads.
//!
//! A folder with this file below `skills/` of the agent's workspace, or below `~/.openclaw/skills`, is a skill
//! (<https://docs.openclaw.ai/tools/skills>). It says how the bridge is asked, what each tool takes and what to do about errors; credentials are
//! not in it, and the agent has none but its token for the bridge.

use crate::bundle::Bundle;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The text of `SKILL.md`.
#[must_use]
pub fn skill_md(bundle: &Bundle) -> String {
    let metadata = json!({"openclaw": {"requires": {"env": ["CLAWBRIDGE_URL", "CLAWBRIDGE_TOKEN"], "bins": ["curl"]}, "primaryEnv": "CLAWBRIDGE_TOKEN"}});
    let mut text = String::new();
    // JSON texts are YAML texts. Writing into a String cannot fail.
    let _ = write!(
        text,
        "---\nname: {}\ndescription: {}\nversion: {}\nmetadata: {metadata}\n---\n\n# {}\n\n{}\n",
        bundle.name,
        Value::from(bundle.description.as_str()),
        bundle.version,
        bundle.name,
        bundle.description,
    );
    if !bundle.guide.trim().is_empty() {
        let _ = write!(text, "\n{}\n", bundle.guide.trim());
    }
    if bundle.tools.is_empty() {
        return text;
    }
    let example = bundle.tools.keys().next().map_or("", String::as_str);
    let _ = write!(
        text,
        "\n## How to act\n\nEach action is one request to the bridge, which has the credentials:\n\n```sh\ncurl -sS \
\"$CLAWBRIDGE_URL/api/v1/skill/invoke\" -H \"Authorization: Bearer $CLAWBRIDGE_TOKEN\" \\\n  -H 'Content-Type: application/json' \
-H 'Idempotency-Key: ONE-KEY-FOR-EACH-THING-YOU-MEAN-TO-DO' \\\n  -d '{{\"action\": \"{example}\", \"payload\": {{}}}}'\n```\n\n\
- 200: it has ended. `status` is `completed` and `output` the result, or `failed` with `error.code`.\n\
- 202: it goes on. Ask `GET $CLAWBRIDGE_URL/api/v1/tasks/ID/result` until it answers 200; do not send it again.\n\
- 409: this key was used for something else. 400: `error.fields` says what is wrong with the payload.\n\
- No answer at all: send the same request again with the same `Idempotency-Key`; nothing is done twice.\n\
- `parked`: nobody knows whether it was done. Tell a person, and do not try again.\n\n## Actions\n"
    );
    for (name, tool) in &bundle.tools {
        let description = tool.get("description").and_then(Value::as_str).unwrap_or_default();
        let _ = write!(text, "\n### {name}\n\n{}\n", description.trim());
        if let Some(input) = tool.get("input") {
            let _ = write!(text, "\nPayload, as JSON Schema:\n\n```json\n{input}\n```\n");
        }
    }
    text
}
