//! What differs between providers: where their logs are, how those are read, and what their answers mean.
//!
//! A provider is a module of pure functions like [`github`](crate::github) and an arm in each match here.

use crate::error::CatchUpError;
use crate::github;
use crate::plan::Attempt;
use clawbridge_clock::Timestamp;
use clawbridge_config::{CatchUp, GithubLog};
use clawbridge_outbound::Received;
use reqwest::Url;
use reqwest::header::HeaderMap;

/// What is done with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It did what was asked.
    Good,
    /// Too many requests.
    RateLimited {
        /// From when on the provider may be asked again.
        until: Timestamp,
    },
    /// The provider will not redeliver this one, which says nothing of the others.
    Refused,
    /// Nothing more can be done in this run.
    Failed(CatchUpError),
}

/// Where the log goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nowhere.
    End,
    /// At this cursor.
    Cursor(String),
    /// At another server, or without a cursor: it is not followed.
    Elsewhere,
}

/// The log of a provider.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Log<'a> {
    Github(&'a GithubLog),
}

impl<'a> From<&'a CatchUp> for Log<'a> {
    fn from(declared: &'a CatchUp) -> Log<'a> {
        match declared {
            CatchUp::Github(log) => Log::Github(log),
        }
    }
}

impl Log<'_> {
    /// The headers of each request.
    pub(crate) fn headers(self, token: &str) -> Result<HeaderMap, CatchUpError> {
        match self {
            Log::Github(_) => github::headers(token),
        }
    }

    /// The address of a page, with GET; without a cursor that of the newest.
    pub(crate) fn page_url(self, cursor: Option<&str>) -> Result<Url, CatchUpError> {
        match self {
            Log::Github(log) => github::page_url(log, cursor),
        }
    }

    /// What the page at `url` holds, and where the log goes on.
    pub(crate) fn page(self, answer: &Received, url: &Url) -> Result<(Vec<Attempt>, Next), CatchUpError> {
        match self {
            Log::Github(_) => Ok((github::page(&answer.body)?, github::next(&answer.headers, url))),
        }
    }

    /// The address at which the redelivery of an attempt is asked for, with POST.
    pub(crate) fn redelivery_url(self, id: &str) -> Result<Url, CatchUpError> {
        match self {
            Log::Github(log) => github::attempts_url(log, id),
        }
    }

    /// What the answer to a request for a page means.
    pub(crate) fn judge_page(self, answer: &Received, now: Timestamp) -> Judged {
        match self {
            Log::Github(_) => github::judge(true, answer.status, &answer.headers, &answer.body, now),
        }
    }

    /// What the answer to a request for a redelivery means.
    pub(crate) fn judge_redelivery(self, answer: &Received, now: Timestamp) -> Judged {
        match self {
            Log::Github(_) => github::judge(false, answer.status, &answer.headers, &answer.body, now),
        }
    }

    /// Whether this was the last request that the rate limit allows, and from when on there are more.
    pub(crate) fn used_up(self, answer: &Received, now: Timestamp) -> Option<Timestamp> {
        match self {
            Log::Github(_) => github::used_up(&answer.headers, now),
        }
    }
}
