//! The operator's view of limits and circuits.

use crate::support::Bridge;
use clawbridge_aws::{Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_limits::{Acquired, Ended, Guard, Limits, Said};
use serde_json::json;
use std::time::Duration;

const CONFIG: &str = r#"
[tools.one]
method = "GET"
url = "https://a.example"
limit = "api"
circuit = { failures = 1, open = "15m" }

[tools.two]
method = "GET"
url = "https://a.example"
limit = "api"

[tools.free]
method = "GET"
url = "https://a.example"

[limits.api]
rate = "10/h"
burst = 5
"#;

#[tokio::test]
async fn an_operator_sees_what_holds_calls_up_and_can_end_it() {
    let bridge = Bridge::start(CONFIG).await;
    assert_eq!(bridge.run(&["limits", "list", "--json"]).json(), json!([]));
    assert_eq!(bridge.run(&["limits", "list"]).out.trim(), "No tool was held up lately.");

    // A call of the tool that fails, and says when to come back.
    let config = clawbridge_config::check(CONFIG).0.expect("a configuration").compile().expect("the same");
    let guard = Guard::of(config.tool("one").expect("the tool"), None);
    let tables = sdk_config(&Environment::local(&bridge.private)).expect("a configuration");
    let tables = aws_sdk_dynamodb::Client::new(&tables);
    let limits = Limits::new(&tables, "clawbridge-limits".to_owned(), "test".to_owned());
    let Acquired::Granted(permit) = limits.acquire(&guard, Timestamp::now(), 0.0).await else { panic!("no token") };
    let said = Said { retry_after: Some(Duration::from_secs(600)), ..Said::default() };
    assert_eq!(limits.report(&guard, permit, Ended::Failed, said, Timestamp::now(), 0.0).await, None);

    let list = bridge.run(&["limits", "list", "--json"]).json();
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    let [circuit, limit] = [&list[0], &list[1]];
    assert_eq!((&circuit["scope"], &circuit["tools"]), (&json!("circuit/one"), &json!(["one"])));
    assert_eq!(circuit["circuit"]["state"], "open");
    assert!(circuit["circuit"]["open_until"].is_string() && circuit["limit"].is_null(), "{circuit}");
    assert_eq!((&limit["scope"], &limit["tools"]), (&json!("limit/api"), &json!(["one", "two"])));
    assert_eq!(limit["limit"], json!({"left": 4, "burst": 5}));
    assert!(limit["paused_until"].is_string() && limit["circuit"].is_null(), "{limit}");
    let shown = bridge.run(&["limits", "list"]).out;
    assert!(shown.contains("paused") && shown.contains("open") && shown.contains("one, two"), "{shown}");

    let reset = bridge.run(&["limits", "reset", "limit/api", "--json"]);
    assert_eq!((reset.status, reset.json()), (0, json!({"reset": true, "scope": "limit/api"})));
    assert_eq!(bridge.run(&["limits", "reset", "circuit/one"]).status, 0);
    assert_eq!(bridge.run(&["limits", "list", "--json"]).json(), json!([]));
    let again = bridge.run(&["limits", "reset", "circuit/one", "--json"]);
    assert_eq!((again.status, again.error_code().as_str()), (3, "UNKNOWN_SCOPE"));
}
