//! OpenAPI's schemas (3.0's dialect and 3.1's) as JSON Schema 2020-12.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, VecDeque};

use serde_json::Number;

use crate::at::At;
use crate::declaration::refusal;
use crate::problem::{Problem, one_line};
use crate::schema::{Defs, TooLarge, reference};
use crate::toml;
use crate::tree::{Node, Object};
use crate::words::{explanation, is_secret};

/// The most values that are looked at for one schema, definitions included.
const MAX_NODES: usize = 6_000;
/// The most definitions of one schema.
const MAX_DEFS: usize = 64;
/// How deep `allOf` within `allOf` is taken together.
const MAX_MERGES: usize = 12;
/// The longest description of a field, in characters.
const MAX_DESCRIPTION: usize = 160;

const TYPES: [&str; 7] = ["string", "number", "integer", "boolean", "array", "object", "null"];

/// Why there is no schema.
#[derive(Debug)]
pub(crate) enum Stop {
    Problem(Problem),
    TooLarge,
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Stop::Problem(problem)
    }
}

impl From<TooLarge> for Stop {
    fn from(_: TooLarge) -> Self {
        Stop::TooLarge
    }
}

/// Which way the values go that a schema describes: `readOnly` properties are not sent, `writeOnly` ones not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Input,
    Output,
}

/// Which patterns bridge.toml takes: OpenAPI's are of ECMAScript, and not all of them can be matched in linear time.
#[derive(Debug, Default)]
pub(crate) struct Patterns(RefCell<HashMap<String, bool>>);

impl Patterns {
    fn are_taken(&self, pattern: &str) -> bool {
        if let Some(known) = self.0.borrow().get(pattern) {
            return *known;
        }
        let text = format!(
            "[tools.x]\nmethod = \"GET\"\nurl = \"https://x.example\"\ninput.pattern = {}\n",
            toml::text(pattern)
        );
        let is_taken = pattern.len() <= 1_000 && refusal(&text).is_none();
        self.0.borrow_mut().insert(pattern.to_owned(), is_taken);
        is_taken
    }
}

/// `enum` and `const`.
type Values = Vec<(&'static str, Node)>;

/// Converts the schemas of one declaration in one direction.
pub(crate) struct Converter<'d> {
    root: &'d Node,
    patterns: &'d Patterns,
    direction: Direction,
    /// What is referred to as `#/$defs/NAME`.
    pub(crate) defs: Defs,
    /// The names of definitions, by where they are.
    names: Vec<(String, String)>,
    queue: VecDeque<(String, At<'d>)>,
    /// What is being taken together by `allOf`.
    merging: Vec<String>,
    nodes: usize,
    /// What was left out of schemas.
    pub(crate) dropped: BTreeSet<String>,
}

impl<'d> Converter<'d> {
    pub(crate) fn new(root: &'d Node, patterns: &'d Patterns, direction: Direction) -> Self {
        Converter {
            root,
            patterns,
            direction,
            defs: Defs::default(),
            names: Vec::new(),
            queue: VecDeque::new(),
            merging: Vec::new(),
            nodes: 0,
            dropped: BTreeSet::new(),
        }
    }

    /// A schema. What it refers to is converted by [`Converter::finish`].
    pub(crate) fn schema(&mut self, at: &At<'d>) -> Result<Node, Stop> {
        self.count(1)?;
        match at.node {
            Node::Bool(true) => Ok(Node::empty()),
            Node::Bool(false) => Ok(Node::Bool(false)),
            _ if at.object()?.has("$ref") => {
                let name = self.name(at.resolved(self.root)?)?;
                let mut schema = reference(&name);
                if let (Node::Object(schema), Some(text)) = (&mut schema, self.description(at)) {
                    schema.set("description", Node::text(text));
                }
                let is_nullable = at.flag("nullable")?.unwrap_or(false);
                Ok(if is_nullable { or_null(schema) } else { schema })
            }
            _ => self.keywords(at),
        }
    }

    /// What the schema at `at` says, references to it followed.
    pub(crate) fn content(&mut self, at: &At<'d>) -> Result<Node, Stop> {
        let target = at.resolved(self.root)?;
        match target.node {
            Node::Bool(_) => self.schema(&target),
            _ => self.keywords(&target),
        }
    }

    /// Converts what was referred to. Definitions that are too much stand for anything.
    pub(crate) fn finish(&mut self) -> Result<(), Problem> {
        while let Some((name, at)) = self.queue.pop_front() {
            match self.content(&at) {
                Ok(schema) => self.defs.set(&name, schema),
                Err(Stop::Problem(problem)) => return Err(problem),
                Err(Stop::TooLarge) => {
                    self.dropped.insert(format!("{name} (too large)"));
                    self.defs.set(&name, Node::empty());
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize) -> Result<(), Stop> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES { Err(Stop::TooLarge) } else { Ok(()) }
    }

    /// The name of the definition that `at` becomes.
    fn name(&mut self, at: At<'d>) -> Result<String, Stop> {
        if let Some((_, name)) = self.names.iter().find(|(pointer, _)| *pointer == at.pointer) {
            return Ok(name.clone());
        }
        if self.names.len() == MAX_DEFS {
            return Err(Stop::TooLarge);
        }
        let last = at.pointer.rsplit('/').next().unwrap_or_default();
        let plain: String =
            last.chars().filter(|char| char.is_ascii_alphanumeric() || "_-".contains(*char)).take(60).collect();
        let plain = if plain.is_empty() { "schema".to_owned() } else { plain };
        let mut name = plain.clone();
        let mut number = 2;
        while self.names.iter().any(|(_, taken)| *taken == name) {
            name = format!("{plain}_{number}");
            number += 1;
        }
        self.names.push((at.pointer.clone(), name.clone()));
        self.queue.push_back((name.clone(), at));
        Ok(name)
    }

    fn description(&self, at: &At<'d>) -> Option<String> {
        let text = at.words("description").filter(|_| self.direction == Direction::Input)?;
        Some(explanation(text, MAX_DESCRIPTION))
    }

    fn drop(&mut self, what: impl Into<String>) {
        self.dropped.insert(one_line(&what.into(), 80));
    }

    /// The keywords of a schema that is no reference, in an order that reads well.
    fn keywords(&mut self, at: &At<'d>) -> Result<Node, Stop> {
        let object = at.object()?;
        self.count(object.len())?;
        let mut out = Object::default();
        if let Some(text) = self.description(at) {
            out.set("description", Node::text(text));
        }
        let mut types = self.types(at)?;
        let mut is_nullable = at.flag("nullable")?.unwrap_or(false) || types.contains(&"null");
        let values = self.values(at, types.is_empty(), &mut is_nullable)?;
        types.retain(|kind| *kind != "null");
        let typed = match (&types[..], is_nullable && values.is_none()) {
            ([], true) if is_null_alone(at.node) => Some(Node::text("null")),
            ([], _) => None,
            ([one], false) => Some(Node::text(*one)),
            (several, with_null) => {
                let null = with_null.then_some("null");
                Some(Node::List(several.iter().copied().chain(null).map(Node::text).collect()))
            }
        };
        let needs_wrapper = is_nullable && (typed.is_none() || values.is_some());
        if let Some(typed) = typed {
            out.set("type", typed);
        }
        for (key, value) in values.into_iter().flatten() {
            out.set(key, value);
        }
        self.limits(at, &mut out)?;
        self.object_keywords(at, &mut out)?;
        self.nested(at, &mut out)?;
        self.all_of(at, &mut out)?;
        if let Some(default) = object.get("default").filter(|_| self.direction == Direction::Input)
            && !default.has_null()
            && !is_secret(default)
        {
            out.set("default", default.clone());
        }
        // A type that is there now came out of allOf.
        let composed =
            ["type", "enum", "const", "allOf", "anyOf", "oneOf", "$ref", "not"].iter().any(|key| out.has(key));
        Ok(if needs_wrapper && composed { or_null(Node::Object(out)) } else { Node::Object(out) })
    }

    fn types(&mut self, at: &At<'d>) -> Result<Vec<&'d str>, Stop> {
        let mut types = Vec::new();
        if let Some(found) = at.get("type") {
            let all = match found.node {
                Node::List(_) => at.items("type")?,
                _ => vec![found],
            };
            for one in all {
                let text = one.text()?;
                if !TYPES.contains(&text) {
                    self.drop(format!("type {text:?}"));
                } else if !types.contains(&text) {
                    types.push(text);
                }
            }
        }
        Ok(types)
    }

    /// `enum` and `const`, whose null TOML cannot say: that becomes a type.
    fn values(&mut self, at: &At<'d>, is_untyped: bool, is_nullable: &mut bool) -> Result<Option<Values>, Stop> {
        let mut found = Vec::new();
        if let Some(constant) = at.node.get("const") {
            match constant {
                Node::Null => *is_nullable |= is_untyped,
                value if value.has_null() || is_secret(value) => self.drop("const"),
                value => found.push(("const", value.clone())),
            }
        }
        if let Some(list) = at.get("enum") {
            let items = list.node.as_list().unwrap_or_default();
            self.count(items.len())?;
            *is_nullable |= is_untyped && items.contains(&Node::Null);
            let items: Vec<Node> = items.iter().filter(|item| **item != Node::Null).cloned().collect();
            if items.iter().any(|item| item.has_null() || is_secret(item)) {
                self.drop("enum");
            } else if !items.is_empty() {
                found.push(("enum", Node::List(items)));
            }
        }
        Ok((!found.is_empty()).then_some(found))
    }

    fn limits(&mut self, at: &At<'d>, out: &mut Object) -> Result<(), Stop> {
        if let Some(format) = at.words("format").filter(|format| format.len() <= 40) {
            out.set("format", Node::text(one_line(format, 40)));
        }
        for (limit, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
            let number = at.node.get(limit).filter(|node| matches!(node, Node::Number(_)));
            match (number, at.node.get(exclusive)) {
                // 3.0 says with a boolean what 3.1 says with a number.
                (Some(number), Some(Node::Bool(true))) => out.set(exclusive, number.clone()),
                (number, other) => {
                    number.into_iter().for_each(|number| out.set(limit, number.clone()));
                    other
                        .filter(|node| matches!(node, Node::Number(_)))
                        .into_iter()
                        .for_each(|n| out.set(exclusive, n.clone()));
                }
            }
        }
        if let Some(number @ Node::Number(value)) = at.node.get("multipleOf")
            && value.as_f64().is_some_and(|value| value > 0.0)
        {
            out.set("multipleOf", number.clone());
        }
        for key in [
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "minProperties",
            "maxProperties",
            "minContains",
            "maxContains",
        ] {
            let number =
                at.node.get(key).and_then(|node| if let Node::Number(number) = node { number.as_u64() } else { None });
            // Beyond this, TOML has no integers, and nothing is that long.
            if let Some(number) = number.filter(|number| *number <= i64::MAX as u64) {
                out.set(key, Node::Number(Number::from(number)));
            }
        }
        if let Some(pattern) = at.text_of("pattern")? {
            if self.patterns.are_taken(pattern) {
                out.set("pattern", Node::text(pattern));
            } else {
                self.drop(format!("pattern {pattern}"));
            }
        }
        if at.node.get("uniqueItems") == Some(&Node::Bool(true)) {
            out.set("uniqueItems", Node::Bool(true));
        }
        for key in ["contentEncoding", "contentMediaType"] {
            if let Some(text) = at.words(key) {
                out.set(key, Node::text(one_line(text, 80)));
            }
        }
        Ok(())
    }

    fn object_keywords(&mut self, at: &At<'d>, out: &mut Object) -> Result<(), Stop> {
        let (mut properties, mut hidden) = (Object::default(), Vec::new());
        for (name, property) in at.entries("properties")? {
            if self.is_hidden(&property)? {
                hidden.push(name);
            } else {
                properties.set(name, self.schema(&property)?);
            }
        }
        let mut required: Vec<Node> = Vec::new();
        // 3.0's documents are often written with `required: true` of a property, which means nothing.
        for name in at.node.get("required").and_then(Node::as_list).unwrap_or_default() {
            if name.as_text().is_some_and(|name| !hidden.contains(&name)) && !required.contains(name) {
                required.push(name.clone());
            }
        }
        if !required.is_empty() {
            out.set("required", Node::List(required));
        }
        if !properties.is_empty() {
            out.set("properties", Node::Object(properties));
        }
        let mut patterns = Object::default();
        for (pattern, property) in at.entries("patternProperties")? {
            if self.patterns.are_taken(pattern) {
                patterns.set(pattern, self.schema(&property)?);
            } else {
                self.drop(format!("pattern {pattern}"));
            }
        }
        if !patterns.is_empty() {
            out.set("patternProperties", Node::Object(patterns));
        }
        if let Some(additional) = at.get("additionalProperties") {
            match additional.node {
                Node::Bool(true) => {}
                // An API that answers more than it used to is not broken.
                Node::Bool(false) if self.direction == Direction::Output => {}
                _ => {
                    let schema = self.schema(&additional)?;
                    if schema != Node::empty() {
                        out.set("additionalProperties", schema);
                    }
                }
            }
        }
        if let Some(dependent) = at.get("dependentRequired")
            && dependent.object()?.entries().all(|(_, names)| names.as_list().is_some_and(is_names))
        {
            out.set("dependentRequired", dependent.node.clone());
        }
        Ok(())
    }

    fn is_hidden(&self, property: &At<'d>) -> Result<bool, Problem> {
        let flag = match self.direction {
            Direction::Input => "readOnly",
            Direction::Output => "writeOnly",
        };
        let is_set = |at: &At<'d>| at.node.get(flag) == Some(&Node::Bool(true));
        Ok(is_set(property) || is_set(&property.resolved(self.root)?))
    }

    /// Keywords with schemas in them.
    fn nested(&mut self, at: &At<'d>, out: &mut Object) -> Result<(), Stop> {
        for key in ["items", "contains", "propertyNames", "not", "if", "then", "else"] {
            match at.get(key) {
                None => {}
                // The tuples of other dialects.
                Some(At { node: Node::List(_), .. }) => self.drop(key),
                Some(inner) => {
                    let schema = self.schema(&inner)?;
                    if schema != Node::empty() {
                        out.set(key, schema);
                    }
                }
            }
        }
        for key in ["unevaluatedProperties", "unevaluatedItems"] {
            if let Some(inner) = at.get(key).filter(|_| self.direction == Direction::Input) {
                out.set(key, self.schema(&inner)?);
            }
        }
        for key in ["prefixItems", "anyOf", "oneOf"] {
            let mut schemas = Vec::new();
            for inner in at.items(key)? {
                schemas.push(self.schema(&inner)?);
            }
            if !schemas.is_empty() {
                out.set(key, Node::List(schemas));
            }
        }
        let mut dependent = Object::default();
        for (name, inner) in at.entries("dependentSchemas")? {
            dependent.set(name, self.schema(&inner)?);
        }
        if !dependent.is_empty() {
            out.set("dependentSchemas", Node::Object(dependent));
        }
        if at.node.get("$dynamicRef").is_some() {
            self.drop("$dynamicRef");
        }
        Ok(())
    }

    /// `allOf`: objects are taken together, as a person would write them.
    fn all_of(&mut self, at: &At<'d>, out: &mut Object) -> Result<(), Stop> {
        let members = at.items("allOf")?;
        if members.is_empty() {
            return Ok(());
        }
        let mut together = out.clone();
        let mut is_plain = is_plain_object(out);
        for member in &members {
            is_plain = is_plain && self.take(member, &mut together)?;
        }
        if is_plain {
            *out = together;
            return Ok(());
        }
        let mut schemas = Vec::new();
        for member in &members {
            schemas.push(self.schema(member)?);
        }
        let is_alone = out.entries().all(|(key, _)| key == "description");
        match (&schemas[..], is_alone) {
            ([Node::Object(one)], true) => one.entries().for_each(|(key, node)| {
                if !out.has(key) {
                    out.set(key, node.clone());
                }
            }),
            _ => out.set("allOf", Node::List(schemas)),
        }
        Ok(())
    }

    /// Adds what a member of `allOf` says, if it is a plain object.
    fn take(&mut self, member: &At<'d>, together: &mut Object) -> Result<bool, Stop> {
        let target = member.resolved(self.root)?;
        if self.merging.len() >= MAX_MERGES
            || self.merging.contains(&target.pointer)
            || target.node.as_object().is_none()
        {
            return Ok(false);
        }
        self.merging.push(target.pointer.clone());
        let content = self.keywords(&target);
        self.merging.pop();
        let Node::Object(content) = content? else { return Ok(false) };
        if !is_plain_object(&content) {
            return Ok(false);
        }
        together.set("type", Node::text("object"));
        let mut required = together.get("required").and_then(Node::as_list).unwrap_or_default().to_vec();
        for name in content.get("required").and_then(Node::as_list).unwrap_or_default() {
            if !required.contains(name) {
                required.push(name.clone());
            }
        }
        if !required.is_empty() {
            together.set("required", Node::List(required));
        }
        let mut properties = together.get("properties").and_then(Node::as_object).cloned().unwrap_or_default();
        for (name, schema) in content.get("properties").and_then(Node::as_object).into_iter().flat_map(Object::entries)
        {
            match properties.get(name) {
                Some(other) if other != schema => {
                    let both = Node::List(vec![other.clone(), schema.clone()]);
                    properties.set(name, Node::object([("allOf", both)]));
                }
                _ => properties.set(name, schema.clone()),
            }
        }
        if !properties.is_empty() {
            together.set("properties", Node::Object(properties));
        }
        Ok(true)
    }
}

fn is_names(items: &[Node]) -> bool {
    items.iter().enumerate().all(|(index, item)| item.as_text().is_some() && !items[..index].contains(item))
}

/// Whether nothing but null fits a schema without another type.
fn is_null_alone(schema: &Node) -> bool {
    let is_null = |items: &[Node]| items.iter().all(|item| *item == Node::Null);
    schema.get("type").is_some()
        || schema.get("const") == Some(&Node::Null)
        || schema.get("enum").and_then(Node::as_list).is_some_and(is_null)
}

/// Whether a schema says nothing but which properties an object has.
fn is_plain_object(schema: &Object) -> bool {
    schema.entries().all(|(key, node)| match key {
        "type" => node.as_text() == Some("object"),
        "description" | "required" | "properties" => true,
        _ => false,
    })
}

/// What fits `schema`, or null.
fn or_null(schema: Node) -> Node {
    let Node::Object(object) = schema else { return schema };
    let composed = ["enum", "const", "allOf", "anyOf", "oneOf", "not", "if", "$ref"];
    if let Some(kind) = object.get("type")
        && !composed.iter().any(|key| object.has(key))
    {
        // Its other keywords say nothing of null.
        let mut kinds = kind.as_list().map_or_else(|| vec![kind.clone()], <[Node]>::to_vec);
        if !kinds.iter().any(|kind| kind.as_text() == Some("null")) {
            kinds.push(Node::text("null"));
        }
        let mut nullable = object.clone();
        nullable.set("type", Node::List(kinds));
        return Node::Object(nullable);
    }
    let (mut outer, mut inner) = (Object::default(), Object::default());
    for (key, node) in object.entries() {
        let target = if key == "description" || key == "default" { &mut outer } else { &mut inner };
        target.set(key, node.clone());
    }
    let null = Node::object([("type", Node::text("null"))]);
    let choices = match (inner.get("anyOf"), inner.len()) {
        (Some(Node::List(choices)), 1) => choices.iter().cloned().chain([null]).collect(),
        _ => vec![Node::Object(inner), null],
    };
    outer.set("anyOf", Node::List(choices));
    Node::Object(outer)
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
