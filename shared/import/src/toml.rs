//! Writing TOML 1.0 for people: values on one line as long as they fit, dotted keys where they do not.

use std::fmt::Write as _;

use crate::problem::one_line;
use crate::tree::{Node, Object};
use crate::words::without_secrets;

/// The longest line, where there is a choice.
pub(crate) const WIDTH: usize = 120;
/// The longest line of a comment.
const COMMENT_WIDTH: usize = 110;

/// A key, in quotes if it needs them.
pub(crate) fn key(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if is_bare { key.to_owned() } else { text(key) }
}

/// A text on one line.
pub(crate) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            char if char.is_control() => {
                // Writing to a String does not fail.
                let _ = write!(out, "\\u{:04X}", u32::from(char));
            }
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

/// A program or a document: as it is between apostrophes, on lines of its own if it has several.
pub(crate) fn code(source: &str) -> String {
    let is_plain = |char: char| !char.is_control() || char == '\n';
    if !source.chars().all(is_plain) {
        return text(source);
    }
    match source.contains('\n') {
        true if !source.contains("'''") => format!("'''\n{}\n'''", source.trim_matches('\n')),
        false if !source.contains('\'') => format!("'{source}'"),
        _ => text(source),
    }
}

/// A value on one line. TOML has no null: whoever makes the tree leaves it out.
pub(crate) fn inline(node: &Node) -> String {
    let mut out = String::new();
    write_inline(&mut out, node);
    out
}

fn write_inline(out: &mut String, node: &Node) {
    match node {
        Node::Null => out.push_str("\"\""),
        Node::Bool(bool) => out.push_str(if *bool { "true" } else { "false" }),
        Node::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => out.push_str(&integer.to_string()),
            // Beyond TOML's integers, or no integer: `{:?}` always has a point or an exponent.
            (None, Some(float)) => out.push_str(&format!("{float:?}")),
            (None, None) => out.push('0'),
        },
        Node::Text(value) => out.push_str(&text(value)),
        Node::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_inline(out, item);
            }
            out.push(']');
        }
        Node::Object(object) if object.is_empty() => out.push_str("{}"),
        Node::Object(object) => {
            out.push_str("{ ");
            for (index, (name, node)) in object.entries().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                out.push_str(&key(name));
                out.push_str(" = ");
                write_inline(out, node);
            }
            out.push_str(" }");
        }
    }
}

/// `key = value` of a table, on as many lines as it takes. `path` is what the value is called: a key, or keys with dots between.
pub(crate) fn assign(out: &mut String, path: &str, node: &Node) {
    let value = inline(node);
    let fits = path.chars().count() + 3 + value.chars().count() <= WIDTH;
    match node {
        Node::Object(object) if !fits && !object.is_empty() => {
            object.entries().for_each(|(name, node)| assign(out, &format!("{path}.{}", key(name)), node));
        }
        Node::List(items) if !fits && !items.is_empty() => {
            let _ = writeln!(out, "{path} = [");
            let mut line = String::new();
            for item in items {
                let item = format!("{},", inline(item));
                if !line.is_empty() && line.chars().count() + item.chars().count() + 5 > WIDTH {
                    let _ = writeln!(out, "    {line}");
                    line.clear();
                }
                line.push_str(if line.is_empty() { "" } else { " " });
                line.push_str(&item);
            }
            let _ = writeln!(out, "    {line}\n]");
        }
        _ => {
            let _ = writeln!(out, "{path} = {value}");
        }
    }
}

/// The most lines of dotted keys with which a schema within another stands among the other keys. A longer one is a table of its own.
const DOTTED_LINES: usize = 3;

/// A JSON Schema as the table `path`, and the schemas in it that are too long for its lines as tables after it.
pub(crate) fn schema_table(out: &mut String, path: &str, schema: &Object) {
    let _ = writeln!(out, "\n[{path}]");
    let mut later = Vec::new();
    for (name, node) in schema.entries() {
        match node {
            // Names for schemas: they are not a schema themselves.
            Node::Object(schemas)
                if ["properties", "patternProperties", "dependentSchemas", "$defs"].contains(&name) =>
            {
                let whole = format!("{} = {}", key(name), inline(node));
                if whole.chars().count() <= WIDTH {
                    let _ = writeln!(out, "{whole}");
                    continue;
                }
                for (inner, node) in schemas.entries() {
                    entry(out, format!("{}.{}", key(name), key(inner)), node, &mut later);
                }
            }
            node => entry(out, key(name), node, &mut later),
        }
    }
    for (name, schema) in later {
        schema_table(out, &format!("{path}.{name}"), schema);
    }
}

fn entry<'s>(out: &mut String, name: String, node: &'s Node, later: &mut Vec<(String, &'s Object)>) {
    let mut lines = String::new();
    assign(&mut lines, &name, node);
    match node {
        Node::Object(schema) if lines.lines().count() > DOTTED_LINES => later.push((name, schema)),
        _ => out.push_str(&lines),
    }
}

/// Lines of a comment, whatever `text` has in it; without what looks like a credential.
pub(crate) fn comment(out: &mut String, text: &str) {
    // What follows a list item's mark stands below its text.
    let indent = if text.starts_with("- ") { "  " } else { "" };
    let (mut line, mut has_word) = (String::from("#"), false);
    for word in without_secrets(one_line(text, 2_000)).split(' ').filter(|word| !word.is_empty()) {
        if has_word && line.chars().count() + 1 + word.chars().count() > COMMENT_WIDTH {
            out.push_str(&line);
            line = format!("\n#{indent}");
        }
        line.push(' ');
        line.push_str(word);
        has_word = true;
    }
    out.push_str(&line);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::read;
    use proptest::prelude::*;

    fn parsed(text: &str) -> serde_json::Value {
        let value: toml::Value = toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        serde_json::to_value(value).unwrap()
    }

    #[test]
    fn what_fits_stands_on_one_line_and_the_rest_has_dotted_keys_or_tables() {
        let long = "x".repeat(60);
        let json = format!(
            r##"{{"type": "object", "properties": {{"a b": {{"$ref": "#/$defs/x"}}, "few": {{"description": "{long}", "const": "{long}"}}, "many": {{"description": "{long}", "enum": ["{long}", "{long}"], "minLength": 1.0, "properties": {{}}}}}}, "additionalProperties": false}}"##
        );
        let node = read(json.as_bytes()).unwrap();
        let mut out = String::new();
        schema_table(&mut out, "x", node.as_object().unwrap());
        let expected = format!(
            "\n[x]\ntype = \"object\"\nproperties.\"a b\" = {{ \"$ref\" = \"#/$defs/x\" }}\nproperties.few.description = \"{long}\"\n\
             properties.few.const = \"{long}\"\nadditionalProperties = false\n\n[x.properties.many]\ndescription = \"{long}\"\nenum = [\n    \
             \"{long}\",\n    \"{long}\",\n]\nminLength = 1.0\nproperties = {{}}\n"
        );
        assert_eq!(out, expected);
        assert_eq!(parsed(&out)["x"], serde_json::from_str::<serde_json::Value>(&json).unwrap());
    }

    #[test]
    fn programs_are_shown_as_they_are_where_toml_can() {
        for (source, expected) in [
            ("del(.id)", "'del(.id)'"),
            (".a == \"'\"", "\".a == \\\"'\\\"\""),
            ("a\nb", "'''\na\nb\n'''"),
            ("a\n'''b", "\"a\\n'''b\""),
            ("a\tb", "\"a\\tb\""),
        ] {
            assert_eq!(code(source), expected, "{source:?}");
            let value = parsed(&format!("x = {}", code(source)));
            assert_eq!(value["x"].as_str().unwrap().trim_end_matches('\n'), source);
        }
    }

    #[test]
    fn a_comment_stays_one() {
        let mut out = String::new();
        comment(&mut out, &format!("- one\n[tools.evil]\r\u{2028}{}", "word ".repeat(30)));
        assert!(
            out.lines().count() == 2 && out.lines().all(|line| line.starts_with("# ") && line.len() <= 110),
            "{out}"
        );
        assert!(out.lines().nth(1).is_some_and(|line| line.starts_with("#   word")), "{out}");
        assert_eq!(parsed(&out), serde_json::json!({}));
    }

    proptest! {
        #[test]
        fn any_text_and_key_is_written_and_read_again(name in any::<String>(), value in any::<String>(), number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
            let mut object = Object::default();
            object.set(&name, Node::text(value.clone()));
            let list = Node::List(vec![Node::Object(object), Node::Number(serde_json::Number::from_f64(number).unwrap())]);
            let mut out = String::new();
            comment(&mut out, &value);
            assign(&mut out, "x", &list);
            prop_assert_eq!(parsed(&out), serde_json::json!({"x": [{name: value}, number]}));
        }
    }
}
