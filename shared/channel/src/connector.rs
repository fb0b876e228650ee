//! What agents' connectors send: ours here, others' by way of [`crate::actor`].

use crate::Channel;
use crate::public::ChannelError;
use crate::records::{AgentDoc, KEEP_AGENT, Live, ResponseDoc, Stage, TurnDoc, agent_key, turn_key};
use crate::responses::{Step, random_name};
use crate::store::Change;
use clawbridge_clock::Timestamp;
use clawbridge_journal::Entry;
use clawbridge_responses::dialects::bridge::{self, FromConnector, Holds, ToConnector};
use clawbridge_responses::dialects::{Decoded, Dialect, MAX_FRAME_BYTES, decode, encode_request};
use clawbridge_responses::machine::Applied;
use clawbridge_responses::{AgentEvent, ResponseId};

/// How often each side says that it is there. A connection without a message for ten minutes is cut.
const BEAT_SECONDS: u32 = 60;

/// The largest `say`: what is left of a frame for the events, with room for what they become.
const MAX_SAY_BYTES: usize = 96 * 1024;

/// What came of a `say`.
enum Heard {
    /// It is stored, or was before: this number is next.
    Next(u64),
    /// It is over, and not by the connector's own word.
    Unwanted(u64),
    /// It is not this agent's.
    Foreign,
}

impl Channel {
    /// A frame of an agent's connector.
    pub(crate) async fn agent_frame(
        &self,
        connection: &str,
        agent: &str,
        opened_at: Timestamp,
        text: &str,
    ) -> Result<(), ChannelError> {
        match decode(text) {
            Ok((Dialect::Bridge, Decoded::Bridge(frame))) => {
                self.bridge_frame(connection, agent, opened_at, frame).await?;
                self.drain(connection, opened_at).await
            }
            Ok(_) => self.take_in(connection, agent, text).await,
            Err(error) => {
                let entry = Entry::FrameRefused { connection, role: "agent", code: error.code(), bytes: text.len() };
                clawbridge_journal::write(&entry);
                Ok(())
            }
        }
    }

    async fn bridge_frame(
        &self,
        connection: &str,
        agent: &str,
        opened_at: Timestamp,
        frame: FromConnector,
    ) -> Result<(), ChannelError> {
        match frame {
            FromConnector::Hello { instance, holds, .. } => {
                self.hello(connection, agent, opened_at, instance, &holds).await
            }
            FromConnector::Say { response, number, events } => {
                self.say(connection, agent, &response, number, events).await
            }
            FromConnector::Beat {} => self.tell(connection, &ToConnector::Beat {}).await,
            FromConnector::Leaving {} => self.agent_gone(agent, connection).await,
        }
    }

    pub(crate) async fn tell(&self, connection: &str, frame: &ToConnector) -> Result<(), ChannelError> {
        // One that is gone comes back and is told again.
        self.gateway.post(connection, &bridge::write(frame)).await?;
        Ok(())
    }

    /// A connector of ours is there: it becomes the one that turns go to, and both sides compare what they know to be under way.
    async fn hello(
        &self,
        connection: &str,
        agent: &str,
        opened_at: Timestamp,
        instance: String,
        holds: &[Holds],
    ) -> Result<(), ChannelError> {
        let live = Live {
            connection: connection.to_owned(),
            since: opened_at,
            dialect: Dialect::Bridge,
            instance: Some(instance),
        };
        self.go_live(agent, live).await?;
        let until = opened_at.plus(self.pace.agent_connection());
        let welcome = ToConnector::Welcome {
            until,
            beat_seconds: BEAT_SECONDS,
            max_frame_bytes: MAX_SAY_BYTES.min(MAX_FRAME_BYTES),
        };
        self.tell(connection, &welcome).await?;
        for held in holds {
            let known = self.response(&held.response).await?;
            if !known.is_some_and(|response| response.agent == agent && !response.is_over()) {
                self.tell(connection, &ToConnector::Cancel { response: held.response.clone() }).await?;
            }
        }
        for id in self.under_way(agent).await? {
            let is_held = holds.iter().any(|held| held.response == id);
            self.take_over(connection, &id, is_held).await?;
        }
        self.pump(agent).await
    }

    /// A turn that an earlier connection of the agent was sent: held by the connector, never arrived there, or lost with its process.
    async fn take_over(&self, connection: &str, id: &ResponseId, is_held: bool) -> Result<(), ChannelError> {
        let what = self
            .advance(id, |response, now| {
                // One that was sent over this connection was sent after its `hello`, which therefore cannot name it.
                let is_elsewhere = matches!(&response.stage, Stage::Sent { connection: at, .. } if at != connection);
                if response.is_over() || !is_elsewhere {
                    return Step::nothing(None);
                }
                let moved = Stage::Sent { connection: connection.to_owned(), dialect: Dialect::Bridge, at: now };
                if is_held || response.machine.next_frame() == 0 {
                    response.stage = moved;
                    response.machine.dispatched(now);
                    return Step::with(Vec::new(), Some(is_held));
                }
                response.agent_ended = true;
                let message = "The agent's connector was started anew before the answer was complete.";
                Step::with(response.machine.lost("agent_restarted", message, now), None)
            })
            .await?;
        match what {
            Some((_, Some(false))) => self.send_again(connection, id).await,
            Some((_, Some(true))) => Ok(()),
            Some((_, None)) | None => self.settle(id).await,
        }
    }

    /// Sends a turn to a connector of ours once more; it begins each once.
    pub(crate) async fn send_again(&self, connection: &str, id: &ResponseId) -> Result<(), ChannelError> {
        let Some(turn) = self.store.get::<TurnDoc>(&turn_key(id)).await? else { return Ok(()) };
        let Ok(frames) = encode_request(Dialect::Bridge, &turn.document) else { return Ok(()) };
        for frame in frames {
            self.gateway.post(connection, &frame).await?;
        }
        Ok(())
    }

    pub(crate) async fn go_live(&self, agent: &str, live: Live) -> Result<(), ChannelError> {
        self.store
            .change::<AgentDoc, ()>(&agent_key(agent), KEEP_AGENT, Timestamp::now(), |agent| {
                // Hellos that overtake each other: the connection that was opened last is the one.
                if agent.live.as_ref().is_some_and(|now| now.since > live.since && now.connection != live.connection) {
                    return Change::Leave(());
                }
                agent.live = Some(live.clone());
                agent.away_since = None;
                Change::Write(())
            })
            .await
    }

    /// What the agent says: stored, posted to those who hear it, acknowledged, in this order.
    async fn say(
        &self,
        connection: &str,
        agent: &str,
        id: &ResponseId,
        number: u64,
        events: Vec<AgentEvent>,
    ) -> Result<(), ChannelError> {
        let heard = self.advance(id, |response, now| hear(response, agent, number, &events, now)).await?;
        let (is_over, heard) = heard.map_or((false, Heard::Foreign), |(response, heard)| (response.is_over(), heard));
        let (next, is_unwanted) = match heard {
            Heard::Foreign => return self.tell(connection, &ToConnector::Cancel { response: id.clone() }).await,
            Heard::Next(next) => (next, false),
            Heard::Unwanted(next) => (next, true),
        };
        // A frame that came before may be unfinished business of somebody who is no more.
        self.repair(id, &random_name()).await?;
        self.tell(connection, &ToConnector::Ack { response: id.clone(), next }).await?;
        if is_unwanted {
            self.tell(connection, &ToConnector::Cancel { response: id.clone() }).await?;
        }
        if is_over { self.settle(id).await } else { Ok(()) }
    }

    /// A connection that will be cut soon is to be replaced.
    async fn drain(&self, connection: &str, opened_at: Timestamp) -> Result<(), ChannelError> {
        if opened_at.until(Timestamp::now()) < self.pace.drain() {
            return Ok(());
        }
        self.tell(connection, &ToConnector::Drain { before: opened_at.plus(self.pace.agent_connection()) }).await
    }
}

/// What a numbered frame makes of a response.
fn hear(response: &mut ResponseDoc, agent: &str, number: u64, events: &[AgentEvent], now: Timestamp) -> Step<Heard> {
    if response.agent != agent || !matches!(response.stage, Stage::Sent { dialect: Dialect::Bridge, .. }) {
        return Step::nothing(Heard::Foreign);
    }
    let was_over = response.is_over();
    match response.machine.apply_numbered(number, events.to_vec(), now) {
        Applied::Next(out) => {
            response.agent_ended |= events.iter().any(AgentEvent::is_end);
            let next = response.machine.next_frame();
            Step::with(out, if was_over { Heard::Unwanted(next) } else { Heard::Next(next) })
        }
        Applied::Duplicate => Step::nothing(Heard::Next(response.machine.next_frame())),
        Applied::Gap { expected } => Step::nothing(Heard::Next(expected)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::testing::response;

    fn text(text: &str) -> Vec<AgentEvent> {
        vec![AgentEvent::Text { text: text.to_owned() }]
    }

    #[test]
    fn frames_count_once_in_order_and_only_of_the_agent_that_was_asked() {
        let now = Timestamp::from_millis(0);
        let mut response = response("main");
        let heard = |response: &mut ResponseDoc, agent: &str, number, events: &[AgentEvent]| {
            let step = hear(response, agent, number, events, now);
            let word = match step.result {
                Heard::Next(next) => format!("next {next}"),
                Heard::Unwanted(next) => format!("unwanted {next}"),
                Heard::Foreign => "foreign".to_owned(),
            };
            (word, step.changed)
        };
        // It was not sent yet.
        assert_eq!(heard(&mut response, "main", 0, &text("a")), ("foreign".into(), false));
        response.stage = Stage::Sent { connection: "c".into(), dialect: Dialect::Bridge, at: now };
        for (agent, number, events, expected) in [
            ("other", 0, text("a"), ("foreign", false)),
            ("main", 1, text("b"), ("next 0", false)),
            ("main", 0, text("a"), ("next 1", true)),
            ("main", 0, text("a"), ("next 1", false)),
            ("main", 1, vec![AgentEvent::Completed { text: None, usage: None }], ("next 2", true)),
            ("main", 2, text("late"), ("unwanted 3", true)),
        ] {
            let (word, changed) = heard(&mut response, agent, number, &events);
            assert_eq!((word.as_str(), changed), expected, "{agent} {number}");
        }
        assert!(response.agent_ended && response.is_over());
        assert_eq!(response.machine.response().text(), "a");
    }
}
