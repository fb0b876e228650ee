//! What was granted of what was asked (RFC 6749, section 3.3). Scopes are compared as they are written, but for the spellings that some
//! providers answer with.

/// Equals: asked for by the short name, granted by the long one (Google's user information scopes).
const LONG: [(&str, &str); 2] = [
    ("email", "https://www.googleapis.com/auth/userinfo.email"),
    ("profile", "https://www.googleapis.com/auth/userinfo.profile"),
];

/// What OpenID Connect asks an authorization server for, not a resource: whether it was granted shows in what comes (an ID token, a refresh
/// token), and many servers leave it out of the answer.
const NOT_ECHOED: [&str; 5] = ["openid", "profile", "email", "offline_access", "offline"];

/// The scopes of an answer's text, in its order, each once. Spaces always separate; a comma does as well, because servers that take spaces
/// answer with commas (GitHub), unless the provider's own separator is another or a scope that was asked for has one.
#[must_use]
pub fn parse(text: &str, separator: &str, asked: &[String]) -> Vec<String> {
    let has_comma = asked.iter().any(|scope| scope.contains(','));
    let mut scopes: Vec<String> = Vec::new();
    let parts: Vec<&str> =
        if separator.trim().is_empty() { vec![text] } else { text.split(separator.trim()).collect() };
    let words = parts.into_iter().flat_map(|part| part.split(|c: char| c.is_whitespace() || (c == ',' && !has_comma)));
    for word in words.filter(|word| !word.is_empty()) {
        if !scopes.iter().any(|scope| scope == word) {
            scopes.push(word.to_owned());
        }
    }
    scopes
}

/// Those of the asked scopes that were not granted, as they were asked for and in that order.
#[must_use]
pub fn missing(asked: &[String], granted: &[String]) -> Vec<String> {
    let has = |scope: &String| {
        NOT_ECHOED.contains(&scope.as_str())
            || is_default(scope)
            || granted.iter().any(|granted| granted == scope || are_same(scope, granted))
    };
    asked.iter().filter(|scope| !has(scope)).cloned().collect()
}

/// Microsoft's `RESOURCE/.default` stands for all that was consented to, and is answered with those.
fn is_default(scope: &str) -> bool {
    scope == ".default" || scope.ends_with("/.default")
}

fn are_same(one: &str, other: &str) -> bool {
    LONG.iter().any(|pair| *pair == (one, other) || *pair == (other, one))
        || has_resource(one, other)
        || has_resource(other, one)
}

/// Whether the longer is the shorter with Microsoft's resource before it: `https://graph.microsoft.com/Mail.Read` and `Mail.Read`.
/// Entra does not heed the case of its own scopes.
fn has_resource(long: &str, short: &str) -> bool {
    let rest = long
        .strip_prefix("https://graph.microsoft.com/")
        .or_else(|| long.strip_prefix("https://graph.microsoft.com//"));
    rest.is_some_and(|rest| rest.eq_ignore_ascii_case(short))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(text: &str) -> Vec<String> {
        text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn what_is_missing_is_what_was_asked_and_not_granted() {
        for (asked, granted, expected) in [
            ("a b c", "c a", "b"),
            ("a", "a b", ""),
            ("a", "A", "a"),
            ("", "a", ""),
            ("b a", "", "b a"),
            // Google
            (
                "openid email https://www.googleapis.com/auth/drive",
                "https://www.googleapis.com/auth/userinfo.email openid",
                "https://www.googleapis.com/auth/drive",
            ),
            ("https://www.googleapis.com/auth/userinfo.email", "email", ""),
            (
                "https://www.googleapis.com/auth/drive",
                "https://www.googleapis.com/auth/drive.file",
                "https://www.googleapis.com/auth/drive",
            ),
            // Microsoft
            ("openid offline_access https://graph.microsoft.com/Mail.Read", "Mail.Read User.Read profile", ""),
            ("Mail.Read Mail.Send", "https://graph.microsoft.com/Mail.Read", "Mail.Send"),
            ("mail.read", "https://graph.microsoft.com/Mail.Read", ""),
            ("https://graph.microsoft.com/.default", "https://graph.microsoft.com/Mail.Read", ""),
            ("https://example.com/Mail.Read", "Mail.Read", "https://example.com/Mail.Read"),
        ] {
            assert_eq!(missing(&list(asked), &list(granted)), list(expected), "{asked} / {granted}");
        }
    }

    #[test]
    fn the_texts_of_answers_are_split_as_their_servers_write_them() {
        for (text, separator, asked, expected) in [
            ("a b  a", " ", "", "a b"),
            ("repo,gist", " ", "repo gist", "repo gist"),
            ("chat:write,im:read", ",", "", "chat:write im:read"),
            ("a, b", ",", "", "a b"),
            ("a,1 b", " ", "a,1 b", "a,1 b"),
            ("a+b", "+", "", "a b"),
            ("", " ", "", ""),
            (" , ", ",", "", ""),
        ] {
            assert_eq!(parse(text, separator, &list(asked)), list(expected), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn scopes_written_with_a_separator_are_read_back(
            scopes in proptest::collection::btree_set("[a-z:./_-]{1,12}", 0..6), separator in "[ ,+]"
        ) {
            let scopes: Vec<String> = scopes.into_iter().collect();
            prop_assert_eq!(&parse(&scopes.join(&separator), &separator, &scopes), &scopes);
            prop_assert_eq!(missing(&scopes, &scopes), Vec::<String>::new());
        }
    }
}
