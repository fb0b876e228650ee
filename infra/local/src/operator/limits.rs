//! `limits list|reset`.

use super::print_json;
use super::reach::{Reached, unreachable};
use super::table;
use crate::cli::{Global, LimitsCommand};
use crate::failure::Failure;
use crate::out::say;
use clawbridge_clock::Timestamp;
use clawbridge_config::Compiled;
use clawbridge_limits::circuit::State;
use clawbridge_limits::{Guard, Kept, Scope};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Who draws on a key, as the configuration has it.
#[derive(Default)]
struct Drawing<'c> {
    tools: Vec<&'c str>,
    /// How many calls may be under way, where that is what the key is about.
    slots: Option<u32>,
    /// Whether retries are paid for from it.
    is_budget: bool,
}

pub(crate) async fn run(global: &Global, command: LimitsCommand) -> Result<(), Failure> {
    let reached = Reached::stack(global).await?;
    match command {
        LimitsCommand::List => list(&reached, global.json).await,
        LimitsCommand::Reset { scope } => reset(&reached, &scope, global.json).await,
    }
}

async fn list(reached: &Reached, json: bool) -> Result<(), Failure> {
    let version = reached.registry.current().await;
    let version = version.map_err(|error| unreachable("REGISTRY_UNAVAILABLE", &error.to_string()))?;
    let drawing = by_scope(&version.config);
    let scopes: Vec<Scope> = drawing.keys().cloned().collect();
    let kept = reached.limits.list(&scopes).await;
    let kept = kept.map_err(|error| unreachable("LIMITS_UNAVAILABLE", &error.to_string()))?;
    let now = Timestamp::now();
    if json {
        print_json(&kept.iter().map(|kept| brief(kept, &drawing[&kept.scope], now)).collect::<Vec<Value>>());
    } else if kept.is_empty() {
        say!("No tool was held up lately.");
    } else {
        let row = |kept: &Kept| {
            let drawing = &drawing[&kept.scope];
            let (state, until) = state(kept, drawing, now);
            let until = until.map(Timestamp::rfc3339).unwrap_or_default();
            vec![kept.scope.to_string(), state, until, drawing.tools.join(", ")]
        };
        table::print(&["SCOPE", "STATE", "UNTIL", "TOOLS"], &kept.iter().map(row).collect::<Vec<_>>());
    }
    Ok(())
}

async fn reset(reached: &Reached, scope: &str, json: bool) -> Result<(), Failure> {
    let removed = reached.limits.reset(&Scope::named(scope)).await;
    if !removed.map_err(|error| unreachable("LIMITS_UNAVAILABLE", &error.to_string()))? {
        let message = format!("nothing is kept under {scope:?}; `clawbridge limits list` shows what is");
        return Err(Failure::not_found("UNKNOWN_SCOPE", message));
    }
    if json {
        print_json(&json!({"reset": true, "scope": scope}));
    } else {
        say!(
            "{scope} is reset; functions go by it within 5 seconds. Tasks that wait come back when they were told to."
        );
    }
    Ok(())
}

fn by_scope(config: &Compiled) -> BTreeMap<Scope, Drawing<'_>> {
    let mut scopes: BTreeMap<Scope, Drawing<'_>> = BTreeMap::new();
    for (name, tool) in config.tools() {
        let credential = tool.tool().auth.as_ref().map(|auth| auth.credential.name());
        let guard = Guard::of(tool, credential);
        for scope in guard.scopes() {
            scopes.entry(scope.clone()).or_default().tools.push(name);
        }
        if let Some((scope, rule)) = guard.slots {
            scopes.entry(scope).or_default().slots = Some(rule.count());
        }
        if let Some((scope, _)) = guard.retries {
            scopes.entry(scope).or_default().is_budget = true;
        }
    }
    scopes
}

/// What holds calls up, or what is left until something does, and until when.
fn state(kept: &Kept, drawing: &Drawing<'_>, now: Timestamp) -> (String, Option<Timestamp>) {
    if let Some(count) = drawing.slots {
        let until = kept.slots.0.values().filter(|held| held.is_live(now)).map(|held| held.until).max();
        return (format!("{} of {count} under way", kept.slots.held(now)), until);
    }
    if let Some(until) = kept.bucket.paused_until.filter(|until| *until > now) {
        return ("paused".to_owned(), Some(until));
    }
    match kept.circuit.as_ref().map(|circuit| &circuit.state) {
        Some(State::Open { until, .. }) => ("open".to_owned(), Some(*until)),
        Some(State::HalfOpen { under_way, succeeded, .. }) => {
            (format!("half-open, {under_way} probes under way, {succeeded} succeeded"), None)
        }
        Some(State::Closed { failed }) => (format!("closed, {} failures remembered", failed.len()), None),
        None => match (kept.bucket.tokens(now), kept.bucket.full) {
            (Some(tokens), Some(full)) => {
                let of = if drawing.is_budget { " retries" } else { "" };
                (format!("{tokens} of {}{of} left", full.rule.capacity()), None)
            }
            _ => ("full".to_owned(), None),
        },
    }
}

fn brief(kept: &Kept, drawing: &Drawing<'_>, now: Timestamp) -> Value {
    let until = |at: &Timestamp| at.rfc3339();
    let circuit = kept.circuit.as_ref().map(|circuit| {
        let (open_until, failures) = match &circuit.state {
            State::Open { until: at, .. } => (Some(until(at)), 0),
            State::HalfOpen { .. } => (None, 0),
            State::Closed { failed } => (None, failed.len()),
        };
        json!({"state": circuit.state.as_str(), "open_until": open_until, "failures": failures})
    });
    let bucket = kept.bucket.full.map(|full| json!({"left": kept.bucket.tokens(now), "burst": full.rule.capacity()}));
    let (limit, retry_budget) = if drawing.is_budget { (None, bucket) } else { (bucket, None) };
    let slots = drawing.slots.map(|count| json!({"held": kept.slots.held(now), "of": count}));
    let paused_until = kept.bucket.paused_until.filter(|until| *until > now).map(|at| at.rfc3339());
    json!({
        "scope": kept.scope.as_str(),
        "tools": drawing.tools,
        "limit": limit,
        "slots": slots,
        "retry_budget": retry_budget,
        "paused_until": paused_until,
        "circuit": circuit,
    })
}
