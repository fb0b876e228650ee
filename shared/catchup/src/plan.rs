//! What a log of deliveries means: which deliveries were missed, and which of those are worth asking for now.

use clawbridge_clock::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// How far back deliveries are asked for. GitHub redelivers what it delivered within three days; an hour less, so that nothing is asked for
/// that runs out on the way. <https://docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks>
pub const KEPT: Duration = Duration::from_secs(71 * 3600);

/// For so long a delivery that was asked for is taken to be on its way: redelivery is asynchronous, and the log shows it only afterwards.
pub const UNDER_WAY: Duration = Duration::from_secs(5 * 60);

/// How long the schedule waits after a first redelivery that failed; twice as long after each further one.
pub const FIRST_PAUSE: Duration = Duration::from_secs(10 * 60);

/// After this many redeliveries that failed the schedule gives up. With the growing pauses the last one is asked for some 43 hours after the
/// first, so whatever is mended within a day and a half is caught up with.
pub const MAX_REDELIVERIES: u32 = 9;

/// One attempt at a delivery, as a provider's log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Names the attempt at the provider: what a redelivery is asked for with.
    pub id: String,
    /// Names the delivery, the same for each attempt at it: what the bridge knows the event by.
    pub delivery: String,
    /// Event type.
    pub event: String,
    /// When it was made.
    pub at: Timestamp,
    /// Somebody had asked for it.
    pub redelivery: bool,
    /// HTTP status of the answer, if the provider says one. Where no connection came about, providers write one of their own.
    pub status: Option<u16>,
    /// What came of it, in the provider's words.
    pub outcome: String,
}

impl Attempt {
    fn arrived(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// Who asks for redeliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The schedule: with growing pauses, and not for ever.
    Schedule,
    /// A person, who has mended something: at once, and however often it failed before.
    Person,
}

/// What is done about a missed delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ask for it.
    Ask,
    /// Leave it.
    Skip(Reason),
}

/// Why a missed delivery is not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was first delivered longer ago than [`KEPT`], or before what the log still has.
    TooOld,
    /// It was asked for within [`UNDER_WAY`].
    UnderWay,
    /// Its last redelivery failed: the schedule asks again then.
    Pausing {
        /// When.
        until: Timestamp,
    },
    /// [`MAX_REDELIVERIES`] failed: the schedule asks no more, a person may.
    GivenUp,
    /// It was answered with 413: the same bytes are too large each time.
    TooLarge,
}

impl Reason {
    /// Stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::TooOld => "too_old",
            Reason::UnderWay => "under_way",
            Reason::Pausing { .. } => "pausing",
            Reason::GivenUp => "given_up",
            Reason::TooLarge => "too_large",
        }
    }
}

/// A delivery none of whose attempts arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The attempt to ask for again: the newest, which the provider keeps longest.
    pub id: String,
    /// Names the delivery.
    pub delivery: String,
    /// Event type.
    pub event: String,
    /// When it was first delivered, as far as the log was read.
    pub first_at: Timestamp,
    /// When it was last delivered.
    pub last_at: Timestamp,
    /// HTTP status of the last attempt.
    pub status: Option<u16>,
    /// What came of the last attempt, in the provider's words.
    pub outcome: String,
    /// How many redeliveries failed.
    pub redeliveries: u32,
    /// What is done about it.
    pub verdict: Verdict,
}

/// What one process has asked for lately, for the moments in which the log does not show it yet: schedules that piled up while nothing ran
/// come all at once. Two processes may still ask for the same delivery; it then arrives twice and acts once.
#[derive(Clone, Debug, Default)]
pub struct Asked(BTreeMap<String, Timestamp>);

impl Asked {
    /// Remembers that a delivery was asked for, and forgets what is no longer under way.
    pub fn note(&mut self, delivery: &str, now: Timestamp) {
        self.0.retain(|_, at| at.until(now) < UNDER_WAY);
        self.0.insert(delivery.to_owned(), now);
    }

    fn is_under_way(&self, delivery: &str, now: Timestamp) -> bool {
        self.0.get(delivery).is_some_and(|at| at.until(now) < UNDER_WAY)
    }
}

/// How long the schedule waits after so many redeliveries that failed.
#[must_use]
pub fn pause(redeliveries: u32) -> Duration {
    match redeliveries {
        0 => Duration::ZERO,
        some => FIRST_PAUSE.saturating_mul(1 << (some - 1).min(16)),
    }
}

/// The deliveries first made since `since` of which no attempt in the log arrived, oldest first, each once.
///
/// The log may be read in part, from its newest end: what arrived after it had failed is newer than the failure, so it has been read too.
#[must_use]
pub fn missed(attempts: &[Attempt], asked: &Asked, by: By, since: Timestamp, now: Timestamp) -> Vec<Missed> {
    let mut deliveries: BTreeMap<&str, Vec<&Attempt>> = BTreeMap::new();
    for attempt in attempts {
        deliveries.entry(&attempt.delivery).or_default().push(attempt);
    }
    let kept_since = now.minus(KEPT);
    let mut missed: Vec<Missed> = deliveries
        .into_values()
        .filter(|attempts| !attempts.iter().any(|attempt| attempt.arrived()))
        .filter_map(|mut attempts| {
            // Where two have the same moment, the redelivery is the later one.
            attempts.sort_by_key(|attempt| (attempt.at, attempt.redelivery));
            let (first, last) = (*attempts.first()?, *attempts.last()?);
            let is_whole = !first.redelivery;
            // A first delivery that is not in what was read lies before it.
            let is_since = (is_whole && first.at >= since) || since <= kept_since;
            is_since.then(|| {
                let redeliveries = attempts.iter().filter(|attempt| attempt.redelivery).count();
                let redeliveries = u32::try_from(redeliveries).unwrap_or(u32::MAX);
                let is_kept = is_whole && first.at >= kept_since;
                let verdict = verdict(last, redeliveries, is_kept, asked, by, now);
                Missed {
                    id: last.id.clone(),
                    delivery: last.delivery.clone(),
                    event: last.event.clone(),
                    first_at: first.at,
                    last_at: last.at,
                    status: last.status,
                    outcome: last.outcome.clone(),
                    redeliveries,
                    verdict,
                }
            })
        })
        .collect();
    missed.sort_by(|a, b| (a.first_at, &a.delivery).cmp(&(b.first_at, &b.delivery)));
    missed
}

fn verdict(last: &Attempt, redeliveries: u32, is_kept: bool, asked: &Asked, by: By, now: Timestamp) -> Verdict {
    if !is_kept {
        return Verdict::Skip(Reason::TooOld);
    }
    if last.status == Some(413) {
        return Verdict::Skip(Reason::TooLarge);
    }
    if asked.is_under_way(&last.delivery, now) || (last.redelivery && last.at.until(now) < UNDER_WAY) {
        return Verdict::Skip(Reason::UnderWay);
    }
    if by == By::Person {
        return Verdict::Ask;
    }
    if redeliveries >= MAX_REDELIVERIES {
        return Verdict::Skip(Reason::GivenUp);
    }
    let until = last.at.plus(pause(redeliveries));
    if now < until { Verdict::Skip(Reason::Pausing { until }) } else { Verdict::Ask }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
