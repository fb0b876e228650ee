//! Function `worker` on Lambda.

use clawbridge_worker::{Batch, Worker};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    clawbridge_journal::report_panics();
    let worker = Worker::from_environment()?;
    run(service_fn(|event: LambdaEvent<Batch>| worker.handle(event))).await
}
