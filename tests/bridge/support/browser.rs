//! A person with a browser (Chromium): follows a link, logs in, consents or does not, and tells what there was to see.

use super::node::Node;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::sync::{Semaphore, SemaphorePermit};

/// More of them at a time make each slower than the tests wait.
static TURNS: Semaphore = Semaphore::const_new(2);

/// A running Chromium. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Browser {
    node: Node,
    _turn: SemaphorePermit<'static>,
}

/// What a person does with a link.
#[derive(Clone, Debug)]
pub(crate) struct Visit(Value);

/// The last page, and how it was reached.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) url: String,
    /// None where no answer came.
    pub(crate) status: Option<u16>,
    pub(crate) title: String,
    /// What a person can read.
    pub(crate) text: String,
    /// Every address of the page on the way, redirects too.
    pub(crate) visited: Vec<Visited>,
    /// Every cookie that an answer set or deleted.
    pub(crate) cookies: Vec<Cookie>,
    /// Errors on the console: scripts that failed, what was blocked, what was not found.
    pub(crate) console: Vec<Complaint>,
    /// With [`Visit::stop_before_callback`]: the answer that was not delivered.
    pub(crate) callback: Option<Callback>,
}

/// A request for a page.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Visited {
    pub(crate) method: String,
    /// With the names of the query's parameters, without their values.
    pub(crate) url: String,
    pub(crate) status: Option<u16>,
}

/// A `Set-Cookie` without the value.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Cookie {
    pub(crate) name: String,
    /// Who set it: `http://127.0.0.1:PORT`.
    pub(crate) origin: String,
    /// Its value is the empty string, as where it is deleted.
    pub(crate) is_empty: bool,
    /// Why the browser did not take it; empty where it did.
    pub(crate) refused: Vec<String>,
    /// Its attributes, names in lower case: `path`, `httponly` (true), `secure` (true), `samesite`, `max-age`, `expires`.
    #[serde(flatten)]
    pub(crate) attributes: BTreeMap<String, Value>,
}

/// An error on the console.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Complaint {
    pub(crate) text: String,
    /// What it is about, or the page.
    pub(crate) url: String,
}

/// The answer of an authorization server to its client.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Callback {
    /// `GET`, or `POST` with `response_mode=form_post`.
    pub(crate) method: String,
    pub(crate) url: String,
    /// The form.
    pub(crate) body: Option<String>,
}

impl Visit {
    /// Opens it, logs in as `person` and consents, where the pages ask for that, up to the last page.
    pub(crate) fn to(url: &str) -> Visit {
        Visit(json!({"url": url}))
    }

    /// Cancels where consent is asked for.
    pub(crate) fn deny(mut self) -> Visit {
        self.0["deny"] = json!(true);
        self
    }

    /// Does not deliver the authorization server's answer to the client, but gives it back: [`Page::callback`].
    pub(crate) fn stop_before_callback(mut self) -> Visit {
        self.0["stop"] = json!(true);
        self
    }

    /// Logs in by this name.
    pub(crate) fn login(mut self, login: &str) -> Visit {
        self.0["login"] = json!(login);
        self
    }

    /// In another browser of this name: one with its own cookies. Visits that name none share one.
    pub(crate) fn profile(mut self, profile: &str) -> Visit {
        self.0["profile"] = json!(profile);
        self
    }
}

impl Page {
    /// The value of a parameter of the page's address.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        parameter(&self.url, name)
    }
}

impl Callback {
    /// The value of a parameter, of the query or of the form.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        match &self.body {
            Some(form) => parameter(&format!("{}?{form}", self.url), name),
            None => parameter(&self.url, name),
        }
    }
}

fn parameter(url: &str, name: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).expect("a URL");
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Waits until another browser may run.
pub(super) async fn turn() -> SemaphorePermit<'static> {
    TURNS.acquire().await.expect("a turn")
}

impl Browser {
    pub(super) async fn start() -> Browser {
        let turn = turn().await;
        let node = Node::start("consent.mjs", &["--steps"]);
        node.line("Chromium runs", |line| line["event"] == "ready").await;
        Browser { node, _turn: turn }
    }

    /// Does what a visit says.
    pub(crate) async fn visit(&self, visit: Visit) -> Page {
        let page = self.node.ask(visit.0).await;
        serde_json::from_value(page.clone()).unwrap_or_else(|error| panic!("not a page ({error}): {page}"))
    }
}
