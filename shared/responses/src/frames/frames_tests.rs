use super::*;
use crate::ResponseId;
use crate::model::Response;
use clawbridge_clock::Timestamp;
use proptest::prelude::*;

fn create(change: &[(&str, Value)]) -> Value {
    let mut body = json!({"type": "response.create", "model": "agent", "input": "hi"});
    for (name, value) in change {
        body[*name] = value.clone();
    }
    body
}

#[test]
fn what_the_sdks_send_is_taken() {
    let frame = r#"{"type": "response.create", "input": "hello", "model": "agent", "store": false, "previous_response_id": "resp_1"}"#;
    let create = parse(frame).unwrap();
    assert!(!create.settings.store && create.session.is_none());
    assert_eq!(create.settings.previous_response_id, ResponseId::new("resp_1").ok());
    assert_eq!(create.required_session().unwrap_err().param.as_deref(), Some("metadata.session_id"));
}

#[test]
fn what_is_wrong_gets_its_code_and_its_place() {
    let long = "x".repeat(65);
    let tool = |change: Value| json!([change]);
    for (name, value, code, param) in [
        ("type", json!("response.steer"), "unknown_event_type", "type"),
        ("type", json!(1), "unknown_event_type", "type"),
        ("stream", json!(true), "unsupported_parameter", "stream"),
        ("stream_options", json!({}), "unsupported_parameter", "stream_options"),
        ("background", json!(false), "unsupported_parameter", "background"),
        ("stream_id", json!("a"), "unsupported_parameter", "stream_id"),
        ("generate", json!(false), "unsupported_parameter", "generate"),
        ("model", Value::Null, "missing_required_parameter", "model"),
        ("model", json!(7), "invalid_value", "model"),
        ("input", Value::Null, "missing_required_parameter", "input"),
        ("input", json!([{"role": "user"}]), "missing_required_parameter", "input[0].content"),
        ("previous_response_id", json!("a b"), "invalid_value", "previous_response_id"),
        ("store", json!("yes"), "invalid_value", "store"),
        ("instructions", json!([]), "invalid_value", "instructions"),
        ("temperature", json!(2.5), "invalid_value", "temperature"),
        ("top_logprobs", json!(1.5), "invalid_value", "top_logprobs"),
        ("truncation", json!("middle"), "invalid_value", "truncation"),
        ("safety_identifier", json!(long), "invalid_value", "safety_identifier"),
        ("reasoning", json!({"effort": "huge"}), "invalid_value", "reasoning"),
        ("text", json!({"format": {"type": "xml"}}), "invalid_value", "text"),
        ("metadata", json!({"a": 1}), "invalid_value", "metadata"),
        ("metadata", json!({"session_id": "a b"}), "invalid_value", "metadata.session_id"),
        ("tools", tool(json!({"type": "web_search"})), "invalid_value", "tools[0].type"),
        ("tools", tool(json!({"type": "function"})), "missing_required_parameter", "tools[0].name"),
        ("tools", tool(json!({"type": "function", "name": "a b"})), "invalid_value", "tools[0].name"),
        (
            "tools",
            tool(json!({"type": "function", "name": "f", "parameters": 1})),
            "invalid_value",
            "tools[0].parameters",
        ),
        ("tool_choice", json!("maybe"), "invalid_value", "tool_choice"),
    ] {
        let error = parse(&create(&[(name, value)]).to_string()).unwrap_err();
        assert_eq!((error.code.as_str(), error.param.as_deref()), (code, Some(param)), "{error}");
    }
    let deep = format!("{}{}", "[".repeat(80), "]".repeat(80));
    let instructions = create(&[("instructions", json!("x".repeat(MAX_REPEATED_BYTES)))]).to_string();
    for (frame, code) in [
        ("{oops", "invalid_json"),
        ("", "invalid_json"),
        ("[]", "invalid_json"),
        ("null", "invalid_json"),
        ("{}", "missing_required_parameter"),
        (&deep, "request_too_deep"),
        (&" ".repeat(MAX_FRAME_BYTES + 1), "request_too_large"),
        (&instructions, "request_too_large"),
    ] {
        assert_eq!(parse(frame).unwrap_err().code.as_str(), code);
    }
}

#[test]
fn an_error_frame_has_the_form_that_clients_read() {
    assert_eq!(
        ErrorFrame::previous_response_not_found("resp_missing").to_value(),
        json!({"type": "error", "status": 400, "error": {
            "code": "previous_response_not_found", "type": "invalid_request_error", "param": "previous_response_id",
            "message": "Previous response with id 'resp_missing' not found."}})
    );
    for (frame, status, code) in [
        (ErrorFrame::connection_limit_reached(), 400, "websocket_connection_limit_reached"),
        (ErrorFrame::binary(), 400, "binary_not_supported"),
        (ErrorFrame::new(Code::RateLimitExceeded, "Later."), 429, "rate_limit_exceeded"),
        (ErrorFrame::new(Code::ServerError, "No."), 500, "server_error"),
    ] {
        let value: Value = serde_json::from_str(&frame.to_frame()).unwrap();
        assert_eq!((&value["status"], &value["error"]["code"]), (&json!(status), &json!(code)));
        assert!(value["error"].get("param").is_none());
    }
}

#[test]
fn what_was_asked_for_comes_back_in_the_form_of_the_resource() {
    let frame = create(&[
        ("metadata", json!({"session_id": "S1"})),
        ("tools", json!([{"type": "function", "name": "f", "parameters": {"type": "object"}}])),
        ("tool_choice", json!({"type": "allowed_tools", "tools": [{"type": "function", "name": "f"}]})),
        ("reasoning", json!({"effort": "low"})),
        (
            "text",
            json!({"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}, "verbosity": "low"}),
        ),
        ("temperature", json!(0.5)),
        ("user", json!("ignored")),
    ]);
    let create = parse(&frame.to_string()).unwrap();
    assert_eq!(create.required_session().unwrap().as_str(), "s1");
    let id = ResponseId::new("resp_1").unwrap();
    let resource = Response::new(id, create.session.unwrap(), Timestamp::from_millis(0), create.settings).resource();
    for (name, expected) in [
        (
            "tools",
            json!([{"type": "function", "name": "f", "description": null, "parameters": {"type": "object"}, "strict": null}]),
        ),
        ("tool_choice", json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]})),
        ("reasoning", json!({"effort": "low", "summary": null})),
        (
            "text",
            json!({"verbosity": "low", "format": {
            "type": "json_schema", "name": "n", "description": null, "schema": null, "strict": false}}),
        ),
        ("temperature", json!(0.5)),
        ("metadata", json!({"session_id": "S1"})),
    ] {
        assert_eq!(resource[name], expected);
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        prop_assert!(parse(&text).is_err());
    }

    #[test]
    fn a_member_of_any_kind_is_read_or_refused(
        name in prop::sample::select(vec!["input", "tools", "tool_choice", "metadata", "text", "reasoning", "model", "store"]),
        value in prop::sample::select(vec![
            json!(null), json!(0), json!(-1.5), json!("x"), json!([]), json!([[]]), json!({}), json!([{}]), json!([{"type": {}}]),
            json!({"format": []}), json!({"type": "allowed_tools", "tools": [7]}), json!([{"role": "user", "content": [{"type": "input_file"}]}]),
        ]),
    ) {
        if let Err(error) = parse(&create(&[(name, value)]).to_string()) {
            prop_assert!(error.param.is_some());
        }
    }

    #[test]
    fn pieces_are_small_enough_and_together_the_text(text in any::<String>(), max in 12..60_usize) {
        let cut: Vec<&str> = pieces(&text, max).collect();
        prop_assert_eq!(cut.concat(), text.clone());
        for piece in cut {
            prop_assert!(!piece.is_empty() && serde_json::to_string(piece).unwrap().len() <= max + 2);
        }
    }
}
