//! `[tools.NAME.verify]`: how to find out whether a call was made whose answer never came; and `result_retention`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clawbridge_jq::{Program, RunError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::compiled::CompiledTool;
use crate::diagnostic::Code;
use crate::model::Effect;
use crate::reader::{Fields, Reader, nearest, short};
use crate::tool;
use crate::units::{UnitError, as_text, whole};

/// How an unknown outcome of an `unsafe` tool is found out: a call that reads, and what its answer means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// The tool to call. Its effect is `read`.
    pub tool: String,
    /// The jq program over `{input, task, attempt}` that makes its input.
    #[serde(default = "default_input")]
    pub input: String,
    /// The jq program over `{answer, input}`: `true` if it was done, `false` if not, `null` if that cannot be told.
    pub done: String,
    /// The jq program over `{answer, input}` that makes the task's result where it was done.
    #[serde(default = "default_result")]
    pub result: String,
    /// How long the upstream may go on acting after a call was given up: it is not asked before.
    #[serde(default)]
    pub settle: Settle,
    /// How often it is asked when it does not answer.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
}

fn default_input() -> String {
    ".input".to_owned()
}

fn default_result() -> String {
    ".answer".to_owned()
}

fn default_attempts() -> u32 {
    10
}

/// A verify, ready to run.
#[derive(Debug, Clone)]
pub struct CompiledVerify {
    verify: Verify,
    input: Program,
    done: Program,
    result: Program,
}

/// Why `done` did not tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoneError {
    /// It failed on the answer.
    #[error("done: {0}")]
    Program(#[from] RunError),
    /// It gave something else.
    #[error("done gave something that is none of true, false and null")]
    NotAVerdict,
}

impl CompiledVerify {
    /// Its plain data.
    #[must_use]
    pub fn verify(&self) -> &Verify {
        &self.verify
    }

    /// The input of the call that asks about an attempt of a task.
    ///
    /// # Errors
    /// When the program fails, or gives no value or several.
    pub fn input(&self, input: &Value, task: &str, attempt: u32) -> Result<Value, RunError> {
        self.input.first(&json!({"input": input, "task": task, "attempt": attempt}))
    }

    /// What the answer says: it was done, it was not, or (`None`) that cannot be told.
    ///
    /// # Errors
    /// See [`DoneError`].
    pub fn done(&self, answer: &Value, input: &Value) -> Result<Option<bool>, DoneError> {
        match self.done.first(&view(answer, input))? {
            Value::Bool(done) => Ok(Some(done)),
            Value::Null => Ok(None),
            Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => Err(DoneError::NotAVerdict),
        }
    }

    /// What the task returned, where it was done.
    ///
    /// # Errors
    /// When the program fails, or gives no value or several.
    pub fn result(&self, answer: &Value, input: &Value) -> Result<Value, RunError> {
        self.result.first(&view(answer, input))
    }
}

fn view(answer: &Value, input: &Value) -> Value {
    json!({"answer": answer, "input": input})
}

/// Read `verify` of a tool with this effect. `None` if there is none, or if something is wrong with it; that has been reported then.
pub(crate) fn read(reader: &mut Reader<'_>, fields: &Fields<'_>, effect: Option<Effect>) -> Option<CompiledVerify> {
    let entry = fields.entry("verify")?;
    let path = fields.path_of("verify");
    if let Some(effect) = effect.filter(|effect| *effect != Effect::Unsafe) {
        let message =
            format!("{path} is set, but the effect of {} is {effect}: it is called again anyway", fields.path);
        reader.error(Code::VerifyNotNeeded, &path, entry.key_at, message).suggestion =
            Some("leave verify out, or set effect = \"unsafe\"".to_owned());
    }
    let known = ["tool", "input", "done", "result", "settle", "attempts"];
    let fields = reader.table(&entry.node, &path, &known)?;
    let tool = reader.required(&fields, "tool");
    let done = reader.required(&fields, "done");
    let done_program = done.as_ref().and_then(|found| reader.program(found));
    let mut optional = |key, default: fn() -> String| {
        let found = reader.optional(&fields, key);
        let source = found.as_ref().map_or_else(default, |found| found.value().to_owned());
        let program = match &found {
            Some(found) => reader.program(found),
            None => Program::compile(&source).ok(),
        };
        (source, program)
    };
    let (input, input_program) = optional("input", default_input);
    let (result, result_program) = optional("result", default_result);
    let settle = tool::unit(
        reader,
        &fields,
        "settle",
        Code::InvalidDuration,
        "a time such as \"10s\" or \"5m\"",
        (Settle::MIN, Settle::MAX),
    );
    let attempts = reader.integer(&fields, "attempts", 1..=20, default_attempts());
    Some(CompiledVerify {
        verify: Verify {
            tool: tool?.value().to_owned(),
            input,
            done: done?.value().to_owned(),
            result,
            settle: settle.unwrap_or_default(),
            attempts,
        },
        input: input_program?,
        done: done_program?,
        result: result_program?,
    })
}

/// Report each tool that names another, under `key`, which does not read: what asks must not do anything. `tools` are those that could be
/// read, `names` all.
pub(crate) fn check_tools(
    reader: &mut Reader<'_>,
    table: &Fields<'_>,
    tools: &BTreeMap<String, CompiledTool>,
    names: &[&str],
    key: &str,
    named: fn(&CompiledTool) -> Option<&str>,
) {
    for entry in table.entries() {
        let Some(name) = tools.get(&entry.key).and_then(named) else { continue };
        let path = format!("{}.{key}.tool", table.path_of(&entry.key));
        let at = entry.node.at_pointer(&format!("/{key}/tool")).at;
        match tools.get(name) {
            Some(tool) if tool.tool().effect == Effect::Read => {}
            Some(tool) => {
                let message = format!(
                    "{path} is {:?}, whose effect is {}: what only asks must not do anything",
                    short(name),
                    tool.tool().effect
                );
                reader.error(Code::ToolNotRead, &path, at, message).suggestion =
                    Some("name a tool whose effect is \"read\"".to_owned());
            }
            // It is declared, and what is wrong with it has been said.
            None if names.contains(&name) => {}
            None => {
                let message = format!("{path} is {:?}, which is not declared", short(name));
                reader.error(Code::UnknownTool, &path, at, message).suggestion =
                    nearest(name, names).map(|near| format!("did you mean {near:?}?"));
            }
        }
    }
}

/// How long an upstream may go on acting after a call was given up: a whole number of `s` or `m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Settle(u32);

impl Settle {
    /// The shortest: it acts before it answers, or not at all.
    pub const MIN: Self = Self(0);
    /// The longest: an hour.
    pub const MAX: Self = Self(3600);

    /// The time as a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0.into())
    }
}

impl Default for Settle {
    /// 10 s.
    fn default() -> Self {
        Self(10)
    }
}

impl FromStr for Settle {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        whole(text, &[("s", 1), ("m", 60)], (Self::MIN.0, Self::MAX.0)).map(Self)
    }
}

impl fmt::Display for Settle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds if seconds > 0 && seconds % 60 == 0 => write!(f, "{}m", seconds / 60),
            seconds => write!(f, "{seconds}s"),
        }
    }
}

/// How long a task's record is kept after its last change, its result and its key with it: a whole number of days, `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Retention(u32);

impl Retention {
    /// The shortest: 15 days. A message stays up to 14 on the queue, and a task whose key is forgotten while a message about it is left
    /// would be done again.
    pub const MIN: Self = Self(15);
    /// The longest: a year.
    pub const MAX: Self = Self(366);

    /// The time as a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0) * 24 * 60 * 60)
    }
}

impl Default for Retention {
    /// 30 days.
    fn default() -> Self {
        Self(30)
    }
}

impl FromStr for Retention {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        whole(text, &[("d", 1)], (Self::MIN.0, Self::MAX.0)).map(Self)
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}d", self.0)
    }
}

as_text!(Settle, Retention);

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
