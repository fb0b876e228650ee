//! Kill -9 at any moment: what was accepted is not lost, and each event has its effect once.
//!
//! A sender delivers as providers do (again until 2xx, sometimes once more after that), an API acts and misbehaves, and the process is
//! killed while it starts, idles and works. Where it dies is chance; the seed is printed and `CLAWBRIDGE_CRASH_SEED` sets it.
//! `CLAWBRIDGE_CRASH_ROUNDS` sets how often the process is killed.

use crate::support::{Bridge, Call, Options, Reply, Stub, client, eventually, openclaw_signature};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECRET: &str = "a-signing-secret";
const ROUNDS: u32 = 25;
const SENDERS: u64 = 4;

/// What the tools may be relied on for.
#[derive(Clone, Copy, PartialEq)]
enum Api {
    /// They act once for each `Idempotency-Key`. Here each task's end leads to a task of another tool.
    Keyed,
    /// They act on every call.
    Unsafe,
    /// They act on every call, and can be asked whether they did.
    Verified,
}

/// What the API has done, and what it has been called for.
#[derive(Default)]
struct Ledger {
    /// Effects by tool and event.
    effects: BTreeMap<Act, u32>,
    /// Calls by tool and event.
    calls: BTreeMap<Act, u32>,
    /// What each key came with first.
    keys: BTreeMap<String, Act>,
}

/// A tool's path, and the number of the event that it is about.
type Act = (String, u64);

/// What the deliveries came to.
#[derive(Default)]
struct Sent {
    /// Numbers the events.
    next: AtomicU64,
    requests: AtomicU64,
    /// Bodies of the events that have got a 2xx.
    accepted: Mutex<BTreeMap<u64, String>>,
    /// There is enough to do for now.
    pause: AtomicBool,
    done: AtomicBool,
}

impl Ledger {
    fn act(&mut self, api: Api, call: &Call, act: &Act) {
        let key = call.header("idempotency-key").to_owned();
        if api == Api::Keyed {
            assert!(key.starts_with("task_"), "no key: {call:?}");
            if let Some(first) = self.keys.insert(key, act.clone()) {
                assert_eq!(&first, act, "one key for two things");
                return;
            }
        }
        *self.effects.entry(act.clone()).or_default() += 1;
    }

    fn effects(&self, tool: &str, event: u64) -> u32 {
        self.effects.get(&(tool.to_owned(), event)).copied().unwrap_or(0)
    }
}

/// The API: most calls are answered, the others go wrong before or after it has acted. From the fourth call for an event on it behaves, so
/// that the test ends.
async fn misbehaving(api: Api, ledger: Arc<Mutex<Ledger>>, seed: u64) -> Stub {
    let dice = Mutex::new(fastrand::Rng::with_seed(seed));
    Stub::start(move |call, _| {
        if let Some(event) = call.path.strip_prefix("/effects/") {
            let effects = ledger.lock().expect("ledger").effects("/act", event.parse().expect("a number"));
            return match dice.lock().expect("dice").u32(0..100) {
                ..5 => Reply::Json(503, json!({})),
                5..8 => Reply::Raw(Vec::new()),
                _ => Reply::Json(200, json!({"effects": effects})),
            };
        }
        let event = call.json()["data"]["n"].as_u64().expect("a number");
        let act = (call.path.clone(), event);
        let mut ledger = ledger.lock().expect("ledger");
        let calls = ledger.calls.entry(act.clone()).or_default();
        *calls += 1;
        let die = if *calls > 3 { 100 } else { dice.lock().expect("dice").u32(0..100) };
        if die < 8 {
            return Reply::With(503, vec![("retry-after".into(), "1".into())], String::new());
        }
        ledger.act(api, call, &act);
        let good = Reply::Json(200, json!({"n": event}));
        match die {
            ..14 => Reply::Raw(Vec::new()),
            14..18 => Reply::Silence,
            18..22 => Reply::Json(500, json!({"error": "after the effect"})),
            22..32 => Reply::Late(Duration::from_millis(u64::from(die) * 10), Box::new(good)),
            _ => good,
        }
    })
    .await
}

fn config(stub: &Stub, api: Api) -> String {
    let (effect, more) = match api {
        Api::Keyed => ("idempotency_header = \"Idempotency-Key\"", tell(stub)),
        Api::Unsafe => ("effect = \"unsafe\"", String::new()),
        Api::Verified => ("effect = \"unsafe\"", verify(stub)),
    };
    format!(
        r#"
[tools.act]
method = "POST"
url = "{}/act"
{effect}
timeout = "1s"
attempts = 20

[[routes]]
name = "all"
source = "hooks"
tool = "act"

{more}

[network]
allow = ["127.0.0.1"]
"#,
        stub.url
    )
}

/// How it is found out whether the tool has acted.
fn verify(stub: &Stub) -> String {
    format!(
        r#"
[tools.act.verify]
tool = "effects"
done = '.answer.effects > 0'
settle = "1s"

[tools.effects]
method = "GET"
url = "{}/effects/{{data.n}}"
timeout = "1s"
"#,
        stub.url
    )
}

/// A tool that each task's end leads to.
fn tell(stub: &Stub) -> String {
    format!(
        r#"
[tools.tell]
method = "POST"
url = "{}/tell"
idempotency_header = "Idempotency-Key"
timeout = "1s"
attempts = 20

[[routes]]
name = "told"
source = "bridge"
type = "task.completed"
filter = '.body.data.tool == "act"'
tool = "tell"
input = '{{data: .body.data.result}}'
"#,
        stub.url
    )
}

/// Makes events and delivers each until it is accepted, until `sent.done`.
async fn deliver(url: Arc<Mutex<String>>, sent: Arc<Sent>, seed: u64) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let client = client();
    while !sent.done.load(Ordering::SeqCst) {
        if sent.pause.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        let n = sent.next.fetch_add(1, Ordering::SeqCst);
        let body = json!({"event": "crash.test", "data": {"n": n}}).to_string();
        let signature = openclaw_signature(SECRET, body.as_bytes());
        // How often the provider delivers it although it was accepted.
        let mut more = if dice.u32(0..3) == 0 { 1 } else { 0 };
        loop {
            let to = format!("{}/hooks/hooks", url.lock().expect("url"));
            let request = client
                .post(to)
                .header("x-openclaw-signature", &signature)
                .header("content-type", "application/json")
                .timeout(Duration::from_secs(5))
                .body(body.clone());
            sent.requests.fetch_add(1, Ordering::SeqCst);
            if request.send().await.is_ok_and(|response| response.status().is_success()) {
                sent.accepted.lock().expect("accepted").insert(n, body.clone());
                if more == 0 {
                    break;
                }
                more -= 1;
            }
            tokio::time::sleep(Duration::from_millis(dice.u64(10..100))).await;
        }
        tokio::time::sleep(Duration::from_millis(dice.u64(50..600))).await;
    }
}

/// All items of a table.
async fn scan(bridge: &Bridge, table: &str) -> Vec<Value> {
    let (mut items, mut start) = (Vec::new(), Value::Null);
    loop {
        let mut asked = json!({"TableName": table, "ConsistentRead": true});
        if !start.is_null() {
            asked["ExclusiveStartKey"] = start;
        }
        let mut page = bridge.aws("DynamoDB_20120810.Scan", &asked).await;
        let found = page["Items"].as_array().unwrap_or_else(|| panic!("{page}"));
        items.extend(found.iter().cloned());
        start = page["LastEvaluatedKey"].take();
        if start.is_null() {
            return items;
        }
    }
}

/// Kills and restarts while events flow, then lets the work end and compares what is recorded with what was sent and done.
async fn survive(api: Api) {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let rounds = variable("CLAWBRIDGE_CRASH_ROUNDS").unwrap_or(u64::from(ROUNDS));
    let seed: u64 = variable("CLAWBRIDGE_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("CLAWBRIDGE_CRASH_SEED={seed} CLAWBRIDGE_CRASH_ROUNDS={rounds}");
    let mut dice = fastrand::Rng::with_seed(seed);

    let ledger: Arc<Mutex<Ledger>> = Arc::default();
    let stub = misbehaving(api, ledger.clone(), dice.u64(..)).await;
    let options = Options { config: Some(config(&stub, api)), args: vec!["--visibility".to_owned(), "2".to_owned()] };
    let mut bridge = Bridge::start_with(options).await;
    bridge.add_source("hooks", "openclaw", SECRET);
    let url = Arc::new(Mutex::new(bridge.public.clone()));
    let sent: Arc<Sent> = Arc::default();
    let senders: Vec<_> =
        (0..SENDERS).map(|_| tokio::spawn(deliver(url.clone(), sent.clone(), dice.u64(..)))).collect();

    for _ in 0..rounds {
        // Mostly too short to end what was begun, and now and then long enough to get on: a message that is received ten times and not
        // finished is put aside, however good it is.
        let life = if dice.u32(0..4) == 0 { dice.u64(1_000..2_000) } else { dice.u64(0..700) };
        tokio::time::sleep(Duration::from_millis(life)).await;
        bridge.kill();
        if dice.u32(0..5) == 0 {
            bridge.start_and_kill(Duration::from_millis(dice.u64(0..200))).await;
        }
        bridge.restart().await;
        url.lock().expect("url").clone_from(&bridge.public);
        sent.pause.store(bridge.messages("clawbridge-work").await > 60, Ordering::SeqCst);
    }
    sent.done.store(true, Ordering::SeqCst);
    for sender in senders {
        sender.await.expect("a sender");
    }

    let accepted = sent.accepted.lock().expect("accepted").clone();
    let tasks = eventually("all work ends", || {
        let bridge = &bridge;
        async move {
            let (queued, tasks) = (bridge.messages("clawbridge-work").await, scan(bridge, "clawbridge-tasks").await);
            let over = |task: &Value| !matches!(task["state"]["S"].as_str(), Some("queued" | "running" | "unknown"));
            (queued == 0 && tasks.iter().all(over)).then_some(tasks)
        }
    })
    .await;

    let ledger = std::mem::take(&mut *ledger.lock().expect("ledger"));
    let state_of: BTreeMap<&str, &str> =
        tasks.iter().filter_map(|task| Some((task["event"]["S"].as_str()?, task["state"]["S"].as_str()?))).collect();
    assert_eq!(state_of.len(), tasks.len(), "two tasks for one event");
    let events: BTreeSet<String> = scan(&bridge, "clawbridge-events")
        .await
        .iter()
        .filter_map(|event| event["id"]["S"].as_str().map(str::to_owned))
        .collect();
    let mut parked = 0;
    for (n, body) in &accepted {
        let delivery_id = format!("sha256:{}", hex::encode(Sha256::digest(body)));
        let id = clawbridge_events::event_id("hooks", &delivery_id);
        assert!(events.contains(&id), "event {n} was accepted and is not stored");
        let (effects, told) = (ledger.effects("/act", *n), ledger.effects("/tell", *n));
        match (api, state_of.get(id.as_str()).copied()) {
            (Api::Keyed, Some("succeeded")) => {
                assert_eq!((effects, told), (1, 1), "effects of event {n}, which is done")
            }
            (Api::Unsafe | Api::Verified, Some("succeeded")) => {
                assert_eq!(effects, 1, "effects of event {n}, which is done")
            }
            (Api::Unsafe, Some("parked")) => {
                assert!(effects <= 1, "event {n} has {effects} effects");
                parked += 1;
            }
            (_, state) => panic!("event {n}, which has {effects} effects, was left as {state:?}"),
        }
    }
    // What was stored without a 2xx was delivered again, so nothing is there that was not accepted in the end.
    // That a tool has told is an event as well, which no route wants.
    let (events_each, tasks_each) = if api == Api::Keyed { (3, 2) } else { (1, 1) };
    assert_eq!((events.len(), tasks.len()), (accepted.len() * events_each, accepted.len() * tasks_each));
    assert!(ledger.effects.keys().all(|(_, n)| accepted.contains_key(n)));
    assert_eq!(bridge.dead_letters().await, 0);
    if api == Api::Unsafe {
        assert!(parked > 0, "nothing was parked: the test does not do what it is for");
        let listed = bridge.run(&["tasks", "list", "--state", "parked", "--limit", "100", "--json"]).json();
        assert_eq!(listed.as_array().map(Vec::len), Some(parked.min(100)), "{listed}");
    }
    if api == Api::Verified {
        let found = |task: &&Value| task["attempts"].to_string().contains("verify");
        assert!(tasks.iter().filter(found).count() > 0, "verify was never asked: the test does not do what it is for");
    }
    println!(
        "{rounds} kills: {} events in {} requests, {} effects in {} calls (at most {} for one), {parked} parked",
        accepted.len(),
        sent.requests.load(Ordering::SeqCst),
        ledger.effects.values().sum::<u32>(),
        ledger.calls.values().sum::<u32>(),
        ledger.calls.values().max().copied().unwrap_or(0),
    );
}

#[tokio::test]
async fn however_often_the_process_is_killed_each_accepted_event_has_its_effect_exactly_once() {
    survive(Api::Keyed).await;
}

#[tokio::test]
async fn however_often_the_process_is_killed_an_unsafe_effect_is_not_repeated_and_nothing_is_forgotten() {
    survive(Api::Unsafe).await;
}

#[tokio::test]
async fn however_often_the_process_is_killed_an_unsafe_tool_with_verify_acts_once_and_needs_nobody() {
    survive(Api::Verified).await;
}
