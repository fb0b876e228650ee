//! A `clawbridge dev` process with a directory of its own.

use super::{eventually, root};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running bridge; killed when it is dropped.
pub(crate) struct Bridge {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
    complaints: Arc<Mutex<Vec<String>>>,
    /// As it was started, and will be by [`Bridge::restart`].
    pub(crate) options: Options,
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

/// What a request got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    /// Names in lower case, in the order of the alphabet.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body, `null` where it is not JSON.
    pub(crate) body: Value,
    pub(crate) text: String,
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
        let Spawned { child, lines, complaints } = spawn(&dir, &options);
        let (public, private) = (String::new(), String::new());
        let mut bridge = Bridge { child, lines, complaints, options, dir, public, private };
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
        self.signal("INT");
        self.ended()
    }

    /// Sends the process a signal: `INT` (Ctrl-C), `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill").success());
    }

    /// Waits until the process has ended; its exit status, or -1 where a signal ended it.
    pub(crate) fn ended(&mut self) -> i32 {
        self.child.wait().expect("wait").code().unwrap_or(-1)
    }

    /// Starts a process on the same state, on ports of its own.
    pub(crate) async fn restart(&mut self) {
        let Spawned { child, lines, complaints } = spawn(&self.dir, &self.options);
        self.child = child;
        self.lines = lines;
        self.complaints = complaints;
        self.wait_until_ready().await;
    }

    /// Starts a process on the same state and kills it after so long, wherever it is then.
    pub(crate) async fn start_and_kill(&mut self, after: Duration) {
        self.child = spawn(&self.dir, &self.options).child;
        tokio::time::sleep(after).await;
        self.kill();
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

    /// Standard error so far, that of this process.
    pub(crate) fn complaints(&self) -> String {
        self.complaints.lock().expect("complaints").join("\n")
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
        self.messages("clawbridge-dead").await
    }

    /// Messages in a queue: visible, in flight and delayed.
    pub(crate) async fn messages(&self, queue: &str) -> u64 {
        let attributes = self.queue_attributes(queue).await;
        let count = |name: &str| -> u64 {
            attributes[name].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{attributes}"))
        };
        count("ApproximateNumberOfMessages")
            + count("ApproximateNumberOfMessagesNotVisible")
            + count("ApproximateNumberOfMessagesDelayed")
    }

    /// A queue's attributes.
    pub(crate) async fn queue_attributes(&self, queue: &str) -> Value {
        let url = format!("{}/000000000000/{queue}", self.private);
        let asked = serde_json::json!({"QueueUrl": url, "AttributeNames": ["All"]});
        self.aws("AmazonSQS.GetQueueAttributes", &asked).await["Attributes"].take()
    }

    /// Makes a source with this secret, also where `dev` has made one of its own accord.
    pub(crate) fn add_source(&self, name: &str, scheme: &str, secret: &str) {
        let answer = self.run(&["source", "add", name, "--scheme", scheme, "--secret", secret, "--replace"]);
        assert_eq!(answer.status, 0, "{answer:?}");
    }

    /// Posts a delivery, signed with the scheme `openclaw`.
    pub(crate) async fn deliver(&self, source: &str, secret: &str, body: &[u8]) -> (u16, Value) {
        let signature = openclaw_signature(secret, body);
        self.post(source, &[("x-openclaw-signature", &signature), ("content-type", "application/json")], body).await
    }

    /// Posts to a source.
    pub(crate) async fn post(&self, source: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
        let got = self.request("POST", &format!("/hooks/{source}"), headers, body).await;
        (got.status, got.body)
    }

    /// Any request to the public port.
    pub(crate) async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Got {
        let method = method.parse().expect("a method");
        let mut request = client().request(method, format!("{}{path}", self.public)).body(body.to_vec());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("an answer");
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let (status, headers) = (response.status().as_u16(), headers.collect());
        let body = response.bytes().await.expect("a body");
        let text = String::from_utf8_lossy(&body).into_owned();
        Got { status, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null), text }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The signature of the scheme `openclaw`: HMAC-SHA256 of the body, hexadecimal.
pub(crate) fn openclaw_signature(secret: &str, body: &[u8]) -> String {
    hex::encode(hmac_sha256(secret.as_bytes(), body))
}

/// HMAC-SHA256, made here from RFC 2104 and not by the code under test.
pub(crate) fn hmac_sha256(secret: &[u8], message: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let mut key = [0u8; 64];
    if secret.len() > 64 {
        key[..32].copy_from_slice(&Sha256::digest(secret));
    } else {
        key[..secret.len()].copy_from_slice(secret);
    }
    let inner: Vec<u8> = key.iter().map(|byte| byte ^ 0x36).chain(message.iter().copied()).collect();
    let outer: Vec<u8> = key.iter().map(|byte| byte ^ 0x5c).chain(Sha256::digest(&inner)).collect();
    Sha256::digest(&outer).to_vec()
}

/// Sends these bytes to an address (`http://…` or `host:port`), what no client would send too, and reads until the server closes: the
/// status and everything after the first line. A request should ask for `connection: close`.
pub(crate) async fn exchange(address: &str, bytes: &[u8]) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = address.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    stream.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    // A server that refuses early may reset the connection after its answer.
    drop(stream.read_to_end(&mut answer).await);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (first, rest) = text.split_once("\r\n").unwrap_or((&text, ""));
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status: {text:?}")), rest.to_owned())
}

/// A client for this machine.
pub(crate) fn client() -> reqwest::Client {
    clawbridge_outbound::client_for_commands(std::time::Duration::from_secs(60)).expect("a client")
}

/// How long a command may take.
const COMMAND_PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command from the repository's root.
pub(crate) fn run(args: &[&str], input: &str) -> Answer {
    let mut child = Command::new(program())
        .args(args)
        .current_dir(root())
        .env_remove("CLAWBRIDGE_STACK")
        .env_remove("CLAWBRIDGE_LOCAL")
        .env_remove("CLAWBRIDGE_SECRET_PREFIX")
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawn");
    // A command that does not read its input may be gone by now.
    drop(child.stdin.take().expect("stdin").write_all(input.as_bytes()));
    let out = read_whole(child.stdout.take().expect("stdout"));
    let err = read_whole(child.stderr.take().expect("stderr"));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("wait") {
            break status;
        }
        if start.elapsed() > COMMAND_PATIENCE {
            drop(child.kill());
            panic!("{args:?} did not end within {COMMAND_PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |reader: std::thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&reader.join().expect("what it said")).into_owned()
    };
    Answer { status: status.code().unwrap_or(-1), out: text(out), err: text(err) }
}

/// Reads a pipe to its end, beside the process that fills it.
fn read_whole(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(pipe.read_to_end(&mut bytes));
        bytes
    })
}

/// The program under test.
pub(crate) fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_clawbridge"))
}

/// A process with what it has said so far.
struct Spawned {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
    complaints: Arc<Mutex<Vec<String>>>,
}

fn spawn(dir: &TempDir, options: &Options) -> Spawned {
    let mut child = Command::new(program())
        .args(["dev", "--json", "--port", "0", "--state"])
        .arg(dir.path().join("state"))
        .arg("--config")
        .arg(dir.path().join("bridge.toml"))
        .args(&options.args)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawn");
    let lines: Arc<Mutex<Vec<Value>>> = Arc::default();
    let complaints: Arc<Mutex<Vec<String>>> = Arc::default();
    // Both end with the process, whose end closes the pipes.
    let (stdout, sink) = (BufReader::new(child.stdout.take().expect("stdout")), lines.clone());
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
            sink.lock().expect("lines").push(value);
        }
    });
    let (stderr, sink) = (BufReader::new(child.stderr.take().expect("stderr")), complaints.clone());
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            eprintln!("bridge: {line}");
            sink.lock().expect("complaints").push(line);
        }
    });
    Spawned { child, lines, complaints }
}
