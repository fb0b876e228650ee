//! The table of schemes: one row of data each. A new provider of the HMAC family is a new row here and nothing else.

mod rows;

use std::fmt;

use crate::code::Code;
use crate::handshake::Handshake;
use crate::mac::{Algorithm, Encoding};
use crate::options::SecretEncoding;
use crate::public_key::PublicKey;
use crate::receive::Batch;
use crate::suggest::{closest, did_you_mean, repeated};
use crate::timestamp::TimestampUnit;

/// A signature scheme, by its row in the table.
#[derive(Clone, Copy)]
pub struct Scheme(&'static Entry);

/// The name is not that of a scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown scheme{}{}; the schemes are {}", .shown, did_you_mean(*.suggestion), names())]
pub struct UnknownScheme {
    /// The name as it may be shown: with a leading space and quotes, or nothing when it may be a secret.
    shown: String,
    /// The scheme that was probably meant.
    suggestion: Option<&'static str>,
}

impl UnknownScheme {
    /// The scheme that was probably meant.
    pub const fn suggestion(&self) -> Option<&'static str> {
        self.suggestion
    }
}

fn names() -> String {
    Scheme::all().map(Scheme::name).collect::<Vec<_>>().join(", ")
}

impl Scheme {
    /// Every scheme, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        rows::TABLE.iter().map(Self)
    }

    /// The scheme of this exact name.
    ///
    /// # Errors
    /// With the nearest name, and the list.
    pub fn parse(name: &str) -> Result<Self, UnknownScheme> {
        Self::all().find(|scheme| scheme.name() == name).ok_or_else(|| UnknownScheme {
            shown: repeated(name),
            suggestion: closest(name, Self::all().map(Self::name)),
        })
    }

    /// The name, as in a source secret.
    pub const fn name(self) -> &'static str {
        self.0.name
    }

    /// One line for a person who chooses a scheme.
    pub const fn summary(self) -> &'static str {
        self.0.summary
    }

    /// Whether the scheme proves who wrote the body. A shared token proves only that the sender knows the token.
    pub const fn signs_body(self) -> bool {
        match self.0.check {
            Check::Hmac(_) | Check::Configured => true,
            Check::Token(_) | Check::ConfiguredToken(_) => false,
            Check::Code(code) => code.signs_body(),
        }
    }

    /// What the texts in `secrets` are: most schemes have a signing secret, some something else that a sender must know or be.
    pub const fn secret_is(self) -> &'static str {
        match self.0.check {
            Check::Hmac(_) | Check::Configured => "the signing secret",
            Check::Token(_) | Check::ConfiguredToken(_) => "the token that the sender sends",
            Check::Code(code) => code.secret_is(),
        }
    }

    /// Whether deliveries may come with GET: Twilio's can be configured so.
    pub fn takes_get(self) -> bool {
        matches!(self.0.check, Check::Code(Code::Twilio))
    }

    /// Whether a source of this scheme may set `tolerance_s`: a timestamp is signed.
    pub fn has_window(self) -> bool {
        match self.0.check {
            Check::Hmac(rows) => rows.iter().any(|row| row.timestamp.is_some()),
            Check::Code(code) => code.has_window(),
            Check::Token(_) | Check::ConfiguredToken(_) | Check::Configured => false,
        }
    }

    pub(crate) const fn entry(self) -> &'static Entry {
        self.0
    }
}

impl PartialEq for Scheme {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Scheme {}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scheme({})", self.name())
    }
}

impl std::str::FromStr for Scheme {
    type Err = UnknownScheme;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::parse(name)
    }
}

/// All that is known about one scheme.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) check: Check,
    pub(crate) identity: IdentityRow<'static>,
    /// What the provider asks before, or between, its deliveries.
    pub(crate) handshake: Handshake,
    /// How the events of one request are told apart.
    pub(crate) batch: Batch,
    /// Headers to keep with an event besides `content-type`: what they say is about the event. Never a signature or a token.
    pub(crate) kept: &'static [&'static str],
}

/// How a request is checked.
#[derive(Clone, Copy)]
pub(crate) enum Check {
    /// The first row whose header is in the request decides: a provider may have two families of headers.
    Hmac(&'static [HmacRow<'static>]),
    /// A shared token, sent as it is. The first place that is in the request decides.
    Token(&'static [TokenPlace<'static>]),
    /// An HMAC row that the source brings along.
    Configured,
    /// A token's place that the source brings along; this header where it brings none.
    ConfiguredToken(Option<&'static str>),
    /// What no row can say.
    Code(Code),
}

/// One scheme of the HMAC family.
#[derive(Clone, Copy)]
pub(crate) struct HmacRow<'a> {
    pub(crate) header: &'a str,
    /// The header is a list of elements.
    pub(crate) separator: Option<char>,
    /// Before each signature.
    pub(crate) prefix: &'a str,
    /// A signature without the prefix is one as well. Only without a separator.
    pub(crate) prefix_optional: bool,
    pub(crate) encoding: Encoding,
    pub(crate) algorithm: Algorithm,
    /// A public key's signature instead of a MAC.
    pub(crate) public_key: Option<PublicKey>,
    /// Before an Ed25519 signature among MACs, where a source may have either kind of key.
    pub(crate) public_prefix: Option<&'a str>,
    pub(crate) secret_encoding: SecretEncoding,
    /// A template; see `template`.
    pub(crate) signed: &'a str,
    pub(crate) timestamp: Option<TimestampRow<'a>>,
    /// The header that `{id}` stands for.
    pub(crate) id_header: Option<&'a str>,
}

#[derive(Clone, Copy)]
pub(crate) struct TimestampRow<'a> {
    pub(crate) place: TimestampPlace<'a>,
    pub(crate) unit: TimestampUnit,
    /// No window, unless the source sets one, where the provider states none: a late repetition must not be lost.
    pub(crate) tolerance_s: Option<u32>,
}

#[derive(Clone, Copy)]
pub(crate) enum TimestampPlace<'a> {
    Header(&'a str),
    /// An element of the signature's header, by its prefix.
    Element(&'a str),
    /// A member of the signed body, by its JSON pointer.
    Body(&'a str),
}

#[derive(Clone, Copy)]
pub(crate) struct TokenPlace<'a> {
    pub(crate) header: &'a str,
    /// Before the token, in any case (RFC 9110 section 11.1: the name of an authentication scheme has no case).
    pub(crate) prefix: &'a str,
}

/// Where a delivery says what it is. The first place that has a value counts.
#[derive(Clone, Copy)]
pub(crate) struct IdentityRow<'a> {
    pub(crate) delivery: [Option<Place<'a>>; 2],
    pub(crate) event_type: [Option<Place<'a>>; 2],
    /// Added to the type after a full stop when it is there: a JSON pointer.
    pub(crate) type_suffix: Option<&'a str>,
}

#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Header(&'a str),
    /// A JSON pointer into the body.
    Body(&'a str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_makes_sense() {
        for scheme in Scheme::all() {
            assert_eq!(Scheme::parse(scheme.name()), Ok(scheme));
            assert_eq!(Scheme::all().filter(|other| *other == scheme).count(), 1, "{scheme} is there twice");
            let entry = scheme.entry();
            let identity = entry.identity;
            let pointers =
                identity.delivery.into_iter().chain(identity.event_type).flatten().filter_map(|place| match place {
                    Place::Body(pointer) => Some(pointer),
                    Place::Header(_) => None,
                });
            for pointer in pointers.chain(identity.type_suffix) {
                assert!(crate::pick::parse_pointer(pointer).is_ok(), "{scheme} {pointer}");
            }
            let Check::Hmac(rows) = entry.check else { continue };
            for row in rows {
                let pieces = crate::template::parse(row.signed).expect(row.signed);
                let in_body = row.timestamp.is_some_and(|stamp| matches!(stamp.place, TimestampPlace::Body(_)));
                assert_eq!(
                    pieces.contains(&crate::template::Piece::Timestamp),
                    row.timestamp.is_some() && !in_body,
                    "{scheme}"
                );
                assert_eq!(pieces.contains(&crate::template::Piece::Id), row.id_header.is_some(), "{scheme}");
                assert!(!(row.prefix_optional && row.separator.is_some()), "{scheme}");
                assert!(
                    !entry.kept.iter().any(|kept| kept.eq_ignore_ascii_case(row.header)),
                    "{scheme} keeps its signature"
                );
            }
        }
    }

    #[test]
    fn an_unknown_scheme_suggests_the_nearest() {
        let problem = Scheme::parse("standard_webhook").expect_err("not a name");
        assert_eq!(problem.suggestion(), Some("standard-webhooks"));
        let problem = Scheme::parse("GitHub").expect_err("names are lower-case").to_string();
        let words = "unknown scheme \"GitHub\"; did you mean \"github\"?; the schemes are stripe, github, ";
        assert!(problem.starts_with(words), "{problem}");
        assert!(!Scheme::parse("whsec_abc").expect_err("a secret").to_string().contains("abc"));
    }
}
