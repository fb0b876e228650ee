use super::*;
use crate::tree::Object;

fn shown(node: &Node) -> String {
    match node {
        Node::Null => "null".to_owned(),
        Node::Bool(bool) => bool.to_string(),
        Node::Number(number) => number.to_string(),
        Node::Text(text) => format!("{text:?}"),
        Node::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(",")),
        Node::Object(object) => {
            let entries: Vec<_> = object.entries().map(|(key, node)| format!("{key:?}:{}", shown(node))).collect();
            format!("{{{}}}", entries.join(","))
        }
    }
}

#[test]
fn json_and_yaml_are_read_in_their_order() {
    for (text, expected) in [
        (
            r#"{"z": 1, "a": [true, null, "x", -2, 1.5, 18446744073709551615]}"#,
            r#"{"z":1,"a":[true,null,"x",-2,1.5,18446744073709551615]}"#,
        ),
        ("\u{feff}{\"a\": {}}", r#"{"a":{}}"#),
        ("z: 1\na: [true, ~, x, -2, 1.5, 'yes', \"\\n\"]\n", r#"{"z":1,"a":[true,null,"x",-2,1.5,"yes","\n"]}"#),
        ("200: a\n0x10: b\nyes: c\n1.0: d\n", r#"{"200":"a","0x10":"b","yes":"c","1.0":"d"}"#),
        (
            "- 0o17\n- 0x1F\n- 3.0\n- 1e3\n- 1_000\n- 2026-01-01\n- .5\n- +7\n- !!str 5\n- 1.2.3\n- '5'\n- e5\n",
            r#"[15,31,3.0,1000.0,"1_000","2026-01-01",0.5,7,"5","1.2.3","5","e5"]"#,
        ),
        ("a: &x {b: 1}\nc: *x\nd: [*x, *x]\n", r#"{"a":{"b":1},"c":{"b":1},"d":[{"b":1},{"b":1}]}"#),
        ("base: &b {a: 1, b: 2}\nx:\n  <<: *b\n  b: 3\n  c: 4\n", r#"{"base":{"a":1,"b":2},"x":{"b":3,"c":4,"a":1}}"#),
        (
            "a: &b {a: 1}\nc: &d {a: 2, e: 5}\nx: {<<: [*b, *d]}\ny: {'<<': 1}",
            r#"{"a":{"a":1},"c":{"a":2,"e":5},"x":{"a":1,"e":5},"y":{"<<":1}}"#,
        ),
        ("text: |\n  a\n  b\nfolded: >-\n  a\n  b\nempty:\n", r#"{"text":"a\nb\n","folded":"a b","empty":null}"#),
        ("&k key: *k\n", r#"{"key":"key"}"#),
        ("--- \na: 1\n...\n", r#"{"a":1}"#),
        ("", "null"),
    ] {
        assert_eq!(read(text.as_bytes()).as_ref().map(shown).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    let deep_json = format!("{}1{}", "[".repeat(101), "]".repeat(101));
    let deep_yaml = (0..101).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>();
    let very_deep_json = "[".repeat(1_000_000);
    let very_deep_yaml = format!("a: {}", "[".repeat(1_000_000));
    let deep_alias =
        format!("a: &a {}1{}\nb: {}*a{}\n", "[".repeat(60), "]".repeat(60), "[".repeat(60), "]".repeat(60));
    for (text, code, position, message) in [
        ("{\"a\": 1,\n \"b\"}", Code::Syntax, (2, 5), "not JSON: expected"),
        ("{\"a\": 1} x", Code::Syntax, (1, 10), "not JSON: trailing"),
        ("{\"a\": 1e999}", Code::Syntax, (1, 11), "not JSON: number out of range"),
        ("{\"a\": NaN}", Code::Syntax, (1, 7), "not JSON"),
        ("{\"a\": 1,\n \"a\": 2}", Code::DuplicateKey, (2, 8), "the key \"a\" is there twice"),
        ("a: 1\nb: 2\na: 3\n", Code::DuplicateKey, (4, 1), "the key \"a\" is there twice"),
        ("a: [1\nb: 2", Code::Syntax, (2, 2), "neither JSON nor YAML"),
        ("a: &x\n  b: *x\n", Code::CyclicReference, (2, 6), "this alias stands inside"),
        ("a: *nosuch\n", Code::Syntax, (1, 4), "neither JSON nor YAML"),
        ("? [a]\n: b\n", Code::Syntax, (1, 3), "a key here"),
        ("? {a: 1}\n: b\n", Code::Syntax, (1, 3), "a key here"),
        ("a: .nan\n", Code::Syntax, (1, 4), "JSON has no such number"),
        ("<<: 1\n", Code::Syntax, (2, 1), "<< takes a mapping"),
        ("a: 1\n---\nb: 2\n", Code::Syntax, (2, 1), "there is more than one"),
        (&deep_json, Code::TooDeep, (1, 101), "the document nests deeper"),
        (&very_deep_json, Code::TooDeep, (1, 101), "the document nests deeper"),
        (&deep_yaml, Code::TooDeep, (101, 101), "the document nests deeper"),
        (&very_deep_yaml, Code::Syntax, (1, 259), "neither JSON nor YAML: recursion limit"),
        (&deep_alias, Code::TooDeep, (2, 64), "the document nests deeper"),
    ] {
        let problem = read(text.as_bytes()).unwrap_err();
        assert!(problem.message.starts_with(message), "{text:.80}: {problem}");
        assert_eq!((problem.code, problem.position), (code, Some(position)), "{text:.80}: {problem}");
    }
    let problem = read(b"{\"a\":\n\"\xff\"}").unwrap_err();
    assert_eq!((problem.code, problem.position), (Code::Syntax, Some((2, 2))));
}

#[test]
fn a_document_that_unfolds_to_more_than_is_read_is_refused_in_time() {
    let started = std::time::Instant::now();
    let mut lists = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, before) in ('b'..='j').zip('a'..) {
        lists.push_str(&format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 10].join(", ")));
    }
    let texts = format!("a: &a {}\nb: [{}]\n", "x".repeat(1_000_000), vec!["*a"; 1_000].join(", "));
    let flat = format!("[{}]", vec!["1"; 3_000_000].join(","));
    let yaml_flat = format!("a: [{}]", vec!["1"; 3_000_000].join(","));
    let merges = format!(
        "a: &a {{{}}}\nb: [{}]\n",
        (0..1_001).map(|n| format!("k{n}: 1")).collect::<Vec<_>>().join(", "),
        vec!["{<<: *a}"; 10_000].join(", ")
    );
    let huge = " ".repeat(MAX_BYTES + 1);
    for (name, text) in [
        ("lists", &lists),
        ("texts", &texts),
        ("json", &flat),
        ("yaml", &yaml_flat),
        ("merges", &merges),
        ("huge", &huge),
    ] {
        let problem = read(text.as_bytes()).unwrap_err();
        assert_eq!(problem.code, Code::TooLarge, "{name}: {problem}");
    }
    // Without optimisation, with room for a busy machine: what this guards against takes hours.
    assert!(started.elapsed().as_secs() < 120, "{:?}", started.elapsed());
}

#[test]
fn an_object_of_many_keys_is_read_in_time() {
    let entries: Vec<String> = (0..300_000).map(|n| format!("\"k{n}\": 1")).collect();
    let node = read(format!("{{{}}}", entries.join(",")).as_bytes()).unwrap();
    assert_eq!(node.as_object().map(Object::len), Some(300_000));
    assert_eq!(node.get("k299999"), Some(&Node::Number(1.into())));
}
