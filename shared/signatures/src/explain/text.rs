//! What is shown of received values: their form, and never the value where it is a signature or a token.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use crate::table::HmacRow;

/// What stands before a signature or a timestamp in the headers of the known schemes, longer ones first. Only these are repeated.
const LABELS: [&str; 13] =
    ["hmac-sha256=", "sha256=", "sha512=", "sha1=", "v1a,", "v1,", "v1=", "v0=", "v2=", "h1=", "ts=", "t=", "Bearer "];

/// The label that a value begins with.
pub(super) fn label(value: &[u8]) -> Option<&'static str> {
    LABELS.into_iter().find(|label| value.starts_with(label.as_bytes()))
}

/// The form of a signature's header: for a list, of each of its elements.
pub(super) fn signature(value: &[u8], separator: Option<char>) -> String {
    const MOST: usize = 6;
    let Some(separator) = separator else { return element(value) };
    let elements: Vec<&[u8]> = value.split(|byte| char::from(*byte) == separator).collect();
    let mut words: Vec<String> = elements.iter().take(MOST).map(|text| element(text)).collect();
    if elements.len() > MOST {
        words.push(format!("{} more", elements.len() - MOST));
    }
    words.join("; ")
}

/// The form that a row expects in its header.
pub(super) fn expected_form(row: HmacRow<'_>) -> String {
    let digits = row.encoding.expected(row.algorithm);
    match (row.prefix, row.separator) {
        ("", None) => digits.to_owned(),
        (prefix, None) => format!("{prefix} and {digits}"),
        (prefix, Some(_)) => format!("a list with {prefix} and {digits}"),
    }
}

fn element(value: &[u8]) -> String {
    match label(value) {
        Some(label) => format!("{label} and {}", form(&value[label.len()..])),
        None => form(value),
    }
}

/// Length and alphabet.
fn form(text: &[u8]) -> String {
    let len = text.len();
    if text.is_empty() {
        return "nothing".into();
    }
    if text.iter().all(u8::is_ascii_digit) {
        return format!("{len} digits");
    }
    if text.iter().all(u8::is_ascii_hexdigit) {
        return format!("{len} hexadecimal digits");
    }
    if let Ok(bytes) = STANDARD.decode(text) {
        return format!("{} bytes in base64", bytes.len());
    }
    if let Ok(bytes) = STANDARD_NO_PAD.decode(text) {
        return format!("{} bytes in base64 without its padding", bytes.len());
    }
    if let Ok(bytes) = URL_SAFE.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)) {
        return format!("{} bytes in base64url, which is another alphabet", bytes.len());
    }
    length(text)
}

/// Length alone.
pub(super) fn length(text: &[u8]) -> String {
    match text {
        [] => "nothing".into(),
        _ if text.iter().all(u8::is_ascii_graphic) => format!("{} characters", text.len()),
        _ => format!("{} bytes, not all of them visible ASCII", text.len()),
    }
}

/// A value that is signed and no secret (a time, an id), in quotes, cut where it is long.
pub(super) fn quoted(text: &[u8], secrets: &[&str]) -> String {
    const MOST: usize = 80;
    let masked = masked(text, secrets);
    let cut = masked.get(..MOST).unwrap_or(&masked);
    let more = if masked.len() > MOST { format!("… ({} bytes)", masked.len()) } else { String::new() };
    format!("\"{}\"{more}", cut.escape_ascii())
}

/// The text without what is a secret of the source: an address may have one in its query.
pub(super) fn masked(text: &[u8], secrets: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        match secrets.iter().find(|secret| !secret.is_empty() && rest.starts_with(secret.as_bytes())) {
            Some(secret) => {
                out.extend_from_slice(b"(secret)");
                rest = &rest[secret.len()..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_told_by_its_form() {
        for (value, separator, expected) in [
            (&b"sha256=00ff00ff"[..], None, "sha256= and 8 hexadecimal digits"),
            (b"sha1=00ffzz==", None, "sha1= and 8 characters"),
            (b"t=1790000000,v1=ab,v0=", Some(','), "t= and 10 digits; v1= and 2 hexadecimal digits; v0= and nothing"),
            (b"v1,MDAwMA==", Some(' '), "v1, and 4 bytes in base64"),
            (b"MDAwMA", None, "4 bytes in base64 without its padding"),
            (b"_-8=", None, "2 bytes in base64url, which is another alphabet"),
            (b"a b", None, "3 bytes, not all of them visible ASCII"),
            (b"", None, "nothing"),
            (b"1,1,1,1,1,1,1,1", Some(','), "1 digits; 1 digits; 1 digits; 1 digits; 1 digits; 1 digits; 2 more"),
        ] {
            assert_eq!(signature(value, separator), expected);
        }
    }

    #[test]
    fn a_secret_is_masked_wherever_it_stands() {
        assert_eq!(
            quoted(b"https://h.example/?key=tok&a=tok", &["tok"]),
            "\"https://h.example/?key=(secret)&a=(secret)\""
        );
        assert_eq!(quoted(b"a\n\xff", &[""]), "\"a\\n\\xff\"");
        assert_eq!(quoted(&[b'x'; 81], &[]), format!("\"{}\"… (81 bytes)", "x".repeat(80)));
    }
}
