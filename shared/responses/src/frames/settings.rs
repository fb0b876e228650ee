//! The members of a request besides its input.

use super::{Code, ErrorFrame};
use crate::ResponseId;
use crate::json::text;
use crate::model::{FunctionTool, Settings};
use serde_json::{Map, Value, json};

/// How much of a request its response repeats at most (functions, instructions, metadata and the rest), bytes: the answer needs the remainder.
pub const MAX_REPEATED_BYTES: usize = 48 * 1024;

/// The most functions.
const MAX_TOOLS: usize = 128;

fn invalid(param: impl Into<String>, message: &str) -> ErrorFrame {
    ErrorFrame::about(Code::InvalidValue, param, message)
}

/// A member that is there and not null.
fn member<'a>(body: &'a Value, name: &str) -> Option<&'a Value> {
    body.get(name).filter(|value| !value.is_null())
}

pub(super) fn read(body: &Value) -> Result<Settings, ErrorFrame> {
    let model = match member(body, "model") {
        None => return Err(ErrorFrame::missing("model")),
        Some(_) => text(body, "model")
            .filter(|model| model.len() <= 256)
            .ok_or_else(|| invalid("model", "It must be a text of 256 bytes at most."))?,
    };
    let mut settings = Settings::of_model(model);
    if let Some(previous) = member(body, "previous_response_id") {
        let wrong = || invalid("previous_response_id", "It must be the id of a response.");
        let previous = previous.as_str().ok_or_else(wrong)?;
        settings.previous_response_id = Some(ResponseId::new(previous).map_err(|_| wrong())?);
    }
    if let Some(instructions) = member(body, "instructions") {
        let instructions = instructions.as_str().ok_or_else(|| invalid("instructions", "It must be a text."))?;
        settings.instructions = Some(instructions.to_owned());
    }
    if let Some(store) = member(body, "store") {
        settings.store = store.as_bool().ok_or_else(|| invalid("store", "It must be true or false."))?;
    }
    if let Some(tools) = member(body, "tools") {
        settings.tools = read_tools(tools)?;
    }
    if let Some(choice) = member(body, "tool_choice") {
        settings.tool_choice = read_tool_choice(choice)?;
    }
    if let Some(metadata) = member(body, "metadata") {
        settings.metadata = read_metadata(metadata)?;
    }
    settings.repeated = read_repeated(body)?;
    let bytes = serde_json::to_string(&settings).map_or(usize::MAX, |text| text.len());
    if bytes > MAX_REPEATED_BYTES {
        let message = format!("Tools, instructions and metadata together may have {MAX_REPEATED_BYTES} bytes.");
        return Err(ErrorFrame::new(Code::RequestTooLarge, message));
    }
    Ok(settings)
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn read_tools(tools: &Value) -> Result<Vec<FunctionTool>, ErrorFrame> {
    let tools = tools.as_array().filter(|tools| tools.len() <= MAX_TOOLS);
    let tools = tools.ok_or_else(|| invalid("tools", "It must be a list of 128 functions at most."))?;
    tools.iter().enumerate().map(|(index, tool)| read_tool(&format!("tools[{index}]"), tool)).collect()
}

fn read_tool(at: &str, tool: &Value) -> Result<FunctionTool, ErrorFrame> {
    if tool.get("type").and_then(Value::as_str) != Some("function") {
        return Err(invalid(format!("{at}.type"), "It must be function: there are no other tools here."));
    }
    let name = text(tool, "name").ok_or_else(|| ErrorFrame::missing(&format!("{at}.name")))?;
    if !is_name(name) {
        return Err(invalid(format!("{at}.name"), "It must match [a-zA-Z0-9_-]{1,64}."));
    }
    let parameters = match member(tool, "parameters") {
        None => None,
        Some(Value::Object(parameters)) => Some(parameters.clone()),
        Some(_) => return Err(invalid(format!("{at}.parameters"), "It must be a JSON Schema, an object.")),
    };
    Ok(FunctionTool {
        name: name.to_owned(),
        description: text(tool, "description").map(str::to_owned),
        parameters,
        strict: tool.get("strict").and_then(Value::as_bool),
    })
}

fn read_tool_choice(choice: &Value) -> Result<Value, ErrorFrame> {
    let is_mode = |mode: &str| ["none", "auto", "required"].contains(&mode);
    let is_function = |choice: &Value| {
        let is_function = choice.get("type").and_then(Value::as_str) == Some("function");
        text(choice, "name")
            .filter(|name| is_function && is_name(name))
            .map(|name| json!({"type": "function", "name": name}))
    };
    let read = match choice {
        Value::String(mode) if is_mode(mode) => Some(choice.clone()),
        Value::Object(_) if choice.get("type").and_then(Value::as_str) == Some("allowed_tools") => {
            let mode = text(choice, "mode").unwrap_or("auto");
            let tools =
                choice.get("tools").and_then(Value::as_array).filter(|tools| (1..=MAX_TOOLS).contains(&tools.len()));
            let tools: Option<Vec<Value>> = tools.and_then(|tools| tools.iter().map(is_function).collect());
            tools.filter(|_| is_mode(mode)).map(|tools| json!({"type": "allowed_tools", "tools": tools, "mode": mode}))
        }
        _ => is_function(choice),
    };
    read.ok_or_else(|| invalid("tool_choice", "It must be none, auto, required, a function or allowed_tools."))
}

fn read_metadata(metadata: &Value) -> Result<Map<String, Value>, ErrorFrame> {
    let wrong = || invalid("metadata", "It may have 16 texts of 512 characters, with names of 64 characters.");
    let members = metadata.as_object().filter(|members| members.len() <= 16).ok_or_else(wrong)?;
    let fits = |(name, value): (&String, &Value)| {
        name.chars().count() <= 64 && value.as_str().is_some_and(|value| value.chars().count() <= 512)
    };
    if members.iter().all(fits) { Ok(members.clone()) } else { Err(wrong()) }
}

/// What is asked of a member that is repeated.
enum Kind {
    Number(f64, f64),
    Integer(i64, i64),
    Flag,
    Word(&'static [&'static str]),
    ShortText,
    Reasoning,
    Text,
}

const REPEATED: [(&str, Kind); 14] = [
    ("truncation", Kind::Word(&["auto", "disabled"])),
    ("parallel_tool_calls", Kind::Flag),
    ("text", Kind::Text),
    ("top_p", Kind::Number(0.0, 1.0)),
    ("presence_penalty", Kind::Number(-2.0, 2.0)),
    ("frequency_penalty", Kind::Number(-2.0, 2.0)),
    ("top_logprobs", Kind::Integer(0, 20)),
    ("temperature", Kind::Number(0.0, 2.0)),
    ("reasoning", Kind::Reasoning),
    ("max_output_tokens", Kind::Integer(1, i64::MAX)),
    ("max_tool_calls", Kind::Integer(1, i64::MAX)),
    ("service_tier", Kind::Word(&["auto", "default", "flex", "priority"])),
    ("safety_identifier", Kind::ShortText),
    ("prompt_cache_key", Kind::ShortText),
];

fn read_repeated(body: &Value) -> Result<Map<String, Value>, ErrorFrame> {
    let mut repeated = Map::new();
    for (name, kind) in &REPEATED {
        if let Some(value) = member(body, name) {
            let value = kind.read(value).map_err(|message| invalid(*name, &message))?;
            repeated.insert((*name).to_owned(), value);
        }
    }
    Ok(repeated)
}

impl Kind {
    /// The value as the resource has it, or what it must be.
    fn read(&self, value: &Value) -> Result<Value, String> {
        let (read, must) = match *self {
            Kind::Number(least, most) => {
                let fits = value.as_f64().is_some_and(|number| (least..=most).contains(&number));
                (fits.then(|| value.clone()), format!("a number from {least} to {most}"))
            }
            Kind::Integer(least, most) => {
                let fits = value.as_i64().is_some_and(|number| (least..=most).contains(&number));
                (fits.then(|| value.clone()), format!("an integer from {least} to {most}"))
            }
            Kind::Flag => (value.is_boolean().then(|| value.clone()), "true or false".to_owned()),
            Kind::Word(words) => {
                let fits = value.as_str().is_some_and(|word| words.contains(&word));
                (fits.then(|| value.clone()), format!("one of {}", words.join(", ")))
            }
            Kind::ShortText => {
                let fits = value.as_str().is_some_and(|text| text.chars().count() <= 64);
                (fits.then(|| value.clone()), "a text of 64 characters at most".to_owned())
            }
            Kind::Reasoning => (reasoning(value), "an object with effort and summary".to_owned()),
            Kind::Text => (format(value), "an object with a format of text, json_object or json_schema".to_owned()),
        };
        read.ok_or_else(|| format!("It must be {must}."))
    }
}

fn reasoning(value: &Value) -> Option<Value> {
    let word = |name: &str, words: &[&str]| match value.get(name) {
        None | Some(Value::Null) => Some(Value::Null),
        Some(word) => word.as_str().filter(|word| words.contains(word)).map(Value::from),
    };
    value.as_object()?;
    let effort = word("effort", &["none", "minimal", "low", "medium", "high", "xhigh"])?;
    let summary = word("summary", &["auto", "concise", "detailed"])?;
    Some(json!({"effort": effort, "summary": summary}))
}

fn format(value: &Value) -> Option<Value> {
    value.as_object()?;
    let wanted = value.get("format").unwrap_or(&Value::Null);
    let format = match wanted.get("type").and_then(Value::as_str) {
        None if wanted.is_null() => json!({"type": "text"}),
        Some(kind @ ("text" | "json_object")) => json!({"type": kind}),
        // The resource's schema has null where the request had the JSON Schema.
        Some("json_schema") => json!({
            "type": "json_schema",
            "name": text(wanted, "name").filter(|name| is_name(name))?,
            "description": text(wanted, "description"),
            "schema": null,
            "strict": wanted.get("strict").and_then(Value::as_bool).unwrap_or(false),
        }),
        _ => return None,
    };
    let mut read = json!({"format": format});
    if let Some(verbosity) = member(value, "verbosity") {
        read["verbosity"] = verbosity.as_str().filter(|word| ["low", "medium", "high"].contains(word))?.into();
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_that_has_a_default_can_be_asked_for() {
        let mut names = REPEATED.map(|(name, _)| name).to_vec();
        names.sort_unstable();
        let defaults: Vec<String> = crate::model::defaults().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, defaults);
    }
}
