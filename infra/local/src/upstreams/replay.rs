//! A recording at work: which recorded exchange answers a request. Pure, but for reading the files.

use super::exchange::{Body, Exchange, Request};
use crate::failure::Failure;
use clawbridge_jq::Program;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The largest file of an exchange, bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// How much of a value is shown.
const MAX_SHOWN: usize = 60;

/// How many differences are named.
const MAX_DIFFERENCES: usize = 5;

/// Exchanges in the order in which they were recorded.
#[derive(Debug)]
pub(crate) struct Tape {
    dir: PathBuf,
    is_strict: bool,
    redact: Option<Program>,
    recorded: Vec<Recorded>,
}

#[derive(Debug)]
struct Recorded {
    file: String,
    exchange: Exchange,
    hits: u32,
}

impl Tape {
    /// Reads all exchanges of `dir`, in the order of their files' names.
    ///
    /// # Errors
    /// There are none, or one of them is not an exchange.
    pub(crate) fn open(dir: &Path, is_strict: bool, redact: Option<Program>) -> Result<Tape, Failure> {
        let mut recorded = Vec::new();
        for file in files(dir)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let exchange = read(&file)
                .map_err(|reason| Failure::negative("RECORDING_INVALID", format!("{}: {reason}", file.display())))?;
            recorded.push(Recorded { file: name, exchange, hits: 0 });
        }
        if recorded.is_empty() {
            let message = format!("{} holds no exchange; `--record {}` makes some", dir.display(), dir.display());
            return Err(Failure::negative("RECORDING_EMPTY", message));
        }
        Ok(Tape { dir: dir.to_owned(), is_strict, redact, recorded })
    }

    /// What the recording says of itself, in one line.
    pub(crate) fn summary(&self) -> String {
        let strict = if self.is_strict { ", each once" } else { "" };
        format!("{} ({} exchanges{strict})", self.dir.display(), self.recorded.len())
    }

    /// The exchange that answers a call of `tool`, with its file's name, or why there is none. Of those that are alike the next one, and
    /// after the last one that one again, unless the recording is strict.
    pub(crate) fn take(&mut self, tool: &str, request: Request) -> Result<(&Exchange, &str), Missing> {
        let request = self.as_recorded(tool, request).map_err(Missing::plain)?;
        let alike: Vec<usize> = (0..self.recorded.len())
            .filter(|index| differences(&self.recorded[*index].exchange, tool, &request).is_empty())
            .collect();
        let next = alike.iter().copied().find(|index| self.recorded[*index].hits == 0);
        let index = match (next, alike.last()) {
            (Some(next), _) => next,
            (None, Some(last)) if !self.is_strict => *last,
            (None, Some(last)) => {
                let file = &self.recorded[*last].file;
                let told =
                    format!("all {} exchanges of this request have been replayed; the last was {file}", alike.len());
                return Err(Missing::plain(told));
            }
            (None, None) => return Err(self.nearest(tool, &request)),
        };
        let recorded = &mut self.recorded[index];
        recorded.hits = recorded.hits.saturating_add(1);
        Ok((&recorded.exchange, &recorded.file))
    }

    /// The request as it would have been recorded.
    fn as_recorded(&self, tool: &str, request: Request) -> Result<Request, String> {
        let Some(program) = &self.redact else { return Ok(request) };
        let exchange =
            Exchange { tool: tool.to_owned(), at: super::stub::now(), request, response: None, failure: None };
        redacted(program, &exchange).map(|exchange| exchange.request)
    }

    /// What was recorded that is most like the request, and in what it differs.
    fn nearest(&self, tool: &str, request: &Request) -> Missing {
        let nearest = self.recorded.iter().map(|recorded| (recorded, differences(&recorded.exchange, tool, request)));
        let nearest = nearest.min_by_key(|(_, differences)| differences.iter().map(|found| found.weight).sum::<u32>());
        let Some((recorded, differences)) = nearest else { return Missing::plain("nothing was recorded".to_owned()) };
        let list = |text: fn(&Difference) -> String| {
            differences.iter().take(MAX_DIFFERENCES).map(text).collect::<Vec<String>>().join("; ")
        };
        let begin =
            format!("no recorded exchange is of this request; the nearest is {}, which differs in", recorded.file);
        Missing {
            told: format!("{begin} {}", list(|found| found.place.clone())),
            explained: format!("{begin} {}", list(|found| format!("{}: {}", found.place, found.values))),
        }
    }

    /// The recording's state, for people and scripts.
    pub(crate) fn page(&self) -> Value {
        let exchange =
            |recorded: &Recorded| json!({"file": recorded.file, "tool": recorded.exchange.tool, "hits": recorded.hits});
        json!({"mode": "replay", "dir": self.dir, "strict": self.is_strict,
            "exchanges": self.recorded.iter().map(exchange).collect::<Vec<Value>>()})
    }
}

/// The files of exchanges in `dir`, by name.
pub(crate) fn files(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::not_found("RECORDING_UNREADABLE", format!("{}: {error}", dir.display()))
        }
        _ => Failure::negative("RECORDING_UNREADABLE", format!("{}: {error}", dir.display())),
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".json") && !name.starts_with('.') {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<Exchange, String> {
    let length = std::fs::metadata(file).map_err(|error| error.to_string())?.len();
    if length > MAX_FILE {
        return Err(format!("it is larger than {MAX_FILE} bytes"));
    }
    let text = std::fs::read(file).map_err(|error| error.to_string())?;
    let exchange: Exchange = serde_json::from_slice(&text).map_err(|error| format!("not an exchange: {error}"))?;
    match (&exchange.response, &exchange.failure) {
        (Some(response), None) => {
            response.to_headers()?;
            if !(200..=599).contains(&response.status) {
                return Err(format!("response.status is {}, not from 200 to 599", response.status));
            }
            response.body.as_ref().map(Body::to_bytes).transpose()?;
        }
        (None, Some(_)) => {}
        _ => return Err("it has not exactly one of response and failure".to_owned()),
    }
    Ok(exchange)
}

/// An exchange as `program` wants it told.
pub(crate) fn redacted(program: &Program, exchange: &Exchange) -> Result<Exchange, String> {
    // Neither what it failed on nor what it made is told: it may be what was to be removed.
    let made =
        program.first(&json!(exchange)).map_err(|_| "--redact: the program failed on the exchange".to_owned())?;
    serde_json::from_value(made).map_err(|_| "--redact: what the program made is no exchange any more".to_owned())
}

/// Why no exchange answers a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// For a log: places, no values.
    pub(crate) told: String,
    /// For who asked: with values.
    pub(crate) explained: String,
}

impl Missing {
    fn plain(told: String) -> Missing {
        Missing { explained: told.clone(), told }
    }
}

/// In what a request differs from a recorded one.
struct Difference {
    /// How much it counts, where the nearest one is looked for.
    weight: u32,
    place: String,
    values: String,
}

impl Difference {
    /// Between two bodies, at a JSON pointer (RFC 6901).
    fn at(pointer: &str, recorded: Option<&Value>, asked: Option<&Value>) -> Difference {
        let shown = |value: Option<&Value>| value.map_or("nothing".to_owned(), shown);
        let place = if pointer.is_empty() { "body".to_owned() } else { format!("body at {pointer}") };
        Difference { weight: 1, place, values: format!("{} was recorded, {} is asked", shown(recorded), shown(asked)) }
    }
}

/// Headers are not compared: those that a tool does not make of its input alone are keys, times and signatures.
fn differences(exchange: &Exchange, tool: &str, request: &Request) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut differ = |weight, what: &str, recorded: &str, asked: &str| {
        if recorded != asked {
            let values = format!("{recorded} was recorded, {asked} is asked");
            found.push(Difference { weight, place: what.to_owned(), values });
        }
    };
    differ(1000, "tool", &exchange.tool, tool);
    differ(100, "method", &exchange.request.method, &request.method);
    let without_query = |url: &str| url.split('?').next().unwrap_or_default().to_owned();
    let (recorded, asked) = (&exchange.request.url, &request.url);
    let weight = if without_query(recorded) == without_query(asked) { 10 } else { 100 };
    differ(weight, "url", recorded, asked);
    match (&exchange.request.body, &request.body) {
        (Some(Body::Json(recorded)), Some(Body::Json(asked))) => json_differences("", recorded, asked, &mut found),
        (recorded, asked) if recorded == asked => {}
        (recorded, asked) => {
            let shown = |body: &Option<Body>| body.as_ref().map_or("none".to_owned(), |body| shown(&json!(body)));
            let values = format!("{} was recorded, {} is asked", shown(recorded), shown(asked));
            found.push(Difference { weight: 5, place: "body".to_owned(), values });
        }
    }
    found
}

fn json_differences(pointer: &str, recorded: &Value, asked: &Value, found: &mut Vec<Difference>) {
    let step = |key: &str| format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
    match (recorded, asked) {
        (Value::Object(recorded), Value::Object(asked)) => {
            for (key, value) in recorded {
                match asked.get(key) {
                    Some(other) => json_differences(&step(key), value, other, found),
                    None => found.push(Difference::at(&step(key), Some(value), None)),
                }
            }
            let more = asked.iter().filter(|(key, _)| !recorded.contains_key(*key));
            found.extend(more.map(|(key, value)| Difference::at(&step(key), None, Some(value))));
        }
        (Value::Array(recorded), Value::Array(asked)) if recorded.len() == asked.len() => {
            for (index, (recorded, asked)) in recorded.iter().zip(asked).enumerate() {
                json_differences(&step(&index.to_string()), recorded, asked, found);
            }
        }
        (recorded, asked) if recorded == asked || is_same_number(recorded, asked) => {}
        (recorded, asked) => found.push(Difference::at(pointer, Some(recorded), Some(asked))),
    }
}

/// 1 and 1.0 are one number in JSON.
fn is_same_number(one: &Value, other: &Value) -> bool {
    one.is_f64() != other.is_f64() && one.as_f64().is_some() && one.as_f64() == other.as_f64()
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    let mut short: String = text.chars().take(MAX_SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn exchange(tool: &str, method: &str, url: &str, body: Value, status: u16) -> Value {
        json!({"tool": tool, "at": "2026-01-01T00:00:00.000Z",
            "request": {"method": method, "url": url, "body": {"json": body}}, "response": {"status": status}})
    }

    fn tape(exchanges: &[Value], is_strict: bool, redact: Option<&str>) -> Result<Tape, Failure> {
        let dir = TempDir::new().expect("a directory");
        for (index, exchange) in exchanges.iter().enumerate() {
            std::fs::write(dir.path().join(format!("{index:04}-x.json")), exchange.to_string()).expect("a file");
        }
        std::fs::write(dir.path().join("README.md"), "no exchange").expect("a file");
        Tape::open(dir.path(), is_strict, redact.map(|program| Program::compile(program).expect("a program")))
    }

    fn ask(tape: &mut Tape, tool: &str, method: &str, url: &str, body: Value) -> Result<u16, String> {
        let request = json!({"method": method, "url": url, "body": {"json": body}});
        let request = serde_json::from_value(request).expect("a request");
        let taken = tape.take(tool, request).map_err(|missing| {
            assert!(!missing.told.contains("was recorded"), "{missing:?}");
            missing.explained
        });
        taken.map(|(exchange, _)| exchange.response.as_ref().map_or(0, |response| response.status))
    }

    const URL: &str = "https://a.example/x?y=1";

    #[test]
    fn requests_are_answered_in_their_order_and_the_last_one_for_ever() {
        let recorded = [
            exchange("t", "POST", URL, json!({"a": 1}), 429),
            exchange("t", "POST", URL, json!({"a": 2}), 500),
            exchange("t", "POST", URL, json!({"a": 1}), 201),
        ];
        let mut tape_ = tape(&recorded, false, None).expect("a tape");
        let asked = [json!({"a": 1}), json!({"a": 1.0}), json!({"a": 1}), json!({"a": 2})];
        let statuses = asked.clone().map(|body| ask(&mut tape_, "t", "POST", URL, body));
        assert_eq!(statuses, [Ok(429), Ok(201), Ok(201), Ok(500)]);
        assert_eq!(tape_.page()["exchanges"][2]["hits"], 2);

        let mut strict = tape(&recorded, true, None).expect("a tape");
        let statuses = asked.map(|body| ask(&mut strict, "t", "POST", URL, body));
        assert_eq!((&statuses[0], &statuses[1], &statuses[3]), (&Ok(429), &Ok(201), &Ok(500)));
        let refused = statuses[2].as_ref().expect_err("strict");
        assert_eq!(refused, "all 2 exchanges of this request have been replayed; the last was 0002-x.json");
    }

    #[test]
    fn what_was_not_recorded_is_compared_with_the_nearest() {
        let recorded = [
            exchange("t", "POST", URL, json!({"a": 1, "b": [1, {"c/d": "x"}], "e": null}), 200),
            exchange("u", "GET", "https://b.example/", Value::Null, 200),
        ];
        let mut tape = tape(&recorded, false, None).expect("a tape");
        let same = json!({"a": 1, "b": [1, {"c/d": "x"}], "e": null});
        let long = format!("\"{}…", "x".repeat(59));
        for (tool, method, url, body, expected) in [
            ("t", "PUT", URL, same.clone(), "0000-x.json, which differs in method: POST was recorded, PUT is asked".to_owned()),
            ("v", "POST", URL, same.clone(), "0000-x.json, which differs in tool: t was recorded, v is asked".to_owned()),
            ("t", "POST", "https://a.example/x", same.clone(), format!("0000-x.json, which differs in url: {URL} was recorded, https://a.example/x is asked")),
            ("u", "GET", "https://b.example/", json!("x".repeat(99)), format!("0001-x.json, which differs in body: null was recorded, {long} is asked")),
            (
                "t",
                "POST",
                URL,
                json!({"a": 2, "b": [1, {"c/d": "y"}], "f": true}),
                "0000-x.json, which differs in body at /a: 1 was recorded, 2 is asked; body at /b/1/c~1d: \"x\" was recorded, \"y\" is asked; \
                 body at /e: null was recorded, nothing is asked; body at /f: nothing was recorded, true is asked"
                    .to_owned(),
            ),
        ] {
            let refused = ask(&mut tape, tool, method, url, body).expect_err("not recorded");
            assert_eq!(refused, format!("no recorded exchange is of this request; the nearest is {expected}"));
        }
        assert_eq!(ask(&mut tape, "t", "POST", URL, same), Ok(200));
    }

    #[test]
    fn numbers_beyond_what_a_float_tells_apart_are_told_apart() {
        let recorded = [exchange("t", "POST", URL, json!(9_007_199_254_740_993_u64), 200)];
        let mut tape = tape(&recorded, false, None).expect("a tape");
        assert!(ask(&mut tape, "t", "POST", URL, json!(9_007_199_254_740_992_u64)).is_err());
        assert_eq!(ask(&mut tape, "t", "POST", URL, json!(9_007_199_254_740_993_u64)), Ok(200));
    }

    #[test]
    fn what_was_redacted_when_it_was_recorded_is_when_it_is_compared() {
        let recorded = [exchange("t", "POST", URL, json!({"email": "-", "a": 1}), 200)];
        let mut tape = tape(&recorded, false, Some(".request.body.json.email = \"-\"")).expect("a tape");
        assert_eq!(ask(&mut tape, "t", "POST", URL, json!({"email": "ada@a.example", "a": 1})), Ok(200));
        assert!(ask(&mut tape, "t", "POST", URL, json!({"email": "ada@a.example", "a": 2})).is_err());
        let refused = ask(&mut tape, "t", "POST", URL, json!("ada@a.example")).expect_err("no object");
        assert_eq!(refused, "--redact: the program failed on the exchange");
        for program in ["{}", "\"ada\"", ".request"] {
            let exchange: Exchange = serde_json::from_value(recorded[0].clone()).expect("an exchange");
            let program = Program::compile(program).expect("a program");
            assert!(redacted(&program, &exchange).is_err_and(|error| error.contains("no exchange any more")));
        }
    }

    #[test]
    fn a_directory_without_exchanges_or_with_others_is_refused() {
        let code = |tape: Result<Tape, Failure>| tape.map(|_| ()).map_err(|failure| (failure.code, failure.message));
        assert_eq!(code(tape(&[], false, None)).expect_err("empty").0, "RECORDING_EMPTY");
        assert_eq!(code(Tape::open(Path::new("/nowhere"), false, None)).expect_err("none").0, "RECORDING_UNREADABLE");
        let good = exchange("t", "GET", URL, Value::Null, 200);
        let with = |path: &str, value: Value| {
            let mut changed = good.clone();
            *changed.pointer_mut(path).expect("a place") = value;
            changed
        };
        for (exchange, says) in [
            (json!({"tool": "t"}), "not an exchange: missing field `at`"),
            (with("/response", Value::Null), "not exactly one of response and failure"),
            (with("/response/status", json!(99)), "response.status is 99"),
            (with("/response", json!({"status": 200, "body": {"base64": "?"}})), "body.base64"),
            (with("/response", json!({"status": 200, "headers": {"a b": "c"}})), "no header name"),
        ] {
            let (code, message) = code(tape(&[exchange], false, None)).expect_err(says);
            assert!(
                code == "RECORDING_INVALID" && message.contains(says) && message.contains("0000-x.json"),
                "{message}"
            );
        }
    }
}
