//! Agents in the registry table of the local stack.

#![allow(clippy::unwrap_used)]

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use bytes::Bytes;
use clawbridge_access::{AgentRecord, AppKey, AppSecret, PresentedAgent, admit_agent};
use clawbridge_aws::{Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_local_aws::{LocalAws, State};
use clawbridge_registry::Registry;
use std::future::ready;
use tokio::net::TcpListener;

const TABLE: &str = "registry";

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + ms)
}

async fn registry() -> Registry {
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

fn agent(name: &str, byte: u8) -> (AgentRecord, AppSecret) {
    let secret = AppSecret::of([byte; 32]);
    (AgentRecord::new(name, AppKey::of([byte; 16]), secret.hash(), at(0)), secret)
}

#[tokio::test]
async fn an_agent_is_found_by_its_name_and_its_key_until_it_is_removed() {
    let registry = registry().await;
    let ((main, _), (other, _)) = (agent("main", 1), agent("other", 2));
    assert!(registry.put_agent(&main).await.unwrap() && registry.put_agent(&other).await.unwrap());
    let (namesake, _) = agent("main", 3);
    assert!(!registry.put_agent(&namesake).await.unwrap());
    assert_eq!(registry.agent_by_key(&namesake.key).await.unwrap(), None);
    assert_eq!(registry.agent("main").await.unwrap().as_ref(), Some(&main));
    assert_eq!(registry.agent_by_key(&main.key).await.unwrap().as_ref(), Some(&main));
    assert_eq!(registry.agents().await.unwrap(), [main.clone(), other.clone()]);
    assert_eq!(registry.remove_agent("main").await.unwrap().as_ref(), Some(&main));
    assert_eq!(registry.remove_agent("main").await.unwrap(), None);
    assert_eq!(registry.agent_by_key(&main.key).await.unwrap(), None);
    assert_eq!(registry.agents().await.unwrap(), [other]);
    assert!(registry.put_agent(&namesake).await.unwrap());
}

#[tokio::test]
async fn a_rotated_secret_is_valid_beside_the_one_before_for_as_long_as_was_said() {
    let registry = registry().await;
    let (main, first) = agent("main", 1);
    let second = AppSecret::of([9; 32]);
    registry.put_agent(&main).await.unwrap();
    assert_eq!(registry.rotate_agent_secret("nobody", second.hash(), at(500), at(10)).await.unwrap(), None);
    let rotated = registry.rotate_agent_secret("main", second.hash(), at(500), at(10)).await.unwrap();
    let kept = registry.agent_by_key(&main.key).await.unwrap();
    assert_eq!(kept, rotated);
    let admits = |secret: &AppSecret, now: i64| {
        let presented = PresentedAgent::parse(Some(main.key.as_str()), Some(secret.reveal())).unwrap();
        admit_agent(&presented, kept.as_ref(), at(now)).is_ok()
    };
    assert_eq!(
        [admits(&first, 499), admits(&first, 500), admits(&second, 499), admits(&second, 500)],
        [true, false, true, true]
    );
}

#[tokio::test]
async fn of_two_who_rotate_at_once_neither_undoes_the_other() {
    let registry = registry().await;
    registry.put_agent(&agent("main", 1).0).await.unwrap();
    let (one, other) = (AppSecret::of([2; 32]), AppSecret::of([3; 32]));
    let (a, b) = tokio::join!(
        registry.rotate_agent_secret("main", one.hash(), at(500), at(1)),
        registry.rotate_agent_secret("main", other.hash(), at(500), at(1)),
    );
    let written = [a.is_ok(), b.is_ok()];
    assert!(written.contains(&true));
    let newest = registry.agent("main").await.unwrap().unwrap().secrets[0].hash.clone();
    // Whoever was told that it is written finds it kept, unless the other came after it and has it second.
    let kept: Vec<_> =
        registry.agent("main").await.unwrap().unwrap().secrets.into_iter().map(|kept| kept.hash).collect();
    for (secret, written) in [(&one, written[0]), (&other, written[1])] {
        assert_eq!(kept.contains(&secret.hash()), written, "{newest:?}");
    }
}
