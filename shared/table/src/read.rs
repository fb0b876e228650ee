//! Reading an item attribute by attribute; what is wrong is named.

use crate::Item;
use aws_sdk_dynamodb::types::AttributeValue;
use clawbridge_packed::{Encoding, Packed};
use serde::de::DeserializeOwned;
use std::str::FromStr;

/// An attribute that is missing or not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the attribute {0} is missing or not of its type")]
pub struct WrongAttribute(pub String);

/// An item being read.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a Item);

impl<'a> Reader<'a> {
    /// Whether the item has the attribute.
    #[must_use]
    pub fn has(self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A text.
    ///
    /// # Errors
    /// [`WrongAttribute`].
    pub fn text(self, name: &str) -> Result<&'a str, WrongAttribute> {
        self.0.get(name).and_then(|value| value.as_s().ok()).map(String::as_str).ok_or_else(|| wrong(name))
    }

    /// A number of the type that is asked for.
    ///
    /// # Errors
    /// [`WrongAttribute`], also where the number does not fit the type.
    pub fn number<T: FromStr>(self, name: &str) -> Result<T, WrongAttribute> {
        let text = self.0.get(name).and_then(|value| value.as_n().ok());
        text.and_then(|text| text.parse().ok()).ok_or_else(|| wrong(name))
    }

    /// Bytes.
    ///
    /// # Errors
    /// [`WrongAttribute`].
    pub fn bytes(self, name: &str) -> Result<&'a [u8], WrongAttribute> {
        self.0.get(name).and_then(|value| value.as_b().ok()).map(AsRef::as_ref).ok_or_else(|| wrong(name))
    }

    /// A list.
    ///
    /// # Errors
    /// [`WrongAttribute`].
    pub fn list(self, name: &str) -> Result<&'a [AttributeValue], WrongAttribute> {
        self.0.get(name).and_then(|value| value.as_l().ok()).map(Vec::as_slice).ok_or_else(|| wrong(name))
    }

    /// A value kept as JSON text.
    ///
    /// # Errors
    /// [`WrongAttribute`].
    pub fn json<T: DeserializeOwned>(self, name: &str) -> Result<T, WrongAttribute> {
        serde_json::from_str(self.text(name)?).map_err(|_| wrong(name))
    }

    /// Packed bytes, whose encoding stands in the attribute `encoding`.
    ///
    /// # Errors
    /// [`WrongAttribute`].
    pub fn packed(self, name: &str, encoding: &str) -> Result<Packed, WrongAttribute> {
        let encoding = Encoding::parse(self.text(encoding)?).ok_or_else(|| wrong(encoding))?;
        Ok(Packed { encoding, bytes: self.bytes(name)?.to_vec() })
    }

    /// What `read` reads, or `None` where the item has no such attribute.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn optional<T>(
        self,
        name: &str,
        read: impl FnOnce(Self, &str) -> Result<T, WrongAttribute>,
    ) -> Result<Option<T>, WrongAttribute> {
        if self.has(name) { read(self, name).map(Some) } else { Ok(None) }
    }
}

fn wrong(name: &str) -> WrongAttribute {
    WrongAttribute(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{b, n, s};

    #[test]
    fn what_is_wrong_with_an_item_is_named() {
        let item: Item = [
            ("name".to_owned(), s("x")),
            ("count".to_owned(), n(-1)),
            ("body".to_owned(), b(vec![1])),
            ("encoding".to_owned(), s("rot13")),
        ]
        .into();
        let from = Reader(&item);
        assert_eq!((from.text("name"), from.number::<i64>("count")), (Ok("x"), Ok(-1)));
        assert_eq!(from.number::<u32>("count"), Err(wrong("count")));
        assert_eq!(from.text("ghost"), Err(wrong("ghost")));
        assert_eq!(from.packed("body", "encoding"), Err(wrong("encoding")));
        assert_eq!(from.optional("ghost", Reader::text), Ok(None));
        assert_eq!(from.optional("count", Reader::text), Err(wrong("count")));
    }
}
