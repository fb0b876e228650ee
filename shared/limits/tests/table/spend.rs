//! Limits on those who call the bridge: what is let through on account, and what it costs.

use crate::support::{Limited, TABLE, Table, at};
use clawbridge_limits::{MAX_TRIES, Scope, Spent, bucket};
use std::time::Duration;

/// Ten a second, a hundred at once.
fn rule() -> bucket::Rule {
    bucket::Rule::new(600, Duration::from_secs(60), 100)
}

async fn spend(environment: &Limited, rule: bucket::Rule, ms: i64) -> Spent {
    environment.limits.spend(&Scope::named("api/ci"), rule, at(ms)).await
}

#[tokio::test]
async fn a_caller_costs_a_table_call_each_tenth_of_its_bucket_and_is_refused_when_that_is_empty() {
    let table = Table::start().await;
    let environment = table.environment("e");
    for n in 0..10 {
        let spent = spend(&environment, rule(), 0).await;
        assert_eq!((spent.again_at, spent.remaining), (None, 99 - n));
        assert_eq!(spent.full_in, Duration::from_millis(100) * (n + 1));
    }
    assert_eq!(environment.calls(), 0);
    for n in 10..100 {
        assert_eq!(spend(&environment, rule(), 0).await.remaining, 99 - n);
    }
    assert!((8..=10).contains(&environment.calls()));
    let refused = spend(&environment, rule(), 0).await;
    let again_at = refused.again_at.expect("a refusal");
    assert!(again_at > at(0) && again_at <= at(200), "{refused:?}");
    assert_eq!((refused.remaining, refused.note), (0, None));
    environment.calls();
    // While it is known that there is none, nobody is asked.
    for _ in 0..50 {
        assert!(spend(&environment, rule(), 10).await.again_at.is_some());
    }
    assert_eq!(environment.calls(), 0);
    // What comes back comes back at the rate.
    let mut passed = 0;
    for _ in 0..100 {
        passed += u32::from(spend(&environment, rule(), 2_000).await.again_at.is_none());
    }
    assert_eq!(passed, 20);
}

#[tokio::test]
async fn environments_share_the_bucket_but_for_what_each_has_on_account() {
    let table = Table::start().await;
    let environments: Vec<Limited> = (0..4).map(|n| table.environment(&format!("e{n}"))).collect();
    let mut passed = 0;
    for n in 0..400 {
        passed += u32::from(spend(&environments[n % 4], rule(), 0).await.again_at.is_none());
    }
    assert!((100..=140).contains(&passed), "{passed}");
    let calls: usize = environments.iter().map(Limited::calls).sum();
    assert!(calls <= 20 + 4 * MAX_TRIES, "{calls}");
    // Of a small bucket nothing is let through on account: the count is exact.
    let small = bucket::Rule::new(5, Duration::from_secs(60), 5);
    let mut passed = 0;
    for n in 0..40 {
        let scope = Scope::named("api/small");
        passed += u32::from(environments[n % 4].limits.spend(&scope, small, at(0)).await.again_at.is_none());
    }
    assert_eq!(passed, 5);
}

#[tokio::test]
async fn without_the_table_each_environment_keeps_its_callers_limits_by_itself() {
    let environment = Limited::at("http://127.0.0.1:9", TABLE, "e");
    let (mut passed, mut notes) = (0, 0);
    for _ in 0..150 {
        let spent = spend(&environment, rule(), 0).await;
        passed += u32::from(spent.again_at.is_none());
        notes += u32::from(spent.note.is_some());
    }
    // The clock goes on while the table is waited for, and the test comes again at its old time.
    assert!((99..=130).contains(&passed) && notes == 1, "{passed} {notes}");
}
