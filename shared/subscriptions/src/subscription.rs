//! What a subscription is.

use crate::KINDS;
use clawbridge_clock::Timestamp;
use clawbridge_config::Glob;
use clawbridge_jq::{CompileError, Program, RunError};
use serde_json::Value;
use std::time::Duration;
use url::{Host, Url};

/// The most subscriptions of a bridge: functions read all of them every few seconds.
pub const MAX_SUBSCRIPTIONS: usize = 100;

/// The most patterns of a subscription.
pub const MAX_PATTERNS: usize = 50;

/// The longest address, bytes.
pub const MAX_URL_BYTES: usize = 2048;

/// The longest description, characters.
pub const MAX_DESCRIPTION_CHARS: usize = 500;

/// What the names of deliveries' pseudo tools begin with. No declared tool's name has a colon.
const TOOL_PREFIX: &str = "webhook:";

/// An endpoint that wants events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// `wh_` and 24 hexadecimal digits.
    pub id: String,
    /// Where deliveries go.
    pub url: String,
    /// Patterns of event types.
    pub events: Vec<String>,
    /// A jq program over the payload; only those for which it gives true are delivered.
    pub filter: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Where it stands.
    pub status: Status,
    /// How long it may do nothing but fail until it is paused.
    pub pause_after: Duration,
    /// When it was made.
    pub created_at: Timestamp,
    /// When somebody changed it last.
    pub updated_at: Timestamp,
    /// Failed attempts since the last that succeeded.
    pub failures: u32,
    /// Since when there were no others.
    pub failing_since: Option<Timestamp>,
    /// Events since then have not been delivered: it was paused, and holds them.
    pub held_since: Option<Timestamp>,
}

/// Whether it gets events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It does.
    Active,
    /// It does not, until somebody resumes it.
    Paused {
        /// Why.
        reason: Reason,
        /// Since when.
        since: Timestamp,
    },
}

/// Why a subscription is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Somebody wanted it.
    Person,
    /// It has failed for too long.
    Failing,
    /// Its endpoint said 410: it wants no more.
    Gone,
}

impl Reason {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Person => "person",
            Reason::Failing => "failing",
            Reason::Gone => "gone",
        }
    }

    /// From the word for it.
    #[must_use]
    pub fn parse(word: &str) -> Option<Reason> {
        [Reason::Person, Reason::Failing, Reason::Gone].into_iter().find(|reason| reason.as_str() == word)
    }

    /// Whether what comes in the meantime is delivered when it is resumed. Who said 410 wants none of it.
    #[must_use]
    pub fn holds(self) -> bool {
        match self {
            Reason::Person | Reason::Failing => true,
            Reason::Gone => false,
        }
    }
}

impl Subscription {
    /// Whether it gets events now.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == Status::Active
    }

    /// Whether it gets later what comes now.
    #[must_use]
    pub fn holds(&self) -> bool {
        matches!(self.status, Status::Paused { reason, .. } if reason.holds())
    }

    /// Whether it wants events of this type.
    #[must_use]
    pub fn wants_type(&self, event_type: &str) -> bool {
        self.events.iter().any(|pattern| Glob::new(pattern).matches(event_type))
    }

    /// Whether it wants this payload, its filter apart. What happened to itself it is never told: that would go on for ever.
    #[must_use]
    pub fn wants(&self, payload: &Value) -> bool {
        self.wants_type(payload["event"].as_str().unwrap_or_default())
            && payload["data"]["webhook_id"] != self.id.as_str()
    }

    /// The name of the pseudo tool of its deliveries.
    #[must_use]
    pub fn tool(&self) -> String {
        tool(&self.id)
    }
}

/// The name of the pseudo tool of a subscription's deliveries.
#[must_use]
pub fn tool(id: &str) -> String {
    format!("{TOOL_PREFIX}{id}")
}

/// The subscription whose deliveries have this pseudo tool.
#[must_use]
pub fn of_tool(tool: &str) -> Option<&str> {
    tool.strip_prefix(TOOL_PREFIX)
}

/// Whether a text can be a subscription's id.
#[must_use]
pub fn is_id(text: &str) -> bool {
    let digits = text.strip_prefix("wh_").unwrap_or_default();
    digits.len() == 24 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A filter, ready to run.
#[derive(Clone, Debug)]
pub struct Filter(Program);

impl Filter {
    /// Compiles it.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn compile(source: &str) -> Result<Filter, CompileError> {
        Ok(Filter(Program::compile(source)?))
    }

    /// Whether it lets a payload pass.
    ///
    /// # Errors
    /// When it fails on the payload.
    pub fn lets_pass(&self, payload: &Value) -> Result<bool, RunError> {
        self.0.matches(payload)
    }
}

/// A pattern that matches nothing that there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no event has such a type; there are {known}, and patterns such as task.* and *")]
pub struct PatternError {
    known: String,
}

/// Refuses a pattern of event types that none of [`KINDS`] fits: a misspelt one would wait for ever.
///
/// # Errors
/// See [`PatternError`].
pub fn check_pattern(pattern: &str) -> Result<(), PatternError> {
    let glob = Glob::new(pattern);
    if KINDS.iter().any(|(kind, _)| glob.matches(kind)) {
        return Ok(());
    }
    let known: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
    Err(PatternError { known: known.join(", ") })
}

/// Why an address cannot be an endpoint's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL.
    #[error("this is no address such as https://example.com/hook, of {MAX_URL_BYTES} bytes at most")]
    Malformed,
    /// Neither https nor http.
    #[error("an endpoint is called with https")]
    Scheme,
    /// `user:password@`, which would be sent, logged and shown by whoever reads it as a part of the address.
    #[error("an address has no user and password here; deliveries are signed instead")]
    Credentials,
    /// `#…`, which is never sent.
    #[error("an address has no fragment (#…) here: it is never sent")]
    Fragment,
}

/// An endpoint's address, if it can be one. Whether it may be called is for who resolves it.
///
/// # Errors
/// See [`UrlError`].
pub fn check_url(text: &str) -> Result<Url, UrlError> {
    if text.len() > MAX_URL_BYTES || text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(UrlError::Malformed);
    }
    let url = Url::parse(text).map_err(|_| UrlError::Malformed)?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(UrlError::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::Credentials);
    }
    if url.fragment().is_some() {
        return Err(UrlError::Fragment);
    }
    match url.host() {
        Some(Host::Domain("")) | None => Err(UrlError::Malformed),
        Some(_) => Ok(url),
    }
}

/// Whether an address leads to this machine as it stands there, without a name that has to be resolved.
#[must_use]
pub fn is_loopback(url: &str) -> bool {
    match Url::parse(url).as_ref().map(Url::host) {
        Ok(Some(Host::Ipv4(address))) => address.is_loopback(),
        Ok(Some(Host::Ipv6(address))) => address.is_loopback(),
        Ok(Some(Host::Domain(name))) => name == "localhost",
        Ok(None) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn subscription(events: &[&str], status: Status) -> Subscription {
        let at = Timestamp::from_millis(1);
        Subscription {
            id: "wh_0123456789abcdef01234567".into(),
            url: "https://a.example/".into(),
            events: events.iter().map(|text| (*text).to_owned()).collect(),
            filter: None,
            description: None,
            status,
            pause_after: Duration::from_secs(1),
            created_at: at,
            updated_at: at,
            failures: 0,
            failing_since: None,
            held_since: None,
        }
    }

    #[test]
    fn a_subscription_gets_the_types_of_its_patterns_and_nothing_about_itself() {
        let one = subscription(&["task.*", "webhook.*"], Status::Active);
        for (payload, expected) in [
            (json!({"event": "task.completed", "data": {"task_id": "t"}}), true),
            (json!({"event": "system.error", "data": {}}), false),
            (json!({"event": "webhook.paused", "data": {"webhook_id": "wh_another"}}), true),
            (json!({"event": "webhook.paused", "data": {"webhook_id": one.id}}), false),
        ] {
            assert_eq!(one.wants(&payload), expected, "{payload}");
        }
        assert_eq!(of_tool(&one.tool()), Some(one.id.as_str()));
        assert!(is_id(&one.id) && !is_id("wh_") && !is_id("wh_0123456789ABCDEF01234567") && !is_id("x"));
    }

    #[test]
    fn events_are_made_for_those_who_get_them_now_or_later() {
        let since = Timestamp::from_millis(1);
        for (status, expected) in [
            (Status::Active, true),
            (Status::Paused { reason: Reason::Person, since }, true),
            (Status::Paused { reason: Reason::Failing, since }, true),
            (Status::Paused { reason: Reason::Gone, since }, false),
        ] {
            let all = [subscription(&["task.failed"], status)];
            assert_eq!(crate::is_wanted_by_somebody(&all, "task.failed"), expected, "{status:?}");
            assert!(!crate::is_wanted_by_somebody(&all, "task.completed"));
        }
        for reason in [Reason::Person, Reason::Failing, Reason::Gone] {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
        }
    }

    #[test]
    fn a_pattern_that_nothing_fits_is_refused_with_the_types_that_there_are() {
        for good in ["*", "task.*", "task.completed", "*.paused", "skill.installed"] {
            assert!(check_pattern(good).is_ok(), "{good}");
        }
        for bad in ["", "task", "tasks.*", "task.complete", "Task.*"] {
            let error = check_pattern(bad).expect_err(bad);
            assert!(error.to_string().contains("task.completed"), "{error}");
        }
    }

    #[test]
    fn an_endpoints_address_has_nothing_in_it_that_is_none() {
        for good in [
            "https://a.example/hook?x=1",
            "https://a.example:8443",
            "http://127.0.0.1:4000/x",
            "https://[2606:4700::1]/",
        ] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        for (bad, error) in [
            ("", UrlError::Malformed),
            ("a.example", UrlError::Malformed),
            ("https://", UrlError::Malformed),
            ("https://a.example/ x", UrlError::Malformed),
            ("https:\\\\a.example", UrlError::Malformed),
            ("ftp://a.example/", UrlError::Scheme),
            ("file:///etc/passwd", UrlError::Scheme),
            ("https://user@a.example/", UrlError::Credentials),
            ("https://user:pass@a.example/", UrlError::Credentials),
            ("https://a.example/#x", UrlError::Fragment),
        ] {
            assert_eq!(check_url(bad).expect_err(bad), error, "{bad}");
        }
        assert_eq!(check_url(&format!("https://a.example/{}", "x".repeat(2048))), Err(UrlError::Malformed));
        for (url, expected) in [
            ("http://127.0.0.1:4000/x", true),
            ("http://localhost:4000/x", true),
            ("http://[::1]/", true),
            ("http://10.0.0.1/", false),
            ("https://localhost.a.example/", false),
        ] {
            assert_eq!(is_loopback(url), expected, "{url}");
        }
    }
}
