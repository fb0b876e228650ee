//! Files of signature vectors: requests with the verdict that a correct receiver gives, and handshakes with the answer that a provider takes.
//!
//! [`Vectors::read`] reads a file (its form is explained under `reading` in `data/signatures.json`), [`run`] runs all of it through
//! `clawbridge_signatures` and [`Report`] says what came of each. Nothing is fetched: certificates and key sets stand in the file.
//!
//! Only valid or invalid is compared; the words after the colon are advice. What was decided where receivers may differ (`may`) stands in
//! the file under `decided`, or, for files without it, in this crate's own data.

mod decisions;
mod document;
mod form;
mod handshake;
mod report;
mod verdict;

pub use form::{Asked, Expected, FormError, Handshake, Strictness, Vector, Vectors};
pub use report::{Kind, Line, Outcome, Report};

/// Runs every vector and every handshake of a file.
pub fn run(vectors: &Vectors) -> Report {
    let verdicts = vectors.vectors.iter().map(|vector| Line {
        kind: Kind::Vector,
        provider: vector.provider.clone(),
        name: vector.name.clone(),
        outcome: verdict::of(vector),
    });
    let answers = vectors.handshakes.iter().map(|handshake| Line {
        kind: Kind::Handshake,
        provider: handshake.provider.clone(),
        name: handshake.name.clone(),
        outcome: handshake::of(handshake, &vectors.vectors),
    });
    Report { lines: verdicts.chain(answers).collect() }
}
