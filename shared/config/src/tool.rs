//! Reading `[tools.NAME]`.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::Value;

use crate::compiled::CompiledTool;
use crate::diagnostic::Code;
use crate::header;
use crate::limit;
use crate::model::{Auth, Effect, Method, Tool, default_attempts};
use crate::node::{Data, Entry, Node, Text};
use crate::reader::{Fields, Found, Reader, nearest, short};
use crate::schema::Schema;
use crate::template::{Field, HeaderTemplate, QueryTemplate, TemplateSyntaxError, UrlTemplate};
use crate::units::{ByteSize, Timeout, UnitError};

const KEYS: [&str; 17] = [
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
    "limit",
    "circuit",
    "max_response",
    "input",
    "output",
];

/// Where the secrets lie that tools can read. The functions that call tools are permitted these and no others.
const SECRETS: &str = "clawbridge/tools/";

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
    let limit = limit::of_tool(reader, &fields, auth.is_some());
    let circuit = limit::circuit(reader, &fields);
    let max_response = unit(
        reader,
        &fields,
        "max_response",
        Code::InvalidSize,
        "a size such as \"256KiB\" or \"1MiB\"",
        (ByteSize::MIN, ByteSize::MAX),
    );
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
        limit,
        circuit,
        max_response: max_response.unwrap_or_default(),
        input,
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
        // Looked up when the whole document is read.
        limit: None,
        input: input_schema,
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

/// Read a URL template and report what is wrong with it, a credential in it too.
pub(crate) fn url(reader: &mut Reader<'_>, found: &Found<'_>) -> Option<UrlTemplate> {
    match UrlTemplate::parse(found.value()) {
        Ok(url) => {
            let (path, query) = found.value().split_once('?').unwrap_or((found.value(), ""));
            let in_path = path.split('/').map(|segment| ("", segment));
            let in_query = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            let mut parts = in_path.chain(in_query);
            parts.any(|(name, value)| secret_in(reader, name, value, &found.path, found.at, "the URL"));
            Some(url)
        }
        Err(error) => {
            template_error(reader, found, &error, Code::InvalidUrl);
            None
        }
    }
}

fn template_error(reader: &mut Reader<'_>, found: &Found<'_>, error: &TemplateSyntaxError, about_text: Code) {
    let code = if error.is_about_text { about_text } else { Code::InvalidTemplate };
    let message = format!("{}: {}", found.path, error.message);
    reader.error(code, &found.path, found.at_offset(error.offset), message);
}

/// Report a credential in a header or a parameter. The value is not repeated.
fn secret_in(reader: &mut Reader<'_>, name: &str, value: &str, path: &str, at: Option<usize>, what: &str) -> bool {
    let is_fixed = !value.contains('{');
    let is_secret = (header::is_for_credentials(name) && !value.is_empty())
        || (header::may_be_for_credentials(name) && is_fixed && !value.is_empty())
        || header::looks_like_a_secret(value);
    if is_secret {
        let message = format!("{what} holds a credential, and this document is no place for one");
        reader.error(Code::SecretInConfig, path, at, message).suggestion = Some(format!(
            "put it in a secret, and name that: auth = {{ secret = \"{SECRETS}NAME\", header = \"...\" }}"
        ));
    }
    is_secret
}

type Texts = BTreeMap<String, String>;

/// `query`: templates, or plain numbers and booleans.
fn query<'n>(reader: &mut Reader<'_>, fields: &Fields<'n>) -> (Texts, Vec<(Place<'n>, QueryTemplate)>) {
    let (mut texts, mut templates) = (Texts::new(), Vec::new());
    let Some(entry) = fields.entry("query") else { return (texts, templates) };
    let Some(parameters) = reader.any_table(&entry.node, &fields.path_of("query")) else { return (texts, templates) };
    for Entry { key, key_at, node } in parameters.entries() {
        let path = parameters.path_of(key);
        if key.is_empty() {
            reader.error(Code::InvalidName, &path, *key_at, format!("{path} is a query parameter without a name"));
            continue;
        }
        let plain = match &node.data {
            Data::Integer(integer) => Some(integer.to_string()),
            Data::Bool(bool) => Some(bool.to_string()),
            _ => None,
        };
        let place = match plain {
            Some(plain) => Place { path, at: node.at, text: None, plain },
            None => match reader.text(node, &path) {
                Some(found) => Place { plain: found.value().to_owned(), path, at: node.at, text: Some(found.text) },
                None => continue,
            },
        };
        if secret_in(reader, key, &place.plain, &place.path, place.at, &format!("the query parameter {:?}", short(key)))
        {
            continue;
        }
        match QueryTemplate::parse(key, &place.plain) {
            Ok(template) => {
                texts.insert(key.clone(), place.plain.clone());
                templates.push((place, template));
            }
            Err(error) => {
                let message = format!("{}: {}", place.path, error.message);
                reader.error(Code::InvalidTemplate, &place.path, place.at_offset(error.offset), message);
            }
        }
    }
    (texts, templates)
}

/// A query value and where it is: a text, or a number or boolean that stands for one.
struct Place<'n> {
    path: String,
    at: Option<usize>,
    text: Option<&'n Text>,
    plain: String,
}

impl Place<'_> {
    fn at_offset(&self, offset: usize) -> Option<usize> {
        self.at.map(|at| at + self.text.map_or(0, |text| text.raw_offset(offset)))
    }
}

fn headers<'n>(reader: &mut Reader<'_>, fields: &Fields<'n>) -> (Texts, Vec<(Found<'n>, HeaderTemplate)>) {
    let (mut texts, mut templates) = (Texts::new(), Vec::<(Found<'n>, HeaderTemplate)>::new());
    let Some(entry) = fields.entry("headers") else { return (texts, templates) };
    let Some(headers) = reader.any_table(&entry.node, &fields.path_of("headers")) else { return (texts, templates) };
    for Entry { key, key_at, node } in headers.entries() {
        let path = headers.path_of(key);
        let Some(found) = reader.text(node, &path) else { continue };
        if !header_name(reader, key, &path, *key_at) {
            continue;
        }
        if secret_in(reader, key, found.value(), &path, found.at, &format!("the header {key:?}")) {
            continue;
        }
        if texts.keys().any(|other| other.eq_ignore_ascii_case(key)) {
            reader.error(
                Code::HeaderSetTwice,
                &path,
                *key_at,
                format!("{path} is set twice: header names have no case"),
            );
            continue;
        }
        match HeaderTemplate::parse(key, found.value()) {
            Ok(template) => {
                texts.insert(key.clone(), found.value().to_owned());
                templates.push((found, template));
            }
            Err(error) => template_error(reader, &found, &error, Code::InvalidHeader),
        }
    }
    (texts, templates)
}

fn header_name(reader: &mut Reader<'_>, name: &str, path: &str, at: Option<usize>) -> bool {
    if !header::is_name(name) {
        reader.error(Code::InvalidHeader, path, at, format!("{:?} cannot be the name of a header", short(name)));
        return false;
    }
    if header::is_reserved(name) {
        reader.error(Code::ReservedHeader, path, at, format!("the header {name:?} is set by the bridge itself"));
        return false;
    }
    true
}

fn set_once(reader: &mut Reader<'_>, found: &Found<'_>, headers: &Texts) {
    if headers.keys().any(|header| header.eq_ignore_ascii_case(found.value())) {
        let message = format!("{} is the header {:?}, which headers sets as well", found.path, found.value());
        reader.error(Code::HeaderSetTwice, &found.path, found.at, message);
    }
}

fn auth(reader: &mut Reader<'_>, fields: &Fields<'_>, headers: &Texts) -> Option<Auth> {
    let entry = fields.entry("auth")?;
    let auth = reader.table(&entry.node, &fields.path_of("auth"), &["secret", "header", "prefix"])?;
    let secret = reader.required(&auth, "secret");
    if let Some(found) = &secret {
        secret_name(reader, found);
    }
    let header = reader.optional(&auth, "header");
    if let Some(found) = &header {
        header_name(reader, found.value(), &found.path, found.at);
        set_once(reader, found, headers);
    }
    let prefix = reader.optional(&auth, "prefix");
    if let Some(found) = &prefix {
        // It ends in a space more often than not, so that is allowed here; the secret follows.
        if found.value().len() > 64
            || !header::is_value(&format!("x{}x", found.value()))
            || found.value().starts_with(' ')
        {
            let message = format!("{} must be up to 64 visible ASCII characters and spaces", found.path);
            reader.error(Code::InvalidHeader, &found.path, found.at, message);
        } else {
            secret_in(reader, "", found.value(), &found.path, found.at, &found.path);
        }
    }
    let header = header.map_or("authorization", |found| found.value());
    let default_prefix = if header.eq_ignore_ascii_case("authorization") { "Bearer " } else { "" };
    Some(Auth {
        secret: secret?.value().to_owned(),
        header: header.to_owned(),
        prefix: prefix.map_or(default_prefix, |found| found.value()).to_owned(),
    })
}

/// Report what is not the name of a secret that tools can read.
pub(crate) fn secret_name(reader: &mut Reader<'_>, found: &Found<'_>) {
    let name = found.value();
    let is_name = |rest: &str| {
        !rest.is_empty()
            && name.len() <= 256
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte))
    };
    if header::looks_like_a_secret(name) {
        let message = format!("{} is the name of a secret, and this looks like a secret itself", found.path);
        reader.error(Code::SecretInConfig, &found.path, found.at, message).suggestion = Some(format!(
            "put it in a secret called {SECRETS}NAME, and write that name here; it is public now, so replace it"
        ));
    } else if !name.strip_prefix(SECRETS).is_some_and(is_name) {
        // Not repeated: somebody may have written the secret where its name belongs.
        let message = format!("{} must be the name of a secret of tools: {SECRETS}NAME", found.path);
        reader.error(Code::InvalidSecretName, &found.path, found.at, message);
    }
}

/// Warn of a secret that is sent without encryption.
pub(crate) fn insecure(reader: &mut Reader<'_>, found: &Found<'_>, url: &UrlTemplate, whose: &str) {
    if !url.origin().starts_with("http:") || is_local(url.origin()) {
        return;
    }
    let message = format!("{whose} sends its secret without encryption");
    reader.warning(Code::InsecureUrl, &found.path, found.at, message).suggestion = Some("use https".to_owned());
}

fn is_local(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").unwrap_or(origin);
    let host = if host.starts_with('[') { host.split_inclusive(']').next() } else { host.split(':').next() };
    let host = host.unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

fn schema(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str) -> Option<(Value, Schema)> {
    let entry = fields.entry(key)?;
    let path = fields.path_of(key);
    // A boolean is a schema too, but here it is far more likely a mistake.
    reader.any_table(&entry.node, &path)?;
    let value = match entry.node.to_json() {
        Ok(value) => value,
        Err(part) => {
            reader.error(
                Code::InvalidSchema,
                &path,
                part.at,
                format!("{path} has {}, which JSON cannot hold", part.type_name()),
            );
            return None;
        }
    };
    match Schema::compile(&value) {
        Ok(schema) => Some((value, schema)),
        Err(problems) => {
            for problem in problems {
                let code = if problem.is_reference { Code::SchemaReference } else { Code::InvalidSchema };
                let at = entry.node.at_pointer(&problem.pointer).at;
                let place =
                    if problem.pointer.is_empty() { String::new() } else { format!(" at {}", short(&problem.pointer)) };
                reader.error(code, &path, at, format!("{path} is not a JSON Schema{place}: {}", problem.message));
            }
            None
        }
    }
}

/// Warn of a placeholder that the input schema does not know.
fn placeholder(reader: &mut Reader<'_>, schema: &Value, path: &str, field: &Field, at: Option<usize>) {
    let mut part = schema;
    for key in field.path.split('.') {
        // Only the plain case: what a schema with these says about one field cannot be read off it.
        const COMPOSED: [&str; 9] =
            ["$ref", "allOf", "anyOf", "oneOf", "not", "if", "patternProperties", "dependentSchemas", "items"];
        let Value::Object(keywords) = part else { return };
        if COMPOSED.iter().any(|composed| keywords.contains_key(*composed)) {
            return;
        }
        let Some(Value::Object(properties)) = keywords.get("properties") else {
            return not_plain(reader, part, path, field, at);
        };
        match properties.get(key) {
            Some(next) => part = next,
            None if matches!(keywords.get("additionalProperties"), Some(Value::Bool(true) | Value::Object(_))) => {
                return;
            }
            None => {
                let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                let message = format!("{path} needs the field {:?}, which the input schema does not have", field.path);
                reader.warning(Code::PlaceholderNotInInput, path, at, message).suggestion =
                    nearest(key, &known).map(|near| format!("did you mean {near:?}?"));
                return;
            }
        }
    }
    let is_structure = match part.get("type") {
        Some(Value::String(one)) => ["array", "object", "null"].contains(&one.as_str()),
        _ => false,
    };
    if is_structure {
        let message = format!(
            "{path} needs the field {:?} as a text, a number or a boolean, which it is not in the input schema",
            field.path
        );
        reader.warning(Code::PlaceholderNotInInput, path, at, message);
    }
}

/// A path goes on below a field that the schema says has none.
fn not_plain(reader: &mut Reader<'_>, part: &Value, path: &str, field: &Field, at: Option<usize>) {
    if matches!(part.get("type"), Some(Value::String(one)) if !["array", "object"].contains(&one.as_str())) {
        let message = format!("{path} needs the field {:?}, which the input schema does not have", field.path);
        reader.warning(Code::PlaceholderNotInInput, path, at, message);
    }
}

/// The names of all tools of a document, those among them that have something wrong.
pub(crate) fn names(tools: &Node) -> Vec<&str> {
    match &tools.data {
        Data::Table(entries) => entries.iter().map(|entry| entry.key.as_str()).collect(),
        _ => Vec::new(),
    }
}
