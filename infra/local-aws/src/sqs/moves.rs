//! Move tasks: dead letters go back to where they came from, or to another queue.

use rusqlite::{Transaction, params};
use uuid::Uuid;

use super::error::{Code, SqsError};
use super::queue::{self, Queue};
use super::{Sqs, queue_names};
use crate::clock::Millis;

/// A move task. It is over when it is stored: on one machine there is nothing to wait for.
#[derive(Clone, Debug)]
pub(super) struct Move {
    pub(super) source: String,
    pub(super) destination: Option<String>,
    /// Messages per second; kept and shown, not obeyed.
    pub(super) rate: Option<i64>,
    pub(super) moved: i64,
    pub(super) to_move: i64,
    /// Why it stopped before the queue was empty.
    pub(super) failure: Option<String>,
    pub(super) started: Millis,
}

impl Sqs {
    /// Moves every message that can be received from the dead-letter queue `source`, and returns the task's handle.
    ///
    /// Moved messages are new ones: new id, new time, no receives. Source: Amazon SQS, "Configure a dead-letter queue
    /// redrive".
    pub(super) fn start_move(
        &self,
        source: &str,
        destination: Option<&str>,
        rate: Option<i64>,
    ) -> Result<String, SqsError> {
        if let Some(rate) = rate.filter(|rate| !(1..=500).contains(rate)) {
            return Err(SqsError::value(
                "MaxNumberOfMessagesPerSecond",
                rate,
                "Must be between 1 and 500, if provided.",
            ));
        }
        let now = self.shared.clock.now();
        let handle = Uuid::new_v4().to_string();
        let destinations = self.shared.store.write(|tx| {
            let queue = load_by_arn(tx, source)?;
            if !is_dead_letter_queue(tx, &queue.name)? {
                let reason = "Source queue must be configured as a Dead Letter Queue.";
                return Err(SqsError::value("SourceArn", source, reason));
            }
            let target = destination.map(|arn| load_by_arn(tx, arn)).transpose()?;
            if target.as_ref().is_some_and(|target| target.is_fifo() != queue.is_fifo() || target.name == queue.name) {
                let reason = "The destination must be another queue, and FIFO if the source is FIFO.";
                return Err(SqsError::value("DestinationArn", destination.unwrap_or_default(), reason));
            }
            let done = move_all(tx, &queue, target.as_ref(), now)?;
            tx.execute(
                "INSERT INTO moves (handle, source, destination, rate, moved, to_move, failure, started)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![handle, queue.arn(), destination, rate, done.moved, done.to_move, done.failure, now],
            )?;
            Ok(done.destinations)
        })?;
        destinations.iter().for_each(|queue| self.wake(queue));
        Ok(handle)
    }

    /// The latest tasks of a dead-letter queue, newest first.
    pub(super) fn moves(&self, source: &str, limit: i64) -> Result<Vec<Move>, SqsError> {
        if !(1..=10).contains(&limit) {
            return Err(SqsError::value("MaxResults", limit, "Must be between 1 and 10, if provided."));
        }
        self.shared.store.read(|tx| {
            let queue = load_by_arn(tx, source)?;
            let mut statement = tx.prepare_cached(
                "SELECT source, destination, rate, moved, to_move, failure, started FROM moves WHERE source = ?1
                 ORDER BY id DESC LIMIT ?2",
            )?;
            let rows = statement.query_map((queue.arn(), limit), |row| {
                Ok(Move {
                    source: row.get(0)?,
                    destination: row.get(1)?,
                    rate: row.get(2)?,
                    moved: row.get(3)?,
                    to_move: row.get(4)?,
                    failure: row.get(5)?,
                    started: row.get(6)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// A task can be cancelled while it runs, and here none runs on.
    pub(super) fn cancel_move(&self, handle: &str) -> Result<(), SqsError> {
        let known: bool = self.shared.store.read(|tx| {
            let known =
                tx.query_row("SELECT EXISTS (SELECT 1 FROM moves WHERE handle = ?1)", [handle], |row| row.get(0))?;
            Ok::<_, SqsError>(known)
        })?;
        let message = if known { "Only active tasks can be cancelled." } else { "Task does not exist." };
        Err(SqsError::rejected(Code::ResourceNotFound, message))
    }
}

fn load_by_arn(tx: &Transaction<'_>, arn: &str) -> Result<Queue, SqsError> {
    if !arn.starts_with("arn:") {
        return Err(SqsError::value("SourceArn", arn, "It must be the ARN of a queue."));
    }
    Queue::find(tx, queue::name_of(arn))?.ok_or_else(|| {
        SqsError::rejected(
            Code::ResourceNotFound,
            "The resource that you specified for the SourceArn or DestinationArn parameter doesn't exist.",
        )
    })
}

fn is_dead_letter_queue(tx: &Transaction<'_>, name: &str) -> Result<bool, SqsError> {
    for source in queue_names(tx)? {
        if Queue::load(tx, &source)?.settings.redrive().is_some_and(|redrive| redrive.target == name) {
            return Ok(true);
        }
    }
    Ok(false)
}

struct Done {
    moved: i64,
    to_move: i64,
    failure: Option<String>,
    destinations: Vec<String>,
}

fn move_all(tx: &Transaction<'_>, source: &Queue, target: Option<&Queue>, now: Millis) -> Result<Done, SqsError> {
    let letters: Vec<(i64, Option<String>)> = {
        let mut statement = tx.prepare_cached(
            "SELECT id, dead_letter_of FROM messages WHERE queue = ?1 AND visible_at <= ?2 ORDER BY id",
        )?;
        let rows = statement.query_map((&source.name, now), |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect::<Result<_, _>>()?
    };
    let to_move = i64::try_from(letters.len()).unwrap_or(i64::MAX);
    let mut done = Done { moved: 0, to_move, failure: None, destinations: Vec::new() };
    for (id, origin) in letters {
        let destination = match (target, origin) {
            (Some(target), _) => target.clone(),
            (None, Some(origin)) => match Queue::find(tx, queue::name_of(&origin))? {
                Some(queue) => queue,
                None => {
                    done.failure = Some("AWS.SimpleQueueService.NonExistentQueue".to_owned());
                    break;
                }
            },
            // It was sent to the dead-letter queue and never failed anywhere.
            (None, None) => {
                done.failure = Some("CouldNotDetermineMessageSource".to_owned());
                break;
            }
        };
        let visible_at = now.saturating_add(destination.settings.delay() * 1_000);
        tx.prepare_cached(
            "INSERT INTO messages (queue, message_id, body, attributes, trace, group_id, dedup_id, sent, visible_at)
             SELECT ?2, ?3, body, attributes, trace, group_id, dedup_id, ?4, ?5 FROM messages WHERE id = ?1",
        )?
        .execute(params![id, destination.name, Uuid::new_v4().to_string(), now, visible_at])?;
        tx.prepare_cached("DELETE FROM messages WHERE id = ?1")?.execute([id])?;
        done.moved += 1;
        if !done.destinations.contains(&destination.name) {
            done.destinations.push(destination.name);
        }
    }
    Ok(done)
}
