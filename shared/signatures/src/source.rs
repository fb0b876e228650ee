//! A source: a signature scheme and its live signing secrets, as one JSON document in a secret store.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value, json};

use crate::options::{HmacOptions, SecretEncoding, TOLERANCE_RANGE, is_tolerance};
use crate::suggest::{closest, did_you_mean, repeated};
use crate::table::{Check, HmacRow, IdentityRow, Scheme, TokenPlace};
use crate::template::{self, Piece};

/// A scheme with the secrets that are valid for it now.
///
/// Several secrets are all tried, which is what rotating one needs. The first is the one that [`crate::sign`] uses.
#[derive(Clone)]
pub struct Source {
    scheme: Scheme,
    first: Secret,
    others: Vec<Secret>,
    check: SourceCheck,
    /// The pieces of the signed template; empty where nothing is signed.
    signed: Vec<Piece>,
    tolerance_s: Option<u32>,
}

#[derive(Clone)]
struct Secret {
    /// As configured.
    text: String,
    /// As used: the text decoded as the scheme says.
    key: Vec<u8>,
}

#[derive(Clone)]
enum SourceCheck {
    Hmac(HmacRow<'static>),
    Token(&'static [TokenPlace]),
    Configured(Box<HmacOptions>),
}

/// What [`crate::verify`] and [`crate::sign`] work from.
pub(crate) enum CheckRow<'a> {
    Hmac(HmacRow<'a>),
    Token(&'static [TokenPlace]),
}

/// What a source may have besides its scheme and secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The configuration of the `hmac` scheme. That scheme needs it, the others refuse it.
    pub hmac: Option<HmacOptions>,
    /// Another window than the scheme's own, in seconds, 1 to 86400. Only for schemes that sign a timestamp; `hmac` has its own field.
    pub tolerance_s: Option<u32>,
}

/// Why a source cannot be used. The text says what to change and never repeats a value that may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The bytes are not JSON.
    #[error(
        "the source secret is not JSON (line {line}, column {column}); it should look like \
         {{\"scheme\":\"stripe\",\"secrets\":[\"the signing secret\"]}}"
    )]
    NotJson {
        /// 1-based line of the fault.
        line: usize,
        /// 1-based column of the fault.
        column: usize,
    },
    /// A field that must be there is not.
    #[error("the source secret has no `{field}`; add {help}")]
    MissingField {
        /// The field.
        field: &'static str,
        /// What to add.
        help: &'static str,
    },
    /// A field that does not exist, perhaps a slip.
    #[error("the source secret has an unknown field{shown} in {place}{}; it can have {known}", did_you_mean(*.suggestion))]
    UnknownField {
        /// The field as it may be shown: with a leading space and quotes, or nothing when it may be a secret.
        shown: String,
        /// Where: `the document` or `hmac`.
        place: &'static str,
        /// The field that was probably meant.
        suggestion: Option<&'static str>,
        /// The fields there are.
        known: String,
    },
    /// A field with a value of the wrong type.
    #[error("`{field}` of the source secret must be {expected}")]
    WrongType {
        /// The field.
        field: String,
        /// What it must be.
        expected: &'static str,
    },
    /// The scheme has another name, or is not supported.
    #[error(transparent)]
    UnknownScheme(#[from] crate::table::UnknownScheme),
    /// A list of no secrets.
    #[error("`secrets` is empty; put at least one signing secret in it")]
    NoSecrets,
    /// A secret that cannot be a key of this scheme.
    #[error("secret {number} {problem}")]
    BadSecret {
        /// Its place in the list, from 1.
        number: usize,
        /// What is wrong with it and what to do.
        problem: &'static str,
    },
    /// An option that cannot work.
    #[error("`{option}` {problem}")]
    BadOption {
        /// The option.
        option: &'static str,
        /// What is wrong with it and what to do.
        problem: String,
    },
}

impl SourceError {
    /// A stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotJson { .. } => "SOURCE_NOT_JSON",
            Self::MissingField { .. } => "SOURCE_FIELD_MISSING",
            Self::UnknownField { .. } => "SOURCE_FIELD_UNKNOWN",
            Self::WrongType { .. } => "SOURCE_FIELD_TYPE",
            Self::UnknownScheme(_) => "SOURCE_SCHEME_UNKNOWN",
            Self::NoSecrets => "SOURCE_SECRETS_EMPTY",
            Self::BadSecret { .. } => "SOURCE_SECRET_INVALID",
            Self::BadOption { .. } => "SOURCE_OPTION_INVALID",
        }
    }
}

impl Source {
    /// A source from its parts.
    ///
    /// # Errors
    /// When a secret cannot be a key of the scheme, or an option cannot work.
    pub fn new(scheme: Scheme, secrets: Vec<String>, options: Options) -> Result<Self, SourceError> {
        let bad = |option: &'static str, problem: String| SourceError::BadOption { option, problem };
        let tolerance_s = options.tolerance_s;
        let (check, encoding, signed, has_window) = match (scheme.entry().check, options.hmac) {
            (Check::Configured, Some(hmac)) => {
                let signed = hmac.check().map_err(|(option, problem)| bad(option, problem))?;
                (SourceCheck::Configured(Box::new(hmac.clone())), hmac.secret_encoding, signed, false)
            }
            (Check::Configured, None) => {
                return Err(SourceError::MissingField {
                    field: "hmac",
                    help: "an object with at least `header`, as in {\"header\":\"X-Signature\"}",
                });
            }
            (Check::Hmac(_) | Check::Token(_), Some(_)) => {
                return Err(bad(
                    "hmac",
                    format!("belongs to the scheme \"hmac\"; remove it, or change the scheme from \"{scheme}\""),
                ));
            }
            (Check::Hmac(row), None) => {
                let signed = template::parse(row.signed).map_err(|problem| bad("signed", problem))?;
                (SourceCheck::Hmac(row), row.secret_encoding, signed, row.timestamp.is_some())
            }
            (Check::Token(places), None) => (SourceCheck::Token(places), SecretEncoding::Utf8, Vec::new(), false),
        };
        if let Some(tolerance) = tolerance_s {
            if matches!(check, SourceCheck::Configured(_)) {
                return Err(bad("tolerance_s", "belongs inside `hmac` for this scheme; move it there".into()));
            }
            if !has_window {
                return Err(bad(
                    "tolerance_s",
                    format!("means nothing for the scheme \"{scheme}\", which signs no timestamp; remove it"),
                ));
            }
            if !is_tolerance(tolerance) {
                return Err(bad("tolerance_s", TOLERANCE_RANGE.into()));
            }
        }
        let mut secrets = secrets.into_iter().enumerate().map(|(index, text)| match key(&text, encoding) {
            Ok(key) => Ok(Secret { text, key }),
            Err(problem) => Err(SourceError::BadSecret { number: index + 1, problem }),
        });
        let first = secrets.next().ok_or(SourceError::NoSecrets)??;
        let others = secrets.collect::<Result<_, _>>()?;
        Ok(Self { scheme, first, others, check, signed, tolerance_s })
    }

    /// Reads the document of a source secret: `{"scheme":"stripe","secrets":["whsec_…"]}`, and for the `hmac` scheme an object `hmac` with
    /// the fields of [`HmacOptions`].
    ///
    /// # Errors
    /// When it is not such a document; what is wrong and what to do.
    pub fn from_secret(bytes: &[u8]) -> Result<Self, SourceError> {
        let document: Value = serde_json::from_slice(bytes)
            .map_err(|problem| SourceError::NotJson { line: problem.line(), column: problem.column() })?;
        let fields = Fields::new(&document, "the document", &["scheme", "secrets", "tolerance_s", "hmac"])?;
        let help = "the name of the scheme, as in \"scheme\":\"stripe\"";
        let scheme = Scheme::parse(fields.text("scheme")?.ok_or(SourceError::MissingField { field: "scheme", help })?)?;
        let help = "the signing secrets, as in \"secrets\":[\"the signing secret\"]";
        let secrets = fields.get("secrets").ok_or(SourceError::MissingField { field: "secrets", help })?;
        let secrets = secrets
            .as_array()
            .and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>())
            .ok_or_else(|| fields.wrong("secrets", "a list of texts"))?;
        let options = Options {
            hmac: fields.get("hmac").map(read_hmac).transpose()?,
            tolerance_s: fields.seconds("tolerance_s")?,
        };
        Self::new(scheme, secrets, options)
    }

    /// The document that [`Source::from_secret`] reads. It holds the secrets.
    pub fn to_secret(&self) -> String {
        let secrets: Vec<&str> = self.secrets().collect();
        let mut document = json!({ "scheme": self.scheme.name(), "secrets": secrets });
        if let Some(tolerance) = self.tolerance_s {
            document["tolerance_s"] = json!(tolerance);
        }
        if let Some(options) = self.hmac() {
            document["hmac"] = json!(options);
        }
        document.to_string()
    }

    /// The scheme.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// How many secrets are valid now: at least one.
    pub const fn secret_count(&self) -> usize {
        1 + self.others.len()
    }

    /// The configuration of the `hmac` scheme.
    pub const fn hmac(&self) -> Option<&HmacOptions> {
        match &self.check {
            SourceCheck::Configured(options) => Some(options),
            SourceCheck::Hmac(_) | SourceCheck::Token(_) => None,
        }
    }

    /// The same scheme and options with other secrets, for rotating: `[new, old]`, then `[new]`.
    ///
    /// # Errors
    /// When one of them cannot be a key of the scheme.
    pub fn with_secrets(&self, secrets: Vec<String>) -> Result<Self, SourceError> {
        Self::new(self.scheme, secrets, Options { hmac: self.hmac().cloned(), tolerance_s: self.tolerance_s })
    }

    /// The secrets as configured, for the rotation of one. Handle them as what they are.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.first).chain(&self.others).map(|secret| secret.text.as_str())
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&self.first).chain(&self.others).map(|secret| secret.key.as_slice())
    }

    pub(crate) fn first_key(&self) -> &[u8] {
        &self.first.key
    }

    pub(crate) fn signed(&self) -> &[Piece] {
        &self.signed
    }

    pub(crate) fn check(&self) -> CheckRow<'_> {
        match &self.check {
            SourceCheck::Token(places) => CheckRow::Token(places),
            SourceCheck::Configured(options) => CheckRow::Hmac(options.row()),
            SourceCheck::Hmac(row) => {
                let mut row = *row;
                if let (Some(timestamp), Some(tolerance_s)) = (&mut row.timestamp, self.tolerance_s) {
                    timestamp.tolerance_s = tolerance_s;
                }
                CheckRow::Hmac(row)
            }
        }
    }

    pub(crate) fn identity(&self) -> IdentityRow<'_> {
        self.hmac().map_or(self.scheme.entry().identity, HmacOptions::identity)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("scheme", &self.scheme)
            .field("secrets", &format_args!("{} (not shown)", self.secret_count()))
            .field("hmac", &self.hmac())
            .field("tolerance_s", &self.tolerance_s)
            .finish()
    }
}

/// The key that a secret's text stands for.
fn key(text: &str, encoding: SecretEncoding) -> Result<Vec<u8>, &'static str> {
    if text.is_empty() {
        return Err("is empty: anybody can sign with that; put the provider's signing secret there");
    }
    if text.trim() != text {
        return Err(
            "begins or ends with white space, which is part of no signing secret; remove it (a file read whole often ends in a newline)",
        );
    }
    let lenient = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let key = match encoding {
        SecretEncoding::Utf8 => text.as_bytes().to_vec(),
        SecretEncoding::Hex => {
            hex::decode(text).map_err(|_| "is not hexadecimal, which `secret_encoding` says it is")?
        }
        SecretEncoding::Base64 => {
            lenient.decode(text).map_err(|_| "is not base64, which `secret_encoding` says it is")?
        }
        SecretEncoding::Whsec => {
            if text.starts_with("whpk_") || text.starts_with("whsk_") {
                return Err(
                    "is one half of a key pair (whpk_, whsk_), not a shared secret; ask the sender for a whsec_ secret",
                );
            }
            let bare = text.strip_prefix("whsec_").unwrap_or(text);
            lenient.decode(bare).map_err(|_| "is not base64 after whsec_; copy the signing secret again, whole")?
        }
    };
    if key.is_empty() {
        Err("decodes to nothing: anybody can sign with that; copy the signing secret again, whole")
    } else {
        Ok(key)
    }
}

fn read_hmac(value: &Value) -> Result<HmacOptions, SourceError> {
    let known = &[
        "header",
        "prefix",
        "list_separator",
        "encoding",
        "algorithm",
        "secret_encoding",
        "signed",
        "timestamp_header",
        "timestamp_prefix",
        "timestamp_unit",
        "tolerance_s",
        "delivery_header",
        "delivery_pointer",
        "type_header",
        "type_pointer",
    ];
    let fields = Fields::new(value, "hmac", known)?;
    let help = "the name of the header that carries the signature to `hmac`";
    let mut options =
        HmacOptions::new(fields.text("header")?.ok_or(SourceError::MissingField { field: "hmac.header", help })?);
    if let Some(prefix) = fields.text("prefix")? {
        options.prefix = prefix.to_owned();
    }
    if let Some(separator) = fields.text("list_separator")? {
        let mut characters = separator.chars();
        let (Some(separator), None) = (characters.next(), characters.next()) else {
            return Err(fields.wrong("list_separator", "one character: a comma, a semicolon or a space"));
        };
        options.list_separator = Some(separator);
    }
    if let Some(encoding) = fields.named("encoding")? {
        options.encoding = encoding;
    }
    if let Some(algorithm) = fields.named("algorithm")? {
        options.algorithm = algorithm;
    }
    if let Some(encoding) = fields.named("secret_encoding")? {
        options.secret_encoding = encoding;
    }
    if let Some(signed) = fields.text("signed")? {
        options.signed = signed.to_owned();
    }
    options.timestamp_unit = fields.named("timestamp_unit")?;
    options.tolerance_s = fields.seconds("tolerance_s")?;
    let text = |name| Ok::<_, SourceError>(fields.text(name)?.map(str::to_owned));
    options.timestamp_header = text("timestamp_header")?;
    options.timestamp_prefix = text("timestamp_prefix")?;
    options.delivery_header = text("delivery_header")?;
    options.delivery_pointer = text("delivery_pointer")?;
    options.type_header = text("type_header")?;
    options.type_pointer = text("type_pointer")?;
    Ok(options)
}

/// The members of an object that has only known ones. Messages are made here and not by the JSON library, whose own repeat the value.
struct Fields<'v> {
    object: &'v Map<String, Value>,
    place: &'static str,
}

impl<'v> Fields<'v> {
    fn new(value: &'v Value, place: &'static str, known: &[&'static str]) -> Result<Self, SourceError> {
        let object = value
            .as_object()
            .ok_or_else(|| SourceError::WrongType { field: place.to_owned(), expected: "a JSON object" })?;
        if let Some(name) = object.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(SourceError::UnknownField {
                shown: repeated(name),
                place,
                suggestion: closest(name, known.iter().copied()),
                known: known.join(", "),
            });
        }
        Ok(Self { object, place })
    }

    /// The member, unless it is absent or null.
    fn get(&self, name: &str) -> Option<&'v Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, expected: &'static str) -> SourceError {
        let field = if self.place == "hmac" { format!("hmac.{name}") } else { name.to_owned() };
        SourceError::WrongType { field, expected }
    }

    fn text(&self, name: &str) -> Result<Option<&'v str>, SourceError> {
        self.get(name).map(|value| value.as_str().ok_or_else(|| self.wrong(name, "a text"))).transpose()
    }

    fn seconds(&self, name: &str) -> Result<Option<u32>, SourceError> {
        let read = |value: &Value| value.as_u64().and_then(|seconds| u32::try_from(seconds).ok());
        self.get(name).map(|value| read(value).ok_or_else(|| self.wrong(name, "a whole number of seconds"))).transpose()
    }

    fn named<T: std::str::FromStr<Err = crate::options::UnknownName>>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, SourceError> {
        let read = |text: &str| {
            text.parse().map_err(|unknown: crate::options::UnknownName| SourceError::BadOption {
                option: name,
                problem: format!("must be one of {}", unknown.known),
            })
        };
        self.text(name)?.map(read).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{"scheme":"hmac","secrets":["k1","k2"],"hmac":{"header":"X-Sig","prefix":"sha256=","encoding":"hex",
        "algorithm":"sha256","signed":"{timestamp}.{body}","timestamp_header":"X-Ts","timestamp_unit":"s","tolerance_s":300,
        "delivery_header":"X-Id","type_header":"X-Event","type_pointer":"/type","delivery_pointer":"/id"}}"#;

    #[test]
    fn a_document_is_read_and_written_back() {
        let documents = [
            r#"{"scheme":"stripe","secrets":["whsec_1","whsec_2"]}"#,
            r#"{"scheme":"stripe","secrets":["whsec_1"],"tolerance_s":600}"#,
            r#"{"scheme":"openclaw-token","secrets":["t"]}"#,
            r#"{"scheme":"hmac","secrets":["6b"],"hmac":{"header":"S","prefix":"v1=","list_separator":",","encoding":"base64",
               "algorithm":"sha512","secret_encoding":"hex","timestamp_prefix":"t=","timestamp_unit":"ms","signed":"{timestamp}{body}"}}"#,
            r#"{"scheme":"hmac","secrets":["k"],"hmac":{"header":"S"},"tolerance_s":null}"#,
            FULL,
        ];
        for document in documents {
            let source = Source::from_secret(document.as_bytes()).expect(document);
            let again = Source::from_secret(source.to_secret().as_bytes()).expect("what is written is read");
            assert_eq!(again.to_secret(), source.to_secret());
            assert_eq!(again.hmac(), source.hmac());
            assert_eq!(again.secrets().collect::<Vec<_>>(), source.secrets().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_bad_document_says_what_to_do() {
        for (document, code, words) in [
            ("whsec_abcdef", "SOURCE_NOT_JSON", "line 1"),
            ("", "SOURCE_NOT_JSON", "should look like"),
            ("\u{feff}{}", "SOURCE_NOT_JSON", "should look like"),
            ("[]", "SOURCE_FIELD_TYPE", "a JSON object"),
            ("{}", "SOURCE_FIELD_MISSING", "`scheme`"),
            (r#"{"scheme":"stripe"}"#, "SOURCE_FIELD_MISSING", "`secrets`"),
            (r#"{"scheme":"stripe","secret":["a"]}"#, "SOURCE_FIELD_UNKNOWN", "did you mean \"secrets\"?"),
            (r#"{"scheme":"stripe","secrets":"a"}"#, "SOURCE_FIELD_TYPE", "a list of texts"),
            (r#"{"scheme":"stripe","secrets":["a",7]}"#, "SOURCE_FIELD_TYPE", "a list of texts"),
            (r#"{"scheme":"stripe","secrets":[]}"#, "SOURCE_SECRETS_EMPTY", "at least one"),
            (r#"{"scheme":"stripe","secrets":["a",""]}"#, "SOURCE_SECRET_INVALID", "secret 2 is empty"),
            (r#"{"scheme":"stripe","secrets":["a\n"]}"#, "SOURCE_SECRET_INVALID", "white space"),
            (r#"{"scheme":"strip","secrets":["a"]}"#, "SOURCE_SCHEME_UNKNOWN", "did you mean \"stripe\"?"),
            (r#"{"scheme":7,"secrets":["a"]}"#, "SOURCE_FIELD_TYPE", "a text"),
            (r#"{"scheme":"stripe","secrets":["a"],"tolerance_s":0}"#, "SOURCE_OPTION_INVALID", "1 to 86400"),
            (r#"{"scheme":"stripe","secrets":["a"],"tolerance_s":-1}"#, "SOURCE_FIELD_TYPE", "whole number"),
            (r#"{"scheme":"github","secrets":["a"],"tolerance_s":60}"#, "SOURCE_OPTION_INVALID", "signs no timestamp"),
            (
                r#"{"scheme":"github","secrets":["a"],"hmac":{"header":"X"}}"#,
                "SOURCE_OPTION_INVALID",
                "belongs to the scheme",
            ),
            (r#"{"scheme":"hmac","secrets":["a"]}"#, "SOURCE_FIELD_MISSING", "`hmac`"),
            (r#"{"scheme":"hmac","secrets":["a"],"hmac":{}}"#, "SOURCE_FIELD_MISSING", "hmac.header"),
            (r#"{"scheme":"hmac","secrets":["a"],"hmac":"x"}"#, "SOURCE_FIELD_TYPE", "a JSON object"),
            (
                r#"{"scheme":"hmac","secrets":["a"],"hmac":{"heder":"X"}}"#,
                "SOURCE_FIELD_UNKNOWN",
                "did you mean \"header\"?",
            ),
            (r#"{"scheme":"hmac","secrets":["a"],"hmac":{"header":7}}"#, "SOURCE_FIELD_TYPE", "`hmac.header`"),
            (
                r#"{"scheme":"hmac","secrets":["a"],"hmac":{"header":"X","algorithm":"sha1"}}"#,
                "SOURCE_OPTION_INVALID",
                "sha256, sha512",
            ),
            (
                r#"{"scheme":"hmac","secrets":["a"],"hmac":{"header":"X","signed":"x"}}"#,
                "SOURCE_OPTION_INVALID",
                "add {body}",
            ),
            (
                r#"{"scheme":"hmac","secrets":["a"],"hmac":{"header":"X"},"tolerance_s":9}"#,
                "SOURCE_OPTION_INVALID",
                "inside `hmac`",
            ),
            (
                r#"{"scheme":"hmac","secrets":["x"],"hmac":{"header":"X","secret_encoding":"hex"}}"#,
                "SOURCE_SECRET_INVALID",
                "hexadecimal",
            ),
            (r#"{"scheme":"standard-webhooks","secrets":["whsec_"]}"#, "SOURCE_SECRET_INVALID", "decodes to nothing"),
            (r#"{"scheme":"standard-webhooks","secrets":["whsec_!"]}"#, "SOURCE_SECRET_INVALID", "not base64"),
            (r#"{"scheme":"standard-webhooks","secrets":["whpk_AAAA"]}"#, "SOURCE_SECRET_INVALID", "key pair"),
        ] {
            let problem = Source::from_secret(document.as_bytes()).expect_err(document);
            assert_eq!(problem.code(), code, "{document}: {problem}");
            assert!(problem.to_string().contains(words), "{document}: {problem}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = "Zx81qRm3ToPsEcReT";
        let source = Source::from_secret(format!(r#"{{"scheme":"github","secrets":["{secret}"]}}"#).as_bytes())
            .expect("a source");
        assert!(!format!("{source:?}").contains(secret));
        // A person who puts the secret in the wrong place must not read it back in a log.
        for document in [
            r#"SECRET"#,
            r#""SECRET""#,
            r#"{"SECRET":1}"#,
            r#"{"scheme":"SECRET"}"#,
            r#"{"scheme":"stripe","secrets":"SECRET"}"#,
            r#"{"scheme":"stripe","secrets":[" SECRET"]}"#,
            r#"{"scheme":"stripe","secrets":["a"],"tolerance_s":"SECRET"}"#,
            r#"{"scheme":"stripe","secrets":["a"],"hmac":"SECRET"}"#,
            r#"{"scheme":"hmac","secrets":["SECRET"],"hmac":{"header":"X","secret_encoding":"hex"}}"#,
            r#"{"scheme":"hmac","secrets":["a"],"hmac":{"header":"X","algorithm":"SECRET"}}"#,
            r#"{"scheme":"hmac","secrets":["a"],"hmac":{"header":"X","signed":"{SECRET}{body}"}}"#,
            r#"{"scheme":"hmac","secrets":["a"],"hmac":{"header":"X","type_pointer":"SECRET"}}"#,
            r#"{"scheme":"hmac","secrets":["a"],"hmac":{"header":"X SECRET"}}"#,
        ] {
            let problem = Source::from_secret(document.replace("SECRET", secret).as_bytes()).expect_err(document);
            assert!(!format!("{problem} {problem:?}").contains(secret), "{document}: {problem}");
        }
    }

    #[test]
    fn the_key_is_what_the_scheme_makes_of_the_text() {
        for (encoding, text, expected) in [
            (SecretEncoding::Utf8, "whsec_AAAA", &b"whsec_AAAA"[..]),
            (SecretEncoding::Whsec, "whsec_AAAA", &[0, 0, 0]),
            (SecretEncoding::Whsec, "AAAA", &[0, 0, 0]),
            (SecretEncoding::Whsec, "whsec_/w", &[255]),
            (SecretEncoding::Whsec, "whsec_/w==", &[255]),
            (SecretEncoding::Base64, "/w==", &[255]),
            (SecretEncoding::Hex, "fF00", &[255, 0]),
        ] {
            assert_eq!(key(text, encoding).as_deref(), Ok(expected), "{encoding} {text}");
        }
    }
}
