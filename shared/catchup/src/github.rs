//! GitHub's log of a webhook's deliveries, and how GitHub is asked to redeliver.
//!
//! <https://docs.github.com/en/rest/repos/webhooks#list-deliveries-for-a-repository-webhook>,
//! <https://docs.github.com/en/rest/repos/webhooks#redeliver-a-delivery-for-a-repository-webhook>; for organizations the same below
//! `/orgs/ORG`.

use crate::error::CatchUpError;
use crate::plan::Attempt;
use crate::provider::{Judged, Next};
use clawbridge_clock::Timestamp;
use clawbridge_config::GithubLog;
use reqwest::Url;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LINK, RETRY_AFTER};
use serde::Deserialize;
use std::time::Duration;

/// The most attempts that GitHub puts on a page.
const PER_PAGE: &str = "100";

/// The version of the REST API that this was written for. <https://docs.github.com/en/rest/about-the-rest-api/api-versions>
const API_VERSION: HeaderValue = HeaderValue::from_static("2022-11-28");

/// How long to leave GitHub alone where it says that there were too many requests, but not for how long.
/// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit>
const LEAST_WAIT: Duration = Duration::from_secs(60);

/// The longest cursor that is passed on, bytes. GitHub's have some 25.
const MAX_CURSOR_BYTES: usize = 512;

/// The address of a page of the log.
pub(crate) fn page_url(log: &GithubLog, cursor: Option<&str>) -> Result<Url, CatchUpError> {
    let mut url = parse(&format!("{}/{}/deliveries", log.api, log.hook))?;
    url.query_pairs_mut().append_pair("per_page", PER_PAGE).extend_pairs(cursor.map(|cursor| ("cursor", cursor)));
    Ok(url)
}

/// The address at which a redelivery is asked for, with POST.
pub(crate) fn attempts_url(log: &GithubLog, id: &str) -> Result<Url, CatchUpError> {
    parse(&format!("{}/{}/deliveries/{id}/attempts", log.api, log.hook))
}

fn parse(url: &str) -> Result<Url, CatchUpError> {
    Url::parse(url).map_err(|error| CatchUpError::Unexpected(format!("the address of the log is no URL: {error}")))
}

/// The headers of each request.
pub(crate) fn headers(token: &str) -> Result<HeaderMap, CatchUpError> {
    let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| CatchUpError::NoToken("the token is not a text that a header can carry".to_owned()))?;
    bearer.set_sensitive(true);
    Ok(HeaderMap::from_iter([
        (ACCEPT, HeaderValue::from_static("application/vnd.github+json")),
        (HeaderName::from_static("x-github-api-version"), API_VERSION),
        (AUTHORIZATION, bearer),
    ]))
}

/// An item of the log, as far as it is used.
#[derive(Deserialize)]
struct Item {
    id: u64,
    guid: String,
    delivered_at: String,
    #[serde(default)]
    redelivery: bool,
    status: Option<String>,
    status_code: Option<i64>,
    event: Option<String>,
    action: Option<String>,
}

/// The attempts of a page.
pub(crate) fn page(body: &[u8]) -> Result<Vec<Attempt>, CatchUpError> {
    // serde_json's words could quote the answer.
    let unexpected = |what: &str| CatchUpError::Unexpected(format!("the answer is not a log of deliveries: {what}"));
    let items: Vec<Item> = serde_json::from_slice(body).map_err(|_| unexpected("no list of id, guid, delivered_at"))?;
    items
        .into_iter()
        .map(|item| {
            let at = Timestamp::parse_rfc3339(&item.delivered_at)
                .ok_or_else(|| unexpected("delivered_at is no point in time"))?;
            // As `identify` names the type of a delivery that comes in.
            let event = match (item.event.unwrap_or_default(), item.action) {
                (event, Some(action)) => format!("{event}.{action}"),
                (event, None) => event,
            };
            Ok(Attempt {
                id: item.id.to_string(),
                delivery: item.guid,
                event,
                at,
                redelivery: item.redelivery,
                status: item.status_code.and_then(|code| u16::try_from(code).ok()),
                outcome: item.status.unwrap_or_default(),
            })
        })
        .collect()
}

/// Where the log goes on after the page at `url`. Only the cursor is taken from GitHub's link (RFC 8288): the rest of the next address is
/// our own, so that no answer can send the token elsewhere.
pub(crate) fn next(headers: &HeaderMap, url: &Url) -> Next {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let Some(target) = links.filter_map(next_target).next() else { return Next::End };
    let Ok(target) = url.join(target) else { return Next::Elsewhere };
    if target.origin() != url.origin() {
        return Next::Elsewhere;
    }
    let cursor = target.query_pairs().find(|(name, _)| name == "cursor").map(|(_, cursor)| cursor.into_owned());
    match cursor {
        Some(cursor) if (1..=MAX_CURSOR_BYTES).contains(&cursor.len()) => Next::Cursor(cursor),
        Some(_) | None => Next::Elsewhere,
    }
}

/// The target of the link whose relation is `next`.
fn next_target(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (target, after) = rest.split_once('<')?.1.split_once('>')?;
        // A comma ends the parameters; the next target begins with its bracket.
        let end = after.find(",").unwrap_or(after.len());
        let is_next = after[..end].split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            name.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_matches('"').split(' ').any(|rel| rel.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target);
        }
        rest = &after[end..];
    }
}

/// Whether this was the last request that the rate limit allows, and from when on there are more.
pub(crate) fn used_up(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    (number(headers, "x-ratelimit-remaining") == Some(0)).then(|| wait_until(headers, now))
}

/// What an answer to a request for a page (`is_page`) or for a redelivery means.
pub(crate) fn judge(is_page: bool, status: u16, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Judged {
    match status {
        200 if is_page => Judged::Good,
        200..=299 if !is_page => Judged::Good,
        403 | 429 if status == 429 || is_rate_limit(headers, body) => {
            Judged::RateLimited { until: wait_until(headers, now) }
        }
        401 => Judged::Failed(CatchUpError::TokenRefused),
        403 => Judged::Failed(CatchUpError::TokenForbidden),
        404 if is_page => Judged::Failed(CatchUpError::HookNotFound),
        400 | 404 | 409 | 410 | 422 if !is_page => Judged::Refused,
        500..=599 => Judged::Failed(CatchUpError::Unavailable(format!("the provider answered {status}"))),
        _ => Judged::Failed(CatchUpError::Unexpected(format!("the provider answered {status}"))),
    }
}

/// A 403 is GitHub's word for a missing permission and for too many requests. Of a secondary limit it may say so in the text alone.
fn is_rate_limit(headers: &HeaderMap, body: &[u8]) -> bool {
    let says_so = |text: &str| text.to_ascii_lowercase().contains("rate limit");
    headers.contains_key(RETRY_AFTER)
        || number(headers, "x-ratelimit-remaining") == Some(0)
        || says_so(&String::from_utf8_lossy(body))
}

fn wait_until(headers: &HeaderMap, now: Timestamp) -> Timestamp {
    if let Some(seconds) = number(headers, RETRY_AFTER.as_str()) {
        return now.plus(Duration::from_secs(seconds));
    }
    let reset = number(headers, "x-ratelimit-reset").and_then(|at| i64::try_from(at).ok());
    match reset {
        Some(at) if number(headers, "x-ratelimit-remaining") == Some(0) => {
            Timestamp::from_millis(at.saturating_mul(1000)).max(now)
        }
        _ => now.plus(LEAST_WAIT),
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
#[path = "github_tests.rs"]
mod tests;
