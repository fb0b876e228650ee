//! One call.

use crate::classify::{Answer, classify, unexpected};
use crate::client::{Clients, Received, Via, exchange};
use crate::redact::Redaction;
use clawbridge_config::{Compiled, CompiledTool, Effect, Violation};
use clawbridge_secrets::{SecretError, SecretValue, Secrets, Stage};
use clawbridge_tasks::{Class, Code, TaskError};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Url};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A request that has less time than this is not begun.
const SHORTEST_REQUEST: Duration = Duration::from_millis(50);

/// What came of a call.
#[derive(Clone, Debug)]
pub struct Called {
    /// The result, or the error.
    pub answer: Result<Value, TaskError>,
    /// HTTP status of the upstream, if it answered.
    pub status: Option<u16>,
}

impl Called {
    /// A call that was not made.
    #[must_use]
    pub fn unsent(error: TaskError) -> Called {
        Called { status: error.status, answer: Err(error) }
    }
}

/// Makes calls for one configuration. Clones share connections and the cache of secrets.
#[derive(Clone, Debug)]
pub struct Caller {
    clients: Clients,
    secrets: Secrets,
    deployment: Deployment,
}

/// What tools need to know about the stack that they run in.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Where `bridge:` addresses lead; empty if nowhere.
    pub bridge_url: Arc<str>,
    /// What stands for the first part of secrets' names, `clawbridge` in bridge.toml: one document serves several stacks.
    pub secret_prefix: Arc<str>,
}

impl Deployment {
    /// The name in this stack of a secret that bridge.toml names.
    #[must_use]
    pub fn secret_name(&self, declared: &str) -> String {
        match declared.strip_prefix("clawbridge/") {
            Some(rest) => format!("{}/{rest}", self.secret_prefix),
            None => declared.to_owned(),
        }
    }
}

/// A request, complete but for its credential.
struct Prepared {
    client: Client,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

impl Caller {
    /// For the tools of `config`.
    #[must_use]
    pub fn new(config: Arc<Compiled>, secrets: Secrets, deployment: Deployment) -> Caller {
        Caller { clients: Clients::new(config), secrets, deployment }
    }

    /// Calls `tool` with `input`, as the task named `task`, within the tool's time limit and `left`: reading the secret, and a second call
    /// with a newer one, included. The task's lease counts on that.
    pub async fn call(&self, tool: &CompiledTool, input: &Value, task: &str, left: Duration) -> Called {
        let end = Instant::now() + tool.tool().timeout.duration().min(left);
        match self.attempt(tool, input, task, end).await {
            Ok((status, result)) => Called { answer: Ok(result), status: Some(status) },
            // For a tool that only reads, that there is nothing is an answer.
            Err(error) if error.code == Code::NotFound && tool.tool().effect == Effect::Read => {
                Called { status: error.status, answer: Ok(Value::Null) }
            }
            Err(error) => Called::unsent(error),
        }
    }

    async fn attempt(
        &self,
        tool: &CompiledTool,
        input: &Value,
        task: &str,
        end: Instant,
    ) -> Result<(u16, Value), TaskError> {
        tool.check_input(input).map_err(|violations| {
            invalid(format!("the input does not fit the tool's input schema: {}", list(&violations)))
        })?;
        let prepared = self.prepare(tool, input, task)?;
        let mut secret = self.secret(tool).await?;
        let mut received = send(&prepared, tool, secret.as_deref(), time_left(end)?).await?;
        if received.status == 401
            && let Some(newer) = self.newer_secret(tool, secret.as_deref()).await
        {
            // The key was rotated since it was last read. A call that was refused as unauthenticated has not acted.
            secret = Some(newer);
            received = send(&prepared, tool, secret.as_deref(), time_left(end)?).await?;
        }
        let header = |name: HeaderName| received.headers.get(name).and_then(|value| value.to_str().ok());
        let answer = Answer {
            status: received.status,
            content_type: header(CONTENT_TYPE).unwrap_or_default(),
            retry_after: header(RETRY_AFTER),
            location: header(LOCATION),
            body: &received.body,
        };
        let redaction = Redaction::of(secret.as_deref());
        if received.cut && (200..300).contains(&received.status) {
            let reason = format!("the answer is larger than max_response, {} bytes", tool.tool().max_response.bytes());
            return Err(unexpected(&answer, &redaction, &reason));
        }
        let content = classify(&answer, &redaction, SystemTime::now())?;
        let result = project(tool, input, content, &received, &redaction)
            .map_err(|reason| unexpected(&answer, &redaction, &reason))?;
        tool.check_output(&result).map_err(|violations| {
            let reason = format!("the answer does not fit the tool's output schema: {}", list(&violations));
            unexpected(&answer, &redaction, &reason)
        })?;
        Ok((received.status, result))
    }

    fn prepare(&self, tool: &CompiledTool, input: &Value, task: &str) -> Result<Prepared, TaskError> {
        let url = tool.url(input).map_err(|error| invalid(format!("url: {error}")))?;
        let (url, inside) = match url.strip_prefix("bridge:") {
            Some(path) if self.deployment.bridge_url.is_empty() => {
                return Err(invalid(format!(
                    "the tool calls the bridge itself (bridge:{path}), and BRIDGE_URL is not set"
                )));
            }
            Some(path) => (format!("{}{path}", self.deployment.bridge_url.trim_end_matches('/')), true),
            None => (url, false),
        };
        let url = Url::parse(&url).map_err(|error| invalid(format!("url: {error}")))?;
        if !inside {
            self.clients.check_literal(&url)?;
        }
        let method = Method::from_bytes(tool.tool().method.as_str().as_bytes())
            .map_err(|error| invalid(format!("method: {error}")))?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        for (name, value) in tool.headers(input).map_err(|error| invalid(format!("headers: {error}")))? {
            let (name, value) = header_pair(&name, &value)?;
            headers.insert(name, value);
        }
        let body = tool
            .body(input)
            .map_err(|error| invalid(format!("body: {error}")))?
            .map(|body| body.to_string().into_bytes());
        if body.is_some() {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        }
        if let Some(name) = &tool.tool().idempotency_header {
            let (name, value) = header_pair(name, task)?;
            headers.insert(name, value);
        }
        let via = match (inside, tool.tool().effect) {
            (true, _) => Via::Inside,
            (false, Effect::Unsafe) => Via::Fresh,
            (false, Effect::Read | Effect::Idempotent | Effect::Keyed) => Via::Shared,
        };
        Ok(Prepared { client: self.clients.get(via)?, method, url, headers, body })
    }

    async fn secret(&self, tool: &CompiledTool) -> Result<Option<String>, TaskError> {
        let Some(auth) = &tool.tool().auth else { return Ok(None) };
        credential(&self.secrets, &self.deployment, &auth.secret).await.map(Some)
    }

    /// The secret as it is now, if it is not the one that was just refused.
    async fn newer_secret(&self, tool: &CompiledTool, refused: Option<&str>) -> Option<String> {
        let auth = tool.tool().auth.as_ref()?;
        let value = self.secrets.get_again(&self.deployment.secret_name(&auth.secret), Stage::Current).await.ok()?;
        readable(&auth.secret, &value).ok().filter(|secret| Some(secret.as_str()) != refused)
    }
}

/// What the tool's `result` makes of an answer, or why it makes nothing of it.
fn project(
    tool: &CompiledTool,
    input: &Value,
    content: Value,
    received: &Received,
    redaction: &Redaction,
) -> Result<Value, String> {
    if tool.tool().result.is_none() {
        return Ok(content);
    }
    let view = json!({
        "answer": content,
        "status": received.status,
        "headers": shown_headers(&received.headers, redaction),
        "input": input,
    });
    let result = tool.result(&view).map_err(|error| format!("result: {error}"))?;
    Ok(result.unwrap_or_default())
}

/// An answer's headers: names in lower case, those that were sent several times joined (RFC 9110, section 5.3).
fn shown_headers(headers: &HeaderMap, redaction: &Redaction) -> Map<String, Value> {
    let joined = |name: &HeaderName| {
        let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        Value::String(redaction.text(&values.join(", ")))
    };
    headers.keys().map(|name| (name.as_str().to_owned(), joined(name))).collect()
}

/// What is left for a request. Nothing of it was sent so far.
fn time_left(end: Instant) -> Result<Duration, TaskError> {
    let left = end.saturating_duration_since(Instant::now());
    if left < SHORTEST_REQUEST {
        let message = "reading the tool's secret took the time that the call has";
        return Err(TaskError::unsent(Code::Timeout, Class::Transient, message));
    }
    Ok(left)
}

async fn send(
    prepared: &Prepared,
    tool: &CompiledTool,
    secret: Option<&str>,
    limit: Duration,
) -> Result<Received, TaskError> {
    let mut headers = prepared.headers.clone();
    if let (Some(auth), Some(secret)) = (&tool.tool().auth, secret) {
        let (name, mut value) = header_pair(&auth.header, &format!("{}{secret}", auth.prefix))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let mut request =
        prepared.client.request(prepared.method.clone(), prepared.url.clone()).headers(headers).timeout(limit);
    if let Some(body) = &prepared.body {
        request = request.body(body.clone());
    }
    exchange(request, tool.tool().max_response.bytes()).await
}

/// The value of the secret that bridge.toml calls `declared`, as text that a header can carry.
///
/// # Errors
/// [`Code::CredentialUnavailable`]: of class `auth` where a person has to set it, transient where Secrets Manager did not answer.
pub async fn credential(secrets: &Secrets, deployment: &Deployment, declared: &str) -> Result<String, TaskError> {
    match secrets.get(&deployment.secret_name(declared), Stage::Current).await {
        Ok(value) => readable(declared, &value),
        Err(error @ SecretError::Missing { .. }) => {
            let message = format!("{error}; `clawbridge secret set {declared}` makes it");
            Err(TaskError::unsent(Code::CredentialUnavailable, Class::Auth, message))
        }
        Err(error @ (SecretError::Unavailable { .. } | SecretError::Throttled { .. })) => {
            Err(TaskError::unsent(Code::CredentialUnavailable, Class::Transient, error.to_string()))
        }
    }
}

fn readable(declared: &str, value: &SecretValue) -> Result<String, TaskError> {
    let text = std::str::from_utf8(value.expose()).map(str::trim).unwrap_or_default();
    if text.is_empty() || !text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        let message = format!("the secret {declared} is empty or not a text that a header can carry; set it again");
        return Err(TaskError::unsent(Code::CredentialUnavailable, Class::Auth, message));
    }
    Ok(text.to_owned())
}

fn header_pair(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), TaskError> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid(format!("{name} is not a header name")))?;
    let value =
        HeaderValue::from_str(value).map_err(|_| invalid(format!("the value of header {name} cannot be sent")))?;
    Ok((name, value))
}

fn invalid(message: String) -> TaskError {
    TaskError::unsent(Code::ValidationError, Class::Client, message)
}

fn list(violations: &[Violation]) -> String {
    let shown: Vec<String> = violations.iter().take(5).map(ToString::to_string).collect();
    let more = violations.len().saturating_sub(shown.len());
    if more == 0 { shown.join("; ") } else { format!("{}; and {more} more", shown.join("; ")) }
}
