//! What a caller is told when it does not work: a stable code, a sentence, what to do.

use axum::http::{HeaderValue, StatusCode, header};
use clawbridge_registry::RegistryError;
use clawbridge_submit::{Refusal, SubmitError};
use serde_json::{Value, json};

/// The kinds of failure. Code and status belong together and are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidJson,
    ValidationError,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    Conflict,
    NotFinished,
    PreconditionFailed,
    PayloadTooLarge,
    UnsupportedMediaType,
    RateLimited,
    NoAgent,
    Unavailable,
}

impl Code {
    /// All of them, for the document.
    pub(crate) const ALL: [Code; 15] = [
        Code::InvalidJson,
        Code::ValidationError,
        Code::Unauthorized,
        Code::Forbidden,
        Code::NotFound,
        Code::MethodNotAllowed,
        Code::NotAcceptable,
        Code::Conflict,
        Code::NotFinished,
        Code::PreconditionFailed,
        Code::PayloadTooLarge,
        Code::UnsupportedMediaType,
        Code::RateLimited,
        Code::NoAgent,
        Code::Unavailable,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        self.row().0
    }

    pub(crate) fn status(self) -> StatusCode {
        self.row().1
    }

    fn row(self) -> (&'static str, StatusCode) {
        match self {
            Code::InvalidJson => ("invalid_json", StatusCode::BAD_REQUEST),
            Code::ValidationError => ("validation_error", StatusCode::BAD_REQUEST),
            Code::Unauthorized => ("unauthorized", StatusCode::UNAUTHORIZED),
            Code::Forbidden => ("forbidden", StatusCode::FORBIDDEN),
            Code::NotFound => ("not_found", StatusCode::NOT_FOUND),
            Code::MethodNotAllowed => ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED),
            Code::NotAcceptable => ("not_acceptable", StatusCode::NOT_ACCEPTABLE),
            Code::Conflict => ("conflict", StatusCode::CONFLICT),
            Code::NotFinished => ("not_finished", StatusCode::CONFLICT),
            Code::PreconditionFailed => ("precondition_failed", StatusCode::PRECONDITION_FAILED),
            Code::PayloadTooLarge => ("payload_too_large", StatusCode::PAYLOAD_TOO_LARGE),
            Code::UnsupportedMediaType => ("unsupported_media_type", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Code::RateLimited => ("rate_limited", StatusCode::TOO_MANY_REQUESTS),
            Code::NoAgent => ("no_agent", StatusCode::SERVICE_UNAVAILABLE),
            Code::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

/// One field that is wrong, and where the document is text, its place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) position: Option<(usize, usize)>,
}

impl Field {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Field {
        Field { path: path.into(), message: message.into(), position: None }
    }
}

/// A failure on its way to the caller.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) fields: Vec<Field>,
    /// Seconds.
    pub(crate) retry_after: Option<u64>,
    pub(crate) headers: Vec<(header::HeaderName, HeaderValue)>,
    /// For the journal alone: what failed inside.
    pub(crate) inside: Option<String>,
}

impl Problem {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Problem {
        let message = message.into();
        Problem { code, message, fields: Vec::new(), retry_after: None, headers: Vec::new(), inside: None }
    }

    /// Fields of the request that are wrong.
    pub(crate) fn fields(fields: Vec<Field>) -> Problem {
        let message = match fields.as_slice() {
            [one] if one.path.is_empty() => one.message.clone(),
            [one] => format!("{}: {}", one.path, one.message),
            many => format!("{} fields are wrong; see `fields`", many.len()),
        };
        Problem { fields, ..Problem::new(Code::ValidationError, message) }
    }

    pub(crate) fn field(path: &str, message: impl Into<String>) -> Problem {
        Problem::fields(vec![Field::new(path, message)])
    }

    /// There is none, or it is none of the caller's business: the two are not told apart.
    pub(crate) fn not_found(what: &str) -> Problem {
        Problem::new(Code::NotFound, format!("there is no such {what}"))
    }

    pub(crate) fn forbidden(needed: &str) -> Problem {
        Problem::new(Code::Forbidden, format!("this token lacks the scope for it: {needed}"))
    }

    /// What the bridge stands on did not answer. The reason is for the journal.
    pub(crate) fn unavailable(inside: impl std::fmt::Display) -> Problem {
        let message = "the bridge cannot do this at the moment; try again";
        let problem = Problem::new(Code::Unavailable, message);
        Problem { retry_after: Some(2), inside: Some(inside.to_string()), ..problem }
    }

    pub(crate) fn body(&self, request_id: &str) -> Value {
        let mut error = json!({"code": self.code.as_str(), "message": self.message, "request_id": request_id});
        if let Some(seconds) = self.retry_after {
            error["retry_after"] = json!(seconds);
        }
        if !self.fields.is_empty() {
            let field = |field: &Field| match field.position {
                Some((line, column)) => {
                    json!({"path": field.path, "message": field.message, "line": line, "column": column})
                }
                None => json!({"path": field.path, "message": field.message}),
            };
            error["fields"] = self.fields.iter().map(field).collect();
        }
        json!({ "error": error })
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Problem {
        match error {
            RegistryError::Raced => Problem::new(Code::Conflict, error.to_string()),
            RegistryError::TooLarge { .. } => Problem::new(Code::PayloadTooLarge, error.to_string()),
            RegistryError::Table(_) | RegistryError::Invalid { .. } => Problem::unavailable(error),
        }
    }
}

impl From<clawbridge_tasks::StoreError> for Problem {
    fn from(error: clawbridge_tasks::StoreError) -> Problem {
        Problem::unavailable(error)
    }
}

impl From<clawbridge_events::StoreError> for Problem {
    fn from(error: clawbridge_events::StoreError) -> Problem {
        Problem::unavailable(error)
    }
}

impl From<clawbridge_queue::SendError> for Problem {
    fn from(error: clawbridge_queue::SendError) -> Problem {
        Problem::unavailable(error)
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Problem {
        match error {
            SubmitError::Conflict(_) => Problem::new(Code::Conflict, KEY_CONFLICT),
            SubmitError::Tasks(_) | SubmitError::Queue(_) => Problem::unavailable(error),
        }
    }
}

pub(crate) const KEY_CONFLICT: &str =
    "this idempotency key was used before with another input; nothing is called. Another call needs another key";

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let message = refusal.to_string();
        match refusal {
            Refusal::UnknownTool { .. } => Problem::not_found("tool"),
            Refusal::Input { .. } | Refusal::NoKey { .. } => Problem::field("input", message),
            Refusal::KeyOfInput { .. } | Refusal::Key => Problem::field("Idempotency-Key", message),
            Refusal::TooLarge(_) => Problem::new(Code::PayloadTooLarge, message),
            Refusal::Message(_) => Problem::unavailable(message),
        }
    }
}
