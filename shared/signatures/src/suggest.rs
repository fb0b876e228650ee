//! Names in error messages: the nearest known name, and what may be repeated of an unknown one.

/// The known name that `input` was probably meant to be: the same letters in another case, or at most a third of them wrong.
pub(crate) fn closest<'k>(input: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // A name is short. Whatever is longer is something else, and the distance is quadratic.
    if input.chars().count() > 40 {
        return None;
    }
    let wanted = input.to_ascii_lowercase().replace('_', "-");
    known
        .into_iter()
        .map(|name| (distance(&wanted, &name.replace('_', "-")), name))
        .filter(|(distance, name)| *distance <= (name.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// ` "name"`, with the leading space, or nothing.
///
/// A secret that was put in the place of a name must not end up in a message, so only what looks like a word is repeated.
pub(crate) fn repeated(name: &str) -> String {
    let a_word =
        !name.is_empty() && name.len() <= 24 && name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-' || b == b'_');
    let a_secret = ["whsec", "whpk", "whsk", "sk_", "rk_", "secret_"].iter().any(|prefix| name.starts_with(prefix));
    if a_word && !a_secret { format!(" \"{name}\"") } else { String::new() }
}

/// `; did you mean "name"?`, or nothing.
pub(crate) fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_name() {
        let known = ["stripe", "github", "standard-webhooks", "hmac"];
        for (input, expected) in [
            ("strpe", Some("stripe")),
            ("GitHub", Some("github")),
            ("standard_webhooks", Some("standard-webhooks")),
            ("hmca", None),
            ("hmacs", Some("hmac")),
            ("paypal", None),
            ("", None),
        ] {
            assert_eq!(closest(input, known), expected, "{input}");
        }
        assert_eq!(closest(&"s".repeat(1 << 20), known), None);
    }

    #[test]
    fn what_may_be_a_secret_is_not_repeated() {
        assert_eq!(repeated("strpe"), " \"strpe\"");
        for secret in ["whsec_abc", "a1b2c3", "sk_live_x", "x y", "abcdefghijklmnopqrstuvwxyz", ""] {
            assert_eq!(repeated(secret), "", "{secret}");
        }
    }
}
