//! Chatting over the running bridge: the terminal client and the page at one end, an agent that the test plays at the other, the channel between.

use crate::support::Bridge;
use crate::support::authority::runtime;
use crate::support::talk::Talk;
use aws_sdk_dynamodb::Client as TablesClient;
use clawbridge_access::{AgentRecord, AppKey, AppSecret, KeptSecret};
use clawbridge_aws::{Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_registry::Registry;
use clawbridge_responses::AgentEvent;
use clawbridge_responses::dialects::Turn;
use clawbridge_responses::dialects::bridge::{FromConnector, ToConnector, read_from_bridge, write};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

const PATIENCE: Duration = Duration::from_secs(60);

/// An agent with a connector of ours, which the test plays.
struct Agent {
    socket: WebSocketStream<TcpStream>,
}

/// What an agent connects with.
struct Credentials(AppKey, AppSecret);

async fn register(bridge: &Bridge, name: &str) -> Credentials {
    let config = sdk_config(&Environment::local(&bridge.private)).expect("a configuration");
    let registry = Registry::new(TablesClient::new(&config), "clawbridge-registry".to_owned());
    let (key, secret, now) = (AppKey::of([1; 16]), AppSecret::of([2; 32]), Timestamp::now());
    let kept = KeptSecret { hash: secret.hash(), created_at: now, expires_at: None };
    let record = AgentRecord { name: name.to_owned(), key: key.clone(), secrets: vec![kept], created_at: now };
    assert!(registry.put_agent(&record).await.expect("the registry"));
    Credentials(key, secret)
}

impl Agent {
    async fn connect(bridge: &Bridge, credentials: &Credentials) -> Agent {
        let host = bridge.public.trim_start_matches("http://");
        let mut request = format!("ws://{host}/responses").into_client_request().expect("a request");
        let Credentials(key, secret) = credentials;
        for (name, value) in
            [("x-app-key", key.as_str()), ("x-app-secret", secret.reveal()), ("x-clawbridge-connector", "bridge.v1")]
        {
            request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a header"));
        }
        let stream = TcpStream::connect(host).await.expect("a connection");
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.expect("a socket");
        let mut agent = Agent { socket };
        let hello =
            FromConnector::Hello { connector: "test 1".to_owned(), instance: "i1".to_owned(), holds: Vec::new() };
        agent.send(&hello).await;
        let welcome = agent.frame().await;
        assert!(matches!(welcome, ToConnector::Welcome { .. }), "{welcome:?}");
        agent
    }

    async fn send(&mut self, frame: &FromConnector) {
        self.socket.send(Message::text(write(frame))).await.expect("sent");
    }

    async fn frame(&mut self) -> ToConnector {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a frame in time");
            if let Message::Text(text) = message.expect("a connection").expect("a message") {
                return read_from_bridge(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            }
        }
    }

    async fn turn(&mut self) -> Turn {
        match self.frame().await {
            ToConnector::Turn(turn) => *turn,
            other => panic!("not a turn: {other:?}"),
        }
    }

    /// Says something, and waits until it is stored.
    async fn say(&mut self, turn: &Turn, number: u64, events: Vec<AgentEvent>) {
        self.send(&FromConnector::Say { response: turn.response.clone(), number, events }).await;
        match self.frame().await {
            ToConnector::Ack { response, next } => assert_eq!((&response, next), (&turn.response, number + 1)),
            other => panic!("not an ack: {other:?}"),
        }
    }

    async fn until_cancelled(&mut self, turn: &Turn) {
        match self.frame().await {
            ToConnector::Cancel { response } => assert_eq!(response, turn.response),
            other => panic!("not a cancel: {other:?}"),
        }
    }
}

fn text(text: &str) -> AgentEvent {
    AgentEvent::Text { text: text.to_owned() }
}

fn completed() -> AgentEvent {
    AgentEvent::Completed { text: None, usage: None }
}

/// What the user said in a turn.
fn said(turn: &Turn) -> String {
    let input = serde_json::to_value(&turn.input).expect("JSON");
    input.to_string()
}

/// A bridge with one agent, and the directory of its state.
async fn bridge() -> (Bridge, Credentials, String) {
    let bridge = Bridge::start("").await;
    let credentials = register(&bridge, "coder").await;
    let state = bridge.dir.path().join("state").to_str().expect("a path").to_owned();
    (bridge, credentials, state)
}

/// The client of the bridge, which finds its address and its token by itself.
fn arguments<'a>(bridge: &'a Bridge, state: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&["--local", bridge.private.as_str(), "--state", state, "--no-history"][..], rest].concat()
}

/// A way to the bridge that can be cut.
struct Way {
    url: String,
    cut: watch::Sender<u32>,
}

impl Way {
    async fn to(bridge: &Bridge) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("ws://{}/responses", listener.local_addr().expect("an address"));
        let to = bridge.public.trim_start_matches("http://").to_owned();
        let (cut, is_cut) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (to, mut is_cut) = (to.clone(), is_cut.clone());
                is_cut.mark_unchanged();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(to).await.expect("a connection");
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = is_cut.changed() => {}
                    }
                });
            }
        });
        Way { url, cut }
    }

    /// Breaks all connections that there are.
    fn cut(&self) {
        self.cut.send_modify(|times| *times += 1);
    }
}

#[tokio::test]
async fn a_prompt_reaches_the_agent_and_its_answer_whoever_asked() {
    let (bridge, credentials, state) = bridge().await;
    let mut agent = Agent::connect(&bridge, &credentials).await;
    let mut talk = Talk::piped(&arguments(&bridge, &state, &["-m", "which invoices are open?"]));
    let turn = agent.turn().await;
    assert!(said(&turn).contains("which invoices are open?"), "{turn:?}");
    agent.say(&turn, 0, vec![AgentEvent::Began, text("Two: ")]).await;
    agent.say(&turn, 1, vec![text("in_1 and in_2."), completed()]).await;
    assert_eq!((talk.ended().await, talk.out().as_str()), (0, "Two: in_1 and in_2.\n"), "{}", talk.err());
}

#[tokio::test]
async fn a_prompt_for_an_agent_that_is_not_connected_waits_for_it() {
    let (bridge, credentials, state) = bridge().await;
    let mut talk = Talk::piped(&arguments(&bridge, &state, &["coder", "-m", "hello"]));
    talk.until_says("queued: it waits until the agent is connected", 1).await;
    let mut agent = Agent::connect(&bridge, &credentials).await;
    let turn = agent.turn().await;
    agent.say(&turn, 0, vec![text("Good morning."), completed()]).await;
    assert_eq!((talk.ended().await, talk.out().as_str()), (0, "Good morning.\n"), "{}", talk.err());
    let mut talk = Talk::piped(&arguments(&bridge, &state, &["-m", "again"]));
    let turn = agent.turn().await;
    let failed = AgentEvent::Failed { code: "agent_error".to_owned(), message: "It broke.".to_owned() };
    agent.say(&turn, 0, vec![failed]).await;
    assert_eq!((talk.ended().await, talk.out().as_str()), (1, ""));
    assert!(talk.err().contains("failed: It broke (agent_error)"), "{}", talk.err());
}

#[tokio::test]
async fn an_answer_goes_on_after_the_connection_broke_in_its_middle() {
    let (bridge, credentials, state) = bridge().await;
    let way = Way::to(&bridge).await;
    let token = format!("{state}/token");
    let mut agent = Agent::connect(&bridge, &credentials).await;
    let args = arguments(&bridge, &state, &["-m", "count", "--json", "--url", &way.url, "--token-file", &token]);
    let mut talk = Talk::piped(&args);
    let turn = agent.turn().await;
    agent.say(&turn, 0, vec![text("one ")]).await;
    talk.until_says("one ", 1).await;
    way.cut();
    // Some of it is said while nobody hears it.
    agent.say(&turn, 1, vec![text("two ")]).await;
    talk.until_says("two ", 1).await;
    way.cut();
    agent.say(&turn, 2, vec![text("three"), completed()]).await;
    assert_eq!(talk.ended().await, 0, "{} {}", talk.out(), talk.err());
    let events: Vec<Value> = talk.out().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let numbers: Vec<u64> = events.iter().filter_map(|event| event["sequence_number"].as_u64()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<u64>>());
    let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(deltas, "one two three");
}

#[tokio::test]
async fn whoever_comes_back_to_a_session_hears_the_answer_that_is_under_way() {
    let (bridge, credentials, state) = bridge().await;
    let mut agent = Agent::connect(&bridge, &credentials).await;
    let mut first = Talk::at_terminal(&arguments(&bridge, &state, &["--session", "work"]));
    first.until_says("> ", 1).await;
    first.type_in("think\r");
    let turn = agent.turn().await;
    agent.say(&turn, 0, vec![text("Hmm, ")]).await;
    first.until_says("Hmm, ", 1).await;
    first.type_in("/quit\n");
    assert_eq!(first.ended().await, 0);
    let mut second = Talk::at_terminal(&arguments(&bridge, &state, &["--session", "work"]));
    second.until_says("Hmm, ", 1).await;
    agent.say(&turn, 1, vec![text("yes."), completed()]).await;
    second.until_says("Hmm, yes.", 1).await;
    // Given up: the agent is told.
    second.type_in("once more\r");
    let turn = agent.turn().await;
    agent.say(&turn, 0, vec![text("Well")]).await;
    second.until_says("Well", 1).await;
    second.interrupt();
    agent.until_cancelled(&turn).await;
    second.until_says("(cancelled)", 1).await;
    second.type_in("/quit\r");
    assert_eq!(second.ended().await, 0);
}

#[tokio::test]
async fn the_page_of_dev_talks_to_the_agent() {
    let Some(runtime) = runtime() else { return };
    let (bridge, credentials, _) = bridge().await;
    let page = runtime.chat_page(&format!("{}/chat", bridge.private)).await;
    page.until_state("connected").await;
    page.say("hello from a browser").await;
    page.until_state("queued").await;
    let mut agent = Agent::connect(&bridge, &credentials).await;
    let turn = agent.turn().await;
    assert!(said(&turn).contains("hello from a browser"), "{turn:?}");
    agent.say(&turn, 0, vec![text("Good ")]).await;
    page.until_log("Good").await;
    agent.say(&turn, 1, vec![text("evening."), completed()]).await;
    page.until_log("Good evening.").await;
    page.say("and now?").await;
    let turn = agent.turn().await;
    agent.say(&turn, 0, vec![text("Well")]).await;
    page.until_log("Well").await;
    page.click("#cancel").await;
    agent.until_cancelled(&turn).await;
    page.until_log("Cancelled.").await;
    // The tab comes back to its session.
    page.go(&format!("{}/chat", bridge.private)).await;
    page.until_log("Cancelled.").await;
    let sight = page.read().await;
    assert!(sight.log.contains("Well") && sight.console.is_empty(), "{sight:?}");
}
