//! What a sender is told: a status that says what to do next, a stable code, and nothing that helps a forger.

use clawbridge_signatures::Refusal;
use lambda_http::http::header::{CONTENT_TYPE, RETRY_AFTER};
use lambda_http::http::{HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use serde_json::json;

/// Seconds after which a sender should come back when the bridge could not take a delivery.
const COME_BACK_SECONDS: u16 = 30;

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    status: StatusCode,
    refusal: Option<Told>,
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
        Answer { status: StatusCode::OK, refusal: None }
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

    /// Nothing was sent that could be verified or acted on.
    pub(crate) fn empty_body() -> Answer {
        let reason = "the request has no body";
        Answer::refused(StatusCode::BAD_REQUEST, "EMPTY_BODY", "The request has no body.", reason.to_owned())
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
        Answer { status, refusal: Some(Told { code, sender, operator }) }
    }

    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// Code and operator's reason, where it is a refusal.
    pub(crate) fn refusal(&self) -> Option<(&'static str, &str)> {
        self.refusal.as_ref().map(|told| (told.code, told.operator.as_str()))
    }

    pub(crate) fn into_response(self, request_id: &str) -> Response<Body> {
        let body = match &self.refusal {
            None => json!({"received": true, "request_id": request_id}),
            // A forger who is told how a signature was wrong has an oracle: one code for all of them.
            Some(told) => {
                let code = if self.status == StatusCode::UNAUTHORIZED { "UNVERIFIED" } else { told.code };
                json!({"error": {"code": code, "message": told.sender, "request_id": request_id}})
            }
        };
        let mut response = Response::new(Body::Text(body.to_string()));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(COME_BACK_SECONDS));
        }
        response
    }
}
