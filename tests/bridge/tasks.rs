//! The task record: retries, idempotency, what is parked, and what follows from a task.

use crate::support::work::{
    ALLOW, SECRET, attempts, bridge, decided, decisions, ended, event_of, idle, keys, retry, scripted, send, show,
    status, tool,
};
use crate::support::{Bridge, Call, Options, Reply, Stub, eventually};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn closes() -> Reply {
    Reply::Raw(Vec::new())
}

#[tokio::test]
async fn a_call_that_fails_twice_is_made_a_third_time_with_the_same_key_and_remembered() {
    let wait = Reply::With(503, vec![("retry-after".into(), "2".into())], String::new());
    let stub = scripted(&[("/call", vec![wait, status(503), Reply::Json(200, json!({"id": 7}))])]).await;
    let config = tool("call", "POST", &format!("{}/call", stub.url), "idempotency_header = \"X-Key\"") + ALLOW;
    let bridge = bridge(&config).await;
    send(&bridge, "call", json!({"n": 1})).await;
    let line = ended(&bridge, "call").await;

    let calls = stub.calls();
    assert_eq!((calls.len(), keys(&calls)), (3, [line["task"].as_str().expect("a task")].into()));
    assert!(calls.iter().all(|call| call.json() == json!({"n": 1})));
    let waited = calls[1].at.duration_since(calls[0].at);
    assert!(waited >= Duration::from_millis(1_950), "called again after {waited:?}");

    let record = show(&bridge, &line);
    assert_eq!(
        (&record["state"], &record["result"], &record["error"]),
        (&json!("succeeded"), &json!({"id": 7}), &Value::Null)
    );
    assert_eq!((&record["attempt"], &record["failures"]), (&json!(3), &json!(2)));
    let recorded = record["attempts"].as_array().expect("attempts");
    let seen: Vec<_> = recorded
        .iter()
        .map(|attempt| {
            (attempt["n"].as_u64(), attempt["decision"].as_str(), attempt["status"].as_u64(), attempt["code"].as_str())
        })
        .collect();
    assert_eq!(
        seen,
        [
            (Some(1), Some("retry"), Some(503), Some("UNAVAILABLE")),
            (Some(2), Some("retry"), Some(503), Some("UNAVAILABLE")),
            (Some(3), Some("succeeded"), None, None),
        ]
    );
    let lines = attempts(&bridge, "call");
    let told: Vec<_> = lines.iter().map(|line| (line["attempt"].as_u64(), line["retry_in_ms"].is_u64())).collect();
    assert_eq!(told, [(Some(1), true), (Some(2), true), (Some(3), false)]);
    // While it waited it was listed as waiting; now it is not.
    assert_eq!(bridge.run(&["tasks", "list", "--state", "queued", "--json"]).json(), json!([]));
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test]
async fn a_task_out_of_attempts_has_failed_until_a_person_runs_it_again() {
    let stub = scripted(&[("/call", vec![status(500), status(500), status(502), status(200)])]).await;
    let config =
        tool("call", "POST", &format!("{}/call", stub.url), "idempotency_header = \"X-Key\"\nattempts = 2") + ALLOW;
    let bridge = bridge(&config).await;
    send(&bridge, "call", json!({})).await;
    let line = ended(&bridge, "call").await;
    assert_eq!(
        (decisions(&bridge, "call"), &line["code"]),
        (vec!["retry".into(), "failed".into()], &json!("UPSTREAM_ERROR"))
    );
    let listed = bridge.run(&["tasks", "list", "--state", "failed", "--json"]).json();
    assert_eq!((&listed[0]["id"], &listed[0]["error"]), (&line["task"], &json!("UPSTREAM_ERROR")));
    // The provider's repeat of the event does not run it again.
    send(&bridge, "call", json!({})).await;
    bridge.lines("event.repeated", 1).await;
    assert_eq!(stub.calls().len(), 2);

    // A person does, and its attempts begin anew: it may fail once more.
    retry(&bridge, &line);
    assert_eq!(decided(&bridge, "call", 4).await[2..], ["retry", "succeeded"]);
    let record = show(&bridge, &line);
    assert_eq!(
        (&record["state"], &record["attempt"], &record["error"]),
        (&json!("succeeded"), &json!(4), &Value::Null)
    );
    assert_eq!(keys(&stub.calls()).len(), 1);
    assert_eq!(bridge.run(&["tasks", "list", "--state", "failed", "--json"]).json(), json!([]));
    let refused = bridge.run(&["tasks", "retry", line["task"].as_str().expect("a task"), "--json"]);
    assert_eq!((refused.status, refused.error_code().as_str()), (1, "NOT_RETRYABLE"));
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test]
async fn a_key_of_its_own_makes_two_events_one_task_and_another_input_a_conflict() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({"ok": true}))).await;
    let config = format!(
        r#"
[tools.charge]
method = "POST"
url = "{}/charge"
idempotency_header = "X-Key"
idempotency_key = '.order'

[[routes]]
name = "orders"
source = "hooks"
type = "order.*"
tool = "charge"
input = '.body.input | {{order, amount}}'
{ALLOW}"#,
        stub.url
    );
    let bridge = bridge(&config).await;
    send(&bridge, "order.paid", json!({"order": "o-1", "amount": 5})).await;
    let first = ended(&bridge, "charge").await;
    // Another event, the same order and amount in another order of members; then another amount; then another order.
    send(&bridge, "order.confirmed", json!({"amount": 5, "order": "o-1"})).await;
    decided(&bridge, "charge", 2).await;
    send(&bridge, "order.changed", json!({"order": "o-1", "amount": 6})).await;
    decided(&bridge, "charge", 3).await;
    send(&bridge, "order.paid", json!({"order": "o-2", "amount": 6})).await;
    assert_eq!(decided(&bridge, "charge", 4).await, ["succeeded", "reused", "conflict", "succeeded"]);

    let lines = attempts(&bridge, "charge");
    assert!(lines[..3].iter().all(|line| line["task"] == first["task"]), "{lines:?}");
    assert_eq!((&lines[2]["code"], &lines[2]["level"]), (&json!("IDEMPOTENCY_CONFLICT"), &json!("warn")));
    let calls = stub.calls();
    let sent: Vec<Value> = calls.iter().map(Call::json).collect();
    assert_eq!(sent, [json!({"order": "o-1", "amount": 5}), json!({"order": "o-2", "amount": 6})]);
    assert_eq!(show(&bridge, &first)["key"], "o-1");
    assert_eq!(bridge.dead_letters().await, 0);
}

/// A tool's declaration, what the API answers, and the decisions that must follow.
struct Row {
    name: &'static str,
    method: &'static str,
    tool: &'static str,
    replies: Vec<Reply>,
    decisions: &'static [&'static str],
    code: Value,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_been_done_is_repeated_only_where_the_tools_effect_allows_it() {
    let half = || Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec());
    let row = |name, tool, reply: Reply, decisions, code: &str| Row {
        name,
        method: "POST",
        tool,
        replies: vec![reply],
        decisions,
        code: json!(code),
    };
    let parked = |name, reply, code| row(name, "effect = \"unsafe\"", reply, &["parked"], code);
    let declined = |name, reply, code| row(name, "effect = \"unsafe\"", reply, &["retry", "succeeded"], code);
    let keyed = |name, reply, code| row(name, "idempotency_header = \"X-Key\"", reply, &["retry", "succeeded"], code);
    let rows = vec![
        parked("unsafe_silent", Reply::Silence, "TIMEOUT"),
        parked("unsafe_stalled", Reply::Stall(b"HTTP/1.1 200 OK\r\n".to_vec()), "TIMEOUT"),
        parked("unsafe_closed", closes(), "UNAVAILABLE"),
        parked("unsafe_half", half(), "UNAVAILABLE"),
        parked("unsafe_500", status(500), "UPSTREAM_ERROR"),
        parked("unsafe_502", status(502), "UPSTREAM_ERROR"),
        parked("unsafe_504", status(504), "UPSTREAM_ERROR"),
        // A POST without a key is unsafe unless it says otherwise.
        Row { tool: "", ..parked("undeclared", Reply::Silence, "TIMEOUT") },
        // A key that is sent does not make a tool keyed that says that it is unsafe.
        Row {
            tool: "effect = \"unsafe\"\nidempotency_header = \"X-Key\"",
            ..parked("unsafe_with_key", status(500), "UPSTREAM_ERROR")
        },
        declined("unsafe_503", status(503), "UNAVAILABLE"),
        declined("unsafe_429", status(429), "RATE_LIMITED"),
        declined("unsafe_408", status(408), "UNAVAILABLE"),
        declined("unsafe_425", status(425), "UNAVAILABLE"),
        row(
            "unsafe_page",
            "effect = \"unsafe\"",
            Reply::With(200, vec![], "<p>".into()),
            &["failed"],
            "UNEXPECTED_RESPONSE",
        ),
        row("unsafe_409", "effect = \"unsafe\"", status(409), &["failed"], "CONFLICT"),
        keyed("keyed_silent", Reply::Silence, "TIMEOUT"),
        keyed("keyed_closed", closes(), "UNAVAILABLE"),
        keyed("keyed_half", half(), "UNAVAILABLE"),
        keyed("keyed_500", status(500), "UPSTREAM_ERROR"),
        Row { method: "PUT", tool: "", ..keyed("put_silent", Reply::Silence, "TIMEOUT") },
        Row { method: "DELETE", tool: "", ..keyed("delete_closed", closes(), "UNAVAILABLE") },
        Row { method: "GET", tool: "", ..keyed("get_500", status(500), "UPSTREAM_ERROR") },
        Row { tool: "effect = \"idempotent\"", ..keyed("declared_idempotent", Reply::Silence, "TIMEOUT") },
    ];
    let paths: Vec<String> = rows.iter().map(|row| format!("/{}", row.name)).collect();
    let script: Vec<(&str, Vec<Reply>)> =
        rows.iter().zip(&paths).map(|(row, path)| (path.as_str(), row.replies.clone())).collect();
    let stub = scripted(&script).await;
    let mut config = ALLOW.to_owned();
    for row in &rows {
        // Long enough for an answer on a busy machine.
        let timeout = if row.code == "TIMEOUT" { "2s" } else { "20s" };
        let more = format!("timeout = \"{timeout}\"\n{}", row.tool);
        config.push_str(&tool(row.name, row.method, &format!("{}/{}", stub.url, row.name), &more));
    }
    let mut bridge = bridge(&config).await;
    for row in &rows {
        send(&bridge, row.name, json!({})).await;
    }
    let mut parked = Vec::new();
    for row in &rows {
        let line = ended(&bridge, row.name).await;
        assert_eq!(decisions(&bridge, row.name), row.decisions, "{}", row.name);
        assert_eq!(attempts(&bridge, row.name)[0]["code"], row.code, "{}", row.name);
        let calls = stub.calls_of(&format!("/{}", row.name));
        assert_eq!(calls.len(), row.decisions.len(), "{}", row.name);
        assert_eq!(keys(&calls).len(), 1, "{}: {calls:?}", row.name);
        if row.decisions == ["parked"] {
            parked.push((row.name, line));
        }
    }
    let listed = bridge.run(&["tasks", "list", "--state", "parked", "--json"]).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(parked.len()), "{listed}");

    // What is parked stays so: when the provider repeats the event, when it is replayed, when the process starts again.
    for (name, line) in &parked {
        send(&bridge, name, json!({})).await;
        assert_eq!(bridge.run(&["events", "replay", event_of(line)]).status, 0);
    }
    bridge.lines("event.repeated", parked.len()).await;
    for (name, _) in &parked {
        assert_eq!(decided(&bridge, name, 2).await, ["parked", "reused"], "{name}");
    }
    idle(&bridge).await;
    assert_eq!(bridge.interrupt(), 0);
    bridge.restart().await;
    for (name, line) in &parked {
        assert_eq!(show(&bridge, line)["state"], "parked", "{name}");
        assert_eq!(stub.calls_of(&format!("/{name}")).len(), 1, "{name}");
    }
    // A person decides, and it is called once more.
    for (_, line) in &parked {
        retry(&bridge, line);
    }
    for (name, line) in &parked {
        assert_eq!(ended(&bridge, name).await["decision"], "succeeded", "{name}");
        assert_eq!(stub.calls_of(&format!("/{name}")).len(), 2, "{name}");
        assert_eq!((&show(&bridge, line)["state"], &show(&bridge, line)["attempt"]), (&json!("succeeded"), &json!(2)));
    }
    assert_eq!(bridge.run(&["tasks", "list", "--state", "parked", "--json"]).json(), json!([]));
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test]
async fn an_unsafe_call_that_found_nobody_is_tried_again() {
    // Bound and let go, so that nobody listens there until somebody does.
    let place = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let config = tool("call", "POST", &format!("http://{place}/"), "effect = \"unsafe\"\nattempts = 10") + ALLOW;
    let bridge = bridge(&config).await;
    send(&bridge, "call", json!({})).await;
    decided(&bridge, "call", 1).await;
    let stub = Stub::start_at(&place.to_string(), |_, _| Reply::Json(200, json!({}))).await;
    assert_eq!(ended(&bridge, "call").await["decision"], "succeeded");
    assert!(attempts(&bridge, "call")[0]["reason"].as_str().is_some_and(|text| text.contains("no connection")));
    assert_eq!(stub.calls().len(), 1);
}

#[tokio::test]
async fn a_worker_lost_during_a_call_leaves_it_to_a_person_unless_it_may_be_repeated() {
    let stub = scripted(&[("/unsafe", vec![Reply::Silence]), ("/keyed", vec![Reply::Silence])]).await;
    let config = tool("unsafe", "POST", &format!("{}/unsafe", stub.url), "effect = \"unsafe\"\ntimeout = \"3s\"")
        + &tool("keyed", "POST", &format!("{}/keyed", stub.url), "idempotency_header = \"X-Key\"\ntimeout = \"3s\"")
        + ALLOW;
    let options = Options { config: Some(config), args: vec!["--visibility".into(), "1".into()] };
    let mut bridge = Bridge::start_with(options).await;
    bridge.add_source("hooks", "openclaw", SECRET);
    send(&bridge, "unsafe", json!({})).await;
    send(&bridge, "keyed", json!({})).await;
    eventually("both calls are under way", || async { (stub.calls().len() == 2).then_some(()) }).await;
    bridge.kill();
    bridge.restart().await;
    // Until the leases end, nobody touches them.
    let line = ended(&bridge, "keyed").await;
    assert_eq!((&line["decision"], &line["attempt"]), (&json!("succeeded"), &json!(2)));
    let calls = stub.calls_of("/keyed");
    assert_eq!((calls.len(), keys(&calls)), (2, [line["task"].as_str().expect("a task")].into()));
    assert!(decisions(&bridge, "keyed").iter().any(|decision| decision == "deferred"));
    let lease = calls[1].at.duration_since(calls[0].at);
    // Three seconds for the call and five for what is around it, from the claim on, which was a little before the call.
    assert!(lease > Duration::from_secs(6), "taken over after {lease:?}");

    let line = ended(&bridge, "unsafe").await;
    assert_eq!((&line["decision"], &line["code"]), (&json!("parked"), &json!("OUTCOME_UNKNOWN")));
    let record = show(&bridge, &line);
    assert_eq!((&record["error"]["may_have_acted"], &record["attempt"]), (&json!(true), &json!(1)));
    assert!(record["error"]["message"].as_str().is_some_and(|text| text.contains("look at the upstream")), "{record}");
    idle(&bridge).await;
    assert_eq!(stub.calls_of("/unsafe").len(), 1);
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test]
async fn the_end_of_a_task_is_an_event_and_reaches_another_tool_exactly_once() {
    let stub = scripted(&[(
        "/work",
        vec![Reply::Json(200, json!({"id": 7})), status(422), status(500), status(422), status(422)],
    )])
    .await;
    let mut config = tool("work", "POST", &format!("{}/work", stub.url), "effect = \"unsafe\"")
        + &format!("[tools.tell]\nmethod = \"POST\"\nurl = \"{}/tell\"\nidempotency_header = \"X-Key\"\n", stub.url)
        + ALLOW;
    for event in ["completed", "failed", "parked"] {
        config.push_str(&format!(
            "[[routes]]\nname = \"{event}\"\nsource = \"bridge\"\ntype = \"task.{event}\"\ntool = \"tell\"\nfilter = '.body.data.tool == \"work\"'\n"
        ));
    }
    let bridge = bridge(&config).await;
    for n in 0..3 {
        send(&bridge, "work", json!({"n": n})).await;
        decided(&bridge, "work", n + 1).await;
    }
    let told = |count: usize| {
        let stub = &stub;
        eventually("somebody is told", move || async move {
            let told = stub.calls_of("/tell");
            (told.len() >= count).then_some(told)
        })
    };
    let mut calls = told(3).await;
    calls.sort_by_key(|call| call.json()["event"].to_string());
    let bodies: Vec<Value> = calls.iter().map(Call::json).collect();
    let lines = attempts(&bridge, "work");
    for (n, (event, status)) in
        [("task.completed", "completed"), ("task.failed", "failed"), ("task.parked", "parked")].iter().enumerate()
    {
        let data = &bodies[n]["data"];
        assert_eq!(
            (&bodies[n]["event"], &data["status"], &data["tool"]),
            (&json!(event), &json!(status), &json!("work"))
        );
        assert_eq!(
            (&data["task_id"], &data["event_id"], &data["attempts"]),
            (&lines[n]["task"], &lines[n]["event"], &json!(1))
        );
    }
    assert_eq!((&bodies[0]["data"]["result"], &bodies[0]["data"]["error"]), (&json!({"id": 7}), &Value::Null));
    assert_eq!(
        (&bodies[1]["data"]["error"]["code"], &bodies[1]["data"]["error"]["status"]),
        (&json!("VALIDATION_ERROR"), &json!(422))
    );
    assert_eq!(bodies[2]["data"]["error"]["code"], "UPSTREAM_ERROR");

    // However often the event comes or is replayed, the end was one.
    send(&bridge, "work", json!({"n": 0})).await;
    assert_eq!(bridge.run(&["events", "replay", event_of(&lines[0])]).status, 0);
    decided(&bridge, "work", 4).await;
    idle(&bridge).await;
    assert_eq!(told(3).await.len(), 3);
    // A task that a person runs again ends again.
    retry(&bridge, &lines[1]);
    let again = told(4).await;
    let body = again[3].json();
    assert_eq!(
        (&body["event"], &body["data"]["task_id"], &body["data"]["attempts"]),
        (&json!("task.failed"), &lines[1]["task"], &json!(2))
    );
    idle(&bridge).await;
    assert_eq!((stub.calls_of("/tell").len(), keys(&stub.calls_of("/tell")).len()), (4, 4));
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test]
async fn a_chain_of_tasks_that_feeds_itself_is_cut() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({}))).await;
    let config = tool("ping", "POST", &stub.url, "idempotency_header = \"X-Key\"")
        + "[[routes]]\nname = \"again\"\nsource = \"bridge\"\ntype = \"task.completed\"\ntool = \"ping\"\n[limits]\nmax_hops = 3\n"
        + ALLOW;
    let bridge = bridge(&config).await;
    send(&bridge, "ping", json!({})).await;
    let cut = bridge.lines("event.too_many_hops", 1).await;
    idle(&bridge).await;
    // The event's own task, and three that followed from each other.
    assert_eq!((stub.calls().len(), keys(&stub.calls()).len()), (4, 4));
    let last = attempts(&bridge, "ping").pop().expect("attempts");
    assert_eq!(
        (&cut[0]["task"], &cut[0]["type"], &cut[0]["max_hops"], &cut[0]["level"]),
        (&last["task"], &json!("task.completed"), &json!(3), &json!("warn"))
    );
    assert_eq!(
        (show(&bridge, &last)["hops"].as_u64(), bridge.lines("event.too_many_hops", 1).await.len()),
        (Some(3), 1)
    );
    // A replay goes no further.
    assert_eq!(bridge.run(&["events", "replay", event_of(&last)]).status, 0);
    bridge.lines("event.too_many_hops", 2).await;
    assert_eq!(stub.calls().len(), 4);
}

#[tokio::test]
async fn the_routes_of_one_event_are_tasks_of_their_own_and_one_that_fails_leaves_the_others_alone() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({}))).await;
    let route = |name: &str, tool: &str, more: &str| {
        format!("[[routes]]\nname = \"{name}\"\nsource = \"hooks\"\ntool = \"{tool}\"\n{more}\n")
    };
    let config = format!(
        "[tools.note]\nmethod = \"POST\"\nurl = \"{0}/note\"\nidempotency_header = \"X-Key\"\n\
         [tools.keyed]\nmethod = \"POST\"\nurl = \"{0}/keyed\"\nidempotency_header = \"X-Key\"\nidempotency_key = '.id'\n",
        stub.url
    ) + &route("one", "note", "input = '{to: \"one\", n: .body.n}'")
        + &route("broken-filter", "note", "filter = '.body.n | test(\"x\")'")
        + &route("broken-input", "note", "input = '.body.n | tonumber | error(\"no such customer\")'")
        + &route("no-output", "note", "input = 'empty'")
        + &route("no-key", "keyed", "input = '{id: null}'")
        + &route("too-large", "note", "input = '{text: .body.noise}'")
        + &route("not-for-it", "note", "filter = '.body.n > 5'")
        + &route("two", "note", "input = '{to: \"two\", n: .body.n}'")
        + ALLOW;
    let bridge = bridge(&config).await;
    // Letters that do not compress below what a record takes.
    let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(400_000).collect();
    let body = json!({"event": "order", "n": 1, "noise": noise}).to_string();
    assert_eq!(bridge.deliver("hooks", SECRET, body.as_bytes()).await.0, 200);
    decided(&bridge, "note", 2).await;
    let calls = stub.calls();
    let sent: BTreeSet<String> = calls.iter().map(|call| call.json().to_string()).collect();
    assert_eq!(sent, [json!({"to": "one", "n": 1}).to_string(), json!({"to": "two", "n": 1}).to_string()].into());
    assert_eq!((calls.len(), keys(&calls).len()), (2, 2));
    let lines = bridge.lines("route.failed", 5).await;
    let reasons: BTreeMap<&str, &str> =
        lines.iter().filter_map(|line| Some((line["route"].as_str()?, line["reason"].as_str()?))).collect();
    for (route, says) in [
        ("broken-filter", "filter: "),
        ("broken-input", "input: "),
        ("no-output", "input: the program gave no output"),
        ("no-key", "idempotency_key gave null"),
        ("too-large", "map less of the event into it"),
    ] {
        assert!(reasons[route].contains(says), "{route}: {reasons:?}");
    }
    assert_eq!(reasons.len(), 5, "{reasons:?}");
    idle(&bridge).await;
    assert_eq!((stub.calls().len(), bridge.dead_letters().await), (2, 0));
}

#[tokio::test]
async fn a_result_that_is_too_large_to_keep_does_not_make_the_task_look_undone() {
    let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(400_000).collect();
    let stub = Stub::start(move |_, _| Reply::Json(200, json!(noise))).await;
    let config = tool("call", "POST", &stub.url, "idempotency_header = \"X-Key\"\nmax_response = \"1MiB\"") + ALLOW;
    let bridge = bridge(&config).await;
    send(&bridge, "call", json!({})).await;
    let record = show(&bridge, &ended(&bridge, "call").await);
    assert_eq!(
        (&record["state"], &record["result"], &record["result_omitted"]),
        (&json!("succeeded"), &Value::Null, &json!(true))
    );
    assert!(bridge.run(&["tasks", "show", record["id"].as_str().expect("an id")]).out.contains("too large to keep"));
}

#[tokio::test]
async fn a_tool_that_was_removed_while_its_task_waited_is_said_to_be_unknown() {
    let down = Arc::new(AtomicBool::new(true));
    let still = down.clone();
    let stub = Stub::start(move |_, _| if still.load(Ordering::SeqCst) { status(503) } else { status(200) }).await;
    let config = tool("call", "POST", &stub.url, "idempotency_header = \"X-Key\"\nattempts = 20") + ALLOW;
    let options = Options { config: Some(config.clone()), args: vec!["--visibility".into(), "1".into()] };
    let mut bridge = Bridge::start_with(options).await;
    bridge.add_source("hooks", "openclaw", SECRET);
    send(&bridge, "call", json!({})).await;
    assert_eq!(decided(&bridge, "call", 1).await[0], "retry");
    // Applied by the running bridge: a kill could fall into an attempt, whose outcome would then be unknown.
    bridge.write_config("");
    let line = ended(&bridge, "call").await;
    assert_eq!((&line["decision"], &line["code"]), (&json!("failed"), &json!("UNKNOWN_TOOL")));
    assert!(line["reason"].as_str().is_some_and(|text| text.contains("declare it again and retry the task")), "{line}");
    let before = stub.calls().len();
    // That is what helps.
    down.store(false, Ordering::SeqCst);
    bridge.write_config(&config);
    bridge.kill();
    bridge.restart().await;
    retry(&bridge, &line);
    assert_eq!(ended(&bridge, "call").await["decision"], "succeeded");
    assert_eq!((stub.calls().len(), keys(&stub.calls()).len()), (before + 1, 1));
}
