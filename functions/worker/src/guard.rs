//! Leave to call: limits, circuits and retry budgets around the calls that `execute` makes.

use crate::{Loaded, Worker, deliver};
use clawbridge_clock::Timestamp;
use clawbridge_config::CompiledTool;
use clawbridge_journal::{Decision, Entry};
use clawbridge_limits::{Acquired, Attempt, Ended, Guard, Later, Permit, Said};
use clawbridge_subscriptions::of_tool;
use clawbridge_tasks::change::{Change, Fence};
use clawbridge_tasks::{Class, Code, Record, State, TaskError};
use clawbridge_tools::Called;

/// What is told after the outcome of a call is written down. Lost with a crash, which harms nobody.
#[derive(Debug)]
pub(crate) struct Report {
    guard: Guard,
    permit: Permit,
    ended: Ended,
    said: Said,
}

impl Worker {
    /// Leave to call the tool, or the error of a call that is not made now.
    pub(crate) async fn leave(
        &self,
        tool: &CompiledTool,
        record: &Record,
    ) -> Result<Option<(Guard, Permit)>, TaskError> {
        if tool.limit().is_none() && tool.circuit().is_none() && tool.retry_budget().is_none() {
            return Ok(None);
        }
        let guard = guard(tool);
        match self.limits.acquire(&guard, attempt(record), Timestamp::now(), fastrand::f64()).await {
            Acquired::Granted(permit) => {
                self.tell_limits(permit.note.as_deref());
                Ok(Some((guard, permit)))
            }
            Acquired::Later(later) => {
                self.tell_limits(later.note.as_deref());
                Err(held_up(&later, Timestamp::now()))
            }
        }
    }

    pub(crate) async fn report(&self, report: Report) {
        let Report { guard, permit, ended, said } = report;
        let note = self.limits.report(&guard, permit, ended, said, Timestamp::now(), fastrand::f64()).await;
        self.tell_limits(note.as_deref());
    }

    /// Whether the task of this claim would only be put back: then nothing is written, and its message comes again at that time.
    pub(crate) fn held_up(&self, loaded: &Loaded, claim: &Change) -> Option<Timestamp> {
        let is_claim = claim.after.state == State::Running;
        let is_known = matches!(claim.fence, Fence::At { state: State::Queued, .. });
        if let Some(id) = of_tool(&claim.after.tool) {
            return (is_claim && is_known && self.pace.is_full(id)).then(|| Timestamp::now().plus(deliver::put_off()));
        }
        let tool = loaded.config.tool(&claim.after.tool).filter(|_| is_claim && is_known)?;
        let later = self.limits.peek(&guard(tool), attempt(&claim.after), Timestamp::now(), fastrand::f64())?;
        let trace_id = claim.after.trace.map(|trace| trace.trace_id().to_string());
        clawbridge_journal::write(&Entry::TaskAttempt {
            task: &claim.after.id,
            tool: &claim.after.tool,
            event: claim.after.origin.as_ref().map_or("", |origin| origin.event().unwrap_or_default()),
            attempt: claim.after.attempt.saturating_sub(1),
            decision: Decision::Deferred,
            status: None,
            code: Some(later.why.code()),
            reason: Some(later.why.message()),
            ms: 0,
            retry_in_ms: Some(u64::try_from(Timestamp::now().until(later.at).as_millis()).unwrap_or(u64::MAX)),
            trace_id: trace_id.as_deref(),
            span_id: None,
            body: None,
            wire: None,
        });
        Some(later.at)
    }

    fn tell_limits(&self, note: Option<&str>) {
        if let Some(reason) = note {
            let entry = Entry::BridgeFailed { code: "LIMITS_UNAVAILABLE", reason, subject: "limits" };
            clawbridge_journal::write(&entry);
        }
    }
}

fn guard(tool: &CompiledTool) -> Guard {
    Guard::of(tool, tool.tool().auth.as_ref().map(|auth| auth.credential.name()))
}

/// An attempt whose worker was lost is no retry: nobody knows that its upstream failed.
fn attempt(record: &Record) -> Attempt {
    if record.failures > 0 { Attempt::Retry } else { Attempt::First }
}

/// A call that is not made now: it costs its task nothing.
fn held_up(later: &Later, now: Timestamp) -> TaskError {
    let message = format!("{}: {}", later.why.code(), later.why.message());
    TaskError {
        retry_after: Some(now.until(later.at)),
        ..TaskError::unsent(Code::RateLimited, Class::Transient, message)
    }
}

/// What a call says about its upstream's health, and about when to come back.
pub(crate) fn told(leave: (Guard, Permit), called: &Called) -> Report {
    let ended = match &called.answer {
        Err(_) if called.requests == 0 => Ended::Unsent,
        Err(error) if error.class == Class::Server || matches!(error.code, Code::Unavailable | Code::Timeout) => {
            Ended::Failed
        }
        Ok(_) | Err(_) => Ended::Answered,
    };
    let said = Said {
        retry_after: called.answer.as_ref().err().and_then(|error| error.retry_after),
        remaining: called.quota.map(|quota| quota.remaining),
        reset_at: called.quota.and_then(|quota| quota.reset_at),
    };
    let (guard, permit) = leave;
    Report { guard, permit, ended, said }
}

/// A permit for a call that was not begun.
pub(crate) fn unused(leave: (Guard, Permit)) -> Report {
    let (guard, permit) = leave;
    Report { guard, permit, ended: Ended::Unsent, said: Said::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clawbridge_limits::slots;
    use clawbridge_tasks::{CLOCK_MARGIN, LEASE_MARGIN};
    use std::time::Duration;

    #[test]
    fn a_slot_is_held_for_at_least_as_long_as_the_attempt_that_takes_it() {
        assert_eq!(slots::CLOCK_MARGIN, CLOCK_MARGIN);
        for (timeout, seconds) in [("1s", 1), ("10s", 10), ("25s", 25)] {
            let text = format!(
                "[tools.t]\nmethod = \"GET\"\nurl = \"https://a.example\"\ntimeout = \"{timeout}\"\nlimit = {{ concurrency = 1 }}"
            );
            let config = clawbridge_config::check(&text).0.expect("no error").compile().expect("the same");
            let (_, rule) = guard(config.tool("t").expect("the tool")).slots.expect("slots");
            assert!(rule.lease() >= Duration::from_secs(seconds) + LEASE_MARGIN, "{timeout}: {:?}", rule.lease());
        }
    }
}
