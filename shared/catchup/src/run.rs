//! Reading a provider's log over HTTP and asking for what was missed.

use crate::error::CatchUpError;
use crate::plan::{Asked, Attempt, By, Missed, Reason, Verdict, missed};
use crate::provider::{Judged, Log, Next};
use clawbridge_clock::Timestamp;
use clawbridge_config::CatchUp;
use clawbridge_outbound::{Outbound, Received};
use clawbridge_tasks::Code;
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};
use std::time::{Duration, Instant};

/// Pages that a run reads at most: 10,000 attempts at GitHub.
pub const MAX_PAGES: usize = 100;

/// Redeliveries that a run asks for at most. With [`MAX_PAGES`] that keeps below GitHub's secondary limits even where a run takes seconds:
/// 900 points a minute (a page is one, a redelivery five) and 80 writing requests a minute; and four runs an hour keep below 500 an hour.
/// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits>
pub const MAX_REDELIVERIES_PER_RUN: usize = 75;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(10);

/// A request that has less time than this is not begun.
const SHORTEST_REQUEST: Duration = Duration::from_millis(200);

/// How much of an answer is read. A page of GitHub's has some 60 KB.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// What a run is to do.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Where the log is.
    pub log: &'a CatchUp,
    /// What the provider's API is asked with.
    pub token: &'a str,
    /// Who asks.
    pub by: By,
    /// Deliveries first made before are left alone.
    pub since: Timestamp,
    /// Find out and ask for nothing.
    pub dry_run: bool,
    /// When the run begins.
    pub now: Timestamp,
    /// How long it may take. Half of it may be spent on reading.
    pub left: Duration,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Attempts of the log that were read.
    pub looked_at: usize,
    /// What was missed, oldest first.
    pub missed: Vec<Found>,
    /// Why it ended.
    pub stopped: Stopped,
}

/// A missed delivery and what was done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The delivery.
    pub missed: Missed,
    /// What was done.
    pub fate: Fate,
}

/// What was done about a missed delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The provider was asked and will redeliver.
    Asked,
    /// The provider was asked and will not.
    Refused,
    /// It would have been asked for, but this run was over, or only a rehearsal.
    Left,
    /// It is not worth asking for now.
    Skipped(Reason),
}

impl Fate {
    /// Stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Fate::Asked => "asked",
            Fate::Refused => "refused",
            Fate::Left => "left",
            Fate::Skipped(reason) => reason.as_str(),
        }
    }
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// There is nothing more to do.
    Done,
    /// The log goes on beyond [`MAX_PAGES`] pages. What was found on them was asked for.
    Pages,
    /// [`MAX_REDELIVERIES_PER_RUN`] were asked for.
    Redeliveries,
    /// Its time was up.
    Deadline,
    /// The log's next page is said to be at another server. What was found before it was asked for.
    NextElsewhere,
    /// The provider wants fewer requests.
    RateLimited {
        /// From when on it may be asked again.
        until: Timestamp,
    },
    /// Something has to be mended, or passes.
    Failed(CatchUpError),
}

impl Stopped {
    /// Stable word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Stopped::Done => "done",
            Stopped::Pages => "pages",
            Stopped::Redeliveries => "redeliveries",
            Stopped::Deadline => "deadline",
            Stopped::NextElsewhere => "next_elsewhere",
            Stopped::RateLimited { .. } => "rate_limited",
            Stopped::Failed(_) => "failed",
        }
    }
}

impl Report {
    /// A run that could not begin.
    #[must_use]
    pub fn failed(error: CatchUpError) -> Report {
        Report { looked_at: 0, missed: Vec::new(), stopped: Stopped::Failed(error) }
    }

    /// How many were asked for.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.count(Fate::Asked)
    }

    /// How many the next run is to ask for.
    #[must_use]
    pub fn left(&self) -> usize {
        self.count(Fate::Left)
    }

    fn count(&self, fate: Fate) -> usize {
        self.missed.iter().filter(|found| found.fate == fate).count()
    }
}

/// Reads the log and asks for what was missed.
pub async fn run(outbound: &Outbound, order: &Order<'_>, asked: &mut Asked) -> Report {
    let log = Log::from(order.log);
    let headers = match log.headers(order.token) {
        Ok(headers) => headers,
        Err(error) => return Report::failed(error),
    };
    let begun = Instant::now();
    let mut session = Session { outbound, log, headers, order, begun, end: begun + order.left / 2, used_up: None };
    let mut attempts = Vec::new();
    let read = session.read(&mut attempts).await;
    let found = missed(&attempts, asked, order.by, order.since, order.now);
    let mut found: Vec<Found> = found
        .into_iter()
        .map(|missed| match missed.verdict {
            Verdict::Ask => Found { missed, fate: Fate::Left },
            Verdict::Skip(reason) => Found { missed, fate: Fate::Skipped(reason) },
        })
        .collect();
    session.end = begun + order.left;
    let stopped = match read {
        // Who cannot be read cannot be asked.
        read @ (Stopped::Failed(_) | Stopped::RateLimited { .. }) => read,
        read if order.dry_run => read,
        read => match session.ask(&mut found, asked).await {
            Stopped::Done => read,
            asked => asked,
        },
    };
    Report { looked_at: attempts.len(), missed: found, stopped }
}

/// Requests of one run.
struct Session<'a> {
    outbound: &'a Outbound,
    log: Log<'a>,
    headers: HeaderMap,
    order: &'a Order<'a>,
    begun: Instant,
    end: Instant,
    /// The rate limit allows no request before then.
    used_up: Option<Timestamp>,
}

/// A request that got no answer.
struct Unanswered {
    stopped: Stopped,
    may_have_acted: bool,
}

impl Session<'_> {
    /// Reads pages, newest first, until what they hold is too old to be of interest.
    async fn read(&mut self, attempts: &mut Vec<Attempt>) -> Stopped {
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let (page, next) = match self.page(cursor.as_deref()).await {
                Ok(page) => page,
                Err(stopped) => return stopped,
            };
            // Not the last alone: nothing promises that a page is sorted to the second.
            let goes_on = page.iter().any(|attempt| attempt.at >= self.order.since);
            attempts.extend(page);
            cursor = match next {
                Next::Cursor(next) if goes_on => Some(next),
                Next::Elsewhere if goes_on => return Stopped::NextElsewhere,
                Next::Cursor(_) | Next::Elsewhere | Next::End => return Stopped::Done,
            };
        }
        Stopped::Pages
    }

    async fn page(&mut self, cursor: Option<&str>) -> Result<(Vec<Attempt>, Next), Stopped> {
        let url = self.log.page_url(cursor).map_err(Stopped::Failed)?;
        let answer = self.send(Method::GET, url.clone()).await.map_err(|unanswered| unanswered.stopped)?;
        match self.log.judge_page(&answer, self.now()) {
            Judged::Good if answer.cut => {
                let reason = format!("a page of the log is larger than {MAX_ANSWER_BYTES} bytes");
                Err(Stopped::Failed(CatchUpError::Unexpected(reason)))
            }
            Judged::Good => self.log.page(&answer, &url).map_err(Stopped::Failed),
            Judged::RateLimited { until } => Err(Stopped::RateLimited { until }),
            Judged::Failed(error) => Err(Stopped::Failed(error)),
            Judged::Refused => Err(Stopped::Failed(CatchUpError::HookNotFound)),
        }
    }

    /// Asks for what is left, oldest first.
    async fn ask(&mut self, found: &mut [Found], asked: &mut Asked) -> Stopped {
        let left = found.iter_mut().filter(|found| found.fate == Fate::Left);
        for (requests, found) in left.enumerate() {
            if requests == MAX_REDELIVERIES_PER_RUN {
                return Stopped::Redeliveries;
            }
            let url = match self.log.redelivery_url(&found.missed.id) {
                Ok(url) => url,
                Err(error) => return Stopped::Failed(error),
            };
            let answer = match self.send(Method::POST, url).await {
                Ok(answer) => answer,
                Err(unanswered) => {
                    if unanswered.may_have_acted {
                        asked.note(&found.missed.delivery, self.now());
                    }
                    return unanswered.stopped;
                }
            };
            match self.log.judge_redelivery(&answer, self.now()) {
                Judged::Good => {
                    found.fate = Fate::Asked;
                    asked.note(&found.missed.delivery, self.now());
                }
                Judged::Refused => found.fate = Fate::Refused,
                Judged::RateLimited { until } => return Stopped::RateLimited { until },
                Judged::Failed(error) => return Stopped::Failed(error),
            }
        }
        Stopped::Done
    }

    async fn send(&mut self, method: Method, url: Url) -> Result<Received, Unanswered> {
        let unsent = |stopped| Unanswered { stopped, may_have_acted: false };
        if let Some(until) = self.used_up.filter(|until| self.now() < *until) {
            return Err(unsent(Stopped::RateLimited { until }));
        }
        let limit = self.end.saturating_duration_since(Instant::now()).min(REQUEST);
        if limit < SHORTEST_REQUEST {
            return Err(unsent(Stopped::Deadline));
        }
        let sent = self.outbound.send(method, url, self.headers.clone(), limit, MAX_ANSWER_BYTES).await;
        let answer = sent.map_err(|error| Unanswered {
            may_have_acted: error.may_have_acted,
            stopped: match error.code {
                // Cut off by the run's own end, not by the provider.
                Code::Timeout if limit < REQUEST => Stopped::Deadline,
                _ => Stopped::Failed(error.into()),
            },
        })?;
        self.used_up = self.log.used_up(&answer, self.now());
        Ok(answer)
    }

    fn now(&self) -> Timestamp {
        self.order.now.plus(self.begun.elapsed())
    }
}
