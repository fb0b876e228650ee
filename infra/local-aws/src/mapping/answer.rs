//! What a function's answer says about a batch, when the mapping has `ReportBatchItemFailures`.

use std::collections::BTreeSet;

use serde_json::Value;

/// Why an answer says nothing about a batch. The whole batch then counts as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// The answer is not one JSON document.
    #[error("the answer is not JSON")]
    NotJson,
    /// The answer is neither `null` nor an object.
    #[error("the answer is neither null nor an object")]
    NotAnObject,
    /// `batchItemFailures` is neither `null` nor an array.
    #[error("batchItemFailures is not an array")]
    NotAList,
    /// An entry has no `itemIdentifier` that is a text with something in it.
    #[error("an entry of batchItemFailures has no itemIdentifier")]
    NoIdentifier,
    /// An `itemIdentifier` is the id of no message in the batch.
    #[error("an itemIdentifier is not the id of a message in the batch")]
    UnknownIdentifier,
}

/// The messages that failed, of those with these ids.
///
/// None did when the answer is `null`, `{}`, or has an empty or no list (Lambda developer guide, "Handling errors for an SQS
/// event source", success and failure conditions). An object with other fields only is one without a list: a misspelt
/// `batchItemFailures` is taken for success here as there.
///
/// # Errors
/// [`AnswerFault`]: the batch failed as a whole.
pub(super) fn failed_items(answer: &[u8], batch: &BTreeSet<&str>) -> Result<BTreeSet<String>, AnswerFault> {
    let list = match serde_json::from_slice(answer).map_err(|_| AnswerFault::NotJson)? {
        Value::Null => return Ok(BTreeSet::new()),
        Value::Object(mut answer) => answer.remove("batchItemFailures").unwrap_or_default(),
        _ => return Err(AnswerFault::NotAnObject),
    };
    let entries = match list {
        Value::Null => return Ok(BTreeSet::new()),
        Value::Array(entries) => entries,
        _ => return Err(AnswerFault::NotAList),
    };
    let mut failed = BTreeSet::new();
    for entry in entries {
        let id = entry.get("itemIdentifier").and_then(Value::as_str).filter(|id| !id.is_empty());
        let id = id.ok_or(AnswerFault::NoIdentifier)?;
        if !batch.contains(id) {
            return Err(AnswerFault::UnknownIdentifier);
        }
        failed.insert(id.to_owned());
    }
    Ok(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_the_messages_that_failed() {
        let batch = BTreeSet::from(["a", "b", "c"]);
        let cases: &[(&str, Result<&[&str], AnswerFault>)] = &[
            ("null", Ok(&[])),
            ("{}", Ok(&[])),
            (r#"{"batchItemFailures":null}"#, Ok(&[])),
            (r#"{"batchItemFailures":[]}"#, Ok(&[])),
            (r#"{"BatchItemFailures":[{"itemIdentifier":"a"}]}"#, Ok(&[])),
            (r#"{"batchItemFailures":[{"itemIdentifier":"b"}]}"#, Ok(&["b"])),
            (
                r#"{"batchItemFailures":[{"itemIdentifier":"c","more":1},{"itemIdentifier":"a"},{"itemIdentifier":"c"}]}"#,
                Ok(&["a", "c"]),
            ),
            ("", Err(AnswerFault::NotJson)),
            ("{", Err(AnswerFault::NotJson)),
            ("[]", Err(AnswerFault::NotAnObject)),
            ("\"ok\"", Err(AnswerFault::NotAnObject)),
            ("true", Err(AnswerFault::NotAnObject)),
            (r#"{"batchItemFailures":"a"}"#, Err(AnswerFault::NotAList)),
            (r#"{"batchItemFailures":{"itemIdentifier":"a"}}"#, Err(AnswerFault::NotAList)),
            (r#"{"batchItemFailures":["a"]}"#, Err(AnswerFault::NoIdentifier)),
            (r#"{"batchItemFailures":[{"ItemIdentifier":"a"}]}"#, Err(AnswerFault::NoIdentifier)),
            (r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#, Err(AnswerFault::NoIdentifier)),
            (r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#, Err(AnswerFault::NoIdentifier)),
            (r#"{"batchItemFailures":[{"itemIdentifier":1}]}"#, Err(AnswerFault::NoIdentifier)),
            (
                r#"{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"z"}]}"#,
                Err(AnswerFault::UnknownIdentifier),
            ),
        ];
        for (answer, expected) in cases {
            let expected = expected.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect());
            assert_eq!(failed_items(answer.as_bytes(), &batch), expected, "{answer}");
        }
    }
}
