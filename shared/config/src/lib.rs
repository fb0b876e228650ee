//! bridge.toml: its model, its checks and what a person is told about them.
//!
//! There is one way in, whatever the form: a document is read as a tree ([`check`] for TOML text, [`Config::from_json`] and
//! [`Compiled::from_json`] for the JSON that functions receive), every rule is applied to the tree, and all that is wrong
//! with it comes back as [`Diagnostic`]s. [`Config`] is the plain data of a document; [`Compiled`] is the same with its jq
//! programs, JSON Schemas and templates ready to run, and exists only for documents without errors.
//!
//! Pure: no clock, no network, no file.

mod agent;
mod catch_up;
mod compiled;
mod diagnostic;
mod differences;
mod document;
mod glob;
mod graphql;
pub mod header;
mod job;
mod limit;
mod model;
mod names;
mod node;
mod provider;
mod reader;
mod schema;
mod signed;
mod stub;
mod template;
mod tool;
mod units;
mod verify;

pub use agent::is_agent_name;
pub use compiled::{Compiled, CompiledPages, CompiledRoute, CompiledSign, CompiledTool, KeyError, OrderError};
pub use diagnostic::{Code, Diagnostic, Position, Severity};
pub use differences::{Difference, differences};
pub use document::{MAX_DOCUMENT_BYTES, MAX_TOOLS, check};
pub use glob::Glob;
pub use job::{CompiledJob, Every, Job, JobError, Progress, Within};
pub use limit::{Circuit, CompiledLimit, Limit, Per, Rate, RetryBudget, Share, Span, ToolLimit};
pub use model::{
    Agent, Algorithm, Assertion, Auth, Carrier, CatchUp, ClientAuth, Config, Credential, Effect, Encoding, GithubLog,
    Grant, IssuerCheck, Jwt, Limits, Method, Network, OnParked, PageKind, Pages, Provider, Revocation, Route,
    SecretEncoding, Sign, Target, TimestampUnit, Tls, TokenBody, Tool,
};
pub use provider::{Lifetime, ParameterError, Preset, presets};
pub use schema::{MAX_VIOLATIONS, Schema, Violation};
pub use signed::{SignedParts, SignedTemplate};
pub use stub::{Asked, Content, Cut, Mismatch, Reply, Script, ScriptedAnswer, When, check_stub};
pub use template::{
    ConnectionTemplate, HeaderTemplate, MAX_URL_BYTES, QueryTemplate, TemplateError, TemplateSyntaxError, UrlTemplate,
};
pub use units::{ByteSize, Cidr, Timeout};
pub use verify::{CompiledVerify, DoneError, Retention, Settle, Verify};
