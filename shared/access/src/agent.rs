//! Agents: an app key that names one, an app secret that proves it.
//!
//! The connector sends both when it connects (`x-app-key`, `x-app-secret`). The key is no secret and finds the record; of the secret SHA-256 is kept,
//! for the reason that [`crate::TokenHash`] gives, and compared in constant time. While a secret is rotated two are valid, so that a connector
//! can be given the new one before the old one ends.

use clawbridge_clock::Timestamp;
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;

/// What app keys and app secrets begin with, so that scanners of repositories and logs find them.
const KEY_PREFIX: &str = "oak_";
const SECRET_PREFIX: &str = "oas_";

/// Hexadecimal digits of a key's random part, of a secret's, and of the checksum behind each.
const KEY_DIGITS: usize = 32;
const SECRET_DIGITS: usize = 64;
const CHECK_DIGITS: usize = 8;

/// The name that an agent is looked up by when it connects. No secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppKey(String);

/// What proves that it is the agent, for the one time that it is shown. Never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct AppSecret(String);

/// What is kept of an app secret: SHA-256 of all of it, in hexadecimal.
#[derive(Clone, Debug)]
pub struct AppSecretHash(String);

/// A secret that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSecret {
    /// Its hash.
    pub hash: AppSecretHash,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is no longer valid: where another one has taken its place.
    pub expires_at: Option<Timestamp>,
}

/// An agent as the registry keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRecord {
    /// What it is called: 1 to 64 letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Its app key, for as long as there is the agent.
    pub key: AppKey,
    /// Its secrets, newest first; two at most.
    pub secrets: Vec<KeptSecret>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a connector brought and could be an agent's: the form and the checksums are right.
#[derive(Clone, Debug)]
pub struct PresentedAgent {
    key: AppKey,
    secret: AppSecretHash,
}

/// Why what a connector brought cannot be an agent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentKeyError {
    /// One of the two headers is not there.
    #[error("an agent sends both headers, x-app-key and x-app-secret")]
    Missing,
    /// The form or the checksum of one is wrong.
    #[error("this is not an app key and app secret of this bridge: one was cut or mistyped")]
    Malformed,
}

/// An agent whose secret was found valid. Only [`admit_agent`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    name: String,
}

/// There is no such agent, or the secret is not valid, or no longer: nobody is told which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no agent with this app key and app secret")]
pub struct AgentRefused;

impl AppKey {
    /// Of 128 random bits.
    #[must_use]
    pub fn of(random: [u8; 16]) -> AppKey {
        AppKey(written(KEY_PREFIX, &hex::encode(random)))
    }

    /// As a table has it.
    #[must_use]
    pub fn kept(text: &str) -> AppKey {
        AppKey(text.to_owned())
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AppSecret {
    /// Of 256 random bits.
    #[must_use]
    pub fn of(random: [u8; 32]) -> AppSecret {
        AppSecret(written(SECRET_PREFIX, &hex::encode(random)))
    }

    /// The text that is shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> AppSecretHash {
        AppSecretHash::of(&self.0)
    }
}

impl fmt::Debug for AppSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("oas_…")
    }
}

impl AppSecretHash {
    fn of(secret: &str) -> AppSecretHash {
        AppSecretHash(hex::encode(Sha256::digest(secret.as_bytes())))
    }

    /// As a table has it.
    #[must_use]
    pub fn kept(text: &str) -> AppSecretHash {
        AppSecretHash(text.to_owned())
    }

    /// 64 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for AppSecretHash {
    /// In constant time.
    fn eq(&self, other: &AppSecretHash) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for AppSecretHash {}

impl AgentRecord {
    /// A new agent with its first secret.
    #[must_use]
    pub fn new(name: &str, key: AppKey, secret: AppSecretHash, now: Timestamp) -> AgentRecord {
        let secrets = vec![KeptSecret { hash: secret, created_at: now, expires_at: None }];
        AgentRecord { name: name.to_owned(), key, secrets, created_at: now }
    }

    /// With another secret, the one before it being valid until `until`. An earlier one that was still valid is no longer.
    #[must_use]
    pub fn rotated(mut self, secret: AppSecretHash, until: Timestamp, now: Timestamp) -> AgentRecord {
        self.secrets.truncate(1);
        for before in &mut self.secrets {
            before.expires_at = Some(before.expires_at.map_or(until, |at| at.min(until)));
        }
        self.secrets.retain(|kept| kept.expires_at.is_none_or(|at| at > now));
        self.secrets.insert(0, KeptSecret { hash: secret, created_at: now, expires_at: None });
        self
    }
}

impl PresentedAgent {
    /// Of the two headers' values. The checksums keep what was mistyped from costing a look at the table; they are no protection.
    ///
    /// # Errors
    /// See [`AgentKeyError`].
    pub fn parse(key: Option<&str>, secret: Option<&str>) -> Result<PresentedAgent, AgentKeyError> {
        let (key, secret) = key.zip(secret).ok_or(AgentKeyError::Missing)?;
        let (key, secret) = (key.trim(), secret.trim());
        if !is_written(key, KEY_PREFIX, KEY_DIGITS) || !is_written(secret, SECRET_PREFIX, SECRET_DIGITS) {
            return Err(AgentKeyError::Malformed);
        }
        Ok(PresentedAgent { key: AppKey(key.to_owned()), secret: AppSecretHash::of(secret) })
    }

    /// Under which the agent is found, if there is one.
    #[must_use]
    pub fn key(&self) -> &AppKey {
        &self.key
    }
}

/// Makes an agent of what a connector brought and what the registry has under its key.
///
/// # Errors
/// See [`AgentRefused`].
pub fn admit_agent(
    presented: &PresentedAgent,
    record: Option<&AgentRecord>,
    now: Timestamp,
) -> Result<Agent, AgentRefused> {
    let record = record.filter(|record| record.key == presented.key).ok_or(AgentRefused)?;
    // All are compared, whichever matches.
    let is_valid = record.secrets.iter().fold(false, |found, kept| {
        let is_live = kept.expires_at.is_none_or(|at| at > now);
        found | ((kept.hash == presented.secret) & is_live)
    });
    if is_valid { Ok(Agent { name: record.name.clone() }) } else { Err(AgentRefused) }
}

impl Agent {
    /// The agent's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn checksum(digits: &str) -> String {
    format!("{:08x}", crc32fast::hash(digits.as_bytes()))
}

fn written(prefix: &str, digits: &str) -> String {
    format!("{prefix}{digits}{}", checksum(digits))
}

fn is_written(text: &str, prefix: &str, random_digits: usize) -> bool {
    let Some(digits) = text.strip_prefix(prefix) else { return false };
    let is_lower_hex = digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if digits.len() != random_digits + CHECK_DIGITS || !is_lower_hex {
        return false;
    }
    let (random, check) = digits.split_at(random_digits);
    checksum(random) == check
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn presented(key: &AppKey, secret: &AppSecret) -> PresentedAgent {
        PresentedAgent::parse(Some(key.as_str()), Some(secret.reveal())).expect("both are well formed")
    }

    #[test]
    fn an_agent_is_admitted_by_its_key_and_secret_and_by_nothing_else() {
        let (key, secret, other) = (AppKey::of([1; 16]), AppSecret::of([2; 32]), AppSecret::of([3; 32]));
        let record = AgentRecord::new("main", key.clone(), secret.hash(), at(0));
        let admit = |key: &AppKey, secret: &AppSecret, record| {
            admit_agent(&presented(key, secret), record, at(1)).map(|agent| agent.name)
        };
        assert_eq!(admit(&key, &secret, Some(&record)), Ok("main".to_owned()));
        assert_eq!(admit(&key, &other, Some(&record)), Err(AgentRefused));
        assert_eq!(admit(&AppKey::of([9; 16]), &secret, Some(&record)), Err(AgentRefused));
        assert_eq!(admit(&key, &secret, None), Err(AgentRefused));
    }

    #[test]
    fn two_secrets_are_valid_while_one_is_rotated_and_never_three() {
        let key = AppKey::of([1; 16]);
        let secrets: Vec<AppSecret> = (1..=3).map(|byte| AppSecret::of([byte; 32])).collect();
        let record = AgentRecord::new("main", key.clone(), secrets[0].hash(), at(0));
        let valid = |record: &AgentRecord, now| -> Vec<bool> {
            let admits = |secret| admit_agent(&presented(&key, secret), Some(record), at(now)).is_ok();
            secrets.iter().map(admits).collect()
        };
        let record = record.rotated(secrets[1].hash(), at(DAY), at(10));
        assert_eq!(valid(&record, DAY - 1), [true, true, false]);
        assert_eq!(valid(&record, DAY), [false, true, false]);
        let again = record.clone().rotated(secrets[2].hash(), at(2 * DAY), at(20));
        assert_eq!(valid(&again, 30), [false, true, true]);
        assert_eq!(again.secrets.len(), 2);
        // At once: the one before is gone from the record.
        let now = record.rotated(secrets[2].hash(), at(20), at(20));
        assert_eq!((valid(&now, 20), now.secrets.len()), (vec![false, false, true], 1));
    }

    #[test]
    fn what_cannot_be_an_agents_is_refused_without_a_look_at_the_table() {
        let (key, secret) = (AppKey::of([1; 16]), AppSecret::of([2; 32]));
        let (key, secret) = (key.as_str(), secret.reveal());
        let parse = |key, secret| PresentedAgent::parse(key, secret).map(|_| ());
        assert_eq!(parse(Some(key), Some(secret)), Ok(()));
        assert_eq!(parse(None, Some(secret)), Err(AgentKeyError::Missing));
        assert_eq!(parse(Some(key), None), Err(AgentKeyError::Missing));
        let changed = secret.replacen("02", "03", 1);
        for (key, secret) in [
            ("", secret),
            (secret, key),
            (key, &secret[..secret.len() - 1]),
            (&key.to_uppercase(), secret),
            (key, changed.as_str()),
            (key, "oas_é"),
        ] {
            assert_eq!(parse(Some(key), Some(secret)), Err(AgentKeyError::Malformed), "{key}");
        }
    }

    #[test]
    fn a_secret_is_neither_shown_nor_kept() {
        let secret = AppSecret::of([7; 32]);
        assert_eq!(format!("{secret:?}"), "oas_…");
        assert!(!secret.hash().as_str().contains(&hex::encode([7; 32])));
    }
}
