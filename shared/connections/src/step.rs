//! Steps of work on a connection. Each is one await of whoever carries them out.

use crate::name::ConnectionName;
use crate::record::{Change, Landed, Record};
use crate::version::{Held, Seen, VersionId};
use clawbridge_clock::Timestamp;
use clawbridge_journal::Entry;
use clawbridge_oauth::{Refused, TokenSet};

/// The next step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Read the version of the secret that is in use (`AWSCURRENT`).
    ReadCurrent,
    /// Read this version of the secret, whatever its labels are.
    ReadVersion(VersionId),
    /// Read the item, consistently.
    ReadRecord,
    /// Write it, if nobody has since.
    Write(Box<Change>),
    /// Ask the provider for tokens.
    Ask(Box<Asking>),
    /// Make the secret, with its first version.
    Create(Box<Held>),
    /// Add a version to the secret that is not in use yet.
    Stash(Box<Held>),
    /// Put one version in use in the place of another.
    Promote {
        /// The one that is to be in use until then.
        from: VersionId,
        /// The one that takes its place.
        to: VersionId,
    },
    /// Take the secret's deletion back.
    Restore,
    /// Have the secret deleted.
    Delete,
    /// Do nothing until then.
    Wait(Timestamp),
    /// It is over.
    End(Outcome),
}

/// A request to the provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Asking {
    /// What it presents. `None`: the grant needs nothing.
    pub held: Option<Held>,
    /// The client's previous secret is used, because its current one was refused.
    pub previous_secret: bool,
    /// It has to be over by then; it is not begun where too little is left (see [`time_to_ask`](crate::refresh::time_to_ask)).
    pub until: Timestamp,
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// [`Step::ReadCurrent`], [`Step::ReadVersion`].
    Secret(Seen),
    /// [`Step::ReadRecord`].
    Record(Option<Box<Record>>),
    /// [`Step::Write`].
    Wrote(Landed),
    /// [`Step::Ask`]: these tokens.
    Asked(Box<TokenSet>),
    /// [`Step::Ask`]: none.
    Refused(Refused),
    /// [`Step::Ask`]: it was not begun.
    NotAsked,
    /// [`Step::Create`], [`Step::Stash`]: it is there, of this try or of an earlier one.
    Stored,
    /// [`Step::Create`]: there is such a secret. [`Step::Stash`]: there is such a version, of somebody else's.
    Taken,
    /// [`Step::Create`], [`Step::Stash`], [`Step::Promote`]: the secret is gone, or going.
    Gone,
    /// [`Step::Promote`].
    Promoted,
    /// [`Step::Promote`]: another version is in use.
    NotInUse,
    /// [`Step::Restore`].
    Restored,
    /// [`Step::Delete`]: also where there was nothing.
    Deleted,
    /// [`Step::Wait`].
    Waited,
    /// Any step: it failed, with or without effect.
    Failed(Failure),
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A stable code.
    pub code: &'static str,
    /// In plain words, without any secret.
    pub reason: String,
}

/// How work on a connection ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// These are its tokens.
    Use(Box<Held>),
    /// Somebody has to authorise it again.
    NeedsReauth {
        /// Why: the server's error code, or a stable one of ours.
        code: String,
        /// Since when.
        since: Timestamp,
    },
    /// There is no such connection (any more).
    NotConnected,
    /// Not now.
    Later {
        /// A stable code.
        code: String,
        /// In plain words.
        reason: String,
        /// When to try again.
        at: Timestamp,
    },
}

/// What there is to tell, for the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The provider was asked, and there is a new token set.
    Refreshed {
        /// Its generation.
        generation: u64,
    },
    /// Somebody before had stored a token set and not put it in use.
    Recovered {
        /// Its generation.
        generation: u64,
    },
    /// The provider gave a token set that could not be stored: if it rotates refresh tokens, the next refresh will fail.
    Unstored {
        /// Its generation.
        generation: u64,
    },
    /// Somebody else's token set counts, and the one that the provider gave is dropped.
    Superseded {
        /// The dropped one's generation.
        generation: u64,
    },
    /// The provider gave no tokens.
    Refused {
        /// Why.
        code: String,
    },
    /// It has to be authorised again, which was written down just now.
    Expired {
        /// The generation that is refused.
        generation: u64,
        /// Why.
        code: String,
    },
}

impl Note {
    /// The journal's line for it, of the connection `name`. That somebody has to authorise it again is not told here but where it is made an event.
    #[must_use]
    pub fn entry<'a>(&'a self, name: &'a ConnectionName) -> Option<Entry<'a>> {
        let (provider, account) = (name.provider(), name.account());
        let refreshed = |generation, how| Entry::ConnectionRefreshed { provider, account, generation, how };
        let failed = |code, reason| Entry::ConnectionFailed { provider, account, code, reason };
        match self {
            Note::Refreshed { generation } => Some(refreshed(*generation, "refreshed")),
            Note::Recovered { generation } => Some(refreshed(*generation, "recovered")),
            Note::Superseded { generation } => Some(refreshed(*generation, "superseded")),
            Note::Unstored { .. } => Some(failed(
                "NOT_STORED",
                "the provider gave tokens that could not be stored: where it rotates refresh tokens, the account has to be connected again",
            )),
            Note::Refused { code } => Some(failed(code, "the provider gave no tokens")),
            Note::Expired { .. } => None,
        }
    }
}
