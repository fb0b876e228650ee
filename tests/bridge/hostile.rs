//! Upstreams that mean harm, or speak HTTP as nobody should: each ends in a documented code, in time and within bounds.

use crate::support::work::{ALLOW, bridge, tool};
use crate::tool_commands::call;
use clawbridge_packed::Packed;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What an upstream sends when it was asked.
#[derive(Clone)]
enum Say {
    /// This, and then it closes the connection.
    Once(Vec<u8>),
    /// This, and then that again and again, as fast as it is read.
    Forever(Vec<u8>, Vec<u8>),
    /// This, and then that again and again, with a pause each time.
    Drip(Vec<u8>, Vec<u8>),
}

/// An upstream that says this, whatever it is asked.
async fn upstream(say: Say) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let say = Arc::new(say);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(speak(stream, say.clone()));
        }
    });
    url
}

async fn speak(mut stream: TcpStream, say: Arc<Say>) {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(count) if count > 0 => request.extend_from_slice(&chunk[..count]),
            _ => return,
        }
    }
    let (first, then, pause) = match &*say {
        Say::Once(bytes) => {
            drop(stream.write_all(bytes).await);
            drop(stream.shutdown().await);
            drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
            return;
        }
        Say::Forever(first, then) => (first, then, Duration::ZERO),
        Say::Drip(first, then) => (first, then, Duration::from_millis(50)),
    };
    let mut is_open = stream.write_all(first).await.is_ok();
    while is_open {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        is_open = stream.write_all(then).await.is_ok();
    }
}

/// An answer of status 200 with these headers, each with its line's end, and this body.
fn answer(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A gzip file (RFC 1952) of so many zeros.
fn bomb(size: usize) -> Vec<u8> {
    let packed = Packed::pack(&vec![b'0'; size]);
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    // Checksum and length are read last, if at all.
    [&head[..], &packed.bytes, &[0; 8]].concat()
}

struct Row {
    name: &'static str,
    say: Say,
    code: &'static str,
    /// In the message.
    says: &'static str,
    /// In the evidence; empty: there is none.
    evidence: &'static str,
}

fn row(name: &'static str, say: Say, code: &'static str, says: &'static str, evidence: &'static str) -> Row {
    Row { name, say, code, says, evidence }
}

fn rows() -> Vec<Row> {
    use Say::{Drip, Forever, Once};
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let json = "content-type: application/json\r\n";
    let deep = "[".repeat(50_000);
    let closed = [b"[".repeat(5_000), b"]".repeat(5_000)].concat();
    let many: String = (0..2_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(1024 * 1024));
    let unexpected = "UNEXPECTED_RESPONSE";
    vec![
        // Compression that nobody asked for.
        row(
            "bomb",
            Once(answer(&format!("{json}content-encoding: gzip\r\n"), &bomb(5 << 20))),
            unexpected,
            "compressed (gzip)",
            "\u{fffd}",
        ),
        row("coded", Once(answer("content-encoding: br\r\n", b"{}")), unexpected, "compressed (br)", "{}"),
        row(
            "twice",
            Once(answer("content-encoding: gzip, gzip\r\n", b"{}")),
            unexpected,
            "compressed (gzip, gzip)",
            "{}",
        ),
        // What is not what it says.
        row(
            "picture",
            Once(answer("content-type: image/png\r\n", b"\x89PNG\r\n\x1a\n\xff")),
            unexpected,
            "not UTF-8",
            "PNG",
        ),
        row(
            "latin",
            Once(answer("content-type: text/plain; charset=latin1\r\n", b"caf\xe9")),
            unexpected,
            "not UTF-8",
            "caf",
        ),
        row("overlong", Once(answer(json, b"\"\xc0\xaf\"")), unexpected, "not UTF-8", "\""),
        row("surrogate", Once(answer(json, b"\"\\ud800\"")), unexpected, "is JSON and is not", "ud800"),
        row("wide", Once(answer(json, b"\xff\xfe{\0}\0")), unexpected, "not UTF-8", "{"),
        row(
            "page",
            Once(answer("content-type: text/html\r\n", b"<h1>502</h1>")),
            unexpected,
            "text/html, not JSON",
            "<h1>502</h1>",
        ),
        row("nameless", Once(answer("", b"<h1>502</h1>")), unexpected, "not JSON", "<h1>"),
        row("numbers", Once(answer(json, b"1e999")), unexpected, "is JSON and is not", "1e999"),
        row("comments", Once(answer(json, b"{} // done")), unexpected, "is JSON and is not", "// done"),
        // Depth.
        row("deep", Once(answer(json, deep.as_bytes())), unexpected, "is JSON and is not", "[[["),
        row("deep_and_closed", Once(answer(json, &closed)), unexpected, "is JSON and is not", "[[["),
        // Without end.
        row(
            "endless",
            Forever(CHUNKED.into(), b"1000\r\n".iter().copied().chain([b'a'; 0x1000]).chain(*b"\r\n").collect()),
            unexpected,
            "larger than max_response",
            "aaa",
        ),
        row(
            "endless_until_closed",
            Forever(format!("{OK}\r\n").into(), vec![b'b'; 4096]),
            unexpected,
            "larger than max_response",
            "bbb",
        ),
        row(
            "claims_a_terabyte",
            Forever(format!("{OK}content-length: 1099511627776\r\n\r\n").into(), vec![b'c'; 4096]),
            unexpected,
            "larger than max_response",
            "ccc",
        ),
        row(
            "head_without_end",
            Forever(OK.into(), b"x: y\r\n".repeat(1_000)),
            "UNAVAILABLE",
            "before the answer was whole",
            "",
        ),
        row(
            "interim_without_end",
            Forever(Vec::new(), b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec()),
            "TIMEOUT",
            "in time",
            "",
        ),
        row(
            "chunk_names_without_end",
            Forever(format!("{CHUNKED}1;").into(), vec![b'd'; 4096]),
            "UNAVAILABLE",
            "before the answer was whole",
            "",
        ),
        // Slowly.
        row(
            "slow_body",
            Drip(format!("{OK}content-length: 100000\r\n\r\n").into(), b"e".to_vec()),
            "TIMEOUT",
            "in time",
            "",
        ),
        row("slow_chunks", Drip(CHUNKED.into(), b"1\r\nf\r\n".to_vec()), "TIMEOUT", "in time", ""),
        row("slow_head", Drip(OK.into(), b"x".to_vec()), "TIMEOUT", "in time", ""),
        row("silent", Drip(Vec::new(), Vec::new()), "TIMEOUT", "in time", ""),
        // Cut, and broken HTTP.
        row("cut", Once(answer(json, b"{\"id\": 1}")[..70].to_vec()), "UNAVAILABLE", "before the answer was whole", ""),
        row(
            "cut_chunk",
            Once(format!("{CHUNKED}10\r\n{{\"id\":").into()),
            "UNAVAILABLE",
            "before the answer was whole",
            "",
        ),
        row(
            "cut_head",
            Once(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
            "UNAVAILABLE",
            "before the answer was whole",
            "",
        ),
        row(
            "huge_chunk",
            Once(format!("{CHUNKED}fffffffffffffffff\r\n{{}}\r\n").into()),
            "UNAVAILABLE",
            "before the answer was whole",
            "",
        ),
        row(
            "negative",
            Once(format!("{OK}content-length: -1\r\n\r\n{{}}").into()),
            "UNAVAILABLE",
            "before the answer was whole",
            "",
        ),
        row(
            "two_lengths",
            Once(format!("{OK}content-length: 2\r\ncontent-length: 4\r\n\r\n{{}}{{}}").into()),
            "UNAVAILABLE",
            "before the answer was whole",
            "",
        ),
        row("split", Once(format!("{OK}x: a\0b\r\n\r\n{{}}").into()), "UNAVAILABLE", "before the answer was whole", ""),
        row("many_headers", Once(answer(&many, b"{}")), "UNAVAILABLE", "before the answer was whole", ""),
        row("long_header", Once(answer(&long, b"{}")), "UNAVAILABLE", "before the answer was whole", ""),
        row(
            "another_protocol",
            Once(b"\x16\x03\x01\x02\x00\x01\x00".to_vec()),
            "UNAVAILABLE",
            "before the answer was whole",
            "",
        ),
        row(
            "switches",
            Once(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n{}".to_vec()),
            unexpected,
            "no tool expects",
            "",
        ),
        row(
            "no_status",
            Once(b"HTTP/1.1 999 What\r\ncontent-length: 2\r\n\r\n{}".to_vec()),
            unexpected,
            "no tool expects",
            "{}",
        ),
        // Elsewhere.
        row(
            "metadata",
            Once(
                b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/\r\ncontent-length: 0\r\n\r\n".to_vec(),
            ),
            unexpected,
            "redirects are not followed",
            "",
        ),
        row(
            "file",
            Once(
                b"HTTP/1.1 307 Temporary Redirect\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\n\r\n"
                    .to_vec(),
            ),
            unexpected,
            "redirects are not followed",
            "",
        ),
        row(
            "refresh",
            Once(answer("content-type: text/html\r\nrefresh: 0; url=http://127.0.0.1/\r\n", b"<p>")),
            unexpected,
            "text/html",
            "<p>",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_upstream_does_the_call_ends_with_a_code_in_time_and_within_bounds() {
    let rows = rows();
    let mut config = ALLOW.to_owned();
    for row in &rows {
        let timeout = if row.code == "TIMEOUT" { "1s" } else { "20s" };
        let url = upstream(row.say.clone()).await;
        config +=
            &tool(row.name, "GET", &url, &format!("timeout = \"{timeout}\"\nattempts = 1\nmax_response = \"64KiB\""));
    }
    let bridge = bridge(&config).await;
    let mut wrong = String::new();
    for Row { name, code, says, evidence, .. } in &rows {
        let called = call(&bridge, name, &json!({}));
        let error = &called["error"];
        let (message, kept) =
            (error["message"].as_str().unwrap_or_default(), error["evidence"].as_str().unwrap_or_default());
        let is_kept = if evidence.is_empty() { kept.is_empty() } else { kept.contains(evidence) };
        let is_in_time = called["ms"].as_u64().is_some_and(|ms| ms < 10_000);
        let is_bounded =
            called["received_bytes"].as_u64().is_some_and(|bytes| bytes <= 64 * 1024) && kept.len() <= 2048;
        if !(error["code"] == *code && message.contains(says) && is_kept && is_in_time && is_bounded) {
            wrong.push_str(&format!("{name}: expected {code}, {says}, {evidence}\n  {}\n", clip(&called.to_string())));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(600)]
}
