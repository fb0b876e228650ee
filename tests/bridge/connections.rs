//! `clawbridge connect-account`, `connections` and `doctor`, against a real authorization server where there is one.

use crate::support::authority::{Authority, Fault, Runtime, confidential, runtime};
use crate::support::browser::Visit;
use crate::support::work::ALLOW;
use crate::support::{Answer, Bridge, Reply, Stub, eventually, program, run};
use clawbridge_aws::{Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_connections::{Connections, Settings};
use clawbridge_oauth::TokenSet;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECRET: &str = "a-secret-of-the-client-that-nobody-else-has";
const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

fn provider(issuer: &str, more: &str) -> String {
    // Who answers nothing to a browser names no issuer in it.
    let iss = if more.contains("grant =") { "" } else { "iss = \"required\"" };
    format!(
        "[providers.crm]\ntitle = \"Acme CRM\"\nissuer = \"{issuer}\"\nclient_id = \"shop\"\n\
         secret = \"clawbridge/providers/crm\"\n{iss}\n{more}\n{ALLOW}"
    )
}

#[track_caller]
fn refused(answer: &Answer, status: i32, code: &str) {
    assert_eq!((answer.status, answer.error_code().as_str()), (status, code), "{answer:?}");
}

#[track_caller]
fn done(answer: Answer) -> Value {
    assert_eq!(answer.status, 0, "{answer:?}");
    answer.json()
}

fn set_secret(bridge: &Bridge, value: &str) {
    let answer = bridge.run_with_input(&["secret", "set", "clawbridge/providers/crm"], value);
    assert_eq!(answer.status, 0, "{answer:?}");
}

/// A bridge with the provider `crm`, whose secret is set.
async fn bridge(config: &str) -> Bridge {
    let bridge = Bridge::start(config).await;
    set_secret(&bridge, SECRET);
    bridge
}

/// The stored token set.
async fn tokens(bridge: &Bridge, name: &str) -> Value {
    let asked = json!({"SecretId": format!("clawbridge/connections/{name}")});
    let answer = bridge.aws("secretsmanager.GetSecretValue", &asked).await;
    serde_json::from_str(answer["SecretString"].as_str().unwrap_or("null")).expect("JSON")
}

/// Stores what a consent brought, as the pages do.
async fn consent(bridge: &Bridge, name: &str, more: Value, asked: &[&str]) {
    let config = sdk_config(&Environment::local(&bridge.private)).expect("a configuration");
    let settings =
        Settings { registry_table: "clawbridge-registry".to_owned(), secret_prefix: "clawbridge".to_owned() };
    let tables = aws_sdk_dynamodb::Client::new(&config);
    let connections = Connections::new(tables, aws_sdk_secretsmanager::Client::new(&config), settings);
    let mut set = json!({"v": 1, "generation": 1, "access_token": "token-of-a-consent", "kind": "bearer",
        "obtained_at": Timestamp::now(), "scopes": ["orders:read"]});
    set.as_object_mut().expect("an object").append(&mut more.as_object().expect("an object").clone());
    let set = TokenSet::read(set.to_string().as_bytes()).expect("a token set");
    let asked = asked.iter().map(|&scope| scope.to_owned()).collect();
    connections.connect(&name.parse().expect("a name"), set, asked).await.expect("stored");
}

/// What was found, as (level, check).
fn findings(subject: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let findings = subject["findings"].as_array().expect("findings");
    findings.iter().map(|finding| (text(&finding["level"]), text(&finding["check"]))).collect()
}

/// The one that the doctor is asked about, and whether all is well.
fn examined(bridge: &Bridge, name: &str) -> (Value, bool) {
    let answer = bridge.run(&["doctor", name, "--json"]);
    let report = answer.json();
    assert_eq!(report["ok"] == true, answer.status == 0, "{answer:?}");
    assert!(!answer.out.contains(SECRET) && !answer.err.contains(SECRET));
    (report["checked"][0].clone(), answer.status == 0)
}

fn is_found(subject: &Value, level: &str, check: &str) -> bool {
    findings(subject).contains(&(level.to_owned(), check.to_owned()))
}

fn machine() -> Value {
    json!({"client_id": "shop", "client_secret": SECRET, "grant_types": ["client_credentials"]})
}

async fn no_secret_in(authority: &Authority, said: &[String]) {
    for secret in authority.secrets().await.iter().map(String::as_str).chain([SECRET]) {
        assert!(said.iter().all(|said| !said.contains(secret)), "a secret was printed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_connected_is_refused_with_a_reason() {
    let bridge = Bridge::start(&provider(
        "http://127.0.0.1:9",
        "parameters = { shop = \"\", region = \"eu\" }\ntest_url = \"http://127.0.0.1/{shop}/{region}\"",
    ))
    .await;
    let connect = |args: &[&str]| bridge.run(&[&["connect-account"], args, &["--json"]].concat());
    refused(&connect(&["other", "--account", "main"]), 3, "UNKNOWN_PROVIDER");
    refused(&connect(&["crm", "--account", "Main"]), 2, "CONNECTION_NAME");
    refused(&connect(&["crm", "--account", "main"]), 2, "PARAMETER_MISSING");
    let set = |value: &'static str| connect(&["crm", "--account", "main", "--set", "shop=acme", "--set", value]);
    refused(&set("colour=red"), 2, "PARAMETER_UNKNOWN");
    refused(&set("region=a/b"), 2, "PARAMETER_INVALID");
    refused(&set("shop=other"), 2, "PARAMETER_TWICE");
    assert_eq!(set("region").status, 2);
    // Everything fits, and the client secret is missing.
    refused(&set("region=us"), 1, "CREDENTIAL_UNAVAILABLE");
    set_secret(&bridge, SECRET);
    let made = done(set("region=us"));
    let url = made["url"].as_str().expect("an address");
    let ticket = url.strip_prefix(&format!("{}/oauth/connect/", bridge.public)).expect("an address of this stack");
    assert_eq!(ticket.len(), 43);
    assert_eq!(made["redirect_uri"], format!("{}/oauth/callback/crm", bridge.public));
    // The table can open no link.
    let items = bridge.aws("DynamoDB_20120810.Scan", &json!({"TableName": "clawbridge-registry"})).await.to_string();
    assert!(items.contains("oauth-link") && !items.contains(ticket), "{items}");
    let elsewhere = connect(&["crm", "--account", "main", "--set", "shop=acme", "--url", "http://bridge.example.com"]);
    refused(&elsewhere, 1, "PUBLIC_URL_UNUSABLE");
    let elsewhere =
        connect(&["crm", "--account", "main", "--set", "shop=acme", "--url", "https://bridge.example.com/"]);
    assert!(done(elsewhere)["url"].as_str().expect("one").starts_with("https://bridge.example.com/oauth/connect/"));

    for command in ["show", "test", "refresh", "revoke"] {
        let yes: &[&str] = if command == "revoke" { &["--yes"] } else { &[] };
        let ask = |name| bridge.run(&[&["connections", command, name, "--json"], yes].concat());
        refused(&ask("crm"), 2, "CONNECTION_NAME");
        refused(&ask("crm/nobody"), 3, "NOT_CONNECTED");
    }
    assert_eq!(done(bridge.run(&["connections", "list", "--json"])), json!([]));
    refused(&bridge.run(&["doctor", "other", "--json"]), 3, "UNKNOWN_PROVIDER");
    refused(&bridge.run(&["doctor", "crm/nobody", "--json"]), 3, "NOT_CONNECTED");
    assert!(run(&["completions", "bash"], "").out.contains("connect-account"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_its_own_is_connected_tested_refreshed_and_revoked() {
    let Some(runtime) = runtime() else { return };
    let authority = runtime.authority(json!({"clients": [machine()]})).await;
    let api = Stub::start(|call, _| match call.header("authorization").starts_with("Bearer ") {
        true => Reply::Json(200, json!({"ok": call.path != "/slack"})),
        false => Reply::Json(401, json!({})),
    })
    .await;
    let grant = "grant = \"client_credentials\"\nscopes = [\"orders:read\"]";
    let config = |path: &str| provider(&authority.issuer, &format!("{grant}\ntest_url = \"{}{path}\"", api.url));
    let bridge = bridge(&config("/me")).await;
    let mut said = Vec::new();
    let mut ask = |args: &[&str]| {
        let answer = bridge.run(args);
        said.extend([answer.out.clone(), answer.err.clone()]);
        answer
    };
    let connected = done(ask(&["connect-account", "crm", "--account", "main", "--json"]));
    assert_eq!((&connected["connected"], &connected["scopes"]), (&json!(true), &json!(["orders:read"])));
    let before = tokens(&bridge, "crm/main").await;
    let token = before["access_token"].as_str().expect("a token");
    let tested = done(ask(&["connections", "test", "crm/main", "--json"]));
    assert_eq!((&tested["passed"], &tested["status"]), (&json!(true), &json!(200)));
    assert_eq!(api.calls_of("/me")[0].header("authorization"), format!("Bearer {token}"));

    let refreshed = done(ask(&["connections", "refresh", "crm/main", "--json"]));
    assert_eq!(refreshed["generation"], 2);
    let after = tokens(&bridge, "crm/main").await;
    let newer = after["access_token"].as_str().expect("a token");
    assert_ne!(newer, token);
    assert!(authority.is_active(newer).await);

    let listed = ask(&["connections", "list"]);
    let rows: Vec<&str> = listed.out.lines().collect();
    assert!(rows[0].starts_with("CONNECTION") && rows[1].starts_with("crm/main") && rows[1].contains("active"));
    assert!(rows[1].contains("in 59 min") && rows.iter().all(|row| row.len() <= 100), "{rows:?}");
    let shown = done(ask(&["connections", "show", "crm/main", "--json"]));
    assert_eq!((&shown["generation"], &shown["tokens"]["kind"]), (&json!(2), &json!("bearer")));
    assert!(ask(&["connections", "show", "crm/main"]).out.contains("scopes      orders:read"));
    let report = done(ask(&["doctor", "--json"]));
    assert_eq!(report["checked"].as_array().map(Vec::len), Some(2));
    assert!(report["checked"].as_array().expect("subjects").iter().all(|one| findings(one).is_empty()), "{report}");
    assert!(ask(&["doctor"]).out.contains("fine      nothing is wrong"));

    // Nobody says yes.
    refused(&ask(&["connections", "revoke", "crm/main", "--json"]), 1, "NOT_CONFIRMED");
    // The provider cannot be told: the tokens stay, so that they can be revoked.
    authority.fault(Fault::broken().at("revocation")).await;
    refused(&ask(&["connections", "revoke", "crm/main", "--yes", "--json"]), 4, "PROVIDER_NOT_TOLD");
    assert!(authority.is_active(newer).await && tokens(&bridge, "crm/main").await["generation"] == 2);
    let revoked = bridge.run_with_input(&["connections", "revoke", "crm/main", "--json"], "yes\n");
    said.push(revoked.err.clone());
    assert_eq!(done(revoked)["at_provider"], true);
    assert!(!authority.is_active(newer).await);
    assert_eq!(tokens(&bridge, "crm/main").await, Value::Null);
    let ask = |args: &[&str]| bridge.run(args);
    refused(&ask(&["connections", "revoke", "crm/main", "--yes", "--json"]), 3, "NOT_CONNECTED");
    refused(&ask(&["connections", "refresh", "crm/main", "--json"]), 3, "NOT_CONNECTED");
    no_secret_in(&authority, &said).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_the_api_refuses_is_a_failed_test() {
    let Some(runtime) = runtime() else { return };
    let authority = runtime.authority(json!({"clients": [machine()]})).await;
    let api = Stub::start(|call, _| match call.path.as_str() {
        "/slack" => Reply::Json(200, json!({"ok": false})),
        "/forbidden" => Reply::Json(403, json!({})),
        _ => Reply::Json(401, json!({})),
    })
    .await;
    let grant = "grant = \"client_credentials\"\nparameters = { path = \"slack\" }";
    let bridge = bridge(&provider(&authority.issuer, &format!("{grant}\ntest_url = \"{}/{{path}}\"", api.url))).await;
    for path in ["slack", "forbidden", "refused"] {
        let set = format!("path={path}");
        done(bridge.run(&["connect-account", "crm", "--account", path, "--set", &set, "--json"]));
        refused(&bridge.run(&["connections", "test", &format!("crm/{path}"), "--json"]), 1, "TEST_FAILED");
    }
    // A new token was tried where the first was refused.
    assert_eq!(api.calls_of("/refused").len(), 2);
    assert_eq!(tokens(&bridge, "crm/refused").await["generation"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_token_is_tested_with_a_proof() {
    let Some(runtime) = runtime() else { return };
    let device = json!({"client_id": "shop", "client_secret": SECRET, "grant_types": [DEVICE, "refresh_token"]});
    let authority = runtime.authority(json!({"clients": [device]})).await;
    let more = format!(
        "grant = \"device_code\"\ndpop = true\nscopes = [\"openid\", \"orders:read\"]\ntest_url = \"{}\"",
        authority.url("/me")
    );
    let bridge = bridge(&provider(&authority.issuer, &more)).await;
    let out = by_device(runtime, &bridge).await;
    assert!(out.contains("\"connected\": true"), "{out}");
    assert_eq!(done(bridge.run(&["connections", "show", "crm/main", "--json"]))["tokens"]["kind"], "dpop");
    assert_eq!(done(bridge.run(&["connections", "test", "crm/main", "--json"]))["status"], 200);
    assert_eq!(done(bridge.run(&["connections", "refresh", "crm/main", "--json"]))["generation"], 2);
    assert_eq!(done(bridge.run(&["connections", "test", "crm/main", "--json"]))["status"], 200);
    no_secret_in(&authority, &[out]).await;
}

/// Connects `crm/main` by a code that a person types with a browser; what the command printed.
async fn by_device(runtime: Runtime, bridge: &Bridge) -> String {
    let mut command = Command::new(program());
    command.args(["connect-account", "crm", "--account", "main", "--device", "--json", "--local", &bridge.private]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("spawn");
    let lines: Arc<Mutex<String>> = Arc::default();
    let (out, sink) = (BufReader::new(child.stdout.take().expect("stdout")), lines.clone());
    let reader = std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            sink.lock().expect("lines").push_str(&(line + "\n"));
        }
    });
    let url = eventually("the codes", || {
        let said = lines.lock().expect("lines").clone();
        let codes = serde_json::from_str::<Value>(&said).ok();
        async move { Some(codes?["verification_uri_complete"].as_str()?.to_owned()) }
    })
    .await;
    let page = runtime.browser().await.visit(Visit::to(&url)).await;
    assert_eq!(page.title, "Sign-in Success", "{page:?}");
    let status = tokio::task::spawn_blocking(move || child.wait()).await.expect("no panic").expect("wait");
    reader.join().expect("read");
    assert!(status.success());
    lines.lock().expect("lines").clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_whose_consent_was_withdrawn_is_told_with_what_mends_it() {
    let Some(runtime) = runtime() else { return };
    let mut client = confidential("shop", SECRET, "http://127.0.0.1:9/oauth/callback/crm");
    client["grant_types"] = json!(["authorization_code", "refresh_token", DEVICE]);
    let authority = runtime.authority(json!({"clients": [client]})).await;
    let config = provider(&authority.issuer, "scopes = [\"openid\", \"orders:read\"]");
    let bridge = bridge(&config).await;
    by_device(runtime, &bridge).await;
    // Without test_url it is told what is known.
    assert_eq!(done(bridge.run(&["connections", "test", "crm/main", "--json"]))["passed"], Value::Null);
    assert_eq!(findings(&examined(&bridge, "crm/main").0), []);
    // A scope more in bridge.toml.
    bridge.write_config(&config.replace("\"orders:read\"]", "\"orders:read\", \"orders:write\"]"));
    eventually("it is told that a scope is missing", || async {
        is_found(&examined(&bridge, "crm/main").0, "wrong", "scopes").then_some(())
    })
    .await;

    assert_eq!(authority.revoke("shop").await, 1);
    refused(&bridge.run(&["connections", "refresh", "crm/main", "--json"]), 1, "NEEDS_REAUTH");
    let (subject, _) = examined(&bridge, "crm/main");
    let needs = subject["findings"].as_array().expect("some").iter().find(|one| one["check"] == "needs_reauth");
    let advice = needs.expect("it is told")["advice"].as_str().expect("advice");
    assert!(advice.contains("clawbridge connect-account crm --account main"), "{advice}");
    assert!(bridge.run(&["connections", "list"]).out.contains("needs_reauth"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_tells_each_thing_that_is_wrong() {
    let token = Arc::new(Mutex::new(0_i64));
    let skew = token.clone();
    let issuer: Arc<Mutex<Value>> = Arc::default();
    let served = issuer.clone();
    let stub = Stub::start(move |call, _| {
        if call.path.starts_with("/.well-known/") {
            return match served.lock().expect("metadata").clone() {
                Value::Null => Reply::Json(404, json!({})),
                metadata => Reply::Json(200, metadata),
            };
        }
        let seconds = *skew.lock().expect("skew");
        let now = std::time::SystemTime::now();
        let span = std::time::Duration::from_secs(seconds.unsigned_abs());
        let date = httpdate::fmt_http_date(if seconds < 0 { now - span } else { now + span });
        Reply::With(405, vec![("date".into(), date)], String::new())
    })
    .await;
    let good = json!({
        "issuer": stub.url, "authorization_endpoint": format!("{}/auth", stub.url),
        "token_endpoint": format!("{}/token", stub.url), "code_challenge_methods_supported": ["S256"],
        "grant_types_supported": ["authorization_code"], "authorization_response_iss_parameter_supported": true,
    });
    let set = |metadata: Value| *issuer.lock().expect("metadata") = metadata;
    let with = |key: &str, value: Value| {
        let mut changed = good.clone();
        changed[key] = value;
        set(changed);
        let config = provider(&stub.url, "");
        async move { Bridge::start(&config).await }
    };
    set(good.clone());
    let bridge = Bridge::start(&provider(&stub.url, "")).await;
    let (subject, is_well) = examined(&bridge, "crm");
    assert!(!is_well && findings(&subject) == [("wrong".into(), "secret".into())], "{subject}");
    assert_eq!(subject["redirect_uri"], format!("{}/oauth/callback/crm", bridge.public));
    for (bad, is_well) in [("two words", false), ("\"quoted\"", false), ("shop", false), (SECRET, true)] {
        set_secret(&bridge, bad);
        let (subject, found_well) = examined(&bridge, "crm");
        assert_eq!((found_well, is_found(&subject, "wrong", "secret")), (is_well, !is_well), "{subject}");
        assert!(is_well || !subject.to_string().contains("words") && !subject.to_string().contains("quoted"));
    }
    for (seconds, is_well) in [(30, true), (120, false), (-120, false)] {
        *token.lock().expect("skew") = seconds;
        let (subject, found_well) = examined(&bridge, "crm");
        assert_eq!((found_well, is_found(&subject, "wrong", "clock")), (is_well, !is_well), "{seconds}: {subject}");
    }
    *token.lock().expect("skew") = 0;
    for (key, value, level, check) in [
        ("issuer", json!(format!("{}/", stub.url)), "wrong", "issuer"),
        ("code_challenge_methods_supported", json!(["plain"]), "wrong", "pkce"),
        ("authorization_response_iss_parameter_supported", json!(false), "wrong", "iss"),
        ("token_endpoint_auth_methods_supported", json!(["private_key_jwt"]), "doubtful", "client_auth"),
        ("grant_types_supported", json!(["client_credentials"]), "doubtful", "grant"),
        ("token_endpoint", json!("http://127.0.0.1:9/token"), "wrong", "token_url"),
    ] {
        let bridge = with(key, value).await;
        set_secret(&bridge, SECRET);
        let (subject, is_well) = examined(&bridge, "crm");
        assert_eq!(findings(&subject), [(level.to_owned(), check.to_owned())], "{key}: {subject}");
        assert_eq!(is_well, level != "wrong");
    }
    set(Value::Null);
    assert!(is_found(&examined(&bridge, "crm").0, "wrong", "discovery"));
    let people = bridge.run(&["doctor", "crm"]);
    assert!(
        people.out.contains("  redirect  http://127.0.0.1:") && people.out.contains("wrong     discovery: "),
        "{people:?}"
    );
    assert_eq!((people.status, people.err.as_str()), (1, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_waits_ends_when_the_account_is_connected() {
    let bridge = bridge(&provider("http://127.0.0.1:9", "")).await;
    // What was connected before is not what is waited for.
    for (token, scope) in [("token-of-before", "orders:read"), ("token-of-now", "orders:write")] {
        let private = bridge.private.clone();
        let mut command = Command::new(program());
        command.args(["connect-account", "crm", "--account", "main", "--wait", "--json", "--local", &private]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("spawn");
        let mut out = BufReader::new(child.stdout.take().expect("stdout"));
        let mut link = String::new();
        while !link.ends_with("}\n") {
            assert!(out.read_line(&mut link).expect("a line") > 0, "{link}");
        }
        assert!(child.try_wait().expect("a state").is_none(), "it did not wait");
        consent(&bridge, "crm/main", json!({"access_token": token, "scopes": [scope]}), &[scope]).await;
        let mut rest = String::new();
        let (status, rest) = tokio::task::spawn_blocking(move || {
            std::io::Read::read_to_string(&mut out, &mut rest).expect("the rest");
            (child.wait().expect("wait"), rest)
        })
        .await
        .expect("no panic");
        let connected: Value = serde_json::from_str(&rest).expect("JSON");
        assert_eq!((status.code(), &connected["connected"]), (Some(0), &json!(true)));
        assert_eq!(connected["scopes"], json!([scope]));
        assert!(!rest.contains(token));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_looks_after_what_was_granted_and_how_long_it_lasts() {
    let bridge = bridge(&provider("http://127.0.0.1:9", "scopes = [\"orders:read\"]")).await;
    let now = Timestamp::now();
    let day = Duration::from_secs(86_400);
    let refresh = "a-refresh-token";
    for (account, more, asked, expected) in [
        ("good", json!({"refresh_token": refresh, "expires_at": now.plus(day)}), "orders:read", None),
        ("fewer", json!({"scopes": ["other"]}), "orders:read", Some(("wrong", "scopes"))),
        ("added", json!({}), "other", Some(("wrong", "scopes"))),
        ("short", json!({"expires_at": now.plus(day)}), "orders:read", Some(("doubtful", "refresh_token"))),
        ("over", json!({"expires_at": now.minus(day)}), "orders:read", Some(("wrong", "refresh_token"))),
        (
            "ending",
            json!({"refresh_token": refresh, "refresh_expires_at": now.plus(day)}),
            "orders:read",
            Some(("doubtful", "refresh_token")),
        ),
    ] {
        consent(&bridge, &format!("crm/{account}"), more, &[asked]).await;
        let (mut subject, _) = examined(&bridge, &format!("crm/{account}"));
        // Nothing answers at the provider's.
        subject["findings"].as_array_mut().expect("findings").retain(|one| one["check"] != "discovery");
        let expected: Vec<_> = expected.iter().map(|&(level, check)| (level.to_owned(), check.to_owned())).collect();
        assert_eq!(findings(&subject), expected, "{account}: {subject}");
    }
    // All of them, and nothing of what they hold.
    let all = bridge.run(&["doctor"]);
    assert!(all.status == 1 && all.out.matches("connection crm/").count() == 6, "{all:?}");
    let shown = bridge.run(&["connections", "show", "crm/good"]);
    for said in [&all.out, &shown.out, &bridge.run(&["connections", "list"]).out] {
        assert!(!said.contains("token-of-a-consent") && !said.contains(refresh), "{said}");
    }
    // Nobody can be told at the provider's; what is forgotten is forgotten here.
    let revoke =
        |more: &[&str]| bridge.run(&[&["connections", "revoke", "crm/good", "--yes", "--json"], more].concat());
    refused(&revoke(&[]), 4, "PROVIDER_NOT_TOLD");
    assert_eq!(done(revoke(&["--forget"]))["at_provider"], false);
    assert_eq!(tokens(&bridge, "crm/good").await, Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_with_a_code_is_waited_for_as_the_server_wants() {
    let answers: Arc<Mutex<Vec<&str>>> = Arc::default();
    let left = answers.clone();
    let stub = Stub::start(move |call, _| match call.path.as_str() {
        "/device" => Reply::Json(
            200,
            json!({"device_code": "the-device-code", "user_code": "ABCD-EFGH", "interval": 1, "expires_in": 60,
                "verification_uri": "https://login.example.com/device"}),
        ),
        _ => match left.lock().expect("answers").pop() {
            Some(error) => Reply::Json(400, json!({"error": error})),
            None => Reply::Json(
                200,
                json!({"access_token": "the-access-token", "token_type": "Bearer", "expires_in": 60, "scope": "a"}),
            ),
        },
    })
    .await;
    let more = format!(
        "grant = \"device_code\"\nscopes = [\"a\", \"b\"]\ntoken_url = \"{0}/token\"\ndevice_url = \"{0}/device\"\nrevoke_url = \"{0}/revoke\"",
        stub.url
    );
    let config = provider("", &more).replace("issuer = \"\"\n", "");
    let bridge = bridge(&config).await;
    let connect = |said: &[&'static str]| {
        *answers.lock().expect("answers") = said.iter().rev().copied().collect();
        bridge.run(&["connect-account", "crm", "--account", "main", "--json"])
    };
    let denied = connect(&["authorization_pending", "access_denied"]);
    refused(&denied, 1, "OAUTH_DENIED");
    assert!(denied.out.contains("ABCD-EFGH") && !denied.out.contains("the-device-code"), "{denied:?}");
    refused(&connect(&["expired_token"]), 5, "TIME_OVER");
    refused(&connect(&["invalid_client"]), 1, "OAUTH_CLIENT_REFUSED");
    // Fewer scopes than must be granted: nothing is stored, and the tokens are revoked.
    let fewer = connect(&["slow_down"]);
    refused(&fewer, 1, "OAUTH_SCOPES_MISSING");
    assert!(fewer.err.contains("missing: b;") && !fewer.err.contains("the-access-token"), "{fewer:?}");
    let polls = stub.calls_of("/token");
    let [.., slowed, last] = polls.as_slice() else { panic!("{polls:?}") };
    assert!(last.at.duration_since(slowed.at) >= Duration::from_secs(6));
    assert!(String::from_utf8_lossy(&stub.calls_of("/revoke")[0].body).contains("token=the-access-token"));
    assert_eq!(tokens(&bridge, "crm/main").await, Value::Null);
}
