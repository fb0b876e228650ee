//! A script at work: which answer a request gets, and which are spent.

use super::exchange::{Body, Request};
use super::wire::Answer;
use crate::failure::Failure;
use bytes::Bytes;
use clawbridge_clock::Timestamp;
use clawbridge_config::{Asked, Code, Content, Diagnostic, Mismatch, ScriptedAnswer, Severity, check_stub};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The largest file that an answer's body may be, bytes.
const MAX_BODY_FILE: u64 = 16 * 1024 * 1024;

/// How many answers are named where none fits.
const MAX_NAMED: usize = 8;

/// A script with what became of it so far.
#[derive(Debug)]
pub(crate) struct Stub {
    path: PathBuf,
    seed: u64,
    rules: Vec<Rule>,
    /// When the script and its files had changed last when they were read.
    seen: Vec<Option<SystemTime>>,
    files: Vec<PathBuf>,
}

#[derive(Debug)]
struct Rule {
    answer: ScriptedAnswer,
    /// What the file holds, where the body is one.
    file: Bytes,
    hits: u32,
    dice: fastrand::Rng,
}

impl Stub {
    /// Reads and checks a script.
    ///
    /// # Errors
    /// It is not there or has errors; they are on standard error.
    pub(crate) fn open(path: &Path, seed: u64) -> Result<Stub, Failure> {
        // Before the texts: what is written in between is looked at again.
        let script_seen = changed_at(path);
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::not_found("STUB_UNREADABLE", format!("{shown}: {error}")),
            _ => Failure::negative("STUB_UNREADABLE", format!("{shown}: {error}")),
        })?;
        let (script, mut diagnostics) = check_stub(&text);
        let (mut files, mut rules) = (Vec::new(), Vec::new());
        let mut seen = vec![script_seen];
        for (index, answer) in script.unwrap_or_default().answers.into_iter().enumerate() {
            let mut file = Bytes::new();
            if let Content::File { path: name, position } = &answer.reply.content {
                let at = path.parent().unwrap_or(Path::new("")).join(name);
                seen.push(changed_at(&at));
                match read_file(&at) {
                    Ok(bytes) => file = bytes.into(),
                    Err(reason) => diagnostics.push(Diagnostic {
                        code: Code::FileUnreadable,
                        severity: Severity::Error,
                        position: Some(*position),
                        path: format!("answer[{index}].body_file"),
                        message: format!("{name:?} cannot be read: {reason}"),
                        suggestion: Some("the path is from the script's directory".to_owned()),
                    }),
                }
                files.push(at);
            }
            // A stream of its own for each, so that one more answer in the script does not change the luck of the others' requests.
            let dice = fastrand::Rng::with_seed(seed ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            rules.push(Rule { answer, file, hits: 0, dice });
        }
        for diagnostic in &diagnostics {
            eprintln!("{}", diagnostic.display(&shown));
        }
        let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
        if errors > 0 {
            return Err(Failure::negative("STUB_INVALID", format!("{shown} has {errors} errors")));
        }
        Ok(Stub { path: path.to_owned(), seed, rules, seen, files })
    }

    /// Reads the script again if it or one of its files has changed: all of its answers are then unspent. `None`: nothing has changed.
    ///
    /// # Errors
    /// The script stays what it was, and is looked at again when it changes again.
    pub(crate) fn reload(&mut self) -> Option<Result<(), Failure>> {
        let now: Vec<_> = std::iter::once(&self.path).chain(&self.files).map(|path| changed_at(path)).collect();
        if now == self.seen {
            return None;
        }
        self.seen = now;
        Some(Stub::open(&self.path, self.seed).map(|stub| *self = stub))
    }

    /// What the script says of itself, in one line.
    pub(crate) fn summary(&self) -> String {
        format!("{} ({} answers, seed {})", self.path.display(), self.rules.len(), self.seed)
    }

    /// The answer to a request, and which one it is, or why there is none.
    pub(crate) fn answer(&mut self, asked: &Asked<'_>, request: &Request) -> Result<(Answer, String), String> {
        let mut reasons = Vec::new();
        for (index, rule) in self.rules.iter_mut().enumerate() {
            match rule.take(asked) {
                Ok(()) => return Ok((rule.answer(request), rule.label(index))),
                Err(reason) => reasons.push(format!("{}: {reason}", rule.label(index))),
            }
        }
        let more = reasons.len().saturating_sub(MAX_NAMED);
        reasons.truncate(MAX_NAMED);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let script = self.path.display();
        Err(match reasons.is_empty() {
            true => format!("{script} has no [[answer]]"),
            false => format!("no [[answer]] of {script} fits: {}{more}", reasons.join("; ")),
        })
    }

    /// The script's state, for people and scripts.
    pub(crate) fn page(&self) -> Value {
        let rule = |(index, rule): (usize, &Rule)| {
            json!({"answer": index, "line": rule.answer.position.line, "name": rule.answer.name, "hits": rule.hits,
                "left": rule.answer.times.map(|times| times - rule.hits)})
        };
        json!({"mode": "stub", "script": self.path, "seed": self.seed,
            "answers": self.rules.iter().enumerate().map(rule).collect::<Vec<Value>>()})
    }
}

impl Rule {
    /// Takes this answer for a request, or says why it is not for it.
    fn take(&mut self, asked: &Asked<'_>) -> Result<(), String> {
        match self.answer.when.mismatch(asked) {
            None => {}
            Some(Mismatch::Key(key)) => return Err(format!("{key} is another")),
            Some(Mismatch::Body(error)) => return Err(format!("body: {error}")),
        }
        if self.answer.times.is_some_and(|times| self.hits >= times) {
            return Err(format!("spent after {} times", self.hits));
        }
        if self.answer.share.is_some_and(|share| self.dice.f64() >= share) {
            return Err("not within its share".to_owned());
        }
        self.hits = self.hits.saturating_add(1);
        Ok(())
    }

    fn label(&self, index: usize) -> String {
        let line = self.answer.position.line;
        match &self.answer.name {
            Some(name) => format!("answer[{index}] {name:?} (line {line})"),
            None => format!("answer[{index}] (line {line})"),
        }
    }

    fn answer(&self, request: &Request) -> Answer {
        let reply = &self.answer.reply;
        let (body, content_type) = match &reply.content {
            Content::None => (Bytes::new(), None),
            Content::Json(json) => (json.to_string().into(), Some("application/json")),
            Content::Text(text) => (text.clone().into(), Some("text/plain; charset=utf-8")),
            Content::File { path, .. } if path.ends_with(".json") => (self.file.clone(), Some("application/json")),
            Content::File { .. } => (self.file.clone(), Some("application/octet-stream")),
            Content::Echo => (json!(request).to_string().into(), Some("application/json")),
        };
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        for (name, value) in &reply.headers {
            // They were checked with the script.
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        }
        let answer =
            Answer { status: reply.status, headers, body, delay: reply.delay, cut: reply.cut, slow: reply.slow };
        answer.with_length()
    }
}

/// The answer where nothing else is to be answered: which no upstream gives to a call that works.
pub(crate) fn not_implemented(code: &str, reason: &str) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = json!({"error": code, "message": reason}).to_string().into();
    Answer { status: 501, headers, body, ..Answer::default() }.with_length()
}

/// A body, as a script's program sees it.
pub(crate) fn seen_body(body: &[u8]) -> Value {
    match Body::of(body, true) {
        None => Value::Null,
        Some(Body::Json(json)) => json,
        Some(Body::Text(text) | Body::Base64(text)) => Value::String(text),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if metadata.len() > MAX_BODY_FILE {
        return Err(format!("it is larger than {MAX_BODY_FILE} bytes"));
    }
    std::fs::read(path).map_err(|error| error.to_string())
}

fn changed_at(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// When something was asked, for the page.
pub(crate) fn now() -> String {
    Timestamp::now().rfc3339()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use tempfile::TempDir;

    fn stub(script: &str, seed: u64) -> (TempDir, Stub) {
        let dir = TempDir::new().expect("a directory");
        let path = dir.path().join("stub.toml");
        std::fs::write(&path, script).expect("a script");
        let stub = Stub::open(&path, seed).expect("a stub");
        (dir, stub)
    }

    fn request() -> Request {
        Request { method: "GET".into(), url: "https://a.example/".into(), headers: BTreeMap::new(), body: None }
    }

    fn ask(stub: &mut Stub, path: &str) -> Result<u16, String> {
        let asked = Asked { tool: "t", method: "GET", host: "a.example", port: 443, path, body: &Value::Null };
        stub.answer(&asked, &request()).map(|(answer, _)| answer.status)
    }

    #[test]
    fn answers_are_tried_in_their_order_until_they_are_spent() {
        let script =
            "[[answer]]\npath = \"/a\"\ntimes = 2\nstatus = 429\n[[answer]]\npath = \"/*\"\ntimes = 1\nstatus = 500\n";
        let (_dir, mut stub) = stub(script, 0);
        let statuses: Vec<_> = (0..3).map(|_| ask(&mut stub, "/a")).collect();
        assert_eq!(statuses, [Ok(429), Ok(429), Ok(500)]);
        let refused = ask(&mut stub, "/a").expect_err("spent");
        assert!(refused.contains("answer[0] (line 1): spent after 2 times; answer[1] (line 5): spent"), "{refused}");
        let refused = ask(&mut stub, "/b").expect_err("spent");
        assert!(refused.contains("answer[0] (line 1): path is another"), "{refused}");
        let page = stub.page();
        assert_eq!((&page["answers"][0]["hits"], &page["answers"][0]["left"]), (&json!(2), &json!(0)));
    }

    #[test]
    fn a_share_is_kept_and_the_same_for_the_same_seed() {
        let script = "[[answer]]\nshare = 0.1\nstatus = 500\n[[answer]]\n";
        let run = |seed| {
            let (_dir, mut stub) = stub(script, seed);
            (0..1000).map(|_| ask(&mut stub, "/").expect("an answer")).collect::<Vec<u16>>()
        };
        let failed = |run: &[u16]| run.iter().filter(|status| **status == 500).count();
        let (first, second) = (run(7), run(8));
        assert_eq!(first, run(7));
        assert_ne!(first, second);
        assert!((60..=140).contains(&failed(&first)) && (60..=140).contains(&failed(&second)), "{}", failed(&first));
    }

    #[test]
    fn a_changed_script_is_read_again_and_a_broken_one_is_not() {
        let (dir, mut stub) = stub(
            "[[answer]]\nbody_file = \"a.json\"\nstatus = 201\n".replace("body_file = \"a.json\"\n", "").as_str(),
            0,
        );
        assert!(stub.reload().is_none());
        let later = |path: &Path, by: u64| {
            let file = std::fs::File::options().write(true).open(path).expect("the file");
            file.set_modified(SystemTime::now() + std::time::Duration::from_secs(by)).expect("a time");
        };
        let script = dir.path().join("stub.toml");
        std::fs::write(&script, "[[answer]]\nbody_file = \"a.json\"\n").expect("a script");
        later(&script, 1);
        // The file is not there yet.
        assert_eq!(stub.reload().map(|reloaded| reloaded.expect_err("an error").code), Some("STUB_INVALID"));
        assert!(stub.reload().is_none());
        assert_eq!(ask(&mut stub, "/"), Ok(201));
        let file = dir.path().join("a.json");
        std::fs::write(&file, "{\"a\":1}").expect("a file");
        later(&script, 2);
        assert!(stub.reload().is_some_and(|reloaded| reloaded.is_ok()));
        let asked = Asked { tool: "t", method: "GET", host: "a.example", port: 443, path: "/", body: &Value::Null };
        let (answer, _) = stub.answer(&asked, &request()).expect("an answer");
        assert_eq!(
            (&answer.body[..], &answer.headers[CONTENT_TYPE]),
            (&b"{\"a\":1}"[..], &HeaderValue::from_static("application/json"))
        );
        // A file counts as much as the script.
        later(&file, 3);
        assert!(stub.reload().is_some_and(|reloaded| reloaded.is_ok()));
    }

    #[test]
    fn a_program_sees_json_text_or_nothing() {
        for (body, seen) in
            [(&b""[..], Value::Null), (b"{\"a\":1}", json!({"a": 1})), (b"a=1", json!("a=1")), (b"\xff", json!("/w=="))]
        {
            assert_eq!(seen_body(body), seen);
        }
    }
}
