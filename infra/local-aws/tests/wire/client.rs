//! A stack on a free port, a clock that stands still, and a client of a few lines.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clawbridge_local_aws::clock::{Clock, ManualClock};
use clawbridge_local_aws::{LocalAws, State};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// 21 November 2026, 00:00 UTC, in milliseconds: midnight, so that "to the day" is easy to see.
pub(crate) const START: i64 = 1_795_219_200_000;

pub(crate) struct Stack {
    pub(crate) address: SocketAddr,
    pub(crate) clock: ManualClock,
    pub(crate) aws: LocalAws,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON answer")
    }

    /// The error's name, without its namespace.
    pub(crate) fn error(&self) -> String {
        assert!(self.status >= 400, "succeeded: {}", self.json());
        let kind = self.json()["__type"].as_str().expect("an error has a type").to_owned();
        kind.rsplit('#').next().unwrap().to_owned()
    }

    pub(crate) fn message(&self) -> String {
        let body = self.json();
        body["message"].as_str().or(body["Message"].as_str()).expect("an error has a message").to_owned()
    }
}

/// A process that another test starts has the lock too, from its fork to its exec: for that moment the state seems to be in use.
async fn opened(state: &State, clock: &ManualClock) -> LocalAws {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match LocalAws::open_with_clock(state.clone(), Clock::Manual(clock.clone())) {
            Err(error) if error.code() == "STATE_IN_USE" && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            done => return done.expect("the state opens"),
        }
    }
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::start_on(State::Ephemeral).await
    }

    pub(crate) async fn start_on(state: State) -> Self {
        let clock = ManualClock::new(START);
        let aws = opened(&state, &clock).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let fallback =
            |request: http::Request<Bytes>| -> futures_util::future::BoxFuture<'static, http::Response<Bytes>> {
                Box::pin(async move {
                    let text = format!("fallback {} {} {}", request.method(), request.uri(), request.body().len());
                    http::Response::builder().status(418).body(Bytes::from(text)).unwrap()
                })
            };
        let serving = aws.clone().serve(listener, fallback, async { drop(stopped.await) });
        let server = tokio::spawn(serving);
        Self { address, clock, aws, stop, server }
    }

    /// Stops serving and closes the state.
    pub(crate) async fn stop(self) {
        let Self { aws, stop, server, .. } = self;
        drop(aws);
        stop.send(()).expect("it still runs");
        server.await.expect("it ends in peace");
    }

    /// Stops serving; what comes of it can be awaited.
    pub(crate) fn stopping(self) -> JoinHandle<()> {
        self.stop.send(()).expect("it still runs");
        self.server
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) async fn call(&self, target: &str, input: Value) -> Answer {
        call(self.address, target, input).await
    }

    pub(crate) async fn ok(&self, target: &str, input: Value) -> Value {
        let answer = self.call(target, input).await;
        assert_eq!(answer.status, 200, "{target}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    pub(crate) async fn sqs(&self, operation: &str, input: Value) -> Value {
        self.ok(&format!("AmazonSQS.{operation}"), input).await
    }

    pub(crate) async fn sqs_error(&self, operation: &str, input: Value) -> Answer {
        let answer = self.call(&format!("AmazonSQS.{operation}"), input).await;
        assert!(answer.status >= 400, "{operation} succeeded: {}", answer.json());
        answer
    }

    pub(crate) async fn secrets(&self, operation: &str, input: Value) -> Value {
        self.ok(&format!("secretsmanager.{operation}"), input).await
    }

    pub(crate) async fn secrets_error(&self, operation: &str, input: Value) -> String {
        self.call(&format!("secretsmanager.{operation}"), input).await.error()
    }

    pub(crate) async fn dynamodb(&self, operation: &str, input: Value) -> Value {
        self.ok(&format!("DynamoDB_20120810.{operation}"), input).await
    }

    pub(crate) async fn dynamodb_error(&self, operation: &str, input: Value) -> String {
        self.call(&format!("DynamoDB_20120810.{operation}"), input).await.error()
    }

    pub(crate) async fn queue(&self, name: &str, attributes: Value) -> String {
        let answer = self.sqs("CreateQueue", json!({ "QueueName": name, "Attributes": attributes })).await;
        answer["QueueUrl"].as_str().expect("a URL").to_owned()
    }

    pub(crate) async fn send(&self, queue: &str, body: &str) -> Value {
        self.sqs("SendMessage", json!({ "QueueUrl": queue, "MessageBody": body })).await
    }

    /// Up to ten messages with everything there is to know about them.
    pub(crate) async fn receive(&self, queue: &str) -> Vec<Value> {
        self.receive_up_to(queue, 10).await
    }

    pub(crate) async fn receive_up_to(&self, queue: &str, max: u8) -> Vec<Value> {
        let input = json!({
            "QueueUrl": queue, "MaxNumberOfMessages": max, "AttributeNames": ["All"], "MessageAttributeNames": ["All"],
        });
        let answer = self.sqs("ReceiveMessage", input).await;
        answer["Messages"].as_array().cloned().unwrap_or_default()
    }

    pub(crate) async fn bodies(&self, queue: &str) -> Vec<String> {
        self.receive(queue).await.iter().map(|message| message["Body"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) async fn delete(&self, queue: &str, message: &Value) {
        self.sqs("DeleteMessage", json!({ "QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"] })).await;
    }
}

pub(crate) async fn call(address: SocketAddr, target: &str, input: Value) -> Answer {
    let headers = [("x-amz-target", target), ("content-type", "application/x-amz-json-1.0")];
    request(address, "POST", "/", &headers, input.to_string().as_bytes()).await
}

/// One request on a connection of its own. A `host` header among `headers` replaces the right one.
pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "host") {
        head += &format!("host: {address}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    // The server may answer and close before it has read everything, so a failing write is not the test's failure.
    let _sent = stream.write_all(&[head.as_bytes(), body].concat()).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    read.expect("an answer in time").expect("an answer");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
    let head = String::from_utf8(answer[..end].to_vec()).expect("a head in ASCII");
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().expect("a status");
    let headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Answer { status, headers: headers.collect(), body: Bytes::from(answer.split_off(end + 4)) }
}

/// Waits until `met`, letting others run.
pub(crate) async fn until(mut met: impl FnMut() -> bool) {
    let waiting = async {
        while !met() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the condition is met in time");
}
