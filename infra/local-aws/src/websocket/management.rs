//! `@connections`: the API through which functions reach the clients that are connected.
//!
//! `POST`, `GET` and `DELETE /{stage}/@connections/{connectionId}` (API Gateway Management API, 2018-11-29). Signatures are not
//! checked. 403 is for another stage's path, 400 for what is no connection id, 410 for an id that no connection has now. What
//! goes to the client is text, so data that are not UTF-8 are 400.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::connection::{Connection, SendError};
use super::{WebSockets, is_id};
use crate::clock::Millis;
use crate::gateway::decode_path;

/// The errors by their names in the API's model; the last two are API Gateway's for any API.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    Gone,
    TooLarge,
    Full,
    Forbidden,
    BadRequest(&'static str),
    Method,
}

impl Refusal {
    /// Status, `x-amzn-errortype` and message. On AWS a 410 has no body: SDKs show it without a message.
    fn wire(self) -> (StatusCode, &'static str, Option<&'static str>) {
        match self {
            Self::Gone => (StatusCode::GONE, "GoneException", None),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLargeException", Some("Message too long")),
            Self::Full => {
                (StatusCode::TOO_MANY_REQUESTS, "LimitExceededException", Some("The client's buffer is full"))
            }
            Self::Forbidden => (StatusCode::FORBIDDEN, "ForbiddenException", Some("Forbidden")),
            Self::BadRequest(text) => (StatusCode::BAD_REQUEST, "BadRequestException", Some(text)),
            Self::Method => {
                (StatusCode::FORBIDDEN, "MissingAuthenticationTokenException", Some("Missing Authentication Token"))
            }
        }
    }

    fn response(self) -> Response<Bytes> {
        let (status, kind, text) = self.wire();
        let body = text.map(|text| Bytes::from(json!({ "message": text }).to_string())).unwrap_or_default();
        let mut response = respond(status, body);
        response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(kind));
        response
    }
}

impl WebSockets {
    /// Answers a request of the management API. `None`: the request is for something else, as its path has no `@connections`.
    ///
    /// Meant for the private port: whoever gets here may write to every client.
    #[must_use]
    pub fn manage(&self, request: &Request<Bytes>) -> Option<Response<Bytes>> {
        let path = decode_path(request.uri().path())?;
        let (stage, id) = path.strip_prefix('/')?.split_once("/@connections/")?;
        let managed = if stage == self.shared.stage { self.manage_one(request, id) } else { Err(Refusal::Forbidden) };
        Some(managed.unwrap_or_else(Refusal::response))
    }

    fn manage_one(&self, request: &Request<Bytes>, id: &str) -> Result<Response<Bytes>, Refusal> {
        if !is_id(id) {
            return Err(Refusal::BadRequest("Invalid connectionId"));
        }
        match *request.method() {
            Method::POST => self.post(id, request.body()),
            Method::GET => Ok(respond(StatusCode::OK, shown(&*self.find(id)?))),
            Method::DELETE => {
                let connection = self.shared.close(id).ok_or(Refusal::Gone)?;
                connection.delete();
                Ok(respond(StatusCode::NO_CONTENT, Bytes::new()))
            }
            _ => Err(Refusal::Method),
        }
    }

    fn post(&self, id: &str, data: &Bytes) -> Result<Response<Bytes>, Refusal> {
        if data.len() > self.shared.limits.message {
            return Err(Refusal::TooLarge);
        }
        if std::str::from_utf8(data).is_err() {
            return Err(Refusal::BadRequest("The data are not UTF-8"));
        }
        let sent = self.find(id)?.send(data.clone(), self.shared.limits.send_buffer);
        sent.map_err(|error| match error {
            SendError::Gone => Refusal::Gone,
            SendError::Full => Refusal::Full,
        })?;
        Ok(respond(StatusCode::OK, Bytes::new()))
    }

    fn find(&self, id: &str) -> Result<std::sync::Arc<Connection>, Refusal> {
        self.shared.find(id).ok_or(Refusal::Gone)
    }
}

/// `GetConnection`'s output.
fn shown(connection: &Connection) -> Bytes {
    let shown = json!({
        "connectedAt": timestamp(connection.connected_at),
        "identity": {
            "sourceIp": connection.source_ip.to_string(),
            "userAgent": connection.user_agent.as_deref().unwrap_or_default(),
        },
        "lastActiveAt": timestamp(connection.last_active()),
    });
    Bytes::from(shown.to_string())
}

/// RFC 3339, to the millisecond.
fn timestamp(at: Millis) -> String {
    // Neither fails for a time that a clock shows.
    let at =
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).unwrap_or_default()
}

fn respond(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let typed = !body.is_empty();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if typed {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Ok(id) = HeaderValue::try_from(Uuid::new_v4().to_string()) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}
