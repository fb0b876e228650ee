//! Function `api` on Lambda.

use clawbridge_api::Api;
use lambda_http::{Error, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    clawbridge_journal::report_panics();
    let api = Api::from_environment()?;
    run(service_fn(|request| api.handle(request))).await
}
