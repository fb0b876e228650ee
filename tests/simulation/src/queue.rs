//! A queue that delivers at least once, in any order.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues-at-least-once-delivery.html>

use clawbridge_tasks::NewTask;
use clawbridge_tasks::machine::Ask;
use std::collections::BTreeMap;

/// How often a message is received before it goes to the dead-letter queue.
const MAX_RECEIVES: u32 = 10;

/// What a message says.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// An event, or a replay of it, whose routes make these tasks.
    Event { tasks: Vec<NewTask>, replay: Option<String> },
    /// About one task.
    Task { task: String, ask: Ask },
}

#[derive(Clone, Debug)]
struct Message {
    said: Said,
    visible_at: u64,
    receives: u32,
}

/// A receipt of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handle {
    pub(crate) message: u64,
    receive: u32,
}

/// The queue and its dead-letter queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    messages: BTreeMap<u64, Message>,
    dead: Vec<Said>,
    next: u64,
}

impl Queue {
    pub(crate) fn send(&mut self, said: Said, visible_at: u64) {
        self.messages.insert(self.next, Message { said, visible_at, receives: 0 });
        self.next += 1;
    }

    /// The messages that can be received.
    pub(crate) fn visible(&self, now: u64) -> Vec<u64> {
        self.messages.iter().filter(|(_, message)| message.visible_at <= now).map(|(id, _)| *id).collect()
    }

    /// Receives one of them and hides it until then. `None`: it has been received too often and is a dead letter now.
    pub(crate) fn receive(&mut self, id: u64, hidden_until: u64) -> Option<(Handle, Said)> {
        let message = self.messages.get_mut(&id)?;
        if message.receives >= MAX_RECEIVES {
            self.dead.extend(self.messages.remove(&id).map(|message| message.said));
            return None;
        }
        message.receives += 1;
        message.visible_at = hidden_until;
        Some((Handle { message: id, receive: message.receives }, message.said.clone()))
    }

    /// Whether no later receipt of the message exists.
    pub(crate) fn is_latest(&self, handle: Handle) -> bool {
        self.messages.get(&handle.message).is_none_or(|message| message.receives == handle.receive)
    }

    pub(crate) fn delete(&mut self, handle: Handle) {
        self.messages.remove(&handle.message);
    }

    /// An operator moves the dead letters back.
    pub(crate) fn redrive(&mut self, now: u64) -> u64 {
        let dead = std::mem::take(&mut self.dead);
        let count = dead.len() as u64;
        for said in dead {
            self.send(said, now);
        }
        count
    }
}
