//! `check` and `apply`.

use super::print_json;
use super::reach::Reached;
use crate::cli::{FileArgs, Global};
use crate::failure::Failure;
use crate::out::say;
use clawbridge_clock::Timestamp;
use clawbridge_config::{Config, Severity, check};
use clawbridge_registry::RegistryError;
use serde_json::json;

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
    let version = reached.registry.apply(&config, Timestamp::now()).await.map_err(|error| {
        let message = error.to_string();
        match error {
            RegistryError::Raced | RegistryError::TooLarge { .. } | RegistryError::Invalid { .. } => {
                Failure::negative("CONFIG_NOT_APPLIED", message)
            }
            RegistryError::Table(_) => Failure::new("REGISTRY_UNAVAILABLE", message),
        }
    })?;
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
