//! The options of the configurable `hmac` scheme: their form, their defaults, what cannot work.

use serde::{Serialize, Serializer};

use crate::mac::{Algorithm, Encoding};
use crate::table::{HmacRow, IdentityRow, Place, TimestampPlace, TimestampRow};
use crate::template::{self, Piece};
use crate::timestamp::TimestampUnit;

/// A name that an option does not have. The text lists those that it has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option} must be one of {known}")]
pub struct UnknownName {
    /// The option.
    pub option: &'static str,
    /// The names it has, separated by commas.
    pub known: String,
}

/// An enum whose values have names: `Display`, `FromStr` and `Serialize` with them.
macro_rules! names {
    ($(#[$about:meta])* $type:ident, $option:literal { $($(#[$doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $($(#[$doc])* $variant,)*
        }

        impl $type {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in a source secret and on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::options::UnknownName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|value| value.name() == name).ok_or_else(|| $crate::options::UnknownName {
                    option: $option,
                    known: Self::ALL.iter().map(|value| value.name()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}
pub(crate) use names;

names! {
    /// How the text of a signing secret becomes the key.
    SecretEncoding, "secret_encoding" {
        /// The bytes of the text itself. Stripe's `whsec_…` too: there the prefix is part of the key.
        Utf8 = "utf8",
        /// Hexadecimal digits.
        Hex = "hex",
        /// Standard base64, padded or not.
        Base64 = "base64",
        /// `whsec_` and base64, or the base64 alone (Standard Webhooks: the prefix is not part of the key).
        Whsec = "whsec",
        /// As `whsec`, and the bytes of the text where it is not base64 (OpenAI's SDKs).
        WhsecOrText = "whsec-or-text",
    }
}

/// The window of schemes that sign a timestamp and do not say otherwise, in seconds.
pub(crate) const DEFAULT_TOLERANCE_S: u32 = 300;
/// The widest window. Beyond a day a timestamp no longer says anything about a replay.
pub(crate) const MAX_TOLERANCE_S: u32 = 86_400;

/// One HMAC scheme in the operator's words: the `hmac` object of a source secret. `None` and empty fields are left out of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HmacOptions {
    /// The header that carries the signature.
    pub header: String,
    /// What comes before the signature in its header (`sha256=`), or in its element of a list (`v1=`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The header is a list: what separates its elements, one of `,` `;` or a space. Every element with the prefix is a signature and one
    /// good one suffices; other elements are ignored. Without it the header holds one signature and nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_separator: Option<char>,
    /// How the signature is written. Default: hex.
    #[serde(serialize_with = "by_name")]
    pub encoding: Encoding,
    /// The hash. Default: sha256.
    #[serde(serialize_with = "by_name")]
    pub algorithm: Algorithm,
    /// How the secrets become keys. Default: utf8.
    #[serde(serialize_with = "by_name")]
    pub secret_encoding: SecretEncoding,
    /// What is signed: text with `{body}` once and, where the sender signs them, `{timestamp}`, `{id}` (the value of `delivery_header`),
    /// `{method}`, `{url}`. Default: `{body}`.
    pub signed: String,
    /// The header that carries the timestamp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// The timestamp is an element of the signature's own header: its prefix there (`t=`). Needs `list_separator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_prefix: Option<String>,
    /// The timestamp's unit. Default: s.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "by_optional_name")]
    pub timestamp_unit: Option<TimestampUnit>,
    /// How far the timestamp may be from now, in seconds, in both directions: 1 to 86400. Default: 300.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance_s: Option<u32>,
    /// The header that carries the delivery's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_header: Option<String>,
    /// Where the delivery's id is in a JSON body: a JSON pointer (RFC 6901). Asked when the header has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_pointer: Option<String>,
    /// The header that carries the event's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub type_header: Option<String>,
    /// Where the event's type is in a JSON body: a JSON pointer (RFC 6901). Asked when the header has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub type_pointer: Option<String>,
}

fn by_name<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn by_optional_name<T: std::fmt::Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// Where a shared token is, and what a delivery is known by: the `token` object of a source secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenOptions {
    /// The header that carries the token.
    pub header: String,
    /// What comes before the token in its header (`Bearer `), in any case.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The header that carries the delivery's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_header: Option<String>,
    /// Where the delivery's id is in a JSON body: a JSON pointer (RFC 6901). Asked when the header has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_pointer: Option<String>,
    /// The header that carries the event's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub type_header: Option<String>,
    /// Where the event's type is in a JSON body: a JSON pointer (RFC 6901). Asked when the header has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub type_pointer: Option<String>,
}

impl TokenOptions {
    /// The token alone in this header.
    pub fn new(header: impl Into<String>) -> Self {
        Self {
            header: header.into(),
            prefix: String::new(),
            delivery_header: None,
            delivery_pointer: None,
            type_header: None,
            type_pointer: None,
        }
    }

    pub(crate) fn identity(&self) -> IdentityRow<'_> {
        IdentityRow {
            delivery: [
                self.delivery_header.as_deref().map(Place::Header),
                self.delivery_pointer.as_deref().map(Place::Body),
            ],
            event_type: [self.type_header.as_deref().map(Place::Header), self.type_pointer.as_deref().map(Place::Body)],
            type_suffix: None,
        }
    }

    /// Whether anything says what a delivery is known by.
    pub(crate) const fn has_identity(&self) -> bool {
        self.delivery_header.is_some()
            || self.delivery_pointer.is_some()
            || self.type_header.is_some()
            || self.type_pointer.is_some()
    }

    /// Refuses what cannot work: the option, and what is wrong with it.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let headers = [
            ("header", Some(&self.header)),
            ("delivery_header", self.delivery_header.as_ref()),
            ("type_header", self.type_header.as_ref()),
        ];
        for (option, header) in headers {
            let Some(header) = header else { continue };
            if !is_header_name(header) {
                let problem = "is not a header name; use letters, digits and hyphens, as in X-Token";
                return Err((option, problem.into()));
            }
            let carries_it = option != "header" && header.eq_ignore_ascii_case(&self.header);
            if carries_it || (option != "header" && is_credential(header)) {
                let problem =
                    "names a header that carries credentials; what is read from it would be stored with the event";
                return Err((option, problem.into()));
            }
        }
        if !self.prefix.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            return Err(("prefix", "must be printable ASCII, as in \"Bearer \"".into()));
        }
        for (option, pointer) in [("delivery_pointer", &self.delivery_pointer), ("type_pointer", &self.type_pointer)] {
            if let Some(pointer) = pointer {
                crate::pick::parse_pointer(pointer).map_err(|problem| (option, problem.to_owned()))?;
            }
        }
        Ok(())
    }
}

fn is_credential(header: &str) -> bool {
    ["authorization", "proxy-authorization", "cookie"].iter().any(|name| header.eq_ignore_ascii_case(name))
}

impl HmacOptions {
    /// A row that no request matches.
    pub(crate) const NOTHING: HmacRow<'static> = HmacRow {
        header: "",
        separator: None,
        prefix: "",
        prefix_optional: false,
        encoding: Encoding::Hex,
        algorithm: Algorithm::Sha256,
        public_key: None,
        public_prefix: None,
        secret_encoding: SecretEncoding::Utf8,
        signed: "",
        timestamp: None,
        id_header: None,
    };

    /// HMAC-SHA256 of the body, in hexadecimal, alone in the header.
    pub fn new(header: impl Into<String>) -> Self {
        Self {
            header: header.into(),
            prefix: String::new(),
            list_separator: None,
            encoding: Encoding::Hex,
            algorithm: Algorithm::Sha256,
            secret_encoding: SecretEncoding::Utf8,
            signed: "{body}".into(),
            timestamp_header: None,
            timestamp_prefix: None,
            timestamp_unit: None,
            tolerance_s: None,
            delivery_header: None,
            delivery_pointer: None,
            type_header: None,
            type_pointer: None,
        }
    }

    pub(crate) fn row(&self) -> HmacRow<'_> {
        let place = match (&self.timestamp_header, &self.timestamp_prefix) {
            (Some(header), _) => Some(TimestampPlace::Header(header)),
            (None, Some(prefix)) => Some(TimestampPlace::Element(prefix)),
            (None, None) => None,
        };
        HmacRow {
            header: &self.header,
            separator: self.list_separator,
            prefix: &self.prefix,
            prefix_optional: false,
            encoding: self.encoding,
            algorithm: self.algorithm,
            public_key: None,
            public_prefix: None,
            secret_encoding: self.secret_encoding,
            signed: &self.signed,
            timestamp: place.map(|place| TimestampRow {
                place,
                unit: self.timestamp_unit.unwrap_or(TimestampUnit::Seconds),
                tolerance_s: Some(self.tolerance_s.unwrap_or(DEFAULT_TOLERANCE_S)),
            }),
            id_header: self.delivery_header.as_deref(),
        }
    }

    pub(crate) fn identity(&self) -> IdentityRow<'_> {
        IdentityRow {
            delivery: [
                self.delivery_header.as_deref().map(Place::Header),
                self.delivery_pointer.as_deref().map(Place::Body),
            ],
            event_type: [self.type_header.as_deref().map(Place::Header), self.type_pointer.as_deref().map(Place::Body)],
            type_suffix: None,
        }
    }

    /// Refuses what cannot work, or would work without protecting anything. Answers with the pieces of the template, or with the option at
    /// fault and what is wrong with it.
    pub(crate) fn check(&self) -> Result<Vec<Piece>, (&'static str, String)> {
        let no = |option: &'static str, problem: &str| Err((option, problem.to_owned()));
        let headers = [
            ("header", Some(&self.header)),
            ("timestamp_header", self.timestamp_header.as_ref()),
            ("delivery_header", self.delivery_header.as_ref()),
            ("type_header", self.type_header.as_ref()),
        ];
        for (option, header) in headers {
            let Some(header) = header else { continue };
            if !is_header_name(header) {
                return no(option, "is not a header name; use letters, digits and hyphens, as in X-Signature");
            }
            if is_credential(header) && option != "header" {
                return no(
                    option,
                    "names a header that carries credentials; what is read from it would be stored with the event",
                );
            }
            if option != "header" && header.eq_ignore_ascii_case(&self.header) {
                return no(
                    option,
                    "is the signature's own header; a timestamp inside it is configured with timestamp_prefix",
                );
            }
        }
        if !self.prefix.bytes().all(|b| b.is_ascii_graphic()) {
            return no("prefix", "must be printable ASCII without spaces, as in sha256=");
        }
        if let Some(separator) = self.list_separator {
            if ![',', ';', ' '].contains(&separator) {
                return no("list_separator", "must be a comma, a semicolon or a space");
            }
            if self.prefix.contains(separator) {
                return no("prefix", "contains the list separator, so no element can begin with it");
            }
        }
        self.check_timestamp()?;
        for (option, pointer) in [("delivery_pointer", &self.delivery_pointer), ("type_pointer", &self.type_pointer)] {
            if let Some(pointer) = pointer {
                crate::pick::parse_pointer(pointer).map_err(|problem| (option, problem.to_owned()))?;
            }
        }
        let pieces = template::parse(&self.signed).map_err(|problem| ("signed", problem))?;
        let has_timestamp = self.timestamp_header.is_some() || self.timestamp_prefix.is_some();
        match (pieces.contains(&Piece::Timestamp), has_timestamp) {
            (true, false) => {
                return no(
                    "signed",
                    "covers {timestamp}, and neither timestamp_header nor timestamp_prefix says where it is",
                );
            }
            (false, true) => {
                return no(
                    "signed",
                    "does not cover {timestamp}: anybody could change it; add {timestamp} or remove its place",
                );
            }
            _ => {}
        }
        if pieces.contains(&Piece::Id) && self.delivery_header.is_none() {
            return no("signed", "covers {id}, and delivery_header does not say which header that is");
        }
        Ok(pieces)
    }

    fn check_timestamp(&self) -> Result<(), (&'static str, String)> {
        let no = |option: &'static str, problem: &str| Err((option, problem.to_owned()));
        match (&self.timestamp_header, &self.timestamp_prefix) {
            (Some(_), Some(_)) => return no("timestamp_prefix", "and timestamp_header exclude each other; keep one"),
            (None, None) => {
                for (option, given) in
                    [("timestamp_unit", self.timestamp_unit.is_some()), ("tolerance_s", self.tolerance_s.is_some())]
                {
                    if given {
                        return no(
                            option,
                            "needs a timestamp: give timestamp_header or timestamp_prefix, or remove it",
                        );
                    }
                }
            }
            (None, Some(prefix)) => {
                let Some(separator) = self.list_separator else {
                    return no(
                        "timestamp_prefix",
                        "needs list_separator: the header then holds the timestamp and the signature",
                    );
                };
                if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_graphic()) || prefix.contains(separator) {
                    return no("timestamp_prefix", "must be printable ASCII without the list separator, as in t=");
                }
                if prefix.starts_with(&self.prefix) || self.prefix.starts_with(prefix.as_str()) {
                    return no(
                        "timestamp_prefix",
                        "and prefix must differ from their first characters, to tell the elements apart",
                    );
                }
            }
            (Some(_), None) => {}
        }
        if self.tolerance_s.is_some_and(|tolerance| !is_tolerance(tolerance)) {
            return no("tolerance_s", TOLERANCE_RANGE);
        }
        Ok(())
    }
}

pub(crate) const TOLERANCE_RANGE: &str = "must be a number of seconds from 1 to 86400";

pub(crate) const fn is_tolerance(seconds: u32) -> bool {
    seconds >= 1 && seconds <= MAX_TOLERANCE_S
}

/// A field name of RFC 9110 section 5.1, of a sane length.
fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_with_the_option_at_fault() {
        let base = || HmacOptions::new("X-Sig");
        let stamped =
            || HmacOptions { timestamp_header: Some("X-Ts".into()), signed: "{timestamp}.{body}".into(), ..base() };
        assert!(base().check().is_ok());
        assert!(stamped().check().is_ok());
        let listed = || HmacOptions {
            list_separator: Some(','),
            prefix: "v1=".into(),
            timestamp_prefix: Some("t=".into()),
            signed: "{timestamp}.{body}".into(),
            ..base()
        };
        assert!(listed().check().is_ok());
        for (option, words, options) in [
            ("header", "header name", HmacOptions::new("")),
            ("header", "header name", HmacOptions::new("X Sig")),
            ("header", "header name", HmacOptions::new("X-Sig\r\n")),
            ("type_header", "own header", HmacOptions { type_header: Some("x-sig".into()), ..base() }),
            ("delivery_header", "credentials", HmacOptions { delivery_header: Some("Authorization".into()), ..base() }),
            ("prefix", "printable", HmacOptions { prefix: "sha 256=".into(), ..base() }),
            ("prefix", "list separator", HmacOptions { prefix: "v1,".into(), list_separator: Some(','), ..base() }),
            ("list_separator", "comma", HmacOptions { list_separator: Some('a'), ..base() }),
            ("signed", "add {body}", HmacOptions { signed: "{timestamp}".into(), ..stamped() }),
            ("signed", "add {timestamp}", HmacOptions { signed: "{body}".into(), ..stamped() }),
            ("signed", "timestamp_header", HmacOptions { signed: "{timestamp}{body}".into(), ..base() }),
            ("signed", "delivery_header", HmacOptions { signed: "{id}{body}".into(), ..base() }),
            ("tolerance_s", "1 to 86400", HmacOptions { tolerance_s: Some(0), ..stamped() }),
            ("tolerance_s", "1 to 86400", HmacOptions { tolerance_s: Some(86_401), ..stamped() }),
            ("tolerance_s", "needs a timestamp", HmacOptions { tolerance_s: Some(60), ..base() }),
            (
                "timestamp_unit",
                "needs a timestamp",
                HmacOptions { timestamp_unit: Some(TimestampUnit::Seconds), ..base() },
            ),
            ("timestamp_prefix", "exclude", HmacOptions { timestamp_header: Some("X-Ts".into()), ..listed() }),
            ("timestamp_prefix", "list_separator", HmacOptions { list_separator: None, ..listed() }),
            ("timestamp_prefix", "tell the elements apart", HmacOptions { prefix: String::new(), ..listed() }),
            (
                "timestamp_prefix",
                "tell the elements apart",
                HmacOptions { timestamp_prefix: Some("v1=t".into()), ..listed() },
            ),
            ("type_pointer", "begin with", HmacOptions { type_pointer: Some("type".into()), ..base() }),
        ] {
            let (fault, problem) = options.check().expect_err(words);
            assert_eq!(fault, option, "{problem}");
            assert!(problem.contains(words), "{option}: {problem}");
        }
    }

    #[test]
    fn names_are_read_back_and_an_unknown_one_lists_them() {
        for unit in TimestampUnit::ALL {
            assert_eq!(unit.name().parse(), Ok(*unit));
        }
        let problem = "md5".parse::<Algorithm>().expect_err("md5 is not offered");
        assert_eq!(problem.to_string(), "algorithm must be one of sha1, sha256, sha512");
    }
}
