//! `tools/list` and `tools/call`.

use super::rpc::RpcError;
use super::tasks::TaskTool;
use super::{describe, error_of, names, page, results};
use crate::call::Call;
use crate::handlers::tasks::{finish, submit};
use crate::problem::Problem;
use crate::router::Asked;
use clawbridge_access::{Caller, Wish};
use clawbridge_config::Compiled;
use clawbridge_queue::Priority;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a call is waited for unless its `_meta` says otherwise, seconds: less than clients have patience for.
const WAIT: u64 = 15;

/// The longest: API Gateway gives up after 30 s.
pub(super) const MAX_WAIT: u64 = 25;

/// Keys of `_meta`.
const KEY: &str = "clawbridge/idempotency-key";
const WAIT_KEY: &str = "clawbridge/wait";

/// What there is under a name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry<'c> {
    Declared(&'c str),
    Task(TaskTool),
}

/// The tools that the caller may call, by the names that clients know. A declared tool never has the name of one of the bridge's own.
pub(super) fn allowed<'c>(config: &'c Compiled, caller: &Caller) -> BTreeMap<String, Entry<'c>> {
    let reserved = TaskTool::ALL.map(TaskTool::name);
    let mut all: BTreeMap<String, Entry<'c>> = names::of(config.tools().keys().map(String::as_str), &reserved)
        .into_iter()
        .filter(|(_, tool)| caller.may(Wish::Call(tool)))
        .map(|(name, tool)| (name, Entry::Declared(tool)))
        .collect();
    let tasks = TaskTool::ALL.into_iter().filter(|tool| tool.is_for(caller));
    all.extend(tasks.map(|tool| (tool.name().to_owned(), Entry::Task(tool))));
    all
}

pub(super) async fn list(asked: &Asked, caller: &Caller, params: &Value) -> Result<Value, RpcError> {
    let version = asked.api.registry.current().await.map_err(|error| unavailable(asked, error.into()))?;
    let all = allowed(&version.config, caller);
    let (tools, next) = page::of(&all, params)?;
    let described = tools.into_iter().filter_map(|(name, entry)| match entry {
        Entry::Declared(tool) => version.config.tool(tool).map(|tool| describe::tool(name, tool)),
        Entry::Task(tool) => Some(tool.describe(caller)),
    });
    Ok(page::result(described.collect(), next))
}

/// Only a call that names no tool of the caller's, or is none, is an error of the protocol; what a model can mend is a result.
pub(super) async fn call(asked: &Asked, caller: &Caller, mut params: Value) -> Result<Value, RpcError> {
    let name = params["name"].as_str().ok_or_else(|| RpcError::params("`name` must be there, a text"))?.to_owned();
    let arguments = match params["arguments"].take() {
        Value::Object(arguments) => arguments,
        Value::Null => Map::new(),
        _ => return Err(RpcError::params("`arguments` is an object")),
    };
    let (key, wait) = meta(&params["_meta"])?;
    let version = asked.api.registry.current().await.map_err(|error| unavailable(asked, error.into()))?;
    let all = allowed(&version.config, caller);
    // One that there is not, and one that is not the caller's, are told alike.
    let unknown = || RpcError::params(format!("Unknown tool: {}", name.chars().take(100).collect::<String>()));
    let call = Call {
        caller: Some(caller.clone()),
        params: BTreeMap::new(),
        query: BTreeMap::new(),
        body: Value::Null,
        raw: Vec::new(),
        media: String::new(),
        key,
        if_match: None,
        trace: asked.trace,
        now: asked.now,
    };
    let result = match all.get(&name).ok_or_else(unknown)? {
        Entry::Task(tool) => tool.run(asked, call, arguments, &all).await.map(results::of_reply),
        Entry::Declared(tool) => match version.config.tool(tool) {
            Some(declared) => {
                let input = describe::input(declared, arguments);
                declared_tool(asked, &call, tool, input, wait)
                    .await
                    .map(|finished| results::of_call(&finished, declared.tool().output.as_ref()))
            }
            None => return Err(unknown()),
        },
    };
    Ok(result.unwrap_or_else(|problem| {
        note(&problem);
        results::of_problem(&problem, &asked.request_id)
    }))
}

async fn declared_tool(
    asked: &Asked,
    call: &Call,
    tool: &str,
    input: Value,
    wait: Duration,
) -> Result<crate::handlers::tasks::Finished, Problem> {
    let handed = submit(&asked.api, call, tool, input, Priority::Interactive).await?;
    finish(&asked.api, handed, wait).await
}

/// The idempotency key, and how long is waited.
fn meta(meta: &Value) -> Result<(Option<String>, Duration), RpcError> {
    let key = match &meta[KEY] {
        Value::Null => None,
        Value::String(key) => Some(key.clone()),
        _ => return Err(RpcError::params(format!("`_meta` {KEY} is a text"))),
    };
    let seconds = match &meta[WAIT_KEY] {
        Value::Null => WAIT,
        wait => wait.as_u64().filter(|seconds| *seconds <= MAX_WAIT).ok_or_else(|| {
            RpcError::params(format!("`_meta` {WAIT_KEY} is a whole number of seconds, {MAX_WAIT} at most"))
        })?,
    };
    Ok((key, Duration::from_secs(seconds)))
}

fn unavailable(asked: &Asked, problem: Problem) -> RpcError {
    note(&problem);
    error_of(&problem, &asked.request_id)
}

fn note(problem: &Problem) {
    if let Some(inside) = &problem.inside {
        crate::note_inside(inside, "mcp");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_stands_beside_a_call_is_read_or_refused() {
        let of = |value: Value| meta(&value).map_err(|error| error.code);
        assert_eq!(of(Value::Null), Ok((None, Duration::from_secs(WAIT))));
        assert_eq!(of(json!({"progressToken": 1})), Ok((None, Duration::from_secs(WAIT))));
        assert_eq!(of(json!({KEY: "k", WAIT_KEY: 0})), Ok((Some("k".to_owned()), Duration::ZERO)));
        for wrong in [
            json!({KEY: 7}),
            json!({WAIT_KEY: 26}),
            json!({WAIT_KEY: "1"}),
            json!({WAIT_KEY: -1}),
            json!({WAIT_KEY: 1.5}),
        ] {
            assert_eq!(of(wrong.clone()), Err(-32602), "{wrong}");
        }
    }
}
