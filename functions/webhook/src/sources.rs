//! Sources: secrets that hold a scheme and its signing secrets.

use crate::answer::Answer;
use clawbridge_clock::Timestamp;
use clawbridge_keys::{Freshness, Keys, KeysError};
use clawbridge_queue::BRIDGE_SOURCE;
use clawbridge_secrets::{SecretError, SecretValue, Secrets, Stage};
use clawbridge_signatures::{Refusal, Request, Source, Verified, verify_with, wanted};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The sources of a deployment, parsed ones kept as long as their secret's bytes stay the same.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    secrets: Secrets,
    keys: Keys,
    prefix: Arc<str>,
    parsed: Arc<Mutex<Parsed>>,
}

/// By secret and stage: the bytes and what they were parsed into.
type Parsed = HashMap<(String, Stage), (SecretValue, Arc<Source>)>;

/// What came of verifying a request.
pub(crate) enum Found<'a> {
    /// It is from the source.
    Verified { source: Arc<Source>, verified: Verified<'a> },
    /// It is not, or that cannot be told now.
    Refused(Answer),
}

/// Parsed sources kept at most; a deployment has a handful.
const MAX_PARSED: usize = 256;

/// Whether `name` can be a source's: lower-case letters, digits, `-` and `_`, at most 64, a letter or digit first. `bridge` cannot: events
/// of that source are the bridge's own.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name != BRIDGE_SOURCE
        && name.len() <= 64
        && name.bytes().next().is_some_and(allowed)
        && name.bytes().all(|byte| allowed(byte) || byte == b'-' || byte == b'_')
}

impl Sources {
    pub(crate) fn new(secrets: Secrets, keys: Keys, prefix: String) -> Sources {
        Sources { secrets, keys, prefix: prefix.into(), parsed: Arc::default() }
    }

    /// The source as it is now, for what is answered before any signature.
    pub(crate) async fn current(&self, name: &str) -> Result<Arc<Source>, Answer> {
        let secret = format!("{}/sources/{name}", self.prefix);
        let value = self.secrets.get(&secret, Stage::Current).await.map_err(|error| unread(&error))?;
        self.parse(&secret, Stage::Current, &value)
    }

    /// Tries the source's current secrets, then those before the last rotation, then, if the current ones may just have been changed, those
    /// that Secrets Manager has now.
    pub(crate) async fn verify<'a>(&self, name: &str, request: &'a Request<'a>, now: Timestamp) -> Found<'a> {
        let secret = format!("{}/sources/{name}", self.prefix);
        let current = match self.secrets.get(&secret, Stage::Current).await {
            Ok(value) => value,
            Err(error) => return Found::Refused(unread(&error)),
        };
        let first = self.attempt(&secret, Stage::Current, &current, request, now).await;
        let is_mismatch = match &first {
            Attempt::Refused(refusal) if refusal.another_secret_may_match() => true,
            Attempt::Verified { .. } | Attempt::Refused(_) => return first.into_found(),
            // It may just have been mended.
            Attempt::Broken(_) => false,
        };
        if is_mismatch {
            match self.secrets.get(&secret, Stage::Previous).await {
                Ok(previous) => {
                    let second = self.attempt(&secret, Stage::Previous, &previous, request, now).await;
                    if matches!(second, Attempt::Verified { .. }) {
                        return second.into_found();
                    }
                }
                Err(SecretError::Missing { .. }) => {}
                // It may be signed with a secret that cannot be read now: a sender that does not come back after a 401 would lose it.
                Err(error) => return Found::Refused(unread(&error)),
            }
        }
        if let Ok(newest) = self.secrets.get_again(&secret, Stage::Current).await
            && newest != current
        {
            return self.attempt(&secret, Stage::Current, &newest, request, now).await.into_found();
        }
        first.into_found()
    }

    async fn attempt<'a>(
        &self,
        secret: &str,
        stage: Stage,
        value: &SecretValue,
        request: &'a Request<'a>,
        now: Timestamp,
    ) -> Attempt<'a> {
        let source = match self.parse(secret, stage, value) {
            Ok(source) => source,
            Err(answer) => return Attempt::Broken(answer),
        };
        let key = match wanted(&source, request) {
            Ok(None) => None,
            Ok(Some(wanted)) => match self.keys.get(&wanted, Freshness::Kept).await {
                Ok(key) => Some((wanted, key)),
                Err(KeysError::Missing { host }) => return Attempt::Refused(Refusal::KeyUnknown { place: host }),
                Err(error) => return Attempt::Broken(Answer::unavailable("KEYS_UNAVAILABLE", error.to_string())),
            },
            Err(refusal) => return Attempt::Refused(refusal),
        };
        let document = key.as_ref().map(|(_, document)| document.as_ref());
        match verify_with(&source, request, document, now.seconds()) {
            Ok(verified) => Attempt::Verified { source, verified },
            // The provider may have changed its keys since they were fetched.
            Err(Refusal::KeyUnknown { place }) => {
                let Some((wanted, _)) = &key else { return Attempt::Refused(Refusal::KeyUnknown { place }) };
                match self.keys.get(wanted, Freshness::Newer).await {
                    Ok(key) => match verify_with(&source, request, Some(&key), now.seconds()) {
                        Ok(verified) => Attempt::Verified { source, verified },
                        Err(refusal) => Attempt::Refused(refusal),
                    },
                    Err(KeysError::Missing { host }) => Attempt::Refused(Refusal::KeyUnknown { place: host }),
                    Err(error) => Attempt::Broken(Answer::unavailable("KEYS_UNAVAILABLE", error.to_string())),
                }
            }
            Err(refusal) => Attempt::Refused(refusal),
        }
    }

    fn parse(&self, secret: &str, stage: Stage, value: &SecretValue) -> Result<Arc<Source>, Answer> {
        // No half-made state between statements, so a panic elsewhere leaves the map usable.
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (secret.to_owned(), stage);
        if let Some((bytes, source)) = parsed.get(&key)
            && bytes == value
        {
            return Ok(source.clone());
        }
        // The operator's mistake: the sender should come back when it is mended.
        let source = Source::from_secret(value.expose()).map_err(|error| {
            Answer::unavailable("SOURCE_INVALID", format!("the secret {secret} does not work: {error}"))
        })?;
        let source = Arc::new(source);
        if parsed.len() >= MAX_PARSED {
            parsed.clear();
        }
        parsed.insert(key, (value.clone(), source.clone()));
        Ok(source)
    }
}

enum Attempt<'a> {
    Verified { source: Arc<Source>, verified: Verified<'a> },
    Refused(Refusal),
    Broken(Answer),
}

impl<'a> Attempt<'a> {
    fn into_found(self) -> Found<'a> {
        match self {
            Attempt::Verified { source, verified } => Found::Verified { source, verified },
            Attempt::Refused(refusal) => Found::Refused(Answer::unverified(&refusal)),
            Attempt::Broken(answer) => Found::Refused(answer),
        }
    }
}

fn unread(error: &SecretError) -> Answer {
    match error {
        SecretError::Missing { .. } => Answer::unknown_source(),
        SecretError::Unavailable { .. } => Answer::unavailable("SOURCE_UNAVAILABLE", error.to_string()),
        SecretError::Throttled { .. } => Answer::unavailable("TOO_MANY_UNKNOWN_SOURCES", error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_can_be_sources() {
        for name in ["stripe", "stripe-eu", "a", "9_lives", &"x".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", "_a", "Stripe", "a/b", "a%2fb", "..", "a b", "é", "bridge", &"x".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
