//! A connection's tokens survive what may go wrong, and the simulation notices when a rule is broken.

use clawbridge_simulation::connections::{Figures, Rule, Violation, run};

/// As many seeds as a debug build runs in a few seconds.
const SEEDS: u64 = 3_000;

#[test]
fn whatever_goes_wrong_tokens_are_lost_at_the_named_point_alone() {
    let mut figures = Figures::default();
    for seed in 0..SEEDS {
        let report = run(seed, Rule::Kept, false);
        assert_eq!(
            report.violations,
            [],
            "seed {seed}: cargo run -p clawbridge-simulation -- --subject connections --seed {seed} --trace"
        );
        figures.add(&report.figures);
    }
    // It was no idle run: each kind of fault struck, each end was reached, and what should be found was found.
    assert_eq!(figures.faults.len(), 16, "{:?}", figures.faults);
    assert!(figures.faults.values().all(|count| *count >= 5), "{:?}", figures.faults);
    let ends: Vec<&str> = figures.ends.keys().copied().collect();
    assert_eq!(ends, ["later", "needs_reauth", "not connected", "token"]);
    assert!(figures.recovered > 50 && figures.superseded > 10 && figures.named > 50, "{figures:?}");
}

#[test]
fn where_nothing_goes_wrong_nothing_is_lost() {
    let mut calm = 0;
    for seed in 0..SEEDS {
        let figures = run(seed, Rule::Kept, false).figures;
        if figures.faults.is_empty() && figures.consents == 1 && figures.revocations == 0 {
            calm += 1;
            assert_eq!((figures.named, figures.expired, figures.superseded), (0, 0, 0), "seed {seed}");
            assert_eq!(figures.asks, figures.refreshes, "seed {seed}");
        }
    }
    assert!(calm > 0, "{calm} seeds were calm");
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
        Rule::FenceDropped | Rule::LeaseIgnored | Rule::AskOutlivesLease => *violation == Violation::Overlap,
        Rule::StoredNotRead | Rule::StaleBelieved | Rule::LetGoFirst => *violation == Violation::PresentedTwice,
        Rule::SwapUnconditional => *violation == Violation::ConsentOverwritten,
        Rule::RefusalBelieved => *violation == Violation::Needless,
        Rule::ToldOnce => *violation == Violation::Unannounced,
        Rule::DeletionStays => matches!(violation, Violation::Withheld(_)),
    }
}
