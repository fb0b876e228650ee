//! Parameters: where each goes in a request, and which field of the input it is.

use clawbridge_config::header;

use super::schema::{Converter, Stop};
use crate::at::At;
use crate::form::Carrier;
use crate::names::{Unique, field};
use crate::problem::{Code, NoteCode, Problem, one_line};
use crate::tree::{Node, Object};
use crate::words::{explanation, has_secret};

/// The most parameters of one operation.
const MAX_PARAMETERS: usize = 200;
/// Headers that OpenAPI leaves to other parts of a document.
const IGNORED: [&str; 3] = ["accept", "content-type", "authorization"];
/// The names under which APIs take an idempotency key, besides those that say so.
const IDEMPOTENCY: [&str; 2] = ["paypal-request-id", "x-request-idempotence-key"];

/// A field of the input that is a parameter.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) schema: Node,
    pub(super) is_required: bool,
}

/// What the parameters of an operation become.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    /// Fields by the names that stand in the path.
    pub(super) path: Vec<(String, String)>,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) fields: Vec<Field>,
    pub(super) idempotency_header: Option<String>,
    /// A credential that the document declares as a parameter.
    pub(super) credential: Option<Carrier>,
    pub(super) notes: Vec<(NoteCode, String)>,
}

/// Why there are none.
pub(super) enum Unsendable {
    Problem(Problem),
    /// The path cannot be made.
    Path(String),
}

impl From<Problem> for Unsendable {
    fn from(problem: Problem) -> Self {
        Unsendable::Problem(problem)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Path,
    Query,
    Header,
}

impl Place {
    fn as_str(self) -> &'static str {
        match self {
            Place::Path => "path",
            Place::Query => "query",
            Place::Header => "header",
        }
    }
}

/// How a parameter's value is written into its place.
enum Written {
    Plain,
    /// One value of several.
    One,
    /// Several values, with commas between.
    Commas,
}

/// Reads the parameters of an operation and of its path.
pub(super) fn read<'d>(
    document: &'d Node,
    path_item: &At<'d>,
    operation: &At<'d>,
    path: &str,
    body_fields: &[String],
    converter: &mut Converter<'d>,
) -> Result<Parameters, Unsendable> {
    let mut declared: Vec<(Place, &'d str, At<'d>)> = Vec::new();
    let mut parameters = Parameters::default();
    for source in [path_item, operation] {
        for at in source.items("parameters")? {
            let at = at.resolved(document)?;
            let name = at.required("name")?.text()?;
            let place = match at.required("in")?.text()? {
                "path" => Place::Path,
                "query" => Place::Query,
                "header" => Place::Header,
                other => {
                    let place = one_line(other, 20);
                    parameters.note(&format!("{place} parameter {:?} is not sent", one_line(name, 60)));
                    continue;
                }
            };
            // The operation's own counts more than its path's.
            declared.retain(|(known, other, _)| (*known, *other) != (place, name));
            declared.push((place, name, at));
            if declared.len() > MAX_PARAMETERS {
                let message = format!("there are more than {MAX_PARAMETERS} parameters");
                return Err(operation.problem(Code::TooLarge, message).into());
            }
        }
    }
    for name in placeholders(path) {
        if !declared.iter().any(|(place, known, _)| *place == Place::Path && *known == name) {
            parameters.note(&format!("path parameter {:?} is not declared; any text is taken", one_line(&name, 60)));
        }
    }
    let mut names = Unique::default();
    body_fields.iter().for_each(|name| names.reserve(name));
    for name in placeholders(path) {
        let found = declared.iter().find(|(place, known, _)| *place == Place::Path && *known == name);
        let (schema, style) = match found {
            Some((_, _, at)) => (parameters.value(at, Place::Path, &name, converter)?, at.text_of("style")?),
            None => (Some((Node::object([("type", Node::text("string"))]), Written::Plain)), None),
        };
        let Some((schema, Written::Plain | Written::Commas)) = schema else {
            return Err(Unsendable::Path(format!("the path parameter {:?} is no plain value", one_line(&name, 60))));
        };
        if style.is_some_and(|style| style != "simple") {
            return Err(Unsendable::Path(format!(
                "the path parameter {:?} has a style of its own",
                one_line(&name, 60)
            )));
        }
        let field = parameters.name(&mut names, body_fields, Place::Path, &name);
        parameters.fields.push(Field { name: field.clone(), schema, is_required: true });
        parameters.path.push((name, field));
    }
    for wanted in [Place::Query, Place::Header] {
        for (_, name, at) in declared.iter().filter(|(place, _, _)| *place == wanted) {
            parameters.add(wanted, name, at, body_fields, &mut names, converter)?;
        }
    }
    Ok(parameters)
}

impl Parameters {
    fn note(&mut self, text: &str) {
        self.notes.push((NoteCode::Parameter, text.to_owned()));
    }

    /// A query parameter or a header.
    fn add<'d>(
        &mut self,
        place: Place,
        name: &str,
        at: &At<'d>,
        body_fields: &[String],
        names: &mut Unique,
        converter: &mut Converter<'d>,
    ) -> Result<(), Problem> {
        let is_required = at.flag("required")?.unwrap_or(false);
        let shown =
            format!("{} {:?}", if place == Place::Query { "query parameter" } else { "header" }, one_line(name, 60));
        let lower = name.to_ascii_lowercase();
        if place == Place::Header {
            if IGNORED.contains(&lower.as_str()) {
                return Ok(());
            }
            if !header::is_name(name) || header::is_reserved(name) {
                self.note(&format!("{shown} is not sent: a tool cannot set it"));
                return Ok(());
            }
            if lower.contains("idempotency") || lower.contains("idempotence") || IDEMPOTENCY.contains(&lower.as_str()) {
                self.idempotency_header.get_or_insert_with(|| name.to_owned());
                return Ok(());
            }
        }
        if name.is_empty() || name.len() > 200 {
            self.note(&format!("{shown} is not sent: this cannot be a name"));
            return Ok(());
        }
        if header::is_for_credentials(name) {
            let carrier = match place {
                Place::Header => Carrier::Header(name.to_owned()),
                _ => Carrier::Query(name.to_owned()),
            };
            if self.credential.is_none() {
                self.credential = Some(carrier);
            } else {
                self.note(&format!("{shown} is not sent: it is a credential, and a tool sends one"));
            }
            return Ok(());
        }
        if let Some(fixed) = fixed(at).filter(|fixed| {
            is_required && !header::may_be_for_credentials(name) && !has_secret(fixed) && header::is_value(fixed)
        }) {
            self.put(place, name, fixed.replace('{', "{{").replace('}', "}}"));
            return Ok(());
        }
        let lost = if is_required { "; the API requires it, so add it by hand" } else { "" };
        let style = at.text_of("style")?.unwrap_or(if place == Place::Query { "form" } else { "simple" });
        if style != if place == Place::Query { "form" } else { "simple" } {
            self.note(&format!("{shown} is not sent: its style is {}{lost}", one_line(style, 30)));
            return Ok(());
        }
        let Some((schema, written)) = self.value(at, place, name, converter)? else {
            self.note(&format!("{shown} is not sent: it is no plain value{lost}"));
            return Ok(());
        };
        let field = self.name(names, body_fields, place, name);
        if let Written::One = written {
            self.note(&format!("{shown} takes several values, one of which is sent"));
        }
        self.put(place, name, if is_required { format!("{{{field}}}") } else { format!("{{{field}?}}") });
        self.fields.push(Field { name: field, schema, is_required });
        Ok(())
    }

    fn put(&mut self, place: Place, name: &str, template: String) {
        let pairs = if place == Place::Query { &mut self.query } else { &mut self.headers };
        // Header names have no case.
        if !pairs.iter().any(|(known, _)| known.eq_ignore_ascii_case(name) && (place == Place::Header || known == name))
        {
            pairs.push((name.to_owned(), template));
        }
    }

    /// A field's name that nobody else has. The body's fields keep theirs.
    fn name(&mut self, names: &mut Unique, body_fields: &[String], place: Place, name: &str) -> String {
        let plain = field(name);
        if !names.has(&plain) {
            return names.give(&plain);
        }
        let given = names.give(&format!("{}_{plain}", place.as_str()));
        let whose = if body_fields.contains(&plain) { "the body has" } else { "another parameter is" };
        let place = place.as_str();
        let text = format!("{place} parameter {:?} is the field {given}: {whose} {plain}", one_line(name, 60));
        self.notes.push((NoteCode::Renamed, text));
        given
    }

    /// The schema of a parameter's value and how it is written. `None`: it is no plain value.
    fn value<'d>(
        &mut self,
        at: &At<'d>,
        place: Place,
        name: &str,
        converter: &mut Converter<'d>,
    ) -> Result<Option<(Node, Written)>, Problem> {
        let description = at.words("description").map(|text| explanation(text, 160)).filter(|text| !text.is_empty());
        let described = |schema: Node| match (schema, &description) {
            (Node::Object(object), Some(text)) => {
                let mut described = Object::default();
                described.set("description", Node::text(text));
                object
                    .entries()
                    .filter(|(key, _)| *key != "description")
                    .for_each(|(key, node)| described.set(key, node.clone()));
                Node::Object(described)
            }
            (schema, _) => schema,
        };
        let Some(schema) = at.get("schema") else {
            // With `content` it is a document within a parameter.
            return Ok(at.get("content").is_none().then(|| (described(Node::empty()), Written::Plain)));
        };
        let content = match converter.content(&schema) {
            Ok(content) => content,
            Err(Stop::Problem(problem)) => return Err(problem),
            Err(Stop::TooLarge) => {
                self.notes.push((
                    NoteCode::Schema,
                    format!("{:?}: any value is taken, its schema is too large", one_line(name, 60)),
                ));
                return Ok(Some((described(Node::empty()), Written::Plain)));
            }
        };
        let types: Vec<&str> = match content.get("type") {
            Some(Node::Text(one)) => vec![one],
            Some(Node::List(several)) => several.iter().filter_map(Node::as_text).collect(),
            _ => Vec::new(),
        };
        if types.contains(&"object") || content.get("properties").is_some() || content == Node::Bool(false) {
            return Ok(None);
        }
        if types.contains(&"array") || content.get("items").is_some() {
            let is_exploded = at.flag("explode")?.unwrap_or(place == Place::Query);
            if !is_exploded {
                let text = description.as_ref().map_or_else(String::new, |text| format!("{text} "));
                let text = Node::text(format!("{text}(a list, with commas between)"));
                return Ok(Some((
                    Node::object([("description", text), ("type", Node::text("string"))]),
                    Written::Commas,
                )));
            }
            let items = content.get("items").cloned().unwrap_or_else(Node::empty);
            return Ok(Some((described(items), Written::One)));
        }
        // A definition has its own description and stays one; what is written here is read more easily.
        let schema = match schema.get("$ref") {
            Some(_) if description.is_none() => match converter.schema(&schema) {
                Ok(schema) => schema,
                Err(Stop::Problem(problem)) => return Err(problem),
                Err(Stop::TooLarge) => content,
            },
            _ => described(content),
        };
        Ok(Some((schema, Written::Plain)))
    }
}

/// The only value that a parameter can have.
fn fixed(at: &At<'_>) -> Option<String> {
    let schema = at.get("schema")?;
    let value = match (schema.node.get("const"), schema.node.get("enum").and_then(Node::as_list)) {
        (Some(value), _) => value,
        (None, Some([value])) => value,
        _ => return None,
    };
    match value {
        Node::Text(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Node::Number(number) => Some(number.to_string()),
        Node::Bool(bool) => Some(bool.to_string()),
        Node::Null | Node::List(_) | Node::Object(_) => None,
    }
}

/// The names between braces in a path, each once.
pub(super) fn placeholders(path: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for piece in path.split('{').skip(1) {
        if let Some((name, _)) = piece.split_once('}')
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
        }
    }
    names
}
