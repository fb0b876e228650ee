//! Official client SDKs (tests/clients) against a running bridge: steps as lines of JSON in, what came of them as lines of JSON out.

use super::root;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where it is `1`, a test that lacks what it needs fails instead of being left out.
const REQUIRED: &str = "CLAWBRIDGE_REQUIRE_AUTHORITY";

/// What came of a program's steps.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) success: bool,
    pub(crate) lines: Vec<Value>,
    pub(crate) complaints: String,
}

/// Runs `script` (Node's, or Python's where it ends in `.py`) with the steps; none where the program or the package is missing: then a line on
/// standard error says so, and the test returns.
///
/// # Panics
///
/// Where they are missing and `CLAWBRIDGE_REQUIRE_AUTHORITY=1`.
pub(crate) fn run(script: &str, package: &str, args: &[&str], steps: &[Value]) -> Option<Ran> {
    let program = program(script);
    if let Some(missing) = missing(&program, script, package) {
        assert!(
            std::env::var(REQUIRED).as_deref() != Ok("1"),
            "{missing}, and {REQUIRED}=1; see tests/clients/README.md"
        );
        let thread = std::thread::current();
        let line = format!("not run: {}: {missing}, see tests/clients/README.md\n", thread.name().unwrap_or("a test"));
        // Not eprintln!, which the test runner keeps to itself where a test passes.
        drop(std::io::stderr().write_all(line.as_bytes()));
        return None;
    }
    let mut child = Command::new(&program)
        .arg(script)
        .args(args)
        .current_dir(folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let steps: String = steps.iter().map(|step| format!("{step}\n")).collect();
    // One that has failed already reads no more; its output says why.
    drop(child.stdin.take().expect("stdin").write_all(steps.as_bytes()));
    let output = child.wait_with_output().expect("its output");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.to_owned())));
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(Ran { success: output.status.success(), lines: lines.collect(), complaints })
}

/// Whether `script` could be run.
pub(crate) fn is_there(script: &str, package: &str) -> bool {
    missing(&program(script), script, package).is_none()
}

fn folder() -> PathBuf {
    root().join("tests/clients")
}

/// What runs a script: Node, or the Python of the environment that requirements.txt was installed into.
fn program(script: &str) -> PathBuf {
    if is_python(script) { folder().join(".venv/bin/python") } else { PathBuf::from("node") }
}

fn is_python(script: &str) -> bool {
    script.ends_with(".py")
}

fn missing(program: &Path, script: &str, package: &str) -> Option<String> {
    let runs = |args: &[&str]| Command::new(program).args(args).output().is_ok_and(|ran| ran.status.success());
    if is_python(script) {
        let import = format!("import {package}");
        return (!runs(&["-c", &import])).then(|| format!("{package} is not installed in tests/clients/.venv"));
    }
    if !runs(&["--version"]) {
        return Some("Node is not installed".to_owned());
    }
    let is_there = folder().join("node_modules").join(package).is_dir();
    (!is_there).then(|| format!("the package {package} is not installed in tests/clients"))
}
