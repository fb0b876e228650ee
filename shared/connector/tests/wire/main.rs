//! The connector over real sockets, between a bridge and a gateway that misbehave.

#![allow(clippy::unwrap_used)]

mod support;

use clawbridge_clock::Timestamp;
use clawbridge_connector::gateway::Mode;
use clawbridge_connector::link::State;
use clawbridge_connector::notice::Notice;
use clawbridge_connector::timing::Timing;
use clawbridge_responses::dialects::bridge::{FromConnector, ToConnector};
use clawbridge_responses::model::Status;
use std::time::Duration;
use support::{Bridge, Connector, Played, gateway_at, id, soon, timing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/../../events/channel/gateway/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[tokio::test]
async fn what_the_gateway_streams_arrives_equal_and_the_request_says_who_asks() {
    let (mut bridge, gateway) = (Bridge::start().await, Played::start().await);
    let mut settings = gateway_at(gateway.port());
    settings.system_prompt = Some("Be kind.".to_owned());
    let connector = Connector::start(&bridge, settings, timing());
    let mut peer = bridge.connected().await;
    peer.ask("r").await;
    let mut asked = gateway.asked().await;
    assert!(asked.head.starts_with("post /v1/responses http/1.1\r\n"), "{}", asked.head);
    assert!(asked.head.contains("authorization: bearer t0ken\r\n"));
    assert_eq!(asked.body["model"], "openclaw/main");
    assert_eq!(asked.body["stream"], true);
    assert_eq!(asked.body["instructions"], "Be kind.");
    asked.stream().await;
    // Cut where nobody would cut it.
    let recorded = fixture("stream.sse");
    for piece in recorded.chunks(701) {
        asked.write(piece).await;
    }
    let (response, text) = bridge.whole(&mut peer, "r").await;
    assert_eq!(response.status, Status::Completed);
    let recorded = String::from_utf8(recorded).unwrap();
    let whole = recorded.lines().filter_map(|line| line.strip_prefix("data: {")).find_map(|data| {
        let event: serde_json::Value = serde_json::from_str(&format!("{{{data}")).unwrap();
        (event["type"] == "response.output_text.done").then(|| event["text"].as_str().unwrap().to_owned())
    });
    assert_eq!(Some(text), whole);
    connector.stop().await;
    assert_eq!(peer.closed().await, Some(1000));
    let told = connector.over().await;
    let log: String =
        told.iter().map(|notice| notice.line(Timestamp::now()) + &notice.json(Timestamp::now())).collect();
    assert!(log.contains("turn r") && log.contains("beat every"), "{log}");
    for secret in ["PASSPHRASE", "STUB-REPLY", "t0ken", "Be kind"] {
        assert!(!log.contains(secret), "the log holds {secret}");
    }
}

#[tokio::test]
async fn an_answer_survives_connections_that_are_lost() {
    let (mut bridge, gateway) = (Bridge::start().await, Played::start().await);
    let _connector = Connector::start(&bridge, gateway_at(gateway.port()), timing());
    let mut peer = bridge.connected().await;
    peer.ask("r").await;
    let mut asked = gateway.asked().await;
    asked.stream().await;
    let mut expected = String::new();
    for round in 0..12 {
        let piece = format!("piece {round}. ");
        asked.delta(&piece).await;
        expected.push_str(&piece);
        // Until what was said has come; then the connection is lost: before it is stored, or stored and not acknowledged, or acknowledged.
        while !bridge.text("r").ends_with(&piece) {
            let frame = peer.frame().await;
            if round % 3 != 0 {
                let (name, next) = bridge.store(frame);
                if round % 3 == 2 || !bridge.text("r").ends_with(&piece) {
                    peer.ack(&name, next).await;
                    continue;
                }
            }
            drop(peer);
            peer = bridge.accept().await;
            assert_eq!(peer.greet().await.keys().collect::<Vec<_>>(), ["r"]);
            if round % 3 == 0 {
                bridge.take(&mut peer).await;
            }
        }
    }
    asked.complete(&expected).await;
    let (response, text) = bridge.whole(&mut peer, "r").await;
    assert_eq!((response.status, text), (Status::Completed, expected));
}

#[tokio::test]
async fn without_an_ack_one_frame_is_in_flight_and_two_hundred_deltas_become_one() {
    let (mut bridge, gateway) = (Bridge::start().await, Played::start().await);
    let _connector = Connector::start(&bridge, gateway_at(gateway.port()), timing());
    let mut peer = bridge.connected().await;
    peer.ask("r").await;
    // That it has come.
    assert!(matches!(peer.frame().await, FromConnector::Say { number: 0, events, .. } if events.is_empty()));
    let mut asked = gateway.asked().await;
    asked.stream().await;
    let mut expected = String::new();
    for number in 0..200 {
        asked.delta(&format!("{number} ")).await;
        expected.push_str(&format!("{number} "));
    }
    asked.complete(&expected).await;
    assert!(peer.is_quiet().await, "a second frame came before the first was acknowledged");
    peer.ack("r", 1).await;
    let frame = peer.frame().await;
    assert!(matches!(&frame, FromConnector::Say { number: 1, .. }), "{frame:?}");
    bridge.store(FromConnector::Say { response: id("r"), number: 0, events: vec![] });
    let (_, next) = bridge.store(frame);
    assert_eq!(bridge.text("r"), expected);
    // Twice, and late: neither is taken for another frame's.
    for next in [next, next, 1] {
        peer.ack("r", next).await;
    }
    let (response, text) = bridge.whole(&mut peer, "r").await;
    assert_eq!((response.status, text), (Status::Completed, expected));
    assert_eq!(bridge.frames, 1);
}

#[tokio::test]
async fn answers_do_not_wait_for_each_other_and_a_turn_that_comes_twice_is_asked_once() {
    let (mut bridge, gateway) = (Bridge::start().await, Played::start().await);
    let _connector = Connector::start(&bridge, gateway_at(gateway.port()), timing());
    let mut peer = bridge.connected().await;
    peer.ask("a").await;
    peer.ask("a").await;
    let mut first = gateway.asked().await;
    first.stream().await;
    peer.ask("b").await;
    // Only the second turn's: the first one's repetition asks nobody.
    let mut second = gateway.asked().await;
    assert_eq!(second.body["user"], "session-of-b");
    second.stream().await;
    second.delta("B").await;
    second.complete("B").await;
    assert_eq!(bridge.whole(&mut peer, "b").await.1, "B");
    first.delta("A").await;
    first.complete("A").await;
    assert_eq!(bridge.whole(&mut peer, "a").await.1, "A");
}

#[tokio::test]
async fn a_bridge_that_answers_no_beat_is_left_for_a_new_connection() {
    let (bridge, gateway) = (Bridge::start().await, Played::start().await);
    let quick = Timing { heartbeat: Duration::from_millis(40), dead_after: Duration::from_millis(200), ..timing() };
    let mut connector = Connector::start(&bridge, gateway_at(gateway.port()), quick);
    let mut deaf = bridge.connected().await;
    // It answers pings, as API Gateway may, and no beats.
    deaf.beat().await;
    let reader = tokio::spawn(async move { deaf.closed().await });
    let mut peer = bridge.accept().await;
    peer.greet().await;
    assert_ne!(soon("the first is dropped", reader).await.unwrap(), Some(1000));
    let states = |notice: &Notice| match notice {
        Notice::State { state, why, .. } => Some((*state, why.clone().unwrap_or_default())),
        _ => None,
    };
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.extend(soon("a state", connector.notices.recv()).await.as_ref().and_then(states));
    }
    let words: Vec<State> = seen.iter().map(|(state, _)| *state).collect();
    assert_eq!(words, [State::Connecting, State::Connected, State::Reconnecting, State::Connected]);
    assert!(seen[2].1.contains("answered no beat"), "{}", seen[2].1);
    // One that answers is kept, for longer than the other was.
    for _ in 0..12 {
        peer.beat().await;
        peer.send(&ToConnector::Beat {}).await;
    }
}

#[tokio::test]
async fn a_drained_connection_is_handed_over_without_a_gap() {
    let (mut bridge, gateway) = (Bridge::start().await, Played::start().await);
    let quick = Timing { between_hand_overs: Duration::ZERO, ..timing() };
    let _connector = Connector::start(&bridge, gateway_at(gateway.port()), quick);
    let mut first = bridge.connected().await;
    first.ask("r").await;
    bridge.take(&mut first).await;
    let mut asked = gateway.asked().await;
    asked.stream().await;
    asked.delta("one ").await;
    let in_flight = first.frame().await;
    first.send(&ToConnector::Drain { before: Timestamp::now().plus(Duration::from_secs(600)) }).await;
    let mut second = bridge.accept().await;
    assert_eq!(second.greet().await["r"], 1, "the frame that is on the way on the first");
    assert!(first.is_quiet().await, "the first is left before its frame is acknowledged");
    // A turn that is sent on the first while it is being left is not lost either.
    first.ask("late").await;
    bridge.take(&mut second).await;
    asked.delta("two ").await;
    let (name, next) = bridge.store(in_flight);
    first.ack(&name, next).await;
    assert!(matches!(first.frame().await, FromConnector::Leaving {}));
    assert_eq!(first.closed().await, Some(1000));
    let mut late = gateway.asked().await;
    late.stream().await;
    late.complete("later").await;
    asked.complete("one two ").await;
    assert_eq!(bridge.whole(&mut second, "r").await.1, "one two ");
    assert_eq!(bridge.whole(&mut second, "late").await.1, "later");
}

#[tokio::test]
async fn what_happens_to_a_request_is_told_truthfully() {
    let (mut bridge, gateway) = (Bridge::start().await, Played::start().await);
    let mut settings = gateway_at(gateway.port());
    settings.silence = Duration::from_millis(300);
    settings.wait = Duration::from_secs(5);
    let _connector = Connector::start(&bridge, settings, timing());
    let mut peer = bridge.connected().await;
    let sse = "content-type: text/event-stream\r\n";
    let recorded = fixture("wrong-token.json");
    let no_input = fixture("no-input.json");
    let refused = fixture("failed.json");
    let failed = fixture("failed.sse");
    for (name, status, more, body, code) in [
        ("token", "401 Unauthorized", "content-type: application/json\r\n", &recorded[..], "gateway_refused_token"),
        ("input", "400 Bad Request", "content-type: application/json\r\n", &no_input[..], "gateway_refused_request"),
        ("busy", "429 Too Many Requests", "retry-after: 60\r\n", b"{}", "gateway_busy"),
        ("broken", "500 Internal Server Error", "", b"oops", "gateway_error"),
        ("page", "200 OK", "content-type: text/html\r\n", b"<html>", "gateway_error"),
        ("garbage", "200 OK", sse, b"data: {\"type\": nonsense\n\n", "gateway_stream_broken"),
        ("cut", "200 OK", sse, b"data: {\"type\":\"response.created\",\"response\":{}}\n\n", "gateway_stream_broken"),
    ] {
        peer.ask(name).await;
        gateway.asked().await.answer(status, more, body).await;
        assert_eq!(bridge.failure(&mut peer, name).await, code, "{name}");
    }
    // What the gateway says about its model's failure, in both forms.
    for (name, status, more, body) in
        [("model", "400 Bad Request", "content-type: application/json\r\n", refused), ("stream", "200 OK", sse, failed)]
    {
        peer.ask(name).await;
        gateway.asked().await.answer(status, more, &body).await;
        let code = bridge.failure(&mut peer, name).await;
        assert!(!code.starts_with("gateway_"), "{name}: {code}");
    }
    peer.ask("silent").await;
    let mut asked = gateway.asked().await;
    asked.stream().await;
    assert_eq!(bridge.failure(&mut peer, "silent").await, "gateway_silent");
    asked.gone().await;
    // Without a head, too; and such a request, which may have been begun, is not made again.
    peer.ask("mute").await;
    let _asked = gateway.asked().await;
    assert_eq!(bridge.failure(&mut peer, "mute").await, "gateway_silent");
    peer.ask("hung").await;
    drop(gateway.asked().await);
    assert_eq!(bridge.failure(&mut peer, "hung").await, "gateway_stream_broken");
}

#[tokio::test]
async fn a_gateway_that_is_not_there_yet_is_waited_for_and_not_for_ever() {
    let mut bridge = Bridge::start().await;
    let port = Played::start().await.port();
    let connector = Connector::start(&bridge, gateway_at(port), timing());
    let mut peer = bridge.connected().await;
    peer.ask("r").await;
    bridge.take(&mut peer).await;
    let gateway = Played::at(port).await;
    // Busy once, and then it answers.
    gateway.asked().await.answer("503 Service Unavailable", "retry-after: 0\r\n", b"").await;
    let mut asked = gateway.asked().await;
    asked.stream().await;
    asked.complete("there").await;
    assert_eq!(bridge.whole(&mut peer, "r").await.1, "there");
    connector.stop().await;
    assert_eq!(peer.closed().await, Some(1000));
    connector.over().await;

    drop(gateway);
    let mut settings = gateway_at(port);
    settings.wait = Duration::ZERO;
    let _connector = Connector::start(&bridge, settings, timing());
    let mut peer = bridge.connected().await;
    peer.ask("q").await;
    assert_eq!(bridge.failure(&mut peer, "q").await, "gateway_unreachable");
}

#[tokio::test]
async fn a_cancelled_turn_closes_its_request() {
    let (mut bridge, gateway) = (Bridge::start().await, Played::start().await);
    let _connector = Connector::start(&bridge, gateway_at(gateway.port()), timing());
    let mut peer = bridge.connected().await;
    peer.ask("r").await;
    bridge.take(&mut peer).await;
    let mut asked = gateway.asked().await;
    asked.stream().await;
    asked.delta("a").await;
    peer.frame().await;
    peer.send(&ToConnector::Cancel { response: id("r") }).await;
    asked.gone().await;
    drop(peer);
    let mut peer = bridge.accept().await;
    assert!(peer.greet().await.is_empty(), "it is forgotten");
}

#[tokio::test]
async fn a_stopped_connector_finishes_what_is_under_way_and_says_goodbye() {
    let (mut bridge, gateway) = (Bridge::start().await, Played::start().await);
    let connector = Connector::start(&bridge, gateway_at(gateway.port()), timing());
    let mut peer = bridge.connected().await;
    peer.ask("r").await;
    bridge.take(&mut peer).await;
    let mut asked = gateway.asked().await;
    asked.stream().await;
    connector.stop().await;
    peer.ask("new").await;
    asked.delta("whole").await;
    asked.complete("whole").await;
    assert_eq!(bridge.whole(&mut peer, "r").await.1, "whole");
    assert!(matches!(peer.frame().await, FromConnector::Leaving {}));
    assert_eq!(peer.closed().await, Some(1000));
    let told = connector.over().await;
    assert!(matches!(told.last(), Some(Notice::State { state: State::Disconnected, .. })), "{told:?}");

    // Stopped twice: what is under way ends at once, and says so.
    let connector = Connector::start(&bridge, gateway_at(gateway.port()), timing());
    let mut peer = bridge.connected().await;
    peer.ask("q").await;
    bridge.take(&mut peer).await;
    let mut asked = gateway.asked().await;
    asked.stream().await;
    connector.stop().await;
    connector.stop().await;
    assert_eq!(bridge.failure(&mut peer, "q").await, "connector_stopped");
    asked.gone().await;
    assert_eq!(peer.closed().await, Some(1000));
    connector.over().await;
}

#[tokio::test]
async fn a_refused_key_is_told_and_tried_again() {
    let (bridge, gateway) = (Bridge::start().await, Played::start().await);
    let mut connector = Connector::start(&bridge, gateway_at(gateway.port()), timing());
    let mut stream = bridge.tcp().await;
    let mut head = [0; 4096];
    assert!(stream.read(&mut head).await.unwrap() > 0);
    stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    bridge.connected().await;
    let mut lines = Vec::new();
    while !lines.iter().any(|line: &String| line.contains("reconnecting in")) {
        lines.push(soon("a line", connector.notices.recv()).await.unwrap().line(Timestamp::now()));
    }
    assert!(lines.last().unwrap().ends_with("refused with 401"), "{lines:?}");
}

#[tokio::test]
async fn a_hook_says_that_its_run_is_over_and_makes_no_text_up() {
    let (mut bridge, gateway) = (Bridge::start().await, Played::start().await);
    let mut settings = gateway_at(gateway.port());
    settings.mode = Mode::Hooks;
    settings.hook_sessions = Some("hook:".to_owned());
    let _connector = Connector::start(&bridge, settings, timing());
    let mut peer = bridge.connected().await;
    peer.ask("r").await;
    let mut asked = gateway.asked().await;
    assert!(asked.head.starts_with("post /hooks/agent ") && asked.head.contains("idempotency-key: r\r\n"));
    assert_eq!(asked.body["sessionKey"], "hook:session-of-r");
    assert_eq!(asked.body["agentId"], "main");
    assert!(asked.body["message"].as_str().unwrap().contains("PASSPHRASE"));
    let done = br#"{"ok":true,"runId":"52093df2","completion":{"status":"ok","replyDisposition":"visible"}}"#;
    asked.answer("200 OK", "content-type: application/json\r\n", done).await;
    drop(asked);
    let (response, text) = bridge.whole(&mut peer, "r").await;
    assert_eq!(response.status, Status::Completed);
    assert!(text.contains("52093df2"), "{text}");
    peer.ask("q").await;
    let body = br#"{"ok":false,"error":"unknown agentId \"main\""}"#;
    gateway.asked().await.answer("400 Bad Request", "content-type: application/json\r\n", body).await;
    assert_eq!(bridge.failure(&mut peer, "q").await, "gateway_refused_request");
}
