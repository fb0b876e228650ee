//! The template's schedules, on one machine.

use crate::dev::show::Show;
use clawbridge_journal::Level;
use clawbridge_local_aws::gateway::{Function, InvokeError};
use clawbridge_oauth_function::REFRESH;
use clawbridge_queue::{CatchUpMessage, Message, Queue};
use clawbridge_registry::Registry;
use std::time::{Duration, SystemTime};

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

/// Has `oauth` refresh the connections that expire soon, as often as `every` says, until `stop`.
pub(crate) async fn refresh(every: Duration, oauth: Function, show: Show, stop: impl Future<Output = ()>) {
    if every.is_zero() {
        return;
    }
    let mut stop = std::pin::pin!(stop);
    for count in 1_u64.. {
        tokio::select! {
            () = &mut stop => return,
            () = tokio::time::sleep(every) => {}
        }
        // An invocation that has begun goes on to its end: it may hold tokens that nobody else has.
        let invoked = oauth.call(REFRESH.as_bytes().to_vec(), format!("refresh-{count}"), SystemTime::now()).await;
        match invoked {
            Ok(_) => {}
            Err(InvokeError::Failed(reason)) => {
                show.note(&format!("the connections could not be looked at: {reason}"), Level::Error);
            }
            Err(error) => show.note(&format!("the connections could not be looked at: {error}"), Level::Error),
        }
    }
}
