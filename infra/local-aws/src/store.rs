//! The SQLite file behind SQS and Secrets Manager: opened once, one writer, one short transaction per request.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// The version of the tables below, kept in the file's `user_version`.
const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE queues (
    name        TEXT PRIMARY KEY,
    settings    TEXT NOT NULL,               -- JSON: attribute name to value, as set
    tags        TEXT NOT NULL,               -- JSON: key to value
    created     INTEGER NOT NULL,            -- this and every other time: milliseconds since the Unix epoch
    modified    INTEGER NOT NULL,
    purged      INTEGER
) STRICT;

CREATE TABLE messages (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival; never used twice, for receipt handles
    queue          TEXT NOT NULL REFERENCES queues (name) ON DELETE CASCADE,
    message_id     TEXT NOT NULL,
    body           TEXT NOT NULL,
    attributes     TEXT NOT NULL,            -- JSON: the sender's attributes
    trace          TEXT,                     -- AWSTraceHeader
    group_id       TEXT,
    dedup_id       TEXT,
    dead_letter_of TEXT,                     -- ARN of the queue that gave it up
    sent           INTEGER NOT NULL,
    visible_at     INTEGER NOT NULL,
    receives       INTEGER NOT NULL DEFAULT 0,
    first_received INTEGER,
    last_received  INTEGER,
    receipt        TEXT                      -- of the last receive; none before the first, or after a move
) STRICT;
CREATE INDEX messages_by_visibility ON messages (queue, visible_at, id);
CREATE INDEX messages_by_group ON messages (queue, group_id, id) WHERE group_id IS NOT NULL;

CREATE TABLE deduplication (
    queue      TEXT NOT NULL REFERENCES queues (name) ON DELETE CASCADE,
    scope      TEXT NOT NULL,                -- the message group, or '' for the whole queue
    dedup_id   TEXT NOT NULL,
    message_id TEXT NOT NULL,
    sequence   TEXT NOT NULL,
    sent       INTEGER NOT NULL,
    PRIMARY KEY (queue, scope, dedup_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE moves (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    handle      TEXT NOT NULL UNIQUE,
    source      TEXT NOT NULL,               -- ARN
    destination TEXT,                        -- ARN
    rate        INTEGER,
    moved       INTEGER NOT NULL,
    to_move     INTEGER NOT NULL,
    failure     TEXT,
    started     INTEGER NOT NULL
) STRICT;

CREATE TABLE secrets (
    name        TEXT PRIMARY KEY,
    arn         TEXT NOT NULL UNIQUE,
    description TEXT,
    kms_key     TEXT,
    tags        TEXT NOT NULL,               -- JSON: key to value
    created     INTEGER NOT NULL,
    changed     INTEGER NOT NULL,
    accessed    INTEGER,
    deletion    INTEGER                      -- when the recovery window ends; none unless it was deleted
) STRICT;

CREATE TABLE secret_versions (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    secret     TEXT NOT NULL REFERENCES secrets (name) ON DELETE CASCADE,
    version_id TEXT NOT NULL,
    text       TEXT,
    binary     BLOB,
    created    INTEGER NOT NULL,
    accessed   INTEGER,
    UNIQUE (secret, version_id)
) STRICT;

CREATE TABLE secret_stages (
    secret     TEXT NOT NULL,
    stage      TEXT NOT NULL,
    version_id TEXT NOT NULL,
    PRIMARY KEY (secret, stage),
    FOREIGN KEY (secret, version_id) REFERENCES secret_versions (secret, version_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
";

/// Where the local services keep their state.
#[derive(Clone, Debug)]
pub enum State {
    /// In memory; gone with the process.
    Ephemeral,
    /// In this directory, which is created (for its owner only) if it is missing.
    Dir(PathBuf),
}

/// Why the state could not be opened. [`OpenError::code`] is stable.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("STATE_IN_USE: another process is using {}; stop it, or choose another directory", .0.display())]
    InUse(PathBuf),
    /// The directory or a file in it cannot be created, read or written.
    #[error("STATE_UNAVAILABLE: cannot use {}: {reason}; check that the directory is writable and the disk is not full", path.display())]
    Unavailable {
        /// What was being opened.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A file is not what this program wrote.
    #[error("STATE_CORRUPT: {} is not a readable database: {reason}; restore it, or move it away to start empty", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// A newer version of this program wrote it.
    #[error("STATE_TOO_NEW: {} was written by a newer version; upgrade, or choose another directory", .0.display())]
    TooNew(PathBuf),
}

impl OpenError {
    /// `STATE_IN_USE`, `STATE_UNAVAILABLE`, `STATE_CORRUPT` or `STATE_TOO_NEW`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InUse(_) => "STATE_IN_USE",
            Self::Unavailable { .. } => "STATE_UNAVAILABLE",
            Self::Corrupt { .. } => "STATE_CORRUPT",
            Self::TooNew(_) => "STATE_TOO_NEW",
        }
    }

    pub(crate) fn unavailable(path: &Path, reason: impl ToString) -> Self {
        Self::Unavailable { path: path.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        if matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)) {
            Self::Corrupt { path: path.to_owned(), reason: error.to_string() }
        } else {
            Self::unavailable(path, error)
        }
    }
}

/// A directory that this process alone uses, for as long as this value lives.
#[derive(Debug)]
pub(crate) struct LockedDir {
    path: PathBuf,
    _lock: File,
}

impl LockedDir {
    /// Creates the directory if need be and locks it against other processes (and against a second opening in this
    /// one).
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        // Secrets and webhook bodies are kept here.
        #[cfg(unix)]
        {
            use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
            builder.mode(0o700);
            options.mode(0o600);
        }
        builder.create(path).map_err(|error| OpenError::unavailable(path, error))?;
        let lock = path.join("lock");
        let file = options.open(&lock).map_err(|error| OpenError::unavailable(&lock, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(OpenError::unavailable(&lock, error)),
        }
    }

    /// The path of a file in it, which exists afterwards and which only its owner can read.
    pub(crate) fn file(&self, name: &str) -> Result<PathBuf, OpenError> {
        let path = self.path.join(name);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&path).map_err(|error| OpenError::unavailable(&path, error))?;
        Ok(path)
    }
}

/// One connection; whoever needs it waits for a turn. Transactions are short, so turns are too.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Mutex<Connection>,
}

impl Store {
    pub(crate) fn in_memory() -> Result<Self, OpenError> {
        let path = Path::new(":memory:");
        let connection = Connection::open_in_memory().map_err(|error| OpenError::sqlite(path, &error))?;
        Self::prepare(connection, path)
    }

    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let connection = Connection::open(path).map_err(|error| OpenError::sqlite(path, &error))?;
        Self::prepare(connection, path)
    }

    fn prepare(mut connection: Connection, path: &Path) -> Result<Self, OpenError> {
        let found: i64 = Self::configure(&connection)
            .and_then(|()| connection.query_row("PRAGMA user_version", [], |row| row.get(0)))
            .map_err(|error| OpenError::sqlite(path, &error))?;
        if found > SCHEMA_VERSION {
            return Err(OpenError::TooNew(path.to_owned()));
        }
        if found < SCHEMA_VERSION {
            let create = |connection: &mut Connection| {
                let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                change.execute_batch(SCHEMA)?;
                change.pragma_update(None, "user_version", SCHEMA_VERSION)?;
                change.commit()
            };
            create(&mut connection).map_err(|error| OpenError::sqlite(path, &error))?;
        }
        Ok(Self { connection: Mutex::new(connection) })
    }

    fn configure(connection: &Connection) -> rusqlite::Result<()> {
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A commit survives the end of the process at once, and the end of the machine from the next checkpoint on.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_prepared_statement_cache_capacity(128);
        Ok(())
    }

    /// Runs `change` in one transaction and commits it if it succeeds: when this returns `Ok`, it is in the file.
    pub(crate) fn write<T, E: From<rusqlite::Error>>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        // A panic inside a transaction rolls it back, so the connection is sound even if the mutex says "poisoned".
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = change(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Runs `look` on one consistent view of the file.
    pub(crate) fn read<T, E: From<rusqlite::Error>>(
        &self,
        look: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        let seen = look(&transaction)?;
        transaction.finish()?;
        Ok(seen)
    }
}
