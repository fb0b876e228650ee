//! Names of sessions and responses.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest id, characters.
pub const MAX_ID_CHARS: usize = 200;

/// Why a text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// More than [`MAX_ID_CHARS`].
    #[error("it is longer than {MAX_ID_CHARS} characters")]
    TooLong,
    /// White space or control characters.
    #[error("it contains white space or control characters")]
    Unprintable,
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        Err(IdError::Empty)
    } else if text.chars().count() > MAX_ID_CHARS {
        Err(IdError::TooLong)
    } else if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        Err(IdError::Unprintable)
    } else {
        Ok(())
    }
}

/// A conversation. In lower case: OpenClaw keeps sessions by lower-case keys, so ids that differ by case alone are one conversation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(String);

impl SessionId {
    /// The session of that name, in lower case.
    ///
    /// # Errors
    /// See [`IdError`].
    pub fn new(text: &str) -> Result<SessionId, IdError> {
        check(text)?;
        let lower = text.to_lowercase();
        // A few letters become longer in lower case.
        check(&lower)?;
        Ok(SessionId(lower))
    }

    /// In lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A response as users know it: `resp_…`. Compared as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResponseId(String);

impl ResponseId {
    /// An id that the caller made, or that somebody refers to.
    ///
    /// # Errors
    /// See [`IdError`].
    pub fn new(text: &str) -> Result<ResponseId, IdError> {
        check(text).map(|()| ResponseId(text.to_owned()))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the response's item at `index`: `PREFIX_REST_INDEX`. It follows from the response, so that whoever carries an answer on
    /// names its items as whoever began it.
    #[must_use]
    pub fn item(&self, prefix: &str, index: usize) -> String {
        format!("{prefix}_{}_{index}", self.0.strip_prefix("resp_").unwrap_or(&self.0))
    }
}

/// What the agent's side calls its response. It means something on one agent's connections only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentKey(String);

impl AgentKey {
    /// A key that an agent's frame has.
    ///
    /// # Errors
    /// See [`IdError`].
    pub fn new(text: &str) -> Result<AgentKey, IdError> {
        check(text).map(|()| AgentKey(text.to_owned()))
    }

    /// As the agent writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text_form {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<$name, IdError> {
                $name::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    )*};
}

text_form!(SessionId, ResponseId, AgentKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_that_differ_by_case_are_one() {
        assert_eq!(SessionId::new("Sess_ÄB"), SessionId::new("sess_äb"));
        assert_ne!(ResponseId::new("resp_A"), ResponseId::new("resp_a"));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for (text, error) in [
            ("", IdError::Empty),
            ("a b", IdError::Unprintable),
            ("a\u{0}", IdError::Unprintable),
            (&"x".repeat(MAX_ID_CHARS + 1), IdError::TooLong),
            // Each of these becomes two characters in lower case.
            (&"İ".repeat(MAX_ID_CHARS), IdError::TooLong),
        ] {
            assert_eq!(SessionId::new(text), Err(error), "{text}");
        }
        assert_eq!(ResponseId::new("a\nb"), Err(IdError::Unprintable));
    }

    #[test]
    fn an_items_id_follows_from_its_response() {
        let id = ResponseId::new("resp_01HZ").unwrap();
        assert_eq!(id.item("msg", 0), "msg_01HZ_0");
        assert_eq!(id.item("fc", 12), "fc_01HZ_12");
    }
}
