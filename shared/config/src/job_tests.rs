use super::*;
use crate::compiled::Compiled;
use crate::diagnostic::Diagnostic;
use crate::document::compile_text;

fn compile(job: &str) -> (Option<Compiled>, Vec<Diagnostic>) {
    compile_text(&format!(
        r#"
[tools.export_status]
method = "GET"
url = "https://api.example.com/exports/{{id}}"

[tools.note]
method = "PUT"
url = "https://api.example.com/note"

[tools.export]
method = "POST"
url = "https://api.example.com/exports"

[tools.export.job]
{job}
"#
    ))
}

fn job(text: &str) -> CompiledJob {
    let (compiled, diagnostics) = compile(text);
    assert_eq!(diagnostics, []);
    compiled.unwrap().tool("export").unwrap().job().unwrap().clone()
}

const POLLED: &str = "id = '.answer.job'\ntool = \"export_status\"\ndone = '.answer.state == \"done\"'\n\
     failed = 'if .answer.state == \"failed\" then .answer.error else null end'\nresult = '.answer.url'";

#[test]
fn a_job_is_read_with_its_defaults_and_survives_as_json() {
    let read = job(POLLED);
    let expected = Job {
        id: ".answer.job".into(),
        tool: Some("export_status".into()),
        input: "{id: .id}".into(),
        done: ".answer.state == \"done\"".into(),
        failed: "if .answer.state == \"failed\" then .answer.error else null end".into(),
        result: ".answer.url".into(),
        every: "10s".parse().unwrap(),
        within: "1h".parse().unwrap(),
        callback: None,
    };
    assert_eq!(*read.job(), expected);
    let told = job("callback = \"notify\"\nevery = \"2m\"\nwithin = \"2d\"");
    assert_eq!((told.job().id.as_str(), told.job().done.as_str(), told.job().tool.clone()), (".task", "true", None));
    assert_eq!((told.job().every.to_string(), told.job().within.to_string()), ("2m".into(), "2d".into()));
    let (compiled, _) = compile(POLLED);
    let compiled = compiled.unwrap();
    assert_eq!(Compiled::from_json(&compiled.config().to_json()).unwrap().config(), compiled.config());
}

#[test]
fn what_cannot_work_is_refused_where_it_stands() {
    for (text, code, words) in [
        ("id = '.answer.job'", Code::MissingKey, "neither tool nor callback"),
        ("tool = \"export_status\"\ndone = 'true'", Code::MissingKey, "has no id"),
        ("tool = \"export_status\"\nid = '.answer.job'", Code::MissingKey, "has no done"),
        ("tool = \"exportstatus\"\nid = '.'\ndone = 'true'", Code::UnknownTool, "not declared"),
        ("tool = \"note\"\nid = '.'\ndone = 'true'", Code::ToolNotRead, "whose effect is idempotent"),
        ("callback = \"a b\"", Code::InvalidName, "the name of a field"),
        ("callback = \"a\"\nevery = \"0s\"", Code::OutOfRange, "from 1s to 60m"),
        ("callback = \"a\"\nwithin = \"30s\"", Code::InvalidDuration, "a time such as"),
        ("callback = \"a\"\ndone = '.['", Code::InvalidJq, "done"),
        ("callback = \"a\"\npoll = \"x\"", Code::UnknownKey, "poll"),
    ] {
        let (compiled, diagnostics) = compile(text);
        let found = diagnostics.iter().find(|diagnostic| diagnostic.code == code);
        let found = found.unwrap_or_else(|| panic!("{text}: {diagnostics:?}"));
        assert!(found.message.contains(words), "{text}: {}", found.message);
        assert!(found.position.is_some() && compiled.is_none(), "{text}");
    }
}

#[test]
fn answers_name_a_job_or_are_the_result() {
    let job = job(POLLED);
    for (answer, expected) in [
        (json!({"job": "j-1"}), Ok(Some("j-1".to_owned()))),
        (json!({"job": 7}), Ok(Some("7".to_owned()))),
        (json!({}), Ok(None)),
        (json!({"job": ""}), Err(JobError::NotAnId)),
        (json!({"job": ["j"]}), Err(JobError::NotAnId)),
        (json!({"job": "x".repeat(MAX_ID_BYTES + 1)}), Err(JobError::NotAnId)),
    ] {
        assert_eq!(job.id(&answer, &json!({}), "task_1"), expected, "{answer}");
    }
    assert!(matches!(job.id(&json!("text"), &json!({}), "task_1"), Err(JobError::Program { key: "id", .. })));
}

#[test]
fn progress_is_what_the_programs_say_and_failure_goes_first() {
    let job = job(POLLED);
    for (answer, expected) in [
        (json!({"state": "running"}), Ok(Progress::Running)),
        (json!({"state": "done", "url": "u"}), Ok(Progress::Done(json!("u")))),
        (json!({"state": "failed", "error": "disk full"}), Ok(Progress::Failed("disk full".into()))),
        (json!({"state": "failed", "error": {"code": 7}}), Ok(Progress::Failed("{\"code\":7}".into()))),
        (json!({"state": "failed", "error": null}), Ok(Progress::Running)),
    ] {
        assert_eq!(job.progress(&answer, "j-1", &json!({})), expected, "{answer}");
    }
    assert!(job.progress(&json!("text"), "j-1", &json!({})).is_err());
}

#[test]
fn it_is_asked_less_and_less_often() {
    let job = job(POLLED);
    let pauses: Vec<u64> = [0, 1, 2, 5, 6, 50].map(|looks| job.pause(looks).as_secs()).into();
    assert_eq!(pauses, [10, 15, 22, 75, 100, 100]);
}
