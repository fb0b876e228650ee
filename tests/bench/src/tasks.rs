//! What tasks cost: how many of them one process of `worker` carries out, what it asks of the tables for each, and the memory it needs.

use crate::aws::{Client, Services};
use crate::counting::{Counting, Counts};
use crate::environment::{Environment, Function, Series, apply};
use crate::failure::Failure;
use crate::fixtures::{SOURCE, batch_of, event_message};
use crate::lambda::BATCH;
use crate::process::{CpuClock, memory};
use crate::stats::{median_of, per_second};
use crate::wire::{Server, reply};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What the slow upstream takes for an answer.
const LATENCY: Duration = Duration::from_millis(50);

/// Bytes of the small and of the large bodies and answers.
const SIZES: [usize; 2] = [1024, 100 * 1024];

/// How long a message that the function has sent may take to become visible: more than the longest of its delays here.
const DELAY_S: u64 = 20;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) series: usize,
    /// Batches of a series.
    pub(crate) batches: usize,
    /// Batches before anything is measured.
    pub(crate) warm_up: usize,
    /// Batches after which the peak of memory is read.
    pub(crate) memory: usize,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) path: String,
    pub(crate) throughput: Vec<Throughput>,
    pub(crate) steps: Vec<Step>,
    pub(crate) loads: Vec<Load>,
}

/// One process, batches of [`BATCH`] events, a new task of each.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Throughput {
    /// What the upstream takes, milliseconds.
    pub(crate) latency_ms: u64,
    /// Median of the series.
    pub(crate) tasks_per_second: Option<f64>,
    /// A batch, from its event handed out to its whole answer, median of the series' medians, microseconds.
    pub(crate) batch_p50_us: Option<f64>,
    /// CPU time of a task with its event and its share of an invocation, median of the series, microseconds.
    pub(crate) cpu_us: Option<f64>,
    pub(crate) cpu_clock: Option<CpuClock>,
}

/// What one receipt of one message asks for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) path: &'static str,
    pub(crate) receipt: &'static str,
    /// AWS calls, looks at the configuration left out: they are made every few seconds, whatever the work.
    pub(crate) calls: Counts,
    /// Requests to the upstream.
    pub(crate) requests: u64,
}

/// The memory of a process that has had batches of one size only.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Load {
    /// Bytes of text in each delivery, which is the task's input too, and in each answer.
    pub(crate) bytes: usize,
    /// Bytes of JSON of a batch.
    pub(crate) event_bytes: usize,
    /// The most memory that was resident, KiB.
    pub(crate) peak_kib: Option<u64>,
}

impl Step {
    /// Calls of the table of this name.
    pub(crate) fn of_table(&self, table: &str) -> u64 {
        self.sum(|operation| operation.rsplit_once(' ').is_some_and(|(_, last)| last == table))
    }

    pub(crate) fn of_queue(&self) -> u64 {
        self.sum(|operation| operation.starts_with("SQS "))
    }

    fn sum(&self, is_it: impl Fn(&str) -> bool) -> u64 {
        self.calls.iter().filter(|(operation, _)| is_it(operation)).map(|(_, count)| count).sum()
    }
}

/// Measures the function `worker`. `clawbridge` puts the configuration there.
pub(crate) async fn measure(clawbridge: &Path, worker: &Function, plan: Plan) -> Result<Figures, Failure> {
    let upstream = Upstream::start().await?;
    let services = Services::start().await?;
    apply(clawbridge, &services.stack.url(), &bridge_toml(&upstream.server.url())).await?;
    let mut bench = Bench { services, upstream, worker, next: 0 };
    let throughput = bench.throughput(plan).await?;
    let steps = bench.steps().await?;
    let mut loads = Vec::new();
    for (event_type, bytes) in ["small", "large"].into_iter().zip(SIZES) {
        loads.push(bench.load(event_type, bytes, plan.memory).await?);
    }
    Ok(Figures { path: worker.path.display().to_string(), throughput, steps, loads })
}

/// A tool and a route for each way. The events' types are the tools' names.
fn bridge_toml(upstream: &str) -> String {
    const KEYED: &str = "idempotency_header = \"Idempotency-Key\"";
    let tool = |name: &str, more: &str, input: &str, route: &str| {
        format!(
            "\n[tools.{name}]\nmethod = \"POST\"\nurl = \"{upstream}/{name}\"\nbody = '.'\n{more}\n\n[[routes]]\nname = \"{name}\"\n\
             source = \"{SOURCE}\"\ntype = \"{name}\"\ntool = \"{name}\"\ninput = '{input}'\n{route}\n"
        )
    };
    let keyed = |name: &str, more: &str| tool(name, &format!("{KEYED}\n{more}"), ".body", "");
    let looked_up =
        "[tools.doubtful.verify]\ntool = \"look\"\ninput = '{n: .input.n}'\ndone = '.answer.done'\nsettle = \"0s\"\n";
    [
        "[network]\nallow = [\"127.0.0.1\"]\n".to_owned(),
        ["now", "late", "busy", "small", "large"].map(|name| keyed(name, "")).concat(),
        // One input for the one key.
        tool("once", &format!("{KEYED}\nidempotency_key = '.key'"), "{key: .body.key}", ""),
        tool("doubtful", "", ".body", ""),
        looked_up.to_owned(),
        format!("[tools.look]\nmethod = \"GET\"\nurl = \"{upstream}/look/{{n}}\"\n"),
        tool("ordered", KEYED, ".body", "order = '.body.lane'"),
        keyed("scarce", "limit = { rate = \"1/h\", burst = 1 }"),
        keyed("paced", "limit = { rate = \"1000/s\" }"),
        keyed("guarded", "circuit = { failures = 5 }"),
    ]
    .concat()
}

/// The API that the tools call: it counts, and answers by the path.
struct Upstream {
    server: Server,
    requests: Arc<AtomicU64>,
}

impl Upstream {
    async fn start() -> Result<Upstream, Failure> {
        let (requests, has_declined) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let count = Arc::clone(&requests);
        let answers = SIZES.map(|size| Bytes::from(json!({"text": noise(size, 7)}).to_string()));
        let server = Server::start(move |request: Request<Bytes>| {
            count.fetch_add(1, Ordering::Relaxed);
            let name = request.uri().path().split('/').nth(1).unwrap_or_default().to_owned();
            let declines = name == "busy" && !has_declined.swap(true, Ordering::Relaxed);
            let answers = answers.clone();
            async move {
                if name == "late" {
                    tokio::time::sleep(LATENCY).await;
                }
                if declines { declined() } else { answer(&name, &answers) }
            }
        })
        .await?;
        Ok(Upstream { server, requests })
    }

    /// The requests since the last time they were taken.
    fn take(&self) -> u64 {
        self.requests.swap(0, Ordering::Relaxed)
    }
}

fn declined() -> Response<Bytes> {
    reply(StatusCode::SERVICE_UNAVAILABLE, "application/json", Bytes::new())
}

fn answer(name: &str, [small, large]: &[Bytes; 2]) -> Response<Bytes> {
    let (status, body) = match name {
        "doubtful" => (StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()),
        "look" => (StatusCode::OK, Bytes::from_static(b"{\"done\":true}")),
        "small" => (StatusCode::OK, small.clone()),
        "large" => (StatusCode::OK, large.clone()),
        _ => (StatusCode::OK, Bytes::from_static(b"{\"ok\":true}")),
    };
    reply(status, "application/json", body)
}

/// Text that compresses to about half, as identifiers and Base64 do: hexadecimal digits in no order.
fn noise(bytes: usize, seed: u64) -> String {
    // Knuth's linear congruential generator (MMIX); the high bits are the good ones.
    let mut state = seed;
    let digits = (0..bytes).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from_digit((state >> 60) as u32, 16).unwrap_or('0')
    });
    digits.collect()
}

struct Bench<'a> {
    services: Services,
    upstream: Upstream,
    worker: &'a Function,
    next: u64,
}

impl Bench<'_> {
    /// The message of a new event, whose body has its number.
    fn message(&mut self, event_type: &str, mut body: Value) -> Result<String, Failure> {
        self.next += 1;
        let number = self.next;
        body["n"] = json!(number);
        event_message(event_type, &format!("task-{number}"), &format!("task{number}="), body.to_string().as_bytes())
    }

    fn batch(&mut self, event_type: &str) -> Result<Bytes, Failure> {
        let messages: Vec<String> =
            (0..BATCH).map(|_| self.message(event_type, json!({}))).collect::<Result<_, _>>()?;
        batch_of(&messages)
    }

    async fn start(&mut self, endpoint: &str) -> Result<Environment, Failure> {
        let first = batch_of(&[self.message("now", json!({}))?])?;
        let (environment, _) = Environment::start(self.worker, &self.services, endpoint, first).await?;
        Ok(environment)
    }

    /// Both upstreams in turns, so that what disturbs the machine for a while disturbs both.
    async fn throughput(&mut self, plan: Plan) -> Result<Vec<Throughput>, Failure> {
        let endpoint = self.services.stack.url();
        let mut environment = self.start(&endpoint).await?;
        let ways = [("now", 0), ("late", LATENCY.as_millis())];
        let mut series: [Vec<Series>; 2] = Default::default();
        for round in 0..=plan.series {
            for ((event_type, _), series) in ways.iter().zip(&mut series) {
                let count = if round == 0 { plan.warm_up } else { plan.batches };
                let events: Vec<Bytes> = (0..count).map(|_| self.batch(event_type)).collect::<Result<_, _>>()?;
                self.upstream.take();
                let one = environment.series(events).await?;
                self.expect_requests(count * BATCH)?;
                if round > 0 {
                    series.push(one);
                }
            }
        }
        let figures = ways.into_iter().zip(series).map(|((_, latency), series)| Throughput {
            latency_ms: u64::try_from(latency).unwrap_or(u64::MAX),
            tasks_per_second: median_of(
                series.iter().filter_map(|series| per_second(plan.batches * BATCH, series.whole)),
            ),
            batch_p50_us: median_of(series.iter().filter_map(|series| series.took.p50_us)),
            cpu_us: median_of(series.iter().filter_map(|series| series.cpu_us)).map(|us| us / BATCH as f64),
            cpu_clock: series.first().and_then(|series| series.cpu_clock),
        });
        Ok(figures.collect())
    }

    /// Were there others, the figures would be of something else than one call for each task.
    fn expect_requests(&self, expected: usize) -> Result<(), Failure> {
        let found = self.upstream.take();
        if found == expected as u64 {
            return Ok(());
        }
        Err(Failure::WrongAnswer(format!("{expected} tasks made {found} calls of their upstream")))
    }

    async fn load(&mut self, event_type: &str, bytes: usize, batches: usize) -> Result<Load, Failure> {
        let endpoint = self.services.stack.url();
        let mut environment = self.start(&endpoint).await?;
        self.upstream.take();
        let mut event_bytes = 0;
        for _ in 0..batches {
            let messages: Vec<String> = (0..BATCH)
                .map(|_| {
                    let text = noise(bytes, self.next);
                    self.message(event_type, json!({"text": text}))
                })
                .collect::<Result<_, _>>()?;
            let event = batch_of(&messages)?;
            event_bytes = event.len();
            environment.invoke(event).await?;
        }
        self.expect_requests(batches * BATCH)?;
        Ok(Load { bytes, event_bytes, peak_kib: environment.pid().and_then(memory).map(|memory| memory.peak_kib) })
    }

    /// Each path once, one message at a time, through the counting proxy.
    async fn steps(&mut self) -> Result<Vec<Step>, Failure> {
        let counting = Counting::start(self.services.stack.address).await?;
        let mut environment = self.start(&counting.server.url()).await?;
        let mut queue = Queue::of(&self.services).await?;
        let (mut last, mut steps) = (String::new(), Vec::new());
        for (path, receipt, of) in WALK {
            if let Of::EventElsewhere(_) = of {
                environment = self.start(&counting.server.url()).await?;
            }
            last = match of {
                Of::Event(event_type) | Of::EventElsewhere(event_type) => {
                    self.message(event_type, json!({"key": "k", "lane": "l"}))?
                }
                Of::Repetition => repeated(&last)?,
                Of::Sent => queue.receive().await?,
            };
            counting.take();
            self.upstream.take();
            environment.invoke(batch_of(std::slice::from_ref(&last))?).await?;
            let mut calls = counting.take();
            calls.retain(|operation, _| !operation.ends_with(" registry"));
            steps.push(Step { path, receipt, calls, requests: self.upstream.take() });
        }
        Ok(steps)
    }
}

/// Which message a step is about.
#[derive(Clone, Copy)]
enum Of {
    /// One of a new event of this type.
    Event(&'static str),
    /// The same in another environment, which knows nothing of limits and circuits yet.
    EventElsewhere(&'static str),
    /// The last one's event, delivered again.
    Repetition,
    /// The one that the function has sent.
    Sent,
}

/// Path, receipt and message. What comes later stands on what came before.
const WALK: [(&str, &str, Of); 18] = [
    ("a new task", "event", Of::Event("now")),
    ("", "delivered again", Of::Repetition),
    ("503, then 200", "event", Of::Event("busy")),
    ("", "task, again", Of::Sent),
    ("a key of its own", "event", Of::Event("once")),
    ("", "another event, done", Of::Event("once")),
    ("unknown, verified", "event", Of::Event("doubtful")),
    ("", "task, looked up", Of::Sent),
    ("in order", "event", Of::Event("ordered")),
    ("", "task, in its turn", Of::Sent),
    ("a rate", "first token", Of::Event("paced")),
    ("", "second token", Of::Event("paced")),
    ("", "third, taken ahead", Of::Event("paced")),
    ("a rate of one", "last token", Of::Event("scarce")),
    ("", "none left, as known", Of::Event("scarce")),
    ("a circuit, closed", "first look", Of::Event("guarded")),
    ("", "within 5 s", Of::Event("guarded")),
    ("a rate of one", "none left, a newcomer", Of::EventElsewhere("scarce")),
];

/// The same event as its provider sends it once more: under another nonce.
fn repeated(message: &str) -> Result<String, Failure> {
    let mut message: Value = serde_json::from_str(message).map_err(|error| Failure::harness("a message", error))?;
    message["nonce"] = json!("again=");
    Ok(message.to_string())
}

/// The queue on which the function puts what has to wait.
struct Queue {
    client: Client,
    url: String,
}

impl Queue {
    async fn of(services: &Services) -> Result<Queue, Failure> {
        Ok(Queue { client: Client::connect(services.stack.address).await?, url: services.queue_url.clone() })
    }

    /// The next message, off the queue.
    async fn receive(&mut self) -> Result<String, Failure> {
        let asked = json!({"QueueUrl": self.url, "MaxNumberOfMessages": 1, "WaitTimeSeconds": DELAY_S});
        let message = self.client.call("AmazonSQS.ReceiveMessage", &asked).await?["Messages"][0].take();
        let Some(body) = message["Body"].as_str() else {
            return Err(Failure::TimedOut { what: "a message of the function's".to_owned(), seconds: DELAY_S });
        };
        let done = json!({"QueueUrl": self.url, "ReceiptHandle": message["ReceiptHandle"]});
        self.client.call("AmazonSQS.DeleteMessage", &done).await?;
        Ok(body.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_apart_by_table_and_queue() {
        let calls = [("DynamoDB PutItem events", 1), ("DynamoDB UpdateItem tasks", 2), ("DynamoDB GetItem tasks", 1)];
        let calls = calls.into_iter().chain([("SQS SendMessage", 1)]);
        let calls = calls.map(|(operation, count)| (operation.to_owned(), count)).collect();
        let step = Step { path: "", receipt: "", calls, requests: 0 };
        let of = |table| step.of_table(table);
        assert_eq!((of("events"), of("tasks"), of("limits"), step.of_queue()), (1, 3, 0, 1));
    }

    #[tokio::test]
    async fn the_upstream_declines_once_and_counts_every_request() {
        use crate::wire::{Connection, post};
        let upstream = Upstream::start().await.expect("an upstream");
        let mut connection = Connection::open(upstream.server.address).await.expect("a connection");
        let mut statuses = Vec::new();
        for path in ["/busy", "/busy", "/doubtful", "/look/7", "/large", "/busy"] {
            let answer = connection.send(post(path, &[], Bytes::new()).expect("a request")).await.expect("an answer");
            statuses.push(answer.status().as_u16());
        }
        assert_eq!((statuses, upstream.take()), (vec![503, 200, 500, 200, 200, 200], 6));
        assert_eq!(upstream.take(), 0);
    }

    #[test]
    fn noise_has_its_size_and_differs_by_its_seed() {
        assert_eq!(noise(1000, 1).len(), 1000);
        assert_ne!(noise(100, 1)[..8], noise(100, 2)[..8]);
    }

    #[test]
    fn an_event_that_is_delivered_again_has_another_nonce_alone() {
        let first = event_message("now", "task-1", "task1=", b"{}").expect("a message");
        let [first, second]: [Value; 2] = [first.clone(), repeated(&first).expect("a message")]
            .map(|text| serde_json::from_str(&text).expect("JSON"));
        assert_ne!(first["nonce"], second["nonce"]);
        assert_eq!(first["delivery_id"], second["delivery_id"]);
    }
}
