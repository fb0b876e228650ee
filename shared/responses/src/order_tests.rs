use super::*;
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);

fn at(millis: u64) -> Timestamp {
    START.plus(Duration::from_millis(millis))
}

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn a_missing_frame_is_waited_for_and_then_given_up_for_good() {
    let mut order = Numbered::new(0, 10, PATIENCE);
    assert_eq!(order.offer(0, 'a', at(0)), Ok(vec!['a']));
    assert_eq!(order.deadline(), None);
    assert_eq!(order.offer(2, 'c', at(100)), Ok(vec![]));
    assert_eq!(order.offer(3, 'd', at(200)), Ok(vec![]));
    assert_eq!(order.deadline(), Some(at(5100)));
    assert_eq!(order.tick(at(5099)), Ok(()));
    assert_eq!(order.tick(at(5100)), Err(Gap { missing: 1 }));
    assert_eq!(order.offer(1, 'b', at(5101)), Err(Gap { missing: 1 }));
    assert_eq!(order.next(), 1);
}

#[test]
fn what_is_too_far_ahead_is_a_gap() {
    let mut order = Numbered::new(5, 3, PATIENCE);
    assert_eq!(order.offer(7, 'c', at(0)), Ok(vec![]));
    assert_eq!(order.offer(4, 'x', at(0)), Ok(vec![]));
    assert_eq!(order.offer(8, 'd', at(0)), Err(Gap { missing: 5 }));
    assert_eq!(
        Numbered::new(u64::MAX - 1, 3, PATIENCE).offer(u64::MAX, 'x', at(0)),
        Err(Gap { missing: u64::MAX - 1 })
    );
}

#[test]
fn a_new_gap_gets_new_patience() {
    let mut order = Numbered::new(0, 10, PATIENCE);
    assert_eq!(order.offer(1, 'b', at(0)), Ok(vec![]));
    assert_eq!(order.offer(3, 'd', at(4000)), Ok(vec![]));
    assert_eq!(order.offer(0, 'a', at(4900)), Ok(vec!['a', 'b']));
    assert_eq!(order.deadline(), Some(at(9900)));
}

fn frames(released: Vec<Released<u32>>) -> Vec<u32> {
    released.into_iter().map(|released| released.frame).collect()
}

#[test]
fn frames_of_one_moment_come_out_by_rank_and_then_as_they_came() {
    let mut held = HeldBack::new(Duration::from_millis(400), 100);
    for (sent, rank, frame) in [(5, 5, 9), (5, 2, 1), (5, 0, 0), (5, 2, 2), (4, 5, 7)] {
        held.offer(Some(at(sent)), rank, frame, at(10));
    }
    assert_eq!(held.due(at(409)), []);
    assert_eq!(held.deadline(), Some(at(410)));
    assert_eq!(frames(held.due(at(410))), [7, 0, 1, 2, 9]);
}

#[test]
fn what_comes_too_late_comes_out_marked() {
    let mut held = HeldBack::new(Duration::from_millis(400), 100);
    held.offer(Some(at(5)), 2, 1, at(10));
    assert_eq!(held.due(at(410)), [Released { frame: 1, is_late: false }]);
    held.offer(Some(at(4)), 2, 2, at(411));
    held.offer(Some(at(5)), 2, 3, at(411));
    held.offer(None, 2, 4, at(411));
    let out = held.flush();
    assert_eq!(out.iter().map(|released| released.is_late).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(frames(out), [2, 3, 4]);
}

#[test]
fn no_more_is_held_than_may_be() {
    let mut held = HeldBack::new(Duration::from_secs(1000), 2);
    for frame in 0..5 {
        held.offer(Some(at(u64::from(frame))), 2, frame, at(0));
    }
    assert_eq!(frames(held.due(at(0))), [0, 1, 2]);
}

proptest! {
    #[test]
    fn numbered_frames_come_out_in_order_and_once(
        order in Just((0..40_u64).collect::<Vec<_>>()).prop_shuffle(),
        again in prop::collection::vec(0..40_usize, 0..20),
    ) {
        let mut buffer = Numbered::new(0, 40, PATIENCE);
        let mut out = Vec::new();
        for (index, number) in order.iter().enumerate() {
            out.extend(buffer.offer(*number, *number, START).unwrap());
            if let Some(index) = again.get(index) {
                // Whichever of those that came, or will come.
                out.extend(buffer.offer(order[*index], order[*index], START).unwrap());
            }
            let stored = serde_json::to_string(&buffer).unwrap();
            buffer = serde_json::from_str(&stored).unwrap();
        }
        prop_assert_eq!(out, (0..40).collect::<Vec<_>>());
    }

    #[test]
    fn frames_that_are_delayed_for_less_than_the_hold_come_out_in_the_order_of_their_times(
        gaps in prop::collection::vec((1..300_u64, 0..400_u64), 1..40),
    ) {
        let hold = Duration::from_millis(400);
        let mut sent = 0;
        // (arrives, sent); the delay is below the hold, so none arrives more than it after one that was sent later.
        let mut frames: Vec<(u64, u64)> = gaps.iter().map(|(gap, delay)| { sent += gap; (sent + delay, sent) }).collect();
        let expected: Vec<u64> = frames.iter().map(|(_, sent)| *sent).collect();
        frames.sort_unstable();
        let mut held = HeldBack::new(hold, 1000);
        let mut out = Vec::new();
        for (arrives, sent) in frames {
            out.extend(held.due(at(arrives)));
            held.offer(Some(at(sent)), 2, sent, at(arrives));
        }
        out.extend(held.flush());
        prop_assert!(out.iter().all(|released| !released.is_late));
        prop_assert_eq!(out.into_iter().map(|released| released.frame).collect::<Vec<_>>(), expected);
    }
}
