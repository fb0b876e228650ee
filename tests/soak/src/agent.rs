//! Agents: they answer what they are asked with a text that follows from it, and lose their connections when they are told to.

use crate::peer::Peer;
use crate::{Failure, words};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How a connector speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// `bridge.v1`: frames are numbered and repeated after a lost connection.
    Numbered,
    /// The bare dialect: nothing is numbered, and what is under way is lost with the connection.
    Bare,
}

/// Who it is.
#[derive(Clone, Debug)]
pub struct Keys {
    /// App key.
    pub key: String,
    /// App secret.
    pub secret: String,
}

/// How agents answer.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How many words an answer has; each is a delta.
    pub words: usize,
    /// How long after one word the next one comes.
    pub pace: Duration,
}

/// A running agent. It ends when this is dropped.
#[derive(Debug)]
pub struct Agent {
    pull: Arc<Notify>,
    frames: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Agent {
    /// Connects and answers from then on; connects anew whenever it is cut off.
    ///
    /// # Errors
    /// [`Failure::Connect`] of the first time.
    pub async fn start(public: &str, keys: Keys, speech: Speech, manner: Manner) -> Result<Agent, Failure> {
        let (pull, frames) = (Arc::<Notify>::default(), Arc::<AtomicU64>::default());
        let public = public.to_owned();
        let mut first = Some(connect(&public, &keys, speech).await?);
        let (pulled, counted) = (Arc::clone(&pull), Arc::clone(&frames));
        let task = tokio::spawn(async move {
            let mut numbered = Numbered { manner, instance: format!("{:x}", fastrand::u64(..)), held: BTreeMap::new() };
            loop {
                let peer = match first.take() {
                    Some(peer) => Ok(peer),
                    None => connect(&public, &keys, speech).await,
                };
                let Ok(peer) = peer else {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                };
                let mut line = Line { peer, frames: &counted };
                let speaks = async {
                    match speech {
                        Speech::Numbered => numbered.speak(&mut line).await,
                        Speech::Bare => bare(&mut line, manner).await,
                    }
                };
                tokio::select! {
                    () = speaks => {}
                    () = pulled.notified() => {}
                }
            }
        });
        Ok(Agent { pull, frames, task })
    }

    /// Its connection ends without a word, and it makes another one.
    pub fn pull_the_cable(&self) {
        self.pull.notify_one();
    }

    /// How many frames it has sent.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }
}

async fn connect(public: &str, keys: &Keys, speech: Speech) -> Result<Peer, Failure> {
    let mut headers = vec![("x-app-key", keys.key.as_str()), ("x-app-secret", keys.secret.as_str())];
    if speech == Speech::Numbered {
        headers.push(("x-clawbridge-connector", "bridge.v1"));
    }
    Peer::connect(public, &headers).await
}

/// A connection whose frames are counted.
struct Line<'a> {
    peer: Peer,
    frames: &'a AtomicU64,
}

impl Line<'_> {
    async fn send(&mut self, frame: &Value) -> bool {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.peer.send(frame).await
    }
}

/// What was asked: the text of the last message.
fn asked(turn: &Value) -> String {
    turn["input"]
        .as_array()
        .and_then(|input| input.last())
        .map(|item| &item["content"][0]["text"])
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

type Pause = Pin<Box<dyn Future<Output = String> + Send>>;

/// What the process of a connector of ours knows, whatever becomes of its connections.
struct Numbered {
    manner: Manner,
    instance: String,
    /// Answers that are not complete: what was asked, and the frame that is in flight.
    held: BTreeMap<String, (String, u64)>,
}

impl Numbered {
    async fn speak(&mut self, line: &mut Line<'_>) {
        let holds: Vec<Value> =
            self.held.iter().map(|(response, (_, next))| json!({"response": response, "next": next})).collect();
        let hello =
            json!({"bridge": 1, "type": "hello", "connector": "soak", "instance": self.instance, "holds": holds});
        if !line.send(&hello).await {
            return;
        }
        let mut pauses: FuturesUnordered<Pause> = FuturesUnordered::new();
        loop {
            let due = tokio::select! {
                frame = line.peer.next() => {
                    let Some(frame) = frame else { return };
                    self.hear(&frame, &mut pauses)
                }
                Some(response) = pauses.next() => vec![response],
            };
            for response in due {
                let Some(say) = self.say(&response) else { continue };
                if !line.send(&say).await {
                    return;
                }
            }
        }
    }

    /// Which responses' frames in flight are to be sent.
    fn hear(&mut self, frame: &Value, pauses: &mut FuturesUnordered<Pause>) -> Vec<String> {
        let response = frame["response"].as_str().unwrap_or_default().to_owned();
        match frame["type"].as_str().unwrap_or_default() {
            "welcome" => self.held.keys().cloned().collect(),
            "turn" => {
                self.held.entry(response.clone()).or_insert_with(|| (asked(frame), 0));
                vec![response]
            }
            "ack" => {
                let next = frame["next"].as_u64().unwrap_or_default();
                if next >= self.manner.words as u64 {
                    self.held.remove(&response);
                } else if let Some((_, number)) = self.held.get_mut(&response) {
                    *number = next;
                    let pace = self.manner.pace;
                    pauses.push(Box::pin(async move {
                        tokio::time::sleep(pace).await;
                        response
                    }));
                }
                Vec::new()
            }
            "cancel" => {
                self.held.remove(&response);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn say(&self, response: &str) -> Option<Value> {
        let (asked, number) = self.held.get(response)?;
        let words = words(asked, self.manner.words);
        let index = usize::try_from(*number).ok()?;
        let mut events = vec![json!({"event": "text", "text": words.get(index)?})];
        if index == 0 {
            events.insert(0, json!({"event": "began"}));
        }
        if index + 1 == words.len() {
            events.push(json!({"event": "completed", "text": words.concat()}));
        }
        Some(json!({"bridge": 1, "type": "say", "response": response, "number": number, "events": events}))
    }
}

/// An answer under way: its frames, those that are next first.
type Answer = std::vec::IntoIter<Value>;

async fn bare(line: &mut Line<'_>, manner: Manner) {
    let mut pauses: FuturesUnordered<Pin<Box<dyn Future<Output = Answer> + Send>>> = FuturesUnordered::new();
    // The connector dates what it sends, to the millisecond; two frames of one moment would have no order.
    let (start, mut last) = (Instant::now(), 0);
    let epoch = clawbridge_clock::Timestamp::now();
    loop {
        let due = tokio::select! {
            frame = line.peer.next() => {
                let Some(frame) = frame else { return };
                if !frame["input"].is_array() {
                    continue;
                }
                answer(&frame, manner)
            }
            Some(answer) = pauses.next() => answer,
        };
        let mut due = due;
        let Some(mut frame) = due.next() else { continue };
        last = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX).max(last + 1);
        frame["timestamp"] = json!(epoch.plus(Duration::from_millis(last)).millis());
        if !line.send(&frame).await {
            return;
        }
        // What is no text goes out together.
        let pace = if frame["type"] == "response.output_text.delta" { manner.pace } else { Duration::ZERO };
        pauses.push(Box::pin(async move {
            tokio::time::sleep(pace).await;
            due
        }));
    }
}

fn answer(request: &Value, manner: Manner) -> Answer {
    let response = format!("resp_{:x}", fastrand::u64(..));
    let item = format!("item_{:x}", fastrand::u64(..));
    let session = &request["metadata"]["session_id"];
    let mut frames = vec![
        json!({"type": "response.in_progress", "response_id": response, "status": "in_progress", "metadata": {"session_id": session}}),
        json!({"type": "response.output_item.added", "response_id": response, "index": 0,
            "item": {"id": item, "type": "message", "status": "in_progress", "role": "assistant",
                "content": [{"type": "output_text", "status": "in_progress", "text": ""}]}}),
    ];
    frames.extend(words(&asked(request), manner.words).into_iter().map(|word| {
        json!({"type": "response.output_text.delta", "response_id": response, "item_id": item, "content_index": 0, "delta": {"text": word}})
    }));
    frames.push(json!({"type": "response.content_part.done", "response_id": response, "item_id": item, "content_index": 0, "status": "completed"}));
    frames.push(json!({"type": "response.completed", "response_id": response, "status": "completed", "metadata": {"session_id": session}}));
    frames.into_iter()
}
