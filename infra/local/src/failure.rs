//! How a command ends badly: a code for scripts, a sentence for people, an exit status.

use std::fmt;

/// Exit statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// What was asked for was done and the answer is no: refused, failed, not valid.
    Negative = 1,
    /// A wrong command line, as clap's own.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// The stack could not be reached or refused.
    Unreachable = 4,
    /// What was waited for did not happen in time.
    TimeOver = 5,
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

    /// What was given cannot be worked with.
    pub(crate) fn usage(code: &'static str, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), exit: Exit::Usage }
    }

    /// What was waited for did not happen in time.
    pub(crate) fn time_over(message: impl Into<String>) -> Failure {
        Failure { code: "TIME_OVER", message: message.into(), exit: Exit::TimeOver }
    }

    /// The answer is no, and what there is to say about it is on standard output.
    pub(crate) fn said(code: &'static str) -> Failure {
        Failure::negative(code, String::new())
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
