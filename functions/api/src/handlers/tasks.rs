//! Tasks: hand in, list, look, decide.

use crate::call::Call;
use crate::cursor::{Cursor, days, fingerprint};
use crate::endpoint::{Endpoint, Kind, Needs, Param, Reply};
use crate::problem::{Code, Field, KEY_CONFLICT, Problem};
use crate::state::{Api, random};
use axum::http::{Method, StatusCode, header};
use clawbridge_access::Wish;
use clawbridge_clock::Timestamp;
use clawbridge_queue::{Decision, Message, Priority, Settlement, TaskMessage};
use clawbridge_registry::Submitted as Noted;
use clawbridge_submit::{Request, Submitted, Waited, prepare};
use clawbridge_tasks::{Origin, Place, Record, State};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Entries of the index that one request for a list looks at.
const MAX_LOOKED_AT: usize = 300;

pub(crate) const STATUSES: &[&str] =
    &["queued", "running", "waiting", "unknown", "completed", "failed", "parked", "cancelled"];

pub(crate) const LIST: &[Param] = &[
    Param { name: "status", kind: Kind::Word(STATUSES), says: "Only tasks that are so." },
    Param { name: "tool", kind: Kind::Text, says: "Only tasks of this tool." },
    Param {
        name: "search",
        kind: Kind::Text,
        says: "Only tasks whose id, tool, idempotency key, event or error's message contains this, whatever its case. It is looked for in the \
               entries of the period, not in an index of words: a page may have fewer tasks than `limit` and still a next one.",
    },
    Param {
        name: "since",
        kind: Kind::Moment,
        says: "Changed on this UTC day or later [default: six days before `until`].",
    },
    Param { name: "until", kind: Kind::Moment, says: "Changed on this UTC day or earlier [default: now]." },
    Param {
        name: "limit",
        kind: Kind::Number { min: 1, max: 100, default: Some(20) },
        says: "The most tasks of a page.",
    },
    Param {
        name: "offset",
        kind: Kind::Number { min: 0, max: 200, default: Some(0) },
        says: "Tasks to leave out at the beginning. For more, use `cursor`.",
    },
    Param { name: "cursor", kind: Kind::Cursor, says: "`next_cursor` of the page before." },
];

pub(crate) fn endpoints() -> Vec<Endpoint> {
    const TOOL: Needs = Needs::Token("execute, or tool:NAME of its tool");
    const LOOK: Needs = Needs::Token("read, execute, or tool:NAME of its tool");
    vec![
        Endpoint::new(
            Method::POST,
            "/api/v1/tasks",
            "createTask",
            "Hand in a task: a tool with its input, or a prompt for an agent.",
            TOOL,
            &[(201, "Task"), (200, "Task")],
            |api, call| Box::pin(create(api, call)),
        )
        .fails(&[404, 409])
        .body("CreateTask")
        .keyed(),
        Endpoint::new(
            Method::GET,
            "/api/v1/tasks",
            "listTasks",
            "List tasks, the last changed first.",
            Needs::Wish(Wish::Look),
            &[(200, "TaskList")],
            |api, call| Box::pin(list(api, call)),
        )
        .query(LIST),
        Endpoint::new(
            Method::GET,
            "/api/v1/tasks/{id}",
            "getTask",
            "Show a task.",
            LOOK,
            &[(200, "Task")],
            |api, call| Box::pin(show(api, call)),
        ),
        Endpoint::new(
            Method::GET,
            "/api/v1/tasks/{id}/result",
            "getTaskResult",
            "What came of a task that has ended.",
            LOOK,
            &[(200, "TaskResult")],
            |api, call| Box::pin(result(api, call)),
        )
        .fails(&[409]),
        Endpoint::new(
            Method::POST,
            "/api/v1/tasks/{id}/cancel",
            "cancelTask",
            "Take back a task that is queued, waiting or parked.",
            TOOL,
            &[(202, "Asked")],
            |api, call| Box::pin(cancel(api, call)),
        )
        .fails(&[409])
        .body("Reason"),
        Endpoint::new(
            Method::POST,
            "/api/v1/tasks/{id}/retry",
            "retryTask",
            "Run a task again that has failed, is parked, cancelled or waits for its next attempt.",
            TOOL,
            &[(202, "Asked")],
            |api, call| Box::pin(retry(api, call)),
        )
        .fails(&[409]),
        Endpoint::new(
            Method::POST,
            "/api/v1/tasks/{id}/settle",
            "settleTask",
            "Decide about a task whose outcome nobody knows.",
            Needs::Wish(Wish::Administer),
            &[(202, "Asked")],
            |api, call| Box::pin(settle(api, call)),
        )
        .fails(&[409])
        .body("Settle"),
    ]
}

/// The tutorial's words for two of them.
pub(crate) fn status(state: State) -> &'static str {
    match state {
        State::Succeeded => "completed",
        other => other.as_str(),
    }
}

fn state(status: &str) -> Option<State> {
    if status == "completed" { Some(State::Succeeded) } else { State::parse(status) }
}

/// A task as callers see it.
pub(crate) fn view(task: &Record) -> Value {
    let at = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
    let (event, route, submitter) = match &task.origin {
        Some(Origin::Route { event, route }) => (Some(event), Some(route), None),
        Some(Origin::Submitter { submitter }) => (None, None, Some(submitter)),
        None => (None, None, None),
    };
    let attempts: Vec<Value> = task
        .attempts
        .iter()
        .map(|one| json!({"n": one.n, "at": one.at.rfc3339(), "ms": one.ms, "decision": one.decision, "status": one.status, "code": one.code}))
        .collect();
    json!({"id": task.id, "status": status(task.state), "tool": task.tool, "idempotency_key": task.key, "event": event, "route": route,
        "submitter": submitter, "input": task.input, "attempt": task.attempt, "attempts": attempts, "error": error(task),
        "next_attempt_at": at(task.retry_at), "trace_id": task.trace.map(|trace| trace.trace_id().to_string()),
        "created_at": task.created_at.rfc3339(), "updated_at": task.updated_at.rfc3339()})
}

fn error(task: &Record) -> Value {
    match &task.error {
        Some(error) => json!({"code": error.code, "message": error.message, "status": error.status}),
        None => Value::Null,
    }
}

/// What came of it.
pub(crate) fn outcome(task: &Record) -> Value {
    let took = task.created_at.until(task.updated_at).as_millis();
    json!({"id": task.id, "status": status(task.state), "tool": task.tool, "output": task.result, "output_omitted": task.result_omitted,
        "error": if task.state == State::Succeeded { Value::Null } else { error(task) },
        "duration_ms": u64::try_from(took).unwrap_or(u64::MAX), "completed_at": task.updated_at.rfc3339()})
}

pub(crate) fn pending(noted: &Noted) -> Value {
    json!({"id": noted.task, "status": "queued", "tool": noted.tool, "created_at": noted.at.rfc3339()})
}

#[derive(Deserialize)]
struct Create {
    tool: Option<String>,
    #[serde(default)]
    input: Option<Value>,
}

pub(crate) async fn create(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let create: Create = call.body()?;
    let Some(tool) = create.tool else {
        if !call.may(Wish::Ask(None)) {
            return Err(Problem::forbidden("execute, or agent:NAME"));
        }
        let message =
            "no agent is connected to this bridge, so a prompt has nobody to do it; hand in a `tool` with its `input`";
        return Err(Problem::new(Code::NoAgent, message));
    };
    match submit(api, call, &tool, create.input.unwrap_or_else(|| json!({})), Priority::Interactive).await? {
        Handed::Known(record) => Ok(Reply::ok(view(&record))),
        Handed::Queued { noted, .. } => {
            let place = format!("/api/v1/tasks/{}", noted.task);
            Ok(Reply::with(StatusCode::CREATED, pending(&noted)).header(header::LOCATION, &place))
        }
    }
}

/// What handing in came to.
pub(crate) enum Handed {
    Known(Box<Record>),
    Queued { noted: Noted, input_hash: String },
}

/// Has a tool called.
pub(crate) async fn submit(
    api: &Api,
    call: &Call,
    tool: &str,
    input: Value,
    priority: Priority,
) -> Result<Handed, Problem> {
    // A tool that the token is not for and one that there is not are told apart only to those who may look at all of them.
    if !call.may(Wish::Call(tool)) {
        return Err(Problem::forbidden(&format!("execute, or tool:{tool}")));
    }
    let config = api.registry.current().await?.config;
    let declared = config.tool(tool).ok_or_else(|| Problem::not_found("tool"))?;
    if let Err(violations) = declared.check_input(&input) {
        let field = |pointer: &str, message: &str| {
            let at = crate::call::dotted(pointer);
            let dot = if at.is_empty() { "" } else { "." };
            Field::new(format!("input{dot}{at}"), message)
        };
        return Err(Problem::fields(violations.iter().map(|one| field(&one.pointer, &one.message)).collect()));
    }
    let request = Request {
        tool: tool.to_owned(),
        input,
        key: call.key.clone(),
        submitter: call.submitter(),
        priority,
        trace: call.trace,
    };
    let submission = prepare(&config, request, &hex::encode(random::<16>()?))?;
    match api.desk.submit(&submission).await? {
        Submitted::Known(record) => Ok(Handed::Known(record)),
        Submitted::Queued => {
            let noted = Noted { task: submission.task, tool: tool.to_owned(), at: call.now };
            // The queue has it: whether it is found before the worker begins is no reason to say that it failed.
            if let Err(error) = api.registry.note_submitted(&noted).await {
                crate::note_inside(&error.to_string(), &noted.task);
            }
            Ok(Handed::Queued { noted, input_hash: submission.input_hash })
        }
    }
}

/// What waiting came to.
pub(crate) enum Finished {
    /// The task has ended, or a person has to decide about it.
    Ended(Box<Record>),
    /// The time is over, and this is where it stands.
    Standing(Box<Record>),
    /// The time is over, and nobody has begun with it.
    Pending(Noted),
}

impl Finished {
    /// Id and status of the task.
    pub(crate) fn task(&self) -> (&str, &'static str) {
        match self {
            Finished::Ended(record) | Finished::Standing(record) => (&record.id, status(record.state)),
            Finished::Pending(noted) => (&noted.task, "queued"),
        }
    }
}

/// Waits for a task that was handed in, and answers as REST does.
pub(crate) async fn wait(api: &Api, handed: Handed, bound: Duration) -> Result<Reply, Problem> {
    let finished = finish(api, handed, bound).await?;
    let place = format!("/api/v1/tasks/{}", finished.task().0);
    let body = match &finished {
        Finished::Ended(record) => return Ok(Reply::ok(outcome(record))),
        Finished::Standing(record) => view(record),
        Finished::Pending(noted) => pending(noted),
    };
    Ok(Reply::with(StatusCode::ACCEPTED, body).header(header::LOCATION, &place))
}

/// Waits for a task that was handed in.
pub(crate) async fn finish(api: &Api, handed: Handed, bound: Duration) -> Result<Finished, Problem> {
    let (noted, input_hash) = match handed {
        Handed::Known(record) => return Ok(Finished::Ended(record)),
        Handed::Queued { noted, input_hash } => (noted, input_hash),
    };
    match api.desk.wait(&noted.task, Some(&input_hash), bound).await? {
        Waited::Ended(record) => Ok(Finished::Ended(record)),
        Waited::Conflict(_) => Err(Problem::new(Code::Conflict, KEY_CONFLICT)),
        Waited::TimeOver(Some(record)) => Ok(Finished::Standing(record)),
        Waited::TimeOver(None) => Ok(Finished::Pending(noted)),
    }
}

/// Waits for a task that the caller may look at.
pub(crate) async fn finish_known(api: &Api, call: &Call, bound: Duration) -> Result<Finished, Problem> {
    let noted = match find(api, call).await? {
        Ok(record) if record.state.has_ended() => return Ok(Finished::Ended(Box::new(record))),
        Ok(_) => None,
        Err(noted) => Some(noted),
    };
    match api.desk.wait(call.param("id"), None, bound).await? {
        Waited::Ended(record) | Waited::Conflict(record) => Ok(Finished::Ended(record)),
        Waited::TimeOver(Some(record)) => Ok(Finished::Standing(record)),
        Waited::TimeOver(None) => noted.map(Finished::Pending).ok_or_else(|| Problem::not_found("task")),
    }
}

pub(crate) async fn list(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let wanted = call.text("status").and_then(state);
    let days = days(call.moment("since"), call.moment("until"), call.now)?;
    let names = ["status", "tool", "search", "since", "until"];
    let list = fingerprint(&[&[Some("tasks")][..], &names.map(|name| call.text(name))].concat());
    let cursor = call.text("cursor").map(|text| Cursor::read(text, &list, &days)).transpose()?;
    let limit = usize::try_from(call.number("limit", 20)).unwrap_or(20);
    let mut skip = usize::try_from(call.number("offset", 0)).unwrap_or(0);
    let search = call.text("search").map(str::to_lowercase);
    // Who may not look at everything sees what they handed in themselves.
    let own = (!call.may(Wish::Look)).then(|| call.submitter());
    let is_own = |record: &Record, own: &str| {
        let is_submitter = matches!(&record.origin, Some(Origin::Submitter { submitter }) if submitter == own);
        is_submitter && call.may(Wish::LookAtTool(&record.tool))
    };
    let fits = |record: &Record| {
        own.as_deref().is_none_or(|own| is_own(record, own))
            && call.text("tool").is_none_or(|tool| record.tool == tool)
            && search.as_deref().is_none_or(|search| matches(record, search))
    };
    let (mut tasks, mut looked_at) = (Vec::new(), 0);
    let mut after = cursor.as_ref().and_then(|cursor| cursor.after.clone()).map(|(at, id)| Place { at, id });
    let first = cursor.map_or(0, |cursor| days.iter().position(|day| *day == cursor.day).unwrap_or(0));
    for day in &days[first..] {
        loop {
            let page = api.tasks.page(day, wanted, after.as_ref(), 50).await?;
            looked_at += 50;
            for (record, place) in page.records.iter().zip(&page.places) {
                if !fits(record) {
                    continue;
                }
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                if tasks.len() == limit {
                    // The one before it was the last that was given.
                    return Ok(page_of(
                        tasks,
                        Some(Cursor { list, day: day.clone(), after: after.map(|at| (at.at, at.id)) }),
                    ));
                }
                tasks.push(view(record));
                after = Some(place.clone());
            }
            after = page.next;
            if after.is_none() {
                break;
            }
            if looked_at >= MAX_LOOKED_AT {
                return Ok(page_of(
                    tasks,
                    Some(Cursor { list, day: day.clone(), after: after.map(|at| (at.at, at.id)) }),
                ));
            }
        }
    }
    Ok(page_of(tasks, None))
}

fn page_of(tasks: Vec<Value>, next: Option<Cursor>) -> Reply {
    Reply::ok(json!({"tasks": tasks, "next_cursor": next.map(|cursor| cursor.write())}))
}

fn matches(record: &Record, search: &str) -> bool {
    let error = record.error.as_ref().map_or("", |error| error.message.as_str());
    let event = record.origin.as_ref().and_then(Origin::event).unwrap_or_default();
    [&record.id, record.tool.as_str(), &record.key, event, error]
        .iter()
        .any(|text| text.to_lowercase().contains(search))
}

/// The record, or what was handed in and has none yet. Whose tool the caller has nothing to do with, is not there.
async fn find(api: &Api, call: &Call) -> Result<Result<Record, Noted>, Problem> {
    let id = call.param("id");
    let may = |tool: &str| call.may(Wish::LookAtTool(tool)) || call.may(Wish::Look);
    if !id.starts_with("task_") || id.len() > 64 {
        return Err(Problem::not_found("task"));
    }
    if let Some(record) = api.tasks.get(id).await? {
        return if may(&record.tool) { Ok(Ok(record)) } else { Err(Problem::not_found("task")) };
    }
    let noted = api.registry.submitted(id).await?.filter(|noted| may(&noted.tool));
    noted.map(Err).ok_or_else(|| Problem::not_found("task"))
}

pub(crate) async fn show(api: &Api, call: &Call) -> Result<Reply, Problem> {
    Ok(Reply::ok(find(api, call).await?.map_or_else(|noted| pending(&noted), |record| view(&record))))
}

async fn result(api: &Api, call: &Call) -> Result<Reply, Problem> {
    match find(api, call).await? {
        Ok(record) if record.state.has_ended() => Ok(Reply::ok(outcome(&record))),
        found => {
            let status = found.map_or("queued", |record| status(record.state));
            let problem = Problem::new(Code::NotFinished, format!("the task is {status}; its result is not there yet"));
            Err(Problem { retry_after: Some(1), ..problem })
        }
    }
}

/// The record, if it is in one of the states in which it can be what is wanted by who may want it.
async fn find_in(api: &Api, call: &Call, states: &[State], be: &str) -> Result<Record, Problem> {
    let record = match find(api, call).await? {
        Ok(record) => record,
        Err(_) => return Err(Problem::new(Code::Conflict, "nobody has begun with this task; wait until it is known")),
    };
    if !call.may(Wish::Call(&record.tool)) {
        return Err(Problem::forbidden(&format!("execute, or tool:{}", record.tool)));
    }
    if states.contains(&record.state) {
        return Ok(record);
    }
    let words: Vec<&str> = states.iter().map(|state| status(*state)).collect();
    let message = format!("the task is {}; only one that is {} can {be}", status(record.state), words.join(" or "));
    Err(Problem::new(Code::Conflict, message))
}

/// Puts what somebody wants on the queue: the worker does it, if the task still is where they saw it.
async fn ask(api: &Api, record: &Record, message: TaskMessage) -> Result<Reply, Problem> {
    api.queues.send(&Message::Task(message), Duration::ZERO).await?;
    let body = json!({"id": record.id, "status": status(record.state), "asked": true, "after_attempt": record.attempt});
    let place = format!("/api/v1/tasks/{}", record.id);
    Ok(Reply::with(StatusCode::ACCEPTED, body).header(header::LOCATION, &place))
}

fn again(record: &Record) -> TaskMessage {
    TaskMessage { retry_after_attempt: Some(record.attempt), ..TaskMessage::due(&record.id) }
}

fn settled(record: &Record, decision: Decision) -> TaskMessage {
    let settle = Some(Settlement { after_attempt: record.attempt, decision });
    TaskMessage { settle, ..TaskMessage::due(&record.id) }
}

#[derive(Deserialize, Default)]
struct Reason {
    reason: Option<String>,
}

pub(crate) async fn cancel(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let reason = if call.body.is_null() { Reason::default() } else { call.body()? }.reason;
    let record = find_in(api, call, &[State::Queued, State::Waiting, State::Parked], "be cancelled").await?;
    ask(api, &record, settled(&record, Decision::Cancel { reason })).await
}

async fn retry(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let states = [State::Failed, State::Parked, State::Queued, State::Cancelled];
    let record = find_in(api, call, &states, "be run again").await?;
    ask(api, &record, again(&record)).await
}

#[derive(Deserialize)]
struct Settle {
    decision: String,
    #[serde(default)]
    result: Value,
    reason: Option<String>,
}

async fn settle(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let settle: Settle = call.body()?;
    let record = find_in(api, call, &[State::Parked, State::Unknown], "be settled").await?;
    let message = match settle.decision.as_str() {
        "done" => settled(&record, Decision::Done { result: settle.result }),
        "fail" => settled(&record, Decision::Fail { reason: settle.reason }),
        _ => again(&record),
    };
    ask(api, &record, message).await
}
