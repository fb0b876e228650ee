//! A function as Lambda invokes it: one JSON event in, one JSON answer out, within a time limit.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

/// The largest event and the largest answer of a synchronous invocation, in bytes of JSON.
///
/// The quota is published as 6 MB; the service's own error message names this number.
pub const MAX_PAYLOAD: usize = 6_291_556;

/// One invocation, as the function's runtime is told about it.
#[derive(Clone)]
pub struct Invocation {
    /// The event: one JSON document.
    pub payload: Vec<u8>,
    /// Lambda's id of this invocation, a UUID.
    pub request_id: String,
    /// When the function is stopped.
    pub deadline: SystemTime,
}

// An event carries a caller's body and headers: neither belongs in a log line.
impl std::fmt::Debug for Invocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invocation")
            .field("payload_bytes", &self.payload.len())
            .field("request_id", &self.request_id)
            .field("deadline", &self.deadline)
            .finish()
    }
}

/// The code of a function: takes an invocation, gives its JSON answer.
pub type Invoke = Arc<dyn Fn(Invocation) -> BoxFuture<'static, Result<Vec<u8>, InvokeError>> + Send + Sync>;

/// Why an invocation has no answer. Neither form says anything about what the function did before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// The function returned an error or panicked, or its answer is larger than [`MAX_PAYLOAD`].
    #[error("the function failed: {0}")]
    Failed(String),
    /// The function was stopped at its deadline.
    #[error("the function was still running at its time limit")]
    TimedOut,
}

/// A function and its configuration. Cloning shares the code.
#[derive(Clone)]
pub struct Function {
    invoke: Invoke,
    timeout: Duration,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Function").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Function {
    /// A function that is stopped after `timeout`, Lambda's `Timeout` setting.
    #[must_use]
    pub fn new(invoke: Invoke, timeout: Duration) -> Self {
        Self { invoke, timeout }
    }

    /// Invokes the function once and waits for its end. `now`: the time from which its deadline counts.
    ///
    /// A panic stays inside, as it would stay inside one execution environment. Dropping the future stops the function.
    ///
    /// # Errors
    /// [`InvokeError`], also for an answer that is too large.
    pub async fn call(&self, payload: Vec<u8>, request_id: String, now: SystemTime) -> Result<Vec<u8>, InvokeError> {
        let deadline = now + self.timeout;
        // The closure itself may panic before it returns a future, so that call is inside as well.
        let running = AssertUnwindSafe(async { (self.invoke)(Invocation { payload, request_id, deadline }).await });
        let answer = match tokio::time::timeout(self.timeout, running.catch_unwind()).await {
            Err(_elapsed) => return Err(InvokeError::TimedOut),
            // The panic's text may quote the event, and the runtime has printed it already.
            Ok(Err(_panic)) => return Err(InvokeError::Failed("it panicked".to_owned())),
            Ok(Ok(answer)) => answer?,
        };
        if answer.len() > MAX_PAYLOAD {
            let size = answer.len();
            return Err(InvokeError::Failed(format!("its answer has {size} bytes, more than {MAX_PAYLOAD}")));
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(
        timeout: Duration,
        invoke: fn(Invocation) -> BoxFuture<'static, Result<Vec<u8>, InvokeError>>,
    ) -> Function {
        Function::new(Arc::new(invoke), timeout)
    }

    async fn call(function: &Function) -> Result<Vec<u8>, InvokeError> {
        function.call(b"{}".to_vec(), "id".to_owned(), SystemTime::UNIX_EPOCH).await
    }

    #[tokio::test]
    async fn an_invocation_carries_the_event_its_id_and_a_deadline() {
        let echo = function(Duration::from_secs(7), |invocation| {
            Box::pin(async move {
                assert_eq!(invocation.deadline, SystemTime::UNIX_EPOCH + Duration::from_secs(7));
                assert_eq!(invocation.request_id, "id");
                Ok(invocation.payload)
            })
        });
        assert_eq!(call(&echo).await, Ok(b"{}".to_vec()));
    }

    #[tokio::test]
    async fn a_function_that_does_not_end_is_stopped_at_its_time_limit() {
        let endless = function(Duration::from_millis(20), |_| Box::pin(std::future::pending()));
        assert_eq!(call(&endless).await, Err(InvokeError::TimedOut));
    }

    #[tokio::test]
    async fn a_panic_is_a_failed_invocation_wherever_it_happens() {
        let early = function(Duration::from_secs(5), |_| panic!("before the future"));
        let late = function(Duration::from_secs(5), |_| Box::pin(async { panic!("in the future") }));
        for function in [early, late] {
            assert_eq!(call(&function).await, Err(InvokeError::Failed("it panicked".to_owned())));
        }
    }

    #[tokio::test]
    async fn an_answer_over_the_payload_quota_is_a_failed_invocation() {
        let largest = function(Duration::from_secs(5), |_| Box::pin(async { Ok(vec![b'1'; MAX_PAYLOAD]) }));
        assert_eq!(call(&largest).await.map(|answer| answer.len()), Ok(MAX_PAYLOAD));
        let larger = function(Duration::from_secs(5), |_| Box::pin(async { Ok(vec![b'1'; MAX_PAYLOAD + 1]) }));
        assert!(matches!(call(&larger).await, Err(InvokeError::Failed(_))));
    }

    #[test]
    fn the_debug_form_of_an_invocation_does_not_show_the_event() {
        let invocation = Invocation {
            payload: b"whsec_very_secret".to_vec(),
            request_id: "id".to_owned(),
            deadline: SystemTime::UNIX_EPOCH,
        };
        let shown = format!("{invocation:?}");
        assert!(shown.contains("payload_bytes: 17") && !shown.contains("119, 104"), "{shown}");
    }
}
