//! One trace from a webhook to each request that it led to, and what a failed attempt's line has of the answer.

use crate::support::work::{
    ALLOW, SECRET, attempts, bridge, ended, event_of, idle, retry, scripted, show, status, tool,
};
use crate::support::{Bridge, Call, Reply, Stub, eventually, openclaw_signature};
use crate::tool_commands::set_secret;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// Delivers an event of this type with these headers.
async fn deliver(bridge: &Bridge, event_type: &str, input: Value, headers: &[(&str, &str)]) {
    let body = json!({"event": event_type, "input": input}).to_string();
    let signature = openclaw_signature(SECRET, body.as_bytes());
    let signed = [("x-openclaw-signature", signature.as_str()), ("content-type", "application/json")];
    let (status, answer) = bridge.post("hooks", &[&signed, headers].concat(), body.as_bytes()).await;
    assert_eq!(status, 200, "{answer}");
}

/// Headers of a delivery, and the trace that they name.
type Row<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);

/// Trace, span and flags of a call's `traceparent`.
fn parts(call: &Call) -> (String, String, String) {
    let value = call.header("traceparent");
    let parts: Vec<&str> = value.split('-').collect();
    let ["00", trace, span, flags] = parts.as_slice() else { panic!("{}: {value:?}", call.path) };
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    assert_eq!((trace.len(), span.len(), flags.len(), is_hex(&value.replace('-', ""))), (32, 16, 2, true), "{value}");
    ((*trace).to_owned(), (*span).to_owned(), (*flags).to_owned())
}

fn traces(calls: &[Call]) -> Vec<String> {
    calls.iter().map(|call| parts(call).0).collect()
}

fn spans(calls: &[Call]) -> Vec<String> {
    calls.iter().map(|call| parts(call).1).collect()
}

/// The trace that a delivery's line names.
async fn accepted(bridge: &Bridge, count: usize) -> String {
    let lines = bridge.lines("webhook.accepted", count).await;
    lines[count - 1]["trace_id"].as_str().expect("a trace id").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_leads_from_a_webhook_through_retries_to_what_follows_from_its_tasks() {
    let stub = scripted(&[("/first", vec![status(503), status(422)])]).await;
    let config = tool("first", "POST", &format!("{}/first", stub.url), "idempotency_header = \"X-Key\"")
        + &tool("after", "POST", &format!("{}/after", stub.url), "idempotency_header = \"X-Key\"")
        + "[[routes]]\nname = \"chain\"\nsource = \"bridge\"\ntype = \"task.completed\"\nfilter = '.body.data.tool == \"first\"'\n\
           tool = \"after\"\ninput = '{n: 1}'\n"
        + ALLOW;
    let bridge = bridge(&config).await;
    deliver(&bridge, "first", json!({"n": 1}), &[("traceparent", &format!("00-{TRACE}-{SPAN}-01"))]).await;
    let failed = ended(&bridge, "first").await;
    // A person has it done again, and it stays in its trace.
    retry(&bridge, &failed);
    let done = ended(&bridge, "after").await;

    let (calls, after) = (stub.calls_of("/first"), stub.calls_of("/after"));
    assert_eq!((calls.len(), after.len()), (3, 1));
    let all = [calls.clone(), after.clone()].concat();
    assert_eq!(traces(&all), [TRACE; 4]);
    assert!(all.iter().all(|call| parts(call).2 == "01" && call.header("tracestate").is_empty()));
    let each: BTreeSet<String> = spans(&all).into_iter().collect();
    assert_eq!((each.len(), each.contains(SPAN)), (4, false), "{each:?}");
    // Each line says the step that its upstream was told.
    for (tool, calls) in [("first", &calls), ("after", &after)] {
        let lines = attempts(&bridge, tool);
        assert!(lines.iter().all(|line| line["trace_id"] == TRACE), "{lines:?}");
        let told: Vec<&str> = lines.iter().filter_map(|line| line["span_id"].as_str()).collect();
        assert_eq!(told, spans(calls), "{tool}");
    }
    assert_eq!(accepted(&bridge, 1).await, TRACE);

    // And so do the commands, of the event that came in and of the one that the bridge made.
    for line in [&failed, &done] {
        assert_eq!(show(&bridge, line)["trace_id"], TRACE);
        let (task, event) = (line["task"].as_str().expect("a task"), event_of(line));
        assert_eq!(bridge.run(&["events", "show", event, "--json"]).json()["trace_id"], TRACE);
        for (of, id) in [("tasks", task), ("events", event)] {
            let shown = bridge.run(&[of, "show", id]);
            assert!(shown.out.contains(&format!("trace     {TRACE}\n")), "{shown:?}");
        }
    }
    // A replay acts again, in the same trace.
    let replay = bridge.run(&["events", "replay", event_of(&failed), "--again"]);
    assert_eq!(replay.status, 0, "{replay:?}");
    eventually("the call of the replay", || {
        let calls = stub.calls_of("/first");
        async move { (calls.len() == 4).then_some(()) }
    })
    .await;
    assert_eq!(parts(&stub.calls_of("/first")[3]).0, TRACE);
    idle(&bridge).await;
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_requests_of_one_attempt_are_one_step() {
    let stub = Stub::start(|call, _| match call.path.split('?').next().unwrap_or_default() {
        "/list" => Reply::Json(200, json!({"items": [1], "next": (!call.path.contains("after")).then_some("b")})),
        "/job" => Reply::Json(202, json!({"job": "j"})),
        "/unsure" => Reply::Raw(Vec::new()),
        "/find" => Reply::Json(200, json!({"found": true})),
        _ => Reply::Json(200, json!({"state": "done"})),
    })
    .await;
    let pages = "pages = { kind = \"cursor\", param = \"after\", items = '.items', next = '.next' }";
    let config = tool("list", "GET", &format!("{}/list", stub.url), pages)
        + &tool("job", "POST", &format!("{}/job", stub.url), "")
        + &format!(
            "[tools.job.job]\nid = '.answer.job'\ntool = \"ask\"\nevery = \"1s\"\ndone = '.answer.state == \"done\"'\n\
             [tools.ask]\nmethod = \"GET\"\nurl = \"{}/ask/{{id}}\"\n",
            stub.url
        )
        + &tool("unsure", "POST", &format!("{}/unsure", stub.url), "effect = \"unsafe\"")
        + &format!(
            "[tools.unsure.verify]\ntool = \"find\"\ninput = '{{}}'\nsettle = \"1s\"\ndone = '.answer.found'\n\
             [tools.find]\nmethod = \"GET\"\nurl = \"{}/find\"\n",
            stub.url
        )
        + ALLOW;
    let bridge = bridge(&config).await;
    for (name, paths) in
        [("list", ["/list", "/list?after=b"]), ("job", ["/job", "/ask/j"]), ("unsure", ["/unsure", "/find"])]
    {
        let traceparent = format!("00-{TRACE}-{SPAN}-00");
        deliver(&bridge, name, json!({}), &[("traceparent", &traceparent)]).await;
        let line = ended(&bridge, name).await;
        let calls = paths.map(|path| stub.calls_of(path)).concat();
        assert_eq!(calls.len(), 2, "{name}");
        assert_eq!(traces(&calls), [TRACE; 2], "{name}");
        assert!(calls.iter().all(|call| parts(call).2 == "00"), "{name}");
        assert_eq!(spans(&calls)[0], spans(&calls)[1], "{name}");
        assert_eq!(line["span_id"], json!(spans(&calls)[1]), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_malformed_is_ignored_and_what_is_not_verified_is_not_read() {
    let stub = scripted(&[]).await;
    let key = "idempotency_header = \"X-Key\"";
    let config = tool("told", "POST", &format!("{}/told", stub.url), key)
        + &tool("quiet", "POST", &format!("{}/quiet", stub.url), "trace = false")
        + &tool("own", "POST", &format!("{}/own", stub.url), "headers = { traceparent = \"{mine}\" }")
        + ALLOW;
    let bridge = bridge(&config).await;
    let good = format!("00-{TRACE}-{SPAN}-01");
    let amazon = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let of_amazon = "5759e988bd862e3fe1be46a994272793";
    let (bad, zero) = (good.to_uppercase().replace("4BF", "4BG"), format!("00-{}-{SPAN}-01", "0".repeat(32)));
    let rows: [Row<'_>; 6] = [
        (&[("traceparent", &good), ("x-amzn-trace-id", amazon), ("tracestate", "vendor=private")], Some(TRACE)),
        (&[("traceparent", &bad), ("x-amzn-trace-id", amazon)], Some(of_amazon)),
        (&[("traceparent", &good), ("traceparent", &good), ("x-amzn-trace-id", amazon)], Some(of_amazon)),
        (&[("traceparent", &zero)], None),
        (&[("x-amzn-trace-id", "Root=1-2-3")], None),
        (&[], None),
    ];
    let mut seen = BTreeSet::new();
    for (n, (headers, expected)) in rows.into_iter().enumerate() {
        deliver(&bridge, "told", json!({"n": n}), headers).await;
        let trace = accepted(&bridge, n + 1).await;
        let calls = eventually("the call", || {
            let calls = stub.calls_of("/told");
            async move { (calls.len() == n + 1).then_some(calls) }
        })
        .await;
        assert_eq!(parts(&calls[n]).0, trace, "{headers:?}");
        match expected {
            Some(expected) => assert_eq!(trace, expected, "{headers:?}"),
            // One of its own, unlike any other.
            None => assert!(seen.insert(trace), "{headers:?}"),
        }
        assert!(calls[n].header("tracestate").is_empty());
    }
    // What a tool does not want, or sets itself, is not said; the lines have it all the same.
    for (name, expected) in [("quiet", ""), ("own", "theirs")] {
        deliver(&bridge, name, json!({"mine": "theirs"}), &[("traceparent", &good)]).await;
        let line = ended(&bridge, name).await;
        assert_eq!((&line["trace_id"], line["span_id"].as_str().map(str::len)), (&json!(TRACE), Some(16)), "{name}");
        assert_eq!(stub.calls_of(&format!("/{name}"))[0].header("traceparent"), expected, "{name}");
    }
    // Nothing of what a stranger says is in a line.
    let strange = "abcdefabcdefabcdefabcdefabcdefab";
    let headers = [("traceparent", format!("00-{strange}-{SPAN}-01")), ("x-openclaw-signature", "0".repeat(64))];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(bridge.post("hooks", &headers, b"{}").await.0, 401);
    bridge.lines("webhook.refused", 1).await;
    assert!(!format!("{:?}", bridge.journal()).contains(strange));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submitted_call_begins_a_trace_and_its_record_says_which() {
    let stub = scripted(&[]).await;
    let bridge = bridge(&(tool("call", "POST", &stub.url, "idempotency_header = \"X-Key\"") + ALLOW)).await;
    for key in ["a", "b"] {
        let answer = bridge.run(&["tasks", "submit", "call", "--key", key, "--input", "{}", "--wait"]);
        assert_eq!(answer.status, 0, "{answer:?}");
    }
    let calls = stub.calls();
    let lines = attempts(&bridge, "call");
    let shown: Vec<Value> = lines.iter().map(|line| show(&bridge, line)["trace_id"].clone()).collect();
    assert_eq!(json!(shown), json!(traces(&calls)));
    assert_ne!(shown[0], shown[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_attempts_line_has_the_answer_without_the_credential_and_no_other_line_has_one() {
    const KEY: &str = "sk_live_9f8e7d6c5b4a";
    const CARD: &str = "zqkvyx of the input";
    let stub = Stub::start(|call, before| {
        let sent = call.header("authorization");
        let escaped: String = sent.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
        // Where a cut at the line's bound would leave a part of it.
        let input = String::from_utf8_lossy(&call.body);
        let text =
            format!("\u{1b}[31m\n\"no\" {sent} {escaped} {input}\u{7}{}{sent}", "ä".repeat(450)) + &sent.repeat(300);
        Reply::of(if before == 2 { 200 } else { [503, 422][before.min(1)] }, "text/plain", &text)
    })
    .await;
    let config = tool(
        "echo",
        "POST",
        &stub.url,
        "auth = { secret = \"clawbridge/tools/echo\" }\nidempotency_header = \"X-Key\"",
    ) + ALLOW;
    let bridge = bridge(&config).await;
    set_secret(&bridge, "echo", KEY);
    deliver(&bridge, "echo", json!({"card": CARD}), &[]).await;
    let failed = ended(&bridge, "echo").await;
    retry(&bridge, &failed);
    let done = bridge.line("the end", |line| line["decision"] == "succeeded").await;
    let lines = attempts(&bridge, "echo");
    assert_eq!(lines.len(), 3);
    for line in &lines[..2] {
        let body = line["body"].as_str().unwrap_or_else(|| panic!("no body: {line}"));
        assert!(body.starts_with(" [31m\n\"no\" Bearer [redacted] "), "{body:?}");
        assert!(body.contains("{\"card\":\"[redacted]\"}"), "{body:?}");
        assert!(body.contains("ää") && (900..=1024).contains(&body.len()), "{}: {body:?}", body.len());
        // Not even the beginning of the credential, in either spelling.
        assert!(!body.contains("sk_") && !body.contains("\\u0073"), "{body:?}");
    }
    assert_eq!(done.get("body"), None);
    let journal = bridge.journal();
    let with_body: BTreeSet<&str> =
        journal.iter().filter(|line| line.get("body").is_some()).filter_map(|line| line["kind"].as_str()).collect();
    assert_eq!(with_body, BTreeSet::from(["task.attempt"]));
    let written = json!(journal).to_string();
    assert!(!written.contains(KEY) && !written.contains("zqkvyx"), "{written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_cannot_be_looked_through_is_in_no_line() {
    let stub = Stub::start(|call, _| {
        let sent = call.header("authorization");
        let wide: String = sent.chars().flat_map(|c| [c, '\0']).collect();
        let (coding, text) = match call.path.as_str() {
            "/coded" => ("gzip", sent),
            "/wide" => ("identity", wide.as_str()),
            _ => ("identity", sent),
        };
        let headers = vec![("content-type".into(), "text/plain".into()), ("content-encoding".into(), coding.into())];
        Reply::With(422, headers, text.to_owned())
    })
    .await;
    let names = ["plain", "coded", "wide", "short"];
    let config: String = names
        .map(|name| {
            let secret = if name == "short" { "short" } else { "long" };
            let auth = format!("auth = {{ secret = \"clawbridge/tools/{secret}\" }}");
            tool(name, "POST", &format!("{}/{name}", stub.url), &auth)
        })
        .concat();
    let bridge = bridge(&(config + ALLOW)).await;
    set_secret(&bridge, "long", "sk_live_9f8e7d6c5b4a");
    set_secret(&bridge, "short", "k3y!");
    for (name, expected) in names.into_iter().zip([json!("Bearer [redacted]"), Value::Null, Value::Null, Value::Null]) {
        deliver(&bridge, name, json!({}), &[]).await;
        let line = ended(&bridge, name).await;
        assert_eq!((&line["status"], &line["body"]), (&json!(422), &expected), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_repeats_the_address_for_its_answer_does_not_bring_it_into_a_line() {
    let stub = Stub::start(|call, _| Reply::of(422, "text/plain", &format!("cannot call {}", call.json()["to"]))).await;
    let config = tool("told", "POST", &stub.url, "effect = \"unsafe\"")
        + "[tools.told.job]\ncallback = \"to\"\ndone = 'true'\n"
        + ALLOW;
    let bridge = bridge(&config).await;
    deliver(&bridge, "told", json!({"n": 1}), &[]).await;
    let line = ended(&bridge, "told").await;
    let calls = stub.calls();
    let ticket = calls[0].json()["to"].as_str().and_then(|to| to.rsplit('/').next()).expect("an address").to_owned();
    let body = line["body"].as_str().unwrap_or_default();
    assert!(body.starts_with("cannot call \"http") && body.ends_with("/callbacks/[redacted]\""), "{body}");
    assert!(!format!("{:?}{}", bridge.journal(), show(&bridge, &line)).contains(&ticket));
}
