//! Every provider through the front door: what it sends is taken under its own id and type, what it asks is answered, and what many events
//! share one request with is told apart.

use crate::support::{Bridge, Got, Options, eventually, root};
use clawbridge_signatures::{Outgoing, Scheme, Source, sign};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

const PUBLIC: &str = "https://hooks.example.com";

async fn start() -> Bridge {
    let args = vec!["--public-url".to_owned(), PUBLIC.to_owned()];
    Bridge::start_with(Options { config: Some(String::new()), args }).await
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_secs()).expect("a time")
}

/// Makes a source called like its scheme.
fn add(bridge: &Bridge, scheme: &str, args: &[&str]) {
    let added = bridge.run(&[&["source", "add", scheme, "--replace"], args].concat());
    assert_eq!(added.status, 0, "{scheme}: {added:?}");
}

/// Posts a body as the provider would sign it.
async fn deliver(bridge: &Bridge, document: &Value, body: &[u8], more: &[(&str, &str)]) -> Got {
    deliver_changed(bridge, document, body, more, body).await
}

/// Posts another body than the one that was signed.
async fn deliver_changed(bridge: &Bridge, document: &Value, body: &[u8], more: &[(&str, &str)], sent: &[u8]) -> Got {
    let source = Source::from_secret(document.to_string().as_bytes()).expect("a source");
    let scheme = source.scheme().name();
    let url = format!("{PUBLIC}/hooks/{scheme}");
    let outgoing =
        Outgoing { method: "POST", url: Some(&url), body, delivery_id: "delivery-1", event_type: Some("a.type") };
    let signed = sign(&source, &outgoing, now()).expect(scheme);
    let own = signed.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let headers: Vec<(&str, &str)> = own
        .filter(|(name, _)| !more.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)))
        .chain(more.iter().copied())
        .collect();
    bridge.request("POST", &format!("/hooks/{scheme}"), &headers, sent).await
}

/// Scheme, secret, body, headers beside the signature's; then the type and the delivery id that it is known by.
type Row =
    (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)], &'static str, &'static str);

const WHSEC: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// An id that is the hash of the body.
const HASH: &str = "sha256:";

const ROWS: &[Row] = &[
    ("stripe", "whsec_k", r#"{"id":"evt_1","type":"charge.succeeded"}"#, &[], "charge.succeeded", "evt_1"),
    (
        "github",
        "k",
        r#"{"action":"opened"}"#,
        &[("x-github-event", "issues"), ("x-github-delivery", "g-1")],
        "issues.opened",
        "g-1",
    ),
    ("svix", WHSEC, r#"{"type":"user.created"}"#, &[], "user.created", "delivery-1"),
    ("standard-webhooks", WHSEC, r#"{"type":"user.created"}"#, &[], "user.created", "delivery-1"),
    ("openai", WHSEC, r#"{"type":"response.completed"}"#, &[], "response.completed", "delivery-1"),
    ("anthropic", WHSEC, r#"{"id":"whe_1","data":{"type":"session.status"}}"#, &[], "session.status", "delivery-1"),
    ("gitlab", WHSEC, r#"{"object_kind":"push"}"#, &[("x-gitlab-event", "Push Hook")], "Push Hook", "delivery-1"),
    (
        "gitlab-token",
        "k",
        r#"{"object_kind":"push"}"#,
        &[("x-gitlab-event", "Push Hook"), ("idempotency-key", "i-1")],
        "Push Hook",
        "delivery-1",
    ),
    (
        "shopify",
        "k",
        r#"{"id":1}"#,
        &[("x-shopify-topic", "orders/create"), ("x-shopify-event-id", "s-1")],
        "orders/create",
        "s-1",
    ),
    ("slack", "k", r#"{"type":"event_callback","event_id":"Ev1","event":{"type":"message"}}"#, &[], "message", "Ev1"),
    ("zoom", "k", r#"{"event":"meeting.started","event_ts":1}"#, &[], "meeting.started", HASH),
    ("bitbucket", "k", "{}", &[("x-event-key", "repo:push"), ("x-request-uuid", "b-1")], "repo:push", "b-1"),
    (
        "jira",
        "k",
        r#"{"webhookEvent":"jira:issue_created"}"#,
        &[("x-atlassian-webhook-identifier", "j-1")],
        "jira:issue_created",
        "j-1",
    ),
    (
        "intercom",
        "k",
        r#"{"id":"notif_1","topic":"conversation.user.created"}"#,
        &[],
        "conversation.user.created",
        "notif_1",
    ),
    ("intercom-canvas", "k", r#"{"workspace_id":"w"}"#, &[], "unknown", HASH),
    ("telegram", "k", r#"{"update_id":7,"message":{"text":"hi"}}"#, &[], "message", "7"),
    (
        "google-channel",
        "k",
        "",
        &[("x-goog-channel-id", "c"), ("x-goog-message-number", "4"), ("x-goog-resource-state", "exists")],
        "exists",
        "c-4",
    ),
    ("square", "k", r#"{"event_id":"sq-1","type":"payment.updated"}"#, &[], "payment.updated", "sq-1"),
    ("typeform", "k", r#"{"event_id":"t-1","event_type":"form_response"}"#, &[], "form_response", "t-1"),
    ("calendly", "k", r#"{"event":"invitee.created"}"#, &[], "invitee.created", HASH),
    ("paddle", "k", r#"{"event_id":"p-1","event_type":"transaction.paid"}"#, &[], "transaction.paid", "p-1"),
    (
        "zendesk",
        "k",
        r#"{"type":"zen:event-type:user.created"}"#,
        &[("x-zendesk-webhook-invocation-id", "z-1")],
        "zen:event-type:user.created",
        "z-1",
    ),
    (
        "twitch",
        "k",
        r#"{"subscription":{"type":"channel.follow"}}"#,
        &[("twitch-eventsub-message-type", "notification"), ("twitch-eventsub-subscription-type", "channel.follow")],
        "channel.follow",
        "delivery-1",
    ),
    ("dropbox", "k", r#"{"list_folder":{"accounts":["dbid:1"]}}"#, &[], "unknown", HASH),
    ("notion", "secret_k", r#"{"id":"n-1","type":"page.created"}"#, &[], "page.created", "n-1"),
    ("airtable", "a2V5", r#"{"base":{"id":"app1"},"webhook":{"id":"ach1"}}"#, &[], "unknown", HASH),
    ("x", "k", r#"{"for_user_id":"1"}"#, &[], "unknown", HASH),
    (
        "pagerduty",
        "k",
        r#"{"event":{"id":"pd-1","event_type":"incident.triggered"}}"#,
        &[],
        "incident.triggered",
        "pd-1",
    ),
    ("line", "k", r#"{"destination":"U1","events":[]}"#, &[], "unknown", HASH),
    ("hookdeck", "k", "{}", &[("x-hookdeck-eventid", "hd-1")], "unknown", "hd-1"),
    ("mailgun", "key", MAILGUN, &[], "opened", "mg-1"),
    ("openclaw", "k", r#"{"event":"task.completed"}"#, &[], "task.completed", HASH),
    ("openclaw-token", "k", r#"{"event":"cron"}"#, &[], "cron", HASH),
    ("byterover", "k", r#"{"id":"br-1","type":"memory.created"}"#, &[], "memory.created", "br-1"),
    (
        "twilio",
        "k",
        "From=%2B1&Body=hi",
        &[("content-type", "application/x-www-form-urlencoded"), ("i-twilio-idempotency-token", "tw-1")],
        "unknown",
        "tw-1",
    ),
];

/// HMAC-SHA256 of `1790000000` and `token` under `key`.
const MAILGUN: &str = r#"{"signature":{"timestamp":"1790000000","token":"token","signature":"MAC"},"event-data":{"id":"mg-1","event":"opened"}}"#;

#[tokio::test]
async fn every_providers_delivery_is_taken_under_its_own_id_and_type() {
    let bridge = start().await;
    let mac = hex::encode(crate::support::hmac_sha256(b"key", b"1790000000token"));
    for (scheme, secret, body, headers, ..) in ROWS {
        add(&bridge, scheme, &["--secret", secret]);
        let body = body.replace("\"MAC\"", &format!("\"{mac}\""));
        let document = json!({"scheme": scheme, "secrets": [secret]});
        let taken = || async {
            let got = deliver(&bridge, &document, body.as_bytes(), headers).await;
            // So many sources at once are more than a new environment looks up.
            assert!([200, 503].contains(&got.status), "{scheme}: {got:?}");
            (got.status == 200).then_some(())
        };
        eventually(scheme, taken).await;
        if Scheme::parse(scheme).expect(scheme).signs_body() {
            let changed = [body.as_bytes(), b"&x=1"].concat();
            let got = deliver_changed(&bridge, &document, body.as_bytes(), headers, &changed).await;
            assert_eq!(got.status, 401, "{scheme}: {got:?}");
        }
    }
    let stored = bridge.lines("event.stored", ROWS.len()).await;
    let known: BTreeMap<&str, &Value> =
        stored.iter().filter_map(|line| Some((line["source"].as_str()?, line))).collect();
    for (scheme, _, _, _, event_type, id) in ROWS {
        let line = known.get(scheme).unwrap_or_else(|| panic!("no event of {scheme}"));
        assert_eq!(line["type"], *event_type, "{line}");
        let found = line["delivery_id"].as_str().unwrap_or_default();
        assert!(if *id == HASH { found.starts_with(HASH) } else { found == *id }, "{line}");
    }
}

/// The texts of a source's stored events: type and body.
async fn bodies(bridge: &Bridge, source: &str, count: usize) -> Vec<(String, Value)> {
    let stored = bridge.lines("event.stored", count).await;
    let of_source = stored.iter().filter(|line| line["source"] == source);
    let mut bodies: Vec<(String, Value)> = of_source
        .map(|line| {
            let shown = bridge.run(&["events", "show", line["event"].as_str().expect("an id"), "--json"]).json();
            (line["type"].as_str().unwrap_or_default().to_owned(), shown["body"].clone())
        })
        .collect();
    bodies.sort_by(|one, other| one.0.cmp(&other.0));
    bodies
}

#[tokio::test]
async fn a_request_with_many_events_becomes_as_many_and_no_secret_is_kept() {
    let bridge = start().await;
    add(&bridge, "hubspot", &["--secret", "k"]);
    let items: Vec<Value> = (0..25)
        .map(|n| json!({"eventId": n, "subscriptionId": 1, "occurredAt": 5, "objectId": 9, "subscriptionType": "contact.creation"}))
        .collect();
    let body = json!(items).to_string();
    let document = json!({"scheme": "hubspot", "secrets": ["k"]});
    for _ in 0..2 {
        let got = deliver(&bridge, &document, body.as_bytes(), &[]).await;
        assert_eq!(got.status, 200, "{got:?}");
    }
    let hubspot = bodies(&bridge, "hubspot", 25).await;
    assert_eq!(hubspot.len(), 25);
    assert!(hubspot.iter().all(|(kind, body)| kind == "contact.creation" && items.contains(body)));
    bridge.lines("event.repeated", 25).await;

    add(&bridge, "microsoft-graph", &["--secret", "the-client-state"]);
    let item =
        |id: &str| json!({"id": id, "changeType": "created", "clientState": "the-client-state", "resource": "r"});
    let body = json!({"value": [item("1"), item("2")]}).to_string();
    assert_eq!(bridge.request("POST", "/hooks/microsoft-graph", &[], body.as_bytes()).await.status, 200);
    let graph = bodies(&bridge, "microsoft-graph", 27).await;
    assert_eq!(graph.len(), 2);
    assert!(!format!("{graph:?}").contains("the-client-state"));

    add(&bridge, "salesforce", &["--secret", "00D000000000062"]);
    let body = "<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\"><soapenv:Body>\
        <notifications xmlns=\"http://soap.sforce.com/2005/09/outbound\" xmlns:sf=\"urn:sobject.enterprise.soap.sforce.com\" \
        xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><OrganizationId>00D000000000062</OrganizationId>\
        <ActionId>04k000000000001</ActionId><SessionId>00D000000000062!live-session-0123456789</SessionId>\
        <Notification><Id>04l000000000001</Id><sObject xsi:type=\"sf:Account\"><sf:Name>A</sf:Name>\
        <sf:Link>https://x.example/?sid=live-session-0123456789</sf:Link></sObject></Notification>\
        <Notification><Id>04l000000000002</Id><sObject xsi:type=\"sf:Account\"><sf:Name>B</sf:Name></sObject></Notification>\
        </notifications></soapenv:Body></soapenv:Envelope>";
    let (status, answer) = raw(&bridge, "POST", "/hooks/salesforce", body).await;
    assert_eq!(status, 200);
    assert!(answer.contains("content-type: text/xml") && answer.contains("<Ack>true</Ack>"), "{answer}");
    let salesforce = bodies(&bridge, "salesforce", 29).await;
    let names: Vec<&Value> = salesforce.iter().map(|(_, body)| &body["fields"]["Name"]).collect();
    assert!(names.len() == 2 && names.contains(&&json!("A")) && names.contains(&&json!("B")), "{salesforce:?}");
    assert!(!format!("{salesforce:?}").contains("live-session"));
}

/// One exchange as it is on the wire, headers in lower case.
async fn raw(bridge: &Bridge, method: &str, path: &str, body: &str) -> (u16, String) {
    let address = bridge.public.trim_start_matches("http://").to_owned();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    crate::support::exchange(&address, request.as_bytes()).await
}

#[tokio::test]
async fn what_a_provider_asks_is_answered_and_makes_no_event() {
    let bridge = start().await;
    add(&bridge, "meta", &["--secret", "app-secret", "--verify-token", "verify-token-1"]);
    for scheme in ["x", "dropbox", "microsoft-graph", "okta", "intercom", "slack", "zoom"] {
        add(&bridge, scheme, &["--secret", "consumer_secret_1"]);
    }
    let meta = "/hooks/meta?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=";
    for (method, path, status, end) in [
        ("GET", format!("{meta}verify-token-1"), 200, "\r\n\r\n1158201444"),
        ("GET", format!("{meta}guess"), 403, ""),
        (
            "GET",
            "/hooks/x?crc_token=foo".into(),
            200,
            r#"{"response_token":"sha256=7LNO0MTL9vkTDQVFXUs5LT6x5oLVbiuwQ3QdIiU/Z5M="}"#,
        ),
        ("GET", "/hooks/x?crc_token=%7B%22text%22%3A%22a%20body%20of%20mine%22%7D".into(), 405, ""),
        ("GET", "/hooks/dropbox?challenge=abc123".into(), 200, "\r\n\r\nabc123"),
        ("GET", "/hooks/dropbox?challenge=%3Cscript%3E".into(), 405, ""),
        ("POST", "/hooks/microsoft-graph?validationToken=Validation%3A+x".into(), 200, "\r\n\r\nValidation: x"),
        ("HEAD", "/hooks/intercom".into(), 200, "\r\n\r\n"),
        ("GET", "/hooks/slack".into(), 405, ""),
        ("GET", "/hooks/nobody".into(), 404, ""),
    ] {
        let (got, answer) = raw(&bridge, method, &path, "").await;
        assert!(got == status && answer.ends_with(end), "{method} {path}: {answer}");
        assert!(answer.contains("x-content-type-options: nosniff"), "{answer}");
    }
    let asked = bridge.request("GET", "/hooks/okta", &[("x-okta-verification-challenge", "my-value")], b"").await;
    assert_eq!((asked.status, &asked.body), (200, &json!({"verification": "my-value"})));
    let slack = json!({"scheme": "slack", "secrets": ["consumer_secret_1"]});
    let (_, unsigned) = raw(&bridge, "POST", "/hooks/slack", r#"{"type":"url_verification","challenge":"c"}"#).await;
    assert!(!unsigned.ends_with("\r\n\r\nc"), "{unsigned}");
    let signed = deliver(&bridge, &slack, br#"{"type":"url_verification","challenge":"c"}"#, &[]).await;
    assert_eq!(signed.status, 200, "{signed:?}");

    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed");
    add(&bridge, "discord", &["--secret", &hex::encode(pair.public_key())]);
    for (body, status) in [(r#"{"type":1}"#, 200), (r#"{"version":1,"application_id":"1","type":0}"#, 204)] {
        let (time, wrong) = (now().to_string(), hex::encode([1; 64]));
        let good = hex::encode(pair.sign(format!("{time}{body}").as_bytes()));
        for (signature, status) in [(&good, status), (&wrong, 401)] {
            let headers = [("x-signature-timestamp", time.as_str()), ("x-signature-ed25519", signature.as_str())];
            assert_eq!(bridge.request("POST", "/hooks/discord", &headers, body.as_bytes()).await.status, status);
        }
    }
    assert_eq!(bridge.messages("clawbridge-work").await, 0);
    assert!(!bridge.journal().iter().any(|line| line["kind"] == "event.stored"));

    // Whoever knows the address can ask, so the answers are bounded.
    let mut refused = 0;
    for _ in 0..30 {
        let (status, answer) = raw(&bridge, "GET", "/hooks/dropbox?challenge=abc123", "").await;
        if status == 429 {
            assert!(answer.contains("retry-after: "), "{answer}");
            refused += 1;
        }
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn a_source_that_waits_for_its_secret_takes_the_first_that_it_is_told() {
    let bridge = start().await;
    add(&bridge, "notion", &["--pending"]);
    let told = |secret: &str| json!({ "verification_token": secret }).to_string();
    let (first, second) = ("secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl", "secret_of_somebody_else_entirely");
    assert_eq!(bridge.request("POST", "/hooks/notion", &[], told(first).as_bytes()).await.status, 200);
    bridge.line("the secret", |line| line["kind"] == "source.learned" && line["source"] == "notion").await;
    let shown = bridge.run(&["source", "secret", "notion", "--json"]).json();
    assert_eq!((&shown["pending"], &shown["secrets"]), (&json!(false), &json!([first])));
    // Within the time that a source is kept, the second may still be taken for a handshake; it changes nothing.
    let late = bridge.request("POST", "/hooks/notion", &[], told(second).as_bytes()).await;
    assert!([200, 503].contains(&late.status), "{late:?}");
    let document = json!({"scheme": "notion", "secrets": [first]});
    let taken = || async {
        let got = deliver(&bridge, &document, br#"{"id":"n-1","type":"page.created"}"#, &[]).await;
        // Nothing is refused while the secret is on its way.
        assert!([200, 503].contains(&got.status), "{got:?}");
        (got.status == 200).then_some(())
    };
    eventually("an event of notion", taken).await;
    bridge.lines("event.stored", 1).await;
    assert_eq!(bridge.run(&["source", "secret", "notion", "--json"]).json()["secrets"], json!([first]));
    let journal = format!("{:?}", bridge.journal());
    assert!(!journal.contains(first) && !journal.contains(second), "a secret is in the journal");
}

/// Signed by keys that the source pins: the vectors of the signatures crate, as they would arrive.
#[tokio::test]
async fn messages_under_certificates_are_taken_when_they_are_from_the_listed_sender() {
    use base64::Engine as _;
    let bridge = start().await;
    let file = std::fs::read(root().join("shared/vectors/data/signatures.json")).expect("the vectors");
    let file: Value = serde_json::from_slice(&file).expect("JSON");
    let vector = |provider: &str, name: &str| {
        let all = file["vectors"].as_array().expect("vectors").iter();
        all.clone().find(|vector| vector["provider"] == provider && vector["name"] == name).expect(name).clone()
    };
    let keys = tempfile::tempdir().expect("a folder");
    for (provider, name, listed, other, id) in [
        (
            "aws-sns",
            "no_subject",
            "arn:aws:sns:us-west-2:123456789012:MyTopic",
            "arn:aws:sns:us-west-2:123456789012:Other",
            "da41e39f-ea4d-435a-b922-c6aae3915ebe",
        ),
        ("paypal", "valid", "0NH55953DH663215D", "ANOTHER", "WH-3F562076HD293871E-75F399086E414290U"),
    ] {
        let vector = vector(provider, name);
        let path = keys.path().join(provider);
        std::fs::write(&path, vector["secret"].as_str().expect("a certificate")).expect("written");
        let path = path.to_str().expect("UTF-8").to_owned();
        let pairs: Vec<(String, String)> = serde_json::from_value(vector["headers"].clone()).expect("headers");
        let headers: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let body = base64::engine::general_purpose::STANDARD.decode(vector["body_base64"].as_str().expect("a body"));
        let body = body.expect("base64");
        add(&bridge, provider, &["--secret", listed, "--keys-file", &path]);
        let got = bridge.request("POST", &format!("/hooks/{provider}"), &headers, &body).await;
        assert_eq!(got.status, 200, "{provider}: {got:?}");
        bridge.line(provider, |line| line["kind"] == "event.stored" && line["delivery_id"] == id).await;
        let unlisted = format!("{provider}-other");
        let added =
            bridge.run(&["source", "add", &unlisted, "--scheme", provider, "--secret", other, "--keys-file", &path]);
        assert_eq!(added.status, 0, "{added:?}");
        let got = bridge.request("POST", &format!("/hooks/{unlisted}"), &headers, &body).await;
        assert_eq!(got.status, 401, "{provider}: {got:?}");
    }
}
