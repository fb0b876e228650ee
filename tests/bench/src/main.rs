//! Benchmarks: figures side by side, no verdicts.
//!
//! `local` measures the whole bridge as `clawbridge dev` runs it; `lambda` measures the functions' binaries under a Lambda Runtime API;
//! `tasks` measures what tasks cost `worker`; `tokens` measures connections' tokens, `channel` what the channel adds to an answer and `signatures`
//! verifications, in this process. Everything is on
//! loopback, and bounded in count and in time.

mod aws;
mod channel;
mod counting;
mod environment;
mod failure;
mod fixtures;
mod lambda;
mod load;
mod local;
mod process;
mod report;
mod runtime_api;
mod signatures;
mod stats;
mod stub;
mod tasks;
mod tokens;
mod wire;

use clap::{Parser, ValueEnum};
use environment::{Function, Kind};
use failure::Failure;
use process::Machine;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Measures Clawbridge and prints figures; what they mean is for the reader to say.
#[derive(Debug, Parser)]
#[command(name = "clawbridge-bench", version, about)]
#[command(
    after_help = "Figures of one run on one machine compare with each other; they do not compare with another machine's."
)]
struct Cli {
    /// What to measure.
    #[arg(value_enum, default_value_t = What::All)]
    what: What,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// A tenth of the work: to see that it runs, not to compare.
    #[arg(long)]
    quick: bool,
    /// The bridge [default: clawbridge beside this program].
    #[arg(long, value_name = "PATH")]
    clawbridge: Option<PathBuf>,
    /// A binary of function webhook; several are measured side by side [default: target/lambda/clawbridge-webhook/bootstrap].
    #[arg(long, value_name = "PATH")]
    webhook: Vec<PathBuf>,
    /// A binary of function worker; several are measured side by side [default: target/lambda/clawbridge-worker/bootstrap].
    #[arg(long, value_name = "PATH")]
    worker: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// The bridge on one machine.
    Local,
    /// The functions as Lambda runs them.
    Lambda,
    /// What tasks cost: time, CPU, calls of tables and queue, memory.
    Tasks,
    /// Connections' tokens, kept, read and refreshed: time, AWS calls, requests to the provider.
    Tokens,
    /// What the channel adds to an answer: time, calls of the table, frames, CPU.
    Channel,
    /// Verifications by scheme and body size.
    Signatures,
    /// All six.
    All,
}

/// Which programs are measured.
#[derive(Debug)]
struct Programs {
    clawbridge: PathBuf,
    functions: Vec<Function>,
}

impl Programs {
    /// `beside` is the folder of this program: target/release.
    fn of(cli: &Cli, beside: &Path) -> Programs {
        let built = beside.parent().unwrap_or(beside).join("lambda");
        let functions =
            [(Kind::Webhook, &cli.webhook), (Kind::Worker, &cli.worker)].into_iter().flat_map(|(kind, named)| {
                let paths =
                    if named.is_empty() { vec![built.join(kind.package()).join("bootstrap")] } else { named.clone() };
                paths.into_iter().map(move |path| Function { kind, path })
            });
        let clawbridge = cli
            .clawbridge
            .clone()
            .unwrap_or_else(|| beside.join(format!("clawbridge{}", std::env::consts::EXE_SUFFIX)));
        Programs {
            // It is started in a folder of its own, where a relative path would lead nowhere.
            clawbridge: std::path::absolute(&clawbridge).unwrap_or(clawbridge),
            functions: functions.collect(),
        }
    }

    /// All of them are looked for before the first is measured: a run takes minutes.
    fn check(&self, what: What) -> Result<(), Failure> {
        if matches!(what, What::Signatures | What::Tokens | What::Channel) {
            return Ok(());
        }
        Failure::unless_file(&self.clawbridge, "cargo build --release -p clawbridge", "--clawbridge")?;
        if what == What::Local {
            return Ok(());
        }
        let measured = |function: &&Function| what != What::Tasks || function.kind == Kind::Worker;
        for function in self.functions.iter().filter(measured) {
            let (build, option) = match function.kind {
                Kind::Webhook => ("cargo lambda build --profile function -p clawbridge-webhook", "--webhook"),
                Kind::Worker => ("cargo lambda build --profile function -p clawbridge-worker", "--worker"),
            };
            Failure::unless_file(&function.path, build, option)?;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{}", Failure::harness("the runtime", error));
            return ExitCode::FAILURE;
        }
    };
    // Whichever ends first, what it started is dropped here, and with that killed.
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = run(&cli) => ended,
            () = interrupted() => Err(Failure::Interrupted),
        }
    });
    match ended {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> Result<String, Failure> {
    let this = std::env::current_exe().map_err(|error| Failure::harness("the path of this program", error))?;
    let programs = Programs::of(cli, this.parent().unwrap_or(Path::new(".")));
    programs.check(cli.what)?;
    let plans = Plans::of(cli.quick);
    let wants = |what| cli.what == what || cli.what == What::All;
    let signatures = if wants(What::Signatures) { Some(signatures::measure(plans.signatures)?) } else { None };
    let local = if wants(What::Local) { Some(local::measure(&programs.clawbridge, plans.local).await?) } else { None };
    let lambda = if wants(What::Lambda) {
        Some(lambda::measure(&programs.clawbridge, &programs.functions, plans.lambda).await?)
    } else {
        None
    };
    let mut tasks = Vec::new();
    for worker in programs.functions.iter().filter(|function| wants(What::Tasks) && function.kind == Kind::Worker) {
        tasks.push(tasks::measure(&programs.clawbridge, worker, plans.tasks).await?);
    }
    let tokens = if wants(What::Tokens) { Some(tokens::measure(plans.tokens).await?) } else { None };
    let channel = if wants(What::Channel) { Some(channel::measure(plans.channel).await?) } else { None };
    let machine = Machine::this();
    if cli.json {
        return Ok(format!(
            "{}\n",
            json!({
                "machine": machine, "quick": cli.quick, "signatures": signatures, "local": local, "lambda": lambda, "tasks": tasks,
                "tokens": tokens, "channel": channel,
            })
        ));
    }
    let mut text = report::machine(&machine);
    text.extend(signatures.iter().map(report::signatures));
    text.extend(local.iter().map(report::local));
    text.extend(lambda.iter().map(report::lambda));
    text.extend(tasks.iter().map(report::tasks));
    text.extend(tokens.iter().map(report::tokens));
    text.extend(channel.iter().map(report::channel));
    Ok(text)
}

/// How much is done of each.
struct Plans {
    local: local::Plan,
    lambda: lambda::Plan,
    tasks: tasks::Plan,
    tokens: tokens::Plan,
    channel: channel::Plan,
    signatures: signatures::Plan,
}

impl Plans {
    fn of(quick: bool) -> Plans {
        let burst_limit = Duration::from_secs(10);
        if quick {
            Plans {
                local: local::Plan { warm_up: 10, burst: 200, burst_limit, steady: 40, rate: 20 },
                lambda: lambda::Plan { cold_starts: 3, series: 1, webhook: 100, worker: 10, warm_up: 2, counted: 5 },
                tasks: tasks::Plan { series: 1, batches: 20, warm_up: 2, memory: 3 },
                tokens: tokens::Plan { warm: 1000, cold: 10, stale: 10, contended: 1 },
                channel: channel::Plan { answers: 1, deltas: 20 },
                signatures: signatures::Plan { rounds: 1, round: Duration::from_millis(2) },
            }
        } else {
            Plans {
                local: local::Plan { warm_up: 50, burst: 3000, burst_limit, steady: 300, rate: 20 },
                lambda: lambda::Plan {
                    cold_starts: 9,
                    series: 3,
                    webhook: 1000,
                    worker: 100,
                    warm_up: 20,
                    counted: 20,
                },
                tasks: tasks::Plan { series: 5, batches: 100, warm_up: 20, memory: 30 },
                tokens: tokens::Plan { warm: 20_000, cold: 100, stale: 100, contended: 10 },
                channel: channel::Plan { answers: 20, deltas: 50 },
                signatures: signatures::Plan { rounds: 5, round: Duration::from_millis(20) },
            }
        }
    }
}

async fn interrupted() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _asked = interrupt.await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        assert_eq!(Cli::parse_from(["bench"]).what, What::All);
    }

    #[test]
    fn programs_are_looked_for_where_cargo_puts_them() {
        let cli = Cli::parse_from(["bench", "lambda", "--worker", "a", "--worker", "b"]);
        let programs = Programs::of(&cli, Path::new("/t/release"));
        assert!(programs.clawbridge.starts_with("/t/release"));
        let paths: Vec<&str> = programs.functions.iter().filter_map(|function| function.path.to_str()).collect();
        assert_eq!(paths, ["/t/lambda/clawbridge-webhook/bootstrap", "a", "b"]);
        let named = Cli::parse_from(["bench", "--clawbridge", "target/debug/clawbridge"]);
        assert!(Programs::of(&named, Path::new("/t/release")).clawbridge.is_absolute());
    }

    #[test]
    fn a_program_that_is_missing_is_named_with_what_builds_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let there = dir.path().join("clawbridge");
        std::fs::write(&there, "").expect("a file");
        let cli = Cli::parse_from(["bench".as_ref(), "--clawbridge".as_ref(), there.as_os_str()]);
        let programs = Programs::of(&cli, dir.path());
        programs.check(What::Local).expect("local needs the bridge alone");
        let error = programs.check(What::All).expect_err("no functions").to_string();
        assert!(
            error.contains("BINARY_MISSING") && error.contains("--webhook") && error.contains("cargo lambda build"),
            "{error}"
        );
        let cli = Cli::parse_from(["bench", "--clawbridge", "/nowhere/clawbridge"]);
        let error = Programs::of(&cli, dir.path()).check(What::Local).expect_err("no bridge").to_string();
        assert!(
            error.contains("/nowhere/clawbridge") && error.contains("cargo build --release -p clawbridge"),
            "{error}"
        );
    }
}
