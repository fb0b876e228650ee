//! The values of `{name}` in a declaration's addresses and texts.

use std::collections::BTreeMap;

use clawbridge_config::Provider;

/// The longest value, bytes.
const MAX_VALUE_BYTES: usize = 253;

/// A declaration's parameters with an account's own values in their place, and `client_id`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(BTreeMap<String, String>);

/// Why there are no usable values. It names parameters and never their values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// The declaration knows no such parameter.
    #[error("the provider has no parameter {name:?}; it has {known}")]
    Unknown {
        /// The account's.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// Each account has to say it, and this one does not.
    #[error(
        "the parameter {0:?} is not set; it has no value that is good for all accounts, so connect the account with {0}=VALUE"
    )]
    Unset(String),
    /// Its value cannot stand where it is used.
    #[error(
        "the parameter {0:?} may have letters, digits, '.', '_' and '-' where it is part of an address, and otherwise what can be printed \
         of ASCII, at most {MAX_VALUE_BYTES} characters"
    )]
    Value(String),
}

impl Parameters {
    /// A provider's with those of an account.
    ///
    /// # Errors
    /// The account sets what the provider does not have, a value has characters that none can have, or one is missing.
    pub fn new(provider: &Provider, account: &BTreeMap<String, String>) -> Result<Parameters, ParameterError> {
        let mut values = provider.parameters.clone();
        for (name, value) in account {
            let Some(place) = values.get_mut(name) else {
                let known: Vec<&str> = provider.parameters.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(ParameterError::Unknown { name: name.clone(), known });
            };
            value.clone_into(place);
        }
        for (name, value) in &values {
            if value.is_empty() {
                return Err(ParameterError::Unset(name.clone()));
            }
            if value.len() > MAX_VALUE_BYTES || !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
                return Err(ParameterError::Value(name.clone()));
            }
        }
        values.entry("client_id".into()).or_insert_with(|| provider.client_id.clone());
        Ok(Parameters(values))
    }

    /// The value of one.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A text with the values in it. Braces around anything else stay: a text may be JSON.
    #[must_use]
    pub fn fill(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let known = after.split_once('}').and_then(|(name, left)| Some((self.get(name)?, left)));
            rest = if let Some((value, left)) = known {
                out.push_str(value);
                left
            } else {
                out.push('{');
                after
            };
        }
        out.push_str(rest);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::tests::provider;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_accounts_value_takes_the_place_of_the_providers() {
        let provider = Provider { parameters: map(&[("tenant", "common"), ("user", "a@example.com")]), ..provider() };
        let parameters = Parameters::new(&provider, &map(&[("tenant", "contoso")])).expect("good");
        assert_eq!(parameters.fill("{tenant}/{user}"), "contoso/a@example.com");
        assert_eq!(parameters.fill(r#"{"id_token":{"a":{}}} {tenant {x} {"#), r#"{"id_token":{"a":{}}} {tenant {x} {"#);
    }

    #[test]
    fn values_that_are_unknown_missing_or_unprintable_are_named() {
        let provider = Provider { parameters: map(&[("shop", "")]), ..provider() };
        let fails = |account: &[(&str, &str)]| Parameters::new(&provider, &map(account)).expect_err("no good");
        assert_eq!(fails(&[]), ParameterError::Unset("shop".into()));
        assert_eq!(fails(&[("shop", "")]), ParameterError::Unset("shop".into()));
        assert_eq!(fails(&[("shop", "a\r\nb")]), ParameterError::Value("shop".into()));
        assert_eq!(fails(&[("shop", "a".repeat(254).as_str())]), ParameterError::Value("shop".into()));
        let unknown = ParameterError::Unknown { name: "store".into(), known: "shop".into() };
        assert_eq!(fails(&[("store", "a")]), unknown);
    }
}
