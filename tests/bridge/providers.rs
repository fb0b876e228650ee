//! What providers do besides delivering an event: they ask, they put many events into one request, they tell a secret, they sign with
//! certificates. That each one's delivery is taken is in `deliveries`.

use crate::support::{Bridge, Got, Options, eventually, root};
use clawbridge_signatures::{Outgoing, Source, sign};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
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
    bridge.request("POST", &format!("/hooks/{scheme}"), &headers, body).await
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
    let okta = [("x-okta-verification-challenge", "my-value"), ("authorization", "wrong")];
    assert_eq!(bridge.request("GET", "/hooks/okta", &okta, b"").await.status, 403);
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
async fn an_interaction_is_answered_in_kind_and_is_an_event() {
    let bridge = start().await;
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed");
    add(&bridge, "discord", &["--secret", &hex::encode(pair.public_key())]);
    let received = json!({"received": true});
    for (body, status, answer) in [
        (r#"{"id":"1","type":2}"#, 200, json!({"type": 5})),
        (r#"{"id":"2","type":3}"#, 200, json!({"type": 6})),
        (r#"{"id":"3","type":4}"#, 200, received),
        (r#"{"id":"4","type":5}"#, 200, json!({"type": 5})),
        (r#"{"version":1,"type":1,"event":{"type":"ENTITLEMENT_CREATE"}}"#, 204, Value::Null),
    ] {
        let time = now().to_string();
        let signature = hex::encode(pair.sign(format!("{time}{body}").as_bytes()));
        let headers = [("x-signature-timestamp", time.as_str()), ("x-signature-ed25519", signature.as_str())];
        let mut got = bridge.request("POST", "/hooks/discord", &headers, body.as_bytes()).await;
        if let Some(members) = got.body.as_object_mut() {
            members.remove("request_id");
        }
        assert_eq!((got.status, &got.body), (status, &answer), "{body}");
    }
    let kinds = bodies(&bridge, "discord", 5).await;
    let kinds: Vec<&str> = kinds.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "ENTITLEMENT_CREATE",
            "interaction.application_command",
            "interaction.application_command_autocomplete",
            "interaction.message_component",
            "interaction.modal_submit",
        ]
    );
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
