//! Runs a file of signature vectors: prints each vector whose verdict differs, then `N passed, M failed`.

mod vector;

use std::collections::BTreeMap;
use std::process::ExitCode;

use vector::{Outcome, Vectors};

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: vectors FILE");
        return ExitCode::from(2);
    };
    let vectors: Vectors = match std::fs::read(&path)
        .map_err(|e| e.to_string())
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|e| e.to_string()))
    {
        Ok(vectors) => vectors,
        Err(problem) => {
            eprintln!("{path}: {problem}");
            return ExitCode::from(2);
        }
    };
    let (mut passed, mut failed) = (0, 0);
    let mut skipped = BTreeMap::<String, usize>::new();
    let mut ran = BTreeMap::<String, usize>::new();
    for vector in &vectors.vectors {
        let scheme = format!("{}/{}", vector.provider, vector.scheme);
        match vector.run() {
            Outcome::Unsupported => *skipped.entry(scheme).or_default() += 1,
            Outcome::Verdict { valid, reason } => {
                *ran.entry(scheme).or_default() += 1;
                if valid == vector.expects_valid() {
                    passed += 1;
                } else {
                    failed += 1;
                    println!(
                        "{} {} ({}): expected {}, got {reason}",
                        vector.provider,
                        vector.name,
                        vector.strictness,
                        vector.expectation()
                    );
                }
            }
        }
    }
    let list = |counts: &BTreeMap<String, usize>| {
        counts.iter().map(|(scheme, count)| format!("{scheme} {count}")).collect::<Vec<_>>().join(", ")
    };
    println!("ran: {}", list(&ran));
    println!("skipped, no such scheme here: {} ({})", skipped.values().sum::<usize>(), list(&skipped));
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
