//! The operator's commands that set a bridge up: sources, secrets, bridge.toml, completions.

use crate::support::{Answer, Bridge, program, root, run};
use serde_json::{Value, json};
use std::process::{Command, Stdio};

fn refused(answer: &Answer, code: &str) {
    assert_eq!((answer.status, answer.error_code().as_str()), (1, code), "{answer:?}");
}

async fn current_secret(bridge: &Bridge, name: &str) -> Value {
    bridge.aws("secretsmanager.GetSecretValue", &json!({"SecretId": name})).await["SecretString"].take()
}

#[tokio::test]
async fn a_source_that_cannot_work_is_not_added_and_its_secret_is_not_repeated() {
    let bridge = Bridge::start("").await;
    bridge.add_source("taken", "openclaw", "the secret before");
    let hidden = "whsec_very+hidden";
    let rows: &[(&[&str], &str, &str)] = &[
        (&["Stripe", "--scheme", "stripe"], "SOURCE_NAME", "lower-case letters"),
        (&["a/b", "--scheme", "stripe"], "SOURCE_NAME", "lower-case letters"),
        (&["bridge", "--scheme", "stripe"], "SOURCE_NAME", "the bridge itself"),
        (&["shop", "--scheme", "strype"], "UNKNOWN_SCHEME", "did you mean \"stripe\"?"),
        (&["shop"], "UNKNOWN_SCHEME", "--scheme"),
        (&["standard-webhook"], "UNKNOWN_SCHEME", "did you mean \"standard-webhooks\"?"),
        (&["taken", "--scheme", "stripe"], "SOURCE_EXISTS", "source rotate taken"),
        (&["shop", "--scheme", "standard-webhooks"], "SOURCE_INVALID", "base64"),
        (&["shop", "--scheme", "hmac"], "SOURCE_INVALID", "header"),
        (&["shop", "--scheme", "hmac", "--hmac", "header=X"], "SOURCE_INVALID", "not JSON"),
        (&["shop", "--scheme", "hmac", "--hmac", "{\"heder\":\"X\"}"], "SOURCE_INVALID", "did you mean \"header\"?"),
        (
            &["shop", "--scheme", "hmac", "--hmac", "{\"header\":\"X\",\"signed\":\"{timestamp}\"}"],
            "SOURCE_INVALID",
            "{body}",
        ),
        (&["shop", "--scheme", "stripe", "--hmac", "{\"header\":\"X\"}"], "SOURCE_INVALID", "hmac"),
    ];
    // `whsec_very+hidden` is no base64 (its last group is short), so standard-webhooks refuses it too.
    for (args, code, help) in rows {
        let answer = bridge.run(&[&["source", "add", "--json", "--secret", hidden], *args].concat());
        refused(&answer, code);
        assert!(answer.err.replace("\\\"", "\"").contains(help), "{help}: {answer:?}");
        assert!(!format!("{answer:?}").contains("hidden"), "{answer:?}");
    }
    for (secret, help) in [("", "is empty"), (" spaced", "white space"), ("line\n", "white space")] {
        let answer = bridge.run(&["source", "add", "shop", "--scheme", "github", "--json", "--secret", secret]);
        refused(&answer, "SOURCE_INVALID");
        assert!(answer.err.contains(help), "{help}: {answer:?}");
    }
    let listed = bridge.run(&["source", "list", "--json"]).json();
    assert_eq!(listed, json!([{"name": "taken", "scheme": "openclaw"}]));
    assert_eq!(bridge.deliver("taken", "the secret before", b"{}").await.0, 200);
}

#[tokio::test]
async fn a_secret_can_come_from_standard_input_or_be_made() {
    let bridge = Bridge::start("").await;
    for (name, input, secret) in
        [("line", "typed secret\n", "typed secret"), ("dos", "typed\r\n", "typed"), ("bare", "piped", "piped")]
    {
        let added = bridge.run_with_input(&["source", "add", name, "--scheme", "openclaw", "--json"], input);
        assert_eq!(added.status, 0, "{added:?}");
        let shown = added.json();
        assert_eq!((&shown["source"], &shown["added"], &shown["secret"]), (&json!(name), &json!(true), &Value::Null));
        assert_eq!(shown["url"], format!("{}/hooks/{name}", bridge.public));
        assert_eq!(bridge.deliver(name, secret, b"{}").await.0, 200, "{name}");
    }
    for input in ["", "\n", "\r\n"] {
        refused(
            &bridge.run_with_input(&["source", "add", "none", "--scheme", "openclaw", "--json"], input),
            "SECRET_UNREADABLE",
        );
    }
    let too_long = "x".repeat(65_537);
    refused(
        &bridge.run_with_input(&["source", "add", "none", "--scheme", "openclaw", "--json"], &too_long),
        "SECRET_UNREADABLE",
    );

    let made = bridge.run(&["source", "add", "made", "--scheme", "openclaw", "--generate", "--json"]).json();
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    assert_eq!(secret.len(), 64, "{secret}");
    assert_eq!(bridge.deliver("made", &secret, b"{}").await.0, 200);
    // Shown that once.
    let later = format!("{:?}{:?}", bridge.run(&["source", "list"]), bridge.run(&["source", "list", "--json"]));
    assert!(later.contains("/hooks/made") && !later.contains(&secret), "{later}");
    for (scheme, prefix) in [("stripe", "whsec_"), ("standard-webhooks", "whsec_"), ("github", "")] {
        let made = bridge.run(&["source", "add", scheme, "--generate", "--json"]);
        assert!(
            made.json()["secret"].as_str().is_some_and(|secret| secret.starts_with(prefix) && secret.len() >= 44),
            "{made:?}"
        );
    }
    let rotated = bridge.run(&["source", "rotate", "stripe", "--generate", "--json"]).json();
    assert_eq!(rotated["rotated"], true);
    let document = current_secret(&bridge, "clawbridge/sources/stripe").await;
    assert_eq!(document, json!({"scheme": "stripe", "secrets": [rotated["secret"]]}).to_string());
}

#[tokio::test]
async fn a_rotation_keeps_what_else_the_source_says() {
    let bridge = Bridge::start("").await;
    let options = r#"{"header":"X-Sig","encoding":"base64","type_pointer":"/kind"}"#;
    let added = bridge.run(&["source", "add", "shop", "--scheme", "hmac", "--secret", "one", "--hmac", options]);
    assert_eq!(added.status, 0, "{added:?}");
    let before = current_secret(&bridge, "clawbridge/sources/shop").await;
    assert_eq!(bridge.run(&["source", "rotate", "shop", "--secret", "two"]).status, 0);
    let after = current_secret(&bridge, "clawbridge/sources/shop").await;
    let before: Value = serde_json::from_str(before.as_str().expect("text")).expect("JSON");
    let after: Value = serde_json::from_str(after.as_str().expect("text")).expect("JSON");
    assert_eq!((&before["secrets"], &after["secrets"]), (&json!(["one"]), &json!(["two"])));
    assert_eq!((&before["hmac"], &after["scheme"]), (&after["hmac"], &json!("hmac")));
    refused(&bridge.run(&["source", "rotate", "shop", "--secret", "", "--json"]), "SOURCE_INVALID");
    refused(&bridge.run(&["source", "rotate", "Shop", "--secret", "x", "--json"]), "SOURCE_NAME");
}

#[tokio::test]
async fn a_tools_secret_is_set_where_tools_may_read_and_nowhere_else() {
    let bridge = Bridge::start("").await;
    let set = bridge.run_with_input(&["secret", "set", "clawbridge/tools/crm", "--json"], "first\n");
    assert_eq!((set.status, set.json()), (0, json!({"set": true, "secret": "clawbridge/tools/crm"})));
    assert_eq!(current_secret(&bridge, "clawbridge/tools/crm").await, "first");
    let replaced = bridge.run(&["secret", "set", "clawbridge/tools/crm", "--value", "second"]);
    assert!(replaced.status == 0 && !replaced.out.contains("second"), "{replaced:?}");
    assert_eq!(current_secret(&bridge, "clawbridge/tools/crm").await, "second");
    for name in
        ["crm", "clawbridge/crm", "clawbridge/sources/crm", "tools/crm", "clawbridge/tools/", "clawbridge/providers/"]
    {
        let answer = bridge.run(&["secret", "set", name, "--value", "hidden", "--json"]);
        refused(&answer, "SECRET_NAME");
        assert!(answer.err.contains("clawbridge/tools/") && !answer.err.contains("hidden"), "{answer:?}");
    }
    let set = bridge.run(&["secret", "set", "clawbridge/providers/crm", "--value", "third"]);
    assert_eq!(set.status, 0, "{set:?}");
    assert_eq!(current_secret(&bridge, "clawbridge/providers/crm").await, "third");
    refused(&bridge.run(&["secret", "set", "clawbridge/tools/crm", "--value", "", "--json"]), "SECRET_UNREADABLE");
    refused(&bridge.run_with_input(&["secret", "set", "clawbridge/tools/crm", "--json"], ""), "SECRET_UNREADABLE");
    assert_eq!(current_secret(&bridge, "clawbridge/tools/crm").await, "second");
}

const GOOD: &str = r#"
[tools.record]
method = "POST"
url = "bridge:/echo"

[[routes]]
name = "all"
source = "hooks"
tool = "record"
"#;

#[test]
fn check_says_what_is_wrong_where_and_what_was_meant() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let path = dir.path().join("mine.toml");
    let path = path.to_str().expect("a path");
    let check = |text: &str, args: &[&str]| {
        std::fs::write(path, text).expect("mine.toml");
        run(&[&["check", path], args].concat(), "")
    };
    let good = check(GOOD, &[]);
    assert_eq!((good.status, good.out.as_str()), (0, format!("{path} is valid: 1 tools, 1 routes.\n").as_str()));
    assert_eq!(check(GOOD, &["--json"]).json(), json!({"file": path, "valid": true, "diagnostics": []}));

    let rows = [
        (GOOD.replace("tool = \"record\"", "tool = \"recrod\""), "UNKNOWN_TOOL", 9, 8, "did you mean \"record\"?"),
        (GOOD.replace("method =", "methdo ="), "UNKNOWN_KEY", 3, 1, "did you mean \"method\"?"),
        (GOOD.replace("tool = \"record\"", "tool = \"record\"\ninput = '.body | {a: .b'"), "INVALID_JQ", 10, 0, ""),
        (GOOD.replace("[tools", "[tools.record\n[tools"), "TOML_SYNTAX", 2, 0, ""),
        (format!("{GOOD}\n[limits]\nmax_hops = \"eight\"\n"), "WRONG_TYPE", 12, 12, ""),
    ];
    for (text, code, line, column, suggestion) in rows {
        let answer = check(&text, &["--json"]);
        refused(&answer, "CONFIG_INVALID");
        let report = answer.json();
        assert_eq!(report["valid"], false);
        let found = report["diagnostics"].as_array().into_iter().flatten().find(|found| found["code"] == code);
        let found = found.unwrap_or_else(|| panic!("no {code} in {report}"));
        assert_eq!(found["position"]["line"], line, "{report}");
        let at = found["position"]["column"].as_u64().expect("a column");
        assert!(column == 0 || at == column, "{report}");
        if !suggestion.is_empty() {
            assert_eq!(found["suggestion"], suggestion, "{report}");
        }
        // A person is told the same in one line that an editor can follow.
        let spoken = check(&text, &[]);
        assert_eq!((spoken.status, spoken.out.as_str()), (1, ""));
        assert!(spoken.err.contains(&format!("{path}:{line}:{at}: error[{code}]: ")), "{spoken:?}");
        assert!(spoken.err.contains(suggestion), "{spoken:?}");
    }
    let many = check("[tools.a]\n[tools.b]\nmethod = \"FETCH\"\nurl = \"nowhere\"\n", &[]);
    assert!(many.err.lines().count() > 4, "all problems at once: {many:?}");
}

#[tokio::test]
async fn apply_puts_a_new_version_once_and_nothing_that_is_wrong() {
    let bridge = Bridge::start(GOOD).await;
    let path = bridge.dir.path().join("next.toml");
    let path = path.to_str().expect("a path");
    let apply = |text: &str| {
        std::fs::write(path, text).expect("next.toml");
        bridge.run(&["apply", path])
    };
    let same = apply(GOOD);
    assert!(same.status == 0 && same.out.contains("is version 1 of stack local"), "{same:?}");
    let next = apply(&format!("{GOOD}\n[limits]\nmax_hops = 3\n"));
    assert!(next.status == 0 && next.out.contains("is version 2 of stack local"), "{next:?}");
    let wrong = apply(&GOOD.replace("tool = \"record\"", "tool = \"recrod\""));
    assert_eq!(wrong.status, 1, "{wrong:?}");
    let back = bridge.run(&["apply", path, "--json"]);
    refused(&back, "CONFIG_INVALID");
    let third = apply(&format!("{GOOD}\n[limits]\nmax_hops = 4\n"));
    assert!(third.out.contains("is version 3 of stack local"), "what is wrong got no version: {third:?}");
    let scripted = bridge.run(&["apply", path, "--json"]);
    // The report of the check, then what was done: one document after the other.
    let documents: Vec<Value> =
        serde_json::Deserializer::from_str(&scripted.out).into_iter().collect::<Result<_, _>>().expect("JSON");
    assert_eq!(documents[0]["valid"], true);
    assert_eq!(documents[1], json!({"applied": true, "version": 3, "stack": "local"}));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let answer = run(&["completions", shell], "");
        assert_eq!((answer.status, answer.err.as_str()), (0, ""), "{shell}");
        for word in
            ["dev", "send", "events", "tasks", "source", "secret", "check", "apply", "replay", "rotate", "tamper"]
        {
            assert!(answer.out.contains(word), "{shell} does not know {word}");
        }
    }
    assert_eq!(run(&["completions", "csh"], "").status, 2);
}

#[test]
fn the_completions_for_bash_are_bash() {
    let script = run(&["completions", "bash"], "").out;
    let Ok(mut bash) = Command::new("bash").args(["-n"]).stdin(Stdio::piped()).spawn() else {
        // A machine without bash needs none.
        return;
    };
    use std::io::Write;
    bash.stdin.take().expect("stdin").write_all(script.as_bytes()).expect("written");
    assert!(bash.wait().expect("wait").success());
}

/// `clawbridge events list | head -1`, where `head` was faster.
#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_error() {
    let bridge = Bridge::start("").await;
    for args in [
        &["completions", "bash"][..],
        &["check"],
        &["events", "list"],
        &["tasks", "list", "--json"],
        &["source", "list"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ended = Command::new(program())
            .args(args)
            .args(["--local", &bridge.private])
            .current_dir(root())
            .stdout(writer)
            .output()
            .expect("the end");
        assert!(ended.status.success() && ended.stderr.is_empty(), "{args:?}: {ended:?}");
    }
}
