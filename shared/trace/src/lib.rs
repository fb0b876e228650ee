//! Which trace a piece of work belongs to: from the webhook that began it to each request that it led to. Pure.
//!
//! Headers are W3C Trace Context's `traceparent` (<https://www.w3.org/TR/trace-context/>) and, where a request came without, AWS's
//! `X-Amzn-Trace-Id` (<https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>).
//! `tracestate` is neither read nor passed on: what vendors write into it is for those who trace the sender, and the next request
//! goes to somebody else.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// Characters of a `traceparent` of version 00, and the least of one of any version.
const TRACEPARENT_CHARS: usize = 55;

/// The flag `sampled`: the caller has kept what it knows of this request. Of the other bits version 00 says nothing, so none is passed on.
const SAMPLED: u8 = 1;

/// Names a trace: 16 bytes, not all zero. Displayed as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// Names one step of a trace: 8 bytes, not all zero. Displayed as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

/// A place in a trace: the trace, and the step that what comes next is a consequence of.
///
/// Displayed and serialised as a `traceparent` of version 00; where there is no step yet, with zeros in its place. That form is for messages
/// and tables alone; what a header says is [`TraceContext::traceparent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceContext {
    trace_id: TraceId,
    span_id: Option<SpanId>,
    is_sampled: bool,
}

/// A text that is no [`TraceContext`] as the bridge writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl TraceContext {
    /// A trace that begins here. `random` names it.
    #[must_use]
    pub fn begin(random: u128) -> TraceContext {
        // Zero is no name.
        TraceContext { trace_id: TraceId(random.max(1).to_be_bytes()), span_id: None, is_sampled: true }
    }

    /// What a request says: its `traceparent`, else the first of `amazon` (values of `X-Amzn-Trace-Id` and the like) that can be read, else a
    /// trace that begins here. What is malformed counts as not there.
    #[must_use]
    pub fn received<'a>(
        traceparent: Option<&str>,
        amazon: impl IntoIterator<Item = &'a str>,
        random: u128,
    ) -> TraceContext {
        traceparent
            .and_then(TraceContext::from_traceparent)
            .or_else(|| amazon.into_iter().find_map(TraceContext::from_amazon))
            .unwrap_or_else(|| TraceContext::begin(random))
    }

    /// From the value of the header `traceparent`: `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`. `None` where it is malformed.
    ///
    /// Of a version that is not known, what version 00 would say is read (section 3.2.4 of the specification); `ff` is none.
    #[must_use]
    pub fn from_traceparent(value: &str) -> Option<TraceContext> {
        let known = value.get(..TRACEPARENT_CHARS)?;
        let rest = &value[TRACEPARENT_CHARS..];
        let [version] = digits(known.get(..2)?)?;
        let is_whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let context = TraceContext::fields(known.get(2..)?)?;
        (is_whole && context.span_id.is_some()).then_some(context)
    }

    /// From the value of `X-Amzn-Trace-Id`, or of Lambda's `_X_AMZN_TRACE_ID`:
    /// `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`, of which only `Root` must be there. `None` where it is
    /// malformed.
    #[must_use]
    pub fn from_amazon(value: &str) -> Option<TraceContext> {
        let field = |name: &str| {
            let mut fields = value.split(';').filter_map(|field| field.trim_matches(' ').split_once('='));
            fields.find(|(found, _)| *found == name).map(|(_, value)| value)
        };
        let (seconds, random) = field("Root")?.strip_prefix("1-")?.split_once('-')?;
        let ([a, b, c, d], rest): ([u8; 4], [u8; 12]) = (digits(seconds)?, digits(random)?);
        let mut trace_id = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        trace_id[4..].copy_from_slice(&rest);
        let span_id = match field("Parent") {
            Some(parent) => Some(SpanId::new(digits(parent)?)?),
            None => None,
        };
        Some(TraceContext { trace_id: TraceId::new(trace_id)?, span_id, is_sampled: field("Sampled") == Some("1") })
    }

    /// The trace.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The step that what comes next is a consequence of, if there is one.
    #[must_use]
    pub fn span_id(&self) -> Option<SpanId> {
        self.span_id
    }

    /// The `n`th attempt at a task as a step of this trace. Its name is a hash of the three, so that whoever goes on with the attempt (a
    /// look, a question about a job, minutes later and in another process) gives it the same one.
    #[must_use]
    pub fn attempt(&self, task: &str, n: u32) -> TraceContext {
        let mut hash = Sha256::new();
        hash.update(self.trace_id.0);
        hash.update(n.to_be_bytes());
        hash.update(task.as_bytes());
        let mut name = [0; 8];
        name.copy_from_slice(&hash.finalize()[..8]);
        let span_id = SpanId::new(name).unwrap_or(SpanId([0, 0, 0, 0, 0, 0, 0, 1]));
        TraceContext { span_id: Some(span_id), ..*self }
    }

    /// The value of the header `traceparent`. `None` where there is no step that sends it.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        self.span_id.map(|_| self.to_string())
    }

    /// From `-TRACE-SPAN-FLAGS`; a span of zeros is none.
    fn fields(text: &str) -> Option<TraceContext> {
        let mut fields = text.strip_prefix('-')?.split('-');
        let (trace_id, span_id, flags) = (fields.next()?, fields.next()?, fields.next()?);
        let [flags] = digits(flags)?;
        let context = TraceContext {
            trace_id: TraceId::new(digits(trace_id)?)?,
            span_id: SpanId::new(digits(span_id)?),
            is_sampled: flags & SAMPLED == SAMPLED,
        };
        fields.next().is_none().then_some(context)
    }
}

impl TraceId {
    fn new(bytes: [u8; 16]) -> Option<TraceId> {
        (bytes != [0; 16]).then_some(TraceId(bytes))
    }
}

impl SpanId {
    fn new(bytes: [u8; 8]) -> Option<SpanId> {
        (bytes != [0; 8]).then_some(SpanId(bytes))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span_id = self.span_id.unwrap_or(SpanId([0; 8]));
        write!(f, "00-{}-{span_id}-{:02x}", self.trace_id, if self.is_sampled { SAMPLED } else { 0 })
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a trace context is 00-TRACE-SPAN-FLAGS")
    }
}

impl std::error::Error for Malformed {}

impl From<TraceContext> for String {
    fn from(context: TraceContext) -> String {
        context.to_string()
    }
}

impl TryFrom<String> for TraceContext {
    type Error = Malformed;

    fn try_from(text: String) -> Result<TraceContext, Malformed> {
        text.strip_prefix("00").and_then(TraceContext::fields).ok_or(Malformed)
    }
}

/// Exactly `N` bytes in hexadecimal digits, which are lower-case: other spellings are malformed.
fn digits<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let mut bytes = [0; N];
    let is_read = text.bytes().all(is_digit) && hex::decode_to_slice(text, &mut bytes).is_ok();
    is_read.then_some(bytes)
}

#[cfg(test)]
mod tests;
