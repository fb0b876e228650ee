//! JSON-RPC 2.0 as MCP uses it. Pure: bytes in, messages out.

use serde_json::{Value, json};

/// The most messages of a batch.
const MAX_BATCH: usize = 20;

/// A message of a client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    /// It wants an answer.
    Request { id: Value, method: String, params: Value },
    /// It wants none: a notification, or an answer to something that nobody asked.
    Unanswered,
    /// It is no message, which its sender is told.
    Wrong { id: Option<Value>, error: RpcError },
}

/// What a body holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    One(Message),
    Batch(Vec<Message>),
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RpcError {
    pub(crate) code: i64,
    pub(crate) message: String,
    pub(crate) data: Value,
}

impl RpcError {
    fn of(code: i64, message: impl Into<String>) -> RpcError {
        RpcError { code, message: message.into(), data: Value::Null }
    }

    /// The body is not JSON.
    pub(crate) fn parse(message: impl Into<String>) -> RpcError {
        RpcError::of(-32700, message)
    }

    /// The message is none of JSON-RPC, or cannot be taken.
    pub(crate) fn request(message: impl Into<String>) -> RpcError {
        RpcError::of(-32600, message)
    }

    pub(crate) fn method() -> RpcError {
        RpcError::of(-32601, "there is no such method here; there are initialize, ping, tools/list and tools/call")
    }

    pub(crate) fn params(message: impl Into<String>) -> RpcError {
        RpcError::of(-32602, message)
    }

    /// The bridge's own: whose `data` has the code that REST answers with.
    pub(crate) fn of_server(message: impl Into<String>, data: Value) -> RpcError {
        RpcError { data, ..RpcError::of(-32000, message) }
    }

    /// As a message. Without an id where none is known.
    pub(crate) fn message(&self, id: Option<&Value>) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if !self.data.is_null() {
            error["data"] = self.data.clone();
        }
        let mut message = json!({"jsonrpc": "2.0", "error": error});
        if let Some(id) = id {
            message["id"] = id.clone();
        }
        message
    }
}

/// The answer to a request.
pub(crate) fn answer(id: &Value, result: Result<Value, RpcError>) -> Value {
    match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(error) => error.message(Some(id)),
    }
}

/// Reads a body.
///
/// # Errors
/// It is not JSON, or an array that cannot be taken.
pub(crate) fn read(body: &[u8], has_batches: bool) -> Result<Body, RpcError> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        RpcError::parse(format!("the body is not JSON: line {}, column {}", error.line(), error.column()))
    })?;
    match value {
        Value::Array(_) if !has_batches => {
            Err(RpcError::request("several messages in an array are taken in version 2025-03-26 alone; send one"))
        }
        Value::Array(messages) if messages.is_empty() || messages.len() > MAX_BATCH => {
            Err(RpcError::request(format!("a batch has 1 to {MAX_BATCH} messages")))
        }
        Value::Array(messages) => Ok(Body::Batch(messages.into_iter().map(message).collect())),
        value => Ok(Body::One(message(value))),
    }
}

fn message(mut value: Value) -> Message {
    let wrong = |id: Option<Value>, says: &str| Message::Wrong { id, error: RpcError::request(says) };
    if !value.is_object() {
        return wrong(None, "a message is a JSON object");
    }
    let id = value.get("id").cloned();
    let is_id = |id: &Value| id.is_string() || id.is_i64() || id.is_u64();
    let good_id = id.clone().filter(is_id);
    if value["jsonrpc"] != "2.0" {
        return wrong(good_id, "a message has \"jsonrpc\": \"2.0\"");
    }
    let Value::String(method) = value["method"].take() else {
        // Nothing is asked of clients, so nobody waits for what they answer.
        let is_answer = value.get("result").is_some() || value.get("error").is_some();
        return if is_answer { Message::Unanswered } else { wrong(good_id, "a request has a `method`, a text") };
    };
    let params = value["params"].take();
    match (id, good_id) {
        (None, _) => Message::Unanswered,
        (Some(_), Some(id)) if params.is_null() || params.is_object() => Message::Request { id, method, params },
        (Some(_), Some(id)) => wrong(Some(id), "`params` is an object"),
        (Some(_), None) => wrong(None, "an `id` is a text or a whole number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wants_an_answer_is_told_from_what_wants_none() {
        let request = Message::Request { id: json!(0), method: "ping".into(), params: Value::Null };
        for (text, expected) in [
            (r#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#, request.clone()),
            (r#"{"jsonrpc":"2.0","id":0,"method":"ping","params":null}"#, request),
            (r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, Message::Unanswered),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":0,"reason":"TimeoutError"}}"#,
                Message::Unanswered,
            ),
            (r#"{"jsonrpc":"2.0","id":7,"result":{}}"#, Message::Unanswered),
            (r#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"no"}}"#, Message::Unanswered),
        ] {
            assert_eq!(read(text.as_bytes(), false), Ok(Body::One(expected)), "{text}");
        }
    }

    #[test]
    fn what_is_no_message_is_told_with_the_id_that_it_has() {
        for (text, id) in [
            ("7", None),
            ("\"ping\"", None),
            ("{}", None),
            (r#"{"id":1,"method":"ping"}"#, Some(json!(1))),
            (r#"{"jsonrpc":"1.0","id":"a","method":"ping"}"#, Some(json!("a"))),
            (r#"{"jsonrpc":"2.0","id":1}"#, Some(json!(1))),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, Some(json!(1))),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#, Some(json!(1))),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, None),
            (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, None),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, None),
        ] {
            let Ok(Body::One(Message::Wrong { id: told, error })) = read(text.as_bytes(), false) else {
                panic!("{text} is a message")
            };
            assert_eq!((told, error.code), (id, -32600), "{text}");
        }
        for text in ["", "{", "\u{0}", "nul"] {
            assert_eq!(read(text.as_bytes(), true).map_err(|error| error.code), Err(-32700), "{text}");
        }
        assert_eq!(read(&[0xff, 0xfe], true).map_err(|error| error.code), Err(-32700));
        assert!(read("[".repeat(200_000).as_bytes(), true).is_err());
    }

    #[test]
    fn batches_are_taken_where_the_version_has_them_and_within_a_bound() {
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let batch = |count: usize| format!("[{}]", vec![ping; count].join(","));
        let Ok(Body::Batch(messages)) = read(batch(2).as_bytes(), true) else { panic!("no batch") };
        assert_eq!(messages.len(), 2);
        for (text, has_batches) in [(batch(1), false), (batch(0), true), (batch(MAX_BATCH + 1), true)] {
            assert_eq!(read(text.as_bytes(), has_batches).map_err(|error| error.code), Err(-32600), "{text}");
        }
    }

    #[test]
    fn an_error_without_a_known_id_has_none() {
        let error = RpcError::of_server("no", json!({"code": "unauthorized"}));
        assert_eq!(
            error.message(None),
            json!({"jsonrpc": "2.0", "error": {"code": -32000, "message": "no", "data": {"code": "unauthorized"}}})
        );
        assert_eq!(answer(&json!("a"), Ok(json!({}))), json!({"jsonrpc": "2.0", "id": "a", "result": {}}));
    }
}
