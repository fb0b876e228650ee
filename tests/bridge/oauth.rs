//! A person connects an account: what is stored, what is shown, what nobody gets to see, and what goes wrong. With a real authorization server
//! and a real browser where they are there; what needs neither is tested without.

use crate::support::authority::{Authority, Cut, Fault, Runtime, confidential, runtime};
use crate::support::browser::{Browser as Chromium, Page, Visit};
use crate::support::{Bridge, Got, Options, Reply, Stub, eventually};
use clawbridge_aws::{Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_connections::ConnectionName;
use clawbridge_connections::links::Links;
use clawbridge_oauth::{Browser, State, Ticket};
use ring::rand::SecureRandom;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const SECRET: &str = "a-client-secret-that-nobody-else-has-0123456789";
const COOKIE: &str = "clawbridge-oauth";
const TITLE: &str = "Shop & Sons";

/// A provider `shop`, tools may call this machine, and a tool hears of connections.
fn config(provider: &str) -> String {
    format!(
        r#"
[network]
allow = ["127.0.0.1", "::1"]

[providers.shop]
title = "{TITLE}"
grant = "authorization_code"
client_id = "bridge"
client_auth = "basic"
secret = "clawbridge/providers/shop"
scopes = ["openid", "orders:read", "orders:write"]
optional_scopes = ["orders:delete"]
{provider}

[tools.hear]
method = "POST"
url = "bridge:/echo/hear"
timeout = "5s"

[[routes]]
name = "connections"
source = "bridge"
type = "connection.*"
tool = "hear"
input = ".body"
"#
    )
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    ring::rand::SystemRandom::new().fill(&mut bytes).expect("random bytes");
    bytes
}

/// A bridge with the provider `shop`.
struct Shop {
    bridge: Bridge,
    links: Links,
}

/// A consent that began without a browser.
struct Begun {
    /// Where the person is sent.
    location: String,
    /// The header `Cookie`.
    cookie: String,
}

impl Begun {
    fn parameter(&self, name: &str) -> String {
        let url = reqwest::Url::parse(&self.location).expect("a URL");
        let found = url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        found.unwrap_or_else(|| panic!("no {name}"))
    }

    fn state(&self) -> State {
        State::parse(&self.parameter("state")).expect("a state")
    }
}

impl Shop {
    async fn start(provider: &str, args: &[&str]) -> Shop {
        let args = args.iter().map(ToString::to_string).collect();
        let bridge = Bridge::start_with(Options { config: Some(config(provider)), args }).await;
        let secret =
            json!({"Name": "clawbridge/providers/shop", "SecretString": SECRET, "ClientRequestToken": "c".repeat(32)});
        assert_eq!(bridge.aws("secretsmanager.CreateSecret", &secret).await["Name"], "clawbridge/providers/shop");
        let config = sdk_config(&Environment::local(&bridge.private)).expect("a configuration");
        let links = Links::new(aws_sdk_dynamodb::Client::new(&config), "clawbridge-registry".to_owned());
        Shop { bridge, links }
    }

    /// With an authorization server that knows it.
    async fn with_authority(runtime: Runtime, settings: Value, provider: &str, args: &[&str]) -> (Shop, Authority) {
        let authority = runtime.authority(settings).await;
        let provider = format!("issuer = \"{}\"\niss = \"required\"\n{provider}", authority.issuer);
        let shop = Shop::start(&provider, args).await;
        let redirect_uri = format!("{}/oauth/callback/shop", shop.bridge.public);
        authority.set_clients(&[confidential("bridge", SECRET, &redirect_uri)]).await;
        (shop, authority)
    }

    /// A new link for an account: the ticket, and the path of the link.
    async fn link(&self, account: &str) -> (Ticket, String) {
        let ticket = Ticket::new(random());
        let name = ConnectionName::new("shop", account).expect("a name");
        self.links.make(&ticket, &name, &BTreeMap::new(), Timestamp::now()).await.expect("a link");
        let path = format!("/oauth/connect/{}", ticket.expose());
        (ticket, path)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.bridge.public)
    }

    /// Opens a link, as a browser does that keeps no page.
    async fn begin(&self, path: &str) -> Begun {
        let got = self.bridge.request("GET", path, &[], b"").await;
        assert_eq!(got.status, 302, "{got:?}");
        let cookie = got.headers["set-cookie"].split(';').next().expect("a cookie").to_owned();
        assert!(cookie.starts_with(COOKIE), "{got:?}");
        Begun { location: got.headers["location"].clone(), cookie }
    }

    /// Consents in the browser; what the provider answers, path and query, is not delivered.
    async fn consent(&self, browser: &Chromium, begun: &Begun, login: &str) -> String {
        let visit = Visit::to(&begun.location).login(login).profile(login).stop_before_callback();
        let page = browser.visit(visit).await;
        let callback = page.callback.unwrap_or_else(|| panic!("no callback: {} {}", page.url, page.text));
        callback.url.strip_prefix(&self.bridge.public).expect("at the bridge").to_owned()
    }

    async fn deliver(&self, callback: &str, cookie: &str) -> Got {
        self.bridge.request("GET", callback, &[("cookie", cookie)], b"").await
    }

    /// The page and the journal say so, and neither a secret nor an item is there.
    async fn assert_refused(&self, got: &Got, status: u16, code: &str, says: &str, account: &str) {
        assert_eq!(got.status, status, "{got:?}");
        assert_page(got);
        assert!(got.text.contains(&format!("<small>{code}</small>")), "{code}: {got:?}");
        assert!(got.text.contains(says), "{says}: {got:?}");
        let line = self
            .bridge
            .line(code, |line| line["kind"] == "consent.refused" && line["code"] == code && line["account"] == account)
            .await;
        assert_eq!(line["status"], status, "{line}");
        assert!(line["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{line}");
        self.assert_nothing_stored().await;
    }

    async fn assert_nothing_stored(&self) {
        assert_eq!(self.items("connection").await, Vec::<Value>::new());
        for account in ["main", "other"] {
            let answer = self.secret(account).await;
            assert!(answer["__type"].to_string().contains("ResourceNotFoundException"), "{answer}");
        }
    }

    async fn secret(&self, account: &str) -> Value {
        let asked = json!({"SecretId": format!("clawbridge/connections/shop/{account}")});
        self.bridge.aws("secretsmanager.GetSecretValue", &asked).await
    }

    /// The token set that is in use.
    async fn tokens(&self, account: &str) -> Value {
        let answer = self.secret(account).await;
        let text = answer["SecretString"].as_str().unwrap_or_else(|| panic!("{answer}"));
        serde_json::from_str(text).expect("a token set")
    }

    /// The registry's items of a kind.
    async fn items(&self, kind: &str) -> Vec<Value> {
        let asked = json!({"TableName": "clawbridge-registry", "ConsistentRead": true});
        let page = self.bridge.aws("DynamoDB_20120810.Scan", &asked).await;
        let items = page["Items"].as_array().cloned().unwrap_or_else(|| panic!("{page}"));
        items.into_iter().filter(|item| item["kind"]["S"] == kind).collect()
    }

    /// Makes a link or a consent older than ten minutes.
    async fn age(&self, kind: &str, hash: &str) {
        let at = Timestamp::now().minus(Duration::from_secs(601)).millis().to_string();
        let asked = json!({
            "TableName": "clawbridge-registry", "Key": {"kind": {"S": kind}, "name": {"S": hash}},
            "UpdateExpression": "SET created_at = :at", "ExpressionAttributeValues": {":at": {"N": at}},
            "ConditionExpression": "attribute_exists(created_at)",
        });
        let answer = self.bridge.aws("DynamoDB_20120810.UpdateItem", &asked).await;
        assert!(answer["__type"].is_null(), "{answer}");
    }

    /// None of these is in a table, a line, what the tool heard, or on a page.
    async fn assert_nowhere(&self, secrets: &[String], pages: &[&str]) {
        assert!(!secrets.is_empty());
        let mut told = vec![Value::from(self.bridge.journal()).to_string(), self.bridge.complaints()];
        told.extend(pages.iter().map(|page| (*page).to_owned()));
        for table in ["registry", "events", "tasks", "limits"] {
            let asked = json!({"TableName": format!("clawbridge-{table}"), "ConsistentRead": true});
            told.push(self.bridge.aws("DynamoDB_20120810.Scan", &asked).await.to_string());
        }
        let echo =
            crate::support::client().get(format!("{}/echo", self.bridge.private)).send().await.expect("an answer");
        told.push(String::from_utf8_lossy(&echo.bytes().await.expect("a body")).into_owned());
        for secret in secrets {
            assert!(secret.len() > 16, "{secret}");
            for text in &told {
                assert!(!text.contains(secret.as_str()), "{secret} is in {text}");
            }
        }
    }
}

/// What every page carries.
fn assert_page(got: &Got) {
    let header = |name: &str| got.headers.get(name).map(String::as_str).unwrap_or_default();
    assert_eq!(header("cache-control"), "no-store", "{got:?}");
    assert_eq!(header("referrer-policy"), "no-referrer", "{got:?}");
    assert_eq!(header("x-content-type-options"), "nosniff", "{got:?}");
    assert_eq!(header("content-type"), "text/html; charset=utf-8", "{got:?}");
    let policy = header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(got.text.contains("<html lang=\"en\">") && got.text.contains("<h1>"), "{got:?}");
    assert!(!got.text.contains("<script") && !got.text.contains("http"), "{got:?}");
}

/// With a parameter of the query replaced, or left out.
fn altered(path: &str, name: &str, value: Option<&str>) -> String {
    let mut url = reqwest::Url::parse(&format!("http://x{path}")).expect("a URL");
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let pairs = pairs.into_iter().filter(|(key, _)| key != name);
    let pairs: Vec<_> = pairs.chain(value.map(|value| (name.to_owned(), value.to_owned()))).collect();
    url.query_pairs_mut().clear().extend_pairs(pairs);
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}

/// An authorization server that nobody asks for a token.
async fn silent() -> (Stub, String) {
    let stub = Stub::start(|_, _| Reply::Json(500, json!({}))).await;
    let provider = format!("authorize_url = \"{0}/auth\"\ntoken_url = \"{0}/token\"\n", stub.url);
    (stub, provider)
}

#[tokio::test]
async fn a_link_that_is_unknown_expired_or_used_begins_nothing() {
    let (stub, provider) = silent().await;
    let shop = Shop::start(&provider, &[]).await;
    let unknown = format!("/oauth/connect/{}", Ticket::new(random()).expose());
    for path in ["/oauth/connect/x", "/oauth/connect/%3Cscript%3E", &unknown] {
        let got = shop.bridge.request("GET", path, &[], b"").await;
        shop.assert_refused(&got, 404, "OAUTH_LINK_UNKNOWN", "This link is not known.", "").await;
    }
    let (ticket, path) = shop.link("main").await;
    shop.age("oauth-link", &ticket.hash()).await;
    let got = shop.bridge.request("GET", &path, &[], b"").await;
    shop.assert_refused(&got, 410, "OAUTH_LINK_EXPIRED", "This link has expired.", "main").await;

    let (ticket, path) = shop.link("other").await;
    let link = shop.links.find(&ticket.hash()).await.expect("read").expect("a link");
    assert!(shop.links.complete(&link, Timestamp::now()).await.expect("written"));
    let got = shop.bridge.request("GET", &path, &[], b"").await;
    shop.assert_refused(&got, 410, "OAUTH_LINK_USED", "already been connected with this link", "other").await;

    assert_eq!(shop.items("oauth-state").await, Vec::<Value>::new());
    assert!(stub.calls().is_empty());
    let tickets = [unknown.rsplit('/').next().expect("a ticket").to_owned(), ticket.expose().to_owned()];
    shop.assert_nowhere(&tickets, &[&got.text]).await;
}

#[tokio::test]
async fn a_link_leads_to_the_provider_with_a_new_state_each_time_and_looking_at_it_spends_nothing() {
    let (stub, provider) = silent().await;
    let shop = Shop::start(&provider, &[]).await;
    let (ticket, path) = shop.link("main").await;
    let head = shop.bridge.request("HEAD", &path, &[], b"").await;
    assert_eq!((head.status, head.text.as_str()), (200, ""), "{head:?}");
    assert!(!head.headers.contains_key("set-cookie") && shop.items("oauth-state").await.is_empty());

    let (first, second) = (shop.begin(&path).await, shop.begin(&path).await);
    assert_ne!((first.state(), &first.cookie), (second.state(), &second.cookie));
    assert_ne!(first.parameter("code_challenge"), second.parameter("code_challenge"));
    assert_eq!(first.parameter("redirect_uri"), shop.url("/oauth/callback/shop"));
    assert_eq!(first.parameter("scope"), "openid orders:read orders:write orders:delete");
    assert_eq!(first.parameter("code_challenge_method"), "S256");
    assert!(first.location.starts_with(&format!("{}/auth?", stub.url)));

    // A browser that has a cookie keeps it, so that two tabs do not get in each other's way.
    let again = shop.bridge.request("GET", &path, &[("cookie", &first.cookie)], b"").await;
    let set = &again.headers["set-cookie"];
    assert!(set.starts_with(&first.cookie), "{set}");
    assert!(set.ends_with("; Max-Age=600; Path=/; HttpOnly; SameSite=Lax"), "{set}");
    assert_eq!(
        (again.headers["cache-control"].as_str(), again.headers["referrer-policy"].as_str()),
        ("no-store", "no-referrer")
    );

    assert_eq!(shop.items("oauth-state").await.len(), 3);
    let link = shop.links.find(&ticket.hash()).await.expect("read").expect("a link");
    assert_eq!(link.completed_at, None);
    let cookie = first.cookie.split_once('=').expect("a cookie").1.to_owned();
    let secrets = [ticket.expose().to_owned(), first.parameter("state"), second.parameter("state"), cookie];
    shop.assert_nowhere(&secrets, &[]).await;
    assert!(stub.calls().is_empty());
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_refused_before_the_provider_is_asked() {
    let (stub, provider) = silent().await;
    let more = format!(
        "{provider}\n[providers.elsewhere]\nuse = \"github\"\nclient_id = \"x\"\nsecret = \"clawbridge/providers/x\"\n"
    );
    let shop = Shop::start(&more, &[]).await;
    let (_, path) = shop.link("main").await;
    let begun = shop.begin(&path).await;
    let state = begun.parameter("state");
    let forged = State::new(random());
    let long = "x".repeat(9_000);
    let cases = [
        ("shop", String::new(), 400, "OAUTH_STATE_MISSING"),
        ("shop", "code=c".to_owned(), 400, "OAUTH_STATE_MISSING"),
        ("shop", "error=access_denied".to_owned(), 400, "OAUTH_STATE_MISSING"),
        ("shop", "code=c&state=x".to_owned(), 400, "OAUTH_STATE_UNKNOWN"),
        ("shop", format!("code=c&state={}", forged.expose()), 400, "OAUTH_STATE_UNKNOWN"),
        ("shop", format!("state={state}"), 400, "OAUTH_ANSWER_MALFORMED"),
        ("shop", format!("state={state}&code=c&code=d"), 400, "OAUTH_ANSWER_MALFORMED"),
        ("shop", format!("state={state}&code=c&error=e"), 400, "OAUTH_ANSWER_MALFORMED"),
        ("shop", format!("state={state}&code={long}"), 400, "OAUTH_ANSWER_MALFORMED"),
        ("elsewhere", format!("state={state}&code=c"), 400, "OAUTH_STATE_UNKNOWN"),
        ("nobody", format!("state={state}&code=c"), 404, "OAUTH_UNKNOWN_PROVIDER"),
    ];
    for (name, query, status, code) in &cases {
        let got = shop.deliver(&format!("/oauth/callback/{name}?{query}"), &begun.cookie).await;
        let says = if *status == 404 { "This address is not in use." } else { "nothing was connected" };
        shop.assert_refused(&got, *status, code, says, "").await;
    }
    let text = Value::from(shop.bridge.journal()).to_string();
    assert!(!text.contains("nobody"), "what strangers invent is repeated: {text}");

    // Another browser, and one that takes no cookies. The state is not spent by it.
    let good = format!("/oauth/callback/shop?state={state}&code=c");
    let other = format!("{COOKIE}={}", Browser::new(random()).expose());
    for cookie in [other.as_str(), "", "clawbridge-oauth=x", &format!("{}; {other}", begun.cookie)] {
        let got = shop.deliver(&good, cookie).await;
        shop.assert_refused(&got, 403, "OAUTH_BROWSER_MISMATCH", "another browser", "").await;
    }
    let item = shop.items("oauth-state").await.remove(0);
    assert!(item["used_at"].is_null(), "{item}");

    shop.age("oauth-state", &begun.state().hash()).await;
    let got = shop.deliver(&good, &begun.cookie).await;
    shop.assert_refused(&got, 410, "OAUTH_STATE_EXPIRED", "more than ten minutes", "").await;

    for (method, path, allow) in [
        ("PUT", "/oauth/callback/shop", "GET, POST"),
        ("HEAD", good.as_str(), "GET, POST"),
        ("POST", path.as_str(), "GET, HEAD"),
    ] {
        let got = shop.bridge.request(method, path, &[("cookie", &begun.cookie)], b"").await;
        assert_eq!((got.status, got.headers["allow"].as_str()), (405, allow), "{got:?}");
    }
    shop.assert_nowhere(&[state, forged.expose().to_owned()], &[&got.text]).await;
    assert!(stub.calls().is_empty());
}

#[tokio::test]
async fn a_provider_that_is_misdeclared_or_has_no_key_is_told_as_such() {
    let shop = Shop::start("issuer = \"http://127.0.0.1:1\"\n", &[]).await;
    let (_, path) = shop.link("main").await;
    let got = shop.bridge.request("GET", &path, &[], b"").await;
    shop.assert_refused(&got, 502, "OAUTH_EXCHANGE_FAILED", "could not be reached", "main").await;
    let name = ConnectionName::new("gone", "main").expect("a name");
    let ticket = Ticket::new(random());
    shop.links.make(&ticket, &name, &BTreeMap::new(), Timestamp::now()).await.expect("a link");
    let got = shop.bridge.request("GET", &format!("/oauth/connect/{}", ticket.expose()), &[], b"").await;
    shop.assert_refused(&got, 404, "OAUTH_UNKNOWN_PROVIDER", "not in use", "main").await;
}

#[tokio::test]
async fn a_person_connects_an_account_and_only_the_secret_has_its_tokens() {
    let Some(runtime) = runtime() else { return };
    let (shop, authority) = Shop::with_authority(runtime, json!({}), "", &[]).await;
    let (ticket, path) = shop.link("main").await;
    // What previews a message opens the link first, more than once.
    for method in ["GET", "HEAD", "GET"] {
        assert!(shop.bridge.request(method, &path, &[], b"").await.status < 400);
    }
    let browser = runtime.browser().await;
    let page = browser.visit(Visit::to(&shop.url(&path))).await;
    assert_eq!((page.status, page.title.as_str()), (Some(200), "Connected"), "{page:?}");
    for words in
        ["The account main at Shop & Sons is connected.", "orders:read", "orders:write", "You can close this page."]
    {
        assert!(page.text.contains(words), "{words}: {page:?}");
    }
    assert!(page.console.is_empty(), "{page:?}");
    let cookie = page.cookies.iter().find(|cookie| cookie.name == COOKIE).expect("a cookie");
    assert!(cookie.refused.is_empty() && cookie.attributes["httponly"] == true, "{cookie:?}");

    let tokens = shop.tokens("main").await;
    assert_eq!((&tokens["generation"], &tokens["kind"], &tokens["v"]), (&json!(1), &json!("bearer"), &json!(1)));
    let [access, refresh] = ["access_token", "refresh_token"].map(|name| tokens[name].as_str().expect(name).to_owned());
    assert!(authority.is_active(&access).await && authority.is_active(&refresh).await);
    let items = shop.items("connection").await;
    assert_eq!(items.len(), 1);
    assert_eq!(
        (&items[0]["name"]["S"], &items[0]["status"]["S"]),
        (&json!("shop/main"), &json!("active")),
        "{items:?}"
    );

    let line = shop.bridge.line("connected", |line| line["kind"] == "connection.connected").await;
    assert_eq!((&line["provider"], &line["account"], &line["generation"]), (&json!("shop"), &json!("main"), &json!(1)));
    let event = shop.bridge.line("the event", |line| line["kind"] == "event.stored").await;
    assert_eq!(
        (&event["source"], &event["type"], &event["delivery_id"]),
        (&json!("bridge"), &json!("connection.connected"), &json!("shop/main/1/connected"))
    );
    shop.bridge.line("it was heard", |line| line["kind"] == "task.attempt" && line["decision"] == "succeeded").await;

    // The link is used up, and the page is not to be had again.
    let got = shop.bridge.request("GET", &path, &[], b"").await;
    assert_eq!(got.status, 410);
    let reloaded = browser.visit(Visit::to(&page.url)).await;
    assert!(reloaded.status == Some(410) && reloaded.text.contains("OAUTH_STATE_USED"), "{reloaded:?}");
    assert!(reloaded.text.contains("all is well"), "{reloaded:?}");
    assert_eq!(authority.token_requests().await.len(), 1);
    assert!(authority.is_active(&access).await, "a page that is loaded again must not end what is connected");

    let mut secrets = authority.secrets().await;
    secrets.extend([SECRET.to_owned(), ticket.expose().to_owned(), page.parameter("state").expect("a state")]);
    shop.assert_nowhere(&secrets, &[&page.text, &reloaded.text, &got.text]).await;
}

#[tokio::test]
async fn an_answer_that_is_posted_from_another_site_is_taken_and_tokens_are_bound_to_a_key() {
    let Some(runtime) = runtime() else { return };
    let provider = "dpop = true\nauthorize_params = { response_mode = \"form_post\" }";
    let settings = json!({"host": "localhost", "dpop_nonce": true});
    let (shop, authority) = Shop::with_authority(runtime, settings, provider, &[]).await;
    let (_, path) = shop.link("main").await;
    let page = runtime.browser().await.visit(Visit::to(&shop.url(&path))).await;
    assert_eq!((page.status, page.title.as_str()), (Some(200), "Connected"), "{page:?}");
    assert_eq!(page.visited.last().map(|last| last.method.as_str()), Some("POST"), "{page:?}");
    let cookie = page.cookies.iter().find(|cookie| cookie.name == COOKIE).expect("a cookie");
    assert_eq!((&cookie.attributes["samesite"], cookie.refused.len()), (&json!("None"), 0), "{cookie:?}");
    let tokens = shop.tokens("main").await;
    assert!(tokens["kind"] == "dpop" && tokens["dpop_key"].is_string(), "{}", tokens["kind"]);
    let mut secrets = authority.secrets().await;
    secrets.push(tokens["dpop_key"].as_str().expect("a key").to_owned());
    shop.assert_nowhere(&secrets, &[&page.text]).await;
}

#[tokio::test]
async fn a_person_who_declines_is_told_so_and_the_link_stays_good() {
    let Some(runtime) = runtime() else { return };
    let (shop, authority) = Shop::with_authority(runtime, json!({}), "", &[]).await;
    let (_, path) = shop.link("main").await;
    let browser = runtime.browser().await;
    let page: Page = browser.visit(Visit::to(&shop.url(&path)).deny()).await;
    assert_eq!((page.status, page.title.as_str()), (Some(403), "Not connected"), "{page:?}");
    assert!(page.text.contains("Access was declined at Shop & Sons") && page.text.contains("OAUTH_DENIED"), "{page:?}");
    shop.bridge.line("denied", |line| line["code"] == "OAUTH_DENIED" && line["account"] == "main").await;
    shop.assert_nothing_stored().await;
    assert!(authority.token_requests().await.is_empty());
    let page = browser.visit(Visit::to(&shop.url(&path))).await;
    assert_eq!((page.status, page.title.as_str()), (Some(200), "Connected"), "{page:?}");
}

#[tokio::test]
async fn fewer_permissions_than_needed_are_given_back_and_named() {
    let Some(runtime) = runtime() else { return };
    let (shop, authority) = Shop::with_authority(runtime, json!({"withhold": ["orders:write"]}), "", &[]).await;
    let (_, path) = shop.link("main").await;
    let browser = runtime.browser().await;
    let begun = shop.begin(&path).await;
    let callback = shop.consent(&browser, &begun, "ada").await;
    let got = shop.deliver(&callback, &begun.cookie).await;
    shop.assert_refused(&got, 403, "OAUTH_SCOPES_MISSING", "<li><code>orders:write</code></li>", "main").await;
    assert!(!got.text.contains("orders:read"), "{got:?}");
    authority.event("the tokens are revoked", |event| event["event"] == "revoked").await;
    for secret in authority.secrets().await {
        assert!(!authority.is_active(&secret).await);
    }
    shop.assert_nowhere(&authority.secrets().await, &[&got.text]).await;
}

#[tokio::test]
async fn an_answer_counts_once_however_often_and_how_fast_it_comes() {
    let Some(runtime) = runtime() else { return };
    let (shop, authority) = Shop::with_authority(runtime, json!({}), "", &[]).await;
    let (_, path) = shop.link("main").await;
    let browser = runtime.browser().await;
    let begun = shop.begin(&path).await;
    let callback = shop.consent(&browser, &begun, "ada").await;

    // An issuer that is another's, then none: each spends its state before anything is asked.
    for iss in [Some("https://evil.example"), None] {
        let begun = shop.begin(&path).await;
        let callback = shop.consent(&browser, &begun, "ada").await;
        let got = shop.deliver(&altered(&callback, "iss", iss), &begun.cookie).await;
        shop.assert_refused(&got, 403, "OAUTH_ISSUER_MISMATCH", "does not seem to come from", "main").await;
        let got = shop.deliver(&callback, &begun.cookie).await;
        shop.assert_refused(&got, 410, "OAUTH_STATE_USED", "opened before", "").await;
    }
    // A code of another consent.
    let another = shop.begin(&path).await;
    let stolen = altered(&callback, "state", Some(&another.parameter("state")));
    let got = shop.deliver(&stolen, &another.cookie).await;
    shop.assert_refused(&got, 502, "OAUTH_CODE_REFUSED", "did not complete the connection", "main").await;
    let asked = authority.token_requests().await;
    assert_eq!(asked.iter().map(|request| request.result.as_str()).collect::<Vec<_>>(), ["invalid_grant"]);

    let begun = shop.begin(&path).await;
    let callback = shop.consent(&browser, &begun, "ada").await;
    let all = (0..6).map(|_| shop.deliver(&callback, &begun.cookie));
    let all = futures_util::future::join_all(all).await;
    let mut statuses: Vec<u16> = all.iter().map(|got| got.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 410, 410, 410, 410, 410], "{all:?}");
    let lost = all.iter().filter(|got| got.status == 410);
    assert!(lost.into_iter().all(|got| got.text.contains("OAUTH_STATE_USED")), "{all:?}");
    assert_eq!(authority.token_requests().await.len(), 2);
    let access = shop.tokens("main").await["access_token"].as_str().expect("a token").to_owned();
    assert!(authority.is_active(&access).await);
}

#[tokio::test]
async fn of_two_people_with_one_link_the_first_is_connected_and_the_other_one_is_given_back() {
    let Some(runtime) = runtime() else { return };
    let (shop, authority) = Shop::with_authority(runtime, json!({}), "", &[]).await;
    let (_, path) = shop.link("main").await;
    let browser = runtime.browser().await;
    let (one, two) = (shop.begin(&path).await, shop.begin(&path).await);
    let first = shop.consent(&browser, &one, "ada").await;
    let second = shop.consent(&browser, &two, "bob").await;
    // Both have got their tokens when the link is asked for.
    authority.fault(Fault::hold().after_acting().times(2).of_grant("authorization_code")).await;
    let deliveries = async { tokio::join!(shop.deliver(&first, &one.cookie), shop.deliver(&second, &two.cookie)) };
    let release = async {
        authority.until_held(2).await;
        authority.release().await
    };
    let ((first, second), _) = tokio::join!(deliveries, release);
    let (won, lost) = if first.status == 200 { (first, second) } else { (second, first) };
    assert_eq!((won.status, lost.status), (200, 410), "{won:?} {lost:?}");
    assert!(lost.text.contains("OAUTH_LINK_USED"), "{lost:?}");
    authority.event("the loser's are revoked", |event| event["event"] == "revoked").await;
    let access = shop.tokens("main").await["access_token"].as_str().expect("a token").to_owned();
    assert!(authority.is_active(&access).await);
    assert_eq!(shop.items("connection").await.len(), 1);
    shop.assert_nowhere(&authority.secrets().await, &[&won.text, &lost.text]).await;
}

#[tokio::test]
async fn a_token_endpoint_that_fails_is_told_and_the_link_stays_good() {
    let Some(runtime) = runtime() else { return };
    let (shop, authority) = Shop::with_authority(runtime, json!({}), "", &[]).await;
    let (_, path) = shop.link("main").await;
    let browser = runtime.browser().await;
    let json = [("content-type", "application/json")];
    let huge = format!("{{\"access_token\":\"{}\"}}", "x".repeat(100_000));
    for fault in [
        Fault::html(),
        Fault::broken(),
        Fault::answer(200, &json, &huge),
        Fault::answer(200, &json, "{}"),
        Fault::answer(302, &[("location", "http://127.0.0.1:1/")], ""),
        Fault::cut(Cut::Body).after_acting(),
        Fault::cut(Cut::Answer),
        Fault::delay(Duration::from_secs(60)),
    ] {
        let begun = shop.begin(&path).await;
        let callback = shop.consent(&browser, &begun, "ada").await;
        authority.fault(fault.clone()).await;
        let got = shop.deliver(&callback, &begun.cookie).await;
        shop.assert_refused(&got, 502, "OAUTH_EXCHANGE_FAILED", "could not be reached", "main").await;
        authority.clear_faults().await;
    }
    let refused = Fault::answer(401, &json, "{\"error\":\"invalid_client\",\"error_description\":\"no such client\"}");
    let begun = shop.begin(&path).await;
    let callback = shop.consent(&browser, &begun, "ada").await;
    authority.fault(refused).await;
    let got = shop.deliver(&callback, &begun.cookie).await;
    shop.assert_refused(&got, 502, "OAUTH_CLIENT_REFUSED", "did not accept the request", "main").await;

    let begun = shop.begin(&path).await;
    let callback = shop.consent(&browser, &begun, "ada").await;
    let got = shop.deliver(&callback, &begun.cookie).await;
    assert_eq!(got.status, 200, "{got:?}");
    assert_page(&got);
    assert!(got.text.contains("Shop &amp; Sons"), "{got:?}");
    shop.assert_nowhere(&authority.secrets().await, &[&got.text]).await;
}

#[tokio::test]
async fn the_schedule_refreshes_in_time_and_tells_once_what_a_person_has_to_mend() {
    let Some(runtime) = runtime() else { return };
    let (shop, authority) =
        Shop::with_authority(runtime, json!({"access_token_ttl": 30}), "", &["--refresh-every", "1"]).await;
    let (_, path) = shop.link("main").await;
    let browser = runtime.browser().await;
    let begun = shop.begin(&path).await;
    let callback = shop.consent(&browser, &begun, "ada").await;
    assert_eq!(shop.deliver(&callback, &begun.cookie).await.status, 200);
    shop.bridge.line("a refresh", |line| line["kind"] == "connection.refreshed" && line["how"] == "refreshed").await;
    assert!(authority.revoke("bridge").await > 0);
    let line = shop.bridge.line("it has expired", |line| line["kind"] == "connection.expired").await;
    assert_eq!(
        (&line["provider"], &line["account"], &line["code"]),
        (&json!("shop"), &json!("main"), &json!("invalid_grant"))
    );
    let id = format!("shop/main/{}/expired", line["generation"]);
    let stored = |line: &Value| line["kind"] == "event.stored" && line["type"] == "connection.expired";
    let event = shop.bridge.line("the event", stored).await;
    assert_eq!((&event["source"], &event["delivery_id"]), (&json!("bridge"), &json!(id)));
    let shown = shop.bridge.run(&["events", "show", event["event"].as_str().expect("an id"), "--json"]).json();
    let data = &shown["body"]["data"];
    assert_eq!((&data["connection"], &data["code"]), (&json!("shop/main"), &json!("invalid_grant")), "{shown}");
    assert!(data["since"].is_string(), "{shown}");
    eventually("the table says that it is told", || async {
        let items = shop.items("connection").await;
        (items[0]["status"]["S"] == "needs_reauth" && items[0]["announced"]["BOOL"] == true).then_some(())
    })
    .await;

    // Connected again, it goes on above what was before.
    let (_, path) = shop.link("main").await;
    let begun = shop.begin(&path).await;
    let callback = shop.consent(&browser, &begun, "ada").await;
    assert_eq!(shop.deliver(&callback, &begun.cookie).await.status, 200);
    let after = shop.tokens("main").await["generation"].as_u64().expect("a generation");
    assert!(Some(after) > line["generation"].as_u64(), "{after} {line}");
    let expired = shop.bridge.journal().into_iter().filter(|line| line["kind"] == "connection.expired").count();
    assert_eq!(expired, 1);
    shop.assert_nowhere(&authority.secrets().await, &[]).await;
}

#[tokio::test]
async fn what_cannot_be_stored_is_given_back_and_the_link_opens_again() {
    let Some(runtime) = runtime() else { return };
    let (shop, authority) = Shop::with_authority(runtime, json!({}), "", &[]).await;
    // Something else is where the tokens are to be.
    let name = "clawbridge/connections/shop/main";
    let there = json!({"Name": name, "SecretString": "no token set", "ClientRequestToken": "d".repeat(32)});
    assert_eq!(shop.bridge.aws("secretsmanager.CreateSecret", &there).await["Name"], name);
    let (ticket, path) = shop.link("main").await;
    let browser = runtime.browser().await;
    let begun = shop.begin(&path).await;
    let callback = shop.consent(&browser, &begun, "ada").await;
    let got = shop.deliver(&callback, &begun.cookie).await;
    assert_eq!((got.status, got.headers["retry-after"].as_str()), (503, "30"), "{got:?}");
    assert_page(&got);
    assert!(got.text.contains("OAUTH_NOT_STORED") && got.text.contains("could not be saved on our side"), "{got:?}");
    let line = shop.bridge.line("it is told", |line| line["code"] == "OAUTH_NOT_STORED").await;
    assert_eq!((&line["level"], &line["account"]), (&json!("error"), &json!("main")), "{line}");
    authority.event("the tokens are revoked", |event| event["event"] == "revoked").await;
    let link = shop.links.find(&ticket.hash()).await.expect("read").expect("a link");
    assert_eq!(link.completed_at, None);
    assert_eq!(shop.secret("main").await["SecretString"], "no token set");
    assert_eq!(shop.items("connection").await, Vec::<Value>::new());

    // Somebody has mended it.
    let gone = json!({"SecretId": name, "ForceDeleteWithoutRecovery": true});
    assert_eq!(shop.bridge.aws("secretsmanager.DeleteSecret", &gone).await["Name"], name);
    let begun = shop.begin(&path).await;
    let callback = shop.consent(&browser, &begun, "ada").await;
    let got = shop.deliver(&callback, &begun.cookie).await;
    assert_eq!(got.status, 200, "{got:?}");
    assert_eq!(shop.tokens("main").await["generation"], 1);
    shop.assert_nowhere(&authority.secrets().await, &[&got.text]).await;
}
