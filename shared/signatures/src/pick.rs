//! Values picked out of a JSON body by JSON pointers (RFC 6901) in one pass that keeps nothing else.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The member under which the JSON library hands on a number when a crate in the same build asks it to keep every digit
/// (`arbitrary_precision`). A body with such a member of its own gets the same reading, which harms nothing.
const NUMBER: &str = "$serde_json::private::Number";

/// A pointer deeper than this is a mistake.
const MAX_TOKENS: usize = 16;

/// The tokens of a pointer.
pub(crate) fn parse_pointer(pointer: &str) -> Result<Vec<String>, &'static str> {
    let Some(rest) = pointer.strip_prefix('/') else {
        return Err("must be a JSON pointer, which begin with a slash, as in /data/id");
    };
    let tokens: Vec<String> = rest
        .split('/')
        .map(|token| {
            let escapes = token.matches('~').count();
            let known = token.matches("~0").count() + token.matches("~1").count();
            if escapes == known {
                Ok(token.replace("~1", "/").replace("~0", "~"))
            } else {
                Err("must write ~ as ~0 and / as ~1")
            }
        })
        .collect::<Result<_, _>>()?;
    if tokens.len() > MAX_TOKENS { Err("is deeper than 16 levels") } else { Ok(tokens) }
}

/// The strings and integers at the pointers, in their order; all `None` when the body is not JSON.
///
/// As with any JSON object, the last of two members with one name counts. Empty strings count as absent.
pub(crate) fn pick<const N: usize>(body: &[u8], pointers: [Option<&str>; N]) -> [Option<String>; N] {
    let tokens = pointers.map(|pointer| pointer.and_then(|pointer| parse_pointer(pointer).ok()));
    let wanted: Vec<Wanted<'_>> = tokens
        .iter()
        .enumerate()
        .filter_map(|(slot, tokens)| Some(Wanted { slot, rest: tokens.as_deref()? }))
        .collect();
    let mut found = [const { None }; N];
    if wanted.is_empty() {
        return found;
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let whole = Picker { wanted, found: &mut found }.deserialize(&mut json).and_then(|()| json.end());
    match whole {
        Ok(()) => found.map(|value| value.filter(|text| !text.is_empty())),
        Err(_) => [const { None }; N],
    }
}

/// A value that is still below: its slot, and the tokens that lead to it from here.
#[derive(Clone, Copy)]
struct Wanted<'p> {
    slot: usize,
    rest: &'p [String],
}

struct Picker<'p, 'f> {
    wanted: Vec<Wanted<'p>>,
    found: &'f mut [Option<String>],
}

impl<'p> Picker<'p, '_> {
    fn put(&mut self, text: impl fmt::Display) {
        for wanted in self.wanted.iter().filter(|wanted| wanted.rest.is_empty()) {
            self.found[wanted.slot] = Some(text.to_string());
        }
    }

    /// What is wanted below the member `name`. A second member of that name replaces what the first one gave.
    fn below(&mut self, name: &str) -> Vec<Wanted<'p>> {
        let mut below = Vec::new();
        for wanted in &self.wanted {
            if let [first, rest @ ..] = wanted.rest
                && first == name
            {
                self.found[wanted.slot] = None;
                below.push(Wanted { slot: wanted.slot, rest });
            }
        }
        below
    }
}

impl<'de> DeserializeSeed<'de> for Picker<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Picker<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    // A number with a fraction is no identifier: its text depends on who prints it.
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(mut self, number: i64) -> Result<(), E> {
        self.put(number);
        Ok(())
    }

    fn visit_u64<E>(mut self, number: u64) -> Result<(), E> {
        self.put(number);
        Ok(())
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.put(text);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            if name == NUMBER && self.wanted.iter().any(|wanted| wanted.rest.is_empty()) {
                let digits = members.next_value::<String>()?;
                if digits.parse::<i64>().is_ok() || digits.parse::<u64>().is_ok() {
                    self.put(digits);
                }
                continue;
            }
            let wanted = self.below(&name);
            if wanted.is_empty() {
                members.next_value::<IgnoredAny>()?;
            } else {
                members.next_value_seed(Picker { wanted, found: self.found })?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        for index in 0_usize.. {
            let wanted = self.below(&index.to_string());
            let more = if wanted.is_empty() {
                items.next_element::<IgnoredAny>()?.is_some()
            } else {
                items.next_element_seed(Picker { wanted, found: self.found })?.is_some()
            };
            if !more {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_where_the_pointer_says() {
        for (body, pointer, expected) in [
            (r#"{"id":"evt_1"}"#, "/id", Some("evt_1")),
            (r#"{"a":{"id":"x"},"id":7}"#, "/id", Some("7")),
            (r#"{"id":-7}"#, "/id", Some("-7")),
            (r#"{"id":18446744073709551615}"#, "/id", Some("18446744073709551615")),
            (r#"{"id":1.5}"#, "/id", None),
            (r#"{"id":{"$serde_json::private::Number":"7"}}"#, "/id", Some("7")),
            (r#"{"id":{"$serde_json::private::Number":"1.5"}}"#, "/id", None),
            (r#"{"id":true}"#, "/id", None),
            (r#"{"id":null}"#, "/id", None),
            (r#"{"id":""}"#, "/id", None),
            (r#"{"id":["x"]}"#, "/id", None),
            (r#"{"id":["x"]}"#, "/id/0", Some("x")),
            (r#"[{"id":"x"},{"id":"y"}]"#, "/1/id", Some("y")),
            (r#"{"a/b":{"m~n":"x"}}"#, "/a~1b/m~0n", Some("x")),
            (r#"{"":{"":"x"}}"#, "//", Some("x")),
            (r#"{"id":"x","id":"y"}"#, "/id", Some("y")),
            (r#"{"id":"x","id":{}}"#, "/id", None),
            (r#"{"id":"caf\u00e9"}"#, "/id", Some("café")),
            (r#"{"id":"x"} "#, "/id", Some("x")),
            (r#"{"id":"x"}}"#, "/id", None),
            (r#"{"id":"x""#, "/id", None),
            (r#""id""#, "/id", None),
            ("", "/id", None),
        ] {
            assert_eq!(pick(body.as_bytes(), [Some(pointer)]), [expected.map(str::to_owned)], "{body} {pointer}");
        }
    }

    #[test]
    fn several_values_take_one_pass() {
        let body = br#"{"a":{"b":"1","c":{"d":"2"}},"e":[3,4]}"#;
        let found = pick(body, [Some("/a/b"), Some("/a/c/d"), Some("/e/1"), None, Some("/a")]);
        assert_eq!(found.map(Option::unwrap_or_default), ["1", "2", "4", "", ""]);
    }

    #[test]
    fn a_body_of_brackets_does_not_overflow_the_stack() {
        let deep = "[".repeat(1 << 20);
        assert_eq!(pick(deep.as_bytes(), [Some("/0/0/0")]), [None]);
        let deep = format!("{{\"a\":{}{},\"id\":\"x\"}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(pick(deep.as_bytes(), [Some("/id")]), [Some("x".to_owned())]);
    }

    #[test]
    fn a_pointer_begins_with_a_slash_and_escapes_its_tildes() {
        for bad in ["", "id", "/a~2b", "/a~", &"/a".repeat(17)] {
            assert!(parse_pointer(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_pointer("/~01"), Ok(vec!["~1".to_owned()]));
    }
}
