//! Looking after: what a crash, a lost message or a silent agent left undone is ended.
//!
//! Each turn has one message on the queue at any time, which comes back until the response is over and settled.

use crate::Channel;
use crate::connections::AFTER_CONNECT;
use crate::public::ChannelError;
use crate::records::{ABSENT, ConnectionDoc, ResponseDoc, Role, SessionDoc, Stage, connection_key, session_key};
use crate::responses::{Step, random_name};
use crate::turns::lost;
use clawbridge_clock::Timestamp;
use clawbridge_queue::{ChannelMessage, Message};
use clawbridge_responses::ResponseId;
use clawbridge_responses::dialects::Dialect;
use clawbridge_responses::frames::ErrorFrame;
use clawbridge_responses::session::MAX_CONNECTION_AGE;
use std::time::Duration;

/// For how long a turn that no task looks after waits for its agent.
const MAX_WAITING: Duration = Duration::from_secs(23 * 3600);

/// How long a connection that is too old may go on for the sake of what is under way.
const LAST_ANSWER: Duration = Duration::from_secs(15 * 60);

/// How long a turn may be unanswered by a connector of ours before it is sent again.
const UNCONFIRMED: Duration = Duration::from_secs(10);

/// How often a connector is looked for that has just connected.
const MAX_LOOKS_FOR_AGENT: u32 = 10;

/// When the queue hands a message out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between two looks at a turn at first; later they are further apart, up to ten times as far.
    pub look: Duration,
    /// How old a connection of a user gets. One of an agent lasts twice as long (API Gateway: two hours).
    pub age: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { look: Duration::from_secs(15), age: MAX_CONNECTION_AGE }
    }
}

impl Pace {
    /// With what is set; the default for what is not.
    #[must_use]
    pub fn of(look: Option<Duration>, age: Option<Duration>) -> Pace {
        let default = Pace::default();
        Pace { look: look.unwrap_or(default.look), age: age.unwrap_or(default.age) }
    }

    /// How long a connection of an agent lasts.
    pub(crate) fn agent_connection(self) -> Duration {
        self.age.saturating_mul(2)
    }

    /// When a connector of ours is asked to make another connection: an hour and three quarters after it has made this one.
    pub(crate) fn drain(self) -> Duration {
        self.age.saturating_mul(7) / 4
    }

    pub(crate) fn look(self, looks: u32) -> Duration {
        // A turn under way is looked at each time; one that waits for hours need not be.
        self.look.saturating_mul(1 + looks.saturating_sub(8).min(9))
    }
}

impl Channel {
    /// A look at a response. False: there will be nothing more to look at.
    pub(crate) async fn look(&self, id: &ResponseId, looks: u32) -> Result<bool, ChannelError> {
        let Some(response) = self.response(id).await? else { return Ok(false) };
        self.repair(id, &random_name()).await?;
        if response.is_over() {
            self.settle(id).await?;
            return Ok(false);
        }
        if response.machine.next_sequence() == 0 && looks > 0 && !self.is_in_line(&response).await? {
            // It was refused, or whoever accepted it died before anybody was told.
            return Ok(false);
        }
        match &response.stage {
            Stage::InConnection => {
                let is_first = match &response.connection {
                    None => true,
                    Some(connection) => {
                        let document = self.store.get::<ConnectionDoc>(&connection_key(connection)).await?;
                        document.is_none_or(|found| found.document.line.first() == Some(id))
                    }
                };
                if is_first {
                    self.enter_session(id).await?;
                } else {
                    self.unblock_connection(&response).await?;
                }
            }
            Stage::InSession => {
                let line = self.store.get::<SessionDoc>(&session_key(response.session())).await?;
                let first = line.and_then(|found| found.document.line.first().cloned());
                match first {
                    Some(first) if first == *id => {
                        self.dispatch(id).await?;
                    }
                    Some(first) => self.settle(&first).await?,
                    None => {
                        self.enter_session(id).await?;
                    }
                }
                self.expire(&response).await?;
            }
            Stage::Sent { connection, dialect, at } => self.look_at_agent(&response, connection, *dialect, *at).await?,
        }
        let response = self.response(id).await?;
        Ok(response.is_some_and(|response| !response.is_over() || !response.is_settled))
    }

    /// Whether the turn is in the line of its connection.
    async fn is_in_line(&self, response: &ResponseDoc) -> Result<bool, ChannelError> {
        let Some(connection) = &response.connection else { return Ok(true) };
        let document = self.store.get::<ConnectionDoc>(&connection_key(connection)).await?;
        let id = response.id().clone();
        Ok(document.is_some_and(|mut found| {
            let before = found.document.line.len();
            found.document.line.leave(&id);
            found.document.line.len() < before
        }))
    }

    /// Whoever is first in the connection's line may be over without having left it.
    async fn unblock_connection(&self, response: &ResponseDoc) -> Result<(), ChannelError> {
        let Some(connection) = &response.connection else { return Ok(()) };
        let document = self.store.get::<ConnectionDoc>(&connection_key(connection)).await?;
        match document.and_then(|found| found.document.line.first().cloned()) {
            Some(first) => self.settle(&first).await,
            None => Ok(()),
        }
    }

    /// A turn that waits for its agent does not wait for ever. One that is a task is ended with it.
    async fn expire(&self, response: &ResponseDoc) -> Result<(), ChannelError> {
        let created_at = response.machine.response().created_at;
        if response.task.is_some() || created_at.until(Timestamp::now()) < MAX_WAITING {
            return Ok(());
        }
        self.give_up(response.id(), "agent_offline", "The agent was not connected in time.", Timestamp::now()).await?;
        Ok(())
    }

    async fn look_at_agent(
        &self,
        response: &ResponseDoc,
        connection: &str,
        dialect: Dialect,
        at: Timestamp,
    ) -> Result<(), ChannelError> {
        let id = response.id();
        let now = Timestamp::now();
        if dialect != Dialect::Bridge {
            self.act(&response.agent).await?;
        }
        let agent = self.agent(&response.agent).await?;
        let is_live = agent.live.as_ref().is_some_and(|live| live.connection == connection);
        if !self.gateway.is_there(connection).await? {
            if is_live || dialect != Dialect::Bridge {
                self.agent_gone(&response.agent, connection).await?;
            }
            let is_away = agent.live.is_none() && agent.away_since.is_some_and(|since| since.until(now) >= ABSENT);
            if dialect == Dialect::Bridge && is_away {
                self.advance(id, |response, now| {
                    response.agent_ended = true;
                    Step::with(lost(response, now), ())
                })
                .await?;
            }
        } else if is_live
            && dialect == Dialect::Bridge
            && response.machine.next_frame() == 0
            && at.until(now) >= UNCONFIRMED
        {
            self.send_again(connection, id).await?;
        }
        self.advance(id, |response, now| {
            let events = response.machine.tick(now);
            Step { changed: !events.is_empty(), events, result: () }
        })
        .await?;
        self.settle(id).await
    }

    /// A user's connection that is an hour old is told so, and cut when what is under way there has ended.
    async fn look_at_connection(&self, id: &str, now: Timestamp) -> Result<(), ChannelError> {
        let Some(found) = self.store.get::<ConnectionDoc>(&connection_key(id)).await? else { return Ok(()) };
        let again = |after: Duration| async move {
            let message = Message::Channel(ChannelMessage::Connection { id: id.to_owned() });
            self.queues.send(&message, after).await.map_err(ChannelError::from)
        };
        let opened_at = found.document.opened_at;
        if !self.gateway.is_there(id).await? {
            return Ok(());
        }
        if opened_at.until(now) < self.pace.age {
            return again(now.until(opened_at.plus(self.pace.age))).await;
        }
        let is_last = opened_at.until(now) >= self.pace.age + LAST_ANSWER;
        if !found.document.line.is_empty() && !is_last {
            return again(self.pace.look).await;
        }
        self.gateway.post(id, &ErrorFrame::connection_limit_reached().to_frame()).await?;
        self.gateway.close(id).await
    }

    /// Does what a message of the channel's own asks for.
    ///
    /// # Errors
    /// See [`ChannelError`]: the message must come back.
    pub async fn handle(&self, message: &ChannelMessage, now: Timestamp) -> Result<(), ChannelError> {
        match message {
            ChannelMessage::Look { response, looks } => {
                let Ok(id) = ResponseId::new(response) else { return Ok(()) };
                if self.look(&id, *looks).await? {
                    self.look_later(&id, looks.saturating_add(1)).await?;
                }
                Ok(())
            }
            ChannelMessage::Connection { id } => self.look_at_connection(id, now).await,
            ChannelMessage::Connected { connection, looks } => self.connected(connection, *looks).await,
        }
    }

    /// An agent's connector that says nothing of its own is there: from now on its turns go to it.
    async fn connected(&self, connection: &str, looks: u32) -> Result<(), ChannelError> {
        let Some(found) = self.store.get::<ConnectionDoc>(&connection_key(connection)).await? else { return Ok(()) };
        let Role::Agent { name, is_ours: false } = &found.document.role else { return Ok(()) };
        if !self.gateway.is_there(connection).await? {
            if looks >= MAX_LOOKS_FOR_AGENT {
                return Ok(());
            }
            // It may not be open yet.
            let looks = looks + 1;
            let message = Message::Channel(ChannelMessage::Connected { connection: connection.to_owned(), looks });
            return Ok(self.queues.send(&message, AFTER_CONNECT).await?);
        }
        let live = crate::records::Live {
            connection: connection.to_owned(),
            since: found.document.opened_at,
            dialect: Dialect::Bare,
            instance: None,
        };
        self.go_live(name, live).await?;
        self.pump(name).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_further_apart_the_longer_a_turn_waits() {
        let pace = Pace::default();
        let seconds: Vec<u64> = [0, 8, 9, 12, 17, 1000].map(|looks| pace.look(looks).as_secs()).to_vec();
        assert_eq!(seconds, [15, 15, 30, 75, 150, 150]);
    }

    #[test]
    fn connections_are_as_old_as_api_gateway_and_open_responses_let_them_get() {
        let minutes = [Pace::default().age, Pace::default().drain(), Pace::default().agent_connection()];
        assert_eq!(minutes.map(|time| time.as_secs() / 60), [60, 105, 120]);
    }
}
