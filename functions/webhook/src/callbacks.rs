//! Answers of upstreams to tasks that wait for them, at addresses that only this stack can make.

use crate::Webhook;
use crate::answer::Answer;
use clawbridge_callbacks::{KEY_NAME, Ticket, TicketError};
use clawbridge_clock::Timestamp;
use clawbridge_journal::Entry;
use clawbridge_packed::Packed;
use clawbridge_queue::{AnswerMessage, Body, Message};
use clawbridge_secrets::{SecretError, Secrets, Stage};
use lambda_http::Request;
use std::time::Duration;

/// The largest answer, bytes: it travels in one message, whatever is in it.
const MAX_ANSWER_BYTES: usize = 512 * 1024;

/// The key of the tickets. Clones share the cache.
#[derive(Clone, Debug)]
pub(crate) struct Callbacks {
    secrets: Secrets,
    key: String,
}

impl Callbacks {
    pub(crate) fn new(secrets: Secrets, prefix: &str) -> Callbacks {
        Callbacks { secrets, key: format!("{prefix}/{KEY_NAME}") }
    }

    /// The ticket, if the key now or the one before it has signed it.
    async fn read(&self, text: &str, now: Timestamp) -> Result<Ticket, Answer> {
        let refused = |error: TicketError| match error {
            TicketError::Forged => Answer::unknown_callback(error.to_string()),
            TicketError::Expired => Answer::expired_callback(),
        };
        // Nothing is looked up for what cannot be one.
        if text.len() > clawbridge_callbacks::MAX_TICKET_CHARS || !text.contains('.') {
            return Err(refused(TicketError::Forged));
        }
        for stage in [Stage::Current, Stage::Previous] {
            let key = match self.secrets.get(&self.key, stage).await {
                Ok(key) => key,
                Err(SecretError::Missing { .. }) => return Err(refused(TicketError::Forged)),
                Err(error) => return Err(Answer::unavailable("SOURCE_UNAVAILABLE", error.to_string())),
            };
            match Ticket::read(text, &[key.expose()], now) {
                Ok(ticket) => return Ok(ticket),
                Err(error @ TicketError::Expired) => return Err(refused(error)),
                Err(TicketError::Forged) => {}
            }
        }
        Err(refused(TicketError::Forged))
    }
}

impl Webhook {
    /// Puts an answer on the queue.
    pub(crate) async fn callback(&self, request: &Request, ticket: &str, request_id: &str, now: Timestamp) -> Answer {
        let body: &[u8] = request.body();
        if body.len() > MAX_ANSWER_BYTES {
            return Answer::too_large();
        }
        let ticket = match self.callbacks.read(ticket, now).await {
            Ok(ticket) => ticket,
            Err(answer) => return answer,
        };
        let (task, attempt) = (ticket.task().to_owned(), ticket.attempt());
        let message = Message::Answer(AnswerMessage { task, attempt, body: Body::inline(Packed::pack(body)) });
        if let Err(error) = self.queue.send(&message, Duration::ZERO).await {
            return Answer::unavailable("QUEUE_UNAVAILABLE", error.to_string());
        }
        let (task, bytes) = (ticket.task(), body.len());
        clawbridge_journal::write(&Entry::AnswerAccepted { task, attempt, bytes, request_id });
        Answer::accepted()
    }
}
