//! Tools whose tokens are gained by a signature, a certificate or one refresh for many: how the running bridge proves who it is.

use crate::authority::{connect, redirect_listener};
use crate::certificates::{TLS_13, identity, pem, requiring};
use crate::connected::{connected, connections, everything_written};
use crate::support::authority::{Fault, confidential, runtime};
use crate::support::work::{ALLOW, attempts, bridge, decided, decisions, ended, send, show, tool};
use crate::support::{Bridge, Call, Reply, Stub};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clawbridge_clock::Timestamp;
use clawbridge_connections::ConnectionName;
use clawbridge_oauth::TokenSet;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use rustls::ServerConfig;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

fn set_secret(bridge: &Bridge, name: &str, value: &str) {
    let answer = bridge.run_with_input(&["secret", "set", &format!("clawbridge/providers/{name}")], value);
    assert_eq!(answer.status, 0, "{answer:?}");
}

fn decoded(part: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(part).expect("base64url")
}

/// Header and claims of a JWT, unverified.
fn read(jwt: &str) -> (Value, Value) {
    let parts: Vec<&str> = jwt.split('.').collect();
    assert_eq!(parts.len(), 3, "a JWT has three parts");
    let json = |part: &str| serde_json::from_slice(&decoded(part)).expect("JSON");
    (json(parts[0]), json(parts[1]))
}

/// What is signed, and the signature.
fn signed(jwt: &str) -> (&[u8], Vec<u8>) {
    let (input, signature) = jwt.rsplit_once('.').expect("a signature");
    (input.as_bytes(), decoded(signature))
}

fn pem_of(pkcs8: &[u8]) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(pkcs8))
}

/// A field of a form.
fn field(body: &[u8], name: &str) -> Option<String> {
    let url = format!("http://form/?{}", String::from_utf8_lossy(body));
    let url = reqwest::Url::parse(&url).expect("a form");
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The claims of the one proof of a call (RFC 9449, 4.3): signed by the key that it names, for this method and address and this token.
fn proof(call: &Call, url: &str) -> Value {
    let jwt = call.header("dpop");
    let (header, claims) = read(jwt);
    assert_eq!((&header["typ"], &header["alg"]), (&json!("dpop+jwt"), &json!("ES256")));
    let coordinate = |name: &str| decoded(header["jwk"][name].as_str().expect("a coordinate"));
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    let (input, signature) = signed(jwt);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(input, &signature).expect("its signature");
    let token = call.header("authorization").strip_prefix("DPoP ").expect("the scheme DPoP");
    assert_eq!((&claims["htm"], &claims["htu"]), (&json!("POST"), &json!(url)));
    assert_eq!(claims["ath"], URL_SAFE_NO_PAD.encode(Sha256::digest(token)));
    assert!(header["jwk"].get("d").is_none(), "the private key is in the proof");
    claims
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_tasks_that_want_one_expired_token_refresh_it_once() {
    const TASKS: usize = 200;
    let Some(runtime) = runtime() else { return };
    let shop = redirect_listener().await;
    let redirect_uri = format!("{}/cb", shop.url);
    let client = confidential("shop", crate::authority::SECRET, &redirect_uri);
    let authority = runtime.authority(json!({"clients": [client]})).await;
    let gained = connect(&authority, &runtime.browser().await, &redirect_uri).await;
    let stub = Stub::start(|_, _| Reply::Json(200, json!({}))).await;
    let provider = format!(
        "\n[providers.crm]\ntoken_url = \"{}\"\nauthorize_url = \"{}\"\nclient_id = \"shop\"\n\
         secret = \"clawbridge/providers/crm\"\n",
        authority.url("/token"),
        authority.url("/auth")
    );
    let bridge =
        bridge(&(tool("t", "POST", &format!("{}/api", stub.url), &connected("crm/main")) + &provider + ALLOW)).await;
    set_secret(&bridge, "crm", crate::authority::SECRET);
    let now = Timestamp::now();
    let set = json!({
        "v": 1, "generation": 1, "kind": "bearer", "scopes": [], "obtained_at": now.minus(Duration::from_secs(7200)),
        "expires_at": now.minus(Duration::from_secs(3600)),
        "access_token": gained["access_token"], "refresh_token": gained["refresh_token"],
    });
    let set = TokenSet::read(set.to_string().as_bytes()).expect("a token set");
    let name: ConnectionName = "crm/main".parse().expect("a name");
    connections(&bridge).connect(&name, set, vec![]).await.expect("a connection");

    // The answer is kept back until all tasks are there: they meet.
    authority.fault(Fault::hold().of_grant("refresh_token")).await;
    futures_util::future::join_all((0..TASKS).map(|n| send(&bridge, "t", json!({"n": n})))).await;
    authority.until_held(1).await;
    assert_eq!(stub.connections(), 0);
    assert_eq!(authority.release().await, 1);
    crate::support::eventually("all tasks have succeeded", || {
        let succeeded = decisions(&bridge, "t").iter().filter(|decision| *decision == "succeeded").count();
        async move { (succeeded >= TASKS).then_some(()) }
    })
    .await;
    let refreshes: Vec<_> =
        authority.token_requests().await.into_iter().filter(|request| request.grant == "refresh_token").collect();
    assert_eq!(refreshes.len(), 1, "{refreshes:?}");
    assert_eq!(refreshes[0].result, "ok");
    let calls = stub.calls_of("/api");
    let carried: BTreeSet<&str> = calls.iter().map(|call| call.header("authorization")).collect();
    assert_eq!((calls.len(), carried.len()), (TASKS, 1));
    let token = carried.first().and_then(|header| header.strip_prefix("Bearer ")).expect("a token");
    assert_ne!(gained["access_token"], token);
    assert!(authority.is_active(token).await);
    assert!(authority.events().await.iter().all(|event| event["event"] != "reuse"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_proves_itself_with_its_key_and_the_call_carries_the_token() {
    let Some(runtime) = runtime() else { return };
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).expect("a key");
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "kid": "key-1", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    });
    let authority = runtime
        .authority(json!({"clients": [{
            "client_id": "signer", "grant_types": ["client_credentials"], "jwks": {"keys": [jwk]},
            "token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256",
        }]}))
        .await;
    let stub = Stub::start(|_, _| Reply::Json(200, json!({}))).await;
    let provider = format!(
        "\n[providers.crm]\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\nclient_id = \"signer\"\n\
         client_auth = \"private_key_jwt\"\nsecret = \"clawbridge/providers/crm\"\n\
         jwt = {{ algorithm = \"ES256\", key_id = \"key-1\", audience = \"{}\" }}\n",
        authority.url("/token"),
        authority.issuer
    );
    let bridge =
        bridge(&(tool("t", "POST", &format!("{}/api", stub.url), &connected("crm/main")) + &provider + ALLOW)).await;
    let key = pem_of(document.as_ref());
    set_secret(&bridge, "crm", &key);
    send(&bridge, "t", json!({})).await;
    let line = ended(&bridge, "t").await;
    assert_eq!(line["decision"], "succeeded", "{line}");
    let requests = authority.token_requests().await;
    assert_eq!(requests.len(), 1, "{requests:?}");
    let told = (requests[0].client.as_str(), requests[0].authentication.as_str(), requests[0].result.as_str());
    assert_eq!(told, ("signer", "private_key_jwt", "ok"));
    let calls = stub.calls_of("/api");
    let token = calls[0].header("authorization").strip_prefix("Bearer ").expect("a token");
    assert!(calls.len() == 1 && authority.is_active(token).await);
    let written = everything_written(&bridge).await;
    assert!(!written.contains(token) && !written.contains(&STANDARD.encode(document.as_ref())), "a secret was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_token_is_shown_with_a_proof_and_once_more_with_the_nonce_that_the_api_wants() {
    let Some(runtime) = runtime() else { return };
    let authority = runtime
        .authority(json!({"dpop_nonce": true, "clients": [{
            "client_id": "shop", "client_secret": crate::authority::SECRET, "grant_types": ["client_credentials"],
            "dpop_bound_access_tokens": true,
        }]}))
        .await;
    let stub = Stub::start(|call, _| {
        let proof = call.header("dpop");
        if !proof.is_empty() && read(proof).1["nonce"] == "nonce-1" {
            return Reply::Json(200, json!({}));
        }
        let challenge = "DPoP error=\"use_dpop_nonce\"".to_owned();
        let headers = vec![("www-authenticate".to_owned(), challenge), ("dpop-nonce".to_owned(), "nonce-1".to_owned())];
        Reply::With(401, headers, String::new())
    })
    .await;
    let url = format!("{}/api", stub.url);
    let provider = format!(
        "\n[providers.crm]\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\nclient_id = \"shop\"\n\
         client_auth = \"basic\"\nsecret = \"clawbridge/providers/crm\"\ndpop = true\n",
        authority.url("/token")
    );
    let bridge =
        bridge(&(tool("t", "POST", &format!("{url}?page=1"), &connected("crm/main")) + &provider + ALLOW)).await;
    set_secret(&bridge, "crm", crate::authority::SECRET);
    send(&bridge, "t", json!({})).await;
    let line = ended(&bridge, "t").await;
    assert_eq!(line["decision"], "succeeded", "{line}");
    let requests = authority.token_requests().await;
    let told: Vec<_> = requests.iter().map(|request| (request.dpop, request.result.as_str())).collect();
    assert_eq!(told, [(true, "use_dpop_nonce"), (true, "ok")]);
    let calls = stub.calls();
    assert_eq!(calls.len(), 2, "{calls:?}");
    let (first, second) = (proof(&calls[0], &url), proof(&calls[1], &url));
    assert_eq!((first.get("nonce"), &second["nonce"]), (None, &json!("nonce-1")));
    assert_ne!(first["jti"], second["jti"]);
    assert_eq!(calls[0].header("authorization"), calls[1].header("authorization"));
}

/// A service account whose tokens are of this stub: the tool's part and the provider's.
fn service_account(stub: &Stub) -> String {
    let provider = format!(
        "\n[providers.google]\ngrant = \"jwt_bearer\"\ntoken_url = \"{0}/token\"\nclient_auth = \"none\"\n\
         secret = \"clawbridge/providers/google\"\nscopes = [\"drive.readonly\", \"calendar\"]\n\
         jwt = {{ algorithm = \"RS256\", audience = \"https://tokens.example/token\", scope_claim = true }}\n",
        stub.url
    );
    tool("t", "POST", &format!("{}/api", stub.url), &connected("google/main")) + &provider + ALLOW
}

/// The JSON file of a service account, with the key of `keys/`.
fn key_file() -> String {
    let key = std::fs::read(crate::support::root().join("tests/bridge/keys/provider.pk8")).expect("a key");
    let email = "bridge@project.iam.example";
    json!({"type": "service_account", "private_key_id": "key-7", "private_key": pem_of(&key), "client_email": email})
        .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_account_signs_for_one_token_that_many_tasks_use() {
    let stub = Stub::start(|call, _| match call.path.as_str() {
        "/token" => Reply::Json(200, json!({"access_token": "the-token", "token_type": "Bearer", "expires_in": 3599})),
        _ => Reply::Json(200, json!({})),
    })
    .await;
    let bridge = bridge(&service_account(&stub)).await;
    set_secret(&bridge, "google", &key_file());
    let before = Timestamp::now().seconds();
    for n in 0..5 {
        send(&bridge, "t", json!({"n": n})).await;
    }
    assert_eq!(decided(&bridge, "t", 5).await, ["succeeded"; 5]);
    assert!(stub.calls_of("/api").iter().all(|call| call.header("authorization") == "Bearer the-token"));

    let asked = stub.calls_of("/token");
    assert_eq!(asked.len(), 1, "{asked:?}");
    let body = &asked[0].body;
    assert_eq!(field(body, "grant_type").as_deref(), Some("urn:ietf:params:oauth:grant-type:jwt-bearer"));
    assert_eq!((field(body, "scope"), field(body, "client_assertion")), (None, None));
    let assertion = field(body, "assertion").expect("an assertion");
    let (header, claims) = read(&assertion);
    assert_eq!(header, json!({"alg": "RS256", "typ": "JWT", "kid": "key-7"}));
    let email = json!("bridge@project.iam.example");
    assert_eq!((&claims["iss"], &claims["sub"]), (&email, &email));
    let said = (&claims["aud"], &claims["scope"]);
    assert_eq!(said, (&json!("https://tokens.example/token"), &json!("drive.readonly calendar")));
    let time = |name: &str| claims[name].as_i64().expect("a time");
    let (from, until) = (time("iat"), time("exp"));
    let now = Timestamp::now().seconds();
    assert!(from <= now && from >= before - 60 && until > now && until - from <= 180, "{claims}");
    let keys = std::fs::read(crate::support::root().join("tests/bridge/keys/provider.jwks.json")).expect("keys");
    let keys: Value = serde_json::from_slice(&keys).expect("JSON");
    let part = |name: &str| decoded(keys["keys"][0][name].as_str().expect("a part of the key"));
    let (input, signature) = signed(&assertion);
    let public = RsaPublicKeyComponents { n: part("n"), e: part("e") };
    public.verify(&RSA_PKCS1_2048_8192_SHA256, input, &signature).expect("its signature");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_a_service_account_that_is_refused_wait() {
    let stub = Stub::start(|call, _| match call.path.as_str() {
        "/token" => Reply::Json(400, json!({"error": "invalid_grant"})),
        _ => Reply::Json(200, json!({})),
    })
    .await;
    let bridge = bridge(&service_account(&stub)).await;
    set_secret(&bridge, "google", &key_file());
    send(&bridge, "t", json!({})).await;
    decided(&bridge, "t", 1).await;
    let line = &attempts(&bridge, "t")[0];
    assert_eq!((&line["decision"], &line["code"]), (&json!("retry"), &json!("CONNECTION_EXPIRED")), "{line}");
    assert!(stub.calls_of("/api").is_empty() && !stub.calls_of("/token").is_empty());
}

/// A certificate (DER) and the body of the request that came with it.
type Seen = (Vec<u8>, Vec<u8>);

/// A token endpoint that gives tokens to those who show a certificate of the authority that it wants. It notes the certificate and the body.
#[derive(Clone)]
struct TokenServer {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl TokenServer {
    async fn start(config: Arc<ServerConfig>) -> TokenServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://{}/token", listener.local_addr().expect("an address"));
        let server = TokenServer { url, seen: Arc::default() };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream, config.clone()));
            }
        });
        server
    }

    async fn serve(self, stream: TcpStream, config: Arc<ServerConfig>) {
        let mut stream = match TlsAcceptor::from(config).accept(stream).into_fallible().await {
            Ok(stream) => stream,
            Err((_, mut stream)) => {
                // What the client has sent is read, or closing would take the alert away before the client has read it.
                drop(stream.shutdown().await);
                drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
                return;
            }
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map(|shown| shown.to_vec());
        let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
        let body = loop {
            if let Some(body) = whole_body(&bytes) {
                break body;
            }
            match stream.read(&mut chunk).await {
                Ok(count) if count > 0 => bytes.extend_from_slice(&chunk[..count]),
                _ => return,
            }
        };
        self.seen.lock().expect("seen").push((shown.unwrap_or_default(), body));
        let body = json!({"access_token": "the-token", "token_type": "Bearer", "expires_in": 3600}).to_string();
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length";
        drop(stream.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes()).await);
        drop(stream.shutdown().await);
    }
}

/// The body of a request, once all of it is there.
fn whole_body(bytes: &[u8]) -> Option<Vec<u8>> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    bytes.get(end + 4..end + 4 + length).map(<[u8]>::to_vec)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_proves_itself_with_its_certificate_and_no_other_one_is_given_tokens() {
    let server = TokenServer::start(requiring("first-authority", TLS_13)).await;
    let stub = Stub::start(|_, _| Reply::Json(200, json!({}))).await;
    let provider = |name: &str, proof: &str, tls: &str| {
        format!(
            "\n[providers.{name}]\ngrant = \"client_credentials\"\ntoken_url = \"{}\"\nclient_id = \"the-bridge\"\n{proof}\n\
             tls = {{ {tls}ca = \"clawbridge/providers/authority\" }}\n",
            server.url
        )
    };
    let with = |secret: &str| format!("secret = \"clawbridge/providers/{secret}\", ");
    let call = |name: &str| tool(name, "POST", &format!("{}/{name}", stub.url), &connected(&format!("{name}/main")));
    let config = call("good")
        + &call("other")
        + &call("bare")
        + &provider("good", "client_auth = \"tls\"", &with("first"))
        + &provider("other", "client_auth = \"tls\"", &with("second"))
        + &provider("bare", "client_auth = \"post\"\nsecret = \"clawbridge/providers/bare\"", "")
        + ALLOW;
    let bridge = bridge(&config).await;
    set_secret(&bridge, "first", &identity("first-client"));
    set_secret(&bridge, "second", &identity("second-client"));
    set_secret(&bridge, "authority", &pem("first-authority.pem"));
    set_secret(&bridge, "bare", "a-client-secret");
    send(&bridge, "good", json!({})).await;
    let line = ended(&bridge, "good").await;
    assert_eq!(line["decision"], "succeeded", "{line}");
    assert_eq!(stub.calls_of("/good")[0].header("authorization"), "Bearer the-token");
    for name in ["other", "bare"] {
        send(&bridge, name, json!({})).await;
        decided(&bridge, name, 1).await;
        let line = &attempts(&bridge, name)[0];
        assert_eq!((&line["decision"], &line["code"]), (&json!("retry"), &json!("CREDENTIAL_UNAVAILABLE")), "{line}");
        let record = show(&bridge, line);
        let message = record["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("refuses the client certificate"), "{record}");
        assert!(stub.calls_of(&format!("/{name}")).is_empty());
    }
    let seen = server.seen.lock().expect("seen").clone();
    assert_eq!(seen.len(), 1, "{seen:?}");
    let (certificate, body) = &seen[0];
    assert!(pem("first-client.pem").replace('\n', "").contains(&STANDARD.encode(certificate)), "another certificate");
    let given = (field(body, "client_id"), field(body, "client_secret"), field(body, "client_assertion"));
    assert_eq!(given, (Some("the-bridge".to_owned()), None, None));
    assert_eq!(field(body, "grant_type").as_deref(), Some("client_credentials"));
}
