//! What happened, one structured line each.
//!
//! Everything that the functions log is an [`Entry`]: a closed list, so that what can reach a log can be read in this file. No entry
//! carries a webhook's body, a header value or a credential; that of a failed attempt has the beginning of the upstream's answer. In Lambda a line of JSON goes to standard output, which is CloudWatch;
//! `clawbridge dev` sets a [`Sink`] that shows the same entries to a person.

use serde::Serialize;
use serde_json::json;
use std::io::Write;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// How much of an upstream's answer a line has, bytes of UTF-8.
pub const MAX_ANSWER_BYTES: usize = 1024;

/// How much an entry wants to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It went as it should.
    Info,
    /// Somebody outside did what the bridge refuses or has to work around.
    Warn,
    /// The bridge or its deployment is at fault: page somebody.
    Error,
}

/// What the worker did with a task after one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// The call was made and its answer kept.
    Succeeded,
    /// It will be tried again.
    Retry,
    /// The upstream took it and answers later.
    Waiting,
    /// The upstream may have acted: it will be asked whether it did.
    Unknown,
    /// It will not be tried again by itself.
    Failed,
    /// Its outcome is unknown and only a person may decide.
    Parked,
    /// A person took it back.
    Cancelled,
    /// It had ended before; nothing was called.
    Reused,
    /// The same key came with another input; nothing was called.
    Conflict,
    /// Somebody else is at it, or its time has not come: back to the queue.
    Deferred,
}

impl Decision {
    /// The word that lines and commands show.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::Succeeded => "succeeded",
            Decision::Retry => "retry",
            Decision::Waiting => "waiting",
            Decision::Unknown => "unknown",
            Decision::Failed => "failed",
            Decision::Parked => "parked",
            Decision::Cancelled => "cancelled",
            Decision::Reused => "reused",
            Decision::Conflict => "conflict",
            Decision::Deferred => "deferred",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind")]
#[non_exhaustive]
pub enum Entry<'a> {
    /// A delivery was verified and is on the queue.
    #[serde(rename = "webhook.accepted")]
    WebhookAccepted {
        /// Source name.
        source: &'a str,
        /// Body size as received, bytes.
        bytes: usize,
        /// Queue messages that it took.
        messages: usize,
        /// API Gateway's request id, which the stored event keeps too.
        request_id: &'a str,
        /// The trace that what follows from it belongs to, 32 hexadecimal digits.
        trace_id: &'a str,
    },
    /// A request was answered with a 4xx or 5xx. Of many 4xx alike within seconds one line stands for several.
    #[serde(rename = "webhook.refused")]
    WebhookRefused {
        /// Source name as asked for, if it could be one.
        source: &'a str,
        /// Source name if there is such a source, else `-`, which is no name: what a metric may be divided by. What strangers invent must
        /// not become metrics.
        counted_as: &'a str,
        /// How many refusals of the same source and code the line stands for: itself, and those before it that were not written.
        count: u64,
        /// HTTP status answered.
        status: u16,
        /// Stable code.
        code: &'a str,
        /// For the operator; the sender is told less.
        reason: &'a str,
        /// API Gateway's request id.
        request_id: &'a str,
    },
    /// An event was stored and routed.
    #[serde(rename = "event.stored")]
    EventStored {
        /// Event id.
        event: &'a str,
        /// Source name.
        source: &'a str,
        /// Event type.
        r#type: &'a str,
        /// The provider's delivery id.
        delivery_id: &'a str,
        /// Tasks that its routes made.
        tasks: usize,
    },
    /// A delivery that is known already: acknowledged, counted, not acted on.
    #[serde(rename = "event.repeated")]
    EventRepeated {
        /// Event id.
        event: &'a str,
        /// Source name.
        source: &'a str,
        /// The provider's delivery id.
        delivery_id: &'a str,
    },
    /// An operator had an event routed again.
    #[serde(rename = "event.replayed")]
    EventReplayed {
        /// Event id.
        event: &'a str,
        /// Tasks that its routes made.
        tasks: usize,
    },
    /// A route's filter or mapping failed for an event; its other routes went on.
    #[serde(rename = "route.failed")]
    RouteFailed {
        /// Event id.
        event: &'a str,
        /// Route name.
        route: &'a str,
        /// What jq said.
        reason: &'a str,
    },
    /// One attempt at a task. Exactly one line for each.
    #[serde(rename = "task.attempt")]
    TaskAttempt {
        /// Task id.
        task: &'a str,
        /// Tool name.
        tool: &'a str,
        /// Event that it came from, or empty.
        event: &'a str,
        /// Which attempt, from 1; 0 when none was made.
        attempt: u32,
        /// What came of it.
        decision: Decision,
        /// HTTP status of the upstream, if it answered.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// Error code, if it did not succeed.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<&'a str>,
        /// Why, for the operator.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        /// Milliseconds from the first byte sent to the answer read.
        ms: u64,
        /// Milliseconds until the next attempt.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_in_ms: Option<u64>,
        /// The trace that the task belongs to, 32 hexadecimal digits.
        #[serde(skip_serializing_if = "Option::is_none")]
        trace_id: Option<&'a str>,
        /// The attempt in it, 16 hexadecimal digits: what the upstream was told in `traceparent`.
        #[serde(skip_serializing_if = "Option::is_none")]
        span_id: Option<&'a str>,
        /// The beginning of the upstream's answer, where the attempt failed: without credentials and what the input says, at most
        /// [`MAX_ANSWER_BYTES`].
        #[serde(skip_serializing_if = "Option::is_none")]
        body: Option<&'a str>,
        /// What went over the wire, where something did.
        #[serde(flatten)]
        wire: Option<Wire<'a>>,
    },
    /// A chain of tasks that feed on each other's events was cut.
    #[serde(rename = "event.too_many_hops")]
    TooManyHops {
        /// Task whose event was not made.
        task: &'a str,
        /// Type of the event that was not made.
        r#type: &'a str,
        /// The configured bound.
        max_hops: u32,
    },
    /// An upstream told what came of a task, and it is on the queue.
    #[serde(rename = "answer.accepted")]
    AnswerAccepted {
        /// Task id.
        task: &'a str,
        /// The attempt that it was told of.
        attempt: u32,
        /// Body size as received, bytes.
        bytes: usize,
        /// API Gateway's request id.
        request_id: &'a str,
    },
    /// What an upstream told of a task changes nothing.
    #[serde(rename = "answer.ignored")]
    AnswerIgnored {
        /// Task id.
        task: &'a str,
        /// The attempt that it was told of.
        attempt: u32,
        /// Why.
        reason: &'a str,
    },
    /// A source that waited for its secret has it.
    #[serde(rename = "source.learned")]
    SourceLearned {
        /// Source name.
        source: &'a str,
    },
    /// A new configuration version is in use.
    #[serde(rename = "config.loaded")]
    ConfigLoaded {
        /// Its number; 0 for none.
        version: u64,
    },
    /// The delivery log of a sender that never retries was gone through. One line for each source and run.
    #[serde(rename = "catch_up.ran")]
    CatchUpRan {
        /// Source name.
        source: &'a str,
        /// Attempts in the log that were read.
        looked_at: usize,
        /// Deliveries of which none arrived.
        missed: usize,
        /// Redeliveries that were asked for.
        asked: usize,
        /// Deliveries that the next run is to ask for.
        left: usize,
        /// Why it ended: `done`, or a stable word for the bound that it met.
        stopped: &'a str,
        /// From when on the provider may be asked again, where it said so. RFC 3339.
        #[serde(skip_serializing_if = "Option::is_none")]
        go_on_at: Option<&'a str>,
        /// Milliseconds.
        ms: u64,
    },
    /// The delivery log of a sender that never retries could not be gone through, or not to its end. The next run tries again.
    #[serde(rename = "catch_up.failed")]
    CatchUpFailed {
        /// Source name.
        source: &'a str,
        /// Stable code.
        code: &'a str,
        /// What failed and what to do.
        reason: &'a str,
        /// It passes by itself; else somebody has to mend it.
        passing: bool,
        /// Redeliveries that were asked for before.
        asked: usize,
        /// Milliseconds.
        ms: u64,
    },
    /// A person has connected an account at a provider.
    #[serde(rename = "connection.connected")]
    ConnectionConnected {
        /// The provider's name in bridge.toml.
        provider: &'a str,
        /// The account's name, which the operator chose.
        account: &'a str,
        /// Which of its token sets is in use now.
        generation: u64,
        /// What was granted.
        scopes: &'a str,
        /// API Gateway's request id.
        request_id: &'a str,
    },
    /// A person's consent came to nothing, or somebody tried what is not theirs.
    #[serde(rename = "consent.refused")]
    ConsentRefused {
        /// The provider's name in bridge.toml, or empty: what strangers invent is not repeated.
        provider: &'a str,
        /// The account's name, where it is known by then.
        account: &'a str,
        /// HTTP status answered.
        status: u16,
        /// Stable code, which the page has too.
        code: &'a str,
        /// For the operator; the person is told less.
        reason: &'a str,
        /// API Gateway's request id.
        request_id: &'a str,
    },
    /// A connection's tokens were refreshed, or a refresh that somebody else had begun was ended.
    #[serde(rename = "connection.refreshed")]
    ConnectionRefreshed {
        /// The provider's name in bridge.toml.
        provider: &'a str,
        /// The account's name.
        account: &'a str,
        /// Which of its token sets it is about.
        generation: u64,
        /// `refreshed`, `recovered` or `superseded`.
        how: &'a str,
    },
    /// A connection's tokens could not be refreshed this time.
    #[serde(rename = "connection.failed")]
    ConnectionFailed {
        /// The provider's name in bridge.toml.
        provider: &'a str,
        /// The account's name.
        account: &'a str,
        /// The server's error code, or a stable one.
        code: &'a str,
        /// In plain words, or empty.
        reason: &'a str,
    },
    /// Somebody has connected to the channel.
    #[serde(rename = "channel.connected")]
    ChannelConnected {
        /// API Gateway's id of the connection.
        connection: &'a str,
        /// `user` or `agent`.
        role: &'a str,
        /// The token's name, or the agent's.
        name: &'a str,
    },
    /// Somebody was not let into the channel.
    #[serde(rename = "channel.refused")]
    ChannelRefused {
        /// HTTP status answered.
        status: u16,
        /// Stable code.
        code: &'a str,
        /// In plain words.
        reason: &'a str,
        /// API Gateway's request id.
        request_id: &'a str,
    },
    /// A connection to the channel has ended.
    #[serde(rename = "channel.closed")]
    ChannelClosed {
        /// API Gateway's id of the connection.
        connection: &'a str,
        /// `user` or `agent`.
        role: &'a str,
        /// The token's name, or the agent's.
        name: &'a str,
    },
    /// A frame was refused or dropped. Nothing of it is in the line.
    #[serde(rename = "channel.frame_refused")]
    FrameRefused {
        /// API Gateway's id of the connection.
        connection: &'a str,
        /// `user` or `agent`.
        role: &'a str,
        /// Stable code.
        code: &'a str,
        /// Its size, bytes.
        bytes: usize,
    },
    /// A turn was accepted.
    #[serde(rename = "response.accepted")]
    ResponseAccepted {
        /// Response id.
        response: &'a str,
        /// The agent's name.
        agent: &'a str,
        /// Whether it waits for something.
        queued: bool,
    },
    /// A response is over.
    #[serde(rename = "response.ended")]
    ResponseEnded {
        /// Response id.
        response: &'a str,
        /// The agent's name.
        agent: &'a str,
        /// `completed`, `failed`, `incomplete` or `cancelled`.
        status: &'a str,
        /// Why, where it was not completed: a stable code.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<&'a str>,
        /// Events that it had.
        events: u64,
        /// Milliseconds since it was accepted.
        ms: u64,
    },
    /// A person has to authorise a connection again.
    #[serde(rename = "connection.expired")]
    ConnectionExpired {
        /// The provider's name in bridge.toml.
        provider: &'a str,
        /// The account's name.
        account: &'a str,
        /// The generation that is refused.
        generation: u64,
        /// Why.
        code: &'a str,
    },
    /// The bridge itself failed: a table, the queue, a secret, a message that cannot be read, a panic.
    #[serde(rename = "bridge.failed")]
    BridgeFailed {
        /// Stable code.
        code: &'a str,
        /// What failed and what it means.
        reason: &'a str,
        /// Queue message, source or task concerned, or empty.
        subject: &'a str,
    },
}

impl Entry<'_> {
    /// Who should read it.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Entry::WebhookAccepted { .. }
            | Entry::EventStored { .. }
            | Entry::EventRepeated { .. }
            | Entry::EventReplayed { .. }
            | Entry::SourceLearned { .. }
            | Entry::AnswerAccepted { .. }
            | Entry::AnswerIgnored { .. }
            | Entry::CatchUpRan { .. }
            | Entry::ConnectionConnected { .. }
            | Entry::ConnectionRefreshed { .. }
            | Entry::ChannelConnected { .. }
            | Entry::ChannelClosed { .. }
            | Entry::ResponseAccepted { .. }
            | Entry::ConfigLoaded { .. } => Level::Info,
            Entry::ResponseEnded { code: None, .. } => Level::Info,
            Entry::ResponseEnded { .. } | Entry::FrameRefused { .. } => Level::Warn,
            Entry::ChannelRefused { status, .. } if *status >= 500 => Level::Error,
            Entry::ChannelRefused { .. } => Level::Warn,
            Entry::ConsentRefused { status: 503, .. } => Level::Error,
            Entry::ConsentRefused { .. } | Entry::ConnectionFailed { .. } | Entry::ConnectionExpired { .. } => {
                Level::Warn
            }
            Entry::WebhookRefused { status, .. } if *status >= 500 => Level::Error,
            Entry::WebhookRefused { .. } | Entry::RouteFailed { .. } | Entry::TooManyHops { .. } => Level::Warn,
            Entry::TaskAttempt { decision, .. } => match decision {
                Decision::Succeeded
                | Decision::Waiting
                | Decision::Cancelled
                | Decision::Reused
                | Decision::Deferred => Level::Info,
                Decision::Retry | Decision::Unknown | Decision::Failed | Decision::Conflict | Decision::Parked => {
                    Level::Warn
                }
            },
            Entry::CatchUpFailed { passing: true, .. } => Level::Warn,
            Entry::CatchUpFailed { .. } | Entry::BridgeFailed { .. } => Level::Error,
        }
    }
}

/// What one attempt sent and received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Wire<'a> {
    /// What the upstream calls its last request: what its support asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_request_id: Option<&'a str>,
    /// Requests: pages, and one more where a newer credential was tried.
    pub requests: u32,
    /// Bytes of the bodies sent.
    pub sent_bytes: u64,
    /// Bytes of the bodies received, as far as they were read.
    pub received_bytes: u64,
}

/// Where entries go instead of standard output.
pub type Sink = Box<dyn Fn(&Entry<'_>) + Send + Sync>;

static SINK: OnceLock<Sink> = OnceLock::new();

/// Sends every entry of this process to `sink`. Returns false, and changes nothing, when there is a sink already.
pub fn set_sink(sink: Sink) -> bool {
    SINK.set(sink).is_ok()
}

static METRICS: OnceLock<String> = OnceLock::new();

/// Makes the lines of tasks metrics as well, in this CloudWatch namespace. The first counts.
pub fn measure(namespace: String) {
    drop(METRICS.set(namespace));
}

/// Writes one line. A log that cannot be written is not a reason to fail the work, so errors are dropped here, on purpose.
pub fn write(entry: &Entry<'_>) {
    if let Some(sink) = SINK.get() {
        sink(entry);
        return;
    }
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let line = measured(entry, millis, METRICS.get().map(String::as_str));
    let mut out = std::io::stdout().lock();
    drop(out.write_all(&line));
}

/// The line, newline included: the entry's fields after `at` (milliseconds since the epoch) and `level`.
#[must_use]
pub fn line(entry: &Entry<'_>, at_millis: u64) -> Vec<u8> {
    measured(entry, at_millis, None)
}

/// As [`line`]; with a namespace, what came of a task is a metric as well: `Outcomes`, and `ms` where an upstream was asked, by tool and decision.
///
/// The embedded metric format: CloudWatch reads the line that is written anyway, so metrics cost no call.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
#[must_use]
pub fn measured(entry: &Entry<'_>, at_millis: u64, namespace: Option<&str>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Line<'a, 'b> {
        at: u64,
        level: Level,
        #[serde(flatten)]
        entry: &'a Entry<'b>,
        #[serde(rename = "Outcomes", skip_serializing_if = "Option::is_none")]
        outcomes: Option<u8>,
        #[serde(rename = "_aws", skip_serializing_if = "Option::is_none")]
        aws: Option<serde_json::Value>,
    }
    let aws = match (entry, namespace) {
        (Entry::TaskAttempt { ms, .. }, Some(namespace)) => {
            let mut metrics = vec![json!({"Name": "Outcomes", "Unit": "Count"})];
            if *ms > 0 {
                metrics.push(json!({"Name": "ms", "Unit": "Milliseconds"}));
            }
            let directive = json!({"Namespace": namespace, "Dimensions": [["tool", "decision"]], "Metrics": metrics});
            Some(json!({"Timestamp": at_millis, "CloudWatchMetrics": [directive]}))
        }
        _ => None,
    };
    let line = Line { at: at_millis, level: entry.level(), entry, outcomes: aws.as_ref().map(|_| 1), aws };
    let mut line = serde_json::to_vec(&line).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The first `max` bytes of `text`, cut at a character: what a person needs of a long message, and no more of it in a log.
#[must_use]
pub fn shortened(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// Reports panics as [`Entry::BridgeFailed`]: where, never with what (a panic message can quote data).
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        write(&Entry::BridgeFailed {
            code: "PANIC",
            reason: "a defect of the bridge; please report the place",
            subject: &place,
        });
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object_with_time_level_and_kind() {
        let entry = Entry::TaskAttempt {
            task: "task_1",
            tool: "record",
            event: "evt_1",
            attempt: 2,
            decision: Decision::Retry,
            status: Some(503),
            code: Some("UNAVAILABLE"),
            reason: None,
            ms: 12,
            retry_in_ms: Some(800),
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
            span_id: Some("00f067aa0ba902b7"),
            body: Some("{\"error\":\n\u{1b}[31m\"late\"}"),
            wire: Some(Wire { upstream_request_id: Some("req_9"), requests: 1, sent_bytes: 20, received_bytes: 300 }),
        };
        let line = line(&entry, 7);
        assert_eq!(line.iter().filter(|byte| byte.is_ascii_control()).count(), 1);
        let value: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(
            value,
            serde_json::json!({"at": 7, "level": "warn", "kind": "task.attempt", "task": "task_1", "tool": "record",
                "event": "evt_1", "attempt": 2, "decision": "retry", "status": 503, "code": "UNAVAILABLE", "ms": 12, "retry_in_ms": 800,
                "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7",
                "body": "{\"error\":\n\u{1b}[31m\"late\"}",
                "upstream_request_id": "req_9", "requests": 1, "sent_bytes": 20, "received_bytes": 300})
        );
    }

    #[test]
    fn the_line_of_a_task_is_a_metric_where_there_is_a_namespace_and_no_other_line_is() {
        let value = |entry: &Entry<'_>, namespace| -> serde_json::Value {
            serde_json::from_slice(&measured(entry, 7, namespace)).expect("JSON")
        };
        let entry = |ms| Entry::TaskAttempt {
            task: "task_1",
            tool: "record",
            event: "",
            attempt: 1,
            decision: Decision::Succeeded,
            status: None,
            code: None,
            reason: None,
            ms,
            retry_in_ms: None,
            trace_id: None,
            span_id: None,
            body: None,
            wire: None,
        };
        let called = value(&entry(12), Some("Clawbridge/a"));
        let directive = &called["_aws"]["CloudWatchMetrics"][0];
        assert_eq!((&called["_aws"]["Timestamp"], &directive["Namespace"]), (&json!(7), &json!("Clawbridge/a")));
        // The specification wants each dimension and each metric as a member of the line.
        for name in ["tool", "decision", "Outcomes", "ms"] {
            assert!(
                called.get(name).is_some() && directive.to_string().contains(&format!("{name:?}")),
                "{name}: {called}"
            );
        }
        assert_eq!(
            value(&entry(0), Some("n"))["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().map(Vec::len),
            Some(1)
        );
        let loaded = Entry::ConfigLoaded { version: 1 };
        for plain in [value(&entry(12), None), value(&loaded, Some("n"))] {
            assert!(plain.get("_aws").is_none() && plain.get("Outcomes").is_none(), "{plain}");
        }
    }

    #[test]
    fn text_is_shortened_at_a_character() {
        assert_eq!(shortened("aé", 2), "a");
        assert_eq!(shortened("aé", 3), "aé");
    }
}
