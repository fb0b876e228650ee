//! Connections: who comes, what they send, that they go.

use crate::Channel;
use crate::bucket::{self, Admission, Bucket};
use crate::public::ChannelError;
use crate::records::{ConnectionDoc, KEEP, Role, User, connection_key};
use clawbridge_access::{Agent, Caller};
use clawbridge_clock::Timestamp;
use clawbridge_journal::Entry;
use clawbridge_queue::{ChannelMessage, Message};
use clawbridge_responses::frames::ErrorFrame;
use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

/// How many connections a process remembers.
const MAX_REMEMBERED: usize = 10_000;

/// How long after `$connect` a connector that says nothing of its own is looked for: API Gateway opens the connection only after it.
pub(crate) const AFTER_CONNECT: Duration = Duration::from_secs(1);

/// When a user's connection is looked at next; the queue's longest delay.
const NEXT_LOOK: Duration = Duration::from_secs(900);

/// What a process knows of a connection. Who somebody is never changes, so it is read once.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    role: Role,
    opened_at: Timestamp,
    bucket: Bucket,
}

pub(crate) type Memory = HashMap<String, Remembered>;

impl Channel {
    /// A user has connected.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn user_connects(&self, connection: &str, caller: &Caller, now: Timestamp) -> Result<(), ChannelError> {
        let scopes = caller.scopes().iter().map(ToString::to_string).collect();
        let user = User { token: caller.hash().as_str().to_owned(), name: caller.name().to_owned(), scopes };
        self.open_connection(connection, Role::User(user), now).await?;
        let message = Message::Channel(ChannelMessage::Connection { id: connection.to_owned() });
        Ok(self.queues.send(&message, NEXT_LOOK.min(self.pace.age)).await?)
    }

    /// An agent's connector has connected. `is_ours`: it says that it speaks `bridge.v1`, and will say `hello`.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn agent_connects(
        &self,
        connection: &str,
        agent: &Agent,
        is_ours: bool,
        now: Timestamp,
    ) -> Result<(), ChannelError> {
        self.open_connection(connection, Role::Agent { name: agent.name().to_owned(), is_ours }, now).await?;
        if is_ours {
            return Ok(());
        }
        let message = Message::Channel(ChannelMessage::Connected { connection: connection.to_owned(), looks: 0 });
        Ok(self.queues.send(&message, AFTER_CONNECT).await?)
    }

    async fn open_connection(&self, connection: &str, role: Role, now: Timestamp) -> Result<(), ChannelError> {
        let (word, name) = words(&role);
        clawbridge_journal::write(&Entry::ChannelConnected { connection, role: word, name });
        let document = Some(ConnectionDoc::new(role, now));
        self.store.keep(&connection_key(connection), &document, now.plus(KEEP)).await
    }

    /// A text frame has come.
    ///
    /// # Errors
    /// See [`ChannelError`]. Whoever sent it has been told where they can be.
    pub async fn frame(&self, connection: &str, text: &str, now: Timestamp) -> Result<(), ChannelError> {
        let Some(Remembered { role, opened_at, .. }) = self.remembered(connection).await? else {
            return self.gateway.close(connection).await;
        };
        match self.local_bucket(connection, &role, now) {
            Admission::Admitted => {}
            refused => return self.flooded(connection, refused, text.len()).await,
        }
        match &role {
            Role::User(user) => Box::pin(self.user_frame(connection, user, text)).await,
            Role::Agent { name, .. } => Box::pin(self.agent_frame(connection, name, opened_at, text)).await,
        }
    }

    /// A binary message has come, where API Gateway hands such over.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn binary(&self, connection: &str) -> Result<(), ChannelError> {
        if let Some(Remembered { role: Role::User(_), .. }) = self.remembered(connection).await? {
            self.gateway.post(connection, &ErrorFrame::binary().to_frame()).await?;
        }
        Ok(())
    }

    /// A connection has ended, as far as API Gateway tells.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn closed(&self, connection: &str) -> Result<(), ChannelError> {
        let Some(Remembered { role, .. }) = self.remembered(connection).await? else { return Ok(()) };
        let (word, name) = words(&role);
        clawbridge_journal::write(&Entry::ChannelClosed { connection, role: word, name });
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(connection);
        if let Role::Agent { name, is_ours } = &role {
            if !is_ours {
                // What it had said before it went still counts.
                self.act(name).await?;
            }
            self.agent_gone(name, connection).await?;
        }
        // A user's connection stays until its turns are through: they were accepted, and can be resumed elsewhere.
        Ok(())
    }

    async fn remembered(&self, connection: &str) -> Result<Option<Remembered>, ChannelError> {
        if let Some(known) = self.memory.lock().unwrap_or_else(PoisonError::into_inner).get(connection) {
            return Ok(Some(known.clone()));
        }
        let found = self.store.get::<Option<ConnectionDoc>>(&connection_key(connection)).await?;
        let Some(document) = found.and_then(|found| found.document) else { return Ok(None) };
        let known = Remembered { role: document.role, opened_at: document.opened_at, bucket: Bucket::default() };
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.len() >= MAX_REMEMBERED {
            memory.clear();
        }
        memory.insert(connection.to_owned(), known.clone());
        Ok(Some(known))
    }

    /// A bucket of this process, ahead of the table's: who floods costs no table calls, and agents none for their frames at all.
    fn local_bucket(&self, connection: &str, role: &Role, now: Timestamp) -> Admission {
        let rule = match role {
            Role::User(_) => bucket::USER,
            Role::Agent { .. } => bucket::AGENT,
        };
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.get_mut(connection).map_or(Admission::Admitted, |known| known.bucket.take(rule, now))
    }
}

fn words(role: &Role) -> (&'static str, &str) {
    match role {
        Role::User(user) => ("user", &user.name),
        Role::Agent { name, .. } => ("agent", name),
    }
}
