use super::*;
use proptest::prelude::*;

const START: i64 = 1_800_000_000_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(START + ms)
}

/// Ten a second, five at once.
fn rule() -> Rule {
    Rule::new(10, Duration::from_secs(1), 5)
}

/// A bucket of [`rule`] that is full again after so many milliseconds.
fn full(ms: i64) -> Bucket {
    Bucket { full: Some(Full { at: nanos(at(ms)), rule: rule() }), paused_until: None }
}

#[test]
fn each_bucket_gives_what_it_holds() {
    let paused = Bucket { paused_until: Some(at(700)), ..full(0) };
    let was_paused = Bucket { paused_until: Some(at(0)), ..full(0) };
    for (name, bucket, want, expected) in [
        ("new", None, 1, Ok(1)),
        ("new, and more is wanted than it holds", None, 9, Ok(5)),
        ("nothing taken yet", Some(Bucket::default()), 2, Ok(2)),
        ("full long ago", Some(full(-100_000)), 9, Ok(5)),
        ("one is missing", Some(full(100)), 9, Ok(4)),
        ("the last one", Some(full(400)), 9, Ok(1)),
        ("a moment before the next", Some(full(401)), 1, Err((1, false))),
        ("empty", Some(full(500)), 1, Err((100, false))),
        ("over-drawn by a clock that is ahead", Some(full(900)), 1, Err((500, false))),
        ("paused", Some(paused), 1, Err((700, true))),
        ("the pause is over", Some(was_paused), 1, Ok(1)),
        ("beyond belief: put right, and empty", Some(full(60_501)), 1, Ok(0)),
    ] {
        let got = match step(bucket.as_ref(), rule(), want, at(0)) {
            Step::Try(take) => {
                let after = take.over(bucket.as_ref()).expect("what follows from the bucket holds for it");
                assert_eq!(
                    after.tokens(at(0)),
                    Some(5.min(bucket.and_then(|b| b.tokens(at(0))).unwrap_or(5)) - take.tokens),
                    "{name}"
                );
                Ok(take.tokens)
            }
            Step::Later { at: later, is_pause } => Err((later.millis() - START, is_pause)),
        };
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn a_write_holds_only_for_the_bucket_that_it_was_made_for() {
    let taken = |bucket: Option<Bucket>| match step(bucket.as_ref(), rule(), 1, at(0)) {
        Step::Try(take) => take,
        Step::Later { .. } => panic!("no token"),
    };
    let other = Rule::new(1, Duration::from_secs(1), 5);
    let of_other = Bucket { full: Some(Full { at: nanos(at(0)), rule: other }), paused_until: None };
    let paused = Bucket { paused_until: Some(at(1)), ..full(100) };
    let (from_full, add, replace) = (taken(None), taken(Some(full(100))), taken(Some(of_other)));
    for (name, take, actual, expected) in [
        ("it was full and others took", from_full, Some(full(100)), None),
        ("it was full and others took, and it is full again", from_full, Some(full(0)), Some(100)),
        ("it was full and is gone", from_full, None, Some(100)),
        ("somebody took, and others did since", add, Some(full(400)), Some(500)),
        ("somebody took, and others took the last since", add, Some(full(401)), None),
        ("somebody took, and it filled since", add, Some(full(0)), None),
        ("somebody took, and it is gone", add, None, None),
        ("it is paused since", add, Some(paused), None),
        ("another rule, as it was seen", replace, Some(of_other), Some(100)),
        ("another rule, and others put it right", replace, Some(full(100)), None),
        ("this rule, and others have another", add, Some(of_other), None),
    ] {
        let after = take.over(actual.as_ref()).map(|after| after.full.expect("taken from"));
        assert_eq!(after.map(|full| full.at), expected.map(|ms| nanos(at(ms))), "{name}");
        assert!(after.is_none_or(|full| full.rule == rule()), "{name}");
    }
}

#[test]
fn a_rule_is_read_as_it_is_written_and_nothing_else_is() {
    for rule in [rule(), Rule::new(3, Duration::from_secs(1), 1), Rule::new(0, Duration::ZERO, 0)] {
        assert_eq!(rule.to_string().parse(), Ok(rule));
    }
    assert_eq!(rule().to_string(), "100000000ns*5");
    for text in ["", "1ns*", "0ns*1", "1ns*0", "-1ns*1", "1ns*1x", "1*1"] {
        assert_eq!(text.parse::<Rule>(), Err(()), "{text}");
    }
    // A third of a second does not come out even: the bucket is never faster than the rate.
    assert_eq!(Rule::new(3, Duration::from_secs(1), 1).interval(), Duration::from_nanos(333_333_334));
}

#[test]
fn no_moment_and_no_rule_overflows() {
    let rules = [Rule::new(1, Duration::MAX, u32::MAX), Rule::new(u32::MAX, Duration::from_nanos(1), u32::MAX), rule()];
    for now in [i64::MIN, -1, 0, i64::MAX].map(Timestamp::from_millis) {
        for rule in rules {
            for full_at in [i64::MIN, 0, i64::MAX] {
                let bucket = Bucket { full: Some(Full { at: full_at, rule }), paused_until: None };
                if let Step::Try(take) = step(Some(&bucket), rule, u32::MAX, now) {
                    let _ = take.over(Some(&bucket));
                }
                let _ = bucket.tokens(now);
            }
        }
    }
}

/// One thing that happens: an environment tries one write, by what it has seen, after some time.
#[derive(Clone, Debug)]
struct Action {
    environment: usize,
    after_ms: i64,
    want: u32,
    /// Its clock is set anew, by so much off.
    clock: Option<i64>,
}

const ENVIRONMENTS: usize = 4;
const SKEW_MS: i64 = 20_000;

fn actions(skew: i64) -> impl Strategy<Value = Vec<Action>> {
    let after = prop_oneof![4 => 0..3_i64, 2 => 0..300_i64, 1 => 0..5_000_i64];
    let clock = prop_oneof![9 => Just(None), 1 => (-skew..=skew).prop_map(Some)];
    let action = (0..ENVIRONMENTS, after, 1..8_u32, clock).prop_map(|(environment, after_ms, want, clock)| Action {
        environment,
        after_ms,
        want,
        clock,
    });
    prop::collection::vec(action, 1..200)
}

fn rules() -> impl Strategy<Value = Rule> {
    let period = prop_oneof![Just(1_u64), Just(60)].prop_map(Duration::from_secs);
    (1..2_000_u32, period, 1..60_u32).prop_map(|(calls, period, capacity)| Rule::new(calls, period, capacity))
}

/// What the table's bucket gave: when in truth (ms), and how many tokens.
fn run(rule: Rule, actions: &[Action]) -> Vec<(i64, u32)> {
    let (mut table, mut granted, mut truth) = (None::<Bucket>, Vec::new(), START);
    let mut environments = [(None::<Bucket>, 0_i64); ENVIRONMENTS];
    for action in actions {
        truth += action.after_ms;
        let (seen, clock) = &mut environments[action.environment];
        *clock = action.clock.unwrap_or(*clock);
        let now = Timestamp::from_millis(truth + *clock);
        match step(seen.as_ref(), rule, action.want, now) {
            // As after a while: the table is asked whatever was seen.
            Step::Later { .. } => *seen = None,
            Step::Try(take) => match take.over(table.as_ref()) {
                Some(bucket) => {
                    (table, *seen) = (Some(bucket), Some(bucket));
                    granted.push((truth, take.tokens));
                }
                None => *seen = table,
            },
        }
    }
    granted
}

/// In no window more than the capacity and what is gained in it, by clocks that differ by `skew` at most.
fn holds_in_every_window(rule: Rule, granted: &[(i64, u32)], skew_ms: i64) -> Result<(), TestCaseError> {
    for (first, (from, _)) in granted.iter().enumerate() {
        let mut tokens = 0_i128;
        for (to, more) in &granted[first..] {
            tokens += i128::from(*more);
            let gained = i128::from(to - from + skew_ms) * i128::from(NANOS_PER_MILLI);
            let allowed = i128::from(rule.capacity) * i128::from(rule.interval) + gained;
            prop_assert!(tokens * i128::from(rule.interval) <= allowed, "{tokens} in {} ms by {rule}", to - from);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_window_sees_more_than_the_capacity_and_what_is_gained_in_it(rule in rules(), actions in actions(0)) {
        holds_in_every_window(rule, &run(rule, &actions), 0)?;
    }

    #[test]
    fn clocks_that_differ_or_are_set_back_add_no_more_than_the_difference(rule in rules(), actions in actions(SKEW_MS)) {
        holds_in_every_window(rule, &run(rule, &actions), 2 * SKEW_MS)?;
    }

    /// Whatever somebody has written: another rule, a moment far away.
    #[test]
    fn nobody_waits_longer_than_for_one_token_and_the_clocks(
        rule in rules(),
        before in rules(),
        off_ms in prop_oneof![-100_000..100_000_i64, any::<i32>().prop_map(i64::from)],
    ) {
        let mut table = Some(Bucket { full: Some(Full { at: nanos(at(off_ms)), rule: before }), paused_until: None });
        let (mut now, mut tries) = (at(0), 0);
        loop {
            tries += 1;
            prop_assert!(tries < 5);
            match step(table.as_ref(), rule, 1, now) {
                Step::Later { at, .. } => now = at,
                Step::Try(take) => {
                    table = take.over(table.as_ref());
                    prop_assert!(table.is_some());
                    if take.tokens > 0 {
                        break;
                    }
                }
            }
        }
        let longest = rule.interval() + TOLERATED_SKEW + Duration::from_millis(2);
        prop_assert!(at(0).until(now) <= longest, "{:?}", at(0).until(now));
    }
}
