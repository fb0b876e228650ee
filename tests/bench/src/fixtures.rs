//! What is sent: deliveries of one source, and the events in which Lambda hands them over.
//!
//! The frames are the repository's fixtures, which are AWS's documented examples; deliveries differ in their number alone.

use crate::failure::Failure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::{SystemTime, UNIX_EPOCH};

/// The source's name.
pub(crate) const SOURCE: &str = "bench";

/// Where its deliveries go.
pub(crate) const PATH: &str = "/hooks/bench";

/// The header with its signature.
pub(crate) const SIGNATURE: &str = "x-openclaw-signature";

/// The type of its events.
const EVENT_TYPE: &str = "task.completed";

const SIGNING_SECRET: &str = "bench-secret";

const WEBHOOK_FRAME: &str = include_str!("../../../events/webhook/openclaw.text.json");
const WORKER_FRAME: &str = include_str!("../../../events/worker/event.json");

/// The secret that makes it a source.
pub(crate) fn source_secret() -> String {
    json!({"scheme": "openclaw", "secrets": [SIGNING_SECRET]}).to_string()
}

/// One signed delivery.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) number: u64,
    pub(crate) body: Bytes,
    pub(crate) signature: String,
}

impl Delivery {
    pub(crate) fn new(number: u64) -> Result<Delivery, Failure> {
        let data = json!({
            "task_id": format!("task_{number}"),
            "prompt": "Summarize the latest git commits and say which of them touch the public interface",
            "status": "completed",
            "duration_ms": 4523,
            "n": number,
        });
        let body = json!({"event": EVENT_TYPE, "timestamp": "2026-03-02T10:35:00Z", "data": data}).to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(SIGNING_SECRET.as_bytes())
            .map_err(|error| Failure::harness("the signing secret", error))?;
        mac.update(body.as_bytes());
        let signature = hex::encode(mac.finalize().into_bytes());
        Ok(Delivery { number, body: Bytes::from(body), signature })
    }
}

/// The event of an HTTP API for a delivery.
pub(crate) fn webhook_event(delivery: &Delivery) -> Result<Bytes, Failure> {
    let mut event: Value =
        serde_json::from_str(WEBHOOK_FRAME).map_err(|error| Failure::harness("the webhook fixture", error))?;
    event["rawPath"] = json!(PATH);
    event["headers"]["content-length"] = json!(delivery.body.len().to_string());
    event["headers"][SIGNATURE] = json!(delivery.signature);
    event["pathParameters"]["source"] = json!(SOURCE);
    event["requestContext"]["http"]["path"] = json!(PATH);
    event["requestContext"]["requestId"] = json!(format!("bench{}=", delivery.number));
    event["body"] = json!(String::from_utf8_lossy(&delivery.body));
    Ok(Bytes::from(event.to_string()))
}

/// An SQS event whose records are deliveries that `webhook` has accepted.
pub(crate) fn worker_batch(deliveries: &[Delivery]) -> Result<Bytes, Failure> {
    let message = |delivery: &Delivery| {
        let number = delivery.number;
        event_message(EVENT_TYPE, &format!("bench-{number}"), &format!("bench{number}="), &delivery.body)
    };
    batch_of(&deliveries.iter().map(message).collect::<Result<Vec<_>, _>>()?)
}

/// The message of an event of [`SOURCE`], accepted now.
pub(crate) fn event_message(event_type: &str, delivery_id: &str, nonce: &str, body: &[u8]) -> Result<String, Failure> {
    let unreadable = |error| Failure::harness("the worker fixture", error);
    let frame: Value = serde_json::from_str(WORKER_FRAME).map_err(unreadable)?;
    let mut message: Value =
        serde_json::from_str(frame["Records"][0]["body"].as_str().unwrap_or_default()).map_err(unreadable)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    message["nonce"] = json!(nonce);
    message["source"] = json!(SOURCE);
    message["type"] = json!(event_type);
    message["delivery_id"] = json!(delivery_id);
    message["received_at"] = json!(u64::try_from(now).unwrap_or(u64::MAX));
    message["body"] = json!({"encoding": "plain", "data": STANDARD.encode(body)});
    Ok(message.to_string())
}

/// The SQS event whose records are these messages.
pub(crate) fn batch_of(messages: &[String]) -> Result<Bytes, Failure> {
    let mut event: Value =
        serde_json::from_str(WORKER_FRAME).map_err(|error| Failure::harness("the worker fixture", error))?;
    let record = event["Records"][0].clone();
    let records = messages.iter().enumerate().map(|(n, message)| {
        let mut record = record.clone();
        record["messageId"] = json!(format!("059f36b4-87a3-44ab-83d2-{n:012}"));
        record["body"] = json!(message);
        record
    });
    event["Records"] = records.collect();
    Ok(Bytes::from(event.to_string()))
}

/// The configuration that makes one call of `stub` of each delivery.
pub(crate) fn bridge_toml(stub: &str) -> String {
    format!(
        r#"[network]
allow = ["127.0.0.1"]

[tools.effect]
description = "Tells the benchmark that a delivery was acted on"
method = "POST"
url = "{stub}/effects"
idempotency_header = "Idempotency-Key"
timeout = "5s"

[[routes]]
name = "bench"
source = "{SOURCE}"
type = "{EVENT_TYPE}"
tool = "effect"
input = '{{n: .body.data.n}}'
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_event_carries_the_delivery_and_its_signature() {
        let delivery = Delivery::new(7).expect("a delivery");
        let event: Value = serde_json::from_slice(&webhook_event(&delivery).expect("an event")).expect("JSON");
        assert_eq!(event["body"].as_str().expect("a body").as_bytes(), delivery.body);
        assert_eq!(event["headers"][SIGNATURE], delivery.signature);
        assert_eq!(event["headers"]["content-length"], delivery.body.len().to_string());
        assert_eq!((&event["pathParameters"]["source"], &event["version"]), (&json!("bench"), &json!("2.0")));
    }

    /// RFC 2104 by hand, so that the signature is checked against something else than the crate that made it.
    #[test]
    fn a_delivery_is_signed_with_the_sources_secret() {
        use sha2::Digest;
        let delivery = Delivery::new(1).expect("a delivery");
        let pad = |byte: u8| {
            let mut key = [byte; 64];
            key.iter_mut().zip(SIGNING_SECRET.bytes()).for_each(|(pad, secret)| *pad ^= secret);
            key
        };
        let inner = Sha256::new().chain_update(pad(0x36)).chain_update(&delivery.body).finalize();
        let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
        assert_eq!(delivery.signature, hex::encode(outer));
        assert!(source_secret().contains(SIGNING_SECRET));
    }

    #[test]
    fn each_record_of_a_batch_is_another_delivery() {
        let deliveries: Vec<Delivery> = (10..13).map(|number| Delivery::new(number).expect("a delivery")).collect();
        let event: Value = serde_json::from_slice(&worker_batch(&deliveries).expect("an event")).expect("JSON");
        let records = event["Records"].as_array().expect("records");
        assert_eq!(records.len(), 3);
        for (record, delivery) in records.iter().zip(&deliveries) {
            let message: Value = serde_json::from_str(record["body"].as_str().expect("a text")).expect("JSON");
            assert_eq!(message["delivery_id"], format!("bench-{}", delivery.number));
            let body = STANDARD.decode(message["body"]["data"].as_str().expect("data")).expect("base64");
            assert_eq!(body, delivery.body);
            assert_eq!((&message["v"], &message["kind"]), (&json!(1), &json!("event")));
        }
        assert_ne!(records[0]["messageId"], records[1]["messageId"]);
    }
}
