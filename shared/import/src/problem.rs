//! What is wrong with a document, and what of it bridge.toml cannot say.

use std::fmt;

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// The stable text of it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

codes! {
    /// Why nothing is made of a document.
    Code {
        /// An option that cannot be what is meant.
        InvalidOption = "INVALID_OPTION",
        /// More bytes or more values, aliases unfolded, than are read.
        TooLarge = "TOO_LARGE",
        /// Values nest deeper than is read.
        TooDeep = "TOO_DEEP",
        /// Neither JSON nor YAML.
        Syntax = "SYNTAX",
        /// A key twice in one object.
        DuplicateKey = "DUPLICATE_KEY",
        /// Neither an OpenAPI document nor a GraphQL introspection result.
        UnknownDocument = "UNKNOWN_DOCUMENT",
        /// An OpenAPI version that is not read.
        UnsupportedVersion = "UNSUPPORTED_VERSION",
        /// An introspection result that holds errors and no schema.
        IntrospectionFailed = "INTROSPECTION_FAILED",
        /// A value of another type than the specification has there.
        WrongType = "WRONG_TYPE",
        /// Something that has to be there.
        Missing = "MISSING",
        /// A reference to another document.
        ExternalReference = "EXTERNAL_REFERENCE",
        /// A reference to nothing.
        DanglingReference = "DANGLING_REFERENCE",
        /// References that lead back to themselves with nothing between.
        CyclicReference = "CYCLIC_REFERENCE",
        /// No address, or none that a tool can call.
        Server = "SERVER",
        /// The selection has no operation.
        NothingSelected = "NOTHING_SELECTED",
        /// The selection has more operations than a bridge.toml can have tools.
        TooManyTools = "TOO_MANY_TOOLS",
        /// A declaration that bridge.toml refuses.
        Unusable = "UNUSABLE",
    }
}

codes! {
    /// What kind of thing could not be said, or wants to be looked at.
    NoteCode {
        /// A deprecated operation, left out as nobody asked for it.
        Deprecated = "DEPRECATED",
        /// An operation that a tool cannot be.
        Operation = "OPERATION",
        /// An operation that the document itself breaks.
        Broken = "BROKEN",
        /// A parameter that is not sent, or not in full.
        Parameter = "PARAMETER",
        /// A parameter whose field has a name of its own, as another has it already.
        Renamed = "RENAMED",
        /// A body that is not sent, or not as it is described.
        Body = "BODY",
        /// A credential that is sent otherwise, or not at all.
        Security = "SECURITY",
        /// A schema that says less than the document's.
        Schema = "SCHEMA",
        /// A custom scalar of GraphQL: anything is taken.
        Scalar = "SCALAR",
        /// Fields of a GraphQL answer that are not asked for.
        Selection = "SELECTION",
        /// Parts of the document that are not for tools.
        Document = "DOCUMENT",
    }
}

/// Why nothing is made of a document: what, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error[{code}]{}: {message}", Place(self))]
pub struct Problem {
    /// What kind of problem.
    pub code: Code,
    /// Where in the document: a JSON pointer (RFC 6901), empty for the whole.
    pub pointer: String,
    /// Where in the text: line and column, both from 1. Only of what is wrong with the text itself.
    pub position: Option<(usize, usize)>,
    /// What is wrong and what to do, for a person: one line.
    pub message: String,
}

struct Place<'a>(&'a Problem);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.0.position {
            write!(f, " at line {line}, column {column}")?;
        }
        if self.0.pointer.is_empty() { Ok(()) } else { write!(f, " at {}", self.0.pointer) }
    }
}

impl Problem {
    pub(crate) fn new(code: Code, pointer: &str, message: impl Into<String>) -> Self {
        Self { code, pointer: shortened(pointer, 300), position: None, message: one_line(&message.into(), 600) }
    }

    pub(crate) fn in_text(code: Code, position: (usize, usize), message: impl Into<String>) -> Self {
        Self { position: Some(position), ..Self::new(code, "", message) }
    }
}

/// What a declaration does not say that the document says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What kind of thing.
    pub code: NoteCode,
    /// The operation, as `POST /orders`; empty for the whole document.
    pub operation: String,
    /// What, for a person: one line.
    pub message: String,
}

/// `text` in one line of at most `limit` characters.
pub(crate) fn one_line(text: &str, limit: usize) -> String {
    let mut line = String::new();
    for word in text.split(|char: char| char.is_whitespace() || char.is_control() || is_unseen(char)) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        // Longer than any limit, so that the rest of a large text is not looked at.
        if line.len() > 8 * limit {
            break;
        }
    }
    shortened(&line, limit)
}

/// Characters that change how the text around them is shown.
fn is_unseen(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The beginning of `text`, at most `limit` characters.
pub(crate) fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_that_says_where() {
        let problem = Problem::new(Code::DanglingReference, "/paths/~1a/get", "refers\nto nothing");
        assert_eq!(problem.to_string(), "error[DANGLING_REFERENCE] at /paths/~1a/get: refers to nothing");
        let problem = Problem::in_text(Code::Syntax, (3, 7), "not JSON");
        assert_eq!(problem.to_string(), "error[SYNTAX] at line 3, column 7: not JSON");
        assert_eq!(Problem::new(Code::Missing, "", "x").to_string(), "error[MISSING]: x");
    }

    #[test]
    fn texts_become_one_line_of_bounded_length() {
        for (text, limit, expected) in [
            ("  a\n\tb  c ", 20, "a b c"),
            ("a\u{0}b\u{202e}c\u{2028}d", 20, "a b c d"),
            ("abcdef", 3, "abc…"),
            ("ééé", 3, "ééé"),
            ("ab cd", 3, "ab…"),
            ("", 3, ""),
        ] {
            assert_eq!(one_line(text, limit), expected, "{text:?}");
        }
        assert!(one_line(&"word ".repeat(1_000_000), 10).chars().count() <= 11);
    }
}
