//! Scopes: what a token is for.

use std::fmt;
use std::str::FromStr;

/// The longest name in a scope, bytes.
const MAX_NAME: usize = 64;

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Everything.
    Admin,
    /// Look at everything but the tokens.
    Read,
    /// Have any tool called, see what came of it, run events and tasks again.
    Execute,
    /// `tool:NAME`: have this tool called and see what came of it.
    Tool(String),
    /// `source:NAME`: look at this source's events.
    Source(String),
    /// `agent:NAME`: speak with this agent.
    Agent(String),
    /// `group:NAME`: take part in this group's conversations with the agents that the token may speak with.
    Group(String),
}

/// A text that is no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope is read, execute, admin, tool:NAME, source:NAME, agent:NAME or group:NAME")]
pub struct ScopeError;

/// What somebody wants to do. Who may is one table, [`Scope::allows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish<'a> {
    /// Know that the bridge is there and how it is: whoever has a token.
    Greet,
    /// Look at lists, events, sources and the configuration.
    Look,
    /// Look at the events of a source.
    LookAtSource(&'a str),
    /// Know what a tool is and what came of its calls.
    LookAtTool(&'a str),
    /// Have a tool called, a task of it run again or taken back.
    Call(&'a str),
    /// Have events routed again, whatever tools that calls.
    Replay,
    /// Have an agent do something; `None`: whichever there is.
    Ask(Option<&'a str>),
    /// Take part in a group's conversation.
    Enter(&'a str),
    /// Change the configuration, decide about outcomes that nobody knows, make and revoke tokens.
    Administer,
}

impl Scope {
    /// Whether the scope alone is enough.
    #[must_use]
    pub fn allows(&self, wish: Wish<'_>) -> bool {
        match (self, wish) {
            (Scope::Admin, _) | (_, Wish::Greet) => true,
            (_, Wish::Administer) => false,
            (Scope::Read, Wish::Look | Wish::LookAtSource(_) | Wish::LookAtTool(_)) => true,
            (Scope::Read, Wish::Call(_) | Wish::Replay | Wish::Ask(_) | Wish::Enter(_)) => false,
            (Scope::Execute, Wish::LookAtTool(_) | Wish::Call(_) | Wish::Replay | Wish::Ask(_)) => true,
            (Scope::Execute, Wish::Look | Wish::LookAtSource(_) | Wish::Enter(_)) => false,
            (Scope::Tool(own), Wish::LookAtTool(name) | Wish::Call(name)) => own == name,
            (Scope::Source(own), Wish::LookAtSource(name)) => own == name,
            (Scope::Agent(own), Wish::Ask(Some(name))) => own == name,
            (Scope::Agent(_), Wish::Ask(None)) => true,
            (Scope::Group(own), Wish::Enter(name)) => own == name,
            (Scope::Tool(_) | Scope::Source(_) | Scope::Agent(_) | Scope::Group(_), _) => false,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Admin => f.write_str("admin"),
            Scope::Read => f.write_str("read"),
            Scope::Execute => f.write_str("execute"),
            Scope::Tool(name) => write!(f, "tool:{name}"),
            Scope::Source(name) => write!(f, "source:{name}"),
            Scope::Agent(name) => write!(f, "agent:{name}"),
            Scope::Group(name) => write!(f, "group:{name}"),
        }
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Scope, ScopeError> {
        let is_name = |name: &str| {
            (1..=MAX_NAME).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        match text.split_once(':') {
            None if text == "admin" => Ok(Scope::Admin),
            None if text == "read" => Ok(Scope::Read),
            None if text == "execute" => Ok(Scope::Execute),
            Some(("tool", name)) if is_name(name) => Ok(Scope::Tool(name.to_owned())),
            Some(("source", name)) if is_name(name) => Ok(Scope::Source(name.to_owned())),
            Some(("agent", name)) if is_name(name) => Ok(Scope::Agent(name.to_owned())),
            Some(("group", name)) if is_name(name) => Ok(Scope::Group(name.to_owned())),
            _ => Err(ScopeError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scope_allows_what_it_is_for_and_nothing_else() {
        let wishes = [
            Wish::Greet,
            Wish::Look,
            Wish::LookAtSource("stripe"),
            Wish::LookAtSource("github"),
            Wish::LookAtTool("charge"),
            Wish::LookAtTool("refund"),
            Wish::Call("charge"),
            Wish::Call("refund"),
            Wish::Replay,
            Wish::Ask(None),
            Wish::Ask(Some("main")),
            Wish::Ask(Some("other")),
            Wish::Enter("team"),
            Wish::Enter("board"),
            Wish::Administer,
        ];
        for (scope, expected) in [
            ("admin", "111111111111111"),
            ("read", "111111000000000"),
            ("execute", "100011111111000"),
            ("tool:charge", "100010100000000"),
            ("source:stripe", "101000000000000"),
            ("agent:main", "100000000110000"),
            ("group:team", "100000000000100"),
        ] {
            let parsed: Scope = scope.parse().expect("a scope");
            let allowed: String = wishes.iter().map(|wish| if parsed.allows(*wish) { '1' } else { '0' }).collect();
            assert_eq!((allowed.as_str(), parsed.to_string().as_str()), (expected, scope));
        }
    }

    #[test]
    fn what_is_no_scope_is_refused() {
        for text in
            ["", "Admin", "write", "tool", "tool:", "tool:a b", "tools:a", "read ", &format!("tool:{}", "x".repeat(65))]
        {
            assert_eq!(text.parse::<Scope>(), Err(ScopeError), "{text}");
        }
    }
}
