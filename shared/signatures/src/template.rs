//! What a signature covers: a template such as `{timestamp}.{body}`, parsed into the pieces that the MAC is fed with.

use crate::suggest::{closest, did_you_mean, repeated};

/// One piece of the signed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Literal(String),
    Timestamp,
    Id,
    Body,
    Method,
    Url,
}

const PLACEHOLDERS: [&str; 5] = ["timestamp", "id", "body", "method", "url"];

/// Parses a template. The error says what is wrong with it and what to write.
pub(crate) fn parse(template: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        if at > 0 {
            pieces.push(Piece::Literal(rest[..at].to_owned()));
        }
        let inner = rest[at..].strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let Some((name, after)) = inner else {
            return Err(
                "has a brace without its partner; write placeholders as {timestamp}, {id}, {body}, {method}, {url}"
                    .into(),
            );
        };
        pieces.push(match name {
            "timestamp" => Piece::Timestamp,
            "id" => Piece::Id,
            "body" => Piece::Body,
            "method" => Piece::Method,
            "url" => Piece::Url,
            _ => {
                let hint = did_you_mean(closest(name, PLACEHOLDERS));
                return Err(format!(
                    "has an unknown placeholder{}; there are {{timestamp}}, {{id}}, {{body}}, {{method}}, {{url}}{hint}",
                    repeated(name)
                ));
            }
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.to_owned()));
    }
    match pieces.iter().filter(|piece| **piece == Piece::Body).count() {
        1 => Ok(pieces),
        0 => Err("does not cover the body: a signature that leaves it out proves nothing about it; add {body}".into()),
        _ => Err("names {body} more than once".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_becomes_its_pieces() {
        let literal = |text: &str| Piece::Literal(text.to_owned());
        for (template, pieces) in [
            ("{body}", vec![Piece::Body]),
            ("{timestamp}.{body}", vec![Piece::Timestamp, literal("."), Piece::Body]),
            ("v0:{timestamp}:{body}", vec![literal("v0:"), Piece::Timestamp, literal(":"), Piece::Body]),
            (
                "{id}{method}{url}\n{body}!",
                vec![Piece::Id, Piece::Method, Piece::Url, literal("\n"), Piece::Body, literal("!")],
            ),
        ] {
            assert_eq!(parse(template).as_ref(), Ok(&pieces), "{template}");
        }
    }

    #[test]
    fn an_impossible_template_says_what_to_write() {
        for (template, words) in [
            ("", "add {body}"),
            ("{timestamp}", "add {body}"),
            ("{body}{body}", "more than once"),
            ("{boddy}", "did you mean \"body\"?"),
            ("{body", "without its partner"),
            ("body}", "without its partner"),
            ("{body}}", "without its partner"),
            ("{{body}}", "unknown placeholder"),
        ] {
            let problem = parse(template).expect_err(template);
            assert!(problem.contains(words), "{template}: {problem}");
        }
    }
}
