//! `bridge.toml`, applied at the start and whenever it changes.

use crate::dev::show::Show;
use crate::failure::Failure;
use crate::operator::config::{put, summary};
use crate::random::signing_secret;
use crate::stack::Stack;
use clawbridge_config::{Config, Severity, check};
use clawbridge_journal::Level;
use clawbridge_local_aws::LocalAws;
use clawbridge_local_aws::secrets::SecretsError;
use clawbridge_queue::BRIDGE_SOURCE;
use clawbridge_registry::Registry;
use clawbridge_signatures::{Options, Scheme, Source};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The file and where it goes.
pub(crate) struct BridgeToml {
    path: PathBuf,
    registry: Registry,
    local: LocalAws,
    stack: Stack,
    /// When the file had changed last when it was last applied.
    seen: Option<SystemTime>,
}

/// What came of applying it.
#[derive(Default)]
pub(crate) struct Applied {
    pub(crate) version: u64,
    pub(crate) summary: Option<String>,
    pub(crate) sources_made: Vec<String>,
}

impl BridgeToml {
    pub(crate) fn new(path: PathBuf, registry: Registry, local: LocalAws, stack: Stack) -> BridgeToml {
        BridgeToml { path, registry, local, stack, seen: None }
    }

    /// Applies the file, if there is one.
    pub(crate) async fn apply(&mut self) -> Result<Applied, Failure> {
        // Before the text: what is written in between is looked at again.
        self.seen = self.changed_at();
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Applied::default()),
            Err(error) => {
                return Err(Failure::negative("CONFIG_UNREADABLE", format!("{}: {error}", self.path.display())));
            }
        };
        let (config, diagnostics) = check(&text);
        let shown = self.path.display().to_string();
        for diagnostic in &diagnostics {
            eprintln!("{}", diagnostic.display(&shown));
        }
        let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
        let Some(config) = config.filter(|_| errors == 0) else {
            return Err(Failure::negative("CONFIG_INVALID", format!("{shown} has {errors} errors")));
        };
        let version = put(&self.registry, &config).await?;
        let sources_made = self.make_sources(&config)?;
        let summary = Some(format!("{shown} (version {version}: {})", summary(&config)));
        Ok(Applied { version, summary, sources_made })
    }

    /// A route's source that is named like a scheme and does not exist yet is made, with a secret of its own, so that a fixture can be
    /// sent to it at once. Only here, on one machine: in AWS a source is somebody's decision.
    fn make_sources(&self, config: &Config) -> Result<Vec<String>, Failure> {
        let failed = |error: String| Failure::new("LOCAL_STACK", error);
        let wanted: BTreeSet<&str> =
            config.routes.iter().map(|route| route.source.as_str()).filter(|source| *source != BRIDGE_SOURCE).collect();
        let mut made = Vec::new();
        for name in wanted {
            let Ok(scheme) = Scheme::parse(name) else { continue };
            let secret_name = self.stack.source_secret(name);
            match self.local.secrets().get(&secret_name) {
                Ok(None) => {}
                // There, or removed by somebody who meant it.
                Ok(Some(_)) | Err(SecretsError::InvalidRequest(_)) => continue,
                Err(error) => return Err(failed(error.to_string())),
            }
            let Ok(source) = Source::new(scheme, vec![signing_secret(scheme)], Options::default()) else { continue };
            self.local
                .secrets()
                .create(&secret_name, &source.to_secret())
                .map_err(|error| failed(error.to_string()))?;
            made.push(name.to_owned());
        }
        Ok(made)
    }

    /// Applies the file again whenever it changes, until `stop`.
    pub(crate) async fn watch(mut self, show: Show, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            if self.changed_at() == self.seen {
                continue;
            }
            match self.apply().await {
                Ok(applied) => {
                    if let Some(summary) = applied.summary {
                        show.note(&format!("applied {summary}"), Level::Info);
                    }
                }
                Err(failure) => show.note(&format!("{failure}; the version before stays in use"), Level::Error),
            }
        }
    }

    fn changed_at(&self) -> Option<SystemTime> {
        std::fs::metadata(&self.path).and_then(|metadata| metadata.modified()).ok()
    }
}
