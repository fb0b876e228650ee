//! Where calls are handed in and their answers asked for.

use crate::submission::Submission;
use clawbridge_queue::{Priority, Queues, SendError};
use clawbridge_tasks::{Record, StoreError, Tasks};
use std::time::{Duration, Instant};

/// Between two looks at a record: short at first, for calls that are quick.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Hands in calls and asks what became of them. Clones share their clients.
#[derive(Clone, Debug)]
pub struct Desk {
    tasks: Tasks,
    queues: Queues,
}

/// Why it is not known that a call was handed in.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The key stands for another input: nothing was sent.
    #[error("the task {0} has this key with another input; nothing is called")]
    Conflict(String),
    /// The tasks table did not say what is known about the key: nothing was sent.
    #[error(transparent)]
    Tasks(#[from] StoreError),
    /// The queue did not take it, or did not say so: the same key again makes it one call.
    #[error(transparent)]
    Queue(#[from] SendError),
}

/// What handing in came to.
#[derive(Clone, Debug)]
pub enum Submitted {
    /// It is on the queue.
    Queued,
    /// It was called before, with the same input: this is what came of it.
    Known(Box<Record>),
}

/// What waiting came to.
#[derive(Clone, Debug)]
pub enum Waited {
    /// The task has ended, or a person has to decide about it.
    Ended(Box<Record>),
    /// The key stands for another input; nothing was called for this one.
    Conflict(Box<Record>),
    /// The time is over: where it stands, unless nobody has begun with it.
    TimeOver(Option<Box<Record>>),
}

impl Desk {
    /// On this table and these queues.
    #[must_use]
    pub fn new(tasks: Tasks, queues: Queues) -> Desk {
        Desk { tasks, queues }
    }

    /// Hands in a call. One whose key may have been used is looked up first (one read).
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn submit(&self, submission: &Submission) -> Result<Submitted, SubmitError> {
        if !submission.is_unique
            && let Some(record) = self.poll(&submission.task).await?
        {
            if record.input_hash != submission.input_hash {
                return Err(SubmitError::Conflict(record.id));
            }
            if record.state.has_ended() {
                return Ok(Submitted::Known(Box::new(record)));
            }
        }
        let queue = match submission.priority {
            Priority::Interactive => &self.queues.interactive,
            Priority::Background => &self.queues.work,
        };
        queue.send_text(submission.text.clone(), Duration::ZERO).await?;
        Ok(Submitted::Queued)
    }

    /// Where the task stands; `None` while nobody has begun with it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn poll(&self, task: &str) -> Result<Option<Record>, StoreError> {
        self.tasks.get(task).await
    }

    /// Looks at the task until it has ended, for `bound` at most. With the fingerprint of an input, a task of another input is a conflict.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn wait(&self, task: &str, input_hash: Option<&str>, bound: Duration) -> Result<Waited, StoreError> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let record = self.poll(task).await?.map(Box::new);
            if let Some(record) = record.as_ref() {
                if input_hash.is_some_and(|hash| hash != record.input_hash) {
                    return Ok(Waited::Conflict(record.clone()));
                }
                if record.state.has_ended() {
                    return Ok(Waited::Ended(record.clone()));
                }
            }
            let left = bound.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Ok(Waited::TimeOver(record));
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
