//! The schedule's wish: what senders that never retry have missed is asked for.

use crate::{Loaded, Worker};
use clawbridge_catchup::{Asked, By, CatchUpError, KEPT, Order, Report, Stopped, run};
use clawbridge_clock::Timestamp;
use clawbridge_config::CatchUp;
use clawbridge_journal::Entry;
use clawbridge_queue::CatchUpMessage;
use clawbridge_tools::credential;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Left of an invocation when a run must have ended.
const RESERVE: Duration = Duration::from_secs(2);

/// The longest run. The other messages of the batch are done with only when it is.
const LONGEST: Duration = Duration::from_secs(40);

/// What this process has asked for lately, by source. Locked while it runs.
pub(crate) type Memory = Arc<Mutex<BTreeMap<String, Asked>>>;

impl Worker {
    /// Goes through the delivery logs. The message is done with whatever comes of it: the schedule sends the next one.
    pub(crate) async fn catch_up(&self, message: &CatchUpMessage, deadline: Timestamp) {
        // Messages that piled up while nothing ran come at once, and one of them does the work of all.
        let Ok(mut memory) = self.catching_up.try_lock() else { return };
        let loaded = match self.loaded().await {
            Ok(loaded) => loaded,
            Err(trouble) => {
                let reason = trouble.to_string();
                let entry = Entry::BridgeFailed { code: trouble.code(), reason: &reason, subject: "catch-up" };
                clawbridge_journal::write(&entry);
                return;
            }
        };
        let logs = &loaded.config.config().catch_up;
        if let Some(source) = message.source.as_ref().filter(|source| !logs.contains_key(*source)) {
            let reason = "bridge.toml has no such catch_up";
            let entry = Entry::BridgeFailed { code: "UNKNOWN_CATCH_UP", reason, subject: source };
            clawbridge_journal::write(&entry);
        }
        let wanted = logs.iter().filter(|(name, _)| message.source.as_ref().is_none_or(|source| source == *name));
        let runs = wanted.map(|(name, log)| {
            let asked = memory.remove(name).unwrap_or_default();
            self.catch_up_with(&loaded, name, log, asked, deadline)
        });
        let runs: Vec<_> = runs.collect();
        memory.extend(join_all(runs).await);
    }

    async fn catch_up_with(
        &self,
        loaded: &Loaded,
        name: &str,
        log: &CatchUp,
        mut asked: Asked,
        deadline: Timestamp,
    ) -> (String, Asked) {
        let started = Instant::now();
        let report = match credential(&self.secrets, &self.deployment, log.secret()).await {
            Ok(token) => {
                let now = Timestamp::now();
                let left = now.until(deadline).saturating_sub(RESERVE).min(LONGEST);
                let order =
                    Order { log, token: &token, by: By::Schedule, since: now.minus(KEPT), dry_run: false, now, left };
                run(&loaded.outbound, &order, &mut asked).await
            }
            Err(error) => Report::failed(CatchUpError::from(error)),
        };
        note(name, &report, started.elapsed());
        (name.to_owned(), asked)
    }
}

/// The run's line.
fn note(source: &str, report: &Report, took: Duration) {
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let go_on_at = match &report.stopped {
        Stopped::Failed(error) => {
            let reason = error.to_string();
            let (code, passing, asked) = (error.code(), error.is_passing(), report.asked());
            let entry = Entry::CatchUpFailed { source, code, reason: &reason, passing, asked, ms };
            return clawbridge_journal::write(&entry);
        }
        Stopped::RateLimited { until } => Some(until.rfc3339()),
        _ => None,
    };
    clawbridge_journal::write(&Entry::CatchUpRan {
        source,
        looked_at: report.looked_at,
        missed: report.missed.len(),
        asked: report.asked(),
        left: report.left(),
        stopped: report.stopped.as_str(),
        go_on_at: go_on_at.as_deref(),
        ms,
    });
}
