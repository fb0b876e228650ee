//! The functions' binaries as Lambda runs them: started from nothing, invoked, counted. One execution environment at a time.

use crate::aws::Services;
use crate::counting::{Counting, Counts};
use crate::environment::{Environment, Function, Kind, Start, apply};
use crate::failure::Failure;
use crate::fixtures::{Delivery, bridge_toml, webhook_event, worker_batch};
use crate::process::{Artifact, CpuClock, artifact, memory, spawn_floor_ms};
use crate::stats::{Sample, Spread, median_of, millis};
use crate::stub::{Acted, Stub};
use bytes::Bytes;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// Records of a batch.
pub(crate) const BATCH: usize = 10;

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
        self.next += deliveries_of(kind) as u64;
        let deliveries: Vec<Delivery> = (first..self.next).map(Delivery::new).collect::<Result<_, _>>()?;
        let numbers = deliveries.iter().map(|delivery| delivery.number).collect();
        Ok(Prepared { event: event_of(kind, &deliveries)?, numbers })
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
            let events = prepared.into_iter().map(|prepared| prepared.event).collect();
            series.push(environment.series(events).await?);
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

/// How many deliveries an invocation has.
fn deliveries_of(kind: Kind) -> usize {
    match kind {
        Kind::Webhook => 1,
        Kind::Worker => BATCH,
    }
}

fn event_of(kind: Kind, deliveries: &[Delivery]) -> Result<Bytes, Failure> {
    match (kind, deliveries) {
        (Kind::Webhook, [delivery, ..]) => webhook_event(delivery),
        (Kind::Webhook, []) => Err(Failure::Harness("an event needs a delivery".to_owned())),
        (Kind::Worker, deliveries) => worker_batch(deliveries),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
