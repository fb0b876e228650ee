//! Templates: URLs, query parameters and headers with fields of a tool's input.
//!
//! `{customer}` and `{customer.id}` stand for a field of the input, `{items.0}` for an item of an array; `{{` and `}}` for a
//! brace. A field must be a text, a number or a boolean. Nothing that a field holds can change the structure of a request:
//! in URLs, everything but unreserved characters is percent-encoded (RFC 3986, section 2.3).
//!
//! `{limit?}` is a field that the input need not have: the query parameter or header is left out then, and where it is null.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use crate::header;

/// The longest URL that is made, in bytes. Servers and proxies refuse longer ones.
pub const MAX_URL_BYTES: usize = 8192;
/// The longest header value that is made, in bytes.
const MAX_HEADER_BYTES: usize = 4096;

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateSyntaxError {
    /// What is wrong, for a person.
    pub message: String,
    /// Where: a byte offset into the text.
    pub offset: usize,
    /// Whether it is about what stands around the placeholders (a URL, a header value), not about the placeholders.
    pub is_about_text: bool,
}

/// Why a template could not be filled in. It names the field and never holds its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The input does not have the field.
    #[error("the input has no field {field:?}, which the {place} needs")]
    Missing {
        /// The path of the field.
        field: String,
        /// What was being made: `URL`, `query`, `header "x-y"`.
        place: String,
    },
    /// The field is null, an array or an object.
    #[error("the field {field:?} of the input is {found}; the {place} takes a text, a number or a boolean")]
    NotPlain {
        /// The path of the field.
        field: String,
        /// What was being made.
        place: String,
        /// What the field is.
        found: &'static str,
    },
    /// A part of the URL's path would come out empty, `.` or `..`, which makes it another path.
    #[error("the field {field:?} of the input would change the path of the URL: a part of it comes out as {part:?}")]
    PathSegment {
        /// The path of the last field in that part.
        field: String,
        /// What the part comes out as.
        part: &'static str,
    },
    /// A header value with a line end, another control character or a character beyond ASCII.
    #[error("the field {field:?} of the input has characters that the {place} cannot carry")]
    Characters {
        /// The path of the field.
        field: String,
        /// What was being made.
        place: String,
    },
    /// The result is longer than a server takes.
    #[error("the {place} comes out longer than {limit} bytes")]
    TooLong {
        /// What was being made.
        place: String,
        /// The bound, in bytes.
        limit: usize,
    },
}

impl TemplateError {
    /// The stable code of the error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "FIELD_MISSING",
            Self::NotPlain { .. } => "FIELD_NOT_PLAIN",
            Self::PathSegment { .. } => "FIELD_CHANGES_PATH",
            Self::Characters { .. } => "FIELD_CHARACTERS",
            Self::TooLong { .. } => "TEMPLATE_TOO_LONG",
        }
    }
}

/// A placeholder: the keys on the way to a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) path: String,
    /// Byte offset of the opening brace in the template.
    pub(crate) offset: usize,
    /// Whether the input may be without it.
    pub(crate) is_optional: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Literal(String),
    Field(Field),
}

/// The pieces of a template, and for each the byte offset at which it begins.
pub(crate) fn pieces(text: &str) -> Result<Vec<(usize, Piece)>, TemplateSyntaxError> {
    let fail = |offset: usize, message: &str| TemplateSyntaxError {
        message: message.to_owned(),
        offset,
        is_about_text: false,
    };
    let mut pieces: Vec<(usize, Piece)> = Vec::new();
    let literal = |pieces: &mut Vec<(usize, Piece)>, at: usize, text: &str| match pieces.last_mut() {
        Some((_, Piece::Literal(last))) => last.push_str(text),
        _ => pieces.push((at, Piece::Literal(text.to_owned()))),
    };
    let mut at = 0;
    while let Some(brace) = text[at..].find(['{', '}']).map(|found| at + found) {
        if brace > at {
            literal(&mut pieces, at, &text[at..brace]);
        }
        let rest = &text[brace..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            literal(&mut pieces, brace, &rest[..1]);
            at = brace + 2;
            continue;
        }
        if rest.starts_with('}') {
            return Err(fail(brace, "this } closes nothing; write }} for the character itself"));
        }
        let Some(close) = rest.find('}') else {
            return Err(fail(brace, "this { is not closed; write {{ for the character itself"));
        };
        let inner = &rest[1..close];
        let (path, is_optional) = inner.strip_suffix('?').map_or((inner, false), |path| (path, true));
        let is_key = |key: &str| {
            !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-$".contains(&byte))
        };
        if !path.split('.').all(is_key) {
            return Err(fail(
                brace,
                "a placeholder is {field}, {field.field} or {field?}, of letters, digits, _, - and $",
            ));
        }
        pieces.push((brace, Piece::Field(Field { path: path.to_owned(), offset: brace, is_optional })));
        at = brace + close + 1;
    }
    if at < text.len() {
        literal(&mut pieces, at, &text[at..]);
    }
    Ok(pieces)
}

fn fields(pieces: &[Piece]) -> impl Iterator<Item = &Field> {
    pieces.iter().filter_map(|piece| match piece {
        Piece::Field(field) => Some(field),
        Piece::Literal(_) => None,
    })
}

/// A field of the input.
fn find<'v>(field: &Field, input: &'v Value) -> Option<&'v Value> {
    field.path.split('.').try_fold(input, |value, key| match value {
        Value::Array(items) => key.parse().ok().and_then(|index: usize| items.get(index)),
        Value::Object(fields) => fields.get(key),
        _ => None,
    })
}

/// Whether a field that `input` need not have is not there: what the template is for is left out then.
fn is_left_out(pieces: &[Piece], input: &Value) -> bool {
    fields(pieces).any(|field| field.is_optional && find(field, input).is_none_or(Value::is_null))
}

/// The text of a field of the input.
fn lookup(field: &Field, input: &Value, place: &dyn Fn() -> String) -> Result<String, TemplateError> {
    let missing = || TemplateError::Missing { field: field.path.clone(), place: place() };
    let found = match find(field, input).ok_or_else(missing)? {
        Value::String(text) => return Ok(text.clone()),
        Value::Number(number) => return Ok(number.to_string()),
        Value::Bool(bool) => return Ok(bool.to_string()),
        Value::Null => "null",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Err(TemplateError::NotPlain { field: field.path.clone(), place: place(), found })
}

/// Append `text`, percent-encoded but for unreserved characters.
fn push_encoded(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// The address of an API: `https://api.example.com/v1/customers/{customer}`, or `bridge:/path` for the bridge's own address.
///
/// The host is fixed; fields can stand in the path and in the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlTemplate {
    /// Up to the path: `https://api.example.com`, or `bridge:`.
    origin: String,
    pieces: Vec<Piece>,
}

impl UrlTemplate {
    /// Read a template.
    ///
    /// # Errors
    /// The first thing that is wrong, and where. The message repeats nothing of the text.
    pub fn parse(text: &str) -> Result<Self, TemplateSyntaxError> {
        let fail = |offset: usize, message: &str| TemplateSyntaxError {
            message: message.to_owned(),
            offset,
            is_about_text: true,
        };
        let after_scheme = |scheme: &str| {
            text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)).then_some(scheme.len())
        };
        let origin_len = if let Some(start) = after_scheme("bridge:") {
            if !text[start..].starts_with('/') || text[start..].starts_with("//") {
                return Err(fail(start, "after bridge: comes a path, as in bridge:/api/v1/status"));
            }
            start
        } else if let Some(start) = after_scheme("https://").or_else(|| after_scheme("http://")) {
            let len = text[start..].find(['/', '?', '#']).unwrap_or(text.len() - start);
            authority(&text[start..start + len]).map_err(|(offset, message)| fail(start + offset, message))?;
            start + len
        } else {
            return Err(fail(0, "a URL begins with https://, http:// or bridge:/"));
        };
        let rest = &text[origin_len..];
        for (offset, char) in rest.char_indices() {
            let message = match char {
                '#' => "a URL for a request has no fragment; write %23 for the character itself",
                '\\' => "a URL has no backslash; write / or %5C",
                '!' | '$' | '%' | '&' | '\'' | '(' | ')' | '*' | '+' | ',' | '-' | '.' | '/' | ':' | ';' | '='
                | '?' | '@' | '_' | '~' | '{' | '}' => continue,
                char if char.is_ascii_alphanumeric() => continue,
                _ => "this character must be percent-encoded in a URL",
            };
            return Err(fail(origin_len + offset, message));
        }
        if let Some(offset) = bad_percent(rest) {
            return Err(fail(
                origin_len + offset,
                "after % come two hexadecimal digits; write %25 for the character itself",
            ));
        }
        let parsed =
            pieces(rest).map_err(|error| TemplateSyntaxError { offset: origin_len + error.offset, ..error })?;
        if let Some(offset) = rest.find("{{").or_else(|| rest.find("}}")) {
            return Err(fail(origin_len + offset, "a URL has no braces of its own; write %7B and %7D"));
        }
        let mut pieces: Vec<Piece> = parsed.into_iter().map(|(_, piece)| piece).collect();
        for piece in &mut pieces {
            if let Piece::Field(field) = piece {
                field.offset += origin_len;
                if field.is_optional {
                    let message = "a field of a URL cannot be optional; parameters that may be left out stand in query"
                        .to_owned();
                    return Err(TemplateSyntaxError { message, offset: field.offset, is_about_text: false });
                }
            }
        }
        let path_len = rest.find('?').unwrap_or(rest.len());
        let mut offset = origin_len;
        for segment in rest[..path_len].split('/') {
            if dots(segment).is_some() {
                return Err(fail(offset, "a path has no parts . or .. in it; write the path that is meant"));
            }
            offset += segment.len() + 1;
        }
        if !rest.starts_with('/') {
            // `https://host` and `https://host?query` have the path `/`, and servers see it.
            pieces.insert(0, Piece::Literal("/".to_owned()));
        }
        Ok(Self { origin: text[..origin_len].to_ascii_lowercase(), pieces })
    }

    /// Whether the URL is a path of the bridge's own address. It then expands to `bridge:/path`.
    #[must_use]
    pub fn is_bridge(&self) -> bool {
        self.origin == "bridge:"
    }

    /// The scheme and the host: the same for every input.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The paths of the fields that it needs.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &Field> {
        fields(&self.pieces)
    }

    /// The URL for `input`.
    ///
    /// # Errors
    /// A field that is not there or cannot be in a URL, or a result that is too long.
    pub fn expand(&self, input: &Value) -> Result<String, TemplateError> {
        let place = || "URL".to_owned();
        let mut url = self.origin.clone();
        let mut segment_start = url.len();
        let mut is_in_path = true;
        let mut last_field: Option<&Field> = None;
        for piece in &self.pieces {
            match piece {
                Piece::Field(field) => {
                    push_encoded(&mut url, &lookup(field, input, &place)?);
                    last_field = Some(field);
                }
                Piece::Literal(text) => {
                    for char in text.chars() {
                        if is_in_path && matches!(char, '/' | '?') {
                            check_segment(&url[segment_start..], last_field.take())?;
                            segment_start = url.len() + 1;
                            is_in_path = char == '/';
                        }
                        url.push(char);
                    }
                }
            }
            if url.len() > MAX_URL_BYTES {
                return Err(TemplateError::TooLong { place: place(), limit: MAX_URL_BYTES });
            }
        }
        if is_in_path {
            check_segment(&url[segment_start..], last_field)?;
        }
        Ok(url)
    }
}

/// A part of a path that holds a field keeps its place in the path.
fn check_segment(segment: &str, field: Option<&Field>) -> Result<(), TemplateError> {
    let Some(field) = field else { return Ok(()) };
    let part = if segment.is_empty() { Some("") } else { dots(segment) };
    match part {
        None => Ok(()),
        Some(part) => Err(TemplateError::PathSegment { field: field.path.clone(), part }),
    }
}

/// `.` or `..`, if the part of a path is one of them to a server that decodes it.
fn dots(segment: &str) -> Option<&'static str> {
    match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
        "." => Some("."),
        ".." => Some(".."),
        _ => None,
    }
}

/// The offset of a `%` that begins no percent-encoding.
fn bad_percent(text: &str) -> Option<usize> {
    text.match_indices('%').map(|(at, _)| at).find(|at| {
        let digits = text.as_bytes().get(at + 1..at + 3);
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Check `host` or `host:port`.
fn authority(text: &str) -> Result<(), (usize, &'static str)> {
    if let Some(at) = text.rfind('@') {
        return Err((at, "a URL here has no user or password in it; name a secret in auth"));
    }
    if let Some(at) = text.find(['{', '}']) {
        return Err((at, "a placeholder cannot stand in the host: an input must not choose whom the bridge calls"));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(inner) => {
            let Some((address, after)) = inner.split_once(']') else { return Err((0, "this [ is not closed")) };
            if address.parse::<Ipv6Addr>().is_err() {
                return Err((1, "between [ and ] stands an IPv6 address"));
            }
            match after.strip_prefix(':') {
                Some(port) => (None, Some((text.len() - port.len(), port))),
                None if after.is_empty() => (None, None),
                None => return Err((address.len() + 2, "after ] comes : and a port, or the path")),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some((host.len() + 1, port))),
            None => (Some(text), None),
        },
    };
    if let Some((offset, port)) = port {
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
        if !is_port {
            return Err((offset, "a port is a number from 1 to 65535"));
        }
    }
    if let Some(host) = host {
        let is_label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if host.is_empty() || host.len() > 253 || !host.split('.').all(is_label) {
            return Err((0, "this is not a host name (one with other letters is written in its xn-- form)"));
        }
        // A client would read a host that ends in a number as an IPv4 address, however it is spelled.
        let last = host.rsplit('.').next().unwrap_or(host);
        let is_numeric = last.bytes().all(|byte| byte.is_ascii_digit())
            || last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
        if is_numeric && host.parse::<Ipv4Addr>().is_err() {
            return Err((0, "this is neither a host name nor an IPv4 address"));
        }
    }
    Ok(())
}

/// One query parameter: its name as written, its value a template. Both are percent-encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryTemplate {
    name: String,
    pieces: Vec<Piece>,
}

impl QueryTemplate {
    /// Read a template.
    ///
    /// # Errors
    /// The first thing that is wrong with its placeholders, and where.
    pub fn parse(name: &str, text: &str) -> Result<Self, TemplateSyntaxError> {
        let pieces = pieces(text)?.into_iter().map(|(_, piece)| piece).collect();
        Ok(Self { name: name.to_owned(), pieces })
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = &Field> {
        fields(&self.pieces)
    }

    /// `name=value` for `input`, percent-encoded. `None`: an optional field is not there, and the parameter is left out.
    ///
    /// # Errors
    /// A field that is not there or cannot be in a query.
    pub fn expand(&self, input: &Value) -> Result<Option<String>, TemplateError> {
        if is_left_out(&self.pieces, input) {
            return Ok(None);
        }
        let place = || format!("query parameter {:?}", self.name);
        let mut out = String::new();
        push_encoded(&mut out, &self.name);
        out.push('=');
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => push_encoded(&mut out, text),
                Piece::Field(field) => push_encoded(&mut out, &lookup(field, input, &place)?),
            }
            if out.len() > MAX_URL_BYTES {
                return Err(TemplateError::TooLong { place: place(), limit: MAX_URL_BYTES });
            }
        }
        Ok(Some(out))
    }
}

/// One header: its name in lower case, its value a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderTemplate {
    name: String,
    pieces: Vec<Piece>,
}

impl HeaderTemplate {
    /// Read a template. `name` must be a header name.
    ///
    /// # Errors
    /// The first thing that is wrong with its placeholders or with the text around them, and where.
    pub fn parse(name: &str, text: &str) -> Result<Self, TemplateSyntaxError> {
        let pieces: Vec<Piece> = pieces(text)?.into_iter().map(|(_, piece)| piece).collect();
        if !header::is_value(text) {
            let offset = text.find(|char: char| char != '\t' && !(' '..='~').contains(&char)).unwrap_or(0);
            let message = "a header value has visible ASCII characters, spaces and tabs between them, and nothing else"
                .to_owned();
            return Err(TemplateSyntaxError { message, offset, is_about_text: true });
        }
        Ok(Self { name: name.to_ascii_lowercase(), pieces })
    }

    /// The name of the header, in lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = &Field> {
        fields(&self.pieces)
    }

    /// The value for `input`. `None`: an optional field is not there, and the header is left out.
    ///
    /// # Errors
    /// A field that is not there or cannot be in a header.
    pub fn expand(&self, input: &Value) -> Result<Option<String>, TemplateError> {
        if is_left_out(&self.pieces, input) {
            return Ok(None);
        }
        let place = || format!("header {:?}", self.name);
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Field(field) => {
                    let text = lookup(field, input, &place)?;
                    if !header::is_value(&text) {
                        return Err(TemplateError::Characters { field: field.path.clone(), place: place() });
                    }
                    out.push_str(&text);
                }
            }
            if out.len() > MAX_HEADER_BYTES {
                return Err(TemplateError::TooLong { place: place(), limit: MAX_HEADER_BYTES });
            }
        }
        // An empty field at the end would leave a space there, which servers may or may not drop.
        Ok(Some(out.trim_matches([' ', '\t']).to_owned()))
    }
}

/// Which connection a call uses: `salesforce/prod`, or `shopify/{shop}` where the input names the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionTemplate {
    provider: String,
    account: Vec<Piece>,
}

impl ConnectionTemplate {
    /// Read a template.
    ///
    /// # Errors
    /// The first thing that is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, TemplateSyntaxError> {
        let fail = |offset: usize, message: &str| TemplateSyntaxError {
            message: message.to_owned(),
            offset,
            is_about_text: true,
        };
        let Some((provider, account)) = text.split_once('/') else {
            return Err(fail(
                0,
                "a connection is PROVIDER/ACCOUNT, or PROVIDER/{field} where the input names the account",
            ));
        };
        if !is_connection_part(provider) {
            return Err(fail(0, "a provider's name has up to 64 small letters, digits, - and _"));
        }
        let start = provider.len() + 1;
        let parsed = pieces(account).map_err(|error| TemplateSyntaxError { offset: start + error.offset, ..error })?;
        let account: Vec<Piece> = parsed.into_iter().map(|(_, piece)| piece).collect();
        if let Some(field) = fields(&account).find(|field| field.is_optional) {
            return Err(fail(
                start + field.offset,
                "a call without an account uses none: the field cannot be optional",
            ));
        }
        let is_text = |piece: &Piece| matches!(piece, Piece::Literal(text) if !is_connection_part(text));
        if account.is_empty() || account.iter().any(is_text) {
            return Err(fail(start, "an account's name has up to 64 small letters, digits, - and _"));
        }
        Ok(Self { provider: provider.to_owned(), account })
    }

    /// The provider's name.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = &Field> {
        fields(&self.account)
    }

    /// The account's name for `input`.
    ///
    /// # Errors
    /// A field that is not there or cannot be in an account's name.
    pub fn account(&self, input: &Value) -> Result<String, TemplateError> {
        let place = || "connection".to_owned();
        let mut account = String::new();
        let mut last = None;
        for piece in &self.account {
            match piece {
                Piece::Literal(text) => account.push_str(text),
                Piece::Field(field) => {
                    account.push_str(&lookup(field, input, &place)?);
                    last = Some(field);
                }
            }
        }
        match last {
            Some(field) if !is_connection_part(&account) => {
                Err(TemplateError::Characters { field: field.path.clone(), place: place() })
            }
            _ => Ok(account),
        }
    }
}

/// Whether `text` can be the name of a provider or an account: it stands in the names of secrets.
fn is_connection_part(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
