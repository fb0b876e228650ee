//! The gateway over real sockets.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;

/// Nothing in these tests takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Drained>,
    log: Arc<Mutex<Vec<Access>>>,
}

impl Running {
    fn shutdown(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    async fn stopped(mut self) -> Drained {
        if self.stop.is_some() {
            self.shutdown();
        }
        tokio::time::timeout(PATIENCE, self.served).await.unwrap().unwrap()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// One request on a connection of its own.
    async fn request(&self, head: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        send(&mut stream, head, body).await;
        answer(&mut stream).await
    }

    fn logged(&self) -> Vec<(Option<String>, u16, Outcome)> {
        self.log
            .lock()
            .unwrap()
            .iter()
            .map(|access| (access.route_key.clone(), access.status, access.outcome.clone()))
            .collect()
    }
}

async fn start(configure: impl FnOnce(Gateway) -> Gateway) -> Running {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&log);
    let gateway = configure(Gateway::new(Api::default()))
        .access_log(Arc::new(move |access| lines.lock().unwrap().push(access.clone())));
    let served = tokio::spawn(gateway.serve(listener, async { drop(stopped.await) }));
    Running { address, stop: Some(stop), served, log }
}

/// Writes a request. `head`: method, target and headers, one a line, without `host` and `content-length`.
async fn send(stream: &mut TcpStream, head: &str, body: &[u8]) {
    let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
    let headers: String = headers.lines().map(|line| format!("{line}\r\n")).collect();
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    stream
        .write_all(format!("{line} HTTP/1.1\r\nhost: bridge.test\r\n{headers}{length}\r\n").as_bytes())
        .await
        .unwrap();
    stream.write_all(body).await.unwrap();
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Reads one response, by its `content-length`.
async fn answer(stream: &mut TcpStream) -> Answer {
    tokio::time::timeout(PATIENCE, read_answer(stream)).await.unwrap()
}

async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned())).collect();
    let length =
        headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, length)| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    Answer { status, headers, body }
}

fn function(
    invoke: impl Fn(Invocation) -> BoxFuture<'static, Result<Vec<u8>, InvokeError>> + Send + Sync + 'static,
) -> Function {
    Function::new(Arc::new(invoke), PATIENCE)
}

/// Answers with the event itself.
fn echo() -> Function {
    function(|invocation| Box::pin(async move { Ok(invocation.payload) }))
}

fn answering(answer: &'static str) -> Function {
    function(move |_| Box::pin(async move { Ok(answer.as_bytes().to_vec()) }))
}

/// Says when it starts, and ends when it is let go.
fn waiting() -> (Function, mpsc::UnboundedReceiver<()>, Arc<Notify>) {
    let (started, starts) = mpsc::unbounded_channel();
    let go = Arc::new(Notify::new());
    let held = Arc::clone(&go);
    let function = function(move |_| {
        let (started, held) = (started.clone(), Arc::clone(&held));
        Box::pin(async move {
            started.send(()).unwrap();
            held.notified().await;
            Ok(br#"{"statusCode":202}"#.to_vec())
        })
    });
    (function, starts, go)
}

fn event_body(event: &Value) -> Vec<u8> {
    let body = event["body"].as_str().unwrap_or_default();
    if event["isBase64Encoded"].as_bool().unwrap() { STANDARD.decode(body).unwrap() } else { body.as_bytes().to_vec() }
}

#[tokio::test]
async fn a_request_reaches_its_function_as_an_event_and_the_answer_comes_back() {
    let gateway = start(|gateway| gateway.route("POST /hooks/{source}", echo()).unwrap()).await;
    let answer = gateway
        .request(
            "POST /hooks/str%69pe?a=1&a=2\ncontent-type: application/json\nX-Many: 1\nx-many: 2\ncookie: c=d",
            b"{\"k\":1}",
        )
        .await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let event = answer.json();
    assert_eq!(event["routeKey"], "POST /hooks/{source}");
    assert_eq!(event["rawPath"], "/hooks/stripe");
    assert_eq!(event["pathParameters"], json!({ "source": "stripe" }));
    assert_eq!(event["queryStringParameters"], json!({ "a": "1,2" }));
    assert_eq!(event["headers"]["x-many"], "1,2");
    assert_eq!(event["headers"]["host"], "bridge.test");
    assert_eq!(event["headers"]["x-forwarded-for"], "127.0.0.1");
    assert_eq!(event["headers"]["x-forwarded-port"], gateway.address.port().to_string());
    assert_eq!(event["cookies"], json!(["c=d"]));
    assert_eq!(event["requestContext"]["http"]["sourceIp"], "127.0.0.1");
    assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("{\"k\":1}"), &json!(false)));
    let request_id = event["requestContext"]["requestId"].as_str().unwrap();
    assert_eq!((request_id.len(), answer.header("apigw-requestid")), (16, Some(request_id)));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    assert!(now - u128::from(event["requestContext"]["timeEpoch"].as_u64().unwrap()) < PATIENCE.as_millis());
    assert_eq!(gateway.logged(), [(Some("POST /hooks/{source}".to_owned()), 200, Outcome::Answered)]);
    gateway.stopped().await;
}

#[tokio::test]
async fn requests_on_one_connection_are_answered_one_after_another_with_ids_of_their_own() {
    let gateway = start(|gateway| gateway.route("POST /hooks/{source}", echo()).unwrap()).await;
    let mut stream = gateway.connect().await;
    let mut ids = std::collections::BTreeSet::new();
    for body in [&b"first"[..], b"", b"third"] {
        send(&mut stream, "POST /hooks/x\ncontent-type: text/plain", body).await;
        let event = answer(&mut stream).await.json();
        assert_eq!(event_body(&event), body);
        ids.insert(event["requestContext"]["requestId"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 3);
    gateway.stopped().await;
}

#[tokio::test]
async fn a_function_describes_its_response() {
    let described = r#"{"statusCode":418,"headers":{"Content-Type":"text/html","X-A":"b"},"cookies":["a=1","b=2"],"body":"AP9h","isBase64Encoded":true}"#;
    let gateway = start(|gateway| gateway.route("GET /", answering(described)).unwrap()).await;
    let answer = gateway.request("GET /", b"").await;
    let cookies: Vec<_> =
        answer.headers.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value.as_str()).collect();
    assert_eq!(
        (answer.status, answer.header("content-type"), answer.header("x-a")),
        (418, Some("text/html"), Some("b"))
    );
    assert_eq!((cookies, answer.body.as_slice()), (vec!["a=1", "b=2"], &[0, 255, b'a'][..]));
    gateway.stopped().await;
}

#[tokio::test]
async fn what_goes_wrong_in_a_function_is_500_without_its_words() {
    let failing = || function(|_| Box::pin(async { Err(InvokeError::Failed("secret".to_owned())) }));
    let gateway = start(|gateway| {
        gateway
            .route("GET /failed", failing())
            .and_then(|gateway| gateway.route("GET /panicked", function(|_| panic!("secret"))))
            .and_then(|gateway| gateway.route("GET /malformed", answering(r#"{"statusCode":"secret"}"#)))
            .and_then(|gateway| gateway.route("GET /not-json", answering("secret")))
            .and_then(|gateway| {
                let endless: Invoke = Arc::new(|_| Box::pin(std::future::pending()));
                gateway.route("GET /endless", Function::new(endless, Duration::from_millis(30)))
            })
            .unwrap()
    })
    .await;
    let failed = |text: &str| Outcome::Invocation(InvokeError::Failed(text.to_owned()));
    let cases = [
        ("GET /failed", failed("secret")),
        ("GET /panicked", failed("it panicked")),
        ("GET /malformed", Outcome::Malformed(MalformedAnswer::StatusCode)),
        ("GET /not-json", Outcome::Malformed(MalformedAnswer::NotJson)),
        ("GET /endless", Outcome::Invocation(InvokeError::TimedOut)),
    ];
    for (request, outcome) in cases {
        let answer = gateway.request(request, b"").await;
        assert_eq!((answer.status, answer.text()), (500, r#"{"message":"Internal Server Error"}"#), "{request}");
        assert_eq!(gateway.logged().pop(), Some((Some(request.to_owned()), 500, outcome)));
    }
    gateway.stopped().await;
}

#[tokio::test]
async fn a_function_that_outlasts_the_integration_is_503_for_the_caller_and_runs_on() {
    let (function, mut starts, go) = waiting();
    let gateway = start(|gateway| {
        let limits = Limits { integration_time: Duration::from_millis(30), ..Limits::default() };
        gateway.route("GET /", function).unwrap().limits(limits)
    })
    .await;
    let answer = gateway.request("GET /", b"").await;
    assert_eq!((answer.status, answer.text()), (503, r#"{"message":"Service Unavailable"}"#));
    assert_eq!(gateway.logged()[0].2, Outcome::IntegrationTimeout);
    starts.recv().await.unwrap();
    go.notify_one();
    assert_eq!(gateway.stopped().await, Drained { connections_cut: 0, invocations_cut: 0 });
}

#[tokio::test]
async fn a_request_without_a_route_is_404_or_goes_to_the_fallback() {
    let gateway = start(|gateway| gateway.route("POST /hooks/{source}", echo()).unwrap()).await;
    for head in ["GET /hooks/stripe", "POST /hooks/a%2Fb", "GET /", "OPTIONS *"] {
        let answer = gateway.request(head, b"").await;
        assert_eq!((answer.status, answer.text()), (404, r#"{"message":"Not Found"}"#), "{head}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    gateway.stopped().await;

    let fallback: Fallback = Arc::new(|request| {
        Box::pin(async move {
            let seen = format!("{} {} {}", request.method(), request.uri(), request.body().len());
            let mut response = Response::new(Bytes::from(seen));
            *response.status_mut() = http::StatusCode::CREATED;
            response
        })
    });
    let gateway = start(|gateway| gateway.route("POST /hooks/{source}", echo()).unwrap().fallback(fallback)).await;
    let answer = gateway.request("PUT /pages/%20x?y=z", b"12345").await;
    assert_eq!((answer.status, answer.text()), (201, "PUT /pages/%20x?y=z 5"));
    assert_eq!(gateway.request("POST /hooks/x", b"").await.json()["routeKey"], "POST /hooks/{source}");
    gateway.stopped().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_however_it_is_sent() {
    let limits = Limits { request_body: 1000, ..Limits::default() };
    let gateway = start(|gateway| gateway.route("POST /", echo()).unwrap().limits(limits)).await;
    let too_large = (413, r#"{"message":"Request Entity Too Large"}"#.to_owned());

    let exact = gateway.request("POST /", &[b'a'; 1000]).await;
    assert_eq!((exact.status, event_body(&exact.json()).len()), (200, 1000));

    let larger = gateway.request("POST /", &[b'a'; 1001]).await;
    assert_eq!((larger.status, larger.text().to_owned()), too_large);
    assert_eq!(larger.header("connection"), Some("close"));

    let mut chunked = gateway.connect().await;
    send(&mut chunked, "POST /\ntransfer-encoding: chunked", b"").await;
    for _ in 0..3 {
        chunked.write_all(format!("190\r\n{}\r\n", "a".repeat(400)).as_bytes()).await.unwrap();
    }
    chunked.write_all(b"0\r\n\r\n").await.unwrap();
    let larger = answer(&mut chunked).await;
    assert_eq!((larger.status, larger.text().to_owned()), too_large);

    // A client that asks first is told before it sends anything.
    let mut asking = gateway.connect().await;
    send(&mut asking, "POST /\nexpect: 100-continue\ncontent-length: 1001", b"").await;
    let larger = answer(&mut asking).await;
    assert_eq!((larger.status, larger.text().to_owned()), too_large);
    gateway.stopped().await;
}

#[tokio::test]
async fn an_event_over_lambdas_quota_is_413_and_no_invocation() {
    let gateway = start(|gateway| gateway.route("POST /", answering(r#"{"statusCode":200}"#)).unwrap()).await;
    // 5 MB fit as text and do not fit as base64.
    let body = vec![b'a'; 5_000_000];
    assert_eq!(gateway.request("POST /\ncontent-type: text/plain", &body).await.status, 200);
    let larger = gateway.request("POST /", &body).await;
    assert_eq!((larger.status, larger.text()), (413, r#"{"message":"Request Entity Too Large"}"#));
    assert_eq!(gateway.logged()[1], (Some("POST /".to_owned()), 413, Outcome::Refused));
    gateway.stopped().await;
}

#[tokio::test]
async fn a_head_over_the_limit_is_431() {
    let gateway = start(|gateway| gateway.route("GET /", answering(r#"{"statusCode":200}"#)).unwrap()).await;
    // Request line and the values of `host` and `x`, as the quota counts.
    let spent = "GET / HTTP/1.1".len() + "bridge.test".len();
    for (length, status) in [(10_240 - spent, 200), (10_241 - spent, 431), (30_000, 431), (100_000, 431)] {
        let answer = gateway.request(&format!("GET /\nx: {}", "v".repeat(length)), b"").await;
        assert_eq!(answer.status, status, "{length}");
    }
    gateway.stopped().await;
}

#[tokio::test]
async fn a_path_that_is_not_text_is_400() {
    let gateway = start(|gateway| gateway.route("ANY /{proxy+}", echo()).unwrap()).await;
    for target in ["/%", "/%zz", "/%ff"] {
        let answer = gateway.request(&format!("GET {target}"), b"").await;
        assert_eq!((answer.status, answer.text()), (400, r#"{"message":"Bad Request"}"#), "{target}");
    }
    gateway.stopped().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let limits = Limits { body_time: Duration::from_millis(50), ..Limits::default() };
    let gateway = start(|gateway| gateway.route("POST /", echo()).unwrap().limits(limits)).await;
    let mut stream = gateway.connect().await;
    send(&mut stream, "POST /\ncontent-length: 10", b"").await;
    let answer = answer(&mut stream).await;
    assert_eq!((answer.status, answer.text()), (408, r#"{"message":"Request Timeout"}"#));
    gateway.stopped().await;
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_its_invocation() {
    let (function, mut starts, go) = waiting();
    let ended = Arc::new(Notify::new());
    let (inner, over) = (function, Arc::clone(&ended));
    let watched = super::tests::function(move |invocation| {
        let (inner, over) = (inner.clone(), Arc::clone(&over));
        Box::pin(async move {
            let answer = inner.call(invocation.payload, invocation.request_id, std::time::SystemTime::now()).await;
            over.notify_one();
            answer
        })
    });
    let gateway = start(|gateway| gateway.route("GET /", watched).unwrap()).await;
    let mut stream = gateway.connect().await;
    send(&mut stream, "GET /", b"").await;
    starts.recv().await.unwrap();
    drop(stream);
    // Another request's answer shows that the server has had time to see the first client leave.
    gateway.request("GET /none", b"").await;
    go.notify_one();
    tokio::time::timeout(PATIENCE, ended.notified()).await.unwrap();
    gateway.stopped().await;
}

#[tokio::test]
async fn a_shutdown_lets_running_invocations_end_and_takes_no_more_requests() {
    let (function, mut starts, go) = waiting();
    let mut gateway = start(|gateway| gateway.route("GET /", function).unwrap()).await;
    let mut busy = gateway.connect().await;
    send(&mut busy, "GET /", b"").await;
    starts.recv().await.unwrap();
    gateway.shutdown();
    // The listener is gone once connecting is refused.
    while TcpStream::connect(gateway.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    go.notify_one();
    assert_eq!(answer(&mut busy).await.status, 202);
    assert_eq!(gateway.stopped().await, Drained { connections_cut: 0, invocations_cut: 0 });
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_silent_clients_or_unfinished_bodies() {
    let gateway = start(|gateway| {
        let limits = Limits { drain_time: PATIENCE, ..Limits::default() };
        gateway.route("POST /", echo()).unwrap().limits(limits)
    })
    .await;
    let _silent = gateway.connect().await;
    let mut idle = gateway.connect().await;
    send(&mut idle, "POST /", b"x").await;
    answer(&mut idle).await;
    let mut unfinished = gateway.connect().await;
    send(&mut unfinished, "POST /\nexpect: 100-continue\ncontent-length: 10", b"").await;
    // `100 Continue` shows that the gateway is reading the body.
    assert_eq!(answer(&mut unfinished).await.status, 100);
    let started = Instant::now();
    let drained = gateway.stopped().await;
    assert_eq!(drained, Drained { connections_cut: 0, invocations_cut: 0 });
    assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
    let refused = answer(&mut unfinished).await;
    assert_eq!((refused.status, refused.text()), (503, r#"{"message":"Service Unavailable"}"#));
}

#[tokio::test]
async fn a_shutdown_cuts_what_does_not_end_in_time_and_counts_it() {
    let (function, mut starts, _go) = waiting();
    let gateway = start(|gateway| {
        let limits = Limits { drain_time: Duration::from_millis(50), ..Limits::default() };
        gateway.route("GET /", function).unwrap().limits(limits)
    })
    .await;
    let mut busy = gateway.connect().await;
    send(&mut busy, "GET /", b"").await;
    starts.recv().await.unwrap();
    // A head that never ends.
    let mut slow = gateway.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    gateway.request("GET /none", b"").await;
    let drained = gateway.stopped().await;
    assert_eq!(drained.invocations_cut, 1);
    assert!((1..=2).contains(&drained.connections_cut), "{drained:?}");
}

#[test]
fn any_bytes_posted_arrive_in_the_event_as_the_same_bytes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let gateway = runtime.block_on(start(|gateway| gateway.route("POST /hooks/{source}", echo()).unwrap()));
    proptest!(ProptestConfig::with_cases(64), |(
        body in prop_oneof![any::<Vec<u8>>(), any::<String>().prop_map(String::into_bytes), proptest::collection::vec(any::<u8>(), 0..200_000)],
        content_type in prop_oneof![Just("application/json"), Just("text/plain"), Just("application/x-www-form-urlencoded"), Just("image/png")],
        chunked in any::<bool>(),
    )| {
        let event = runtime.block_on(async {
            let mut stream = gateway.connect().await;
            let head = format!("POST /hooks/any\ncontent-type: {content_type}");
            if chunked {
                send(&mut stream, &format!("{head}\ntransfer-encoding: chunked"), b"").await;
                for part in body.chunks(60_000) {
                    stream.write_all(format!("{:x}\r\n", part.len()).as_bytes()).await.unwrap();
                    stream.write_all(part).await.unwrap();
                    stream.write_all(b"\r\n").await.unwrap();
                }
                stream.write_all(b"0\r\n\r\n").await.unwrap();
            } else {
                send(&mut stream, &head, &body).await;
            }
            answer(&mut stream).await.json()
        });
        prop_assert_eq!(&event["headers"]["content-length"], &json!(body.len().to_string()));
        prop_assert_eq!(event_body(&event), body);
    });
    runtime.block_on(gateway.stopped());
}
