//! A recorder: calls go on to their upstreams, and each exchange is written to a file.

use super::Configured;
use super::exchange::{Exchange, Request, Response, own_headers};
use super::replay::{files, redacted};
use super::wire::Answer;
use crate::failure::Failure;
use bytes::Bytes;
use clawbridge_config::Compiled;
use clawbridge_jq::Program;
use clawbridge_secrets::Secrets;
use clawbridge_tasks::{Class, Code, TaskError};
use clawbridge_tools::{Caller, Deployment, Led, Redaction, failure_header};
use http::header::HeaderMap;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Where calls go on to their upstreams: the stack's secrets hold the client certificates of those that ask for one.
#[derive(Clone, Debug)]
pub(crate) struct WayOut {
    pub(crate) secrets: Secrets,
    pub(crate) deployment: Deployment,
}

/// The recorder.
#[derive(Debug)]
pub(crate) struct Recorder {
    dir: PathBuf,
    redact: Option<Program>,
    next: AtomicU64,
    written: AtomicU64,
    failed: AtomicU64,
    way_out: WayOut,
    /// For the configuration that was in use last.
    caller: Mutex<Option<(Arc<Compiled>, Caller)>>,
}

impl Recorder {
    /// Into `dir`, which is made if it is not there, after what is in it.
    ///
    /// # Errors
    /// It cannot be made or read.
    pub(crate) fn open(dir: &Path, redact: Option<Program>, way_out: WayOut) -> Result<Recorder, Failure> {
        let failed =
            |error: std::io::Error| Failure::negative("RECORDING_UNWRITABLE", format!("{}: {error}", dir.display()));
        std::fs::create_dir_all(dir).map_err(failed)?;
        let number = |file: &PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse::<u64>().ok())
        };
        let last = files(dir)?.iter().filter_map(number).max().unwrap_or(0);
        Ok(Recorder {
            dir: dir.to_owned(),
            redact,
            next: AtomicU64::new(last + 1),
            written: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            way_out,
            caller: Mutex::default(),
        })
    }

    /// What it says of itself, in one line.
    pub(crate) fn summary(&self) -> String {
        match self.next.load(Ordering::Relaxed) {
            1 => self.dir.display().to_string(),
            next => format!("{} (from number {next} on)", self.dir.display()),
        }
    }

    /// How many exchanges were written, and how many could not be.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.written.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// Its state, for people and scripts.
    pub(crate) fn page(&self) -> Value {
        let (written, failed) = self.counts();
        json!({"mode": "record", "dir": self.dir, "written": written, "failed": failed})
    }

    fn caller(&self, config: &Arc<Compiled>) -> Caller {
        // No half-made state between statements, so a panic elsewhere leaves the slot usable.
        let mut slot = self.caller.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, caller)) = &*slot
            && Arc::ptr_eq(known, config)
        {
            return caller.clone();
        }
        let caller = Caller::new(config.clone(), self.way_out.secrets.clone(), None, self.way_out.deployment.clone());
        *slot = Some((config.clone(), caller.clone()));
        caller
    }

    /// Passes a call on and writes down what came of it: the answer, the file's name, and if it could not be written, why.
    pub(crate) async fn answer(
        &self,
        configured: &Configured,
        led: &Led,
        body: &Bytes,
        redaction: &Redaction,
    ) -> (Answer, Result<String, String>) {
        // Before the call: in the order of the requests.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (at, started) = (super::stub::now(), Instant::now());
        let received = match configured.tool(&led.tool) {
            Some(tool) => self.caller(&configured.0).forward(tool, led, body.to_vec()).await,
            None => {
                let message = format!("the configuration in use has no tool {}", led.tool);
                Err(TaskError::unsent(Code::UnknownTool, Class::Client, message))
            }
        };
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let exchange = Exchange {
            tool: led.tool.clone(),
            at,
            request: Request::of(led, body, redaction),
            response: received.as_ref().ok().map(|received| Response::of(received, ms, redaction)),
            failure: received.as_ref().err().cloned(),
        };
        let written = self.write(number, &exchange);
        let count = if written.is_ok() { &self.written } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
        let answer = match received {
            Ok(received) => Answer {
                status: received.status,
                headers: own_headers(&received.headers),
                body: received.body.into(),
                ..Answer::default()
            },
            Err(error) => failure(&error),
        };
        (answer, written)
    }

    fn write(&self, number: u64, exchange: &Exchange) -> Result<String, String> {
        let exchange = match &self.redact {
            Some(program) => redacted(program, exchange)?,
            None => exchange.clone(),
        };
        let name = format!("{number:04}-{}.json", exchange.tool);
        let mut text = serde_json::to_string_pretty(&exchange).map_err(|error| error.to_string())?;
        text.push('\n');
        // A file is whole or not there: a recording is read while it is written, too.
        let (draft, file) = (self.dir.join(format!(".{name}.draft")), self.dir.join(&name));
        let written = std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, &file));
        written.map(|()| name).map_err(|error| format!("{}: {error}", file.display()))
    }
}

/// The answer that there is none.
pub(crate) fn failure(error: &TaskError) -> Answer {
    let headers: HeaderMap = [failure_header(error)].into_iter().collect();
    Answer { status: 502, headers, ..Answer::default() }.with_length()
}
