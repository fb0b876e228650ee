//! What a verification costs: time and allocations by scheme and body size, beside the bare HMAC of the same bytes.
//!
//! Deliveries are signed here where a scheme lets a receiver sign; with keys made here for ed25519 and ECDSA; and where only the provider can
//! sign, the project's own vector stands for it, at its own size.

use crate::failure::Failure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clawbridge_signatures::{Outgoing, Refusal, Request, Scheme, Source, sign, verify_with};
use clawbridge_vectors::{Vector, Vectors};
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde::Serialize;
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Sizes of the bodies, bytes.
pub(crate) const SIZES: [usize; 3] = [1024, 10 * 1024, 100 * 1024];

const NOW: i64 = 1_790_000_000;
const KEY: &str = "whsec-of-the-benchmark-0123456789";
const ORGANIZATION: &str = "00D000000000062";
const URL: &str = "https://hooks.example.com/hooks/bench";

/// How long is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Rounds, of which the median counts.
    pub(crate) rounds: usize,
    /// The length of one.
    pub(crate) round: Duration,
}

/// One verification.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Cost {
    /// The body, bytes.
    pub(crate) body_bytes: usize,
    /// The median of the rounds' means.
    pub(crate) ns: f64,
    /// Allocations, counted over one verification.
    pub(crate) allocations: u64,
    /// Bytes allocated.
    pub(crate) allocated_bytes: u64,
}

/// One scheme, or a bare HMAC.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// By size, where deliveries of any size can be made; else one.
    pub(crate) costs: Vec<Cost>,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) bare: Vec<Row>,
    pub(crate) schemes: Vec<Row>,
}

/// A request that its source takes.
struct Delivery {
    source: Source,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    method: String,
    url: Option<String>,
    key: Option<Vec<u8>>,
    now: i64,
}

impl Delivery {
    fn verify(&self) -> Result<usize, Refusal> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let query = self.url.as_deref().and_then(|url| url.split_once('?')).map_or("", |(_, query)| query);
        let request = Request { method: &self.method, url: self.url.as_deref(), query, headers, body: &self.body };
        verify_with(&self.source, &request, self.key.as_deref(), self.now).map(|verified| verified.secret_index())
    }

    /// Whether the signature holds. Its age, which is looked at last, does not change what that costs.
    fn is_good(&self) -> bool {
        matches!(self.verify(), Ok(_) | Err(Refusal::TimestampTooOld { .. } | Refusal::TimestampTooFarAhead { .. }))
    }

    fn cost(&self, plan: Plan) -> Cost {
        cost(self.body.len(), plan, || {
            let _verdict = black_box(self.verify());
        })
    }
}

pub(crate) fn measure(plan: Plan) -> Result<Figures, Failure> {
    let vectors = Vectors::project().map_err(|error| Failure::harness("the project's vectors", error))?;
    let mut schemes = Vec::new();
    for scheme in Scheme::all() {
        schemes.push(of_scheme(scheme, &vectors, plan)?);
    }
    Ok(Figures { bare: bare(plan)?, schemes })
}

fn of_scheme(scheme: Scheme, vectors: &Vectors, plan: Plan) -> Result<Row, Failure> {
    let mut costs = Vec::new();
    for size in SIZES {
        // Where only the provider can sign, its vector is measured.
        let Some(delivery) = delivery(scheme, size)?.filter(Delivery::is_good) else { break };
        costs.push(delivery.cost(plan));
    }
    if costs.is_empty() {
        let is_good = |vector: &&Vector| vector.provider == scheme.name() && vector.expects_valid();
        let delivery = vectors.vectors.iter().filter(is_good).find_map(of_vector);
        let delivery = delivery.ok_or_else(|| Failure::WrongAnswer(format!("{scheme} verifies nothing")))?;
        costs.push(delivery.cost(plan));
    }
    Ok(Row { name: scheme.name().to_owned(), costs })
}

fn of_vector(vector: &Vector) -> Option<Delivery> {
    let delivery = Delivery {
        source: vector.source()?.ok()?,
        headers: vector.headers.clone(),
        body: vector.body(),
        method: vector.method.clone(),
        url: vector.url.clone(),
        key: vector.key().map(<[u8]>::to_vec),
        now: vector.now,
    };
    delivery.is_good().then_some(delivery)
}

/// A body of exactly this size; `frame` puts the filling into it.
fn filled(size: usize, frame: impl Fn(&str) -> String) -> Vec<u8> {
    frame(&"x".repeat(size.saturating_sub(frame("").len()))).into_bytes()
}

/// JSON of exactly this size, with the time where Linear has it.
fn body(size: usize) -> Vec<u8> {
    filled(size, |filling| {
        json!({"event": "order.paid", "id": "evt_1", "filling": filling, "webhookTimestamp": NOW * 1000}).to_string()
    })
}

/// Mailgun's, with its proof.
fn mailgun(size: usize) -> Result<Vec<u8>, Failure> {
    let token = "0123456789abcdef0123456789abcdef0123456789abcdef01";
    let mac = <Hmac<sha2::Sha256> as KeyInit>::new_from_slice(KEY.as_bytes());
    let mac = mac.map_err(|error| Failure::harness("a key", error))?.chain_update(format!("{NOW}{token}"));
    let signature = hex::encode(mac.finalize().into_bytes());
    Ok(filled(size, |filling| {
        let proof = json!({"timestamp": NOW.to_string(), "token": token, "signature": signature});
        json!({"signature": proof, "event-data": {"event": "delivered", "filling": filling}}).to_string()
    }))
}

fn graph(size: usize) -> Vec<u8> {
    filled(size, |filling| {
        json!({"value": [{"subscriptionId": "s", "clientState": KEY, "changeType": "created", "resource": filling}]})
            .to_string()
    })
}

fn salesforce(size: usize) -> Vec<u8> {
    filled(size, |filling| {
        format!(
            "<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\"><soapenv:Body><notifications \
             xmlns=\"http://soap.sforce.com/2005/09/outbound\"><OrganizationId>{ORGANIZATION}</OrganizationId>\
             <ActionId>04k000000000001</ActionId><Notification><Id>04l000000000001</Id><sObject><Name>{filling}</Name></sObject>\
             </Notification></notifications></soapenv:Body></soapenv:Envelope>"
        )
    })
}

/// A signed delivery of the scheme, if one can be made here.
fn delivery(scheme: Scheme, size: usize) -> Result<Option<Delivery>, Failure> {
    let is_form = scheme.name() == "twilio";
    let body = if is_form { filled(size, |filling| format!("From=%2B15550100&Body={filling}")) } else { body(size) };
    let mut document = json!({"scheme": scheme.name(), "secrets": [KEY]});
    match scheme.name() {
        "hmac" => document["hmac"] = json!({"header": "X-Signature"}),
        "token" => document["token"] = json!({"header": "X-Token"}),
        "gitlab" | "standard-webhooks" | "svix" | "openai" | "anthropic" => {
            document["secrets"] = json!([format!("whsec_{}", encoded_key())])
        }
        "airtable" => document["secrets"] = json!([encoded_key()]),
        "mailgun" => return made(&document, Vec::new(), mailgun(size)?).map(Some),
        "microsoft-graph" => return made(&document, Vec::new(), graph(size)).map(Some),
        "salesforce" => {
            document["secrets"] = json!([ORGANIZATION]);
            return made(&document, Vec::new(), salesforce(size)).map(Some);
        }
        "discord" => return discord(document, body).map(Some),
        "sendgrid" => return sendgrid(document, body).map(Some),
        _ => {}
    }
    let Ok(source) = Source::from_secret(document.to_string().as_bytes()) else { return Ok(None) };
    let outgoing = Outgoing { method: "POST", url: Some(URL), body: &body, delivery_id: "d-1", event_type: None };
    let Ok(mut headers) = sign(&source, &outgoing, NOW) else { return Ok(None) };
    if is_form {
        headers.push(("Content-Type".into(), "application/x-www-form-urlencoded".into()));
    }
    Ok(Some(Delivery { source, headers, body, method: "POST".into(), url: Some(URL.into()), key: None, now: NOW }))
}

fn encoded_key() -> String {
    STANDARD.encode([7; 32])
}

fn discord(mut document: Value, body: Vec<u8>) -> Result<Delivery, Failure> {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).map_err(|error| Failure::harness("a key", error))?;
    document["secrets"] = json!([hex::encode(pair.public_key())]);
    let signature = hex::encode(pair.sign(&[NOW.to_string().as_bytes(), &body].concat()));
    let headers = vec![("X-Signature-Timestamp".into(), NOW.to_string()), ("X-Signature-Ed25519".into(), signature)];
    made(&document, headers, body)
}

fn sendgrid(mut document: Value, body: Vec<u8>) -> Result<Delivery, Failure> {
    /// SubjectPublicKeyInfo of a point on P-256 but for the point (RFC 5480 section 2).
    const HEAD: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
    let failed = |error: ring::error::Unspecified| Failure::harness("a key", error);
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(failed)?;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random)
        .map_err(|error| Failure::harness("a key", error))?;
    let head = hex::decode(HEAD).map_err(|error| Failure::harness("a key", error))?;
    document["secrets"] = json!([STANDARD.encode([&head, pair.public_key().as_ref()].concat())]);
    let signature = pair.sign(&random, &[NOW.to_string().as_bytes(), &body].concat()).map_err(failed)?;
    let headers = vec![
        ("X-Twilio-Email-Event-Webhook-Timestamp".into(), NOW.to_string()),
        ("X-Twilio-Email-Event-Webhook-Signature".into(), STANDARD.encode(signature)),
    ];
    made(&document, headers, body)
}

fn made(document: &Value, headers: Vec<(String, String)>, body: Vec<u8>) -> Result<Delivery, Failure> {
    let source = Source::from_secret(document.to_string().as_bytes());
    let source = source.map_err(|error| Failure::harness("a source", error))?;
    Ok(Delivery { source, headers, body, method: "POST".into(), url: Some(URL.into()), key: None, now: NOW })
}

/// The same bytes under nothing but the MAC.
fn bare(plan: Plan) -> Result<Vec<Row>, Failure> {
    Ok(vec![
        bare_of::<Hmac<sha1::Sha1>>("HMAC-SHA1", plan)?,
        bare_of::<Hmac<sha2::Sha256>>("HMAC-SHA256", plan)?,
        bare_of::<Hmac<sha2::Sha512>>("HMAC-SHA512", plan)?,
    ])
}

fn bare_of<M: Mac + KeyInit>(name: &str, plan: Plan) -> Result<Row, Failure> {
    let mut costs = Vec::new();
    for size in SIZES {
        let body = body(size);
        <M as KeyInit>::new_from_slice(KEY.as_bytes()).map_err(|error| Failure::harness(name, error))?;
        costs.push(cost(body.len(), plan, || {
            if let Ok(mac) = <M as KeyInit>::new_from_slice(KEY.as_bytes()) {
                black_box(mac.chain_update(black_box(&body)).finalize());
            }
        }));
    }
    Ok(Row { name: name.to_owned(), costs })
}

fn cost(body_bytes: usize, plan: Plan, run: impl Fn()) -> Cost {
    run();
    let counted = allocation_counter::measure(&run);
    let mut means: Vec<f64> = (0..plan.rounds.max(1)).map(|_| mean_ns(plan.round, &run)).collect();
    means.sort_by(f64::total_cmp);
    let ns = means.get(means.len() / 2).copied().unwrap_or_default();
    Cost { body_bytes, ns, allocations: counted.count_total, allocated_bytes: counted.bytes_total }
}

/// Repeats until the round is over; the clock is read once in eight.
fn mean_ns(round: Duration, run: &impl Fn()) -> f64 {
    let start = Instant::now();
    let mut times = 0_u32;
    loop {
        for _ in 0..8 {
            run();
        }
        times += 8;
        let elapsed = start.elapsed();
        if elapsed >= round {
            return elapsed.as_nanos() as f64 / f64::from(times);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_is_measured_on_a_delivery_that_it_takes() {
        let plan = Plan { rounds: 1, round: Duration::ZERO };
        let figures = measure(plan).expect("figures");
        assert_eq!(figures.schemes.len(), Scheme::all().count());
        let fixed: Vec<&str> =
            figures.schemes.iter().filter(|row| row.costs.len() == 1).map(|row| row.name.as_str()).collect();
        assert_eq!(fixed, ["aws-sns", "paypal", "google-pubsub"]);
        for row in figures.schemes.iter().chain(&figures.bare) {
            assert!(row.costs.len() == 1 || row.costs.iter().map(|cost| cost.body_bytes).eq(SIZES), "{row:?}");
            assert!(row.costs.iter().all(|cost| cost.ns > 0.0), "{row:?}");
        }
    }
}
