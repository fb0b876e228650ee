//! What happens through the API, as events of the source `bridge`.

use crate::state::Api;
use clawbridge_clock::Timestamp;
use clawbridge_queue::{BRIDGE_SOURCE, SkillEvent};
use std::time::Duration;

/// Puts an event on the queue if a route or a subscription wants it. What could not be told is written down and is no reason to say that it was not done: it was.
pub(crate) async fn tell(api: &Api, event: &SkillEvent<'_>, now: Timestamp) {
    let failed = |reason: String| crate::note_inside(&reason, event.skill);
    let version = match api.registry.current().await {
        Ok(version) => version,
        Err(error) => return failed(error.to_string()),
    };
    match api.registry.wants(&version.config, BRIDGE_SOURCE, event.event_type()).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => return failed(error.to_string()),
    }
    let texts = match event.messages(now) {
        Ok(texts) => texts,
        Err(error) => return failed(error.to_string()),
    };
    for text in texts {
        if let Err(error) = api.queues.work.send_text(text, Duration::ZERO).await {
            return failed(error.to_string());
        }
    }
}
