//! Runs many seeds of the simulation and prints what came of them, or one seed line by line. Exit status 1 where something happened
//! that must not.

use clap::Parser;
use clawbridge_simulation::{Figures, Report, Rule, run};
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

/// Prints a line; who has stopped reading is not told any more.
macro_rules! say {
    ($($arg:tt)*) => { drop(writeln!(std::io::stdout().lock(), $($arg)*)) };
}

/// The task machine under seeded faults.
#[derive(Debug, Parser)]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 20_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run this one alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Print what happens in it.
    #[arg(long, requires = "seed")]
    trace: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let started = Instant::now();
    let (first, seeds) = args.seed.map_or((args.first, args.seeds), |seed| (seed, 1));
    let (figures, failed) = run_all(first, seeds, args.trace);
    print(&figures, seeds, started);
    for (seed, report) in &failed {
        for violation in &report.violations {
            say!("seed {seed}: {violation}   (--seed {seed} --trace shows how)");
        }
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Side by side on all cores: each seed is a world of its own.
fn run_all(first: u64, seeds: u64, trace: bool) -> (Figures, Vec<(u64, Report)>) {
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let one = |thread: u64| {
        let (mut figures, mut failed) = (Figures::default(), Vec::new());
        for seed in (first..first.saturating_add(seeds)).filter(|seed| seed % threads == thread) {
            let report = run(seed, Rule::Kept, trace);
            for line in &report.trace {
                say!("{line}");
            }
            figures.add(&report.figures);
            if !report.violations.is_empty() {
                failed.push((seed, report));
            }
        }
        (figures, failed)
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        let (mut figures, mut failed) = (Figures::default(), Vec::new());
        for thread in running {
            let (more, others) = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            figures.add(&more);
            failed.extend(others);
        }
        failed.sort_by_key(|(seed, _)| *seed);
        (figures, failed)
    })
}

fn print(figures: &Figures, seeds: u64, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    let rows = [
        ("seeds", seeds),
        ("steps", figures.steps),
        ("tasks", figures.tasks),
        ("calls", figures.calls),
        ("effects", figures.effects),
        ("looks", figures.looks),
        ("writes", figures.writes),
        ("writes that lost", figures.races),
        ("verify lied to", figures.lied_to),
        ("tasks in lanes", figures.ordered),
        ("turns in lanes", figures.turns),
        ("turns not yet had", figures.waits),
        ("turns, another late", figures.late),
        ("persons' wishes", figures.wishes),
        ("virtual hours", figures.millis / 3_600_000),
    ];
    for (name, count) in rows {
        say!("{name:<20}{count:>12}");
    }
    say!("{:<20}{seconds:>12.1}", "seconds");
    for (fault, count) in &figures.faults {
        say!("  fault {:<18}{count:>8}", format!("{fault:?}"));
    }
    for (state, count) in &figures.ends {
        say!("  ended {state:<18}{count:>8}");
    }
}
