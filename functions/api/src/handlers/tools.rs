//! Tools: what is declared, and one of them now.

use super::tasks::{submit, wait};
use crate::call::Call;
use crate::endpoint::{Endpoint, Kind, Needs, Param, Reply};
use crate::problem::Problem;
use crate::state::Api;
use axum::http::Method;
use clawbridge_access::Wish;
use clawbridge_config::CompiledTool;
use clawbridge_queue::Priority;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// API Gateway gives up after 30 s.
const WAIT: &[Param] = &[Param {
    name: "wait",
    kind: Kind::Number { min: 0, max: 25, default: Some(20) },
    says: "Seconds to wait for the call's end. After them the answer is 202 with the task, and the call goes on.",
}];

pub(crate) fn endpoints() -> Vec<Endpoint> {
    const CALL: Needs = Needs::Token("execute, or tool:NAME");
    vec![
        Endpoint::new(
            Method::GET,
            "/api/v1/tools",
            "listTools",
            "List the tools that the token is for.",
            Needs::Wish(Wish::Greet),
            &[(200, "ToolList")],
            |api, call| Box::pin(list(api, call)),
        ),
        Endpoint::new(
            Method::GET,
            "/api/v1/tools/{name}",
            "getTool",
            "Show a tool.",
            Needs::Token("read, execute, or tool:NAME"),
            &[(200, "Tool")],
            |api, call| Box::pin(show(api, call)),
        ),
        Endpoint::new(
            Method::POST,
            "/api/v1/tools/{name}/invoke",
            "invokeTool",
            "Have a tool called and wait for it.",
            CALL,
            &[(200, "TaskResult"), (202, "Task")],
            |api, call| Box::pin(invoke(api, call)),
        )
        .fails(&[409])
        .query(WAIT)
        .body("Invoke")
        .keyed(),
        Endpoint::new(
            Method::POST,
            "/api/v1/skill/invoke",
            "invokeSkill",
            "Have an action carried out and wait for it: the tool of that name with the payload as its input.",
            CALL,
            &[(200, "TaskResult"), (202, "Task")],
            |api, call| Box::pin(skill(api, call)),
        )
        .fails(&[404, 409])
        .query(WAIT)
        .body("SkillInvoke")
        .keyed(),
    ]
}

fn view(tool: &CompiledTool) -> Value {
    let declared = json!(tool.tool());
    json!({"name": tool.name(), "description": declared.get("description"), "method": declared.get("method"), "effect": declared.get("effect"),
        "input": declared.get("input"), "output": declared.get("output")})
}

async fn list(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let config = api.registry.current().await?.config;
    let tools = config.tools().values().filter(|tool| call.may(Wish::LookAtTool(tool.name())));
    Ok(Reply::ok(json!({"tools": tools.map(view).collect::<Vec<_>>()})))
}

async fn show(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let config = api.registry.current().await?.config;
    let name = call.param("name");
    let tool = config.tool(name).filter(|_| call.may(Wish::LookAtTool(name)));
    tool.map(|tool| Reply::ok(view(tool))).ok_or_else(|| Problem::not_found("tool"))
}

#[derive(Deserialize)]
struct Invoke {
    input: Option<Value>,
}

async fn invoke(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let Invoke { input } = if call.body.is_null() { Invoke { input: None } } else { call.body()? };
    now(api, call, call.param("name"), input).await
}

#[derive(Deserialize)]
struct Skill {
    action: String,
    payload: Option<Value>,
}

async fn skill(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let Skill { action, payload } = call.body()?;
    now(api, call, &action, payload).await
}

async fn now(api: &Api, call: &Call, tool: &str, input: Option<Value>) -> Result<Reply, Problem> {
    let handed = submit(api, call, tool, input.unwrap_or_else(|| json!({})), Priority::Interactive).await?;
    wait(api, handed, Duration::from_secs(call.number("wait", 20))).await
}
