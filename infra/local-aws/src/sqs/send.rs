//! Sending: checks, deduplication, and the write after which a message is not lost.

use rusqlite::{OptionalExtension, Transaction, params};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::error::{Code, SqsError};
use super::message::{self, Attributes};
use super::queue::{MAX_MESSAGE_BYTES, Queue};
use super::{Sqs, queue};
use crate::clock::Millis;

/// How long a FIFO queue remembers a deduplication id. Source: Amazon SQS, "Exactly-once processing".
const DEDUPLICATION: Millis = 5 * 60 * 1_000;

/// A message as it is handed in.
#[derive(Clone, Default)]
pub(super) struct Message {
    pub(super) body: Option<String>,
    pub(super) attributes: Attributes,
    pub(super) trace: Option<String>,
    /// Seconds.
    pub(super) delay: Option<i64>,
    pub(super) group: Option<String>,
    pub(super) deduplication: Option<String>,
}

impl Message {
    /// What counts against the limit on a message, in bytes: body and attributes.
    pub(super) fn bytes(&self) -> usize {
        // Attributes that are not sound are refused on their own; here they count nothing.
        self.body.as_deref().map_or(0, str::len) + message::check_attributes(&self.attributes).unwrap_or(0)
    }
}

/// What the sender is told.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) message_id: String,
    pub(super) md5_of_body: String,
    pub(super) md5_of_attributes: Option<String>,
    pub(super) md5_of_system_attributes: Option<String>,
    pub(super) sequence: Option<String>,
}

impl Sqs {
    pub(super) fn send_message(&self, queue: &str, message: &Message) -> Result<Sent, SqsError> {
        let now = self.shared.clock.now();
        let sent = self.shared.store.write(|tx| put(tx, &Queue::load(tx, queue)?, message, now))?;
        self.wake(queue::name_of(queue));
        Ok(sent)
    }

    /// Sends each that can be sent, in one write, and says why the others could not.
    pub(super) fn send_messages(
        &self,
        queue: &str,
        messages: &[Message],
    ) -> Result<Vec<Result<Sent, SqsError>>, SqsError> {
        let now = self.shared.clock.now();
        let total: usize = messages.iter().map(Message::bytes).sum();
        let results = self.shared.store.write(|tx| {
            let queue = Queue::load(tx, queue)?;
            if total > MAX_MESSAGE_BYTES {
                return Err(SqsError::rejected(
                    Code::BatchRequestTooLong,
                    format!(
                        "Batch requests cannot be longer than {MAX_MESSAGE_BYTES} bytes. You have sent {total} bytes."
                    ),
                ));
            }
            let mut results = Vec::with_capacity(messages.len());
            for message in messages {
                match put(tx, &queue, message, now) {
                    // The disk's errors are everybody's: nothing of this batch is written.
                    Err(error @ SqsError::Storage(_)) => return Err(error),
                    result => results.push(result),
                }
            }
            Ok(results)
        })?;
        self.wake(queue::name_of(queue));
        Ok(results)
    }
}

fn put(tx: &Transaction<'_>, queue: &Queue, message: &Message, now: Millis) -> Result<Sent, SqsError> {
    let body = message.body.as_deref().unwrap_or_default();
    message::check_body(body)?;
    let bytes = body.len() + message::check_attributes(&message.attributes)?;
    let most = queue.settings.max_bytes();
    if bytes > most {
        return Err(SqsError::rejected(
            Code::InvalidParameterValue,
            format!("One or more parameters are invalid. Reason: Message must be shorter than {most} bytes."),
        ));
    }
    let delay = delay(queue, message.delay)?;
    let group = message.group.as_deref();
    if let Some(group) = group {
        check_id("MessageGroupId", group)?;
    }
    let deduplication = deduplication(queue, message, body)?;

    let mut sent = Sent {
        message_id: Uuid::new_v4().to_string(),
        md5_of_body: message::md5_of(body.as_bytes()),
        md5_of_attributes: message::md5_of_attributes(&message.attributes),
        md5_of_system_attributes: message.trace.as_deref().and_then(message::md5_of_trace),
        sequence: None,
    };
    let scope = if queue.settings.deduplicates_by_group() { group.unwrap_or_default() } else { "" };
    if let Some(id) = &deduplication {
        tx.prepare_cached("DELETE FROM deduplication WHERE queue = ?1 AND sent <= ?2")?
            .execute((&queue.name, now.saturating_sub(DEDUPLICATION)))?;
        let first: Option<(String, String)> = tx
            .prepare_cached(
                "SELECT message_id, sequence FROM deduplication WHERE queue = ?1 AND scope = ?2 AND dedup_id = ?3",
            )?
            .query_row((&queue.name, scope, id), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((message_id, sequence)) = first {
            // Taken before: the sender learns of the first message, and nothing is written.
            (sent.message_id, sent.sequence) = (message_id, Some(sequence));
            return Ok(sent);
        }
    }
    tx.prepare_cached(
        "INSERT INTO messages (queue, message_id, body, attributes, trace, group_id, dedup_id, sent, visible_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        queue.name,
        sent.message_id,
        body,
        serde_json::to_string(&message.attributes).map_err(|error| SqsError::Storage(error.to_string()))?,
        message.trace,
        group,
        deduplication,
        now,
        now.saturating_add(delay),
    ])?;
    if let Some(id) = &deduplication {
        let sequence = sequence(tx.last_insert_rowid());
        tx.prepare_cached(
            "INSERT INTO deduplication (queue, scope, dedup_id, message_id, sequence, sent) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((&queue.name, scope, id, &sent.message_id, &sequence, now))?;
        sent.sequence = Some(sequence);
    }
    Ok(sent)
}

/// The sequence number of the message with this row id: 20 digits that grow.
pub(super) fn sequence(id: i64) -> String {
    format!("188{id:017}")
}

/// The delay in milliseconds.
fn delay(queue: &Queue, asked: Option<i64>) -> Result<Millis, SqsError> {
    let seconds = match asked {
        // A FIFO queue has a delay of its own and takes none from a message.
        Some(seconds) if queue.is_fifo() && seconds != 0 => {
            let reason = "The request include parameter that is not valid for this queue type.";
            return Err(SqsError::value("DelaySeconds", seconds, reason));
        }
        Some(_) if queue.is_fifo() => queue.settings.delay(),
        Some(seconds @ 0..=900) => seconds,
        Some(seconds) => return Err(SqsError::value("DelaySeconds", seconds, "DelaySeconds must be >= 0 and <= 900.")),
        None => queue.settings.delay(),
    };
    Ok(seconds * 1_000)
}

/// What a FIFO queue knows the message by; `None` on a standard queue, which only takes a group (for fairness).
fn deduplication(queue: &Queue, message: &Message, body: &str) -> Result<Option<String>, SqsError> {
    if !queue.is_fifo() {
        return match &message.deduplication {
            None => Ok(None),
            Some(id) => {
                let reason = "The request include parameter that is not valid for this queue type.";
                Err(SqsError::value("MessageDeduplicationId", id, reason))
            }
        };
    }
    if message.group.is_none() {
        return Err(SqsError::missing("MessageGroupId"));
    }
    match &message.deduplication {
        Some(id) => check_id("MessageDeduplicationId", id).map(|()| Some(id.clone())),
        None if queue.settings.content_deduplication() => Ok(Some(hex::encode(Sha256::digest(body)))),
        None => Err(SqsError::rejected(
            Code::InvalidParameterValue,
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
        )),
    }
}

/// Group and deduplication ids are 1 to 128 letters, digits and punctuation. Source: API_SendMessage.
fn check_id(name: &str, id: &str) -> Result<(), SqsError> {
    if id.is_empty() || id.len() > 128 || !id.bytes().all(|b| b.is_ascii_graphic()) {
        let reason = format!("{name} can only include alphanumeric and punctuation characters. 1 to 128 in length.");
        return Err(SqsError::value(name, id.chars().take(128).collect::<String>(), &reason));
    }
    Ok(())
}
