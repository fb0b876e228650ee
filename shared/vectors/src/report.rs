//! What came of a file.

use std::fmt;

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request and its verdict.
    Vector,
    /// A handshake and its answer.
    Handshake,
}

/// What came of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As expected.
    Passed,
    /// Otherwise.
    Failed {
        /// What was expected.
        expected: String,
        /// What came.
        got: String,
    },
    /// No scheme here can express it. A vector that is not run has not passed.
    Unsupported {
        /// Why.
        reason: String,
    },
    /// A handshake that cannot be made here: only the provider can sign it. It has neither passed nor failed.
    NotRun {
        /// Why.
        reason: String,
    },
}

/// One vector or handshake with its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which of the two.
    pub kind: Kind,
    /// The provider.
    pub provider: String,
    /// Its name.
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == Kind::Handshake { "handshake " } else { "" };
        write!(f, "{kind}{} {}: ", self.provider, self.name)?;
        match &self.outcome {
            Outcome::Passed => f.write_str("passed"),
            Outcome::Failed { expected, got } => write!(f, "expected {expected}; got {got}"),
            Outcome::Unsupported { reason } => write!(f, "unsupported: {reason}"),
            Outcome::NotRun { reason } => write!(f, "not run: {reason}"),
        }
    }
}

/// What came of a whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// In the order of the file, handshakes last.
    pub lines: Vec<Line>,
}

impl Report {
    fn count(&self, kind: Kind, which: impl Fn(&Outcome) -> bool) -> usize {
        self.lines.iter().filter(|line| line.kind == kind && which(&line.outcome)).count()
    }

    /// Vectors whose verdict is the expected one.
    pub fn passed(&self) -> usize {
        self.count(Kind::Vector, |outcome| *outcome == Outcome::Passed)
    }

    /// Vectors whose verdict is another, or that no scheme can express, and handshakes with another answer.
    pub fn failed(&self) -> usize {
        let bad = |outcome: &Outcome| matches!(outcome, Outcome::Failed { .. } | Outcome::Unsupported { .. });
        self.count(Kind::Vector, bad) + self.count(Kind::Handshake, bad)
    }

    /// Vectors and handshakes that no scheme can express; they count as failed.
    pub fn unsupported(&self) -> usize {
        let which = |outcome: &Outcome| matches!(outcome, Outcome::Unsupported { .. });
        self.count(Kind::Vector, which) + self.count(Kind::Handshake, which)
    }

    /// Handshakes that were answered as expected.
    pub fn handshakes_passed(&self) -> usize {
        self.count(Kind::Handshake, |outcome| *outcome == Outcome::Passed)
    }

    /// Handshakes that only the provider could begin.
    pub fn handshakes_not_run(&self) -> usize {
        self.count(Kind::Handshake, |outcome| matches!(outcome, Outcome::NotRun { .. }))
    }

    /// Whether there is nothing to be looked at.
    pub fn is_good(&self) -> bool {
        self.failed() == 0
    }
}

/// A line for each that did not pass, a line about the handshakes, and last `N passed, M failed`.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines.iter().filter(|line| line.outcome != Outcome::Passed) {
            writeln!(f, "{line}")?;
        }
        let of = self.count(Kind::Handshake, |_| true);
        if of > 0 {
            let (passed, not_run) = (self.handshakes_passed(), self.handshakes_not_run());
            writeln!(f, "handshakes: {passed} answered as expected, {} not, {not_run} not run", of - passed - not_run)?;
        }
        if self.unsupported() > 0 {
            writeln!(f, "unsupported, and counted as failed: {}", self.unsupported())?;
        }
        write!(f, "{} passed, {} failed", self.passed(), self.failed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: Kind, name: &str, outcome: Outcome) -> Line {
        Line { kind, provider: "p".into(), name: name.into(), outcome }
    }

    #[test]
    fn what_is_not_run_has_not_passed() {
        let failed = || Outcome::Failed { expected: "valid".into(), got: "invalid: X".into() };
        let report = Report {
            lines: vec![
                line(Kind::Vector, "a", Outcome::Passed),
                line(Kind::Vector, "b", failed()),
                line(Kind::Vector, "c", Outcome::Unsupported { reason: "why".into() }),
                line(Kind::Handshake, "d", Outcome::Passed),
                line(Kind::Handshake, "e", failed()),
                line(Kind::Handshake, "f", Outcome::NotRun { reason: "why".into() }),
            ],
        };
        assert_eq!(
            report.to_string(),
            "p b: expected valid; got invalid: X\np c: unsupported: why\nhandshake p e: expected valid; got invalid: X\n\
             handshake p f: not run: why\nhandshakes: 1 answered as expected, 1 not, 1 not run\n\
             unsupported, and counted as failed: 1\n1 passed, 3 failed"
        );
        assert!(!report.is_good());
        assert!(Report { lines: vec![line(Kind::Vector, "a", Outcome::Passed)] }.is_good());
    }
}
