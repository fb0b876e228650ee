//! What a message says: JSON with a version and a kind, ASCII only.
//!
//! SQS refuses some characters that JSON allows in strings (U+FFFE, U+FFFF), so everything beyond ASCII is escaped.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clawbridge_clock::Timestamp;
use clawbridge_packed::{Encoding, Packed, UnpackError};
use clawbridge_trace::TraceContext;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// The longest delay after which a message is still one that somebody waits for.
pub const MAX_INTERACTIVE_DELAY: Duration = Duration::from_secs(5);

/// The version that this code writes and reads.
const VERSION: u32 = 1;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A verified delivery, or something that happened inside the bridge.
    Event(EventMessage),
    /// A piece of a body that did not fit into its event's message.
    Part(PartMessage),
    /// An operator wants a stored event routed again.
    Replay(ReplayMessage),
    /// A task whose time has come.
    Task(TaskMessage),
    /// An upstream has told what came of a task.
    Answer(AnswerMessage),
    /// Somebody wants a tool called.
    Submit(SubmitMessage),
    /// A provider has told a waiting source its secret.
    SourceSecret(SourceSecretMessage),
    /// The schedule wants what senders that never retry have missed to be asked for.
    CatchUp(CatchUpMessage),
    /// The channel looks after something of its own.
    Channel(ChannelMessage),
}

/// A verified delivery on its way to the events table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventMessage {
    /// Names this acceptance: API Gateway's request id, or what made the event. A second delivery of the same event has another
    /// one; a second receipt of the same message has the same one.
    pub nonce: String,
    /// Source name.
    pub source: String,
    /// Event type.
    pub r#type: String,
    /// The provider's delivery id, or the scheme's fallback.
    pub delivery_id: String,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// Headers worth keeping, names in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The body as received.
    pub body: Body,
    /// How many tasks' events lie between a provider's delivery and this event.
    #[serde(default)]
    pub hops: u32,
    /// How often it was sent back because its parts had not arrived.
    #[serde(default)]
    pub deferrals: u32,
    /// The trace that it belongs to. `None`: it was sent before messages said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

/// A body in, or beside, its message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Body {
    /// In the message.
    Inline {
        /// How `data` is written once it is decoded.
        encoding: Encoding,
        /// Base64.
        #[serde(with = "base64_text")]
        data: Vec<u8>,
    },
    /// In this many [`PartMessage`]s with the event's nonce.
    Parts {
        /// How the joined parts are written.
        encoding: Encoding,
        /// How many.
        parts: u32,
        /// Bytes of the joined parts.
        bytes: usize,
    },
}

impl Body {
    /// A body that fits.
    #[must_use]
    pub fn inline(packed: Packed) -> Body {
        Body::Inline { encoding: packed.encoding, data: packed.bytes }
    }
}

/// One piece of a packed body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartMessage {
    /// The nonce of the event that it belongs to.
    pub nonce: String,
    /// Its place, from 0.
    pub index: u32,
    /// Base64.
    #[serde(with = "base64_text")]
    pub data: Vec<u8>,
}

/// Route a stored event again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayMessage {
    /// Event id.
    pub event: String,
    /// Names this replay.
    pub nonce: String,
    /// Act again even where a task succeeded: its tasks get keys of their own.
    #[serde(default)]
    pub again: bool,
}

/// Run a task, or look after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskMessage {
    /// Task id.
    pub task: String,
    /// A person asks to run an ended task again. The attempt that they looked at: if the task has moved on since, this asks for
    /// nothing, so a message that SQS delivers twice cannot make a task run twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_attempt: Option<u32>,
    /// A person decides about a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<Settlement>,
    /// Whether somebody waits for it.
    #[serde(default, skip_serializing_if = "Priority::is_background")]
    pub priority: Priority,
}

impl TaskMessage {
    /// The message of a task whose time has come.
    #[must_use]
    pub fn due(task: &str) -> TaskMessage {
        TaskMessage { task: task.to_owned(), ..TaskMessage::default() }
    }
}

/// Whether somebody waits for what a message leads to. Each has a queue of its own, so that one who waits does not stand behind thousands
/// of messages for which nobody does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// A person or an agent waits.
    Interactive,
    /// Nobody does.
    #[default]
    Background,
}

impl Priority {
    /// What it is once the next look at the task is that far away: who waits for more than [`MAX_INTERACTIVE_DELAY`] is better told than
    /// kept waiting, and an upstream that is down must not fill the queue of those who wait with retries.
    #[must_use]
    pub fn after(self, delay: Duration) -> Priority {
        if delay > MAX_INTERACTIVE_DELAY { Priority::Background } else { self }
    }

    // The signature is serde's.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_background(&self) -> bool {
        *self == Priority::Background
    }
}

/// Call a tool. Who sends it knows the task's id already: it follows from tool and key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitMessage {
    /// Tool name.
    pub tool: String,
    /// Idempotency key within the tool: the caller's, the tool's own of the input, or a random one.
    pub key: String,
    /// The input.
    pub input: Value,
    /// Who wants it: `operator`, or the name of what calls for them.
    pub submitter: String,
    /// Whether they wait for it.
    #[serde(default, skip_serializing_if = "Priority::is_background")]
    pub priority: Priority,
    /// The trace that it belongs to. `None`: it was sent before messages said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

// The input is not shown.
impl std::fmt::Debug for SubmitMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SubmitMessage").field("tool", &self.tool).field("key", &self.key).finish_non_exhaustive()
    }
}

/// A person's decision about a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// The attempt that they looked at: if the task has moved on since, this decides nothing.
    pub after_attempt: u32,
    /// What they decided.
    #[serde(flatten)]
    pub decision: Decision,
}

/// What a person decides about a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "lowercase")]
pub enum Decision {
    /// It has been done.
    Done {
        /// What it returned; null if they do not know.
        #[serde(default)]
        result: Value,
    },
    /// It has failed.
    Fail {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// It is not to be done.
    Cancel {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// What an upstream told of a task that waits for it, at the address that it was given for one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerMessage {
    /// Task id.
    pub task: String,
    /// The attempt that it was given the address for.
    pub attempt: u32,
    /// The body as received.
    pub body: Body,
}

/// What a provider's handshake told: the secret of a source that waits for it. The queue is encrypted; nothing else sees it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSecretMessage {
    /// Source name.
    pub source: String,
    /// The secret.
    pub secret: String,
}

// The secret is not shown.
impl std::fmt::Debug for SourceSecretMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceSecretMessage").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Look through the delivery logs of senders that never retry. `{"v":1,"kind":"catch-up"}` is what the schedule sends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatchUpMessage {
    /// Only this one of those in bridge.toml; else all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// What the channel looks after, so that what a crash left undone is ended all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub enum ChannelMessage {
    /// A response: is it still under way, is its agent still there, was everything sent and settled?
    Look {
        /// Response id.
        response: String,
        /// How often it was looked at before.
        #[serde(default)]
        looks: u32,
    },
    /// A user's connection: is it as old as connections get?
    Connection {
        /// API Gateway's id of it.
        id: String,
    },
    /// An agent's connector that says nothing of its own has connected: is it there?
    Connected {
        /// API Gateway's id of the connection.
        connection: String,
        /// How often it was looked for before.
        #[serde(default)]
        looks: u32,
    },
}

/// Why a message cannot be read. It goes to the dead-letter queue: nobody but the bridge writes to the queue.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not JSON of the expected form.
    #[error("the message is not one of the bridge's: {0}")]
    Malformed(String),
    /// Written by a newer bridge.
    #[error("the message has version {0}; this bridge reads version {VERSION}: deploy the newer one again")]
    Version(u32),
    /// The body cannot be unpacked.
    #[error("the body cannot be unpacked: {0}")]
    Body(#[from] UnpackError),
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Written<'a> {
    Event(&'a EventMessage),
    Part(&'a PartMessage),
    Replay(&'a ReplayMessage),
    Task(&'a TaskMessage),
    Answer(&'a AnswerMessage),
    Submit(&'a SubmitMessage),
    #[serde(rename = "source-secret")]
    SourceSecret(&'a SourceSecretMessage),
    #[serde(rename = "catch-up")]
    CatchUp(&'a CatchUpMessage),
    Channel(&'a ChannelMessage),
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Read {
    Event(EventMessage),
    Part(PartMessage),
    Replay(ReplayMessage),
    Task(TaskMessage),
    Answer(AnswerMessage),
    Submit(SubmitMessage),
    #[serde(rename = "source-secret")]
    SourceSecret(SourceSecretMessage),
    #[serde(rename = "catch-up")]
    CatchUp(CatchUpMessage),
    Channel(ChannelMessage),
}

#[derive(Serialize)]
struct Envelope<'a> {
    v: u32,
    #[serde(flatten)]
    message: Written<'a>,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

impl Message {
    /// Whether somebody waits for what it leads to.
    #[must_use]
    pub fn priority(&self) -> Priority {
        match self {
            Message::Task(task) => task.priority,
            Message::Submit(submit) => submit.priority,
            // Somebody waits for the answer.
            Message::Channel(ChannelMessage::Look { .. } | ChannelMessage::Connected { .. }) => Priority::Interactive,
            Message::Channel(ChannelMessage::Connection { .. })
            | Message::Event(_)
            | Message::Part(_)
            | Message::Replay(_)
            | Message::Answer(_)
            | Message::SourceSecret(_)
            | Message::CatchUp(_) => Priority::Background,
        }
    }

    /// The text to send.
    ///
    /// # Errors
    /// [`MessageError::Malformed`] if it could not be serialised, which no value of these types is known to cause.
    pub fn encode(&self) -> Result<String, MessageError> {
        let message = match self {
            Message::Event(event) => Written::Event(event),
            Message::Part(part) => Written::Part(part),
            Message::Replay(replay) => Written::Replay(replay),
            Message::Task(task) => Written::Task(task),
            Message::Answer(answer) => Written::Answer(answer),
            Message::Submit(submit) => Written::Submit(submit),
            Message::SourceSecret(secret) => Written::SourceSecret(secret),
            Message::CatchUp(catch_up) => Written::CatchUp(catch_up),
            Message::Channel(channel) => Written::Channel(channel),
        };
        let text = serde_json::to_string(&Envelope { v: VERSION, message }).map_err(malformed)?;
        Ok(ascii(text))
    }

    /// From the text of a message.
    ///
    /// # Errors
    /// [`MessageError::Malformed`] and [`MessageError::Version`].
    pub fn decode(text: &str) -> Result<Message, MessageError> {
        let version: Version = serde_json::from_str(text).map_err(malformed)?;
        if version.v != VERSION {
            return Err(MessageError::Version(version.v));
        }
        Ok(match serde_json::from_str(text).map_err(malformed)? {
            Read::Event(event) => Message::Event(event),
            Read::Part(part) => Message::Part(part),
            Read::Replay(replay) => Message::Replay(replay),
            Read::Task(task) => Message::Task(task),
            Read::Answer(answer) => Message::Answer(answer),
            Read::Submit(submit) => Message::Submit(submit),
            Read::SourceSecret(secret) => Message::SourceSecret(secret),
            Read::CatchUp(catch_up) => Message::CatchUp(catch_up),
            Read::Channel(channel) => Message::Channel(channel),
        })
    }
}

/// serde_json quotes none of the input in these errors but unknown variant names; bounded all the same.
fn malformed(error: serde_json::Error) -> MessageError {
    MessageError::Malformed(error.to_string().chars().take(200).collect())
}

fn ascii(text: String) -> String {
    if text.is_ascii() {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut units = [0u16; 2];
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

mod base64_text {
    use super::{Engine, STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        STANDARD.decode(text.as_bytes()).map_err(|_| D::Error::custom("data is not base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event() -> EventMessage {
        EventMessage {
            nonce: "req-1".into(),
            source: "stripe".into(),
            r#type: "invoice.paid".into(),
            delivery_id: "evt_1".into(),
            received_at: Timestamp::from_millis(1_795_232_439_120),
            headers: vec![("content-type".into(), "application/json".into())],
            body: Body::inline(Packed::pack(b"{}")),
            hops: 0,
            deferrals: 0,
            trace: None,
        }
    }

    fn settle(decision: Decision) -> Message {
        let settle = Some(Settlement { after_attempt: 2, decision });
        Message::Task(TaskMessage { settle, ..TaskMessage::due("task_a") })
    }

    fn submit(priority: Priority) -> SubmitMessage {
        let input = serde_json::json!({"name": "Zoë"});
        SubmitMessage { tool: "t".into(), key: "k".into(), input, submitter: "operator".into(), priority, trace: None }
    }

    #[test]
    fn what_nobody_said_to_wait_for_is_background_and_so_is_what_is_tried_again_much_later() {
        let text = "{\"v\":1,\"kind\":\"submit\",\"tool\":\"t\",\"key\":\"k\",\"input\":{\"name\":\"Zo\\u00eb\"},\"submitter\":\"operator\"}";
        let message = Message::Submit(submit(Priority::Background));
        assert_eq!(message.encode().as_deref(), Ok(text));
        assert_eq!(Message::decode(text).as_ref().map(Message::priority), Ok(Priority::Background));
        let waits = Priority::Interactive;
        let after = |millis| waits.after(Duration::from_millis(millis));
        assert_eq!([after(0), after(5_000), after(5_001)], [waits, waits, Priority::Background]);
        assert_eq!(Priority::Background.after(Duration::ZERO), Priority::Background);
        assert!(!format!("{message:?}").contains("Zo"));
    }

    #[test]
    fn a_task_message_from_before_persons_could_settle_is_read() {
        for (text, after) in [
            ("{\"v\":1,\"kind\":\"task\",\"task\":\"task_a\"}", None),
            ("{\"v\":1,\"kind\":\"task\",\"task\":\"task_a\",\"retry_after_attempt\":3}", Some(3)),
        ] {
            let message = Message::Task(TaskMessage { retry_after_attempt: after, ..TaskMessage::due("task_a") });
            assert_eq!(Message::decode(text).as_ref(), Ok(&message));
            assert_eq!(message.encode().as_deref(), Ok(text));
        }
    }

    #[test]
    fn an_event_from_before_there_were_traces_is_read_and_one_with_a_trace_says_it_as_a_traceparent() {
        let old = Message::Event(event()).encode().expect("encode");
        assert!(!old.contains("trace"), "{old}");
        assert_eq!(Message::decode(&old).as_ref(), Ok(&Message::Event(event())));
        let new = Message::Event(EventMessage { trace: Some(TraceContext::begin(1)), ..event() });
        let context = "\"trace\":\"00-00000000000000000000000000000001-0000000000000000-01\"";
        assert!(new.encode().is_ok_and(|text| text.contains(context)));
    }

    #[test]
    fn every_kind_of_message_is_read_back_as_it_was_written() {
        let messages = [
            Message::Event(event()),
            Message::Event(EventMessage {
                body: Body::Parts { encoding: Encoding::Deflate, parts: 3, bytes: 9 },
                ..event()
            }),
            Message::Event(EventMessage { trace: Some(TraceContext::begin(1)), ..event() }),
            Message::Submit(SubmitMessage {
                trace: Some(TraceContext::begin(1).attempt("task_a", 1)),
                ..submit(Priority::Interactive)
            }),
            Message::Part(PartMessage { nonce: "req-1".into(), index: 2, data: vec![0, 255] }),
            Message::Replay(ReplayMessage { event: "evt_a".into(), nonce: "n".into(), again: true }),
            Message::Task(TaskMessage { retry_after_attempt: Some(3), ..TaskMessage::due("task_a") }),
            Message::Task(TaskMessage::due("task_a")),
            settle(Decision::Done { result: serde_json::json!({"id": 7}) }),
            settle(Decision::Done { result: Value::Null }),
            settle(Decision::Fail { reason: Some("no".into()) }),
            settle(Decision::Fail { reason: None }),
            settle(Decision::Cancel { reason: None }),
            Message::Task(TaskMessage { priority: Priority::Interactive, ..TaskMessage::due("task_a") }),
            Message::Submit(submit(Priority::Interactive)),
            Message::Submit(submit(Priority::Background)),
            Message::CatchUp(CatchUpMessage { source: Some("github".into()) }),
            Message::Channel(ChannelMessage::Look { response: "resp_1".into(), looks: 3 }),
            Message::Channel(ChannelMessage::Connection { id: "XfGLwdPqtjMCFsg=".into() }),
            Message::Channel(ChannelMessage::Connected { connection: "XfGLwdPqtjMCFsg=".into(), looks: 1 }),
        ];
        for message in messages {
            let text = message.encode().expect("encode");
            assert_eq!(Message::decode(&text).expect("decode"), message, "{text}");
        }
    }

    #[test]
    fn what_a_schedule_sends_asks_for_all_sources() {
        let text = "{\"v\":1,\"kind\":\"catch-up\"}";
        let message = Message::CatchUp(CatchUpMessage::default());
        assert_eq!(Message::decode(text).as_ref(), Ok(&message));
        assert_eq!(message.encode().as_deref(), Ok(text));
    }

    #[test]
    fn what_is_not_a_message_of_this_version_is_refused() {
        for text in ["", "[]", "{}", "{\"v\":1}", "{\"v\":1,\"kind\":\"party\"}", "{\"v\":1,\"kind\":\"task\"}"] {
            assert!(matches!(Message::decode(text), Err(MessageError::Malformed(_))), "{text}");
        }
        assert_eq!(Message::decode("{\"v\":2,\"kind\":\"task\"}"), Err(MessageError::Version(2)));
    }

    proptest! {
        #[test]
        fn any_text_survives_in_ascii(delivery_id in "\\PC*", data in proptest::collection::vec(any::<u8>(), 0..600)) {
            let delivery_id = format!("{delivery_id}\u{ffff}\u{1f99e}");
            let message = Message::Event(EventMessage { delivery_id, body: Body::inline(Packed::pack(&data)), ..event() });
            let text = message.encode().expect("encode");
            prop_assert!(text.is_ascii());
            prop_assert_eq!(Message::decode(&text).expect("decode"), message);
        }

        #[test]
        fn no_text_makes_reading_panic(text in "\\PC*") {
            drop(Message::decode(&text));
        }
    }
}
