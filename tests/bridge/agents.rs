//! Agents: what events, programs and people ask them becomes a task, waits for them, and is answered, ended in time or taken back; who may ask.

use crate::support::{Answer, Bridge, Got, Options, Reply, Stub, eventually};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

const SECRET: &str = "whsec-of-a-test";

/// Opens a WebSocket of the channel; the status where it is refused.
async fn open(bridge: &Bridge, headers: &[(&str, &str)]) -> Result<WebSocketStream<TcpStream>, u16> {
    let address = bridge.public.trim_start_matches("http://").to_owned();
    let mut request = http::Request::get(format!("ws://{address}/responses"))
        .header("host", &address)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let stream = TcpStream::connect(&address).await.expect("a connection");
    match tokio_tungstenite::client_async(request.body(()).expect("a request"), stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// A connector of ours, by hand.
struct Agent(WebSocketStream<TcpStream>);

impl Agent {
    async fn try_connect(bridge: &Bridge, key: &str, secret: &str) -> Result<Agent, u16> {
        let headers = [("x-app-key", key), ("x-app-secret", secret), ("x-clawbridge-connector", "bridge.v1")];
        open(bridge, &headers).await.map(Agent)
    }

    /// Connected and greeted.
    async fn connect(bridge: &Bridge, keys: &Value) -> Agent {
        let text = |name: &str| keys[name].as_str().expect("a text").to_owned();
        let mut agent = Agent::try_connect(bridge, &text("key"), &text("secret")).await.expect("admitted");
        agent.send(&json!({"type": "hello", "connector": "test", "instance": "one", "holds": []})).await;
        agent.receive("welcome").await;
        agent
    }

    async fn send(&mut self, frame: &Value) {
        let mut frame = frame.clone();
        frame["bridge"] = json!(1);
        self.0.send(Message::text(frame.to_string())).await.expect("sent");
    }

    /// The next frame of this type.
    async fn receive(&mut self, kind: &str) -> Value {
        let wait = async {
            loop {
                let message = self.0.next().await.expect("still connected").expect("a message");
                let Message::Text(text) = message else { continue };
                let frame: Value = serde_json::from_str(&text).expect("JSON");
                if frame["type"] == kind {
                    return frame;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("no {kind} came"))
    }

    async fn say(&mut self, response: &Value, number: u64, events: Value) {
        self.send(&json!({"type": "say", "response": response, "number": number, "events": events})).await;
        self.receive("ack").await;
    }

    /// Takes the next turn and answers it; the turn.
    async fn answer(&mut self, text: &str) -> Value {
        let turn = self.receive("turn").await;
        let events = json!([{"event": "began"}, {"event": "text", "text": text}, {"event": "completed", "text": text}]);
        self.say(&turn["response"], 0, events).await;
        turn
    }
}

fn ok(answer: Answer) -> Answer {
    assert_eq!(answer.status, 0, "{answer:?}");
    answer
}

/// Makes an agent: its key and secret.
fn add(bridge: &Bridge, name: &str) -> Value {
    ok(bridge.run(&["agent", "add", name, "--json"])).json()
}

fn token(bridge: &Bridge, name: &str, scope: &str) -> String {
    ok(bridge.run(&["token", "create", "--name", name, "--scope", scope])).out.trim().to_owned()
}

async fn ask(bridge: &Bridge, token: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Got {
    let bearer = format!("Bearer {token}");
    let mut all = vec![("authorization", bearer.as_str())];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    if !body.is_empty() {
        all.push(("content-type", "application/json"));
    }
    all.extend(headers);
    bridge.request(method, &format!("/api/v1{path}"), &all, body.as_bytes()).await
}

/// The task, once it is in one of these states.
async fn task_in(bridge: &Bridge, states: &[&str]) -> Value {
    eventually(&format!("a task is {}", states.join(" or ")), || async {
        let listed = bridge.run(&["tasks", "list", "--json"]).json();
        let found =
            listed.as_array()?.iter().find(|task| states.contains(&task["state"].as_str().unwrap_or_default()))?;
        let id = found["id"].as_str()?.to_owned();
        Some(bridge.run(&["tasks", "show", &id, "--json"]).json())
    })
    .await
}

fn config(agent: &str, more: &str) -> String {
    format!(
        "[agents.main]\n{agent}\n[[routes]]\nname = \"new-issue\"\nsource = \"shop\"\nagent = \"main\"\n\
         input = '{{prompt: (\"Look at order \" + .body.order), session: \"orders\"}}'\n{more}"
    )
}

async fn with_source(config: &str) -> Bridge {
    let bridge = Bridge::start(config).await;
    bridge.add_source("shop", "openclaw", SECRET);
    bridge
}

async fn order(bridge: &Bridge, name: &str) {
    let body = json!({"order": name}).to_string();
    assert_eq!(bridge.deliver("shop", SECRET, body.as_bytes()).await.0, 200);
}

#[tokio::test]
async fn an_event_is_asked_once_and_its_answer_completes_the_task_and_goes_on() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({}))).await;
    let more = format!(
        "[tools.tell]\nmethod = \"POST\"\nurl = \"{}/tell\"\n[network]\nallow = [\"127.0.0.0/8\"]\n\
         [[routes]]\nname = \"tell\"\nsource = \"bridge\"\ntype = \"task.completed\"\ntool = \"tell\"\n\
         filter = '.body.data.tool == \"agent:main\"'\ninput = '.body'\n",
        stub.url
    );
    let bridge = with_source(&config("", &more)).await;
    let mut agent = Agent::connect(&bridge, &add(&bridge, "main")).await;
    order(&bridge, "o-1").await;
    order(&bridge, "o-1").await;
    let turn = agent.answer("Shipped.").await;
    assert!(turn["input"].to_string().contains("Look at order o-1"), "{turn}");
    let told =
        eventually("the answer was told", || async { stub.calls().into_iter().find(|call| call.path == "/tell") })
            .await;
    let data = &told.json()["data"];
    assert_eq!(data["result"]["text"], "Shipped.", "{data}");
    assert_eq!(data["result"]["response_id"], turn["response"]);
    assert_eq!((&data["prompt"], &data["status"]), (&json!("Look at order o-1"), &json!("completed")));
    // Another event of another order is another turn, of the same conversation; the first one's never comes again.
    order(&bridge, "o-2").await;
    let next = agent.answer("Cancelled.").await;
    assert!(next["input"].to_string().contains("o-2") && next["session"] == turn["session"], "{next}");
}

#[tokio::test]
async fn a_prompt_waits_for_an_agent_that_is_offline_and_is_asked_when_it_connects() {
    let bridge = with_source(&config("", "")).await;
    let keys = add(&bridge, "main");
    order(&bridge, "o-1").await;
    let waiting = task_in(&bridge, &["waiting"]).await;
    assert_eq!(waiting["tool"], "agent:main");
    let listed = ok(bridge.run(&["agent", "show", "main", "--json"])).json();
    assert_eq!((&listed["online"], &listed["waiting"]), (&json!(false), &json!(1)), "{listed}");
    let mut agent = Agent::connect(&bridge, &keys).await;
    agent.answer("Here I am.").await;
    let done = task_in(&bridge, &["succeeded"]).await;
    assert_eq!((&done["id"], &done["result"]["text"]), (&waiting["id"], &json!("Here I am.")));
}

#[tokio::test]
async fn what_a_user_says_to_an_agent_that_is_offline_is_a_task_that_its_answer_ends() {
    let bridge = Bridge::start("").await;
    let keys = add(&bridge, "main");
    let (one, other) = (token(&bridge, "one", "agent:main"), token(&bridge, "other", "agent:main"));
    let bearer = format!("Bearer {one}");
    let mut user = Agent(open(&bridge, &[("authorization", &bearer)]).await.expect("admitted"));
    let create = json!({"type": "response.create", "model": "main", "input": "Are you there?", "metadata": {"session_id": "s".repeat(150)}});
    user.0.send(Message::text(create.to_string())).await.expect("sent");
    let response = user.receive("response.created").await["response"]["id"].clone();
    let task = task_in(&bridge, &["waiting"]).await;
    assert_eq!((&task["key"], &task["tool"]), (&response, &json!("agent:main")));
    let mut agent = Agent::connect(&bridge, &keys).await;
    assert_eq!(agent.answer("I am.").await["response"], response);
    assert_eq!(user.receive("response.completed").await["response"]["id"], response);
    let done = task_in(&bridge, &["succeeded"]).await;
    assert_eq!((&done["result"]["text"], &done["result"]["response_id"]), (&json!("I am."), &response));
    let path = format!("/tasks/{}", done["id"].as_str().expect("an id"));
    assert_eq!(ask(&bridge, &one, "GET", &path, &[], &Value::Null).await.status, 200);
    assert_eq!(ask(&bridge, &other, "GET", &path, &[], &Value::Null).await.status, 404);
}

#[tokio::test]
async fn nobody_waits_longer_than_was_said_and_the_reason_is_true() {
    let bridge = with_source(&config("wait = \"2s\"", "")).await;
    let keys = add(&bridge, "main");
    order(&bridge, "o-1").await;
    let offline = task_in(&bridge, &["failed"]).await;
    assert_eq!(offline["error"]["code"], "AGENT_OFFLINE", "{offline}");
    // An agent that comes after that is not asked; one that is asked and says nothing is timed out.
    let mut agent = Agent::connect(&bridge, &keys).await;
    order(&bridge, "o-2").await;
    let turn = agent.receive("turn").await;
    assert!(turn["input"].to_string().contains("o-2"), "{turn}");
    let cancelled = agent.receive("cancel").await;
    assert_eq!(cancelled["response"], turn["response"]);
    eventually("the silent one is timed out", || async {
        let listed = bridge.run(&["tasks", "list", "--json"]).json();
        listed.as_array()?.iter().any(|task| task["error"] == "AGENT_TIMEOUT").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_drops_in_the_middle_of_an_answer_fails_the_task_and_a_person_can_ask_again() {
    // The first connection's end is told before the second one comes, or when that one has taken its place.
    for is_told_late in [false, true] {
        let args = ["--channel-look", "1"].map(str::to_owned).to_vec();
        let bridge = Bridge::start_with(Options { config: Some(config("", "")), args }).await;
        bridge.add_source("shop", "openclaw", SECRET);
        let keys = add(&bridge, "main");
        let mut agent = Agent::connect(&bridge, &keys).await;
        order(&bridge, "o-1").await;
        let turn = agent.receive("turn").await;
        agent.say(&turn["response"], 0, json!([{"event": "began"}, {"event": "text", "text": "I am about"}])).await;
        let mut first = Some(agent);
        if !is_told_late {
            first = None;
            bridge.lines("channel.closed", 1).await;
        }
        // Another process of the agent knows nothing of it.
        let text = |name: &str| keys[name].as_str().expect("a text").to_owned();
        let mut other = Agent::try_connect(&bridge, &text("key"), &text("secret")).await.expect("admitted");
        other.send(&json!({"type": "hello", "connector": "test", "instance": "two", "holds": []})).await;
        other.receive("welcome").await;
        drop(first);
        bridge.lines("channel.closed", 1).await;
        let failed = task_in(&bridge, &["failed"]).await;
        assert_eq!(failed["error"]["code"], "AGENT_FAILED", "{failed}");
        assert_eq!(failed["error"]["evidence"], "I am about", "{failed}");
        ok(bridge.run(&["tasks", "retry", failed["id"].as_str().expect("an id")]));
        let again = other.answer("Done this time.").await;
        assert_ne!(again["response"], turn["response"]);
        assert_eq!(task_in(&bridge, &["succeeded"]).await["result"]["text"], "Done this time.");
    }
}

#[tokio::test]
async fn the_tutorials_prompt_is_a_task_and_only_who_asked_sees_it() {
    let bridge = Bridge::start("").await;
    let (one, other) = (token(&bridge, "one", "agent:main"), token(&bridge, "other", "agent:main"));
    let prompt = json!({"prompt": "Summarize the latest git commits in my project",
        "options": {"model": "claude-sonnet-4-20250514", "max_tokens": 4096, "working_directory": "/home/user/projects/myapp"}});
    let nobody = ask(&bridge, &one, "POST", "/tasks", &[], &prompt).await;
    assert_eq!((nobody.status, &nobody.body["error"]["code"]), (503, &json!("no_agent")));
    let mut agent = Agent::connect(&bridge, &add(&bridge, "main")).await;
    let key = [("idempotency-key", "k-1")];
    let made = ask(&bridge, &one, "POST", "/tasks", &key, &prompt).await;
    assert_eq!((made.status, &made.body["status"]), (201, &json!("queued")), "{made:?}");
    let id = made.body["id"].as_str().expect("an id").to_owned();
    let turn = agent.answer("Two commits.").await;
    assert!(turn.to_string().contains("/home/user/projects/myapp"), "{turn}");
    let path = format!("/tasks/{id}/result");
    let result = eventually("the result", || async {
        let got = ask(&bridge, &one, "GET", &path, &[], &Value::Null).await;
        (got.status == 200).then_some(got.body)
    })
    .await;
    assert_eq!((&result["status"], &result["output"]["text"]), (&json!("completed"), &json!("Two commits.")));
    assert_eq!(ask(&bridge, &other, "GET", &path, &[], &Value::Null).await.status, 404);
    // The same key of another token is another task.
    let theirs = ask(&bridge, &other, "POST", "/tasks", &key, &prompt).await;
    assert_eq!((theirs.status, theirs.body["id"] == json!(id)), (201, false), "{theirs:?}");
    let status = ask(&bridge, &one, "GET", "/status", &[], &Value::Null).await;
    assert_eq!(status.body["agents"], json!({"online": 1}));
    let agents = ask(&bridge, &one, "GET", "/agents", &[], &Value::Null).await;
    assert_eq!(
        (&agents.body["agents"][0]["name"], &agents.body["agents"][0]["dialect"]),
        (&json!("main"), &json!("bridge.v1"))
    );
    assert!(!agents.text.contains("oak_") && !agents.text.contains("oas_"), "{}", agents.text);
    for (body, status, says) in [
        (json!({"prompt": "x", "agent": "nobody"}), 403, "agent:nobody"),
        (json!({"prompt": "x", "session": "group:team"}), 403, "group:team"),
        (json!({"prompt": "x", "session": "a b"}), 400, "session"),
        (json!({"prompt": "x", "tool": "ping"}), 400, "message"),
        (json!({"prompt": " "}), 400, "prompt"),
    ] {
        let got = ask(&bridge, &one, "POST", "/tasks", &[], &body).await;
        assert!(got.status == status && got.text.contains(says), "{body}: {got:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_asks_an_agent_from_the_command_line_and_takes_a_prompt_back() {
    let bridge = Bridge::start("").await;
    let keys = add(&bridge, "main");
    let asked = ok(bridge.run(&["agent", "ask", "main", "What is new?", "--background", "--json"])).json();
    let id = asked["task"].as_str().expect("an id").to_owned();
    task_in(&bridge, &["waiting"]).await;
    ok(bridge.run(&["tasks", "cancel", &id]));
    task_in(&bridge, &["cancelled"]).await;
    let mut agent = Agent::connect(&bridge, &keys).await;
    let (answer, turn) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| bridge.run(&["agent", "ask", "main", "What else is new?"]));
        let turn = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(agent.answer("Nothing.")));
        (asking.join().expect("a command"), turn)
    });
    // What was taken back is not asked.
    assert!(turn["input"].to_string().contains("What else"), "{turn}");
    assert_eq!(ok(answer).out.trim(), "Nothing.");
    assert_eq!(bridge.run(&["agent", "ask", "nobody", "x", "--json"]).error_code(), "UNKNOWN_AGENT");
}

#[tokio::test]
async fn a_rotated_secret_leaves_the_one_before_good_until_the_next_and_a_removed_agent_is_not_admitted() {
    let bridge = Bridge::start("").await;
    let first = add(&bridge, "main");
    assert_eq!(bridge.run(&["agent", "add", "main", "--json"]).error_code(), "AGENT_EXISTS");
    assert_eq!(bridge.run(&["agent", "add", "Main", "--json"]).error_code(), "NAME_INVALID");
    let rotate = |more: &[&str]| ok(bridge.run(&[&["agent", "rotate", "main", "--json"], more].concat())).json();
    let admitted = async |keys: &Value| {
        let text = |name: &str| keys[name].as_str().expect("a text").to_owned();
        Agent::try_connect(&bridge, &text("key"), &text("secret")).await.map(drop)
    };
    let second = rotate(&[]);
    assert_eq!(second["key"], first["key"]);
    assert_eq!((admitted(&first).await, admitted(&second).await), (Ok(()), Ok(())));
    let third = rotate(&[]);
    assert!(admitted(&first).await.is_err());
    assert_eq!((admitted(&second).await, admitted(&third).await), (Ok(()), Ok(())));
    let fourth = rotate(&["--now"]);
    assert!(admitted(&third).await.is_err());
    assert_eq!(admitted(&fourth).await, Ok(()));
    ok(bridge.run(&["agent", "remove", "main"]));
    assert!(admitted(&fourth).await.is_err());
    assert_eq!(bridge.run(&["agent", "show", "main", "--json"]).error_code(), "UNKNOWN_AGENT");
}

#[tokio::test]
async fn who_has_no_token_gets_one_that_the_owner_makes_good_by_its_code_once() {
    // Those without a token share a bucket, and this test asks often.
    let args = ["--api-rate", "1000/s"].map(str::to_owned).to_vec();
    let bridge = Bridge::start_with(Options { args, ..Options::default() }).await;
    add(&bridge, "main");
    let open = async |agent: &str| {
        let body = json!({"agent": agent, "name": "zoe"}).to_string();
        let got =
            bridge.request("POST", "/api/v1/pairings", &[("content-type", "application/json")], body.as_bytes()).await;
        assert_eq!(got.status, 201, "{got:?}");
        got.body
    };
    let pairing = open("main").await;
    let (own, code) = (pairing["token"].as_str().expect("a token"), pairing["code"].as_str().expect("a code"));
    let path = format!("/pairings/{}", pairing["id"].as_str().expect("an id"));
    let stands = async |path: &str, token: &str| ask(&bridge, token, "GET", path, &[], &Value::Null).await;
    assert_eq!(stands(&path, own).await.body["status"], "pending");
    // It is good for nothing, and another token says nothing about it.
    assert_eq!(ask(&bridge, own, "GET", "/agents", &[], &Value::Null).await.status, 401);
    let admin = token(&bridge, "boss", "admin");
    assert_eq!(stands(&path, &admin).await.status, 404);
    assert_eq!(bridge.run(&["agent", "pair", "2222-2222", "--json"]).error_code(), "UNKNOWN_CODE");
    let listed = ok(bridge.run(&["pairings", "list", "--json"])).json();
    assert_eq!((listed[0]["name"].as_str(), listed.to_string().contains(code)), (Some("zoe"), false));
    let confirmed = ok(bridge.run(&["agent", "pair", &code.to_lowercase(), "--json"])).json();
    assert_eq!(confirmed["status"], "confirmed");
    assert_eq!(stands(&path, own).await.body["status"], "confirmed");
    eventually("the token is good for its agent", || async {
        let got = ask(&bridge, own, "GET", "/agents", &[], &Value::Null).await;
        (got.body["agents"][0]["name"] == "main").then_some(())
    })
    .await;
    assert_eq!(ask(&bridge, own, "GET", "/tokens", &[], &Value::Null).await.status, 403);
    assert_eq!(bridge.run(&["agent", "pair", code, "--json"]).error_code(), "UNKNOWN_CODE");
    // Refused, expired, and for an agent that there is not: strangers are told nothing of the last.
    let refused = open("main").await;
    ok(bridge.run(&["pairings", "refuse", refused["id"].as_str().expect("an id")]));
    assert_eq!(
        bridge.run(&["agent", "pair", refused["code"].as_str().expect("a code"), "--json"]).error_code(),
        "UNKNOWN_CODE"
    );
    let late = open("main").await;
    let id = late["id"].as_str().expect("an id");
    let past = json!({"TableName": "clawbridge-registry", "Key": {"kind": {"S": "pairing"}, "name": {"S": id}},
        "UpdateExpression": "SET expires_ms = :past", "ExpressionAttributeValues": {":past": {"N": "1"}}});
    bridge.aws("DynamoDB_20120810.UpdateItem", &past).await;
    let own = late["token"].as_str().expect("a token");
    let stood = stands(&format!("/pairings/{id}"), own).await;
    assert_eq!(stood.body["status"], "expired", "{stood:?}");
    assert_eq!(
        bridge.run(&["agent", "pair", late["code"].as_str().expect("a code"), "--json"]).error_code(),
        "UNKNOWN_CODE"
    );
    let nobodys = open("nobody").await;
    let confirm = json!({"code": nobodys["code"]});
    assert_eq!(ask(&bridge, &admin, "POST", "/pairings/confirm", &[], &confirm).await.status, 409);
    // Wrong codes: those above and a few more, and then one has to wait.
    let mut codes = Vec::new();
    for _ in 0..6 {
        codes.push(ask(&bridge, &admin, "POST", "/pairings/confirm", &[], &json!({"code": "3333-3333"})).await.status);
    }
    assert!(codes.contains(&429), "{codes:?}");
}

#[tokio::test]
async fn agents_are_made_rotated_and_removed_through_the_api_by_admins_alone() {
    let bridge = Bridge::start("").await;
    let (admin, reader) = (token(&bridge, "boss", "admin"), token(&bridge, "reader", "read"));
    let made = ask(&bridge, &admin, "POST", "/agents", &[], &json!({"name": "main"})).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(ask(&bridge, &admin, "POST", "/agents", &[], &json!({"name": "main"})).await.status, 409);
    assert_eq!(ask(&bridge, &admin, "POST", "/agents", &[], &json!({"name": "Main Agent"})).await.status, 400);
    assert_eq!(ask(&bridge, &reader, "POST", "/agents", &[], &json!({"name": "other"})).await.status, 403);
    let _agent = Agent::connect(&bridge, &made.body).await;
    let shown = ask(&bridge, &reader, "GET", "/agents/main", &[], &Value::Null).await;
    assert_eq!((&shown.body["online"], shown.text.contains("oak_")), (&json!(true), false), "{shown:?}");
    let rotated = ask(&bridge, &admin, "POST", "/agents/main/rotate", &[], &json!({"now": true})).await;
    assert_eq!((rotated.status, rotated.body["secret"] == made.body["secret"]), (200, false));
    assert_eq!(ask(&bridge, &admin, "DELETE", "/agents/main", &[], &Value::Null).await.status, 200);
    assert_eq!(ask(&bridge, &admin, "DELETE", "/agents/main", &[], &Value::Null).await.status, 404);
    assert_eq!(ask(&bridge, &reader, "GET", "/agents/main", &[], &Value::Null).await.status, 404);
}
