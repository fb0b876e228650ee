//! Bodies as forms (`application/x-www-form-urlencoded`), for APIs that take no JSON.
//!
//! A tool says so with the header `content-type`. Fields of objects are written `a[b]`, items of arrays `a[0]`, as Stripe and Rails read them;
//! null is left out.

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;
use url::form_urlencoded::Serializer;

const FORM: &str = "application/x-www-form-urlencoded";

/// Whether a request with these headers has a form for its body.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM)
}

/// The form. Of anything but an object it is empty.
pub(crate) fn encode(body: &Value) -> Vec<u8> {
    let mut form = Serializer::new(String::new());
    if let Value::Object(fields) = body {
        for (name, value) in fields {
            append(&mut form, name, value);
        }
    }
    form.finish().into_bytes()
}

/// The depth is bounded by the JSON reader.
fn append(form: &mut Serializer<'_, String>, name: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::String(text) => drop(form.append_pair(name, text)),
        Value::Bool(_) | Value::Number(_) => drop(form.append_pair(name, &value.to_string())),
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                append(form, &format!("{name}[{place}]"), item);
            }
        }
        Value::Object(fields) => {
            for (field, value) in fields {
                append(form, &format!("{name}[{field}]"), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;
    use serde_json::json;

    #[test]
    fn objects_and_arrays_are_written_with_brackets_and_null_not_at_all() {
        for (body, expected) in [
            (json!({}), ""),
            (
                json!({"amount": 5, "live": true, "note": "a b&c=ü", "left_out": null}),
                "amount=5&live=true&note=a+b%26c%3D%C3%BC",
            ),
            (json!({"items": [{"price": "p"}, {"price": "q"}]}), "items%5B0%5D%5Bprice%5D=p&items%5B1%5D%5Bprice%5D=q"),
            (json!({"metadata": {"order": "7"}}), "metadata%5Border%5D=7"),
        ] {
            assert_eq!(String::from_utf8(encode(&body)).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_form_is_known_by_its_media_type() {
        for (value, expected) in [
            ("application/x-www-form-urlencoded", true),
            ("Application/X-WWW-Form-Urlencoded; charset=utf-8", true),
            ("application/json", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(is_form(&headers), expected, "{value}");
        }
        assert!(!is_form(&HeaderMap::new()));
    }
}
