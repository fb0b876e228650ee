//! SQS on one machine: queues and messages kept in SQLite, behind the service's own API.
//!
//! A stand-in for one machine: it has the semantics that a sender and a receiver rely on and none of the scale. Where
//! it is stricter or plainer than SQS: a receipt handle is good only until the next receive of its message (SQS says it
//! "might" work longer); a deleted queue's name can be used again at once (SQS: after 60 s); a move task is over when
//! its start is answered; `ReceiveRequestAttemptId`, the limit on messages in flight, policies and encryption settings
//! have no effect.

mod error;
mod message;
mod moves;
mod queue;
mod receive;
mod send;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

pub use error::{Code, SqsError};

use crate::api::ACCOUNT_ID;
use crate::clock::{Clock, Millis};
use crate::store::Store;
use queue::{Queue, Settings};

/// The queues. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Sqs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Arc<Store>,
    clock: Clock,
    /// Scheme and authority of the queue URLs that Rust callers get.
    base: RwLock<String>,
    /// One channel per queue that somebody has waited on; a new value means: look again.
    changes: Mutex<HashMap<String, watch::Sender<u64>>>,
}

/// One message as a receiver gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedMessage {
    /// Stays the same over receives and a move to a dead-letter queue.
    pub message_id: String,
    /// Names this receive of the message; deletes it and changes its visibility.
    pub receipt_handle: String,
    /// The text that was sent.
    pub body: String,
    /// Lower-case hex MD5 of the body's UTF-8 bytes.
    pub md5_of_body: String,
    /// System attributes: `SentTimestamp` (milliseconds since the Unix epoch), `ApproximateReceiveCount`, `SenderId`,
    /// `ApproximateFirstReceiveTimestamp`; where they apply `AWSTraceHeader`, `DeadLetterQueueSourceArn`,
    /// `MessageGroupId`, `MessageDeduplicationId`, `SequenceNumber`.
    pub attributes: BTreeMap<String, String>,
    /// The sender's attributes as a JSON object in the API's form: name to `{"DataType", "StringValue" |
    /// "BinaryValue"}`.
    pub message_attributes: Value,
}

/// How many messages of a queue are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Can be received now.
    pub visible: u64,
    /// Received and neither deleted nor visible again yet.
    pub in_flight: u64,
    /// Sent with a delay that has not run out.
    pub delayed: u64,
}

impl Sqs {
    pub(crate) fn new(store: Arc<Store>, clock: Clock) -> Self {
        let shared =
            Shared { store, clock, base: RwLock::new("http://localhost".to_owned()), changes: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Creates the queue unless one of that name exists (whatever its attributes), and returns its URL. The attributes
    /// are those of `CreateQueue`: `VisibilityTimeout`, `RedrivePolicy`, `FifoQueue`, …
    ///
    /// # Errors
    /// A name or an attribute that SQS refuses; a dead-letter queue that does not exist; a state that cannot be
    /// written.
    pub fn create_queue_if_missing(
        &self,
        name: &str,
        attributes: &BTreeMap<String, String>,
    ) -> Result<String, SqsError> {
        self.create_queue(name, attributes, &BTreeMap::new(), false)?;
        Ok(self.queue_url(name))
    }

    /// Receives up to `max` (1 to 10) messages of `queue` (its name, URL or ARN), waiting up to `wait` (at most 20 s)
    /// for the first. `visibility`: how long they stay hidden (whole seconds, at most 12 h), instead of the queue's
    /// `VisibilityTimeout`.
    ///
    /// # Errors
    /// No such queue; a value out of range; a state that cannot be written.
    pub async fn receive(
        &self,
        queue: &str,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<ReceivedMessage>, SqsError> {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        let request = receive::Receive {
            queue: queue.to_owned(),
            max: i64::try_from(max).unwrap_or(i64::MAX),
            wait: Some(Millis::try_from(wait.as_millis()).unwrap_or(Millis::MAX)),
            visibility: visibility.map(seconds),
        };
        let messages = self.receive_until(request, std::future::pending()).await?;
        messages.into_iter().map(receive::Delivery::into_public).collect()
    }

    /// Deletes the messages that these receipt handles name, in one write. One that is gone already counts as deleted,
    /// as in SQS.
    ///
    /// # Errors
    /// No such queue; a receipt handle that this service never gave out, or that is out of date on a FIFO queue (then
    /// nothing is deleted); a state that cannot be written.
    pub async fn delete(&self, queue: &str, receipt_handles: &[String]) -> Result<(), SqsError> {
        let (queue, handles) = (queue.to_owned(), receipt_handles.to_vec());
        self.run(move |sqs| sqs.delete_messages(&queue, &handles)).await
    }

    /// How many messages are visible, in flight and delayed.
    ///
    /// # Errors
    /// No such queue; a state that cannot be read.
    pub fn counts(&self, queue: &str) -> Result<QueueCounts, SqsError> {
        let now = self.shared.clock.now();
        self.shared.store.read(|tx| receive::counts(tx, &Queue::load(tx, queue)?, now))
    }

    /// Sends a message without attributes to a standard queue, and returns its id.
    ///
    /// # Errors
    /// No such queue; a body or a delay (whole seconds, at most 900) that SQS refuses; a state that cannot be written.
    pub async fn send(&self, queue: &str, body: &str, delay: Duration) -> Result<String, SqsError> {
        let delay = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
        let message = send::Message { body: Some(body.to_owned()), delay: Some(delay), ..send::Message::default() };
        let queue = queue.to_owned();
        let sent = self.run(move |sqs| sqs.send_message(&queue, &message)).await?;
        Ok(sent.message_id)
    }

    /// The queue's ARN, `arn:aws:sqs:us-east-1:000000000000:NAME`. `queue` is its name or URL.
    #[must_use]
    pub fn queue_arn(&self, queue: &str) -> String {
        queue::arn(queue::name_of(queue))
    }

    /// The queue's URL. Its host is the one given to [`Sqs::set_base_url`]; operations look only at its last segment.
    #[must_use]
    pub fn queue_url(&self, name: &str) -> String {
        self.url(&self.shared.base.read().unwrap_or_else(PoisonError::into_inner), name)
    }

    /// Says where the API is served (`http://127.0.0.1:4566`), for [`Sqs::queue_url`].
    /// [`LocalAws::serve`](crate::LocalAws::serve) says it too; call this before it to have right URLs earlier. Clients
    /// over HTTP get URLs with the host that they used.
    pub fn set_base_url(&self, base: &str) {
        let base = base.trim_end_matches('/');
        base.clone_into(&mut self.shared.base.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Drops messages that are past their retention. Receives skip them anyway; this frees their space.
    pub(crate) fn sweep(&self) -> Result<(), SqsError> {
        let now = self.shared.clock.now();
        self.shared.store.write(|tx| {
            for name in queue_names(tx)? {
                let retention = Queue::load(tx, &name)?.settings.retention();
                tx.execute(
                    "DELETE FROM messages WHERE queue = ?1 AND sent <= ?2",
                    (&name, now.saturating_sub(retention)),
                )?;
            }
            Ok(())
        })
    }

    fn url(&self, base: &str, name: &str) -> String {
        format!("{base}/{ACCOUNT_ID}/{name}")
    }

    /// Runs `work`, which may wait for the disk, off the threads that serve connections.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, SqsError> + Send + 'static,
    ) -> Result<T, SqsError> {
        let sqs = self.clone();
        tokio::task::spawn_blocking(move || work(&sqs))
            .await
            .unwrap_or_else(|error| Err(SqsError::Storage(format!("the request was abandoned: {error}"))))
    }

    /// Wakes whoever waits for messages of `queue`.
    fn wake(&self, queue: &str) {
        let changes = self.shared.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(changed) = changes.get(queue) {
            changed.send_modify(|version| *version = version.wrapping_add(1));
        }
    }

    fn watch(&self, queue: &str) -> watch::Receiver<u64> {
        let mut changes = self.shared.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.entry(queue.to_owned()).or_default().subscribe()
    }

    /// `strict`: a queue that exists must have these attributes, as `CreateQueue` wants it.
    fn create_queue(
        &self,
        name: &str,
        attributes: &BTreeMap<String, String>,
        tags: &BTreeMap<String, String>,
        strict: bool,
    ) -> Result<(), SqsError> {
        queue::check_name(name)?;
        let mut settings = Settings::default();
        settings.set(name, attributes, true)?;
        let now = self.shared.clock.now();
        self.shared.store.write(|tx| {
            if let Some(existing) = Queue::find(tx, name)? {
                return match existing.settings.first_difference(name, &settings) {
                    Some(attribute) if strict => Err(SqsError::rejected(
                        Code::QueueNameExists,
                        format!(
                            "A queue already exists with the same name and a different value for attribute {attribute}"
                        ),
                    )),
                    _ => Ok(()),
                };
            }
            let queue = Queue { name: name.to_owned(), settings, created: now, modified: now, purged: None };
            check_redrive(tx, &queue)?;
            queue.insert(tx, tags)
        })
    }

    /// Sets these attributes of a queue (its name, URL or ARN) and leaves the others.
    ///
    /// # Errors
    /// No such queue; an attribute that it cannot have; a state that cannot be written.
    pub fn set_attributes(&self, reference: &str, attributes: &BTreeMap<String, String>) -> Result<(), SqsError> {
        let now = self.shared.clock.now();
        let name = self.shared.store.write(|tx| {
            let mut queue = Queue::load(tx, reference)?;
            queue.settings.set(&queue.name, attributes, false)?;
            check_redrive(tx, &queue)?;
            tx.execute(
                "UPDATE queues SET settings = ?2, modified = ?3 WHERE name = ?1",
                (&queue.name, queue.settings.to_json(), now),
            )?;
            Ok::<_, SqsError>(queue.name)
        })?;
        self.wake(&name);
        Ok(())
    }

    fn attributes(&self, reference: &str, asked: &[String]) -> Result<BTreeMap<String, String>, SqsError> {
        let now = self.shared.clock.now();
        self.shared.store.read(|tx| {
            let queue = Queue::load(tx, reference)?;
            let names = queue::attribute_names(asked)?;
            let counts = receive::counts(tx, &queue, now)?;
            let value = |name: &str| match name {
                "QueueArn" => Some(queue.arn()),
                "ApproximateNumberOfMessages" => Some(counts.visible.to_string()),
                "ApproximateNumberOfMessagesNotVisible" => Some(counts.in_flight.to_string()),
                "ApproximateNumberOfMessagesDelayed" => Some(counts.delayed.to_string()),
                "CreatedTimestamp" => Some((queue.created / 1_000).to_string()),
                "LastModifiedTimestamp" => Some((queue.modified / 1_000).to_string()),
                other => queue.settings.get(&queue.name, other),
            };
            Ok(names.into_iter().filter_map(|name| value(&name).map(|value| (name, value))).collect())
        })
    }

    fn delete_queue(&self, reference: &str) -> Result<(), SqsError> {
        let name = self.shared.store.write(|tx| {
            let queue = Queue::load(tx, reference)?;
            tx.execute("DELETE FROM queues WHERE name = ?1", [&queue.name])?;
            Ok::<_, SqsError>(queue.name)
        })?;
        self.wake(&name);
        Ok(())
    }

    /// Deletes every message, in flight or not. Source: API_PurgeQueue (once in 60 seconds).
    fn purge(&self, reference: &str) -> Result<(), SqsError> {
        let now = self.shared.clock.now();
        let name = self.shared.store.write(|tx| {
            let queue = Queue::load(tx, reference)?;
            if queue.purged.is_some_and(|at| now.saturating_sub(at) < 60_000) {
                return Err(SqsError::rejected(
                    Code::PurgeQueueInProgress,
                    format!("Only one PurgeQueue operation on {} is allowed every 60 seconds.", queue.name),
                ));
            }
            tx.execute("DELETE FROM messages WHERE queue = ?1", [&queue.name])?;
            tx.execute("UPDATE queues SET purged = ?2 WHERE name = ?1", (&queue.name, now))?;
            Ok(queue.name)
        })?;
        self.wake(&name);
        Ok(())
    }

    /// Names of queues in alphabetical order, after `after`, with `prefix`; those whose dead letters go to `target` if
    /// it is given.
    fn list(&self, prefix: &str, after: &str, limit: usize, target: Option<&str>) -> Result<Vec<String>, SqsError> {
        self.shared.store.read(|tx| {
            if let Some(target) = target {
                Queue::load(tx, target)?;
            }
            let mut names = Vec::new();
            for name in queue_names(tx)? {
                if names.len() == limit {
                    break;
                }
                if !name.starts_with(prefix) || name.as_str() <= after {
                    continue;
                }
                if let Some(target) = target.map(queue::name_of) {
                    let redrive = Queue::load(tx, &name)?.settings.redrive();
                    if redrive.is_none_or(|redrive| redrive.target != target) {
                        continue;
                    }
                }
                names.push(name);
            }
            Ok(names)
        })
    }

    /// The queue's tags, after `change` had its way with them.
    fn tags(
        &self,
        reference: &str,
        change: impl FnOnce(&mut BTreeMap<String, String>),
    ) -> Result<BTreeMap<String, String>, SqsError> {
        self.shared.store.write(|tx| {
            let queue = Queue::load(tx, reference)?;
            let text: String =
                tx.query_row("SELECT tags FROM queues WHERE name = ?1", [&queue.name], |row| row.get(0))?;
            let mut tags: BTreeMap<String, String> =
                serde_json::from_str(&text).map_err(|error| SqsError::Storage(format!("a queue's tags: {error}")))?;
            let before = tags.clone();
            change(&mut tags);
            if tags.len() > 50 {
                return Err(SqsError::value("Tags", tags.len(), "A queue has at most 50 tags."));
            }
            if tags != before {
                tx.execute("UPDATE queues SET tags = ?2 WHERE name = ?1", (&queue.name, json!(tags).to_string()))?;
            }
            Ok(tags)
        })
    }
}

fn queue_names(tx: &rusqlite::Transaction<'_>) -> Result<Vec<String>, SqsError> {
    let mut statement = tx.prepare_cached("SELECT name FROM queues ORDER BY name")?;
    let names = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(names)
}

/// A dead-letter queue must exist, be of the same kind and take letters from this one.
fn check_redrive(tx: &rusqlite::Transaction<'_>, queue: &Queue) -> Result<(), SqsError> {
    let Some(redrive) = queue.settings.redrive() else { return Ok(()) };
    let reject =
        |reason: &str| Err(SqsError::value("RedrivePolicy", format_args!("for queue {}", redrive.target), reason));
    let target = if redrive.target == queue.name { Some(queue.clone()) } else { Queue::find(tx, &redrive.target)? };
    match target {
        None => reject("Dead letter target does not exist."),
        Some(target) if target.is_fifo() != queue.is_fifo() => {
            reject("Dead-letter queue must be same type of queue as the source.")
        }
        Some(target) if !target.settings.takes_dead_letters_of(&queue.name) => {
            reject("The dead-letter queue's RedriveAllowPolicy does not permit this source queue.")
        }
        Some(_) => Ok(()),
    }
}
