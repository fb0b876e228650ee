//! The functions' own handlers, invoked as Lambda invokes them: JSON in, JSON out.

use clawbridge_api::Api;
use clawbridge_channel_function::ChannelFunction;
use clawbridge_local_aws::gateway::{Invocation, Invoke, InvokeError};
use clawbridge_oauth_function::Oauth;
use clawbridge_webhook::Webhook;
use clawbridge_worker::{Batch, Worker};
use lambda_http::request::LambdaRequest;
use lambda_http::{Adapter, LambdaEvent, Service, service_fn};
use lambda_runtime::Context;
use serde::Serialize;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// `webhook` behind API Gateway: the same adapter that `lambda_http::run` puts around the handler.
pub(crate) fn webhook(webhook: Webhook) -> Invoke {
    Arc::new(move |invocation| {
        let webhook = webhook.clone();
        Box::pin(async move {
            let request: LambdaRequest = read(&invocation)?;
            let handler = service_fn(move |request| {
                let webhook = webhook.clone();
                async move { webhook.handle(request).await }
            });
            let answer = Adapter::from(handler).call(LambdaEvent::new(request, context(&invocation))).await;
            written(answer)
        })
    })
}

/// `api` behind API Gateway.
pub(crate) fn api(api: Api) -> Invoke {
    Arc::new(move |invocation| {
        let api = api.clone();
        Box::pin(async move {
            let request: LambdaRequest = read(&invocation)?;
            let handler = service_fn(move |request| {
                let api = api.clone();
                async move { api.handle(request).await }
            });
            let answer = Adapter::from(handler).call(LambdaEvent::new(request, context(&invocation))).await;
            written(answer)
        })
    })
}

/// `worker` behind its event source mapping.
pub(crate) fn worker(worker: Worker) -> Invoke {
    Arc::new(move |invocation| {
        let worker = worker.clone();
        Box::pin(async move {
            let batch: Batch = read(&invocation)?;
            written(worker.handle(LambdaEvent::new(batch, context(&invocation))).await)
        })
    })
}

/// `oauth` behind API Gateway and behind its schedule.
pub(crate) fn oauth(oauth: Oauth) -> Invoke {
    Arc::new(move |invocation| {
        let oauth = oauth.clone();
        Box::pin(async move {
            let payload = read(&invocation)?;
            written(oauth.invoke(LambdaEvent::new(payload, context(&invocation))).await)
        })
    })
}

/// `channel` behind the WebSocket API.
pub(crate) fn channel(channel: ChannelFunction) -> Invoke {
    Arc::new(move |invocation| {
        let channel = channel.clone();
        Box::pin(async move {
            let event = read(&invocation)?;
            written(channel.invoke(LambdaEvent::new(event, context(&invocation))).await)
        })
    })
}

fn read<T: serde::de::DeserializeOwned>(invocation: &Invocation) -> Result<T, InvokeError> {
    serde_json::from_slice(&invocation.payload).map_err(|error| InvokeError::Failed(error.to_string()))
}

fn written<T: Serialize, E: std::fmt::Display>(answer: Result<T, E>) -> Result<Vec<u8>, InvokeError> {
    let answer = answer.map_err(|error| InvokeError::Failed(error.to_string()))?;
    serde_json::to_vec(&answer).map_err(|error| InvokeError::Failed(error.to_string()))
}

fn context(invocation: &Invocation) -> Context {
    let mut context = Context::default();
    context.request_id.clone_from(&invocation.request_id);
    let deadline = invocation.deadline.duration_since(UNIX_EPOCH).unwrap_or_default();
    context.deadline = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
    context
}
