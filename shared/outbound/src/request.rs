//! Requests to APIs that are no tools' calls, under the same rules.

use crate::client::{Clients, Received, Via, exchange};
use crate::tls::Identity;
use clawbridge_config::{Compiled, Tls};
use clawbridge_tasks::TaskError;
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};
use std::sync::Arc;
use std::time::Duration;

/// Sends requests to addresses that are public or allowed by `[network] allow`; follows no redirect, inherits no proxy, and reads to a
/// bound. Clones share connections.
#[derive(Clone, Debug)]
pub struct Outbound {
    pub(crate) clients: Clients,
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
        self.exchange(Request { method, url, headers, body: None }, None, limit, bound).await
    }

    /// Sends a request, with a client certificate where there is a `tls` declaration, and reads at most `bound` bytes of the answer, all within
    /// `limit`.
    ///
    /// # Errors
    /// There is no whole answer; the error says whether the other side may have acted.
    pub async fn exchange(
        &self,
        request: Request,
        identity: Option<(&Tls, &Identity)>,
        limit: Duration,
        bound: usize,
    ) -> Result<Received, TaskError> {
        self.clients.check_literal(&request.url)?;
        // A connection of its own where something is sent: a reused one that is closed in the same moment leaves it open whether it arrived.
        let via = if request.body.is_some() { Via::Fresh } else { Via::Shared };
        let client = match identity {
            Some((tls, identity)) => self.clients.get_identified(via, tls, identity)?,
            None => self.clients.get(via)?,
        };
        let mut building = client.request(request.method, request.url).headers(request.headers).timeout(limit);
        if let Some(body) = request.body {
            building = building.body(body);
        }
        exchange(building, bound).await
    }
}

/// A request.
#[derive(Clone)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Where it goes.
    pub url: Url,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Option<Vec<u8>>,
}
