//! What users send.

use crate::Channel;
use crate::bucket::{self, Admission};
use crate::gateway::Posted;
use crate::names::{self, Owner};
use crate::public::ChannelError;
use crate::records::{
    ConnectionDoc, KEEP, MAX_MEMBERS, ResponseDoc, SessionDoc, Stage, User, connection_key, response_key, session_key,
};
use crate::responses::Step;
use crate::store::{Change, pause};
use clawbridge_clock::Timestamp;
use clawbridge_journal::Entry;
use clawbridge_responses::frames::{self, Code, ErrorFrame};
use clawbridge_responses::session::Continues;
use clawbridge_responses::{MAX_DEPTH, ResponseId, SessionId};
use serde_json::{Value, json};

/// A frame of a user, by what it wants.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wants {
    /// `response.create`; the frame itself is read by `clawbridge_responses::frames`.
    Create,
    /// `response.resume`: the events after that one, and what follows.
    Resume { response: ResponseId, from: u64 },
    /// `response.cancel`.
    Cancel { response: ResponseId },
    /// `session.join`.
    Join { session: SessionId, agent: Option<String> },
    /// `session.leave`.
    Leave { session: SessionId, agent: Option<String> },
}

/// Reads the frames that Open Responses does not have. Everything else is left to whoever reads `response.create`.
pub(crate) fn wants(text: &str) -> Result<Wants, ErrorFrame> {
    if text.len() > frames::MAX_FRAME_BYTES || !is_shallow(text) {
        return Ok(Wants::Create);
    }
    let Ok(frame) = serde_json::from_str::<Value>(text) else { return Ok(Wants::Create) };
    let response = || -> Result<ResponseId, ErrorFrame> {
        let id = frame.get("response_id").ok_or_else(|| ErrorFrame::missing("response_id"))?;
        let id = id.as_str().and_then(|id| ResponseId::new(id).ok());
        id.ok_or_else(|| invalid("response_id", "It must be the id of a response."))
    };
    let session = || -> Result<SessionId, ErrorFrame> {
        let id = frame.get("session_id").ok_or_else(|| ErrorFrame::missing("session_id"))?;
        let id = id.as_str().and_then(|id| SessionId::new(id).ok());
        id.ok_or_else(|| invalid("session_id", "It must be the name of a session."))
    };
    let agent = || match frame.get("agent") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => Ok(Some(name.clone())),
        Some(_) => Err(invalid("agent", "It must be an agent's name.")),
    };
    Ok(match frame.get("type").and_then(Value::as_str) {
        Some("response.resume") => {
            let from = match frame.get("starting_after") {
                None | Some(Value::Null) => 0,
                // Before the first one stands -1, for clients that have seen nothing.
                Some(Value::Number(number)) if number.as_i64() == Some(-1) => 0,
                Some(value) => value
                    .as_u64()
                    .map(|number| number.saturating_add(1))
                    .ok_or_else(|| invalid("starting_after", "It must be a sequence number."))?,
            };
            Wants::Resume { response: response()?, from }
        }
        Some("response.cancel") => Wants::Cancel { response: response()? },
        Some("session.join") => Wants::Join { session: session()?, agent: agent()? },
        Some("session.leave") => Wants::Leave { session: session()?, agent: agent()? },
        _ => Wants::Create,
    })
}

/// Whether brackets are nested no deeper than is read. Those in strings are counted too: what is refused for them is looked at again.
fn is_shallow(text: &str) -> bool {
    let mut depth = 0_usize;
    text.bytes().all(|byte| {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth <= MAX_DEPTH
    })
}

pub(crate) fn invalid(param: &str, message: &str) -> ErrorFrame {
    ErrorFrame::about(Code::InvalidValue, param, message)
}

pub(crate) fn not_found(param: &str, what: &str) -> ErrorFrame {
    ErrorFrame::about(Code::NotFound, param, format!("There is no such {what}, or it is not yours."))
}

/// What became of a user's frame besides its effects.
pub(crate) enum Refusal {
    /// They are told.
    Frame(ErrorFrame),
    /// The bridge could not do its part.
    Ours(ChannelError),
}

impl From<ErrorFrame> for Refusal {
    fn from(frame: ErrorFrame) -> Refusal {
        Refusal::Frame(frame)
    }
}

impl From<ChannelError> for Refusal {
    fn from(error: ChannelError) -> Refusal {
        Refusal::Ours(error)
    }
}

impl Channel {
    /// A frame of a user.
    pub(crate) async fn user_frame(&self, connection: &str, user: &User, text: &str) -> Result<(), ChannelError> {
        let done = match wants(text) {
            Err(frame) => Err(frame.into()),
            Ok(Wants::Create) => self.create(connection, user, text).await,
            Ok(other) => match self.admit(connection).await? {
                Some(Admission::Admitted) => self.other(connection, user, other).await,
                Some(refused) => return self.flooded(connection, refused, text.len()).await,
                None => return Ok(()),
            },
        };
        match done {
            Ok(()) => Ok(()),
            Err(Refusal::Frame(frame)) => {
                self.refused_frame(connection, frame.code.as_str(), text.len());
                self.gateway.post(connection, &frame.to_frame()).await?;
                Ok(())
            }
            Err(Refusal::Ours(error)) => {
                let frame = ErrorFrame::new(Code::ServerError, "The bridge could not do its part. Try again.");
                drop(self.gateway.post(connection, &frame.to_frame()).await);
                Err(error)
            }
        }
    }

    pub(crate) fn refused_frame(&self, connection: &str, code: &str, bytes: usize) {
        clawbridge_journal::write(&Entry::FrameRefused { connection, role: "user", code, bytes });
    }

    async fn other(&self, connection: &str, user: &User, wants: Wants) -> Result<(), Refusal> {
        match wants {
            Wants::Create => Ok(()),
            Wants::Resume { response, from } => self.resume(connection, user, &response, from).await,
            Wants::Cancel { response } => self.cancel(user, &response).await,
            Wants::Join { session, agent } => self.join(connection, user, &session, agent.as_deref()).await,
            Wants::Leave { session, agent } => self.leave(connection, user, &session, agent.as_deref()).await,
        }
    }

    /// One frame of the connection's bucket. `None`: there is no such connection.
    async fn admit(&self, connection: &str) -> Result<Option<Admission>, ChannelError> {
        let now = Timestamp::now();
        self.store
            .change::<Option<ConnectionDoc>, _>(&connection_key(connection), KEEP, now, |connection| {
                let Some(connection) = connection else { return Change::Leave(None) };
                Change::Write(Some(connection.bucket.take(bucket::USER, now)))
            })
            .await
    }

    /// A frame too many.
    pub(crate) async fn flooded(
        &self,
        connection: &str,
        admission: Admission,
        bytes: usize,
    ) -> Result<(), ChannelError> {
        match admission {
            Admission::Admitted | Admission::Dropped => {}
            Admission::Warned => {
                self.refused_frame(connection, Code::RateLimitExceeded.as_str(), bytes);
                let message = "Too many messages at once; wait a second. Whoever goes on is disconnected.";
                let frame = ErrorFrame::new(Code::RateLimitExceeded, message).to_frame();
                self.gateway.post(connection, &frame).await?;
            }
            Admission::Cut => self.gateway.close(connection).await?,
        }
        Ok(())
    }

    /// Sends what came after a sequence number, and what follows as it comes.
    ///
    /// While the past is sent, nobody else sends this connection anything of the response; it takes part from the moment at which, by the table, there
    /// is nothing that it lacks.
    async fn resume(&self, connection: &str, user: &User, id: &ResponseId, from: u64) -> Result<(), Refusal> {
        let known = self.response(id).await?.filter(|response| response.is_of(user));
        if known.is_none() {
            return Err(not_found("response_id", "response").into());
        }
        self.advance(id, |response, _| {
            response.catches_up(connection);
            Step::with(Vec::new(), ())
        })
        .await?;
        let mut next = from;
        let key = response_key(id);
        for attempt in 0.. {
            let found = self.store.get::<ResponseDoc>(&key).await?;
            let Some(mut found) = found else { return Err(not_found("response_id", "response").into()) };
            let to = found.document.machine.next_sequence();
            if next >= to {
                found.document.hears(connection, next);
                let expires_at = found.document.expires_at();
                if self.store.put(&key, &found.document, found.version, expires_at).await? {
                    return Ok(());
                }
                pause(attempt).await;
                continue;
            }
            for frame in self.frames(id, next, to).await? {
                if self.gateway.post(connection, &frame).await? != Posted::Sent {
                    return Ok(());
                }
            }
            next = to;
        }
        Ok(())
    }

    async fn cancel(&self, user: &User, id: &ResponseId) -> Result<(), Refusal> {
        let not_there = || not_found("response_id", "response");
        let response = self.response(id).await?.filter(|response| response.is_of(user)).ok_or_else(not_there)?;
        if response.is_over() {
            return Err(invalid("response_id", "The response is over already.").into());
        }
        self.advance(id, |response, _| {
            if response.is_over() {
                return Step::nothing(());
            }
            response.agent_ended = !matches!(response.stage, Stage::Sent { .. });
            let events = response.machine.cancel();
            Step::with(events, ())
        })
        .await?;
        Ok(self.settle(id).await?)
    }

    /// The session as it is called at the agent, if the user may take part in it.
    pub(crate) async fn session_of(
        &self,
        user: &User,
        session: &SessionId,
        agent: Option<&str>,
    ) -> Result<(String, SessionId), Refusal> {
        let all = self.agent_names(agent.unwrap_or_default()).await?;
        let agent = names::agent_of_model(agent.unwrap_or_default(), &all, |name| user.may_ask(name)).map_err(
            |mut frame| {
                frame.param = Some("agent".to_owned());
                frame
            },
        )?;
        let owner = self.owner_of(user, session)?;
        let at_agent = names::at_agent(&agent, &owner, session);
        Ok((agent, at_agent))
    }

    /// To whom a session of that name belongs, if the user may take part in it.
    pub(crate) fn owner_of(&self, user: &User, session: &SessionId) -> Result<Owner, ErrorFrame> {
        match names::group(session) {
            None => Ok(user.owner()),
            Some(group) if user.may_enter(group) => Ok(Owner::Group),
            Some(_) => Err(not_found("session_id", "group")),
        }
    }

    async fn join(
        &self,
        connection: &str,
        user: &User,
        session: &SessionId,
        agent: Option<&str>,
    ) -> Result<(), Refusal> {
        let (agent, at_agent) = self.session_of(user, session, agent).await?;
        let key = session_key(&at_agent);
        let joined = self
            .store
            .change::<SessionDoc, _>(&key, KEEP, Timestamp::now(), |session| {
                let latest = session.line.first().cloned().or_else(|| session.latest.clone());
                if !session.members.iter().any(|member| member == connection) {
                    if session.members.len() >= MAX_MEMBERS {
                        return Change::Leave(Err(()));
                    }
                    session.members.push(connection.to_owned());
                }
                Change::Write(Ok(latest))
            })
            .await?;
        let Ok(latest) = joined else {
            let message = format!("{MAX_MEMBERS} connections take part in this session already.");
            return Err(ErrorFrame::new(Code::QueueFull, message).into());
        };
        let mut answer = json!({"type": "session.joined", "session_id": session, "agent": agent});
        if let Some(latest) = latest {
            answer["latest_response_id"] = json!(latest);
        }
        self.gateway.post(connection, &answer.to_string()).await?;
        Ok(())
    }

    async fn leave(
        &self,
        connection: &str,
        user: &User,
        session: &SessionId,
        agent: Option<&str>,
    ) -> Result<(), Refusal> {
        let (_, at_agent) = self.session_of(user, session, agent).await?;
        let key = session_key(&at_agent);
        self.leave_session(&key, &[connection.to_owned()]).await?;
        let first = self.store.get::<SessionDoc>(&key).await?.and_then(|found| found.document.line.first().cloned());
        if let Some(first) = first {
            // It hears no more of what is under way, unless it has asked for it.
            self.advance(&first, |response, _| {
                let before = response.listeners.len();
                if response.connection.as_deref() != Some(connection) {
                    response.listeners.retain(|listener| listener.connection != connection);
                }
                let changed = response.listeners.len() < before;
                Step { events: Vec::new(), changed, result: () }
            })
            .await?;
        }
        let answer = json!({"type": "session.left", "session_id": session});
        self.gateway.post(connection, &answer.to_string()).await?;
        Ok(())
    }

    /// What a turn continues, if it may: the response, and whether this connection has just made it.
    pub(crate) async fn continued(
        &self,
        user: &User,
        document: &ConnectionDoc,
        previous: Option<&ResponseId>,
    ) -> Result<Option<ResponseDoc>, Refusal> {
        let (id, is_latest) = match document.chain.resolve(previous)? {
            Continues::Nothing => return Ok(None),
            Continues::Latest(id) => (id, true),
            Continues::AskStore(id) => (id, false),
        };
        let found = self.response(&id).await?.filter(|response| response.is_of(user));
        let may = |response: &ResponseDoc| {
            let resource = response.machine.response();
            // One that is under way is continued in its session's line.
            is_latest || resource.settings.store || !response.is_over()
        };
        found.filter(may).map(Some).ok_or_else(|| ErrorFrame::previous_response_not_found(id.as_str()).into())
    }

    /// Whether the connection is as old as connections get.
    pub(crate) fn check_age(&self, document: &ConnectionDoc, now: Timestamp) -> Result<(), ErrorFrame> {
        if document.opened_at.until(now) < self.pace.age {
            return Ok(());
        }
        Err(ErrorFrame::connection_limit_reached())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart_and_what_they_lack_is_named() {
        let id = ResponseId::new("resp_1").unwrap();
        let resume = |from| Ok(Wants::Resume { response: id.clone(), from });
        let session = SessionId::new("group:team").unwrap();
        for (text, expected) in [
            (r#"{"type":"response.resume","response_id":"resp_1","starting_after":4}"#, resume(5)),
            (r#"{"type":"response.resume","response_id":"resp_1","starting_after":-1}"#, resume(0)),
            (r#"{"type":"response.resume","response_id":"resp_1"}"#, resume(0)),
            (r#"{"type":"response.cancel","response_id":"resp_1"}"#, Ok(Wants::Cancel { response: id.clone() })),
            (
                r#"{"type":"session.join","session_id":"group:Team","agent":"main"}"#,
                Ok(Wants::Join { session: session.clone(), agent: Some("main".to_owned()) }),
            ),
            (r#"{"type":"session.leave","session_id":"group:team"}"#, Ok(Wants::Leave { session, agent: None })),
            (r#"{"type":"response.create","input":"x"}"#, Ok(Wants::Create)),
            ("not JSON", Ok(Wants::Create)),
            (&"[".repeat(100_000), Ok(Wants::Create)),
        ] {
            assert_eq!(wants(text), expected, "{}", &text[..text.len().min(90)]);
        }
        for (text, param) in [
            (r#"{"type":"response.resume"}"#, "response_id"),
            (r#"{"type":"response.resume","response_id":"a b"}"#, "response_id"),
            (r#"{"type":"response.resume","response_id":"resp_1","starting_after":"x"}"#, "starting_after"),
            (r#"{"type":"response.cancel","response_id":7}"#, "response_id"),
            (r#"{"type":"session.join"}"#, "session_id"),
            (r#"{"type":"session.join","session_id":"s","agent":1}"#, "agent"),
        ] {
            assert_eq!(wants(text).unwrap_err().param.as_deref(), Some(param), "{text}");
        }
    }
}
