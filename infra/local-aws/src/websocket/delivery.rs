//! How events reach the functions: as they come, or worse, as AWS allows itself.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

/// What may happen to events on their way. The default is the best that AWS does; nothing here is worse than it may do.
///
/// Each message is an invocation of its own in any case, and they run at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// From which the order of messages and the loss of events are drawn.
    pub seed: u64,
    /// Whether the messages of a connection reach the functions in another order than they came in.
    pub shuffle: Option<Shuffle>,
    /// How many of a hundred `$disconnect` events never come. The developer guide ("Manage connected users and client apps")
    /// calls that event best effort.
    pub lost_disconnects: u8,
    /// How long after the end of its connection a `$disconnect` event comes, by the API's clock: AWS may notice late.
    pub disconnect_after: Duration,
}

/// Holds messages back and hands them out in a drawn order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shuffle {
    /// How many messages of one connection are mixed.
    pub window: usize,
    /// How long messages are held for want of more.
    pub wait: Duration,
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): enough to draw an order.
#[derive(Clone, Debug)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A generator that draws from here on by itself.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// True in `percent` of a hundred cases.
    pub(super) fn happens(&mut self, percent: u8) -> bool {
        self.next() % 100 < u64::from(percent)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.next() % (last as u64 + 1)).unwrap_or(0);
            items.swap(last, other);
        }
    }
}

/// Hands `arrivals` out in drawn orders until no more can come.
pub(super) async fn shuffled<T>(
    shuffle: Shuffle,
    mut draw: Draw,
    mut arrivals: mpsc::UnboundedReceiver<T>,
    hand_out: impl Fn(T),
) {
    let mut held = Vec::new();
    let mut until = Instant::now();
    loop {
        let more = if held.is_empty() {
            let first = arrivals.recv().await;
            until = Instant::now() + shuffle.wait;
            Ok(first)
        } else {
            tokio::time::timeout_at(until, arrivals.recv()).await
        };
        let over = matches!(more, Ok(None));
        if let Ok(Some(item)) = more {
            held.push(item);
            if held.len() < shuffle.window {
                continue;
            }
        }
        draw.shuffle(&mut held);
        held.drain(..).for_each(&hand_out);
        if over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    async fn order(seed: u64, count: usize, window: usize) -> Vec<usize> {
        let (arrive, arrivals) = mpsc::unbounded_channel();
        (0..count).for_each(|item| arrive.send(item).unwrap());
        drop(arrive);
        let seen = RefCell::new(Vec::new());
        let shuffle = Shuffle { window, wait: Duration::from_secs(20) };
        shuffled(shuffle, Draw::new(seed), arrivals, |item| seen.borrow_mut().push(item)).await;
        seen.into_inner()
    }

    #[tokio::test]
    async fn a_seed_is_an_order_and_nothing_is_lost() {
        let first = order(1, 10, 4).await;
        assert_eq!(first, order(1, 10, 4).await);
        assert_ne!(first, order(2, 10, 4).await);
        assert_ne!(first, (0..10).collect::<Vec<_>>());
        for (window, items) in [(0..4, &first[..4]), (4..8, &first[4..8]), (8..10, &first[8..])] {
            let mut items = items.to_vec();
            items.sort_unstable();
            assert_eq!(items, window.collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn what_is_held_for_want_of_more_comes_in_time() {
        let (arrive, arrivals) = mpsc::unbounded_channel();
        let (out, mut handed_out) = mpsc::unbounded_channel();
        arrive.send("alone").unwrap();
        let shuffle = Shuffle { window: 4, wait: Duration::from_millis(5) };
        let running = shuffled(shuffle, Draw::new(0), arrivals, |item| out.send(item).unwrap());
        tokio::select! {
            () = running => panic!("it ended"),
            item = handed_out.recv() => assert_eq!(item, Some("alone")),
        }
    }

    #[test]
    fn losses_happen_as_often_as_they_should() {
        for (percent, range) in [(0, 0..=0), (30, 200..=400), (100, 1000..=1000)] {
            let mut draw = Draw::new(7);
            let lost = (0..1000).filter(|_| draw.happens(percent)).count();
            assert!(range.contains(&lost), "{percent}: {lost}");
        }
    }
}
