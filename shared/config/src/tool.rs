//! Reading `[tools.NAME]`.

mod auth;
mod graphql;
mod pages;
mod request;
mod schema;
mod sign;
mod tls;

pub(crate) use auth::{insecure, secret_name};
pub(crate) use request::url;

use std::str::FromStr;

use clawbridge_jq::Program;
use serde_json::Value;

use std::collections::BTreeMap;

use crate::compiled::{Body, CompiledTool};
use crate::diagnostic::Code;
use crate::graphql::OperationKind;
use crate::job;
use crate::limit;
use crate::model::{Auth, Credential, Effect, Method, Tool, default_attempts};
use crate::node::{Data, Entry, Node};
use crate::reader::{Fields, Found, Reader, nearest, short};
use crate::template::{ConnectionTemplate, Field, HeaderTemplate, QueryTemplate, UrlTemplate};
use crate::units::{ByteSize, Timeout, UnitError};
use crate::verify::{self, Retention};
use auth::auth;
use graphql::graphql;
use pages::{Around, pages};
use request::{Claims, Place, header_name, headers, query};
use schema::{placeholder, schema};
use sign::sign;
use tls::tls;

const KEYS: [&str; 29] = [
    "description",
    "method",
    "url",
    "query",
    "headers",
    "body",
    "graphql",
    "variables",
    "partial",
    "pages",
    "auth",
    "sign",
    "tls",
    "timeout",
    "attempts",
    "trace",
    "effect",
    "idempotency_header",
    "idempotency_key",
    "verify",
    "job",
    "result_retention",
    "limit",
    "circuit",
    "retry_budget",
    "max_response",
    "input",
    "result",
    "output",
];

/// The most characters of a description.
const MAX_DESCRIPTION_CHARS: usize = 2_000;

/// Whether `name` can be the name of a tool; models' tool names have the same form.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Read a tool. `None` if something is wrong with it; that has been reported then.
pub(crate) fn read(reader: &mut Reader<'_>, entry: &Entry, path: &str) -> Option<CompiledTool> {
    if !is_name(&entry.key) {
        let message = format!(
            "{:?} cannot be the name of a tool: names have up to 64 letters, digits, - and _",
            short(&entry.key)
        );
        reader.error(Code::InvalidName, path, entry.key_at, message);
    }
    let fields = reader.table(&entry.node, path, &KEYS)?;

    let description = description(reader, &fields);
    let method = match fields.entry("graphql") {
        None => word(reader, &fields, "method", Method::ALL, Method::as_str, true),
        Some(_) => word(reader, &fields, "method", Method::ALL, Method::as_str, false),
    };
    let url_found = reader.required(&fields, "url");
    let url = url_found.as_ref().and_then(|found| url(reader, found));
    let url_text = url_found.as_ref().map(|found| found.value());
    let (query, query_templates) = query(reader, &fields);
    let (headers, mut header_templates) = headers(reader, &fields);
    let mut claims = Claims::of(&headers, "headers");
    let auth = auth(reader, &fields, url_text, &query, &mut claims);
    let connection = auth.as_ref().and_then(connection);
    let idempotency_header = reader.optional(&fields, "idempotency_header");
    let sign = sign(reader, &fields, idempotency_header.is_some(), &mut claims);
    let tls = tls(reader, &fields, url.as_ref());
    if let (Some(url), Some(found), true) = (&url, &url_found, auth.is_some()) {
        insecure(reader, found, url, &fields.path);
    }
    if let Some(found) = &idempotency_header {
        header_name(reader, found.value(), &found.path, found.at);
        claims.claim(reader, found.value(), &found.path, found.at);
    }

    let (input, input_schema) = schema(reader, &fields, "input").unzip();
    let (output, output_schema) = schema(reader, &fields, "output").unzip();
    let body = reader.optional(&fields, "body");
    let graphql = graphql(reader, &fields, method, body.as_ref(), input.as_ref());
    let is_graphql = graphql.is_some();
    let graphql = graphql.flatten();
    let method = if is_graphql { Some(Method::Post) } else { method };
    let whole_input = (body.is_none() && !is_graphql && method.is_some_and(Method::has_body)).then_some(".");
    let compiled_body = match &graphql {
        Some(graphql) => Some(Body::Graphql(graphql.compiled.clone())),
        None if is_graphql => None,
        None => rest_body(reader, body.as_ref(), method, whole_input),
    };

    let kind = graphql.as_ref().map(|graphql| graphql.compiled.operation.kind);
    let effect = effect(reader, &fields, method, kind, idempotency_header.is_some());
    let around = Around { effect, body: compiled_body.as_ref(), url: url_text, query: &query };
    let pages = pages(reader, &fields, &around);
    let idempotency_key = reader.optional(&fields, "idempotency_key");
    let key_program = idempotency_key.as_ref().and_then(|found| reader.program(found));

    let timeout = unit(
        reader,
        &fields,
        "timeout",
        Code::InvalidDuration,
        "a time such as \"10s\" or \"500ms\"",
        (Timeout::MIN, Timeout::MAX),
    );
    let attempts = reader.integer(&fields, "attempts", 1..=20, default_attempts());
    let trace = reader.boolean_or(&fields, "trace", true);
    let limit = limit::of_tool(reader, &fields, auth.is_some());
    let circuit = limit::circuit(reader, &fields);
    let retry_budget = limit::retry_budget(reader, &fields);
    let max_response = unit(
        reader,
        &fields,
        "max_response",
        Code::InvalidSize,
        "a size such as \"256KiB\" or \"1MiB\"",
        (ByteSize::MIN, ByteSize::MAX),
    );
    let verify = verify::read(reader, &fields, effect);
    let job = job::read(reader, &fields);
    let result_retention = unit(
        reader,
        &fields,
        "result_retention",
        Code::InvalidDuration,
        "a time in days such as \"30d\"",
        (Retention::MIN, Retention::MAX),
    );
    let result = reader.optional(&fields, "result");
    let result_program = result.as_ref().and_then(|found| reader.program(found));

    if let Some(input) = &input {
        let url = url_found.as_ref().zip(url.as_ref());
        let callback = job.as_ref().and_then(|job| job.job().callback.as_deref());
        placeholders(reader, input, callback, url, &query_templates, &header_templates);
        if let Some(connection) = &connection {
            let (path, at) = (
                fields.path_of("auth.connection"),
                fields.entry("auth").and_then(|entry| entry.node.at_pointer("/connection").at),
            );
            connection.fields().for_each(|field| placeholder(reader, input, &path, field, at, true));
        }
    }

    let (method, url) = (method?, url?);
    let owned = |found: Option<Found<'_>>| found.map(|found| found.value().to_owned());
    let (sign, compiled_sign) = sign.unzip();
    let (pages, compiled_pages) = pages.unzip();
    let (graphql_text, variables, partial) = match graphql {
        Some(graphql) => (Some(graphql.text), graphql.variables, graphql.partial),
        None => (None, None, false),
    };
    let tool = Tool {
        description: owned(description).unwrap_or_default(),
        method,
        url: url_text?.to_owned(),
        query,
        headers,
        body: owned(body).or_else(|| whole_input.map(str::to_owned)),
        graphql: graphql_text,
        variables,
        partial,
        pages,
        auth,
        sign,
        tls,
        timeout: timeout.unwrap_or_default(),
        attempts,
        trace,
        effect: effect?,
        idempotency_header: owned(idempotency_header),
        idempotency_key: owned(idempotency_key),
        verify: verify.as_ref().map(|verify| verify.verify().clone()),
        job: job.as_ref().map(|job| job.job().clone()),
        result_retention: result_retention.unwrap_or_default(),
        limit,
        circuit,
        retry_budget,
        max_response: max_response.unwrap_or_default(),
        input,
        result: owned(result),
        output,
    };
    header_templates.sort_by(|(_, a), (_, b)| a.name().cmp(b.name()));
    Some(CompiledTool {
        name: entry.key.clone(),
        tool,
        url,
        query: query_templates.into_iter().map(|(_, template)| template).collect(),
        headers: header_templates.into_iter().map(|(_, template)| template).collect(),
        body: compiled_body?,
        idempotency_key: key_program,
        verify,
        job,
        // Looked up when the whole document is read.
        limit: None,
        input: input_schema,
        result: result_program,
        output: output_schema,
        connection,
        sign: compiled_sign,
        pages: compiled_pages,
    })
}

fn connection(auth: &Auth) -> Option<ConnectionTemplate> {
    match &auth.credential {
        Credential::Connection(text) => ConnectionTemplate::parse(text).ok(),
        Credential::Secret(_) => None,
    }
}

pub(crate) fn description<'n>(reader: &mut Reader<'_>, fields: &Fields<'n>) -> Option<Found<'n>> {
    let found = reader.optional(fields, "description")?;
    if found.value().chars().count() > MAX_DESCRIPTION_CHARS {
        let message = format!("{} is longer than {MAX_DESCRIPTION_CHARS} characters", found.path);
        reader.error(Code::TooLarge, &found.path, found.at, message);
    }
    Some(found)
}

/// What a repeated request does: as declared, or as the operation or the method says.
fn effect(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    method: Option<Method>,
    operation: Option<OperationKind>,
    has_idempotency_header: bool,
) -> Option<Effect> {
    let path = fields.path_of("effect");
    let at = fields.entry("effect").and_then(|entry| entry.node.at);
    let declared = word(reader, fields, "effect", Effect::ALL, Effect::as_str, false);
    if declared == Some(Effect::Keyed) && !has_idempotency_header {
        let message =
            format!("{path} is \"keyed\", but no idempotency_header says in which header the API takes the key");
        reader.error(Code::KeyedWithoutHeader, &path, at, message).suggestion =
            Some("set idempotency_header, or effect = \"unsafe\"".to_owned());
    }
    if declared == Some(Effect::Read) && operation == Some(OperationKind::Mutation) {
        let message = format!("{path} is \"read\", but the operation is a mutation and would be repeated freely");
        reader.warning(Code::EffectTooWeak, &path, at, message);
    }
    declared.or(match operation {
        Some(kind) => Some(graphql::effect(kind, has_idempotency_header)),
        None => method.map(|method| method.effect(has_idempotency_header)),
    })
}

/// Warn of placeholders of the templates that the input schema does not know. `callback` is a field that the bridge adds.
fn placeholders(
    reader: &mut Reader<'_>,
    input: &Value,
    callback: Option<&str>,
    url: Option<(&Found<'_>, &UrlTemplate)>,
    query: &[(Place<'_>, QueryTemplate)],
    headers: &[(Found<'_>, HeaderTemplate)],
) {
    let mut check = |path: &str, field: &Field, at: Option<usize>| {
        if callback != Some(field.path.as_str()) {
            placeholder(reader, input, path, field, at, true);
        }
    };
    if let Some((found, url)) = url {
        url.fields().for_each(|field| check(&found.path, field, found.at_offset(field.offset)));
    }
    for (found, template) in query {
        template.fields().for_each(|field| check(&found.path, field, found.at_offset(field.offset)));
    }
    for (found, template) in headers {
        template.fields().for_each(|field| check(&found.path, field, found.at_offset(field.offset)));
    }
}

/// The body of a tool that is not GraphQL.
fn rest_body(
    reader: &mut Reader<'_>,
    body: Option<&Found<'_>>,
    method: Option<Method>,
    whole_input: Option<&str>,
) -> Option<Body> {
    if let (Some(body), Some(method @ (Method::Get | Method::Head))) = (body, method) {
        let message = format!("{} is set, but a {method} request has no body", body.path);
        reader.error(Code::BodyNotAllowed, &body.path, body.at, message).suggestion = Some("use query".to_owned());
    }
    match (body, whole_input) {
        (Some(found), _) => reader.program(found).map(Body::Program),
        (None, Some(source)) => Program::compile(source).ok().map(Body::Program),
        (None, None) => Some(Body::None),
    }
}

/// A field that takes one of a few words.
pub(crate) fn word<T: Copy>(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    key: &str,
    all: &'static [T],
    text_of: fn(T) -> &'static str,
    is_required: bool,
) -> Option<T> {
    let found = if is_required { reader.required(fields, key) } else { reader.optional(fields, key) }?;
    let known = all.iter().find(|word| text_of(**word) == found.value());
    if known.is_none() {
        let words: Vec<&str> = all.iter().map(|word| text_of(*word)).collect();
        let message = format!("{} is {:?}, which is none of {}", found.path, short(found.value()), words.join(", "));
        reader.error(Code::InvalidValue, &found.path, found.at, message).suggestion =
            nearest(found.value(), &words).map(|near| format!("did you mean {near:?}?"));
    }
    known.copied()
}

/// A field that takes a number with a unit.
pub(crate) fn unit<T: FromStr<Err = UnitError> + std::fmt::Display>(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    key: &str,
    code: Code,
    form: &str,
    (min, max): (T, T),
) -> Option<T> {
    let found = reader.optional(fields, key)?;
    let shown = short(found.value());
    match found.value().parse() {
        Ok(value) => return Some(value),
        Err(UnitError::Unreadable) => {
            reader.error(code, &found.path, found.at, format!("{} must be {form}, not {shown:?}", found.path))
        }
        Err(UnitError::OutOfRange) => {
            let message = format!("{} must be from {min} to {max}, not {shown}", found.path);
            reader.error(Code::OutOfRange, &found.path, found.at, message)
        }
    };
    None
}

/// The names of all tools of a document, those among them that have something wrong.
/// Tell of connections at providers that are not there. One that is there and wrong has been reported.
pub(crate) fn check_connections(reader: &mut Reader<'_>, document: &Node, tools: &BTreeMap<String, CompiledTool>) {
    let declared = names(document.at_pointer("/providers"));
    let is_there = |name: &str| declared.contains(&name);
    for (name, tool) in tools {
        let Some(connection) = tool.connection().filter(|connection| !is_there(connection.provider())) else {
            continue;
        };
        let path = format!("tools.{name}.auth.connection");
        let at = document.at_pointer(&format!("/tools/{name}/auth/connection")).at;
        let provider = short(connection.provider());
        let message = format!("{path} is at the provider {provider:?}, which is not declared");
        let near = nearest(connection.provider(), &declared).map(|near| format!("did you mean {near:?}?"));
        reader.error(Code::UnknownProvider, &path, at, message).suggestion =
            Some(near.unwrap_or_else(|| format!("declare it as [providers.{provider}]")));
    }
}

pub(crate) fn names(tools: &Node) -> Vec<&str> {
    match &tools.data {
        Data::Table(entries) => entries.iter().map(|entry| entry.key.as_str()).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[path = "tool_tests.rs"]
mod tests;
