//! Versions of a connection's secret.

use clawbridge_clock::Timestamp;
use clawbridge_oauth::TokenSet;
use sha2::{Digest, Sha256};
use std::fmt;
use std::time::Duration;

/// A token is taken to have expired so long before it does: clocks differ, and calls take time.
pub const EXPIRY_MARGIN: Duration = Duration::from_secs(10);

/// How many refreshes one after the other are followed: more than happen while a process is held up.
pub const CHAIN: usize = 64;

/// The id of a version, which is the `ClientRequestToken` that it was put with.
///
/// That of a refreshed token set follows from the version that it came of ([`VersionId::next`]). So whoever has that one knows where the
/// next would be without any label or list, a repeated put is the same version, and of two refreshers that came of the same version only
/// one can store: Secrets Manager refuses another value under an id that is used.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VersionId(String);

impl VersionId {
    /// As Secrets Manager has it.
    #[must_use]
    pub fn new(id: String) -> VersionId {
        VersionId(id)
    }

    /// Of a token set that came of no other: a consent's, or the first. `nonce` is random.
    #[must_use]
    pub fn of_first(nonce: &str, generation: u64) -> VersionId {
        VersionId(hex::encode(Sha256::digest(format!("first\0{nonce}\0{generation}"))))
    }

    /// Of the token set that a refresh of this one makes.
    #[must_use]
    pub fn next(&self) -> VersionId {
        VersionId(hex::encode(Sha256::digest(format!("next\0{}", self.0))))
    }

    /// Whether refreshes lead from this version to that one, or it is the same: looked at as far as [`CHAIN`].
    #[must_use]
    pub fn leads_to(&self, other: &VersionId) -> bool {
        std::iter::successors(Some(self.clone()), |id| Some(id.next())).take(CHAIN).any(|id| id == *other)
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A token set as the secret has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which version.
    pub version: VersionId,
    /// The tokens.
    pub set: TokenSet,
}

impl Held {
    /// Whether calls can carry its token.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.set.expires_at.is_none_or(|at| at.minus(EXPIRY_MARGIN) > now)
    }

    /// Whether its token is of no use any more, also where it never was valid for longer than [`EXPIRY_MARGIN`].
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.set.expires_at.is_some_and(|at| {
            let half = self.set.obtained_at.until(at) / 2;
            at.minus(half.min(EXPIRY_MARGIN)) <= now
        })
    }

    /// Whether it is to be refreshed, `early` before its expiry, but not in the first half of its life.
    #[must_use]
    pub fn is_due(&self, early: Duration, now: Timestamp) -> bool {
        self.set.expires_at.is_some_and(|at| {
            let half = self.set.obtained_at.until(at) / 2;
            at.minus(early.min(half).max(EXPIRY_MARGIN)) <= now
        })
    }
}

/// What is found where a version was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Missing,
    /// The secret is being deleted.
    Deleting,
    /// This.
    Held(Box<Held>),
}
