use super::*;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn later(millis: u64) -> Timestamp {
    NOW.plus(Duration::from_millis(millis))
}

fn seat(received_at: i64) -> Seat {
    let received_at = Timestamp::from_millis(received_at);
    Seat { lane: lane_id("r", "o"), received_at, nth: 0, stay: 0, skip_parked: false }
}

/// A lane that everybody writes without a rival.
#[derive(Default)]
struct Quiet(Option<Lane>);

impl Quiet {
    /// Takes turns until it is this task's, or until it has to wait.
    fn turn(&mut self, task: &str, seat: &Seat, now: Timestamp) -> Turn {
        for _ in 0..4 {
            match turn(self.0.as_ref(), task, seat, "w", now) {
                Turn::Change(change) => {
                    assert_eq!(change.rule(self.0.as_ref()), Rule::Write);
                    self.0 = Some(change.after);
                }
                end => return end,
            }
        }
        panic!("a lane that is written forever");
    }

    fn leave(&mut self, task: &str, stay: u32) -> bool {
        let change = without(self.0.as_ref(), task, stay, "w", NOW);
        let left = change.is_some();
        self.0 = change.map(|change| change.after).or(self.0.take());
        left
    }

    fn tasks(&self) -> Vec<&str> {
        self.0.iter().flat_map(|lane| &lane.entries).map(|entry| entry.task.as_str()).collect()
    }
}

fn waits(turn: &Turn) -> (usize, u64) {
    match turn {
        Turn::Wait(wait) => (wait.ahead, u64::try_from(NOW.until(wait.until).as_millis()).expect("a time")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tasks_run_in_the_order_in_which_their_events_were_taken_whatever_the_order_of_their_receipt() {
    let mut lane = Quiet::default();
    // The second event's message is worked first.
    assert_eq!(waits(&lane.turn("b", &seat(20), NOW)), (0, 2_000));
    assert_eq!(waits(&lane.turn("c", &seat(30), later(100))), (1, 900_100));
    assert_eq!(waits(&lane.turn("a", &seat(10), later(1_900))), (0, 3_900));
    assert_eq!(lane.tasks(), ["a", "b", "c"]);
    assert_eq!(next(lane.0.as_ref(), NOW), Some(("a".to_owned(), later(3_900))));
    assert_eq!(waits(&lane.turn("b", &seat(20), later(2_000))).0, 1);
    assert_eq!(lane.turn("a", &seat(10), later(3_900)), Turn::Mine);
    assert_eq!(next(lane.0.as_ref(), NOW), None);
    // Asked again, it still is its turn; and what comes too late comes next.
    assert_eq!(lane.turn("a", &seat(10), later(3_900)), Turn::Mine);
    assert_eq!(waits(&lane.turn("z", &seat(5), later(4_000))).0, 1);
    assert_eq!(lane.tasks(), ["a", "z", "b", "c"]);
    assert!(lane.leave("a", 0));
    assert_eq!(next(lane.0.as_ref(), later(9_000)), Some(("z".to_owned(), later(9_000))));
    assert!(!lane.leave("a", 0), "left already");
}

#[test]
fn of_events_taken_in_the_same_moment_the_place_in_their_request_decides_and_then_the_id() {
    let mut lane = Quiet::default();
    for (task, nth) in [("task_b", 1), ("task_d", 10), ("task_c", 2), ("task_a", 1)] {
        lane.turn(task, &Seat { nth, ..seat(10) }, NOW);
    }
    assert_eq!(lane.tasks(), ["task_a", "task_b", "task_c", "task_d"]);
}

#[test]
fn an_end_that_is_seen_late_does_not_count_for_a_task_that_has_come_back() {
    let mut lane = Quiet::default();
    lane.turn("a", &seat(10), NOW);
    lane.turn("b", &seat(20), NOW);
    assert_eq!(lane.turn("a", &seat(10), later(2_000)), Turn::Mine);
    // It failed, a person wants it again, and only then somebody sees that it had failed.
    let again = Seat { stay: 1, ..seat(10) };
    assert_eq!(lane.turn("a", &again, later(3_000)), Turn::Mine);
    assert!(!lane.leave("a", 0));
    assert_eq!(lane.tasks(), ["a", "b"]);
    assert!(lane.leave("a", 1));
    // Where it had left, it comes back to its place, but not before who has begun.
    assert_eq!(lane.turn("b", &seat(20), later(3_000)), Turn::Mine);
    assert_eq!(waits(&lane.turn("a", &Seat { stay: 2, ..seat(10) }, later(3_000))).0, 1);
    assert_eq!(lane.tasks(), ["b", "a"]);
}

#[test]
fn a_full_lane_keeps_those_with_the_earliest_events_and_the_others_come_back() {
    let mut lane = Quiet::default();
    for n in 0..MAX_TASKS {
        lane.turn(&format!("t{n}"), &seat(10 + i64::try_from(n).expect("a number")), NOW);
    }
    assert_eq!(waits(&lane.turn("last", &seat(10_000), NOW)), (MAX_TASKS, 60_000));
    assert_eq!((lane.tasks().len(), lane.tasks().contains(&"last")), (MAX_TASKS, false));
    assert_eq!(waits(&lane.turn("early", &seat(12), NOW)).0, 2);
    assert_eq!((lane.tasks().len(), lane.tasks().last()), (MAX_TASKS, Some(&"t498")));
    // Who was sent out finds no room, and then some.
    assert_eq!(waits(&lane.turn("t499", &seat(509), NOW)), (MAX_TASKS, 60_000));
    assert!(lane.leave("t0", 0));
    assert_eq!(waits(&lane.turn("t499", &seat(509), NOW)).0, MAX_TASKS - 1);
}

#[test]
fn only_an_empty_lane_is_forgotten() {
    let mut lane = Quiet::default();
    lane.turn("a", &seat(10), NOW);
    assert_eq!(lane.0.as_ref().and_then(|lane| lane.expires_at), None);
    lane.leave("a", 0);
    assert_eq!(lane.0.as_ref().and_then(|lane| lane.expires_at), Some(NOW.plus(KEPT_EMPTY)));
    lane.turn("b", &seat(20), NOW);
    assert_eq!(lane.0.as_ref().and_then(|lane| lane.expires_at), None);
}

#[test]
fn a_change_is_written_where_the_lane_was_seen_and_known_again_by_its_writer() {
    let of = |lane: Option<&Lane>, task: &str, writer: &str| match turn(lane, task, &seat(10), writer, NOW) {
        Turn::Change(change) => change,
        other => panic!("{other:?}"),
    };
    let first = of(None, "a", "one");
    assert_eq!((first.rule(None), first.rule(Some(&first.after))), (Rule::Write, Rule::Written));
    assert_eq!(of(None, "b", "two").rule(Some(&first.after)), Rule::Lost);
    let second = of(Some(&first.after), "b", "two");
    assert_eq!((second.rule(Some(&first.after)), second.rule(None)), (Rule::Write, Rule::Lost));
    assert_eq!(first.rule(Some(&second.after)), Rule::Lost);
}

#[test]
fn parked_blocks_unless_the_route_says_otherwise() {
    for state in State::ALL {
        let blocks = !matches!(state, State::Succeeded | State::Failed | State::Cancelled);
        assert_eq!(seat(1).lets_go(state), !blocks, "{state:?}");
        let skips = Seat { skip_parked: true, ..seat(1) };
        assert_eq!(skips.lets_go(state), !blocks || state == State::Parked, "{state:?}");
    }
}

#[test]
fn routes_and_keys_are_lanes_of_their_own() {
    assert_eq!(lane_id("r", "o").len(), 29);
    let ids = [lane_id("r", "o"), lane_id("r", "p"), lane_id("ro", ""), lane_id("", "ro")];
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
}

proptest! {
    /// Whoever comes and goes: nobody is there twice, who has begun stays first until it leaves, and those behind it are sorted.
    #[test]
    fn a_lane_stays_sorted_behind_who_has_begun(
        doings in proptest::collection::vec((0u8..12, 0u64..6_000, any::<bool>()), 1..120),
    ) {
        let mut lane = Quiet::default();
        let (mut now, mut begun) = (NOW, None::<String>);
        for (who, passes, leaves) in doings {
            now = now.plus(Duration::from_millis(passes));
            let task = format!("t{who}");
            if leaves {
                if lane.leave(&task, 0) && begun.as_ref() == Some(&task) {
                    begun = None;
                }
            } else if lane.turn(&task, &seat(i64::from(who) * 7 % 5), now) == Turn::Mine {
                prop_assert!(begun.is_none() || begun.as_ref() == Some(&task), "{task} while {begun:?}");
                begun = Some(task);
            }
            let Some(seen) = &lane.0 else { continue };
            prop_assert_eq!(seen.has_begun.then(|| seen.entries[0].task.clone()), begun.clone());
            let behind: Vec<_> = seen.entries[usize::from(seen.has_begun)..].iter().map(Entry::place).collect();
            prop_assert!(behind.is_sorted());
            let all: std::collections::BTreeSet<_> = lane.tasks().into_iter().collect();
            prop_assert_eq!(all.len(), seen.entries.len());
        }
    }
}
