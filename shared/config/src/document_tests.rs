use super::*;
use crate::diagnostic::{Position, Severity};
use crate::model::{Auth, Carrier, CatchUp, Credential, Effect, GithubLog, Method, OnParked, Target, Tool};
use proptest::prelude::*;
use serde_json::json;

const FULL: &str = r#"
[tools.record_payment]
description = "Writes a payment down"
method = "POST"
url = "https://api.example.com/v1/customers/{customer}/payments"
query = { expand = "customer", limit = 10, all = true }
headers = { "x-api-version" = "2026-01-01" }
body = '{amount, currency}'
auth = { secret = "clawbridge/tools/crm", header = "x-api-key" }
timeout = "1500ms"
attempts = 3
effect = "keyed"
idempotency_header = "Idempotency-Key"
idempotency_key = '.payment'
max_response = "1MiB"
input = { type = "object", required = ["customer"], properties = { customer = { type = "string" } } }

result = '.answer.payment'

[tools.record_payment.output]
type = "object"

[tools.list]
method = "GET"
url = "bridge:/api/v1/status"

[[routes]]
name = "stripe-payments"
source = "stripe"
type = "payment_intent.*"
order = '.body.data.object.customer'
order_on_parked = "skip"
filter = '.body.data.object.amount > 0'
tool = "record_payment"
input = '{customer: .body.data.object.customer}'

[[routes]]
name = "all"
source = "bridge"
tool = "list"

[catch_up.github]
provider = "github"
hook = "repos/acme/shop/hooks/123456"
secret = "clawbridge/tools/github"

[catch_up.ghes]
provider = "github"
hook = "orgs/acme/hooks/7"
secret = "clawbridge/tools/ghes"
api = "https://github.example/api/v3/"

[network]
allow = ["10.0.0.0/8", "127.0.0.1"]

[limits]
max_hops = 3
"#;

#[test]
fn a_document_is_read_with_its_defaults() {
    let (config, diagnostics) = check(FULL);
    assert_eq!(diagnostics, []);
    let config = config.unwrap();
    assert_eq!(
        config.tools["record_payment"],
        Tool {
            description: "Writes a payment down".into(),
            method: Method::Post,
            url: "https://api.example.com/v1/customers/{customer}/payments".into(),
            query: [("expand", "customer"), ("limit", "10"), ("all", "true")].map(|(k, v)| (k.into(), v.into())).into(),
            headers: [("x-api-version".into(), "2026-01-01".into())].into(),
            body: Some("{amount, currency}".into()),
            graphql: None,
            variables: None,
            partial: false,
            trace: true,
            pages: None,
            auth: Some(Auth {
                credential: Credential::Secret("clawbridge/tools/crm".into()),
                carrier: Carrier::Header { name: "x-api-key".into(), prefix: String::new() },
            }),
            sign: None,
            tls: None,
            timeout: "1500ms".parse().unwrap(),
            attempts: 3,
            effect: Effect::Keyed,
            idempotency_header: Some("Idempotency-Key".into()),
            idempotency_key: Some(".payment".into()),
            verify: None,
            job: None,
            result_retention: "30d".parse().unwrap(),
            limit: None,
            circuit: None,
            retry_budget: None,
            max_response: "1MiB".parse().unwrap(),
            input: Some(
                json!({"type": "object", "required": ["customer"], "properties": {"customer": {"type": "string"}}})
            ),
            result: Some(".answer.payment".into()),
            output: Some(json!({"type": "object"})),
        }
    );
    let list = &config.tools["list"];
    assert_eq!((list.body.as_deref(), list.effect, list.attempts), (None, Effect::Read, 5));
    assert_eq!((list.timeout.to_string(), list.max_response.to_string()), ("10s".into(), "256KiB".into()));
    assert_eq!(config.routes[0].name, "stripe-payments");
    assert_eq!(config.routes[0].order.as_deref(), Some(".body.data.object.customer"));
    assert_eq!((config.routes[0].order_on_parked, config.routes[1].order_on_parked), (OnParked::Skip, OnParked::Wait));
    assert_eq!(config.routes[1].order, None);
    assert_eq!(
        (config.routes[1].event_type.as_str(), config.routes[1].input.as_str(), &config.routes[1].filter),
        ("*", ".body", &None)
    );
    assert_eq!(config.network.allow.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "127.0.0.1"]);
    assert_eq!(config.limits.max_hops, 3);
    let log = |hook: &str, secret: &str, api: &str| {
        CatchUp::Github(GithubLog { hook: hook.into(), secret: secret.into(), api: api.into() })
    };
    assert_eq!(
        config.catch_up,
        BTreeMap::from([
            ("ghes".to_owned(), log("orgs/acme/hooks/7", "clawbridge/tools/ghes", "https://github.example/api/v3")),
            (
                "github".to_owned(),
                log("repos/acme/shop/hooks/123456", "clawbridge/tools/github", "https://api.github.com")
            ),
        ])
    );
    assert_eq!(check("").0, Some(Config::default()));
    assert_eq!(Config::default().limits.max_hops, 8);
}

#[test]
fn a_document_as_json_is_the_same_document() {
    let config = check(FULL).0.unwrap();
    assert_eq!(Config::from_json(&config.to_json()).as_ref(), Ok(&config));
    assert_eq!(serde_json::from_slice::<Config>(&config.to_json()).unwrap(), config);
    assert_eq!(config.compile().unwrap().config(), &config);
    assert_eq!(Config::from_json(b"{}"), Ok(Config::default()));
}

#[test]
fn effects_and_bodies_follow_the_method() {
    for (method, extra, effect, body) in [
        ("GET", "", Effect::Read, None),
        ("HEAD", "", Effect::Read, None),
        ("PUT", "", Effect::Idempotent, Some(".")),
        ("DELETE", "", Effect::Idempotent, None),
        ("DELETE", "body = '.x'", Effect::Idempotent, Some(".x")),
        ("POST", "", Effect::Unsafe, Some(".")),
        ("PATCH", "", Effect::Unsafe, Some(".")),
        ("POST", "idempotency_header = \"x-key\"", Effect::Keyed, Some(".")),
        ("PATCH", "idempotency_header = \"x-key\"", Effect::Keyed, Some(".")),
        ("POST", "effect = \"read\"", Effect::Read, Some(".")),
        ("GET", "effect = \"unsafe\"", Effect::Unsafe, None),
    ] {
        let (config, diagnostics) =
            check(&format!("[tools.t]\nmethod = \"{method}\"\nurl = \"https://a.example\"\n{extra}"));
        assert_eq!(diagnostics, [], "{method} {extra}");
        let tool = &config.unwrap().tools["t"];
        assert_eq!((tool.effect, tool.body.as_deref()), (effect, body), "{method} {extra}");
    }
}

#[test]
fn the_secret_goes_where_it_is_expected() {
    for (auth, header, prefix) in [
        ("", "authorization", "Bearer "),
        (", header = \"Authorization\"", "Authorization", "Bearer "),
        (", prefix = \"token \"", "authorization", "token "),
        (", prefix = \"\"", "authorization", ""),
        (", header = \"x-api-key\"", "x-api-key", ""),
        (", header = \"x-api-key\", prefix = \"k=\"", "x-api-key", "k="),
    ] {
        let text = format!(
            "[tools.t]\nmethod = \"GET\"\nurl = \"https://a.example\"\nauth = {{ secret = \"clawbridge/tools/a\"{auth} }}"
        );
        let (config, diagnostics) = check(&text);
        assert_eq!(diagnostics, [], "{auth}");
        let carrier = Carrier::Header { name: header.into(), prefix: prefix.into() };
        let expected = Auth { credential: Credential::Secret("clawbridge/tools/a".into()), carrier };
        assert_eq!(config.unwrap().tools["t"].auth, Some(expected));
    }
}

/// A tool with `lines` in it, from line 4 on.
fn tool(lines: &str) -> String {
    format!("[tools.t]\nmethod = \"POST\"\nurl = \"https://a.example/{{id}}\"\n{lines}\n")
}

/// A route with `lines` in it, from line 5 on, to a tool `list`.
fn route(lines: &str) -> String {
    format!(
        "tools.list = {{ method = \"GET\", url = \"https://a.example\" }}\n[[routes]]\nname = \"r\"\nsource = \"s\"\n{lines}\n"
    )
}

/// A log to catch up with, with `more` after the number of its webhook, which ends line 4.
fn catch_up(more: &str) -> String {
    format!(
        "[catch_up.github]\nprovider = \"github\"\nsecret = \"clawbridge/tools/g\"\nhook = \"repos/a/b/hooks/1{more}\"\n"
    )
}

/// Code, line, column and path of all errors and warnings.
fn found(text: &str) -> Vec<(&'static str, usize, usize, String)> {
    let (config, diagnostics) = check(text);
    assert_eq!(
        config.is_none(),
        diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error),
        "{diagnostics:?}"
    );
    let found = diagnostics.into_iter().map(|diagnostic| {
        assert!(!diagnostic.message.contains('\n') && diagnostic.message.len() < 500, "{}", diagnostic.message);
        let Position { line, column } = diagnostic.position.unwrap();
        (diagnostic.code.as_str(), line, column, diagnostic.path)
    });
    found.collect()
}

#[test]
fn every_problem_is_told_with_its_code_and_place() {
    let cases: Vec<(String, &str, usize, usize, &str)> = vec![
        // The document.
        ("x".into(), "TOML_SYNTAX", 1, 2, ""),
        ("a = \n".into(), "TOML_SYNTAX", 1, 5, ""),
        ("\n  a = \"x".into(), "TOML_SYNTAX", 2, 9, ""),
        ("a = 1\na = 2".into(), "TOML_SYNTAX", 2, 1, ""),
        (format!("a = {}1{}", "[".repeat(200), "]".repeat(200)), "TOML_SYNTAX", 1, 85, ""),
        (" ".repeat(MAX_DOCUMENT_BYTES + 1), "TOO_LARGE", 1, 1, ""),
        ("\n[tool.x]".into(), "UNKNOWN_KEY", 2, 2, "tool"),
        ("tools = 1".into(), "WRONG_TYPE", 1, 9, "tools"),
        ("[tools]\nx = 1".into(), "WRONG_TYPE", 2, 5, "tools.x"),
        ("[routes]\n".into(), "WRONG_TYPE", 1, 2, "routes"),
        ("routes = [1]".into(), "WRONG_TYPE", 1, 11, "routes[0]"),
        // Tools.
        ("[tools.\"a b\"]\nmethod = \"GET\"\nurl = \"https://a.example\"".into(), "INVALID_NAME", 1, 8, "tools.\"a b\""),
        ("\n[tools.t]\nmethod = \"GET\"".into(), "MISSING_KEY", 2, 8, "tools.t.url"),
        ("[tools.t]\nurl = \"https://a.example\"".into(), "MISSING_KEY", 1, 8, "tools.t.method"),
        ("[tools.t]\nmethod = \"FETCH\"\nurl = \"https://a.example\"".into(), "INVALID_VALUE", 2, 10, "tools.t.method"),
        ("[tools.t]\nmethod = \"get\"\nurl = \"https://a.example\"".into(), "INVALID_VALUE", 2, 10, "tools.t.method"),
        ("[tools.t]\nmethod = \"GET\"\nurl = \"ftp://a.example\"".into(), "INVALID_URL", 3, 8, "tools.t.url"),
        ("[tools.t]\nmethod = \"GET\"\nurl = \"https://a.example/a b\"".into(), "INVALID_URL", 3, 27, "tools.t.url"),
        ("[tools.t]\nmethod = \"GET\"\nurl = \"https://{host}/\"".into(), "INVALID_URL", 3, 16, "tools.t.url"),
        ("[tools.t]\nmethod = \"GET\"\nurl = 'https://a.example/{'".into(), "INVALID_TEMPLATE", 3, 26, "tools.t.url"),
        ("[tools.t]\nmethod = \"GET\"\nurl = 'https://u:hunter2@a.example/'".into(), "INVALID_URL", 3, 25, "tools.t.url"),
        ("[tools.t]\nmethod = \"GET\"\nurl = 'https://a.example/?api_key=hunter2hunter2'".into(), "SECRET_IN_CONFIG", 3, 7, "tools.t.url"),
        ("[tools.t]\nmethod = \"GET\"\nurl = 'https://a.example/sk_live_hunter2hunter2/x'".into(), "SECRET_IN_CONFIG", 3, 7, "tools.t.url"),
        ("[tools.t]\nmethod = \"GET\"\nurl = \"https://a.example\"\nbody = '.'".into(), "BODY_NOT_ALLOWED", 4, 8, "tools.t.body"),
        (tool("uri = \"x\""), "UNKNOWN_KEY", 4, 1, "tools.t.uri"),
        (tool("description = 1"), "WRONG_TYPE", 4, 15, "tools.t.description"),
        (tool(&format!("description = \"{}\"", "x".repeat(2001))), "TOO_LARGE", 4, 15, "tools.t.description"),
        (tool("query = []"), "WRONG_TYPE", 4, 9, "tools.t.query"),
        (tool("query = { a = 1.5 }"), "WRONG_TYPE", 4, 15, "tools.t.query.a"),
        (tool("query = { \"\" = \"x\" }"), "INVALID_NAME", 4, 11, "tools.t.query.\"\""),
        (tool("query = { a = \"x{\" }"), "INVALID_TEMPLATE", 4, 17, "tools.t.query.a"),
        (tool("query = { access_token = \"hunter2\" }"), "SECRET_IN_CONFIG", 4, 26, "tools.t.query.access_token"),
        (tool("headers = { \"x y\" = \"1\" }"), "INVALID_HEADER", 4, 13, "tools.t.headers.\"x y\""),
        (tool("headers = { x = \"a\\nb\" }"), "INVALID_HEADER", 4, 19, "tools.t.headers.x"),
        (tool("headers = { x = \"é\" }"), "INVALID_HEADER", 4, 18, "tools.t.headers.x"),
        (tool("headers = { x = \"{\" }"), "INVALID_TEMPLATE", 4, 18, "tools.t.headers.x"),
        (tool("headers = { x = 1 }"), "WRONG_TYPE", 4, 17, "tools.t.headers.x"),
        (tool("headers = { Host = \"x\" }"), "RESERVED_HEADER", 4, 13, "tools.t.headers.Host"),
        (tool("headers = { Content-Length = \"1\" }"), "RESERVED_HEADER", 4, 13, "tools.t.headers.Content-Length"),
        (tool("headers = { X-A = \"1\", x-a = \"2\" }"), "HEADER_SET_TWICE", 4, 24, "tools.t.headers.x-a"),
        (tool("headers = { Authorization = \"Bearer hunter2\" }"), "SECRET_IN_CONFIG", 4, 29, "tools.t.headers.Authorization"),
        (tool("headers = { x-api-key = \"hunter2\" }"), "SECRET_IN_CONFIG", 4, 25, "tools.t.headers.x-api-key"),
        (tool("headers = { x-note = \"ghp_hunter2hunter2\" }"), "SECRET_IN_CONFIG", 4, 22, "tools.t.headers.x-note"),
        (tool("headers = { Authorization = \"Bearer {token}\" }"), "SECRET_IN_CONFIG", 4, 29, "tools.t.headers.Authorization"),
        (tool("headers = { x-auth-token = \"hunter2\" }"), "SECRET_IN_CONFIG", 4, 28, "tools.t.headers.x-auth-token"),
        (tool("body = '{key: \"sk_live_hunter2hunter2\"}'"), "SECRET_IN_CONFIG", 4, 8, "tools.t.body"),
        (tool("body = '{a: }'"), "INVALID_JQ", 4, 13, "tools.t.body"),
        (tool("body = \"\"\"\n{a:\n  now}\"\"\""), "INVALID_JQ", 6, 3, "tools.t.body"),
        (tool("body = \"\\\"é\\\" | nosuch\""), "INVALID_JQ", 4, 17, "tools.t.body"),
        (tool("auth = \"x\""), "WRONG_TYPE", 4, 8, "tools.t.auth"),
        (tool("auth = { header = \"x\" }"), "MISSING_KEY", 4, 1, "tools.t.auth.secret"),
        (tool("auth = { secret = \"hunter2\" }"), "INVALID_SECRET_NAME", 4, 19, "tools.t.auth.secret"),
        (tool("auth = { secret = \"clawbridge/sources/stripe\" }"), "INVALID_SECRET_NAME", 4, 19, "tools.t.auth.secret"),
        (tool("auth = { secret = \"clawbridge/tools/\" }"), "INVALID_SECRET_NAME", 4, 19, "tools.t.auth.secret"),
        (tool("auth = { secret = \"sk_live_hunter2hunter2\" }"), "SECRET_IN_CONFIG", 4, 19, "tools.t.auth.secret"),
        (tool("auth = { secret = \"clawbridge/tools/a\", header = \"a:b\" }"), "INVALID_HEADER", 4, 50, "tools.t.auth.header"),
        (tool("auth = { secret = \"clawbridge/tools/a\", header = \"Host\" }"), "RESERVED_HEADER", 4, 50, "tools.t.auth.header"),
        (tool("auth = { secret = \"clawbridge/tools/a\", header = \"X-a\" }\nheaders = { x-A = \"1\" }"), "HEADER_SET_TWICE", 4, 50, "tools.t.auth.header"),
        (tool("auth = { secret = \"clawbridge/tools/a\", prefix = \"a\\nb\" }"), "INVALID_HEADER", 4, 50, "tools.t.auth.prefix"),
        (tool("auth = { secret = \"clawbridge/tools/a\", prefix = \"Bearer sk_live_hunter2hunter2\" }"), "SECRET_IN_CONFIG", 4, 50, "tools.t.auth.prefix"),
        (tool("auth = { secret = \"clawbridge/tools/a\", name = \"x\" }"), "UNKNOWN_KEY", 4, 41, "tools.t.auth.name"),
        (tool("auth = { connection = \"salesforce\" }"), "INVALID_NAME", 4, 24, "tools.t.auth.connection"),
        (tool("auth = { connection = \"sales force/prod\" }"), "INVALID_NAME", 4, 24, "tools.t.auth.connection"),
        (tool("auth = { connection = \"{p}/prod\" }"), "INVALID_NAME", 4, 24, "tools.t.auth.connection"),
        (tool("auth = { connection = \"salesforce/Prod\" }"), "INVALID_NAME", 4, 35, "tools.t.auth.connection"),
        (tool("auth = { connection = \"salesforce/\" }"), "INVALID_NAME", 4, 35, "tools.t.auth.connection"),
        (tool("auth = { connection = \"salesforce/x-{id?}\" }"), "INVALID_NAME", 4, 37, "tools.t.auth.connection"),
        (tool("auth = { connection = \"salesforce/{id\" }"), "INVALID_TEMPLATE", 4, 35, "tools.t.auth.connection"),
        (tool("auth = { connection = \"salesforce/prod\" }"), "UNKNOWN_PROVIDER", 4, 23, "tools.t.auth.connection"),
        (tool("auth = { connection = \"salesforce/prod\", secret = \"clawbridge/tools/a\" }"), "KEY_NOT_ALLOWED", 4, 42, "tools.t.auth.secret"),
        (tool("auth = { connection = \"salesforce/prod\", query = \"token\" }"), "KEY_NOT_ALLOWED", 4, 42, "tools.t.auth.query"),
        (tool("timeout = 10"), "WRONG_TYPE", 4, 11, "tools.t.timeout"),
        (tool("timeout = \"10\""), "INVALID_DURATION", 4, 11, "tools.t.timeout"),
        (tool("timeout = \"1m\""), "INVALID_DURATION", 4, 11, "tools.t.timeout"),
        (tool("timeout = \"99ms\""), "OUT_OF_RANGE", 4, 11, "tools.t.timeout"),
        (tool("timeout = \"26s\""), "OUT_OF_RANGE", 4, 11, "tools.t.timeout"),
        (tool("attempts = 0"), "OUT_OF_RANGE", 4, 12, "tools.t.attempts"),
        (tool("attempts = 21"), "OUT_OF_RANGE", 4, 12, "tools.t.attempts"),
        (tool("attempts = -1"), "OUT_OF_RANGE", 4, 12, "tools.t.attempts"),
        (tool("attempts = 99999999999999999999"), "WRONG_TYPE", 4, 12, "tools.t.attempts"),
        (tool("attempts = \"5\""), "WRONG_TYPE", 4, 12, "tools.t.attempts"),
        (tool("attempts = 2026-01-01"), "WRONG_TYPE", 4, 12, "tools.t.attempts"),
        (tool("effect = \"idempotant\""), "INVALID_VALUE", 4, 10, "tools.t.effect"),
        (tool("effect = \"keyed\""), "KEYED_WITHOUT_HEADER", 4, 10, "tools.t.effect"),
        (tool("idempotency_header = \"a b\""), "INVALID_HEADER", 4, 22, "tools.t.idempotency_header"),
        (tool("idempotency_header = \"te\""), "RESERVED_HEADER", 4, 22, "tools.t.idempotency_header"),
        (tool("idempotency_header = \"x-k\"\nheaders = { X-K = \"1\" }"), "HEADER_SET_TWICE", 4, 22, "tools.t.idempotency_header"),
        (tool("idempotency_header = \"Authorization\"\nauth = { secret = \"clawbridge/tools/a\" }"), "HEADER_SET_TWICE", 4, 22, "tools.t.idempotency_header"),
        (tool("idempotency_key = '.a |'"), "INVALID_JQ", 4, 24, "tools.t.idempotency_key"),
        (tool("max_response = \"1GiB\""), "INVALID_SIZE", 4, 16, "tools.t.max_response"),
        (tool("max_response = \"5MiB\""), "OUT_OF_RANGE", 4, 16, "tools.t.max_response"),
        (tool("result = '.answer |'"), "INVALID_JQ", 4, 20, "tools.t.result"),
        (tool("input = true"), "WRONG_TYPE", 4, 9, "tools.t.input"),
        (tool("input = { type = \"objct\" }"), "INVALID_SCHEMA", 4, 18, "tools.t.input"),
        (tool("[tools.t.input.properties.a]\nminimum = \"1\""), "INVALID_SCHEMA", 5, 11, "tools.t.input"),
        (tool("input = { minimum = inf }"), "INVALID_SCHEMA", 4, 21, "tools.t.input"),
        (tool("input = { const = 2026-01-01 }"), "INVALID_SCHEMA", 4, 19, "tools.t.input"),
        (tool("output = { pattern = \"(?=x)\" }"), "INVALID_SCHEMA", 4, 22, "tools.t.output"),
        (tool("output = { \"$ref\" = \"https://example.com/x\" }"), "SCHEMA_REFERENCE", 4, 21, "tools.t.output"),
        (tool("output = { \"$ref\" = \"#/$defs/x\" }"), "SCHEMA_REFERENCE", 4, 21, "tools.t.output"),
        // Warnings of tools.
        (tool("input = { properties = { ident = {} } }"), "PLACEHOLDER_NOT_IN_INPUT", 3, 26, "tools.t.url"),
        (tool("input = { properties = { id = { type = \"object\" } } }"), "PLACEHOLDER_NOT_IN_INPUT", 3, 26, "tools.t.url"),
        (tool("query = { q = \"a {b.c}\" }\ninput = { properties = { id = {}, b = { type = \"string\" } } }"), "PLACEHOLDER_NOT_IN_INPUT", 4, 18, "tools.t.query.q"),
        (tool("headers = { q = \"a {c}\" }\ninput = { properties = { id = {} } }"), "PLACEHOLDER_NOT_IN_INPUT", 4, 20, "tools.t.headers.q"),
        ("[tools.t]\nmethod = \"GET\"\nurl = \"http://a.example\"\nauth = { secret = \"clawbridge/tools/a\" }".into(), "INSECURE_URL", 3, 7, "tools.t.url"),
        // Routes.
        (route("tool = \"lst\""), "UNKNOWN_TOOL", 5, 8, "routes[0].tool"),
        (route(""), "MISSING_KEY", 2, 1, "routes[0].tool"),
        ("tools.list = { method = \"GET\", url = \"https://a.example\" }\n[[routes]]\nname = \"r\"\ntool = \"list\"".into(), "MISSING_KEY", 2, 1, "routes[0].source"),
        ("tools.list = { method = \"GET\", url = \"https://a.example\" }\n[[routes]]\nsource = \"r\"\ntool = \"list\"".into(), "MISSING_KEY", 2, 1, "routes[0].name"),
        (route("tool = \"list\"\n[[routes]]\nname = \"r\"\nsource = \"s\"\ntool = \"list\""), "DUPLICATE_ROUTE", 7, 8, "routes[1].name"),
        (route("tool = \"list\"\n[[routes]]\nname = \"R 1\"\nsource = \"s\"\ntool = \"list\""), "INVALID_NAME", 7, 8, "routes[1].name"),
        (route("tool = \"list\"\n[[routes]]\nname = \"r1\"\nsource = \"S/..\"\ntool = \"list\""), "INVALID_NAME", 8, 10, "routes[1].source"),
        (route("tool = \"list\"\ntype = \"\""), "INVALID_PATTERN", 6, 8, "routes[0].type"),
        (route("tool = \"list\"\ntype = \"a b\""), "INVALID_PATTERN", 6, 8, "routes[0].type"),
        (route("tool = \"list\"\nfilter = '.a >'"), "INVALID_JQ", 6, 15, "routes[0].filter"),
        (route("tool = \"list\"\nfilter = 'env.HOME'"), "INVALID_JQ", 6, 11, "routes[0].filter"),
        (route("tool = \"list\"\ninput = '{a: .b'"), "INVALID_JQ", 6, 10, "routes[0].input"),
        (route("tool = \"list\"\norder = '.a |'"), "INVALID_JQ", 6, 14, "routes[0].order"),
        (route("tool = \"list\"\norder = 1"), "WRONG_TYPE", 6, 9, "routes[0].order"),
        (route("tool = \"list\"\norder = '.a'\norder_on_parked = \"run\""), "INVALID_VALUE", 7, 19, "routes[0].order_on_parked"),
        (route("tool = \"list\"\norder_on_parked = \"skip\""), "MISSING_KEY", 6, 1, "routes[0].order"),
        (route("tool = \"list\"\nordr = '.a'"), "UNKNOWN_KEY", 6, 1, "routes[0].ordr"),
        (route("tool = \"list\"\ntarget = \"x\""), "UNKNOWN_KEY", 6, 1, "routes[0].target"),
        (route("tool = { name = \"x\" }"), "WRONG_TYPE", 5, 1, "routes[0].tool"),
        // Logs to catch up with.
        ("catch_up = 1".into(), "WRONG_TYPE", 1, 12, "catch_up"),
        ("[catch_up]\ngithub = 1".into(), "WRONG_TYPE", 2, 10, "catch_up.github"),
        (catch_up("\"\nhok = \"x"), "UNKNOWN_KEY", 5, 1, "catch_up.github.hok"),
        (catch_up("").replace("catch_up.github", "catch_up.GitHub"), "INVALID_NAME", 1, 11, "catch_up.GitHub"),
        (catch_up("").replace("catch_up.github", "catch_up.bridge"), "INVALID_NAME", 1, 11, "catch_up.bridge"),
        (catch_up("").replace("provider = \"github\"\n", ""), "MISSING_KEY", 1, 11, "catch_up.github.provider"),
        (catch_up("").replace("\"github\"", "\"gitub\""), "INVALID_VALUE", 2, 12, "catch_up.github.provider"),
        (catch_up("").replace("hook =", "#"), "MISSING_KEY", 1, 11, "catch_up.github.hook"),
        (catch_up("").replace("secret =", "#"), "MISSING_KEY", 1, 11, "catch_up.github.secret"),
        (catch_up("").replace("\"clawbridge/tools/", "\"x/"), "INVALID_SECRET_NAME", 3, 10, "catch_up.github.secret"),
        (catch_up("").replace("clawbridge/tools/g", "ghp_hunter2hunter2"), "SECRET_IN_CONFIG", 3, 10, "catch_up.github.secret"),
        (catch_up("h").replace("repos/a/b/hooks/1h", "app/hook"), "INVALID_HOOK", 4, 8, "catch_up.github.hook"),
        (catch_up("h").replace("repos/a/b/hooks/1h", "/repos/a/b/hooks/1"), "INVALID_HOOK", 4, 8, "catch_up.github.hook"),
        (catch_up("h").replace("repos/a/b/hooks/1h", "repos/a/../hooks/1"), "INVALID_HOOK", 4, 8, "catch_up.github.hook"),
        (catch_up("h").replace("repos/a/b/hooks/1h", "repos/a/b?c/hooks/1"), "INVALID_HOOK", 4, 8, "catch_up.github.hook"),
        (catch_up("h").replace("repos/a/b/hooks/1h", "orgs//hooks/1"), "INVALID_HOOK", 4, 8, "catch_up.github.hook"),
        (catch_up("h"), "INVALID_HOOK", 4, 8, "catch_up.github.hook"),
        (catch_up("\"\napi = \"api.github.com"), "INVALID_URL", 5, 8, "catch_up.github.api"),
        (catch_up("\"\napi = \"bridge:/x"), "INVALID_URL", 5, 7, "catch_up.github.api"),
        (catch_up("\"\napi = \"https://a.example/{x}"), "INVALID_URL", 5, 7, "catch_up.github.api"),
        (catch_up("\"\napi = \"https://a.example/?x=1"), "INVALID_URL", 5, 7, "catch_up.github.api"),
        (catch_up("\"\napi = \"http://a.example"), "INSECURE_URL", 5, 7, "catch_up.github.api"),
        // Network and limits.
        ("[network]\nallow = \"10.0.0.0/8\"".into(), "WRONG_TYPE", 2, 9, "network.allow"),
        ("[network]\nallow = [\"10.0.0.0/8\", 1]".into(), "WRONG_TYPE", 2, 24, "network.allow[1]"),
        ("[network]\nallow = [\"10.0.0.0/33\"]".into(), "INVALID_CIDR", 2, 10, "network.allow[0]"),
        ("[network]\nallow = [\"localhost\"]".into(), "INVALID_CIDR", 2, 10, "network.allow[0]"),
        ("[network]\nallow = [\"10.1.2.3/8\"]".into(), "INVALID_CIDR", 2, 10, "network.allow[0]"),
        ("[network]\nallow = [\"169.254.0.0/16\"]".into(), "METADATA_ADDRESS", 2, 10, "network.allow[0]"),
        ("[network]\nalow = []".into(), "UNKNOWN_KEY", 2, 1, "network.alow"),
        ("[limits]\nmax_hops = 0".into(), "OUT_OF_RANGE", 2, 12, "limits.max_hops"),
        ("[limits]\nmax_hop = 1".into(), "UNKNOWN_KEY", 2, 1, "limits.max_hop"),
    ];
    let mut wrong = String::new();
    for (text, code, line, column, path) in cases {
        let expected = vec![(code, line, column, path.to_owned())];
        let found = found(&text);
        if found != expected {
            wrong.push_str(&format!("{text}\n  expected {expected:?}\n  found    {found:?}\n\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_text() {
    let text = "[tools.record_payment]\nmethod = \"PSOT\"\nurl = \"api.example.com\"\ntiemout = \"1s\"\nattempts = 99\nbody = '{'\n\n\
        [[routes]]\nname = \"x\"\nsource = \"s\"\ntool = \"recrod_payment\"\n\n[netwrok]\n";
    let (config, diagnostics) = check(text);
    assert_eq!(config, None);
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "bridge.toml:2:10: error[INVALID_VALUE]: tools.record_payment.method is \"PSOT\", which is none of GET, HEAD, POST, PUT, PATCH, DELETE; did you mean \"POST\"?",
            "bridge.toml:3:8: error[INVALID_URL]: tools.record_payment.url: a URL begins with https://, http:// or bridge:/",
            "bridge.toml:4:1: error[UNKNOWN_KEY]: tools.record_payment has no key \"tiemout\"; did you mean \"timeout\"?",
            "bridge.toml:5:12: error[OUT_OF_RANGE]: tools.record_payment.attempts must be from 1 to 20, not 99",
            "bridge.toml:6:9: error[INVALID_JQ]: tools.record_payment.body is not a jq program: closing brace is missing for this {",
            "bridge.toml:11:8: error[UNKNOWN_TOOL]: route \"x\" calls tool \"recrod_payment\", which is not declared; did you mean \"record_payment\"?",
            "bridge.toml:13:2: error[UNKNOWN_KEY]: the document has no key \"netwrok\"; did you mean \"network\"?",
        ]
    );
}

#[test]
fn the_page_of_a_webhook_is_recognised() {
    for (written, meant) in [
        ("https://github.com/acme/shop/settings/hooks/12", "repos/acme/shop/hooks/12"),
        ("https://github.com/organizations/acme/settings/hooks/12", "orgs/acme/hooks/12"),
        ("/repos/acme/shop/hooks/12/", "repos/acme/shop/hooks/12"),
    ] {
        let text = catch_up("").replace("repos/a/b/hooks/1", written);
        let suggestion = check(&text).1.pop().and_then(|diagnostic| diagnostic.suggestion);
        assert_eq!(suggestion, Some(format!("did you mean {meant:?}?")), "{written}");
    }
}

#[test]
fn no_credential_is_repeated() {
    for line in [
        "headers = { Authorization = \"Bearer hunter2hunter2\" }",
        "headers = { x-note = \"sk_live_hunter2hunter2\" }",
        "headers = { x-note = \"hunter2\\n\" }",
        "query = { api_key = \"hunter2\" }",
        "query = { q = \"ghp_hunter2hunter2\" }",
        "auth = { secret = \"hunter2\" }",
        "auth = { secret = \"sk_live_hunter2hunter2\" }",
        "auth = { secret = \"clawbridge/tools/a\", prefix = \"Bearer sk_live_hunter2hunter2\" }",
        "auth = \"hunter2\"",
    ] {
        let (config, diagnostics) = check(&tool(line));
        assert_eq!(config, None, "{line}");
        assert!(!format!("{diagnostics:?}").contains("hunter2"), "{line}: {diagnostics:?}");
    }
    for key in ["hook", "secret", "api"] {
        let line = format!("{key} = \"ghp_hunter2hunter2\"");
        let (config, diagnostics) = check(&format!("[catch_up.github]\n{line}"));
        assert_eq!(config, None, "{line}");
        assert!(!format!("{diagnostics:?}").contains("hunter2"), "{line}: {diagnostics:?}");
    }
    for url in [
        "https://user:hunter2@a.example/",
        "https://a.example/?token=hunter2",
        "https://a.example/sk_live_hunter2hunter2",
        "https://a.example/hunter2 x",
    ] {
        let (config, diagnostics) = check(&format!("[tools.t]\nmethod = \"GET\"\nurl = \"{url}\""));
        assert_eq!(config, None, "{url}");
        assert!(!format!("{diagnostics:?}").contains("hunter2"), "{url}: {diagnostics:?}");
    }
}

#[test]
fn what_is_fine_is_not_warned_of() {
    for text in [
        tool("input = { type = \"object\" }"),
        tool("query = { page_token = \"{page.token}\" }"),
        tool("input = { properties = { id = { type = \"string\" } } }"),
        tool("input = { properties = { id = { type = [\"string\", \"null\"] } } }"),
        tool("input = { properties = { x = {} }, additionalProperties = true }"),
        tool("input = { properties = { x = {} }, allOf = [{ properties = { id = {} } }] }"),
        tool("input = { properties = { x = {} }, patternProperties = { \"^i\" = {} } }"),
        tool(
            "query = { q = \"{a.b}\", r = \"{l.0}\" }\ninput = { properties = { id = {}, a = { properties = { b = {} } }, l = { items = {} } } }",
        ),
        tool("headers = { content-type = \"application/vnd.api+json\", accept = \"application/json\" }"),
        "[tools.t]\nmethod = \"GET\"\nurl = \"http://127.0.0.1:8080/\"\nauth = { secret = \"clawbridge/tools/a\" }"
            .into(),
        "[tools.t]\nmethod = \"GET\"\nurl = \"http://[::1]:8080/\"\nauth = { secret = \"clawbridge/tools/a\" }".into(),
        "[tools.t]\nmethod = \"GET\"\nurl = \"http://localhost/\"\nauth = { secret = \"clawbridge/tools/a\" }".into(),
        "[tools.t]\nmethod = \"GET\"\nurl = \"http://a.example/\"".into(),
        "routes = []\n[tools]\n[network]\n[limits]\n[catch_up]".into(),
        catch_up(""),
        catch_up("\"\napi = \"http://127.0.0.1:8080/api/v3/"),
    ] {
        assert_eq!(found(&text), [], "{text}");
    }
}

#[test]
fn json_is_trusted_no_more_than_a_file() {
    let valid = check(FULL).0.unwrap();
    let mut tampered = valid;
    tampered.tools.get_mut("list").unwrap().url = "https://{host}/".into();
    tampered.routes[0].target = Target::Tool("gone".into());
    tampered.routes[1].filter = Some("now".into());
    let diagnostics = tampered.compile().unwrap_err();
    let mut codes: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code.as_str()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["INVALID_JQ", "INVALID_URL", "UNKNOWN_TOOL"]);
    assert!(diagnostics.iter().all(|diagnostic| diagnostic.position.is_none()));
    assert_eq!(Config::from_json(&tampered.to_json()).unwrap_err(), diagnostics);

    for (json, code) in [
        ("", "JSON_SYNTAX"),
        ("{", "JSON_SYNTAX"),
        ("[]", "WRONG_TYPE"),
        ("null", "WRONG_TYPE"),
        ("{\"tools\": null}", "WRONG_TYPE"),
        ("{\"tool\": {}}", "UNKNOWN_KEY"),
        ("{\"limits\": {\"max_hops\": 1.5}}", "WRONG_TYPE"),
        ("{\"limits\": {\"max_hops\": 18446744073709551615}}", "WRONG_TYPE"),
        ("{\"routes\": [{}]}", "MISSING_KEY"),
    ] {
        let diagnostics = Config::from_json(json.as_bytes()).unwrap_err();
        assert_eq!(diagnostics[0].code.as_str(), code, "{json}");
    }
    assert_eq!(Config::from_json(&vec![b' '; 4 * MAX_DOCUMENT_BYTES + 1]).unwrap_err()[0].code, Code::TooLarge);
    assert_eq!(Config::from_json("[".repeat(100_000).as_bytes()).unwrap_err()[0].code, Code::JsonSyntax);
}

#[test]
fn lists_are_bounded() {
    let tools: String =
        (0..=MAX_TOOLS).map(|n| format!("[tools.t{n}]\nmethod = \"GET\"\nurl = \"https://a.example\"\n")).collect();
    assert_eq!(found(&tools), [("TOO_LARGE", 1, 2, "tools".to_owned())]);
    let routes = "[[routes]]\n".repeat(MAX_ROUTES + 1);
    assert_eq!(found(&routes), [("TOO_LARGE", 1, 3, "routes".to_owned())]);
    let ranges = format!("network.allow = [{}]", "\"10.0.0.1\", ".repeat(MAX_RANGES + 1));
    assert_eq!(found(&ranges), [("TOO_LARGE", 1, 17, "network.allow".to_owned())]);
    let logs: String =
        (0..=MAX_CATCH_UPS).map(|n| catch_up("").replace("catch_up.github", &format!("catch_up.s{n}"))).collect();
    assert_eq!(found(&logs), [("TOO_LARGE", 1, 2, "catch_up".to_owned())]);
    for text in [
        format!("{}x = 1", "a.".repeat(50_000)),
        "[[a]]\n".repeat(20_000),
        format!("[{}b]", "a.".repeat(50_000)),
        "[a".repeat(50_000),
    ] {
        assert!(check(&text).0.is_none());
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>(), noise in "[\\[\\]{}=.\"'#\\\\a-c\n1, ]{0,60}") {
        let _ = check(&text);
        let _ = check(&noise);
        let _ = check(&tool(&noise));
        let _ = check(&format!("{FULL}\n{noise}"));
    }

    #[test]
    fn no_change_of_one_byte_panics(at in 0..FULL.len(), byte in 0x20_u8..0x7f) {
        let mut text = FULL.as_bytes().to_vec();
        text[at] = byte;
        let (config, diagnostics) = check(&String::from_utf8(text).unwrap());
        prop_assert_eq!(config.is_none(), diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error));
        if let Some(config) = config {
            prop_assert_eq!(Config::from_json(&config.to_json()), Ok(config));
        }
    }

    #[test]
    fn no_json_panics(bytes in prop::collection::vec(any::<u8>(), 0..100), at in 0_usize..900, byte in 0x20_u8..0x7f) {
        let _ = Config::from_json(&bytes);
        let mut json = check(FULL).0.unwrap().to_json();
        let at = at % json.len();
        json[at] = byte;
        let _ = Compiled::from_json(&json);
    }
}
