//! The API that tools call: it answers at once and notes who called when.

use crate::failure::Failure;
use crate::wire::{Server, reply};
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the notes are looked at while waiting.
const LOOK: Duration = Duration::from_millis(5);

/// The number of the delivery that a call is the effect of, and when its request had arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) number: u64,
    pub(crate) at: Instant,
}

/// A running stub.
#[derive(Debug)]
pub(crate) struct Stub {
    pub(crate) server: Server,
    calls: Arc<Mutex<Vec<Call>>>,
}

#[derive(Deserialize)]
struct Input {
    n: u64,
}

impl Stub {
    pub(crate) async fn start() -> Result<Stub, Failure> {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&calls);
        let server = Server::start(move |request| {
            let at = Instant::now();
            let input: Result<Input, _> = serde_json::from_slice(request.body());
            let response = match input {
                Ok(input) => {
                    lock(&notes).push(Call { number: input.n, at });
                    reply(StatusCode::OK, "application/json", Bytes::from_static(b"{\"ok\":true}"))
                }
                Err(_) => reply(StatusCode::BAD_REQUEST, "application/json", Bytes::from_static(b"{\"ok\":false}")),
            };
            std::future::ready(response)
        })
        .await?;
        Ok(Stub { server, calls })
    }

    /// The calls since the last time they were taken.
    pub(crate) fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *lock(&self.calls))
    }

    /// Waits until `count` calls have come since the last [`Stub::take`], or none has for `patience`.
    pub(crate) async fn settled(&self, count: usize, patience: Duration) {
        let (mut seen, mut changed) = (0, Instant::now());
        loop {
            let now = lock(&self.calls).len();
            if now >= count || (now == seen && changed.elapsed() > patience) {
                return;
            }
            if now != seen {
                (seen, changed) = (now, Instant::now());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Nothing is half-made between statements, so the notes of a panicked connection are as good as any.
fn lock(calls: &Mutex<Vec<Call>>) -> std::sync::MutexGuard<'_, Vec<Call>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often deliveries were acted on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Acted {
    /// Deliveries that were answered with 2xx.
    pub(crate) accepted: usize,
    /// Of them, acted on exactly once.
    pub(crate) once: usize,
    /// Of them, acted on more than once.
    pub(crate) repeatedly: usize,
    /// Of them, not acted on in the time that was given.
    pub(crate) never: usize,
    /// Not answered with 2xx and acted on all the same.
    pub(crate) unaccepted: usize,
}

impl Acted {
    pub(crate) fn count(accepted: &BTreeSet<u64>, calls: &[Call]) -> Acted {
        let mut times: BTreeMap<u64, usize> = BTreeMap::new();
        for call in calls {
            *times.entry(call.number).or_default() += 1;
        }
        let mut acted = Acted { accepted: accepted.len(), ..Acted::default() };
        for number in accepted {
            match times.get(number) {
                None => acted.never += 1,
                Some(1) => acted.once += 1,
                Some(_) => acted.repeatedly += 1,
            }
        }
        acted.unaccepted = times.keys().filter(|number| !accepted.contains(number)).count();
        acted
    }

    pub(crate) fn plus(self, other: Acted) -> Acted {
        Acted {
            accepted: self.accepted + other.accepted,
            once: self.once + other.once,
            repeatedly: self.repeatedly + other.repeatedly,
            never: self.never + other.never,
            unaccepted: self.unaccepted + other.unaccepted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Connection, post};

    #[test]
    fn each_delivery_is_counted_by_how_often_it_was_acted_on() {
        let at = Instant::now();
        let calls: Vec<Call> = [1, 2, 2, 9].map(|number| Call { number, at }).into();
        let acted = Acted::count(&BTreeSet::from([1, 2, 3]), &calls);
        assert_eq!(acted, Acted { accepted: 3, once: 1, repeatedly: 1, never: 1, unaccepted: 1 });
        assert_eq!(acted.plus(acted).accepted, 6);
    }

    #[tokio::test]
    async fn calls_are_noted_until_they_are_taken() {
        let stub = Stub::start().await.expect("a stub");
        let mut connection = Connection::open(stub.server.address).await.expect("a connection");
        for body in ["{\"n\":4}", "{\"n\":5,\"more\":1}", "nonsense"] {
            connection.send(post("/effects", &[], Bytes::from(body)).expect("a request")).await.expect("an answer");
        }
        stub.settled(2, Duration::from_secs(20)).await;
        let numbers: Vec<u64> = stub.take().iter().map(|call| call.number).collect();
        assert_eq!(numbers, [4, 5]);
        assert!(stub.take().is_empty());
    }

    #[tokio::test]
    async fn waiting_ends_when_nothing_comes() {
        let stub = Stub::start().await.expect("a stub");
        stub.settled(1, Duration::ZERO).await;
        assert!(stub.take().is_empty());
    }
}
