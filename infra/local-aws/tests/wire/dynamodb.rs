//! DynamoDB: what the bridge's tables rely on, through our port.

use serde_json::{Value, json};

use crate::client::{Stack, call};

const TABLE: &str = "things";

async fn table(stack: &Stack) {
    let input = json!({
        "TableName": TABLE,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{ "AttributeName": "pk", "KeyType": "HASH" }, { "AttributeName": "sk", "KeyType": "RANGE" }],
        "AttributeDefinitions": [
            { "AttributeName": "pk", "AttributeType": "S" },
            { "AttributeName": "sk", "AttributeType": "S" },
            { "AttributeName": "g", "AttributeType": "S" },
        ],
        "GlobalSecondaryIndexes": [{
            "IndexName": "by-g",
            "KeySchema": [{ "AttributeName": "g", "KeyType": "HASH" }, { "AttributeName": "sk", "KeyType": "RANGE" }],
            "Projection": { "ProjectionType": "ALL" },
        }],
    });
    stack.dynamodb("CreateTable", input).await;
}

fn key(pk: &str) -> Value {
    json!({ "pk": { "S": pk }, "sk": { "S": "a" } })
}

fn put_if_absent(pk: &str) -> Value {
    json!({ "TableName": TABLE, "Item": key(pk), "ConditionExpression": "attribute_not_exists(pk)" })
}

#[tokio::test]
async fn a_conditional_put_succeeds_once_and_shows_what_was_there() {
    let stack = Stack::start().await;
    table(&stack).await;
    stack.dynamodb("PutItem", put_if_absent("1")).await;
    let mut again = put_if_absent("1");
    again["ReturnValuesOnConditionCheckFailure"] = json!("ALL_OLD");
    let refused = stack.call("DynamoDB_20120810.PutItem", again).await;
    assert_eq!(refused.error(), "ConditionalCheckFailedException");
    assert_eq!(refused.json()["Item"], key("1"));
}

#[tokio::test]
async fn of_many_conditional_puts_at_once_one_wins() {
    let stack = Stack::start().await;
    table(&stack).await;
    let racers: Vec<_> = (0..16)
        .map(|_| tokio::spawn(call(stack.address, "DynamoDB_20120810.PutItem", put_if_absent("race"))))
        .collect();
    let mut winners = 0;
    for racer in racers {
        let answer = racer.await.unwrap();
        match answer.status {
            200 => winners += 1,
            _ => assert_eq!(answer.error(), "ConditionalCheckFailedException"),
        }
    }
    assert_eq!(winners, 1);
}

#[tokio::test]
async fn updates_queries_and_indexes_work() {
    let stack = Stack::start().await;
    table(&stack).await;
    let update = json!({
        "TableName": TABLE, "Key": key("2"), "ReturnValues": "ALL_NEW",
        "UpdateExpression": "SET #n = if_not_exists(#n, :zero) + :one, l = list_append(if_not_exists(l, :none), :l) ADD c :one",
        "ExpressionAttributeNames": { "#n": "name" },
        "ExpressionAttributeValues": { ":zero": { "N": "0" }, ":one": { "N": "1" }, ":none": { "L": [] }, ":l": { "L": [{ "S": "x" }] } },
    });
    stack.dynamodb("UpdateItem", update.clone()).await;
    let after = stack.dynamodb("UpdateItem", update).await["Attributes"].clone();
    assert_eq!((&after["name"], &after["c"]), (&json!({ "N": "2" }), &json!({ "N": "2" })));

    for i in 0..5 {
        let item = json!({ "pk": { "S": "q" }, "sk": { "S": format!("{i:03}") }, "g": { "S": "G" } });
        stack.dynamodb("PutItem", json!({ "TableName": TABLE, "Item": item })).await;
    }
    let mut seen = Vec::new();
    let mut start = Value::Null;
    loop {
        let mut query = json!({
            "TableName": TABLE, "IndexName": "by-g", "KeyConditionExpression": "g = :g", "ScanIndexForward": false, "Limit": 2,
            "ExpressionAttributeValues": { ":g": { "S": "G" } },
        });
        if start.is_object() {
            query["ExclusiveStartKey"] = start;
        }
        let page = stack.dynamodb("Query", query).await;
        seen.extend(page["Items"].as_array().unwrap().iter().map(|item| item["sk"]["S"].as_str().unwrap().to_owned()));
        start = page["LastEvaluatedKey"].clone();
        if start.is_null() {
            break;
        }
    }
    assert_eq!(seen, ["004", "003", "002", "001", "000"]);
}

#[tokio::test]
async fn a_transaction_happens_whole_or_not_at_all_and_once_per_token() {
    let stack = Stack::start().await;
    table(&stack).await;
    stack.dynamodb("PutItem", put_if_absent("there")).await;
    let put = |pk: &str| json!({ "Put": { "TableName": TABLE, "Item": key(pk), "ConditionExpression": "attribute_not_exists(pk)" } });
    let refused = stack
        .call("DynamoDB_20120810.TransactWriteItems", json!({ "TransactItems": [put("new"), put("there")] }))
        .await;
    assert_eq!(refused.error(), "TransactionCanceledException");
    let codes: Vec<Value> =
        refused.json()["CancellationReasons"].as_array().unwrap().iter().map(|reason| reason["Code"].clone()).collect();
    assert_eq!(codes, ["None", "ConditionalCheckFailed"]);
    let absent = stack.dynamodb("GetItem", json!({ "TableName": TABLE, "Key": key("new") })).await;
    assert!(absent.get("Item").is_none());

    let count = |by: &str| {
        json!({
            "ClientRequestToken": "token",
            "TransactItems": [{ "Update": {
                "TableName": TABLE, "Key": key("count"), "UpdateExpression": "ADD c :by", "ExpressionAttributeValues": { ":by": { "N": by } },
            } }],
        })
    };
    stack.dynamodb("TransactWriteItems", count("1")).await;
    stack.dynamodb("TransactWriteItems", count("1")).await;
    let item = stack.dynamodb("GetItem", json!({ "TableName": TABLE, "Key": key("count") })).await;
    assert_eq!(item["Item"]["c"], json!({ "N": "1" }));
    assert_eq!(stack.dynamodb_error("TransactWriteItems", count("2")).await, "IdempotentParameterMismatchException");
}

#[tokio::test]
async fn requests_that_dynamodb_refuses_are_refused_with_its_errors() {
    let stack = Stack::start().await;
    table(&stack).await;
    let item =
        |value: Value| json!({ "TableName": TABLE, "Item": { "pk": { "S": "1" }, "sk": { "S": "a" }, "v": value } });
    let update = |expression: &str| {
        json!({
            "TableName": TABLE, "Key": key("1"), "UpdateExpression": expression,
            "ExpressionAttributeValues": { ":one": { "N": "1" } },
        })
    };
    for (operation, input, code) in [
        ("PutItem", json!({ "TableName": TABLE, "Item": key("") }), "ValidationException"),
        ("PutItem", item(json!({ "S": "x".repeat(410 * 1024) })), "ValidationException"),
        ("PutItem", item(json!({ "SS": [] })), "ValidationException"),
        ("PutItem", item(json!({ "N": "many" })), "ValidationException"),
        ("PutItem", item(json!({})), "ValidationException"),
        ("PutItem", item(json!({ "S": 1 })), "SerializationException"),
        ("UpdateItem", update("SET name = :one"), "ValidationException"),
        ("UpdateItem", update("SET a = :one, a = :one"), "ValidationException"),
        ("GetItem", json!({ "TableName": "nope", "Key": key("1") }), "ResourceNotFoundException"),
        ("GetItem", json!({ "Key": key("1") }), "ValidationException"),
        ("NoSuchOperation", json!({}), "UnknownOperationException"),
    ] {
        assert_eq!(
            stack.dynamodb_error(operation, input.clone()).await,
            code,
            "{operation} {:.100}",
            input.to_string()
        );
    }
}

#[tokio::test]
async fn items_past_their_ttl_are_swept() {
    let stack = Stack::start().await;
    table(&stack).await;
    let ttl = json!({ "TableName": TABLE, "TimeToLiveSpecification": { "Enabled": true, "AttributeName": "ttl" } });
    stack.dynamodb("UpdateTimeToLive", ttl).await;
    let status = stack.dynamodb("DescribeTimeToLive", json!({ "TableName": TABLE })).await;
    assert_eq!(status["TimeToLiveDescription"]["TimeToLiveStatus"], "ENABLED");
    let now = crate::client::START / 1_000;
    for (pk, at) in [("soon", now + 60), ("later", now + 3_600)] {
        let mut item = key(pk);
        item["ttl"] = json!({ "N": at.to_string() });
        stack.dynamodb("PutItem", json!({ "TableName": TABLE, "Item": item })).await;
    }
    stack.advance(61);
    stack.aws.sweep().unwrap();
    let left = stack.dynamodb("Scan", json!({ "TableName": TABLE })).await;
    assert_eq!(left["Count"], 1);
    assert_eq!(left["Items"][0]["pk"], json!({ "S": "later" }));
}
