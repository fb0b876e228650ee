//! A proxy in front of the AWS services that counts calls by operation, and by table where it is one of DynamoDB.
//!
//! It costs time of its own, so it stands in a pass of its own: figures of time are measured without it.

use crate::aws::PREFIX;
use crate::failure::Failure;
use crate::wire::{Pool, Server, forwardable, reply};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Calls by operation, such as `SQS SendMessage` or `DynamoDB PutItem events`.
pub(crate) type Counts = BTreeMap<String, u64>;

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Counting {
    pub(crate) server: Server,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: Pool,
    counts: Mutex<Counts>,
}

impl Counting {
    pub(crate) async fn start(upstream: SocketAddr) -> Result<Counting, Failure> {
        let shared = Arc::new(Shared { upstream: Pool::new(upstream), counts: Mutex::default() });
        let state = Arc::clone(&shared);
        let server = Server::start(move |request| {
            let state = Arc::clone(&state);
            async move {
                match state.forward(request).await {
                    Ok(response) => response,
                    Err(failure) => reply(StatusCode::BAD_GATEWAY, "text/plain", Bytes::from(failure.to_string())),
                }
            }
        })
        .await?;
        Ok(Counting { server, shared })
    }

    /// The calls since the last time they were taken.
    pub(crate) fn take(&self) -> Counts {
        std::mem::take(&mut *self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    async fn forward(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, Failure> {
        let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
        let operation = operation(target.unwrap_or_default(), request.body());
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(operation).or_default() += 1;
        forwardable(request.headers_mut());
        let mut response = self.upstream.send(request).await?;
        forwardable(response.headers_mut());
        Ok(response)
    }
}

/// A table, as operations on one item name it.
#[derive(Deserialize)]
struct OneTable {
    #[serde(rename = "TableName")]
    name: String,
}

fn operation(target: &str, body: &[u8]) -> String {
    match target.split_once('.') {
        Some(("AmazonSQS", operation)) => format!("SQS {operation}"),
        Some(("secretsmanager", operation)) => format!("Secrets Manager {operation}"),
        Some((service, operation)) if service.starts_with("DynamoDB") => {
            let table = serde_json::from_slice::<OneTable>(body).map(|table| table.name).unwrap_or_default();
            format!("DynamoDB {operation} {}", table.strip_prefix(PREFIX).unwrap_or(&table)).trim_end().to_owned()
        }
        _ => format!("other {target}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::Services;
    use crate::wire::{Connection, post};

    #[tokio::test]
    async fn calls_are_passed_on_and_counted_by_operation() {
        let services = Services::start().await.expect("services");
        let counting = Counting::start(services.stack.address).await.expect("a proxy");
        let mut connection = Connection::open(counting.server.address).await.expect("a connection");
        let mut call = async |target: &str, body: String| {
            let request = post("/", &[("x-amz-target", target)], Bytes::from(body)).expect("a request");
            connection.send(request).await.expect("an answer")
        };
        let message = format!("{{\"QueueUrl\":\"{}\",\"MessageBody\":\"m\"}}", services.queue_url);
        for _ in 0..3 {
            let answer = call("AmazonSQS.SendMessage", message.clone()).await;
            assert_eq!(answer.status(), StatusCode::OK, "{answer:?}");
        }
        assert_eq!(call("DynamoDB_20120810.ListTables", "{}".to_owned()).await.status(), StatusCode::OK);
        let expected = [("DynamoDB ListTables".to_owned(), 1), ("SQS SendMessage".to_owned(), 3)];
        assert_eq!(counting.take(), Counts::from(expected));
        assert!(counting.take().is_empty());
    }

    #[test]
    fn operations_are_named_by_their_service_and_table() {
        for (target, body, expected) in [
            ("AmazonSQS.SendMessage", "{}", "SQS SendMessage"),
            ("secretsmanager.GetSecretValue", "{}", "Secrets Manager GetSecretValue"),
            ("DynamoDB_20120810.PutItem", r#"{"Item":{},"TableName":"bench-tasks"}"#, "DynamoDB PutItem tasks"),
            ("DynamoDB_20120810.PutItem", r#"{"TableName":"others"}"#, "DynamoDB PutItem others"),
            ("DynamoDB_20120810.ListTables", "", "DynamoDB ListTables"),
            ("", "", "other "),
        ] {
            assert_eq!(operation(target, body.as_bytes()), expected);
        }
    }
}
