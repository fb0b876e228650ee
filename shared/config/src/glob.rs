//! Patterns of event types: `payment_intent.*`.

/// A pattern: `*` stands for any number of any characters, dots among them; everything else for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// A pattern. Every text is one.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// The text of the pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern matches all of `text`.
    ///
    /// Each piece between two stars is looked for once, at the first place where it fits: if any placement works, that one
    /// does. So nothing is tried twice, and the time grows with the length of the text, not with the number of stars.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else {
            return self.0 == text;
        };
        let Some(text) = text.strip_prefix(first) else {
            return false;
        };
        let (middle, last) = match rest.rsplit_once('*') {
            Some((middle, last)) => (Some(middle), last),
            None => (None, rest),
        };
        let Some(mut text) = text.strip_suffix(last) else {
            return false;
        };
        for piece in middle.into_iter().flat_map(|middle| middle.split('*')) {
            match text.split_once(piece) {
                Some((_, after)) => text = after,
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_match_within_and_across_dots() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "payment_intent.succeeded", true),
            ("payment_intent.*", "payment_intent.succeeded", true),
            ("payment_intent.*", "payment_intent.", true),
            ("payment_intent.*", "payment_intent", false),
            ("payment_intent.*", "xpayment_intent.y", false),
            ("*.deleted", "customer.subscription.deleted", true),
            ("customer.*.deleted", "customer.subscription.deleted", true),
            ("customer.*.deleted", "customer.deleted", false),
            ("pay*ed", "payment_intent.succeeded", true),
            ("ping", "ping", true),
            ("ping", "pings", false),
            ("", "", true),
            ("", "x", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("ab*ba", "aba", false),
            ("*a*b*", "xaxbx", true),
            ("*a*b*", "xbxax", false),
            ("a**b", "ab", true),
            ("*aab", "aaab", true),
            ("a*é*z", "aéz", true),
            (".", "x", false),
            ("[a]", "a", false),
            ("a?", "ab", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = Glob::new(&format!("{}b", "a*".repeat(2_000)));
        let text = "a".repeat(200_000);
        let started = std::time::Instant::now();
        for _ in 0..20 {
            assert!(!pattern.matches(&text));
        }
        // Trying each placement would outlast the universe; the bound only needs to be on this side of it.
        assert!(started.elapsed().as_secs() < 20);
    }

    /// The definition, with no thought of time.
    fn matches_by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skip| matches_by_definition(rest, &text[skip..])),
            Some((byte, rest)) => text.first() == Some(byte) && matches_by_definition(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition(pattern in "[ab*.]{0,8}", text in "[ab.]{0,10}") {
            prop_assert_eq!(Glob::new(&pattern).matches(&text), matches_by_definition(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
