//! The AWS services that functions are measured against: the local ones, on a thread of their own, filled as the template fills AWS.
//!
//! They are asked over plain HTTP. What is measured in a function is therefore its own work without TLS.

use crate::failure::Failure;
use crate::fixtures::{SOURCE, source_secret};
use crate::wire::{Connection, post, reply};
use bytes::Bytes;
use clawbridge_local_aws::{LocalAws, State};
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// What the names of its tables and queues begin with.
pub(crate) const PREFIX: &str = "bench-";

/// Names of one stack, as `clawbridge --local URL` reads them from the endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    pub(crate) address: SocketAddr,
    pub(crate) queue: &'static str,
    pub(crate) events_table: &'static str,
    pub(crate) tasks_table: &'static str,
    pub(crate) registry_table: &'static str,
    pub(crate) limits_table: &'static str,
    pub(crate) channel_table: &'static str,
    pub(crate) secret_prefix: &'static str,
}

impl Stack {
    fn at(address: SocketAddr) -> Stack {
        Stack {
            address,
            queue: "bench-work",
            events_table: "bench-events",
            tasks_table: "bench-tasks",
            registry_table: "bench-registry",
            limits_table: "bench-limits",
            channel_table: "bench-channel",
            secret_prefix: "clawbridge",
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn describe(&self) -> Value {
        json!({
            "name": "bench",
            "endpoint_url": self.url(),
            "public_url": null,
            "queue": self.queue,
            // Nothing that is measured goes there.
            "interactive_queue": self.queue,
            "dead_letter_queue": "bench-dead",
            "events_table": self.events_table,
            "tasks_table": self.tasks_table,
            "registry_table": self.registry_table,
            "limits_table": self.limits_table,
            "channel_table": "bench-channel",
            "secret_prefix": self.secret_prefix,
        })
    }
}

/// The running services. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) stack: Stack,
    pub(crate) queue_url: String,
    /// Dropping it is what ends them.
    _stop: oneshot::Sender<()>,
}

impl Services {
    /// Starts them empty and makes queue, tables and the source's secret.
    pub(crate) async fn start() -> Result<Services, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::harness("the local AWS services", error);
        let listener = StdListener::bind(("127.0.0.1", 0)).map_err(|error| failed(&error))?;
        listener.set_nonblocking(true).map_err(|error| failed(&error))?;
        let stack = Stack::at(listener.local_addr().map_err(|error| failed(&error))?);
        let aws = LocalAws::open(State::Ephemeral).map_err(|error| failed(&error))?;
        let (stop, stopped) = oneshot::channel();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
        let description = Bytes::from(stack.describe().to_string());
        let serve = move || {
            runtime.block_on(async move {
                // It was bound and made non-blocking above, which is all that this needs.
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                aws.serve(listener, move |request| page(&request, &description), async { drop(stopped.await) }).await;
            });
        };
        std::thread::Builder::new().name("local-aws".to_owned()).spawn(serve).map_err(|error| failed(&error))?;
        let mut client = Client::connect(stack.address).await?;
        let queue_url = provision(&mut client, &stack).await?;
        Ok(Services { stack, queue_url, _stop: stop })
    }
}

type Page = Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;

/// What is no AWS call: the stack's description at the root, and nothing else.
fn page(request: &Request<Bytes>, description: &Bytes) -> Page {
    let found = request.method() == Method::GET && request.uri().path() == "/";
    let response = if found {
        reply(StatusCode::OK, "application/json", description.clone())
    } else {
        reply(StatusCode::NOT_FOUND, "application/json", Bytes::from_static(b"{\"message\":\"Not Found\"}"))
    };
    Box::pin(std::future::ready(response))
}

/// The same tables, keys and indexes as the template's: an index that is missing would make every write cheaper than it is.
async fn provision(client: &mut Client, stack: &Stack) -> Result<String, Failure> {
    let by_day = Index { name: "by_day", hash: "day", include: &["source", "type", "delivery_id"] };
    client.create_table(stack.events_table, &["id"], &[by_day]).await?;
    let by_day = Index { name: "by_day", hash: "day", include: &[] };
    let by_state = Index { name: "by_state", hash: "listed", include: &[] };
    client.create_table(stack.tasks_table, &["id"], &[by_day, by_state]).await?;
    client.create_table(stack.registry_table, &["kind", "name"], &[]).await?;
    client.create_table(stack.limits_table, &["scope"], &[]).await?;
    client.create_source(stack.secret_prefix).await?;
    let answer = client.call("AmazonSQS.CreateQueue", &json!({"QueueName": stack.queue})).await?;
    answer["QueueUrl"]
        .as_str()
        .map(ToOwned::to_owned)
        .ok_or_else(|| Failure::Harness(format!("CreateQueue answered {answer}")))
}

/// A global secondary index by `hash` and the number `at`.
pub(crate) struct Index {
    name: &'static str,
    hash: &'static str,
    include: &'static [&'static str],
}

/// Speaks the AWS JSON protocols to an endpoint that checks no signatures.
#[derive(Debug)]
pub(crate) struct Client(Connection);

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Client, Failure> {
        Ok(Client(Connection::open(address).await?))
    }

    /// `target` is the value of `X-Amz-Target`: service and operation.
    pub(crate) async fn call(&mut self, target: &str, input: &Value) -> Result<Value, Failure> {
        let request = post("/", &[("x-amz-target", target)], Bytes::from(input.to_string()))?;
        let answer = self.0.send(request).await?;
        if answer.status() != StatusCode::OK {
            let text = String::from_utf8_lossy(answer.body()).into_owned();
            return Err(Failure::Harness(format!("{target} was answered with {}: {text}", answer.status())));
        }
        serde_json::from_slice(answer.body()).map_err(|error| Failure::harness(target, error))
    }

    /// Makes the secret that lets [`SOURCE`] in.
    pub(crate) async fn create_source(&mut self, secret_prefix: &str) -> Result<(), Failure> {
        let input = json!({
            "Name": format!("{secret_prefix}/sources/{SOURCE}"),
            "SecretString": source_secret(),
            // AWS wants 32 to 64 characters; nothing else is made under this one.
            "ClientRequestToken": "00000000-0000-4000-8000-000000000001",
        });
        self.call("secretsmanager.CreateSecret", &input).await.map(drop)
    }

    /// Makes a table with these keys and indexes, whose items expire.
    pub(crate) async fn create_table(&mut self, name: &str, key: &[&str], indexes: &[Index]) -> Result<(), Failure> {
        self.call("DynamoDB_20120810.CreateTable", &table(name, key, indexes)).await?;
        let expiry =
            json!({"TableName": name, "TimeToLiveSpecification": {"Enabled": true, "AttributeName": "expires_at"}});
        self.call("DynamoDB_20120810.UpdateTimeToLive", &expiry).await.map(drop)
    }
}

fn table(name: &str, key: &[&str], indexes: &[Index]) -> Value {
    let schema = |hash: &str, range: Option<&str>| -> Value {
        let range = range.map(|name| json!({"AttributeName": name, "KeyType": "RANGE"}));
        std::iter::once(json!({"AttributeName": hash, "KeyType": "HASH"})).chain(range).collect()
    };
    let mut attributes: Vec<(&str, &str)> = key.iter().map(|name| (*name, "S")).collect();
    let mut secondary = Vec::new();
    for index in indexes {
        attributes.push((index.hash, "S"));
        if !attributes.contains(&("at", "N")) {
            attributes.push(("at", "N"));
        }
        let projection = match index.include {
            [] => json!({"ProjectionType": "KEYS_ONLY"}),
            names => json!({"ProjectionType": "INCLUDE", "NonKeyAttributes": names}),
        };
        secondary.push(
            json!({"IndexName": index.name, "KeySchema": schema(index.hash, Some("at")), "Projection": projection}),
        );
    }
    let attributes: Value =
        attributes.iter().map(|(name, kind)| json!({"AttributeName": name, "AttributeType": kind})).collect();
    let mut table = json!({
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": attributes,
        "KeySchema": schema(key.first().copied().unwrap_or_default(), key.get(1).copied()),
    });
    // DynamoDB refuses an empty list of indexes.
    if !secondary.is_empty() {
        table["GlobalSecondaryIndexes"] = json!(secondary);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_services_are_filled_and_describe_the_stack() {
        let services = Services::start().await.expect("services");
        let mut client = Client::connect(services.stack.address).await.expect("a client");
        let tables = client.call("DynamoDB_20120810.ListTables", &json!({})).await.expect("tables");
        assert_eq!(tables["TableNames"], json!(["bench-events", "bench-limits", "bench-registry", "bench-tasks"]));
        for (name, indexes) in [("bench-events", 1), ("bench-tasks", 2), ("bench-registry", 0)] {
            let table =
                client.call("DynamoDB_20120810.DescribeTable", &json!({"TableName": name})).await.expect("a table");
            let found = table["Table"]["GlobalSecondaryIndexes"].as_array().map_or(0, Vec::len);
            assert_eq!(found, indexes, "{name}");
        }
        let secret =
            client.call("secretsmanager.GetSecretValue", &json!({"SecretId": "clawbridge/sources/bench"})).await;
        assert_eq!(secret.expect("a secret")["SecretString"], source_secret());
        let sent = json!({"QueueUrl": services.queue_url, "MessageBody": "m"});
        client.call("AmazonSQS.SendMessage", &sent).await.expect("a queue");
        let request = Request::get("/").body(Bytes::new()).expect("a request");
        let answer = client.0.send(request).await.expect("a page");
        let described: Value = serde_json::from_slice(answer.body()).expect("JSON");
        assert_eq!(
            (&described["queue"], &described["endpoint_url"]),
            (&json!("bench-work"), &json!(services.stack.url()))
        );
    }

    #[tokio::test]
    async fn a_call_that_is_refused_says_so() {
        let services = Services::start().await.expect("services");
        let mut client = Client::connect(services.stack.address).await.expect("a client");
        let error = client.call("AmazonSQS.GetQueueUrl", &json!({"QueueName": "none"})).await.expect_err("refused");
        assert!(error.to_string().contains("AmazonSQS.GetQueueUrl was answered with 400"), "{error}");
    }
}
