//! The functions' binaries as Lambda runs them: started from nothing, invoked, counted. One execution environment at a time.

use crate::aws::Services;
use crate::counting::{Counting, Counts};
use crate::failure::Failure;
use crate::fixtures::{Delivery, bridge_toml, webhook_event, worker_batch};
use crate::process::{Artifact, CpuClock, artifact, cpu_time, memory, spawn_floor_ms};
use crate::runtime_api::{Report, RuntimeApi, shown};
use crate::stats::{Sample, Spread, median_of, micros, millis};
use crate::stub::{Acted, Stub};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// Records of a batch.
pub(crate) const BATCH: usize = 10;

/// How long an invocation, or the start, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the stub may take to note calls that were already answered.
const NOTED: Duration = Duration::from_secs(1);

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) cold_starts: usize,
    pub(crate) series: usize,
    /// Invocations of `webhook` in a series.
    pub(crate) webhook: usize,
    /// Batches of `worker` in a series.
    pub(crate) worker: usize,
    /// Invocations before a series is measured.
    pub(crate) warm_up: usize,
    /// Invocations whose AWS calls are counted.
    pub(crate) counted: usize,
}

/// Which function a binary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Webhook,
    Worker,
}

/// A binary to measure.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
}

/// What was measured of all functions.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    /// Start to end of a program that does nothing, milliseconds.
    pub(crate) spawn_floor_ms: Option<f64>,
    pub(crate) functions: Vec<FunctionFigures>,
}

/// What was measured of one.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FunctionFigures {
    pub(crate) function: &'static str,
    pub(crate) path: String,
    pub(crate) artifact: Artifact,
    /// Bytes of JSON of one event.
    pub(crate) event_bytes: usize,
    pub(crate) cold: Cold,
    /// From an event handed out to its whole answer, medians of the series.
    pub(crate) warm: Spread,
    /// CPU time of an invocation with everything that belongs to it (asking for the event too), median of the series, microseconds.
    pub(crate) cpu_us: Option<f64>,
    pub(crate) cpu_clock: Option<CpuClock>,
    /// The most memory that was resident, KiB.
    pub(crate) peak_kib: Option<u64>,
    /// AWS calls of the start and the first invocation together.
    pub(crate) cold_calls: Counts,
    /// AWS calls of a later invocation, mean.
    pub(crate) warm_calls: BTreeMap<String, f64>,
    /// For `worker`: what became of the deliveries.
    pub(crate) acted: Option<Acted>,
}

/// Cold starts, medians, milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cold {
    /// From the start of the process until it asks for an event.
    pub(crate) init_ms: Option<f64>,
    /// From the first event handed out to its answer.
    pub(crate) first_ms: Option<f64>,
    /// From the start of the process to that answer.
    pub(crate) total_ms: Option<f64>,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Webhook => "webhook",
            Kind::Worker => "worker",
        }
    }

    /// The package whose binary it is; cargo-lambda names its folder so.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Kind::Webhook => "clawbridge-webhook",
            Kind::Worker => "clawbridge-worker",
        }
    }

    fn deliveries(self) -> usize {
        match self {
            Kind::Webhook => 1,
            Kind::Worker => BATCH,
        }
    }

    fn event(self, deliveries: &[Delivery]) -> Result<Bytes, Failure> {
        match (self, deliveries) {
            (Kind::Webhook, [delivery, ..]) => webhook_event(delivery),
            (Kind::Webhook, []) => Err(Failure::Harness("an event needs a delivery".to_owned())),
            (Kind::Worker, deliveries) => worker_batch(deliveries),
        }
    }

    /// Whether the function did what it was invoked for. If not, its figures would be of something else.
    fn check(self, answer: &[u8]) -> Result<(), Failure> {
        let parsed: Value = serde_json::from_slice(answer).unwrap_or_default();
        let done = match self {
            Kind::Webhook => parsed["statusCode"].as_u64().is_some_and(|status| (200..300).contains(&status)),
            Kind::Worker => parsed["batchItemFailures"].as_array().is_some_and(Vec::is_empty),
        };
        if done {
            return Ok(());
        }
        Err(Failure::WrongAnswer(format!("{} answered {}", self.name(), shown(answer))))
    }
}

/// Measures `functions` against one set of services. `clawbridge` puts the configuration there.
pub(crate) async fn measure(clawbridge: &Path, functions: &[Function], plan: Plan) -> Result<Figures, Failure> {
    let stub = Stub::start().await?;
    let services = Services::start().await?;
    apply(clawbridge, &services.stack.url(), &bridge_toml(&stub.server.url())).await?;
    let spawn_floor_ms = spawn_floor_ms(plan.cold_starts);
    let mut bench = Bench { services, stub, next: 0, plan };

    // In turns, so that what disturbs the machine for a while disturbs all of them.
    let mut starts: Vec<Vec<Start>> = vec![Vec::new(); functions.len()];
    for round in 0..=plan.cold_starts {
        for (function, starts) in functions.iter().zip(&mut starts) {
            let start = bench.cold(function).await?;
            // The first one reads the binary from the disk.
            if round > 0 {
                starts.push(start);
            }
        }
    }
    let mut figures = Vec::new();
    for (function, starts) in functions.iter().zip(&starts) {
        figures.push(bench.function(function, Cold::of(starts)).await?);
    }
    Ok(Figures { spawn_floor_ms, functions: figures })
}

/// Puts the configuration into the registry table, as an operator does.
async fn apply(clawbridge: &Path, endpoint: &str, config: &str) -> Result<(), Failure> {
    let folder = tempfile::tempdir().map_err(|error| Failure::harness("a folder", error))?;
    let file = folder.path().join("bridge.toml");
    std::fs::write(&file, config).map_err(|error| Failure::harness("bridge.toml", error))?;
    let mut command = Command::new(clawbridge);
    command
        .args(["apply", "--local", endpoint])
        .arg(&file)
        .current_dir(folder.path())
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output());
    let output = output
        .await
        .map_err(|_| Failure::TimedOut { what: "clawbridge apply".to_owned(), seconds: PATIENCE.as_secs() })?;
    let output = output.map_err(|error| Failure::NotStarted(format!("{}: {error}", clawbridge.display())))?;
    if output.status.success() {
        return Ok(());
    }
    let said = shown(&output.stderr);
    Err(Failure::NotStarted(format!("clawbridge apply ended with {}: {}", output.status, said.trim())))
}

struct Bench {
    services: Services,
    stub: Stub,
    next: u64,
    plan: Plan,
}

/// An event with the numbers of its deliveries.
struct Prepared {
    event: Bytes,
    numbers: Vec<u64>,
}

impl Bench {
    fn prepare(&mut self, kind: Kind) -> Result<Prepared, Failure> {
        let first = self.next;
        self.next += kind.deliveries() as u64;
        let deliveries: Vec<Delivery> = (first..self.next).map(Delivery::new).collect::<Result<_, _>>()?;
        let numbers = deliveries.iter().map(|delivery| delivery.number).collect();
        Ok(Prepared { event: kind.event(&deliveries)?, numbers })
    }

    async fn cold(&mut self, function: &Function) -> Result<Start, Failure> {
        let first = self.prepare(function.kind)?;
        let endpoint = self.services.stack.url();
        let (_environment, start) = Environment::start(function, &self.services, &endpoint, first.event).await?;
        Ok(start)
    }

    /// Everything but the cold starts.
    async fn function(&mut self, function: &Function, cold: Cold) -> Result<FunctionFigures, Failure> {
        self.stub.take();
        let first = self.prepare(function.kind)?;
        let event_bytes = first.event.len();
        let mut numbers: BTreeSet<u64> = first.numbers.into_iter().collect();
        let endpoint = self.services.stack.url();
        let (mut environment, _) = Environment::start(function, &self.services, &endpoint, first.event).await?;
        for _ in 0..self.plan.warm_up {
            let prepared = self.prepare(function.kind)?;
            environment.invoke(prepared.event).await?;
            numbers.extend(prepared.numbers);
        }
        let invocations = match function.kind {
            Kind::Webhook => self.plan.webhook,
            Kind::Worker => self.plan.worker,
        };
        let mut series = Vec::new();
        for _ in 0..self.plan.series {
            // Made before the time is taken: they come from somewhere else in AWS.
            let prepared: Vec<Prepared> =
                (0..invocations).map(|_| self.prepare(function.kind)).collect::<Result<_, _>>()?;
            numbers.extend(prepared.iter().flat_map(|prepared| &prepared.numbers));
            series.push(environment.series(prepared).await?);
        }
        let peak_kib = environment.pid().and_then(memory).map(|memory| memory.peak_kib);
        drop(environment);

        let (cold_calls, warm_calls) = self.calls(function, &mut numbers).await?;
        let acted = match function.kind {
            Kind::Webhook => None,
            Kind::Worker => {
                self.stub.settled(numbers.len(), NOTED).await;
                Some(Acted::count(&numbers, &self.stub.take()))
            }
        };
        Ok(FunctionFigures {
            function: function.kind.name(),
            path: function.path.display().to_string(),
            artifact: artifact(&function.path)?,
            event_bytes,
            cold,
            warm: Spread {
                p50_us: median_of(series.iter().filter_map(|series| series.took.p50_us)),
                p99_us: median_of(series.iter().filter_map(|series| series.took.p99_us)),
            },
            cpu_us: median_of(series.iter().filter_map(|series| series.cpu_us)),
            cpu_clock: series.first().and_then(|series| series.cpu_clock),
            peak_kib,
            cold_calls,
            warm_calls,
            acted,
        })
    }

    /// A pass of its own through the counting proxy.
    async fn calls(
        &mut self,
        function: &Function,
        numbers: &mut BTreeSet<u64>,
    ) -> Result<(Counts, BTreeMap<String, f64>), Failure> {
        let counting = Counting::start(self.services.stack.address).await?;
        let first = self.prepare(function.kind)?;
        numbers.extend(first.numbers);
        let (mut environment, _) =
            Environment::start(function, &self.services, &counting.server.url(), first.event).await?;
        let cold = counting.take();
        for _ in 0..self.plan.counted {
            let prepared = self.prepare(function.kind)?;
            environment.invoke(prepared.event).await?;
            numbers.extend(prepared.numbers);
        }
        let mean = |(operation, count): (String, u64)| (operation, count as f64 / self.plan.counted.max(1) as f64);
        Ok((cold, counting.take().into_iter().map(mean).collect()))
    }
}

/// One cold start.
#[derive(Clone, Copy, Debug)]
struct Start {
    init: Duration,
    first: Duration,
    total: Duration,
}

impl Cold {
    fn of(starts: &[Start]) -> Cold {
        let median = |part: fn(&Start) -> Duration| starts.iter().map(part).collect::<Sample>().median().map(millis);
        Cold {
            init_ms: median(|start| start.init),
            first_ms: median(|start| start.first),
            total_ms: median(|start| start.total),
        }
    }
}

/// Exec format error, on every Unix that Rust runs on.
const ENOEXEC: i32 = 8;

fn unstartable(path: &Path, error: &std::io::Error) -> Failure {
    let hint = match error.raw_os_error() {
        Some(ENOEXEC) => format!("; build it for this machine, {}", std::env::consts::ARCH),
        _ => String::new(),
    };
    Failure::NotStarted(format!("{}: {error}{hint}", path.display()))
}

/// A series of warm invocations.
#[derive(Clone, Copy, Debug)]
struct Series {
    took: Spread,
    cpu_us: Option<f64>,
    cpu_clock: Option<CpuClock>,
}

/// A function's process with the Runtime API that it speaks to. It is killed when this is dropped.
struct Environment {
    kind: Kind,
    child: Child,
    api: RuntimeApi,
}

impl Environment {
    /// Starts it with its `first` event waiting, and returns when it has answered that and asks for the next.
    async fn start(
        function: &Function,
        services: &Services,
        endpoint: &str,
        first: Bytes,
    ) -> Result<(Environment, Start), Failure> {
        let api = RuntimeApi::start().await?;
        api.put(first);
        let stack = &services.stack;
        let mut command = Command::new(&function.path);
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).envs([
            ("AWS_LAMBDA_RUNTIME_API", api.address().as_str()),
            ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_ENDPOINT_URL", endpoint),
            ("QUEUE_URL", &services.queue_url),
            // Nothing that is measured goes there.
            ("INTERACTIVE_QUEUE_URL", &services.queue_url),
            ("SECRET_PREFIX", stack.secret_prefix),
            ("EVENTS_TABLE", stack.events_table),
            ("TASKS_TABLE", stack.tasks_table),
            ("REGISTRY_TABLE", stack.registry_table),
            ("LIMITS_TABLE", stack.limits_table),
        ]);
        let spawned = Instant::now();
        let child = command.spawn().map_err(|error| unstartable(&function.path, &error))?;
        let mut environment = Environment { kind: function.kind, child, api };
        let ready = environment.ready().await?;
        let (handed, answered) = environment.answered().await?;
        environment.ready().await?;
        let start = Start { init: ready - spawned, first: answered - handed, total: answered - spawned };
        Ok((environment, start))
    }

    fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// One invocation; returns when the function asks for the next.
    async fn invoke(&mut self, event: Bytes) -> Result<Duration, Failure> {
        self.api.put(event);
        let (handed, answered) = self.answered().await?;
        self.ready().await?;
        Ok(answered - handed)
    }

    async fn series(&mut self, prepared: Vec<Prepared>) -> Result<Series, Failure> {
        let count = prepared.len();
        let before = self.pid().and_then(cpu_time);
        let mut took = Vec::with_capacity(count);
        for prepared in prepared {
            took.push(self.invoke(prepared.event).await?);
        }
        let after = self.pid().and_then(cpu_time);
        let used = before.zip(after).filter(|(before, after)| before.clock == after.clock);
        let cpu_us = used.map(|(before, after)| micros(after.used.saturating_sub(before.used)) / count.max(1) as f64);
        Ok(Series { took: Sample::new(took).spread(), cpu_us, cpu_clock: after.map(|after| after.clock) })
    }

    async fn ready(&mut self) -> Result<Instant, Failure> {
        match self.report().await? {
            Report::Ready { at } => Ok(at),
            other => Err(self.unexpected(&other)),
        }
    }

    async fn answered(&mut self) -> Result<(Instant, Instant), Failure> {
        match self.report().await? {
            Report::Answered { handed, at, body } => self.kind.check(&body).map(|()| (handed, at)),
            other => Err(self.unexpected(&other)),
        }
    }

    fn unexpected(&self, report: &Report) -> Failure {
        let name = self.kind.name();
        match report {
            Report::Failed { reason } => Failure::WrongAnswer(format!("{name} reported an error of {reason}")),
            Report::Ready { .. } => Failure::WrongAnswer(format!("{name} asked for an event instead of answering one")),
            Report::Answered { .. } => Failure::WrongAnswer(format!("{name} answered twice")),
        }
    }

    async fn report(&mut self) -> Result<Report, Failure> {
        let name = self.kind.name();
        tokio::select! {
            biased;
            report = self.api.next() => report,
            ended = self.child.wait() => {
                let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(Failure::NotStarted(format!("{name} ended ({how}); what it said is above")))
            }
            () = tokio::time::sleep(PATIENCE) => Err(Failure::TimedOut { what: name.to_owned(), seconds: PATIENCE.as_secs() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_function_that_did_its_work_is_measured() {
        for (kind, answer, done) in [
            (Kind::Webhook, r#"{"statusCode":200,"body":"{}"}"#, true),
            (Kind::Webhook, r#"{"statusCode":401,"body":"{}"}"#, false),
            (Kind::Webhook, "", false),
            (Kind::Worker, r#"{"batchItemFailures":[]}"#, true),
            (Kind::Worker, r#"{"batchItemFailures":[{"itemIdentifier":"a"}]}"#, false),
            (Kind::Worker, "null", false),
        ] {
            assert_eq!(kind.check(answer.as_bytes()).is_ok(), done, "{answer}");
        }
    }

    #[test]
    fn a_cold_start_is_described_by_medians_of_its_parts() {
        let start = |ms| Start {
            init: Duration::from_millis(ms),
            first: Duration::from_millis(2 * ms),
            total: Duration::from_millis(3 * ms),
        };
        let cold = Cold::of(&[start(3), start(1), start(2)]);
        assert_eq!((cold.init_ms, cold.first_ms, cold.total_ms), (Some(2.0), Some(4.0), Some(6.0)));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_binary_for_another_processor_is_named_as_such() {
        use std::os::unix::fs::PermissionsExt;
        let services = Services::start().await.expect("services");
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("bootstrap");
        std::fs::write(&path, b"\x7fELF of another kind").expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
        let function = Function { kind: Kind::Worker, path };
        let error =
            Environment::start(&function, &services, "http://127.0.0.1:1", Bytes::new()).await.err().expect("an error");
        assert!(error.to_string().contains("build it for this machine"), "{error}");
    }

    #[tokio::test]
    async fn a_binary_that_ends_at_once_is_reported() {
        let services = Services::start().await.expect("services");
        let function = Function { kind: Kind::Webhook, path: PathBuf::from("/bin/false") };
        let error =
            Environment::start(&function, &services, "http://127.0.0.1:1", Bytes::new()).await.err().expect("an error");
        assert!(error.to_string().contains("webhook ended (exit status: 1)"), "{error}");
    }
}
