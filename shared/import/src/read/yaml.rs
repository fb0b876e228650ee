//! YAML 1.2, core schema (section 10.3), and the merge key `<<` of 1.1, which OpenAPI documents use.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_json::Number;

use super::{MAX_DEPTH, Size, duplicate, too_deep};
use crate::problem::{Code, Problem};
use crate::tree::{Node, Object};

pub(super) fn read(text: &str) -> Result<Node, Problem> {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => builder
                .event(event)
                .map_err(|(code, message)| Problem::in_text(code, position(&span.start), message))?,
            Err(error) => {
                let message = format!("neither JSON nor YAML: {}", error.info());
                return Err(Problem::in_text(Code::Syntax, position(error.marker()), message));
            }
        }
    }
    Ok(builder.root.unwrap_or(Node::Null))
}

fn position(marker: &Marker) -> (usize, usize) {
    (marker.line(), marker.col() + 1)
}

type Failure = (Code, String);

/// A value and how deep it nests.
#[derive(Clone)]
struct Built {
    node: Node,
    height: usize,
}

/// A collection that is being read.
struct Frame {
    kind: Kind,
    anchor: usize,
    height: usize,
    /// The size of the document before it.
    before: Size,
}

enum Kind {
    List(Vec<Node>),
    Object {
        entries: Vec<(String, Node)>,
        key: Option<Key>,
        /// What `<<` brings in.
        merged: Vec<Node>,
    },
}

enum Key {
    Text(String),
    Merge,
}

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    documents: usize,
    stack: Vec<Frame>,
    anchors: HashMap<usize, (Built, Size)>,
    size: Size,
}

impl Builder {
    fn event(&mut self, event: Event<'_>) -> Result<(), Failure> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err((Code::Syntax, "there is more than one YAML document in the text".to_owned()));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let before = self.size;
                self.size.add(text.len()).map_err(too_large)?;
                if let Some(frame) = self.stack.last_mut()
                    && let Kind::Object { key: key @ None, .. } = &mut frame.kind
                {
                    let is_merge = text == "<<" && style == ScalarStyle::Plain && tag.is_none();
                    *key = Some(if is_merge { Key::Merge } else { Key::Text(text.clone().into_owned()) });
                    if anchor > 0 {
                        self.anchors.insert(anchor, (Built { node: Node::text(text), height: 0 }, Size::default()));
                    }
                    return Ok(());
                }
                let node = scalar(&text, style, tag.as_deref())?;
                self.finish(Built { node, height: 0 }, anchor, before)
            }
            Event::Alias(anchor) => {
                let Some((built, size)) = self.anchors.get(&anchor) else {
                    return Err((Code::CyclicReference, "this alias stands inside of what it stands for".to_owned()));
                };
                let (before, size) = (self.size, *size);
                // Before the copy is made: that is what a bomb would be.
                self.size.add_all(size).and_then(|()| self.size.add(0)).map_err(too_large)?;
                let built = built.clone();
                if self.stack.len() + built.height > MAX_DEPTH {
                    return Err((Code::TooDeep, too_deep()));
                }
                if let Some(Frame { kind: Kind::Object { key: key @ None, .. }, .. }) = self.stack.last_mut() {
                    let Node::Text(text) = built.node else { return Err(no_key()) };
                    *key = Some(Key::Text(text));
                    return Ok(());
                }
                self.finish(built, 0, before)
            }
            Event::SequenceStart(anchor, _) => self.begin(Kind::List(Vec::new()), anchor),
            Event::MappingStart(anchor, _) => {
                self.begin(Kind::Object { entries: Vec::new(), key: None, merged: Vec::new() }, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
        }
    }

    fn begin(&mut self, kind: Kind, anchor: usize) -> Result<(), Failure> {
        if let Some(Frame { kind: Kind::Object { key: None, .. }, .. }) = self.stack.last() {
            return Err(no_key());
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err((Code::TooDeep, too_deep()));
        }
        let before = self.size;
        self.size.add(0).map_err(too_large)?;
        self.stack.push(Frame { kind, anchor, height: 1, before });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let node = match frame.kind {
            Kind::List(items) => Node::List(items),
            Kind::Object { entries, merged, .. } => {
                let mut object = Object::of(entries).map_err(|key| (Code::DuplicateKey, duplicate(&key)))?;
                for source in merged {
                    merge(&mut object, source)?;
                }
                Node::Object(object)
            }
        };
        self.finish(Built { node, height: frame.height }, frame.anchor, frame.before)
    }

    /// Puts a value where it belongs.
    fn finish(&mut self, built: Built, anchor: usize, before: Size) -> Result<(), Failure> {
        if anchor > 0 {
            let size = self.size.since(before);
            // It is kept twice.
            self.size.add_all(size).map_err(too_large)?;
            self.anchors.insert(anchor, (built.clone(), size));
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(built.node);
            return Ok(());
        };
        frame.height = frame.height.max(built.height + 1);
        match &mut frame.kind {
            Kind::List(items) => items.push(built.node),
            Kind::Object { entries, key, merged } => match key.take() {
                Some(Key::Text(key)) => entries.push((key, built.node)),
                Some(Key::Merge) => merged.push(built.node),
                None => return Err(no_key()),
            },
        }
        Ok(())
    }
}

fn too_large(message: &str) -> Failure {
    (Code::TooLarge, message.to_owned())
}

fn no_key() -> Failure {
    (Code::Syntax, "a key here is a text, a number or a boolean".to_owned())
}

/// `<<`: what the mapping itself has counts more, and of several sources the first.
fn merge(object: &mut Object, source: Node) -> Result<(), Failure> {
    match source {
        Node::Object(source) => {
            // An object cannot be added to key by key for as long as one pleases: each costs what is there already.
            if source.len() > 1_000 || object.len() > 10_000 {
                return Err(too_large("<< merges more than 1,000 keys, or into more than 10,000"));
            }
            for (key, node) in source.entries() {
                if !object.has(key) {
                    object.set(key, node.clone());
                }
            }
            Ok(())
        }
        Node::List(sources) if !sources.iter().any(|source| matches!(source, Node::List(_))) => {
            sources.into_iter().try_for_each(|source| merge(object, source))
        }
        _ => Err((Code::Syntax, "<< takes a mapping, or a sequence of mappings".to_owned())),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Node, Failure> {
    let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
    if style != ScalarStyle::Plain || is_text {
        return Ok(Node::text(text));
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Node::Null,
        "true" | "True" | "TRUE" => Node::Bool(true),
        "false" | "False" | "FALSE" => Node::Bool(false),
        _ => match number(text) {
            Some(Ok(number)) => Node::Number(number),
            Some(Err(())) => return Err((Code::Syntax, "JSON has no such number".to_owned())),
            None => Node::text(text),
        },
    })
}

/// The number that a plain scalar is, if it is one (YAML 1.2.2, section 10.3.2). `Err`: one that JSON cannot hold.
fn number(text: &str) -> Option<Result<Number, ()>> {
    if let Some(digits) = text.strip_prefix("0o") {
        return i64::from_str_radix(digits, 8).ok().filter(|_| !digits.starts_with(['+', '-'])).map(|n| Ok(n.into()));
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with(['+', '-'])).map(|n| Ok(n.into()));
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if [".inf", ".Inf", ".INF"].contains(&unsigned) || [".nan", ".NaN", ".NAN"].contains(&text) {
        return Some(Err(()));
    }
    if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte)) {
        return None;
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        if let Ok(integer) = text.parse::<i64>() {
            return Some(Ok(integer.into()));
        }
        if let Ok(integer) = text.trim_start_matches('+').parse::<u64>() {
            return Some(Ok(integer.into()));
        }
    }
    if !unsigned.bytes().any(|byte| byte.is_ascii_digit()) || unsigned.starts_with(['e', 'E', '+', '-']) {
        return None;
    }
    let float = text.parse::<f64>().ok()?;
    Some(Number::from_f64(float).ok_or(()))
}
