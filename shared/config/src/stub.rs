//! The script of a stub: what stands in the upstreams' place is to answer. Its form and its checks, under the rules of bridge.toml.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clawbridge_jq::Program;
use serde_json::Value;
use toml::de::DeTable;

use crate::diagnostic::{Code, Diagnostic, Position};
use crate::document::{MAX_DOCUMENT_BYTES, MAX_SYNTAX_ERRORS};
use crate::glob::Glob;
use crate::header;
use crate::model::Method;
use crate::node::{Data, Entry, Node};
use crate::reader::{Fields, Found, Reader, short};
use crate::tool::{unit, word};
use crate::units::{UnitError, number_and_unit};

/// The most answers of a script.
const MAX_ANSWERS: usize = 256;

const KEYS: [&str; 17] = [
    "host",
    "method",
    "path",
    "tool",
    "body",
    "times",
    "share",
    "status",
    "headers",
    "json",
    "text",
    "body_file",
    "echo",
    "delay",
    "cut",
    "slow",
    "name",
];

/// Headers that say how an answer is framed, which is the stub's part.
const FRAMING: [&str; 6] = ["connection", "content-length", "keep-alive", "trailer", "transfer-encoding", "upgrade"];

/// A script: answers, tried in their order.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// The answers.
    pub answers: Vec<ScriptedAnswer>,
}

/// One answer and what it is for.
#[derive(Debug, Clone)]
pub struct ScriptedAnswer {
    /// Where it stands in the text.
    pub position: Position,
    /// What it is called, for people.
    pub name: Option<String>,
    /// Which requests it is for.
    pub when: When,
    /// How often it is given; then it is spent. `None`: for ever.
    pub times: Option<u32>,
    /// For which part of the requests it is given, more than 0 and at most 1.
    pub share: Option<f64>,
    /// What is answered.
    pub reply: Reply,
}

/// Which requests an answer is for: all that is there must fit.
#[derive(Debug, Clone, Default)]
pub struct When {
    /// The host, with or without its port.
    pub host: Option<Glob>,
    /// The method.
    pub method: Option<Method>,
    /// The path, as it is sent, without the query.
    pub path: Option<Glob>,
    /// The tool.
    pub tool: Option<Glob>,
    /// A jq program over the body: JSON, else a text, or null where there is none.
    pub body: Option<Program>,
}

/// A request, as far as a script asks about it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The tool.
    pub tool: &'a str,
    /// The method.
    pub method: &'a str,
    /// The host, without its port.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// The path.
    pub path: &'a str,
    /// The body.
    pub body: &'a Value,
}

/// The first thing in which a request is not what an answer is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// The key of this name has another value.
    Key(&'static str),
    /// The program over the body failed.
    Body(clawbridge_jq::RunError),
}

impl When {
    /// In what the request is not what the answer is for. `None`: it is.
    #[must_use]
    pub fn mismatch(&self, asked: &Asked<'_>) -> Option<Mismatch> {
        let is = |glob: &Option<Glob>, text: &str| glob.as_ref().is_none_or(|glob| glob.matches(text));
        let with_port = format!("{}:{}", asked.host, asked.port);
        if !is(&self.tool, asked.tool) {
            return Some(Mismatch::Key("tool"));
        }
        if !is(&self.host, asked.host) && !is(&self.host, &with_port) {
            return Some(Mismatch::Key("host"));
        }
        if self.method.is_some_and(|method| method.as_str() != asked.method) {
            return Some(Mismatch::Key("method"));
        }
        if !is(&self.path, asked.path) {
            return Some(Mismatch::Key("path"));
        }
        match self.body.as_ref().map(|program| program.matches(asked.body)) {
            None | Some(Ok(true)) => None,
            Some(Ok(false)) => Some(Mismatch::Key("body")),
            Some(Err(error)) => Some(Mismatch::Body(error)),
        }
    }

    fn is_for_all(&self) -> bool {
        self.host.is_none()
            && self.method.is_none()
            && self.path.is_none()
            && self.tool.is_none()
            && self.body.is_none()
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status, 200 to 599.
    pub status: u16,
    /// Headers, as written.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub content: Content,
    /// How long nothing happens first.
    pub delay: Duration,
    /// Where the connection is cut.
    pub cut: Option<Cut>,
    /// How fast the body comes, bytes per second.
    pub slow: Option<u32>,
}

/// The body of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// There is none.
    None,
    /// JSON.
    Json(Value),
    /// Plain text.
    Text(String),
    /// What a file holds.
    File {
        /// Its path, from the script's directory.
        path: String,
        /// Where the script names it.
        position: Position,
    },
    /// The request, as JSON, its credentials masked.
    Echo,
}

/// Where a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Before anything is answered.
    Before,
    /// After the headers.
    Headers,
    /// In the middle of the body.
    Body,
}

impl Cut {
    const ALL: &'static [Self] = &[Self::Before, Self::Headers, Self::Body];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Headers => "headers",
            Self::Body => "body",
        }
    }
}

/// A wait: a whole number of `ms` or `s`, up to ten minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Delay(u32);

impl Delay {
    const MIN: Self = Self(1);
    const MAX: Self = Self(600_000);
}

impl FromStr for Delay {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = number_and_unit(text).ok_or(UnitError::Unreadable)?;
        let factor = match unit {
            "ms" => 1,
            "s" => 1000,
            _ => return Err(UnitError::Unreadable),
        };
        within(number, factor, Self::MIN.0, Self::MAX.0).map(Self)
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) { write!(f, "{}s", self.0 / 1000) } else { write!(f, "{}ms", self.0) }
    }
}

/// A speed: a whole number of bytes, thousands (`KB`, `MB`) or 1024s (`KiB`, `MiB`) of them, per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate(u32);

impl Rate {
    const MIN: Self = Self(1);
    const MAX: Self = Self(1_000_000_000);
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = number_and_unit(text).ok_or(UnitError::Unreadable)?;
        let factor = match unit {
            "B/s" => 1,
            "KB/s" => 1000,
            "KiB/s" => 1024,
            "MB/s" => 1_000_000,
            "MiB/s" => 1024 * 1024,
            _ => return Err(UnitError::Unreadable),
        };
        within(number, factor, Self::MIN.0, Self::MAX.0).map(Self)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}B/s", self.0)
    }
}

fn within(number: u64, factor: u64, min: u32, max: u32) -> Result<u32, UnitError> {
    let product = number.checked_mul(factor).and_then(|product| u32::try_from(product).ok());
    product.filter(|product| (min..=max).contains(product)).ok_or(UnitError::OutOfRange)
}

/// Check the text of a script: the script if it can be used, and all that is wrong or doubtful with it, in the order of the text. There is
/// a script exactly if there is no error among the diagnostics. Files that it names are not looked at.
#[must_use]
pub fn check_stub(text: &str) -> (Option<Script>, Vec<Diagnostic>) {
    let mut reader = Reader::new(Some(text));
    if text.len() > MAX_DOCUMENT_BYTES {
        reader.error(Code::TooLarge, "", None, format!("the script is larger than {MAX_DOCUMENT_BYTES} bytes"));
        return (None, reader.into_diagnostics());
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors.iter().take(MAX_SYNTAX_ERRORS) {
            reader.error(Code::TomlSyntax, "", error.span().map(|span| span.start), error.message());
        }
        return (None, reader.into_diagnostics());
    }
    let script = script(&mut reader, text, &Node::from_toml(text, table.get_ref())).filter(|_| !reader.has_errors());
    (script, reader.into_diagnostics())
}

fn script(reader: &mut Reader<'_>, text: &str, document: &Node) -> Option<Script> {
    let fields = reader.table(document, "", &["answer"])?;
    let Some(entry) = fields.entry("answer") else { return Some(Script::default()) };
    let items = reader.array(&entry.node, "answer", "an array of tables, [[answer]]")?;
    if items.len() > MAX_ANSWERS {
        reader.error(Code::TooLarge, "answer", entry.key_at, format!("there are more than {MAX_ANSWERS} answers"));
        return None;
    }
    let mut script = Script::default();
    for (index, item) in items.iter().enumerate() {
        let path = format!("answer[{index}]");
        let Some(answer) = answer(reader, text, item, &path) else { continue };
        let takes_all = |before: &&ScriptedAnswer| {
            before.when.is_for_all() && before.times.is_none() && before.share.is_none_or(|share| share >= 1.0)
        };
        if let Some(before) = script.answers.iter().find(takes_all) {
            let line = before.position.line;
            let message = format!("{path} is never given: the answer in line {line} is for every request");
            reader.warning(Code::NeverReached, &path, item.at, message);
        }
        script.answers.push(answer);
    }
    Some(script)
}

fn answer(reader: &mut Reader<'_>, text: &str, item: &Node, path: &str) -> Option<ScriptedAnswer> {
    let fields = reader.table(item, path, &KEYS)?;
    let when = When {
        host: glob(reader, &fields, "host").map(|host| Glob::new(&host.to_ascii_lowercase())),
        method: word(reader, &fields, "method", Method::ALL, Method::as_str, false),
        path: glob(reader, &fields, "path").map(|path| Glob::new(&path)),
        tool: glob(reader, &fields, "tool").map(|tool| Glob::new(&tool)),
        body: reader.optional(&fields, "body").and_then(|found| reader.program(&found)),
    };
    let name = reader.optional(&fields, "name").map(|found| short(found.value()));
    let times = reader.optional_integer(&fields, "times", 1..=1_000_000);
    let share = share(reader, &fields);
    let position = Position::of(text, item.at.unwrap_or(0));
    Some(ScriptedAnswer { position, name, when, times, share, reply: reply(reader, text, &fields) })
}

/// A pattern that something can match.
fn glob(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str) -> Option<String> {
    let found = reader.optional(fields, key)?;
    let pattern = found.value();
    let is_printable =
        !pattern.is_empty() && pattern.len() <= 2048 && pattern.bytes().all(|byte| byte.is_ascii_graphic());
    let complaint = match key {
        _ if !is_printable => "must be 1 to 2048 visible ASCII characters, for such it is as it is sent",
        "path" if pattern.contains('?') => "has a query: the path is matched without it",
        "path" if !pattern.starts_with(['/', '*']) => "must begin with / or *, or no path fits it",
        "host" if pattern.contains('/') => "must be a host: no scheme and no path",
        _ => return Some(pattern.to_owned()),
    };
    reader.error(Code::InvalidPattern, &found.path, found.at, format!("{} {complaint}", found.path));
    None
}

fn share(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<f64> {
    let entry = fields.entry("share")?;
    let share = match entry.node.data {
        Data::Float(float) => Some(float),
        Data::Integer(1) => Some(1.0),
        _ => None,
    };
    let share = share.filter(|share| *share > 0.0 && *share <= 1.0);
    if share.is_none() {
        let path = fields.path_of("share");
        let message = format!("{path} must be a number above 0.0 and up to 1.0");
        reader.error(Code::OutOfRange, &path, entry.node.at, message);
    }
    share
}

fn reply(reader: &mut Reader<'_>, text: &str, fields: &Fields<'_>) -> Reply {
    let status = reader.integer(fields, "status", 200..=599, 200);
    let form = "a time such as \"2s\" or \"500ms\"";
    let delay = unit(reader, fields, "delay", Code::InvalidDuration, form, (Delay::MIN, Delay::MAX));
    let form = "a speed such as \"1KB/s\" or \"500B/s\"";
    let slow = unit(reader, fields, "slow", Code::InvalidSize, form, (Rate::MIN, Rate::MAX));
    let cut = word(reader, fields, "cut", Cut::ALL, Cut::as_str, false);
    let content = content(reader, text, fields);
    let headers = headers(reader, fields);
    let mut not_allowed = |key: &str, why: &str| {
        if let Some(entry) = fields.entry(key) {
            let path = fields.path_of(key);
            reader.error(Code::KeyNotAllowed, &path, entry.key_at, format!("{path} is never sent: {why}"));
        }
    };
    if cut == Some(Cut::Before) {
        for key in ["status", "headers", "json", "text", "body_file", "echo", "slow"] {
            not_allowed(key, "cut = \"before\" closes the connection before anything is answered");
        }
    }
    if matches!(status, 204 | 205 | 304) {
        for key in ["json", "text", "body_file", "echo", "slow"] {
            not_allowed(key, &format!("an answer with status {status} has no body (RFC 9110)"));
        }
    }
    let length = match &content {
        Content::None => 0,
        Content::Json(json) => json.to_string().len(),
        Content::Text(text) => text.len(),
        Content::File { .. } | Content::Echo => usize::MAX,
    };
    for (key, is_set, least) in
        [("cut", cut == Some(Cut::Body), 2), ("slow", slow.is_some() && cut != Some(Cut::Before), 1)]
    {
        if is_set && length < least {
            let path = fields.path_of(key);
            let at = fields.entry(key).and_then(|entry| entry.node.at);
            let message = format!("{path} needs a body of {least} or more bytes: json, text, body_file or echo");
            reader.error(Code::MissingKey, &path, at, message);
        }
    }
    Reply {
        status: u16::try_from(status).unwrap_or(200),
        headers,
        content,
        delay: Duration::from_millis(delay.map_or(0, |delay| delay.0).into()),
        cut,
        slow: slow.map(|rate| rate.0),
    }
}

fn content(reader: &mut Reader<'_>, text: &str, fields: &Fields<'_>) -> Content {
    let mut set: Vec<(&str, Content)> = Vec::new();
    if let Some(entry) = fields.entry("json") {
        let json = entry.node.to_json().unwrap_or_else(|part| {
            let path = fields.path_of("json");
            reader.error(
                Code::WrongType,
                &path,
                part.at,
                format!("{path} holds {}, which JSON has not", part.type_name()),
            );
            Value::Null
        });
        set.push(("json", Content::Json(json)));
    }
    if let Some(found) = reader.optional(fields, "text") {
        set.push(("text", Content::Text(found.value().to_owned())));
    }
    if let Some(found) = reader.optional(fields, "body_file") {
        let position = Position::of(text, found.at.unwrap_or(0));
        set.push(("body_file", Content::File { path: found.value().to_owned(), position }));
    }
    if reader.boolean(fields, "echo") {
        set.push(("echo", Content::Echo));
    }
    if let Some((second, _)) = set.get(1) {
        let path = fields.path_of(second);
        let at = fields.entry(second).and_then(|entry| entry.key_at);
        let message = format!("{path} is a second body beside {}: an answer has one", set[0].0);
        reader.error(Code::KeyNotAllowed, &path, at, message);
    }
    set.into_iter().next().map_or(Content::None, |(_, content)| content)
}

fn headers(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    let Some(entry) = fields.entry("headers") else { return headers };
    let Some(table) = reader.any_table(&entry.node, &fields.path_of("headers")) else { return headers };
    for Entry { key, key_at, node } in table.entries() {
        let path = table.path_of(key);
        // A number is what Retry-After has; that it must be quoted is nothing that one would guess.
        let value = match &node.data {
            Data::Integer(integer) => Some(integer.to_string()),
            _ => reader.text(node, &path).map(|found: Found<'_>| found.value().to_owned()),
        };
        let Some(value) = value else { continue };
        let lower = key.to_ascii_lowercase();
        let complaint = if !header::is_name(key) {
            (Code::InvalidHeader, format!("{:?} cannot be the name of a header", short(key)))
        } else if FRAMING.contains(&lower.as_str()) || lower.starts_with("x-clawbridge-") {
            (Code::ReservedHeader, format!("the header {key:?} is set by the stub itself"))
        } else if headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(key)) {
            (Code::HeaderSetTwice, format!("{path} is set twice: header names have no case"))
        } else if !header::is_value(&value) {
            (Code::InvalidHeader, format!("{path} must be visible ASCII characters, with spaces inside"))
        } else {
            headers.push((key.clone(), value));
            continue;
        };
        reader.error(complaint.0, &path, *key_at, complaint.1);
    }
    headers
}

#[cfg(test)]
#[path = "stub_tests.rs"]
mod tests;
