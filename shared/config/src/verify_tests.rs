use super::*;
use crate::compiled::Compiled;
use crate::diagnostic::Diagnostic;
use crate::document::compile_text;
use serde_json::json;

fn document(verify: &str, more: &str) -> String {
    format!(
        r#"
[tools.find]
method = "GET"
url = "https://api.example.com/transfers?reference={{reference}}"

[tools.note]
method = "PUT"
url = "https://api.example.com/note"

[tools.send]
method = "POST"
url = "https://api.example.com/transfers"
{more}

[tools.send.verify]
{verify}
"#
    )
}

fn compile(verify: &str, more: &str) -> (Option<Compiled>, Vec<Diagnostic>) {
    compile_text(&document(verify, more))
}

#[test]
fn a_verify_is_read_with_its_defaults_and_survives_as_json() {
    let (compiled, diagnostics) = compile("tool = \"find\"\ndone = '.answer != []'", "");
    assert_eq!(diagnostics, []);
    let compiled = compiled.unwrap();
    let tool = compiled.tool("send").unwrap();
    let verify = Verify {
        tool: "find".into(),
        input: ".input".into(),
        done: ".answer != []".into(),
        result: ".answer".into(),
        settle: "10s".parse().unwrap(),
        attempts: 10,
    };
    assert_eq!(
        (tool.tool().verify.as_ref(), tool.verify().map(CompiledVerify::verify)),
        (Some(&verify), Some(&verify))
    );
    let again = Compiled::from_json(&compiled.config().to_json()).unwrap();
    assert_eq!(again.config(), compiled.config());
    // Said by nobody, and so not written: a bridge from before can read it.
    assert!(!String::from_utf8(compiled.config().to_json()).unwrap().contains("result_retention"));

    let all = "tool = \"find\"\ninput = '{reference: .task}'\ndone = 'true'\nresult = '.answer[0]'\nsettle = \"2m\"\nattempts = 3";
    let (compiled, diagnostics) = compile(all, "result_retention = \"90d\"");
    assert_eq!(diagnostics, []);
    let tool = compiled.unwrap().tool("send").unwrap().tool().clone();
    assert_eq!(tool.result_retention.duration(), Duration::from_secs(90 * 86_400));
    let verify = tool.verify.unwrap();
    assert_eq!((verify.settle.duration(), verify.attempts), (Duration::from_secs(120), 3));
}

#[test]
fn its_programs_see_what_was_asked_and_what_was_answered() {
    let programs = r#"tool = "find"
input = '{reference: .input.order, task, attempt}'
done = 'if .answer.state == "gone" then null else .answer.reference == .input.order end'
result = '{id: .answer.id, order: .input.order}'"#;
    let (compiled, diagnostics) = compile(programs, "");
    assert_eq!(diagnostics, []);
    let compiled = compiled.unwrap();
    let verify = compiled.tool("send").unwrap().verify().unwrap();
    let input = json!({"order": "o-1"});
    let asked = verify.input(&input, "task_1", 2).unwrap();
    assert_eq!(asked, json!({"reference": "o-1", "task": "task_1", "attempt": 2}));
    for (answer, done) in [
        (json!({"reference": "o-1"}), Some(true)),
        (json!({"reference": "o-2"}), Some(false)),
        (json!({"state": "gone"}), None),
    ] {
        assert_eq!(verify.done(&answer, &input), Ok(done), "{answer}");
    }
    assert_eq!(verify.result(&json!({"id": 7}), &input), Ok(json!({"id": 7, "order": "o-1"})));
    let (compiled, _) = compile("tool = \"find\"\ndone = '.answer.count'", "");
    let compiled = compiled.unwrap();
    let verify = compiled.tool("send").unwrap().verify().unwrap();
    assert_eq!(verify.done(&json!({"count": 1}), &input), Err(DoneError::NotAVerdict));
    assert!(matches!(verify.done(&json!(1), &input), Err(DoneError::Program(_))));
}

#[test]
fn a_verify_that_cannot_work_is_refused_where_it_stands() {
    let done = "done = 'true'";
    // (verify, more of the tool, code, path, line)
    let cases = [
        (format!("tool = \"note\"\n{done}"), "", Code::ToolNotRead, "tools.send.verify.tool", 16),
        (format!("tool = \"send\"\n{done}"), "", Code::ToolNotRead, "tools.send.verify.tool", 16),
        (format!("tool = \"fnid\"\n{done}"), "", Code::UnknownTool, "tools.send.verify.tool", 16),
        (format!("tool = \"find\"\n{done}"), "effect = \"idempotent\"", Code::VerifyNotNeeded, "tools.send.verify", 15),
        (
            format!("tool = \"find\"\n{done}"),
            "idempotency_header = \"X-Key\"",
            Code::VerifyNotNeeded,
            "tools.send.verify",
            15,
        ),
        ("tool = \"find\"".into(), "", Code::MissingKey, "tools.send.verify.done", 15),
        (done.into(), "", Code::MissingKey, "tools.send.verify.tool", 15),
        ("tool = \"find\"\ndone = '.answer |'".into(), "", Code::InvalidJq, "tools.send.verify.done", 17),
        (
            format!("tool = \"find\"\n{done}\nsettle = \"2h\""),
            "",
            Code::InvalidDuration,
            "tools.send.verify.settle",
            18,
        ),
        (format!("tool = \"find\"\n{done}\nsettle = \"90m\""), "", Code::OutOfRange, "tools.send.verify.settle", 18),
        (format!("tool = \"find\"\n{done}\nattempts = 0"), "", Code::OutOfRange, "tools.send.verify.attempts", 18),
        (format!("tool = \"find\"\n{done}\nwait = 1"), "", Code::UnknownKey, "tools.send.verify.wait", 18),
        (
            format!("tool = \"find\"\n{done}"),
            "result_retention = \"14d\"",
            Code::OutOfRange,
            "tools.send.result_retention",
            13,
        ),
        (
            format!("tool = \"find\"\n{done}"),
            "result_retention = \"720h\"",
            Code::InvalidDuration,
            "tools.send.result_retention",
            13,
        ),
    ];
    for (verify, more, code, path, line) in cases {
        let (compiled, diagnostics) = compile(&verify, more);
        assert!(compiled.is_none(), "{verify} {more}");
        let found: Vec<_> = diagnostics
            .iter()
            .map(|diagnostic| {
                (diagnostic.code, diagnostic.path.as_str(), diagnostic.position.map_or(0, |position| position.line))
            })
            .collect();
        assert_eq!(found, [(code, path, line)], "{verify} {more}");
    }
    let (_, diagnostics) = compile("tool = \"fnid\"\ndone = 'true'", "");
    assert_eq!(diagnostics[0].suggestion.as_deref(), Some("did you mean \"find\"?"));
}

#[test]
fn times_are_written_as_they_are_read() {
    for text in ["0s", "10s", "90s", "2m", "60m"] {
        assert_eq!(text.parse::<Settle>().unwrap().to_string(), text);
    }
    assert_eq!("3600s".parse::<Settle>().unwrap().to_string(), "60m");
    for text in ["", "s", "1", "1h", "1.5s", "-1s", "3601s", "99999999999999999999s"] {
        assert!(text.parse::<Settle>().is_err(), "{text}");
    }
    for text in ["15d", "30d", "366d"] {
        assert_eq!(text.parse::<Retention>().unwrap().to_string(), text);
    }
    for text in ["", "d", "30", "14d", "367d", "1y"] {
        assert!(text.parse::<Retention>().is_err(), "{text}");
    }
}
