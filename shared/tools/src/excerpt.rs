//! What a log may have of the answer to a call that failed. Pure.
//!
//! A record's evidence may hold whatever the upstream repeats but credentials: it stands beside the input. A log is read by more people and kept
//! elsewhere, and what came with a webhook is not to get there by way of an upstream.

use crate::redact::Redaction;
use serde_json::Value;
use std::collections::BTreeSet;

/// Texts of an input that are looked for in an answer. Of a call with more, a log has nothing of the answer.
const MAX_TEXTS: usize = 100;

/// Texts shorter than this are left, bytes: words, codes and small numbers, which messages need.
const SHORTEST_TEXT: usize = 6;

/// `evidence` without what the input says: its texts and numbers of at least six bytes, in the spellings in which credentials are looked
/// for. `None` where nothing is left, or where there would be too much to look for.
pub(crate) fn excerpt(evidence: &str, input: &Value) -> Option<String> {
    let mut texts = BTreeSet::new();
    collect(input, &mut texts);
    if texts.len() > MAX_TEXTS {
        return None;
    }
    Redaction::of(texts.iter().map(String::as_str)).evidence(evidence.as_bytes()).filter(|text| !text.is_empty())
}

fn collect(input: &Value, texts: &mut BTreeSet<String>) {
    match input {
        // Control characters have spellings of their own, or were made spaces: what stands between them is looked for.
        Value::String(text) => {
            let pieces = text.split(char::is_control).map(str::trim).filter(|piece| piece.len() >= SHORTEST_TEXT);
            texts.extend(pieces.map(str::to_owned));
        }
        Value::Number(number) => texts.extend(Some(number.to_string()).filter(|text| text.len() >= SHORTEST_TEXT)),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(members) => members.values().for_each(|member| collect(member, texts)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Whether credentials and texts could be seen in a body: it is neither compressed nor in an encoding with zeros between characters.
pub(crate) fn is_readable(content_encoding: &str, body: &[u8]) -> bool {
    matches!(content_encoding, "" | "identity") && !body.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_input_says_is_not_in_it_and_what_the_upstream_says_is() {
        let input = json!({"to": "zoe@example.com", "card": 4_242_424_242_424_242_u64, "lines": ["first line\nsecond/line\tof it", "no"],
            "currency": "usdd", "nested": {"name": "Zoë Müller"}});
        let rows = [
            ("{\"error\":\"currency usdd is none\"}", Some("{\"error\":\"currency usdd is none\"}")),
            ("no mailbox zoe@example.com", Some("no mailbox [redacted]")),
            ("no mailbox zoe%40example.com", Some("no mailbox [redacted]")),
            ("card 4242424242424242 of Zoë Müller", Some("card [redacted] of [redacted]")),
            ("first line\\nsecond\\/line\\tof it", Some("[redacted]\\n[redacted]\\tof it")),
            ("first line\nsecond/line of it", Some("[redacted]\n[redacted] of it")),
            // Cut within one.
            ("said: zoe@examp", Some("said: ")),
            ("zoe@examp", None),
            ("", None),
        ];
        for (evidence, expected) in rows {
            assert_eq!(excerpt(evidence, &input).as_deref(), expected, "{evidence}");
        }
    }

    #[test]
    fn where_there_is_too_much_to_look_for_there_is_none() {
        let input = |count: usize| json!((0..count).map(|n| format!("text-{n}")).collect::<Vec<_>>());
        assert!(excerpt("no", &input(MAX_TEXTS)).is_some());
        assert_eq!(excerpt("no", &input(MAX_TEXTS + 1)), None);
    }

    #[test]
    fn what_cannot_be_looked_through_is_not_readable() {
        for (coding, body, expected) in [
            ("", b"no".as_slice(), true),
            ("identity", b"no", true),
            ("gzip", b"no", false),
            ("br", b"no", false),
            ("", b"n\0o\0", false),
        ] {
            assert_eq!(is_readable(coding, body), expected, "{coding} {body:?}");
        }
    }
}
