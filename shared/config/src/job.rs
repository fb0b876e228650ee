//! `[tools.NAME.job]`: work that the upstream takes at once and finishes later: how to ask how far it is, or where it is told.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clawbridge_jq::{Program, RunError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::diagnostic::Code;
use crate::reader::{Fields, Reader};
use crate::tool;
use crate::units::{UnitError, as_text, whole};

/// Work that goes on after the call was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The jq program over `{answer, input, task}` that gives the job's id at the upstream, a text or a number. `null`: the answer is the
    /// result already.
    pub id: String,
    /// The tool that asks how far it is. Its effect is `read`. `None`: the upstream is never asked, it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The jq program over `{id, input, task}` that makes that tool's input.
    pub input: String,
    /// The jq program over `{answer, id, input}`: `true` once it has ended well.
    pub done: String,
    /// The jq program over `{answer, id, input}`: a text if it has failed, which says why; else `null` or `false`.
    pub failed: String,
    /// The jq program over `{answer, id, input}` that makes the result.
    pub result: String,
    /// How long after the call, and after the last time, it is asked; each time half as long again, up to ten times this.
    pub every: Every,
    /// How long it may take. What then is unknown.
    pub within: Within,
    /// The field under which templates and `body` find the address that the upstream is to tell. `None`: it is never told one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<String>,
}

/// A job, ready to run.
#[derive(Debug, Clone)]
pub struct CompiledJob {
    job: Job,
    id: Program,
    input: Program,
    done: Program,
    failed: Program,
    result: Program,
}

/// The longest id of a job, bytes.
const MAX_ID_BYTES: usize = 1024;

/// What a look at a job, or what the upstream tells of it, says.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// It has not ended.
    Running,
    /// It has, and gave this.
    Done(Value),
    /// It has failed, for this reason.
    Failed(String),
}

/// Why a program of a job said nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// It failed.
    #[error("{key}: {error}")]
    Program {
        /// Which.
        key: &'static str,
        /// Why.
        error: RunError,
    },
    /// `id` gave something that is no id.
    #[error("id gave something that is no text of up to {MAX_ID_BYTES} bytes, no number and not null")]
    NotAnId,
    /// `done` gave something else than true, false or null.
    #[error("done gave something that is none of true, false and null")]
    NotAVerdict,
}

impl CompiledJob {
    /// Its plain data.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// What the upstream calls the job that an answer tells of. `None`: the answer is the result.
    ///
    /// # Errors
    /// See [`JobError`].
    pub fn id(&self, answer: &Value, input: &Value, task: &str) -> Result<Option<String>, JobError> {
        let view = json!({"answer": answer, "input": input, "task": task});
        let id = self.id.first(&view).map_err(|error| JobError::Program { key: "id", error })?;
        match id {
            Value::Null => Ok(None),
            Value::String(id) if !id.is_empty() && id.len() <= MAX_ID_BYTES => Ok(Some(id)),
            Value::Number(id) => Ok(Some(id.to_string())),
            Value::String(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(JobError::NotAnId),
        }
    }

    /// The input of the call that asks how far it is.
    ///
    /// # Errors
    /// When the program fails, or gives no value or several.
    pub fn input(&self, id: &str, input: &Value, task: &str) -> Result<Value, JobError> {
        let view = json!({"id": id, "input": input, "task": task});
        self.input.first(&view).map_err(|error| JobError::Program { key: "input", error })
    }

    /// What an answer says about it. Whether it failed is looked at first.
    ///
    /// # Errors
    /// See [`JobError`].
    pub fn progress(&self, answer: &Value, id: &str, input: &Value) -> Result<Progress, JobError> {
        let view = json!({"answer": answer, "id": id, "input": input});
        let run = |key, program: &Program| program.first(&view).map_err(|error| JobError::Program { key, error });
        match run("failed", &self.failed)? {
            Value::Null | Value::Bool(false) => {}
            Value::String(reason) => return Ok(Progress::Failed(reason)),
            other => return Ok(Progress::Failed(other.to_string())),
        }
        match run("done", &self.done)? {
            Value::Bool(true) => Ok(Progress::Done(run("result", &self.result)?)),
            Value::Bool(false) | Value::Null => Ok(Progress::Running),
            Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => Err(JobError::NotAVerdict),
        }
    }

    /// How long it is left alone after it was looked at `looks` times: half as long again each time, up to ten times `every`.
    #[must_use]
    pub fn pause(&self, looks: u32) -> Duration {
        let every = self.job.every.duration();
        (0..looks.min(10)).fold(every, |pause, _| pause.saturating_mul(3) / 2).min(every.saturating_mul(10))
    }
}

/// A name that a template can hold: `{NAME}`.
fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Read `job` of a tool. `None` if there is none, or if something is wrong with it; that has been reported then.
pub(crate) fn read(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<CompiledJob> {
    let entry = fields.entry("job")?;
    let path = fields.path_of("job");
    let known = ["id", "tool", "input", "done", "failed", "result", "every", "within", "callback"];
    let fields = reader.table(&entry.node, &path, &known)?;
    let tool = reader.optional(&fields, "tool").map(|found| found.value().to_owned());
    let callback = reader.optional(&fields, "callback");
    if tool.is_none() && callback.is_none() && fields.entry("tool").is_none() && fields.entry("callback").is_none() {
        let message =
            format!("{path} has neither tool nor callback: nobody would ever know that the job has come to an end");
        reader.error(Code::MissingKey, &path, entry.key_at, message).suggestion =
            Some("name a tool that asks how far it is, or the field for the address that is told".to_owned());
    }
    if let Some(found) = callback.as_ref().filter(|found| !is_field_name(found.value())) {
        let message = format!("{} must be the name of a field: letters, digits and _", found.path);
        reader.error(Code::InvalidName, &found.path, found.at, message);
    }
    let is_asked = tool.is_some();
    let mut program = |key, default: Option<&str>| match (reader.optional(&fields, key), default) {
        (Some(found), _) => Some((found.value().to_owned(), reader.program(&found)?)),
        (None, Some(default)) => Some((default.to_owned(), Program::compile(default).ok()?)),
        (None, None) => {
            reader.required(&fields, key);
            None
        }
    };
    // An upstream that is only told where to call back may say nothing of its own in its first answer.
    let id = program("id", (!is_asked).then_some(".task"));
    let input = program("input", Some("{id: .id}"));
    let done = program("done", (!is_asked).then_some("true"));
    let failed = program("failed", Some("null"));
    let result = program("result", Some(".answer"));
    let (seconds, long) = ("a time such as \"10s\" or \"1m\"", "a time such as \"30m\", \"6h\" or \"2d\"");
    let every = tool::unit(reader, &fields, "every", Code::InvalidDuration, seconds, (Every::MIN, Every::MAX));
    let within = tool::unit(reader, &fields, "within", Code::InvalidDuration, long, (Within::MIN, Within::MAX));
    let ((id_text, id), (input_text, input), (done_text, done)) = (id?, input?, done?);
    let ((failed_text, failed), (result_text, result)) = (failed?, result?);
    let job = Job {
        id: id_text,
        tool,
        input: input_text,
        done: done_text,
        failed: failed_text,
        result: result_text,
        every: every.unwrap_or_default(),
        within: within.unwrap_or_default(),
        callback: callback.map(|found| found.value().to_owned()),
    };
    Some(CompiledJob { job, id, input, done, failed, result })
}

/// How long a job is left alone: a whole number of `s` or `m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Every(u32);

impl Every {
    /// The shortest: each time costs an invocation and a call.
    pub const MIN: Self = Self(1);
    /// The longest: an hour.
    pub const MAX: Self = Self(3600);

    /// The time as a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0.into())
    }
}

impl Default for Every {
    /// 10 s.
    fn default() -> Self {
        Self(10)
    }
}

impl FromStr for Every {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        whole(text, &[("s", 1), ("m", 60)], (Self::MIN.0, Self::MAX.0)).map(Self)
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds if seconds % 60 == 0 => write!(f, "{}m", seconds / 60),
            seconds => write!(f, "{seconds}s"),
        }
    }
}

/// How long a job may take: a whole number of `m`, `h` or `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Within(u32);

impl Within {
    /// The shortest, one minute.
    pub const MIN: Self = Self(1);
    /// The longest: ten days. A task's message stays up to 14 days on the queue.
    pub const MAX: Self = Self(10 * 24 * 60);

    /// The time as a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0) * 60)
    }
}

impl Default for Within {
    /// An hour.
    fn default() -> Self {
        Self(60)
    }
}

impl FromStr for Within {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        whole(text, &[("m", 1), ("h", 60), ("d", 24 * 60)], (Self::MIN.0, Self::MAX.0)).map(Self)
    }
}

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            minutes if minutes % (24 * 60) == 0 => write!(f, "{}d", minutes / (24 * 60)),
            minutes if minutes % 60 == 0 => write!(f, "{}h", minutes / 60),
            minutes => write!(f, "{minutes}m"),
        }
    }
}

as_text!(Every, Within);

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
