//! Function `oauth` on Lambda.

use clawbridge_oauth_function::Oauth;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    clawbridge_journal::report_panics();
    let oauth = Oauth::from_environment()?;
    run(service_fn(|event: LambdaEvent<Value>| oauth.invoke(event))).await
}
