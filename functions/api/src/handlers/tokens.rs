//! Tokens: make, list, revoke.

use crate::call::Call;
use crate::endpoint::{Endpoint, Needs, Reply};
use crate::problem::{Code, Field, Problem};
use crate::state::{Api, random};
use axum::http::{Method, StatusCode, header};
use clawbridge_access::{Rate, Scope, Token, TokenRecord, Wish};
use clawbridge_clock::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    const ADMIN: Needs = Needs::Wish(Wish::Administer);
    vec![
        Endpoint::new(
            Method::GET,
            "/api/v1/tokens",
            "listTokens",
            "List the tokens: never what they are, only what they are called and for.",
            ADMIN,
            &[(200, "TokenList")],
            |api, call| Box::pin(list(api, call)),
        ),
        Endpoint::new(
            Method::POST,
            "/api/v1/tokens",
            "createToken",
            "Make a token. This answer is the only one that shows it.",
            ADMIN,
            &[(201, "NewToken")],
            |api, call| Box::pin(create(api, call)),
        )
        .fails(&[409])
        .body("CreateToken"),
        Endpoint::new(
            Method::DELETE,
            "/api/v1/tokens/{name}",
            "revokeToken",
            "Revoke a token. It is refused everywhere within five seconds.",
            ADMIN,
            &[(200, "Revoked")],
            |api, call| Box::pin(revoke(api, call)),
        )
        .fails(&[409]),
    ]
}

fn view(record: &TokenRecord) -> Value {
    let scopes: Vec<String> = record.scopes.iter().map(ToString::to_string).collect();
    let at = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
    json!({"name": record.name, "scopes": scopes, "created_at": record.created_at.rfc3339(), "expires_at": at(record.expires_at),
        "last_used_at": at(record.last_used_at), "rate": record.rate.map(|rate| rate.to_string()), "burst": record.rate.map(Rate::burst)})
}

async fn list(api: &Api, _call: &Call) -> Result<Reply, Problem> {
    let tokens = api.registry.tokens().await?;
    Ok(Reply::ok(json!({"tokens": tokens.iter().map(view).collect::<Vec<_>>()})))
}

#[derive(Deserialize)]
struct Create {
    name: String,
    scopes: Vec<String>,
    expires_at: Option<String>,
    rate: Option<String>,
    burst: Option<u32>,
}

async fn create(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let wanted: Create = call.body()?;
    let (mut scopes, mut fields) = (Vec::new(), Vec::new());
    for (place, text) in wanted.scopes.iter().enumerate() {
        match text.parse::<Scope>() {
            Ok(scope) => scopes.push(scope),
            Err(error) => fields.push(Field::new(format!("scopes.{place}"), error.to_string())),
        }
    }
    let expires_at = wanted.expires_at.as_deref().map(Timestamp::parse_rfc3339);
    match expires_at {
        Some(None) => fields.push(Field::new("expires_at", "a time as in RFC 3339 is wanted")),
        Some(Some(at)) if at <= call.now => fields.push(Field::new("expires_at", "this time is over")),
        Some(Some(_)) | None => {}
    }
    let rate = rate(&wanted, &mut fields);
    if !fields.is_empty() {
        return Err(Problem::fields(fields));
    }
    let token = Token::of(random()?);
    let record = TokenRecord {
        hash: token.hash(),
        name: wanted.name,
        scopes,
        created_at: call.now,
        expires_at: expires_at.flatten(),
        last_used_at: None,
        rate,
    };
    if !api.registry.put_token(&record, call.now).await? {
        return Err(Problem::new(Code::Conflict, "there is a token of this name; revoke it, or choose another name"));
    }
    let mut body = view(&record);
    body["token"] = json!(token.reveal());
    let reply = Reply::with(StatusCode::CREATED, body);
    Ok(reply.header(header::LOCATION, &format!("/api/v1/tokens/{}", record.name)))
}

fn rate(wanted: &Create, fields: &mut Vec<Field>) -> Option<Rate> {
    let Some(text) = wanted.rate.as_deref() else {
        if wanted.burst.is_some() {
            fields.push(Field::new("burst", "it belongs to a `rate`; give that as well"));
        }
        return None;
    };
    let rate = text.parse::<Rate>().map_err(|error| fields.push(Field::new("rate", error.to_string()))).ok()?;
    // The schema has its bounds.
    wanted.burst.map_or(Some(rate), |burst| rate.with_burst(burst))
}

async fn revoke(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let name = call.param("name");
    let hash = api.registry.revoke_token(name).await?.ok_or_else(|| Problem::not_found("token"))?;
    api.forget(&hash);
    Ok(Reply::ok(json!({"name": name, "revoked": true})))
}
