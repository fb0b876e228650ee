//! A queue: its name, its attributes and what they mean.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction, params};
use serde_json::{Value, json};

use super::error::{Code, SqsError};
use crate::api::{ACCOUNT_ID, REGION};
use crate::clock::Millis;

/// The largest message, and the default of `MaximumMessageSize`, in bytes. Source: Amazon SQS message quotas.
pub(super) const MAX_MESSAGE_BYTES: usize = 1_048_576;

/// Attributes that are numbers: name, smallest, largest, default. Source: API_SetQueueAttributes.
const NUMBERS: [(&str, i64, i64, i64); 5] = [
    ("DelaySeconds", 0, 900, 0),
    ("MaximumMessageSize", 1_024, 1_048_576, 1_048_576),
    ("MessageRetentionPeriod", 60, 1_209_600, 345_600),
    ("ReceiveMessageWaitTimeSeconds", 0, 20, 0),
    ("VisibilityTimeout", 0, 43_200, 30),
];

/// Attributes of FIFO queues: name, values with the default first.
const FIFO_ONLY: [(&str, [&str; 2]); 3] = [
    ("ContentBasedDeduplication", ["false", "true"]),
    ("DeduplicationScope", ["queue", "messageGroup"]),
    ("FifoThroughputLimit", ["perQueue", "perMessageGroupId"]),
];

/// Attributes that are kept and returned but mean nothing on one machine.
const KEPT: [&str; 4] = ["KmsDataKeyReusePeriodSeconds", "KmsMasterKeyId", "Policy", "SqsManagedSseEnabled"];

/// Attributes that can be read and not set.
const COMPUTED: [&str; 6] = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
];

/// A queue as it stands.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) settings: Settings,
    pub(super) created: Millis,
    pub(super) modified: Millis,
    pub(super) purged: Option<Millis>,
}

impl Queue {
    /// The queue that `reference` (a name, URL or ARN) names.
    pub(super) fn load(tx: &Transaction<'_>, reference: &str) -> Result<Self, SqsError> {
        let name = name_of(reference);
        Self::find(tx, name)?.ok_or_else(|| SqsError::QueueDoesNotExist(name.to_owned()))
    }

    pub(super) fn find(tx: &Transaction<'_>, name: &str) -> Result<Option<Self>, SqsError> {
        let row = tx
            .prepare_cached("SELECT settings, created, modified, purged FROM queues WHERE name = ?1")?
            .query_row([name], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .optional()?;
        row.map(|(settings, created, modified, purged)| {
            Ok(Self { name: name.to_owned(), settings: Settings::from_json(&settings)?, created, modified, purged })
        })
        .transpose()
    }

    pub(super) fn insert(&self, tx: &Transaction<'_>, tags: &BTreeMap<String, String>) -> Result<(), SqsError> {
        tx.execute(
            "INSERT INTO queues (name, settings, tags, created, modified) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![self.name, self.settings.to_json(), json!(tags).to_string(), self.created, self.modified],
        )?;
        Ok(())
    }

    pub(super) fn arn(&self) -> String {
        arn(&self.name)
    }

    pub(super) fn is_fifo(&self) -> bool {
        is_fifo(&self.name)
    }
}

pub(super) fn arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT_ID}:{name}")
}

/// The queue's name in a name, a URL or an ARN. Hosts, regions and accounts are not compared: there is one of each
/// here.
pub(super) fn name_of(reference: &str) -> &str {
    let tail = if reference.starts_with("arn:") { reference.rsplit(':').next() } else { reference.rsplit('/').next() };
    tail.unwrap_or(reference)
}

pub(super) fn is_fifo(name: &str) -> bool {
    name.ends_with(".fifo")
}

/// Refuses what SQS refuses: a name is 1 to 80 letters, digits, hyphens and underscores, `.fifo` at the end included.
pub(super) fn check_name(name: &str) -> Result<(), SqsError> {
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if stem.is_empty() || name.len() > 80 || !stem.bytes().all(fits) {
        return Err(SqsError::rejected(
            Code::InvalidParameterValue,
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        ));
    }
    Ok(())
}

/// What happens to messages that are received too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Redrive {
    /// The dead-letter queue's name.
    pub(super) target: String,
    /// After so many receives a message moves there.
    pub(super) max_receives: i64,
}

/// The attributes that were set, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings(BTreeMap<String, String>);

impl Settings {
    fn from_json(text: &str) -> Result<Self, SqsError> {
        serde_json::from_str(text).map(Self).map_err(|error| SqsError::Storage(format!("a queue's settings: {error}")))
    }

    pub(super) fn to_json(&self) -> String {
        json!(self.0).to_string()
    }

    /// Checks and takes over attributes that a client sets. An empty `RedrivePolicy`, `RedriveAllowPolicy` or `Policy`
    /// clears it.
    pub(super) fn set(
        &mut self,
        queue: &str,
        given: &BTreeMap<String, String>,
        creating: bool,
    ) -> Result<(), SqsError> {
        let fifo = is_fifo(queue);
        for (name, value) in given {
            let bad = || invalid_value(name);
            let value = match name.as_str() {
                "FifoQueue" if !fifo => {
                    // Without the suffix SQS does not know the attribute at all, unless the queue was meant to be FIFO.
                    return Err(if creating && value == "true" {
                        SqsError::rejected(
                            Code::InvalidParameterValue,
                            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, \
                             must end with .fifo suffix and be 1 to 80 in length.",
                        )
                    } else {
                        unknown_name(name)
                    });
                }
                "FifoQueue" => match value.as_str() {
                    "true" => value.clone(),
                    _ => return Err(bad()),
                },
                "RedrivePolicy" | "RedriveAllowPolicy" | "Policy" if value.is_empty() => {
                    self.0.remove(name);
                    continue;
                }
                "RedrivePolicy" => redrive_policy(value)?,
                "RedriveAllowPolicy" => redrive_allow_policy(value)?,
                known if KEPT.contains(&known) => value.clone(),
                other => {
                    if let Some((_, least, most, _)) = NUMBERS.iter().find(|(name, ..)| *name == other) {
                        match value.parse::<i64>() {
                            Ok(number) if (*least..=*most).contains(&number) => number.to_string(),
                            _ => return Err(bad()),
                        }
                    } else if let Some((_, values)) = FIFO_ONLY.iter().find(|(name, _)| fifo && *name == other) {
                        match values.contains(&value.as_str()) {
                            true => value.clone(),
                            false => return Err(bad()),
                        }
                    } else {
                        return Err(unknown_name(name));
                    }
                }
            };
            self.0.insert(name.clone(), value);
        }
        if creating && fifo && !self.0.contains_key("FifoQueue") {
            return Err(SqsError::rejected(
                Code::InvalidParameterValue,
                "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
            ));
        }
        Ok(())
    }

    /// The name of the first attribute in `given` (already checked, so canonical) whose value differs from this
    /// queue's.
    pub(super) fn first_difference<'a>(&self, queue: &str, given: &'a Self) -> Option<&'a str> {
        given
            .0
            .iter()
            .find(|(name, value)| self.get(queue, name).as_ref() != Some(value))
            .map(|(name, _)| name.as_str())
    }

    /// An attribute's value, the default included; `None` if the queue has no such attribute.
    pub(super) fn get(&self, queue: &str, name: &str) -> Option<String> {
        if let Some(value) = self.0.get(name) {
            return Some(value.clone());
        }
        if let Some((.., default)) = NUMBERS.iter().find(|(number, ..)| *number == name) {
            return Some(default.to_string());
        }
        if name == "SqsManagedSseEnabled" {
            return Some("true".to_owned());
        }
        FIFO_ONLY
            .iter()
            .find(|(known, _)| is_fifo(queue) && *known == name)
            .map(|(_, [default, _])| (*default).to_owned())
    }

    fn number(&self, name: &str) -> i64 {
        // Checked when it was set; a queue's name does not matter to its numbers.
        self.get("", name).and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    pub(super) fn visibility_timeout(&self) -> i64 {
        self.number("VisibilityTimeout")
    }

    pub(super) fn delay(&self) -> i64 {
        self.number("DelaySeconds")
    }

    pub(super) fn wait(&self) -> i64 {
        self.number("ReceiveMessageWaitTimeSeconds")
    }

    pub(super) fn max_bytes(&self) -> usize {
        usize::try_from(self.number("MaximumMessageSize")).unwrap_or(MAX_MESSAGE_BYTES)
    }

    pub(super) fn retention(&self) -> Millis {
        self.number("MessageRetentionPeriod").saturating_mul(1_000)
    }

    pub(super) fn content_deduplication(&self) -> bool {
        self.0.get("ContentBasedDeduplication").is_some_and(|value| value == "true")
    }

    pub(super) fn deduplicates_by_group(&self) -> bool {
        self.0.get("DeduplicationScope").is_some_and(|value| value == "messageGroup")
    }

    pub(super) fn redrive(&self) -> Option<Redrive> {
        let policy: Value = serde_json::from_str(self.0.get("RedrivePolicy")?).ok()?;
        Some(Redrive {
            target: name_of(policy["deadLetterTargetArn"].as_str()?).to_owned(),
            max_receives: policy["maxReceiveCount"].as_i64()?,
        })
    }

    /// Whether this queue takes dead letters of the queue `source`.
    pub(super) fn takes_dead_letters_of(&self, source: &str) -> bool {
        let Some(policy) = self.0.get("RedriveAllowPolicy") else { return true };
        let policy: Value = serde_json::from_str(policy).unwrap_or_default();
        match policy["redrivePermission"].as_str() {
            Some("denyAll") => false,
            Some("byQueue") => policy["sourceQueueArns"]
                .as_array()
                .is_some_and(|arns| arns.iter().filter_map(Value::as_str).any(|arn| name_of(arn) == source)),
            _ => true,
        }
    }
}

/// The names that `GetQueueAttributes` may ask for, given what it asked for.
pub(super) fn attribute_names(asked: &[String]) -> Result<Vec<String>, SqsError> {
    let all = || {
        let settable = ["FifoQueue", "RedriveAllowPolicy", "RedrivePolicy"];
        let numbers = NUMBERS.iter().map(|(name, ..)| *name);
        let fifo = FIFO_ONLY.iter().map(|(name, _)| *name);
        COMPUTED.into_iter().chain(numbers).chain(fifo).chain(KEPT).chain(settable)
    };
    if asked.iter().any(|name| name == "All") {
        return Ok(all().map(str::to_owned).collect());
    }
    asked
        .iter()
        .map(|name| if all().any(|known| known == name) { Ok(name.clone()) } else { Err(unknown_name(name)) })
        .collect()
}

fn unknown_name(name: &str) -> SqsError {
    SqsError::rejected(Code::InvalidAttributeName, format!("Unknown Attribute {name}."))
}

fn invalid_value(name: &str) -> SqsError {
    SqsError::rejected(Code::InvalidAttributeValue, format!("Invalid value for the parameter {name}."))
}

/// The policy in the form in which SQS gives it back; `maxReceiveCount` may be a number or a decimal string.
fn redrive_policy(text: &str) -> Result<String, SqsError> {
    let bad = || invalid_value("RedrivePolicy");
    let policy: Value = serde_json::from_str(text).map_err(|_| bad())?;
    let target = policy["deadLetterTargetArn"].as_str().filter(|arn| arn.starts_with("arn:")).ok_or_else(bad)?;
    let count = match &policy["maxReceiveCount"] {
        Value::Number(number) => number.as_i64(),
        Value::String(digits) => digits.parse().ok(),
        _ => None,
    };
    let count = count.ok_or_else(bad)?;
    if !(1..=1_000).contains(&count) {
        return Err(SqsError::value(
            "RedrivePolicy",
            text,
            "Invalid value for maxReceiveCount: it must be between 1 and 1000.",
        ));
    }
    Ok(json!({ "deadLetterTargetArn": target, "maxReceiveCount": count }).to_string())
}

fn redrive_allow_policy(text: &str) -> Result<String, SqsError> {
    let policy: Value = serde_json::from_str(text).map_err(|_| invalid_value("RedriveAllowPolicy"))?;
    let arns = policy["sourceQueueArns"].as_array().map_or(0, Vec::len);
    match (policy["redrivePermission"].as_str(), arns) {
        (Some("allowAll" | "denyAll"), 0) | (Some("byQueue"), 1..=10) => Ok(policy.to_string()),
        (Some("allowAll" | "denyAll" | "byQueue"), _) => Err(SqsError::value(
            "RedriveAllowPolicy",
            text,
            "sourceQueueArns must name 1 to 10 queues with byQueue, and none otherwise.",
        )),
        _ => Err(invalid_value("RedriveAllowPolicy")),
    }
}
