//! What a connection is called.

use std::fmt;
use std::str::FromStr;

/// `PROVIDER/ACCOUNT`: small letters, digits, `-` and `_`, at most 64 of them in each part.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionName {
    provider: String,
    account: String,
}

/// A text that cannot be the name of a connection. It is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a connection is called PROVIDER/ACCOUNT, each of up to 64 small letters, digits, - and _")]
pub struct NotAName;

impl ConnectionName {
    /// Of its parts.
    ///
    /// # Errors
    /// One of them cannot be one.
    pub fn new(provider: &str, account: &str) -> Result<ConnectionName, NotAName> {
        let is_part = |part: &str| {
            (1..=64).contains(&part.len())
                && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
        };
        if is_part(provider) && is_part(account) {
            Ok(ConnectionName { provider: provider.to_owned(), account: account.to_owned() })
        } else {
            Err(NotAName)
        }
    }

    /// The provider's name in bridge.toml.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The account's name, which its owner chose.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.account
    }
}

impl FromStr for ConnectionName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<ConnectionName, NotAName> {
        let (provider, account) = text.split_once('/').ok_or(NotAName)?;
        ConnectionName::new(provider, account)
    }
}

impl fmt::Display for ConnectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_two_parts_that_fit_into_a_secrets_name() {
        for good in ["salesforce/prod", "google/me_2", "a/b", "x-1/y-2"] {
            assert_eq!(good.parse::<ConnectionName>().expect("a name").to_string(), good);
        }
        let long = format!("a/{}", "b".repeat(65));
        for bad in ["", "/", "a/", "/b", "a/b/c", "A/b", "a/ b", "a/../b", "a/é", "a b/c", long.as_str()] {
            assert_eq!(bad.parse::<ConnectionName>(), Err(NotAName), "{bad}");
        }
    }
}
