//! Why a request is refused, as a person needs it: which header is missing, what was signed, what differs, how old it is.
//!
//! Pure, and for the operator alone. What is never in it: a secret, the expected signature, and of a received signature or token more than
//! its length and form.

mod layout;
mod search;
mod text;

use std::fmt;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::code::Asked;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::source::{CheckRow, Source};
use crate::table::{HmacRow, Scheme, TimestampPlace};
use crate::template::Piece;
use crate::timestamp::TimestampUnit;
use crate::verify::{verify_with, wanted};
use search::{Case, holds};

/// What is known about a request and its verdict. `Display` says it in words, [`Explanation::to_json`] for a script.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The source's scheme.
    pub scheme: Scheme,
    /// Which of the source's secrets matched, from 0, or why the request is refused.
    pub verdict: Result<usize, Refusal>,
    /// The headers that the scheme reads.
    pub headers: Vec<Seen>,
    /// Names of other headers in the request that a signature or a token could be in, where the scheme's own is missing.
    pub look_alikes: Vec<String>,
    /// What the signature covers.
    pub signed: Signed,
    /// The body.
    pub body: BodySeen,
    /// How old the signature is, where the scheme signs a time and the request has one.
    pub age: Option<Age>,
    /// Where the provider's key is to be had, when the scheme needs one and it was not given.
    pub key_url: Option<String>,
    /// Each single change under which the signature holds.
    pub findings: Vec<Finding>,
}

/// A header that the scheme reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its name, as the scheme writes it.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// The form of its value, where the scheme has one.
    pub expected: Option<String>,
    /// What was received: none, one, or more than one value. Times and ids as they are; of signatures and tokens, the form.
    pub values: Vec<String>,
}

/// What a header is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It carries the signature.
    Signature,
    /// It carries a shared token.
    Token,
    /// It carries the time that is signed.
    Timestamp,
    /// It carries the delivery's id, which is signed.
    DeliveryId,
    /// It says how to read the others.
    Parameter,
}

/// What the signature covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// In the form of a template, or in words.
    pub template: String,
    /// What stands in its places, but for the body.
    pub values: Vec<(&'static str, String)>,
}

/// A body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodySeen {
    /// Its length in bytes.
    pub bytes: usize,
    /// Its SHA-256 in hexadecimal: two bodies are compared by it.
    pub sha256: String,
    /// Its first 40 bytes, escaped, or all of it where it is short. None where a scheme has its proof in the body.
    pub first: Option<String>,
    /// Its last 40 bytes, escaped.
    pub last: Option<String>,
}

/// How old a signature is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Age {
    /// Seconds since the time that was signed; negative when it is ahead.
    pub seconds: i64,
    /// How far it may be from now in either direction, in seconds; none where the scheme has no window.
    pub tolerance_s: Option<u32>,
}

/// One change under which the signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is changed.
    pub part: Part,
    /// A stable code.
    pub code: &'static str,
    /// What the signature holds for, in words that follow "holds for".
    pub text: String,
}

/// What of a request or a source is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The body.
    Body,
    /// The URL.
    Url,
    /// The method.
    Method,
    /// How the secret is read.
    Secret,
    /// How the headers are read.
    Form,
    /// The source's scheme.
    Scheme,
}

/// Explains the verdict on a request at the time `now_unix_seconds`. `key` is the document that [`wanted`] asks for, as for [`verify_with`].
///
/// A request that is refused for its signature is verified again with one thing changed at a time, some dozens of times.
pub fn explain(source: &Source, request: &Request<'_>, key: Option<&[u8]>, now_unix_seconds: i64) -> Explanation {
    let verdict = verify_with(source, request, key, now_unix_seconds).map(|verified| verified.secret_index());
    let row = row(source, request);
    let secrets: Vec<&str> = source.secrets().collect();
    let headers = headers(source, request, row, &secrets);
    let has_proof = headers.iter().any(|seen| !seen.values.is_empty() && seen.role != Role::Parameter);
    let case = Case { source, request, row, key, now_unix_seconds };
    let findings = match &verdict {
        Err(refusal) if !holds(refusal) => case.findings(),
        _ => Vec::new(),
    };
    let key_url = match wanted(source, request) {
        Ok(Some(wanted)) if key.is_none() => Some(wanted.url().to_owned()),
        _ => None,
    };
    Explanation {
        scheme: source.scheme(),
        headers,
        look_alikes: if has_proof { Vec::new() } else { look_alikes(source, request, row) },
        signed: signed(source, request, row, &secrets),
        body: body(source, request.body, &secrets),
        age: age(source, request, row, &verdict, now_unix_seconds),
        key_url,
        findings,
        verdict,
    }
}

/// The row that the request is checked by, with the pieces that it signs, where the scheme has rows.
fn row<'a>(source: &'a Source, request: &Request<'_>) -> Option<(HmacRow<'a>, &'a [Piece])> {
    match source.check() {
        CheckRow::Hmac => Some(source.row_for(&request.headers)),
        CheckRow::Token(_) | CheckRow::Code(_) => None,
    }
}

/// The headers that schemes without a row read.
fn read_by_code(scheme: &str) -> &'static [(&'static str, Role)] {
    match scheme {
        "twilio" => &[
            ("X-Twilio-Signature", Role::Signature),
            ("X-Twilio-Webhooks-Signature-Settings", Role::Parameter),
            ("Content-Type", Role::Parameter),
        ],
        "hubspot" => &[
            ("X-HubSpot-Signature-v3", Role::Signature),
            (HUBSPOT_TIME, Role::Timestamp),
            ("X-HubSpot-Signature", Role::Signature),
            ("X-HubSpot-Signature-Version", Role::Parameter),
        ],
        "paypal" => &[
            ("PAYPAL-TRANSMISSION-SIG", Role::Signature),
            ("PAYPAL-TRANSMISSION-TIME", Role::Timestamp),
            ("PAYPAL-TRANSMISSION-ID", Role::DeliveryId),
            ("PAYPAL-CERT-URL", Role::Parameter),
            ("PAYPAL-AUTH-ALGO", Role::Parameter),
        ],
        "google-pubsub" => &[("Authorization", Role::Token)],
        _ => &[],
    }
}

const HUBSPOT_TIME: &str = "X-HubSpot-Request-Timestamp";

/// What schemes without a row sign, in words.
fn signed_by_code(scheme: &str) -> &'static str {
    match scheme {
        "twilio" => {
            "the URL, then the form's fields in the order of their names; or the URL alone, with the body's hash in its query"
        }
        "hubspot" => {
            "{method}{url}{body}{timestamp}; version 1: the secret and {body}; version 2: the secret and {method}{url}{body}"
        }
        "mailgun" => "time and token, which stand in the body; not the event",
        "microsoft-graph" => "nothing: each notification carries the source's clientState",
        "salesforce" => "nothing: the message names its organization",
        "aws-sns" => "the message's members, each with its name on a line of its own",
        "paypal" => "{id}|{timestamp}|the webhook's id|the body's CRC-32",
        "google-pubsub" => "the token's own claims; not the body",
        _ => "nothing: whoever has the token can write the body",
    }
}

fn headers(
    source: &Source,
    request: &Request<'_>,
    row: Option<(HmacRow<'_>, &[Piece])>,
    secrets: &[&str],
) -> Vec<Seen> {
    let seen = |name: &str, role: Role, expected: Option<String>, separator: Option<char>| {
        let shown = |value: &[u8]| match role {
            Role::Signature => text::signature(value, separator),
            Role::Token => text::length(value),
            Role::Timestamp | Role::DeliveryId | Role::Parameter => text::quoted(value, secrets),
        };
        Seen { name: name.to_owned(), role, expected, values: request.headers.all(name).map(shown).collect() }
    };
    match (source.check(), row) {
        (CheckRow::Token(places), _) => places
            .iter()
            .map(|place| {
                let expected = (!place.prefix.is_empty()).then(|| format!("{}and the token", place.prefix));
                seen(place.header, Role::Token, expected, None)
            })
            .collect(),
        (_, Some((row, signed))) => {
            let expected = Some(text::expected_form(row));
            let mut headers = vec![seen(row.header, Role::Signature, expected, row.separator)];
            if let Some(stamp) = row.timestamp
                && let TimestampPlace::Header(name) = stamp.place
            {
                headers.push(seen(name, Role::Timestamp, Some(stamp.unit.expected().to_owned()), None));
            }
            if let Some(name) = row.id_header.filter(|_| signed.contains(&Piece::Id)) {
                headers.push(seen(name, Role::DeliveryId, None, None));
            }
            headers
        }
        (_, None) => {
            read_by_code(source.scheme().name()).iter().map(|(name, role)| seen(name, *role, None, None)).collect()
        }
    }
}

/// Headers of the request that are there for a proof and that the scheme does not read.
fn look_alikes(source: &Source, request: &Request<'_>, row: Option<(HmacRow<'_>, &[Piece])>) -> Vec<String> {
    const WORDS: [&str; 6] = ["signature", "hmac", "token", "authorization", "-mac", "-sig"];
    let own = |name: &str| {
        row.is_some_and(|(row, _)| row.header.eq_ignore_ascii_case(name))
            || read_by_code(source.scheme().name()).iter().any(|(own, _)| own.eq_ignore_ascii_case(name))
    };
    let is_alike = |name: &&str| WORDS.iter().any(|word| name.to_ascii_lowercase().contains(word)) && !own(name);
    request.headers.names().filter(is_alike).map(str::to_owned).collect()
}

fn signed(source: &Source, request: &Request<'_>, row: Option<(HmacRow<'_>, &[Piece])>, secrets: &[&str]) -> Signed {
    let scheme = source.scheme().name();
    let asked = Asked { source, request, key: None, now_unix_seconds: 0 };
    let url = || asked.url().map_or_else(|_| "not known".to_owned(), |url| text::quoted(url.as_bytes(), secrets));
    let header = |name: Option<&str>| {
        let value = name.and_then(|name| request.headers.all(name).next());
        value.map_or_else(|| "missing".to_owned(), |value| text::quoted(value, secrets))
    };
    let method = || text::quoted(request.method.as_bytes(), secrets);
    let Some((row, pieces)) = row else {
        let values = match scheme {
            "twilio" => vec![("url", url())],
            "hubspot" => vec![("method", method()), ("url", url()), ("timestamp", header(Some(HUBSPOT_TIME)))],
            _ => Vec::new(),
        };
        return Signed { template: signed_by_code(scheme).to_owned(), values };
    };
    let value = |piece: &Piece| {
        Some(match piece {
            Piece::Literal(_) | Piece::Body => return None,
            Piece::Timestamp => {
                let text = timestamp(row, request).map(|text| text::quoted(text, secrets));
                ("timestamp", text.unwrap_or_else(|| "missing".to_owned()))
            }
            Piece::Id => ("id", header(row.id_header)),
            Piece::Method => ("method", method()),
            Piece::Url => ("url", url()),
        })
    };
    Signed { template: row.signed.to_owned(), values: pieces.iter().filter_map(value).collect() }
}

/// The timestamp's text, where it stands in a header.
fn timestamp<'a>(row: HmacRow<'_>, request: &Request<'a>) -> Option<&'a [u8]> {
    let stamp = row.timestamp?;
    if let TimestampPlace::Header(name) = stamp.place {
        return request.headers.all(name).next();
    }
    if let TimestampPlace::Element(prefix) = stamp.place {
        let value = request.headers.all(row.header).next()?;
        let mut elements = value.split(|byte| Some(char::from(*byte)) == row.separator);
        return elements.find_map(|element| element.strip_prefix(prefix.as_bytes()));
    }
    None
}

fn age(
    source: &Source,
    request: &Request<'_>,
    row: Option<(HmacRow<'_>, &[Piece])>,
    verdict: &Result<usize, Refusal>,
    now_unix_seconds: i64,
) -> Option<Age> {
    let told = match verdict {
        Err(Refusal::TimestampTooOld { age_s, tolerance_s }) => Some((i64::try_from(*age_s).ok(), *tolerance_s)),
        Err(Refusal::TimestampTooFarAhead { ahead_s, tolerance_s }) => {
            Some((i64::try_from(*ahead_s).ok().map(i64::saturating_neg), *tolerance_s))
        }
        _ => None,
    };
    if let Some((Some(seconds), tolerance_s)) = told {
        return Some(Age { seconds, tolerance_s: Some(tolerance_s) });
    }
    let (unit, text, tolerance_s) = match row {
        Some((row, _)) => {
            let stamp = row.timestamp?;
            (stamp.unit, timestamp(row, request)?, stamp.tolerance_s)
        }
        None if source.scheme().name() == "hubspot" => {
            (TimestampUnit::Milliseconds, request.headers.all(HUBSPOT_TIME).next()?, source.options().tolerance_s)
        }
        None => return None,
    };
    let at = unit.parse(text)?;
    let at = if unit == TimestampUnit::Seconds { at } else { at.div_euclid(1000) };
    Some(Age { seconds: now_unix_seconds.saturating_sub(at), tolerance_s })
}

fn body(source: &Source, body: &[u8], secrets: &[&str]) -> BodySeen {
    const EACH: usize = 40;
    let sha256 = hex::encode(Sha256::digest(body));
    // Where the proof is in the body it is a credential, whoever's it is.
    let has_proof = matches!(source.check(), CheckRow::Code(_)) && !source.scheme().signs_body();
    if has_proof {
        return BodySeen { bytes: body.len(), sha256, first: None, last: None };
    }
    let shown = text::masked(body, secrets);
    let (first, last) = match shown.split_at_checked(EACH) {
        Some((first, rest)) if rest.len() > EACH => (first, Some(&rest[rest.len() - EACH..])),
        _ => (shown.as_slice(), None),
    };
    let escaped = |bytes: &[u8]| bytes.escape_ascii().to_string();
    BodySeen { bytes: body.len(), sha256, first: Some(escaped(first)), last: last.map(escaped) }
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Token => "token",
            Self::Timestamp => "timestamp",
            Self::DeliveryId => "delivery id",
            Self::Parameter => "parameter",
        }
    }
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Url => "url",
            Self::Method => "method",
            Self::Secret => "secret",
            Self::Form => "form",
            Self::Scheme => "scheme",
        }
    }
}

impl Explanation {
    /// Whether the request is a delivery of the source.
    pub const fn is_valid(&self) -> bool {
        self.verdict.is_ok()
    }

    /// Whether the signature holds, whatever its age.
    pub fn signature_holds(&self) -> bool {
        self.verdict.as_ref().map_or_else(holds, |_| true)
    }

    /// As JSON: `valid`, `code` and `reason` where it is not, `secret` from 1 where it is, and the facts under the names of the fields.
    pub fn to_json(&self) -> Value {
        let headers: Vec<Value> = self
            .headers
            .iter()
            .map(|seen| {
                json!({"name": seen.name, "role": seen.role.name(), "expected": seen.expected, "received": seen.values})
            })
            .collect();
        let values: serde_json::Map<String, Value> =
            self.signed.values.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|finding| json!({"part": finding.part.name(), "code": finding.code, "holds_for": finding.text}))
            .collect();
        let refusal = self.verdict.as_ref().err();
        json!({
            "valid": self.is_valid(),
            "code": refusal.map(Refusal::code),
            "reason": refusal.map(ToString::to_string),
            "secret": self.verdict.as_ref().ok().map(|index| index + 1),
            "signature_holds": self.signature_holds(),
            "scheme": self.scheme.name(),
            "headers": headers,
            "look_alikes": self.look_alikes,
            "signed": {"template": self.signed.template, "values": values},
            "body": {
                "bytes": self.body.bytes, "sha256": self.body.sha256, "first": self.body.first, "last": self.body.last,
            },
            "age": self.age.as_ref().map(|age| json!({"seconds": age.seconds, "tolerance_s": age.tolerance_s})),
            "key_url": self.key_url,
            "findings": findings,
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Ok(index) => writeln!(f, "valid, under secret {}", index + 1)?,
            Err(refusal) => writeln!(f, "not valid: {}\n{refusal}", refusal.code())?,
        }
        writeln!(f, "\nscheme    {} ({})", self.scheme, self.scheme.summary())?;
        for seen in &self.headers {
            let expected = seen.expected.as_ref().map(|form| format!("; expected {form}")).unwrap_or_default();
            match seen.values.as_slice() {
                [] => writeln!(f, "header    {}: missing ({}{expected})", seen.name, seen.role.name())?,
                [value] => writeln!(f, "header    {}: {value} ({}{expected})", seen.name, seen.role.name())?,
                values => {
                    let (count, values) = (values.len(), values.join(" | "));
                    writeln!(
                        f,
                        "header    {}: sent {count} times: {values} ({}{expected})",
                        seen.name,
                        seen.role.name()
                    )?;
                }
            }
        }
        if !self.look_alikes.is_empty() {
            writeln!(f, "          the request has {}, which this scheme does not read", self.look_alikes.join(", "))?;
        }
        writeln!(f, "signed    {}", self.signed.template)?;
        for (name, value) in &self.signed.values {
            writeln!(f, "          {name} {value}")?;
        }
        write!(f, "body      {} bytes, SHA-256 {}", self.body.bytes, self.body.sha256)?;
        match (&self.body.first, &self.body.last) {
            (Some(first), Some(last)) => writeln!(f, "\n          \"{first}\" … \"{last}\"")?,
            (Some(first), None) if !first.is_empty() => writeln!(f, "\n          \"{first}\"")?,
            _ => writeln!(f)?,
        }
        if let Some(age) = &self.age {
            let seconds = age.seconds.unsigned_abs();
            let direction = if age.seconds < 0 { "ahead" } else { "old" };
            match age.tolerance_s {
                Some(tolerance_s) => writeln!(f, "age       {seconds} s {direction}; {tolerance_s} s are allowed")?,
                None => {
                    writeln!(f, "age       {seconds} s {direction}; the scheme's own window applies, if it has one")?
                }
            }
        }
        if let Some(url) = &self.key_url {
            writeln!(f, "key       the provider's, not at hand: {url}")?;
        }
        if self.is_valid() {
            return Ok(());
        }
        if self.signature_holds() {
            return write!(f, "differs   the time alone: secret, body and form are right");
        }
        for finding in &self.findings {
            writeln!(f, "differs   the signature holds for {}", finding.text)?;
        }
        if self.findings.is_empty() {
            let nothing =
                "nothing that was tried makes it hold: another secret, or a body or header that was changed otherwise";
            write!(f, "differs   {nothing}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "explain/tests.rs"]
mod tests;
