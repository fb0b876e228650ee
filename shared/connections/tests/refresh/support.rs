//! The local stack with the registry table, environments that use it, and an authorization server.

use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use aws_smithy_runtime_api::box_error::BoxError;
use bytes::Bytes;
use clawbridge_aws::{Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_config::{Compiled, Provider};
use clawbridge_connections::{ConnectionName, Connections, Providers, Settings};
use clawbridge_local_aws::{LocalAws, State};
use clawbridge_oauth::{TokenKind, TokenSet};
use clawbridge_outbound::Outbound;
use std::collections::BTreeMap;
use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const TABLE: &str = "registry";

/// Long enough for everything.
pub(crate) const LEFT: Duration = Duration::from_secs(40);

pub(crate) fn name() -> ConnectionName {
    "acme/main".parse().unwrap()
}

/// The local stack.
pub(crate) struct Stack {
    pub(crate) url: String,
    pub(crate) aws: LocalAws,
    pub(crate) secrets: aws_sdk_secretsmanager::Client,
}

impl Stack {
    pub(crate) async fn start() -> Stack {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let aws = LocalAws::open(State::Ephemeral).unwrap();
        let nothing = |_: http::Request<Bytes>| -> futures_util::future::BoxFuture<'static, http::Response<Bytes>> {
            Box::pin(ready(http::Response::new(Bytes::new())))
        };
        tokio::spawn(aws.clone().serve(listener, nothing, std::future::pending()));
        let config = sdk_config(&Environment::local(&url)).unwrap();
        let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap();
        let text = |name: &str| {
            AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build().unwrap()
        };
        aws_sdk_dynamodb::Client::new(&config)
            .create_table()
            .table_name(TABLE)
            .billing_mode(BillingMode::PayPerRequest)
            .key_schema(key("kind", KeyType::Hash))
            .key_schema(key("name", KeyType::Range))
            .attribute_definitions(text("kind"))
            .attribute_definitions(text("name"))
            .send()
            .await
            .unwrap();
        aws.secrets().create("clawbridge/providers/acme", "s3cret").unwrap();
        Stack { url, aws, secrets: aws_sdk_secretsmanager::Client::new(&config) }
    }

    /// An environment of its own: it knows nothing yet.
    pub(crate) fn environment(&self) -> Counted {
        let calls = Counter::default();
        let config = sdk_config(&Environment::local(&self.url)).unwrap();
        let tables = aws_sdk_dynamodb::config::Builder::from(&config).interceptor(calls.clone()).build();
        let secrets = aws_sdk_secretsmanager::config::Builder::from(&config).interceptor(calls.clone()).build();
        let settings = Settings { registry_table: TABLE.to_owned(), secret_prefix: "clawbridge".to_owned() };
        let connections = Connections::new(
            aws_sdk_dynamodb::Client::from_conf(tables),
            aws_sdk_secretsmanager::Client::from_conf(secrets),
            settings,
        );
        Counted { connections, calls }
    }
}

/// An environment, and how many calls of AWS it made.
pub(crate) struct Counted {
    pub(crate) connections: Connections,
    calls: Counter,
}

impl Counted {
    /// Calls since the last time.
    pub(crate) fn calls(&self) -> usize {
        self.calls.0.swap(0, Ordering::SeqCst)
    }
}

#[derive(Clone, Debug, Default)]
struct Counter(Arc<AtomicUsize>);

impl Intercept for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// What the server knows.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// The one refresh token that is good. A spent one revokes everything.
    good: Option<String>,
    spent: Vec<String>,
    issued: u32,
    /// The client secret that is known.
    pub(crate) client_secret: String,
    /// How it answers for once instead of doing anything: status and further header.
    pub(crate) instead: Vec<(u16, &'static str)>,
    /// Bodies of the requests that it got.
    pub(crate) requests: Vec<String>,
}

/// An authorization server with rotating refresh tokens and reuse detection.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) books: Arc<Mutex<Books>>,
    /// The first answer is held back until each of these has made so many calls, or there is another request.
    held_back: Arc<Mutex<Vec<Counter>>>,
}

impl Server {
    pub(crate) async fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let books = Arc::new(Mutex::new(Books { client_secret: "s3cret".to_owned(), ..Books::default() }));
        let server = Server { url, books, held_back: Arc::default() };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.serve(stream).await });
            }
        });
        server
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut request = Vec::new();
        let body = loop {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).await.unwrap_or(0);
            request.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&request).into_owned();
            let length = text.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ").map(|text| text.parse::<usize>().unwrap())
            });
            if let Some((_, body)) = text.split_once("\r\n\r\n")
                && body.len() >= length.unwrap_or(0)
            {
                break body.to_owned();
            }
            if count == 0 {
                return;
            }
        };
        self.books.lock().unwrap().requests.push(body.clone());
        while self.requests() == 1 && self.is_held_back() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (status, header, answer) = self.answer(&body);
        let head =
            format!("HTTP/1.1 {status} X\r\n{header}content-length: {}\r\nconnection: close\r\n\r\n", answer.len());
        drop(stream.write_all((head + &answer).as_bytes()).await);
    }

    fn is_held_back(&self) -> bool {
        let held_back = self.held_back.lock().unwrap();
        // Who may ask has asked by the fifth call; who may not has looked thrice by the sixth. One of them is the one that asked.
        held_back.iter().filter(|calls| calls.0.load(Ordering::SeqCst) < 6).count() > 1
    }

    /// Holds the first answer back until all these environments have come for it.
    pub(crate) fn hold_back(&self, environments: &[Counted]) {
        for environment in environments {
            environment.calls();
        }
        *self.held_back.lock().unwrap() = environments.iter().map(|environment| environment.calls.clone()).collect();
    }

    fn answer(&self, body: &str) -> (u16, &'static str, String) {
        let field = |name: &str| {
            body.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).unwrap_or_default().to_owned()
        };
        let (presented, secret) = (field("refresh_token"), field("client_secret"));
        let mut books = self.books.lock().unwrap();
        if let Some((status, header)) = books.instead.pop() {
            return (status, header, "{}".to_owned());
        }
        if secret != books.client_secret {
            return (401, "", r#"{"error":"invalid_client"}"#.to_owned());
        }
        if field("grant_type") == "client_credentials" {
            books.issued += 1;
            let json = format!(r#"{{"access_token":"a{}","token_type":"Bearer","expires_in":3600}}"#, books.issued);
            return (200, "", json);
        }
        if books.good.as_deref() != Some(presented.as_str()) {
            if books.spent.contains(&presented) {
                books.good = None;
            }
            return (400, "", r#"{"error":"invalid_grant"}"#.to_owned());
        }
        books.spent.push(presented);
        let (refresh, access) = issue(&mut books);
        let json = format!(
            r#"{{"access_token":"{access}","token_type":"Bearer","expires_in":3600,"refresh_token":"{refresh}"}}"#
        );
        (200, "", json)
    }

    /// A consent: a token set that expires in so many seconds.
    pub(crate) fn consent(&self, seconds: i64) -> TokenSet {
        let (refresh, access) = issue(&mut self.books.lock().unwrap());
        let now = Timestamp::now();
        TokenSet {
            v: 1,
            generation: 0,
            access_token: access,
            kind: TokenKind::Bearer,
            refresh_token: Some(refresh),
            expires_at: Some(Timestamp::from_millis(now.millis() + seconds * 1000)),
            refresh_expires_at: None,
            scopes: vec!["read".to_owned()],
            obtained_at: now.minus(Duration::from_secs(3600)),
            dpop_key: None,
            kept: BTreeMap::new(),
            parameters: BTreeMap::new(),
        }
    }

    pub(crate) fn requests(&self) -> usize {
        self.books.lock().unwrap().requests.len()
    }

    pub(crate) fn providers(&self) -> Providers {
        self.providers_of("authorization_code")
    }

    pub(crate) fn providers_of(&self, grant: &str) -> Providers {
        let config = Arc::new(Compiled::from_json(br#"{"network":{"allow":["127.0.0.0/8"]}}"#).unwrap());
        let provider: Provider = serde_json::from_value(serde_json::json!({
            "title": "Acme", "grant": grant, "token_url": self.url, "client_id": "me",
            "client_auth": "post", "secret": "clawbridge/providers/acme", "scope_separator": " ", "pkce": true,
            "token_body": "form", "refresh_before": "5m", "wait": "1d", "iss": "if_present", "revocation": "never",
        }))
        .unwrap();
        let declared = Arc::new(BTreeMap::from([("acme".to_owned(), provider)]));
        Providers { declared, outbound: Outbound::new(config) }
    }
}

fn issue(books: &mut Books) -> (String, String) {
    books.issued += 1;
    let refresh = format!("r{}", books.issued);
    books.good = Some(refresh.clone());
    (refresh, format!("a{}", books.issued))
}
