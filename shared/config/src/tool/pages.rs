//! Reading how the pages of a list are followed.

use crate::compiled::{Body, CompiledPages};
use crate::diagnostic::Code;
use crate::model::{Effect, PageKind, Pages};
use crate::reader::{Fields, Found, Reader, short};
use crate::tool::auth::parameter_name;
use crate::tool::request::{Texts, parameter_once};
use crate::tool::word;

const KEYS: [&str; 9] = ["kind", "items", "next", "param", "field", "start", "size", "max", "max_items"];

/// The most pages that a tool can ask for, and as many as it does if nothing is said.
const MAX_PAGES: (u32, u32) = (100, 10);
/// The most items of a result, and as many as there are at most if nothing is said.
const MAX_ITEMS: (u32, u32) = (10_000, 1_000);

/// What of the rest of a tool bears on its pages.
pub(super) struct Around<'a> {
    pub(super) effect: Option<Effect>,
    pub(super) body: Option<&'a Body>,
    pub(super) url: Option<&'a str>,
    pub(super) query: &'a Texts,
}

/// `pages`.
pub(super) fn pages(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    around: &Around<'_>,
) -> Option<(Pages, CompiledPages)> {
    let entry = fields.entry("pages")?;
    let path = fields.path_of("pages");
    let pages = reader.table(&entry.node, &path, &KEYS)?;
    if around.effect.is_some_and(|effect| effect != Effect::Read) {
        let message = format!("{path} is set, but only tools with effect = \"read\" follow pages");
        reader.error(Code::KeyNotAllowed, &path, entry.key_at, message);
    }
    let kind = word(reader, &pages, "kind", PageKind::ALL, PageKind::as_str, true);
    let items = reader.optional(&pages, "items");
    let items_program = match &items {
        Some(found) => reader.program(found),
        None => clawbridge_jq::Program::compile(".").ok(),
    };
    let next = reader.optional(&pages, "next");
    let next_program = next.as_ref().and_then(|found| reader.program(found));
    let param = reader.optional(&pages, "param");
    let field = reader.optional(&pages, "field");
    if let Some(found) = &param {
        parameter_name(reader, found);
        parameter_once(reader, found, around.url, around.query);
    }
    if let (Some(found), Some(body)) = (&field, around.body) {
        body_field(reader, found, body);
    }
    let start = reader.optional_integer(&pages, "start", 0..=1_000_000);
    let size = reader.optional_integer(&pages, "size", 1..=10_000);
    let max = reader.integer(&pages, "max", 1..=MAX_PAGES.0, MAX_PAGES.1);
    let max_items = reader.integer(&pages, "max_items", 1..=MAX_ITEMS.0, MAX_ITEMS.1);
    let kind = kind?;
    fitting(reader, &pages, kind);
    let owned = |found: Option<Found<'_>>| found.map(|found| found.value().to_owned());
    let pages = Pages {
        kind,
        items: items.map_or(".", |found| found.value()).to_owned(),
        next: owned(next),
        param: owned(param),
        field: owned(field),
        start,
        size,
        max,
        max_items,
    };
    Some((pages, CompiledPages { items: items_program?, next: next_program }))
}

/// Report keys that the kind needs and are not there, and those that mean nothing to it.
fn fitting(reader: &mut Reader<'_>, pages: &Fields<'_>, kind: PageKind) {
    let has = |key: &str| pages.entry(key).is_some();
    if kind == PageKind::Cursor && !has("next") {
        let message = format!("{} has no next, the jq program that finds the next cursor", pages.path);
        reader.error(Code::MissingKey, &pages.path_of("next"), pages.at, message);
    }
    if kind != PageKind::Link && !has("param") && !has("field") {
        let message = format!("{} has neither param nor field: nothing says how a page is asked for", pages.path);
        reader.error(Code::MissingKey, &pages.path_of("param"), pages.at, message);
    }
    let mut unfit: Vec<&str> = match kind {
        PageKind::Cursor => vec!["start", "size"],
        PageKind::Page | PageKind::Offset => Vec::new(),
        PageKind::Link => vec!["param", "field", "start", "size"],
    };
    if kind != PageKind::Link && has("param") {
        unfit.push("field");
    }
    for key in unfit {
        if let Some(entry) = pages.entry(key) {
            let with = if key == "field" && kind != PageKind::Link { "param" } else { kind.as_str() };
            let message = format!("{} means nothing with {with}", pages.path_of(key));
            reader.error(Code::KeyNotAllowed, &pages.path_of(key), entry.key_at, message);
        }
    }
}

fn body_field(reader: &mut Reader<'_>, found: &Found<'_>, body: &Body) {
    let field = found.value();
    match body {
        Body::Graphql(graphql) if !graphql.operation.variables.iter().any(|variable| variable.name == field) => {
            let message = format!("{} is {1:?}, but the operation takes no variable ${1}", found.path, short(field));
            reader.error(Code::InvalidValue, &found.path, found.at, message);
        }
        Body::None => {
            let message = format!("{} is set, but the request has no body", found.path);
            reader.error(Code::KeyNotAllowed, &found.path, found.at, message).suggestion = Some("use param".to_owned());
        }
        Body::Graphql(_) | Body::Program(_) if field.is_empty() || field.len() > 128 => {
            let message = format!("{} must be the name of a field of the body", found.path);
            reader.error(Code::InvalidValue, &found.path, found.at, message);
        }
        Body::Graphql(_) | Body::Program(_) => {}
    }
}
