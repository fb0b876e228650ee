//! What holds for every scheme, body and input: what is signed verifies, what is changed does not, and nothing panics.

use clawbridge_signatures::{
    HmacOptions, Outgoing, Received, Request, Scheme, Source, identify, kept_headers, receive, sign, verify,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const NOW: i64 = 1_790_000_000;

/// One document for each scheme, and several for the configurable one.
const DOCUMENTS: &[&str] = &[
    r#"{"scheme":"stripe","secrets":["whsec_k"]}"#,
    r#"{"scheme":"github","secrets":["k","other"]}"#,
    r#"{"scheme":"openclaw","secrets":["k"]}"#,
    r#"{"scheme":"openclaw-token","secrets":["k"]}"#,
    r#"{"scheme":"byterover","secrets":["k"]}"#,
    r#"{"scheme":"standard-webhooks","secrets":["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]}"#,
    r#"{"scheme":"hmac","secrets":["k"],"hmac":{"header":"X-Sig","prefix":"v0=","signed":"v0:{timestamp}:{body}",
       "timestamp_header":"X-Ts","timestamp_unit":"ms","type_header":"X-Event","type_pointer":"/a/0/b"}}"#,
    r#"{"scheme":"hmac","secrets":["6b"],"hmac":{"header":"X-Sig","algorithm":"sha512","encoding":"base64","secret_encoding":"hex",
       "signed":"{method}{url}{id}{body}","delivery_header":"X-Id","delivery_pointer":"/id"}}"#,
    r#"{"scheme":"hmac","secrets":["k"],"hmac":{"header":"X-Sig","list_separator":";","prefix":"h1=","timestamp_prefix":"ts=",
       "signed":"{timestamp}:{body}"}}"#,
];

/// The schemes whose rows say all there is to say: one document each.
const ROWS: &[&str] = &[
    r#"{"scheme":"svix","secrets":["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]}"#,
    r#"{"scheme":"standard-webhooks","secrets":["whsk_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="]}"#,
    r#"{"scheme":"openai","secrets":["plain text"]}"#,
    r#"{"scheme":"anthropic","secrets":["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]}"#,
    r#"{"scheme":"gitlab","secrets":["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="]}"#,
    r#"{"scheme":"gitlab-token","secrets":["k"]}"#,
    r#"{"scheme":"shopify","secrets":["k"]}"#,
    r#"{"scheme":"slack","secrets":["k"]}"#,
    r#"{"scheme":"zoom","secrets":["k"]}"#,
    r#"{"scheme":"meta","secrets":["k"]}"#,
    r#"{"scheme":"bitbucket","secrets":["k"]}"#,
    r#"{"scheme":"jira","secrets":["k"]}"#,
    r#"{"scheme":"intercom","secrets":["k"]}"#,
    r#"{"scheme":"intercom-canvas","secrets":["k"]}"#,
    r#"{"scheme":"telegram","secrets":["k"]}"#,
    r#"{"scheme":"google-channel","secrets":["k"]}"#,
    r#"{"scheme":"okta","secrets":["k"]}"#,
    r#"{"scheme":"square","secrets":["k"]}"#,
    r#"{"scheme":"typeform","secrets":["k"]}"#,
    r#"{"scheme":"calendly","secrets":["k"]}"#,
    r#"{"scheme":"paddle","secrets":["k"]}"#,
    r#"{"scheme":"zendesk","secrets":["k"]}"#,
    r#"{"scheme":"twitch","secrets":["k"]}"#,
    r#"{"scheme":"dropbox","secrets":["k"]}"#,
    r#"{"scheme":"notion","secrets":["k"]}"#,
    r#"{"scheme":"airtable","secrets":["a2V5"]}"#,
    r#"{"scheme":"x","secrets":["k"]}"#,
    r#"{"scheme":"pagerduty","secrets":["k"]}"#,
    r#"{"scheme":"line","secrets":["k"]}"#,
    r#"{"scheme":"hookdeck","secrets":["k"]}"#,
    r#"{"scheme":"hubspot","secrets":["k"]}"#,
    r#"{"scheme":"token","secrets":["k"],"token":{"header":"X-Token","prefix":"Token ","type_pointer":"/type"}}"#,
];

/// Schemes whose proof is made by the provider alone, or stands in the body, so that not every body can be signed here. Their vectors and
/// the tests beside their code stand for them.
const ELSEWHERE: [&str; 9] =
    ["discord", "sendgrid", "linear", "twilio", "mailgun", "microsoft-graph", "salesforce", "aws-sns", "paypal"];

/// Any of the documents.
fn any_document() -> impl Strategy<Value = &'static str> {
    select([DOCUMENTS, ROWS].concat())
}

/// The window of a document's scheme, in seconds.
fn window(document: &str) -> Option<i64> {
    let within = |names: &[&str]| names.iter().any(|name| document.contains(&format!("\"{name}\"")));
    match () {
        () if within(&["calendly"]) => Some(180),
        () if within(&["twitch"]) => Some(600),
        () if within(&["stripe", "standard-webhooks", "svix", "openai", "anthropic", "gitlab"]) => Some(300),
        () if within(&["slack", "zoom", "paddle", "hubspot"]) || document.contains("timestamp") => Some(300),
        () => None,
    }
}

const URL: &str = "https://hooks.example/hooks/a?b=c";

fn source(document: &str) -> Source {
    Source::from_secret(document.as_bytes()).expect(document)
}

fn signed(source: &Source, body: &[u8]) -> Vec<(String, String)> {
    let outgoing = Outgoing { method: "POST", url: Some(URL), body, delivery_id: "d-1", event_type: Some("a.b") };
    sign(source, &outgoing, NOW).expect("every scheme signs this")
}

fn request<'a, V: AsRef<[u8]>>(headers: &'a [(String, V)], body: &'a [u8]) -> Request<'a> {
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_ref())).collect();
    Request { method: "POST", url: Some(URL), query: "b=c", headers, body }
}

/// Headers that are about the event and not covered by the signature.
fn is_signed(document: &str, header: &str) -> bool {
    match header {
        "X-GitHub-Delivery" | "X-GitHub-Event" | "X-Event" => false,
        "X-Id" => document.contains("{id}"),
        _ => true,
    }
}

#[test]
fn the_documents_cover_every_scheme() {
    for scheme in Scheme::all() {
        let here = [DOCUMENTS, ROWS].concat().iter().any(|document| source(document).scheme() == scheme);
        let elsewhere = ELSEWHERE.contains(&scheme.name()) || scheme.name() == "google-pubsub";
        assert!(here != elsewhere, "{scheme}");
    }
}

proptest! {
    #[test]
    fn what_is_signed_verifies(document in any_document(), body in vec(any::<u8>(), 0..200)) {
        let source = source(document);
        let headers = signed(&source, &body);
        let request = request(&headers, &body);
        let verified = verify(&source, &request, NOW).expect("what was signed");
        prop_assert_eq!(verified.body(), &body[..]);
        prop_assert_eq!(verified.secret_index(), 0);
        prop_assert_eq!(verified.scheme(), source.scheme());
    }

    #[test]
    fn any_live_secret_verifies(bodies in vec(any::<u8>(), 0..50), old in "[!-~]{1,40}", new in "[!-~]{1,40}") {
        prop_assume!(old != new);
        let with = |secrets: &[&String]| {
            Source::new(Scheme::parse("github").expect("a scheme"), secrets.iter().map(|s| (*s).clone()).collect(), Default::default())
        };
        let headers = signed(&with(&[&old]).expect("a source"), &bodies);
        let request = request(&headers, &bodies);
        let rotating = with(&[&new, &old]).expect("a source");
        prop_assert_eq!(verify(&rotating, &request, NOW).map(|verified| verified.secret_index()).ok(), Some(1));
        prop_assert!(verify(&with(&[&new]).expect("a source"), &request, NOW).is_err());
    }

    #[test]
    fn a_changed_bit_of_the_body_is_refused(
        document in any_document(), body in vec(any::<u8>(), 1..200), at in any::<Index>(), bit in 0..8_u32,
    ) {
        let source = source(document);
        let headers = signed(&source, &body);
        let mut changed = body.clone();
        changed[at.index(body.len())] ^= 1 << bit;
        let request = request(&headers, &changed);
        prop_assert_eq!(verify(&source, &request, NOW).is_err(), source.scheme().signs_body());
    }

    #[test]
    fn a_longer_or_shorter_body_is_refused(document in any_document(), body in vec(any::<u8>(), 1..200), more in any::<u8>()) {
        let source = source(document);
        let headers = signed(&source, &body);
        let longer = [&body[..], &[more]].concat();
        for other in [&longer[..], &body[..body.len() - 1], &body[1..]] {
            prop_assert_eq!(verify(&source, &request(&headers, other), NOW).is_err(), source.scheme().signs_body());
        }
    }

    #[test]
    fn a_changed_bit_of_a_signed_header_is_refused(
        document in select(DOCUMENTS), body in vec(any::<u8>(), 0..50), header in any::<Index>(), at in any::<Index>(), bit in 0..8_u32,
    ) {
        let source = source(document);
        let mut headers: Vec<(String, Vec<u8>)> =
            signed(&source, &body).into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
        let header = header.index(headers.len());
        let (name, value) = &mut headers[header];
        prop_assume!(is_signed(document, name));
        let at = at.index(value.len());
        let before = value[at];
        value[at] ^= 1 << bit;
        // The bit of case. In hexadecimal and in the word Bearer it changes the spelling and not the value.
        let respelled = bit == 5 && before.is_ascii_alphabetic();
        let hexadecimal = !document.contains("base64") && !document.contains("standard") && before.is_ascii_hexdigit();
        let bearer = document.contains("token") && at < "Bearer".len();
        let prefix = value.iter().position(|b| *b == b'=').is_some_and(|equals| at < equals) && !name.contains("OpenClaw");
        prop_assume!(!(respelled && ((hexadecimal && !prefix) || bearer)));
        let request = request(&headers, &body);
        prop_assert!(verify(&source, &request, NOW).is_err());
    }

    #[test]
    fn a_stranger_does_not_sign(document in any_document(), body in vec(any::<u8>(), 0..50), stranger in "[a-z]{20}") {
        let source = source(document);
        let encoded = if document.contains("hex\"") && document.contains("6b") { hex::encode(&stranger) } else { stranger };
        // A seed or a token of a fixed form is not made of letters: those schemes have no other secret here.
        let Ok(other) = source.with_secrets(vec![encoded]) else { return Ok(()) };
        let headers = signed(&other, &body);
        prop_assert!(verify(&source, &request(&headers, &body), NOW).is_err());
    }

    #[test]
    fn the_window_has_the_same_width_on_both_sides(document in any_document(), offset in -1000_i64..1000) {
        let source = source(document);
        let headers = signed(&source, b"{}");
        let outcome = verify(&source, &request(&headers, b"{}"), NOW + offset).map(|_| ()).map_err(|refusal| refusal.code());
        let expected = match window(document) {
            Some(window) if offset > window => Err("TIMESTAMP_STALE"),
            Some(window) if offset < -window => Err("TIMESTAMP_AHEAD"),
            _ => Ok(()),
        };
        prop_assert_eq!(outcome, expected);
    }

    #[test]
    fn no_request_panics_and_none_verifies(
        document in any_document(),
        names in vec(select(&["stripe-signature", "x-hub-signature-256", "x-openclaw-signature", "x-openclaw-token", "authorization",
            "x-byterover-signature", "webhook-id", "webhook-timestamp", "webhook-signature", "x-sig", "x-ts", "x-id", ""][..]), 0..8),
        values in vec(prop_oneof![
            vec(any::<u8>(), 0..80),
            "[tv]s?[0-9]?[=,;. ]([0-9a-f]{0,64}|[A-Za-z0-9+/=]{0,90})([,; ]t?s?=?[0-9]{0,13})?".prop_map(String::into_bytes),
            "(sha256=|v1,|v1=|v0=|h1=|Bearer )?([0-9a-f]{64}|[A-Za-z0-9+/]{43}=)".prop_map(String::into_bytes),
            "[0-9]{9,14}".prop_map(String::into_bytes),
        ], 8),
        body in vec(any::<u8>(), 0..100),
        now in any::<i64>(),
    ) {
        let source = source(document);
        let headers: Vec<(String, Vec<u8>)> = names.into_iter().map(str::to_owned).zip(values).collect();
        if let Err(refusal) = verify(&source, &request(&headers, &body), now) {
            prop_assert!(!refusal.code().is_empty() && !refusal.to_string().is_empty());
        } else {
            prop_assert!(false, "a guess verified");
        }
    }

    #[test]
    fn no_document_panics(bytes in vec(any::<u8>(), 0..200), text in r#"[{}\[\]":,a-z0-9 ]{0,60}"#) {
        for document in [&bytes[..], text.as_bytes()] {
            if let Err(problem) = Source::from_secret(document) {
                prop_assert!(!problem.to_string().is_empty());
            }
        }
    }

    #[test]
    fn no_options_panic_and_what_is_accepted_is_written_back(
        header in "[A-Za-z-]{1,12}|[ -~]{0,12}", prefix in "(v1=)?|[ -~]{0,6}", separator in proptest::option::of(select(&[',', ';', ' ', 'x'][..])), signed_as in prop_oneof![Just("{timestamp}.".to_owned()), "[{}a-z.]{0,20}"],
        timestamp in proptest::option::of("[a-z]{1,2}=|[ -~]{0,6}"), pointer in proptest::option::of("[/~01a]{0,8}"), tolerance in proptest::option::of(prop_oneof![1..=86_400_u32, any::<u32>()]),
        body in vec(any::<u8>(), 0..50),
    ) {
        let mut options = HmacOptions::new(header);
        options.prefix = prefix;
        options.list_separator = separator;
        options.signed = format!("{signed_as}{{body}}");
        options.timestamp_prefix = timestamp;
        options.type_pointer = pointer;
        options.tolerance_s = tolerance;
        let scheme = Scheme::parse("hmac").expect("a scheme");
        let made = Source::new(scheme, vec!["k".into()], clawbridge_signatures::Options { hmac: Some(options), ..Default::default() });
        if let Ok(source) = made {
            let again = Source::from_secret(source.to_secret().as_bytes()).expect("what is written is read");
            prop_assert_eq!(again.hmac(), source.hmac());
            let headers = signed(&source, &body);
            prop_assert!(verify(&again, &request(&headers, &body), NOW).is_ok());
        }
    }

    #[test]
    fn no_body_panics_and_an_identity_keeps_its_bounds(
        document in any_document(),
        body in prop_oneof![
            vec(any::<u8>(), 0..200),
            r#"\{"(id|type|event|action)":("\\PC{0,300}"|[0-9.e-]{1,30}|[\[\]{}]{0,10})\}"#.prop_map(String::into_bytes),
            r#"[{}\[\]":,a-z0-9\\ -]{0,60}"#.prop_map(String::into_bytes),
        ],
    ) {
        let source = source(document);
        let headers = signed(&source, &body);
        let request = request(&headers, &body);
        let verified = verify(&source, &request, NOW).expect("what was signed");
        let Received::Events { events, .. } = receive(&source, &verified, NOW) else { return Ok(()) };
        prop_assert!(!events.is_empty());
        for event in events {
            let identity = event.identity;
            prop_assert!(!identity.delivery_id.is_empty() && identity.delivery_id.len() <= 256);
            prop_assert!(!identity.event_type.is_empty() && identity.event_type.len() <= 128);
        }
        let identity = identify(&source, &verified);
        prop_assert_eq!(&identity, &identify(&source, &verified));
        prop_assert!(!identity.delivery_id.is_empty() && identity.delivery_id.len() <= 256);
        prop_assert!(identity.delivery_id.bytes().all(|b| b.is_ascii_graphic()));
        prop_assert!(!identity.event_type.is_empty() && identity.event_type.len() <= 128);
        prop_assert!(identity.event_type.bytes().all(|b| b.is_ascii_graphic() || b == b' '));
        prop_assert!(!kept_headers(&source).iter().any(|name| name.to_ascii_lowercase().contains("sig")));
    }
}
