//! The configuration over the API and the command line: versions, what differs, going back, and who comes first.

use crate::api::admin;
use crate::support::{Bridge, eventually};
use serde_json::{Value, json};

const CONFIG: &str = "[tools.ping]\nmethod = \"POST\"\nurl = \"bridge:/echo/ping\"\neffect = \"idempotent\"\n";

fn hops(number: u64) -> Value {
    json!({"limits": {"max_hops": number}})
}

/// Method, path, headers, body; status, code.
type Row<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, &'a str, u16, &'a str);

#[tokio::test]
async fn versions_are_shown_compared_and_gone_back_to() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let first = user.get("/config").await;
    let number = first.body["version"].as_u64().expect("a version");
    let more = json!({"tools": {"pong": {"method": "GET", "url": "bridge:/echo/pong"}, "ping": {"attempts": 2}}});
    let applied = user.json("PATCH", "/config", &more).await;
    assert_eq!((&applied.body["version"], &applied.body["changed"]), (&json!(number + 1), &json!(true)), "{applied:?}");
    assert_eq!(applied.headers["etag"], format!("\"v{}\"", number + 1));

    let old = user.get(&format!("/config/versions/{number}")).await;
    assert_eq!(old.body, first.body);
    let diff = user.get("/config/diff").await;
    assert_eq!((&diff.body["from"], &diff.body["to"]), (&json!(number), &json!(number + 1)));
    let paths: Vec<&str> =
        diff.body["differences"].as_array().expect("a list").iter().filter_map(|one| one["path"].as_str()).collect();
    assert_eq!(paths, ["tools.ping.attempts", "tools.pong"]);
    let same = user.get(&format!("/config/diff?from={number}&to={number}")).await;
    assert_eq!(same.body["differences"], json!([]));
    assert_eq!(user.get("/config/diff?from=1&to=1").await.status, 200);

    let said = bridge.run(&["config", "diff"]);
    assert!(said.out.contains("~ tools.ping.attempts  5 -> 2") && said.out.contains("+ tools.pong"), "{said:?}");
    let back = bridge.run(&["config", "rollback", &number.to_string(), "--json"]);
    assert_eq!(back.json(), json!({"version": number + 2, "of": number}), "{back:?}");
    assert_eq!(user.get("/config").await.body["config"], first.body["config"]);
    assert_eq!(bridge.run(&["config", "show", "--json"]).json()["config"], first.body["config"]);
    assert!(bridge.run(&["config", "versions"]).out.contains("APPLIED"));
    let missing = bridge.run(&["config", "rollback", "9999", "--json"]);
    assert_eq!((missing.status, missing.error_code().as_str()), (3, "UNKNOWN_VERSION"));
}

#[tokio::test]
async fn of_many_changes_at_once_under_one_version_one_is_made() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let etag = user.get("/config").await.headers["etag"].clone();
    let headers = [("content-type", "application/merge-patch+json"), ("if-match", etag.as_str())];
    let bodies: Vec<String> = (2..6).map(|number| hops(number).to_string()).collect();
    let all = tokio::join!(
        user.ask("PATCH", "/config", &headers, &bodies[0]),
        user.ask("PATCH", "/config", &headers, &bodies[1]),
        user.ask("PATCH", "/config", &headers, &bodies[2]),
        user.ask("PATCH", "/config", &headers, &bodies[3]),
    );
    let mut statuses = [all.0.status, all.1.status, all.2.status, all.3.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412], "{all:?}");
}

#[tokio::test]
async fn what_is_wrong_is_named_and_is_never_the_bridges_fault() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let json_type = ("content-type", "application/json");
    let large = format!("{{\"tools\":{{\"x\":{{\"description\":\"{}\"}}}}}}", "x".repeat(1024 * 1024));
    let leak = r#"{"tools":{"x":{"method":"GET","url":"https://a.example","headers":{"x-a":"sk_live_abcdefgh1234"}}}}"#;
    let rows: Vec<Row<'_>> = vec![
        ("GET", "/config/versions/0", vec![], "", 404, "not_found"),
        ("GET", "/config/versions/99999", vec![], "", 404, "not_found"),
        ("GET", "/config/versions/x", vec![], "", 404, "not_found"),
        ("GET", "/config/versions/-1", vec![], "", 404, "not_found"),
        ("GET", "/config/versions/18446744073709551616", vec![], "", 404, "not_found"),
        ("GET", "/config/diff?from=x", vec![], "", 400, "validation_error"),
        ("GET", "/config/diff?from=1&from=2", vec![], "", 400, "validation_error"),
        ("GET", "/config/diff?from=99998&to=99999", vec![], "", 404, "not_found"),
        ("PATCH", "/config", vec![json_type, ("if-match", "\"v0\"")], "{}", 412, "precondition_failed"),
        ("PUT", "/config", vec![json_type, ("if-match", "nonsense")], "{}", 412, "precondition_failed"),
        (
            "POST",
            "/config/rollback",
            vec![json_type, ("if-match", "\"v0\"")],
            r#"{"version":1}"#,
            412,
            "precondition_failed",
        ),
        ("POST", "/config/rollback", vec![json_type], r#"{"version":0}"#, 400, "validation_error"),
        ("POST", "/config/rollback", vec![json_type], r#"{"version":99999}"#, 404, "not_found"),
        ("PATCH", "/config", vec![json_type], "[]", 400, "validation_error"),
        (
            "PATCH",
            "/config",
            vec![json_type],
            r#"{"tools":{"ping":null},"routes":[{"name":"r","source":"s","tool":"ping"}]}"#,
            400,
            "validation_error",
        ),
        ("PATCH", "/config", vec![json_type], leak, 400, "validation_error"),
        ("PUT", "/config", vec![json_type], &large, 413, "payload_too_large"),
    ];
    for (method, path, headers, body, status, code) in rows {
        let got = user.ask(method, path, &headers, body).await;
        assert_eq!((got.status, &got.body["error"]["code"]), (status, &json!(code)), "{method} {path}: {got:?}");
        assert!(!got.text.contains("sk_live_"), "{got:?}");
    }
}

#[tokio::test]
async fn a_hundred_versions_are_kept_and_the_functions_work_by_the_last() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    for number in 0..103 {
        let got = user.json("PATCH", "/config", &hops(1 + number % 2)).await;
        assert_eq!((got.status, &got.body["changed"]), (200, &json!(true)), "{got:?}");
    }
    let last = user.get("/config").await.body["version"].as_u64().expect("a version");
    let (mut kept, mut path) = (Vec::new(), "/config/versions?limit=100".to_owned());
    loop {
        let got = user.get(&path).await;
        kept.extend(
            got.body["versions"].as_array().expect("versions").iter().filter_map(|one| one["version"].as_u64()),
        );
        let Some(next) = got.body["next_before"].as_u64() else { break };
        path = format!("/config/versions?limit=100&before={next}");
    }
    assert_eq!((kept.len(), kept[0], kept[99]), (100, last, last - 99));
    assert_eq!(user.get(&format!("/config/versions/{}", last - 100)).await.status, 404);
    eventually("the worker works by it", || async {
        // It looks when there is something to do.
        user.json("POST", "/tools/ping/invoke", &json!({"input": {}})).await;
        bridge.journal().iter().any(|line| line["kind"] == "config.loaded" && line["version"] == last).then_some(())
    })
    .await;
}
