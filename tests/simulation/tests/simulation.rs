//! The rules hold under every seed, and the simulation notices when one does not.

use clawbridge_simulation::{Figures, Rule, Violation, run};

/// As many seeds as a debug build runs in a few seconds.
const SEEDS: u64 = 4_000;

#[test]
fn whatever_goes_wrong_nothing_is_lost_and_nothing_unsafe_is_repeated() {
    let mut figures = Figures::default();
    for seed in 0..SEEDS {
        let report = run(seed, Rule::Kept, false);
        assert_eq!(report.violations, [], "seed {seed}: cargo run -p clawbridge-simulation -- --seed {seed} --trace");
        figures.add(&report.figures);
    }
    // It was no idle run: each kind of fault struck, and each end was reached.
    assert_eq!(figures.faults.len(), 26, "{:?}", figures.faults);
    assert!(figures.faults.values().all(|count| *count >= 5), "{:?}", figures.faults);
    // Where the upstream acts later than settle allows for, verify cannot know, and the promise ends.
    assert!(figures.lied_to > 0);
    let ends: Vec<&str> = figures.ends.keys().copied().collect();
    assert_eq!(ends, ["cancelled", "failed", "parked", "succeeded"]);
}

#[test]
fn where_nothing_goes_wrong_each_task_is_called_once_and_succeeds() {
    let (mut calm, mut turns, mut late) = (0, 0, 0);
    for seed in 0..SEEDS {
        let figures = run(seed, Rule::Kept, false).figures;
        if !figures.faults.is_empty() || figures.wishes > 0 {
            continue;
        }
        calm += 1;
        assert_eq!((figures.calls, figures.effects), (figures.tasks, figures.tasks), "seed {seed}");
        assert_eq!(figures.ends.get("succeeded"), Some(&figures.tasks), "seed {seed}");
        assert_eq!(figures.turns, figures.ordered, "seed {seed}");
        (turns, late) = (turns + figures.turns, late + figures.late);
    }
    assert!(calm > 50, "{calm} seeds were calm");
    assert!(turns > 100, "{turns} turns in lanes");
    // So their effects came in the order in which their events were taken.
    assert_eq!(late, 0, "of {turns}");
}

#[test]
fn a_seed_replays() {
    for seed in [3, 141, 592] {
        let (one, two) = (run(seed, Rule::Kept, true), run(seed, Rule::Kept, true));
        assert_eq!(one.trace, two.trace);
        assert!(one.trace.len() > 10);
    }
}

#[test]
fn each_broken_rule_is_noticed_for_what_it_breaks() {
    for rule in Rule::BROKEN {
        let found = (0..20_000).find_map(|seed| {
            let violation = run(seed, rule, false).violations.into_iter().find(|violation| is_of(violation, rule))?;
            Some((seed, violation))
        });
        let Some((seed, violation)) = found else { panic!("{rule:?} went unnoticed") };
        println!("{rule:?}: seed {seed}: {violation}");
    }
}

/// Whether this is what comes of breaking this rule.
fn is_of(violation: &Violation, rule: Rule) -> bool {
    match rule {
        Rule::Kept => false,
        Rule::FenceDropped => matches!(violation, Violation::Undone { .. }),
        Rule::LeaseIgnored | Rule::CallOutlivesLease => matches!(violation, Violation::Overlap { .. }),
        Rule::UnsafeRepeated | Rule::SettleIgnored | Rule::SilenceMeansNotDone | Rule::WishOutlivesAttempt => {
            matches!(violation, Violation::UnsafeRepeated { .. })
        }
        Rule::ReleasedBeforeSent | Rule::LostAttemptLetsGo => {
            matches!(violation, Violation::Lost { .. })
        }
        Rule::EndAnnouncedOnce => matches!(violation, Violation::Unannounced { .. }),
        Rule::OrderDropped | Rule::BeginUnmarked | Rule::StayIgnored => {
            matches!(violation, Violation::LaneOverlap { .. })
        }
        Rule::JoinedAtTheEnd => matches!(violation, Violation::OutOfOrder { .. }),
    }
}
