//! Reading what a tool's request is made of: its URL, its query, its headers.

use std::collections::BTreeMap;

use crate::diagnostic::Code;
use crate::header;
use crate::node::{Data, Entry, Text};
use crate::reader::{Fields, Found, Reader, short};
use crate::template::{HeaderTemplate, QueryTemplate, TemplateSyntaxError, UrlTemplate};
use crate::tool::auth::SECRETS;

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

pub(super) fn template_error(
    reader: &mut Reader<'_>,
    found: &Found<'_>,
    error: &TemplateSyntaxError,
    about_text: Code,
) {
    let code = if error.is_about_text { about_text } else { Code::InvalidTemplate };
    let message = format!("{}: {}", found.path, error.message);
    reader.error(code, &found.path, found.at_offset(error.offset), message);
}

/// Report a credential in a header or a parameter. The value is not repeated.
pub(super) fn secret_in(
    reader: &mut Reader<'_>,
    name: &str,
    value: &str,
    path: &str,
    at: Option<usize>,
    what: &str,
) -> bool {
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

pub(super) type Texts = BTreeMap<String, String>;

/// `query`: templates, or plain numbers and booleans.
pub(super) fn query<'n>(reader: &mut Reader<'_>, fields: &Fields<'n>) -> (Texts, Vec<(Place<'n>, QueryTemplate)>) {
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
pub(super) struct Place<'n> {
    pub(super) path: String,
    at: Option<usize>,
    text: Option<&'n Text>,
    plain: String,
}

impl Place<'_> {
    pub(super) fn at_offset(&self, offset: usize) -> Option<usize> {
        self.at.map(|at| at + self.text.map_or(0, |text| text.raw_offset(offset)))
    }
}

pub(super) fn headers<'n>(reader: &mut Reader<'_>, fields: &Fields<'n>) -> (Texts, Vec<(Found<'n>, HeaderTemplate)>) {
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

pub(super) fn header_name(reader: &mut Reader<'_>, name: &str, path: &str, at: Option<usize>) -> bool {
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

/// The headers that a tool sets, each by one setting.
pub(super) struct Claims(Vec<(String, String)>);

impl Claims {
    /// Those of `headers`, which are at `path`.
    pub(super) fn of(headers: &Texts, path: &str) -> Self {
        Self(headers.keys().map(|name| (name.to_ascii_lowercase(), path.to_owned())).collect())
    }

    /// Set a header, or report that another setting does so already.
    pub(super) fn claim(&mut self, reader: &mut Reader<'_>, name: &str, path: &str, at: Option<usize>) {
        let name = name.to_ascii_lowercase();
        match self.0.iter().find(|(other, _)| *other == name) {
            Some((_, by)) => {
                let message = format!("{path} is the header {name:?}, which {by} sets as well");
                reader.error(Code::HeaderSetTwice, path, at, message);
            }
            None => self.0.push((name, path.to_owned())),
        }
    }
}

/// Report a query parameter that `found` names and `query` or the URL itself sets too.
pub(super) fn parameter_once(reader: &mut Reader<'_>, found: &Found<'_>, url: Option<&str>, query: &Texts) {
    let in_url = url.and_then(|url| url.split_once('?')).is_some_and(|(_, query)| {
        query.split('&').any(|pair| pair.split('=').next().is_some_and(|name| name == found.value()))
    });
    if in_url || query.contains_key(found.value()) {
        let place = if in_url { "the URL" } else { "query" };
        let message =
            format!("{} is the query parameter {:?}, which {place} sets as well", found.path, short(found.value()));
        reader.error(Code::ParameterSetTwice, &found.path, found.at, message);
    }
}
