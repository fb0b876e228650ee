//! A real authorization server (oidc-provider) for one test, and the faults that it is told to have. tests/authority/README.md says what it
//! can do and what its settings are.
//!
//! ```ignore
//! let Some(runtime) = runtime() else { return };
//! let authority = runtime.authority(json!({"clients": [confidential("shop", "a-secret", &redirect_uri)]})).await;
//! let browser = runtime.browser().await;
//! authority.fault(Fault::cut(Cut::Answer).after_acting().of_grant("refresh_token")).await;
//! ```

use super::browser::Browser;
use super::chat_page::ChatPage;
use super::node::{Node, folder};
use super::{client, eventually};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// Where it is `1`, a test that lacks what it needs fails instead of being left out.
const REQUIRED: &str = "CLAWBRIDGE_REQUIRE_AUTHORITY";

/// The oldest Node that has what oidc-provider uses.
const NODE_VERSION: (u32, u32) = (20, 12);

/// The programs are there. Only [`runtime`] makes one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runtime(());

/// Node, the packages and Chromium; none where one of them is missing: then a line on standard error says so, which is seen without
/// `--nocapture`, and the test returns.
///
/// # Panics
///
/// Where they are missing and `CLAWBRIDGE_REQUIRE_AUTHORITY=1`.
pub(crate) fn runtime() -> Option<Runtime> {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let Some(missing) = MISSING.get_or_init(missing) else {
        return Some(Runtime(()));
    };
    assert!(
        std::env::var(REQUIRED).as_deref() != Ok("1"),
        "{missing}, and {REQUIRED}=1; see tests/authority/README.md"
    );
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not eprintln!, which the test runner keeps to itself where a test passes.
    let line = format!("not run: {test}: {missing}, see tests/authority/README.md\n");
    drop(std::io::stderr().write_all(line.as_bytes()));
    None
}

fn missing() -> Option<String> {
    let version = Command::new("node").arg("--version").output().ok().filter(|ran| ran.status.success());
    let version = version.map(|ran| String::from_utf8_lossy(&ran.stdout).trim().to_owned()).unwrap_or_default();
    let mut numbers = version.trim_start_matches('v').split('.').map(|number| number.parse().unwrap_or(0));
    let (major, minor) = NODE_VERSION;
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < NODE_VERSION {
        let found = if version.is_empty() { "none" } else { &version };
        return Some(format!("Node {major}.{minor} or newer is needed (found: {found})"));
    }
    for package in ["oidc-provider", "puppeteer-core"] {
        if !folder().join("node_modules").join(package).is_dir() {
            return Some(format!("the package {package} is not installed in tests/authority"));
        }
    }
    let ran = Command::new("node").args(["consent.mjs", "--find"]).current_dir(folder()).output();
    ran.is_ok_and(|ran| !ran.status.success()).then(|| "Chromium is not installed".to_owned())
}

/// Metadata of a client with a secret (`client_secret_basic`, or `client_secret_post` where it is set), for the code flow and refresh tokens.
pub(crate) fn confidential(id: &str, secret: &str, redirect_uri: &str) -> Value {
    json!({"client_id": id, "client_secret": secret, "redirect_uris": [redirect_uri]})
}

/// A running authorization server with no state but its memory. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Authority {
    node: Node,
    /// `http://127.0.0.1:PORT`, or `http://localhost:PORT` where the settings say so.
    pub(crate) issuer: String,
}

/// A request to the token endpoint.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TokenRequest {
    /// How many there were with it, of all clients.
    pub(crate) count: u64,
    /// `grant_type`
    pub(crate) grant: String,
    /// `client_id`, wherever in the request it stood.
    pub(crate) client: String,
    /// `client_secret_basic`, `client_secret_post`, `private_key_jwt` or `none`.
    pub(crate) authentication: String,
    /// It came with a DPoP proof.
    pub(crate) dpop: bool,
    /// What the server decided: `ok`, the error's code, or `not_asked` where a fault came before.
    pub(crate) result: String,
    /// What the client got to see; none where the connection was cut.
    pub(crate) status: Option<u16>,
    /// A fault was applied to it.
    pub(crate) fault: bool,
    /// Which consent it belongs to: the same for all tokens of a family.
    pub(crate) grant_id: Option<String>,
}

impl Runtime {
    /// Starts a server with these settings (tests/authority/README.md); it answers when this returns.
    pub(crate) async fn authority(self, settings: Value) -> Authority {
        let node = Node::start("authority.mjs", &[]);
        node.tell(&settings);
        let ready = node.line("the authorization server is ready", |line| line["event"] == "ready").await;
        let issuer = ready["issuer"].as_str().expect("an issuer").to_owned();
        Authority { node, issuer }
    }

    /// Opens a page that talks to an agent, in a Chromium of its own.
    pub(crate) async fn chat_page(self, url: &str) -> ChatPage {
        ChatPage::open(url).await
    }

    /// Starts Chromium. No more than two run at a time; a test waits here for its turn.
    pub(crate) async fn browser(self) -> Browser {
        Browser::start().await
    }
}

impl Authority {
    /// An address of the server: `/token`, `/auth`, `/me` (userinfo, for tools that call with a token).
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }

    /// Its metadata, as RFC 8414 or as OpenID Connect Discovery has it.
    pub(crate) async fn discovery(&self, well_known: &str) -> Value {
        let answer = client().get(self.url(&format!("/.well-known/{well_known}"))).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
    }

    /// All that it told, up to now: `code`, `token`, `reuse`, `revoked`, `held`, `authorization.error`, `server_error`.
    pub(crate) async fn events(&self) -> Vec<Value> {
        self.command(json!({"command": "sync"})).await;
        self.node.lines().into_iter().filter(|line| line["event"] != "answer").collect()
    }

    /// Waits for an event.
    pub(crate) async fn event(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.node.line(what, is_it).await
    }

    /// The requests to the token endpoint up to now; one whose answer somebody has is among them.
    pub(crate) async fn token_requests(&self) -> Vec<TokenRequest> {
        let events = self.events().await.into_iter().filter(|event| event["event"] == "token");
        events.map(|event| serde_json::from_value(event).expect("a token request")).collect()
    }

    /// Waits until the token endpoint has had this many requests with a grant, and returns those.
    pub(crate) async fn until_token_requests(&self, grant: &str, count: usize) -> Vec<TokenRequest> {
        eventually(&format!("{count} token requests with {grant}"), || async {
            let requests = self.token_requests().await.into_iter();
            let of_grant: Vec<TokenRequest> = requests.filter(|request| request.grant == grant).collect();
            (of_grant.len() >= count).then_some(of_grant)
        })
        .await
    }

    /// Requests so far by endpoint: `token`, `revocation`, `authorization`, `userinfo`, `discovery`, …
    pub(crate) async fn counts(&self) -> BTreeMap<String, u64> {
        serde_json::from_value(self.command(json!({"command": "counts"})).await).expect("counts")
    }

    /// Every token and code that was given out so far, for looking where none of them may be.
    pub(crate) async fn secrets(&self) -> Vec<String> {
        serde_json::from_value(self.command(json!({"command": "secrets"})).await).expect("secrets")
    }

    /// Would it still take this token?
    pub(crate) async fn is_active(&self, token: &str) -> bool {
        self.command(json!({"command": "active", "token": token})).await == true
    }

    /// The next requests that fit will fail like this. Faults of several calls are used up in their order.
    pub(crate) async fn fault(&self, fault: Fault) {
        self.command(json!({"command": "fault", "fault": fault.0})).await;
    }

    /// Ends all faults; requests that are held go on.
    pub(crate) async fn clear_faults(&self) {
        self.command(json!({"command": "clear"})).await;
    }

    /// Waits until a fault of [`Fault::hold`] holds this many requests that were made since the start.
    pub(crate) async fn until_held(&self, count: usize) {
        eventually(&format!("{count} requests held"), || async {
            let held = self.node.lines().iter().filter(|line| line["event"] == "held").count();
            (held >= count).then_some(())
        })
        .await;
    }

    /// Lets held requests go on; how many these were.
    pub(crate) async fn release(&self) -> u64 {
        self.command(json!({"command": "release"})).await.as_u64().expect("a number")
    }

    /// Revokes what was consented to for a client, as a person does on the provider's own pages; how many consents these were.
    pub(crate) async fn revoke(&self, client: &str) -> u64 {
        self.command(json!({"command": "revoke", "client": client})).await.as_u64().expect("a number")
    }

    /// Adds clients, and replaces those with the same id (another secret, another redirect URI).
    pub(crate) async fn set_clients(&self, clients: &[Value]) {
        self.command(json!({"command": "clients", "clients": clients})).await;
    }

    /// Changes settings: lifetimes, `rotate`, `withhold`, `dpop_nonce`, `resources`.
    pub(crate) async fn set(&self, settings: Value) {
        self.command(json!({"command": "set", "settings": settings})).await;
    }

    async fn command(&self, command: Value) -> Value {
        self.node.ask(command).await
    }
}

/// Where an answer breaks off.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// Before its first byte.
    Answer,
    /// After its header section.
    Headers,
    /// In the middle of its body.
    Body,
}

/// How requests fail: once, at the token endpoint, and without the server acting on them, unless it is said otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Fault(Value);

impl Fault {
    /// This answer instead.
    pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Fault {
        let headers: BTreeMap<&str, &str> = headers.iter().copied().collect();
        Fault(json!({"status": status, "headers": headers, "body": body}))
    }

    /// 500, with a text.
    pub(crate) fn broken() -> Fault {
        Fault::answer(500, &[("content-type", "text/plain")], "it broke")
    }

    /// 429 with `Retry-After`: seconds, or a date.
    pub(crate) fn too_many(retry_after: &str) -> Fault {
        let headers = [("retry-after", retry_after), ("content-type", "application/json")];
        Fault::answer(429, &headers, r#"{"error":"temporarily_unavailable"}"#)
    }

    /// 200 with a page, as a gateway in between has it.
    pub(crate) fn html() -> Fault {
        Fault::answer(200, &[("content-type", "text/html")], "<!DOCTYPE html><title>Just a moment</title>")
    }

    /// The connection breaks off.
    pub(crate) fn cut(cut: Cut) -> Fault {
        let cut = match cut {
            Cut::Answer => "answer",
            Cut::Headers => "headers",
            Cut::Body => "body",
        };
        Fault(json!({"cut": cut}))
    }

    /// The right answer, late.
    pub(crate) fn delay(by: Duration) -> Fault {
        Fault(json!({"delay_ms": u64::try_from(by.as_millis()).expect("a short time")}))
    }

    /// The right answer after [`Authority::release`], never without.
    pub(crate) fn hold() -> Fault {
        Fault(json!({"hold": true}))
    }

    /// The server acts on the request first: tokens are made and rotated, but what the client gets is the fault.
    pub(crate) fn after_acting(mut self) -> Fault {
        self.0["acted"] = json!(true);
        self
    }

    /// For so many requests.
    pub(crate) fn times(mut self, times: u32) -> Fault {
        self.0["times"] = json!(times);
        self
    }

    /// Only for token requests with this `grant_type`.
    pub(crate) fn of_grant(mut self, grant: &str) -> Fault {
        self.0["grant"] = json!(grant);
        self
    }

    /// At another endpoint: `revocation`, `device_authorization`, `userinfo`, `discovery`, `authorization`, `introspection`, `jwks`.
    pub(crate) fn at(mut self, endpoint: &str) -> Fault {
        self.0["endpoint"] = json!(endpoint);
        self
    }
}
