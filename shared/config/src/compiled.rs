//! A document ready to run.

mod tool;

pub(crate) use tool::{Body, CompiledGraphql};
pub use tool::{CompiledPages, CompiledSign, CompiledTool, KeyError};

use std::collections::BTreeMap;
use std::net::IpAddr;

use clawbridge_jq::{Program, RunError};
use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::document;
use crate::glob::Glob;
use crate::model::{Agent, Config, Provider, Route, Target};

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

    /// How tasks wait for the agent of this name: as declared, or as for all that are not.
    #[must_use]
    pub fn agent(&self, name: &str) -> Agent {
        self.config.agents.get(name).cloned().unwrap_or_default()
    }

    /// The OAuth provider of this name, its templates not filled in: [`Provider::for_account`] does that.
    #[must_use]
    pub fn provider(&self, name: &str) -> Option<&Provider> {
        self.config.providers.get(name)
    }

    /// All OAuth providers, by name.
    #[must_use]
    pub fn providers(&self) -> &BTreeMap<String, Provider> {
        &self.config.providers
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

    /// What it leads to. The document has it.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.route.target
    }

    /// Whether the event passes the filter.
    ///
    /// # Errors
    /// When the filter fails on the event.
    pub fn lets_pass(&self, event: &Value) -> Result<bool, RunError> {
        self.filter.as_ref().map_or(Ok(true), |filter| filter.matches(event))
    }

    /// The tool's input, or the prompt, for the event.
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

#[cfg(test)]
#[path = "compiled_tests.rs"]
mod tests;
