//! `clawbridge chat` as a process, against a channel that the test plays: what it says, what it does when the connection breaks, how it ends.

use crate::support::chat_channel::{Channel, error, events, joined, says};
use crate::support::run;
use crate::support::talk::{Talk, token};
use clawbridge_responses::AgentEvent;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

fn once<'a>(channel: &'a Channel, rest: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["--url", channel.url.as_str(), "-m", "hello"];
    args.extend(rest);
    args
}

#[tokio::test]
async fn an_answer_in_a_pipe_is_its_text_and_nothing_else() {
    let mut channel = Channel::start().await;
    let mut talk = Talk::piped(&["coder", "--url", &channel.url, "--session", "Work"]);
    talk.type_in("what is\nthe time?\n");
    talk.end_input();
    let mut connection = channel.connection().await;
    assert_eq!(connection.headers["authorization"], format!("Bearer {}", token().reveal()));
    let create = connection.frame_of("response.create").await;
    assert_eq!((&create["model"], &create["input"]), (&json!("coder"), &json!("what is\nthe time?")));
    assert_eq!((&create["metadata"]["session_id"], &create["store"]), (&json!("work"), &json!(false)));
    connection.say_all(&events(&create, "resp_1", &says(&["It is ", "late\u{1b}[2J."]))).await;
    assert_eq!(talk.ended().await, 0, "{}", talk.err());
    assert_eq!(talk.out(), "It is late.\n", "(the test reads it without escape sequences)");
    assert_eq!(talk.err(), "queued: it waits until the agent is connected and free\n");
    connection.until_closed().await;
}

#[tokio::test]
async fn the_exit_status_says_how_an_answer_ended() {
    let failed = AgentEvent::Failed { code: "agent_error".to_owned(), message: "It broke.".to_owned() };
    let cut = AgentEvent::Incomplete { reason: "max_output_tokens".to_owned() };
    let part = AgentEvent::Text { text: "so far".to_owned() };
    for (said, out, err) in [
        (vec![failed], "", "failed: It broke (agent_error)\n"),
        (vec![part, cut], "so far\n", "the answer ends early: max_output_tokens\n"),
    ] {
        let mut channel = Channel::start().await;
        let mut talk = Talk::piped(&once(&channel, &[]));
        let mut connection = channel.connection().await;
        let create = connection.frame().await;
        connection.say_all(&events(&create, "resp_1", &said)).await;
        assert_eq!((talk.ended().await, talk.out().as_str()), (1, out));
        assert!(talk.err().ends_with(err), "{}", talk.err());
    }
}

#[tokio::test]
async fn a_refused_prompt_is_told_as_it_is() {
    let mut channel = Channel::start().await;
    let mut talk = Talk::piped(&once(&channel, &[]));
    let mut connection = channel.connection().await;
    connection.frame_of("response.create").await;
    connection.say(&error(400, "invalid_value", "There are several agents.")).await;
    assert_eq!((talk.ended().await, talk.out().as_str()), (1, ""));
    assert_eq!(talk.err(), "refused: There are several agents (invalid_value)\n");
}

#[tokio::test]
async fn an_answer_goes_on_over_another_connection_without_gap_or_repetition() {
    let mut channel = Channel::start().await;
    let mut talk = Talk::piped(&once(&channel, &["--json"]));
    let mut first = channel.connection().await;
    let create = first.frame_of("response.create").await;
    let all = events(&create, "resp_1", &says(&["one ", "two ", "three ", "four"]));
    first.say_all(&all[..6]).await;
    // One comes twice, and one too early.
    first.say(&all[5]).await;
    first.say(&all[7]).await;
    let resume = first.frame_of("response.resume").await;
    assert_eq!((&resume["response_id"], &resume["starting_after"]), (&json!("resp_1"), &json!(5)));
    drop(first);
    // The bridge is not back at once.
    channel.refuse(503);
    let mut second = channel.connection().await;
    let resume = second.frame_of("response.resume").await;
    assert_eq!(resume["starting_after"], 5);
    second.say_all(&all[6..8]).await;
    second.say(&error(400, "websocket_connection_limit_reached", "60 minutes")).await;
    let mut third = channel.connection().await;
    let resume = third.frame_of("response.resume").await;
    assert_eq!(resume["starting_after"], 7);
    third.say_all(&all[8..]).await;
    assert_eq!(talk.ended().await, 0, "{}", talk.err());
    let told: Vec<Value> = talk.out().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<&Value> = told.iter().filter(|event| event["type"] != "error").collect();
    assert_eq!(told, all.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_prompt_that_may_have_arrived_is_looked_for_and_not_sent_again() {
    for arrived in [true, false] {
        let mut channel = Channel::start().await;
        let mut talk = Talk::piped(&once(&channel, &[]));
        let mut first = channel.connection().await;
        let create = first.frame_of("response.create").await;
        first.close().await;
        let mut second = channel.connection().await;
        let join = second.frame_of("session.join").await;
        assert_eq!(join["session_id"], create["metadata"]["session_id"]);
        if arrived {
            second.say(&joined(&join, Some("resp_1"))).await;
            let resume = second.frame_of("response.resume").await;
            assert_eq!(resume, json!({"type": "response.resume", "response_id": "resp_1"}));
            second.say_all(&events(&create, "resp_1", &says(&["there"]))).await;
            assert_eq!((talk.ended().await, talk.out().as_str()), (0, "there\n"));
        } else {
            second.say(&joined(&join, None)).await;
            assert_eq!((talk.ended().await, talk.out().as_str()), (1, ""));
            assert!(talk.err().contains("not known, and it was not sent again"), "{}", talk.err());
        }
    }
}

#[tokio::test]
async fn a_token_that_is_refused_and_an_address_without_a_channel_are_told_apart() {
    for (status, code) in
        [(401, "TOKEN_REFUSED"), (403, "TOKEN_REFUSED"), (404, "NO_CHANNEL"), (503, "CHANNEL_UNREACHABLE")]
    {
        let channel = Channel::refusing(&[status]).await;
        let mut talk = Talk::piped(&once(&channel, &["--json"]));
        assert_eq!((talk.ended().await, talk.out().as_str()), (4, ""), "{status}");
        let error: Value = serde_json::from_str(&talk.err()).expect("JSON");
        assert_eq!(error["error"]["code"], code);
        assert!(!talk.err().contains(token().reveal()));
    }
}

#[tokio::test]
async fn what_takes_too_long_is_left_and_can_be_come_back_to() {
    let mut channel = Channel::start().await;
    let mut talk = Talk::piped(&once(&channel, &["--session", "s7", "--for", "1s"]));
    let mut connection = channel.connection().await;
    let create = connection.frame().await;
    connection.say_all(&events(&create, "resp_1", &[])).await;
    assert_eq!(talk.ended().await, 5);
    assert!(talk.err().contains("clawbridge chat --session s7"), "{}", talk.err());
}

#[tokio::test]
async fn what_is_missing_is_said_with_what_to_do_about_it() {
    let state = tempfile::TempDir::new().expect("a directory");
    let state = state.path().to_str().expect("a path");
    // Port 9 of this machine: nobody listens to what is discarded.
    let answer = run(&["chat", "-m", "x", "--local", "http://127.0.0.1:9", "--state", state, "--json"], "");
    assert_eq!((answer.status, answer.error_code().as_str()), (4, "NOT_RUNNING"));
    let answer = run(&["chat", "-m", "x", "--url", "wss://x.example", "--state", state], "");
    assert_eq!(answer.status, 2);
    assert!(answer.err.contains("TOKEN_MISSING") && answer.err.contains("clawbridge token create"), "{answer:?}");
    let answer = run(&["chat", "-m", "x", "--url", "ws://x.example", "--state", state], "");
    assert!(answer.err.contains("URL_INVALID") && answer.err.contains("unencrypted"), "{answer:?}");
    let file = format!("{state}/token-file");
    std::fs::write(&file, "ocl_mistyped").expect("a file");
    let answer = run(&["chat", "-m", "x", "--url", "wss://x.example", "--token-file", &file], "");
    assert!(answer.err.contains("TOKEN_INVALID") && !answer.err.contains("ocl_mistyped"), "{answer:?}");
    let answer = run(&["chat", "-m", " ", "--url", "wss://x.example", "--token-file", &file], "");
    assert_eq!(answer.status, 2);
}

#[tokio::test]
async fn a_conversation_at_a_terminal() {
    let mut channel = Channel::start().await;
    let mut talk = Talk::at_terminal(&["--url", &channel.url]);
    let mut connection = channel.connection().await;
    talk.until_says("/help lists the commands", 1).await;
    talk.until_says("> ", 1).await;
    talk.type_in("first\\\rsecond\r");
    let create = connection.frame_of("response.create").await;
    assert_eq!(create["input"], "first\nsecond");
    let all = events(&create, "resp_1", &says(&["Good ", "day"]));
    connection.say_all(&all[..2]).await;
    talk.until_says("(queued: it waits until the agent is connected and free)", 1).await;
    // What is typed meanwhile is said afterwards.
    talk.type_in("and then?\n");
    connection.say_all(&all[2..]).await;
    talk.until_says("Good day", 1).await;
    let create = connection.frame_of("response.create").await;
    assert_eq!(create["input"], "and then?");
    connection.say_all(&events(&create, "resp_2", &says(&["Then \u{1b}[31mnothing\u{7}"]))).await;
    talk.until_says("Then [31mnothing", 1).await;
    talk.type_in("/history\r");
    talk.until_says("Good day", 2).await;
    talk.type_in("/nonsense\r");
    talk.until_says("there is no command /nonsense", 1).await;
    let session = create["metadata"]["session_id"].clone();
    talk.type_in("/new\r");
    talk.until_says("Talking to your agent", 2).await;
    talk.type_in("third\r");
    let create = connection.frame_of("response.create").await;
    assert_ne!(create["metadata"]["session_id"], session);
    connection.say_all(&events(&create, "resp_3", &says(&["ok."]))).await;
    talk.until_says("ok.", 1).await;
    talk.type_in("/quit\r");
    assert_eq!(talk.ended().await, 0, "{}", talk.out());
    let history = talk.dir.path().join("state/chat-history");
    let mode = std::fs::metadata(&history).expect("a history").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(std::fs::read_to_string(&history).expect("a history").contains("third"));
}

#[tokio::test]
async fn ctrl_c_cancels_the_answer_and_a_second_one_quits() {
    let mut channel = Channel::start().await;
    let mut talk = Talk::at_terminal(&["--url", &channel.url, "--no-history"]);
    let mut connection = channel.connection().await;
    talk.until_says("> ", 1).await;
    talk.type_in("hello\r");
    let create = connection.frame_of("response.create").await;
    connection.say_all(&events(&create, "resp_1", &[])).await;
    talk.until_says("(queued", 1).await;
    talk.interrupt();
    let cancel = connection.frame_of("response.cancel").await;
    assert_eq!(cancel["response_id"], "resp_1");
    let end = json!({"type": "response.incomplete", "sequence_number": 2, "response": {
        "id": "resp_1", "status": "cancelled", "incomplete_details": {"reason": "cancelled"}}});
    connection.say(&end).await;
    talk.until_says("(cancelled)", 1).await;
    talk.type_in("again\r");
    let create = connection.frame_of("response.create").await;
    connection.say_all(&events(&create, "resp_2", &[])).await;
    talk.until_says("(queued", 2).await;
    talk.type_in("/cancel\n");
    connection.frame_of("response.cancel").await;
    talk.interrupt();
    talk.until_says("cancelling", 3).await;
    talk.interrupt();
    assert_eq!(talk.ended().await, 0, "{}", talk.out());
    assert!(!talk.dir.path().join("state").exists());
}

#[tokio::test]
async fn whoever_comes_back_to_a_session_sees_its_latest_answer() {
    let mut channel = Channel::start().await;
    let mut talk = Talk::at_terminal(&["--url", &channel.url, "--session", "work"]);
    let mut connection = channel.connection().await;
    let join = connection.frame_of("session.join").await;
    connection.say(&joined(&join, Some("resp_5"))).await;
    connection.frame_of("response.resume").await;
    let create = json!({"type": "response.create", "model": "a", "input": "x", "metadata": {"session_id": "work"}});
    connection.say_all(&events(&create, "resp_5", &says(&["as I said"]))).await;
    talk.until_says("as I said", 1).await;
    // An idle connection is let go, and made again when it is needed.
    connection.close().await;
    talk.type_in("and?\r");
    let mut connection = channel.connection().await;
    let create = connection.frame_of("response.create").await;
    connection.say_all(&events(&create, "resp_6", &says(&["no more"]))).await;
    talk.until_says("no more", 1).await;
    talk.type_in("\u{4}");
    assert_eq!(talk.ended().await, 0, "{}", talk.out());
}

#[tokio::test]
async fn access_is_asked_for_and_the_token_kept_for_its_owner_alone() {
    use crate::support::{Reply, Stub};
    let granted = clawbridge_access::Token::of([8; 32]).reveal().to_owned();
    let asked = json!({"id": "pair_1", "code": "WXYZ-1234", "token": granted});
    let api = Stub::start(move |_, before| match before {
        0 => Reply::Json(201, asked.clone()),
        // The owner takes a moment.
        1 => Reply::Json(200, json!({"id": "pair_1", "status": "pending"})),
        _ => Reply::Json(200, json!({"id": "pair_1", "status": "confirmed"})),
    })
    .await;
    let mut channel = Channel::start().await;
    let mut args = vec!["coder", "--pair", "--api-url", api.url.as_str()];
    args.extend(once(&channel, &[]));
    let mut talk = Talk::piped(&args);
    let mut connection = channel.connection().await;
    assert_eq!(connection.headers["authorization"], format!("Bearer {granted}"));
    let create = connection.frame().await;
    connection.say_all(&events(&create, "resp_1", &says(&["hi"]))).await;
    assert_eq!(talk.ended().await, 0, "{}", talk.err());
    assert!(talk.err().contains("WXYZ-1234") && !talk.err().contains(&granted), "{}", talk.err());
    let calls = api.calls();
    assert_eq!(
        (calls[0].path.as_str(), calls[0].json()),
        ("/api/v1/pairings", json!({"agent": "coder", "name": "chat-me"}))
    );
    let files: Vec<_> = std::fs::read_dir(talk.dir.path().join("state/chat")).expect("a directory").flatten().collect();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].metadata().expect("a file").permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(files[0].path()).expect("a file").trim(), granted);
}
