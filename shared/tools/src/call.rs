//! One call.

use crate::classify::{Answer, classify, unexpected};
use crate::credentials::Credentials;
use crate::elsewhere::{StandIns, Upstreams, failure};
use crate::excerpt::{excerpt, is_readable};
use crate::graphql;
use crate::pages::Walk;
use crate::quota::{Quota, quota, request_id};
use crate::redact::Redaction;
use crate::request::{Prepared, Sender, invalid};
use crate::tokens::{Tokens, unreachable};
use clawbridge_clock::Timestamp;
use clawbridge_config::{Compiled, CompiledPages, CompiledTool, Effect, Pages, Violation};
use clawbridge_connections::Connections;
use clawbridge_outbound::{Clients, Received, Via, exchange};
use clawbridge_secrets::Secrets;
use clawbridge_tasks::{Class, Code, TaskError};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// RFC 9449, section 8.
const DPOP_NONCE: &str = "dpop-nonce";

/// A request that has less time than this is not begun.
const SHORTEST_REQUEST: Duration = Duration::from_millis(50);

/// What came of a call.
#[derive(Clone, Debug)]
pub struct Called {
    /// The result, or the error.
    pub answer: Result<Value, TaskError>,
    /// HTTP status of the upstream, if it answered.
    pub status: Option<u16>,
    /// How many more calls the upstream takes, if it said so last.
    pub quota: Option<Quota>,
    /// What the upstream calls the last request, if it said so.
    pub request_id: Option<String>,
    /// What a log may have of the answer where the call failed: the beginning, without credentials and without what the input says.
    pub excerpt: Option<String>,
    /// Requests that were answered or may have been received: pages, and one more where a newer secret was tried.
    pub requests: u32,
    /// Bytes of the bodies that were sent.
    pub sent_bytes: u64,
    /// Bytes of the bodies that were received, as far as they were read.
    pub received_bytes: u64,
}

impl Called {
    /// A call that was not made.
    #[must_use]
    pub fn unsent(error: TaskError) -> Called {
        Called {
            status: error.status,
            answer: Err(error),
            quota: None,
            request_id: None,
            excerpt: None,
            requests: 0,
            sent_bytes: 0,
            received_bytes: 0,
        }
    }
}

/// Makes calls for one configuration. Clones share connections and the cache of secrets.
#[derive(Clone, Debug)]
pub struct Caller {
    clients: Clients,
    secrets: Secrets,
    tokens: Option<Tokens>,
    deployment: Deployment,
}

/// What tools need to know about the stack that they run in.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Where `bridge:` addresses lead; empty if nowhere.
    pub bridge_url: Arc<str>,
    /// What stands for the first part of secrets' names, `clawbridge` in bridge.toml: one document serves several stacks.
    pub secret_prefix: Arc<str>,
    /// Where calls are led instead of to their upstreams: never in AWS.
    pub upstreams: Option<Upstreams>,
}

impl Deployment {
    /// The name in this stack of a secret that bridge.toml names.
    #[must_use]
    pub fn secret_name(&self, declared: &str) -> String {
        clawbridge_secrets::name_in_stack(&self.secret_prefix, declared)
    }
}

impl Caller {
    /// For the tools of `config`. Without `connections` those whose credential is a connection's token cannot be called.
    #[must_use]
    pub fn new(
        config: Arc<Compiled>,
        secrets: Secrets,
        connections: Option<Connections>,
        deployment: Deployment,
    ) -> Caller {
        let tokens = connections.map(|connections| Tokens::new(connections, &config));
        Caller { clients: Clients::new(config), secrets, tokens, deployment }
    }

    /// Calls `tool` with `input`, for `sender`, within [`CompiledTool::attempt_time`] and `left`: reading the secrets, a second call
    /// with newer ones, and all pages included. The task's lease counts on that. Where the upstream answers later, the tool's templates and
    /// `body` find the address in the input.
    pub async fn call(&self, tool: &CompiledTool, input: &Value, sender: &Sender<'_>, left: Duration) -> Called {
        let last = Instant::now() + left;
        let mut call = Call {
            caller: self,
            tool,
            sender,
            last,
            // Known when there is a token: until then the call's own time has not begun.
            end: last,
            credentials: Credentials::default(),
            nonce: None,
            has_proven: false,
            has_renewed: false,
            room: tool.tool().max_response.bytes(),
            is_cut: false,
            is_readable: false,
            // Whatever comes of it takes the place of this error.
            called: Called::unsent(invalid(String::new())),
        };
        let answer = call.make(input).await;
        let status = answer.as_ref().map_or_else(|error| error.status, |_| call.called.status);
        let answer = match answer {
            // For a tool that only reads, that there is nothing is an answer.
            Err(error) if error.code == Code::NotFound && tool.tool().effect == Effect::Read => Ok(Value::Null),
            answer => answer,
        };
        let excerpt = answer.as_ref().err().and_then(|error| call.excerpt(error, input));
        Called { answer, status, excerpt, ..call.called }
    }
}

impl Caller {
    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    pub(crate) fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    fn stand_ins(&self) -> StandIns {
        self.deployment.upstreams.as_ref().map_or(StandIns::Never, Upstreams::stand_ins)
    }

    async fn credentials(&self, tool: &CompiledTool, input: &Value, last: Instant) -> Result<Credentials, TaskError> {
        match self.stand_ins() {
            StandIns::Always => Ok(Credentials::stand_ins(tool)),
            StandIns::Missing => {
                let read = self.own_credentials(tool, input, last).await;
                Ok(read.unwrap_or_else(|_| Credentials::stand_ins(tool)))
            }
            StandIns::Never => self.own_credentials(tool, input, last).await,
        }
    }

    async fn own_credentials(
        &self,
        tool: &CompiledTool,
        input: &Value,
        last: Instant,
    ) -> Result<Credentials, TaskError> {
        let token = match (tool.connection(), &self.tokens) {
            (None, _) => None,
            (Some(_), None) => return Err(unreachable()),
            (Some(connection), Some(tokens)) => Some(tokens.get(connection, input, last).await?),
        };
        Credentials::read(&self.secrets, &self.deployment, tool, token).await
    }

    /// Other credentials than these, which were refused, if there are any.
    async fn newer(&self, call: &Call<'_>, input: &Value) -> Result<Option<Credentials>, TaskError> {
        let token = match (call.tool.connection(), &self.tokens, &call.credentials.token) {
            (Some(connection), Some(tokens), Some(token)) => {
                let newer = tokens.refused(connection, input, token, call.end).await?;
                Some(newer.unwrap_or_else(|| token.clone()))
            }
            (_, _, token) => token.clone(),
        };
        Ok(call.credentials.newer(&self.secrets, &self.deployment, call.tool, token).await)
    }
}

/// A call that is under way.
struct Call<'a> {
    caller: &'a Caller,
    tool: &'a CompiledTool,
    sender: &'a Sender<'a>,
    /// When all of it is over.
    last: Instant,
    /// When the requests are over.
    end: Instant,
    credentials: Credentials,
    /// What the upstream wants proofs of possession to be made with (RFC 9449, section 9).
    nonce: Option<String>,
    /// A proof was made with it. Once is enough.
    has_proven: bool,
    /// Secrets were read again because those in hand were refused. Once is enough.
    has_renewed: bool,
    /// How many bytes of answers may still be read.
    room: usize,
    /// The last answer had more.
    is_cut: bool,
    /// The last answer could be looked through for what it must not tell.
    is_readable: bool,
    /// What is known of it so far.
    called: Called,
}

/// An answer that is none of those that end the call.
struct Page {
    content: Value,
    /// GraphQL errors beside the data, where the tool takes partial data.
    errors: Vec<Value>,
    received: Received,
    redaction: Redaction,
}

impl Page {
    /// The error that this answer is after all.
    fn unexpected(&self, reason: &str) -> TaskError {
        unexpected(&answer(&self.received, None), &self.redaction, reason)
    }
}

impl Call<'_> {
    async fn make(&mut self, input: &Value) -> Result<Value, TaskError> {
        check_input(self.tool, input)?;
        let caller = self.caller;
        let seen = with_callback(self.tool, input, self.sender.callback)?;
        let prepared = Prepared::new(&caller.clients, &caller.deployment.bridge_url, self.tool, &seen, self.sender)?;
        self.credentials = caller.credentials(self.tool, input, self.last).await?;
        self.end = self.last.min(Instant::now() + self.tool.tool().timeout.duration());
        let mut page = match paged(self.tool) {
            Some((declared, programs)) => self.pages(&prepared, input, declared, programs).await?,
            None => self.fetch(&prepared, input).await?,
        };
        let content = std::mem::take(&mut page.content);
        let result = project(self.tool, input, content, &page).map_err(|reason| page.unexpected(&reason))?;
        // Of a job this is the receipt, not the output.
        if self.tool.job().is_none() {
            check_output(self.tool, &result).map_err(|reason| page.unexpected(&reason))?;
        }
        Ok(result)
    }

    /// The pages of a list, one after the other, as one answer.
    async fn pages(
        &mut self,
        prepared: &Prepared,
        input: &Value,
        declared: &Pages,
        programs: &CompiledPages,
    ) -> Result<Page, TaskError> {
        let mut walk = Walk::new(declared, programs, self.tool.tool().graphql.is_some());
        let mut errors = Vec::new();
        let mut request = walk.request(prepared, &walk.first()).map_err(invalid)?;
        let mut page = self.fetch(&request, input).await?;
        loop {
            errors.append(&mut page.errors);
            let next = walk.take(&page.content, &page.received.headers, &request.url);
            let Some(ask) = next.map_err(|reason| page.unexpected(&reason))? else { break };
            if self.room == 0 || time_left(self.end).is_err() {
                walk.cut();
                break;
            }
            request = walk.request(prepared, &ask).map_err(invalid)?;
            page = match self.fetch(&request, input).await {
                Ok(page) => page,
                Err(error) if error.code == Code::NotFound && walk.may_end_beyond() => break,
                Err(error) if error.code == Code::NotFound => {
                    let message = format!("page {} is not there: {}", walk.count() + 1, error.message);
                    return Err(TaskError { code: Code::UnexpectedResponse, class: Class::Unknown, message, ..error });
                }
                // What did not fit is not half a page.
                Err(_) if self.is_cut => {
                    walk.cut();
                    break;
                }
                Err(error) => return Err(error),
            };
        }
        Ok(Page { content: walk.result(), errors, ..page })
    }

    /// One request and what its answer means, with newer secrets if those in hand are refused.
    async fn fetch(&mut self, request: &Prepared, input: &Value) -> Result<Page, TaskError> {
        let refused = match self.proven(request).await {
            // The secrets may have been rotated since they were last read. A call that was refused as unauthenticated has not acted.
            Err(error) if error.code == Code::AuthenticationFailed && !error.may_have_acted && !self.has_renewed => {
                error
            }
            outcome => return outcome,
        };
        self.has_renewed = true;
        let caller = self.caller;
        if caller.stand_ins() == StandIns::Always {
            return Err(refused);
        }
        match caller.newer(self, input).await? {
            Some(newer) => {
                self.credentials = newer;
                self.proven(request).await
            }
            None => Err(refused),
        }
    }

    /// One request, and once more with the nonce that the upstream wants in proofs of possession.
    async fn proven(&mut self, request: &Prepared) -> Result<Page, TaskError> {
        let before = self.nonce.clone();
        match self.exchange(request).await {
            Err(error)
                if error.code == Code::AuthenticationFailed
                    && !error.may_have_acted
                    && !self.has_proven
                    && self.nonce != before =>
            {
                self.has_proven = true;
                self.exchange(request).await
            }
            outcome => outcome,
        }
    }

    async fn exchange(&mut self, request: &Prepared) -> Result<Page, TaskError> {
        let now = Timestamp::now();
        let mut complete = request.with(self.tool, &self.credentials, self.nonce.as_deref(), now)?;
        let mut redaction = self.credentials.redaction(self.tool);
        redaction.add(complete.signature.as_deref().unwrap_or_default());
        // Of the address only the ticket is nobody else's business.
        redaction.add(self.sender.callback.and_then(|address| address.rsplit('/').next()).unwrap_or_default());
        let clients = &self.caller.clients;
        let elsewhere = self.caller.deployment.upstreams.as_ref().filter(|_| request.via != Via::Inside);
        let client = match (elsewhere, &self.tool.tool().tls) {
            (Some(upstreams), _) => {
                upstreams.lead(&mut complete, self.tool)?;
                clients.get(Via::Elsewhere)?
            }
            (None, Some(tls)) => clients.get_identified(request.via, tls, &self.credentials.identity)?,
            (None, None) => clients.get(request.via)?,
        };
        let limit = time_left(self.end)?;
        self.called.requests += 1;
        let mut builder = client.request(complete.method, complete.url).headers(complete.headers).timeout(limit);
        if let Some(body) = complete.body {
            self.called.sent_bytes += body.len() as u64;
            builder = builder.body(body);
        }
        let received = exchange(builder, self.room).await?;
        if let Some(error) = elsewhere.and_then(|_| failure(&received.headers)) {
            return Err(error);
        }
        self.note(&received, &redaction, now);
        understand(self.tool, received, redaction, Timestamp::now())
    }

    fn excerpt(&self, error: &TaskError, input: &Value) -> Option<String> {
        let is_clean = self.is_readable && !self.credentials.redaction(self.tool).is_blind();
        error.evidence.as_deref().filter(|_| is_clean).and_then(|evidence| excerpt(evidence, input))
    }

    fn note(&mut self, received: &Received, redaction: &Redaction, now: Timestamp) {
        let is_result = (200..300).contains(&received.status);
        self.is_cut = is_result && received.cut;
        let coding = received.headers.get(CONTENT_ENCODING).map_or(Ok(""), HeaderValue::to_str);
        self.is_readable = coding.is_ok_and(|coding| is_readable(coding, &received.body));
        // Of an answer that is none, only the beginning is kept.
        self.room -= if is_result { received.body.len() } else { 0 };
        self.called.received_bytes += received.body.len() as u64;
        self.called.status = Some(received.status);
        let nonce = received.headers.get(DPOP_NONCE).and_then(|nonce| clawbridge_oauth::nonce(nonce.to_str().ok()?));
        self.nonce = nonce.or(self.nonce.take());
        self.called.quota = quota(&received.headers, now).or(self.called.quota);
        self.called.request_id = request_id(&received.headers).map(|id| redaction.text(&id));
    }
}

/// The content of an answer, or what is wrong with it.
fn understand(
    tool: &CompiledTool,
    received: Received,
    redaction: Redaction,
    now: Timestamp,
) -> Result<Page, TaskError> {
    let answer = answer(&received, quota(&received.headers, now));
    if received.cut && (200..300).contains(&received.status) {
        let reason = format!("the answer is larger than max_response, {} bytes", tool.tool().max_response.bytes());
        return Err(unexpected(&answer, &redaction, &reason));
    }
    let content = classify(&answer, &redaction, now);
    let (content, errors) = match tool.tool().graphql {
        None => (content?, Vec::new()),
        Some(_) => {
            let content = content.map_err(|error| graphql::refined(error, &answer, &redaction))?;
            let data = graphql::data(content, tool.tool().partial, &answer, &redaction)?;
            (data.data, data.errors)
        }
    };
    Ok(Page { content, errors, received, redaction })
}

fn answer(received: &Received, quota: Option<Quota>) -> Answer<'_> {
    let header = |name: HeaderName| received.headers.get(name).and_then(|value| value.to_str().ok());
    Answer {
        status: received.status,
        content_type: header(CONTENT_TYPE).unwrap_or_default(),
        content_encoding: header(CONTENT_ENCODING).unwrap_or_default(),
        quota,
        retry_after: header(RETRY_AFTER),
        location: header(LOCATION),
        body: &received.body,
    }
}

pub(crate) fn paged(tool: &CompiledTool) -> Option<(&Pages, &CompiledPages)> {
    tool.tool().pages.as_ref().zip(tool.pages())
}

pub(crate) fn check_input(tool: &CompiledTool, input: &Value) -> Result<(), TaskError> {
    tool.check_input(input)
        .map_err(|violations| invalid(format!("the input does not fit the tool's input schema: {}", list(&violations))))
}

/// Why a result is not what the tool's output schema says, if it is not.
///
/// # Errors
/// In what it does not fit.
pub fn check_output(tool: &CompiledTool, result: &Value) -> Result<(), String> {
    tool.check_output(result)
        .map_err(|violations| format!("the answer does not fit the tool's output schema: {}", list(&violations)))
}

/// The input as the request sees it: with the address to answer at, where the tool has a field for one.
fn with_callback<'i>(
    tool: &CompiledTool,
    input: &'i Value,
    callback: Option<&str>,
) -> Result<Cow<'i, Value>, TaskError> {
    let field = tool.job().and_then(|job| job.job().callback.as_deref());
    let (Some(field), Some(callback)) = (field, callback) else { return Ok(Cow::Borrowed(input)) };
    let mut input = input.clone();
    match &mut input {
        Value::Object(members) => drop(members.insert(field.to_owned(), json!(callback))),
        _ => return Err(invalid("the input is no object, so it has no place for the callback's address".to_owned())),
    }
    Ok(Cow::Owned(input))
}

/// What the tool's `result` makes of an answer, or why it makes nothing of it.
fn project(tool: &CompiledTool, input: &Value, content: Value, page: &Page) -> Result<Value, String> {
    if tool.tool().result.is_none() {
        return Ok(content);
    }
    let mut view = json!({
        "answer": content,
        "status": page.received.status,
        "headers": shown_headers(&page.received.headers, &page.redaction),
        "input": input,
    });
    if tool.tool().partial {
        view["errors"] = json!(page.errors);
    }
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

fn list(violations: &[Violation]) -> String {
    let shown: Vec<String> = violations.iter().take(5).map(ToString::to_string).collect();
    let more = violations.len().saturating_sub(shown.len());
    if more == 0 { shown.join("; ") } else { format!("{}; and {more} more", shown.join("; ")) }
}
