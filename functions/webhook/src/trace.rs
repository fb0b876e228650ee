//! Which trace a delivery belongs to. Asked only once it is verified: what a stranger says is in no line and goes to no upstream.

use clawbridge_trace::TraceContext;
use lambda_http::{Request, RequestExt};
use ring::rand::{SecureRandom, SystemRandom};

/// The trace that the request names, else that under which API Gateway or Lambda knows it, else one of its own.
pub(crate) fn of(request: &Request) -> TraceContext {
    // Of several, API Gateway makes one with commas between them, which is malformed, as it should be: nobody could say which counts.
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let context = request.lambda_context_ref();
    let invocation = context.and_then(|context| context.xray_trace_id.as_deref());
    let amazon = [header("x-amzn-trace-id"), invocation].into_iter().flatten();
    TraceContext::received(header("traceparent"), amazon, random())
}

fn random() -> u128 {
    let mut random = [0; 16];
    // A delivery is not lost for want of a name for its trace.
    let _ = SystemRandom::new().fill(&mut random);
    u128::from_be_bytes(random)
}
