//! A tool's request: what its declaration makes of an input, and what its secrets add to that.

use crate::credentials::{Credentials, required};
use crate::form;
use crate::sign::{signature, timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clawbridge_clock::Timestamp;
use clawbridge_config::{Auth, Carrier, CompiledSign, CompiledTool, Effect, Sign, SignedParts};
use clawbridge_connections::AccessToken;
use clawbridge_oauth::{DpopKey, TokenKind};
use clawbridge_outbound::{Clients, Via, unusable};
use clawbridge_tasks::{Class, Code, TaskError};
use clawbridge_trace::TraceContext;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use ring::rand::SystemRandom;
use serde_json::Value;
use std::fmt::Write as _;

/// Which trace a request belongs to (<https://www.w3.org/TR/trace-context/>).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What a call is made for.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The task's id, which is the request's as well.
    pub task: &'a str,
    /// The attempt as a step of the task's trace; what is sent of it is `traceparent`, unless the tool says otherwise.
    pub step: Option<TraceContext>,
    /// The address at which the upstream may answer later. It lets whoever has it answer, so it is told as little as a credential.
    pub callback: Option<&'a str>,
}

/// A request, complete but for what its secrets add.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) via: Via,
    pub(crate) method: Method,
    pub(crate) url: Url,
    headers: HeaderMap,
    pub(crate) body: Option<Value>,
    /// The task's id, which is the request's as well.
    id: String,
}

/// A request as it is sent. It has no Debug output, because its URL may hold a credential.
pub(crate) struct Complete {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Vec<u8>>,
    /// Its signature, which is to be told as little as a credential.
    pub(crate) signature: Option<String>,
}

impl Prepared {
    /// The request of `tool` for `input`, by `sender`, over `clients`; `bridge_url` is where `bridge:` leads.
    ///
    /// # Errors
    /// What of the input does not fit, or an address that may not be called.
    pub(crate) fn new(
        clients: &Clients,
        bridge_url: &str,
        tool: &CompiledTool,
        input: &Value,
        sender: &Sender<'_>,
    ) -> Result<Prepared, TaskError> {
        let (url, inside) = address(bridge_url, tool, input)?;
        if !inside {
            clients.check_literal(&url)?;
        }
        let method = Method::from_bytes(tool.tool().method.as_str().as_bytes())
            .map_err(|error| invalid(format!("method: {error}")))?;
        let body = tool.body(input).map_err(|error| invalid(format!("body: {error}")))?;
        let via = match (inside, tool.tool().effect) {
            (true, _) => Via::Inside,
            (false, Effect::Unsafe) => Via::Fresh,
            (false, Effect::Read | Effect::Idempotent | Effect::Keyed) => Via::Shared,
        };
        let headers = headers(tool, input, body.is_some(), sender)?;
        if form::is_form(&headers) && body.as_ref().is_some_and(|body| !body.is_object()) {
            return Err(invalid("body: a form is made of an object".to_owned()));
        }
        Ok(Prepared { via, method, url, headers, body, id: sender.task.to_owned() })
    }

    /// The request with what `credentials` add to it.
    ///
    /// # Errors
    /// A credential that cannot be sent or signed with.
    pub(crate) fn with(
        &self,
        tool: &CompiledTool,
        credentials: &Credentials,
        nonce: Option<&str>,
        now: Timestamp,
    ) -> Result<Complete, TaskError> {
        let mut complete = Complete {
            method: self.method.clone(),
            url: self.url.clone(),
            headers: self.headers.clone(),
            body: self.body.as_ref().map(|body| match form::is_form(&self.headers) {
                true => form::encode(body),
                false => body.to_string().into_bytes(),
            }),
            signature: None,
        };
        if let Some(auth) = &tool.tool().auth {
            match credentials.token.as_ref().filter(|token| token.kind() == TokenKind::Dpop) {
                Some(token) => prove(&mut complete, token, nonce, now)?,
                None => authorize(&mut complete, auth, credentials)?,
            }
        }
        // What is signed is what is sent, a credential in the query included.
        if let (Some(sign), Some(compiled)) = (&tool.tool().sign, tool.sign()) {
            self.sign(&mut complete, sign, compiled, credentials, now)?;
        }
        Ok(complete)
    }

    fn sign(
        &self,
        complete: &mut Complete,
        sign: &Sign,
        compiled: &CompiledSign,
        credentials: &Credentials,
        now: Timestamp,
    ) -> Result<(), TaskError> {
        let timestamp = timestamp(sign.timestamp_unit, now);
        let host = host(&complete.url);
        let parts = SignedParts {
            method: complete.method.as_str(),
            host: &host,
            path: complete.url.path(),
            query: complete.url.query().unwrap_or_default(),
            timestamp: &timestamp,
            id: &self.id,
            body: complete.body.as_deref().unwrap_or_default(),
        };
        let key = credentials.key.as_deref().unwrap_or_default();
        let signature = signature(sign, key, &compiled.over.expand(&parts))
            .ok_or_else(|| unusable(&sign.secret, &format!("is not a key in the encoding {}", sign.secret_encoding)))?;
        let prefix = String::from_utf8_lossy(&compiled.prefix.expand(&parts)).into_owned();
        let mut set = vec![(&sign.header, format!("{prefix}{signature}"), true)];
        set.extend(sign.timestamp_header.as_ref().map(|name| (name, timestamp.clone(), false)));
        set.extend(sign.id_header.as_ref().map(|name| (name, self.id.clone(), false)));
        for (name, value, is_sensitive) in set {
            let (name, mut value) = header_pair(name, &value)?;
            value.set_sensitive(is_sensitive);
            complete.headers.insert(name, value);
        }
        complete.signature = Some(signature);
        Ok(())
    }
}

/// The header `Host` of a request to `url` (RFC 9110, section 7.2).
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Where the request goes, and whether that is the bridge itself.
fn address(bridge_url: &str, tool: &CompiledTool, input: &Value) -> Result<(Url, bool), TaskError> {
    let url = tool.url(input).map_err(|error| invalid(format!("url: {error}")))?;
    let (url, inside) = match url.strip_prefix("bridge:") {
        Some(path) if bridge_url.is_empty() => {
            return Err(invalid(format!(
                "the tool calls the bridge itself (bridge:{path}), and BRIDGE_URL is not set"
            )));
        }
        Some(path) => (format!("{}{path}", bridge_url.trim_end_matches('/')), true),
        None => (url, false),
    };
    let url = Url::parse(&url).map_err(|error| invalid(format!("url: {error}")))?;
    Ok((url, inside))
}

fn headers(tool: &CompiledTool, input: &Value, has_body: bool, sender: &Sender<'_>) -> Result<HeaderMap, TaskError> {
    let mut headers = HeaderMap::new();
    let accept = match tool.tool().graphql {
        // GraphQL over HTTP, section "Accept": servers that know the newer type answer with statuses that mean something.
        Some(_) => "application/graphql-response+json, application/json;q=0.9",
        None => "application/json",
    };
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    // Without it, any coding would be acceptable (RFC 9110, section 12.5.3), and none is undone here.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    for (name, value) in tool.headers(input).map_err(|error| invalid(format!("headers: {error}")))? {
        let (name, value) = header_pair(&name, &value)?;
        headers.insert(name, value);
    }
    if has_body {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    }
    if let Some(name) = &tool.tool().idempotency_header {
        let (name, value) = header_pair(name, sender.task)?;
        headers.insert(name, value);
    }
    let is_declared = tool.tool().headers.keys().any(|name| name.eq_ignore_ascii_case(TRACEPARENT.as_str()));
    if tool.tool().trace
        && !is_declared
        && let Some(value) = sender.step.and_then(|step| step.traceparent())
    {
        let (name, value) = header_pair(TRACEPARENT.as_str(), &value)?;
        // A header that carries something else under this name keeps it.
        headers.entry(name).or_insert(value);
    }
    Ok(headers)
}

fn authorize(complete: &mut Complete, auth: &Auth, credentials: &Credentials) -> Result<(), TaskError> {
    let secret = required(auth, credentials.auth.as_deref())?;
    let (name, mut value) = match &auth.carrier {
        Carrier::Header { name, prefix } => header_pair(name, &format!("{prefix}{secret}"))?,
        Carrier::Query { name } => {
            set_parameter(&mut complete.url, name, secret);
            return Ok(());
        }
        Carrier::Basic { user } => {
            let both = credentials.user_and_password(user.as_deref());
            if !both.contains(':') {
                return Err(unusable(auth.credential.name(), "is not user:password, and auth names no user"));
            }
            header_pair(AUTHORIZATION.as_str(), &format!("Basic {}", STANDARD.encode(both)))?
        }
    };
    value.set_sensitive(true);
    complete.headers.insert(name, value);
    Ok(())
}

/// A token that is bound to a key goes with a proof that the key is there (RFC 9449, section 7.1), wherever the tool would have it.
fn prove(complete: &mut Complete, token: &AccessToken, nonce: Option<&str>, now: Timestamp) -> Result<(), TaskError> {
    let failed = |_| {
        TaskError::unsent(
            Code::CredentialUnavailable,
            Class::Auth,
            "the connection's key cannot sign; connect it again",
        )
    };
    let random = SystemRandom::new();
    let key = DpopKey::read(token.dpop_key().unwrap_or_default(), &random).map_err(failed)?;
    let mut place = complete.url.clone();
    place.set_query(None);
    place.set_fragment(None);
    let method = complete.method.as_str();
    let proof = key.proof(method, place.as_str(), Some(token.value()), nonce, now, &random).map_err(failed)?;
    for (name, value) in [(AUTHORIZATION.as_str(), format!("DPoP {}", token.value())), ("dpop", proof)] {
        let (name, mut value) = header_pair(name, &value)?;
        value.set_sensitive(true);
        complete.headers.insert(name, value);
    }
    Ok(())
}

/// Sets a query parameter, in the place of any that is there by that name.
pub(crate) fn set_parameter(url: &mut Url, name: &str, value: &str) {
    let mut query = String::new();
    for pair in url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let is_it = Url::parse(&format!("x:?{}", pair.split('=').next().unwrap_or_default()))
            .ok()
            .and_then(|pair| pair.query_pairs().next().map(|(found, _)| found == name))
            .unwrap_or(false);
        if !is_it {
            query.push_str(pair);
            query.push('&');
        }
    }
    push_encoded(&mut query, name);
    query.push('=');
    push_encoded(&mut query, value);
    url.set_query(Some(&query));
}

/// `text`, percent-encoded but for unreserved characters.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    push_encoded(&mut encoded, text);
    encoded
}

/// Appends `text`, percent-encoded but for unreserved characters (RFC 3986, section 2.3).
fn push_encoded(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn header_pair(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), TaskError> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid(format!("{name} is not a header name")))?;
    let value =
        HeaderValue::from_str(value).map_err(|_| invalid(format!("the value of header {name} cannot be sent")))?;
    Ok((name, value))
}

/// The call cannot be made as it is.
pub(crate) fn invalid(message: String) -> TaskError {
    TaskError::unsent(Code::ValidationError, Class::Client, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_set_once_whatever_is_there() {
        for (url, expected) in [
            ("https://a.example/", "https://a.example/?api%20key=a%2Fb%26c%20d"),
            ("https://a.example/?x=1&y", "https://a.example/?x=1&y&api%20key=a%2Fb%26c%20d"),
            ("https://a.example/?api%20key=old&x=1&api+key=", "https://a.example/?x=1&api%20key=a%2Fb%26c%20d"),
            ("https://a.example/?&&", "https://a.example/?api%20key=a%2Fb%26c%20d"),
        ] {
            let mut url = Url::parse(url).expect("a URL");
            set_parameter(&mut url, "api key", "a/b&c d");
            assert_eq!(url.as_str(), expected);
        }
    }
}
