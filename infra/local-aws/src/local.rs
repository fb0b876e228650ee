//! The services together: opened on one state, served on one port.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::dynamodb::DynamoDb;
use crate::secrets::SecretsManager;
use crate::server;
use crate::sqs::Sqs;
use crate::store::{LockedDir, OpenError, State, Store};

/// How often what has expired is removed: DynamoDB items past their TTL, messages past their retention, secrets past
/// their recovery window. Nothing but their space depends on it.
const SWEEP: Duration = Duration::from_secs(60);

/// SQS, Secrets Manager and DynamoDB on one state. Cloning shares it; the last clone closes it.
#[derive(Clone, Debug)]
pub struct LocalAws {
    sqs: Sqs,
    secrets: SecretsManager,
    dynamodb: DynamoDb,
    // After the services: the directory is free again only when its files are closed.
    _dir: Option<Arc<LockedDir>>,
}

impl LocalAws {
    /// Opens the state, or makes a new one. What was answered before the process ended, in whatever way, is there
    /// again.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(state: State) -> Result<Self, OpenError> {
        Self::open_with_clock(state, Clock::System)
    }

    /// As [`LocalAws::open`], with time told by `clock`. DynamoDB follows it only with [`State::Ephemeral`].
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_with_clock(state: State, clock: Clock) -> Result<Self, OpenError> {
        let (dir, store, dynamodb) = match state {
            State::Ephemeral => (None, Store::in_memory()?, DynamoDb::in_memory(&clock)?),
            State::Dir(path) => Self::open_dir(&path)?,
        };
        let store = Arc::new(store);
        Ok(Self {
            sqs: Sqs::new(Arc::clone(&store), clock.clone()),
            secrets: SecretsManager::new(store, clock),
            dynamodb,
            _dir: dir.map(Arc::new),
        })
    }

    fn open_dir(path: &Path) -> Result<(Option<LockedDir>, Store, DynamoDb), OpenError> {
        let dir = LockedDir::open(path)?;
        let store = Store::open(&dir.file("aws.sqlite")?)?;
        let dynamodb = DynamoDb::open(&dir.file("dynamodb.sqlite")?)?;
        Ok((Some(dir), store, dynamodb))
    }

    /// The queues.
    #[must_use]
    pub fn sqs(&self) -> &Sqs {
        &self.sqs
    }

    /// The secrets.
    #[must_use]
    pub fn secrets(&self) -> &SecretsManager {
        &self.secrets
    }

    pub(crate) fn dynamodb(&self) -> &DynamoDb {
        &self.dynamodb
    }

    /// Serves the APIs on `listener` until `shutdown`, then ends long polls empty, lets other requests end (for 5
    /// seconds at most) and returns. `POST` with an `X-Amz-Target` header is an AWS call; everything else goes to
    /// `fallback`, with a body of at most 16 MiB.
    ///
    /// Requests must name this machine in `Host` (127.0.0.1, localhost or `[::1]`), else they get 403: so a web page
    /// cannot reach the APIs under a name of its own. There are no CORS headers. **Signatures are not checked**:
    /// whoever can connect to the port may do everything, so bind the listener to a loopback address.
    pub async fn serve<F>(self, listener: TcpListener, fallback: F, shutdown: impl Future<Output = ()> + Send)
    where
        F: Fn(Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync + 'static,
    {
        if let Ok(address) = listener.local_addr() {
            self.sqs.set_base_url(&format!("http://{address}"));
        }
        // A set, so that the sweeper ends with this future however it ends.
        let mut sweeper = JoinSet::new();
        sweeper.spawn(sweep(self.clone()));
        server::serve(self, listener, Arc::new(fallback), shutdown).await;
    }

    /// Removes what has expired. [`LocalAws::serve`] does it once a minute.
    ///
    /// # Errors
    /// What kept it from doing so; it is safe to try again.
    pub fn sweep(&self) -> Result<(), String> {
        self.sqs.sweep().map_err(|error| error.to_string())?;
        self.secrets.sweep().map_err(|error| error.to_string())?;
        self.dynamodb.sweep()
    }
}

async fn sweep(aws: LocalAws) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        let aws = aws.clone();
        // A disk that fails here fails the next request too, and that one has somebody to tell.
        let _swept = tokio::task::spawn_blocking(move || aws.sweep()).await;
    }
}
