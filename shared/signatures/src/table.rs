//! The table of schemes: one row of data each. A new provider of the HMAC family is a new row here and nothing else.

use std::fmt;

use crate::mac::{Algorithm, Encoding};
use crate::options::{DEFAULT_TOLERANCE_S, SecretEncoding};
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
        TABLE.iter().map(Self)
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
        !matches!(self.0.check, Check::Token(_))
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
    /// Headers to keep with an event besides `content-type`: what they say is about the event. Never a signature or a token.
    pub(crate) kept: &'static [&'static str],
}

/// How a request is checked.
#[derive(Clone, Copy)]
pub(crate) enum Check {
    Hmac(HmacRow<'static>),
    /// A shared token, sent as it is. The first place that is in the request decides.
    Token(&'static [TokenPlace]),
    /// An HMAC row that the source brings along.
    Configured,
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
    pub(crate) tolerance_s: u32,
}

#[derive(Clone, Copy)]
pub(crate) enum TimestampPlace<'a> {
    Header(&'a str),
    /// An element of the signature's header, by its prefix.
    Element(&'a str),
}

pub(crate) struct TokenPlace {
    pub(crate) header: &'static str,
    /// Before the token, in any case (RFC 9110 section 11.1: the name of an authentication scheme has no case).
    pub(crate) prefix: &'static str,
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

/// The most common form, to begin a row with: HMAC-SHA256 of the body under the text of the secret, in hexadecimal, alone in the header.
const fn hex_of_body(header: &'static str) -> HmacRow<'static> {
    HmacRow {
        header,
        separator: None,
        prefix: "",
        prefix_optional: false,
        encoding: Encoding::Hex,
        algorithm: Algorithm::Sha256,
        secret_encoding: SecretEncoding::Utf8,
        signed: "{body}",
        timestamp: None,
        id_header: None,
    }
}

const fn seconds(place: TimestampPlace<'static>) -> Option<TimestampRow<'static>> {
    Some(TimestampRow { place, unit: TimestampUnit::Seconds, tolerance_s: DEFAULT_TOLERANCE_S })
}

const fn header(name: &'static str) -> [Option<Place<'static>>; 2] {
    [Some(Place::Header(name)), None]
}

const fn body(pointer: &'static str) -> [Option<Place<'static>>; 2] {
    [Some(Place::Body(pointer)), None]
}

const fn body_or(pointer: &'static str, other: &'static str) -> [Option<Place<'static>>; 2] {
    [Some(Place::Body(pointer)), Some(Place::Body(other))]
}

const NOWHERE: [Option<Place<'static>>; 2] = [None, None];

static TABLE: [Entry; 7] = [
    // https://docs.stripe.com/webhooks#verify-manually. The whole secret is the key, `whsec_` included.
    Entry {
        name: "stripe",
        summary: "Stripe: Stripe-Signature, HMAC-SHA256 of timestamp and body",
        check: Check::Hmac(HmacRow {
            separator: Some(','),
            prefix: "v1=",
            signed: "{timestamp}.{body}",
            timestamp: seconds(TimestampPlace::Element("t=")),
            ..hex_of_body("Stripe-Signature")
        }),
        identity: IdentityRow { delivery: body("/id"), event_type: body("/type"), type_suffix: None },
        kept: &[],
    },
    // https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries. The older X-Hub-Signature is SHA-1 and not read.
    Entry {
        name: "github",
        summary: "GitHub: X-Hub-Signature-256, HMAC-SHA256 of the body",
        check: Check::Hmac(HmacRow { prefix: "sha256=", ..hex_of_body("X-Hub-Signature-256") }),
        identity: IdentityRow {
            delivery: header("X-GitHub-Delivery"),
            event_type: header("X-GitHub-Event"),
            type_suffix: Some("/action"),
        },
        kept: &[
            "X-GitHub-Event",
            "X-GitHub-Delivery",
            "X-GitHub-Hook-ID",
            "X-GitHub-Hook-Installation-Target-ID",
            "X-GitHub-Hook-Installation-Target-Type",
        ],
    },
    // The body is {event, timestamp, data} and has no id of its own. Some senders write sha256= before the digits, most do not.
    Entry {
        name: "openclaw",
        summary: "OpenClaw webhooks: X-OpenClaw-Signature, HMAC-SHA256 of the body",
        check: Check::Hmac(HmacRow { prefix: "sha256=", prefix_optional: true, ..hex_of_body("X-OpenClaw-Signature") }),
        identity: IdentityRow { delivery: NOWHERE, event_type: body("/event"), type_suffix: None },
        kept: &[],
    },
    // https://docs.openclaw.ai/automation/cron-jobs: cron webhooks carry the configured token and no signature.
    Entry {
        name: "openclaw-token",
        summary: "OpenClaw cron webhooks: a shared token in Authorization: Bearer or x-openclaw-token; the body is not signed",
        check: Check::Token(&[
            TokenPlace { header: "x-openclaw-token", prefix: "" },
            TokenPlace { header: "Authorization", prefix: "Bearer " },
        ]),
        identity: IdentityRow { delivery: NOWHERE, event_type: body("/event"), type_suffix: None },
        kept: &[],
    },
    Entry {
        name: "byterover",
        summary: "ByteRover: x-byterover-signature, HMAC-SHA256 of the body",
        check: Check::Hmac(hex_of_body("x-byterover-signature")),
        identity: IdentityRow {
            delivery: body_or("/id", "/event_id"),
            event_type: body_or("/type", "/event"),
            type_suffix: None,
        },
        kept: &[],
    },
    // https://github.com/standard-webhooks/standard-webhooks, specification 1.0.0, "Signature scheme" and "Webhook headers".
    // `v1a` (Ed25519) elements are ignored: they are for another kind of key.
    Entry {
        name: "standard-webhooks",
        summary: "Standard Webhooks (OpenAI, Anthropic, GitLab signing tokens and others): webhook-signature v1",
        check: Check::Hmac(HmacRow {
            separator: Some(' '),
            prefix: "v1,",
            encoding: Encoding::Base64,
            secret_encoding: SecretEncoding::Whsec,
            signed: "{id}.{timestamp}.{body}",
            timestamp: seconds(TimestampPlace::Header("webhook-timestamp")),
            id_header: Some("webhook-id"),
            ..hex_of_body("webhook-signature")
        }),
        identity: IdentityRow { delivery: header("webhook-id"), event_type: body("/type"), type_suffix: None },
        kept: &["webhook-id", "webhook-timestamp"],
    },
    Entry {
        name: "hmac",
        summary: "any other HMAC: header, prefix, encoding, hash and what is signed are configured",
        check: Check::Configured,
        identity: IdentityRow { delivery: NOWHERE, event_type: NOWHERE, type_suffix: None },
        kept: &[],
    },
];

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
            let Check::Hmac(row) = entry.check else { continue };
            let pieces = crate::template::parse(row.signed).expect(row.signed);
            assert_eq!(pieces.contains(&crate::template::Piece::Timestamp), row.timestamp.is_some(), "{scheme}");
            assert_eq!(pieces.contains(&crate::template::Piece::Id), row.id_header.is_some(), "{scheme}");
            assert!(!(row.prefix_optional && row.separator.is_some()), "{scheme}");
            assert!(
                !entry.kept.iter().any(|kept| kept.eq_ignore_ascii_case(row.header)),
                "{scheme} keeps its signature"
            );
        }
    }

    #[test]
    fn an_unknown_scheme_suggests_the_nearest() {
        let problem = Scheme::parse("standard_webhook").expect_err("not a name");
        assert_eq!(problem.suggestion(), Some("standard-webhooks"));
        assert_eq!(
            Scheme::parse("GitHub").expect_err("names are lower-case").to_string(),
            "unknown scheme \"GitHub\"; did you mean \"github\"?; the schemes are stripe, github, openclaw, openclaw-token, byterover, \
             standard-webhooks, hmac"
        );
        assert!(!Scheme::parse("whsec_abc").expect_err("a secret").to_string().contains("abc"));
    }
}
