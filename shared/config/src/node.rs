//! A document as a tree, with the place of each part in the text if there is one.

use serde_json::Value;
use toml::de::{DeTable, DeValue};

/// A value of a document.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Byte offset in the text of where a person would look for it: the value, or the key of a table.
    pub(crate) at: Option<usize>,
    pub(crate) data: Data,
}

#[derive(Debug, Clone)]
pub(crate) enum Data {
    Text(Text),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Array(Vec<Node>),
    Table(Vec<Entry>),
    /// What JSON does not have or no key takes: a date, a null, an integer beyond 64 bits.
    Other(&'static str),
}

/// A text value, and how it was written.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) value: String,
    /// With its quotes, as in the source.
    raw: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: Option<usize>,
    pub(crate) node: Node,
}

impl Node {
    /// The tree of a TOML document.
    pub(crate) fn from_toml(text: &str, table: &DeTable<'_>) -> Self {
        Self { at: None, data: Data::Table(entries(text, table)) }
    }

    /// The tree of a JSON document.
    pub(crate) fn from_json(value: &Value) -> Self {
        let data = match value {
            Value::Null => Data::Other("null"),
            Value::Bool(bool) => Data::Bool(*bool),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => Data::Integer(integer),
                (None, Some(float)) if number.is_f64() => Data::Float(float),
                _ => Data::Other("integer beyond 64 bits"),
            },
            Value::String(text) => Data::Text(Text { value: text.clone(), raw: None }),
            Value::Array(items) => Data::Array(items.iter().map(Self::from_json).collect()),
            Value::Object(fields) => Data::Table(
                fields
                    .iter()
                    .map(|(key, value)| Entry { key: key.clone(), key_at: None, node: Self::from_json(value) })
                    .collect(),
            ),
        };
        Self { at: None, data }
    }

    /// The JSON of this part; `Err` is the first part that JSON cannot hold.
    pub(crate) fn to_json(&self) -> Result<Value, &Self> {
        Ok(match &self.data {
            Data::Text(text) => Value::String(text.value.clone()),
            Data::Integer(integer) => Value::from(*integer),
            Data::Float(float) => serde_json::Number::from_f64(*float).map(Value::Number).ok_or(self)?,
            Data::Bool(bool) => Value::Bool(*bool),
            Data::Array(items) => Value::Array(items.iter().map(Self::to_json).collect::<Result<_, _>>()?),
            Data::Table(entries) => {
                let fields = entries.iter().map(|entry| Ok((entry.key.clone(), entry.node.to_json()?)));
                Value::Object(fields.collect::<Result<_, _>>()?)
            }
            Data::Other("null") => Value::Null,
            Data::Other(_) => return Err(self),
        })
    }

    /// The part at a JSON pointer (RFC 6901), or the deepest part on the way to it that there is.
    pub(crate) fn at_pointer(&self, pointer: &str) -> &Self {
        let mut node = self;
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            let next = match &node.data {
                Data::Array(items) => token.parse().ok().and_then(|index: usize| items.get(index)),
                Data::Table(entries) => entries.iter().find(|entry| entry.key == token).map(|entry| &entry.node),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    /// The type, as a message names it.
    pub(crate) fn type_name(&self) -> &'static str {
        match &self.data {
            Data::Text(_) => "a string",
            Data::Integer(_) => "an integer",
            Data::Float(_) => "a decimal number",
            Data::Bool(_) => "a boolean",
            Data::Array(_) => "an array",
            Data::Table(_) => "a table",
            Data::Other("null") => "null",
            Data::Other("date") => "a date",
            Data::Other(_) => "an integer beyond 64 bits",
        }
    }
}

fn entries(text: &str, table: &DeTable<'_>) -> Vec<Entry> {
    let entries = table.iter().map(|(key, value)| {
        let key_at = key.span().start;
        let mut node = node(text, value);
        if matches!(node.data, Data::Table(_)) {
            // A table can be spread over the text; the key is where it is named.
            node.at = Some(key_at);
        }
        Entry { key: key.get_ref().to_string(), key_at: Some(key_at), node }
    });
    entries.collect()
}

fn node(text: &str, value: &toml::Spanned<DeValue<'_>>) -> Node {
    let span = value.span();
    let data = match value.get_ref() {
        DeValue::String(string) => {
            Data::Text(Text { value: string.to_string(), raw: text.get(span.clone()).map(str::to_owned) })
        }
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Data::Integer(integer),
            Err(_) => Data::Other("integer beyond 64 bits"),
        },
        DeValue::Float(float) => Data::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(bool) => Data::Bool(*bool),
        DeValue::Datetime(_) => Data::Other("date"),
        DeValue::Array(items) => Data::Array(items.iter().map(|item| node(text, item)).collect()),
        DeValue::Table(table) => Data::Table(entries(text, table)),
    };
    Node { at: Some(span.start), data }
}

impl Text {
    /// The value alone, for a place where it is not written.
    pub(crate) fn unwritten(&self) -> Self {
        Self { value: self.value.clone(), raw: None }
    }

    /// Where in the source, counted from the opening quote, the byte at `offset` of the value was written.
    pub(crate) fn raw_offset(&self, offset: usize) -> usize {
        let Some(raw) = &self.raw else { return 0 };
        let quote = if raw.starts_with("\"\"\"") || raw.starts_with("'''") { 3 } else { 1 };
        let has_escapes = raw.starts_with('"');
        let mut at = quote;
        if quote == 3 {
            // A line end right after the opening quotes is not part of the value.
            let rest = &raw[at..];
            at += if rest.starts_with("\r\n") { 2 } else { usize::from(rest.starts_with('\n')) };
        }
        let end = raw.len().saturating_sub(quote);
        let mut made = 0;
        while at < end {
            let rest = &raw[at..];
            let (taken, gives) = match rest.chars().next() {
                Some('\\') if has_escapes => escape(rest),
                Some(char) => (char.len_utf8(), char.len_utf8()),
                None => break,
            };
            // What gives nothing stands before the text that is meant.
            if made >= offset && gives > 0 {
                break;
            }
            at += taken;
            made += gives;
        }
        at
    }
}

/// How many bytes an escape sequence at the start of `text` takes, and how many bytes of value it gives (TOML 1.1, strings).
fn escape(text: &str) -> (usize, usize) {
    let hex = |digits: usize| {
        let code = text.get(2..2 + digits).and_then(|code| u32::from_str_radix(code, 16).ok());
        (2 + digits, code.and_then(char::from_u32).map_or(1, char::len_utf8))
    };
    match text.as_bytes().get(1) {
        Some(b'x') => hex(2),
        Some(b'u') => hex(4),
        Some(b'U') => hex(8),
        // A backslash at the end of a line takes all white space up to the next text.
        Some(b' ' | b'\t' | b'\r' | b'\n') => {
            (text.len() - text[1..].trim_start_matches([' ', '\t', '\r', '\n']).len(), 0)
        }
        Some(_) => (2, 1),
        None => (1, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_in_a_value_is_found_in_the_source() {
        for (raw, value, marked) in [
            ("'.a | x'", ".a | x", "x"),
            ("\".a | x\"", ".a | x", "x"),
            ("\"\\\".a\\\" | x\"", "\".a\" | x", "x"),
            ("\"\\u00e9\\U0001F600\\t\\xe9 | x\"", "é😀\té | x", "x"),
            ("'''.a |\nx'''", ".a |\nx", "x"),
            ("'''\n.a | x'''", ".a | x", "x"),
            ("\"\"\"\r\n.a | x\"\"\"", ".a | x", "x"),
            ("\"\"\"\n.a | \\\n    x\"\"\"", ".a | x", "x"),
            ("'é | x'", "é | x", "x"),
        ] {
            let document = format!("key = {raw}");
            let table = DeTable::parse(&document).unwrap();
            let Data::Table(entries) = Node::from_toml(&document, table.get_ref()).data else { panic!("a table") };
            let Data::Text(text) = &entries[0].node.data else { panic!("a text") };
            assert_eq!(text.value, value);
            assert_eq!(entries[0].node.at, Some(6));
            let offset = text.raw_offset(value.find(marked).unwrap());
            assert!(raw[offset..].starts_with(marked), "{raw}: {offset}");
            assert!(text.raw_offset(value.len()) <= raw.len());
            assert!(text.raw_offset(value.len() + 10) <= raw.len());
        }
    }
}
