//! What the bridge itself asks agents.

use crate::Channel;
use crate::names::{self, Owner};
use crate::public::{AgentState, Asked, ChannelError, Ended, Prompt};
use crate::records::{ResponseDoc, Stage, Waiting, agent_id};
use crate::responses::Step;
use crate::turns::{MAX_SENT, Sending};
use clawbridge_clock::Timestamp;
use clawbridge_responses::ResponseId;
use clawbridge_responses::dialects::{Dialect, Turn};
use clawbridge_responses::machine::Machine;

impl Channel {
    /// Asks an agent. Idempotent by the response's id; a response that exists, of a user or of an earlier call, gets the task attached.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn ask(&self, prompt: Prompt, now: Timestamp) -> Result<Asked, ChannelError> {
        let Prompt { response: id, agent, session, input, settings, task } = prompt;
        if self.response(&id).await?.is_none() {
            if self.registry.agent(&agent).await?.is_none() {
                let message = format!("There is no agent {agent}.");
                return Ok(Asked::Refused { code: "agent_unknown".to_owned(), message });
            }
            let at_agent = names::at_agent(&agent, &Owner::Tasks, &session);
            let machine = Machine::new(id.clone(), at_agent.clone(), settings.clone(), Dialect::Bridge.policy(), now);
            let response = ResponseDoc {
                machine,
                agent: agent.clone(),
                owner: Owner::Tasks.as_str().to_owned(),
                called: session,
                connection: None,
                listeners: Vec::new(),
                stage: Stage::InSession,
                task: task.clone(),
                agent_ended: false,
                is_settled: false,
            };
            let turn = Turn { response: id.clone(), session: at_agent, at: now, input, settings };
            if self.put_new(&response, &turn).await? {
                self.look_later(&id, 0).await?;
            }
        }
        let attached = self
            .advance(&id, |response, _| {
                if response.agent != agent {
                    return Step::nothing(false);
                }
                let changed = task.is_some() && response.task != task;
                if changed {
                    response.task.clone_from(&task);
                }
                let events = response.machine.accept(true);
                Step { changed: changed || !events.is_empty(), events, result: true }
            })
            .await?;
        let response = match attached {
            Some((response, true)) => response,
            Some((_, false)) => {
                let message = "This response is another agent's.".to_owned();
                return Ok(Asked::Refused { code: "response_taken".to_owned(), message });
            }
            None => {
                let message = "The response is no longer kept.".to_owned();
                return Ok(Asked::Refused { code: "response_unknown".to_owned(), message });
            }
        };
        if response.is_over() {
            self.settle(&id).await?;
            return Ok(Asked::Over(Ended::of(response.machine.response())));
        }
        let sending = match response.stage {
            Stage::InConnection => Sending::Waits { online: self.agent(&agent).await?.live.is_some() },
            Stage::InSession => self.enter_session(&id).await?,
            Stage::Sent { .. } => Sending::Sent,
        };
        if let Some(ended) = self.ended(&id).await? {
            return Ok(Asked::Over(ended));
        }
        Ok(match sending {
            Sending::Sent => Asked::Sent,
            Sending::Waits { online } => Asked::Queued { online },
        })
    }

    /// What came of a response; `None` if it is under way or unknown.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn ended(&self, response: &ResponseId) -> Result<Option<Ended>, ChannelError> {
        let response = self.response(response).await?.filter(ResponseDoc::is_over);
        Ok(response.map(|response| Ended::of(response.machine.response())))
    }

    /// Nobody waits any more: `code` and `message` become the response's truthful end, unless it has ended. `None`: there is no such response.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn give_up(
        &self,
        response: &ResponseId,
        code: &str,
        message: &str,
        now: Timestamp,
    ) -> Result<Option<Ended>, ChannelError> {
        let given_up = self
            .advance(response, |response, _| {
                if response.is_over() {
                    return Step::nothing(());
                }
                response.agent_ended = !matches!(response.stage, Stage::Sent { .. });
                Step::with(response.machine.lost(code, message, now), ())
            })
            .await?;
        let Some((ended, ())) = given_up else { return Ok(None) };
        self.settle(response).await?;
        Ok(Some(Ended::of(ended.machine.response())))
    }

    /// How these agents are.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn agents_online(&self, names: &[String]) -> Result<Vec<AgentState>, ChannelError> {
        let mut states = Vec::with_capacity(names.len());
        for name in names {
            let agent = self.agent(name).await?;
            let count = |prefix| async move {
                let found: Vec<(String, Waiting)> = self.store.list(&agent_id(name), prefix, None, MAX_SENT).await?;
                Ok::<_, ChannelError>(found.len())
            };
            states.push(AgentState {
                name: name.clone(),
                online: agent.live.is_some(),
                dialect: agent.live.as_ref().map(|live| live.dialect.as_str()),
                since: agent.live.as_ref().map(|live| live.since).or(agent.away_since),
                under_way: count("sent#").await?,
                waiting: count("waiting#").await?,
            });
        }
        Ok(states)
    }
}
