//! Why something is not done, by what the caller does next.

use clawbridge_config::Diagnostic;
use std::fmt;

/// One thing that is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: `tools.stripe_refund`, `routes.stripe-disputes`, `parameters.shop`. Empty for the whole.
    pub path: String,
    /// What is wrong, and what to do: one line.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem { path: path.into(), message: message.into() }
    }
}

/// The kind of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The bundle is none: whoever wrote it mends it.
    Bundle,
    /// What was chosen does not fit the bundle: choose something else.
    Options,
    /// The document has something by the name of what the skill brings: rename or remove that.
    Clash,
    /// The user has changed what the skill brought: decide what counts.
    Edited,
    /// Something that is not the skill's refers to what it brought: change that first.
    Referred,
    /// A later version is installed.
    Older,
    /// The document that would result breaks a rule.
    Document,
}

/// Why a skill is not installed, or not removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which kind.
    pub why: Why,
    /// What is in the way; at least one.
    pub problems: Vec<Problem>,
}

impl Refused {
    pub(crate) fn new(why: Why, problems: Vec<Problem>) -> Refused {
        Refused { why, problems }
    }

    pub(crate) fn document(diagnostics: &[Diagnostic]) -> Refused {
        let problem = |one: &Diagnostic| {
            let suggestion = one.suggestion.as_ref().map(|text| format!("; {text}")).unwrap_or_default();
            Problem::new(one.path.clone(), format!("{}{suggestion} [{}]", one.message, one.code.as_str()))
        };
        Refused::new(Why::Document, diagnostics.iter().take(50).map(problem).collect())
    }

    /// The whole in one sentence.
    #[must_use]
    pub fn sentence(&self) -> &'static str {
        match self.why {
            Why::Bundle => "this is no bundle that can be installed",
            Why::Options => "what was chosen does not fit the skill",
            Why::Clash => "the configuration has members by the names of what the skill brings; rename or remove them",
            Why::Edited => {
                "what the skill brought was changed since; change it back, or say force, and the changes are lost"
            }
            Why::Referred => "something refers to what the skill brought; change that first",
            Why::Older => "a later version is installed; force goes back",
            Why::Document => "the configuration that would result does not work",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())?;
        for problem in &self.problems {
            let at = if problem.path.is_empty() { "" } else { ": " };
            write!(f, "\n  {}{at}{}", problem.path, problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}
