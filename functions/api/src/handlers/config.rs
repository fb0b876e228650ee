//! The configuration: read, replaced, changed, rolled back, under the version that the caller saw.

use crate::call::Call;
use crate::endpoint::{Endpoint, Kind, Needs, Param, Reply};
use crate::problem::{Code, Field, Problem};
use crate::state::Api;
use axum::http::{Method, header};
use clawbridge_access::Wish;
use clawbridge_config::{Config, Diagnostic, Severity, check};
use clawbridge_registry::RegistryError;
use serde::Deserialize;
use serde_json::{Value, json};

const VERSIONS: &[Param] = &[
    Param {
        name: "limit",
        kind: Kind::Number { min: 1, max: 100, default: Some(20) },
        says: "The most versions of a page.",
    },
    Param {
        name: "before",
        kind: Kind::Number { min: 1, max: 99_999_999, default: None },
        says: "Only versions before this one: `next_before` of the page before.",
    },
];

pub(crate) fn endpoints() -> Vec<Endpoint> {
    const CHANGE: Needs = Needs::Wish(Wish::Administer);
    vec![
        Endpoint::new(
            Method::GET,
            "/api/v1/config",
            "getConfig",
            "The configuration in use. Its ETag is for If-Match.",
            Needs::Wish(Wish::Look),
            &[(200, "Config")],
            |api, call| Box::pin(show(api, call)),
        ),
        Endpoint::new(
            Method::PUT,
            "/api/v1/config",
            "putConfig",
            "Replace the configuration: JSON, or the text of bridge.toml.",
            CHANGE,
            &[(200, "Applied")],
            |api, call| Box::pin(put(api, call)),
        )
        .fails(&[409, 412])
        .body("Document")
        .media(&["application/json", "application/toml"]),
        Endpoint::new(
            Method::PATCH,
            "/api/v1/config",
            "patchConfig",
            "Change the configuration by a JSON merge patch (RFC 7396).",
            CHANGE,
            &[(200, "Applied")],
            |api, call| Box::pin(patch(api, call)),
        )
        .fails(&[409, 412])
        .body("Document")
        .media(&["application/json", "application/merge-patch+json"]),
        Endpoint::new(
            Method::GET,
            "/api/v1/config/versions",
            "listConfigVersions",
            "List the versions, the newest first.",
            Needs::Wish(Wish::Look),
            &[(200, "VersionList")],
            |api, call| Box::pin(versions(api, call)),
        )
        .query(VERSIONS),
        Endpoint::new(
            Method::POST,
            "/api/v1/config/rollback",
            "rollbackConfig",
            "Put an earlier version as a new one.",
            CHANGE,
            &[(200, "Applied")],
            |api, call| Box::pin(rollback(api, call)),
        )
        .fails(&[404, 409, 412])
        .body("Rollback"),
    ]
}

fn etag(version: u64) -> String {
    format!("\"v{version}\"")
}

fn parsed(json: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(json).map_err(Problem::unavailable)
}

async fn show(api: &Api, _call: &Call) -> Result<Reply, Problem> {
    let (version, document) = api.registry.latest().await?;
    let body = json!({"version": version, "config": parsed(&document)?});
    Ok(Reply::ok(body).header(header::ETAG, &etag(version)))
}

/// The version that is to be replaced: the one in use, which must be the one that the caller names, if they do.
fn seen(call: &Call, in_use: u64) -> Result<u64, Problem> {
    match call.if_match.as_deref() {
        None | Some("*") => Ok(in_use),
        Some(wanted) if wanted.split(',').any(|one| one.trim() == etag(in_use)) => Ok(in_use),
        Some(_) => Err(precondition(in_use)),
    }
}

fn precondition(in_use: u64) -> Problem {
    let message = format!(
        "the configuration in use is another than If-Match names: {}; look at it and change it again",
        etag(in_use)
    );
    Problem::new(Code::PreconditionFailed, message)
}

fn invalid(diagnostics: &[Diagnostic]) -> Problem {
    let errors = diagnostics.iter().filter(|one| one.severity == Severity::Error);
    let field = |one: &Diagnostic| {
        let suggestion = one.suggestion.as_ref().map(|text| format!("; {text}")).unwrap_or_default();
        let message = format!("{}{suggestion} [{}]", one.message, one.code.as_str());
        let position = one.position.map(|position| (position.line, position.column));
        Field { position, ..Field::new(one.path.clone(), message) }
    };
    Problem::fields(errors.take(50).map(field).collect())
}

async fn apply(api: &Api, call: &Call, config: &Config, over: u64, warnings: &[Diagnostic]) -> Result<Reply, Problem> {
    let version = match api.registry.apply_over(config, Some(over), call.now).await {
        Ok(version) => version,
        Err(RegistryError::Raced) if call.if_match.is_some() => {
            return Err(precondition(api.registry.latest().await?.0));
        }
        Err(error) => return Err(error.into()),
    };
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    let body = json!({"version": version, "changed": version != over, "warnings": warnings});
    Ok(Reply::ok(body).header(header::ETAG, &etag(version)))
}

async fn put(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let over = seen(call, api.registry.latest().await?.0)?;
    if call.media == "application/toml" {
        let text = std::str::from_utf8(&call.raw).map_err(|_| Problem::field("", "the document is not UTF-8"))?;
        let (config, diagnostics) = check(text);
        let config = config.ok_or_else(|| invalid(&diagnostics))?;
        return apply(api, call, &config, over, &diagnostics).await;
    }
    let config = Config::from_json(&call.raw).map_err(|problems| invalid(&problems))?;
    apply(api, call, &config, over, &[]).await
}

async fn patch(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let (in_use, document) = api.registry.latest().await?;
    let over = seen(call, in_use)?;
    let mut document = parsed(&document)?;
    merge(&mut document, &call.body);
    let config = Config::from_json(document.to_string().as_bytes()).map_err(|problems| invalid(&problems))?;
    apply(api, call, &config, over, &[]).await
}

/// RFC 7396, section 2. The body's depth is bounded by the JSON reader.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(fields) = target else { return };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

async fn versions(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let limit = i32::try_from(call.number("limit", 20)).unwrap_or(20);
    let before = call.text("before").and_then(|text| text.parse().ok());
    let found = api.registry.versions(before, limit).await?;
    let is_full = usize::try_from(limit).is_ok_and(|limit| found.len() == limit);
    let next = found.last().map(|(number, _)| *number).filter(|number| is_full && *number > 1);
    let versions: Vec<Value> =
        found.iter().map(|(number, at)| json!({"version": number, "applied_at": at.rfc3339()})).collect();
    Ok(Reply::ok(json!({"versions": versions, "next_before": next})))
}

#[derive(Deserialize)]
struct Rollback {
    version: u64,
}

async fn rollback(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let Rollback { version } = call.body()?;
    let over = seen(call, api.registry.latest().await?.0)?;
    let document = api.registry.version(version).await?.ok_or_else(|| Problem::not_found("version"))?;
    let config = Config::from_json(&document).map_err(|problems| invalid(&problems))?;
    apply(api, call, &config, over, &[]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_patch_does_what_the_rfc_says() {
        // The test cases of RFC 7396, appendix A, those that differ.
        for (target, patch, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"a": "foo"}), json!(null), json!(null)),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut merged = target.clone();
            merge(&mut merged, &patch);
            assert_eq!(merged, expected, "{target} {patch}");
        }
    }
}
