//! A conversation over real connections: what [`Turns`] decides is done here, and connections are made again.

use super::link::{Closed, Link, News};
use super::pause;
use super::render::Line;
use super::target::Channel;
use super::turns::{Act, Turns};
use crate::failure::Failure;
use crate::random;
use clawbridge_responses::SessionId;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// How long the bridge may take with what it does at once.
const DUE_WITHIN: Duration = Duration::from_secs(20);

/// After this time without a word a connection may be dead without anybody having noticed, and what is sent over it is lost. By the clock on the
/// wall: the others stand still while the machine sleeps.
const STALE_AFTER: Duration = Duration::from_secs(4 * 60);

/// Something that is to be shown.
#[derive(Debug)]
pub(super) enum Seen {
    /// Of a turn.
    Act(Act),
    /// Of the connection.
    Line(Line),
}

/// A conversation.
pub(super) struct Conversation {
    turns: Turns,
    channel: Channel,
    link: Option<Link>,
    is_open: bool,
    /// There was a connection: what was right once is tried again.
    was_open: bool,
    failures: u32,
    retry_at: Option<Instant>,
    due_at: Option<Instant>,
    heard_at: SystemTime,
}

impl Conversation {
    /// Connects.
    pub(super) fn new(channel: Channel, agent: String, session: SessionId) -> Conversation {
        Conversation {
            turns: Turns::new(agent, session),
            link: Some(Link::open(&channel)),
            channel,
            is_open: false,
            was_open: false,
            failures: 0,
            retry_at: None,
            due_at: None,
            heard_at: SystemTime::now(),
        }
    }

    pub(super) fn session(&self) -> &SessionId {
        self.turns.session()
    }

    pub(super) fn agent(&self) -> &str {
        self.turns.agent()
    }

    /// Whether a turn is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.turns.is_busy()
    }

    /// Whether the bridge answers.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Says something.
    pub(super) fn ask(&mut self, prompt: String) -> Vec<Seen> {
        if self.is_open && self.heard_at.elapsed().is_ok_and(|silence| silence > STALE_AFTER) {
            self.link = None;
            self.is_open = false;
            self.turns.lost();
        }
        let acts = self.turns.ask(prompt, random::idempotency_key());
        self.needs_connection();
        self.perform(acts)
    }

    /// Shows the session's latest answer.
    pub(super) fn catch_up(&mut self) -> Vec<Seen> {
        let acts = self.turns.catch_up();
        self.needs_connection();
        self.perform(acts)
    }

    /// Gives up what is under way.
    pub(super) fn cancel(&mut self) -> Vec<Seen> {
        let acts = self.turns.cancel();
        self.perform(acts)
    }

    /// Goes on with another agent, or in another session.
    pub(super) fn go_to(&mut self, agent: String, session: SessionId) -> Vec<Seen> {
        let acts = self.turns.go_to(agent, session);
        if self.turns.is_member() {
            self.needs_connection();
        }
        self.perform(acts)
    }

    /// Waits for what happens next. May be given up and called again at any time.
    ///
    /// # Errors
    /// There is no connection to be had, and trying again does not help.
    pub(super) async fn next(&mut self) -> Result<Vec<Seen>, Failure> {
        let (retry_at, due_at) = (self.retry_at, self.due_at);
        tokio::select! {
            news = of(&mut self.link) => self.told(news),
            () = at(retry_at) => {
                self.retry_at = None;
                self.link = Some(Link::open(&self.channel));
                Ok(Vec::new())
            }
            () = at(due_at) => {
                let acts = self.turns.stalled();
                Ok(self.perform(acts))
            }
        }
    }

    fn told(&mut self, news: News) -> Result<Vec<Seen>, Failure> {
        match news {
            News::Open => {
                let is_back = self.was_open && self.failures > 0;
                self.heard_at = SystemTime::now();
                (self.is_open, self.was_open) = (true, true);
                let acts = self.turns.connected();
                let mut seen: Vec<Seen> = is_back.then_some(Seen::Line(Line::Back)).into_iter().collect();
                seen.extend(self.perform(acts));
                Ok(seen)
            }
            News::Frame(frame) => {
                // Not when it opens: one that is closed at once is a failure too.
                self.failures = 0;
                self.heard_at = SystemTime::now();
                let acts = self.turns.frame(&frame);
                Ok(self.perform(acts))
            }
            News::Closed(Closed::Refused(failure)) => Err(failure),
            News::Closed(Closed::Unreachable(why)) if !self.was_open => {
                Err(Failure::new("CHANNEL_UNREACHABLE", format!("{}: {why}", self.channel.url)))
            }
            News::Closed(Closed::Unreachable(why) | Closed::Gone(why)) => Ok(self.left(&why)),
        }
    }

    fn perform(&mut self, acts: Vec<Act>) -> Vec<Seen> {
        let mut seen = Vec::new();
        for act in acts {
            match act {
                Act::Send(frame) => {
                    if let Some(link) = &self.link {
                        link.send(frame);
                    }
                }
                Act::Reconnect => seen.extend(self.left("this connection is of no more use")),
                Act::Event(_) | Act::Show(_) => seen.push(Seen::Act(act)),
            }
        }
        self.due_at = self.turns.is_waiting_for_bridge().then(|| Instant::now() + DUE_WITHIN);
        seen
    }

    /// The connection is not used any more. Another one is made at once where somebody waits, and with the next prompt otherwise.
    fn left(&mut self, why: &str) -> Vec<Seen> {
        self.link = None;
        self.is_open = false;
        self.due_at = None;
        self.turns.lost();
        if !self.turns.is_busy() && !self.turns.is_member() {
            return Vec::new();
        }
        self.failures += 1;
        let pause = pause::after(self.failures, random::chance());
        self.retry_at = Some(Instant::now() + pause);
        vec![Seen::Line(Line::Gone { why: why.to_owned(), pause })]
    }

    fn needs_connection(&mut self) {
        if self.link.is_none() && self.retry_at.is_none() {
            self.link = Some(Link::open(&self.channel));
        }
    }
}

async fn of(link: &mut Option<Link>) -> News {
    match link {
        Some(link) => link.news().await,
        None => std::future::pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
