//! What a sender is told: a status that says what to do next, a stable code, and nothing that helps a forger.

use clawbridge_signatures::{Refusal, Reply};
use lambda_http::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use lambda_http::http::{HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use serde_json::json;

/// Seconds after which a sender should come back when the bridge could not take a delivery.
const COME_BACK_SECONDS: u16 = 30;

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    status: StatusCode,
    said: Said,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    /// It is on the queue, in the bridge's own words.
    Accepted,
    /// What the provider needs to hear.
    Reply(Reply),
    Refused(Told),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    code: &'static str,
    sender: &'static str,
    operator: String,
}

impl Answer {
    /// It is on the queue.
    pub(crate) fn accepted() -> Answer {
        Answer { status: StatusCode::OK, said: Said::Accepted }
    }

    /// There is no such source. Names that cannot be one and names that are none get the same answer.
    pub(crate) fn unknown_source() -> Answer {
        Answer::refused(
            StatusCode::NOT_FOUND,
            "UNKNOWN_SOURCE",
            "There is no such source.",
            "no such source; `clawbridge source add NAME --scheme SCHEME` makes one".to_owned(),
        )
    }

    /// What the provider needs to hear: a handshake's answer, or its own form of an acknowledgement.
    pub(crate) fn reply(reply: Reply) -> Answer {
        let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
        Answer { status, said: Said::Reply(reply) }
    }

    /// What the provider never sends so, and no handshake either.
    pub(crate) fn method_not_allowed() -> Answer {
        let reason = "not a POST, and no handshake of this source's scheme";
        let sender = "Deliveries are sent with POST.";
        Answer::refused(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", sender, reason.to_owned())
    }

    /// A handshake that asks with a token that is not the source's.
    pub(crate) fn forbidden(refusal: &Refusal) -> Answer {
        let sender = "The handshake's token is not this source's.";
        Answer::refused(StatusCode::FORBIDDEN, "HANDSHAKE_REFUSED", sender, refusal.to_string())
    }

    /// More handshakes than anybody needs.
    pub(crate) fn too_many_handshakes() -> Answer {
        let reason = "more unsigned handshakes of this source than are answered: somebody is trying its address";
        let sender = "Too many handshakes; please come back later.";
        Answer::refused(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_HANDSHAKES", sender, reason.to_owned())
    }

    /// An address for an answer that this stack has not made.
    pub(crate) fn unknown_callback(reason: String) -> Answer {
        Answer::refused(StatusCode::NOT_FOUND, "UNKNOWN_CALLBACK", "There is no such address.", reason)
    }

    /// An address for an answer whose time is over.
    pub(crate) fn expired_callback() -> Answer {
        let reason =
            "an upstream answered at an address that has expired; `within` of the tool's job says how long it may take";
        let sender = "This address has expired.";
        Answer::refused(StatusCode::GONE, "CALLBACK_EXPIRED", sender, reason.to_owned())
    }

    /// Larger than anything that Lambda should have handed on.
    pub(crate) fn too_large() -> Answer {
        let reason = "the body is larger than the bridge takes";
        Answer::refused(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", "The body is too large.", reason.to_owned())
    }

    /// The signature does not hold. The sender learns only that.
    pub(crate) fn unverified(refusal: &Refusal) -> Answer {
        let sender = "The signature could not be verified.";
        Answer::refused(StatusCode::UNAUTHORIZED, refusal.code(), sender, refusal.to_string())
    }

    /// The bridge cannot take it now; nothing of it was kept.
    pub(crate) fn unavailable(code: &'static str, operator: String) -> Answer {
        Answer::refused(
            StatusCode::SERVICE_UNAVAILABLE,
            code,
            "The bridge cannot take this now; please send it again.",
            operator,
        )
    }

    fn refused(status: StatusCode, code: &'static str, sender: &'static str, operator: String) -> Answer {
        Answer { status, said: Said::Refused(Told { code, sender, operator }) }
    }

    /// Whether it tells of a source that there is, though it does not work.
    pub(crate) fn is_of_a_source(&self) -> bool {
        matches!(self.refusal(), Some(("SOURCE_INVALID", _)))
    }

    /// Whether its line in the log may wait for others alike: what strangers can bring about at will.
    pub(crate) fn is_anybodys_doing(&self) -> bool {
        let provoked = matches!(self.refusal(), Some(("TOO_MANY_UNKNOWN_SOURCES" | "KEYS_UNAVAILABLE", _)));
        provoked || self.status.is_client_error()
    }

    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// Code and operator's reason, where it is a refusal.
    pub(crate) fn refusal(&self) -> Option<(&'static str, &str)> {
        match &self.said {
            Said::Refused(told) => Some((told.code, told.operator.as_str())),
            Said::Accepted | Said::Reply(_) => None,
        }
    }

    pub(crate) fn into_response(self, request_id: &str) -> Response<Body> {
        let json = |body: serde_json::Value| (Some("application/json"), Body::Text(body.to_string()));
        let (content_type, body) = match self.said {
            Said::Accepted => json(json!({"received": true, "request_id": request_id})),
            Said::Reply(reply) => (reply.content_type, text_or_bytes(reply.body)),
            // A forger who is told how a signature was wrong has an oracle: one code for all of them.
            Said::Refused(told) => {
                let code = if self.status == StatusCode::UNAUTHORIZED { "UNVERIFIED" } else { told.code };
                json(json!({"error": {"code": code, "message": told.sender, "request_id": request_id}}))
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        // A browser that follows somebody's link here must not run what is repeated to it.
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(content_type) = content_type {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(COME_BACK_SECONDS));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(COME_BACK_SECONDS));
        }
        response
    }
}

fn text_or_bytes(bytes: Vec<u8>) -> Body {
    if bytes.is_empty() {
        return Body::Empty;
    }
    String::from_utf8(bytes).map_or_else(|error| Body::Binary(error.into_bytes()), Body::Text)
}
