//! The API over real sockets: an independent WebSocket client on one port, the unchanged SDK on the other.

use std::net::SocketAddr;

use aws_sdk_apigatewaymanagement::Client as Sdk;
use aws_sdk_apigatewaymanagement::config::retry::RetryConfig;
use aws_sdk_apigatewaymanagement::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_apigatewaymanagement::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_apigatewaymanagement::primitives::Blob;
use futures_util::future::BoxFuture;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::*;
use crate::clock::ManualClock;
use crate::gateway::{Drained, Gateway, Invocation, InvokeError, MalformedAnswer};
use crate::{LocalAws, State, gateway};

/// Nothing in these tests takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);
const START: i64 = 1_795_219_200_000;

type Socket = WebSocketStream<TcpStream>;
type Answered = BoxFuture<'static, Result<Vec<u8>, InvokeError>>;

async fn in_time<T>(waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, waiting).await.unwrap()
}

fn function(invoke: impl Fn(Invocation) -> Answered + Send + Sync + 'static) -> Function {
    Function::new(Arc::new(invoke), PATIENCE)
}

fn answering(answer: &'static str) -> Function {
    function(move |_| Box::pin(async move { Ok(answer.as_bytes().to_vec()) }))
}

/// Hands its event to the test and answers 200.
fn recording(events: &mpsc::UnboundedSender<Value>) -> Function {
    let events = events.clone();
    function(move |invocation| {
        let event = serde_json::from_slice(&invocation.payload).unwrap();
        // The test may have seen enough.
        let _unseen = events.send(event);
        Box::pin(async { Ok(br#"{"statusCode":200}"#.to_vec()) })
    })
}

/// The gateway on one port, the management API beside the AWS services on another.
struct Stack {
    public: SocketAddr,
    private: SocketAddr,
    sockets: WebSockets,
    sdk: Sdk,
    events: mpsc::UnboundedReceiver<Value>,
    log: Arc<Mutex<Vec<Access>>>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Drained>,
    _services: JoinSet<()>,
}

/// An API at `responses` whose other routes than those of `configure` record their events.
async fn start(configure: impl FnOnce(WebSocketApi) -> WebSocketApi) -> Stack {
    start_within(gateway::Limits::default(), configure).await
}

async fn start_within(limits: gateway::Limits, configure: impl FnOnce(WebSocketApi) -> WebSocketApi) -> Stack {
    let (record, events) = mpsc::unbounded_channel();
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&log);
    let mut api = configure(WebSocketApi::new(Api::default(), "responses"))
        .access_log(Arc::new(move |access: &Access| lines.lock().unwrap().push(access.clone())));
    for key in [routes::CONNECT, routes::DEFAULT, DISCONNECT] {
        if api.routes.get(key).is_none() {
            api = api.route(key, recording(&record)).unwrap();
        }
    }
    let sockets = api.build();

    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let public = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let http = answering(r#"{"statusCode":200,"body":"over HTTP"}"#);
    let gateway =
        Gateway::new(Api::default()).route("ANY /{path+}", http).unwrap().websockets(sockets.clone()).limits(limits);
    let served = tokio::spawn(gateway.serve(listener, async { drop(stopped.await) }));

    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let private = listener.local_addr().unwrap();
    let managed = sockets.clone();
    let fallback = move |request: Request<Bytes>| -> BoxFuture<'static, Response<Bytes>> {
        let answer = managed.manage(&request);
        Box::pin(async { answer.unwrap_or_else(|| Response::builder().status(418).body(Bytes::new()).unwrap()) })
    };
    let mut services = JoinSet::new();
    services.spawn(LocalAws::open(State::Ephemeral).unwrap().serve(listener, fallback, std::future::pending()));
    let sdk = sdk(private, "responses");
    Stack { public, private, sockets, sdk, events, log, stop, served, _services: services }
}

fn sdk(address: SocketAddr, stage: &str) -> Sdk {
    let config = aws_sdk_apigatewaymanagement::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
        .endpoint_url(format!("http://{address}/{stage}"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .build();
    Sdk::from_conf(config)
}

impl Stack {
    async fn try_connect(&self, path: &str, headers: &[(&str, &str)]) -> Result<(Socket, Response<()>), Error> {
        let mut request = Request::get(format!("ws://{}{path}", self.public))
            .header("host", "bridge.test")
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let stream = TcpStream::connect(self.public).await.unwrap();
        // No frame to a client may be larger.
        let config = WebSocketConfig::default().max_frame_size(Some(32 * 1024));
        let connecting = tokio_tungstenite::client_async_with_config(request.body(()).unwrap(), stream, Some(config));
        in_time(connecting).await.map(|(socket, response)| (socket, response.map(drop)))
    }

    /// A connected client and its id, as the recorded `$connect` has it.
    async fn connect(&mut self) -> (Socket, String) {
        let (socket, _response) = self.try_connect("/responses", &[]).await.unwrap();
        let event = self.event().await;
        assert_eq!(event["requestContext"]["eventType"], "CONNECT");
        (socket, event["requestContext"]["connectionId"].as_str().unwrap().to_owned())
    }

    async fn refused(&self, path: &str) -> (u16, String) {
        match self.try_connect(path, &[]).await {
            Err(Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                (response.status().as_u16(), String::from_utf8(body).unwrap())
            }
            other => panic!("{:?}", other.map(|(_, response)| response)),
        }
    }

    async fn event(&mut self) -> Value {
        in_time(self.events.recv()).await.unwrap()
    }

    /// Code and reason in the `$disconnect` event that comes next.
    async fn disconnected(&mut self) -> (u64, String) {
        let event = self.event().await;
        let context = &event["requestContext"];
        assert_eq!(context["eventType"], "DISCONNECT");
        (context["disconnectStatusCode"].as_u64().unwrap(), context["disconnectReason"].as_str().unwrap().to_owned())
    }

    async fn post(&self, id: &str, data: impl Into<Vec<u8>>) -> Result<(), String> {
        let posted = self.sdk.post_to_connection().connection_id(id).data(Blob::new(data)).send().await;
        posted.map(drop).map_err(named)
    }

    async fn stopped(self) -> Drained {
        self.stop.send(()).unwrap();
        in_time(self.served).await.unwrap()
    }
}

/// The SDK's error by its status and its name in the model.
fn named<E: ProvideErrorMetadata>(error: SdkError<E>) -> String {
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    format!("{status} {}", error.as_service_error().and_then(E::code).unwrap_or("no code"))
}

async fn send(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
}

/// The next message or control frame.
async fn receive(socket: &mut Socket) -> Message {
    in_time(socket.next()).await.unwrap().unwrap()
}

/// The code and reason with which the server closed; the socket must end then.
async fn closed(socket: &mut Socket) -> Option<(u16, String)> {
    let Message::Close(close) = receive(socket).await else { panic!("it was not closed") };
    assert!(in_time(socket.next()).await.is_none_or(|last| last.is_err()));
    close.map(|frame| (frame.code.into(), frame.reason.to_string()))
}

#[tokio::test]
async fn a_client_that_the_function_accepts_is_connected_and_every_event_is_about_it() {
    let mut stack = start(|api| api).await;
    let headers = [("x-app-key", "k"), ("user-agent", "test/1")];
    let (mut socket, response) = stack.try_connect("/responses/?a=b", &headers).await.unwrap();
    assert_eq!(response.status(), 101);
    let connect = stack.event().await;
    let context = &connect["requestContext"];
    assert_eq!((&connect["headers"]["x-app-key"], &connect["queryStringParameters"]["a"]), (&json!("k"), &json!("b")));
    assert_eq!((&context["routeKey"], &context["stage"]), (&json!("$connect"), &json!("responses")));
    assert_eq!(context["identity"], json!({ "sourceIp": "127.0.0.1", "userAgent": "test/1" }));
    assert_eq!(context["domainName"], "bridge.test");
    assert_eq!(response.headers()["apigw-requestid"], context["requestId"].as_str().unwrap());

    send(&mut socket, "{\"n\":1}").await;
    let message = stack.event().await;
    assert_eq!(message["body"], "{\"n\":1}");
    socket.close(Some(CloseFrame { code: CloseCode::Library(4000), reason: "enough".into() })).await.unwrap();
    assert_eq!(closed(&mut socket).await, Some((4000, "enough".to_owned())));
    let disconnect = stack.event().await;
    assert_eq!(disconnect["requestContext"]["disconnectStatusCode"], 4000);
    assert_eq!(disconnect["requestContext"]["disconnectReason"], "enough");
    let mut requests = vec![context["requestId"].clone()];
    for (event, kind) in [(&message, "MESSAGE"), (&disconnect, "DISCONNECT")] {
        assert_eq!(event["requestContext"]["eventType"], kind);
        for member in ["connectionId", "connectedAt", "apiId", "identity", "domainName"] {
            assert_eq!(event["requestContext"][member], context[member], "{member}");
        }
        requests.push(event["requestContext"]["requestId"].clone());
    }
    requests.dedup();
    assert_eq!(requests.len(), 3);
    assert_eq!(stack.sockets.open(), 0);
    let log = Arc::clone(&stack.log);
    assert_eq!(stack.stopped().await, Drained { connections_cut: 0, invocations_cut: 0 });
    let log = log.lock().unwrap();
    let lines: Vec<_> = log.iter().map(|access| (access.route_key.as_deref().unwrap(), &access.outcome)).collect();
    assert_eq!(lines, [("$default", &Outcome::Answered), ("$disconnect", &Outcome::Answered)]);
}

#[tokio::test]
async fn the_function_chooses_the_subprotocol() {
    let answer = r#"{"statusCode":200,"headers":{"Sec-WebSocket-Protocol":"two","x-other":"dropped"}}"#;
    let stack = start(|api| api.route("$connect", answering(answer)).unwrap()).await;
    let offered = [("sec-websocket-protocol", "one, two")];
    let (_socket, response) = stack.try_connect("/responses", &offered).await.unwrap();
    assert_eq!(
        (&response.headers()["sec-websocket-protocol"], response.headers().get("x-other")),
        (&"two".parse().unwrap(), None)
    );
}

#[tokio::test]
async fn an_alias_is_taken_only_if_it_is_configured_and_http_stays_http() {
    let stack = start(|api| api.alias("/v1/responses")).await;
    assert!(stack.try_connect("/v1/responses", &[]).await.is_ok());
    for path in ["/v2/responses", "/responses/more", "/other", "/"] {
        let expected = if path == "/" { 404 } else { 200 };
        assert_eq!(stack.refused(path).await.0, expected, "{path}");
    }
    let mut plain = TcpStream::connect(stack.public).await.unwrap();
    plain.write_all(b"GET /responses HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    in_time(plain.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("over HTTP"), "{answer}");
    let without = start(|api| api).await;
    assert_eq!(without.refused("/v1/responses").await, (200, "over HTTP".to_owned()));
}

#[tokio::test]
async fn a_client_that_the_function_does_not_accept_gets_the_status() {
    let endless = || Function::new(Arc::new(|_| Box::pin(std::future::pending())), Duration::from_millis(20));
    let failing = || function(|_| Box::pin(async { Err(InvokeError::Failed("secret".to_owned())) }));
    let cases: [(Function, u16, &str); 7] = [
        (answering(r#"{"statusCode":401,"body":"secret"}"#), 401, ""),
        (answering(r#"{"statusCode":403}"#), 403, ""),
        (answering(r#"{"statusCode":302}"#), 302, ""),
        (answering(r#"{"ok":true}"#), 502, "Internal server error"),
        (failing(), 502, "Internal server error"),
        (function(|_| panic!("secret")), 502, "Internal server error"),
        (endless(), 502, "Internal server error"),
    ];
    for (index, (function, status, text)) in cases.into_iter().enumerate() {
        let stack = start(|api| api.route("$connect", function).unwrap()).await;
        let (refused, body) = stack.refused("/responses").await;
        assert_eq!((refused, stack.sockets.open()), (status, 0), "{index}");
        if text.is_empty() {
            assert_eq!(body, "");
        } else {
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["message"], text);
            assert!(body["connectionId"].is_string() && body["requestId"].is_string());
        }
    }
    let never: Function = Function::new(Arc::new(|_| Box::pin(std::future::pending())), PATIENCE);
    let limits = Limits { integration_time: Duration::from_millis(20), ..Limits::default() };
    let stack = start(|api| api.route("$connect", never).unwrap().limits(limits)).await;
    let (status, body) = stack.refused("/responses").await;
    assert_eq!((status, body.contains("Endpoint request timed out")), (504, true));
}

#[tokio::test]
async fn clients_over_the_rate_get_429() {
    let clock = Clock::Manual(ManualClock::new(START));
    let limits = Limits { new_connections: Some(1), ..Limits::default() };
    let stack = start(|api| api.limits(limits).clock(clock)).await;
    let _first = stack.try_connect("/responses", &[]).await.unwrap();
    assert_eq!(stack.refused("/responses").await.0, 429);
}

#[tokio::test]
async fn messages_of_one_client_run_at_the_same_time() {
    let together = Arc::new(Barrier::new(3));
    let (done, mut ended) = mpsc::unbounded_channel();
    let meeting = function(move |_| {
        let (together, done) = (Arc::clone(&together), done.clone());
        Box::pin(async move {
            together.wait().await;
            done.send(()).unwrap();
            Ok(br#"{"statusCode":200,"body":"dropped"}"#.to_vec())
        })
    });
    let mut stack = start(|api| api.route("$default", meeting).unwrap()).await;
    let (mut socket, id) = stack.connect().await;
    for _ in 0..3 {
        send(&mut socket, "x").await;
    }
    for _ in 0..3 {
        in_time(ended.recv()).await.unwrap();
    }
    // What the functions answered does not reach the client.
    stack.post(&id, "posted").await.unwrap();
    assert_eq!(receive(&mut socket).await, Message::text("posted"));
}

#[tokio::test]
async fn messages_come_in_another_order_if_the_delivery_shuffles() {
    let mut orders = Vec::new();
    for seed in [1, 1, 2] {
        let shuffle = Some(Shuffle { window: 8, wait: PATIENCE });
        let mut stack = start(|api| api.delivery(Delivery { seed, shuffle, ..Delivery::default() })).await;
        let (mut socket, _id) = stack.connect().await;
        let mut order = Vec::new();
        for number in 0..8 {
            send(&mut socket, &number.to_string()).await;
        }
        for _ in 0..8 {
            order.push(stack.event().await["body"].as_str().unwrap().parse::<usize>().unwrap());
        }
        let mut all = order.clone();
        all.sort_unstable();
        assert_eq!(all, (0..8).collect::<Vec<_>>());
        assert_ne!(order, all);
        orders.push(order);
        // Held for want of more, and handed out because the client leaves.
        send(&mut socket, "last").await;
        socket.close(None).await.unwrap();
        let events = [stack.event().await, stack.event().await];
        assert!(events.iter().any(|event| event["body"] == "last"));
        assert_eq!(stack.stopped().await, Drained { connections_cut: 0, invocations_cut: 0 });
    }
    assert!(orders[0] == orders[1] && orders[0] != orders[2], "{orders:?}");
}

#[tokio::test]
async fn a_message_goes_to_the_route_that_it_names() {
    let (record, mut created) = mpsc::unbounded_channel();
    let mut stack = start(|api| {
        let api = api.route("response.create", recording(&record)).unwrap();
        api.route_selection("$request.body.type").unwrap()
    })
    .await;
    let (mut socket, _id) = stack.connect().await;
    send(&mut socket, r#"{"type":"response.create"}"#).await;
    assert_eq!(in_time(created.recv()).await.unwrap()["requestContext"]["routeKey"], "response.create");
    send(&mut socket, r#"{"type":"else"}"#).await;
    assert_eq!(stack.event().await["requestContext"]["routeKey"], "$default");
}

#[tokio::test]
async fn messages_within_the_limits_arrive_and_others_end_the_connection() {
    let text = |size, is_final| Frame::message(vec![b'a'; size], OpCode::Data(Data::Text), is_final);
    let more = |size, is_final| Frame::message(vec![b'a'; size], OpCode::Data(Data::Continue), is_final);
    const FRAME: usize = 32 * 1024;
    let whole = vec![text(FRAME, false), more(FRAME, false), more(FRAME, false), more(FRAME, true)];
    let mut too_large = vec![text(FRAME, false), more(FRAME, false), more(FRAME, false), more(FRAME, false)];
    too_large.push(more(1, true));
    let binary = vec![Frame::message(vec![1], OpCode::Data(Data::Binary), true)];
    let cases = [
        ("a frame of 32 KB", vec![text(FRAME, true)], Ok(FRAME)),
        ("a message of 128 KB", whole, Ok(4 * FRAME)),
        ("a larger frame", vec![text(FRAME + 1, true)], Err(1009)),
        ("a larger message", too_large, Err(1009)),
        ("a binary frame", binary, Err(1003)),
    ];
    for (what, frames, expected) in cases {
        let mut stack = start(|api| api).await;
        let (mut socket, _id) = stack.connect().await;
        for frame in frames {
            socket.send(Message::Frame(frame)).await.unwrap();
        }
        match expected {
            Ok(size) => assert_eq!(stack.event().await["body"].as_str().unwrap().len(), size, "{what}"),
            Err(code) => {
                let (closed, reason) = closed(&mut socket).await.unwrap();
                assert_eq!(closed, code, "{what}");
                assert_eq!(stack.disconnected().await, (u64::from(code), reason), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn the_sdk_posts_shows_and_deletes() {
    let clock = ManualClock::new(START);
    let shown = Clock::Manual(clock.clone());
    let mut stack = start(|api| api.clock(shown)).await;
    let (mut socket, id) = stack.connect().await;
    assert!(id.ends_with('='));
    stack.post(&id, "caf\u{e9}").await.unwrap();
    assert_eq!(receive(&mut socket).await, Message::text("caf\u{e9}"));
    // The client takes no frame over 32 KB.
    stack.post(&id, vec![b'a'; 131_072]).await.unwrap();
    assert_eq!(receive(&mut socket).await.into_text().unwrap().len(), 131_072);
    assert_eq!(stack.post(&id, vec![b'a'; 131_073]).await, Err("413 PayloadTooLargeException".to_owned()));

    clock.advance(Duration::from_millis(1500));
    send(&mut socket, "x").await;
    stack.event().await;
    let shown = stack.sdk.get_connection().connection_id(&id).send().await.unwrap();
    assert_eq!(shown.connected_at().unwrap().to_millis().unwrap(), START);
    assert_eq!(shown.last_active_at().unwrap().to_millis().unwrap(), START + 1500);
    assert_eq!(shown.identity().unwrap().source_ip(), Some("127.0.0.1"));

    stack.sdk.delete_connection().connection_id(&id).send().await.unwrap();
    let normally = "Connection Closed Normally".to_owned();
    assert_eq!(closed(&mut socket).await, Some((1000, normally.clone())));
    assert_eq!(stack.disconnected().await, (1000, normally));
    let gone = "410 GoneException".to_owned();
    assert_eq!(stack.post(&id, "x").await, Err(gone.clone()));
    assert_eq!(stack.sdk.get_connection().connection_id(&id).send().await.map(drop).map_err(named), Err(gone.clone()));
    assert_eq!(stack.sdk.delete_connection().connection_id(&id).send().await.map(drop).map_err(named), Err(gone));
}

#[tokio::test]
async fn what_the_management_api_does_not_take_is_told_apart() {
    let mut stack = start(|api| api).await;
    let (_socket, id) = stack.connect().await;
    assert_eq!(stack.post("VNRUSeldSwMCIRQ=", "x").await, Err("410 GoneException".to_owned()));
    assert_eq!(stack.post("short", "x").await, Err("400 BadRequestException".to_owned()));
    assert_eq!(stack.post(&id, vec![0xff]).await, Err("400 BadRequestException".to_owned()));
    let other = sdk(stack.private, "other").post_to_connection().connection_id(&id).data(Blob::new("x")).send().await;
    assert_eq!(other.map(drop).map_err(named), Err("403 ForbiddenException".to_owned()));
    let put = Request::put(format!("/responses/@connections/{id}")).body(Bytes::new()).unwrap();
    assert_eq!(stack.sockets.manage(&put).unwrap().status(), 403);
    let elsewhere = Request::get("/responses/connections").body(Bytes::new()).unwrap();
    assert!(stack.sockets.manage(&elsewhere).is_none());
}

#[tokio::test]
async fn a_post_from_within_the_connecting_is_410() {
    let address = Arc::new(std::sync::OnceLock::<Sdk>::new());
    let (tell, mut told) = mpsc::unbounded_channel();
    let late = Arc::clone(&address);
    let posting = function(move |invocation| {
        let (sdk, tell) = (late.get().unwrap().clone(), tell.clone());
        Box::pin(async move {
            let event: Value = serde_json::from_slice(&invocation.payload).unwrap();
            let id = event["requestContext"]["connectionId"].as_str().unwrap();
            let posted = sdk.post_to_connection().connection_id(id).data(Blob::new("early")).send().await;
            tell.send((id.to_owned(), posted.map(drop).map_err(named))).unwrap();
            Ok(br#"{"statusCode":200}"#.to_vec())
        })
    });
    let stack = start(|api| api.route("$connect", posting).unwrap()).await;
    address.set(stack.sdk.clone()).unwrap();
    let (mut socket, _response) = stack.try_connect("/responses", &[]).await.unwrap();
    let (id, posted) = in_time(told.recv()).await.unwrap();
    assert_eq!(posted, Err("410 GoneException".to_owned()));
    stack.post(&id, "later").await.unwrap();
    assert_eq!(receive(&mut socket).await, Message::text("later"));
}

#[tokio::test]
async fn a_client_that_does_not_read_fills_its_buffer_and_loses_nothing_that_was_taken() {
    let limits = Limits { send_buffer: 256 * 1024, close_time: Duration::from_millis(50), ..Limits::default() };
    let mut stack = start(|api| api.limits(limits)).await;
    let (mut socket, id) = stack.connect().await;
    let (_other, other_id) = stack.connect().await;
    let mut taken = 0;
    let refused = loop {
        // The sockets' own buffers hold some megabytes.
        assert!(taken < 1000, "the buffer has no end");
        match stack.post(&id, format!("{taken:060000}")).await {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, "429 LimitExceededException");
    stack.post(&other_id, "x").await.unwrap();
    for number in 0..taken {
        let text = receive(&mut socket).await.into_text().unwrap();
        assert_eq!(text.parse::<usize>().unwrap(), number);
    }
    stack.post(&id, "again").await.unwrap();
    assert_eq!(receive(&mut socket).await, Message::text("again"));
    // Refused time after time, it is really stuck: the sockets' own buffers are full too.
    let mut refused_in_a_row = 0;
    while refused_in_a_row < 50 {
        let posted = stack.post(&id, vec![b'x'; 100_000]).await;
        refused_in_a_row = if posted.is_ok() { 0 } else { refused_in_a_row + 1 };
    }
    // Nor does it keep anybody waiting when it has to go.
    stack.sdk.delete_connection().connection_id(&id).send().await.unwrap();
    assert_eq!(stack.disconnected().await.0, 1000);
}

#[tokio::test]
async fn connections_are_cut_when_they_were_idle_or_open_for_too_long() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let clock = ManualClock::new(START);
    let shown = Clock::Manual(clock.clone());
    let mut stack = start(|api| api.clock(shown)).await;
    let going_away = || (1001, "Going away".to_owned());
    let (mut idle, _) = stack.connect().await;
    clock.advance(minutes(9));
    // No activity, though it is answered.
    idle.send(Message::Ping(Bytes::new())).await.unwrap();
    assert_eq!(receive(&mut idle).await, Message::Pong(Bytes::new()));
    let (mut busy, busy_id) = stack.connect().await;
    clock.advance(minutes(1));
    assert_eq!(closed(&mut idle).await, Some(going_away()));
    assert_eq!(stack.disconnected().await, (1001, "Going away".to_owned()));
    send(&mut busy, "x").await;
    stack.event().await;
    // Messages in either direction count as activity: nine minutes after the last one it is still there.
    for round in 0..13 {
        clock.advance(minutes(9));
        if round % 2 == 0 {
            send(&mut busy, "x").await;
            stack.event().await;
        } else {
            stack.post(&busy_id, "x").await.unwrap();
            assert_eq!(receive(&mut busy).await, Message::text("x"));
        }
    }
    clock.advance(minutes(2));
    assert_eq!(closed(&mut busy).await, Some(going_away()));
    assert_eq!(stack.post(&busy_id, "x").await, Err("410 GoneException".to_owned()));
}

#[tokio::test]
async fn pings_are_answered_or_not() {
    for pings in [Pings::Answered, Pings::Ignored] {
        let mut stack = start(|api| api.pings(pings)).await;
        let (mut socket, id) = stack.connect().await;
        socket.send(Message::Ping(Bytes::from_static(b"beat"))).await.unwrap();
        send(&mut socket, "x").await;
        // The event shows that the ping, which came before, was seen. It is no event itself.
        assert_eq!(stack.event().await["body"], "x");
        stack.post(&id, "posted").await.unwrap();
        if pings == Pings::Answered {
            assert_eq!(receive(&mut socket).await, Message::Pong(Bytes::from_static(b"beat")));
        }
        assert_eq!(receive(&mut socket).await, Message::text("posted"));
    }
}

#[tokio::test]
async fn a_client_is_told_when_its_message_came_to_nothing() {
    let limits = Limits { integration_time: Duration::from_millis(30), ..Limits::default() };
    let failing = function(|_| Box::pin(async { Err(InvokeError::Failed("secret".to_owned())) }));
    let (end, ended) = oneshot::channel::<()>();
    let (end, ended) = (end, Arc::new(tokio::sync::Mutex::new(Some(ended))));
    let (done, mut over) = mpsc::unbounded_channel();
    let slow = function(move |_| {
        let (ended, done) = (Arc::clone(&ended), done.clone());
        Box::pin(async move {
            let ended = ended.lock().await.take().unwrap();
            ended.await.unwrap();
            done.send(()).unwrap();
            Ok(br#"{"statusCode":200}"#.to_vec())
        })
    });
    let mut stack = start(|api| {
        let api = api.limits(limits).route_selection("$request.body.type").unwrap();
        let api = api.route("failing", failing).unwrap().route("slow", slow).unwrap();
        api.route("malformed", answering("null")).unwrap()
    })
    .await;
    let (mut socket, id) = stack.connect().await;
    let cases = [
        ("failing", "Internal server error", Outcome::Invocation(InvokeError::Failed("secret".to_owned()))),
        ("malformed", "Internal server error", Outcome::Malformed(MalformedAnswer::StatusCode)),
        ("slow", "Endpoint request timed out", Outcome::IntegrationTimeout),
    ];
    for (kind, text, outcome) in cases {
        send(&mut socket, &json!({ "type": kind }).to_string()).await;
        let frame = receive(&mut socket).await.into_text().unwrap();
        let told: Value = serde_json::from_str(&frame).unwrap();
        assert_eq!((&told["message"], &told["connectionId"]), (&json!(text), &json!(id)));
        assert_eq!(told.as_object().unwrap().len(), 3, "{frame}");
        // The line follows the frame.
        while stack.log.lock().unwrap().last().map(|access| &access.request_id)
            != Some(&told["requestId"].as_str().unwrap().to_owned())
        {
            tokio::task::yield_now().await;
        }
        assert_eq!(stack.log.lock().unwrap().last().unwrap().outcome, outcome);
    }
    // The time limit did not stop the function.
    end.send(()).unwrap();
    in_time(over.recv()).await.unwrap();
}

#[tokio::test]
async fn a_message_without_a_route_is_forbidden() {
    let sockets = WebSocketApi::new(Api::default(), "responses").build();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut served = JoinSet::new();
    served.spawn(async move {
        Gateway::new(Api::default()).websockets(sockets).serve(listener, std::future::pending()).await;
    });
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut socket, _response) =
        tokio_tungstenite::client_async(format!("ws://{address}/responses"), stream).await.unwrap();
    send(&mut socket, "x").await;
    let told: Value = serde_json::from_str(&receive(&mut socket).await.into_text().unwrap()).unwrap();
    assert_eq!(told["message"], "Forbidden");
}

#[tokio::test]
async fn a_client_that_vanishes_or_gives_no_code_is_a_disconnect_too() {
    let mut stack = start(|api| api).await;
    let (socket, id) = stack.connect().await;
    drop(socket);
    assert_eq!(stack.disconnected().await.0, 1006);
    assert_eq!(stack.post(&id, "x").await, Err("410 GoneException".to_owned()));
    let (mut socket, _) = stack.connect().await;
    socket.close(None).await.unwrap();
    assert_eq!(closed(&mut socket).await, None);
    assert_eq!(stack.disconnected().await, (1005, "Client-side close frame status not set".to_owned()));
}

#[tokio::test]
async fn a_disconnect_may_be_lost_or_late() {
    let lost = Delivery { lost_disconnects: 100, ..Delivery::default() };
    let mut stack = start(|api| api.delivery(lost)).await;
    let (mut socket, _) = stack.connect().await;
    socket.close(None).await.unwrap();
    closed(&mut socket).await;
    let mut seen = std::mem::replace(&mut stack.events, mpsc::unbounded_channel().1);
    let sockets = stack.sockets.clone();
    assert_eq!(stack.stopped().await, Drained { connections_cut: 0, invocations_cut: 0 });
    assert_eq!((seen.try_recv().ok(), sockets.open()), (None, 0));

    let clock = ManualClock::new(START);
    let shown = Clock::Manual(clock.clone());
    let late = Delivery { disconnect_after: Duration::from_secs(60), ..Delivery::default() };
    let mut stack = start(|api| api.delivery(late).clock(shown)).await;
    let (mut socket, _) = stack.connect().await;
    socket.close(None).await.unwrap();
    closed(&mut socket).await;
    clock.advance(Duration::from_secs(59));
    let (mut again, _) = stack.connect().await;
    send(&mut again, "x").await;
    assert_eq!(stack.event().await["body"], "x");
    clock.advance(Duration::from_secs(1));
    assert_eq!(stack.disconnected().await.0, 1005);
}

#[tokio::test]
async fn a_shutdown_says_goodbye_and_lets_invocations_end() {
    let (started, mut starts) = mpsc::unbounded_channel();
    let go = Arc::new(tokio::sync::Notify::new());
    let held = Arc::clone(&go);
    let busy = function(move |_| {
        let (started, held) = (started.clone(), Arc::clone(&held));
        Box::pin(async move {
            started.send(()).unwrap();
            held.notified().await;
            Ok(br#"{"statusCode":200}"#.to_vec())
        })
    });
    let mut stack = start(|api| api.route("$default", busy).unwrap()).await;
    let (mut socket, id) = stack.connect().await;
    send(&mut socket, "x").await;
    in_time(starts.recv()).await.unwrap();
    stack.stop.send(()).unwrap();
    assert_eq!(closed(&mut socket).await, Some((1001, "Going away".to_owned())));
    drop(socket);
    let event = in_time(stack.events.recv()).await.unwrap();
    assert_eq!(
        (&event["requestContext"]["eventType"], &event["requestContext"]["connectionId"]),
        (&json!("DISCONNECT"), &json!(id))
    );
    assert!(!stack.served.is_finished());
    go.notify_one();
    assert_eq!(in_time(stack.served).await.unwrap(), Drained { connections_cut: 0, invocations_cut: 0 });
}

#[tokio::test]
async fn a_shutdown_cuts_an_invocation_that_does_not_end_in_time_and_counts_it() {
    let (started, mut starts) = mpsc::unbounded_channel();
    let endless = function(move |_| {
        started.send(()).unwrap();
        Box::pin(std::future::pending())
    });
    let limits = gateway::Limits { drain_time: Duration::from_millis(50), ..gateway::Limits::default() };
    let mut stack = start_within(limits, |api| api.route("$default", endless).unwrap()).await;
    let (mut socket, _id) = stack.connect().await;
    send(&mut socket, "x").await;
    in_time(starts.recv()).await.unwrap();
    drop(socket);
    assert_eq!(stack.disconnected().await.0, 1006);
    assert_eq!(stack.stopped().await, Drained { connections_cut: 0, invocations_cut: 1 });
}
