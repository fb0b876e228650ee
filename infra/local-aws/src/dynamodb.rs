//! DynamoDB on one machine: dynoxide, called in this process.
//!
//! Its own HTTP server is not used: it answers any web page (`Access-Control-Allow-Origin: *`), and the second port
//! would be open beside ours. Requests are read here into dynoxide's request types, and its errors are written as
//! DynamoDB writes them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::ApiError;
use crate::clock::Clock;
use crate::store::OpenError;

/// The tables. Cloning shares them.
#[derive(Clone)]
pub(crate) struct DynamoDb {
    database: Database,
}

impl std::fmt::Debug for DynamoDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DynamoDb").finish_non_exhaustive()
    }
}

impl DynamoDb {
    pub(crate) fn in_memory(clock: &Clock) -> Result<Self, OpenError> {
        let database = Database::memory_with_clock(Arc::new(Seconds(clock.clone())))
            .map_err(|error| OpenError::unavailable(Path::new(":memory:"), error))?;
        Ok(Self { database })
    }

    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |error: DynoxideError| match &error {
            DynoxideError::SqliteError(error) => OpenError::sqlite(path, error),
            // dynoxide turns SQLite's "not a database" into words of its own.
            DynoxideError::InternalServerError(text) if text.contains("not a valid SQLite database") => {
                OpenError::Corrupt { path: path.to_owned(), reason: "it is not a database".to_owned() }
            }
            error => OpenError::unavailable(path, error),
        };
        let name = path.to_str().ok_or_else(|| OpenError::unavailable(path, "its path is not UTF-8"))?;
        let database = Database::new(name).map_err(failed)?;
        // dynoxide's name for `synchronous=NORMAL`, as in our own file: no wait for the disk per commit, and none lost
        // with the process.
        database.disable_bulk_loading().map_err(failed)?;
        Ok(Self { database })
    }

    /// Deletes items past their TTL.
    pub(crate) fn sweep(&self) -> Result<(), String> {
        self.database.sweep_ttl().map(drop).map_err(|error| error.to_string())
    }
}

/// Our clock as dynoxide reads it.
struct Seconds(Clock);

impl Seconds {
    fn now(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.now()).unwrap_or(0))
    }
}

impl dynoxide::storage_backend::Clock for Seconds {
    fn now_unix_secs(&self) -> u64 {
        self.now().as_secs()
    }

    fn now_unix_secs_f64(&self) -> f64 {
        self.now().as_secs_f64()
    }
}

/// Answers one request: status and body.
pub(crate) async fn call(db: &DynamoDb, operation: &str, body: &Bytes) -> (u16, Bytes) {
    let (db, name, body) = (db.clone(), operation.to_owned(), body.clone());
    let done = tokio::task::spawn_blocking(move || dispatch(&db.database, &name, &body)).await;
    match done {
        Ok(Some(Ok(answer))) => (200, answer.into()),
        Ok(Some(Err(error))) => (error.status_code(), error.to_json().into()),
        Ok(None) => {
            let error = ApiError::unknown_operation("DynamoDB", operation);
            let body = serde_json::json!({ "__type": error.kind, "message": error.message });
            (error.status, body.to_string().into())
        }
        Err(error) => {
            let error = DynoxideError::InternalServerError(format!("the request was abandoned: {error}"));
            (500, error.to_json().into())
        }
    }
}

/// `None`: there is no such operation.
fn dispatch(db: &Database, operation: &str, body: &[u8]) -> Option<dynoxide::Result<String>> {
    Some(match operation {
        "BatchExecuteStatement" => run(body, |request| db.batch_execute_statement(request)),
        "BatchGetItem" => run(body, |request| db.batch_get_item(request)),
        "BatchWriteItem" => run(body, |request| db.batch_write_item(request)),
        "CreateTable" => run(body, |request| db.create_table(request)),
        "DeleteItem" => run(body, |request| db.delete_item(request)),
        "DeleteTable" => run(body, |request| db.delete_table(request)),
        "DescribeStream" => run(body, |request| db.describe_stream(request)),
        "DescribeTable" => run(body, |request| db.describe_table(request)),
        "DescribeTimeToLive" => run(body, |request| db.describe_time_to_live(request)),
        "ExecuteStatement" => run(body, |request| db.execute_statement(request)),
        "ExecuteTransaction" => run(body, |request| db.execute_transaction(request)),
        "GetItem" => run(body, |request| db.get_item(request)),
        "GetRecords" => run(body, |request| db.get_records(request)),
        "GetShardIterator" => run(body, |request| db.get_shard_iterator(request)),
        "ListStreams" => run(body, |request| db.list_streams(request)),
        "ListTables" => run(body, |request| db.list_tables(request)),
        "ListTagsOfResource" => run(body, |request| db.list_tags_of_resource(request)),
        "PutItem" => run(body, |request| db.put_item(request)),
        "Query" => run(body, |request| db.query(request)),
        "Scan" => run(body, |request| db.scan(request)),
        "TagResource" => run(body, |request| db.tag_resource(request)),
        "TransactGetItems" => run(body, |request| db.transact_get_items(request)),
        "TransactWriteItems" => run(body, |request| db.transact_write_items(request)),
        "UntagResource" => run(body, |request| db.untag_resource(request)),
        "UpdateItem" => run(body, |request| db.update_item(request)),
        "UpdateTable" => run(body, |request| db.update_table(request)),
        "UpdateTimeToLive" => run(body, |request| db.update_time_to_live(request)),
        _ => return None,
    })
}

fn run<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Q) -> dynoxide::Result<A>,
) -> dynoxide::Result<String> {
    let request = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    let answer = operation(request).map_err(untagged)?;
    serde_json::to_string(&answer).map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}

/// The error for a request that dynoxide's types refuse. They say with a mark in front which of DynamoDB's errors it
/// is.
fn unreadable(error: &serde_json::Error) -> DynoxideError {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    for mark in ["VALIDATION_AS_READ:", "VALIDATION_REQUEST:", "VALIDATION:"] {
        if let Some(text) = text.strip_prefix(mark) {
            return DynoxideError::ValidationException(text.to_owned());
        }
    }
    for mark in ["SERIALIZATION_AS_READ:", "SERIALIZATION:"] {
        if let Some(text) = text.strip_prefix(mark) {
            return DynoxideError::SerializationException(text.to_owned());
        }
    }
    // What is missing, null or unknown is a matter of validation in DynamoDB; what has the wrong type is not even
    // readable.
    let validation = ["missing field", "unknown variant", "invalid type: null", "AttributeValue"];
    if validation.iter().any(|sign| text.contains(sign)) {
        DynoxideError::ValidationException(text.to_owned())
    } else {
        DynoxideError::SerializationException(text.to_owned())
    }
}

/// dynoxide's tag for its own server means nothing on the wire.
fn untagged(error: DynoxideError) -> DynoxideError {
    match error {
        DynoxideError::EnvelopedValidation(text) => DynoxideError::ValidationException(text),
        error => error,
    }
}
