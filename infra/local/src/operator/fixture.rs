//! Fixtures: a delivery as it would come from a source, without its signature. `events/README.md` describes the form.

use crate::failure::Failure;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fixture {
    /// Where it came from; for people.
    #[serde(rename = "origin")]
    _origin: String,
    pub(super) source: String,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// For schemes that send the delivery's id in a header of their own.
    #[serde(default)]
    pub(super) delivery_id: Option<String>,
    /// For schemes that send the event's type in a header of their own.
    #[serde(default)]
    pub(super) event_type: Option<String>,
    /// Where in the body the provider's delivery id stands, if it stands there: a JSON pointer in which `*` is every item of a list.
    #[serde(default)]
    pub(super) delivery_pointer: Option<String>,
    /// The query that the provider adds to the address; `{sha256}` in it is the hexadecimal SHA-256 of the body.
    #[serde(default)]
    query: Option<String>,
    /// Sent as compact JSON.
    #[serde(default)]
    body: Option<Value>,
    /// Sent as it is, in place of `body`: forms, XML, exact bytes.
    #[serde(default)]
    text: Option<String>,
}

/// What makes a delivery another one than the fixture's.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    /// In place of an id that is a text.
    pub(super) id: String,
    /// In place of an id that is a number.
    pub(super) number: u64,
}

impl Fixture {
    pub(super) fn read(path: &Path) -> Result<Fixture, Failure> {
        let text = std::fs::read(path)
            .map_err(|error| Failure::not_found("FIXTURE_UNREADABLE", format!("{}: {error}", path.display())))?;
        let invalid = |problem: &dyn std::fmt::Display| {
            let message = format!("{} is no fixture: {problem}; events/README.md describes the form", path.display());
            Failure::negative("FIXTURE_INVALID", message)
        };
        let fixture: Fixture = serde_json::from_slice(&text).map_err(|error| invalid(&error))?;
        match (&fixture.body, &fixture.text) {
            (Some(_), None) | (None, Some(_)) => Ok(fixture),
            (Some(_), Some(_)) => Err(invalid(&"it has both `body` and `text`; one of them is sent")),
            (None, None) => Err(invalid(&"it has neither `body` nor `text`; one of them is sent")),
        }
    }

    /// The body's bytes; those of another delivery where `fresh` is given and the body has a place for what tells them apart.
    pub(super) fn body(&self, fresh: Option<&Fresh>) -> Vec<u8> {
        match (&self.body, &self.text) {
            (Some(body), _) => self.json(body, fresh),
            (None, text) => {
                let mut text = text.clone().unwrap_or_default();
                if let Some(fresh) = fresh.filter(|_| self.is_form()) {
                    // A field of its own makes another form, as a member of its own makes another object below.
                    text.push_str(if text.is_empty() { "" } else { "&" });
                    text.push_str("clawbridge_fresh=");
                    text.push_str(&fresh.id);
                }
                text.into_bytes()
            }
        }
    }

    fn json(&self, body: &Value, fresh: Option<&Fresh>) -> Vec<u8> {
        let mut body = body.clone();
        match (fresh, &self.delivery_pointer) {
            (Some(fresh), Some(pointer)) => {
                let steps: Vec<Cow<'_, str>> = pointer.split('/').skip(1).map(unescaped).collect();
                renew(&mut body, &steps, fresh, &mut 0);
            }
            (Some(fresh), None) => {
                if let Some(members) = body.as_object_mut() {
                    // No id in the body: a member of its own makes another body, which is what the fallback identity goes by.
                    members.insert("clawbridge_fresh".to_owned(), Value::String(fresh.id.clone()));
                }
            }
            (None, _) => {}
        }
        body.to_string().into_bytes()
    }

    fn is_form(&self) -> bool {
        self.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("content-type") && value.starts_with("application/x-www-form-urlencoded")
        })
    }

    /// The query for this body, without the question mark; empty where there is none.
    pub(super) fn query(&self, body: &[u8]) -> String {
        let query = self.query.as_deref().unwrap_or_default();
        if query.contains("{sha256}") {
            query.replace("{sha256}", &hex::encode(Sha256::digest(body)))
        } else {
            query.to_owned()
        }
    }
}

/// Puts fresh ids where the pointer leads: the first is the id as it is, the others are numbered from 1.
fn renew(value: &mut Value, steps: &[Cow<'_, str>], fresh: &Fresh, done: &mut u64) {
    let Some((step, rest)) = steps.split_first() else {
        let id = if *done == 0 { fresh.id.clone() } else { format!("{}_{done}", fresh.id) };
        *value = if value.is_number() { Value::from(fresh.number + *done) } else { Value::String(id) };
        *done += 1;
        return;
    };
    match value {
        Value::Array(items) if step == "*" => items.iter_mut().for_each(|item| renew(item, rest, fresh, done)),
        Value::Array(items) => {
            if let Some(item) = step.parse().ok().and_then(|index: usize| items.get_mut(index)) {
                renew(item, rest, fresh, done);
            }
        }
        Value::Object(members) => {
            if let Some(member) = members.get_mut(step.as_ref()) {
                renew(member, rest, fresh, done);
            }
        }
        _ => {}
    }
}

/// RFC 6901 section 4.
fn unescaped(step: &str) -> Cow<'_, str> {
    if step.contains('~') { Cow::Owned(step.replace("~1", "/").replace("~0", "~")) } else { Cow::Borrowed(step) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fixture(more: Value) -> Fixture {
        let mut document = json!({"origin": "made for this test", "source": "s"});
        document.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        serde_json::from_value(document).expect("a fixture")
    }

    fn body(fixture: &Fixture, is_fresh: bool) -> String {
        let fresh = Fresh { id: "new".into(), number: 70 };
        String::from_utf8(fixture.body(is_fresh.then_some(&fresh))).expect("UTF-8")
    }

    #[test]
    fn a_fresh_body_differs_where_the_provider_puts_its_id() {
        let form = json!({"content-type": "application/x-www-form-urlencoded"});
        for (given, once, freshly) in [
            (json!({"body": {"id": "old"}, "delivery_pointer": "/id"}), r#"{"id":"old"}"#, r#"{"id":"new"}"#),
            (json!({"body": {"id": 7}, "delivery_pointer": "/id"}), r#"{"id":7}"#, r#"{"id":70}"#),
            (json!({"body": {"a": 1}}), r#"{"a":1}"#, r#"{"a":1,"clawbridge_fresh":"new"}"#),
            (
                json!({"body": [{"id": "a"}, {"id": "b"}, {"no": 1}], "delivery_pointer": "/*/id"}),
                r#"[{"id":"a"},{"id":"b"},{"no":1}]"#,
                r#"[{"id":"new"},{"id":"new_1"},{"no":1}]"#,
            ),
            (
                json!({"body": {"e/s": [{"l": [{"n": 1}]}, {"l": [{"n": 2}]}]}, "delivery_pointer": "/e~1s/*/l/0/n"}),
                r#"{"e/s":[{"l":[{"n":1}]},{"l":[{"n":2}]}]}"#,
                r#"{"e/s":[{"l":[{"n":70}]},{"l":[{"n":71}]}]}"#,
            ),
            (json!({"body": {"a": 1}, "delivery_pointer": "/id"}), r#"{"a":1}"#, r#"{"a":1}"#),
            (json!({"body": [1]}), "[1]", "[1]"),
            (json!({"text": "a=1&b=2", "headers": form}), "a=1&b=2", "a=1&b=2&clawbridge_fresh=new"),
            (json!({"text": "", "headers": form}), "", "clawbridge_fresh=new"),
            (json!({"text": "<a> </a>\r\n"}), "<a> </a>\r\n", "<a> </a>\r\n"),
        ] {
            let fixture = fixture(given);
            assert_eq!((body(&fixture, false).as_str(), body(&fixture, true).as_str()), (once, freshly));
        }
    }

    #[test]
    fn a_query_can_name_the_bodys_hash() {
        let hash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(fixture(json!({"body": {}})).query(b"{}"), "");
        assert_eq!(fixture(json!({"body": {}, "query": "a=1"})).query(b"{}"), "a=1");
        assert_eq!(fixture(json!({"body": {}, "query": "h={sha256}"})).query(b"{}"), format!("h={hash}"));
    }

    #[test]
    fn a_fixture_has_one_body() {
        let dir = std::env::temp_dir().join(format!("clawbridge-fixture-{}", std::process::id()));
        for (document, words) in [
            (json!({"origin": "o", "source": "s"}), "neither `body` nor `text`"),
            (json!({"origin": "o", "source": "s", "body": {}, "text": ""}), "both `body` and `text`"),
            (json!({"origin": "o", "source": "s", "body": {}, "txt": ""}), "unknown field"),
        ] {
            std::fs::write(&dir, document.to_string()).expect("written");
            let failure = Fixture::read(&dir).expect_err("not a fixture");
            assert!(failure.code == "FIXTURE_INVALID" && failure.message.contains(words), "{failure}");
        }
        std::fs::remove_file(dir).expect("removed");
    }
}
