//! The event in which Lambda's poller hands SQS messages to a function, and how a batch is cut to the payload quota.
//!
//! Source: Lambda developer guide, "Using Lambda with Amazon SQS" (example standard queue message event). The checksum of the
//! message attributes, which the guide's example does not have, is left out.

use serde_json::{Map, Value, json};

use crate::gateway::MAX_PAYLOAD;
use crate::sqs::ReceivedMessage;

const OPENING: &str = r#"{"Records":["#;
const CLOSING: &str = "]}";

/// The queue, as each record names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// `arn:aws:sqs:REGION:ACCOUNT:QUEUE`.
    pub(super) arn: String,
    /// The region in the ARN.
    pub(super) region: String,
}

impl Source {
    /// The source for a queue's ARN.
    #[must_use]
    pub(super) fn of_arn(arn: String) -> Self {
        let region = arn.split(':').nth(3).unwrap_or_default().to_owned();
        Self { arn, region }
    }
}

/// A message as a record of the event, with what is needed to delete it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// What a function's answer names.
    pub(super) message_id: String,
    /// What deletes the message.
    pub(super) receipt_handle: String,
    json: String,
}

// The record holds the message's body, which does not belong in a log line.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("message_id", &self.message_id)
            .field("bytes", &self.json.len())
            .finish_non_exhaustive()
    }
}

impl Record {
    /// The record of a message.
    #[must_use]
    pub(super) fn new(message: ReceivedMessage, source: &Source) -> Self {
        let json = json!({
            "messageId": message.message_id,
            "receiptHandle": message.receipt_handle,
            "body": message.body,
            "attributes": message.attributes,
            "messageAttributes": message_attributes(&message.message_attributes),
            "md5OfBody": message.md5_of_body,
            "eventSource": "aws:sqs",
            "eventSourceARN": source.arn,
            "awsRegion": source.region,
        });
        Self { message_id: message.message_id, receipt_handle: message.receipt_handle, json: json.to_string() }
    }

    /// The record's share of an event, in bytes of JSON.
    #[must_use]
    pub(super) fn size(&self) -> usize {
        self.json.len() + ",".len()
    }
}

/// The event for some records, as JSON.
#[must_use]
pub(super) fn event(records: &[Record]) -> Vec<u8> {
    let records: Vec<_> = records.iter().map(|record| record.json.as_str()).collect();
    [OPENING, &records.join(","), CLOSING].concat().into_bytes()
}

/// Cuts a batch into as few events as the payload quota allows, in order. A record that is too large by itself is alone.
#[must_use]
pub(super) fn cut(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut batches: Vec<Vec<Record>> = Vec::new();
    let mut size = usize::MAX;
    for record in records {
        size = size.saturating_add(record.size());
        match batches.last_mut() {
            Some(batch) if size <= MAX_PAYLOAD => batch.push(record),
            _ => {
                size = OPENING.len() + CLOSING.len() + record.size();
                batches.push(vec![record]);
            }
        }
    }
    batches
}

/// The API's `{"DataType", "StringValue" | "BinaryValue"}` in the event's spelling, with the lists that are always empty.
fn message_attributes(attributes: &Value) -> Value {
    let mut spelled = Map::new();
    for (name, attribute) in attributes.as_object().into_iter().flatten() {
        let mut one = Map::new();
        for (from, to) in [("StringValue", "stringValue"), ("BinaryValue", "binaryValue"), ("DataType", "dataType")] {
            if let Some(value) = attribute.get(from) {
                one.insert(to.to_owned(), value.clone());
            }
        }
        one.insert("stringListValues".to_owned(), json!([]));
        one.insert("binaryListValues".to_owned(), json!([]));
        spelled.insert(name.clone(), Value::Object(one));
    }
    Value::Object(spelled)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source() -> Source {
        Source::of_arn("arn:aws:sqs:us-east-2:123456789012:my-queue".to_owned())
    }

    fn message(id: &str, body: &str) -> ReceivedMessage {
        ReceivedMessage {
            message_id: id.to_owned(),
            receipt_handle: format!("handle of {id}"),
            body: body.to_owned(),
            md5_of_body: "e4e68fb7bd0e697a0ae8f1bb342846b3".to_owned(),
            attributes: [("ApproximateReceiveCount", "1"), ("SentTimestamp", "1545082649183")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            message_attributes: json!({}),
        }
    }

    /// The shape of AWS's documented example, with attributes as its function templates show them.
    #[test]
    fn an_event_has_the_documented_shape() {
        let mut with_attributes = message("2e1424d4", "Test message.");
        with_attributes.message_attributes = json!({
            "text": { "DataType": "String", "StringValue": "value" },
            "bytes": { "DataType": "Binary.png", "BinaryValue": "AP8=" },
        });
        let records = [
            Record::new(message("059f36b4", "Test \"message\".\n"), &source()),
            Record::new(with_attributes, &source()),
        ];
        let expected = json!({ "Records": [
            {
                "messageId": "059f36b4",
                "receiptHandle": "handle of 059f36b4",
                "body": "Test \"message\".\n",
                "attributes": { "ApproximateReceiveCount": "1", "SentTimestamp": "1545082649183" },
                "messageAttributes": {},
                "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue",
                "awsRegion": "us-east-2",
            },
            {
                "messageId": "2e1424d4",
                "receiptHandle": "handle of 2e1424d4",
                "body": "Test message.",
                "attributes": { "ApproximateReceiveCount": "1", "SentTimestamp": "1545082649183" },
                "messageAttributes": {
                    "text": { "stringValue": "value", "dataType": "String", "stringListValues": [], "binaryListValues": [] },
                    "bytes": { "binaryValue": "AP8=", "dataType": "Binary.png", "stringListValues": [], "binaryListValues": [] },
                },
                "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue",
                "awsRegion": "us-east-2",
            },
        ] });
        assert_eq!(serde_json::from_slice::<Value>(&event(&records)).unwrap(), expected);
    }

    #[test]
    fn a_batch_is_cut_where_the_payload_quota_is_reached() {
        let size = |kib: usize| "x".repeat(kib * 1024);
        let cases: &[(&[usize], &[usize])] = &[
            (&[], &[]),
            (&[1; 10], &[10]),
            (&[1024; 10], &[5, 5]),
            (&[1000, 6000, 50, 50], &[1, 3]),
            (&[7000, 1, 7000], &[1, 1, 1]),
        ];
        for (bodies, expected) in cases {
            let records: Vec<_> = bodies.iter().map(|kib| Record::new(message("id", &size(*kib)), &source())).collect();
            let batches = cut(records.clone());
            assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), *expected, "{bodies:?}");
            assert_eq!(batches.concat(), records);
            for batch in batches.iter().filter(|batch| batch.len() > 1) {
                assert!(event(batch).len() <= MAX_PAYLOAD);
            }
        }
    }

    #[test]
    fn the_debug_form_of_a_record_does_not_show_the_message() {
        let shown = format!("{:?}", Record::new(message("id", "whsec_very_secret"), &source()));
        assert!(!shown.contains("secret") && shown.contains("\"id\""), "{shown}");
    }

    proptest! {
        #[test]
        fn any_body_arrives_as_the_same_text(bodies in proptest::collection::vec(any::<String>(), 0..10)) {
            let records: Vec<_> = bodies.iter().map(|body| Record::new(message("id", body), &source())).collect();
            let built: Value = serde_json::from_slice(&event(&records)).unwrap();
            let arrived: Vec<_> = built["Records"].as_array().unwrap().iter().map(|record| record["body"].as_str().unwrap()).collect();
            prop_assert_eq!(arrived, bodies);
        }
    }
}
