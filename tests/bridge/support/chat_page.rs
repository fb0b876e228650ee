//! A person at the page that talks to an agent (Chromium): tests/authority/chat.mjs.

use super::browser::turn;
use super::node::Node;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::SemaphorePermit;

/// The page, in a browser of its own. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct ChatPage {
    node: Node,
    /// What the page is called.
    pub(crate) title: String,
    _turn: SemaphorePermit<'static>,
}

/// What there is to see.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Sight {
    pub(crate) log: String,
    pub(crate) state: String,
    /// What the log is made of, in lower case.
    pub(crate) elements: Vec<String>,
    /// Where its links lead.
    pub(crate) links: Vec<String>,
    pub(crate) background: String,
    /// `role: name`, as a screen reader has them.
    pub(crate) names: Vec<String>,
    /// Errors on the console.
    pub(crate) console: Vec<String>,
    /// Dialogs that scripts opened.
    pub(crate) dialogs: u64,
}

impl ChatPage {
    pub(super) async fn open(url: &str) -> ChatPage {
        let turn = turn().await;
        let node = Node::start("chat.mjs", &[]);
        node.line("Chromium runs", |line| line["event"] == "ready").await;
        let mut page = ChatPage { node, title: String::new(), _turn: turn };
        page.title = page.go(url).await;
        page
    }

    /// Opens another address, or the same again.
    pub(crate) async fn go(&self, url: &str) -> String {
        self.step(json!({"do": "open", "url": url})).await.as_str().unwrap_or_default().to_owned()
    }

    /// Types a message and sends it with Enter.
    pub(crate) async fn say(&self, text: &str) {
        self.step(json!({"do": "type", "on": "#prompt", "text": text})).await;
        self.step(json!({"do": "press", "key": "Enter"})).await;
    }

    pub(crate) async fn click(&self, on: &str) {
        self.step(json!({"do": "click", "on": on})).await;
    }

    /// Waits until this is to be read in the log.
    pub(crate) async fn until_log(&self, text: &str) {
        self.step(json!({"do": "until", "on": "#log", "text": text})).await;
    }

    /// Waits until the state is this.
    pub(crate) async fn until_state(&self, text: &str) {
        self.step(json!({"do": "until", "on": "#state", "text": text})).await;
    }

    /// The person likes it `dark` or `light`.
    pub(crate) async fn scheme(&self, value: &str) {
        self.step(json!({"do": "scheme", "value": value})).await;
    }

    pub(crate) async fn read(&self) -> Sight {
        let sight = self.step(json!({"do": "read"})).await;
        serde_json::from_value(sight.clone()).unwrap_or_else(|error| panic!("not a sight ({error}): {sight}"))
    }

    async fn step(&self, step: Value) -> Value {
        self.node.ask(step).await
    }
}
