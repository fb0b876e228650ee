//! How the bridge is, which sources it has, and what this API is.

use crate::call::Call;
use crate::endpoint::{Endpoint, Needs, Reply};
use crate::problem::Problem;
use crate::state::Api;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType};
use aws_sdk_sqs::types::QueueAttributeName;
use axum::http::Method;
use clawbridge_access::Wish;
use clawbridge_aws::explain;
use futures_util::future::join4;
use serde_json::{Value, json};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            Method::GET,
            "/api/v1/status",
            "getStatus",
            "How the bridge is.",
            Needs::Wish(Wish::Greet),
            &[(200, "Status")],
            |api, call| Box::pin(status(api, call)),
        ),
        Endpoint::new(
            Method::GET,
            "/api/v1/sources",
            "listSources",
            "List the sources by name.",
            Needs::Wish(Wish::Look),
            &[(200, "SourceList")],
            |api, call| Box::pin(sources(api, call)),
        ),
        Endpoint::new(
            Method::GET,
            "/api/v1/openapi.json",
            "getOpenApi",
            "This API as an OpenAPI 3.1 document.",
            Needs::Nothing,
            &[(200, "Anything")],
            |_, _| Box::pin(async { Ok(Reply::ok(crate::openapi::document())) }),
        ),
    ]
}

async fn status(api: &Api, _call: &Call) -> Result<Reply, Problem> {
    let urls = &api.settings;
    let (config, work, interactive, dead) = join4(
        api.registry.current(),
        depth(api, &urls.queue_url),
        depth(api, &urls.interactive_queue_url),
        depth(api, &urls.dead_letter_queue_url),
    )
    .await;
    let (config, work, interactive, dead) = (config?, work?, interactive?, dead?);
    let names: Vec<String> = api.registry.agents().await?.into_iter().map(|agent| agent.name).collect();
    let online = api.channel.agents_online(&names).await?.iter().filter(|agent| agent.online).count();
    let is_well = dead["waiting"].as_i64() == Some(0);
    Ok(Reply::ok(json!({
        "status": if is_well { "ok" } else { "degraded" },
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": api.started.elapsed().as_secs(),
        "config_version": config.number,
        "tools": config.config.tools().len(),
        "agents": {"online": online},
        "queues": {"work": work, "interactive": interactive, "dead": dead},
    })))
}

/// Messages of a queue, as SQS estimates them.
async fn depth(api: &Api, url: &str) -> Result<Value, Problem> {
    let names = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        QueueAttributeName::ApproximateNumberOfMessagesDelayed,
    ];
    let asked = api.sqs.get_queue_attributes().queue_url(url).set_attribute_names(Some(names.to_vec()));
    let answer = asked.send().await.map_err(|error| Problem::unavailable(explain(&error)))?;
    let attributes = answer.attributes.unwrap_or_default();
    let [waiting, running, delayed] =
        names.map(|name| attributes.get(&name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0));
    Ok(json!({"waiting": waiting, "running": running, "delayed": delayed}))
}

/// The names of the secrets under the prefix. What is in them this function may not read.
async fn sources(api: &Api, _call: &Call) -> Result<Reply, Problem> {
    let prefix = format!("{}/sources/", api.settings.secret_prefix);
    let filter = Filter::builder().key(FilterNameStringType::Name).values(&prefix).build();
    let mut pages = api.secrets.list_secrets().filters(filter).max_results(100).into_paginator().send();
    let mut sources: Vec<String> = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| Problem::unavailable(explain(&error)))?;
        let names = page.secret_list.unwrap_or_default().into_iter().filter_map(|secret| secret.name);
        // The bridge keeps the key of its own addresses beside them, a level deeper.
        let names = names.filter_map(|name| name.strip_prefix(&prefix).map(str::to_owned));
        sources.extend(names.filter(|name| !name.contains('/')));
    }
    sources.sort();
    let sources: Vec<Value> =
        sources.into_iter().map(|name| json!({"name": name, "path": format!("/hooks/{name}")})).collect();
    Ok(Reply::ok(json!({ "sources": sources })))
}
