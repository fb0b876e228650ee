//! The HTTP clients.
//!
//! rustls with ring and an embedded copy of Mozilla's roots; no proxy from the environment, no redirects, no cookies, no referrer. They are
//! built when the first call is made, so that a cold start without a call does not pay for them.

use crate::address::is_public;
use crate::tls::{Identity, client_config, refusal};
use clawbridge_config::{Compiled, Tls};
use clawbridge_tasks::{Class, Code, TaskError};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Url, redirect};
use rustls::ClientConfig;
use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use url::Host;

/// Time to connect, name resolution and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an idle connection is kept: shorter than what servers commonly allow, so that it is seldom found closed.
const IDLE: Duration = Duration::from_secs(10);

/// What requests say of who makes them.
pub const USER_AGENT: &str = concat!("clawbridge/", env!("CARGO_PKG_VERSION"));

/// Which client a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A public address, over a connection that may have been used before.
    Shared,
    /// A public address, over a connection of its own: a reused one that the upstream closes in the same moment leaves it open
    /// whether the call was received, and tools that must not act twice would have to be parked for nothing.
    Fresh,
    /// The bridge itself.
    Inside,
    /// What stands in the upstreams' place on this machine, each time over a connection of its own.
    Elsewhere,
}

/// The clients, built when they are needed. Clones share them.
#[derive(Clone, Debug)]
pub struct Clients {
    config: Arc<Compiled>,
    shared: Arc<OnceLock<Client>>,
    fresh: Arc<OnceLock<Client>>,
    inside: Arc<OnceLock<Client>>,
    elsewhere: Arc<OnceLock<Client>>,
    /// Those with a client certificate or an authority of their own: one for each, as long as its secrets are what they were.
    identified: Arc<Mutex<Vec<Identified>>>,
}

#[derive(Clone, Debug)]
struct Identified {
    declared: Tls,
    via: Via,
    identity: Identity,
    client: Client,
}

impl Clients {
    /// Under the rules of `config`.
    #[must_use]
    pub fn new(config: Arc<Compiled>) -> Clients {
        Clients {
            config,
            shared: Arc::default(),
            fresh: Arc::default(),
            inside: Arc::default(),
            elsewhere: Arc::default(),
            identified: Arc::default(),
        }
    }

    pub(crate) fn config(&self) -> &Compiled {
        &self.config
    }

    /// Refuses an address in the URL itself that may not be called: it does not pass through the resolver.
    ///
    /// # Errors
    /// [`Code::AddressForbidden`], or [`Code::ValidationError`] where the URL has no host.
    pub fn check_literal(&self, url: &Url) -> Result<(), TaskError> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            Some(Host::Domain(_)) => return Ok(()),
            None => {
                let message = "url: it names no host".to_owned();
                return Err(TaskError::unsent(Code::ValidationError, Class::Client, message));
            }
        };
        if may_call(&self.config, address) {
            return Ok(());
        }
        Err((&Forbidden { host: url.host_str().unwrap_or_default().to_owned(), address }).into())
    }

    /// The client for `via`.
    ///
    /// # Errors
    /// It could not be set up.
    pub fn get(&self, via: Via) -> Result<Client, TaskError> {
        let slot = match via {
            Via::Shared => &self.shared,
            Via::Fresh => &self.fresh,
            Via::Inside => &self.inside,
            Via::Elsewhere => &self.elsewhere,
        };
        if let Some(client) = slot.get() {
            return Ok(client.clone());
        }
        let client = self.make(via, client_config(None, &Identity::default())?)?;
        Ok(slot.get_or_init(|| client).clone())
    }

    /// The client of a `tls` declaration, as its secrets are now.
    ///
    /// # Errors
    /// [`Code::CredentialUnavailable`] where a secret does not hold what it should.
    pub fn get_identified(&self, via: Via, declared: &Tls, identity: &Identity) -> Result<Client, TaskError> {
        // It holds no half-made state between statements, so a panic elsewhere leaves it usable.
        let mut identified = self.identified.lock().unwrap_or_else(PoisonError::into_inner);
        let place = identified.iter().position(|known| known.declared == *declared && known.via == via);
        if let Some(known) = place.and_then(|place| identified.get(place))
            && known.identity == *identity
        {
            return Ok(known.client.clone());
        }
        let client = self.make(via, client_config(Some(declared), identity)?)?;
        if let Some(place) = place {
            // The certificate was rotated: connections that were made with the one before are let go.
            identified.swap_remove(place);
        }
        identified.push(Identified {
            declared: declared.clone(),
            via,
            identity: identity.clone(),
            client: client.clone(),
        });
        Ok(client)
    }

    fn make(&self, via: Via, tls: ClientConfig) -> Result<Client, TaskError> {
        let (idle_connections, guard) = match via {
            Via::Shared => (8, true),
            Via::Fresh => (0, true),
            Via::Inside => (8, false),
            Via::Elsewhere => (0, false),
        };
        build(idle_connections, guard.then(|| GuardedResolver { config: self.config.clone() }), None, tls)
    }
}

pub(crate) fn may_call(config: &Compiled, address: IpAddr) -> bool {
    is_public(address) || config.allows(address)
}

/// A client of the same make without the guard, for commands that a person types: they call the stack's own addresses.
///
/// # Errors
/// The client could not be set up.
pub fn client_for_commands(timeout: Duration) -> Result<Client, TaskError> {
    build(8, None, Some(timeout), client_config(None, &Identity::default())?)
}

/// A client for a server on this machine whose answers last: without a time limit for the whole of an answer, and without connections that
/// are kept.
///
/// # Errors
/// As [`client_for_commands`].
pub fn client_for_streams() -> Result<Client, TaskError> {
    build(0, None, None, client_config(None, &Identity::default())?)
}

fn build(
    idle_connections: usize,
    resolver: Option<GuardedResolver>,
    timeout: Option<Duration>,
    tls: ClientConfig,
) -> Result<Client, TaskError> {
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .retry(reqwest::retry::never())
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(idle_connections)
        .user_agent(USER_AGENT);
    if let Some(timeout) = timeout {
        builder = builder.timeout(timeout);
    }
    if let Some(resolver) = resolver {
        builder = builder.dns_resolver(Arc::new(resolver));
    }
    builder.build().map_err(|error| {
        let message = format!("the HTTP client could not be set up: {error}");
        TaskError::unsent(Code::Unavailable, Class::Transient, message)
    })
}

/// Resolves names and refuses those that lead, with any of their addresses, where nothing may be called. What it returns is what is connected to.
#[derive(Debug)]
struct GuardedResolver {
    config: Arc<Compiled>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let config = self.config.clone();
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if let Some(address) = addresses.iter().map(SocketAddr::ip).find(|ip| !may_call(&config, *ip)) {
                return Err(
                    Box::new(Forbidden { host: name.as_str().to_owned(), address }) as Box<dyn Error + Send + Sync>
                );
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// A name or literal that leads to an address which may not be called.
#[derive(Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// The name, or the literal.
    pub host: String,
    /// Where it leads.
    pub address: IpAddr,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} leads to {}, which is not a public address; if it may be called, add it to [network] allow",
            self.host, self.address
        )
    }
}

impl Error for Forbidden {}

impl From<&Forbidden> for TaskError {
    fn from(forbidden: &Forbidden) -> TaskError {
        TaskError::unsent(Code::AddressForbidden, Class::Client, forbidden.to_string())
    }
}

/// An answer, read to the bound.
#[derive(Debug)]
pub struct Received {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as far as it was read.
    pub body: Vec<u8>,
    /// There was more.
    pub cut: bool,
}

/// Sends a request and reads at most `bound` bytes of the answer's body.
///
/// # Errors
/// There is no whole answer; the error says whether the other side may have acted.
pub async fn exchange(request: RequestBuilder, bound: usize) -> Result<Received, TaskError> {
    let mut response = request.send().await.map_err(|error| call_error(&error))?;
    let mut received = Received {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: Vec::new(),
        cut: false,
    };
    while let Some(chunk) = response.chunk().await.map_err(|error| call_error(&error))? {
        let room = bound - received.body.len();
        if chunk.len() > room {
            received.body.extend_from_slice(&chunk[..room]);
            received.cut = true;
            break;
        }
        received.body.extend_from_slice(&chunk);
    }
    Ok(received)
}

/// Sends a request and reads the beginning of the answer's body: at most `bound` bytes, for at most `patience`. The status says what came of it,
/// so whatever is wrong with the body is no failure.
///
/// # Errors
/// There is no status; the error says whether the other side may have acted.
pub(crate) async fn exchange_head(
    request: RequestBuilder,
    bound: usize,
    patience: Duration,
) -> Result<Received, TaskError> {
    let mut response = request.send().await.map_err(|error| call_error(&error))?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut received = Received { status, headers, body: Vec::new(), cut: false };
    let reading = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = bound - received.body.len();
            received.body.extend_from_slice(&chunk[..room.min(chunk.len())]);
            if chunk.len() >= room {
                return true;
            }
        }
        false
    };
    let read = tokio::time::timeout(patience, reading).await;
    received.cut = read.unwrap_or(true);
    Ok(received)
}

/// What a failed call means. Until the connection stands nothing was sent; after that the upstream may have acted.
fn call_error(error: &reqwest::Error) -> TaskError {
    if let Some(forbidden) = cause::<Forbidden>(error) {
        return forbidden.into();
    }
    if let Some(reason) = refusal(error) {
        let message = format!(
            "the upstream refuses the client certificate ({reason}); put a valid one, with its key, into the secret of the tool's tls"
        );
        return TaskError::unsent(Code::AuthenticationFailed, Class::Auth, message);
    }
    let (code, message) = match (error.is_connect(), error.is_timeout()) {
        (true, true) => (Code::Unavailable, "no connection to the upstream in time".to_owned()),
        (true, false) => (Code::Unavailable, format!("no connection to the upstream: {}", innermost(error))),
        (false, true) => (Code::Timeout, "no complete answer from the upstream in time".to_owned()),
        (false, false) if error.is_builder() => {
            let message = format!("the call could not be built: {}", innermost(error));
            return TaskError::unsent(Code::ValidationError, Class::Client, message);
        }
        (false, false) => {
            (Code::Unavailable, format!("the connection broke before the answer was whole: {}", innermost(error)))
        }
    };
    TaskError { may_have_acted: !error.is_connect(), ..TaskError::unsent(code, Class::Transient, message) }
}

fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The last cause, which names the trouble without the URL (it may hold values from outside).
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
