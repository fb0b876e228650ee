//! Texts of a document that go into bridge.toml: for people, in one line, without anything that looks like a credential.

use clawbridge_config::header::looks_like_a_secret;

use crate::problem::one_line;
use crate::tree::Node;

/// What stands where a credential stood.
const REMOVED: &str = "[removed]";

/// Whether a character can be in a credential.
fn is_inside(char: char) -> bool {
    char.is_ascii_alphanumeric() || "-_.".contains(char)
}

/// Whether there is something in the text that looks like a credential.
pub(crate) fn has_secret(text: &str) -> bool {
    text.split(|char| !is_inside(char)).any(looks_like_a_secret) || text.contains("-----BEGIN")
}

/// Whether there is one somewhere in a value.
pub(crate) fn is_secret(node: &Node) -> bool {
    match node {
        Node::Text(text) => has_secret(text),
        Node::List(items) => items.iter().any(is_secret),
        Node::Object(object) => object.entries().any(|(key, node)| has_secret(key) || is_secret(node)),
        Node::Null | Node::Bool(_) | Node::Number(_) => false,
    }
}

/// A text in one line of at most `limit` characters, the first paragraph of it if it has several.
pub(crate) fn explanation(text: &str, limit: usize) -> String {
    let text = text.trim().replace("\r\n", "\n");
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    // A bound on what is looked at, before anything is done with each word.
    let line = one_line(paragraph, 4 * limit);
    one_line(&without_secrets(line), limit)
}

/// The text without what looks like a credential.
pub(crate) fn without_secrets(text: String) -> String {
    if !has_secret(&text) {
        return text;
    }
    let mut clean = String::new();
    for piece in text.split_inclusive(|char| !is_inside(char)) {
        let (word, end) = piece.split_at(piece.find(|char| !is_inside(char)).unwrap_or(piece.len()));
        clean.push_str(if has_secret(word) { REMOVED } else { word });
        clean.push_str(end);
    }
    clean.replace("-----BEGIN", REMOVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_is_a_line_without_credentials() {
        for (text, expected) in [
            ("One.\n\nTwo.", "One."),
            ("  The *amount*\n in cents ", "The *amount* in cents"),
            ("Use `sk_test_abcdefgh12`, as in Bearer ghp_abcdefgh1234.", "Use `[removed]`, as in Bearer [removed]"),
            ("key=AKIAIOSFODNN7EXAMPLE&x", "key=[removed]&x"),
            ("-----BEGIN PRIVATE KEY-----", "[removed] PRIVATE KEY-----"),
            ("a sketch of asia-east1", "a sketch of asia-east1"),
        ] {
            assert_eq!(explanation(text, 100), expected, "{text}");
        }
        assert_eq!(explanation("abcdef", 3), "abc…");
    }
}
