//! Reading what a GraphQL tool asks for.

use clawbridge_jq::Program;
use serde_json::Value;

use crate::compiled::CompiledGraphql;
use crate::diagnostic::Code;
use crate::graphql::{OperationKind, operation};
use crate::header;
use crate::model::{Effect, Method};
use crate::reader::{Fields, Found, Reader};
use crate::template::Field;
use crate::tool::schema::placeholder;

/// What a GraphQL tool has and others have not.
pub(super) struct Graphql {
    pub(super) text: String,
    pub(super) variables: Option<String>,
    pub(super) partial: bool,
    pub(super) compiled: CompiledGraphql,
}

/// `graphql`, `variables` and `partial`. `Some(None)`: something is wrong with them; that has been reported then.
pub(super) fn graphql(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    method: Option<Method>,
    body: Option<&Found<'_>>,
    input: Option<&Value>,
) -> Option<Option<Graphql>> {
    let partial = reader.boolean(fields, "partial");
    let variables = reader.optional(fields, "variables");
    let program = variables.as_ref().and_then(|found| reader.program(found));
    let Some(entry) = fields.entry("graphql") else {
        for key in ["variables", "partial"] {
            if let Some(entry) = fields.entry(key) {
                let message = format!("{} is for tools with graphql", fields.path_of(key));
                reader.error(Code::KeyNotAllowed, &fields.path_of(key), entry.key_at, message);
            }
        }
        return None;
    };
    let found = reader.text(&entry.node, &fields.path_of("graphql"));
    if let Some(body) = body {
        let message = format!("{} is set, but the body of a GraphQL tool is made of graphql and variables", body.path);
        reader.error(Code::BodyNotAllowed, &body.path, body.at, message).suggestion = Some("use variables".to_owned());
    }
    if let (Some(method), Some(entry)) = (method, fields.entry("method"))
        && method != Method::Post
    {
        let message = format!("{} is {method}, but GraphQL requests are POST; leave it out", fields.path_of("method"));
        reader.error(Code::KeyNotAllowed, &fields.path_of("method"), entry.node.at, message);
    }
    let graphql = found.and_then(|found| document(reader, &found, variables.is_none(), program, input));
    let variables = variables.map(|found| found.value().to_owned());
    Some(graphql.map(|(text, compiled)| Graphql { text, variables, partial, compiled }))
}

fn document(
    reader: &mut Reader<'_>,
    found: &Found<'_>,
    takes_input: bool,
    variables: Option<Program>,
    input: Option<&Value>,
) -> Option<(String, CompiledGraphql)> {
    if found.value().split('"').any(header::looks_like_a_secret) {
        let message = format!("{} holds a credential, and this document is no place for one", found.path);
        reader.error(Code::SecretInConfig, &found.path, found.at, message);
        return None;
    }
    let operation = match operation(found.value()) {
        Ok(operation) => operation,
        Err(problem) => {
            let message = format!("{} is not a GraphQL operation: {}", found.path, problem.message);
            reader.error(Code::InvalidGraphql, &found.path, found.at_offset(problem.offset), message);
            return None;
        }
    };
    if let (true, Some(input)) = (takes_input, input) {
        for variable in operation.variables.iter().filter(|variable| variable.is_required) {
            let field = Field { path: variable.name.clone(), offset: variable.offset, is_optional: false };
            placeholder(reader, input, &found.path, &field, found.at_offset(field.offset), false);
        }
    }
    Some((found.value().to_owned(), CompiledGraphql { operation, variables }))
}

/// What repeating the operation does, if nothing else is said.
pub(super) fn effect(kind: OperationKind, has_idempotency_header: bool) -> Effect {
    match kind {
        OperationKind::Query => Effect::Read,
        OperationKind::Mutation => Method::Post.effect(has_idempotency_header),
    }
}
