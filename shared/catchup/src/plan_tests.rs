use super::*;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_millis(1_795_232_439_120);
const MINUTE: Duration = Duration::from_secs(60);

fn ago(minutes: u64) -> Timestamp {
    NOW.minus(Duration::from_secs(60 * minutes))
}

fn everything() -> Timestamp {
    NOW.minus(KEPT)
}

/// An attempt so many minutes ago; a redelivery where `redelivery`.
fn attempt(delivery: &str, minutes_ago: u64, redelivery: bool, status: u16) -> Attempt {
    Attempt {
        id: format!("{delivery}-{minutes_ago}"),
        delivery: delivery.to_owned(),
        event: "push".to_owned(),
        at: ago(minutes_ago),
        redelivery,
        status: (status != 0).then_some(status),
        outcome: String::new(),
    }
}

#[test]
fn each_delivery_gets_the_verdict_that_its_attempts_call_for() {
    let pausing = |minutes_ago: u64, minutes: u32| {
        Verdict::Skip(Reason::Pausing { until: ago(minutes_ago).plus(MINUTE * minutes) })
    };
    let skip = Verdict::Skip;
    // (minutes ago, redelivery, status) of its attempts, then what the schedule and a person do. None: it was not missed.
    type Row = (&'static str, Vec<(u64, bool, u16)>, Option<(Verdict, Verdict)>);
    let rows: Vec<Row> = vec![
        ("arrived", vec![(60, false, 200)], None),
        ("arrived with 204", vec![(60, false, 204)], None),
        ("arrived at the second try", vec![(60, false, 503), (30, true, 200)], None),
        ("arrived, then failed", vec![(60, false, 200), (30, true, 503)], None),
        ("refused with 503", vec![(1, false, 503)], Some((Verdict::Ask, Verdict::Ask))),
        ("never connected", vec![(60, false, 502)], Some((Verdict::Ask, Verdict::Ask))),
        ("no status at all", vec![(60, false, 0)], Some((Verdict::Ask, Verdict::Ask))),
        ("a wrong secret is mended", vec![(60, false, 401)], Some((Verdict::Ask, Verdict::Ask))),
        ("a missing source is made", vec![(60, false, 404)], Some((Verdict::Ask, Verdict::Ask))),
        ("too large stays too large", vec![(60, false, 413)], Some((skip(Reason::TooLarge), skip(Reason::TooLarge)))),
        ("redirected", vec![(60, false, 301)], Some((Verdict::Ask, Verdict::Ask))),
        ("under way", vec![(60, false, 503), (4, true, 503)], Some((skip(Reason::UnderWay), skip(Reason::UnderWay)))),
        ("failed once", vec![(60, false, 503), (9, true, 503)], Some((pausing(9, 10), Verdict::Ask))),
        ("failed once, a while ago", vec![(60, false, 503), (10, true, 503)], Some((Verdict::Ask, Verdict::Ask))),
        (
            "failed twice",
            vec![(90, false, 503), (60, true, 503), (19, true, 503)],
            Some((pausing(19, 20), Verdict::Ask)),
        ),
        (
            "failed twice, a while ago",
            vec![(90, false, 503), (60, true, 503), (20, true, 503)],
            Some((Verdict::Ask, Verdict::Ask)),
        ),
        (
            "failed too often",
            [(4000, false, 503)].into_iter().chain((0..9).map(|n| (3900 - n, true, 503))).collect(),
            Some((skip(Reason::GivenUp), Verdict::Ask)),
        ),
        ("nearly too old", vec![(71 * 60, false, 503)], Some((Verdict::Ask, Verdict::Ask))),
        ("too old", vec![(71 * 60 + 1, false, 503)], Some((skip(Reason::TooOld), skip(Reason::TooOld)))),
        (
            "too old, asked lately",
            vec![(71 * 60 + 1, false, 503), (60, true, 503)],
            Some((skip(Reason::TooOld), skip(Reason::TooOld))),
        ),
        ("its beginning is out of the log", vec![(600, true, 503)], Some((skip(Reason::TooOld), skip(Reason::TooOld)))),
    ];
    for (name, attempts, expected) in rows {
        let mut attempts: Vec<Attempt> = attempts
            .into_iter()
            .map(|(minutes, redelivery, status)| attempt("d", minutes, redelivery, status))
            .collect();
        for _ in 0..2 {
            let verdict = |by| {
                let missed = missed(&attempts, &Asked::default(), by, everything(), NOW);
                assert!(missed.len() <= 1, "{name}");
                missed.first().map(|missed| missed.verdict)
            };
            assert_eq!(verdict(By::Schedule), expected.map(|(schedule, _)| schedule), "{name}");
            assert_eq!(verdict(By::Person), expected.map(|(_, person)| person), "{name}");
            // The order of the log does not matter.
            attempts.reverse();
        }
    }
}

#[test]
fn what_is_missed_is_told_once_oldest_first_and_asked_for_with_its_newest_attempt() {
    let log = [
        attempt("new", 5, false, 503),
        attempt("old", 20, true, 500),
        attempt("old", 600, false, 502),
        attempt("older", 700, false, 503),
        attempt("fine", 800, false, 200),
    ];
    let missed = missed(&log, &Asked::default(), By::Schedule, everything(), NOW);
    let told: Vec<_> =
        missed.iter().map(|m| (m.delivery.as_str(), m.id.as_str(), m.first_at, m.status, m.redeliveries)).collect();
    assert_eq!(
        told,
        [
            ("older", "older-700", ago(700), Some(503), 0),
            ("old", "old-20", ago(600), Some(500), 1),
            ("new", "new-5", ago(5), Some(503), 0),
        ]
    );
}

#[test]
fn what_was_first_delivered_before_the_time_asked_for_is_left_alone() {
    let log = [
        attempt("a", 5, false, 503),
        attempt("b", 61, false, 503),
        attempt("b", 40, true, 503),
        // Its first delivery is further down the log than was read.
        attempt("c", 40, true, 503),
    ];
    let missed = missed(&log, &Asked::default(), By::Person, ago(60), NOW);
    assert_eq!(missed.iter().map(|missed| missed.delivery.as_str()).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn what_this_process_asked_for_is_under_way_though_the_log_does_not_show_it() {
    let log = [attempt("a", 60, false, 503), attempt("b", 50, false, 503)];
    let mut asked = Asked::default();
    asked.note("a", ago(4));
    let verdicts = |asked: &Asked| -> Vec<Verdict> {
        missed(&log, asked, By::Schedule, everything(), NOW).iter().map(|missed| missed.verdict).collect()
    };
    assert_eq!(verdicts(&asked), [Verdict::Skip(Reason::UnderWay), Verdict::Ask]);
    let mut asked = Asked::default();
    asked.note("a", ago(5));
    assert_eq!(verdicts(&asked), [Verdict::Ask, Verdict::Ask]);
    asked.note("b", NOW);
    assert_eq!(asked.0.len(), 1, "what is no longer under way is forgotten");
}

/// Runs of the schedule every 15 minutes for four days over a log that keeps three days, while the receiver is down until `mended`; when
/// each redelivery was made.
fn simulate(mended: Duration) -> (Vec<Duration>, bool) {
    let start = ago(0);
    let mut log = vec![Attempt { at: start, ..attempt("d", 0, false, 503) }];
    let (mut times, mut arrived) = (Vec::new(), false);
    for run in 0..=4 * 96_u32 {
        let since_start = Duration::from_secs(15 * 60) * run + MINUTE;
        let now = start.plus(since_start);
        log.retain(|attempt| attempt.at.until(now) < Duration::from_secs(72 * 3600));
        let missed = missed(&log, &Asked::default(), By::Schedule, now.minus(KEPT), now);
        if missed.iter().any(|missed| missed.verdict == Verdict::Ask) {
            arrived = since_start >= mended;
            times.push(since_start);
            let status = if arrived { 200 } else { 503 };
            log.push(Attempt {
                at: now.plus(Duration::from_secs(2)),
                status: Some(status),
                ..attempt("d", 0, true, 0)
            });
        }
        if arrived {
            break;
        }
    }
    (times, arrived)
}

#[test]
fn a_receiver_that_never_comes_back_is_asked_for_a_bounded_number_of_times() {
    let (times, arrived) = simulate(Duration::MAX);
    assert!(!arrived);
    assert_eq!(times.len(), usize::try_from(MAX_REDELIVERIES).expect("a count"));
    let last = times.last().expect("a time").as_secs() / 3600;
    assert!((42..=46).contains(&last), "{last} h");
}

proptest! {
    #[test]
    fn what_is_mended_within_a_day_and_a_half_is_caught_up_with(hours in 0_u64..36) {
        let mended = Duration::from_secs(3600 * hours);
        let (times, arrived) = simulate(mended);
        prop_assert!(arrived);
        // At worst as long again as it was down, and a run of the schedule.
        prop_assert!(*times.last().expect("a time") <= mended * 2 + MINUTE * 40, "{times:?}");
    }

    #[test]
    fn no_log_makes_a_delivery_be_asked_for_twice_or_that_arrived(
        attempts in prop::collection::vec((0_u8..6, 0_u64..5000, any::<bool>(), prop::sample::select(vec![0_u16, 200, 401, 413, 502, 503])), 0..40),
        person in any::<bool>(),
    ) {
        let log: Vec<Attempt> = attempts.iter().map(|(d, minutes, again, status)| attempt(&d.to_string(), *minutes, *again, *status)).collect();
        let by = if person { By::Person } else { By::Schedule };
        let missed = missed(&log, &Asked::default(), by, everything(), NOW);
        prop_assert!(missed.windows(2).all(|pair| pair[0].first_at <= pair[1].first_at));
        let mut names: Vec<&str> = missed.iter().map(|missed| missed.delivery.as_str()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        prop_assert_eq!(names.len(), count);
        for missed in &missed {
            let of = |attempt: &&Attempt| attempt.delivery == missed.delivery;
            prop_assert!(log.iter().filter(of).all(|attempt| attempt.status != Some(200)));
            prop_assert!(log.iter().filter(of).any(|attempt| attempt.id == missed.id));
            if missed.verdict == Verdict::Ask {
                prop_assert!(missed.first_at >= everything());
                prop_assert!(!(missed.last_at > ago(5) && log.iter().any(|a| a.at == missed.last_at && a.redelivery && of(&a))));
            }
        }
    }
}
