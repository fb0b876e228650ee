//! Fixtures: a delivery as it would come from a source, without its signature. `events/README.md` describes the form.

use crate::failure::Failure;
use serde::Deserialize;
use serde_json::Value;
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
    /// Where in the body the provider's delivery id stands, if it stands there: a JSON pointer.
    #[serde(default)]
    pub(super) delivery_pointer: Option<String>,
    /// Sent as compact JSON.
    body: Value,
}

impl Fixture {
    pub(super) fn read(path: &Path) -> Result<Fixture, Failure> {
        let text = std::fs::read(path)
            .map_err(|error| Failure::not_found("FIXTURE_UNREADABLE", format!("{}: {error}", path.display())))?;
        serde_json::from_slice(&text).map_err(|error| {
            let message = format!("{} is no fixture: {error}; events/README.md describes the form", path.display());
            Failure::negative("FIXTURE_INVALID", message)
        })
    }

    /// The body's bytes, with another delivery id where `fresh` is one and the fixture says where.
    pub(super) fn body(&self, fresh: Option<&str>) -> Vec<u8> {
        let mut body = self.body.clone();
        if let (Some(id), Some(pointer)) = (fresh, &self.delivery_pointer)
            && let Some(place) = body.pointer_mut(pointer)
        {
            *place = Value::String(id.to_owned());
        } else if let (Some(id), None, Some(members)) = (fresh, &self.delivery_pointer, body.as_object_mut()) {
            // No id in the body: a member of its own makes another body, which is what the fallback identity goes by.
            members.insert("clawbridge_fresh".to_owned(), Value::String(id.to_owned()));
        }
        body.to_string().into_bytes()
    }

    /// The event's type as its header or body has it, for schemes that send it in a header.
    pub(super) fn event_type(&self) -> Option<&str> {
        self.headers.get("x-github-event").map(String::as_str)
    }
}
