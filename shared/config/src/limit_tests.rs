use super::*;
use crate::compiled::Compiled;
use crate::diagnostic::Position;
use crate::document::check;
use crate::model::Config;
use serde_json::json;

const FULL: &str = r#"
[tools.free]
method = "GET"
url = "https://a.example"

[tools.own]
method = "GET"
url = "https://a.example"
limit = { rate = "100/m", burst = 20 }
[tools.own.circuit]
failures = 10
window = "5m"
share = "50%"
open = "15m"
probes = 3

[tools.keyed]
method = "GET"
url = "https://a.example"
auth = { secret = "clawbridge/tools/a" }
limit = { rate = "5000/h", per = "credential" }
circuit = {}

[tools.one]
method = "GET"
url = "https://a.example"
limit = "github"
[tools.two]
method = "GET"
url = "https://a.example"
limit = "github"

[limits]
max_hops = 3
[limits.github]
rate = "30/s"
"#;

fn compiled(text: &str) -> Compiled {
    check(text).0.expect("a document without errors").compile().expect("the same in JSON")
}

#[test]
fn limits_and_circuits_are_read_with_their_defaults() {
    let compiled = compiled(FULL);
    let limit = |rate: &str, burst, per| Limit {
        rate: Some(rate.parse().unwrap()),
        burst: Some(burst),
        concurrency: None,
        per,
    };
    let of = |tool: &str| compiled.tool(tool).expect("a tool").limit().cloned();
    assert_eq!(of("free"), None);
    assert_eq!(of("own"), Some(CompiledLimit { shared: None, limit: limit("100/m", 20, Per::Tool) }));
    // The calls of a second, but never none.
    assert_eq!(of("keyed"), Some(CompiledLimit { shared: None, limit: limit("5000/h", 1, Per::Credential) }));
    let github = CompiledLimit { shared: Some("github".into()), limit: limit("30/s", 30, Per::Limit) };
    assert_eq!((of("one"), of("two")), (Some(github.clone()), Some(github)));
    assert_eq!(compiled.config().limits.max_hops, 3);

    let of = |tool: &str| compiled.tool(tool).expect("a tool").circuit().copied();
    assert_eq!(of("free"), None);
    assert_eq!(of("keyed"), Some(Circuit::default()));
    let own = Circuit { failures: 10, window: Span(300), share: Some(Share(50)), open: Span(900), probes: 3 };
    assert_eq!(of("own"), Some(own));
}

#[test]
fn concurrency_and_retry_budgets_are_read_with_their_defaults() {
    let text = r#"
[tools.few]
method = "GET"
url = "https://a.example"
limit = { concurrency = 5 }
retry_budget = {}

[tools.both]
method = "GET"
url = "https://a.example"
auth = { secret = "clawbridge/tools/a" }
limit = "api"
retry_budget = { share = "5%", rate = "90/m" }

[limits.api]
rate = "30/s"
concurrency = 100
per = "credential"
"#;
    let config = check(text).0.unwrap();
    assert_eq!(Config::from_json(&config.to_json()).as_ref(), Ok(&config));
    let compiled = compiled(text);
    let of = |tool: &str| compiled.tool(tool).expect("a tool").limit().map(|compiled| compiled.limit);
    assert_eq!(of("few"), Some(Limit { rate: None, burst: None, concurrency: Some(5), per: Per::Tool }));
    assert_eq!(of("few").and_then(|limit| limit.bucket()), None);
    let both = of("both").expect("a limit");
    assert_eq!((both.concurrency, both.per), (Some(100), Per::Credential));
    assert_eq!(both.bucket(), Some(("30/s".parse().unwrap(), 30)));

    let of = |tool: &str| compiled.tool(tool).expect("a tool").retry_budget().map(|budget| (*budget, budget.burst()));
    let budget = |share, rate: &str| RetryBudget { share: Share(share), rate: rate.parse().unwrap() };
    assert_eq!(of("few"), Some((budget(20, "1/s"), 1)));
    assert_eq!(of("both"), Some((budget(5, "90/m"), 1)));
}

#[test]
fn a_document_with_limits_as_json_is_the_same_document() {
    let config = check(FULL).0.unwrap();
    assert_eq!(Config::from_json(&config.to_json()).as_ref(), Ok(&config));
    assert_eq!(serde_json::from_slice::<Config>(&config.to_json()).unwrap(), config);
}

#[test]
fn a_document_without_limits_is_written_as_it_was_before_there_were_any() {
    let text = "[tools.t]\nmethod = \"GET\"\nurl = \"https://a.example\"\n[limits]\nmax_hops = 3";
    let json: serde_json::Value = serde_json::from_slice(&check(text).0.unwrap().to_json()).unwrap();
    assert_eq!(json["limits"], json!({"max_hops": 3}));
    let keys: Vec<&String> = json["tools"]["t"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["attempts", "description", "effect", "max_response", "method", "timeout", "url"]);
}

#[test]
fn rates_times_and_shares_are_whole_numbers_with_a_unit_within_the_range() {
    for (text, expected) in [
        ("10/s", Ok((10, 1))),
        ("1/h", Ok((1, 3600))),
        ("1000000/m", Ok((1_000_000, 60))),
        ("0/s", Err(UnitError::OutOfRange)),
        ("1000001/s", Err(UnitError::OutOfRange)),
        ("99999999999/s", Err(UnitError::OutOfRange)),
        ("10", Err(UnitError::Unreadable)),
        ("10/d", Err(UnitError::Unreadable)),
        ("10 /s", Err(UnitError::Unreadable)),
        ("1.5/s", Err(UnitError::Unreadable)),
        ("-1/s", Err(UnitError::Unreadable)),
        ("/s", Err(UnitError::Unreadable)),
        ("", Err(UnitError::Unreadable)),
    ] {
        let rate = text.parse::<Rate>();
        assert_eq!(rate.map(|rate| (rate.calls(), rate.period().as_secs())), expected, "{text}");
        assert!(rate.is_err() || rate.unwrap().to_string() == text);
    }
    for (text, expected) in [
        ("60s", Ok("60s")),
        ("5m", Ok("300s")),
        ("4294967296s", Err(UnitError::OutOfRange)),
        ("1h", Err(UnitError::Unreadable)),
        ("500ms", Err(UnitError::Unreadable)),
    ] {
        assert_eq!(text.parse::<Span>().map(|span| span.to_string()), expected.map(str::to_owned), "{text}");
    }
    for (text, expected) in [
        ("1%", Ok(1)),
        ("100%", Ok(100)),
        ("0%", Err(UnitError::OutOfRange)),
        ("101%", Err(UnitError::OutOfRange)),
        ("300%", Err(UnitError::OutOfRange)),
        ("50", Err(UnitError::Unreadable)),
        ("0.5%", Err(UnitError::Unreadable)),
    ] {
        assert_eq!(text.parse::<Share>().map(Share::percent), expected, "{text}");
    }
}

/// Code, line, column and path, and a part of what is said.
#[test]
fn every_problem_is_told_with_its_code_and_place_and_what_to_do() {
    let tool = |lines: &str| format!("[tools.t]\nmethod = \"GET\"\nurl = \"https://a.example\"\n{lines}");
    let cases: Vec<(String, &str, usize, usize, &str, &str)> = vec![
        (tool("limit = 10"), "WRONG_TYPE", 4, 9, "tools.t.limit", "must be a table, or the name of a limit"),
        (tool("limit = {}"), "MISSING_KEY", 4, 1, "tools.t.limit", "neither rate nor concurrency, and limits nothing"),
        (
            tool("limit = { concurrency = 0 }"),
            "OUT_OF_RANGE",
            4,
            25,
            "tools.t.limit.concurrency",
            "from 1 to 100, not 0",
        ),
        (tool("limit = { concurrency = 101 }"), "OUT_OF_RANGE", 4, 25, "tools.t.limit.concurrency", "from 1 to 100"),
        (
            tool("limit = { concurrency = \"5\" }"),
            "WRONG_TYPE",
            4,
            25,
            "tools.t.limit.concurrency",
            "must be an integer",
        ),
        (
            tool("limit = { concurrency = 5, burst = 2 }"),
            "INVALID_VALUE",
            4,
            36,
            "tools.t.limit.burst",
            "says nothing without tools.t.limit.rate; leave burst out",
        ),
        (tool("limit = { concurency = 5, rate = \"1/s\" }"), "UNKNOWN_KEY", 4, 11, "tools.t.limit.concurency", "did you mean \"concurrency\"?"),
        (tool("concurrency = 5"), "UNKNOWN_KEY", 4, 1, "tools.t.concurrency", "has no key"),
        (tool("retry_budget = 20"), "WRONG_TYPE", 4, 16, "tools.t.retry_budget", "must be a table"),
        (tool("retry_budget = { per_second = 1 }"), "UNKNOWN_KEY", 4, 18, "tools.t.retry_budget.per_second", "its keys are share"),
        (tool("retry_budget = { share = 0.2 }"), "WRONG_TYPE", 4, 26, "tools.t.retry_budget.share", "must be a string"),
        (tool("retry_budget = { share = \"101%\" }"), "OUT_OF_RANGE", 4, 26, "tools.t.retry_budget.share", "from 1% to 100%"),
        (tool("retry_budget = { rate = \"1\" }"), "INVALID_RATE", 4, 25, "tools.t.retry_budget.rate", "such as"),
        (
            tool("limit = { rat = 1, rate = \"1/s\" }"),
            "UNKNOWN_KEY",
            4,
            11,
            "tools.t.limit.rat",
            "did you mean \"rate\"?",
        ),
        (tool("limit = { rate = 10 }"), "WRONG_TYPE", 4, 18, "tools.t.limit.rate", "must be a string"),
        (tool("limit = { rate = \"10\" }"), "INVALID_RATE", 4, 18, "tools.t.limit.rate", "such as \"10/s\""),
        (
            tool("limit = { rate = \"0/s\" }"),
            "OUT_OF_RANGE",
            4,
            18,
            "tools.t.limit.rate",
            "from 1 to 1000000 calls, not 0/s",
        ),
        (
            tool("limit = { rate = \"1/s\", burst = 0 }"),
            "OUT_OF_RANGE",
            4,
            33,
            "tools.t.limit.burst",
            "from 1 to 100000, not 0",
        ),
        (
            tool("limit = { rate = \"1/s\", per = \"limit\" }"),
            "INVALID_VALUE",
            4,
            31,
            "tools.t.limit.per",
            "none of tool, credential",
        ),
        (
            tool("limit = { rate = \"1/s\", per = \"credentials\" }"),
            "INVALID_VALUE",
            4,
            31,
            "tools.t.limit.per",
            "did you mean \"credential\"?",
        ),
        (
            tool("limit = { rate = \"1/s\", per = \"credential\" }"),
            "INVALID_VALUE",
            4,
            31,
            "tools.t.limit.per",
            "has no auth; leave per out",
        ),
        (
            tool("limit = \"github\""),
            "UNKNOWN_LIMIT",
            4,
            9,
            "tools.t.limit",
            "not declared; declare it as [limits.github]",
        ),
        (
            tool("limit = \"gihub\"\n[limits.github]\nrate = \"1/s\""),
            "UNKNOWN_LIMIT",
            4,
            9,
            "tools.t.limit",
            "did you mean \"github\"?",
        ),
        (tool("limit = \"max_hops\"\n[limits]\nmax_hops = 1"), "UNKNOWN_LIMIT", 4, 9, "tools.t.limit", "not declared"),
        (tool("limit = \"g\"\n[limits.g]\nrate = \"x\""), "INVALID_RATE", 6, 8, "limits.g.rate", "such as"),
        (
            tool("limit = \"g\"\n[limits.g]\nrate = \"1/s\"\nper = \"credential\""),
            "INVALID_VALUE",
            4,
            9,
            "tools.t.limit",
            "limits.g is by credential",
        ),
        (
            "[tools.a]\nmethod = \"GET\"\nurl = \"https://a.example\"\nauth.secret = \"clawbridge/tools/a\"\nlimit = { rate = \"1/s\", per = \"credential\" }\n\
             [tools.b]\nmethod = \"GET\"\nurl = \"https://a.example\"\nauth.secret = \"clawbridge/tools/a\"\nlimit = { rate = \"2/s\", per = \"credential\" }"
                .into(),
            "INVALID_VALUE",
            10,
            1,
            "tools.b.limit",
            "tools.a.limit are by the same credential",
        ),
        (tool("circuit = 5"), "WRONG_TYPE", 4, 11, "tools.t.circuit", "must be a table"),
        (tool("circuit = { fail = 1 }"), "UNKNOWN_KEY", 4, 13, "tools.t.circuit.fail", "its keys are failures"),
        (tool("circuit = { failures = 0 }"), "OUT_OF_RANGE", 4, 24, "tools.t.circuit.failures", "from 1 to 50"),
        (
            tool("circuit = { window = \"0s\" }"),
            "OUT_OF_RANGE",
            4,
            22,
            "tools.t.circuit.window",
            "from 1s to 3600s, not 0s",
        ),
        (tool("circuit = { window = \"1h\" }"), "INVALID_DURATION", 4, 22, "tools.t.circuit.window", "such as \"30s\""),
        (
            tool("circuit = { open = \"9s\" }"),
            "OUT_OF_RANGE",
            4,
            20,
            "tools.t.circuit.open",
            "from 10s to 900s, not 9s",
        ),
        (tool("circuit = { probes = 11 }"), "OUT_OF_RANGE", 4, 22, "tools.t.circuit.probes", "from 1 to 10"),
        (tool("circuit = { share = \"0%\" }"), "OUT_OF_RANGE", 4, 21, "tools.t.circuit.share", "from 1% to 100%"),
        (tool("circuit = { share = \"half\" }"), "INVALID_VALUE", 4, 21, "tools.t.circuit.share", "such as \"50%\""),
        ("limits = 1".into(), "WRONG_TYPE", 1, 10, "limits", "must be a table"),
        ("[limits]\nmax_hop = 1".into(), "UNKNOWN_KEY", 2, 1, "limits.max_hop", "did you mean \"max_hops\"?"),
        ("[limits]\nx = 1".into(), "UNKNOWN_KEY", 2, 1, "limits.x", "as tables [limits.NAME]"),
        ("[limits]\nmax_hops = {}".into(), "WRONG_TYPE", 2, 1, "limits.max_hops", "must be an integer"),
        ("[limits.Git]\nrate = \"1/s\"".into(), "INVALID_NAME", 1, 9, "limits.Git", "cannot be the name of a limit"),
        (
            "[limits.g]\nrate = \"1/s\"\nper = \"tool\"".into(),
            "INVALID_VALUE",
            3,
            7,
            "limits.g.per",
            "none of limit, credential",
        ),
    ];
    for (text, code, line, column, path, part) in cases {
        let (config, diagnostics) = check(&text);
        let [diagnostic] = &diagnostics[..] else { panic!("{text}\n{diagnostics:?}") };
        assert!(config.is_none(), "{text}");
        let place = (diagnostic.code.as_str(), diagnostic.position, diagnostic.path.as_str());
        assert_eq!(place, (code, Some(Position { line, column }), path), "{text}\n{diagnostic}");
        assert!(diagnostic.to_string().contains(part), "{text}\n{diagnostic}");
    }
}

#[test]
fn limits_that_tools_share_are_bounded() {
    let text: String = (0..=MAX_SHARED).map(|n| format!("[limits.l{n}]\nrate = \"1/s\"\n")).collect();
    let (config, diagnostics) = check(&text);
    assert!(config.is_none());
    assert_eq!((diagnostics.len(), diagnostics[0].code), (1, Code::TooLarge));
}
