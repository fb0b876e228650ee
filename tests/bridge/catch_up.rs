//! Senders that never retry: what they delivered in vain is found in their log and asked for. A stub plays GitHub, log and redelivery
//! included; what it redelivers it really posts, signed, to the bridge.

use crate::support::work::{ALLOW, enqueue, idle};
use crate::support::{Bridge, Call, Options, Reply, Stub, client, eventually, hmac_sha256};
use clawbridge_clock::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECRET: &str = "the-signing-secret";
const TOKEN: &str = "the-token-of-a-person";
const LOG: &str = "/repos/acme/shop/hooks/42/deliveries";
/// The id of the first attempt.
const FIRST_ID: u64 = 9_007_199_254_740_993;
const MESSAGE: &str = "{\"v\":1,\"kind\":\"catch-up\"}";

/// GitHub, as far as one webhook's deliveries go.
#[derive(Clone)]
struct Hub {
    stub: Stub,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Attempts, the newest last.
    log: Vec<Value>,
    /// Where webhooks are posted; none: nothing answers there.
    target: Option<String>,
    per_page: usize,
    /// The next page is said to be there instead.
    next: Option<String>,
    /// What is answered instead of pages, and instead of redeliveries; for each only so often.
    pages: Vec<Reply>,
    redeliveries: Vec<Reply>,
    /// Says that it will redeliver, and does not.
    is_lazy: bool,
    /// Calls of the tool.
    effects: Vec<Value>,
}

impl Hub {
    async fn start() -> Hub {
        let state = Arc::new(Mutex::new(State { per_page: 100, ..State::default() }));
        let answering = state.clone();
        let stub = Stub::start(move |call, _| answer(&answering, call)).await;
        Hub { stub, state }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("state")
    }

    /// A bridge whose `push` events have an effect, and which looks at this log as often as `every` says.
    async fn bridge(&self, every: &str) -> Bridge {
        self.bridge_with(&["--catch-up-every".to_owned(), every.to_owned()], ALLOW).await
    }

    async fn bridge_with(&self, args: &[String], allow: &str) -> Bridge {
        let config = format!(
            "[tools.effect]\nmethod = \"POST\"\nurl = \"{0}/effect\"\neffect = \"unsafe\"\ninput = {{ type = \"object\" }}\n\
             [[routes]]\nname = \"pushes\"\nsource = \"github\"\ntype = \"push\"\ntool = \"effect\"\n\
             [catch_up.github]\nprovider = \"github\"\nhook = \"repos/acme/shop/hooks/42\"\n\
             secret = \"clawbridge/tools/github\"\napi = \"{0}\"\n{allow}",
            self.stub.url
        );
        let bridge = Bridge::start_with(Options { config: Some(config), args: args.to_vec() }).await;
        bridge.add_source("github", "github", SECRET);
        set_token(&bridge, TOKEN);
        self.state().target = Some(bridge.public.clone());
        bridge
    }

    /// Delivers an event of its own accord, once, so many minutes ago as the log has it; whether it arrived.
    async fn deliver(&self, guid: &str, event: &str, minutes_ago: u64) -> bool {
        let target = self.state().target.clone();
        let status = post(target, guid, event).await;
        self.state().note(guid, event, false, ago(minutes_ago), status);
        (200..300).contains(&status)
    }

    /// Delivers while nothing answers.
    fn deliver_in_vain(&self, guid: &str, minutes_ago: u64) {
        self.state().note(guid, "push", false, ago(minutes_ago), 502);
    }

    /// The same, because somebody had asked for it.
    fn redeliver_in_vain(&self, guid: &str, minutes_ago: u64) {
        self.state().note(guid, "push", true, ago(minutes_ago), 502);
    }

    fn pages(&self) -> Vec<Call> {
        self.stub.calls().into_iter().filter(|call| call.method == "GET").collect()
    }

    /// Names of the deliveries that were asked for, in that order.
    fn asked(&self) -> Vec<String> {
        let calls = self.stub.calls();
        let state = self.state();
        let asked = calls.iter().filter(|call| call.method == "POST" && call.path.starts_with(LOG));
        asked.map(|call| guid_of(&state.log, &call.path).unwrap_or_default()).collect()
    }

    /// Names of the deliveries that had an effect, sorted.
    fn effects(&self) -> Vec<String> {
        let mut effects: Vec<String> =
            self.state().effects.iter().map(|body| body["guid"].as_str().unwrap_or_default().to_owned()).collect();
        effects.sort();
        effects
    }

    async fn wait_for_effects(&self, expected: &[&str]) {
        eventually("the effects", || async { (self.effects() == expected).then_some(()) }).await;
    }
}

fn guid_of(log: &[Value], path: &str) -> Option<String> {
    let id: u64 = path.strip_prefix(LOG)?.strip_prefix('/')?.strip_suffix("/attempts")?.parse().ok()?;
    let item = log.iter().find(|item| item["id"] == id)?;
    Some(item["guid"].as_str()?.to_owned())
}

fn answer(shared: &Arc<Mutex<State>>, call: &Call) -> Reply {
    let mut state = shared.lock().expect("state");
    if call.path == "/effect" {
        state.effects.push(call.json());
        return Reply::Json(200, json!({}));
    }
    let is_page = call.method == "GET";
    let script = if is_page { &mut state.pages } else { &mut state.redeliveries };
    if !script.is_empty() {
        return script.remove(0);
    }
    // As GitHub asks for them.
    let expected = [
        ("authorization", format!("Bearer {TOKEN}")),
        ("accept", "application/vnd.github+json".to_owned()),
        ("x-github-api-version", "2022-11-28".to_owned()),
    ];
    if expected.iter().any(|(name, value)| call.header(name) != value) || !call.header("user-agent").contains('/') {
        return Reply::Json(401, json!({"message": "Bad credentials"}));
    }
    if !is_page {
        let Some(guid) = guid_of(&state.log, &call.path) else {
            return Reply::Json(404, json!({"message": "Not Found"}));
        };
        if !state.is_lazy {
            let (shared, target) = (shared.clone(), state.target.clone());
            tokio::spawn(async move {
                let status = post(target, &guid, "push").await;
                shared.lock().expect("state").note(&guid, "push", true, Timestamp::now(), status);
            });
        }
        return Reply::Json(202, json!({}));
    }
    page(&state, call)
}

/// A page of the log, newest first, linked to the next as GitHub does it: by a path with the repository's number.
fn page(state: &State, call: &Call) -> Reply {
    let (path, query) = call.path.split_once('?').unwrap_or((&call.path, ""));
    let query: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    if path != LOG || query.get("per_page") != Some(&"100") {
        return Reply::Json(404, json!({"message": "Not Found"}));
    }
    let from: usize = query.get("cursor").and_then(|cursor| cursor.strip_prefix("v1_")?.parse().ok()).unwrap_or(0);
    let items: Vec<&Value> = state.log.iter().rev().skip(from).take(state.per_page).collect();
    let mut headers = vec![("content-type".to_owned(), "application/json; charset=utf-8".to_owned())];
    let to = from + items.len();
    if to < state.log.len() {
        let here = format!("http://{}", call.header("host"));
        let server = state.next.as_deref().unwrap_or(&here);
        let next = format!("<{server}/repositories/9/hooks/42/deliveries?per_page=100&cursor=v1_{to}>; rel=\"next\"");
        headers.push(("link".to_owned(), format!("<{here}{LOG}?cursor=v1_0>; rel=\"prev\", {next}")));
    }
    Reply::With(200, headers, json!(items).to_string())
}

fn ago(minutes: u64) -> Timestamp {
    Timestamp::now().minus(Duration::from_secs(60 * minutes))
}

/// Posts a delivery as GitHub does; the status that its log would have.
async fn post(target: Option<String>, guid: &str, event: &str) -> u16 {
    let Some(target) = target else { return 502 };
    let body = json!({"guid": guid}).to_string();
    let signature = format!("sha256={}", hex::encode(hmac_sha256(SECRET.as_bytes(), body.as_bytes())));
    let request = client()
        .post(format!("{target}/hooks/github"))
        .header("content-type", "application/json")
        .header("x-github-event", event)
        .header("x-github-delivery", guid)
        .header("x-hub-signature-256", signature)
        .body(body);
    request.send().await.map_or(502, |response| response.status().as_u16())
}

impl State {
    /// Writes an attempt into the log, with the fields that GitHub documents for its items.
    fn note(&mut self, guid: &str, event: &str, redelivery: bool, at: Timestamp, status: u16) {
        // Beyond what a JavaScript number holds, as GitHub's ids may be.
        let id = FIRST_ID + u64::try_from(self.log.len()).expect("a count");
        let outcome = if (200..300).contains(&status) { "OK" } else { "failed to connect" };
        self.log.push(json!({"id": id, "guid": guid, "delivered_at": at.rfc3339(), "redelivery": redelivery,
            "duration": 0.1, "status": outcome, "status_code": status, "event": event, "action": null,
            "installation_id": null, "repository_id": 9, "throttled_at": null}));
    }
}

fn set_token(bridge: &Bridge, token: &str) {
    let answer = bridge.run_with_input(&["secret", "set", "clawbridge/tools/github"], token);
    assert_eq!(answer.status, 0, "{answer:?}");
}

/// Has the worker run once, and returns the line of that run.
async fn run(bridge: &Bridge) -> Value {
    let count = runs(bridge).len();
    enqueue(bridge, &[MESSAGE.to_owned()]).await;
    eventually("a run", || async { runs(bridge).get(count).cloned() }).await
}

fn runs(bridge: &Bridge) -> Vec<Value> {
    let is_run = |line: &Value| line["kind"] == "catch_up.ran" || line["kind"] == "catch_up.failed";
    bridge.journal().into_iter().filter(is_run).collect()
}

/// What a line counts: looked at, missed, asked, left; and why it stopped.
fn counts(line: &Value) -> (u64, u64, u64, u64, &str) {
    let count = |name: &str| line[name].as_u64().unwrap_or_else(|| panic!("no {name}: {line}"));
    (count("looked_at"), count("missed"), count("asked"), count("left"), line["stopped"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn what_was_refused_while_the_source_was_broken_arrives_by_itself_and_acts_once() {
    let hub = Hub::start().await;
    let bridge = hub.bridge("0").await;
    let break_it = json!({"SecretId": "clawbridge/sources/github", "SecretString": "not a source"});
    bridge.aws("secretsmanager.PutSecretValue", &break_it).await;
    assert!(!hub.deliver("refused", "push", 0).await);
    assert_eq!(hub.state().log[0]["status_code"], 503);
    bridge.add_source("github", "github", SECRET);
    let probe = || async { hub.deliver("probe", "ping", 0).await.then_some(()) };
    eventually("the mended source", probe).await;
    hub.state().log.retain(|item| item["guid"] == "refused");

    let line = run(&bridge).await;
    assert_eq!(counts(&line), (1, 1, 1, 0, "done"), "{line}");
    assert_eq!((&line["source"], &line["level"]), (&json!("github"), &json!("info")), "{line}");
    hub.wait_for_effects(&["refused"]).await;
    eventually("the log", || async { (hub.state().log.len() == 2).then_some(()) }).await;
    let line = run(&bridge).await;
    assert_eq!(counts(&line), (2, 0, 0, 0, "done"), "{line}");
    idle(&bridge).await;
    assert_eq!((hub.asked(), hub.effects()), (vec!["refused".to_owned()], vec!["refused".to_owned()]));
    let listed = bridge.run(&["events", "list", "--json"]).json();
    let stored = listed.as_array().expect("events").iter().filter(|event| event["delivery_id"] == "refused").count();
    assert_eq!(stored, 1, "{listed}");
    assert!(!format!("{:?}", bridge.journal()).contains(TOKEN));
}

#[tokio::test]
async fn the_schedule_asks_for_what_never_arrived_oldest_first_and_once() {
    let hub = Hub::start().await;
    let bridge = hub.bridge("1").await;
    assert!(hub.deliver("arrived", "push", 300).await);
    // Its redelivery failed a moment ago: not yet again. (In this order, so that no run sees the one without the other.)
    hub.redeliver_in_vain("fresh", 0);
    hub.deliver_in_vain("fresh", 250);
    hub.deliver_in_vain("older", 200);
    hub.deliver_in_vain("newer", 100);
    hub.wait_for_effects(&["arrived", "newer", "older"]).await;
    eventually("a later run", || async {
        runs(&bridge)
            .iter()
            .any(|line| line["looked_at"] == 7 && line["missed"] == 1 && line["asked"] == 0)
            .then_some(())
    })
    .await;
    assert_eq!(hub.asked(), ["older", "newer"]);
    assert_eq!(hub.effects(), ["arrived", "newer", "older"]);
}

#[tokio::test]
async fn the_whole_log_is_read_page_by_page() {
    let hub = Hub::start().await;
    let bridge = hub.bridge("0").await;
    hub.deliver_in_vain("first", 300);
    for n in 0..4 {
        assert!(hub.deliver(&format!("fine-{n}"), "ping", 200 - n).await);
    }
    hub.state().per_page = 2;
    let line = run(&bridge).await;
    assert_eq!(counts(&line), (5, 1, 1, 0, "done"), "{line}");
    hub.wait_for_effects(&["first"]).await;
    let paths: Vec<String> = hub.pages().into_iter().map(|call| call.path).collect();
    let page = |cursor: &str| format!("{LOG}?per_page=100{cursor}");
    assert_eq!(paths, [page(""), page("&cursor=v1_2"), page("&cursor=v1_4")]);
}

#[tokio::test]
async fn a_log_that_goes_back_further_is_read_no_further_than_can_be_redelivered() {
    let hub = Hub::start().await;
    let bridge = hub.bridge("0").await;
    for (guid, hours) in [("out", 200), ("of", 190), ("reach", 72), ("in-reach", 70)] {
        hub.deliver_in_vain(guid, hours * 60);
    }
    hub.state().per_page = 1;
    let line = run(&bridge).await;
    assert_eq!(counts(&line), (2, 2, 1, 0, "done"), "{line}");
    assert_eq!(hub.asked(), ["in-reach"]);
}

#[tokio::test]
async fn a_next_page_at_another_server_is_not_asked_for_and_sees_no_token() {
    let elsewhere = Stub::start(|_, _| Reply::Json(200, json!([]))).await;
    let hub = Hub::start().await;
    let bridge = hub.bridge("0").await;
    hub.deliver_in_vain("beyond", 60);
    hub.deliver_in_vain("here", 50);
    hub.state().per_page = 1;
    hub.state().next = Some(elsewhere.url.clone());
    let line = run(&bridge).await;
    assert_eq!(counts(&line), (1, 1, 1, 0, "next_elsewhere"), "{line}");
    // What was found before is caught up with.
    hub.wait_for_effects(&["here"]).await;
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_rate_limit_ends_the_run_and_the_next_one_goes_on() {
    let hub = Hub::start().await;
    let bridge = hub.bridge("0").await;
    for (guid, minutes_ago) in [("a", 60), ("b", 50), ("c", 40)] {
        hub.deliver_in_vain(guid, minutes_ago);
    }
    let reset = Timestamp::now().plus(Duration::from_secs(900)).seconds();
    let limit = |status: u16, remaining: &str| {
        let headers = [("x-ratelimit-remaining", remaining.to_owned()), ("x-ratelimit-reset", reset.to_string())];
        Reply::With(status, headers.map(|(name, value)| (name.to_owned(), value)).into(), "{}".to_owned())
    };
    let until = json!(Timestamp::from_millis(reset * 1000).rfc3339());
    // Refused; allowed as the last one; refused when reading.
    hub.state().redeliveries = vec![limit(403, "0"), limit(202, "0")];
    for (asked, left) in [(0, 3), (1, 2)] {
        let line = run(&bridge).await;
        assert_eq!(counts(&line), (3, 3, asked, left, "rate_limited"), "{line}");
        assert_eq!(line["go_on_at"], until, "{line}");
    }
    hub.state().pages = vec![limit(429, "0")];
    assert_eq!(counts(&run(&bridge).await), (0, 0, 0, 0, "rate_limited"));
    assert_eq!(hub.asked(), ["a", "a"]);
    // This process remembers that it asked for `a`, which was not redelivered in truth.
    let line = run(&bridge).await;
    assert_eq!(counts(&line), (3, 3, 2, 0, "done"), "{line}");
    hub.wait_for_effects(&["b", "c"]).await;
}

#[tokio::test]
async fn what_cannot_be_done_is_said_with_a_code_and_the_message_does_not_come_back() {
    let hub = Hub::start().await;
    let bridge = hub.bridge("0").await;
    hub.deliver_in_vain("a", 60);
    let status = |status: u16| Reply::Json(status, json!({"message": "hunter2"}));
    let rows: Vec<(Reply, &str, &str)> = vec![
        (status(401), "TOKEN_REFUSED", "error"),
        (status(403), "TOKEN_FORBIDDEN", "error"),
        (status(404), "HOOK_NOT_FOUND", "error"),
        (status(301), "UNEXPECTED_RESPONSE", "error"),
        (status(200), "UNEXPECTED_RESPONSE", "error"),
        (Reply::of(200, "application/json", &format!("[{}]", " ".repeat(1 << 20))), "UNEXPECTED_RESPONSE", "error"),
        (status(503), "PROVIDER_UNAVAILABLE", "warn"),
        (Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[".to_vec()), "PROVIDER_UNAVAILABLE", "warn"),
    ];
    for (reply, code, level) in rows {
        hub.state().pages = vec![reply.clone()];
        let line = run(&bridge).await;
        assert_eq!((&line["code"], &line["level"]), (&json!(code), &json!(level)), "{line}");
        assert!(line["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{line}");
        assert!(!line.to_string().contains("hunter2") && !line.to_string().contains(TOKEN), "{line}");
    }
    assert_eq!(hub.asked(), Vec::<String>::new());
    // A delivery that GitHub will not redeliver does not keep the others from it.
    hub.deliver_in_vain("b", 50);
    hub.state().redeliveries = vec![status(422)];
    let line = run(&bridge).await;
    assert_eq!(counts(&line), (2, 2, 1, 0, "done"), "{line}");
    hub.wait_for_effects(&["b"]).await;
    idle(&bridge).await;
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test]
async fn a_dead_api_a_forbidden_address_or_a_missing_token_concern_nothing_else() {
    let hub = Hub::start().await;
    let bridge = hub.bridge_with(&["--catch-up-every", "0"].map(str::to_owned), "").await;
    let line = run(&bridge).await;
    assert_eq!((&line["code"], &line["level"]), (&json!("ADDRESS_FORBIDDEN"), &json!("error")), "{line}");
    assert!(line["reason"].as_str().is_some_and(|reason| reason.contains("[network] allow")), "{line}");
    assert_eq!(hub.stub.connections(), 0);

    let log = |name: &str, secret: &str, api: &str| {
        format!(
            "[catch_up.{name}]\nprovider = \"github\"\nhook = \"repos/acme/shop/hooks/42\"\n\
             secret = \"clawbridge/tools/{secret}\"\napi = \"{api}\"\n"
        )
    };
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let config = log("dead", "github", &format!("http://{nobody}"))
        + &log("tokenless", "nowhere", &hub.stub.url)
        + &log("works", "github", &hub.stub.url)
        + ALLOW;
    bridge.write_config(&config);
    bridge.line("the new version", |line| line["kind"] == "dev.note").await;
    hub.deliver_in_vain("a", 60);
    eventually("a run of all three", || async {
        enqueue(&bridge, &[MESSAGE.to_owned()]).await;
        runs(&bridge).iter().any(|line| line["source"] == "works").then_some(())
    })
    .await;
    let line_of = |name: &str| runs(&bridge).into_iter().find(|line| line["source"] == name).expect("a line");
    assert_eq!(line_of("dead")["code"], "PROVIDER_UNAVAILABLE");
    assert_eq!(line_of("tokenless")["code"], "TOKEN_UNAVAILABLE");
    assert!(line_of("tokenless")["reason"].to_string().contains("`clawbridge secret set clawbridge/tools/nowhere`"));
    assert_eq!(line_of("works")["asked"], 1);
    // One of them alone, and one that there is not.
    idle(&bridge).await;
    let count = |name: &str| runs(&bridge).iter().filter(|line| line["source"] == name).count();
    let (works, dead) = (count("works"), count("dead"));
    let of = |name: &str| format!("{{\"v\":1,\"kind\":\"catch-up\",\"source\":\"{name}\"}}");
    enqueue(&bridge, &[of("works")]).await;
    eventually("a run of one", || async { (count("works") > works).then_some(()) }).await;
    enqueue(&bridge, &[of("nothing")]).await;
    bridge.line("the unknown one", |line| line["code"] == "UNKNOWN_CATCH_UP").await;
    idle(&bridge).await;
    assert_eq!(count("dead"), dead);
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test]
async fn messages_that_piled_up_ask_for_each_delivery_once() {
    let hub = Hub::start().await;
    let bridge = hub.bridge("0").await;
    for n in 0..5 {
        hub.deliver_in_vain(&format!("missed-{n}"), 60 + n);
    }
    // The log does not show what was asked for.
    hub.state().is_lazy = true;
    for _ in 0..3 {
        enqueue(&bridge, &vec![MESSAGE.to_owned(); 10]).await;
        idle(&bridge).await;
    }
    let mut asked = hub.asked();
    asked.sort();
    assert_eq!(asked, ["missed-0", "missed-1", "missed-2", "missed-3", "missed-4"]);
    assert!(runs(&bridge).len() > 1);
}

#[tokio::test]
async fn a_provider_that_is_slow_costs_no_more_than_the_invocations_time() {
    let hub = Hub::start().await;
    let args = ["--catch-up-every", "0", "--worker-timeout", "6"].map(str::to_owned);
    let bridge = hub.bridge_with(&args, ALLOW).await;
    hub.deliver_in_vain("a", 60);
    hub.state().pages = vec![Reply::Silence];
    // Of six seconds two are kept for the answer, and half of the rest is for reading.
    let line = run(&bridge).await;
    assert_eq!(counts(&line), (0, 0, 0, 0, "deadline"), "{line}");
    let ms = line["ms"].as_u64().expect("milliseconds");
    assert!((1_000..3_800).contains(&ms), "{line}");
    // Whether a redelivery without an answer was asked for nobody knows: for now it is taken to be under way.
    hub.state().redeliveries = vec![Reply::Silence];
    assert_eq!(counts(&run(&bridge).await), (1, 1, 0, 1, "deadline"));
    assert_eq!(counts(&run(&bridge).await), (1, 1, 0, 0, "done"));
    assert_eq!(hub.asked(), ["a"]);
    idle(&bridge).await;
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test]
async fn a_run_asks_for_a_bounded_number_and_the_next_one_for_the_rest() {
    let hub = Hub::start().await;
    let bridge = hub.bridge("0").await;
    for n in 0..80 {
        hub.deliver_in_vain(&format!("missed-{n:02}"), 200 - n);
    }
    let line = run(&bridge).await;
    assert_eq!(counts(&line), (80, 80, 75, 5, "redeliveries"), "{line}");
    let expected: Vec<String> = (0..80).map(|n| format!("missed-{n:02}")).collect();
    let first: Vec<&str> = expected[..75].iter().map(String::as_str).collect();
    hub.wait_for_effects(&first).await;
    eventually("the log", || async { (hub.state().log.len() == 155).then_some(()) }).await;
    let line = run(&bridge).await;
    assert_eq!(counts(&line), (155, 5, 5, 0, "done"), "{line}");
    let all: Vec<&str> = expected.iter().map(String::as_str).collect();
    hub.wait_for_effects(&all).await;
    assert_eq!(hub.asked(), expected);
}

// Commands hold up the thread that they are run from, and the stub has to answer them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_shows_what_was_missed_and_asks_for_it_at_once() {
    let hub = Hub::start().await;
    let bridge = hub.bridge("0").await;
    hub.deliver_in_vain("old", 3000);
    hub.deliver_in_vain("new", 50);
    assert!(hub.deliver("arrived", "push", 40).await);
    // The schedule waits after a redelivery that failed.
    hub.redeliver_in_vain("new", 6);
    let line = run(&bridge).await;
    assert_eq!(counts(&line), (4, 2, 1, 0, "done"), "{line}");
    hub.wait_for_effects(&["arrived", "old"]).await;
    eventually("the log", || async { (hub.state().log.len() == 5).then_some(()) }).await;

    let rehearsed = bridge.run(&["source", "catch-up", "github", "--dry-run", "--json"]);
    assert_eq!(rehearsed.status, 0, "{rehearsed:?}");
    let rehearsed = rehearsed.json();
    let missed = &rehearsed["missed"][0];
    assert_eq!((&missed["delivery_id"], &missed["fate"]), (&json!("new"), &json!("would_be_asked")), "{rehearsed}");
    assert_eq!(
        (&missed["id"], &missed["redeliveries"]),
        (&json!((FIRST_ID + 3).to_string()), &json!(1)),
        "{rehearsed}"
    );
    assert_eq!((&missed["status"], &missed["outcome"]), (&json!(502), &json!("failed to connect")), "{rehearsed}");
    assert_eq!((&rehearsed["asked"], &rehearsed["left"], &rehearsed["looked_at"]), (&json!(0), &json!(1), &json!(5)));
    assert_eq!(hub.asked(), ["old"]);
    let shown = bridge.run(&["source", "catch-up", "github", "--dry-run"]);
    assert_eq!(shown.status, 0, "{shown:?}");
    for part in ["FIRST", "new", "push", "502 failed to connect", "9007199254740996", "would be asked"] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    assert!(shown.out.contains("github: attempts read 5, missed 1, would be asked for 1."), "{}", shown.out);
    let recent = bridge.run(&["source", "catch-up", "github", "--since", "30m", "--json"]).json();
    assert_eq!((&recent["missed"], &recent["asked"]), (&json!([]), &json!(0)), "{recent}");

    let done = bridge.run(&["source", "catch-up", "github"]);
    assert_eq!(done.status, 0, "{done:?}");
    assert!(done.out.contains("asked") && !format!("{done:?}").contains(TOKEN), "{done:?}");
    hub.wait_for_effects(&["arrived", "new", "old"]).await;
    assert_eq!(hub.asked(), ["old", "new"]);
}

// Commands hold up the thread that they are run from, and the stub has to answer them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_exit_status_says_what_kind_of_no_it_is() {
    let hub = Hub::start().await;
    let bridge = hub.bridge("0").await;
    hub.deliver_in_vain("a", 50);
    let command = ["source", "catch-up", "github", "--json"];
    let fails = |args: &[&str]| {
        let answer = bridge.run(args);
        (answer.status, answer.error_code())
    };
    let status = |status: u16| Reply::Json(status, json!({}));
    for (reply, code) in [
        (status(401), "TOKEN_REFUSED"),
        (status(403), "TOKEN_FORBIDDEN"),
        (status(404), "HOOK_NOT_FOUND"),
        (status(503), "PROVIDER_UNAVAILABLE"),
        (status(429), "RATE_LIMITED"),
    ] {
        hub.state().pages = vec![reply];
        assert_eq!(fails(&command), (1, code.to_owned()));
    }
    assert_eq!(fails(&["source", "catch-up", "gitlab", "--json"]), (3, "UNKNOWN_CATCH_UP".to_owned()));
    for since in ["4d", "soon", "0h"] {
        assert_eq!(bridge.run(&["source", "catch-up", "github", "--since", since]).status, 2, "{since}");
    }
    assert_eq!(hub.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn without_a_log_to_look_at_the_schedules_message_does_nothing() {
    let bridge = Bridge::start("").await;
    enqueue(&bridge, &[MESSAGE.to_owned()]).await;
    idle(&bridge).await;
    assert_eq!((runs(&bridge), bridge.dead_letters().await), (Vec::new(), 0));
}
