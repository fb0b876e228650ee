//! Frames of connectors that are not ours: put in order, told apart, and applied by one at a time.
//!
//! Each frame is an invocation of its own, in whatever order, and says neither its number nor which turn it answers. So it is put into the agent's
//! inbox, with one write. Whoever then gets the agent's lease is the actor: it holds what is there back until the dialect's time is over, sorts it, and
//! applies it; everybody else is done. What a frame changes and its leaving the inbox are one transaction, so a crash applies none twice.

use crate::Channel;
use crate::public::ChannelError;
use crate::records::{AgentDoc, Inbound, KEEP, KEEP_AGENT, Lease, agent_id, agent_key};
use crate::responses::{Opened, Written, random_name};
use crate::store::{Change, Key, Versioned, Write, pause};
use clawbridge_clock::Timestamp;
use clawbridge_journal::Entry;
use clawbridge_responses::correlate::Belongs;
use clawbridge_responses::dialects::{Decoded, Dialect, Said, decode};
use clawbridge_responses::model::StreamEvent;
use clawbridge_responses::order::HeldBack;
use clawbridge_responses::{AgentEvent, ResponseId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many frames are read at a time, and applied in one transaction (which has 100 writes at most).
const PAGE: i32 = 200;
const ROUND: usize = 60;

/// How long an actor goes on before another one takes its place: less than API Gateway waits for an answer.
const SHIFT: Duration = Duration::from_secs(20);

/// How often the inbox is looked into while an end is held for late text.
const GLANCE: Duration = Duration::from_millis(100);

/// The longest an end is waited for that is held: others are the look-after's.
const HELD_END: Duration = Duration::from_secs(4);

/// How often a round is tried that others keep overtaking.
const TRIES: u32 = 24;

/// A frame in the actor's hands.
#[derive(Clone, Debug)]
pub(crate) struct InHand {
    part: String,
    connection: String,
    dialect: Dialect,
    said: Said,
}

/// What a round has changed.
struct Round {
    /// Responses that are over.
    over: Vec<ResponseId>,
    /// Those whose end is held, and until when.
    held: Vec<(ResponseId, Timestamp)>,
}

impl Channel {
    /// A frame comes.
    pub(crate) async fn take_in(&self, connection: &str, agent: &str, text: &str) -> Result<(), ChannelError> {
        let now = Timestamp::now();
        let part = format!("in#{:015}#{:08x}", now.millis(), fastrand::u32(..));
        let inbound = Inbound { at: now, connection: connection.to_owned(), text: text.to_owned() };
        self.store.keep(&Key::new(agent_id(agent), part), &inbound, now.plus(KEEP)).await?;
        self.act(agent).await
    }

    /// Works the inbox if nobody else does, until it is empty.
    pub(crate) async fn act(&self, agent: &str) -> Result<(), ChannelError> {
        let holder = random_name();
        let end = Timestamp::now().plus(SHIFT);
        while Timestamp::now() < end {
            if !self.take_lease(agent, &holder).await? {
                return Ok(());
            }
            let worked = self.shift(agent, &holder, end).await;
            self.give_lease(agent, &holder).await?;
            worked?;
            // What came between the last look and the lease's end was left to the actor by those who brought it.
            if self.inbox(agent, 1).await?.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn inbox(&self, agent: &str, limit: i32) -> Result<Vec<(String, Inbound)>, ChannelError> {
        self.store.list(&agent_id(agent), "in#", None, limit).await
    }

    async fn take_lease(&self, agent: &str, holder: &str) -> Result<bool, ChannelError> {
        let now = Timestamp::now();
        self.store
            .change::<AgentDoc, bool>(&agent_key(agent), KEEP_AGENT, now, |agent| {
                if Lease::is_held(agent.actor.as_ref(), holder, now) {
                    return Change::Leave(false);
                }
                agent.actor = Some(Lease::new(holder, now));
                Change::Write(true)
            })
            .await
    }

    async fn give_lease(&self, agent: &str, holder: &str) -> Result<(), ChannelError> {
        self.store
            .change::<AgentDoc, ()>(&agent_key(agent), KEEP_AGENT, Timestamp::now(), |agent| {
                if agent.actor.as_ref().is_none_or(|lease| lease.holder != holder) {
                    return Change::Leave(());
                }
                agent.actor = None;
                Change::Write(())
            })
            .await
    }

    /// An actor's work, for as long as there is some.
    async fn shift(&self, agent: &str, holder: &str, end: Timestamp) -> Result<(), ChannelError> {
        let mut held: HeldBack<InHand> = HeldBack::new(Dialect::Bare.hold_back(), ROUND);
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let mut ends: BTreeMap<ResponseId, Timestamp> = BTreeMap::new();
        loop {
            for (part, inbound) in self.inbox(agent, PAGE).await? {
                if !seen.insert(part.clone()) {
                    continue;
                }
                match decode(&inbound.text) {
                    Ok((dialect, Decoded::Said(said))) => {
                        let (sent_at, rank) = (said.sent_at, said.rank());
                        let frame = InHand { part, connection: inbound.connection, dialect, said };
                        held.offer(sent_at, rank, frame, inbound.at);
                    }
                    Ok((_, Decoded::Bridge(_))) | Err(_) => {
                        self.store.remove(&Key::new(agent_id(agent), part)).await?;
                    }
                }
            }
            let now = Timestamp::now();
            // A shift that ends leaves what is not due to the next actor, who finds it in the inbox.
            let due: Vec<InHand> = held.due(now).into_iter().map(|released| released.frame).collect();
            let ticked: Vec<ResponseId> = ends.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone()).collect();
            if !due.is_empty() || !ticked.is_empty() {
                for chunk in chunks(&due) {
                    let Some(round) = self.round(agent, holder, chunk, &ticked).await? else { return Ok(()) };
                    for id in &ticked {
                        ends.remove(id);
                    }
                    ends.extend(round.held);
                    for id in round.over {
                        ends.remove(&id);
                        self.settle(&id).await?;
                    }
                }
                continue;
            }
            let next = held.deadline().into_iter().chain(ends.values().copied()).min();
            let Some(next) = next.filter(|_| now < end) else { return Ok(()) };
            let wait = now.until(next).max(Duration::from_millis(1));
            tokio::time::sleep(if held.deadline().is_some() { wait } else { wait.min(GLANCE) }).await;
        }
    }

    /// Applies frames, in this order, and lets time pass for `ticked`. `None`: somebody else is the actor.
    async fn round(
        &self,
        agent: &str,
        holder: &str,
        frames: &[InHand],
        ticked: &[ResponseId],
    ) -> Result<Option<Round>, ChannelError> {
        let key = agent_key(agent);
        for attempt in 0..TRIES {
            let now = Timestamp::now();
            let found: Option<Versioned<AgentDoc>> = self.store.get(&key).await?;
            let Some(Versioned { mut document, version }) = found else { return Ok(None) };
            if document.actor.as_ref().is_none_or(|lease| lease.holder != holder) {
                return Ok(None);
            }
            document.actor = Some(Lease::new(holder, now));
            let (said, unplaced) = place(&mut document, frames);
            for (part_connection, bytes) in unplaced {
                let code = "unsolicited";
                let entry = Entry::FrameRefused { connection: &part_connection, role: "agent", code, bytes };
                clawbridge_journal::write(&entry);
            }
            let mut concerned: Vec<ResponseId> = said.iter().map(|(id, _)| id.clone()).collect();
            concerned.extend(ticked.iter().filter(|id| !said.iter().any(|(other, _)| other == *id)).cloned());
            let (mut writes, mut written) = (Vec::new(), Vec::new());
            let mut round = Round { over: Vec::new(), held: Vec::new() };
            for id in &concerned {
                let Some(mut opened) = self.open(id).await? else { continue };
                let events = said.iter().find(|(other, _)| other == id).map_or(&[][..], |(_, events)| events);
                let out = apply(&mut opened, events, ticked.contains(id), now);
                let response = &opened.response.document;
                if response.is_over() {
                    round.over.push(id.clone());
                    if response.agent_ended {
                        document.turns.over(id);
                    }
                } else if let Some(at) = response.machine.deadline().filter(|at| now.until(*at) <= HELD_END) {
                    round.held.push((id.clone(), at));
                }
                let (its, one) = Written::plan(opened, &out, holder, now);
                writes.extend(its);
                written.push(one);
            }
            writes.push(Write::over(key.clone(), &document, version, now.plus(KEEP_AGENT)));
            writes.extend(frames.iter().map(|frame| Write::Nothing { key: Key::new(agent_id(agent), &frame.part) }));
            if self.store.commit(writes).await? {
                for one in written {
                    self.deliver(one, holder).await;
                }
                return Ok(Some(round));
            }
            pause(attempt).await;
        }
        Err(ChannelError::Contended(key.id))
    }
}

/// At least one, even of nothing: time may have passed.
fn chunks(frames: &[InHand]) -> Vec<&[InHand]> {
    if frames.is_empty() { vec![frames] } else { frames.chunks(ROUND).collect() }
}

/// A response, and what was said in it.
type SaidIn = (ResponseId, Vec<AgentEvent>);

/// Which events belong to which response, in order; and the frames that nobody asked for, with their connection and how many events they had.
fn place(agent: &mut AgentDoc, frames: &[InHand]) -> (Vec<SaidIn>, Vec<(String, usize)>) {
    let mut said: Vec<SaidIn> = Vec::new();
    let mut unplaced = Vec::new();
    for frame in frames {
        if let Some(live) = agent.live.as_mut().filter(|live| live.connection == frame.connection) {
            live.dialect = frame.dialect;
        }
        match agent.turns.place(frame.dialect, frame.said.clone()) {
            Belongs::To(id, events) => match said.iter_mut().find(|(other, _)| *other == id) {
                Some((_, before)) => before.extend(events),
                None => said.push((id, events)),
            },
            Belongs::Push { events, .. } => unplaced.push((frame.connection.clone(), events.len())),
            Belongs::Unclear | Belongs::Nowhere => {}
        }
    }
    (said, unplaced)
}

fn apply(opened: &mut Opened, events: &[AgentEvent], ticks: bool, now: Timestamp) -> Vec<StreamEvent> {
    let response = &mut opened.response.document;
    let mut out = Vec::new();
    for event in events {
        response.agent_ended |= event.is_end();
        out.extend(response.machine.apply(event.clone(), now));
    }
    if ticks {
        out.extend(response.machine.tick(now));
    }
    out
}
