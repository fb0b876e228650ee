//! Receiving, and what a receipt handle allows: deleting a message and changing how long it stays hidden.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde_json::json;
use uuid::Uuid;

use super::error::{Code, SqsError};
use super::message::{self, Attributes};
use super::queue::{self, Queue};
use super::{QueueCounts, ReceivedMessage, Sqs, send};
use crate::api::ACCOUNT_ID;
use crate::clock::Millis;

/// The longest visibility timeout, in seconds, counted from the receive. Source: API_ChangeMessageVisibility.
const MAX_VISIBILITY: i64 = 43_200;

/// What a receiver asks for.
pub(super) struct Receive {
    pub(super) queue: String,
    pub(super) max: i64,
    /// Milliseconds; the queue's own wait if there is none.
    pub(super) wait: Option<Millis>,
    /// Seconds; the queue's own timeout if there is none.
    pub(super) visibility: Option<i64>,
}

/// A message in the hands of a receiver.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) message_id: String,
    pub(super) receipt_handle: String,
    pub(super) body: String,
    pub(super) attributes: Attributes,
    pub(super) system: BTreeMap<String, String>,
}

impl Delivery {
    pub(super) fn into_public(self) -> Result<ReceivedMessage, SqsError> {
        Ok(ReceivedMessage {
            message_id: self.message_id,
            receipt_handle: self.receipt_handle,
            md5_of_body: message::md5_of(self.body.as_bytes()),
            body: self.body,
            attributes: self.system,
            message_attributes: json!(self.attributes),
        })
    }
}

/// What a look at a queue gave.
pub(super) struct Look {
    pub(super) deliveries: Vec<Delivery>,
    /// The queue's `ReceiveMessageWaitTimeSeconds`, in milliseconds.
    wait: Millis,
    /// When the next hidden message can be seen.
    next: Option<Millis>,
}

impl Sqs {
    /// Receives as soon as there is something, within the wait. Ends early and empty when `stop` does.
    pub(super) async fn receive_until(
        &self,
        request: Receive,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<Vec<Delivery>, SqsError> {
        if !(1..=10).contains(&request.max) {
            return Err(SqsError::value("MaxNumberOfMessages", request.max, "Must be between 1 and 10, if provided."));
        }
        if let Some(wait) = request.wait.filter(|wait| !(0..=20_000).contains(wait)) {
            return Err(SqsError::value("WaitTimeSeconds", wait / 1_000, "Must be >= 0 and <= 20, if provided."));
        }
        if let Some(seconds) = request.visibility {
            check_visibility(seconds)?;
        }
        let name = queue::name_of(&request.queue).to_owned();
        let start = self.shared.clock.now();
        // Watching starts before looking, so that a send between the two is not missed.
        let mut changed = self.watch(&name);
        let mut stop = std::pin::pin!(stop);
        loop {
            changed.mark_unchanged();
            let (max, visibility, queue) = (request.max, request.visibility, name.clone());
            let look = self.run(move |sqs| sqs.look(&queue, max, visibility)).await?;
            let deadline = start.saturating_add(request.wait.unwrap_or(look.wait));
            if !look.deliveries.is_empty() || self.shared.clock.now() >= deadline {
                return Ok(look.deliveries);
            }
            let until = look.next.map_or(deadline, |next| next.min(deadline));
            tokio::select! {
                // The sender is kept for good, so this only ends with a change.
                _ = changed.changed() => {}
                () = self.shared.clock.sleep_until(until) => {}
                () = &mut stop => return Ok(Vec::new()),
            }
        }
    }

    pub(super) fn look(&self, queue: &str, max: i64, visibility: Option<i64>) -> Result<Look, SqsError> {
        let now = self.shared.clock.now();
        let mut given_up = BTreeSet::new();
        let look = self.shared.store.write(|tx| {
            let queue = Queue::load(tx, queue)?;
            let deliveries = take(tx, &queue, max, visibility, now, &mut given_up)?;
            let next = tx
                .prepare_cached("SELECT min(visible_at) FROM messages WHERE queue = ?1 AND visible_at > ?2")?
                .query_row((&queue.name, now), |row| row.get(0))?;
            Ok::<_, SqsError>(Look { deliveries, wait: queue.settings.wait() * 1_000, next })
        })?;
        for target in given_up {
            self.wake(&target);
        }
        Ok(look)
    }

    pub(super) fn delete_messages(&self, queue: &str, handles: &[String]) -> Result<(), SqsError> {
        let now = self.shared.clock.now();
        self.shared.store.write(|tx| {
            let queue = Queue::load(tx, queue)?;
            handles.iter().try_for_each(|handle| delete(tx, &queue, handle, now))
        })?;
        // On a FIFO queue this lets the group go on.
        self.wake(queue::name_of(queue));
        Ok(())
    }

    /// Deletes each that can be deleted, in one write, and says why the others could not.
    pub(super) fn delete_each(&self, queue: &str, handles: &[String]) -> Result<Vec<Result<(), SqsError>>, SqsError> {
        let now = self.shared.clock.now();
        let results = self.shared.store.write(|tx| {
            let queue = Queue::load(tx, queue)?;
            each(handles, |handle| delete(tx, &queue, handle, now))
        })?;
        self.wake(queue::name_of(queue));
        Ok(results)
    }

    /// Hides each message for so many seconds from now, in one write, and says why some could not be.
    pub(super) fn change_visibility_of_each(
        &self,
        queue: &str,
        changes: &[(String, i64)],
    ) -> Result<Vec<Result<(), SqsError>>, SqsError> {
        let now = self.shared.clock.now();
        let results = self.shared.store.write(|tx| {
            let queue = Queue::load(tx, queue)?;
            each(changes, |(handle, seconds)| change_visibility(tx, &queue, handle, *seconds, now))
        })?;
        self.wake(queue::name_of(queue));
        Ok(results)
    }
}

/// Runs `work` on each; the disk's errors end it all, since nothing will be written.
fn each<T>(items: &[T], work: impl Fn(&T) -> Result<(), SqsError>) -> Result<Vec<Result<(), SqsError>>, SqsError> {
    items
        .iter()
        .map(|item| match work(item) {
            Err(error @ SqsError::Storage(_)) => Err(error),
            result => Ok(result),
        })
        .collect()
}

/// A message that could be delivered, as far as the decision needs it.
struct Candidate {
    id: i64,
    sent: Millis,
    receives: i64,
}

/// Delivers up to `max` messages. Those past their retention go away, those received too often go to the dead-letter
/// queue, whose name is then put into `given_up`.
fn take(
    tx: &Transaction<'_>,
    queue: &Queue,
    max: i64,
    visibility: Option<i64>,
    now: Millis,
    given_up: &mut BTreeSet<String>,
) -> Result<Vec<Delivery>, SqsError> {
    // A dead-letter queue that is gone, or is the queue itself, takes nothing: the message is delivered once more.
    let redrive = match queue.settings.redrive() {
        Some(redrive) if redrive.target != queue.name && Queue::find(tx, &redrive.target)?.is_some() => Some(redrive),
        _ => None,
    };
    let expired_before = now.saturating_sub(queue.settings.retention());
    let chosen = loop {
        let candidates = candidates(tx, queue, max, now)?;
        let mut all_good = true;
        for candidate in &candidates {
            if candidate.sent <= expired_before {
                tx.prepare_cached("DELETE FROM messages WHERE id = ?1")?.execute([candidate.id])?;
            } else if let Some(redrive) = redrive.as_ref().filter(|redrive| candidate.receives >= redrive.max_receives)
            {
                give_up(tx, queue, candidate.id, &redrive.target, now)?;
                given_up.insert(redrive.target.clone());
            } else {
                continue;
            }
            all_good = false;
        }
        // Otherwise others take the places of those that went away; each round removes at least one, so this ends.
        if all_good {
            break candidates;
        }
    };
    let hidden_until = now.saturating_add(visibility.unwrap_or(queue.settings.visibility_timeout()) * 1_000);
    chosen.iter().map(|candidate| deliver(tx, queue, candidate.id, hidden_until, now)).collect()
}

fn candidates(tx: &Transaction<'_>, queue: &Queue, max: i64, now: Millis) -> Result<Vec<Candidate>, SqsError> {
    let sql = if queue.is_fifo() {
        // In order, and nothing of a group that has a message in flight or an earlier one that cannot be seen yet.
        "SELECT id, sent, receives FROM messages m WHERE queue = ?1 AND visible_at <= ?2 AND NOT EXISTS (
            SELECT 1 FROM messages e WHERE e.queue = m.queue AND e.group_id = m.group_id AND e.visible_at > ?2
                AND (e.receipt IS NOT NULL OR e.id < m.id)
         ) ORDER BY id LIMIT ?3"
    } else {
        "SELECT id, sent, receives FROM messages WHERE queue = ?1 AND visible_at <= ?2 ORDER BY visible_at, id LIMIT ?3"
    };
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map((&queue.name, now, max), |row| {
        Ok(Candidate { id: row.get(0)?, sent: row.get(1)?, receives: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Moves a message to the dead-letter queue, as a new row so that its receipt handles end.
///
/// It keeps its id, receive count and, on standard queues, the time it was sent. On FIFO queues its message id becomes
/// its deduplication id. Source: Amazon SQS, "Using dead-letter queues" and "Configure a dead-letter queue redrive".
fn give_up(tx: &Transaction<'_>, queue: &Queue, id: i64, target: &str, now: Millis) -> Result<(), SqsError> {
    tx.prepare_cached(
        "INSERT INTO messages (queue, message_id, body, attributes, trace, group_id, dedup_id, dead_letter_of, sent, visible_at,
                               receives, first_received)
         SELECT ?2, message_id, body, attributes, trace, group_id, iif(?3, message_id, dedup_id), ?4, iif(?3, ?5, sent), ?5,
                receives, first_received
         FROM messages WHERE id = ?1",
    )?
    .execute(params![id, target, queue.is_fifo(), queue.arn(), now])?;
    tx.prepare_cached("DELETE FROM messages WHERE id = ?1")?.execute([id])?;
    Ok(())
}

fn deliver(
    tx: &Transaction<'_>,
    queue: &Queue,
    id: i64,
    hidden_until: Millis,
    now: Millis,
) -> Result<Delivery, SqsError> {
    let receipt = Uuid::new_v4().simple().to_string();
    let mut statement = tx.prepare_cached(
        "UPDATE messages SET receives = receives + 1, first_received = coalesce(first_received, ?2), last_received = ?2,
                             visible_at = ?3, receipt = ?4
         WHERE id = ?1
         RETURNING message_id, body, attributes, trace, group_id, dedup_id, dead_letter_of, sent, receives, first_received",
    )?;
    let (message_id, body, attributes, system) =
        statement.query_row(params![id, now, hidden_until, receipt], |row| {
            let attributes: String = row.get(2)?;
            Ok((row.get::<_, String>(0)?, row.get(1)?, attributes, system_attributes(row, queue, id)?))
        })?;
    Ok(Delivery {
        message_id,
        receipt_handle: handle(&queue.name, id, &receipt),
        body,
        attributes: serde_json::from_str(&attributes)
            .map_err(|error| SqsError::Storage(format!("a message's attributes: {error}")))?,
        system,
    })
}

fn system_attributes(row: &Row<'_>, queue: &Queue, id: i64) -> rusqlite::Result<BTreeMap<String, String>> {
    let mut attributes = BTreeMap::from([
        ("SenderId", ACCOUNT_ID.to_owned()),
        ("SentTimestamp", row.get::<_, Millis>(7)?.to_string()),
        ("ApproximateReceiveCount", row.get::<_, i64>(8)?.to_string()),
        ("ApproximateFirstReceiveTimestamp", row.get::<_, Millis>(9)?.to_string()),
    ]);
    for (name, column) in
        [("AWSTraceHeader", 3), ("MessageGroupId", 4), ("MessageDeduplicationId", 5), ("DeadLetterQueueSourceArn", 6)]
    {
        if let Some(value) = row.get(column)? {
            attributes.insert(name, value);
        }
    }
    if queue.is_fifo() {
        attributes.insert("SequenceNumber", send::sequence(id));
    }
    Ok(attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// What a receipt handle says: which message, and which receive of it.
struct Receipt {
    id: i64,
    receipt: String,
}

fn handle(queue: &str, id: i64, receipt: &str) -> String {
    STANDARD.encode(format!("{queue}/{id}/{receipt}"))
}

impl Receipt {
    fn parse(queue: &Queue, handle: &str) -> Result<Self, SqsError> {
        let read = || {
            let text = String::from_utf8(STANDARD.decode(handle).ok()?).ok()?;
            let mut parts = text.split('/');
            let (name, id, receipt) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.to_owned());
            (name == queue.name && parts.next().is_none()).then_some(Self { id, receipt })
        };
        if handle.is_empty() {
            return Err(SqsError::missing("ReceiptHandle"));
        }
        read().ok_or_else(|| {
            SqsError::rejected(
                Code::ReceiptHandleIsInvalid,
                format!("The input receipt handle \"{}\" is not a valid receipt handle.", excerpt(handle)),
            )
        })
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(100).collect()
}

fn delete(tx: &Transaction<'_>, queue: &Queue, handle: &str, now: Millis) -> Result<(), SqsError> {
    let Receipt { id, receipt } = Receipt::parse(queue, handle)?;
    if queue.is_fifo() {
        // A FIFO queue wants to know of a receiver that was too slow: the group may have moved on without it.
        let current: Option<bool> = tx
            .prepare_cached("SELECT receipt IS ?3 AND visible_at > ?4 FROM messages WHERE id = ?1 AND queue = ?2")?
            .query_row(params![id, queue.name, receipt, now], |row| row.get(0))
            .optional()?;
        if current == Some(false) {
            return Err(SqsError::value("ReceiptHandle", excerpt(handle), "The receipt handle has expired."));
        }
    }
    tx.prepare_cached("DELETE FROM messages WHERE id = ?1 AND queue = ?2 AND receipt = ?3")?
        .execute(params![id, queue.name, receipt])?;
    Ok(())
}

fn check_visibility(seconds: i64) -> Result<(), SqsError> {
    if (0..=MAX_VISIBILITY).contains(&seconds) {
        return Ok(());
    }
    Err(SqsError::value("VisibilityTimeout", seconds, "VisibilityTimeout must be an integer between 0 and 43200."))
}

fn change_visibility(
    tx: &Transaction<'_>,
    queue: &Queue,
    handle: &str,
    seconds: i64,
    now: Millis,
) -> Result<(), SqsError> {
    check_visibility(seconds)?;
    let Receipt { id, receipt } = Receipt::parse(queue, handle)?;
    let found: Option<(Millis, Millis)> = tx
        .prepare_cached("SELECT visible_at, last_received FROM messages WHERE id = ?1 AND queue = ?2 AND receipt = ?3")?
        .query_row(params![id, queue.name, receipt], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((visible_at, received)) = found else {
        let reason = "Message does not exist or is not available for visibility timeout change.";
        return Err(SqsError::value("ReceiptHandle", excerpt(handle), reason));
    };
    if visible_at <= now {
        return Err(SqsError::rejected(Code::MessageNotInflight, "The message referred to isn't in flight."));
    }
    let until = now.saturating_add(seconds * 1_000);
    if until > received.saturating_add(MAX_VISIBILITY * 1_000) {
        let reason = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
        return Err(SqsError::value("VisibilityTimeout", seconds, reason));
    }
    tx.prepare_cached("UPDATE messages SET visible_at = ?2 WHERE id = ?1")?.execute((id, until))?;
    Ok(())
}

pub(super) fn counts(tx: &Transaction<'_>, queue: &Queue, now: Millis) -> Result<QueueCounts, SqsError> {
    let expired_before = now.saturating_sub(queue.settings.retention());
    let counts = tx
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE visible_at <= ?2),
                    count(*) FILTER (WHERE visible_at > ?2 AND receipt IS NOT NULL),
                    count(*) FILTER (WHERE visible_at > ?2 AND receipt IS NULL)
             FROM messages WHERE queue = ?1 AND sent > ?3",
        )?
        .query_row((&queue.name, now, expired_before), |row| {
            Ok(QueueCounts { visible: row.get(0)?, in_flight: row.get(1)?, delayed: row.get(2)? })
        })?;
    Ok(counts)
}
