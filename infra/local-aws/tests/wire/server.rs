//! The port: who may ask, what is an AWS call, how it stops.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Stack, call, request, until};

#[tokio::test]
async fn a_request_that_names_another_host_is_refused() {
    let stack = Stack::start().await;
    let target = ("x-amz-target", "AmazonSQS.ListQueues");
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "user@127.0.0.1", ""] {
        for path in ["/", "/page"] {
            let refused = request(stack.address, "POST", path, &[target, ("host", host)], b"{}").await;
            assert_eq!(refused.status, 403, "{host}");
            assert!(refused.body.starts_with(b"LOOPBACK_ONLY"));
        }
    }
    let absolute = request(stack.address, "POST", "http://evil.example/", &[target], b"{}").await;
    assert_eq!(absolute.status, 403);
    let port = stack.address.port();
    for host in
        [format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}"), "localhost".to_owned()]
    {
        let answer = request(stack.address, "POST", "/", &[target, ("host", &host)], b"{}").await;
        assert_eq!(answer.status, 200, "{host}");
    }
}

#[tokio::test]
async fn a_client_gets_queue_urls_with_the_host_that_it_used() {
    let stack = Stack::start().await;
    let headers = [("x-amz-target", "AmazonSQS.CreateQueue"), ("host", "localhost:4566")];
    let answer = request(stack.address, "POST", "/", &headers, br#"{"QueueName":"q"}"#).await;
    assert_eq!(answer.json()["QueueUrl"], "http://localhost:4566/000000000000/q");
    assert_eq!(stack.aws.sqs().queue_url("q"), format!("http://{}/000000000000/q", stack.address));
}

#[tokio::test]
async fn there_are_no_cors_headers_and_a_preflight_is_no_aws_call() {
    let stack = Stack::start().await;
    let origin = ("origin", "https://evil.example");
    for (method, headers) in [
        ("POST", vec![origin, ("x-amz-target", "DynamoDB_20120810.ListTables")]),
        (
            "OPTIONS",
            vec![origin, ("access-control-request-method", "POST"), ("access-control-request-headers", "x-amz-target")],
        ),
    ] {
        let answer = request(stack.address, method, "/", &headers, b"{}").await;
        assert!(
            !answer.headers.keys().any(|name| name.starts_with("access-control")),
            "{method}: {:?}",
            answer.headers
        );
    }
}

#[tokio::test]
async fn what_is_no_aws_call_goes_to_the_fallback() {
    let stack = Stack::start().await;
    for (method, headers, expected) in [
        ("GET", vec![], "fallback GET /page?x=1 0"),
        ("POST", vec![("content-type", "application/json")], "fallback POST /page?x=1 2"),
        ("PUT", vec![("x-amz-target", "AmazonSQS.ListQueues")], "fallback PUT /page?x=1 2"),
    ] {
        let body: &[u8] = if method == "GET" { b"" } else { b"{}" };
        let answer = request(stack.address, method, "/page?x=1", &headers, body).await;
        assert_eq!((answer.status, &answer.body[..]), (418, expected.as_bytes()));
    }
}

#[tokio::test]
async fn an_unknown_operation_is_named() {
    let stack = Stack::start().await;
    for target in [
        "AmazonSQS.AddPermission",
        "secretsmanager.RotateSecret",
        "DynamoDB_20120810.CreateBackup",
        "S3.PutObject",
        "x",
    ] {
        let answer = stack.call(target, json!({})).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "UnknownOperationException"), "{target}");
        let operation = target.split('.').next_back().unwrap();
        assert!(answer.message().contains(operation), "{}", answer.message());
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused() {
    let stack = Stack::start().await;
    for target in ["AmazonSQS.ListQueues", "secretsmanager.ListSecrets", "DynamoDB_20120810.ListTables"] {
        for body in ["{", "[1]", "\"text\"", "\u{0}"] {
            let answer = request(stack.address, "POST", "/", &[("x-amz-target", target)], body.as_bytes()).await;
            assert_eq!(answer.error(), "SerializationException", "{target} {body}");
        }
    }
}

#[tokio::test]
async fn answers_have_the_protocols_headers() {
    let stack = Stack::start().await;
    for (target, content_type) in [
        ("AmazonSQS.ListQueues", "application/x-amz-json-1.0"),
        ("DynamoDB_20120810.ListTables", "application/x-amz-json-1.0"),
        ("secretsmanager.ListSecrets", "application/x-amz-json-1.1"),
    ] {
        let answer = stack.call(target, json!({})).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["content-type"], content_type);
        assert_eq!(answer.headers["x-amzn-requestid"].len(), 36);
    }
}

#[tokio::test]
async fn a_body_over_sixteen_mebibytes_is_refused() {
    let stack = Stack::start().await;
    let mut stream = TcpStream::connect(stack.address).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n", stack.address, 17 * 1024 * 1024);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    // The announced length is enough; nothing needs to be sent.
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn shutdown_ends_long_polls_at_once_and_loses_nothing() {
    let stack = Stack::start().await;
    let queue = stack.queue("q", json!({})).await;
    let input = json!({ "QueueUrl": queue, "WaitTimeSeconds": 20 });
    let poll = tokio::spawn(call(stack.address, "AmazonSQS.ReceiveMessage", input));
    until(|| stack.clock.sleepers() > 0).await;
    let sqs = stack.aws.sqs().clone();
    let stopping = stack.stopping();
    assert_eq!(poll.await.unwrap().json(), json!({}));
    tokio::time::timeout(Duration::from_secs(3), stopping).await.expect("no need to wait").unwrap();
    // A receiver in this process is not the server's to stop.
    sqs.send("q", "later", Duration::ZERO).await.unwrap();
    let got = sqs.receive("q", 1, Duration::from_secs(20), None).await.unwrap();
    assert_eq!(got[0].body, "later");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_idle_or_unfinished_clients() {
    let stack = Stack::start().await;
    let idle = TcpStream::connect(stack.address).await.unwrap();
    let mut unfinished = TcpStream::connect(stack.address).await.unwrap();
    unfinished.write_all(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nhalf").await.unwrap();
    let mut early = TcpStream::connect(stack.address).await.unwrap();
    early.write_all(b"POST / HTTP/1.1\r\nhost: loc").await.unwrap();
    // All are accepted once a later request is answered.
    stack.queue("q", json!({})).await;
    tokio::time::timeout(Duration::from_secs(3), stack.stop()).await.expect("no need to wait");
    drop((idle, unfinished, early));
}
