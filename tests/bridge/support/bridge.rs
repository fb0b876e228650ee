//! A `clawbridge dev` process with a directory of its own.

use super::{eventually, root};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// A running bridge; killed when it is dropped.
pub(crate) struct Bridge {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
    options: Options,
    /// Holds bridge.toml and the state.
    pub(crate) dir: TempDir,
    /// Where webhooks go.
    pub(crate) public: String,
    /// The private port.
    pub(crate) private: String,
}

/// How a bridge is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Text of bridge.toml; none: no file.
    pub(crate) config: Option<String>,
    /// More arguments of `dev`.
    pub(crate) args: Vec<String>,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// The error on standard error, where `--json` was given.
    pub(crate) fn error_code(&self) -> String {
        let last = self.err.lines().last().unwrap_or_default();
        let error: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"));
        error["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Bridge {
    /// A bridge with this bridge.toml.
    pub(crate) async fn start(config: &str) -> Bridge {
        Bridge::start_with(Options { config: Some(config.to_owned()), args: Vec::new() }).await
    }

    pub(crate) async fn start_with(options: Options) -> Bridge {
        let dir = TempDir::new().expect("a directory");
        if let Some(config) = &options.config {
            std::fs::write(dir.path().join("bridge.toml"), config).expect("bridge.toml");
        }
        let (child, lines) = spawn(&dir, &options);
        let mut bridge = Bridge { child, lines, options, dir, public: String::new(), private: String::new() };
        bridge.wait_until_ready().await;
        bridge
    }

    async fn wait_until_ready(&mut self) {
        let ready = self.line("the bridge is ready", |line| line["kind"] == "dev.ready").await;
        self.public = ready["stack"]["public_url"].as_str().expect("public URL").to_owned();
        self.private = ready["stack"]["endpoint_url"].as_str().expect("private URL").to_owned();
    }

    /// Ends the process as a power cut would (SIGKILL).
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Ends the process as Ctrl-C does, and waits until it has.
    pub(crate) fn interrupt(&mut self) -> i32 {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
        self.child.wait().expect("wait").code().unwrap_or(-1)
    }

    /// Starts a process on the same state, on ports of its own.
    pub(crate) async fn restart(&mut self) {
        let (child, lines) = spawn(&self.dir, &self.options);
        self.child = child;
        self.lines = lines;
        self.wait_until_ready().await;
    }

    /// Replaces bridge.toml; the bridge applies it by itself.
    pub(crate) fn write_config(&self, config: &str) {
        std::fs::write(self.dir.path().join("bridge.toml"), config).expect("bridge.toml");
    }

    /// Runs a command against this bridge, from the repository's root.
    pub(crate) fn run(&self, args: &[&str]) -> Answer {
        self.run_with_input(args, "")
    }

    /// The same with something on standard input.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &str) -> Answer {
        run(&[args, &["--local", &self.private]].concat(), input)
    }

    /// Journal lines so far, those of this process.
    pub(crate) fn journal(&self) -> Vec<Value> {
        self.lines.lock().expect("lines").clone()
    }

    /// Waits for a journal line.
    pub(crate) async fn line(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            let found = self.journal().into_iter().find(|line| is_it(line));
            async move { found }
        })
        .await
    }

    /// Waits until this many journal lines are of that kind, and returns them.
    pub(crate) async fn lines(&self, kind: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} lines {kind}"), || {
            let found: Vec<Value> = self.journal().into_iter().filter(|line| line["kind"] == kind).collect();
            async move { (found.len() >= count).then_some(found) }
        })
        .await
    }

    /// An AWS call on the private port, as any client would make it: service and operation as in `X-Amz-Target`.
    pub(crate) async fn aws(&self, target: &str, body: &Value) -> Value {
        let client = client();
        let request = client
            .post(&self.private)
            .header("x-amz-target", target)
            .header("content-type", "application/x-amz-json-1.0")
            .body(body.to_string());
        let answer = request.send().await.expect("an answer").bytes().await.expect("a body");
        serde_json::from_slice(&answer).unwrap_or(Value::Null)
    }

    /// Messages in the dead-letter queue.
    pub(crate) async fn dead_letters(&self) -> u64 {
        let url = format!("{}/000000000000/clawbridge-dead", self.private);
        let asked = serde_json::json!({"QueueUrl": url, "AttributeNames": ["All"]});
        let answer = self.aws("AmazonSQS.GetQueueAttributes", &asked).await;
        let count = |name: &str| -> u64 {
            answer["Attributes"][name].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
        };
        count("ApproximateNumberOfMessages") + count("ApproximateNumberOfMessagesNotVisible")
    }

    /// Makes a source with the scheme `openclaw` and this secret.
    pub(crate) fn add_source(&self, name: &str, scheme: &str, secret: &str) {
        let answer = self.run(&["source", "add", name, "--scheme", scheme, "--secret", secret]);
        assert_eq!(answer.status, 0, "{answer:?}");
    }

    /// Posts a delivery, signed with the scheme `openclaw`.
    pub(crate) async fn deliver(&self, source: &str, secret: &str, body: &[u8]) -> (u16, Value) {
        let signature = openclaw_signature(secret, body);
        self.post(source, &[("x-openclaw-signature", &signature), ("content-type", "application/json")], body).await
    }

    /// Posts to a source.
    pub(crate) async fn post(&self, source: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
        let mut request = client().post(format!("{}/hooks/{source}", self.public)).body(body.to_vec());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.bytes().await.expect("a body");
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The signature of the scheme `openclaw`: HMAC-SHA256 of the body, hexadecimal. Made here from RFC 2104, not by the code under test.
pub(crate) fn openclaw_signature(secret: &str, body: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let mut key = [0u8; 64];
    let secret = secret.as_bytes();
    if secret.len() > 64 {
        key[..32].copy_from_slice(&Sha256::digest(secret));
    } else {
        key[..secret.len()].copy_from_slice(secret);
    }
    let inner: Vec<u8> = key.iter().map(|byte| byte ^ 0x36).chain(body.iter().copied()).collect();
    let outer: Vec<u8> = key.iter().map(|byte| byte ^ 0x5c).chain(Sha256::digest(&inner)).collect();
    hex::encode(Sha256::digest(&outer))
}

/// A client for this machine.
pub(crate) fn client() -> reqwest::Client {
    clawbridge_tools::client_for_commands(std::time::Duration::from_secs(60)).expect("a client")
}

/// Runs a command from the repository's root.
pub(crate) fn run(args: &[&str], input: &str) -> Answer {
    let mut child = Command::new(program())
        .args(args)
        .current_dir(root())
        .env_remove("CLAWBRIDGE_STACK")
        .env_remove("CLAWBRIDGE_LOCAL")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawn");
    // A command that does not read its input may be gone by now.
    drop(child.stdin.take().expect("stdin").write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("output");
    Answer {
        status: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_clawbridge"))
}

fn spawn(dir: &TempDir, options: &Options) -> (Child, Arc<Mutex<Vec<Value>>>) {
    let mut child = Command::new(program())
        .args(["dev", "--json", "--port", "0", "--state"])
        .arg(dir.path().join("state"))
        .arg("--config")
        .arg(dir.path().join("bridge.toml"))
        .args(&options.args)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("spawn");
    let stdout = BufReader::new(child.stdout.take().expect("stdout"));
    let lines: Arc<Mutex<Vec<Value>>> = Arc::default();
    let sink = lines.clone();
    // Ends with the process, whose end closes the pipe.
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
            sink.lock().expect("lines").push(value);
        }
    });
    (child, lines)
}
