//! Why there are no figures.

use std::path::Path;

/// What kept the benchmark from measuring. Figures, whatever they are, are never a failure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A program to measure is not there.
    #[error("BINARY_MISSING: there is no {path}; build it with `{build}`, or name another with {option}")]
    BinaryMissing { path: String, build: &'static str, option: &'static str },
    /// A program to measure did not start, or stopped before it was ready.
    #[error("NOT_STARTED: {0}")]
    NotStarted(String),
    /// What is measured did not do its work, so that a figure would be about something else.
    #[error("WRONG_ANSWER: {0}")]
    WrongAnswer(String),
    /// It did nothing for too long.
    #[error("TIMED_OUT: {what} took more than {seconds} s")]
    TimedOut { what: String, seconds: u64 },
    /// The benchmark's own servers, connections or files.
    #[error("HARNESS_FAILED: {0}")]
    Harness(String),
    /// Somebody asked it to stop.
    #[error("INTERRUPTED: stopped before all figures were there")]
    Interrupted,
}

impl Failure {
    /// An error of the benchmark's own.
    pub(crate) fn harness(what: &str, error: impl std::fmt::Display) -> Failure {
        Failure::Harness(format!("{what}: {error}"))
    }

    /// [`Failure::BinaryMissing`] unless `path` is a file.
    pub(crate) fn unless_file(path: &Path, build: &'static str, option: &'static str) -> Result<(), Failure> {
        if path.is_file() {
            return Ok(());
        }
        Err(Failure::BinaryMissing { path: path.display().to_string(), build, option })
    }
}
