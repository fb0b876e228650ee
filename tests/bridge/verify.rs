//! `clawbridge verify`: files of vectors, and why one webhook is refused.

use crate::support::{Answer, Bridge, hmac_sha256, root, run};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const NOW: i64 = 1_790_000_000;
const SECRET: &str = "topsecretvalue";
const VECTORS: &str = "shared/vectors/data/signatures.json";

fn verify_vectors(file: &Path, more: &[&str]) -> Answer {
    run(&[&["verify", "--vectors", file.to_str().expect("a path")], more].concat(), "")
}

/// The project's vectors, changed and written elsewhere.
fn changed(dir: &TempDir, change: impl Fn(&mut Value)) -> PathBuf {
    let text = std::fs::read(root().join(VECTORS)).expect("the project's vectors");
    let mut file: Value = serde_json::from_slice(&text).expect("JSON");
    change(&mut file);
    let path = dir.path().join("vectors.json");
    std::fs::write(&path, file.to_string()).expect("a file");
    path
}

#[test]
fn the_projects_vectors_pass() {
    let answer = verify_vectors(&root().join(VECTORS), &[]);
    assert_eq!((answer.status, answer.err.as_str()), (0, ""), "{answer:?}");
    assert_eq!(answer.out.lines().last(), Some("264 passed, 0 failed"), "{answer:?}");
    // What is not run is said, and counts for nothing.
    assert!(answer.out.contains("handshake aws-sns subscription_confirmation: not run: "), "{answer:?}");
    assert!(answer.out.contains("handshakes: 13 answered as expected, 0 not, 1 not run"), "{answer:?}");
    let json = verify_vectors(&root().join(VECTORS), &["--json"]).json();
    assert_eq!((&json["passed"], &json["failed"]), (&json!(264), &json!(0)), "{json}");
}

#[test]
fn a_vector_or_handshake_that_differs_is_named_and_the_command_fails() {
    let dir = TempDir::new().expect("a directory");
    let is = |vector: &&mut Value, provider: &str, name: &str| vector["provider"] == provider && vector["name"] == name;
    let flip = |file: &mut Value, list: &str, provider: &str, name: &str, change: &dyn Fn(&mut Value)| {
        let found = file[list].as_array_mut().expect("a list").iter_mut().find(|item| is(item, provider, name));
        change(found.expect(name));
    };
    for (list, provider, name, change, line, last) in [
        (
            "vectors",
            "gitlab",
            "tampered_one_bit",
            &(|vector: &mut Value| vector["expect"] = json!("valid")) as &dyn Fn(&mut Value),
            "gitlab tampered_one_bit: expected valid; got invalid: SIGNATURE_MISMATCH",
            "263 passed, 1 failed",
        ),
        (
            "vectors",
            "gitlab",
            "tampered_one_bit",
            &|vector: &mut Value| {
                vector["provider"] = json!("nobody");
                vector["scheme"] = json!("nothing");
            },
            "nobody tampered_one_bit: unsupported: no scheme is called nothing",
            "263 passed, 1 failed",
        ),
        (
            "handshakes",
            "dropbox",
            "challenge",
            &|handshake: &mut Value| handshake["response"]["body"] = json!("another"),
            "handshake dropbox challenge: expected 200 text/plain; got 200 text/plain and another body",
            "264 passed, 1 failed",
        ),
    ] {
        let path = changed(&dir, |file| flip(file, list, provider, name, change));
        let answer = verify_vectors(&path, &[]);
        assert_eq!((answer.status, answer.err.as_str()), (1, ""), "{answer:?}");
        assert!(answer.out.contains(line), "{answer:?}");
        assert_eq!(answer.out.lines().last(), Some(last), "{answer:?}");
        assert_eq!(verify_vectors(&path, &["--json"]).json()["differs"].as_array().map(Vec::len), Some(2));
    }
}

#[test]
fn a_file_that_holds_no_vectors_is_a_wrong_command_line() {
    let dir = TempDir::new().expect("a directory");
    for (text, words) in [
        ("", "EOF"),
        ("{}", "missing field `vectors`"),
        (r#"{"vectors":[]}"#, "empty"),
        (r#"{"vectors":[{}]}"#, "missing field"),
    ] {
        let path = dir.path().join("vectors.json");
        std::fs::write(&path, text).expect("a file");
        let answer = verify_vectors(&path, &["--json"]);
        assert_eq!((answer.status, answer.error_code().as_str()), (2, "VECTORS_INVALID"), "{answer:?}");
        assert!(answer.err.contains(words), "{answer:?}");
    }
    let answer = verify_vectors(&dir.path().join("none"), &["--json"]);
    assert_eq!((answer.status, answer.error_code().as_str()), (3, "FILE_UNREADABLE"), "{answer:?}");
}

/// A request at [`NOW`], written down as a person would have it.
struct Case {
    /// Kept for as long as the body is read.
    _dir: TempDir,
    body: PathBuf,
    args: Vec<String>,
}

impl Case {
    fn new(args: &[&str], headers: &[(&str, &str)], body: &[u8]) -> Case {
        let dir = TempDir::new().expect("a directory");
        let path = dir.path().join("body");
        std::fs::write(&path, body).expect("a file");
        let mut args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        for (name, value) in headers {
            args.extend(["--header".to_owned(), format!("{name}: {value}")]);
        }
        Case { _dir: dir, body: path, args }
    }

    fn args(&self) -> Vec<&str> {
        let mut args = vec!["verify", "--body-file", self.body.to_str().expect("a path")];
        if !self.args.iter().any(|arg| arg == "--now") {
            args.extend(["--now", "1790000000"]);
        }
        args.extend(self.args.iter().map(String::as_str));
        args
    }

    /// What is said, in words and in JSON: neither has the secret or the signature that was expected or received.
    fn said(&self, signatures: &[&str]) -> (Answer, Value) {
        let answers = [run(&self.args(), ""), run(&[self.args(), vec!["--json"]].concat(), "")];
        for answer in &answers {
            for said in [&answer.out, &answer.err] {
                assert!(!said.contains(SECRET), "{answer:?}");
                for signature in signatures {
                    assert!(!said.contains(signature), "{answer:?}");
                }
            }
        }
        let [words, json] = answers;
        assert_eq!(words.status, json.status);
        assert_eq!((words.err.as_str(), json.err.as_str()), ("", ""));
        let json = json.json();
        (words, json)
    }
}

fn hex_mac(message: &str) -> String {
    hex::encode(hmac_sha256(SECRET.as_bytes(), message.as_bytes()))
}

#[test]
fn a_valid_request_is_told_so() {
    let signature = hex_mac("{}");
    let header = format!("sha256={signature}");
    let args = ["--scheme", "github", "--secret", "another", "--secret", SECRET];
    let case = Case::new(&args, &[("x-hub-signature-256", &header)], b"{}");
    let (answer, json) = case.said(&[&signature]);
    assert_eq!(answer.status, 0, "{answer:?}");
    assert!(answer.out.starts_with("valid, under secret 2\n"), "{answer:?}");
    assert_eq!((&json["valid"], &json["secret"]), (&json!(true), &json!(2)));
}

#[test]
fn a_refused_request_is_explained() {
    let github = ["--scheme", "github", "--secret", SECRET];
    let stripe = ["--scheme", "stripe", "--secret", SECRET];
    let good = hex_mac("{}");
    let stamped = hex_mac(&format!("{NOW}.{{}}"));
    let header = format!("sha256={good}");
    let stripe_header = format!("t={NOW},v1={stamped}");
    let twice = [("X-Hub-Signature-256", header.as_str()), ("X-Hub-Signature-256", "sha256=00")];
    for (args, headers, body, code, words) in [
        (
            &github[..],
            vec![],
            &b"{}"[..],
            "SIGNATURE_MISSING",
            "header    X-Hub-Signature-256: missing (signature; expected sha256= and 64",
        ),
        (
            &github,
            twice.to_vec(),
            b"{}",
            "HEADER_DUPLICATED",
            "X-Hub-Signature-256: sent 2 times: sha256= and 64 hexadecimal digits | ",
        ),
        (
            &github,
            vec![("X-Hub-Signature-256", &header)],
            b"{}\n",
            "SIGNATURE_MISMATCH",
            "holds for the body without its final newline",
        ),
        (
            &github,
            vec![("X-Hub-Signature-256", &header)],
            b"{ }",
            "SIGNATURE_MISMATCH",
            "holds for the same JSON, written without white space",
        ),
        (
            &github,
            vec![("X-Hub-Signature-256", &header)],
            b"changed",
            "SIGNATURE_MISMATCH",
            "nothing that was tried makes it hold",
        ),
        (&stripe, vec![("X-Hub-Signature-256", &header)], b"{}", "SIGNATURE_MISSING", "holds for the scheme github"),
        (
            &["--scheme", "stripe", "--secret", SECRET, "--now", "2026-09-21T14:20:00Z"],
            vec![("Stripe-Signature", &stripe_header)],
            b"{}",
            "TIMESTAMP_STALE",
            "age       400 s old; 300 s are allowed\ndiffers   the time alone",
        ),
        (
            &["--scheme", "stripe", "--secret", SECRET, "--now", "1789999000", "--tolerance", "600"],
            vec![("Stripe-Signature", &stripe_header)],
            b"{}",
            "TIMESTAMP_AHEAD",
            "age       1000 s ahead; 600 s are allowed",
        ),
        (
            &["--scheme", "hmac", "--secret", SECRET, "--hmac", r#"{"header":"X-Sig"}"#],
            vec![("X-Sig", &header)],
            b"{}",
            "SIGNATURE_MALFORMED",
            "in hex after sha256=",
        ),
        (
            &["--scheme", "openclaw-token", "--secret", SECRET],
            vec![("Authorization", "Bearer wrongtokenvalue")],
            b"{}",
            "SIGNATURE_MISMATCH",
            "Authorization: 22 bytes, not all of them visible ASCII (token",
        ),
    ] {
        let (answer, json) = Case::new(args, &headers, body).said(&[&good, &stamped, "wrongtokenvalue"]);
        assert_eq!((answer.status, &json["code"]), (1, &json!(code)), "{answer:?}");
        assert!(answer.out.starts_with(&format!("not valid: {code}\n")), "{answer:?}");
        assert!(answer.out.contains(words), "{words}: {answer:?}");
    }
}

#[test]
fn a_signed_url_is_given_with_its_query_or_beside_it() {
    let options = r#"{"header":"X-Sig","signed":"{url}{body}"}"#;
    let signature = hex_mac("https://h.example/hooks/s?a=1{}");
    let args = |more: &[&'static str]| [&["--scheme", "hmac", "--secret", SECRET, "--hmac", options], more].concat();
    for (more, status, words) in [
        (&["--url", "https://h.example/hooks/s?a=1"][..], 0, "url \"https://h.example/hooks/s?a=1\""),
        (&["--url", "https://h.example/hooks/s", "--query", "a=1"], 0, "valid"),
        (&["--url", "http://h.example/hooks/s", "--query", "a=1"], 1, "holds for the URL with https instead of http"),
        (&[], 1, "URL_UNKNOWN"),
    ] {
        let (answer, _) = Case::new(&args(more), &[("X-Sig", &signature)], b"{}").said(&[&signature]);
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.out.contains(words), "{answer:?}");
    }
}

#[test]
fn a_wrong_command_line_says_what_to_write() {
    let dir = TempDir::new().expect("a directory");
    let body = dir.path().join("body");
    std::fs::write(&body, "{}").expect("a file");
    let body = body.to_str().expect("a path");
    for (args, words) in [
        (vec!["--scheme", "strpe", "--secret", "x"], "did you mean \"stripe\"?"),
        (vec!["--secret", "x"], "--source <NAME>"),
        (vec!["--scheme", "stripe", "--secret", "x", "--header", "no-colon"], "'Name: value'"),
        (vec!["--scheme", "stripe", "--secret", "x", "--now", "yesterday"], "1790000000"),
        (vec!["--scheme", "hmac", "--secret", "x", "--hmac", "{"], "not JSON"),
        (vec!["--scheme", "hmac", "--secret", "x"], "SOURCE_INVALID"),
        (vec!["--scheme", "github", "--secret", "x", "--tolerance", "5"], "signs no timestamp"),
        (vec!["--scheme", "stripe", "--secret", "x", "--source", "s"], "cannot be used with"),
    ] {
        let answer = run(&[vec!["verify", "--body-file", body], args].concat(), "");
        assert_eq!(answer.status, 2, "{answer:?}");
        assert!(answer.err.contains(words), "{words}: {answer:?}");
    }
    let answer = run(&["verify", "--scheme", "github", "--secret", "x", "--body-file", "/no/such/file"], "");
    assert_eq!(answer.status, 3, "{answer:?}");
}

#[tokio::test]
async fn a_source_of_the_stack_is_taken_with_its_secrets_and_the_ones_before() {
    let bridge = Bridge::start("").await;
    bridge.add_source("hooks", "github", SECRET);
    let signature = hex_mac("{}");
    let header = format!("sha256={signature}");
    let case = Case::new(&["--source", "hooks"], &[("X-Hub-Signature-256", &header)], b"{}");
    let answer = bridge.run(&case.args());
    assert_eq!(answer.status, 0, "{answer:?}");
    assert!(!answer.out.contains("before its last change"), "{answer:?}");

    let rotated = bridge.run(&["source", "rotate", "hooks", "--secret", "anothersecretvalue"]);
    assert_eq!(rotated.status, 0, "{rotated:?}");
    let answer = bridge.run(&case.args());
    assert_eq!(answer.status, 0, "{answer:?}");
    assert!(answer.out.contains("before its last change"), "{answer:?}");
    for secret in [SECRET, "anothersecretvalue", &signature] {
        assert!(!answer.out.contains(secret), "{answer:?}");
    }

    let none = Case::new(&["--source", "nobody"], &[], b"{}");
    let answer = bridge.run(&none.args());
    assert_eq!(answer.status, 3, "{answer:?}");
}

/// The secret on standard input, as for `source add`.
#[test]
fn a_secret_is_read_from_standard_input() {
    let signature = hex_mac("{}");
    let header = format!("sha256={signature}");
    let case = Case::new(&["--scheme", "github"], &[("X-Hub-Signature-256", &header)], b"{}");
    let answer = run(&case.args(), &format!("{SECRET}\n"));
    assert_eq!(answer.status, 0, "{answer:?}");
    assert!(!answer.out.contains(SECRET) && !answer.err.contains(SECRET), "{answer:?}");
}
