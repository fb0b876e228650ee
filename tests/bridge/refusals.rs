//! Refusals: a flood of them is counted and does not flood the log.

use crate::support::{Bridge, eventually};
use serde_json::{Value, json};

async fn forged(bridge: &Bridge, source: &str) {
    assert_eq!(bridge.deliver(source, "forged", b"{}").await.0, 401);
}

fn lines(bridge: &Bridge, counted_as: &str) -> Vec<Value> {
    let is_it = |line: &Value| line["kind"] == "webhook.refused" && line["counted_as"] == counted_as;
    bridge.journal().into_iter().filter(is_it).collect()
}

fn counted(lines: &[Value]) -> u64 {
    lines.iter().map(|line| line["count"].as_u64().expect("a count")).sum()
}

#[tokio::test]
async fn of_many_refusals_alike_the_first_are_written_and_a_later_line_stands_for_the_others() {
    let bridge = Bridge::start("").await;
    bridge.add_source("hooks", "openclaw", "secret");
    bridge.add_source("other", "openclaw", "secret");
    for _ in 0..20 {
        forged(&bridge, "hooks").await;
    }
    // Another source, or another reason, is not held up by it: this line comes after whatever the twenty wrote.
    forged(&bridge, "other").await;
    assert_eq!(bridge.request("POST", "/hooks/hooks", &[], b"{}").await.status, 401);
    bridge.line("the other source's", |line| line["counted_as"] == "other").await;
    bridge.line("the other reason's", |line| line["code"] == "SIGNATURE_MISSING").await;
    let written = lines(&bridge, "hooks");
    let alike: Vec<Value> = written.into_iter().filter(|line| line["code"] == "SIGNATURE_MISMATCH").collect();
    assert_eq!(alike.iter().map(|line| line["count"].clone()).collect::<Vec<_>>(), [1, 1, 1, 1, 1].map(|n| json!(n)));
    // The fields of each line are all there: who greps for them finds them.
    for field in ["at", "level", "source", "status", "code", "reason", "request_id"] {
        assert!(alike.iter().all(|line| !line[field].is_null()), "{field}");
    }
    // When the window is over, the next line has the fifteen. How long that takes is not waited for but tried.
    let tried = std::sync::atomic::AtomicU64::new(0);
    let summed = eventually("a line for several", || async {
        forged(&bridge, "hooks").await;
        tried.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let several = |line: &Value| line["code"] == "SIGNATURE_MISMATCH" && line["count"].as_u64() > Some(1);
        lines(&bridge, "hooks").into_iter().find(several)
    })
    .await;
    assert_eq!(summed["count"].as_u64(), Some(15 + tried.into_inner()), "{summed}");
}

#[tokio::test]
async fn names_that_strangers_invent_are_counted_as_one_and_what_the_bridge_is_at_fault_for_is_always_written() {
    let bridge = Bridge::start("").await;
    for n in 0..60 {
        let got = bridge.request("POST", &format!("/hooks/invented-{n}"), &[], b"{}").await;
        assert!(got.status == 404 || got.status == 503, "{got:?}");
    }
    let none = bridge.request("POST", "/hooks/Impossible", &[], b"{}").await;
    assert_eq!(none.status, 404);
    let secret = json!({"Name": "clawbridge/sources/broken", "SecretString": "?"});
    let made = bridge.aws("secretsmanager.CreateSecret", &secret).await;
    assert_eq!(made["Name"], "clawbridge/sources/broken");
    let broken = async || {
        let got = bridge.request("POST", "/hooks/broken", &[], b"{}").await;
        (got.body["error"]["code"] == "SOURCE_INVALID").then_some(())
    };
    // Its name is as new as the invented ones and waits with them.
    eventually("the broken source is looked at", broken).await;
    for _ in 0..9 {
        broken().await.expect("SOURCE_INVALID");
    }
    let lines = eventually("ten lines", || async {
        let lines = lines(&bridge, "broken");
        (lines.len() >= 10).then_some(lines)
    })
    .await;
    assert_eq!(counted(&lines), 10);
    let unknown: Vec<Value> = bridge.journal().into_iter().filter(|line| line["code"] == "UNKNOWN_SOURCE").collect();
    assert!((5..=10).contains(&unknown.len()), "{}", unknown.len());
    for line in bridge.journal().iter().filter(|line| line["kind"] == "webhook.refused") {
        let expected = if line["source"] == "broken" && line["code"] == "SOURCE_INVALID" { "broken" } else { "-" };
        assert_eq!(line["counted_as"], expected, "{line}");
    }
}
