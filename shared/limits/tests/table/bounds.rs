//! Calls under way and retries, with several environments.

use crate::support::{Limited, TABLE, Table, at, breaking, budgeted, few, free, limited};
use clawbridge_limits::{Acquired, Attempt, Ended, Guard, Later, MAX_TRIES, Permit, Scope, Why};
use std::collections::BTreeSet;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn environments_that_race_hold_as_many_slots_as_there_are() {
    let table = Table::start().await;
    let guard = few(7);
    let environments: Vec<Limited> = (0..4).map(|n| table.environment(&format!("e{n}"))).collect();
    // After the second race all leases are over and nothing was given back: as if all four had died.
    for (ms, gives_back) in [(0, true), (2_000, false), (20_000, false)] {
        let mut held: Vec<(Limited, Permit)> = Vec::new();
        // Those that lost every race come again until all slots are held.
        for round in 0.. {
            assert!(round < 20, "{} slots after {ms} ms", held.len());
            let mut racing = JoinSet::new();
            for environment in environments.iter().flat_map(|environment| std::iter::repeat_n(environment, 10)) {
                let (environment, guard) = (environment.clone(), guard.clone());
                racing.spawn(async move {
                    match environment.acquire(&guard, ms + 1_100 * round).await {
                        Acquired::Granted(permit) => Some((environment, permit)),
                        Acquired::Later(later) => {
                            assert_eq!(later.why, Why::Concurrency);
                            None
                        }
                    }
                });
            }
            held.extend(racing.join_all().await.into_iter().flatten());
            let calls: usize = environments.iter().map(Limited::calls).sum();
            assert!(calls <= 40 * MAX_TRIES, "{calls} calls");
            assert!(held.len() <= 7, "{} holders", held.len());
            if held.len() == 7 {
                break;
            }
        }
        for (environment, permit) in held.into_iter().filter(|_| gives_back) {
            environment.report(&guard, permit, Ended::Answered, ms + 100).await;
        }
    }
}

#[tokio::test]
async fn a_slot_costs_a_call_to_take_and_one_to_give_back_and_none_while_all_are_known_to_be_held() {
    let table = Table::start().await;
    let (here, there) = (table.environment("here"), table.environment("there"));
    let guard = few(2);
    let first = here.granted(&guard, 0).await;
    let second = here.granted(&guard, 0).await;
    assert_eq!(here.calls(), 2);
    for _ in 0..10 {
        assert_eq!(here.later(&guard, 500).await.why, Why::Concurrency);
    }
    assert_eq!(here.calls(), 0);
    // The other one learns it by the update that does not hold.
    assert_eq!(there.later(&guard, 500).await.why, Why::Concurrency);
    assert_eq!(there.calls(), 1);
    here.report(&guard, first, Ended::Answered, 600).await;
    assert_eq!(here.calls(), 1);
    // Who gave one back knows that it is free, others a second after they saw that it was held.
    assert!(here.limits.peek(&guard, Attempt::First, at(600), 0.0).is_none());
    assert_eq!(there.later(&guard, 1_400).await.why, Why::Concurrency);
    assert_eq!(there.calls(), 0);
    let third = there.granted(&guard, 1_600).await;
    assert!((1..=2).contains(&there.calls()));
    there.report(&guard, third, Ended::Unsent, 1_700).await;
    here.report(&guard, second, Ended::Failed, 1_700).await;
    let kept = here.limits.list(&[Scope::named("slots/tool/t")]).await.unwrap();
    assert_eq!(kept[0].slots.0.len(), 0, "{kept:?}");
}

#[tokio::test]
async fn a_slot_that_nobody_gives_back_is_free_when_its_lease_is_over_and_stays_with_who_took_it_then() {
    let table = Table::start().await;
    let (lost, here) = (table.environment("lost"), table.environment("here"));
    let guard = few(1);
    let late = lost.granted(&guard, 0).await;
    let later = here.later(&guard, 1_000).await;
    assert!(at(2_000) <= later.at && later.at < at(3_000), "{later:?}");
    assert_eq!(here.later(&guard, 14_500).await.why, Why::Concurrency);
    let permit = here.granted(&guard, 15_000).await;
    // The first one was not dead: what it gives back is not its own any more.
    lost.report(&guard, late, Ended::Answered, 16_000).await;
    assert_eq!(lost.later(&guard, 16_100).await.why, Why::Concurrency);
    assert_eq!(table.environment("new").later(&guard, 16_100).await.why, Why::Concurrency);
    here.report(&guard, permit, Ended::Answered, 17_000).await;
    table.environment("newer").call(&guard, Ended::Answered, 17_000).await;
}

#[tokio::test]
async fn those_who_wait_for_a_slot_are_told_to_come_one_after_the_other() {
    let table = Table::start().await;
    let environment = table.environment("e");
    let guard = few(2);
    let held = [environment.granted(&guard, 0).await, environment.granted(&guard, 0).await];
    let mut waits = BTreeSet::new();
    for _ in 0..10 {
        waits.insert(at(100).until(environment.later(&guard, 100).await.at).as_millis());
    }
    // Two slots that are held for a second each, as long as nothing else is known: one comes free each half second.
    assert_eq!(waits.into_iter().collect::<Vec<_>>(), (1..=10).map(|n| n * 500).collect::<Vec<_>>());
    drop(held);
}

#[tokio::test]
async fn a_call_that_its_rate_or_its_circuit_holds_up_keeps_no_slot() {
    let table = Table::start().await;
    let environment = table.environment("e");
    let guard = Guard { slots: few(1).slots, ..limited(1, 3600, 1) };
    environment.call(&guard, Ended::Answered, 0).await;
    // Another one used the token up: this one learns it when it has the slot.
    let other = table.environment("o");
    assert_eq!(other.later(&guard, 100).await.why, Why::Limit);
    let kept = other.limits.list(&[Scope::named("slots/tool/t")]).await.unwrap();
    assert_eq!(kept[0].slots.held(at(100)), 0, "{kept:?}");

    let guard = Guard { slots: few(5).slots, ..breaking() };
    for _ in 0..3 {
        environment.call(&guard, Ended::Failed, 200).await;
    }
    let first = environment.granted(&guard, 40_000).await;
    assert_eq!(environment.later(&guard, 40_000).await.why, Why::Circuit);
    environment.report(&guard, first, Ended::Answered, 40_100).await;
    let kept = environment.limits.list(&[Scope::named("slots/tool/t")]).await.unwrap();
    assert_eq!(kept[0].slots.held(at(40_100)), 0, "{kept:?}");
}

#[tokio::test]
async fn without_the_table_each_environment_keeps_slots_and_budgets_by_itself() {
    let environment = Limited::at("http://127.0.0.1:9", TABLE, "e");
    let guard = Guard { retries: budgeted(2, 3600).retries, ..few(2) };
    let first = environment.granted(&guard, 0).await;
    assert!(first.note.as_deref().is_some_and(|note| note.contains("by itself")), "{first:?}");
    let second = environment.granted(&guard, 0).await;
    assert_eq!(environment.later(&guard, 100).await.why, Why::Concurrency);
    environment.report(&guard, first, Ended::Answered, 200).await;
    environment.report(&guard, second, Ended::Answered, 200).await;
    for _ in 0..2 {
        let Acquired::Granted(permit) = environment.retry(&guard, 300).await else { panic!("no retry") };
        environment.report(&guard, permit, Ended::Failed, 300).await;
    }
    let Acquired::Later(later) = environment.retry(&guard, 300).await else { panic!("a third retry") };
    assert_eq!(later.why, Why::Budget);
    environment.call(&guard, Ended::Answered, 300).await;
}

/// Retries that are granted until one has to wait.
async fn retries(environment: &Limited, guard: &Guard, ms: i64) -> (usize, Later) {
    let mut granted = 0;
    loop {
        match environment.retry(guard, ms).await {
            Acquired::Granted(permit) => environment.report(guard, permit, Ended::Failed, ms).await,
            Acquired::Later(later) => return (granted, later),
        }
        granted += 1;
        assert!(granted < 1_000, "no end");
    }
}

#[tokio::test]
async fn first_attempts_cost_no_call_and_pay_for_their_environments_retries() {
    let table = Table::start().await;
    let (here, there) = (table.environment("here"), table.environment("there"));
    // Three retries an hour beside the share.
    let guard = budgeted(3, 3600);
    for _ in 0..50 {
        here.call(&guard, Ended::Failed, 0).await;
    }
    for _ in 0..10 {
        // What was not sent earns nothing.
        there.call(&guard, Ended::Unsent, 0).await;
    }
    assert_eq!((here.calls(), there.calls()), (0, 0));
    // Ten of fifty, without the table, then those that all share.
    for _ in 0..10 {
        let Acquired::Granted(permit) = here.retry(&guard, 1_000).await else { panic!("no retry") };
        here.report(&guard, permit, Ended::Failed, 1_000).await;
    }
    assert_eq!(here.calls(), 0);
    let (granted, later) = retries(&here, &guard, 1_000).await;
    assert_eq!((granted, later.why), (3, Why::Budget));
    assert_eq!(later.at, at(1_201_000), "when there is one more");
    assert!((3..=4).contains(&here.calls()));
    // For the other one, too, and it earned nothing.
    let (granted, later) = retries(&there, &guard, 1_000).await;
    assert_eq!((granted, later.why), (0, Why::Budget));
    there.calls();
    // While it is known to be spent nobody asks, and first attempts go on.
    for _ in 0..10 {
        assert!(matches!(there.retry(&guard, 2_000).await, Acquired::Later(later) if later.why == Why::Budget));
    }
    for _ in 0..10 {
        there.call(&guard, Ended::Failed, 2_000).await;
    }
    // Which earns the next two.
    assert_eq!((retries(&there, &guard, 2_500).await.0, there.calls()), (2, 0));
}

#[tokio::test]
async fn a_retry_that_was_not_made_is_not_paid_for() {
    let table = Table::start().await;
    let environment = table.environment("e");
    let guard = budgeted(1, 3600);
    for _ in 0..5 {
        environment.call(&guard, Ended::Answered, 0).await;
    }
    for _ in 0..4 {
        let Acquired::Granted(permit) = environment.retry(&guard, 0).await else { panic!("no retry") };
        environment.report(&guard, permit, Ended::Unsent, 0).await;
    }
    assert_eq!(retries(&environment, &guard, 0).await.0, 2, "one by the share, one by the rate");
}

#[tokio::test]
async fn a_person_sees_slots_and_budgets_and_can_reset_them() {
    let table = Table::start().await;
    let (environment, operator) = (table.environment("e"), table.environment("o"));
    let guard = Guard { retries: budgeted(3, 3600).retries, ..few(2) };
    let _lost = [environment.granted(&guard, 0).await, environment.granted(&guard, 0).await];
    let scopes: Vec<Scope> = guard.scopes().cloned().collect();
    let budget = Guard { slots: None, ..guard.clone() };
    retries(&environment, &budget, 0).await;
    let kept = operator.limits.list(&scopes).await.unwrap();
    let [retries, slots] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!((retries.scope.as_str(), retries.bucket.tokens(at(0))), ("retries/t", Some(0)));
    assert_eq!((slots.scope.as_str(), slots.slots.held(at(0))), ("slots/tool/t", 2));
    for scope in &scopes {
        assert!(operator.limits.reset(scope).await.unwrap());
    }
    environment.call(&guard, Ended::Answered, 5_500).await;
    assert!(matches!(environment.retry(&guard, 5_500).await, Acquired::Granted(_)));
}

#[tokio::test]
async fn a_tool_that_declares_neither_asks_for_neither() {
    let environment = Limited::at("http://127.0.0.1:9", TABLE, "e");
    for _ in 0..3 {
        let Acquired::Granted(permit) = environment.retry(&free(), 0).await else { panic!("held up") };
        environment.report(&free(), permit, Ended::Failed, 0).await;
    }
    assert_eq!(environment.calls(), 0);
}
