//! The SQS event source of a function: receives batches, invokes the function, deletes what it dealt with.
//!
//! Does on one machine what Lambda's poller does for an event source mapping of a standard queue. Messages stay hidden for
//! the queue's own visibility timeout and come back when it is over; moving them to a dead-letter queue is the queue's work.
//! Differences: one poller instead of a fleet, no back-off when the function fails, no filters, no FIFO queues, and nothing
//! checks that the queue's visibility timeout is longer than the function's time limit (AWS advises six times as long).

mod answer;
mod event;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::gateway::{Function, InvokeError, MAX_PAYLOAD, finish};
use crate::sqs::{Sqs, SqsError};

pub use answer::AnswerFault;
use answer::failed_items;
use event::{Record, Source, cut, event};

/// The longest wait that SQS allows a receiver.
const LONGEST_POLL: Duration = Duration::from_secs(20);

/// How long a shutdown waits for a receive that may have taken messages at that moment, so that they are not hidden in vain.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// What Lambda calls the configuration of an event source mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingConfig {
    /// The queue's name.
    pub queue: String,
    /// Most messages in one invocation, 1 to 10.
    pub batch_size: usize,
    /// How long to wait for more messages after the first, up to 300 s. Zero: not at all.
    pub batching_window: Duration,
    /// `ReportBatchItemFailures`: the function's answer names the messages that failed.
    pub report_batch_item_failures: bool,
    /// Most invocations at a time, 2 to 1,000.
    pub maximum_concurrency: usize,
    /// From the shutdown to the moment when running invocations are stopped.
    pub drain_time: Duration,
}

impl MappingConfig {
    /// The mapping of a queue with AWS's defaults: ten messages, no window, no partial answers. AWS's concurrency has no limit
    /// unless one is set; here it is ten.
    #[must_use]
    pub fn new(queue: impl Into<String>) -> Self {
        Self {
            queue: queue.into(),
            batch_size: 10,
            batching_window: Duration::ZERO,
            report_batch_item_failures: false,
            maximum_concurrency: 10,
            drain_time: Duration::from_secs(10),
        }
    }
}

/// Why a mapping cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// A setting is out of AWS's range.
    #[error("INVALID_MAPPING: {setting} is {given}, it must be {range}")]
    OutOfRange {
        /// The setting's name at AWS.
        setting: &'static str,
        /// What was given.
        given: String,
        /// What is possible.
        range: &'static str,
    },
    /// The queue is a FIFO queue, whose order this mapping would not keep.
    #[error("INVALID_MAPPING: the queue {0} is a FIFO queue; use a standard queue")]
    Fifo(String),
    /// The queue cannot be read from, most often because it is not there.
    #[error(transparent)]
    Queue(SqsError),
}

/// What a mapping has to say. Nothing in it is from a message.
#[derive(Clone, Debug)]
pub enum Notice {
    /// An invocation is over, and its messages are dealt with.
    Batch(BatchReport),
    /// Receiving failed. It is tried again, after a pause.
    ReceiveFailed(SqsError),
    /// Messages were dealt with and could not be deleted: they will come again.
    DeleteFailed {
        /// The invocation.
        request_id: String,
        /// How many messages.
        messages: usize,
        /// Why.
        error: SqsError,
    },
}

/// One invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchReport {
    /// Lambda's id of the invocation.
    pub request_id: String,
    /// How many messages the function got.
    pub messages: usize,
    /// How many of them failed, and stay in the queue.
    pub failed: usize,
    /// How long the function ran.
    pub duration: Duration,
    /// What the function made of the batch.
    pub outcome: BatchOutcome,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// The function answered.
    Answered,
    /// The invocation has no answer: the whole batch failed.
    Invocation(InvokeError),
    /// The answer says nothing about the batch: the whole batch failed.
    Malformed(AnswerFault),
}

/// Is told what happens. Must not block.
pub type Notices = Arc<dyn Fn(&Notice) + Send + Sync>;

/// An event source mapping: make it, then run it.
#[derive(Clone)]
pub struct Mapping {
    sqs: Sqs,
    function: Function,
    config: MappingConfig,
    source: Source,
    notices: Option<Notices>,
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapping")
            .field("config", &self.config)
            .field("function", &self.function)
            .finish_non_exhaustive()
    }
}

/// How a poll for a batch ended.
enum Polled {
    Batch,
    Failed,
    Stopped,
}

impl Mapping {
    /// A mapping of a queue to a function.
    ///
    /// # Errors
    /// [`MappingError`]: a setting out of range; a queue that is not there or cannot be mapped.
    pub fn new(sqs: Sqs, function: Function, config: MappingConfig) -> Result<Self, MappingError> {
        let out_of_range = |setting, given: String, range| Err(MappingError::OutOfRange { setting, given, range });
        if !(1..=10).contains(&config.batch_size) {
            return out_of_range("BatchSize", config.batch_size.to_string(), "1 to 10");
        }
        if !(2..=1000).contains(&config.maximum_concurrency) {
            return out_of_range("MaximumConcurrency", config.maximum_concurrency.to_string(), "2 to 1000");
        }
        if config.batching_window > Duration::from_secs(300) {
            let given = format!("{} s", config.batching_window.as_secs());
            return out_of_range("MaximumBatchingWindowInSeconds", given, "0 to 300 s");
        }
        if config.queue.ends_with(".fifo") {
            return Err(MappingError::Fifo(config.queue));
        }
        sqs.counts(&config.queue).map_err(MappingError::Queue)?;
        let source = Source::of_arn(sqs.queue_arn(&config.queue));
        Ok(Self { sqs, function, config, source, notices: None })
    }

    /// Tells `notices` what happens.
    #[must_use]
    pub fn notices(mut self, notices: Notices) -> Self {
        self.notices = Some(notices);
        self
    }

    /// Polls and invokes until `shutdown` is ready; then receives no more, and lets running invocations end for
    /// [`MappingConfig::drain_time`]. Returns how many invocations were stopped before their end: their messages come again.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> usize {
        let drain_time = self.config.drain_time;
        let permits = Arc::new(Semaphore::new(self.config.maximum_concurrency));
        let mapping = Arc::new(self);
        let mut invocations = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        let mut failures = 0;
        loop {
            while invocations.try_join_next().is_some() {}
            // Nothing is received that could not be invoked at once: it would only spend its visibility timeout.
            let permit = tokio::select! {
                biased;
                () = shutdown.as_mut() => break,
                permit = Arc::clone(&permits).acquire_owned() => permit.ok(),
            };
            let (records, polled) = mapping.poll(&mut shutdown).await;
            let mut permit = permit;
            for batch in cut(records) {
                // A batch that had to be cut needs more permits than the one taken.
                let (mapping, permits, permit) = (Arc::clone(&mapping), Arc::clone(&permits), permit.take());
                invocations.spawn(async move { mapping.invoke(batch, permit, permits).await });
            }
            match polled {
                Polled::Batch => failures = 0,
                Polled::Stopped => break,
                Polled::Failed => {
                    failures += 1;
                    tokio::select! {
                        biased;
                        () = shutdown.as_mut() => break,
                        () = tokio::time::sleep(pause(failures)) => {}
                    }
                }
            }
        }
        finish(&mut invocations, Instant::now() + drain_time).await
    }

    /// Receives until a batch is full or its window is over. What was received is returned however it ends.
    async fn poll<S: Future<Output = ()>>(&self, shutdown: &mut Pin<&mut S>) -> (Vec<Record>, Polled) {
        let MappingConfig { queue, batch_size, batching_window, .. } = &self.config;
        let (mut records, mut window_end) = (Vec::new(), None);
        loop {
            let left = window_end.map(|end: Instant| end.saturating_duration_since(Instant::now()));
            let wait = left.map_or(LONGEST_POLL, |left| left.min(LONGEST_POLL));
            let mut receive = pin!(self.sqs.receive(queue, batch_size - records.len(), wait, None));
            let mut stopped = false;
            let received = tokio::select! {
                biased;
                received = receive.as_mut() => received,
                () = shutdown.as_mut() => {
                    stopped = true;
                    tokio::time::timeout(LAST_LOOK, receive).await.unwrap_or_else(|_elapsed| Ok(Vec::new()))
                }
            };
            match received {
                Ok(messages) => records.extend(messages.into_iter().map(|message| Record::new(message, &self.source))),
                Err(error) => {
                    self.notify(&Notice::ReceiveFailed(error));
                    return (records, if stopped { Polled::Stopped } else { Polled::Failed });
                }
            }
            if stopped {
                return (records, Polled::Stopped);
            }
            if records.len() >= *batch_size || records.iter().map(Record::size).sum::<usize>() >= MAX_PAYLOAD {
                return (records, Polled::Batch);
            }
            if !records.is_empty()
                && *window_end.get_or_insert_with(|| Instant::now() + *batching_window) <= Instant::now()
            {
                return (records, Polled::Batch);
            }
        }
    }

    /// Invokes the function with one event, and deletes the messages that it dealt with.
    async fn invoke(&self, batch: Vec<Record>, permit: Option<OwnedSemaphorePermit>, permits: Arc<Semaphore>) {
        let _permit = match permit {
            Some(permit) => Some(permit),
            // The semaphore is never closed; were it, too many at a time would be better than none.
            None => permits.acquire_owned().await.ok(),
        };
        let request_id = Uuid::new_v4().to_string();
        let started = Instant::now();
        let answer = self.function.call(event(&batch), request_id.clone(), SystemTime::now()).await;
        let duration = started.elapsed();
        let ids: BTreeSet<&str> = batch.iter().map(|record| record.message_id.as_str()).collect();
        let (failed, outcome) = match answer {
            Err(error) => (None, BatchOutcome::Invocation(error)),
            Ok(_) if !self.config.report_batch_item_failures => (Some(BTreeSet::new()), BatchOutcome::Answered),
            Ok(answer) => match failed_items(&answer, &ids) {
                Ok(failed) => (Some(failed), BatchOutcome::Answered),
                Err(fault) => (None, BatchOutcome::Malformed(fault)),
            },
        };
        let done: Vec<String> = match &failed {
            None => Vec::new(),
            Some(failed) => batch
                .iter()
                .filter(|record| !failed.contains(&record.message_id))
                .map(|record| record.receipt_handle.clone())
                .collect(),
        };
        if !done.is_empty()
            && let Err(error) = self.sqs.delete(&self.config.queue, &done).await
        {
            self.notify(&Notice::DeleteFailed { request_id: request_id.clone(), messages: done.len(), error });
        }
        let (messages, failed) = (batch.len(), batch.len() - done.len());
        self.notify(&Notice::Batch(BatchReport { request_id, messages, failed, duration, outcome }));
    }

    fn notify(&self, notice: &Notice) {
        if let Some(notices) = &self.notices {
            notices(notice);
        }
    }
}

/// From a tenth of a second to five seconds, doubling with each failure in a row.
fn pause(failures: u32) -> Duration {
    Duration::from_millis(100)
        .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
        .min(Duration::from_secs(5))
}
