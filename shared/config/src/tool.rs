//! Reading `[tools.NAME]`.

mod auth;
mod request;
mod schema;

pub(crate) use auth::{insecure, secret_name};
pub(crate) use request::url;

use std::str::FromStr;

use crate::compiled::CompiledTool;
use crate::diagnostic::Code;
use crate::model::{Effect, Method, Tool, default_attempts};
use crate::node::{Data, Entry, Node};
use crate::reader::{Fields, Found, Reader, nearest, short};
use crate::template::Field;
use crate::units::{ByteSize, Timeout, UnitError};
use auth::auth;
use request::{header_name, headers, query, set_once};
use schema::{placeholder, schema};

const KEYS: [&str; 16] = [
    "description",
    "method",
    "url",
    "query",
    "headers",
    "body",
    "auth",
    "timeout",
    "attempts",
    "effect",
    "idempotency_header",
    "idempotency_key",
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

    let description = reader.optional(&fields, "description");
    if let Some(found) = &description
        && found.value().chars().count() > MAX_DESCRIPTION_CHARS
    {
        reader.error(
            Code::TooLarge,
            &found.path,
            found.at,
            format!("{} is longer than {MAX_DESCRIPTION_CHARS} characters", found.path),
        );
    }
    let method = word(reader, &fields, "method", Method::ALL, Method::as_str, true);
    let url_found = reader.required(&fields, "url");
    let url = url_found.as_ref().and_then(|found| url(reader, found));
    let (query, query_templates) = query(reader, &fields);
    let (headers, mut header_templates) = headers(reader, &fields);
    let auth = auth(reader, &fields, &headers);
    if let (Some(url), Some(found), Some(_)) = (&url, &url_found, &auth) {
        insecure(reader, found, url, &fields.path);
    }

    let body = reader.optional(&fields, "body");
    if let (Some(body), Some(method @ (Method::Get | Method::Head))) = (&body, method) {
        let message = format!("{} is set, but a {method} request has no body", body.path);
        reader.error(Code::BodyNotAllowed, &body.path, body.at, message).suggestion = Some("use query".to_owned());
    }
    let whole_input = (body.is_none() && method.is_some_and(Method::has_body)).then_some(".");
    let body_program = match (&body, whole_input) {
        (Some(found), _) => reader.program(found),
        (None, Some(source)) => clawbridge_jq::Program::compile(source).ok(),
        (None, None) => None,
    };

    let idempotency_header = reader.optional(&fields, "idempotency_header");
    if let Some(found) = &idempotency_header {
        header_name(reader, found.value(), &found.path, found.at);
        set_once(reader, found, &headers);
        if let Some(auth) = &auth
            && auth.header.eq_ignore_ascii_case(found.value())
        {
            let message = format!("{} is the header that carries the secret", found.path);
            reader.error(Code::HeaderSetTwice, &found.path, found.at, message);
        }
    }
    let declared = word(reader, &fields, "effect", Effect::ALL, Effect::as_str, false);
    if declared == Some(Effect::Keyed) && idempotency_header.is_none() {
        let at = fields.entry("effect").and_then(|entry| entry.node.at);
        let message = format!(
            "{} is \"keyed\", but no idempotency_header says in which header the API takes the key",
            fields.path_of("effect")
        );
        reader.error(Code::KeyedWithoutHeader, &fields.path_of("effect"), at, message).suggestion =
            Some("set idempotency_header, or effect = \"unsafe\"".to_owned());
    }
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
    let max_response = unit(
        reader,
        &fields,
        "max_response",
        Code::InvalidSize,
        "a size such as \"256KiB\" or \"1MiB\"",
        (ByteSize::MIN, ByteSize::MAX),
    );
    let result = reader.optional(&fields, "result");
    let result_program = result.as_ref().and_then(|found| reader.program(found));
    let (input, input_schema) = schema(reader, &fields, "input").unzip();
    let (output, output_schema) = schema(reader, &fields, "output").unzip();

    if let Some(input) = &input {
        let mut check = |path: &str, field: &Field, at: Option<usize>| placeholder(reader, input, path, field, at);
        if let (Some(found), Some(url)) = (&url_found, &url) {
            url.fields().for_each(|field| check(&found.path, field, found.at_offset(field.offset)));
        }
        for (found, template) in &query_templates {
            template.fields().for_each(|field| check(&found.path, field, found.at_offset(field.offset)));
        }
        for (found, template) in &header_templates {
            template.fields().for_each(|field| check(&found.path, field, found.at_offset(field.offset)));
        }
    }

    let (method, url) = (method?, url?);
    let has_idempotency_header = idempotency_header.is_some();
    let owned = |found: Option<Found<'_>>| found.map(|found| found.value().to_owned());
    let url_text = url_found?.value().to_owned();
    let tool = Tool {
        description: owned(description).unwrap_or_default(),
        method,
        url: url_text,
        query,
        headers,
        body: owned(body).or_else(|| whole_input.map(str::to_owned)),
        auth,
        timeout: timeout.unwrap_or_default(),
        attempts,
        effect: declared.unwrap_or_else(|| method.effect(has_idempotency_header)),
        idempotency_header: owned(idempotency_header),
        idempotency_key: owned(idempotency_key),
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
        body: body_program,
        idempotency_key: key_program,
        input: input_schema,
        result: result_program,
        output: output_schema,
    })
}

/// A field that takes one of a few words.
fn word<T: Copy>(
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
fn unit<T: FromStr<Err = UnitError> + std::fmt::Display>(
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
pub(crate) fn names(tools: &Node) -> Vec<&str> {
    match &tools.data {
        Data::Table(entries) => entries.iter().map(|entry| entry.key.as_str()).collect(),
        _ => Vec::new(),
    }
}
