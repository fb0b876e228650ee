use super::*;
use crate::machine::Machine;
use crate::model::input::{InputItem, Part, Role, Source};
use crate::model::{FunctionTool, Settings, StreamEvent};
use crate::testing::follow;
use crate::{AgentFunctionCall, ResponseId};
use proptest::prelude::*;
use serde_json::json;

fn said(frame: &Value) -> Said {
    match decode(&frame.to_string()) {
        Ok((_, Decoded::Said(said))) => said,
        other => panic!("{frame}: {other:?}"),
    }
}

fn text(text: &str) -> AgentEvent {
    AgentEvent::Text { text: text.to_owned() }
}

fn completed(text: Option<&str>) -> AgentEvent {
    AgentEvent::Completed { text: text.map(str::to_owned), usage: None }
}

fn done(text: Option<&str>) -> AgentEvent {
    AgentEvent::TextDone { text: text.map(str::to_owned) }
}

#[test]
fn events_are_read_in_each_of_their_shapes() {
    let call = |arguments: &str| {
        let arguments = arguments.to_owned();
        AgentEvent::FunctionCall(AgentFunctionCall { call_id: "c".into(), name: "f".into(), arguments })
    };
    let message = json!({"type": "message", "id": "m", "content": [{"type": "output_text", "text": "a"}, {"type": "text", "text": "b"}]});
    let function = json!({"type": "function_call", "id": "x", "call_id": "c", "name": "f", "arguments": {"a": 1}});
    for (frame, events) in [
        (json!({"type": "response.created", "response": {"id": "r"}}), vec![AgentEvent::Began]),
        (json!({"type": "response.output_text.delta", "delta": "x"}), vec![text("x")]),
        (json!({"type": "response.output_text.delta", "delta": {"text": "x"}}), vec![text("x")]),
        (json!({"type": "response.output_text.delta", "delta": {"text": ""}}), vec![]),
        (json!({"type": "response.output_text.delta", "delta": 7}), vec![]),
        (json!({"type": "response.output_text.done", "text": "x"}), vec![done(Some("x"))]),
        (json!({"type": "response.content_part.done", "part": {"text": "x"}}), vec![done(Some("x"))]),
        (json!({"type": "response.content_part.done", "status": "completed"}), vec![done(None)]),
        (json!({"type": "response.output_item.done", "item": function}), vec![call(r#"{"a":1}"#)]),
        (json!({"type": "response.output_item.added", "item": function}), vec![]),
        (json!({"type": "response.reasoning.delta", "delta": "hm"}), vec![]),
        (json!({"type": "response.completed"}), vec![completed(None)]),
        (json!({"type": "response.completed", "output_text": ""}), vec![completed(None)]),
        (json!({"type": "response.completed", "response": {"output": [message]}}), vec![completed(Some("ab"))]),
        (
            json!({"object": "response", "output": {"items": [message, function]}}),
            vec![call(r#"{"a":1}"#), completed(Some("ab"))],
        ),
        (json!({"object": "response", "output": {"items": []}, "output_text": "t"}), vec![completed(Some("t"))]),
        // What failed has not been completed, whatever the event is called.
        (
            json!({"type": "response.completed", "response": {"status": "failed", "error": {"code": "X", "message": "no"}}}),
            vec![AgentEvent::Failed { code: "x".into(), message: "no".into() }],
        ),
        (
            json!({"type": "response.incomplete", "response": {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}}),
            vec![AgentEvent::Incomplete { reason: "max_output_tokens".into() }],
        ),
        (
            json!({"type": "error", "error": {"type": "overloaded", "message": "at /a/b/c.js", "details": {"stack": "S"}}}),
            vec![AgentEvent::Failed { code: "overloaded".into(), message: "at [path]".into() }],
        ),
    ] {
        assert_eq!(said(&frame).events, events, "{frame}");
    }
}

#[test]
fn a_frame_says_whose_it_is_and_when_it_was_sent() {
    let key = |text: &str| AgentKey::new(text).ok();
    let session = |text: &str| SessionId::new(text).ok();
    let at = |millis| Some(Timestamp::from_millis(millis));
    let bare = json!({"type": "response.in_progress", "response_id": "r", "timestamp": "2026-11-21T01:34:35.397Z", "metadata": {"session_id": "S1"}});
    let nested = json!({"type": "response.created", "response": {"id": "r", "metadata": {"session_id": "s1"}}});
    let object = json!({"object": "response", "id": "r", "metadata": {"session_id": "s1"}, "timestamp": 5});
    let enveloped = json!({"type": "message", "headers": {"messageId": "m", "timestamp": 7}, "data": bare.to_string()});
    for (frame, sent_at) in [(bare, at(1_795_224_875_397)), (nested, None), (object, at(5)), (enveloped, at(7))] {
        let said = said(&frame);
        assert_eq!((said.key, said.session, said.sent_at), (key("r"), session("s1"), sent_at), "{frame}");
    }
}

#[test]
fn what_is_no_frame_is_refused_by_name() {
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let hidden = json!({"type": "message", "headers": {}, "data": deep}).to_string();
    for (text, code) in [
        ("{oops", "frame_not_json"),
        ("[]", "frame_unrecognised"),
        ("7", "frame_unrecognised"),
        (r#"{"type":"session.auto_bound"}"#, "frame_unrecognised"),
        (r#"{"type":"SYSTEM","headers":{"topic":"disconnect"}}"#, "frame_unrecognised"),
        (r#"{"type":"message","headers":{}}"#, "frame_malformed"),
        (r#"{"type":"message","headers":{},"data":"7"}"#, "frame_malformed"),
        (r#"{"type":"message","headers":{},"data":"{"}"#, "frame_not_json"),
        (r#"{"bridge":2,"type":"beat"}"#, "frame_malformed"),
        (r#"{"bridge":1}"#, "frame_malformed"),
        (r#"{"bridge":1,"type":"shout"}"#, "frame_malformed"),
        (r#"{"bridge":1,"type":"say","response":"","number":0,"events":[]}"#, "frame_malformed"),
        (r#"{"bridge":1,"type":"say","response":"r","number":-1,"events":[]}"#, "frame_malformed"),
        (&deep, "frame_too_deep"),
        (&hidden, "frame_too_deep"),
        (&" ".repeat(MAX_FRAME_BYTES + 1), "frame_too_large"),
    ] {
        let error = decode(text).unwrap_err();
        assert_eq!(error.code(), code, "{text:.80}");
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn our_own_frames_are_written_and_read_back() {
    let response = ResponseId::new("resp_1").unwrap();
    let events = vec![AgentEvent::Began, text("x"), done(None), completed(Some(""))];
    for frame in [
        bridge::FromConnector::Hello {
            connector: "clawbridge 0.1".into(),
            instance: "i".into(),
            holds: vec![bridge::Holds { response: response.clone(), next: 3 }],
        },
        bridge::FromConnector::Say { response: response.clone(), number: 0, events },
        bridge::FromConnector::Beat {},
        bridge::FromConnector::Leaving {},
    ] {
        let text = bridge::write(&frame);
        assert_eq!(decode(&text), Ok((Dialect::Bridge, Decoded::Bridge(frame))), "{text}");
    }
    for frame in [
        bridge::ToConnector::Welcome { until: Timestamp::from_millis(1), beat_seconds: 240, max_frame_bytes: 24_000 },
        bridge::ToConnector::Turn(Box::new(turn(vec![Part::Text("hi".into())]))),
        bridge::ToConnector::Ack { response: response.clone(), next: 1 },
        bridge::ToConnector::Cancel { response },
        bridge::ToConnector::Drain { before: Timestamp::from_millis(2) },
        bridge::ToConnector::Beat {},
    ] {
        let text = bridge::write(&frame);
        assert_eq!(bridge::read_from_bridge(&text), Ok(frame), "{text}");
    }
    let text = r#"{"bridge":1,"type":"say","response":"r","number":1,"events":[{"event":"text","text":"x","new":1}],"also":2}"#;
    assert!(decode(text).is_ok(), "what is unknown is ignored");
}

fn turn(content: Vec<Part>) -> Turn {
    Turn {
        response: ResponseId::new("resp_1").unwrap(),
        session: SessionId::new("S1").unwrap(),
        at: Timestamp::from_millis(1),
        input: vec![InputItem::Message { role: Role::User, content, phase: None }],
        settings: Settings::of_model("agent"),
    }
}

#[test]
fn attachments_and_roles_reach_connectors_that_know_neither() {
    let mut full = turn(vec![
        Part::Text("look".into()),
        Part::Image { source: Source::Url("https://example.com/a.png".into()), detail: None },
        Part::File { source: Source::Url("https://example.com/b.pdf".into()), filename: Some("b.pdf".into()) },
    ]);
    full.settings.instructions = Some("be brief".into());
    full.input.push(InputItem::FunctionCallOutput { call_id: "c".into(), output: vec![Part::Text("21".into())] });
    full.input.push(InputItem::Opaque(json!({"type": "compaction"})));
    let frame: Value = serde_json::from_str(&encode_request(Dialect::Topic, &full).unwrap()[0]).unwrap();
    let data: Value = serde_json::from_str(frame["data"].as_str().unwrap()).unwrap();
    assert_eq!(
        data["content"],
        "System: be brief\n\nlook\n![image](https://example.com/a.png)\n[b.pdf](https://example.com/b.pdf)\n\nTool:c: 21"
    );
    let frame: Value = serde_json::from_str(&encode_request(Dialect::Bare, &full).unwrap()[0]).unwrap();
    assert_eq!(frame["input"][1]["content"][2]["file_url"], "https://example.com/b.pdf");
    assert_eq!(frame["metadata"], json!({"session_id": "s1", "message_id": "resp_1"}));
    assert_eq!(gateway_request(&full, "openclaw")["input"][1]["output"], "21");
}

#[test]
fn what_a_connector_would_swallow_is_refused() {
    let data = || Part::File { source: Source::Data("data:,x".into()), filename: None };
    let mut insists = turn(vec![Part::Text("x".into())]);
    let (name, description, parameters, strict) = ("f".to_owned(), None, None, None);
    insists.settings.tools.push(FunctionTool { name, description, parameters, strict });
    assert!(encode_request(Dialect::Bare, &insists).is_ok());
    insists.settings.tool_choice = json!("required");
    for (dialect, turn, expected) in [
        (Dialect::Bare, turn(vec![Part::Text(" \n".into())]), Some("empty_input")),
        (Dialect::Enveloped, turn(vec![Part::Text(String::new())]), Some("empty_input")),
        (Dialect::Topic, turn(vec![data()]), Some("unsupported_input")),
        (Dialect::Bare, turn(vec![data()]), None),
        (Dialect::Bare, insists.clone(), Some("unsupported_input")),
        (Dialect::Bridge, insists, None),
        (Dialect::Bare, turn(vec![Part::Text("x".repeat(MAX_REQUEST_BYTES))]), Some("input_too_large")),
        (Dialect::Bridge, turn(vec![Part::Text("x".repeat(MAX_REQUEST_BYTES))]), Some("input_too_large")),
    ] {
        let refused = encode_request(dialect, &turn).err();
        assert_eq!(refused.as_ref().map(EncodeError::code), expected, "{dialect:?}");
    }
}

/// The frames in which a connector would say a text, piece by piece.
fn frames(dialect: Dialect, pieces: &[String], how: u8) -> Vec<Value> {
    let mut whole = String::new();
    let mut events = vec![json!({"type": "response.in_progress", "response_id": "k", "metadata": {"session_id": "s"}})];
    let block = how == 2 && dialect == Dialect::Bare;
    let pieces = if block { vec![pieces.concat()] } else { pieces.to_vec() };
    let deltas: Vec<Value> = pieces
        .iter()
        .map(|piece| {
            whole.push_str(piece);
            let text = if dialect == Dialect::Topic { &whole } else { piece };
            let delta = if how == 1 { json!(text) } else { json!({"text": text}) };
            json!({"type": "response.output_text.delta", "response_id": "k", "delta": delta})
        })
        .collect();
    let end = match how {
        3 => json!({"id": "k", "object": "response", "status": "completed", "output_text": whole}),
        _ => json!({"type": "response.completed", "response_id": "k", "status": "completed"}),
    };
    if block {
        events.push(end);
        events.extend(deltas);
    } else {
        events.extend(deltas);
        events.push(end);
    }
    let envelope =
        |kind: &str, event: Value| json!({"type": kind, "headers": {"messageId": "m"}, "data": event.to_string()});
    match dialect {
        Dialect::Bare | Dialect::Bridge => events,
        Dialect::Enveloped => events.into_iter().map(|event| envelope("message", event)).collect(),
        Dialect::Topic => events.into_iter().map(|event| envelope("MESSAGE", event)).collect(),
    }
}

fn machine(policy: Policy) -> Machine {
    let id = ResponseId::new("resp_1").unwrap();
    Machine::new(id, SessionId::new("s").unwrap(), Settings::of_model("a"), policy, Timestamp::from_millis(0))
}

proptest! {
    #[test]
    fn what_an_agent_says_in_any_dialect_is_what_the_user_reads(
        pieces in prop::collection::vec("[a-z \u{e9}日\"\n]{1,12}", 1..12),
        how in 0..4_u8,
        dialect in prop::sample::select(vec![Dialect::Bare, Dialect::Enveloped, Dialect::Topic]),
    ) {
        let now = Timestamp::from_millis(0);
        let mut machine = machine(dialect.policy());
        let mut out = machine.accept(false);
        for frame in frames(dialect, &pieces, how) {
            let (recognised, decoded) = decode(&frame.to_string()).unwrap();
            prop_assert_eq!(recognised, dialect);
            let Decoded::Said(said) = decoded else { panic!() };
            for event in said.events {
                out.extend(machine.apply(event, now));
            }
        }
        let seen = follow(&out);
        prop_assert_eq!(&seen.deltas, &pieces.concat());
        prop_assert_eq!(seen.end().text(), pieces.concat());
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = decode(&text).map_err(|error| error.code());
        let _ = bridge::read_from_bridge(&text);
    }

    #[test]
    fn any_json_in_any_place_is_read_or_refused_and_can_be_followed(
        values in prop::collection::vec(any_json(), 1..6),
        kinds in prop::collection::vec(prop::sample::select(vec![
            "response.created", "response.output_text.delta", "response.output_text.done", "response.output_item.added",
            "response.output_item.done", "response.content_part.done", "response.completed", "response.failed",
            "response.incomplete", "error",
        ]), 1..6),
    ) {
        let mut machine = machine(Policy::default());
        let mut out: Vec<StreamEvent> = machine.accept(false);
        for (value, kind) in values.iter().zip(&kinds) {
            let mut frame = json!({"type": kind});
            for member in ["delta", "item", "part", "text", "response", "error", "output", "metadata", "timestamp", "status"] {
                frame[member] = value.clone();
            }
            for text in [
                frame.to_string(),
                value.to_string(),
                json!({"type": "MESSAGE", "headers": {}, "data": frame.to_string()}).to_string(),
                json!({"bridge": 1, "type": "say", "response": "r", "number": 0, "events": [value]}).to_string(),
            ] {
                if let Ok((_, Decoded::Said(said))) = decode(&text) {
                    for event in said.events {
                        out.extend(machine.apply(event, Timestamp::from_millis(0)));
                    }
                }
            }
        }
        out.extend(machine.lost("agent_disconnected", "gone", Timestamp::from_millis(1)));
        follow(&out);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        prop::sample::select(vec!["message", "function_call", "output_text", "failed", "response"])
            .prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "type",
        "text",
        "content",
        "items",
        "output",
        "id",
        "call_id",
        "name",
        "arguments",
        "status",
        "object",
        "code",
        "message",
        "session_id",
        "usage",
        "delta",
        "event",
    ]);
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6)
                .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}
