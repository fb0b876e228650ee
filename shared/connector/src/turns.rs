//! The turns that this process works on.
//!
//! A turn is begun once, however often it comes; turns of a session follow each other; only so many run at once. Of each answer one frame is in
//! flight, and it is sent again when its `ack` does not come: the bridge may have failed to store it, and its connection may be gone.

use crate::link::ConnectionId;
use crate::timing::Timing;
use clawbridge_responses::dialects::bridge::{FromConnector, Holds};
use clawbridge_responses::dialects::{Outbox, Turn};
use clawbridge_responses::{AgentEvent, ResponseId, SessionId};
use std::collections::VecDeque;
use std::time::Duration;

/// How many turns are held, those that wait included. More are answered with `agent_busy`.
pub const MAX_HELD: usize = 1000;

/// How many turns that are over are remembered.
const MAX_OVER: usize = 4096;

/// An answer of which so much waits for the bridge is not read on, bytes; and from where on it is.
const BACKLOG: (usize, usize) = (512 * 1024, 64 * 1024);

/// An `ack` that came twice looks like one that asks for the frame again. So the frame is not sent again at once.
const SOONEST: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
enum Stage {
    Waiting(Box<Turn>),
    Running,
    Ended,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    via: ConnectionId,
    at: Duration,
    wait: Duration,
    again_at: Duration,
}

#[derive(Clone, Debug)]
struct UnderWay {
    response: ResponseId,
    session: SessionId,
    outbox: Outbox,
    stage: Stage,
    sent: Option<Sent>,
    /// When it is time for a sign of life.
    quiet_until: Duration,
    is_paced: bool,
}

/// What became of a turn that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It will be begun.
    New,
    /// It came before.
    Known,
    /// There are too many: it is answered with a failure.
    TooMany,
}

/// The turns, in the order in which they came.
#[derive(Clone, Debug)]
pub struct Turns {
    timing: Timing,
    max_running: usize,
    held: Vec<UnderWay>,
    over: VecDeque<ResponseId>,
}

impl Turns {
    /// None yet. `max_running`: how many may run at once.
    #[must_use]
    pub fn new(timing: Timing, max_running: usize) -> Turns {
        Turns { timing, max_running: max_running.max(1), held: Vec::new(), over: VecDeque::new() }
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// How many run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.held.iter().filter(|turn| matches!(turn.stage, Stage::Running)).count()
    }

    /// A turn comes.
    pub fn take(&mut self, turn: Box<Turn>, max_frame_bytes: usize, now: Duration) -> Taken {
        if self.over.contains(&turn.response) || self.held.iter().any(|held| held.response == turn.response) {
            return Taken::Known;
        }
        let mut outbox = Outbox::new(turn.response.clone(), max_frame_bytes);
        let is_full = self.held.len() >= MAX_HELD;
        if is_full {
            outbox.push(AgentEvent::Failed {
                code: "agent_busy".to_owned(),
                message: format!("The connector holds {MAX_HELD} turns already."),
            });
        }
        self.held.push(UnderWay {
            response: turn.response.clone(),
            session: turn.session.clone(),
            outbox,
            stage: if is_full { Stage::Ended } else { Stage::Waiting(turn) },
            sent: None,
            quiet_until: now,
            is_paced: false,
        });
        if is_full { Taken::TooMany } else { Taken::New }
    }

    /// Those that are to be begun now.
    pub fn start(&mut self) -> Vec<Box<Turn>> {
        let mut running = self.running();
        let mut started = Vec::new();
        for at in 0..self.held.len() {
            if running >= self.max_running {
                break;
            }
            // A turn that waits earlier in its session comes first.
            let session = &self.held[at].session;
            let is_behind =
                self.held[..at].iter().any(|other| other.session == *session && !matches!(other.stage, Stage::Ended));
            if is_behind {
                continue;
            }
            if let Stage::Waiting(turn) = &self.held[at].stage {
                started.push(turn.clone());
                self.held[at].stage = Stage::Running;
                running += 1;
            }
        }
        started
    }

    /// The agent says something. Whether the reading of this answer is to pause or to go on, where that changes; and its end, if this is it.
    pub fn said(&mut self, response: &ResponseId, events: Vec<AgentEvent>) -> (Option<bool>, Option<AgentEvent>) {
        let Some(turn) = self.held.iter_mut().find(|turn| turn.response == *response) else { return (None, None) };
        if !matches!(turn.stage, Stage::Running) {
            return (None, None);
        }
        let mut end = None;
        for event in events {
            if event.is_end() && end.is_none() {
                turn.stage = Stage::Ended;
                end = Some(event.clone());
            }
            turn.outbox.push(event);
        }
        (turn.pace(), end)
    }

    /// The bridge has stored a frame. Whether reading is to go on.
    pub fn acknowledged(&mut self, response: &ResponseId, next: u64) -> Option<bool> {
        let at = self.held.iter().position(|turn| turn.response == *response)?;
        let turn = &mut self.held[at];
        let before = turn.outbox.holds().next;
        turn.outbox.acknowledged(next);
        if turn.outbox.holds().next != before {
            turn.sent = None;
        } else if let Some(sent) = turn.sent.as_mut().filter(|_| next == before) {
            sent.again_at = sent.again_at.min(sent.at + SOONEST);
        }
        if turn.outbox.is_done() {
            let turn = self.held.remove(at);
            self.forget(turn.response);
            return None;
        }
        turn.pace()
    }

    /// Nobody wants it any more. Whether it runs.
    pub fn cancel(&mut self, response: &ResponseId) -> bool {
        let at = self.held.iter().position(|turn| turn.response == *response);
        let turn = at.map(|at| self.held.remove(at));
        // The turn itself may come after its `cancel`.
        self.forget(response.clone());
        turn.is_some_and(|turn| matches!(turn.stage, Stage::Running))
    }

    fn forget(&mut self, response: ResponseId) {
        if self.over.contains(&response) {
            return;
        }
        if self.over.len() == MAX_OVER {
            self.over.pop_front();
        }
        self.over.push_back(response);
    }

    /// Every turn that has not ended ends like this. Those that ran.
    pub fn end_all(&mut self, code: &str, message: &str) -> Vec<ResponseId> {
        let mut ran = Vec::new();
        for turn in self.held.iter_mut().filter(|turn| !matches!(turn.stage, Stage::Ended)) {
            if matches!(turn.stage, Stage::Running) {
                ran.push(turn.response.clone());
            }
            turn.stage = Stage::Ended;
            turn.outbox.push(AgentEvent::Failed { code: code.to_owned(), message: message.to_owned() });
        }
        ran
    }

    /// For `hello`.
    #[must_use]
    pub fn holds(&self) -> Vec<Holds> {
        self.held.iter().map(|turn| turn.outbox.holds()).collect()
    }

    /// A connection is gone: what was on the way there is sent again.
    pub fn lost(&mut self, via: ConnectionId) {
        for sent in self.held.iter_mut().filter_map(|turn| turn.sent.as_mut()).filter(|sent| sent.via == via) {
            sent.again_at = Duration::ZERO;
        }
    }

    /// Whether nothing is on the way there.
    #[must_use]
    pub fn is_quiet(&self, via: ConnectionId) -> bool {
        !self.held.iter().filter_map(|turn| turn.sent.as_ref()).any(|sent| sent.via == via)
    }

    /// What is to be sent now.
    pub fn frames(&mut self, via: ConnectionId, now: Duration) -> Vec<FromConnector> {
        let timing = self.timing;
        self.held.iter_mut().filter_map(|turn| turn.frame(via, now, &timing)).collect()
    }

    /// When [`Turns::frames`] has something, if nothing else happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.held.iter().map(|turn| turn.sent.map_or(turn.quiet_until, |sent| sent.again_at)).min()
    }
}

impl UnderWay {
    fn pace(&mut self) -> Option<bool> {
        let backlog = self.outbox.backlog();
        let wanted = if self.is_paced { backlog > BACKLOG.1 } else { backlog > BACKLOG.0 };
        (std::mem::replace(&mut self.is_paced, wanted) != wanted).then_some(wanted)
    }

    fn frame(&mut self, via: ConnectionId, now: Duration, timing: &Timing) -> Option<FromConnector> {
        let frame = match &mut self.sent {
            Some(sent) if now < sent.again_at => return None,
            Some(sent) => {
                let wait = (sent.wait * 2).min(timing.again * 8);
                *sent = Sent { via, at: now, wait, again_at: now + wait };
                self.outbox.again()
            }
            None => {
                let frame = match self.outbox.take() {
                    None if now >= self.quiet_until => self.outbox.take_sign_of_life(),
                    taken => taken,
                }?;
                self.sent = Some(Sent { via, at: now, wait: timing.again, again_at: now + timing.again });
                Some(frame)
            }
        };
        self.quiet_until = now + timing.sign_of_life;
        frame
    }
}
