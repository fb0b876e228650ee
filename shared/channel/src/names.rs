//! Whose conversation is which, and which agent is meant.

use clawbridge_responses::SessionId;
use clawbridge_responses::frames::{Code, ErrorFrame};
use sha2::{Digest, Sha256};

/// What the names of conversations begin with that belong to the agent and not to one token.
pub(crate) const GROUP: &str = "group:";

/// How much of a session's own name its name at the agent has, characters.
const SHOWN: usize = 64;

/// To whom a conversation belongs, beside its agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Whoever has the token of this hash.
    Token(String),
    /// Whoever may enter the group.
    Group,
    /// The bridge's own tasks.
    Tasks,
}

impl Owner {
    /// As an item has it. A token's hash is hexadecimal, so the words are none.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Owner::Token(hash) => hash,
            Owner::Group => "group",
            Owner::Tasks => "tasks",
        }
    }
}

/// The group that a session's name stands for: `team` of `group:team`.
#[must_use]
pub(crate) fn group(session: &SessionId) -> Option<&str> {
    session.as_str().strip_prefix(GROUP).filter(|name| !name.is_empty())
}

/// What a conversation is called at the agent and in the table: the name that it has for its users, so far as that is plain, and a hash of
/// agent, owner and name. Nobody can name another owner's, and it is the same in lower case.
#[must_use]
pub(crate) fn at_agent(agent: &str, owner: &Owner, session: &SessionId) -> SessionId {
    let mut hash = Sha256::new();
    for part in [agent, owner.as_str(), session.as_str()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let hash = hex::encode(&hash.finalize()[..10]);
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let shown: String = session.as_str().chars().take(SHOWN).map(plain).collect();
    SessionId::new(&format!("{shown}.{hash}")).expect("plain characters, and few of them")
}

/// The name that a request's `model` would be, if it is an agent's: `NAME`, `openclaw/NAME` or `agent:NAME`.
pub(crate) fn named(model: &str) -> &str {
    model.strip_prefix("openclaw/").or_else(|| model.strip_prefix("agent:")).unwrap_or(model)
}

/// The agent that a request's `model` means, of those that there are (`all`) and that the token may ask (`may`).
///
/// # Errors
/// It is not clear which, or there is none. The error names no agent that the token may not ask.
pub(crate) fn agent_of_model(model: &str, all: &[String], may: impl Fn(&str) -> bool) -> Result<String, ErrorFrame> {
    let named = named(model);
    if let Some(agent) = all.iter().find(|agent| *agent == named && may(agent)) {
        return Ok(agent.clone());
    }
    let asked: Vec<&String> = all.iter().filter(|agent| may(agent)).collect();
    let about = |message: String| ErrorFrame { code: Code::InvalidValue, message, param: Some("model".to_owned()) };
    match asked[..] {
        [] => Err(about("There is no agent that this token may ask.".to_owned())),
        [only] => Ok(only.clone()),
        _ => {
            let names: Vec<&str> = asked.iter().take(20).map(|name| name.as_str()).collect();
            Err(about(format!("It must name an agent. This token may ask: {}.", names.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(text: &str) -> SessionId {
        SessionId::new(text).expect("an id")
    }

    #[test]
    fn a_conversation_of_the_same_name_is_another_one_for_another_owner_or_agent() {
        let (one, other) = (Owner::Token("aa".into()), Owner::Token("bb".into()));
        let (long, tasks, group) = (Owner::Token("naa".into()), Owner::Tasks, Owner::Group);
        let named = |agent, owner, name| at_agent(agent, owner, &session(name)).as_str().to_owned();
        let names = [
            named("main", &one, "s"),
            named("main", &other, "s"),
            named("main", &tasks, "s"),
            named("main", &group, "s"),
            named("mai", &long, "s"),
            named("other", &one, "s"),
            named("main", &one, "t"),
        ];
        for (index, name) in names.iter().enumerate() {
            assert!(!names[index + 1..].contains(name), "{name}");
            assert_eq!(*name, name.to_lowercase());
        }
        assert_eq!(named("main", &one, "S"), names[0]);
        // Nobody hits another's by naming what it is called at the agent.
        assert_ne!(named("main", &other, &names[0]), names[0]);
        assert!(named("main", &one, &"ä/".repeat(100)).starts_with("----"));
    }

    #[test]
    fn the_model_names_an_agent_or_the_only_one_is_meant() {
        let all: Vec<String> = ["home", "work"].map(str::to_owned).to_vec();
        let both = |_: &str| true;
        for model in ["work", "openclaw/work", "agent:work"] {
            assert_eq!(agent_of_model(model, &all, both).as_deref(), Ok("work"));
        }
        assert_eq!(agent_of_model("gpt-9", &all, |name| name == "home").as_deref(), Ok("home"));
        // One that it may not ask is as one that does not exist.
        assert_eq!(agent_of_model("work", &all, |name| name == "home").as_deref(), Ok("home"));
        let unclear = agent_of_model("gpt-9", &all, both).unwrap_err();
        assert_eq!(unclear.param.as_deref(), Some("model"));
        assert!(unclear.message.contains("home, work"), "{}", unclear.message);
        let none = agent_of_model("gpt-9", &all, |_| false).unwrap_err();
        assert!(!none.message.contains("home") && !none.message.contains("work"));
    }
}
