//! Users: they ask, lose their connections in the middle, come back and go on; and look at every event.

use crate::peer::Peer;
use crate::{Failure, words};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// A user at one connection.
#[derive(Debug)]
pub struct User {
    /// Where the bridge is.
    pub public: String,
    /// Whom they ask.
    pub agent: String,
    /// `Authorization`.
    pub bearer: String,
    /// Connected, or not yet again.
    pub peer: Option<Peer>,
    /// The last response that was complete: the next turn goes on from there.
    pub previous: Option<String>,
}

/// How a turn is had.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// How many words the answer has.
    pub words: usize,
    /// After which event the connection is lost, if at all.
    pub lost_after: Option<u64>,
    /// How long the answer may take altogether.
    pub patience: Duration,
}

/// How a turn went.
#[derive(Clone, Debug, Default)]
pub struct Had {
    /// The last event's status: `completed`, `failed`, `incomplete`; empty where there was none.
    pub status: String,
    /// Why it is not complete.
    pub code: String,
    /// What it says.
    pub text: String,
    /// Events that came.
    pub events: u64,
    /// How often the connection was made anew and the response resumed.
    pub resumed: u64,
    /// From asking to the first delta.
    pub first_delta: Option<Duration>,
    /// From asking to the end.
    pub took: Duration,
    /// What should not be.
    pub violations: Vec<String>,
}

impl User {
    /// Connects, if they are not.
    ///
    /// # Errors
    /// [`Failure::Connect`].
    pub async fn connected(&mut self) -> Result<&mut Peer, Failure> {
        let peer = match self.peer.take() {
            Some(peer) => peer,
            None => Peer::connect(&self.public, &[("authorization", &self.bearer)]).await?,
        };
        Ok(self.peer.insert(peer))
    }

    /// One turn, looked at to its end.
    pub async fn turn(&mut self, asked: &str, way: Way) -> Had {
        let started = Instant::now();
        let mut watch = Watch { expected: words(asked, way.words).concat(), ..Watch::default() };
        let looked = tokio::time::timeout(way.patience, self.look(asked, way, &mut watch, started)).await;
        let mut had = watch.had;
        match looked {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => had.violations.push(format!("{asked}: {failure}")),
            Err(_) => {
                let response = watch.response.as_deref().unwrap_or("no response");
                had.violations
                    .push(format!("{asked}: {response} has no end after {:?}, {} events", way.patience, had.events));
                // What comes late would be taken for the next turn's.
                self.peer = None;
            }
        }
        had.took = started.elapsed();
        self.previous = (had.status == "completed").then_some(watch.response).flatten();
        had
    }

    async fn look(&mut self, asked: &str, way: Way, watch: &mut Watch, started: Instant) -> Result<(), Failure> {
        let mut create = json!({"type": "response.create", "model": self.agent, "input": asked});
        if let Some(previous) = self.previous.take() {
            create["previous_response_id"] = json!(previous);
        }
        if !self.connected().await?.send(&create).await {
            return Err(Failure::Closed);
        }
        let mut lost_after = way.lost_after;
        loop {
            let Some(event) = self.connected().await?.next().await else {
                self.come_back(watch).await?;
                continue;
            };
            if watch.see(asked, &event, started) {
                return Ok(());
            }
            if lost_after.is_some_and(|events| watch.had.events > events) && watch.response.is_some() {
                lost_after = None;
                self.come_back(watch).await?;
            }
        }
    }

    /// The connection ends without a word; another one goes on after the last event.
    async fn come_back(&mut self, watch: &mut Watch) -> Result<(), Failure> {
        self.peer = None;
        let Some(response) = &watch.response else { return Err(Failure::Closed) };
        let resume =
            json!({"type": "response.resume", "response_id": response, "starting_after": watch.had.events as i64 - 1});
        watch.had.resumed += 1;
        if self.connected().await?.send(&resume).await { Ok(()) } else { Err(Failure::Closed) }
    }
}

/// What was seen of an answer so far.
#[derive(Debug, Default)]
struct Watch {
    expected: String,
    response: Option<String>,
    had: Had,
}

impl Watch {
    /// Looks at an event; true at the end.
    fn see(&mut self, asked: &str, event: &Value, started: Instant) -> bool {
        let kind = event["type"].as_str().unwrap_or_default();
        let mut wrong = |what: String| self.had.violations.push(format!("{asked}: {what}"));
        if kind == "error" {
            wrong(format!("refused: {}", event["error"]));
            return true;
        }
        if event["sequence_number"] != self.had.events {
            wrong(format!("{kind} has number {}, not {}", event["sequence_number"], self.had.events));
            // Counted from here, so that one gap is one violation.
            self.had.events = event["sequence_number"].as_u64().unwrap_or(self.had.events);
        }
        self.had.events += 1;
        if self.response.is_none() {
            self.response = event["response"]["id"].as_str().map(ToOwned::to_owned);
        }
        if let Some(delta) = event["delta"].as_str() {
            self.had.text.push_str(delta);
            self.had.first_delta.get_or_insert_with(|| started.elapsed());
        }
        let Some(status) =
            ["completed", "failed", "incomplete"].into_iter().find(|status| kind == format!("response.{status}"))
        else {
            return false;
        };
        let response = &event["response"];
        status.clone_into(&mut self.had.status);
        let why = [&response["error"]["code"], &response["incomplete_details"]["reason"]];
        self.had.code = why.into_iter().filter_map(Value::as_str).collect();
        let whole: String = response["output"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|item| item["content"].as_array().into_iter().flatten())
            .filter_map(|part| part["text"].as_str())
            .collect();
        let mut wrong = |what: String| self.had.violations.push(format!("{asked}: {what}"));
        if whole != self.had.text {
            wrong(format!("the deltas say {:?} and the end {whole:?}", self.had.text));
        }
        if status == "completed" && whole != self.expected {
            wrong(format!("it says {whole:?} instead of {:?}", self.expected));
        }
        if status != "completed" && (!self.expected.starts_with(&whole) || self.had.code.is_empty()) {
            wrong(format!(
                "it ended {status} ({:?}) with {whole:?}, which is no beginning of {:?}",
                self.had.code, self.expected
            ));
        }
        true
    }
}
