//! Subscribers' endpoints: whoever holds a token names them, so the rules are stricter than for tools, whose addresses an operator declares.

use crate::client::{Forbidden, Received, Via, exchange_head, may_call};
use crate::request::Outbound;
use clawbridge_config::Compiled;
use clawbridge_tasks::{Class, Code, TaskError};
use reqwest::Url;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use url::Host;

/// How much of an endpoint's answer is read, bytes.
pub const ENDPOINT_BODY_BYTES: usize = 1024;

/// How long the answer's body is read. Whoever answers has said with the status what there is to say.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a name may take to be resolved when an endpoint is looked at.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Refuses an address that deliveries may not go to: one that is not public, unless `[network] allow` has it, and one without TLS, unless
/// `[network] allow` has all that its name leads to.
///
/// # Errors
/// [`Code::AddressForbidden`]; [`Code::ValidationError`] for http; [`Code::Unavailable`] where the name leads nowhere.
pub async fn check_endpoint(config: &Compiled, url: &Url) -> Result<(), TaskError> {
    let host = url.host_str().unwrap_or_default();
    for address in addresses(url).await? {
        if !may_call(config, address) {
            return Err((&Forbidden { host: host.to_owned(), address }).into());
        }
        if url.scheme() != "https" && !config.allows(address) {
            let message = "an endpoint is called with https; http is for addresses that [network] allow has";
            return Err(TaskError::unsent(Code::ValidationError, Class::Client, message));
        }
    }
    Ok(())
}

async fn addresses(url: &Url) -> Result<Vec<IpAddr>, TaskError> {
    let name = match url.host() {
        Some(Host::Ipv4(address)) => return Ok(vec![address.into()]),
        Some(Host::Ipv6(address)) => return Ok(vec![address.into()]),
        Some(Host::Domain(name)) => name,
        None => return Err(TaskError::unsent(Code::ValidationError, Class::Client, "the address names no host")),
    };
    let nowhere = || {
        let message = format!("the name {name} leads to no address at the moment");
        TaskError::unsent(Code::Unavailable, Class::Transient, message)
    };
    let found = tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((name, 0))).await;
    let found: Vec<IpAddr> =
        found.map_err(|_| nowhere())?.map_err(|_| nowhere())?.map(|at: SocketAddr| at.ip()).collect();
    if found.is_empty() { Err(nowhere()) } else { Ok(found) }
}

impl Outbound {
    /// Posts a delivery to a subscriber's endpoint: a status is wanted within `limit`, and of the body the first [`ENDPOINT_BODY_BYTES`] are read.
    ///
    /// # Errors
    /// There is no status, or the address may not be called.
    pub async fn deliver(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<Received, TaskError> {
        let unusable = |what: &str| TaskError::unsent(Code::ValidationError, Class::Client, what);
        let url = Url::parse(url).map_err(|_| unusable("the endpoint's address cannot be read"))?;
        self.clients.check_literal(&url)?;
        if url.scheme() != "https" {
            // What the guard of the connection does not know: without TLS nothing leaves to a public address.
            check_endpoint(self.clients.config(), &url).await?;
        }
        let mut building = self.clients.get(Via::Fresh)?.post(url).timeout(limit + PATIENCE).body(body);
        building = building.header("content-type", "application/json");
        for (name, value) in headers {
            building = building.header(name, value);
        }
        let answered =
            tokio::time::timeout(limit + PATIENCE, exchange_head(building, ENDPOINT_BODY_BYTES, PATIENCE)).await;
        answered.unwrap_or_else(|_| {
            let message = "no answer from the endpoint in time";
            let error = TaskError::unsent(Code::Timeout, Class::Transient, message);
            Err(TaskError { may_have_acted: true, ..error })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clawbridge_config::check;

    fn config(allow: &str) -> Compiled {
        check(&format!("[network]\nallow = [{allow}]\n"))
            .0
            .and_then(|config| config.compile().ok())
            .expect("a configuration")
    }

    async fn code(config: &Compiled, url: &str) -> Option<Code> {
        check_endpoint(config, &Url::parse(url).expect(url)).await.err().map(|error| error.code)
    }

    #[tokio::test]
    async fn an_endpoint_is_public_and_has_tls_unless_the_operator_allows_its_address() {
        let (strict, open) = (config(""), config("\"127.0.0.0/8\", \"::1/128\""));
        for (url, otherwise, allowed) in [
            ("https://1.1.1.1/hook", None, None),
            ("http://1.1.1.1/hook", Some(Code::ValidationError), Some(Code::ValidationError)),
            ("https://127.0.0.1/hook", Some(Code::AddressForbidden), None),
            ("http://127.0.0.1:4000/hook", Some(Code::AddressForbidden), None),
            ("http://localhost:4000/hook", Some(Code::AddressForbidden), None),
            ("https://169.254.169.254/", Some(Code::AddressForbidden), Some(Code::AddressForbidden)),
            ("https://[::ffff:10.0.0.1]/", Some(Code::AddressForbidden), Some(Code::AddressForbidden)),
            ("https://no-such-name.invalid/", Some(Code::Unavailable), Some(Code::Unavailable)),
        ] {
            assert_eq!(code(&strict, url).await, otherwise, "{url}");
            assert_eq!(code(&open, url).await, allowed, "{url}, allowed");
        }
    }
}
