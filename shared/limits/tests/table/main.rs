//! Limits and circuits on the local stack's DynamoDB, with several environments, their table calls counted.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bounds;
mod spend;
mod support;

use clawbridge_limits::{Acquired, Attempt, Ended, Guard, MAX_TRIES, Said, Scope, Why};
use std::time::{Duration, Instant};
use support::{Limited, TABLE, Table, at, breaking, free, limited};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const WAIT: Said = Said { retry_after: Some(Duration::from_secs(30)), remaining: None, reset_at: None };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn environments_that_race_get_as_many_tokens_as_there_are() {
    let table = Table::start().await;
    // A token in six minutes: none comes along while they race.
    let guard = limited(10, 3600, 20);
    let environments: Vec<Limited> = (0..4).map(|n| table.environment(&format!("e{n}"))).collect();
    for (ms, expected) in [(0, 20), (3 * 360_000 + 300_000, 3), (60 * 3_600_000, 20)] {
        // Those that lost every race come again until nobody gets anything any more.
        let mut granted = 0;
        loop {
            let mut racing = JoinSet::new();
            for environment in environments.iter().flat_map(|environment| std::iter::repeat_n(environment, 10)) {
                let (environment, guard) = (environment.clone(), guard.clone());
                racing.spawn(async move { matches!(environment.acquire(&guard, ms).await, Acquired::Granted(_)) });
            }
            let round = racing.join_all().await.into_iter().filter(|granted| *granted).count();
            let calls: usize = environments.iter().map(Limited::calls).sum();
            assert!(calls <= 40 * MAX_TRIES, "{calls} calls");
            granted += round;
            if round == 0 {
                // And once all know, asking costs nothing.
                assert!(calls <= environments.len() * MAX_TRIES, "{calls} calls");
                break;
            }
        }
        assert_eq!(granted, expected, "after {ms} ms");
    }
}

#[tokio::test]
async fn a_tool_without_limit_and_circuit_costs_no_call() {
    // There is not even a table.
    let environment = Limited::at("http://127.0.0.1:9", TABLE, "e");
    let guard = free();
    for ended in [Ended::Answered, Ended::Failed, Ended::Unsent] {
        environment.call(&guard, ended, 0).await;
    }
    // What its upstream says is kept all the same, by the environment that heard it.
    let permit = environment.granted(&guard, 0).await;
    assert_eq!(environment.limits.report(&guard, permit, Ended::Answered, WAIT, at(0), 0.0).await, None);
    let later = environment.later(&guard, 29_999).await;
    assert_eq!((later.at, later.why), (at(30_000), Why::Pause));
    environment.call(&guard, Ended::Answered, 30_000).await;
    assert_eq!(environment.calls(), 0);
}

#[tokio::test]
async fn a_limit_costs_one_call_and_none_while_it_is_known_to_be_used_up() {
    let table = Table::start().await;
    let (here, there) = (table.environment("here"), table.environment("there"));
    let guard = limited(10, 3600, 3);
    for _ in 0..2 {
        here.call(&guard, Ended::Answered, 0).await;
        assert_eq!(here.calls(), 1);
    }
    // It thinks that nobody took anything, and learns by the same update.
    there.call(&guard, Ended::Answered, 0).await;
    assert_eq!(there.calls(), 2);
    let later = there.later(&guard, 0).await;
    assert_eq!((later.at, later.why), (at(360_000), Why::Limit));
    assert_eq!(
        there.limits.peek(&guard, Attempt::First, at(0), 0.0).map(|later| later.at),
        Some(at(720_000)),
        "next in line"
    );
    assert_eq!(there.calls(), 0);
    // What the other thinks is left is gone.
    assert!(here.limits.peek(&guard, Attempt::First, at(0), 0.0).is_none());
    assert_eq!(here.later(&guard, 0).await.why, Why::Limit);
    assert_eq!(here.calls(), 1);
    // Asked again at most each five seconds, whoever asks.
    for _ in 0..10 {
        assert_eq!(here.later(&guard, 4_000).await.why, Why::Limit);
    }
    assert_eq!(here.calls(), 0);
    for _ in 0..10 {
        assert_eq!(here.later(&guard, 6_000).await.why, Why::Limit);
    }
    assert_eq!(here.calls(), 1);
    here.call(&guard, Ended::Answered, 361_000).await;
    assert!(here.calls() <= 2);
}

#[tokio::test]
async fn where_calls_are_frequent_an_environment_takes_several_tokens_at_once() {
    let table = Table::start().await;
    let environment = table.environment("e");
    let guard = limited(1000, 1, 400);
    // One hundred calls at once.
    for _ in 0..100 {
        environment.call(&guard, Ended::Answered, 0).await;
    }
    // 1, 2, 4, 8, 16, 32, 64: as long as they come within the second that a token lives.
    let calls = environment.calls();
    assert!((7..=20).contains(&calls), "{calls} calls");
}

#[tokio::test]
async fn those_that_ask_at_once_in_one_environment_share_what_one_of_them_took() {
    let table = Table::start().await;
    let environment = table.environment("e");
    let guard = limited(1000, 1, 400);
    let mut asking = JoinSet::new();
    for _ in 0..10 {
        let (environment, guard) = (environment.clone(), guard.clone());
        asking.spawn(async move { environment.call(&guard, Ended::Answered, 0).await });
    }
    asking.join_all().await;
    // 1, 2, 4 and the rest of 8.
    let calls = environment.calls();
    assert!(calls <= 6, "{calls} calls");
}

#[tokio::test]
async fn a_token_that_was_not_used_goes_to_the_next_call() {
    let table = Table::start().await;
    let environment = table.environment("e");
    let guard = limited(1, 3600, 1);
    for _ in 0..3 {
        let permit = environment.granted(&guard, 0).await;
        environment.report(&guard, permit, Ended::Unsent, 100).await;
    }
    assert_eq!(environment.calls(), 1);
    environment.call(&guard, Ended::Answered, 200).await;
    assert_eq!(environment.later(&guard, 300).await.why, Why::Limit);
}

#[tokio::test]
async fn a_pause_that_one_environment_hears_of_is_kept_by_all_of_them() {
    let table = Table::start().await;
    let (here, there) = (table.environment("here"), table.environment("there"));
    let guard = limited(100, 1, 100);
    let under_way = [there.granted(&guard, 0).await, there.granted(&guard, 0).await];
    let permit = here.granted(&guard, 0).await;
    here.calls();
    assert_eq!(here.limits.report(&guard, permit, Ended::Answered, WAIT, at(0), 0.0).await, None);
    assert_eq!(here.calls(), 1);
    for environment in [&here, &there] {
        environment.calls();
        let later = environment.later(&guard, 1_500).await;
        assert_eq!(later.why, Why::Pause);
        assert!(at(30_000) <= later.at && later.at < at(31_000), "{later:?}");
        assert!(environment.calls() <= 1);
    }
    // Others hear less, or the same: it is not shortened, and not said again.
    for (permit, seconds) in under_way.into_iter().zip([5, 28]) {
        let said = Said { retry_after: Some(Duration::from_secs(seconds)), ..Said::default() };
        assert_eq!(there.limits.report(&guard, permit, Ended::Answered, said, at(2_000), 0.0).await, None);
    }
    assert_eq!(there.calls(), 0);
    assert_eq!(here.later(&guard, 29_000).await.why, Why::Pause);
    here.call(&guard, Ended::Answered, 40_000).await;
}

#[tokio::test]
async fn without_a_limit_a_pause_is_heard_of_by_those_who_read_the_circuit() {
    let table = Table::start().await;
    let (here, there) = (table.environment("here"), table.environment("there"));
    let guard = breaking();
    let permit = here.granted(&guard, 0).await;
    there.call(&guard, Ended::Answered, 0).await;
    assert_eq!(here.limits.report(&guard, permit, Ended::Answered, WAIT, at(0), 0.0).await, None);
    assert_eq!(here.later(&guard, 1).await.why, Why::Pause);
    there.call(&guard, Ended::Answered, 4_000).await;
    assert_eq!(there.later(&guard, 5_500).await.why, Why::Pause);
    there.call(&guard, Ended::Answered, 30_000).await;
}

#[tokio::test]
async fn a_healthy_circuit_costs_one_read_each_five_seconds() {
    let table = Table::start().await;
    let environment = table.environment("e");
    let guard = breaking();
    for (ms, expected) in [(0, 1), (4_000, 0), (5_100, 1), (9_000, 0), (100_000, 1)] {
        for _ in 0..20 {
            environment.call(&guard, Ended::Answered, ms).await;
        }
        assert_eq!(environment.calls(), expected, "after {ms} ms");
    }
}

#[tokio::test]
async fn a_circuit_that_one_environment_opens_is_open_for_all_and_closes_when_a_probe_succeeds() {
    let table = Table::start().await;
    let (here, there) = (table.environment("here"), table.environment("there"));
    let guard = breaking();
    there.call(&guard, Ended::Answered, 0).await;
    here.call(&guard, Ended::Answered, 0).await;
    here.calls();
    for _ in 0..3 {
        here.call(&guard, Ended::Failed, 1_000).await;
        assert_eq!(here.calls(), 1, "a failure is one update");
    }
    assert_eq!(here.later(&guard, 1_100).await.why, Why::Circuit);
    assert_eq!(here.calls(), 0);
    // The other one finds out when what it knows is five seconds old, or when it fails itself.
    there.call(&guard, Ended::Answered, 4_000).await;
    there.calls();
    let later = there.later(&guard, 5_100).await;
    assert_eq!(later.why, Why::Circuit);
    assert!(at(31_000) <= later.at && later.at < at(32_000), "{later:?}");
    assert_eq!(there.calls(), 1);
    for ms in [5_200, 9_000] {
        assert_eq!(there.later(&guard, ms).await.why, Why::Circuit);
    }
    assert_eq!(there.calls(), 0);

    // When the time is over one of them probes, and the others wait for what comes of it.
    let probe = there.granted(&guard, 32_000).await;
    assert_eq!(there.calls(), 2, "a read and the probe's update");
    for environment in [&here, &there] {
        assert_eq!(environment.later(&guard, 32_100).await.why, Why::Circuit);
    }
    there.report(&guard, probe, Ended::Failed, 33_000).await;
    // Twice as long.
    assert_eq!(here.later(&guard, 92_000).await.why, Why::Circuit);
    let probe = here.granted(&guard, 94_000).await;
    here.calls();
    here.report(&guard, probe, Ended::Answered, 94_500).await;
    assert_eq!(here.calls(), 1);
    for environment in [&here, &there] {
        environment.call(&guard, Ended::Answered, 100_000).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_environments_that_race_to_probe_one_does() {
    let table = Table::start().await;
    let guard = breaking();
    let environments: Vec<Limited> = (0..4).map(|n| table.environment(&format!("e{n}"))).collect();
    for _ in 0..3 {
        environments[0].call(&guard, Ended::Failed, 0).await;
    }
    let race = async |ms: i64| {
        let mut racing = JoinSet::new();
        for environment in environments.iter().flat_map(|environment| std::iter::repeat_n(environment, 5)) {
            let (environment, guard) = (environment.clone(), guard.clone());
            racing.spawn(async move {
                match environment.acquire(&guard, ms).await {
                    Acquired::Granted(permit) => Some((environment, permit)),
                    Acquired::Later(_) => None,
                }
            });
        }
        racing.join_all().await.into_iter().flatten().collect::<Vec<_>>()
    };
    assert_eq!(race(20_000).await.len(), 0);
    let mut probes = race(32_000).await;
    assert_eq!(probes.len(), 1);
    // It was not made after all: another one is.
    let (environment, permit) = probes.remove(0);
    environment.report(&guard, permit, Ended::Unsent, 33_000).await;
    assert_eq!(race(38_000).await.len(), 1);
    // That one was lost with its environment; after the time that it may take there is another.
    assert_eq!(race(50_000).await.len(), 0);
    let mut probes = race(54_000).await;
    assert_eq!(probes.len(), 1);
    let (environment, permit) = probes.remove(0);
    environment.report(&guard, permit, Ended::Answered, 55_000).await;
    assert_eq!(race(61_000).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_failures_opens_the_circuit_and_costs_a_bounded_number_of_calls() {
    let table = Table::start().await;
    let guard = breaking();
    let environments: Vec<Limited> = (0..4).map(|n| table.environment(&format!("e{n}"))).collect();
    let mut storm = JoinSet::new();
    for environment in environments.iter().flat_map(|environment| std::iter::repeat_n(environment, 25)) {
        let (environment, guard) = (environment.clone(), guard.clone());
        storm.spawn(async move { environment.granted(&guard, 0).await });
    }
    let permits = storm.join_all().await;
    let reads: usize = environments.iter().map(Limited::calls).sum();
    assert_eq!(reads, environments.len(), "each read it once");
    let mut storm = JoinSet::new();
    for (n, permit) in permits.into_iter().enumerate() {
        let (environment, guard) = (environments[n % 4].clone(), guard.clone());
        storm.spawn(async move { environment.report(&guard, permit, Ended::Failed, 10).await });
    }
    storm.join_all().await;
    // Three of them count; who loses against another of the three tries again; the rest find it open.
    let updates: usize = environments.iter().map(Limited::calls).sum();
    assert!(updates <= 3 * environments.len(), "{updates} updates for 100 failures");
    assert_eq!(environments[0].later(&guard, 5_100).await.why, Why::Circuit);
}

#[tokio::test]
async fn a_limit_that_the_configuration_changes_holds_from_the_next_call_on() {
    let table = Table::start().await;
    let environment = table.environment("e");
    // An hour's worth is gone; by the new rule that is a second's worth.
    let (slow, fast) = (limited(1, 3600, 2), limited(10, 1, 10));
    for _ in 0..2 {
        environment.call(&slow, Ended::Answered, 0).await;
    }
    let later = environment.later(&slow, 0).await;
    assert_eq!(later.at, at(3_600_000));
    let later = table.environment("new").later(&fast, 1_000).await;
    assert!(at(1_100) <= later.at && later.at < at(2_000), "{later:?}");
    table.environment("new").call(&fast, Ended::Answered, 2_200).await;
}

#[tokio::test]
async fn what_a_person_resets_is_free_within_five_seconds() {
    let table = Table::start().await;
    let (environment, operator) = (table.environment("e"), table.environment("o"));
    let guard = Guard { circuit: breaking().circuit, ..limited(1, 3600, 1) };
    let scopes: Vec<Scope> = guard.scopes().cloned().collect();
    assert_eq!(operator.limits.list(&scopes).await.unwrap(), []);
    for scope in &scopes {
        assert!(!operator.limits.reset(scope).await.unwrap());
    }
    let permit = environment.granted(&guard, 0).await;
    assert_eq!(environment.limits.report(&guard, permit, Ended::Failed, WAIT, at(0), 0.0).await, None);
    let kept = operator.limits.list(&scopes).await.unwrap();
    let [circuit, limit] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!((circuit.scope.as_str(), limit.scope.as_str()), ("circuit/t", "tool/t"));
    assert_eq!((limit.bucket.tokens(at(0)), limit.bucket.paused_until), (Some(0), Some(at(30_000))));
    assert_eq!(circuit.circuit.as_ref().map(|circuit| circuit.state.as_str()), Some("closed"));
    assert_eq!(environment.later(&guard, 1_000).await.why, Why::Pause);
    for scope in &scopes {
        assert!(operator.limits.reset(scope).await.unwrap());
    }
    environment.call(&guard, Ended::Answered, 5_500).await;
}

/// A server that is not the table: it answers nothing, or that there are too many requests.
async fn not_a_table(answer: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            match answer {
                None => held.push(stream),
                Some(body) => {
                    let mut request = [0; 4096];
                    let _read = stream.read(&mut request).await;
                    let head =
                        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-amz-json-1.0\r\nconnection: close";
                    let text = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    let _written = stream.write_all(text.as_bytes()).await;
                }
            }
        }
    });
    url
}

#[tokio::test]
async fn without_the_table_each_environment_keeps_limits_and_circuits_by_itself_and_says_so() {
    const THROTTLED: &str =
        r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"slow down"}"#;
    let table = Table::start().await;
    for (name, url, table) in [
        ("no connection", "http://127.0.0.1:9".to_owned(), TABLE),
        ("no answer", not_a_table(None).await, TABLE),
        ("throttled", not_a_table(Some(THROTTLED)).await, TABLE),
        ("no such table", table.url.clone(), "another"),
    ] {
        let environment = Limited::at(&url, table, "e");
        let guard = Guard { circuit: breaking().circuit, ..limited(1, 60, 5) };
        let started = Instant::now();
        let permit = environment.granted(&guard, 0).await;
        assert!(started.elapsed() < Duration::from_secs(3), "{name}: {:?}", started.elapsed());
        let note = permit.note.as_deref().unwrap_or_else(|| panic!("{name}: no note"));
        assert!(note.starts_with("the limits table: ") && note.contains("by itself"), "{name}: {note}");
        let tries = environment.calls();
        assert!((1..=2).contains(&tries), "{name}: {tries}");
        environment.report(&guard, permit, Ended::Answered, 2_000).await;
        // For some seconds nothing is asked any more. The limit is kept all the same, and so is the circuit.
        for _ in 0..3 {
            environment.call(&guard, Ended::Failed, 2_000).await;
        }
        assert_eq!(environment.later(&guard, 2_100).await.why, Why::Circuit, "{name}");
        let limit = Guard { circuit: None, ..guard.clone() };
        environment.call(&limit, Ended::Answered, 2_100).await;
        assert_eq!(environment.later(&limit, 2_100).await.why, Why::Limit, "{name}");
        assert_eq!(environment.calls(), 0, "{name}");
        // Then it is tried again and said again, and what is known is not forgotten.
        let later = environment.later(&limit, 10_000).await;
        assert_eq!((later.why, later.note.is_some()), (Why::Limit, true), "{name}");
        let later = environment.later(&limit, 10_000).await;
        assert_eq!((later.why, later.note), (Why::Limit, None), "{name}");
        let permit = environment.granted(&limit, 120_000).await;
        assert!(permit.note.is_some(), "{name}");
    }
}

/// Brings each request to the table a while after it came.
async fn slow(url: &str) -> String {
    let table = url.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let slow = format!("http://{}", listener.local_addr().expect("its address"));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let table = table.clone();
            tokio::spawn(async move {
                let server = TcpStream::connect(table).await.expect("the table");
                let (mut requests, mut answered) = client.into_split();
                let (mut answers, mut sent) = server.into_split();
                let back = tokio::spawn(async move { tokio::io::copy(&mut answers, &mut answered).await });
                let mut part = vec![0; 65_536];
                while let Ok(length @ 1..) = requests.read(&mut part).await {
                    tokio::time::sleep(Duration::from_millis(400)).await;
                    if sent.write_all(&part[..length]).await.is_err() {
                        break;
                    }
                }
                back.abort();
            });
        }
    });
    slow
}

#[tokio::test]
async fn a_slow_table_holds_nobody_up_for_longer_than_a_lease_has_to_spare() {
    let table = Table::start().await;
    let environment = Limited::at(&slow(&table.url).await, TABLE, "e");
    let guard = Guard { circuit: breaking().circuit, ..limited(1, 60, 100) };
    let started = Instant::now();
    let mut asking = JoinSet::new();
    for _ in 0..20 {
        let (environment, guard) = (environment.clone(), guard.clone());
        asking.spawn(async move { environment.granted(&guard, 0).await.note });
    }
    // One after the other it would be eight seconds.
    let notes: Vec<String> = asking.join_all().await.into_iter().flatten().collect();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert!(notes.iter().all(|note| note.contains("too slow")) && notes.len() == 1, "{notes:?}");
}

/// What it did by itself meanwhile counts for it alone.
#[tokio::test]
async fn an_environment_that_was_alone_goes_by_the_table_again() {
    let table = Table::start().await;
    let (here, there) = (table.environment("here"), table.environment("there"));
    let guard = limited(1, 60, 2);
    let gone = table.client.delete_table().table_name(TABLE);
    gone.send().await.expect("the table is removed");
    assert!(here.granted(&guard, 0).await.note.is_some());
    table.make().await;
    for _ in 0..2 {
        there.call(&guard, Ended::Answered, 1_000).await;
    }
    here.call(&guard, Ended::Answered, 1_000).await;
    here.calls();
    let later = here.later(&guard, 6_000).await;
    assert_eq!((later.why, later.note), (Why::Limit, None));
    assert!((1..=2).contains(&here.calls()));
}
