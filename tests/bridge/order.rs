//! Routes that keep an order: tasks of one order key run one after the other, in the order in which the bridge took their events.

use crate::support::work::{ALLOW, attempts, bridge, enqueue, idle, scripted, show};
use crate::support::{Bridge, Call, Options, Reply, Stub, eventually, take_the_journal};
use clawbridge_clock::Timestamp;
use clawbridge_queue::{Body, EventMessage, Message, TaskMessage};
use clawbridge_tasks::change::Rule;
use clawbridge_tasks::lane::{Lane, LaneLanded, Seat, Turn, WINDOW, lane_id, turn, without};
use clawbridge_tasks::{Tasks, task_id};
use clawbridge_worker::{Batch, Worker};
use lambda_runtime::{Context, LambdaEvent};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A tool `act` and the route `orders` to it, with more lines for each.
fn config(url: &str, tool: &str, route: &str) -> String {
    format!(
        r#"
[tools.act]
method = "POST"
url = "{url}/act"
timeout = "20s"
{tool}

[[routes]]
name = "orders"
source = "hooks"
tool = "act"
input = '.body'
{route}
{ALLOW}"#
    )
}

const BY_ORDER: &str = "order = '.body.order'";

/// The message of an event about an order, that was taken so many milliseconds after another.
fn event(order: &str, n: u32, at: i64) -> String {
    event_of(&format!("request-{order}-{n}"), order, n, Timestamp::from_millis(1_795_000_000_000 + at))
}

fn event_of(nonce: &str, order: &str, n: u32, received_at: Timestamp) -> String {
    let body = json!({"order": order, "n": n}).to_string();
    let message = EventMessage {
        nonce: nonce.to_owned(),
        source: "hooks".into(),
        r#type: "order.changed".into(),
        delivery_id: format!("{order}-{n}"),
        received_at,
        headers: Vec::new(),
        body: Body::inline(clawbridge_packed::Packed::pack(body.as_bytes())),
        hops: 0,
        deferrals: 0,
        trace: None,
    };
    Message::Event(message).encode().expect("a message")
}

/// The numbers of the calls about an order, as they came.
fn numbers(calls: &[Call], order: &str) -> Vec<u64> {
    let of_order = |call: &&Call| call.json()["order"] == order;
    calls.iter().filter(of_order).map(|call| call.json()["n"].as_u64().expect("a number")).collect()
}

async fn called(stub: &Stub, count: usize) -> Vec<Call> {
    eventually(&format!("{count} calls"), || {
        let calls = stub.calls();
        async move { (calls.len() >= count).then_some(calls) }
    })
    .await
}

/// Puts events of an order onto the queue, all of which come to the lane before its first task may begin. Where a busy machine takes too
/// long for that, another order is tried.
async fn joined_in_time(bridge: &Bridge, numbers: &[u32], texts: impl Fn(&str) -> Vec<String>) -> String {
    for n in 1..=10 {
        let (order, begun) = (format!("o-{n}"), Instant::now());
        enqueue(bridge, &texts(&order)).await;
        eventually("all of them have come", || async {
            let lines = attempts(bridge, "act");
            let has_come = |n: &u32| lines.iter().any(|line| line["task"] == task(&order, *n).as_str());
            numbers.iter().all(has_come).then_some(())
        })
        .await;
        if begun.elapsed() < WINDOW {
            return order;
        }
    }
    panic!("a machine on which ten messages take more than {WINDOW:?}");
}

/// Puts so many events of an order onto the queue, each when the one before has come to the lane.
async fn one_by_one(bridge: &Bridge, count: u32) {
    for n in 0..count {
        enqueue(bridge, &[event("o-1", n, i64::from(n))]).await;
        bridge.line("it has come", |line| line["task"] == task("o-1", n).as_str()).await;
    }
}

/// The task of an event: its key is the event and the route.
fn task(order: &str, n: u32) -> String {
    let event = clawbridge_events::event_id("hooks", &format!("{order}-{n}"));
    task_id("act", &format!("{event}/orders"))
}

#[tokio::test]
async fn tasks_of_one_key_run_one_after_the_other_in_the_order_of_their_events_and_hold_up_no_others() {
    const TAKES: Duration = Duration::from_millis(300);
    let stub = Stub::start(|_, _| Reply::Late(TAKES, Box::new(Reply::Json(200, json!({}))))).await;
    let bridge = bridge(&config(&stub.url, "", BY_ORDER)).await;
    // The queue has the later ones first. Two were taken in one request.
    let taken = Timestamp::from_millis(1_795_000_000_100);
    let order = joined_in_time(&bridge, &[0, 1, 2, 3, 4, 5, 9, 10], |order| {
        let single = (0..6).rev().map(|n| event(order, n, i64::from(n)));
        let together = [10, 9].map(|n| event_of(&format!("request-{order}/{n}"), order, n, taken));
        single.chain(together).chain([event(&format!("{order}-other"), 0, 50)]).collect()
    })
    .await;
    let calls = eventually("its calls", || {
        let calls = stub.calls();
        async { (numbers(&calls, &order).len() == 8).then_some(calls) }
    })
    .await;
    assert_eq!(numbers(&calls, &order), [0, 1, 2, 3, 4, 5, 9, 10]);
    let of_first: Vec<&Call> = calls.iter().filter(|call| call.json()["order"] == order.as_str()).collect();
    for pair in of_first.windows(2) {
        let between = pair[1].at.duration_since(pair[0].at);
        assert!(between >= TAKES, "begun {between:?} after the one before, which takes {TAKES:?}");
    }
    let other = format!("{order}-other");
    let other = calls.iter().find(|call| call.json()["order"] == other.as_str()).expect("the other order");
    assert!(other.at < of_first[4].at, "the other order was held up");
    // The journal and the record say what a task waits for.
    let says = |line: &Value| line["reason"].as_str().is_some_and(|text| text.contains("order key is before it"));
    let line = bridge.line("a task waits", |line| line["decision"] == "deferred" && says(line)).await;
    assert_eq!((&line["kind"], &line["tool"]), (&json!("task.attempt"), &json!("act")));
    let record = show(&bridge, &json!({"task": task(&order, 3)}));
    assert_eq!(record["seat"]["lane"], lane_id("orders", &order));
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test]
async fn a_failure_lets_the_next_go_on_and_a_parked_task_holds_them_until_it_is_settled() {
    let replies = vec![Reply::Json(422, json!({})), Reply::Raw(Vec::new())];
    let stub = scripted(&[("/act", replies)]).await;
    let bridge = bridge(&config(&stub.url, "effect = \"unsafe\"", BY_ORDER)).await;
    one_by_one(&bridge, 4).await;
    let parked = bridge.line("the second is parked", |line| line["decision"] == "parked").await;
    assert_eq!(parked["task"], task("o-1", 1).as_str());
    // The others are not run, also where a person asks for one of them at once.
    let waiting = |line: &Value| {
        let reason = line["reason"].as_str().unwrap_or_default();
        line["task"] == task("o-1", 2).as_str() && reason.contains("1 task of its order key is before it")
    };
    assert_eq!(bridge.run(&["tasks", "retry", &task("o-1", 2)]).status, 0);
    eventually("it waits", || async { bridge.journal().iter().any(waiting).then_some(()) }).await;
    assert_eq!(numbers(&stub.calls(), "o-1"), [0, 1]);
    // What is taken back is waited for by nobody.
    assert_eq!(bridge.run(&["tasks", "cancel", &task("o-1", 2)]).status, 0);
    bridge.line("the third", |line| line["task"] == task("o-1", 2).as_str() && line["decision"] == "cancelled").await;
    assert_eq!(bridge.run(&["tasks", "settle", &task("o-1", 1), "--done"]).status, 0);
    let calls = called(&stub, 3).await;
    assert_eq!(numbers(&calls, "o-1"), [0, 1, 3]);
    // What has failed is run again when a person wants it, in its lane.
    bridge.line("the last", |line| line["task"] == task("o-1", 3).as_str() && line["decision"] == "succeeded").await;
    assert_eq!(bridge.run(&["tasks", "retry", &task("o-1", 0)]).status, 0);
    assert_eq!(numbers(&called(&stub, 4).await, "o-1"), [0, 1, 3, 0]);
    bridge.line("its end", |line| line["task"] == task("o-1", 0).as_str() && line["decision"] == "succeeded").await;
    assert_eq!(show(&bridge, &json!({"task": task("o-1", 0)}))["state"], "succeeded");
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test]
async fn a_route_may_say_that_nobody_waits_for_a_parked_task() {
    let stub = scripted(&[("/act", vec![Reply::Raw(Vec::new())])]).await;
    let route = format!("{BY_ORDER}\norder_on_parked = \"skip\"");
    let bridge = bridge(&config(&stub.url, "effect = \"unsafe\"", &route)).await;
    one_by_one(&bridge, 2).await;
    assert_eq!(numbers(&called(&stub, 2).await, "o-1"), [0, 1]);
    assert_eq!(show(&bridge, &json!({"task": task("o-1", 0)}))["state"], "parked");
}

#[tokio::test]
async fn an_event_without_an_order_key_is_reported_and_not_acted_on() {
    let stub = scripted(&[]).await;
    let bridge = bridge(&config(&stub.url, "", "order = '.body.missing'")).await;
    enqueue(&bridge, &[event("o-1", 0, 0)]).await;
    let line = &bridge.lines("route.failed", 1).await[0];
    assert!(line["reason"].as_str().is_some_and(|text| text.starts_with("order: it gave null")), "{line}");
    idle(&bridge).await;
    assert_eq!(stub.calls().len(), 0);
}

#[tokio::test]
async fn the_order_is_kept_however_often_the_process_is_killed() {
    let takes = Duration::from_millis(150);
    let stub = Stub::start(move |_, _| Reply::Late(takes, Box::new(Reply::Json(200, json!({}))))).await;
    let config = config(&stub.url, "idempotency_header = \"X-Key\"", BY_ORDER).replace("20s", "1s");
    let options = Options { config: Some(config), args: vec!["--visibility".into(), "1".into()] };
    let mut bridge = Bridge::start_with(options).await;
    let all: Vec<u32> = (0..10).collect();
    let texts = |order: &str| all.iter().rev().map(|n| event(order, *n, i64::from(*n))).collect();
    let order = joined_in_time(&bridge, &all, texts).await;
    for kills in [1, 3, 5] {
        let calls = || numbers(&stub.calls(), &order).len();
        eventually("some calls", || async { (calls() >= kills).then_some(()) }).await;
        bridge.kill();
        bridge.restart().await;
    }
    let end = |line: &Value| line["task"] == task(&order, 9).as_str() && line["decision"] == "succeeded";
    bridge.line("the last one's end", end).await;
    let (calls, mut first) = (numbers(&stub.calls(), &order), Vec::new());
    for n in &calls {
        if !first.contains(n) {
            first.push(*n);
        }
    }
    assert_eq!(first, (0..10).collect::<Vec<u64>>(), "{calls:?}");
    assert!(calls.is_sorted(), "a call was made after the next one had begun: {calls:?}");
    assert_eq!(bridge.dead_letters().await, 0);
}

/// Passes connections on to the private port, and notes which operations are asked for.
async fn counted(private: &str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (operations, to) = (Arc::<Mutex<Vec<String>>>::default(), private.trim_start_matches("http://").to_owned());
    let noted = operations.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&to).await.expect("the private port");
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { drop(tokio::io::copy(&mut from_server, &mut to_client).await) });
            let noted = noted.clone();
            tokio::spawn(async move {
                let (mut seen, mut chunk) = (Vec::new(), [0; 65_536]);
                while let Ok(count @ 1..) = from_client.read(&mut chunk).await {
                    seen.extend_from_slice(&chunk[..count]);
                    while let Some((operation, length)) = request(&seen) {
                        noted.lock().expect("operations").extend(operation);
                        seen.drain(..length);
                    }
                    drop(to_server.write_all(&chunk[..count]).await);
                }
            });
        }
    });
    (url, operations)
}

/// The operation that the first whole request asks for, and the request's length. Looks at the configuration are nobody's cost: they are
/// made every few seconds at most.
fn request(bytes: &[u8]) -> Option<(Option<String>, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length = end + field("content-length:").and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    let body = String::from_utf8_lossy(bytes.get(end..length)?).into_owned();
    let operation = field("x-amz-target:").and_then(|target| target.rsplit('.').next()).map(str::to_owned);
    Some((operation.filter(|_| !body.contains("clawbridge-registry")), length))
}

async fn invoke(worker: &Worker, text: String) {
    let batch: Batch = serde_json::from_value(json!({"Records": [{"messageId": "m", "body": text}]})).expect("a batch");
    let mut context = Context::default();
    context.deadline = u64::try_from(Timestamp::now().millis()).expect("a time") + 60_000;
    let answer = worker.handle(LambdaEvent::new(batch, context)).await.expect("an answer");
    assert!(answer.failures.is_empty());
}

/// A route without an order asks for as little as it did before there was one; what an order costs is written in ARCHITECTURE.md.
#[tokio::test]
async fn an_order_costs_seven_calls_of_tables_and_queue_and_no_order_costs_none() {
    let stub = scripted(&[]).await;
    let free = "\n[[routes]]\nname = \"free\"\nsource = \"free\"\ntool = \"act\"\n";
    let config = config(&stub.url, "", BY_ORDER) + free;
    let bridge = Bridge::start(&config).await;
    let (url, operations) = counted(&bridge.private).await;
    take_the_journal();
    // A queue that nobody receives from, so that the bridge's own worker does not take part.
    bridge.aws("AmazonSQS.CreateQueue", &json!({"QueueName": "nobodys"})).await;
    let queue_url = format!("{}/000000000000/nobodys", bridge.private);
    let settings = clawbridge_worker::Settings {
        queue_url: queue_url.clone(),
        interactive_queue_url: queue_url,
        events_table: "clawbridge-events".into(),
        tasks_table: "clawbridge-tasks".into(),
        limits_table: "clawbridge-limits".into(),
        channel_table: "clawbridge-channel".into(),
        channel_endpoint: "http://127.0.0.1:1/responses".into(),
        channel_look: None,
        channel_age: None,
        registry_table: "clawbridge-registry".into(),
        bridge_url: String::new(),
        metrics_namespace: None,
        public_url: String::new(),
        upstreams: None,
        secret_prefix: "clawbridge".into(),
    };
    let worker = Worker::new(&clawbridge_aws::Environment::local(&url), settings).expect("a worker");
    let asked = || -> Vec<String> { std::mem::take(&mut *operations.lock().expect("operations")) };
    invoke(&worker, event("o-0", 0, 0).replace("\"hooks\"", "\"free\"")).await;
    assert_eq!(asked(), ["putitem", "updateitem", "updateitem"]);
    let begun = Timestamp::now();
    invoke(&worker, event("o-1", 0, 0)).await;
    assert_eq!(asked(), ["putitem", "updateitem", "updateitem", "sendmessage"]);
    eventually("the window is over", || async { (Timestamp::now() > begun.plus(WINDOW * 2)).then_some(()) }).await;
    invoke(&worker, Message::Task(TaskMessage::due(&task("o-1", 0))).encode().expect("a message")).await;
    assert_eq!(asked(), ["getitem", "getitem", "updateitem", "updateitem", "updateitem", "updateitem"]);
    assert_eq!(stub.calls().len(), 2);
}

/// The rule that the simulation goes by is the one that the table keeps.
#[tokio::test]
async fn a_lane_is_written_exactly_where_its_rule_says() {
    let bridge = Bridge::start("").await;
    let sdk =
        clawbridge_aws::sdk_config(&clawbridge_aws::Environment::local(&bridge.private)).expect("a configuration");
    let tasks = Tasks::new(aws_sdk_dynamodb::Client::new(&sdk), "clawbridge-tasks".into());
    let mut dice = fastrand::Rng::with_seed(11);
    let (mut written, mut known, mut lost) = (0, 0, 0);
    for n in 0..8 {
        let id = lane_id("orders", &n.to_string());
        let (mut now, mut current, mut changes) = (Timestamp::now(), None::<Lane>, Vec::new());
        for _ in 0..40 {
            now = now.plus(Duration::from_millis(dice.u64(0..3_000)));
            let (task, writer) = (format!("task_{}", dice.u32(0..4)), dice.alphabetic().to_string());
            let seat = Seat {
                lane: id.clone(),
                received_at: Timestamp::from_millis(dice.i64(0..9)),
                nth: dice.u32(0..3),
                stay: dice.u32(0..2),
                skip_parked: false,
            };
            let change = match dice.u32(0..3) {
                0 => without(current.as_ref(), &task, 1, &writer, now),
                _ => match turn(current.as_ref(), &task, &seat, &writer, now) {
                    Turn::Change(change) => Some(change),
                    Turn::Mine | Turn::Wait(_) => None,
                },
            };
            changes.extend(change);
            let recent = changes.len().saturating_sub(3);
            let Some(change) = changes.get(dice.usize(recent..changes.len().max(recent + 1))).cloned() else {
                continue;
            };
            let landed = tasks.write_lane(Box::new(change.clone())).await.expect("the table answers");
            match change.rule(current.as_ref()) {
                Rule::Write => {
                    assert_eq!(landed, LaneLanded::Written(Box::new(change.after.clone())));
                    current = Some(change.after);
                    written += 1;
                }
                Rule::Written => {
                    assert_eq!(landed, LaneLanded::Written(Box::new(change.after)));
                    known += 1;
                }
                Rule::Lost => {
                    assert_eq!(landed, LaneLanded::Lost(current.clone().map(|lane| Box::new(stored(lane)))));
                    lost += 1;
                }
            }
            assert_eq!(tasks.lane(&id).await.expect("the table answers"), current.clone().map(stored));
        }
    }
    assert!(written > 30 && known > 5 && lost > 20, "{written} written, {known} known again, {lost} lost");
    // A lane is no task: no list has one.
    assert_eq!(bridge.run(&["tasks", "list", "--json"]).json(), json!([]));
}

/// As it is read again: the table's clock for what it forgets has whole seconds.
fn stored(lane: Lane) -> Lane {
    Lane { expires_at: lane.expires_at.map(|at| Timestamp::from_millis(at.seconds() * 1000)), ..lane }
}
