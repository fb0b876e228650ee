//! What is kept, for how long, and how often something is fetched. Pure: the time is an argument.

use crate::{Freshness, KeysError};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const FRESH: Duration = Duration::from_secs(24 * 3600);
const NEWER: Duration = Duration::from_secs(60);
/// How long a copy goes on being used when no newer one can be had.
const STALE: Duration = Duration::from_secs(48 * 3600);
/// How long a failure is remembered.
const FAILED: Duration = Duration::from_secs(30);

/// Documents kept at most. A deployment needs a handful; strangers can name more.
const MAX_KEPT: usize = 32;

/// Fetches at once, and then one for each second.
const BURST: u32 = 10;

#[derive(Debug, Default)]
pub(crate) struct Kept {
    documents: HashMap<String, Document>,
    spent: u32,
    since: Option<Instant>,
}

#[derive(Debug)]
struct Document {
    bytes: Option<(Arc<[u8]>, Instant)>,
    failed: Option<(KeysError, Instant)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Document(Arc<[u8]>),
    Failed(KeysError),
    Fetch,
}

impl Kept {
    /// What is known of the document at `url`; [`Found::Fetch`] means that it is to be fetched now, and counts as a fetch.
    pub(crate) fn find(&mut self, url: &str, freshness: Freshness, now: Instant) -> Found {
        let age = match freshness {
            Freshness::Kept => FRESH,
            Freshness::Newer => NEWER,
        };
        let mut old = None;
        if let Some(document) = self.documents.get(url) {
            if let Some((bytes, at)) = &document.bytes {
                let since = now.saturating_duration_since(*at);
                if since < age {
                    return Found::Document(bytes.clone());
                }
                old = (since < STALE).then(|| bytes.clone());
            }
            if let Some((error, at)) = &document.failed
                && now.saturating_duration_since(*at) < FAILED
            {
                return old.map_or_else(|| Found::Failed(error.clone()), Found::Document);
            }
        }
        match (self.may_fetch(now), old) {
            (true, _) => Found::Fetch,
            (false, Some(old)) => Found::Document(old),
            (false, None) => Found::Failed(KeysError::Throttled),
        }
    }

    /// Whether one more thing may be fetched, which then counts.
    pub(crate) fn may_fetch(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let seconds = u32::try_from(now.saturating_duration_since(since).as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            self.spent = self.spent.saturating_sub(seconds);
            self.since = Some(now);
        }
        let may = self.spent < BURST;
        self.spent += u32::from(may);
        may
    }

    /// Keeps what came of a fetch, and says what is to be used: after a failure the copy before, if it is not too old.
    pub(crate) fn keep(
        &mut self,
        url: &str,
        fetched: Result<Bytes, KeysError>,
        now: Instant,
    ) -> Result<Arc<[u8]>, KeysError> {
        if !self.documents.contains_key(url) && self.documents.len() >= MAX_KEPT {
            self.documents.clear();
        }
        let document = self.documents.entry(url.to_owned()).or_insert(Document { bytes: None, failed: None });
        match fetched {
            Ok(bytes) => {
                let bytes: Arc<[u8]> = Arc::from(bytes.as_ref());
                *document = Document { bytes: Some((bytes.clone(), now)), failed: None };
                Ok(bytes)
            }
            Err(error) => {
                document.failed = Some((error.clone(), now));
                match &document.bytes {
                    Some((bytes, at)) if now.saturating_duration_since(*at) < STALE => Ok(bytes.clone()),
                    _ => Err(error),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error() -> KeysError {
        KeysError::Unavailable { host: "h".into(), reason: "r".into() }
    }

    #[test]
    fn a_document_is_kept_for_a_day_and_longer_when_there_is_no_newer_one() {
        let (mut kept, start) = (Kept::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(kept.find("u", Freshness::Kept, start), Found::Fetch);
        let document = kept.keep("u", Ok(Bytes::from_static(b"d")), start).expect("kept");
        assert_eq!(kept.find("u", Freshness::Kept, after(86_399)), Found::Document(document.clone()));
        assert_eq!(kept.find("u", Freshness::Newer, after(59)), Found::Document(document.clone()));
        assert_eq!(kept.find("u", Freshness::Newer, after(60)), Found::Fetch);
        assert_eq!(kept.find("u", Freshness::Kept, after(86_400)), Found::Fetch);
        assert_eq!(kept.keep("u", Err(error()), after(86_400)), Ok(document.clone()));
        assert_eq!(kept.find("u", Freshness::Kept, after(86_401)), Found::Document(document));
        assert_eq!(kept.keep("u", Err(error()), after(48 * 3600)), Err(error()));
    }

    #[test]
    fn a_failure_is_remembered_for_half_a_minute() {
        let (mut kept, start) = (Kept::default(), Instant::now());
        assert_eq!(kept.find("u", Freshness::Kept, start), Found::Fetch);
        assert_eq!(kept.keep("u", Err(error()), start), Err(error()));
        assert_eq!(kept.find("u", Freshness::Kept, start + Duration::from_secs(29)), Found::Failed(error()));
        assert_eq!(kept.find("u", Freshness::Kept, start + Duration::from_secs(30)), Found::Fetch);
    }

    #[test]
    fn strangers_cause_ten_fetches_at_once_and_then_one_a_second() {
        let (mut kept, start) = (Kept::default(), Instant::now());
        let mut fetches = |from: u32, now: Instant| {
            (from..from + 50).filter(|n| kept.find(&format!("u{n}"), Freshness::Kept, now) == Found::Fetch).count()
        };
        assert_eq!(fetches(0, start), 10);
        assert_eq!(fetches(100, start + Duration::from_secs(2)), 2);
        assert_eq!(fetches(200, start + Duration::from_secs(3600)), 10);
    }
}
