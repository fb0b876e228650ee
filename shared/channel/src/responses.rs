//! A response is changed, and those who hear it get its events in order.
//!
//! **A change** ([`Channel::advance`]) is one transaction: the response over the version that was read, its new events in the log, and, if nobody
//! else is at it, the right to post them.
//!
//! **Posting** ([`Channel::deliver`]) is done by one at a time for each response. Whoever has changed a response while another is posting waits until
//! that one is done, or its time is over, and then goes on from where the note says that it is. So events come in order from however many
//! invocations; and if one dies between posting and noting, the next posts again what the note does not know of: a repeat has the same sequence
//! number, and there is never a gap.

use crate::Channel;
use crate::gateway::Posted;
use crate::public::ChannelError;
use crate::records::{
    KEEP, Lease, LogDoc, PostedDoc, ResponseDoc, SessionDoc, log_key, posted_key, response_id, response_key,
    session_key,
};
use crate::store::{Change, Key, Versioned, Write, pause};
use clawbridge_clock::Timestamp;
use clawbridge_journal::Entry;
use clawbridge_responses::ResponseId;
use clawbridge_responses::model::StreamEvent;
use futures_util::future::join_all;
use std::time::Duration;

/// How often a change is tried that others keep overtaking.
const TRIES: u32 = 24;

/// How long a turn to post is waited for at most; longer than a lease.
const MAX_WAIT: Duration = Duration::from_secs(8);

/// How many items of a log are read at a time.
const PAGE: i32 = 50;

/// What a step has made of a response.
pub(crate) struct Step<R> {
    pub(crate) events: Vec<StreamEvent>,
    /// Whether there is something to write.
    pub(crate) changed: bool,
    pub(crate) result: R,
}

impl<R> Step<R> {
    pub(crate) fn nothing(result: R) -> Step<R> {
        Step { events: Vec::new(), changed: false, result }
    }

    pub(crate) fn with(events: Vec<StreamEvent>, result: R) -> Step<R> {
        Step { events, changed: true, result }
    }
}

/// A response with the note of how far it was posted.
pub(crate) struct Opened {
    pub(crate) response: Versioned<ResponseDoc>,
    pub(crate) posted: Versioned<PostedDoc>,
}

/// A change that was written.
pub(crate) struct Written {
    pub(crate) response: ResponseDoc,
    posted: Versioned<PostedDoc>,
    /// The sequence number of the first of `frames`.
    first: u64,
    frames: Vec<String>,
    /// Whether the right to post came with it.
    claimed: bool,
}

impl Written {
    /// The writes of a changed response, and what will have been written when they took place.
    pub(crate) fn plan(opened: Opened, events: &[StreamEvent], holder: &str, now: Timestamp) -> (Vec<Write>, Written) {
        let Opened { response, mut posted } = opened;
        let (document, version) = (response.document, response.version);
        let id = document.id().clone();
        let expires_at = document.expires_at();
        let mut writes = vec![Write::over(response_key(&id), &document, version, expires_at)];
        let first = events.first().map_or(document.machine.next_sequence(), |event| event.sequence_number);
        let log = LogDoc::of(events);
        let mut claimed = false;
        if !events.is_empty() {
            writes.push(Write::same(log_key(&id, first), &log, expires_at));
            if posted.document.next == first && !Lease::is_held(posted.document.lease.as_ref(), holder, now) {
                posted.document.lease = Some(Lease::new(holder, now));
                writes.push(Write::over(posted_key(&id), &posted.document, posted.version, expires_at));
                posted.version += 1;
                claimed = true;
            }
        }
        (writes, Written { response: document, posted, first, frames: log.frames, claimed })
    }
}

impl Channel {
    pub(crate) async fn response(&self, id: &ResponseId) -> Result<Option<ResponseDoc>, ChannelError> {
        Ok(self.store.get::<ResponseDoc>(&response_key(id)).await?.map(|found| found.document))
    }

    /// The response with its note, in one call.
    pub(crate) async fn open(&self, id: &ResponseId) -> Result<Option<Opened>, ChannelError> {
        let (response, posted) =
            self.store.get_both::<ResponseDoc, PostedDoc>(&response_key(id), &posted_key(id)).await?;
        let none = || Versioned { document: PostedDoc::default(), version: 0 };
        Ok(response.map(|response| Opened { response, posted: posted.unwrap_or_else(none) }))
    }

    /// Changes a response by `step`, which may be called several times, and posts the events. `None`: there is no such response.
    pub(crate) async fn advance<R>(
        &self,
        id: &ResponseId,
        mut step: impl FnMut(&mut ResponseDoc, Timestamp) -> Step<R>,
    ) -> Result<Option<(ResponseDoc, R)>, ChannelError> {
        let holder = random_name();
        for attempt in 0..TRIES {
            let now = Timestamp::now();
            let Some(mut opened) = self.open(id).await? else { return Ok(None) };
            let Step { events, changed, result } = step(&mut opened.response.document, now);
            if !changed {
                return Ok(Some((opened.response.document, result)));
            }
            let (writes, written) = Written::plan(opened, &events, &holder, now);
            if self.store.commit(writes).await? {
                let response = written.response.clone();
                self.deliver(written, &holder).await;
                return Ok(Some((response, result)));
            }
            pause(attempt).await;
        }
        Err(ChannelError::Contended(response_id(id)))
    }

    /// Posts what is written and was not posted. Where that fails, it is written all the same, and the look-after posts it.
    pub(crate) async fn deliver(&self, written: Written, holder: &str) {
        let Written { response, posted, first, frames, claimed } = written;
        if frames.is_empty() {
            return;
        }
        let done = if claimed {
            self.post_all(&response, posted, first, &frames).await
        } else {
            self.repair(response.id(), holder).await
        };
        if let Err(error) = done {
            journal(&error, response.id().as_str());
        }
    }

    /// Posts what the log has beyond the note, when it is this one's turn.
    pub(crate) async fn repair(&self, id: &ResponseId, holder: &str) -> Result<(), ChannelError> {
        let begun = Timestamp::now();
        loop {
            let now = Timestamp::now();
            let Some(Opened { response, mut posted }) = self.open(id).await? else { return Ok(()) };
            let next = response.document.machine.next_sequence();
            if posted.document.next >= next {
                return Ok(());
            }
            if Lease::is_held(posted.document.lease.as_ref(), holder, now) {
                if begun.until(now) > MAX_WAIT {
                    // Others keep at it; the look-after sees to the rest.
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(15)).await;
                continue;
            }
            posted.document.lease = Some(Lease::new(holder, now));
            let expires_at = response.document.expires_at();
            if !self.store.put(&posted_key(id), &posted.document, posted.version, expires_at).await? {
                continue;
            }
            posted.version += 1;
            let first = posted.document.next;
            let frames = self.frames(id, first, next).await?;
            self.post_all(&response.document, posted, first, &frames).await?;
        }
    }

    /// The frames of a response's events from `from` on and before `to`.
    pub(crate) async fn frames(&self, id: &ResponseId, from: u64, to: u64) -> Result<Vec<String>, ChannelError> {
        let mut frames = Vec::new();
        let mut after = None;
        loop {
            let page: Vec<(String, LogDoc)> = self.store.list(&response_id(id), "log#", after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(frames) };
            after = Some(last.clone());
            for (part, log) in &page {
                let first: u64 = part.trim_start_matches("log#").parse().unwrap_or(u64::MAX);
                let numbered = (first..).zip(&log.frames);
                frames
                    .extend(numbered.filter(|(number, _)| (from..to).contains(number)).map(|(_, frame)| frame.clone()));
            }
        }
    }

    /// Sends the frames to everybody who hears the response, notes it, and lets go of the right to post.
    async fn post_all(
        &self,
        response: &ResponseDoc,
        mut posted: Versioned<PostedDoc>,
        first: u64,
        frames: &[String],
    ) -> Result<(), ChannelError> {
        let listeners = response.listeners.iter().filter(|listener| !listener.catches_up);
        let sent = join_all(listeners.map(|listener| async move {
            let missing = (first..).zip(frames).filter(|(number, _)| *number >= listener.from);
            for (_, frame) in missing {
                match self.gateway.post(&listener.connection, frame).await {
                    Ok(Posted::Sent) => {}
                    Ok(Posted::Gone | Posted::TooSlow) => return Some(listener.connection.clone()),
                    Err(error) => {
                        // Cut off, so that it comes back and resumes: the others have theirs, and it would have a gap.
                        journal(&error, &listener.connection);
                        drop(self.gateway.close(&listener.connection).await);
                        return Some(listener.connection.clone());
                    }
                }
            }
            None
        }))
        .await;
        let gone: Vec<String> = sent.into_iter().flatten().collect();
        posted.document.next = first + frames.len() as u64;
        posted.document.lease = None;
        let id = response.id();
        // Where somebody took over, because it took too long, the note is theirs.
        self.store.put(&posted_key(id), &posted.document, posted.version, response.expires_at()).await?;
        if !gone.is_empty() {
            self.forget_listeners(id, response, &gone).await?;
        }
        Ok(())
    }

    /// These connections are gone: they hear neither the response nor what follows in its session.
    async fn forget_listeners(
        &self,
        id: &ResponseId,
        response: &ResponseDoc,
        gone: &[String],
    ) -> Result<(), ChannelError> {
        let key = response_key(id);
        for attempt in 0..TRIES {
            let Some(mut found) = self.store.get::<ResponseDoc>(&key).await? else { break };
            found.document.listeners.retain(|listener| !gone.contains(&listener.connection));
            if self.store.put(&key, &found.document, found.version, found.document.expires_at()).await? {
                break;
            }
            pause(attempt).await;
        }
        self.leave_session(&session_key(response.session()), gone).await
    }

    pub(crate) async fn leave_session(&self, session: &Key, gone: &[String]) -> Result<(), ChannelError> {
        self.store
            .change::<SessionDoc, ()>(session, KEEP, Timestamp::now(), |session| {
                let before = session.members.len();
                session.members.retain(|member| !gone.contains(member));
                if session.members.len() < before { Change::Write(()) } else { Change::Leave(()) }
            })
            .await
    }
}

fn journal(error: &ChannelError, subject: &str) {
    let reason = error.to_string();
    clawbridge_journal::write(&Entry::BridgeFailed { code: error.code(), reason: &reason, subject });
}

/// A name that nobody else has. No secret.
pub(crate) fn random_name() -> String {
    format!("{:032x}", fastrand::u128(..))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::testing::response;
    use clawbridge_responses::AgentEvent;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + ms)
    }

    /// What a change writes, by the parts of its keys, and whether it may post.
    fn plan(posted: PostedDoc, events: bool) -> (Vec<String>, bool) {
        let mut document = response("main");
        let events = if events { document.machine.apply(AgentEvent::Began, at(0)) } else { Vec::new() };
        let response = Versioned { document, version: 3 };
        let opened = Opened { response, posted: Versioned { document: posted, version: 1 } };
        let (writes, written) = Written::plan(opened, &events, "me", at(0));
        let part = |write: &Write| match write {
            Write::Over { key, version, .. } => format!("{}@{version}", key.part),
            Write::Same { key, .. } | Write::Nothing { key } => key.part.clone(),
        };
        (writes.iter().map(part).collect(), written.claimed)
    }

    #[test]
    fn the_right_to_post_comes_with_the_change_unless_somebody_else_is_at_it_or_behind() {
        let lease = |holder: &str, ms| Some(Lease { holder: holder.to_owned(), until: at(ms) });
        let all = ["-@3", "log#0000000000", "posted@1"].as_slice();
        for (next, lease, parts, claimed) in [
            (0, None, all, true),
            (0, lease("other", 0), all, true),
            (0, lease("me", 1), all, true),
            (0, lease("other", 1), &all[..2], false),
            (5, None, &all[..2], false),
        ] {
            assert_eq!(
                plan(PostedDoc { next, lease }, true),
                (parts.iter().map(ToString::to_string).collect(), claimed)
            );
        }
        assert_eq!(plan(PostedDoc::default(), false), (vec!["-@3".to_owned()], false));
    }
}
