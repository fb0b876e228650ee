//! Reading a tool's schemas, and the placeholders that the input schema must know.

use serde_json::Value;

use crate::diagnostic::Code;
use crate::reader::{Fields, Reader, nearest, short};
use crate::schema::Schema;
use crate::template::Field;

pub(super) fn schema(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str) -> Option<(Value, Schema)> {
    let entry = fields.entry(key)?;
    let path = fields.path_of(key);
    // A boolean is a schema too, but here it is far more likely a mistake.
    reader.any_table(&entry.node, &path)?;
    let value = match entry.node.to_json() {
        Ok(value) => value,
        Err(part) => {
            reader.error(
                Code::InvalidSchema,
                &path,
                part.at,
                format!("{path} has {}, which JSON cannot hold", part.type_name()),
            );
            return None;
        }
    };
    match Schema::compile(&value) {
        Ok(schema) => Some((value, schema)),
        Err(problems) => {
            for problem in problems {
                let code = if problem.is_reference { Code::SchemaReference } else { Code::InvalidSchema };
                let at = entry.node.at_pointer(&problem.pointer).at;
                let place =
                    if problem.pointer.is_empty() { String::new() } else { format!(" at {}", short(&problem.pointer)) };
                reader.error(code, &path, at, format!("{path} is not a JSON Schema{place}: {}", problem.message));
            }
            None
        }
    }
}

/// Warn of a placeholder that the input schema does not know, or, where it `is_text`, that is none there.
pub(super) fn placeholder(
    reader: &mut Reader<'_>,
    schema: &Value,
    path: &str,
    field: &Field,
    at: Option<usize>,
    is_text: bool,
) {
    let mut part = schema;
    for key in field.path.split('.') {
        // Only the plain case: what a schema with these says about one field cannot be read off it.
        const COMPOSED: [&str; 9] =
            ["$ref", "allOf", "anyOf", "oneOf", "not", "if", "patternProperties", "dependentSchemas", "items"];
        let Value::Object(keywords) = part else { return };
        if COMPOSED.iter().any(|composed| keywords.contains_key(*composed)) {
            return;
        }
        let Some(Value::Object(properties)) = keywords.get("properties") else {
            return not_plain(reader, part, path, field, at);
        };
        match properties.get(key) {
            Some(next) => part = next,
            None if matches!(keywords.get("additionalProperties"), Some(Value::Bool(true) | Value::Object(_))) => {
                return;
            }
            None => {
                let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                let message = format!("{path} needs the field {:?}, which the input schema does not have", field.path);
                reader.warning(Code::PlaceholderNotInInput, path, at, message).suggestion =
                    nearest(key, &known).map(|near| format!("did you mean {near:?}?"));
                return;
            }
        }
    }
    let is_structure = match part.get("type") {
        Some(Value::String(one)) => ["array", "object", "null"].contains(&one.as_str()),
        _ => false,
    };
    if is_structure && is_text {
        let message = format!(
            "{path} needs the field {:?} as a text, a number or a boolean, which it is not in the input schema",
            field.path
        );
        reader.warning(Code::PlaceholderNotInInput, path, at, message);
    }
}

/// A path goes on below a field that the schema says has none.
fn not_plain(reader: &mut Reader<'_>, part: &Value, path: &str, field: &Field, at: Option<usize>) {
    if matches!(part.get("type"), Some(Value::String(one)) if !["array", "object"].contains(&one.as_str())) {
        let message = format!("{path} needs the field {:?}, which the input schema does not have", field.path);
        reader.warning(Code::PlaceholderNotInInput, path, at, message);
    }
}
