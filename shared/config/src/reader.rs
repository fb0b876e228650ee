//! Reading a tree: fields of tables, their types, and the diagnostics about them.

use crate::diagnostic::{Code, Diagnostic, Position, Severity};
use crate::header;
use crate::node::{Data, Entry, Node, Text};

/// Collects what is wrong with a document while it is read.
pub(crate) struct Reader<'t> {
    /// The text of the document, for positions.
    text: Option<&'t str>,
    diagnostics: Vec<Diagnostic>,
}

/// A table and where it is.
pub(crate) struct Fields<'n> {
    pub(crate) path: String,
    pub(crate) at: Option<usize>,
    entries: &'n [Entry],
}

/// A text value and where it is.
#[derive(Clone)]
pub(crate) struct Found<'n> {
    pub(crate) path: String,
    pub(crate) at: Option<usize>,
    pub(crate) text: &'n Text,
}

impl<'n> Found<'n> {
    pub(crate) fn value(&self) -> &'n str {
        &self.text.value
    }

    /// Where in the document the byte at `offset` of the value is.
    pub(crate) fn at_offset(&self, offset: usize) -> Option<usize> {
        self.at.map(|at| at + self.text.raw_offset(offset))
    }
}

impl<'n> Fields<'n> {
    pub(crate) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub(crate) fn entries(&self) -> &'n [Entry] {
        self.entries
    }

    /// The path of a key of this table.
    pub(crate) fn path_of(&self, key: &str) -> String {
        let is_bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let key = if is_bare { key.to_owned() } else { format!("{:?}", short(key)) };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }
}

impl<'t> Reader<'t> {
    pub(crate) fn new(text: Option<&'t str>) -> Self {
        Self { text, diagnostics: Vec::new() }
    }

    /// Whether the document is a text, which a person wrote, rather than JSON.
    pub(crate) fn has_text(&self) -> bool {
        self.text.is_some()
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// All that was found, in the order of the text.
    pub(crate) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by_key(|diagnostic| diagnostic.position);
        self.diagnostics
    }

    /// Report an error; the returned diagnostic can be given a suggestion.
    pub(crate) fn error(
        &mut self,
        code: Code,
        path: &str,
        at: Option<usize>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.report(Severity::Error, code, path, at, message.into())
    }

    /// Report a warning.
    pub(crate) fn warning(
        &mut self,
        code: Code,
        path: &str,
        at: Option<usize>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.report(Severity::Warning, code, path, at, message.into())
    }

    fn report(
        &mut self,
        severity: Severity,
        code: Code,
        path: &str,
        at: Option<usize>,
        message: String,
    ) -> &mut Diagnostic {
        // What has no place of its own, such as a missing key of the document, is reported at its start.
        let position = self.text.map(|text| Position::of(text, at.unwrap_or(0)));
        self.diagnostics.push(Diagnostic {
            code,
            severity,
            position,
            path: path.to_owned(),
            message,
            suggestion: None,
        });
        let last = self.diagnostics.len() - 1;
        &mut self.diagnostics[last]
    }

    fn wrong_type(&mut self, node: &Node, path: &str, at: Option<usize>, wanted: &str) {
        self.error(Code::WrongType, path, at.or(node.at), format!("{path} must be {wanted}, not {}", node.type_name()));
    }

    /// The fields of a table; keys that are not in `known` are reported.
    pub(crate) fn table<'n>(&mut self, node: &'n Node, path: &str, known: &[&str]) -> Option<Fields<'n>> {
        let fields = self.any_table(node, path)?;
        for Entry { key, key_at, .. } in fields.entries {
            if !known.contains(&key.as_str()) {
                let place = if path.is_empty() { "the document".to_owned() } else { path.to_owned() };
                let message = format!("{place} has no key {:?}", short(key));
                let suggestion = nearest(key, known).map_or_else(
                    || format!("its keys are {}", known.join(", ")),
                    |near| format!("did you mean {near:?}?"),
                );
                self.error(Code::UnknownKey, &fields.path_of(key), *key_at, message).suggestion = Some(suggestion);
            }
        }
        Some(fields)
    }

    /// The fields of a table whose keys are free.
    pub(crate) fn any_table<'n>(&mut self, node: &'n Node, path: &str) -> Option<Fields<'n>> {
        let Data::Table(entries) = &node.data else {
            self.wrong_type(node, path, None, "a table");
            return None;
        };
        Some(Fields { path: path.to_owned(), at: node.at, entries })
    }

    /// The items of an array.
    pub(crate) fn array<'n>(&mut self, node: &'n Node, path: &str, wanted: &str) -> Option<&'n [Node]> {
        let Data::Array(items) = &node.data else {
            self.wrong_type(node, path, None, wanted);
            return None;
        };
        Some(items)
    }

    /// A text value.
    pub(crate) fn text<'n>(&mut self, node: &'n Node, path: &str) -> Option<Found<'n>> {
        let Data::Text(text) = &node.data else {
            self.wrong_type(node, path, None, "a string");
            return None;
        };
        Some(Found { path: path.to_owned(), at: node.at, text })
    }

    /// A field that may be missing.
    pub(crate) fn optional<'n>(&mut self, fields: &Fields<'n>, key: &str) -> Option<Found<'n>> {
        let entry = fields.entry(key)?;
        self.text(&entry.node, &fields.path_of(key))
    }

    /// A field that must be there.
    pub(crate) fn required<'n>(&mut self, fields: &Fields<'n>, key: &str) -> Option<Found<'n>> {
        if fields.entry(key).is_none() {
            let message = format!("{} has no {key}", fields.path);
            self.error(Code::MissingKey, &fields.path_of(key), fields.at, message);
        }
        self.optional(fields, key)
    }

    /// A field that is true or false; false when it is missing.
    pub(crate) fn boolean(&mut self, fields: &Fields<'_>, key: &str) -> bool {
        self.boolean_or(fields, key, false)
    }

    /// A boolean, `default` if the key is not there.
    pub(crate) fn boolean_or(&mut self, fields: &Fields<'_>, key: &str, default: bool) -> bool {
        let Some(entry) = fields.entry(key) else { return default };
        let Data::Bool(value) = entry.node.data else {
            self.wrong_type(&entry.node, &fields.path_of(key), None, "a boolean");
            return default;
        };
        value
    }

    /// A whole number within a range, if the key is there.
    pub(crate) fn optional_integer(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        range: std::ops::RangeInclusive<u32>,
    ) -> Option<u32> {
        let default = *range.start();
        fields.entry(key).map(|_| self.integer(fields, key, range, default))
    }

    /// A whole number within a range; `default` when the key is missing.
    pub(crate) fn integer(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        range: std::ops::RangeInclusive<u32>,
        default: u32,
    ) -> u32 {
        let Some(entry) = fields.entry(key) else { return default };
        let path = fields.path_of(key);
        let Data::Integer(integer) = &entry.node.data else {
            self.wrong_type(&entry.node, &path, None, "an integer");
            return default;
        };
        match u32::try_from(*integer).ok().filter(|integer| range.contains(integer)) {
            Some(integer) => integer,
            None => {
                let message = format!("{path} must be from {} to {}, not {integer}", range.start(), range.end());
                self.error(Code::OutOfRange, &path, entry.node.at, message);
                default
            }
        }
    }

    /// A jq program.
    pub(crate) fn program(&mut self, found: &Found<'_>) -> Option<clawbridge_jq::Program> {
        if found.value().split('"').any(header::looks_like_a_secret) {
            let message = format!("{} holds a credential, and this document is no place for one", found.path);
            self.error(Code::SecretInConfig, &found.path, found.at, message);
            return None;
        }
        match clawbridge_jq::Program::compile(found.value()) {
            Ok(program) => Some(program),
            Err(error) => {
                let at = error.offset.map_or(found.at, |offset| found.at_offset(offset));
                let message = format!("{} is not a jq program: {}", found.path, error.message);
                self.error(Code::InvalidJq, &found.path, at, message);
                None
            }
        }
    }
}

/// `text`, cut to what a message can carry on one line.
pub(crate) fn short(text: &str) -> String {
    let mut short: String = text.chars().take(64).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// The one of `known` that `text` is probably a misspelling of.
pub(crate) fn nearest<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    if text.len() > 64 {
        return None;
    }
    let lower = text.to_lowercase();
    let distance = |known: &&str| strsim::damerau_levenshtein(&lower, &known.to_lowercase());
    let nearest = known.iter().copied().min_by_key(distance)?;
    // A third of the letters may be wrong; of short names, one.
    (distance(&nearest) <= (nearest.chars().count() / 3).max(1)).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggestion_is_near() {
        let known = ["url", "method", "timeout", "idempotency_header", "idempotency_key"];
        for (text, expected) in [
            ("uri", Some("url")),
            ("Method", Some("method")),
            ("tiemout", Some("timeout")),
            ("time_out", Some("timeout")),
            ("idempotency-key", Some("idempotency_key")),
            ("idempotency_heder", Some("idempotency_header")),
            ("color", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(text, &known), expected, "{text}");
        }
        assert_eq!(nearest("x", &[]), None);
        assert_eq!(nearest(&"x".repeat(1_000_000), &known), None);
    }
}
