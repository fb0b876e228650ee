//! `--record` and `--replay`: what upstreams answered, once for real and from then on from files.

use crate::support::work::{ALLOW, SECRET, decisions, ended, send, show, tool};
use crate::support::{Answer, Bridge, Call, Options, Reply, Stub, eventually, run};
use crate::tool_commands::{call, set_secret};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::runtime::Runtime;

async fn start(config: &str, how: &str, dir: &Path, more: &[&str]) -> Bridge {
    let args = [how, dir.to_str().expect("a path")].iter().chain(more).map(|arg| (*arg).to_owned()).collect();
    let bridge = Bridge::start_with(Options { config: Some(config.to_owned()), args }).await;
    bridge.add_source("hooks", "openclaw", SECRET);
    bridge
}

/// The exchanges in a directory, by their files' names.
fn recorded(dir: &Path) -> BTreeMap<String, Value> {
    let files = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    let exchange = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a file");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    files.map(exchange).collect()
}

/// An upstream that can go away.
struct Mortal {
    stub: Stub,
    runtime: Runtime,
}

impl Mortal {
    async fn start(reply: impl Fn(&Call, usize) -> Reply + Send + Sync + 'static) -> Mortal {
        let runtime = Runtime::new().expect("a runtime");
        let stub = runtime.spawn(Stub::start(reply)).await.expect("a stub");
        Mortal { stub, runtime }
    }

    /// Ends when nothing listens there any more.
    async fn die(self) {
        self.runtime.shutdown_background();
        let address = self.stub.url.trim_start_matches("http://").to_owned();
        eventually("nobody listens", || async { tokio::net::TcpStream::connect(&address).await.err() }).await;
    }
}

fn answer(call: &Call, before: usize) -> Reply {
    let headers = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    match call.path.as_str() {
        "/ok" => {
            let headers = headers(&[
                ("x-request-id", "req-7"),
                ("x-ratelimit-remaining", "41"),
                ("x-total", "1"),
                ("x-total", "2"),
            ]);
            Reply::With(200, headers, "{ \"b\": 1.50,\n \"a\": \"é\", \"n\": 12345678901234567890 }".into())
        }
        "/list?page=1" => Reply::Json(200, json!([1, 2])),
        "/list?page=2" => Reply::Json(200, json!([3])),
        "/list?page=3" => Reply::Json(200, json!([])),
        "/gone" => Reply::of(404, "text/plain", "no such thing"),
        "/conflict" => Reply::of(409, "application/json", "{ \"why\":  \"it is there\" }"),
        "/text" => Reply::of(200, "text/plain", "gr\u{fc}n"),
        "/html" => Reply::of(200, "text/html", "<html>"),
        "/bytes" => Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\xff\xfe".to_vec()),
        "/large" => Reply::Json(200, json!("x".repeat(5_000))),
        "/moved" => Reply::With(302, headers(&[("location", "https://elsewhere.example/")]), String::new()),
        "/chunked" => {
            Reply::Raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\n".to_vec())
        }
        "/half" => Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":".to_vec()),
        "/silent" => Reply::Silence,
        "/empty" => Reply::With(204, Vec::new(), String::new()),
        "/busy" if before == 0 => Reply::With(429, headers(&[("retry-after", "1")]), String::new()),
        _ => Reply::Json(201, json!({"before": before})),
    }
}

/// What a call came to, without what a clock or a spelling makes of it.
fn came_to(mut document: Value) -> Value {
    for name in ["ms", "sent_bytes", "received_bytes"] {
        document.as_object_mut().expect("an object").remove(name);
    }
    document
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_gives_the_same_results_when_the_upstream_is_gone() {
    let upstream = Mortal::start(answer).await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let url = |path: &str| format!("{}/{path}", upstream.stub.url);
    let plain = ["ok", "gone", "conflict", "text", "html", "bytes", "moved", "chunked", "half", "silent", "empty"];
    let mut config: String =
        plain.iter().map(|name| tool(name, "PUT", &url(name), "timeout = \"1s\"\nattempts = 1")).collect();
    config += &tool("list", "GET", &url("list"), "pages = { kind = \"page\", param = \"page\", start = 1 }");
    config += &tool("large", "GET", &url("large"), "max_response = \"1KiB\"");
    config += &tool("seen", "GET", &url("ok"), "result = '{h: (.headers | del(.date)), s: .status}'");
    config += &tool("head", "HEAD", &url("ok"), "result = '.headers[\"content-length\"]'");
    config += &tool("down", "PUT", &format!("http://{dead}/"), "");
    config += &tool("private", "GET", "https://10.0.0.1/", "");
    let config = config + ALLOW;
    let tools = [&plain[..], &["list", "large", "seen", "head", "down", "private"]].concat();
    let files = TempDir::new().expect("a directory");
    let dir = files.path().join("made/if/missing");

    let real = Bridge::start(&config).await;
    let directly: Vec<Value> = tools.iter().map(|name| came_to(call(&real, name, &json!({"n": 1.0})))).collect();
    let recording = start(&config, "--record", &dir, &[]).await;
    let live: Vec<Value> = tools.iter().map(|name| came_to(call(&recording, name, &json!({"n": 1.0})))).collect();
    for (live, directly) in live.iter().zip(&directly) {
        assert_eq!(live, directly, "a recorder changes nothing");
    }
    // A file each, but for the address that may not be called; the recorder waits for the silent one as long as the call did.
    eventually("all is recorded", || async { (recorded(&dir).len() == tools.len() + 1).then_some(()) }).await;
    let (bound_for, codes): (Vec<&str>, Vec<&Value>) =
        tools.iter().zip(&live).map(|(name, live)| (*name, &live["error"]["code"])).unzip();
    assert!(
        codes.contains(&&json!("TIMEOUT")) && codes.contains(&&json!("UNEXPECTED_RESPONSE")),
        "{bound_for:?} {codes:?}"
    );
    drop(recording);
    upstream.die().await;

    let replaying = start(&config, "--replay", &dir, &[]).await;
    for (name, live) in tools.iter().zip(&live) {
        assert_eq!(&came_to(call(&replaying, name, &json!({"n": 1}))), live, "{name}");
    }
    // And again: the last exchange of its kind is repeated.
    assert_eq!(
        came_to(call(&replaying, "list", &json!({"n": 1}))),
        live[tools.iter().position(|name| *name == "list").expect("list")]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_are_recorded_in_their_order_and_replayed_in_it() {
    let upstream = Mortal::start(answer).await;
    let more = "attempts = 3\nidempotency_header = \"X-Key\"\nsign = { secret = \"clawbridge/tools/key\", scheme = \"standard-webhooks\" }";
    let config = tool("busy", "POST", &format!("{}/busy", upstream.stub.url), more) + ALLOW;
    let files = TempDir::new().expect("a directory");
    let bridge = start(&config, "--record", files.path(), &[]).await;
    set_secret(&bridge, "key", "whsec_c2VjcmV0LXNpZ25pbmcta2V5");
    send(&bridge, "busy", json!({"amount": 1099})).await;
    let record = show(&bridge, &ended(&bridge, "busy").await);
    assert_eq!(
        (decisions(&bridge, "busy"), &record["result"]["before"]),
        (vec!["retry".to_owned(), "succeeded".to_owned()], &json!(1))
    );
    drop(bridge);
    upstream.die().await;

    let exchanges = recorded(files.path());
    let names: Vec<&String> = exchanges.keys().collect();
    assert_eq!(names, ["0001-busy.json", "0002-busy.json"]);
    let first = &exchanges["0001-busy.json"];
    assert_eq!((&first["tool"], &first["request"]["method"]), (&json!("busy"), &json!("POST")));
    assert_eq!(first["request"]["body"], json!({"json": {"amount": 1099}}));
    assert_eq!((&first["request"]["headers"]["x-key"], &first["response"]["status"]), (&record["id"], &json!(429)));
    assert_eq!(first["response"]["headers"], json!({"content-length": "0", "retry-after": "1"}));
    assert!(first["at"].as_str().is_some_and(|at| at.ends_with('Z')) && first["response"]["ms"].is_u64(), "{first}");

    // Another task has another key, another time and another signature, and here no secret to sign with: none of that is compared.
    let bridge = start(&config, "--replay", files.path(), &["--replay-strict"]).await;
    send(&bridge, "busy", json!({"amount": 1099.0})).await;
    let replayed = show(&bridge, &ended(&bridge, "busy").await);
    assert_eq!((decisions(&bridge, "busy").len(), &replayed["result"]), (2, &record["result"]));
    assert_ne!(replayed["id"], record["id"]);
    let used = call(&bridge, "busy", &json!({"amount": 1099}));
    let says = "all 2 exchanges of this request have been replayed; the last was 0002-busy.json";
    assert_eq!((&used["error"]["code"], &used["status"]), (&json!("UNEXPECTED_RESPONSE"), &json!(501)));
    assert!(used["error"]["evidence"].as_str().is_some_and(|text| text.contains(says)), "{used}");
    let other = call(&bridge, "busy", &json!({"amount": 1100}));
    let says = "the nearest is 0001-busy.json, which differs in body at /amount: 1099 was recorded, 1100 is asked";
    assert!(other["error"]["evidence"].as_str().is_some_and(|text| text.contains(says)), "{other}");
    // A log has no place for what a body holds.
    let is_note =
        |line: &Value| line["text"].as_str().is_some_and(|text| text.ends_with("which differs in body at /amount"));
    bridge.line("it is said", is_note).await;
}

/// An upstream that tells all that it was told, in every spelling that comes to its mind.
fn gossip(call: &Call, _: usize) -> Reply {
    if call.path.starts_with("/quiet") {
        return Reply::Json(200, json!({"email": "ada@a.example"}));
    }
    let told = format!("{} {:?} {}", call.path, call.headers, String::from_utf8_lossy(&call.body));
    let mut headers = vec![("set-cookie".to_owned(), "session=cookie-secret-5".to_owned())];
    headers.extend(call.headers.iter().map(|(name, value)| (format!("x-was-{name}"), value.clone())));
    headers.push(("x-path".to_owned(), call.path.clone()));
    if call.path.starts_with("/fails") {
        return Reply::With(400, headers, told);
    }
    headers.push(("content-type".to_owned(), "application/json".to_owned()));
    Reply::With(200, headers, json!({"told": told, "email": "ada@a.example"}).to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_reaches_a_file() {
    let upstream = Stub::start(gossip).await;
    let sign = |name: &str, prefix: &str| {
        format!(
            "[tools.{name}.sign]\nsecret = \"clawbridge/tools/key\"\nheader = \"X-Sig\"\nprefix = \"{prefix}\"\ntimestamp_header = \"X-Time\"\nover = \"{{timestamp}}{{body}}\"\n"
        )
    };
    let auth = |more: &str| format!("auth = {{ secret = \"clawbridge/tools/crm\"{more} }}\n");
    let both = |name: &str| auth("") + &sign(name, "v1=");
    let rows = [
        ("bearer", "/a", auth("")),
        ("header", "/a", auth(", header = \"X-Api-Key\", prefix = \"Key \"")),
        ("query", "/a?x=1", auth(", query = \"api_key\"")),
        ("basic", "/a", auth(", basic = true, user = \"me\"")),
        ("pair", "/a", "auth = { secret = \"clawbridge/tools/pair\", basic = true }\n".to_owned()),
        ("signed", "/a", both("signed")),
        ("fails", "/fails", both("fails")),
        // Too short to be looked for in a text, so only where it stands counts.
        ("short_header", "/quiet", auth(", header = \"X-Api-Key\"").replace("crm", "short")),
        ("short_query", "/quiet", auth(", query = \"api_key\"").replace("crm", "short")),
        ("fails_query", "/fails", auth(", query = \"api_key\"")),
    ];
    let config: String =
        rows.iter().map(|(name, path, more)| tool(name, "POST", &format!("{}{path}", upstream.url), more)).collect();
    let config = config + ALLOW;
    let files = TempDir::new().expect("a directory");
    let redact = "walk(if type == \"object\" and has(\"email\") then .email = \"-\" else . end)";
    let bridge = start(&config, "--record", files.path(), &["--redact", redact]).await;
    let (crm, pair, key) = ("crm/secret 1&2", "alice:pair-secret-3", "signing-key-4");
    set_secret(&bridge, "crm", crm);
    set_secret(&bridge, "pair", pair);
    set_secret(&bridge, "key", key);
    set_secret(&bridge, "short", "q#7Z");
    for (name, _, _) in &rows {
        let own = match *name {
            "pair" => pair,
            "short_header" | "short_query" => "nothing",
            _ => crm,
        };
        let input = json!({"note": format!("of {own}")});
        let called = call(&bridge, name, &input);
        let is_fine = called["result"]["email"] == "ada@a.example" || name.starts_with("fails");
        assert!(is_fine, "what is kept is another thing than what is answered: {called}");
    }
    let exchanges = recorded(files.path());
    assert_eq!(exchanges.len(), rows.len());
    let text: String = std::fs::read_dir(files.path())
        .expect("a directory")
        .map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).expect("a file"))
        .collect();
    let calls = upstream.calls();
    let signatures = calls.iter().filter_map(|call| call.header("x-sig").strip_prefix("v1=")).collect::<Vec<_>>();
    assert_eq!(signatures.len(), 2);
    let sent: Vec<&str> = calls
        .iter()
        .map(|call| call.header("authorization").rsplit(' ').next().unwrap_or_default())
        .filter(|sent| !sent.is_empty())
        .collect();
    assert!(sent.len() >= 5 && calls.iter().any(|call| call.path.contains("crm%2Fsecret%201%262")), "{calls:?}");
    let planted = [
        "q#7Z",
        "q%237Z",
        crm,
        "crm%2Fsecret",
        "crm/secret",
        pair,
        "pair-secret",
        key,
        "cookie-secret",
        "ada@a.example",
    ];
    for secret in planted.iter().chain(&signatures).chain(&sent) {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    assert!(text.contains("[redacted]") && text.contains("\"email\": \"-\""), "{text}");
    let url = exchanges
        .values()
        .find(|exchange| exchange["tool"] == "query")
        .map(|exchange| exchange["request"]["url"].clone());
    assert_eq!(url, Some(json!(format!("{}/a?x=1&api_key=[redacted]", upstream.url))));
    // Nor is it on the page, in the journal, or on standard error.
    let page = crate::support::client().get(format!("{}/__stub", bridge.private)).send().await.expect("an answer");
    let page = String::from_utf8_lossy(&page.bytes().await.expect("a body")).into_owned();
    let said = format!("{page}{:?}{}", bridge.journal(), bridge.complaints());
    for secret in ["q#7Z", "q%237Z", crm, "crm%2Fsecret", "pair-secret", key].iter().chain(&signatures).chain(&sent) {
        assert!(!said.contains(secret), "{secret} is in {said}");
    }

    // Replayed with the same program, and with none of the secrets.
    let replaying = start(&config, "--replay", files.path(), &[]).await;
    let asked = call(&replaying, "signed", &json!({"note": "of [redacted]"}));
    assert_eq!(asked["result"]["email"], "-", "{asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorder_calls_nothing_that_may_not_be_called() {
    let upstream = Stub::start(answer).await;
    let port = upstream.url.rsplit(':').next().expect("a port").to_owned();
    let config = tool("name", "GET", &format!("http://localhost:{port}/ok"), "attempts = 1")
        + "\n[network]\nallow = [\"127.0.0.9\"]\n";
    let files = TempDir::new().expect("a directory");
    let bridge = start(&config, "--record", files.path(), &[]).await;
    let called = call(&bridge, "name", &json!({}));
    assert_eq!((&called["error"]["code"], upstream.connections()), (&json!("ADDRESS_FORBIDDEN"), 0), "{called}");
    let exchanges = recorded(files.path());
    assert_eq!(exchanges["0001-name.json"]["failure"]["code"], "ADDRESS_FORBIDDEN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_is_recorded_and_replayed_by_itself() {
    let upstream =
        Mortal::start(|call, before| Reply::Json(201, json!({"id": before, "for": call.json()["amount"]}))).await;
    let files = TempDir::new().expect("a directory");
    let path = |name: &str| files.path().join(name).to_str().expect("a path").to_owned();
    let (config, dir) = (path("bridge.toml"), path("recording"));
    let auth = "auth = { secret = \"clawbridge/tools/crm\" }";
    let tools = tool("pay", "POST", &format!("{}/pay", upstream.stub.url), auth) + ALLOW;
    std::fs::write(&config, &tools).expect("bridge.toml");
    let pay = |how: &[&str], amount: u64| -> Vec<String> {
        let input = json!({"amount": amount}).to_string();
        let args = [&["tools", "call", "pay", "--file", &config, "--json", "--input", &input], how].concat();
        args.into_iter().map(str::to_owned).collect()
    };
    let with = |bridge: &Bridge, args: Vec<String>| bridge.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let alone = |args: Vec<String>| run(&args.iter().map(String::as_str).collect::<Vec<_>>(), "");
    let refused = |answer: &Answer, status: i32, code: &str| {
        assert_eq!((answer.status, answer.error_code().as_str()), (status, code), "{answer:?}");
    };
    let bridge = Bridge::start(&tools).await;
    // It is called for real, so all holds that holds without a recorder.
    refused(&with(&bridge, pay(&["--record", &dir], 1)), 1, "UNSAFE_TOOL");
    refused(&with(&bridge, pay(&["--record", &dir, "--yes"], 1)), 1, "CREDENTIAL_UNAVAILABLE");
    set_secret(&bridge, "crm", "crm-secret-1");
    for amount in [1, 2, 1] {
        let answer = with(&bridge, pay(&["--record", &dir, "--yes"], amount));
        assert_eq!((answer.status, &answer.json()["result"]["for"]), (0, &json!(amount)), "{answer:?}");
    }
    // The effect happened, and who wanted it written down hears that it is not.
    let unwritten = with(&bridge, pay(&["--record", &dir, "--yes", "--redact", ".request.url = 1"], 3));
    refused(&unwritten, 1, "NOT_RECORDED");
    assert!(unwritten.out.contains("\"for\": 3") && unwritten.err.contains("no exchange any more"), "{unwritten:?}");
    drop(bridge);
    upstream.die().await;
    let names: Vec<String> = recorded(Path::new(&dir)).into_keys().collect();
    assert_eq!(names, ["0001-pay.json", "0002-pay.json", "0003-pay.json"]);

    // No stack, no secret, no upstream, and nothing acts.
    let replay = ["--replay", &dir];
    let answer = alone(pay(&replay, 2));
    assert_eq!((answer.status, &answer.json()["result"]), (0, &json!({"for": 2, "id": 1})), "{answer:?}");
    assert_eq!(alone(pay(&replay, 1)).json()["result"]["id"], 0);
    let missing = alone(pay(&replay, 9));
    refused(&missing, 1, "UNEXPECTED_RESPONSE");
    assert!(missing.err.contains("the nearest is 0001-pay.json, which differs in body at /amount"), "{missing:?}");
    // A recording is there to be edited.
    let file = Path::new(&dir).join("0002-pay.json");
    let mut exchange = recorded(Path::new(&dir))["0002-pay.json"].clone();
    exchange["response"]["status"] = json!(422);
    exchange["response"]["body"] = json!({"text": "too much"});
    std::fs::write(&file, exchange.to_string()).expect("a file");
    let edited = alone(pay(&replay, 2));
    refused(&edited, 1, "VALIDATION_ERROR");
    assert_eq!(edited.json()["error"]["evidence"], "too much");
    std::fs::write(&file, "{\"tool\": \"pay\"}").expect("a file");
    let invalid = alone(pay(&replay, 2));
    refused(&invalid, 1, "RECORDING_INVALID");
    assert!(invalid.err.contains("0002-pay.json: not an exchange: missing field"), "{invalid:?}");

    refused(&alone(pay(&["--replay", &path("nowhere")], 1)), 3, "RECORDING_UNREADABLE");
    std::fs::create_dir(path("empty")).expect("a directory");
    refused(&alone(pay(&["--replay", &path("empty")], 1)), 1, "RECORDING_EMPTY");
    refused(&alone(pay(&["--replay", &dir, "--redact", ".a |"], 1)), 2, "INVALID_JQ");
    let state = path("state");
    let in_the_way = run(&["dev", "--json", "--port", "0", "--state", &state, "--record", &config], "");
    refused(&in_the_way, 1, "RECORDING_UNWRITABLE");
}
