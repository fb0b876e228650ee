//! Templates of what is signed. Pure.

use crate::template::{Piece, TemplateSyntaxError, pieces};

/// What a signature can be made over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Method,
    Host,
    Path,
    Query,
    Timestamp,
    Id,
    Body,
}

impl Part {
    const ALL: [(&'static str, Self); 7] = [
        ("method", Self::Method),
        ("host", Self::Host),
        ("path", Self::Path),
        ("query", Self::Query),
        ("timestamp", Self::Timestamp),
        ("id", Self::Id),
        ("body", Self::Body),
    ];
}

/// A request, as a signature sees it: each part as it is sent.
#[derive(Clone, Copy)]
pub struct SignedParts<'a> {
    /// The method in capitals.
    pub method: &'a str,
    /// The header `Host`: with the port where it is not the scheme's own.
    pub host: &'a str,
    /// The path, percent-encoded.
    pub path: &'a str,
    /// The query, percent-encoded, without `?`. Empty where there is none.
    pub query: &'a str,
    /// The time of the signature, as it is written beside it.
    pub timestamp: &'a str,
    /// The request's id.
    pub id: &'a str,
    /// The body. Empty where there is none.
    pub body: &'a [u8],
}

/// A template of parts of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTemplate {
    pieces: Vec<Result<Part, String>>,
}

impl SignedTemplate {
    /// Read a template; `allowed` are the names of the parts that it may have.
    pub(crate) fn parse(text: &str, allowed: &[&str]) -> Result<Self, TemplateSyntaxError> {
        let piece = |(offset, piece)| match piece {
            Piece::Literal(text) => Ok(Err(text)),
            Piece::Field(field) => {
                let part = Part::ALL.iter().find(|(name, _)| *name == field.path && allowed.contains(name));
                part.map(|(_, part)| Ok(*part)).ok_or_else(|| TemplateSyntaxError {
                    message: format!("there is no such part here; there are {{{}}}", allowed.join("}, {")),
                    offset,
                    is_about_text: false,
                })
            }
        };
        Ok(Self { pieces: pieces(text)?.into_iter().map(piece).collect::<Result<_, _>>()? })
    }

    /// The names of all parts.
    pub(crate) fn parts() -> [&'static str; 7] {
        Part::ALL.map(|(name, _)| name)
    }

    fn has(&self, part: Part) -> bool {
        self.pieces.contains(&Ok(part))
    }

    /// Whether it has the time in it.
    #[must_use]
    pub fn has_timestamp(&self) -> bool {
        self.has(Part::Timestamp)
    }

    /// Whether it has the request's id in it.
    #[must_use]
    pub fn has_id(&self) -> bool {
        self.has(Part::Id)
    }

    /// The bytes for a request.
    #[must_use]
    pub fn expand(&self, parts: &SignedParts<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in &self.pieces {
            out.extend_from_slice(match piece {
                Err(text) => text.as_bytes(),
                Ok(Part::Method) => parts.method.as_bytes(),
                Ok(Part::Host) => parts.host.as_bytes(),
                Ok(Part::Path) => parts.path.as_bytes(),
                Ok(Part::Query) => parts.query.as_bytes(),
                Ok(Part::Timestamp) => parts.timestamp.as_bytes(),
                Ok(Part::Id) => parts.id.as_bytes(),
                Ok(Part::Body) => parts.body,
            });
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_stands_where_it_is_named() {
        let parts = SignedParts {
            method: "POST",
            host: "a.example:8443",
            path: "/v1/x%20y",
            query: "a=1",
            timestamp: "1763696400",
            id: "task_1",
            body: b"\xff{}",
        };
        let all = SignedTemplate::parts();
        for (text, expected) in [
            ("{timestamp}.{body}", &b"1763696400.\xff{}"[..]),
            ("{method}\n{host}\n{path}?{query}\n{id}{{x}}", b"POST\na.example:8443\n/v1/x%20y?a=1\ntask_1{x}"),
            ("", b""),
        ] {
            assert_eq!(SignedTemplate::parse(text, &all).unwrap().expand(&parts), expected, "{text}");
        }
        let error = SignedTemplate::parse("{timestamp}.{bdy}", &all).unwrap_err();
        assert_eq!((error.offset, error.is_about_text), (12, false));
        assert!(SignedTemplate::parse("{body}", &["timestamp"]).is_err());
        let template = SignedTemplate::parse("{id}", &all).unwrap();
        assert!(template.has_id() && !template.has_timestamp());
    }
}
