//! As much of YAML as `infra/template.yaml` uses: nested mappings and lists by indentation, flow collections on one line, plain and quoted
//! scalars (all of them read as text), folded blocks. Tags are read as what they stand before.

use serde_json::{Map, Value};

/// A template, resource by resource.
pub(crate) struct Template {
    resources: Map<String, Value>,
}

impl Template {
    pub(crate) fn parse(text: &str) -> Template {
        let lines: Vec<Line<'_>> = text.lines().filter_map(Line::of).collect();
        let mut at = 0;
        let Value::Object(mut document) = block(&lines, &mut at, 0) else { panic!("no mapping") };
        assert_eq!(at, lines.len(), "stopped before {:?}", lines.get(at));
        let Some(Value::Object(resources)) = document.remove("Resources") else { panic!("no Resources") };
        Template { resources }
    }

    /// The properties of a resource.
    pub(crate) fn properties(&self, resource: &str) -> &Value {
        let found = self.resources.get(resource).unwrap_or_else(|| panic!("no {resource}"));
        &found["Properties"]
    }

    /// The names of the resources of a type, sorted.
    pub(crate) fn of_type(&self, kind: &str) -> Vec<&str> {
        let of_type = self.resources.iter().filter(|(_, resource)| resource["Type"] == kind);
        let mut names: Vec<&str> = of_type.map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }
}

#[derive(Debug)]
struct Line<'a> {
    indent: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    /// A line that says something.
    fn of(line: &'a str) -> Option<Line<'a>> {
        let text = line.trim();
        (!text.is_empty() && !text.starts_with('#'))
            .then(|| Line { indent: line.len() - line.trim_start().len(), text })
    }
}

/// What stands at `indent` or deeper.
fn block(lines: &[Line<'_>], at: &mut usize, indent: usize) -> Value {
    match lines.get(*at) {
        Some(line) if line.text.starts_with("- ") => list(lines, at, indent),
        Some(line) if key_of(line.text).is_some() => mapping(lines, at, indent),
        // A folded text that goes on over lines, or a scalar of its own.
        Some(_) => {
            let mut words = Vec::new();
            while let Some(line) = lines.get(*at).filter(|line| line.indent >= indent) {
                words.push(line.text);
                *at += 1;
            }
            Value::String(words.join(" "))
        }
        None => Value::Null,
    }
}

fn mapping(lines: &[Line<'_>], at: &mut usize, indent: usize) -> Value {
    let mut members = Map::new();
    while let Some(line) = lines.get(*at).filter(|line| line.indent == indent && !line.text.starts_with("- ")) {
        let (name, rest) = key_of(line.text).unwrap_or_else(|| panic!("no key: {line:?}"));
        *at += 1;
        let value = value_after(rest, lines, at, indent);
        members.insert(name.to_owned(), value);
    }
    Value::Object(members)
}

/// The value of a key (or an item) whose own line holds `rest` of it.
fn value_after(rest: &str, lines: &[Line<'_>], at: &mut usize, indent: usize) -> Value {
    let rest = untagged(rest);
    let deeper = lines.get(*at).map(|line| line.indent).filter(|deeper| *deeper > indent);
    match (rest, deeper) {
        ("" | ">-" | "|", Some(deeper)) if rest.is_empty() => block(lines, at, deeper),
        (">-" | "|", Some(deeper)) => {
            let mut words = Vec::new();
            while let Some(line) = lines.get(*at).filter(|line| line.indent >= deeper) {
                words.push(line.text);
                *at += 1;
            }
            Value::String(words.join(" "))
        }
        ("", None) => Value::Null,
        _ => flow(rest),
    }
}

fn list(lines: &[Line<'_>], at: &mut usize, indent: usize) -> Value {
    let mut items = Vec::new();
    while let Some(line) = lines.get(*at).filter(|line| line.indent == indent) {
        let Some(rest) = line.text.strip_prefix("- ") else { break };
        let inner = indent + 2;
        if !rest.starts_with(['{', '[', '"', '!']) && key_of(rest).is_some() {
            // A mapping whose first key stands beside the dash: the same lines, the first of them without it.
            let mut own = vec![Line { indent: inner, text: rest }];
            let mut end = *at + 1;
            while let Some(line) = lines.get(end).filter(|line| line.indent >= inner) {
                own.push(Line { indent: line.indent, text: line.text });
                end += 1;
            }
            items.push(mapping(&own, &mut 0, inner));
            *at = end;
        } else {
            *at += 1;
            items.push(value_after(rest, lines, at, indent));
        }
    }
    Value::Array(items)
}

/// `name: rest`, with names as the template has them.
fn key_of(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once(':')?;
    // A colon inside a name belongs to `AWS::CloudFormation::Interface` or `kms:ViaService`.
    let (name, rest) = match rest.strip_prefix(':') {
        Some(_) => {
            let end = text.rfind(": ").unwrap_or(text.strip_suffix(':').map(str::len)?);
            (text.get(..end)?, text.get(end + 1..)?)
        }
        None if rest.is_empty() || rest.starts_with(' ') => (name, rest),
        None => {
            let end = text.find(": ").or_else(|| text.strip_suffix(':').map(str::len))?;
            (text.get(..end)?, text.get(end + 1..)?)
        }
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "_:-.".contains(c);
    (!name.is_empty() && name.chars().all(plain)).then(|| (name, rest.trim()))
}

fn untagged(text: &str) -> &str {
    let text = text.trim();
    match text.strip_prefix('!') {
        Some(tagged) => tagged.split_once(' ').map_or("", |(_, rest)| rest.trim()),
        None => text,
    }
}

/// A scalar, `{…}` or `[…]` that fills the text.
fn flow(text: &str) -> Value {
    let text = untagged(text);
    if let Some(inner) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        let members = pieces(inner).into_iter().filter_map(|piece| {
            let (name, value) = piece.split_once(':')?;
            Some((name.trim().to_owned(), flow(value)))
        });
        return Value::Object(members.collect());
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return Value::Array(pieces(inner).into_iter().map(flow).collect());
    }
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    Value::String(quoted.unwrap_or(text).to_owned())
}

/// What stands between the commas that are inside no brackets.
fn pieces(text: &str) -> Vec<&str> {
    let (mut pieces, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (place, c) in text.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' if depth == 0 => {
                pieces.push(&text[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    pieces.push(&text[start..]);
    pieces.into_iter().filter(|piece| !piece.trim().is_empty()).collect()
}

#[test]
fn the_yaml_of_the_template_is_read_as_it_is_meant() {
    let text = "\
Description: >-
  Two lines
  of text: folded.
# A comment.
Resources:
  Table:
    Type: T
    Properties:
      Name: !Sub ${AWS::StackName}-events
      Keys:
        - { Name: at, Type: \"N\" }
        - Name: id
          Type: S
          List: [a, b]
      Empty:
  Other:
    Type: U
    Properties:
      If: !If [Has, { A: true, B: !Ref Key }, !Ref AWS::NoValue]
      Map:
        kms:ViaService:
          - !Sub x.${AWS::Region}
        Sid: Y
";
    let template = Template::parse(text);
    assert_eq!(template.of_type("T"), ["Table"]);
    let keys = serde_json::json!([{"Name": "at", "Type": "N"}, {"Name": "id", "Type": "S", "List": ["a", "b"]}]);
    let expected = serde_json::json!({"Name": "${AWS::StackName}-events", "Keys": keys, "Empty": null});
    assert_eq!(template.properties("Table"), &expected);
    let other = template.properties("Other");
    assert_eq!(other["If"], serde_json::json!(["Has", {"A": "true", "B": "Key"}, "AWS::NoValue"]));
    assert_eq!(other["Map"], serde_json::json!({"kms:ViaService": ["x.${AWS::Region}"], "Sid": "Y"}));
}
