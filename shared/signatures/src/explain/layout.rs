//! The ways in which one JSON document is commonly written: what a parser and a writer in between make of the bytes that were signed.

use serde::de::IgnoredAny;

/// The white space between tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spacing {
    /// None.
    Compact,
    /// A space after each comma and colon.
    Spaced,
    /// A line for each member, indented by this many spaces for each level.
    Indented(usize),
}

/// What is escaped in strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escapes {
    /// As it was written.
    Kept,
    /// Only what must be.
    Fewest,
    /// Everything beyond ASCII.
    Ascii,
    /// Everything beyond ASCII, and the slash.
    AsciiAndSlash,
}

pub(super) const SPACINGS: [Spacing; 4] =
    [Spacing::Compact, Spacing::Spaced, Spacing::Indented(2), Spacing::Indented(4)];
pub(super) const ESCAPES: [Escapes; 4] = [Escapes::Kept, Escapes::Fewest, Escapes::Ascii, Escapes::AsciiAndSlash];

impl Spacing {
    pub(super) fn words(self) -> String {
        match self {
            Self::Compact => "without white space".into(),
            Self::Spaced => "with a space after each comma and colon".into(),
            Self::Indented(spaces) => format!("indented by {spaces} spaces"),
        }
    }
}

impl Escapes {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Kept => "",
            Self::Fewest => ", nothing escaped that need not be",
            Self::Ascii => ", letters beyond ASCII escaped",
            Self::AsciiAndSlash => ", letters beyond ASCII and slashes escaped",
        }
    }
}

/// The same document in another layout; nothing when the body is not JSON. Members keep their order and numbers their digits.
pub(super) fn written(body: &[u8], spacing: Spacing, escapes: Escapes) -> Option<Vec<u8>> {
    // Bounds the depth too.
    serde_json::from_slice::<IgnoredAny>(body).ok()?;
    let text = std::str::from_utf8(body).ok()?;
    let mut out = String::with_capacity(text.len());
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let token = match first {
            '"' => &rest[..string_end(rest)],
            '{' | '}' | '[' | ']' | ',' | ':' => &rest[..1],
            _ if first.is_ascii_whitespace() => {
                rest = rest.trim_ascii_start();
                continue;
            }
            _ => &rest[..rest.find([',', '}', ']', ' ', '\t', '\r', '\n']).unwrap_or(rest.len())],
        };
        rest = rest[token.len()..].trim_ascii_start();
        match first {
            '"' => out.push_str(&string(token, escapes)?),
            '{' | '[' => {
                out.push(first);
                // An empty one is written in one piece by every writer.
                if rest.starts_with(['}', ']']) {
                    out.push_str(&rest[..1]);
                    rest = &rest[1..];
                } else {
                    depth += 1;
                    line(&mut out, spacing, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, spacing, depth);
                out.push(first);
            }
            ',' => {
                out.push(',');
                if spacing == Spacing::Spaced {
                    out.push(' ');
                }
                line(&mut out, spacing, depth);
            }
            ':' => out.push_str(if spacing == Spacing::Compact { ":" } else { ": " }),
            _ => out.push_str(token),
        }
    }
    Some(out.into_bytes())
}

fn line(out: &mut String, spacing: Spacing, depth: usize) {
    if let Spacing::Indented(spaces) = spacing {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', spaces * depth));
    }
}

/// Where the string that `text` begins with ends.
fn string_end(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn string(token: &str, escapes: Escapes) -> Option<String> {
    if escapes == Escapes::Kept {
        return Some(token.to_owned());
    }
    let value: String = serde_json::from_str(token).ok()?;
    let fewest = serde_json::to_string(&value).ok()?;
    if escapes == Escapes::Fewest {
        return Some(fewest);
    }
    let mut out = String::with_capacity(fewest.len());
    for c in fewest.chars() {
        match c {
            '/' if escapes == Escapes::AsciiAndSlash => out.push_str("\\/"),
            c if c.is_ascii() => out.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_written_in_each_way() {
        let body = "{\"a\" :[1.50,{}, [ ]],\"b\":\"ü/\\u00e9 \\\" 🦀\"}\n";
        for (spacing, escapes, expected) in [
            (Spacing::Compact, Escapes::Kept, "{\"a\":[1.50,{},[]],\"b\":\"ü/\\u00e9 \\\" 🦀\"}"),
            (Spacing::Compact, Escapes::Fewest, "{\"a\":[1.50,{},[]],\"b\":\"ü/é \\\" 🦀\"}"),
            (
                Spacing::Spaced,
                Escapes::Ascii,
                "{\"a\": [1.50, {}, []], \"b\": \"\\u00fc/\\u00e9 \\\" \\ud83e\\udd80\"}",
            ),
            (
                Spacing::Compact,
                Escapes::AsciiAndSlash,
                "{\"a\":[1.50,{},[]],\"b\":\"\\u00fc\\/\\u00e9 \\\" \\ud83e\\udd80\"}",
            ),
            (
                Spacing::Indented(2),
                Escapes::Kept,
                "{\n  \"a\": [\n    1.50,\n    {},\n    []\n  ],\n  \"b\": \"ü/\\u00e9 \\\" 🦀\"\n}",
            ),
        ] {
            let got = written(body.as_bytes(), spacing, escapes).expect("JSON");
            assert_eq!(String::from_utf8_lossy(&got), expected);
        }
    }

    #[test]
    fn what_is_not_json_has_no_layout() {
        for body in [&b""[..], b"a=b", b"{\"a\":1", b"\xff", "[".repeat(1 << 16).as_bytes()] {
            assert_eq!(written(body, Spacing::Indented(4), Escapes::Ascii), None);
        }
    }
}
