//! The form of a file of vectors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use clawbridge_signatures::{Source, SourceError};

use crate::{decisions, document};

/// A file of vectors. Members that are not known here are ignored: a newer file stays readable.
#[derive(Clone, Debug, Deserialize)]
pub struct Vectors {
    /// Requests, each with a secret and the expected verdict.
    pub vectors: Vec<Vector>,
    /// What providers ask before their first delivery, each with the expected answer.
    #[serde(default)]
    pub handshakes: Vec<Handshake>,
}

/// Whether every correct receiver agrees.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Strictness {
    /// It does.
    Must,
    /// A choice, which each receiver makes and writes down.
    May,
}

/// A request, the secret it is checked with, the expected verdict.
#[derive(Clone, Deserialize)]
pub struct Vector {
    /// The provider, or `generic`.
    pub provider: String,
    /// The scheme, under the name that it has in the file.
    pub scheme: String,
    /// What the vector is about; one of a kind for its provider.
    pub name: String,
    /// The secret, or the provider's public key, certificate or key set.
    pub secret: String,
    /// What `secret` is: `utf8`, `hex`, `base64`, or the kind of public key.
    pub secret_encoding: String,
    /// In their order, with repetitions.
    pub headers: Vec<(String, String)>,
    /// The body in base64.
    pub body_base64: String,
    /// The receiver's clock, Unix seconds.
    pub now: i64,
    /// The method.
    pub method: String,
    /// The public URL with its query, where the scheme signs it.
    pub url: Option<String>,
    /// `valid`, or `invalid:` and a reason.
    pub expect: String,
    /// How far the timestamp may be from `now`, in seconds; none: its age is not checked.
    pub tolerance_s: Option<u32>,
    /// Whether `expect` is a choice.
    pub strictness: Strictness,
    /// What was decided where it is one, and why: `valid` or `invalid`, a colon, words.
    #[serde(default)]
    pub decided: Option<String>,
}

/// A handshake: what the provider asks, and the answer it takes.
#[derive(Clone, Deserialize)]
pub struct Handshake {
    /// The provider.
    pub provider: String,
    /// What it is called.
    pub name: String,
    /// The source's secret, where the answer depends on it.
    #[serde(default)]
    pub secret: Option<String>,
    /// What is asked.
    pub request: Asked,
    /// What is expected.
    pub response: Expected,
    /// Whether the provider signs it.
    pub signed: bool,
}

/// The request of a handshake, without its signature.
#[derive(Clone, Deserialize)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The query string, still encoded.
    #[serde(default)]
    pub query: String,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

/// The answer that a provider takes.
#[derive(Clone, Deserialize)]
pub struct Expected {
    /// HTTP status.
    pub status: u16,
    /// `content-type`, or none.
    pub content_type: Option<String>,
    /// The body.
    pub body: String,
    /// What is to be done besides answering, in words.
    #[serde(default)]
    pub side_effect: Option<String>,
}

/// Why a file cannot be run. The text names the place and never a value.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// Not JSON, or not of the form.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Nothing to run.
    #[error("`vectors` is empty")]
    Empty,
    /// A body that is not base64.
    #[error("{provider} {name}: body_base64 is not base64")]
    Body {
        /// The vector's provider.
        provider: String,
        /// The vector's name.
        name: String,
    },
    /// A verdict that is neither of the two.
    #[error("{provider} {name}: {field} must be valid or begin with invalid:")]
    Verdict {
        /// The vector's provider.
        provider: String,
        /// The vector's name.
        name: String,
        /// `expect` or `decided`.
        field: &'static str,
    },
}

impl Vectors {
    /// The vectors of this project.
    ///
    /// # Errors
    /// None, as the tests of this crate read them.
    pub fn project() -> Result<Self, FormError> {
        Self::read(include_bytes!("../data/signatures.json"))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is not of the form, or holds nothing to run.
    pub fn read(bytes: &[u8]) -> Result<Self, FormError> {
        let read: Self = serde_json::from_slice(bytes)?;
        if read.vectors.is_empty() && read.handshakes.is_empty() {
            return Err(FormError::Empty);
        }
        for vector in &read.vectors {
            let (provider, name) = (vector.provider.clone(), vector.name.clone());
            if STANDARD.decode(&vector.body_base64).is_err() {
                return Err(FormError::Body { provider, name });
            }
            let decided = vector.decided.as_deref();
            for (field, verdict) in [("expect", Some(vector.expect.as_str())), ("decided", decided)] {
                if verdict.is_some_and(|verdict| is_valid(verdict).is_none()) {
                    return Err(FormError::Verdict { provider, name, field });
                }
            }
        }
        Ok(read)
    }
}

/// Which of the two verdicts a text is.
fn is_valid(verdict: &str) -> Option<bool> {
    match verdict.split(':').next() {
        Some("valid") => Some(true),
        Some("invalid") => Some(false),
        _ => None,
    }
}

impl Vector {
    /// What was decided here where receivers may differ, what is expected otherwise.
    pub fn expectation(&self) -> &str {
        match self.strictness {
            Strictness::Must => &self.expect,
            Strictness::May => {
                self.decided.as_deref().or_else(|| decisions::of(&self.provider, &self.name)).unwrap_or(&self.expect)
            }
        }
    }

    /// Whether the request is expected to be valid.
    pub fn expects_valid(&self) -> bool {
        is_valid(self.expectation()) == Some(true)
    }

    /// The source that the request is checked against; nothing when no scheme here can express it.
    pub fn source(&self) -> Option<Result<Source, SourceError>> {
        document::source(self)
    }

    /// The provider's key set, where the vector has one: what a receiver would have fetched.
    pub fn key(&self) -> Option<&[u8]> {
        document::key(self)
    }

    /// The body's bytes.
    pub fn body(&self) -> Vec<u8> {
        // `read` has decoded it once.
        STANDARD.decode(&self.body_base64).unwrap_or_default()
    }
}

impl std::fmt::Debug for Vector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vector").field("provider", &self.provider).field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake").field("provider", &self.provider).field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn vector() -> Value {
        json!({
            "provider": "github", "scheme": "hub-sha256", "name": "n", "secret": "s", "secret_encoding": "utf8", "headers": [],
            "body_base64": "e30=", "now": 1_790_000_000, "method": "POST", "url": null, "expect": "invalid:mismatch",
            "tolerance_s": null, "strictness": "must", "source": "s",
        })
    }

    #[test]
    fn a_file_that_is_not_of_the_form_says_where() {
        for (field, value, words) in [
            ("body_base64", json!("e30"), "github n: body_base64 is not base64"),
            ("expect", json!("true"), "github n: expect must be valid or begin with invalid:"),
            ("decided", json!(""), "github n: decided must be valid or begin with invalid:"),
            ("strictness", json!("should"), "unknown variant `should`"),
            ("now", json!("1790000000"), "expected i64"),
        ] {
            let mut vector = vector();
            vector[field] = value;
            let problem = Vectors::read(json!({ "vectors": [vector] }).to_string().as_bytes()).expect_err(field);
            assert!(problem.to_string().contains(words), "{problem}");
        }
        assert!(matches!(Vectors::read(br#"{"vectors":[]}"#), Err(FormError::Empty)));
        assert!(Vectors::read(b"{}").is_err());
    }

    #[test]
    fn a_decision_counts_where_there_is_a_choice() {
        for (strictness, decided, valid) in [("must", json!("valid"), false), ("may", json!("valid: why"), true)] {
            let mut vector = vector();
            vector["strictness"] = json!(strictness);
            vector["decided"] = decided;
            let read = Vectors::read(json!({ "vectors": [vector] }).to_string().as_bytes()).expect("a file");
            assert_eq!(read.vectors[0].expects_valid(), valid, "{strictness}");
        }
    }
}
