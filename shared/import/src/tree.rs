//! A document as a tree that keeps its order.

use serde_json::Number;

/// A value of JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Object),
}

/// An object in the order of its text. Keys are looked up in logarithmic time: a hostile document can have a million of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Object {
    entries: Vec<(String, Node)>,
    /// Indexes of the entries, in the order of their keys.
    sorted: Vec<u32>,
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Object {
    /// An object of these entries, or the first key that is there twice.
    pub(crate) fn of(entries: Vec<(String, Node)>) -> Result<Object, String> {
        let mut sorted: Vec<u32> = (0..u32::try_from(entries.len()).unwrap_or(u32::MAX)).collect();
        sorted.sort_by(|a, b| entries[*a as usize].0.cmp(&entries[*b as usize].0));
        match sorted.windows(2).find(|pair| entries[pair[0] as usize].0 == entries[pair[1] as usize].0) {
            Some(pair) => Err(entries[pair[1] as usize].0.clone()),
            None => Ok(Object { entries, sorted }),
        }
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.sorted.binary_search_by(|index| self.entries[*index as usize].0.as_str().cmp(key))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.find(key).ok().map(|place| &self.entries[self.sorted[place] as usize].1)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.find(key).is_ok()
    }

    /// Sets `key`: in its place if it is there, else at the end.
    pub(crate) fn set(&mut self, key: &str, node: Node) {
        match self.find(key) {
            Ok(place) => self.entries[self.sorted[place] as usize].1 = node,
            Err(place) => {
                self.sorted.insert(place, u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
                self.entries.push((key.to_owned(), node));
            }
        }
    }

    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = (&str, &Node)> {
        self.entries.iter().map(|(key, node)| (key.as_str(), node))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Node {
    pub(crate) fn text(text: impl Into<String>) -> Node {
        Node::Text(text.into())
    }

    /// An object of a few entries with different keys.
    pub(crate) fn object<const N: usize>(entries: [(&str, Node); N]) -> Node {
        let mut object = Object::default();
        for (key, node) in entries {
            object.set(key, node);
        }
        Node::Object(object)
    }

    pub(crate) fn empty() -> Node {
        Node::Object(Object::default())
    }

    pub(crate) fn as_object(&self) -> Option<&Object> {
        if let Node::Object(object) = self { Some(object) } else { None }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        if let Node::Text(text) = self { Some(text) } else { None }
    }

    pub(crate) fn as_list(&self) -> Option<&[Node]> {
        if let Node::List(items) = self { Some(items) } else { None }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.as_object()?.get(key)
    }

    /// The name of its type, for messages.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "a boolean",
            Node::Number(_) => "a number",
            Node::Text(_) => "a text",
            Node::List(_) => "an array",
            Node::Object(_) => "an object",
        }
    }

    /// Whether it has a null, which TOML cannot say.
    pub(crate) fn has_null(&self) -> bool {
        match self {
            Node::Null => true,
            Node::Bool(_) | Node::Number(_) | Node::Text(_) => false,
            Node::List(items) => items.iter().any(Node::has_null),
            Node::Object(object) => object.entries().any(|(_, node)| node.has_null()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_keeps_its_order_and_finds_its_keys() {
        let entries = ["z", "a", "m", ""].map(|key| (key.to_owned(), Node::text(key)));
        let mut object = Object::of(entries.to_vec()).unwrap();
        object.set("k", Node::Null);
        object.set("a", Node::Bool(true));
        let keys: Vec<&str> = object.entries().map(|(key, _)| key).collect();
        assert_eq!(keys, ["z", "a", "m", "", "k"]);
        assert_eq!((object.get("a"), object.get("m")), (Some(&Node::Bool(true)), Some(&Node::text("m"))));
        assert_eq!((object.get("b"), object.get("k"), object.len()), (None, Some(&Node::Null), 5));
    }

    #[test]
    fn a_key_that_is_there_twice_is_named() {
        let entries = ["a", "b", "a"].map(|key| (key.to_owned(), Node::Null));
        assert_eq!(Object::of(entries.to_vec()), Err("a".to_owned()));
    }
}
