//! Tools' calls led elsewhere: to what stands in the upstreams' place on this machine, a script or a recording, or a recorder on the way to them.
//!
//! A call of `https://HOST/PATH?QUERY` goes to `UPSTREAMS/HOST/PATH?QUERY` instead, over http, in all other respects as it would have been
//! sent: the credential and the signature, made for the real address, are in it. Headers of ours say what the address no longer does.

use crate::request::{Complete, host, invalid};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clawbridge_config::CompiledTool;
use clawbridge_tasks::TaskError;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use std::sync::Arc;

/// What the names of our own headers begin with. None of them goes to an upstream, and none is taken from one.
const OURS: &str = "x-clawbridge-";

/// The tool.
const TOOL: HeaderName = HeaderName::from_static("x-clawbridge-tool");

/// `http` or `https`, as it was.
const SCHEME: HeaderName = HeaderName::from_static("x-clawbridge-scheme");

/// The query parameters that carry the credential: names, percent-encoded, with commas between.
const MASKED_QUERY: HeaderName = HeaderName::from_static("x-clawbridge-masked-query");

/// The headers that carry the credential and the signature: names with commas between.
const MASKED_HEADERS: HeaderName = HeaderName::from_static("x-clawbridge-masked-headers");

/// In an answer: there is none, because of this. A [`TaskError`] as JSON in Base64.
const FAILURE: HeaderName = HeaderName::from_static("x-clawbridge-failure");

/// Where the calls of tools are led instead of to their upstreams. Those of `bridge:` addresses are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstreams {
    base: Arc<str>,
    stand_ins: StandIns,
}

/// Whether other credentials may be sent in the place of a tool's own, which are nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandIns {
    /// No: the calls go on to the real upstreams.
    Never,
    /// Where the tool's own cannot be read.
    Missing,
    /// Always: no secret is read.
    Always,
}

/// A place that calls cannot be led to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not http://127.0.0.1:PORT or http://[::1]:PORT: calls, with their credentials, are led to this machine only"
)]
pub struct NotLoopback(pub String);

impl Upstreams {
    /// To `url`, an http address of this machine.
    ///
    /// # Errors
    /// It is another: what calls carry is for their upstreams alone.
    pub fn new(url: &str, stand_ins: StandIns) -> Result<Upstreams, NotLoopback> {
        let wrong = || NotLoopback(url.to_owned());
        let parsed = Url::parse(url).map_err(|_| wrong())?;
        let is_loopback = match parsed.host() {
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            Some(url::Host::Domain(_)) | None => false,
        };
        let is_plain = parsed.username().is_empty() && parsed.query().is_none() && parsed.fragment().is_none();
        if parsed.scheme() != "http" || !is_loopback || !is_plain {
            return Err(wrong());
        }
        Ok(Upstreams { base: parsed.as_str().trim_end_matches('/').into(), stand_ins })
    }

    pub(crate) fn stand_ins(&self) -> StandIns {
        self.stand_ins
    }

    /// Leads `complete`, a request of `tool`, there.
    pub(crate) fn lead(&self, complete: &mut Complete, tool: &CompiledTool) -> Result<(), TaskError> {
        let query = complete.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let place = format!("{}/{}{}{query}", self.base, host(&complete.url), complete.url.path());
        let url = Url::parse(&place).map_err(|error| invalid(format!("url: {error}")))?;
        let sensitive = complete.headers.iter().filter(|(_, value)| value.is_sensitive());
        let sensitive: Vec<&str> = sensitive.map(|(name, _)| name.as_str()).collect();
        let ours = [
            (TOOL, tool.name().to_owned()),
            (SCHEME, complete.url.scheme().to_owned()),
            (MASKED_QUERY, tool.tool().auth.as_ref().map(masked_query).unwrap_or_default()),
            (MASKED_HEADERS, sensitive.join(",")),
        ];
        for (name, value) in ours {
            let value = HeaderValue::from_str(&value).map_err(|_| invalid(format!("{name} cannot be sent")))?;
            complete.headers.insert(name, value);
        }
        complete.url = url;
        Ok(())
    }
}

fn masked_query(auth: &clawbridge_config::Auth) -> String {
    match &auth.carrier {
        clawbridge_config::Carrier::Query { name } => crate::request::encoded(name),
        clawbridge_config::Carrier::Header { .. } | clawbridge_config::Carrier::Basic { .. } => String::new(),
    }
}

/// A call that was led elsewhere, as it would have been sent to its upstream.
#[derive(Clone)]
pub struct Led {
    /// The tool.
    pub tool: String,
    /// The method.
    pub method: Method,
    /// The upstream's address.
    pub url: Url,
    /// The headers for the upstream, those of the connection among them.
    pub headers: HeaderMap,
    /// Names of the query parameters that carry the credential.
    pub masked_query: Vec<String>,
    /// Names of the headers that carry the credential and the signature.
    pub masked_headers: Vec<String>,
}

impl Led {
    /// The call behind a request for `target`: `/HOST/PATH?QUERY`, below what [`Upstreams`] was made with. `None`: it was not led here.
    #[must_use]
    pub fn read(method: Method, target: &str, mut headers: HeaderMap) -> Option<Led> {
        let of = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (tool, scheme) = (of(TOOL)?, of(SCHEME)?);
        if !matches!(scheme.as_str(), "http" | "https") {
            return None;
        }
        let names = |text: Option<String>| -> Vec<String> {
            let text = text.unwrap_or_default();
            text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
        };
        let masked_query = names(of(MASKED_QUERY)).iter().filter_map(|name| decoded(name)).collect();
        let masked_headers = names(of(MASKED_HEADERS));
        let url = Url::parse(&format!("{scheme}://{}", target.strip_prefix('/')?)).ok()?;
        let ours: Vec<HeaderName> = headers.keys().filter(|name| is_ours(name)).cloned().collect();
        for name in ours {
            headers.remove(name);
        }
        Some(Led { tool, method, url, headers, masked_query, masked_headers })
    }
}

/// Whether a header of this name is one of ours.
#[must_use]
pub fn is_ours(name: &HeaderName) -> bool {
    name.as_str().starts_with(OURS)
}

fn decoded(name: &str) -> Option<String> {
    let url = Url::parse(&format!("x:?{name}")).ok()?;
    let (name, _) = url.query_pairs().next()?;
    Some(name.into_owned())
}

/// The header that says in the place of an answer why there is none: the call then fails with `error`, as if it had failed on its way
/// to the upstream.
#[must_use]
pub fn failure_header(error: &TaskError) -> (HeaderName, HeaderValue) {
    let text = STANDARD.encode(serde_json::to_vec(error).unwrap_or_default());
    (FAILURE, HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("")))
}

/// Why there is no answer, if it says so.
pub(crate) fn failure(headers: &HeaderMap) -> Option<TaskError> {
    let value = STANDARD.decode(headers.get(FAILURE)?.as_bytes()).ok()?;
    serde_json::from_slice(&value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sender;
    use crate::credentials::Credentials;
    use crate::request::Prepared;
    use clawbridge_clock::Timestamp;
    use clawbridge_config::check;
    use clawbridge_outbound::Clients;
    use clawbridge_tasks::{Class, Code};
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_millis(1_763_696_400_000);

    /// The request of a tool as it would be sent, and as it is led elsewhere and read there.
    fn led(url: &str, more: &str, input: &serde_json::Value) -> (Complete, Led) {
        let text = format!("[tools.t]\nurl = \"{url}\"\n{more}\n[network]\nallow = [\"::1\"]\n");
        let (config, diagnostics) = check(&text);
        let config = Arc::new(config.unwrap_or_else(|| panic!("{diagnostics:?}")).compile().expect("a configuration"));
        let tool = config.tool("t").expect("a tool");
        let sender = Sender { task: "task_1", step: None, callback: None };
        let prepared = Prepared::new(&Clients::new(config.clone()), "", tool, input, &sender).expect("a request");
        let complete = || prepared.with(tool, &Credentials::stand_ins(tool), None, NOW).expect("a request");
        let upstreams = Upstreams::new("http://127.0.0.1:7000/", StandIns::Never).expect("upstreams");
        let mut led = complete();
        upstreams.lead(&mut led, tool).expect("led");
        let target = led.url.as_str().strip_prefix("http://127.0.0.1:7000").expect("led to this machine").to_owned();
        (complete(), Led::read(led.method, &target, led.headers).expect("a call"))
    }

    #[test]
    fn what_is_led_elsewhere_is_what_would_have_been_sent() {
        let secret = "secret = \"clawbridge/tools/a\"";
        let query = format!("method = \"GET\"\nauth = {{ {secret}, query = \"api+key[]\" }}");
        let signed = format!(
            "method = \"PUT\"\nauth = {{ {secret} }}\nsign = {{ {secret}, header = \"X-S\", over = \"{{host}}{{path}}\" }}"
        );
        let none: [&str; 0] = [];
        let rows = [
            ("https://a.example/v1/{id}?x=1", query.as_str(), vec!["api+key[]"], none.to_vec()),
            ("https://a.example:8443/v1/{id}", signed.as_str(), none.to_vec(), vec!["authorization", "x-s"]),
            ("https://a.example", "method = \"GET\"", none.to_vec(), none.to_vec()),
            ("http://[::1]:80/a//{id}?", "method = \"GET\"", none.to_vec(), none.to_vec()),
            ("https://a.example/%2e%2Fb/{id}", "method = \"POST\"", none.to_vec(), none.to_vec()),
        ];
        for (url, tool, masked_query, masked_headers) in rows {
            let (sent, read) = led(url, tool, &json!({"id": "a/b ü?"}));
            assert_eq!((&read.method, read.url.as_str(), read.tool.as_str()), (&sent.method, sent.url.as_str(), "t"));
            assert_eq!(read.headers, sent.headers, "{url}");
            assert_eq!(
                (read.masked_query, read.masked_headers.len()),
                (masked_query.into_iter().map(str::to_owned).collect(), masked_headers.len()),
                "{url}"
            );
            assert!(masked_headers.iter().all(|name| read.masked_headers.iter().any(|masked| masked == name)), "{url}");
        }
    }

    #[test]
    fn calls_are_led_to_this_machine_only() {
        for url in ["http://127.0.0.1:7000", "http://127.0.0.1:7000/", "http://[::1]:7000", "http://127.9.9.9/below"] {
            assert!(Upstreams::new(url, StandIns::Never).is_ok(), "{url}");
        }
        for url in [
            "",
            "127.0.0.1:7000",
            "https://127.0.0.1:7000",
            "http://localhost:7000",
            "http://10.0.0.1:7000",
            "http://a.example",
            "http://me@127.0.0.1:7000",
            "http://127.0.0.1:7000/?x",
            "http://[::ffff:10.0.0.1]:7000",
        ] {
            assert_eq!(Upstreams::new(url, StandIns::Never), Err(NotLoopback(url.to_owned())));
        }
    }

    #[test]
    fn what_was_not_led_here_is_no_call() {
        let headers = |pairs: &[(HeaderName, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
        };
        let whole = headers(&[(TOOL, "t"), (SCHEME, "https")]);
        assert!(Led::read(Method::GET, "/a.example/", whole.clone()).is_some());
        for (target, headers) in [
            ("/a.example/", headers(&[(SCHEME, "https")])),
            ("/a.example/", headers(&[(TOOL, "t")])),
            ("/a.example/", headers(&[(TOOL, "t"), (SCHEME, "file")])),
            ("/", whole.clone()),
            ("", whole.clone()),
            ("*", whole),
        ] {
            assert!(Led::read(Method::GET, target, headers).is_none(), "{target}");
        }
    }

    #[test]
    fn a_failure_arrives_as_it_was() {
        let error = TaskError {
            may_have_acted: true,
            ..TaskError::unsent(Code::Timeout, Class::Transient, "no complete answer; é\n")
        };
        let headers: HeaderMap = [failure_header(&error)].into_iter().collect();
        assert_eq!(failure(&headers), Some(error));
        assert_eq!(failure(&HeaderMap::new()), None);
    }
}
