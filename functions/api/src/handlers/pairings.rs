//! Pairings: who has no token asks for one that speaks with an agent, and the agent's owner confirms the code.

use crate::call::Call;
use crate::endpoint::{Endpoint, Needs, Reply};
use crate::problem::{Code, Problem};
use crate::state::{Api, random};
use axum::http::{Method, StatusCode, header};
use clawbridge_access::{Pairing, PairingCode, Presented, Token, Wish};
use clawbridge_clock::Timestamp;
use clawbridge_registry::Confirmation;
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    const ADMIN: Needs = Needs::Wish(Wish::Administer);
    vec![
        Endpoint::new(
            Method::GET,
            "/api/v1/pairings",
            "listPairings",
            "List the pairings that wait for the agent's owner.",
            ADMIN,
            &[(200, "PairingList")],
            |api, call| Box::pin(list(api, call)),
        ),
        Endpoint::new(
            Method::POST,
            "/api/v1/pairings",
            "createPairing",
            "Ask for a token that speaks with an agent. The token is shown this once and good for nothing until the agent's owner confirms the code, \
             within fifteen minutes.",
            Needs::Nothing,
            &[(201, "NewPairing")],
            |api, call| Box::pin(create(api, call)),
        )
        .body("CreatePairing")
        .fails(&[503]),
        Endpoint::new(
            Method::POST,
            "/api/v1/pairings/confirm",
            "confirmPairing",
            "Make the token good that belongs to a code. Wrong codes make the next one wait.",
            ADMIN,
            &[(200, "ConfirmedPairing")],
            |api, call| Box::pin(confirm(api, call)),
        )
        .body("ConfirmPairing")
        .fails(&[404, 409]),
        Endpoint::new(
            Method::GET,
            "/api/v1/pairings/{id}",
            "getPairing",
            "Say where a pairing stands, to who sends its token as the bearer token.",
            Needs::Nothing,
            &[(200, "Pairing")],
            |api, call| Box::pin(show(api, call)),
        )
        .fails(&[401, 503]),
        Endpoint::new(
            Method::POST,
            "/api/v1/pairings/{id}/refuse",
            "refusePairing",
            "Refuse a pairing that waits.",
            ADMIN,
            &[(200, "Pairing")],
            |api, call| Box::pin(refuse(api, call)),
        ),
    ]
}

fn view(pairing: &Pairing, now: Timestamp) -> Value {
    json!({"id": pairing.id, "agent": pairing.agent, "name": pairing.name, "status": pairing.state(now).as_str(),
        "created_at": pairing.created_at.rfc3339(), "expires_at": pairing.expires_at.rfc3339()})
}

#[derive(Deserialize)]
struct Create {
    agent: String,
    name: String,
}

async fn create(api: &Api, call: &Call) -> Result<Reply, Problem> {
    // Whether there is such an agent is not for strangers to find out: its owner is told.
    let wanted: Create = call.body()?;
    let (code, token) = (PairingCode::of(random()?), Token::of(random()?));
    let pairing = Pairing::new(random()?, &wanted.agent, &wanted.name, &code, token.hash(), call.now);
    api.registry.open_pairing(&pairing, call.now).await??;
    let mut body = view(&pairing, call.now);
    body["token"] = json!(token.reveal());
    body["code"] = json!(code.reveal());
    let reply = Reply::with(StatusCode::CREATED, body);
    Ok(reply.header(header::LOCATION, &format!("/api/v1/pairings/{}", pairing.id)))
}

async fn show(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let presented = Presented::parse(call.authorization.as_deref());
    let presented = presented.map_err(|error| Problem::new(Code::Unauthorized, error.to_string()))?;
    let pairing = api.registry.pairing(call.param("id")).await?.filter(|pairing| pairing.token == *presented.hash());
    let pairing = pairing.ok_or_else(|| Problem::not_found("pairing with this token"))?;
    Ok(Reply::ok(view(&pairing, call.now)))
}

async fn list(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let pairings = api.registry.pairings(call.now).await?;
    Ok(Reply::ok(json!({"pairings": pairings.iter().map(|pairing| view(pairing, call.now)).collect::<Vec<_>>()})))
}

#[derive(Deserialize)]
struct Confirm {
    code: String,
    expires_at: Option<String>,
}

async fn confirm(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let wanted: Confirm = call.body()?;
    let code = wanted.code.parse::<PairingCode>();
    let code = code.map_err(|error| Problem::field("code", error.to_string()))?;
    let until = match wanted.expires_at.as_deref().map(Timestamp::parse_rfc3339) {
        Some(None) => return Err(Problem::field("expires_at", "a time as in RFC 3339 is wanted")),
        Some(Some(at)) if at <= call.now => return Err(Problem::field("expires_at", "this time is over")),
        Some(Some(at)) => Some(at),
        None => None,
    };
    match api.registry.confirm_pairing(&code, until, call.now).await? {
        Confirmation::Confirmed { pairing, token } => {
            let mut body = view(&pairing, call.now);
            body["token_name"] = json!(token.name);
            // Whoever tried the token too early is not to wait until that is forgotten.
            api.forget(&token.hash);
            Ok(Reply::ok(body))
        }
        Confirmation::Unknown => Err(Problem::not_found(
            "pairing that waits; the code was mistyped or used, or its fifteen minutes are over",
        )),
        Confirmation::NoAgent(agent) => {
            let message = format!("they ask for the agent {agent}, which there is not; add it, or refuse the pairing");
            Err(Problem::new(Code::Conflict, message))
        }
        Confirmation::TooMany(refused) => Err(refused.into()),
    }
}

async fn refuse(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let refused = api.registry.refuse_pairing(call.param("id"), call.now).await?;
    let pairing = refused.ok_or_else(|| Problem::not_found("pairing that waits"))?;
    Ok(Reply::ok(view(&pairing, call.now)))
}
