//! A source: a signature scheme and its live signing secrets, as one JSON document in a secret store.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::handshake::Handshake;
use crate::options::{HmacOptions, SecretEncoding, TOLERANCE_RANGE, TokenOptions, is_tolerance};
use crate::public_key::{self, PublicKey};
use crate::request::Headers;
use crate::suggest::{closest, did_you_mean, repeated};
use crate::table::{Check, HmacRow, IdentityRow, Scheme, TokenPlace};
use crate::template::{self, Piece};

/// A scheme with the secrets that are valid for it now.
///
/// Several secrets are all tried, which is what rotating one needs. The first is the one that [`crate::sign`] uses.
#[derive(Clone)]
pub struct Source {
    scheme: Scheme,
    /// At least one, unless the source is pending.
    secrets: Vec<Secret>,
    check: SourceCheck,
    /// The pieces of each row's template; empty where nothing is signed.
    signed: Vec<Vec<Piece>>,
    options: Options,
}

#[derive(Clone)]
struct Secret {
    /// As configured.
    text: String,
    /// As used: the text decoded as the scheme says.
    key: Vec<u8>,
    /// It is a public key, or the private half of one; `key` is the public half.
    public: Option<PublicKey>,
}

/// A live secret, as a request is checked with it.
#[derive(Clone, Copy)]
pub(crate) enum Key<'a> {
    Mac(&'a [u8]),
    Public(PublicKey, &'a [u8]),
}

#[derive(Clone)]
enum SourceCheck {
    Hmac(&'static [HmacRow<'static>]),
    Token(&'static [TokenPlace<'static>]),
    ConfiguredToken(Box<TokenOptions>),
    Configured(Box<HmacOptions>),
    Code(Code),
}

/// The half of a key pair that a source has.
pub(crate) enum Pair {
    None,
    PublicOnly,
    Private(Box<ring::signature::Ed25519KeyPair>),
}

/// What [`crate::verify`] and [`crate::sign`] work from.
pub(crate) enum CheckRow<'a> {
    /// See [`Source::row_for`].
    Hmac,
    Token(Cow<'a, [TokenPlace<'a>]>),
    Code(Code),
}

/// What a source may have besides its scheme and secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The configuration of the `hmac` scheme. That scheme needs it, the others refuse it.
    pub hmac: Option<HmacOptions>,
    /// The configuration of the `token` scheme, which needs it. Okta's takes one for another header than `Authorization`.
    pub token: Option<TokenOptions>,
    /// Another window than the scheme's own, in seconds, 1 to 86400. Only for schemes that sign a timestamp; `hmac` has its own field.
    pub tolerance_s: Option<u32>,
    /// The public URL that the provider was given for this source, without a query: `https://…`. For schemes that sign it, where it is not the
    /// deployment's own address followed by `/hooks/NAME`.
    pub url: Option<String>,
    /// What Meta is told to ask with (`hub.verify_token`). Only for its scheme.
    pub verify_token: Option<String>,
    /// What the provider's tokens must be made out to: the `aud` of a JWT. Only for schemes with one.
    pub audience: Option<String>,
    /// The provider's public keys, pinned: a PEM certificate or a JSON Web Key Set (RFC 7517), whichever the scheme has. Nothing is fetched then.
    pub keys: Option<String>,
    /// The source has no secret yet and learns it from the provider's handshake. Only for schemes with such a handshake, and without secrets.
    pub pending: bool,
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
        let misplaced = |option: &'static str| {
            bad(
                option,
                format!("belongs to the scheme \"{option}\"; remove it, or change the scheme from \"{scheme}\""),
            )
        };
        if options.hmac.is_some() && !matches!(scheme.entry().check, Check::Configured) {
            return Err(misplaced("hmac"));
        }
        if options.token.is_some() && !matches!(scheme.entry().check, Check::ConfiguredToken(_)) {
            return Err(misplaced("token"));
        }
        let mut public = None;
        let (check, encoding, signed, has_window) = match (scheme.entry().check, options.hmac.clone()) {
            (Check::Configured, Some(hmac)) => {
                let signed = hmac.check().map_err(|(option, problem)| bad(option, problem))?;
                (SourceCheck::Configured(Box::new(hmac.clone())), hmac.secret_encoding, vec![signed], false)
            }
            (Check::Configured, None) => {
                return Err(SourceError::MissingField {
                    field: "hmac",
                    help: "an object with at least `header`, as in {\"header\":\"X-Signature\"}",
                });
            }
            (Check::Hmac(rows), _) => {
                let signed = rows.iter().map(|row| template::parse(row.signed)).collect::<Result<Vec<_>, _>>();
                let signed = signed.map_err(|problem| bad("signed", problem))?;
                let [first, ..] = rows else { return Err(SourceError::NoSecrets) };
                public = first.public_key;
                (SourceCheck::Hmac(rows), first.secret_encoding, signed, first.timestamp.is_some())
            }
            (Check::Token(places), _) => (SourceCheck::Token(places), SecretEncoding::Utf8, Vec::new(), false),
            (Check::ConfiguredToken(default), _) => {
                let token = match (options.token.clone(), default) {
                    (Some(token), _) => token,
                    (None, Some(header)) => TokenOptions::new(header),
                    (None, None) => {
                        return Err(SourceError::MissingField {
                            field: "token",
                            help: "an object with at least `header`, as in {\"header\":\"X-Token\"}",
                        });
                    }
                };
                token.check().map_err(|(option, problem)| bad(option, problem))?;
                (SourceCheck::ConfiguredToken(Box::new(token)), SecretEncoding::Utf8, Vec::new(), false)
            }
            (Check::Code(code), _) => {
                code.check_options(&options).map_err(|(option, problem)| bad(option, problem))?;
                (SourceCheck::Code(code), SecretEncoding::Utf8, Vec::new(), code.has_window())
            }
        };
        if !matches!(check, SourceCheck::Code(_)) {
            for (option, given) in [("audience", options.audience.is_some()), ("keys", options.keys.is_some())] {
                if given {
                    return Err(bad(option, format!("means nothing for the scheme \"{scheme}\"; remove it")));
                }
            }
        }
        if options.verify_token.is_some() && scheme.entry().handshake != Handshake::Meta {
            return Err(bad("verify_token", format!("means nothing for the scheme \"{scheme}\"; remove it")));
        }
        if let Some(url) = &options.url
            && !is_public_url(url)
        {
            let problem = "must be the address that the provider was given, https://… without query or fragment";
            return Err(bad("url", problem.into()));
        }
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
        let secrets = secrets.into_iter().enumerate().map(|(index, text)| {
            let code = if let SourceCheck::Code(code) = check { Some(code) } else { None };
            Secret::new(text, encoding, public, code)
                .and_then(|secret| fits(scheme, &secret).map(|()| secret))
                .map_err(|problem| SourceError::BadSecret { number: index + 1, problem })
        });
        let secrets = secrets.collect::<Result<Vec<_>, _>>()?;
        match (options.pending, secrets.is_empty()) {
            (false, true) => return Err(SourceError::NoSecrets),
            (true, false) => return Err(bad("pending", "and secrets exclude each other; remove one of them".into())),
            (true, true) if scheme.entry().handshake != Handshake::Notion => {
                return Err(bad(
                    "pending",
                    format!("means nothing for the scheme \"{scheme}\", whose sender never tells its secret"),
                ));
            }
            (true, true) | (false, false) => {}
        }
        Ok(Self { scheme, secrets, check, signed, options })
    }

    /// Reads the document of a source secret: `{"scheme":"stripe","secrets":["whsec_…"]}`, and for the `hmac` scheme an object `hmac` with
    /// the fields of [`HmacOptions`].
    ///
    /// # Errors
    /// When it is not such a document; what is wrong and what to do.
    pub fn from_secret(bytes: &[u8]) -> Result<Self, SourceError> {
        let document: Value = serde_json::from_slice(bytes)
            .map_err(|problem| SourceError::NotJson { line: problem.line(), column: problem.column() })?;
        let fields = Fields::new(
            &document,
            "the document",
            &[
                "scheme",
                "secrets",
                "tolerance_s",
                "hmac",
                "token",
                "url",
                "verify_token",
                "audience",
                "keys",
                "pending",
            ],
        )?;
        let help = "the name of the scheme, as in \"scheme\":\"stripe\"";
        let scheme = Scheme::parse(fields.text("scheme")?.ok_or(SourceError::MissingField { field: "scheme", help })?)?;
        let pending = match fields.get("pending") {
            None => false,
            Some(value) => value.as_bool().ok_or_else(|| fields.wrong("pending", "true or false"))?,
        };
        let help = "the signing secrets, as in \"secrets\":[\"the signing secret\"]";
        let none = Value::Array(Vec::new());
        let secrets = match fields.get("secrets") {
            None if pending => &none,
            given => given.ok_or(SourceError::MissingField { field: "secrets", help })?,
        };
        let secrets = secrets
            .as_array()
            .and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>())
            .ok_or_else(|| fields.wrong("secrets", "a list of texts"))?;
        let options = Options {
            hmac: fields.get("hmac").map(read_hmac).transpose()?,
            token: fields.get("token").map(read_token).transpose()?,
            tolerance_s: fields.seconds("tolerance_s")?,
            url: fields.text("url")?.map(str::to_owned),
            verify_token: fields.text("verify_token")?.map(str::to_owned),
            audience: fields.text("audience")?.map(str::to_owned),
            keys: fields.text("keys")?.map(str::to_owned),
            pending,
        };
        Self::new(scheme, secrets, options)
    }

    /// The document that [`Source::from_secret`] reads. It holds the secrets.
    pub fn to_secret(&self) -> String {
        let secrets: Vec<&str> = self.secrets().collect();
        let mut document = json!({ "scheme": self.scheme.name(), "secrets": secrets });
        if let Some(tolerance) = self.options.tolerance_s {
            document["tolerance_s"] = json!(tolerance);
        }
        let texts = [
            ("url", &self.options.url),
            ("verify_token", &self.options.verify_token),
            ("audience", &self.options.audience),
            ("keys", &self.options.keys),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                document[name] = json!(text);
            }
        }
        if self.options.pending {
            document["pending"] = json!(true);
        }
        if let Some(options) = self.hmac() {
            document["hmac"] = json!(options);
        }
        if let Some(options) = &self.options.token {
            document["token"] = json!(options);
        }
        document.to_string()
    }

    /// The scheme.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// How many secrets are valid now: at least one, unless the source is pending.
    pub const fn secret_count(&self) -> usize {
        self.secrets.len()
    }

    /// Whether the source waits for the provider's handshake to tell its secret.
    pub const fn is_pending(&self) -> bool {
        self.options.pending
    }

    /// What was configured besides scheme and secrets.
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// The configuration of the `hmac` scheme.
    pub const fn hmac(&self) -> Option<&HmacOptions> {
        match &self.check {
            SourceCheck::Configured(options) => Some(options),
            SourceCheck::Hmac(_) | SourceCheck::Token(_) | SourceCheck::ConfiguredToken(_) | SourceCheck::Code(_) => {
                None
            }
        }
    }

    /// The same scheme and options with other secrets, for rotating: `[new, old]`, then `[new]`.
    ///
    /// # Errors
    /// When one of them cannot be a key of the scheme.
    pub fn with_secrets(&self, secrets: Vec<String>) -> Result<Self, SourceError> {
        Self::new(self.scheme, secrets, Options { pending: false, ..self.options.clone() })
    }

    /// The secrets as configured, for the rotation of one. Handle them as what they are.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(|secret| secret.text.as_str())
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.secrets.iter().map(|secret| secret.key.as_slice())
    }

    /// The live secrets, in order.
    pub(crate) fn live(&self) -> impl Iterator<Item = Key<'_>> {
        self.secrets.iter().map(|secret| match secret.public {
            None => Key::Mac(&secret.key),
            Some(algorithm) => Key::Public(algorithm, &secret.key),
        })
    }

    /// What the first secret signs with, where it is not a MAC's key.
    pub(crate) fn first_pair(&self) -> Pair {
        match self.secrets.first() {
            Some(Secret { public: Some(_), text, .. }) => text
                .strip_prefix("whsk_")
                .and_then(lenient)
                .and_then(|secret| public_key::pair(&secret))
                .map_or(Pair::PublicOnly, |pair| Pair::Private(Box::new(pair))),
            _ => Pair::None,
        }
    }

    /// The row, with the pieces that it signs, whose signature's header is among `headers`; the first where none is.
    ///
    /// Only for a check that is [`CheckRow::Hmac`]; another has a row that nothing matches.
    pub(crate) fn row_for(&self, headers: &Headers<'_>) -> (HmacRow<'_>, &[Piece]) {
        let rows: &[HmacRow<'_>] = match &self.check {
            SourceCheck::Hmac(rows) => rows,
            SourceCheck::Configured(options) => return (options.row(), self.pieces(0)),
            SourceCheck::Token(_) | SourceCheck::ConfiguredToken(_) | SourceCheck::Code(_) => &[],
        };
        // Any of a row's own headers makes it that row: an id of one family must not stand beside the signature of another, which does not cover it.
        let is_there = |name: &str| headers.all(name).next().is_some();
        let is_its = |row: &HmacRow<'_>| is_there(row.header) || row.id_header.is_some_and(is_there);
        let index = rows.iter().position(is_its).unwrap_or(0);
        let mut row = rows.get(index).copied().unwrap_or(HmacOptions::NOTHING);
        if let (Some(timestamp), Some(tolerance_s)) = (&mut row.timestamp, self.options.tolerance_s) {
            timestamp.tolerance_s = Some(tolerance_s);
        }
        (row, self.pieces(index))
    }

    fn pieces(&self, row: usize) -> &[Piece] {
        self.signed.get(row).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn check(&self) -> CheckRow<'_> {
        match &self.check {
            SourceCheck::Token(places) => CheckRow::Token(Cow::Borrowed(places)),
            SourceCheck::ConfiguredToken(token) => {
                CheckRow::Token(Cow::Owned(vec![TokenPlace { header: &token.header, prefix: &token.prefix }]))
            }
            SourceCheck::Code(code) => CheckRow::Code(*code),
            SourceCheck::Configured(_) | SourceCheck::Hmac(_) => CheckRow::Hmac,
        }
    }

    pub(crate) fn identity(&self) -> IdentityRow<'_> {
        match &self.check {
            SourceCheck::Configured(options) => options.identity(),
            SourceCheck::ConfiguredToken(token) if token.has_identity() => token.identity(),
            _ => self.scheme.entry().identity,
        }
    }
}

// Meta's verify token is a credential.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("hmac", &self.hmac)
            .field("token", &self.token)
            .field("tolerance_s", &self.tolerance_s)
            .field("url", &self.url)
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("scheme", &self.scheme)
            .field("secrets", &format_args!("{} (not shown)", self.secret_count()))
            .field("hmac", &self.hmac())
            .field("tolerance_s", &self.options.tolerance_s)
            .finish_non_exhaustive()
    }
}

impl Secret {
    fn new(
        text: String,
        encoding: SecretEncoding,
        public: Option<PublicKey>,
        code: Option<Code>,
    ) -> Result<Self, &'static str> {
        let standard = matches!(encoding, SecretEncoding::Whsec | SecretEncoding::WhsecOrText);
        if standard && let Some(key) = text.strip_prefix("whpk_") {
            let key = lenient(key).and_then(|key| public_key::ed25519(&key));
            let key = key.ok_or("is not an Ed25519 public key in base64 after whpk_; copy the key again, whole")?;
            return Ok(Self { text, key, public: Some(PublicKey::Ed25519) });
        }
        if standard && let Some(key) = text.strip_prefix("whsk_") {
            let key = lenient(key).and_then(|key| public_key::public_half(&key));
            let key = key.ok_or("is not an Ed25519 private key in base64 after whsk_: 32 or 64 bytes")?;
            return Ok(Self { text, key, public: Some(PublicKey::Ed25519) });
        }
        let key = key(&text, encoding)?;
        let key = match (public, code) {
            (Some(PublicKey::Ed25519), _) => {
                public_key::ed25519(&key).ok_or("is not an Ed25519 public key: 64 hexadecimal digits")?
            }
            (Some(PublicKey::EcdsaP256), _) => public_key::p256(&key).ok_or(
                "is not a P-256 public key: the base64 text that the provider shows, which begins with MFkwEwYH",
            )?,
            (None, Some(code)) => code.key(&text)?,
            (None, None) => key,
        };
        Ok(Self { text, key, public })
    }
}

/// What a provider's secrets look like, where it says so: a wrong one is found when it is set and not when a delivery is lost.
fn fits(scheme: Scheme, secret: &Secret) -> Result<(), &'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    match scheme.name() {
        "gitlab" if secret.public.is_none() && secret.key.len() != 32 => {
            Err("is not 32 bytes in base64 after whsec_, as GitLab's signing tokens are; copy it again, whole")
        }
        "telegram" if secret.key.len() > 256 || !secret.key.iter().all(|byte| allowed(*byte)) => {
            Err("is not 1 to 256 of A-Z, a-z, 0-9, _ and -, which Telegram allows")
        }
        _ => Ok(()),
    }
}

fn is_public_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && rest.bytes().all(|b| b.is_ascii_graphic())
            && !rest.contains(['?', '#'])
    })
}

/// Base64 of the standard alphabet, padded or not.
fn lenient(text: &str) -> Option<Vec<u8>> {
    let engine = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    engine.decode(text).ok()
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
    let key = match encoding {
        SecretEncoding::Utf8 => text.as_bytes().to_vec(),
        SecretEncoding::Hex => hex::decode(text).map_err(|_| "is not hexadecimal, which it must be for this source")?,
        SecretEncoding::Base64 => lenient(text).ok_or("is not base64, which it must be for this source")?,
        SecretEncoding::Whsec => {
            let bare = text.strip_prefix("whsec_").unwrap_or(text);
            lenient(bare).ok_or("is not base64 after whsec_; copy the signing secret again, whole")?
        }
        SecretEncoding::WhsecOrText => {
            lenient(text.strip_prefix("whsec_").unwrap_or(text)).unwrap_or_else(|| text.as_bytes().to_vec())
        }
    };
    if key.is_empty() {
        Err("decodes to nothing: anybody can sign with that; copy the signing secret again, whole")
    } else {
        Ok(key)
    }
}

fn read_token(value: &Value) -> Result<TokenOptions, SourceError> {
    let known = &["header", "prefix", "delivery_header", "delivery_pointer", "type_header", "type_pointer"];
    let fields = Fields::new(value, "token", known)?;
    let help = "the name of the header that carries the token to `token`";
    let header = fields.text("header")?.ok_or(SourceError::MissingField { field: "token.header", help })?;
    let text = |name| Ok::<_, SourceError>(fields.text(name)?.map(str::to_owned));
    Ok(TokenOptions {
        header: header.to_owned(),
        prefix: text("prefix")?.unwrap_or_default(),
        delivery_header: text("delivery_header")?,
        delivery_pointer: text("delivery_pointer")?,
        type_header: text("type_header")?,
        type_pointer: text("type_pointer")?,
    })
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
                r#"{"scheme":"hmac","secrets":["a"],"hmac":{"header":"X","algorithm":"md5"}}"#,
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
            (
                r#"{"scheme":"standard-webhooks","secrets":["whpk_AAAA"]}"#,
                "SOURCE_SECRET_INVALID",
                "not an Ed25519 public key",
            ),
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
