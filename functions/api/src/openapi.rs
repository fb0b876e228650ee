//! The OpenAPI document, made of the endpoints' rows.

use crate::endpoint::{Endpoint, Needs};
use crate::handlers;
use crate::schemas::{reference, schemas};
use axum::http::StatusCode;
use clawbridge_access::Wish;
use serde_json::{Map, Value, json};

/// The document, OpenAPI 3.1.
#[must_use]
pub fn document() -> Value {
    let mut paths = Map::new();
    for endpoint in handlers::endpoints() {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.as_str().to_ascii_lowercase()] = operation(&endpoint);
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Clawbridge", "version": env!("CARGO_PKG_VERSION"), "description": "The bridge for people, programs and agents."},
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "headers": every_headers(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "ocl_…"}},
        },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let in_path = endpoint.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    parameters.extend(
        endpoint.query.iter().map(
            |param| json!({"name": param.name, "in": "query", "description": param.says, "schema": param.schema()}),
        ),
    );
    if endpoint.takes_key {
        parameters.push(json!({"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            "description": "The same key again is the same call."}));
    }
    let content = |name: &str| json!({"application/json": {"schema": reference(name)}});
    let mut responses: Map<String, Value> = endpoint
        .answers
        .iter()
        .map(|(status, name)| (status.to_string(), json!({"description": name, "content": content(name)})))
        .collect();
    for answer in responses.values_mut() {
        answer["headers"] = headers(None);
    }
    for status in endpoint.failures() {
        let says = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error");
        let more = matches!(status, 429 | 503).then_some("Retry-After");
        responses.insert(
            status.to_string(),
            json!({"description": says, "headers": headers(more), "content": content("Error")}),
        );
    }
    responses.insert("default".to_owned(), json!({"description": "Error", "content": content("Error")}));
    let mut operation =
        json!({"operationId": endpoint.id, "summary": endpoint.says, "parameters": parameters, "responses": responses});
    match needs(endpoint.needs) {
        Some(scopes) => {
            operation["security"] = json!([{"token": []}]);
            operation["description"] = json!(format!("Scope: {scopes}."));
        }
        None => operation["security"] = json!([]),
    }
    if let Some(body) = endpoint.body {
        let media = endpoint.media.iter().map(|media| {
            let schema = if *media == "application/toml" { json!({"type": "string"}) } else { reference(body) };
            ((*media).to_owned(), json!({ "schema": schema }))
        });
        operation["requestBody"] =
            json!({"required": requires(body), "content": media.collect::<Map<String, Value>>()});
    }
    operation
}

/// What every answer says about itself.
const HEADERS: [(&str, &str, &str); 9] = [
    ("X-Request-Id", "string", "Names the request, in the answer to a failure as well."),
    ("X-Clawbridge-Version", "string", "Of the bridge that answers."),
    ("RateLimit-Limit", "integer", "Requests that may come at once with this token."),
    ("RateLimit-Remaining", "integer", "How many of them are left, as far as who answers knows."),
    ("RateLimit-Reset", "integer", "Seconds until all of them are there again."),
    ("X-RateLimit-Limit", "integer", "As RateLimit-Limit."),
    ("X-RateLimit-Remaining", "integer", "As RateLimit-Remaining."),
    ("X-RateLimit-Reset", "integer", "As RateLimit-Reset, in Unix seconds."),
    ("Retry-After", "integer", "Seconds after which to come back."),
];

fn every_headers() -> Value {
    let header = |(name, kind, says): (&str, &str, &str)| {
        (name.to_owned(), json!({"description": says, "schema": {"type": kind}}))
    };
    HEADERS.into_iter().map(header).collect::<Map<String, Value>>().into()
}

/// The headers of an answer: those of every one, and `more`.
fn headers(more: Option<&str>) -> Value {
    let names = HEADERS.into_iter().map(|(name, _, _)| name).filter(|name| *name != "Retry-After").chain(more);
    names
        .map(|name| (name.to_owned(), json!({"$ref": format!("#/components/headers/{name}")})))
        .collect::<Map<String, Value>>()
        .into()
}

/// Whether a body of this schema has to be there: whether an empty one would not do.
pub(crate) fn requires(body: &str) -> bool {
    !matches!(body, "Reason" | "Again" | "Invoke")
}

/// What a token must have, in words.
pub(crate) fn needs(needs: Needs) -> Option<&'static str> {
    match needs {
        Needs::Nothing => None,
        Needs::Token(words) => Some(words),
        Needs::Wish(Wish::Greet) => Some("any"),
        Needs::Wish(Wish::Look | Wish::LookAtSource(_) | Wish::LookAtTool(_)) => Some("read"),
        Needs::Wish(Wish::Call(_) | Wish::Replay | Wish::Ask(_) | Wish::Enter(_)) => Some("execute"),
        Needs::Wish(Wish::Administer) => Some("admin"),
    }
}
