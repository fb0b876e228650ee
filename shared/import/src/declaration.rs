//! A declaration: what a tool is, and the lines of bridge.toml that say so.

use std::fmt::Write as _;

use clawbridge_config::{Effect, Method, Severity, check};

use crate::form::{Auth, NOW};
use crate::problem::{Code, NoteCode, Problem, one_line};
use crate::toml;
use crate::tree::{Node, Object};

/// The longest description of a tool or of a field, in characters.
pub(crate) const MAX_DESCRIPTION: usize = 300;

/// A tool that is to be declared.
#[derive(Debug, Clone)]
pub(crate) struct Declaration {
    pub(crate) name: String,
    /// What it is in the document: `POST /orders (createOrder)`.
    pub(crate) origin: String,
    pub(crate) description: String,
    pub(crate) request: Request,
    pub(crate) auth: Option<Auth>,
    pub(crate) effect: Effect,
    pub(crate) input: Option<Node>,
    pub(crate) output: Option<Node>,
    /// What it does not say.
    pub(crate) notes: Vec<(NoteCode, String)>,
}

/// What is sent.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Rest {
        method: Method,
        url: String,
        /// Templates by name.
        query: Vec<(String, String)>,
        headers: Vec<(String, String)>,
        /// A jq program.
        body: Option<String>,
        idempotency_header: Option<String>,
    },
    Graphql {
        url: String,
        document: String,
        has_variables: bool,
    },
}

impl Declaration {
    /// The lines that declare the tool.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        toml::comment(&mut out, &self.origin);
        for (_, note) in &self.notes {
            toml::comment(&mut out, &format!("- {note}"));
        }
        let _ = writeln!(out, "[tools.{}]", toml::key(&self.name));
        if !self.description.is_empty() {
            let _ = writeln!(out, "description = {}", toml::text(&self.description));
        }
        let mut idempotency = None;
        match &self.request {
            Request::Rest { method, url, query, headers, body, idempotency_header } => {
                let _ = writeln!(out, "method = \"{method}\"\nurl = {}", toml::text(url));
                for (key, pairs) in [("query", query), ("headers", headers)] {
                    if !pairs.is_empty() {
                        let mut table = Object::default();
                        pairs.iter().for_each(|(name, template)| table.set(name, Node::text(template)));
                        toml::assign(&mut out, key, &Node::Object(table));
                    }
                }
                if let Some(body) = body {
                    let _ = writeln!(out, "body = {}", toml::code(body));
                }
                idempotency = idempotency_header.as_deref();
            }
            Request::Graphql { url, document, has_variables } => {
                out.push_str(&NOW.graphql(url, document, *has_variables));
            }
        }
        if let Some(auth) = &self.auth {
            toml::assign(&mut out, "auth", &NOW.auth(auth));
        }
        let _ = writeln!(out, "effect = \"{}\"", self.effect);
        if let Some(header) = idempotency {
            let _ = writeln!(out, "idempotency_header = {}", toml::text(header));
        }
        // A short schema is a line of the tool; the others have tables of their own, after all lines.
        let mut tables = String::new();
        for (key, schema) in [("input", &self.input), ("output", &self.output)] {
            let Some(Node::Object(schema)) = schema else { continue };
            let line = format!("{key} = {}", toml::inline(&Node::Object(schema.clone())));
            if line.chars().count() <= toml::WIDTH {
                let _ = writeln!(out, "{line}");
            } else {
                toml::schema_table(&mut tables, &format!("tools.{}.{key}", toml::key(&self.name)), schema);
            }
        }
        out + &tables
    }

    /// The lines that declare the tool, if bridge.toml takes them: a schema that it does not take is left out.
    ///
    /// # Errors
    /// [`Code::Unusable`]
    pub(crate) fn usable_text(&mut self, pointer: &str) -> Result<String, Problem> {
        let text = self.text();
        let Some(mut refused) = refusal(&text) else { return Ok(text) };
        for (drops_output, drops_input) in [(true, false), (false, true), (true, true)] {
            let mut changed = self.clone();
            let note = |what: &str| format!("{what}: the schema is left out, bridge.toml refuses it: {refused}");
            if drops_output {
                changed.output = None;
                changed.notes.push((NoteCode::Schema, note("output")));
            }
            if drops_input {
                changed.input = Some(Node::object([("type", Node::text("object"))]));
                changed.notes.push((NoteCode::Schema, note("input")));
            }
            let text = changed.text();
            match refusal(&text) {
                None => {
                    *self = changed;
                    return Ok(text);
                }
                Some(still) => refused = still,
            }
        }
        Err(Problem::new(Code::Unusable, pointer, format!("no tool can be made of it: {refused}")))
    }
}

/// Why bridge.toml does not take these lines, if it does not.
pub(crate) fn refusal(text: &str) -> Option<String> {
    let (config, diagnostics) = check(text);
    if config.is_some() {
        return None;
    }
    let error = diagnostics.iter().find(|diagnostic| diagnostic.severity == Severity::Error);
    Some(error.map_or_else(String::new, |error| format!("{}: {}", error.code, one_line(&error.message, 200))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::read;

    fn declaration() -> Declaration {
        Declaration {
            name: "get_order".into(),
            origin: "GET /orders/{id} (getOrder)".into(),
            description: "An \"order\"".into(),
            request: Request::Rest {
                method: Method::Get,
                url: "https://a.example/orders/{id}".into(),
                query: vec![("fields[order]".into(), "{fields?}".into())],
                headers: Vec::new(),
                body: None,
                idempotency_header: None,
            },
            auth: None,
            effect: Effect::Read,
            input: Some(read(br#"{"type": "object", "required": ["id"]}"#).unwrap()),
            output: None,
            notes: vec![(NoteCode::Parameter, "header X-Y: not sent".into())],
        }
    }

    #[test]
    fn a_declaration_is_lines_that_bridge_toml_takes() {
        let expected = r#"# GET /orders/{id} (getOrder)
# - header X-Y: not sent
[tools.get_order]
description = "An \"order\""
method = "GET"
url = "https://a.example/orders/{id}"
query = { "fields[order]" = "{fields?}" }
effect = "read"
input = { type = "object", required = ["id"] }
"#;
        assert_eq!(declaration().usable_text("").as_deref(), Ok(expected));
    }

    #[test]
    fn a_schema_that_bridge_toml_refuses_is_left_out_and_said() {
        let mut refused = declaration();
        refused.output = Some(read(br#"{"pattern": "(?=x)"}"#).unwrap());
        let text = refused.usable_text("").unwrap();
        assert!(
            !text.contains("pattern =")
                && text.contains("# - output: the schema is left out, bridge.toml refuses it: INVALID_SCHEMA"),
            "{text}"
        );
        refused.input = Some(read(br##"{"$ref": "#/nosuch"}"##).unwrap());
        let text = refused.usable_text("").unwrap();
        assert!(text.contains("# - input: the schema is left out, bridge.toml refuses it: SCHEMA_REFERENCE"), "{text}");
        assert_eq!(refusal(&text), None);
        if let Request::Rest { url, .. } = &mut refused.request {
            *url = "ftp://a.example".into();
        }
        let problem = refused.usable_text("/paths/~1x/get").unwrap_err();
        assert_eq!((problem.code, problem.pointer.as_str()), (Code::Unusable, "/paths/~1x/get"));
    }
}
