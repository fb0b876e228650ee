//! What happens, as a person reads it: one line per event, task and attempt.

use clawbridge_clock::Timestamp;
use clawbridge_journal::{Decision, Entry, Level, shortened};
use serde_json::Value;
use std::io::{IsTerminal, Write};

/// How lines are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Show {
    /// JSON lines, as Lambda writes them.
    json: bool,
    colour: bool,
}

impl Show {
    pub(crate) fn new(json: bool) -> Show {
        let colour = !json && std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Show { json, colour }
    }

    /// Shows a journal entry.
    pub(crate) fn entry(&self, entry: &Entry<'_>) {
        if self.json {
            let now = u64::try_from(Timestamp::now().millis()).unwrap_or(0);
            drop(std::io::stdout().lock().write_all(&clawbridge_journal::line(entry, now)));
            return;
        }
        let (label, text) = words(entry);
        self.line(label, &text, entry.level());
    }

    /// Shows a call of the echo endpoint.
    pub(crate) fn echo(&self, method: &str, path: &str, body: &Value, repeated: bool) {
        if self.json {
            return;
        }
        let body = body.to_string();
        let note = if repeated { "  (this key was called before: no new effect)" } else { "" };
        self.line("echo", &format!("{method} {path}  {}{note}", shortened(&body, 160)), Level::Info);
    }

    /// Shows what stands in the upstreams' place at work. Where journal lines are wanted, only what is wrong is a line of its own.
    pub(crate) fn upstream(&self, level: Level, text: &str) {
        match (self.json, level) {
            (true, Level::Info) => {}
            (true, Level::Warn | Level::Error) => self.note(text, level),
            (false, _) => self.line("upstream", text, level),
        }
    }

    /// Shows a line of the local stack itself. Lambda has no such lines; their kind is `dev.note`.
    pub(crate) fn note(&self, text: &str, level: Level) {
        if self.json {
            let at = Timestamp::now().millis();
            let line = serde_json::json!({"at": at, "level": level, "kind": "dev.note", "text": text});
            drop(writeln!(std::io::stdout().lock(), "{line}"));
            return;
        }
        self.line("dev", text, level);
    }

    fn line(&self, label: &str, text: &str, level: Level) {
        let time = Timestamp::now().rfc3339();
        let time = time.get(11..23).unwrap_or_default();
        let (on, off) = match (self.colour, level) {
            (false, _) | (true, Level::Info) => ("", ""),
            (true, Level::Warn) => ("\u{1b}[33m", "\u{1b}[0m"),
            (true, Level::Error) => ("\u{1b}[31m", "\u{1b}[0m"),
        };
        // What comes from outside (types, delivery ids, reasons) must not steer the terminal.
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        drop(writeln!(std::io::stdout().lock(), "{time}  {on}{label:<8} {text}{off}"));
    }
}

fn words(entry: &Entry<'_>) -> (&'static str, String) {
    match entry {
        Entry::WebhookAccepted { source, bytes, messages, .. } => {
            let parts = if *messages > 1 { format!(" in {messages} messages") } else { String::new() };
            ("webhook", format!("{source}: {bytes} bytes verified and queued{parts}"))
        }
        Entry::WebhookRefused { source, status, code, reason, .. } => {
            ("webhook", format!("{source}: refused with {status} {code}: {reason}"))
        }
        Entry::EventStored { event, source, r#type, delivery_id, tasks } => {
            let tasks = match tasks {
                0 => "no route wants it".to_owned(),
                1 => "1 task".to_owned(),
                many => format!("{many} tasks"),
            };
            ("event", format!("{event}  {source} {type}  ({delivery_id})  → {tasks}"))
        }
        Entry::EventRepeated { event, source, delivery_id } => {
            ("event", format!("{event}  {source} delivered {delivery_id} again: known, not acted on"))
        }
        Entry::AnswerAccepted { task, attempt, bytes, .. } => {
            ("webhook", format!("{task}: {bytes} bytes of an answer to attempt {attempt} queued"))
        }
        Entry::AnswerIgnored { task, attempt, reason } => {
            ("task", format!("{task}: an answer to attempt {attempt} changes nothing: {reason}"))
        }
        Entry::EventReplayed { event, tasks } => ("event", format!("{event}  replayed → {tasks} tasks")),
        Entry::RouteFailed { event, route, reason } => ("route", format!("{route} failed for {event}: {reason}")),
        Entry::TaskAttempt { task, tool, attempt, decision, status, code, reason, ms, retry_in_ms, .. } => {
            let status = status.map(|status| format!(" {status}")).unwrap_or_default();
            let code = code.map(|code| format!(" {code}")).unwrap_or_default();
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            let word = decision.as_str();
            let text = match decision {
                Decision::Reused | Decision::Conflict | Decision::Deferred => {
                    format!("{task}  {tool}  {word}{code}{reason}")
                }
                Decision::Retry | Decision::Unknown | Decision::Waiting => {
                    let wait = f64::from(u32::try_from(retry_in_ms.unwrap_or(0)).unwrap_or(u32::MAX)) / 1000.0;
                    let next = match decision {
                        Decision::Retry => format!("again in {wait:.1} s"),
                        _ => format!("{word}, looked at in {wait:.1} s"),
                    };
                    format!("{task}  {tool}  attempt {attempt} →{status}{code} in {ms} ms, {next}{reason}")
                }
                Decision::Succeeded | Decision::Failed | Decision::Parked | Decision::Cancelled => {
                    format!("{task}  {tool}  attempt {attempt} →{status}{code} {word} in {ms} ms{reason}")
                }
            };
            ("task", text)
        }
        Entry::TooManyHops { task, r#type, max_hops } => (
            "event",
            format!(
                "{type} of {task} not made: a chain of {max_hops} tasks feeds itself; look at the routes from source \"bridge\""
            ),
        ),
        Entry::ConfigLoaded { version } => ("config", format!("version {version} in use")),
        Entry::CatchUpRan { source, looked_at, missed, asked, left, stopped, go_on_at, ms } => {
            let stopped = match (*stopped, go_on_at) {
                ("done", _) => String::new(),
                (stopped, Some(at)) => format!(", stopped: {stopped} until {at}"),
                (stopped, None) => format!(", stopped: {stopped}"),
            };
            let left = if *left > 0 { format!(", left for the next run {left}") } else { String::new() };
            (
                "catch-up",
                format!(
                    "{source}: attempts read {looked_at}, missed {missed}, asked for {asked}{left}{stopped} in {ms} ms"
                ),
            )
        }
        Entry::CatchUpFailed { source, code, reason, asked, .. } => {
            let asked = if *asked > 0 { format!(" ({asked} asked for before)") } else { String::new() };
            ("catch-up", format!("{source}: {code}: {reason}{asked}"))
        }
        Entry::ConnectionConnected { provider, account, generation, scopes, .. } => {
            ("connect", format!("{provider}/{account}: connected (generation {generation}), may do: {scopes}"))
        }
        Entry::ConsentRefused { provider, account, status, code, reason, .. } => {
            let name = match (*provider, *account) {
                ("", _) => "somebody".to_owned(),
                (provider, "") => provider.to_owned(),
                (provider, account) => format!("{provider}/{account}"),
            };
            ("connect", format!("{name}: not connected, {status} {code}: {reason}"))
        }
        Entry::ConnectionRefreshed { provider, account, generation, how } => {
            ("connect", format!("{provider}/{account}: {how} (generation {generation})"))
        }
        Entry::ConnectionFailed { provider, account, code, reason } => {
            ("connect", format!("{provider}/{account}: not refreshed, {code}: {reason}"))
        }
        Entry::ConnectionExpired { provider, account, code, .. } => {
            ("connect", format!("{provider}/{account}: {code}: somebody has to connect it again"))
        }
        Entry::ChannelConnected { connection, role, name } => {
            ("channel", format!("{role} {name} connected ({connection})"))
        }
        Entry::ChannelRefused { status, code, reason, .. } => {
            ("channel", format!("somebody was refused with {status} {code}: {reason}"))
        }
        Entry::ChannelClosed { connection, role, name } => ("channel", format!("{role} {name} is gone ({connection})")),
        Entry::FrameRefused { connection, role, code, bytes } => {
            ("channel", format!("a message of {bytes} bytes of the {role} on {connection} was refused: {code}"))
        }
        Entry::ResponseAccepted { response, agent, queued } => {
            ("channel", format!("{response}  {agent}  accepted{}", if *queued { ", waits" } else { "" }))
        }
        Entry::ResponseEnded { response, agent, status, code, events, ms } => {
            let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
            ("channel", format!("{response}  {agent}  {status}{code} in {ms} ms, {events} events"))
        }
        Entry::BridgeFailed { code, reason, subject } => ("bridge", format!("{code} {subject}: {reason}")),
        _ => ("?", String::new()),
    }
}
