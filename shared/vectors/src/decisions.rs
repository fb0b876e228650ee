//! What was decided about vectors that are a choice and whose file does not say it.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

#[derive(Deserialize)]
struct Decision {
    provider: String,
    name: String,
    #[serde(default)]
    decided: Option<String>,
}

#[derive(Deserialize)]
struct Decided {
    vectors: Vec<Decision>,
}

/// By provider and name: this project's own vectors, and the table for those that other projects publish.
static DECISIONS: LazyLock<HashMap<(String, String), String>> = LazyLock::new(|| {
    let own: Decided = serde_json::from_str(include_str!("../data/signatures.json")).expect("the tests read it");
    let others: Vec<Decision> =
        serde_json::from_str(include_str!("../data/decisions.json")).expect("the tests read it");
    let all = own.vectors.into_iter().chain(others);
    all.filter_map(|row| Some(((row.provider, row.name), row.decided?))).collect()
});

/// What was decided about a vector.
pub(crate) fn of(provider: &str, name: &str) -> Option<&'static str> {
    DECISIONS.get(&(provider.to_owned(), name.to_owned())).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_decided() {
        for vector in &crate::Vectors::project().expect("the project's vectors").vectors {
            let is_choice = vector.strictness == crate::Strictness::May;
            assert_eq!(is_choice, vector.decided.is_some(), "{} {}", vector.provider, vector.name);
            assert_eq!(is_choice, of(&vector.provider, &vector.name).is_some(), "{} {}", vector.provider, vector.name);
        }
        assert_eq!(DECISIONS.len(), 52 + 61);
    }

    #[test]
    fn a_decision_is_one_of_the_two_and_says_why() {
        for ((provider, name), decided) in DECISIONS.iter() {
            let why = decided.strip_prefix("valid: ").or_else(|| decided.strip_prefix("invalid: "));
            assert!(why.is_some_and(|why| !why.is_empty()), "{provider} {name}: {decided}");
        }
    }

    #[test]
    fn what_nobody_decided_stays_as_the_file_expects_it() {
        assert_eq!(of("stripe", "no_such_vector"), None);
    }
}
