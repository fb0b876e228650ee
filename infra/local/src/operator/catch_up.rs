//! `source catch-up`: what the schedule does, at once and in the open.

use super::print_json;
use super::reach::{Reached, unreachable};
use super::table;
use crate::cli::{CatchUpArgs, Global};
use crate::failure::Failure;
use crate::out::say;
use clawbridge_catchup::{Asked, By, CatchUpError, Fate, Found, Order, Reason, Report, Stopped, run as run_catch_up};
use clawbridge_clock::Timestamp;
use clawbridge_outbound::Outbound;
use clawbridge_secrets::{Ages, Secrets};
use clawbridge_tools::{Deployment, credential};
use serde_json::{Value, json};
use std::time::Duration;

/// How long the command may take.
const LONGEST: Duration = Duration::from_secs(120);

pub(crate) async fn run(global: &Global, args: &CatchUpArgs) -> Result<(), Failure> {
    let reached = Reached::stack(global).await?;
    let version = reached.registry.current().await;
    let config = version.map_err(|error| unreachable("REGISTRY_UNAVAILABLE", &error.to_string()))?.config;
    let log = config.config().catch_up.get(&args.name).ok_or_else(|| unknown(&args.name))?;

    let secrets = Secrets::new(reached.secrets.clone(), Ages::default());
    let secret_prefix = reached.stack.secret_prefix.as_str().into();
    let deployment = Deployment { bridge_url: "".into(), secret_prefix, upstreams: None };
    let token = credential(&secrets, &deployment, log.secret()).await.map_err(|error| failed(&error.into()))?;
    let now = Timestamp::now();
    let since = now.minus(args.since);
    let order = Order { log, token: &token, by: By::Person, since, dry_run: args.dry_run, now, left: LONGEST };
    let report = run_catch_up(&Outbound::new(config.clone()), &order, &mut Asked::default()).await;
    if global.json {
        print_json(&document(args, &report));
    } else {
        print(args, &report);
    }
    match &report.stopped {
        Stopped::Failed(error) => Err(failed(error)),
        Stopped::RateLimited { until } => Err(Failure::negative(
            "RATE_LIMITED",
            format!("the provider wants fewer requests; go on at {until}, or leave it to the schedule"),
        )),
        _ => Ok(()),
    }
}

fn document(args: &CatchUpArgs, report: &Report) -> Value {
    let go_on_at = match &report.stopped {
        Stopped::RateLimited { until } => Some(until.rfc3339()),
        _ => None,
    };
    let missed: Vec<Value> = report.missed.iter().map(|found| one(args, found)).collect();
    json!({"source": args.name, "dry_run": args.dry_run, "looked_at": report.looked_at, "asked": report.asked(),
        "left": report.left(), "stopped": report.stopped.as_str(), "go_on_at": go_on_at, "missed": missed})
}

fn one(args: &CatchUpArgs, found: &Found) -> Value {
    let missed = &found.missed;
    // The id as text: GitHub's do not all fit into the numbers of every JSON reader.
    json!({"id": missed.id, "delivery_id": missed.delivery, "type": missed.event, "first_at": missed.first_at.rfc3339(),
        "last_at": missed.last_at.rfc3339(), "status": missed.status, "outcome": missed.outcome,
        "redeliveries": missed.redeliveries, "fate": word(args, found.fate)})
}

fn word(args: &CatchUpArgs, fate: Fate) -> &'static str {
    match fate {
        Fate::Left if args.dry_run => "would_be_asked",
        fate => fate.as_str(),
    }
}

fn print(args: &CatchUpArgs, report: &Report) {
    if !report.missed.is_empty() {
        let rows: Vec<Vec<String>> = report.missed.iter().map(|found| row(args, found)).collect();
        table::print(&["FIRST", "DELIVERY", "TYPE", "STATUS", "ATTEMPT", "REDELIVERY"], &rows);
    }
    if matches!(report.stopped, Stopped::Failed(_)) {
        return;
    }
    let stopped = match &report.stopped {
        Stopped::Done => "",
        Stopped::Pages => " The log goes on: what lies further back was not read.",
        Stopped::Redeliveries => " That is as many as one run asks for; the rest is the next one's.",
        Stopped::Deadline => " Then the time was up.",
        Stopped::NextElsewhere => " The log's next page is said to be at another server; it was not read.",
        Stopped::RateLimited { .. } | Stopped::Failed(_) => " Then it was cut short.",
    };
    let asked = match args.dry_run {
        true => format!("would be asked for {}", report.left()),
        false => format!("asked for {}", report.asked()),
    };
    say!("{}: attempts read {}, missed {}, {asked}.{stopped}", args.name, report.looked_at, report.missed.len());
}

fn row(args: &CatchUpArgs, found: &Found) -> Vec<String> {
    let missed = &found.missed;
    let status = missed.status.map(|status| status.to_string()).unwrap_or_default();
    let outcome = clawbridge_journal::shortened(&missed.outcome, 40);
    let fate = match found.fate {
        Fate::Asked => "asked".to_owned(),
        Fate::Refused => "refused by the provider".to_owned(),
        Fate::Left if args.dry_run => "would be asked".to_owned(),
        Fate::Left => "left for the next run".to_owned(),
        Fate::Skipped(reason) => format!("skipped: {}", because(reason)),
    };
    vec![
        missed.first_at.rfc3339(),
        missed.delivery.clone(),
        missed.event.clone(),
        format!("{status} {outcome}").trim().to_owned(),
        missed.id.clone(),
        fate,
    ]
}

fn because(reason: Reason) -> String {
    match reason {
        Reason::TooOld => "too old to be redelivered".to_owned(),
        Reason::UnderWay => "asked for within the last 5 minutes".to_owned(),
        Reason::Pausing { until } => format!("its last redelivery failed, again at {until}"),
        Reason::GivenUp => "too many redeliveries failed".to_owned(),
        Reason::TooLarge => "too large, as it will be each time".to_owned(),
    }
}

fn failed(error: &CatchUpError) -> Failure {
    Failure::negative(error.code(), error.to_string())
}

fn unknown(name: &str) -> Failure {
    let message = format!(
        "the configuration in use has no [catch_up.{name}]; add it to bridge.toml and apply it (`clawbridge apply`, or `dev` running)"
    );
    Failure::not_found("UNKNOWN_CATCH_UP", message)
}
