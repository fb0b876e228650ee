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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn told(url: &str) -> Told {
        Told {
            url: Some(url.to_owned()),
            app_key: Some("oak_1".to_owned()),
            app_secret: Some(Secret::new("oas_flag".to_owned())),
            ..Told::default()
        }
    }

    fn dialling(fixed: Told, file: Option<PathBuf>) -> Result<Dialling, Failure> {
        let sources = Sources { fixed, file };
        let settings = sources.settings()?;
        Dialling::to(&settings, sources, Roots::public())
    }

    /// Refuses a call with 401; the head of what was asked.
    async fn refuse(listener: &TcpListener) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut head).await.unwrap() > 0);
        }
        stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        String::from_utf8(head).unwrap().to_lowercase()
    }

    #[tokio::test]
    async fn a_secret_that_was_rotated_in_the_file_is_sent_with_the_next_call() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("connector.json");
        let write = |secret: &str| {
            let url = format!("ws://{}/responses", listener.local_addr().unwrap());
            let text = serde_json::json!({"url": url, "clientId": "oak_1", "clientSecret": secret, "enabled": true});
            std::fs::write(&path, text.to_string()).unwrap();
        };
        write("oas_before");
        let dialling = Arc::new(dialling(Told::default(), Some(path.clone())).unwrap());
        for (secret, expected) in [(None, "oas_before"), (Some("oas_after"), "oas_after")] {
            if let Some(secret) = secret {
                write(secret);
            }
            let (dialled, head) = tokio::join!(Arc::clone(&dialling).dial(), refuse(&listener));
            for header in
                ["x-app-key: oak_1", &format!("x-app-secret: {expected}"), "x-clawbridge-connector: bridge.v1"]
            {
                assert!(head.contains(&format!("{header}\r\n")), "{header}: {head}");
            }
            let unopened = dialled.err().unwrap();
            assert_eq!(unopened.again, Again::Mended);
            assert!(unopened.why.contains("401") && !unopened.why.contains("oas_"), "{}", unopened.why);
        }
        // What cannot be read any more is what it was when the connector started.
        std::fs::write(&path, "{").unwrap();
        let (_, head) = tokio::join!(Arc::clone(&dialling).dial(), refuse(&listener));
        assert!(head.contains("x-app-secret: oas_before\r\n"), "{head}");
    }

    #[test]
    fn what_would_be_wrong_with_every_call_ends_the_connector_at_once() {
        for (changed, code) in [
            (told("x"), "SOCKET_ADDRESS"),
            (told("ws://x.example/responses"), "CONNECTOR_PLAINTEXT"),
            (Told { app_secret: Some(Secret::new("a\nb".to_owned())), ..told("wss://x.example/") }, "SOCKET_HEADER"),
            (Told { enabled: Some(false), ..told("wss://x.example/") }, "CONNECTOR_NOT_ENABLED"),
        ] {
            let failure = dialling(changed, None).err().unwrap();
            assert_eq!((failure.code, failure.exit), (code, Exit::Usage));
        }
        let in_ones_own_network = Told { allow_plaintext: Some(true), ..told("ws://x.example/responses") };
        assert!(dialling(in_ones_own_network, None).is_ok());
        let failure = dialling(Told::default(), Some(PathBuf::from("nowhere.toml"))).err().unwrap();
        assert_eq!((failure.code, failure.exit), ("CONNECTOR_FILE", Exit::Usage));
    }

    #[test]
    fn what_somebody_has_to_mend_is_tried_slowly() {
        let refused = |status, after: Option<u64>| OpenError::Refused {
            status,
            retry_after: after.map(std::time::Duration::from_secs),
        };
        for (status, after, expected) in [
            (401, None, Again::Mended),
            (403, None, Again::Mended),
            (404, Some(1), Again::Mended),
            (429, None, Again::Soon),
            (429, Some(7), Again::After(std::time::Duration::from_secs(7))),
            (500, None, Again::Soon),
            (503, Some(7), Again::After(std::time::Duration::from_secs(7))),
        ] {
            assert_eq!(again(&refused(status, after)), expected, "{status}");
        }
        assert_eq!(again(&OpenError::TimeOver { host: String::new() }), Again::Soon);
    }
}
