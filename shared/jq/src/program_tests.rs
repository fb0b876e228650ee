use super::*;
use crate::{MAX_INPUT_DEPTH, MAX_OUTPUT_DEPTH};
use proptest::prelude::*;
use serde_json::json;

fn first(source: &str, input: Value) -> Result<Value, RunError> {
    Program::compile(source).unwrap_or_else(|error| panic!("{source}: {error:?}")).first(&input)
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(null), |inner, _| json!([inner]))
}

#[test]
fn programs_give_what_jq_gives() {
    let order = json!({"id": 7, "items": [{"sku": "a", "qty": 2, "price": 1.5}, {"sku": "b", "qty": 1, "price": 10}], "tags": {}});
    for (source, expected) in [
        (".", order.clone()),
        (".id", json!(7)),
        ("{id, n: (.items | length)}", json!({"id": 7, "n": 2})),
        ("[.items[] | .sku]", json!(["a", "b"])),
        ("[.items[] | .qty * .price] | add", json!(13.0)),
        (".items | map(select(.qty > 1)) | first | .sku", json!("a")),
        (".missing // \"none\"", json!("none")),
        ("\"\\(.id)-\\(.items[0].sku)\"", json!("7-a")),
        (".items | group_by(.qty) | map(length)", json!([1, 1])),
        ("reduce .items[] as $i (0; . + $i.qty)", json!(3)),
        ("[foreach .items[] as $i (0; . + $i.qty)]", json!([2, 3])),
        ("[range(3)]", json!([0, 1, 2])),
        ("[range(5; 0; -2)]", json!([5, 3, 1])),
        ("[range(0; 1; 0.5)]", json!([0, 0.5])),
        ("[limit(3; repeat(1))]", json!([1, 1, 1])),
        ("[1 | recurse(if . < 3 then . + 1 else empty end)]", json!([1, 2, 3])),
        ("def fac: if . < 2 then 1 else . * (. - 1 | fac) end; 10 | fac", json!(3628800)),
        ("walk(if type == \"number\" then . + 1 else . end) | .id", json!(8)),
        ("[paths] | length", json!(11)),
        ("getpath([\"items\", 1, \"sku\"])", json!("b")),
        ("setpath([\"tags\", \"x\"]; 1) | .tags", json!({"x": 1})),
        ("delpaths([[\"items\"], [\"tags\"]])", json!({"id": 7})),
        ("del(.items, .tags)", json!({"id": 7})),
        ("to_entries | map(.key)", json!(["id", "items", "tags"])),
        (".items |= map(.qty) | .items", json!([2, 1])),
        ("(.. | select(type == \"number\")) |= 0 | .items[0]", json!({"sku": "a", "qty": 0, "price": 0})),
        ("\"2026-01-01T00:00:00Z\" | fromdate", json!(1767225600)),
        ("1767225600 | todate", json!("2026-01-01T00:00:00Z")),
        ("\"[1,2]\" | fromjson", json!([1, 2])),
        ("\"12\" | tonumber", json!(12)),
        ("\"a,b\" | split(\",\")", json!(["a", "b"])),
        ("\"v1.2\" | test(\"^v[0-9]\")", json!(true)),
        ("\"abc\" | sub(\"b\"; \"x\")", json!("axc")),
        ("\"a b\" | @uri", json!("a%20b")),
        ("{a: 1} | tojson", json!("{\"a\":1}")),
        ("try error(\"x\") catch .", json!("x")),
        (".id as $x | [$x, $x]", json!([7, 7])),
        ("if .id > 5 then \"big\" elif .id > 1 then \"mid\" else \"small\" end", json!("big")),
        ("label $out | 1, break $out", json!(1)),
        (".items as [{$sku}] | $sku", json!("a")),
        ("[.items[].qty] | sort | .[-1]", json!(2)),
    ] {
        assert_eq!(first(source, order.clone()), Ok(expected), "{source}");
    }
}

#[test]
fn numbers_keep_their_digits() {
    for text in [
        "12345678901234567890",
        "18446744073709551615",
        "-9223372036854775808",
        "9007199254740993",
        "9223372036854775807",
        "19.99",
        "0.1",
        "1.0",
        "-0.0",
        "1e300",
        "5e-324",
        "100000000000000000000.0",
    ] {
        let input: Value = serde_json::from_str(&format!("{{\"id\":{text}}}")).unwrap();
        let expected = serde_json::to_string(&input).unwrap();
        assert_eq!(serde_json::to_string(&first(".", input.clone()).unwrap()).unwrap(), expected);
        assert_eq!(serde_json::to_string(&first("{id}", input).unwrap()).unwrap(), expected);
    }
    assert_eq!(first("{id: 12345678901234567890}", json!(null)), Ok(json!({"id": 12345678901234567890_u64})));
    assert_eq!(first(". + 1", json!(9007199254740992_i64)), Ok(json!(9007199254740993_i64)));
}

#[test]
fn a_mapping_must_give_one_value() {
    assert_eq!(first("empty", json!(1)), Err(RunError::NoOutput));
    assert_eq!(first(".[]", json!([1, 2])), Err(RunError::ManyOutputs));
    assert_eq!(first(".[]", json!([1])), Ok(json!(1)));
    assert_eq!(first("1, error(\"late\")", json!(1)), Err(RunError::Failed { message: "late".into() }));
}

#[test]
fn a_filter_passes_what_jq_calls_true() {
    for (source, input, expected) in [
        (".ok", json!({"ok": true}), true),
        (".ok", json!({"ok": false}), false),
        (".ok", json!({}), false),
        (".ok", json!({"ok": 0}), true),
        (".ok", json!({"ok": ""}), true),
        ("empty", json!(1), false),
        ("select(. > 1)", json!(2), true),
        (".[]", json!([false, true]), false),
    ] {
        assert_eq!(Program::compile(source).unwrap().matches(&input), Ok(expected), "{source} over {input}");
    }
    assert!(matches!(Program::compile(".a.b").unwrap().matches(&json!({"a": 1})), Err(RunError::Failed { .. })));
}

#[test]
fn errors_of_a_source_say_what_and_where() {
    for (source, offset, message) in [
        ("", Some(0), "expected term, found the end of the program"),
        (".a |", Some(4), "expected term, found the end of the program"),
        ("{a: }", Some(4), "expected term, found }"),
        (".a )", Some(3), "this is not a jq token"),
        ("[1, 2", Some(0), "closing bracket is missing for this ["),
        ("\"abc", Some(0), "closing quote is missing for this \""),
        (".a & .b", Some(3), "this is not a jq token"),
        ("if . then 1", Some(11), "expected else or end, found the end of the program"),
        (".a | nosuch(1)", Some(5), "there is no function nosuch/1"),
        (".é | nosuch", None, ""),
        ("\"é\" | nosuch", Some(7), "there is no function nosuch/0"),
        ("$x", Some(0), "there is no variable $x"),
        ("break $x", Some(6), "there is no label $x"),
        ("now", Some(0), "the function now is not available: a program has no clock"),
        (". | env.HOME", Some(4), "the function env is not available: a program has no environment"),
        ("$ENV.HOME", Some(0), "the variable $ENV is not available: a program has no environment"),
        ("debug", Some(0), "the function debug is not available: a program cannot write to the log"),
        ("debug(\"x\")", Some(0), "the function debug is not available: a program cannot write to the log"),
        ("stderr", Some(0), "the function stderr is not available: a program cannot write to the log"),
        ("halt", Some(0), "the function halt is not available: a program cannot end the process"),
        ("halt_error", Some(0), "the function halt_error is not available: a program cannot end the process"),
        ("halt(1)", Some(0), "the function halt is not available: a program cannot end the process"),
        ("[inputs]", Some(1), "the function inputs is not available: a program has one input"),
        ("input", Some(0), "the function input is not available: a program has one input"),
        ("localtime", Some(0), "the function localtime is not available: a program has no clock"),
        ("import \"a\" as a; .", Some(0), "the statement import is not available: a program cannot load modules"),
        ("include \"a\"; .", Some(0), "the statement include is not available: a program cannot load modules"),
        ("a::b", Some(0), "there is no module a"),
        ("reduce . as $x (1)", Some(0), "there is no function reduce/1"),
    ] {
        if message.is_empty() {
            assert!(Program::compile(source).is_err(), "{source}");
            continue;
        }
        let error = Program::compile(source).map(|_| ()).unwrap_err();
        assert!(error.message.starts_with(message), "{source}: {}", error.message);
        assert_eq!(error.offset, offset, "{source}: {}", error.message);
    }
}

#[test]
fn a_source_of_any_shape_leaves_the_stack_alone() {
    for piece in [
        "[",
        "(",
        "{a:",
        "-",
        "if ",
        "try ",
        "def f: ",
        ".|",
        "1+",
        "1 as $x|",
        "\"\\(",
        "reduce ",
        "label $x|",
        ".[",
        "f(",
        "not and ",
        "..|= ",
        "elif",
    ] {
        let source = piece.repeat(MAX_SOURCE_BYTES / piece.len());
        assert!(Program::compile(&source).is_err(), "{piece}");
        let complete = format!("{}1", piece.repeat((MAX_SOURCE_BYTES - 1) / piece.len()));
        assert!(Program::compile(&complete).is_err(), "{piece}");
    }
    for (open, close) in [
        ("[", "]"),
        ("(", ")"),
        ("{a:", "}"),
        ("-(", ")"),
        ("try (", ")"),
        ("if . then ", " end"),
        ("\"\\(", ")\""),
        (".[", "]"),
        ("map(", ")"),
        ("def f: ", "; ."),
    ] {
        let times = MAX_SOURCE_BYTES / (open.len() + close.len()) - 1;
        let source = format!("{}.{}", open.repeat(times), close.repeat(times));
        assert_eq!(Program::compile(&source).map(|_| ()), Err(too_deep()), "{open}");
    }
    let long = " ".repeat(MAX_SOURCE_BYTES);
    assert_eq!(Program::compile(&format!(".{long}")).unwrap_err().offset, None);
    let chain = format!("{}.", ". | ".repeat(MAX_SOURCE_DEPTH - 2));
    assert_eq!(first(&chain, json!(1)), Ok(json!(1)), "the deepest syntax runs");
    let nested_if = format!("if . == 1 then 0 {} else 2 end", "elif . == 1 then 0 ".repeat(200));
    assert_eq!(first(&nested_if, json!(3)), Ok(json!(2)));
}

#[test]
fn endless_programs_end() {
    for source in [
        "[repeat(.)]",
        "[range(infinite)]",
        "last(range(infinite))",
        "def f: f; f",
        "def f: f, f; last(f)",
        "def f: [f]; f",
        "def f: 1 + f; f",
        "def f: def g: f; g; f",
        "until(false; .)",
        "until(false; . + 1)",
        "last(recurse(.))",
        "[recurse([.])] | length",
        "last(while(true; .))",
        "reduce range(infinite) as $i (0; . + 1)",
        "reduce repeat(1) as $i (0; . + 1)",
        "last(foreach repeat(1) as $i (0; . + 1))",
        "def f: try (1 | f) catch f; f",
        "def f: (f // 1); f",
        "[limit(1000000000; repeat(1))] | length",
        "path(last(recurse(.)))",
        "def f: f | f; f",
        "def a: .,.; def b: a|a|a|a; def c: b|b|b|b; def d: c|c|c|c; last(d)",
        "any(repeat(false); .)",
        "first(repeat(empty))",
        "{a: [1]} | def f: f; .a |= f",
        "def f(g): f(g | g); f(.)",
        "def f: f; [.] | (.[] | f) |= 1",
    ] {
        let result = first(source, json!(null));
        assert!(
            matches!(result, Err(RunError::StepsExhausted | RunError::StackExhausted | RunError::OutputTooDeep)),
            "{source}: {result:?}"
        );
    }
    // Nothing after the second output is asked for.
    for source in ["repeat(.)", "path(repeat(.))", "try repeat(error(\"x\")) catch repeat(.)"] {
        assert_eq!(first(source, json!(null)), Err(RunError::ManyOutputs), "{source}");
        assert!(Program::compile(source).unwrap().matches(&json!(1)).unwrap(), "{source}");
    }
}

#[test]
fn functions_that_call_themselves_work_within_their_bounds() {
    let until = "def until2(done; step): if done then . else step | until2(done; step) end; 0";
    assert_eq!(first(&format!("{until} | until2(. >= 500; . + 1)"), json!(null)), Ok(json!(500)));
    assert_eq!(first(&format!("{until} | until2(. >= 5000; . + 1)"), json!(null)), Err(RunError::StackExhausted));
    assert_eq!(first("def f($n): if $n == 0 then 1 else f($n - 1) end; f(100000)", json!(null)), Ok(json!(1)));
    assert_eq!(
        first("def f($x; $n): if $n == 0 then 1 else f([$x]; $n - 1) end; f(0; 10000)", json!(null)),
        Ok(json!(1))
    );
    let own_walk = "def w(f): if type == \"array\" then map(w(f)) else . end | f; w(.) | length";
    assert_eq!(first(own_walk, nested(MAX_INPUT_DEPTH)), Ok(json!(1)));
}

#[test]
fn values_that_grow_without_end_are_stopped() {
    for (source, expected) in [
        ("reduce range(100000) as $i (.; [.])", RunError::OutputTooDeep),
        ("reduce range(100000) as $i (.; {a: .})", RunError::OutputTooDeep),
        ("reduce range(101) as $i (.; [.])", RunError::OutputTooDeep),
        ("last(limit(100000; recurse([.])))", RunError::OutputTooDeep),
        ("until(false; [.])", RunError::OutputTooDeep),
        ("reduce range(100) as $i (\"x\"; . + .)", RunError::OutputTooLarge),
        ("reduce range(100) as $i ([1]; . + .)", RunError::OutputTooLarge),
        ("reduce range(40) as $i ([1]; [., .])", RunError::OutputTooLarge),
        ("\"x\" * 9000000", RunError::OutputTooLarge),
        ("[range(200000) | tostring + \"a text of some forty bytes, to fill it up\"]", RunError::OutputTooLarge),
    ] {
        assert_eq!(first(source, json!(null)), Err(expected), "{source}");
    }
    assert_eq!(
        first(&format!("reduce range({MAX_OUTPUT_DEPTH}) as $i (.; [.])"), json!(null)),
        Ok(nested(MAX_OUTPUT_DEPTH))
    );
}

#[test]
fn an_input_cannot_reach_the_stack() {
    assert_eq!(first("length", nested(MAX_INPUT_DEPTH)), Ok(json!(1)));
    assert_eq!(first("length", nested(MAX_INPUT_DEPTH + 1)), Err(RunError::InputTooDeep));
    assert_eq!(first(".", nested(MAX_INPUT_DEPTH)), Err(RunError::OutputTooDeep));
    for source in [
        "walk(.) | length",
        "[..] | length",
        "[paths] | length",
        "[.. | tojson] | length",
        "tojson | fromjson | length",
        "flatten | length",
        ". == . | tojson",
        "[., .] | unique | length",
        "def d: if type == \"array\" then map(d) else . end; d | length",
        "(.. | select(. == null)) |= 1 | length",
        "to_entries | length",
        "getpath([range(100) | 0]) | length",
        "contains([])",
    ] {
        let result = first(source, nested(MAX_INPUT_DEPTH));
        assert!(result.is_ok(), "{source}: {result:?}");
    }
    for bomb in [
        "[".repeat(1_000_000),
        "{\"a\":".repeat(100_000),
        format!("\"\\\\\",#]\n{}", "[".repeat(1000)),
        format!("[\"]\"{}", ",[\"]\"".repeat(1000)),
    ] {
        for source in ["fromjson", "tonumber", "toboolean"] {
            assert!(matches!(first(source, json!(bomb)), Err(RunError::Failed { .. })), "{source}");
        }
    }
    let path: Vec<Value> = vec![json!("a"); 200_000];
    for source in ["{} | setpath($p; 1)", "{} | getpath($p)", "{} | delpaths([$p])"] {
        let source = format!(". as $p | {source}");
        assert!(matches!(first(&source, json!(path)), Err(RunError::Failed { .. })), "{source}");
    }
}

#[test]
fn text_that_is_no_json_fails_once_wherever_it_goes_wrong() {
    for text in ["many", "12 many", "{\"a\": many}", "[1, 2", "nul", "\"open", "}", "1 } 2", "\u{1f99e}", ","] {
        for source in ["fromjson", "tonumber"] {
            assert!(matches!(first(source, json!(text)), Err(RunError::Failed { .. })), "{source}: {text}");
        }
        assert_eq!(first("[fromjson?] | length < 2", json!(text)), Ok(json!(true)), "{text}");
    }
}

#[test]
fn what_json_cannot_carry_is_refused() {
    for (source, what) in [
        ("nan", "NaN"),
        ("[1 / 0]", "an infinite number"),
        ("{a: infinite}", "an infinite number"),
        ("18446744073709551616", "an integer beyond 64 bits"),
        ("18446744073709551615 + 1", "an integer beyond 64 bits"),
        ("1e999", "an infinite number"),
        ("\"a\" | tobytes", "a byte string"),
        ("{(1): 2}", "an object key that is not text"),
        ("\"/w==\" | @base64d", "text that is not UTF-8"),
    ] {
        assert_eq!(first(source, json!(null)), Err(RunError::NotJson { what }), "{source}");
    }
}

#[test]
fn a_message_holds_a_bounded_piece_of_the_input_on_one_line() {
    let input = json!({"text": "line\n".repeat(100_000)});
    let Err(RunError::Failed { message }) = first(".text + 1", input) else { panic!("must fail") };
    assert!(message.chars().count() <= MAX_MESSAGE_CHARS + 1, "{message}");
    assert!(message.ends_with('…') && !message.contains('\n'));
    assert!(matches!(first("error(null)", json!(1)), Err(RunError::Failed { .. })));
    assert!(matches!(first("error({a: 1})", json!(1)), Err(RunError::Failed { message }) if message == "{\"a\":1}"));
}

#[test]
fn a_program_is_shared_between_threads() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    let program = Program::compile(".a").unwrap();
    shared(&program);
    assert_eq!(program.source(), ".a");
    let other = program.clone();
    let there = std::thread::spawn(move || other.first(&json!({"a": 1})));
    assert_eq!(program.first(&json!({"a": 2})), Ok(json!(2)));
    assert_eq!(there.join().unwrap(), Ok(json!(1)));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn identity_changes_nothing(input in any_json()) {
        let output = first(".", input.clone()).unwrap();
        prop_assert_eq!(serde_json::to_string(&output).unwrap(), serde_json::to_string(&input).unwrap());
    }

    #[test]
    fn json_in_text_comes_back(input in any_json()) {
        prop_assert_eq!(first("tojson | fromjson", input.clone()).unwrap(), input);
    }

    #[test]
    fn no_source_panics(source in "[\\[\\](){}.|,:;$\"\\\\a-f0-9 +*/=<>@?#-]{0,40}") {
        if let Ok(program) = Program::compile(&source) {
            let _ = program.first(&json!({"a": [1, "x", null], "b": {"c": 1.5}}));
        }
    }

    #[test]
    fn an_offset_lies_in_the_source_on_a_character(source in "[\\[\\](){}.|,:;$\"\\\\a-zé ]{0,40}") {
        if let Err(CompileError { offset: Some(offset), .. }) = Program::compile(&source) {
            prop_assert!(source.is_char_boundary(offset));
        }
    }
}
