//! Runs many seeds of the simulation and prints what came of them, or one seed line by line. Exit status 1 where something happened
//! that must not.

use clap::{Parser, ValueEnum};
use clawbridge_simulation::{Figures, Report, Rule, connections, run};
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

/// Prints a line; who has stopped reading is not told any more.
macro_rules! say {
    ($($arg:tt)*) => { drop(writeln!(std::io::stdout().lock(), $($arg)*)) };
}

/// The task machine and connections under seeded faults.
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
    /// One subject alone.
    #[arg(long)]
    subject: Option<Subject>,
}

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subject {
    Tasks,
    Connections,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let (first, seeds) = args.seed.map_or((args.first, args.seeds), |seed| (seed, 1));
    let wanted = |subject| args.subject.is_none_or(|wanted| wanted == subject);
    let mut has_failed = false;
    if wanted(Subject::Tasks) {
        let started = Instant::now();
        let mut figures = Figures::default();
        for (seed, report) in run_all(first, seeds, |seed| run(seed, Rule::Kept, args.trace)) {
            let Report { figures: more, violations, trace } = report;
            figures.add(&more);
            has_failed |= tell(seed, &violations, &trace, "tasks");
        }
        print(&figures, seeds, started);
    }
    if wanted(Subject::Connections) {
        let started = Instant::now();
        let (mut figures, mut elsewhere) = (connections::Figures::default(), 0);
        for (seed, report) in run_all(first, seeds, |seed| connections::run(seed, connections::Rule::Kept, args.trace))
        {
            let connections::Report { figures: more, violations, trace } = report;
            figures.add(&more);
            elsewhere += violations.iter().filter(|violation| violation.is_loss()).count() as u64;
            has_failed |= tell(seed, &violations, &trace, "connections");
        }
        print_connections(&figures, elsewhere, seeds, started);
    }
    if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Says what happened that must not.
fn tell<V: Display>(seed: u64, violations: &[V], trace: &[String], subject: &str) -> bool {
    for line in trace {
        say!("{line}");
    }
    for violation in violations {
        say!("seed {seed}: {violation}   (--subject {subject} --seed {seed} --trace shows how)");
    }
    !violations.is_empty()
}

/// Side by side on all cores: each seed is a world of its own.
fn run_all<R: Send>(first: u64, seeds: u64, run: impl Fn(u64) -> R + Sync) -> Vec<(u64, R)> {
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let one = &|thread: u64| -> Vec<(u64, R)> {
        let seeds = (first..first.saturating_add(seeds)).filter(|seed| seed % threads == thread);
        seeds.map(|seed| (seed, run(seed))).collect()
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        let mut reports = Vec::new();
        for thread in running {
            reports.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        reports.sort_by_key(|(seed, _)| *seed);
        reports
    })
}

fn print_connections(figures: &connections::Figures, elsewhere: u64, seeds: u64, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    let rows = [
        ("seeds", seeds),
        ("steps", figures.steps),
        ("wants", figures.wants),
        ("asks", figures.asks),
        ("refreshes", figures.refreshes),
        ("found stored", figures.recovered),
        ("superseded", figures.superseded),
        ("consents", figures.consents),
        ("revocations", figures.revocations),
        ("writes that lost", figures.races),
        ("expired", figures.expired),
        ("lost, named point", figures.named),
        ("lost elsewhere", elsewhere),
        ("virtual hours", figures.millis / 3_600_000),
    ];
    say!("connections");
    for (name, count) in rows {
        say!("{name:<20}{count:>12}");
    }
    say!("{:<20}{seconds:>12.1}", "seconds");
    for (fault, count) in &figures.faults {
        say!("  fault {:<18}{count:>8}", format!("{fault:?}"));
    }
    for (end, count) in &figures.ends {
        say!("  ended {end:<18}{count:>8}");
    }
}

fn print(figures: &Figures, seeds: u64, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    say!("tasks");
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
