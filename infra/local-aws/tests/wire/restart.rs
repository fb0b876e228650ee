//! State in a directory: what was answered is there again, and one process at a time.

use std::process::{Command, Stdio};
use std::time::Duration;

use clawbridge_local_aws::{LocalAws, State};
use serde_json::json;

use crate::client::{Stack, call};

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let state = || State::Dir(dir.path().join("state"));

    let stack = Stack::start_on(state()).await;
    let queue = stack.queue("q", json!({ "VisibilityTimeout": "60" })).await;
    let fifo = stack.queue("f.fifo", json!({ "FifoQueue": "true", "ContentBasedDeduplication": "true" })).await;
    stack.send(&queue, "in flight").await;
    let held = stack.receive(&queue).await.remove(0);
    stack.send(&queue, "waiting").await;
    let fifo_input = json!({ "QueueUrl": fifo, "MessageBody": "same", "MessageGroupId": "g" });
    let first = stack.sqs("SendMessage", fifo_input.clone()).await;
    stack.aws.secrets().create("s", "one").unwrap();
    stack.aws.secrets().put("s", "two").unwrap();
    let table = json!({
        "TableName": "things", "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{ "AttributeName": "pk", "KeyType": "HASH" }],
        "AttributeDefinitions": [{ "AttributeName": "pk", "AttributeType": "S" }],
    });
    stack.dynamodb("CreateTable", table).await;
    stack.dynamodb("PutItem", json!({ "TableName": "things", "Item": { "pk": { "S": "1" } } })).await;
    stack.stop().await;

    let stack = Stack::start_on(state()).await;
    // The clock starts where it did, so what was in flight still is.
    assert_eq!(stack.bodies(&queue).await, ["waiting"]);
    stack.delete(&queue, &held).await;
    assert_eq!(stack.aws.sqs().counts("q").unwrap().in_flight, 1);
    let again = stack.sqs("SendMessage", fifo_input).await;
    assert_eq!((&again["MessageId"], &again["SequenceNumber"]), (&first["MessageId"], &first["SequenceNumber"]));
    assert_eq!(stack.aws.secrets().get("s").unwrap().as_deref(), Some("two"));
    let previous = stack.secrets("GetSecretValue", json!({ "SecretId": "s", "VersionStage": "AWSPREVIOUS" })).await;
    assert_eq!(previous["SecretString"], "one");
    let item = stack.dynamodb("GetItem", json!({ "TableName": "things", "Key": { "pk": { "S": "1" } } })).await;
    assert!(item["Item"].is_object());
    stack.stop().await;
}

#[test]
fn a_directory_is_used_by_one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let state = || State::Dir(dir.path().to_owned());
    let first = LocalAws::open(state()).unwrap();
    let clone = first.clone();
    drop(first);
    let refused = LocalAws::open(state()).unwrap_err();
    assert_eq!(refused.code(), "STATE_IN_USE");
    assert!(refused.to_string().contains(&dir.path().display().to_string()), "{refused}");
    drop(clone);
    LocalAws::open(state()).expect("it is free again");
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_state() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let aws = LocalAws::open(State::Dir(path.clone())).unwrap();
    aws.secrets().create("s", "v").unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for entry in path.read_dir().unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_state_that_cannot_be_used_is_a_clear_error() {
    for file in ["aws.sqlite", "dynamodb.sqlite"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(file), "This is no database. ".repeat(500)).unwrap();
        let error = LocalAws::open(State::Dir(dir.path().to_owned())).unwrap_err();
        assert_eq!(error.code(), "STATE_CORRUPT", "{error}");
        assert!(error.to_string().contains(file), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = LocalAws::open(State::Dir(file)).unwrap_err();
    assert_eq!(error.code(), "STATE_UNAVAILABLE", "{error}");

    let dir = tempfile::tempdir().unwrap();
    rusqlite::Connection::open(dir.path().join("aws.sqlite")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = LocalAws::open(State::Dir(dir.path().to_owned())).unwrap_err();
    assert_eq!(error.code(), "STATE_TOO_NEW", "{error}");
}

#[tokio::test]
async fn a_file_that_breaks_while_open_is_an_error_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let stack = Stack::start_on(State::Dir(dir.path().to_owned())).await;
    let queue = stack.queue("q", json!({})).await;
    // As if the disk had failed: every table is gone under the running services.
    let other = rusqlite::Connection::open(dir.path().join("aws.sqlite")).unwrap();
    other
        .execute_batch("PRAGMA foreign_keys = off; DROP TABLE messages; DROP TABLE secret_stages; DROP TABLE secret_versions; DROP TABLE secrets;")
        .unwrap();
    let failed = stack.sqs_error("SendMessage", json!({ "QueueUrl": queue, "MessageBody": "x" })).await;
    assert_eq!((failed.status, failed.error().as_str()), (500, "InternalFailure"));
    assert_eq!(failed.headers["x-amzn-query-error"], "InternalError;Receiver");
    let failed = stack.call("secretsmanager.ListSecrets", json!({})).await;
    assert_eq!((failed.status, failed.error().as_str()), (500, "InternalServiceError"));
    assert!(stack.aws.sqs().receive("q", 1, Duration::ZERO, None).await.is_err());
}

const SERVE_DIR: &str = "LOCAL_AWS_TEST_SERVE_DIR";

/// Not a test of its own: the process that [`nothing_that_was_answered_is_lost_with_the_process`] starts and kills.
#[tokio::test]
async fn serve_until_killed() {
    let Some(dir) = std::env::var_os(SERVE_DIR) else { return };
    let stack = Stack::start_on(State::Dir(dir.clone().into())).await;
    // Written beside and renamed, so that the parent never reads half an address.
    let path = std::path::Path::new(&dir);
    std::fs::write(path.join("address.new"), stack.address.to_string()).unwrap();
    std::fs::rename(path.join("address.new"), path.join("address")).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn nothing_that_was_answered_is_lost_with_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "restart::serve_until_killed", "--nocapture"])
        .env(SERVE_DIR, dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut address = None;
    crate::client::until(|| {
        address = std::fs::read_to_string(dir.path().join("address")).ok().and_then(|text| text.parse().ok());
        address.is_some()
    })
    .await;
    let address = address.unwrap();
    call(address, "AmazonSQS.CreateQueue", json!({ "QueueName": "q" })).await;
    let table = json!({
        "TableName": "things", "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{ "AttributeName": "pk", "KeyType": "HASH" }],
        "AttributeDefinitions": [{ "AttributeName": "pk", "AttributeType": "S" }],
    });
    call(address, "DynamoDB_20120810.CreateTable", table).await;
    for i in 0..25 {
        let sent =
            call(address, "AmazonSQS.SendMessage", json!({ "QueueUrl": "q", "MessageBody": i.to_string() })).await;
        let item = json!({ "TableName": "things", "Item": { "pk": { "S": i.to_string() } } });
        let put = call(address, "DynamoDB_20120810.PutItem", item).await;
        let name = format!("s{i}");
        let made = call(address, "secretsmanager.CreateSecret", json!({ "Name": name, "SecretString": "v" })).await;
        assert_eq!((sent.status, put.status, made.status), (200, 200, 200));
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let stack = Stack::start_on(State::Dir(dir.path().to_owned())).await;
    assert_eq!(stack.aws.sqs().counts("q").unwrap().visible, 25);
    assert_eq!(stack.dynamodb("Scan", json!({ "TableName": "things" })).await["Count"], 25);
    for i in 0..25 {
        assert_eq!(stack.aws.secrets().get(&format!("s{i}")).unwrap().as_deref(), Some("v"));
    }
    stack.stop().await;
}
