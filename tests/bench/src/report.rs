//! Figures for people: aligned columns, one figure a line. What they mean is for the reader to say.

use crate::lambda::{BATCH, FunctionFigures};
use crate::process::{CpuClock, Machine};
use crate::stub::Acted;
use crate::{channel, lambda, local, signatures, tasks, tokens};
use std::fmt::Write;

/// What stands where nothing could be measured.
const NONE: &str = "–";

/// A table whose first row is its head. The first column is aligned to the left, the others to the right.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from(" ");
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a String does not fail.
            let _written = if column == 0 { write!(line, " {cell:<width$}") } else { write!(line, "  {cell:>width$}") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(ToOwned::to_owned).into()
}

fn number(figure: Option<f64>, digits: usize) -> String {
    figure.map_or_else(|| NONE.to_owned(), |figure| format!("{figure:.digits$}"))
}

fn mib(kib: Option<u64>) -> String {
    number(kib.map(|kib| kib as f64 / 1024.0), 1)
}

fn millis_of(micros: Option<f64>) -> String {
    number(micros.map(|micros| micros / 1000.0), 2)
}

/// The line above all tables.
pub(crate) fn machine(machine: &Machine) -> String {
    format!("{} × {} ({})\n", machine.cpus, machine.cpu, machine.architecture)
}

/// The channel.
pub(crate) fn channel(figures: &channel::Figures) -> String {
    let mut text = format!("\nchannel: the function, answers of {} deltas\n\n", figures.deltas);
    let head = ["dialect", "added p50 ms", "p99 ms", "frames in", "out", "calls/turn", "calls/delta", "CPU µs/frame"];
    let mut rows = vec![row(head)];
    for one in &figures.dialects {
        rows.push(vec![
            one.dialect.to_owned(),
            millis_of(one.added.p50_us),
            millis_of(one.added.p99_us),
            number(Some(one.frames_in), 0),
            number(Some(one.frames_out), 1),
            number(Some(one.calls_of_turn), 0),
            number(Some(one.calls_of_delta), 2),
            number(one.cpu_us, 0),
        ]);
    }
    text.push_str(&table(&rows));
    for one in &figures.dialects {
        let calls: Vec<String> = one.calls.iter().map(|(operation, count)| format!("{count} {operation}")).collect();
        // Writing to a String does not fail.
        let _written = write!(text, "\n  {}: {}\n", one.dialect, calls.join(", "));
    }
    text
}

/// The bridge on one machine.
pub(crate) fn local(figures: &local::Figures) -> String {
    let mut text = String::from("\nlocal: `clawbridge dev --ephemeral`, one tool call per delivery\n\n");
    let mut rows =
        vec![row(["connections", "posted", "accepted/s", "acted on/s", "POST→2xx p50 ms", "p99 ms", "refused"])];
    for level in &figures.levels {
        let refused: Vec<String> = level.refused.iter().map(|(status, count)| format!("{count} × {status}")).collect();
        rows.push(vec![
            level.connections.to_string(),
            level.posted.to_string(),
            number(level.accepted_per_second, 0),
            number(level.acted_per_second, 0),
            millis_of(level.post.p50_us),
            millis_of(level.post.p99_us),
            if refused.is_empty() { "0".to_owned() } else { refused.join(", ") },
        ]);
    }
    text.push_str(&table(&rows));
    let steady = &figures.steady;
    text.push_str(&format!("\n  at {} a second ({} deliveries)\n", steady.per_second, steady.posted));
    text.push_str(&table(&[
        row(["", "p50 ms", "p99 ms"]),
        row(["POST→2xx", &millis_of(steady.post.p50_us), &millis_of(steady.post.p99_us)]),
        row(["POST→call of the tool", &millis_of(steady.effect.p50_us), &millis_of(steady.effect.p99_us)]),
    ]));
    text.push('\n');
    text.push_str(&acted("deliveries", &figures.acted));
    text.push_str(&table(&[
        row(["memory MiB", "resident", "peak"]),
        row(["idle", &mib(figures.memory_idle.map(|m| m.resident_kib)), &mib(figures.memory_idle.map(|m| m.peak_kib))]),
        row([
            "after",
            &mib(figures.memory_after.map(|m| m.resident_kib)),
            &mib(figures.memory_after.map(|m| m.peak_kib)),
        ]),
    ]));
    text.push_str(&format!("  ready {:.0} ms after its start\n", figures.ready_ms));
    text
}

fn acted(what: &str, acted: &Acted) -> String {
    format!(
        "  {what}: {} accepted; acted on once {}, more than once {}, never {}; acted on without being accepted {}\n",
        acted.accepted, acted.once, acted.repeatedly, acted.never, acted.unaccepted
    )
}

/// Verifications by scheme.
pub(crate) fn signatures(figures: &signatures::Figures) -> String {
    let mut text = String::from(
        "\nsignatures: ns per verification, and allocations (bytes), by body size; what stands at 1 KB alone has a body of its own size\n\n",
    );
    let sizes = signatures::SIZES.map(|size| format!("{} KB", size / 1024));
    let head = ["".to_owned()].into_iter().chain(sizes.clone()).chain(sizes.map(|size| format!("allocated, {size}")));
    let mut rows = vec![head.collect()];
    for row in figures.bare.iter().chain(&figures.schemes) {
        let cells = |cell: &dyn Fn(&signatures::Cost) -> String| -> Vec<String> {
            (0..signatures::SIZES.len()).map(|at| row.costs.get(at).map_or_else(|| NONE.to_owned(), cell)).collect()
        };
        let mut line = vec![match row.costs.as_slice() {
            [only] => format!("{} ({} B)", row.name, only.body_bytes),
            _ => row.name.clone(),
        }];
        line.extend(cells(&|cost| number(Some(cost.ns), 0)));
        line.extend(cells(&|cost| format!("{} ({})", cost.allocations, cost.allocated_bytes)));
        rows.push(line);
    }
    text.push_str(&table(&rows));
    text
}

/// The functions side by side.
pub(crate) fn lambda(figures: &lambda::Figures) -> String {
    let mut text = format!(
        "\nlambda: one environment at a time; one invocation of worker is a batch of {BATCH}. AWS is the local stand-ins without TLS: the time \
         that they take is in the times below, not in the CPU time\n\n"
    );
    let functions = &figures.functions;
    let names = names(functions);
    let line = |name: &str, cell: &dyn Fn(&FunctionFigures) -> String| -> Vec<String> {
        std::iter::once(name.to_owned()).chain(functions.iter().map(cell)).collect()
    };
    text.push_str(&table(&[
        std::iter::once(String::new()).chain(names.iter().cloned()).collect(),
        line("artifact KiB", &|function| number(Some(function.artifact.plain_kib), 0)),
        line("  zipped", &|function| number(Some(function.artifact.zip_kib), 0)),
        line("event bytes", &|function| function.event_bytes.to_string()),
        line("cold start: init ms", &|function| number(function.cold.init_ms, 2)),
        line("  first invocation ms", &|function| number(function.cold.first_ms, 2)),
        line("  total ms", &|function| number(function.cold.total_ms, 2)),
        line("warm p50 µs", &|function| number(function.warm.p50_us, 0)),
        line("  p99 µs", &|function| number(function.warm.p99_us, 0)),
        line("CPU µs per invocation", &|function| number(function.cpu_us, 0)),
        line("peak memory MiB", &|function| mib(function.peak_kib)),
        line("AWS calls, cold", &|function| number(Some(function.cold_calls.values().sum::<u64>() as f64), 0)),
        line("  warm, per invocation", &|function| number(Some(function.warm_calls.values().sum()), 2)),
    ]));
    text.push_str(&format!(
        "\n  a process that does nothing: {} ms from start to end\n",
        number(figures.spawn_floor_ms, 2)
    ));
    if functions.iter().any(|function| function.cpu_clock == Some(CpuClock::Ticks)) {
        text.push_str("  CPU time was counted in ticks of 10 ms over a series, so a series of 1000 resolves 10 µs\n");
    }
    for (name, function) in names.iter().zip(functions) {
        text.push_str(&format!("  {name}: {}\n", function.path));
        let calls = |calls: Vec<String>| if calls.is_empty() { NONE.to_owned() } else { calls.join(", ") };
        let cold = calls(function.cold_calls.iter().map(|(operation, count)| format!("{operation} {count}")).collect());
        let warm =
            calls(function.warm_calls.iter().map(|(operation, mean)| format!("{operation} {mean:.2}")).collect());
        text.push_str(&format!("    AWS calls, cold: {cold}\n    AWS calls, warm: {warm}\n"));
        if let Some(figures) = &function.acted {
            text.push_str(&format!("  {}", acted("deliveries", figures)));
        }
    }
    text
}

/// What tasks cost.
pub(crate) fn tasks(figures: &tasks::Figures) -> String {
    let mut text =
        format!("\ntasks: one process of worker, batches of {BATCH} events, one task of each; {}\n\n", figures.path);
    let mut rows = vec![row(["upstream answers", "tasks/s", "batch p50 ms", "CPU µs per task"])];
    for way in &figures.throughput {
        rows.push(vec![
            if way.latency_ms == 0 { "at once".to_owned() } else { format!("after {} ms", way.latency_ms) },
            number(way.tasks_per_second, 0),
            millis_of(way.batch_p50_us),
            number(way.cpu_us, 0),
        ]);
    }
    text.push_str(&table(&rows));
    if figures.throughput.iter().any(|way| way.cpu_clock == Some(CpuClock::Ticks)) {
        text.push_str("  CPU time was counted in ticks of 10 ms over a series\n");
    }
    text.push_str("\n  calls of each receipt, looks at the configuration left out\n");
    let mut rows = vec![row(["", "events", "tasks", "limits", "queue", "upstream"])];
    for step in &figures.steps {
        let tables = ["events", "tasks", "limits"].map(|table| step.of_table(table));
        let mut line = vec![if step.path.is_empty() {
            format!("  {}", step.receipt)
        } else {
            format!("{}: {}", step.path, step.receipt)
        }];
        line.extend(tables.into_iter().chain([step.of_queue(), step.requests]).map(|count| count.to_string()));
        rows.push(line);
    }
    text.push_str(&table(&rows));
    text.push('\n');
    let mut rows = vec![row(["bodies and answers", "batch KiB", "peak memory MiB"])];
    for load in &figures.loads {
        let size = format!("{} KB", load.bytes / 1024);
        rows.push(vec![size, number(Some(load.event_bytes as f64 / 1024.0), 0), mib(load.peak_kib)]);
    }
    text.push_str(&table(&rows));
    text
}

/// Connections' tokens.
pub(crate) fn tokens(figures: &tokens::Figures) -> String {
    let mut text = format!(
        "\ntokens: `Connections` in this process, {} build; time without and calls with a counting proxy before AWS\n\n",
        figures.build
    );
    let mut rows =
        vec![row(["", "rounds", "p50 µs", "p99 µs", "max µs", "table", "secrets", "provider", "most", "failed"])];
    let bare = &figures.bare;
    rows.push(vec![
        "the provider's bare answer".to_owned(),
        bare.count.to_string(),
        number(bare.took.p50_us, 1),
        number(bare.took.p99_us, 1),
        number(bare.max_us, 1),
    ]);
    for way in &figures.ways {
        let a_round = |count: u64| number(Some(count as f64 / way.rounds.max(1) as f64), 2);
        rows.push(vec![
            way.way.to_owned(),
            way.rounds.to_string(),
            number(way.times.took.p50_us, 1),
            number(way.times.took.p99_us, 1),
            number(way.times.max_us, 1),
            a_round(way.of("DynamoDB ")),
            a_round(way.of("Secrets Manager ")),
            a_round(way.requests),
            way.most_requests.to_string(),
            way.failures.to_string(),
        ]);
    }
    text.push_str(&table(&rows));
    text.push_str("\n  calls of a round\n");
    for way in figures.ways.iter().filter(|way| !way.calls.is_empty()) {
        let calls = way.calls.iter().map(|(operation, count)| {
            format!("{} × {operation}", number(Some(*count as f64 / way.rounds.max(1) as f64), 2))
        });
        // Writing to a String does not fail.
        let _written = writeln!(text, "  {}: {}", way.way, calls.collect::<Vec<_>>().join(", "));
    }
    text
}

/// What the columns are called: by their function, and numbered where there are several of one.
fn names(functions: &[FunctionFigures]) -> Vec<String> {
    let of = |name: &str, among: &[FunctionFigures]| among.iter().filter(|function| function.function == name).count();
    let numbered = functions.iter().enumerate().map(|(index, function)| {
        let name = function.function;
        if of(name, functions) == 1 { name.to_owned() } else { format!("{name} {}", of(name, &functions[..=index])) }
    });
    numbered.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lambda::Cold;
    use crate::local::{Level, Steady};
    use crate::process::{Artifact, Memory};
    use crate::stats::Spread;
    use std::collections::BTreeMap;

    #[test]
    fn columns_are_aligned_whatever_is_in_them() {
        let text = table(&[row(["", "p50 µs"]), row(["warm", "7"]), row(["x", NONE])]);
        assert_eq!(text, "        p50 µs\n  warm       7\n  x          –\n");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn every_local_figure_is_printed() {
        let spread = Spread { p50_us: Some(1234.0), p99_us: None };
        let memory = |kib| Some(Memory { resident_kib: kib, peak_kib: 2 * kib });
        let text = local(&local::Figures {
            ready_ms: 41.0,
            levels: vec![Level {
                connections: 8,
                posted: 3000,
                accepted_per_second: Some(987.4),
                acted_per_second: Some(321.0),
                post: spread,
                refused: BTreeMap::from([(503, 7)]),
            }],
            steady: Steady {
                per_second: 20,
                posted: 300,
                post: spread,
                effect: Spread { p50_us: Some(5678.0), p99_us: None },
            },
            acted: Acted { accepted: 300, once: 299, repeatedly: 1, never: 0, unaccepted: 0 },
            memory_idle: memory(20 * 1024),
            memory_after: memory(30 * 1024),
        });
        for part in
            ["8", "3000", "987", "321", "1.23", "7 × 503", "5.68", "once 299", "20.0", "40.0", "60.0", "41 ms", NONE]
        {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
    }

    #[test]
    fn every_figure_of_tasks_is_printed() {
        let text = tasks(&tasks::Figures {
            path: "target/lambda/worker/bootstrap".to_owned(),
            throughput: vec![tasks::Throughput {
                latency_ms: 50,
                tasks_per_second: Some(1234.4),
                batch_p50_us: Some(6789.0),
                cpu_us: Some(321.0),
                cpu_clock: Some(CpuClock::Scheduler),
            }],
            steps: vec![tasks::Step {
                path: "a rate",
                receipt: "first token",
                calls: [("DynamoDB UpdateItem tasks".to_owned(), 2), ("SQS SendMessage".to_owned(), 3)].into(),
                requests: 4,
            }],
            loads: vec![tasks::Load { bytes: 1024, event_bytes: 20 * 1024, peak_kib: Some(11 * 1024) }],
        });
        let step = text.lines().find(|line| line.contains("first token")).expect("a line");
        assert_eq!(step.split_whitespace().collect::<Vec<_>>()[4..], ["0", "2", "0", "3", "4"], "{text}");
        for part in ["after 50 ms", "1234", "6.79", "321", "1 KB", "20", "11.0", "worker/bootstrap"] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
    }

    #[test]
    fn functions_stand_side_by_side() {
        let function = |name, total| FunctionFigures {
            function: name,
            path: format!("target/lambda/{name}/bootstrap"),
            artifact: Artifact { plain_kib: 4444.0, zip_kib: 1999.0 },
            event_bytes: 1234,
            cold: Cold { init_ms: Some(4.1), first_ms: Some(3.8), total_ms: Some(total) },
            warm: Spread { p50_us: Some(700.0), p99_us: Some(1000.0) },
            cpu_us: Some(600.0),
            cpu_clock: Some(CpuClock::Ticks),
            peak_kib: Some(7 * 1024),
            cold_calls: [("SQS SendMessage".to_owned(), 1), ("Secrets Manager GetSecretValue".to_owned(), 1)].into(),
            warm_calls: [("SQS SendMessage".to_owned(), 1.0)].into(),
            acted: None,
        };
        let text = lambda(&lambda::Figures {
            spawn_floor_ms: Some(0.9),
            functions: vec![function("webhook", 7.8), function("worker", 9.9), function("worker", 8.8)],
        });
        let total = text.lines().find(|line| line.contains("total ms")).expect("a line");
        assert!(total.contains("7.80") && total.contains("9.90") && total.contains("8.80"), "{text}");
        let head = text.lines().nth(3).expect("a head");
        assert_eq!(head.split_whitespace().collect::<Vec<_>>(), ["webhook", "worker", "1", "worker", "2"]);
        for part in
            ["SQS SendMessage 1.00", "Secrets Manager GetSecretValue 1", "ticks of 10 ms", "0.90 ms", "1234", "7.0"]
        {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
    }
}
