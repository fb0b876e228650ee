//! What SQS refuses, and how it says so in the JSON protocol.

use crate::api::ApiError;

/// AWS's error codes, by their names in the API's model (or, where it has none, in the query protocol).
///
/// Source: Amazon SQS API Reference, "Common Errors" and the errors of each action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Two entries of a batch have the same id.
    BatchEntryIdsNotDistinct,
    /// The entries of a batch are larger than 1 MiB together.
    BatchRequestTooLong,
    /// A batch without entries.
    EmptyBatchRequest,
    /// A queue has no attribute of that name.
    InvalidAttributeName,
    /// An attribute cannot have that value.
    InvalidAttributeValue,
    /// A batch entry's id is not 1 to 80 letters, digits, hyphens and underscores.
    InvalidBatchEntryId,
    /// A body has a character that SQS does not carry.
    InvalidMessageContents,
    /// A parameter is out of range or does not fit the queue.
    InvalidParameterValue,
    /// The message is not in flight, so it has no visibility to change.
    MessageNotInflight,
    /// A required parameter is missing.
    MissingParameter,
    /// The queue was purged less than 60 seconds ago.
    PurgeQueueInProgress,
    /// A queue of that name has other attributes.
    QueueNameExists,
    /// This service never gave out that receipt handle for this queue.
    ReceiptHandleIsInvalid,
    /// There is no such queue or move task.
    ResourceNotFound,
    /// More than 10 entries in a batch.
    TooManyEntriesInBatchRequest,
    /// SQS knows the parameter and does not support it.
    UnsupportedOperation,
}

impl Code {
    /// The code in the query protocol, which clients show: `AWS.SimpleQueueService.EmptyBatchRequest`.
    #[must_use]
    pub fn query_code(self) -> &'static str {
        match self {
            Self::BatchEntryIdsNotDistinct => "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            Self::BatchRequestTooLong => "AWS.SimpleQueueService.BatchRequestTooLong",
            Self::EmptyBatchRequest => "AWS.SimpleQueueService.EmptyBatchRequest",
            Self::InvalidAttributeName => "InvalidAttributeName",
            Self::InvalidAttributeValue => "InvalidAttributeValue",
            Self::InvalidBatchEntryId => "AWS.SimpleQueueService.InvalidBatchEntryId",
            Self::InvalidMessageContents => "InvalidMessageContents",
            Self::InvalidParameterValue => "InvalidParameterValue",
            Self::MessageNotInflight => "AWS.SimpleQueueService.MessageNotInflight",
            Self::MissingParameter => "MissingParameter",
            Self::PurgeQueueInProgress => "AWS.SimpleQueueService.PurgeQueueInProgress",
            Self::QueueNameExists => "QueueAlreadyExists",
            Self::ReceiptHandleIsInvalid => "ReceiptHandleIsInvalid",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::TooManyEntriesInBatchRequest => "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            Self::UnsupportedOperation => "AWS.SimpleQueueService.UnsupportedOperation",
        }
    }

    /// The `__type` in the JSON protocol and the HTTP status.
    fn wire(self) -> (&'static str, u16) {
        match self {
            Self::BatchEntryIdsNotDistinct => ("com.amazonaws.sqs#BatchEntryIdsNotDistinct", 400),
            Self::BatchRequestTooLong => ("com.amazonaws.sqs#BatchRequestTooLong", 400),
            Self::EmptyBatchRequest => ("com.amazonaws.sqs#EmptyBatchRequest", 400),
            Self::InvalidAttributeName => ("com.amazonaws.sqs#InvalidAttributeName", 400),
            Self::InvalidAttributeValue => ("com.amazonaws.sqs#InvalidAttributeValue", 400),
            Self::InvalidBatchEntryId => ("com.amazonaws.sqs#InvalidBatchEntryId", 400),
            Self::InvalidMessageContents => ("com.amazonaws.sqs#InvalidMessageContents", 400),
            Self::InvalidParameterValue => ("com.amazon.coral.service#InvalidParameterValueException", 400),
            Self::MessageNotInflight => ("com.amazonaws.sqs#MessageNotInflight", 400),
            Self::MissingParameter => ("com.amazon.coral.service#MissingRequiredParameterException", 400),
            Self::PurgeQueueInProgress => ("com.amazonaws.sqs#PurgeQueueInProgress", 403),
            Self::QueueNameExists => ("com.amazonaws.sqs#QueueNameExists", 400),
            Self::ReceiptHandleIsInvalid => ("com.amazonaws.sqs#ReceiptHandleIsInvalid", 404),
            Self::ResourceNotFound => ("com.amazonaws.sqs#ResourceNotFoundException", 404),
            Self::TooManyEntriesInBatchRequest => ("com.amazonaws.sqs#TooManyEntriesInBatchRequest", 400),
            Self::UnsupportedOperation => ("com.amazonaws.sqs#UnsupportedOperation", 400),
        }
    }
}

/// Why SQS did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqsError {
    /// There is no such queue: create it, or correct its name.
    #[error("the queue {0} does not exist")]
    QueueDoesNotExist(String),
    /// The request is wrong and will be wrong again: correct it.
    #[error("{}: {message}", code.query_code())]
    Rejected {
        /// AWS's error code.
        code: Code,
        /// What is wrong with the request.
        message: String,
    },
    /// The state could not be read or written: look at the disk, then try again.
    #[error("the local queues cannot be read or written: {0}")]
    Storage(String),
}

impl SqsError {
    pub(super) fn rejected(code: Code, message: impl Into<String>) -> Self {
        Self::Rejected { code, message: message.into() }
    }

    /// `InvalidParameterValue` in the words that SQS uses for all of them.
    pub(super) fn value(name: &str, value: impl std::fmt::Display, reason: &str) -> Self {
        Self::rejected(
            Code::InvalidParameterValue,
            format!("Value {value} for parameter {name} is invalid. Reason: {reason}"),
        )
    }

    pub(super) fn missing(name: &str) -> Self {
        Self::rejected(Code::MissingParameter, format!("The request must contain the parameter {name}."))
    }

    /// The query protocol's code, for the entries of a batch that failed.
    pub(super) fn query_code(&self) -> &'static str {
        match self {
            Self::QueueDoesNotExist(_) => "AWS.SimpleQueueService.NonExistentQueue",
            Self::Rejected { code, .. } => code.query_code(),
            Self::Storage(_) => "InternalError",
        }
    }

    /// The message without the code in front of it.
    pub(super) fn message(&self) -> String {
        match self {
            Self::QueueDoesNotExist(_) => "The specified queue does not exist.".to_owned(),
            Self::Rejected { message, .. } => message.clone(),
            Self::Storage(_) => self.to_string(),
        }
    }

    pub(super) fn is_senders(&self) -> bool {
        !matches!(self, Self::Storage(_))
    }
}

impl From<rusqlite::Error> for SqsError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error.to_string())
    }
}

impl From<SqsError> for ApiError {
    fn from(error: SqsError) -> Self {
        let (kind, status) = match &error {
            SqsError::QueueDoesNotExist(_) => ("com.amazonaws.sqs#QueueDoesNotExist", 400),
            SqsError::Rejected { code, .. } => code.wire(),
            SqsError::Storage(_) => ("com.amazon.coral.service#InternalFailure", 500),
        };
        Self { status, kind, query_code: Some(error.query_code()), message: error.message() }
    }
}
