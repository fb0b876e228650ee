//! The sender.

use crate::message::{Message, MessageError, Priority};
use crate::{MAX_DELAY, MAX_MESSAGE_BYTES};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use clawbridge_aws::explain;
use std::time::Duration;

/// Why a message is not on the queue. Nothing may be acknowledged then.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// SQS refused or did not answer.
    #[error("the queue did not take the message: {0}")]
    Queue(String),
    /// The message could not be written.
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// The bridge's queue.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    url: String,
}

impl Queue {
    /// The queue at `url`.
    #[must_use]
    pub fn new(client: Client, url: String) -> Queue {
        Queue { client, url }
    }

    /// Sends one message, visible after `delay` (whole seconds, rounded up, at most [`MAX_DELAY`]: who needs longer looks again then).
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&self, message: &Message, delay: Duration) -> Result<(), SendError> {
        self.send_text(message.encode()?, delay).await
    }

    /// Sends the text of a message that is encoded already.
    ///
    /// # Errors
    /// [`SendError::Queue`].
    pub async fn send_text(&self, text: String, delay: Duration) -> Result<(), SendError> {
        let sending = self.client.send_message().queue_url(&self.url).message_body(text);
        let sending = if delay.is_zero() { sending } else { sending.delay_seconds(delay_seconds(delay)) };
        sending.send().await.map_err(|error| SendError::Queue(explain(&error)))?;
        Ok(())
    }

    /// Sends the texts of many messages, as few calls as SQS allows.
    ///
    /// # Errors
    /// [`SendError::Queue`] when not all of them were taken; some may have been.
    pub async fn send_texts(&self, texts: Vec<String>) -> Result<(), SendError> {
        for group in groups(texts) {
            let mut sending = self.client.send_message_batch().queue_url(&self.url);
            let count = group.len();
            for (index, text) in group.into_iter().enumerate() {
                let entry = SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(text).build();
                sending = sending.entries(entry.map_err(|error| SendError::Queue(error.to_string()))?);
            }
            let sent = sending.send().await.map_err(|error| SendError::Queue(explain(&error)))?;
            if sent.successful().len() < count {
                let code = sent.failed().first().map_or("none", |failed| failed.code());
                return Err(SendError::Queue(format!("{} of {count}: {code}", sent.successful().len())));
            }
        }
        Ok(())
    }
}

/// The bridge's queues.
#[derive(Clone, Debug)]
pub struct Queues {
    /// What nobody waits for: events, and most of what follows from them.
    pub work: Queue,
    /// What somebody waits for.
    pub interactive: Queue,
}

impl Queues {
    /// Those at these URLs.
    #[must_use]
    pub fn new(client: Client, work_url: String, interactive_url: String) -> Queues {
        Queues { work: Queue::new(client.clone(), work_url), interactive: Queue::new(client, interactive_url) }
    }

    /// Sends one message to the queue of its priority, as [`Queue::send`].
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&self, message: &Message, delay: Duration) -> Result<(), SendError> {
        let queue = match message.priority() {
            Priority::Interactive => &self.interactive,
            Priority::Background => &self.work,
        };
        queue.send(message, delay).await
    }
}

/// At most ten messages and a megabyte to a call.
fn groups(texts: Vec<String>) -> Vec<Vec<String>> {
    let mut groups: Vec<Vec<String>> = Vec::new();
    let mut bytes = 0;
    for text in texts {
        match groups.last_mut() {
            Some(group) if group.len() < 10 && bytes + text.len() <= MAX_MESSAGE_BYTES => {
                bytes += text.len();
                group.push(text);
            }
            _ => {
                bytes = text.len();
                groups.push(vec![text]);
            }
        }
    }
    groups
}

fn delay_seconds(delay: Duration) -> i32 {
    let whole = delay.min(MAX_DELAY);
    let seconds = whole.as_secs() + u64::from(whole.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(900)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_carries_ten_messages_and_a_megabyte_at_most() {
        let sizes = |texts: Vec<usize>| {
            let groups = groups(texts.into_iter().map(|size| "x".repeat(size)).collect());
            groups.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(vec![]), Vec::<usize>::new());
        assert_eq!(sizes(vec![1; 21]), [10, 10, 1]);
        assert_eq!(sizes(vec![600_000, 400_000, 100_000, 1_000_000]), [2, 1, 1]);
    }

    #[test]
    fn delays_are_rounded_up_to_seconds_and_bounded() {
        let cases = [(1, 1), (1_000, 1), (1_001, 2), (900_000, 900), (86_400_000, 900)];
        for (millis, seconds) in cases {
            assert_eq!(delay_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}
