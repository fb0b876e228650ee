//! Asked before a call, told after it.

mod bounds;
mod spend;

pub use spend::Spent;

use crate::bucket::{self, Step, step};
use crate::budget::{Attempt, Paid};
use crate::circuit::{self, Admission, FRESH, Pass, State};
use crate::guard::{Guard, Scope};
use crate::learn::{self, Said};
use crate::memory::{KnownBucket, KnownCircuit, Memory, Slot};
use crate::slots::Slip;
use crate::store::{Changed, Kept, Store, StoreError};
use aws_sdk_dynamodb::Client;
use clawbridge_clock::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Writes that are tried for one decision. Each that fails means that somebody else changed the item.
pub const MAX_TRIES: usize = 4;

/// For how long an answer may be waited for, all tries and those before in this environment together, until this environment decides by
/// itself: a task's lease has 5 seconds to spare.
const PATIENCE: Duration = Duration::from_secs(2);

/// What came of asking.
#[must_use]
#[derive(Debug)]
pub enum Acquired {
    /// Make the call, then [`Limits::report`] with this.
    Granted(Permit),
    /// Not now.
    Later(Later),
}

/// Leave to make one call.
#[must_use = "report what came of the call, or release it"]
#[derive(Debug)]
pub struct Permit {
    /// Something for the log: the table is out of reach, and this environment keeps limits and circuits by itself. Once in a while.
    pub note: Option<String>,
    attempt: Attempt,
    /// When its token was taken from the bucket.
    taken_at: Option<Timestamp>,
    /// What paid for it, if it is a retry.
    paid: Option<Paid>,
    /// The slot that it holds.
    slip: Option<Slip>,
    pass: Pass,
}

/// Come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Later {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: Why,
    /// As [`Permit::note`].
    pub note: Option<String>,
}

/// Why a call has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The limit that bridge.toml declares is used up.
    Limit,
    /// The upstream said when to come back.
    Pause,
    /// The upstream fails, and its circuit is open.
    Circuit,
    /// As many calls are under way as bridge.toml allows.
    Concurrency,
    /// The call is a retry, and there were as many as the tool's budget has.
    Budget,
}

impl Why {
    /// A stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Why::Limit => "LIMIT_REACHED",
            Why::Pause => "UPSTREAM_PAUSED",
            Why::Circuit => "CIRCUIT_OPEN",
            Why::Concurrency => "CONCURRENCY_REACHED",
            Why::Budget => "RETRY_BUDGET_SPENT",
        }
    }

    /// What keeps a token from being had: there is none, or the bucket is paused.
    fn or_pause(self, is_pause: bool) -> Why {
        if is_pause { Why::Pause } else { self }
    }

    /// For a person.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Why::Limit => "the tool's limit is used up; the call waits for its turn",
            Why::Pause => "the upstream said when to come back; nobody calls it before",
            Why::Circuit => "the upstream fails; its circuit is open, and it is left alone for a while",
            Why::Concurrency => {
                "as many calls are under way as the tool's limit allows; the call waits until one has ended"
            }
            Why::Budget => "the tool's retry budget is spent; the retry waits for its turn, first attempts go on",
        }
    }
}

/// How a call ended, as far as its upstream's health goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The upstream answered, whatever it said: also that the call is wrong or that there are too many.
    Answered,
    /// The upstream failed (500, 502, 503, 504), could not be reached or gave no answer in time.
    Failed,
    /// Nothing was sent, for reasons of the bridge's own.
    Unsent,
}

/// The limits table with what this environment knows of it. Clones share that.
#[derive(Clone, Debug)]
pub struct Limits {
    store: Store,
    memory: Arc<Memory>,
}

/// A token, or when to ask again.
type Token = Result<Timestamp, Later>;

impl Limits {
    /// The table named `table`. `writer` names this environment in what it writes: random, of its own.
    #[must_use]
    pub fn new(client: &Client, table: String, writer: String) -> Limits {
        let memory = Arc::new(Memory::of(&writer));
        Limits { store: Store::new(client, table, writer), memory }
    }

    /// Whether it is known already that a call would have to wait. No table call.
    #[must_use]
    pub fn peek(&self, guard: &Guard, attempt: Attempt, now: Timestamp, dice: f64) -> Option<Later> {
        if let Some((scope, rule)) = &guard.circuit
            && let Some(slot) = self.memory.circuits.get(scope)
            && let known = slot.known()
            && known.is_fresh(now)
            && let Some(later) = closed_to_all(&known, *rule, guard.limit.is_none(), now, dice)
        {
            return Some(later);
        }
        if let Some(later) = self.peek_bounds(guard, attempt, now, dice) {
            return Some(later);
        }
        match &guard.limit {
            Some((scope, rule)) => self.peek_bucket(scope, *rule, Why::Limit, now, dice),
            None => {
                let until = (*self.memory.pauses.get(&guard.tool)?.known())?;
                (until > now).then(|| spread(until, Why::Pause, dice))
            }
        }
    }

    /// Leave to make a call, or when to ask again. Circuit first, then the retry budget, a slot, and the limit.
    ///
    /// A guard that declares nothing costs no table call. A limit costs one update at most when nothing goes against it, and [`MAX_TRIES`]
    /// in any case, and so do a slot, which costs another one when it is given back, and a retry that the environment's own share does not
    /// pay for; a circuit one read each [`FRESH`], and updates only while it is half-open. What the table does not answer, this environment
    /// decides by itself: no work is lost or held up for it.
    pub async fn acquire(&self, guard: &Guard, attempt: Attempt, now: Timestamp, dice: f64) -> Acquired {
        let clock = Clock { now, started: Instant::now() };
        let mut permit = Permit { note: None, attempt, taken_at: None, paid: None, slip: None, pass: Pass::Closed };
        if let Some(later) = self.peek(guard, attempt, now, dice) {
            return Acquired::Later(later);
        }
        match self.gather(guard, &mut permit, clock, dice).await {
            Ok(()) => Acquired::Granted(permit),
            Err(later) => {
                self.give_back(guard, &permit, clock.now());
                self.free_slot(guard, &mut permit, clock).await;
                Acquired::Later(Later { note: permit.note, ..later })
            }
        }
    }

    /// Puts into `permit` what the call needs, up to what it has to wait for.
    async fn gather(&self, guard: &Guard, permit: &mut Permit, clock: Clock, dice: f64) -> Result<(), Later> {
        let note = &mut permit.note;
        if let Some((scope, rule)) = &guard.circuit {
            let slot = self.memory.circuits.of(scope);
            self.look(scope, &slot, clock, note).await;
            if let Some(later) = closed_to_all(&slot.known(), *rule, guard.limit.is_none(), clock.now(), dice) {
                return Err(later);
            }
        }
        if let (Some((scope, rule)), Attempt::Retry) = (&guard.retries, permit.attempt) {
            permit.paid = Some(self.pay(scope, *rule, clock, dice, note).await?);
        }
        if let Some((scope, rule)) = &guard.slots {
            permit.slip = Some(self.slot(scope, *rule, clock, dice, note).await?);
        }
        if let Some((scope, rule)) = &guard.limit {
            permit.taken_at = Some(self.token(scope, *rule, Why::Limit, clock, dice, note).await?);
        }
        if let Some((scope, rule)) = &guard.circuit {
            permit.pass = self.pass(scope, *rule, clock, dice, note).await?;
        }
        Ok(())
    }

    /// What came of a call. Returns a note for the log as [`Permit::note`].
    ///
    /// No table call, unless it held a slot, it failed and there is a circuit, it was a probe, or its answer `said` to wait and there is a
    /// key under which others look for that.
    pub async fn report(
        &self,
        guard: &Guard,
        mut permit: Permit,
        ended: Ended,
        said: Said,
        now: Timestamp,
        dice: f64,
    ) -> Option<String> {
        let clock = Clock { now, started: Instant::now() };
        permit.note = None;
        // Somebody may wait for it.
        self.free_slot(guard, &mut permit, clock).await;
        self.earn(guard, permit.attempt, ended, now);
        let mut note = permit.note.take();
        if let Some(until) = learn::pause(said, now) {
            self.pause(guard, until, clock, &mut note).await;
        }
        let pass = permit.pass;
        let circuit = guard.circuit.as_ref().map(|(scope, rule)| (scope, *rule, self.memory.circuits.of(scope)));
        match (circuit, ended) {
            (None, Ended::Answered | Ended::Failed) => {}
            (Some((scope, rule, slot)), Ended::Answered) => {
                slot.known().calls.add(rule.window, now);
                let next = |state: &State, _| circuit::succeeded(state, pass, rule);
                self.change(scope, &slot, clock, &mut note, next).await;
            }
            (Some((scope, rule, slot)), Ended::Failed) => {
                let calls = {
                    let mut known = slot.known();
                    known.calls.add(rule.window, now);
                    known.calls.take(rule.window, now)
                };
                let next = |state: &State, now| circuit::failed(state, pass, calls, rule, now, dice);
                self.change(scope, &slot, clock, &mut note, next).await;
            }
            (circuit, Ended::Unsent) => {
                self.give_back(guard, &permit, now);
                if let Some((scope, _, slot)) = circuit {
                    self.change(scope, &slot, clock, &mut note, |state, _| circuit::released(state, pass)).await;
                }
            }
        }
        note
    }

    /// What the table has under these keys, sorted. Keys that it does not have are left out: nothing speaks against a call.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn list(&self, scopes: &[Scope]) -> Result<Vec<Kept>, StoreError> {
        self.store.list(scopes).await
    }

    /// Forgets what is kept under a key: a full bucket, no pause, a closed circuit, free slots. Environments that know better follow within 5 seconds.
    /// Returns whether there was anything.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn reset(&self, scope: &Scope) -> Result<bool, StoreError> {
        self.store.remove(scope).await
    }

    /// Waits until nobody else of this environment asks the table about a key. If that takes too long, the table is as good as out of reach.
    async fn turn<'a, T>(
        &self,
        slot: &'a Slot<T>,
        clock: Clock,
        note: &mut Option<String>,
    ) -> Option<tokio::sync::MutexGuard<'a, ()>> {
        let turn = tokio::time::timeout(clock.patience(), slot.turn.lock()).await.ok();
        if turn.is_none() && !self.memory.is_alone(clock.now()) {
            self.alone(&StoreError::Table("it is too slow".to_owned()), clock.now(), note);
        }
        turn
    }

    /// Reads the circuit, if what is known is not fresh and nobody else has just done so.
    async fn look(&self, scope: &Scope, slot: &Slot<KnownCircuit>, clock: Clock, note: &mut Option<String>) {
        if slot.known().is_fresh(clock.now()) {
            return;
        }
        let _turn = self.turn(slot, clock, note).await;
        let now = clock.now();
        if slot.known().is_fresh(now) || self.memory.is_alone(now) {
            return;
        }
        match self.store.circuit(scope).await {
            Ok(kept) => see(slot, kept, clock.now()),
            Err(error) => self.alone(&error, clock.now(), note),
        }
    }

    /// A token from the lease, or from the bucket.
    async fn token(
        &self,
        scope: &Scope,
        rule: bucket::Rule,
        why: Why,
        clock: Clock,
        dice: f64,
        note: &mut Option<String>,
    ) -> Token {
        let slot = self.memory.buckets.of(scope);
        if let Some(token) = self.known_token(&slot, rule, why, clock.now(), dice) {
            return token;
        }
        // Of those that ask at once in this environment one goes, and may bring tokens for the others.
        let _turn = self.turn(&slot, clock, note).await;
        if let Some(token) = self.known_token(&slot, rule, why, clock.now(), dice) {
            return token;
        }
        for _ in 0..MAX_TRIES {
            let now = clock.now();
            let is_alone = self.memory.is_alone(now) || clock.patience().is_zero();
            let (seen, want) = {
                let known = slot.known();
                (known.seen(rule, is_alone, now), known.lease.want(rule, now))
            };
            let take = match step(seen.as_ref(), rule, want, now) {
                Step::Later { at, is_pause } => {
                    return Err(in_line(&mut slot.known(), rule, at, why.or_pause(is_pause), dice));
                }
                Step::Try(take) => take,
            };
            let changed = match is_alone {
                false => self.store.take(scope, &take).await,
                true => Ok(take.over(seen.as_ref()).map_or(Changed::No(seen), Changed::Yes)),
            };
            match changed {
                Ok(Changed::Yes(bucket)) => {
                    let mut known = slot.known();
                    known.see(Some(bucket), now);
                    known.lease.fill(take.tokens, now);
                    if let Some(taken_at) = known.lease.take(now) {
                        return Ok(taken_at);
                    }
                }
                Ok(Changed::No(actual)) => slot.known().see(actual, now),
                Err(error) => self.alone(&error, now, note),
            }
        }
        // Others were faster each time: there is a rush for the last tokens.
        let at = clock.now().plus(rule.interval().max(Duration::from_millis(100)));
        Err(in_line(&mut slot.known(), rule, at, why, dice))
    }

    /// A token or a refusal for which the table need not be asked.
    fn known_token(
        &self,
        slot: &Slot<KnownBucket>,
        rule: bucket::Rule,
        why: Why,
        now: Timestamp,
        dice: f64,
    ) -> Option<Token> {
        let mut known = slot.known();
        if !known.is_paused(now)
            && let Some(taken_at) = known.lease.take(now)
        {
            return Some(Ok(taken_at));
        }
        match step(known.seen(rule, self.memory.is_alone(now), now).as_ref(), rule, 1, now) {
            Step::Later { at, is_pause } => Some(Err(in_line(&mut known, rule, at, why.or_pause(is_pause), dice))),
            Step::Try(_) => None,
        }
    }

    /// Whether it is known that there is no token.
    fn peek_bucket(&self, scope: &Scope, rule: bucket::Rule, why: Why, now: Timestamp, dice: f64) -> Option<Later> {
        let slot = self.memory.buckets.get(scope)?;
        let mut known = slot.known();
        if !known.is_paused(now) && known.lease.has(now) {
            return None;
        }
        match step(known.seen(rule, self.memory.is_alone(now), now).as_ref(), rule, 1, now) {
            Step::Later { at, is_pause } => Some(in_line(&mut known, rule, at, why.or_pause(is_pause), dice)),
            Step::Try(_) => None,
        }
    }

    /// As what a call goes through a circuit, which the table is asked about only where it is a probe.
    async fn pass(
        &self,
        scope: &Scope,
        rule: circuit::Rule,
        clock: Clock,
        dice: f64,
        note: &mut Option<String>,
    ) -> Result<Pass, Later> {
        let slot = self.memory.circuits.of(scope);
        if let Admission::Passes = circuit::admit(&slot.known().state(), rule, clock.now()) {
            return Ok(Pass::Closed);
        }
        let _turn = self.turn(&slot, clock, note).await;
        for _ in 0..MAX_TRIES {
            let state = slot.known().state();
            match circuit::admit(&state, rule, clock.now()) {
                Admission::Passes => return Ok(Pass::Closed),
                Admission::Later { at } => return Err(spread(at, Why::Circuit, dice)),
                Admission::Probe { round, next } => {
                    if self.put(scope, &slot, next, clock, note).await {
                        return Ok(Pass::Probe { round });
                    }
                }
            }
        }
        Err(spread(clock.now().plus(FRESH), Why::Circuit, dice))
    }

    /// Changes the circuit as `next` says, which is asked again about what it has become where somebody was faster.
    async fn change(
        &self,
        scope: &Scope,
        slot: &Slot<KnownCircuit>,
        clock: Clock,
        note: &mut Option<String>,
        next: impl Fn(&State, Timestamp) -> Option<State>,
    ) {
        if next(&slot.known().state(), clock.now()).is_none() {
            return;
        }
        let _turn = self.turn(slot, clock, note).await;
        for _ in 0..MAX_TRIES {
            let Some(next) = next(&slot.known().state(), clock.now()) else { return };
            if self.put(scope, slot, next, clock, note).await {
                return;
            }
        }
        // So many others changed it in this moment that what this call has to say is said.
    }

    /// Whether `next` was put in the place of the state that is known, in the table or, while that is out of reach, in what is known.
    async fn put(
        &self,
        scope: &Scope,
        slot: &Slot<KnownCircuit>,
        next: State,
        clock: Clock,
        note: &mut Option<String>,
    ) -> bool {
        let now = clock.now();
        if !self.memory.is_alone(now) && !clock.patience().is_zero() {
            let seen = slot.known().circuit.clone();
            match self.store.change(scope, seen.as_ref(), &next, now).await {
                Ok(Changed::Yes(kept)) => {
                    see(slot, Some(kept), now);
                    return true;
                }
                Ok(Changed::No(kept)) => {
                    see(slot, kept, now);
                    return false;
                }
                Err(error) => self.alone(&error, now, note),
            }
        }
        slot.known().assume(next);
        true
    }

    /// Lets nobody call before `until`: all environments where they look for it, else this one.
    async fn pause(&self, guard: &Guard, until: Timestamp, clock: Clock, note: &mut Option<String>) {
        let now = clock.now();
        let (scope, keep) = match (&guard.limit, &guard.circuit) {
            (Some((scope, rule)), _) => {
                let slot = self.memory.buckets.of(scope);
                let mut known = slot.known();
                let is_known = known.pause_covers(until, now);
                known.pause(until, now);
                if is_known {
                    return;
                }
                (scope, rule.fill_time())
            }
            (None, Some((scope, _))) => {
                let slot = self.memory.circuits.of(scope);
                let mut known = slot.known();
                let is_known = known.is_fresh(now) && known.paused_until >= Some(until);
                known.paused_until = known.paused_until.max(Some(until));
                if is_known {
                    return;
                }
                (scope, Duration::ZERO)
            }
            (None, None) => {
                let slot = self.memory.pauses.of(&guard.tool);
                let mut known = slot.known();
                *known = known.max(Some(until));
                return;
            }
        };
        if !self.memory.is_alone(now)
            && let Err(error) = self.store.pause(scope, until, keep, now).await
        {
            self.alone(&error, now, note);
        }
    }

    /// Gives back to this environment what a call did not use that was not made.
    fn give_back(&self, guard: &Guard, permit: &Permit, now: Timestamp) {
        if let (Some((scope, _)), Some(taken_at)) = (&guard.limit, permit.taken_at) {
            self.memory.buckets.of(scope).known().lease.give_back(taken_at, now);
        }
        if let (Some((scope, _)), Some(paid)) = (&guard.retries, permit.paid) {
            self.refund(scope, paid, now);
        }
    }

    fn alone(&self, error: &StoreError, now: Timestamp, note: &mut Option<String>) {
        self.memory.table_failed(now);
        *note = Some(format!("{error}; until it answers this environment keeps limits and circuits by itself"));
    }
}

/// What time it is in the middle of something that was asked at a given one.
#[derive(Clone, Copy)]
struct Clock {
    now: Timestamp,
    started: Instant,
}

impl Clock {
    fn now(self) -> Timestamp {
        self.now.plus(self.started.elapsed())
    }

    /// How much longer may be waited.
    fn patience(self) -> Duration {
        PATIENCE.saturating_sub(self.started.elapsed())
    }
}

fn see(slot: &Slot<KnownCircuit>, kept: Option<Kept>, now: Timestamp) {
    let (circuit, paused_until) = kept.map_or((None, None), |kept| (kept.circuit, kept.bucket.paused_until));
    slot.known().read(circuit, paused_until, now);
}

/// Whether the circuit lets nobody through, not even a probe. Its item has the pause where the tool has no limit.
fn closed_to_all(
    known: &KnownCircuit,
    rule: circuit::Rule,
    has_pause: bool,
    now: Timestamp,
    dice: f64,
) -> Option<Later> {
    if let Some(until) = known.paused_until.filter(|until| has_pause && *until > now) {
        return Some(spread(until, Why::Pause, dice));
    }
    match circuit::admit(&known.state(), rule, now) {
        Admission::Later { at } => Some(spread(at, Why::Circuit, dice)),
        Admission::Passes | Admission::Probe { .. } => None,
    }
}

fn in_line(known: &mut KnownBucket, rule: bucket::Rule, at: Timestamp, why: Why, dice: f64) -> Later {
    Later { at: known.line.place(at, rule.interval(), dice), why, note: None }
}

/// Those that wait for the same moment come back within some seconds after it.
fn spread(at: Timestamp, why: Why, dice: f64) -> Later {
    Later { at: at.plus(FRESH.mul_f64(dice.clamp(0.0, 1.0))), why, note: None }
}
