//! `tools import`: declarations for bridge.toml from an OpenAPI document or a GraphQL introspection result.

use super::print_json;
use crate::cli::Global;
use crate::failure::Failure;
use crate::out::say;
use clap::Args;
use clawbridge_import::{Code, Imported, MAX_BYTES, Options, Problem, import};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Secrets are only named in what is printed; nothing is fetched.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// An OpenAPI 3.0 or 3.1 document (JSON or YAML), or the answer to a GraphQL introspection query; - for standard input.
    document: PathBuf,
    /// Add the tools to this bridge.toml, instead of printing them; those that it has already stay as they are.
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
    /// Only operations whose tool's name, id or path fits, * for anything; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// Only operations with this tag (GraphQL: queries or mutations); may be repeated.
    #[arg(long)]
    tag: Vec<String>,
    /// Only the operation with this id (GraphQL: the field of this name); may be repeated.
    #[arg(long, value_name = "ID")]
    operation: Vec<String>,
    /// What the tools' names begin with: shop_
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// The secret with the API's credential: clawbridge/tools/NAME, or NAME [default: made of the document's title].
    #[arg(long, value_name = "NAME")]
    secret: Option<String>,
    /// Where the API is, up to its paths (GraphQL: the whole address) [default: as the document says].
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Deprecated operations too.
    #[arg(long)]
    deprecated: bool,
    /// No schemas of outputs.
    #[arg(long)]
    no_output: bool,
    /// Schemas longer than this are shortened (inputs) or left out (outputs).
    #[arg(long, value_name = "CHARACTERS", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(100..=65_536))]
    max_schema: u32,
    /// GraphQL: how many levels of objects an answer is asked for.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=6))]
    depth: u8,
    /// Leave operations out that the document breaks, with a comment in their place, instead of importing nothing.
    #[arg(long)]
    skip_broken: bool,
}

impl ImportArgs {
    fn options(&self) -> Options {
        Options {
            only: self.only.clone(),
            tags: self.tag.clone(),
            operations: self.operation.clone(),
            prefix: self.prefix.clone(),
            secret: self.secret.clone(),
            server: self.server.clone(),
            deprecated: self.deprecated,
            output: !self.no_output,
            max_schema: self.max_schema as usize,
            depth: usize::from(self.depth),
            skip_broken: self.skip_broken,
        }
    }
}

pub(crate) fn run(global: &Global, args: &ImportArgs) -> Result<(), Failure> {
    let document = read(&args.document)?;
    let imported = import(&document, &args.options()).map_err(|problems| refused(global, &problems))?;
    match &args.into {
        Some(file) => add(global, &imported, file)?,
        None if global.json => print_json(&json!({"toml": imported.to_toml(), "import": shown(&imported)})),
        None => say!("{}", imported.to_toml().trim_end()),
    }
    if !global.json {
        imported.summary().iter().for_each(|line| eprintln!("{line}"));
    }
    match imported.tools().next() {
        Some(_) => Ok(()),
        None => Err(Failure::negative("NOTHING_IMPORTED", "no operation of the selection can be a tool")),
    }
}

/// The bytes of the document, as many as are ever looked at.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    let done = if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    done.map_err(|error| Failure::not_found("DOCUMENT_UNREADABLE", format!("{}: {error}", path.display())))?;
    Ok(bytes)
}

/// All problems on standard error, and the first one's code.
fn refused(global: &Global, problems: &[Problem]) -> Failure {
    let Some(first) = problems.first() else { return Failure::said("UNKNOWN_DOCUMENT") };
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    if first.code == Code::InvalidOption {
        return Failure::usage(first.code.as_str(), first.message.clone());
    }
    if global.json {
        return Failure::negative(first.code.as_str(), lines.join("\n"));
    }
    lines.iter().for_each(|line| eprintln!("{line}"));
    Failure::said(first.code.as_str())
}

/// Adds what is new to a bridge.toml. What stands in it is not touched.
fn add(global: &Global, imported: &Imported, file: &Path) -> Result<(), Failure> {
    let name = file.display();
    let failed = |error: std::io::Error| Failure::not_found("CONFIG_UNREADABLE", format!("{name}: {error}"));
    let before = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(error)),
    };
    let appended = imported
        .append_to(&before)
        .map_err(|problem| Failure::negative("CONFIG_INVALID", format!("{name}: {}", problem.message)))?;
    if !appended.text.is_empty() {
        let mut open = OpenOptions::new().append(true).create(true).open(file).map_err(failed)?;
        open.write_all(appended.text.as_bytes()).map_err(failed)?;
    }
    if global.json {
        print_json(&json!({
            "file": name.to_string(),
            "added": appended.added,
            "existing": appended.existing,
            "import": shown(imported),
        }));
        return Ok(());
    }
    for (names, what) in [(&appended.added, "added to"), (&appended.existing, "not changed, already in")] {
        if !names.is_empty() {
            say!("{what} {name}: {}", names.join(", "));
        }
    }
    Ok(())
}

fn shown(imported: &Imported) -> Value {
    let notes: Vec<Value> = imported
        .notes()
        .iter()
        .map(|note| json!({"code": note.code.as_str(), "operation": note.operation, "message": note.message}))
        .collect();
    json!({"tools": imported.tools().collect::<Vec<_>>(), "secrets": imported.secrets(), "notes": notes})
}
