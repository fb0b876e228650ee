//! Which fields of an answer are asked for: plain ones, and those of objects within, to a bounded depth.

use super::{Types, Use, is_required, name_of, used};
use crate::at::At;
use crate::problem::Problem;

/// The most fields of one document.
const MAX_FIELDS: usize = 200;
/// The most fields that are looked at for one document.
const MAX_LOOKS: usize = 20_000;
/// The most members of a union that are asked for.
const MAX_MEMBERS: usize = 10;

/// The selection of a field: ` {`, its fields, `}`; empty for a plain value.
#[derive(Debug, Default)]
pub(super) struct Selected {
    pub(super) text: String,
    /// Whether there were more fields than are asked for, other than those that are too deep.
    pub(super) is_cut: bool,
}

/// Selects of a field whose answer is of the type `answer`, `depth` levels of objects deep and indented by `indent`.
pub(super) fn select(types: &Types<'_>, answer: &Use<'_>, depth: usize, indent: usize) -> Result<Selected, Problem> {
    if is_plain(answer.kind) {
        return Ok(Selected::default());
    }
    let mut selector = Selector { types, depth, fields: 0, looks: 0, is_cut: false, within: Vec::new() };
    let mut lines = selector.object(answer, 1, indent + 2)?;
    if lines.is_empty() {
        lines.push(format!("{}__typename", " ".repeat(indent + 2)));
    }
    let text = format!(" {{\n{}\n{}}}", lines.join("\n"), " ".repeat(indent));
    Ok(Selected { text, is_cut: selector.is_cut })
}

fn is_plain(kind: &str) -> bool {
    matches!(kind, "SCALAR" | "ENUM")
}

struct Selector<'t, 'd> {
    types: &'t Types<'d>,
    depth: usize,
    fields: usize,
    looks: usize,
    is_cut: bool,
    /// The types that the one at hand is within: what leads back to them is left out.
    within: Vec<&'d str>,
}

impl<'d> Selector<'_, 'd> {
    /// The lines for the fields of an object, interface or union.
    fn object(&mut self, of: &Use<'d>, level: usize, indent: usize) -> Result<Vec<String>, Problem> {
        if level > self.depth || self.within.contains(&of.name) {
            return Ok(Vec::new());
        }
        let at = self.types.types.get(of.name).cloned();
        let Some(at) = at else { return Ok(Vec::new()) };
        self.within.push(of.name);
        let mut lines = Vec::new();
        if of.kind == "UNION" {
            let mut shapes: Vec<(String, String)> = Vec::new();
            for member in at.items("possibleTypes")?.iter().take(MAX_MEMBERS) {
                let name = name_of(member)?;
                let Some(target) = self.types.types.get(name).cloned() else { continue };
                self.within.push(name);
                let fields = self.fields_of(&target, level, indent + 2, &mut shapes)?;
                self.within.pop();
                if !fields.is_empty() {
                    let pad = " ".repeat(indent);
                    lines.push(format!("{pad}... on {name} {{\n{}\n{pad}}}", fields.join("\n")));
                }
            }
        } else {
            lines = self.fields_of(&at, level, indent, &mut Vec::new())?;
        }
        if of.kind != "OBJECT" && !lines.is_empty() {
            lines.insert(0, format!("{}__typename", " ".repeat(indent)));
        }
        self.within.pop();
        Ok(lines)
    }

    /// The lines for the fields of a type. `shapes` are the fields that its neighbours in a union have: two of one name have one type.
    fn fields_of(
        &mut self,
        at: &At<'d>,
        level: usize,
        indent: usize,
        shapes: &mut Vec<(String, String)>,
    ) -> Result<Vec<String>, Problem> {
        let fields = at.items("fields")?;
        // A connection has its objects twice: with their cursors, and as they are.
        let has_nodes = fields.iter().any(|field| field.words("name") == Some("nodes"));
        let pad = " ".repeat(indent);
        let mut lines = Vec::new();
        for field in &fields {
            self.looks += 1;
            if self.fields >= MAX_FIELDS || self.looks > MAX_LOOKS {
                self.is_cut = true;
                break;
            }
            let name = name_of(field)?;
            let is_deprecated = field.flag("isDeprecated")?.unwrap_or(false);
            if is_deprecated || (has_nodes && name == "edges") || self.needs_arguments(field)? {
                continue;
            }
            let answer = used(&field.required("type")?)?;
            match shapes.iter().find(|(known, _)| known == name) {
                Some((_, text)) if *text != answer.text => continue,
                Some(_) => {}
                None => shapes.push((name.to_owned(), answer.text.clone())),
            }
            if is_plain(answer.kind) {
                self.fields += 1;
                lines.push(format!("{pad}{name}"));
                continue;
            }
            let inner = self.object(&answer, level + 1, indent + 2)?;
            if !inner.is_empty() {
                lines.push(format!("{pad}{name} {{\n{}\n{pad}}}", inner.join("\n")));
            }
        }
        Ok(lines)
    }

    fn needs_arguments(&self, field: &At<'d>) -> Result<bool, Problem> {
        for argument in field.items("args")? {
            if is_required(&argument)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
