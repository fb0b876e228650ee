//! How often callers may ask: each token has a bucket that all environments share, those without one have a bucket of the environment.

use crate::problem::{Code, Problem};
use crate::state::Api;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use clawbridge_access::{Caller, Rate};
use clawbridge_clock::Timestamp;
use clawbridge_limits::Scope;
use clawbridge_limits::bucket::{Bucket, Rule, Step, step};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What a caller has left, and whether this request was one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    rate: Rate,
    remaining: u32,
    full_in: Duration,
    /// The request is refused; there is a token again after so long.
    again_in: Option<Duration>,
}

impl Allowance {
    /// Limit, rest and reset in the two forms that clients read: `RateLimit-Reset` has seconds from now, `X-RateLimit-Reset` Unix seconds.
    pub(crate) fn write(&self, headers: &mut HeaderMap, now: Timestamp) {
        let reset = seconds(self.full_in);
        let at = u64::try_from(now.seconds()).unwrap_or_default().saturating_add(reset);
        for (name, value) in [
            ("ratelimit-limit", u64::from(self.rate.burst())),
            ("ratelimit-remaining", self.remaining.into()),
            ("ratelimit-reset", reset),
            ("x-ratelimit-limit", self.rate.burst().into()),
            ("x-ratelimit-remaining", self.remaining.into()),
            ("x-ratelimit-reset", at),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }

    /// What the caller is told, if the request is refused.
    pub(crate) fn refusal(&self) -> Option<Problem> {
        let wait = seconds(self.again_in?).max(1);
        let Allowance { rate, .. } = self;
        let message = format!("more requests than {rate} ({} at once); come back in {wait} s", rate.burst());
        Some(Problem { retry_after: Some(wait), ..Problem::new(Code::RateLimited, message) })
    }
}

/// Rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn rule(rate: Rate) -> Rule {
    Rule::new(rate.requests(), rate.period(), rate.burst())
}

/// The bucket of those without a token that is known, in one environment.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<Bucket>);

impl Strangers {
    /// Takes a token, unless the caller is only to be told what there is.
    fn ask(&self, rate: Rate, is_charged: bool, now: Timestamp) -> Allowance {
        let rule = rule(rate);
        // No half-made state between statements.
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut again_in = None;
        if is_charged {
            match step(Some(&bucket), rule, 1, now) {
                Step::Try(take) => *bucket = take.over(Some(&bucket)).unwrap_or(*bucket),
                Step::Later { at, .. } => again_in = Some(now.until(at)),
            }
        }
        let remaining = bucket.tokens(now).unwrap_or(rule.capacity());
        Allowance { rate, remaining, full_in: rule.interval() * (rule.capacity() - remaining), again_in }
    }
}

impl Api {
    /// What this request's caller has left. Someone whose token could not be looked up is not charged for it.
    pub(crate) async fn allow(&self, who: &Result<Caller, Problem>, now: Timestamp) -> Allowance {
        let caller = match who {
            Ok(caller) => caller,
            Err(problem) => {
                return self.strangers.ask(self.settings.rate, problem.code == Code::Unauthorized, now);
            }
        };
        let rate = caller.rate().unwrap_or(self.settings.rate);
        let spent = self.limits.spend(&Scope::named(&format!("api/{}", caller.name())), rule(rate), now).await;
        if let Some(note) = &spent.note {
            crate::note_inside(note, "limits");
        }
        let again_in = spent.again_at.map(|at| now.until(at));
        Allowance { rate, remaining: spent.remaining, full_in: spent.full_in, again_in }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + ms)
    }

    #[test]
    fn strangers_have_one_bucket_and_are_told_when_it_has_something_again() {
        let (strangers, rate) = (Strangers::default(), "60/min".parse::<Rate>().expect("a rate"));
        for left in (0..10).rev() {
            let allowance = strangers.ask(rate, true, at(0));
            assert_eq!((allowance.remaining, allowance.refusal().is_none()), (left, true));
        }
        let refused = strangers.ask(rate, true, at(0));
        let problem = refused.refusal().expect("a refusal");
        assert_eq!((problem.code, problem.retry_after), (Code::RateLimited, Some(1)));
        assert!(strangers.ask(rate, false, at(0)).refusal().is_none());
        let mut headers = HeaderMap::new();
        refused.write(&mut headers, at(0));
        for (name, value) in [
            ("ratelimit-limit", "10"),
            ("ratelimit-remaining", "0"),
            ("ratelimit-reset", "10"),
            ("x-ratelimit-reset", "1800000010"),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
        assert!(strangers.ask(rate, true, at(1_000)).refusal().is_none());
        assert!(strangers.ask(rate, true, at(1_000)).refusal().is_some());
    }
}
