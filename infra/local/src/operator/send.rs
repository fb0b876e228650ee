//! `send`: sign a fixture for its source and post it.

use super::fixture::Fixture;
use super::print_json;
use super::reach::{Reached, cause, http_client};
use super::secrets;
use crate::cli::{Global, SendArgs};
use crate::failure::{Exit, Failure};
use crate::out::say;
use bytes::Bytes;
use clawbridge_clock::Timestamp;
use clawbridge_local_aws::gateway::{Api, EventSource};
use clawbridge_signatures::{Outgoing, Request, Source, identify, sign, verify};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// A delivery, signed.
struct Delivery {
    /// As `events list` will show it.
    id: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

pub(crate) async fn send(global: &Global, args: &SendArgs) -> Result<(), Failure> {
    let fixture = Fixture::read(&args.fixture)?;
    let name = args.source.as_deref().unwrap_or(&fixture.source);
    let reached = Reached::stack(global).await?;
    let source = source(&reached, name).await?;
    if args.print_event {
        let delivery = deliver(&fixture, &source, args, 0)?;
        say!("{}", String::from_utf8_lossy(&event(name, &delivery)?));
        return Ok(());
    }
    let base = args.url.as_deref().or(reached.stack.public_url.as_deref()).ok_or_else(|| {
        Failure::negative(
            "NO_ADDRESS",
            "where the stack's webhooks are posted is not known here; give its output WebhookUrl as --url",
        )
    })?;
    let url = format!("{}/hooks/{name}", base.trim_end_matches('/'));
    let client = http_client()?;
    let mut refused = 0;
    for turn in 0..args.repeat {
        let delivery = deliver(&fixture, &source, args, turn)?;
        let (status, answer) = post(&client, &url, &delivery).await?;
        let accepted = (200..300).contains(&status);
        refused += u32::from(!accepted);
        if global.json {
            print_json(
                &json!({"status": status, "accepted": accepted, "source": name, "delivery_id": delivery.id, "answer": answer}),
            );
        } else {
            let note = if args.tamper { ", tampered with" } else { "" };
            say!("{status}  {name} {} ({} bytes{note}): {answer}", delivery.id, delivery.body.len());
        }
    }
    if refused > 0 {
        let message = format!("{refused} of {} deliveries were not accepted", args.repeat);
        return Err(Failure { code: "NOT_ACCEPTED", message, exit: Exit::Negative });
    }
    Ok(())
}

async fn source(reached: &Reached, name: &str) -> Result<Source, Failure> {
    let secret = reached.stack.source_secret(name);
    let value = secrets::read(reached, &secret).await?.ok_or_else(|| {
        Failure::not_found(
            "UNKNOWN_SOURCE",
            format!("there is no source {name}; `clawbridge source add {name}` makes it"),
        )
    })?;
    Source::from_secret(&value)
        .map_err(|error| Failure::negative("SOURCE_INVALID", format!("source {name} does not work: {error}")))
}

fn deliver(fixture: &Fixture, source: &Source, args: &SendArgs, turn: u32) -> Result<Delivery, Failure> {
    // The same fixture is the same delivery each time, unless it is asked to be a fresh one.
    let id = if args.fresh {
        format!("fresh_{turn}_{:016x}", fastrand::u64(..))
    } else {
        let stem = args.fixture.file_stem().unwrap_or_default().to_string_lossy();
        stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
    };
    let mut body = fixture.body(args.fresh.then_some(id.as_str()));
    let signed_at = Timestamp::now().minus(Duration::from_secs(u64::from(args.age)));
    let outgoing =
        Outgoing { method: "POST", url: None, body: &body, delivery_id: &id, event_type: fixture.event_type() };
    let mut headers = sign(source, &outgoing, signed_at.seconds())
        .map_err(|error| Failure::negative("NOT_SIGNABLE", error.to_string()))?;
    let signed: Vec<String> = headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    headers.extend(
        fixture
            .headers
            .iter()
            .filter(|(name, _)| !signed.contains(&name.to_ascii_lowercase()))
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    let id = identity(source, &headers, &body, signed_at).unwrap_or(id);
    if args.tamper {
        // One more space at the end of a JSON document changes nothing but the signature's truth.
        body.push(b' ');
    }
    Ok(Delivery { id, headers, body })
}

/// The id under which the bridge will know the delivery.
fn identity(source: &Source, headers: &[(String, String)], body: &[u8], signed_at: Timestamp) -> Option<String> {
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let request = Request { method: "POST", url: None, query: "", headers, body };
    let verified = verify(source, &request, signed_at.seconds()).ok()?;
    Some(identify(source, &verified).delivery_id)
}

async fn post(client: &reqwest::Client, url: &str, delivery: &Delivery) -> Result<(u16, Value), Failure> {
    let failed = |error: &reqwest::Error| Failure::new("NOT_DELIVERED", format!("{url}: {}", cause(error)));
    let mut request = client.post(url).body(delivery.body.clone());
    for (name, value) in &delivery.headers {
        request = request.header(name, value);
    }
    let response = request.send().await.map_err(|error| failed(&error))?;
    let status = response.status().as_u16();
    let body = response.bytes().await.map_err(|error| failed(&error))?;
    let answer =
        serde_json::from_slice(&body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
    Ok((status, answer))
}

/// The event that API Gateway would make of the delivery.
fn event(source: &str, delivery: &Delivery) -> Result<Vec<u8>, Failure> {
    let invalid = |error: http::Error| Failure::negative("NOT_SENDABLE", error.to_string());
    let path = format!("/hooks/{source}");
    let mut request = http::Request::builder().method("POST").uri(&path);
    for (name, value) in &delivery.headers {
        request = request.header(name, value);
    }
    let (parts, body) = request.body(Bytes::from(delivery.body.clone())).map_err(invalid)?.into_parts();
    let source_parameter = BTreeMap::from([("source".to_owned(), source.to_owned())]);
    Ok(clawbridge_local_aws::gateway::event(&EventSource {
        api: &Api::default(),
        parts: &parts,
        path: &path,
        route_key: "POST /hooks/{source}",
        path_parameters: &source_parameter,
        body: &body,
        source_ip: IpAddr::from([127, 0, 0, 1]),
        port: 443,
        now: SystemTime::now(),
        request_id: "local",
        trace_id: "Root=1-00000000-000000000000000000000000",
    }))
}
