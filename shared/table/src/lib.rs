//! DynamoDB items: attributes written and read, many items at once.

mod read;

pub use read::{Reader, WrongAttribute};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use clawbridge_aws::explain;
use std::collections::HashMap;

/// An item: attributes by name.
pub type Item = HashMap<String, AttributeValue>;

/// A text.
#[must_use]
pub fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

/// A whole number.
#[must_use]
pub fn n(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Bytes.
#[must_use]
pub fn b(bytes: Vec<u8>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

/// Reads the items with these keys (at most 100), in any order; those that do not exist are missing. DynamoDB may leave some for
/// another call, which is made.
///
/// # Errors
/// What DynamoDB said, in one line.
pub async fn get_many(
    client: &Client,
    table: &str,
    mut keys: Vec<Item>,
    consistent: bool,
) -> Result<Vec<Item>, String> {
    let mut items = Vec::with_capacity(keys.len());
    while !keys.is_empty() {
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(std::mem::take(&mut keys)))
            .consistent_read(consistent)
            .build()
            .map_err(|error| error.to_string())?;
        let answer =
            client.batch_get_item().request_items(table, wanted).send().await.map_err(|error| explain(&error))?;
        items.extend(answer.responses.unwrap_or_default().remove(table).unwrap_or_default());
        if let Some(left) = answer.unprocessed_keys.unwrap_or_default().remove(table) {
            keys = left.keys;
        }
    }
    Ok(items)
}
