//! JSON (RFC 8259).

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::{MAX_DEPTH, Size, duplicate, too_deep};
use crate::problem::{Code, Problem};
use crate::tree::{Node, Object};

pub(super) fn read(text: &str) -> Result<Node, Problem> {
    let (size, code) = (Cell::new(Size::default()), Cell::new(Code::Syntax));
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let seed = Seed { size: &size, code: &code, depth: 0 };
    let result = seed.deserialize(&mut deserializer).and_then(|node| deserializer.end().map(|()| node));
    result.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        // serde_json says the place once more.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let message = if code.get() == Code::Syntax { format!("not JSON: {message}") } else { message.to_owned() };
        Problem::in_text(code.get(), (line, column), message)
    })
}

/// Reads one value and counts it.
#[derive(Clone, Copy)]
struct Seed<'c> {
    size: &'c Cell<Size>,
    /// What kind of error is coming up: serde's errors are texts.
    code: &'c Cell<Code>,
    depth: usize,
}

impl Seed<'_> {
    fn fail<E: Error>(&self, code: Code, message: &str) -> E {
        self.code.set(code);
        E::custom(message)
    }

    fn count<E: Error>(&self, text_bytes: usize) -> Result<(), E> {
        let mut size = self.size.get();
        size.add(text_bytes).map_err(|message| self.fail(Code::TooLarge, message))?;
        self.size.set(size);
        Ok(())
    }

    fn deeper<E: Error>(&self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH {
            return Err(self.fail(Code::TooDeep, &too_deep()));
        }
        Ok(Self { depth, ..*self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        self.count(0).map(|()| Node::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        self.count(0).map(|()| Node::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        self.count(0).map(|()| Node::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        self.count(0).map(|()| Node::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        self.count(0)?;
        Number::from_f64(value).map(Node::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        self.count(value.len()).map(|()| Node::text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        self.count(0)?;
        let (inner, mut list) = (self.deeper()?, Vec::new());
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        self.count(0)?;
        let (inner, mut entries) = (self.deeper()?, Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            self.count(key.len())?;
            entries.push((key, map.next_value_seed(inner)?));
        }
        Object::of(entries).map(Node::Object).map_err(|key| self.fail(Code::DuplicateKey, &duplicate(&key)))
    }
}
