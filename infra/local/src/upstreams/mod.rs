//! What stands in the place of the upstreams of tools, on a port of its own on this machine: a script, a recording, or a recorder on the way to
//! them. `clawbridge dev` and `clawbridge tools call` lead tools' calls here when they are asked to.

mod exchange;
mod record;
mod replay;
mod stub;
mod wire;

pub(crate) use record::WayOut;

use crate::cli::UpstreamArgs;
use crate::failure::Failure;
use crate::stack::LedTo;
use bytes::Bytes;
use clawbridge_config::{Asked, Compiled, CompiledTool};
use clawbridge_journal::Level;
use clawbridge_jq::Program;
use clawbridge_registry::Registry;
use clawbridge_tools::{Led, StandIns, Upstreams};
use exchange::{Body, Request};
use http::Method;
use record::Recorder;
use replay::Tape;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stub::{Stub, not_implemented};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use wire::{Answer, Incoming};

/// Requests that are remembered for the page.
const REMEMBERED: usize = 100;

/// The longest body that is remembered, bytes as JSON.
const MAX_REMEMBERED_BODY: usize = 64 * 1024;

/// How often the script is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Says what happens, to whoever looks on.
pub(crate) type Tell = Arc<dyn Fn(Level, &str) + Send + Sync>;

/// What was asked for on the command line, read and checked.
pub(crate) struct Opened {
    mode: Mode,
    stand_ins: StandIns,
}

enum Mode {
    Stub(Mutex<Stub>),
    Replay(Mutex<Tape>),
    Record(Box<Recorder>),
}

/// The tools whose calls are led here.
#[derive(Clone, Debug)]
pub(crate) enum Tools {
    /// Those of one document.
    Of(Arc<Compiled>),
    /// Those in use.
    InUse(Registry),
}

/// The tools at one moment.
pub(crate) struct Configured(Arc<Compiled>);

impl Configured {
    fn tool(&self, name: &str) -> Option<&CompiledTool> {
        self.0.tool(name)
    }
}

impl Tools {
    async fn now(&self) -> Result<Configured, String> {
        match self {
            Tools::Of(config) => Ok(Configured(config.clone())),
            Tools::InUse(registry) => {
                registry.current().await.map(|version| Configured(version.config)).map_err(|error| error.to_string())
            }
        }
    }
}

impl Opened {
    /// Reads what `args` ask for. `None`: nothing, calls go to their upstreams. `stand_ins` says which credentials a script and a recording
    /// are shown; what is recorded is sent with the real ones, by `way_out`.
    ///
    /// # Errors
    /// What is asked for is not there or does not work.
    pub(crate) fn open(
        args: &UpstreamArgs,
        stand_ins: StandIns,
        way_out: impl FnOnce() -> WayOut,
    ) -> Result<Option<Opened>, Failure> {
        let redact = args.redact.as_deref().map(Program::compile).transpose().map_err(|error| {
            Failure::usage("INVALID_JQ", format!("--redact is not a jq program: {}", error.message))
        })?;
        if redact.is_some() && args.record.is_none() && args.replay.is_none() {
            return Err(Failure::usage("NOTHING_TO_REDACT", "--redact goes with --record or --replay"));
        }
        let mode = match (&args.stub, &args.replay, &args.record) {
            (Some(script), _, _) => Mode::Stub(Mutex::new(Stub::open(script, args.stub_seed.unwrap_or(0))?)),
            (_, Some(dir), _) => Mode::Replay(Mutex::new(Tape::open(dir, args.replay_strict, redact)?)),
            (_, _, Some(dir)) => Mode::Record(Box::new(Recorder::open(dir, redact, way_out())?)),
            (None, None, None) => return Ok(None),
        };
        let stand_ins = if matches!(mode, Mode::Record(_)) { StandIns::Never } else { stand_ins };
        Ok(Some(Opened { mode, stand_ins }))
    }

    /// Begins to answer.
    ///
    /// # Errors
    /// There is no port.
    pub(crate) async fn start(self, tools: Tools, tell: Tell) -> Result<Running, Failure> {
        let unavailable = |error: std::io::Error| Failure::new("PORT_UNAVAILABLE", error.to_string());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(unavailable)?;
        let url = format!("http://{}", listener.local_addr().map_err(unavailable)?);
        let upstreams = Upstreams::new(&url, self.stand_ins)
            .map_err(|error| Failure::new("PORT_UNAVAILABLE", error.to_string()))?;
        let place = Place { mode: self.mode, tools, tell, requests: Mutex::default() };
        let place = Arc::new(place);
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(serve(place.clone(), listener, stopped));
        Ok(Running { view: View(Some(place)), url, upstreams, stop, serving })
    }
}

/// What stands there and answers.
pub(crate) struct Running {
    view: View,
    url: String,
    upstreams: Upstreams,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
}

/// What can be seen of it.
#[derive(Clone, Default)]
pub(crate) struct View(Option<Arc<Place>>);

impl Running {
    /// Where calls are to be led.
    pub(crate) fn upstreams(&self) -> Upstreams {
        self.upstreams.clone()
    }

    /// The same, for other processes on this machine.
    pub(crate) fn led_to(&self) -> LedTo {
        LedTo { url: self.url.clone(), is_way_out: self.view.is_way_out() }
    }

    pub(crate) fn view(&self) -> View {
        self.view.clone()
    }

    /// Ends when everything that was begun has ended, but after `patience` at the latest.
    pub(crate) async fn stop(mut self, patience: Duration) {
        self.stop.send_replace(true);
        if tokio::time::timeout(patience, &mut self.serving).await.is_err() {
            self.serving.abort();
        }
    }
}

impl View {
    /// Whether calls reach their upstreams: they do if nothing stands there, or a recorder.
    pub(crate) fn is_way_out(&self) -> bool {
        self.0.as_ref().is_none_or(|place| matches!(place.mode, Mode::Record(_)))
    }

    /// What stands there, in one line.
    pub(crate) fn summary(&self) -> Option<String> {
        let place = self.0.as_ref()?;
        Some(match &place.mode {
            Mode::Stub(stub) => format!("answered by {}: no call leaves this machine", lock(stub).summary()),
            Mode::Replay(tape) => format!("answered from {}: no call leaves this machine", lock(tape).summary()),
            Mode::Record(recorder) => format!("recorded into {}", recorder.summary()),
        })
    }

    /// How many exchanges could not be recorded.
    pub(crate) fn unrecorded(&self) -> u64 {
        match self.0.as_ref().map(|place| &place.mode) {
            Some(Mode::Record(recorder)) => recorder.counts().1,
            Some(Mode::Stub(_) | Mode::Replay(_)) | None => 0,
        }
    }

    /// The state of what stands there, and the last requests.
    pub(crate) fn page(&self) -> Option<Value> {
        let place = self.0.as_ref()?;
        let mut page = match &place.mode {
            Mode::Stub(stub) => lock(stub).page(),
            Mode::Replay(tape) => lock(tape).page(),
            Mode::Record(recorder) => recorder.page(),
        };
        page["requests"] = lock(&place.requests).iter().cloned().collect();
        Some(page)
    }
}

struct Place {
    mode: Mode,
    tools: Tools,
    tell: Tell,
    /// The latest last.
    requests: Mutex<VecDeque<Value>>,
}

/// What came of a request, beside its answer.
struct Outcome {
    /// By what it was answered.
    by: String,
    /// Why it was not answered as it should have been, or not recorded.
    complaint: Option<String>,
}

/// No half-made state between statements, so a panic elsewhere leaves it usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(place: Arc<Place>, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
    let stopped = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
    let mut stopped = std::pin::pin!(stopped);
    let mut connections = JoinSet::new();
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            () = &mut stopped => break,
            _ = looks.tick() => place.look(),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(connection(place.clone(), stream)); }
                // File handles ran out: a moment's rest is all one can do.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One request each: what is cut off must not be somebody else's connection.
async fn connection(place: Arc<Place>, mut stream: TcpStream) {
    let _may_fail = stream.set_nodelay(true);
    // Who ends early has nothing to be told.
    let Ok(incoming) = wire::read(&mut stream).await else { return };
    let method = incoming.method.clone();
    let answer = place.answer(incoming).await;
    drop(wire::write(&mut stream, &method, &answer).await);
}

impl Place {
    /// Reads the script again if it has changed.
    fn look(&self) {
        let Mode::Stub(stub) = &self.mode else { return };
        let reloaded = lock(stub).reload();
        match reloaded {
            None => {}
            Some(Ok(())) => {
                let summary = lock(stub).summary();
                (self.tell)(Level::Info, &format!("the script has changed: {summary}"));
            }
            Some(Err(failure)) => (self.tell)(Level::Error, &format!("{failure}; the script before stays in use")),
        }
    }

    async fn answer(&self, incoming: Incoming) -> Answer {
        if !wire::is_for_this_machine(&incoming.headers) {
            return Answer { status: 403, ..not_implemented("LOOPBACK_ONLY", "address this server as 127.0.0.1") };
        }
        let Some(led) = Led::read(incoming.method, &incoming.target, incoming.headers) else {
            let reason = "only calls of tools are answered here, which say by themselves whose they are";
            return Answer { status: 404, ..not_implemented("NO_CALL", reason) };
        };
        let configured = match self.tools.now().await {
            Ok(configured) => configured,
            Err(reason) => {
                (self.tell)(Level::Error, &reason);
                return Answer { status: 503, ..not_implemented("CONFIG_UNAVAILABLE", &reason) };
            }
        };
        let redaction = led.redaction(configured.tool(&led.tool));
        let request = Request::of(&led, &incoming.body, &redaction);
        let (answer, outcome) = match &self.mode {
            Mode::Stub(stub) => answer_by_script(stub, &led, &incoming.body, &request),
            Mode::Replay(tape) => answer_from_tape(tape, &led.tool, &request),
            Mode::Record(recorder) => {
                let (answer, written) = recorder.answer(&configured, &led, &incoming.body, &redaction).await;
                let outcome = match written {
                    Ok(file) => Outcome { by: file, complaint: None },
                    Err(reason) => Outcome {
                        by: "the upstream".to_owned(),
                        complaint: Some(format!("the exchange was not recorded: {reason}")),
                    },
                };
                (answer, outcome)
            }
        };
        self.note(&led.tool, request, &answer, &outcome);
        answer
    }

    fn note(&self, tool: &str, mut request: Request, answer: &Answer, outcome: &Outcome) {
        let (level, end) = match &outcome.complaint {
            Some(complaint) => (Level::Warn, format!(": {complaint}")),
            None => (Level::Info, format!(" by {}", outcome.by)),
        };
        let happened = match answer.cut {
            Some(cut) => format!("{} (cut: {})", answer.status, cut.as_str()),
            None => answer.status.to_string(),
        };
        (self.tell)(level, &format!("{tool}  {} {} → {happened}{end}", request.method, request.url));
        if request.body.as_ref().is_some_and(|body| json!(body).to_string().len() > MAX_REMEMBERED_BODY) {
            request.body = Some(Body::Text("[too long to be remembered]".to_owned()));
        }
        let cut = answer.cut.map(clawbridge_config::Cut::as_str);
        let seen = json!({"at": stub::now(), "tool": tool, "request": request, "status": answer.status, "cut": cut,
            "by": outcome.by, "complaint": outcome.complaint});
        let mut requests = lock(&self.requests);
        if requests.len() == REMEMBERED {
            requests.pop_front();
        }
        requests.push_back(seen);
    }
}

fn answer_by_script(stub: &Mutex<Stub>, led: &Led, body: &Bytes, request: &Request) -> (Answer, Outcome) {
    let body = stub::seen_body(body);
    let asked = Asked {
        tool: &led.tool,
        method: led.method.as_str(),
        host: led.url.host_str().unwrap_or_default(),
        port: led.url.port_or_known_default().unwrap_or_default(),
        path: led.url.path(),
        body: &body,
    };
    match lock(stub).answer(&asked, request) {
        Ok((answer, by)) => (answer, Outcome { by, complaint: None }),
        Err(reason) => nothing_fits("NO_ANSWER", &reason, reason.clone()),
    }
}

fn answer_from_tape(tape: &Mutex<Tape>, tool: &str, request: &Request) -> (Answer, Outcome) {
    let mut tape = lock(tape);
    let (exchange, file) = match tape.take(tool, request.clone()) {
        Ok(found) => found,
        Err(missing) => return nothing_fits("NOT_RECORDED", &missing.explained, missing.told),
    };
    let outcome = Outcome { by: file.to_owned(), complaint: None };
    let Some(response) = &exchange.response else {
        let error = exchange.failure.as_ref();
        return (error.map(record::failure).unwrap_or_default(), outcome);
    };
    let is_head = request.method == Method::HEAD.as_str();
    (response.answer(is_head), outcome)
}

fn nothing_fits(code: &str, explained: &str, told: String) -> (Answer, Outcome) {
    (not_implemented(code, explained), Outcome { by: "nothing".to_owned(), complaint: Some(told) })
}
