//! Deliveries to subscriptions: a task whose tool is `webhook:ID` is one event for one endpoint.
//!
//! An endpoint belongs to somebody else, so nothing that it does may hold up others: one that is slow or fails gets one call at a time from
//! each process, and what would wait for it goes back to the queue. How it fares is in the registry, written only while it fails.

use crate::execute::since;
use crate::{Loaded, Trouble, Worker};
use clawbridge_clock::Timestamp;
use clawbridge_journal::Entry;
use clawbridge_outbound::Received;
use clawbridge_queue::BridgeEvent;
use clawbridge_registry::RegistryError;
use clawbridge_secrets::{SecretError, Stage};
use clawbridge_subscriptions::{
    ATTEMPTS, Document, Ending, GIVEN_UP_AFTER, Reason, Secrets, Status, Subscription, Verdict, is_loopback,
    is_to_be_paused, pause_before, text, verdict,
};
use clawbridge_tasks::machine::{Policy, time_for_call};
use clawbridge_tasks::receipt::{Answer, Call, Done};
use clawbridge_tasks::{Class, Code, RETENTION, Record, TaskError};
use clawbridge_tools::retry_after;
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an endpoint may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An endpoint that takes longer is slow.
const SLOW: Duration = Duration::from_secs(2);

/// Calls of one process to one endpoint at a time, and to one that is slow or fails.
const AT_A_TIME: u32 = 10;
const AT_A_TIME_IN_TROUBLE: u32 = 1;

/// For how long one that would wait for the endpoint is put off, from and to.
const PUT_OFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(20));

/// Between two looks at a subscription that is paused by what is to be tried again.
const LOOK_EVERY: Duration = Duration::from_secs(15 * 60);

/// The event of a delivery that somebody wants to see made, now and once.
pub(crate) const TEST_EVENT: &str = "webhook.test";

/// A receiver knows a delivery by its id, so it may be repeated. The schedule is in `clawbridge_subscriptions`.
pub(crate) const POLICY: Policy = Policy {
    repeatable: true,
    max_failures: ATTEMPTS,
    timeout: Duration::from_secs(12),
    verify: None,
    retention: RETENTION,
};

/// Which endpoints this process is calling, and which are in trouble. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace(Arc<Mutex<HashMap<String, Endpoint>>>);

#[derive(Clone, Copy, Debug, Default)]
struct Endpoint {
    calls: u32,
    in_trouble: bool,
}

/// Leave to call an endpoint, until it is dropped.
struct Turn {
    pace: Pace,
    id: String,
}

impl Pace {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Endpoint>> {
        // No half-made state between statements, so a panic elsewhere leaves the map usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call would have to wait.
    pub(crate) fn is_full(&self, id: &str) -> bool {
        let endpoint = self.lock().get(id).copied().unwrap_or_default();
        endpoint.calls >= if endpoint.in_trouble { AT_A_TIME_IN_TROUBLE } else { AT_A_TIME }
    }

    fn enter(&self, id: &str) -> Option<Turn> {
        if self.is_full(id) {
            return None;
        }
        self.lock().entry(id.to_owned()).or_default().calls += 1;
        Some(Turn { pace: self.clone(), id: id.to_owned() })
    }
}

impl Turn {
    /// Whether it was in trouble before, and is now.
    fn fared(&self, in_trouble: bool) -> bool {
        self.pace
            .lock()
            .get_mut(&self.id)
            .is_some_and(|endpoint| std::mem::replace(&mut endpoint.in_trouble, in_trouble))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut endpoints = self.pace.lock();
        if let Some(endpoint) = endpoints.get_mut(&self.id) {
            endpoint.calls = endpoint.calls.saturating_sub(1);
            if endpoint.calls == 0 && !endpoint.in_trouble {
                endpoints.remove(&self.id);
            }
        }
    }
}

/// When a delivery is looked at again that would have to wait for its endpoint.
pub(crate) fn put_off() -> Duration {
    PUT_OFF.0 + (PUT_OFF.1 - PUT_OFF.0).mul_f64(fastrand::f64())
}

impl Worker {
    /// Makes a delivery that was claimed, if its subscription wants it now.
    pub(crate) async fn deliver(&self, loaded: &Loaded, record: &Record, id: &str, end: Timestamp) -> Done {
        let now = Timestamp::now();
        let is_test = record.input["event"] == TEST_EVENT;
        let subscription = match self.subscription(id).await {
            Ok(Some(subscription)) => subscription,
            Ok(None) => {
                return failed(TaskError::unsent(Code::UnknownTool, Class::Client, "the subscription was deleted"));
            }
            Err(error) => return not_now(error.to_string(), None),
        };
        if let (Status::Paused { reason, .. }, false) = (subscription.status, is_test) {
            return paused(reason, record, now);
        }
        if self.deployment.upstreams.is_some() && !is_loopback(&subscription.url) {
            let message = "calls are led elsewhere (UPSTREAMS), so nothing is delivered beyond this machine";
            return failed(TaskError::unsent(Code::AddressForbidden, Class::Client, message));
        }
        let turn = if is_test { None } else { self.pace.enter(id) };
        if turn.is_none() && !is_test {
            return not_now("the endpoint is slow or fails, and has a call under way", Some(put_off()));
        }
        let Some(left) = time_for_call(record, POLICY.timeout, now, end) else {
            return not_now("the invocation or the lease had no time left for the call", None);
        };
        let secrets = match self.signing_secrets(id, now).await {
            Ok(secrets) => secrets,
            Err(error) => return tried_again(record, error, now, is_test),
        };
        let (key, body) = (record.input["id"].as_str().unwrap_or(&record.id), text(&record.input).into_bytes());
        let headers = match secrets.headers(key, &body, record.failures + 1, now) {
            Ok(headers) => headers,
            Err(error) => return failed(TaskError::unsent(Code::ValidationError, Class::Client, error.to_string())),
        };
        let started = Instant::now();
        let answered = loaded.outbound.deliver(&subscription.url, &headers, body, left.min(TIMEOUT)).await;
        let ms = since(started);
        let outcome = read(answered, &secrets, now);
        let delivered = matches!(outcome, Outcome::Delivered { .. });
        let in_trouble = !delivered || started.elapsed() > SLOW;
        let was_in_trouble = turn.as_ref().is_some_and(|turn| turn.fared(in_trouble));
        if !is_test {
            self.note(loaded, &subscription, &outcome, was_in_trouble).await;
        }
        let (answer, status) = match outcome {
            Outcome::Delivered { status, body } => (Ok(json!({"status": status, "body": body})), Some(status)),
            Outcome::Gone(error) => (Err(error), Some(410)),
            Outcome::Failed(error) => {
                let status = error.status;
                (Err(in_time(record, error, Timestamp::now(), is_test)), status)
            }
        };
        Done::Called(Call { answer: Answer::Final(answer), status, ms })
    }

    /// As functions know it within seconds; one that was just made is looked for.
    pub(crate) async fn subscription(&self, id: &str) -> Result<Option<Subscription>, RegistryError> {
        let known = self.registry.subscriptions().await?.iter().find(|one| one.id == id).cloned();
        match known {
            Some(subscription) => Ok(Some(subscription)),
            None => self.registry.subscription(id).await,
        }
    }

    async fn signing_secrets(&self, id: &str, now: Timestamp) -> Result<Secrets, TaskError> {
        let name = self.deployment.secret_name(&format!("clawbridge/webhooks/{id}"));
        let unreadable = |error: String| TaskError::unsent(Code::CredentialUnavailable, Class::Transient, error);
        let value = self.secrets.get(&name, Stage::Current).await.map_err(|error| unreadable(error.to_string()))?;
        let current = Document::read(value.expose()).map_err(|error| unreadable(error.to_string()))?;
        let previous = match current.overlaps(now) {
            true => match self.secrets.get(&name, Stage::Previous).await {
                Ok(value) => Document::read(value.expose()).ok(),
                Err(SecretError::Missing { .. }) => None,
                Err(error) => return Err(unreadable(error.to_string())),
            },
            false => None,
        };
        Ok(Secrets::of(current, previous, now))
    }

    /// Writes down how the endpoint fares, where there is something to write. What cannot be written is no reason to fail a delivery.
    async fn note(&self, loaded: &Loaded, subscription: &Subscription, outcome: &Outcome, was_in_trouble: bool) {
        let (id, now) = (subscription.id.as_str(), Timestamp::now());
        let noted = match outcome {
            Outcome::Delivered { .. } if subscription.failing_since.is_some() || was_in_trouble => {
                self.registry.note_delivery_succeeded(id).await
            }
            Outcome::Delivered { .. } => Ok(()),
            Outcome::Gone(_) => self.pause(loaded, subscription, Reason::Gone, now).await,
            Outcome::Failed(_) => match self.registry.note_delivery_failed(id, now).await {
                Ok(Some(after)) => {
                    let since = after.failing_since.unwrap_or(now);
                    if after.is_active() && is_to_be_paused(after.failures, since, after.pause_after, now) {
                        self.pause(loaded, &after, Reason::Failing, now).await
                    } else {
                        Ok(())
                    }
                }
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            },
        };
        if let Err(error) = noted {
            let reason = error.to_string();
            clawbridge_journal::write(&Entry::BridgeFailed {
                code: "SUBSCRIPTION_NOT_NOTED",
                reason: &reason,
                subject: id,
            });
        }
    }

    async fn pause(
        &self,
        loaded: &Loaded,
        subscription: &Subscription,
        reason: Reason,
        now: Timestamp,
    ) -> Result<(), RegistryError> {
        let id = subscription.id.as_str();
        let Some(after) = self.registry.pause_subscription(id, reason, now, now).await? else { return Ok(()) };
        let (reason, failures) = (reason.as_str(), after.failures);
        clawbridge_journal::write(&Entry::SubscriptionPaused { subscription: id, reason, failures });
        let event = BridgeEvent {
            data: json!({"webhook_id": id, "reason": reason, "failures": failures, "description": after.description,
                "failing_since": after.failing_since.map(Timestamp::rfc3339)}),
            ..BridgeEvent::of("webhook.paused", format!("{id}/{}/webhook.paused", now.millis()), now)
        };
        if let Err(trouble) = self.tell(loaded, &event).await {
            let reason = trouble.to_string();
            clawbridge_journal::write(&Entry::BridgeFailed { code: trouble.code(), reason: &reason, subject: id });
        }
        Ok(())
    }

    /// Puts an event of the bridge's own on the queue, if somebody wants it.
    pub(crate) async fn tell(&self, loaded: &Loaded, event: &BridgeEvent<'_>) -> Result<(), Trouble> {
        if !self.registry.wants(&loaded.config, clawbridge_queue::BRIDGE_SOURCE, event.event_type).await? {
            return Ok(());
        }
        for text in event.messages(Timestamp::now())? {
            self.queues.work.send_text(text, Duration::ZERO).await?;
        }
        Ok(())
    }
}

/// What a call of an endpoint came to.
enum Outcome {
    Delivered { status: u16, body: String },
    Gone(TaskError),
    Failed(TaskError),
}

fn read(answered: Result<Received, TaskError>, secrets: &Secrets, now: Timestamp) -> Outcome {
    let received = match answered {
        Ok(received) => received,
        // Without a name that leads to a public address there is nothing to wait for but somebody who mends it: so it is tried again.
        Err(error) => return Outcome::Failed(error),
    };
    let (status, mut body) = (received.status, secrets.redact(&String::from_utf8_lossy(&received.body)));
    if received.cut {
        body.push('…');
    }
    let error = |code: Code, class: Class, message: String| TaskError {
        status: Some(status),
        evidence: (!body.is_empty()).then(|| body.clone()),
        may_have_acted: true,
        retry_after: received.headers.get("retry-after").and_then(|value| retry_after(value.to_str().ok()?, now)),
        ..TaskError::unsent(code, class, message)
    };
    match verdict(status) {
        Verdict::Delivered => Outcome::Delivered { status, body },
        Verdict::Gone => {
            let message = "the endpoint wants no more (status 410): the subscription is paused".to_owned();
            Outcome::Gone(error(Code::NotFound, Class::Client, message))
        }
        Verdict::Failed => {
            let (code, what) = match status {
                300..=399 => (Code::UnexpectedResponse, "the endpoint redirects, and redirects are not followed"),
                401 => (Code::AuthenticationFailed, "the endpoint does not accept the signature"),
                403 => (Code::Forbidden, "the endpoint refuses the delivery"),
                404 => (Code::NotFound, "there is nothing at the endpoint's address"),
                429 => (Code::RateLimited, "the endpoint wants fewer deliveries"),
                503 => (Code::Unavailable, "the endpoint is not available at the moment"),
                _ => (Code::UpstreamError, "the endpoint does not take the delivery"),
            };
            Outcome::Failed(error(code, Class::Transient, format!("{what} (status {status})")))
        }
    }
}

/// The error of an attempt that failed, with the time until the next; final where there is none.
fn in_time(record: &Record, error: TaskError, now: Timestamp, is_test: bool) -> TaskError {
    let asked = error.retry_after;
    match pause_before(record.failures + 1, asked, record.created_at, now, fastrand::f64()) {
        // An address that may not be called is no failure that passes by itself; and a test is made once.
        Ending::Again(pause) if !is_test && error.code != Code::AddressForbidden => {
            TaskError { class: Class::Transient, retry_after: Some(pause), ..error }
        }
        Ending::Again(_) | Ending::GivenUp => TaskError { class: Class::Client, retry_after: None, ..error },
    }
}

fn tried_again(record: &Record, error: TaskError, now: Timestamp, is_test: bool) -> Done {
    failed(in_time(record, error, now, is_test))
}

fn failed(error: TaskError) -> Done {
    Done::Called(Call { answer: Answer::Final(Err(error)), status: None, ms: 0 })
}

fn not_now(reason: impl Into<String>, pause: Option<Duration>) -> Done {
    Done::NotCalled(TaskError { retry_after: pause, ..TaskError::unsent(Code::Unavailable, Class::Transient, reason) })
}

/// What is to be tried again waits for its subscription as long as it would have been tried.
fn paused(reason: Reason, record: &Record, now: Timestamp) -> Done {
    if reason.holds() && record.created_at.plus(GIVEN_UP_AFTER) > now {
        return not_now("the subscription is paused", Some(LOOK_EVERY));
    }
    let message = "the subscription is paused; resume it, and replay what it missed";
    failed(TaskError::unsent(Code::Unavailable, Class::Client, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_in_trouble_has_one_call_at_a_time_and_others_are_not_held_up() {
        let pace = Pace::default();
        let turns: Vec<Turn> = (0..AT_A_TIME).filter_map(|_| pace.enter("a")).collect();
        assert_eq!(turns.len(), 10);
        assert!(pace.is_full("a") && pace.enter("a").is_none() && !pace.is_full("b"));
        assert!(!turns[0].fared(true) && turns[0].fared(true));
        drop(turns);
        let first = pace.enter("a").expect("a turn");
        assert!(pace.enter("a").is_none() && pace.enter("b").is_some());
        assert!(first.fared(false));
        drop(first);
        assert!(pace.lock().is_empty());
    }

    #[test]
    fn what_cannot_be_delivered_says_so_and_when_it_is_tried_again() {
        let secrets = Secrets::of(Document::new("a-secret-of-somebody", None), None, Timestamp::now());
        let answer = |status: u16, body: &str| {
            let received = Received { status, headers: Default::default(), body: body.as_bytes().to_vec(), cut: false };
            read(Ok(received), &secrets, Timestamp::now())
        };
        assert!(matches!(answer(204, ""), Outcome::Delivered { status: 204, .. }));
        assert!(matches!(answer(410, ""), Outcome::Gone(_)));
        let Outcome::Failed(error) = answer(500, "no: a-secret-of-somebody") else { panic!("no failure") };
        assert_eq!((error.class, error.evidence.as_deref()), (Class::Transient, Some("no: ***")));
        let Outcome::Failed(error) = answer(302, "") else { panic!("no failure") };
        assert!(error.message.contains("redirects are not followed"));
    }
}
