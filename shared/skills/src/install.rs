//! Putting a skill into a document, and taking it out.

use crate::bundle::{Bundle, fill};
use crate::refused::{Problem, Refused, Why};
use crate::version::Version;
use clawbridge_config::header::looks_like_a_secret;
use clawbridge_config::{Config, Credential, Diagnostic, Provider, Route, Target, Tool};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What is chosen at an installation. What is left out is as it was, at the first one as the bundle says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Values of the bundle's parameters.
    pub parameters: Option<BTreeMap<String, String>>,
    /// The account that tools act as, `PROVIDER/ACCOUNT`, instead of the secret that the bundle names. Empty: the secret.
    pub connection: Option<String>,
    /// The OAuth client, with which the skill brings the provider along. Empty: it does not.
    pub client_id: Option<String>,
    /// The routes that are switched on, by name.
    pub routes: Option<Vec<String>>,
    /// Whether what the user changed may be lost, and an earlier version take the place of a later one.
    pub force: bool,
}

/// What was chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Values of the bundle's parameters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// The account that tools act as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// The OAuth client of the provider that the skill brought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The routes that are switched on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
}

/// Which part of a document a member is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `[tools.NAME]`.
    Tool,
    /// One of `[[routes]]`, by its name.
    Route,
    /// `[providers.NAME]`.
    Provider,
}

/// What a skill brought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Which part of the document it is of.
    pub kind: Kind,
    /// Its name there.
    pub name: String,
    /// As it was brought, defaults filled in.
    pub value: Value,
}

impl Member {
    /// Where it is: `tools.stripe_create_refund`, `routes.stripe-disputes`.
    #[must_use]
    pub fn path(&self) -> String {
        path(self.kind, &self.name)
    }
}

fn path(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Tool => format!("tools.{name}"),
        Kind::Route => format!("routes.{name}"),
        Kind::Provider => format!("providers.{name}"),
    }
}

/// What is remembered of an installed skill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What was installed.
    pub bundle: Bundle,
    /// What was chosen.
    #[serde(default)]
    pub options: Options,
    /// What it brought.
    pub members: Vec<Member>,
}

/// How what a skill brought is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it was brought.
    Present,
    /// Changed since.
    Edited,
    /// No longer there.
    Missing,
}

/// What an installation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The first of this skill.
    New,
    /// In the place of this version, which may be the same with other choices.
    Upgraded(Version),
    /// Everything is as it is to be.
    Unchanged,
}

/// What an installation makes.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// The document.
    pub config: Config,
    /// What is to be remembered.
    pub record: Record,
    /// What kind of installation it is.
    pub change: Change,
}

/// Puts a skill into a document; in the place of `before`, where it is installed already.
///
/// # Errors
/// See [`Refused`]; the document stays as it is.
pub fn install(
    config: &Config,
    bundle: &Bundle,
    wanted: &Wanted,
    before: Option<&Record>,
) -> Result<Installed, Refused> {
    let options = chosen(bundle, wanted, before)?;
    if let Some(before) = before
        && !wanted.force
    {
        if bundle.version < before.bundle.version {
            let message = format!("{} is installed, and this is {}", before.bundle.version, bundle.version);
            return Err(Refused::new(Why::Older, vec![Problem::new("version", message)]));
        }
        edited(config, before)?;
    }
    let mut without = config.clone();
    for member in before.iter().flat_map(|before| &before.members) {
        take(&mut without, member);
    }
    let brought = declarations(bundle, &options);
    let clashes: Vec<Problem> = brought
        .iter()
        .filter(|member| value_in(&without, member.kind, &member.name).is_some())
        .map(|member| {
            Problem::new(member.path(), "the configuration has one of this name, which the skill did not bring")
        })
        .collect();
    if !clashes.is_empty() {
        return Err(Refused::new(Why::Clash, clashes));
    }
    if let Some(before) = before {
        let dropped: Vec<&Member> = before
            .members
            .iter()
            .filter(|old| !brought.iter().any(|new| new.kind == old.kind && new.name == old.name))
            .collect();
        referred(&without, &dropped)?;
    }
    let config_after = added(&without, &brought).map_err(|diagnostics| Refused::document(&diagnostics))?;
    // As the document has them now: that is what they are compared with later.
    let members: Vec<Member> = brought
        .into_iter()
        .map(|member| Member {
            value: value_in(&config_after, member.kind, &member.name).unwrap_or_default(),
            ..member
        })
        .collect();
    let record = Record { bundle: bundle.clone(), options, members };
    let change = match before {
        None => Change::New,
        Some(before) if *before == record && config_after == *config => Change::Unchanged,
        Some(before) => Change::Upgraded(before.bundle.version),
    };
    Ok(Installed { config: config_after, record, change })
}

/// Takes a skill out of a document: nothing is left of it, and nothing else is touched.
///
/// # Errors
/// [`Why::Edited`], unless forced; [`Why::Referred`], which nothing forces, as the document would not work.
pub fn remove(config: &Config, record: &Record, force: bool) -> Result<Config, Refused> {
    if !force {
        edited(config, record)?;
    }
    let mut without = config.clone();
    for member in &record.members {
        take(&mut without, member);
    }
    referred(&without, &record.members.iter().collect::<Vec<_>>())?;
    // What was taken out can leave nothing else that does not work; if it does, that is no reason to write it down.
    without.compile().map_err(|diagnostics| Refused::document(&diagnostics))?;
    Ok(without)
}

/// How the members of a skill are now.
#[must_use]
pub fn states<'a>(config: &Config, record: &'a Record) -> Vec<(&'a Member, State)> {
    let state = |member: &Member| match value_in(config, member.kind, &member.name) {
        None => State::Missing,
        Some(value) if is_same(member.kind, &value, &member.value) => State::Present,
        Some(_) => State::Edited,
    };
    record.members.iter().map(|member| (member, state(member))).collect()
}

/// A document that takes the place of another, with what skills brought that it does not mention: whoever writes a file of their own does not have to
/// repeat what they installed. What the file has by the same name counts.
///
/// # Errors
/// What does not work about the whole.
pub fn keep(config: &Config, records: &[Record]) -> Result<Config, Vec<Diagnostic>> {
    let missing: Vec<Member> = records
        .iter()
        .flat_map(|record| &record.members)
        .filter(|member| value_in(config, member.kind, &member.name).is_none())
        .cloned()
        .collect();
    if missing.is_empty() { Ok(config.clone()) } else { added(config, &missing) }
}

/// What was chosen, what is left out filled in.
fn chosen(bundle: &Bundle, wanted: &Wanted, before: Option<&Record>) -> Result<Options, Refused> {
    let old = before.map(|before| before.options.clone()).unwrap_or_default();
    let mut problems = Vec::new();
    let given = wanted.parameters.clone().unwrap_or_default();
    for name in given.keys().filter(|name| !bundle.parameters.contains_key(*name)) {
        let known: Vec<&str> = bundle.parameters.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        problems.push(Problem::new(
            format!("parameters.{name}"),
            format!("the skill has no such parameter; it has {known}"),
        ));
    }
    let mut parameters = BTreeMap::new();
    for (name, parameter) in &bundle.parameters {
        let value = given.get(name).or_else(|| old.parameters.get(name)).or(parameter.default.as_ref());
        match value.map(|value| (value, parameter.kind.complaint(value))) {
            None => problems
                .push(Problem::new(format!("parameters.{name}"), format!("it must be said: {}", parameter.says))),
            Some((_, Some(complaint))) => problems.push(Problem::new(format!("parameters.{name}"), complaint)),
            Some((value, None)) => drop(parameters.insert(name.clone(), value.clone())),
        }
    }
    let filled = |new: &Option<String>, old: Option<String>| new.clone().or(old).filter(|text| !text.is_empty());
    let connection = filled(&wanted.connection, old.connection);
    let client_id = filled(&wanted.client_id, old.client_id);
    if let Some(connection) = &connection
        && bundle.provider.is_none()
    {
        problems
            .push(Problem::new("connection", format!("{} has no provider to connect {connection} at", bundle.name)));
    }
    if client_id.is_some() && bundle.provider.is_none() {
        problems.push(Problem::new("client_id", format!("{} has no provider", bundle.name)));
    }
    if client_id.as_deref().is_some_and(looks_like_a_secret) {
        problems.push(Problem::new("client_id", "this looks like a credential; a client's identifier is public"));
    }
    let known: Vec<&str> = bundle.routes.iter().filter_map(|route| route.get("name")?.as_str()).collect();
    let mut routes = Vec::new();
    for route in wanted.routes.clone().unwrap_or(old.routes) {
        if !known.contains(&route.as_str()) {
            // One that was switched on and that this version no longer has is gone with it.
            if wanted.routes.is_some() {
                let names = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                problems.push(Problem::new("routes", format!("the skill has no route {route:?}; it has {names}")));
            }
        } else if !routes.contains(&route) {
            routes.push(route);
        }
    }
    if bundle.tools.is_empty() && routes.is_empty() {
        problems.push(Problem::new(
            "routes",
            format!("the skill has nothing but routes; choose some of {}", known.join(", ")),
        ));
    }
    if !problems.is_empty() {
        return Err(Refused::new(Why::Options, problems));
    }
    Ok(Options { parameters, connection, client_id, routes })
}

/// What a bundle brings, as it declares it.
fn declarations(bundle: &Bundle, options: &Options) -> Vec<Member> {
    let mut members = Vec::new();
    if let (Some(need), Some(client_id)) = (&bundle.provider, &options.client_id) {
        let mut declaration = need.declaration.clone();
        declaration.insert("client_id".to_owned(), Value::String(client_id.clone()));
        let value = fill(&Value::Object(declaration), &options.parameters);
        members.push(Member { kind: Kind::Provider, name: need.name.clone(), value });
    }
    for (name, tool) in &bundle.tools {
        let mut value = fill(tool, &options.parameters);
        if let (Some(connection), Some(Value::Object(auth))) = (&options.connection, value.get_mut("auth"))
            && auth.contains_key("secret")
        {
            // The header stays as the API wants it.
            auth.retain(|key, _| matches!(key.as_str(), "header" | "prefix"));
            auth.insert("connection".to_owned(), Value::String(connection.clone()));
        }
        members.push(Member { kind: Kind::Tool, name: name.clone(), value });
    }
    for name in &options.routes {
        let is_it = |route: &&Value| route.get("name").and_then(Value::as_str) == Some(name);
        if let Some(route) = bundle.routes.iter().find(is_it) {
            members.push(Member { kind: Kind::Route, name: name.clone(), value: fill(route, &options.parameters) });
        }
    }
    members
}

/// The document with these members, if it works.
fn added(config: &Config, members: &[Member]) -> Result<Config, Vec<Diagnostic>> {
    let mut document = serde_json::from_slice::<Value>(&config.to_json()).unwrap_or_else(|_| json!({}));
    for member in members {
        let table = match member.kind {
            Kind::Tool => "tools",
            Kind::Provider => "providers",
            Kind::Route => {
                if let Some(routes) = document["routes"].as_array_mut() {
                    routes.push(member.value.clone());
                }
                continue;
            }
        };
        if !document[table].is_object() {
            document[table] = Value::Object(Map::new());
        }
        document[table][&member.name] = member.value.clone();
    }
    Config::from_json(document.to_string().as_bytes())
}

/// A member as the document has it.
fn value_in(config: &Config, kind: Kind, name: &str) -> Option<Value> {
    match kind {
        Kind::Tool => config.tools.get(name).map(|tool| json!(tool)),
        Kind::Route => config.routes.iter().find(|route| route.name == name).map(|route| json!(route)),
        Kind::Provider => config.providers.get(name).map(|provider| json!(provider)),
    }
}

/// Whether two are the same to this version of the bridge: a key that has come since, at its default, is no change of the user's.
fn is_same(kind: Kind, one: &Value, other: &Value) -> bool {
    fn both<T: DeserializeOwned + PartialEq>(one: &Value, other: &Value) -> bool {
        matches!((T::deserialize(one), T::deserialize(other)), (Ok(one), Ok(other)) if one == other)
    }
    one == other
        || match kind {
            Kind::Tool => both::<Tool>(one, other),
            Kind::Route => both::<Route>(one, other),
            Kind::Provider => both::<Provider>(one, other),
        }
}

fn take(config: &mut Config, member: &Member) {
    match member.kind {
        Kind::Tool => drop(config.tools.remove(&member.name)),
        Kind::Route => config.routes.retain(|route| route.name != member.name),
        Kind::Provider => drop(config.providers.remove(&member.name)),
    }
}

fn edited(config: &Config, record: &Record) -> Result<(), Refused> {
    let problem = |member: &Member| Problem::new(member.path(), "it is no longer as the skill brought it");
    let states = states(config, record);
    let problems: Vec<Problem> =
        states.iter().filter(|(_, state)| *state == State::Edited).map(|(member, _)| problem(member)).collect();
    if problems.is_empty() { Ok(()) } else { Err(Refused::new(Why::Edited, problems)) }
}

/// What of a document refers to members that are no longer in it.
fn referred(config: &Config, gone: &[&Member]) -> Result<(), Refused> {
    let is_gone = |kind: Kind, name: &str| {
        gone.iter().any(|member| member.kind == kind && member.name == name) && value_in(config, kind, name).is_none()
    };
    let mut problems = Vec::new();
    for route in &config.routes {
        if let Target::Tool(tool) = &route.target
            && is_gone(Kind::Tool, tool)
        {
            let message = format!("the route calls {tool}, which the skill brought");
            problems.push(Problem::new(path(Kind::Route, &route.name), message));
        }
    }
    for (name, tool) in &config.tools {
        let asks = [
            tool.verify.as_ref().map(|verify| ("verify", verify.tool.as_str())),
            tool.job.as_ref().and_then(|job| Some(("job", job.tool.as_deref()?))),
        ];
        for (key, other) in asks.into_iter().flatten().filter(|(_, other)| is_gone(Kind::Tool, other)) {
            let message = format!("it asks with {other}, which the skill brought");
            problems.push(Problem::new(format!("{}.{key}", path(Kind::Tool, name)), message));
        }
        if let Some(Credential::Connection(connection)) = tool.auth.as_ref().map(|auth| &auth.credential)
            && let Some((provider, _)) = connection.split_once('/')
            && is_gone(Kind::Provider, provider)
        {
            let message = format!("it acts as {connection}, at a provider that the skill brought");
            problems.push(Problem::new(format!("{}.auth", path(Kind::Tool, name)), message));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Refused::new(Why::Referred, problems)) }
}

#[cfg(test)]
#[path = "install_tests.rs"]
mod tests;
