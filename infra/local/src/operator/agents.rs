//! `agent add|rotate|remove|list|show|ask|pair` and `pairings list|refuse`.

use super::print_json;
use super::reach::{Reached, unreachable};
use super::submit::{SUBMITTER, conflict, failure, follow, standard_input, verdict};
use super::table;
use crate::cli::{AgentAskArgs, AgentCommand, Global, PairingsCommand};
use crate::failure::Failure;
use crate::out::say;
use crate::random;
use clawbridge_access::{AgentRecord, AppSecret, Pairing, PairingCode};
use clawbridge_channel::AgentState;
use clawbridge_clock::Timestamp;
use clawbridge_config::is_agent_name;
use clawbridge_queue::Priority;
use clawbridge_registry::{Confirmation, RegistryError};
use clawbridge_submit::{Request, Waited, agent_tool, prepare_prompt};
use clawbridge_tasks::{Record, State};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a secret is good after another has taken its place, unless a third one comes: as good as for ever.
const UNTIL_THE_NEXT: Duration = Duration::from_secs(3650 * 86_400);

pub(crate) async fn run(global: &Global, command: AgentCommand) -> Result<(), Failure> {
    let reached = Reached::stack(global).await?;
    match command {
        AgentCommand::Add { name } => add(&reached, &name, global.json).await,
        AgentCommand::Rotate { name, now } => rotate(&reached, &name, now, global.json).await,
        AgentCommand::Remove { name } => {
            let removed = reached.registry.remove_agent(&name).await.map_err(failed)?;
            removed.ok_or_else(|| unknown(&name))?;
            if global.json {
                print_json(&json!({"name": name, "removed": true}));
            } else {
                say!("{name} is removed; its connector is not admitted again.");
            }
            Ok(())
        }
        AgentCommand::List => list(&reached, global.json).await,
        AgentCommand::Show { name } => show(&reached, &name, global.json).await,
        AgentCommand::Ask(args) => ask(&reached, args, global.json).await,
        AgentCommand::Pair { code, expires } => pair(&reached, &code, expires, global.json).await,
    }
}

pub(crate) async fn pairings(global: &Global, command: PairingsCommand) -> Result<(), Failure> {
    let reached = Reached::stack(global).await?;
    let now = Timestamp::now();
    match command {
        PairingsCommand::List => {
            let open = reached.registry.pairings(now).await.map_err(failed)?;
            if global.json {
                print_json(&open.iter().map(|one| pairing(one, now)).collect::<Vec<_>>());
                return Ok(());
            }
            let row = |one: &Pairing| {
                vec![
                    one.id.clone(),
                    one.agent.clone(),
                    one.name.clone(),
                    one.created_at.rfc3339(),
                    one.expires_at.rfc3339(),
                ]
            };
            table::print(&["PAIRING", "AGENT", "WHO", "ASKED", "EXPIRES"], &open.iter().map(row).collect::<Vec<_>>());
            Ok(())
        }
        PairingsCommand::Refuse { id } => {
            let refused = reached.registry.refuse_pairing(&id, now).await.map_err(failed)?;
            let refused = refused.ok_or_else(|| {
                let message = format!("no pairing {id} waits; `clawbridge pairings list` shows those that do");
                Failure::not_found("UNKNOWN_PAIRING", message)
            })?;
            if global.json {
                print_json(&pairing(&refused, now));
            } else {
                say!("{id} is refused.");
            }
            Ok(())
        }
    }
}

fn failed(error: RegistryError) -> Failure {
    unreachable("REGISTRY_UNAVAILABLE", &error.to_string())
}

fn unknown(name: &str) -> Failure {
    Failure::not_found("UNKNOWN_AGENT", format!("there is no agent {name}; `clawbridge agent list` shows them"))
}

/// Key and secret, on standard output for scripts: the one time that the secret is shown.
fn tell(agent: &AgentRecord, secret: &AppSecret, json: bool) {
    if json {
        print_json(
            &json!({"name": agent.name, "key": agent.key.as_str(), "secret": secret.reveal(), "created_at": agent.created_at.rfc3339()}),
        );
    } else {
        say!("key       {}", agent.key);
        say!("secret    {}", secret.reveal());
        eprintln!(
            "Keep the secret: it is not shown again. The agent's connector sends both, as x-app-key and x-app-secret."
        );
    }
}

async fn add(reached: &Reached, name: &str, json: bool) -> Result<(), Failure> {
    if !is_agent_name(name) {
        let message = "an agent's name is 1 to 64 small letters, digits, - and _";
        return Err(Failure::usage("NAME_INVALID", message));
    }
    let secret = random::app_secret();
    let agent = AgentRecord::new(name, random::app_key(), secret.hash(), Timestamp::now());
    if !reached.registry.put_agent(&agent).await.map_err(failed)? {
        let message = format!("there is an agent {name}; give it another secret with `clawbridge agent rotate {name}`");
        return Err(Failure::negative("AGENT_EXISTS", message));
    }
    tell(&agent, &secret, json);
    Ok(())
}

async fn rotate(reached: &Reached, name: &str, at_once: bool, json: bool) -> Result<(), Failure> {
    let (secret, now) = (random::app_secret(), Timestamp::now());
    let until = if at_once { now } else { now.plus(UNTIL_THE_NEXT) };
    let agent = reached.registry.rotate_agent_secret(name, secret.hash(), until, now).await.map_err(failed)?;
    tell(&agent.ok_or_else(|| unknown(name))?, &secret, json);
    Ok(())
}

/// How these agents are, beside what is known of them.
async fn states(reached: &Reached, agents: &[AgentRecord]) -> Result<Vec<AgentState>, Failure> {
    let names: Vec<String> = agents.iter().map(|agent| agent.name.clone()).collect();
    let states = reached.channel().await?.agents_online(&names).await;
    states.map_err(|error| unreachable(error.code(), &error.to_string()))
}

fn view(agent: &AgentRecord, state: Option<&AgentState>) -> Value {
    let connected = state.filter(|state| state.online);
    json!({"name": agent.name, "online": connected.is_some(), "dialect": connected.and_then(|state| state.dialect),
        "connected_at": connected.and_then(|state| state.since).map(Timestamp::rfc3339),
        "under_way": state.map_or(0, |state| state.under_way), "waiting": state.map_or(0, |state| state.waiting),
        "secrets": agent.secrets.len(), "created_at": agent.created_at.rfc3339()})
}

fn state_of<'a>(states: &'a [AgentState], agent: &AgentRecord) -> Option<&'a AgentState> {
    states.iter().find(|state| state.name == agent.name)
}

async fn list(reached: &Reached, json: bool) -> Result<(), Failure> {
    let agents = reached.registry.agents().await.map_err(failed)?;
    let states = states(reached, &agents).await?;
    let views: Vec<Value> = agents.iter().map(|agent| view(agent, state_of(&states, agent))).collect();
    if json {
        print_json(&views);
        return Ok(());
    }
    let text = |value: &Value| {
        value.as_str().map_or_else(|| if value.is_null() { "-".to_owned() } else { value.to_string() }, str::to_owned)
    };
    let row = |view: &Value| {
        let online = if view["online"] == true { "online" } else { "offline" };
        vec![
            text(&view["name"]),
            online.to_owned(),
            text(&view["dialect"]),
            text(&view["connected_at"]),
            text(&view["under_way"]),
            text(&view["waiting"]),
        ]
    };
    table::print(
        &["AGENT", "IS", "SPEAKS", "SINCE", "UNDER WAY", "WAITING"],
        &views.iter().map(row).collect::<Vec<_>>(),
    );
    Ok(())
}

async fn show(reached: &Reached, name: &str, json: bool) -> Result<(), Failure> {
    let agent = reached.registry.agent(name).await.map_err(failed)?.ok_or_else(|| unknown(name))?;
    let states = states(reached, std::slice::from_ref(&agent)).await?;
    let state = state_of(&states, &agent);
    if json {
        let mut shown = view(&agent, state);
        shown["key"] = json!(agent.key.as_str());
        print_json(&shown);
        return Ok(());
    }
    say!("agent     {}", agent.name);
    say!("key       {}", agent.key);
    match state.filter(|state| state.online) {
        Some(state) => say!(
            "online    since {}, speaks {}",
            state.since.map_or_else(|| "-".to_owned(), Timestamp::rfc3339),
            state.dialect.unwrap_or("-")
        ),
        None => say!("online    no"),
    }
    say!("under way {}", state.map_or(0, |state| state.under_way));
    say!("waiting   {} conversations", state.map_or(0, |state| state.waiting));
    say!("made      {}", agent.created_at);
    for secret in &agent.secrets {
        let until =
            secret.expires_at.map_or_else(|| "the newest".to_owned(), |_| "good until the next rotation".to_owned());
        say!("secret    of {}, {until}", secret.created_at);
    }
    Ok(())
}

async fn ask(reached: &Reached, args: AgentAskArgs, json: bool) -> Result<(), Failure> {
    reached.registry.agent(&args.name).await.map_err(failed)?.ok_or_else(|| unknown(&args.name))?;
    let unreadable = |reason: String| Failure::usage("INPUT_UNREADABLE", reason);
    let prompt = if args.prompt == "-" { standard_input().map_err(unreadable)? } else { args.prompt };
    let mut input = json!({"prompt": prompt});
    for (name, value) in [("session", args.session), ("instructions", args.instructions)] {
        if let Some(value) = value {
            input[name] = json!(value);
        }
    }
    let request = Request {
        tool: agent_tool(&args.name),
        input,
        key: args.key,
        submitter: SUBMITTER.to_owned(),
        priority: Priority::Interactive,
        trace: random::trace(),
    };
    let submission = prepare_prompt(request, &random::idempotency_key())
        .map_err(|refusal| Failure::negative(refusal.code(), refusal.to_string()))?;
    let desk = reached.desk().await?;
    desk.submit(&submission).await.map_err(failure)?;
    if args.background {
        if json {
            print_json(&json!({"task": submission.task, "key": submission.key}));
        } else {
            say!("{}", submission.task);
        }
        return Ok(());
    }
    if json {
        return follow(&desk, &submission.task, Some(&submission.input_hash), args.bound, json).await;
    }
    let waited = desk.wait(&submission.task, Some(&submission.input_hash), args.bound).await;
    match waited.map_err(|error| unreachable("TASKS_UNAVAILABLE", &error.to_string()))? {
        Waited::Ended(task) => answer(&task),
        Waited::Conflict(_) => Err(conflict()),
        Waited::TimeOver(_) => {
            let (seconds, task) = (args.bound.as_secs(), &submission.task);
            let message = format!(
                "{} has not answered after {seconds} s; the task goes on: `clawbridge tasks wait {task}`",
                args.name
            );
            Err(Failure::time_over(message))
        }
    }
}

/// The answer's text alone, for scripts.
fn answer(task: &Record) -> Result<(), Failure> {
    if task.state == State::Succeeded {
        let text = task.result.as_ref().and_then(|result| result["text"].as_str());
        say!("{}", text.unwrap_or("(the answer is too large to keep)"));
    }
    verdict(task)
}

fn pairing(pairing: &Pairing, now: Timestamp) -> Value {
    json!({"id": pairing.id, "agent": pairing.agent, "name": pairing.name, "status": pairing.state(now).as_str(),
        "created_at": pairing.created_at.rfc3339(), "expires_at": pairing.expires_at.rfc3339()})
}

async fn pair(reached: &Reached, code: &PairingCode, expires: Option<Duration>, json: bool) -> Result<(), Failure> {
    let now = Timestamp::now();
    let confirmed = reached.registry.confirm_pairing(code, expires.map(|time| now.plus(time)), now).await;
    match confirmed.map_err(failed)? {
        Confirmation::Confirmed { pairing: found, token } => {
            if json {
                let mut shown = pairing(&found, now);
                shown["token_name"] = json!(token.name);
                print_json(&shown);
            } else {
                say!(
                    "{} may speak with {} now; `clawbridge token revoke --name {}` ends that.",
                    found.name,
                    found.agent,
                    token.name
                );
            }
            Ok(())
        }
        Confirmation::Unknown => {
            let message =
                "no pairing that waits has this code: it was mistyped or used, or its fifteen minutes are over";
            Err(Failure::not_found("UNKNOWN_CODE", message))
        }
        Confirmation::NoAgent(agent) => {
            let message =
                format!("they ask for the agent {agent}, which there is not; `clawbridge agent add {agent}` makes it");
            Err(Failure::negative("UNKNOWN_AGENT", message))
        }
        Confirmation::TooMany(refused) => {
            Err(Failure::negative("TOO_MANY_CODES", format!("there were too many wrong codes: {refused}")))
        }
    }
}
