//! Connections and turns together: what happens goes in, what is to be done comes out.

use crate::link::{ConnectionId, Link, State, Unopened, Want};
use crate::notice::{Level, Notice, Step};
use crate::timing::{Moment, Timing};
use crate::turns::{Taken, Turns};
use clawbridge_responses::dialects::Turn;
use clawbridge_responses::dialects::bridge::{FromConnector, ToConnector};
use clawbridge_responses::{AgentEvent, ResponseId};
use std::time::Duration;

/// What a frame may take until a bridge has said so, bytes.
const FRAME_BYTES: usize = 32 * 1024;

/// What happens.
#[derive(Clone, Debug)]
pub enum Input {
    /// A socket is open.
    Opened(ConnectionId),
    /// It could not be opened.
    NotOpened(ConnectionId, Unopened),
    /// A frame.
    Received(ConnectionId, Box<ToConnector>),
    /// A message that is no frame of the bridge; what is wrong with it.
    Unreadable(ConnectionId, &'static str),
    /// A pong, or a ping of the other side.
    Pong(ConnectionId),
    /// A socket is closed, and why.
    Closed(ConnectionId, String),
    /// The agent says something. The last has an end.
    Said(ResponseId, Vec<AgentEvent>),
    /// Somebody wants the connector to end; the second time, at once.
    Stop,
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Action {
    /// Open a socket.
    Open(ConnectionId),
    /// Send a frame.
    Send(ConnectionId, Box<FromConnector>),
    /// Send a ping.
    Ping(ConnectionId),
    /// Close the socket with 1000, when what was to be sent is sent.
    Close(ConnectionId),
    /// Drop the socket.
    Cut(ConnectionId),
    /// Ask the gateway.
    Begin(Box<Turn>),
    /// Drop the request to the gateway.
    Abort(ResponseId),
    /// Read its answer no further (true), or on (false).
    Pause(ResponseId, bool),
    /// Tell somebody.
    Tell(Notice),
}

#[derive(Clone, Copy, Debug)]
struct Stopping {
    until: Duration,
    last: Duration,
    is_hastened: bool,
}

/// The connector without its sockets.
#[derive(Clone, Debug)]
pub struct Core {
    timing: Timing,
    connector: String,
    instance: String,
    link: Link,
    turns: Turns,
    max_frame_bytes: usize,
    stopping: Option<Stopping>,
    told: Option<(State, Option<Duration>)>,
    is_finished: bool,
}

impl Core {
    /// `connector`: program and version. `instance`: a random name of this process. `max_running`: turns at once.
    #[must_use]
    pub fn new(connector: &str, instance: &str, timing: Timing, max_running: usize) -> Core {
        Core {
            timing,
            connector: connector.to_owned(),
            instance: instance.to_owned(),
            link: Link::new(timing),
            turns: Turns::new(timing, max_running),
            max_frame_bytes: FRAME_BYTES,
            stopping: None,
            told: None,
            is_finished: false,
        }
    }

    /// Whether everything is said and every connection left.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// When a [`Input::Tick`] is due, if nothing else happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let turns = self.link.current().and_then(|_| self.turns.deadline());
        let stop = self.stopping.map(|stopping| if stopping.is_hastened { stopping.last } else { stopping.until });
        self.link.deadline().into_iter().chain(turns).chain(stop).min()
    }

    /// Something happens. `random` decides delays.
    pub fn step(&mut self, input: Input, now: Moment, random: u64) -> Vec<Action> {
        let mut out = Vec::new();
        if self.is_finished {
            return out;
        }
        let mut wants = Vec::new();
        match input {
            Input::Opened(id) => self.link.opened(id, now, &mut wants),
            Input::NotOpened(id, unopened) => self.link.not_opened(id, unopened, now, random),
            Input::Received(id, frame) => {
                self.link.heard(id, true, now);
                self.received(id, *frame, now, &mut out);
            }
            Input::Unreadable(id, what) => {
                self.link.heard(id, false, now);
                out.push(Action::Tell(Notice::Line(
                    Level::Warn,
                    format!("a message of the bridge was dropped: {what}"),
                )));
            }
            Input::Pong(id) => self.link.heard(id, false, now),
            Input::Closed(id, why) => {
                self.link.closed(id, &why, now, random);
                self.turns.lost(id);
                out.push(Action::Tell(Notice::Line(Level::Debug, format!("connection {id} is closed: {why}"))));
            }
            Input::Said(response, events) => self.said(response, events, &mut out),
            Input::Stop => self.stop(now, &mut out),
            Input::Tick => {}
        }
        self.hasten(now, &mut out);
        for turn in self.turns.start() {
            let (response, session) = (turn.response.clone(), Some(turn.session.clone()));
            out.push(Action::Tell(Notice::Turn { response, session, step: Step::Begun }));
            out.push(Action::Begin(turn));
        }
        let turns = &self.turns;
        for lost in self.link.tick(now, random, |id| turns.is_quiet(id), &mut wants) {
            self.turns.lost(lost);
        }
        if let Some(id) = self.link.current() {
            for frame in self.turns.frames(id, now.up) {
                out.push(Action::Send(id, Box::new(frame)));
            }
        }
        self.leave(now, &mut wants);
        out.extend(wants.into_iter().flat_map(|want| self.wanted(want)).collect::<Vec<_>>());
        self.tell_state(now, &mut out);
        out
    }

    fn received(&mut self, id: ConnectionId, frame: ToConnector, now: Moment, out: &mut Vec<Action>) {
        match frame {
            ToConnector::Welcome { until, beat_seconds, max_frame_bytes } => {
                self.max_frame_bytes = max_frame_bytes;
                let beat = Duration::from_secs(u64::from(beat_seconds));
                // What was in flight on a connection that is gone is marked already; on one that is being left it may still arrive.
                self.link.welcomed(id, until, beat, now);
            }
            // It is not answered: the bridge keeps it for whoever connects next.
            ToConnector::Turn(_) if self.stopping.is_some() => {}
            ToConnector::Turn(turn) => {
                let (response, session) = (turn.response.clone(), Some(turn.session.clone()));
                match self.turns.take(turn, self.max_frame_bytes, now.up) {
                    Taken::Known => {}
                    Taken::New => out.push(Action::Tell(Notice::Turn { response, session, step: Step::Taken })),
                    Taken::TooMany => {
                        let step = Step::Ended("failed", Some("agent_busy".to_owned()));
                        out.push(Action::Tell(Notice::Turn { response, session, step }));
                    }
                }
            }
            ToConnector::Ack { response, next } => {
                if let Some(pause) = self.turns.acknowledged(&response, next) {
                    out.push(Action::Pause(response, pause));
                }
            }
            ToConnector::Cancel { response } => {
                if self.turns.cancel(&response) {
                    out.push(Action::Abort(response.clone()));
                }
                out.push(Action::Tell(Notice::Turn { response, session: None, step: Step::Cancelled }));
            }
            ToConnector::Drain { .. } => self.link.drain(id, now),
            ToConnector::Beat {} => {}
        }
    }

    fn said(&mut self, response: ResponseId, events: Vec<AgentEvent>, out: &mut Vec<Action>) {
        let (pause, end) = self.turns.said(&response, events);
        if let Some(pause) = pause {
            out.push(Action::Pause(response.clone(), pause));
        }
        let step = match end {
            Some(AgentEvent::Completed { .. }) => Step::Ended("completed", None),
            Some(AgentEvent::Incomplete { reason }) => Step::Ended("incomplete", Some(reason)),
            Some(AgentEvent::Failed { code, .. }) => Step::Ended("failed", Some(code)),
            _ => return,
        };
        out.push(Action::Tell(Notice::Turn { response, session: None, step }));
    }

    fn stop(&mut self, now: Moment, out: &mut Vec<Action>) {
        let time = if self.stopping.is_some() { Duration::ZERO } else { self.timing.stop };
        let until = now.up + time;
        let last = until + self.timing.last_words;
        self.stopping = Some(Stopping { until, last, is_hastened: false });
        if !self.turns.is_empty() {
            let text = format!("{} turns are finished first, for {} s at most", self.turns.len(), time.as_secs_f32());
            out.push(Action::Tell(Notice::Line(Level::Info, text)));
        }
    }

    /// When it is stopping: what takes too long ends like this.
    fn hasten(&mut self, now: Moment, out: &mut Vec<Action>) {
        if let Some(stopping) = self.stopping.filter(|stopping| now.up >= stopping.until && !stopping.is_hastened) {
            let message = "The connector was stopped before the agent had answered.";
            out.extend(self.turns.end_all("connector_stopped", message).into_iter().map(Action::Abort));
            self.stopping = Some(Stopping { is_hastened: true, ..stopping });
        }
    }

    /// When it is stopping: every connection is left when nothing remains to be said, or nobody takes it.
    fn leave(&mut self, now: Moment, wants: &mut Vec<Want>) {
        if self.stopping.is_some_and(|stopping| self.turns.is_empty() || now.up >= stopping.last) {
            self.link.leave(wants);
            self.is_finished = true;
        }
    }

    fn wanted(&mut self, want: Want) -> Vec<Action> {
        match want {
            Want::Open(id) => vec![Action::Open(id)],
            Want::Hello(id) => {
                let (connector, instance) = (self.connector.clone(), self.instance.clone());
                let hello = FromConnector::Hello { connector, instance, holds: self.turns.holds() };
                vec![Action::Send(id, Box::new(hello))]
            }
            Want::Beat(id) => vec![Action::Send(id, Box::new(FromConnector::Beat {})), Action::Ping(id)],
            Want::Leave(id) => vec![Action::Send(id, Box::new(FromConnector::Leaving {})), Action::Close(id)],
            Want::Cut(id) => vec![Action::Cut(id)],
        }
    }

    fn tell_state(&mut self, now: Moment, out: &mut Vec<Action>) {
        let mut state = self.link.state();
        if state == State::Connected && self.stopping.is_some() {
            state = State::Draining;
        }
        let open_at = self.link.open_at().filter(|at| *at > now.up);
        // An attempt that begins is no news after the delay before it was told; the next failure is.
        let is_news = match self.told {
            None => true,
            Some((told, _)) if told != state => true,
            Some((_, at)) => open_at.is_some() && open_at != at,
        };
        if !is_news {
            return;
        }
        self.told = Some((state, open_at));
        let (why, failures) = self.link.trouble();
        let why = why.map(str::to_owned).filter(|_| state != State::Disconnected);
        let again_in = open_at.map(|at| at.saturating_sub(now.up));
        out.push(Action::Tell(Notice::State { state, why, failures, again_in }));
    }
}
