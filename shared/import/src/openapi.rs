//! OpenAPI 3.0 and 3.1: the operations of a document, in its order.

mod body;
mod operation;
mod parameters;
mod schema;
mod security;
mod servers;

pub(crate) use servers::checked as checked_server;

use operation::{Context, Operation, Outcome, declare};
use security::Security;

use crate::at::At;
use crate::imported::{Builder, Imported};
use crate::names::{Unique, snake};
use crate::options::{Candidate, Options};
use crate::problem::{Code, NoteCode, Problem, one_line};
use crate::tree::Node;

/// OpenAPI's methods. What a tool cannot be of them is left out when its turn comes.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Declarations for an OpenAPI document.
pub(crate) fn import(document: &Node, options: &Options) -> Result<Imported, Vec<Problem>> {
    let root = At::root(document);
    let one = |problem| vec![problem];
    let version = version(&root).map_err(one)?;
    let info = root.get("info");
    let words = |key: &str| info.as_ref().and_then(|info| info.words(key));
    let title = words("title").map_or_else(|| "An API without a title".to_owned(), |title| one_line(title, 80));
    let release = match info.as_ref().and_then(|info| info.node.get("version")) {
        Some(Node::Text(text)) => format!(" {}", one_line(text, 40)),
        Some(Node::Number(number)) => format!(" {number}"),
        _ => String::new(),
    };
    let mut builder = Builder::new(format!("{title}{release}"), format!("an OpenAPI {version} document"), options);
    let operations = operations(&root, document, options).map_err(one)?;
    let webhooks = root.entries("webhooks").map_err(one)?.len();
    if webhooks > 0 {
        let message = format!("The document has webhooks as well ({webhooks}): they are for a source, not for a tool.");
        builder.document_note(NoteCode::Document, message);
    }
    other_servers(&root, &mut builder);

    let used = schemes_in_use(&root, &operations);
    let security =
        Security::read(&root, document, words("title").unwrap_or_default(), options.secret.as_deref(), &used)
            .map_err(one)?;
    let context = Context { document, root: root.clone(), security, patterns: schema::Patterns::default(), options };

    let groups = group_order(&root, &operations).map_err(one)?;
    let group_of = |operation: &Operation<'_>| {
        let tag = operation.tags.first().copied();
        groups.iter().position(|(name, _)| Some(name.as_str()) == tag)
    };
    groups.iter().for_each(|(name, about)| builder.group(name, about));
    let mut taken = Vec::new();
    for operation in &operations {
        let (id, path) = (operation.id, Some(operation.path));
        let candidate = Candidate { tool: &operation.name, id, path, tags: &operation.tags };
        if !options.takes(&candidate) {
            continue;
        }
        // Who names one by its id wants it.
        if operation.is_deprecated
            && !options.deprecated
            && !options.operations.iter().any(|id| operation.id == Some(id))
        {
            builder.deprecated(&operation.label());
            continue;
        }
        taken.push(operation);
    }
    builder.bound(taken.iter().map(|operation| operation.tags.first().copied().unwrap_or("no tag"))).map_err(one)?;
    for operation in taken {
        let group = group_of(operation);
        match declare(&context, operation) {
            Ok(Outcome::Tool(declaration, used)) => {
                builder.tool(group, &operation.label(), &operation.at.pointer, *declaration, used)
            }
            Ok(Outcome::LeftOut(reason)) => builder.left_out(group, NoteCode::Operation, &operation.label(), &reason),
            Err(problem) => builder.broken(group, &operation.label(), problem),
        }
    }
    builder.finish()
}

/// The version that the document says it has.
fn version(root: &At<'_>) -> Result<String, Problem> {
    let at = root.required("openapi")?;
    let version = match at.node {
        Node::Text(text) => text.clone(),
        // YAML without quotes.
        Node::Number(number) => number.to_string(),
        _ => return Err(at.problem(Code::WrongType, format!("this must be a version, not {}", at.node.type_name()))),
    };
    let is = |minor: &str| version.strip_prefix(minor).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if is("3.0") || is("3.1") {
        return Ok(one_line(&version, 20));
    }
    let message = format!("OpenAPI {:?} is not read: 3.0 and 3.1 are", one_line(&version, 20));
    Err(at.problem(Code::UnsupportedVersion, message))
}

/// All operations with the names of their tools. Names are given before anything is selected, so that a selection changes none.
fn operations<'d>(root: &At<'d>, document: &'d Node, options: &Options) -> Result<Vec<Operation<'d>>, Problem> {
    let mut operations = Vec::new();
    let mut names = Unique::with_prefix(&options.prefix);
    if root.get("paths").is_none() && root.get("webhooks").is_none() && root.get("components").is_none() {
        return Err(root.problem(Code::Missing, "the document has no paths"));
    }
    for (path, item) in root.entries("paths")? {
        if path.starts_with("x-") {
            continue;
        }
        let item = item.resolved(document)?;
        for (method, node) in item.object()?.entries() {
            if !METHODS.contains(&method) {
                continue;
            }
            let at = At { node, pointer: crate::at::child(&item.pointer, method) };
            at.object()?;
            let id = at.text_of("operationId")?.filter(|id| !id.trim().is_empty());
            let plain = id.map(snake).filter(|name| !name.is_empty());
            let name = names.give(&plain.unwrap_or_else(|| snake(&format!("{method} {path}"))));
            let tags = at.items("tags")?.iter().map(At::text).collect::<Result<_, _>>()?;
            let is_deprecated = at.flag("deprecated")?.unwrap_or(false);
            operations.push(Operation { method, path, item: item.clone(), at, id, tags, is_deprecated, name });
        }
    }
    Ok(operations)
}

/// The tags that begin a group, with what is said about them: those that the document lists, then the others as they come.
fn group_order(root: &At<'_>, operations: &[Operation<'_>]) -> Result<Vec<(String, String)>, Problem> {
    let mut groups: Vec<(String, String)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let in_use: std::collections::HashSet<&str> =
        operations.iter().filter_map(|operation| operation.tags.first().copied()).collect();
    for tag in root.items("tags")? {
        let name = tag.required("name")?.text()?;
        if in_use.contains(name) && seen.insert(name) {
            groups.push((name.to_owned(), tag.words("description").unwrap_or_default().to_owned()));
        }
    }
    for name in operations.iter().filter_map(|operation| operation.tags.first().copied()) {
        if seen.insert(name) {
            groups.push((name.to_owned(), String::new()));
        }
    }
    Ok(groups)
}

/// The security schemes that some operation asks for.
fn schemes_in_use(root: &At<'_>, operations: &[Operation<'_>]) -> Vec<String> {
    let mut used: Vec<String> = Vec::new();
    let own = operations.iter().map(|operation| &operation.at);
    for place in own.filter(|at| at.get("security").is_some()).chain([root]) {
        for alternative in place.node.get("security").and_then(Node::as_list).unwrap_or_default() {
            for (name, _) in alternative.as_object().into_iter().flat_map(crate::tree::Object::entries) {
                if !used.iter().any(|known| known == name) && used.len() < 100 {
                    used.push(name.to_owned());
                }
            }
        }
    }
    used
}

fn other_servers(root: &At<'_>, builder: &mut Builder<'_>) {
    let servers = root.node.get("servers").and_then(Node::as_list).unwrap_or_default();
    for server in servers.iter().skip(1).take(5) {
        if let Some(url) = server.get("url").and_then(Node::as_text).filter(|url| !url.contains('@')) {
            let about = server
                .get("description")
                .and_then(Node::as_text)
                .map_or_else(String::new, |about| format!(" ({about})"));
            builder.head(format!("Another server of the document: {url}{about}"));
        }
    }
}
