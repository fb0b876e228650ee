//! What agents' sides say about failures, made fit for users: no stack traces, no paths, no endless texts.

/// The longest message, characters.
const MAX_MESSAGE_CHARS: usize = 300;

/// The longest code, characters.
const MAX_CODE_CHARS: usize = 64;

/// The first line of a message, without the paths in it.
pub(crate) fn message(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let mut clean = String::new();
    for word in line.split_inclusive(|c: char| c.is_whitespace() || "()[]{}<>\"'`,;=|".contains(c)) {
        let (body, end) = match word.char_indices().next_back() {
            Some((at, c)) if c.is_whitespace() || "()[]{}<>\"'`,;=|".contains(c) => word.split_at(at),
            _ => (word, ""),
        };
        clean.push_str(if is_path(body) { "[path]" } else { body });
        clean.push_str(end);
    }
    let clean: String = clean.chars().filter(|c| !c.is_control()).collect();
    match clean.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((at, _)) => format!("{}…", clean[..at].trim_end()),
        None if clean.is_empty() => "The agent failed and did not say why.".to_owned(),
        None => clean,
    }
}

/// Whether a word leads into somebody's file system: `/home/x`, `~/x`, `./x`, `C:\x`, `\\host\x`, `file:…`, `node:internal/…`, `at:/x/y`.
fn is_path(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    if lower.starts_with("http://") || lower.starts_with("https://") {
        return false;
    }
    let drive = |at: usize| lower.get(at..at + 2).is_some_and(|two| two == ":\\" || two == ":/");
    lower.starts_with("file:")
        || lower.starts_with("node:")
        || lower.starts_with("\\\\")
        || lower.starts_with("~/")
        || lower.starts_with("./")
        || lower.starts_with("../")
        || (lower.starts_with('/') && lower.len() > 1)
        || lower.contains(":/")
        || (lower.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) && drive(1))
        || lower.contains("/node_modules/")
}

/// A code as users get it: the connectors' own words translated, other words in lower case, what is no word replaced.
pub(crate) fn code(text: &str) -> String {
    match text {
        "SDK_ERROR" | "CALLBACK_ERROR" => return "agent_error".to_owned(),
        "TIMEOUT" => return "agent_timeout".to_owned(),
        "RATE_LIMIT" => return "agent_busy".to_owned(),
        "INVALID_REQUEST" => return "agent_refused_request".to_owned(),
        _ => {}
    }
    let lower = text.to_ascii_lowercase();
    let is_word =
        |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if lower.is_empty() || lower.len() > MAX_CODE_CHARS || !is_word(&lower) { "agent_error".to_owned() } else { lower }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_and_stack_traces_stay_where_they_are() {
        for (text, expected) in [
            ("model said no", "model said no"),
            ("Error: x\n    at Object.f (/home/me/a.js:1:2)", "Error: x"),
            ("cannot read '/Users/me/.openclaw/auth.json'", "cannot read '[path]'"),
            ("ENOENT: open C:\\Users\\me\\a.txt", "ENOENT: open [path]"),
            ("at file:///srv/x.mjs and node:internal/process", "at [path] and [path]"),
            ("see https://example.com/a/b, please", "see https://example.com/a/b, please"),
            ("path=~/secret", "path=[path]"),
            ("either/or, 1/2", "either/or, 1/2"),
            ("\n \n", "The agent failed and did not say why."),
        ] {
            assert_eq!(message(text), expected);
        }
        assert_eq!(message(&"é".repeat(1000)).chars().count(), MAX_MESSAGE_CHARS + 1);
    }

    #[test]
    fn codes_are_words() {
        for (text, expected) in [
            ("SDK_ERROR", "agent_error"),
            ("TIMEOUT", "agent_timeout"),
            ("invalid_request_error", "invalid_request_error"),
            ("Overloaded", "overloaded"),
            ("", "agent_error"),
            ("a b", "agent_error"),
            ("/etc", "agent_error"),
        ] {
            assert_eq!(code(text), expected);
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_all_is_bounded(text in any::<String>()) {
            prop_assert!(message(&text).chars().count() <= MAX_MESSAGE_CHARS + 1);
            prop_assert!(code(&text).len() <= MAX_CODE_CHARS);
        }
    }
}
