use crate::diagnostic::Severity;
use crate::model::{
    Algorithm, Auth, Carrier, Config, Credential, Effect, Encoding, Method, PageKind, Pages, SecretEncoding, Sign,
    TimestampUnit, Tls, Tool,
};
use crate::{Compiled, ConnectionTemplate, check};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A tool that reads, with `lines` in it, from line 4 on.
fn reading(lines: &str) -> String {
    format!("[tools.t]\nmethod = \"GET\"\nurl = \"https://a.example/v1?v=2\"\n{lines}\n")
}

/// A GraphQL tool with `lines` in it, from line 4 on.
fn graphql(document: &str, lines: &str) -> String {
    format!("[tools.t]\nurl = \"https://a.example/graphql\"\ngraphql = '{document}'\n{lines}\n")
}

/// The tool of a document without errors, which is the same document as JSON.
fn tool(text: &str) -> Tool {
    let (config, diagnostics) = check(text);
    assert_eq!(diagnostics, [], "{text}");
    let config = config.unwrap();
    assert_eq!(Config::from_json(&config.to_json()).as_ref(), Ok(&config), "{text}");
    assert_eq!(serde_json::from_slice::<Config>(&config.to_json()).unwrap(), config, "{text}");
    config.tools["t"].clone()
}

fn compiled(text: &str) -> Compiled {
    check(text).0.unwrap_or_else(|| panic!("{text}")).compile().unwrap()
}

/// Code, line, column and path of all that is wrong.
fn found(text: &str) -> Vec<(&'static str, usize, usize, String)> {
    let (config, diagnostics) = check(text);
    assert_eq!(config.is_none(), diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error));
    let found = diagnostics.into_iter().map(|diagnostic| {
        assert!(!diagnostic.message.contains('\n') && !format!("{diagnostic:?}").contains("hunter2"), "{diagnostic}");
        let position = diagnostic.position.unwrap();
        (diagnostic.code.as_str(), position.line, position.column, diagnostic.path)
    });
    found.collect()
}

#[test]
fn a_trace_is_told_unless_the_tool_says_no_and_only_that_is_written() {
    for (lines, expected, written) in [("", true, false), ("trace = true", true, false), ("trace = false", false, true)]
    {
        let text = reading(lines);
        assert_eq!(tool(&text).trace, expected, "{lines}");
        let json = String::from_utf8(compiled(&text).config().to_json()).unwrap();
        assert_eq!(json.contains("\"trace\""), written, "{json}");
    }
}

#[test]
fn a_credential_goes_into_a_header_a_parameter_or_basic() {
    let carrier = |more: &str| tool(&reading(&format!("auth = {{ secret = \"clawbridge/tools/a\"{more} }}"))).auth;
    let expected = |carrier| Some(Auth { credential: Credential::Secret("clawbridge/tools/a".into()), carrier });
    let header = Carrier::Header { name: "authorization".into(), prefix: "Bearer ".into() };
    assert_eq!(carrier(""), expected(header.clone()));
    assert_eq!(carrier(", basic = false"), expected(header));
    assert_eq!(carrier(", query = \"api_key\""), expected(Carrier::Query { name: "api_key".into() }));
    assert_eq!(carrier(", basic = true"), expected(Carrier::Basic { user: None }));
    assert_eq!(
        carrier(", basic = true, user = \"a@b.example/token\""),
        expected(Carrier::Basic { user: Some("a@b.example/token".into()) })
    );
    for json in [
        json!({"secret": "s", "header": "x"}),
        json!({"secret": "s", "header": "x", "prefix": "", "query": "y"}),
        json!({"secret": "s", "query": "y", "user": "u"}),
        json!({"secret": "s", "basic": true, "prefix": ""}),
        json!({"secret": "s", "header": "x", "prefix": "", "other": 1}),
    ] {
        assert!(serde_json::from_value::<Auth>(json.clone()).is_err(), "{json}");
    }
}

#[test]
fn a_connections_token_goes_into_a_header() {
    let provider = |name: &str| {
        format!(
            "\n[providers.{name}]\ngrant = \"client_credentials\"\ntoken_url = \"https://a.example/t\"\nclient_id = \"c\"\n\
             client_auth = \"post\"\nsecret = \"clawbridge/providers/{name}\""
        )
    };
    let providers = provider("salesforce") + &provider("shopify");
    let auth =
        |more: &str| tool(&(reading(&format!("auth = {{ connection = {more} }}")) + &providers)).auth.expect("auth");
    let expected = |name: &str, header: &str, prefix: &str| Auth {
        credential: Credential::Connection(name.into()),
        carrier: Carrier::Header { name: header.into(), prefix: prefix.into() },
    };
    assert_eq!(auth("\"salesforce/prod\""), expected("salesforce/prod", "authorization", "Bearer "));
    assert_eq!(
        auth("\"shopify/{id}\", header = \"X-Shopify-Access-Token\""),
        expected("shopify/{id}", "X-Shopify-Access-Token", "")
    );
    for json in
        [json!({"header": "x", "prefix": ""}), json!({"secret": "s", "connection": "a/b", "header": "x", "prefix": ""})]
    {
        assert!(serde_json::from_value::<Auth>(json.clone()).is_err(), "{json}");
    }
}

#[test]
fn the_input_chooses_the_account_and_nothing_else() {
    let template = ConnectionTemplate::parse("shopify/eu-{shop.name}").expect("a template");
    assert_eq!(template.provider(), "shopify");
    assert_eq!(template.account(&json!({"shop": {"name": "acme_1"}})).expect("an account"), "eu-acme_1");
    for (input, code) in [
        (json!({}), "FIELD_MISSING"),
        (json!({"shop": {"name": null}}), "FIELD_NOT_PLAIN"),
        (json!({"shop": {"name": "a/../../providers/x"}}), "FIELD_CHARACTERS"),
        (json!({"shop": {"name": "ACME"}}), "FIELD_CHARACTERS"),
        (json!({"shop": {"name": "a".repeat(62)}}), "FIELD_CHARACTERS"),
    ] {
        assert_eq!(template.account(&input).expect_err("no account").code(), code, "{input}");
    }
    let whole = ConnectionTemplate::parse("google/{who}").expect("a template");
    assert_eq!(whole.account(&json!({"who": ""})).expect_err("no account").code(), "FIELD_CHARACTERS");
}

#[test]
fn a_signature_is_declared_whole_or_by_its_scheme() {
    let sign =
        |more: &str| tool(&reading(&format!("sign = {{ secret = \"clawbridge/tools/a\", {more} }}"))).sign.unwrap();
    let plain = Sign {
        secret: "clawbridge/tools/a".into(),
        secret_encoding: SecretEncoding::Utf8,
        algorithm: Algorithm::Sha256,
        over: "{body}".into(),
        encoding: Encoding::Hex,
        header: "X-Signature".into(),
        prefix: String::new(),
        timestamp_header: None,
        timestamp_unit: TimestampUnit::Seconds,
        id_header: None,
    };
    assert_eq!(sign("header = \"X-Signature\""), plain);
    assert_eq!(
        sign(
            "secret_encoding = \"hex\", algorithm = \"sha512\", over = \"{method}{path}{query}{timestamp}{body}\", \
             encoding = \"base64\", header = \"X-Signature\", prefix = \"t={timestamp},v1=\", timestamp_unit = \"ms\""
        ),
        Sign {
            secret_encoding: SecretEncoding::Hex,
            algorithm: Algorithm::Sha512,
            over: "{method}{path}{query}{timestamp}{body}".into(),
            encoding: Encoding::Base64,
            prefix: "t={timestamp},v1=".into(),
            timestamp_unit: TimestampUnit::Millis,
            ..plain.clone()
        }
    );
    assert_eq!(
        sign("scheme = \"standard-webhooks\""),
        Sign {
            secret_encoding: SecretEncoding::Whsec,
            over: "{id}.{timestamp}.{body}".into(),
            encoding: Encoding::Base64,
            header: "webhook-signature".into(),
            prefix: "v1,".into(),
            timestamp_header: Some("webhook-timestamp".into()),
            id_header: Some("webhook-id".into()),
            ..plain
        }
    );
}

#[test]
fn certificates_and_pages_are_read_with_their_defaults() {
    let tls = "tls = { secret = \"clawbridge/tools/cert\", ca = \"clawbridge/tools/ca\" }";
    let (secret, ca) = (Some("clawbridge/tools/cert".to_owned()), Some("clawbridge/tools/ca".to_owned()));
    assert_eq!(tool(&reading(tls)).tls, Some(Tls { secret, ca: ca.clone() }));
    assert_eq!(tool(&reading("tls.ca = \"clawbridge/tools/ca\"")).tls, Some(Tls { secret: None, ca }));

    let pages = |lines: &str| tool(&reading(&format!("[tools.t.pages]\n{lines}"))).pages;
    let least = Pages {
        kind: PageKind::Link,
        items: ".".into(),
        next: None,
        param: None,
        field: None,
        start: None,
        size: None,
        max: 10,
        max_items: 1000,
    };
    assert_eq!(pages("kind = \"link\""), Some(least.clone()));
    assert_eq!(
        pages("kind = \"cursor\"\nitems = \".data\"\nnext = \".next\"\nparam = \"after\"\nmax = 3\nmax_items = 50"),
        Some(Pages {
            kind: PageKind::Cursor,
            items: ".data".into(),
            next: Some(".next".into()),
            param: Some("after".into()),
            max: 3,
            max_items: 50,
            ..least.clone()
        })
    );
    assert_eq!(
        pages("kind = \"offset\"\nparam = \"skip\"\nstart = 0\nsize = 20"),
        Some(Pages { kind: PageKind::Offset, param: Some("skip".into()), start: Some(0), size: Some(20), ..least })
    );
}

#[test]
fn an_operation_is_a_post_whose_effect_it_says_itself() {
    for (document, more, effect) in [
        ("query Q($a: ID!) { b(c: $a) { d } }", "", Effect::Read),
        ("{ b }", "", Effect::Read),
        ("mutation { b { c } }", "", Effect::Unsafe),
        ("fragment F on T { a } mutation M { b { ...F } }", "method = \"POST\"", Effect::Unsafe),
        ("mutation { b { c } }", "idempotency_header = \"X-Key\"", Effect::Keyed),
        ("mutation { b { c } }", "effect = \"idempotent\"", Effect::Idempotent),
    ] {
        let tool = tool(&graphql(document, more));
        assert_eq!(
            (tool.method, tool.effect, tool.body, tool.partial),
            (Method::Post, effect, None, false),
            "{document}"
        );
        assert_eq!(tool.graphql.as_deref(), Some(document));
    }
}

#[test]
fn the_body_of_an_operation_has_the_variables_that_it_declares() {
    let text = graphql("query Q($id: ID!, $first: Int = 5, $after: String) { a(id: $id) { b } }", "");
    let (config, input) = (compiled(&text), json!({"id": "x", "after": null, "other": 1}));
    let body = config.tool("t").unwrap().body(&input).unwrap().unwrap();
    assert_eq!((&body["variables"], &body["operationName"]), (&json!({"id": "x", "after": null}), &json!("Q")));
    assert!(body["query"].as_str().unwrap().starts_with("query Q"));

    let config = compiled(&graphql("mutation($in: I!) { a(in: $in) { b } }", "variables = \"{in: .}\""));
    let body = config.tool("t").unwrap().body(&input).unwrap().unwrap();
    assert_eq!((&body["variables"], body.get("operationName")), (&json!({"in": input}), None));
    let no_object = compiled(&graphql("{ a }", ""));
    let body = no_object.tool("t").unwrap().body(&json!([1])).unwrap();
    assert_eq!(body, Some(json!({"query": "{ a }", "variables": {}})));
}

#[test]
fn a_document_from_before_there_were_such_tools_is_read() {
    let old = json!({"tools": {"t": {"method": "GET", "url": "https://a.example/", "effect": "read", "timeout": "10s",
        "auth": {"secret": "clawbridge/tools/a", "header": "authorization", "prefix": "Bearer "}}}});
    let config = Config::from_json(old.to_string().as_bytes()).unwrap();
    assert!(config.tools["t"].auth.is_some() && config.tools["t"].pages.is_none());
    let written: Value = serde_json::from_slice(&config.to_json()).unwrap();
    assert_eq!(written["tools"]["t"]["auth"], old["tools"]["t"]["auth"]);
    for key in ["graphql", "variables", "partial", "pages", "sign", "tls", "result"] {
        assert_eq!(written["tools"]["t"].get(key), None, "{key}");
    }
}

const SECRET: &str = "secret = \"clawbridge/tools/a\"";

#[test]
#[rustfmt::skip]
fn what_cannot_work_is_refused_with_its_code_and_place() {
    let auth = |more: &str| reading(&format!("auth = {{ {SECRET}, {more} }}"));
    let sign = |more: &str| reading(&format!("[tools.t.sign]\n{SECRET}\n{more}"));
    let pages = |more: &str| reading(&format!("[tools.t.pages]\n{more}"));
    let headed = |more: &str| sign(&format!("header = \"X-S\"\n{more}"));
    let webhooks = format!("sign = {{ {SECRET}, scheme = \"standard-webhooks\" }}");
    let cases: Vec<(String, &str, usize, usize, &str)> = vec![
        // Credentials.
        (auth("query = \"k\", header = \"x\""), "KEY_NOT_ALLOWED", 4, 54, "tools.t.auth.header"),
        (auth("query = \"k\", basic = true"), "KEY_NOT_ALLOWED", 4, 54, "tools.t.auth.basic"),
        (auth("basic = true, prefix = \"x\""), "KEY_NOT_ALLOWED", 4, 55, "tools.t.auth.prefix"),
        (auth("user = \"u\""), "KEY_NOT_ALLOWED", 4, 41, "tools.t.auth.user"),
        (auth("basic = 1"), "WRONG_TYPE", 4, 49, "tools.t.auth.basic"),
        (auth("query = \"\""), "INVALID_NAME", 4, 49, "tools.t.auth.query"),
        (auth("query = \"a b\""), "INVALID_NAME", 4, 49, "tools.t.auth.query"),
        (auth("query = \"v\""), "PARAMETER_SET_TWICE", 4, 49, "tools.t.auth.query"),
        (auth("query = \"k\" }\nquery = { k = \"{x}\""), "PARAMETER_SET_TWICE", 4, 49, "tools.t.auth.query"),
        (auth("basic = true, user = \"a:b\""), "INVALID_VALUE", 4, 62, "tools.t.auth.user"),
        (auth("basic = true, user = \"sk_live_hunter2hunter2\""), "SECRET_IN_CONFIG", 4, 62, "tools.t.auth.user"),
        (auth("basic = true }\nidempotency_header = \"authorization\"\nheaders = { x = \"\""), "HEADER_SET_TWICE", 5, 22, "tools.t.idempotency_header"),
        // Signatures.
        (sign(""), "MISSING_KEY", 4, 10, "tools.t.sign.header"),
        (reading("[tools.t.sign]\nheader = \"X-S\""), "MISSING_KEY", 4, 10, "tools.t.sign.secret"),
        (sign("header = \"x y\""), "INVALID_HEADER", 6, 10, "tools.t.sign.header"),
        (headed("algorithm = \"md5\""), "INVALID_VALUE", 7, 13, "tools.t.sign.algorithm"),
        (headed("encoding = \"base32\""), "INVALID_VALUE", 7, 12, "tools.t.sign.encoding"),
        (headed("over = \"{bdy}\""), "INVALID_TEMPLATE", 7, 9, "tools.t.sign.over"),
        (headed("over = \"{body\""), "INVALID_TEMPLATE", 7, 9, "tools.t.sign.over"),
        (headed("over = \"{timestamp}.{body}\""), "SIGNED_NOT_SENT", 7, 8, "tools.t.sign.over"),
        (headed("over = \"{id}.{body}\""), "SIGNED_NOT_SENT", 7, 8, "tools.t.sign.over"),
        (headed("prefix = \"{body}\""), "INVALID_TEMPLATE", 7, 11, "tools.t.sign.prefix"),
        (headed("prefix = \"é\""), "INVALID_HEADER", 7, 10, "tools.t.sign.prefix"),
        (headed("timestamp_header = \"x-s\""), "HEADER_SET_TWICE", 7, 20, "tools.t.sign.timestamp_header"),
        (headed("timestamp_unit = \"m\""), "INVALID_VALUE", 7, 18, "tools.t.sign.timestamp_unit"),
        (headed("key = \"x\""), "UNKNOWN_KEY", 7, 1, "tools.t.sign.key"),
        (sign("scheme = \"standard-webhook\"\nheader = \"X-S\""), "INVALID_VALUE", 6, 10, "tools.t.sign.scheme"),
        (sign("scheme = \"standard-webhooks\"\nencoding = \"hex\""), "KEY_NOT_ALLOWED", 7, 1, "tools.t.sign.encoding"),
        (reading(&format!("{webhooks}\nheaders = {{ Webhook-Id = \"x\" }}")), "HEADER_SET_TWICE", 4, 1, "tools.t.sign.scheme"),
        // Certificates.
        (reading("tls = {}"), "MISSING_KEY", 4, 1, "tools.t.tls.secret"),
        (reading("tls.secret = \"hunter2\""), "INVALID_SECRET_NAME", 4, 14, "tools.t.tls.secret"),
        (reading("tls.secret = \"-----BEGIN hunter2hunter2\""), "SECRET_IN_CONFIG", 4, 14, "tools.t.tls.secret"),
        (reading(&format!("tls = {{ {SECRET} }}")).replace("https:", "http:"), "KEY_NOT_ALLOWED", 4, 1, "tools.t.tls"),
        // GraphQL.
        (graphql("query { a", ""), "INVALID_GRAPHQL", 3, 18, "tools.t.graphql"),
        (graphql("{ a } { b }", ""), "INVALID_GRAPHQL", 3, 18, "tools.t.graphql"),
        (graphql("subscription { a }", ""), "INVALID_GRAPHQL", 3, 12, "tools.t.graphql"),
        (graphql("{ a(k: \"sk_live_hunter2hunter2\") }", ""), "SECRET_IN_CONFIG", 3, 11, "tools.t.graphql"),
        (graphql("{ a }", "method = \"GET\""), "KEY_NOT_ALLOWED", 4, 10, "tools.t.method"),
        (graphql("{ a }", "body = \".\""), "BODY_NOT_ALLOWED", 4, 8, "tools.t.body"),
        (graphql("{ a }", "variables = \"{\""), "INVALID_JQ", 4, 14, "tools.t.variables"),
        (graphql("{ a }", "partial = \"yes\""), "WRONG_TYPE", 4, 11, "tools.t.partial"),
        (reading("trace = \"no\""), "WRONG_TYPE", 4, 9, "tools.t.trace"),
        (reading("trace = 0"), "WRONG_TYPE", 4, 9, "tools.t.trace"),
        (reading("trace = { enabled = false }"), "WRONG_TYPE", 4, 1, "tools.t.trace"),
        (reading("traces = false"), "UNKNOWN_KEY", 4, 1, "tools.t.traces"),
        (graphql("mutation { a }", "effect = \"read\""), "EFFECT_TOO_WEAK", 4, 10, "tools.t.effect"),
        (graphql("query($id: ID!) { a }", "input = { properties.ident = {} }"), "PLACEHOLDER_NOT_IN_INPUT", 3, 18, "tools.t.graphql"),
        (reading("variables = \".\""), "KEY_NOT_ALLOWED", 4, 1, "tools.t.variables"),
        (reading("partial = true"), "KEY_NOT_ALLOWED", 4, 1, "tools.t.partial"),
        // Pages.
        (pages(""), "MISSING_KEY", 4, 10, "tools.t.pages.kind"),
        (pages("kind = \"curser\""), "INVALID_VALUE", 5, 8, "tools.t.pages.kind"),
        (pages("kind = \"cursor\"\nparam = \"after\""), "MISSING_KEY", 4, 10, "tools.t.pages.next"),
        (pages("kind = \"cursor\"\nnext = \".n\""), "MISSING_KEY", 4, 10, "tools.t.pages.param"),
        (pages("kind = \"page\""), "MISSING_KEY", 4, 10, "tools.t.pages.param"),
        (pages("kind = \"page\"\nparam = \"v\""), "PARAMETER_SET_TWICE", 6, 9, "tools.t.pages.param"),
        (pages("kind = \"page\"\nfield = \"page\""), "KEY_NOT_ALLOWED", 6, 9, "tools.t.pages.field"),
        (pages("kind = \"cursor\"\nnext = \".n\"\nparam = \"a\"\nsize = 5"), "KEY_NOT_ALLOWED", 8, 1, "tools.t.pages.size"),
        (pages("kind = \"link\"\nparam = \"a\""), "KEY_NOT_ALLOWED", 6, 1, "tools.t.pages.param"),
        (pages("kind = \"link\"\nmax = 101"), "OUT_OF_RANGE", 6, 7, "tools.t.pages.max"),
        (pages("kind = \"link\"\nmax_items = 0"), "OUT_OF_RANGE", 6, 13, "tools.t.pages.max_items"),
        (pages("kind = \"link\"\nitems = \".a |\""), "INVALID_JQ", 6, 14, "tools.t.pages.items"),
        (pages("kind = \"link\"\nnext = \"now\""), "INVALID_JQ", 6, 9, "tools.t.pages.next"),
        (pages("kind = \"link\"").replace("GET", "POST"), "KEY_NOT_ALLOWED", 4, 10, "tools.t.pages"),
        (graphql("mutation { a }", "pages.kind = \"link\""), "KEY_NOT_ALLOWED", 4, 1, "tools.t.pages"),
        (graphql("query($a: ID) { a }", "pages = { kind = \"cursor\", next = \".n\", field = \"b\" }"), "INVALID_VALUE", 4, 49, "tools.t.pages.field"),
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
fn what_works_is_not_complained_of() {
    for text in [
        reading(&format!("sign = {{ {SECRET}, header = \"X-S\", over = \"{{id}}\", id_header = \"X-I\" }}")),
        reading(&format!("sign = {{ {SECRET}, header = \"X-S\", over = \"{{id}}\" }}\nidempotency_header = \"X-K\"")),
        reading(&format!("sign = {{ {SECRET}, header = \"X-S\" }}\nauth = {{ {SECRET}, header = \"X-Key\" }}")),
        reading("pages = { kind = \"page\", field = \"page\" }\neffect = \"read\"").replace("GET", "POST"),
        reading("pages = { kind = \"link\", next = \".links.next\" }"),
        graphql(
            "query($a: String) { b }",
            "pages = { kind = \"cursor\", next = \".n\", field = \"a\" }\npartial = true",
        ),
        graphql("query($id: ID!) { a }", "variables = \"{id: .ident}\"\ninput = { properties.ident = {} }"),
        graphql("query($in: I!, $x: Int) { a }", "input = { properties.in = { type = \"object\" } }"),
    ] {
        assert_eq!(found(&text), [], "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(noise in "(sign|tls|pages|auth|graphql|kind|over|secret|[\\[\\]{}=.\"'a-c$\n1, ]){0,30}") {
        let _ = check(&reading(&noise));
        let _ = check(&graphql("{ a }", &noise));
        let _ = check(&reading(&format!("[tools.t.sign]\n{noise}")));
        let _ = check(&reading(&format!("[tools.t.pages]\n{noise}")));
    }
}
