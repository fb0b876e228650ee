//! GraphQL: the fields of the query and the mutation type of an introspection result (GraphQL specification, October 2021, section 4).

mod input;
mod selection;

use std::collections::HashMap;

use clawbridge_config::Effect;

use input::Inputs;
use selection::select;

use crate::at::At;
use crate::declaration::{Declaration, MAX_DESCRIPTION, Request};
use crate::form::NOW;
use crate::imported::{Builder, Imported};
use crate::names::{Unique, snake};
use crate::options::{Candidate, Options};
use crate::problem::{Code, NoteCode, Problem, one_line};
use crate::schema::{Cut, fitted};
use crate::secret::SecretUse;
use crate::tree::{Node, Object};
use crate::words::explanation;

/// The longest GraphQL document, in characters: a jq program has to hold it.
const MAX_DOCUMENT: usize = 12_000;
/// The most arguments of a field.
const MAX_ARGUMENTS: usize = 100;
/// The most wrappers of a type: lists of lists.
const MAX_WRAPPERS: usize = 8;

/// The types of an introspection result, by name.
pub(crate) struct Types<'d> {
    types: HashMap<&'d str, At<'d>>,
}

/// A type as it is used: the named type within its wrappers.
pub(crate) struct Use<'d> {
    pub(crate) name: &'d str,
    pub(crate) kind: &'d str,
    /// As it is written: `[ID!]!`.
    pub(crate) text: String,
}

impl<'d> Types<'d> {
    fn read(schema: &At<'d>) -> Result<Types<'d>, Problem> {
        schema.required("types")?;
        let mut types = HashMap::new();
        for at in schema.items("types")? {
            types.insert(name_of(&at)?, at);
        }
        Ok(Types { types })
    }

    /// A type by its name, used at `at`.
    pub(crate) fn get(&self, name: &str, at: &At<'_>) -> Result<&At<'d>, Problem> {
        self.types.get(name).ok_or_else(|| {
            at.problem(Code::DanglingReference, format!("there is no type {:?} in the schema", one_line(name, 80)))
        })
    }
}

/// The type that `at` is a reference to.
pub(crate) fn used<'d>(at: &At<'d>) -> Result<Use<'d>, Problem> {
    let (mut end, mut before) = (String::new(), String::new());
    let mut inner = at.clone();
    for _ in 0..=MAX_WRAPPERS {
        match inner.required("kind")?.text()? {
            "NON_NULL" => end.insert(0, '!'),
            "LIST" => {
                before.push('[');
                end.insert(0, ']');
            }
            kind => {
                let name = name_of(&inner)?;
                return Ok(Use { name, kind, text: format!("{before}{name}{end}") });
            }
        }
        inner = inner.required("ofType")?;
    }
    Err(at.problem(Code::TooDeep, format!("this type has more than {MAX_WRAPPERS} wrappers")))
}

/// The name at `at`, which has to be one: it goes into a document as it is.
pub(crate) fn name_of<'d>(at: &At<'d>) -> Result<&'d str, Problem> {
    let name = at.required("name")?;
    let text = name.text()?;
    let is_name = text.len() <= 128
        && text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_name { Ok(text) } else { Err(name.problem(Code::WrongType, "this cannot be a name of GraphQL")) }
}

/// Whether a value of this type has to be given: it cannot be null and has no default.
pub(crate) fn is_required(at: &At<'_>) -> Result<bool, Problem> {
    let is_nullable = at.required("type")?.required("kind")?.text()? != "NON_NULL";
    Ok(!is_nullable && at.get("defaultValue").is_none())
}

/// A field of the query or the mutation type.
struct Operation<'d> {
    keyword: &'static str,
    field: &'d str,
    at: At<'d>,
    name: String,
    is_deprecated: bool,
}

/// What an operation is grouped and selected by.
fn tag(keyword: &str) -> &'static str {
    if keyword == "query" { "queries" } else { "mutations" }
}

/// Declarations for an introspection result.
pub(crate) fn import(schema: &At<'_>, options: &Options) -> Result<Imported, Vec<Problem>> {
    let one = |problem| vec![problem];
    let Some(url) = &options.server else {
        let message =
            "an introspection result does not say where the API is: say so with --server https://HOST/graphql";
        return Err(one(Problem::new(Code::Server, "", message)));
    };
    let types = Types::read(schema).map_err(one)?;
    let mut builder = Builder::new(format!("GraphQL at {url}"), "an introspection result".to_owned(), options);
    builder.head(format!(
        "Answers are asked for to a depth of {} (--depth). What may be null may be left out; to send null, add it to the field's type.",
        options.depth
    ));
    if NOW.graphql_output().is_some() {
        builder.head("An answer with errors fails the task, also where the API answers 200.".to_owned());
    }
    if options.secret.is_none() {
        builder.head("Without a credential: where the API wants one, import with --secret NAME.".to_owned());
    }
    let operations = operations(schema, &types, options).map_err(one)?;
    if schema.get("subscriptionType").is_some() {
        builder
            .document_note(NoteCode::Document, "The API has subscriptions as well: a tool makes one call.".to_owned());
    }
    let keywords: Vec<&str> = ["query", "mutation"]
        .into_iter()
        .filter(|keyword| operations.iter().any(|one| one.keyword == *keyword))
        .collect();
    keywords.iter().for_each(|keyword| builder.group(tag(keyword), ""));

    let mut taken = Vec::new();
    for operation in &operations {
        let tags = [tag(operation.keyword)];
        let candidate = Candidate { tool: &operation.name, id: Some(operation.field), path: None, tags: &tags };
        if !options.takes(&candidate) {
            continue;
        }
        let is_named = options.operations.iter().any(|id| id == operation.field);
        if operation.is_deprecated && !options.deprecated && !is_named {
            builder.deprecated(&format!("{} {}", operation.keyword, operation.field));
            continue;
        }
        taken.push(operation);
    }
    builder.bound(taken.iter().map(|operation| tag(operation.keyword))).map_err(one)?;
    for operation in taken {
        let group = keywords.iter().position(|keyword| *keyword == operation.keyword);
        let label = format!("{} {}", operation.keyword, operation.field);
        match declare(operation, &types, url, options) {
            Ok(declaration) => {
                let used = options.secret.as_deref().map(|secret| SecretUse::bearer(secret).1);
                builder.tool(group, &label, &operation.at.pointer, declaration, used);
            }
            Err(problem) => builder.broken(group, &label, problem),
        }
    }
    builder.finish()
}

/// All operations with the names of their tools, which no selection changes.
fn operations<'d>(schema: &At<'d>, types: &Types<'d>, options: &Options) -> Result<Vec<Operation<'d>>, Problem> {
    let mut operations = Vec::new();
    let mut names = Unique::with_prefix(&options.prefix);
    for (keyword, key) in [("query", "queryType"), ("mutation", "mutationType")] {
        let Some(root) = schema.get(key) else { continue };
        for at in types.get(name_of(&root)?, &root)?.items("fields")? {
            let field = name_of(&at)?;
            let name = names.give(&snake(field));
            let is_deprecated = at.flag("isDeprecated")?.unwrap_or(false);
            operations.push(Operation { keyword, field, at, name, is_deprecated });
        }
    }
    Ok(operations)
}

fn declare(operation: &Operation<'_>, types: &Types<'_>, url: &str, options: &Options) -> Result<Declaration, Problem> {
    let Operation { keyword, field, at, .. } = operation;
    let arguments = at.items("args")?;
    if arguments.len() > MAX_ARGUMENTS {
        return Err(at.problem(Code::TooLarge, format!("there are more than {MAX_ARGUMENTS} arguments")));
    }
    let mut inputs = Inputs::new(types);
    let (mut variables, mut passed, mut required, mut properties) =
        (Vec::new(), Vec::new(), Vec::new(), Object::default());
    for argument in &arguments {
        let name = name_of(argument)?;
        variables.push(format!("${name}: {}", used(&argument.required("type")?)?.text));
        passed.push(format!("{name}: ${name}"));
        properties.set(name, inputs.field(argument)?);
        if is_required(argument)? {
            required.push(Node::text(name));
        }
    }
    inputs.finish()?;
    let mut notes = Vec::new();
    let answer_at = at.required("type")?;
    let answer = used(&answer_at)?;
    types.get(answer.name, &answer_at)?;
    let listed = |texts: &[String]| if texts.is_empty() { String::new() } else { format!("({})", texts.join(", ")) };
    let head = format!("{keyword} {field}{} {{\n  {field}{}", listed(&variables), listed(&passed));
    // As deep as was asked for, or as deep as fits.
    let document = (0..=options.depth).rev().find_map(|depth| {
        let selected = select(types, &answer, depth, 2);
        let selected = match selected {
            Ok(selected) => selected,
            Err(problem) => return Some(Err(problem)),
        };
        let document = format!("{head}{}\n}}", selected.text);
        let fits = document.len() <= MAX_DOCUMENT;
        if fits && (selected.is_cut || depth < options.depth) {
            notes.push((
                NoteCode::Selection,
                "not all fields of the answer are asked for: there are too many".to_owned(),
            ));
        }
        fits.then_some(Ok(document))
    });
    let document = document
        .unwrap_or_else(|| Err(at.problem(Code::TooLarge, "the document for it is longer than 12,000 characters")))?;

    let input = if properties.is_empty() {
        None
    } else {
        let mut root = Object::default();
        root.set("type", Node::text("object"));
        if !required.is_empty() {
            root.set("required", Node::List(required));
        }
        root.set("properties", Node::Object(properties));
        let (schema, cut) = fitted(&Node::Object(root), &inputs.defs, options.max_schema);
        let limit = options.max_schema;
        if cut != Cut::Nothing {
            let message =
                format!("input: without all that it could say, for the schema is longer than {limit} characters");
            notes.push((NoteCode::Schema, message));
        }
        Some(schema)
    };
    for scalar in &inputs.scalars {
        notes.push((NoteCode::Scalar, format!("any value is taken for the scalar {scalar}")));
    }
    for name in &inputs.cut {
        notes.push((NoteCode::Schema, format!("input: any value is taken for {name}, there are too many types")));
    }
    Ok(Declaration {
        name: operation.name.clone(),
        origin: format!("{keyword} {field}"),
        description: explanation(at.words("description").unwrap_or_default(), MAX_DESCRIPTION),
        request: Request::Graphql { url: url.to_owned(), document, has_variables: !arguments.is_empty() },
        auth: options.secret.as_deref().map(|secret| SecretUse::bearer(secret).0),
        effect: if *keyword == "query" { Effect::Read } else { Effect::Unsafe },
        input,
        output: NOW.graphql_output(),
        notes,
    })
}

#[cfg(test)]
#[path = "graphql_tests.rs"]
mod tests;
