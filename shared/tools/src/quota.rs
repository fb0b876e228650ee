//! What an answer's headers tell beside the answer: how many more calls the upstream takes, and what it calls this one. Pure.

use clawbridge_clock::Timestamp;
use reqwest::header::HeaderMap;
use std::time::Duration;

/// How many more calls the upstream takes. APIs tell it with most answers, so that a caller need not run into a 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// So many, of whatever unit the API counts.
    pub remaining: u64,
    /// When there are more, as far as the API says.
    pub reset_at: Option<Timestamp>,
}

impl Quota {
    /// How long to wait where nothing remains.
    #[must_use]
    pub fn wait(&self, now: Timestamp) -> Option<Duration> {
        (self.remaining == 0).then_some(self.reset_at).flatten().map(|at| now.until(at))
    }
}

/// A number from here on is a point in time in milliseconds since 1970, and not in seconds.
const EPOCH_MILLIS_FROM: f64 = 1e11;

/// A number from here on is a point in time in seconds since 1970, and not a time to wait.
const EPOCH_SECONDS_FROM: f64 = 1e9;

/// No quota is believed to be gone for longer.
const LONGEST: Duration = Duration::from_secs(32 * 24 * 60 * 60);

/// Shopify's REST Admin API gives back two calls a second, half a second each
/// (<https://shopify.dev/docs/api/admin-rest/usage/rate-limits>).
const SHOPIFY_REFILL: Duration = Duration::from_millis(500);

/// Pairs of headers: what remains, and when there is more. Of several, the one with the least remaining counts.
const PAIRS: [(&str, &str); 9] = [
    // draft-ietf-httpapi-ratelimit-headers, up to version 06.
    ("ratelimit-remaining", "ratelimit-reset"),
    // Discord tells both; the time to wait does not depend on two clocks.
    ("x-ratelimit-remaining", "x-ratelimit-reset-after"),
    // GitHub: a point in time. Many others: seconds to wait.
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("x-rate-limit-remaining", "x-rate-limit-reset"),
    ("x-rate-limit-remaining", "x-rate-limit-reset-after"),
    // OpenAI: `6m0s`.
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    // Anthropic: RFC 3339.
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
];

/// What `headers` tell of the caller's quota. `None`: nothing.
#[must_use]
pub fn quota(headers: &HeaderMap, now: Timestamp) -> Option<Quota> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let pairs = PAIRS.iter().filter_map(|(remaining, reset)| {
        let remaining = count(text(remaining)?)?;
        Some(Quota { remaining, reset_at: text(reset).and_then(|value| moment(value, now)) })
    });
    let structured = headers.get_all("ratelimit").iter().filter_map(|value| value.to_str().ok());
    let structured = structured.flat_map(|value| policies(value, now));
    let shopify = text("x-shopify-shop-api-call-limit").and_then(|value| shopify(value, now));
    // Of two that are as small, the one that says when.
    pairs.chain(structured).chain(shopify).min_by_key(|quota| (quota.remaining, quota.reset_at.is_none()))
}

/// `40`, `12.0`. Less than nothing is how some write that there is no limit.
fn count(text: &str) -> Option<u64> {
    let number: f64 = text.parse().ok()?;
    // The cast rounds down and is at most the largest number.
    (number >= 0.0).then_some(number as u64)
}

/// `39/40`: used, and how many there are (Shopify).
fn shopify(text: &str, now: Timestamp) -> Option<Quota> {
    let (used, all) = text.split_once('/')?;
    let (used, all) = (used.trim().parse::<u64>().ok()?, all.trim().parse::<u64>().ok()?);
    Some(Quota { remaining: all.saturating_sub(used), reset_at: Some(now.plus(SHOPIFY_REFILL)) })
}

/// The field `RateLimit`: `"default";r=50;t=30, "daily";r=900` (draft-ietf-httpapi-ratelimit-headers from version 08), or
/// `limit=100, remaining=50, reset=30` (versions 03 to 07).
fn policies(text: &str, now: Timestamp) -> Vec<Quota> {
    let mut quotas = Vec::new();
    let (mut remaining, mut reset) = (None, None);
    for item in split(text, ',') {
        let mut parts = split(item, ';').into_iter();
        let name = parts.next().unwrap_or_default();
        match name.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            Some(("remaining", value)) => remaining = count(value),
            Some(("reset", value)) => reset = moment(value, now),
            _ => {}
        }
        let (mut left, mut after) = (None, None);
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key.trim() {
                "r" => left = count(value.trim()),
                "t" => after = moment(value.trim(), now),
                _ => {}
            }
        }
        quotas.extend(left.map(|remaining| Quota { remaining, reset_at: after }));
    }
    quotas.extend(remaining.map(|remaining| Quota { remaining, reset_at: reset }));
    quotas
}

/// The parts of `text` between separators that are not in quotes (RFC 8941 strings).
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |char| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match char {
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            '"' if !was_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        char == separator && !is_quoted
    })
    .collect()
}

/// When: seconds or milliseconds since 1970, seconds to wait, a time such as `6m0s`, RFC 3339, or HTTP's own form of a date. What lies in the
/// past is now.
fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    let at = match text.parse::<f64>() {
        Ok(number) if !number.is_finite() || number < 0.0 => return None,
        Ok(number) if number >= EPOCH_MILLIS_FROM => Timestamp::from_millis(number as i64),
        Ok(number) if number >= EPOCH_SECONDS_FROM => Timestamp::from_millis((number * 1000.0) as i64),
        Ok(number) => now.plus(Duration::from_secs_f64(number)),
        Err(_) => match period(text) {
            Some(period) => now.plus(period),
            None => {
                Timestamp::parse_rfc3339(text).or_else(|| httpdate::parse_http_date(text).ok().map(Timestamp::from))?
            }
        },
    };
    Some(at.max(now)).filter(|at| now.until(*at) <= LONGEST)
}

/// `20ms`, `1s`, `6m0s`, `1h2m3.5s`.
fn period(text: &str) -> Option<Duration> {
    let (mut rest, mut period) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let (number, unit) = rest.split_at(digits);
        let number: f64 = number.parse().ok().filter(|number| *number < EPOCH_SECONDS_FROM)?;
        let letters = unit.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(unit.len());
        let (unit, after) = unit.split_at(letters);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        period = period.checked_add(Duration::from_secs_f64(number * seconds))?;
        rest = after;
    }
    (!text.is_empty()).then_some(period)
}

/// Headers in which upstreams tell what they call a request, the most specific first.
const REQUEST_IDS: [&str; 12] = [
    "x-request-id",
    "request-id",
    "x-amzn-requestid",
    "x-amz-request-id",
    "x-github-request-id",
    "x-shopify-request-id",
    "x-ms-request-id",
    "x-slack-req-id",
    "x-goog-request-id",
    "x-correlation-id",
    "x-trace-id",
    "cf-ray",
];

/// The longest id that is kept, bytes.
const MAX_REQUEST_ID: usize = 128;

/// What the upstream calls this request, for asking its support about it.
#[must_use]
pub fn request_id(headers: &HeaderMap) -> Option<String> {
    let ids = REQUEST_IDS.iter().filter_map(|name| headers.get(*name)).filter_map(|value| value.to_str().ok());
    let is_id = |id: &&str| (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    ids.map(str::trim).find(is_id).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reqwest::header::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        });
        let mut headers = HeaderMap::new();
        pairs.for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }

    /// 2026-11-21T03:40:00Z.
    const NOW: Timestamp = Timestamp::from_millis(1_795_232_400_000);

    #[test]
    fn quotas_are_read_as_each_api_writes_them() {
        type Row = (&'static [(&'static str, &'static str)], Option<(u64, Option<i64>)>);
        // Milliseconds from now until there is more.
        let cases: [Row; 27] = [
            (&[], None),
            (&[("x-ratelimit-limit", "60")], None),
            // GitHub.
            (&[("x-ratelimit-remaining", "56"), ("x-ratelimit-reset", "1795232460")], Some((56, Some(60_000)))),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795232399")], Some((0, Some(0)))),
            // Seconds to wait; decimals; milliseconds since 1970; dates.
            (&[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "30")], Some((1, Some(30_000)))),
            (&[("x-ratelimit-remaining", "12.0"), ("x-ratelimit-reset", "0.5")], Some((12, Some(500)))),
            (&[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "1795232401500")], Some((1, Some(1_500)))),
            (&[("x-rate-limit-remaining", "7"), ("x-rate-limit-reset", "1795232410")], Some((7, Some(10_000)))),
            (&[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "2026-11-21T03:40:09Z")], Some((1, Some(9_000)))),
            (
                &[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "Sat, 21 Nov 2026 03:41:00 GMT")],
                Some((1, Some(60_000))),
            ),
            // Discord.
            (
                &[
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", "1795232499.1"),
                    ("x-ratelimit-reset-after", "1.25"),
                ],
                Some((0, Some(1_250))),
            ),
            // OpenAI, Anthropic.
            (
                &[
                    ("x-ratelimit-remaining-requests", "59"),
                    ("x-ratelimit-reset-requests", "1s"),
                    ("x-ratelimit-remaining-tokens", "0"),
                    ("x-ratelimit-reset-tokens", "6m0s"),
                ],
                Some((0, Some(360_000))),
            ),
            (
                &[
                    ("anthropic-ratelimit-requests-remaining", "4"),
                    ("anthropic-ratelimit-requests-reset", "2026-11-21T03:41:00Z"),
                ],
                Some((4, Some(60_000))),
            ),
            // The drafts of RateLimit, oldest first.
            (&[("ratelimit-remaining", "0"), ("ratelimit-reset", "50")], Some((0, Some(50_000)))),
            (&[("ratelimit", "limit=100, remaining=50, reset=5")], Some((50, Some(5_000)))),
            (&[("ratelimit", "\"default\";r=0;t=30")], Some((0, Some(30_000)))),
            (&[("ratelimit", "default;r=50;t=30")], Some((50, Some(30_000)))),
            (&[("ratelimit", "\"per;r=1,minute\";r=50;t=30, \"day\"; r=9 ;t=100")], Some((9, Some(100_000)))),
            (&[("ratelimit", "\"a\";r=5"), ("ratelimit", "\"b\\\"\";r=3")], Some((3, None))),
            // Shopify.
            (&[("x-shopify-shop-api-call-limit", "39/40")], Some((1, Some(500)))),
            (&[("x-shopify-shop-api-call-limit", "40/40")], Some((0, Some(500)))),
            (&[("x-shopify-shop-api-call-limit", "41/40")], Some((0, Some(500)))),
            // What is nonsense, or no limit.
            (&[("x-ratelimit-remaining", "-1"), ("x-ratelimit-reset", "0")], None),
            (&[("x-ratelimit-remaining", "many")], None),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "soon")], Some((0, None))),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "9999999999")], Some((0, None))),
            (&[("x-shopify-shop-api-call-limit", "40"), ("ratelimit", ";;,=,\"")], None),
        ];
        for (pairs, expected) in cases {
            let expected = expected.map(|(remaining, ms)| Quota {
                remaining,
                reset_at: ms.map(|ms| Timestamp::from_millis(NOW.millis() + ms)),
            });
            assert_eq!(quota(&headers(pairs), NOW), expected, "{pairs:?}");
        }
    }

    #[test]
    fn one_waits_only_where_nothing_remains() {
        let quota = |remaining, reset_at| Quota { remaining, reset_at };
        let later = NOW.plus(Duration::from_secs(9));
        assert_eq!(quota(0, Some(later)).wait(NOW), Some(Duration::from_secs(9)));
        assert_eq!(quota(0, Some(NOW)).wait(later), Some(Duration::ZERO));
        assert_eq!((quota(1, Some(later)).wait(NOW), quota(0, None).wait(NOW)), (None, None));
    }

    #[test]
    fn a_request_is_known_by_the_upstreams_own_name() {
        let long = "x".repeat(129);
        type Row<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let cases: [Row<'_>; 7] = [
            (&[], None),
            (&[("request-id", "req_1")], Some("req_1")),
            (&[("cf-ray", "8f-FRA"), ("x-request-id", "r-1")], Some("r-1")),
            (&[("x-amzn-requestid", " a-b ")], Some("a-b")),
            (&[("x-request-id", "two words"), ("x-github-request-id", "A:B")], Some("A:B")),
            (&[("x-request-id", &long)], None),
            (&[("x-request-id", "")], None),
        ];
        for (pairs, expected) in cases {
            assert_eq!(request_id(&headers(pairs)).as_deref(), expected, "{pairs:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(
            value in "[ -~]{0,40}", number in "-?[0-9]{0,30}(\\.[0-9]{0,5})?(e[0-9]{1,3})?[smhd]{0,2}", now in any::<i64>(),
        ) {
            for text in [&value, &number] {
                for name in PAIRS.iter().flat_map(|(remaining, reset)| [*remaining, *reset]) {
                    let _ = quota(&headers(&[("x-ratelimit-remaining", "0"), (name, text)]), Timestamp::from_millis(now));
                }
                let _ = quota(&headers(&[("ratelimit", text)]), Timestamp::from_millis(now));
                let _ = quota(&headers(&[("x-shopify-shop-api-call-limit", text)]), Timestamp::from_millis(now));
            }
        }
    }
}
