//! How a command ends badly: a code for scripts, a sentence for people, an exit status.

use std::fmt;

/// Exit statuses. 2 is a wrong command line (clap's own).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// What was asked for was done and the answer is no: refused, failed, not valid.
    Negative = 1,
    /// There is no such thing.
    NotFound = 3,
    /// The stack could not be reached or refused.
    Unreachable = 4,
}

/// A command's failure.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) exit: Exit,
}

impl Failure {
    /// The stack is at fault.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), exit: Exit::Unreachable }
    }

    /// There is no such thing.
    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), exit: Exit::NotFound }
    }

    /// The answer is no.
    pub(crate) fn negative(code: &'static str, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), exit: Exit::Negative }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)
    }
}
