//! What a tool's declaration asks to be kept, and under which key.

use crate::{bucket, budget, circuit, slots};
use clawbridge_config::{CompiledTool, Per};
use std::fmt;
use std::time::Duration;

/// Added to a tool's time limit to make the time of a probe and the lease of a slot, as to make a task's lease. Both begin after that one.
const MARGIN: Duration = Duration::from_secs(5);

/// A key of the limits table: `tool/NAME`, `limit/NAME`, `credential/SECRET`, `limit/NAME/credential/SECRET`; `slots/` and one of these;
/// `circuit/TOOL`, `retries/TOOL`. Names of secrets, never what is in them.
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
    /// The slots of which each call holds one while it is under way.
    pub slots: Option<(Scope, slots::Rule)>,
    /// What pays for retries.
    pub retries: Option<(Scope, budget::Rule)>,
    /// The circuit that each call goes through.
    pub circuit: Option<(Scope, circuit::Rule)>,
}

impl Guard {
    /// What `tool` declares. `credential` names the credential that the call is made with, for limits by credential: the name of a secret or
    /// a connection, never a value.
    #[must_use]
    pub fn of(tool: &CompiledTool, credential: Option<&str>) -> Guard {
        let name = tool.name();
        let lease = tool.attempt_time() + MARGIN;
        let (mut limit, mut slots) = (None, None);
        if let Some(compiled) = tool.limit() {
            let by_credential = credential.filter(|_| compiled.limit.per == Per::Credential);
            let scope = match (&compiled.shared, by_credential) {
                (None, None) => format!("tool/{name}"),
                (None, Some(credential)) => format!("credential/{credential}"),
                (Some(shared), None) => format!("limit/{shared}"),
                (Some(shared), Some(credential)) => format!("limit/{shared}/credential/{credential}"),
            };
            slots = compiled.limit.concurrency.map(|concurrency| {
                let rule = slots::Rule::new(concurrency, lease);
                (Scope(format!("slots/{scope}")), rule)
            });
            limit = compiled.limit.bucket().map(|(rate, burst)| {
                let rule = bucket::Rule::new(rate.calls(), rate.period(), burst);
                (Scope(scope), rule)
            });
        }
        let retries = tool.retry_budget().map(|budget| {
            let rate = bucket::Rule::new(budget.rate.calls(), budget.rate.period(), budget.burst());
            (Scope(format!("retries/{name}")), budget::Rule { percent: budget.share.percent(), rate })
        });
        let circuit = tool.circuit().map(|circuit| {
            let rule = circuit::Rule {
                failures: circuit.failures,
                window: circuit.window.duration(),
                share: circuit.share.map(clawbridge_config::Share::percent),
                open: circuit.open.duration(),
                probes: circuit.probes,
                probe_time: lease,
            };
            (Scope(format!("circuit/{name}")), rule)
        });
        Guard { tool: Scope(format!("tool/{name}")), limit, slots, retries, circuit }
    }

    /// The keys of the table that this is kept under.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        let limit = self.limit.iter().map(|(scope, _)| scope);
        let slots = self.slots.iter().map(|(scope, _)| scope);
        let retries = self.retries.iter().map(|(scope, _)| scope);
        limit.chain(slots).chain(retries).chain(self.circuit.iter().map(|(scope, _)| scope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_kept_under_what_it_is_counted_by_and_a_circuit_under_its_tool() {
        let text = r#"
            [tools.free]
            method = "GET"
            url = "https://a.example"
            [tools.own]
            method = "GET"
            url = "https://a.example"
            timeout = "7s"
            limit = { rate = "10/s", burst = 20, concurrency = 3 }
            retry_budget = { share = "10%", rate = "5/s" }
            circuit = { failures = 9, window = "5m", share = "50%", open = "20s", probes = 2 }
            [tools.keyed]
            method = "GET"
            url = "https://a.example"
            auth.secret = "clawbridge/tools/a"
            limit = { rate = "10/s", per = "credential" }
            [tools.shared]
            method = "GET"
            url = "https://a.example"
            limit = "api"
            [tools.both]
            method = "GET"
            url = "https://a.example"
            auth.secret = "clawbridge/tools/a"
            limit = "keys"
            [tools.few]
            method = "GET"
            url = "https://a.example"
            limit = { concurrency = 3 }
            [limits.api]
            rate = "100/m"
            [limits.keys]
            rate = "100/m"
            concurrency = 3
            per = "credential"
        "#;
        let config = clawbridge_config::check(text).0.expect("no error").compile().expect("the same");
        for (tool, credential, expected) in [
            ("free", None, &[][..]),
            ("own", None, &["tool/own", "slots/tool/own", "retries/own", "circuit/own"]),
            ("few", None, &["slots/tool/few"]),
            ("keyed", Some("clawbridge/tools/a"), &["credential/clawbridge/tools/a"]),
            ("shared", Some("clawbridge/tools/a"), &["limit/api"]),
            (
                "both",
                Some("clawbridge/tools/a"),
                &["limit/keys/credential/clawbridge/tools/a", "slots/limit/keys/credential/clawbridge/tools/a"],
            ),
        ] {
            let guard = Guard::of(config.tool(tool).expect("the tool"), credential);
            assert_eq!(guard.scopes().map(Scope::as_str).collect::<Vec<_>>(), expected, "{tool}");
        }
        let own = Guard::of(config.tool("own").expect("the tool"), None);
        assert_eq!(own.limit.map(|(_, rule)| rule), Some(bucket::Rule::new(10, Duration::from_secs(1), 20)));
        // As long as the lease of a task's attempt, and taken after it.
        assert_eq!(own.slots.map(|(_, rule)| rule), Some(slots::Rule::new(3, Duration::from_secs(12))));
        let rate = bucket::Rule::new(5, Duration::from_secs(1), 5);
        assert_eq!(own.retries.map(|(_, rule)| rule), Some(budget::Rule { percent: 10, rate }));
        let rule = circuit::Rule {
            failures: 9,
            window: Duration::from_secs(300),
            share: Some(50),
            open: Duration::from_secs(20),
            probes: 2,
            probe_time: Duration::from_secs(12),
        };
        assert_eq!(own.circuit.map(|(_, rule)| rule), Some(rule));
    }
}
