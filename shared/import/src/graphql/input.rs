//! Arguments and input types as JSON Schemas.

use std::collections::{BTreeSet, HashSet, VecDeque};

use super::{Types, is_required, name_of, used};
use crate::at::At;
use crate::problem::Problem;
use crate::schema::{Defs, reference};
use crate::tree::{Node, Object};
use crate::words::explanation;

/// The most input types of one operation, and the most fields of them together.
const MAX_TYPES: usize = 64;
const MAX_FIELDS: usize = 2_000;
/// The longest description of a field, in characters.
const MAX_DESCRIPTION: usize = 160;

/// Converts the arguments of one operation.
pub(super) struct Inputs<'t, 'd> {
    types: &'t Types<'d>,
    /// What is referred to as `#/$defs/NAME`.
    pub(super) defs: Defs,
    queue: VecDeque<(&'d str, At<'d>)>,
    seen: HashSet<&'d str>,
    fields: usize,
    /// Custom scalars: the specification does not say what they look like.
    pub(super) scalars: BTreeSet<&'d str>,
    /// Types that were too many.
    pub(super) cut: BTreeSet<&'d str>,
}

impl<'t, 'd> Inputs<'t, 'd> {
    pub(super) fn new(types: &'t Types<'d>) -> Self {
        Inputs {
            types,
            defs: Defs::default(),
            queue: VecDeque::new(),
            seen: HashSet::new(),
            fields: 0,
            scalars: BTreeSet::new(),
            cut: BTreeSet::new(),
        }
    }

    /// The schema of an argument or of a field of an input type.
    pub(super) fn field(&mut self, at: &At<'d>) -> Result<Node, Problem> {
        let schema = self.schema(&at.required("type")?)?;
        let description = at.words("description").map(|text| explanation(text, MAX_DESCRIPTION));
        Ok(match (schema, description) {
            (Node::Object(object), Some(text)) => {
                let mut described = Object::default();
                described.set("description", Node::text(text));
                object.entries().for_each(|(key, node)| described.set(key, node.clone()));
                Node::Object(described)
            }
            (schema, _) => schema,
        })
    }

    fn schema(&mut self, at: &At<'d>) -> Result<Node, Problem> {
        // Its wrappers are bounded in number here.
        let used = used(at)?;
        let mut lists = 0;
        let mut inner = at.clone();
        while let Some(next) = inner.get("ofType") {
            lists += usize::from(inner.required("kind")?.text()? == "LIST");
            inner = next;
        }
        let typed = |name: &str| Node::object([("type", Node::text(name))]);
        let mut schema = match (used.kind, used.name) {
            ("SCALAR", "Int") => typed("integer"),
            ("SCALAR", "Float") => typed("number"),
            ("SCALAR", "String" | "ID") => typed("string"),
            ("SCALAR", "Boolean") => typed("boolean"),
            ("SCALAR", name) => {
                self.scalars.insert(name);
                Node::empty()
            }
            (_, name) => {
                let target = self.types.get(name, &inner)?.clone();
                if self.seen.contains(name) {
                    reference(name)
                } else if self.seen.len() >= MAX_TYPES {
                    self.cut.insert(name);
                    Node::empty()
                } else {
                    self.seen.insert(name);
                    self.queue.push_back((name, target));
                    reference(name)
                }
            }
        };
        for _ in 0..lists {
            schema = Node::object([("type", Node::text("array")), ("items", schema)]);
        }
        Ok(schema)
    }

    /// Converts what was referred to.
    pub(super) fn finish(&mut self) -> Result<(), Problem> {
        while let Some((name, at)) = self.queue.pop_front() {
            let (values, fields) = (at.items("enumValues")?, at.items("inputFields")?);
            self.fields += values.len() + fields.len();
            if self.fields > MAX_FIELDS {
                self.cut.insert(name);
                self.defs.set(name, Node::empty());
                continue;
            }
            let mut schema = Object::default();
            if let Some(text) = at.words("description") {
                schema.set("description", Node::text(explanation(text, MAX_DESCRIPTION)));
            }
            if at.required("kind")?.text()? == "ENUM" {
                let names = values.iter().map(|value| name_of(value).map(Node::text)).collect::<Result<_, _>>()?;
                schema.set("enum", Node::List(names));
            } else {
                schema.set("type", Node::text("object"));
                let (mut required, mut properties) = (Vec::new(), Object::default());
                for field in &fields {
                    let name = name_of(field)?;
                    properties.set(name, self.field(field)?);
                    if is_required(field)? {
                        required.push(Node::text(name));
                    }
                }
                if !required.is_empty() {
                    schema.set("required", Node::List(required));
                }
                schema.set("properties", Node::Object(properties));
                // GraphQL refuses fields that it does not know.
                schema.set("additionalProperties", Node::Bool(false));
            }
            self.defs.set(name, Node::Object(schema));
        }
        Ok(())
    }
}
