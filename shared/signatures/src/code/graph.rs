//! Microsoft Graph: <https://learn.microsoft.com/graph/change-notifications-delivery-webhooks>.
//!
//! Every item of the body's `value` must carry, as its `clientState`, one of the source's secrets. Items of one request may carry different ones:
//! each has the state of its own subscription, and a secret may be in rotation. The body is not signed.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Asked;
use crate::mac::same_token;
use crate::refusal::Refusal;
use crate::source::Source;

/// Answers with the last of the secrets that an item carries: the count of each then tells when an old one is no longer used.
pub(super) fn verify(asked: &Asked<'_>) -> Result<usize, Refusal> {
    const EXPECTED: &str = "a JSON object with a list `value` of at least one notification";
    let mut found = Found::default();
    let mut json = serde_json::Deserializer::from_slice(asked.request.body);
    let read = Level { source: asked.source, found: &mut found, of: Of::Body }
        .deserialize(&mut json)
        .and_then(|()| json.end());
    if read.is_err() || found.items == 0 {
        return Err(Refusal::BodyMalformed { expected: EXPECTED });
    }
    if found.without > 0 {
        return Err(Refusal::SignatureMissing { place: "the clientState of an item of `value` in the body".into() });
    }
    match found.last {
        Some(index) if found.mismatched == 0 => Ok(index),
        _ => Err(Refusal::SignatureMismatch { secrets: asked.source.secret_count() }),
    }
}

/// What the items carry. Nothing of them is kept, so that memory does not grow with the body.
#[derive(Default)]
struct Found {
    items: usize,
    /// Items without a `clientState`.
    without: usize,
    /// Items with one that is no secret of the source.
    mismatched: usize,
    last: Option<usize>,
}

/// Where in the body.
#[derive(Clone, Copy)]
enum Of {
    Body,
    Items,
    Item,
    State,
}

struct Level<'a> {
    source: &'a Source,
    found: &'a mut Found,
    of: Of,
}

impl Level<'_> {
    fn below(&mut self, of: Of) -> Level<'_> {
        Level { source: self.source, found: self.found, of }
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.of {
            Of::Body | Of::Item => deserializer.deserialize_map(self),
            Of::Items => deserializer.deserialize_seq(self),
            Of::State => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("change notifications")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let (name, of) = match self.of {
            Of::Body => ("value", Of::Items),
            Of::Item => ("clientState", Of::State),
            Of::Items | Of::State => return Err(A::Error::custom("an object")),
        };
        let mut seen = false;
        while let Some(member) = members.next_key::<String>()? {
            if member != name {
                members.next_value::<IgnoredAny>()?;
            } else if seen {
                // Which of two counts differs between parsers.
                return Err(A::Error::custom("a member that is there twice"));
            } else {
                seen = true;
                members.next_value_seed(self.below(of))?;
            }
        }
        self.found.without += usize::from(matches!(self.of, Of::Item) && !seen);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        if !matches!(self.of, Of::Items) {
            return Err(A::Error::custom("a list"));
        }
        while items.next_element_seed(self.below(Of::Item))?.is_some() {
            self.found.items += 1;
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.found.without += 1;
        Ok(())
    }

    fn visit_str<E>(self, state: &str) -> Result<(), E> {
        match self.source.keys().position(|key| same_token(state.as_bytes(), key)) {
            Some(index) => self.found.last = self.found.last.max(Some(index)),
            None if state.is_empty() => self.found.without += 1,
            None => self.found.mismatched += 1,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{Headers, Request, Source, verify};

    fn outcome(body: &str) -> Result<usize, &'static str> {
        let source = Source::from_secret(br#"{"scheme":"microsoft-graph","secrets":["new","old"]}"#).expect("a source");
        let request =
            Request { method: "POST", url: None, query: "", headers: Headers::default(), body: body.as_bytes() };
        verify(&source, &request, 0).map(|verified| verified.secret_index()).map_err(|refusal| refusal.code())
    }

    #[test]
    fn every_notification_must_carry_a_live_state() {
        for (body, expected) in [
            (r#"{"value":[{"clientState":"new","changeType":"created"}]}"#, Ok(0)),
            (r#"{"value":[{"clientState":"old"}]}"#, Ok(1)),
            (r#"{"value":[{"clientState":"old"},{"clientState":"new"}]}"#, Ok(1)),
            (r#"{"value":[{"x":{"clientState":"bad"},"clientState":"new"}],"validationTokens":["a.b.c"]}"#, Ok(0)),
            (r#"{"value":[{"clientState":"\u006eew"}]}"#, Ok(0)),
            (r#"{"value":[{"clientState":"new"},{"clientState":"bad"}]}"#, Err("SIGNATURE_MISMATCH")),
            (r#"{"value":[{"clientState":"New"}]}"#, Err("SIGNATURE_MISMATCH")),
            (r#"{"value":[{"clientState":"new "}]}"#, Err("SIGNATURE_MISMATCH")),
            (r#"{"value":[{"clientState":"new"},{}]}"#, Err("SIGNATURE_MISSING")),
            (r#"{"value":[{},{"clientState":"bad"}]}"#, Err("SIGNATURE_MISSING")),
            (r#"{"value":[{"clientState":""}]}"#, Err("SIGNATURE_MISSING")),
            (r#"{"value":[{"clientState":null}]}"#, Err("SIGNATURE_MISSING")),
            (r#"{"value":[{"x":{"clientState":"new"}}]}"#, Err("SIGNATURE_MISSING")),
            (r#"{"value":[{"ClientState":"new"}]}"#, Err("SIGNATURE_MISSING")),
        ] {
            assert_eq!(outcome(body), expected, "{body}");
        }
    }

    #[test]
    fn what_is_no_list_of_notifications_is_refused() {
        for body in [
            "",
            "no",
            "[]",
            "{}",
            r#""new""#,
            r#"{"value":[]}"#,
            r#"{"value":{"clientState":"new"}}"#,
            r#"{"value":"new"}"#,
            r#"{"value":null}"#,
            r#"{"value":["new"]}"#,
            r#"{"value":[["new"]]}"#,
            r#"[[["new"]]]"#,
            r#"{"value":[{"clientState":7}]}"#,
            r#"{"value":[{"clientState":["new"]}]}"#,
            r#"{"value":[{"clientState":{"clientState":"new"}}]}"#,
            r#"{"value":[{"clientState":"bad","clientState":"new"}]}"#,
            r#"{"value":[{"clientState":"bad"}],"value":[{"clientState":"new"}]}"#,
            r#"{"value":[{"clientState":"new"}]}x"#,
            r#"{"value":[{"clientState":"new"}]"#,
            r#"{"value":[{"clientState":"new"},]}"#,
        ] {
            assert_eq!(outcome(body), Err("BODY_MALFORMED"), "{body}");
        }
        let deep = format!("{{\"value\":{}", "[".repeat(1 << 20));
        assert_eq!(outcome(&deep), Err("BODY_MALFORMED"));
        let deep = format!("{{\"value\":[{{\"a\":{}", "[".repeat(1 << 20));
        assert_eq!(outcome(&deep), Err("BODY_MALFORMED"));
    }
}
