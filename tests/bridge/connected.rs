//! Tools whose credential is the token of a connected account.

use crate::support::work::{ALLOW, SECRET, attempts, bridge, decided, decisions, ended, idle, send, show, tool};
use crate::support::{Bridge, Call, Reply, Stub};
use clawbridge_aws::{Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_connections::{ConnectionName, Connections, Settings};
use clawbridge_oauth::{TokenKind, TokenSet};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A provider at which the stack has an account for itself, and one at which a person has to consent.
fn providers(stub: &Stub, more: &str) -> String {
    format!(
        "\n[providers.crm]\ngrant = \"client_credentials\"\ntoken_url = \"{0}/token\"\nclient_id = \"the-bridge\"\nclient_auth = \"post\"\n\
         secret = \"clawbridge/providers/crm\"\n\n[providers.drive]\ngrant = \"authorization_code\"\nauthorize_url = \"{0}/authorize\"\n\
         token_url = \"{0}/token\"\nclient_id = \"the-bridge\"\nclient_auth = \"none\"\n{more}\n",
        stub.url
    )
}

pub(crate) fn connected(connection: &str) -> String {
    format!("auth = {{ connection = \"{connection}\" }}\nidempotency_header = \"X-Key\"")
}

/// A token response, the `n`th.
fn tokens(n: usize) -> Reply {
    Reply::Json(200, json!({"access_token": format!("token-number-{n}"), "token_type": "Bearer", "expires_in": 3600}))
}

/// An API with a token endpoint that gives one token after the other.
async fn provider(api: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Stub {
    let given = AtomicUsize::new(0);
    Stub::start(move |call, _| match call.path.as_str() {
        "/token" => tokens(given.fetch_add(1, Ordering::SeqCst) + 1),
        _ => api(call),
    })
    .await
}

async fn started(config: &str) -> Bridge {
    let bridge = bridge(config).await;
    let answer = bridge.run_with_input(&["secret", "set", "clawbridge/providers/crm"], "a-client-secret");
    assert_eq!(answer.status, 0, "{answer:?}");
    bridge
}

pub(crate) fn connections(bridge: &Bridge) -> Connections {
    let config = sdk_config(&Environment::local(&bridge.private)).expect("a configuration");
    let settings =
        Settings { registry_table: "clawbridge-registry".to_owned(), secret_prefix: "clawbridge".to_owned() };
    let tables = aws_sdk_dynamodb::Client::new(&config);
    Connections::new(tables, aws_sdk_secretsmanager::Client::new(&config), settings)
}

/// What somebody consented to, who has tokens until then.
async fn connect(bridge: &Bridge, name: &str, access_token: &str, expires_at: Timestamp) {
    let set = TokenSet {
        v: 1,
        generation: 1,
        access_token: access_token.to_owned(),
        kind: TokenKind::Bearer,
        refresh_token: Some(format!("refresh-{access_token}")),
        expires_at: Some(expires_at),
        refresh_expires_at: None,
        scopes: vec![],
        obtained_at: Timestamp::now(),
        dpop_key: None,
        kept: BTreeMap::new(),
        parameters: BTreeMap::new(),
    };
    let name: ConnectionName = name.parse().expect("a name");
    connections(bridge).connect(&name, set, vec![]).await.expect("a connection");
}

pub(crate) async fn everything_written(bridge: &Bridge) -> String {
    let mut all = bridge.journal().iter().map(Value::to_string).collect::<String>();
    for table in ["registry", "tasks", "events", "limits"] {
        let name = format!("clawbridge-{table}");
        all += &bridge.aws("DynamoDB_20120810.Scan", &json!({"TableName": name})).await.to_string();
    }
    all
}

#[tokio::test]
async fn the_first_call_gets_a_token_and_the_others_carry_it() {
    let stub = provider(|_| Reply::Json(200, json!({}))).await;
    let bridge = started(
        &(tool("t", "POST", &format!("{}/api", stub.url), &connected("crm/main")) + &providers(&stub, "") + ALLOW),
    )
    .await;
    for n in 0..5 {
        send(&bridge, "t", json!({"n": n})).await;
    }
    decided(&bridge, "t", 5).await;
    idle(&bridge).await;
    assert_eq!(decisions(&bridge, "t"), ["succeeded"; 5]);
    let asked = stub.calls_of("/token");
    assert_eq!(asked.len(), 1);
    let body = String::from_utf8_lossy(&asked[0].body).into_owned();
    assert!(body.contains("grant_type=client_credentials") && body.contains("client_secret=a-client-secret"), "{body}");
    let calls = stub.calls_of("/api");
    assert!(calls.iter().all(|call| call.header("authorization") == "Bearer token-number-1"), "{calls:?}");
    let written = everything_written(&bridge).await;
    assert!(written.contains("crm/main"), "{written}");
    for secret in ["token-number-1", "a-client-secret", SECRET] {
        assert!(!written.contains(secret), "{secret} is in {written}");
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_refreshed_once_and_the_call_made_again() {
    let stub = provider(|call| {
        let is_new = call.header("authorization") == "Bearer token-number-2";
        Reply::Json(if is_new { 200 } else { 401 }, json!({}))
    })
    .await;
    let refusing = format!("{}/api", stub.url);
    let bridge = started(&(tool("t", "POST", &refusing, &connected("crm/main")) + &providers(&stub, "") + ALLOW)).await;
    send(&bridge, "t", json!({})).await;
    let line = ended(&bridge, "t").await;
    assert_eq!((&line["decision"], &line["requests"]), (&json!("succeeded"), &json!(2)), "{line}");
    assert_eq!((stub.calls_of("/token").len(), stub.calls_of("/api").len()), (2, 2));
}

#[tokio::test]
async fn a_token_that_is_refused_again_and_again_ends_the_task_and_asks_the_provider_only_once_more() {
    let stub = provider(|_| Reply::Json(401, json!({}))).await;
    let refusing = format!("{}/api", stub.url);
    let bridge = started(&(tool("t", "POST", &refusing, &connected("crm/main")) + &providers(&stub, "") + ALLOW)).await;
    send(&bridge, "t", json!({})).await;
    let line = ended(&bridge, "t").await;
    assert_eq!((&line["decision"], &line["code"]), (&json!("failed"), &json!("AUTHENTICATION_FAILED")), "{line}");
    assert_eq!((stub.calls_of("/token").len(), stub.calls_of("/api").len()), (2, 2));
}

#[tokio::test]
async fn a_task_waits_while_its_provider_is_out_of_reach_which_costs_it_no_attempt() {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = is_up.clone();
    let stub = Stub::start(move |call, _| match (call.path.as_str(), up.load(Ordering::SeqCst)) {
        ("/token", true) => tokens(1),
        ("/token", false) => Reply::Json(503, json!({})),
        _ => Reply::Json(200, json!({})),
    })
    .await;
    let config = tool("t", "POST", &format!("{}/api", stub.url), &format!("{}\nattempts = 1", connected("crm/main")))
        + &providers(&stub, "")
        + ALLOW;
    let bridge = started(&config).await;
    send(&bridge, "t", json!({})).await;
    decided(&bridge, "t", 1).await;
    is_up.store(true, Ordering::SeqCst);
    let line = ended(&bridge, "t").await;
    assert_eq!(line["decision"], "succeeded", "{line}");
    let first = &attempts(&bridge, "t")[0];
    assert_eq!((&first["decision"], &first["code"]), (&json!("retry"), &json!("CREDENTIAL_UNAVAILABLE")), "{first}");
    assert_eq!(stub.calls_of("/api").len(), 1);
}

#[tokio::test]
async fn an_account_that_nobody_has_connected_says_how_to() {
    let stub = provider(|_| Reply::Json(200, json!({}))).await;
    let config = tool("t", "POST", &stub.url, &connected("drive/main")) + &providers(&stub, "") + ALLOW;
    let bridge = started(&config).await;
    send(&bridge, "t", json!({})).await;
    let record = show(&bridge, &ended(&bridge, "t").await);
    assert_eq!((&record["state"], &record["error"]["code"]), (&json!("failed"), &json!("CREDENTIAL_UNAVAILABLE")));
    let message = record["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("clawbridge connect-account drive --account main"), "{message}");
    assert_eq!(stub.connections(), 0);
}

#[tokio::test]
async fn tasks_of_a_dead_account_wait_until_it_is_connected_again() {
    let stub = Stub::start(|call, _| match call.path.as_str() {
        "/token" => Reply::Json(400, json!({"error": "invalid_grant"})),
        _ => Reply::Json(200, json!({})),
    })
    .await;
    let config =
        tool("t", "POST", &format!("{}/api", stub.url), &connected("drive/main")) + &providers(&stub, "") + ALLOW;
    let bridge = started(&config).await;
    let now = Timestamp::now();
    connect(&bridge, "drive/main", "the-old-token", now.minus(Duration::from_secs(60))).await;
    send(&bridge, "t", json!({})).await;
    decided(&bridge, "t", 1).await;
    let line = &attempts(&bridge, "t")[0];
    assert_eq!((&line["decision"], &line["code"]), (&json!("retry"), &json!("CONNECTION_EXPIRED")), "{line}");
    let record = show(&bridge, line);
    assert_eq!((&record["state"], &record["postponed"]), (&json!("queued"), &json!(1)), "{record}");
    assert_eq!((stub.calls_of("/api").len(), stub.calls_of("/token").len()), (0, 1));

    connect(&bridge, "drive/main", "the-new-token", now.plus(Duration::from_secs(3600))).await;
    // What this environment knows of the account it believes for some seconds.
    let id = line["task"].as_str().expect("a task").to_owned();
    crate::support::eventually("the task succeeds", || {
        let answer = bridge.run(&["tasks", "retry", &id, "--json"]);
        let done = answer.status == 1 && answer.error_code() == "NOT_RETRYABLE" && answer.err.contains("is succeeded");
        async move { done.then_some(()) }
    })
    .await;
    let calls = stub.calls_of("/api");
    assert_eq!((calls.len(), calls[0].header("authorization")), (1, "Bearer the-new-token"));
}

#[tokio::test]
async fn a_task_waits_for_its_account_as_long_as_the_provider_says_and_fails_then() {
    let stub = Stub::start(|_, _| Reply::Json(400, json!({"error": "invalid_grant"}))).await;
    let config = tool("t", "POST", &format!("{}/api", stub.url), &connected("drive/main"))
        + &providers(&stub, "wait = \"0s\"")
        + ALLOW;
    let bridge = started(&config).await;
    connect(&bridge, "drive/main", "the-old-token", Timestamp::now().minus(Duration::from_secs(60))).await;
    send(&bridge, "t", json!({})).await;
    let line = ended(&bridge, "t").await;
    assert_eq!((&line["decision"], &line["code"]), (&json!("failed"), &json!("CONNECTION_EXPIRED")), "{line}");
}

#[tokio::test]
async fn the_input_chooses_the_account() {
    let stub = provider(|_| Reply::Json(200, json!({}))).await;
    let url = format!("{}/api/{{account}}", stub.url);
    let config = tool("t", "POST", &url, &connected("crm/{account}")) + &providers(&stub, "") + ALLOW;
    let bridge = started(&config).await;
    for (n, account) in ["one", "two", "one"].into_iter().enumerate() {
        send(&bridge, "t", json!({"account": account, "n": n})).await;
        decided(&bridge, "t", n + 1).await;
    }
    let carried =
        |path: &str| stub.calls_of(path).iter().map(|call| call.header("authorization").to_owned()).collect::<Vec<_>>();
    assert_eq!(carried("/api/one"), ["Bearer token-number-1"; 2]);
    assert_eq!(carried("/api/two"), ["Bearer token-number-2"]);
    send(&bridge, "t", json!({"account": "../../providers/crm"})).await;
    let line = ended(&bridge, "t").await;
    assert!(line["decision"] == "succeeded" || line["code"] == "VALIDATION_ERROR", "{line}");
    decided(&bridge, "t", 4).await;
    assert_eq!(attempts(&bridge, "t")[3]["code"], "VALIDATION_ERROR");
    assert_eq!(stub.calls().len(), 5);
}
