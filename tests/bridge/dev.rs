//! `clawbridge dev` as a process: its start, its configuration while it runs, its end, and what is left for the next start.

use crate::support::{Bridge, Reply, Stub, client, eventually, program, run};
use crate::webhook::config;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

const SECRET: &str = "a-signing-secret";

async fn obliging() -> Stub {
    Stub::start(|_, _| Reply::Json(200, json!({"ok": true}))).await
}

async fn deliver(bridge: &Bridge, name: &str) {
    let body = json!({"event": "demo", "name": name}).to_string();
    assert_eq!(bridge.deliver("hooks", SECRET, body.as_bytes()).await.0, 200);
}

fn is_note(line: &Value, words: &str) -> bool {
    line["kind"] == "dev.note" && line["text"].as_str().is_some_and(|text| text.contains(words))
}

#[tokio::test]
async fn a_changed_bridge_toml_is_applied_and_a_broken_one_is_not() {
    let stub = obliging().await;
    let bridge = Bridge::start("").await;
    bridge.add_source("hooks", "openclaw", SECRET);
    deliver(&bridge, "before any route").await;
    let stored = bridge.lines("event.stored", 1).await;
    assert_eq!(stored[0]["tasks"], 0);

    bridge.write_config(&config(&stub));
    let note = bridge.line("it is applied", |line| is_note(line, "applied")).await;
    assert!(note["text"].as_str().is_some_and(|text| text.ends_with("(version 2: 1 tools, 1 routes)")), "{note}");
    bridge.write_config(&config(&stub).replace("tool = \"record\"", "tool = \"recrod\""));
    let note = bridge.line("it is refused", |line| is_note(line, "the version before stays in use")).await;
    assert_eq!(note["level"], "error");
    assert!(bridge.complaints().contains("error[UNKNOWN_TOOL]"), "{}", bridge.complaints());

    // The worker looks for a new version every five seconds.
    let mut count = 0;
    eventually("an event is routed", || {
        count += 1;
        let name = format!("after the change {count}");
        let (bridge, stub) = (&bridge, &stub);
        async move {
            deliver(bridge, &name).await;
            (!stub.calls().is_empty()).then_some(())
        }
    })
    .await;
    let loaded: Vec<Value> = bridge.lines("config.loaded", 2).await;
    assert_eq!((&loaded[0]["version"], &loaded[1]["version"]), (&json!(1), &json!(2)));

    bridge.write_config(&format!("{}\n[limits]\nmax_hops = 3\n", config(&stub)));
    bridge.line("the mended one", |line| is_note(line, "(version 3: 1 tools, 1 routes)")).await;
    // Without the file the version in use stays in use.
    std::fs::remove_file(bridge.dir.path().join("bridge.toml")).expect("removed");
    let before = stub.calls().len();
    deliver(&bridge, "without a file").await;
    eventually("it is routed", || async { (stub.calls().len() > before).then_some(()) }).await;
}

#[test]
fn dev_does_not_start_on_a_bridge_toml_that_is_wrong() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("a path").to_owned();
    let (file, state) = (path("mine.toml"), path("state"));
    std::fs::write(&file, "[tools.a]\nmethod = \"POST\"\n\n[[routes]]\nnmae = \"x\"\n").expect("mine.toml");
    let args = ["dev", "--port", "0", "--state", &state, "--config", &file];
    let answer = run(&args, "");
    assert_eq!((answer.status, answer.out.as_str()), (1, ""), "{answer:?}");
    for said in [
        format!("{file}:1:8: error[MISSING_KEY]: "),
        format!("{file}:5:1: error[UNKNOWN_KEY]: "),
        "did you mean \"name\"?".to_owned(),
        format!("error[CONFIG_INVALID]: {file} has "),
    ] {
        assert!(answer.err.contains(&said), "{said}: {answer:?}");
    }
    let scripted = run(&[&args[..], &["--json"]].concat(), "");
    assert_eq!((scripted.status, scripted.error_code().as_str()), (1, "CONFIG_INVALID"));
    // A directory where the file should be.
    let unreadable = run(&["dev", "--port", "0", "--state", &state, "--config", &path(""), "--json"], "");
    assert_eq!((unreadable.status, unreadable.error_code().as_str()), (1, "CONFIG_UNREADABLE"));
    // Nobody was kept from the state.
    std::fs::write(&file, "").expect("mine.toml");
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = held.local_addr().expect("an address").port().to_string();
    let next = run(&["dev", "--port", &port, "--state", &state, "--config", &file, "--json"], "");
    assert_eq!(next.error_code(), "PORT_UNAVAILABLE");
}

#[tokio::test]
async fn two_bridges_do_not_share_a_state_nor_a_port() {
    let stub = obliging().await;
    let bridge = Bridge::start(&config(&stub)).await;
    bridge.add_source("hooks", "openclaw", SECRET);
    let state = bridge.dir.path().join("state");
    let state = state.to_str().expect("a path");
    let second = run(&["dev", "--port", "0", "--state", state, "--json"], "");
    assert_eq!((second.status, second.error_code().as_str()), (4, "STATE_IN_USE"));
    assert!(second.err.contains(state) && second.err.contains("choose another directory"), "{second:?}");

    let port = |url: &str| url.rsplit(':').next().expect("a port").to_owned();
    let other = bridge.dir.path().join("other");
    let other = other.to_str().expect("a path");
    for (public, private) in [(port(&bridge.public), "0".to_owned()), ("0".to_owned(), port(&bridge.private))] {
        let answer = run(&["dev", "--port", &public, "--aws-port", &private, "--state", other, "--json"], "");
        assert_eq!((answer.status, answer.error_code().as_str()), (4, "PORT_UNAVAILABLE"));
        for said in ["127.0.0.1:", "--port", "--aws-port"] {
            assert!(answer.err.contains(said), "{said}: {answer:?}");
        }
    }
    // The first has noticed nothing.
    deliver(&bridge, "still here").await;
    bridge.line("worked", |line| line["decision"] == "succeeded").await;
}

/// An API that holds its answers back until it is told to let go of them.
async fn holding() -> (Stub, mpsc::Sender<()>) {
    let (let_go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let stub = Stub::start(move |_, _| {
        // Without a sender the test is over.
        let _over = tokio::task::block_in_place(|| wait.lock().expect("the channel").recv());
        Reply::Json(200, json!({"ok": true}))
    })
    .await;
    (stub, let_go)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_lets_a_call_end_that_is_under_way() {
    for signal in ["INT", "TERM"] {
        let (stub, let_go) = holding().await;
        let mut bridge = Bridge::start(&config(&stub)).await;
        bridge.add_source("hooks", "openclaw", SECRET);
        deliver(&bridge, "under way").await;
        eventually("the call", || async { (stub.calls().len() == 1).then_some(()) }).await;
        bridge.signal(signal);
        bridge.line("it is stopping", |line| is_note(line, "stopping")).await;
        // Nothing new is taken.
        let address = bridge.public.trim_start_matches("http://").to_owned();
        eventually("the port is closed", || async {
            tokio::net::TcpStream::connect(&address).await.is_err().then_some(())
        })
        .await;
        // The call takes another second.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let_go.send(()).expect("the stub listens");
        assert_eq!(bridge.ended(), 0);
        bridge.line("its outcome", |line| line["kind"] == "task.attempt" && line["decision"] == "succeeded").await;

        bridge.restart().await;
        let tasks = bridge.run(&["tasks", "list", "--json"]).json();
        assert_eq!((&tasks[0]["state"], &tasks[0]["attempt"]), (&json!("succeeded"), &json!(1)), "{tasks}");
        assert_eq!((bridge.messages("clawbridge-work").await, stub.calls().len()), (0, 1));
    }
}

#[tokio::test]
async fn everything_is_there_again_after_a_restart() {
    let stub = obliging().await;
    let mut bridge = Bridge::start(&config(&stub)).await;
    bridge.add_source("hooks", "openclaw", SECRET);
    assert_eq!(bridge.run(&["secret", "set", "clawbridge/tools/crm", "--value", "kept"]).status, 0);
    for (count, name) in ["one", "two"].iter().enumerate() {
        deliver(&bridge, name).await;
        bridge.lines("task.attempt", count + 1).await;
    }
    let look = |bridge: &Bridge| {
        [&["events", "list"][..], &["tasks", "list"], &["source", "list"]]
            .map(|command| bridge.run(&[command, &["--json"]].concat()).json())
    };
    let before = look(&bridge);
    assert_eq!(before.each_ref().map(|list| list.as_array().map(Vec::len)), [Some(2), Some(2), Some(1)]);
    assert_eq!(bridge.interrupt(), 0);
    bridge.restart().await;
    assert_eq!(look(&bridge), before);
    let secret = bridge.aws("secretsmanager.GetSecretValue", &json!({"SecretId": "clawbridge/tools/crm"})).await;
    assert_eq!(secret["SecretString"], "kept");
    let ready = bridge.line("ready", |line| line["kind"] == "dev.ready").await;
    assert_eq!(ready["config_version"], 1, "the same file is no new version");
    deliver(&bridge, "one").await;
    bridge.lines("event.repeated", 1).await;
    deliver(&bridge, "three").await;
    bridge.line("worked", |line| line["decision"] == "succeeded").await;
    assert_eq!(stub.calls().len(), 3);
}

#[tokio::test]
async fn what_is_asked_for_at_a_start_holds_for_a_state_that_is_there() {
    let mut bridge = Bridge::start("").await;
    let visibility = |bridge: &Value| bridge["VisibilityTimeout"].clone();
    assert_eq!(visibility(&bridge.queue_attributes("clawbridge-work").await), "60");
    assert_eq!(bridge.interrupt(), 0);
    bridge.options.args = vec!["--visibility".into(), "7".into()];
    bridge.restart().await;
    assert_eq!(visibility(&bridge.queue_attributes("clawbridge-work").await), "7");
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// As `cargo run` shows itself, on a state that it does not keep.
#[tokio::test]
async fn a_person_is_shown_where_to_send_and_what_happens() {
    let dir = tempfile::TempDir::new().expect("a directory");
    std::fs::write(
        dir.path().join("bridge.toml"),
        "[tools.note]\nmethod = \"POST\"\nurl = \"bridge:/echo/notes\"\nidempotency_header = \"Idempotency-Key\"\n\
         [[routes]]\nname = \"all\"\nsource = \"openclaw\"\ntool = \"note\"\n",
    )
    .expect("bridge.toml");
    let mut child = Killed(
        Command::new(program())
            .args(["dev", "--ephemeral", "--port", "0"])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("spawn"),
    );
    let (told, lines) = mpsc::channel();
    let stdout = BufReader::new(child.0.stdout.take().expect("stdout"));
    // Ends with the process or with the test.
    std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
    let mut shown = String::new();
    let mut until = |words: &str| {
        while !shown.contains(words) {
            let line = lines.recv_timeout(Duration::from_secs(60));
            shown.push_str(&line.unwrap_or_else(|end| panic!("{end}, and no {words:?} in:\n{shown}")));
            shown.push('\n');
        }
        shown.clone()
    };
    let banner = until("curl ");
    for words in [
        "is running on this machine",
        "webhooks   http://127.0.0.1:",
        "in memory",
        "1 tools, 1 routes",
        "source     openclaw: made",
    ] {
        assert!(banner.contains(words), "{words}: {banner}");
    }
    let private = banner.lines().find_map(|line| line.trim().strip_prefix("curl ")?.strip_suffix("/echo"));
    let private = private.expect("the private address").to_owned();
    let sent = run(&["send", "events/openclaw/task.completed.json", "--repeat", "2", "--local", &private], "");
    assert_eq!(sent.status, 0, "{sent:?}");
    let refused = run(&["send", "events/openclaw/task.completed.json", "--tamper", "--local", &private], "");
    assert_eq!(refused.status, 1, "{refused:?}");
    for words in [
        "webhook  openclaw: 178 bytes verified and queued",
        "openclaw task.completed  (sha256:",
        "echo     POST /echo/notes",
        "note  attempt 1 → 200 succeeded in",
        "known, not acted on",
        "openclaw: refused with 401 SIGNATURE_MISMATCH",
    ] {
        until(words);
    }
    let echoed =
        client().get(format!("{private}/echo")).send().await.expect("an answer").bytes().await.expect("a body");
    let echoed: Value = serde_json::from_slice(&echoed).expect("JSON");
    assert_eq!((&echoed["effects"], &echoed["calls"][0]["body"]["event"]), (&json!(1), &json!("task.completed")));
    let pid = child.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    until("stopping");
    assert!(child.0.wait().expect("wait").success());
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("the directory").filter_map(Result::ok).collect();
    assert_eq!(left.len(), 1, "bridge.toml alone: {left:?}");
}
