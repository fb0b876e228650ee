//! What a turn begins with: messages, attachments by reference, outputs of functions.
//!
//! Sizes are bounded here because a turn becomes one frame to the agent. Files travel by address (`https://…`) or by an id that the
//! agent's side understands; small ones may be data URLs.

use super::Phase;
use crate::json::text;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The most items of one turn.
pub const MAX_ITEMS: usize = 256;

/// The most parts of one message.
pub const MAX_PARTS: usize = 64;

/// The longest address of an attachment, bytes. A data URL may have [`MAX_DATA_BYTES`].
pub const MAX_URL_BYTES: usize = 4096;

/// The longest data URL, bytes; all those of a turn together may have no more either.
pub const MAX_DATA_BYTES: usize = 64 * 1024;

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The person.
    User,
    /// The agent, earlier.
    Assistant,
    /// Whoever runs the client.
    System,
    /// Whoever wrote the client.
    Developer,
}

/// Where an attachment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// At an `http` or `https` address.
    Url(String),
    /// In this data URL.
    Data(String),
    /// Where the agent's side knows.
    FileId(String),
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text: `input_text`, or `output_text` and `refusal` of the agent's earlier messages.
    Text(String),
    /// `input_image`.
    Image {
        /// Where it is.
        source: Source,
        /// `low`, `high` or `auto`, where the client says so.
        detail: Option<String>,
    },
    /// `input_file`.
    File {
        /// Where it is.
        source: Source,
        /// What it is called.
        filename: Option<String>,
    },
}

/// An item of a turn's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum InputItem {
    /// A message.
    Message {
        /// Who says it.
        role: Role,
        /// Its parts; there is at least one.
        content: Vec<Part>,
        /// What an earlier message of the agent was.
        phase: Option<Phase>,
    },
    /// A call that the agent wanted earlier, from a client that sends everything again.
    FunctionCall {
        /// By which the output refers to it.
        call_id: String,
        /// The function.
        name: String,
        /// Its arguments, a JSON text.
        arguments: String,
    },
    /// What a function of the client returned.
    FunctionCallOutput {
        /// The call.
        call_id: String,
        /// What came of it; parts other than text are attachments.
        output: Vec<Part>,
    },
    /// `reasoning` and `compaction` items of an earlier response: they mean something to who made them, and are passed on as they are.
    Opaque(Value),
}

/// What is wrong with an input, in the words of the error frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{param}: {message}")]
pub struct InputError {
    /// Where: `input[0].content[1].image_url`.
    pub param: String,
    /// A stable word.
    pub code: &'static str,
    /// For a person.
    pub message: String,
}

impl InputError {
    pub(crate) fn missing(param: impl Into<String>) -> InputError {
        let param = param.into();
        let message = format!("Missing required parameter: '{param}'.");
        InputError { param, code: "missing_required_parameter", message }
    }

    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> InputError {
        InputError { param: param.into(), code: "invalid_value", message: message.into() }
    }

    fn too_long(param: impl Into<String>, what: &str, max: usize) -> InputError {
        InputError { param: param.into(), code: "input_too_large", message: format!("{what} may have {max} at most.") }
    }
}

/// Reads `input`: a text, which is a message of the user, or a list of items.
///
/// # Errors
/// What is wrong first, and where.
pub fn read(input: &Value) -> Result<Vec<InputItem>, InputError> {
    let items = match input {
        Value::String(text) if text.trim().is_empty() => {
            return Err(InputError::invalid("input", "There is nothing in it."));
        }
        Value::String(text) => {
            let content = vec![Part::Text(text.clone())];
            return Ok(vec![InputItem::Message { role: Role::User, content, phase: None }]);
        }
        Value::Array(items) if items.is_empty() => {
            return Err(InputError::invalid("input", "There is nothing in it."));
        }
        Value::Array(items) if items.len() > MAX_ITEMS => {
            return Err(InputError::too_long("input", "Items", MAX_ITEMS));
        }
        Value::Array(items) => items,
        _ => return Err(InputError::invalid("input", "It must be a text or a list of items.")),
    };
    let read: Vec<InputItem> = items
        .iter()
        .enumerate()
        .map(|(index, item)| read_item(&format!("input[{index}]"), item))
        .collect::<Result<_, _>>()?;
    let data: usize = read.iter().flat_map(InputItem::parts).map(Part::data_len).sum();
    if data > MAX_DATA_BYTES {
        return Err(InputError::too_long("input", "Data URLs together", MAX_DATA_BYTES));
    }
    Ok(read)
}

fn read_item(at: &str, item: &Value) -> Result<InputItem, InputError> {
    if !item.is_object() {
        return Err(InputError::invalid(at, "It must be an object."));
    }
    let kind = match item.get("type") {
        // Clients leave it out of plain messages.
        None if item.get("role").is_some() => "message",
        None => return Err(InputError::missing(format!("{at}.type"))),
        Some(kind) => kind.as_str().unwrap_or_default(),
    };
    let required = |member: &str| {
        text(item, member).map(str::to_owned).ok_or_else(|| InputError::missing(format!("{at}.{member}")))
    };
    match kind {
        "message" => read_message(at, item),
        "function_call" => Ok(InputItem::FunctionCall {
            call_id: required("call_id")?,
            name: required("name")?,
            arguments: item.get("arguments").and_then(Value::as_str).unwrap_or("{}").to_owned(),
        }),
        "function_call_output" => {
            let (call_id, at) = (required("call_id")?, format!("{at}.output"));
            let output = match item.get("output") {
                None | Some(Value::Null) => return Err(InputError::missing(at)),
                // An empty output is one.
                Some(Value::String(text)) => vec![Part::Text(text.clone())],
                Some(parts) => read_parts(&at, parts)?,
            };
            Ok(InputItem::FunctionCallOutput { call_id, output })
        }
        "reasoning" | "compaction" => Ok(InputItem::Opaque(item.clone())),
        "item_reference" => Err(InputError::invalid(
            at,
            "References to items are not supported: send the item, or continue with previous_response_id.",
        )),
        _ => Err(InputError::invalid(
            format!("{at}.type"),
            "It must be message, function_call, function_call_output, reasoning or compaction.",
        )),
    }
}

fn read_message(at: &str, item: &Value) -> Result<InputItem, InputError> {
    let role = match item.get("role").and_then(Value::as_str) {
        None => return Err(InputError::missing(format!("{at}.role"))),
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => Role::System,
        Some("developer") => Role::Developer,
        Some(_) => {
            return Err(InputError::invalid(format!("{at}.role"), "It must be user, assistant, system or developer."));
        }
    };
    let phase = match item.get("phase").and_then(Value::as_str) {
        Some("commentary") => Some(Phase::Commentary),
        Some("final_answer") => Some(Phase::FinalAnswer),
        _ => None,
    };
    let at = format!("{at}.content");
    let content = match item.get("content") {
        None | Some(Value::Null) => return Err(InputError::missing(at)),
        Some(Value::String(text)) => vec![Part::Text(text.clone())],
        Some(parts) => read_parts(&at, parts)?,
    };
    Ok(InputItem::Message { role, content, phase })
}

fn read_parts(at: &str, parts: &Value) -> Result<Vec<Part>, InputError> {
    match parts.as_array() {
        None => Err(InputError::invalid(at, "It must be a text or a list of parts.")),
        Some(parts) if parts.is_empty() => Err(InputError::invalid(at, "There is nothing in it.")),
        Some(parts) if parts.len() > MAX_PARTS => Err(InputError::too_long(at, "Parts", MAX_PARTS)),
        Some(parts) => {
            parts.iter().enumerate().map(|(index, part)| read_part(&format!("{at}[{index}]"), part)).collect()
        }
    }
}

fn read_part(at: &str, part: &Value) -> Result<Part, InputError> {
    let string = |member: &str| {
        let value = part.get(member).and_then(Value::as_str);
        value.map(str::to_owned).ok_or_else(|| InputError::missing(format!("{at}.{member}")))
    };
    match part.get("type").and_then(Value::as_str) {
        None => Err(InputError::missing(format!("{at}.type"))),
        Some("input_text" | "output_text" | "text") => string("text").map(Part::Text),
        Some("refusal") => string("refusal").map(Part::Text),
        Some("input_image") => Ok(Part::Image {
            source: read_source(at, part, "image_url")?,
            detail: match text(part, "detail") {
                None => None,
                Some(detail @ ("low" | "high" | "auto")) => Some(detail.to_owned()),
                Some(_) => {
                    return Err(InputError::invalid(format!("{at}.detail"), "It must be low, high or auto."));
                }
            },
        }),
        Some("input_file") => Ok(Part::File {
            source: read_source(at, part, "file_url")?,
            filename: text(part, "filename").map(str::to_owned),
        }),
        Some(_) => Err(InputError::invalid(
            format!("{at}.type"),
            "It must be input_text, input_image, input_file, output_text or refusal.",
        )),
    }
}

fn read_source(at: &str, part: &Value, url_member: &str) -> Result<Source, InputError> {
    if let Some(id) = text(part, "file_id") {
        let param = format!("{at}.file_id");
        return match crate::ResponseId::new(id) {
            Ok(_) => Ok(Source::FileId(id.to_owned())),
            Err(error) => Err(InputError::invalid(param, format!("It is no id: {error}."))),
        };
    }
    for member in [url_member, "url"] {
        if let Some(url) = text(part, member) {
            return read_url(&format!("{at}.{member}"), url);
        }
    }
    if let Some(data) = text(part, "file_data") {
        let param = format!("{at}.file_data");
        if data.starts_with("data:") {
            return read_url(&param, data);
        }
        return read_url(&param, &format!("data:application/octet-stream;base64,{data}"));
    }
    Err(InputError::missing(format!("{at}.{url_member}")))
}

fn read_url(param: &str, url: &str) -> Result<Source, InputError> {
    let scheme = url.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let is_data = scheme == "data";
    let max = if is_data { MAX_DATA_BYTES } else { MAX_URL_BYTES };
    if url.len() > max {
        return Err(InputError::too_long(param, "Bytes of an address", max));
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(InputError::invalid(param, "An address has no white space."));
    }
    match scheme.as_str() {
        "data" => Ok(Source::Data(url.to_owned())),
        "http" | "https" if url.get(scheme.len()..scheme.len() + 3) == Some("://") => Ok(Source::Url(url.to_owned())),
        _ => Err(InputError::invalid(param, "It must be an http, https or data URL.")),
    }
}

impl Source {
    /// The address, where it has one.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        match self {
            Source::Url(url) | Source::Data(url) => Some(url),
            Source::FileId(_) => None,
        }
    }
}

impl Part {
    fn data_len(&self) -> usize {
        match self {
            Part::Image { source: Source::Data(url), .. } | Part::File { source: Source::Data(url), .. } => url.len(),
            Part::Text(_) | Part::Image { .. } | Part::File { .. } => 0,
        }
    }

    /// As Open Responses has it; text of the agent is `output_text`.
    #[must_use]
    pub fn to_value(&self, role: Role) -> Value {
        let (mut value, source, member) = match self {
            Part::Text(text) => {
                let kind = if role == Role::Assistant { "output_text" } else { "input_text" };
                return json!({"type": kind, "text": text});
            }
            Part::Image { source, detail } => {
                let mut value = json!({"type": "input_image"});
                if let Some(detail) = detail {
                    value["detail"] = detail.as_str().into();
                }
                (value, source, "image_url")
            }
            Part::File { source, filename } => {
                let mut value = json!({"type": "input_file"});
                if let Some(filename) = filename {
                    value["filename"] = filename.as_str().into();
                }
                (value, source, "file_url")
            }
        };
        match source {
            Source::Url(url) => value[member] = url.as_str().into(),
            Source::Data(url) if member == "file_url" => value["file_data"] = url.as_str().into(),
            Source::Data(url) => value[member] = url.as_str().into(),
            Source::FileId(id) => value["file_id"] = id.as_str().into(),
        }
        value
    }
}

impl InputItem {
    /// The parts that it has.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        let parts: &[Part] = match self {
            InputItem::Message { content, .. } => content,
            InputItem::FunctionCallOutput { output, .. } => output,
            InputItem::FunctionCall { .. } | InputItem::Opaque(_) => &[],
        };
        parts.iter()
    }
}

impl From<InputItem> for Value {
    fn from(item: InputItem) -> Value {
        match item {
            InputItem::Message { role, content, phase } => {
                let content: Vec<Value> = content.iter().map(|part| part.to_value(role)).collect();
                let mut value = json!({"type": "message", "role": role, "content": content});
                if let Some(phase) = phase {
                    value["phase"] = json!(phase);
                }
                value
            }
            InputItem::FunctionCall { call_id, name, arguments } => {
                json!({"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments})
            }
            InputItem::FunctionCallOutput { call_id, output } => {
                let output = match output.as_slice() {
                    [Part::Text(text)] => json!(text),
                    parts => parts.iter().map(|part| part.to_value(Role::User)).collect(),
                };
                json!({"type": "function_call_output", "call_id": call_id, "output": output})
            }
            InputItem::Opaque(value) => value,
        }
    }
}

impl TryFrom<Value> for InputItem {
    type Error = InputError;

    fn try_from(value: Value) -> Result<InputItem, InputError> {
        read_item("input", &value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_read_and_written_as_they_were() {
        for item in [
            json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}),
            json!({"type": "message", "role": "assistant", "phase": "commentary", "content": [{"type": "output_text", "text": "…"}]}),
            json!({"type": "message", "role": "user", "content": [
                {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
                {"type": "input_file", "file_id": "file_1", "filename": "a.pdf"},
                {"type": "input_file", "file_url": "https://example.com/a.pdf"},
                {"type": "input_file", "file_data": "data:text/plain;base64,aGk="}]}),
            json!({"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}),
            json!({"type": "function_call_output", "call_id": "c1", "output": ""}),
            json!({"type": "compaction", "id": "cmp_1", "encrypted_content": "x"}),
        ] {
            let read = read(&json!([item])).unwrap();
            assert_eq!(Value::from(read[0].clone()), item);
            assert_eq!(serde_json::from_value::<InputItem>(item).unwrap(), read[0]);
        }
    }

    #[test]
    fn a_text_is_a_message_of_the_user() {
        let message = json!([{"role": "user", "content": "hi"}]);
        assert_eq!(read(&json!("hi")), read(&message));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let long = format!("https://example.com/{}", "a".repeat(MAX_URL_BYTES));
        let data = format!("data:image/png;base64,{}", "A".repeat(MAX_DATA_BYTES));
        let image = |url: &str| json!([{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]);
        let parts = vec![json!({"type": "input_text", "text": ""}); MAX_PARTS + 1];
        let half = format!("data:,{}", "A".repeat(MAX_DATA_BYTES / 2));
        for (input, code, param) in [
            (json!(""), "invalid_value", "input"),
            (json!([]), "invalid_value", "input"),
            (json!(7), "invalid_value", "input"),
            (json!(["x"]), "invalid_value", "input[0]"),
            (json!([{}]), "missing_required_parameter", "input[0].type"),
            (json!([{"type": "video"}]), "invalid_value", "input[0].type"),
            (json!([{"type": "item_reference", "id": "x"}]), "invalid_value", "input[0]"),
            (json!([{"type": "message", "content": "x"}]), "missing_required_parameter", "input[0].role"),
            (json!([{"role": "king", "content": "x"}]), "invalid_value", "input[0].role"),
            (json!([{"role": "user"}]), "missing_required_parameter", "input[0].content"),
            (json!([{"role": "user", "content": []}]), "invalid_value", "input[0].content"),
            (json!([{"role": "user", "content": parts}]), "input_too_large", "input[0].content"),
            (
                json!([{"role": "user", "content": [{"type": "input_text"}]}]),
                "missing_required_parameter",
                "input[0].content[0].text",
            ),
            (image("file:///etc/passwd"), "invalid_value", "input[0].content[0].image_url"),
            (image("https:evil"), "invalid_value", "input[0].content[0].image_url"),
            (image(&long), "input_too_large", "input[0].content[0].image_url"),
            (image(&data), "input_too_large", "input[0].content[0].image_url"),
            (image(""), "missing_required_parameter", "input[0].content[0].image_url"),
            (
                json!([{"role": "user", "content": [
                    {"type": "input_image", "image_url": half}, {"type": "input_image", "image_url": half}]}]),
                "input_too_large",
                "input",
            ),
            (
                json!([{"type": "function_call_output", "output": "x"}]),
                "missing_required_parameter",
                "input[0].call_id",
            ),
            (
                json!([{"type": "function_call_output", "call_id": "x"}]),
                "missing_required_parameter",
                "input[0].output",
            ),
            (json!(vec![json!({"role": "user", "content": "x"}); MAX_ITEMS + 1]), "input_too_large", "input"),
        ] {
            let error = read(&input).unwrap_err();
            assert_eq!((error.code, error.param.as_str()), (code, param), "{error}");
        }
    }
}
