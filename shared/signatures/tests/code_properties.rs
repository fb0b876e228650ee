//! What holds for the schemes that are code and need no fetched key: what is signed verifies, what is changed does not, nothing panics.

use std::collections::BTreeMap;

use clawbridge_signatures::{Outgoing, Request, Source, sign, verify};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};

const NOW: i64 = 1_790_000_000;
const URL: &str = "https://hooks.example/hooks/a?b=it's%3A";
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

const DOCUMENTS: &[&str] = &[
    r#"{"scheme":"twilio","secrets":["k"]}"#,
    r#"{"scheme":"hubspot","secrets":["k"]}"#,
    r#"{"scheme":"mailgun","secrets":["k"]}"#,
    r#"{"scheme":"microsoft-graph","secrets":["k"]}"#,
    r#"{"scheme":"salesforce","secrets":["00DA0000000CXAM"]}"#,
];

fn source(document: &str) -> Source {
    Source::from_secret(document.as_bytes()).expect(document)
}

fn signed(source: &Source, url: &str, body: &[u8]) -> Vec<(String, String)> {
    let outgoing = Outgoing { method: "POST", url: Some(url), body, delivery_id: "d-1", event_type: None };
    let mut headers = sign(source, &outgoing, NOW).expect("a signature");
    headers.push((FORM.0.to_owned(), FORM.1.to_owned()));
    headers
}

fn verdict<V: AsRef<[u8]>>(
    source: &Source,
    url: &str,
    headers: &[(String, V)],
    body: &[u8],
    now: i64,
) -> Result<usize, &'static str> {
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_ref())).collect();
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let request = Request { method: "POST", url: Some(url), query, headers, body };
    verify(source, &request, now).map(|verified| verified.secret_index()).map_err(|refusal| {
        assert!(!refusal.to_string().is_empty());
        refusal.code()
    })
}

/// As a sender of forms writes it.
fn form(fields: &BTreeMap<String, String>) -> String {
    let encoded = |text: &str| {
        let byte = |byte: u8| match byte {
            b' ' => "+".to_owned(),
            plain if plain.is_ascii_alphanumeric() => char::from(plain).to_string(),
            other => format!("%{other:02X}"),
        };
        text.bytes().map(byte).collect::<String>()
    };
    let field = |(name, value): (&String, &String)| format!("{}={}", encoded(name), encoded(value));
    fields.iter().map(field).collect::<Vec<_>>().join("&")
}

proptest! {
    #[test]
    fn a_form_that_twilio_signs_verifies_and_another_does_not(
        fields in btree_map("[A-Za-z]{1,8}", "\\PC{0,8}", 1..6), at in any::<Index>(), byte in any::<u8>(),
    ) {
        let source = source(DOCUMENTS[0]);
        let body = form(&fields);
        let headers = signed(&source, URL, body.as_bytes());
        prop_assert_eq!(verdict(&source, URL, &headers, body.as_bytes(), NOW), Ok(0));
        let mut changed = body.clone().into_bytes();
        let at = at.index(changed.len());
        prop_assume!(!changed[at].eq_ignore_ascii_case(&byte));
        changed[at] = byte;
        prop_assert!(verdict(&source, URL, &headers, &changed, NOW).is_err(), "{} {:?}", body, changed);
        let stranger = source.with_secrets(vec!["other".into()]).expect("another secret");
        prop_assert_eq!(verdict(&stranger, URL, &headers, body.as_bytes(), NOW), Err("SIGNATURE_MISMATCH"));
    }

    #[test]
    fn any_body_with_its_hash_in_the_url_verifies_with_twilio_and_another_does_not(
        body in vec(any::<u8>(), 1..100), at in any::<Index>(), bit in 0..8_u32,
    ) {
        let source = source(DOCUMENTS[0]);
        let url = format!("{URL}&bodySHA256={}", sha256(&body));
        let headers = signed(&source, &url, &body);
        prop_assert_eq!(verdict(&source, &url, &headers, &body, NOW), Ok(0));
        let mut changed = body.clone();
        changed[at.index(body.len())] ^= 1 << bit;
        prop_assert_eq!(verdict(&source, &url, &headers, &changed, NOW), Err("SIGNATURE_MISMATCH"));
        let other = format!("{URL}&bodySHA256={}", sha256(&changed));
        prop_assert_eq!(verdict(&source, &other, &headers, &changed, NOW), Err("SIGNATURE_MISMATCH"));
    }

    #[test]
    fn a_body_that_hubspot_signs_verifies_and_another_does_not(
        body in vec(any::<u8>(), 1..100), at in any::<Index>(), bit in 0..8_u32, offset in -1000_i64..1000,
    ) {
        let source = source(DOCUMENTS[1]);
        let headers = signed(&source, URL, &body);
        let expected = match offset {
            301.. => Err("TIMESTAMP_STALE"),
            ..=-301 => Err("TIMESTAMP_AHEAD"),
            _ => Ok(0),
        };
        prop_assert_eq!(verdict(&source, URL, &headers, &body, NOW + offset), expected);
        let mut changed = body.clone();
        changed[at.index(body.len())] ^= 1 << bit;
        prop_assert_eq!(verdict(&source, URL, &headers, &changed, NOW + offset), Err("SIGNATURE_MISMATCH"));
        prop_assert_eq!(verdict(&source, &URL.replace("hooks/a", "hooks/b"), &headers, &body, NOW), Err("SIGNATURE_MISMATCH"));
    }

    #[test]
    fn a_changed_bit_of_a_signed_header_is_refused(
        document in select(&DOCUMENTS[..2]), header in any::<Index>(), at in any::<Index>(), bit in 0..8_u32,
    ) {
        let source = source(document);
        let mut headers: Vec<(String, Vec<u8>)> =
            signed(&source, URL, b"a=1").into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
        // What says how to read the body, and what names the delivery, is not signed.
        headers.retain(|(name, _)| !name.contains("Content") && !name.contains("Idempotency"));
        let header = header.index(headers.len());
        let value = &mut headers[header].1;
        let at = at.index(value.len());
        value[at] ^= 1 << bit;
        headers.push((FORM.0.to_owned(), FORM.1.into()));
        prop_assert!(verdict(&source, URL, &headers, b"a=1", NOW).is_err());
    }

    #[test]
    fn no_request_panics_and_none_verifies(
        document in select(DOCUMENTS),
        names in vec(select(&["x-twilio-signature", "x-twilio-webhooks-signature-settings", "content-type", "x-hubspot-signature-v3",
            "x-hubspot-request-timestamp", "x-hubspot-signature", "x-hubspot-signature-version", ""][..]), 0..6),
        values in vec(prop_oneof![
            vec(any::<u8>(), 0..40),
            "([0-9a-f]{64}|[A-Za-z0-9+/]{43}=|[A-Za-z0-9+/]{27}=|[0-9]{13}|v1|v2)".prop_map(String::into_bytes),
            "((key|algorithm)(=[A-Z_0-9]{0,12})?,?){0,3}|algorithm=HMAC_SHA256".prop_map(String::into_bytes),
            Just(FORM.1.as_bytes().to_vec()),
        ], 6),
        url in prop_oneof![
            "\\PC{0,30}",
            "https?://([a-z:@\\[\\].0-9]{0,12})(/[a-z%']{0,4})?(\\?(bodySHA256|a)?=?([0-9a-f]{64}|%3A|%é|')?&?)?",
        ],
        body in prop_oneof![
            vec(any::<u8>(), 0..100),
            "[a%=&+0-9A-F]{0,40}".prop_map(String::into_bytes),
            r#"\{"signature":\{"timestamp":"?[0-9]{0,12}"?,"token":"?[0-9a-z]{0,3}"?,"signature":"[0-9a-f]{0,64}"\}\}"#.prop_map(String::into_bytes),
            r#"\{"value":\[(\{("clientState":"?[a-j]?"?)?\},?){0,3}\]?\}"#.prop_map(String::into_bytes),
            r#"(<|</|>|/>|a|xmlns="|"|&|;|<!--|<\?|<!|\[| ){0,30}"#.prop_map(String::into_bytes),
        ],
        now in any::<i64>(),
    ) {
        let source = source(document);
        let headers: Vec<(String, Vec<u8>)> = names.into_iter().map(str::to_owned).zip(values).collect();
        prop_assert!(verdict(&source, &url, &headers, &body, now).is_err(), "a guess verified");
    }
}

fn sha256(body: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(body))
}
