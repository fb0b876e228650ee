//! Tasks whose account has no token just now: they are put off, not failed.

use crate::{Loaded, Worker};
use clawbridge_clock::Timestamp;
use clawbridge_config::CompiledTool;
use clawbridge_tasks::{Class, Code, Record, TaskError};
use clawbridge_tools::Called;
use std::time::Duration;

impl Worker {
    /// Writes down what has happened to connections. That one has to be authorised again becomes an event by the schedule of `oauth`, which finds
    /// it in the table within a minute, whoever wrote it there: here it would be lost with the process.
    pub(crate) fn note_connections(&self) {
        drop(self.connections.happenings());
        for (name, note) in self.connections.notes() {
            if let Some(entry) = note.entry(&name) {
                clawbridge_journal::write(&entry);
            }
        }
    }
}

/// Whether a call was not made because its account has no token just now.
pub(crate) fn has_no_token(error: &TaskError) -> bool {
    match error.code {
        Code::ConnectionExpired => true,
        Code::CredentialUnavailable => error.class == Class::Transient,
        _ => false,
    }
}

/// How long the tasks of `tool` wait for its account.
pub(crate) fn wait(loaded: &Loaded, tool: &CompiledTool) -> Duration {
    let provider = tool.connection().and_then(|connection| loaded.config.provider(connection.provider()));
    provider.map_or(Duration::ZERO, |provider| provider.wait.duration())
}

/// Why a task is put off: its account has to be authorised again, or its provider is out of reach, and neither is the task's fault. Once the
/// provider's `wait` is over since the task was made, it fails with that.
pub(crate) fn waits(
    loaded: &Loaded,
    tool: &CompiledTool,
    record: &Record,
    called: &Called,
    now: Timestamp,
) -> Option<TaskError> {
    let error = called.answer.as_ref().err().filter(|error| tool.connection().is_some() && has_no_token(error))?;
    (record.created_at.plus(wait(loaded, tool)) > now).then(|| error.clone())
}
