//! A batch from the queue: its records worked side by side, each failing alone.

use crate::Worker;
use clawbridge_clock::Timestamp;
use clawbridge_journal::Entry;
use futures_util::FutureExt;
use futures_util::future::join_all;
use lambda_runtime::{Error, LambdaEvent};
use serde::{Deserialize, Serialize};
use std::panic::AssertUnwindSafe;

/// An SQS event, as far as it is used.
/// <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>
#[derive(Clone, Debug, Deserialize)]
pub struct Batch {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Clone, Debug, Deserialize)]
struct Record {
    #[serde(rename = "messageId")]
    message_id: String,
    body: String,
}

/// Which records must come back; SQS deletes the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchAnswer {
    /// Partial batch response.
    #[serde(rename = "batchItemFailures")]
    pub failures: Vec<Failure>,
}

/// A record that must come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its message id.
    #[serde(rename = "itemIdentifier")]
    pub message_id: String,
}

impl Worker {
    /// Works one batch. The error type is Lambda's; nothing is returned as one, because that would bring the whole batch back.
    ///
    /// # Errors
    /// None.
    pub async fn handle(&self, event: LambdaEvent<Batch>) -> Result<BatchAnswer, Error> {
        let deadline = Timestamp::from(event.context.deadline());
        let records = event.payload.records;
        let fates = join_all(records.iter().map(|record| self.record(record, deadline))).await;
        let failures = records
            .iter()
            .zip(fates)
            .filter(|(_, done)| !done)
            .map(|(record, _)| Failure { message_id: record.message_id.clone() })
            .collect();
        Ok(BatchAnswer { failures })
    }

    /// Whether the record is done with. A panic is reported by the hook and concerns this record alone: what it shares with others are
    /// clients and caches, which hold no half-made state.
    async fn record(&self, record: &Record, deadline: Timestamp) -> bool {
        match AssertUnwindSafe(self.work(&record.body, deadline)).catch_unwind().await {
            Ok(Ok(())) => true,
            Ok(Err(trouble)) => {
                let reason = trouble.to_string();
                let entry = Entry::BridgeFailed { code: trouble.code(), reason: &reason, subject: &record.message_id };
                clawbridge_journal::write(&entry);
                self.system_error(trouble.code(), &reason).await;
                false
            }
            Err(_) => false,
        }
    }
}
