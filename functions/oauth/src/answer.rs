//! What a browser gets: a redirect to the provider, or a page.

use crate::page;
use clawbridge_oauth::Failure;
use lambda_http::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION, REFERRER_POLICY, RETRY_AFTER,
    SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use lambda_http::http::{HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use std::fmt::Display;

/// One answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// To the provider. Both values have secrets in them.
    Away { location: String, cookie: String },
    /// There is such a link, and nothing was done.
    There,
    /// An account is connected.
    Connected { title: String, account: String, scopes: Vec<String> },
    /// It is not.
    Refused(Refusal, String),
}

/// Why nothing was connected.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// With what only the operator is told besides.
    Failure(Failure, Option<String>),
    /// A method that means nothing here; those that do.
    Method(&'static [&'static str]),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        Refusal::Failure(failure, None)
    }
}

impl Refusal {
    pub(crate) fn method(allowed: &'static [&'static str]) -> Refusal {
        Refusal::Method(allowed)
    }

    /// The bridge itself is at fault. It may pass.
    pub(crate) fn ours(reason: impl Display) -> Refusal {
        Refusal::Failure(Failure::NotStored, Some(reason.to_string()))
    }

    /// With something for the operator.
    pub(crate) fn noted(failure: Failure, note: impl Display) -> Refusal {
        Refusal::Failure(failure, Some(note.to_string()))
    }

    pub(crate) fn code(&self) -> &'static str {
        match self {
            Refusal::Failure(failure, _) => failure.code(),
            Refusal::Method(_) => "METHOD_NOT_ALLOWED",
        }
    }

    pub(crate) fn status(&self) -> u16 {
        match self {
            Refusal::Failure(failure, _) => failure.status(),
            Refusal::Method(_) => 405,
        }
    }

    /// For the operator.
    pub(crate) fn reason(&self) -> String {
        match self {
            Refusal::Failure(failure, None) => failure.to_string(),
            // The sentence of this one is about tokens, which there may be none of yet.
            Refusal::Failure(Failure::NotStored, Some(note)) => note.clone(),
            Refusal::Failure(failure, Some(note)) => format!("{failure}; {note}"),
            Refusal::Method(allowed) => format!("this address answers {}", allowed.join(" and ")),
        }
    }

    /// For the person.
    fn said(&self, title: &str) -> String {
        match self {
            Refusal::Failure(failure, _) => failure.for_person(title),
            Refusal::Method(_) => {
                "This address is not meant to be used this way. Open the link that you were given.".into()
            }
        }
    }

    fn missing(&self) -> &[String] {
        match self {
            Refusal::Failure(Failure::ScopesMissing(missing), _) => missing,
            Refusal::Failure(..) | Refusal::Method(_) => &[],
        }
    }
}

impl Answer {
    pub(crate) fn into_response(self, without_body: bool) -> Response<Body> {
        let (status, text) = match &self {
            Answer::Away { .. } => (302, String::new()),
            Answer::There => (200, String::new()),
            Answer::Connected { title, account, scopes } => (200, page::connected(title, account, scopes)),
            Answer::Refused(refusal, title) => {
                (refusal.status(), page::refused(&refusal.said(title), refusal.missing(), refusal.code()))
            }
        };
        let has_page = !text.is_empty();
        let body = if without_body || !has_page { Body::Empty } else { Body::Text(text) };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut set = |name: HeaderName, value: &str| {
            // What is not a header's value was checked to be one: addresses and cookies are ASCII.
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        };
        set(CACHE_CONTROL, "no-store");
        // The address has a code or a ticket in it.
        set(REFERRER_POLICY, "no-referrer");
        set(X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(CONTENT_SECURITY_POLICY, page::policy());
        if has_page {
            set(CONTENT_TYPE, "text/html; charset=utf-8");
        }
        match &self {
            Answer::Away { location, cookie } => {
                set(LOCATION, location);
                set(SET_COOKIE, cookie);
            }
            Answer::Refused(Refusal::Method(allowed), _) => set(ALLOW, &allowed.join(", ")),
            Answer::Refused(Refusal::Failure(Failure::NotStored, _), _) => set(RETRY_AFTER, "30"),
            Answer::There | Answer::Connected { .. } | Answer::Refused(..) => {}
        }
        response
    }
}
