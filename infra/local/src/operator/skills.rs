//! `skills catalogue|list|show|install|remove`.

use super::config::failed;
use super::print_json;
use super::reach::Reached;
use super::table;
use crate::cli::Global;
use crate::cli::values::parse_parameter;
use crate::failure::Failure;
use crate::out::say;
use clap::{Args, Subcommand};
use clawbridge_clock::Timestamp;
use clawbridge_config::Config;
use clawbridge_queue::{BRIDGE_SOURCE, SkillEvent};
use clawbridge_registry::{Installed, RegistryError, SkillChange};
use clawbridge_skills::{
    Bundle, Change, Refused, State, Wanted, Why, catalogue, in_catalogue, install, remove, skill_md, states,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often is tried what somebody else's new version gets in the way of.
const TRIES: u32 = 5;

/// Who a command is, in events.
const OPERATOR: &str = "operator";

#[derive(Debug, Subcommand)]
pub(crate) enum SkillsCommand {
    /// List the skills that come along.
    Catalogue,
    /// List the installed skills.
    List,
    /// Show a skill: what it brings and needs, or, once it is installed, what it brought and how that is now.
    Show {
        /// Its name.
        name: String,
        /// Write its SKILL.md into DIR/NAME, for OpenClaw: ~/.openclaw/skills, or skills in the agent's workspace.
        #[arg(long, value_name = "DIR")]
        write: Option<PathBuf>,
    },
    /// Install a skill of the catalogue, or a bundle; the same skill again is an upgrade.
    Install(Box<InstallArgs>),
    /// Remove a skill, and what it brought.
    Remove {
        /// Its name.
        name: String,
        /// What was changed since the installation may be lost.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// A name of the catalogue, or the file of a bundle: NAME.toml or NAME.json.
    skill: String,
    /// The value of one of its parameters; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_parameter)]
    set: Vec<(String, String)>,
    /// Tools act as this account instead of with the secret; empty goes back to the secret.
    #[arg(long, value_name = "PROVIDER/ACCOUNT")]
    connection: Option<String>,
    /// Your OAuth client, with which the skill brings its provider along.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Switch this route on; may be repeated. Without any, those that are on stay on.
    #[arg(long, value_name = "NAME")]
    route: Vec<String>,
    /// Switch all routes off.
    #[arg(long, conflicts_with = "route")]
    no_routes: bool,
    /// What was changed since the installation may be lost, and an earlier version take a later one's place.
    #[arg(long)]
    force: bool,
    /// Write its SKILL.md into DIR/NAME, for OpenClaw.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

pub(crate) async fn run(global: &Global, command: SkillsCommand) -> Result<(), Failure> {
    match command {
        SkillsCommand::Catalogue => {
            offered(global.json);
            Ok(())
        }
        SkillsCommand::List => list(&Reached::stack(global).await?, global.json).await,
        SkillsCommand::Show { name, write } => {
            show(&Reached::stack(global).await?, &name, write.as_deref(), global.json).await
        }
        SkillsCommand::Install(args) => add(&Reached::stack(global).await?, *args, global.json).await,
        SkillsCommand::Remove { name, force } => take(&Reached::stack(global).await?, &name, force, global.json).await,
    }
}

fn offered(json: bool) {
    if json {
        return print_json(&catalogue());
    }
    let row = |bundle: &Bundle| vec![bundle.name.clone(), bundle.version.to_string(), bundle.description.clone()];
    table::print(&["SKILL", "VERSION", "WHAT IT IS FOR"], &catalogue().iter().map(row).collect::<Vec<_>>());
}

/// The document in use.
async fn document(reached: &Reached) -> Result<(u64, Config), Failure> {
    let (version, json) = reached.registry.latest().await.map_err(failed)?;
    let config = Config::from_json(&json).map_err(|diagnostics| {
        let reason = diagnostics.first().map(ToString::to_string).unwrap_or_default();
        failed(RegistryError::Invalid { version, reason })
    })?;
    Ok((version, config))
}

fn worst(config: &Config, installed: &Installed) -> State {
    let states = states(config, &installed.record);
    let is_there = |worst: &State| states.iter().any(|(_, state)| state == worst);
    [State::Missing, State::Edited].into_iter().find(is_there).unwrap_or(State::Present)
}

fn word(state: State) -> &'static str {
    match state {
        State::Present => "present",
        State::Edited => "edited",
        State::Missing => "missing",
    }
}

async fn list(reached: &Reached, json: bool) -> Result<(), Failure> {
    let (_, config) = document(reached).await?;
    let skills = reached.registry.skills().await.map_err(failed)?;
    if json {
        print_json(&skills.iter().map(|one| view(one, &config)).collect::<Vec<Value>>());
    } else if skills.is_empty() {
        say!("No skill is installed; `clawbridge skills catalogue` lists those that come along.");
    } else {
        let row = |one: &Installed| {
            let bundle = &one.record.bundle;
            let state = word(worst(&config, one)).to_owned();
            vec![bundle.name.clone(), bundle.version.to_string(), state, one.at.rfc3339(), bundle.description.clone()]
        };
        let headings = ["SKILL", "VERSION", "STATE", "INSTALLED", "WHAT IT IS FOR"];
        table::print(&headings, &skills.iter().map(row).collect::<Vec<_>>());
    }
    Ok(())
}

fn view(installed: &Installed, config: &Config) -> Value {
    let (record, bundle) = (&installed.record, &installed.record.bundle);
    let members: Vec<Value> =
        states(config, record).iter().map(|(member, state)| json!({"path": member.path(), "state": state})).collect();
    json!({"name": bundle.name, "version": bundle.version, "description": bundle.description, "state": worst(config, installed),
        "installed_at": installed.at.rfc3339(), "config_version": installed.config_version, "members": members, "options": record.options})
}

async fn show(reached: &Reached, name: &str, write: Option<&Path>, json: bool) -> Result<(), Failure> {
    let installed = reached.registry.skill(name).await.map_err(failed)?;
    let bundle = match (&installed, in_catalogue(name)) {
        (Some(installed), _) => &installed.record.bundle,
        (None, Some(bundle)) => bundle,
        (None, None) => return Err(unknown(name)),
    };
    if let Some(dir) = write {
        let path = written(bundle, dir)?;
        if !json {
            say!("{}", path.display());
            return Ok(());
        }
    }
    let (_, config) = document(reached).await?;
    if json {
        let state = installed.as_ref().map(|installed| view(installed, &config));
        print_json(&json!({"name": name, "installed": state, "bundle": bundle, "skill_md": skill_md(bundle)}));
        return Ok(());
    }
    say!("{name} {}: {}", bundle.version, bundle.description);
    match &installed {
        Some(installed) => {
            for (member, state) in states(&config, &installed.record) {
                say!("  {:<8} {}", word(state), member.path());
            }
        }
        None => {
            for (tool, declared) in &bundle.tools {
                let text = |key: &str| declared.get(key).and_then(Value::as_str).unwrap_or("POST").to_owned();
                say!("  tool  {tool}: {} {}", text("method"), text("url"));
            }
            for route in bundle.routes.iter().filter_map(|route| route.get("name")?.as_str()) {
                say!("  route {route} (off unless --route {route})");
            }
            for (parameter, declared) in &bundle.parameters {
                say!("  --set {parameter}=…  {}", declared.says);
            }
        }
    }
    to_do(bundle);
    Ok(())
}

fn unknown(name: &str) -> Failure {
    let names: Vec<&str> = catalogue().iter().map(|bundle| bundle.name.as_str()).collect();
    let message = format!("{name} is neither installed nor in the catalogue, which has {}", names.join(", "));
    Failure::not_found("UNKNOWN_SKILL", message)
}

/// What a person has to do besides.
fn to_do(bundle: &Bundle) {
    for secret in &bundle.secrets {
        eprintln!("Needs {}: {}. `clawbridge secret set {}` takes it.", secret.name, secret.says, secret.name);
    }
    if let Some(source) = &bundle.source {
        let (name, scheme) = (&source.name, &source.scheme);
        eprintln!(
            "Routes need the source {name}: {}. `clawbridge source add {name} --scheme {scheme}` makes it.",
            source.says
        );
    }
}

fn refused(refused: &Refused) -> Failure {
    let code = match refused.why {
        Why::Bundle => "BUNDLE_INVALID",
        Why::Options => "SKILL_OPTIONS",
        Why::Clash => "SKILL_CLASH",
        Why::Edited => "SKILL_EDITED",
        Why::Referred => "SKILL_REFERRED",
        Why::Older => "SKILL_OLDER",
        Why::Document => "CONFIG_INVALID",
    };
    Failure::negative(code, refused.to_string())
}

fn meant(skill: &str) -> Result<Bundle, Failure> {
    let path = Path::new(skill);
    let extension = path.extension().and_then(|extension| extension.to_str());
    let read = || {
        let text = std::fs::read_to_string(path);
        text.map_err(|error| Failure::not_found("BUNDLE_UNREADABLE", format!("{skill}: {error}")))
    };
    match extension {
        Some("toml") => Bundle::from_toml(&read()?).map_err(|error| refused(&error)),
        Some("json") => {
            let value = serde_json::from_str(&read()?);
            let value = value.map_err(|error| Failure::negative("BUNDLE_INVALID", format!("{skill}: {error}")))?;
            Bundle::from_json(&value).map_err(|error| refused(&error))
        }
        _ => in_catalogue(skill).cloned().ok_or_else(|| unknown(skill)),
    }
}

async fn add(reached: &Reached, args: InstallArgs, json: bool) -> Result<(), Failure> {
    let bundle = meant(&args.skill)?;
    let parameters: BTreeMap<String, String> = args.set.into_iter().collect();
    let wanted = Wanted {
        parameters: Some(parameters).filter(|parameters| !parameters.is_empty()),
        connection: args.connection,
        client_id: args.client_id,
        routes: (args.no_routes || !args.route.is_empty()).then_some(args.route),
        force: args.force,
    };
    for _ in 0..TRIES {
        let (in_use, config) = document(reached).await?;
        let before = reached.registry.skill(&bundle.name).await.map_err(failed)?;
        let made = install(&config, &bundle, &wanted, before.as_ref().map(|before| &before.record));
        let made = made.map_err(|error| refused(&error))?;
        let now = Timestamp::now();
        let applied = match (&before, made.change) {
            (Some(before), Change::Unchanged) => Ok(before.config_version),
            _ => reached.registry.apply_skill(&made.config, in_use, SkillChange::Put(&made.record), now).await,
        };
        let version = match applied {
            Err(RegistryError::Raced) => continue,
            applied => applied.map_err(failed)?,
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
            by: OPERATOR,
            is_removal: false,
        };
        tell(reached, &made.config, &event, now).await?;
        let written = args.write.as_deref().map(|dir| written(&bundle, dir)).transpose()?;
        let word = match made.change {
            Change::New => "installed",
            Change::Upgraded(_) => "upgraded",
            Change::Unchanged => "unchanged",
        };
        let members: Vec<String> = made.record.members.iter().map(|member| member.path()).collect();
        if json {
            print_json(&json!({"change": word, "name": bundle.name, "version": bundle.version, "replaces": replaces,
                "config_version": version, "members": members, "skill_md": written}));
        } else {
            say!(
                "{} {} is {word}, with configuration version {version}: {}.",
                bundle.name,
                bundle.version,
                members.join(", ")
            );
            if let Some(path) = written {
                say!("{}", path.display());
            }
            to_do(&bundle);
        }
        return Ok(());
    }
    Err(failed(RegistryError::Raced))
}

async fn take(reached: &Reached, name: &str, force: bool, json: bool) -> Result<(), Failure> {
    for _ in 0..TRIES {
        let (in_use, config) = document(reached).await?;
        let installed = reached.registry.skill(name).await.map_err(failed)?;
        let installed =
            installed.ok_or_else(|| Failure::not_found("UNKNOWN_SKILL", format!("{name} is not installed")))?;
        let without = remove(&config, &installed.record, force).map_err(|error| refused(&error))?;
        let now = Timestamp::now();
        let version = match reached.registry.apply_skill(&without, in_use, SkillChange::Delete(name), now).await {
            Err(RegistryError::Raced) => continue,
            applied => applied.map_err(failed)?,
        };
        let skill_version = installed.record.bundle.version.to_string();
        let event = SkillEvent {
            skill: name,
            version: &skill_version,
            replaces: None,
            config_version: version,
            by: OPERATOR,
            is_removal: true,
        };
        tell(reached, &without, &event, now).await?;
        if json {
            print_json(&json!({"removed": true, "name": name, "version": skill_version, "config_version": version}));
        } else {
            say!("{name} is removed, with configuration version {version}. Its secrets are still there.");
        }
        return Ok(());
    }
    Err(failed(RegistryError::Raced))
}

/// Makes an event of it if a route or a subscription wants it.
async fn tell(reached: &Reached, config: &Config, event: &SkillEvent<'_>, now: Timestamp) -> Result<(), Failure> {
    let matches = |route: &clawbridge_config::Route| {
        route.source == BRIDGE_SOURCE && clawbridge_config::Glob::new(&route.event_type).matches(event.event_type())
    };
    if !config.routes.iter().any(matches) {
        let subscriptions = reached.registry.subscriptions().await.map_err(failed)?;
        if !clawbridge_subscriptions::is_wanted_by_somebody(&subscriptions, event.event_type()) {
            return Ok(());
        }
    }
    let queue = reached.queue().await?;
    let texts = event.messages(now).map_err(|error| Failure::new("MESSAGE_FAILED", error.to_string()))?;
    for text in texts {
        let sent = queue.send_text(text, Duration::ZERO).await;
        sent.map_err(|error| Failure::new("QUEUE_UNAVAILABLE", format!("it is done, but nobody was told: {error}")))?;
    }
    Ok(())
}

/// Writes `DIR/NAME/SKILL.md`.
fn written(bundle: &Bundle, dir: &Path) -> Result<PathBuf, Failure> {
    let folder = dir.join(&bundle.name);
    let path = folder.join("SKILL.md");
    let done = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, skill_md(bundle)));
    done.map_err(|error| Failure::negative("NOT_WRITTEN", format!("{}: {error}", path.display())))?;
    Ok(path)
}
