use super::*;
use crate::machine::{Machine, Policy};
use crate::model::{Response, Settings, Status};
use crate::testing::{Seen, follow};
use crate::{ResponseId, SessionId};
use clawbridge_clock::Timestamp;
use proptest::prelude::*;
use std::path::PathBuf;

const NOW: Timestamp = Timestamp::from_millis(0);

fn recorded(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../events/channel/gateway");
    std::fs::read(folder.join(name)).expect("a recording")
}

fn read(bytes: &[u8], size: usize) -> Vec<AgentEvent> {
    let mut reader = Reader::new();
    let mut out = Vec::new();
    for chunk in bytes.chunks(size) {
        if let Err(error) = reader.push(chunk, &mut out) {
            out.extend(reader.finish(Some(error)));
            return out;
        }
    }
    out.extend(reader.finish(None));
    out
}

fn answer(events: Vec<AgentEvent>) -> Seen {
    let (id, session) = (ResponseId::new("resp_1").unwrap(), SessionId::new("s").unwrap());
    let mut machine = Machine::new(id, session, Settings::of_model("a"), Policy::default(), NOW);
    let mut out = machine.accept(false);
    for event in events {
        out.extend(machine.apply(event, NOW));
    }
    follow(&out)
}

fn why(response: &Response) -> Option<(&str, &str)> {
    response.error.as_ref().map(|error| (error.code.as_str(), error.message.as_str()))
}

#[test]
fn recorded_streams_come_to_what_the_agent_said() {
    for (name, text, calls, error) in [
        ("stream.sse", "STUB-REPLY 376e33d7", 0, None),
        ("function-call.sse", "", 1, None),
        ("failed.sse", "", 0, Some(("invalid_request_error", "400 stub forced failure 400"))),
    ] {
        for size in [1, 7, 100_000] {
            let seen = answer(read(&recorded(name), size));
            let end = seen.end();
            assert_eq!((seen.deltas.as_str(), end.text().as_str(), end.function_calls().count()), (text, text, calls));
            assert_eq!(why(end), error, "{name}");
            if error.is_none() {
                assert_eq!(end.status, Status::Completed);
                assert_eq!(end.usage.unwrap().total_tokens, 18);
            }
        }
    }
    let seen = answer(read(&recorded("stream.sse"), 100));
    assert_eq!(seen.end().resource()["output"][0]["phase"], "final_answer");
    let call = answer(read(&recorded("function-call.sse"), 100)).last.unwrap();
    assert_eq!(call.function_calls().next().unwrap().arguments, r#"{"city":"Paris"}"#);
}

#[test]
fn recorded_objects_come_to_what_they_mean() {
    for (name, status, expected) in [
        ("completed.json", 200, None),
        ("failed.json", 400, Some(("invalid_request_error", "400 stub forced failure 400"))),
        ("no-input.json", 400, Some(("gateway_refused_request", "input: Invalid input"))),
        ("wrong-token.json", 401, Some(("gateway_refused_token", "Unauthorized"))),
        ("completed.json", 500, Some(("gateway_error", "The gateway answered with HTTP 500."))),
    ] {
        let seen = answer(read_object(status, &recorded(name)));
        assert_eq!(why(seen.end()), expected, "{name}");
        let text = if expected.is_none() { "STUB-REPLY 12998c01" } else { "" };
        assert_eq!(seen.end().text(), text);
    }
    let seen = answer(read_object(502, b"<html>"));
    assert_eq!(why(seen.end()), Some(("gateway_error", "The gateway answered with HTTP 502.")));
    assert!(is_not_begun(503) && !is_not_begun(500));
}

#[test]
fn streams_are_cut_as_the_standard_has_it() {
    let delta = r#"{"type":"response.output_text.delta","delta":"x"}"#;
    let (head, tail) = delta.split_at(delta.find(',').unwrap() + 1);
    for stream in [
        format!("data: {delta}\n\n"),
        format!("\u{feff}data:{delta}\r\n\r\n"),
        format!(": hello\nid: 7\nretry: 1\nevent: x\rdata: {delta}\r\r"),
        format!("data: {head}\ndata: {tail}\n\n"),
        format!("data: {delta}\n\ndata: [DONE]\n\n"),
    ] {
        for size in [1, 2, 1000] {
            let events = read(stream.as_bytes(), size);
            assert_eq!(events[0], AgentEvent::Text { text: "x".into() }, "{stream}");
            assert!(matches!(&events[1..], [AgentEvent::Failed { code, .. }] if code == "gateway_stream_broken"));
        }
    }
}

#[test]
fn a_stream_that_cannot_be_read_fails_the_answer() {
    for (stream, error) in [
        (b"data: {oops\n\n".to_vec(), SseError::NotJson),
        (b"data: \xff\n\n".to_vec(), SseError::NotText),
        (vec![b'x'; MAX_LINE_BYTES + 1], SseError::TooLarge),
        (b"data: x\n".repeat(MAX_LINE_BYTES / 2 + 1), SseError::TooLarge),
    ] {
        let before = b"data: {\"type\":\"response.created\"}\n\n";
        let mut out = Vec::new();
        assert_eq!(Reader::new().push(&[before, &stream[..]].concat(), &mut out), Err(error));
        // What came before it counts.
        assert_eq!(out, [AgentEvent::Began]);
    }
}

#[test]
fn what_has_failed_has_not_completed_afterwards() {
    let stream = "data: {\"error\":{\"message\":\"no\",\"type\":\"x\"}}\n\ndata: {\"type\":\"response.completed\"}\n\n";
    let mut reader = Reader::new();
    let mut events = Vec::new();
    reader.push(stream.as_bytes(), &mut events).unwrap();
    assert_eq!(events, [AgentEvent::Failed { code: "x".into(), message: "no".into() }]);
    assert!(reader.has_ended() && reader.finish(None).is_empty());
}

proptest! {
    #[test]
    fn any_bytes_end_in_one_end(bytes in prop::collection::vec(any::<u8>(), 0..200), size in 1..50_usize, status: u16) {
        let ends = read(&bytes, size).iter().filter(|event| event.is_end()).count();
        prop_assert_eq!(ends, 1);
        prop_assert!(read_object(status, &bytes).iter().any(AgentEvent::is_end));
    }
}
