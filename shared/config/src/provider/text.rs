//! Reading the texts of a provider: templates, addresses, names of secrets, what might be a credential.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::Code;
use crate::header;
use crate::names::{self, is_loopback};
use crate::reader::{Fields, Found, Reader, nearest, short};
use crate::template::{Field, Piece, UrlTemplate, pieces};

/// Where the secrets of providers lie. The functions that ask for tokens are permitted these.
pub(super) const SECRETS: &str = "clawbridge/providers/";
/// The name that every declaration has, beside its parameters.
pub(super) const CLIENT_ID: &str = "client_id";
/// The longest address, in bytes.
const MAX_ADDRESS_BYTES: usize = 2048;

/// Reads templates, and keeps in mind which names they use.
pub(super) struct Templates<'p> {
    declared: &'p BTreeMap<String, String>,
    used: BTreeSet<String>,
}

impl<'p> Templates<'p> {
    pub(super) fn new(declared: &'p BTreeMap<String, String>) -> Self {
        Self { declared, used: BTreeSet::new() }
    }

    pub(super) fn uses_client_id(&self) -> bool {
        self.used.contains(CLIENT_ID)
    }

    /// Whether the text is a template of declared names. If not, that is reported.
    pub(super) fn text(&mut self, reader: &mut Reader<'_>, found: &Found<'_>) -> bool {
        self.fields(reader, found).is_some()
    }

    fn fields(&mut self, reader: &mut Reader<'_>, found: &Found<'_>) -> Option<Vec<Field>> {
        let pieces = match pieces(found.value()) {
            Ok(pieces) => pieces,
            Err(error) => {
                let message = format!("{}: {}", found.path, error.message);
                reader.error(Code::InvalidTemplate, &found.path, found.at_offset(error.offset), message);
                return None;
            }
        };
        let mut fields = Vec::new();
        let mut are_declared = true;
        for (_, piece) in pieces {
            let Piece::Field(field) = piece else { continue };
            let at = found.at_offset(field.offset);
            if field.is_optional {
                let message = format!("{}: a parameter of a provider cannot be left out", found.path);
                reader.error(Code::InvalidTemplate, &found.path, at, message);
                are_declared = false;
            } else if field.path != CLIENT_ID && !self.declared.contains_key(&field.path) {
                let names: Vec<&str> = self.declared.keys().map(String::as_str).chain([CLIENT_ID]).collect();
                let message =
                    format!("{} asks for {{{}}}, which parameters does not declare", found.path, short(&field.path));
                let suggestion = nearest(&field.path, &names).map_or_else(
                    || format!("add it: parameters = {{ {} = \"...\" }}", short(&field.path)),
                    |near| format!("did you mean {{{near}}}?"),
                );
                reader.error(Code::UndeclaredParameter, &found.path, at, message).suggestion = Some(suggestion);
                are_declared = false;
            }
            self.used.insert(field.path.clone());
            fields.push(field);
        }
        are_declared.then_some(fields)
    }

    /// An address. What is wrong with it is reported; the text comes back in any case, as nothing runs with an error.
    pub(super) fn address(&mut self, reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str) -> Option<String> {
        let found = reader.optional(fields, key)?;
        self.check_address(reader, &found);
        Some(found.value().to_owned())
    }

    /// The issuer identifier: an address without query and fragment (RFC 8414, section 2).
    pub(super) fn issuer(&mut self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<String> {
        let found = reader.optional(fields, "issuer")?;
        if let Some(at) = found.value().find('?') {
            let message = format!("{} is an issuer, which has no query", found.path);
            reader.error(Code::InvalidUrl, &found.path, found.at_offset(at), message);
        } else if let Some(at) = found.value().find("/.well-known/") {
            let message = format!("{} is the address of its metadata; the issuer is another", found.path);
            let diagnostic = reader.error(Code::InvalidUrl, &found.path, found.at_offset(at), message);
            diagnostic.suggestion = Some("write what the metadata says for issuer".to_owned());
        } else {
            self.check_address(reader, &found);
        }
        Some(found.value().to_owned())
    }

    fn check_address(&mut self, reader: &mut Reader<'_>, found: &Found<'_>) {
        let text = found.value();
        if text.len() > MAX_ADDRESS_BYTES {
            let message = format!("{} is longer than {MAX_ADDRESS_BYTES} bytes", found.path);
            reader.error(Code::TooLarge, &found.path, found.at, message);
            return;
        }
        let parts = text.split(['/', '?', '&']).map(|part| part.split_once('=').unwrap_or(("", part)));
        for (name, value) in parts {
            if is_credential(name, value) {
                report_credential(reader, found);
                return;
            }
        }
        let Some(fields) = self.fields(reader, found) else { return };
        // What a name stands for may be any letter; the text keeps its length, and so its offsets.
        let mut sample = text.to_owned();
        for field in &fields {
            let len = field.path.len() + 2;
            sample.replace_range(field.offset..field.offset + len, &"x".repeat(len));
        }
        let url = match UrlTemplate::parse(&sample) {
            Ok(url) if !url.is_bridge() => url,
            Ok(_) => {
                let message = format!("{} must be the address of the provider", found.path);
                reader.error(Code::InvalidUrl, &found.path, found.at, message);
                return;
            }
            Err(error) => {
                let message = format!("{}: {}", found.path, error.message);
                reader.error(Code::InvalidUrl, &found.path, found.at_offset(error.offset), message);
                return;
            }
        };
        let host_start = text.find("://").map_or(0, |at| at + 3);
        let in_host = |field: &&Field| (host_start..url.origin().len()).contains(&field.offset);
        if url.origin().starts_with("http:") && !is_loopback(url.origin()) {
            let message = format!("{} must begin with https://: tokens and secrets go there", found.path);
            reader.error(Code::InsecureUrl, &found.path, found.at, message);
        } else if let Some(field) = fields.iter().rfind(in_host) {
            let fixed = &sample[field.offset + field.path.len() + 2..url.origin().len()];
            let labels: Vec<&str> = fixed.split('.').skip(1).collect();
            if labels.len() < 2 || labels.iter().any(|label| label.is_empty()) || fixed.contains(':') {
                let message = format!(
                    "{}: a placeholder must leave the domain fixed, as in https://{{shop}}.example.com: an account must not choose who gets the client's secret",
                    found.path
                );
                reader.error(Code::InvalidUrl, &found.path, found.at_offset(field.offset), message);
            }
        }
    }

    /// Warn of parameters that stand for nothing: a misspelt one would leave another at its default.
    pub(super) fn report_unused(&self, reader: &mut Reader<'_>, fields: &Fields<'_>) {
        let Some(table) = fields.entry("parameters").and_then(|entry| reader.any_table(&entry.node, "parameters"))
        else {
            return;
        };
        let used: Vec<&str> = self.used.iter().map(String::as_str).collect();
        for entry in table.entries() {
            if self.declared.contains_key(&entry.key) && !self.used.contains(&entry.key) {
                let path = format!("{}.{}", fields.path_of("parameters"), entry.key);
                let message = format!("{path} is in no address or text of {}", fields.path);
                reader.warning(Code::UnusedParameter, &path, entry.key_at, message).suggestion =
                    nearest(&entry.key, &used).map(|near| format!("did you mean {near:?}?"));
            }
        }
    }
}

/// Report what is not the name of a secret of providers.
pub(super) fn secret_name(reader: &mut Reader<'_>, found: &Found<'_>) {
    names::secret(reader, found, SECRETS, "providers");
}

fn is_credential(name: &str, value: &str) -> bool {
    let is_named_so = header::is_for_credentials(name) || header::may_be_for_credentials(name);
    (is_named_so && !value.is_empty()) || header::looks_like_a_secret(value)
}

fn report_credential(reader: &mut Reader<'_>, found: &Found<'_>) {
    let message = format!("{} holds a credential, and this document is no place for one", found.path);
    reader.error(Code::SecretInConfig, &found.path, found.at, message).suggestion =
        Some(format!("put it in a secret called {SECRETS}NAME, and name that in secret"));
}

/// Whether the value of `name` is a credential. If so, that is reported.
pub(super) fn credential(reader: &mut Reader<'_>, name: &str, found: &Found<'_>) -> bool {
    let is_one = is_credential(name, found.value());
    if is_one {
        report_credential(reader, found);
    }
    is_one
}

/// The way to a field of an answer: names separated by dots.
pub(super) fn field_path(reader: &mut Reader<'_>, found: &Found<'_>) -> String {
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if found.value().len() > 128 || !found.value().split('.').all(is_name) {
        let message = format!("{} must be the name of a field, or names separated by dots", found.path);
        reader.error(Code::InvalidValue, &found.path, found.at, message);
    }
    found.value().to_owned()
}
