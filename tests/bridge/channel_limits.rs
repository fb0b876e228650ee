//! The channel's limits: what is too large, too much, too old or too slow, and what goes on all the same.

use crate::support::channel::{Socket, agent, deltas, end, say, token};
use crate::support::{Bridge, Options};
use serde_json::{Value, json};
use std::time::Duration;

/// How many turns wait for each other.
const LINE: usize = 32;

async fn with(args: &[&str]) -> Bridge {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    Bridge::start_with(Options { config: Some(String::new()), args }).await
}

fn is_limit(frame: &Value) -> bool {
    frame["type"] == "error" && frame["error"]["code"] == "websocket_connection_limit_reached"
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_what_is_under_way_goes_on() {
    let bridge = Bridge::start("").await;
    let keys = agent(&bridge, "main").await;
    let token = token(&bridge, "ann", &["agent:main"]).await;
    let mut claw = Socket::bridge_v1(&bridge, &keys, "i", json!([])).await;
    let mut user = Socket::user(&bridge, &token).await;
    let create = |size: usize| {
        let frame = json!({"type": "response.create", "model": "main", "input": ""}).to_string();
        frame.replace(r#""input":"""#, &format!(r#""input":"{}""#, "x".repeat(size - frame.len())))
    };
    let largest = 120 * 1024;
    assert!(user.pieces(&create(largest)).await);
    let turn = claw.turn().await;
    assert!(turn["input"][0]["content"][0]["text"].as_str().is_some_and(|text| text.len() > largest - 200));
    claw.say(&turn["response"], 0, json!([{"event": "began"}, {"event": "text", "text": "a"}])).await;
    // One byte more than the bridge takes is told; more than API Gateway takes ends the connection, and nothing else.
    assert!(user.pieces(&create(largest + 1)).await);
    let mut before = Vec::new();
    let refused = loop {
        let frame = user.next().await;
        if frame["type"] == "error" {
            break frame;
        }
        before.push(frame);
    };
    assert_eq!((&refused["status"], &refused["error"]["code"]), (&json!(413), &json!("request_too_large")));
    user.pieces(&create(128 * 1024 + 1)).await;
    let code = loop {
        if let Err(code) = user.frame().await {
            break code;
        }
    };
    assert_eq!(code, 1009);
    claw.say(&turn["response"], 1, json!([{"event": "completed", "text": "ab"}])).await;
    let mut user = Socket::user(&bridge, &token).await;
    user.send(&json!({"type": "response.resume", "response_id": turn["response"]})).await;
    let events = user.events(0).await;
    assert_eq!(end(&events), ("completed".into(), "ab".into(), String::new()));
    assert_eq!(before[0], events[0]);
}

#[tokio::test]
async fn a_connection_with_too_many_turns_is_told_and_those_that_wait_are_answered() {
    let bridge = Bridge::start("").await;
    let keys = agent(&bridge, "main").await;
    let token = token(&bridge, "ann", &["agent:main"]).await;
    let mut claw = Socket::bridge_v1(&bridge, &keys, "i", json!([])).await;
    let mut user = Socket::user(&bridge, &token).await;
    // As fast as users may send.
    let mut pace = tokio::time::interval(Duration::from_millis(110));
    let mut accepted = 0;
    let refused = loop {
        pace.tick().await;
        user.create("main", "x", &json!({})).await;
        let frame = loop {
            let frame = user.next().await;
            if frame["type"] == "response.created" || frame["type"] == "error" {
                break frame;
            }
        };
        if frame["type"] == "error" {
            break frame;
        }
        accepted += 1;
    };
    assert_eq!((accepted, &refused["status"], &refused["error"]["code"]), (LINE, &json!(429), &json!("queue_full")));
    // One that ends makes room for one, and all are answered in turn.
    let (mut completed, mut retried) = (0, false);
    while completed < LINE + 1 {
        let turn = claw.turn().await;
        claw.answer(&turn, "fine").await;
        while user.next().await["type"] != "response.completed" {}
        completed += 1;
        if !retried {
            pace.tick().await;
            user.create("main", "y", &json!({})).await;
            retried = true;
        }
    }
}

#[tokio::test]
async fn a_session_with_too_many_turns_fails_the_next_and_answers_the_others() {
    let bridge = Bridge::start("").await;
    let keys = agent(&bridge, "main").await;
    let token = token(&bridge, "ann", &["agent:main"]).await;
    let mut claw = Socket::bridge_v1(&bridge, &keys, "i", json!([])).await;
    let in_session = json!({"metadata": {"session_id": "s"}});
    // A connection's turns join the session one after another: it takes as many connections.
    let mut users = Vec::new();
    for number in 0..=LINE {
        let mut user = Socket::user(&bridge, &token).await;
        user.create("main", &number.to_string(), &in_session).await;
        users.push(user);
    }
    bridge.lines("response.accepted", LINE + 1).await;
    let failed = bridge.line("a turn is refused", |line| line["kind"] == "response.ended").await;
    assert_eq!((&failed["status"], &failed["code"]), (&json!("failed"), &json!("queue_full")));
    let mut asked = Vec::new();
    for _ in 0..LINE {
        let turn = claw.turn().await;
        let text = turn["input"][0]["content"][0]["text"].as_str().expect("a text");
        asked.push(text.parse::<usize>().expect("a number"));
        claw.answer(&turn, "fine").await;
    }
    for (number, user) in users.iter_mut().enumerate() {
        let events = user.events(0).await;
        if asked.contains(&number) {
            assert_eq!(end(&events).0, "completed");
            continue;
        }
        assert_eq!(end(&events), ("failed".into(), String::new(), "queue_full".into()));
        // The connection is none the worse, and the session has room again.
        user.create("main", "again", &in_session).await;
        let turn = claw.turn().await;
        claw.answer(&turn, "fine").await;
        assert_eq!(end(&user.events(0).await).0, "completed");
    }
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), LINE);
}

#[tokio::test]
async fn a_connection_that_is_an_hour_old_takes_no_turn_and_ends_after_the_answer_in_flight() {
    let bridge = with(&["--channel-look", "1", "--channel-age", "5"]).await;
    let keys = agent(&bridge, "main").await;
    let token = token(&bridge, "ann", &["agent:main"]).await;
    let mut claw = Socket::bridge_v1(&bridge, &keys, "i", json!([])).await;
    let mut user = Socket::user(&bridge, &token).await;
    user.create("main", "x", &json!({})).await;
    let turn = claw.turn().await;
    claw.say(&turn["response"], 0, json!([{"event": "began"}, {"event": "text", "text": "a"}])).await;
    // One without a turn, which is younger, is told and ended: that time is over for both.
    let mut idle = Socket::user(&bridge, &token).await;
    assert!(is_limit(&idle.next().await));
    assert_eq!(idle.frame().await, Err(1000));
    user.create("main", "one more", &json!({})).await;
    let mut events = Vec::new();
    loop {
        let event = user.next().await;
        if is_limit(&event) {
            break;
        }
        events.push(event);
    }
    claw.say(&turn["response"], 1, json!([{"event": "completed", "text": "ab"}])).await;
    events.extend(user.events(events.len() as u64).await);
    assert_eq!(end(&events), ("completed".into(), "ab".into(), String::new()));
    assert!(is_limit(&user.next().await));
    assert_eq!(user.frame().await, Err(1000));
    // What was refused is asked anew elsewhere, continuing what was answered here.
    let mut user = Socket::user(&bridge, &token).await;
    user.create("main", "one more", &json!({"previous_response_id": turn["response"]})).await;
    let next = claw.turn().await;
    assert_eq!((&next["session"], &next["input"][0]["content"][0]["text"]), (&turn["session"], &json!("one more")));
    claw.answer(&next, "fine").await;
    assert_eq!(end(&user.events(0).await).0, "completed");
}

#[tokio::test]
async fn a_connector_whose_connection_is_old_is_asked_for_another_and_its_answer_has_no_gap() {
    let bridge = with(&["--channel-look", "1", "--channel-age", "3"]).await;
    let keys = agent(&bridge, "main").await;
    let token = token(&bridge, "ann", &["agent:main"]).await;
    let mut old = Socket::bridge_v1(&bridge, &keys, "i", json!([])).await;
    let mut user = Socket::user(&bridge, &token).await;
    user.create("main", "x", &json!({})).await;
    let begun = old.turn().await["response"].clone();
    old.say(&begun, 0, json!([{"event": "began"}, {"event": "text", "text": "a"}])).await;
    old.say(&begun, 1, json!([{"event": "text", "text": "b"}])).await;
    let beat = json!({"bridge": 1, "type": "beat"});
    let mut beats = tokio::time::interval(Duration::from_millis(100));
    let drain = loop {
        beats.tick().await;
        old.send(&beat).await;
        let frame = old.next().await;
        match frame["type"].as_str() {
            Some("drain") => break frame,
            Some("beat") => {}
            _ => panic!("{frame}"),
        }
    };
    assert!(drain["before"].is_string() || drain["before"].is_number(), "{drain}");
    // A turn that has come to the old connection and was not begun there, and a frame that was said and not acknowledged.
    let mut other = Socket::user(&bridge, &token).await;
    other.create("main", "y", &json!({})).await;
    let second = old.turn().await["response"].clone();
    old.send(&say(&begun, 2, json!([{"event": "text", "text": "c"}]))).await;
    let mut new = Socket::bridge_v1(&bridge, &keys, "i", json!([{"response": begun, "next": 2}])).await;
    let turn = new.turn().await;
    assert_eq!(turn["response"], second);
    new.say(&begun, 2, json!([{"event": "text", "text": "c"}])).await;
    new.answer(&turn, "fine").await;
    old.send(&json!({"bridge": 1, "type": "leaving"})).await;
    drop(old);
    bridge.line("the old one is gone", |line| line["kind"] == "channel.closed" && line["role"] == "agent").await;
    new.say(&begun, 3, json!([{"event": "text", "text": "d"}, {"event": "completed", "text": "abcd"}])).await;
    let events = user.events(0).await;
    assert_eq!(end(&events), ("completed".into(), "abcd".into(), String::new()));
    assert_eq!(deltas(&events), "abcd");
    assert_eq!(end(&other.events(0).await).0, "completed");
    // It is the new one that is the agent.
    let mut user = Socket::user(&bridge, &token).await;
    user.create("main", "z", &json!({})).await;
    let turn = new.turn().await;
    new.answer(&turn, "fine").await;
    assert_eq!(end(&user.events(0).await).0, "completed");
}

#[tokio::test]
async fn a_listener_who_does_not_read_is_dropped_keeps_nobody_from_hearing_and_resumes() {
    let bridge = Bridge::start("").await;
    let keys = agent(&bridge, "main").await;
    let mut claw = Socket::bridge_v1(&bridge, &keys, "i", json!([])).await;
    let scopes = ["agent:main", "group:team"];
    let (ann, slow) = (token(&bridge, "ann", &scopes).await, token(&bridge, "slow", &scopes).await);
    let mut sleeper = Socket::narrow_user(&bridge, &slow).await;
    sleeper.send(&json!({"type": "session.join", "session_id": "group:team", "agent": "main"})).await;
    assert_eq!(sleeper.next().await["type"], "session.joined");
    let mut user = Socket::user(&bridge, &ann).await;
    let text = "x".repeat(80 * 1024);
    let is_dropped = || bridge.journal().iter().any(|line| line["kind"] == "channel.closed" && line["name"] == "slow");
    // What the operating system and the gateway hold for it fills up.
    let mut turns = 0;
    let last = loop {
        user.create("main", "x", &json!({"metadata": {"session_id": "group:team"}})).await;
        let turn = claw.turn().await;
        claw.say(&turn["response"], 0, json!([{"event": "began"}, {"event": "text", "text": text}])).await;
        claw.say(&turn["response"], 1, json!([{"event": "completed", "text": text}])).await;
        let events = user.events(0).await;
        assert!(end(&events) == ("completed".into(), text.clone(), String::new()), "turn {turns}");
        turns += 1;
        assert!(turns < 60, "it is not dropped");
        if is_dropped() {
            break events;
        }
    };
    assert!(turns > 1);
    let mut again = Socket::user(&bridge, &slow).await;
    again.send(&json!({"type": "response.resume", "response_id": last[0]["response"]["id"]})).await;
    assert!(again.events(0).await == last, "the same events");
    // It is not a member any more: nothing is sent to where nobody is.
    drop(sleeper);
    user.create("main", "x", &json!({"metadata": {"session_id": "group:team"}})).await;
    let turn = claw.turn().await;
    claw.answer(&turn, "fine").await;
    assert_eq!(end(&user.events(0).await).0, "completed");
}
