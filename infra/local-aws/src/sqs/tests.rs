//! Invariants of the queues, whatever order things happen in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::queue::Settings;
use super::receive::Delivery;
use super::send::Message;
use super::*;
use crate::clock::ManualClock;

const VISIBILITY: u64 = 10;

fn queues() -> (Sqs, ManualClock) {
    let clock = ManualClock::new(1_000_000);
    let store = Arc::new(Store::in_memory().unwrap());
    (Sqs::new(store, Clock::Manual(clock.clone())), clock)
}

fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Send { delay: i64 },
    Receive { max: i64 },
    Delete { which: prop::sample::Index },
    Hide { which: prop::sample::Index, seconds: i64 },
    Wait { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_i64..20).prop_map(|delay| Step::Send { delay }),
        3 => (1_i64..=10).prop_map(|max| Step::Receive { max }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Delete { which }),
        1 => (any::<prop::sample::Index>(), 0_i64..20).prop_map(|(which, seconds)| Step::Hide { which, seconds }),
        2 => (0_u64..15).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each message is in one place: visible, in flight, delayed, in the dead-letter queue or deleted; nobody receives
    /// what another holds; nobody receives a message more often than the redrive policy says.
    #[test]
    fn no_message_is_lost_or_held_twice(steps in prop::collection::vec(step(), 1..60)) {
        let (sqs, clock) = queues();
        sqs.create_queue_if_missing("dead", &BTreeMap::new()).unwrap();
        let policy = json!({ "deadLetterTargetArn": sqs.queue_arn("dead"), "maxReceiveCount": 3 }).to_string();
        let visibility = VISIBILITY.to_string();
        let given = attributes(&[("VisibilityTimeout", &visibility), ("RedrivePolicy", &policy)]);
        sqs.create_queue_if_missing("q", &given).unwrap();

        let (mut sent, mut deleted, mut now) = (0_u64, 0_u64, 0_u64);
        // Message id: the receipt that holds it and until when; and every receipt ever given out.
        let mut held: BTreeMap<String, (String, u64)> = BTreeMap::new();
        let mut receipts: Vec<(String, String)> = Vec::new();
        for step in steps {
            match step {
                Step::Send { delay } => {
                    let message = Message { body: Some("b".to_owned()), delay: Some(delay), ..Message::default() };
                    sqs.send_message("q", &message).unwrap();
                    sent += 1;
                }
                Step::Receive { max } => {
                    let look = sqs.look("q", max, None).unwrap();
                    prop_assert!(look.deliveries.len() <= usize::try_from(max).unwrap());
                    for Delivery { message_id, receipt_handle, system, .. } in look.deliveries {
                        if let Some((_, until)) = held.get(&message_id) {
                            prop_assert!(*until <= now, "{message_id} is held until {until}, and it is {now}");
                        }
                        prop_assert!(system["ApproximateReceiveCount"].parse::<u64>().unwrap() <= 3);
                        held.insert(message_id.clone(), (receipt_handle.clone(), now + VISIBILITY));
                        receipts.push((message_id, receipt_handle));
                    }
                }
                Step::Delete { which } if !receipts.is_empty() => {
                    let (id, receipt) = which.get(&receipts).clone();
                    let before = total(&sqs);
                    sqs.delete_messages("q", std::slice::from_ref(&receipt)).unwrap();
                    let gone = before - total(&sqs);
                    // Only the latest receipt deletes, and only once; one that went to the dead-letter queue stays
                    // there.
                    let current = held.get(&id).is_some_and(|(latest, _)| *latest == receipt);
                    prop_assert!(gone <= u64::from(current));
                    if gone == 1 {
                        held.remove(&id);
                    }
                    deleted += gone;
                }
                Step::Hide { which, seconds } if !receipts.is_empty() => {
                    let (id, receipt) = which.get(&receipts).clone();
                    let result = sqs.change_visibility_of_each("q", &[(receipt, seconds)]).unwrap().remove(0);
                    if result.is_ok() {
                        held.get_mut(&id).unwrap().1 = now + u64::try_from(seconds).unwrap();
                    }
                }
                Step::Wait { seconds } => {
                    clock.advance(Duration::from_secs(seconds));
                    now += seconds;
                }
                Step::Delete { .. } | Step::Hide { .. } => {}
            }
            prop_assert_eq!(total(&sqs), sent - deleted);
        }
    }

    /// Within a group, messages are deleted in the order in which they were sent, however often they are received.
    #[test]
    fn a_group_is_worked_off_in_order(
        groups in prop::collection::vec(0_u8..3, 1..30),
        gives_up in prop::collection::vec(any::<bool>(), 100),
        max in 1_i64..=10,
    ) {
        let (sqs, clock) = queues();
        let given = attributes(&[("FifoQueue", "true"), ("VisibilityTimeout", "10")]);
        sqs.create_queue_if_missing("q.fifo", &given).unwrap();
        for (i, group) in groups.iter().enumerate() {
            let message = Message {
                body: Some(i.to_string()),
                group: Some(group.to_string()),
                deduplication: Some(i.to_string()),
                ..Message::default()
            };
            sqs.send_message("q.fifo", &message).unwrap();
        }
        let mut done: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut gives_up = gives_up.into_iter().chain(std::iter::repeat(false));
        for round in 0..600 {
            let deliveries = sqs.look("q.fifo", max, None).unwrap().deliveries;
            // Who fails at a message leaves the rest of its group alone.
            let mut failed = BTreeSet::new();
            for delivery in deliveries {
                let group = delivery.system["MessageGroupId"].clone();
                if failed.contains(&group) || gives_up.next().unwrap_or(false) {
                    failed.insert(group);
                } else {
                    sqs.delete_messages("q.fifo", &[delivery.receipt_handle]).unwrap();
                    done.entry(group).or_default().push(delivery.body.parse().unwrap());
                }
            }
            if sqs.counts("q.fifo").unwrap() == QueueCounts::default() {
                break;
            }
            // Every other look finds some groups locked by what is still in flight.
            if round % 2 == 1 {
                clock.advance(Duration::from_secs(10));
            }
        }
        prop_assert_eq!(done.values().map(Vec::len).sum::<usize>(), groups.len());
        for bodies in done.values() {
            prop_assert!(bodies.is_sorted(), "{:?}", bodies);
        }
    }

    /// Whatever SQS carries arrives as it was sent.
    #[test]
    fn any_body_that_is_taken_arrives_unchanged(body in "(?s).{0,200}") {
        let (sqs, _) = queues();
        sqs.create_queue_if_missing("q", &BTreeMap::new()).unwrap();
        let message = Message { body: Some(body.clone()), ..Message::default() };
        match sqs.send_message("q", &message) {
            Ok(sent) => {
                let delivery = sqs.look("q", 1, None).unwrap().deliveries.remove(0);
                prop_assert_eq!(&delivery.body, &body);
                prop_assert_eq!(sent.md5_of_body, message::md5_of(body.as_bytes()));
            }
            Err(SqsError::Rejected { code: Code::InvalidMessageContents, .. }) => {
                let refused = body.chars().any(|c| c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}'));
                prop_assert!(refused);
            }
            Err(SqsError::Rejected { code: Code::MissingParameter, .. }) => prop_assert!(body.is_empty()),
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    /// No handle, however odd, does more than be refused.
    #[test]
    fn no_receipt_handle_breaks_anything(handle in "(?s).{1,60}") {
        let (sqs, _) = queues();
        sqs.create_queue_if_missing("q", &BTreeMap::new()).unwrap();
        prop_assert!(sqs.delete_messages("q", &[handle]).is_err());
    }

    /// Settings survive their way through the file.
    #[test]
    fn settings_are_read_as_they_were_set(visibility in 0..=43_200_u32, delay in 0..=900_u32) {
        let given = attributes(&[("VisibilityTimeout", &visibility.to_string()), ("DelaySeconds", &delay.to_string())]);
        let mut settings = Settings::default();
        settings.set("q", &given, true).unwrap();
        prop_assert_eq!(settings.visibility_timeout(), i64::from(visibility));
        prop_assert_eq!(settings.delay(), i64::from(delay));
        prop_assert_eq!(settings.first_difference("q", &settings), None);
    }
}

/// Messages that are somewhere.
fn total(sqs: &Sqs) -> u64 {
    let (queue, dead) = (sqs.counts("q").unwrap(), sqs.counts("dead").unwrap());
    [queue, dead].iter().map(|counts| counts.visible + counts.in_flight + counts.delayed).sum()
}

#[test]
fn attribute_sums_are_those_that_aws_computes() {
    // Computed by another program from the description in the developer guide.
    let attributes = |json: Value| serde_json::from_value::<message::Attributes>(json).unwrap();
    for (given, sum) in [
        (json!({ "a": { "DataType": "String", "StringValue": "1" } }), "314c77b249893c6b3c765a42cc08b245"),
        (
            json!({
                "b": { "DataType": "Binary", "BinaryValue": "AAE=" },
                "a": { "DataType": "Number", "StringValue": "12.5" },
                "c.d": { "DataType": "String.json", "StringValue": "é" },
            }),
            "5390f45890ddf774c3104f417232e4a2",
        ),
    ] {
        assert_eq!(message::md5_of_attributes(&attributes(given)).as_deref(), Some(sum));
    }
    assert_eq!(message::md5_of_attributes(&message::Attributes::new()), None);
}

#[tokio::test]
async fn the_rust_calls_do_what_the_wire_does() {
    let (sqs, clock) = queues();
    sqs.set_base_url("http://127.0.0.1:4566/");
    let url = sqs.create_queue_if_missing("q", &BTreeMap::new()).unwrap();
    assert_eq!(url, "http://127.0.0.1:4566/000000000000/q");
    let other = attributes(&[("VisibilityTimeout", "1")]);
    assert_eq!(sqs.create_queue_if_missing("q", &other).unwrap(), url, "an existing queue stays as it is");

    let id = sqs.send(&url, "now", Duration::ZERO).await.unwrap();
    sqs.send("q", "later", Duration::from_secs(5)).await.unwrap();
    assert_eq!(sqs.counts("q").unwrap(), QueueCounts { visible: 1, in_flight: 0, delayed: 1 });
    let got = sqs.receive(&sqs.queue_arn("q"), 10, Duration::ZERO, Some(Duration::from_secs(60))).await.unwrap();
    let [message] = got.as_slice() else { panic!("one message, not {got:?}") };
    assert_eq!((message.message_id.as_str(), message.body.as_str()), (id.as_str(), "now"));
    assert_eq!(message.attributes["ApproximateReceiveCount"], "1");
    assert_eq!(message.message_attributes, json!({}));
    assert_eq!(sqs.counts("q").unwrap().in_flight, 1);

    let good = message.receipt_handle.clone();
    let both = [good.clone(), "garbage".to_owned()];
    assert!(matches!(sqs.delete("q", &both).await, Err(SqsError::Rejected { code: Code::ReceiptHandleIsInvalid, .. })));
    assert_eq!(sqs.counts("q").unwrap().in_flight, 1, "all or nothing");
    sqs.delete("q", &[good]).await.unwrap();
    clock.advance(Duration::from_secs(60));
    let got = sqs.receive("q", 1, Duration::ZERO, None).await.unwrap();
    assert_eq!(got[0].body, "later");
    assert_eq!(sqs.counts("nope"), Err(SqsError::QueueDoesNotExist("nope".to_owned())));
}
