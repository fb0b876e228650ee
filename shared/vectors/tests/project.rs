//! The project's own vectors: every `must`, every `may` as it was decided, every handshake that can be asked here.

use clawbridge_vectors::{Kind, Outcome, Vectors, run};
use serde_json::{Value, json};

const FILE: &str = include_str!("../data/signatures.json");

#[test]
fn every_vector_gets_its_verdict() {
    let report = run(&Vectors::project().expect("the project's vectors"));
    assert!(report.is_good(), "{report}");
    assert_eq!((report.passed(), report.unsupported()), (264, 0));
}

#[test]
fn every_handshake_gets_its_answer() {
    let report = run(&Vectors::project().expect("the project's vectors"));
    assert_eq!((report.handshakes_passed(), report.handshakes_not_run()), (13, 1), "{report}");
    let left: Vec<&str> = report
        .lines
        .iter()
        .filter(|line| line.kind == Kind::Handshake && line.outcome != Outcome::Passed)
        .map(|line| line.provider.as_str())
        .collect();
    assert_eq!(left, ["aws-sns"]);
}

fn changed(change: impl Fn(&mut Value)) -> clawbridge_vectors::Report {
    let mut file: Value = serde_json::from_str(FILE).expect("JSON");
    change(&mut file);
    run(&Vectors::read(file.to_string().as_bytes()).expect("a file"))
}

#[test]
fn a_wrong_expectation_is_found_and_named() {
    let report = changed(|file| {
        for at in 0..264 {
            let vector = &mut file["vectors"][at];
            let is_valid =
                vector["decided"].as_str().or(vector["expect"].as_str()).is_some_and(|text| text.starts_with('v'));
            vector["expect"] = json!(if is_valid { "invalid:flipped" } else { "valid" });
            vector["strictness"] = json!("must");
        }
        for handshake in file["handshakes"].as_array_mut().expect("handshakes") {
            handshake["response"]["status"] = json!(299);
        }
    });
    assert_eq!((report.passed(), report.handshakes_passed()), (0, 0), "{report}");
    assert_eq!(report.failed(), 264 + 13);
}

#[test]
fn the_decisions_hold_for_a_file_without_them() {
    let report = changed(|file| {
        for vector in file["vectors"].as_array_mut().expect("vectors") {
            vector.as_object_mut().expect("a vector").remove("decided");
            if vector["strictness"] == "may" {
                // What is decided here goes before what the file would choose.
                vector["expect"] = json!(if vector["expect"] == "valid" { "invalid:other" } else { "valid" });
            }
        }
    });
    assert!(report.is_good(), "{report}");
}

#[test]
fn a_scheme_that_is_not_known_is_not_passed() {
    let report = changed(|file| {
        file["vectors"][0]["provider"] = json!("nobody");
        file["vectors"][0]["scheme"] = json!("nothing");
        file["handshakes"][0]["provider"] = json!("nobody");
    });
    assert_eq!((report.passed(), report.failed(), report.unsupported()), (263, 2, 2), "{report}");
}

#[test]
fn without_a_tolerance_age_does_not_matter_and_with_one_it_does() {
    for (tolerance, passed) in [(Value::Null, 1), (json!(86_400), 0)] {
        let mut file: Value = serde_json::from_str(FILE).expect("JSON");
        let vectors = file["vectors"].as_array_mut().expect("vectors");
        vectors.retain(|vector| {
            vector["provider"] == "slack" && vector["expect"] == "valid" && vector["strictness"] == "must"
        });
        vectors.truncate(1);
        vectors[0]["now"] = json!(1_790_000_000 + 90_000);
        vectors[0]["tolerance_s"] = tolerance;
        file["handshakes"] = json!([]);
        let report = run(&Vectors::read(file.to_string().as_bytes()).expect("a file"));
        assert_eq!(report.passed(), passed, "{report}");
    }
}
