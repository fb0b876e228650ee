//! What an endpoint is: one row says its address, who may use it, what it takes and answers. The router, the checks of requests and the OpenAPI
//! document are all made of these rows, so that none of them can say something else than the others.

use crate::call::Call;
use crate::problem::{Field, Problem};
use crate::state::Api;
use axum::http::{HeaderValue, Method, StatusCode, header};
use clawbridge_access::Wish;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Who may use an endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Needs {
    /// Everybody, without a token.
    Nothing,
    /// A token that allows this, whatever the request is about.
    Wish(Wish<'static>),
    /// A token; what it must allow depends on what the request is about, and the handler asks. The words are for the document.
    Token(&'static str),
}

/// What a query parameter can be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A whole number within bounds.
    Number { min: u64, max: u64, default: Option<u64> },
    /// One of these words.
    Word(&'static [&'static str]),
    /// Text of 1 to 200 characters.
    Text,
    /// RFC 3339.
    Moment,
    /// What a list gave.
    Cursor,
}

/// A query parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) says: &'static str,
}

pub(crate) type Run = for<'a> fn(&'a Api, &'a Call) -> BoxFuture<'a, Result<Reply, Problem>>;

/// A row.
pub(crate) struct Endpoint {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) id: &'static str,
    pub(crate) says: &'static str,
    pub(crate) needs: Needs,
    pub(crate) query: &'static [Param],
    /// The name of the body's schema.
    pub(crate) body: Option<&'static str>,
    /// Media types of the body.
    pub(crate) media: &'static [&'static str],
    /// The header Idempotency-Key counts.
    pub(crate) takes_key: bool,
    /// Statuses of its own kinds of failure, beside those that follow from the rest of the row.
    pub(crate) fails: &'static [u16],
    /// Statuses and the names of their schemas.
    pub(crate) answers: &'static [(u16, &'static str)],
    pub(crate) run: Run,
}

pub(crate) const JSON: &[&str] = &["application/json"];

impl Endpoint {
    pub(crate) fn new(
        method: Method,
        path: &'static str,
        id: &'static str,
        says: &'static str,
        needs: Needs,
        answers: &'static [(u16, &'static str)],
        run: Run,
    ) -> Endpoint {
        Endpoint {
            method,
            path,
            id,
            says,
            needs,
            query: &[],
            body: None,
            media: JSON,
            takes_key: false,
            fails: &[],
            answers,
            run,
        }
    }

    pub(crate) fn query(self, query: &'static [Param]) -> Endpoint {
        Endpoint { query, ..self }
    }

    pub(crate) fn body(self, body: &'static str) -> Endpoint {
        Endpoint { body: Some(body), ..self }
    }

    pub(crate) fn media(self, media: &'static [&'static str]) -> Endpoint {
        Endpoint { media, ..self }
    }

    pub(crate) fn fails(self, fails: &'static [u16]) -> Endpoint {
        Endpoint { fails, ..self }
    }

    /// All statuses with which it fails.
    pub(crate) fn failures(&self) -> BTreeSet<u16> {
        let mut all = BTreeSet::from([400, 429]);
        all.extend(self.fails);
        match self.needs {
            Needs::Nothing => {}
            Needs::Wish(Wish::Greet) => all.extend([401, 503]),
            Needs::Wish(_) | Needs::Token(_) => all.extend([401, 403, 503]),
        }
        if self.path.contains('{') {
            all.insert(404);
        }
        if self.body.is_some() {
            all.extend([413, 415]);
        }
        all
    }

    pub(crate) fn keyed(self) -> Endpoint {
        Endpoint { takes_key: true, ..self }
    }
}

/// An answer that is no problem.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
    pub(crate) headers: Vec<(header::HeaderName, HeaderValue)>,
}

impl Reply {
    pub(crate) fn ok(body: Value) -> Reply {
        Reply { status: StatusCode::OK, body, headers: Vec::new() }
    }

    pub(crate) fn with(status: StatusCode, body: Value) -> Reply {
        Reply { status, body, headers: Vec::new() }
    }

    pub(crate) fn header(mut self, name: header::HeaderName, value: &str) -> Reply {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }
}

impl Param {
    /// The schema of its value.
    pub(crate) fn schema(&self) -> Value {
        match self.kind {
            Kind::Number { min, max, default: Some(default) } => {
                json!({"type": "integer", "minimum": min, "maximum": max, "default": default})
            }
            Kind::Number { min, max, default: None } => json!({"type": "integer", "minimum": min, "maximum": max}),
            Kind::Word(words) => json!({"type": "string", "enum": words}),
            Kind::Text => json!({"type": "string", "minLength": 1, "maxLength": 200}),
            Kind::Moment => json!({"type": "string", "format": "date-time"}),
            Kind::Cursor => json!({"type": "string", "maxLength": 1000}),
        }
    }

    fn complaint(&self, value: &str) -> Option<String> {
        match self.kind {
            Kind::Number { min, max, .. } => {
                let is_one = value.parse::<u64>().is_ok_and(|number| (min..=max).contains(&number));
                (!is_one).then(|| format!("a whole number from {min} to {max} is wanted"))
            }
            Kind::Word(words) => (!words.contains(&value)).then(|| format!("one of {} is wanted", words.join(", "))),
            Kind::Text => {
                (!(1..=200).contains(&value.chars().count())).then(|| "1 to 200 characters are wanted".to_owned())
            }
            Kind::Moment => clawbridge_clock::Timestamp::parse_rfc3339(value)
                .is_none()
                .then(|| "a time as in RFC 3339 is wanted, 2026-11-21T03:40:39Z".to_owned()),
            Kind::Cursor => (value.len() > 1000).then(|| "this is no cursor of this list".to_owned()),
        }
    }
}

/// The parameters of a query by name, each of them known, given once and what it should be.
pub(crate) fn read_query(known: &[Param], query: &str) -> Result<BTreeMap<&'static str, String>, Problem> {
    let mut read = BTreeMap::new();
    let mut fields = Vec::new();
    let known_names: Vec<&str> = known.iter().map(|param| param.name).collect();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let Some(param) = known.iter().find(|param| param.name == name) else {
            let known = if known_names.is_empty() { "none".to_owned() } else { known_names.join(", ") };
            let name: String = name.chars().take(100).collect();
            fields.push(Field::new(name, format!("this parameter is unknown here; known are: {known}")));
            continue;
        };
        match param.complaint(&value) {
            Some(complaint) => fields.push(Field::new(param.name, complaint)),
            None if read.insert(param.name, value.into_owned()).is_some() => {
                fields.push(Field::new(param.name, "it is given twice"));
            }
            None => {}
        }
    }
    if fields.is_empty() { Ok(read) } else { Err(Problem::fields(fields)) }
}
