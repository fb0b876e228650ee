//! What one seed is about: tools, tasks, and how often what goes wrong.

use crate::rules::Rule;
use clawbridge_clock::Timestamp;
use clawbridge_tasks::lane::{Seat, lane_id};
use clawbridge_tasks::machine::{Policy, Verify};
use clawbridge_tasks::{NewTask, Origin, RETENTION};
use fastrand::Rng;
use serde_json::json;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// When the virtual clock starts, so that clocks that are slow do not run below zero.
pub(crate) const EPOCH: i64 = 1_000_000_000;

/// No two clocks differ by more, milliseconds: a little less than the margin that leases allow for.
pub(crate) const MAX_SKEW: i64 = 2_800;

/// What an upstream does with a call that it gets again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Acts again, with the same outcome: `idempotent`.
    Again,
    /// Acts once for each key.
    Keyed,
    /// Acts again.
    Unsafe,
}

/// A tool.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    pub(crate) kind: Kind,
    pub(crate) policy: Policy,
    /// It takes a job, and answers later.
    pub(crate) is_job: bool,
    /// The longest that the upstream acts after a call was given up, milliseconds.
    pub(crate) lateness: u64,
    /// Whether that is within what is promised: verify knows everything when it is asked.
    pub(crate) settles: bool,
}

pub(crate) type Tools = Rc<BTreeMap<String, Tool>>;

/// An event's message, to be accepted at a time.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: u64,
    pub(crate) tasks: Vec<NewTask>,
}

/// How often what goes wrong, of a million.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    pub(crate) crash: u32,
    pub(crate) stall: u32,
    pub(crate) table: u32,
    pub(crate) queue: u32,
    pub(crate) twice: u32,
    pub(crate) upstream: u32,
    pub(crate) look: u32,
}

/// One seed's world before anything happens.
pub(crate) struct Scenario {
    pub(crate) tools: Tools,
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) rates: Rates,
    /// Nothing goes wrong from then on, so that everything can end.
    pub(crate) calm_at: u64,
    /// How many invocations there are at a time.
    pub(crate) concurrency: usize,
    /// How many messages an invocation gets at most.
    pub(crate) batch: usize,
    /// How often persons do something.
    pub(crate) wishes: u32,
    /// How long a message is hidden that somebody has, milliseconds.
    pub(crate) visibility: u64,
}

fn one_in(rng: &mut Rng, many: u32) -> bool {
    rng.u32(0..many) == 0
}

/// None, a little, or much of something; in a storm, much of everything.
fn rate(rng: &mut Rng, storm: bool, much: u32) -> u32 {
    match if storm { 3 } else { rng.u32(0..4) } {
        0 => 0,
        1 | 2 => rng.u32(0..=much / 8),
        _ => rng.u32(0..=much),
    }
}

impl Scenario {
    pub(crate) fn new(rng: &mut Rng, rule: Rule) -> Scenario {
        let mut tools = BTreeMap::new();
        for n in 0..rng.usize(1..=3) {
            tools.insert(format!("tool_{n}"), tool(rng, rule));
        }
        let arrivals = arrivals(rng, &tools);
        let storm = one_in(rng, 5);
        let rates = Rates {
            crash: rate(rng, storm, 120_000),
            stall: rate(rng, storm, 250_000),
            table: rate(rng, storm, 200_000),
            queue: rate(rng, storm, 150_000),
            twice: rate(rng, storm, 500_000),
            upstream: rate(rng, storm, 900_000),
            look: rate(rng, storm, 600_000),
        };
        Scenario {
            tools: Rc::new(tools),
            arrivals,
            rates,
            calm_at: rng.u64(60_000..1_200_000),
            concurrency: rng.usize(1..=4),
            batch: rng.usize(1..=4),
            wishes: match rule {
                // What it breaks takes a person who wants a task again at the wrong moment.
                Rule::StayIgnored => 60,
                _ if one_in(rng, 3) => 0,
                _ => rng.u32(1..=20),
            },
            visibility: if one_in(rng, 2) { 70_000 } else { 360_000 },
        }
    }
}

fn tool(rng: &mut Rng, rule: Rule) -> Tool {
    let kind = match rng.u32(0..5) {
        0 => Kind::Again,
        1 => Kind::Keyed,
        _ => Kind::Unsafe,
    };
    let settle = [0, 5, 10, 60][rng.usize(0..4)] * 1000;
    let verify = (kind == Kind::Unsafe && !one_in(rng, 4))
        .then(|| Verify { settle: Duration::from_millis(settle), max_looks: rng.u32(1..=6) });
    let most = settle.saturating_sub(MAX_SKEW.unsigned_abs());
    let lateness = match rng.u32(0..4) {
        0 => 0,
        // Beyond what is promised.
        1 => rng.u64(settle..=2 * settle + 1000),
        _ => rng.u64(0..=most),
    };
    // A verify that asks at once counts on an upstream that acts late, but not later than is promised.
    let lateness = if rule == Rule::SettleIgnored { most } else { lateness };
    let verify = verify.map(|verify| match rule {
        Rule::SettleIgnored => Verify { settle: Duration::ZERO, ..verify },
        _ => verify,
    });
    let policy = Policy {
        repeatable: kind != Kind::Unsafe || rule == Rule::UnsafeRepeated,
        max_failures: rng.u32(1..=6),
        timeout: Duration::from_millis([100, 1_000, 5_000, 10_000, 25_000][rng.usize(0..5)]),
        verify,
        retention: RETENTION,
    };
    Tool { kind, policy, is_job: one_in(rng, 5), lateness, settles: lateness <= most }
}

fn arrivals(rng: &mut Rng, tools: &BTreeMap<String, Tool>) -> Vec<Arrival> {
    let names: Vec<&String> = tools.keys().collect();
    let order = one_in(rng, 2).then(|| Order {
        keys: rng.u32(1..=2),
        skip_parked: one_in(rng, 3),
        // Close together, so that they are worked side by side, or far apart.
        within: if one_in(rng, 2) { 3_000 } else { 60_000 },
    });
    let mut arrivals: Vec<Arrival> = Vec::new();
    for event in 0..rng.u32(1..=if order.is_some() { 8 } else { 4 }) {
        let at = match (&order, arrivals.last()) {
            // Two events of one request.
            (Some(_), Some(last)) if one_in(rng, 5) => last.at,
            (Some(order), _) => rng.u64(0..order.within),
            (None, _) => rng.u64(0..60_000),
        };
        let tasks = (0..rng.u32(1..=2))
            .map(|route| {
                let tool = names[rng.usize(0..names.len())].clone();
                // A few events share a key, with the same input or with another.
                let is_shared = one_in(rng, 4);
                let key = if is_shared { "shared".to_owned() } else { format!("evt_{event}/{route}") };
                let seat = order.as_ref().filter(|_| route == 0 && !is_shared).map(|order| Seat {
                    lane: lane_id("0", &rng.u32(0..order.keys).to_string()),
                    received_at: Timestamp::from_millis(EPOCH + i64::try_from(at).unwrap_or(i64::MAX)),
                    nth: event,
                    stay: 0,
                    skip_parked: order.skip_parked,
                });
                NewTask {
                    tool,
                    key,
                    origin: Origin::Route { event: format!("evt_{event}"), route: route.to_string() },
                    input: json!({"n": if one_in(rng, 4) { 1 } else { 0 }}),
                    hops: 0,
                    trace: None,
                    seat,
                }
            })
            .collect();
        arrivals.push(Arrival { at, tasks });
    }
    arrivals
}

/// How a route keeps an order.
struct Order {
    keys: u32,
    skip_parked: bool,
    within: u64,
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
