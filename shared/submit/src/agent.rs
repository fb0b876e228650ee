//! Having an agent asked: what its tasks are called, and what their inputs say.
//!
//! A task for an agent has the tool name `agent:NAME`, which no tool can have. Its input is an object, `{"prompt": TEXT}` or `{"input": INPUT}` (a text or a
//! list of items as Open Responses has them), with `instructions`, `session` and `options` beside it where they are wanted; a text alone is a prompt.

use crate::submission::{Refusal, Request, Submission, hand_in, is_key};
use clawbridge_responses::SessionId;
use clawbridge_responses::frames::{ErrorFrame, parse_body};
use clawbridge_responses::model::Settings;
use clawbridge_responses::model::input::InputItem;
use serde_json::{Map, Value, json};

/// What the tool names of agents' tasks begin with.
const PREFIX: &str = "agent:";

/// What the ids of responses begin with. A key that looks like one is the channel's own: it makes a task of a response that is there already.
const RESPONSE_PREFIX: &str = "resp_";

/// The largest input, bytes of JSON: it travels in one message of the channel, and the frame around it needs the rest.
pub const MAX_PROMPT_BYTES: usize = 96 * 1024;

/// The longest name of a session as callers write it, characters: more are added that say whose it is.
const MAX_SESSION_CHARS: usize = 64;

/// The agent whose task has this tool name; `None` where it is a tool's.
#[must_use]
pub fn agent_of(tool: &str) -> Option<&str> {
    tool.strip_prefix(PREFIX)
}

/// The tool name of the agent's tasks.
#[must_use]
pub fn agent_tool(agent: &str) -> String {
    format!("{PREFIX}{agent}")
}

/// What an agent is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentInput {
    /// What is said.
    pub input: Vec<InputItem>,
    /// How it is to be answered.
    pub settings: Settings,
    /// The conversation that it belongs to, as the caller calls it. `None`: one of its own.
    pub session: Option<SessionId>,
}

/// Why an input is none for an agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InputRefused {
    /// Which member: `prompt`, `input[0].content`, `session`. Empty for the input as a whole.
    pub path: String,
    /// What is wrong, with its path.
    pub message: String,
}

impl InputRefused {
    fn at(path: &str, message: impl std::fmt::Display) -> InputRefused {
        InputRefused { path: path.to_owned(), message: format!("{path}: {message}") }
    }
}

impl AgentInput {
    /// Reads what somebody wants to ask: as [`AgentInput::read`], and within the bounds of what is handed in.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn check(agent: &str, input: &Value) -> Result<AgentInput, InputRefused> {
        if input.to_string().len() > MAX_PROMPT_BYTES {
            let message = format!("it is larger than {MAX_PROMPT_BYTES} bytes; send what is large by its address");
            return Err(InputRefused { path: String::new(), message });
        }
        let read = AgentInput::read(agent, input)?;
        let is_long = |session: &SessionId| session.as_str().chars().count() > MAX_SESSION_CHARS;
        if read.session.as_ref().is_some_and(is_long) {
            return Err(InputRefused::at("session", format!("it has more than {MAX_SESSION_CHARS} characters")));
        }
        Ok(read)
    }

    /// Reads a task's input. The channel's own, of users that it has let in, may be larger than what is handed in.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn read(agent: &str, input: &Value) -> Result<AgentInput, InputRefused> {
        let object = match input {
            Value::String(text) => Map::from_iter([("prompt".to_owned(), json!(text))]),
            Value::Object(object) => object.clone(),
            _ => return Err(InputRefused { path: String::new(), message: NO_OBJECT.to_owned() }),
        };
        let known = ["prompt", "input", "instructions", "session", "options"];
        if let Some(name) = object.keys().find(|name| !known.contains(&name.as_str())) {
            let name: String = name.chars().take(64).collect();
            let message = format!("{name:?} is unknown here; known are {}", known.join(", "));
            return Err(InputRefused { path: name, message });
        }
        let (said, asked) = match (member(&object, "prompt"), member(&object, "input")) {
            (Some(Value::String(text)), None) if !text.trim().is_empty() => ("prompt", json!(text)),
            (Some(Value::String(_)), None) => return Err(InputRefused::at("prompt", "there is nothing in it")),
            (Some(_), None) => {
                return Err(InputRefused::at("prompt", "it must be a text; a list of items goes into input"));
            }
            (None, Some(items)) => ("input", items.clone()),
            (Some(_), Some(_)) => {
                return Err(InputRefused::at("input", "there is a prompt already; one of the two is wanted"));
            }
            (None, None) => return Err(InputRefused::at("prompt", "it is missing: what is the agent to do?")),
        };
        let options = options(&object)?;
        let instructions = [options.instructions, text(&object, "instructions")?.map(str::to_owned)];
        let instructions: Vec<String> = instructions.into_iter().flatten().collect();
        let mut body =
            json!({"model": format!("openclaw/{agent}"), "input": asked, "store": true, "metadata": options.metadata});
        if !instructions.is_empty() {
            body["instructions"] = json!(instructions.join("\n"));
        }
        if let Some(max) = options.max_tokens {
            body["max_output_tokens"] = json!(max);
        }
        let create = parse_body(&body).map_err(|error| refused(&error, said))?;
        let session = match text(&object, "session")? {
            None => None,
            Some(name) => Some(SessionId::new(name).map_err(|error| InputRefused::at("session", error))?),
        };
        Ok(AgentInput { input: create.input, settings: create.settings, session })
    }

    /// The group whose conversation it is, where it is one: `group:NAME`.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.session.as_ref()?.as_str().strip_prefix("group:")
    }
}

const NO_OBJECT: &str = "what an agent is asked is a text, or an object with a prompt or an input";

/// What `options` come to. The agent chooses its model itself: which one was asked for is kept beside the response and means nothing else.
#[derive(Default)]
struct Options {
    instructions: Option<String>,
    max_tokens: Option<u64>,
    metadata: Map<String, Value>,
}

fn options(object: &Map<String, Value>) -> Result<Options, InputRefused> {
    let mut read = Options::default();
    let options = match member(object, "options") {
        None => return Ok(read),
        Some(Value::Object(options)) => options,
        Some(_) => return Err(InputRefused::at("options", "it must be an object")),
    };
    for (name, value) in options {
        match (name.as_str(), value) {
            ("model", Value::String(model)) if (1..=256).contains(&model.len()) => {
                read.metadata.insert("model".to_owned(), json!(model));
            }
            ("working_directory", Value::String(directory)) if (1..=512).contains(&directory.len()) => {
                read.instructions = Some(format!("Work in the directory {directory}"));
            }
            ("max_tokens", max) if max.as_u64().is_some_and(|max| max > 0) => read.max_tokens = max.as_u64(),
            ("model" | "working_directory" | "max_tokens", _) => {
                return Err(InputRefused::at(&format!("options.{name}"), "this is not what it can be"));
            }
            _ => {
                let message = "this option is unknown; known are model, max_tokens, working_directory";
                return Err(InputRefused::at("options", message));
            }
        }
    }
    Ok(read)
}

fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, InputRefused> {
    let value = member(object, name);
    value.map(|value| value.as_str().ok_or_else(|| InputRefused::at(name, "it must be a text"))).transpose()
}

/// What the channel's protocol says of it, in the words of who wrote a task's input.
fn refused(error: &ErrorFrame, said: &str) -> InputRefused {
    let path = match error.param.as_deref() {
        Some(param) if param.starts_with("input") => param.replacen("input", said, 1),
        Some(param) => param.replacen("max_output_tokens", "options.max_tokens", 1),
        None => String::new(),
    };
    if path.is_empty() {
        InputRefused { path, message: error.message.clone() }
    } else {
        InputRefused::at(&path, &error.message)
    }
}

/// Looks at a prompt that somebody wants to hand in: `request.tool` is that of an agent. `random` becomes the key where there is no other. Whether
/// there is such an agent is for the caller to know.
///
/// # Errors
/// See [`Refusal`].
pub fn prepare_prompt(request: Request, random: &str) -> Result<Submission, Refusal> {
    let agent = agent_of(&request.tool).unwrap_or_default();
    AgentInput::check(agent, &request.input)
        .map_err(|refused| Refusal::Input { tool: request.tool.clone(), reason: refused.to_string() })?;
    let is_unique = request.key.is_none();
    let key = match &request.key {
        Some(key) if is_key(key) && !key.starts_with(RESPONSE_PREFIX) => key.clone(),
        Some(_) => return Err(Refusal::Key),
        None => random.to_owned(),
    };
    hand_in(request, key, is_unique)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clawbridge_queue::{Message, Priority};
    use clawbridge_responses::model::input::Part;
    use clawbridge_trace::TraceContext;

    fn read(input: Value) -> Result<AgentInput, InputRefused> {
        AgentInput::check("main", &input)
    }

    fn said(read: &AgentInput) -> Vec<&str> {
        let texts = read.input.iter().flat_map(InputItem::parts);
        texts.filter_map(|part| if let Part::Text(text) = part { Some(text.as_str()) } else { None }).collect()
    }

    #[test]
    fn a_text_a_prompt_and_items_are_what_an_agent_is_asked() {
        for input in [
            json!("go"),
            json!({"prompt": "go"}),
            json!({"input": "go", "prompt": null}),
            json!({"input": [{"role": "user", "content": "go"}]}),
        ] {
            let read = read(input.clone()).expect("an input");
            assert_eq!(
                (said(&read), read.session.clone(), read.settings.model.as_str()),
                (vec!["go"], None, "openclaw/main"),
                "{input}"
            );
        }
        let read = read(json!({"prompt": "go", "instructions": "be brief", "session": "Team-1",
            "options": {"model": "m-1", "max_tokens": 9, "working_directory": "/srv/app"}}))
        .expect("an input");
        assert_eq!(read.settings.instructions.as_deref(), Some("Work in the directory /srv/app\nbe brief"));
        assert_eq!(read.settings.repeated["max_output_tokens"], 9);
        assert_eq!(read.settings.metadata["model"], "m-1");
        assert_eq!((read.session.as_ref().map(SessionId::as_str), read.group()), (Some("team-1"), None));
        assert_eq!(
            super::AgentInput::read("main", &json!({"prompt": "x", "session": "group:Team"}))
                .expect("an input")
                .group(),
            Some("team")
        );
    }

    #[test]
    fn what_no_agent_can_be_asked_is_refused_with_its_place() {
        let large = "x".repeat(MAX_PROMPT_BYTES);
        for (input, path, says) in [
            (json!(null), "", "a text, or an object"),
            (json!(["go"]), "", "a text, or an object"),
            (json!(""), "prompt", "nothing in it"),
            (json!({}), "prompt", "what is the agent to do?"),
            (json!({"prompt": 1}), "prompt", "must be a text"),
            (json!({"prompt": "a", "input": "b"}), "input", "one of the two"),
            (json!({"promt": "a"}), "promt", "known are prompt, input"),
            (json!({"prompt": large}), "", "larger than"),
            (json!({"input": []}), "input", "nothing in it"),
            (json!({"input": [{"role": "user", "content": 7}]}), "input[0].content", "input[0].content"),
            (json!({"prompt": "a", "session": "a b"}), "session", "white space"),
            (json!({"prompt": "a", "session": "x".repeat(65)}), "session", "more than 64"),
            (json!({"prompt": "a", "session": 1}), "session", "must be a text"),
            (json!({"prompt": "a", "instructions": []}), "instructions", "must be a text"),
            (json!({"prompt": "a", "options": 1}), "options", "must be an object"),
            (json!({"prompt": "a", "options": {"temperature": 1}}), "options", "known are model"),
            (json!({"prompt": "a", "options": {"max_tokens": 0}}), "options.max_tokens", "not what it can be"),
        ] {
            let refused = read(input.clone()).expect_err("a refusal");
            assert_eq!(refused.path, path, "{refused}");
            assert!(refused.to_string().contains(says), "{path}: {refused}");
        }
    }

    #[test]
    fn a_prompt_is_a_task_of_its_agent_and_never_of_somebody_elses_response() {
        assert_eq!(
            (agent_of("agent:main"), agent_of("main"), agent_tool("main").as_str()),
            (Some("main"), None, "agent:main")
        );
        let request = |key: Option<&str>, input: Value| Request {
            tool: agent_tool("main"),
            input,
            key: key.map(str::to_owned),
            submitter: "operator".into(),
            priority: Priority::Interactive,
            trace: TraceContext::begin(1),
        };
        let submission = prepare_prompt(request(None, json!("go")), "random").expect("a submission");
        assert_eq!((submission.key.as_str(), submission.is_unique), ("random", true));
        let Ok(Message::Submit(message)) = Message::decode(&submission.text) else { panic!("{submission:?}") };
        assert_eq!((message.tool.as_str(), message.input), ("agent:main", json!("go")));
        let own = prepare_prompt(request(Some("mine"), json!("go")), "random").expect("a submission");
        assert_eq!((own.key.as_str(), own.is_unique), ("mine", false));
        for key in ["resp_1", "", "a b"] {
            assert_eq!(
                prepare_prompt(request(Some(key), json!("go")), "r").map_err(|refusal| refusal.code()),
                Err("KEY_INVALID"),
                "{key}"
            );
        }
        assert_eq!(
            prepare_prompt(request(None, json!({})), "r").map_err(|refusal| refusal.code()),
            Err("INPUT_INVALID")
        );
    }
}
