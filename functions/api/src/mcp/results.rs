//! Results of calls: what a model reads and what a program reads. Pure.

use super::describe::{INSTEAD, structured};
use crate::handlers::tasks::{Finished, status};
use crate::problem::{Code, Problem};
use clawbridge_tasks::{Record, State};
use serde_json::{Value, json};

/// Of a tool's call.
pub(crate) fn of_call(finished: &Finished, schema: Option<&Value>) -> Value {
    let (id, status) = finished.task();
    let task = json!({"id": id, "status": status});
    let mut result = match finished {
        Finished::Ended(record) if record.state == State::Succeeded => succeeded(record, schema, &task),
        Finished::Ended(record) => failed(record, &task),
        Finished::Standing(_) | Finished::Pending(_) => {
            let next = format!(
                "The call goes on as task {id}, which is {status}. Ask for its end with task_wait {{\"id\": \"{id}\"}}; calling the tool again would be another call."
            );
            content(&next, json!({INSTEAD: {"task": task, "next": next}}), false)
        }
    };
    result["_meta"] = json!({ "clawbridge/task": task });
    result
}

fn succeeded(record: &Record, schema: Option<&Value>, task: &Value) -> Value {
    if record.result_omitted {
        let next = "The call succeeded. What it returned is larger than a task's record and was not kept.";
        return content(next, json!({INSTEAD: {"task": task, "next": next}}), false);
    }
    let output = record.result.clone().unwrap_or_default();
    let text = output.to_string();
    match structured(output, schema) {
        Some(structured) => content(&text, structured, false),
        None => content(&text, json!({INSTEAD: {"task": task}}), false),
    }
}

fn failed(record: &Record, task: &Value) -> Value {
    let status = status(record.state);
    let error = match &record.error {
        Some(error) => {
            let mut told = json!({"code": error.code, "class": error.class, "message": error.message, "may_have_acted": error.may_have_acted});
            if let Some(status) = error.status {
                told["status"] = json!(status);
            }
            if let Some(time) = error.retry_after {
                told["retry_after"] = json!(time.as_secs() + u64::from(time.subsec_nanos() > 0));
            }
            told
        }
        None => json!({"code": status.to_uppercase(), "class": "unknown", "message": format!("the task is {status}")}),
    };
    let text = |name: &str| error[name].as_str().unwrap_or_default();
    let what = match record.state {
        State::Parked => "nobody knows whether the call was made; a person decides about it, so do not call again",
        _ => "the call has ended without a result",
    };
    let says =
        format!("{} ({}): {}. Task {} is {status}: {what}.", text("code"), text("class"), text("message"), record.id);
    content(&says, json!({INSTEAD: {"error": error, "task": task}}), true)
}

/// Of something that is told as REST tells it.
pub(crate) fn of_reply(body: Value) -> Value {
    content(&body.to_string(), body, false)
}

/// Of what cannot be done: for the model, which may do it otherwise.
pub(crate) fn of_problem(problem: &Problem, request_id: &str) -> Value {
    let mut error = problem.body(request_id)["error"].take();
    error["class"] = json!(class(problem.code));
    let fields = problem.fields.iter().filter(|field| !field.path.is_empty());
    let fields: Vec<String> = fields.map(|field| format!("{}: {}", field.path, field.message)).collect();
    let mut says = format!("{} ({}): {}.", problem.code.as_str(), class(problem.code), problem.message);
    if fields.len() > 1 {
        says = format!("{says} {}.", fields.join("; "));
    }
    if let Some(seconds) = problem.retry_after {
        says = format!("{says} Try again in {seconds} s.");
    }
    content(&says, json!({INSTEAD: {"error": error}}), true)
}

/// The classes of failed attempts, for failures before one.
fn class(code: Code) -> &'static str {
    match code {
        Code::RateLimited | Code::NoAgent | Code::Unavailable | Code::NotFinished => "transient",
        Code::Unauthorized | Code::Forbidden => "auth",
        Code::NotFound => "missing",
        Code::InvalidJson
        | Code::ValidationError
        | Code::MethodNotAllowed
        | Code::NotAcceptable
        | Code::Conflict
        | Code::PreconditionFailed
        | Code::PayloadTooLarge
        | Code::UnsupportedMediaType => "client",
    }
}

fn content(text: &str, structured: Value, is_error: bool) -> Value {
    json!({"content": [{"type": "text", "text": text}], "structuredContent": structured, "isError": is_error})
}
