//! Connections: the accounts that are connected, a link to connect one, and what is to be done about one.
//!
//! This function reads no secret. What needs tokens goes through the queue to `worker`, which may read them, and what came of it is waited for.

use crate::call::Call;
use crate::endpoint::{Endpoint, Kind, Needs, Param, Reply};
use crate::problem::{Code, Field, Problem};
use crate::state::{Api, random};
use axum::http::{Method, StatusCode};
use clawbridge_access::Wish;
use clawbridge_connections::links::LIFETIME;
use clawbridge_connections::record::Status;
use clawbridge_connections::{ConnectionName, Unusable};
use clawbridge_oauth::{Ticket, redirect_uri};
use clawbridge_queue::{ConnectionMessage, ConnectionWish, Message};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const PAGE: &[Param] = &[
    Param {
        name: "limit",
        kind: Kind::Number { min: 1, max: 100, default: Some(100) },
        says: "The most connections of a page.",
    },
    Param {
        name: "after",
        kind: Kind::Text,
        says: "Only connections after this one: `next_after` of the page before.",
    },
];

const WAIT: Param = Param {
    name: "wait",
    kind: Kind::Number { min: 0, max: 25, default: Some(20) },
    says: "Seconds to wait for the end. After them the answer is 202, and it goes on.",
};

const WAITS: &[Param] = &[WAIT];

const ENDS: &[Param] = &[
    WAIT,
    Param {
        name: "force",
        kind: Kind::Word(&["true", "false"]),
        says: "Whether the tokens are deleted even if the provider cannot be told [default: false].",
    },
];

/// How often is looked for what came of a wish.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) fn endpoints() -> Vec<Endpoint> {
    const LOOK: Needs = Needs::Wish(Wish::Look);
    const CHANGE: Needs = Needs::Wish(Wish::Administer);
    vec![
        Endpoint::new(
            Method::GET,
            "/api/v1/connections",
            "listConnections",
            "List the connected accounts, by name.",
            LOOK,
            &[(200, "ConnectionList")],
            |api, call| Box::pin(list(api, call)),
        )
        .query(PAGE),
        Endpoint::new(
            Method::GET,
            "/api/v1/connections/{provider}/{account}",
            "getConnection",
            "Show a connection: never its tokens.",
            LOOK,
            &[(200, "Connection")],
            |api, call| Box::pin(show(api, call)),
        ),
        Endpoint::new(
            Method::DELETE,
            "/api/v1/connections/{provider}/{account}",
            "revokeConnection",
            "Have the provider revoke the tokens, and delete them.",
            CHANGE,
            &[(200, "ConnectionRevoked"), (202, "Wished")],
            |api, call| Box::pin(revoke(api, call)),
        )
        .query(ENDS)
        .fails(&[409]),
        Endpoint::new(
            Method::POST,
            "/api/v1/connections/{provider}/{account}/link",
            "linkConnection",
            "Make a link with which a person connects the account, within ten minutes.",
            CHANGE,
            &[(201, "ConnectionLink")],
            |api, call| Box::pin(link(api, call)),
        )
        .body("LinkConnection")
        .fails(&[409]),
        Endpoint::new(
            Method::POST,
            "/api/v1/connections/{provider}/{account}/refresh",
            "refreshConnection",
            "Get a new token now; where the grant needs no person, the first one too.",
            CHANGE,
            &[(200, "ConnectionRefreshed"), (202, "Wished")],
            |api, call| Box::pin(wish(api, call, ConnectionWish::Refresh)),
        )
        .query(WAITS)
        .fails(&[409]),
        Endpoint::new(
            Method::POST,
            "/api/v1/connections/{provider}/{account}/test",
            "testConnection",
            "Ask the provider's test_url with the connection's token.",
            CHANGE,
            &[(200, "ConnectionTested"), (202, "Wished")],
            |api, call| Box::pin(wish(api, call, ConnectionWish::Test)),
        )
        .query(WAITS)
        .fails(&[409]),
    ]
}

impl From<Unusable> for Problem {
    fn from(error: Unusable) -> Problem {
        Problem::unavailable(error)
    }
}

fn not_connected() -> Problem {
    Problem::not_found("connection")
}

fn named(call: &Call) -> Result<ConnectionName, Problem> {
    // What cannot be a name is the name of no connection.
    ConnectionName::new(call.param("provider"), call.param("account")).map_err(|_| not_connected())
}

async fn list(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let after: Option<ConnectionName> = match call.text("after") {
        Some(text) => Some(text.parse().map_err(|_| Problem::field("after", "a name is wanted, PROVIDER/ACCOUNT"))?),
        None => None,
    };
    let limit = usize::try_from(call.number("limit", 100)).unwrap_or(100);
    let page = api.connections.list(after.as_ref(), limit).await?;
    let connections: Vec<Value> = page.records.iter().map(|record| record.view()).collect();
    Ok(Reply::ok(json!({"connections": connections, "next_after": page.next.map(|name| name.to_string())})))
}

async fn show(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let record = api.connections.show(&named(call)?).await?.ok_or_else(not_connected)?;
    Ok(Reply::ok(record.view()))
}

#[derive(Deserialize, Default)]
struct Link {
    #[serde(default)]
    parameters: BTreeMap<String, String>,
}

async fn link(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let Link { parameters } = if call.body.is_null() { Link::default() } else { call.body()? };
    let config = api.registry.current().await?.config;
    let provider = config.provider(call.param("provider")).ok_or_else(|| Problem::not_found("provider"))?;
    let name = ConnectionName::new(call.param("provider"), call.param("account"));
    let name = name.map_err(|error| Problem::field("account", error.to_string()))?;
    provider.for_account(&parameters).map_err(|error| {
        Problem::fields(vec![Field::new(format!("parameters.{}", error.name()), error.to_string())])
    })?;
    if !provider.grant.needs_a_person() {
        let message =
            format!("{} has the grant {}, which needs nobody: refresh gets a token", name.provider(), provider.grant);
        return Err(Problem::new(Code::Conflict, message));
    }
    let base = match (&api.settings.public_url, &call.host) {
        (Some(base), _) => base.trim_end_matches('/').to_owned(),
        // The name under which API Gateway was asked, which only names that lead to this API can be.
        (None, Some(host)) => format!("https://{host}"),
        (None, None) => {
            return Err(Problem::unavailable("the request does not say by which name the bridge was asked"));
        }
    };
    let returns_to = redirect_uri(&base, name.provider()).map_err(Problem::unavailable)?;
    let ticket = Ticket::new(random()?);
    api.links.make(&ticket, &name, &parameters, call.now).await.map_err(Problem::unavailable)?;
    let body = json!({"connection": name.to_string(), "url": format!("{base}/oauth/connect/{}", ticket.expose()),
        "expires_at": call.now.plus(LIFETIME).rfc3339(), "redirect_uri": returns_to});
    Ok(Reply::with(StatusCode::CREATED, body))
}

async fn revoke(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let force = call.text("force") == Some("true");
    wish(api, call, if force { ConnectionWish::Forget } else { ConnectionWish::Revoke }).await
}

/// Has the worker do something about an account, and waits for what comes of it.
async fn wish(api: &Api, call: &Call, wish: ConnectionWish) -> Result<Reply, Problem> {
    let name = named(call)?;
    let is_declared = api.registry.current().await?.config.provider(name.provider()).is_some();
    let record = api.connections.show(&name).await?;
    // Where the grant needs nobody a refresh makes the connection, so only the provider has to be there.
    if !is_declared && record.as_ref().is_none_or(|record| record.status == Status::Revoked) {
        return Err(not_connected());
    }
    let id = hex::encode(random::<16>()?);
    let (provider, account) = (name.provider().to_owned(), name.account().to_owned());
    let message = Message::Connection(ConnectionMessage { id: id.clone(), wish, provider, account });
    api.queues.send(&message, Duration::ZERO).await?;
    let end = Instant::now() + Duration::from_secs(call.number("wait", 20));
    loop {
        if let Some(outcome) = api.registry.outcome(&id).await? {
            return answer(outcome);
        }
        if Instant::now() >= end {
            return Ok(Reply::with(StatusCode::ACCEPTED, json!({"connection": name.to_string(), "asked": true})));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn answer(outcome: Value) -> Result<Reply, Problem> {
    let Some(error) = outcome.get("error") else { return Ok(Reply::ok(outcome)) };
    let message = error["message"].as_str().unwrap_or_default();
    let code = match error["code"].as_str() {
        Some("not_found") => Code::NotFound,
        Some("conflict") => Code::Conflict,
        _ => Code::Unavailable,
    };
    Err(Problem { retry_after: error["retry_after"].as_u64(), ..Problem::new(code, message) })
}
