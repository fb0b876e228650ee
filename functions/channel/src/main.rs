//! Function `channel` on Lambda.

use clawbridge_channel_function::{ChannelFunction, Event};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    clawbridge_journal::report_panics();
    let channel = ChannelFunction::from_environment()?;
    run(service_fn(|event: LambdaEvent<Event>| channel.invoke(event))).await
}
