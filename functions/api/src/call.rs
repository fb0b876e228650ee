//! One request, checked.

use crate::problem::{Field, Problem};
use clawbridge_access::{Caller, Wish};
use clawbridge_clock::Timestamp;
use clawbridge_submit::agent_of;
use clawbridge_trace::TraceContext;
use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, Validator};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

/// A request whose token, parameters and body were found right.
#[derive(Debug)]
pub(crate) struct Call {
    /// `None` only at endpoints that need no token.
    pub(crate) caller: Option<Caller>,
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) query: BTreeMap<&'static str, String>,
    /// As its schema wants it; null where there is none, or where it is not JSON.
    pub(crate) body: Value,
    /// As received.
    pub(crate) raw: Vec<u8>,
    pub(crate) media: String,
    pub(crate) key: Option<String>,
    pub(crate) if_match: Option<String>,
    /// The name under which API Gateway was asked.
    pub(crate) host: Option<String>,
    /// The header `Authorization`, for endpoints that know other tokens than those of the API.
    pub(crate) authorization: Option<String>,
    pub(crate) trace: TraceContext,
    pub(crate) now: Timestamp,
}

impl Call {
    pub(crate) fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    pub(crate) fn number(&self, name: &str, default: u64) -> u64 {
        self.text(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    pub(crate) fn moment(&self, name: &str) -> Option<Timestamp> {
        self.text(name).and_then(Timestamp::parse_rfc3339)
    }

    pub(crate) fn may(&self, wish: Wish<'_>) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.may(wish))
    }

    /// Whether it may have a task of this made, or one that is there run again: a tool's, or an agent's.
    pub(crate) fn may_have(&self, tool: &str) -> bool {
        match agent_of(tool) {
            Some(agent) => self.may(Wish::Ask(Some(agent))),
            None => self.may(Wish::Call(tool)),
        }
    }

    /// Whether it may see what came of a task. What one person asks an agent is no other's who may only ask it too.
    pub(crate) fn may_see(&self, tool: &str, submitter: Option<&str>) -> bool {
        let is_own = || submitter.is_none_or(|submitter| submitter == self.submitter());
        self.may(Wish::Look)
            || self.may(Wish::LookAtTool(tool))
            || agent_of(tool).is_some_and(|agent| self.may(Wish::Ask(Some(agent))) && is_own())
    }

    /// Who is to be named as having wanted something.
    pub(crate) fn submitter(&self) -> String {
        self.caller.as_ref().map_or_else(String::new, |caller| format!("token:{}", caller.name()))
    }

    /// The body, typed. Its schema was checked before; what this still finds is told all the same.
    pub(crate) fn body<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        T::deserialize(&self.body).map_err(|error| Problem::field("", error.to_string()))
    }
}

/// A validator of a body.
pub(crate) fn validator(schema: &Value) -> Option<Validator> {
    jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(false).build(schema).ok()
}

/// What is wrong with a body, each with its path. Values are not repeated.
pub(crate) fn complaints(validator: &Validator, body: &Value) -> Vec<Field> {
    let mut fields = Vec::new();
    for error in validator.iter_errors(body).take(20) {
        let at = dotted(&error.instance_path().to_string());
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                fields.extend(unexpected.iter().take(20).map(|name| {
                    let name: String = name.chars().take(100).collect();
                    Field::new(below(&at, &name), "this field is unknown here")
                }));
            }
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                fields.push(Field::new(below(&at, name), "this field must be there"));
            }
            _ => fields.push(Field::new(at, error.masked().to_string().chars().take(200).collect::<String>())),
        }
    }
    fields
}

fn below(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

/// A JSON pointer as paths are written here: `input.lines.0.amount`.
pub(crate) fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~").chars().take(200).collect()
}
