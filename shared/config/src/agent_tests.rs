use super::*;
use crate::diagnostic::Severity;
use crate::document::check;

const ROUTE: &str = "[[routes]]\nname = \"r\"\nsource = \"s\"\n";

#[test]
fn an_agent_is_declared_by_its_name_alone_and_waited_for_a_day() {
    let text = format!(
        "[agents.main]\n[agents.night]\ndescription = \"d\"\nwait = \"7d\"\nanswer_within = \"90m\"\n{ROUTE}agent = \"main\""
    );
    let (config, diagnostics) = check(&text);
    assert_eq!(diagnostics, []);
    let config = config.unwrap();
    assert_eq!(config.agents["main"], Agent::default());
    assert_eq!(config.agents["main"].wait.to_string(), "1d");
    let night = &config.agents["night"];
    assert_eq!((night.wait.to_string(), night.answer_within.unwrap().to_string()), ("7d".into(), "90m".into()));
    let route = &config.routes[0];
    assert_eq!((&route.target, route.input.as_str()), (&Target::Agent("main".into()), ".body"));
    let json = String::from_utf8(config.to_json()).unwrap();
    assert!(json.contains("\"agent\":\"main\"") && !json.contains("\"tool\":"), "{json}");
    assert_eq!(crate::Config::from_json(json.as_bytes()).as_ref(), Ok(&config));
    assert_eq!(serde_json::from_str::<crate::Config>(&json).unwrap(), config);
    let compiled = config.compile().unwrap();
    assert_eq!((compiled.agent("night").wait, compiled.agent("other")), (night.wait, Agent::default()));
}

#[test]
fn what_is_wrong_with_an_agent_or_a_route_to_one_is_told_with_its_place() {
    let tool = "tools.list = { method = \"GET\", url = \"https://a.example\" }\n";
    let rows = [
        ("agents = 1".to_owned(), "WRONG_TYPE", 1, 10, "agents", None),
        ("[agents]\nmain = 1".to_owned(), "WRONG_TYPE", 2, 8, "agents.main", None),
        ("[agents.Main]".to_owned(), "INVALID_NAME", 1, 9, "agents.Main", None),
        (
            "[agents.main]\nwiat = \"1h\"".to_owned(),
            "UNKNOWN_KEY",
            2,
            1,
            "agents.main.wiat",
            Some("did you mean \"wait\"?"),
        ),
        ("[agents.main]\nwait = \"soon\"".to_owned(), "INVALID_DURATION", 2, 8, "agents.main.wait", None),
        ("[agents.main]\nwait = \"15d\"".to_owned(), "OUT_OF_RANGE", 2, 8, "agents.main.wait", None),
        ("[agents.main]\nanswer_within = \"0s\"".to_owned(), "OUT_OF_RANGE", 2, 17, "agents.main.answer_within", None),
        ("[agents.main]\nanswer_within = \"2d\"".to_owned(), "OUT_OF_RANGE", 2, 17, "agents.main.answer_within", None),
        (
            format!("agents.main = {{}}\n{ROUTE}agent = \"mian\""),
            "UNKNOWN_AGENT",
            5,
            9,
            "routes[0].agent",
            Some("did you mean \"main\"?"),
        ),
        (
            format!("{ROUTE}agent = \"main\""),
            "UNKNOWN_AGENT",
            4,
            9,
            "routes[0].agent",
            Some("declare it: [agents.main]"),
        ),
        (
            format!("agents.main = {{}}\n{tool}{ROUTE}agent = \"main\"\ntool = \"list\""),
            "KEY_NOT_ALLOWED",
            6,
            1,
            "routes[0].agent",
            None,
        ),
        (format!("agents.main = {{}}\n{ROUTE}agent = 1"), "WRONG_TYPE", 5, 9, "routes[0].agent", None),
        (ROUTE.to_owned(), "MISSING_KEY", 1, 1, "routes[0].tool", None),
    ];
    for (text, code, line, column, path, suggestion) in rows {
        let (config, diagnostics) = check(&text);
        let [found] = &diagnostics[..] else { panic!("{text}: {diagnostics:?}") };
        let at = found.position.unwrap();
        assert_eq!(
            (found.code.as_str(), at.line, at.column, found.path.as_str()),
            (code, line, column, path),
            "{text}"
        );
        assert_eq!(config.is_some(), found.severity == Severity::Warning, "{text}");
        if let Some(suggestion) = suggestion {
            assert_eq!(found.suggestion.as_deref(), Some(suggestion), "{text}");
        }
    }
    let many: String = (0..=MAX_AGENTS).map(|n| format!("[agents.a{n}]\n")).collect();
    assert_eq!(check(&many).1[0].code, Code::TooLarge);
}
