//! Secrets Manager: versions, staging labels, tokens, deletion.

use serde_json::{Value, json};

use crate::client::Stack;

/// A version's id of the length that Secrets Manager wants.
fn token(name: &str) -> String {
    format!("{name:-<36}")
}

async fn text(stack: &Stack, secret: &str, stage: &str) -> Value {
    stack.secrets("GetSecretValue", json!({ "SecretId": secret, "VersionStage": stage })).await["SecretString"].clone()
}

/// Each version's labels.
async fn stages(stack: &Stack, secret: &str) -> Value {
    let mut all = serde_json::Map::new();
    let mut input = json!({ "SecretId": secret, "IncludeDeprecated": true, "MaxResults": 60 });
    loop {
        let page = stack.secrets("ListSecretVersionIds", input.clone()).await;
        let versions = page["Versions"].as_array().unwrap().iter();
        all.extend(
            versions
                .map(|version| (version["VersionId"].as_str().unwrap().to_owned(), version["VersionStages"].clone())),
        );
        match page.get("NextToken") {
            Some(token) => input["NextToken"] = token.clone(),
            None => return Value::Object(all),
        }
    }
}

#[tokio::test]
async fn a_secret_is_created_once_and_a_repeat_of_the_same_request_succeeds() {
    let stack = Stack::start().await;
    let create =
        |value: &str, token: String| json!({ "Name": "s", "SecretString": value, "ClientRequestToken": token });
    let made = stack.secrets("CreateSecret", create("v1", token("1"))).await;
    assert_eq!(made["VersionId"], token("1"));
    let arn = made["ARN"].as_str().unwrap();
    assert!(arn.starts_with("arn:aws:secretsmanager:us-east-1:000000000000:secret:s-") && arn.len() == 61, "{arn}");
    assert_eq!(stack.secrets("CreateSecret", create("v1", token("1"))).await, made);
    assert_eq!(stack.secrets_error("CreateSecret", create("v2", token("2"))).await, "ResourceExistsException");
    assert_eq!(stack.secrets_error("CreateSecret", create("v2", token("1"))).await, "ResourceExistsException");
    // By name, by ARN, and by ARN without the six characters.
    for id in ["s", arn, &arn[..arn.len() - 7]] {
        let got = stack.secrets("GetSecretValue", json!({ "SecretId": id })).await;
        assert_eq!((&got["SecretString"], &got["VersionStages"]), (&json!("v1"), &json!(["AWSCURRENT"])), "{id}");
        assert_eq!(got["CreatedDate"], 1_795_219_200.0);
    }
}

#[tokio::test]
async fn a_new_value_becomes_current_and_the_old_one_previous() {
    let stack = Stack::start().await;
    stack.secrets("CreateSecret", json!({ "Name": "s", "SecretString": "v1", "ClientRequestToken": token("1") })).await;
    let put =
        |value: &str, token: String| json!({ "SecretId": "s", "SecretString": value, "ClientRequestToken": token });
    let answer = stack.secrets("PutSecretValue", put("v2", token("2"))).await;
    assert_eq!(answer["VersionStages"], json!(["AWSCURRENT"]));
    assert_eq!(text(&stack, "s", "AWSCURRENT").await, "v2");
    assert_eq!(text(&stack, "s", "AWSPREVIOUS").await, "v1");

    stack.secrets("PutSecretValue", put("v2", token("2"))).await;
    assert_eq!(text(&stack, "s", "AWSPREVIOUS").await, "v1", "a repeat moves nothing");
    assert_eq!(stack.secrets_error("PutSecretValue", put("other", token("2"))).await, "ResourceExistsException");

    let update =
        json!({ "SecretId": "s", "SecretString": "v3", "ClientRequestToken": token("3"), "Description": "third" });
    stack.secrets("UpdateSecret", update).await;
    let expected = json!({ token("1"): [], token("2"): ["AWSPREVIOUS"], token("3"): ["AWSCURRENT"] });
    assert_eq!(stages(&stack, "s").await, expected);
    let old = stack.secrets("GetSecretValue", json!({ "SecretId": "s", "VersionId": token("1") })).await;
    assert_eq!((&old["SecretString"], &old["VersionStages"]), (&json!("v1"), &json!([])));
    let labelled = stack.secrets("ListSecretVersionIds", json!({ "SecretId": "s" })).await;
    assert_eq!(labelled["Versions"].as_array().unwrap().len(), 2);
    assert_eq!(stack.secrets("DescribeSecret", json!({ "SecretId": "s" })).await["Description"], "third");
}

#[tokio::test]
async fn the_first_version_of_an_empty_secret_is_current() {
    let stack = Stack::start().await;
    let made = stack.secrets("CreateSecret", json!({ "Name": "s" })).await;
    assert!(made.get("VersionId").is_none());
    assert_eq!(stack.secrets_error("GetSecretValue", json!({ "SecretId": "s" })).await, "ResourceNotFoundException");
    stack
        .secrets("PutSecretValue", json!({ "SecretId": "s", "SecretString": "v", "VersionStages": ["AWSPENDING"] }))
        .await;
    assert_eq!(text(&stack, "s", "AWSCURRENT").await, "v");
    assert_eq!(text(&stack, "s", "AWSPENDING").await, "v");
}

#[tokio::test]
async fn a_rotation_puts_a_pending_version_and_promotes_it() {
    let stack = Stack::start().await;
    stack.secrets("CreateSecret", json!({ "Name": "s", "SecretString": "v1", "ClientRequestToken": token("1") })).await;
    let pending = |value: &str, token: String| json!({ "SecretId": "s", "SecretString": value, "ClientRequestToken": token, "VersionStages": ["AWSPENDING"] });
    stack.secrets("PutSecretValue", pending("v2", token("2"))).await;
    stack.secrets("PutSecretValue", pending("v3", token("3"))).await;
    assert_eq!(stages(&stack, "s").await[token("2")], json!([]), "the label moved off");
    assert_eq!(text(&stack, "s", "AWSCURRENT").await, "v1");
    assert_eq!(text(&stack, "s", "AWSPENDING").await, "v3");

    let promote = |from: Option<String>, to: Option<String>| {
        let mut input = json!({ "SecretId": "s", "VersionStage": "AWSCURRENT" });
        for (name, version) in [("RemoveFromVersionId", from), ("MoveToVersionId", to)] {
            if let Some(version) = version {
                input[name] = json!(version);
            }
        }
        input
    };
    for (from, to, code) in [
        (None, Some(token("3")), "InvalidParameterException"),
        (Some(token("2")), Some(token("3")), "InvalidParameterException"),
        (Some(token("1")), None, "InvalidParameterException"),
        (None, None, "InvalidParameterException"),
        (Some(token("1")), Some(token("9")), "ResourceNotFoundException"),
    ] {
        let input = promote(from, to);
        assert_eq!(stack.secrets_error("UpdateSecretVersionStage", input.clone()).await, code, "{input}");
    }
    assert_eq!(text(&stack, "s", "AWSCURRENT").await, "v1");

    stack.secrets("UpdateSecretVersionStage", promote(Some(token("1")), Some(token("3")))).await;
    assert_eq!(text(&stack, "s", "AWSCURRENT").await, "v3");
    assert_eq!(text(&stack, "s", "AWSPREVIOUS").await, "v1");
    let done = json!({ "SecretId": "s", "VersionStage": "AWSPENDING", "RemoveFromVersionId": token("3") });
    stack.secrets("UpdateSecretVersionStage", done).await;
    assert_eq!(stages(&stack, "s").await[token("3")], json!(["AWSCURRENT"]));
    let both = json!({ "SecretId": "s", "VersionId": token("1"), "VersionStage": "AWSCURRENT" });
    assert_eq!(stack.secrets_error("GetSecretValue", both).await, "InvalidRequestException");
}

#[tokio::test]
async fn a_deleted_secret_cannot_be_read_and_can_be_restored_until_its_window_closes() {
    let stack = Stack::start().await;
    stack.secrets("CreateSecret", json!({ "Name": "s", "SecretString": "v" })).await;
    let deleted = stack.secrets("DeleteSecret", json!({ "SecretId": "s", "RecoveryWindowInDays": 7 })).await;
    assert_eq!(deleted["DeletionDate"], 1_795_219_200.0 + 7.0 * 86_400.0);
    for (operation, input) in [
        ("GetSecretValue", json!({ "SecretId": "s" })),
        ("PutSecretValue", json!({ "SecretId": "s", "SecretString": "w" })),
        ("CreateSecret", json!({ "Name": "s", "SecretString": "w" })),
        ("DeleteSecret", json!({ "SecretId": "s" })),
    ] {
        assert_eq!(stack.secrets_error(operation, input).await, "InvalidRequestException", "{operation}");
    }
    assert_eq!(stack.secrets("ListSecrets", json!({})).await["SecretList"], json!([]));
    assert!(stack.secrets("DescribeSecret", json!({ "SecretId": "s" })).await["DeletedDate"].is_number());
    stack.secrets("RestoreSecret", json!({ "SecretId": "s" })).await;
    assert_eq!(text(&stack, "s", "AWSCURRENT").await, "v");

    stack.secrets("DeleteSecret", json!({ "SecretId": "s", "RecoveryWindowInDays": 7 })).await;
    stack.advance(7 * 86_400);
    assert_eq!(stack.secrets_error("RestoreSecret", json!({ "SecretId": "s" })).await, "ResourceNotFoundException");
    stack.secrets("CreateSecret", json!({ "Name": "s", "SecretString": "new" })).await;
    stack.secrets("DeleteSecret", json!({ "SecretId": "s", "ForceDeleteWithoutRecovery": true })).await;
    stack.secrets("DeleteSecret", json!({ "SecretId": "s", "ForceDeleteWithoutRecovery": true })).await;
    for input in [
        json!({ "SecretId": "s", "RecoveryWindowInDays": 6 }),
        json!({ "SecretId": "s", "RecoveryWindowInDays": 7, "ForceDeleteWithoutRecovery": true }),
    ] {
        assert_eq!(stack.secrets_error("DeleteSecret", input).await, "InvalidParameterException");
    }
}

#[tokio::test]
async fn what_is_missing_or_malformed_is_said_without_quoting_secrets() {
    let stack = Stack::start().await;
    stack.secrets("CreateSecret", json!({ "Name": "s", "SecretString": "v" })).await;
    let get = |input: Value| async { stack.call("secretsmanager.GetSecretValue", input).await };
    assert_eq!(get(json!({ "SecretId": "nope" })).await.error(), "ResourceNotFoundException");
    assert_eq!(get(json!({ "SecretId": "s", "VersionStage": "ZZ" })).await.error(), "ResourceNotFoundException");
    assert_eq!(get(json!({ "SecretId": "s", "VersionId": token("z") })).await.error(), "ResourceNotFoundException");
    assert_eq!(get(json!({})).await.error(), "InvalidParameterException");

    let hush = "hush-hush-hush";
    for (input, code) in [
        (json!({ "Name": "bad name", "SecretString": hush }), "InvalidParameterException"),
        (json!({ "Name": "b", "SecretString": hush, "SecretBinary": "AA==" }), "InvalidParameterException"),
        (json!({ "Name": "b", "SecretString": hush, "ClientRequestToken": "short" }), "InvalidParameterException"),
        (json!({ "Name": "b", "SecretBinary": hush }), "InvalidParameterException"),
        (json!({ "Name": "b", "SecretString": "" }), "InvalidParameterException"),
        (json!({ "Name": "b", "SecretString": "x".repeat(65_537) }), "InvalidParameterException"),
        (json!({ "Name": "b", "SecretString": [hush] }), "SerializationException"),
        (json!({ "Name": "b", "SecretString": hush, "Description": 1 }), "SerializationException"),
    ] {
        let refused = stack.call("secretsmanager.CreateSecret", input).await;
        assert_eq!(refused.error(), code);
        assert!(!refused.message().contains(hush), "{}", refused.message());
    }
    stack.secrets("CreateSecret", json!({ "Name": "b", "SecretString": "x".repeat(65_536) })).await;
}

#[tokio::test]
async fn secrets_are_bytes_too_and_several_are_read_at_once() {
    let stack = Stack::start().await;
    stack.secrets("CreateSecret", json!({ "Name": "app/text", "SecretString": "t" })).await;
    stack
        .secrets(
            "CreateSecret",
            json!({ "Name": "app/bytes", "SecretBinary": "AAH/", "Description": "Key of the shop" }),
        )
        .await;
    stack
        .secrets(
            "CreateSecret",
            json!({ "Name": "other", "SecretString": "o", "Tags": [{ "Key": "env", "Value": "dev" }] }),
        )
        .await;
    assert_eq!(stack.secrets("GetSecretValue", json!({ "SecretId": "app/bytes" })).await["SecretBinary"], "AAH/");

    let both = stack.secrets("BatchGetSecretValue", json!({ "SecretIdList": ["app/text", "nope", "app/bytes"] })).await;
    assert_eq!(both["SecretValues"].as_array().unwrap().len(), 2);
    assert_eq!(both["Errors"][0]["SecretId"], "nope");
    assert_eq!(both["Errors"][0]["ErrorCode"], "ResourceNotFoundException");

    for (key, value, expected) in [
        ("name", "app/", vec!["app/bytes", "app/text"]),
        ("name", "!app/", vec!["other"]),
        ("description", "key of", vec!["app/bytes"]),
        ("tag-key", "env", vec!["other"]),
        ("tag-value", "dev", vec!["other"]),
        ("all", "SHOP", vec!["app/bytes"]),
    ] {
        let filters = json!([{ "Key": key, "Values": [value] }]);
        let list = stack.secrets("ListSecrets", json!({ "Filters": filters })).await;
        let names: Vec<&str> =
            list["SecretList"].as_array().unwrap().iter().map(|s| s["Name"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{key} {value}");
        let values = stack.secrets("BatchGetSecretValue", json!({ "Filters": filters })).await;
        assert_eq!(values["SecretValues"].as_array().unwrap().len(), expected.len());
    }
    let first = stack.secrets("ListSecrets", json!({ "MaxResults": 2 })).await;
    let rest = stack.secrets("ListSecrets", json!({ "MaxResults": 2, "NextToken": first["NextToken"] })).await;
    assert_eq!(rest["SecretList"][0]["Name"], "other");
    assert!(rest.get("NextToken").is_none());
    assert_eq!(stack.secrets_error("ListSecrets", json!({ "NextToken": "?" })).await, "InvalidNextTokenException");

    stack.secrets("TagResource", json!({ "SecretId": "other", "Tags": [{ "Key": "a", "Value": "1" }] })).await;
    stack.secrets("UntagResource", json!({ "SecretId": "other", "TagKeys": ["env"] })).await;
    let tags = stack.secrets("DescribeSecret", json!({ "SecretId": "other" })).await["Tags"].clone();
    assert_eq!(tags, json!([{ "Key": "a", "Value": "1" }]));
}

#[tokio::test]
async fn unlabelled_versions_are_kept_up_to_a_hundred() {
    let stack = Stack::start().await;
    stack.aws.secrets().create("s", "first").unwrap();
    let first = stack.secrets("GetSecretValue", json!({ "SecretId": "s" })).await["VersionId"].clone();
    let keep = json!({ "SecretId": "s", "VersionStage": "KEEP", "MoveToVersionId": first });
    stack.secrets("UpdateSecretVersionStage", keep).await;
    for i in 0..120 {
        stack.aws.secrets().put("s", &i.to_string()).unwrap();
    }
    let kept = stages(&stack, "s").await;
    assert_eq!(kept.as_object().unwrap().len(), 101, "a label keeps a version however old it is");
    assert_eq!(text(&stack, "s", "KEEP").await, "first");
    assert_eq!(stack.aws.secrets().get("s").unwrap().as_deref(), Some("119"));
    assert_eq!(stack.aws.secrets().get("nope").unwrap(), None);
}
