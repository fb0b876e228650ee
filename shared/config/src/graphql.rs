//! What a GraphQL document asks for (GraphQL specification, October 2021, section 2). Pure.
//!
//! Only what decides about a tool is read: that there is one operation, whether it changes something, and which variables it takes. What
//! the fields mean, the server says.

use std::ops::Range;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OperationKind {
    /// Reads.
    Query,
    /// Changes something.
    Mutation,
}

/// The one operation of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    /// What it does.
    pub(crate) kind: OperationKind,
    /// Its name, if it has one.
    pub(crate) name: Option<String>,
    /// Its variables.
    pub(crate) variables: Vec<Variable>,
}

/// A variable that an operation takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    /// Its name, without `$`.
    pub(crate) name: String,
    /// Whether it must be given: its type is not null and it has no default.
    pub(crate) is_required: bool,
    /// Byte offset in the document.
    pub(crate) offset: usize,
}

/// What is wrong with a document, and at which byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GraphqlProblem {
    pub(crate) offset: usize,
    pub(crate) message: String,
}

fn problem<T>(offset: usize, message: impl Into<String>) -> Result<T, GraphqlProblem> {
    Err(GraphqlProblem { offset, message: message.into() })
}

/// Read a document with one operation and any number of fragments.
pub(crate) fn operation(text: &str) -> Result<Operation, GraphqlProblem> {
    let tokens = tokens(text)?;
    let mut rest = Rest { text, tokens: &tokens };
    let mut operation = None;
    while let Some(token) = rest.first() {
        let start = token.at.start;
        let word = rest.word();
        let found = match word {
            Some("query") => rest.operation(OperationKind::Query)?,
            Some("mutation") => rest.operation(OperationKind::Mutation)?,
            Some("fragment") => {
                rest.skip_to_selection(start)?;
                rest.skip_group()?;
                continue;
            }
            Some("subscription") => return problem(start, "a subscription has many answers, and a tool has one"),
            None if rest.is("{") => {
                rest.skip_group()?;
                Operation { kind: OperationKind::Query, name: None, variables: Vec::new() }
            }
            _ => return problem(start, "here begins an operation (query, mutation, {) or a fragment"),
        };
        if operation.is_some() {
            return problem(start, "this is a second operation, and a tool is one; make two tools of it");
        }
        operation = Some(found);
    }
    operation.map_or_else(|| problem(0, "there is no operation in it"), Ok)
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    kind: TokenKind,
    at: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    Name,
    Punctuator,
    /// A number or a string.
    Value,
}

fn tokens(text: &str) -> Result<Vec<Token>, GraphqlProblem> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    let run = |from: usize, is_in: fn(u8) -> bool| bytes[from..].iter().take_while(|byte| is_in(**byte)).count();
    while let Some(byte) = bytes.get(at) {
        let (kind, len) = match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b',' => {
                at += 1;
                continue;
            }
            b'#' => {
                at += run(at, |byte| !matches!(byte, b'\r' | b'\n'));
                continue;
            }
            0xEF if text[at..].starts_with('\u{feff}') => {
                at += '\u{feff}'.len_utf8();
                continue;
            }
            b'"' => (TokenKind::Value, string(&text[at..]).map_err(|message| GraphqlProblem { offset: at, message })?),
            b'.' if text[at..].starts_with("...") => (TokenKind::Punctuator, 3),
            b'!' | b'$' | b'&' | b'(' | b')' | b':' | b'=' | b'@' | b'[' | b']' | b'{' | b'|' | b'}' => {
                (TokenKind::Punctuator, 1)
            }
            byte if byte.is_ascii_alphabetic() || *byte == b'_' => {
                (TokenKind::Name, run(at, |byte| byte.is_ascii_alphanumeric() || byte == b'_'))
            }
            byte if byte.is_ascii_digit() || *byte == b'-' => {
                (TokenKind::Value, run(at, |byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)))
            }
            _ => return problem(at, "this character has no meaning in GraphQL outside of a string"),
        };
        tokens.push(Token { kind, at: at..at + len });
        at += len;
    }
    Ok(tokens)
}

/// The length of the string that `text` begins with, quotes included.
fn string(text: &str) -> Result<usize, String> {
    let is_block = text.starts_with("\"\"\"");
    let quote = if is_block { "\"\"\"" } else { "\"" };
    let mut at = quote.len();
    loop {
        let rest = &text[at..];
        if rest.starts_with(quote) {
            return Ok(at + quote.len());
        }
        at += match rest.chars().next() {
            Some('\\') if is_block && rest.starts_with("\\\"\"\"") => 4,
            Some('\\') if !is_block => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            Some('\n' | '\r') if !is_block => return Err("this string does not end on its line".to_owned()),
            Some(char) => char.len_utf8(),
            None => return Err("this string does not end".to_owned()),
        };
    }
}

/// What is left of a document.
struct Rest<'t> {
    text: &'t str,
    tokens: &'t [Token],
}

impl<'t> Rest<'t> {
    fn first(&self) -> Option<&'t Token> {
        self.tokens.first()
    }

    /// The name that comes next, if one does.
    fn word(&self) -> Option<&'t str> {
        self.first().filter(|token| token.kind == TokenKind::Name).map(|token| &self.text[token.at.clone()])
    }

    fn is(&self, punctuator: &str) -> bool {
        self.first()
            .is_some_and(|token| token.kind == TokenKind::Punctuator && &self.text[token.at.clone()] == punctuator)
    }

    fn advance(&mut self) {
        self.tokens = self.tokens.get(1..).unwrap_or_default();
    }

    fn operation(&mut self, kind: OperationKind) -> Result<Operation, GraphqlProblem> {
        let start = self.first().map_or(0, |token| token.at.start);
        self.advance();
        let name = self.word().map(str::to_owned);
        if name.is_some() {
            self.advance();
        }
        let mut variables = Vec::new();
        if self.is("(") {
            let mut group = self.group()?;
            group.advance();
            while group.first().is_some() {
                variables.extend(group.variable());
            }
        }
        self.skip_to_selection(start)?;
        self.skip_group()?;
        Ok(Operation { kind, name, variables })
    }

    /// The next `$name: Type = default`, if it is one; the tokens up to the one after it are used up.
    fn variable(&mut self) -> Option<Variable> {
        let is_variable = self.is("$");
        let offset = self.first()?.at.start;
        self.advance();
        let name = self.word()?;
        if !is_variable {
            return None;
        }
        self.advance();
        let (mut is_required, mut has_default) = (false, false);
        while self.first().is_some() && !self.is("$") {
            has_default |= self.is("=");
            // Within a list, `!` is about its items: the last one counts.
            is_required = if has_default || self.is("@") { is_required } else { self.is("!") };
            if self.is("@") {
                self.skip_to_variable();
                break;
            }
            self.advance();
        }
        Some(Variable { name: name.to_owned(), is_required: is_required && !has_default, offset })
    }

    fn skip_to_variable(&mut self) {
        while self.first().is_some() && !self.is("$") {
            self.advance();
        }
    }

    /// Goes on to the `{` of the selection that what began at `start` must have.
    fn skip_to_selection(&mut self, start: usize) -> Result<(), GraphqlProblem> {
        while self.first().is_some() && !self.is("{") {
            match self.is("(") || self.is("[") {
                true => self.skip_group()?,
                false => self.advance(),
            }
        }
        if self.first().is_some() { Ok(()) } else { problem(start, "what begins here selects no fields: { … }") }
    }

    /// Uses up the group that begins here, `{`, `(` or `[`, to its end.
    fn skip_group(&mut self) -> Result<(), GraphqlProblem> {
        self.group().map(drop)
    }

    /// The group that begins here without its last bracket; it is used up.
    fn group(&mut self) -> Result<Rest<'t>, GraphqlProblem> {
        let mut open: Vec<(&str, usize)> = Vec::new();
        for (index, token) in self.tokens.iter().enumerate() {
            if token.kind != TokenKind::Punctuator {
                continue;
            }
            match &self.text[token.at.clone()] {
                opening @ ("{" | "(" | "[") => open.push((opening, token.at.start)),
                closing @ ("}" | ")" | "]") => {
                    let fits = matches!(
                        (open.pop(), closing),
                        (Some(("{", _)), "}") | (Some(("(", _)), ")") | (Some(("[", _)), "]")
                    );
                    if !fits {
                        return problem(token.at.start, format!("this {closing} closes nothing"));
                    }
                }
                _ => {}
            }
            if open.is_empty() {
                let group = Rest { text: self.text, tokens: &self.tokens[..index] };
                self.tokens = &self.tokens[index + 1..];
                return Ok(group);
            }
        }
        let offset = open.last().map_or(self.text.len(), |(_, offset)| *offset);
        problem(offset, "this bracket is not closed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn variables(operation: &Operation) -> Vec<(&str, bool)> {
        operation.variables.iter().map(|variable| (variable.name.as_str(), variable.is_required)).collect()
    }

    #[test]
    fn the_operation_is_found_behind_comments_and_fragments() {
        use OperationKind::{Mutation, Query};
        for (text, kind, name, expected) in [
            ("{ a }", Query, None, vec![]),
            ("query { a }", Query, None, vec![]),
            ("query Q { query }", Query, Some("Q"), vec![]),
            ("query mutation { a }", Query, Some("mutation"), vec![]),
            ("# mutation\n\u{feff}, query Q($a: Int!) { a }", Query, Some("Q"), vec![("a", true)]),
            ("fragment mutation on T { mutation }\nmutation M { a { ...mutation } }", Mutation, Some("M"), vec![]),
            ("mutation { a(text: \"query { # }\", block: \"\"\"\\\"\"\" } \"\"\") { b } }", Mutation, None, vec![]),
            ("{ a } fragment F on T { ... on U { b } }", Query, None, vec![]),
            (
                "mutation M($a: [ID!]!, $b: [ID!], $c: Int! = 3, $d: In = {x: [1]} @tag(a: 1), $e: E! @x) @live { a(b: $a) }",
                Mutation,
                Some("M"),
                vec![("a", true), ("b", false), ("c", false), ("d", false), ("e", true)],
            ),
        ] {
            let found = operation(text).unwrap_or_else(|problem| panic!("{text}: {problem:?}"));
            assert_eq!((found.kind, found.name.as_deref(), variables(&found)), (kind, name, expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_operation_is_refused_where_it_goes_wrong() {
        for (text, offset, says) in [
            ("", 0, "no operation"),
            ("# query { a }", 0, "no operation"),
            ("fragment F on T { a }", 0, "no operation"),
            ("subscription { a }", 0, "many answers"),
            ("query A { a } query B { b }", 14, "second operation"),
            ("{ a } mutation { b }", 6, "second operation"),
            ("type T { a: Int }", 0, "begins an operation"),
            ("query Q", 0, "selects no fields"),
            ("query Q { a", 8, "not closed"),
            ("query Q { a(b: [1) }", 17, "closes nothing"),
            ("query Q { a } }", 14, "begins an operation"),
            ("query { a(b: \"x) }", 13, "does not end"),
            ("query { a(b: \"x\n) }", 13, "on its line"),
            ("query { a; b }", 9, "no meaning"),
            ("query { é }", 8, "no meaning"),
        ] {
            let found = operation(text).expect_err(text);
            assert_eq!(found.offset, offset, "{text}: {found:?}");
            assert!(found.message.contains(says), "{text}: {found:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), noise in "(query|mutation|fragment|[a{}()\\[\\]$:=!@\"\\\\. #\n1é-]){0,40}") {
            let _ = operation(&text);
            let _ = operation(&noise);
            let _ = operation(&format!("query Q({noise}) {{ a }}"));
        }
    }
}
