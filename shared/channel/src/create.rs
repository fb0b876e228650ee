//! A user's turn is checked, kept, and set on its way.

use crate::Channel;
use crate::bucket::{self, Admission};
use crate::names;
use crate::public::ChannelError;
use crate::records::{
    ConnectionDoc, KEEP, ResponseDoc, SessionDoc, Stage, User, connection_key, response_key, session_key, turn_key,
};
use crate::responses::{Step, random_name};
use crate::store::{Change, Write};
use crate::turns::Sending;
use crate::user::Refusal;
use clawbridge_clock::Timestamp;
use clawbridge_journal::Entry;
use clawbridge_queue::{ChannelMessage, Message, Priority, SubmitMessage};
use clawbridge_responses::dialects::{Dialect, Turn};
use clawbridge_responses::frames::{self, Code, Create, ErrorFrame};
use clawbridge_responses::machine::Machine;
use clawbridge_responses::session::{Joined, check_outputs};
use clawbridge_responses::{ResponseId, SessionId};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// What is known about a turn once it was checked.
struct Checked {
    create: Create,
    agent: String,
    /// The session as its user calls it, and as it is called at the agent.
    called: SessionId,
    session: SessionId,
    owner: String,
}

/// What the connection says about a frame that came on it.
enum Entrance {
    Refused(Admission),
    Unknown,
    Open(Box<ConnectionDoc>),
}

impl Channel {
    /// `response.create`.
    pub(crate) async fn create(&self, connection: &str, user: &User, text: &str) -> Result<(), Refusal> {
        let now = Timestamp::now();
        let mut document = match self.enter(connection, now).await? {
            Entrance::Open(document) => document,
            Entrance::Refused(admission) => return Ok(self.flooded(connection, admission, text.len()).await?),
            Entrance::Unknown => return Ok(()),
        };
        self.check_age(&document, now)?;
        if let Some(first) = document.line.first() {
            // Its last event is posted before its end is settled: who answers at once must find it settled.
            self.settle(first).await?;
            let found = self.store.get::<ConnectionDoc>(&connection_key(connection)).await?;
            document = found.map_or(document, |found| Box::new(found.document));
        }
        let create = frames::parse(text)?;
        let id = ResponseId::new(&format!("resp_{}", random_name())).expect("a prefix and digits");
        let previous = create.settings.previous_response_id.clone();
        let checked = match self.check(user, &document, &id, create).await {
            Ok(checked) => checked,
            Err(Refusal::Frame(frame)) => {
                if let Some(previous) = previous {
                    self.evict(connection, &previous).await?;
                }
                return Err(frame.into());
            }
            Err(ours) => return Err(ours),
        };
        self.keep(connection, &id, &checked, now).await?;
        let joined = self.join_connection(connection, &id).await?;
        if joined == Joined::Full {
            return Err(ErrorFrame::new(Code::QueueFull, "Too many turns wait on this connection already.").into());
        }
        let is_ready = joined == Joined::First && self.is_free(&checked.agent, &checked.session).await?;
        clawbridge_journal::write(&Entry::ResponseAccepted {
            response: id.as_str(),
            agent: &checked.agent,
            queued: !is_ready,
        });
        self.advance(&id, |response, _| Step::with(response.machine.accept(!is_ready), ())).await?;
        let sending = match joined {
            Joined::First => self.enter_session(&id).await?,
            Joined::Behind(_) | Joined::Full => {
                Sending::Waits { online: self.agent(&checked.agent).await?.live.is_some() }
            }
        };
        if sending == (Sending::Waits { online: false }) {
            self.submit(&id, user, &checked).await?;
        }
        Ok(())
    }

    async fn enter(&self, connection: &str, now: Timestamp) -> Result<Entrance, ChannelError> {
        self.store
            .change::<Option<ConnectionDoc>, _>(&connection_key(connection), KEEP, now, |document| {
                let Some(document) = document else { return Change::Leave(Entrance::Unknown) };
                match document.bucket.take(bucket::USER, now) {
                    Admission::Admitted => Change::Write(Entrance::Open(Box::new(document.clone()))),
                    refused => Change::Write(Entrance::Refused(refused)),
                }
            })
            .await
    }

    async fn check(
        &self,
        user: &User,
        document: &ConnectionDoc,
        id: &ResponseId,
        create: Create,
    ) -> Result<Checked, Refusal> {
        let previous = self.continued(user, document, create.settings.previous_response_id.as_ref()).await?;
        let calls: BTreeSet<String> = previous.iter().flat_map(calls_of).collect();
        check_outputs(&create.input, &calls)?;
        let all = self.agent_names(&create.settings.model).await?;
        let may = |name: &str| user.may_ask(name);
        let agent = match &previous {
            // What is continued is with its agent, whatever the model is called.
            Some(previous) if may(&previous.agent) && all.contains(&previous.agent) => previous.agent.clone(),
            _ => names::agent_of_model(&create.settings.model, &all, may)?,
        };
        let called = match (&create.session, &previous) {
            (Some(session), _) => session.clone(),
            (None, Some(previous)) => previous.called.clone(),
            // A client that names nothing sends everything: the agent must not have it twice.
            (None, None) => SessionId::new(id.as_str()).expect("a response's id is one"),
        };
        let owner = self.owner_of(user, &called)?;
        let session = names::at_agent(&agent, &owner, &called);
        if let Some(previous) = &previous
            && previous.session() != &session
        {
            let message = "It is of another session than the one that is named.";
            return Err(crate::user::invalid("previous_response_id", message).into());
        }
        Ok(Checked { create, agent, called, session, owner: owner.as_str().to_owned() })
    }

    /// The response and its turn in the table, with somebody to look after them.
    async fn keep(
        &self,
        connection: &str,
        id: &ResponseId,
        checked: &Checked,
        now: Timestamp,
    ) -> Result<(), ChannelError> {
        let Checked { create, agent, called, session, owner } = checked;
        let policy = Dialect::Bridge.policy();
        let machine = Machine::new(id.clone(), session.clone(), create.settings.clone(), policy, now);
        let mut response = ResponseDoc {
            machine,
            agent: agent.clone(),
            owner: owner.clone(),
            called: called.clone(),
            connection: Some(connection.to_owned()),
            listeners: Vec::new(),
            stage: Stage::InConnection,
            task: None,
            agent_ended: false,
            is_settled: false,
        };
        let members = self.store.get::<SessionDoc>(&session_key(session)).await?;
        for member in members.iter().flat_map(|found| &found.document.members) {
            response.hears(member, 0);
        }
        response.hears(connection, 0);
        let turn = Turn {
            response: id.clone(),
            session: session.clone(),
            at: now,
            input: create.input.clone(),
            settings: create.settings.clone(),
        };
        self.put_new(&response, &turn).await?;
        self.look_later(id, 0).await
    }

    /// A new response with its turn. False: there is one of this id.
    pub(crate) async fn put_new(&self, response: &ResponseDoc, turn: &Turn) -> Result<bool, ChannelError> {
        let (id, expires_at) = (response.id(), response.expires_at());
        let writes =
            vec![Write::over(response_key(id), response, 0, expires_at), Write::same(turn_key(id), turn, expires_at)];
        self.store.commit(writes).await
    }

    pub(crate) async fn look_later(&self, id: &ResponseId, looks: u32) -> Result<(), ChannelError> {
        let message = Message::Channel(ChannelMessage::Look { response: id.to_string(), looks });
        Ok(self.queues.send(&message, self.pace.look(looks)).await?)
    }

    async fn join_connection(&self, connection: &str, id: &ResponseId) -> Result<Joined, ChannelError> {
        self.store
            .change::<Option<ConnectionDoc>, _>(&connection_key(connection), KEEP, Timestamp::now(), |document| {
                // It has ended meanwhile: nobody else is in its line.
                let Some(document) = document else { return Change::Leave(Joined::First) };
                match document.line.join(id) {
                    Joined::Full => Change::Leave(Joined::Full),
                    joined => Change::Write(joined),
                }
            })
            .await
    }

    /// Whether a turn of the session would be sent at once, as far as one can tell before it is in line.
    async fn is_free(&self, agent: &str, session: &SessionId) -> Result<bool, ChannelError> {
        let line = self.store.get::<SessionDoc>(&session_key(session)).await?;
        Ok(line.is_none_or(|found| found.document.line.is_empty()) && self.agent(agent).await?.admits(session))
    }

    async fn evict(&self, connection: &str, previous: &ResponseId) -> Result<(), ChannelError> {
        self.store
            .change::<Option<ConnectionDoc>, _>(&connection_key(connection), KEEP, Timestamp::now(), |document| {
                let Some(document) = document else { return Change::Leave(()) };
                document.chain.continuation_failed(previous);
                Change::Write(())
            })
            .await
    }

    /// The turn becomes a task that people can see, which ends when it has waited for too long.
    async fn submit(&self, id: &ResponseId, user: &User, checked: &Checked) -> Result<(), ChannelError> {
        let mut input = json!({"input": checked.create.input, "session": checked.called});
        if let Some(instructions) = &checked.create.settings.instructions {
            input["instructions"] = json!(instructions);
        }
        let message = Message::Submit(SubmitMessage {
            tool: format!("agent:{}", checked.agent),
            key: id.to_string(),
            input,
            // As the API calls who hands something in: they find their task there.
            submitter: format!("token:{}", user.name),
            priority: Priority::Background,
            trace: None,
        });
        Ok(self.queues.send(&message, Duration::ZERO).await?)
    }
}

/// The calls that a response wants made, and those that its request had brought along.
fn calls_of(response: &ResponseDoc) -> Vec<String> {
    response.machine.response().function_calls().map(|call| call.call_id.clone()).collect()
}
