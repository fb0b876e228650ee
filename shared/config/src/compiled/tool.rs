//! A tool ready to run.

use clawbridge_jq::{Program, RunError};
use serde_json::{Value, json};
use std::time::Duration;

use crate::graphql::Operation;
use crate::job::CompiledJob;
use crate::limit::{Circuit, CompiledLimit, RetryBudget};
use crate::model::Tool;
use crate::schema::{Schema, Violation};
use crate::signed::SignedTemplate;
use crate::template::{ConnectionTemplate, HeaderTemplate, MAX_URL_BYTES, QueryTemplate, TemplateError, UrlTemplate};
use crate::verify::CompiledVerify;

/// How long an attempt waits for a token that has to be refreshed first: a provider's ten seconds, and two to store what it gives.
const TOKEN_TIME: Duration = Duration::from_secs(12);

/// The longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 255;

/// A tool, ready to make requests.
#[derive(Debug, Clone)]
pub struct CompiledTool {
    pub(crate) name: String,
    pub(crate) tool: Tool,
    pub(crate) url: UrlTemplate,
    pub(crate) query: Vec<QueryTemplate>,
    pub(crate) headers: Vec<HeaderTemplate>,
    pub(crate) body: Body,
    pub(crate) idempotency_key: Option<Program>,
    pub(crate) limit: Option<CompiledLimit>,
    pub(crate) verify: Option<CompiledVerify>,
    pub(crate) job: Option<CompiledJob>,
    pub(crate) input: Option<Schema>,
    pub(crate) result: Option<Program>,
    pub(crate) output: Option<Schema>,
    pub(crate) connection: Option<ConnectionTemplate>,
    pub(crate) sign: Option<CompiledSign>,
    pub(crate) pages: Option<CompiledPages>,
}

/// What makes the body of a request.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// There is none.
    None,
    /// A program over the input.
    Program(Program),
    /// A GraphQL operation.
    Graphql(CompiledGraphql),
}

/// A GraphQL operation, ready to be asked for.
#[derive(Debug, Clone)]
pub(crate) struct CompiledGraphql {
    pub(crate) operation: Operation,
    pub(crate) variables: Option<Program>,
}

impl CompiledGraphql {
    /// The body of a request (GraphQL over HTTP, section "POST").
    fn body(&self, document: &str, input: &Value) -> Result<Value, RunError> {
        let variables = match &self.variables {
            Some(program) => program.first(input)?,
            None => {
                let given = |name: &String| input.get(name).map(|value| (name.clone(), value.clone()));
                let fields = self.operation.variables.iter().filter_map(|variable| given(&variable.name));
                Value::Object(fields.collect())
            }
        };
        let mut body = json!({ "query": document, "variables": variables });
        if let Some(name) = &self.operation.name {
            body["operationName"] = json!(name);
        }
        Ok(body)
    }
}

/// How requests are signed, ready to run.
#[derive(Debug, Clone)]
pub struct CompiledSign {
    /// What is signed.
    pub over: SignedTemplate,
    /// What stands before the signature in its header.
    pub prefix: SignedTemplate,
}

/// How pages are followed, ready to run.
#[derive(Debug, Clone)]
pub struct CompiledPages {
    pub(crate) items: Program,
    pub(crate) next: Option<Program>,
}

impl CompiledPages {
    /// The items of a page's answer. Anything but an array is none.
    ///
    /// # Errors
    /// When the program fails on the answer, or gives no value or several.
    pub fn items(&self, answer: &Value) -> Result<Value, RunError> {
        self.items.first(answer)
    }

    /// What the tool's `next` makes of a page's answer. `None`: it has no such program.
    ///
    /// # Errors
    /// When the program fails on the answer, or gives no value or several.
    pub fn next(&self, answer: &Value) -> Result<Option<Value>, RunError> {
        self.next.as_ref().map(|program| program.first(answer)).transpose()
    }
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

    /// How long an attempt may take: the time limit of its calls, and before that what it takes to have a token refreshed.
    #[must_use]
    pub fn attempt_time(&self) -> Duration {
        self.tool.timeout.duration() + if self.connection.is_some() { TOKEN_TIME } else { Duration::ZERO }
    }

    /// Which connection's token it sends. `None`: none.
    #[must_use]
    pub fn connection(&self) -> Option<&ConnectionTemplate> {
        self.connection.as_ref()
    }

    /// How often it may be called, a limit that tools share looked up. `None`: as often as there is work.
    #[must_use]
    pub fn limit(&self) -> Option<&CompiledLimit> {
        self.limit.as_ref()
    }

    /// When it is left alone because it fails. `None`: never.
    #[must_use]
    pub fn circuit(&self) -> Option<&Circuit> {
        self.tool.circuit.as_ref()
    }

    /// How many of its calls may be retries. `None`: as many as attempts allow.
    #[must_use]
    pub fn retry_budget(&self) -> Option<&RetryBudget> {
        self.tool.retry_budget.as_ref()
    }

    /// How to find out whether a call was made whose answer never came.
    #[must_use]
    pub fn verify(&self) -> Option<&CompiledVerify> {
        self.verify.as_ref()
    }

    /// How it is known what came of work that goes on after the answer. `None`: the answer is the result.
    #[must_use]
    pub fn job(&self) -> Option<&CompiledJob> {
        self.job.as_ref()
    }

    /// How its requests are signed. `None`: not at all.
    #[must_use]
    pub fn sign(&self) -> Option<&CompiledSign> {
        self.sign.as_ref()
    }

    /// How its pages are followed. `None`: it makes one request.
    #[must_use]
    pub fn pages(&self) -> Option<&CompiledPages> {
        self.pages.as_ref()
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
            let Some(pair) = parameter.expand(input)? else { continue };
            let separator = match url.contains('?') {
                true if url.ends_with(['?', '&']) => "",
                true => "&",
                false => "?",
            };
            url.push_str(separator);
            url.push_str(&pair);
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
        let mut headers = Vec::with_capacity(self.headers.len());
        for header in &self.headers {
            headers.extend(header.expand(input)?.map(|value| (header.name().to_owned(), value)));
        }
        Ok(headers)
    }

    /// The JSON body for an input. `None`: the request has none.
    ///
    /// # Errors
    /// When the program fails on the input, or gives no value or several.
    pub fn body(&self, input: &Value) -> Result<Option<Value>, RunError> {
        match &self.body {
            Body::None => Ok(None),
            Body::Program(program) => program.first(input).map(Some),
            Body::Graphql(graphql) => graphql.body(self.tool.graphql.as_deref().unwrap_or_default(), input).map(Some),
        }
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

    /// Check an input against the tool's schema. Without a schema, everything fits.
    ///
    /// # Errors
    /// The ways in which it does not fit.
    pub fn check_input(&self, input: &Value) -> Result<(), Vec<Violation>> {
        self.input.as_ref().map_or(Ok(()), |schema| schema.check(input))
    }

    /// What the tool's program makes of an answer's `view`, `{answer, status, headers, input}`. `None`: there is no program; the answer is
    /// the result.
    ///
    /// # Errors
    /// When the program fails on the view, or gives no value or several.
    pub fn result(&self, view: &Value) -> Result<Option<Value>, RunError> {
        self.result.as_ref().map(|program| program.first(view)).transpose()
    }

    /// Check an output against the tool's schema. Without a schema, everything fits.
    ///
    /// # Errors
    /// The ways in which it does not fit.
    pub fn check_output(&self, output: &Value) -> Result<(), Vec<Violation>> {
        self.output.as_ref().map_or(Ok(()), |schema| schema.check(output))
    }
}
