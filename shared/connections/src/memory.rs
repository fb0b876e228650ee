//! What a process keeps of connections: token sets with bounded age, and whose turn it is to look.

use crate::connections::Unusable;
use crate::name::ConnectionName;
use crate::refresh::Want;
use crate::version::{Held, VersionId};
use clawbridge_clock::Timestamp;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::OwnedMutexGuard;

/// How long a token set is used without a look at the secret.
pub const FRESH: Duration = Duration::from_secs(5 * 60);

/// How long it is used where the secret cannot be read.
const STALE: Duration = Duration::from_secs(15 * 60);

#[derive(Clone, Debug)]
pub(crate) enum Kept {
    Held(Arc<Held>),
    /// There was nothing, which counts for those who were waiting to hear it.
    Nothing(Unusable),
}

#[derive(Debug, Default)]
struct State {
    held: Option<(Arc<Held>, Instant)>,
    nothing: Option<(Unusable, Instant)>,
    refused: Option<VersionId>,
}

/// One connection's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot {
    turn: Arc<tokio::sync::Mutex<()>>,
    state: Arc<Mutex<State>>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<HashMap<ConnectionName, Slot>>);

impl Memory {
    pub(crate) fn slot(&self, name: &ConnectionName) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(name.clone()).or_default().clone()
    }
}

impl Slot {
    pub(crate) async fn turn(&self) -> OwnedMutexGuard<()> {
        self.turn.clone().lock_owned().await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept, if it is what is wanted. `since`: when it was asked for; what was found out after that is not found out again.
    pub(crate) fn serve(&self, want: &Want, since: Instant) -> Option<Result<Arc<Held>, Unusable>> {
        let (now, state) = (Timestamp::now(), self.state());
        if let Some((held, at)) = &state.held {
            let serves = match want {
                Want::Fresh { early } => {
                    at.elapsed() < FRESH && !held.is_due(*early, now) || *at >= since && held.is_valid(now)
                }
                Want::Other(refused) => held.version != *refused && at.elapsed() < FRESH && held.is_valid(now),
                Want::Forced => false,
            };
            if serves {
                return Some(Ok(held.clone()));
            }
        }
        state.nothing.as_ref().filter(|(_, at)| *at >= since).map(|(nothing, _)| Err(nothing.clone()))
    }

    /// What does where nothing answers.
    pub(crate) fn standing(&self, now: Timestamp) -> Option<Arc<Held>> {
        let state = self.state();
        let (held, at) = state.held.as_ref()?;
        let is_refused = state.refused.as_ref() == Some(&held.version);
        (at.elapsed() < STALE && held.is_valid(now) && !is_refused).then(|| held.clone())
    }

    pub(crate) fn keep(&self, kept: Kept) {
        let mut state = self.state();
        match kept {
            Kept::Held(held) => {
                state.held = Some((held, Instant::now()));
                state.nothing = None;
            }
            Kept::Nothing(nothing) => {
                if !matches!(nothing, Unusable::Later { .. }) {
                    state.held = None;
                }
                state.nothing = Some((nothing, Instant::now()));
            }
        }
    }

    pub(crate) fn forget(&self) {
        *self.state() = State::default();
    }

    pub(crate) fn refused(&self, version: VersionId) {
        self.state().refused = Some(version);
    }

    /// Whether a refresh was tried for this version, and there is still no other.
    pub(crate) fn was_refused(&self, version: &VersionId) -> bool {
        let state = self.state();
        state.refused.as_ref() == Some(version) && state.held.as_ref().is_none_or(|(held, _)| held.version == *version)
    }
}
