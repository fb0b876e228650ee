//! Time as the local services see it: the machine's, or a test's that stands still until it is moved.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// Milliseconds since the Unix epoch, the unit in which SQS writes its timestamps.
pub type Millis = i64;

/// Where the services read the time and wait for it. Cloning shares the clock.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's clock and Tokio's timers.
    #[default]
    System,
    /// A clock that only moves when it is told to.
    Manual(ManualClock),
}

impl Clock {
    /// Now, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now(&self) -> Millis {
        match self {
            Self::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)),
            Self::Manual(clock) => *clock.now.borrow(),
        }
    }

    /// Waits until [`Clock::now`] is at least `at`.
    pub async fn sleep_until(&self, at: Millis) {
        match self {
            Self::System => {
                // A wall clock may be set back while a timer runs, hence the loop.
                while let Ok(left @ 1..) = u64::try_from(at.saturating_sub(self.now())) {
                    tokio::time::sleep(Duration::from_millis(left)).await;
                }
            }
            Self::Manual(clock) => {
                let mut now = clock.now.subscribe();
                // The sender lives as long as `clock`, so waiting cannot fail.
                let _reached = now.wait_for(|now| *now >= at).await;
            }
        }
    }
}

/// The hands of a clock that stands still. Cloning shares it.
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<watch::Sender<Millis>>,
}

impl ManualClock {
    /// A clock that shows `now`, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn new(now: Millis) -> Self {
        Self { now: Arc::new(watch::Sender::new(now)) }
    }

    /// Moves the clock forward and wakes whoever waited for that time.
    pub fn advance(&self, by: Duration) {
        let by = Millis::try_from(by.as_millis()).unwrap_or(Millis::MAX);
        self.now.send_modify(|now| *now = now.saturating_add(by));
    }

    /// How many are waiting for a later time: lets a test know that a receiver has gone to sleep.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.now.receiver_count()
    }
}
