//! Agents: which there are and how they are; who they are is made, changed and taken back here; what they are asked becomes a task.

use super::tasks::{Handed, hand_in};
use crate::call::Call;
use crate::endpoint::{Endpoint, Needs, Reply};
use crate::problem::{Code, Problem};
use crate::state::{Api, random};
use axum::http::{Method, StatusCode, header};
use clawbridge_access::{AgentRecord, AppKey, AppSecret, Wish};
use clawbridge_channel::AgentState;
use clawbridge_queue::Priority;
use clawbridge_submit::{AgentInput, Request, agent_tool, prepare_prompt};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a secret is good after another has taken its place, unless a third one comes: as good as for ever.
const UNTIL_THE_NEXT: Duration = Duration::from_secs(3650 * 86_400);

pub(crate) fn endpoints() -> Vec<Endpoint> {
    const ADMIN: Needs = Needs::Wish(Wish::Administer);
    const LOOK: Needs = Needs::Token("read, execute, or agent:NAME");
    vec![
        Endpoint::new(
            Method::GET,
            "/api/v1/agents",
            "listAgents",
            "List the agents that the token may look at or ask.",
            LOOK,
            &[(200, "AgentList")],
            |api, call| Box::pin(list(api, call)),
        ),
        Endpoint::new(
            Method::POST,
            "/api/v1/agents",
            "createAgent",
            "Make an agent. This answer is the only one that shows its secret.",
            ADMIN,
            &[(201, "NewAgent")],
            |api, call| Box::pin(create(api, call)),
        )
        .body("CreateAgent")
        .fails(&[409]),
        Endpoint::new(
            Method::GET,
            "/api/v1/agents/{name}",
            "getAgent",
            "Show an agent.",
            LOOK,
            &[(200, "Agent")],
            |api, call| Box::pin(show(api, call)),
        ),
        Endpoint::new(
            Method::DELETE,
            "/api/v1/agents/{name}",
            "removeAgent",
            "Remove an agent: its connector is not admitted again.",
            ADMIN,
            &[(200, "Removed")],
            |api, call| Box::pin(remove(api, call)),
        ),
        Endpoint::new(
            Method::POST,
            "/api/v1/agents/{name}/rotate",
            "rotateAgent",
            "Give an agent another secret. The one before stays good until the next rotation, unless it is to end now.",
            ADMIN,
            &[(200, "NewAgent")],
            |api, call| Box::pin(rotate(api, call)),
        )
        .body("RotateAgent")
        .fails(&[409]),
    ]
}

fn may_see(call: &Call, name: &str) -> bool {
    call.may(Wish::Look) || call.may(Wish::Ask(Some(name)))
}

/// What there is to know about agents, never their keys.
async fn views(api: &Api, agents: &[AgentRecord]) -> Result<Vec<Value>, Problem> {
    let names: Vec<String> = agents.iter().map(|agent| agent.name.clone()).collect();
    let states = api.channel.agents_online(&names).await?;
    let config = api.registry.current().await?.config;
    let view = |agent: &AgentRecord| {
        let state: Option<&AgentState> = states.iter().find(|state| state.name == agent.name);
        let description = config.agent(&agent.name).description;
        let connected = state.filter(|state| state.online);
        json!({"name": agent.name, "description": (!description.is_empty()).then_some(description), "online": connected.is_some(),
            "dialect": connected.and_then(|state| state.dialect),
            "connected_at": connected.and_then(|state| state.since).map(clawbridge_clock::Timestamp::rfc3339),
            "under_way": state.map_or(0, |state| state.under_way), "waiting": state.map_or(0, |state| state.waiting),
            "created_at": agent.created_at.rfc3339()})
    };
    Ok(agents.iter().map(view).collect())
}

async fn list(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let mut agents = api.registry.agents().await?;
    agents.retain(|agent| may_see(call, &agent.name));
    Ok(Reply::ok(json!({"agents": views(api, &agents).await?})))
}

async fn show(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let name = call.param("name");
    let agent = if may_see(call, name) { api.registry.agent(name).await? } else { None };
    let agent = agent.ok_or_else(|| Problem::not_found("agent"))?;
    let view = views(api, std::slice::from_ref(&agent)).await?.pop();
    view.map(Reply::ok).ok_or_else(|| Problem::not_found("agent"))
}

fn shown(agent: &AgentRecord, secret: &AppSecret) -> Value {
    json!({"name": agent.name, "key": agent.key.as_str(), "secret": secret.reveal(), "created_at": agent.created_at.rfc3339()})
}

#[derive(Deserialize)]
struct Create {
    name: String,
}

async fn create(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let wanted: Create = call.body()?;
    let secret = AppSecret::of(random()?);
    let agent = AgentRecord::new(&wanted.name, AppKey::of(random()?), secret.hash(), call.now);
    if !api.registry.put_agent(&agent).await? {
        return Err(Problem::new(Code::Conflict, "there is an agent of this name; remove it, or choose another name"));
    }
    let reply = Reply::with(StatusCode::CREATED, shown(&agent, &secret));
    Ok(reply.header(header::LOCATION, &format!("/api/v1/agents/{}", agent.name)))
}

#[derive(Deserialize, Default)]
struct Rotate {
    #[serde(default)]
    now: bool,
}

async fn rotate(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let wanted: Rotate = if call.body.is_null() { Rotate::default() } else { call.body()? };
    let secret = AppSecret::of(random()?);
    let until = if wanted.now { call.now } else { call.now.plus(UNTIL_THE_NEXT) };
    let agent = api.registry.rotate_agent_secret(call.param("name"), secret.hash(), until, call.now).await?;
    let agent = agent.ok_or_else(|| Problem::not_found("agent"))?;
    Ok(Reply::ok(shown(&agent, &secret)))
}

async fn remove(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let name = call.param("name");
    api.registry.remove_agent(name).await?.ok_or_else(|| Problem::not_found("agent"))?;
    Ok(Reply::ok(json!({"name": name, "removed": true})))
}

/// The agent that is meant: the named one, else the only one that the token may ask.
async fn meant(api: &Api, call: &Call, named: Option<&str>) -> Result<String, Problem> {
    if !call.may(Wish::Ask(named)) {
        return Err(Problem::forbidden(&format!("execute, or agent:{}", named.unwrap_or("NAME"))));
    }
    if let Some(name) = named {
        let agent = api.registry.agent(name).await?.ok_or_else(|| Problem::not_found("agent"))?;
        return Ok(agent.name);
    }
    let agents = api.registry.agents().await?.into_iter().map(|agent| agent.name);
    let mut agents: Vec<String> = agents.filter(|name| call.may(Wish::Ask(Some(name)))).collect();
    match agents.len() {
        0 => {
            let message = "there is no agent that this token may ask, so a prompt has nobody to do it; add one with `clawbridge agent add`, or hand in a \
                           `tool` with its `input`";
            Err(Problem::new(Code::NoAgent, message))
        }
        1 => Ok(agents.swap_remove(0)),
        _ => Err(Problem::field(
            "agent",
            format!("say which agent is to do it; this token may ask {}", agents.join(", ")),
        )),
    }
}

#[derive(Deserialize)]
struct Prompt {
    agent: Option<String>,
    options: Option<serde_json::Map<String, Value>>,
}

/// Hands in a prompt as a task.
pub(super) async fn submit_prompt(api: &Api, call: &Call) -> Result<Handed, Problem> {
    let wanted: Prompt = call.body()?;
    let in_options = wanted.options.as_ref().and_then(|options| options.get("agent")).and_then(Value::as_str);
    let agent = meant(api, call, wanted.agent.as_deref().or(in_options)).await?;
    let mut input = call.body.clone();
    if let Some(members) = input.as_object_mut() {
        members.remove("agent");
        if let Some(options) = members.get_mut("options").and_then(Value::as_object_mut) {
            options.remove("agent");
        }
    }
    let read = AgentInput::check(&agent, &input).map_err(|refused| {
        let message = refused.to_string();
        let said = message.strip_prefix(&format!("{}: ", refused.path)).unwrap_or(&message).to_owned();
        Problem::field(&refused.path, said)
    })?;
    if let Some(group) = read.group()
        && !call.may(Wish::Enter(group))
    {
        return Err(Problem::forbidden(&format!("group:{group}")));
    }
    // What one token's keys stand for is no other token's to find.
    let key = call.key.as_ref().map(|key| format!("{}/{key}", call.submitter()));
    let tool = agent_tool(&agent);
    let (submitter, priority, trace) = (call.submitter(), Priority::Interactive, call.trace);
    let request = Request { tool: tool.clone(), input, key, submitter, priority, trace };
    let submission = prepare_prompt(request, &hex::encode(random::<16>()?))?;
    hand_in(api, call, &tool, submission).await
}
