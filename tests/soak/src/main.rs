//! Many users and agents at the channel of a bridge that this program starts: figures, and exit status 1 where something did not hold.

use clap::Parser;
use clawbridge_soak::{Figures, Manner, Plan};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Lets many users and agents use the channel and lose their connections; every answer is checked.
#[derive(Debug, Parser)]
#[command(name = "clawbridge-soak", version, about)]
struct Cli {
    /// The bridge [default: clawbridge beside this program].
    #[arg(long, value_name = "PATH")]
    clawbridge: Option<PathBuf>,
    /// Users' connections that are open all the time.
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// How many answers are streamed at the same time.
    #[arg(long, default_value_t = 200)]
    concurrent: usize,
    /// How often so many are.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Agents that number their frames, and as many that do not.
    #[arg(long, default_value_t = 10)]
    agents: usize,
    /// Words of an answer.
    #[arg(long, default_value_t = 12)]
    words: usize,
    /// Milliseconds from word to word.
    #[arg(long, default_value_t = 1000, value_name = "MS")]
    pace: u64,
    /// How many of a hundred users lose their connection in the middle.
    #[arg(long, default_value_t = 30, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    users_lost: u8,
    /// How many of a hundred agents lose theirs in each round.
    #[arg(long, default_value_t = 30, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    agents_lost: u8,
    /// Seconds that an answer may take. Agents that number nothing are given up after 90 s of silence.
    #[arg(long, default_value_t = 240, value_name = "SECONDS")]
    patience: u64,
    /// From which all is drawn, the order of messages too.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match soak(&cli).await {
        Ok((figures, memory)) => {
            print(&cli, &figures, memory);
            if figures.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn soak(cli: &Cli) -> Result<(Figures, Option<u64>), String> {
    let beside = std::env::current_exe().map_err(|error| error.to_string())?.with_file_name("clawbridge");
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let program = std::path::absolute(cli.clawbridge.as_ref().unwrap_or(&beside)).map_err(|error| error.to_string())?;
    let (bridge, ready) = start(&program, folder.path(), cli.seed).await?;
    let url = |name: &str| ready["stack"][name].as_str().unwrap_or_default().to_owned();
    let plan = Plan {
        connections: cli.connections,
        concurrent: cli.concurrent,
        rounds: cli.rounds,
        agents: cli.agents,
        manner: Manner { words: cli.words, pace: Duration::from_millis(cli.pace) },
        users_lost: cli.users_lost,
        agents_lost: cli.agents_lost,
        patience: Duration::from_secs(cli.patience),
        seed: cli.seed,
    };
    let figures = clawbridge_soak::run(&url("public_url"), &url("endpoint_url"), plan).await;
    let memory = bridge.id().and_then(peak_kib);
    figures.map(|figures| (figures, memory)).map_err(|error| error.to_string())
}

/// A bridge that hands the messages of each connection over in another order than they came in; it is killed when it is dropped.
async fn start(program: &Path, folder: &Path, seed: u64) -> Result<(Child, Value), String> {
    std::fs::write(folder.join("bridge.toml"), "").map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .args([
            "dev",
            "--json",
            "--port",
            "0",
            "--channel-look",
            "2",
            "--channel-shuffle",
            &seed.to_string(),
            "--state",
        ])
        .arg(folder.join("state"))
        .arg("--config")
        .arg(folder.join("bridge.toml"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let stdout = child.stdout.take().ok_or("no standard output")?;
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line: Value = serde_json::from_str(&line).unwrap_or_default();
        if line["kind"] == "dev.ready" {
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok((child, line));
        }
    }
    Err("the bridge ended before it was ready".to_owned())
}

/// The most memory that a process has had (VmHWM, man 5 proc), KiB.
fn peak_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok())
}

fn print(cli: &Cli, figures: &Figures, memory: Option<u64>) {
    if cli.json {
        println!("{}", json!({"figures": figures, "peak_kib": memory}));
        return;
    }
    let two = |pair: Option<(u64, u64)>| pair.map_or("-".to_owned(), |(p50, p99)| format!("{p50} / {p99} ms"));
    println!(
        "connections      {} users, made in {} ms, {} agents",
        figures.connections,
        figures.connecting_ms,
        2 * cli.agents
    );
    println!(
        "responses        {} in {} ms, {} at a time; {} of agents that number",
        figures.responses, figures.rounds_ms, cli.concurrent, figures.numbered
    );
    println!("complete         {}", figures.complete);
    for (how, count) in &figures.ended {
        println!("ended            {count} {how}");
    }
    println!("frames           {} of agents, {} events to users", figures.agent_frames, figures.events);
    println!("lost             {} connections of users, resumed; {} of agents", figures.resumed, figures.cables);
    println!("first delta      p50 / p99 {}", two(figures.first_delta_ms));
    println!("whole answer     p50 / p99 {}", two(figures.whole_ms));
    println!("bridge           at most {} KiB", memory.map_or("-".to_owned(), |kib| kib.to_string()));
    println!("violations       {}", figures.violations.len());
    for violation in &figures.violations {
        println!("  {violation}");
    }
}
