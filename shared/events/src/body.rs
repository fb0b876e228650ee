//! What a route's jq sees of a body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// A body as JSON: the document, where it is JSON (whatever the content type says: many senders get that wrong); an object of a form's
/// fields, the last of each name; a string, where it is text; `{"base64": …}` of anything else; `null` where it is empty.
#[must_use]
pub fn body_value(content_type: &str, body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    if let Ok(document) = serde_json::from_slice(body) {
        return document;
    }
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let fields: Map<String, Value> = form_urlencoded::parse(body)
            .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
            .collect();
        return Value::Object(fields);
    }
    match std::str::from_utf8(body) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => json!({ "base64": STANDARD.encode(body) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_kind_of_body_becomes_json() {
        let deep = "[".repeat(5000);
        let cases: [(&str, &[u8], Value); 8] = [
            ("application/json", b"{\"a\":1}", json!({"a": 1})),
            ("text/plain", b"{\"a\":1}", json!({"a": 1})),
            ("application/x-www-form-urlencoded; charset=utf-8", b"a=1&b=x%20y&a=2", json!({"a": "2", "b": "x y"})),
            ("application/xml", b"<a/>", json!("<a/>")),
            ("application/json", b"{broken", json!("{broken")),
            ("application/json", b"\xff\xfe", json!({"base64": "//4="})),
            ("", b"", Value::Null),
            ("application/json", deep.as_bytes(), json!(deep)),
        ];
        for (content_type, body, expected) in cases {
            assert_eq!(body_value(content_type, body), expected);
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(content_type in "\\PC{0,40}", body in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(body_value(&content_type, &body));
        }
    }
}
