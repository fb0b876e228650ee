use super::*;
use crate::import as import_document;

fn scalar(name: &str) -> String {
    format!(r#"{{"kind": "SCALAR", "name": "{name}", "ofType": null}}"#)
}

/// An introspection result with one query field and these further types.
fn document(field: &str, types: &str) -> String {
    format!(
        r#"{{"__schema": {{"queryType": {{"name": "Q"}}, "types": [{{"kind": "OBJECT", "name": "Q", "fields": [{field}]}}, {{"kind": "SCALAR", "name": "Int"}}{types}]}}}}"#
    )
}

fn options() -> Options {
    Options { server: Some("https://a.example/graphql".to_owned()), ..Options::default() }
}

#[test]
fn an_introspection_result_that_cannot_be_right_is_refused_where_it_is_wrong() {
    let int = scalar("Int");
    let object = |name: &str| format!(r#"{{"kind": "OBJECT", "name": "{name}"}}"#);
    let deep = (0..20).fold(int.clone(), |inner, _| format!(r#"{{"kind": "LIST", "ofType": {inner}}}"#));
    let in_field = "/__schema/types/0/fields/0";
    for (field, code, pointer) in [
        ("5".to_owned(), Code::WrongType, in_field.to_owned()),
        ("{}".to_owned(), Code::Missing, in_field.to_owned()),
        (format!(r#"{{"name": "a b", "type": {int}}}"#), Code::WrongType, format!("{in_field}/name")),
        (format!(r#"{{"name": "x\") {{", "type": {int}}}"#), Code::WrongType, format!("{in_field}/name")),
        (r#"{"name": "a"}"#.to_owned(), Code::Missing, in_field.to_owned()),
        (r#"{"name": "a", "type": {"kind": "NON_NULL"}}"#.to_owned(), Code::Missing, format!("{in_field}/type")),
        (
            format!(r#"{{"name": "a", "type": {}}}"#, object("Nosuch")),
            Code::DanglingReference,
            format!("{in_field}/type"),
        ),
        (format!(r#"{{"name": "a", "type": {deep}}}"#), Code::TooDeep, format!("{in_field}/type")),
        (
            format!(r#"{{"name": "a", "type": {int}, "args": [{{"name": "$x", "type": {int}}}]}}"#),
            Code::WrongType,
            format!("{in_field}/args/0/name"),
        ),
        (
            format!(
                r#"{{"name": "a", "type": {int}, "args": [{{"name": "x", "type": {{"kind": "ENUM", "name": "E"}}}}]}}"#
            ),
            Code::DanglingReference,
            format!("{in_field}/args/0/type"),
        ),
    ] {
        let problems = import_document(document(&field, "").as_bytes(), &options()).unwrap_err();
        assert_eq!(
            (problems[0].code, problems[0].pointer.as_str()),
            (code, pointer.as_str()),
            "{field}: {}",
            problems[0]
        );
    }
    for (text, code, pointer) in [
        (r#"{"__schema": {}}"#, Code::Missing, "/__schema"),
        (r#"{"__schema": {"types": []}}"#, Code::NothingSelected, ""),
        (r#"{"__schema": {"queryType": {"name": "Q"}, "types": []}}"#, Code::DanglingReference, "/__schema/queryType"),
        (r#"{"data": {"__schema": 5}}"#, Code::WrongType, "/data/__schema"),
    ] {
        let problems = import_document(text.as_bytes(), &options()).unwrap_err();
        assert_eq!((problems[0].code, problems[0].pointer.as_str()), (code, pointer), "{text}: {}", problems[0]);
    }
    let field = format!(r#"{{"name": "a", "type": {int}}}"#);
    let problems = import_document(document(&field, "").as_bytes(), &Options::default()).unwrap_err();
    assert!(problems[0].code == Code::Server && problems[0].message.contains("--server"), "{}", problems[0]);
}

/// Types that lead to each other in all ways: what is asked for is bounded by depth, by number and by length.
#[test]
fn an_answer_of_any_size_is_asked_for_within_bounds() {
    let names: Vec<String> = (0..40).map(|n| format!("T{n}_{}", "x".repeat(100))).collect();
    let int = scalar("Int");
    let types: Vec<String> = names
        .iter()
        .map(|name| {
            let links = names
                .iter()
                .map(|other| format!(r#"{{"name": "to_{other}", "type": {{"kind": "OBJECT", "name": "{other}"}}}}"#));
            let plain = (0..40).map(|n| format!(r#"{{"name": "f{n}_{}", "type": {int}}}"#, "y".repeat(100)));
            let fields: Vec<String> = plain.chain(links).collect();
            format!(r#", {{"kind": "OBJECT", "name": "{name}", "fields": [{}]}}"#, fields.join(","))
        })
        .collect();
    let field = format!(r#"{{"name": "a", "type": {{"kind": "OBJECT", "name": "{}"}}}}"#, names[0]);
    let started = std::time::Instant::now();
    for depth in [1, 2, 6] {
        let options = Options { depth, ..options() };
        let made = import_document(document(&field, &types.concat()).as_bytes(), &options).unwrap();
        let text = made.to_toml();
        assert!(text.len() < 2 * MAX_DOCUMENT && text.contains("f39_"), "{depth}: {text}");
        let is_noted = made.notes().iter().any(|note| note.code == NoteCode::Selection);
        assert_eq!(is_noted, depth > 1, "{depth}");
    }
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

#[test]
fn an_object_without_plain_fields_is_asked_for_its_type() {
    let field = r#"{"name": "a", "type": {"kind": "OBJECT", "name": "Empty"}}"#;
    let made = import_document(
        document(field, r#", {"kind": "OBJECT", "name": "Empty", "fields": []}"#).as_bytes(),
        &options(),
    );
    assert!(made.unwrap().to_toml().contains("  a {\n    __typename\n  }"));
}
