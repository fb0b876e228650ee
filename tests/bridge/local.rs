//! The local stack: what each of its two ports answers and to whom, and that it is made like the one in AWS.

mod template;

use crate::support::{Bridge, exchange, root};
use clawbridge_queue::{CatchUpMessage, Message};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use template::Template;

#[tokio::test]
async fn the_public_port_answers_webhooks_and_nothing_that_is_private() {
    let bridge = Bridge::start("").await;
    bridge.add_source("hooks", "openclaw", "secret");
    let health = bridge.request("GET", "/healthz", &[], b"").await;
    assert_eq!((health.status, &health.body), (200, &json!({"status": "ok"})));
    assert_eq!(bridge.deliver("hooks", "secret", b"{}").await.0, 200);
    // What the private port shows, and AWS calls of each service.
    let targets = [
        "secretsmanager.GetSecretValue",
        "secretsmanager.ListSecrets",
        "AmazonSQS.ReceiveMessage",
        "AmazonSQS.ListQueues",
        "DynamoDB_20120810.Scan",
        "DynamoDB_20120810.ListTables",
    ];
    let asked = json!({"SecretId": "clawbridge/sources/hooks", "TableName": "clawbridge-events"}).to_string();
    for path in ["/", "/echo", "/000000000000/clawbridge-work", "/healthz", "/.well-known/x"] {
        for target in targets {
            let headers = [("x-amz-target", target), ("content-type", "application/x-amz-json-1.0")];
            let got = bridge.request("POST", path, &headers, asked.as_bytes()).await;
            assert_eq!((got.status, &got.body), (404, &json!({"message": "Not Found"})), "{target} {path}");
        }
        if path != "/healthz" {
            let got = bridge.request("GET", path, &[], b"").await;
            assert_eq!((got.status, &got.body), (404, &json!({"message": "Not Found"})), "{path}");
        }
    }
    // A target does not turn a webhook into a call.
    let got = bridge.request("POST", "/hooks/hooks", &[("x-amz-target", targets[0])], asked.as_bytes()).await;
    assert_eq!(got.status, 401, "{got:?}");
    // The same call on the private port is answered.
    let answer = bridge.aws(targets[0], &json!({"SecretId": "clawbridge/sources/hooks"})).await;
    assert_eq!(answer["Name"], "clawbridge/sources/hooks");
}

#[tokio::test]
async fn the_private_port_answers_only_to_names_of_this_machine() {
    let bridge = Bridge::start("").await;
    let port = bridge.private.rsplit(':').next().expect("a port").to_owned();
    let ask = async |request: &str, host: &str, more: &str| {
        let text = format!("{request} HTTP/1.1\r\nhost: {host}\r\n{more}connection: close\r\n\r\n");
        exchange(&bridge.private, text.as_bytes()).await
    };
    for host in ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"] {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            let (status, text) = ask("GET /", &host, "").await;
            assert_eq!(status, 200, "{host}: {text}");
            assert!(text.contains("\"queue\": \"clawbridge-work\""), "{text}");
        }
    }
    // A page in a browser can make a name of its own lead here, and then reads the answer.
    let call = "x-amz-target: secretsmanager.ListSecrets\r\ncontent-length: 0\r\n";
    for host in [
        "evil.example",
        &format!("evil.example:{port}"),
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "0.0.0.0",
        "127.0.0.2",
        "",
    ] {
        for (request, more) in [("GET /", ""), ("GET /echo", ""), ("POST /", call), ("GET http://127.0.0.1/", "")] {
            let (status, text) = ask(request, host, more).await;
            assert!(status == 403 || status == 400, "{request} for {host:?}: {status} {text}");
            assert!(!text.contains("clawbridge"), "{request} for {host:?}: {text}");
        }
    }
    // No other page may read what it is answered.
    let (_, text) = ask("GET /", "127.0.0.1", "origin: http://evil.example\r\n").await;
    assert!(!text.to_ascii_lowercase().contains("access-control-"), "{text}");
    // A tunnel brings names of its own to the public port.
    let request = "GET /healthz HTTP/1.1\r\nhost: bridge.example\r\nconnection: close\r\n\r\n";
    assert_eq!(exchange(&bridge.public, request.as_bytes()).await.0, 200);
}

#[tokio::test]
async fn the_ports_are_open_to_this_machine_alone() {
    let bridge = Bridge::start("").await;
    for url in [&bridge.public, &bridge.private] {
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    }
}

fn template() -> Template {
    let text = std::fs::read_to_string(root().join("infra/template.yaml")).expect("template.yaml");
    Template::parse(&text)
}

#[derive(Debug, PartialEq)]
struct Index {
    key: Vec<(String, String)>,
    projection: String,
    included: BTreeSet<String>,
}

/// What a table is made of, in one form for both: key, indexes, attributes' types, expiry.
#[derive(Debug, PartialEq)]
struct Table {
    key: Vec<(String, String)>,
    attributes: BTreeMap<String, String>,
    indexes: BTreeMap<String, Index>,
    billing: String,
    expires_by: String,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// From the properties of the template's resource, or from what DescribeTable says: the two use the same words.
fn table(described: &Value, billing: &Value, expiry: &Value) -> Table {
    let key =
        |schema: &Value| each(schema).map(|part| (text(&part["AttributeName"]), text(&part["KeyType"]))).collect();
    let index = |index: &Value| {
        let projection = &index["Projection"];
        let shape = Index {
            key: key(&index["KeySchema"]),
            projection: text(&projection["ProjectionType"]),
            included: each(&projection["NonKeyAttributes"]).map(text).collect(),
        };
        (text(&index["IndexName"]), shape)
    };
    Table {
        key: key(&described["KeySchema"]),
        attributes: each(&described["AttributeDefinitions"])
            .map(|attribute| (text(&attribute["AttributeName"]), text(&attribute["AttributeType"])))
            .collect(),
        indexes: each(&described["GlobalSecondaryIndexes"]).map(index).collect(),
        billing: text(billing),
        expires_by: text(expiry),
    }
}

#[tokio::test]
async fn the_tables_are_those_of_the_template() {
    let (bridge, template) = (Bridge::start("").await, template());
    let names = bridge.aws("DynamoDB_20120810.ListTables", &json!({})).await;
    assert_eq!(
        names["TableNames"],
        json!([
            "clawbridge-channel",
            "clawbridge-events",
            "clawbridge-limits",
            "clawbridge-registry",
            "clawbridge-tasks"
        ])
    );
    assert_eq!(
        template.of_type("AWS::DynamoDB::Table"),
        ["ChannelTable", "EventsTable", "LimitsTable", "RegistryTable", "TasksTable"]
    );
    let tables = [
        ("EventsTable", "events"),
        ("TasksTable", "tasks"),
        ("RegistryTable", "registry"),
        ("LimitsTable", "limits"),
        ("ChannelTable", "channel"),
    ];
    for (resource, name) in tables {
        let declared = template.properties(resource);
        assert_eq!(declared["TableName"], format!("${{AWS::StackName}}-{name}"));
        let asked = json!({"TableName": format!("clawbridge-{name}")});
        let made = bridge.aws("DynamoDB_20120810.DescribeTable", &asked).await["Table"].take();
        let expiry = bridge.aws("DynamoDB_20120810.DescribeTimeToLive", &asked).await["TimeToLiveDescription"].take();
        assert_eq!(
            (&expiry["TimeToLiveStatus"], &declared["TimeToLiveSpecification"]["Enabled"]),
            (&json!("ENABLED"), &json!("true"))
        );
        assert_eq!(
            table(&made, &made["BillingModeSummary"]["BillingMode"], &expiry["AttributeName"]),
            table(declared, &declared["BillingMode"], &declared["TimeToLiveSpecification"]["AttributeName"]),
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_queues_are_those_of_the_template_but_for_the_visibility() {
    let (bridge, template) = (Bridge::start("").await, template());
    assert_eq!(template.of_type("AWS::SQS::Queue"), ["DeadLetterQueue", "InteractiveQueue", "WorkQueue"]);
    for (resource, name) in [("WorkQueue", "work"), ("InteractiveQueue", "interactive"), ("DeadLetterQueue", "dead")] {
        let declared = template.properties(resource);
        assert_eq!(declared["QueueName"], format!("${{AWS::StackName}}-{name}"));
        let made = bridge.queue_attributes(&format!("clawbridge-{name}")).await;
        for attribute in ["MessageRetentionPeriod", "MaximumMessageSize"] {
            assert_eq!(made[attribute], declared[attribute], "{attribute} of {name}");
        }
    }
    for (resource, name) in [("WorkQueue", "work"), ("InteractiveQueue", "interactive")] {
        let (declared, made) =
            (template.properties(resource), bridge.queue_attributes(&format!("clawbridge-{name}")).await);
        let redrive: Value = serde_json::from_str(made["RedrivePolicy"].as_str().expect("a policy")).expect("JSON");
        assert_eq!(redrive["maxReceiveCount"].to_string(), text(&declared["RedrivePolicy"]["maxReceiveCount"]));
        assert_eq!(declared["RedrivePolicy"]["deadLetterTargetArn"], "DeadLetterQueue.Arn");
        assert!(redrive["deadLetterTargetArn"].as_str().is_some_and(|arn| arn.ends_with(":clawbridge-dead")));
    }
    // AWS asks for six times the function's limit. Here it is a minute: a restart is no rare thing, and who waits is a person.
    let seconds = |value: &Value| -> u64 { text(value).parse().expect("seconds") };
    let limit = seconds(&template.properties("WorkerFunction")["Timeout"]);
    for (resource, name) in [("WorkQueue", "work"), ("InteractiveQueue", "interactive")] {
        assert_eq!(seconds(&template.properties(resource)["VisibilityTimeout"]), 6 * limit);
        assert_eq!(bridge.queue_attributes(&format!("clawbridge-{name}")).await["VisibilityTimeout"], "60");
    }
    // Both queues lead to the worker, each with a share of its own.
    let events = &template.properties("WorkerFunction")["Events"];
    for (event, queue, share) in [
        ("Work", "WorkQueue.Arn", "WorkerConcurrency"),
        ("Interactive", "InteractiveQueue.Arn", "InteractiveConcurrency"),
    ] {
        let mapped = &events[event]["Properties"];
        assert_eq!((&mapped["Queue"], &mapped["ScalingConfig"]["MaximumConcurrency"]), (&json!(queue), &json!(share)));
    }
    // The command line's default is the template's limit.
    let help = crate::support::run(&["dev", "--help"], "").out;
    assert!(help.contains(&format!("Seconds that one invocation of the worker may take [default: {limit}]")), "{help}");
}

/// A function that misses a variable does not start, or works under a name that nobody meant.
#[test]
fn the_template_gives_each_function_every_variable_that_it_reads() {
    let template = template();
    for (resource, name) in [
        ("WebhookFunction", "webhook/src/lib.rs"),
        ("WorkerFunction", "worker/src/lib.rs"),
        ("OauthFunction", "oauth/src/lib.rs"),
        ("ApiFunction", "api/src/state.rs"),
    ] {
        let code = std::fs::read_to_string(root().join("functions").join(name)).expect("the settings");
        // Settings name their variables in their documentation: `QUEUE_URL`.
        let settings = code.split("pub struct Settings {").nth(1).and_then(|rest| rest.split("\n}").next());
        let read: BTreeSet<&str> = settings
            .expect("settings")
            .lines()
            .filter_map(|line| line.trim().strip_prefix("/// `"))
            .filter_map(|line| line.split('`').next())
            .collect();
        let variables = &template.properties(resource)["Environment"]["Variables"];
        let given: BTreeSet<&str> = variables.as_object().expect("variables").keys().map(String::as_str).collect();
        assert!(read.contains("QUEUE_URL") && read.contains("SECRET_PREFIX"), "{read:?}");
        assert_eq!(read, given, "{name}");
    }
}

/// What the schedule in AWS sends is a message that the worker reads, and the one that `dev` sends, on the same rhythm.
#[test]
fn the_templates_schedule_sends_what_the_worker_takes_for_a_catch_up() {
    let template = template();
    assert_eq!(template.of_type("AWS::Scheduler::Schedule"), ["CatchUp", "Refresh"]);
    let target = &template.properties("CatchUp")["Target"];
    let input = text(&target["Input"]);
    assert_eq!(Message::decode(input.trim_matches('\'')), Ok(Message::CatchUp(CatchUpMessage::default())));
    assert_eq!(target["Arn"], "WorkQueue.Arn");
    let policy = &template.properties("CatchUpRole")["Policies"][0]["PolicyDocument"]["Statement"];
    assert_eq!((&policy[0]["Action"], &policy[0]["Resource"]), (&json!("sqs:SendMessage"), &json!("WorkQueue.Arn")));
    let yaml = std::fs::read_to_string(root().join("infra/template.yaml")).expect("the template");
    assert!(yaml.contains("Default: rate(15 minutes)"));
    let help = crate::support::run(&["dev", "--help"], "").out;
    assert!(help.contains("0 for never [default: 900]"), "{help}");
}

/// The other schedule asks what `oauth` reads, as often as `dev` does, and may do nothing else.
#[test]
fn the_templates_schedule_asks_oauth_to_refresh_connections() {
    let template = template();
    let refresh = template.properties("Refresh");
    assert_eq!(refresh["ScheduleExpression"], "rate(1 minute)");
    assert_eq!(text(&refresh["Target"]["Input"]).trim_matches('\''), clawbridge_oauth_function::REFRESH);
    assert_eq!(refresh["Target"]["Arn"], "OauthFunction.Arn");
    let policy = &template.properties("RefreshRole")["Policies"][0]["PolicyDocument"]["Statement"];
    let allowed = (&policy[0]["Action"], &policy[0]["Resource"], policy.as_array().map(Vec::len));
    assert_eq!(allowed, (&json!("lambda:InvokeFunction"), &json!("OauthFunction.Arn"), Some(1)));
    let help = crate::support::run(&["dev", "--help"], "").out;
    assert!(help.contains("tokens expire soon. 0 for never [default: 60]"), "{help}");
}

/// What faces the internet and holds tokens reads clients and keeps connections, and writes no configuration.
#[test]
fn oauth_has_no_right_to_sources_tools_and_configuration() {
    let template = template();
    let policy = template.properties("OauthRole")["Policies"][0]["PolicyDocument"]["Statement"].to_string();
    for mine in ["/providers/*", "/connections/*", "StateKey", "RegistryTable.Arn", "WorkQueue.Arn"] {
        assert!(policy.contains(mine), "{mine}: {policy}");
    }
    for other in
        ["/sources/", "/tools/", "EventsTable", "TasksTable", "LimitsTable", "ReceiveMessage", "Delete", "Scan"]
    {
        assert!(!policy.contains(other), "{other}: {policy}");
    }
    for role in ["OauthRole", "WorkerRole"] {
        let policy = &template.properties(role)["Policies"][0]["PolicyDocument"]["Statement"];
        for statement in each(policy).filter(|statement| statement["Resource"] == "RegistryTable.Arn") {
            let is_write = statement["Action"].to_string().contains("PutItem");
            let kinds = statement["Condition"]["ForAllValues:StringEquals"]["dynamodb:LeadingKeys"].to_string();
            assert_eq!(is_write, kinds.contains("connection") && !kinds.contains("config"), "{role}: {statement}");
        }
    }
}

#[tokio::test]
async fn the_public_ports_routes_are_those_of_the_template() {
    let (bridge, template) = (Bridge::start("").await, template());
    let events = template.properties("WebhookFunction")["Events"].as_object().expect("events").values();
    let (hooks, others): (Vec<&Value>, Vec<&Value>) =
        events.map(|event| &event["Properties"]).partition(|event| event["Path"] == "/hooks/{source}");
    let [callback] = others.as_slice() else { panic!("{others:?}") };
    assert_eq!((&callback["Path"], &callback["Method"]), (&json!("/callbacks/{ticket}"), &json!("POST")));
    assert_eq!(bridge.request("POST", "/callbacks/x", &[], b"").await.body["error"]["code"], "UNKNOWN_CALLBACK");
    let mut methods: Vec<String> = hooks.into_iter().map(|event| text(&event["Method"])).collect();
    methods.sort_unstable();
    assert_eq!(methods, ["GET", "HEAD", "POST"]);
    let pages = template.properties("OauthFunction")["Events"].as_object().expect("events").values();
    let pages: Vec<(String, String)> =
        pages.map(|event| (text(&event["Properties"]["Method"]), text(&event["Properties"]["Path"]))).collect();
    let any = |path: &str| ("ANY".to_owned(), path.to_owned());
    assert_eq!(pages, [any("/oauth/callback/{provider}"), any("/oauth/connect/{ticket}")]);
    for path in ["/oauth/callback/x", "/oauth/connect/x"] {
        assert_eq!(bridge.request("PATCH", path, &[], b"").await.status, 405, "{path}");
    }
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        // A name that cannot be a source's: only the function says what is not known, the gateway says what is no route.
        let got = bridge.request(method, "/hooks/No-Source", &[], b"").await;
        let by_function = got.headers.contains_key("x-content-type-options");
        assert_eq!(
            (got.status, by_function),
            (404, methods.iter().any(|routed| routed == method)),
            "{method}: {got:?}"
        );
    }
}

/// A metric may be divided only by what the operator names: what strangers invent would become metrics, at a price each.
#[test]
fn refusals_are_a_metric_of_what_the_journal_counts() {
    let template = template();
    let filter = template.properties("WebhookRefusals");
    let metric = &filter["MetricTransformations"][0];
    let fields = [&metric["MetricValue"], &metric["Dimensions"][0]["Value"], &metric["Dimensions"][1]["Value"]];
    assert_eq!(fields, ["$.count", "$.counted_as", "$.code"]);
    let entry = clawbridge_journal::Entry::WebhookRefused {
        source: "invented",
        counted_as: "-",
        count: 3,
        status: 404,
        code: "UNKNOWN_SOURCE",
        reason: "",
        request_id: "r",
    };
    let line: Value = serde_json::from_slice(&clawbridge_journal::line(&entry, 0)).expect("JSON");
    assert!(text(&filter["FilterPattern"]).contains(&format!("$.kind = {}", line["kind"])), "{filter}");
    assert_eq!((&line["count"], &line["counted_as"]), (&json!(3), &json!("-")));
}
