use super::*;
use serde_json::json;

fn script(text: &str) -> Script {
    let (script, diagnostics) = check_stub(text);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    script.unwrap()
}

#[test]
fn an_answer_has_what_is_written_and_defaults_for_the_rest() {
    let text = r#"
[[answer]]
name = "busy"
host = "API.example.com"
method = "POST"
path = "/v1/*"
tool = "pay*"
body = '.amount > 100'
times = 2
share = 0.5
status = 429
headers = { Retry-After = 2, "X-Note" = "a b" }
json = { error = ["busy", 1, 1.5, true] }
delay = "2s"
cut = "body"
slow = "1KB/s"

[[answer]]
"#;
    let script = script(text);
    let [first, second] = &script.answers[..] else { panic!("{script:?}") };
    assert_eq!((first.position.line, second.position.line), (2, 18));
    assert_eq!((first.name.as_deref(), first.times, first.share), (Some("busy"), Some(2), Some(0.5)));
    let reply = &first.reply;
    assert_eq!((reply.status, reply.delay, reply.cut), (429, Duration::from_secs(2), Some(Cut::Body)));
    assert_eq!((&reply.content, reply.slow), (&Content::Json(json!({"error": ["busy", 1, 1.5, true]})), Some(1000)));
    let mut headers = reply.headers.clone();
    headers.sort();
    assert_eq!(headers, [("Retry-After".to_owned(), "2".to_owned()), ("X-Note".to_owned(), "a b".to_owned())]);
    assert_eq!((second.times, second.share, second.reply.status), (None, None, 200));
    assert_eq!((&second.reply.content, second.reply.cut), (&Content::None, None));
    assert!(second.when.is_for_all());
    assert!(check_stub("").0.unwrap().answers.is_empty());
}

#[test]
fn a_request_fits_if_all_that_is_asked_of_it_does() {
    let body = json!({"amount": 200});
    let asked =
        Asked { tool: "pay", method: "POST", host: "api.example.com", port: 443, path: "/v1/payments", body: &body };
    for (when, expected) in [
        ("", None),
        ("host = \"API.example.com\"", None),
        ("host = \"*.example.com\"", None),
        ("host = \"api.example.com:443\"", None),
        ("host = \"api.example.com:80\"", Some("host")),
        ("host = \"example.com\"", Some("host")),
        ("method = \"POST\"", None),
        ("method = \"GET\"", Some("method")),
        ("path = \"/v1/*\"", None),
        ("path = \"/v1\"", Some("path")),
        ("tool = \"pay\"", None),
        ("tool = \"refund\"", Some("tool")),
        ("body = '.amount > 100'", None),
        ("body = '.amount > 200'", Some("body")),
        ("host = \"*\"\nmethod = \"POST\"\npath = \"/*\"\ntool = \"p*\"\nbody = '.amount'", None),
        ("tool = \"refund\"\nmethod = \"GET\"", Some("tool")),
    ] {
        let script = script(&format!("[[answer]]\n{when}\n"));
        assert_eq!(script.answers[0].when.mismatch(&asked), expected.map(Mismatch::Key), "{when}");
    }
    let fails = script("[[answer]]\nbody = '.amount | keys'\n");
    assert!(matches!(fails.answers[0].when.mismatch(&asked), Some(Mismatch::Body(_))));
}

#[test]
fn what_is_wrong_with_a_script_is_said_with_its_place() {
    for (text, code, line, column, says) in [
        ("[[answer]]\nstatus = ", Code::TomlSyntax, 2, 10, ""),
        ("[[answers]]\n", Code::UnknownKey, 1, 3, "the document has no key"),
        ("[answer]\n", Code::WrongType, 1, 2, "must be an array of tables, [[answer]]"),
        ("[[answer]]\nstaus = 200", Code::UnknownKey, 2, 1, "answer[0] has no key \"staus\""),
        ("[[answer]]\nstatus = 199", Code::OutOfRange, 2, 10, "must be from 200 to 599, not 199"),
        ("[[answer]]\nstatus = \"500\"", Code::WrongType, 2, 10, "must be an integer, not a string"),
        ("[[answer]]\nmethod = \"get\"", Code::InvalidValue, 2, 10, "none of GET, HEAD"),
        ("[[answer]]\nhost = \"https://a.example\"", Code::InvalidPattern, 2, 8, "no scheme and no path"),
        ("[[answer]]\npath = \"v1\"", Code::InvalidPattern, 2, 8, "must begin with / or *"),
        ("[[answer]]\npath = \"/v1?x=1\"", Code::InvalidPattern, 2, 8, "has a query"),
        ("[[answer]]\npath = \"/ü\"", Code::InvalidPattern, 2, 8, "visible ASCII"),
        ("[[answer]]\ntool = \"\"", Code::InvalidPattern, 2, 8, "1 to 2048"),
        ("[[answer]]\nbody = '.a |'", Code::InvalidJq, 2, 13, "is not a jq program"),
        ("[[answer]]\ntimes = 0", Code::OutOfRange, 2, 9, "must be from 1 to 1000000"),
        ("[[answer]]\nshare = 0.0", Code::OutOfRange, 2, 9, "above 0.0 and up to 1.0"),
        ("[[answer]]\nshare = 1.1", Code::OutOfRange, 2, 9, "above 0.0 and up to 1.0"),
        ("[[answer]]\nshare = nan", Code::OutOfRange, 2, 9, "above 0.0 and up to 1.0"),
        ("[[answer]]\nshare = \"10%\"", Code::OutOfRange, 2, 9, "above 0.0 and up to 1.0"),
        ("[[answer]]\ndelay = \"2\"", Code::InvalidDuration, 2, 9, "must be a time such as \"2s\""),
        ("[[answer]]\ndelay = \"601s\"", Code::OutOfRange, 2, 9, "must be from 1ms to 600s"),
        ("[[answer]]\ntext = \"x\"\nslow = \"1KB\"", Code::InvalidSize, 3, 8, "must be a speed such as \"1KB/s\""),
        ("[[answer]]\ntext = \"x\"\nslow = \"0B/s\"", Code::OutOfRange, 3, 8, "must be from 1B/s"),
        ("[[answer]]\nslow = \"1B/s\"", Code::MissingKey, 2, 8, "needs a body of 1 or more bytes"),
        ("[[answer]]\ncut = \"end\"", Code::InvalidValue, 2, 7, "none of before, headers, body"),
        ("[[answer]]\ncut = \"body\"", Code::MissingKey, 2, 7, "needs a body of 2 or more bytes"),
        ("[[answer]]\ncut = \"before\"\nstatus = 500", Code::KeyNotAllowed, 3, 1, "is never sent"),
        ("[[answer]]\nstatus = 204\ntext = \"x\"", Code::KeyNotAllowed, 3, 1, "status 204 has no body"),
        ("[[answer]]\njson = 1\ntext = \"x\"", Code::KeyNotAllowed, 3, 1, "a second body beside json"),
        ("[[answer]]\njson = [1, 2026-01-01]", Code::WrongType, 2, 12, "holds a date, which JSON has not"),
        ("[[answer]]\nheaders = { \"a b\" = \"x\" }", Code::InvalidHeader, 2, 13, "cannot be the name of a header"),
        ("[[answer]]\nheaders = { Content-Length = 1 }", Code::ReservedHeader, 2, 13, "set by the stub itself"),
        ("[[answer]]\nheaders = { X-Clawbridge-Tool = \"x\" }", Code::ReservedHeader, 2, 13, "set by the stub itself"),
        ("[[answer]]\nheaders = { a = \"x\", A = \"y\" }", Code::HeaderSetTwice, 2, 13, "set twice"),
        ("[[answer]]\nheaders = { a = \"x\\ny\" }", Code::InvalidHeader, 2, 13, "visible ASCII"),
        ("[[answer]]\nheaders = { a = true }", Code::WrongType, 2, 17, "must be a string"),
    ] {
        let (script, diagnostics) = check_stub(text);
        assert!(script.is_none(), "{text}");
        let [found] = &diagnostics[..] else { panic!("{text}: {diagnostics:?}") };
        assert_eq!((found.code, found.position), (code, Some(Position { line, column })), "{text}: {found:?}");
        assert!(found.message.contains(says), "{text}: {}", found.message);
    }
    let huge = "#".repeat(MAX_DOCUMENT_BYTES + 1);
    assert_eq!(check_stub(&huge).1[0].code, Code::TooLarge);
    assert_eq!(check_stub(&"[[answer]]\n".repeat(MAX_ANSWERS + 1)).1[0].code, Code::TooLarge);
}

#[test]
fn an_answer_behind_one_for_everything_is_warned_of() {
    for (first, is_warned) in
        [("", true), ("share = 1", true), ("share = 0.9", false), ("times = 1", false), ("tool = \"*\"", false)]
    {
        let (script, diagnostics) = check_stub(&format!("[[answer]]\n{first}\n[[answer]]\n"));
        assert_eq!(script.unwrap().answers.len(), 2);
        let codes: Vec<Code> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
        assert_eq!(codes, if is_warned { vec![Code::NeverReached] } else { vec![] }, "{first}");
    }
}
