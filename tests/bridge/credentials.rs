//! The secrets of tools: how they are sent, what happens when they are missing or old, and that they stay where they are.

use crate::support::work::{ALLOW, attempts, bridge, decisions, ended, send, show, tool};
use crate::support::{Call, Reply, Stub, eventually, hmac_sha256};
use crate::tool_commands::{call, set_secret};
use base64::Engine as _;
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The declaration of a tool's secret.
fn auth(secret: &str, more: &str) -> String {
    format!("auth = {{ secret = \"clawbridge/tools/{secret}\"{more} }}\nidempotency_header = \"X-Key\"")
}

#[tokio::test]
async fn a_tools_secret_is_sent_as_the_tool_declares() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({}))).await;
    let config = tool("bearer", "POST", &stub.url, &auth("crm", ""))
        + &tool("named", "POST", &stub.url, &auth("shop", ", header = \"X-Api-Key\""))
        + &tool("prefixed", "POST", &stub.url, &auth("crm", ", prefix = \"Token token=\""))
        + &tool("basic", "POST", &stub.url, &auth("pair", ", basic = true"))
        + &tool("user", "POST", &stub.url, &auth("crm", ", basic = true, user = \"me@a.example/token\""))
        + ALLOW;
    let bridge = bridge(&config).await;
    set_secret(&bridge, "crm", "crm secret\n");
    set_secret(&bridge, "shop", "shop_secret");
    set_secret(&bridge, "pair", "Aladdin:open sesame");
    let rows = [
        // RFC 7617, section 2.
        ("basic", "authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ("user", "authorization", "Basic bWVAYS5leGFtcGxlL3Rva2VuOmNybSBzZWNyZXQ="),
        ("bearer", "authorization", "Bearer crm secret"),
        ("named", "x-api-key", "shop_secret"),
        ("prefixed", "authorization", "Token token=crm secret"),
    ];
    for (name, header, value) in rows {
        send(&bridge, name, json!({})).await;
        ended(&bridge, name).await;
        let calls = stub.calls();
        let call = calls.last().expect("a call");
        assert_eq!(call.header(header), value, "{name}");
        assert!(header == "authorization" || call.header("authorization").is_empty());
    }
}

#[tokio::test]
async fn a_secret_that_is_missing_or_cannot_be_sent_says_what_to_do_and_is_used_once_it_is_there() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({}))).await;
    let config =
        tool("lost", "POST", &stub.url, &auth("crm", "")) + &tool("odd", "POST", &stub.url, &auth("odd", "")) + ALLOW;
    let bridge = bridge(&config).await;
    set_secret(&bridge, "odd", "two\nlines of it");
    let rows = [("lost", "`clawbridge secret set clawbridge/tools/crm` makes it"), ("odd", "set it again")];
    for (name, says) in rows {
        send(&bridge, name, json!({})).await;
        let line = ended(&bridge, name).await;
        let record = show(&bridge, &line);
        let error = &record["error"];
        assert_eq!(
            (&record["state"], &error["code"], &error["class"], &error["may_have_acted"]),
            (&json!("failed"), &json!("CREDENTIAL_UNAVAILABLE"), &json!("auth"), &json!(false)),
            "{record}"
        );
        assert!(error["message"].as_str().is_some_and(|text| text.contains(says)), "{error}");
        assert!(!format!("{record}{line}").contains("lines of it"), "{record}");
    }
    assert_eq!(stub.connections(), 0);
    set_secret(&bridge, "crm", "there now");
    let id = ended(&bridge, "lost").await["task"].as_str().expect("a task").to_owned();
    // That there is none may be remembered for a second.
    eventually("the task succeeds", || {
        let answer = bridge.run(&["tasks", "retry", &id, "--json"]);
        let done = answer.status == 1 && answer.error_code() == "NOT_RETRYABLE" && answer.err.contains("is succeeded");
        async move { done.then_some(()) }
    })
    .await;
    assert_eq!(stub.calls().len(), 1);
    assert_eq!(stub.calls()[0].header("authorization"), "Bearer there now");
}

#[tokio::test]
async fn a_rotated_secret_is_read_again_when_the_old_one_is_refused_and_tried_once() {
    let accepted = Arc::new(Mutex::new("Bearer first".to_owned()));
    let wanted = accepted.clone();
    let stub = Stub::start(move |call, _| {
        let known = *wanted.lock().expect("wanted") == call.header("authorization");
        Reply::Json(if known { 200 } else { 401 }, json!({}))
    })
    .await;
    let config = tool("call", "POST", &stub.url, &auth("crm", "")) + ALLOW;
    let bridge = bridge(&config).await;
    set_secret(&bridge, "crm", "first");
    send(&bridge, "call", json!(1)).await;
    assert_eq!(ended(&bridge, "call").await["decision"], "succeeded");
    // A value younger than a second is not read again.
    let read_at = stub.calls()[0].at;
    eventually("the value is a second old", || async move {
        (read_at.elapsed() > Duration::from_millis(1_100)).then_some(())
    })
    .await;

    "Bearer second".clone_into(&mut accepted.lock().expect("accepted"));
    set_secret(&bridge, "crm", "second");
    send(&bridge, "call", json!(2)).await;
    eventually("the second task ends", || async { (attempts(&bridge, "call").len() == 2).then_some(()) }).await;
    assert_eq!(decisions(&bridge, "call"), ["succeeded", "succeeded"]);
    let calls = stub.calls();
    let sent: Vec<&str> = calls.iter().map(|call| call.header("authorization")).collect();
    assert_eq!(sent, ["Bearer first", "Bearer first", "Bearer second"]);
    assert_eq!(calls[1].header("x-key"), calls[2].header("x-key"));

    // One that is refused and has not changed is not tried twice.
    "Bearer third".clone_into(&mut accepted.lock().expect("accepted"));
    let read_at = stub.calls()[2].at;
    eventually("the value is a second old", || async move {
        (read_at.elapsed() > Duration::from_millis(1_100)).then_some(())
    })
    .await;
    send(&bridge, "call", json!(3)).await;
    eventually("the third task ends", || async { (attempts(&bridge, "call").len() == 3).then_some(()) }).await;
    let line = &attempts(&bridge, "call")[2];
    assert_eq!(
        (&line["decision"], &line["code"], &line["status"]),
        (&json!("failed"), &json!("AUTHENTICATION_FAILED"), &json!(401))
    );
    assert_eq!(stub.calls().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_try_with_a_newer_secret_stays_within_the_tools_time() {
    let stub = Stub::start(move |call, before| match (before, call.header("authorization")) {
        (0, _) => Reply::Json(200, json!({})),
        (_, "Bearer first") => Reply::Late(Duration::from_millis(2_500), Box::new(Reply::Json(401, json!({})))),
        _ => Reply::Late(Duration::from_millis(2_500), Box::new(Reply::Json(200, json!({})))),
    })
    .await;
    let config = tool("call", "POST", &stub.url, &(auth("crm", "") + "\ntimeout = \"4s\"\nattempts = 20")) + ALLOW;
    let bridge = bridge(&config).await;
    set_secret(&bridge, "crm", "first");
    send(&bridge, "call", json!(1)).await;
    ended(&bridge, "call").await;
    set_secret(&bridge, "crm", "second");
    send(&bridge, "call", json!(2)).await;
    eventually("the second task ends", || async {
        (decisions(&bridge, "call").iter().filter(|decision| *decision == "succeeded").count() == 2).then_some(())
    })
    .await;
    let lines = attempts(&bridge, "call");
    assert_eq!((&lines[1]["decision"], &lines[1]["code"]), (&json!("retry"), &json!("TIMEOUT")), "{lines:?}");
    let calls = stub.calls();
    assert_eq!((calls[1].header("authorization"), calls[2].header("authorization")), ("Bearer first", "Bearer second"));
}

#[tokio::test]
async fn a_credential_that_an_api_repeats_is_in_no_record_no_line_and_no_event() {
    const MARKER: &str = "sk/marker+4242\"quoted";
    let escaped = |call: &Call| call.header("authorization").replace('"', "\\\"").replace('/', "\\/");
    let stub = Stub::start(move |call, _| match call.path.as_str() {
        "/told" => Reply::Json(200, json!({})),
        "/json" => Reply::Json(200, json!({"sent": call.header("authorization"), call.header("authorization"): [1]})),
        "/escaped" => Reply::of(200, "application/json", &format!("{{\"sent\":\"{}\"}}", escaped(call))),
        "/text" => Reply::of(200, "text/plain", call.header("authorization")),
        "/refused" => Reply::of(422, "application/json", &format!("{{\"bad key\":\"{}\"}}", escaped(call))),
        "/denied" => Reply::With(403, vec![], format!("no: {}", call.header("authorization"))),
        "/html" => Reply::of(200, "text/html", &format!("{}{}", "<p>".repeat(680), call.header("authorization"))),
        _ => Reply::With(302, vec![("location".into(), format!("/?{}", call.header("authorization")))], String::new()),
    })
    .await;
    let names = ["json", "escaped", "text", "refused", "denied", "html", "moved"];
    let mut config = ALLOW.to_owned();
    for name in names {
        config.push_str(&tool(name, "POST", &format!("{}/{name}", stub.url), &auth("crm", "")));
    }
    config
        .push_str(&format!("[tools.told]\nmethod = \"POST\"\nurl = \"{}/told\"\neffect = \"idempotent\"\n", stub.url));
    for event in ["completed", "failed"] {
        config.push_str(&format!(
            "[[routes]]\nname = \"told-{event}\"\nsource = \"bridge\"\ntype = \"task.{event}\"\ntool = \"told\"\nfilter = '.body.data.tool != \"told\"'\n"
        ));
    }
    let bridge = bridge(&config).await;
    set_secret(&bridge, "crm", MARKER);
    for name in names {
        send(&bridge, name, json!({})).await;
    }
    let mut shown = String::new();
    for name in names {
        let line = ended(&bridge, name).await;
        let record = show(&bridge, &line);
        assert!(record.to_string().contains("Bearer ["), "{name}: {record}");
        shown.push_str(&record.to_string());
        shown.push_str(&bridge.run(&["tasks", "show", line["task"].as_str().expect("a task")]).out);
    }
    eventually("all are told of", || async { (stub.calls_of("/told").len() == names.len()).then_some(()) }).await;
    for event in bridge.run(&["events", "list", "--json", "--limit", "100"]).json().as_array().expect("events") {
        shown.push_str(&bridge.run(&["events", "show", event["id"].as_str().expect("an id"), "--json"]).out);
    }
    assert!(shown.contains("task.completed") && shown.contains("task.failed"), "{shown}");
    shown.push_str(&format!("{:?}{}", bridge.journal(), bridge.complaints()));
    for call in stub.calls_of("/told") {
        shown.push_str(&String::from_utf8_lossy(&call.body));
    }
    assert!(stub.calls_of("/json")[0].header("authorization").contains(MARKER));
    for part in ["4242", "quoted", "sk/", "sk\\/"] {
        assert!(!shown.contains(part), "{part} is in {shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_in_the_query_is_sent_encoded_and_in_the_place_of_what_the_input_says() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({}))).await;
    let config = tool("look", "GET", &format!("{}/{{path}}?x=1", stub.url), &auth("maps", ", query = \"key\"")) + ALLOW;
    let bridge = bridge(&config).await;
    set_secret(&bridge, "maps", "a/b+c d&e=f");
    let called = call(&bridge, "look", &json!({"path": "a?key=mine&"}));
    assert_eq!(called["status"], 200, "{called}");
    assert_eq!(stub.calls()[0].path, "/a%3Fkey%3Dmine%26?x=1&key=a%2Fb%2Bc%20d%26e%3Df");
}

/// The signature that `call` must have: over its own bytes.
fn expected(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    hmac_sha256(secret, &parts.concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_signed_as_the_tool_declares_over_what_is_sent() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({}))).await;
    let url = format!("{}/v1/{{id}}?a=b", stub.url);
    let whole = "[tools.whole.sign]\nsecret = \"clawbridge/tools/key\"\nover = \"{method}|{host}|{path}|{query}|{timestamp}|{body}\"\n\
        header = \"X-Sig\"\nprefix = \"t={timestamp},v1=\"\ntimestamp_unit = \"ms\"\n[tools.whole.auth]\n\
        secret = \"clawbridge/tools/crm\"\nheader = \"X-Key-Id\"";
    let webhooks = "[tools.webhooks.sign]\nsecret = \"clawbridge/tools/whsec\"\nscheme = \"standard-webhooks\"";
    let empty =
        "[tools.empty.sign]\nsecret = \"clawbridge/tools/key\"\nheader = \"X-Sig\"\nover = \"{method} {path}{body}\"";
    let config = tool("whole", "POST", &url, whole)
        + &tool("webhooks", "POST", &stub.url, webhooks)
        + &tool("empty", "GET", &stub.url, empty)
        + ALLOW;
    let bridge = bridge(&config).await;
    set_secret(&bridge, "key", "the key");
    set_secret(&bridge, "crm", "id-of-the-key");
    // `the key` in Base64.
    set_secret(&bridge, "whsec", "whsec_dGhlIGtleQ==");
    let input = json!({"id": "a b", "amount": 1.50});
    for name in ["whole", "webhooks", "empty"] {
        send(&bridge, name, input.clone()).await;
        let line = ended(&bridge, name).await;
        assert_eq!(line["decision"], "succeeded", "{line}");
        let calls = stub.calls();
        let call = calls.last().expect("a call");
        match name {
            "whole" => {
                let (timestamp, signature) = call.header("x-sig").split_once(",v1=").expect("two parts");
                let timestamp = timestamp.trim_start_matches("t=");
                let host = stub.url.trim_start_matches("http://");
                let head = format!("POST|{host}|/v1/a%20b|a=b|{timestamp}|");
                assert_eq!(signature, hex::encode(expected(b"the key", &[head.as_bytes(), &call.body])), "{call:?}");
                assert_eq!((timestamp.len(), call.header("x-key-id")), (13, "id-of-the-key"));
            }
            "webhooks" => {
                let head = format!("{}.{}.", call.header("webhook-id"), call.header("webhook-timestamp"));
                let signature = expected(b"the key", &[head.as_bytes(), &call.body]);
                let signature = base64::engine::general_purpose::STANDARD.encode(signature);
                assert_eq!(call.header("webhook-signature"), format!("v1,{signature}"), "{call:?}");
                assert_eq!(call.header("webhook-id"), line["task"]);
            }
            _ => assert_eq!(call.header("x-sig"), hex::encode(expected(b"the key", &[b"GET /"])), "{call:?}"),
        }
    }
    set_secret(&bridge, "whsec", "whsec_no base64");
    let called = call(&bridge, "webhooks", &input);
    assert_eq!(called["error"]["code"], "CREDENTIAL_UNAVAILABLE", "{called}");
    assert!(
        called["error"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("encoding whsec") && !text.contains("base64"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_form_of_a_credential_that_an_api_repeats_is_kept() {
    // The ends of the values are letters that no hexadecimal id and no number has.
    const QUERY: &str = "query/key+xyqzwu";
    const PASSWORD: &str = "pass word&uwzqvy";
    const KEY: &str = "signing=keyywvqxz";
    // All that was sent, in each place of an answer that is kept.
    let stub = Stub::start(move |call, _| {
        let sent = format!("{} {} {}", call.path, call.header("authorization"), call.header("x-sig"));
        let own = if call.path.contains("?key=") { [QUERY, KEY] } else { [PASSWORD, "me:pass word&uwzqvy"] };
        match call.path.split('?').next().unwrap_or_default() {
            "/result" => Reply::Json(
                200,
                json!({"url": call.path, "auth": call.header("authorization"), "sig": call.header("x-sig"),
                "decoded": own}),
            ),
            "/headers" => Reply::With(200, vec![("x-echo".into(), sent)], "{}".into()),
            "/refused" => Reply::With(422, vec![("x-request-id".into(), own[0].replace(' ', "+"))], sent),
            "/html" => {
                Reply::of(200, "text/html", &format!("<a href=\"{}\">{sent}</a>", call.path.replace('&', "&amp;")))
            }
            "/cut" => Reply::of(200, "text/html", &format!("{}{sent}", "-".repeat(2_040 - 30))),
            _ => Reply::With(
                302,
                vec![("location".into(), format!("{}&back={}", call.path, call.path.replace('%', "%25")))],
                sent,
            ),
        }
    })
    .await;
    let names = ["result", "headers", "refused", "html", "cut", "moved"];
    let mut config = ALLOW.to_owned();
    for name in names {
        let sign = format!("[tools.{name}_query.sign]\nsecret = \"clawbridge/tools/key\"\nheader = \"X-Sig\"");
        let query = format!("auth = {{ secret = \"clawbridge/tools/query\", query = \"key\" }}\nresult = '.'\n{sign}");
        let basic = "auth = { secret = \"clawbridge/tools/password\", basic = true, user = \"me\" }\nresult = '.'";
        config.push_str(&tool(&format!("{name}_query"), "POST", &format!("{}/{name}", stub.url), &query));
        config.push_str(&tool(&format!("{name}_basic"), "POST", &format!("{}/{name}", stub.url), basic));
    }
    let bridge = bridge(&config).await;
    for (name, value) in [("query", QUERY), ("password", PASSWORD), ("key", KEY)] {
        set_secret(&bridge, name, value);
    }
    let mut shown = String::new();
    for name in names {
        for kind in ["query", "basic"] {
            let name = format!("{name}_{kind}");
            send(&bridge, &name, json!({})).await;
            let line = ended(&bridge, &name).await;
            shown.push_str(&show(&bridge, &line).to_string());
            shown.push_str(&bridge.run(&["tools", "call", &name, "--yes"]).out);
            shown.push_str(&format!("{:?}", bridge.run(&["tools", "call", &name, "--yes", "--json"])));
        }
    }
    shown.push_str(&format!("{:?}{}", bridge.journal(), bridge.complaints()));
    let mut secrets = vec!["xyqzwu".to_owned(), "uwzqvy".to_owned(), "ywvqxz".to_owned()];
    for call in stub.calls() {
        secrets.extend(
            call.header("authorization")
                .strip_prefix("Basic ")
                .map(|encoded| encoded[4..].trim_end_matches('=').to_owned()),
        );
        secrets.extend((!call.header("x-sig").is_empty()).then(|| call.header("x-sig")[..12].to_owned()));
    }
    assert!(shown.contains("[redacted]") && secrets.len() > 30, "{shown}");
    for secret in secrets {
        assert!(!shown.contains(&secret), "{secret} is in {shown}");
    }
}
