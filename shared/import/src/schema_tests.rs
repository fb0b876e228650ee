use super::*;
use crate::read::read;

fn node(json: &str) -> Node {
    read(json.as_bytes()).unwrap()
}

fn settled(root: &str, defs: &str) -> Result<Node, TooLarge> {
    settle(&node(root), node(defs).as_object().unwrap())
}

const LONG: &str =
    r#"{"type": "object", "description": "a definition that is long enough to stand by itself", "required": ["a"]}"#;

#[test]
fn what_is_used_once_or_is_short_stands_where_it_is_used() {
    let defs = format!(r##"{{"Long": {LONG}, "Short": {{"type": "string"}}, "Via": {{"$ref": "#/$defs/Long"}}}}"##);
    let once = settled(
        r##"{"properties": {"a": {"$ref": "#/$defs/Long"}, "b": {"$ref": "#/$defs/Short"}, "c": {"$ref": "#/$defs/Short"}}}"##,
        &defs,
    );
    assert_eq!(
        once,
        Ok(node(&format!(
            r#"{{"properties": {{"a": {LONG}, "b": {{"type": "string"}}, "c": {{"type": "string"}}}}}}"#
        )))
    );
    let twice = settled(r##"{"items": {"$ref": "#/$defs/Long"}, "contains": {"$ref": "#/$defs/Via"}}"##, &defs);
    let expected = format!(
        r##"{{"items": {{"$ref": "#/$defs/Long"}}, "contains": {{"$ref": "#/$defs/Long"}}, "$defs": {{"Long": {LONG}}}}}"##
    );
    assert_eq!(twice, Ok(node(&expected)));
    let described = settled(r##"{"items": {"$ref": "#/$defs/Short", "description": "here"}}"##, &defs);
    assert_eq!(described, Ok(node(r#"{"items": {"type": "string", "description": "here"}}"#)));
    // In a list it would be a long line.
    let listed = settled(r##"{"oneOf": [{"$ref": "#/$defs/Long"}, {"$ref": "#/$defs/Short"}]}"##, &defs).unwrap();
    assert!(listed.get("$defs").is_some_and(|defs| defs.get("Long").is_some() && defs.get("Short").is_none()));
    let beside = settled(r##"{"items": {"$ref": "#/$defs/Short", "minLength": 1}}"##, &defs);
    assert!(beside.unwrap().get("$defs").is_some());
}

#[test]
fn what_refers_to_itself_stays_a_definition() {
    let tree = r##"{"Tree": {"type": "object", "properties": {"left": {"$ref": "#/$defs/Tree"}, "other": {"$ref": "#/$defs/Leaf"}}}, "Leaf": {"items": {"$ref": "#/$defs/Tree"}}}"##;
    let settled = settled(r##"{"properties": {"tree": {"$ref": "#/$defs/Tree"}}}"##, tree).unwrap();
    assert_eq!(settled.get("properties").and_then(|p| p.get("tree")).and_then(referred), Some("Tree"));
    let kept: Vec<&str> = settled.get("$defs").unwrap().as_object().unwrap().entries().map(|(name, _)| name).collect();
    assert_eq!(kept, ["Tree", "Leaf"]);
}

#[test]
fn values_that_look_like_references_are_none() {
    let root = r##"{"properties": {"$ref": {"type": "string"}}, "enum": [{"$ref": "#/$defs/X"}], "default": {"$ref": "#/$defs/X"}}"##;
    assert_eq!(settled(root, "{}"), Ok(node(root)));
}

#[test]
fn what_nests_too_deeply_once_unfolded_is_refused() {
    let chain: Vec<String> =
        (0..100).map(|n| format!(r##""C{n}": {{"items": {{"$ref": "#/$defs/C{}"}}}}"##, n + 1)).collect();
    assert_eq!(settled(r##"{"$ref": "#/$defs/C0"}"##, &format!("{{{}}}", chain.join(","))), Err(TooLarge));
}

#[test]
fn a_large_input_loses_descriptions_then_what_is_nested_then_its_fields() {
    let description = "x".repeat(100);
    let root = node(&format!(
        r##"{{"type": "object", "required": ["name"], "properties": {{"name": {{"type": "string", "minLength": 1, "description": "{description}"}}, "address": {{"$ref": "#/$defs/Address"}}, "any": {{}}}}}}"##
    ));
    let defs = node(
        r#"{"Address": {"type": "object", "description": "where", "properties": {"street": {"type": "string", "minLength": 1, "maxLength": 100}}}}"#,
    );
    let defs = defs.as_object().unwrap();
    let cut = |limit| {
        let (schema, cut) = fitted(&root, defs, limit);
        assert!(length(&schema) <= limit || cut == Cut::Fields, "{limit}");
        (cut, inline(&schema))
    };
    assert_eq!(cut(1_000).0, Cut::Nothing);
    let (kind, text) = cut(300);
    assert!(kind == Cut::Descriptions && text.contains("street") && !text.contains("description"), "{text}");
    let (kind, text) = cut(150);
    assert_eq!(kind, Cut::Nested);
    assert!(text.contains(r#"name = { type = "string", minLength = 1 }, address = { type = "object" }"#), "{text}");
    let (kind, text) = cut(135);
    assert_eq!(kind, Cut::Nested);
    assert_eq!(
        text,
        r#"{ type = "object", required = ["name"], properties = { name = { type = "string" }, address = { type = "object" }, any = {} } }"#
    );
    assert_eq!(cut(60), (Cut::Fields, r#"{ type = "object", required = ["name"] }"#.to_owned()));
    assert_eq!(cut(10), (Cut::Fields, r#"{ type = "object" }"#.to_owned()));
}

#[test]
fn a_field_called_description_is_not_a_description() {
    let root = node(r#"{"properties": {"description": {"type": "string", "description": "gone"}}}"#);
    assert_eq!(without_descriptions(&root), node(r#"{"properties": {"description": {"type": "string"}}}"#));
}
