//! The search for what differs: one thing of the request or of the source is changed, and the whole is verified again. Nothing here knows how
//! a signature is made.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::layout::{self, ESCAPES, SPACINGS};
use super::{Finding, Part, text};
use crate::code::Asked;
use crate::mac::{Algorithm, Encoding};
use crate::options::{HmacOptions, SecretEncoding};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::source::{CheckRow, Options, Source};
use crate::table::{HmacRow, Scheme, TimestampPlace};
use crate::template::Piece;
use crate::timestamp::TimestampUnit;
use crate::verify::verify_with;

/// What is verified, and with what.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) source: &'a Source,
    pub(super) request: &'a Request<'a>,
    pub(super) row: Option<(HmacRow<'a>, &'a [Piece])>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) now_unix_seconds: i64,
}

/// Whether the signature holds. Its age is another matter, and looked at last.
pub(super) const fn holds(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::TimestampTooOld { .. } | Refusal::TimestampTooFarAhead { .. })
}

impl Case<'_> {
    /// Each single change under which the signature holds.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = self.body();
        findings.extend(self.url());
        findings.extend(self.method());
        findings.extend(self.form());
        findings.extend(self.schemes());
        findings
    }

    fn holds(&self, source: &Source, request: &Request<'_>) -> bool {
        match verify_with(source, request, self.key, self.now_unix_seconds) {
            Ok(_) => true,
            Err(refusal) => holds(&refusal),
        }
    }

    fn body(&self) -> Vec<Finding> {
        let body = self.request.body;
        let holds = |body: &[u8]| self.holds(self.source, &Request { body, ..self.request.clone() });
        let mut findings = Vec::new();
        for (code, change, words) in BODIES {
            if change(body).is_some_and(|changed| changed != body && holds(&changed)) {
                findings.push(Finding { part: Part::Body, code, text: (*words).to_owned() });
            }
        }
        if findings.is_empty() {
            let layouts = SPACINGS.into_iter().flat_map(|spacing| ESCAPES.map(|escapes| (spacing, escapes)));
            let found = layouts.into_iter().find(|(spacing, escapes)| {
                layout::written(body, *spacing, *escapes).is_some_and(|changed| changed != body && holds(&changed))
            });
            findings.extend(found.map(|(spacing, escapes)| {
                let text = format!(
                    "the same JSON, written {}{}: it was parsed and written again on its way; verify the bytes as they are received \
                     (Express: express.raw), before any body parser",
                    spacing.words(),
                    escapes.words()
                );
                Finding { part: Part::Body, code: "BODY_JSON_REWRITTEN", text }
            }));
        }
        findings
    }

    fn url(&self) -> Vec<Finding> {
        let signs_url = match self.source.check() {
            CheckRow::Code(_) => true,
            _ => self.row.is_some_and(|(_, signed)| signed.contains(&Piece::Url)),
        };
        let asked = Asked { source: self.source, request: self.request, key: None, now_unix_seconds: 0 };
        let Ok(url) = asked.url() else { return Vec::new() };
        let options = Options { url: None, ..self.source.options().clone() };
        let secrets = || self.source.secrets().map(str::to_owned).collect();
        let Some(source) = signs_url.then(|| Source::new(self.source.scheme(), secrets(), options).ok()).flatten()
        else {
            return Vec::new();
        };
        let mut findings = Vec::new();
        for (changed, words) in urls(&url) {
            let request = Request { url: Some(&changed), query: "", ..self.request.clone() };
            if changed != *url && self.holds(&source, &request) {
                let text = format!("the URL {words}; give the source the URL that the provider was given");
                findings.push(Finding { part: Part::Url, code: "URL_DIFFERS", text });
            }
        }
        findings
    }

    fn method(&self) -> Option<Finding> {
        let method = ["POST", "GET", "PUT", "PATCH", "DELETE"]
            .into_iter()
            .filter(|method| *method != self.request.method)
            .find(|method| self.holds(self.source, &Request { method, ..self.request.clone() }))?;
        let text = format!("the method {method}; the request was given as {}", self.request.method.escape_default());
        Some(Finding { part: Part::Method, code: "METHOD_DIFFERS", text })
    }

    /// The same headers read in another form, or under the same secret read otherwise: as a source of the configurable scheme.
    fn form(&self) -> Vec<Finding> {
        let Some((row, signed)) = self.row else { return Vec::new() };
        let configured = configured(row, signed);
        let value = self.request.headers.all(row.header).next().unwrap_or_default();
        let secrets: Vec<&str> = self.source.secrets().collect();
        let holds = |reading: &SecretReading, options: HmacOptions| {
            let texts = secrets.iter().map(|secret| (reading.text)(secret).into_owned()).collect();
            let options = HmacOptions { secret_encoding: reading.encoding, ..options };
            let url = self.source.options().url.clone();
            let options = Options { hmac: Some(options), url, ..Options::default() };
            let hmac = Scheme::parse("hmac").ok();
            hmac.and_then(|hmac| Source::new(hmac, texts, options).ok())
                .is_some_and(|source| self.holds(&source, self.request))
        };
        let as_configured =
            SecretReading { encoding: row.secret_encoding, text: |text| Cow::Borrowed(text), words: "" };
        let finding = |part, code, text: String| Finding { part, code, text };

        let mut findings = Vec::new();
        let other = READINGS.iter().find(|reading| holds(reading, configured.clone()));
        findings.extend(other.map(|reading| finding(Part::Secret, "SECRET_READ_OTHERWISE", reading.words.to_owned())));
        if let Some(unit) = configured.timestamp_unit {
            let found =
                TimestampUnit::ALL.iter().copied().filter(|other| *other != unit).find(|unit| {
                    holds(&as_configured, HmacOptions { timestamp_unit: Some(*unit), ..configured.clone() })
                });
            findings.extend(found.map(|unit| {
                let text = format!("a timestamp of {}, where this scheme expects {}", unit.expected(), expected(row));
                finding(Part::Form, "TIMESTAMP_UNIT_DIFFERS", text)
            }));
        }
        if self.source.hmac().is_some() {
            let found = TEMPLATES.into_iter().find(|template| {
                let mut options = HmacOptions { signed: (*template).to_owned(), ..configured.clone() };
                if !template.contains("{timestamp}") {
                    (options.timestamp_header, options.timestamp_prefix) = (None, None);
                    (options.timestamp_unit, options.tolerance_s) = (None, None);
                }
                *template != row.signed && holds(&as_configured, options)
            });
            findings.extend(found.map(|template| {
                finding(
                    Part::Form,
                    "TEMPLATE_DIFFERS",
                    format!("what is signed being {template} instead of {}", row.signed),
                )
            }));
        }
        if !findings.is_empty() {
            return findings;
        }
        // Whose header has another form has often more than one difference from what was expected.
        let stamp = configured.timestamp_prefix.as_deref();
        let mut prefixes = vec![row.prefix, ""];
        for element in value.split(|byte| row.separator == Some(char::from(*byte))) {
            prefixes.extend(text::label(element).filter(|label| Some(*label) != stamp));
        }
        for prefix in prefixes {
            for encoding in Encoding::ALL.iter().copied() {
                for algorithm in Algorithm::ALL.iter().copied() {
                    let prefix = prefix.to_owned();
                    let options = HmacOptions { prefix: prefix.clone(), encoding, algorithm, ..configured.clone() };
                    let readings = || std::iter::once(&as_configured).chain(&READINGS);
                    if let Some(reading) = readings().find(|reading| holds(reading, options.clone())) {
                        let prefix =
                            if prefix.is_empty() { "without a prefix".into() } else { format!("after {prefix}") };
                        let secret = if reading.words.is_empty() { "" } else { ", and " };
                        let text = format!(
                            "the header read as HMAC with {algorithm} in {encoding} {prefix}{secret}{}; expected: {}",
                            reading.words,
                            text::expected_form(row)
                        );
                        return vec![finding(Part::Form, "FORM_DIFFERS", text)];
                    }
                }
            }
        }
        findings
    }

    /// The other schemes that it is a good signature of, under the same secrets.
    fn schemes(&self) -> Option<Finding> {
        let good = |scheme: &Scheme| {
            let options = Options { url: self.source.options().url.clone(), ..Options::default() };
            let secrets = self.source.secrets().map(str::to_owned).collect();
            let source = Source::new(*scheme, secrets, options).ok();
            source.is_some_and(|source| self.holds(&source, self.request))
        };
        let names: Vec<&str> =
            Scheme::all().filter(|scheme| *scheme != self.source.scheme()).filter(good).map(Scheme::name).collect();
        let list = if names.is_empty() { return None } else { names.join(", ") };
        let text = format!("the scheme {list}; the source has {}", self.source.scheme());
        Some(Finding { part: Part::Scheme, code: "SCHEME_DIFFERS", text })
    }
}

fn expected(row: HmacRow<'_>) -> &'static str {
    row.timestamp.map_or("none", |stamp| stamp.unit.expected())
}

/// A row in the words of the configurable scheme.
fn configured(row: HmacRow<'_>, signed: &[Piece]) -> HmacOptions {
    let mut options = HmacOptions {
        prefix: row.prefix.to_owned(),
        list_separator: row.separator,
        encoding: row.encoding,
        algorithm: row.algorithm,
        secret_encoding: row.secret_encoding,
        signed: row.signed.to_owned(),
        delivery_header: row.id_header.map(str::to_owned),
        ..HmacOptions::new(row.header)
    };
    if let Some(stamp) = row.timestamp.filter(|_| signed.contains(&Piece::Timestamp)) {
        if let TimestampPlace::Header(header) = stamp.place {
            options.timestamp_header = Some(header.to_owned());
        }
        if let TimestampPlace::Element(prefix) = stamp.place {
            options.timestamp_prefix = Some(prefix.to_owned());
        }
        options.timestamp_unit = Some(stamp.unit);
    }
    options
}

/// What senders sign, for a source whose template was written by hand.
const TEMPLATES: [&str; 10] = [
    "{body}",
    "{timestamp}.{body}",
    "{timestamp}:{body}",
    "{timestamp}{body}",
    "v0:{timestamp}:{body}",
    "{id}.{timestamp}.{body}",
    "{id}{timestamp}{body}",
    "{body}{timestamp}",
    "{url}{body}",
    "{method}{url}{body}",
];

/// A secret's text, read in another way than the source does.
struct SecretReading {
    encoding: SecretEncoding,
    text: fn(&str) -> Cow<'_, str>,
    words: &'static str,
}

const READINGS: [SecretReading; 7] = [
    SecretReading {
        encoding: SecretEncoding::Utf8,
        text: |text| Cow::Borrowed(text),
        words: "the secret taken as text, not decoded",
    },
    SecretReading {
        encoding: SecretEncoding::Base64,
        text: |text| Cow::Borrowed(text),
        words: "the secret decoded from base64",
    },
    SecretReading {
        encoding: SecretEncoding::Hex,
        text: |text| Cow::Borrowed(text),
        words: "the secret decoded from hexadecimal",
    },
    SecretReading {
        encoding: SecretEncoding::Whsec,
        text: |text| Cow::Borrowed(text),
        words: "the secret decoded from base64 after its whsec_",
    },
    SecretReading {
        encoding: SecretEncoding::Utf8,
        text: |text| Cow::Borrowed(text.strip_prefix("whsec_").unwrap_or(text)),
        words: "the secret without its whsec_, as text",
    },
    SecretReading {
        encoding: SecretEncoding::Utf8,
        text: |text| Cow::Owned(format!("whsec_{text}")),
        words: "the secret with whsec_ before it, which is part of the key here and was not copied",
    },
    SecretReading {
        encoding: SecretEncoding::Utf8,
        text: |text| Cow::Borrowed(text.trim_matches(['"', '\''])),
        words: "the secret without the quotes around it",
    },
];

/// The body as it may have been signed: nothing where the change does not apply.
type Change = fn(&[u8]) -> Option<Vec<u8>>;

const BODIES: &[(&str, Change, &str)] = &[
    (
        "BODY_FINAL_NEWLINE_ADDED",
        |body| Some(body.strip_suffix(b"\r\n").or_else(|| body.strip_suffix(b"\n"))?.to_vec()),
        "the body without its final newline, which was added after it was signed (an editor, echo)",
    ),
    (
        "BODY_FINAL_NEWLINE_MISSING",
        |body| Some([body, b"\n"].concat()),
        "the body with a newline at its end, which was taken away after it was signed ($(cat …) does that)",
    ),
    (
        "BODY_FINAL_NEWLINE_MISSING",
        |body| Some([body, b"\r\n"].concat()),
        "the body with a carriage return and newline at its end, which were taken away after it was signed",
    ),
    (
        "BODY_WHITESPACE_ADDED",
        |body| {
            let trimmed = body.trim_ascii();
            let newline = body.strip_suffix(b"\r\n").or_else(|| body.strip_suffix(b"\n"));
            (newline != Some(trimmed)).then(|| trimmed.to_vec())
        },
        "the body without the white space around it, which was added after it was signed",
    ),
    (
        "BODY_LINE_ENDS_CRLF",
        |body| Some(replaced(body, b"\r\n", b"\n")),
        "the body with LF at the ends of its lines instead of CR LF: a tool in text mode rewrote them",
    ),
    (
        "BODY_LINE_ENDS_LF",
        |body| Some(replaced(&replaced(body, b"\r\n", b"\n"), b"\n", b"\r\n")),
        "the body with CR LF at the ends of its lines instead of LF: a tool in text mode rewrote them",
    ),
    (
        "BODY_BOM_ADDED",
        |body| Some(body.strip_prefix(b"\xef\xbb\xbf")?.to_vec()),
        "the body without the byte order mark before it, which an editor added",
    ),
    (
        "BODY_BOM_MISSING",
        |body| Some([b"\xef\xbb\xbf", body].concat()),
        "the body with a byte order mark before it, which was taken away after it was signed",
    ),
    (
        "BODY_IS_BASE64",
        |body| STANDARD.decode(body.trim_ascii()).ok(),
        "the body decoded from base64, in which API Gateway hands binary bodies on (isBase64Encoded)",
    ),
    (
        "BODY_IS_JSON_TEXT",
        |body| serde_json::from_slice::<String>(body).ok().map(String::into_bytes),
        "the text that the body is as a JSON string: it was put into JSON once more",
    ),
    (
        "BODY_ENCODED_TWICE",
        |body| {
            let text = std::str::from_utf8(body).ok()?;
            text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
        },
        "the body as it was before it was taken for Latin-1 and encoded as UTF-8 once more",
    ),
    (
        "BODY_REPLACED",
        |_| Some(Vec::new()),
        "an empty body: what was signed had none, or it had been read before it was verified",
    ),
];

fn replaced(body: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((first, after)) = rest.split_first() {
        match rest.strip_prefix(from) {
            Some(after) => {
                out.extend_from_slice(to);
                rest = after;
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// The URL in other spellings, each with the words for it.
fn urls(url: &str) -> Vec<(String, &'static str)> {
    let Some((scheme, rest)) = url.split_once("://") else { return Vec::new() };
    let (address, query) = match rest.split_once('?') {
        Some((address, query)) => (address, format!("?{query}")),
        None => (rest, String::new()),
    };
    let (host, path) = address.split_at(address.find('/').unwrap_or(address.len()));
    let other = if scheme == "https" { "http" } else { "https" };
    let default = if scheme == "https" { ":443" } else { ":80" };
    let mut urls = vec![
        (
            format!("{other}://{rest}"),
            if other == "http" { "with http instead of https" } else { "with https instead of http" },
        ),
        (format!("{scheme}://{host}{path}"), "without its query"),
        (format!("{scheme}://{host}{path}/{query}"), "with a slash at the end of its path"),
        (format!("{scheme}://{host}{default}{path}{query}"), "with its default port written out"),
        (format!("{scheme}://{}{path}{query}", host.to_ascii_lowercase()), "with its host in lower case"),
    ];
    if let Some(path) = path.strip_suffix('/') {
        urls.push((format!("{scheme}://{host}{path}{query}"), "without the slash at the end of its path"));
    }
    if let Some((host, _)) = host.rsplit_once(':') {
        urls.push((format!("{scheme}://{host}{path}{query}"), "without its port"));
    }
    // API Gateway puts its stage before the path.
    if let Some(at) = path.get(1..).and_then(|path| path.find('/')) {
        urls.push((
            format!("{scheme}://{host}{}{query}", &path[at + 1..]),
            "without the first segment of its path, a stage perhaps",
        ));
    }
    urls
}
