//! What an operation sends and what it answers.

use clawbridge_config::Method;

use super::schema::{Converter, Direction, Patterns, Stop};
use crate::at::At;
use crate::problem::{NoteCode, Problem, one_line};
use crate::schema::{length, settle};
use crate::tree::{Node, Object};

/// The body of a request.
#[derive(Debug)]
pub(super) enum Body {
    None,
    /// The fields of an object, which are fields of the input.
    Fields(Object),
    /// Anything else: one field of the input.
    Whole(Node),
}

/// What is sent.
#[derive(Debug)]
pub(super) struct RequestBody {
    pub(super) body: Body,
    /// Where it is not `application/json`.
    pub(super) content_type: Option<String>,
    pub(super) notes: Vec<(NoteCode, String)>,
}

/// Reads `requestBody`. `Err(Ok(reason))`: the API wants a body that a tool cannot make.
pub(super) fn request<'d>(
    document: &'d Node,
    operation: &At<'d>,
    converter: &mut Converter<'d>,
) -> Result<Result<RequestBody, String>, Problem> {
    let none = |notes| Ok(Ok(RequestBody { body: Body::None, content_type: None, notes }));
    let Some(at) = operation.get("requestBody") else { return none(Vec::new()) };
    let at = at.resolved(document)?;
    let contents = at.entries("content")?;
    let Some((media, json)) = json_of(&contents) else {
        let kinds = listed(contents.iter().map(|(media, _)| *media));
        if at.flag("required")?.unwrap_or(false) {
            return Ok(Err(format!("it takes {kinds}, and a tool sends JSON")));
        }
        return none(vec![(NoteCode::Body, format!("the body is not sent: it is {kinds}, and a tool sends JSON"))]);
    };
    let content_type = Some(essence(media)).filter(|media| media != "application/json" && !media.contains('*'));
    let mut notes = Vec::new();
    let Some(schema) = json.get("schema") else {
        return Ok(Ok(RequestBody { body: Body::Whole(Node::empty()), content_type, notes }));
    };
    let content = match converter.content(&schema) {
        Ok(content) => content,
        Err(Stop::Problem(problem)) => return Err(problem),
        Err(Stop::TooLarge) => {
            notes.push((NoteCode::Schema, "the body is the field body as it is: its schema is too large".to_owned()));
            Node::empty()
        }
    };
    let body = match content {
        Node::Object(content) if is_of_fields(&content) => Body::Fields(content),
        other => Body::Whole(other),
    };
    Ok(Ok(RequestBody { body, content_type, notes }))
}

/// Whether a schema is of an object whose fields can stand among others.
fn is_of_fields(schema: &Object) -> bool {
    let is_known = schema.entries().all(|(key, node)| match key {
        "type" => node.as_text() == Some("object"),
        "properties" | "required" | "description" => true,
        "additionalProperties" => *node == Node::Bool(false),
        _ => false,
    });
    is_known && schema.get("properties").is_some()
}

/// What is answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) schema: Option<Node>,
    /// What to ask for, where it is not `application/json`.
    pub(super) accept: Option<String>,
    pub(super) notes: Vec<(NoteCode, String)>,
}

/// Reads the successful ones of `responses`. `Err(Ok(reason))`: nothing is answered that a tool can take.
pub(super) fn answer<'d>(
    document: &'d Node,
    operation: &At<'d>,
    method: Method,
    patterns: &'d Patterns,
    limit: Option<usize>,
) -> Result<Result<Answer, String>, Problem> {
    let mut answer = Answer::default();
    if method == Method::Head {
        return Ok(Ok(answer));
    }
    let (mut schemas, mut others, mut is_without, mut is_text) = (Vec::new(), Vec::new(), false, false);
    for (status, at) in operation.entries("responses")? {
        let status = status.trim();
        if !(status.len() == 3 && status.starts_with('2')) {
            continue;
        }
        let at = at.resolved(document)?;
        let contents = at.entries("content")?;
        match json_of(&contents) {
            Some((media, json)) => {
                let media = essence(media);
                if media != "application/json" && !media.contains('*') {
                    answer.accept.get_or_insert(media);
                }
                match json.get("schema") {
                    Some(schema) => schemas.push(schema),
                    None => is_without = true,
                }
            }
            None if contents.is_empty() => is_without = true,
            None if contents.iter().any(|(media, _)| essence(media) == "text/plain") => is_text = true,
            None => others.extend(contents.iter().map(|(media, _)| *media)),
        }
    }
    if schemas.is_empty() && !is_without && !is_text && !others.is_empty() {
        return Ok(Err(format!("it answers {}, and a tool takes JSON or plain text", listed(others.into_iter()))));
    }
    let Some(limit) = limit else { return Ok(Ok(answer)) };
    let mut left_out = |reason: &str| answer.notes.push((NoteCode::Schema, format!("no output schema: {reason}")));
    match &schemas[..] {
        [] => {}
        _ if is_without || is_text => left_out("some successful answers have no JSON"),
        [first, rest @ ..] if rest.iter().all(|other| other.node == first.node) => {
            let mut converter = Converter::new(document, patterns, Direction::Output);
            let converted = converter.schema(first);
            let root = match converted {
                Ok(root) => root,
                Err(Stop::Problem(problem)) => return Err(problem),
                Err(Stop::TooLarge) => {
                    left_out("it is too large");
                    return Ok(Ok(answer));
                }
            };
            converter.finish()?;
            match settle(&root, &converter.defs) {
                Ok(Node::Object(schema)) if schema.is_empty() => {}
                Ok(schema) if schema.as_object().is_some() && length(&schema) <= limit && !is_cut(&converter) => {
                    if !converter.dropped.is_empty() {
                        let dropped = listed(converter.dropped.iter().map(String::as_str));
                        answer.notes.push((NoteCode::Schema, format!("output: without {dropped}")));
                    }
                    answer.schema = Some(schema);
                }
                Ok(schema) => left_out(&format!("it is too large, {} characters (more than {limit})", length(&schema))),
                Err(_) => left_out("it is too large"),
            }
        }
        _ => left_out("it differs by status"),
    }
    Ok(Ok(answer))
}

fn is_cut(converter: &Converter<'_>) -> bool {
    converter.dropped.iter().any(|dropped| dropped.ends_with("(too large)"))
}

/// The media type without its parameters, in lower case.
fn essence(media: &str) -> String {
    media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The JSON among several contents: JSON itself, else what is built on it, else what may be anything.
fn json_of<'a, 'd>(contents: &'a [(&'d str, At<'d>)]) -> Option<(&'d str, &'a At<'d>)> {
    let rank = |media: &str| match essence(media).as_str() {
        "application/json" => Some(0),
        media
            if media.ends_with("+json")
                && clawbridge_config::header::is_value(media)
                && !media.contains(['{', '}']) =>
        {
            Some(1)
        }
        "text/json" => Some(2),
        "application/*" | "*/*" => Some(3),
        _ => None,
    };
    let ranked = contents.iter().filter_map(|(media, at)| Some((rank(media)?, *media, at)));
    ranked.min_by_key(|(rank, _, _)| *rank).map(|(_, media, at)| (media, at))
}

/// A few of them, in one line.
pub(super) fn listed<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<String> = texts.map(|text| one_line(text, 60)).collect();
    let shown = all.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
    match all.len() {
        0 => "nothing that is described".to_owned(),
        1..=4 => shown,
        more => format!("{shown} and {} more", more - 4),
    }
}
