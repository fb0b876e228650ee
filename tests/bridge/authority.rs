//! The authorization server that other tests stand on does what they rely on: it is strict where a good one is, and fails as it is told to.

use crate::support::authority::{Authority, Cut, Fault, confidential, runtime};
use crate::support::browser::{Browser, Page, Visit};
use crate::support::{Reply, Stub, client};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) const SECRET: &str = "a-secret-of-the-client-that-nobody-else-has";
const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters-";
const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// An answer of an endpoint.
#[derive(Debug)]
struct Got {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Value,
}

/// Pairs as `application/x-www-form-urlencoded`.
fn form(pairs: &[(&str, &str)]) -> String {
    let mut url = reqwest::Url::parse("http://form/").expect("a URL");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

/// Posts a form; an error where no whole answer came.
async fn try_post(
    url: &str,
    headers: &[(&str, &str)],
    pairs: &[(&str, &str)],
) -> Result<(u16, BTreeMap<String, String>, String), reqwest::Error> {
    let request = client().post(url).header("content-type", "application/x-www-form-urlencoded").body(form(pairs));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = answer.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    Ok((status, headers, String::from_utf8_lossy(&answer.bytes().await?).into_owned()))
}

async fn post(url: &str, headers: &[(&str, &str)], pairs: &[(&str, &str)]) -> Got {
    let (status, headers, body) = try_post(url, headers, pairs).await.expect("an answer");
    Got { status, headers, body: serde_json::from_str(&body).unwrap_or(Value::Null) }
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// A token request of the client `shop`.
async fn token(authority: &Authority, pairs: &[(&str, &str)]) -> Got {
    post(&authority.url("/token"), &[("authorization", &basic("shop", SECRET))], pairs).await
}

async fn refresh(authority: &Authority, refresh_token: &Value) -> Got {
    let refresh_token = refresh_token.as_str().expect("a refresh token");
    token(authority, &[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
}

/// What a resource server says to a token.
async fn userinfo(authority: &Authority, access_token: &Value) -> u16 {
    let bearer = format!("Bearer {}", access_token.as_str().expect("an access token"));
    client()
        .get(authority.url("/me"))
        .header("authorization", bearer)
        .send()
        .await
        .expect("an answer")
        .status()
        .as_u16()
}

/// Both are refused with this code.
#[track_caller]
fn assert_refused(got: &Got, status: u16, error: &str) {
    assert_eq!((got.status, got.body["error"].as_str()), (status, Some(error)), "{got:?}");
}

/// A client's page for the answer: `/cb` says that it is connected.
pub(crate) async fn redirect_listener() -> Stub {
    Stub::start(|_, _| Reply::of(200, "text/html", "<title>Connected</title><p>Shop is connected.</p>")).await
}

/// The link that a client sends a person to.
fn link(authority: &Authority, redirect_uri: &str, more: &[(&str, &str)]) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let mut pairs = vec![
        ("client_id", "shop"),
        ("response_type", "code"),
        ("redirect_uri", redirect_uri),
        ("scope", "openid orders:read orders:write"),
        ("state", "state-1"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    // An empty value takes one away.
    for (name, value) in more {
        pairs.retain(|(given, _)| given != name);
        if !value.is_empty() {
            pairs.push((name, value));
        }
    }
    format!("{}?{}", authority.url("/auth"), form(&pairs))
}

async fn exchange(authority: &Authority, redirect_uri: &str, code: &str, verifier: &str) -> Got {
    let pairs = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect_uri),
        ("code_verifier", verifier),
    ];
    token(authority, &pairs).await
}

/// Everything together: link, login, consent, callback, exchange.
pub(crate) async fn connect(authority: &Authority, browser: &Browser, redirect_uri: &str) -> Value {
    let page = browser.visit(Visit::to(&link(authority, redirect_uri, &[]))).await;
    let got = exchange(authority, redirect_uri, &page.parameter("code").expect("a code"), VERIFIER).await;
    assert_eq!(got.status, 200, "{got:?}");
    got.body
}

/// A key for ES256, and what the server may know of it.
struct Key(EcdsaKeyPair);

impl Key {
    fn new() -> Key {
        let random = ring::rand::SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        Key(pair.expect("a key"))
    }

    fn public(&self) -> Value {
        let point = self.0.public_key().as_ref();
        let coordinate = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "x": coordinate(&point[1..33]), "y": coordinate(&point[33..])})
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let input = format!("{}.{}", part(header), part(claims));
        let signature = self.0.sign(&ring::rand::SystemRandom::new(), input.as_bytes()).expect("a signature");
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// A DPoP proof for the token endpoint (RFC 9449, 4.2).
    fn proof(&self, authority: &Authority, id: &str, nonce: Option<&str>) -> String {
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.public()});
        let mut claims = json!({"jti": id, "htm": "POST", "htu": authority.url("/token"), "iat": now()});
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        self.sign(&header, &claims)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A client that acts for itself.
fn machine(more: Value) -> Value {
    let mut client = json!({"client_id": "shop", "client_secret": SECRET, "grant_types": ["client_credentials"]});
    client.as_object_mut().expect("an object").append(&mut more.as_object().expect("an object").clone());
    client
}

#[tokio::test]
async fn discovery_names_the_issuer_and_what_it_supports() {
    let Some(runtime) = runtime() else { return };
    let authority = runtime.authority(json!({})).await;
    for well_known in ["openid-configuration", "oauth-authorization-server"] {
        let metadata = authority.discovery(well_known).await;
        assert_eq!(metadata["issuer"], authority.issuer.as_str());
        assert_eq!(metadata["authorization_response_iss_parameter_supported"], true);
        assert_eq!(metadata["code_challenge_methods_supported"], json!(["S256"]));
        assert_eq!(metadata["token_endpoint"], authority.url("/token"));
        assert_eq!(metadata["authorization_endpoint"], authority.url("/auth"));
        assert_eq!(metadata["revocation_endpoint"], authority.url("/token/revocation"));
        assert_eq!(metadata["device_authorization_endpoint"], authority.url("/device/auth"));
        let has = |list: &str, value: &str| metadata[list].as_array().expect(list).contains(&json!(value));
        for grant in ["authorization_code", "refresh_token", "client_credentials", DEVICE] {
            assert!(has("grant_types_supported", grant), "{metadata}");
        }
        for method in ["client_secret_basic", "client_secret_post", "private_key_jwt"] {
            assert!(has("token_endpoint_auth_methods_supported", method), "{metadata}");
        }
        assert!(has("response_modes_supported", "form_post") && has("dpop_signing_alg_values_supported", "ES256"));
    }
    assert_eq!(authority.counts().await["discovery"], 2);
}

#[tokio::test]
async fn a_client_gets_a_token_for_itself_however_it_proves_who_it_is() {
    let Some(runtime) = runtime() else { return };
    let key = Key::new();
    let signer = json!({
        "client_id": "signer", "grant_types": ["client_credentials"], "jwks": {"keys": [key.public()]},
        "token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256",
    });
    let poster = machine(json!({"client_id": "poster", "token_endpoint_auth_method": "client_secret_post"}));
    let api = "https://api.example.com/";
    let authority = runtime
        .authority(json!({
            "clients": [machine(json!({})), poster, signer], "access_token_ttl": 7,
            "resources": {api: {"scopes": ["orders:read"]}},
        }))
        .await;

    let grant = ("grant_type", "client_credentials");
    let by_header = token(&authority, &[grant, ("scope", "orders:read"), ("resource", api)]).await;
    let form = [grant, ("scope", "orders:write"), ("client_id", "poster"), ("client_secret", SECRET)];
    let by_form = post(&authority.url("/token"), &[], &form).await;
    let claims = json!({
        "iss": "signer", "sub": "signer", "aud": authority.issuer, "jti": "1", "iat": now(), "exp": now() + 60,
    });
    let assertion = key.sign(&json!({"alg": "ES256"}), &claims);
    let jwt_bearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let signed = [grant, ("client_assertion_type", jwt_bearer), ("client_assertion", &assertion)];
    let by_key = post(&authority.url("/token"), &[], &signed).await;
    for (got, scope) in [(&by_header, json!("orders:read")), (&by_form, json!("orders:write")), (&by_key, Value::Null)]
    {
        assert_eq!((got.status, &got.body["expires_in"], &got.body["scope"]), (200, &json!(7), &scope), "{got:?}");
        assert!(authority.is_active(got.body["access_token"].as_str().expect("a token")).await);
    }
    assert_refused(
        &post(&authority.url("/token"), &[("authorization", &basic("shop", "wrong"))], &[grant]).await,
        401,
        "invalid_client",
    );
    assert_refused(
        &token(&authority, &[grant, ("resource", "https://elsewhere.example/")]).await,
        400,
        "invalid_target",
    );
    // The assertion's id is spent.
    assert_refused(&post(&authority.url("/token"), &[], &signed).await, 401, "invalid_client");

    let requests = authority.token_requests().await;
    let told: Vec<(&str, &str, &str)> = requests
        .iter()
        .map(|request| (request.client.as_str(), request.authentication.as_str(), request.result.as_str()))
        .collect();
    let expected = [
        ("shop", "client_secret_basic", "ok"),
        ("poster", "client_secret_post", "ok"),
        ("signer", "private_key_jwt", "ok"),
        ("shop", "client_secret_basic", "invalid_client"),
        ("shop", "client_secret_basic", "invalid_target"),
        ("signer", "private_key_jwt", "invalid_client"),
    ];
    assert_eq!(told, expected);
    assert_eq!(requests.iter().map(|request| request.count).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    let statuses = [200, 200, 200, 401, 400, 401].map(Some);
    assert_eq!(requests.iter().map(|request| request.status).collect::<Vec<_>>(), statuses);
}

#[tokio::test]
async fn a_clients_secret_and_the_settings_can_change_while_it_runs() {
    let Some(runtime) = runtime() else { return };
    let authority = runtime.authority(json!({"clients": [machine(json!({}))]})).await;
    let pairs = [("grant_type", "client_credentials")];
    assert_eq!(token(&authority, &pairs).await.body["expires_in"], 3600);
    authority.set(json!({"access_token_ttl": 2})).await;
    let got = token(&authority, &pairs).await;
    assert_eq!(got.body["expires_in"], 2);
    authority.set_clients(&[machine(json!({"client_secret": "another-secret"}))]).await;
    assert_refused(&token(&authority, &pairs).await, 401, "invalid_client");
    let headers = [("authorization", basic("shop", "another-secret"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(post(&authority.url("/token"), &headers, &pairs).await.status, 200);
    let short = got.body["access_token"].as_str().expect("a token");
    crate::support::eventually("it has expired", || async { (!authority.is_active(short).await).then_some(()) }).await;
}

#[tokio::test]
async fn a_person_consents_and_the_code_is_good_once_and_with_its_verifier() {
    let Some(runtime) = runtime() else { return };
    let shop = redirect_listener().await;
    let redirect_uri = format!("{}/cb", shop.url);
    let authority = runtime.authority(json!({"clients": [confidential("shop", SECRET, &redirect_uri)]})).await;
    let browser = runtime.browser().await;

    let page = browser.visit(Visit::to(&link(&authority, &redirect_uri, &[])).login("ada")).await;
    let read = (page.status, page.title.as_str(), page.text.trim());
    assert_eq!(read, (Some(200), "Connected", "Shop is connected."), "{page:?}");
    assert_eq!(page.parameter("state").as_deref(), Some("state-1"));
    assert_eq!(page.parameter("iss"), Some(authority.issuer.clone()));
    let last = page.visited.last().expect("a request");
    assert_eq!((last.method.as_str(), last.status), ("GET", Some(200)));
    assert_eq!(last.url, format!("{redirect_uri}?code=…&state=…&iss=…"));
    assert_eq!(
        page.visited.iter().filter(|visited| visited.method == "POST").count(),
        2,
        "login and consent: {page:?}"
    );
    assert!(page.callback.is_none() && page.console.is_empty(), "{page:?}");
    assert_eq!(shop.calls_of(&page.url[shop.url.len()..]).len(), 1, "{:?}", shop.calls());
    let session = page.cookies.iter().find(|cookie| cookie.name == "_session").expect("a session");
    assert_eq!((session.origin.as_str(), session.is_empty), (authority.issuer.as_str(), false));
    assert_eq!((&session.attributes["httponly"], &session.attributes["samesite"]), (&json!(true), &json!("lax")));
    assert!(session.refused.is_empty() && !session.attributes.contains_key("secure"), "{session:?}");

    // Wrong verifier, none, right, once more.
    let code = page.parameter("code").expect("a code");
    assert_refused(
        &exchange(&authority, &redirect_uri, &code, &VERIFIER.replace('a', "b")).await,
        400,
        "invalid_grant",
    );
    let pairs = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", &redirect_uri)];
    assert_refused(&token(&authority, &pairs).await, 400, "invalid_grant");
    let got = exchange(&authority, &redirect_uri, &code, VERIFIER).await;
    assert_eq!((got.status, &got.body["scope"]), (200, &json!("openid orders:read orders:write")), "{got:?}");
    assert_eq!(userinfo(&authority, &got.body["access_token"]).await, 200);
    assert_refused(&exchange(&authority, &redirect_uri, &code, VERIFIER).await, 400, "invalid_grant");
    assert_eq!(userinfo(&authority, &got.body["access_token"]).await, 401);

    let events = authority.events().await;
    let of_kind = |kind: &str| events.iter().filter(|event| event["event"] == kind).cloned().collect::<Vec<_>>();
    let grant_id = authority.token_requests().await[2].grant_id.clone().expect("a grant");
    let issued = of_kind("code");
    assert_eq!(issued.len(), 1);
    assert_eq!((&issued[0]["client"], &issued[0]["grant"]), (&json!("shop"), &json!(grant_id)));
    let reused = of_kind("reuse");
    assert_eq!(reused.len(), 1);
    assert_eq!((&reused[0]["what"], &reused[0]["grant"]), (&json!("code"), &json!(grant_id)));
    assert_eq!(of_kind("revoked"), [json!({"event": "revoked", "grant": grant_id})]);

    // What was given out is known to the test, and no event tells it.
    let secrets = authority.secrets().await;
    let told = Value::from(events).to_string();
    let tokens = ["access_token", "refresh_token", "id_token"].map(|name| got.body[name].as_str().expect(name));
    for secret in [tokens.as_slice(), &[&code]].concat() {
        assert!(secrets.iter().any(|known| known == secret) && !told.contains(secret));
    }
}

#[tokio::test]
async fn a_link_without_a_challenge_is_sent_back() {
    let Some(runtime) = runtime() else { return };
    let shop = redirect_listener().await;
    let redirect_uri = format!("{}/cb", shop.url);
    let authority = runtime.authority(json!({"clients": [confidential("shop", SECRET, &redirect_uri)]})).await;
    let browser = runtime.browser().await;
    let without = [("code_challenge", ""), ("code_challenge_method", "")];
    let error = |page: &Page| page.parameter("error");
    let page = browser.visit(Visit::to(&link(&authority, &redirect_uri, &without))).await;
    assert_eq!(error(&page).as_deref(), Some("invalid_request"), "{page:?}");
    let page = browser.visit(Visit::to(&link(&authority, &redirect_uri, &[("code_challenge_method", "plain")]))).await;
    assert_eq!(error(&page).as_deref(), Some("invalid_request"), "{page:?}");
    let told = authority.event("the refusal", |event| event["event"] == "authorization.error").await;
    assert_eq!((&told["client"], &told["error"]), (&json!("shop"), &json!("invalid_request")));
    // Nor is anybody sent to an address that the client has not registered.
    let page = browser.visit(Visit::to(&link(&authority, &format!("{redirect_uri}/other"), &[]))).await;
    assert!(page.status == Some(400) && page.url.starts_with(&authority.issuer), "{page:?}");
    assert!(page.console.iter().all(|error| error.url.starts_with(&authority.issuer) && error.text.contains("400")));
}

#[tokio::test]
async fn a_refresh_token_is_good_for_one_use_and_its_second_use_ends_the_family() {
    let Some(runtime) = runtime() else { return };
    let shop = redirect_listener().await;
    let redirect_uri = format!("{}/cb", shop.url);
    let authority = runtime.authority(json!({"clients": [confidential("shop", SECRET, &redirect_uri)]})).await;
    let browser = runtime.browser().await;
    let first = connect(&authority, &browser, &redirect_uri).await;

    let second = refresh(&authority, &first["refresh_token"]).await;
    assert_eq!(second.status, 200, "{second:?}");
    assert_ne!(second.body["refresh_token"], first["refresh_token"]);
    assert_ne!(second.body["access_token"], first["access_token"]);
    let third = refresh(&authority, &second.body["refresh_token"]).await;
    assert_eq!(userinfo(&authority, &third.body["access_token"]).await, 200);

    assert_refused(&refresh(&authority, &second.body["refresh_token"]).await, 400, "invalid_grant");
    // The newest ones have died with it.
    assert_eq!(userinfo(&authority, &third.body["access_token"]).await, 401);
    assert!(!authority.is_active(third.body["refresh_token"].as_str().expect("a token")).await);
    assert_refused(&refresh(&authority, &third.body["refresh_token"]).await, 400, "invalid_grant");
    let reuse = authority.event("the reuse", |event| event["event"] == "reuse").await;
    let requests = authority.until_token_requests("refresh_token", 4).await;
    let results: Vec<&str> = requests.iter().map(|request| request.result.as_str()).collect();
    assert_eq!(results, ["ok", "ok", "invalid_grant", "invalid_grant"]);
    assert_eq!((&reuse["what"], reuse["grant"].as_str()), (&json!("refresh_token"), requests[0].grant_id.as_deref()));

    // A server that does not rotate gives no new one, and takes the old one again.
    authority.set(json!({"rotate": false})).await;
    let first = connect(&authority, &browser, &redirect_uri).await;
    for _ in 0..2 {
        let again = refresh(&authority, &first["refresh_token"]).await;
        assert_eq!((again.status, &again.body["refresh_token"]), (200, &first["refresh_token"]), "{again:?}");
    }
}

#[tokio::test]
async fn a_person_may_deny_grant_less_and_withdraw() {
    let Some(runtime) = runtime() else { return };
    let shop = redirect_listener().await;
    let redirect_uri = format!("{}/cb", shop.url);
    let authority = runtime.authority(json!({"clients": [confidential("shop", SECRET, &redirect_uri)]})).await;
    let browser = runtime.browser().await;

    let page = browser.visit(Visit::to(&link(&authority, &redirect_uri, &[])).deny()).await;
    assert_eq!((page.parameter("error").as_deref(), page.parameter("code")), (Some("access_denied"), None), "{page:?}");
    assert_eq!(page.parameter("iss"), Some(authority.issuer.clone()));

    authority.set(json!({"withhold": ["orders:write"]})).await;
    let fewer = connect(&authority, &browser, &redirect_uri).await;
    assert_eq!(fewer["scope"], "openid orders:read");

    assert_eq!(authority.revoke("shop").await, 1);
    assert_eq!(userinfo(&authority, &fewer["access_token"]).await, 401);
    assert_refused(&refresh(&authority, &fewer["refresh_token"]).await, 400, "invalid_grant");

    // The client's own way: RFC 7009.
    authority.set(json!({"withhold": []})).await;
    let all = connect(&authority, &browser, &redirect_uri).await;
    assert_eq!(all["scope"], "openid orders:read orders:write");
    let pairs = [("token", all["refresh_token"].as_str().expect("a token"))];
    let headers = [("authorization", basic("shop", SECRET))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(post(&authority.url("/token/revocation"), &headers, &pairs).await.status, 200);
    assert_eq!(userinfo(&authority, &all["access_token"]).await, 401);
    assert_eq!(authority.counts().await["revocation"], 1);
}

#[tokio::test]
async fn the_answer_can_be_kept_back_posted_and_opened_by_somebody_else() {
    let Some(runtime) = runtime() else { return };
    let shop = Stub::start(|call, _| {
        let cookie = ("set-cookie".to_owned(), "seen=yes; Path=/; HttpOnly; Max-Age=60".to_owned());
        let refused = ("set-cookie".to_owned(), "__Host-odd=yes; Path=/; HttpOnly".to_owned());
        let page = format!("<title>{} {}</title><script>undefined.field</script>", call.method, call.header("cookie"));
        Reply::With(200, vec![("content-type".into(), "text/html".into()), cookie, refused], page)
    })
    .await;
    let redirect_uri = format!("{}/cb", shop.url);
    // Another site than the redirect URI's, so that cookies behave as they do between strangers.
    let settings = json!({"host": "localhost", "clients": [confidential("shop", SECRET, &redirect_uri)]});
    let authority = runtime.authority(settings).await;
    assert!(authority.issuer.starts_with("http://localhost:"), "{}", authority.issuer);
    let browser = runtime.browser().await;

    let posted = link(&authority, &redirect_uri, &[("response_mode", "form_post")]);
    for (url, method) in [(link(&authority, &redirect_uri, &[]), "GET"), (posted.clone(), "POST")] {
        let page = browser.visit(Visit::to(&url).stop_before_callback().profile(method)).await;
        let callback = page.callback.expect("a callback");
        assert_eq!(callback.method, method);
        assert!(callback.url.starts_with(&redirect_uri) && shop.calls().is_empty(), "{callback:?}");
        assert_eq!(callback.parameter("state").as_deref(), Some("state-1"), "{callback:?}");
        assert!(callback.parameter("code").is_some_and(|code| !code.is_empty()));
    }

    let page = browser.visit(Visit::to(&posted)).await;
    assert_eq!((page.title.as_str(), page.url.as_str()), ("POST", redirect_uri.as_str()), "{page:?}");
    let of_shop: Vec<_> = page.cookies.iter().filter(|cookie| cookie.origin == shop.url).collect();
    assert_eq!(of_shop.len(), 2, "{of_shop:?}");
    assert_eq!((of_shop[0].name.as_str(), of_shop[0].refused.len()), ("seen", 0), "{of_shop:?}");
    assert_eq!(of_shop[0].attributes["max-age"], "60");
    assert_eq!((of_shop[1].name.as_str(), of_shop[1].refused.len()), ("__Host-odd", 1), "{of_shop:?}");
    assert!(page.console.iter().any(|error| error.text.contains("undefined")), "{page:?}");
    // The cookie is sent by that browser and by no other.
    let titles = [Visit::to(&shop.url), Visit::to(&shop.url).profile("somebody else")];
    for (visit, title) in titles.into_iter().zip(["GET seen=yes", "GET"]) {
        assert_eq!(browser.visit(visit).await.title.trim(), title);
    }
}

#[tokio::test]
async fn a_device_is_let_in_by_a_person_with_a_browser() {
    let Some(runtime) = runtime() else { return };
    let device = json!({"client_id": "shop", "client_secret": SECRET, "grant_types": [DEVICE, "refresh_token"]});
    let authority = runtime.authority(json!({"clients": [device]})).await;
    let headers = [("authorization", basic("shop", SECRET))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let pairs = [("client_id", "shop"), ("scope", "openid orders:read")];
    let begun = post(&authority.url("/device/auth"), &headers, &pairs).await;
    assert_eq!(begun.status, 200, "{begun:?}");
    let code = begun.body["device_code"].as_str().expect("a code");
    let pairs = [("grant_type", DEVICE), ("device_code", code)];
    assert_refused(&token(&authority, &pairs).await, 400, "authorization_pending");
    let url = begun.body["verification_uri_complete"].as_str().expect("an address");
    let page = runtime.browser().await.visit(Visit::to(url)).await;
    assert_eq!((page.status, page.title.as_str()), (Some(200), "Sign-in Success"), "{page:?}");
    let got = token(&authority, &pairs).await;
    assert_eq!((got.status, &got.body["scope"]), (200, &json!("openid orders:read")), "{got:?}");
    assert_eq!(refresh(&authority, &got.body["refresh_token"]).await.status, 200);
}

#[tokio::test]
async fn a_proof_of_possession_binds_a_token_and_may_need_the_servers_nonce() {
    let Some(runtime) = runtime() else { return };
    let authority = runtime.authority(json!({"clients": [machine(json!({}))]})).await;
    let key = Key::new();
    let with = async |proof: &str| {
        let headers = [("authorization", &*basic("shop", SECRET)), ("dpop", proof)];
        post(&authority.url("/token"), &headers, &[("grant_type", "client_credentials")]).await
    };
    let proof = key.proof(&authority, "1", None);
    assert_eq!(with(&proof).await.body["token_type"], "DPoP");
    assert_refused(&with(&proof).await, 400, "invalid_grant");
    authority.set(json!({"dpop_nonce": true})).await;
    let refused = with(&key.proof(&authority, "2", None)).await;
    assert_refused(&refused, 400, "use_dpop_nonce");
    let got = with(&key.proof(&authority, "3", Some(&refused.headers["dpop-nonce"]))).await;
    assert_eq!((got.status, &got.body["token_type"]), (200, &json!("DPoP")), "{got:?}");
    assert!(authority.token_requests().await.iter().all(|request| request.dpop));
}

#[tokio::test]
async fn each_fault_comes_as_often_as_it_was_ordered_and_then_all_is_well() {
    let Some(runtime) = runtime() else { return };
    let authority = runtime.authority(json!({"clients": [machine(json!({}))]})).await;
    let url = authority.url("/token");
    let credentials = basic("shop", SECRET);
    let ask =
        async || try_post(&url, &[("authorization", &credentials)], &[("grant_type", "client_credentials")]).await;

    type Seen<'a> = (u16, &'a str, &'a str);
    let answered: [(Fault, Seen<'_>); 4] = [
        (Fault::broken(), (500, "text/plain", "it broke")),
        (Fault::too_many("7"), (429, "application/json", "temporarily_unavailable")),
        (Fault::html(), (200, "text/html", "<!DOCTYPE html>")),
        (Fault::answer(400, &[("content-type", "application/json")], "{"), (400, "application/json", "{")),
    ];
    for (fault, (status, content_type, text)) in answered {
        for acted in [false, true] {
            let fault = if acted { fault.clone().after_acting() } else { fault.clone() };
            let known = authority.secrets().await.len();
            authority.fault(fault.times(2)).await;
            for _ in 0..2 {
                let (got, headers, body) = ask().await.expect("an answer");
                assert_eq!((got, headers["content-type"].as_str()), (status, content_type));
                assert!(body.starts_with(text) || body.contains(text), "{body}");
                assert_eq!(headers.get("retry-after").map(String::as_str), (status == 429).then_some("7"));
            }
            // Where it has acted there are tokens that nobody got.
            assert_eq!(authority.secrets().await.len(), known + if acted { 2 } else { 0 });
            assert_eq!(ask().await.expect("an answer").0, 200);
            let requests = authority.token_requests().await;
            let last = requests.iter().rev().take(3).rev();
            let result = if acted { "ok" } else { "not_asked" };
            let told: Vec<_> = last.map(|request| (request.status, request.result.as_str(), request.fault)).collect();
            assert_eq!(told, [(Some(status), result, true), (Some(status), result, true), (Some(200), "ok", false)]);
        }
    }
    for cut in [Cut::Answer, Cut::Headers, Cut::Body] {
        for acted in [false, true] {
            let known = authority.secrets().await.len();
            let fault = Fault::cut(cut);
            authority.fault(if acted { fault.after_acting() } else { fault }).await;
            ask().await.expect_err("a connection that breaks off");
            assert_eq!(authority.secrets().await.len(), known + usize::from(acted), "{cut:?} {acted}");
            let requests = authority.token_requests().await;
            assert_eq!(requests.last().expect("a request").status, None);
            assert_eq!(ask().await.expect("an answer").0, 200);
        }
    }
}

#[tokio::test]
async fn a_slow_answer_comes_late_and_a_held_one_when_it_is_released() {
    let Some(runtime) = runtime() else { return };
    let authority = runtime.authority(json!({"clients": [machine(json!({}))]})).await;
    let pairs = [("grant_type", "client_credentials")];
    let delay = Duration::from_millis(300);
    for fault in [Fault::delay(delay), Fault::delay(delay).after_acting()] {
        authority.fault(fault).await;
        let start = Instant::now();
        assert_eq!(token(&authority, &pairs).await.status, 200);
        assert!(start.elapsed() >= delay, "{:?}", start.elapsed());
    }

    let known = authority.secrets().await.len();
    authority.fault(Fault::hold().times(2)).await;
    let held = async {
        authority.until_held(2).await;
        // They wait before the server has acted, and nobody else does.
        assert_eq!(authority.secrets().await.len(), known);
        assert_eq!(token(&authority, &pairs).await.status, 200);
        assert_eq!(authority.release().await, 2);
    };
    let (one, two, ()) = tokio::join!(token(&authority, &pairs), token(&authority, &pairs), held);
    assert_eq!((one.status, two.status), (200, 200));

    authority.fault(Fault::hold().after_acting()).await;
    let held = async {
        authority.until_held(3).await;
        assert_eq!(authority.secrets().await.len(), known + 4);
        authority.clear_faults().await;
    };
    assert_eq!(tokio::join!(token(&authority, &pairs), held).0.status, 200);

    // Only where and for what it was ordered, and no longer than until it was withdrawn.
    authority.fault(Fault::broken().of_grant("refresh_token")).await;
    authority.fault(Fault::broken().at("discovery")).await;
    assert_eq!(token(&authority, &pairs).await.status, 200);
    let answer = client().get(authority.url("/.well-known/openid-configuration")).send().await.expect("an answer");
    assert_eq!(answer.status(), 500);
    let nothing = [("grant_type", "refresh_token"), ("refresh_token", "unknown")];
    assert_eq!(token(&authority, &nothing).await.status, 500);
    authority.fault(Fault::broken().times(9)).await;
    authority.clear_faults().await;
    assert_eq!(token(&authority, &pairs).await.status, 200);
}
