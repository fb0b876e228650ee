//! Tokens for those who call: kept in memory, refreshed by one at a time.

use crate::consent::Consent;
use crate::exchange::Exchange;
use crate::memory::{Kept, Memory, Slot};
use crate::name::ConnectionName;
use crate::record::{Change, Landed, Record, Status};
use crate::refresh::{Refresh, Want, time_to_ask};
use crate::revoke::Revoke;
use crate::step::{Asking, Done, Note, Outcome, Step};
use crate::store::{Page, Store};
use crate::version::{Held, Seen, VersionId};
use clawbridge_clock::Timestamp;
use clawbridge_config::{Compiled, Provider};
use clawbridge_oauth::{TokenKind, TokenSet};
use clawbridge_outbound::Outbound;
use clawbridge_secrets::{Ages, Secrets};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What the stack calls its things.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The registry table.
    pub registry_table: String,
    /// What names of secrets begin with: `clawbridge` unless the stack says otherwise.
    pub secret_prefix: String,
}

/// The providers that bridge.toml declares, and the way to them.
#[derive(Clone, Debug)]
pub struct Providers {
    /// By name.
    pub declared: Arc<BTreeMap<String, Provider>>,
    /// The way out.
    pub outbound: Outbound,
}

impl Providers {
    /// Those of a configuration, called under its rules.
    #[must_use]
    pub fn new(config: &Arc<Compiled>) -> Providers {
        let declared = Arc::new(config.config().providers.clone());
        Providers { declared, outbound: Outbound::new(config.clone()) }
    }
}

/// A token that calls can carry. Debug output does not show it.
#[derive(Clone)]
pub struct AccessToken(Arc<Held>);

impl AccessToken {
    /// The token itself.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.0.set.access_token
    }

    /// How it is sent.
    #[must_use]
    pub fn kind(&self) -> TokenKind {
        self.0.set.kind
    }

    /// Which of the connection's token sets it is of.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.set.generation
    }

    /// The key that it is bound to: PKCS #8, Base64.
    #[must_use]
    pub fn dpop_key(&self) -> Option<&str> {
        self.0.set.dpop_key.as_deref()
    }

    /// What the provider's declaration keeps of answers.
    #[must_use]
    pub fn kept(&self) -> &BTreeMap<String, String> {
        &self.0.set.kept
    }

    /// The account's own values of the provider's parameters.
    #[must_use]
    pub fn parameters(&self) -> &BTreeMap<String, String> {
        &self.0.set.parameters
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("generation", &self.generation()).finish_non_exhaustive()
    }
}

/// Why there is no token, typed by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// bridge.toml declares no such provider: fail.
    #[error("bridge.toml declares no provider {0}")]
    UnknownProvider(String),
    /// Nobody has connected the account, or it was taken back: fail, or wait for a person.
    #[error("the account {0} is not connected; connect it")]
    NotConnected(ConnectionName),
    /// A person has to authorise it again: wait for that.
    #[error("{code}: the account has to be authorised again")]
    NeedsReauth {
        /// The server's error code, or a stable one of ours.
        code: String,
        /// Since when.
        since: Timestamp,
    },
    /// Come again then.
    #[error("{code}: {reason}")]
    Later {
        /// A stable code.
        code: String,
        /// In plain words.
        reason: String,
        /// When.
        at: Timestamp,
    },
}

/// Something that the bridge should make an event of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// `connection.expired`: a person has to authorise it again. Its delivery id is `NAME/GENERATION/expired`, however often it is told.
    Expired {
        /// Which connection.
        name: ConnectionName,
        /// The generation that is refused.
        generation: u64,
        /// Why.
        code: String,
    },
}

/// What a sweep came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Connections that were looked at.
    pub seen: usize,
    /// Those that have a token which is not due.
    pub refreshed: usize,
    /// Those that were due and have none now, with why.
    pub failed: Vec<(ConnectionName, Unusable)>,
}

/// The connections. Clones share what they keep.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    exchange: Exchange,
    memory: Memory,
    happenings: Mutex<Vec<Happening>>,
    notes: Mutex<Vec<(ConnectionName, Note)>>,
    /// Environments do not all come at once.
    jitter: f64,
}

impl Connections {
    /// Of a stack.
    #[must_use]
    pub fn new(
        tables: aws_sdk_dynamodb::Client,
        secrets: aws_sdk_secretsmanager::Client,
        settings: Settings,
    ) -> Connections {
        let exchange = Exchange::new(Secrets::new(secrets.clone(), Ages::default()), &settings.secret_prefix);
        Connections(Arc::new(Inner {
            store: Store { tables, secrets, table: settings.registry_table, prefix: settings.secret_prefix },
            exchange,
            memory: Memory::default(),
            happenings: Mutex::default(),
            notes: Mutex::default(),
            jitter: fastrand::f64(),
        }))
    }

    /// A token for a call that begins now. Without any call of AWS where one is kept that is young enough. `left`: how long the caller can wait.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub async fn token(
        &self,
        providers: &Providers,
        name: &ConnectionName,
        left: Duration,
    ) -> Result<AccessToken, Unusable> {
        let early = self.early(declared(providers, name)?);
        self.get(providers, name, Want::Fresh { early }, left).await
    }

    /// Another token than this one, which the resource refused (401). `None`: there is no other, and a refresh was tried for it before.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub async fn refused(
        &self,
        providers: &Providers,
        name: &ConnectionName,
        token: &AccessToken,
        left: Duration,
    ) -> Result<Option<AccessToken>, Unusable> {
        declared(providers, name)?;
        if self.0.memory.slot(name).was_refused(&token.0.version) {
            return Ok(None);
        }
        self.get(providers, name, Want::Other(token.0.version.clone()), left).await.map(Some)
    }

    /// A new token, whatever there is: for a person who wants it.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub async fn refresh(
        &self,
        providers: &Providers,
        name: &ConnectionName,
        left: Duration,
    ) -> Result<AccessToken, Unusable> {
        self.get(providers, name, Want::Forced, left).await
    }

    /// Refreshes what expires soon, and tells again what nobody was told of. Ends within `left`, or a little later.
    ///
    /// # Errors
    /// The table could not be read.
    pub async fn sweep(&self, providers: &Providers, left: Duration) -> Result<Swept, Unusable> {
        let end = Timestamp::now().plus(left);
        let (mut swept, mut after) = (Swept::default(), None);
        loop {
            let page = self.list(after.as_ref(), 100).await?;
            for record in page.records {
                swept.seen += 1;
                self.sweep_one(providers, record, end, &mut swept).await;
            }
            match page.next {
                Some(next) if Timestamp::now() < end => after = Some(next),
                _ => return Ok(swept),
            }
        }
    }

    async fn sweep_one(&self, providers: &Providers, record: Record, end: Timestamp, swept: &mut Swept) {
        let now = Timestamp::now();
        match record.status {
            Status::NeedsReauth if !record.announced => self.happened(&record),
            Status::Active => {
                let Ok(provider) = declared(providers, &record.name) else { return };
                let early = provider.refresh_before.duration();
                let is_near = record.token_expires_at.is_some_and(|at| at.minus(early) <= now);
                if !is_near || now >= end {
                    return;
                }
                match self.get(providers, &record.name, Want::Fresh { early }, now.until(end)).await {
                    Ok(_) => swept.refreshed += 1,
                    Err(unusable) => swept.failed.push((record.name, unusable)),
                }
            }
            Status::NeedsReauth | Status::Revoked => {}
        }
    }

    fn happened(&self, record: &Record) {
        let code = record.last_error.as_ref().map_or("invalid_grant", |error| error.code.as_str()).to_owned();
        let happening = Happening::Expired { name: record.name.clone(), generation: record.generation, code };
        let mut happenings = lock(&self.0.happenings);
        if !happenings.contains(&happening) {
            happenings.push(happening);
        }
    }

    /// What has happened since the last time. Whoever makes events of it says so to [`Connections::told`]; what is not told comes again
    /// with the next [`Connections::sweep`].
    #[must_use]
    pub fn happenings(&self) -> Vec<Happening> {
        std::mem::take(&mut *lock(&self.0.happenings))
    }

    /// What there is to tell since the last time, for the journal.
    #[must_use]
    pub fn notes(&self) -> Vec<(ConnectionName, Note)> {
        std::mem::take(&mut *lock(&self.0.notes))
    }

    /// An event was made of it.
    ///
    /// # Errors
    /// It could not be written down: it will be told again.
    pub async fn told(&self, happening: &Happening) -> Result<(), Unusable> {
        let Happening::Expired { name, generation, .. } = happening;
        let Some(record) = self.show(name).await? else { return Ok(()) };
        if record.status == Status::NeedsReauth && record.generation == *generation && !record.announced {
            let change = Change::new(record.revision, Record { announced: true, ..record }, &nonce());
            self.0.store.write(&change).await.map_err(|failure| unavailable(failure.code, failure.reason))?;
        }
        Ok(())
    }

    /// How providers are asked.
    #[must_use]
    pub fn exchange(&self) -> &Exchange {
        &self.0.exchange
    }

    /// Keeps what a person has consented to, in the place of whatever there was.
    ///
    /// # Errors
    /// [`Unusable::Later`]: it is not stored.
    pub async fn connect(
        &self,
        name: &ConnectionName,
        set: TokenSet,
        asked_scopes: Vec<String>,
    ) -> Result<AccessToken, Unusable> {
        let this = self.clone();
        let own = name.clone();
        let task = tokio::spawn(async move {
            let mut work = Consent::new(own.clone(), set, asked_scopes, nonce());
            let mut step = work.begin();
            loop {
                if let Step::End(outcome) = step {
                    return this.keep(&own, outcome);
                }
                let done = this.carry_out(None, &own, step).await;
                step = work.next(done, Timestamp::now());
            }
        });
        task.await.unwrap_or_else(|_| Err(aborted()))
    }

    /// Takes a connection back. What was in use is returned, so that the provider can be told.
    ///
    /// # Errors
    /// [`Unusable::Later`]: it is not done.
    pub async fn revoke(&self, name: &ConnectionName) -> Result<Option<TokenSet>, Unusable> {
        let mut work = Revoke::new(name.clone(), nonce());
        let mut step = work.begin();
        loop {
            if let Step::End(outcome) = step {
                self.0.memory.slot(name).forget();
                return match outcome {
                    Outcome::Later { code, reason, at } => Err(Unusable::Later { code, reason, at }),
                    _ => Ok(work.held().map(|held| held.set.clone())),
                };
            }
            let done = self.carry_out(None, name, step).await;
            step = work.next(done, Timestamp::now());
        }
    }

    /// One page of connections, by name, at most `limit` (1–100).
    ///
    /// # Errors
    /// [`Unusable::Later`].
    pub async fn list(&self, after: Option<&ConnectionName>, limit: usize) -> Result<Page, Unusable> {
        self.0.store.list(after, limit).await.map_err(|failure| unavailable(failure.code, failure.reason))
    }

    /// What the table says of one.
    ///
    /// # Errors
    /// [`Unusable::Later`].
    pub async fn show(&self, name: &ConnectionName) -> Result<Option<Record>, Unusable> {
        self.0.store.record(name).await.map_err(|failure| unavailable(failure.code, failure.reason))
    }

    /// The token set in use, if there is one; else why it cannot be read.
    pub(crate) async fn held(&self, name: &ConnectionName) -> Result<Option<TokenSet>, String> {
        match self.0.store.read(name, None).await {
            Done::Secret(Seen::Held(held)) => Ok(Some(held.set.clone())),
            Done::Failed(failure) => Err(failure.reason),
            _ => Ok(None),
        }
    }

    /// A little earlier in some environments than in others, so that they do not all come at once.
    fn early(&self, provider: &Provider) -> Duration {
        provider.refresh_before.duration().mul_f64(0.8 + 0.2 * self.0.jitter)
    }

    /// From memory, or by one refresh for all who want it at once.
    async fn get(
        &self,
        providers: &Providers,
        name: &ConnectionName,
        want: Want,
        left: Duration,
    ) -> Result<AccessToken, Unusable> {
        declared(providers, name)?;
        let slot = self.0.memory.slot(name);
        let asked_at = std::time::Instant::now();
        if let Some(found) = slot.serve(&want, asked_at) {
            return found.map(AccessToken);
        }
        let deadline = Timestamp::now().plus(left);
        let Ok(turn) = tokio::time::timeout(left, slot.turn()).await else {
            return Err(unavailable("TIMEOUT", "the connection is being refreshed".to_owned()));
        };
        if let Some(found) = slot.serve(&want, asked_at) {
            return found.map(AccessToken);
        }
        // A caller that is dropped does not take the refresh with it: it may have the answer in hand.
        let (this, providers, own) = (self.clone(), providers.clone(), name.clone());
        let task = tokio::spawn(async move {
            let result = this.work(&providers, &own, &slot, want, deadline).await;
            drop(turn);
            result
        });
        task.await.unwrap_or_else(|_| Err(aborted()))
    }

    async fn work(
        &self,
        providers: &Providers,
        name: &ConnectionName,
        slot: &Slot,
        want: Want,
        deadline: Timestamp,
    ) -> Result<AccessToken, Unusable> {
        let begins = !declared(providers, name)?.grant.needs_a_person();
        let refused: Option<VersionId> = match &want {
            Want::Other(version) => Some(version.clone()),
            Want::Fresh { .. } | Want::Forced => None,
        };
        let has_stopgap = matches!(want, Want::Fresh { .. });
        let mut work = Refresh::new(name.clone(), begins, want, nonce(), deadline);
        let mut step = work.begin();
        let outcome = loop {
            if let Step::End(outcome) = step {
                break outcome;
            }
            let done = self.carry_out(Some(providers), name, step).await;
            step = work.next(done, Timestamp::now(), fastrand::f64());
        };
        self.noted(name, work.notes());
        let result = self.keep(name, outcome);
        if let Some(version) = refused {
            slot.refused(version);
        }
        match (result, slot.standing(Timestamp::now())) {
            // Neither table nor secrets answer: what was read a while ago does for some minutes.
            (Err(Unusable::Later { .. }), Some(held)) if has_stopgap => Ok(AccessToken(held)),
            (result, _) => result,
        }
    }

    fn noted(&self, name: &ConnectionName, notes: Vec<Note>) {
        for note in notes {
            if let Note::Expired { generation, code } = &note {
                let (generation, code) = (*generation, code.clone());
                lock(&self.0.happenings).push(Happening::Expired { name: name.clone(), generation, code });
            }
            let mut kept = lock(&self.0.notes);
            // Nobody may be listening.
            if kept.len() < 1_000 {
                kept.push((name.clone(), note));
            }
        }
    }

    fn keep(&self, name: &ConnectionName, outcome: Outcome) -> Result<AccessToken, Unusable> {
        let slot = self.0.memory.slot(name);
        let unusable = match outcome {
            Outcome::Use(held) => {
                let held = Arc::new(*held);
                slot.keep(Kept::Held(held.clone()));
                return Ok(AccessToken(held));
            }
            Outcome::NeedsReauth { code, since } => Unusable::NeedsReauth { code, since },
            Outcome::NotConnected => Unusable::NotConnected(name.clone()),
            Outcome::Later { code, reason, at } => Unusable::Later { code, reason, at },
        };
        slot.keep(Kept::Nothing(unusable.clone()));
        Err(unusable)
    }

    async fn carry_out(&self, providers: Option<&Providers>, name: &ConnectionName, step: Step) -> Done {
        let store = &self.0.store;
        match step {
            Step::ReadCurrent => store.read(name, None).await,
            Step::ReadVersion(version) => store.read(name, Some(&version)).await,
            Step::ReadRecord => match store.record(name).await {
                Ok(record) => Done::Record(record.map(Box::new)),
                Err(failure) => Done::Failed(failure),
            },
            Step::Write(change) => match store.write(&change).await {
                Ok(landed @ (Landed::Written(_) | Landed::Lost(_))) => Done::Wrote(landed),
                Err(failure) => Done::Failed(failure),
            },
            Step::Ask(asking) => self.ask(providers, name, &asking).await,
            Step::Create(held) => store.create(name, &held).await,
            Step::Stash(held) => store.stash(name, &held).await,
            Step::Promote { from, to } => store.promote(name, &from, &to).await,
            Step::Restore => store.restore(name).await,
            Step::Delete => store.delete(name).await,
            Step::Wait(at) => {
                tokio::time::sleep(Timestamp::now().until(at)).await;
                Done::Waited
            }
            Step::End(_) => Done::Waited,
        }
    }

    async fn ask(&self, providers: Option<&Providers>, name: &ConnectionName, asking: &Asking) -> Done {
        let Some(providers) = providers else { return Done::NotAsked };
        let Ok(provider) = declared(providers, name) else { return Done::NotAsked };
        let Some(time) = time_to_ask(asking.until, Timestamp::now()) else { return Done::NotAsked };
        let set = asking.held.as_ref().map(|held| &held.set);
        // Boxed: it is deep, and seldom.
        let asked = Box::pin(self.0.exchange.ask(&providers.outbound, name, provider, set, asking.previous_secret));
        match tokio::time::timeout(time, asked).await {
            Ok(Ok(set)) => Done::Asked(Box::new(set)),
            Ok(Err(refused)) => Done::Refused(refused),
            Err(_) => Done::Refused(clawbridge_oauth::Refused::Later(clawbridge_oauth::Retry {
                code: "TIMEOUT",
                reason: "no complete answer from the provider in time".to_owned(),
                after: None,
                may_have_acted: true,
            })),
        }
    }
}

fn declared<'a>(providers: &'a Providers, name: &ConnectionName) -> Result<&'a Provider, Unusable> {
    let provider = providers.declared.get(name.provider());
    provider.ok_or_else(|| Unusable::UnknownProvider(name.provider().to_owned()))
}

fn nonce() -> String {
    format!("{:032x}", fastrand::u128(..))
}

fn unavailable(code: &str, reason: String) -> Unusable {
    Unusable::Later { code: code.to_owned(), reason, at: Timestamp::now().plus(Duration::from_secs(1)) }
}

fn aborted() -> Unusable {
    unavailable("UNAVAILABLE", "the work on the connection was cut off".to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing is half made between statements, so a panic elsewhere leaves it usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
