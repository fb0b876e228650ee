//! One function for each parser that strangers' bytes reach. Each takes any bytes and must return.
//!
//! cargo-fuzz runs them with coverage as its guide (`fuzz_targets/`); the crate's tests run them over the kept corpus (`corpus/`).

use clawbridge_signatures::{
    Headers, HmacOptions, Options, Outgoing, Request, Scheme, Source, greet, kept_headers, receive, sign, verify_with,
    wanted,
};

const NOW: i64 = 1_790_000_000;
const URL: &str = "https://hooks.example.com/hooks/source?a=b";

/// Something that each kind of secret can be.
const SECRETS: [&str; 8] = [
    "a-plain-secret",
    "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12",
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==",
    "arn:aws:sns:us-east-1:123456789012:orders",
    "push@project.iam.gserviceaccount.com",
    "00D000000000062",
    "6b6b",
];

/// A source of this scheme, if one can be made of the secrets above.
fn source(scheme: Scheme) -> Option<Source> {
    SECRETS.iter().find_map(|secret| {
        let secrets = || vec![(*secret).to_owned()];
        let hmac = Options { hmac: Some(HmacOptions::new("X-Sig")), ..Options::default() };
        let token = format!(r#"{{"scheme":"{scheme}","secrets":["{secret}"],"token":{{"header":"X-Token"}}}}"#);
        Source::new(scheme, secrets(), Options::default())
            .or_else(|_| Source::new(scheme, secrets(), hmac))
            .or_else(|_| Source::from_secret(token.as_bytes()))
            .ok()
    })
}

fn named(scheme: &str) -> Source {
    Scheme::parse(scheme).ok().and_then(source).unwrap_or_else(|| panic!("no source of scheme {scheme}"))
}

/// Everything that is done with a request.
fn ask(source: &Source, method: &str, query: &str, headers: Headers<'_>, body: &[u8], key: Option<&[u8]>) -> bool {
    let request = Request { method, url: Some(URL), query, headers, body };
    let greeted = greet(source, &request).is_some();
    drop(wanted(source, &request));
    match verify_with(source, &request, key, NOW) {
        Ok(verified) => {
            drop((receive(source, &verified, NOW), kept_headers(source)));
            true
        }
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty());
            greeted
        }
    }
}

fn headers<'a>(fields: &[(&'a str, &'a [u8])]) -> Headers<'a> {
    fields.iter().copied().collect()
}

/// A byte for the scheme, a byte for the method, the query up to a line's end, header lines, an empty line, the body.
pub(crate) fn requests(data: &[u8]) {
    let [which, method, rest @ ..] = data else { return };
    let schemes: Vec<Scheme> = Scheme::all().collect();
    let Some(source) = source(schemes[usize::from(*which) % schemes.len()]) else { return };
    let method = ["POST", "GET", "HEAD"][usize::from(*method) % 3];
    let mut lines = rest.splitn(2, |byte| *byte == b'\n');
    let query = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut rest = lines.next().unwrap_or_default();
    let mut fields = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        if let Ok(name) = std::str::from_utf8(&line[..colon]) {
            fields.push((name, value.strip_prefix(b" ").unwrap_or(value)));
        }
    }
    ask(&source, method, &query, headers(&fields), rest, None);
}

/// A timestamp's text, in each place that one is read from.
pub(crate) fn timestamps(data: &[u8]) {
    let hex: &[u8] = &[b'0'; 64];
    let base64 = b"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let element = [b"t=", data, b",v1=", hex].concat();
    let rfc3339 = [b"sha256=", hex].concat();
    for (scheme, fields) in [
        ("slack", &[("X-Slack-Request-Timestamp", data), ("X-Slack-Signature", &[b"v0=", hex].concat())][..]),
        ("stripe", &[("Stripe-Signature", &element)]),
        ("hubspot", &[("X-HubSpot-Request-Timestamp", data), ("X-HubSpot-Signature-v3", base64)]),
        ("zendesk", &[("X-Zendesk-Webhook-Signature-Timestamp", data), ("X-Zendesk-Webhook-Signature", base64)]),
        (
            "twitch",
            &[
                ("Twitch-Eventsub-Message-Id", b"id"),
                ("Twitch-Eventsub-Message-Timestamp", data),
                ("Twitch-Eventsub-Message-Signature", &rfc3339),
            ],
        ),
    ] {
        assert!(!ask(&named(scheme), "POST", "", headers(fields), b"{}", None), "a guess verified");
    }
}

/// A form as Twilio posts one.
pub(crate) fn forms(data: &[u8]) {
    let fields: [(&str, &[u8]); 2] = [
        ("content-type", b"application/x-www-form-urlencoded"),
        ("X-Twilio-Signature", b"RSOYDt4T1cUTdK1PDd93/VVr8B8="),
    ];
    let source = named("twilio");
    assert!(!ask(&source, "POST", "", headers(&fields), data, None), "a guess verified");
    let query = String::from_utf8_lossy(data);
    assert!(!ask(&source, "GET", &query, headers(&fields), b"", None), "a guess verified");
}

/// A token as Google sends one.
pub(crate) fn jwt(data: &[u8]) {
    let value = [b"Bearer ", data].concat();
    let keys = br#"{"keys":[{"kty":"RSA","alg":"RS256","use":"sig","kid":"1","n":"ALc","e":"AQAB"}]}"#;
    ask(&named("google-pubsub"), "POST", "", headers(&[("authorization", &value)]), b"{}", Some(keys));
}

/// A document with keys: a certificate, a key set.
pub(crate) fn certificates(data: &[u8]) {
    let envelope = br#"{"Type":"Notification","MessageId":"m","TopicArn":"arn:aws:sns:us-east-1:123456789012:orders","Message":"x",
        "Timestamp":"2026-09-21T14:13:20.000Z","SignatureVersion":"2","Signature":"AAAA",
        "SigningCertURL":"https://sns.us-east-1.amazonaws.com/SimpleNotificationService-00000000000000000000000000000000.pem"}"#;
    assert!(!ask(&named("aws-sns"), "POST", "", headers(&[]), envelope, Some(data)), "a guess verified");
    // {"alg":"RS256","kid":"1"} and {}
    let token = b"Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.e30.AAAA";
    assert!(!ask(&named("google-pubsub"), "POST", "", headers(&[("authorization", token)]), b"{}", Some(data)));
}

/// A body that a scheme takes its proof, or its events, from.
pub(crate) fn bodies(data: &[u8]) {
    for scheme in Scheme::all() {
        let Some(source) = source(scheme) else { continue };
        let outgoing =
            Outgoing { method: "POST", url: Some(URL), body: data, delivery_id: "d-1", event_type: Some("a.b") };
        // Signed where that can be done, so that what follows from a good signature is reached too.
        let signed = sign(&source, &outgoing, NOW).unwrap_or_default();
        let fields: Vec<(&str, &[u8])> = signed.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        ask(&source, "POST", "", headers(&fields), data, None);
    }
}

/// The document of a source secret.
pub(crate) fn sources(data: &[u8]) {
    if let Ok(source) = Source::from_secret(data) {
        let again = Source::from_secret(source.to_secret().as_bytes());
        assert_eq!(again.map(|again| again.to_secret()).ok(), Some(source.to_secret()));
    }
}
