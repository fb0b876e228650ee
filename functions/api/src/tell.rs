//! What is done through the API is an event of the bridge's own.

use crate::note_inside;
use crate::state::Api;
use clawbridge_queue::{BRIDGE_SOURCE, BridgeEvent};
use std::time::Duration;

impl Api {
    /// Puts an event on the queue if a route or a subscription wants it. It tells of what has been done, so that it could not be told is written
    /// down and is no reason to say that it was not done.
    pub(crate) async fn tell(&self, event: &BridgeEvent<'_>) {
        if let Err(reason) = self.try_to_tell(event).await {
            note_inside(&reason, event.event_type);
        }
    }

    async fn try_to_tell(&self, event: &BridgeEvent<'_>) -> Result<(), String> {
        let config = self.registry.current().await.map_err(|error| error.to_string())?.config;
        let wants = self.registry.wants(&config, BRIDGE_SOURCE, event.event_type).await;
        if !wants.map_err(|error| error.to_string())? {
            return Ok(());
        }
        for text in event.messages(event.at).map_err(|error| error.to_string())? {
            self.queues.work.send_text(text, Duration::ZERO).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}
