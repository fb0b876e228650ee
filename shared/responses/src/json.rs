//! JSON from strangers: bounded before it is built.

use serde_json::Value;

/// How deep arrays and objects may be nested in any frame.
pub const MAX_DEPTH: usize = 64;

/// Why a text is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    TooDeep,
    NotJson,
}

/// Reads a text whose length the caller has checked.
pub(crate) fn read(text: &str) -> Result<Value, Unreadable> {
    if depth(text) > MAX_DEPTH {
        return Err(Unreadable::TooDeep);
    }
    serde_json::from_str(text).map_err(|_| Unreadable::NotJson)
}

/// How deep brackets are nested outside strings, whether or not the rest is JSON.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match (quoted, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => quoted = !quoted,
            (false, b'[' | b'{') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A member that is a string with something in it.
pub(crate) fn text<'a>(value: &'a Value, member: &str) -> Option<&'a str> {
    value.get(member).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// How many bytes `c` takes in a JSON string as `serde_json` writes it.
pub(crate) fn escaped_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\u{0}'..='\u{1f}' => 6,
        _ => c.len_utf8(),
    }
}

/// How many bytes `text` takes in a JSON string, quotes not counted.
pub(crate) fn escaped_text_len(text: &str) -> usize {
    text.chars().map(escaped_len).sum()
}

/// The longest beginning of `text` that takes at most `max` bytes in a JSON string, cut between characters; and the rest.
pub(crate) fn split_escaped(text: &str, max: usize) -> (&str, &str) {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += escaped_len(c);
        if used > max {
            return text.split_at(at);
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn brackets_in_strings_nest_nothing() {
        for (text, expected) in [("", 0), ("{}", 1), ("[[[", 3), (r#"{"a[[":[]}"#, 2), (r#""\"[""#, 0), ("]][", 1)] {
            assert_eq!(depth(text), expected, "{text}");
        }
        assert_eq!(read(&"[".repeat(MAX_DEPTH + 1)), Err(Unreadable::TooDeep));
        assert_eq!(read(&"[".repeat(MAX_DEPTH)), Err(Unreadable::NotJson));
        assert!(read(&format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH))).is_ok());
    }

    proptest! {
        #[test]
        fn the_length_of_an_escaped_text_is_what_serde_writes(text in any::<String>()) {
            let written = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(escaped_text_len(&text) + 2, written.len());
        }

        #[test]
        fn a_split_text_fits_and_loses_nothing(text in any::<String>(), max in 0..40_usize) {
            let (head, rest) = split_escaped(&text, max);
            prop_assert_eq!(format!("{head}{rest}"), text.clone());
            prop_assert!(escaped_text_len(head) <= max);
            if let Some(next) = rest.chars().next() {
                prop_assert!(escaped_text_len(head) + escaped_len(next) > max);
            }
        }
    }
}
