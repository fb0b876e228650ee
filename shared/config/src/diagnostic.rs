//! What a person is told about a document: one problem, where it is, and what might have been meant.

use std::fmt;

use serde::Serialize;

/// One problem of a document. Never holds a secret: values that could be one are not repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Which rule was broken.
    pub code: Code,
    /// Whether the document can be used all the same.
    pub severity: Severity,
    /// Where in the text. `None` for documents that have no text, such as JSON.
    pub position: Option<Position>,
    /// Which setting: `tools.record_payment.url`, `routes[0].filter`. Empty for the document as a whole.
    pub path: String,
    /// What is wrong: one line.
    pub message: String,
    /// What might have been meant, or what to do: `did you mean "record_payment"?`
    pub suggestion: Option<String>,
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// The position of a byte offset in `text`; of the end, if the offset lies beyond.
    pub(crate) fn of(text: &str, offset: usize) -> Self {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        // A character is counted by the one byte of it that does not continue another.
        let column = before[line_start..].iter().filter(|byte| (**byte & 0xC0) != 0x80).count() + 1;
        Self { line: before.iter().filter(|byte| **byte == b'\n').count() + 1, column }
    }
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The document is not used.
    Error,
    /// The document is used, but does probably not do what was meant.
    Warning,
}

impl Diagnostic {
    /// The problem in one line that begins as compilers' do: `FILE:LINE:COLUMN: error[CODE]: …`.
    pub fn display<'a>(&'a self, file: &'a str) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| {
            write!(f, "{file}:")?;
            if let Some(Position { line, column }) = self.position {
                write!(f, "{line}:{column}:")?;
            }
            let severity = match self.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            write!(f, " {severity}[{}]: {}", self.code, self.message)?;
            match &self.suggestion {
                Some(suggestion) => write!(f, "; {suggestion}"),
                None => Ok(()),
            }
        })
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.display("bridge.toml").fmt(f)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// The rule that a [`Diagnostic`] is about. Its text is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }

        impl Code {
            /// The stable text of the code.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

codes! {
    /// The text is not TOML.
    TomlSyntax = "TOML_SYNTAX",
    /// The bytes are not JSON.
    JsonSyntax = "JSON_SYNTAX",
    /// The document, or a list in it, is larger than allowed.
    TooLarge = "TOO_LARGE",
    /// A key that means nothing here.
    UnknownKey = "UNKNOWN_KEY",
    /// A key that must be there is not.
    MissingKey = "MISSING_KEY",
    /// A value of another type than the key takes.
    WrongType = "WRONG_TYPE",
    /// A name of a tool, a route or a source with characters that names do not have.
    InvalidName = "INVALID_NAME",
    /// A value that is none of those that the key takes.
    InvalidValue = "INVALID_VALUE",
    /// A number, time or size outside its range.
    OutOfRange = "OUT_OF_RANGE",
    /// A time that cannot be read.
    InvalidDuration = "INVALID_DURATION",
    /// A rate that cannot be read.
    InvalidRate = "INVALID_RATE",
    /// A size that cannot be read.
    InvalidSize = "INVALID_SIZE",
    /// An address of an API that cannot be one.
    InvalidUrl = "INVALID_URL",
    /// A secret would be sent without encryption.
    InsecureUrl = "INSECURE_URL",
    /// Braces of a template that do not pair up, or hold no path.
    InvalidTemplate = "INVALID_TEMPLATE",
    /// A template asks for a field that the tool's input schema does not have.
    PlaceholderNotInInput = "PLACEHOLDER_NOT_IN_INPUT",
    /// A header name or value that HTTP does not allow.
    InvalidHeader = "INVALID_HEADER",
    /// A header that the bridge or the connection sets.
    ReservedHeader = "RESERVED_HEADER",
    /// One header from two places.
    HeaderSetTwice = "HEADER_SET_TWICE",
    /// A credential in the document.
    SecretInConfig = "SECRET_IN_CONFIG",
    /// A name of a secret that a tool cannot read.
    InvalidSecretName = "INVALID_SECRET_NAME",
    /// An address of a webhook at its provider that cannot be one.
    InvalidHook = "INVALID_HOOK",
    /// One query parameter from two places.
    ParameterSetTwice = "PARAMETER_SET_TWICE",
    /// A placeholder of a provider that its parameters do not declare.
    UndeclaredParameter = "UNDECLARED_PARAMETER",
    /// A parameter of a provider that stands for nothing.
    UnusedParameter = "UNUSED_PARAMETER",
    /// A parameter of an OAuth request that the bridge says itself.
    ReservedParameter = "RESERVED_PARAMETER",
    /// A key that another setting rules out.
    KeyNotAllowed = "KEY_NOT_ALLOWED",
    /// A GraphQL document that is none, or has not exactly one operation.
    InvalidGraphql = "INVALID_GRAPHQL",
    /// A tool that changes something and says that it does not.
    EffectTooWeak = "EFFECT_TOO_WEAK",
    /// A signature over something that is not sent.
    SignedNotSent = "SIGNED_NOT_SENT",
    /// A body for a method that has none.
    BodyNotAllowed = "BODY_NOT_ALLOWED",
    /// `effect = "keyed"` without the header that carries the key.
    KeyedWithoutHeader = "KEYED_WITHOUT_HEADER",
    /// `verify` of a tool that is called again anyway.
    VerifyNotNeeded = "VERIFY_NOT_NEEDED",
    /// `verify` or `job` that would ask with a tool which does more than read.
    ToolNotRead = "TOOL_NOT_READ",
    /// A jq program that does not compile.
    InvalidJq = "INVALID_JQ",
    /// A JSON Schema that is none.
    InvalidSchema = "INVALID_SCHEMA",
    /// A reference from a JSON Schema to another document.
    SchemaReference = "SCHEMA_REFERENCE",
    /// A tool that names a limit which is not declared.
    UnknownLimit = "UNKNOWN_LIMIT",
    /// A tool that names a connection at a provider which is not declared.
    UnknownProvider = "UNKNOWN_PROVIDER",
    /// A route to a tool that is not declared.
    UnknownTool = "UNKNOWN_TOOL",
    /// A route to an agent that is not declared.
    UnknownAgent = "UNKNOWN_AGENT",
    /// Two routes of one name.
    DuplicateRoute = "DUPLICATE_ROUTE",
    /// A type pattern that no event type can match.
    InvalidPattern = "INVALID_PATTERN",
    /// A network address or range that is none.
    InvalidCidr = "INVALID_CIDR",
    /// An allowed range that holds the address at which clouds hand out credentials.
    MetadataAddress = "METADATA_ADDRESS",
    /// An answer of a stub's script that another one leaves nothing for.
    NeverReached = "NEVER_REACHED",
    /// A file that a stub's script names and that cannot be read.
    FileUnreadable = "FILE_UNREADABLE",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let text = "a = 1\nñ = \"é\" # x\r\n\nb";
        for (offset, line, column) in
            [(0, 1, 1), (4, 1, 5), (6, 2, 1), (8, 2, 2), (11, 2, 5), (14, 2, 7), (21, 3, 1), (22, 4, 1), (99, 4, 2)]
        {
            assert_eq!(Position::of(text, offset), Position { line, column }, "offset {offset}");
        }
    }

    #[test]
    fn a_diagnostic_is_one_line_that_editors_can_follow() {
        let mut diagnostic = Diagnostic {
            code: Code::UnknownTool,
            severity: Severity::Error,
            position: Some(Position { line: 12, column: 8 }),
            path: "routes[0].tool".into(),
            message: "route \"x\" calls tool \"recrod_payment\", which is not declared".into(),
            suggestion: Some("did you mean \"record_payment\"?".into()),
        };
        assert_eq!(
            diagnostic.to_string(),
            "bridge.toml:12:8: error[UNKNOWN_TOOL]: route \"x\" calls tool \"recrod_payment\", which is not declared; did you mean \"record_payment\"?"
        );
        diagnostic.position = None;
        diagnostic.suggestion = None;
        diagnostic.severity = Severity::Warning;
        assert_eq!(
            diagnostic.display("dev.toml").to_string(),
            "dev.toml: warning[UNKNOWN_TOOL]: route \"x\" calls tool \"recrod_payment\", which is not declared"
        );
        assert_eq!(serde_json::to_value(&diagnostic).unwrap()["code"], "UNKNOWN_TOOL");
    }
}
