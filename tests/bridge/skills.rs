//! Skills over the API and the command line: what is put into the configuration, what is taken out, what is refused and why.

use crate::api::{User, admin, user};
use crate::support::{Bridge, Got, Reply, Stub, eventually};
use serde_json::{Value, json};

const CONFIG: &str = r#"
    [network]
    allow = ["127.0.0.1"]

    [tools.hear]
    method = "POST"
    url = "bridge:/echo/hear"
    effect = "idempotent"

    [[routes]]
    name = "hear"
    source = "bridge"
    type = "skill.*"
    tool = "hear"
    input = ".body"
"#;

/// A bundle whose tools call the echo endpoint.
fn desk(version: &str) -> Value {
    json!({
        "name": "desk", "version": version, "description": "A desk", "guide": "Put things on it.",
        "tools": {
            "desk_put": {"method": "PUT", "url": "bridge:/echo/desk/{id}", "description": "Puts a thing on the desk",
                "input": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}},
            "desk_get": {"method": "GET", "url": "bridge:/echo/desk/{id}", "effect": "idempotent"},
        },
        "routes": [{"name": "desk-news", "source": "desk", "tool": "desk_put", "input": "{id: .id}"}],
    })
}

async fn remove(user: &User<'_>, path: &str) -> Got {
    user.ask("DELETE", path, &[], "").await
}

fn code(got: &Got) -> (u16, &str) {
    (got.status, got.body["error"]["code"].as_str().unwrap_or_default())
}

/// The paths of what is wrong.
fn paths(got: &Got) -> Vec<&str> {
    got.body["error"]["fields"].as_array().into_iter().flatten().filter_map(|field| field["path"].as_str()).collect()
}

#[tokio::test]
async fn a_skill_is_installed_invoked_upgraded_and_removed_without_residue() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let before = user.get("/config").await;
    let made = user.json("POST", "/skills", &json!({"bundle": desk("1.0.0"), "routes": ["desk-news"]})).await;
    assert_eq!((made.status, &made.body["change"]), (201, &json!("installed")), "{made:?}");
    assert_eq!(made.headers["location"], "/api/v1/skills/desk");
    let paths: Vec<&str> = made.body["skill"]["members"]
        .as_array()
        .expect("members")
        .iter()
        .filter_map(|one| one["path"].as_str())
        .collect();
    assert_eq!(paths, ["tools.desk_get", "tools.desk_put", "routes.desk-news"]);
    assert!(made.body["skill"]["skill_md"].as_str().is_some_and(|text| text.contains("### desk_put")));

    // By the tool's name, and as an action of the skill, the moment that it is there.
    for action in ["desk_put", "desk.put", "desk.desk_put"] {
        let got = user.json("POST", "/skill/invoke", &json!({"action": action, "payload": {"id": action}})).await;
        assert_eq!((got.status, &got.body["status"]), (200, &json!("completed")), "{action}: {got:?}");
        assert_eq!(got.body["tool"], "desk_put");
    }
    for action in ["desk.none", "chair.put", "hear.hear"] {
        let got = user.json("POST", "/skill/invoke", &json!({"action": action})).await;
        assert_eq!(code(&got), (404, "not_found"), "{action}: {got:?}");
    }

    let again = user.json("POST", "/skills", &json!({"bundle": desk("1.0.0")})).await;
    assert_eq!((again.status, &again.body["change"]), (200, &json!("unchanged")), "{again:?}");
    assert_eq!(again.body["skill"]["config_version"], made.body["skill"]["config_version"]);
    let newer = user.json("POST", "/skills", &json!({"bundle": desk("1.1.0")})).await;
    assert_eq!((&newer.body["change"], &newer.body["replaces"]), (&json!("upgraded"), &json!("1.0.0")), "{newer:?}");
    assert_eq!(newer.body["skill"]["options"], json!({"routes": ["desk-news"]}));
    let listed = user.get("/skills").await;
    assert_eq!(
        (&listed.body["skills"][0]["version"], &listed.body["skills"][0]["state"]),
        (&json!("1.1.0"), &json!("present"))
    );

    let gone = remove(&user, "/skills/desk").await;
    assert_eq!((gone.status, &gone.body["version"]), (200, &json!("1.1.0")), "{gone:?}");
    assert_eq!(user.get("/config").await.body["config"], before.body["config"]);
    assert_eq!(user.get("/skills").await.body["skills"], json!([]));
    assert_eq!(code(&remove(&user, "/skills/desk").await), (404, "not_found"));

    // Each of it was an event, and what changed nothing was not another one.
    let told = eventually("three events", || async {
        let got = user.get("/tasks?tool=hear&status=completed").await;
        let inputs: Vec<Value> = got.body["tasks"]
            .as_array()?
            .iter()
            .map(|task| json!([task["input"]["event"], task["input"]["data"]["version"]]))
            .collect();
        (inputs.len() >= 3).then_some(inputs)
    })
    .await;
    let expected = [["skill.removed", "1.1.0"], ["skill.installed", "1.1.0"], ["skill.installed", "1.0.0"]];
    let mut told: Vec<String> = told.iter().map(ToString::to_string).collect();
    let mut expected: Vec<String> = expected.iter().map(|pair| json!(pair).to_string()).collect();
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn what_is_wrong_with_an_installation_is_named_and_nothing_is_changed() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let before = user.get("/config").await;
    let bundle = |pointer: &str, key: &str, value: Value| {
        let mut bundle = desk("1.0.0");
        bundle.pointer_mut(pointer).expect("there")[key] = value;
        json!({ "bundle": bundle })
    };
    let huge = json!({"bundle": {"name": "x".repeat(1024 * 1024)}});
    let rows: Vec<(Value, u16, &str, &str)> = vec![
        (json!({}), 400, "validation_error", ""),
        (json!({"name": "stripe", "bundle": {}}), 400, "validation_error", ""),
        (json!({"name": "ghost"}), 404, "not_found", ""),
        (json!({"name": "stripe", "version": "9.9.9"}), 400, "validation_error", "version"),
        (json!({"name": "stripe", "colour": 1}), 400, "validation_error", "colour"),
        (json!({"name": "stripe", "parameters": {"shop": "x"}}), 400, "validation_error", "parameters.shop"),
        (json!({"name": "stripe", "routes": ["stripe-none"]}), 400, "validation_error", "routes"),
        (json!({"name": "stripe", "routes": ["stripe-disputes"]}), 400, "validation_error", "routes[1].tool"),
        (
            json!({"name": "stripe", "connection": "stripe/main"}),
            400,
            "validation_error",
            "tools.stripe_create_customer.auth.connection",
        ),
        (json!({"name": "shopify"}), 400, "validation_error", "parameters.shop"),
        (
            json!({"name": "shopify", "parameters": {"shop": "evil.example/x"}}),
            400,
            "validation_error",
            "parameters.shop",
        ),
        (json!({"bundle": {}}), 400, "validation_error", "bundle"),
        (bundle("", "colour", json!(1)), 400, "validation_error", "bundle"),
        (bundle("", "version", json!("1")), 400, "validation_error", "bundle"),
        (bundle("", "name", json!("catalogue")), 400, "validation_error", "bundle.name"),
        (bundle("/tools", "hear", json!({"method": "GET"})), 400, "validation_error", "bundle.tools.hear"),
        (
            bundle("/tools", "desk_bad", json!({"method": "FETCH", "url": "https://a.example"})),
            400,
            "validation_error",
            "tools.desk_bad.method",
        ),
        (
            bundle(
                "/tools",
                "desk_leak",
                json!({"method": "GET", "url": "https://a.example", "headers": {"x": "sk_live_abcdefgh1234"}}),
            ),
            400,
            "validation_error",
            "tools.desk_leak.headers.x",
        ),
        (huge, 413, "payload_too_large", ""),
    ];
    for (body, status, expected, path) in rows {
        let got = user.json("POST", "/skills", &body).await;
        let shown = body.to_string().chars().take(200).collect::<String>();
        assert_eq!(code(&got), (status, expected), "{shown}: {got:?}");
        assert!(path.is_empty() || paths(&got).contains(&path), "{shown}: {got:?}");
        assert!(!got.text.contains("sk_live_"), "{got:?}");
    }
    for name in ["ghost", "catalogue%2F..", "%00", &"x".repeat(300)] {
        let got = user.get(&format!("/skills/{name}")).await;
        assert!(got.status == 404 || got.status == 400, "{name}: {got:?}");
    }
    assert_eq!(user.get("/config").await.body, before.body);
    let reader = crate::api::user(&bridge, "reader", "read");
    assert_eq!(code(&reader.json("POST", "/skills", &json!({"name": "stripe"})).await), (403, "forbidden"));
    assert_eq!(code(&remove(&reader, "/skills/stripe").await), (403, "forbidden"));
    let one = user_of_tool(&bridge);
    let got = one.json("POST", "/skill/invoke", &json!({"action": "desk.put", "payload": {"id": "a"}})).await;
    assert_eq!(code(&got), (403, "forbidden"), "{got:?}");
}

fn user_of_tool(bridge: &Bridge) -> User<'_> {
    user(bridge, "one", "tool:hear")
}

#[tokio::test]
async fn what_the_user_has_is_not_overwritten_and_what_they_changed_not_lost() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let own = json!({"tools": {"desk_put": {"method": "GET", "url": "https://own.example/"}}});
    assert_eq!(user.json("PATCH", "/config", &own).await.status, 200);
    let clash = user.json("POST", "/skills", &json!({"bundle": desk("1.0.0")})).await;
    assert_eq!((code(&clash), paths(&clash)), ((409, "conflict"), vec!["tools.desk_put"]), "{clash:?}");
    assert_eq!(user.json("PATCH", "/config", &json!({"tools": {"desk_put": null}})).await.status, 200);
    assert_eq!(user.json("POST", "/skills", &json!({"bundle": desk("1.1.0")})).await.status, 201);
    let older = user.json("POST", "/skills", &json!({"bundle": desk("1.0.0")})).await;
    assert_eq!((code(&older), paths(&older)), ((409, "conflict"), vec!["version"]));

    // Something of the user's refers to a tool: that has to go first, whatever is said.
    let config = user.get("/config").await;
    let mut routes = config.body["config"]["routes"].clone();
    routes.as_array_mut().expect("routes").push(json!({"name": "mine", "source": "x", "tool": "desk_put"}));
    assert_eq!(user.json("PATCH", "/config", &json!({ "routes": routes })).await.status, 200);
    for path in ["/skills/desk", "/skills/desk?force=true"] {
        let got = remove(&user, path).await;
        assert_eq!((code(&got), paths(&got)), ((409, "conflict"), vec!["routes.mine"]), "{got:?}");
    }
    let routes = config.body["config"]["routes"].clone();
    assert_eq!(user.json("PATCH", "/config", &json!({ "routes": routes })).await.status, 200);

    // What was changed is theirs, unless they say otherwise.
    assert_eq!(user.json("PATCH", "/config", &json!({"tools": {"desk_get": {"attempts": 2}}})).await.status, 200);
    assert_eq!(user.get("/skills/desk").await.body["state"], "edited");
    let got = remove(&user, "/skills/desk").await;
    assert_eq!((code(&got), paths(&got)), ((409, "conflict"), vec!["tools.desk_get"]), "{got:?}");
    assert_eq!(remove(&user, "/skills/desk?force=true").await.status, 200);
    let after = user.get("/config").await;
    assert!(!after.text.contains("desk_"), "{after:?}");
}

#[tokio::test]
async fn skills_that_are_installed_at_once_are_all_there() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let bundle = |name: &str| {
        let tool = json!({"method": "GET", "url": "bridge:/echo/x"});
        json!({"bundle": {"name": name, "version": "1.0.0", "description": "x", "tools": {format!("{name}_x"): tool}}})
    };
    let (a, b, c) = (bundle("a"), bundle("b"), bundle("c"));
    let (a, b, c) = tokio::join!(
        user.json("POST", "/skills", &a),
        user.json("POST", "/skills", &b),
        user.json("POST", "/skills", &c)
    );
    for got in [a, b, c] {
        assert_eq!(got.status, 201, "{got:?}");
    }
    assert_eq!(user.get("/skills").await.body["skills"].as_array().map(Vec::len), Some(3));
    let config = user.get("/config").await;
    for tool in ["a_x", "b_x", "c_x", "hear"] {
        assert!(config.body["config"]["tools"][tool].is_object(), "{tool}");
    }
    // Under a version that was seen, one that is no longer in use is none to put something over.
    let stale = [("content-type", "application/json"), ("if-match", "\"v1\"")];
    let got = user.ask("POST", "/skills", &stale, &bundle("d").to_string()).await;
    assert_eq!(code(&got), (412, "precondition_failed"));
    let got = user.ask("DELETE", "/skills/a", &stale[1..], "").await;
    assert_eq!(code(&got), (412, "precondition_failed"));
}

#[tokio::test]
async fn a_file_that_is_applied_keeps_what_was_installed() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    assert_eq!(user.json("POST", "/skills", &json!({"bundle": desk("1.0.0")})).await.status, 201);
    bridge.write_config(&format!("{CONFIG}\n[tools.more]\nmethod = \"GET\"\nurl = \"bridge:/echo/more\"\n"));
    eventually("the file is applied", || async {
        let config = user.get("/config").await;
        let tools = &config.body["config"]["tools"];
        (tools["more"].is_object() && tools["desk_put"].is_object()).then_some(())
    })
    .await;
    let file = bridge.dir.path().join("other.toml");
    std::fs::write(&file, CONFIG).expect("a file");
    let applied = bridge.run(&["apply", file.to_str().expect("a path"), "--json"]);
    assert_eq!(applied.status, 0, "{applied:?}");
    let tools = user.get("/config").await.body["config"]["tools"].clone();
    assert!(tools["desk_put"].is_object() && tools["more"].is_null(), "{tools}");
}

#[tokio::test]
async fn the_command_line_installs_shows_writes_and_removes() {
    let gateway = Stub::start(|_, _| Reply::of(200, "application/json", r#"{"ok":true,"runId":"run_1"}"#)).await;
    let bridge = Bridge::start(CONFIG).await;
    assert!(bridge.run(&["skills", "catalogue"]).out.contains("shopify"));
    assert!(bridge.run(&["skills", "list"]).out.contains("No skill"));
    let missing = bridge.run(&["skills", "install", "openclaw", "--json"]);
    assert_eq!((missing.status, missing.error_code().as_str()), (1, "SKILL_OPTIONS"), "{missing:?}");
    let folder = bridge.dir.path().join("openclaw-skills");
    let (set, write) = (format!("gateway={}", gateway.url), folder.to_str().expect("a path"));
    let made = bridge.run(&[
        "skills",
        "install",
        "openclaw",
        "--set",
        &set,
        "--route",
        "openclaw-failures",
        "--write",
        write,
        "--json",
    ]);
    assert_eq!((made.status, &made.json()["change"]), (0, &json!("installed")), "{made:?}");
    let text = std::fs::read_to_string(folder.join("openclaw/SKILL.md")).expect("SKILL.md");
    assert!(text.starts_with("---\nname: openclaw\n") && text.contains("### openclaw_agent"), "{text}");
    assert_eq!(bridge.run(&["secret", "set", "clawbridge/tools/openclaw", "--value", "hook-token"]).status, 0);

    // The gateway gets the turn, with the token and a key of its own.
    let user = admin(&bridge);
    let got =
        user.json("POST", "/skill/invoke", &json!({"action": "openclaw.agent", "payload": {"message": "hello"}})).await;
    assert_eq!((&got.body["status"], &got.body["output"]["runId"]), (&json!("completed"), &json!("run_1")), "{got:?}");
    let calls = gateway.calls_of("/hooks/agent");
    assert_eq!(
        (calls.len(), calls[0].header("authorization"), calls[0].json()),
        (1, "Bearer hook-token", json!({"message": "hello"}))
    );
    assert!(!calls[0].header("idempotency-key").is_empty());

    assert!(bridge.run(&["skills", "list"]).out.contains("openclaw"));
    let shown = bridge.run(&["skills", "show", "openclaw", "--json"]).json();
    assert_eq!(shown["installed"]["state"], "present");
    let removed = bridge.run(&["skills", "remove", "openclaw"]);
    assert!(removed.status == 0 && removed.out.contains("openclaw is removed"), "{removed:?}");
    assert_eq!(bridge.run(&["skills", "remove", "openclaw"]).status, 3);
    for (args, code) in [
        (["skills", "install", "ghost"], "UNKNOWN_SKILL"),
        (["skills", "show", "ghost"], "UNKNOWN_SKILL"),
        (["skills", "install", "no-such-file.toml"], "BUNDLE_UNREADABLE"),
        (["skills", "install", "Cargo.toml"], "BUNDLE_INVALID"),
    ] {
        let answer = bridge.run(&[&args[..], &["--json"]].concat());
        assert_eq!(answer.error_code(), code, "{answer:?}");
    }
}

#[tokio::test]
async fn stripe_is_asked_by_a_form_with_the_key_of_the_task() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let offered = user.get("/skills/catalogue/stripe").await;
    assert_eq!((offered.status, &offered.body["installed"]), (200, &Value::Null), "{offered:?}");
    assert_eq!(user.json("POST", "/skills", &json!({"name": "stripe", "version": "latest"})).await.status, 201);
    assert_eq!(user.get("/skills/catalogue").await.body["skills"][6]["installed"], "1.0.0");
    let input = json!({"payment": "pi_1", "amount": 500, "metadata": {"order": "7"}}).to_string();
    let plan = bridge.run(&["tools", "call", "stripe_create_refund", "--input", &input, "--dry-run", "--json"]);
    assert_eq!(plan.status, 0, "{plan:?}");
    assert!(plan.out.contains("amount=500&metadata%5Border%5D=7&payment_intent=pi_1"), "{plan:?}");
    assert!(plan.out.contains("application/x-www-form-urlencoded") && plan.out.contains("idempotency-key"), "{plan:?}");
}
