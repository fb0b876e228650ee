//! What a declared tool is for a client: schemas and hints. Pure.
//!
//! Arguments and structured results of MCP are objects. A tool's input or output that is none is put into one, under `input` or `result`, and the
//! description says so. Beside its output a result can hold what there is instead: a failure, or a task that goes on ([`INSTEAD`]).

use clawbridge_config::{CompiledTool, Effect};
use serde_json::{Map, Value, json};

/// The key of a structured result that has no output.
pub(crate) const INSTEAD: &str = "clawbridge";

/// The tool as `tools/list` has it.
pub(crate) fn tool(name: &str, tool: &CompiledTool) -> Value {
    let declared = tool.tool();
    let mut notes = vec![declared.description.clone()];
    let (input, is_wrapped) = input_schema(declared.input.as_ref());
    if is_wrapped {
        notes.push("The tool's input is no object: give it as `input`.".to_owned());
    }
    let mut described =
        json!({"name": name, "title": tool.name(), "inputSchema": input, "annotations": annotations(tool)});
    if let Some(output) = declared.output.as_ref() {
        if !is_object(output) {
            notes.push("The tool's output is no object: it is the result's `result`.".to_owned());
        }
        described["outputSchema"] = output_schema(output, declared.effect);
    }
    notes.retain(|note| !note.is_empty());
    if !notes.is_empty() {
        described["description"] = json!(notes.join(" "));
    }
    described
}

/// What the tool's input is, given the arguments of a call.
pub(crate) fn input(tool: &CompiledTool, mut arguments: Map<String, Value>) -> Value {
    if input_schema(tool.tool().input.as_ref()).1 {
        // Without it the tool's own schema says what is missing.
        return arguments.remove("input").unwrap_or(Value::Null);
    }
    Value::Object(arguments)
}

/// What a result holds as structured content, given the tool's output and its schema.
pub(crate) fn structured(output: Value, schema: Option<&Value>) -> Option<Value> {
    match (schema, output) {
        (Some(schema), output) if !is_object(schema) => Some(json!({ "result": output })),
        (_, output @ Value::Object(_)) => Some(output),
        // Where the output is to be an object and is none, there is none: of a `read` tool for example, whose upstream has no such thing.
        (Some(_), _) => None,
        (None, output) => Some(json!({ "result": output })),
    }
}

/// As the effect class has it, and no better than that: whatever writes may overwrite, and every tool calls somebody else's API.
fn annotations(tool: &CompiledTool) -> Value {
    let effect = tool.tool().effect;
    let is_read = effect == Effect::Read;
    // With a key that is made of the input, the same call again is the same task.
    let is_idempotent = match effect {
        Effect::Read | Effect::Idempotent => true,
        Effect::Keyed | Effect::Unsafe => tool.tool().idempotency_key.is_some(),
    };
    json!({"title": tool.name(), "readOnlyHint": is_read, "destructiveHint": !is_read, "idempotentHint": is_idempotent, "openWorldHint": true})
}

fn input_schema(declared: Option<&Value>) -> (Value, bool) {
    let Some(declared) = declared else { return (json!({"type": "object"}), false) };
    let may_be_object = match &declared["type"] {
        Value::String(kind) => kind == "object",
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "object"),
        _ => true,
    };
    match declared {
        Value::Object(schema) if may_be_object => {
            // Arguments are always an object, also where the tool would take something else.
            let mut schema = schema.clone();
            schema.insert("type".to_owned(), json!("object"));
            (Value::Object(schema), false)
        }
        other => {
            let schema = rebased(other.clone(), "#/properties/input");
            (
                json!({"type": "object", "properties": {"input": schema}, "required": ["input"], "additionalProperties": false}),
                true,
            )
        }
    }
}

fn is_object(schema: &Value) -> bool {
    schema["type"] == "object"
}

fn output_schema(declared: &Value, effect: Effect) -> Value {
    let output = if is_object(declared) {
        rebased(declared.clone(), "#/anyOf/0")
    } else if effect == Effect::Read {
        let schema = rebased(declared.clone(), "#/anyOf/0/properties/result/anyOf/0");
        json!({"type": "object", "properties": {"result": {"anyOf": [schema, {"type": "null"}]}}, "required": ["result"]})
    } else {
        let schema = rebased(declared.clone(), "#/anyOf/0/properties/result");
        json!({"type": "object", "properties": {"result": schema}, "required": ["result"]})
    };
    let instead = json!({"type": "object", "required": [INSTEAD], "properties": {INSTEAD: {
        "type": "object",
        "description": "There is no output, or none yet: the call failed, or its task goes on.",
        "properties": {
            "task": {"type": "object", "properties": {"id": {"type": "string"}, "status": {"type": "string"}}, "required": ["id", "status"]},
            "error": {"type": "object", "required": ["code", "message"]},
            "next": {"type": "string"},
        },
    }}});
    json!({"type": "object", "anyOf": [output, instead]})
}

/// A schema that stands deeper in a document than it was written for: its references to itself lead there. With an `$id` of its own they do anyway.
fn rebased(schema: Value, place: &str) -> Value {
    if schema.get("$id").is_some() {
        return schema;
    }
    match schema {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, value)| match value {
                    Value::String(target) if name == "$ref" && (target == "#" || target.starts_with("#/")) => {
                        (name, json!(format!("{place}{}", &target[1..])))
                    }
                    value => (name, rebased(value, place)),
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(|item| rebased(item, place)).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clawbridge_config::Compiled;

    fn compiled(tool: Value) -> Compiled {
        let mut declared = json!({"method": "POST", "url": "https://api.example.com/", "effect": "unsafe"});
        declared.as_object_mut().expect("a table").extend(tool.as_object().expect("a table").clone());
        Compiled::from_json(json!({"tools": {"t": declared}}).to_string().as_bytes()).expect("a document")
    }

    fn described(declared: Value) -> Value {
        tool("t", compiled(declared).tool("t").expect("the tool"))
    }

    #[test]
    fn hints_are_what_the_effect_class_promises() {
        for (declared, expected) in [
            (json!({"method": "GET", "effect": "read"}), [true, false, true, true]),
            (json!({"method": "PUT", "effect": "idempotent"}), [false, true, true, true]),
            (json!({"method": "DELETE", "effect": "idempotent"}), [false, true, true, true]),
            (json!({"effect": "keyed", "idempotency_header": "Idempotency-Key"}), [false, true, false, true]),
            (
                json!({"effect": "keyed", "idempotency_header": "Idempotency-Key", "idempotency_key": ".order"}),
                [false, true, true, true],
            ),
            (json!({"effect": "unsafe"}), [false, true, false, true]),
        ] {
            let hints = described(declared.clone())["annotations"].take();
            let names = ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"];
            assert_eq!(names.map(|name| hints[name].clone()), expected.map(Value::Bool), "{declared}");
        }
    }

    #[test]
    fn every_input_schema_is_one_of_an_object() {
        for (declared, expected, takes) in [
            (Value::Null, json!({"type": "object"}), json!({"n": 1})),
            (
                json!({"type": "object", "required": ["n"]}),
                json!({"type": "object", "required": ["n"]}),
                json!({"n": 1}),
            ),
            (json!({"required": ["n"]}), json!({"type": "object", "required": ["n"]}), json!({"n": 1})),
            (json!({"type": ["object", "null"]}), json!({"type": "object"}), json!({"n": 1})),
        ] {
            let compiled = match &declared {
                Value::Null => compiled(json!({})),
                schema => compiled(json!({ "input": schema })),
            };
            let t = compiled.tool("t").expect("the tool");
            assert_eq!(tool("t", t)["inputSchema"], expected);
            assert_eq!(input(t, takes.as_object().expect("arguments").clone()), takes);
        }
        let compiled = compiled(
            json!({"description": "Sums.", "input": {"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "integer"}}}}),
        );
        let t = compiled.tool("t").expect("the tool");
        let told = tool("t", t);
        assert_eq!(told["description"], "Sums. The tool's input is no object: give it as `input`.");
        assert_eq!(input(t, json!({"input": [1, 2]}).as_object().expect("arguments").clone()), json!([1, 2]));
        let validator = jsonschema::validator_for(&told["inputSchema"]).expect("a schema");
        assert!(validator.is_valid(&json!({"input": [1]})));
        assert!(!validator.is_valid(&json!({"input": ["x"]})) && !validator.is_valid(&json!({})));
    }

    #[test]
    fn every_structured_result_is_one_of_its_schema() {
        let recursive = json!({"type": "object", "properties": {"next": {"$ref": "#"}, "id": {"type": "integer"}}, "required": ["id"]});
        let pending = json!({INSTEAD: {"task": {"id": "task_1", "status": "running"}}});
        for (effect, declared, good, bad) in [
            (
                "unsafe",
                recursive,
                vec![json!({"id": 1, "next": {"id": 2}})],
                vec![json!({"id": 1, "next": {"id": "x"}})],
            ),
            (
                "unsafe",
                json!({"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "integer"}}}),
                vec![json!([1])],
                vec![json!(["x"]), Value::Null],
            ),
            ("read", json!({"type": "string"}), vec![json!("x"), Value::Null], vec![json!(7)]),
        ] {
            let told = described(json!({"effect": effect, "output": declared}));
            let schema = &told["outputSchema"];
            assert_eq!(schema["type"], "object");
            let validator = jsonschema::validator_for(schema).expect("a schema");
            for (outputs, expected) in [(good, true), (bad, false)] {
                for output in outputs {
                    let structured = structured(output, Some(&declared)).expect("structured");
                    assert_eq!(validator.is_valid(&structured), expected, "{declared} {structured}");
                }
            }
            assert!(validator.is_valid(&pending) && !validator.is_valid(&json!({})));
        }
        // The answer of a read tool that found nothing.
        assert_eq!(structured(Value::Null, Some(&json!({"type": "object"}))), None);
        assert_eq!(structured(json!([1]), None), Some(json!({"result": [1]})));
        assert!(described(json!({})).get("outputSchema").is_none());
    }
}
