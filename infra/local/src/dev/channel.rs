//! The function `channel` behind a WebSocket API.

use super::functions;
use super::show::Show;
use crate::cli::DevArgs;
use crate::failure::Failure;
use crate::stack::{CHANNEL_STAGE, Stack};
use clawbridge_aws::Environment;
use clawbridge_channel_function::{ChannelFunction, Settings};
use clawbridge_journal::Level;
use clawbridge_local_aws::LocalAws;
use clawbridge_local_aws::gateway::{Api, Function, Outcome};
use clawbridge_local_aws::websocket::{Access, Delivery, Shuffle, WebSocketApi, WebSockets};
use std::sync::Arc;
use std::time::Duration;

/// Time limit of the channel function, as in the template.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How messages are mixed where that is wanted.
const SHUFFLE: Shuffle = Shuffle { window: 5, wait: Duration::from_millis(20) };

/// Where functions reach those who are connected: the private port stands for the management API.
pub(crate) fn endpoint(stack: &Stack) -> String {
    format!("{}/{CHANNEL_STAGE}", stack.endpoint_url.as_deref().unwrap_or_default())
}

/// The WebSocket API, for the gateway to serve and the private port to manage.
pub(crate) fn serve(
    environment: &Environment,
    local: &LocalAws,
    stack: &Stack,
    args: &DevArgs,
    show: Show,
) -> Result<WebSockets, Failure> {
    let failed = |error: String| Failure::new("LOCAL_STACK", error);
    let settings = Settings {
        queue_url: local.sqs().queue_url(&stack.queue),
        interactive_queue_url: local.sqs().queue_url(&stack.interactive_queue),
        registry_table: stack.registry_table.clone(),
        channel_table: stack.channel_table.clone(),
        channel_endpoint: endpoint(stack),
        look: Some(Duration::from_secs(args.channel_look)),
        age: Some(Duration::from_secs(args.channel_age)),
    };
    let channel = ChannelFunction::new(environment, settings).map_err(|error| failed(error.to_string()))?;
    let function = Function::new(functions::channel(channel), TIMEOUT);
    // As a custom domain's mapping would have it beside the stage's own path.
    let mut api = WebSocketApi::new(Api::default(), CHANNEL_STAGE).alias("/v1/responses");
    for route in ["$connect", "$default", "$disconnect"] {
        api = api.route(route, function.clone()).map_err(|error| failed(error.to_string()))?;
    }
    if let Some(seed) = args.channel_shuffle {
        api = api.delivery(Delivery { seed, shuffle: Some(SHUFFLE), ..Delivery::default() });
    }
    Ok(api.access_log(Arc::new(move |access| note(access, &show))).build())
}

/// The function reports what it did; the gateway what never reached it.
fn note(access: &Access, show: &Show) {
    let text = match &access.outcome {
        Outcome::Answered => return,
        Outcome::Refused => "the channel has no route for a message".to_owned(),
        Outcome::Invocation(error) => format!("channel did not answer: {error}"),
        Outcome::Malformed(answer) => format!("channel answered something that is no response: {answer}"),
        Outcome::IntegrationTimeout => "channel took too long; the client was told".to_owned(),
    };
    show.note(&text, Level::Warn);
}
