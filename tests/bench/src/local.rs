//! The bridge on one machine: how fast it takes webhooks, how soon it acts on them, and what it needs.

use crate::aws::Client;
use crate::failure::Failure;
use crate::fixtures::{Delivery, bridge_toml};
use crate::load::{Posted, burst, steady};
use crate::process::{Memory, memory};
use crate::stats::{Sample, Spread, millis, per_second};
use crate::stub::{Acted, Call, Stub};
use crate::wire::address_of;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Deliveries before anything is measured.
    pub(crate) warm_up: u64,
    /// Deliveries of each level, at most.
    pub(crate) burst: u64,
    /// Time of each level, at most.
    pub(crate) burst_limit: Duration,
    /// Deliveries at the steady rate.
    pub(crate) steady: u64,
    /// Deliveries a second then.
    pub(crate) rate: u32,
}

/// Connections of the levels.
const LEVELS: [usize; 3] = [1, 8, 32];

/// How long the bridge may take to start.
const START: Duration = Duration::from_secs(30);

/// How long nothing must have happened before deliveries that were not acted on are given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    /// From the start of the process until it says that it is ready, milliseconds.
    pub(crate) ready_ms: f64,
    pub(crate) levels: Vec<Level>,
    pub(crate) steady: Steady,
    /// Of all deliveries, the warm-up's too.
    pub(crate) acted: Acted,
    /// When it was ready and nothing had come yet.
    pub(crate) memory_idle: Option<Memory>,
    /// When everything was done.
    pub(crate) memory_after: Option<Memory>,
}

/// Deliveries posted as fast as they are taken.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Level {
    pub(crate) connections: usize,
    pub(crate) posted: usize,
    /// Answered with 2xx, a second.
    pub(crate) accepted_per_second: Option<f64>,
    /// Acted on, a second, from the first POST to the last effect.
    pub(crate) acted_per_second: Option<f64>,
    /// From POST to answer.
    pub(crate) post: Spread,
    /// How many were answered with what else than 2xx.
    pub(crate) refused: BTreeMap<u16, usize>,
}

/// Deliveries posted at a rate that leaves the bridge idle in between.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Steady {
    pub(crate) per_second: u32,
    pub(crate) posted: usize,
    /// From POST to answer.
    pub(crate) post: Spread,
    /// From POST to the arrival of the tool's call.
    pub(crate) effect: Spread,
}

/// Starts the bridge at `clawbridge`, measures it and ends it.
pub(crate) async fn measure(clawbridge: &Path, plan: Plan) -> Result<Figures, Failure> {
    let stub = Stub::start().await?;
    let bridge = Bridge::start(clawbridge, &bridge_toml(&stub.server.url())).await?;
    Client::connect(bridge.private).await?.create_source(&bridge.secret_prefix).await?;
    let memory_idle = bridge.memory();

    let mut run = Run { public: bridge.public, stub, numbers: 0.., acted: Acted::default() };
    let deliveries = run.deliveries(plan.warm_up)?;
    let (posted, _) = burst(run.public, 1, deliveries, START).await?;
    run.effects(&posted).await;

    let mut levels = Vec::new();
    for connections in LEVELS {
        levels.push(run.level(connections, plan).await?);
    }
    let steady = run.steady(plan).await?;
    let memory_after = bridge.memory();
    Ok(Figures { ready_ms: millis(bridge.ready_after), levels, steady, acted: run.acted, memory_idle, memory_after })
}

/// What the phases share.
struct Run {
    public: SocketAddr,
    stub: Stub,
    numbers: std::ops::RangeFrom<u64>,
    acted: Acted,
}

impl Run {
    /// Made before the time is taken: signing is the sender's work.
    fn deliveries(&mut self, count: u64) -> Result<Vec<Delivery>, Failure> {
        (0..count).zip(self.numbers.by_ref()).map(|(_, number)| Delivery::new(number)).collect()
    }

    async fn level(&mut self, connections: usize, plan: Plan) -> Result<Level, Failure> {
        let deliveries = self.deliveries(plan.burst)?;
        let (posted, took) = burst(self.public, connections, deliveries, plan.burst_limit).await?;
        let calls = self.effects(&posted).await;
        let first = posted.iter().map(|posted| posted.sent).min();
        let last = calls.iter().map(|call| call.at).max();
        let busy = first.zip(last).map(|(first, last)| last.saturating_duration_since(first));
        let mut refused: BTreeMap<u16, usize> = BTreeMap::new();
        for posted in posted.iter().filter(|posted| !posted.is_accepted()) {
            *refused.entry(posted.status).or_default() += 1;
        }
        Ok(Level {
            connections,
            posted: posted.len(),
            accepted_per_second: per_second(posted.iter().filter(|posted| posted.is_accepted()).count(), took),
            acted_per_second: busy.and_then(|busy| per_second(calls.len(), busy)),
            post: posted.iter().map(|posted| posted.took).collect::<Sample>().spread(),
            refused,
        })
    }

    async fn steady(&mut self, plan: Plan) -> Result<Steady, Failure> {
        let deliveries = self.deliveries(plan.steady)?;
        let posted = steady(self.public, deliveries, Duration::from_secs(1) / plan.rate.max(1)).await?;
        let calls = self.effects(&posted).await;
        Ok(Steady {
            per_second: plan.rate,
            posted: posted.len(),
            post: posted.iter().map(|posted| posted.took).collect::<Sample>().spread(),
            effect: until_effect(&posted, &calls).spread(),
        })
    }

    /// Waits for the effects of what was posted and counts them.
    async fn effects(&mut self, posted: &[Posted]) -> Vec<Call> {
        let accepted: BTreeSet<u64> =
            posted.iter().filter(|posted| posted.is_accepted()).map(|posted| posted.number).collect();
        self.stub.settled(accepted.len(), PATIENCE).await;
        let calls = self.stub.take();
        self.acted = self.acted.plus(Acted::count(&accepted, &calls));
        calls
    }
}

/// From each POST to the first call that it caused.
fn until_effect(posted: &[Posted], calls: &[Call]) -> Sample {
    let mut first: HashMap<u64, Instant> = HashMap::new();
    for call in calls {
        let at = first.entry(call.number).or_insert(call.at);
        *at = call.at.min(*at);
    }
    posted.iter().filter_map(|posted| Some(first.get(&posted.number)?.saturating_duration_since(posted.sent))).collect()
}

/// A running `clawbridge dev`. It is killed when this is dropped.
struct Bridge {
    child: Child,
    /// Keeps its standard output from filling up.
    drain: JoinHandle<()>,
    _folder: TempDir,
    public: SocketAddr,
    private: SocketAddr,
    secret_prefix: String,
    ready_after: Duration,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.drain.abort();
    }
}

/// The line with which `clawbridge dev --json` says that it is ready.
#[derive(Debug, Deserialize)]
struct Ready {
    kind: String,
    stack: Addresses,
}

#[derive(Debug, Deserialize)]
struct Addresses {
    endpoint_url: String,
    public_url: String,
    secret_prefix: String,
}

impl Bridge {
    async fn start(clawbridge: &Path, config: &str) -> Result<Bridge, Failure> {
        let folder = tempfile::tempdir().map_err(|error| Failure::harness("a folder", error))?;
        let file = folder.path().join("bridge.toml");
        std::fs::write(&file, config).map_err(|error| Failure::harness("bridge.toml", error))?;
        let mut command = Command::new(clawbridge);
        command.args(["dev", "--ephemeral", "--port", "0", "--json", "--config"]).arg(&file);
        // In a folder of its own and without this shell's variables, so that no other bridge's settings apply.
        command.current_dir(folder.path()).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let started = Instant::now();
        let failed = |reason: String| Failure::NotStarted(format!("{}: {reason}", clawbridge.display()));
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let output = child.stdout.take().ok_or_else(|| failed("it has no standard output".to_owned()))?;
        let mut lines = BufReader::new(output).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await.map_err(|error| failed(error.to_string()))? {
                if let Some(ready) = read_ready(&line) {
                    return Ok(ready);
                }
            }
            Err(failed("it ended before it was ready; what it said is above".to_owned()))
        };
        let ready = tokio::time::timeout(START, ready);
        let ready = ready
            .await
            .map_err(|_| Failure::TimedOut { what: "the bridge's start".to_owned(), seconds: START.as_secs() })??;
        let ready_after = started.elapsed();
        let drain = tokio::spawn(async move {
            let _ended = tokio::io::copy(&mut lines.into_inner(), &mut tokio::io::sink()).await;
        });
        Ok(Bridge {
            child,
            drain,
            _folder: folder,
            public: address_of(&ready.public_url)?,
            private: address_of(&ready.endpoint_url)?,
            secret_prefix: ready.secret_prefix,
            ready_after,
        })
    }

    fn memory(&self) -> Option<Memory> {
        memory(self.child.id()?)
    }
}

fn read_ready(line: &str) -> Option<Addresses> {
    serde_json::from_str::<Ready>(line).ok().filter(|ready| ready.kind == "dev.ready").map(|ready| ready.stack)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bridge_is_found_by_its_ready_line() {
        let line = r#"{"kind":"dev.ready","config_version":1,"stack":{"name":"local","endpoint_url":"http://127.0.0.1:2",
            "public_url":"http://127.0.0.1:1","secret_prefix":"clawbridge","queue":"q"}}"#;
        let found = read_ready(line).expect("addresses");
        assert_eq!(
            (found.public_url.as_str(), found.endpoint_url.as_str()),
            ("http://127.0.0.1:1", "http://127.0.0.1:2")
        );
        for other in ["", "clawbridge 0.1.0", r#"{"kind":"config.loaded"}"#, &line.replace("dev.ready", "dev.gone")] {
            assert!(read_ready(other).is_none(), "{other}");
        }
    }

    #[test]
    fn an_effect_is_timed_to_its_first_call() {
        let sent = Instant::now();
        let at = |ms| sent + Duration::from_millis(ms);
        let posted = [1, 2].map(|number| Posted { number, sent, took: Duration::ZERO, status: 200 });
        let calls = [(1, 9), (1, 4), (7, 1)].map(|(number, ms)| Call { number, at: at(ms) });
        assert_eq!(until_effect(&posted, &calls), Sample::new(vec![Duration::from_millis(4)]));
    }

    #[tokio::test]
    async fn a_program_that_is_no_bridge_is_reported() {
        let error = Bridge::start(Path::new("/bin/false"), "").await.err().expect("an error");
        assert!(matches!(error, Failure::NotStarted(_)), "{error}");
    }
}
