//! Reading a whole document: its text, its tables, its routes.

use std::collections::BTreeMap;

use serde_json::Value;
use toml::de::DeTable;

use crate::agent;
use crate::catch_up;
use crate::compiled::{Compiled, CompiledRoute};
use crate::diagnostic::{Code, Diagnostic};
use crate::glob::Glob;
use crate::limit;
use crate::model::{Config, Limits, Network, OnParked, Route};
use crate::node::{Entry, Node};
use crate::provider;
use crate::reader::{Fields, Reader, nearest, short};
use crate::tool;
use crate::units::{Cidr, CidrError};
use crate::verify;

/// The largest document, in bytes. As JSON it has to fit into one item of a table.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;
/// The most tools of a document.
pub const MAX_TOOLS: usize = 256;
/// The most routes of a document.
const MAX_ROUTES: usize = 512;
/// The most logs of deliveries of a document.
const MAX_CATCH_UPS: usize = 32;
/// The most OAuth providers of a document.
const MAX_PROVIDERS: usize = 64;
/// The most allowed address ranges of a document.
const MAX_RANGES: usize = 64;
/// The keys of a route.
const ROUTE_KEYS: [&str; 9] =
    ["name", "source", "type", "filter", "tool", "agent", "input", "order", "order_on_parked"];
/// The most TOML errors that are reported.
pub(crate) const MAX_SYNTAX_ERRORS: usize = 20;

/// Check the text of a bridge.toml: the configuration if it can be used, and all that is wrong or doubtful with it, in the
/// order of the text. There is a configuration exactly if there is no error among the diagnostics.
#[must_use]
pub fn check(text: &str) -> (Option<Config>, Vec<Diagnostic>) {
    let (compiled, diagnostics) = compile_text(text);
    (compiled.map(Compiled::into_config), diagnostics)
}

/// The same, ready to run.
pub(crate) fn compile_text(text: &str) -> (Option<Compiled>, Vec<Diagnostic>) {
    let mut reader = Reader::new(Some(text));
    if text.len() > MAX_DOCUMENT_BYTES {
        reader.error(Code::TooLarge, "", None, format!("the document is larger than {MAX_DOCUMENT_BYTES} bytes"));
        return (None, reader.into_diagnostics());
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What could be read of it is not looked at: each error would be told again as keys that are missing or unknown.
        for error in errors.iter().take(MAX_SYNTAX_ERRORS) {
            reader.error(Code::TomlSyntax, "", error.span().map(|span| span.start), error.message());
        }
        return (None, reader.into_diagnostics());
    }
    finish(reader, &Node::from_toml(text, table.get_ref()))
}

/// A document as JSON.
pub(crate) fn compile_json(bytes: &[u8]) -> (Option<Compiled>, Vec<Diagnostic>) {
    let mut reader = Reader::new(None);
    // JSON repeats what TOML can leave out.
    if bytes.len() > 4 * MAX_DOCUMENT_BYTES {
        reader.error(Code::TooLarge, "", None, format!("the document is larger than {} bytes", 4 * MAX_DOCUMENT_BYTES));
        return (None, reader.into_diagnostics());
    }
    match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => finish(reader, &Node::from_json(&value)),
        Err(error) => {
            // Only where: what serde_json says about the place can repeat it.
            let message = format!("the document is not JSON (line {}, column {})", error.line(), error.column());
            reader.error(Code::JsonSyntax, "", None, message);
            (None, reader.into_diagnostics())
        }
    }
}

fn finish(mut reader: Reader<'_>, document: &Node) -> (Option<Compiled>, Vec<Diagnostic>) {
    let compiled = read(&mut reader, document).filter(|_| !reader.has_errors());
    (compiled, reader.into_diagnostics())
}

fn read(reader: &mut Reader<'_>, document: &Node) -> Option<Compiled> {
    let fields =
        reader.table(document, "", &["tools", "routes", "agents", "catch_up", "providers", "network", "limits"])?;
    let mut tools = BTreeMap::new();
    let mut tool_names = Vec::new();
    if let Some(entry) = fields.entry("tools") {
        tool_names = tool::names(&entry.node);
        if let Some(table) = reader.any_table(&entry.node, "tools") {
            if table.entries().len() > MAX_TOOLS {
                reader.error(Code::TooLarge, "tools", entry.key_at, format!("there are more than {MAX_TOOLS} tools"));
                return None;
            }
            for entry in table.entries() {
                if let Some(tool) = tool::read(reader, entry, &table.path_of(&entry.key)) {
                    tools.insert(entry.key.clone(), tool);
                }
            }
            verify::check_tools(reader, &table, &tools, &tool_names, "verify", |tool| {
                tool.verify().map(|verify| verify.verify().tool.as_str())
            });
            verify::check_tools(reader, &table, &tools, &tool_names, "job", |tool| tool.job()?.job().tool.as_deref());
        }
    }
    let (mut agents, mut agent_names) = (BTreeMap::new(), Vec::new());
    if let Some(entry) = fields.entry("agents") {
        agent_names = tool::names(&entry.node);
        agents = agent::read_all(reader, entry)?;
    }
    let mut routes: Vec<CompiledRoute> = Vec::new();
    if let Some(entry) = fields.entry("routes")
        && let Some(items) = reader.array(&entry.node, "routes", "an array of tables, [[routes]]")
    {
        if items.len() > MAX_ROUTES {
            reader.error(Code::TooLarge, "routes", entry.key_at, format!("there are more than {MAX_ROUTES} routes"));
            return None;
        }
        let mut names = Vec::new();
        for (index, item) in items.iter().enumerate() {
            routes.extend(route(reader, item, &format!("routes[{index}]"), &tool_names, &agent_names, &mut names));
        }
    }
    let mut catch_up = BTreeMap::new();
    if let Some(entry) = fields.entry("catch_up")
        && let Some(table) = reader.any_table(&entry.node, "catch_up")
    {
        if table.entries().len() > MAX_CATCH_UPS {
            let message = format!("there are more than {MAX_CATCH_UPS} logs to catch up with");
            reader.error(Code::TooLarge, "catch_up", entry.key_at, message);
            return None;
        }
        for entry in table.entries() {
            let log = catch_up::read(reader, entry, &table.path_of(&entry.key));
            catch_up.extend(log.map(|log| (entry.key.clone(), log)));
        }
    }
    let mut providers = BTreeMap::new();
    if let Some(entry) = fields.entry("providers")
        && let Some(table) = reader.any_table(&entry.node, "providers")
    {
        if table.entries().len() > MAX_PROVIDERS {
            let message = format!("there are more than {MAX_PROVIDERS} providers");
            reader.error(Code::TooLarge, "providers", entry.key_at, message);
            return None;
        }
        for entry in table.entries() {
            let provider = provider::read(reader, entry, &table.path_of(&entry.key));
            providers.extend(provider.map(|provider| (entry.key.clone(), provider)));
        }
    }
    tool::check_connections(reader, document, &tools);
    let network = fields.entry("network").map_or_else(Network::default, |entry| network(reader, entry));
    let limits = fields.entry("limits").map_or_else(Limits::default, |entry| limit::limits(reader, entry));
    limit::resolve(reader, document, &mut tools, &limits);
    let config = Config {
        tools: tools.iter().map(|(name, tool)| (name.clone(), tool.tool.clone())).collect(),
        routes: routes.iter().map(|route| route.route.clone()).collect(),
        agents,
        catch_up,
        providers,
        network,
        limits,
    };
    Some(Compiled { config, tools, routes })
}

/// Whether `name` has only small letters, digits and what is in `more`.
pub(crate) fn is_name(name: &str, more: &[u8]) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || more.contains(&byte);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(is_allowed)
}

fn route(
    reader: &mut Reader<'_>,
    item: &Node,
    path: &str,
    tool_names: &[&str],
    agent_names: &[&str],
    names: &mut Vec<String>,
) -> Option<CompiledRoute> {
    let fields = reader.table(item, path, &ROUTE_KEYS)?;
    let name = reader.required(&fields, "name");
    if let Some(found) = &name {
        if !is_name(found.value(), b"-") {
            let message = format!(
                "{:?} cannot be the name of a route: names have up to 64 small letters, digits and -",
                short(found.value())
            );
            reader.error(Code::InvalidName, &found.path, found.at, message);
        } else if names.iter().any(|other| other == found.value()) {
            reader.error(
                Code::DuplicateRoute,
                &found.path,
                found.at,
                format!("there are two routes called {:?}", found.value()),
            );
        } else {
            names.push(found.value().to_owned());
        }
    }
    let source = reader.required(&fields, "source");
    if let Some(found) = &source
        && !is_name(found.value(), b"-_")
    {
        let message = format!(
            "{:?} cannot be the name of a source: names have up to 64 small letters, digits, - and _",
            short(found.value())
        );
        reader.error(Code::InvalidName, &found.path, found.at, message);
    }
    let event_type = reader.optional(&fields, "type");
    if let Some(found) = &event_type {
        let pattern = found.value();
        if pattern.is_empty() || pattern.len() > 128 || !pattern.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = format!("{} must be 1 to 128 visible ASCII characters: no event type has others", found.path);
            reader.error(Code::InvalidPattern, &found.path, found.at, message);
        }
    }
    let filter = reader.optional(&fields, "filter");
    let filter_program = filter.as_ref().and_then(|found| reader.program(found));
    let called = match &name {
        Some(name) => format!("route {:?}", short(name.value())),
        None => path.to_owned(),
    };
    let target = agent::target(reader, &fields, &called, tool_names, agent_names);
    let input = reader.optional(&fields, "input");
    let default_input = ".body";
    let input_program = match &input {
        Some(found) => reader.program(found),
        None => clawbridge_jq::Program::compile(default_input).ok(),
    };
    let order = reader.optional(&fields, "order");
    let order_program = order.as_ref().and_then(|found| reader.program(found));
    let order_on_parked = on_parked(reader, &fields);
    if let Some(entry) = fields.entry("order_on_parked")
        && fields.entry("order").is_none()
    {
        let missing = fields.path_of("order");
        let message = format!("{missing} is missing, and order_on_parked means nothing without it");
        reader.error(Code::MissingKey, &missing, entry.key_at, message);
    }
    let route = Route {
        name: name?.value().to_owned(),
        source: source?.value().to_owned(),
        event_type: event_type.map_or("*", |found| found.value()).to_owned(),
        filter: filter.map(|found| found.value().to_owned()),
        target: target?,
        input: input.map_or(default_input, |found| found.value()).to_owned(),
        order: order.map(|found| found.value().to_owned()),
        order_on_parked,
    };
    let pattern = Glob::new(&route.event_type);
    Some(CompiledRoute { route, pattern, filter: filter_program, input: input_program?, order: order_program })
}

fn on_parked(reader: &mut Reader<'_>, fields: &Fields<'_>) -> OnParked {
    let Some(found) = reader.optional(fields, "order_on_parked") else { return OnParked::default() };
    if let Some(known) = OnParked::ALL.iter().find(|word| word.as_str() == found.value()) {
        return *known;
    }
    let words: Vec<&str> = OnParked::ALL.iter().map(|word| word.as_str()).collect();
    let message = format!("{} is {:?}, which is none of {}", found.path, short(found.value()), words.join(", "));
    reader.error(Code::InvalidValue, &found.path, found.at, message).suggestion =
        nearest(found.value(), &words).map(|near| format!("did you mean {near:?}?"));
    OnParked::default()
}

fn network(reader: &mut Reader<'_>, entry: &Entry) -> Network {
    let mut network = Network::default();
    let Some(fields) = reader.table(&entry.node, "network", &["allow"]) else { return network };
    let Some(allow) = fields.entry("allow") else { return network };
    let path = fields.path_of("allow");
    let Some(items) = reader.array(&allow.node, &path, "an array of strings") else { return network };
    if items.len() > MAX_RANGES {
        reader.error(Code::TooLarge, &path, allow.node.at, format!("{path} has more than {MAX_RANGES} ranges"));
        return network;
    }
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(found) = reader.text(item, &path) else { continue };
        let shown = short(found.value());
        match found.value().parse::<Cidr>() {
            Ok(cidr) => {
                if cidr.contains(Cidr::METADATA) {
                    let message = format!("{shown:?} holds {}, where clouds hand out credentials", Cidr::METADATA);
                    reader.warning(Code::MetadataAddress, &path, found.at, message);
                }
                network.allow.push(cidr);
            }
            Err(CidrError::Unreadable) => {
                let message = format!("{shown:?} is neither an IP address nor a range such as \"10.0.0.0/8\"");
                reader.error(Code::InvalidCidr, &path, found.at, message);
            }
            Err(CidrError::HostBits(range)) => {
                let message = format!("{shown:?} is not the first address of its range");
                reader.error(Code::InvalidCidr, &path, found.at, message).suggestion =
                    Some(format!("did you mean \"{range}\"?"));
            }
        }
    }
    network
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
