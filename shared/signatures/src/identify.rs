//! What a verified delivery is: the provider's own id for it, and the type of its event.

use crate::mac::fingerprint;
use crate::pick::pick;
use crate::source::Source;
use crate::table::Place;
use crate::verify::Verified;

/// Longest delivery id that is kept as it is, in characters.
pub const MAX_DELIVERY_ID_CHARS: usize = 256;
/// Longest event type, in characters.
pub const MAX_EVENT_TYPE_CHARS: usize = 128;
/// The type of an event that does not say its type.
pub const UNKNOWN_TYPE: &str = "unknown";

/// The name and the type of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The provider's id of the delivery, the same when it is delivered again: visible ASCII, at most [`MAX_DELIVERY_ID_CHARS`].
    ///
    /// `sha256:` and 64 hexadecimal digits when the provider's own does not fit that form (then the hash of the id), or when there is none
    /// (then the hash of the body, and [`Identity::is_fallback`] says so; of a hint that says only that something changed, or of an empty
    /// body, together with the second of its arrival).
    pub delivery_id: String,
    /// The type as the provider writes it, for routes to match: printable ASCII with `_` for anything else, at most
    /// [`MAX_EVENT_TYPE_CHARS`]; [`UNKNOWN_TYPE`] when there is none.
    pub event_type: String,
    /// The provider gave no id. The hash of the body recognises a repeated delivery, and takes two events with the same bytes for one: a
    /// sender whose bodies can be equal on purpose needs an id or a time in them.
    pub is_fallback: bool,
}

/// Reads what the scheme says about a delivery's identity. `source` is the one that it was verified with.
///
/// The id and type of GitHub's deliveries are in headers that its signature does not cover: who captured a delivery could send it again
/// under another id. With the other schemes the values read here are signed, except for headers that an `hmac` source names and its template
/// does not cover.
pub fn identify(source: &Source, delivery: &Verified<'_>) -> Identity {
    let row = source.identity();
    let header = |place: Option<Place<'_>>| match place {
        Some(Place::Header(name)) => delivery.headers().one(name).ok().flatten().filter(|value| !value.is_empty()),
        Some(Place::Body(_)) | None => None,
    };
    let pointer = |place| match place {
        Some(Place::Body(pointer)) => Some(pointer),
        Some(Place::Header(_)) | None => None,
    };
    let ([id, other_id], [kind, other_kind]) = (row.delivery, row.event_type);
    let pointers = [pointer(id), pointer(other_id), pointer(kind), pointer(other_kind), row.type_suffix];
    let [body_id, other_body_id, body_kind, other_body_kind, suffix] = pick(delivery.body(), pointers);

    let from_body = |text: Option<String>| text.map(String::into_bytes);
    let id = header(id).map(<[u8]>::to_vec).or(from_body(body_id));
    let id = id.or_else(|| header(other_id).map(<[u8]>::to_vec)).or(from_body(other_body_id));
    let kind = header(kind).map(<[u8]>::to_vec).or(from_body(body_kind));
    let kind = kind.or_else(|| header(other_kind).map(<[u8]>::to_vec)).or(from_body(other_body_kind));

    let is_fallback = id.is_none();
    Identity {
        delivery_id: id.map_or_else(|| fingerprint(delivery.body()), |id| delivery_id(&id)),
        event_type: kind.map_or_else(|| UNKNOWN_TYPE.to_owned(), |kind| event_type(&kind, suffix.as_deref())),
        is_fallback,
    }
}

impl Identity {
    /// As of what was received in this second: for bytes that say only that something changed. The second such change must not be taken for the
    /// first; a hint that comes twice costs whoever fetches one look more.
    pub(crate) fn at(self, now_unix_seconds: i64) -> Self {
        Self { delivery_id: fingerprint(format!("{}@{now_unix_seconds}", self.delivery_id).as_bytes()), ..self }
    }
}

/// An identity from its parts; without an id it is the hash of the body.
pub(crate) fn named(id: Option<&[u8]>, kind: Option<&str>, body: &[u8]) -> Identity {
    let id = id.filter(|id| !id.is_empty());
    let kind = kind.filter(|kind| !kind.is_empty());
    Identity {
        delivery_id: id.map_or_else(|| fingerprint(body), delivery_id),
        event_type: kind.map_or_else(|| UNKNOWN_TYPE.to_owned(), |kind| event_type(kind.as_bytes(), None)),
        is_fallback: id.is_none(),
    }
}

fn delivery_id(id: &[u8]) -> String {
    match std::str::from_utf8(id) {
        Ok(text) if text.len() <= MAX_DELIVERY_ID_CHARS && text.bytes().all(|b| b.is_ascii_graphic()) => {
            text.to_owned()
        }
        _ => fingerprint(id),
    }
}

fn event_type(kind: &[u8], suffix: Option<&str>) -> String {
    let mut text = String::from_utf8_lossy(kind).into_owned();
    if let Some(suffix) = suffix {
        text.push('.');
        text.push_str(suffix);
    }
    let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '_' };
    text.chars().take(MAX_EVENT_TYPE_CHARS).map(printable).collect()
}

/// The headers worth keeping with an event of this source: `content-type` and those that say something about the event. Never one that
/// carries a signature or a token: no row names one, and the options of an `hmac` source may not. Names compare without case.
pub fn kept_headers(source: &Source) -> Vec<&str> {
    let mut kept = vec!["content-type"];
    kept.extend(source.scheme().entry().kept);
    let identity = source.identity();
    for place in identity.delivery.into_iter().chain(identity.event_type).flatten() {
        if let Place::Header(name) = place
            && !kept.iter().any(|other| other.eq_ignore_ascii_case(name))
        {
            kept.push(name);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Outgoing, Request, sign, verify};

    const NOW: i64 = 1_790_000_000;

    fn identity(document: &str, body: &[u8], extra: &[(&str, &[u8])]) -> Identity {
        let source = Source::from_secret(document.as_bytes()).expect(document);
        let outgoing = Outgoing { method: "POST", url: None, body, delivery_id: "signed-id", event_type: None };
        let signed = sign(&source, &outgoing, NOW).expect("headers");
        let own = signed.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let kept = own.filter(|(name, _)| !extra.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)));
        let request = Request {
            method: "POST",
            url: None,
            query: "",
            headers: kept.chain(extra.iter().copied()).collect(),
            body,
        };
        let verified = verify(&source, &request, NOW).expect("verified");
        identify(&source, &verified)
    }

    #[test]
    fn each_scheme_finds_its_id_and_type() {
        let stripe = r#"{"scheme":"stripe","secrets":["k"]}"#;
        let github = r#"{"scheme":"github","secrets":["k"]}"#;
        let openclaw = r#"{"scheme":"openclaw","secrets":["k"]}"#;
        let byterover = r#"{"scheme":"byterover","secrets":["k"]}"#;
        let standard = r#"{"scheme":"standard-webhooks","secrets":["whsec_AAAA"]}"#;
        let hmac = r#"{"scheme":"hmac","secrets":["k"],"hmac":{"header":"X-Sig","delivery_header":"X-Id","delivery_pointer":"/meta/id",
            "type_pointer":"/kind"}}"#;
        let event: (&str, &[u8]) = ("x-github-event", b"issues");
        let delivery: (&str, &[u8]) = ("x-github-delivery", b"d-1");
        for (document, body, extra, id, kind) in [
            (stripe, r#"{"id":"evt_1","type":"charge.succeeded"}"#, &[][..], "evt_1", "charge.succeeded"),
            (github, r#"{"action":"opened"}"#, &[event, delivery], "d-1", "issues.opened"),
            (github, r#"{"action":7.5}"#, &[event, delivery], "d-1", "issues"),
            (github, "not json", &[event, delivery], "d-1", "issues"),
            (github, r#"{"action":"opened"}"#, &[delivery], "d-1", "unknown"),
            (byterover, r#"{"id":"a","event_id":"b","type":"t","event":"e"}"#, &[], "a", "t"),
            (byterover, r#"{"event_id":"b","event":"e"}"#, &[], "b", "e"),
            (standard, r#"{"id":"x","type":"user.created"}"#, &[], "signed-id", "user.created"),
            (hmac, r#"{"meta":{"id":7},"kind":"k"}"#, &[("X-Id", b"")], "7", "k"),
            (hmac, r#"{"meta":{"id":7},"kind":"k"}"#, &[("X-Id", b"h")], "h", "k"),
        ] {
            let identity = identity(document, body.as_bytes(), extra);
            assert_eq!((identity.delivery_id.as_str(), identity.event_type.as_str()), (id, kind), "{body}");
            assert!(!identity.is_fallback);
        }
        let body = br#"{"event":"task.completed","timestamp":"2026-03-02T10:35:00Z","data":{}}"#;
        let found = identity(openclaw, body, &[]);
        assert_eq!(
            (found.delivery_id, found.event_type.as_str(), found.is_fallback),
            (fingerprint(body), "task.completed", true)
        );
    }

    #[test]
    fn a_body_without_an_id_is_named_by_its_hash() {
        let stripe = r#"{"scheme":"stripe","secrets":["k"]}"#;
        for body in [&b"not json"[..], b"", b"{\"id\":\"evt_1\"", b"\xff\xfe", b"[]", b"{\"id\":null}"] {
            let found = identity(stripe, body, &[]);
            assert_eq!(
                found,
                Identity { delivery_id: fingerprint(body), event_type: "unknown".into(), is_fallback: true }
            );
        }
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(identity(stripe, b"", &[]).delivery_id, empty);
    }

    #[test]
    fn what_does_not_fit_is_hashed_or_replaced() {
        let stripe = r#"{"scheme":"stripe","secrets":["k"]}"#;
        for (id, as_it_is) in
            [("x".repeat(256), true), ("x".repeat(257), false), ("a b".into(), false), ("é".into(), false)]
        {
            let found = identity(stripe, format!(r#"{{"id":"{id}"}}"#).as_bytes(), &[]);
            assert_eq!(found.delivery_id == id, as_it_is, "{id}");
            assert_eq!(found.delivery_id == fingerprint(id.as_bytes()), !as_it_is, "{id}");
            assert!(!found.is_fallback);
        }
        let found = identity(stripe, "{\"type\":\"Push Höok\\n\"}".as_bytes(), &[]);
        assert_eq!(found.event_type, "Push H_ok_");
        let found = identity(stripe, format!(r#"{{"type":"{}"}}"#, "t".repeat(200)).as_bytes(), &[]);
        assert_eq!(found.event_type, "t".repeat(128));
    }

    #[test]
    fn an_ambiguous_header_names_nothing() {
        let github = r#"{"scheme":"github","secrets":["k"]}"#;
        let found = identity(github, b"{}", &[("X-GitHub-Delivery", b"a"), ("X-GitHub-Delivery", b"b")]);
        assert!(found.is_fallback);
    }

    #[test]
    fn signatures_are_not_kept() {
        for (document, expected) in [
            (r#"{"scheme":"stripe","secrets":["k"]}"#, vec!["content-type"]),
            (r#"{"scheme":"openclaw-token","secrets":["k"]}"#, vec!["content-type"]),
            (
                r#"{"scheme":"standard-webhooks","secrets":["AAAA"]}"#,
                vec!["content-type", "webhook-id", "webhook-timestamp"],
            ),
            (
                r#"{"scheme":"hmac","secrets":["k"],"hmac":{"header":"X-Sig","delivery_header":"X-Id","type_header":"X-Event"}}"#,
                vec!["content-type", "X-Id", "X-Event"],
            ),
        ] {
            assert_eq!(
                kept_headers(&Source::from_secret(document.as_bytes()).expect(document)),
                expected,
                "{document}"
            );
        }
        let github = Source::from_secret(br#"{"scheme":"github","secrets":["k"]}"#).expect("a source");
        assert_eq!(kept_headers(&github).iter().filter(|name| **name == "X-GitHub-Delivery").count(), 1);
        assert!(!kept_headers(&github).contains(&"X-Hub-Signature-256"));
    }
}
