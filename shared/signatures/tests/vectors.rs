//! The vectors of this crate: every `must`, every `may` as it was decided, every handshake.

#[path = "../examples/vectors/vector.rs"]
mod vector;

use clawbridge_signatures::{
    Greeting, Headers, Outgoing, Received, Reply, Request, Source, greet, receive, sign, verify,
};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use vector::{Outcome, Vectors};

const NOW: i64 = 1_790_000_000;
const FILE: &str = include_str!("../vectors/signatures.json");

fn vectors() -> Vectors {
    serde_json::from_str(FILE).expect("vectors/signatures.json is a file of vectors")
}

#[test]
fn every_vector_gets_its_verdict() {
    let mut wrong = Vec::new();
    let vectors = vectors().vectors;
    for vector in &vectors {
        let name = format!("{} {}", vector.provider, vector.name);
        match vector.run() {
            Outcome::Unsupported => wrong.push(format!("{name}: no scheme runs it")),
            Outcome::Verdict { valid, .. } if valid == vector.expects_valid() => {}
            Outcome::Verdict { reason, .. } => {
                wrong.push(format!("{name}: expected {}, got {reason}", vector.expectation()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(vectors.len(), 264);
}

#[test]
fn every_choice_is_decided() {
    for vector in &vectors().vectors {
        assert_eq!(vector.strictness == "may", vector.decided.is_some(), "{} {}", vector.provider, vector.name);
    }
}

/// The answer to a handshake's request, whether it comes before verification or after.
fn answered(provider: &str, handshake: &Value) -> Reply {
    let secret = handshake["secret"].as_str().unwrap_or("0123456789abcdef");
    let discord = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed");
    let mut document = json!({ "scheme": provider, "secrets": [secret] });
    match provider {
        "meta" => document["verify_token"] = json!(secret),
        "notion" => document = json!({ "scheme": "notion", "pending": true }),
        "discord" => document["secrets"] = json!([hex::encode(discord.public_key())]),
        "google-channel" => document["secrets"] = json!(["channel-token-1"]),
        "salesforce" => document["secrets"] = json!(["00D000000000062"]),
        _ => {}
    }
    let source = Source::from_secret(document.to_string().as_bytes()).expect(provider);
    let asked = &handshake["request"];
    let body = match provider {
        // The vector shows the shape of it.
        "salesforce" => {
            "<e><notifications><OrganizationId>00D000000000062</OrganizationId><Notification><Id>04l</Id></Notification></notifications></e>"
        }
        _ => asked["body"].as_str().expect("a body"),
    };
    let pairs = asked["headers"].as_array().expect("headers");
    let pair = |pair: &Value| Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned()));
    let mut fields: Vec<(String, String)> = pairs.iter().filter_map(pair).collect();
    if provider == "discord" {
        let signature = discord.sign(format!("{NOW}{body}").as_bytes());
        fields.push(("X-Signature-Timestamp".into(), NOW.to_string()));
        fields.push(("X-Signature-Ed25519".into(), hex::encode(signature)));
    } else if handshake["signed"] == true {
        let outgoing =
            Outgoing { method: "POST", url: None, body: body.as_bytes(), delivery_id: "d-1", event_type: None };
        fields.extend(sign(&source, &outgoing, NOW).expect("a signature"));
    }
    let headers: Headers<'_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let method = asked["method"].as_str().expect("a method");
    let query = asked["query"].as_str().unwrap_or_default();
    let request = Request { method, url: None, query, headers, body: body.as_bytes() };
    match greet(&source, &request) {
        Some(Ok(Greeting::Reply(reply) | Greeting::Secret { reply, .. })) => return reply,
        Some(Err(refusal)) => panic!("{provider}: {refusal}"),
        None => {}
    }
    let verified = verify(&source, &request, NOW).expect(provider);
    match receive(&source, &verified, NOW) {
        Received::Handshake(reply) | Received::Events { reply: Some(reply), .. } => reply,
        other => panic!("{provider}: {other:?}"),
    }
}

#[test]
fn every_handshake_gets_its_answer() {
    let file: Value = serde_json::from_str(FILE).expect("JSON");
    let handshakes = file["handshakes"].as_array().expect("handshakes");
    assert_eq!(handshakes.len(), 14);
    // Amazon's confirmation has no text to answer with and a signature that only Amazon makes; it stands below.
    for handshake in handshakes.iter().filter(|handshake| handshake["provider"] != "aws-sns") {
        let provider = handshake["provider"].as_str().expect("a provider");
        let reply = answered(provider, handshake);
        let expected = &handshake["response"];
        assert_eq!(json!(reply.status), expected["status"], "{provider}");
        assert_eq!(json!(reply.content_type), expected["content_type"], "{provider}");
        let body = String::from_utf8(reply.body).expect("text");
        match (serde_json::from_str::<Value>(&body), expected["body"].as_str()) {
            (Ok(body), Some(expected)) if expected.starts_with('{') => {
                assert_eq!(Some(body), serde_json::from_str(expected).ok(), "{provider}");
            }
            (_, expected) => assert_eq!(Some(body.as_str()), expected, "{provider}"),
        }
    }
}
