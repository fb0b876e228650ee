//! Declarations of tools for bridge.toml, made from OpenAPI documents (3.0 and 3.1, JSON or YAML) and GraphQL introspection results.
//!
//! Text in, text out: [`import`] reads a document within bounds, [`Imported::to_toml`] is what a person then edits. Each declaration is
//! one that `clawbridge check` accepts. What bridge.toml cannot say is a comment at its place and a [`Note`]; a document that cannot be
//! right is refused with [`Problem`]s that say where. Nothing here reads a secret, a file or the network.

mod at;
mod declaration;
mod form;
mod graphql;
mod imported;
mod names;
mod openapi;
mod options;
mod problem;
mod read;
mod schema;
mod secret;
mod toml;
mod tree;
mod words;

pub use imported::{Appended, Imported};
pub use options::Options;
pub use problem::{Code, Note, NoteCode, Problem};
pub use read::MAX_BYTES;

use crate::at::At;
use crate::tree::Node;

/// Makes declarations of a document.
///
/// # Errors
/// What is wrong with the document or the options, at most twenty problems. With [`Options::skip_broken`], operations that the document
/// itself breaks are left out instead.
pub fn import(document: &[u8], options: &Options) -> Result<Imported, Vec<Problem>> {
    let one = |problem| vec![problem];
    let options = options.checked().map_err(one)?;
    let root = read::read(document).map_err(one)?;
    match kind(&root).map_err(one)? {
        Kind::Openapi => openapi::import(&root, &options),
        Kind::Graphql(schema) => graphql::import(&schema, &options),
    }
}

enum Kind<'d> {
    Openapi,
    /// The value of `__schema`.
    Graphql(At<'d>),
}

/// What kind of document it is.
fn kind(root: &Node) -> Result<Kind<'_>, Problem> {
    let at = At::root(root);
    let has = |key: &str| root.get(key).is_some();
    if has("openapi") {
        return Ok(Kind::Openapi);
    }
    for place in [Some(at.clone()), at.get("data")].into_iter().flatten() {
        if let Some(schema) = place.get("__schema") {
            return Ok(Kind::Graphql(schema));
        }
    }
    let (code, message) = if has("swagger") {
        let message = "Swagger 2.0 is not read: convert the document to OpenAPI 3 (editor.swagger.io and swagger2openapi do that), \
                       and import the result";
        (Code::UnsupportedVersion, message)
    } else if has("errors") || has("data") {
        let message = "the introspection was answered without a schema: the API refuses introspection to this caller, or the query was \
                       another; ask with a credential, or take a result from who runs the API";
        (Code::IntrospectionFailed, message)
    } else if has("asyncapi") {
        (
            Code::UnknownDocument,
            "this is AsyncAPI, which describes messages: OpenAPI documents and GraphQL introspection results are read",
        )
    } else if root.as_text().is_some_and(|text| text.contains("type ") || text.contains("schema")) {
        (
            Code::UnknownDocument,
            "if this is a GraphQL schema in its own language: the result of an introspection query, as JSON, is read",
        )
    } else {
        (
            Code::UnknownDocument,
            "this is neither an OpenAPI document (openapi: 3…) nor the result of a GraphQL introspection (__schema)",
        )
    };
    Err(Problem::new(code, "", message))
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
