//! The operations of SQS as the AWS JSON 1.0 protocol carries them.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::{Code, SqsError};
use super::message::{self, Attribute, Attributes};
use super::receive::{Delivery, Receive};
use super::send::{Message, Sent};
use super::{Sqs, moves::Move};
use crate::api::{ApiError, input, output};

/// Every parameter of every operation that this stand-in reads. One structure, since the operations share most of them.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    queue_url: Option<String>,
    queue_name: Option<String>,
    queue_name_prefix: Option<String>,
    attributes: BTreeMap<String, String>,
    attribute_names: Vec<String>,
    message_system_attribute_names: Vec<String>,
    message_attribute_names: Vec<String>,
    max_number_of_messages: Option<i64>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
    receipt_handle: Option<String>,
    entries: Vec<Entry>,
    max_results: Option<i64>,
    next_token: Option<String>,
    source_arn: Option<String>,
    destination_arn: Option<String>,
    max_number_of_messages_per_second: Option<i64>,
    task_handle: Option<String>,
    tag_keys: Vec<String>,
    /// `Tags` in `TagQueue`.
    tags: BTreeMap<String, String>,
    /// `tags` in `CreateQueue`: the one member that the model writes in lower case.
    #[serde(rename = "tags")]
    initial_tags: BTreeMap<String, String>,
    #[serde(flatten)]
    message: MessageInput,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct MessageInput {
    message_body: Option<String>,
    delay_seconds: Option<i64>,
    message_attributes: Attributes,
    message_system_attributes: BTreeMap<String, Attribute>,
    message_group_id: Option<String>,
    message_deduplication_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Entry {
    id: String,
    receipt_handle: Option<String>,
    visibility_timeout: Option<i64>,
    #[serde(flatten)]
    message: MessageInput,
}

impl MessageInput {
    fn read(&self) -> Result<Message, SqsError> {
        let mut trace = None;
        for (name, attribute) in &self.message_system_attributes {
            match (name.as_str(), &attribute.data_type, &attribute.string_value) {
                ("AWSTraceHeader", Some(kind), Some(value)) if kind == "String" => trace = Some(value.clone()),
                _ => {
                    return Err(SqsError::rejected(
                        Code::InvalidParameterValue,
                        format!("Message system attribute name '{name}' is invalid, or its value is not a String."),
                    ));
                }
            }
        }
        Ok(Message {
            body: self.message_body.clone(),
            attributes: self.message_attributes.clone(),
            trace,
            delay: self.delay_seconds,
            group: self.message_group_id.clone(),
            deduplication: self.message_deduplication_id.clone(),
        })
    }
}

/// Answers one request. `base` is the scheme and host that the client used, for queue URLs; `stop` ends a long poll
/// early.
pub(crate) async fn call(
    sqs: &Sqs,
    operation: &str,
    body: &[u8],
    base: &str,
    stop: impl Future<Output = ()> + Send,
) -> Result<Bytes, ApiError> {
    let request: Input = input(body)?;
    let answer = match operation {
        "ReceiveMessage" => receive(sqs, request, stop).await?,
        _ => {
            let (operation, base) = (operation.to_owned(), base.to_owned());
            let sqs = sqs.clone();
            let done = tokio::task::spawn_blocking(move || answer(&sqs, &operation, request, &base)).await;
            done.unwrap_or_else(|error| Err(SqsError::Storage(format!("the request was abandoned: {error}")).into()))?
        }
    };
    output(&answer)
}

fn answer(sqs: &Sqs, operation: &str, request: Input, base: &str) -> Result<Value, ApiError> {
    let queue = || match request.queue_url.as_deref() {
        Some(url) if !url.is_empty() => Ok(url),
        _ => Err(SqsError::QueueDoesNotExist(String::new())),
    };
    let nothing = json!({});
    Ok(match operation {
        "CreateQueue" => {
            let name = required(&request.queue_name, "QueueName")?;
            sqs.create_queue(name, &request.attributes, &request.initial_tags, true)?;
            json!({ "QueueUrl": sqs.url(base, name) })
        }
        "GetQueueUrl" => {
            let name = required(&request.queue_name, "QueueName")?;
            // Only to know that it exists.
            sqs.attributes(name, &[])?;
            json!({ "QueueUrl": sqs.url(base, name) })
        }
        "ListQueues" => list(sqs, &request, base, None)?,
        "ListDeadLetterSourceQueues" => list(sqs, &request, base, Some(queue()?))?,
        "DeleteQueue" => {
            sqs.delete_queue(queue()?)?;
            nothing
        }
        "PurgeQueue" => {
            sqs.purge(queue()?)?;
            nothing
        }
        "GetQueueAttributes" => match sqs.attributes(queue()?, &request.attribute_names)? {
            attributes if attributes.is_empty() => nothing,
            attributes => json!({ "Attributes": attributes }),
        },
        "SetQueueAttributes" => {
            sqs.set_attributes(queue()?, &request.attributes)?;
            nothing
        }
        "ListQueueTags" => match sqs.tags(queue()?, |_| ())? {
            tags if tags.is_empty() => nothing,
            tags => json!({ "Tags": tags }),
        },
        "TagQueue" => {
            sqs.tags(queue()?, |tags| tags.extend(request.tags.clone()))?;
            nothing
        }
        "UntagQueue" => {
            sqs.tags(queue()?, |tags| tags.retain(|key, _| !request.tag_keys.contains(key)))?;
            nothing
        }
        "SendMessage" => sent(sqs.send_message(queue()?, &request.message.read()?)?),
        "SendMessageBatch" => {
            let queue = queue()?;
            check_batch(&request.entries)?;
            let (entries, messages) = sound(&request.entries, |entry| entry.message.read())?;
            let results = sqs.send_messages(queue, &messages)?;
            batch(entries, results, sent)
        }
        "DeleteMessage" => {
            let queue = queue()?;
            let handle = required(&request.receipt_handle, "ReceiptHandle")?;
            sqs.delete_messages(queue, std::slice::from_ref(handle))?;
            nothing
        }
        "DeleteMessageBatch" => {
            let queue = queue()?;
            check_batch(&request.entries)?;
            let (entries, handles) =
                sound(&request.entries, |entry| required(&entry.receipt_handle, "ReceiptHandle").cloned())?;
            let results = sqs.delete_each(queue, &handles)?;
            batch(entries, results, |()| json!({}))
        }
        "ChangeMessageVisibility" => {
            let queue = queue()?;
            let change = visibility(&request.receipt_handle, request.visibility_timeout)?;
            for result in sqs.change_visibility_of_each(queue, &[change])? {
                result?;
            }
            nothing
        }
        "ChangeMessageVisibilityBatch" => {
            let queue = queue()?;
            check_batch(&request.entries)?;
            let (entries, changes) =
                sound(&request.entries, |entry| visibility(&entry.receipt_handle, entry.visibility_timeout))?;
            let results = sqs.change_visibility_of_each(queue, &changes)?;
            batch(entries, results, |()| json!({}))
        }
        "StartMessageMoveTask" => {
            let source = required(&request.source_arn, "SourceArn")?;
            let rate = request.max_number_of_messages_per_second;
            json!({ "TaskHandle": sqs.start_move(source, request.destination_arn.as_deref(), rate)? })
        }
        "ListMessageMoveTasks" => {
            let source = required(&request.source_arn, "SourceArn")?;
            let tasks: Vec<Value> =
                sqs.moves(source, request.max_results.unwrap_or(1))?.into_iter().map(move_task).collect();
            json!({ "Results": tasks })
        }
        "CancelMessageMoveTask" => {
            sqs.cancel_move(required(&request.task_handle, "TaskHandle")?)?;
            nothing
        }
        _ => return Err(ApiError::unknown_operation("SQS", operation)),
    })
}

fn required<'a>(value: &'a Option<String>, name: &str) -> Result<&'a String, SqsError> {
    value.as_ref().filter(|value| !value.is_empty()).ok_or_else(|| SqsError::missing(name))
}

fn visibility(handle: &Option<String>, seconds: Option<i64>) -> Result<(String, i64), SqsError> {
    let handle = required(handle, "ReceiptHandle")?.clone();
    seconds.map(|seconds| (handle, seconds)).ok_or_else(|| SqsError::missing("VisibilityTimeout"))
}

async fn receive(sqs: &Sqs, request: Input, stop: impl Future<Output = ()> + Send) -> Result<Value, ApiError> {
    let Some(queue) = request.queue_url.filter(|url| !url.is_empty()) else {
        return Err(SqsError::QueueDoesNotExist(String::new()).into());
    };
    let ask = Receive {
        queue,
        max: request.max_number_of_messages.unwrap_or(1),
        wait: request.wait_time_seconds.map(|seconds| seconds.saturating_mul(1_000)),
        visibility: request.visibility_timeout,
    };
    let deliveries = sqs.receive_until(ask, stop).await?;
    // `AttributeNames` is the older name of `MessageSystemAttributeNames`.
    let system: Vec<&String> = request.attribute_names.iter().chain(&request.message_system_attribute_names).collect();
    let all = system.iter().any(|name| *name == "All");
    let message = |delivery: Delivery| {
        let mut message = Map::from_iter([
            ("MessageId".to_owned(), json!(delivery.message_id)),
            ("ReceiptHandle".to_owned(), json!(delivery.receipt_handle)),
            ("MD5OfBody".to_owned(), json!(message::md5_of(delivery.body.as_bytes()))),
            ("Body".to_owned(), json!(delivery.body)),
        ]);
        let mut attributes = delivery.system;
        attributes.retain(|name, _| all || system.contains(&name));
        if !attributes.is_empty() {
            message.insert("Attributes".to_owned(), json!(attributes));
        }
        let attributes = message::select(delivery.attributes, &request.message_attribute_names);
        if let Some(sum) = message::md5_of_attributes(&attributes) {
            message.insert("MessageAttributes".to_owned(), json!(attributes));
            message.insert("MD5OfMessageAttributes".to_owned(), json!(sum));
        }
        Value::Object(message)
    };
    let messages: Vec<Value> = deliveries.into_iter().map(message).collect();
    Ok(if messages.is_empty() { json!({}) } else { json!({ "Messages": messages }) })
}

fn sent(sent: Sent) -> Value {
    let mut answer = json!({ "MessageId": sent.message_id, "MD5OfMessageBody": sent.md5_of_body });
    let optional = [
        ("MD5OfMessageAttributes", sent.md5_of_attributes),
        ("MD5OfMessageSystemAttributes", sent.md5_of_system_attributes),
        ("SequenceNumber", sent.sequence),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            answer[name] = json!(value);
        }
    }
    answer
}

fn move_task(task: Move) -> Value {
    let mut answer = json!({
        "SourceArn": task.source,
        "Status": if task.failure.is_some() { "FAILED" } else { "COMPLETED" },
        "ApproximateNumberOfMessagesMoved": task.moved,
        "ApproximateNumberOfMessagesToMove": task.to_move,
        "StartedTimestamp": task.started,
    });
    let optional = [
        ("DestinationArn", task.destination.map(Value::from)),
        ("MaxNumberOfMessagesPerSecond", task.rate.map(Value::from)),
        ("FailureReason", task.failure.map(Value::from)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            answer[name] = value;
        }
    }
    answer
}

fn list(sqs: &Sqs, request: &Input, base: &str, target: Option<&str>) -> Result<Value, SqsError> {
    let limit = match request.max_results {
        None => 1_000,
        Some(limit @ 1..=1_000) => usize::try_from(limit).unwrap_or(1_000),
        Some(limit) => return Err(SqsError::value("MaxResults", limit, "Must be between 1 and 1000, if provided.")),
    };
    let after = match request.next_token.as_deref() {
        None => String::new(),
        Some(token) => URL_SAFE_NO_PAD
            .decode(token)
            .ok()
            .and_then(|name| String::from_utf8(name).ok())
            .ok_or_else(|| SqsError::value("NextToken", "given", "It is not one that a list returned."))?,
    };
    let prefix = request.queue_name_prefix.as_deref().unwrap_or_default();
    let mut names = sqs.list(prefix, &after, limit + 1, target)?;
    let more = names.len() > limit;
    names.truncate(limit);
    let urls: Vec<String> = names.iter().map(|name| sqs.url(base, name)).collect();
    // The model writes this member in lower case in one of the two answers.
    let member = if target.is_some() { "queueUrls" } else { "QueueUrls" };
    let mut answer = json!({});
    if !urls.is_empty() {
        answer[member] = json!(urls);
    }
    if let Some(last) = names.last().filter(|_| more && request.max_results.is_some()) {
        answer["NextToken"] = json!(URL_SAFE_NO_PAD.encode(last));
    }
    Ok(answer)
}

/// What makes SQS refuse a batch as a whole.
fn check_batch(entries: &[Entry]) -> Result<(), SqsError> {
    if entries.is_empty() {
        return Err(SqsError::rejected(Code::EmptyBatchRequest, "There should be at least one entry in the request."));
    }
    if entries.len() > 10 {
        return Err(SqsError::rejected(
            Code::TooManyEntriesInBatchRequest,
            format!("Maximum number of entries per request are 10. You have sent {}.", entries.len()),
        ));
    }
    let mut ids = BTreeSet::new();
    for Entry { id, .. } in entries {
        if id.is_empty() || id.len() > 80 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(SqsError::rejected(
                Code::InvalidBatchEntryId,
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters \
                 long.",
            ));
        }
        if !ids.insert(id) {
            return Err(SqsError::rejected(Code::BatchEntryIdsNotDistinct, format!("Id {id} repeated.")));
        }
    }
    Ok(())
}

/// Each entry's id with what is wrong with it, if anything is.
type Checked = Vec<(String, Option<SqsError>)>;

/// Reads each entry: those that can be read, and for every entry what was wrong with it.
fn sound<T>(entries: &[Entry], read: impl Fn(&Entry) -> Result<T, SqsError>) -> Result<(Checked, Vec<T>), SqsError> {
    let mut checked = Vec::with_capacity(entries.len());
    let mut good = Vec::with_capacity(entries.len());
    for entry in entries {
        match read(entry) {
            Ok(value) => {
                good.push(value);
                checked.push((entry.id.clone(), None));
            }
            Err(error) => checked.push((entry.id.clone(), Some(error))),
        }
    }
    Ok((checked, good))
}

/// The answer to a batch. `results` are those of the entries that could be read, in their order.
fn batch<T>(entries: Checked, results: Vec<Result<T, SqsError>>, show: impl Fn(T) -> Value) -> Value {
    let mut results = results.into_iter();
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (id, error) in entries {
        let result = match error {
            Some(error) => Err(error),
            None => match results.next() {
                Some(result) => result,
                None => continue,
            },
        };
        match result {
            Ok(value) => {
                let mut value = show(value);
                value["Id"] = json!(id);
                successful.push(value);
            }
            Err(error) => failed.push(json!({
                "Id": id,
                "SenderFault": error.is_senders(),
                "Code": error.query_code(),
                "Message": error.message(),
            })),
        }
    }
    let mut answer = json!({});
    if !successful.is_empty() {
        answer["Successful"] = json!(successful);
    }
    if !failed.is_empty() {
        answer["Failed"] = json!(failed);
    }
    answer
}
