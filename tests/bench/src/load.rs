//! Deliveries posted to a running bridge: as fast as it takes them, or at a steady rate.

use crate::failure::Failure;
use crate::fixtures::{Delivery, PATH, SIGNATURE};
use crate::wire::{Connection, Pool, post};
use bytes::Bytes;
use http::Request;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// One delivery that was posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Posted {
    pub(crate) number: u64,
    pub(crate) sent: Instant,
    /// From `sent` to the whole answer.
    pub(crate) took: Duration,
    pub(crate) status: u16,
}

impl Posted {
    pub(crate) fn is_accepted(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

fn request(delivery: &Delivery) -> Result<Request<Bytes>, Failure> {
    post(PATH, &[(SIGNATURE, &delivery.signature)], delivery.body.clone())
}

/// Posts `deliveries` over so many keep-alive `connections`, each with one request at a time, and begins none after `limit`. Answers
/// what was posted and how long all of it took.
pub(crate) async fn burst(
    address: SocketAddr,
    connections: usize,
    deliveries: Vec<Delivery>,
    limit: Duration,
) -> Result<(Vec<Posted>, Duration), Failure> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(address).await?);
    }
    let (deliveries, next) = (Arc::new(deliveries), Arc::new(AtomicUsize::new(0)));
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for mut connection in open {
        let (deliveries, next) = (Arc::clone(&deliveries), Arc::clone(&next));
        senders.spawn(async move {
            let mut posted = Vec::new();
            while started.elapsed() < limit
                && let Some(delivery) = deliveries.get(next.fetch_add(1, Ordering::Relaxed))
            {
                let request = request(delivery)?;
                let sent = Instant::now();
                let status = connection.send(request).await?.status().as_u16();
                posted.push(Posted { number: delivery.number, sent, took: sent.elapsed(), status });
            }
            Ok(posted)
        });
    }
    let posted = gather(senders).await?.into_iter().flatten().collect();
    Ok((posted, started.elapsed()))
}

/// Posts `deliveries` one every `interval`, whether those before are answered or not.
pub(crate) async fn steady(
    address: SocketAddr,
    deliveries: Vec<Delivery>,
    interval: Duration,
) -> Result<Vec<Posted>, Failure> {
    let pool = Arc::new(Pool::new(address));
    let mut ticks = tokio::time::interval(interval);
    let mut senders = JoinSet::new();
    for delivery in deliveries {
        let request = request(&delivery)?;
        ticks.tick().await;
        let pool = Arc::clone(&pool);
        senders.spawn(async move {
            let sent = Instant::now();
            let status = pool.send(request).await?.status().as_u16();
            Ok(Posted { number: delivery.number, sent, took: sent.elapsed(), status })
        });
    }
    gather(senders).await
}

async fn gather<T: 'static>(mut senders: JoinSet<Result<T, Failure>>) -> Result<Vec<T>, Failure> {
    let mut all = Vec::new();
    while let Some(ended) = senders.join_next().await {
        all.push(ended.map_err(|error| Failure::harness("a sender", error))??);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Server, reply};
    use http::StatusCode;
    use std::collections::BTreeSet;

    async fn server() -> Server {
        Server::start(|request: Request<Bytes>| async move {
            let signed = request.headers().contains_key(SIGNATURE) && request.uri().path() == PATH;
            reply(if signed { StatusCode::OK } else { StatusCode::UNAUTHORIZED }, "text/plain", Bytes::new())
        })
        .await
        .expect("a server")
    }

    fn deliveries(count: u64) -> Vec<Delivery> {
        (0..count).map(|number| Delivery::new(number).expect("a delivery")).collect()
    }

    #[tokio::test]
    async fn each_delivery_is_posted_once_over_any_number_of_connections() {
        let server = server().await;
        for connections in [1, 3, 8] {
            let (posted, _) =
                burst(server.address, connections, deliveries(50), Duration::from_secs(60)).await.expect("posted");
            let numbers: BTreeSet<u64> =
                posted.iter().filter(|posted| posted.is_accepted()).map(|posted| posted.number).collect();
            assert_eq!((posted.len(), numbers.len()), (50, 50), "{connections}");
        }
    }

    #[tokio::test]
    async fn no_delivery_is_begun_when_the_time_is_up() {
        let (posted, _) = burst(server().await.address, 2, deliveries(5), Duration::ZERO).await.expect("nothing");
        assert_eq!(posted, []);
    }

    #[tokio::test]
    async fn a_steady_rate_posts_all_and_not_faster() {
        let server = server().await;
        let started = Instant::now();
        let posted = steady(server.address, deliveries(5), Duration::from_millis(2)).await.expect("posted");
        assert_eq!(posted.iter().filter(|posted| posted.is_accepted()).count(), 5);
        assert!(started.elapsed() >= Duration::from_millis(8));
    }
}
