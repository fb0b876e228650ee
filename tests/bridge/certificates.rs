//! Mutual TLS: tools that show a certificate to servers that want one. The certificates are in `certificates/`.

use crate::support::work::{ALLOW, bridge, decided, ended, send, show, tool};
use crate::support::{Bridge, Options, eventually};
use crate::tool_commands::{call, set_secret};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

pub(crate) fn pem(name: &str) -> String {
    let path = crate::support::root().join("tests/bridge/certificates").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A certificate and its key, as a secret holds them.
pub(crate) fn identity(name: &str) -> String {
    format!("{}{}", pem(&format!("{name}.pem")), pem(&format!("{name}.key")))
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem(&format!("{name}.pem")).as_bytes()).expect("a certificate")
}

/// What a server accepts clients by.
pub(crate) fn requiring(authority: &str, versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate(authority)).expect("an authority");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let key = PrivateKeyDer::from_pem_slice(pem("server.key").as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_client_cert_verifier(verifier.expect("a verifier"))
        .with_single_cert(vec![certificate("server")], key);
    Arc::new(config.expect("a configuration"))
}

/// A server that answers with the name of the client's certificate, to those who have one of the authority that it wants.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) url: String,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    /// Whose requests came through, and when.
    served: Arc<Mutex<Vec<(&'static str, Instant)>>>,
}

impl Server {
    pub(crate) async fn start(config: Arc<ServerConfig>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://{}/", listener.local_addr().expect("an address"));
        let server = Server { url, config: Arc::new(Mutex::new(config)), served: Arc::default() };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let config = serving.config.lock().expect("config").clone();
                tokio::spawn(serve(stream, config, serving.served.clone()));
            }
        });
        server
    }

    fn served(&self) -> Vec<(&'static str, Instant)> {
        self.served.lock().expect("served").clone()
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.served().into_iter().map(|(name, _)| name).collect()
    }
}

async fn serve(stream: TcpStream, config: Arc<ServerConfig>, served: Arc<Mutex<Vec<(&'static str, Instant)>>>) {
    let mut stream = match TlsAcceptor::from(config).accept(stream).into_fallible().await {
        Ok(stream) => stream,
        Err((_, mut stream)) => {
            // What the client has sent is read, or closing would take the alert away before the client has read it.
            drop(stream.shutdown().await);
            drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
            return;
        }
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
    let name = ["first-client", "second-client"].into_iter().find(|name| shown == Some(certificate(name)));
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut chunk = [0; 1024];
        match stream.read(&mut chunk).await {
            Ok(count) if count > 0 => request.extend_from_slice(&chunk[..count]),
            _ => return,
        }
    }
    let name = name.expect("a client that is known");
    served.lock().expect("served").push((name, Instant::now()));
    let body = json!({ "client": name }).to_string();
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    drop(stream.write_all((head + &body).as_bytes()).await);
    drop(stream.shutdown().await);
}

pub(crate) const TLS_13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
const TLS_12: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_shows_its_certificate_and_trusts_its_authority() {
    for versions in [TLS_13, TLS_12] {
        let server = Server::start(requiring("first-authority", versions)).await;
        let tls = |names: &str| format!("tls = {{ {names} }}\nattempts = 1");
        let (secret, ca) = ("secret = \"clawbridge/tools/client\"", "ca = \"clawbridge/tools/authority\"");
        let other = "secret = \"clawbridge/tools/other\"";
        let config = tool("good", "POST", &server.url, &tls(&format!("{secret}, {ca}")))
            + &tool("bare", "POST", &server.url, &tls(ca))
            + &tool("other", "POST", &server.url, &tls(&format!("{other}, {ca}")))
            + &tool("distrusting", "POST", &server.url, &tls(secret))
            + ALLOW;
        let bridge = bridge(&config).await;
        set_secret(&bridge, "client", &identity("first-client"));
        set_secret(&bridge, "other", &identity("second-client"));
        set_secret(&bridge, "authority", &pem("first-authority.pem"));
        assert_eq!(call(&bridge, "good", &json!({}))["result"], json!({"client": "first-client"}));
        for (name, code, class, says) in [
            ("bare", "AUTHENTICATION_FAILED", "auth", "refuses the client certificate"),
            ("other", "AUTHENTICATION_FAILED", "auth", "refuses the client certificate"),
            ("distrusting", "UNAVAILABLE", "transient", "certificate"),
        ] {
            send(&bridge, name, json!({})).await;
            let record = show(&bridge, &ended(&bridge, name).await);
            let error = &record["error"];
            // The tools are unsafe, and what was refused in the handshake has not acted.
            assert_eq!(
                (&record["state"], &error["code"], &error["class"], &error["may_have_acted"]),
                (&json!("failed"), &json!(code), &json!(class), &json!(false)),
                "{name}: {record}"
            );
            assert!(error["message"].as_str().is_some_and(|text| text.contains(says)), "{name}: {error}");
        }
        assert_eq!(server.names(), ["first-client"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_certificate_is_shown_without_a_deploy() {
    let server = Server::start(requiring("first-authority", TLS_13)).await;
    let tls = "tls = { secret = \"clawbridge/tools/client\", ca = \"clawbridge/tools/authority\" }";
    let bridge = bridge(&(tool("call", "POST", &server.url, tls) + ALLOW)).await;
    set_secret(&bridge, "client", &identity("first-client"));
    set_secret(&bridge, "authority", &pem("first-authority.pem"));
    send(&bridge, "call", json!(1)).await;
    ended(&bridge, "call").await;
    // A value younger than a second is not read again.
    let read_at = server.served()[0].1;
    eventually("the value is a second old", || async move {
        (read_at.elapsed() > Duration::from_millis(1_100)).then_some(())
    })
    .await;
    *server.config.lock().expect("config") = requiring("second-authority", TLS_13);
    set_secret(&bridge, "client", &identity("second-client"));
    for n in 2..=3 {
        send(&bridge, "call", json!(n)).await;
        assert!(decided(&bridge, "call", n).await.iter().all(|decision| decision == "succeeded"));
    }
    assert_eq!(server.names(), ["first-client", "second-client", "second-client"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_holds_no_certificate_and_key_says_what_is_wrong_and_nothing_of_itself() {
    let server = Server::start(requiring("first-authority", TLS_13)).await;
    let tls = "tls = { secret = \"clawbridge/tools/client\", ca = \"clawbridge/tools/authority\" }";
    let bridge = bridge(&(tool("call", "POST", &server.url, tls) + ALLOW)).await;
    let (good, authority) = (identity("first-client"), pem("first-authority.pem"));
    let mixed = pem("first-client.pem") + &pem("second-client.key");
    let broken = good.replace("BEGIN CERTIFICATE-----\n", "BEGIN CERTIFICATE-----\n!");
    for (client, authority, says) in [
        ("hunter2", authority.as_str(), "tools/client holds no certificate in PEM"),
        (&pem("first-client.pem"), &authority, "tools/client holds no private key in PEM"),
        (&pem("first-client.key"), &authority, "tools/client holds no certificate in PEM"),
        (&mixed, &authority, "tools/client does not hold a certificate and its key"),
        (&broken, &authority, "tools/client holds no certificate in PEM"),
        (&good, "hunter2", "tools/authority holds no certificate in PEM"),
        (&good, &good.replace("CERTIFICATE", "CERTIFICAT"), "tools/authority holds no certificate in PEM"),
    ] {
        set_secret(&bridge, "client", client);
        set_secret(&bridge, "authority", authority);
        let error = call(&bridge, "call", &json!({}))["error"].clone();
        assert_eq!((&error["code"], &error["class"]), (&json!("CREDENTIAL_UNAVAILABLE"), &json!("auth")), "{error}");
        let message = error["message"].as_str().unwrap_or_default();
        assert!(message.contains(says) && message.contains("clawbridge secret set"), "{says}: {message}");
        let key = pem("first-client.key");
        let line = key.lines().nth(1).expect("a line of the key");
        assert!(!message.contains("hunter2") && !message.contains(&line[..16]), "{message}");
    }
    assert!(server.names().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorder_shows_the_tools_certificate_and_its_recording_needs_none() {
    let server = Server::start(requiring("first-authority", TLS_13)).await;
    let tls = "tls = { secret = \"clawbridge/tools/client\", ca = \"clawbridge/tools/authority\" }";
    let config = tool("good", "POST", &server.url, tls) + ALLOW;
    let files = tempfile::TempDir::new().expect("a directory");
    let start = |how: &str| {
        let args = vec![how.to_owned(), files.path().to_str().expect("a path").to_owned()];
        Bridge::start_with(Options { config: Some(config.clone()), args })
    };
    let bridge = start("--record").await;
    set_secret(&bridge, "client", &identity("first-client"));
    set_secret(&bridge, "authority", &pem("first-authority.pem"));
    assert_eq!(call(&bridge, "good", &json!({}))["result"], json!({"client": "first-client"}));
    assert_eq!(server.names(), ["first-client"]);
    let file = std::fs::read_to_string(files.path().join("0001-good.json")).expect("an exchange");
    assert!(file.contains(&server.url) && !file.contains("CERTIFICATE"), "{file}");

    let bridge = start("--replay").await;
    assert_eq!(call(&bridge, "good", &json!({}))["result"], json!({"client": "first-client"}));
    assert_eq!(server.names().len(), 1);
}
