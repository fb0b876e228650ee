//! A function's binary in an execution environment of its own, as Lambda runs it: started from nothing, invoked one event at a time.

use crate::aws::Services;
use crate::failure::Failure;
use crate::process::{CpuClock, cpu_time};
use crate::runtime_api::{Report, RuntimeApi, shown};
use crate::stats::{Sample, Spread, micros};
use bytes::Bytes;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// How long an invocation, or the start, may take.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// Puts the configuration into the registry table, as an operator does.
pub(crate) async fn apply(clawbridge: &Path, endpoint: &str, config: &str) -> Result<(), Failure> {
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

/// One cold start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) init: Duration,
    pub(crate) first: Duration,
    pub(crate) total: Duration,
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
pub(crate) struct Series {
    pub(crate) took: Spread,
    /// From the first event put until the function asked for one after the last.
    pub(crate) whole: Duration,
    /// Of one invocation, microseconds.
    pub(crate) cpu_us: Option<f64>,
    pub(crate) cpu_clock: Option<CpuClock>,
}

/// A function's process with the Runtime API that it speaks to. It is killed when this is dropped.
pub(crate) struct Environment {
    kind: Kind,
    child: Child,
    api: RuntimeApi,
}

impl Environment {
    /// Starts it with its `first` event waiting, and returns when it has answered that and asks for the next.
    pub(crate) async fn start(
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
            // No message of what is measured is the channel's.
            ("CHANNEL_TABLE", "bench-channel"),
            ("CHANNEL_ENDPOINT", endpoint),
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

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// One invocation; returns when the function asks for the next.
    pub(crate) async fn invoke(&mut self, event: Bytes) -> Result<Duration, Failure> {
        self.api.put(event);
        let (handed, answered) = self.answered().await?;
        self.ready().await?;
        Ok(answered - handed)
    }

    /// Invocations one after the other, with their CPU time.
    pub(crate) async fn series(&mut self, events: Vec<Bytes>) -> Result<Series, Failure> {
        let count = events.len();
        let (started, before) = (Instant::now(), self.pid().and_then(cpu_time));
        let mut took = Vec::with_capacity(count);
        for event in events {
            took.push(self.invoke(event).await?);
        }
        let (whole, after) = (started.elapsed(), self.pid().and_then(cpu_time));
        let used = before.zip(after).filter(|(before, after)| before.clock == after.clock);
        let cpu_us = used.map(|(before, after)| micros(after.used.saturating_sub(before.used)) / count.max(1) as f64);
        Ok(Series { took: Sample::new(took).spread(), whole, cpu_us, cpu_clock: after.map(|after| after.clock) })
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
