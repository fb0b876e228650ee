//! The whole bridge on one machine, and the operator's commands.

mod chat;
mod cli;
mod connector;
mod dev;
mod failure;
mod operator;
mod out;
mod random;
mod socket;
mod stack;
mod upstreams;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
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

async fn run(cli: Cli) -> Result<(), Failure> {
    let global = cli.global;
    match cli.command {
        None => dev::run(&global, &cli.dev).await,
        Some(Command::Dev(args)) => dev::run(&global, &args).await,
        Some(Command::Chat(args)) => chat::run(&global, &args).await,
        Some(Command::Send(args)) => operator::send::send(&global, &args).await,
        Some(Command::Events(command)) => operator::events::run(&global, command).await,
        Some(Command::Tasks(command)) => operator::tasks::run(&global, command).await,
        Some(Command::Tools(command)) => operator::tools::run(&global, command).await,
        Some(Command::Limits(command)) => operator::limits::run(&global, command).await,
        Some(Command::Source(command)) => operator::sources::run(&global, command).await,
        Some(Command::Secret(command)) => operator::secrets::run(&global, command).await,
        Some(Command::Token(command)) => operator::tokens::run(&global, command).await,
        Some(Command::Webhooks(args)) => operator::webhooks::run(&global, args).await,
        Some(Command::Agent(command)) => operator::agents::run(&global, command).await,
        Some(Command::Pairings(command)) => operator::agents::pairings(&global, command).await,
        Some(Command::ConnectAccount(args)) => operator::connect::run(&global, &args).await,
        Some(Command::Connect(args)) => connector::run(&global, *args).await,
        Some(Command::Connections(command)) => operator::connections::run(&global, command).await,
        Some(Command::Skills(command)) => operator::skills::run(&global, command).await,
        Some(Command::Config(command)) => operator::config::run(&global, command).await,
        Some(Command::Doctor(args)) => operator::doctor::run(&global, &args).await,
        Some(Command::Verify(args)) => operator::verify::run(&global, &args).await,
        Some(Command::Check(args)) => operator::config::check_file(&global, &args),
        Some(Command::Apply(args)) => operator::config::apply_file(&global, &args).await,
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "clawbridge", &mut script);
            out::say!("{}", String::from_utf8_lossy(&script).trim_end());
            Ok(())
        }
    }
}

/// Errors go to standard error, as JSON where the command was asked for JSON.
fn report(failure: &Failure, json: bool) -> ExitCode {
    if failure.message.is_empty() {
        // Said already.
    } else if json {
        eprintln!("{}", serde_json::json!({"error": {"code": failure.code, "message": failure.message}}));
    } else {
        eprintln!("{failure}");
    }
    ExitCode::from(failure.exit as u8)
}
