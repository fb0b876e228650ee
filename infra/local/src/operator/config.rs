//! `check`, `apply` and `config show|versions|diff|rollback`.

use super::print_json;
use super::reach::Reached;
use crate::cli::{FileArgs, Global};
use crate::failure::Failure;
use crate::operator::table;
use crate::out::say;
use clap::Subcommand;
use clawbridge_clock::Timestamp;
use clawbridge_config::{Config, Severity, check, differences};
use clawbridge_registry::{KEPT_VERSIONS, Registry, RegistryError};
use clawbridge_skills::{Record, keep};
use serde_json::{Value, json};

pub(crate) fn check_file(global: &Global, args: &FileArgs) -> Result<(), Failure> {
    let config = read(global, args)?;
    if !global.json {
        say!("{} is valid: {}.", args.file.display(), summary(&config));
    }
    Ok(())
}

/// What a document has, counted. Providers only where there are any: most documents have none.
pub(crate) fn summary(config: &Config) -> String {
    let counted = format!("{} tools, {} routes", config.tools.len(), config.routes.len());
    match config.providers.len() {
        0 => counted,
        providers => format!("{counted}, {providers} providers"),
    }
}

pub(crate) async fn apply_file(global: &Global, args: &FileArgs) -> Result<(), Failure> {
    let config = read(global, args)?;
    let reached = Reached::stack(global).await?;
    let version = put(&reached.registry, &config).await?;
    if global.json {
        print_json(&json!({"applied": true, "version": version, "stack": reached.stack.name}));
    } else {
        say!(
            "{} is version {version} of stack {}; functions pick it up within seconds.",
            args.file.display(),
            reached.stack.name
        );
    }
    Ok(())
}

/// How often is tried what somebody else's new version gets in the way of.
const TRIES: u32 = 5;

/// Puts a document as a new version, with what installed skills brought that it does not mention; the version's number.
pub(crate) async fn put(registry: &Registry, config: &Config) -> Result<u64, Failure> {
    for _ in 0..TRIES {
        // Before the skills: each change of one is a new version, so what was read is of this one or is not written.
        let (in_use, _) = registry.latest().await.map_err(failed)?;
        let records: Vec<Record> =
            registry.skills().await.map_err(failed)?.into_iter().map(|skill| skill.record).collect();
        let whole = keep(config, &records).map_err(|diagnostics| {
            let first = diagnostics.first().map(ToString::to_string).unwrap_or_default();
            let message = format!(
                "with what the installed skills brought it does not work: {first}; `clawbridge skills list` has them"
            );
            Failure::negative("CONFIG_INVALID", message)
        })?;
        match registry.apply_over(&whole, Some(in_use), Timestamp::now()).await {
            Err(RegistryError::Raced) => {}
            applied => return applied.map_err(failed),
        }
    }
    Err(failed(RegistryError::Raced))
}

pub(super) fn failed(error: RegistryError) -> Failure {
    let message = error.to_string();
    match error {
        RegistryError::Raced | RegistryError::TooLarge { .. } | RegistryError::Invalid { .. } => {
            Failure::negative("CONFIG_NOT_APPLIED", message)
        }
        RegistryError::Table(_) => Failure::new("REGISTRY_UNAVAILABLE", message),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show the configuration in use, or an earlier version: JSON in the form of bridge.toml.
    Show {
        /// This version instead.
        #[arg(value_name = "N")]
        number: Option<u64>,
    },
    /// List the latest versions.
    Versions {
        /// How many at most, up to the hundred that are kept.
        #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=100))]
        limit: i32,
    },
    /// Say what differs between two versions.
    Diff {
        /// The earlier one [default: the one before the later one].
        #[arg(long, value_name = "N")]
        from: Option<u64>,
        /// The later one [default: the one in use].
        #[arg(long, value_name = "N")]
        to: Option<u64>,
    },
    /// Put an earlier version as a new one.
    Rollback {
        /// Its number.
        #[arg(value_name = "N")]
        number: u64,
    },
}

pub(crate) async fn run(global: &Global, command: ConfigCommand) -> Result<(), Failure> {
    let registry = Reached::stack(global).await?.registry;
    match command {
        ConfigCommand::Show { number } => {
            let (number, config) = document(&registry, number).await?;
            if global.json {
                print_json(&json!({"version": number, "config": config}));
            } else {
                print_json(&config);
            }
        }
        ConfigCommand::Versions { limit } => {
            let versions = registry.versions(None, limit).await.map_err(failed)?;
            if global.json {
                let of = |(number, at): &(u64, Timestamp)| json!({"version": number, "applied_at": at.rfc3339()});
                print_json(&versions.iter().map(of).collect::<Vec<_>>());
            } else {
                let rows: Vec<Vec<String>> =
                    versions.iter().map(|(number, at)| vec![number.to_string(), at.rfc3339()]).collect();
                table::print(&["VERSION", "APPLIED"], &rows);
            }
        }
        ConfigCommand::Diff { from, to } => {
            let (to, after) = document(&registry, to).await?;
            let (from, before) = document(&registry, Some(from.unwrap_or(to.saturating_sub(1)))).await?;
            let differences = differences(&before, &after);
            if global.json {
                print_json(&json!({"from": from, "to": to, "differences": differences}));
            } else if differences.is_empty() {
                say!("Versions {from} and {to} say the same.");
            } else {
                for one in differences {
                    let (mark, was, is) = match (&one.before, &one.after) {
                        (Value::Null, after) => ("+", String::new(), after.to_string()),
                        (before, Value::Null) => ("-", before.to_string(), String::new()),
                        (before, after) => ("~", format!("{before} -> "), after.to_string()),
                    };
                    say!("{mark} {}  {was}{is}", one.path);
                }
            }
        }
        ConfigCommand::Rollback { number: version } => {
            let (_, document) = document(&registry, Some(version)).await?;
            let config = Config::from_json(document.to_string().as_bytes()).map_err(|diagnostics| {
                let first = diagnostics.first().map(ToString::to_string).unwrap_or_default();
                Failure::negative("CONFIG_INVALID", format!("version {version} no longer works: {first}"))
            })?;
            let number = registry.apply(&config, Timestamp::now()).await.map_err(failed)?;
            if global.json {
                print_json(&json!({"version": number, "of": version}));
            } else {
                say!("Version {number} is what version {version} was; functions pick it up within seconds.");
            }
        }
    }
    Ok(())
}

/// A version's document, the one in use if none is named.
async fn document(registry: &Registry, version: Option<u64>) -> Result<(u64, Value), Failure> {
    let (number, json) = match version {
        Some(0) => (0, Config::default().to_json()),
        Some(number) => {
            let found = registry.version(number).await.map_err(failed)?;
            let missing = || {
                let message = format!("there is no version {number}; the latest {KEPT_VERSIONS} are kept");
                Failure::not_found("UNKNOWN_VERSION", message)
            };
            (number, found.ok_or_else(missing)?)
        }
        None => registry.latest().await.map_err(failed)?,
    };
    let value = serde_json::from_slice(&json);
    Ok((number, value.map_err(|error| Failure::negative("CONFIG_UNREADABLE", error.to_string()))?))
}

/// The document, if it is valid. What is to be said about it is printed: to standard error, or as JSON.
fn read(global: &Global, args: &FileArgs) -> Result<Config, Failure> {
    let shown = args.file.display().to_string();
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| Failure::not_found("CONFIG_UNREADABLE", format!("{shown}: {error}")))?;
    let (config, diagnostics) = check(&text);
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    if global.json {
        print_json(&json!({"file": shown, "valid": errors == 0, "diagnostics": diagnostics}));
    } else {
        for diagnostic in &diagnostics {
            eprintln!("{}", diagnostic.display(&shown));
        }
    }
    config.filter(|_| errors == 0).ok_or_else(|| {
        Failure::negative("CONFIG_INVALID", format!("{shown} has {errors} error{}", if errors == 1 { "" } else { "s" }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_providers_where_there_are_any() {
        let provider = "[providers.p]\nclient_id = \"c\"\nissuer = \"https://a.example\"\n";
        for (text, expected) in [("", "0 tools, 0 routes"), (provider, "0 tools, 0 routes, 1 providers")] {
            assert_eq!(summary(&check(text).0.unwrap()), expected);
        }
    }
}
