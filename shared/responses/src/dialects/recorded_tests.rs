//! Recorded conversations, replayed: what the plugin sent becomes what a user sees.

use super::*;
use crate::correlate::{Belongs, Turns};
use crate::machine::{Machine, Policy};
use crate::model::input::{InputItem, Part, Role};
use crate::model::{Settings, Status, StreamEvent};
use crate::order::HeldBack;
use crate::testing::follow;
use crate::{ResponseId, SessionId};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A recorded frame: when, whether the connector sent it, its text.
type Recorded = (Timestamp, bool, String);

/// What an answer came to: status, text, and why if it is not complete.
type Expected = (Status, &'static str, Option<&'static str>);

const DONE: Status = Status::Completed;

/// Every conversation, with the answers to its requests and the messages that nobody asked for.
const ROWS: [(&str, &[Expected], &[Expected]); 12] = [
    ("b-echo", &[(DONE, "Echo: hello old", None)], &[]),
    ("c-echo", &[(DONE, "Echo: hello old", None)], &[]),
    // The plugin itself loses the text of a block; an answer without text is not called complete.
    (
        "d-snapshots-and-block",
        &[(DONE, "reply to hello envelope", None), (Status::Incomplete, "", Some("text_missing"))],
        &[],
    ),
    ("e-block", &[(DONE, "reply to BLOCK only", None)], &[]),
    ("e-block-unstreamed", &[(DONE, "reply to BLOCK only", None)], &[]),
    ("e-error", &[(Status::Failed, "", Some("agent_error"))], &[]),
    ("e-not-json", &[(Status::Failed, "", Some("agent_timeout"))], &[]),
    (
        "e-push",
        &[(DONE, "reply to PUSH now", None)],
        &[(DONE, "unsolicited push xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", None)],
    ),
    ("e-stream", &[(DONE, "word0 word1 word2 word3 word4 word5 word6 word7 word8 word9 word10 word11", None)], &[]),
    ("e-stream-earlier", &[(DONE, "word0 word1 word2 word3 word4 word5", None)], &[]),
    ("e-timeout", &[(Status::Failed, "", Some("agent_timeout"))], &[]),
    ("e-unstreamed", &[(DONE, "STUB-REPLY 48c07758", None)], &[]),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../events/channel/connector")
}

fn recorded(name: &str) -> Vec<Recorded> {
    let text = std::fs::read_to_string(folder().join(format!("{name}.json"))).expect("a recording");
    let rows: Vec<Value> = serde_json::from_str(&text).expect("a list");
    rows.iter()
        .map(|row| {
            let at = Timestamp::parse_rfc3339(row["at"].as_str().unwrap()).unwrap();
            (at, row["from"] == "connector", row["frame"].as_str().unwrap().to_owned())
        })
        .collect()
}

fn session() -> SessionId {
    SessionId::new("s").unwrap()
}

/// The conversation on the bridge's side.
struct Bridge {
    dialect: Dialect,
    turns: Turns,
    answers: BTreeMap<ResponseId, (Machine, Vec<StreamEvent>)>,
    policy: Policy,
}

impl Bridge {
    fn new(policy: Policy) -> Bridge {
        Bridge { dialect: Dialect::Bare, turns: Turns::default(), answers: BTreeMap::new(), policy }
    }

    fn ask(&mut self, request: &str, now: Timestamp) {
        let request: Value = serde_json::from_str(request).unwrap_or_default();
        let name = request.pointer("/metadata/session_id").and_then(Value::as_str).unwrap_or("s");
        let session = SessionId::new(name).unwrap();
        let id = ResponseId::new(&format!("resp_{}", self.answers.len())).unwrap();
        let mut machine = Machine::new(id.clone(), session.clone(), Settings::of_model("agent"), self.policy, now);
        let out = machine.accept(false);
        machine.dispatched(now);
        self.turns.dispatched(id.clone(), session);
        self.answers.insert(id, (machine, out));
    }

    fn hear(&mut self, said: Said, now: Timestamp) {
        let (id, events) = match self.turns.place(self.dialect, said) {
            Belongs::To(id, events) => (id, events),
            Belongs::Push { key, events, .. } => (ResponseId::new(&format!("push_{key}")).unwrap(), events),
            Belongs::Unclear | Belongs::Nowhere => return,
        };
        let new = || {
            let machine = Machine::new(id.clone(), session(), Settings::of_model("agent"), self.policy, now);
            (machine, Vec::new())
        };
        let (machine, out) = self.answers.entry(id.clone()).or_insert_with(new);
        for event in events {
            out.extend(machine.apply(event, now));
        }
        self.tick(now);
    }

    fn tick(&mut self, now: Timestamp) {
        for (id, (machine, out)) in &mut self.answers {
            out.extend(machine.tick(now));
            if machine.is_over() {
                self.turns.over(id);
            }
        }
    }

    fn end(mut self) -> Vec<(ResponseId, crate::testing::Seen)> {
        while let Some(at) = self.answers.values().filter_map(|(machine, _)| machine.deadline()).min() {
            self.tick(at);
        }
        self.answers.into_iter().map(|(id, (_, out))| (id, follow(&out))).collect()
    }
}

fn said(text: &str) -> (Dialect, Said) {
    match decode(text).expect("a frame of a known dialect") {
        (dialect, Decoded::Said(said)) => (dialect, said),
        (_, Decoded::Bridge(_)) => panic!("not ours"),
    }
}

fn check(name: &str, bridge: Bridge, answers: &[Expected], pushes: &[Expected]) {
    let ended = bridge.end();
    assert_eq!(ended.len(), answers.len() + pushes.len(), "{name}");
    // Pushes sort before responses.
    for ((id, seen), (status, text, why)) in ended.iter().zip(pushes.iter().chain(answers)) {
        let end = seen.end();
        assert_eq!((end.status, end.text().as_str(), seen.deltas.as_str()), (*status, *text, *text), "{name} {id}");
        let said = end.error.as_ref().map(|error| error.code.as_str()).or(end.incomplete_reason.as_deref());
        assert_eq!(said, *why, "{name} {id}");
        let resource = end.resource().to_string();
        assert!(!resource.contains("at Object") && !resource.contains("PATH"), "{resource}");
    }
}

#[test]
fn every_recording_comes_to_the_text_that_the_agent_said() {
    for (name, answers, pushes) in ROWS {
        let mut bridge = Bridge::new(Dialect::Bare.policy());
        for (at, from_connector, text) in recorded(name) {
            if from_connector {
                let (dialect, said) = said(&text);
                bridge.dialect = dialect;
                bridge.hear(said, at);
            } else {
                bridge.ask(&text, at);
            }
        }
        check(name, bridge, answers, pushes);
    }
}

#[test]
fn every_recording_has_a_row() {
    let mut files: Vec<String> = std::fs::read_dir(folder())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    assert_eq!(files, ROWS.map(|(name, ..)| name));
}

#[test]
fn a_request_is_written_as_the_plugin_takes_it() {
    for (name, dialect, words, session) in [
        ("b-echo", Dialect::Enveloped, "hello old", "u1"),
        ("d-snapshots-and-block", Dialect::Topic, "hello envelope", "s"),
        ("e-stream", Dialect::Bare, "hello plugin LONG 12", "sess_1"),
    ] {
        let content = vec![Part::Text(words.to_owned())];
        let mut settings = Settings::of_model("assistant");
        settings.tools.clear();
        let turn = Turn {
            response: ResponseId::new("m1").unwrap(),
            session: SessionId::new(session).unwrap(),
            at: Timestamp::from_millis(0),
            input: vec![InputItem::Message { role: Role::User, content, phase: None }],
            settings,
        };
        let mut theirs: Value = serde_json::from_str(&recorded(name)[0].2).unwrap();
        // Two members hold ids that the server chose.
        match dialect {
            Dialect::Bare => theirs["metadata"]["message_id"] = json!("m1"),
            Dialect::Enveloped => theirs["headers"]["requestId"] = json!("m1"),
            Dialect::Topic | Dialect::Bridge => {}
        }
        let frames = encode_request(dialect, &turn).unwrap();
        let mut ours: Value = serde_json::from_str(&frames[0]).unwrap();
        for frame in [&mut ours, &mut theirs] {
            if let Some(data) = frame.get("data").and_then(Value::as_str).map(str::to_owned) {
                frame["data"] = serde_json::from_str(&data).unwrap();
            }
        }
        assert_eq!(ours, theirs);
    }
}

proptest! {
    /// Frames of a recording that are each delayed by less than the hold come to the same text.
    #[test]
    fn delayed_frames_come_to_the_same_text(delays in prop::collection::vec(0..400_u64, 40), row in 0..ROWS.len()) {
        let (name, answers, pushes) = ROWS[row];
        // Two deltas of this one were sent in the same millisecond; nothing can tell them apart.
        prop_assume!(name != "e-push");
        let mut bridge = Bridge::new(Dialect::Bare.policy());
        let mut held = HeldBack::new(Dialect::Bare.hold_back(), 1000);
        let mut arriving = Vec::new();
        for (index, (at, from_connector, text)) in recorded(name).into_iter().enumerate() {
            let delay = if from_connector { delays[index] } else { 0 };
            arriving.push((at.plus(Duration::from_millis(delay)), from_connector, text));
        }
        arriving.sort_by_key(|(at, ..)| *at);
        for (at, from_connector, text) in arriving {
            for released in held.due(at) {
                bridge.hear(released.frame, at);
            }
            if from_connector {
                let (dialect, said) = said(&text);
                bridge.dialect = dialect;
                held.offer(said.sent_at, said.rank(), said, at);
            } else {
                bridge.ask(&text, at);
            }
        }
        let last = held.deadline();
        for released in held.flush() {
            bridge.hear(released.frame, last.unwrap_or(Timestamp::from_millis(0)));
        }
        check(name, bridge, answers, pushes);
    }
}
