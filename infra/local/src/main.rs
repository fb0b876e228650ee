//! The whole bridge on one machine, and the operator's commands.

mod cli;
mod dev;
mod failure;
mod operator;
mod out;
mod random;
mod stack;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    end_quietly_when_nobody_reads();
    let cli = Cli::parse();
    let json = cli.global.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::new("RUNTIME", error.to_string()), json),
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure, json),
    }
}

/// `clawbridge events list | head -1`: a reader that has seen enough closes the pipe, and what `println!` makes of that is a panic.
fn end_quietly_when_nobody_reads() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload_as_str().unwrap_or_default();
        if message.starts_with("failed printing to stdout") && message.contains("Broken pipe") {
            std::process::exit(0);
        }
        report(panic);
    }));
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let global = cli.global;
    match cli.command {
        None => dev::run(&global, &cli.dev).await,
        Some(Command::Dev(args)) => dev::run(&global, &args).await,
        Some(Command::Send(args)) => operator::send::send(&global, &args).await,
        Some(Command::Events(command)) => operator::events::run(&global, command).await,
        Some(Command::Tasks(command)) => operator::tasks::run(&global, command).await,
        Some(Command::Source(command)) => operator::sources::run(&global, command).await,
        Some(Command::Secret(command)) => operator::secrets::run(&global, command).await,
        Some(Command::Check(args)) => operator::config::check_file(&global, &args),
        Some(Command::Apply(args)) => operator::config::apply_file(&global, &args).await,
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "clawbridge", &mut script);
            print!("{}", String::from_utf8_lossy(&script));
            Ok(())
        }
    }
}

/// Errors go to standard error, as JSON where the command was asked for JSON.
fn report(failure: &Failure, json: bool) -> ExitCode {
    if json {
        eprintln!("{}", serde_json::json!({"error": {"code": failure.code, "message": failure.message}}));
    } else {
        eprintln!("{failure}");
    }
    ExitCode::from(failure.exit as u8)
}
