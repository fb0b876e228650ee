//! README.md: what it tells a newcomer to type does what it says.

use crate::support::{Bridge, program, root, run};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("README.md")
}

/// The blocks of a language, in their order.
fn blocks(language: &str) -> Vec<String> {
    let readme = readme();
    let opening = format!("```{language}\n");
    readme.split(&opening).skip(1).filter_map(|rest| rest.split("\n```").next()).map(str::to_owned).collect()
}

/// The block of bridge.toml that has this in it.
pub(crate) fn block_with(text: &str) -> String {
    blocks("toml").into_iter().find(|block| block.contains(text)).unwrap_or_else(|| panic!("no block has {text}"))
}

/// The words of a command as a shell would see them: single quotes, and a comment at the end.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for c in command.chars() {
        match c {
            '\'' => is_quoted = !is_quoted,
            '#' if !is_quoted && words.last().is_some_and(String::is_empty) => break,
            ' ' if !is_quoted => words.push(String::new()),
            _ => words.last_mut().expect("a word").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// In their order, on the repository's own bridge.toml, with a secret on standard input where one is asked for.
#[tokio::test]
async fn every_command_does_what_it_says() {
    let config = std::fs::read_to_string(root().join("bridge.toml")).expect("bridge.toml");
    let bridge = Bridge::start(&config).await;
    let mut ran: BTreeMap<String, u32> = BTreeMap::new();
    for line in blocks("sh").iter().flat_map(|block| block.lines()) {
        // Those for a deployed stack, and those that begin or redirect something, are tried elsewhere.
        let Some(command) = line.strip_prefix("cargo run -- ").filter(|command| !command.contains("--stack")) else {
            continue;
        };
        if command.contains(" > ") {
            continue;
        }
        let words = words(command);
        let args: Vec<&str> = words.iter().map(String::as_str).collect();
        let answer = bridge.run_with_input(&args, "a-secret-from-the-provider\n");
        let expected = i32::from(args.contains(&"--tamper"));
        assert_eq!(answer.status, expected, "{command}: {answer:?}");
        *ran.entry(words[0].clone()).or_default() += 1;
    }
    for command in ["send", "tasks", "source", "secret", "check", "events", "verify"] {
        assert!(ran.contains_key(command), "README.md no longer shows {command}: {ran:?}");
    }
    bridge.line("the fixture's task succeeded", |line| line["decision"] == "succeeded").await;
    bridge.lines("event.repeated", 1).await;
}

#[test]
fn the_examples_of_bridge_toml_are_valid() {
    let examples = blocks("toml");
    assert_eq!(examples.len(), 9);
    let dir = tempfile::TempDir::new().expect("a directory");
    let path = dir.path().join("bridge.toml");
    // Each alone, and together as one document.
    for example in [examples.clone(), vec![examples.join("\n")]].concat() {
        std::fs::write(&path, example).expect("bridge.toml");
        let answer = run(&["check", path.to_str().expect("a path")], "");
        assert_eq!((answer.status, answer.err.as_str()), (0, ""), "{answer:?}");
    }
}

#[test]
fn the_example_of_a_test_passes_and_fails_when_the_tool_is_another() {
    let (scripts, examples) = (blocks("bash"), blocks("toml"));
    assert_eq!(scripts.len(), 1);
    let dir = tempfile::TempDir::new().expect("a directory");
    std::fs::write(dir.path().join("test.sh"), &scripts[0]).expect("a script");
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", program().parent().expect("a directory").display());
    for (config, passes) in [(examples[0].clone(), true), (examples[0].replace("/v1/", "/v2/"), false)] {
        std::fs::write(dir.path().join("bridge.toml"), config).expect("bridge.toml");
        let ran =
            Command::new("bash").arg("test.sh").current_dir(dir.path()).env("PATH", &path).output().expect("bash");
        assert_eq!(ran.status.success(), passes, "{ran:?}");
    }
}

/// All Rust of a folder and below it.
fn sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() && entry.file_name().is_some_and(|name| name != "target") {
            sources(&entry, into);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(&entry).expect("text"));
        }
    }
}

#[test]
fn every_test_that_a_promise_names_is_there() {
    let promises = std::fs::read_to_string(root().join("PROMISES.md")).expect("PROMISES.md");
    let mut code = String::new();
    for folder in ["functions", "infra", "shared", "tests"] {
        sources(&root().join(folder), &mut code);
    }
    // A test's name is a sentence of words joined by underscores; a path before it names its file.
    let is_sentence = |name: &&str| {
        name.matches('_').count() >= 3
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let quoted = promises.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.rsplit("::").next());
    let names: Vec<&str> = quoted.filter(is_sentence).collect();
    assert!(names.len() > 80, "{} names", names.len());
    let missing: Vec<&&str> = names.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
