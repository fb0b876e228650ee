//! Sources over time: added, rotated, broken, removed, and asked for by strangers.

use crate::support::{Bridge, eventually};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn body(name: &str) -> Vec<u8> {
    json!({"event": "a.b", "name": name}).to_string().into_bytes()
}

/// The status of a delivery that is signed with `secret`.
async fn status(bridge: &Bridge, source: &str, secret: &str) -> u16 {
    bridge.deliver(source, secret, &body(secret)).await.0
}

fn rotate(bridge: &Bridge, source: &str, secret: &str) {
    let rotated = bridge.run(&["source", "rotate", source, "--secret", secret]);
    assert_eq!(rotated.status, 0, "{rotated:?}");
}

async fn put_secret(bridge: &Bridge, name: &str, value: &str) {
    let answer = bridge.aws("secretsmanager.CreateSecret", &json!({"Name": name, "SecretString": value})).await;
    assert_eq!(answer["Name"], name, "{answer}");
}

#[tokio::test]
async fn after_a_rotation_the_secret_before_is_valid_and_the_one_before_that_is_not() {
    let bridge = Bridge::start("").await;
    bridge.add_source("hooks", "openclaw", "first");
    rotate(&bridge, "hooks", "second");
    rotate(&bridge, "hooks", "third");
    for (secret, expected) in [("third", 200), ("second", 200), ("first", 401)] {
        assert_eq!(status(&bridge, "hooks", secret).await, expected, "{secret}");
    }
}

#[tokio::test]
async fn a_running_bridge_takes_a_rotated_secret_within_seconds_and_goes_on_taking_the_one_before() {
    let bridge = Bridge::start("").await;
    bridge.add_source("hooks", "openclaw", "first");
    assert_eq!(status(&bridge, "hooks", "first").await, 200);
    let read = Instant::now();
    // A forger, whose attempt makes the bridge look for a previous secret while there is none.
    assert_eq!(status(&bridge, "hooks", "forged").await, 401);
    rotate(&bridge, "hooks", "second");
    // What has just been read is believed for five seconds, and nothing shows that they are over. From then on the first delivery that is
    // signed with the new secret is taken, not only the one after it.
    tokio::time::sleep(Duration::from_millis(5_500).saturating_sub(read.elapsed())).await;
    assert_eq!(status(&bridge, "hooks", "second").await, 200);
    assert_eq!(status(&bridge, "hooks", "first").await, 200);
    assert_eq!(status(&bridge, "hooks", "forged").await, 401);
}

#[tokio::test]
async fn a_source_secret_that_does_not_work_asks_senders_to_come_back_until_it_is_mended() {
    let bridge = Bridge::start("").await;
    let documents = [
        ("not-json", "just the secret"),
        ("no-secrets", r#"{"scheme":"openclaw","secrets":[]}"#),
        ("empty", r#"{"scheme":"openclaw","secrets":[""]}"#),
        ("other-scheme", r#"{"scheme":"opnclaw","secrets":["hidden-value"]}"#),
        ("other-field", r#"{"scheme":"openclaw","secrets":["hidden-value"],"tolerance":5}"#),
    ];
    for (name, document) in documents {
        put_secret(&bridge, &format!("clawbridge/sources/{name}"), document).await;
        let got = bridge.request("POST", &format!("/hooks/{name}"), &[], b"{}").await;
        assert_eq!((got.status, &got.body["error"]["code"]), (503, &json!("SOURCE_INVALID")), "{name}: {got:?}");
        assert_eq!(got.headers.get("retry-after").map(String::as_str), Some("30"));
        let request_id = &got.body["error"]["request_id"];
        let line = bridge.line("its line", |line| &line["request_id"] == request_id).await;
        assert_eq!((&line["code"], &line["level"]), (&json!("SOURCE_INVALID"), &json!("error")), "{line}");
        // Names the secret, not its value; the sender learns neither.
        assert!(line["reason"].as_str().is_some_and(|reason| reason.contains(&format!("clawbridge/sources/{name}"))));
        for spoken in [line.to_string(), got.text] {
            assert!(!spoken.contains("hidden-value") && !spoken.contains("just the secret"), "{spoken}");
        }
    }
    let listed = bridge.run(&["source", "list", "--json"]).json();
    let broken = listed
        .as_array()
        .into_iter()
        .flatten()
        .filter(|source| source["scheme"].as_str().is_some_and(|scheme| scheme.starts_with("does not work: ")));
    assert_eq!(broken.count(), documents.len(), "{listed}");
    assert_eq!(status(&bridge, "not-json", "good").await, 503);
    let mended = bridge.run(&["source", "add", "not-json", "--scheme", "openclaw", "--secret", "good", "--replace"]);
    assert_eq!(mended.status, 0, "{mended:?}");
    eventually("the mended source", || async { (status(&bridge, "not-json", "good").await == 200).then_some(()) })
        .await;
}

#[tokio::test]
async fn a_removed_source_is_unknown_and_can_be_added_again_without_its_old_secret() {
    let bridge = Bridge::start("").await;
    for name in ["gone", "back"] {
        bridge.add_source(name, "openclaw", "old");
        let removed = bridge.run(&["source", "remove", name]);
        assert_eq!(removed.status, 0, "{removed:?}");
    }
    assert_eq!(status(&bridge, "gone", "old").await, 404);
    let listed = bridge.run(&["source", "list", "--json"]).json();
    assert_eq!(listed, json!([]));
    let again = bridge.run(&["source", "remove", "gone", "--json"]);
    assert_eq!((again.status, again.error_code().as_str()), (3, "UNKNOWN_SOURCE"));
    let added = bridge.run(&["source", "add", "back", "--scheme", "openclaw", "--secret", "new"]);
    assert_eq!(added.status, 0, "{added:?}");
    assert_eq!((status(&bridge, "back", "new").await, status(&bridge, "back", "old").await), (200, 401));
}

#[tokio::test]
async fn a_source_that_was_removed_on_purpose_is_not_made_again_by_a_restart() {
    let config = "[tools.t]\nmethod = \"POST\"\nurl = \"bridge:/echo\"\n\
        [[routes]]\nname = \"r\"\nsource = \"stripe\"\ntool = \"t\"\n";
    let mut bridge = Bridge::start(config).await;
    let names = |bridge: &Bridge| bridge.run(&["source", "list", "--json"]).json();
    assert_eq!(names(&bridge), json!([{"name": "stripe", "scheme": "stripe"}]));
    assert_eq!(bridge.run(&["source", "remove", "stripe"]).status, 0);
    assert_eq!(bridge.interrupt(), 0);
    bridge.restart().await;
    assert_eq!(names(&bridge), json!([]));
}

#[tokio::test]
async fn strangers_who_invent_names_cost_a_bounded_number_of_calls() {
    let bridge = Bridge::start("").await;
    bridge.add_source("hooks", "openclaw", "before");
    rotate(&bridge, "hooks", "secret");
    bridge.add_source("quiet", "openclaw", "secret");
    assert_eq!(status(&bridge, "hooks", "secret").await, 200);
    let start = Instant::now();
    let mut looked_up = 0;
    for n in 0..200 {
        let got = bridge.request("POST", &format!("/hooks/invented-{n}"), &[], b"{}").await;
        match (got.status, got.body["error"]["code"].as_str()) {
            (404, Some("UNKNOWN_SOURCE")) => looked_up += 1,
            (503, Some("TOO_MANY_UNKNOWN_SOURCES")) => {
                assert_eq!(got.headers.get("retry-after").map(String::as_str), Some("30"));
            }
            _ => panic!("{got:?}"),
        }
    }
    // Twenty at once (one was spent on `hooks`), then one a second; a 404 is the proof of a call.
    let allowed = 19 + start.elapsed().as_secs() + 1;
    assert!((19..=allowed).contains(&looked_up), "{looked_up} look-ups, {allowed} allowed");
    // Who is known is not held up: neither its current secret, nor the look for the one before.
    for (secret, expected) in [("secret", 200), ("before", 200), ("forged", 401)] {
        assert_eq!(status(&bridge, "hooks", secret).await, expected, "{secret}");
    }
    // Who is not known yet is asked to come back, and is let in when it does.
    eventually("the quiet source", || async { (status(&bridge, "quiet", "secret").await == 200).then_some(()) }).await;
    let refused = bridge.journal().into_iter().filter(|line| line["code"] == "TOO_MANY_UNKNOWN_SOURCES");
    let refused: Vec<Value> = refused.collect();
    // Anybody can bring this about, so it is a few lines: five for each ten seconds.
    assert!(
        (5..100).contains(&refused.len()) && refused.iter().all(|line| line["level"] == "error"),
        "{}",
        refused.len()
    );
}
