use super::*;
use crate::model::Target;
use crate::template::TemplateError;
use serde_json::json;

fn compiled(text: &str) -> Compiled {
    let (config, diagnostics) = document::check(text);
    config.unwrap_or_else(|| panic!("{diagnostics:?}")).compile().unwrap()
}

const TOOL: &str = r#"
[tools.pay]
method = "POST"
url = "https://api.example.com/v1/{customer}/payments?v=2"
query = { limit = "{limit}", expand = "a b" }
headers = { X-Version = "v{version}", accept = "application/json" }
body = '{amount, by: .customer}'
idempotency_key = '.key'
input = { type = "object", required = ["customer"] }
output = { type = "object", required = ["id"] }

[tools.list]
method = "GET"
url = "bridge:/api/v1/tasks?"
query = { state = "failed" }

[[routes]]
name = "big"
source = "stripe"
type = "payment_intent.*"
filter = '.body.amount > 10'
tool = "pay"
input = '{customer: .body.customer}'

[[routes]]
name = "all"
source = "stripe"
tool = "list"

[[routes]]
name = "other"
source = "github"
tool = "list"

[network]
allow = ["10.0.0.0/8"]
"#;

#[test]
fn a_tool_makes_its_request() {
    let compiled = compiled(TOOL);
    let pay = compiled.tool("pay").unwrap();
    let input = json!({"customer": "cus/1", "limit": 5, "version": 3, "amount": 7, "key": 12345678901234567890_u64});
    assert_eq!(pay.url(&input).unwrap(), "https://api.example.com/v1/cus%2F1/payments?v=2&expand=a%20b&limit=5");
    let headers = pay.headers(&input).unwrap();
    assert_eq!(headers, [("accept".into(), "application/json".into()), ("x-version".into(), "v3".into())]);
    assert_eq!(pay.body(&input).unwrap(), Some(json!({"amount": 7, "by": "cus/1"})));
    assert_eq!(pay.idempotency_key(&input).unwrap().as_deref(), Some("12345678901234567890"));
    assert_eq!(pay.tool().timeout.duration().as_secs(), 10);
    assert!(!pay.calls_bridge());

    let list = compiled.tool("list").unwrap();
    assert_eq!(list.url(&json!(null)).unwrap(), "bridge:/api/v1/tasks?state=failed");
    assert_eq!((list.body(&json!(1)), list.idempotency_key(&json!(1))), (Ok(None), Ok(None)));
    assert!(list.calls_bridge());
    assert_eq!(compiled.tools().keys().collect::<Vec<_>>(), ["list", "pay"]);
    assert!(compiled.tool("nosuch").is_none());
}

#[test]
fn optional_parameters_and_headers_are_left_out() {
    let compiled = compiled(
        r#"
        [tools.list]
        method = "GET"
        url = "https://api.example.com/orders"
        query = { a = "{a?}", b = "{b?}", c = "{c?}" }
        headers = { x-trace = "{trace?}", accept = "application/json" }
        "#,
    );
    let list = compiled.tool("list").unwrap();
    assert_eq!(list.url(&json!({})).unwrap(), "https://api.example.com/orders");
    assert_eq!(list.url(&json!({"c": 1, "a": null})).unwrap(), "https://api.example.com/orders?c=1");
    assert_eq!(list.url(&json!({"a": 1, "c": "x"})).unwrap(), "https://api.example.com/orders?a=1&c=x");
    let accept = ("accept".to_owned(), "application/json".to_owned());
    assert_eq!(list.headers(&json!({})).unwrap(), std::slice::from_ref(&accept));
    assert_eq!(list.headers(&json!({"trace": "t"})).unwrap(), [accept, ("x-trace".into(), "t".into())]);
}

#[test]
fn what_the_input_lacks_is_named() {
    let compiled = compiled(TOOL);
    let pay = compiled.tool("pay").unwrap();
    let error = pay.url(&json!({"customer": "x"})).unwrap_err();
    assert_eq!(error.to_string(), "the input has no field \"limit\", which the query parameter \"limit\" needs");
    let error = pay.headers(&json!({"version": "1\r\nx: y"})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the field \"version\" of the input has characters that the header \"x-version\" cannot carry"
    );
    assert!(matches!(
        pay.url(&json!({"customer": "x", "limit": "y".repeat(8190)})),
        Err(TemplateError::TooLong { .. })
    ));
}

#[test]
fn a_key_is_a_text_or_a_number() {
    let compiled = compiled(TOOL);
    let pay = compiled.tool("pay").unwrap();
    let key = |key: Value| pay.idempotency_key(&json!({ "key": key }));
    assert_eq!(key(json!("pi_1")), Ok(Some("pi_1".into())));
    assert_eq!(key(json!(1.5)), Ok(Some("1.5".into())));
    for (value, found) in
        [(json!(null), "null"), (json!(true), "a boolean"), (json!([1]), "an array"), (json!({}), "an object")]
    {
        assert_eq!(key(value), Err(KeyError::NotPlain { found }));
    }
    for value in ["", "a b", "é", "a\n", &"x".repeat(256)] {
        assert_eq!(key(json!(value)), Err(KeyError::Unusable), "{value}");
    }
    assert!(matches!(pay.idempotency_key(&json!(1)), Err(KeyError::Program(RunError::Failed { .. }))));
}

#[test]
fn values_are_checked_against_the_schemas() {
    let compiled = compiled(TOOL);
    let (pay, list) = (compiled.tool("pay").unwrap(), compiled.tool("list").unwrap());
    assert_eq!(pay.check_input(&json!({"customer": 1})), Ok(()));
    assert_eq!(pay.check_input(&json!({})).unwrap_err()[0].message, "\"customer\" is a required property");
    assert_eq!(pay.check_output(&json!([])).unwrap_err()[0].message, "value is not of type \"object\"");
    assert_eq!((list.check_input(&json!(1)), list.check_output(&json!(null))), (Ok(()), Ok(())));
}

#[test]
fn an_event_takes_the_routes_of_its_source_and_type_in_order() {
    let compiled = compiled(TOOL);
    let names =
        |source, event_type| compiled.routes_for(source, event_type).map(CompiledRoute::name).collect::<Vec<_>>();
    assert_eq!(names("stripe", "payment_intent.succeeded"), ["big", "all"]);
    assert_eq!(names("stripe", "ping"), ["all"]);
    assert_eq!(names("github", "payment_intent.succeeded"), ["other"]);
    assert!(names("str", "ping").is_empty());
    assert_eq!(compiled.routes().len(), 3);

    let big = &compiled.routes()[0];
    let event = json!({"body": {"amount": 11, "customer": "c"}});
    assert_eq!((big.lets_pass(&event), big.input(&event)), (Ok(true), Ok(json!({"customer": "c"}))));
    assert_eq!(big.lets_pass(&json!({"body": {"amount": 10}})), Ok(false));
    assert!(big.lets_pass(&json!({"body": "x"})).is_err());
    assert_eq!((big.target(), big.route().source.as_str()), (&Target::Tool("pay".into()), "stripe"));
    let all = &compiled.routes()[1];
    assert_eq!((all.lets_pass(&json!(1)), all.input(&event)), (Ok(true), Ok(json!({"amount": 11, "customer": "c"}))));
}

#[test]
fn only_listed_addresses_are_allowed() {
    let compiled = compiled(TOOL);
    assert!(compiled.allows("10.1.2.3".parse().unwrap()) && compiled.allows("::ffff:10.1.2.3".parse().unwrap()));
    assert!(!compiled.allows("127.0.0.1".parse().unwrap()) && !compiled.allows("::1".parse().unwrap()));
}

#[test]
fn a_compiled_document_is_shared_between_threads() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    shared(&compiled(TOOL));
}

#[test]
fn an_order_key_is_a_text_or_a_number_and_nothing_else() {
    let order = |program: &str| {
        let name = "name = \"all\"";
        let compiled = compiled(&TOOL.replace(name, &format!("{name}\norder = '{program}'")));
        let event = json!({"body": {"order": "o-1", "n": 7, "none": null, "empty": ""}});
        compiled.routes()[1].order(&event).map_err(|error| error.to_string())
    };
    assert_eq!(order(".body.order"), Ok(Some("o-1".to_owned())));
    assert_eq!(order(".body.n"), Ok(Some("7".to_owned())));
    assert_eq!(order("[.body.n, .body.order] | join(\"/\")"), Ok(Some("7/o-1".to_owned())));
    for (program, says) in [
        (".body.missing", "null"),
        (".body.empty", "an empty text"),
        (".body", "an object"),
        ("[]", "an array"),
        ("true", "a boolean"),
        (".body.order.x", "the program failed"),
        ("empty", "no output"),
    ] {
        let error = order(program).expect_err("an error");
        assert!(error.contains(says), "{program}: {error}");
    }
    assert_eq!(compiled(TOOL).routes()[0].order(&json!({})), Ok(None));
}
