//! A table on the local stack, environments that use it, and what each of them asks of it.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use aws_smithy_runtime_api::box_error::BoxError;
use bytes::Bytes;
use clawbridge_aws::{Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_limits::{
    Acquired, Attempt, Ended, Guard, Later, Limits, Permit, Said, Scope, bucket, budget, circuit, slots,
};
use clawbridge_local_aws::{LocalAws, State};
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

pub(crate) const TABLE: &str = "limits";

/// Some moment, later by so many milliseconds.
pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + ms)
}

/// The local stack's DynamoDB with the limits table in it.
pub(crate) struct Table {
    pub(crate) url: String,
    pub(crate) client: Client,
}

impl Table {
    pub(crate) async fn start() -> Table {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let aws = LocalAws::open(State::Ephemeral).expect("the state opens");
        let nothing = |_: http::Request<Bytes>| -> futures_util::future::BoxFuture<'static, http::Response<Bytes>> {
            Box::pin(ready(http::Response::new(Bytes::new())))
        };
        tokio::spawn(aws.serve(listener, nothing, std::future::pending()));
        let client = Client::new(&sdk_config(&Environment::local(&url)).expect("a configuration"));
        let table = Table { url, client };
        table.make().await;
        table
    }

    pub(crate) async fn make(&self) {
        let key = KeySchemaElement::builder().attribute_name("scope").key_type(KeyType::Hash).build().expect("a key");
        let scope = AttributeDefinition::builder().attribute_name("scope").attribute_type(ScalarAttributeType::S);
        let create =
            self.client.create_table().table_name(TABLE).billing_mode(BillingMode::PayPerRequest).key_schema(key);
        create.attribute_definitions(scope.build().expect("an attribute")).send().await.expect("the table is made");
    }

    /// An environment of its own: it knows nothing yet.
    pub(crate) fn environment(&self, name: &str) -> Limited {
        Limited::at(&self.url, TABLE, name)
    }
}

/// An environment, and how many table calls it made.
#[derive(Clone)]
pub(crate) struct Limited {
    pub(crate) limits: Limits,
    calls: Counter,
}

impl Limited {
    pub(crate) fn at(url: &str, table: &str, name: &str) -> Limited {
        let calls = Counter::default();
        let config = sdk_config(&Environment::local(url)).expect("a configuration");
        let config = aws_sdk_dynamodb::config::Builder::from(&config).interceptor(calls.clone()).build();
        Limited { limits: Limits::new(&Client::from_conf(config), table.to_owned(), name.to_owned()), calls }
    }

    /// Table calls since the last time.
    pub(crate) fn calls(&self) -> usize {
        self.calls.0.swap(0, Ordering::SeqCst)
    }

    pub(crate) async fn acquire(&self, guard: &Guard, ms: i64) -> Acquired {
        self.limits.acquire(guard, Attempt::First, at(ms), 0.0).await
    }

    pub(crate) async fn granted(&self, guard: &Guard, ms: i64) -> Permit {
        match self.acquire(guard, ms).await {
            Acquired::Granted(permit) => permit,
            Acquired::Later(later) => panic!("{later:?}"),
        }
    }

    pub(crate) async fn later(&self, guard: &Guard, ms: i64) -> Later {
        match self.acquire(guard, ms).await {
            Acquired::Later(later) => later,
            Acquired::Granted(permit) => panic!("{permit:?}"),
        }
    }

    pub(crate) async fn retry(&self, guard: &Guard, ms: i64) -> Acquired {
        self.limits.acquire(guard, Attempt::Retry, at(ms), 0.0).await
    }

    pub(crate) async fn report(&self, guard: &Guard, permit: Permit, ended: Ended, ms: i64) {
        let note = self.limits.report(guard, permit, ended, Said::default(), at(ms), 0.0).await;
        assert_eq!(note, None);
    }

    /// A whole call.
    pub(crate) async fn call(&self, guard: &Guard, ended: Ended, ms: i64) {
        let permit = self.granted(guard, ms).await;
        assert_eq!(permit.note, None);
        self.report(guard, permit, ended, ms).await;
    }
}

/// Counts requests as they are sent: tries, too.
#[derive(Clone, Debug, Default)]
struct Counter(Arc<AtomicUsize>);

impl Intercept for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

pub(crate) fn free() -> Guard {
    Guard { tool: Scope::named("tool/t"), limit: None, slots: None, retries: None, circuit: None }
}

pub(crate) fn limited(calls: u32, seconds: u64, burst: u32) -> Guard {
    let rule = bucket::Rule::new(calls, Duration::from_secs(seconds), burst);
    Guard { limit: Some((Scope::named("tool/t"), rule)), ..free() }
}

/// Three failures within a minute open it for 30 seconds; one probe, which may take 15 seconds.
pub(crate) fn breaking() -> Guard {
    let rule = circuit::Rule {
        failures: 3,
        window: Duration::from_secs(60),
        share: None,
        open: Duration::from_secs(30),
        probes: 1,
        probe_time: Duration::from_secs(15),
    };
    Guard { circuit: Some((Scope::named("circuit/t"), rule)), ..free() }
}

/// So many calls under way, each for 15 seconds at most.
pub(crate) fn few(count: u32) -> Guard {
    let rule = slots::Rule::new(count, Duration::from_secs(15));
    Guard { slots: Some((Scope::named("slots/tool/t"), rule)), ..free() }
}

/// A retry for each five first attempts, and `calls` in `seconds`, as many of them at once.
pub(crate) fn budgeted(calls: u32, seconds: u64) -> Guard {
    let rate = bucket::Rule::new(calls, Duration::from_secs(seconds), calls);
    Guard { retries: Some((Scope::named("retries/t"), budget::Rule { percent: 20, rate })), ..free() }
}
