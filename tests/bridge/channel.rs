//! The channel: users and agents over real sockets, through the function as API Gateway invokes it.

use crate::support::channel::{Socket, agent, deltas, end, recording, say, token};
use crate::support::{Bridge, Options, eventually};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

type Headers<'a> = &'a [(&'a str, &'a str)];

async fn quick() -> Bridge {
    let args = ["--channel-look", "1"].map(str::to_owned).to_vec();
    Bridge::start_with(Options { config: Some(String::new()), args }).await
}

#[tokio::test]
async fn an_answer_is_streamed_from_the_agent_to_the_user_and_turns_of_a_connection_follow_each_other() {
    let bridge = Bridge::start("").await;
    let keys = agent(&bridge, "main").await;
    let token = token(&bridge, "ann", &["agent:main"]).await;
    let mut claw = Socket::bridge_v1(&bridge, &keys, "i", json!([])).await;
    let mut user = Socket::user(&bridge, &token).await;
    for text in ["one", "two", "three"] {
        user.create("main", text, &json!({})).await;
        // Each is its own invocation: sent at once they might come in another order.
        if text == "one" {
            assert_eq!(user.next().await["type"], "response.created");
        }
    }
    // Those that wait are told so, before the first is answered.
    let mut frames = Vec::new();
    while frames.iter().filter(|frame: &&Value| frame["type"] == "response.queued").count() < 2 {
        frames.push(user.next().await);
    }
    let mut asked = Vec::new();
    for number in 0..3 {
        let turn = claw.turn().await;
        asked.push(turn["input"][0]["content"][0]["text"].as_str().expect("text").to_owned());
        claw.answer(&turn, &format!("answer {number}")).await;
    }
    assert_eq!(asked[0], "one");
    asked.sort_unstable();
    assert_eq!(asked, ["one", "three", "two"]);
    while frames.iter().filter(|frame| frame["type"] == "response.completed").count() < 3 {
        frames.push(user.next().await);
    }
    let texts: Vec<&str> = frames
        .iter()
        .filter(|frame| frame["type"] == "response.completed")
        .map(|frame| frame["response"]["output"][0]["content"][0]["text"].as_str().expect("text"))
        .collect();
    assert_eq!(texts, ["answer 0", "answer 1", "answer 2"]);
}

#[tokio::test]
async fn what_a_turn_continues_must_be_known_and_is_forgotten_when_it_fails() {
    let bridge = Bridge::start("").await;
    let keys = agent(&bridge, "main").await;
    let token = token(&bridge, "ann", &["agent:main"]).await;
    let mut claw = Socket::bridge_v1(&bridge, &keys, "i", json!([])).await;
    let mut user = Socket::user(&bridge, &token).await;
    let mut ids: Vec<Value> = Vec::new();
    let mut sessions = Vec::new();
    for (previous, store) in [(None, true), (Some(0), false), (Some(1), true)] {
        let previous = previous.map_or(Value::Null, |index: usize| ids[index].clone());
        user.create("main", "go on", &json!({"previous_response_id": previous, "store": store})).await;
        let turn = claw.turn().await;
        claw.answer(&turn, "fine").await;
        let events = user.events(0).await;
        assert_eq!(end(&events).0, "completed");
        ids.push(events[0]["response"]["id"].clone());
        sessions.push(turn["session"].clone());
    }
    assert!(sessions.iter().all(|session| *session == sessions[0]), "{sessions:?}");
    let refused = |frame: &Value| (frame["type"].clone(), frame["error"]["code"].clone());
    let not_found = (json!("error"), json!("previous_response_not_found"));
    // Not stored, and not the latest any more; on another connection neither; another user's never.
    let other_token = crate::support::channel::token(&bridge, "bob", &["agent:main"]).await;
    let mut elsewhere = Socket::user(&bridge, &token).await;
    let mut stranger = Socket::user(&bridge, &other_token).await;
    for (socket, ids) in [
        (&mut user, vec![ids[1].clone()]),
        (&mut elsewhere, vec![ids[1].clone()]),
        (&mut stranger, vec![ids[0].clone(), json!("resp_no")]),
    ] {
        for id in ids {
            socket.create("main", "x", &json!({"previous_response_id": id})).await;
            assert_eq!(refused(&socket.next().await), not_found);
        }
    }
    // A stored one is continued elsewhere; one that a refused turn referred to is gone for this connection alone.
    let output = json!([{"type": "function_call_output", "call_id": "ghost", "output": "x"}]);
    let create = json!({"type": "response.create", "model": "main", "input": output, "previous_response_id": ids[2]});
    user.send(&create).await;
    assert_eq!(user.next().await["error"]["code"], "invalid_value");
    user.create("main", "x", &json!({"previous_response_id": ids[2]})).await;
    assert_eq!(refused(&user.next().await), not_found);
    elsewhere.create("main", "x", &json!({"previous_response_id": ids[2]})).await;
    let turn = claw.turn().await;
    claw.answer(&turn, "fine").await;
    assert_eq!(end(&elsewhere.events(0).await).0, "completed");
}

#[tokio::test]
async fn connectors_of_every_dialect_answer_in_order() {
    for shuffle in [None, Some("7")] {
        let mut args = vec!["--channel-look".to_owned(), "1".to_owned()];
        args.extend(shuffle.iter().flat_map(|seed| ["--channel-shuffle".to_owned(), (*seed).to_owned()]));
        let bridge = Bridge::start_with(Options { config: Some(String::new()), args }).await;
        let keys = agent(&bridge, "main").await;
        let token = token(&bridge, "ann", &["agent:main"]).await;
        let mut user = Socket::user(&bridge, &token).await;
        let recordings = [
            ("e-stream", None),
            ("c-echo", Some("Echo: hello old")),
            ("d-snapshots-and-block", Some("reply to hello envelope")),
            // The text of a block comes after its end.
            ("e-block", Some("reply to BLOCK only")),
        ];
        for (name, expected) in recordings {
            let mut plugin = Socket::connector(&bridge, &keys).await;
            user.create("main", "hello", &json!({"metadata": {"session_id": name}})).await;
            let request = plugin.next().await;
            let session = request["metadata"]["session_id"].as_str().unwrap_or_default().to_owned();
            for frame in recording(name, &session) {
                plugin.text(&frame).await;
            }
            let events = user.events(0).await;
            let (status, text, why) = end(&events);
            assert_eq!((status.as_str(), why.as_str()), ("completed", ""), "{name}: {events:#?}");
            assert_eq!(deltas(&events), text, "{name}");
            match expected {
                Some(expected) => assert_eq!(text, expected, "{name}"),
                None => {
                    let words: Vec<String> = (0..12).map(|number| format!("word{number}")).collect();
                    assert!(text.contains(&words.join(" ")), "{name}: {text}");
                }
            }
        }
    }
}

#[tokio::test]
async fn turns_for_an_agent_that_is_away_wait_and_are_answered_in_order_when_it_comes() {
    let bridge = quick().await;
    let keys = agent(&bridge, "main").await;
    let token = token(&bridge, "ann", &["agent:main"]).await;
    let mut user = Socket::user(&bridge, &token).await;
    for text in ["secret-words one", "secret-words two"] {
        user.create("main", text, &json!({"metadata": {"session_id": "s"}})).await;
        assert_eq!(user.next().await["type"], "response.created");
        assert_eq!(user.next().await["type"], "response.queued");
    }
    let mut claw = Socket::bridge_v1(&bridge, &keys, "i", json!([])).await;
    for text in ["one", "two"] {
        let turn = claw.turn().await;
        assert_eq!(turn["input"][0]["content"][0]["text"], format!("secret-words {text}"));
        claw.answer(&turn, text).await;
        assert_eq!(end(&user.events(2).await), ("completed".into(), text.into(), String::new()));
    }
    assert!(!format!("{:?}", bridge.journal()).contains("secret-words"));
}

#[tokio::test]
async fn an_agent_that_is_lost_in_the_middle_is_told_of_and_one_of_ours_goes_on_where_it_was() {
    let bridge = quick().await;
    let token = token(&bridge, "ann", &["agent:main", "agent:plugin"]).await;
    let (main, plugin) = (agent(&bridge, "main").await, agent(&bridge, "plugin").await);
    let mut user = Socket::user(&bridge, &token).await;
    // A connector of others cannot take an answer up again.
    let mut socket = Socket::connector(&bridge, &plugin).await;
    user.create("plugin", "x", &json!({})).await;
    let request = socket.next().await;
    let session = request["metadata"]["session_id"].as_str().expect("a session").to_owned();
    for frame in &recording("e-stream", &session)[..4] {
        socket.text(frame).await;
    }
    loop {
        let event = user.next().await;
        if event["type"] == "response.output_text.delta" {
            break;
        }
    }
    drop(socket);
    let ending = loop {
        let event = user.next().await;
        if event["type"] == "response.incomplete" {
            break event;
        }
    };
    assert_eq!(ending["response"]["incomplete_details"]["reason"], "agent_disconnected");
    // Ours says what it holds, and repeats its frame in flight.
    let mut claw = Socket::bridge_v1(&bridge, &main, "i", json!([])).await;
    user.create("main", "x", &json!({})).await;
    let turn = claw.turn().await;
    claw.say(&turn["response"], 0, json!([{"event": "began"}, {"event": "text", "text": "a"}])).await;
    claw.send(&say(&turn["response"], 1, json!([{"event": "text", "text": "b"}]))).await;
    drop(claw);
    let holds = json!([{"response": turn["response"], "next": 1}, {"response": "resp_unknown", "next": 0}]);
    let mut claw = Socket::bridge_v1(&bridge, &main, "i", holds).await;
    assert_eq!(claw.next().await, json!({"bridge": 1, "type": "cancel", "response": "resp_unknown"}));
    claw.say(&turn["response"], 1, json!([{"event": "text", "text": "b"}])).await;
    claw.say(&turn["response"], 2, json!([{"event": "completed", "text": "ab"}])).await;
    assert_eq!(end(&user.events(0).await), ("completed".into(), "ab".into(), String::new()));
    // Another process of it has lost what it had begun.
    user.create("main", "x", &json!({})).await;
    let turn = claw.turn().await;
    claw.say(&turn["response"], 0, json!([{"event": "text", "text": "a"}])).await;
    drop(claw);
    let mut claw = Socket::bridge_v1(&bridge, &main, "j", json!([])).await;
    assert_eq!(end(&user.events(0).await), ("incomplete".into(), "a".into(), "agent_restarted".into()));
    claw.send(&say(&turn["response"], 1, json!([{"event": "text", "text": "b"}]))).await;
    assert_eq!(claw.next().await["type"], "ack");
    assert_eq!(claw.next().await["type"], "cancel");
}

#[tokio::test]
async fn a_user_who_comes_back_gets_what_they_have_missed_without_gap_or_repeat() {
    let bridge = Bridge::start("").await;
    let keys = agent(&bridge, "main").await;
    let token = token(&bridge, "ann", &["agent:main"]).await;
    let mut claw = Socket::bridge_v1(&bridge, &keys, "i", json!([])).await;
    let mut user = Socket::user(&bridge, &token).await;
    user.create("main", "x", &json!({})).await;
    let turn = claw.turn().await;
    let response = turn["response"].clone();
    claw.say(&response, 0, json!([{"event": "text", "text": "w0 "}])).await;
    let mut last = 0;
    for number in 0..4 {
        let event = user.next().await;
        assert_eq!(event["sequence_number"], number);
        last = number;
    }
    drop(user);
    // They come back again and again while the agent goes on.
    let saying = tokio::spawn(async move {
        for number in 1..40 {
            let text = format!("w{number} ");
            claw.say(&response, number, json!([{"event": "text", "text": text}])).await;
        }
        claw.say(&response, 40, json!([{"event": "completed"}])).await;
    });
    let mut seen: Vec<Value> = Vec::new();
    'coming_back: loop {
        let mut user = Socket::user(&bridge, &token).await;
        let resume = json!({"type": "response.resume", "response_id": turn["response"], "starting_after": last});
        user.send(&resume).await;
        for _ in 0..7 {
            let event = user.next().await;
            assert_eq!(event["sequence_number"], last + 1, "{event}");
            last += 1;
            let is_over = event["type"] == "response.completed";
            seen.push(event);
            if is_over {
                break 'coming_back;
            }
        }
    }
    saying.await.expect("said");
    let words: String = (0..40).map(|number| format!("w{number} ")).collect();
    assert_eq!(end(&seen).1, words);
    // What is over is had again from any point.
    let mut user = Socket::user(&bridge, &token).await;
    user.send(&json!({"type": "response.resume", "response_id": turn["response"]})).await;
    assert_eq!(deltas(&user.events(0).await), words);
}

#[tokio::test]
async fn nobody_reaches_what_is_anothers() {
    let bridge = Bridge::start("").await;
    let keys = agent(&bridge, "main").await;
    agent(&bridge, "hidden").await;
    let ann = token(&bridge, "ann", &["agent:main"]).await;
    let bob = token(&bridge, "bob", &["agent:main", "group:team"]).await;
    let eve = token(&bridge, "eve", &["agent:main", "group:team"]).await;
    let mut claw = Socket::bridge_v1(&bridge, &keys, "i", json!([])).await;
    let (mut of_ann, mut of_bob) = (Socket::user(&bridge, &ann).await, Socket::user(&bridge, &bob).await);
    let mut sessions = Vec::new();
    for user in [&mut of_ann, &mut of_bob] {
        user.create("main", "x", &json!({"metadata": {"session_id": "same"}})).await;
        let turn = claw.turn().await;
        claw.answer(&turn, "fine").await;
        let events = user.events(0).await;
        sessions.push((turn["session"].clone(), events[0]["response"]["id"].clone()));
    }
    assert_ne!(sessions[0].0, sessions[1].0);
    for frame in [
        json!({"type": "response.resume", "response_id": sessions[0].1}),
        json!({"type": "response.cancel", "response_id": sessions[0].1}),
    ] {
        of_bob.send(&frame).await;
        assert_eq!(of_bob.next().await["error"]["code"], "not_found");
    }
    // The one agent that the token may ask is meant, whatever is named.
    of_ann.create("hidden", "x", &json!({})).await;
    let turn = claw.turn().await;
    assert_eq!(turn["settings"]["model"], "hidden");
    claw.answer(&turn, "fine").await;
    of_ann.events(0).await;
    // A group is entered with its scope, and then heard.
    of_ann.send(&json!({"type": "session.join", "session_id": "group:team", "agent": "main"})).await;
    assert_eq!(of_ann.next().await["error"]["code"], "not_found");
    let mut of_eve = Socket::user(&bridge, &eve).await;
    of_eve.send(&json!({"type": "session.join", "session_id": "group:team", "agent": "main"})).await;
    let joined = of_eve.next().await;
    assert_eq!((&joined["type"], &joined["agent"]), (&json!("session.joined"), &json!("main")));
    of_bob.create("main", "x", &json!({"metadata": {"session_id": "group:team"}})).await;
    let turn = claw.turn().await;
    claw.answer(&turn, "to all").await;
    for user in [&mut of_bob, &mut of_eve] {
        assert_eq!(end(&user.events(0).await).1, "to all");
    }
    of_eve.send(&json!({"type": "session.leave", "session_id": "group:team", "agent": "main"})).await;
    assert_eq!(of_eve.next().await["type"], "session.left");
    of_bob.create("main", "x", &json!({"metadata": {"session_id": "group:team"}})).await;
    let turn = claw.turn().await;
    claw.answer(&turn, "to bob").await;
    assert_eq!(end(&of_bob.events(0).await).1, "to bob");
    of_eve.send(&json!({"type": "response.create"})).await;
    assert_eq!(of_eve.next().await["error"]["code"], "missing_required_parameter");
}

#[tokio::test]
async fn only_who_has_a_key_or_a_token_gets_in() {
    let bridge = Bridge::start("").await;
    let (keys, other) = (agent(&bridge, "main").await, agent(&bridge, "other").await);
    let (good, reader) = (token(&bridge, "ann", &["agent:main"]).await, token(&bridge, "eve", &["read"]).await);
    let (good, bearer, reader) =
        (format!("clawbridge.v1, bearer.{good}"), format!("Bearer {good}"), format!("Bearer {reader}"));
    let cut = &bearer[..bearer.len() - 1];
    let rows: [(Headers<'_>, Option<u16>); 9] = [
        (&[], Some(401)),
        (&[("authorization", &bearer)], None),
        (&[("sec-websocket-protocol", &good)], None),
        (&[("authorization", cut)], Some(401)),
        (&[("authorization", &reader)], Some(403)),
        (&[("x-app-key", &keys.key), ("x-app-secret", &keys.secret)], None),
        (&[("x-app-key", &keys.key)], Some(401)),
        (&[("x-app-key", &keys.key), ("x-app-secret", &other.secret)], Some(401)),
        (&[("x-app-key", &keys.key), ("x-app-secret", &keys.secret[..20])], Some(401)),
    ];
    for (headers, refused) in rows {
        assert_eq!(Socket::connect(&bridge, headers).await.err(), refused, "{headers:?}");
    }
    bridge.lines("channel.refused", 6).await;
    let journal = format!("{:?}", bridge.journal());
    for secret in [keys.secret.as_str(), other.secret.as_str(), &bearer[12..], &reader[12..]] {
        assert!(!journal.contains(secret));
    }
}

#[tokio::test]
async fn what_is_no_request_gets_an_error_with_a_code_and_ends_nothing() {
    let bridge = Bridge::start("").await;
    let keys = agent(&bridge, "main").await;
    let token = token(&bridge, "ann", &["agent:main"]).await;
    let mut claw = Socket::bridge_v1(&bridge, &keys, "i", json!([])).await;
    let mut user = Socket::user(&bridge, &token).await;
    let deep = format!(r#"{{"type":"response.create","x":{}}}"#, "[".repeat(1000));
    for (frame, code) in [
        ("not JSON", "invalid_json"),
        ("[1]", "invalid_json"),
        (r#"{"type":"party"}"#, "unknown_event_type"),
        (r#"{"type":"response.create","model":"main"}"#, "missing_required_parameter"),
        (r#"{"type":"response.create","model":"main","input":"x","stream":true}"#, "unsupported_parameter"),
        (&deep, "request_too_deep"),
    ] {
        user.text(frame).await;
        assert_eq!(user.next().await["error"]["code"], code, "{}", &frame[..frame.len().min(80)]);
    }
    for frame in ["garbage", r#"{"bridge":1,"type":"party"}"#, r#"{"bridge":2,"type":"beat"}"#, &deep] {
        claw.text(frame).await;
    }
    claw.send(&say(&json!("resp_of_nobody"), 0, json!([]))).await;
    assert_eq!(claw.next().await["type"], "cancel");
    user.create("main", "x", &json!({})).await;
    let turn = claw.turn().await;
    claw.answer(&turn, "fine").await;
    assert_eq!(end(&user.events(0).await).0, "completed");
    bridge.lines("channel.frame_refused", 10).await;
    assert!(user.try_send(Message::binary(vec![1, 2, 3])).await);
    assert_eq!(user.frame().await, Err(1003));
}

#[tokio::test]
async fn who_floods_is_told_and_then_cut_off_and_others_are_not_kept_waiting() {
    let bridge = Bridge::start("").await;
    let keys = agent(&bridge, "main").await;
    let token = token(&bridge, "ann", &["agent:main"]).await;
    let mut claw = Socket::bridge_v1(&bridge, &keys, "i", json!([])).await;
    let (mut flooder, mut user) = (Socket::user(&bridge, &token).await, Socket::user(&bridge, &token).await);
    for _ in 0..30 {
        assert!(flooder.try_send(Message::text(r#"{"type":"party"}"#)).await);
    }
    while flooder.next().await["error"]["code"] != "rate_limit_exceeded" {}
    for _ in 0..500 {
        if !flooder.try_send(Message::text(r#"{"type":"party"}"#)).await {
            break;
        }
    }
    user.create("main", "x", &json!({})).await;
    let turn = claw.turn().await;
    claw.answer(&turn, "fine").await;
    assert_eq!(end(&user.events(0).await).0, "completed");
    while flooder.frame().await.is_ok() {}
}

#[tokio::test]
async fn the_newest_connection_of_an_agent_gets_its_turns_each_once() {
    let bridge = Bridge::start("").await;
    let keys = agent(&bridge, "main").await;
    let token = token(&bridge, "ann", &["agent:main"]).await;
    let mut old = Socket::bridge_v1(&bridge, &keys, "i", json!([])).await;
    let mut user = Socket::user(&bridge, &token).await;
    user.create("main", "x", &json!({})).await;
    let first = old.turn().await;
    old.say(&first["response"], 0, json!([{"event": "text", "text": "a"}])).await;
    let holds = json!([{"response": first["response"], "next": 1}]);
    let mut new = Socket::bridge_v1(&bridge, &keys, "i", holds).await;
    // What it had begun there is ended here; what is new comes here alone.
    new.say(&first["response"], 1, json!([{"event": "completed", "text": "a"}])).await;
    assert_eq!(end(&user.events(0).await).1, "a");
    user.create("main", "x", &json!({})).await;
    let second = new.turn().await;
    new.answer(&second, "b").await;
    assert_eq!(end(&user.events(0).await).1, "b");
    old.send(&json!({"bridge": 1, "type": "beat"})).await;
    assert_eq!(old.next().await["type"], "beat");
}

#[tokio::test]
async fn a_turn_that_is_cancelled_ends_and_the_agent_is_told() {
    let bridge = Bridge::start("").await;
    let keys = agent(&bridge, "main").await;
    let token = token(&bridge, "ann", &["agent:main"]).await;
    let mut claw = Socket::bridge_v1(&bridge, &keys, "i", json!([])).await;
    let mut user = Socket::user(&bridge, &token).await;
    user.create("main", "x", &json!({"metadata": {"session_id": "s"}})).await;
    let turn = claw.turn().await;
    claw.say(&turn["response"], 0, json!([{"event": "text", "text": "a"}])).await;
    user.send(&json!({"type": "response.cancel", "response_id": turn["response"]})).await;
    let (status, text, why) = end(&user.events(0).await);
    assert_eq!((status.as_str(), text.as_str(), why.as_str()), ("cancelled", "a", "cancelled"));
    assert_eq!(claw.next().await, json!({"bridge": 1, "type": "cancel", "response": turn["response"]}));
    user.create("main", "x", &json!({"metadata": {"session_id": "s"}})).await;
    let turn = claw.turn().await;
    claw.answer(&turn, "fine").await;
    assert_eq!(end(&user.events(0).await).0, "completed");
}

#[tokio::test]
async fn a_bridge_that_is_killed_in_the_middle_of_answers_ends_each_truthfully() {
    let mut bridge = quick().await;
    let (main, plugin) = (agent(&bridge, "main").await, agent(&bridge, "plugin").await);
    let token = token(&bridge, "ann", &["agent:main", "agent:plugin"]).await;
    let mut claw = Socket::bridge_v1(&bridge, &main, "i", json!([])).await;
    let mut other = Socket::connector(&bridge, &plugin).await;
    let mut user = Socket::user(&bridge, &token).await;
    user.create("main", "x", &json!({})).await;
    let turn = claw.turn().await;
    claw.say(&turn["response"], 0, json!([{"event": "text", "text": "a"}])).await;
    let mut lost = Socket::user(&bridge, &token).await;
    lost.create("plugin", "x", &json!({})).await;
    let id = lost.next().await["response"]["id"].clone();
    other.next().await;
    bridge.kill();
    bridge.restart().await;
    // The one that can go on does, and the other one's end is told without anybody asking.
    let holds = json!([{"response": turn["response"], "next": 1}]);
    let mut claw = Socket::bridge_v1(&bridge, &main, "i", holds).await;
    claw.say(&turn["response"], 1, json!([{"event": "completed", "text": "ab"}])).await;
    let mut user = Socket::user(&bridge, &token).await;
    user.send(&json!({"type": "response.resume", "response_id": turn["response"]})).await;
    assert_eq!(end(&user.events(0).await), ("completed".into(), "ab".into(), String::new()));
    eventually("the lost turn is over", || {
        let over = bridge.journal().into_iter().find(|line| line["kind"] == "response.ended" && line["response"] == id);
        async move { over }
    })
    .await;
    user.send(&json!({"type": "response.resume", "response_id": id})).await;
    let (status, _, why) = end(&user.events(0).await);
    assert_eq!((status.as_str(), why.as_str()), ("failed", "agent_disconnected"));
}
