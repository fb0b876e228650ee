//! Where an API is: `servers`, or what the person who imports says.

use clawbridge_config::UrlTemplate;

use crate::at::At;
use crate::problem::{Code, Problem, one_line};

const SAY: &str = "say where the API is with --server https://HOST/PATH";

/// The address before the paths of an operation: from the innermost place that has servers.
///
/// # Errors
/// [`Code::Server`]
pub(super) fn base(places: &[&At<'_>]) -> Result<String, Problem> {
    for place in places {
        if let Some(server) = place.items("servers")?.first() {
            return url(server);
        }
    }
    Err(Problem::new(Code::Server, "", format!("the document names no server; {SAY}")))
}

/// A server's address, its variables replaced by their defaults.
fn url(server: &At<'_>) -> Result<String, Problem> {
    let at = server.required("url")?;
    let mut url = at.text()?.to_owned();
    for (name, variable) in server.entries("variables")? {
        let default = variable.required("default")?;
        url = url.replace(&format!("{{{name}}}"), default.text()?);
        // A variable that brings in others, over and over.
        if url.len() > 2_000 {
            return Err(at.problem(Code::Server, format!("the address is longer than 2,000 characters; {SAY}")));
        }
    }
    if url.starts_with('/') || !url.contains("://") {
        let message = format!("{:?} is relative to where the document came from; {SAY}", one_line(&url, 120));
        return Err(at.problem(Code::Server, message));
    }
    checked(&url).map_err(|message| at.problem(Code::Server, format!("{message}; {SAY}")))?;
    Ok(url.trim_end_matches('/').to_owned())
}

/// Whether `url` can stand before a path. The message repeats nothing of it: there may be a password in it.
pub(crate) fn checked(url: &str) -> Result<(), String> {
    if url.contains('{') {
        return Err("the address has a variable without a default".to_owned());
    }
    if url.contains('?') {
        return Err("the address before a path has no query".to_owned());
    }
    UrlTemplate::parse(url).map(|_| ()).map_err(|error| error.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::read;

    #[test]
    fn the_innermost_server_counts_and_its_variables_have_their_defaults() {
        for (inner, outer, expected) in [
            (r#"{}"#, r#"{"servers": [{"url": "https://a.example/v1/"}]}"#, "https://a.example/v1"),
            (r#"{"servers": [{"url": "https://b.example"}]}"#, r#"{"servers": [{"url": "/x"}]}"#, "https://b.example"),
            (
                r#"{"servers": [{"url": "https://{region}.a.example:{port}/{v}", "variables": {"region": {"default": "eu"}, "port": {"default": "8443"}, "v": {"default": "v2", "enum": ["v2"]}}}]}"#,
                "{}",
                "https://eu.a.example:8443/v2",
            ),
        ] {
            let (inner, outer) = (read(inner.as_bytes()).unwrap(), read(outer.as_bytes()).unwrap());
            assert_eq!(base(&[&At::root(&inner), &At::root(&outer)]).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn an_address_that_no_tool_can_call_is_refused_and_not_repeated() {
        for (server, pointer, message) in [
            (r#"{}"#, "/servers/0", "\"url\" has to be here"),
            (r#"{"url": "/v1"}"#, "/servers/0/url", "\"/v1\" is relative"),
            (r#"{"url": "a.example/v1"}"#, "/servers/0/url", "\"a.example/v1\" is relative"),
            (r#"{"url": "ftp://a.example"}"#, "/servers/0/url", "a URL begins with"),
            (r#"{"url": "https://user:hunter2@a.example"}"#, "/servers/0/url", "a URL here has no user"),
            (r#"{"url": "https://{host}/"}"#, "/servers/0/url", "the address has a variable"),
            (r#"{"url": "https://a.example/?x"}"#, "/servers/0/url", "the address before"),
            (r#"{"url": "https://{h}/", "variables": {"h": {}}}"#, "/servers/0/variables/h", "\"default\" has to be"),
            (r#"{"url": 5}"#, "/servers/0/url", "this must be a text"),
        ] {
            let root = read(format!("{{\"servers\": [{server}]}}").as_bytes()).unwrap();
            let problem = base(&[&At::root(&root)]).unwrap_err();
            assert_eq!(problem.pointer, pointer, "{problem}");
            assert!(problem.message.starts_with(message) && !problem.message.contains("hunter2"), "{problem}");
        }
        let none = read(b"{}").unwrap();
        assert_eq!(base(&[&At::root(&none)]).unwrap_err().code, Code::Server);
        let growing = r#"{"servers": [{"url": "https://{a}", "variables": {"a": {"default": "{b}{b}{b}{b}{b}{b}{b}{b}"}, "b": {"default": "LONG"}}}]}"#;
        let root = read(growing.replace("LONG", &"x".repeat(1_000)).as_bytes()).unwrap();
        assert_eq!(base(&[&At::root(&root)]).unwrap_err().code, Code::Server);
    }
}
