//! Reading `[agents.NAME]`, and routes that lead to one.

use std::collections::BTreeMap;

use crate::diagnostic::Code;
use crate::document;
use crate::model::{Agent, Target};
use crate::node::Entry;
use crate::provider::lifetime;
use crate::reader::{Fields, Reader, nearest, short};
use crate::tool;

/// The most agents of a document.
pub(crate) const MAX_AGENTS: usize = 64;

/// The longest that a task waits, seconds: a message of the queue lives 14 days.
const MAX_SECONDS: u32 = 14 * 86_400;

/// Whether an agent can be called so: 1 to 64 small letters, digits, `-` and `_`.
#[must_use]
pub fn is_agent_name(name: &str) -> bool {
    document::is_name(name, b"-_")
}

/// Read all agents. `None` where there are too many; that has been reported then.
pub(crate) fn read_all(reader: &mut Reader<'_>, entry: &Entry) -> Option<BTreeMap<String, Agent>> {
    let mut agents = BTreeMap::new();
    let Some(table) = reader.any_table(&entry.node, "agents") else { return Some(agents) };
    if table.entries().len() > MAX_AGENTS {
        reader.error(Code::TooLarge, "agents", entry.key_at, format!("there are more than {MAX_AGENTS} agents"));
        return None;
    }
    for entry in table.entries() {
        let agent = read(reader, entry, &table.path_of(&entry.key));
        agents.extend(agent.map(|agent| (entry.key.clone(), agent)));
    }
    Some(agents)
}

fn read(reader: &mut Reader<'_>, entry: &Entry, path: &str) -> Option<Agent> {
    if !is_agent_name(&entry.key) {
        let message = format!(
            "{:?} cannot be the name of an agent: names have up to 64 small letters, digits, - and _",
            short(&entry.key)
        );
        reader.error(Code::InvalidName, path, entry.key_at, message);
    }
    let fields = reader.table(&entry.node, path, &["description", "wait", "answer_within"])?;
    let description = tool::description(reader, &fields);
    let wait = lifetime(reader, &fields, "wait", 1, MAX_SECONDS);
    let answer_within = lifetime(reader, &fields, "answer_within", 1, MAX_SECONDS);
    let unsaid = Agent::default();
    let agent = Agent {
        description: description.map_or_else(String::new, |found| found.value().to_owned()),
        wait: wait.unwrap_or(unsaid.wait),
        answer_within,
    };
    if let (Some(within), Some(found)) = (agent.answer_within, fields.entry("answer_within"))
        && within > agent.wait
    {
        let path = fields.path_of("answer_within");
        let message =
            format!("{path} is {within}, and the task waits no longer than {} for all of it (wait)", agent.wait);
        reader.warning(Code::OutOfRange, &path, found.node.at, message);
    }
    Some(agent)
}

/// What a route leads to: one of `tool` and `agent`. `None` if neither, both, or something that is not declared; that has been reported then.
pub(crate) fn target(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    route: &str,
    tools: &[&str],
    agents: &[&str],
) -> Option<Target> {
    let (tool, agent) = (fields.entry("tool"), fields.entry("agent"));
    match (tool, agent) {
        (None, None) => {
            let message = format!("{} has neither tool nor agent", fields.path);
            reader.error(Code::MissingKey, &fields.path_of("tool"), fields.at, message);
            return None;
        }
        (Some(_), Some(agent)) => {
            let message =
                format!("{} has both tool and agent; an event that goes to two goes through two routes", fields.path);
            reader.error(Code::KeyNotAllowed, &fields.path_of("agent"), agent.key_at, message);
            return None;
        }
        (Some(_), None) | (None, Some(_)) => {}
    }
    let (key, known, code, does) = match tool {
        Some(_) => ("tool", tools, Code::UnknownTool, "calls tool"),
        None => ("agent", agents, Code::UnknownAgent, "asks agent"),
    };
    let found = reader.optional(fields, key)?;
    let name = found.value();
    if !known.contains(&name) {
        let message = format!("{route} {does} {:?}, which is not declared", short(name));
        let near = nearest(name, known).map(|near| format!("did you mean {near:?}?"));
        let declare = || {
            (code == Code::UnknownAgent && document::is_name(name, b"-_"))
                .then(|| format!("declare it: [agents.{name}]"))
        };
        reader.error(code, &found.path, found.at, message).suggestion = near.or_else(declare);
        return None;
    }
    let name = name.to_owned();
    Some(if tool.is_some() { Target::Tool(name) } else { Target::Agent(name) })
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
