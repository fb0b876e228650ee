use super::*;
use crate::read::read;
use crate::schema::settle;
use crate::toml::inline;

/// The schema as TOML, settled, and what was left out of it.
fn converted(schema: &str, direction: Direction) -> (String, Vec<String>) {
    let components = r##"{"Name": {"type": "string", "description": "A name", "maxLength": 9}, "Pair": {"type": "object", "properties": {"a": {"$ref": "#/components/schemas/Name"}, "id": {"type": "integer", "readOnly": true}}, "required": ["a", "id"]}, "Hidden": {"type": "string", "writeOnly": true}, "Null": {"type": "string", "nullable": true}}"##;
    let document = read(format!(r#"{{"x": {schema}, "components": {{"schemas": {components}}}}}"#).as_bytes()).unwrap();
    let patterns = Patterns::default();
    let mut converter = Converter::new(&document, &patterns, direction);
    let root =
        converter.schema(&At::root(&document).get("x").unwrap()).unwrap_or_else(|stop| panic!("{schema}: {stop:?}"));
    converter.finish().unwrap();
    (inline(&settle(&root, &converter.defs).unwrap()), converter.dropped.into_iter().collect())
}

#[test]
fn schemas_of_both_versions_become_those_of_2020_12() {
    for (schema, expected) in [
        // Null, in 3.0's way and in 3.1's.
        (r#"{"type": "string", "nullable": true}"#, r#"{ type = ["string", "null"] }"#),
        (r#"{"type": ["string", "null"]}"#, r#"{ type = ["string", "null"] }"#),
        (r#"{"type": ["string"]}"#, r#"{ type = "string" }"#),
        (r#"{"type": "null"}"#, r#"{ type = "null" }"#),
        (r#"{"const": null}"#, r#"{ type = "null" }"#),
        (r#"{"enum": [null]}"#, r#"{ type = "null" }"#),
        (r#"{"nullable": true}"#, "{}"),
        (
            r#"{"type": "string", "nullable": true, "enum": ["a", null], "description": "d"}"#,
            r#"{ description = "d", anyOf = [{ type = "string", enum = ["a"] }, { type = "null" }] }"#,
        ),
        (r#"{"enum": ["a", null]}"#, r#"{ anyOf = [{ enum = ["a"] }, { type = "null" }] }"#),
        (r#"{"type": "string", "enum": ["a", null]}"#, r#"{ type = "string", enum = ["a"] }"#),
        (
            r#"{"nullable": true, "anyOf": [{"type": "string"}, {"type": "integer"}]}"#,
            r#"{ anyOf = [{ type = "string" }, { type = "integer" }, { type = "null" }] }"#,
        ),
        (
            r##"{"nullable": true, "allOf": [{"$ref": "#/components/schemas/Null"}]}"##,
            r#"{ anyOf = [{ type = ["string", "null"] }, { type = "null" }] }"#,
        ),
        (
            r##"{"$ref": "#/components/schemas/Null", "nullable": true}"##,
            r#"{ anyOf = [{ type = ["string", "null"] }, { type = "null" }] }"#,
        ),
        (
            r#"{"nullable": true, "allOf": [{"type": "object", "properties": {"a": {"type": "string"}}}]}"#,
            r#"{ type = ["object", "null"], properties = { a = { type = "string" } } }"#,
        ),
        // Limits.
        (
            r#"{"minimum": 1, "exclusiveMinimum": true, "maximum": 5, "exclusiveMaximum": false}"#,
            "{ exclusiveMinimum = 1, maximum = 5 }",
        ),
        (r#"{"exclusiveMaximum": 2.5, "multipleOf": 0.1}"#, "{ exclusiveMaximum = 2.5, multipleOf = 0.1 }"),
        (
            r#"{"multipleOf": 0, "minLength": -1, "maxItems": 1.5, "maxLength": "9", "maximum": 18446744073709551615}"#,
            "{ maximum = 1.8446744073709552e19 }",
        ),
        (
            r#"{"uniqueItems": true, "format": "uuid", "pattern": "^\\d+$"}"#,
            "{ format = \"uuid\", pattern = \"^\\\\d+$\", uniqueItems = true }",
        ),
        // What is for people and tools of OpenAPI.
        (
            r#"{"type": "string", "title": "T", "example": "x", "examples": ["x"], "xml": {}, "externalDocs": {}, "deprecated": true, "x-y": 1}"#,
            r#"{ type = "string" }"#,
        ),
        // References.
        (r##"{"$ref": "#/components/schemas/Name"}"##, r#"{ description = "A name", type = "string", maxLength = 9 }"#),
        (
            r##"{"$ref": "#/components/schemas/Name", "description": "Mine"}"##,
            r#"{ description = "Mine", type = "string", maxLength = 9 }"#,
        ),
        (
            r##"{"description": "Mine", "allOf": [{"$ref": "#/components/schemas/Name"}]}"##,
            r#"{ description = "Mine", type = "string", maxLength = 9 }"#,
        ),
        // Objects.
        (
            r#"{"type": "object", "required": ["a", "a", 5], "properties": {"a": true}, "additionalProperties": true}"#,
            r#"{ type = "object", required = ["a"], properties = { a = {} } }"#,
        ),
        (
            r#"{"type": "object", "required": true, "additionalProperties": {"type": "string"}}"#,
            r#"{ type = "object", additionalProperties = { type = "string" } }"#,
        ),
        (
            r#"{"dependentRequired": {"a": ["b"]}, "patternProperties": {"^x": {"type": "null"}}}"#,
            r#"{ patternProperties = { "^x" = { type = "null" } }, dependentRequired = { a = ["b"] } }"#,
        ),
        (
            r##"{"allOf": [{"$ref": "#/components/schemas/Pair"}, {"type": "object", "required": ["b"], "properties": {"b": {"type": "integer"}, "a": {"minLength": 1}}}]}"##,
            r#"{ type = "object", required = ["a", "b"], properties = { a = { allOf = [{ description = "A name", type = "string", maxLength = 9 }, { minLength = 1 }] }, b = { type = "integer" } } }"#,
        ),
        (
            r#"{"allOf": [{"type": "string"}, {"minLength": 1}]}"#,
            r#"{ allOf = [{ type = "string" }, { minLength = 1 }] }"#,
        ),
        (
            r#"{"type": "array", "items": {"oneOf": [{"type": "string"}, {"not": {"type": "object"}}]}}"#,
            r#"{ type = "array", items = { oneOf = [{ type = "string" }, { not = { type = "object" } }] } }"#,
        ),
        (
            r#"{"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": false}"#,
            r#"{ if = { required = ["a"] }, then = { required = ["b"] }, else = false }"#,
        ),
        (r#"{"default": {"a": null}}"#, "{}"),
        (r#"{"default": {"a": 1}}"#, "{ default = { a = 1 } }"),
    ] {
        assert_eq!(converted(schema, Direction::Input), (expected.to_owned(), Vec::new()), "{schema}");
    }
}

#[test]
fn what_a_schema_cannot_say_here_is_left_out_and_named() {
    for (schema, expected, dropped) in [
        (r#"{"type": "file"}"#, "{}", "type \"file\""),
        (r#"{"pattern": "^(?!x)"}"#, "{}", "pattern ^(?!x)"),
        (r#"{"pattern": "("}"#, "{}", "pattern ("),
        (r#"{"enum": [[null], "a"]}"#, "{}", "enum"),
        (r#"{"enum": ["sk_live_abcdefghijkl"]}"#, "{}", "enum"),
        (r#"{"const": {"a": null}}"#, "{}", "const"),
        (r#"{"items": [{"type": "string"}]}"#, "{}", "items"),
        (r##"{"$dynamicRef": "#x"}"##, "{}", "$dynamicRef"),
    ] {
        assert_eq!(converted(schema, Direction::Input), (expected.to_owned(), vec![dropped.to_owned()]), "{schema}");
    }
}

#[test]
fn what_is_answered_is_not_what_is_sent() {
    for (schema, input, output) in [
        (
            r##"{"$ref": "#/components/schemas/Pair"}"##,
            r#"{ type = "object", required = ["a"], properties = { a = { description = "A name", type = "string", maxLength = 9 } } }"#,
            r#"{ type = "object", required = ["a", "id"], properties = { a = { type = "string", maxLength = 9 }, id = { type = "integer" } } }"#,
        ),
        (
            r##"{"properties": {"h": {"$ref": "#/components/schemas/Hidden"}, "a": {"default": 1}}, "required": ["h"], "additionalProperties": false, "unevaluatedProperties": false}"##,
            r#"{ required = ["h"], properties = { h = { type = "string" }, a = { default = 1 } }, additionalProperties = false, unevaluatedProperties = false }"#,
            "{ properties = { a = {} } }",
        ),
    ] {
        assert_eq!(converted(schema, Direction::Input).0, input);
        assert_eq!(converted(schema, Direction::Output).0, output);
    }
}
