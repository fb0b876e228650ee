//! Reading the text of a document: JSON or YAML, within bounds.

mod json;
mod yaml;

use crate::problem::{Code, Problem};
use crate::tree::Node;

/// The largest document, in bytes.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;
/// The most values of a document, and the most bytes of its texts and keys, once YAML's aliases are unfolded.
const MAX_NODES: usize = 2_000_000;
const MAX_TEXT_BYTES: usize = 2 * MAX_BYTES;
/// The deepest nesting of a document.
const MAX_DEPTH: usize = 100;

/// The tree of a document.
///
/// # Errors
/// [`Code::TooLarge`], [`Code::TooDeep`], [`Code::Syntax`], [`Code::DuplicateKey`]
pub(crate) fn read(bytes: &[u8]) -> Result<Node, Problem> {
    if bytes.len() > MAX_BYTES {
        let message = format!("the document is larger than {} MiB", MAX_BYTES / (1024 * 1024));
        return Err(Problem::new(Code::TooLarge, "", message));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        Problem::in_text(Code::Syntax, (line, column), "the document is not UTF-8")
    })?;
    let text = text.trim_start_matches('\u{feff}');
    // What begins like this could be YAML as well, but what a person means by it is JSON, and its errors are the clearer ones.
    if text.trim_start().starts_with(['{', '[']) { json::read(text) } else { yaml::read(text) }
}

/// What has been read so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Size {
    nodes: usize,
    text_bytes: usize,
}

impl Size {
    /// One value more, with this much text.
    fn add(&mut self, text_bytes: usize) -> Result<(), &'static str> {
        self.add_all(Size { nodes: 1, text_bytes })
    }

    fn add_all(&mut self, other: Size) -> Result<(), &'static str> {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.text_bytes = self.text_bytes.saturating_add(other.text_bytes);
        if self.nodes > MAX_NODES || self.text_bytes > MAX_TEXT_BYTES {
            return Err("the document has more than 2,000,000 values or 32 MiB of text, its aliases unfolded");
        }
        Ok(())
    }

    fn since(self, before: Size) -> Size {
        Size { nodes: self.nodes - before.nodes, text_bytes: self.text_bytes - before.text_bytes }
    }
}

fn too_deep() -> String {
    format!("the document nests deeper than {MAX_DEPTH} levels")
}

fn duplicate(key: &str) -> String {
    format!("the key {:?} is there twice; which of them counts is not defined", crate::problem::one_line(key, 80))
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
