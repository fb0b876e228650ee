//! The OpenClaw gateway: a turn becomes a request, what is answered becomes [`AgentEvent`]s.
//!
//! A request is made again only while it is certain that the gateway has not begun it: nobody listens yet, or it says 429 or 503. What happens to one
//! that may have begun is an end with a stable code:
//!
//! | code | what happened |
//! |---|---|
//! | `gateway_unreachable` | nobody has listened for [`Settings::wait`] |
//! | `gateway_busy` | 429 or 503 for as long |
//! | `gateway_refused_token` | 401, 403 |
//! | `gateway_refused_request`, `input_too_large` | another 4xx |
//! | `gateway_error`, `gateway_timeout` | 5xx, or an answer that is none |
//! | `gateway_silent` | not a byte for [`Settings::silence`] |
//! | `gateway_stream_broken` | the connection broke, or what came cannot be read |
//! | the gateway's own | it says itself that it failed |

use clawbridge_responses::AgentEvent;
use clawbridge_responses::dialects::{Turn, gateway_request, plain};
use clawbridge_responses::sse::{self, MAX_LINE_BYTES, Reader};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Between two attempts to reach a gateway that is not there: it doubles.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// How turns are put to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `POST /v1/responses`, streamed.
    Responses,
    /// `POST /hooks/agent`: the gateway says when the run is over, and gives no text.
    Hooks,
}

/// What is said to the gateway besides the turns.
#[derive(Clone)]
pub struct Settings {
    /// `http://127.0.0.1:18789`, without a path.
    pub url: String,
    /// The gateway's token, or in hooks mode the hooks' token. Never shown.
    pub token: Option<String>,
    /// How.
    pub mode: Mode,
    /// `openclaw`, or `openclaw/AGENT`.
    pub model: String,
    /// What every turn's instructions begin with.
    pub system_prompt: Option<String>,
    /// In hooks mode: what the session's key begins with (`hook:`), where the gateway is configured to take keys. Without it every turn is a session
    /// of its own.
    pub hook_sessions: Option<String>,
    /// How long a gateway is waited for that is not there, or has no room.
    pub wait: Duration,
    /// How long it may say nothing.
    pub silence: Duration,
}

/// A gateway.
#[derive(Clone)]
pub struct Gateway {
    client: Client,
    settings: Settings,
}

/// Where an answer goes.
pub trait Out {
    /// More of it. The last has an end.
    fn say(&mut self, events: Vec<AgentEvent>) -> impl Future<Output = ()> + Send;
}

impl Gateway {
    /// `client`: without a time limit for the whole of a request, without redirects and proxies, and without connections that are kept: the
    /// gateway closes idle ones, and a request that meets that moment cannot be made again.
    #[must_use]
    pub fn new(client: Client, settings: Settings) -> Gateway {
        Gateway { client, settings }
    }

    /// Puts a turn to the gateway and passes on what it answers. While `pause` is true, nothing more is read.
    pub async fn answer(&self, turn: &Turn, out: &mut impl Out, mut pause: watch::Receiver<bool>) {
        let (path, body) = match self.request(turn) {
            Ok(request) => request,
            Err((code, message)) => return out.say(vec![failed(&code, message)]).await,
        };
        let response = match self.ask(path, turn, body.to_string()).await {
            Ok(response) => response,
            Err(end) => return out.say(end).await,
        };
        let is_stream = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.starts_with("text/event-stream"));
        if is_stream && response.status().is_success() {
            self.stream(response, out, &mut pause).await;
        } else {
            let status = response.status().as_u16();
            let end = match (self.whole(response).await, self.settings.mode) {
                (Err(end), _) => vec![end],
                (Ok(body), Mode::Hooks) if status == 200 => run_over(&body),
                (Ok(body), _) => sse::read_object(status, &body),
            };
            out.say(end).await;
        }
    }

    fn request(&self, turn: &Turn) -> Result<(&'static str, Value), (String, String)> {
        let own = turn.settings.instructions.as_deref();
        let instructions = match (self.settings.system_prompt.as_deref(), own) {
            (Some(prompt), Some(own)) => Some(format!("{prompt}\n\n{own}")),
            (prompt, own) => prompt.or(own).map(str::to_owned),
        };
        match self.settings.mode {
            Mode::Responses => {
                let mut body = gateway_request(turn, &self.settings.model);
                if let Some(instructions) = instructions {
                    body["instructions"] = instructions.into();
                }
                Ok(("/v1/responses", body))
            }
            Mode::Hooks => {
                let text = plain(turn).map_err(|error| (error.code().to_owned(), format!("{error}.")))?;
                let message =
                    instructions.map_or_else(|| text.clone(), |instructions| format!("{instructions}\n\n{text}"));
                let mut body = json!({"message": message, "name": "Clawbridge", "waitForCompletion": true});
                if let Some(agent) = self.settings.model.strip_prefix("openclaw/") {
                    body["agentId"] = agent.into();
                }
                if let Some(prefix) = &self.settings.hook_sessions {
                    body["sessionKey"] = format!("{prefix}{}", turn.session).into();
                    body["sessionMode"] = "persistent".into();
                }
                Ok(("/hooks/agent", body))
            }
        }
    }

    /// The answer's head, once there is one that is not "not yet".
    async fn ask(&self, path: &str, turn: &Turn, body: String) -> Result<Response, Vec<AgentEvent>> {
        let until = Instant::now() + self.settings.wait;
        let mut delay = FIRST_DELAY;
        loop {
            let mut request = self
                .client
                .post(format!("{}{path}", self.settings.url.trim_end_matches('/')))
                .header(CONTENT_TYPE, "application/json")
                .header("idempotency-key", turn.response.as_str())
                .body(body.clone());
            if let Some(token) = &self.settings.token {
                let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {token}")) else {
                    let message = "The gateway's token holds characters that no header may have.".to_owned();
                    return Err(vec![failed("gateway_refused_token", message)]);
                };
                value.set_sensitive(true);
                request = request.header(AUTHORIZATION, value);
            }
            let not_yet = match timeout(self.settings.silence, request.send()).await {
                Err(_) => return Err(vec![self.silent()]),
                Ok(Err(error)) if error.is_connect() => {
                    let message = "The gateway does not run where the connector expects it.".to_owned();
                    (delay, vec![failed("gateway_unreachable", message)])
                }
                Ok(Err(_)) => return Err(vec![broken("before it answered")]),
                Ok(Ok(response)) if sse::is_not_begun(response.status().as_u16()) => {
                    let status = response.status().as_u16();
                    let after = response.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
                    let after = after.map_or(delay, Duration::from_secs);
                    let end = match self.whole(response).await {
                        Ok(body) if status == 429 => sse::read_object(status, &body),
                        _ => vec![failed("gateway_busy", "The gateway is not ready for requests.".to_owned())],
                    };
                    (after, end)
                }
                Ok(Ok(response)) => return Ok(response),
            };
            let (after, end) = not_yet;
            if Instant::now() + after > until {
                return Err(end);
            }
            sleep(after).await;
            delay = (delay * 2).min(LONGEST_DELAY);
        }
    }

    async fn stream(&self, mut response: Response, out: &mut impl Out, pause: &mut watch::Receiver<bool>) {
        let mut reader = Reader::new();
        while !reader.has_ended() {
            // An error means that whoever could let it go on is gone, and with it this task.
            let _is_on = pause.wait_for(|paused| !*paused).await.is_ok();
            let mut events = Vec::new();
            match timeout(self.settings.silence, response.chunk()).await {
                Err(_) => events.push(self.silent()),
                Ok(Err(_)) => events.push(broken("in the middle of its answer")),
                Ok(Ok(None)) => events = reader.finish(None),
                Ok(Ok(Some(bytes))) => {
                    if let Err(error) = reader.push(&bytes, &mut events) {
                        events.extend(reader.finish(Some(error)));
                    }
                }
            }
            let is_end = events.iter().any(AgentEvent::is_end);
            if !events.is_empty() {
                out.say(events).await;
            }
            if is_end {
                return;
            }
        }
    }

    /// A body that is no stream.
    async fn whole(&self, mut response: Response) -> Result<Vec<u8>, AgentEvent> {
        let mut body = Vec::new();
        loop {
            match timeout(self.settings.silence, response.chunk()).await {
                Err(_) => return Err(self.silent()),
                Ok(Err(_)) => return Err(broken("in the middle of its answer")),
                Ok(Ok(None)) => return Ok(body),
                Ok(Ok(Some(bytes))) if body.len() + bytes.len() <= MAX_LINE_BYTES => body.extend_from_slice(&bytes),
                Ok(Ok(Some(_))) => {
                    return Err(failed("gateway_error", "The gateway's answer is larger than can be read.".to_owned()));
                }
            }
        }
    }

    fn silent(&self) -> AgentEvent {
        let seconds = self.settings.silence.as_secs();
        failed("gateway_silent", format!("The gateway has said nothing for {seconds} s."))
    }
}

fn failed(code: &str, message: String) -> AgentEvent {
    AgentEvent::Failed { code: code.to_owned(), message }
}

fn broken(when: &str) -> AgentEvent {
    failed("gateway_stream_broken", format!("The connection to the gateway broke {when}."))
}

/// What the gateway says of a hook's run, which it gives no text of.
fn run_over(body: &[u8]) -> Vec<AgentEvent> {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let status = value.pointer("/completion/status").and_then(Value::as_str);
    let run: String =
        value["runId"].as_str().unwrap_or_default().chars().filter(|c| !c.is_control()).take(64).collect();
    match status {
        _ if value["ok"] != true => {
            vec![failed("gateway_error", "The gateway's answer to the hook is none.".to_owned())]
        }
        Some("ok") | None => {
            let what = if status.is_some() { "has finished" } else { "has begun" };
            let text =
                format!("The agent {what} run {run}. A hook's run answers where the agent is configured to, not here.");
            vec![AgentEvent::Began, AgentEvent::Text { text }, AgentEvent::Completed { text: None, usage: None }]
        }
        Some(_) => vec![failed("agent_error", format!("The agent's run {run} did not end well."))],
    }
}
