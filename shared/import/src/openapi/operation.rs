//! One operation as a declaration.

use clawbridge_config::Method;

use super::body::{Body, RequestBody, answer, listed, request};
use super::parameters::{self, Field, Unsendable, placeholders};
use super::schema::{Converter, Direction, Patterns};
use super::security::Security;
use super::servers;
use crate::at::At;
use crate::declaration::{Declaration, MAX_DESCRIPTION, Request};
use crate::form::{Auth, Carrier, NOW};
use crate::options::Options;
use crate::problem::{NoteCode, Problem, one_line};
use crate::schema::{Cut, fitted};
use crate::secret::SecretUse;
use crate::tree::{Node, Object};
use crate::words::explanation;

/// What is the same for all operations of a document.
pub(super) struct Context<'d> {
    pub(super) document: &'d Node,
    pub(super) root: At<'d>,
    pub(super) security: Security,
    pub(super) patterns: Patterns,
    pub(super) options: &'d Options,
}

/// An operation as it stands in the document.
#[derive(Debug, Clone)]
pub(super) struct Operation<'d> {
    pub(super) method: &'d str,
    pub(super) path: &'d str,
    pub(super) item: At<'d>,
    pub(super) at: At<'d>,
    pub(super) id: Option<&'d str>,
    pub(super) tags: Vec<&'d str>,
    pub(super) is_deprecated: bool,
    /// The name of the tool.
    pub(super) name: String,
}

impl Operation<'_> {
    /// `POST /orders`.
    pub(super) fn label(&self) -> String {
        one_line(&format!("{} {}", self.method.to_ascii_uppercase(), self.path), 160)
    }

    /// `POST /orders (createOrder)`.
    fn origin(&self) -> String {
        match self.id {
            Some(id) => format!("{} ({})", self.label(), one_line(id, 80)),
            None => self.label(),
        }
    }
}

/// What becomes of an operation.
pub(super) enum Outcome {
    Tool(Box<Declaration>, Option<SecretUse>),
    /// A tool cannot be it, for this reason.
    LeftOut(String),
}

/// Makes the declaration of an operation.
pub(super) fn declare(context: &Context<'_>, operation: &Operation<'_>) -> Result<Outcome, Problem> {
    let left_out = |reason: String| Ok(Outcome::LeftOut(reason));
    let at = &operation.at;
    let Some(method) =
        Method::ALL.iter().copied().find(|method| method.as_str().eq_ignore_ascii_case(operation.method))
    else {
        return left_out(format!("a tool has no method {}", one_line(operation.method, 20).to_ascii_uppercase()));
    };
    if !operation.path.starts_with('/') || operation.path.contains('#') {
        return left_out("its path does not begin with /, or has a # in it".to_owned());
    }
    let mut notes = Vec::new();
    let mut converter = Converter::new(context.document, &context.patterns, Direction::Input);
    let sent = if matches!(method, Method::Get | Method::Head) {
        if at.get("requestBody").is_some() {
            notes.push((NoteCode::Body, format!("the body is not sent: a {method} request has none")));
        }
        RequestBody { body: Body::None, content_type: None, notes: Vec::new() }
    } else {
        match request(context.document, at, &mut converter)? {
            Ok(sent) => sent,
            Err(reason) => return left_out(reason),
        }
    };
    notes.extend(sent.notes);
    let body_fields: Vec<String> = match &sent.body {
        Body::None => Vec::new(),
        Body::Fields(schema) => properties(schema).map(|(name, _)| name.to_owned()).collect(),
        Body::Whole(_) => vec!["body".to_owned()],
    };
    let read = parameters::read(context.document, &operation.item, at, operation.path, &body_fields, &mut converter);
    let mut parameters = match read {
        Ok(parameters) => parameters,
        Err(Unsendable::Problem(problem)) => return Err(problem),
        Err(Unsendable::Path(reason)) => return left_out(reason),
    };
    let limit = context.options.output.then_some(context.options.max_schema);
    let answer = match answer(context.document, at, method, &context.patterns, limit)? {
        Ok(answer) => answer,
        Err(reason) => return left_out(reason),
    };

    let mut needed = context.security.needed(at, &context.root)?;
    if needed.auth.is_none() {
        let carrier = parameters.credential.take().filter(|carrier| {
            let can_send = NOW.can_send(carrier);
            if !can_send {
                needed
                    .notes
                    .push((NoteCode::Security, "the credential is sent in the query, which a tool cannot".to_owned()));
            }
            can_send
        });
        let has_schemes = !context.security.is_empty();
        let said = (context.options.secret.is_some() && !has_schemes).then_some(Carrier::Bearer);
        if let Some(carrier) = carrier.or(said) {
            let (auth, used) = context.security.plain(carrier);
            (needed.auth, needed.used) = (Some(auth), Some(used));
        }
    }
    if let Some(Auth { carrier: Carrier::Header(name), .. }) = &needed.auth {
        // Some documents declare the credential's header once more as a parameter.
        let template = parameters.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name)).cloned();
        if let Some((header, template)) = template {
            parameters.headers.retain(|(other, _)| *other != header);
            let field = template.trim_matches(['{', '}', '?']);
            parameters.fields.retain(|other| other.name != field);
        }
    }
    notes.extend(needed.notes);
    notes.extend(parameters.notes);

    let parameter_names: Vec<&str> = parameters.fields.iter().map(|field| field.name.as_str()).collect();
    let body = body_program(method, &sent.body, &parameter_names);
    let (input, input_notes) = input(&parameters.fields, &sent.body, converter, context.options.max_schema)?;
    notes.extend(input_notes);
    notes.extend(answer.notes);

    let base = match &context.options.server {
        Some(server) => server.trim_end_matches('/').to_owned(),
        None => servers::base(&[at, &operation.item, &context.root])?,
    };
    let typed = [("accept", answer.accept), ("content-type", sent.content_type)];
    let mut headers: Vec<(String, String)> =
        typed.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    headers.extend(parameters.headers);
    let description = at.words("summary").or_else(|| at.words("description")).unwrap_or_default();
    let effect = method.effect(parameters.idempotency_header.is_some());
    let declaration = Declaration {
        name: operation.name.clone(),
        origin: operation.origin(),
        description: explanation(description, MAX_DESCRIPTION),
        request: Request::Rest {
            method,
            url: format!("{base}{}", path(operation.path, &parameters.path)),
            query: parameters.query,
            headers,
            body,
            idempotency_header: parameters.idempotency_header,
        },
        auth: needed.auth,
        effect,
        input,
        output: answer.schema,
        notes,
    };
    Ok(Outcome::Tool(Box::new(declaration), needed.used))
}

fn properties(schema: &Object) -> impl Iterator<Item = (&str, &Node)> {
    schema.get("properties").and_then(Node::as_object).into_iter().flat_map(Object::entries)
}

/// The jq program that makes the body of the input. `None`: what the bridge does by itself.
fn body_program(method: Method, body: &Body, parameters: &[&str]) -> Option<String> {
    match body {
        // Otherwise it would send the whole input.
        Body::None => method.has_body().then(|| "{}".to_owned()),
        Body::Whole(_) => Some(".body".to_owned()),
        Body::Fields(_) if parameters.is_empty() => (!method.has_body()).then(|| ".".to_owned()),
        Body::Fields(_) => {
            let paths: Vec<String> = parameters.iter().map(|name| format!(".{name}")).collect();
            Some(format!("del({})", paths.join(", ")))
        }
    }
}

type Notes = Vec<(NoteCode, String)>;

/// The schema of the input: the parameters, then the body.
fn input(
    fields: &[Field],
    body: &Body,
    mut converter: Converter<'_>,
    limit: usize,
) -> Result<(Option<Node>, Notes), Problem> {
    let (mut known, mut required, mut is_closed) = (Object::default(), Vec::new(), false);
    for field in fields {
        known.set(&field.name, field.schema.clone());
        if field.is_required {
            required.push(Node::text(&field.name));
        }
    }
    match body {
        Body::None => {}
        Body::Fields(schema) => {
            properties(schema).for_each(|(name, schema)| known.set(name, schema.clone()));
            required.extend(schema.get("required").and_then(Node::as_list).unwrap_or_default().iter().cloned());
            is_closed = schema.has("additionalProperties");
        }
        Body::Whole(schema) => {
            known.set("body", schema.clone());
            required.push(Node::text("body"));
        }
    }
    converter.finish()?;
    if known.is_empty() {
        return Ok((None, Vec::new()));
    }
    let mut root = Object::default();
    root.set("type", Node::text("object"));
    if !required.is_empty() {
        root.set("required", Node::List(required));
    }
    root.set("properties", Node::Object(known));
    if is_closed {
        root.set("additionalProperties", Node::Bool(false));
    }
    let (schema, cut) = fitted(&Node::Object(root), &converter.defs, limit);
    let mut notes = Vec::new();
    let what = match cut {
        Cut::Nothing => None,
        Cut::Descriptions => Some("the descriptions of its fields"),
        Cut::Nested => Some("what its fields hold"),
        Cut::Fields => Some("its fields"),
    };
    if let Some(what) = what {
        notes.push((
            NoteCode::Schema,
            format!("input: without {what}, for the schema is longer than {limit} characters"),
        ));
    }
    if !converter.dropped.is_empty() {
        let dropped = listed(converter.dropped.iter().map(String::as_str));
        notes.push((NoteCode::Schema, format!("input: without {dropped}")));
    }
    Ok((Some(schema), notes))
}

/// The path with the input's fields in it, and nothing that a URL cannot have.
fn path(path: &str, fields: &[(String, String)]) -> String {
    let names = placeholders(path);
    let mut out = String::new();
    let mut rest = path;
    while let Some(char) = rest.chars().next() {
        let name = rest.strip_prefix('{').and_then(|inner| inner.split_once('}')).map(|(name, _)| name);
        if let Some(name) = name.filter(|name| names.iter().any(|known| known == name)) {
            let field = fields.iter().find(|(known, _)| known == name).map_or("", |(_, field)| field);
            out.push('{');
            out.push_str(field);
            out.push('}');
            rest = &rest[name.len() + 2..];
            continue;
        }
        if char.is_ascii_alphanumeric() || "!$%&'()*+,-./:;=?@_~".contains(char) {
            out.push(char);
        } else {
            let mut bytes = [0; 4];
            for byte in char.encode_utf8(&mut bytes).bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
        rest = &rest[char.len_utf8()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_fields_and_nothing_that_a_url_cannot_have() {
        let fields = [("order-id".to_owned(), "order_id".to_owned()), ("v".to_owned(), "path_v".to_owned())];
        for (text, expected) in [
            ("/orders/{order-id}", "/orders/{order_id}"),
            ("/{v}/{order-id}.json:publish", "/{path_v}/{order_id}.json:publish"),
            ("/a b/é?x=1&y=(z)", "/a%20b/%C3%A9?x=1&y=(z)"),
            ("/{v", "/%7Bv"),
            ("/v}", "/v%7D"),
        ] {
            assert_eq!(path(text, &fields), expected, "{text}");
        }
    }

    #[test]
    fn the_body_is_what_the_parameters_are_not() {
        let fields = || Body::Fields(Object::default());
        for (method, body, parameters, expected) in [
            (Method::Get, Body::None, vec!["id"], None),
            (Method::Delete, Body::None, vec!["id"], None),
            (Method::Post, Body::None, vec!["id"], Some("{}")),
            (Method::Post, fields(), vec![], None),
            (Method::Delete, fields(), vec![], Some(".")),
            (Method::Put, fields(), vec!["id", "path_x"], Some("del(.id, .path_x)")),
            (Method::Post, Body::Whole(Node::empty()), vec!["id"], Some(".body")),
        ] {
            assert_eq!(body_program(method, &body, &parameters).as_deref(), expected, "{method} {body:?}");
        }
    }
}
