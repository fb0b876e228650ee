//! A program of tests/authority: lines of JSON in, lines of JSON out.

use super::{eventually, root};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a program may take to end once its input has; then it is killed.
const FAREWELL: Duration = Duration::from_secs(10);

/// A running program; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Node {
    script: &'static str,
    child: Child,
    /// None once it was told to end.
    input: Mutex<Option<ChildStdin>>,
    lines: Arc<Mutex<Vec<Value>>>,
    complaints: Arc<Mutex<Vec<String>>>,
    has_ended: Arc<AtomicBool>,
    next: AtomicU64,
}

/// The folder of the programs.
pub(super) fn folder() -> PathBuf {
    root().join("tests/authority")
}

impl Node {
    /// Starts a program of tests/authority.
    pub(super) fn start(script: &'static str, args: &[&str]) -> Node {
        let mut child = Command::new("node")
            .arg(script)
            .args(args)
            .current_dir(folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("node");
        let lines: Arc<Mutex<Vec<Value>>> = Arc::default();
        let complaints: Arc<Mutex<Vec<String>>> = Arc::default();
        let has_ended: Arc<AtomicBool> = Arc::default();
        let input = Mutex::new(child.stdin.take());
        let stderr = BufReader::new(child.stderr.take().expect("stderr"));
        let sink = complaints.clone();
        let complaining = std::thread::spawn(move || {
            // That it is no server for production is known.
            for line in stderr.lines().map_while(Result::ok).filter(|line| !line.contains("oidc-provider WARNING")) {
                eprintln!("{script}: {line}");
                sink.lock().expect("complaints").push(line);
            }
        });
        let (stdout, sink, ended) =
            (BufReader::new(child.stdout.take().expect("stdout")), lines.clone(), has_ended.clone());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                sink.lock().expect("lines").push(value);
            }
            drop(complaining.join());
            ended.store(true, Ordering::SeqCst);
        });
        Node { script, child, input, lines, complaints, has_ended, next: AtomicU64::new(1) }
    }

    /// Its lines so far.
    pub(super) fn lines(&self) -> Vec<Value> {
        self.lines.lock().expect("lines").clone()
    }

    /// Waits for a line.
    pub(super) async fn line(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            // Asked before the lines are looked at: whoever has ended says no more.
            let has_ended = self.has_ended.load(Ordering::SeqCst);
            let found = self.lines.lock().expect("lines").iter().find(|line| is_it(line)).cloned();
            let complaints = self.complaints.lock().expect("complaints").join("\n");
            assert!(found.is_some() || !has_ended, "{} ended before {what}:\n{complaints}", self.script);
            async move { found }
        })
        .await
    }

    /// Writes a line to its input.
    pub(super) fn tell(&self, line: &Value) {
        let mut input = self.input.lock().expect("input");
        // One that has ended is noticed by whoever waits for its answer.
        drop(input.as_mut().expect("a program that runs").write_all(format!("{line}\n").as_bytes()));
    }

    /// Tells it something and waits for its answer; fails where that is an error.
    pub(super) async fn ask(&self, mut line: Value) -> Value {
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        line["id"] = json!(id);
        self.tell(&line);
        let is_answer = |line: &Value| line["event"] == "answer" && line["id"] == id;
        let mut answer = self.line(&format!("an answer to {line}"), is_answer).await;
        assert!(answer["error"].is_null(), "{} refused {line}: {}", self.script, answer["error"]);
        answer["result"].take()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Ok(mut input) = self.input.lock() {
            input.take();
        }
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < FAREWELL {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
