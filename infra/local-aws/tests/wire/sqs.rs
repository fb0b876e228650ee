//! SQS: what a sender and a receiver rely on.

use serde_json::{Value, json};

use crate::client::{Stack, call, until};

const NONE: [&str; 0] = [];

fn attribute<'a>(message: &'a Value, name: &str) -> Option<&'a str> {
    message["Attributes"][name].as_str()
}

#[tokio::test]
async fn a_message_arrives_with_its_sums_and_attributes_and_is_gone_when_deleted() {
    let stack = Stack::start().await;
    let queue = stack.queue("q", json!({})).await;
    let sent = stack
        .sqs(
            "SendMessage",
            json!({
                "QueueUrl": queue,
                "MessageBody": "héllo",
                "MessageAttributes": {
                    "kind": { "DataType": "String", "StringValue": "a" },
                    "bytes": { "DataType": "Binary.png", "BinaryValue": "AAE=" },
                    "size": { "DataType": "Number", "StringValue": "12.5" },
                },
                "MessageSystemAttributes": { "AWSTraceHeader": { "DataType": "String", "StringValue": "Root=1" } },
            }),
        )
        .await;
    let messages = stack.receive(&queue).await;
    let [message] = messages.as_slice() else { panic!("one message, not {messages:?}") };
    assert_eq!(message["MessageId"], sent["MessageId"]);
    assert_eq!(message["Body"], "héllo");
    assert_eq!(message["MD5OfBody"], "be50e8478cf24ff3595bc7307fb91b50");
    assert_eq!(message["MD5OfBody"], sent["MD5OfMessageBody"]);
    assert_eq!(message["MD5OfMessageAttributes"], sent["MD5OfMessageAttributes"]);
    assert_eq!(message["MessageAttributes"]["bytes"], json!({ "DataType": "Binary.png", "BinaryValue": "AAE=" }));
    assert_eq!(message["MessageAttributes"]["size"]["StringValue"], "12.5");
    assert_eq!(attribute(message, "ApproximateReceiveCount"), Some("1"));
    assert_eq!(attribute(message, "SentTimestamp"), Some("1795219200000"));
    assert_eq!(attribute(message, "ApproximateFirstReceiveTimestamp"), Some("1795219200000"));
    assert_eq!(attribute(message, "AWSTraceHeader"), Some("Root=1"));

    stack.delete(&queue, message).await;
    stack.delete(&queue, message).await;
    stack.advance(31);
    assert_eq!(stack.bodies(&queue).await, NONE);
}

#[tokio::test]
async fn a_receiver_gets_the_attributes_that_it_names() {
    let stack = Stack::start().await;
    let queue = stack.queue("q", json!({ "VisibilityTimeout": "0" })).await;
    let text = json!({ "DataType": "String", "StringValue": "v" });
    let attributes = json!({ "trace.id": text, "trace.span": text, "kind": text });
    stack.sqs("SendMessage", json!({ "QueueUrl": queue, "MessageBody": "b", "MessageAttributes": attributes })).await;
    for (names, expected) in [
        (json!([]), vec![]),
        (json!(["kind"]), vec!["kind"]),
        (json!(["trace.*"]), vec!["trace.id", "trace.span"]),
        (json!([".*"]), vec!["kind", "trace.id", "trace.span"]),
    ] {
        let input = json!({
            "QueueUrl": queue, "MessageAttributeNames": names, "MessageSystemAttributeNames": ["SentTimestamp"],
        });
        let answer = stack.sqs("ReceiveMessage", input).await;
        let message = &answer["Messages"][0];
        let got: Vec<&str> = message["MessageAttributes"]
            .as_object()
            .map(|map| map.keys().map(String::as_str).collect())
            .unwrap_or_default();
        assert_eq!(got, expected, "{names}");
        assert_eq!(message["MD5OfMessageAttributes"].is_string(), !expected.is_empty(), "{names}");
        let system: Vec<_> = message["Attributes"].as_object().unwrap().keys().collect();
        assert_eq!(system, ["SentTimestamp"]);
    }
}

#[tokio::test]
async fn a_message_comes_back_when_its_visibility_runs_out_and_the_old_receipt_is_worth_nothing() {
    let stack = Stack::start().await;
    let queue = stack.queue("q", json!({ "VisibilityTimeout": "2" })).await;
    stack.send(&queue, "x").await;
    let first = stack.receive(&queue).await.remove(0);
    stack.clock.advance(std::time::Duration::from_millis(1_999));
    assert_eq!(stack.bodies(&queue).await, NONE);
    stack.clock.advance(std::time::Duration::from_millis(1));
    let second = stack.receive(&queue).await.remove(0);
    assert_eq!(second["MessageId"], first["MessageId"]);
    assert_ne!(second["ReceiptHandle"], first["ReceiptHandle"]);
    assert_eq!(attribute(&second, "ApproximateReceiveCount"), Some("2"));

    stack.delete(&queue, &first).await;
    stack.advance(2);
    assert_eq!(stack.bodies(&queue).await, ["x"], "a slow receiver must not delete what another one holds");
}

#[tokio::test]
async fn a_receipt_is_good_after_its_visibility_ran_out_until_someone_else_receives() {
    let stack = Stack::start().await;
    let queue = stack.queue("q", json!({ "VisibilityTimeout": "2" })).await;
    stack.send(&queue, "x").await;
    let message = stack.receive(&queue).await.remove(0);
    stack.advance(5);
    stack.delete(&queue, &message).await;
    assert_eq!(stack.bodies(&queue).await, NONE);
}

#[tokio::test]
async fn visibility_can_be_given_up_and_extended() {
    let stack = Stack::start().await;
    let queue = stack.queue("q", json!({ "VisibilityTimeout": "2" })).await;
    stack.send(&queue, "x").await;
    let change = |message: &Value, seconds: i64| json!({ "QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": seconds });
    let message = stack.receive(&queue).await.remove(0);
    stack.sqs("ChangeMessageVisibility", change(&message, 0)).await;
    let message = stack.receive(&queue).await.remove(0);
    stack.sqs("ChangeMessageVisibility", change(&message, 5)).await;
    stack.advance(4);
    assert_eq!(stack.bodies(&queue).await, NONE);
    stack.advance(1);

    let late = stack.sqs_error("ChangeMessageVisibility", change(&message, 5)).await;
    assert_eq!(late.error(), "MessageNotInflight");
    assert_eq!(late.headers["x-amzn-query-error"], "AWS.SimpleQueueService.MessageNotInflight;Sender");

    let message = stack.receive(&queue).await.remove(0);
    for (seconds, code) in [(-1, "InvalidParameterValueException"), (43_201, "InvalidParameterValueException")] {
        assert_eq!(stack.sqs_error("ChangeMessageVisibility", change(&message, seconds)).await.error(), code);
    }
    stack.advance(1);
    let total = stack.sqs_error("ChangeMessageVisibility", change(&message, 43_200)).await;
    assert!(total.message().contains("beyond the limit"), "{}", total.message());
    stack.delete(&queue, &message).await;
    let gone = stack.sqs_error("ChangeMessageVisibility", change(&message, 5)).await;
    assert_eq!(gone.error(), "InvalidParameterValueException");
}

#[tokio::test]
async fn a_receipt_handle_that_was_never_given_out_is_refused() {
    let stack = Stack::start().await;
    let queue = stack.queue("q", json!({})).await;
    let other = stack.queue("other", json!({})).await;
    stack.send(&other, "x").await;
    let foreign = stack.receive(&other).await.remove(0)["ReceiptHandle"].as_str().unwrap().to_owned();
    for handle in ["garbage", "AAAA", foreign.as_str()] {
        let input = json!({ "QueueUrl": queue, "ReceiptHandle": handle, "VisibilityTimeout": 1 });
        for operation in ["DeleteMessage", "ChangeMessageVisibility"] {
            let refused = stack.sqs_error(operation, input.clone()).await;
            assert_eq!(
                (refused.status, refused.error().as_str()),
                (404, "ReceiptHandleIsInvalid"),
                "{operation} {handle}"
            );
        }
    }
    let missing = stack.sqs_error("DeleteMessage", json!({ "QueueUrl": queue })).await;
    assert_eq!(missing.headers["x-amzn-query-error"], "MissingParameter;Sender");
}

#[tokio::test]
async fn a_delayed_message_waits_and_counts_as_delayed() {
    let stack = Stack::start().await;
    let queue = stack.queue("q", json!({ "DelaySeconds": "5" })).await;
    stack.send(&queue, "queue's delay").await;
    stack.sqs("SendMessage", json!({ "QueueUrl": queue, "MessageBody": "own delay", "DelaySeconds": 900 })).await;
    stack.sqs("SendMessage", json!({ "QueueUrl": queue, "MessageBody": "at once", "DelaySeconds": 0 })).await;
    assert_eq!(stack.bodies(&queue).await, ["at once"]);
    let names =
        ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"];
    let counts = stack.sqs("GetQueueAttributes", json!({ "QueueUrl": queue, "AttributeNames": names })).await;
    assert_eq!(names.map(|name| counts["Attributes"][name].as_str().unwrap().to_owned()), ["0", "1", "2"]);
    stack.advance(5);
    assert_eq!(stack.bodies(&queue).await, ["queue's delay"]);
    stack.advance(895);
    assert!(stack.bodies(&queue).await.contains(&"own delay".to_owned()));
    let input = json!({ "QueueUrl": queue, "MessageBody": "x", "DelaySeconds": 901 });
    assert_eq!(stack.sqs_error("SendMessage", input).await.error(), "InvalidParameterValueException");
}

#[tokio::test]
async fn a_long_poll_wakes_on_a_send() {
    let stack = Stack::start().await;
    let queue = stack.queue("q", json!({})).await;
    let poll = tokio::spawn(call(
        stack.address,
        "AmazonSQS.ReceiveMessage",
        json!({ "QueueUrl": queue, "WaitTimeSeconds": 20 }),
    ));
    until(|| stack.clock.sleepers() > 0).await;
    stack.send(&queue, "wake").await;
    let answer = poll.await.unwrap().json();
    assert_eq!(answer["Messages"][0]["Body"], "wake");
}

#[tokio::test]
async fn a_long_poll_wakes_when_a_message_becomes_visible_and_ends_empty_otherwise() {
    let stack = Stack::start().await;
    // The queue's own wait applies when the receiver names none.
    let queue = stack.queue("q", json!({ "ReceiveMessageWaitTimeSeconds": "20", "VisibilityTimeout": "8" })).await;
    stack.send(&queue, "again").await;
    assert_eq!(stack.bodies(&queue).await, ["again"]);

    let poll = tokio::spawn(call(stack.address, "AmazonSQS.ReceiveMessage", json!({ "QueueUrl": queue })));
    until(|| stack.clock.sleepers() > 0).await;
    stack.advance(8);
    assert_eq!(poll.await.unwrap().json()["Messages"][0]["Body"], "again");

    stack.sqs("SetQueueAttributes", json!({ "QueueUrl": queue, "Attributes": { "VisibilityTimeout": "0" } })).await;
    let input = json!({ "QueueUrl": queue, "WaitTimeSeconds": 5 });
    let poll = tokio::spawn(call(stack.address, "AmazonSQS.ReceiveMessage", input));
    until(|| stack.clock.sleepers() > 0).await;
    stack.advance(5);
    assert_eq!(poll.await.unwrap().json(), json!({}));
}

#[tokio::test]
async fn a_long_poll_wakes_when_another_receiver_gives_a_message_back() {
    let stack = Stack::start().await;
    let queue = stack.queue("q", json!({})).await;
    stack.send(&queue, "shared").await;
    let held = stack.receive(&queue).await.remove(0);
    let input = json!({ "QueueUrl": queue, "WaitTimeSeconds": 20 });
    let poll = tokio::spawn(call(stack.address, "AmazonSQS.ReceiveMessage", input));
    until(|| stack.clock.sleepers() > 0).await;
    let give_back = json!({ "QueueUrl": queue, "ReceiptHandle": held["ReceiptHandle"], "VisibilityTimeout": 0 });
    stack.sqs("ChangeMessageVisibility", give_back).await;
    assert_eq!(poll.await.unwrap().json()["Messages"][0]["Body"], "shared");
}

/// A queue that gives up after two receives, and where it gives up to.
async fn with_dead_letters(stack: &Stack) -> (String, String) {
    let dead = stack.queue("dead", json!({})).await;
    let policy =
        json!({ "deadLetterTargetArn": stack.aws.sqs().queue_arn("dead"), "maxReceiveCount": "2" }).to_string();
    let queue = stack.queue("main", json!({ "VisibilityTimeout": "0", "RedrivePolicy": policy })).await;
    (queue, dead)
}

#[tokio::test]
async fn a_message_received_too_often_moves_to_the_dead_letter_queue_and_keeps_its_identity() {
    let stack = Stack::start().await;
    let (queue, dead) = with_dead_letters(&stack).await;
    let id = stack.send(&queue, "poison").await["MessageId"].clone();
    assert_eq!(stack.bodies(&queue).await, ["poison"]);
    assert_eq!(stack.bodies(&queue).await, ["poison"]);

    let input = json!({ "QueueUrl": dead, "WaitTimeSeconds": 20, "AttributeNames": ["All"] });
    let poll = tokio::spawn(call(stack.address, "AmazonSQS.ReceiveMessage", input));
    until(|| stack.clock.sleepers() > 0).await;
    assert_eq!(stack.bodies(&queue).await, NONE);
    let letter = poll.await.unwrap().json()["Messages"][0].clone();
    assert_eq!(letter["MessageId"], id);
    assert_eq!(attribute(&letter, "ApproximateReceiveCount"), Some("3"));
    assert_eq!(attribute(&letter, "DeadLetterQueueSourceArn"), Some("arn:aws:sqs:us-east-1:000000000000:main"));
    assert_eq!(stack.bodies(&queue).await, NONE);
}

#[tokio::test]
async fn dead_letters_do_not_stand_in_the_way_of_the_living() {
    let stack = Stack::start().await;
    let (queue, _) = with_dead_letters(&stack).await;
    for _ in 0..12 {
        stack.send(&queue, "poison").await;
    }
    for _ in 0..2 {
        stack.receive(&queue).await;
        stack.receive(&queue).await;
    }
    stack.send(&queue, "sound").await;
    assert!(stack.bodies(&queue).await.contains(&"sound".to_owned()));
}

#[tokio::test]
async fn a_move_task_sends_dead_letters_back_as_new_messages() {
    let stack = Stack::start().await;
    let (queue, dead) = with_dead_letters(&stack).await;
    let id = stack.send(&queue, "poison").await["MessageId"].clone();
    for _ in 0..3 {
        stack.receive(&queue).await;
    }
    let arn = stack.aws.sqs().queue_arn("dead");
    let sources = stack.sqs("ListDeadLetterSourceQueues", json!({ "QueueUrl": dead })).await;
    assert_eq!(sources["queueUrls"], json!([queue]));
    stack.sqs("StartMessageMoveTask", json!({ "SourceArn": arn })).await;
    let back = stack.receive(&queue).await.remove(0);
    assert_eq!(back["Body"], "poison");
    assert_ne!(back["MessageId"], id);
    assert_eq!(attribute(&back, "ApproximateReceiveCount"), Some("1"));
    let tasks = stack.sqs("ListMessageMoveTasks", json!({ "SourceArn": arn })).await;
    assert_eq!(tasks["Results"][0]["Status"], "COMPLETED");
    assert_eq!(tasks["Results"][0]["ApproximateNumberOfMessagesMoved"], 1);

    stack.send(&dead, "never failed anywhere").await;
    stack.sqs("StartMessageMoveTask", json!({ "SourceArn": arn })).await;
    let tasks = stack.sqs("ListMessageMoveTasks", json!({ "SourceArn": arn })).await;
    assert_eq!(tasks["Results"][0]["FailureReason"], "CouldNotDetermineMessageSource");
    assert_eq!(stack.bodies(&dead).await, ["never failed anywhere"]);

    let wrong = json!({ "SourceArn": stack.aws.sqs().queue_arn("main") });
    assert_eq!(stack.sqs_error("StartMessageMoveTask", wrong).await.error(), "InvalidParameterValueException");
    let missing = json!({ "SourceArn": stack.aws.sqs().queue_arn("nowhere") });
    assert_eq!(stack.sqs_error("StartMessageMoveTask", missing).await.error(), "ResourceNotFoundException");
    let over = stack.sqs_error("CancelMessageMoveTask", json!({ "TaskHandle": "x" })).await;
    assert_eq!(over.error(), "ResourceNotFoundException");
}

async fn send_fifo(stack: &Stack, queue: &str, body: &str, group: &str, id: &str) -> Value {
    let input =
        json!({ "QueueUrl": queue, "MessageBody": body, "MessageGroupId": group, "MessageDeduplicationId": id });
    stack.sqs("SendMessage", input).await
}

#[tokio::test]
async fn a_fifo_queue_takes_one_message_per_deduplication_id_in_five_minutes() {
    let stack = Stack::start().await;
    let queue = stack.queue("f.fifo", json!({ "FifoQueue": "true" })).await;
    let first = send_fifo(&stack, &queue, "1", "g", "d").await;
    let second = send_fifo(&stack, &queue, "1b", "g", "d").await;
    assert_eq!((&first["MessageId"], &first["SequenceNumber"]), (&second["MessageId"], &second["SequenceNumber"]));
    assert_eq!(second["MD5OfMessageBody"], md5("1b"), "clients check the sum against what they sent");
    let message = stack.receive(&queue).await.remove(0);
    assert_eq!(message["Body"], "1");
    assert_eq!(attribute(&message, "SequenceNumber"), first["SequenceNumber"].as_str());
    stack.delete(&queue, &message).await;
    stack.advance(299);
    send_fifo(&stack, &queue, "1c", "g", "d").await;
    assert_eq!(stack.bodies(&queue).await, NONE, "a deleted message's id is remembered too");
    stack.advance(1);
    let later = send_fifo(&stack, &queue, "1d", "g", "d").await;
    assert!(later["SequenceNumber"].as_str() > first["SequenceNumber"].as_str());
    assert_eq!(stack.bodies(&queue).await, ["1d"]);
}

fn md5(text: &str) -> String {
    use md5::Digest;
    hex::encode(md5::Md5::digest(text))
}

#[tokio::test]
async fn a_fifo_queue_holds_a_group_back_while_one_of_its_messages_is_in_flight() {
    let stack = Stack::start().await;
    let queue = stack.queue("f.fifo", json!({ "FifoQueue": "true", "VisibilityTimeout": "2" })).await;
    for (body, group) in [("g1", "g"), ("g2", "g"), ("h1", "h"), ("g3", "g")] {
        send_fifo(&stack, &queue, body, group, body).await;
    }
    let first = stack.receive_up_to(&queue, 1).await.remove(0);
    assert_eq!(first["Body"], "g1");
    assert_eq!(stack.bodies(&queue).await, ["h1"]);
    stack.advance(2);
    let again = stack.receive_up_to(&queue, 1).await.remove(0);
    assert_eq!(again["Body"], "g1", "order holds across a timeout");
    let slow = json!({ "QueueUrl": queue, "ReceiptHandle": first["ReceiptHandle"] });
    assert!(stack.sqs_error("DeleteMessage", slow).await.message().contains("expired"));
    stack.delete(&queue, &again).await;
    assert_eq!(stack.bodies(&queue).await, ["g2", "h1", "g3"], "one receive may take several of a group");
}

#[tokio::test]
async fn a_fifo_queue_says_what_it_misses() {
    let stack = Stack::start().await;
    let explicit = stack.queue("f.fifo", json!({ "FifoQueue": "true" })).await;
    let content = stack.queue("c.fifo", json!({ "FifoQueue": "true", "ContentBasedDeduplication": "true" })).await;
    let scoped = stack.queue("s.fifo", json!({ "FifoQueue": "true", "DeduplicationScope": "messageGroup" })).await;

    let send = |queue: &str, group: &str| json!({ "QueueUrl": queue, "MessageBody": "same", "MessageGroupId": group });
    let one = stack.sqs("SendMessage", send(&content, "g")).await;
    let two = stack.sqs("SendMessage", send(&content, "h")).await;
    assert_eq!(one["MessageId"], two["MessageId"]);
    let one = send_fifo(&stack, &scoped, "same", "g", "d").await;
    let two = send_fifo(&stack, &scoped, "same", "h", "d").await;
    assert_ne!(one["MessageId"], two["MessageId"]);

    let no_group = json!({ "QueueUrl": content, "MessageBody": "z" });
    let refused = stack.sqs_error("SendMessage", no_group).await;
    assert_eq!(refused.headers["x-amzn-query-error"], "MissingParameter;Sender");
    let no_id = stack.sqs_error("SendMessage", send(&explicit, "g")).await;
    assert!(no_id.message().contains("ContentBasedDeduplication"), "{}", no_id.message());
    let mut delayed = send(&content, "g");
    delayed["DelaySeconds"] = json!(5);
    assert_eq!(stack.sqs_error("SendMessage", delayed).await.error(), "InvalidParameterValueException");
    let mut standard = send(&stack.queue("q", json!({})).await, "tenant");
    stack.sqs("SendMessage", standard.clone()).await;
    standard["MessageDeduplicationId"] = json!("d");
    assert_eq!(stack.sqs_error("SendMessage", standard).await.error(), "InvalidParameterValueException");
}

#[tokio::test]
async fn a_batch_succeeds_and_fails_entry_by_entry() {
    let stack = Stack::start().await;
    let queue = stack.queue("q", json!({})).await;
    let entries: Vec<Value> = (0..10)
        .map(|i| json!({ "Id": format!("e{i}"), "MessageBody": if i == 3 { "bad \u{1}".to_owned() } else { format!("b{i}") } }))
        .collect();
    let answer = stack.sqs("SendMessageBatch", json!({ "QueueUrl": queue, "Entries": entries })).await;
    assert_eq!(answer["Successful"].as_array().unwrap().len(), 9);
    assert_eq!(answer["Failed"][0]["Id"], "e3");
    assert_eq!(answer["Failed"][0]["Code"], "InvalidMessageContents");
    assert_eq!(answer["Failed"][0]["SenderFault"], true);

    let messages = stack.receive(&queue).await;
    assert_eq!(messages.len(), 9);
    let handle = |i: usize| messages[i]["ReceiptHandle"].clone();
    let entries = json!([
        { "Id": "a", "ReceiptHandle": handle(0), "VisibilityTimeout": 0 },
        { "Id": "b", "ReceiptHandle": handle(1) },
        { "Id": "c", "ReceiptHandle": "garbage", "VisibilityTimeout": 0 },
    ]);
    let answer = stack.sqs("ChangeMessageVisibilityBatch", json!({ "QueueUrl": queue, "Entries": entries })).await;
    assert_eq!(answer["Successful"], json!([{ "Id": "a" }]));
    let codes: Vec<_> = answer["Failed"].as_array().unwrap().iter().map(|entry| entry["Code"].clone()).collect();
    assert_eq!(codes, ["MissingParameter", "ReceiptHandleIsInvalid"]);
    assert_eq!(stack.receive(&queue).await.len(), 1);

    let entries = json!([{ "Id": "a", "ReceiptHandle": handle(2) }, { "Id": "b", "ReceiptHandle": "garbage" }]);
    let answer = stack.sqs("DeleteMessageBatch", json!({ "QueueUrl": queue, "Entries": entries })).await;
    assert_eq!(answer["Successful"], json!([{ "Id": "a" }]));
    assert_eq!(answer["Failed"][0]["Code"], "ReceiptHandleIsInvalid");
}

#[tokio::test]
async fn a_batch_that_breaks_the_rules_is_refused_whole() {
    let stack = Stack::start().await;
    let queue = stack.queue("q", json!({})).await;
    let entry = |id: &str, body: String| json!({ "Id": id, "MessageBody": body });
    let short = || "b".to_owned();
    let half = || "x".repeat(600 * 1024);
    let cases = [
        (vec![], "EmptyBatchRequest"),
        ((0..11).map(|i| entry(&i.to_string(), short())).collect(), "TooManyEntriesInBatchRequest"),
        (vec![entry("a", short()), entry("a", short())], "BatchEntryIdsNotDistinct"),
        (vec![entry("a b", short())], "InvalidBatchEntryId"),
        (vec![entry("a", half()), entry("b", half())], "BatchRequestTooLong"),
    ];
    for (entries, code) in cases {
        let refused = stack.sqs_error("SendMessageBatch", json!({ "QueueUrl": queue, "Entries": entries })).await;
        assert_eq!(refused.error(), code);
        assert_eq!(refused.headers["x-amzn-query-error"], format!("AWS.SimpleQueueService.{code};Sender"));
    }
    assert_eq!(stack.bodies(&queue).await, NONE);
}

#[tokio::test]
async fn a_message_has_at_most_one_mebibyte_and_only_characters_that_xml_has() {
    let stack = Stack::start().await;
    let queue = stack.queue("q", json!({})).await;
    let small = stack.queue("small", json!({ "MaximumMessageSize": "1024" })).await;
    let attribute = json!({ "n": { "DataType": "String", "StringValue": "v" } });
    for (queue, body, attributes, code) in [
        (&queue, "x".repeat(1_048_576), json!({}), None),
        (&queue, "x".repeat(1_048_577), json!({}), Some("InvalidParameterValueException")),
        // Name, type and value count: 8 bytes here.
        (&queue, "x".repeat(1_048_568), attribute.clone(), None),
        (&queue, "x".repeat(1_048_569), attribute.clone(), Some("InvalidParameterValueException")),
        (&small, "é".repeat(512), json!({}), None),
        (&small, "é".repeat(513), json!({}), Some("InvalidParameterValueException")),
        (&queue, "a\u{1}b".to_owned(), json!({}), Some("InvalidMessageContents")),
        (&queue, "a\u{fffe}b".to_owned(), json!({}), Some("InvalidMessageContents")),
        (&queue, "tab\tnewline\r\n😀\u{fffd}".to_owned(), json!({}), None),
        (&queue, String::new(), json!({}), Some("MissingRequiredParameterException")),
    ] {
        let input = json!({ "QueueUrl": queue, "MessageBody": body, "MessageAttributes": attributes });
        let answer = stack.call("AmazonSQS.SendMessage", input).await;
        match code {
            None => assert_eq!(answer.status, 200, "{} bytes", body.len()),
            Some(code) => assert_eq!(answer.error(), code, "{} bytes", body.len()),
        }
    }
}

#[tokio::test]
async fn message_attributes_that_sqs_refuses_are_refused() {
    let stack = Stack::start().await;
    let queue = stack.queue("q", json!({})).await;
    let text = json!({ "DataType": "String", "StringValue": "v" });
    let eleven: serde_json::Map<String, Value> = (0..11).map(|i| (format!("a{i}"), text.clone())).collect();
    for attributes in [
        Value::Object(eleven),
        json!({ "AWS.x": text }),
        json!({ ".x": text }),
        json!({ "a..b": text }),
        json!({ "a b": text }),
        json!({ "": text }),
        json!({ "a": { "DataType": "Text", "StringValue": "v" } }),
        json!({ "a": { "DataType": "String" } }),
        json!({ "a": { "DataType": "String", "StringValue": "" } }),
        json!({ "a": { "DataType": "Number", "StringValue": "many" } }),
        json!({ "a": { "DataType": "Binary", "BinaryValue": "!" } }),
        json!({ "a": { "StringValue": "v" } }),
    ] {
        let input = json!({ "QueueUrl": queue, "MessageBody": "b", "MessageAttributes": attributes });
        assert_eq!(
            stack.sqs_error("SendMessage", input).await.error(),
            "InvalidParameterValueException",
            "{attributes}"
        );
    }
}

#[tokio::test]
async fn a_queue_that_does_not_exist_is_named_so_everywhere() {
    let stack = Stack::start().await;
    for operation in [
        "SendMessage",
        "ReceiveMessage",
        "DeleteQueue",
        "PurgeQueue",
        "GetQueueAttributes",
        "SetQueueAttributes",
        "ListQueueTags",
        "ListDeadLetterSourceQueues",
    ] {
        for url in [json!("http://localhost/000000000000/nope"), json!("")] {
            let refused = stack.sqs_error(operation, json!({ "QueueUrl": url, "MessageBody": "x" })).await;
            assert_eq!(refused.error(), "QueueDoesNotExist", "{operation}");
            assert_eq!(refused.headers["x-amzn-query-error"], "AWS.SimpleQueueService.NonExistentQueue;Sender");
        }
    }
    let unknown = stack.sqs_error("GetQueueUrl", json!({ "QueueName": "nope" })).await;
    assert_eq!(unknown.error(), "QueueDoesNotExist");
}

#[tokio::test]
async fn queues_are_created_once_listed_found_tagged_and_deleted() {
    let stack = Stack::start().await;
    let queue = stack.queue("orders", json!({ "VisibilityTimeout": "7" })).await;
    assert_eq!(queue, format!("http://{}/000000000000/orders", stack.address));
    assert_eq!(stack.queue("orders", json!({})).await, queue);
    assert_eq!(stack.queue("orders", json!({ "VisibilityTimeout": "7" })).await, queue);
    let other = json!({ "QueueName": "orders", "Attributes": { "VisibilityTimeout": "8" } });
    let refused = stack.sqs_error("CreateQueue", other).await;
    assert_eq!(refused.error(), "QueueNameExists");
    assert_eq!(refused.headers["x-amzn-query-error"], "QueueAlreadyExists;Sender");
    assert_eq!(stack.sqs("GetQueueUrl", json!({ "QueueName": "orders" })).await["QueueUrl"], queue);

    for name in ["b1", "b2", "b3"] {
        stack.queue(name, json!({})).await;
    }
    let mut names = Vec::new();
    let mut token = Value::Null;
    loop {
        let mut input = json!({ "QueueNamePrefix": "b", "MaxResults": 2 });
        if token.is_string() {
            input["NextToken"] = token;
        }
        let page = stack.sqs("ListQueues", input).await;
        names.extend(
            page["QueueUrls"]
                .as_array()
                .unwrap()
                .iter()
                .map(|url| url.as_str().unwrap().rsplit('/').next().unwrap().to_owned()),
        );
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(names, ["b1", "b2", "b3"]);

    stack.sqs("TagQueue", json!({ "QueueUrl": queue, "Tags": { "a": "1", "b": "2" } })).await;
    stack.sqs("UntagQueue", json!({ "QueueUrl": queue, "TagKeys": ["a"] })).await;
    assert_eq!(stack.sqs("ListQueueTags", json!({ "QueueUrl": queue })).await["Tags"], json!({ "b": "2" }));

    stack.send(&queue, "x").await;
    stack.sqs("DeleteQueue", json!({ "QueueUrl": queue })).await;
    assert_eq!(stack.sqs_error("GetQueueUrl", json!({ "QueueName": "orders" })).await.error(), "QueueDoesNotExist");
    assert_eq!(stack.bodies(&stack.queue("orders", json!({})).await).await, NONE, "a new queue starts empty");
}

#[tokio::test]
async fn queue_attributes_have_aws_defaults_and_bounds() {
    let stack = Stack::start().await;
    let queue = stack.queue("q", json!({})).await;
    let all = stack.sqs("GetQueueAttributes", json!({ "QueueUrl": queue, "AttributeNames": ["All"] })).await;
    let attributes = &all["Attributes"];
    for (name, value) in [
        ("VisibilityTimeout", "30"),
        ("DelaySeconds", "0"),
        ("MaximumMessageSize", "1048576"),
        ("MessageRetentionPeriod", "345600"),
        ("ReceiveMessageWaitTimeSeconds", "0"),
        ("ApproximateNumberOfMessages", "0"),
        ("CreatedTimestamp", "1795219200"),
        ("QueueArn", "arn:aws:sqs:us-east-1:000000000000:q"),
    ] {
        assert_eq!(attributes[name], value, "{name}");
    }
    assert!(attributes.get("FifoQueue").is_none());
    assert_eq!(stack.sqs("GetQueueAttributes", json!({ "QueueUrl": queue })).await, json!({}));

    for (name, attributes, code) in [
        ("bad name", json!({}), "InvalidParameterValueException"),
        ("", json!({}), "MissingRequiredParameterException"),
        ("f.fifo", json!({}), "InvalidParameterValueException"),
        ("f", json!({ "FifoQueue": "true" }), "InvalidParameterValueException"),
        ("f", json!({ "ContentBasedDeduplication": "true" }), "InvalidAttributeName"),
        ("a", json!({ "Nonsense": "1" }), "InvalidAttributeName"),
        ("a", json!({ "VisibilityTimeout": "43201" }), "InvalidAttributeValue"),
        ("a", json!({ "VisibilityTimeout": "soon" }), "InvalidAttributeValue"),
        ("a", json!({ "MaximumMessageSize": "1023" }), "InvalidAttributeValue"),
        ("a", json!({ "RedrivePolicy": "{" }), "InvalidAttributeValue"),
        (
            "a",
            json!({ "RedrivePolicy": "{\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:q\",\"maxReceiveCount\":0}" }),
            "InvalidParameterValueException",
        ),
        (
            "a",
            json!({ "RedrivePolicy": "{\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:no\",\"maxReceiveCount\":1}" }),
            "InvalidParameterValueException",
        ),
        (
            "a.fifo",
            json!({ "FifoQueue": "true",
            "RedrivePolicy": "{\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:q\",\"maxReceiveCount\":1}" }),
            "InvalidParameterValueException",
        ),
    ] {
        let refused = stack.sqs_error("CreateQueue", json!({ "QueueName": name, "Attributes": attributes })).await;
        assert_eq!(refused.error(), code, "{name} {attributes}");
    }
    let unknown = json!({ "QueueUrl": queue, "AttributeNames": ["Nonsense"] });
    assert_eq!(stack.sqs_error("GetQueueAttributes", unknown).await.error(), "InvalidAttributeName");
}

#[tokio::test]
async fn a_dead_letter_queue_can_refuse_sources() {
    let stack = Stack::start().await;
    let policy = |dead: &str| {
        json!({ "deadLetterTargetArn": stack.aws.sqs().queue_arn(dead), "maxReceiveCount": 1 }).to_string()
    };
    stack.queue("closed", json!({ "RedriveAllowPolicy": json!({ "redrivePermission": "denyAll" }).to_string() })).await;
    let only =
        json!({ "redrivePermission": "byQueue", "sourceQueueArns": [stack.aws.sqs().queue_arn("friend")] }).to_string();
    stack.queue("picky", json!({ "RedriveAllowPolicy": only })).await;
    stack.queue("friend", json!({ "RedrivePolicy": policy("picky") })).await;
    for (name, dead) in [("any", "closed"), ("stranger", "picky")] {
        let input = json!({ "QueueName": name, "Attributes": { "RedrivePolicy": policy(dead) } });
        assert!(stack.sqs_error("CreateQueue", input).await.message().contains("RedriveAllowPolicy"));
    }
}

#[tokio::test]
async fn a_purge_empties_the_queue_and_is_allowed_once_a_minute() {
    let stack = Stack::start().await;
    let queue = stack.queue("q", json!({})).await;
    stack.send(&queue, "in flight").await;
    stack.receive(&queue).await;
    stack.send(&queue, "visible").await;
    stack.sqs("PurgeQueue", json!({ "QueueUrl": queue })).await;
    stack.advance(59);
    assert_eq!(stack.bodies(&queue).await, NONE);
    let soon = stack.sqs_error("PurgeQueue", json!({ "QueueUrl": queue })).await;
    assert_eq!((soon.status, soon.error().as_str()), (403, "PurgeQueueInProgress"));
    stack.advance(1);
    stack.sqs("PurgeQueue", json!({ "QueueUrl": queue })).await;
}

#[tokio::test]
async fn a_message_past_its_retention_is_not_delivered_and_not_counted() {
    let stack = Stack::start().await;
    let queue = stack.queue("q", json!({ "MessageRetentionPeriod": "60" })).await;
    stack.send(&queue, "old").await;
    stack.advance(59);
    assert_eq!(stack.aws.sqs().counts("q").unwrap().visible, 1);
    stack.advance(1);
    assert_eq!(stack.aws.sqs().counts("q").unwrap().visible, 0);
    stack.send(&queue, "new").await;
    assert_eq!(stack.bodies(&queue).await, ["new"]);
    stack.aws.sweep().unwrap();
}

#[tokio::test]
async fn receive_parameters_have_bounds() {
    let stack = Stack::start().await;
    let queue = stack.queue("q", json!({})).await;
    for input in [
        json!({ "MaxNumberOfMessages": 0 }),
        json!({ "MaxNumberOfMessages": 11 }),
        json!({ "WaitTimeSeconds": 21 }),
        json!({ "WaitTimeSeconds": -1 }),
        json!({ "VisibilityTimeout": 43_201 }),
    ] {
        let mut request = input.clone();
        request["QueueUrl"] = json!(queue);
        assert_eq!(
            stack.sqs_error("ReceiveMessage", request).await.error(),
            "InvalidParameterValueException",
            "{input}"
        );
    }
}
