//! `@connections`: what reaches those who are connected.

use crate::public::ChannelError;
use aws_sdk_apigatewaymanagement::Client;
use aws_sdk_apigatewaymanagement::config::Builder;
use aws_sdk_apigatewaymanagement::config::retry::RetryConfig;
use aws_sdk_apigatewaymanagement::error::SdkError;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use aws_types::SdkConfig;
use clawbridge_aws::explain;
use std::time::Duration;

/// The pauses before a connection is tried again whose buffer is full. When they are over it is too slow to be waited for.
const PAUSES: [u64; 6] = [50, 100, 200, 300, 400, 500];

/// What came of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    /// API Gateway has it.
    Sent,
    /// There is no such connection any more.
    Gone,
    /// The connection does not read; it was closed.
    TooSlow,
}

/// A client of the management API at `endpoint`, the stage's address. It tries nothing again by itself: a post whose answer was lost may have
/// arrived, and the same event would arrive twice. Who was not surely sent something is cut off instead, and resumes.
#[must_use]
pub fn management_client(config: &SdkConfig, endpoint: String) -> Client {
    let config = Builder::from(config).endpoint_url(endpoint).retry_config(RetryConfig::disabled());
    Client::from_conf(config.build())
}

/// The management API of the stage.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    client: Client,
}

impl Gateway {
    pub(crate) fn new(client: Client) -> Gateway {
        Gateway { client }
    }

    /// Sends a text frame.
    pub(crate) async fn post(&self, connection: &str, frame: &str) -> Result<Posted, ChannelError> {
        let mut pauses = PAUSES.iter();
        loop {
            let post = self.client.post_to_connection().connection_id(connection).data(Blob::new(frame.as_bytes()));
            let error = match post.send().await {
                Ok(_) => return Ok(Posted::Sent),
                Err(error) => error,
            };
            match &error {
                SdkError::ServiceError(context) if context.err().is_gone_exception() => return Ok(Posted::Gone),
                SdkError::ServiceError(context) if context.err().is_limit_exceeded_exception() => {}
                _ => return Err(ChannelError::Gateway(explain(&error))),
            }
            match pauses.next() {
                // Sleeping here keeps the order of what follows; it is bounded by the sum of the pauses.
                Some(pause) => tokio::time::sleep(Duration::from_millis(*pause)).await,
                None => {
                    self.close(connection).await?;
                    return Ok(Posted::TooSlow);
                }
            }
        }
    }

    /// Whether there is such a connection.
    pub(crate) async fn is_there(&self, connection: &str) -> Result<bool, ChannelError> {
        match self.client.get_connection().connection_id(connection).send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(context)) if context.err().is_gone_exception() => Ok(false),
            Err(error) => Err(ChannelError::Gateway(explain(&error))),
        }
    }

    /// Ends a connection; one that has ended is none of its concern.
    pub(crate) async fn close(&self, connection: &str) -> Result<(), ChannelError> {
        match self.client.delete_connection().connection_id(connection).send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(context)) if context.err().is_gone_exception() => Ok(()),
            Err(error) => Err(ChannelError::Gateway(explain(&error))),
        }
    }
}
