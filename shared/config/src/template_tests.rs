use super::*;
use proptest::prelude::*;
use serde_json::json;

fn expand(template: &str, input: Value) -> Result<String, TemplateError> {
    UrlTemplate::parse(template).unwrap_or_else(|error| panic!("{template}: {error:?}")).expand(&input)
}

#[test]
fn fields_are_put_into_urls() {
    for (template, input, expected) in [
        ("https://a.example/v1/{id}", json!({"id": "cus_1"}), "https://a.example/v1/cus_1"),
        ("https://a.example/v1/{a.b}/x", json!({"a": {"b": 7}}), "https://a.example/v1/7/x"),
        ("https://a.example/{items.1}", json!({"items": [1, true]}), "https://a.example/true"),
        ("https://a.example/{id}", json!({"id": "a/b?c#d%2e é"}), "https://a.example/a%2Fb%3Fc%23d%252e%20%C3%A9"),
        ("https://a.example/{id}.json", json!({"id": ".."}), "https://a.example/...json"),
        ("https://a.example/x-{id}", json!({"id": ""}), "https://a.example/x-"),
        ("https://a.example/s?q={q}&n=1", json!({"q": "a&b=c+d"}), "https://a.example/s?q=a%26b%3Dc%2Bd&n=1"),
        ("https://a.example/s?q={q}", json!({"q": ""}), "https://a.example/s?q="),
        ("https://a.example/s?p=../{q}", json!({"q": ".."}), "https://a.example/s?p=../.."),
        ("https://a.example", json!(null), "https://a.example/"),
        ("https://a.example?x=1", json!(null), "https://a.example/?x=1"),
        ("HTTPS://A.Example/Path", json!(null), "https://a.example/Path"),
        ("http://127.0.0.1:8080/a//b", json!(null), "http://127.0.0.1:8080/a//b"),
        ("http://[::1]:8080/", json!(null), "http://[::1]:8080/"),
        ("bridge:/api/{v}", json!({"v": 1}), "bridge:/api/1"),
        ("https://a.example/{n}", json!({"n": 12345678901234567890_u64}), "https://a.example/12345678901234567890"),
        ("https://a.example/{n}", json!({"n": -1.5}), "https://a.example/-1.5"),
    ] {
        assert_eq!(expand(template, input).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn fields_that_cannot_be_in_a_url_are_named() {
    let missing = |field: &str| TemplateError::Missing { field: field.into(), place: "URL".into() };
    let not_plain = |found| TemplateError::NotPlain { field: "id".into(), place: "URL".into(), found };
    let segment = |part| TemplateError::PathSegment { field: "id".into(), part };
    let by_id = "https://a.example/{id}/x";
    for (template, input, expected) in [
        (by_id, json!({}), missing("id")),
        (by_id, json!([]), missing("id")),
        (by_id, json!("id"), missing("id")),
        ("https://a.example/{a.b}", json!({"a": 1}), missing("a.b")),
        ("https://a.example/{a.b}", json!({"a": null}), missing("a.b")),
        ("https://a.example/{a.2}", json!({"a": [1]}), missing("a.2")),
        (by_id, json!({"id": null}), not_plain("null")),
        (by_id, json!({"id": {}}), not_plain("an object")),
        (by_id, json!({"id": [1]}), not_plain("an array")),
        (by_id, json!({"id": ""}), segment("")),
        (by_id, json!({"id": "."}), segment(".")),
        (by_id, json!({"id": ".."}), segment("..")),
        ("https://a.example/{id}", json!({"id": ".."}), segment("..")),
        ("https://a.example/{id}?x", json!({"id": ".."}), segment("..")),
        ("https://a.example/.{id}", json!({"id": "."}), segment("..")),
        ("https://a.example/%2e{id}", json!({"id": "."}), segment("..")),
        ("https://a.example/{id}{id}", json!({"id": "."}), segment("..")),
        (by_id, json!({"id": "x".repeat(9000)}), TemplateError::TooLong { place: "URL".into(), limit: MAX_URL_BYTES }),
    ] {
        let error = expand(template, input.clone()).unwrap_err();
        assert_eq!(error, expected, "{template} {input}");
        assert!(!error.to_string().contains("xxx") && !error.code().is_empty());
    }
}

#[test]
fn texts_that_are_no_url_are_refused_where_they_go_wrong() {
    for (text, offset, message) in [
        ("", 0, "a URL begins with"),
        ("ftp://a.example", 0, "a URL begins with"),
        ("//a.example", 0, "a URL begins with"),
        ("{base}/x", 0, "a URL begins with"),
        ("https:/a.example", 0, "a URL begins with"),
        ("https://", 8, "this is not a host name"),
        ("https:///x", 8, "this is not a host name"),
        ("https://user:pw@a.example/", 15, "a URL here has no user"),
        ("https://{host}/", 8, "a placeholder cannot stand in the host"),
        ("https://a.{host}/", 10, "a placeholder cannot stand in the host"),
        ("https://a.example:0/", 18, "a port is"),
        ("https://a.example:99999/", 18, "a port is"),
        ("https://a.example:/", 18, "a port is"),
        ("https://a.example:+80/", 18, "a port is"),
        ("https://a b.example/", 8, "this is not a host name"),
        ("https://exämple.com/", 8, "this is not a host name"),
        ("https://a..b/", 8, "this is not a host name"),
        ("https://0x7f.1/", 8, "this is neither"),
        ("https://127.1/", 8, "this is neither"),
        ("https://2130706433/", 8, "this is neither"),
        ("https://1.2.3.0x4/", 8, "this is neither"),
        ("https://[::1/", 8, "this [ is not closed"),
        ("https://[x]/", 9, "between [ and ]"),
        ("https://[::1]x/", 13, "after ]"),
        ("https://a.example/#x", 18, "a URL for a request has no fragment"),
        ("https://a.example#x", 17, "a URL for a request has no fragment"),
        ("https://a.example/a b", 19, "this character must be percent-encoded"),
        ("https://a.example/é", 18, "this character must be percent-encoded"),
        ("https://a.example/\n", 18, "this character must be percent-encoded"),
        ("https://a.example\\x", 8, "this is not a host name"),
        ("https://a.example/\\x", 18, "a URL has no backslash"),
        ("https://a.example/%2", 18, "after % come"),
        ("https://a.example/%zz", 18, "after % come"),
        ("https://a.example/a/../b", 20, "a path has no parts"),
        ("https://a.example/a/%2E%2e", 20, "a path has no parts"),
        ("https://a.example/./b", 18, "a path has no parts"),
        ("https://a.example/{id", 18, "this { is not closed"),
        ("https://a.example/id}", 20, "this } closes nothing"),
        ("https://a.example/{}", 18, "a placeholder is"),
        ("https://a.example/{a..b}", 18, "a placeholder is"),
        ("https://a.example/{.a}", 18, "a placeholder is"),
        ("https://a.example/{a??}", 18, "a placeholder is"),
        ("https://a.example/{?}", 18, "a placeholder is"),
        ("https://a.example/{a?}", 18, "a field of a URL cannot be optional"),
        ("https://a.example/?x={a?}", 21, "a field of a URL cannot be optional"),
        ("https://a.example/{{a}}", 18, "a URL has no braces"),
        ("bridge:x", 7, "after bridge:"),
        ("bridge://x", 7, "after bridge:"),
        ("bridge:{x}", 7, "after bridge:"),
    ] {
        let error = UrlTemplate::parse(text).unwrap_err();
        assert!(error.message.starts_with(message), "{text}: {}", error.message);
        assert_eq!(error.offset, offset, "{text}: {}", error.message);
    }
}

#[test]
fn queries_and_headers_are_filled_in() {
    let query =
        |text: &str, input: Value| QueryTemplate::parse("a b", text).unwrap().expand(&input).map(Option::unwrap);
    assert_eq!(query("{x}!", json!({"x": "1&2"})).as_deref(), Ok("a%20b=1%262%21"));
    assert_eq!(query("{{x}}", json!({})).as_deref(), Ok("a%20b=%7Bx%7D"));
    assert_eq!(query("", json!({})).as_deref(), Ok("a%20b="));
    assert_eq!(
        query("{x}", json!({})),
        Err(TemplateError::Missing { field: "x".into(), place: "query parameter \"a b\"".into() })
    );

    let header =
        |text: &str, input: Value| HeaderTemplate::parse("X-Y", text).unwrap().expand(&input).map(Option::unwrap);
    assert_eq!(header("v={x}; {{y}}", json!({"x": 1})).as_deref(), Ok("v=1; {y}"));
    assert_eq!(header("v {x}", json!({"x": ""})).as_deref(), Ok("v"));
    for bad in ["a\r\nx-evil: 1", "a\n", "\0", "é", " a", "a "] {
        let expected = TemplateError::Characters { field: "x".into(), place: "header \"x-y\"".into() };
        assert_eq!(header("{x}", json!({"x": bad})), Err(expected), "{bad:?}");
    }
    assert!(matches!(header("{x}", json!({"x": "y".repeat(5000)})), Err(TemplateError::TooLong { .. })));
    for (bad, offset) in [("a\nb", 1), (" a", 0), ("é", 0), ("a{", 1)] {
        assert_eq!(HeaderTemplate::parse("x", bad).unwrap_err().offset, offset, "{bad:?}");
    }
}

#[test]
fn what_an_optional_field_stands_in_is_left_out_without_it() {
    let query = |text: &str, input: Value| QueryTemplate::parse("q", text).unwrap().expand(&input);
    let header = |text: &str, input: Value| HeaderTemplate::parse("X-Y", text).unwrap().expand(&input);
    for (template, input, expected) in [
        ("{x?}", json!({"x": 5}), Some("5")),
        ("{x?}", json!({"x": ""}), Some("")),
        ("{x?}", json!({"x": false}), Some("false")),
        ("{x?}", json!({}), None),
        ("{x?}", json!({"x": null}), None),
        ("{a.b?}", json!({"a": {"b": 1}}), Some("1")),
        ("{a.b?}", json!({"a": {}}), None),
        ("{a.b?}", json!({}), None),
        ("v{x}{y?}", json!({"x": 1, "y": 2}), Some("v12")),
        ("v{x}{y?}", json!({"x": 1}), None),
    ] {
        assert_eq!(header(template, input.clone()), Ok(expected.map(str::to_owned)), "{template} {input}");
        let expected = expected.map(|value| format!("q={value}"));
        assert_eq!(query(template, input.clone()), Ok(expected), "{template} {input}");
    }
    let not_plain = TemplateError::NotPlain { field: "x".into(), place: "header \"x-y\"".into(), found: "an array" };
    assert_eq!(header("{x?}", json!({"x": []})), Err(not_plain));
}

proptest! {
    #[test]
    fn a_value_never_changes_the_structure(value in any::<String>(), other in any::<String>()) {
        let input = json!({"a": value, "b": other});
        if let Ok(url) = expand("https://a.example/x/{a}/y?q={b}&z=1", input) {
            let rest = url.strip_prefix("https://a.example/x/").unwrap();
            let (segment, query) = rest.split_once("/y?q=").unwrap();
            let q = query.strip_suffix("&z=1").unwrap();
            for part in [segment, q] {
                prop_assert!(part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)));
            }
            prop_assert!(!segment.is_empty() && segment != "." && segment != "..");
        } else {
            prop_assert!(value.is_empty() || value == "." || value == ".." || value.len() + other.len() > MAX_URL_BYTES / 3 - 40);
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>(), tail in "[{}./?%#a:@\\[\\]]{0,20}") {
        let _ = UrlTemplate::parse(&text);
        for start in ["https://", "https://a.example/", "bridge:"] {
            let text = format!("{start}{tail}");
            match UrlTemplate::parse(&text) {
                Ok(template) => { let _ = template.expand(&json!({"a": {"a": 1}})); }
                Err(error) => prop_assert!(text.is_char_boundary(error.offset) && error.offset <= text.len()),
            }
        }
        let _ = QueryTemplate::parse("a", &text);
        let _ = HeaderTemplate::parse("a", &text);
    }
}
