//! The registry table of a local stack, for tests.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use bytes::Bytes;
use clawbridge_aws::{Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_local_aws::{LocalAws, State};
use clawbridge_registry::Registry;
use std::future::ready;
use tokio::net::TcpListener;

const TABLE: &str = "registry";

pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + ms)
}

pub(crate) async fn registry() -> Registry {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let aws = LocalAws::open(State::Ephemeral).unwrap();
    let nothing = |_: http::Request<Bytes>| -> futures_util::future::BoxFuture<'static, http::Response<Bytes>> {
        Box::pin(ready(http::Response::new(Bytes::new())))
    };
    tokio::spawn(aws.serve(listener, nothing, std::future::pending()));
    let client = Client::new(&sdk_config(&Environment::local(&url)).unwrap());
    let mut create = client.create_table().table_name(TABLE).billing_mode(BillingMode::PayPerRequest);
    for (name, role) in [("kind", KeyType::Hash), ("name", KeyType::Range)] {
        let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
        create = create
            .key_schema(KeySchemaElement::builder().attribute_name(name).key_type(role).build().unwrap())
            .attribute_definitions(definition.build().unwrap());
    }
    create.send().await.unwrap();
    Registry::new(client, TABLE.to_owned())
}
