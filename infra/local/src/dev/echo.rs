//! An API to try tools against: it acts on a call once for each `Idempotency-Key`, and says what it was sent.
//!
//! Kept in memory and shown at `GET /echo`. It stands on the private port: what it shows is whatever tools send.

use crate::dev::show::Show;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Calls remembered.
const REMEMBERED: usize = 200;

/// The endpoint. Clones share its memory.
#[derive(Clone, Default)]
pub(crate) struct Echo {
    calls: Arc<Mutex<Memory>>,
}

#[derive(Default)]
struct Memory {
    effects: u64,
    calls: VecDeque<Call>,
}

struct Call {
    method: String,
    path: String,
    key: Option<String>,
    body: Value,
    /// Which effect it had; a repeated key has that of its first call.
    effect: u64,
    times: u64,
}

impl Echo {
    /// Answers a request below `/echo`.
    pub(crate) fn answer(&self, request: &Request<Bytes>, show: &Show) -> Response<Bytes> {
        let path = request.uri().path();
        if request.method() == Method::GET && path == "/echo" {
            return json_response(StatusCode::OK, &self.list());
        }
        let key = request.headers().get("idempotency-key").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = serde_json::from_slice(request.body())
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(request.body()).into_owned()));
        // No half-made state between statements, so a panic elsewhere leaves the memory usable.
        let mut memory = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let repeated = key.as_ref().and_then(|key| memory.calls.iter_mut().find(|call| call.key.as_ref() == Some(key)));
        let (effect, repeated) = match repeated {
            Some(call) => {
                call.times += 1;
                (call.effect, true)
            }
            None => {
                memory.effects += 1;
                let effect = memory.effects;
                if memory.calls.len() == REMEMBERED {
                    memory.calls.pop_front();
                }
                memory.calls.push_back(Call {
                    method: request.method().to_string(),
                    path: path.to_owned(),
                    key: key.clone(),
                    body: body.clone(),
                    effect,
                    times: 1,
                });
                (effect, false)
            }
        };
        drop(memory);
        show.echo(request.method().as_str(), path, &body, repeated);
        let answer =
            json!({"ok": true, "effect": effect, "repeated": repeated, "idempotency_key": key, "received": body});
        json_response(StatusCode::OK, &answer)
    }

    fn list(&self) -> Value {
        let memory = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let calls: Vec<Value> = memory
            .calls
            .iter()
            .rev()
            .map(|call| {
                json!({"effect": call.effect, "method": call.method, "path": call.path, "idempotency_key": call.key,
                    "times_called": call.times, "body": call.body})
            })
            .collect();
        json!({"effects": memory.effects, "calls": calls})
    }
}

/// A JSON page for a person or a script.
pub(crate) fn json_response(status: StatusCode, value: &Value) -> Response<Bytes> {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
