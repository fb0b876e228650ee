//! What the channel adds to an answer: the function in this process, API Gateway played by this program.
//!
//! Frames are handed to the function as API Gateway hands them over, each an invocation of its own; what it posts to `@connections` comes to a
//! server of this program, which notes when. So a delta's added latency is from the invocation with the agent's frame to the post of the
//! user's, without the network and without API Gateway.

use crate::aws::{Client, Services};
use crate::counting::{Counting, Counts};
use crate::failure::Failure;
use crate::process::thread_time;
use crate::stats::{Sample, Spread, micros};
use crate::wire::{Server, reply};
use bytes::Bytes;
use clawbridge_access::{AgentRecord, AppKey, AppSecret, Token, TokenRecord};
use clawbridge_aws::{Environment, sdk_config};
use clawbridge_channel::{Channel, Pace, Settings as ChannelSettings};
use clawbridge_channel_function::{ChannelFunction, Settings};
use clawbridge_clock::Timestamp;
use clawbridge_queue::{ChannelMessage, Queues};
use clawbridge_registry::Registry;
use http::{Method, Request, Response, StatusCode};
use lambda_runtime::{Context, LambdaEvent};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long a frame is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// From one delta of an agent to its next: about what a model takes for a word.
const PACE: Duration = Duration::from_millis(30);

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Answers of each dialect that are measured.
    pub(crate) answers: usize,
    /// Deltas of each answer.
    pub(crate) deltas: usize,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) deltas: usize,
    pub(crate) dialects: Vec<OfDialect>,
}

/// One dialect.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct OfDialect {
    pub(crate) dialect: &'static str,
    /// From the agent's frame to the user's, of each delta.
    pub(crate) added: Spread,
    /// Frames of the agent, and frames that the user got, of an answer.
    pub(crate) frames_in: f64,
    pub(crate) frames_out: f64,
    /// Calls of the table `channel` of a turn: until the agent has it, and after its last frame.
    pub(crate) calls_of_turn: f64,
    /// Calls of it of one delta, mean.
    pub(crate) calls_of_delta: f64,
    /// All AWS calls of an answer, mean.
    pub(crate) calls: Counts,
    /// CPU time of one of the agent's frames: the function with its clients, and the server that takes the posts, microseconds.
    pub(crate) cpu_us: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Numbered,
    Bare,
}

/// A frame that was posted.
type Posted = (String, Value, Instant);

/// Measures both kinds of dialect.
pub(crate) async fn measure(plan: Plan) -> Result<Figures, Failure> {
    // The function's journal would stand among the figures. Where a test has set it already, it is this same one.
    let _is_first = clawbridge_journal::set_sink(Box::new(|_| {}));
    let mut dialects = Vec::new();
    for speech in [Speech::Numbered, Speech::Bare] {
        let mut timed = Stage::start(speech, false).await?;
        timed.answer(plan.deltas).await?;
        let mut added = Vec::new();
        let (mut cpu, mut frames_in, mut frames_out) = (Some(Duration::ZERO), 0, 0);
        for _ in 0..plan.answers {
            let answer = timed.answer(plan.deltas).await?;
            added.extend(answer.added);
            cpu = cpu.zip(answer.cpu).map(|(sum, one)| sum + one);
            frames_in += answer.frames_in;
            frames_out += answer.frames_out;
        }
        let mut counted = Stage::start(speech, true).await?;
        counted.answer(plan.deltas).await?;
        let answer = counted.answer(plan.deltas).await?;
        let calls_of = |counts: &Counts| -> u64 {
            counts
                .iter()
                .filter(|(operation, _)| operation.contains("DynamoDB") && !operation.ends_with(" registry"))
                .map(|(_, count)| count)
                .sum()
        };
        let mut calls = answer.of_turn.clone();
        for (operation, count) in &answer.of_deltas {
            *calls.entry(operation.clone()).or_default() += count;
        }
        let answers = plan.answers.max(1) as f64;
        dialects.push(OfDialect {
            dialect: match speech {
                Speech::Numbered => "bridge.v1",
                Speech::Bare => "bare",
            },
            added: Sample::new(added).spread(),
            frames_in: frames_in as f64 / answers,
            frames_out: frames_out as f64 / answers,
            calls_of_turn: calls_of(&answer.of_turn) as f64,
            calls_of_delta: calls_of(&answer.of_deltas) as f64 / plan.deltas.max(1) as f64,
            calls,
            cpu_us: cpu.map(|cpu| micros(cpu) / frames_in.max(1) as f64),
        });
    }
    Ok(Figures { deltas: plan.deltas, dialects })
}

/// The function and those who are connected to it.
struct Stage {
    speech: Speech,
    function: ChannelFunction,
    posted: mpsc::UnboundedReceiver<Posted>,
    counting: Option<Counting>,
    answers: usize,
    services: Services,
    management: Server,
}

/// What an answer came to.
#[derive(Default)]
struct Answer {
    added: Vec<Duration>,
    frames_in: usize,
    frames_out: usize,
    cpu: Option<Duration>,
    of_turn: Counts,
    of_deltas: Counts,
}

const AGENT: &str = "agent-connection";
const USER: &str = "user-connection";

impl Stage {
    async fn start(speech: Speech, counted: bool) -> Result<Stage, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::harness("the channel", error);
        let services = Services::start().await?;
        let mut client = Client::connect(services.stack.address).await?;
        client.create_table("bench-channel", &["id", "part"], &[]).await?;
        let counting = if counted { Some(Counting::start(services.stack.address).await?) } else { None };
        let endpoint = counting.as_ref().map_or_else(|| services.stack.url(), |counting| counting.server.url());
        let (sink, posted) = mpsc::unbounded_channel();
        let sink = Arc::new(Mutex::new(sink));
        let management = Server::start(move |request| {
            let answer = management(&request, &sink.lock().unwrap_or_else(PoisonError::into_inner));
            std::future::ready(answer)
        })
        .await?;
        let settings = Settings {
            queue_url: services.queue_url.clone(),
            interactive_queue_url: services.queue_url.clone(),
            registry_table: services.stack.registry_table.to_owned(),
            channel_table: "bench-channel".to_owned(),
            channel_endpoint: management.url(),
            look: None,
            age: None,
        };
        let function =
            ChannelFunction::new(&Environment::local(&endpoint), settings).map_err(|error| failed(&error))?;
        let config = sdk_config(&Environment::local(&services.stack.url())).map_err(|error| failed(&error))?;
        let registry = Registry::new(aws_sdk_dynamodb::Client::new(&config), services.stack.registry_table.to_owned());
        let now = Timestamp::now();
        let (key, secret, token) = (AppKey::of([1; 16]), AppSecret::of([2; 32]), Token::of([3; 32]));
        let record = AgentRecord::new("main", key.clone(), secret.hash(), now);
        registry.put_agent(&record).await.map_err(|error| failed(&error))?;
        let scope = "agent:main".parse().map_err(|_| Failure::Harness("the scope agent:main".to_owned()))?;
        let record = TokenRecord {
            hash: token.hash(),
            name: "bench".to_owned(),
            scopes: vec![scope],
            created_at: now,
            expires_at: None,
            last_used_at: None,
            rate: None,
        };
        registry.put_token(&record, now).await.map_err(|error| failed(&error))?;
        let mut stage = Stage { speech, function, posted, counting, answers: 0, services, management };
        let mut of_agent = json!({"x-app-key": key.as_str(), "x-app-secret": secret.reveal()});
        if speech == Speech::Numbered {
            of_agent["x-clawbridge-connector"] = json!("bridge.v1");
        }
        stage.event("$connect", AGENT, &json!({"headers": of_agent})).await?;
        let of_user = json!({"authorization": format!("Bearer {}", token.reveal())});
        if speech == Speech::Bare {
            // What `worker` does a moment after such a connector has come.
            let queues = Queues::new(
                aws_sdk_sqs::Client::new(&config),
                stage.services.queue_url.clone(),
                stage.services.queue_url.clone(),
            );
            let gateway = aws_sdk_apigatewaymanagement::config::Builder::from(&config)
                .endpoint_url(stage.management.url())
                .build();
            let gateway = aws_sdk_apigatewaymanagement::Client::from_conf(gateway);
            let of_channel = ChannelSettings { table: "bench-channel".to_owned(), registry, pace: Pace::default() };
            let channel = Channel::new(aws_sdk_dynamodb::Client::new(&config), queues, gateway, of_channel);
            let connected = ChannelMessage::Connected { connection: AGENT.to_owned(), looks: 0 };
            channel.handle(&connected, now).await.map_err(|error| failed(&error))?;
        }
        stage.event("$connect", USER, &json!({"headers": of_user})).await?;
        if speech == Speech::Numbered {
            let hello = json!({"bridge": 1, "type": "hello", "connector": "bench", "instance": "i", "holds": []});
            stage.message(AGENT, &hello).await?;
            stage.until(|(_, frame, _)| frame["type"] == "welcome").await?;
        }
        Ok(stage)
    }

    async fn event(&self, route: &str, connection: &str, more: &Value) -> Result<(), Failure> {
        invoke(&self.function, route, connection, more).await
    }

    async fn message(&self, connection: &str, frame: &Value) -> Result<(), Failure> {
        self.event("$default", connection, &json!({"body": frame.to_string()})).await
    }

    /// Frames to the one that is meant, with it.
    async fn until(&mut self, is_it: impl Fn(&Posted) -> bool) -> Result<Vec<Posted>, Failure> {
        let mut frames = Vec::new();
        loop {
            let next = tokio::time::timeout(PATIENCE, self.posted.recv()).await;
            let Ok(Some(frame)) = next else {
                return Err(Failure::TimedOut { what: "a frame".to_owned(), seconds: PATIENCE.as_secs() });
            };
            let found = is_it(&frame);
            frames.push(frame);
            if found {
                return Ok(frames);
            }
        }
    }

    fn take(&self) -> Counts {
        self.counting.as_ref().map(Counting::take).unwrap_or_default()
    }

    /// A turn, its answer of so many deltas, and its end.
    async fn answer(&mut self, deltas: usize) -> Result<Answer, Failure> {
        self.answers += 1;
        self.take();
        let mut answer = Answer::default();
        self.message(USER, &json!({"type": "response.create", "model": "main", "input": "count"})).await?;
        // Acknowledgements of the turn before may still come.
        let is_turn = |frame: &Value| frame["type"] == "turn" || frame["input"].is_array();
        let asked = self.until(|(to, frame, _)| to == AGENT && is_turn(frame)).await?;
        let turn = asked.last().map(|(_, frame, _)| frame.clone()).unwrap_or_default();
        let to_user = |frames: &[Posted]| frames.iter().filter(|(to, _, _)| to == USER).count();
        answer.frames_out += to_user(&asked);
        answer.of_turn = self.take();
        let [head, middle, tail] = self.frames(&turn, deltas);
        answer.frames_in = head.len() + middle.len() + tail.len();
        let before = thread_time();
        for frame in head {
            self.message(AGENT, &frame).await?;
        }
        add(&mut answer.of_turn, self.take());
        // Each frame is an invocation of its own, and the next one does not wait for it but where the dialect does.
        let (sent, mut running) = (Arc::new(Mutex::new(Vec::new())), Vec::new());
        let mut paused = Duration::ZERO;
        for frame in middle {
            let (function, sent) = (self.function.clone(), Arc::clone(&sent));
            let one = async move {
                sent.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                invoke(&function, "$default", AGENT, &json!({"body": frame.to_string()})).await
            };
            if self.speech == Speech::Numbered {
                one.await?;
            } else {
                running.push(tokio::spawn(one));
            }
            tokio::time::sleep(PACE).await;
            paused += PACE;
        }
        let last = format!("w{} ", deltas - 1);
        let mut seen = self
            .until(|(to, frame, _)| to == USER && frame["delta"].as_str().is_some_and(|text| text.ends_with(&last)))
            .await?;
        add(&mut answer.of_deltas, self.take());
        for frame in tail {
            let (function, body) = (self.function.clone(), frame.to_string());
            running
                .push(tokio::spawn(async move { invoke(&function, "$default", AGENT, &json!({"body": body})).await }));
        }
        seen.extend(self.until(|(to, frame, _)| to == USER && frame["type"] == "response.completed").await?);
        for one in running {
            one.await.map_err(|error| Failure::harness("an invocation", error))??;
        }
        answer.cpu = before.zip(thread_time()).map(|(before, after)| after.saturating_sub(before));
        add(&mut answer.of_turn, self.take());
        answer.frames_out += to_user(&seen);
        // Several deltas may have become one frame: each is there when the frame with its word is.
        let sent = sent.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (n, at) in sent.into_iter().enumerate() {
            let word = format!("w{n} ");
            let has_it = |(to, frame, _): &&Posted| {
                to == USER && frame["delta"].as_str().is_some_and(|text| text.contains(&word))
            };
            let Some((_, _, seen_at)) = seen.iter().find(has_it) else {
                return Err(Failure::WrongAnswer(format!("the user never saw {word}")));
            };
            answer.added.push(seen_at.saturating_duration_since(at));
        }
        Ok(answer)
    }

    /// The agent's frames: before its deltas, the deltas, after them.
    fn frames(&self, turn: &Value, deltas: usize) -> [Vec<Value>; 3] {
        let words: Vec<String> = (0..deltas).map(|n| format!("w{n} ")).collect();
        match self.speech {
            Speech::Numbered => {
                let say = |number: usize, events: Value| json!({"bridge": 1, "type": "say", "response": turn["response"], "number": number, "events": events});
                let middle =
                    words.iter().enumerate().map(|(n, word)| say(n + 1, json!([{"event": "text", "text": word}])));
                let end = json!([{"event": "completed", "text": words.concat()}]);
                [vec![say(0, json!([{"event": "began"}]))], middle.collect(), vec![say(deltas + 1, end)]]
            }
            Speech::Bare => {
                let (response, session) = (format!("resp_{}", self.answers), &turn["metadata"]["session_id"]);
                let epoch = Timestamp::now().millis();
                let dated = |n: usize, mut frame: Value| {
                    frame["response_id"] = json!(response);
                    frame["timestamp"] = json!(epoch + n as i64);
                    frame
                };
                let head = [
                    json!({"type": "response.in_progress", "metadata": {"session_id": session}}),
                    json!({"type": "response.output_item.added", "index": 0, "item": {"id": "item", "type": "message", "role": "assistant", "content": []}}),
                ];
                let head = head.into_iter().enumerate().map(|(n, frame)| dated(n, frame));
                let middle = words.iter().enumerate().map(|(n, word)| {
                    dated(n + 2, json!({"type": "response.output_text.delta", "item_id": "item", "content_index": 0, "delta": {"text": word}}))
                });
                let tail = [
                    json!({"type": "response.content_part.done", "item_id": "item", "content_index": 0, "status": "completed"}),
                    json!({"type": "response.completed", "status": "completed", "metadata": {"session_id": session}}),
                ];
                let tail = tail.into_iter().enumerate().map(|(n, frame)| dated(deltas + 2 + n, frame));
                [head.collect(), middle.collect(), tail.collect()]
            }
        }
    }
}

fn add(counts: &mut Counts, more: Counts) {
    for (operation, count) in more {
        *counts.entry(operation).or_default() += count;
    }
}

/// As API Gateway invokes it. What the function answers matters to a client that connects alone.
async fn invoke(function: &ChannelFunction, route: &str, connection: &str, more: &Value) -> Result<(), Failure> {
    let mut event = json!({
        "requestContext": {"routeKey": route, "connectionId": connection, "requestId": "r", "connectedAt": Timestamp::now().millis()},
        "isBase64Encoded": false,
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        event[name] = value.clone();
    }
    let event = serde_json::from_value(event).map_err(|error| Failure::harness("an event", error))?;
    let answer = function.invoke(LambdaEvent::new(event, Context::default())).await;
    let answer = answer.map_err(|error| Failure::harness("the function", error))?;
    let answer = serde_json::to_value(answer).map_err(|error| Failure::harness("its answer", error))?;
    if answer["statusCode"] == 200 {
        Ok(())
    } else {
        Err(Failure::WrongAnswer(format!("{route} was answered with {answer}")))
    }
}

/// The management API: `POST`, `GET` and `DELETE` of `/@connections/ID`.
fn management(request: &Request<Bytes>, sink: &mpsc::UnboundedSender<Posted>) -> Response<Bytes> {
    let path = request.uri().path();
    let connection = path.rsplit('/').next().unwrap_or_default().to_owned();
    if request.method() == Method::POST {
        let frame = serde_json::from_slice(request.body()).unwrap_or_default();
        // Nobody listens any more where the measuring is over.
        let _unheard = sink.send((connection, frame, Instant::now()));
        return reply(StatusCode::OK, "application/json", Bytes::from_static(b"{}"));
    }
    let about = json!({"connectedAt": "2026-01-01T00:00:00Z", "lastActiveAt": "2026-01-01T00:00:00Z"}).to_string();
    reply(StatusCode::OK, "application/json", Bytes::from(about))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_of_each_dialect_is_measured_and_costs_the_numbered_one_calls_for_every_delta() {
        let figures = measure(Plan { answers: 1, deltas: 5 }).await.expect("figures");
        let [numbered, bare] = figures.dialects.as_slice() else { panic!("{figures:#?}") };
        for one in [numbered, bare] {
            assert!(
                one.added.p50_us.is_some_and(|us| us > 0.0) && one.calls_of_turn > 0.0 && one.frames_out >= 9.0,
                "{one:#?}"
            );
        }
        assert_eq!((numbered.frames_in, bare.frames_in), (7.0, 9.0));
        assert!(numbered.calls_of_delta >= 1.0, "{numbered:#?}");
        // It is held back to be sorted.
        assert!(bare.added.p50_us > Some(100_000.0), "{bare:#?}");
    }
}
