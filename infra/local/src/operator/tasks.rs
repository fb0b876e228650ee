//! `tasks list|show|retry|settle|cancel`; `tasks submit` and `tasks wait` are in [`submit`](super::submit).

use super::events::{days, period};
use super::print_json;
use super::reach::{Reached, unreachable};
use super::submit;
use super::table;
use crate::cli::{Global, ListArgs, SettleArgs, TasksCommand};
use crate::failure::Failure;
use crate::out::say;
use clawbridge_clock::Timestamp;
use clawbridge_queue::{Decision, Message, Settlement, TaskMessage};
use clawbridge_tasks::{By, Origin, Record, State};
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) async fn run(global: &Global, command: TasksCommand) -> Result<(), Failure> {
    let reached = Reached::stack(global).await?;
    match command {
        TasksCommand::List { state, list: args } => list(&reached, state, &args, global.json).await,
        TasksCommand::Show(args) => show(&reached, &args.id, global.json).await,
        TasksCommand::Submit(args) => submit::submit(&reached, args, global.json).await,
        TasksCommand::Wait { id, bound } => submit::wait(&reached, &id, bound, global.json).await,
        TasksCommand::Retry(args) => retry(&reached, &args.id, global.json).await,
        TasksCommand::Settle(args) => settle(&reached, args, global.json).await,
        TasksCommand::Cancel { id, reason } => {
            let cancellable = [State::Queued, State::Waiting, State::Parked];
            let task = get_in(&reached, &id, &cancellable, "NOT_CANCELLABLE", "be cancelled").await?;
            let message = settlement(&task, Decision::Cancel { reason });
            ask(&reached, &task, message, "to be cancelled", global.json).await
        }
    }
}

async fn list(reached: &Reached, state: Option<State>, args: &ListArgs, json: bool) -> Result<(), Failure> {
    let mut tasks: Vec<Record> = Vec::new();
    for day in days(args, Timestamp::now()) {
        let left = usize::from(args.limit) - tasks.len();
        let page = reached
            .tasks
            .list(&day, state, left)
            .await
            .map_err(|error| unreachable("TASKS_UNAVAILABLE", &error.to_string()))?;
        tasks.extend(page.records);
        if tasks.len() >= usize::from(args.limit) {
            break;
        }
    }
    if json {
        print_json(&tasks.iter().map(brief).collect::<Vec<Value>>());
    } else if tasks.is_empty() {
        say!("No such tasks {}.", period(args));
    } else {
        let rows: Vec<Vec<String>> = tasks
            .iter()
            .map(|task| {
                let code = task.error.as_ref().map_or("", |error| error.code.as_str());
                let state = if code.is_empty() {
                    task.state.as_str().to_owned()
                } else {
                    format!("{} {code}", task.state.as_str())
                };
                let event = task.origin.as_ref().and_then(Origin::event).unwrap_or_default();
                vec![
                    task.updated_at.rfc3339(),
                    task.id.clone(),
                    task.tool.clone(),
                    state,
                    task.attempt.to_string(),
                    event.to_owned(),
                ]
            })
            .collect();
        table::print(&["CHANGED", "TASK", "TOOL", "STATE", "ATTEMPTS", "EVENT"], &rows);
    }
    Ok(())
}

fn brief(task: &Record) -> Value {
    json!({"id": task.id, "tool": task.tool, "state": task.state, "attempt": task.attempt,
        "event": task.origin.as_ref().and_then(Origin::event), "error": task.error.as_ref().map(|error| error.code),
        "created_at": task.created_at.rfc3339(), "updated_at": task.updated_at.rfc3339()})
}

/// The record, for scripts.
pub(super) fn whole(task: &Record) -> Value {
    let mut whole = json!(task);
    whole["trace_id"] = json!(task.trace.map(|trace| trace.trace_id().to_string()));
    for name in ["created_at", "updated_at", "lease_until", "retry_at", "expires_at"] {
        if let Some(millis) = whole[name].as_i64() {
            whole[name] = json!(Timestamp::from_millis(millis).rfc3339());
        }
    }
    whole
}

async fn show(reached: &Reached, id: &str, json: bool) -> Result<(), Failure> {
    let task = get(reached, id).await?;
    if json {
        print_json(&whole(&task));
        return Ok(());
    }
    say!("task      {}", task.id);
    say!("tool      {}", task.tool);
    say!("key       {}", task.key);
    match &task.origin {
        Some(Origin::Route { event, route }) => say!("event     {event} through route {route}"),
        Some(Origin::Submitter { submitter }) => say!("submitted by {submitter}"),
        None => {}
    }
    if let Some(trace) = task.trace {
        say!("trace     {}", trace.trace_id());
    }
    say!("state     {}", task.state.as_str());
    if let Some(at) = task.retry_at {
        let label = if task.state == State::Queued { "again" } else { "looked at" };
        say!("{label:<10}{at}");
    }
    say!("created   {}", task.created_at);
    say!("changed   {}", task.updated_at);
    say!("kept      until {}", task.expires_at);
    for attempt in &task.attempts {
        let status = attempt.status.map(|status| format!(" {status}")).unwrap_or_default();
        let code = attempt.code.as_ref().map(|code| format!(" {code}")).unwrap_or_default();
        let by = match attempt.by {
            Some(By::Verify) => " by verify",
            Some(By::Person) => " by a person",
            None => "",
        };
        let (n, at, decision, ms) = (attempt.n, attempt.at, &attempt.decision, attempt.ms);
        say!("attempt   {n} at {at}: {decision}{by}{status}{code} in {ms} ms");
    }
    if let Some(error) = &task.error {
        say!("error     {}: {}", error.code.as_str(), error.message);
        if let Some(evidence) = &error.evidence {
            say!("answered  {}", evidence.escape_debug());
        }
    }
    say!("input     {}", pretty(&task.input));
    match &task.result {
        Some(result) => say!("result    {}", pretty(result)),
        None if task.result_omitted => say!("result    too large to keep"),
        None => {}
    }
    Ok(())
}

async fn retry(reached: &Reached, id: &str, json: bool) -> Result<(), Failure> {
    let retryable = [State::Failed, State::Parked, State::Queued, State::Cancelled];
    let task = get_in(reached, id, &retryable, "NOT_RETRYABLE", "be run again").await?;
    let message = again(&task);
    ask(reached, &task, message, "to be run again", json).await
}

async fn settle(reached: &Reached, args: SettleArgs, json: bool) -> Result<(), Failure> {
    let settleable = [State::Parked, State::Unknown];
    let task = get_in(reached, &args.id, &settleable, "NOT_SETTLEABLE", "be settled").await?;
    let (message, wish) = if args.done {
        let result = args.result.unwrap_or_default();
        (settlement(&task, Decision::Done { result }), "to be settled as done")
    } else if args.fail {
        (settlement(&task, Decision::Fail { reason: args.reason }), "to be settled as failed")
    } else {
        (again(&task), "to be run again")
    };
    ask(reached, &task, message, wish, json).await
}

fn again(task: &Record) -> TaskMessage {
    TaskMessage { retry_after_attempt: Some(task.attempt), ..TaskMessage::due(&task.id) }
}

fn settlement(task: &Record, decision: Decision) -> TaskMessage {
    let settle = Some(Settlement { after_attempt: task.attempt, decision });
    TaskMessage { settle, ..TaskMessage::due(&task.id) }
}

/// Puts a person's wish on the queue: the worker fulfils it, if the task still is where they saw it.
async fn ask(reached: &Reached, task: &Record, message: TaskMessage, wish: &str, json: bool) -> Result<(), Failure> {
    let queue = reached.queue().await?;
    let sent = queue.send(&Message::Task(message), Duration::ZERO).await;
    sent.map_err(|error| unreachable("QUEUE_UNAVAILABLE", &error.to_string()))?;
    if json {
        print_json(&json!({"queued": true, "task": task.id, "after_attempt": task.attempt}));
    } else {
        say!("{} is queued {wish}.", task.id);
    }
    Ok(())
}

/// The task, if it is in one of the states in which it can `be` what is wanted.
async fn get_in(
    reached: &Reached,
    id: &str,
    states: &[State],
    code: &'static str,
    be: &str,
) -> Result<Record, Failure> {
    let task = get(reached, id).await?;
    if states.contains(&task.state) {
        return Ok(task);
    }
    let words: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
    let (last, others) = words.split_last().unwrap_or((&"", &[]));
    let message =
        format!("task {id} is {}: only a task that is {} or {last} can {be}", task.state.as_str(), others.join(", "));
    Err(Failure::negative(code, message))
}

async fn get(reached: &Reached, id: &str) -> Result<Record, Failure> {
    let task = reached.tasks.get(id).await.map_err(|error| unreachable("TASKS_UNAVAILABLE", &error.to_string()))?;
    task.ok_or_else(|| {
        Failure::not_found("UNKNOWN_TASK", format!("there is no task {id}; `clawbridge tasks list` shows them"))
    })
}

pub(super) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
