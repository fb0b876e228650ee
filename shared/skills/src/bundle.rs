//! A bundle: what a skill is made of, and whether it can be one.

use crate::refused::{Problem, Refused, Why};
use crate::version::Version;
use clawbridge_config::header::looks_like_a_secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The largest bundle, bytes of JSON.
pub const MAX_BUNDLE_BYTES: usize = 256 * 1024;

const MAX_TOOLS: usize = 64;
const MAX_ROUTES: usize = 32;
const MAX_NEEDS: usize = 16;
const MAX_GUIDE_BYTES: usize = 32 * 1024;
const MAX_DESCRIPTION_CHARS: usize = 500;

/// Where tools' secrets lie, as bridge.toml names them.
const SECRETS: &str = "clawbridge/tools/";

/// A name that stands for the catalogue in addresses.
const RESERVED: &str = "catalogue";

/// A skill as somebody wrote it. `${name}` in any text of a tool, a route or the provider stands for a parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Its name: up to 40 small letters, digits and -. The tools' names begin with it.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// What it is for: one line, by which agents decide whether to look at it.
    pub description: String,
    /// The vendor's pages that its declarations were made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// The source whose events its routes take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceNeed>,
    /// The secrets that its tools send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretNeed>,
    /// The OAuth provider at which an account can be connected instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderNeed>,
    /// What is to be said at the installation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Parameter>,
    /// Tools, as bridge.toml declares them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, Value>,
    /// Routes, as bridge.toml declares them: examples, off unless they are chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Value>,
    /// What an agent should know about using it, Markdown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub guide: String,
}

/// A source that has to be there for routes to hear of anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceNeed {
    /// Its name in routes.
    pub name: String,
    /// Its signature scheme.
    pub scheme: String,
    /// Where the vendor shows the signing secret, and what else to do there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub says: String,
}

/// A secret that tools send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretNeed {
    /// Its name, `clawbridge/tools/NAME`.
    pub name: String,
    /// What belongs into it, and with which permissions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub says: String,
}

/// A provider for accounts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderNeed {
    /// Its name in connections.
    pub name: String,
    /// Its declaration, without `client_id`.
    pub declaration: Map<String, Value>,
}

/// What is to be said at the installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// What it is.
    pub says: String,
    /// What it can be.
    #[serde(default)]
    pub kind: ParameterKind,
    /// What it is unless something else is said. `None`: it must be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// What a parameter can be. Nothing that could end a host's name, a text or a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParameterKind {
    /// Up to 100 letters, digits, - and _.
    #[default]
    Name,
    /// `https://HOST[:PORT][/PATH]`, or `http://` on this machine.
    Url,
}

impl ParameterKind {
    /// What is wrong with a value.
    pub(crate) fn complaint(self, value: &str) -> Option<&'static str> {
        let plain =
            |text: &str, more: &[u8]| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte));
        let is_one = match self {
            ParameterKind::Name => (1..=100).contains(&value.len()) && plain(value, b"-_"),
            ParameterKind::Url => {
                let rest = value.strip_prefix("https://").or_else(|| {
                    let rest = value.strip_prefix("http://")?;
                    let host = rest.split(['/', ':']).next()?;
                    matches!(host, "localhost" | "127.0.0.1").then_some(rest)
                });
                value.len() <= 200
                    && rest.is_some_and(|rest| {
                        !rest.is_empty()
                            && !rest.starts_with(['/', ':'])
                            && !rest.ends_with('/')
                            && plain(rest, b"-._:/")
                    })
            }
        };
        match self {
            // What is chosen is remembered in a table.
            _ if looks_like_a_secret(value) => Some("this looks like a credential; it belongs into a secret"),
            _ if is_one => None,
            ParameterKind::Name => Some("1 to 100 letters, digits, - and _ are wanted"),
            ParameterKind::Url => Some("an address is wanted, https://HOST or https://HOST/PATH, without / at its end"),
        }
    }
}

/// What the names of a skill's tools begin with: models' tool names have no dot.
fn prefix(skill: &str) -> String {
    format!("{}_", skill.replace('-', "_"))
}

/// The tool that an action `SKILL.TOOL` means: `stripe.create_refund` and `stripe.stripe_create_refund` are both `stripe_create_refund`.
#[must_use]
pub fn tool_of(skill: &str, tool: &str) -> String {
    let prefix = prefix(skill);
    if tool.starts_with(&prefix) { tool.to_owned() } else { format!("{prefix}{tool}") }
}

impl Bundle {
    /// A bundle as JSON.
    ///
    /// # Errors
    /// [`Why::Bundle`].
    pub fn from_json(value: &Value) -> Result<Bundle, Refused> {
        if value.to_string().len() > MAX_BUNDLE_BYTES {
            return Err(wrong(vec![Problem::new("", format!("a bundle has {MAX_BUNDLE_BYTES} bytes at most"))]));
        }
        let bundle = Bundle::deserialize(value).map_err(|error| wrong(vec![Problem::new("", error.to_string())]))?;
        bundle.check().map(|()| bundle)
    }

    /// A bundle as TOML, as the catalogue's are.
    ///
    /// # Errors
    /// [`Why::Bundle`].
    pub fn from_toml(text: &str) -> Result<Bundle, Refused> {
        if text.len() > MAX_BUNDLE_BYTES {
            return Err(wrong(vec![Problem::new("", format!("a bundle has {MAX_BUNDLE_BYTES} bytes at most"))]));
        }
        let bundle: Bundle =
            toml::from_str(text).map_err(|error| wrong(vec![Problem::new("", error.message().to_owned())]))?;
        bundle.check().map(|()| bundle)
    }

    /// What a bundle must be by itself. What its declarations must be is seen when they are in a document.
    fn check(&self) -> Result<(), Refused> {
        let mut problems = Vec::new();
        let mut say = |path: String, message: String| problems.push(Problem::new(path, message));
        let is_name = !self.name.is_empty()
            && self.name.len() <= 40
            && self.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !is_name || self.name == RESERVED {
            say("name".into(), format!("a name has up to 40 small letters, digits and -, and is not {RESERVED}"));
        }
        let description = self.description.trim();
        if description.is_empty() || self.description.chars().count() > MAX_DESCRIPTION_CHARS {
            say("description".into(), format!("1 to {MAX_DESCRIPTION_CHARS} characters are wanted"));
        } else if self.description.chars().any(char::is_control) {
            say("description".into(), "one line is wanted".into());
        }
        if self.guide.len() > MAX_GUIDE_BYTES {
            say("guide".into(), format!("a guide has {MAX_GUIDE_BYTES} bytes at most"));
        }
        for (count, most, path) in [
            (self.tools.len(), MAX_TOOLS, "tools"),
            (self.routes.len(), MAX_ROUTES, "routes"),
            (self.secrets.len(), MAX_NEEDS, "secrets"),
            (self.parameters.len(), MAX_NEEDS, "parameters"),
            (self.references.len(), MAX_NEEDS, "references"),
        ] {
            if count > most {
                say(path.into(), format!("there are more than {most}"));
            }
        }
        if self.tools.is_empty() && self.routes.is_empty() {
            say("tools".into(), "a bundle has at least one tool or route".into());
        }
        let prefix = prefix(&self.name);
        for (name, tool) in &self.tools {
            if !name.starts_with(&prefix) || name.len() == prefix.len() {
                say(format!("tools.{name}"), format!("the name of a tool of {} begins with {prefix}", self.name));
            }
            let secret = tool.pointer("/auth/secret").and_then(Value::as_str);
            if let Some(secret) = secret
                && !self.secrets.iter().any(|need| need.name == secret)
            {
                say(format!("tools.{name}.auth.secret"), "`secrets` does not name it".into());
            }
        }
        let mut names = BTreeSet::new();
        for (place, route) in self.routes.iter().enumerate() {
            let name = route.get("name").and_then(Value::as_str).unwrap_or_default();
            if !name.starts_with(&format!("{}-", self.name)) {
                let message = format!("the name of a route of {} begins with {}-", self.name, self.name);
                say(format!("routes.{place}.name"), message);
            } else if !names.insert(name) {
                say(format!("routes.{place}.name"), "there are two routes of this name".into());
            }
        }
        for (place, need) in self.secrets.iter().enumerate() {
            if need.name.strip_prefix(SECRETS).is_none_or(str::is_empty) {
                say(format!("secrets.{place}.name"), format!("secrets of tools are called {SECRETS}NAME"));
            }
        }
        for (name, parameter) in &self.parameters {
            if ParameterKind::Name.complaint(name).is_some() {
                say(format!("parameters.{name}"), "names of parameters have letters, digits, - and _".into());
            }
            if let Some(complaint) = parameter.default.as_deref().and_then(|value| parameter.kind.complaint(value)) {
                say(format!("parameters.{name}.default"), complaint.into());
            }
        }
        if self.provider.as_ref().is_some_and(|provider| provider.declaration.contains_key("client_id")) {
            say("provider.declaration.client_id".into(), "it is given at the installation".into());
        }
        for (path, text) in [("description", &self.description), ("guide", &self.guide)] {
            if holds_a_secret(text) {
                say(path.into(), "it holds what looks like a credential, and this is no place for one".into());
            }
        }
        for (path, text) in self.texts() {
            for name in named(&text) {
                if !self.parameters.contains_key(&name) {
                    say(path.clone(), format!("`parameters` does not declare ${{{name}}}"));
                }
            }
        }
        problems.truncate(50);
        if problems.is_empty() { Ok(()) } else { Err(wrong(problems)) }
    }

    /// The texts in which parameters are filled in.
    fn texts(&self) -> Vec<(String, String)> {
        let tools = self.tools.iter().map(|(name, tool)| (format!("tools.{name}"), tool.to_string()));
        let routes = self.routes.iter().enumerate();
        let routes = routes.map(|(place, route)| (format!("routes.{place}"), route.to_string()));
        let provider = self.provider.iter();
        let provider = provider
            .map(|need| ("provider.declaration".to_owned(), Value::Object(need.declaration.clone()).to_string()));
        tools.chain(routes).chain(provider).collect()
    }
}

/// Whether some word of a text looks like a credential.
fn holds_a_secret(text: &str) -> bool {
    text.split(|c: char| c.is_whitespace() || "\"'`()<>,;=".contains(c)).any(looks_like_a_secret)
}

fn wrong(problems: Vec<Problem>) -> Refused {
    Refused::new(Why::Bundle, problems)
}

/// The names in `${name}`, in order.
fn named(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else { break };
        names.push(name.to_owned());
        rest = after;
    }
    names
}

/// The value with its parameters filled in. The depth is bounded by the reader it came from.
pub(crate) fn fill(value: &Value, parameters: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) => {
            let mut filled = text.clone();
            for (name, value) in parameters {
                filled = filled.replace(&format!("${{{name}}}"), value);
            }
            Value::String(filled)
        }
        Value::Array(items) => items.iter().map(|item| fill(item, parameters)).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), fill(value, parameters))).collect())
        }
        other => other.clone(),
    }
}
