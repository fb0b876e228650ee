//! `connect`: the connector as a process, with its settings, its sockets and its log.

use crate::cli::{ConnectorArgs, Global};
use crate::failure::Failure;
use crate::operator::secrets;
use crate::random;
use crate::socket::{Address, OpenError, Roots, Socket, open, secret_header};
use clawbridge_clock::Timestamp;
use clawbridge_connector::core::Core;
use clawbridge_connector::gateway::Gateway;
use clawbridge_connector::link::{Again, Unopened};
use clawbridge_connector::notice::{Level, Notice};
use clawbridge_connector::run::{Shown, run as run_connector};
use clawbridge_connector::settings::{Secret, Settings, SettingsError, Told};
use clawbridge_responses::dialects::bridge;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// What the connector says of itself.
const CONNECTOR: &str = concat!("clawbridge/", env!("CARGO_PKG_VERSION"));

/// The longest file of settings, bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

pub(crate) async fn run(global: &Global, args: ConnectorArgs) -> Result<(), Failure> {
    let shown = Shown { debug: args.debug || args.debug_bodies, bodies: args.debug_bodies };
    let roots = args.ca_file.as_deref().map_or_else(|| Ok(Roots::public()), Roots::of_file)?;
    let sources = Sources::read(global, args).await?;
    let settings = sources.settings()?;
    let shown = Shown { debug: shown.debug || settings.debug, ..shown };
    let dialling = Dialling::to(&settings, sources, roots)?;
    let json = global.json;
    for warning in warnings(&settings) {
        print(&warning, json);
    }
    let client =
        clawbridge_outbound::client_for_streams().map_err(|error| Failure::new("HTTP_CLIENT", error.message))?;
    let gateway = Gateway::new(client, settings.gateway.clone());
    let core = Core::new(CONNECTOR, &random::idempotency_key(), settings.timing, settings.max_turns);
    let (signals, stop) = mpsc::channel(2);
    listen(signals)?;
    let dialling = Arc::new(dialling);
    let dial = || Arc::clone(&dialling).dial();
    run_connector(core, gateway, dial, |notice| print(notice, json), shown, stop).await;
    Ok(())
}

/// A line of the log. Where nobody reads it any more, the connector goes on: it has turns under way.
fn print(notice: &Notice, json: bool) {
    let now = Timestamp::now();
    let line = if json { notice.json(now) } else { notice.line(now) };
    let _is_read = writeln!(std::io::stdout().lock(), "{line}");
}

fn warnings(settings: &Settings) -> Vec<Notice> {
    let warning = |text: &str| Notice::Line(Level::Warn, text.to_owned());
    let mut warnings = Vec::new();
    if settings.gateway.token.is_none() {
        warnings.push(warning("no token for the gateway is set (OPENCLAW_GATEWAY_TOKEN, or OPENCLAW_HOOKS_TOKEN in hooks mode); most refuse requests without one"));
    }
    let is_plain = Address::parse(&settings.gateway.url).is_ok_and(|url| url.is_plain() && !url.is_loopback());
    if is_plain {
        warnings.push(warning(
            "the gateway is on another machine and its address is http://: its token can be read on the way",
        ));
    }
    warnings
}

fn unusable(error: &SettingsError) -> Failure {
    Failure::usage(error.code(), error.to_string())
}

/// Where the settings come from.
struct Sources {
    /// Flags, standard input, the environment and a secret of the stack: they do not change.
    fixed: Told,
    file: Option<PathBuf>,
}

impl Sources {
    async fn read(global: &Global, args: ConnectorArgs) -> Result<Sources, Failure> {
        let app_secret = args.app_secret_stdin.then(secrets::from_standard_input).transpose()?.map(Secret::new);
        let flags = Told {
            url: args.url,
            app_key: args.app_key,
            app_secret,
            system_prompt: args.system_prompt,
            gateway_url: args.gateway_url,
            mode: args.mode,
            model: args.model,
            hook_sessions: args.hook_sessions,
            max_turns: args.max_turns,
            gateway_wait_s: args.gateway_wait,
            gateway_silence_s: args.gateway_silence,
            allow_plaintext: args.allow_plaintext.then_some(true),
            ..Told::default()
        };
        let environment = Told::of_environment(|name| std::env::var(name).ok()).map_err(|error| unusable(&error))?;
        let mut fixed = flags.or(environment);
        if let Some(name) = &args.from_secret {
            fixed = fixed.or(of_secret(global, name).await?);
        }
        Ok(Sources { fixed, file: args.file })
    }

    fn told(&self) -> Result<Told, Failure> {
        Ok(match &self.file {
            Some(path) => self.fixed.clone().or(of_file(path)?),
            None => self.fixed.clone(),
        })
    }

    fn settings(&self) -> Result<Settings, Failure> {
        self.told()?.settled().map_err(|error| unusable(&error))
    }
}

async fn of_secret(global: &Global, name: &str) -> Result<Told, Failure> {
    let reached = crate::operator::reach::Reached::stack(global).await?;
    let Some(value) = secrets::read(&reached, name).await? else {
        return Err(Failure::not_found("NO_SECRET", format!("there is no secret {name}")));
    };
    let wrong = |what: String| Failure::usage("CONNECTOR_SETTING_WRONG", format!("secret {name}: {what}"));
    let text = String::from_utf8(value).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
    Told::of_file(&text, true).map_err(|error| wrong(error.to_string()))
}

fn of_file(path: &Path) -> Result<Told, Failure> {
    let wrong = |what: String| Failure::usage("CONNECTOR_FILE", format!("{}: {what}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if size > MAX_FILE_BYTES {
        return Err(wrong(format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    Told::of_file(&text, is_json).map_err(|error| wrong(error.to_string()))
}

/// How the bridge is called.
struct Dialling {
    address: Address,
    sources: Sources,
    roots: Roots,
    headers: HeaderMap,
}

impl Dialling {
    /// # Errors
    /// What would be wrong with every call.
    fn to(settings: &Settings, sources: Sources, roots: Roots) -> Result<Dialling, Failure> {
        let address = Address::parse(&settings.url)?;
        if address.is_plain() && !address.is_loopback() && !settings.allow_plaintext {
            let message = format!(
                "{address}: the secret and all that is said could be read on the way; use wss://, or --allow-plaintext in a network that is yours"
            );
            return Err(Failure::usage("CONNECTOR_PLAINTEXT", message));
        }
        let headers = headers(settings)?;
        Ok(Dialling { address, sources, roots, headers })
    }

    async fn dial(self: Arc<Dialling>) -> Result<Socket, Unopened> {
        // A file that cannot be read just now is what it was.
        let current = self.sources.file.as_ref().and_then(|_| self.sources.settings().ok());
        let headers = current.and_then(|settings| headers(&settings).ok()).unwrap_or_else(|| self.headers.clone());
        match open(&self.address, headers, &[], &self.roots).await {
            Ok((socket, _)) => Ok(socket),
            Err(error) => Err(Unopened { again: again(&error), why: format!("{}: {error}", self.address) }),
        }
    }
}

fn headers(settings: &Settings) -> Result<HeaderMap, OpenError> {
    let dialect = (HeaderName::from_static("x-clawbridge-connector"), HeaderValue::from_static(bridge::NAME));
    Ok(HeaderMap::from_iter([
        secret_header("x-app-key", &settings.app_key)?,
        secret_header("x-app-secret", settings.app_secret.expose())?,
        dialect,
    ]))
}

fn again(error: &OpenError) -> Again {
    match error {
        OpenError::Refused { status: 408 | 425 | 429 | 500.., retry_after: Some(after) } => Again::After(*after),
        OpenError::Refused { status: 408 | 425 | 429, .. } => Again::Soon,
        OpenError::Refused { status: ..=499, .. } | OpenError::Address(_) | OpenError::Header(_) => Again::Mended,
        OpenError::Refused { .. }
        | OpenError::Name { .. }
        | OpenError::Unreachable { .. }
        | OpenError::Tls { .. }
        | OpenError::Protocol(_)
        | OpenError::TimeOver { .. } => Again::Soon,
    }
}

/// Each signal to end is passed on: the first lets what is under way finish, the second does not.
fn listen(signals: mpsc::Sender<()>) -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error: std::io::Error| Failure::new("SIGNALS", error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if signals.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}
