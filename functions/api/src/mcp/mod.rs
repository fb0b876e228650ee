//! The Model Context Protocol at `/mcp`: declared tools for agents. Streamable HTTP without streams and sessions: each request stands alone, and
//! its answer is JSON. <https://modelcontextprotocol.io/specification/2025-11-25/basic/transports>
//!
//! Pure: `rpc` (messages), `version`, `http` (headers), `names`, `page`, `describe` (what a tool is for a client), `results`. The rest carries
//! out: `tools` what `tools/list` and `tools/call` want, `tasks` the tools of the bridge itself. A call is handed in and waited for as
//! by `POST /api/v1/tools/{name}/invoke`.

mod describe;
mod http;
mod names;
mod page;
mod results;
mod rpc;
mod tasks;
mod tools;
mod version;

use crate::problem::{Code, Problem};
use crate::router::{Asked, MAX_BODY_BYTES, json, media_type, set};
use axum::body::Body as AxumBody;
use axum::http::request::Parts;
use axum::http::{Response, StatusCode, header};
use clawbridge_access::Caller;
use futures_util::future::join_all;
use rpc::{Body, Message, RpcError};
use serde_json::{Value, json};
use version::Version;

/// Where it is.
pub(crate) const PATH: &str = "/mcp";

/// What a model is told about all tools.
const INSTRUCTIONS: &str = "Tools of this bridge call external APIs. A call that takes long goes on as a task: the result names it, and task_wait \
    asks for its end. Calling a tool again is another call, unless both have the same _meta \"clawbridge/idempotency-key\": then the first one's \
    result comes back. A failure has a code and a class; what is `transient` may be tried again, what is `client` needs another input.";

/// Answers one request. `refusal`: it is one too many.
pub(crate) async fn answer(parts: &Parts, asked: &Asked, refusal: Option<Problem>) -> Response<AxumBody> {
    let (caller, version) = match admit(parts, asked, refusal) {
        Ok(admitted) => admitted,
        Err(problem) => return refused(&problem, &asked.request_id),
    };
    match rpc::read(&asked.body, version.has_batches()) {
        Err(error) => json(StatusCode::BAD_REQUEST, &error.message(None)),
        Ok(Body::One(Message::Wrong { id, error })) => json(StatusCode::BAD_REQUEST, &error.message(id.as_ref())),
        Ok(Body::One(message)) => match respond(asked, caller, message).await {
            Some(answer) => json(StatusCode::OK, &answer),
            None => accepted(),
        },
        Ok(Body::Batch(messages)) => {
            let answers = messages.into_iter().enumerate().map(|(n, message)| one_of_many(asked, caller, n, message));
            let answers: Vec<Value> = join_all(answers).await.into_iter().flatten().collect();
            if answers.is_empty() { accepted() } else { json(StatusCode::OK, &Value::Array(answers)) }
        }
    }
}

/// Who asks, and in which version.
fn admit<'a>(parts: &Parts, asked: &'a Asked, refusal: Option<Problem>) -> Result<(&'a Caller, Version), Problem> {
    http::origin(&parts.headers)?;
    refusal.map_or(Ok(()), Err)?;
    let caller = asked.who.as_ref().map_err(Problem::clone)?;
    http::method(&parts.method)?;
    let version = http::talk(&parts.headers, &media_type(&parts.headers))?;
    if asked.body.len() > MAX_BODY_BYTES {
        return Err(Problem::new(Code::PayloadTooLarge, format!("a body has {MAX_BODY_BYTES} bytes at most")));
    }
    Ok((caller, version))
}

/// A notification was taken: there is nothing to say.
fn accepted() -> Response<AxumBody> {
    let mut answer = Response::new(AxumBody::empty());
    *answer.status_mut() = StatusCode::ACCEPTED;
    answer
}

/// What HTTP says already, as a message as well. It is about no request that could be named.
fn refused(problem: &Problem, request_id: &str) -> Response<AxumBody> {
    if let Some(inside) = &problem.inside {
        crate::note_inside(inside, "mcp");
    }
    let mut answer = json(problem.code.status(), &error_of(problem, request_id).message(None));
    answer.headers_mut().extend(problem.headers.iter().cloned());
    if let Some(seconds) = problem.retry_after {
        set(answer.headers_mut(), header::RETRY_AFTER, &seconds.to_string());
    }
    answer
}

/// A failure of the bridge's own as an error of the protocol.
fn error_of(problem: &Problem, request_id: &str) -> RpcError {
    RpcError::of_server(problem.message.clone(), problem.body(request_id)["error"].take())
}

/// Each further request of a batch counts as one of the caller's.
async fn one_of_many(asked: &Asked, caller: &Caller, n: usize, message: Message) -> Option<Value> {
    if let (Message::Request { id, .. }, true) = (&message, n > 0)
        && let Some(refusal) = asked.api.allow(&asked.who, asked.now).await.refusal()
    {
        return Some(error_of(&refusal, &asked.request_id).message(Some(id)));
    }
    if let Message::Request { id, method, .. } = &message
        && method == "initialize"
    {
        return Some(RpcError::request("`initialize` stands alone").message(Some(id)));
    }
    respond(asked, caller, message).await
}

/// The answer to a message, if it wants one.
async fn respond(asked: &Asked, caller: &Caller, message: Message) -> Option<Value> {
    match message {
        Message::Unanswered => None,
        Message::Wrong { id, error } => Some(error.message(id.as_ref())),
        Message::Request { id, method, params } => {
            let result = match method.as_str() {
                "initialize" => initialize(&params),
                "ping" => Ok(json!({})),
                "tools/list" => tools::list(asked, caller, &params).await,
                "tools/call" => tools::call(asked, caller, params).await,
                _ => Err(RpcError::method()),
            };
            Some(rpc::answer(&id, result))
        }
    }
}

fn initialize(params: &Value) -> Result<Value, RpcError> {
    let Some(wanted) = params["protocolVersion"].as_str() else {
        return Err(RpcError::params("`protocolVersion` must be there, a text"));
    };
    Ok(json!({
        "protocolVersion": Version::negotiate(wanted).as_str(),
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "clawbridge", "title": "Clawbridge", "version": env!("CARGO_PKG_VERSION")},
        "instructions": INSTRUCTIONS,
    }))
}
