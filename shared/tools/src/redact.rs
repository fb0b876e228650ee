//! What a call must not tell: its credentials, out of whatever an upstream answers. Pure.
//!
//! An upstream may repeat what it was sent, in any spelling: an echo endpoint as JSON, a redirect percent-encoded in a URL, an error page with
//! HTML's entities. So a credential is not looked for as one text but by its characters, each in every spelling that it may have.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::Value;
use std::fmt;

/// How much of an answer that cannot be used is kept as evidence, bytes.
const MAX_EVIDENCE: usize = 2048;

/// Credentials shorter than this would be found by accident everywhere.
const SHORTEST_SECRET: usize = 6;

/// The longest spelling of one character, bytes: `\u0041`, `&quot;`.
const LONGEST_SPELLING: usize = 6;

/// What stands where a secret stood.
pub(crate) const REDACTED: &str = "[redacted]";

/// Removes credentials from text. Debug output does not show them.
#[derive(Clone, Default)]
pub struct Redaction {
    /// The longest first, so that `user:password` goes as one.
    secrets: Vec<String>,
    /// One is too short to be looked for.
    is_blind: bool,
}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redaction(of {})", self.secrets.len())
    }
}

impl Redaction {
    /// Removes these, and what they are in Base64 (RFC 4648, both alphabets). Those of fewer than six bytes cannot be told from other text
    /// and are left.
    #[must_use]
    pub fn of<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Redaction {
        let mut redaction = Redaction::default();
        for secret in secrets {
            redaction.add(secret);
        }
        redaction
    }

    /// Removes this one too.
    pub(crate) fn add(&mut self, secret: &str) {
        if secret.len() < SHORTEST_SECRET {
            self.is_blind |= !secret.is_empty();
            return;
        }
        let encoded = [STANDARD.encode(secret), URL_SAFE.encode(secret)];
        let unpadded = encoded.each_ref().map(|encoded| encoded.trim_end_matches('=').to_owned());
        for form in [secret.to_owned()].into_iter().chain(encoded).chain(unpadded) {
            if !self.secrets.contains(&form) {
                self.secrets.push(form);
            }
        }
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    /// Whether there is a credential that cannot be told from other text, and so is left wherever it stands.
    pub(crate) fn is_blind(&self) -> bool {
        self.is_blind
    }

    /// `text` without them.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let (mut clean, mut kept) = (String::new(), 0);
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let whole = self.secrets.iter().find_map(|secret| match spelled(&bytes[at..], secret.as_bytes()) {
                Spelled::Whole(len) => Some(len),
                Spelled::Begun | Spelled::Not => None,
            });
            match whole {
                Some(len) => {
                    clean.push_str(&text[kept..at]);
                    clean.push_str(REDACTED);
                    at += len;
                    kept = at;
                }
                None => at += 1,
            }
        }
        clean.push_str(&text[kept..]);
        clean
    }

    /// A document without them, in names and values.
    #[must_use]
    pub fn value(&self, value: Value) -> Value {
        if self.secrets.is_empty() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            // A secret of digits may come back as a number.
            Value::Number(number) if self.secrets.contains(&number.to_string()) => Value::String(REDACTED.to_owned()),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => {
                fields.into_iter().map(|(name, value)| (self.text(&name), self.value(value))).collect()
            }
            plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain,
        }
    }

    /// The beginning of a body, as evidence.
    pub(crate) fn evidence(&self, body: &[u8]) -> Option<String> {
        if body.is_empty() {
            return None;
        }
        // Some room beyond the bound, so that a secret that the bound would cut in two is seen whole and removed whole.
        let room = self.secrets.first().map_or(0, String::len) * LONGEST_SPELLING;
        let mut text = self.text(&String::from_utf8_lossy(&body[..body.len().min(MAX_EVIDENCE + room)]));
        // One may stand at the end in part: the answer was cut there, by this or by the tool's bound.
        let begun = (0..text.len()).find(|at| {
            let rest = &text.as_bytes()[*at..];
            self.secrets.iter().any(|secret| spelled(rest, secret.as_bytes()) == Spelled::Begun)
        });
        text.truncate(begun.unwrap_or(text.len()));
        let printable: String = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
        Some(shortened(&printable, MAX_EVIDENCE).to_owned())
    }
}

/// The beginning of `text`, `max` bytes at most.
pub(crate) fn shortened(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// Whether a secret stands at the beginning of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelled {
    /// It does, and takes this many bytes.
    Whole(usize),
    /// The text ends before it is whole; what there is of it is enough to mean something.
    Begun,
    /// It does not.
    Not,
}

fn spelled(text: &[u8], secret: &[u8]) -> Spelled {
    // Most bytes of a text begin no secret.
    if !secret.first().is_some_and(|first| text.first() == Some(first) || text.first().is_some_and(is_lead)) {
        return Spelled::Not;
    }
    // Where the text may have got to: a character and the first of its spelling can be the same (`\` and `\\`), so there may be several.
    let mut ends = vec![0];
    for (known, byte) in secret.iter().enumerate() {
        let mut next = Vec::new();
        for end in ends {
            let rest = &text[end..];
            if known >= SHORTEST_SECRET && is_begun(rest, *byte) {
                return Spelled::Begun;
            }
            spellings(rest, *byte, |len| {
                if !next.contains(&(end + len)) {
                    next.push(end + len);
                }
            });
        }
        if next.is_empty() {
            return Spelled::Not;
        }
        ends = next;
    }
    ends.into_iter().max().map_or(Spelled::Not, Spelled::Whole)
}

/// Whether a spelling other than the character itself may begin with this byte.
fn is_lead(byte: &u8) -> bool {
    matches!(byte, b'%' | b'\\' | b'&' | b'+')
}

/// Calls `found` with the length of each spelling of `byte` with which `text` begins.
fn spellings(text: &[u8], byte: u8, mut found: impl FnMut(usize)) {
    match text.first() {
        Some(first) if *first == byte => found(1),
        // Forms write a space so (application/x-www-form-urlencoded).
        Some(b'+') if byte == b' ' => found(1),
        _ => {}
    }
    let is_hex = |digits: Option<&[u8]>| {
        let value = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        value.and_then(|digits| u16::from_str_radix(digits, 16).ok()) == Some(u16::from(byte))
    };
    match text.first() {
        Some(b'%') if is_hex(text.get(1..3)) => found(3),
        // Encoded a second time, as a parameter within a parameter.
        Some(b'%') if text.starts_with(b"%25") && is_hex(text.get(3..5)) => found(5),
        Some(b'\\') if text.get(1) == Some(&b'u') && is_hex(text.get(2..6)) => found(6),
        Some(b'\\') if matches!(byte, b'"' | b'\\' | b'/') && text.get(1) == Some(&byte) => found(2),
        Some(b'&') => {
            let names: &[&[u8]] = match byte {
                b'&' => &[b"&amp;", b"&#38;", b"&#x26;"],
                b'<' => &[b"&lt;", b"&#60;", b"&#x3c;"],
                b'>' => &[b"&gt;", b"&#62;", b"&#x3e;"],
                b'"' => &[b"&quot;", b"&#34;", b"&#x22;"],
                b'\'' => &[b"&apos;", b"&#39;", b"&#x27;"],
                _ => &[],
            };
            let is_name = |name: &&&[u8]| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
            if let Some(name) = names.iter().find(is_name) {
                found(name.len());
            }
        }
        _ => {}
    }
}

/// Whether `text` ends where a spelling of `byte` may go on.
fn is_begun(text: &[u8], byte: u8) -> bool {
    let mut is_whole = false;
    spellings(text, byte, |_| is_whole = true);
    !is_whole && text.len() < LONGEST_SPELLING && text.first().is_none_or(is_lead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_credential_is_removed_however_it_is_written() {
        let secret = "sk/live \\\"1&'<";
        let spellings = [
            "sk/live \\\"1&'<",
            "sk\\/live \\\\\\\"1&'<",
            "sk/live \\\\\\\"1&'<",
            "sk%2Flive%20%5C%221%26%27%3C",
            "sk%2flive%20%5c%221%26%27%3c",
            "sk/live+%5C%221&'<",
            "sk%252Flive%2520%255C%25221%2526%2527%253C",
            "\\u0073k\\u002flive\\u0020\\u005c\\u0022\\u0031\\u0026\\u0027\\u003C",
            "sk/live \\&quot;1&amp;&#39;&lt;",
            "sk/live \\&#34;1&#38;&#x27;&#x3C;",
            "c2svbGl2ZSBcIjEmJzw=",
            "c2svbGl2ZSBcIjEmJzw",
            "c2svbGl2ZSBcIjEmJzw%3D",
        ];
        let redaction = Redaction::of([secret]);
        for spelling in spellings {
            let clean = redaction.text(&format!("key={spelling}; é"));
            let rest = clean.strip_prefix("key=[redacted]").unwrap_or_else(|| panic!("{spelling}: {clean}"));
            assert_eq!(rest, "; é", "{spelling}: {clean}");
        }
        for other in ["sk/live \\\"1&'", "sk/livf \\\"1&'<", "", "%", "\\", "&", "é%", "%2"] {
            assert_eq!(redaction.text(other), other);
        }
        assert_eq!(redaction.text(&format!("{secret}{secret}")), "[redacted][redacted]");
    }

    #[test]
    fn each_of_several_is_removed_and_the_longest_first() {
        let redaction = Redaction::of(["hunter22", "alice:hunter22", "short"]);
        assert_eq!(redaction.text("alice:hunter22 hunter22 short"), "[redacted] [redacted] short");
        assert_eq!(format!("{redaction:?}"), "Redaction(of 6)");
        assert_eq!(Redaction::default().text("hunter22"), "hunter22");
        let blind = |secrets: &[&str]| Redaction::of(secrets.iter().copied()).is_blind();
        assert_eq!([blind(&[]), blind(&["", "hunter22"]), blind(&["hunter22", "short"])], [false, false, true]);
    }

    #[test]
    fn names_values_and_numbers_of_a_document_are_cleaned() {
        let redaction = Redaction::of(["20261121", "hunter22"]);
        let document = json!({"20261121": [20_261_121, "x hunter22", true, null, 1.5], "a": {"b": "hunter%32%32"}});
        let clean = json!({"[redacted]": ["[redacted]", "x [redacted]", true, null, 1.5], "a": {"b": "[redacted]"}});
        assert_eq!(redaction.value(document), clean);
    }

    #[test]
    fn no_piece_of_a_credential_is_kept_where_an_answer_is_cut() {
        let secret: String = (0..1500).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
        let whole = secret.repeat(3);
        let bodies = [
            format!("{}{secret}", "-".repeat(2_000)),
            format!("{}{secret}", "-".repeat(2_040)),
            // What the tool's own bound has cut.
            format!("--{}", &secret[..1_000]),
            format!("--{whole}{}", &secret[..200]),
            format!("--{whole}{whole}"),
        ];
        let redaction = Redaction::of([secret.as_str()]);
        for body in bodies {
            let kept = redaction.evidence(body.as_bytes()).unwrap_or_default();
            assert!(kept.starts_with("--") && !kept.contains("abcdef"), "{kept}");
        }
        let redaction = Redaction::of(["hunter/22"]);
        for cut in ["hunter", "hunter%", "hunter%2", "hunter%2F", "hunter\\u00", "hunter/2"] {
            assert_eq!(redaction.evidence(format!("-- {cut}").as_bytes()).as_deref(), Some("-- "), "{cut}");
        }
        assert_eq!(redaction.evidence(b"-- hunte").as_deref(), Some("-- hunte"));
        assert_eq!(redaction.evidence(b""), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_keeps_a_secret(
            before in "\\PC{0,40}", after in "[%\\\\&+a-c\u{e9}]{0,40}", encode in prop::collection::vec(0_u8..4, 11),
        ) {
            let secret = "sk_live_123";
            let spelling: String = secret.chars().zip(&encode).map(|(c, how)| match how {
                0 => format!("%{:02X}", c as u8),
                1 => format!("\\u{:04x}", c as u8),
                2 => format!("%25{:02x}", c as u8),
                _ => c.to_string(),
            }).collect();
            let redaction = Redaction::of([secret]);
            let whole = format!("{before}{spelling}{after}");
            let clean = redaction.text(&whole);
            prop_assert!(!clean.contains(&spelling));
            prop_assert_eq!(redaction.text(&after), after);
            let kept = redaction.evidence(whole.as_bytes()).unwrap_or_default();
            prop_assert!(!kept.contains(&spelling));
        }
    }
}
