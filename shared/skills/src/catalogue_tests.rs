use super::*;
use crate::install::{Change, Wanted, install, remove};
use crate::skill_md;
use clawbridge_config::{Config, check, presets};

/// What each needs to be told.
fn wanted(bundle: &Bundle) -> Wanted {
    let value = |name: &String| match name.as_str() {
        "gateway" => "https://gateway.example.com",
        "api" => "https://byterover.example.com",
        _ => "acme",
    };
    let parameters = bundle.parameters.keys().map(|name| (name.clone(), value(name).to_owned())).collect();
    Wanted { parameters: Some(parameters), ..Wanted::default() }
}

fn routes(bundle: &Bundle) -> Vec<String> {
    bundle.routes.iter().filter_map(|route| Some(route.get("name")?.as_str()?.to_owned())).collect()
}

#[test]
fn every_file_of_the_catalogue_is_a_bundle_with_its_sources() {
    for text in FILES {
        let bundle = Bundle::from_toml(text).unwrap_or_else(|refused| panic!("{refused}"));
        assert!(!bundle.references.is_empty(), "{}", bundle.name);
        assert!(bundle.references.iter().all(|url| url.starts_with("https://")), "{}", bundle.name);
        assert!(!bundle.guide.is_empty() && !bundle.secrets.is_empty(), "{}", bundle.name);
        let json = serde_json::to_value(&bundle).expect("JSON");
        assert_eq!(Bundle::from_json(&json).as_ref(), Ok(&bundle));
    }
    let names: Vec<&str> = catalogue().iter().map(|bundle| bundle.name.as_str()).collect();
    assert_eq!(names, ["byterover", "github", "hubspot", "openclaw", "shopify", "slack", "stripe"]);
}

#[test]
fn every_skill_can_be_installed_with_all_its_routes_and_by_a_connection_and_removed() {
    // Routes tell the agent, with the tools of the skill openclaw.
    let openclaw = in_catalogue("openclaw").expect("a skill");
    let empty = Config::default();
    let with_agent = install(&empty, openclaw, &wanted(openclaw), None).expect("openclaw").config;
    for bundle in catalogue() {
        let config = if bundle.name == "openclaw" { &empty } else { &with_agent };
        let options = Wanted { routes: Some(routes(bundle)), ..wanted(bundle) };
        let installed =
            install(config, bundle, &options, None).unwrap_or_else(|refused| panic!("{}: {refused}", bundle.name));
        assert_eq!(installed.change, Change::New);
        assert_eq!(remove(&installed.config, &installed.record, false).as_ref(), Ok(config), "{}", bundle.name);
        let Some(provider) = &bundle.provider else { continue };
        let connection = Some(format!("{}/main", provider.name));
        let options = Wanted { connection, client_id: Some("client".into()), ..wanted(bundle) };
        let installed =
            install(config, bundle, &options, None).unwrap_or_else(|refused| panic!("{}: {refused}", bundle.name));
        assert!(
            installed
                .config
                .tools
                .values()
                .any(|tool| tool.auth.as_ref().is_some_and(|auth| auth.credential.name().ends_with("/main")))
        );
        let preset = provider.declaration.get("use").and_then(|name| name.as_str()).expect("a preset");
        assert!(presets().iter().any(|one| one.name == preset), "{preset}");
    }
}

#[test]
fn nothing_is_doubtful_about_the_catalogue_and_every_tool_says_what_it_takes() {
    for bundle in catalogue() {
        let installed = install(&Config::default(), bundle, &wanted(bundle), None).expect("installed");
        let text = toml_of(&installed.config);
        let (_, diagnostics) = check(&text);
        let doubts: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
        assert!(doubts.is_empty(), "{}: {doubts:?}", bundle.name);
        for (name, tool) in &installed.config.tools {
            let input = tool.input.as_ref().unwrap_or_else(|| panic!("{name} has no input schema"));
            assert_eq!(input["additionalProperties"], false, "{name}");
            assert!(!tool.description.is_empty() && tool.auth.is_some(), "{name}");
            assert!(tool.url.starts_with("https://"), "{name}");
            // Nobody asks again for what may have been done and cannot be looked up, without having said so.
            let is_safe = tool.effect.as_str() != "unsafe" || tool.verify.is_some();
            assert!(is_safe || tool.description.contains("parked"), "{name} is unsafe and has no verify");
        }
    }
}

/// Warnings are told of texts alone, so the document is written as one.
fn toml_of(config: &Config) -> String {
    // JSON values are TOML values but for null, which no document has, and for objects, which are inline tables with `=`.
    fn value(json: &serde_json::Value) -> String {
        use serde_json::Value;
        match json {
            Value::Array(items) => format!("[{}]", items.iter().map(value).collect::<Vec<_>>().join(", ")),
            Value::Object(fields) => {
                let field =
                    |(name, field): (&String, &Value)| format!("{} = {}", Value::from(name.as_str()), value(field));
                format!("{{ {} }}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
            }
            other => other.to_string(),
        }
    }
    let json: serde_json::Value = serde_json::from_slice(&config.to_json()).expect("JSON");
    let lines =
        json.as_object().expect("a document").iter().map(|(name, field)| format!("{name} = {}\n", value(field)));
    lines.collect()
}

#[test]
fn a_skill_for_the_agent_names_its_actions_and_no_secret() {
    for bundle in catalogue() {
        let text = skill_md(bundle);
        assert!(text.starts_with(&format!("---\nname: {}\ndescription: \"", bundle.name)), "{text}");
        let front = text.split("---").nth(1).expect("front matter");
        assert!(front.lines().any(|line| line.starts_with("metadata: {\"openclaw\":{")), "{front}");
        for tool in bundle.tools.keys() {
            assert!(text.contains(&format!("\n### {tool}\n")), "{tool}");
        }
        assert!(!text.contains("clawbridge/tools/"), "{}", bundle.name);
    }
}
