//! What a connection's token costs: kept in memory, read by an environment that knows nothing yet, refreshed, and refreshed while many wait for it.
//!
//! Everything but AWS runs on this program's one thread, the provider too. Every way is gone twice: for its time, and through the counting proxy
//! for its calls.

use crate::aws::{Client, Services};
use crate::counting::{Counting, Counts};
use crate::failure::Failure;
use crate::stats::{Sample, Spread, micros};
use crate::wire::{Connection, Server, post, reply};
use bytes::Bytes;
use clawbridge_aws::{Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_config::{Compiled, Provider};
use clawbridge_connections::{AccessToken, ConnectionName, Connections, Providers, Settings, Unusable};
use clawbridge_oauth::{TokenKind, TokenSet};
use clawbridge_outbound::Outbound;
use http::{Request, Response, StatusCode};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long a caller waits at most.
const LEFT: Duration = Duration::from_secs(40);

/// Seconds that a good token is good for: more than is left before it is refreshed early.
const GOOD_S: i64 = 3600;

/// Those who want the one token that has expired, and the environments they are in.
const CONTENDERS: usize = 200;
const ENVIRONMENTS: usize = 4;

/// The client's secret at the provider.
const CLIENT_SECRET: &str = "s3cret";

/// How often each is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) warm: usize,
    pub(crate) cold: usize,
    pub(crate) stale: usize,
    pub(crate) contended: usize,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    /// How this program, and with it what is measured, was built.
    pub(crate) build: &'static str,
    /// A refresh that is asked of the provider over a connection that is open, with nothing around it.
    pub(crate) bare: Times,
    pub(crate) ways: Vec<WayFigures>,
}

/// How long something took.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Times {
    /// Values behind it.
    pub(crate) count: usize,
    pub(crate) took: Spread,
    pub(crate) max_us: Option<f64>,
}

impl Times {
    fn of(took: Vec<Duration>) -> Times {
        let (count, sample) = (took.len(), Sample::new(took));
        Times { count, took: sample.spread(), max_us: sample.percentile(100).map(micros) }
    }
}

/// One way to a token.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct WayFigures {
    pub(crate) way: &'static str,
    /// Of the timed ones, and of the counted ones.
    pub(crate) rounds: usize,
    /// Of each caller, from its call to its token; without the proxy.
    pub(crate) times: Times,
    /// AWS calls of the counted rounds.
    pub(crate) calls: Counts,
    /// Requests to the provider in the counted rounds.
    pub(crate) requests: u64,
    /// The most requests to the provider in one round, timed or counted.
    pub(crate) most_requests: u64,
    /// Callers without a token, timed or counted.
    pub(crate) failures: u64,
}

impl WayFigures {
    /// Calls of the service with this name.
    pub(crate) fn of(&self, service: &str) -> u64 {
        self.calls.iter().filter(|(operation, _)| operation.starts_with(service)).map(|(_, count)| count).sum()
    }
}

/// How a token is come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It is kept in memory.
    Warm,
    /// A new environment reads it.
    Cold,
    /// It is kept and has expired.
    Stale,
    /// It has expired, and many in new environments want it at once.
    Contended,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Warm => "warm: kept, good",
            Way::Cold => "cold environment, good token",
            Way::Stale => "stale: one refresh",
            Way::Contended => "200 in 4 environments, one refresh",
        }
    }
}

/// Measures them all.
pub(crate) async fn measure(plan: Plan) -> Result<Figures, Failure> {
    let bench = Bench::start().await?;
    let bare = bench.provider.bare(plan.stale).await?;
    let mut ways = Vec::new();
    for (way, rounds) in
        [(Way::Warm, plan.warm), (Way::Cold, plan.cold), (Way::Stale, plan.stale), (Way::Contended, plan.contended)]
    {
        ways.push(bench.way(way, rounds).await?);
    }
    Ok(Figures { build: if cfg!(debug_assertions) { "debug" } else { "release" }, bare, ways })
}

/// Which refresh token is good: each is good once.
#[derive(Debug, Default)]
struct Books {
    issued: u64,
    good: String,
    requests: u64,
}

impl Books {
    /// A new pair: refresh token and access token.
    fn issue(&mut self) -> (String, String) {
        self.issued += 1;
        self.good = format!("r{}", self.issued);
        (self.good.clone(), format!("a{}", self.issued))
    }
}

/// A provider's token endpoint with rotating refresh tokens.
struct TokenEndpoint {
    server: Server,
    books: Arc<Mutex<Books>>,
}

impl TokenEndpoint {
    async fn start() -> Result<TokenEndpoint, Failure> {
        let books = Arc::<Mutex<Books>>::default();
        let shared = Arc::clone(&books);
        let answer = move |request: Request<Bytes>| std::future::ready(answer(&mut lock(&shared), request.body()));
        Ok(TokenEndpoint { server: Server::start(answer).await?, books })
    }

    /// The requests since the last time they were taken.
    fn take(&self) -> u64 {
        std::mem::take(&mut lock(&self.books).requests)
    }

    /// A consent: a token set that expires in so many seconds.
    fn consent(&self, seconds: i64) -> TokenSet {
        let (refresh_token, access_token) = lock(&self.books).issue();
        let now = Timestamp::now();
        TokenSet {
            v: 1,
            generation: 0,
            access_token,
            kind: TokenKind::Bearer,
            refresh_token: Some(refresh_token),
            expires_at: Some(Timestamp::from_millis(now.millis() + seconds * 1000)),
            refresh_expires_at: None,
            scopes: Vec::new(),
            obtained_at: now.minus(Duration::from_secs(3600)),
            dpop_key: None,
            kept: BTreeMap::new(),
            parameters: BTreeMap::new(),
        }
    }

    async fn bare(&self, count: usize) -> Result<Times, Failure> {
        let mut connection = Connection::open(self.server.address).await?;
        let (mut refresh, _) = lock(&self.books).issue();
        let mut took = Vec::with_capacity(count);
        for _ in 0..count {
            let body = format!("grant_type=refresh_token&refresh_token={refresh}&client_secret={CLIENT_SECRET}");
            let request = post("/token", &[], Bytes::from(body))?;
            let asked = Instant::now();
            let answer = connection.send(request).await?;
            took.push(asked.elapsed());
            if answer.status() != StatusCode::OK {
                return Err(Failure::WrongAnswer(format!("the token endpoint answered {}", answer.status())));
            }
            refresh.clone_from(&lock(&self.books).good);
        }
        Ok(Times::of(took))
    }

    fn providers(&self) -> Result<Providers, Failure> {
        let config = Compiled::from_json(br#"{"network":{"allow":["127.0.0.0/8"]}}"#)
            .map_err(|errors| Failure::Harness(format!("the configuration: {errors:?}")))?;
        let provider: Provider = serde_json::from_value(json!({
            "title": "Acme", "grant": "authorization_code", "token_url": format!("{}/token", self.server.url()), "client_id": "bench",
            "client_auth": "post", "secret": "clawbridge/providers/acme", "scope_separator": " ", "pkce": true, "token_body": "form",
            "refresh_before": "5m", "wait": "1d", "iss": "if_present", "revocation": "never",
        }))
        .map_err(|error| Failure::harness("the provider", error))?;
        let declared = Arc::new(BTreeMap::from([("acme".to_owned(), provider)]));
        Ok(Providers { declared, outbound: Outbound::new(Arc::new(config)) })
    }
}

fn answer(books: &mut Books, body: &[u8]) -> Response<Bytes> {
    books.requests += 1;
    let body = String::from_utf8_lossy(body);
    let field = |name: &str| {
        body.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let is_good = field("refresh_token") == Some(&books.good) && field("client_secret") == Some(CLIENT_SECRET);
    if !is_good {
        let refusal = Bytes::from_static(b"{\"error\":\"invalid_grant\"}");
        return reply(StatusCode::BAD_REQUEST, "application/json", refusal);
    }
    let (refresh, access) = books.issue();
    let set = json!({"access_token": access, "token_type": "Bearer", "expires_in": GOOD_S, "refresh_token": refresh});
    reply(StatusCode::OK, "application/json", Bytes::from(set.to_string()))
}

fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one round came to.
#[derive(Default)]
struct Round {
    took: Vec<Duration>,
    failures: u64,
    requests: u64,
    calls: Counts,
}

struct Bench {
    services: Services,
    counting: Counting,
    provider: TokenEndpoint,
    providers: Providers,
    name: ConnectionName,
}

impl Bench {
    async fn start() -> Result<Bench, Failure> {
        let services = Services::start().await?;
        let input = json!({
            "Name": "clawbridge/providers/acme",
            "SecretString": CLIENT_SECRET,
            "ClientRequestToken": "00000000-0000-4000-8000-000000000002",
        });
        Client::connect(services.stack.address).await?.call("secretsmanager.CreateSecret", &input).await?;
        let counting = Counting::start(services.stack.address).await?;
        let provider = TokenEndpoint::start().await?;
        let providers = provider.providers()?;
        let name = "acme/main".parse().map_err(|error| Failure::harness("the connection's name", error))?;
        Ok(Bench { services, counting, provider, providers, name })
    }

    /// An environment with clients of its own, which knows nothing yet.
    fn environment(&self, endpoint: &str) -> Result<Connections, Failure> {
        let config =
            sdk_config(&Environment::local(endpoint)).map_err(|error| Failure::harness("the AWS clients", error))?;
        let settings = Settings {
            registry_table: self.services.stack.registry_table.to_owned(),
            secret_prefix: self.services.stack.secret_prefix.to_owned(),
        };
        let tables = aws_sdk_dynamodb::Client::new(&config);
        Ok(Connections::new(tables, aws_sdk_secretsmanager::Client::new(&config), settings))
    }

    async fn connect(&self, connections: &Connections, seconds: i64) -> Result<(), Failure> {
        let connected = connections.connect(&self.name, self.provider.consent(seconds), Vec::new()).await;
        connected.map(drop).map_err(|unusable| Failure::WrongAnswer(format!("connecting: {unusable}")))
    }

    async fn way(&self, way: Way, rounds: usize) -> Result<WayFigures, Failure> {
        let (mut took, mut calls) = (Vec::new(), Counts::new());
        let (mut requests, mut most_requests, mut failures) = (0, 0, 0);
        for (endpoint, is_counted) in [(self.services.stack.url(), false), (self.counting.server.url(), true)] {
            let keeper = self.environment(&endpoint)?;
            self.connect(&keeper, GOOD_S).await?;
            // The first is not measured: it opens connections.
            self.round(way, &keeper, &endpoint).await?;
            for _ in 0..rounds {
                let round = self.round(way, &keeper, &endpoint).await?;
                failures += round.failures;
                most_requests = most_requests.max(round.requests);
                if is_counted {
                    requests += round.requests;
                    for (operation, count) in round.calls {
                        *calls.entry(operation).or_default() += count;
                    }
                } else {
                    took.extend(round.took);
                }
            }
        }
        Ok(WayFigures { way: way.name(), rounds, times: Times::of(took), calls, requests, most_requests, failures })
    }

    /// `keeper` is the environment that has the connection in memory.
    async fn round(&self, way: Way, keeper: &Connections, endpoint: &str) -> Result<Round, Failure> {
        if matches!(way, Way::Stale | Way::Contended) {
            self.connect(keeper, 0).await?;
        }
        let environments = match way {
            Way::Warm | Way::Stale => vec![keeper.clone()],
            Way::Cold => vec![self.environment(endpoint)?],
            Way::Contended => (0..ENVIRONMENTS).map(|_| self.environment(endpoint)).collect::<Result<_, _>>()?,
        };
        self.counting.take();
        self.provider.take();
        let found = if way == Way::Contended {
            let mut callers = JoinSet::new();
            for environment in environments.iter().cycle().take(CONTENDERS) {
                let (environment, providers, name) = (environment.clone(), self.providers.clone(), self.name.clone());
                callers.spawn(async move { ask(&environment, &providers, &name).await });
            }
            callers.join_all().await
        } else {
            let mut found = Vec::with_capacity(environments.len());
            for environment in &environments {
                found.push(ask(environment, &self.providers, &self.name).await);
            }
            found
        };
        let good = format!("a{}", lock(&self.provider.books).issued);
        let mut round = Round { requests: self.provider.take(), calls: self.counting.take(), ..Round::default() };
        for (took, token) in found {
            round.took.push(took);
            match token {
                Ok(token) if token.value() == good => {}
                Ok(_) => return Err(Failure::WrongAnswer("a token that is not the connection's last".to_owned())),
                Err(_) => round.failures += 1,
            }
        }
        Ok(round)
    }
}

async fn ask(
    connections: &Connections,
    providers: &Providers,
    name: &ConnectionName,
) -> (Duration, Result<AccessToken, Unusable>) {
    let asked = Instant::now();
    let token = connections.token(providers, name, LEFT).await;
    (asked.elapsed(), token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kept_token_costs_no_call_and_an_expired_one_costs_one_request_however_many_want_it() {
        let figures = measure(Plan { warm: 3, cold: 2, stale: 2, contended: 1 }).await.expect("figures");
        let requests: Vec<u64> = figures.ways.iter().map(|way| way.requests).collect();
        assert_eq!(requests, [0, 0, 2, 1]);
        assert_eq!(figures.ways.iter().map(|way| way.failures).sum::<u64>(), 0);
        let callers: Vec<usize> = figures.ways.iter().map(|way| way.times.count).collect();
        assert_eq!(callers, [3, 2, 2, CONTENDERS]);
        assert!(figures.ways[0].calls.is_empty(), "{:?}", figures.ways[0].calls);
        for way in &figures.ways[1..] {
            assert!(way.of("Secrets Manager ") > 0, "{way:?}");
        }
        let text = crate::report::tokens(&figures);
        assert!(figures.ways.iter().all(|way| text.contains(way.way)), "{text}");
    }

    #[test]
    fn a_refresh_token_is_good_once() {
        let mut books = Books::default();
        let (refresh, _) = books.issue();
        let body = format!("refresh_token={refresh}&client_secret={CLIENT_SECRET}");
        let statuses = [(); 2].map(|()| answer(&mut books, body.as_bytes()).status().as_u16());
        assert_eq!((statuses, books.requests), ([200, 400], 2));
    }
}
