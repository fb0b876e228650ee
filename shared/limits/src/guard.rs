//! What a tool's declaration asks to be kept, and under which key.

use crate::{bucket, circuit};
use clawbridge_config::{CompiledTool, Per};
use std::fmt;
use std::time::Duration;

/// Added to a tool's time limit to make the time of a probe, as to make a task's lease.
const PROBE_MARGIN: Duration = Duration::from_secs(5);

/// A key of the limits table: `tool/NAME`, `limit/NAME`, `credential/SECRET`, `limit/NAME/credential/SECRET`, `circuit/TOOL`. Names of
/// secrets, never what is in them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(String);

impl Scope {
    /// From what a person typed or what [`Scope::as_str`] gave. One that nobody uses names an item that is not there.
    #[must_use]
    pub fn named(text: &str) -> Scope {
        Scope(text.to_owned())
    }

    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is kept for the calls of one tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The tool's own key: its pause is remembered under it where there is neither limit nor circuit.
    pub tool: Scope,
    /// The bucket that each call takes a token from.
    pub limit: Option<(Scope, bucket::Rule)>,
    /// The circuit that each call goes through.
    pub circuit: Option<(Scope, circuit::Rule)>,
}

impl Guard {
    /// What `tool` declares. `credential` names the credential that the call is made with, for limits by credential: the name of a secret or
    /// a connection, never a value.
    #[must_use]
    pub fn of(tool: &CompiledTool, credential: Option<&str>) -> Guard {
        let name = tool.name();
        let limit = tool.limit().map(|compiled| {
            let limit = compiled.limit;
            let rule = bucket::Rule::new(limit.rate.calls(), limit.rate.period(), limit.burst);
            let by_credential = credential.filter(|_| limit.per == Per::Credential);
            let scope = match (&compiled.shared, by_credential) {
                (None, None) => format!("tool/{name}"),
                (None, Some(credential)) => format!("credential/{credential}"),
                (Some(shared), None) => format!("limit/{shared}"),
                (Some(shared), Some(credential)) => format!("limit/{shared}/credential/{credential}"),
            };
            (Scope(scope), rule)
        });
        let circuit = tool.circuit().map(|circuit| {
            let rule = circuit::Rule {
                failures: circuit.failures,
                window: circuit.window.duration(),
                share: circuit.share.map(clawbridge_config::Share::percent),
                open: circuit.open.duration(),
                probes: circuit.probes,
                probe_time: tool.tool().timeout.duration() + PROBE_MARGIN,
            };
            (Scope(format!("circuit/{name}")), rule)
        });
        Guard { tool: Scope(format!("tool/{name}")), limit, circuit }
    }

    /// The keys of the table that this is kept under.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.limit.iter().map(|(scope, _)| scope).chain(self.circuit.iter().map(|(scope, _)| scope))
    }
}
