//! The schedule's wish: what expires soon is refreshed, and who has to be told is told.

use crate::{Oauth, providers, swept};
use clawbridge_connections::step::Note;
use clawbridge_connections::{ConnectionName, Happening, Unusable};
use clawbridge_journal::Entry;
use clawbridge_queue::{ConnectionChange, ConnectionEvent};
use clawbridge_registry::Version;
use lambda_runtime::Error;
use serde_json::Value;
use std::time::Duration;

impl Oauth {
    /// Sweeps the connections once, within `left`. What could not be refreshed is tried again by the next one.
    ///
    /// # Errors
    /// The table could not be read.
    pub async fn refresh(&self, left: Duration) -> Result<Value, Error> {
        let version = self.registry.current().await?;
        if version.config.providers().is_empty() {
            return Ok(swept(0, 0, 0));
        }
        let done = self.connections.sweep(&providers(&version), left).await?;
        for (name, note) in self.connections.notes() {
            // Of what was refused the sweep's own line says why.
            if let Some(entry) = note.entry(&name).filter(|_| !matches!(note, Note::Refused { .. })) {
                clawbridge_journal::write(&entry);
            }
        }
        for (name, unusable) in &done.failed {
            failed(name, unusable);
        }
        for happening in self.connections.happenings() {
            self.expired(&version, &happening).await;
        }
        Ok(swept(done.seen, done.refreshed, done.failed.len()))
    }

    async fn expired(&self, version: &Version, happening: &Happening) {
        let Happening::Expired { name, generation, code } = happening;
        let (provider, account, generation) = (name.provider(), name.account(), *generation);
        let record = self.connections.show(name).await.ok().flatten();
        let since = record.and_then(|record| record.last_error).map(|error| error.at);
        let event =
            ConnectionEvent { provider, account, generation, change: ConnectionChange::Expired { code, since } };
        // What is not told comes again with the next sweep, under the same id.
        if !self.tell(version, &event).await {
            return;
        }
        clawbridge_journal::write(&Entry::ConnectionExpired { provider, account, generation, code });
        if let Err(unusable) = self.connections.told(happening).await {
            failed(name, &unusable);
        }
    }
}

fn failed(name: &ConnectionName, unusable: &Unusable) {
    let (provider, account, reason) = (name.provider(), name.account(), unusable.to_string());
    let code = match unusable {
        Unusable::UnknownProvider(_) => "UNKNOWN_PROVIDER",
        Unusable::NotConnected(_) => "NOT_CONNECTED",
        // Told by the line of its expiry.
        Unusable::NeedsReauth { .. } => return,
        Unusable::Later { code, .. } => code,
    };
    clawbridge_journal::write(&Entry::ConnectionFailed { provider, account, code, reason: &reason });
}
