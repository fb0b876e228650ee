//! A turn on its way: through the line of its connection, then that of its session, to the agent; and what follows from its end.
//!
//! Everything here may be done twice, and by several at once: a turn is in a line once, is sent by whoever changes its stage, and leaves a line once. So
//! whoever finds a turn half-way carries it on.

use crate::Channel;
use crate::gateway::Posted;
use crate::public::{ChannelError, Ended, TaskRef};
use crate::records::{
    AgentDoc, ConnectionDoc, KEEP, KEEP_AGENT, Live, ResponseDoc, SessionDoc, Stage, TurnDoc, Waiting, agent_id,
    agent_key, connection_key, response_key, sent_key, session_key, turn_key, waiting_key,
};
use crate::responses::Step;
use crate::store::Change;
use clawbridge_clock::Timestamp;
use clawbridge_journal::Entry;
use clawbridge_packed::Packed;
use clawbridge_queue::{AnswerMessage, Body, Message};
use clawbridge_responses::AgentEvent;
use clawbridge_responses::dialects::{Dialect, bridge, encode_request};
use clawbridge_responses::model::Status;
use clawbridge_responses::session::Joined;
use clawbridge_responses::{ResponseId, SessionId};
use futures_util::future::BoxFuture;
use serde_json::json;
use std::time::Duration;

/// How many sessions of an agent that has just connected are served at once.
const MAX_WAITING: i32 = 200;

/// How many turns of one agent are looked through.
pub(crate) const MAX_SENT: i32 = 500;

/// How often a turn is tried that finds the agent gone or busy in the last moment.
const TRIES: usize = 5;

/// Where a turn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// The agent has it, or it is over.
    Sent,
    /// It waits: for others, or for the agent.
    Waits {
        /// Whether the agent is connected.
        online: bool,
    },
}

impl Channel {
    pub(crate) async fn agent(&self, name: &str) -> Result<AgentDoc, ChannelError> {
        Ok(self.store.get::<AgentDoc>(&agent_key(name)).await?.map(|found| found.document).unwrap_or_default())
    }

    /// The turn is first in its connection's line, or in none: it joins its session's, and is sent if it is first there too.
    pub(crate) fn enter_session<'a>(&'a self, id: &'a ResponseId) -> BoxFuture<'a, Result<Sending, ChannelError>> {
        Box::pin(async move {
            let Some(response) = self.response(id).await? else { return Ok(Sending::Sent) };
            if response.is_over() {
                self.settle(id).await?;
                return Ok(Sending::Sent);
            }
            if matches!(response.stage, Stage::Sent { .. }) {
                return Ok(Sending::Sent);
            }
            let key = session_key(response.session());
            let joined = self
                .store
                .change::<SessionDoc, Joined>(&key, KEEP, Timestamp::now(), |session| {
                    let before = session.line.len();
                    let joined = session.line.join(id);
                    if session.line.len() > before { Change::Write(joined) } else { Change::Leave(joined) }
                })
                .await?;
            if joined == Joined::Full {
                let code = "queue_full";
                let message = "Too many turns of this conversation are waiting already.";
                self.advance(id, |response, now| Step::with(fail(response, code, message, now), ())).await?;
                self.settle(id).await?;
                return Ok(Sending::Sent);
            }
            self.advance(id, |response, _| {
                let moves = response.stage == Stage::InConnection;
                if moves {
                    response.stage = Stage::InSession;
                }
                Step { events: Vec::new(), changed: moves, result: () }
            })
            .await?;
            match joined {
                Joined::First => self.dispatch(id).await,
                Joined::Behind(_) | Joined::Full => {
                    let online = self.agent(&response.agent).await?.live.is_some();
                    Ok(Sending::Waits { online })
                }
            }
        })
    }

    /// The turn is first in its session's line: it is sent, or noted as waiting for the agent.
    pub(crate) fn dispatch<'a>(&'a self, id: &'a ResponseId) -> BoxFuture<'a, Result<Sending, ChannelError>> {
        Box::pin(async move {
            let (response, turn) = (response_key(id), turn_key(id));
            let found = self.store.get_both::<ResponseDoc, TurnDoc>(&response, &turn).await?;
            let (Some(response), Some(turn)) = found else { return Ok(Sending::Sent) };
            let (response, turn) = (response.document, turn.document);
            let session = turn.session.clone();
            let waiting = waiting_key(&response.agent, &session);
            let mut noted = false;
            for _ in 0..TRIES {
                let agent = self.agent(&response.agent).await?;
                let Some(live) = agent.live.clone().filter(|_| agent.admits(&session)) else {
                    if noted {
                        return Ok(Sending::Waits { online: agent.live.is_some() });
                    }
                    // Noted before the second look: whoever makes the agent free after it finds the note.
                    let document = Waiting { session: session.clone() };
                    self.store.keep(&waiting, &document, Timestamp::now().plus(KEEP_AGENT)).await?;
                    noted = true;
                    continue;
                };
                let frames = match encode_request(live.dialect, &turn) {
                    Ok(frames) => frames,
                    Err(error) => {
                        let (code, message) = (error.code(), error.to_string());
                        self.advance(id, |response, now| Step::with(fail(response, code, &message, now), ())).await?;
                        self.settle(id).await?;
                        self.store.remove(&waiting).await?;
                        return Ok(Sending::Sent);
                    }
                };
                if live.dialect != Dialect::Bridge && !self.reserve(&response.agent, &live, id, &session).await? {
                    continue;
                }
                let under_way = Waiting { session: session.clone() };
                self.store.keep(&sent_key(&response.agent, id), &under_way, Timestamp::now().plus(KEEP_AGENT)).await?;
                let sent = self
                    .advance(id, |response, now| {
                        if response.is_over() || matches!(response.stage, Stage::Sent { .. }) {
                            return Step::nothing(false);
                        }
                        let (connection, dialect) = (live.connection.clone(), live.dialect);
                        response.stage = Stage::Sent { connection, dialect, at: now };
                        response.machine.follow(dialect.policy());
                        response.machine.dispatched(now);
                        Step::with(Vec::new(), true)
                    })
                    .await?;
                self.store.remove(&waiting).await?;
                if !sent.is_some_and(|(_, is_new)| is_new) {
                    return Ok(Sending::Sent);
                }
                if self.post_turn(&live.connection, &frames).await? == Posted::Sent {
                    return Ok(Sending::Sent);
                }
                self.put_back(id, &live.connection).await?;
                self.agent_gone(&response.agent, &live.connection).await?;
                noted = false;
            }
            Ok(Sending::Waits { online: false })
        })
    }

    async fn post_turn(&self, connection: &str, frames: &[String]) -> Result<Posted, ChannelError> {
        for frame in frames {
            match self.gateway.post(connection, frame).await? {
                Posted::Sent => {}
                lost @ (Posted::Gone | Posted::TooSlow) => return Ok(lost),
            }
        }
        Ok(Posted::Sent)
    }

    /// A connector that is not ours may have so many turns under way and no more. False: this one not now.
    async fn reserve(
        &self,
        agent: &str,
        live: &Live,
        id: &ResponseId,
        session: &SessionId,
    ) -> Result<bool, ChannelError> {
        self.store
            .change::<AgentDoc, bool>(&agent_key(agent), KEEP_AGENT, Timestamp::now(), |agent| {
                let is_same = agent.live.as_ref().is_some_and(|now| now.connection == live.connection);
                if !is_same || !agent.admits(session) {
                    return Change::Leave(false);
                }
                agent.turns.dispatched(id.clone(), session.clone());
                Change::Write(true)
            })
            .await
    }

    /// A turn did not reach the connection that it was sent to.
    async fn put_back(&self, id: &ResponseId, connection: &str) -> Result<(), ChannelError> {
        self.advance(id, |response, _| match &response.stage {
            Stage::Sent { connection: sent, .. } if sent == connection && !response.is_over() => {
                response.stage = Stage::InSession;
                Step::with(Vec::new(), ())
            }
            _ => Step::nothing(()),
        })
        .await?;
        Ok(())
    }

    /// The agent is there, or free again: what waits for it is sent, each session in its order.
    pub(crate) async fn pump(&self, agent: &str) -> Result<(), ChannelError> {
        let waiting: Vec<(String, Waiting)> = self.store.list(&agent_id(agent), "waiting#", None, MAX_WAITING).await?;
        for (_, Waiting { session }) in waiting {
            let line = self.store.get::<SessionDoc>(&session_key(&session)).await?;
            match line.as_ref().and_then(|found| found.document.line.first()) {
                Some(first) => {
                    self.dispatch(first).await?;
                }
                None => self.store.remove(&waiting_key(agent, &session)).await?,
            }
        }
        Ok(())
    }

    /// A connection of the agent has ended. Ours comes back and goes on; others' turns there have no answer any more.
    pub(crate) fn agent_gone<'a>(
        &'a self,
        agent: &'a str,
        connection: &'a str,
    ) -> BoxFuture<'a, Result<(), ChannelError>> {
        Box::pin(async move {
            let now = Timestamp::now();
            self.store
                .change::<AgentDoc, ()>(&agent_key(agent), KEEP_AGENT, now, |agent| match &agent.live {
                    Some(live) if live.connection == connection => {
                        agent.live = None;
                        agent.away_since = Some(now);
                        Change::Write(())
                    }
                    Some(_) | None => Change::Leave(()),
                })
                .await?;
            for id in self.under_way(agent).await? {
                let lost = self
                    .advance(&id, |response, now| match &response.stage {
                        Stage::Sent { connection: sent, dialect, .. }
                            if sent == connection && *dialect != Dialect::Bridge && !response.is_over() =>
                        {
                            // Nothing of it comes any more, so nothing has to be waited for.
                            response.agent_ended = true;
                            Step::with(lost(response, now), true)
                        }
                        _ => Step::nothing(false),
                    })
                    .await?;
                if lost.is_some_and(|(_, lost)| lost) {
                    self.settle(&id).await?;
                }
            }
            Ok(())
        })
    }

    /// The turns that an agent was sent and that have not been settled.
    pub(crate) async fn under_way(&self, agent: &str) -> Result<Vec<ResponseId>, ChannelError> {
        let sent: Vec<(String, Waiting)> = self.store.list(&agent_id(agent), "sent#", None, MAX_SENT).await?;
        Ok(sent.iter().filter_map(|(part, _)| ResponseId::new(part.trim_start_matches("sent#")).ok()).collect())
    }

    /// What follows from a response's end. Whoever notices the end does it; doing it again does nothing more.
    pub(crate) fn settle<'a>(&'a self, id: &'a ResponseId) -> BoxFuture<'a, Result<(), ChannelError>> {
        Box::pin(async move {
            let Some(response) = self.response(id).await? else { return Ok(()) };
            if !response.is_over() || response.is_settled {
                return Ok(());
            }
            let now = Timestamp::now();
            let next_of_session = self
                .store
                .change::<SessionDoc, _>(&session_key(response.session()), KEEP, now, |session| {
                    let before = session.line.len();
                    session.line.leave(id);
                    let first = session.line.first().cloned();
                    if session.line.len() == before {
                        return Change::Leave(first);
                    }
                    session.latest = Some(id.clone());
                    Change::Write(first)
                })
                .await?;
            self.leave_agent(&response).await?;
            let next_of_connection = match &response.connection {
                Some(connection) => self.leave_connection(connection, &response).await?,
                None => None,
            };
            if let Some(task) = &response.task {
                self.answer(task, &response).await?;
            }
            if next_of_session.is_none() {
                self.store.remove(&waiting_key(&response.agent, response.session())).await?;
            }
            let settled = self
                .advance(id, |response, _| {
                    let changed = !response.is_settled;
                    response.is_settled = true;
                    Step { events: Vec::new(), changed, result: changed }
                })
                .await?;
            if settled.is_some_and(|(_, is_mine)| is_mine) {
                journal_end(&response, now);
            }
            if let Some(next) = next_of_session {
                self.dispatch(&next).await?;
            }
            if let Some(next) = next_of_connection {
                self.enter_session(&next).await?;
            }
            if matches!(&response.stage, Stage::Sent { dialect, .. } if *dialect != Dialect::Bridge) {
                self.pump(&response.agent).await?;
            }
            Ok(())
        })
    }

    /// The agent is told that nobody wants the answer any more, if it does not know, and the turn is no longer under way there.
    async fn leave_agent(&self, response: &ResponseDoc) -> Result<(), ChannelError> {
        let Stage::Sent { dialect, .. } = response.stage.clone() else { return Ok(()) };
        let id = response.id();
        if dialect == Dialect::Bridge {
            if !response.agent_ended
                && let Some(live) = self.agent(&response.agent).await?.live
            {
                let cancel = bridge::write(&bridge::ToConnector::Cancel { response: id.clone() });
                self.gateway.post(&live.connection, &cancel).await?;
            }
        } else {
            let ended = response.agent_ended;
            self.store
                .change::<AgentDoc, ()>(&agent_key(&response.agent), KEEP_AGENT, Timestamp::now(), |agent| {
                    if ended {
                        agent.turns.over(id);
                    } else {
                        agent.turns.abandoned(id);
                    }
                    Change::Write(())
                })
                .await?;
        }
        self.store.remove(&sent_key(&response.agent, id)).await
    }

    /// The next of a connection's line. What a response that failed continued is not continued there again.
    async fn leave_connection(
        &self,
        connection: &str,
        response: &ResponseDoc,
    ) -> Result<Option<ResponseId>, ChannelError> {
        let id = response.id();
        let previous = response.machine.response().settings.previous_response_id.clone();
        let status = response.machine.response().status;
        self.store
            .change::<Option<ConnectionDoc>, _>(&connection_key(connection), KEEP, Timestamp::now(), |connection| {
                let Some(connection) = connection else { return Change::Leave(None) };
                let before = connection.line.len();
                connection.line.leave(id);
                let first = connection.line.first().cloned();
                if connection.line.len() == before {
                    return Change::Leave(first);
                }
                match (status, &previous) {
                    (Status::Completed | Status::Incomplete, _) => connection.chain.completed(id),
                    (_, Some(previous)) => connection.chain.continuation_failed(previous),
                    (_, None) => {}
                }
                Change::Write(first)
            })
            .await
    }

    /// Tells the task that waits for a response what came of it.
    pub(crate) async fn answer(&self, task: &TaskRef, response: &ResponseDoc) -> Result<(), ChannelError> {
        let ended = Ended::of(response.machine.response());
        let mut body = json!({
            "status": ended.status.as_str(),
            "text": ended.text,
            "response_id": response.id(),
        });
        if let Some((code, message)) = &ended.error {
            body["error"] = json!({"code": code, "message": message});
        }
        if let Some(usage) = &ended.usage {
            body["usage"] = json!(usage);
        }
        let body = Body::inline(Packed::pack(body.to_string().as_bytes()));
        let message = Message::Answer(AnswerMessage { task: task.task.clone(), attempt: task.attempt, body });
        Ok(self.queues.send(&message, Duration::ZERO).await?)
    }
}

/// The response fails before the agent had it.
pub(crate) fn fail(
    response: &mut ResponseDoc,
    code: &str,
    message: &str,
    now: Timestamp,
) -> Vec<clawbridge_responses::model::StreamEvent> {
    response.agent_ended = !matches!(response.stage, Stage::Sent { .. });
    response.machine.apply(AgentEvent::Failed { code: code.to_owned(), message: message.to_owned() }, now)
}

/// The agent is gone.
pub(crate) fn lost(response: &mut ResponseDoc, now: Timestamp) -> Vec<clawbridge_responses::model::StreamEvent> {
    let message = "The agent's connection was lost before it had answered.";
    response.machine.lost("agent_disconnected", message, now)
}

fn journal_end(response: &ResponseDoc, now: Timestamp) {
    let resource = response.machine.response();
    let ms = u64::try_from(resource.created_at.until(now).as_millis()).unwrap_or(u64::MAX);
    let code = resource.error.as_ref().map(|error| error.code.as_str()).or(resource.incomplete_reason.as_deref());
    clawbridge_journal::write(&Entry::ResponseEnded {
        response: resource.id.as_str(),
        agent: &response.agent,
        status: resource.status.as_str(),
        code,
        events: response.machine.next_sequence(),
        ms,
    });
}
