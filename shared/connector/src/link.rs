//! The connections to the bridge: at most one that is being opened, one that lives, and those that are being left.
//!
//! ```text
//!            ┌── back-off ◀── failed, lost, dead ──┐
//! (start) ─▶ Opening ── open: hello ─▶ Greeting ── welcome ─▶ Live ── another lives ─▶ Leaving ── nothing on the way ─▶ (closed)
//! ```
//!
//! A connection is handed over when the bridge asks for it (`drain`) and before AWS cuts it: the next one is opened first, and the one before is
//! left when the bridge has acknowledged what was sent there.

use crate::timing::{Moment, Timing};
use clawbridge_clock::Timestamp;
use std::fmt;
use std::time::Duration;

/// One connection of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unopened {
    /// For a person, with what to do. Without secrets.
    pub why: String,
    /// When it is worth another attempt.
    pub again: Again,
}

/// When another attempt is worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Soon: by the back-off.
    Soon,
    /// Not before so long.
    After(Duration),
    /// When somebody has mended something: slowly.
    Mended,
}

/// What the link wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Open a connection.
    Open(ConnectionId),
    /// Say `hello` there.
    Hello(ConnectionId),
    /// Send a `beat` and a ping.
    Beat(ConnectionId),
    /// Say `leaving`, and close it with 1000.
    Leave(ConnectionId),
    /// Drop it.
    Cut(ConnectionId),
}

/// How the connector stands with the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no connection, and there will be none.
    Disconnected,
    /// The first one is being opened.
    Connecting,
    /// There is one.
    Connected,
    /// There is one, and it is being given up: handed over to the next, or finished.
    Draining,
    /// There was one, or an attempt at one, and there will be another.
    Reconnecting,
}

impl State {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Disconnected => "disconnected",
            State::Connecting => "connecting",
            State::Connected => "connected",
            State::Draining => "draining",
            State::Reconnecting => "reconnecting",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    Greeting { again_at: Option<Duration>, until: Duration },
    Live,
    Leaving { until: Duration },
}

#[derive(Clone, Debug)]
struct Connection {
    id: ConnectionId,
    phase: Phase,
    opened_at: Duration,
    /// When anything was heard, pongs too; and when the bridge itself was.
    heard_at: Duration,
    answered_at: Duration,
    beat_every: Duration,
    beat_at: Duration,
    hand_over_at: Option<Duration>,
}

/// All connections.
#[derive(Clone, Debug)]
pub struct Link {
    timing: Timing,
    connections: Vec<Connection>,
    next_id: u64,
    open_at: Option<Duration>,
    failures: u32,
    ever_failed: bool,
    is_over: bool,
    why: Option<String>,
}

impl Link {
    /// The first connection is opened with the first [`Link::tick`].
    #[must_use]
    pub fn new(timing: Timing) -> Link {
        Link {
            timing,
            connections: Vec::new(),
            next_id: 1,
            open_at: Some(Duration::ZERO),
            failures: 0,
            ever_failed: false,
            is_over: false,
            why: None,
        }
    }

    /// The connection that frames go to.
    #[must_use]
    pub fn current(&self) -> Option<ConnectionId> {
        self.connections.iter().find(|connection| connection.phase == Phase::Live).map(|connection| connection.id)
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> State {
        let is_next = self.open_at.is_some()
            || self.connections.iter().any(|c| matches!(c.phase, Phase::Opening | Phase::Greeting { .. }));
        let is_leaving = self.connections.iter().any(|c| matches!(c.phase, Phase::Leaving { .. }));
        match self.current() {
            _ if self.is_over => State::Disconnected,
            Some(_) if is_next || is_leaving => State::Draining,
            Some(_) => State::Connected,
            None if self.ever_failed => State::Reconnecting,
            None => State::Connecting,
        }
    }

    /// Why the last connection was lost, and how many attempts have failed since.
    #[must_use]
    pub fn trouble(&self) -> (Option<&str>, u32) {
        (self.why.as_deref(), self.failures)
    }

    /// When the next connection is to be opened, if that is settled.
    #[must_use]
    pub fn open_at(&self) -> Option<Duration> {
        self.open_at
    }

    fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id == id)
    }

    /// The socket is open.
    pub fn opened(&mut self, id: ConnectionId, now: Moment, wants: &mut Vec<Want>) {
        let welcome = self.timing.welcome;
        match self.find(id) {
            Some(connection) => {
                let again_at = Some(now.up + welcome / 2);
                connection.phase = Phase::Greeting { again_at, until: now.up + welcome };
                connection.opened_at = now.up;
                connection.heard_at = now.up;
                connection.answered_at = now.up;
                wants.push(Want::Hello(id));
            }
            None => wants.push(Want::Cut(id)),
        }
    }

    /// There is no socket.
    pub fn not_opened(&mut self, id: ConnectionId, unopened: Unopened, now: Moment, random: u64) {
        if self.find(id).is_some() {
            self.connections.retain(|connection| connection.id != id);
            self.failed(unopened, now, random);
        }
    }

    fn failed(&mut self, unopened: Unopened, now: Moment, random: u64) {
        let delay = self.timing.delay(self.failures, random);
        let delay = match unopened.again {
            Again::Soon => delay,
            Again::After(after) => delay.max(after),
            Again::Mended => self.timing.slow_delay(random),
        };
        self.failures = self.failures.saturating_add(1);
        self.ever_failed = true;
        self.why = Some(unopened.why);
        self.open_at = Some(now.up + delay);
    }

    /// The socket is closed, by whomever.
    pub fn closed(&mut self, id: ConnectionId, why: &str, now: Moment, random: u64) {
        let Some(at) = self.connections.iter().position(|connection| connection.id == id) else { return };
        let lost = self.connections.remove(at);
        let is_next = self.connections.iter().any(|c| matches!(c.phase, Phase::Opening | Phase::Greeting { .. }));
        match lost.phase {
            Phase::Leaving { .. } => {}
            _ if is_next || self.is_over => {
                self.ever_failed = true;
                self.why = Some(why.to_owned());
            }
            // An attempt may have been put off already, for a hand-over; without a connection it is not.
            _ => self.failed(Unopened { why: why.to_owned(), again: Again::Soon }, now, random),
        }
    }

    /// Something was heard: `answered`, from the bridge itself; otherwise a pong.
    pub fn heard(&mut self, id: ConnectionId, answered: bool, now: Moment) {
        if let Some(connection) = self.find(id) {
            connection.heard_at = now.up;
            if answered {
                connection.answered_at = now.up;
            }
        }
    }

    /// The bridge says `welcome`. Whether the connection has become the current one.
    pub fn welcomed(&mut self, id: ConnectionId, until: Timestamp, beat: Duration, now: Moment) -> bool {
        let timing = self.timing;
        let Some(connection) = self.find(id) else { return false };
        if !matches!(connection.phase, Phase::Greeting { .. }) {
            return false;
        }
        connection.phase = Phase::Live;
        connection.beat_every = timing.heartbeat.min(beat.max(Duration::from_secs(1)));
        connection.beat_at = now.up + connection.beat_every;
        let left = now.at.until(until);
        // So little is no plan but a clock that is wrong; `drain` will say.
        let left = if left < Duration::from_secs(60) { timing.hand_over } else { left - left / 12 };
        connection.hand_over_at.get_or_insert(now.up + left.min(timing.hand_over));
        for other in self.connections.iter_mut().filter(|other| other.id != id && other.phase == Phase::Live) {
            other.phase = Phase::Leaving { until: now.up + timing.leaving };
        }
        self.failures = 0;
        self.why = None;
        self.open_at = None;
        true
    }

    /// The bridge wants another connection.
    pub fn drain(&mut self, id: ConnectionId, now: Moment) {
        let between = self.timing.between_hand_overs;
        if let Some(connection) = self.find(id) {
            connection.hand_over_at = Some(now.up.max(connection.opened_at + between));
        }
    }

    /// Looks at the clock. `is_quiet` says of a connection whether nothing is on the way there.
    pub fn tick(
        &mut self,
        now: Moment,
        random: u64,
        is_quiet: impl Fn(ConnectionId) -> bool,
        wants: &mut Vec<Want>,
    ) -> Vec<ConnectionId> {
        if self.is_over {
            return Vec::new();
        }
        let mut dead: Vec<(ConnectionId, String)> = Vec::new();
        let mut left: Vec<ConnectionId> = Vec::new();
        let mut hand_over = false;
        for connection in &mut self.connections {
            let id = connection.id;
            match &mut connection.phase {
                Phase::Opening => continue,
                Phase::Greeting { until, .. } if now.up >= *until => {
                    dead.push((id, "the bridge took the connection and did not answer the greeting".to_owned()));
                    continue;
                }
                Phase::Greeting { again_at, .. } => {
                    if again_at.is_some_and(|at| now.up >= at) {
                        *again_at = None;
                        wants.push(Want::Hello(id));
                    }
                    continue;
                }
                Phase::Leaving { until } if now.up >= *until || is_quiet(id) => {
                    left.push(id);
                    continue;
                }
                Phase::Live | Phase::Leaving { .. } => {}
            }
            let dead_after = self.timing.dead_after;
            if now.up >= connection.heard_at + dead_after {
                dead.push((id, format!("nothing was heard for {} s", dead_after.as_secs_f32())));
            } else if now.up >= connection.answered_at + dead_after {
                let why = "the bridge has answered no beat for {} s, though the connection itself works";
                dead.push((id, why.replace("{}", &dead_after.as_secs_f32().to_string())));
            } else if now.up >= connection.beat_at {
                connection.beat_at = now.up + connection.beat_every;
                wants.push(Want::Beat(id));
            }
            hand_over |= connection.phase == Phase::Live && connection.hand_over_at.is_some_and(|at| now.up >= at);
        }
        for id in &left {
            wants.push(Want::Leave(*id));
            self.connections.retain(|connection| connection.id != *id);
        }
        let mut lost = left;
        for (id, why) in dead {
            wants.push(Want::Cut(id));
            self.closed(id, &why, now, random);
            lost.push(id);
        }
        let is_next = self.connections.iter().any(|c| matches!(c.phase, Phase::Opening | Phase::Greeting { .. }));
        if hand_over && !is_next && self.open_at.is_none() && self.current().is_some() {
            self.open_at = Some(now.up);
        }
        if !is_next && self.open_at.is_some_and(|at| now.up >= at) {
            self.open_at = None;
            let id = ConnectionId(self.next_id);
            self.next_id += 1;
            self.connections.push(Connection {
                id,
                phase: Phase::Opening,
                opened_at: now.up,
                heard_at: now.up,
                answered_at: now.up,
                beat_every: self.timing.heartbeat,
                beat_at: now.up + self.timing.heartbeat,
                hand_over_at: None,
            });
            wants.push(Want::Open(id));
        }
        lost
    }

    /// It is over: every connection is left.
    pub fn leave(&mut self, wants: &mut Vec<Want>) {
        for connection in self.connections.drain(..) {
            wants.push(match connection.phase {
                Phase::Opening | Phase::Greeting { .. } => Want::Cut(connection.id),
                Phase::Live | Phase::Leaving { .. } => Want::Leave(connection.id),
            });
        }
        self.open_at = None;
        self.is_over = true;
    }

    /// When [`Link::tick`] has something to do, if nothing else happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let is_next = self.connections.iter().any(|c| matches!(c.phase, Phase::Opening | Phase::Greeting { .. }));
        let of = |connection: &Connection| match connection.phase {
            Phase::Opening => None,
            Phase::Greeting { again_at, until } => Some(again_at.unwrap_or(until)),
            Phase::Live | Phase::Leaving { .. } => {
                let dead_at = connection.heard_at.min(connection.answered_at) + self.timing.dead_after;
                let mut at = dead_at.min(connection.beat_at);
                if let Phase::Leaving { until } = connection.phase {
                    at = at.min(until);
                } else if let Some(hand_over) = connection.hand_over_at.filter(|_| !is_next && self.open_at.is_none()) {
                    at = at.min(hand_over);
                }
                Some(at)
            }
        };
        self.connections.iter().filter_map(of).chain(self.open_at.filter(|_| !is_next)).min()
    }
}
