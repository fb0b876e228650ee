//! HTTP/1.1 as the stub needs it: requests of one client, answers that may be slow and may break off (RFC 9112).
//!
//! By hand, because a proper server does not let a connection break where a script says.

use bytes::Bytes;
use clawbridge_config::Cut;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Method, StatusCode};
use std::fmt::Write as _;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest head of a request, bytes.
const MAX_HEAD: usize = 256 * 1024;

/// The longest body of a request, bytes.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// How long a request may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a slow body goes on.
const BEAT: Duration = Duration::from_millis(100);

/// A request as it came.
pub(crate) struct Incoming {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An answer and how it is sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Without a length the body ends with the connection.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) delay: Duration,
    pub(crate) cut: Option<Cut>,
    /// Bytes per second.
    pub(crate) slow: Option<u32>,
}

/// Reads a request. An error says what is wrong with it; the connection is then of no more use.
pub(crate) async fn read(stream: &mut TcpStream) -> Result<Incoming, String> {
    match tokio::time::timeout(READ_TIMEOUT, read_whole(stream)).await {
        Ok(read) => read,
        Err(_) => Err(format!("the request took longer than {READ_TIMEOUT:?}")),
    }
}

async fn read_whole(stream: &mut TcpStream) -> Result<Incoming, String> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if bytes.len() > MAX_HEAD {
            return Err(format!("its head is longer than {MAX_HEAD} bytes"));
        }
        more(stream, &mut bytes).await?;
    };
    let mut body = bytes.split_off(end + 4);
    let (method, target, headers) = head(&bytes[..end])?;
    let length = match headers.get(CONTENT_LENGTH) {
        None if headers.contains_key(TRANSFER_ENCODING) => {
            return Err("it is chunked, which no tool's call is".to_owned());
        }
        None => 0,
        Some(length) => length
            .to_str()
            .ok()
            .and_then(|text| text.parse::<usize>().ok())
            .filter(|length| *length <= MAX_BODY)
            .ok_or_else(|| format!("its length is none up to {MAX_BODY}"))?,
    };
    while body.len() < length {
        more(stream, &mut body).await?;
    }
    body.truncate(length);
    Ok(Incoming { method, target, headers, body: body.into() })
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<(), String> {
    match stream.read_buf(bytes).await {
        Ok(0) => Err("it ended early".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn head(bytes: &[u8]) -> Result<(Method, String, HeaderMap), String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "its head is not UTF-8".to_owned())?;
    let mut lines = text.split("\r\n");
    let first: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1"] = first[..] else { return Err("its first line is not HTTP/1.1".to_owned()) };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| "it has no method".to_owned())?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let pair = line.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value.trim_matches([' ', '\t'])).ok()?))
        });
        let Some((name, value)) = pair else { return Err("it has a line that is no header".to_owned()) };
        headers.append(name, value);
    }
    Ok((method, target.to_owned(), headers))
}

/// Whether the request names this machine, as a web page under a name of its own does not.
pub(crate) fn is_for_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    host.parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
}

/// Answers a request of this method, as the answer says. The connection is then to be closed.
pub(crate) async fn write(stream: &mut TcpStream, method: &Method, answer: &Answer) -> io::Result<()> {
    tokio::time::sleep(answer.delay).await;
    let head = answer.head();
    let has_body = *method != Method::HEAD && !matches!(answer.status, 204 | 205 | 304);
    match answer.cut {
        Some(Cut::Before) => return Ok(()),
        // Without a body the headers are all there is, so they are what breaks off.
        Some(Cut::Headers | Cut::Body) if !has_body => stream.write_all(&head.as_bytes()[..head.len() / 2]).await?,
        Some(Cut::Headers) => stream.write_all(head.as_bytes()).await?,
        Some(Cut::Body) => {
            stream.write_all(head.as_bytes()).await?;
            write_body(stream, &answer.body[..answer.body.len() / 2], answer.slow).await?;
        }
        None => {
            stream.write_all(head.as_bytes()).await?;
            if has_body {
                write_body(stream, &answer.body, answer.slow).await?;
            }
        }
    }
    stream.shutdown().await
}

async fn write_body(stream: &mut TcpStream, body: &[u8], slow: Option<u32>) -> io::Result<()> {
    let Some(rate) = slow else { return stream.write_all(body).await };
    // As many bytes as fit into a beat; of fewer than one, each takes as long as it takes.
    let portion = (f64::from(rate) * BEAT.as_secs_f64()).max(1.0) as usize;
    for portion in body.chunks(portion) {
        stream.write_all(portion).await?;
        stream.flush().await?;
        tokio::time::sleep(Duration::from_secs_f64(portion.len() as f64 / f64::from(rate))).await;
    }
    Ok(())
}

impl Answer {
    fn head(&self) -> String {
        let reason = StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason.unwrap_or("Unknown"));
        for (name, value) in &self.headers {
            // Writing to a String does not fail.
            let _ = write!(head, "{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()));
        }
        head + "\r\n"
    }

    /// Announces the body's length; of a body that is cut off before its first byte at least one.
    pub(crate) fn with_length(mut self) -> Answer {
        let least = usize::from(self.cut.is_some());
        if !matches!(self.status, 204 | 304) {
            self.headers.insert(CONTENT_LENGTH, self.body.len().max(least).into());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.expect("connected"), server.expect("accepted").0)
    }

    #[tokio::test]
    async fn a_request_is_read_whole_however_it_arrives() {
        let (mut client, mut server) = pair().await;
        let bytes = b"POST /a.example/x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\ncontent-length: 4\r\n\r\nabcdTOO MUCH";
        let writing = tokio::spawn(async move {
            for byte in bytes {
                client.write_all(&[*byte]).await.expect("written");
            }
            client
        });
        let read = read(&mut server).await.expect("a request");
        assert_eq!(
            (read.method, read.target.as_str(), &read.body[..]),
            (Method::POST, "/a.example/x?y=1", &b"abcd"[..])
        );
        assert!(is_for_this_machine(&read.headers));
        drop(writing.await);
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused() {
        for (bytes, says) in [
            (&b""[..], "ended early"),
            (b"GET / HTTP/1.1\r\n", "ended early"),
            (b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nabc", "ended early"),
            (b"GET / HTTP/1.0\r\n\r\n", "first line"),
            (b"hello\r\n\r\n", "first line"),
            (b"G(T / HTTP/1.1\r\n\r\n", "no method"),
            (b"GET / HTTP/1.1\r\nno header\r\n\r\n", "no header"),
            (b"GET / HTTP/1.1\r\nx: \xff\r\n\r\n", "not UTF-8"),
            (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", "chunked"),
            (b"POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n", "length"),
        ] {
            let (mut client, mut server) = pair().await;
            client.write_all(bytes).await.expect("written");
            client.shutdown().await.expect("ended");
            let refused = read(&mut server).await.err().unwrap_or_default();
            assert!(refused.contains(says), "{bytes:?}: {refused}");
        }
    }

    #[test]
    fn only_addresses_of_this_machine_are_answered() {
        for (host, expected) in
            [("127.0.0.1:80", true), ("[::1]:80", true), ("a.example:80", false), ("localhost:80", false), ("", false)]
        {
            let headers = [(HOST, HeaderValue::from_static(host))].into_iter().collect();
            assert_eq!(is_for_this_machine(&headers), expected, "{host}");
        }
    }

    async fn sent(method: &Method, answer: Answer) -> String {
        let (mut client, mut server) = pair().await;
        let method = method.clone();
        let writing = tokio::spawn(async move { write(&mut server, &method, &answer).await });
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.expect("read");
        writing.await.expect("ended").expect("written");
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[tokio::test]
    async fn an_answer_breaks_off_where_it_is_told_to() {
        let answer = |status, body: &'static str, cut| {
            Answer { status, body: body.into(), cut, ..Answer::default() }.with_length()
        };
        let whole = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabcd";
        for (answer, expected) in [
            (answer(200, "abcd", None), whole),
            (answer(200, "abcd", Some(Cut::Before)), ""),
            (answer(200, "abcd", Some(Cut::Headers)), whole.trim_end_matches("abcd")),
            (answer(200, "abcd", Some(Cut::Body)), whole.trim_end_matches("cd")),
            (answer(200, "", Some(Cut::Headers)), "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n"),
            (answer(599, "", None), "HTTP/1.1 599 Unknown\r\ncontent-length: 0\r\n\r\n"),
            (answer(204, "", None), "HTTP/1.1 204 No Content\r\n\r\n"),
            (answer(204, "", Some(Cut::Headers)), "HTTP/1.1 204 "),
            (Answer { status: 200, body: "ab".into(), ..Answer::default() }, "HTTP/1.1 200 OK\r\n\r\nab"),
        ] {
            assert_eq!(sent(&Method::GET, answer).await, expected);
        }
        assert_eq!(sent(&Method::HEAD, answer(200, "abcd", None)).await, whole.trim_end_matches("abcd"));
        assert_eq!(sent(&Method::HEAD, answer(200, "abcd", Some(Cut::Body))).await, "HTTP/1.1 200 OK\r\nco");
    }

    #[tokio::test]
    async fn a_slow_body_comes_at_its_speed() {
        for (rate, length) in [(1000, 300), (10, 3)] {
            let body = Bytes::from("x".repeat(length));
            let answer = Answer { status: 200, body, slow: Some(rate), ..Answer::default() };
            let started = Instant::now();
            assert!(sent(&Method::GET, answer).await.ends_with(&"x".repeat(length)));
            assert!(started.elapsed() >= Duration::from_millis(290), "{rate}: {:?}", started.elapsed());
        }
    }
}
