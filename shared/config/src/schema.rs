//! JSON Schema 2020-12 for the inputs and outputs of tools.

use std::fmt;
use std::sync::Arc;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

/// The most violations that one check reports.
pub const MAX_VIOLATIONS: usize = 20;
/// The longest message of a violation, in characters.
const MAX_MESSAGE_CHARS: usize = 200;
/// The longest pointer of a violation, in characters.
const MAX_POINTER_CHARS: usize = 200;

/// The dialect that schemas are written in.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A schema, ready to check values. Patterns are matched in linear time, and `format` is an annotation only.
#[derive(Clone)]
pub struct Schema(Arc<Validator>);

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

/// One way in which a value does not fit a schema. Holds no part of the value but the names of its fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", Place(pointer))]
pub struct Violation {
    /// Where in the value: a JSON pointer (RFC 6901), empty for the whole.
    pub pointer: String,
    /// What is wrong there: one line of at most 200 characters.
    pub message: String,
}

struct Place<'a>(&'a str);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

/// Why a document is not a schema that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SchemaProblem {
    /// Where in the schema: a JSON pointer.
    pub(crate) pointer: String,
    pub(crate) message: String,
    pub(crate) is_reference: bool,
}

impl Schema {
    /// Compile `schema`; or all that is wrong with it.
    pub(crate) fn compile(schema: &Value) -> Result<Self, Vec<SchemaProblem>> {
        let mut problems = Vec::new();
        for error in jsonschema::draft202012::meta::validator().iter_errors(schema).take(MAX_VIOLATIONS) {
            problems.push(SchemaProblem {
                pointer: error.instance_path().to_string(),
                message: cut(&error.masked().to_string(), MAX_MESSAGE_CHARS),
                is_reference: false,
            });
        }
        references(schema, schema, &mut String::new(), &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        // Without the features that fetch references, there is nothing here that could reach a network or a file.
        let built = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .offline()
            .should_validate_formats(false)
            .with_pattern_options(PatternOptions::regex())
            .build(schema);
        match built {
            Ok(validator) => Ok(Self(Arc::new(validator))),
            Err(error) => Err(vec![SchemaProblem {
                pointer: error.schema_path().to_string(),
                message: cut(&error.to_string(), MAX_MESSAGE_CHARS),
                is_reference: false,
            }]),
        }
    }

    /// Check `value`.
    ///
    /// # Errors
    /// The ways in which it does not fit, at most [`MAX_VIOLATIONS`].
    pub fn check(&self, value: &Value) -> Result<(), Vec<Violation>> {
        let errors = self.0.iter_errors(value).take(MAX_VIOLATIONS);
        let violations: Vec<_> = errors
            .map(|error| Violation {
                pointer: cut(&error.instance_path().to_string(), MAX_POINTER_CHARS),
                message: cut(&error.masked().to_string(), MAX_MESSAGE_CHARS),
            })
            .collect();
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }
}

/// `text` in one line of at most `limit` characters.
fn cut(text: &str, limit: usize) -> String {
    let mut chars = text.chars().map(|char| if char.is_control() { ' ' } else { char });
    let mut cut: String = chars.by_ref().take(limit).collect();
    if chars.next().is_some() {
        cut.push('…');
    }
    cut
}

/// Look for references that lead out of the document, to nothing, or in a circle.
fn references(root: &Value, part: &Value, pointer: &mut String, problems: &mut Vec<SchemaProblem>) {
    let Value::Object(fields) = part else {
        if let Value::Array(items) = part {
            for (index, item) in items.iter().enumerate() {
                below(root, item, &index.to_string(), pointer, problems);
            }
        }
        return;
    };
    for (key, value) in fields {
        let mut problem = |is_reference, message: &str| {
            problems.push(SchemaProblem {
                pointer: format!("{pointer}/{key}"),
                message: message.to_owned(),
                is_reference,
            });
        };
        match (key.as_str(), value) {
            // What stands in these is a value, not a schema.
            ("const" | "enum" | "default" | "examples", _) => {}
            ("$ref", Value::String(target)) => match target.strip_prefix('#') {
                Some(at) if (at.is_empty() || at.starts_with('/')) && !at.contains('%') => {
                    if root.pointer(at).is_none() {
                        problem(true, "this reference leads nowhere");
                    } else if is_circle(root, target) {
                        problem(true, "this reference leads back to itself");
                    }
                }
                _ => problem(true, "a reference stays within the schema and is a plain path: #/$defs/NAME"),
            },
            ("$dynamicRef" | "$anchor" | "$dynamicAnchor" | "$id", Value::String(_)) => {
                problem(true, "it would change what references mean; refer with $ref and #/$defs/NAME");
            }
            ("$schema", Value::String(dialect)) if dialect.trim_end_matches('#') != DIALECT => {
                problem(false, &format!("schemas are written in {DIALECT}"));
            }
            _ => below(root, value, key, pointer, problems),
        }
    }
}

fn below(root: &Value, part: &Value, key: &str, pointer: &mut String, problems: &mut Vec<SchemaProblem>) {
    let length = pointer.len();
    pointer.push('/');
    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
    references(root, part, pointer, problems);
    pointer.truncate(length);
}

/// Whether following `reference` and the references at its target comes back without going one level into a value: such a
/// schema has no meaning, and checking with it would not end.
fn is_circle(root: &Value, reference: &str) -> bool {
    let mut seen: Vec<String> = Vec::new();
    let mut open = vec![reference.to_owned()];
    while let Some(reference) = open.pop() {
        let Some(target) = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) else { continue };
        if seen.contains(&reference) {
            continue;
        }
        same_place(target, &mut open);
        seen.push(reference);
    }
    // The starting point is in a circle if something on the way refers to it again.
    seen.iter().any(|from| {
        let mut next = Vec::new();
        if let Some(target) = from.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) {
            same_place(target, &mut next);
        }
        next.iter().any(|next| next == reference)
    })
}

/// The references in `schema` that apply to the very value that it applies to.
fn same_place(schema: &Value, found: &mut Vec<String>) {
    let Value::Object(fields) = schema else { return };
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("$ref", Value::String(target)) => found.push(target.clone()),
            ("not" | "if" | "then" | "else", inner) => same_place(inner, found),
            ("allOf" | "anyOf" | "oneOf", Value::Array(inner)) => {
                inner.iter().for_each(|inner| same_place(inner, found))
            }
            ("dependentSchemas", Value::Object(inner)) => inner.values().for_each(|inner| same_place(inner, found)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn problems(schema: Value) -> Vec<(String, bool)> {
        match Schema::compile(&schema) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.into_iter().map(|problem| (problem.pointer, problem.is_reference)).collect(),
        }
    }

    #[test]
    fn violations_say_where_and_what_but_not_the_value() {
        let schema = Schema::compile(&json!({
            "type": "object",
            "required": ["customer"],
            "properties": {
                "customer": {"type": "string", "pattern": "^cus_"},
                "amount": {"type": "integer", "minimum": 1},
                "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
            },
            "additionalProperties": false,
            "$defs": {"item": {"type": "object", "required": ["sku"]}},
        }))
        .unwrap();
        assert_eq!(schema.check(&json!({"customer": "cus_1", "amount": 5, "items": [{"sku": 1}]})), Ok(()));
        let secret = "hunter2".repeat(50);
        let value = json!({"customer": secret, "amount": "hunter2", "items": [{"sku": 1}, {}], "extra\n": "hunter2"});
        let violations = schema.check(&value).unwrap_err();
        let mut pointers: Vec<_> = violations.iter().map(|violation| violation.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["", "/amount", "/customer", "/items/1"]);
        for violation in &violations {
            assert!(!violation.to_string().contains("hunter2"), "{violation}");
            assert!(!violation.message.contains('\n'));
        }
        assert_eq!(schema.check(&json!({})).unwrap_err()[0].to_string(), "\"customer\" is a required property");
    }

    #[test]
    fn violations_are_bounded_in_number_and_length() {
        let schema = Schema::compile(&json!({"items": {"type": "string"}, "additionalProperties": false})).unwrap();
        assert_eq!(schema.check(&json!(vec![1; 1000])).unwrap_err().len(), MAX_VIOLATIONS);
        let violations = schema.check(&json!({ "x".repeat(5000): 1 })).unwrap_err();
        assert!(violations[0].message.chars().count() <= MAX_MESSAGE_CHARS + 1);
    }

    #[test]
    fn documents_that_are_no_schema_are_refused_where_they_go_wrong() {
        for (schema, expected) in [
            (json!({"type": "strin"}), vec![("/type", false)]),
            (json!({"properties": {"a": {"minimum": "1"}}}), vec![("/properties/a/minimum", false)]),
            (json!({"required": "a"}), vec![("/required", false)]),
            (json!({"properties": {"a/b": {"type": 1}}}), vec![("/properties/a~1b/type", false)]),
            (json!({"$ref": "https://example.com/schema"}), vec![("/$ref", true)]),
            (json!({"properties": {"a": {"$ref": "other.json#/x"}}}), vec![("/properties/a/$ref", true)]),
            (json!({"$dynamicRef": "x#y"}), vec![("/$dynamicRef", true)]),
            (json!({"$ref": "#a", "$anchor": "a"}), vec![("/$anchor", true), ("/$ref", true)]),
            (json!({"$dynamicRef": "#"}), vec![("/$dynamicRef", true)]),
            (
                json!({"$ref": "#/%24defs/a", "$defs": {"a": {"$ref": "#/%24defs/a"}}}),
                vec![("/$defs/a/$ref", true), ("/$ref", true)],
            ),
            (json!({"$ref": "#/$defs/missing"}), vec![("/$ref", true)]),
            (json!({"$id": "https://example.com/"}), vec![("/$id", true)]),
            (json!({"$schema": "http://json-schema.org/draft-07/schema#"}), vec![("/$schema", false)]),
            (json!({"$ref": "#"}), vec![("/$ref", true)]),
            (
                json!({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}}),
                vec![("/$defs/a/allOf/0/$ref", true), ("/$defs/b/$ref", true), ("/$ref", true)],
            ),
        ] {
            let mut found = problems(schema.clone());
            found.sort();
            found.dedup();
            let expected: Vec<_> =
                expected.into_iter().map(|(pointer, reference)| (pointer.to_owned(), reference)).collect();
            assert_eq!(found, expected, "{schema}");
        }
        for schema in [json!({"pattern": "("}), json!({"pattern": "(?=x)"}), json!({"pattern": "\\1"})] {
            assert!(!problems(schema.clone()).is_empty(), "{schema}");
        }
    }

    #[test]
    fn what_looks_like_a_reference_in_a_value_is_none() {
        for schema in [
            json!({"const": {"$ref": "https://example.com/"}}),
            json!({"enum": [{"$ref": "https://example.com/", "$id": "x"}]}),
            json!({"default": {"$ref": "x"}, "examples": [{"$ref": "x"}]}),
            json!({"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}}),
            json!({"$schema": DIALECT, "type": "object"}),
            json!({"type": "object", "properties": {"child": {"$ref": "#"}}}),
            json!({"$defs": {"list": {"items": {"$ref": "#/$defs/list"}}}, "$ref": "#/$defs/list"}),
        ] {
            assert_eq!(problems(schema.clone()), [], "{schema}");
        }
    }

    #[test]
    fn a_tree_of_any_depth_that_json_has_can_be_checked() {
        let schema = Schema::compile(&json!({"items": {"$ref": "#"}, "type": ["array", "null"]})).unwrap();
        let tree = (0..120).fold(json!(null), |inner, _| json!([inner]));
        assert_eq!(schema.check(&tree), Ok(()));
        let tree = (0..120).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(schema.check(&tree).unwrap_err().len(), 1);
    }

    #[test]
    fn patterns_take_no_time() {
        let schema = Schema::compile(&json!({"pattern": "^(a+)+$"})).unwrap();
        assert!(schema.check(&json!(format!("{}b", "a".repeat(100_000)))).is_err());
    }

    proptest! {
        #[test]
        fn any_reference_ends(a in "#(/\\$defs/[ab])?", b in "#(/\\$defs/[ab])?", c in "#(/\\$defs/[abx])?", wrap in prop::sample::select(vec!["allOf", "anyOf", "oneOf"]), nested in any::<bool>()) {
            let inner = json!({ wrap: [{"$ref": c}] });
            let inner = if nested { json!({"not": inner}) } else { inner };
            let schema = json!({"$ref": a, "$defs": {"a": {"$ref": b, "properties": {"x": {"$ref": "#"}}}, "b": inner}});
            if let Ok(schema) = Schema::compile(&schema) {
                let _ = schema.check(&json!({"x": {"x": 1}}));
            }
        }
    }
}
