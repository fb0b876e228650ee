//! JSON Schemas (2020-12) as trees: what they refer to, how large they are, how they are written down.
//!
//! A converter makes a root and definitions that refer to each other as `#/$defs/NAME`; [`settle`] makes one schema of them that a person can
//! read: what is used once, or is short, stands where it is used.

use std::collections::HashSet;

use crate::toml::inline;
use crate::tree::{Node, Object};

/// The deepest nesting of a schema. TOML and JSON readers have bounds of their own, and nobody edits what is deeper.
const MAX_DEPTH: usize = 24;
/// The most values of a schema.
const MAX_NODES: usize = 6_000;
/// A definition that is not longer than this stands where it is used, however often.
const SHORT: usize = 60;
/// One that is an item of a list stands there if it is not longer than this.
const LISTED: usize = 100;

/// Keywords with schemas by name.
const MAPS: [&str; 3] = ["properties", "patternProperties", "dependentSchemas"];
/// Keywords with a list of schemas.
const LISTS: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords with a schema.
const SINGLES: [&str; 10] = [
    "additionalProperties",
    "propertyNames",
    "items",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "unevaluatedProperties",
    "unevaluatedItems",
];

/// A schema that is larger or deeper than one that a declaration can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Definitions by name, in the order in which they were come upon.
pub(crate) type Defs = Object;

/// A reference to a definition.
pub(crate) fn reference(name: &str) -> Node {
    Node::object([("$ref", Node::text(format!("#/$defs/{name}")))])
}

/// The definition that a schema refers to.
fn referred(schema: &Node) -> Option<&str> {
    schema.get("$ref")?.as_text()?.strip_prefix("#/$defs/")
}

/// The schema with each schema directly in it changed.
fn map(schema: &Node, change: &mut impl FnMut(&Node) -> Result<Node, TooLarge>) -> Result<Node, TooLarge> {
    let Node::Object(object) = schema else { return Ok(schema.clone()) };
    let mut mapped = Object::default();
    for (key, value) in object.entries() {
        let value = match value {
            Node::Object(schemas) if MAPS.contains(&key) => {
                let mut changed = Object::default();
                for (name, schema) in schemas.entries() {
                    changed.set(name, change(schema)?);
                }
                Node::Object(changed)
            }
            Node::List(schemas) if LISTS.contains(&key) => {
                Node::List(schemas.iter().map(&mut *change).collect::<Result<_, _>>()?)
            }
            schema if SINGLES.contains(&key) => change(schema)?,
            other => other.clone(),
        };
        mapped.set(key, value);
    }
    Ok(Node::Object(mapped))
}

/// The definitions that stand in a list of the schema, where TOML has one line for each item.
fn in_lists(schema: &Node, found: &mut HashSet<String>) -> Result<(), TooLarge> {
    let lists = LISTS.iter().filter_map(|key| schema.get(key)?.as_list());
    found.extend(lists.flatten().filter_map(|item| referred(item).map(str::to_owned)));
    map(schema, &mut |inner| in_lists(inner, found).map(|()| Node::Null)).map(|_| ())
}

/// Calls `seen` for each definition that the schema refers to.
fn each_reference(schema: &Node, seen: &mut impl FnMut(&str)) -> Result<(), TooLarge> {
    fn within(schema: &Node, seen: &mut impl FnMut(&str), depth: usize) -> Result<(), TooLarge> {
        if depth > 2 * MAX_DEPTH {
            return Err(TooLarge);
        }
        if let Some(name) = referred(schema) {
            seen(name);
        }
        map(schema, &mut |inner| within(inner, seen, depth + 1).map(|()| Node::Null)).map(|_| ())
    }
    within(schema, seen, 0)
}

/// One schema of a root and the definitions that it needs.
///
/// # Errors
/// If it would be too large or nest too deeply.
pub(crate) fn settle(root: &Node, defs: &Defs) -> Result<Node, TooLarge> {
    let plan = Plan::of(root, defs)?;
    let mut settler = Settler { plan: &plan, defs, kept: Vec::new(), nodes: 0 };
    let mut settled = settler.expand(root, 0)?;
    let (mut definitions, mut next) = (Object::default(), 0);
    while let Some(name) = settler.kept.get(next).cloned() {
        if let Some(def) = defs.get(&name) {
            definitions.set(&name, settler.expand_inside(def, 2)?);
        }
        next += 1;
    }
    if let (Node::Object(object), false) = (&mut settled, definitions.is_empty()) {
        object.set("$defs", Node::Object(definitions));
    }
    Ok(settled)
}

/// Which definitions stand where they are used.
struct Plan {
    inlined: HashSet<String>,
}

impl Plan {
    fn of(root: &Node, defs: &Defs) -> Result<Plan, TooLarge> {
        let mut uses: Vec<(String, usize)> = Vec::new();
        let mut edges: Vec<Vec<String>> = Vec::new();
        let mut open = vec![root];
        let mut listed = HashSet::new();
        while let Some(schema) = open.pop() {
            let mut targets = Vec::new();
            each_reference(schema, &mut |name| targets.push(name.to_owned()))?;
            // As deep as what was just walked through within bounds.
            in_lists(schema, &mut listed)?;
            for name in &targets {
                match uses.iter_mut().find(|(known, _)| known == name) {
                    Some((_, count)) => *count += 1,
                    None => {
                        uses.push((name.clone(), 1));
                        open.extend(defs.get(name));
                    }
                }
            }
        }
        for (name, _) in &uses {
            let mut targets = Vec::new();
            if let Some(def) = defs.get(name) {
                each_reference(def, &mut |name| targets.push(name.to_owned()))?;
            }
            edges.push(targets);
        }
        let index = |name: &String| uses.iter().position(|(known, _)| known == name);
        let is_cyclic = |start: usize| {
            let (mut seen, mut open) = (HashSet::new(), vec![start]);
            while let Some(at) = open.pop() {
                for next in edges[at].iter().filter_map(index) {
                    if next == start {
                        return true;
                    }
                    if seen.insert(next) {
                        open.push(next);
                    }
                }
            }
            false
        };
        let is_shorter = |name: &str, limit| defs.get(name).is_some_and(|def| inline(def).len() <= limit);
        let inlined = uses.iter().enumerate().filter(|(at, (name, count))| {
            let is_taken = *count == 1 && (!listed.contains(name) || is_shorter(name, LISTED));
            (is_taken || is_shorter(name, SHORT)) && !is_cyclic(*at)
        });
        Ok(Plan { inlined: inlined.map(|(_, (name, _))| name.clone()).collect() })
    }
}

struct Settler<'p> {
    plan: &'p Plan,
    defs: &'p Defs,
    /// The definitions that stay ones, in the order of their first use.
    kept: Vec<String>,
    nodes: usize,
}

impl Settler<'_> {
    fn expand(&mut self, schema: &Node, depth: usize) -> Result<Node, TooLarge> {
        let Some(name) = referred(schema) else { return self.expand_inside(schema, depth) };
        let def = self.defs.get(name);
        match (def, schema) {
            (Some(def), Node::Object(object)) if self.plan.inlined.contains(name) && is_annotated(object) => {
                // The definition may be a reference itself.
                let mut expanded = self.expand(def, depth + 1)?;
                if let Node::Object(expanded) = &mut expanded {
                    object
                        .entries()
                        .filter(|(key, _)| *key != "$ref")
                        .for_each(|(key, node)| expanded.set(key, node.clone()));
                }
                Ok(expanded)
            }
            _ => {
                if !self.kept.iter().any(|kept| kept == name) {
                    self.kept.push(name.to_owned());
                }
                self.expand_inside(schema, depth)
            }
        }
    }

    fn expand_inside(&mut self, schema: &Node, depth: usize) -> Result<Node, TooLarge> {
        self.nodes += 1 + schema.as_object().map_or(0, Object::len);
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(TooLarge);
        }
        map(schema, &mut |inner| self.expand(inner, depth + 1))
    }
}

/// Whether there is nothing beside the reference but what explains it.
fn is_annotated(object: &Object) -> bool {
    object.entries().all(|(key, _)| ["$ref", "description", "default"].contains(&key))
}

/// How much of a schema was left out to make it fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Nothing,
    Descriptions,
    Nested,
    Fields,
}

/// How long a schema is as text.
pub(crate) fn length(schema: &Node) -> usize {
    inline(schema).len()
}

/// An input's schema within `limit` characters: all of it if that fits, else without its descriptions, else with its fields' types alone,
/// else with the names of the required ones at most.
pub(crate) fn fitted(root: &Node, defs: &Defs, limit: usize) -> (Node, Cut) {
    let settled = settle(root, defs).ok();
    if let Some(schema) = &settled {
        if length(schema) <= limit {
            return (schema.clone(), Cut::Nothing);
        }
        let plain = without_descriptions(schema);
        if length(&plain) <= limit {
            return (plain, Cut::Descriptions);
        }
    }
    let mut object = Object::default();
    for key in ["type", "required"] {
        if let Some(node) = root.get(key) {
            object.set(key, node.clone());
        }
    }
    // First only what nests is reduced to its type, then everything.
    for keeps_flat in [true, false] {
        let mut fields = Object::default();
        for (name, schema) in root.get("properties").and_then(Node::as_object).into_iter().flat_map(Object::entries) {
            let chain = std::iter::successors(Some(schema), |schema| defs.get(referred(schema)?));
            let schema = chain.take(8).last().unwrap_or(schema);
            let field = match schema.get("type") {
                _ if keeps_flat && is_flat(schema) => without_descriptions(schema),
                Some(kind) => Node::object([("type", kind.clone())]),
                None => Node::empty(),
            };
            fields.set(name, field);
        }
        let mut nested = object.clone();
        nested.set("properties", Node::Object(fields));
        let nested = Node::Object(nested);
        if length(&nested) <= limit {
            return (nested, Cut::Nested);
        }
    }
    let bare = Node::Object(object);
    if length(&bare) <= limit {
        (bare, Cut::Fields)
    } else {
        (Node::object([("type", Node::text("object"))]), Cut::Fields)
    }
}

/// Whether a schema has no other in it.
fn is_flat(schema: &Node) -> bool {
    schema.as_object().is_some_and(|object| {
        object
            .entries()
            .all(|(key, _)| key != "$ref" && !MAPS.contains(&key) && !LISTS.contains(&key) && !SINGLES.contains(&key))
    })
}

fn without_descriptions(schema: &Node) -> Node {
    let mut object = Object::default();
    for (key, node) in schema.as_object().into_iter().flat_map(Object::entries).filter(|(key, _)| *key != "description")
    {
        let node = match node.as_object().filter(|_| key == "$defs") {
            None => node.clone(),
            Some(defs) => {
                let mut plain = Object::default();
                defs.entries().for_each(|(name, def)| plain.set(name, without_descriptions(def)));
                Node::Object(plain)
            }
        };
        object.set(key, node);
    }
    let object = if schema.as_object().is_some() { Node::Object(object) } else { schema.clone() };
    // It was settled, so it nests within bounds.
    map(&object, &mut |inner| Ok(without_descriptions(inner))).unwrap_or(object)
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
