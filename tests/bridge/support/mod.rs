//! What the tests stand on: a bridge of their own each, and an API for its tools to call.

pub(crate) mod authority;
mod bridge;
pub(crate) mod browser;
pub(crate) mod channel;
pub(crate) mod clients;
mod node;
mod stub;
pub(crate) mod work;

pub(crate) use bridge::{
    Answer, Bridge, Got, Options, client, exchange, hmac_sha256, openclaw_signature, program, run,
};
pub(crate) use stub::{Call, Reply, Stub};

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a condition may take to come true. Generous: the tests share two cores.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a condition and returns what it found; fails with `what` when it does not come true.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "did not happen within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The repository's root.
pub(crate) fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// For handlers that run in the tests' own process: what they log is not printed, and logging about the subject `task_that_panics` panics.
/// One for all tests, as a process has one sink.
pub(crate) fn take_the_journal() {
    use clawbridge_journal::Entry;
    // Where another test has set it, it is this same one.
    let _is_first = clawbridge_journal::set_sink(Box::new(|entry| {
        assert!(!matches!(entry, Entry::BridgeFailed { subject: "task_that_panics", .. }), "on purpose");
    }));
}
