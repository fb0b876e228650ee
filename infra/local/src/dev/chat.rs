//! A page that talks to the agent: `GET /chat` on the private port.
//!
//! It connects to the channel on the public port, as any browser's page would, with a token of its own: made at each start and kept in memory
//! alone, and the one before is revoked. The token is given to this page only: the server answers no host but this machine's own names (a
//! foreign page whose name leads here is refused), and a request for the token must come from the page's own origin.

use crate::dev::echo::json_response;
use crate::failure::Failure;
use crate::random;
use bytes::Bytes;
use clawbridge_access::{Scope, Token, TokenRecord};
use clawbridge_clock::Timestamp;
use clawbridge_registry::Registry;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, REFERRER_POLICY};
use http::header::{HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{Method, Request, Response, StatusCode};
use serde_json::json;
use std::sync::{Arc, OnceLock};

/// What the page's token is called.
const TOKEN_NAME: &str = "dev-chat";

/// The page's files: path, type, content.
const FILES: [(&str, &str, &str); 5] = [
    ("/chat", "text/html; charset=utf-8", include_str!("chat/page.html")),
    ("/chat/page.css", "text/css; charset=utf-8", include_str!("chat/page.css")),
    ("/chat/page.js", "text/javascript; charset=utf-8", include_str!("chat/page.js")),
    ("/chat/turns.js", "text/javascript; charset=utf-8", include_str!("chat/turns.js")),
    ("/chat/markdown.js", "text/javascript; charset=utf-8", include_str!("chat/markdown.js")),
];

/// The page. Clones share its token.
#[derive(Clone, Default)]
pub(super) struct Chat {
    access: Arc<OnceLock<Access>>,
}

struct Access {
    token: Token,
    /// `ws://…/responses`
    channel: String,
}

impl Chat {
    /// Makes the token that the page uses from now on; the one before is refused. `channel` is the channel's address.
    ///
    /// # Errors
    /// The registry could not be written.
    pub(super) async fn provide(&self, registry: &Registry, channel: &str) -> Result<(), Failure> {
        let unavailable =
            |reason: String| Failure::new("STATE_UNAVAILABLE", format!("the token of the page: {reason}"));
        let (token, now) = (random::token(), Timestamp::now());
        let record = TokenRecord {
            hash: token.hash(),
            name: TOKEN_NAME.to_owned(),
            scopes: vec![Scope::Execute],
            created_at: now,
            expires_at: None,
            last_used_at: None,
            rate: None,
        };
        registry.revoke_token(TOKEN_NAME).await.map_err(|error| unavailable(error.to_string()))?;
        registry.put_token(&record, now).await.map_err(|error| unavailable(error.to_string()))?;
        drop(self.access.set(Access { token, channel: channel.to_owned() }));
        Ok(())
    }

    /// Answers a request for `/chat` or what is below it.
    pub(super) fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let Some(access) = self.access.get() else {
            let message = json!({"message": "the bridge is starting; try again in a moment"});
            return with_headers(json_response(StatusCode::SERVICE_UNAVAILABLE, &message), "");
        };
        let path = request.uri().path();
        let response = match FILES.iter().find(|(file, _, _)| *file == path) {
            Some((_, kind, content)) if request.method() == Method::GET => page(kind, content),
            None if path == "/chat/session" && request.method() == Method::POST => session(request, access),
            Some(_) => json_response(StatusCode::METHOD_NOT_ALLOWED, &json!({"message": "it can be read, with GET"})),
            None => json_response(StatusCode::NOT_FOUND, &json!({"message": "Not Found"})),
        };
        with_headers(response, &access.channel)
    }
}

fn page(kind: &'static str, content: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(content.as_bytes()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// What the page connects with. Browsers say with each POST where it comes from (Fetch, "append a request Origin header").
fn session(request: &Request<Bytes>, access: &Access) -> Response<Bytes> {
    let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let own = header(HOST).map(|host| format!("http://{host}"));
    if own.is_none() || header(ORIGIN) != own.as_deref() {
        return json_response(StatusCode::FORBIDDEN, &json!({"message": "only the page itself gets this"}));
    }
    json_response(StatusCode::OK, &json!({"url": access.channel, "token": access.token.reveal()}))
}

/// Nothing is kept, framed, or fetched from elsewhere; text does not become markup (Content Security Policy Level 3, Trusted Types).
fn with_headers(mut response: Response<Bytes>, channel: &str) -> Response<Bytes> {
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' {channel}; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    );
    let headers = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    ] {
        headers.insert(name, value);
    }
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
