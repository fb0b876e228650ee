//! `tasks list|show|retry`.

use super::events::{days, period};
use super::print_json;
use super::reach::{Reached, unreachable};
use super::table;
use crate::cli::{Global, ListArgs, TasksCommand};
use crate::failure::Failure;
use crate::out::say;
use clawbridge_clock::Timestamp;
use clawbridge_queue::{Message, TaskMessage};
use clawbridge_tasks::{Record, State};
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) async fn run(global: &Global, command: TasksCommand) -> Result<(), Failure> {
    let reached = Reached::stack(global).await?;
    match command {
        TasksCommand::List { state, list: args } => list(&reached, state, &args, global.json).await,
        TasksCommand::Show(args) => show(&reached, &args.id, global.json).await,
        TasksCommand::Retry(args) => retry(&reached, &args.id, global.json).await,
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
                let event = task.origin.as_ref().map_or("", |origin| &origin.event);
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
        "event": task.origin.as_ref().map(|origin| &origin.event), "error": task.error.as_ref().map(|error| error.code),
        "created_at": task.created_at.rfc3339(), "updated_at": task.updated_at.rfc3339()})
}

async fn show(reached: &Reached, id: &str, json: bool) -> Result<(), Failure> {
    let task = get(reached, id).await?;
    let mut whole = json!(task);
    for name in ["created_at", "updated_at", "lease_until", "retry_at"] {
        if let Some(millis) = whole[name].as_i64() {
            whole[name] = json!(Timestamp::from_millis(millis).rfc3339());
        }
    }
    if json {
        print_json(&whole);
        return Ok(());
    }
    say!("task      {}", task.id);
    say!("tool      {}", task.tool);
    say!("key       {}", task.key);
    if let Some(origin) = &task.origin {
        say!("event     {} through route {}", origin.event, origin.route);
    }
    say!("state     {}", task.state.as_str());
    if let Some(at) = task.retry_at {
        say!("again     {at}");
    }
    say!("created   {}", task.created_at);
    say!("changed   {}", task.updated_at);
    for attempt in &task.attempts {
        let status = attempt.status.map(|status| format!(" {status}")).unwrap_or_default();
        let code = attempt.code.as_ref().map(|code| format!(" {code}")).unwrap_or_default();
        say!("attempt   {} at {}: {}{status}{code} in {} ms", attempt.n, attempt.at, attempt.decision, attempt.ms);
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
    let task = get(reached, id).await?;
    if !matches!(task.state, State::Failed | State::Parked | State::Queued) {
        let message =
            format!("task {id} is {}: only a failed, parked or waiting task can be run again", task.state.as_str());
        return Err(Failure::negative("NOT_RETRYABLE", message));
    }
    let message = Message::Task(TaskMessage { task: task.id.clone(), retry_after_attempt: Some(task.attempt) });
    let queue = reached.queue().await?;
    queue.send(&message, Duration::ZERO).await.map_err(|error| unreachable("QUEUE_UNAVAILABLE", &error.to_string()))?;
    if json {
        print_json(&json!({"queued": true, "task": task.id, "after_attempt": task.attempt}));
    } else {
        say!("{id} is queued to be run again.");
    }
    Ok(())
}

async fn get(reached: &Reached, id: &str) -> Result<Record, Failure> {
    let task = reached.tasks.get(id).await.map_err(|error| unreachable("TASKS_UNAVAILABLE", &error.to_string()))?;
    task.ok_or_else(|| {
        Failure::not_found("UNKNOWN_TASK", format!("there is no task {id}; `clawbridge tasks list` shows them"))
    })
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
