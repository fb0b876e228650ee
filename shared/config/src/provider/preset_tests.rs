use super::*;
use crate::document::check;
use crate::model::{Config, Revocation};
use crate::provider::tests::{bare, map, read, ready};
use std::collections::BTreeMap;

type Least = (&'static str, Grant, &'static str, &'static [(&'static str, &'static str)]);

/// What a document has to say at least of each ready-made declaration and grant, and what the account has to.
fn least() -> Vec<Least> {
    use Grant::{AuthorizationCode, ClientCredentials, DeviceCode, JwtBearer};
    let client = "client_id = \"c\"\nsecret = \"clawbridge/providers/p\"";
    let key = "secret = \"clawbridge/providers/p\"";
    vec![
        ("byterover", AuthorizationCode, "client_id = \"c\"\nissuer = \"https://a.example\"", &[]),
        ("generic", AuthorizationCode, "client_id = \"c\"\nissuer = \"https://a.example\"", &[]),
        ("github", AuthorizationCode, client, &[]),
        ("github", DeviceCode, client, &[]),
        ("google", AuthorizationCode, client, &[]),
        ("google", JwtBearer, key, &[]),
        ("google", DeviceCode, client, &[]),
        ("hubspot", AuthorizationCode, client, &[]),
        ("microsoft", AuthorizationCode, client, &[]),
        ("microsoft", ClientCredentials, client, &[("tenant", "acme.example")]),
        ("microsoft", DeviceCode, "client_id = \"c\"", &[]),
        ("salesforce", AuthorizationCode, client, &[]),
        ("salesforce", ClientCredentials, client, &[("host", "acme.my")]),
        ("salesforce", JwtBearer, client, &[("username", "ops@acme.example")]),
        ("shopify", AuthorizationCode, client, &[("shop", "acme")]),
        ("shopify", ClientCredentials, client, &[("shop", "acme")]),
        ("slack", AuthorizationCode, client, &[]),
        ("stripe-connect", AuthorizationCode, client, &[]),
    ]
}

#[test]
fn every_ready_made_declaration_needs_no_more_than_a_client() {
    let mut covered: Vec<(String, Grant)> = Vec::new();
    for (name, grant, lines, own) in least() {
        let provider = read(&bare(&format!("use = \"{name}\"\ngrant = \"{grant}\"\n{lines}")));
        assert_eq!((provider.preset.as_deref(), provider.grant), (Some(name), grant));
        assert!(provider.title.chars().next().is_some_and(char::is_uppercase), "{name}");
        // Filled in, nothing is a template any more.
        let filled = provider.for_account(&map(own)).unwrap();
        assert!(!serde_json::to_string(&filled).unwrap().contains("{client_id}"), "{filled:?}");
        for url in
            [&filled.authorize_url, &filled.token_url, &filled.revoke_url, &filled.test_url].into_iter().flatten()
        {
            assert!(url.starts_with("https://") && !url.contains(['{', '}']), "{url}");
        }
        if !own.is_empty() {
            assert!(provider.for_account(&BTreeMap::new()).is_err(), "{name} {grant}");
        }
        covered.push((name.to_owned(), grant));
    }
    let all = presets().iter().flat_map(|preset| preset.grants.iter().map(|grant| (preset.name.clone(), *grant)));
    for each in all {
        assert!(covered.contains(&each), "{each:?} is not in the table above");
    }
    let names: Vec<&str> = presets().iter().map(|preset| preset.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "byterover",
            "generic",
            "github",
            "google",
            "hubspot",
            "microsoft",
            "salesforce",
            "shopify",
            "slack",
            "stripe-connect"
        ]
    );
    for preset in presets() {
        assert!(!preset.sources.is_empty() && preset.sources.iter().all(|page| page.starts_with("https://")));
        assert!(!preset.title.is_empty());
    }
}

#[test]
fn a_document_has_the_last_word() {
    let google = read(&ready(
        "google",
        "authorize_params = { prompt = \"\", hd = \"acme.example\" }\nscopes = [\"openid\"]\ntitle = \"Acme\"",
    ));
    let expected = map(&[("access_type", "offline"), ("hd", "acme.example"), ("include_granted_scopes", "true")]);
    assert_eq!(google.authorize_params, expected);
    assert_eq!(
        (google.scopes, google.optional_scopes, google.title),
        (vec!["openid".to_owned()], vec![], "Acme".to_owned())
    );

    // Not asked for what it asks by itself, nor told where to revoke.
    let salesforce = read(&ready("salesforce", "scopes = []\noptional_scopes = []\nrevocation = \"never\"\nkeep = []"));
    assert_eq!((salesforce.scopes.len(), salesforce.optional_scopes.len(), salesforce.keep.len()), (0, 0, 0));
    assert_eq!((salesforce.revocation, salesforce.revoke_url), (Revocation::Never, None));

    let sandbox = read(&ready("salesforce", "parameters = { host = \"test\" }")).for_account(&BTreeMap::new()).unwrap();
    assert_eq!(sandbox.token_url.as_deref(), Some("https://test.salesforce.com/services/oauth2/token"));

    let user = read(&ready(
        "slack",
        "token_at = \"authed_user\"\nauthorize_params = { user_scope = \"search:read,chat:write\" }",
    ));
    assert_eq!(user.token_at.as_deref(), Some("authed_user"));

    let jwt = read(&ready(
        "salesforce",
        "grant = \"jwt_bearer\"\njwt = { key_id = \"k\" }\nparameters = { host = \"acme.my\", audience = \"test\" }",
    ));
    let jwt = jwt.for_account(&map(&[("username", "ops+bridge@acme.example")])).unwrap();
    let claims = jwt.jwt.unwrap();
    assert_eq!(
        (claims.issuer.as_deref(), claims.subject.as_deref(), claims.audience.as_deref()),
        (Some("c"), Some("ops+bridge@acme.example"), Some("https://test.salesforce.com"))
    );
    assert_eq!(jwt.token_url.as_deref(), Some("https://acme.my.salesforce.com/services/oauth2/token"));
}

#[test]
fn a_stored_document_is_not_filled_in_again() {
    let config = check(&ready("salesforce", "scopes = []\nrevocation = \"never\"")).0.unwrap();
    let json = String::from_utf8(config.to_json()).unwrap();
    assert!(json.contains("\"preset\":\"salesforce\"") && !json.contains("\"use\""), "{json}");
    // A document in JSON that a person sends is.
    let sent = r#"{"providers": {"p": {"use": "salesforce", "client_id": "c", "secret": "clawbridge/providers/p", "scopes": [], "revocation": "never"}}}"#;
    assert_eq!(Config::from_json(sent.as_bytes()), Ok(config));
    let unknown = r#"{"providers": {"p": {"use": "x"}}}"#;
    assert_eq!(Config::from_json(unknown.as_bytes()).unwrap_err()[0].code, Code::InvalidValue);
}

#[test]
fn people_are_told_about_every_ready_made_declaration() {
    let table = include_str!("../../../../docs/providers.md");
    for preset in presets() {
        let row = table.lines().find(|line| line.starts_with(&format!("| `{}` |", preset.name)));
        let row = row.unwrap_or_else(|| panic!("docs/providers.md has no row for {}", preset.name));
        assert_eq!(row.matches(" | ").count(), 7, "{row}");
        assert!(preset.sources.iter().any(|page| row.contains(page.split("/blob/").next().unwrap())), "{row}");
    }
}
