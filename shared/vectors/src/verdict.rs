//! The verdict on a vector.

use clawbridge_signatures::{Refusal, Request, Source, SourceError, verify_with, wanted};

use crate::document;
use crate::form::Vector;
use crate::report::Outcome;

/// Runs a vector.
pub(crate) fn of(vector: &Vector) -> Outcome {
    let source = match document::source(vector) {
        None => return Outcome::Unsupported { reason: format!("no scheme is called {}", vector.scheme) },
        // An option or an algorithm that is not offered: the secret was not even looked at.
        Some(Err(problem @ (SourceError::WrongType { .. } | SourceError::UnknownField { .. }))) => {
            return Outcome::Unsupported { reason: problem.to_string() };
        }
        Some(source) => source,
    };
    let got =
        source.map_err(|problem| format!("{}: {problem}", problem.code())).and_then(|source| checked(vector, &source));
    match (vector.expects_valid(), got) {
        (true, Ok(())) | (false, Err(_)) => Outcome::Passed,
        (true, Err(reason)) => Outcome::Failed { expected: vector.expectation().to_owned(), got: reason },
        (false, Ok(())) => Outcome::Failed { expected: vector.expectation().to_owned(), got: "valid".to_owned() },
    }
}

fn checked(vector: &Vector, source: &Source) -> Result<(), String> {
    let body = vector.body();
    let headers = vector.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let query = vector.url.as_deref().and_then(|url| url.split_once('?')).map_or("", |(_, query)| query);
    let request = Request { method: &vector.method, url: vector.url.as_deref(), query, headers, body: &body };
    // As a receiver does: where the key may come from is checked first, and only then is it at hand.
    let verdict = wanted(source, &request).and_then(|wanted| {
        let key = wanted.and_then(|_| document::key(vector));
        verify_with(source, &request, key, vector.now).map(|_| ())
    });
    match verdict {
        // The window is looked at last, so everything else holds; and the vector says that age does not matter. A token's own end (RFC 7519
        // section 4.1.4) is no window.
        Err(Refusal::TimestampTooOld { .. } | Refusal::TimestampTooFarAhead { .. })
            if vector.tolerance_s.is_none() && source.scheme().name() != "google-pubsub" =>
        {
            Ok(())
        }
        Err(refusal) => Err(format!("invalid: {}: {refusal}", refusal.code())),
        Ok(()) => Ok(()),
    }
}
