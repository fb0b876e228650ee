//! XML as SOAP 1.1 allows it (section 3: no DTD, no processing instructions), read element by element within bounds. No entity is expanded but
//! the five of XML itself, and nothing of the text gets into an error.

use quick_xml::NsReader;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};

use crate::refusal::Refusal;

/// Deeper than any message, far less than the stack.
const MAX_DEPTH: usize = 32;
/// 100 notifications of 1000 fields each: what is kept of an element is larger than the shortest element.
const MAX_ELEMENTS: usize = 100_000;
/// Namespace declarations included.
const MAX_ATTRIBUTES: usize = 32;
const MAX_NAME_BYTES: usize = 255;

const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

const NOT_XML: &str = "one well-formed XML 1.0 document in UTF-8";
const NOT_SOAP: &str = "XML without a DTD, processing instructions and entities of its own";
const NOT_BOUNDED: &str = "XML of at most 100000 elements, 32 levels deep, with at most 32 attributes each";

pub(super) const fn malformed(expected: &'static str) -> Refusal {
    Refusal::BodyMalformed { expected }
}

/// The start of an element.
pub(super) struct Element {
    /// Its namespace.
    space: String,
    /// Its name without the prefix.
    pub(super) name: String,
    /// `xsi:type` without the prefix.
    pub(super) type_name: Option<String>,
    /// `xsi:nil`.
    pub(super) nil: bool,
}

impl Element {
    pub(super) fn is(&self, space: &str, name: &str) -> bool {
        self.space == space && self.name == name
    }
}

/// What comes next.
enum Next {
    Start(Element),
    Text(String),
    End,
}

/// What an element holds.
pub(super) enum Content {
    Text(String),
    /// The elements in it, with what they hold, in order.
    Elements(Vec<(Element, Content)>),
}

/// A document that is being read.
pub(super) struct Xml<'b> {
    reader: NsReader<&'b [u8]>,
    depth: usize,
    elements: usize,
}

impl<'b> Xml<'b> {
    /// The document and its root.
    pub(super) fn open(body: &'b [u8]) -> Result<(Self, Element), Refusal> {
        let text = std::str::from_utf8(body).map_err(|_| malformed(NOT_XML))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = NsReader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        let mut xml = Self { reader, depth: 0, elements: 0 };
        if text.starts_with("<?xml") {
            xml.declaration()?;
        }
        match xml.next_but_space()? {
            Next::Start(root) => Ok((xml, root)),
            Next::Text(_) | Next::End => Err(malformed(NOT_XML)),
        }
    }

    /// Calls `each` with every element in the one that is open. It must read the element that it gets, to its end.
    pub(super) fn each(
        &mut self,
        mut each: impl FnMut(&mut Self, Element) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        loop {
            match self.next_but_space()? {
                Next::Start(element) => each(self, element)?,
                Next::End => return Ok(()),
                Next::Text(_) => return Err(malformed("XML with text only in the innermost elements")),
            }
        }
    }

    /// The text of the element that is open, which has no element in it.
    pub(super) fn text(&mut self) -> Result<String, Refusal> {
        match self.content()? {
            Content::Text(text) => Ok(text),
            Content::Elements(_) => Err(malformed("XML with text only in the innermost elements")),
        }
    }

    /// All of the element that is open.
    pub(super) fn content(&mut self) -> Result<Content, Refusal> {
        let mut text = String::new();
        let mut elements = Vec::new();
        loop {
            match self.next()? {
                Next::Text(more) => text.push_str(&more),
                Next::Start(element) => {
                    let content = self.content()?;
                    if element.nil && !matches!(&content, Content::Text(text) if text.is_empty()) {
                        return Err(malformed("XML whose nil elements are empty"));
                    }
                    elements.push((element, content));
                }
                Next::End if elements.is_empty() => return Ok(Content::Text(text)),
                Next::End if is_space(&text) => return Ok(Content::Elements(elements)),
                Next::End => return Err(malformed("XML with text only in the innermost elements")),
            }
        }
    }

    /// Leaves out the rest of the element that is open.
    pub(super) fn skip(&mut self) -> Result<(), Refusal> {
        let outside = self.depth - 1;
        while self.depth > outside {
            self.next()?;
        }
        Ok(())
    }

    /// Nothing may follow the root but comments.
    pub(super) fn close(mut self) -> Result<(), Refusal> {
        loop {
            match self.reader.read_event().map_err(|_| malformed(NOT_XML))? {
                Event::Eof => return Ok(()),
                Event::Comment(_) => {}
                Event::Text(text) if is_space(&text) => {}
                _ => return Err(malformed(NOT_XML)),
            }
        }
    }

    fn declaration(&mut self) -> Result<(), Refusal> {
        let Ok(Event::Decl(declaration)) = self.reader.read_event() else { return Err(malformed(NOT_XML)) };
        let is_1_0 = declaration.version().is_ok_and(|version| version == "1.0");
        let is_utf8 = match declaration.encoding() {
            None => true,
            Some(encoding) => encoding.is_ok_and(|encoding| encoding.eq_ignore_ascii_case("utf-8")),
        };
        if is_1_0 && is_utf8 { Ok(()) } else { Err(malformed(NOT_XML)) }
    }

    fn next_but_space(&mut self) -> Result<Next, Refusal> {
        loop {
            match self.next()? {
                Next::Text(text) if is_space(&text) => {}
                other => return Ok(other),
            }
        }
    }

    fn next(&mut self) -> Result<Next, Refusal> {
        loop {
            return Ok(match self.reader.read_event().map_err(|_| malformed(NOT_XML))? {
                Event::Start(start) => {
                    self.depth += 1;
                    self.elements += 1;
                    if self.depth > MAX_DEPTH || self.elements > MAX_ELEMENTS {
                        return Err(malformed(NOT_BOUNDED));
                    }
                    Next::Start(self.element(&start)?)
                }
                Event::End(_) => {
                    self.depth = self.depth.checked_sub(1).ok_or(malformed(NOT_XML))?;
                    Next::End
                }
                Event::Text(text) => Next::Text(checked(&text.xml10_content())?),
                Event::CData(text) => Next::Text(checked(&text.xml10_content())?),
                Event::GeneralRef(reference) => {
                    let character = match reference.resolve_char_ref().map_err(|_| malformed(NOT_XML))? {
                        Some(character) => character,
                        None => predefined(&reference).ok_or(malformed(NOT_SOAP))?,
                    };
                    Next::Text(checked(character.encode_utf8(&mut [0; 4]))?)
                }
                Event::Comment(_) => continue,
                Event::DocType(_) | Event::PI(_) | Event::Decl(_) => return Err(malformed(NOT_SOAP)),
                // Empty elements are expanded by the reader.
                Event::Empty(_) | Event::Eof => return Err(malformed(NOT_XML)),
            });
        }
    }

    fn element(&self, start: &BytesStart<'_>) -> Result<Element, Refusal> {
        let resolver = self.reader.resolver();
        let (space, name) = resolver.resolve_element(start.name());
        let space = match space {
            ResolveResult::Bound(Namespace(space)) => space.to_owned(),
            ResolveResult::Unbound => String::new(),
            ResolveResult::Unknown(_) => return Err(malformed(NOT_XML)),
        };
        let name = checked_name(name.as_ref())?;
        let mut element = Element { space, name, type_name: None, nil: false };
        for (index, attribute) in start.attributes().enumerate() {
            if index == MAX_ATTRIBUTES {
                return Err(malformed(NOT_BOUNDED));
            }
            let attribute = attribute.map_err(|_| malformed(NOT_XML))?;
            let (space, name) = resolver.resolve_attribute(attribute.key);
            let value: &str = &attribute.value;
            match (space, name.as_ref()) {
                (ResolveResult::Unknown(_), _) => return Err(malformed(NOT_XML)),
                (ResolveResult::Bound(Namespace(XSI)), "type") => {
                    let local = value.trim().rsplit(':').next().unwrap_or_default();
                    element.type_name = Some(checked_name(local)?);
                }
                (ResolveResult::Bound(Namespace(XSI)), "nil") => {
                    element.nil = match value.trim() {
                        "true" | "1" => true,
                        "false" | "0" => false,
                        _ => return Err(malformed("XML whose xsi:nil is true or false")),
                    };
                }
                _ => {}
            }
        }
        Ok(element)
    }
}

/// XML 1.0 section 2.3.
fn is_space(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

/// Names are compared, and become members of JSON objects: one alphabet, that of the names that the provider gives.
fn checked_name(name: &str) -> Result<String, Refusal> {
    let mut bytes = name.bytes();
    let begins = bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
    let goes_on = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if begins && goes_on && name.len() <= MAX_NAME_BYTES {
        Ok(name.to_owned())
    } else {
        Err(malformed("XML whose names are at most 255 letters, digits, _, - and . without the prefix"))
    }
}

/// Text of the characters that XML has (XML 1.0 section 2.2).
fn checked(text: &str) -> Result<String, Refusal> {
    let is_character =
        |c: char| !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    if text.chars().all(is_character) { Ok(text.to_owned()) } else { Err(malformed(NOT_XML)) }
}

/// XML 1.0 section 4.6.
fn predefined(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "apos" => '\'',
        "quot" => '"',
        _ => return None,
    })
}
