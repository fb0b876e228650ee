//! The API over real HTTP: what the tutorial does, who may do what, and what is answered when it does not work.

use crate::support::{Bridge, Got, Options, eventually};
use serde_json::{Value, json};

const CONFIG: &str = r#"
    [tools.ping]
    method = "POST"
    url = "bridge:/echo/ping"
    effect = "idempotent"
    input = { type = "object", properties = { n = { type = "integer" } } }
    body = "."

    [tools.pong]
    method = "POST"
    url = "bridge:/echo/pong"
    effect = "idempotent"
    body = "."
"#;

/// Tests ask more often than programs may unless somebody says so: what limits do is another file's subject.
async fn start() -> Bridge {
    let args = ["--api-rate", "1000/s"].map(str::to_owned).to_vec();
    Bridge::start_with(Options { config: Some(CONFIG.to_owned()), args }).await
}

/// A client with a token.
struct User<'a> {
    bridge: &'a Bridge,
    token: String,
}

impl User<'_> {
    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
        let bearer = format!("Bearer {}", self.token);
        let headers = [&[("authorization", bearer.as_str())][..], headers].concat();
        let got = self.bridge.request(method, &format!("/api/v1{path}"), &headers, body.as_bytes()).await;
        assert!(!got.headers["x-request-id"].is_empty() && !got.headers["x-clawbridge-version"].is_empty(), "{got:?}");
        let counts = ["limit", "remaining", "reset"].map(|name| {
            let value = |prefix: &str| got.headers[&format!("{prefix}-{name}")].parse::<u64>().expect("a number");
            (value("ratelimit"), value("x-ratelimit"))
        });
        assert!(counts[0].0 >= counts[1].0 && counts[0].0 == counts[0].1 && counts[1].0 == counts[1].1, "{got:?}");
        conforms(method, path, &got);
        got
    }

    async fn json(&self, method: &str, path: &str, body: &Value) -> Got {
        self.ask(method, path, &[("content-type", "application/json")], &body.to_string()).await
    }

    async fn get(&self, path: &str) -> Got {
        self.ask("GET", path, &[], "").await
    }

    /// The result, once it is there.
    async fn result(&self, task: &str) -> Value {
        eventually("the task ended", || async {
            let got = self.get(&format!("/tasks/{task}/result")).await;
            assert!(got.status == 200 || got.body["error"]["code"] == "not_finished", "{got:?}");
            (got.status == 200).then_some(got.body)
        })
        .await
    }
}

/// The answer is one that the document has for the endpoint.
fn conforms(method: &str, path: &str, got: &Got) {
    let document = clawbridge_api::document();
    let path = format!("/api/v1{}", path.split('?').next().unwrap_or_default());
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let wanted: Vec<&str> = template.split('/').collect();
        wanted.len() == parts.len()
            && wanted.iter().zip(&parts).all(|(wanted, part)| wanted.starts_with('{') || wanted == part)
    };
    let paths = document["paths"].as_object().expect("paths");
    // A literal part goes before a variable one.
    let found =
        paths.iter().filter(|(template, _)| fits(template)).min_by_key(|(template, _)| template.matches('{').count());
    let operation = found.map(|(_, resource)| &resource[method.to_ascii_lowercase()]);
    let responses = operation.map_or(&Value::Null, |operation| &operation["responses"]);
    let name = match &responses[got.status.to_string()]["content"]["application/json"]["schema"]["$ref"] {
        Value::String(name) => name.trim_start_matches("#/components/schemas/").to_owned(),
        _ if method == "HEAD" || method == "OPTIONS" => return,
        // Where there is no operation, there is nothing that could be said about it.
        _ if got.status >= 400 && responses.is_null() => "Error".to_owned(),
        _ => panic!("{method} {path} answers {} and the document does not say so", got.status),
    };
    let mut schema = document["components"]["schemas"][&name].clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<String> = validator.iter_errors(&got.body).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{method} {path} is no {name}: {errors:?} {}", got.body);
}

/// The token that `dev` made for itself.
fn admin(bridge: &Bridge) -> User<'_> {
    let token = std::fs::read_to_string(bridge.dir.path().join("state/token")).expect("the token of dev");
    User { bridge, token: token.trim().to_owned() }
}

fn user<'a>(bridge: &'a Bridge, name: &str, scope: &str) -> User<'a> {
    let answer = bridge.run(&["token", "create", "--name", name, "--scope", scope]);
    assert_eq!(answer.status, 0, "{answer:?}");
    User { bridge, token: answer.out.trim().to_owned() }
}

#[tokio::test]
async fn the_steps_of_the_tutorial_do_what_it_says() {
    let bridge = start().await;
    let user = user(&bridge, "my-integration", "admin");
    assert!(user.token.starts_with("ocl_"));
    let status = user.get("/status").await;
    assert_eq!((status.status, &status.body["status"], &status.body["tools"]), (200, &json!("ok"), &json!(2)));
    assert_eq!(status.body["agents"], json!({"online": 0}));

    let made = user.json("POST", "/tasks", &json!({"tool": "ping", "input": {"n": 1}})).await;
    assert_eq!((made.status, &made.body["status"]), (201, &json!("queued")), "{made:?}");
    let id = made.body["id"].as_str().expect("an id").to_owned();
    assert_eq!(made.headers["location"], format!("/api/v1/tasks/{id}"));
    // It is known from the moment that it was taken.
    assert_eq!(user.get(&format!("/tasks/{id}")).await.status, 200);
    let result = user.result(&id).await;
    assert_eq!((&result["status"], &result["error"]), (&json!("completed"), &Value::Null), "{result}");
    let listed = user.get("/tasks?limit=20&offset=0&status=completed").await;
    assert_eq!(listed.body["tasks"][0]["id"], json!(id), "{listed:?}");
    assert_eq!(listed.body["tasks"][0]["submitter"], "token:my-integration");
    assert_eq!(user.get("/tasks?status=failed").await.body["tasks"], json!([]));
    assert_eq!(user.get("/tasks?limit=20&offset=1").await.body["tasks"], json!([]));
    // There is nobody yet to whom a prompt could go, and it says so.
    let prompt =
        user.json("POST", "/tasks", &json!({"prompt": "List the files", "options": {"max_tokens": 4096}})).await;
    assert_eq!((prompt.status, &prompt.body["error"]["code"]), (503, &json!("no_agent")));

    let called = user.json("POST", "/tools/ping/invoke", &json!({"input": {"n": 2}})).await;
    assert_eq!((called.status, &called.body["status"]), (200, &json!("completed")), "{called:?}");
    let called = user.json("POST", "/skill/invoke", &json!({"action": "ping", "payload": {"n": 3}})).await;
    assert_eq!((called.status, &called.body["status"]), (200, &json!("completed")), "{called:?}");
    let later = user.json("POST", "/tools/ping/invoke?wait=0", &json!({"input": {"n": 4}})).await;
    assert!(later.status == 202 || later.status == 200, "{later:?}");
}

#[tokio::test]
async fn the_same_key_is_the_same_call_and_with_another_input_a_conflict() {
    let bridge = start().await;
    let user = admin(&bridge);
    let headers = [("content-type", "application/json"), ("idempotency-key", "once")];
    let body = r#"{"tool":"ping","input":{"n":1}}"#;
    let first = user.ask("POST", "/tasks", &headers, body).await;
    let id = first.body["id"].as_str().expect("an id").to_owned();
    user.result(&id).await;
    let second = user.ask("POST", "/tasks", &headers, body).await;
    assert_eq!((second.status, &second.body["id"], &second.body["status"]), (200, &json!(id), &json!("completed")));
    let other = user.ask("POST", "/tasks", &headers, r#"{"tool":"ping","input":{"n":2}}"#).await;
    assert_eq!((other.status, &other.body["error"]["code"]), (409, &json!("conflict")));
    let bad = user.ask("POST", "/tasks", &[headers[0], ("idempotency-key", "")], body).await;
    assert_eq!((bad.status, &bad.body["error"]["fields"][0]["path"]), (400, &json!("Idempotency-Key")));
}

#[tokio::test]
async fn each_scope_opens_its_endpoints_and_no_other() {
    let bridge = start().await;
    bridge.add_source("hooks", "openclaw", "secret");
    assert_eq!(bridge.deliver("hooks", "secret", b"{}").await.0, 200);
    let admin = admin(&bridge);
    let event = eventually("the event is listed", || async {
        let got = admin.get("/events").await;
        got.body["events"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    let task =
        admin.json("POST", "/tasks", &json!({"tool": "ping"})).await.body["id"].as_str().expect("an id").to_owned();
    admin.result(&task).await;
    let ping = r#"{"tool":"ping"}"#;
    // Statuses for read, execute, tool:ping, tool:pong, source:hooks, agent:main.
    let (event, task) = (format!("/events/{event}"), format!("/tasks/{task}"));
    let rows: Vec<(&str, String, &str, [u16; 6])> = vec![
        ("GET", "/status".into(), "", [200; 6]),
        ("GET", "/tools".into(), "", [200; 6]),
        ("GET", "/tools/ping".into(), "", [200, 200, 200, 404, 404, 404]),
        ("GET", "/tasks".into(), "", [200, 403, 403, 403, 403, 403]),
        ("GET", task.clone(), "", [200, 200, 200, 404, 404, 404]),
        ("GET", format!("{task}/result"), "", [200, 200, 200, 404, 404, 404]),
        ("POST", "/tasks".into(), ping, [403, 201, 201, 403, 403, 403]),
        ("POST", "/tasks".into(), r#"{"prompt":"x"}"#, [403, 503, 403, 403, 403, 503]),
        ("POST", "/tools/ping/invoke".into(), "{}", [403, 200, 200, 403, 403, 403]),
        ("POST", "/skill/invoke".into(), r#"{"action":"ping"}"#, [403, 200, 200, 403, 403, 403]),
        ("POST", format!("{task}/cancel"), "{}", [403, 409, 409, 404, 404, 404]),
        ("POST", format!("{task}/retry"), "", [403, 409, 409, 404, 404, 404]),
        ("POST", format!("{task}/settle"), r#"{"decision":"fail"}"#, [403; 6]),
        ("GET", "/events".into(), "", [200, 403, 403, 403, 403, 403]),
        ("GET", "/events?source=hooks".into(), "", [200, 403, 403, 403, 200, 403]),
        ("GET", event.clone(), "", [200, 404, 404, 404, 200, 404]),
        ("POST", format!("{event}/replay"), "{}", [403, 202, 403, 403, 403, 403]),
        (
            "POST",
            "/events/replay".into(),
            r#"{"since":"2026-01-01T00:00:00Z","until":"2026-01-02T00:00:00Z"}"#,
            [403, 200, 403, 403, 403, 403],
        ),
        ("GET", "/sources".into(), "", [200, 403, 403, 403, 403, 403]),
        ("GET", "/config".into(), "", [200, 403, 403, 403, 403, 403]),
        ("GET", "/config/versions".into(), "", [200, 403, 403, 403, 403, 403]),
        ("PUT", "/config".into(), "{}", [403; 6]),
        ("PATCH", "/config".into(), "{}", [403; 6]),
        ("POST", "/config/rollback".into(), r#"{"version":1}"#, [403; 6]),
        ("GET", "/tokens".into(), "", [403; 6]),
        ("POST", "/tokens".into(), r#"{"name":"x","scopes":["read"]}"#, [403; 6]),
        ("DELETE", "/tokens/dev-admin".into(), "", [403; 6]),
    ];
    let scopes = ["read", "execute", "tool:ping", "tool:pong", "source:hooks", "agent:main"];
    for (place, scope) in scopes.iter().enumerate() {
        let user = user(&bridge, &format!("t{place}"), scope);
        for (method, path, body, expected) in &rows {
            let headers: &[(&str, &str)] = if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
            let got = user.ask(method, path, headers, body).await;
            assert_eq!(got.status, expected[place], "{scope} {method} {path}: {got:?}");
        }
    }
    // Every endpoint of the document but the document itself is in the table.
    let document = clawbridge_api::document();
    let operations: usize = document["paths"]
        .as_object()
        .expect("paths")
        .values()
        .map(|path| path.as_object().map_or(0, serde_json::Map::len))
        .sum();
    let mut tried: Vec<String> =
        rows.iter().map(|row| format!("{} {}", row.0, row.1.split('?').next().unwrap_or_default())).collect();
    tried.sort();
    tried.dedup();
    assert_eq!(tried.len(), operations - 1);
}

/// Method, path, headers, body; status, code, a field's path.
type Mistake<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, &'a str, u16, &'a str, &'a str);

#[tokio::test]
async fn what_is_wrong_with_a_request_is_named() {
    let bridge = start().await;
    let user = admin(&bridge);
    let json = ("content-type", "application/json");
    let large = format!(r#"{{"tool":"ping","input":"{}"}}"#, "x".repeat(1024 * 1024));
    let rows: Vec<Mistake<'_>> = vec![
        ("POST", "/tasks", vec![json], "{", 400, "invalid_json", ""),
        ("POST", "/tasks", vec![json], "{}", 400, "validation_error", ""),
        ("POST", "/tasks", vec![json], r#"{"tool":"ping","colour":1}"#, 400, "validation_error", "colour"),
        ("POST", "/tasks", vec![json], r#"{"tool":7}"#, 400, "validation_error", "tool"),
        ("POST", "/tasks", vec![json], r#"{"tool":"ping","input":{"n":"x"}}"#, 400, "validation_error", "input.n"),
        ("POST", "/tasks", vec![json], r#"{"tool":"ghost"}"#, 404, "not_found", ""),
        ("POST", "/tasks", vec![json], &large, 413, "payload_too_large", ""),
        ("POST", "/tasks", vec![], r#"{"tool":"ping"}"#, 415, "unsupported_media_type", ""),
        (
            "POST",
            "/tasks",
            vec![("content-type", "text/plain")],
            r#"{"tool":"ping"}"#,
            415,
            "unsupported_media_type",
            "",
        ),
        ("GET", "/tasks?limit=0", vec![], "", 400, "validation_error", "limit"),
        ("GET", "/tasks?limit=100000", vec![], "", 400, "validation_error", "limit"),
        ("GET", "/tasks?limit=x", vec![], "", 400, "validation_error", "limit"),
        ("GET", "/tasks?status=done", vec![], "", 400, "validation_error", "status"),
        ("GET", "/tasks?colour=red", vec![], "", 400, "validation_error", "colour"),
        ("GET", "/tasks?cursor=abc", vec![], "", 400, "validation_error", "cursor"),
        ("GET", "/tasks?since=yesterday", vec![], "", 400, "validation_error", "since"),
        ("GET", "/tasks?since=2020-01-01T00:00:00Z", vec![], "", 400, "validation_error", "since"),
        ("GET", "/tasks/task_0123", vec![], "", 404, "not_found", ""),
        ("GET", "/tasks/lane:x", vec![], "", 404, "not_found", ""),
        ("GET", "/events/chunk:x:0", vec![], "", 404, "not_found", ""),
        ("GET", "/nothing", vec![], "", 404, "not_found", ""),
        ("DELETE", "/tasks", vec![], "", 405, "method_not_allowed", ""),
        ("DELETE", "/tokens/ghost", vec![], "", 404, "not_found", ""),
        ("POST", "/tokens", vec![json], r#"{"name":"a b","scopes":["read"]}"#, 400, "validation_error", "name"),
        ("POST", "/tokens", vec![json], r#"{"name":"a","scopes":["write"]}"#, 400, "validation_error", "scopes.0"),
        ("POST", "/tokens", vec![json], r#"{"name":"dev-admin","scopes":["read"]}"#, 409, "conflict", ""),
        ("PUT", "/config", vec![json], r#"{"tools":{"x":{"method":"GET"}}}"#, 400, "validation_error", "tools.x.url"),
        ("POST", "/config/rollback", vec![json], r#"{"version":99}"#, 404, "not_found", ""),
    ];
    for (method, path, headers, body, status, code, field) in rows {
        let got = user.ask(method, path, &headers, body).await;
        let error = &got.body["error"];
        let shown = body.chars().take(80).collect::<String>();
        assert_eq!((got.status, error["code"].as_str()), (status, Some(code)), "{method} {path} {shown}: {}", got.body);
        let fields = error["fields"].as_array().cloned().unwrap_or_default();
        assert!(
            field.is_empty() || fields.iter().any(|one| one["path"] == field),
            "{method} {path} {shown}: {}",
            got.body
        );
    }
    let got = user.ask("DELETE", "/tasks", &[], "").await;
    assert_eq!(got.headers["allow"], "POST, GET, HEAD, OPTIONS");
    let got = user.ask("OPTIONS", "/tasks", &[], "").await;
    assert_eq!((got.status, got.headers["allow"].as_str()), (204, "POST, GET, HEAD, OPTIONS"));
    let got = user.ask("HEAD", "/status", &[], "").await;
    assert_eq!((got.status, got.text.as_str()), (200, ""));
    // Text has places.
    let toml = "[tools.x]\nmethod = \"GET\"\nurl = \"https://a.example\"\ncolour = 1\n";
    let got = user.ask("PUT", "/config", &[("content-type", "application/toml")], toml).await;
    let field = &got.body["error"]["fields"][0];
    assert_eq!(
        (got.status, &field["path"], &field["line"]),
        (400, &json!("tools.x.colour"), &json!(4)),
        "{}",
        got.body
    );
    for header in ["", "Bearer x", "Basic x", "Bearer ocl_0000"] {
        let got = bridge.request("GET", "/api/v1/status", &[("authorization", header)], b"").await;
        assert_eq!((got.status, &got.body["error"]["code"]), (401, &json!("unauthorized")), "{got:?}");
        assert!(got.headers["www-authenticate"].starts_with("Bearer"), "{got:?}");
    }
}

#[tokio::test]
async fn a_token_is_shown_once_and_refused_as_soon_as_it_is_revoked() {
    let bridge = start().await;
    let admin = admin(&bridge);
    let made = admin.json("POST", "/tokens", &json!({"name": "ci", "scopes": ["read", "tool:ping"]})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let user = User { bridge: &bridge, token: made.body["token"].as_str().expect("a token").to_owned() };
    assert_eq!(user.get("/status").await.status, 200);
    let listed = admin.get("/tokens").await;
    assert!(!listed.text.contains(&user.token) && listed.text.contains("\"ci\""), "{}", listed.text);
    assert!(listed.body["tokens"][0]["last_used_at"].is_string(), "{}", listed.text);
    assert_eq!(admin.ask("DELETE", "/tokens/ci", &[], "").await.status, 200);
    assert_eq!(user.get("/status").await.status, 401);
    // By the command line: within the seconds that a token is believed.
    let answer = bridge.run(&["token", "create", "--name", "ci", "--tool", "ping", "--expires", "1h"]);
    let user = User { bridge: &bridge, token: answer.out.trim().to_owned() };
    assert_eq!(user.get("/status").await.status, 200);
    assert_eq!(bridge.run(&["token", "revoke", "--name", "ci"]).status, 0);
    assert_eq!(bridge.run(&["token", "revoke", "--name", "ci"]).status, 3);
    eventually("the token is refused", || async { (user.get("/status").await.status == 401).then_some(()) }).await;
    let list = bridge.run(&["token", "list"]);
    assert!(list.out.contains("dev-admin") && !list.out.contains("ci "), "{list:?}");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(bridge.dir.path().join("state/token")).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn of_two_changes_of_one_version_one_is_made() {
    let bridge = start().await;
    let user = admin(&bridge);
    let before = user.get("/config").await;
    let etag = before.headers["etag"].clone();
    let headers = [("content-type", "application/merge-patch+json"), ("if-match", etag.as_str())];
    let patch = |hops: u32| json!({"limits": {"max_hops": hops}}).to_string();
    let (first, second) = (patch(3), patch(4));
    let (a, b) =
        tokio::join!(user.ask("PATCH", "/config", &headers, &first), user.ask("PATCH", "/config", &headers, &second));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412], "{a:?} {b:?}");
    let after = user.get("/config").await;
    assert_ne!(after.headers["etag"], etag);
    let versions = user.get("/config/versions?limit=1").await;
    assert_eq!(versions.body["versions"][0]["version"], after.body["version"]);
    let back = user.json("POST", "/config/rollback", &json!({"version": before.body["version"]})).await;
    assert_eq!(back.status, 200, "{back:?}");
    assert_eq!(user.get("/config").await.body["config"], before.body["config"]);
}

#[tokio::test]
async fn a_list_is_read_page_by_page_without_gap_or_repetition() {
    let bridge = start().await;
    let user = admin(&bridge);
    let mut made = Vec::new();
    for n in 0..5 {
        let got = user.json("POST", "/tools/ping/invoke", &json!({"input": {"n": n}})).await;
        made.push(got.body["id"].as_str().expect("an id").to_owned());
    }
    made.reverse();
    let (mut seen, mut path) = (Vec::new(), "/tasks?limit=2&tool=ping".to_owned());
    loop {
        let got = user.get(&path).await;
        let ids = got.body["tasks"].as_array().expect("tasks").iter().filter_map(|task| task["id"].as_str());
        seen.extend(ids.map(str::to_owned));
        let Some(cursor) = got.body["next_cursor"].as_str() else { break };
        path = format!("/tasks?limit=2&tool=ping&cursor={cursor}");
        let other = user.get(&format!("/tasks?limit=2&tool=pong&cursor={cursor}")).await;
        assert_eq!((other.status, &other.body["error"]["fields"][0]["path"]), (400, &json!("cursor")));
    }
    assert_eq!(seen, made);
}

#[tokio::test]
async fn the_document_is_the_one_that_is_checked_in() {
    let path = crate::support::root().join("docs/openapi.json");
    let document = format!("{}\n", serde_json::to_string_pretty(&clawbridge_api::document()).expect("JSON"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &document).expect("docs/openapi.json");
    }
    assert_eq!(std::fs::read_to_string(&path).expect("docs/openapi.json"), document);
    let bridge = Bridge::start("").await;
    let served = bridge.request("GET", "/api/v1/openapi.json", &[], b"").await;
    assert_eq!((served.status, served.body), (200, clawbridge_api::document()));
}
