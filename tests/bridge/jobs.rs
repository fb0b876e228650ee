//! Jobs: work that an upstream takes at once and finishes later, asked for or told.

use crate::support::work::{
    ALLOW, attempts, bridge, decided, decisions, ended, idle, scripted, send, show, status, tool,
};
use crate::support::{Bridge, Reply, Stub, eventually};
use serde_json::{Value, json};

/// A tool whose upstream takes a job, and one that asks for it.
fn polled(stub: &Stub, name: &str, more: &str, job: &str) -> String {
    tool(name, "POST", &format!("{}/{name}", stub.url), more)
        + &format!(
            "[tools.{name}.job]\nid = '.answer.job'\ntool = \"{name}_status\"\nevery = \"1s\"\n{job}\n\
             done = '.answer.state == \"done\"'\nfailed = 'if .answer.state == \"failed\" then .answer.error else null end'\n\
             result = '.answer.url'\n\
             [tools.{name}_status]\nmethod = \"GET\"\nurl = \"{0}/{name}/{{id}}\"\nattempts = 1\n",
            stub.url
        )
}

/// Name, answers to the call, answers to the questions, decisions, result, words of the reason.
type Row = (&'static str, Vec<Reply>, Vec<Reply>, &'static [&'static str], Value, &'static str);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_asked_for_until_it_has_ended_and_the_call_is_made_once() {
    let taken = || vec![Reply::Json(202, json!({"job": "j 1"}))];
    let running = || Reply::Json(200, json!({"state": "running"}));
    let done = || Reply::Json(200, json!({"state": "done", "url": "https://files.example/1"}));
    let failed = || Reply::Json(200, json!({"state": "failed", "error": "disk full"}));
    let rows: Vec<Row> = vec![
        (
            "done",
            taken(),
            vec![running(), done()],
            &["waiting", "waiting", "succeeded"],
            json!("https://files.example/1"),
            "",
        ),
        // Whatever keeps the question from being answered says nothing about the job.
        (
            "hidden",
            taken(),
            vec![status(503), status(403), Reply::Raw(Vec::new()), done()],
            &["waiting", "waiting", "waiting", "waiting", "succeeded"],
            json!("https://files.example/1"),
            "",
        ),
        ("failing", taken(), vec![failed()], &["waiting", "failed"], Value::Null, "disk full"),
        // The answer is the result already.
        ("short", vec![Reply::Json(200, json!({"url": "u"}))], vec![], &["succeeded"], json!({"url": "u"}), ""),
        ("wrong", vec![status(422)], vec![], &["failed"], Value::Null, ""),
        (
            "odd",
            taken(),
            vec![Reply::Json(200, json!({"state": "done", "url": 7}))],
            &["waiting", "failed"],
            Value::Null,
            "output schema",
        ),
    ];
    let script: Vec<(String, Vec<Reply>)> = rows
        .iter()
        .flat_map(|(name, calls, looks, ..)| {
            [(format!("/{name}"), calls.clone()), (format!("/{name}/j%201"), looks.clone())]
        })
        .collect();
    let script: Vec<(&str, Vec<Reply>)> =
        script.iter().map(|(path, replies)| (path.as_str(), replies.clone())).collect();
    let stub = scripted(&script).await;
    let output = |name: &str| if name == "odd" { "output = { type = \"string\" }" } else { "" };
    let tools: Vec<String> = rows.iter().map(|(name, ..)| polled(&stub, name, output(name), "")).collect();
    let bridge = bridge(&(tools.concat() + ALLOW)).await;
    for (name, ..) in &rows {
        send(&bridge, name, json!({"n": 1})).await;
    }
    for (name, calls, looks, expected, result, words) in &rows {
        let line = ended(&bridge, name).await;
        let record = show(&bridge, &line);
        assert_eq!(decisions(&bridge, name), *expected, "{name}: {record}");
        assert_eq!(&record["result"], result, "{name}");
        assert!(record["error"]["message"].as_str().unwrap_or_default().contains(words), "{name}: {record}");
        let asked = (stub.calls_of(&format!("/{name}")).len(), stub.calls_of(&format!("/{name}/j%201")).len());
        assert_eq!(asked, (calls.len(), looks.len()), "{name}");
    }
    assert_eq!(show(&bridge, &ended(&bridge, "failing").await)["error"]["code"], "JOB_FAILED");
    idle(&bridge).await;
    assert_eq!(bridge.dead_letters().await, 0);
}

/// A tool that gives its upstream an address, in its body and in a header.
fn told(stub: &Stub, name: &str, job: &str) -> String {
    let more = "headers = { x-notify = \"{notify}\" }\ninput = { type = \"object\", properties = { n = {} }, additionalProperties = false }";
    tool(name, "POST", &format!("{}/{name}", stub.url), more)
        + &format!("[tools.{name}.job]\ncallback = \"notify\"\n{job}\n")
}

/// The path of the address that the stub was given with its call.
async fn address(bridge: &Bridge, stub: &Stub, name: &str) -> String {
    assert_eq!(decided(bridge, name, 1).await[0], "waiting");
    let calls = stub.calls_of(&format!("/{name}"));
    let [call] = calls.as_slice() else { panic!("{} calls", calls.len()) };
    assert_eq!(call.json()["notify"], call.header("x-notify"));
    let path = call.header("x-notify").strip_prefix(&bridge.public).expect("an address of the bridge");
    path.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_was_given_an_address_answers_there_once() {
    let taken = || vec![Reply::Json(202, json!({}))];
    let stub = scripted(&[("/told", taken()), ("/fails", taken()), ("/early", taken())]).await;
    let progress =
        "done = '.answer.state == \"done\"'\nfailed = '.answer.error'\nresult = '{url: .answer.url, n: .input.n}'";
    let config = [told(&stub, "told", progress), told(&stub, "fails", progress)].concat() + ALLOW;
    let mut bridge = bridge(&config).await;
    send(&bridge, "told", json!({"n": 7})).await;
    send(&bridge, "fails", json!({"n": 7})).await;
    let path = address(&bridge, &stub, "told").await;
    let failing = address(&bridge, &stub, "fails").await;
    let post = async |bridge: &Bridge, path: &str, body: Value| {
        bridge.request("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes()).await
    };
    // It is state on disk, so a restart changes nothing; the address was made before.
    bridge.kill();
    bridge.restart().await;
    let moved = |path: &str| path.to_owned();
    let ignored = async |count: usize| bridge.lines("answer.ignored", count).await;
    // Neither progress nor what cannot be read ends it.
    for (count, body) in [(1, json!({"state": "running"})), (2, json!("no object"))] {
        assert_eq!(post(&bridge, &moved(&path), body).await.status, 200);
        ignored(count).await;
    }
    assert_eq!(post(&bridge, &path, json!({"state": "done", "url": "u"})).await.status, 200);
    let line = ended(&bridge, "told").await;
    assert_eq!(
        (&line["decision"], &show(&bridge, &line)["result"]),
        (&json!("succeeded"), &json!({"url": "u", "n": 7}))
    );
    // What comes after that changes nothing.
    assert_eq!(post(&bridge, &path, json!({"error": "no"})).await.status, 200);
    ignored(3).await;
    assert_eq!(show(&bridge, &line)["state"], "succeeded");
    assert_eq!(post(&bridge, &failing, json!({"error": "no paper"})).await.status, 200);
    let line = ended(&bridge, "fails").await;
    assert_eq!((&line["decision"], &line["code"]), (&json!("failed"), &json!("JOB_FAILED")));
    assert_eq!((stub.calls_of("/told").len(), stub.calls_of("/fails").len()), (1, 1));
    // The address is a capability, so it is written nowhere.
    let written = format!("{:?}{}", bridge.journal(), show(&bridge, &line));
    assert!(!written.contains(path.rsplit('/').next().expect("a ticket")), "{written}");
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test]
async fn an_address_that_the_stack_did_not_make_is_refused_and_nothing_is_queued() {
    let stub = scripted(&[("/told", vec![Reply::Json(202, json!({}))])]).await;
    let bridge = bridge(&(told(&stub, "told", "") + ALLOW)).await;
    send(&bridge, "told", json!({})).await;
    let path = address(&bridge, &stub, "told").await;
    let (payload, tag) = path.rsplit('/').next().expect("a ticket").split_once('.').expect("two parts");
    let long = "x".repeat(300);
    for ticket in [
        format!("{payload}.{}", tag.chars().rev().collect::<String>()),
        format!("{payload}."),
        payload.to_owned(),
        format!(".{tag}"),
        "x".into(),
        long,
    ] {
        let got = bridge.request("POST", &format!("/callbacks/{ticket}"), &[], b"{}").await;
        assert_eq!((got.status, &got.body["error"]["code"]), (404, &json!("UNKNOWN_CALLBACK")), "{ticket}: {got:?}");
    }
    for method in ["GET", "PUT"] {
        assert_eq!(bridge.request(method, &path, &[], b"{}").await.status, 404, "{method}");
    }
    let large = vec![b'x'; 512 * 1024 + 1];
    assert_eq!(bridge.request("POST", &path, &[], &large).await.status, 413);
    let sources = bridge.run(&["source", "list", "--json"]).json();
    assert_eq!(sources.as_array().map(Vec::len), Some(1), "the key is no source: {sources}");
    // The good one still counts.
    assert_eq!(bridge.request("POST", &path, &[], b"{\"ok\":1}").await.status, 200);
    assert_eq!(ended(&bridge, "told").await["decision"], "succeeded");
    eventually("the one answer", || async { (attempts(&bridge, "told").len() == 2).then_some(()) }).await;
    assert_eq!(bridge.lines("answer.accepted", 1).await.len(), 1);
}
