//! Requests to APIs that are no tools' calls, under the same rules.

use crate::client::{Clients, Received, Via, exchange};
use clawbridge_config::Compiled;
use clawbridge_tasks::TaskError;
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};
use std::sync::Arc;
use std::time::Duration;

/// Sends requests to addresses that are public or allowed by `[network] allow`; follows no redirect, inherits no proxy, and reads to a
/// bound. Clones share connections.
#[derive(Clone, Debug)]
pub struct Outbound {
    clients: Clients,
}

impl Outbound {
    /// Under the rules of `config`.
    #[must_use]
    pub fn new(config: Arc<Compiled>) -> Outbound {
        Outbound { clients: Clients::new(config) }
    }

    /// Sends a request without a body and reads at most `bound` bytes of the answer, all within `limit`.
    ///
    /// # Errors
    /// There is no whole answer; the error says whether the other side may have acted.
    pub async fn send(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        limit: Duration,
        bound: usize,
    ) -> Result<Received, TaskError> {
        self.clients.check_literal(&url)?;
        let client = self.clients.get(Via::Shared)?;
        exchange(client.request(method, url).headers(headers).timeout(limit), bound).await
    }
}
