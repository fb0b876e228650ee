//! What the registry table says of a connection: an index, and a lease. It holds no credential.

use crate::name::ConnectionName;
use crate::version::{Held, VersionId};
use clawbridge_clock::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It has tokens, or may ask for them.
    Active,
    /// What it has is refused: somebody has to authorise it again.
    NeedsReauth,
    /// It was taken back.
    Revoked,
}

impl Status {
    /// As the table has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::NeedsReauth => "needs_reauth",
            Status::Revoked => "revoked",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Status> {
        [Status::Active, Status::NeedsReauth, Status::Revoked].into_iter().find(|status| status.as_str() == text)
    }
}

/// Who refreshes a connection, and how long nobody else does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Random, of one refresh.
    pub owner: String,
    /// It counts until then.
    pub until: Timestamp,
}

/// Why the last refresh failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// A stable code, or the server's registered one.
    pub code: String,
    /// When.
    pub at: Timestamp,
}

/// The item. Every write is of the whole of it, and counts only if nobody wrote since it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub name: ConnectionName,
    /// Counts the writes: the fence.
    pub revision: u64,
    /// Who wrote it last: random, so that a write whose answer was lost is known again.
    pub writer: String,
    /// Where the connection stands.
    pub status: Status,
    /// Of the token set in the secret, when this was written; 0 before the first. The secret's own is the truth.
    pub generation: u64,
    /// Which version of the secret that is.
    pub version: Option<VersionId>,
    /// What was granted.
    pub scopes: Vec<String>,
    /// What was asked for at the consent.
    pub asked_scopes: Vec<String>,
    /// When the access token expires.
    pub token_expires_at: Option<Timestamp>,
    /// When the token set was obtained.
    pub obtained_at: Option<Timestamp>,
    /// When the account was connected.
    pub connected_at: Timestamp,
    /// When it was refreshed last.
    pub last_refresh_at: Option<Timestamp>,
    /// Refreshes in a row that failed.
    pub failures: u32,
    /// Nothing is asked of the provider before.
    pub cool_until: Option<Timestamp>,
    /// Why the last one failed, as long as it is the last.
    pub last_error: Option<LastError>,
    /// Who is at it.
    pub lease: Option<Lease>,
    /// Somebody was told that it has to be authorised again.
    pub announced: bool,
    /// What the provider's declaration keeps of answers.
    pub kept: BTreeMap<String, String>,
    /// The account's own values of the provider's parameters.
    pub parameters: BTreeMap<String, String>,
}

impl Record {
    /// Of a connection that the table does not know.
    #[must_use]
    pub fn new(name: ConnectionName, now: Timestamp) -> Record {
        Record {
            name,
            revision: 0,
            writer: String::new(),
            status: Status::Active,
            generation: 0,
            version: None,
            scopes: Vec::new(),
            asked_scopes: Vec::new(),
            token_expires_at: None,
            obtained_at: None,
            connected_at: now,
            last_refresh_at: None,
            failures: 0,
            cool_until: None,
            last_error: None,
            lease: None,
            announced: false,
            kept: BTreeMap::new(),
            parameters: BTreeMap::new(),
        }
    }

    /// With a newer token set: whatever was wrong with the one before is over.
    #[must_use]
    pub fn holding(&self, held: &Held) -> Record {
        Record {
            status: Status::Active,
            generation: held.set.generation,
            version: Some(held.version.clone()),
            scopes: held.set.scopes.clone(),
            token_expires_at: held.set.expires_at,
            obtained_at: Some(held.set.obtained_at),
            failures: 0,
            cool_until: None,
            last_error: None,
            announced: false,
            kept: held.set.kept.clone(),
            parameters: held.set.parameters.clone(),
            ..self.clone()
        }
    }

    /// What people and programs are shown of it.
    #[must_use]
    pub fn view(&self) -> Value {
        let time = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
        let error = self.last_error.as_ref().map(|error| json!({"code": error.code, "at": error.at.rfc3339()}));
        json!({
            "connection": self.name.to_string(),
            "provider": self.name.provider(),
            "account": self.name.account(),
            "status": self.status.as_str(),
            "generation": self.generation,
            "scopes": self.scopes,
            "asked_scopes": self.asked_scopes,
            "token_expires_at": time(self.token_expires_at),
            "obtained_at": time(self.obtained_at),
            "connected_at": self.connected_at.rfc3339(),
            "last_refresh_at": time(self.last_refresh_at),
            "failures": self.failures,
            "cool_until": time(self.cool_until),
            "last_error": error,
            "refreshing_until": time(self.lease.as_ref().map(|lease| lease.until)),
            "kept": self.kept,
            "parameters": self.parameters,
        })
    }

    /// Whether somebody else is at it.
    #[must_use]
    pub fn is_leased(&self, me: &str, now: Timestamp) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.owner != me && lease.until > now)
    }
}

/// A write of an item that takes effect if nobody wrote it since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its revision as it was read; 0 where there was none.
    pub before: u64,
    /// What it is to be.
    pub after: Record,
}

/// What is to be done with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Write it.
    Write,
    /// It is written already: an earlier try took effect.
    Written,
    /// Somebody else was faster.
    Lost,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Landed {
    /// The item is this now.
    Written(Box<Record>),
    /// It is this instead.
    Lost(Option<Box<Record>>),
}

impl Change {
    /// From `seen` (revision 0: there is no item) to `after`, by `writer`.
    #[must_use]
    pub fn new(seen: u64, after: Record, writer: &str) -> Change {
        Change { before: seen, after: Record { revision: seen.saturating_add(1), writer: writer.to_owned(), ..after } }
    }

    /// What the table does with it.
    #[must_use]
    pub fn rule(&self, current: Option<&Record>) -> Rule {
        match current {
            Some(current) if *current == self.after => Rule::Written,
            current if current.map_or(0, |current| current.revision) == self.before => Rule::Write,
            _ => Rule::Lost,
        }
    }
}
