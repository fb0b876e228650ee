//! Skills: what is installed, what could be, installing and removing.

use super::config::{precondition, seen};
use crate::call::Call;
use crate::endpoint::{Endpoint, Kind, Needs, Param, Reply};
use crate::happenings::tell;
use crate::problem::{Code, Field, Problem};
use crate::state::Api;
use axum::http::{Method, StatusCode, header};
use clawbridge_access::Wish;
use clawbridge_config::{Config, Diagnostic};
use clawbridge_queue::SkillEvent;
use clawbridge_registry::{Installed, RegistryError, SkillChange};
use clawbridge_skills::{
    Bundle, Change, Refused, State, Wanted, Why, catalogue, in_catalogue, install, remove, skill_md, states,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How often is tried what somebody else's new version gets in the way of.
const TRIES: u32 = 5;

const FORCE: &[Param] = &[Param {
    name: "force",
    kind: Kind::Word(&["true", "false"]),
    says: "Whether what was changed since the installation may be lost [default: false].",
}];

pub(crate) fn endpoints() -> Vec<Endpoint> {
    const LOOK: Needs = Needs::Wish(Wish::Look);
    const CHANGE: Needs = Needs::Wish(Wish::Administer);
    vec![
        Endpoint::new(
            Method::GET,
            "/api/v1/skills",
            "listSkills",
            "List the installed skills.",
            LOOK,
            &[(200, "SkillList")],
            |api, call| Box::pin(list(api, call)),
        ),
        Endpoint::new(
            Method::POST,
            "/api/v1/skills",
            "installSkill",
            "Install a skill of the catalogue, or a bundle; the same skill again is an upgrade.",
            CHANGE,
            &[(200, "SkillInstalled"), (201, "SkillInstalled")],
            |api, call| Box::pin(add(api, call)),
        )
        .body("InstallSkill")
        .fails(&[404, 409, 412]),
        Endpoint::new(
            Method::GET,
            "/api/v1/skills/catalogue",
            "listCatalogue",
            "List the skills that come along.",
            LOOK,
            &[(200, "Catalogue")],
            |api, call| Box::pin(offered(api, call)),
        ),
        Endpoint::new(
            Method::GET,
            "/api/v1/skills/catalogue/{name}",
            "getFromCatalogue",
            "Show a skill of the catalogue: the bundle, and its SKILL.md.",
            LOOK,
            &[(200, "CatalogueSkill")],
            |api, call| Box::pin(offer(api, call)),
        ),
        Endpoint::new(
            Method::GET,
            "/api/v1/skills/{name}",
            "getSkill",
            "Show an installed skill: what it brought, how that is now, and its SKILL.md.",
            LOOK,
            &[(200, "Skill")],
            |api, call| Box::pin(show(api, call)),
        ),
        Endpoint::new(
            Method::DELETE,
            "/api/v1/skills/{name}",
            "removeSkill",
            "Remove a skill, and what it brought.",
            CHANGE,
            &[(200, "SkillRemoved")],
            |api, call| Box::pin(take(api, call)),
        )
        .query(FORCE)
        .fails(&[409, 412]),
    ]
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Problem {
        let below = if refused.why == Why::Bundle { "bundle" } else { "" };
        let field = |path: &str, message: String| {
            let dot = if below.is_empty() || path.is_empty() { "" } else { "." };
            Field::new(format!("{below}{dot}{path}"), message)
        };
        let sentence = refused.sentence();
        let fields = refused.problems.into_iter().map(|one| field(&one.path, one.message)).collect();
        match refused.why {
            Why::Bundle | Why::Options | Why::Document => Problem::fields(fields),
            Why::Clash | Why::Edited | Why::Referred | Why::Older => {
                Problem { fields, ..Problem::new(Code::Conflict, sentence) }
            }
        }
    }
}

/// What a skill needs, whether it is installed or not.
fn needs(bundle: &Bundle) -> Value {
    let provider = bundle.provider.as_ref().map(
        |need| json!({"name": need.name, "use": need.declaration.get("use"), "scopes": need.declaration.get("scopes")}),
    );
    json!({"source": bundle.source, "secrets": bundle.secrets, "provider": provider})
}

fn view(installed: &Installed, config: &Config) -> Value {
    let (record, bundle) = (&installed.record, &installed.record.bundle);
    let states = states(config, record);
    let worst =
        [State::Missing, State::Edited].into_iter().find(|worst| states.iter().any(|(_, state)| state == worst));
    let members: Vec<Value> =
        states.iter().map(|(member, state)| json!({"path": member.path(), "state": state})).collect();
    json!({"name": bundle.name, "version": bundle.version, "description": bundle.description,
        "state": worst.unwrap_or(State::Present), "newest": in_catalogue(&bundle.name).map(|known| known.version),
        "installed_at": installed.at.rfc3339(), "config_version": installed.config_version, "members": members,
        "options": record.options, "needs": needs(bundle)})
}

fn offer_view(bundle: &Bundle, installed: &[Installed]) -> Value {
    let there = installed.iter().find(|one| one.record.bundle.name == bundle.name);
    let routes: Vec<&Value> = bundle.routes.iter().filter_map(|route| route.get("name")).collect();
    json!({"name": bundle.name, "version": bundle.version, "description": bundle.description,
        "installed": there.map(|one| one.record.bundle.version), "tools": bundle.tools.keys().collect::<Vec<_>>(),
        "routes": routes, "parameters": bundle.parameters, "needs": needs(bundle)})
}

/// The document in use, checked again.
async fn document(api: &Api) -> Result<(u64, Config), Problem> {
    let (version, json) = api.registry.latest().await?;
    let invalid = |problems: Vec<Diagnostic>| RegistryError::Invalid {
        version,
        reason: problems.first().map(ToString::to_string).unwrap_or_default(),
    };
    Ok((version, Config::from_json(&json).map_err(invalid)?))
}

async fn list(api: &Api, _call: &Call) -> Result<Reply, Problem> {
    let skills = api.registry.skills().await?;
    let (_, config) = document(api).await?;
    Ok(Reply::ok(json!({"skills": skills.iter().map(|one| view(one, &config)).collect::<Vec<_>>()})))
}

async fn show(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let installed = api.registry.skill(call.param("name")).await?.ok_or_else(|| Problem::not_found("skill"))?;
    let (_, config) = document(api).await?;
    let mut shown = view(&installed, &config);
    shown["skill_md"] = json!(skill_md(&installed.record.bundle));
    Ok(Reply::ok(shown))
}

async fn offered(api: &Api, _call: &Call) -> Result<Reply, Problem> {
    let installed = api.registry.skills().await?;
    let skills: Vec<Value> = catalogue().iter().map(|bundle| offer_view(bundle, &installed)).collect();
    Ok(Reply::ok(json!({ "skills": skills })))
}

async fn offer(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let bundle = in_catalogue(call.param("name")).ok_or_else(|| Problem::not_found("skill in the catalogue"))?;
    let installed: Vec<Installed> = api.registry.skill(&bundle.name).await?.into_iter().collect();
    let mut shown = offer_view(bundle, &installed);
    shown["bundle"] = json!(bundle);
    shown["skill_md"] = json!(skill_md(bundle));
    Ok(Reply::ok(shown))
}

#[derive(Deserialize)]
struct Install {
    name: Option<String>,
    version: Option<String>,
    bundle: Option<Value>,
    parameters: Option<BTreeMap<String, String>>,
    connection: Option<String>,
    client_id: Option<String>,
    routes: Option<Vec<String>>,
    #[serde(default)]
    force: bool,
}

/// The bundle that somebody means.
fn meant(wanted: &Install) -> Result<Bundle, Problem> {
    if let Some(bundle) = &wanted.bundle {
        return Ok(Bundle::from_json(bundle)?);
    }
    let name = wanted.name.as_deref().unwrap_or_default();
    let Some(bundle) = in_catalogue(name) else {
        let names: Vec<&str> = catalogue().iter().map(|bundle| bundle.name.as_str()).collect();
        let message =
            format!("the catalogue has no such skill; it has {}. Any other is given as `bundle`", names.join(", "));
        return Err(Problem::new(Code::NotFound, message));
    };
    match wanted.version.as_deref() {
        Some(version) if version != "latest" && version != bundle.version.to_string() => {
            Err(Problem::field("version", format!("the catalogue has {name} {}, and no other", bundle.version)))
        }
        _ => Ok(bundle.clone()),
    }
}

async fn add(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let wanted: Install = call.body()?;
    let bundle = meant(&wanted)?;
    let wanted = Wanted {
        parameters: wanted.parameters,
        connection: wanted.connection,
        client_id: wanted.client_id,
        routes: wanted.routes,
        force: wanted.force,
    };
    for _ in 0..TRIES {
        let (in_use, config) = document(api).await?;
        seen(call, in_use)?;
        let before = api.registry.skill(&bundle.name).await?;
        let made = install(&config, &bundle, &wanted, before.as_ref().map(|before| &before.record))?;
        let applied = match (&before, made.change) {
            (Some(before), Change::Unchanged) => Ok(before.config_version),
            _ => api.registry.apply_skill(&made.config, in_use, SkillChange::Put(&made.record), call.now).await,
        };
        let version = match applied {
            Err(RegistryError::Raced) if call.if_match.is_none() => continue,
            Err(RegistryError::Raced) => return Err(precondition(api.registry.latest().await?.0)),
            applied => applied?,
        };
        let replaces = match made.change {
            Change::Upgraded(before) => Some(before.to_string()),
            Change::New | Change::Unchanged => None,
        };
        let event = SkillEvent {
            skill: &bundle.name,
            version: &bundle.version.to_string(),
            replaces: replaces.as_deref(),
            config_version: version,
            by: &call.submitter(),
            is_removal: false,
        };
        // What changes nothing is told again, under the same id: the first time may have been in vain.
        tell(api, &event, call.now).await;
        let at = before.filter(|_| made.change == Change::Unchanged).map_or(call.now, |before| before.at);
        let installed = Installed { record: made.record, at, config_version: version };
        let (status, change) = match made.change {
            Change::New => (StatusCode::CREATED, "installed"),
            Change::Upgraded(_) => (StatusCode::OK, "upgraded"),
            Change::Unchanged => (StatusCode::OK, "unchanged"),
        };
        let mut skill = view(&installed, &made.config);
        skill["skill_md"] = json!(skill_md(&bundle));
        let body = json!({"change": change, "replaces": replaces, "skill": skill});
        return Ok(Reply::with(status, body).header(header::LOCATION, &format!("/api/v1/skills/{}", bundle.name)));
    }
    Err(RegistryError::Raced.into())
}

async fn take(api: &Api, call: &Call) -> Result<Reply, Problem> {
    let name = call.param("name");
    for _ in 0..TRIES {
        let (in_use, config) = document(api).await?;
        seen(call, in_use)?;
        let installed = api.registry.skill(name).await?.ok_or_else(|| Problem::not_found("skill"))?;
        let without = remove(&config, &installed.record, call.text("force") == Some("true"))?;
        let version = match api.registry.apply_skill(&without, in_use, SkillChange::Delete(name), call.now).await {
            Err(RegistryError::Raced) if call.if_match.is_none() => continue,
            Err(RegistryError::Raced) => return Err(precondition(api.registry.latest().await?.0)),
            applied => applied?,
        };
        let skill_version = installed.record.bundle.version.to_string();
        let event = SkillEvent {
            skill: name,
            version: &skill_version,
            replaces: None,
            config_version: version,
            by: &call.submitter(),
            is_removal: true,
        };
        tell(api, &event, call.now).await;
        let body = json!({"name": name, "version": skill_version, "removed": true, "config_version": version});
        return Ok(Reply::ok(body));
    }
    Err(RegistryError::Raced.into())
}
