//! The signature vectors of this crate: every `must`, and every `may` as it was decided.

#[path = "../examples/vectors/vector.rs"]
mod vector;

use vector::{Outcome, Vectors};

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/signatures.json"))
        .expect("vectors/signatures.json is a file of vectors")
}

#[test]
fn every_vector_gets_its_verdict() {
    let mut ran = 0;
    let mut wrong = Vec::new();
    for vector in &vectors().vectors {
        match vector.run() {
            // SHA-1 is the one thing in the file that is not offered.
            Outcome::Unsupported => {
                assert_eq!(vector.scheme, "hmac-sha1-raw-hex", "{} {}", vector.provider, vector.name)
            }
            Outcome::Verdict { valid, .. } if valid == vector.expects_valid() => ran += 1,
            Outcome::Verdict { reason, .. } => {
                wrong.push(format!(
                    "{} {}: expected {}, got {reason}",
                    vector.provider,
                    vector.name,
                    vector.expectation()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(ran, 38);
}

#[test]
fn every_choice_is_decided() {
    for vector in &vectors().vectors {
        assert_eq!(vector.strictness == "may", vector.decided.is_some(), "{} {}", vector.provider, vector.name);
    }
}
