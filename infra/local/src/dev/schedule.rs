//! The template's schedule, on one machine.

use crate::dev::show::Show;
use clawbridge_journal::Level;
use clawbridge_queue::{CatchUpMessage, Message, Queue};
use clawbridge_registry::Registry;
use std::time::Duration;

/// The first look at the delivery logs comes so long after the start, or earlier where the rhythm is faster: who starts the bridge after it
/// was down need not wait a quarter of an hour.
const FIRST: Duration = Duration::from_secs(60);

/// Puts the message on the queue that asks for what senders that never retry have missed, as often as `every` says, until `stop`; none where
/// bridge.toml has no catch_up.
pub(crate) async fn catch_up(
    every: Duration,
    registry: Registry,
    queue: Queue,
    show: Show,
    stop: impl Future<Output = ()>,
) {
    if every.is_zero() {
        return;
    }
    let mut stop = std::pin::pin!(stop);
    let mut wait = every.min(FIRST);
    loop {
        tokio::select! {
            () = &mut stop => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = every;
        // A table out of reach is reported by the worker, which needs it more.
        let is_wanted = registry.current().await.is_ok_and(|version| !version.config.config().catch_up.is_empty());
        if !is_wanted {
            continue;
        }
        if let Err(error) = queue.send(&Message::CatchUp(CatchUpMessage::default()), Duration::ZERO).await {
            show.note(&format!("the schedule's message could not be sent: {error}"), Level::Error);
        }
    }
}
