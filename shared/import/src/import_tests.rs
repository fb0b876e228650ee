use super::*;
use clawbridge_config::check;
use std::path::PathBuf;

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(testdata(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn imported(name: &str, options: &Options) -> Imported {
    import(&fixture(name), options).unwrap_or_else(|problems| panic!("{name}: {problems:#?}"))
}

/// Fixture, golden output, options.
fn goldens() -> Vec<(&'static str, &'static str, Options)> {
    vec![
        ("shop.openapi.yaml", "shop.toml", Options::default()),
        (
            "shop.openapi.yaml",
            "shop-orders.toml",
            Options {
                tags: vec!["orders".to_owned()],
                prefix: "lantern_".to_owned(),
                secret: Some("lantern".to_owned()),
                server: Some("http://127.0.0.1:8080/".to_owned()),
                output: false,
                max_schema: 700,
                ..Options::default()
            },
        ),
        ("tracker.openapi.json", "tracker.toml", Options::default()),
        (
            "desk.graphql.json",
            "desk.toml",
            Options {
                server: Some("https://desk.example/graphql".to_owned()),
                secret: Some("desk".to_owned()),
                ..Options::default()
            },
        ),
        (
            "desk.graphql.json",
            "desk-deep.toml",
            Options {
                server: Some("https://desk.example/graphql/".to_owned()),
                operations: vec!["tickets".to_owned(), "board".to_owned()],
                prefix: "desk-".to_owned(),
                depth: 3,
                ..Options::default()
            },
        ),
    ]
}

#[test]
fn the_golden_outputs_are_what_is_made() {
    for (name, golden, options) in goldens() {
        let made = imported(name, &options);
        let text = made.to_toml();
        assert_eq!(text, imported(name, &options).to_toml(), "{name}: the same bytes each time");
        let path = testdata(golden);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(text == expected, "{golden} is not what is made of {name}; see testdata/README.md\n{text}");
    }
}

#[test]
fn check_accepts_every_declaration() {
    for (name, golden, options) in goldens() {
        let made = imported(name, &options);
        let (config, diagnostics) = check(&made.to_toml());
        let errors: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
        let config = config.unwrap_or_else(|| panic!("{golden}: {errors:#?}"));
        assert_eq!(errors, Vec::<String>::new(), "{golden}");
        let mut names: Vec<&str> = made.tools().collect();
        names.sort_unstable();
        assert!(!names.is_empty());
        assert_eq!(names, config.tools.keys().map(String::as_str).collect::<Vec<_>>(), "{golden}");
    }
}

fn problems(document: &str, options: &Options) -> Vec<(Code, String)> {
    let problems = import(document.as_bytes(), options).expect_err(document);
    assert!(!problems.is_empty() && problems.len() <= 20, "{document}");
    problems.into_iter().map(|problem| (problem.code, problem.pointer)).collect()
}

/// An OpenAPI document with these paths and components.
fn openapi(paths: &str, components: &str) -> String {
    format!(
        r#"{{"openapi": "3.1.0", "info": {{"title": "T", "version": "1"}}, "servers": [{{"url": "https://a.example"}}], "paths": {paths}, "components": {components}}}"#
    )
}

#[test]
fn what_is_no_document_of_these_kinds_is_refused_with_a_code() {
    for (document, code, pointer) in [
        ("", Code::UnknownDocument, ""),
        ("{}", Code::UnknownDocument, ""),
        ("[1]", Code::UnknownDocument, ""),
        ("just words", Code::UnknownDocument, ""),
        ("type Query { a: Int }", Code::UnknownDocument, ""),
        ("asyncapi: 3.0.0", Code::UnknownDocument, ""),
        ("{", Code::Syntax, ""),
        ("swagger: '2.0'", Code::UnsupportedVersion, ""),
        (r#"{"errors": [{"message": "introspection is disabled"}]}"#, Code::IntrospectionFailed, ""),
        (r#"{"data": null}"#, Code::IntrospectionFailed, ""),
        ("openapi: 2.0", Code::UnsupportedVersion, "/openapi"),
        ("openapi: 3.2.0", Code::UnsupportedVersion, "/openapi"),
        ("openapi: 3.10", Code::Missing, ""),
        ("openapi: '3.10.0'", Code::UnsupportedVersion, "/openapi"),
        ("openapi: [3]", Code::WrongType, "/openapi"),
        ("openapi: 3.0.0", Code::Missing, ""),
        ("openapi: 3.0.0\npaths: []", Code::WrongType, "/paths"),
        ("openapi: 3.0.0\npaths: {}", Code::NothingSelected, ""),
        ("openapi: 3.0.0\npaths: {/a: 5}", Code::WrongType, "/paths/~1a"),
        ("openapi: 3.0.0\npaths: {/a: {get: 5}}", Code::WrongType, "/paths/~1a/get"),
        ("openapi: 3.0.0\npaths: {/a: {get: {operationId: 5}}}", Code::WrongType, "/paths/~1a/get/operationId"),
        ("openapi: 3.0.0\npaths: {/a: {get: {tags: x}}}", Code::WrongType, "/paths/~1a/get/tags"),
        ("openapi: 3.0.0\npaths: {/a: {$ref: 'b.yaml'}}", Code::ExternalReference, "/paths/~1a/$ref"),
        ("openapi: 3.0.0\npaths: {/a: {$ref: '#/paths/~1a'}}", Code::CyclicReference, "/paths/~1a/$ref"),
        ("openapi: 3.0.0\npaths: {/a: {get: {}}}", Code::Server, ""),
        ("openapi: 3.0.0\npaths: {/a: {get: {deprecated: true}}}", Code::NothingSelected, ""),
        ("openapi: 3.0.0\nsecurity: [{x: []}]\npaths: {/a: {get: {}}}", Code::Missing, "/security/0"),
    ] {
        assert_eq!(problems(document, &Options::default()), [(code, pointer.to_owned())], "{document}");
    }
    // A number in YAML without quotes is the version that it looks like.
    let made =
        import(b"openapi: 3.1\nservers: [{url: 'https://a.example'}]\npaths: {/a: {get: {}}}", &Options::default());
    assert_eq!(made.unwrap().tools().collect::<Vec<_>>(), ["get_a"]);
}

#[test]
fn what_is_wrong_within_an_operation_is_refused_where_it_is() {
    let at = |rest: &str| format!("/paths/~1a/post{rest}");
    for (operation, code, pointer) in [
        (r##"{"parameters": [{"$ref": "other.json#/x"}]}"##, Code::ExternalReference, at("/parameters/0/$ref")),
        (
            r##"{"parameters": [{"$ref": "#/components/parameters/nosuch"}]}"##,
            Code::DanglingReference,
            at("/parameters/0/$ref"),
        ),
        (r#"{"parameters": [{"in": "query"}]}"#, Code::Missing, at("/parameters/0")),
        (r#"{"parameters": {"name": "x"}}"#, Code::WrongType, at("/parameters")),
        (
            r##"{"parameters": [{"name": "x", "in": "query", "schema": {"$ref": "#/components/schemas/Loop"}}]}"##,
            Code::CyclicReference,
            "/components/schemas/Loop/$ref".to_owned(),
        ),
        (
            r##"{"requestBody": {"content": {"application/json": {"schema": {"type": "object", "properties": {"a": {"$ref": "#/nosuch"}}}}}}}"##,
            Code::DanglingReference,
            at("/requestBody/content/application~1json/schema/properties/a/$ref"),
        ),
        (
            r##"{"responses": {"200": {"content": {"application/json": {"schema": {"items": {"$ref": "https://b.example/s.json"}}}}}}}"##,
            Code::ExternalReference,
            at("/responses/200/content/application~1json/schema/items/$ref"),
        ),
        (
            r#"{"responses": {"200": {"content": {"application/json": {"schema": 5}}}}}"#,
            Code::WrongType,
            at("/responses/200/content/application~1json/schema"),
        ),
        (r#"{"security": [{"nosuch": []}]}"#, Code::Missing, at("/security/0")),
        (r#"{"servers": [{"url": "/relative"}]}"#, Code::Server, at("/servers/0/url")),
        (r#"{"deprecated": "no"}"#, Code::WrongType, at("/deprecated")),
    ] {
        let components = r##"{"schemas": {"Loop": {"$ref": "#/components/schemas/Loop"}}}"##;
        let document = openapi(&format!(r#"{{"/a": {{"post": {operation}}}, "/b": {{"get": {{}}}}}}"#), components);
        assert_eq!(problems(&document, &Options::default()), [(code, pointer)], "{operation}");
        // It concerns nobody who does not want the operation, and can be left out where that is said.
        if !operation.contains("deprecated") {
            let others = Options { only: vec!["/b".to_owned()], ..Options::default() };
            assert_eq!(import(document.as_bytes(), &others).unwrap().tools().collect::<Vec<_>>(), ["get_b"]);
            let skipping = Options { skip_broken: true, ..Options::default() };
            let made = import(document.as_bytes(), &skipping).unwrap();
            assert_eq!(made.tools().collect::<Vec<_>>(), ["get_b"], "{operation}");
            assert_eq!(made.notes().iter().filter(|note| note.code == NoteCode::Broken).count(), 1);
            assert!(made.to_toml().contains("# POST /a is left out: error["), "{}", made.to_toml());
        }
    }
}

#[test]
fn options_that_cannot_be_meant_are_refused_and_not_repeated() {
    let document = openapi(r#"{"/a": {"get": {}}}"#, "{}");
    for options in [
        Options { prefix: "a b".to_owned(), ..Options::default() },
        Options { prefix: "x".repeat(33), ..Options::default() },
        Options { secret: Some("sk_live_hunter2hunter2".to_owned()), ..Options::default() },
        Options { secret: Some("hunter2 spaced".to_owned()), ..Options::default() },
        Options { secret: Some(String::new()), ..Options::default() },
        Options { server: Some("a.example/hunter2".to_owned()), ..Options::default() },
        Options { server: Some("https://hunter2@a.example".to_owned()), ..Options::default() },
        Options { server: Some("https://a.example/{hunter2}".to_owned()), ..Options::default() },
    ] {
        let problems = import(document.as_bytes(), &options).unwrap_err();
        assert_eq!(problems[0].code, Code::InvalidOption, "{options:?}");
        assert!(!problems[0].to_string().contains("hunter2"), "{}", problems[0]);
    }
}

#[test]
fn a_selection_takes_what_it_names_and_changes_no_name() {
    let one = |text: &str| vec![text.to_owned()];
    for (options, expected) in [
        (
            Options { only: one("issues_*"), ..Options::default() },
            "issues_list issues_create issues_get issues_replace issues_close",
        ),
        (Options { only: one("issues/c*"), ..Options::default() }, "issues_create issues_close"),
        (Options { only: one("/search"), ..Options::default() }, "post_search"),
        (Options { tags: one("Search"), ..Options::default() }, "post_search"),
        (Options { operations: one("issues/get"), ..Options::default() }, "issues_get"),
        (
            Options { tags: one("issues"), only: one("*e"), ..Options::default() },
            "issues_create issues_replace issues_close",
        ),
        (Options { only: one("issues_get"), prefix: "bur_".to_owned(), ..Options::default() }, ""),
        (Options { only: one("bur_*_get"), prefix: "bur_".to_owned(), ..Options::default() }, "bur_issues_get"),
    ] {
        match import(&fixture("tracker.openapi.json"), &options) {
            Ok(made) => assert_eq!(made.tools().collect::<Vec<_>>().join(" "), expected, "{options:?}"),
            Err(problems) => assert_eq!((problems[0].code, expected), (Code::NothingSelected, ""), "{options:?}"),
        }
    }
    // Two operations with one id: which is the second does not depend on what is selected.
    let document = openapi(r#"{"/a": {"get": {"operationId": "x"}}, "/b": {"get": {"operationId": "X"}}}"#, "{}");
    let options = Options { only: one("/b"), ..Options::default() };
    assert_eq!(import(document.as_bytes(), &options).unwrap().tools().collect::<Vec<_>>(), ["x_2"]);
}

#[test]
fn deprecated_operations_are_taken_where_they_are_asked_for() {
    let has = |options: &Options| imported("shop.openapi.yaml", options).tools().any(|name| name == "get_basket");
    assert!(!has(&Options::default()));
    assert!(has(&Options { deprecated: true, ..Options::default() }));
    assert!(has(&Options { operations: vec!["getBasket".to_owned()], ..Options::default() }));
    let notes = imported("shop.openapi.yaml", &Options::default());
    let deprecated: Vec<&str> = notes
        .notes()
        .iter()
        .filter(|note| note.code == NoteCode::Deprecated)
        .map(|note| note.operation.as_str())
        .collect();
    assert_eq!(deprecated, ["GET /basket"]);
    assert!(notes.summary().iter().any(|line| line.starts_with("DEPRECATED 1: ")), "{:?}", notes.summary());
}

#[test]
fn what_looks_like_a_credential_is_in_no_output() {
    let secret = "sk_test_51LanternDemoKey00";
    assert!(String::from_utf8(fixture("shop.openapi.yaml")).unwrap().contains(secret));
    let document = openapi(
        &format!(
            r#"{{"/{secret}": {{"get": {{}}}}, "/a": {{"post": {{"summary": "{secret}", "operationId": "a", "parameters": [{{"name": "k", "in": "query", "required": true, "description": "{secret}", "schema": {{"enum": ["{secret}"]}}}}, {{"name": "X-Version", "in": "header", "required": true, "schema": {{"const": "Bearer {secret}"}}}}], "requestBody": {{"content": {{"application/json": {{"schema": {{"type": "object", "properties": {{"a": {{"default": "{secret}", "const": "{secret}", "pattern": "^x{{3}}$", "example": "{secret}", "description": "`{secret}`"}}}}}}}}}}}}}}}}}}"#
        ),
        "{}",
    );
    for (name, bytes) in [("shop", fixture("shop.openapi.yaml")), ("made", document.into_bytes())] {
        let options = Options { skip_broken: true, ..Options::default() };
        let made = import(&bytes, &options).unwrap();
        let text = made.to_toml();
        assert!(made.tools().count() > 0 && !text.contains(secret) && text.contains("[removed]"), "{name}: {text}");
    }
}

#[test]
fn only_what_is_new_is_added_to_a_document_and_what_is_there_stays() {
    let made = imported("tracker.openapi.json", &Options::default());
    let mine = "# Mine.\n[tools.issues_get]\nmethod = \"GET\"\nurl = \"https://mine.example/\"\n\n[[routes]]\nname = \"r\"\nsource = \"s\"\ntool = \"issues_get\"";
    let appended = made.append_to(mine).unwrap();
    assert_eq!(appended.existing, ["issues_get"]);
    assert_eq!(appended.added.len(), 6);
    assert!(appended.text.starts_with("\n\n# Burrow") && !appended.text.contains("[tools.issues_get]"));
    let both = format!("{mine}{}", appended.text);
    let config = check(&both).0.unwrap();
    assert_eq!((config.tools.len(), config.tools["issues_get"].url.as_str()), (7, "https://mine.example/"));
    let again = made.append_to(&both).unwrap();
    assert_eq!((again.text.as_str(), again.added.len(), again.existing.len()), ("", 0, 7));
    assert_eq!(made.append_to("").unwrap().added.len(), 7);
    for (document, message) in [
        ("[tools", "the document has errors"),
        ("tools = {}", "the document would have errors"),
        ("[tools.x]\nmethod = \"GET\"", "the document has errors"),
    ] {
        let problem = made.append_to(document).unwrap_err();
        assert!(problem.code == Code::Unusable && problem.message.starts_with(message), "{document}: {problem}");
    }
}

#[test]
fn a_document_of_a_thousand_operations_wants_a_selection() {
    let paths: Vec<String> = (0..1_000)
        .map(|n| format!(r#""/p{n}": {{"get": {{"tags": ["t{}"], "operationId": "op{n}"}}}}"#, n % 10))
        .collect();
    let document = openapi(&format!("{{{}}}", paths.join(",")), "{}");
    let problems = import(document.as_bytes(), &Options::default()).unwrap_err();
    assert_eq!(problems[0].code, Code::TooManyTools);
    assert!(
        problems[0].message.contains("1000 operations") && problems[0].message.contains("t3 (100)"),
        "{}",
        problems[0]
    );
    let options = Options { tags: vec!["t3".to_owned()], ..Options::default() };
    assert_eq!(import(document.as_bytes(), &options).unwrap().tools().count(), 100);
}

/// Schemas that unfold without end, or to a lot.
#[test]
fn schemas_that_refer_to_each_other_are_bounded() {
    let chain: Vec<String> = (0..3_000)
        .map(|n| {
            format!(
                r##""S{n}": {{"type": "object", "properties": {{"next": {{"$ref": "#/components/schemas/S{}"}}}}}}"##,
                n + 1
            )
        })
        .chain([r#""S3000": {"type": "string"}"#.to_owned()])
        .collect();
    let all_of: Vec<String> = (0..60)
        .map(|n| format!(r##""A{n}": {{"allOf": [{{"$ref": "#/components/schemas/A{m}"}}, {{"$ref": "#/components/schemas/A{m}"}}]}}"##, m = n + 1))
        .chain([r##""A60": {"allOf": [{"$ref": "#/components/schemas/A0"}]}"##.to_owned()])
        .collect();
    let wide: Vec<String> = (0..20_000).map(|n| format!(r#""f{n}": {{"type": "string"}}"#)).collect();
    let schemas = format!(
        r##"{{{}, {}, "Wide": {{"type": "object", "properties": {{{}}}}}, "Self": {{"allOf": [{{"$ref": "#/components/schemas/Self"}}, {{"type": "object", "properties": {{"a": {{"$ref": "#/components/schemas/Self"}}}}}}]}}}}"##,
        chain.join(","),
        all_of.join(","),
        wide.join(",")
    );
    let paths: Vec<String> = ["S0", "A0", "Wide", "Self"]
        .iter()
        .map(|name| {
            let content = format!(
                r##"{{"content": {{"application/json": {{"schema": {{"$ref": "#/components/schemas/{name}"}}}}}}}}"##
            );
            format!(r#""/{name}": {{"post": {{"requestBody": {content}, "responses": {{"200": {content}}}}}}}"#)
        })
        .collect();
    let document = openapi(&format!("{{{}}}", paths.join(",")), &format!(r#"{{"schemas": {schemas}}}"#));
    let started = std::time::Instant::now();
    let made = import(document.as_bytes(), &Options::default()).unwrap();
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    let text = made.to_toml();
    assert!(check(&text).0.is_some() && text.len() < 100_000, "{}", text.len());
    assert_eq!(made.tools().count(), 4);
    for name in ["S0", "A0", "Wide", "Self"] {
        let operation = format!("POST /{name}");
        assert!(made.notes().iter().any(|note| note.operation == operation && note.code == NoteCode::Schema), "{name}");
    }
}

mod mutations {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// The fixture as JSON that can be changed.
    fn value(name: &str) -> Value {
        fn of(node: &Node) -> Value {
            match node {
                Node::Null => Value::Null,
                Node::Bool(bool) => Value::Bool(*bool),
                Node::Number(number) => Value::Number(number.clone()),
                Node::Text(text) => Value::String(text.clone()),
                Node::List(items) => items.iter().map(of).collect(),
                Node::Object(object) => object.entries().map(|(key, node)| (key.to_owned(), of(node))).collect(),
            }
        }
        of(&read::read(&fixture(name)).unwrap())
    }

    /// Pointers to all values.
    fn pointers(value: &Value, pointer: &str, all: &mut Vec<String>) {
        all.push(pointer.to_owned());
        match value {
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(n, item)| pointers(item, &format!("{pointer}/{n}"), all))
            }
            Value::Object(fields) => {
                fields.iter().for_each(|(key, item)| pointers(item, &at::child(pointer, key), all))
            }
            _ => {}
        }
    }

    fn palette(pick: usize, other: &str, copy: &Value, text: &str) -> Value {
        match pick % 24 {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(-1),
            3 => json!(1e300),
            4 => json!(u64::MAX),
            5 => json!(""),
            6 => json!([]),
            7 => json!({}),
            8 | 9 => json!({"$ref": format!("#{other}")}),
            10 => json!({"$ref": "elsewhere.yaml#/x"}),
            11 | 12 => copy.clone(),
            13 => json!([copy]),
            14 => json!({"allOf": [copy, {"$ref": format!("#{other}")}]}),
            15 => json!(text),
            16 => json!({text: copy}),
            17 => json!("{x} {{y}} #\n\"'''\\u0000"),
            18 => json!("sk_live_abcdefghijklmnop"),
            19 => json!("x".repeat(5_000)),
            20 => json!(["null", "array", null]),
            21 => {
                json!({"type": ["object", "null"], "properties": {"__proto__": copy, "a.b": {"$ref": "#"}}, "required": [1, "a"]})
            }
            22 => (0..40).fold(json!({}), |inner, _| json!({"items": inner, "properties": {"p": true}})),
            _ => json!({"kind": "LIST", "ofType": {"kind": "LIST", "ofType": copy}}),
        }
    }

    fn mutate(document: &mut Value, seed: &(usize, usize, usize, String)) {
        let (at, other, pick, text) = seed;
        let mut all = Vec::new();
        pointers(document, "", &mut all);
        let (at, other) = (&all[at % all.len()], &all[other % all.len()]);
        let copy = document.pointer(other).cloned().unwrap_or_default();
        if pick % 25 == 24 {
            // Its key is gone, or has another name.
            let (parent, key) = at.rsplit_once('/').unwrap_or_default();
            let key = key.replace("~1", "/").replace("~0", "~");
            if let Some(Value::Object(fields)) = document.pointer_mut(parent) {
                let value = fields.remove(&key);
                fields.insert(text.clone(), value.unwrap_or_default());
            }
        } else if let Some(place) = document.pointer_mut(at) {
            *place = palette(*pick, other, &copy, text);
        }
    }

    /// Nothing panics, and what is made can be used.
    fn holds(bytes: &[u8]) {
        let options = Options { server: Some("https://a.example".to_owned()), skip_broken: true, ..Options::default() };
        match import(bytes, &options) {
            Err(problems) => assert!(!problems.is_empty()),
            Ok(made) => {
                let text = made.to_toml();
                let (config, diagnostics) = check(&text);
                // Whatever else is in it, each tool is one that is accepted.
                let config = config.unwrap_or_else(|| panic!("{diagnostics:?}\n{text}"));
                assert_eq!(config.tools.len(), made.tools().count());
            }
        }
        if let Err(problems) = import(bytes, &Options { skip_broken: false, ..options }) {
            assert!(problems.iter().all(|problem| !problem.message.contains('\n')), "{problems:?}");
        }
    }

    fn seeds() -> impl Strategy<Value = Vec<(usize, usize, usize, String)>> {
        let text = prop_oneof![
            any::<String>(),
            "[a-z]{1,8}",
            Just("$ref".to_owned()),
            Just("properties".to_owned()),
            Just("x-api-key".to_owned()),
            Just("Idempotency-Key".to_owned()),
        ];
        prop::collection::vec((any::<usize>(), any::<usize>(), any::<usize>(), text), 1..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(40), ..ProptestConfig::default() })]

        #[test]
        fn a_changed_document_makes_tools_or_problems(fixture in 0_usize..3, seeds in seeds()) {
            let name = ["shop.openapi.yaml", "tracker.openapi.json", "desk.graphql.json"][fixture];
            let mut document = value(name);
            seeds.iter().for_each(|seed| mutate(&mut document, seed));
            holds(document.to_string().as_bytes());
        }

        #[test]
        fn a_changed_text_makes_tools_or_problems(fixture_of in 0_usize..2, at in any::<usize>(), length in 0_usize..40, text in prop_oneof![any::<String>(), "[\\[\\]{}:,&*!|>'\"%@` \\n\\t#-]{0,12}"]) {
            let mut bytes = fixture(["shop.openapi.yaml", "tracker.openapi.json"][fixture_of]);
            let at = at % bytes.len();
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, text.bytes());
            holds(&bytes);
        }
    }
}
