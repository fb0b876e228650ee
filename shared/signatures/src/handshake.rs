//! Handshakes: what a provider asks before, or between, its deliveries. The scheme answers; no event is made.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::mac::{Algorithm, Encoding, Mac, same_token};
use crate::pick::pick;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::source::{CheckRow, Source};
use crate::verify::{Verified, verify};

/// The handshake of a scheme, by whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    None,
    Slack,
    Zoom,
    X,
    Meta,
    Graph,
    Dropbox,
    Okta,
    Twitch,
    Discord,
    Intercom,
    Notion,
    Sns,
    GoogleChannel,
    Line,
}

/// An answer that the provider expects to the letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `content-type`; no header without it. Never a type that a browser would run.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: Vec<u8>,
}

/// What a request is that is answered before any signature is looked at.
#[derive(Clone, PartialEq, Eq)]
pub enum Greeting {
    /// A handshake that the provider does not sign: this is the answer.
    Reply(Reply),
    /// The provider tells the source's secret, once, and expects the answer. It counts only while the source waits for it
    /// ([`Source::is_pending`]).
    Secret {
        /// The secret. Handle it as what it is.
        secret: String,
        /// The answer.
        reply: Reply,
    },
}

// The secret is not shown.
impl std::fmt::Debug for Greeting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reply(reply) => f.debug_tuple("Reply").field(reply).finish(),
            Self::Secret { reply, .. } => f.debug_struct("Secret").field("reply", reply).finish_non_exhaustive(),
        }
    }
}

/// The longest text that is repeated to whoever asks, in bytes.
const MAX_ECHO: usize = 2048;

impl Reply {
    fn text(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, content_type: Some("text/plain"), body: body.into() }
    }

    pub(crate) fn json(body: &Value) -> Self {
        Self { status: 200, content_type: Some("application/json"), body: body.to_string().into_bytes() }
    }

    pub(crate) const fn empty(status: u16) -> Self {
        Self { status, content_type: None, body: Vec::new() }
    }
}

/// The handshake in a request that no signature comes with, if it is one. `None`: the request must be verified.
///
/// Whoever knows the address can ask for one, so the caller bounds how often it answers. What is repeated is short and plain: no control
/// characters and nothing that a browser could take for markup.
///
/// # Errors
/// It is a handshake and asks with a token that is not the source's (Meta, Okta): to be answered 403.
pub fn greet(source: &Source, request: &Request<'_>) -> Option<Result<Greeting, Refusal>> {
    let parameter = |name: &str| parameter(request.query, name);
    let reply = match (source.scheme().entry().handshake, request.method) {
        (Handshake::Meta, "GET") => {
            let challenge = parameter("hub.challenge").filter(|_| request.query.contains("hub.mode=subscribe"))?;
            let asked = parameter("hub.verify_token").unwrap_or_default();
            let expected = source.options().verify_token.as_deref().unwrap_or_default();
            if expected.is_empty() || !same_token(asked.as_bytes(), expected.as_bytes()) {
                return Some(Err(Refusal::ClaimMismatch {
                    claim: "hub.verify_token",
                    expected: "the source's verify_token".into(),
                }));
            }
            Reply::text(challenge)
        }
        (Handshake::X, "GET") => {
            let token = parameter("crc_token").filter(|token| is_challenge(token))?;
            let key = source.keys().next()?;
            let response = format!("sha256={}", Encoding::Base64.encode(&mac(key, token.as_bytes())));
            Reply::json(&json!({ "response_token": response }))
        }
        (Handshake::Dropbox, "GET") => Reply::text(parameter("challenge")?),
        (Handshake::Okta, "GET") => {
            let value = request.headers.one("X-Okta-Verification-Challenge").ok().flatten()?;
            // Okta sends the hook's token along. The hook may be verified before it has one, so none is asked for; a wrong one is told.
            if let CheckRow::Token(places) = source.check()
                && places.iter().any(|place| request.headers.all(place.header).next().is_some())
                // A token has no time.
                && let Err(refusal) = verify(source, request, 0)
            {
                return Some(Err(refusal));
            }
            let challenge = std::str::from_utf8(value).ok().filter(|text| is_plain(text))?;
            Reply::json(&json!({ "verification": challenge }))
        }
        (Handshake::Graph, "POST") => Reply::text(parameter("validationToken")?),
        (Handshake::Intercom, "HEAD") => Reply::empty(200),
        (Handshake::Notion, "POST") if source.is_pending() => {
            let members: serde_json::Map<String, Value> = serde_json::from_slice(request.body).ok()?;
            let secret = members.get("verification_token").filter(|_| members.len() == 1)?.as_str()?;
            let good = is_plain(secret) && secret.len() >= 16;
            return good.then(|| Ok(Greeting::Secret { secret: secret.to_owned(), reply: Reply::empty(200) }));
        }
        _ => return None,
    };
    Some(Ok(Greeting::Reply(reply)))
}

/// Whether a verified body could as well be the answer to a challenge. X has the deliveries' own secret sign whatever text anybody asks it to
/// in a challenge, so only bodies that no challenge can be ([`greet`] signs no braces) prove anything.
pub fn may_be_challenge(source: &Source, verified: &Verified<'_>) -> bool {
    source.scheme().entry().handshake == Handshake::X && !verified.body().starts_with(b"{")
}

/// What a challenge of X's is made of.
fn is_challenge(text: &str) -> bool {
    text.len() <= 256 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
}

/// The handshake in a request that was verified, if it is one.
pub(crate) fn answer(source: &Source, verified: &Verified<'_>) -> Option<Reply> {
    let handshake = source.scheme().entry().handshake;
    let text = |pointer: &str| {
        let [text] = pick(verified.body(), [Some(pointer)]);
        text.filter(|text| text.len() <= MAX_ECHO)
    };
    let is = |pointer: &str, value: &str| text(pointer).is_some_and(|text| text == value);
    let header = |name: &str| verified.headers().one(name).ok().flatten();
    match handshake {
        Handshake::Slack if is("/type", "url_verification") => Some(Reply::text(text("/challenge")?)),
        Handshake::Zoom if is("/event", "endpoint.url_validation") => {
            let token = text("/payload/plainToken")?;
            let key = source.keys().nth(verified.secret_index())?;
            let encrypted = Encoding::Hex.encode(&mac(key, token.as_bytes()));
            Some(Reply::json(&json!({ "plainToken": token, "encryptedToken": encrypted })))
        }
        Handshake::Twitch
            if header("Twitch-Eventsub-Message-Type") == Some(b"webhook_callback_verification".as_slice()) =>
        {
            Some(Reply::text(text("/challenge")?))
        }
        // An interaction says its type alone; a webhook event has the application's id at the top and a version.
        Handshake::Discord if is("/type", "0") && text("/version").is_some() => Some(Reply::empty(204)),
        Handshake::Discord if is("/type", "1") && text("/event/type").is_none() => {
            Some(Reply::json(&json!({"type": 1})))
        }
        Handshake::GoogleChannel if header("X-Goog-Resource-State") == Some(b"sync".as_slice()) => {
            Some(Reply::empty(200))
        }
        // https://developers.line.biz/en/reference/messaging-api/#request-body: no events, to see whether somebody is there.
        Handshake::Line => {
            let asked: LineRequest = serde_json::from_slice(verified.body()).ok()?;
            asked.events.is_empty().then(|| Reply::empty(200))
        }
        _ => None,
    }
}

#[derive(Deserialize)]
struct LineRequest {
    events: Vec<IgnoredAny>,
}

fn mac(key: &[u8], bytes: &[u8]) -> crate::mac::Tag {
    let mut mac = Mac::new(Algorithm::Sha256, key);
    mac.update(bytes);
    mac.finish()
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_ECHO && text.chars().all(|c| !c.is_control() && c != '<' && c != '>')
}

/// A parameter of the query, decoded, if it may be repeated.
fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    crate::code::form_decoded(value.as_bytes()).filter(|text| is_plain(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_okta_sends_along_must_be_the_sources() {
        let source = Source::from_secret(br#"{"scheme":"okta","secrets":["Basic b2t0YTprZXk="]}"#).expect("a source");
        let challenge: (&str, &[u8]) = ("X-Okta-Verification-Challenge", b"my-value");
        let asked = |authorization: Option<&[u8]>| {
            let authorization = authorization.map(|value| ("Authorization", value));
            let headers = [challenge].into_iter().chain(authorization).collect();
            greet(&source, &Request { method: "GET", url: None, query: "", headers, body: b"" })
        };
        let answered = Reply::json(&json!({"verification": "my-value"}));
        for token in [None, Some(&b"Basic b2t0YTprZXk="[..])] {
            assert_eq!(asked(token), Some(Ok(Greeting::Reply(answered.clone()))));
        }
        let refusal = asked(Some(b"Basic d3Jvbmc=")).expect("a handshake").expect_err("a wrong token");
        assert_eq!(refusal.code(), "SIGNATURE_MISMATCH");
    }
}
