use super::*;
use proptest::prelude::*;

const LEASE: Duration = Duration::from_secs(15);

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + ms)
}

fn rule(count: u32) -> Rule {
    Rule::new(count, LEASE)
}

fn take(slots: &Slots, rule: Rule, holder: u64, ms: i64) -> Take {
    match step(slots, rule, Holder(holder), at(ms), 0.0) {
        Step::Try(take) => take,
        Step::Later { at } => panic!("all are held until {at:?}"),
    }
}

fn held(of: &[(u32, u64, i64)]) -> Slots {
    Slots(of.iter().map(|(slot, by, until)| (*slot, Held { by: Holder(*by), until: at(*until) })).collect())
}

#[test]
fn there_are_as_many_holders_as_slots_and_the_next_one_waits() {
    let mut slots = Slots::default();
    for holder in 0..3 {
        let take = take(&slots, rule(3), holder, i64::try_from(holder).unwrap());
        slots = take.over(&slots).expect("it is free");
    }
    assert_eq!(slots, held(&[(0, 0, 15_000), (1, 1, 15_001), (2, 2, 15_002)]));
    assert_eq!(slots.held(at(3)), 3);
    assert_eq!(step(&slots, rule(3), Holder(9), at(3), 0.5), Step::Later { at: at(15_000) });
    // The first lease is over.
    let next = take(&slots, rule(3), 9, 15_000);
    assert_eq!((next.slot, next.until), (0, at(30_000)));
    assert_eq!(next.over(&slots), Some(held(&[(0, 9, 30_000), (1, 1, 15_001), (2, 2, 15_002)])));
}

#[test]
fn a_slot_that_was_given_back_is_there_for_the_next() {
    let slots = held(&[(0, 1, 15_000), (1, 2, 15_000)]);
    let slip = Slip { slot: 1, holder: Holder(2), taken_at: at(0) };
    let after = slip.over(&slots).expect("it is held");
    assert_eq!(after, held(&[(0, 1, 15_000)]));
    assert_eq!(take(&after, rule(2), 3, 1).slot, 1);
    assert_eq!(slip.over(&after), None, "twice");
}

#[test]
fn whose_lease_ran_out_cannot_free_anothers_slot() {
    let first = take(&Slots::default(), rule(1), 1, 0);
    let slots = first.over(&Slots::default()).expect("it is free");
    let second = take(&slots, rule(1), 2, 15_000);
    let slots = second.over(&slots).expect("the lease is over");
    assert_eq!(first.slip().over(&slots), None);
    // Nor take it back by what it saw before.
    assert_eq!(take(&Slots::default(), rule(1), 1, 15_001).over(&slots), None);
    assert_eq!(second.slip().over(&slots), Some(Slots::default()));
}

#[test]
fn fewer_slots_than_before_leave_those_who_hold_the_others_alone() {
    let slots = held(&[(0, 1, 15_000), (4, 2, 15_000)]);
    assert_eq!(slots.held(at(0)), 2);
    assert_eq!(step(&slots, rule(1), Holder(3), at(0), 0.0), Step::Later { at: at(15_000) });
    let slip = Slip { slot: 4, holder: Holder(2), taken_at: at(0) };
    assert_eq!(slip.over(&slots), Some(held(&[(0, 1, 15_000)])));
}

#[test]
fn a_lease_from_a_wrong_clock_holds_nothing() {
    for (until, live) in
        [(1, true), (0, false), (-5_000, false), (90_000, true), (90_001, false), (i64::MAX / 4, false)]
    {
        let slots = held(&[(0, 1, until)]);
        assert_eq!(slots.held(at(0)) == 1, live, "{until}");
        assert_eq!(matches!(step(&slots, rule(1), Holder(2), at(0), 0.0), Step::Try(_)), !live, "{until}");
    }
}

#[test]
fn the_dice_choose_among_the_free_ones_alone() {
    let slots = held(&[(1, 1, 15_000)]);
    for (dice, slot) in [(0.0, 0), (0.32, 0), (0.34, 2), (0.67, 3), (1.0, 3), (-1.0, 0), (f64::NAN, 0)] {
        let Step::Try(take) = step(&slots, rule(4), Holder(2), at(0), dice) else { panic!("three are free") };
        assert_eq!(take.slot, slot, "{dice}");
    }
}

#[test]
fn those_who_wait_come_back_as_often_as_slots_come_free() {
    let mut pace = Pace::default();
    assert_eq!(pace.interval(rule(5)), Duration::from_millis(200));
    for _ in 0..50 {
        pace.learn(Duration::from_secs(20));
    }
    let seconds = pace.interval(rule(4)).as_secs_f64();
    assert!((4.9..=5.0).contains(&seconds), "{seconds}");
    assert_eq!(pace.interval(rule(1)), LONGEST_PACE);
    for _ in 0..100 {
        pace.learn(Duration::ZERO);
    }
    assert_eq!(pace.interval(rule(1)), Duration::from_millis(10));
}

#[test]
fn holders_are_sixteen_digits_in_the_table() {
    for holder in [Holder(0), Holder(0xdead), Holder(u64::MAX)] {
        assert_eq!((holder.to_string().len(), holder.to_string().parse()), (16, Ok(holder)));
    }
    assert_eq!("x".parse::<Holder>(), Err(()));
}

/// What an environment does next.
#[derive(Clone, Debug)]
enum Action {
    /// It asks for a slot, and makes a call for so much of its time.
    Call { environment: usize, share: f64, dice: f64 },
    /// It dies: what it holds it never gives back, what it was told is forgotten.
    Die { environment: usize },
    /// Time goes by.
    Wait { ms: i64 },
}

const ENVIRONMENTS: usize = 4;

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        8 => (0..ENVIRONMENTS, 0.0..1.0_f64, 0.0..1.0_f64)
            .prop_map(|(environment, share, dice)| Action::Call { environment, share, dice }),
        1 => (0..ENVIRONMENTS).prop_map(|environment| Action::Die { environment }),
        6 => prop_oneof![0..200_i64, 0..8_000_i64].prop_map(|ms| Action::Wait { ms }),
    ];
    prop::collection::vec(action, 1..300)
}

/// A call under way: whose, until when in truth, and what it gives back.
type UnderWay = (usize, i64, Slip);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Clocks that differ by less than the margin, environments that see the table late, die, and give back late.
    #[test]
    fn no_more_calls_are_under_way_than_there_are_slots(
        count in 1..6_u32,
        clocks in prop::array::uniform4(-1_499..1_500_i64),
        late in 0..20_000_i64,
        actions in actions(),
    ) {
        let rule = rule(count);
        let (mut table, mut truth, mut next) = (Slots::default(), 0_i64, 0_u64);
        let mut seen: [Slots; ENVIRONMENTS] = Default::default();
        let mut under_way: Vec<UnderWay> = Vec::new();
        let mut slips: Vec<UnderWay> = Vec::new();
        for action in actions {
            match action {
                Action::Wait { ms } => {
                    truth += ms;
                    under_way.retain(|(_, until, _)| *until > truth);
                    let (due, rest) = slips.into_iter().partition(|(_, at, _)| *at <= truth);
                    slips = rest;
                    let due: Vec<UnderWay> = due;
                    for (environment, _, slip) in due {
                        table = slip.over(&table).unwrap_or(table);
                        seen[environment] = table.clone();
                    }
                }
                Action::Die { environment } => {
                    under_way.retain(|(whose, ..)| *whose != environment);
                    slips.retain(|(whose, ..)| *whose != environment);
                    seen[environment] = Slots::default();
                }
                Action::Call { environment, share, dice } => {
                    let now = at(truth + clocks[environment]);
                    next += 1;
                    match step(&seen[environment], rule, Holder(next), now, dice) {
                        // As after a while: the table is asked whatever was seen.
                        Step::Later { .. } => seen[environment] = Slots::default(),
                        Step::Try(take) => match take.over(&table) {
                            None => seen[environment] = table.clone(),
                            Some(taken) => {
                                (table, seen[environment]) = (taken.clone(), taken);
                                // No call goes on beyond the margin before its lease, by its own clock.
                                let longest = (LEASE - CLOCK_MARGIN).mul_f64(share).as_millis();
                                let until = truth + i64::try_from(longest).unwrap();
                                under_way.push((environment, until, take.slip()));
                                slips.push((environment, until + late, take.slip()));
                                let holders = under_way.iter().filter(|(_, until, _)| *until > truth).count();
                                prop_assert!(holders <= count as usize, "{holders} of {count}");
                            }
                        },
                    }
                }
            }
        }
        // Whatever was lost on the way: after one lease all slots are there again.
        truth += i64::try_from((LEASE + CLOCK_MARGIN).as_millis()).unwrap();
        for holder in 0..count {
            let now = at(truth);
            let Step::Try(take) = step(&table, rule, Holder(u64::MAX - u64::from(holder)), now, 0.0) else {
                return Err(TestCaseError::fail("a slot is lost"));
            };
            table = take.over(&table).expect("it is free");
        }
    }
}
