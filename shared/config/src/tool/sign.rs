//! Reading how a tool's requests are signed.

use crate::compiled::CompiledSign;
use crate::diagnostic::Code;
use crate::header;
use crate::model::{Algorithm, Encoding, SecretEncoding, Sign, TimestampUnit};
use crate::reader::{Fields, Found, Reader};
use crate::signed::SignedTemplate;
use crate::tool::auth::secret_name;
use crate::tool::request::{Claims, header_name};
use crate::tool::word;

const KEYS: [&str; 11] = [
    "scheme",
    "secret",
    "secret_encoding",
    "algorithm",
    "over",
    "encoding",
    "header",
    "prefix",
    "timestamp_header",
    "timestamp_unit",
    "id_header",
];

/// The ready-made schemes, as a document writes them.
const SCHEMES: &[&str] = &["standard-webhooks"];

/// Standard Webhooks, symmetric signatures (<https://www.standardwebhooks.com>, specification version 1).
fn standard_webhooks(secret: String) -> Sign {
    Sign {
        secret,
        secret_encoding: SecretEncoding::Whsec,
        algorithm: Algorithm::Sha256,
        over: "{id}.{timestamp}.{body}".to_owned(),
        encoding: Encoding::Base64,
        header: "webhook-signature".to_owned(),
        prefix: "v1,".to_owned(),
        timestamp_header: Some("webhook-timestamp".to_owned()),
        timestamp_unit: TimestampUnit::Seconds,
        id_header: Some("webhook-id".to_owned()),
    }
}

/// `sign`. `has_key` says whether the request's id is sent as its idempotency key.
pub(super) fn sign(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    has_key: bool,
    claims: &mut Claims,
) -> Option<(Sign, CompiledSign)> {
    let entry = fields.entry("sign")?;
    let sign = reader.table(&entry.node, &fields.path_of("sign"), &KEYS)?;
    let secret = reader.required(&sign, "secret");
    if let Some(found) = &secret {
        secret_name(reader, found);
    }
    let secret = secret.map(|found| found.value().to_owned());
    let sign = match word(reader, &sign, "scheme", SCHEMES, |word| word, false) {
        Some(scheme) => ready_made(reader, &sign, scheme, secret?, claims),
        None => own(reader, &sign, secret, has_key, claims)?,
    };
    let over = SignedTemplate::parse(&sign.over, &SignedTemplate::parts()).ok()?;
    let prefix = SignedTemplate::parse(&sign.prefix, &IN_PREFIX).ok()?;
    Some((sign, CompiledSign { over, prefix }))
}

/// What a prefix can have in it.
const IN_PREFIX: [&str; 2] = ["timestamp", "id"];

fn ready_made(reader: &mut Reader<'_>, fields: &Fields<'_>, scheme: &str, secret: String, claims: &mut Claims) -> Sign {
    for other in fields.entries().iter().filter(|entry| !["scheme", "secret"].contains(&entry.key.as_str())) {
        let message = format!("scheme {scheme:?} says all but the secret; leave {} out, or the scheme", other.key);
        reader.error(Code::KeyNotAllowed, &fields.path_of(&other.key), other.key_at, message);
    }
    let sign = standard_webhooks(secret);
    for name in [Some(&sign.header), sign.timestamp_header.as_ref(), sign.id_header.as_ref()].into_iter().flatten() {
        claims.claim(reader, name, &fields.path_of("scheme"), fields.at);
    }
    sign
}

fn own(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    secret: Option<String>,
    has_key: bool,
    claims: &mut Claims,
) -> Option<Sign> {
    let secret_encoding = word(reader, fields, "secret_encoding", SecretEncoding::ALL, SecretEncoding::as_str, false);
    let algorithm = word(reader, fields, "algorithm", Algorithm::ALL, Algorithm::as_str, false);
    let encoding = word(reader, fields, "encoding", Encoding::ALL, Encoding::as_str, false);
    let timestamp_unit = word(reader, fields, "timestamp_unit", TimestampUnit::ALL, TimestampUnit::as_str, false);
    let mut header = |reader: &mut Reader<'_>, found: Option<Found<'_>>| {
        let found = found?;
        header_name(reader, found.value(), &found.path, found.at);
        claims.claim(reader, found.value(), &found.path, found.at);
        Some(found.value().to_owned())
    };
    let found = reader.required(fields, "header");
    let signature = header(reader, found);
    let found = reader.optional(fields, "timestamp_header");
    let timestamp_header = header(reader, found);
    let found = reader.optional(fields, "id_header");
    let id_header = header(reader, found);

    let over_found = reader.optional(fields, "over");
    let over = match &over_found {
        Some(found) => template(reader, found, &SignedTemplate::parts())?,
        None => SignedTemplate::parse("{body}", &SignedTemplate::parts()).ok()?,
    };
    let prefix_found = reader.optional(fields, "prefix");
    if let Some(found) = &prefix_found
        && (found.value().len() > 128 || !header::is_value(&format!("x{}x", found.value())))
    {
        let message = format!("{} must be up to 128 visible ASCII characters and spaces", found.path);
        reader.error(Code::InvalidHeader, &found.path, found.at, message);
    }
    let prefix = match &prefix_found {
        Some(found) => template(reader, found, &IN_PREFIX)?,
        None => SignedTemplate::parse("", &IN_PREFIX).ok()?,
    };
    if let Some(found) = &over_found {
        let is_sent = [
            (
                "timestamp",
                over.has_timestamp(),
                timestamp_header.is_some() || prefix.has_timestamp(),
                "timestamp_header",
            ),
            ("id", over.has_id(), id_header.is_some() || prefix.has_id() || has_key, "id_header"),
        ];
        for (part, _, _, key) in is_sent.into_iter().filter(|(_, is_signed, is_sent, _)| *is_signed && !is_sent) {
            let message = format!("{} signs {{{part}}}, which is not sent, so nobody could check it", found.path);
            reader.error(Code::SignedNotSent, &found.path, found.at, message).suggestion =
                Some(format!("name the header that carries it: {key} = \"...\""));
        }
    }
    Some(Sign {
        secret: secret?,
        secret_encoding: secret_encoding.unwrap_or(SecretEncoding::Utf8),
        algorithm: algorithm.unwrap_or(Algorithm::Sha256),
        over: over_found.map_or("{body}", |found| found.value()).to_owned(),
        encoding: encoding.unwrap_or(Encoding::Hex),
        header: signature?,
        prefix: prefix_found.map_or("", |found| found.value()).to_owned(),
        timestamp_header,
        timestamp_unit: timestamp_unit.unwrap_or(TimestampUnit::Seconds),
        id_header,
    })
}

fn template(reader: &mut Reader<'_>, found: &Found<'_>, allowed: &[&str]) -> Option<SignedTemplate> {
    match SignedTemplate::parse(found.value(), allowed) {
        Ok(template) => Some(template),
        Err(error) => {
            let message = format!("{}: {}", found.path, error.message);
            reader.error(Code::InvalidTemplate, &found.path, found.at_offset(error.offset), message);
            None
        }
    }
}
