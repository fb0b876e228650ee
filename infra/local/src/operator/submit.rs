//! `tasks submit` and `tasks wait`.

use super::print_json;
use super::reach::{Reached, unreachable};
use super::tasks::{pretty, whole};
use crate::cli::SubmitArgs;
use crate::failure::Failure;
use crate::out::say;
use crate::random;
use clawbridge_queue::{MAX_MESSAGE_BYTES, Priority};
use clawbridge_submit::{Desk, Refusal, Request, SubmitError, Waited, prepare};
use clawbridge_tasks::{Record, State};
use serde_json::{Value, json};
use std::io::{IsTerminal, Read};
use std::time::Duration;

/// What tasks say about who wanted them.
pub(super) const SUBMITTER: &str = "operator";

pub(super) async fn submit(reached: &Reached, args: SubmitArgs, json: bool) -> Result<(), Failure> {
    let input = input(&args.input)?;
    let version = reached.registry.current().await;
    let version = version.map_err(|error| unreachable("CONFIG_UNAVAILABLE", &error.to_string()))?;
    let priority = if args.background { Priority::Background } else { Priority::Interactive };
    let (submitter, trace) = (SUBMITTER.to_owned(), random::trace());
    let request = Request { tool: args.tool, input, key: args.key, submitter, priority, trace };
    let submission =
        prepare(&version.config, request, &random::idempotency_key()).map_err(|refusal| match refusal {
            Refusal::UnknownTool { .. } => Failure::not_found(refusal.code(), refusal.to_string()),
            _ => Failure::negative(refusal.code(), refusal.to_string()),
        })?;
    let desk = reached.desk().await?;
    // What is submitted once more is found by its record, whether it has ended or not.
    desk.submit(&submission).await.map_err(failure)?;
    if json {
        print_json(&json!({"task": submission.task, "key": submission.key}));
    } else {
        say!("{}", submission.task);
    }
    match args.wait {
        Some(bound) => follow(&desk, &submission.task, Some(&submission.input_hash), bound, json).await,
        None => Ok(()),
    }
}

pub(super) async fn wait(reached: &Reached, id: &str, bound: Duration, json: bool) -> Result<(), Failure> {
    follow(&reached.desk().await?, id, None, bound, json).await
}

pub(super) fn failure(error: SubmitError) -> Failure {
    match error {
        SubmitError::Conflict(_) => conflict(),
        SubmitError::Tasks(error) => unreachable("TASKS_UNAVAILABLE", &error.to_string()),
        SubmitError::Queue(error) => unreachable("QUEUE_UNAVAILABLE", &error.to_string()),
    }
}

pub(super) fn conflict() -> Failure {
    let message = "this key was used before with another input; nothing is called. Another call needs another key";
    Failure::negative("IDEMPOTENCY_CONFLICT", message)
}

/// Waits, and tells how it ended: the record on standard output, and the exit status.
pub(super) async fn follow(
    desk: &Desk,
    id: &str,
    input_hash: Option<&str>,
    bound: Duration,
    json: bool,
) -> Result<(), Failure> {
    let waited = desk.wait(id, input_hash, bound).await;
    let waited = waited.map_err(|error| unreachable("TASKS_UNAVAILABLE", &error.to_string()))?;
    let task = match waited {
        Waited::Ended(task) => task,
        Waited::Conflict(_) => return Err(conflict()),
        Waited::TimeOver(task) => {
            let stands = match task.as_deref() {
                Some(task) => format!("is {}", task.state.as_str()),
                None => "has no record yet".to_owned(),
            };
            let message =
                format!("after {} s the task {id} {stands}; wait again, or see `tasks show`", bound.as_secs());
            return Err(Failure::time_over(message));
        }
    };
    if json {
        print_json(&whole(&task));
    } else {
        say!("state     {}", task.state.as_str());
        match &task.result {
            Some(result) => say!("result    {}", pretty(result)),
            None if task.result_omitted => say!("result    too large to keep"),
            None => {}
        }
    }
    verdict(&task)
}

pub(super) fn verdict(task: &Record) -> Result<(), Failure> {
    let code = match task.state {
        State::Succeeded => return Ok(()),
        State::Parked => "TASK_PARKED",
        State::Cancelled => "TASK_CANCELLED",
        State::Failed | State::Queued | State::Running | State::Waiting | State::Unknown => "TASK_FAILED",
    };
    let error = task.error.as_ref().map(|error| format!(" with {}: {}", error.code.as_str(), error.message));
    let message = format!("the task {} is {}{}", task.id, task.state.as_str(), error.unwrap_or_default());
    Err(Failure::negative(code, message))
}

/// JSON, `@FILE` or `-`.
fn input(given: &str) -> Result<Value, Failure> {
    let unreadable = |reason: String| Failure::usage("INPUT_UNREADABLE", reason);
    let (text, place) = match given.strip_prefix('@') {
        Some(file) => (std::fs::read_to_string(file).map_err(|error| unreadable(format!("{file}: {error}")))?, file),
        None if given == "-" => (standard_input().map_err(unreadable)?, "standard input"),
        None => (given.to_owned(), "--input"),
    };
    serde_json::from_str(&text).map_err(|error| unreadable(format!("{place} is not JSON: {error}")))
}

pub(super) fn standard_input() -> Result<String, String> {
    let input = std::io::stdin();
    if input.is_terminal() {
        eprintln!("Type the input as JSON, then Enter and Ctrl-D:");
    }
    let mut text = String::new();
    // What is cut here is larger than any message.
    let bound = u64::try_from(MAX_MESSAGE_BYTES).unwrap_or(u64::MAX) + 1;
    input.take(bound).read_to_string(&mut text).map_err(|error| format!("standard input: {error}"))?;
    Ok(text)
}
