//! An API that tools call: it notes each call and answers as the test says, badly too.

use serde_json::Value;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A call as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// When it was read whole.
    pub(crate) at: Instant,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// How the stub answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A status with a JSON body.
    Json(u16, Value),
    /// A status with headers and a body.
    With(u16, Vec<(String, String)>, String),
    /// These bytes, then the connection is closed.
    Raw(Vec<u8>),
    /// Nothing, until the caller gives up.
    Silence,
    /// These bytes, then nothing until the caller gives up.
    Stall(Vec<u8>),
    /// That, after a while.
    Late(Duration, Box<Reply>),
}

impl Reply {
    /// A status with a body of this content type.
    pub(crate) fn of(status: u16, content_type: &str, body: &str) -> Reply {
        Reply::With(status, vec![("content-type".into(), content_type.into())], body.into())
    }
}

/// The API. It ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Stub {
    pub(crate) url: String,
    calls: Arc<Mutex<Vec<Call>>>,
    connections: Arc<AtomicUsize>,
}

impl Stub {
    /// Answers each call with what `reply` makes of it and of the number of calls before it.
    pub(crate) async fn start(reply: impl Fn(&Call, usize) -> Reply + Send + Sync + 'static) -> Stub {
        Stub::start_at("127.0.0.1:0", reply).await
    }

    /// The same at another address of this machine.
    pub(crate) async fn start_at(at: &str, reply: impl Fn(&Call, usize) -> Reply + Send + Sync + 'static) -> Stub {
        let listener = TcpListener::bind(at).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let connections: Arc<AtomicUsize> = Arc::default();
        let stub = Stub { url, calls: calls.clone(), connections: connections.clone() };
        let reply = Arc::new(reply);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(answer(stream, calls.clone(), reply.clone()));
            }
        });
        stub
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("calls").clone()
    }

    /// The calls so far of one path.
    pub(crate) fn calls_of(&self, path: &str) -> Vec<Call> {
        self.calls.lock().expect("calls").iter().filter(|call| call.path == path).cloned().collect()
    }

    /// How often somebody has connected, with or without a call.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn answer(mut stream: TcpStream, calls: Arc<Mutex<Vec<Call>>>, reply: Arc<impl Fn(&Call, usize) -> Reply>) {
    while let Some(call) = read(&mut stream).await {
        let before = {
            let mut calls = calls.lock().expect("calls");
            calls.push(call.clone());
            calls.len() - 1
        };
        let mut reply = reply(&call, before);
        while let Reply::Late(wait, then) = reply {
            tokio::time::sleep(wait).await;
            reply = *then;
        }
        let (bytes, keep) = match reply {
            Reply::Json(status, body) => {
                (response(status, &[("content-type".into(), "application/json".into())], &body.to_string()), true)
            }
            Reply::With(status, headers, body) => (response(status, &headers, &body), true),
            Reply::Raw(bytes) => (bytes, false),
            Reply::Stall(bytes) => {
                drop(stream.write_all(&bytes).await);
                // Reads until the caller closes.
                drop(stream.read(&mut [0]).await);
                return;
            }
            Reply::Silence => {
                drop(stream.read(&mut [0]).await);
                return;
            }
            Reply::Late(..) => return,
        };
        if stream.write_all(&bytes).await.is_err() || !keep {
            return;
        }
    }
}

fn response(status: u16, headers: &[(String, String)], body: &str) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    (text + "\r\n" + body).into_bytes()
}

async fn read(stream: &mut TcpStream) -> Option<Call> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        let mut chunk = [0; 65_536];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => body.extend_from_slice(&chunk[..count]),
        }
    }
    Some(Call { method, path, headers, body, at: Instant::now() })
}
