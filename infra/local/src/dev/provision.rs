//! What the template makes in AWS, made on one machine through the same APIs.

use crate::failure::Failure;
use crate::random;
use crate::stack::Stack;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, TimeToLiveSpecification,
};
use clawbridge_aws::explain;
use clawbridge_local_aws::LocalAws;
use std::collections::BTreeMap;
use std::time::Duration;

/// Receives after which a message is put aside, as in the template.
pub(crate) const MAX_RECEIVES: u32 = 10;

/// Makes queues, dead-letter queue and tables where they are missing.
pub(crate) async fn provision(
    local: &LocalAws,
    tables: &Client,
    stack: &Stack,
    visibility: Duration,
) -> Result<(), Failure> {
    queues(local, stack, visibility)?;
    let events = Table {
        name: &stack.events_table,
        key: &["id"],
        indexes: &[Index { name: "by_day", hash: "day", include: &["source", "type", "delivery_id"] }],
    };
    let tasks = Table {
        name: &stack.tasks_table,
        key: &["id"],
        indexes: &[
            Index { name: "by_day", hash: "day", include: &[] },
            Index { name: "by_state", hash: "listed", include: &[] },
        ],
    };
    let registry = Table { name: &stack.registry_table, key: &["kind", "name"], indexes: &[] };
    let limits = Table { name: &stack.limits_table, key: &["scope"], indexes: &[] };
    let channel = Table { name: &stack.channel_table, key: &["id", "part"], indexes: &[] };
    for table in [events, tasks, registry, limits, channel] {
        table.make(tables).await?;
    }
    Ok(())
}

/// Makes the keys of the addresses for later answers and of consents, unless they are there.
pub(crate) async fn keys(secrets: &aws_sdk_secretsmanager::Client, stack: &Stack) -> Result<(), Failure> {
    key_of(secrets, stack, clawbridge_callbacks::KEY_NAME).await?;
    key_of(secrets, stack, clawbridge_oauth_function::STATE_KEY).await
}

async fn key_of(secrets: &aws_sdk_secretsmanager::Client, stack: &Stack, name: &str) -> Result<(), Failure> {
    let name = format!("{}/{name}", stack.secret_prefix);
    match secrets.create_secret().name(&name).secret_string(random::key()).send().await {
        Ok(_) => Ok(()),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_exists_exception()) => Ok(()),
        Err(error) => Err(Failure::new("LOCAL_STACK", format!("secret {name}: {}", explain(&error)))),
    }
}

fn queues(local: &LocalAws, stack: &Stack, visibility: Duration) -> Result<(), Failure> {
    let failed = |error: clawbridge_local_aws::sqs::SqsError| Failure::new("LOCAL_STACK", error.to_string());
    let fortnight = BTreeMap::from([("MessageRetentionPeriod".to_owned(), "1209600".to_owned())]);
    local.sqs().create_queue_if_missing(&stack.dead_letter_queue, &fortnight).map_err(failed)?;
    let arn = local.sqs().queue_arn(&stack.dead_letter_queue);
    let redrive = serde_json::json!({"deadLetterTargetArn": arn, "maxReceiveCount": MAX_RECEIVES}).to_string();
    let mut attributes = fortnight;
    attributes.insert("RedrivePolicy".to_owned(), redrive);
    attributes.insert("VisibilityTimeout".to_owned(), visibility.as_secs().to_string());
    for queue in [&stack.queue, &stack.interactive_queue] {
        local.sqs().create_queue_if_missing(queue, &attributes).map_err(failed)?;
        // The queue of an earlier start may have been made with another --visibility.
        local.sqs().set_attributes(queue, &attributes).map_err(failed)?;
    }
    Ok(())
}

struct Table<'a> {
    name: &'a str,
    key: &'a [&'a str],
    indexes: &'a [Index<'a>],
}

/// An index by `hash` and the number `at`.
struct Index<'a> {
    name: &'a str,
    hash: &'a str,
    include: &'a [&'a str],
}

impl Table<'_> {
    async fn make(&self, client: &Client) -> Result<(), Failure> {
        let failed = |reason: String| Failure::new("LOCAL_STACK", format!("table {}: {reason}", self.name));
        let invalid = |error: aws_sdk_dynamodb::error::BuildError| failed(error.to_string());
        let mut create = client.create_table().table_name(self.name).billing_mode(BillingMode::PayPerRequest);
        let mut attributes: BTreeMap<&str, ScalarAttributeType> = BTreeMap::new();
        for (name, role) in self.key.iter().zip([KeyType::Hash, KeyType::Range]) {
            attributes.insert(name, ScalarAttributeType::S);
            create = create.key_schema(key(name, role).map_err(invalid)?);
        }
        for index in self.indexes {
            attributes.insert(index.hash, ScalarAttributeType::S);
            attributes.insert("at", ScalarAttributeType::N);
            let projection = match index.include {
                [] => Projection::builder().projection_type(ProjectionType::KeysOnly),
                names => Projection::builder()
                    .projection_type(ProjectionType::Include)
                    .set_non_key_attributes(Some(names.iter().map(ToString::to_string).collect())),
            };
            let index = GlobalSecondaryIndex::builder()
                .index_name(index.name)
                .key_schema(key(index.hash, KeyType::Hash).map_err(invalid)?)
                .key_schema(key("at", KeyType::Range).map_err(invalid)?)
                .projection(projection.build())
                .build()
                .map_err(invalid)?;
            create = create.global_secondary_indexes(index);
        }
        for (name, kind) in attributes {
            let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build();
            create = create.attribute_definitions(definition.map_err(invalid)?);
        }
        match create.send().await {
            Ok(_) => {}
            Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception()) => {
                return Ok(());
            }
            Err(error) => return Err(failed(explain(&error))),
        }
        let expiry =
            TimeToLiveSpecification::builder().enabled(true).attribute_name("expires_at").build().map_err(invalid)?;
        let enable = client.update_time_to_live().table_name(self.name).time_to_live_specification(expiry);
        enable.send().await.map_err(|error| failed(explain(&error)))?;
        Ok(())
    }
}

fn key(name: &str, role: KeyType) -> Result<KeySchemaElement, aws_sdk_dynamodb::error::BuildError> {
    KeySchemaElement::builder().attribute_name(name).key_type(role).build()
}
