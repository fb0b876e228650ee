use super::*;
use crate::read::read;

const SCHEMES: &str = r#"{
    "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
    "raw": {"type": "apiKey", "in": "header", "name": "Authorization"},
    "query": {"type": "apiKey", "in": "query", "name": "api_key"},
    "cookie": {"type": "apiKey", "in": "cookie", "name": "session"},
    "basic": {"type": "http", "scheme": "Basic"},
    "bearer": {"type": "http", "scheme": "bearer"},
    "digest": {"type": "http", "scheme": "digest"},
    "oauth": {"type": "oauth2", "flows": {}},
    "oidc": {"type": "openIdConnect", "openIdConnectUrl": "https://a.example"},
    "mtls": {"type": "mutualTLS"},
    "odd": {"type": "smoke signal"}
}"#;

fn needed(security: &str) -> (Option<Carrier>, Vec<String>) {
    let text = format!(r#"{{"components": {{"securitySchemes": {SCHEMES}}}, "security": {security}}}"#);
    let document = read(text.as_bytes()).unwrap();
    let root = At::root(&document);
    let security = Security::read(&root, &document, "The Shop API", None, &["bearer".to_owned()]).unwrap();
    let needed = security.needed(&At { node: &Node::Null, pointer: String::new() }, &root).unwrap();
    assert_eq!(needed.auth.is_some(), needed.used.is_some());
    if let Some(auth) = &needed.auth {
        assert_eq!(auth.secret, "clawbridge/tools/the-shop");
    }
    (needed.auth.map(|auth| auth.carrier), needed.notes.into_iter().map(|(_, text)| text).collect())
}

#[test]
fn the_first_alternative_that_a_tool_can_send_is_taken() {
    let header = |name: &str| Some(Carrier::Header(name.to_owned()));
    for (security, carrier, notes) in [
        ("[]", None, vec![]),
        ("[{}]", None, vec![]),
        (r#"[{"key": []}]"#, header("X-Key"), vec![]),
        (r#"[{}, {"key": []}]"#, header("X-Key"), vec![]),
        (r#"[{"raw": []}]"#, header("Authorization"), vec![]),
        (r#"[{"basic": []}]"#, Some(Carrier::Basic), vec![]),
        (r#"[{"oauth": ["read"]}]"#, Some(Carrier::Bearer), vec![]),
        (r#"[{"oidc": []}]"#, Some(Carrier::Bearer), vec![]),
        (r#"[{"cookie": []}, {"key": [], "bearer": []}, {"bearer": []}]"#, Some(Carrier::Bearer), vec![]),
        (
            r#"[{"key": [], "bearer": []}]"#,
            header("X-Key"),
            vec!["credential \"bearer\" is needed too, and a tool sends one credential"],
        ),
        (r#"[{"cookie": []}]"#, None, vec!["credential \"cookie\" is sent in a cookie, which a tool cannot"]),
        (
            r#"[{"digest": []}]"#,
            None,
            vec!["credential \"digest\" is of HTTP's scheme \"digest\", which a tool cannot send"],
        ),
        (r#"[{"mtls": []}]"#, None, vec!["credential \"mtls\" is a client certificate, which is not imported"]),
        (r#"[{"odd": []}]"#, None, vec!["credential \"odd\" is of the unknown type \"smoke signal\""]),
        (r#"[{"odd": []}, {}]"#, None, vec![]),
    ] {
        let notes: Vec<String> = notes.into_iter().map(str::to_owned).collect();
        assert_eq!(needed(security), (carrier, notes), "{security}");
    }
    let (carrier, notes) = needed(r#"[{"query": []}]"#);
    assert_eq!((carrier.is_some(), notes.is_empty()), (NOW.auth_query, NOW.auth_query));
}

#[test]
fn each_scheme_in_use_has_a_secret_of_its_own_unless_one_is_named() {
    let text = format!(r#"{{"components": {{"securitySchemes": {SCHEMES}}}, "security": [{{"key": []}}]}}"#);
    let document = read(text.as_bytes()).unwrap();
    let root = At::root(&document);
    let used = ["key", "bearer", "cookie"].map(str::to_owned);
    for (title, said, used, expected) in [
        ("Shop", None, &used[..], "clawbridge/tools/shop-key"),
        ("Shop", None, &used[..1], "clawbridge/tools/shop"),
        ("Shop", Some("clawbridge/tools/mine"), &used[..], "clawbridge/tools/mine"),
        ("注文", None, &used[..1], "clawbridge/tools/api"),
    ] {
        let security = Security::read(&root, &document, title, said, used).unwrap();
        let needed = security.needed(&At { node: &Node::Null, pointer: String::new() }, &root).unwrap();
        assert_eq!(needed.auth.unwrap().secret, expected);
    }
}
