//! The bridge's own tools: tasks that are handed in, looked at, waited for and taken back. What they do, and who may, is what REST has.

use super::tools::{Entry, MAX_WAIT};
use crate::call::Call;
use crate::endpoint::{Kind, Param, read_query};
use crate::handlers::tasks::{self, Finished, LIST, finish_known, outcome, pending, view};
use crate::problem::{Field, Problem};
use crate::router::Asked;
use clawbridge_access::{Caller, Scope};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskTool {
    Create,
    Get,
    Wait,
    List,
    Cancel,
}

/// Seconds that `task_wait` waits.
const SECONDS: &[Param] = &[Param {
    name: "seconds",
    kind: Kind::Number { min: 0, max: MAX_WAIT, default: Some(15) },
    says: "How long to wait for the end.",
}];

impl TaskTool {
    pub(super) const ALL: [TaskTool; 5] =
        [TaskTool::Create, TaskTool::Get, TaskTool::Wait, TaskTool::List, TaskTool::Cancel];

    pub(super) fn name(self) -> &'static str {
        match self {
            TaskTool::Create => "task_create",
            TaskTool::Get => "task_get",
            TaskTool::Wait => "task_wait",
            TaskTool::List => "task_list",
            TaskTool::Cancel => "task_cancel",
        }
    }

    /// Whether a token is for it at all. What it is for in particular is asked where it is done.
    pub(super) fn is_for(self, caller: &Caller) -> bool {
        caller.scopes().iter().any(|scope| match (self, scope) {
            (_, Scope::Admin | Scope::Execute | Scope::Tool(_)) => true,
            (TaskTool::Create, Scope::Agent(_)) => true,
            (TaskTool::Get | TaskTool::Wait | TaskTool::List, Scope::Read) => true,
            (_, Scope::Read | Scope::Source(_) | Scope::Agent(_) | Scope::Group(_)) => false,
        })
    }

    pub(super) fn describe(self, caller: &Caller) -> Value {
        let id = || json!({"type": "string", "description": "The task's id."});
        let (title, says, properties, required): (_, _, Value, &[&str]) = match self {
            TaskTool::Create => (
                "Hand in a task",
                "Has a tool called without waiting for it. The result is the task, with its id.",
                json!({
                    "tool": {"type": "string", "description": "The tool's name, as it is listed here."},
                    "input": {"description": "What the tool takes."},
                    "prompt": {"type": "string", "minLength": 1, "description": "In the place of a tool: what a connected agent is to do."},
                    "agent": {"type": "string", "description": "Which agent; left out: whichever is connected."},
                    "idempotency_key": {"type": "string", "minLength": 1, "maxLength": 255, "description": "The same key again is the same task."},
                }),
                &[],
            ),
            TaskTool::Get => (
                "Look at a task",
                "Where a task stands, and what came of it once it has ended.",
                json!({"id": id()}),
                &["id"],
            ),
            TaskTool::Wait => (
                "Wait for a task",
                "Waits for a task's end. Where it has not ended by then, the result is where it stands; ask again.",
                json!({"id": id(), "seconds": described(&SECONDS[0])}),
                &["id"],
            ),
            TaskTool::List => {
                let properties = listed().map(|param| (param.name.to_owned(), described(param)));
                let all = caller.may(clawbridge_access::Wish::Look);
                let says = if all {
                    "Lists tasks, the latest first."
                } else {
                    "Lists the tasks that this token handed in, the latest first."
                };
                ("List tasks", says, Value::Object(properties.collect()), &[])
            }
            TaskTool::Cancel => (
                "Take back a task",
                "Takes back a task that is queued, waiting or parked. One that runs, or has ended, is not.",
                json!({"id": id(), "reason": {"type": "string", "maxLength": 500}}),
                &["id"],
            ),
        };
        let is_read = matches!(self, TaskTool::Get | TaskTool::Wait | TaskTool::List);
        json!({
            "name": self.name(),
            "title": title,
            "description": says,
            "inputSchema": {"type": "object", "properties": properties, "required": required, "additionalProperties": false},
            "annotations": {"title": title, "readOnlyHint": is_read, "destructiveHint": !is_read,
                "idempotentHint": self != TaskTool::Create, "openWorldHint": self == TaskTool::Create},
        })
    }

    /// What REST answers to the same.
    pub(super) async fn run(
        self,
        asked: &Asked,
        mut call: Call,
        mut arguments: Map<String, Value>,
        all: &BTreeMap<String, Entry<'_>>,
    ) -> Result<Value, Problem> {
        let api = &asked.api;
        match self {
            TaskTool::Create => {
                if let Some(key) = text(&mut arguments, "idempotency_key")? {
                    call.key = Some(key);
                }
                call.body = wanted(&mut arguments, all)?;
                nothing_else(&arguments)?;
                tasks::create(api, &call).await.map(|reply| reply.body)
            }
            TaskTool::Get => {
                name_task(&mut call, &mut arguments)?;
                nothing_else(&arguments)?;
                finish_known(api, &call, Duration::ZERO).await.map(|finished| shown(&finished))
            }
            TaskTool::Wait => {
                name_task(&mut call, &mut arguments)?;
                call.query = query(SECONDS.iter(), &arguments)?;
                let bound = Duration::from_secs(call.number("seconds", 15));
                finish_known(api, &call, bound).await.map(|finished| shown(&finished))
            }
            TaskTool::List => {
                call.query = query(listed(), &arguments)?;
                tasks::list(api, &call).await.map(|reply| reply.body)
            }
            TaskTool::Cancel => {
                name_task(&mut call, &mut arguments)?;
                let reason = text(&mut arguments, "reason")?;
                nothing_else(&arguments)?;
                call.body = json!({ "reason": reason });
                tasks::cancel(api, &call).await.map(|reply| reply.body)
            }
        }
    }
}

/// The parameters of a list; a cursor leads further than an offset.
fn listed() -> impl Iterator<Item = &'static Param> {
    LIST.iter().filter(|param| param.name != "offset")
}

fn described(param: &Param) -> Value {
    let mut schema = param.schema();
    schema["description"] = json!(param.says);
    schema
}

/// The body of `POST /api/v1/tasks`: a tool with its input, or a prompt for an agent.
fn wanted(arguments: &mut Map<String, Value>, all: &BTreeMap<String, Entry<'_>>) -> Result<Value, Problem> {
    let (tool, prompt) = (text(arguments, "tool")?, text(arguments, "prompt")?);
    match (tool, prompt) {
        (Some(tool), None) => {
            let declared = all.iter().find_map(|(name, entry)| match entry {
                Entry::Declared(declared) if *name == tool || *declared == tool => Some(*declared),
                Entry::Declared(_) | Entry::Task(_) => None,
            });
            let declared = declared.ok_or_else(|| Problem::not_found("tool"))?;
            Ok(json!({"tool": declared, "input": arguments.remove("input").unwrap_or_else(|| json!({}))}))
        }
        (None, Some(prompt)) => Ok(json!({"prompt": prompt, "options": {"agent": text(arguments, "agent")?}})),
        _ => Err(Problem::field("tool", "one of `tool` and `prompt` must be there")),
    }
}

fn name_task(call: &mut Call, arguments: &mut Map<String, Value>) -> Result<(), Problem> {
    let id = text(arguments, "id")?.ok_or_else(|| Problem::field("id", "this field must be there"))?;
    call.params.insert("id".to_owned(), id);
    Ok(())
}

/// Takes a text out of the arguments.
fn text(arguments: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Problem> {
    match arguments.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Problem::field(name, "a text is wanted")),
    }
}

fn nothing_else(arguments: &Map<String, Value>) -> Result<(), Problem> {
    let fields = arguments
        .keys()
        .take(20)
        .map(|name| Field::new(name.chars().take(100).collect::<String>(), "this field is unknown here"));
    let fields: Vec<Field> = fields.collect();
    if fields.is_empty() { Ok(()) } else { Err(Problem::fields(fields)) }
}

/// Arguments as the query that REST checks.
fn query<'p>(
    known: impl Iterator<Item = &'p Param>,
    arguments: &Map<String, Value>,
) -> Result<BTreeMap<&'static str, String>, Problem> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in arguments.iter().filter(|(_, value)| !value.is_null()) {
        match value {
            Value::String(text) => query.append_pair(name, text),
            other => query.append_pair(name, &other.to_string()),
        };
    }
    read_query(&known.copied().collect::<Vec<Param>>(), &query.finish())
}

fn shown(finished: &Finished) -> Value {
    match finished {
        Finished::Ended(record) => outcome(record),
        Finished::Standing(record) => view(record),
        Finished::Pending(noted) => pending(noted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(value: Value) -> Map<String, Value> {
        value.as_object().expect("arguments").clone()
    }

    #[test]
    fn a_task_is_a_tool_of_the_callers_or_a_prompt() {
        let all = BTreeMap::from([
            ("a_b_12345678".to_owned(), Entry::Declared("a.b")),
            ("task_get".to_owned(), Entry::Task(TaskTool::Get)),
        ]);
        for (given, expected) in [
            (json!({"tool": "a_b_12345678", "input": {"n": 1}}), Some(json!({"tool": "a.b", "input": {"n": 1}}))),
            (json!({"tool": "a.b"}), Some(json!({"tool": "a.b", "input": {}}))),
            (json!({"prompt": "Look", "agent": "main"}), Some(json!({"prompt": "Look", "options": {"agent": "main"}}))),
            (json!({"tool": "task_get"}), None),
            (json!({"tool": "foreign"}), None),
            (json!({"tool": "a.b", "prompt": "x"}), None),
            (json!({}), None),
            (json!({"tool": 7}), None),
        ] {
            assert_eq!(wanted(&mut arguments(given.clone()), &all).ok(), expected, "{given}");
        }
    }

    #[test]
    fn arguments_of_a_list_are_checked_as_its_query() {
        let read =
            query(listed(), &arguments(json!({"limit": 5, "status": "failed", "cursor": null}))).expect("a query");
        assert_eq!(read, BTreeMap::from([("limit", "5".to_owned()), ("status", "failed".to_owned())]));
        for wrong in [
            json!({"limit": 0}),
            json!({"limit": "x"}),
            json!({"offset": 1}),
            json!({"status": "done"}),
            json!({"tool": {}, "x": 1}),
        ] {
            assert!(query(listed(), &arguments(wrong.clone())).is_err(), "{wrong}");
        }
    }
}
