//! The answer to a handshake.

use clawbridge_signatures::{
    Greeting, Outgoing, Received, Reply, Request, Scheme, Source, greet, receive, sign, verify_with,
};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::document;
use crate::form::{Expected, Handshake, Vector};
use crate::report::Outcome;

/// When the handshakes are asked, Unix seconds.
const NOW: i64 = 1_790_000_000;
/// The secret of a source whose handshake names none.
const SECRET: &str = "0123456789abcdef";
const ORGANIZATION: &str = "00D000000000062";

/// A request that is ready to be asked.
struct Ready {
    source: Source,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    key: Option<Vec<u8>>,
    now: i64,
}

/// What comes of asking.
enum Answer {
    Reply(Reply),
    Confirm { url: String, reply: Reply },
}

/// Asks a handshake. `vectors` are those of the same file: a handshake that only the provider can sign may stand among them, signed.
pub(crate) fn of(handshake: &Handshake, vectors: &[Vector]) -> Outcome {
    if Scheme::parse(&handshake.provider).is_err() {
        return Outcome::Unsupported { reason: format!("no scheme is called {}", handshake.provider) };
    }
    let ready = match ready(handshake, vectors) {
        Ok(ready) => ready,
        Err(outcome) => return outcome,
    };
    let expected = || format!("{} with {:?}", handshake.response.status, handshake.response.content_type);
    match asked(handshake, &ready) {
        Err(got) => Outcome::Failed { expected: expected(), got },
        Ok(Answer::Reply(reply)) => compared(&handshake.response, &reply),
        Ok(Answer::Confirm { url, reply })
            if handshake.response.side_effect.is_some() && url.starts_with("https://") =>
        {
            compared(&handshake.response, &reply)
        }
        Ok(Answer::Confirm { .. }) => Outcome::Failed { expected: expected(), got: "a subscription to confirm".into() },
    }
}

fn ready(handshake: &Handshake, vectors: &[Vector]) -> Result<Ready, Outcome> {
    let failed = |got: String| Outcome::Failed { expected: "a source for it".into(), got };
    if handshake.provider == "aws-sns" {
        let vector = vectors.iter().find(|vector| vector.provider == "aws-sns" && vector.name == handshake.name);
        let Some(vector) = vector else {
            let reason = "only Amazon can sign it, and the file has no signed vector of its name".to_owned();
            return Err(Outcome::NotRun { reason });
        };
        let source = match document::source(vector) {
            Some(Ok(source)) => source,
            Some(Err(problem)) => return Err(failed(problem.to_string())),
            None => return Err(failed("no scheme".into())),
        };
        let key = document::key(vector).map(<[u8]>::to_vec);
        return Ok(Ready { source, headers: vector.headers.clone(), body: vector.body(), key, now: vector.now });
    }
    let discord = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).map_err(|problem| failed(problem.to_string()))?;
    let document = document(handshake, &hex::encode(discord.public_key()));
    let source = Source::from_secret(document.to_string().as_bytes()).map_err(|problem| failed(problem.to_string()))?;
    let body = match handshake.provider.as_str() {
        // The file shows the shape of it.
        "salesforce" => format!(
            "<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\"><soapenv:Body><notifications \
             xmlns=\"http://soap.sforce.com/2005/09/outbound\"><OrganizationId>{ORGANIZATION}</OrganizationId>\
             <ActionId>04k000000000001</ActionId><Notification><Id>04l000000000001</Id><sObject/></Notification>\
             </notifications></soapenv:Body></soapenv:Envelope>"
        ),
        _ => handshake.request.body.clone(),
    };
    let mut headers = handshake.request.headers.clone();
    if handshake.provider == "discord" {
        let signature = discord.sign(format!("{NOW}{body}").as_bytes());
        headers.push(("X-Signature-Timestamp".into(), NOW.to_string()));
        headers.push(("X-Signature-Ed25519".into(), hex::encode(signature)));
    } else if handshake.signed {
        let body = body.as_bytes();
        let outgoing = Outgoing { method: "POST", url: None, body, delivery_id: "d-1", event_type: None };
        let signed = sign(&source, &outgoing, NOW);
        headers.extend(signed.map_err(|problem| Outcome::NotRun { reason: problem.to_string() })?);
    }
    Ok(Ready { source, headers, body: body.into_bytes(), key: None, now: NOW })
}

/// The source that the handshake is asked of.
fn document(handshake: &Handshake, discord: &str) -> Value {
    let scheme = handshake.provider.as_str();
    let secret = handshake.secret.as_deref().unwrap_or(SECRET);
    let sent = |name: &str| {
        let headers = &handshake.request.headers;
        headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name)).map_or(SECRET, |(_, value)| value)
    };
    match scheme {
        "meta" => json!({ "scheme": scheme, "secrets": [SECRET], "verify_token": secret }),
        "notion" => json!({ "scheme": scheme, "pending": true }),
        "discord" => json!({ "scheme": scheme, "secrets": [discord] }),
        "salesforce" => json!({ "scheme": scheme, "secrets": [ORGANIZATION] }),
        "google-channel" => json!({ "scheme": scheme, "secrets": [sent("X-Goog-Channel-Token")] }),
        _ => json!({ "scheme": scheme, "secrets": [secret] }),
    }
}

fn asked(handshake: &Handshake, ready: &Ready) -> Result<Answer, String> {
    let headers = ready.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let Handshake { request: asked, .. } = handshake;
    let request = Request { method: &asked.method, url: None, query: &asked.query, headers, body: &ready.body };
    match greet(&ready.source, &request) {
        Some(Ok(Greeting::Reply(reply) | Greeting::Secret { reply, .. })) => return Ok(Answer::Reply(reply)),
        Some(Err(refusal)) => return Err(format!("{}: {refusal}", refusal.code())),
        None => {}
    }
    let verified = verify_with(&ready.source, &request, ready.key.as_deref(), ready.now);
    let verified = verified.map_err(|refusal| format!("{}: {refusal}", refusal.code()))?;
    match receive(&ready.source, &verified, ready.now) {
        Received::Handshake(reply) | Received::Events { reply: Some(reply), .. } => Ok(Answer::Reply(reply)),
        Received::Confirm { url, reply } => Ok(Answer::Confirm { url, reply }),
        Received::Events { reply: None, .. } => Err("an event and no answer".to_owned()),
    }
}

/// JSON is compared by what it says, everything else byte for byte.
fn compared(expected: &Expected, reply: &Reply) -> Outcome {
    let json = |text: &[u8]| serde_json::from_slice::<Value>(text).ok().filter(Value::is_object);
    let same_body = match json(expected.body.as_bytes()) {
        Some(expected) => json(&reply.body) == Some(expected),
        None => reply.body == expected.body.as_bytes(),
    };
    let same_type = reply.content_type == expected.content_type.as_deref();
    if reply.status == expected.status && same_type && same_body {
        return Outcome::Passed;
    }
    let said =
        |status: u16, content_type: Option<&str>| format!("{status} {}", content_type.unwrap_or("without a type"));
    let body = if same_body { "the same body" } else { "another body" };
    Outcome::Failed {
        expected: said(expected.status, expected.content_type.as_deref()),
        got: format!("{} and {body}", said(reply.status, reply.content_type)),
    }
}
