//! The operations of Secrets Manager as the AWS JSON 1.1 protocol carries them.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use rusqlite::Transaction;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::error::SecretsError;
use super::secret::Secret;
use super::versions::{self, Value, Version};
use super::{NewSecret, SecretsManager, create};
use crate::api::{ApiError, input, output};
use crate::clock::Millis;

const DAY: Millis = 86_400_000;

/// Every parameter of every operation that this stand-in reads. No `Debug`: it carries secrets.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    name: Option<String>,
    secret_id: String,
    client_request_token: Option<String>,
    secret_string: Option<String>,
    secret_binary: Option<String>,
    description: Option<String>,
    kms_key_id: Option<String>,
    tags: Vec<Tag>,
    tag_keys: Vec<String>,
    version_id: Option<String>,
    version_stage: Option<String>,
    version_stages: Option<Vec<String>>,
    remove_from_version_id: Option<String>,
    move_to_version_id: Option<String>,
    recovery_window_in_days: Option<i64>,
    force_delete_without_recovery: Option<bool>,
    include_deprecated: Option<bool>,
    include_planned_deletion: Option<bool>,
    secret_id_list: Vec<String>,
    filters: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
    sort_order: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    key: String,
    values: Vec<String>,
}

impl Input {
    fn value(&self) -> Result<Option<Value>, SecretsError> {
        match (&self.secret_string, &self.secret_binary) {
            (Some(_), Some(_)) => {
                Err(SecretsError::parameter("You can't specify both a binary secret value and a string secret value."))
            }
            (Some(text), None) => Ok(Some(Value::Text(text.clone()))),
            (None, Some(text)) => match STANDARD.decode(text) {
                Ok(bytes) => Ok(Some(Value::Binary(bytes))),
                Err(_) => Err(SecretsError::parameter("SecretBinary is not base64.")),
            },
            (None, None) => Ok(None),
        }
    }

    fn token(&self) -> String {
        self.client_request_token.clone().unwrap_or_else(|| Uuid::new_v4().to_string())
    }

    fn tags(&self) -> Result<BTreeMap<String, String>, SecretsError> {
        self.tags.iter().map(|tag| check_tag(tag).map(|()| (tag.key.clone(), tag.value.clone()))).collect()
    }
}

fn check_tag(tag: &Tag) -> Result<(), SecretsError> {
    if (1..=128).contains(&tag.key.chars().count()) && tag.value.chars().count() <= 256 {
        return Ok(());
    }
    Err(SecretsError::parameter("A tag's key has 1 to 128 characters and its value at most 256."))
}

/// Answers one request.
pub(crate) async fn call(secrets: &SecretsManager, operation: &str, body: &[u8]) -> Result<Bytes, ApiError> {
    let request: Input = input(body)?;
    let (secrets, operation) = (secrets.clone(), operation.to_owned());
    let done = tokio::task::spawn_blocking(move || answer(&secrets, &operation, &request)).await;
    let answer =
        done.unwrap_or_else(|error| Err(SecretsError::Storage(format!("the request was abandoned: {error}")).into()))?;
    output(&answer)
}

fn answer(secrets: &SecretsManager, operation: &str, request: &Input) -> Result<Json, ApiError> {
    let work: fn(&Transaction<'_>, &Input, Millis) -> Result<Json, SecretsError> = match operation {
        "BatchGetSecretValue" => batch_get,
        "CreateSecret" => create_secret,
        "DeleteSecret" => delete,
        "DescribeSecret" => describe,
        "GetSecretValue" => get,
        "ListSecretVersionIds" => list_versions,
        "ListSecrets" => list,
        "PutSecretValue" => put,
        "RestoreSecret" => restore,
        "TagResource" => tag,
        "UntagResource" => untag,
        "UpdateSecret" => update,
        "UpdateSecretVersionStage" => update_stage,
        _ => return Err(ApiError::unknown_operation("Secrets Manager", operation)),
    };
    Ok(secrets.write(|tx, now| work(tx, request, now))?)
}

fn create_secret(tx: &Transaction<'_>, request: &Input, now: Millis) -> Result<Json, SecretsError> {
    let new = NewSecret {
        name: request.name.clone().unwrap_or_default(),
        token: request.client_request_token.clone(),
        value: request.value()?,
        description: request.description.clone(),
        kms_key: request.kms_key_id.clone(),
        tags: request.tags()?,
    };
    let (secret, version) = create(tx, &new, now)?;
    let mut answer = json!({ "ARN": secret.arn, "Name": secret.name });
    if let Some(version) = version {
        answer["VersionId"] = json!(version);
    }
    Ok(answer)
}

fn put(tx: &Transaction<'_>, request: &Input, now: Millis) -> Result<Json, SecretsError> {
    let secret = Secret::load_usable(tx, &request.secret_id)?;
    let value = request
        .value()?
        .ok_or_else(|| SecretsError::parameter("You must provide either SecretString or SecretBinary."))?;
    let token = request.token();
    let stages = versions::put(tx, &secret.name, &token, &value, request.version_stages.as_deref(), now)?;
    Ok(json!({ "ARN": secret.arn, "Name": secret.name, "VersionId": token, "VersionStages": stages }))
}

fn update(tx: &Transaction<'_>, request: &Input, now: Millis) -> Result<Json, SecretsError> {
    let mut secret = Secret::load_usable(tx, &request.secret_id)?;
    let mut answer = json!({ "ARN": secret.arn, "Name": secret.name });
    if let Some(value) = request.value()? {
        let token = request.token();
        // A repeat with the same value succeeds, so that a client that missed the answer may ask again.
        versions::put(tx, &secret.name, &token, &value, None, now)?;
        answer["VersionId"] = json!(token);
    }
    secret.description = request.description.clone().or(secret.description);
    secret.kms_key = request.kms_key_id.clone().or(secret.kms_key);
    secret.update(tx, now)?;
    Ok(answer)
}

fn get(tx: &Transaction<'_>, request: &Input, now: Millis) -> Result<Json, SecretsError> {
    let secret = Secret::load_usable(tx, &request.secret_id)?;
    let version =
        versions::get(tx, &secret.name, request.version_id.as_deref(), request.version_stage.as_deref(), now)?;
    Ok(show_value(&secret, version))
}

fn show_value(secret: &Secret, version: Version) -> Json {
    let mut answer = json!({
        "ARN": secret.arn,
        "Name": secret.name,
        "VersionId": version.id,
        "VersionStages": version.stages,
        "CreatedDate": seconds(version.created),
    });
    match version.value {
        Value::Text(text) => answer["SecretString"] = json!(text),
        Value::Binary(bytes) => answer["SecretBinary"] = json!(STANDARD.encode(bytes)),
    }
    answer
}

/// The current values of up to 20 secrets, or of those that filters choose. What cannot be read is listed, not an
/// error.
fn batch_get(tx: &Transaction<'_>, request: &Input, now: Millis) -> Result<Json, SecretsError> {
    let by_id = !request.secret_id_list.is_empty();
    if by_id != request.filters.is_empty() {
        return Err(SecretsError::parameter("Provide either SecretIdList or Filters, not both."));
    }
    if by_id && (request.secret_id_list.len() > 20 || request.max_results.is_some()) {
        return Err(SecretsError::parameter("SecretIdList has at most 20 members and goes without MaxResults."));
    }
    let (ids, next) = if by_id {
        (request.secret_id_list.clone(), None)
    } else {
        let (secrets, next) = page(matching(tx, request)?, request, 20)?;
        (secrets.into_iter().map(|secret| secret.name).collect(), next)
    };
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for id in ids {
        let found = Secret::load_usable(tx, &id).and_then(|secret| {
            versions::get(tx, &secret.name, None, None, now).map(|version| show_value(&secret, version))
        });
        match found {
            Ok(value) => values.push(value),
            Err(error @ SecretsError::Storage(_)) => return Err(error),
            Err(error) => {
                errors.push(json!({ "SecretId": id, "ErrorCode": error.code(), "Message": error.message() }));
            }
        }
    }
    Ok(with_next(json!({ "SecretValues": values, "Errors": errors }), next))
}

fn describe(tx: &Transaction<'_>, request: &Input, _now: Millis) -> Result<Json, SecretsError> {
    let secret = Secret::load(tx, &request.secret_id)?;
    let mut answer = show(&secret);
    answer["VersionIdsToStages"] = json!(versions::stages(tx, &secret.name)?);
    Ok(answer)
}

/// What `DescribeSecret` and `ListSecrets` both say of a secret.
fn show(secret: &Secret) -> Json {
    let tags: Vec<Json> = secret.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    let mut answer = json!({
        "ARN": secret.arn,
        "Name": secret.name,
        "CreatedDate": seconds(secret.created),
        "LastChangedDate": seconds(secret.changed),
        "Tags": tags,
    });
    let optional = [
        ("Description", secret.description.as_ref().map(|text| json!(text))),
        ("KmsKeyId", secret.kms_key.as_ref().map(|key| json!(key))),
        ("LastAccessedDate", secret.accessed.map(|at| json!(seconds(at)))),
        ("DeletedDate", secret.deletion.map(|at| json!(seconds(at)))),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            answer[name] = value;
        }
    }
    answer
}

fn list(tx: &Transaction<'_>, request: &Input, _now: Millis) -> Result<Json, SecretsError> {
    let (secrets, next) = page(matching(tx, request)?, request, 100)?;
    let mut shown = Vec::with_capacity(secrets.len());
    for secret in &secrets {
        let mut entry = show(secret);
        entry["SecretVersionsToStages"] = json!(versions::stages(tx, &secret.name)?);
        shown.push(entry);
    }
    Ok(with_next(json!({ "SecretList": shown }), next))
}

/// The secrets that all filters choose, by name.
fn matching(tx: &Transaction<'_>, request: &Input) -> Result<Vec<Secret>, SecretsError> {
    for filter in &request.filters {
        let known = ["description", "name", "tag-key", "tag-value", "primary-region", "owning-service", "all"];
        if !known.contains(&filter.key.as_str()) || !(1..=10).contains(&filter.values.len()) {
            return Err(SecretsError::parameter(format!(
                "A filter's Key is one of {}, with 1 to 10 Values.",
                known.join(", ")
            )));
        }
    }
    let mut secrets = Secret::all(tx)?;
    let planned = request.include_planned_deletion.unwrap_or(false);
    secrets.retain(|secret| {
        (planned || secret.deletion.is_none()) && request.filters.iter().all(|filter| chooses(filter, secret))
    });
    if request.sort_order.as_deref().is_some_and(|order| order.eq_ignore_ascii_case("desc")) {
        secrets.reverse();
    }
    Ok(secrets)
}

/// Whether one of the filter's values fits: a prefix of what the key names, `!` in front for "not". Source: API_Filter.
fn chooses(filter: &Filter, secret: &Secret) -> bool {
    let starts = |prefix: &str| match filter.key.as_str() {
        "name" => secret.name.starts_with(prefix),
        "description" => starts_with_ignoring_case(secret.description.as_deref().unwrap_or_default(), prefix),
        "tag-key" => secret.tags.keys().any(|key| key.starts_with(prefix)),
        "tag-value" => secret.tags.values().any(|value| value.starts_with(prefix)),
        "all" => prefix.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).all(|word| {
            let texts = [Some(&secret.name), secret.description.as_ref()].into_iter().flatten();
            texts.chain(secret.tags.keys()).chain(secret.tags.values()).any(|text| {
                text.split(|c: char| !c.is_alphanumeric()).any(|part| starts_with_ignoring_case(part, word))
            })
        }),
        // There are no replicas and no services that own secrets here.
        _ => false,
    };
    filter.values.iter().any(|value| match value.strip_prefix('!') {
        Some(value) => !starts(value),
        None => starts(value),
    })
}

fn starts_with_ignoring_case(text: &str, prefix: &str) -> bool {
    text.to_lowercase().starts_with(&prefix.to_lowercase())
}

/// One page, and the token of the next: where in the list it starts.
fn page<T>(all: Vec<T>, request: &Input, most: i64) -> Result<(Vec<T>, Option<String>), SecretsError> {
    let limit = request.max_results.unwrap_or(most);
    if !(1..=100).contains(&limit) {
        return Err(SecretsError::parameter("MaxResults must be between 1 and 100."));
    }
    let limit = usize::try_from(limit).unwrap_or(1);
    let start = match &request.next_token {
        None => 0,
        Some(token) => URL_SAFE_NO_PAD
            .decode(token)
            .ok()
            .and_then(|text| String::from_utf8(text).ok()?.parse::<usize>().ok())
            .ok_or(SecretsError::InvalidNextToken)?,
    };
    let end = start.saturating_add(limit);
    let next = (end < all.len()).then(|| URL_SAFE_NO_PAD.encode(end.to_string()));
    Ok((all.into_iter().skip(start).take(limit).collect(), next))
}

fn with_next(mut answer: Json, next: Option<String>) -> Json {
    if let Some(next) = next {
        answer["NextToken"] = json!(next);
    }
    answer
}

fn list_versions(tx: &Transaction<'_>, request: &Input, _now: Millis) -> Result<Json, SecretsError> {
    let secret = Secret::load(tx, &request.secret_id)?;
    let all = versions::list(tx, &secret.name, request.include_deprecated.unwrap_or(false))?;
    let (versions, next) = page(all, request, 100)?;
    let shown: Vec<Json> = versions
        .into_iter()
        .map(|version| {
            let mut entry = json!({
                "VersionId": version.id,
                "VersionStages": version.stages,
                "CreatedDate": seconds(version.created),
            });
            if let Some(at) = version.accessed {
                entry["LastAccessedDate"] = json!(seconds(at));
            }
            entry
        })
        .collect();
    Ok(with_next(json!({ "ARN": secret.arn, "Name": secret.name, "Versions": shown }), next))
}

fn delete(tx: &Transaction<'_>, request: &Input, now: Millis) -> Result<Json, SecretsError> {
    let force = request.force_delete_without_recovery.unwrap_or(false);
    let days = match request.recovery_window_in_days {
        Some(_) if force => {
            return Err(SecretsError::parameter(
                "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
            ));
        }
        Some(days @ 7..=30) => days,
        Some(_) => {
            return Err(SecretsError::parameter(
                "RecoveryWindowInDays value must be between 7 and 30 days (inclusive).",
            ));
        }
        None => 30,
    };
    if force {
        let (name, arn) = match Secret::load(tx, &request.secret_id) {
            Ok(secret) => (secret.name, secret.arn),
            // Documented: to force the deletion of nothing is no error.
            Err(SecretsError::NotFound(_)) => (request.secret_id.clone(), super::secret::new_arn(&request.secret_id)),
            Err(error) => return Err(error),
        };
        tx.execute("DELETE FROM secrets WHERE name = ?1", [&name])?;
        return Ok(json!({ "ARN": arn, "Name": name, "DeletionDate": seconds(now) }));
    }
    let mut secret = Secret::load_usable(tx, &request.secret_id)?;
    let at = now.saturating_add(days * DAY);
    secret.deletion = Some(at);
    secret.update(tx, now)?;
    Ok(json!({ "ARN": secret.arn, "Name": secret.name, "DeletionDate": seconds(at) }))
}

fn restore(tx: &Transaction<'_>, request: &Input, now: Millis) -> Result<Json, SecretsError> {
    let mut secret = Secret::load(tx, &request.secret_id)?;
    secret.deletion = None;
    secret.update(tx, now)?;
    Ok(json!({ "ARN": secret.arn, "Name": secret.name }))
}

fn tag(tx: &Transaction<'_>, request: &Input, now: Millis) -> Result<Json, SecretsError> {
    let mut secret = Secret::load_usable(tx, &request.secret_id)?;
    secret.tags.extend(request.tags()?);
    if secret.tags.len() > 50 {
        return Err(SecretsError::parameter("A secret has at most 50 tags."));
    }
    secret.update(tx, now)?;
    Ok(json!({}))
}

fn untag(tx: &Transaction<'_>, request: &Input, now: Millis) -> Result<Json, SecretsError> {
    let mut secret = Secret::load_usable(tx, &request.secret_id)?;
    secret.tags.retain(|key, _| !request.tag_keys.contains(key));
    secret.update(tx, now)?;
    Ok(json!({}))
}

fn update_stage(tx: &Transaction<'_>, request: &Input, now: Millis) -> Result<Json, SecretsError> {
    let secret = Secret::load_usable(tx, &request.secret_id)?;
    let stage = request.version_stage.as_deref().unwrap_or_default();
    let (from, to) = (request.remove_from_version_id.as_deref(), request.move_to_version_id.as_deref());
    versions::move_stage(tx, &secret.name, stage, from, to, now)?;
    Ok(json!({ "ARN": secret.arn, "Name": secret.name }))
}

/// A time as the JSON protocols write it: seconds since the Unix epoch, with a fraction.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of this age fit into the 53 bits of a double")]
fn seconds(at: Millis) -> f64 {
    at as f64 / 1_000.0
}
