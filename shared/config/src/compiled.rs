//! A document ready to run.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clawbridge_jq::{Program, RunError};
use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::document;
use crate::glob::Glob;
use crate::model::{Config, Route, Tool};
use crate::schema::{Schema, Violation};
use crate::template::{HeaderTemplate, MAX_URL_BYTES, QueryTemplate, TemplateError, UrlTemplate};
use crate::verify::CompiledVerify;

/// The longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 255;

impl Config {
    /// The document as JSON, in the form of bridge.toml with all defaults filled in.
    ///
    /// # Panics
    /// Never: the model has only texts for keys, and no value that JSON lacks.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("every key of the model is a text")
    }

    /// Read a document from JSON. It is trusted no more than a file: every rule is applied.
    ///
    /// # Errors
    /// What is wrong with it. Warnings are not reported without an error.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Vec<Diagnostic>> {
        Compiled::from_json(bytes).map(Compiled::into_config)
    }

    /// Make the document ready to run. Every rule is applied again, as the fields of this type are open.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(&self) -> Result<Compiled, Vec<Diagnostic>> {
        Compiled::from_json(&self.to_json())
    }
}

/// A document whose programs, schemas and templates are ready to run. Exists only for documents without errors.
#[derive(Debug, Clone)]
pub struct Compiled {
    pub(crate) config: Config,
    pub(crate) tools: BTreeMap<String, CompiledTool>,
    pub(crate) routes: Vec<CompiledRoute>,
}

impl Compiled {
    /// Read a document from JSON, as [`Config::from_json`], ready to run.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Vec<Diagnostic>> {
        match document::compile_json(bytes) {
            (Some(compiled), _) => Ok(compiled),
            (None, diagnostics) => Err(diagnostics),
        }
    }

    /// The plain data of the document.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn into_config(self) -> Config {
        self.config
    }

    /// The tool of this name.
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<&CompiledTool> {
        self.tools.get(name)
    }

    /// All tools, by name.
    #[must_use]
    pub fn tools(&self) -> &BTreeMap<String, CompiledTool> {
        &self.tools
    }

    /// All routes, in the order of the document.
    #[must_use]
    pub fn routes(&self) -> &[CompiledRoute] {
        &self.routes
    }

    /// The routes for events of this source and type, in the order of the document. Their filters are still to be asked.
    pub fn routes_for<'a>(&'a self, source: &'a str, event_type: &'a str) -> impl Iterator<Item = &'a CompiledRoute> {
        self.routes.iter().filter(move |route| route.route.source == source && route.pattern.matches(event_type))
    }

    /// Whether an address that is not public may be called anyway.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        self.config.network.allow.iter().any(|range| range.contains(address))
    }
}

/// A route, ready to run.
#[derive(Debug, Clone)]
pub struct CompiledRoute {
    pub(crate) route: Route,
    pub(crate) pattern: Glob,
    pub(crate) filter: Option<Program>,
    pub(crate) input: Program,
    pub(crate) order: Option<Program>,
}

/// Why a route's program gave no order key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The program failed on the event.
    #[error("{0}")]
    Program(#[from] RunError),
    /// It gave something that is no key.
    #[error("it gave {found}; an order key is a text that is not empty, or a number")]
    NotPlain {
        /// What it gave.
        found: &'static str,
    },
}

impl CompiledRoute {
    /// Its plain data.
    #[must_use]
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.route.name
    }

    /// The name of the tool that it calls. The document has it.
    #[must_use]
    pub fn tool(&self) -> &str {
        &self.route.tool
    }

    /// Whether the event passes the filter.
    ///
    /// # Errors
    /// When the filter fails on the event.
    pub fn lets_pass(&self, event: &Value) -> Result<bool, RunError> {
        self.filter.as_ref().map_or(Ok(true), |filter| filter.matches(event))
    }

    /// The tool's input for the event.
    ///
    /// # Errors
    /// When the mapping fails on the event, or gives no value or several.
    pub fn input(&self, event: &Value) -> Result<Value, RunError> {
        self.input.first(event)
    }

    /// The order key of the event: tasks of the same one run one after the other. `None`: the route keeps no order.
    ///
    /// # Errors
    /// When the program fails, or gives something that is no key. Nothing is taken for *no order*: a misspelt field would go unnoticed
    /// until two tasks had been swapped.
    pub fn order(&self, event: &Value) -> Result<Option<String>, OrderError> {
        let Some(program) = &self.order else { return Ok(None) };
        let found = match program.first(event)? {
            Value::String(key) if !key.is_empty() => return Ok(Some(key)),
            Value::Number(key) => return Ok(Some(key.to_string())),
            Value::String(_) => "an empty text",
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        Err(OrderError::NotPlain { found })
    }
}

/// A tool, ready to make requests.
#[derive(Debug, Clone)]
pub struct CompiledTool {
    pub(crate) name: String,
    pub(crate) tool: Tool,
    pub(crate) url: UrlTemplate,
    pub(crate) query: Vec<QueryTemplate>,
    pub(crate) headers: Vec<HeaderTemplate>,
    pub(crate) body: Option<Program>,
    pub(crate) idempotency_key: Option<Program>,
    pub(crate) verify: Option<CompiledVerify>,
    pub(crate) input: Option<Schema>,
    pub(crate) output: Option<Schema>,
}

/// Why a tool's program gave no idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The program failed on the input.
    #[error("idempotency_key: {0}")]
    Program(#[from] RunError),
    /// It gave something that is no key.
    #[error("idempotency_key gave {found}; a key is a text or a number")]
    NotPlain {
        /// What it gave.
        found: &'static str,
    },
    /// It gave a key that is empty, too long, or has characters that a header cannot carry.
    #[error("idempotency_key gave a text that is no key: 1 to {MAX_KEY_BYTES} visible ASCII characters")]
    Unusable,
}

impl CompiledTool {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its plain data: method, effect, timeout, auth, …
    #[must_use]
    pub fn tool(&self) -> &Tool {
        &self.tool
    }

    /// Whether the URL is a path of the bridge's own address; [`CompiledTool::url`] then begins with `bridge:/`.
    #[must_use]
    pub fn calls_bridge(&self) -> bool {
        self.url.is_bridge()
    }

    /// The URL for an input, query parameters included.
    ///
    /// # Errors
    /// A field that is not there or cannot be in a URL, or a result that is too long.
    pub fn url(&self, input: &Value) -> Result<String, TemplateError> {
        let mut url = self.url.expand(input)?;
        for parameter in &self.query {
            let separator = match url.contains('?') {
                true if url.ends_with(['?', '&']) => "",
                true => "&",
                false => "?",
            };
            url.push_str(separator);
            url.push_str(&parameter.expand(input)?);
        }
        if url.len() > MAX_URL_BYTES {
            return Err(TemplateError::TooLong { place: "URL".to_owned(), limit: MAX_URL_BYTES });
        }
        Ok(url)
    }

    /// The declared headers for an input: names in lower case, in order. Neither the credential nor the idempotency key.
    ///
    /// # Errors
    /// A field that is not there or cannot be in a header.
    pub fn headers(&self, input: &Value) -> Result<Vec<(String, String)>, TemplateError> {
        self.headers.iter().map(|header| Ok((header.name().to_owned(), header.expand(input)?))).collect()
    }

    /// The JSON body for an input. `None`: the request has none.
    ///
    /// # Errors
    /// When the program fails on the input, or gives no value or several.
    pub fn body(&self, input: &Value) -> Result<Option<Value>, RunError> {
        self.body.as_ref().map(|program| program.first(input)).transpose()
    }

    /// The idempotency key that the tool's program makes of an input. `None`: there is no program; the key is the event id and
    /// the route name.
    ///
    /// # Errors
    /// When the program fails, or gives something that is no key.
    pub fn idempotency_key(&self, input: &Value) -> Result<Option<String>, KeyError> {
        let Some(program) = &self.idempotency_key else { return Ok(None) };
        let key = match program.first(input)? {
            Value::String(key) => key,
            Value::Number(key) => key.to_string(),
            Value::Null => return Err(KeyError::NotPlain { found: "null" }),
            Value::Bool(_) => return Err(KeyError::NotPlain { found: "a boolean" }),
            Value::Array(_) => return Err(KeyError::NotPlain { found: "an array" }),
            Value::Object(_) => return Err(KeyError::NotPlain { found: "an object" }),
        };
        let is_key = !key.is_empty() && key.len() <= MAX_KEY_BYTES && key.bytes().all(|byte| byte.is_ascii_graphic());
        if is_key { Ok(Some(key)) } else { Err(KeyError::Unusable) }
    }

    /// How to find out whether a call was made whose answer never came.
    #[must_use]
    pub fn verify(&self) -> Option<&CompiledVerify> {
        self.verify.as_ref()
    }

    /// Check an input against the tool's schema. Without a schema, everything fits.
    ///
    /// # Errors
    /// The ways in which it does not fit.
    pub fn check_input(&self, input: &Value) -> Result<(), Vec<Violation>> {
        self.input.as_ref().map_or(Ok(()), |schema| schema.check(input))
    }

    /// Check an output against the tool's schema. Without a schema, everything fits.
    ///
    /// # Errors
    /// The ways in which it does not fit.
    pub fn check_output(&self, output: &Value) -> Result<(), Vec<Violation>> {
        self.output.as_ref().map_or(Ok(()), |schema| schema.check(output))
    }
}

#[cfg(test)]
#[path = "compiled_tests.rs"]
mod tests;
