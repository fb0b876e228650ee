//! Function `webhook` on Lambda.

use clawbridge_webhook::Webhook;
use lambda_http::{Error, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    clawbridge_journal::report_panics();
    let webhook = Webhook::from_environment()?;
    run(service_fn(|request| webhook.handle(request))).await
}
