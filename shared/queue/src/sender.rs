//! The sender.

use crate::MAX_DELAY;
use crate::message::{Message, MessageError};
use aws_sdk_sqs::Client;
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
    fn delays_are_rounded_up_to_seconds_and_bounded() {
        let cases = [(1, 1), (1_000, 1), (1_001, 2), (900_000, 900), (86_400_000, 900)];
        for (millis, seconds) in cases {
            assert_eq!(delay_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}
