//! What is kept in the table, and what is decided about it. Pure.

use crate::bucket::Bucket;
use crate::names::Owner;
use crate::public::TaskRef;
use crate::store::Key;
use clawbridge_access::{Scope, Wish};
use clawbridge_clock::Timestamp;
use clawbridge_responses::correlate::Turns;
use clawbridge_responses::dialects::{Dialect, Turn};
use clawbridge_responses::machine::Machine;
use clawbridge_responses::model::StreamEvent;
use clawbridge_responses::session::{Chain, Line};
use clawbridge_responses::{ResponseId, SessionId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How many turns wait in a connection's line or a session's, the first included.
pub(crate) const MAX_LINE: usize = 32;

/// How many connections hear one session.
pub(crate) const MAX_MEMBERS: usize = 64;

/// How long connections and lines are kept that nothing changes.
pub(crate) const KEEP: Duration = Duration::from_secs(24 * 3600);

/// How long a response is kept that is stored.
const KEEP_STORED: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long an agent's turns are kept.
pub(crate) const KEEP_AGENT: Duration = Duration::from_secs(30 * 24 * 3600);

/// For how long whoever posts events, or acts for an agent, is left alone.
pub(crate) const LEASE: Duration = Duration::from_secs(6);

/// For how long an agent whose connector can take its answers up again may be away.
pub(crate) const ABSENT: Duration = Duration::from_secs(30);

pub(crate) fn connection_key(id: &str) -> Key {
    Key::of(format!("connection#{id}"))
}

pub(crate) fn agent_id(name: &str) -> String {
    format!("agent#{name}")
}

pub(crate) fn agent_key(name: &str) -> Key {
    Key::of(agent_id(name))
}

pub(crate) fn waiting_key(agent: &str, session: &SessionId) -> Key {
    Key::new(agent_id(agent), format!("waiting#{session}"))
}

pub(crate) fn sent_key(agent: &str, response: &ResponseId) -> Key {
    Key::new(agent_id(agent), format!("sent#{response}"))
}

pub(crate) fn session_key(session: &SessionId) -> Key {
    Key::of(format!("session#{session}"))
}

pub(crate) fn response_id(response: &ResponseId) -> String {
    format!("response#{response}")
}

pub(crate) fn response_key(response: &ResponseId) -> Key {
    Key::of(response_id(response))
}

pub(crate) fn turn_key(response: &ResponseId) -> Key {
    Key::new(response_id(response), "turn")
}

pub(crate) fn posted_key(response: &ResponseId) -> Key {
    Key::new(response_id(response), "posted")
}

/// The events from this sequence number on.
pub(crate) fn log_key(response: &ResponseId, sequence: u64) -> Key {
    Key::new(response_id(response), format!("log#{sequence:010}"))
}

/// Who is connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    User(User),
    Agent {
        name: String,
        /// The connector says that it speaks `bridge.v1`.
        is_ours: bool,
    },
}

/// A user: a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    /// The token's hash.
    pub(crate) token: String,
    /// What the token is called.
    pub(crate) name: String,
    pub(crate) scopes: Vec<String>,
}

impl User {
    fn may(&self, wish: Wish<'_>) -> bool {
        self.scopes.iter().any(|scope| scope.parse::<Scope>().is_ok_and(|scope| scope.allows(wish)))
    }

    pub(crate) fn may_ask(&self, agent: &str) -> bool {
        self.may(Wish::Ask(Some(agent)))
    }

    pub(crate) fn may_enter(&self, group: &str) -> bool {
        self.may(Wish::Enter(group))
    }

    pub(crate) fn owner(&self) -> Owner {
        Owner::Token(self.token.clone())
    }
}

/// `connection#C`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ConnectionDoc {
    pub(crate) role: Role,
    pub(crate) opened_at: Timestamp,
    #[serde(default)]
    pub(crate) bucket: Bucket,
    #[serde(default)]
    pub(crate) chain: Chain,
    pub(crate) line: Line,
}

impl ConnectionDoc {
    pub(crate) fn new(role: Role, now: Timestamp) -> ConnectionDoc {
        let (bucket, chain, line) = (Bucket::default(), Chain::default(), Line::new(MAX_LINE));
        ConnectionDoc { role, opened_at: now, bucket, chain, line }
    }
}

/// A right to do something alone for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) holder: String,
    pub(crate) until: Timestamp,
}

impl Lease {
    pub(crate) fn new(holder: &str, now: Timestamp) -> Lease {
        Lease { holder: holder.to_owned(), until: now.plus(LEASE) }
    }

    /// Whether somebody other than `holder` has it.
    pub(crate) fn is_held(lease: Option<&Lease>, holder: &str, now: Timestamp) -> bool {
        lease.is_some_and(|lease| lease.holder != holder && lease.until > now)
    }
}

/// The connection that an agent's turns go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Live {
    pub(crate) connection: String,
    pub(crate) since: Timestamp,
    pub(crate) dialect: Dialect,
    #[serde(default)]
    pub(crate) instance: Option<String>,
}

/// `agent#NAME`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct AgentDoc {
    #[serde(default)]
    pub(crate) live: Option<Live>,
    #[serde(default)]
    pub(crate) away_since: Option<Timestamp>,
    /// Who reads the frames of a connector that is not ours.
    #[serde(default)]
    pub(crate) actor: Option<Lease>,
    /// Turns of connectors that are not ours.
    #[serde(default)]
    pub(crate) turns: Turns,
}

impl AgentDoc {
    /// Whether a turn of this session may be sent now.
    pub(crate) fn admits(&self, session: &SessionId) -> bool {
        self.live.as_ref().is_some_and(|live| self.turns.admits(live.dialect, session))
    }
}

/// `agent#NAME`/`waiting#SESSION` and `sent#RESPONSE`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) session: SessionId,
}

/// `agent#NAME`/`in#…`: a frame that waits to be put in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Inbound {
    pub(crate) at: Timestamp,
    pub(crate) connection: String,
    pub(crate) text: String,
}

/// `session#…`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SessionDoc {
    pub(crate) line: Line,
    /// Connections that hear all of it.
    #[serde(default)]
    pub(crate) members: Vec<String>,
    #[serde(default)]
    pub(crate) latest: Option<ResponseId>,
}

impl Default for SessionDoc {
    fn default() -> SessionDoc {
        SessionDoc { line: Line::new(MAX_LINE), members: Vec::new(), latest: None }
    }
}

/// A connection that hears a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listener {
    pub(crate) connection: String,
    /// Somebody is sending it what came before; until they have, nobody else sends it anything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) catches_up: bool,
    /// It has what comes before this number: whoever posts next may begin earlier, as the note of what was posted comes after the posts.
    #[serde(default)]
    pub(crate) from: u64,
}

/// How far a turn is on its way to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub(crate) enum Stage {
    /// In the line of its connection.
    InConnection,
    /// In the line of its session.
    InSession,
    /// Sent there.
    Sent { connection: String, dialect: Dialect, at: Timestamp },
}

/// `response#R`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ResponseDoc {
    pub(crate) machine: Machine,
    pub(crate) agent: String,
    /// [`Owner::as_str`].
    pub(crate) owner: String,
    /// The session as its users call it.
    pub(crate) called: SessionId,
    /// In whose line it is.
    #[serde(default)]
    pub(crate) connection: Option<String>,
    #[serde(default)]
    pub(crate) listeners: Vec<Listener>,
    pub(crate) stage: Stage,
    #[serde(default)]
    pub(crate) task: Option<TaskRef>,
    /// The agent itself has said that this is the end.
    #[serde(default)]
    pub(crate) agent_ended: bool,
    /// What follows from its end has been done.
    #[serde(default)]
    pub(crate) is_settled: bool,
}

impl ResponseDoc {
    pub(crate) fn id(&self) -> &ResponseId {
        &self.machine.response().id
    }

    /// The session as it is called at the agent.
    pub(crate) fn session(&self) -> &SessionId {
        &self.machine.response().session
    }

    pub(crate) fn is_over(&self) -> bool {
        self.machine.is_over()
    }

    pub(crate) fn expires_at(&self) -> Timestamp {
        let response = self.machine.response();
        response.created_at.plus(if response.settings.store { KEEP_STORED } else { KEEP })
    }

    /// Whether it belongs to the user.
    pub(crate) fn is_of(&self, user: &User) -> bool {
        match crate::names::group(&self.called) {
            Some(group) if self.owner == Owner::Group.as_str() => user.may_enter(group) && user.may_ask(&self.agent),
            _ => self.owner == user.token,
        }
    }

    /// The connection catches up: what came before is sent to it by one alone.
    pub(crate) fn catches_up(&mut self, connection: &str) {
        self.listen(Listener { connection: connection.to_owned(), catches_up: true, from: 0 });
    }

    /// The connection hears what comes from this number on.
    pub(crate) fn hears(&mut self, connection: &str, from: u64) {
        self.listen(Listener { connection: connection.to_owned(), catches_up: false, from });
    }

    fn listen(&mut self, listener: Listener) {
        self.listeners.retain(|other| other.connection != listener.connection);
        self.listeners.push(listener);
    }
}

/// `response#R`/`turn`: what was asked. Written once.
pub(crate) type TurnDoc = Turn;

/// `response#R`/`posted`: how far the events were sent to those who hear it, and who is at it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PostedDoc {
    pub(crate) next: u64,
    #[serde(default)]
    pub(crate) lease: Option<Lease>,
}

/// `response#R`/`log#SEQ`: events as they go to users.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LogDoc {
    pub(crate) frames: Vec<String>,
}

impl LogDoc {
    pub(crate) fn of(events: &[StreamEvent]) -> LogDoc {
        LogDoc { frames: events.iter().map(StreamEvent::to_frame).collect() }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use clawbridge_responses::model::Settings;

    /// A turn for an agent that nobody has accepted yet.
    pub(crate) fn response(agent: &str) -> ResponseDoc {
        let (id, session) = (ResponseId::new("resp_1").expect("an id"), SessionId::new("s").expect("an id"));
        let (settings, now) = (Settings::of_model(agent), Timestamp::from_millis(0));
        ResponseDoc {
            machine: Machine::new(id, session.clone(), settings, Dialect::Bridge.policy(), now),
            agent: agent.to_owned(),
            owner: "aa".to_owned(),
            called: session,
            connection: Some("c".to_owned()),
            listeners: Vec::new(),
            stage: Stage::InSession,
            task: None,
            agent_ended: false,
            is_settled: false,
        }
    }

    #[test]
    fn a_response_belongs_to_its_token_and_a_groups_to_those_who_may_enter_it() {
        let user = |token: &str, scopes: &[&str]| User {
            token: token.to_owned(),
            name: token.to_owned(),
            scopes: scopes.iter().map(ToString::to_string).collect(),
        };
        let mut own = response("main");
        for (who, is_theirs) in [(user("aa", &[]), true), (user("bb", &["admin"]), false), (user("tasks", &[]), false)]
        {
            assert_eq!(own.is_of(&who), is_theirs, "{who:?}");
        }
        // A session that is only called like a group belongs to its token.
        own.called = SessionId::new("group:team").expect("an id");
        assert!(own.is_of(&user("aa", &[])) && !own.is_of(&user("bb", &["agent:main", "group:team"])));
        own.owner = Owner::Group.as_str().to_owned();
        for (scopes, may) in [
            (&["agent:main", "group:team"][..], true),
            (&["group:team"], false),
            (&["agent:main"], false),
            (&["agent:main", "group:board"], false),
            (&["admin"], true),
        ] {
            assert_eq!(own.is_of(&user("bb", scopes)), may, "{scopes:?}");
        }
    }

    #[test]
    fn a_lease_is_held_by_others_until_its_time_is_over() {
        let at = Timestamp::from_millis;
        let lease = Lease::new("me", at(0));
        let held = |holder, ms| Lease::is_held(Some(&lease), holder, at(ms));
        assert_eq!([held("me", 0), held("you", 0), held("you", 5_999), held("you", 6_000)], [false, true, true, false]);
        assert!(!Lease::is_held(None, "you", at(0)));
    }
}
