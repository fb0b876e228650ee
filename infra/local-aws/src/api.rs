//! What the AWS JSON protocols share: how an answer and an error look on the wire.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The account that everything here belongs to.
pub const ACCOUNT_ID: &str = "000000000000";

/// The region in every ARN here.
pub const REGION: &str = "us-east-1";

/// Which of the two JSON protocols a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Json10,
    Json11,
}

impl Protocol {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Json10 => "application/x-amz-json-1.0",
            Self::Json11 => "application/x-amz-json-1.1",
        }
    }
}

/// An error as the JSON protocols carry it.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    /// `__type`: namespace, `#`, name.
    pub(crate) kind: &'static str,
    /// The code that clients of a service show which used to speak the query protocol.
    pub(crate) query_code: Option<&'static str>,
    pub(crate) message: String,
}

impl ApiError {
    /// The operation is not one of `service`, or not one that this stand-in has.
    pub(crate) fn unknown_operation(service: &str, operation: &str) -> Self {
        Self {
            status: 400,
            kind: "com.amazon.coral.service#UnknownOperationException",
            query_code: Some("InvalidAction"),
            message: format!("the local {service} has no operation {operation}"),
        }
    }

    /// The body is not the JSON object that the operation takes.
    pub(crate) fn malformed(reason: impl std::fmt::Display) -> Self {
        Self {
            status: 400,
            kind: "com.amazon.coral.service#SerializationException",
            query_code: Some("MalformedInput"),
            message: format!("the request body cannot be read: {reason}"),
        }
    }

    pub(crate) fn into_response(self, protocol: Protocol, request_id: &str) -> Response<Bytes> {
        let body = serde_json::json!({ "__type": self.kind, "message": self.message }).to_string();
        let mut response = respond(self.status, protocol, request_id, body.into());
        if let Some(code) = self.query_code {
            let fault = if self.status < 500 { "Sender" } else { "Receiver" };
            if let Ok(value) = HeaderValue::try_from(format!("{code};{fault}")) {
                response.headers_mut().insert("x-amzn-query-error", value);
            }
        }
        response
    }
}

/// Reads an operation's input. An empty body is an empty object, as AWS takes it.
pub(crate) fn input<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    // serde's message would quote the value that does not fit, and the value may be a secret.
    serde_json::from_slice(body).map_err(|error| {
        ApiError::malformed(format_args!(
            "{} at line {}, column {}",
            if error.is_data() { "a member has the wrong type" } else { "it is not JSON" },
            error.line(),
            error.column()
        ))
    })
}

/// Writes an operation's output.
pub(crate) fn output(value: &impl Serialize) -> Result<Bytes, ApiError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| ApiError {
        status: 500,
        kind: "com.amazon.coral.service#InternalFailure",
        query_code: Some("InternalFailure"),
        message: format!("the answer cannot be written: {error}"),
    })
}

pub(crate) fn respond(status: u16, protocol: Protocol, request_id: &str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(protocol.content_type()));
    if let Ok(id) = HeaderValue::try_from(request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}
