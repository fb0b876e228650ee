//! ARCHITECTURE.md's table of answers, row by row: what an upstream does, against tools of each effect.

use crate::certificates::{Server, TLS_13, pem, requiring};
use crate::graphql::graphql;
use crate::support::work::{ALLOW, attempts, bridge, decided, ended, send, show, tool};
use crate::support::{Bridge, Reply, Stub, eventually, root};
use crate::tool_commands::set_secret;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the answer is for: a tool that reads, one that may be repeated, one that may not, and such a one that can be verified.
const KINDS: [&str; 4] = ["read", "idempotent", "unsafe", "verified"];

/// How a task ends.
#[derive(Clone, Copy)]
struct End {
    state: &'static str,
    /// What was decided after each attempt, and after a look.
    decisions: &'static [&'static str],
    /// Requests that the upstream saw, the looks left out.
    requests: usize,
    looks: usize,
}

const AGAIN: End = End { state: "failed", decisions: &["retry", "failed"], requests: 2, looks: 0 };
const ONCE: End = End { state: "failed", decisions: &["failed"], requests: 1, looks: 0 };
const NULL: End = End { state: "succeeded", decisions: &["succeeded"], requests: 1, looks: 0 };
const PARKED: End = End { state: "parked", decisions: &["parked"], requests: 1, looks: 0 };
const FOUND: End = End { state: "succeeded", decisions: &["unknown", "succeeded"], requests: 1, looks: 1 };

/// What happens, in the order of [`KINDS`].
type Ends = [End; 4];

/// The upstream has declined for now, or nothing has reached it: every effect is tried again.
const DECLINED: Ends = [AGAIN; 4];
/// The upstream may have acted.
const BROKEN: Ends = [AGAIN, AGAIN, PARKED, FOUND];
/// The upstream has refused for good.
const REFUSED: Ends = [ONCE; 4];
const MISSING: Ends = [NULL, ONCE, ONCE, ONCE];
/// An answer that nobody can read is looked up where that can be done.
const UNREADABLE: Ends = [ONCE, ONCE, ONCE, FOUND];

const fn unsent(ends: Ends) -> Ends {
    let [read, idempotent, unsafe_, verified] = ends;
    [
        End { requests: 0, ..read },
        End { requests: 0, ..idempotent },
        End { requests: 0, ..unsafe_ },
        End { requests: 0, ..verified },
    ]
}

/// Where the tool's requests go.
#[derive(Clone, Copy, PartialEq)]
enum At {
    /// An upstream that gives the row's reply.
    Upstream,
    /// The same, as a GraphQL operation.
    GraphQl,
    /// A port that nobody listens on.
    Nobody,
    /// A server that wants a client certificate.
    Guarded,
}

struct Row {
    name: String,
    at: At,
    /// More of the tool; `{kind}` is its kind.
    tool: &'static str,
    reply: Reply,
    code: &'static str,
    class: &'static str,
    ends: Ends,
}

/// Code and class, as the table pairs them.
type Meaning = (&'static str, &'static str);

const RATE_LIMITED: Meaning = ("RATE_LIMITED", "transient");
const UNAVAILABLE: Meaning = ("UNAVAILABLE", "transient");
const TIMEOUT: Meaning = ("TIMEOUT", "transient");
const UPSTREAM_ERROR: Meaning = ("UPSTREAM_ERROR", "server");
const VALIDATION_ERROR: Meaning = ("VALIDATION_ERROR", "client");
const CONFLICT: Meaning = ("CONFLICT", "client");
const AUTHENTICATION_FAILED: Meaning = ("AUTHENTICATION_FAILED", "auth");
const FORBIDDEN: Meaning = ("FORBIDDEN", "auth");
const CREDENTIAL_UNAVAILABLE: Meaning = ("CREDENTIAL_UNAVAILABLE", "auth");
const NOT_FOUND: Meaning = ("NOT_FOUND", "missing");
const UNEXPECTED_RESPONSE: Meaning = ("UNEXPECTED_RESPONSE", "unknown");

fn row(name: &str, reply: Reply, (code, class): Meaning, ends: Ends) -> Row {
    Row { name: name.to_owned(), at: At::Upstream, tool: "", reply, code, class, ends }
}

fn status(status: u16, meaning: Meaning, ends: Ends) -> Row {
    row(&format!("s{status}"), Reply::Json(status, json!({"status": status})), meaning, ends)
}

fn headed(name: &str, status: u16, header: (&str, &str), meaning: Meaning, ends: Ends) -> Row {
    let headers = vec![(header.0.to_owned(), header.1.to_owned())];
    row(name, Reply::With(status, headers, String::new()), meaning, ends)
}

fn json_text(name: &str, body: &str) -> Row {
    row(name, Reply::of(200, "application/json", body), UNEXPECTED_RESPONSE, UNREADABLE)
}

fn operation(word: &str, meaning: Meaning, ends: Ends) -> Row {
    let answer = json!({"data": null, "errors": [{"message": "no", "extensions": {"code": word}}]});
    Row { at: At::GraphQl, ..row(&word.to_ascii_lowercase(), Reply::Json(200, answer), meaning, ends) }
}

fn rows() -> Vec<Row> {
    let raw = |text: &str| Reply::Raw(text.as_bytes().to_vec());
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":";
    let github = json!({"data": null, "errors": [{"type": "FORBIDDEN", "message": "no"}]});
    let typed = json!({"errors": [{"extensions": {"code": "FORBIDDEN"}}]});
    let partial = json!({"data": {"a": 1}, "errors": [{"extensions": {"code": "THROTTLED"}}]});
    let in_graphql = |row: Row| Row { at: At::GraphQl, ..row };
    vec![
        // Transient.
        status(408, UNAVAILABLE, DECLINED),
        status(425, UNAVAILABLE, DECLINED),
        status(429, RATE_LIMITED, DECLINED),
        status(503, UNAVAILABLE, DECLINED),
        headed("asked_to_wait", 403, ("retry-after", "1"), RATE_LIMITED, DECLINED),
        headed("quota_gone", 403, ("x-ratelimit-remaining", "0"), RATE_LIMITED, DECLINED),
        Row { at: At::Nobody, ..row("refused", status_of(200), UNAVAILABLE, unsent(DECLINED)) },
        Row { tool: "timeout = \"1s\"", ..row("silent", Reply::Silence, TIMEOUT, BROKEN) },
        Row { tool: "timeout = \"1s\"", ..row("stalled", Reply::Stall(half.into()), TIMEOUT, BROKEN) },
        row("cut_before", raw(""), UNAVAILABLE, BROKEN),
        row("cut_in_the_head", raw("HTTP/1.1 200 OK\r\ncontent-le"), UNAVAILABLE, BROKEN),
        row("cut_in_the_body", raw(half), UNAVAILABLE, BROKEN),
        // Server.
        status(500, UPSTREAM_ERROR, BROKEN),
        status(502, UPSTREAM_ERROR, BROKEN),
        status(504, UPSTREAM_ERROR, BROKEN),
        // Client.
        status(400, VALIDATION_ERROR, REFUSED),
        status(402, VALIDATION_ERROR, REFUSED),
        status(409, CONFLICT, REFUSED),
        status(418, VALIDATION_ERROR, REFUSED),
        status(422, VALIDATION_ERROR, REFUSED),
        Row {
            tool: "input = { type = \"object\", required = [\"id\"] }",
            ..row("bad_input", status_of(200), VALIDATION_ERROR, unsent(REFUSED))
        },
        // Auth.
        status(401, AUTHENTICATION_FAILED, REFUSED),
        status(403, FORBIDDEN, REFUSED),
        headed("quota_left", 403, ("x-ratelimit-remaining", "7"), FORBIDDEN, REFUSED),
        Row {
            tool: "auth = { secret = \"clawbridge/tools/none\" }",
            ..row("no_secret", status_of(200), CREDENTIAL_UNAVAILABLE, unsent(REFUSED))
        },
        Row {
            at: At::Guarded,
            tool: "tls = { ca = \"clawbridge/tools/authority\" }",
            ..row("no_certificate", status_of(200), AUTHENTICATION_FAILED, unsent(REFUSED))
        },
        // Missing.
        status(404, NOT_FOUND, MISSING),
        status(410, NOT_FOUND, MISSING),
        // Unknown.
        status(501, UNEXPECTED_RESPONSE, UNREADABLE),
        status(599, UNEXPECTED_RESPONSE, UNREADABLE),
        headed("moved", 302, ("location", "/elsewhere"), UNEXPECTED_RESPONSE, UNREADABLE),
        json_text("malformed", "{\"id\":"),
        row("page", Reply::of(200, "text/html", "<html>"), UNEXPECTED_RESPONSE, UNREADABLE),
        headed("compressed", 200, ("content-encoding", "gzip"), UNEXPECTED_RESPONSE, UNREADABLE).with_body("{}"),
        Row { tool: "max_response = \"1KiB\"", ..json_text("too_large", &format!("\"{}\"", "x".repeat(2048))) },
        Row { tool: "output = { type = \"object\", required = [\"id\"] }", ..json_text("breaks_the_schema", "{}") },
        // GraphQL: what the code names, whatever the status.
        operation("THROTTLED", RATE_LIMITED, DECLINED),
        operation("SERVICE_UNAVAILABLE", UNAVAILABLE, DECLINED),
        operation("INTERNAL_SERVER_ERROR", UPSTREAM_ERROR, BROKEN),
        operation("BAD_USER_INPUT", VALIDATION_ERROR, REFUSED),
        operation("UNAUTHENTICATED", AUTHENTICATION_FAILED, REFUSED),
        operation("FORBIDDEN", FORBIDDEN, REFUSED),
        operation("NOT_FOUND", NOT_FOUND, MISSING),
        operation("SOMETHING_NEW", UNEXPECTED_RESPONSE, UNREADABLE),
        in_graphql(row("by_type", Reply::Json(200, github), FORBIDDEN, REFUSED)),
        in_graphql(row("beside_a_status", Reply::Json(400, typed), FORBIDDEN, REFUSED)),
        in_graphql(row("beside_data", Reply::Json(200, partial), RATE_LIMITED, BROKEN)),
        in_graphql(json_text("neither", "{}")),
    ]
}

fn status_of(status: u16) -> Reply {
    Reply::Json(status, json!({}))
}

impl Row {
    fn with_body(mut self, text: &str) -> Row {
        if let Reply::With(_, _, body) = &mut self.reply {
            text.clone_into(body);
        }
        self
    }

    fn tool_name(&self, kind: &str) -> String {
        format!("{}_{kind}", self.name)
    }

    fn status(&self) -> Option<u16> {
        match &self.reply {
            Reply::Json(status, _) | Reply::With(status, ..) => Some(*status),
            _ => None,
        }
    }

    /// The tool of this kind with its route.
    fn declared(&self, kind: &str, url: &str) -> String {
        let (name, key) = (self.tool_name(kind), "idempotency_header = \"X-Key\"");
        let time = if self.tool.contains("timeout") { "" } else { "timeout = \"20s\"" };
        let more = format!("attempts = 2\n{time}\n{}", self.tool.replace("{kind}", kind));
        let url = format!("{url}/{name}");
        let declared = match (self.at, kind) {
            (At::GraphQl, "read") => graphql(&name, &url, "{ a }", &more),
            (At::GraphQl, "idempotent") => graphql(&name, &url, "mutation { a }", &format!("{more}\n{key}")),
            (At::GraphQl, _) => graphql(&name, &url, "mutation { a }", &more),
            (_, "read") => tool(&name, "GET", &url, &more),
            (_, "idempotent") => tool(&name, "POST", &url, &format!("{more}\n{key}")),
            _ => tool(&name, "POST", &url, &more),
        };
        if kind == "verified" { declared + &verify(&name) } else { declared }
    }
}

/// A look that finds every call done.
fn verify(name: &str) -> String {
    format!("[tools.{name}.verify]\ntool = \"look\"\ninput = '{{name: .input.name}}'\ndone = 'true'\nsettle = \"0s\"\n")
}

/// The configuration of all rows, and of `rotated`.
fn config(rows: &[Row], rotated: &Row, upstream: &str, guarded: &str) -> String {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let nobody = format!("http://{nobody}");
    let mut config = format!("{ALLOW}[tools.look]\nmethod = \"GET\"\nurl = \"{upstream}/look/{{name}}\"\n");
    for row in rows.iter().chain([rotated]) {
        let url = match row.at {
            At::Upstream | At::GraphQl => upstream,
            At::Nobody => &nobody,
            At::Guarded => guarded.trim_end_matches('/'),
        };
        config.extend(KINDS.map(|kind| row.declared(kind, url)));
    }
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_answer_of_the_table_ends_as_it_says_for_each_effect() {
    let rows = rows();
    let rotated = Row {
        tool: "auth = { secret = \"clawbridge/tools/rotated_{kind}\" }",
        ..row("rotated", status_of(401), AUTHENTICATION_FAILED, REFUSED)
    };
    let accepted = Arc::new(Mutex::new("Bearer old"));
    let wanted = accepted.clone();
    let named = |row: &Row| KINDS.map(|kind| (format!("/{}", row.tool_name(kind)), row.reply.clone()));
    let replies: Vec<(String, Reply)> = rows.iter().flat_map(named).collect();
    let stub = Stub::start(move |call, _| match replies.iter().find(|(path, _)| *path == call.path) {
        Some((_, reply)) => reply.clone(),
        None if call.path.starts_with("/rotated_") => {
            status_of(if call.header("authorization") == *wanted.lock().expect("wanted") { 200 } else { 401 })
        }
        None => Reply::Json(200, json!({"looked": true})),
    })
    .await;
    let guarded = Server::start(requiring("first-authority", TLS_13)).await;
    let bridge = bridge(&config(&rows, &rotated, &stub.url, &guarded.url)).await;
    set_secret(&bridge, "authority", &pem("first-authority.pem"));
    for kind in KINDS {
        set_secret(&bridge, &rotated.tool_name(kind), "old");
    }
    for row in [&rotated].into_iter().chain(&rows) {
        for kind in KINDS {
            let name = row.tool_name(kind);
            send(&bridge, &name, json!({"name": name})).await;
        }
    }
    let mut wrong = String::new();
    for row in &rows {
        for (kind, end) in KINDS.iter().zip(row.ends) {
            let name = row.tool_name(kind);
            let record = show(&bridge, &ended(&bridge, &name).await);
            let (found, expected) = (Found::of(&bridge, &stub, &name, &record), Found::expected(row, end));
            if found != expected {
                wrong += &format!("{name}: {found:?}\n  expected {expected:?}\n");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(guarded.names().is_empty());
    for kind in KINDS {
        assert_eq!(ended(&bridge, &rotated.tool_name(kind)).await["decision"], "succeeded", "{kind}");
    }
    *accepted.lock().expect("accepted") = "Bearer new";
    a_rotated_secret_is_read_again(&bridge, &stub, &rotated).await;
    assert_eq!(bridge.dead_letters().await, 0);
}

/// Once the old one is refused, in the same attempt.
async fn a_rotated_secret_is_read_again(bridge: &Bridge, stub: &Stub, rotated: &Row) {
    // A value younger than a second is not read again.
    let read_by = Instant::now();
    eventually("the values are a second old", || async move {
        (read_by.elapsed() > Duration::from_millis(1_100)).then_some(())
    })
    .await;
    for kind in KINDS {
        set_secret(bridge, &rotated.tool_name(kind), "new");
        send(bridge, &rotated.tool_name(kind), json!({"name": "again"})).await;
    }
    for kind in KINDS {
        let name = rotated.tool_name(kind);
        assert_eq!(decided(bridge, &name, 2).await, ["succeeded", "succeeded"], "{name}");
        let line = &attempts(bridge, &name)[1];
        assert_eq!(line["attempt"], 1, "{line}");
        let calls = stub.calls_of(&format!("/{name}"));
        let sent: Vec<&str> = calls.iter().map(|call| call.header("authorization")).collect();
        assert_eq!(sent, ["Bearer old", "Bearer old", "Bearer new"], "{name}");
    }
}

/// What came of a task, beside what should have.
#[derive(Debug, PartialEq)]
struct Found {
    state: Value,
    decisions: Vec<Value>,
    /// Of each attempt that failed.
    codes: Vec<Value>,
    /// Code and class of the task.
    error: (Value, Value),
    result: Value,
    /// How often it was claimed.
    attempts: Value,
    requests: usize,
    looks: usize,
}

impl Found {
    fn of(bridge: &Bridge, stub: &Stub, name: &str, record: &Value) -> Found {
        let meaning = |error: &Value| (error["code"].clone(), error["class"].clone());
        let entries = record["attempts"].as_array().expect("attempts").iter();
        Found {
            state: record["state"].clone(),
            decisions: attempts(bridge, name).into_iter().map(|mut line| line["decision"].take()).collect(),
            codes: entries.map(|entry| entry["code"].clone()).filter(|code| !code.is_null()).collect(),
            error: meaning(&record["error"]),
            result: record["result"].clone(),
            attempts: record["attempt"].clone(),
            requests: stub.calls_of(&format!("/{name}")).len(),
            looks: stub.calls_of(&format!("/look/{name}")).len(),
        }
    }

    fn expected(row: &Row, end: End) -> Found {
        let meaning = (json!(row.code), json!(row.class));
        let calls = end.decisions.len() - end.looks;
        let has_failed = end.state != "succeeded";
        Found {
            state: json!(end.state),
            decisions: end.decisions.iter().map(|decision| json!(decision)).collect(),
            codes: if has_failed || end.looks > 0 { vec![json!(row.code); calls] } else { Vec::new() },
            error: if has_failed { meaning } else { (Value::Null, Value::Null) },
            result: if end.looks > 0 { json!({"looked": true}) } else { Value::Null },
            attempts: json!(calls),
            requests: end.requests,
            looks: end.looks,
        }
    }
}

#[test]
fn each_status_code_and_class_of_architectures_table_has_its_rows_here() {
    let document = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let lines = document.lines().skip_while(|line| !line.starts_with("| answer | class |")).skip(2);
    let table: Vec<Vec<&str>> =
        lines.take_while(|line| line.starts_with('|')).map(|line| line.split('|').map(str::trim).collect()).collect();
    assert_eq!(table.len(), 6, "{table:?}");
    let rows = rows();
    let here: BTreeSet<(&str, &str)> = rows.iter().map(|row| (row.code, row.class)).collect();
    let mut there = BTreeSet::new();
    for cells in &table {
        let [answer, class, codes] = [cells[1], cells[2], cells[3]];
        for number in answer.split(' ').filter_map(|word| word.parse::<u16>().ok()) {
            let has_it = rows.iter().any(|row| row.status() == Some(number) && row.class == class);
            assert!(has_it, "{number} is of class {class} in the table, and no row says so");
        }
        there.extend(codes.split('`').skip(1).step_by(2).map(|code| (code, class)));
    }
    assert_eq!(here, there);
}
