//! What some senders put into the body itself to prove who they are, or when they wrote it. [`sign`] makes headers; this makes the rest, before
//! it.

use crate::failure::Failure;
use clawbridge_clock::Timestamp;
use clawbridge_signatures::{HmacOptions, Options, Outgoing, Scheme, Source, sign};
use serde_json::Value;

/// The body with the proof of the source's scheme as of `at`. A body without a place for it is left as it is.
pub(super) fn prove(source: &Source, body: Vec<u8>, at: Timestamp) -> Result<Vec<u8>, Failure> {
    let secret = source.secrets().next().unwrap_or_default();
    match source.scheme().name() {
        "linear" => Ok(edited(body, |body| put(body, "/webhookTimestamp", Value::from(at.millis())))),
        "mailgun" => mailgun(body, secret, at),
        "microsoft-graph" => Ok(edited(body, |body| {
            for notification in body["value"].as_array_mut().into_iter().flatten() {
                put(notification, "/clientState", Value::from(secret));
            }
        })),
        "salesforce" => Ok(organization(body, secret)),
        _ => Ok(body),
    }
}

fn edited(body: Vec<u8>, edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    match serde_json::from_slice::<Value>(&body) {
        Ok(mut value) if value.is_object() => {
            edit(&mut value);
            value.to_string().into_bytes()
        }
        _ => body,
    }
}

/// Replaces what is there.
fn put(value: &mut Value, pointer: &str, new: Value) {
    if let Some(place) = value.pointer_mut(pointer) {
        *place = new;
    }
}

/// `signature`: the HMAC-SHA256 of timestamp and token, hexadecimal.
fn mailgun(body: Vec<u8>, secret: &str, at: Timestamp) -> Result<Vec<u8>, Failure> {
    let time = at.seconds().to_string();
    let parsed: Value = serde_json::from_slice(&body).unwrap_or_default();
    let Some(token) = parsed["signature"]["token"].as_str() else { return Ok(body) };
    let signature = hmac_sha256(secret, format!("{time}{token}").as_bytes())?;
    Ok(edited(body, |body| {
        put(body, "/signature/timestamp", Value::from(time));
        put(body, "/signature/signature", Value::from(signature));
    }))
}

/// In hexadecimal, through the configurable scheme.
fn hmac_sha256(secret: &str, message: &[u8]) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::negative("NOT_SIGNABLE", error.to_string());
    let scheme = Scheme::parse("hmac").map_err(|error| failed(&error))?;
    let options = Options { hmac: Some(HmacOptions::new("signature")), ..Options::default() };
    let source = Source::new(scheme, vec![secret.to_owned()], options).map_err(|error| failed(&error))?;
    let outgoing = Outgoing { method: "POST", url: None, body: message, delivery_id: "", event_type: None };
    let headers = sign(&source, &outgoing, 0).map_err(|error| failed(&error))?;
    Ok(headers.into_iter().map(|(_, value)| value).collect())
}

/// The text of `OrganizationId` in the SOAP body.
fn organization(body: Vec<u8>, id: &str) -> Vec<u8> {
    const ELEMENT: (&str, &str) = ("<OrganizationId>", "</OrganizationId>");
    let text = String::from_utf8_lossy(&body);
    let replaced = text.split_once(ELEMENT.0).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(ELEMENT.1)?;
        Some(format!("{before}{}{id}{}{after}", ELEMENT.0, ELEMENT.1).into_bytes())
    });
    replaced.unwrap_or(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 4231 section 4.3.
    #[test]
    fn the_hash_is_that_of_rfc_4231() {
        let hash = hmac_sha256("Jefe", b"what do ya want for nothing?").expect("a hash");
        assert_eq!(hash, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn each_scheme_has_its_proof_in_its_place() {
        let at = Timestamp::from_millis(1_790_000_000_123);
        for (scheme, body, expected) in [
            (
                "mailgun",
                r#"{"event-data":{},"signature":{"signature":"x","timestamp":"0","token":"t"}}"#,
                r#"{"event-data":{},"signature":{"signature":"c8ce7f3374057793b792dd06e5d834c4df860ac1ef0615f2f0e20e3174817719","timestamp":"1790000000","token":"t"}}"#,
            ),
            ("mailgun", r#"{"signature": {}}"#, r#"{"signature": {}}"#),
            (
                "microsoft-graph",
                r#"{"value":[{"clientState":"x","id":"1"},{"clientState":"y","id":"2"},{"id":"3"}]}"#,
                r#"{"value":[{"clientState":"k","id":"1"},{"clientState":"k","id":"2"},{"id":"3"}]}"#,
            ),
            ("github", r#"{"clientState": "x"}"#, r#"{"clientState": "x"}"#),
        ] {
            let scheme = Scheme::parse(scheme).expect(scheme);
            let source = Source::new(scheme, vec!["k".to_owned()], Options::default()).expect("a source");
            let proven = prove(&source, body.as_bytes().to_vec(), at).expect("a body");
            assert_eq!(String::from_utf8_lossy(&proven), expected, "{scheme}");
        }
    }

    #[test]
    fn an_organization_takes_its_place() {
        for (body, expected) in [
            ("<a><OrganizationId>old</OrganizationId></a>", "<a><OrganizationId>00D1</OrganizationId></a>"),
            ("<a><OrganizationId/></a>", "<a><OrganizationId/></a>"),
            ("", ""),
        ] {
            assert_eq!(organization(body.as_bytes().to_vec(), "00D1"), expected.as_bytes());
        }
    }

    #[test]
    fn a_value_is_replaced_and_never_added() {
        let edit = |body: &str| {
            let edited = edited(body.as_bytes().to_vec(), |body| put(body, "/a/b", Value::from(1)));
            String::from_utf8(edited).expect("UTF-8")
        };
        assert_eq!(edit(r#"{"a": {"b": 0}}"#), r#"{"a":{"b":1}}"#);
        assert_eq!(edit(r#"{"a":{}}"#), r#"{"a":{}}"#);
        assert_eq!(edit("[ ]"), "[ ]");
        assert_eq!(edit("not JSON"), "not JSON");
    }
}
