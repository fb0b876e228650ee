//! `send`: sign a fixture for its source and post it.

use super::fixture::{Fixture, Fresh};
use super::print_json;
use super::proof::prove;
use super::reach::{Reached, cause, http_client};
use super::secrets;
use crate::cli::{Global, SendArgs};
use crate::failure::{Exit, Failure};
use crate::out::say;
use bytes::Bytes;
use clawbridge_clock::Timestamp;
use clawbridge_local_aws::gateway::{Api, EventSource};
use clawbridge_signatures::{Outgoing, Received, Request, Source, receive, sign, verify};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// A delivery, signed.
struct Delivery {
    /// As `events list` will show its events: one, or several where the provider puts several into one request.
    ids: Vec<String>,
    /// Without the question mark; empty where there is none.
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

pub(crate) async fn send(global: &Global, args: &SendArgs) -> Result<(), Failure> {
    let fixture = Fixture::read(&args.fixture)?;
    let name = args.source.as_deref().unwrap_or(&fixture.source);
    let reached = Reached::stack(global).await?;
    let source = source(&reached, name).await?;
    if args.tamper && !source.scheme().signs_body() {
        let message =
            format!("the scheme {} does not sign the body: whoever knows its secret may write any", source.scheme());
        return Err(Failure::negative("BODY_NOT_SIGNED", message));
    }
    let base = args.url.as_deref().or(reached.stack.public_url.as_deref());
    let address = base.map(|base| hook(base, name));
    // What the provider was told, where that is not where this goes (a tunnel, a domain of one's own).
    let told = reached.stack.told_url.as_deref().filter(|_| args.url.is_none()).map(|base| hook(base, name));
    let public = source.options().url.as_deref().or(told.as_deref()).or(address.as_deref());
    if args.print_event {
        let delivery = deliver(&fixture, &source, public, args, 0)?;
        say!("{}", String::from_utf8_lossy(&event(name, &delivery)?));
        return Ok(());
    }
    let address = address.as_deref().ok_or_else(|| {
        Failure::negative(
            "NO_ADDRESS",
            "where the stack's webhooks are posted is not known here; give its output WebhookUrl as --url",
        )
    })?;
    let client = http_client()?;
    let mut refused = 0;
    for turn in 0..args.repeat {
        let delivery = deliver(&fixture, &source, public, args, turn)?;
        let (status, answer) = post(&client, &with_query(address, &delivery.query), &delivery).await?;
        let accepted = (200..300).contains(&status);
        refused += u32::from(!accepted);
        if global.json {
            print_json(&json!({
                "status": status,
                "accepted": accepted,
                "source": name,
                "delivery_id": delivery.ids.first(),
                "delivery_ids": delivery.ids,
                "answer": answer,
            }));
        } else {
            let note = if args.tamper { ", tampered with" } else { "" };
            say!("{status}  {name} {} ({} bytes{note}): {answer}", delivery.ids.join(" "), delivery.body.len());
        }
    }
    if refused > 0 {
        let message = format!("{refused} of {} deliveries were not accepted", args.repeat);
        return Err(Failure { code: "NOT_ACCEPTED", message, exit: Exit::Negative });
    }
    Ok(())
}

fn hook(base: &str, name: &str) -> String {
    format!("{}/hooks/{name}", base.trim_end_matches('/'))
}

fn with_query(url: &str, query: &str) -> String {
    if query.is_empty() { url.to_owned() } else { format!("{url}?{query}") }
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

/// `public` is the address that the provider would have been told, without a query.
fn deliver(
    fixture: &Fixture,
    source: &Source,
    public: Option<&str>,
    args: &SendArgs,
    turn: u32,
) -> Result<Delivery, Failure> {
    // The same fixture is the same delivery each time, unless it is asked to be a fresh one.
    let random = fastrand::u64(..);
    let fresh =
        args.fresh.then(|| Fresh { id: format!("fresh_{turn}_{random:016x}"), number: u64::from(random as u32) << 8 });
    let id = match (&fresh, &fixture.delivery_id) {
        (Some(fresh), _) => fresh.id.clone(),
        (None, Some(id)) => id.clone(),
        (None, None) => {
            let stem = args.fixture.file_stem().unwrap_or_default().to_string_lossy();
            stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
        }
    };
    let signed_at = Timestamp::now().minus(Duration::from_secs(u64::from(args.age)));
    let mut body = prove(source, fixture.body(fresh.as_ref()), signed_at)?;
    let query = fixture.query(&body);
    let url = public.map(|public| with_query(public, &query));
    let outgoing = Outgoing {
        method: "POST",
        url: url.as_deref(),
        body: &body,
        delivery_id: &id,
        event_type: fixture.event_type.as_deref(),
    };
    let mut headers = sign(source, &outgoing, signed_at.seconds())
        .map_err(|error| Failure::negative("NOT_SIGNABLE", format!("scheme {}: {error}", source.scheme())))?;
    let signed: Vec<String> = headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    headers.extend(
        fixture
            .headers
            .iter()
            .filter(|(name, _)| !signed.contains(&name.to_ascii_lowercase()))
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    let named = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let request = Request { method: "POST", url: url.as_deref(), query: &query, headers: named, body: &body };
    let ids = identities(source, &request, signed_at).unwrap_or_else(|| vec![id]);
    if args.tamper {
        // One more space at the end of a JSON document changes nothing but the signature's truth.
        body.push(b' ');
    }
    Ok(Delivery { ids, query, headers, body })
}

/// The ids under which the bridge will know the delivery's events.
fn identities(source: &Source, request: &Request<'_>, signed_at: Timestamp) -> Option<Vec<String>> {
    let verified = verify(source, request, signed_at.seconds()).ok()?;
    match receive(source, &verified, signed_at.seconds()) {
        Received::Events { events, .. } => Some(events.into_iter().map(|event| event.identity.delivery_id).collect()),
        Received::Handshake(_) | Received::Confirm { .. } => Some(Vec::new()),
    }
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
    let mut request = http::Request::builder().method("POST").uri(with_query(&path, &delivery.query));
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
