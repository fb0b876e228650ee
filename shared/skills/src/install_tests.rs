use super::*;
use crate::catalogue::in_catalogue;
use clawbridge_config::check;
use proptest::prelude::*;

const OWN: &str = r#"
    [tools.own]
    method = "POST"
    url = "https://own.example/{id}"
    effect = "idempotent"

    [[routes]]
    name = "own"
    source = "stripe"
    type = "invoice.*"
    tool = "own"
    input = '.body.data.object'
"#;

fn config(text: &str) -> Config {
    let (config, diagnostics) = check(text);
    config.unwrap_or_else(|| panic!("{diagnostics:?}"))
}

fn bundle(version: &str) -> Bundle {
    Bundle::from_json(&json!({
        "name": "desk", "version": version, "description": "A desk",
        "secrets": [{"name": "clawbridge/tools/desk"}],
        "parameters": {"team": {"says": "the team"}},
        "provider": {"name": "desk", "declaration": {"issuer": "https://id.desk.example", "scopes": ["all"]}},
        "tools": {
            "desk_get": {"method": "GET", "url": "https://${team}.desk.example/{id}", "auth": {"secret": "clawbridge/tools/desk", "header": "x-desk"}},
            "desk_put": {"method": "PUT", "url": "https://${team}.desk.example/{id}", "auth": {"secret": "clawbridge/tools/desk"}},
        },
        "routes": [{"name": "desk-news", "source": "desk", "tool": "desk_put"}, {"name": "desk-olds", "source": "desk", "tool": "desk_get"}],
    }))
    .unwrap_or_else(|refused| panic!("{refused}"))
}

fn team(name: &str) -> Wanted {
    Wanted { parameters: Some(BTreeMap::from([("team".to_owned(), name.to_owned())])), ..Wanted::default() }
}

fn paths(refused: &Refused) -> Vec<&str> {
    refused.problems.iter().map(|problem| problem.path.as_str()).collect()
}

#[test]
fn a_skill_brings_its_tools_and_the_routes_that_were_chosen_and_leaves_nothing_behind() {
    let before = config(OWN);
    let wanted = Wanted { routes: Some(vec!["desk-news".into()]), ..team("acme") };
    let installed = install(&before, &bundle("1.0.0"), &wanted, None).expect("installed");
    assert_eq!(installed.change, Change::New);
    assert_eq!(installed.config.tools["desk_get"].url, "https://acme.desk.example/{id}");
    let names: Vec<&str> = installed.config.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["own", "desk-news"]);
    assert!(states(&installed.config, &installed.record).iter().all(|(_, state)| *state == State::Present));
    assert_eq!(remove(&installed.config, &installed.record, false), Ok(before));
}

#[test]
fn an_account_takes_the_place_of_the_secret_and_the_header_stays() {
    let wanted = Wanted { connection: Some("desk/main".into()), client_id: Some("client".into()), ..team("acme") };
    let installed = install(&config(OWN), &bundle("1.0.0"), &wanted, None).expect("installed");
    let auth = json!(installed.config.tools["desk_get"].auth);
    assert_eq!(auth, json!({"connection": "desk/main", "header": "x-desk", "prefix": ""}));
    assert_eq!(installed.config.providers["desk"].client_id, "client");
    assert_eq!(remove(&installed.config, &installed.record, false), Ok(config(OWN)));
    // Without the provider nobody can connect the account.
    let wanted = Wanted { connection: Some("desk/main".into()), ..team("acme") };
    let refused = install(&config(OWN), &bundle("1.0.0"), &wanted, None).expect_err("refused");
    assert_eq!(refused.why, Why::Document, "{refused}");
}

#[test]
fn what_is_there_by_the_name_of_what_comes_is_named() {
    let text = format!(
        "{OWN}\n[tools.desk_get]\nmethod = \"GET\"\nurl = \"https://a.example\"\n[[routes]]\nname = \"desk-news\"\nsource = \"x\"\ntool = \"own\"\n"
    );
    let wanted = Wanted { routes: Some(vec!["desk-news".into()]), ..team("acme") };
    let refused = install(&config(&text), &bundle("1.0.0"), &wanted, None).expect_err("refused");
    assert_eq!((refused.why, paths(&refused)), (Why::Clash, vec!["tools.desk_get", "routes.desk-news"]));
}

#[test]
fn what_does_not_fit_the_bundle_is_named() {
    let parameters = |pairs: &[(&str, &str)]| Wanted {
        parameters: Some(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()),
        ..Wanted::default()
    };
    for (wanted, path) in [
        (Wanted::default(), "parameters.team"),
        (parameters(&[("team", "evil.example/x")]), "parameters.team"),
        (parameters(&[("team", "sk_live_abcdefgh1234")]), "parameters.team"),
        (Wanted { client_id: Some("xoxb-abcdefgh1234".into()), ..team("a") }, "client_id"),
        (parameters(&[("team", "a"), ("colour", "red")]), "parameters.colour"),
        (Wanted { routes: Some(vec!["desk-none".into()]), ..team("a") }, "routes"),
    ] {
        let refused = install(&config(OWN), &bundle("1.0.0"), &wanted, None).expect_err("refused");
        assert_eq!((refused.why, paths(&refused)), (Why::Options, vec![path]));
    }
    let stripe = in_catalogue("stripe").expect("a skill");
    let refused = install(
        &config(OWN),
        stripe,
        &Wanted { routes: Some(vec!["stripe-disputes".into()]), ..Wanted::default() },
        None,
    );
    let refused = refused.expect_err("nobody has openclaw_agent");
    assert!(refused.why == Why::Document && refused.to_string().contains("openclaw_agent"), "{refused}");
}

#[test]
fn an_upgrade_takes_the_place_keeps_what_was_chosen_and_goes_back_only_by_force() {
    let wanted = Wanted { routes: Some(vec!["desk-news".into()]), ..team("acme") };
    let first = install(&config(OWN), &bundle("1.0.0"), &wanted, None).expect("installed");
    let again = install(&first.config, &bundle("1.0.0"), &Wanted::default(), Some(&first.record)).expect("installed");
    assert_eq!(again.change, Change::Unchanged);
    let mut newer = bundle("1.10.0");
    newer.tools.remove("desk_get");
    newer.routes.truncate(1);
    let second = install(&first.config, &newer, &Wanted::default(), Some(&first.record)).expect("upgraded");
    assert_eq!(second.change, Change::Upgraded("1.0.0".parse().expect("a version")));
    assert!(!second.config.tools.contains_key("desk_get"));
    assert_eq!(second.record.options, first.record.options);
    let back = install(&second.config, &bundle("1.9.0"), &Wanted::default(), Some(&second.record));
    assert_eq!(back.expect_err("refused").why, Why::Older);
    let force = Wanted { force: true, ..Wanted::default() };
    let back = install(&second.config, &bundle("1.0.0"), &force, Some(&second.record)).expect("forced");
    assert_eq!((back.config, back.record), (first.config, first.record));
}

#[test]
fn what_the_user_changed_is_theirs_unless_they_say_otherwise() {
    let installed = install(&config(OWN), &bundle("1.0.0"), &team("acme"), None).expect("installed");
    let mut edited = installed.config.clone();
    edited.tools.get_mut("desk_put").expect("a tool").attempts = 2;
    let refused = remove(&edited, &installed.record, false).expect_err("refused");
    assert_eq!((refused.why, paths(&refused)), (Why::Edited, vec!["tools.desk_put"]));
    let refused = install(&edited, &bundle("2.0.0"), &Wanted::default(), Some(&installed.record)).expect_err("refused");
    assert_eq!(refused.why, Why::Edited);
    assert_eq!(remove(&edited, &installed.record, true), Ok(config(OWN)));
    // What somebody took away already is in nobody's way.
    edited.tools.remove("desk_put");
    assert_eq!(remove(&edited, &installed.record, false), Ok(config(OWN)));
}

#[test]
fn what_something_else_refers_to_is_not_taken_away_even_by_force() {
    let mut installed = install(&config(OWN), &bundle("1.0.0"), &team("acme"), None).expect("installed");
    installed.config.routes[0].target = clawbridge_config::Target::Tool("desk_put".into());
    for force in [false, true] {
        let refused = remove(&installed.config, &installed.record, force).expect_err("refused");
        assert_eq!((refused.why, paths(&refused)), (Why::Referred, vec!["routes.own"]));
    }
    let mut without = bundle("1.1.0");
    without.tools.remove("desk_put");
    without.routes.clear();
    let refused =
        install(&installed.config, &without, &Wanted::default(), Some(&installed.record)).expect_err("refused");
    assert_eq!(refused.why, Why::Referred);
    let verified = format!(
        "{OWN}\n[tools.act]\nmethod = \"POST\"\nurl = \"https://own.example/\"\nverify = {{ tool = \"desk_get\", done = 'true' }}\n[tools.desk_get]\nmethod = \"GET\"\nurl = \"https://a.example/\"\n"
    );
    let mut with = config(&verified);
    let own = with.tools.remove("desk_get").expect("a tool");
    let record = Record {
        bundle: bundle("1.0.0"),
        options: Options::default(),
        members: vec![Member { kind: Kind::Tool, name: "desk_get".into(), value: json!(own) }],
    };
    with.tools.insert("desk_get".into(), own);
    assert_eq!(paths(&remove(&with, &record, true).expect_err("refused")), ["tools.act.verify"]);
}

#[test]
fn a_file_of_the_users_keeps_what_was_installed_beside_it() {
    let wanted = Wanted { routes: Some(vec!["desk-news".into()]), ..team("acme") };
    let installed = install(&config(OWN), &bundle("1.0.0"), &wanted, None).expect("installed");
    let records = [installed.record];
    assert_eq!(keep(&config(OWN), &records), Ok(installed.config));
    let own = format!("{OWN}\n[tools.desk_get]\nmethod = \"GET\"\nurl = \"https://a.example\"\n");
    let kept = keep(&config(&own), &records).expect("kept");
    assert_eq!(kept.tools["desk_get"].url, "https://a.example");
    assert!(kept.tools.contains_key("desk_put"));
}

#[test]
fn a_broken_bundle_is_refused_with_what_is_wrong() {
    let good = || serde_json::to_value(bundle("1.0.0")).expect("JSON");
    let with = |pointer: &str, value: Value| {
        let mut json = good();
        *json.pointer_mut(pointer).expect("there") = value;
        json
    };
    let named = |pointer: &str, name: &str, value: Value| {
        let mut json = good();
        json.pointer_mut(pointer).expect("there")[name] = value;
        json
    };
    for (json, path) in [
        (json!([]), ""),
        (json!({"name": "desk"}), ""),
        (with("/version", json!("1.0")), ""),
        (named("", "colour", json!(1)), ""),
        (with("/name", json!("Desk")), "name"),
        (with("/name", json!("catalogue")), "name"),
        (with("/description", json!("")), "description"),
        (with("/description", json!("Use (sk_live_abcdefgh1234)")), "description"),
        (named("", "guide", json!("key: `ghp_abcdefgh1234`")), "guide"),
        (with("/tools", json!({})), "routes.0"),
        (named("/tools", "other_get", json!({})), "tools.other_get"),
        (with("/secrets", json!([])), "tools.desk_get.auth.secret"),
        (with("/secrets/0/name", json!("mine")), "secrets.0.name"),
        (with("/routes/0/name", json!("news")), "routes.0.name"),
        (with("/routes/1/name", json!("desk-news")), "routes.1.name"),
        (with("/parameters", json!({})), "tools.desk_get"),
        (named("/provider/declaration", "client_id", json!("x")), "provider.declaration.client_id"),
        (named("/parameters/team", "default", json!("a/b")), "parameters.team.default"),
        (with("/description", json!("x".repeat(MAX_BUNDLE_TEST))), ""),
    ] {
        match Bundle::from_json(&json) {
            Err(refused) => {
                assert_eq!(refused.why, Why::Bundle);
                assert!(paths(&refused).contains(&path), "{path}: {refused}");
            }
            // A bundle of routes alone is one; what it routes to is seen in the document.
            Ok(_) => assert_eq!(path, "routes.0", "{json}"),
        }
    }
    let broken = named("/tools/desk_get", "method", json!("FETCH"));
    let broken = Bundle::from_json(&broken).expect("a bundle, as far as that is known");
    let refused = install(&config(OWN), &broken, &team("acme"), None).expect_err("refused");
    assert_eq!((refused.why, paths(&refused)), (Why::Document, vec!["tools.desk_get.method"]));
}

const MAX_BUNDLE_TEST: usize = crate::MAX_BUNDLE_BYTES;

/// Documents with tools of some names and routes to them.
fn documents() -> impl Strategy<Value = Config> {
    let tools = prop::collection::btree_set("[a-z]{1,6}", 1..5);
    (tools, prop::collection::vec(0usize..8, 0..6)).prop_map(|(tools, routes)| {
        let tools: Vec<String> = tools.into_iter().collect();
        let mut text = String::new();
        for tool in &tools {
            text.push_str(&format!("[tools.{tool}]\nmethod = \"GET\"\nurl = \"https://{tool}.example/{{id}}\"\n"));
        }
        for (place, route) in routes.iter().enumerate() {
            let tool = &tools[route % tools.len()];
            text.push_str(&format!("[[routes]]\nname = \"r{place}\"\nsource = \"s\"\ntool = \"{tool}\"\n"));
        }
        config(&text)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn install_and_remove_give_the_document_that_was_there(
        before in documents(),
        routes in prop::sample::subsequence(vec!["desk-news", "desk-olds"], 0..=2),
        provider in any::<bool>(),
        upgrade in any::<bool>(),
    ) {
        let client_id = provider.then(|| "client".to_owned());
        let routes = routes.into_iter().map(str::to_owned).collect();
        let wanted = Wanted { routes: Some(routes), client_id, ..team("acme") };
        let mut installed = install(&before, &bundle("1.0.0"), &wanted, None).expect("installed");
        if upgrade {
            installed = install(&installed.config, &bundle("1.1.0"), &Wanted::default(), Some(&installed.record)).expect("upgraded");
        }
        prop_assert!(installed.config != before);
        prop_assert_eq!(keep(&before, std::slice::from_ref(&installed.record)), Ok(installed.config.clone()));
        prop_assert_eq!(remove(&installed.config, &installed.record, false), Ok(before));
    }

    #[test]
    fn any_json_is_a_bundle_or_refused(text in ".{0,200}") {
        let _ = Bundle::from_json(&Value::String(text.clone()));
        let _ = Bundle::from_toml(&text);
    }
}
