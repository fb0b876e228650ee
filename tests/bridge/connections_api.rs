//! Connections over the API: who may see and do what, and that the function which is asked reads no token.

use crate::api::{User, admin, user};
use crate::connected::everything_written;
use crate::support::work::ALLOW;
use crate::support::{Bridge, Call, Got, Reply, Stub, eventually};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const SECRET: &str = "a-client-secret-of-this-test-alone";

/// A provider for programs, one for people, and what they say: tokens, `/me`, revocation.
struct Crm {
    bridge: Bridge,
    stub: Stub,
    /// Whether the provider takes revocations.
    revokes: Arc<AtomicBool>,
}

impl Crm {
    async fn start() -> Crm {
        let (given, revokes) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
        let takes = revokes.clone();
        let stub = Stub::start(move |call: &Call, _| match call.path.as_str() {
            "/token" => {
                let n = given.fetch_add(1, Ordering::SeqCst) + 1;
                Reply::Json(200, json!({"access_token": format!("token-of-the-stub-{n}"), "token_type": "Bearer", "expires_in": 3600}))
            }
            "/me" if call.header("authorization").starts_with("Bearer token-of-the-stub-") => Reply::Json(200, json!({"ok": true})),
            "/revoke" if takes.load(Ordering::SeqCst) => Reply::Json(200, json!({})),
            "/revoke" => Reply::Json(503, json!({})),
            _ => Reply::Json(403, json!({})),
        })
        .await;
        let config = format!(
            "[providers.crm]\ngrant = \"client_credentials\"\ntoken_url = \"{0}/token\"\nrevoke_url = \"{0}/revoke\"\ntest_url = \"{0}/me\"\n\
             client_id = \"shop\"\nclient_auth = \"post\"\nsecret = \"clawbridge/providers/crm\"\n\n\
             [providers.drive]\ngrant = \"authorization_code\"\nauthorize_url = \"{0}/authorize/{{team}}\"\ntoken_url = \"{0}/token\"\n\
             client_id = \"shop\"\nclient_auth = \"none\"\nparameters = {{ team = \"\" }}\n{ALLOW}",
            stub.url
        );
        let bridge = Bridge::start(&config).await;
        let set = bridge.run_with_input(&["secret", "set", "clawbridge/providers/crm"], SECRET);
        assert_eq!(set.status, 0, "{set:?}");
        Crm { bridge, stub, revokes }
    }
}

async fn post(user: &User<'_>, path: &str) -> Got {
    user.ask("POST", path, &[], "").await
}

fn code(got: &Got) -> (u16, &str) {
    (got.status, got.body["error"]["code"].as_str().unwrap_or_default())
}

/// Method, path, headers, body; status, code.
type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

#[tokio::test]
async fn an_account_is_refreshed_tested_shown_and_given_up() {
    let crm = Crm::start().await;
    let user = admin(&crm.bridge);
    assert_eq!(user.get("/connections").await.body, json!({"connections": [], "next_after": null}));
    // Where the grant needs nobody, the first refresh connects it.
    let made = post(&user, "/connections/crm/main/refresh").await;
    assert_eq!((made.status, &made.body["generation"]), (200, &json!(1)), "{made:?}");
    let again = post(&user, "/connections/crm/main/refresh").await;
    assert_eq!((again.status, &again.body["generation"]), (200, &json!(2)), "{again:?}");
    let tested = post(&user, "/connections/crm/main/test").await;
    assert_eq!(
        (tested.status, &tested.body["passed"], &tested.body["status"]),
        (200, &json!(true), &json!(200)),
        "{tested:?}"
    );
    let shown = user.get("/connections/crm/main").await;
    assert_eq!((&shown.body["status"], &shown.body["generation"]), (&json!("active"), &json!(2)), "{shown:?}");
    let listed = user.get("/connections?limit=1").await;
    assert_eq!(listed.body["connections"], json!([shown.body]));

    // A provider that cannot be told keeps what it is not to keep: that is not passed over.
    let told = user.ask("DELETE", "/connections/crm/main", &[], "").await;
    assert_eq!(code(&told), (409, "conflict"), "{told:?}");
    assert_eq!(user.get("/connections/crm/main").await.body["status"], "active");
    crm.revokes.store(true, Ordering::SeqCst);
    let told = user.ask("DELETE", "/connections/crm/main", &[], "").await;
    assert_eq!((told.status, &told.body["at_provider"]), (200, &json!(true)), "{told:?}");
    assert_eq!(user.get("/connections/crm/main").await.body["status"], "revoked");
    let answer =
        crm.bridge.aws("secretsmanager.GetSecretValue", &json!({"SecretId": "clawbridge/connections/crm/main"})).await;
    assert!(answer["SecretString"].is_null(), "{answer}");
    assert!(
        crm.stub
            .calls_of("/revoke")
            .iter()
            .all(|call| String::from_utf8_lossy(&call.body).contains("token-of-the-stub-2"))
    );

    // Nobody was shown a token on the way, and none was written down.
    let written = everything_written(&crm.bridge).await;
    for secret in ["token-of-the-stub-", SECRET] {
        assert!(!written.contains(secret), "{secret}");
        for got in [&made, &again, &tested, &shown, &listed, &told] {
            assert!(!got.text.contains(secret), "{got:?}");
        }
    }
}

#[tokio::test]
async fn force_gives_an_account_up_although_its_provider_cannot_be_told() {
    let crm = Crm::start().await;
    let user = admin(&crm.bridge);
    assert_eq!(post(&user, "/connections/crm/main/refresh").await.status, 200);
    let told = user.ask("DELETE", "/connections/crm/main?force=true", &[], "").await;
    assert_eq!((told.status, &told.body["at_provider"]), (200, &json!(false)), "{told:?}");
    assert_eq!(user.get("/connections/crm/main").await.body["status"], "revoked");
}

#[tokio::test]
async fn a_link_is_one_that_a_person_can_open() {
    let crm = Crm::start().await;
    let user = admin(&crm.bridge);
    let made = user.json("POST", "/connections/drive/main/link", &json!({"parameters": {"team": "acme"}})).await;
    assert_eq!((made.status, &made.body["connection"]), (201, &json!("drive/main")), "{made:?}");
    assert_eq!(made.body["redirect_uri"], format!("{}/oauth/callback/drive", crm.bridge.public));
    let url = made.body["url"].as_str().expect("an address");
    let path = url.strip_prefix(&crm.bridge.public).expect("an address of this stack");
    let opened = crm.bridge.request("GET", path, &[], b"").await;
    assert_eq!(opened.status, 302, "{opened:?}");
    assert!(opened.headers["location"].starts_with(&format!("{}/authorize/acme?", crm.stub.url)), "{opened:?}");
    // The table can open no link.
    let ticket = path.rsplit('/').next().expect("a ticket");
    assert!(!everything_written(&crm.bridge).await.contains(ticket));
}

#[tokio::test]
async fn what_cannot_be_done_is_said_and_is_never_the_bridges_fault() {
    let crm = Crm::start().await;
    let user = admin(&crm.bridge);
    let none: &[(&str, &str)] = &[];
    let is_json: &[(&str, &str)] = &[("content-type", "application/json")];
    let large = format!("{{\"parameters\":{{\"team\":\"{}\"}}}}", "x".repeat(1024 * 1024));
    let long = format!("/connections/crm/{}/test", "x".repeat(200));
    let rows: Vec<Row<'_>> = vec![
        ("GET", "/connections/crm/none", none, "", 404, "not_found"),
        ("GET", "/connections/CRM/..", none, "", 404, "not_found"),
        ("GET", "/connections?limit=0", none, "", 400, "validation_error"),
        ("GET", "/connections?after=x", none, "", 400, "validation_error"),
        ("POST", "/connections/ghost/main/refresh", none, "", 404, "not_found"),
        ("POST", "/connections/drive/none/refresh", none, "", 404, "not_found"),
        ("POST", "/connections/drive/none/test", none, "", 404, "not_found"),
        ("DELETE", "/connections/drive/none", none, "", 404, "not_found"),
        ("DELETE", "/connections/drive/none?force=maybe", none, "", 400, "validation_error"),
        ("POST", &long, none, "", 404, "not_found"),
        ("POST", "/connections/drive/none/test?wait=99", none, "", 400, "validation_error"),
        ("POST", "/connections/drive/none/test", is_json, "{}", 400, "validation_error"),
        ("POST", "/connections/ghost/main/link", is_json, "{}", 404, "not_found"),
        ("POST", "/connections/crm/main/link", is_json, "{}", 409, "conflict"),
        ("POST", "/connections/drive/Main/link", is_json, r#"{"parameters":{"team":"a"}}"#, 400, "validation_error"),
        ("POST", "/connections/drive/main/link", is_json, "{}", 400, "validation_error"),
        ("POST", "/connections/drive/main/link", is_json, r#"{"parameters":{"colour":"a"}}"#, 400, "validation_error"),
        ("POST", "/connections/drive/main/link", is_json, r#"{"parameters":{"team":7}}"#, 400, "validation_error"),
        ("POST", "/connections/drive/main/link", is_json, &large, 413, "payload_too_large"),
        ("PUT", "/connections/drive/main", none, "", 405, "method_not_allowed"),
    ];
    for (method, path, headers, body, status, expected) in rows {
        let got = user.ask(method, path, headers, body).await;
        assert_eq!(code(&got), (status, expected), "{method} {path}: {got:?}");
    }
    // Who does not wait is told that it goes on.
    let later = post(&user, "/connections/crm/later/refresh?wait=0").await;
    assert!(later.status == 202 || later.status == 200, "{later:?}");
    eventually("it is connected", || async {
        (user.get("/connections/crm/later").await.body["status"] == "active").then_some(())
    })
    .await;
    let reader = crate::api::user(&crm.bridge, "reader", "read");
    assert_eq!(reader.get("/connections/crm/later").await.status, 200);
    for (method, path) in [("POST", "/connections/crm/later/refresh"), ("DELETE", "/connections/crm/later")] {
        assert_eq!(code(&reader.ask(method, path, none, "").await), (403, "forbidden"));
    }
}

#[tokio::test]
async fn a_message_that_comes_twice_is_a_wish_that_is_done_once() {
    let crm = Crm::start().await;
    let url = format!("{}/000000000000/clawbridge-interactive", crm.bridge.private);
    let body =
        json!({"v": 1, "kind": "connection", "id": "wish-1", "wish": "refresh", "provider": "crm", "account": "main"});
    for _ in 0..3 {
        let sent =
            crm.bridge.aws("AmazonSQS.SendMessage", &json!({"QueueUrl": url, "MessageBody": body.to_string()})).await;
        assert!(sent["MessageId"].is_string(), "{sent}");
        eventually("the message is done with", || async {
            (crm.bridge.messages("clawbridge-interactive").await == 0).then_some(())
        })
        .await;
    }
    assert_eq!(crm.stub.calls_of("/token").len(), 1);
    let user = user(&crm.bridge, "reader", "read");
    let shown: Value = user.get("/connections/crm/main").await.body;
    assert_eq!(shown["generation"], 1, "{shown}");
}
