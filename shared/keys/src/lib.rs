//! Providers' public keys (certificates, key sets), fetched when a request needs one and kept.
//!
//! Only addresses that a scheme has passed are fetched ([`Wanted`]). Strangers can name such addresses too, so fetches are bounded: so many at
//! once and then one a second; what does not exist is remembered as such. Redirects are not followed, answers are read to a bound, and
//! nothing is set up before the first fetch.

mod kept;

use bytes::Bytes;
use clawbridge_signatures::Wanted;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kept::{Found, Kept};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long one fetch may take, connecting included.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The largest document, bytes. Certificates have 2 KB, Microsoft's key set 20.
const MAX_BYTES: usize = 64 * 1024;

/// Which copy of a document will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// One that was fetched within the last day.
    Kept,
    /// One that was fetched within the last minute: the provider may have changed its keys.
    Newer,
}

/// Why there is no document. The sender should come back, but for [`KeysError::Missing`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// The provider did not answer with one.
    #[error("{host} did not answer with its keys: {reason}")]
    Unavailable {
        /// Whose.
        host: String,
        /// What happened.
        reason: String,
    },
    /// The provider says that there is none at this address, which the request named.
    #[error("{host} has no keys at the address that the request names")]
    Missing {
        /// Whose.
        host: String,
    },
    /// Too many were asked for: nothing was fetched.
    #[error("too many keys were asked for within a short time; nothing was fetched")]
    Throttled,
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// The documents of one execution environment. Clones share them.
#[derive(Clone, Debug)]
pub struct Keys {
    mirror: Option<Arc<str>>,
    client: Arc<OnceLock<HttpClient>>,
    kept: Arc<Mutex<Kept>>,
}

impl Keys {
    /// With a `mirror`, `https://HOST/PATH` is fetched as `MIRROR/HOST/PATH` instead, over http or https: for networks whose way out is a gateway,
    /// and for one machine without the internet.
    #[must_use]
    pub fn new(mirror: Option<String>) -> Keys {
        let mirror = mirror.map(|mirror| Arc::from(mirror.trim_end_matches('/')));
        Keys { mirror, client: Arc::default(), kept: Arc::default() }
    }

    /// The document at the address that a scheme wants.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub async fn get(&self, wanted: &Wanted, freshness: Freshness) -> Result<Arc<[u8]>, KeysError> {
        match self.lock().find(wanted.url(), freshness, Instant::now()) {
            Found::Document(document) => return Ok(document),
            Found::Failed(error) => return Err(error),
            Found::Fetch => {}
        }
        let fetched = self.fetch(wanted.url()).await;
        self.lock().keep(wanted.url(), fetched, Instant::now())
    }

    /// Calls an address that a scheme has passed, for what the call does: SNS begins a subscription so.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub async fn call(&self, url: &str) -> Result<(), KeysError> {
        if !self.lock().may_fetch(Instant::now()) {
            return Err(KeysError::Throttled);
        }
        self.fetch(url).await.map(|_| ())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        // No half-made state between statements, so a panic elsewhere leaves it usable.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self, url: &str) -> Result<Bytes, KeysError> {
        let host = url.split('/').nth(2).unwrap_or_default().to_owned();
        let failed = |reason: String| KeysError::Unavailable { host: host.clone(), reason };
        let url = match (&self.mirror, url.strip_prefix("https://")) {
            (Some(mirror), Some(rest)) => format!("{mirror}/{rest}"),
            _ => url.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| failed("its address cannot be called".into()))?;
        let request = Request::get(uri)
            .header("user-agent", concat!("clawbridge/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| failed(error.to_string()))?;
        let client = self.client().map_err(&failed)?;
        let exchange = async {
            let response = client.request(request).await.map_err(|error| failed(cause(&error)))?;
            if [403, 404, 410].contains(&response.status().as_u16()) {
                return Err(KeysError::Missing { host: host.clone() });
            }
            if response.status() != 200 {
                return Err(failed(format!("status {}", response.status().as_u16())));
            }
            let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
            body.map(|body| body.to_bytes()).map_err(|error| failed(error.to_string()))
        };
        tokio::time::timeout(TIMEOUT, exchange).await.unwrap_or_else(|_| Err(failed("no answer in time".into())))
    }

    fn client(&self) -> Result<HttpClient, String> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls);
        // Only a mirror, which an operator names, may be without TLS.
        let connector = match &self.mirror {
            Some(_) => connector.https_or_http().enable_http1().build(),
            None => connector.https_only().enable_http1().build(),
        };
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(self.client.get_or_init(|| client).clone())
    }
}

/// The innermost cause, which names the trouble.
fn cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// A server that answers each connection with the next of these, and then with nothing. Its address, and what was asked for.
    async fn server(answers: Vec<String>) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        tokio::spawn(async move {
            for answer in answers {
                let (mut socket, _) = listener.accept().await.expect("a connection");
                let mut buffer = vec![0; 4096];
                let read = socket.read(&mut buffer).await.expect("a request");
                let line = String::from_utf8_lossy(&buffer[..read]).lines().next().unwrap_or_default().to_owned();
                noted.lock().expect("a list").push(line);
                socket.write_all(answer.as_bytes()).await.expect("written");
            }
        });
        (address, asked)
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    const URL: &str = "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&Token=t";

    #[tokio::test]
    async fn a_mirror_is_asked_for_the_address_below_its_own() {
        let (mirror, asked) = server(vec![answer("200 OK", "yes")]).await;
        let keys = Keys::new(Some(format!("{mirror}/mirror/")));
        assert_eq!(keys.call(URL).await, Ok(()));
        let expected = "GET /mirror/sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&Token=t HTTP/1.1";
        assert_eq!(*asked.lock().expect("a list"), [expected]);
    }

    #[tokio::test]
    async fn what_is_no_answer_says_so_and_redirects_are_not_followed() {
        let redirect = "HTTP/1.1 302 Found\r\nconnection: close\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
        let answers = vec![
            answer("500 Oops", ""),
            redirect.to_owned(),
            answer("200 OK", &"x".repeat(MAX_BYTES + 1)),
            "garbage\r\n\r\n".to_owned(),
        ];
        let (mirror, asked) = server(answers).await;
        let keys = Keys::new(Some(mirror));
        for words in ["status 500", "status 302", "length limit", ""] {
            match keys.call(URL).await {
                Err(KeysError::Unavailable { host, reason }) => {
                    assert_eq!(host, "sns.us-east-1.amazonaws.com");
                    assert!(reason.contains(words), "{reason}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(asked.lock().expect("a list").len(), 4);
    }

    #[tokio::test]
    async fn an_address_without_keys_is_told_from_a_provider_that_does_not_answer() {
        let (mirror, _) = server(vec![answer("404 Not Found", ""), answer("403 Forbidden", "")]).await;
        let keys = Keys::new(Some(mirror));
        let host = "sns.us-east-1.amazonaws.com".to_owned();
        assert_eq!(keys.call(URL).await, Err(KeysError::Missing { host: host.clone() }));
        assert_eq!(keys.call(URL).await, Err(KeysError::Missing { host }));
    }

    #[tokio::test]
    async fn nobody_there_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        drop(listener);
        assert!(matches!(Keys::new(Some(address)).call(URL).await, Err(KeysError::Unavailable { .. })));
    }
}
