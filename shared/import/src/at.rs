//! A place in a document, and the references that lead to others.

use crate::problem::{Code, Problem, one_line};
use crate::tree::{Node, Object};

/// The most references that follow each other.
const MAX_CHAIN: usize = 32;

/// A value and where it is.
#[derive(Debug, Clone)]
pub(crate) struct At<'d> {
    pub(crate) node: &'d Node,
    /// A JSON pointer (RFC 6901).
    pub(crate) pointer: String,
}

impl<'d> At<'d> {
    pub(crate) fn root(node: &'d Node) -> Self {
        At { node, pointer: String::new() }
    }

    fn below(&self, key: &str, node: &'d Node) -> At<'d> {
        At { node, pointer: child(&self.pointer, key) }
    }

    pub(crate) fn problem(&self, code: Code, message: impl Into<String>) -> Problem {
        Problem::new(code, &self.pointer, message)
    }

    fn wrong_type(&self, wanted: &str) -> Problem {
        self.problem(Code::WrongType, format!("this must be {wanted}, not {}", self.node.type_name()))
    }

    pub(crate) fn object(&self) -> Result<&'d Object, Problem> {
        self.node.as_object().ok_or_else(|| self.wrong_type("an object"))
    }

    pub(crate) fn text(&self) -> Result<&'d str, Problem> {
        self.node.as_text().ok_or_else(|| self.wrong_type("a text"))
    }

    /// The value of a key. Null is what is not there: YAML writes it so easily.
    pub(crate) fn get(&self, key: &str) -> Option<At<'d>> {
        let node = self.node.get(key).filter(|node| **node != Node::Null)?;
        Some(self.below(key, node))
    }

    pub(crate) fn required(&self, key: &str) -> Result<At<'d>, Problem> {
        self.object()?;
        self.get(key).ok_or_else(|| self.problem(Code::Missing, format!("{key:?} has to be here and is not")))
    }

    pub(crate) fn text_of(&self, key: &str) -> Result<Option<&'d str>, Problem> {
        self.get(key).map(|at| at.text()).transpose()
    }

    /// The text of a key that is for people: what is no text is none.
    pub(crate) fn words(&self, key: &str) -> Option<&'d str> {
        self.node.get(key).and_then(Node::as_text).filter(|text| !text.trim().is_empty())
    }

    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, Problem> {
        match self.get(key) {
            None => Ok(None),
            Some(At { node: Node::Bool(bool), .. }) => Ok(Some(*bool)),
            Some(at) => Err(at.wrong_type("true or false")),
        }
    }

    /// The entries of a key's object. None where the key is not there.
    pub(crate) fn entries(&self, key: &str) -> Result<Vec<(&'d str, At<'d>)>, Problem> {
        let Some(at) = self.get(key) else { return Ok(Vec::new()) };
        Ok(at.object()?.entries().map(|(key, node)| (key, at.below(key, node))).collect())
    }

    /// The items of a key's array. None where the key is not there.
    pub(crate) fn items(&self, key: &str) -> Result<Vec<At<'d>>, Problem> {
        let Some(at) = self.get(key) else { return Ok(Vec::new()) };
        let items = at.node.as_list().ok_or_else(|| at.wrong_type("an array"))?;
        Ok(items.iter().enumerate().map(|(index, node)| at.below(&index.to_string(), node)).collect())
    }

    /// The value itself, or what it refers to within `root`.
    pub(crate) fn resolved(&self, root: &'d Node) -> Result<At<'d>, Problem> {
        let mut at = self.clone();
        let mut seen: Vec<String> = Vec::new();
        while let Some(reference) = at.get("$ref") {
            let target = reference.text()?;
            if seen.iter().any(|seen| seen == target) || seen.len() == MAX_CHAIN {
                let message = format!("{:?} leads back to itself, with nothing on the way", one_line(target, 120));
                return Err(reference.problem(Code::CyclicReference, message));
            }
            seen.push(target.to_owned());
            at = follow(&reference, target, root)?;
        }
        Ok(at)
    }
}

/// What `target` refers to.
fn follow<'d>(reference: &At<'d>, target: &str, root: &'d Node) -> Result<At<'d>, Problem> {
    let shown = one_line(target, 120);
    let Some(fragment) = target.strip_prefix('#') else {
        let message = format!(
            "{shown:?} is in another document, and only this one is read: bundle them into one with an OpenAPI bundler, \
             or leave the operations out that need it (--skip-broken)"
        );
        return Err(reference.problem(Code::ExternalReference, message));
    };
    let fragment = percent_decoded(fragment);
    let dangling =
        || reference.problem(Code::DanglingReference, format!("{shown:?} leads to nothing in this document"));
    if !fragment.is_empty() && !fragment.starts_with('/') {
        return Err(dangling());
    }
    let mut at = At::root(root);
    for part in fragment.split('/').skip(1) {
        let key = part.replace("~1", "/").replace("~0", "~");
        let node = match at.node {
            Node::Object(object) => object.get(&key),
            Node::List(items) => key.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => None,
        };
        at = at.below(&key, node.ok_or_else(dangling)?);
    }
    Ok(at)
}

/// The pointer of `key` in what `pointer` points to.
pub(crate) fn child(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::read;

    #[test]
    fn references_are_followed_within_the_document() {
        let root = read(
            br##"{"a": {"$ref": "#/b/c~1d"}, "b": {"c/d": {"$ref": "#/b/x%20y"}, "x y": {"it": 1}}, "l": [{"$ref": "#/l/1"}, 5], "all": {"$ref": "#"}}"##,
        )
        .unwrap();
        let at = |key: &str| At::root(&root).get(key).unwrap().resolved(&root).unwrap();
        assert_eq!(at("a").pointer, "/b/x y");
        assert_eq!(at("a").get("it").unwrap().pointer, "/b/x y/it");
        assert_eq!(at("all").pointer, "");
        let item = At::root(&root).items("l").unwrap()[0].resolved(&root).unwrap();
        assert_eq!((item.pointer.as_str(), item.node.type_name()), ("/l/1", "a number"));
    }

    #[test]
    fn references_that_lead_nowhere_are_refused_where_they_stand() {
        for (reference, code, at) in [
            ("#/nosuch", Code::DanglingReference, "/x/$ref"),
            ("#/list/7", Code::DanglingReference, "/x/$ref"),
            ("#anchor", Code::DanglingReference, "/x/$ref"),
            ("other.yaml#/a", Code::ExternalReference, "/x/$ref"),
            ("https://example.com/a.json", Code::ExternalReference, "/x/$ref"),
            ("", Code::ExternalReference, "/x/$ref"),
            ("#/x", Code::CyclicReference, "/x/$ref"),
            ("#/y", Code::CyclicReference, "/y/$ref"),
        ] {
            let text = format!(r##"{{"x": {{"$ref": {reference:?}}}, "y": {{"$ref": "#/y"}}, "list": []}}"##);
            let root = read(text.as_bytes()).unwrap();
            let problem = At::root(&root).get("x").unwrap().resolved(&root).unwrap_err();
            assert_eq!((problem.code, problem.pointer.as_str()), (code, at), "{reference}: {problem}");
            let named = if at == "/x/$ref" { reference } else { "#/y" };
            assert!(problem.message.contains(&format!("{named:?}")), "{problem}");
        }
    }

    #[test]
    fn a_long_chain_of_references_ends() {
        let links: Vec<String> = (0..100).map(|n| format!("\"s{n}\": {{\"$ref\": \"#/s{}\"}}", n + 1)).collect();
        let root = read(format!("{{{}, \"s100\": 1}}", links.join(",")).as_bytes()).unwrap();
        let problem = At::root(&root).get("s0").unwrap().resolved(&root).unwrap_err();
        assert_eq!(problem.code, Code::CyclicReference);
    }
}
