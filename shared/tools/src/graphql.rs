//! What a GraphQL answer means: its errors come with status 200 as a rule, or with another that says less than they do. Pure.
//!
//! GraphQL specification, October 2021, section 7.1; the codes are those of Apollo Server, Shopify, GitHub, graphql-ruby and others, in
//! `extensions.code`, or where GitHub has them, in `type`.

use crate::classify::{Answer, unexpected};
use crate::redact::Redaction;
use clawbridge_tasks::{Class, Code, TaskError};
use serde_json::Value;
use std::time::Duration;

/// What an operation gave.
#[derive(Debug, PartialEq)]
pub(crate) struct Data {
    /// `data`.
    pub(crate) data: Value,
    /// `errors` beside it, where the tool takes partial data.
    pub(crate) errors: Vec<Value>,
}

/// The data in the answer of a 2xx status, or what its errors mean. `partial` says whether data beside errors is an answer.
///
/// # Errors
/// Errors without data, errors beside data that must be whole, and what is no GraphQL answer.
pub(crate) fn data(
    mut document: Value,
    partial: bool,
    answer: &Answer<'_>,
    redaction: &Redaction,
) -> Result<Data, TaskError> {
    let errors = errors(&document);
    let data = document.get_mut("data").map(Value::take);
    match (data, errors) {
        (Some(data), None) if !data.is_null() => Ok(Data { data, errors: Vec::new() }),
        (Some(data), Some(errors)) if partial && has_any(&data) => Ok(Data { data, errors }),
        (data, Some(errors)) => Err(refused(&errors, data.as_ref().is_some_and(has_any), answer, redaction)),
        (_, None) => Err(unexpected(answer, redaction, "the answer has neither data nor errors, as GraphQL's have")),
    }
}

/// What the errors in an answer of another status mean: `error` is what the status alone says. They say more where the status is the
/// one for every refusal, or for every failure.
pub(crate) fn refined(error: TaskError, answer: &Answer<'_>, redaction: &Redaction) -> TaskError {
    if !matches!(answer.status, 400 | 500) {
        return error;
    }
    let document = serde_json::from_slice::<Value>(answer.body).ok();
    let errors = document.as_ref().and_then(errors);
    match errors.filter(|errors| errors.iter().any(|error| meaning(error).is_some())) {
        Some(errors) => refused(&errors, false, answer, redaction),
        None => error,
    }
}

/// `errors`, if there are any.
fn errors(document: &Value) -> Option<Vec<Value>> {
    document.get("errors").and_then(Value::as_array).filter(|errors| !errors.is_empty()).cloned()
}

/// Whether there is anything in `data`: a failed field is null, and takes what is around it along where that must not be null.
fn has_any(data: &Value) -> bool {
    match data {
        Value::Null => false,
        Value::Object(fields) => fields.values().any(|field| !field.is_null()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => true,
    }
}

fn refused(errors: &[Value], has_data: bool, answer: &Answer<'_>, redaction: &Redaction) -> TaskError {
    let known = errors.iter().find_map(|error| meaning(error).map(|meaning| (word(error), meaning)));
    let beside = if has_data { " beside part of the data" } else { "" };
    let Some((word, Meaning { code, class, may_have_acted })) = known else {
        let count = errors.len();
        let reason = format!("the answer has {count} errors{beside}, of no code that tells what they are");
        return unexpected(answer, redaction, &reason);
    };
    let message =
        format!("the upstream answers with the GraphQL error {}{beside}", redaction.text(&word.unwrap_or_default()));
    TaskError {
        status: Some(answer.status),
        evidence: redaction.evidence(answer.body),
        // Where there is data, some of the operation was carried out.
        may_have_acted: may_have_acted || has_data,
        retry_after: (code == Code::RateLimited).then(|| throttled(answer.body)).flatten(),
        ..TaskError::unsent(code, class, message)
    }
}

struct Meaning {
    code: Code,
    class: Class,
    /// Whether the upstream may have acted. Not where it declined to begin.
    may_have_acted: bool,
}

/// What kind of error it says that it is, of characters that a message can carry.
fn word(error: &Value) -> Option<String> {
    let words =
        [&error["extensions"]["code"], &error["type"], &error["extensions"]["type"], &error["extensions"]["errorType"]];
    let word = words.into_iter().find_map(Value::as_str)?;
    let is_word = |word: &str| {
        (1..=64).contains(&word.len())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    is_word(word).then(|| word.to_owned())
}

fn meaning(error: &Value) -> Option<Meaning> {
    let word = word(error)?.to_ascii_uppercase().replace(['-', '.'], "_");
    let (code, class, may_have_acted) = match word.as_str() {
        "UNAUTHENTICATED" | "UNAUTHORIZED" | "AUTHENTICATION_ERROR" | "AUTHENTICATION_REQUIRED" | "INVALID_TOKEN" => {
            (Code::AuthenticationFailed, Class::Auth, false)
        }
        "FORBIDDEN" | "ACCESS_DENIED" | "INSUFFICIENT_SCOPES" | "PERMISSION_DENIED" | "SHOP_INACTIVE" => {
            (Code::Forbidden, Class::Auth, false)
        }
        "NOT_FOUND" => (Code::NotFound, Class::Missing, false),
        "BAD_USER_INPUT"
        | "BAD_REQUEST"
        | "GRAPHQL_PARSE_FAILED"
        | "GRAPHQL_VALIDATION_FAILED"
        | "VALIDATION_ERROR"
        | "INVALID_ARGUMENT"
        | "OPERATION_RESOLUTION_FAILURE"
        | "PERSISTED_QUERY_NOT_FOUND"
        | "PERSISTED_QUERY_NOT_SUPPORTED"
        | "MAX_COST_EXCEEDED"
        | "UNPROCESSABLE"
        | "UNDEFINEDFIELD"
        | "MISSINGREQUIREDARGUMENTS"
        | "ARGUMENTLITERALSINCOMPATIBLE"
        | "ARGUMENTNOTACCEPTED"
        | "VARIABLEMISMATCH"
        | "INVALID_VARIABLE" => (Code::ValidationError, Class::Client, false),
        "CONFLICT" => (Code::Conflict, Class::Client, false),
        "THROTTLED" | "RATE_LIMITED" | "RATE_LIMIT_EXCEEDED" | "RATELIMITED" | "TOO_MANY_REQUESTS" => {
            (Code::RateLimited, Class::Transient, false)
        }
        "SERVICE_UNAVAILABLE" | "UNAVAILABLE" => (Code::Unavailable, Class::Transient, false),
        "TIMEOUT" | "GATEWAY_TIMEOUT" | "REQUEST_TIMEOUT" => (Code::UpstreamError, Class::Server, true),
        "INTERNAL_SERVER_ERROR" | "INTERNAL_ERROR" | "INTERNAL" | "DOWNSTREAM_SERVICE_ERROR" => {
            (Code::UpstreamError, Class::Server, true)
        }
        _ => return None,
    };
    Some(Meaning { code, class, may_have_acted })
}

/// How long until a query of this cost fits again (Shopify's `extensions.cost`: points, and points a second).
fn throttled(body: &[u8]) -> Option<Duration> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let cost = &document["extensions"]["cost"];
    let requested = cost["requestedQueryCost"].as_f64()?;
    let available = cost["throttleStatus"]["currentlyAvailable"].as_f64()?;
    let rate = cost["throttleStatus"]["restoreRate"].as_f64().filter(|rate| *rate > 0.0)?;
    Duration::try_from_secs_f64(((requested - available) / rate).clamp(0.0, 3600.0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn answer(status: u16, body: &[u8]) -> Answer<'_> {
        Answer { status, content_type: "application/json", body, ..Answer::default() }
    }

    fn outcome(document: &Value, partial: bool) -> Result<Data, TaskError> {
        let body = document.to_string().into_bytes();
        data(document.clone(), partial, &answer(200, &body), &Redaction::default())
    }

    fn of_code(code: &str) -> Value {
        json!({"data": null, "errors": [{"message": "no", "extensions": {"code": code}}]})
    }

    #[test]
    fn each_code_has_its_class() {
        let cases = [
            ("UNAUTHENTICATED", Code::AuthenticationFailed, Class::Auth, false),
            ("FORBIDDEN", Code::Forbidden, Class::Auth, false),
            ("ACCESS_DENIED", Code::Forbidden, Class::Auth, false),
            ("NOT_FOUND", Code::NotFound, Class::Missing, false),
            ("BAD_USER_INPUT", Code::ValidationError, Class::Client, false),
            ("GRAPHQL_VALIDATION_FAILED", Code::ValidationError, Class::Client, false),
            ("undefinedField", Code::ValidationError, Class::Client, false),
            ("CONFLICT", Code::Conflict, Class::Client, false),
            ("THROTTLED", Code::RateLimited, Class::Transient, false),
            ("RATE_LIMITED", Code::RateLimited, Class::Transient, false),
            ("rate-limited", Code::RateLimited, Class::Transient, false),
            ("SERVICE_UNAVAILABLE", Code::Unavailable, Class::Transient, false),
            ("INTERNAL_SERVER_ERROR", Code::UpstreamError, Class::Server, true),
            ("SOMETHING_NEW", Code::UnexpectedResponse, Class::Unknown, true),
            ("", Code::UnexpectedResponse, Class::Unknown, true),
        ];
        for (code, expected, class, may_have_acted) in cases {
            let error = outcome(&of_code(code), false).expect_err(code);
            assert_eq!(
                (error.code, error.class, error.may_have_acted, error.status),
                (expected, class, may_have_acted, Some(200)),
                "{code}"
            );
            assert!(error.evidence.is_some_and(|evidence| evidence.contains("\"no\"")), "{code}");
        }
        let github =
            json!({"data": {"user": null}, "errors": [{"type": "NOT_FOUND", "path": ["user"], "message": "?"}]});
        assert_eq!(outcome(&github, true).expect_err("an error").code, Code::NotFound);
        let several = json!({"errors": [{"message": "a"}, {"extensions": {"code": "FORBIDDEN"}}]});
        assert_eq!(outcome(&several, false).expect_err("an error").code, Code::Forbidden);
    }

    #[test]
    fn partial_data_is_an_answer_only_where_it_is_taken_as_one() {
        let both = json!({"data": {"a": {"id": 1}, "b": null}, "errors": [{"extensions": {"code": "FORBIDDEN"}}]});
        let error = outcome(&both, false).expect_err("an error");
        assert_eq!((error.code, error.may_have_acted), (Code::Forbidden, true));
        assert!(error.message.contains("FORBIDDEN beside part of the data"), "{}", error.message);
        let data = outcome(&both, true).expect("data");
        assert_eq!((data.data, data.errors.len()), (json!({"a": {"id": 1}, "b": null}), 1));
        for nothing in [json!({"a": null}), json!({}), json!(null)] {
            let document = json!({"data": nothing, "errors": [{"message": "x"}]});
            assert_eq!(outcome(&document, true).expect_err("an error").code, Code::UnexpectedResponse, "{document}");
        }
        assert_eq!(
            outcome(&json!({"data": {"a": null}}), false),
            Ok(Data { data: json!({"a": null}), errors: vec![] })
        );
        assert!(outcome(&json!({"data": {"a": 1}, "errors": []}), false).is_ok());
    }

    #[test]
    fn what_is_no_graphql_answer_is_evidence() {
        for document in [json!({}), json!([]), json!("ok"), json!(null), json!({"data": null}), json!({"errors": "no"})]
        {
            let error = outcome(&document, true).expect_err("an error");
            assert_eq!(error.code, Code::UnexpectedResponse, "{document}");
            assert!(error.message.contains("neither data nor errors"), "{}", error.message);
        }
    }

    #[test]
    fn errors_say_more_than_a_status_for_everything() {
        let of_status = |status, document: &Value| {
            let body = document.to_string().into_bytes();
            let error = TaskError::unsent(Code::ValidationError, Class::Client, "by status");
            refined(error, &answer(status, &body), &Redaction::default()).code
        };
        assert_eq!(of_status(400, &of_code("UNAUTHENTICATED")), Code::AuthenticationFailed);
        assert_eq!(of_status(500, &of_code("THROTTLED")), Code::RateLimited);
        assert_eq!(of_status(422, &of_code("THROTTLED")), Code::ValidationError);
        assert_eq!(of_status(400, &of_code("SOMETHING_NEW")), Code::ValidationError);
        assert_eq!(of_status(400, &json!("no")), Code::ValidationError);
    }

    #[test]
    fn a_throttled_query_waits_until_its_cost_fits() {
        let mut document = of_code("THROTTLED");
        document["extensions"]["cost"] = json!({"requestedQueryCost": 202, "actualQueryCost": null,
            "throttleStatus": {"maximumAvailable": 1000.0, "currentlyAvailable": 118, "restoreRate": 50.0}});
        let error = outcome(&document, false).expect_err("an error");
        assert_eq!(error.retry_after, Some(Duration::from_millis(1_680)));
        document["extensions"]["cost"]["throttleStatus"]["restoreRate"] = json!(0);
        assert_eq!(outcome(&document, false).expect_err("an error").retry_after, None);
    }

    #[test]
    fn a_code_that_holds_a_credential_is_not_told() {
        let document = of_code("sk_live_123");
        let body = document.to_string().into_bytes();
        let redaction = Redaction::of(["sk_live_123"]);
        let error = data(document, false, &answer(200, &body), &redaction).expect_err("an error");
        assert!(!format!("{error:?}").contains("sk_live_123"), "{error:?}");
    }

    proptest! {
        #[test]
        fn no_document_makes_it_panic(text in "[{}\\[\\]\":,a-z0-9]{0,40}", code in "\\PC{0,70}", partial in any::<bool>()) {
            if let Ok(document) = serde_json::from_str::<Value>(&text) {
                let _ = outcome(&document, partial);
                let _ = outcome(&json!({"data": document, "errors": [document]}), partial);
            }
            let _ = outcome(&of_code(&code), partial);
        }
    }
}
