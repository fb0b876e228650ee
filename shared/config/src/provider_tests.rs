use super::*;
use crate::compiled::Compiled;
use crate::diagnostic::{Position, Severity};
use crate::document::check;
use crate::model::Config;
use proptest::prelude::*;

/// A provider with `lines` in it, from line 6 on.
fn provider(lines: &str) -> String {
    format!(
        "[providers.p]\nclient_id = \"c\"\nsecret = \"clawbridge/providers/p\"\nauthorize_url = \"https://a.example/authorize\"\ntoken_url = \"https://a.example/token\"\n{lines}\n"
    )
}

/// A provider that is nothing but `lines`, from line 2 on.
pub(super) fn bare(lines: &str) -> String {
    format!("[providers.p]\n{lines}\n")
}

/// A provider that begins with a ready-made declaration.
pub(super) fn ready(name: &str, lines: &str) -> String {
    bare(&format!("use = \"{name}\"\nclient_id = \"c\"\nsecret = \"clawbridge/providers/p\"\n{lines}"))
}

/// The provider of a document without errors, as it comes back from JSON.
pub(super) fn read(text: &str) -> Provider {
    let (config, diagnostics) = check(text);
    assert_eq!(diagnostics, [], "{text}");
    let config = config.unwrap();
    let compiled = Compiled::from_json(&config.to_json()).unwrap();
    assert_eq!(compiled.config(), &config, "{text}");
    assert_eq!(serde_json::from_slice::<Config>(&config.to_json()).unwrap(), config, "{text}");
    assert_eq!(compiled.providers().len(), 1);
    compiled.provider("p").unwrap().clone()
}

/// Code, line, column and path of all errors and warnings.
fn found(text: &str) -> Vec<(&'static str, usize, usize, String)> {
    let (config, diagnostics) = check(text);
    let has_error = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    assert_eq!(config.is_none(), has_error, "{diagnostics:?}");
    let found = diagnostics.into_iter().map(|diagnostic| {
        assert!(!diagnostic.message.contains('\n') && diagnostic.message.len() < 500, "{}", diagnostic.message);
        let Position { line, column } = diagnostic.position.unwrap();
        (diagnostic.code.as_str(), line, column, diagnostic.path)
    });
    found.collect()
}

pub(super) fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_provider_is_read_with_its_defaults() {
    let least = read(&bare("client_id = \"c\"\nissuer = \"https://a.example\""));
    let expected = Provider {
        preset: None,
        title: "p".into(),
        grant: Grant::AuthorizationCode,
        issuer: Some("https://a.example".into()),
        authorize_url: None,
        token_url: None,
        revoke_url: None,
        device_url: None,
        test_url: None,
        client_id: "c".into(),
        client_auth: ClientAuth::None,
        secret: None,
        scopes: vec![],
        optional_scopes: vec![],
        scope_separator: " ".into(),
        pkce: true,
        authorize_params: BTreeMap::new(),
        token_params: BTreeMap::new(),
        token_body: TokenBody::Form,
        token_at: None,
        keep: vec![],
        token_lifetime: None,
        refresh_before: "5m".parse().unwrap(),
        wait: "1d".parse().unwrap(),
        iss: IssuerCheck::IfPresent,
        revocation: Revocation::Rfc7009,
        jwt: None,
        dpop: false,
        tls: None,
        parameters: BTreeMap::new(),
    };
    assert_eq!(least, expected);
    let secret = read(&bare("client_id = \"c\"\nsecret = \"clawbridge/providers/p\"\nissuer = \"https://a.example\""));
    assert_eq!(secret.client_auth, ClientAuth::Basic);
}

#[test]
fn every_key_is_read_and_survives_as_json() {
    let text = bare(
        r#"title = "A provider"
grant = "authorization_code"
issuer = "https://{region}.a.example/t"
authorize_url = "https://a.example/authorize?x=1"
token_url = "http://127.0.0.1:8080/token"
revoke_url = "https://a.example/revoke"
test_url = "https://a.example/me"
client_id = "the client"
client_auth = "private_key_jwt"
secret = "clawbridge/providers/p-key"
scopes = ["a.{region}", "b"]
optional_scopes = ["c", "b"]
scope_separator = ","
pkce = false
authorize_params = { "grant_options[]" = "per-user", response_mode = "form_post", none = "" }
token_params = { audience = "https://{region}.example" }
token_body = "json"
token_at = "authed_user.x"
keep = ["team.id"]
token_lifetime = "2h"
refresh_before = "90s"
wait = "3d"
iss = "required"
revocation = "token"
jwt = { algorithm = "EdDSA", key_id = "k1", audience = "https://a.example" }
dpop = true
tls = { secret = "clawbridge/providers/p-tls", ca = "clawbridge/providers/ca" }
parameters = { region = "eu-1" }"#,
    );
    let expected = Provider {
        preset: None,
        title: "A provider".into(),
        grant: Grant::AuthorizationCode,
        issuer: Some("https://{region}.a.example/t".into()),
        authorize_url: Some("https://a.example/authorize?x=1".into()),
        token_url: Some("http://127.0.0.1:8080/token".into()),
        revoke_url: Some("https://a.example/revoke".into()),
        device_url: None,
        test_url: Some("https://a.example/me".into()),
        client_id: "the client".into(),
        client_auth: ClientAuth::PrivateKeyJwt,
        secret: Some("clawbridge/providers/p-key".into()),
        scopes: vec!["a.{region}".into(), "b".into()],
        // Insisted on already.
        optional_scopes: vec!["c".into()],
        scope_separator: ",".into(),
        pkce: false,
        authorize_params: map(&[("grant_options[]", "per-user"), ("response_mode", "form_post")]),
        token_params: map(&[("audience", "https://{region}.example")]),
        token_body: TokenBody::Json,
        token_at: Some("authed_user.x".into()),
        keep: vec!["team.id".into()],
        token_lifetime: Some("2h".parse().unwrap()),
        refresh_before: "90s".parse().unwrap(),
        wait: "3d".parse().unwrap(),
        iss: IssuerCheck::Required,
        revocation: Revocation::Token,
        jwt: Some(Jwt {
            algorithm: Assertion::EdDsa,
            key_id: Some("k1".into()),
            issuer: None,
            subject: None,
            audience: Some("https://a.example".into()),
            scope_claim: false,
        }),
        dpop: true,
        tls: Some(Tls {
            secret: Some("clawbridge/providers/p-tls".into()),
            ca: Some("clawbridge/providers/ca".into()),
        }),
        parameters: map(&[("region", "eu-1")]),
    };
    assert_eq!(read(&text), expected);
    let device = bare(
        "grant = \"device_code\"\nclient_id = \"c\"\ndevice_url = \"https://a.example/d\"\ntoken_url = \"https://a.example/t\"",
    );
    let device = read(&device);
    assert_eq!((device.device_url.as_deref(), device.pkce), (Some("https://a.example/d"), false));
    assert_eq!(device.revocation, Revocation::Never);
}

#[test]
fn every_problem_is_told_with_its_code_and_place() {
    let code = "grant = \"authorization_code\"";
    let cases: Vec<(String, &str, usize, usize, &str)> = vec![
        ("providers = 1".into(), "WRONG_TYPE", 1, 13, "providers"),
        ("[providers]\np = 1".into(), "WRONG_TYPE", 2, 5, "providers.p"),
        (provider("").replace("providers.p]", "providers.\"P q\"]"), "INVALID_NAME", 1, 12, "providers.\"P q\""),
        (provider("tokn_url = \"x\""), "UNKNOWN_KEY", 6, 1, "providers.p.tokn_url"),
        (provider("preset = \"salesforce\""), "UNKNOWN_KEY", 6, 1, "providers.p.preset"),
        (provider("use = 1"), "WRONG_TYPE", 6, 7, "providers.p.use"),
        (provider("use = \"salesfroce\""), "INVALID_VALUE", 6, 7, "providers.p.use"),
        (provider("title = \"\""), "INVALID_VALUE", 6, 9, "providers.p.title"),
        (provider("grant = \"password\""), "INVALID_VALUE", 6, 9, "providers.p.grant"),
        (provider("grant = 1"), "WRONG_TYPE", 6, 9, "providers.p.grant"),
        (provider("client_auth = \"basik\""), "INVALID_VALUE", 6, 15, "providers.p.client_auth"),
        (provider("token_body = \"xml\""), "INVALID_VALUE", 6, 14, "providers.p.token_body"),
        (provider("iss = \"never\""), "INVALID_VALUE", 6, 7, "providers.p.iss"),
        (provider("pkce = \"no\""), "WRONG_TYPE", 6, 8, "providers.p.pkce"),
        (provider("dpop = 1"), "WRONG_TYPE", 6, 8, "providers.p.dpop"),
        // The client.
        (provider("").replace("client_id = \"c\"", ""), "MISSING_KEY", 1, 12, "providers.p.client_id"),
        (provider("").replace("\"c\"", "\"\""), "INVALID_VALUE", 2, 13, "providers.p.client_id"),
        (provider("").replace("\"c\"", "\"é\""), "INVALID_VALUE", 2, 13, "providers.p.client_id"),
        (
            provider("").replace("\"c\"", "\"sk_live_hunter2hunter2\""),
            "SECRET_IN_CONFIG",
            2,
            13,
            "providers.p.client_id",
        ),
        (provider("").replace("clawbridge/providers/p", "hunter2"), "INVALID_SECRET_NAME", 3, 10, "providers.p.secret"),
        (
            provider("").replace("clawbridge/providers/p", "clawbridge/tools/p"),
            "INVALID_SECRET_NAME",
            3,
            10,
            "providers.p.secret",
        ),
        (
            provider("").replace("clawbridge/providers/p", "clawbridge/providers/"),
            "INVALID_SECRET_NAME",
            3,
            10,
            "providers.p.secret",
        ),
        (
            provider("").replace("clawbridge/providers/p", "sk_live_hunter2hunter2"),
            "SECRET_IN_CONFIG",
            3,
            10,
            "providers.p.secret",
        ),
        (provider("tls = {}"), "MISSING_KEY", 6, 1, "providers.p.tls.secret"),
        (provider("tls = { secret = \"x\" }"), "INVALID_SECRET_NAME", 6, 18, "providers.p.tls.secret"),
        (
            provider("tls = { ca = \"clawbridge/providers/ca\", cert = \"x\" }"),
            "UNKNOWN_KEY",
            6,
            41,
            "providers.p.tls.cert",
        ),
        // Addresses.
        (provider("test_url = \"a.example\""), "INVALID_URL", 6, 13, "providers.p.test_url"),
        (provider("test_url = \"bridge:/x\""), "INVALID_URL", 6, 12, "providers.p.test_url"),
        (provider("test_url = \"http://a.example/\""), "INSECURE_URL", 6, 12, "providers.p.test_url"),
        (provider("test_url = \"http://127.0.0.1.a.example/\""), "INSECURE_URL", 6, 12, "providers.p.test_url"),
        (provider("test_url = \"https://a.example/#x\""), "INVALID_URL", 6, 31, "providers.p.test_url"),
        (provider("test_url = \"https://a.example/a b\""), "INVALID_URL", 6, 32, "providers.p.test_url"),
        (provider("test_url = \"https://u:hunter2@a.example/\""), "INVALID_URL", 6, 30, "providers.p.test_url"),
        (
            provider("test_url = \"https://a.example/?client_secret=hunter2\""),
            "SECRET_IN_CONFIG",
            6,
            12,
            "providers.p.test_url",
        ),
        (provider("test_url = \"https://a.example/{x}\""), "UNDECLARED_PARAMETER", 6, 31, "providers.p.test_url"),
        (provider("test_url = \"https://a.example/{x\""), "INVALID_TEMPLATE", 6, 31, "providers.p.test_url"),
        (provider("test_url = \"https://a.example/{client_id?}\""), "INVALID_TEMPLATE", 6, 31, "providers.p.test_url"),
        (
            provider("parameters = { x = \"a\" }\ntest_url = \"https://{x}/\""),
            "INVALID_URL",
            7,
            21,
            "providers.p.test_url",
        ),
        (
            provider("parameters = { x = \"a\" }\ntest_url = \"https://a.{x}.com/\""),
            "INVALID_URL",
            7,
            23,
            "providers.p.test_url",
        ),
        (
            provider("parameters = { x = \"a\" }\ntest_url = \"https://a.example:{x}/\""),
            "INVALID_URL",
            7,
            31,
            "providers.p.test_url",
        ),
        (
            provider(&format!("test_url = \"https://a.example/{}\"", "x".repeat(2048))),
            "TOO_LARGE",
            6,
            12,
            "providers.p.test_url",
        ),
        (provider("issuer = \"https://a.example/?x=1\""), "INVALID_URL", 6, 29, "providers.p.issuer"),
        (
            provider("issuer = \"https://a.example/.well-known/openid-configuration\""),
            "INVALID_URL",
            6,
            28,
            "providers.p.issuer",
        ),
        // Scopes.
        (provider("scopes = \"a b\""), "WRONG_TYPE", 6, 10, "providers.p.scopes"),
        (provider("scopes = [1]"), "WRONG_TYPE", 6, 11, "providers.p.scopes[0]"),
        (provider("scopes = [\"a b\"]"), "INVALID_VALUE", 6, 11, "providers.p.scopes[0]"),
        (
            provider("scope_separator = \",\"\nscopes = [\"a\", \"b,c\"]"),
            "INVALID_VALUE",
            7,
            16,
            "providers.p.scopes[1]",
        ),
        (provider("scopes = [\"\"]"), "INVALID_VALUE", 6, 11, "providers.p.scopes[0]"),
        (provider("scopes = ['a\"']"), "INVALID_VALUE", 6, 11, "providers.p.scopes[0]"),
        (provider("scopes = [\"a\", \"a\"]"), "INVALID_VALUE", 6, 16, "providers.p.scopes[1]"),
        (provider("scopes = [\"x.{y}\"]"), "UNDECLARED_PARAMETER", 6, 14, "providers.p.scopes[0]"),
        (provider(&format!("scopes = [{}]", "\"a\", ".repeat(65))), "TOO_LARGE", 6, 10, "providers.p.scopes"),
        (provider("optional_scopes = [\"a b\"]"), "INVALID_VALUE", 6, 20, "providers.p.optional_scopes[0]"),
        (provider("scope_separator = \"x\""), "INVALID_VALUE", 6, 19, "providers.p.scope_separator"),
        // Parameters of requests.
        (
            provider("authorize_params = { state = \"x\" }"),
            "RESERVED_PARAMETER",
            6,
            22,
            "providers.p.authorize_params.state",
        ),
        (
            provider("authorize_params = { Code_Challenge = \"x\" }"),
            "RESERVED_PARAMETER",
            6,
            22,
            "providers.p.authorize_params.Code_Challenge",
        ),
        (
            provider("authorize_params = { client_secret = \"hunter2\" }"),
            "RESERVED_PARAMETER",
            6,
            22,
            "providers.p.authorize_params.client_secret",
        ),
        (
            provider("token_params = { grant_type = \"x\" }"),
            "RESERVED_PARAMETER",
            6,
            18,
            "providers.p.token_params.grant_type",
        ),
        (
            provider("token_params = { refresh_token = \"hunter2\" }"),
            "RESERVED_PARAMETER",
            6,
            18,
            "providers.p.token_params.refresh_token",
        ),
        (
            provider("token_params = { api_key = \"hunter2\" }"),
            "SECRET_IN_CONFIG",
            6,
            28,
            "providers.p.token_params.api_key",
        ),
        (
            provider("token_params = { x = \"ghp_hunter2hunter2\" }"),
            "SECRET_IN_CONFIG",
            6,
            22,
            "providers.p.token_params.x",
        ),
        (provider("token_params = { \"a b\" = \"x\" }"), "INVALID_NAME", 6, 18, "providers.p.token_params.\"a b\""),
        (provider("token_params = { a = \"é\" }"), "INVALID_VALUE", 6, 22, "providers.p.token_params.a"),
        (provider("token_params = { a = 1 }"), "WRONG_TYPE", 6, 22, "providers.p.token_params.a"),
        (provider("token_params = { a = \"x {b}\" }"), "UNDECLARED_PARAMETER", 6, 25, "providers.p.token_params.a"),
        (
            provider("authorize_params = { response_mode = \"fragment\" }"),
            "INVALID_VALUE",
            6,
            38,
            "providers.p.authorize_params.response_mode",
        ),
        // Answers.
        (provider("token_at = \"a..b\""), "INVALID_VALUE", 6, 12, "providers.p.token_at"),
        (provider("keep = [\"team id\"]"), "INVALID_VALUE", 6, 9, "providers.p.keep[0]"),
        (provider("keep = [\"authed_user.access_token\"]"), "INVALID_VALUE", 6, 9, "providers.p.keep[0]"),
        (provider("keep = [\"id_token\"]"), "INVALID_VALUE", 6, 9, "providers.p.keep[0]"),
        // Times.
        (provider("token_lifetime = \"2 hours\""), "INVALID_DURATION", 6, 18, "providers.p.token_lifetime"),
        (provider("token_lifetime = \"29s\""), "OUT_OF_RANGE", 6, 18, "providers.p.token_lifetime"),
        (provider("token_lifetime = \"401d\""), "OUT_OF_RANGE", 6, 18, "providers.p.token_lifetime"),
        (provider("refresh_before = \"25h\""), "OUT_OF_RANGE", 6, 18, "providers.p.refresh_before"),
        (provider("wait = \"15d\""), "OUT_OF_RANGE", 6, 8, "providers.p.wait"),
        (provider("token_lifetime = \"5m\""), "OUT_OF_RANGE", 6, 18, "providers.p.token_lifetime"),
        (
            provider("token_lifetime = \"1h\"\nrefresh_before = \"1h\""),
            "OUT_OF_RANGE",
            7,
            18,
            "providers.p.refresh_before",
        ),
        // Values of names.
        (provider("parameters = { \"a b\" = \"x\" }"), "INVALID_NAME", 6, 16, "providers.p.parameters.\"a b\""),
        (provider("parameters = { client_id = \"x\" }"), "INVALID_NAME", 6, 16, "providers.p.parameters.client_id"),
        (
            provider("parameters = { x = \"a/b\" }\nscopes = [\"{x}\"]"),
            "INVALID_VALUE",
            6,
            20,
            "providers.p.parameters.x",
        ),
        (
            provider("parameters = { x = \"sk_live_hunter2hunter2\" }"),
            "SECRET_IN_CONFIG",
            6,
            20,
            "providers.p.parameters.x",
        ),
        (provider("parameters = { x = \"a\" }"), "UNUSED_PARAMETER", 6, 16, "providers.p.parameters.x"),
        (
            ready("microsoft", "parameters = { tenat = \"acme\" }"),
            "UNUSED_PARAMETER",
            5,
            16,
            "providers.p.parameters.tenat",
        ),
        // What a grant needs.
        (provider("").replace("authorize_url", "#"), "MISSING_KEY", 1, 12, "providers.p.authorize_url"),
        (provider(code).replace("token_url", "#"), "MISSING_KEY", 1, 12, "providers.p.token_url"),
        (
            provider("grant = \"device_code\"").replace("authorize_url", "#"),
            "MISSING_KEY",
            1,
            12,
            "providers.p.device_url",
        ),
        (provider("grant = \"client_credentials\""), "KEY_NOT_ALLOWED", 4, 1, "providers.p.authorize_url"),
        (provider("device_url = \"https://a.example/d\""), "KEY_NOT_ALLOWED", 6, 1, "providers.p.device_url"),
        (
            provider("grant = \"client_credentials\"\nauthorize_params = { a = \"x\" }").replace("authorize_url", "#"),
            "KEY_NOT_ALLOWED",
            7,
            1,
            "providers.p.authorize_params",
        ),
        (
            provider("grant = \"client_credentials\"\npkce = true").replace("authorize_url", "#"),
            "KEY_NOT_ALLOWED",
            7,
            1,
            "providers.p.pkce",
        ),
        (
            provider("grant = \"client_credentials\"\niss = \"required\"").replace("authorize_url", "#"),
            "KEY_NOT_ALLOWED",
            7,
            1,
            "providers.p.iss",
        ),
        (provider("iss = \"required\""), "MISSING_KEY", 1, 12, "providers.p.issuer"),
        // What a client needs.
        (
            provider("grant = \"client_credentials\"").replace("authorize_url", "#").replace("secret =", "#"),
            "MISSING_KEY",
            1,
            12,
            "providers.p.secret",
        ),
        (
            provider("grant = \"client_credentials\"\nclient_auth = \"none\"")
                .replace("authorize_url", "#")
                .replace("secret =", "#"),
            "INVALID_VALUE",
            7,
            15,
            "providers.p.client_auth",
        ),
        (provider("client_auth = \"post\"").replace("secret =", "#"), "MISSING_KEY", 1, 12, "providers.p.secret"),
        (
            provider("client_auth = \"private_key_jwt\"\njwt = {}").replace("secret =", "#"),
            "MISSING_KEY",
            1,
            12,
            "providers.p.secret",
        ),
        (provider("client_auth = \"private_key_jwt\""), "MISSING_KEY", 1, 12, "providers.p.jwt"),
        (provider("client_auth = \"none\""), "KEY_NOT_ALLOWED", 3, 1, "providers.p.secret"),
        (provider("client_auth = \"tls\"").replace("secret =", "#"), "MISSING_KEY", 1, 12, "providers.p.tls.secret"),
        (
            provider("client_auth = \"tls\"\ntls = { ca = \"clawbridge/providers/ca\" }").replace("secret =", "#"),
            "MISSING_KEY",
            7,
            1,
            "providers.p.tls.secret",
        ),
        (
            provider("client_auth = \"none\"\npkce = false").replace("secret =", "#"),
            "INVALID_VALUE",
            7,
            8,
            "providers.p.pkce",
        ),
        (provider("grant = \"jwt_bearer\"").replace("authorize_url", "#"), "MISSING_KEY", 1, 12, "providers.p.jwt"),
        (
            provider("grant = \"jwt_bearer\"\njwt = {}").replace("authorize_url", "#").replace("secret =", "#"),
            "MISSING_KEY",
            1,
            12,
            "providers.p.secret",
        ),
        (
            provider("grant = \"jwt_bearer\"\njwt = {}\nclient_auth = \"post\"").replace("authorize_url", "#"),
            "INVALID_VALUE",
            8,
            15,
            "providers.p.client_auth",
        ),
        // Assertions.
        (provider("jwt = { algorithm = \"RS256\" }"), "KEY_NOT_ALLOWED", 6, 1, "providers.p.jwt"),
        (
            provider("client_auth = \"private_key_jwt\"\njwt = { algorithm = \"HS256\" }"),
            "INVALID_VALUE",
            7,
            21,
            "providers.p.jwt.algorithm",
        ),
        (
            provider("client_auth = \"private_key_jwt\"\njwt = { alg = \"RS256\" }"),
            "UNKNOWN_KEY",
            7,
            9,
            "providers.p.jwt.alg",
        ),
        (
            provider("client_auth = \"private_key_jwt\"\njwt = { subject = \"x\" }"),
            "KEY_NOT_ALLOWED",
            7,
            9,
            "providers.p.jwt.subject",
        ),
        (
            provider("client_auth = \"private_key_jwt\"\njwt = { scope_claim = true }"),
            "KEY_NOT_ALLOWED",
            7,
            9,
            "providers.p.jwt.scope_claim",
        ),
        (
            provider("client_auth = \"private_key_jwt\"\njwt = { audience = \"{x}\" }"),
            "UNDECLARED_PARAMETER",
            7,
            21,
            "providers.p.jwt.audience",
        ),
        // Revocation.
        (provider("revocation = \"revoke\""), "INVALID_VALUE", 6, 14, "providers.p.revocation"),
        (provider("revocation = \"rfc7009\""), "MISSING_KEY", 1, 12, "providers.p.revoke_url"),
        (
            provider("issuer = \"https://a.example\"\nrevocation = \"bearer\""),
            "MISSING_KEY",
            1,
            12,
            "providers.p.revoke_url",
        ),
        (
            provider("revoke_url = \"https://a.example\"\nrevocation = \"never\""),
            "KEY_NOT_ALLOWED",
            6,
            1,
            "providers.p.revoke_url",
        ),
        (
            provider("dpop = true\nrevoke_url = \"https://a.example\"\nrevocation = \"bearer\""),
            "INVALID_VALUE",
            6,
            8,
            "providers.p.dpop",
        ),
        (
            provider("revoke_url = \"https://a.example\"\nrevocation = \"deauthorize\""),
            "INVALID_VALUE",
            1,
            12,
            "providers.p.keep",
        ),
        (
            provider("revoke_url = \"https://a.example\"\nrevocation = \"github\"").replace("secret =", "#"),
            "INVALID_VALUE",
            7,
            14,
            "providers.p.revocation",
        ),
        // What a ready-made declaration leaves open, or brings, is told where it is named.
        (bare("use = \"hubspot\"\nclient_id = \"c\""), "MISSING_KEY", 1, 12, "providers.p.secret"),
        (bare("use = \"hubspot\"\nsecret = \"clawbridge/providers/p\""), "MISSING_KEY", 1, 12, "providers.p.client_id"),
        (
            bare("use = \"salesforce\"\ngrant = \"jwt_bearer\"\nsecret = \"clawbridge/providers/p\""),
            "MISSING_KEY",
            1,
            12,
            "providers.p.client_id",
        ),
        (ready("generic", "authorize_url = \"https://a.example/\""), "MISSING_KEY", 1, 12, "providers.p.token_url"),
        (ready("slack", "grant = \"client_credentials\""), "KEY_NOT_ALLOWED", 2, 7, "providers.p.authorize_url"),
        (ready("shopify", "scopes = [\"a,b\"]"), "INVALID_VALUE", 5, 11, "providers.p.scopes[0]"),
    ];
    let mut wrong = String::new();
    for (text, code, line, column, path) in cases {
        let expected = vec![(code, line, column, path.to_owned())];
        let found = found(&text);
        if found != expected {
            wrong.push_str(&format!("{text}\n  expected {expected:?}\n  found    {found:?}\n\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_might_have_been_meant_is_told() {
    for (text, meant) in [
        (provider("tokn_url = \"x\""), "did you mean \"token_url\"?"),
        (ready("salesfroce", ""), "did you mean \"salesforce\"?"),
        (ready("microsoft", "parameters = { tenat = \"acme\" }"), "did you mean \"tenant\"?"),
        (ready("shopify", "test_url = \"https://{shp}.myshopify.com/\""), "did you mean {shop}?"),
        (provider("authorize_params = { scope = \"x\" }"), "name scopes in scopes"),
        (
            ready("generic", "token_url = \"https://a.example/\""),
            "write the server's issuer: its metadata has the endpoints",
        ),
    ] {
        let suggestion = check(&text).1.pop().and_then(|diagnostic| diagnostic.suggestion);
        assert_eq!(suggestion.as_deref(), Some(meant), "{text}");
    }
    let open = check(&bare("use = \"byterover\"\nclient_id = \"c\"")).1;
    let open: Vec<&str> = open.iter().map(|diagnostic| diagnostic.path.as_str()).collect();
    assert_eq!(open, ["providers.p.authorize_url", "providers.p.token_url"]);
}

#[test]
fn no_credential_is_repeated() {
    for line in [
        "client_secret = \"hunter2\"",
        "secret = \"hunter2\"",
        "client_id = \"sk_live_hunter2hunter2\"",
        "authorize_params = { client_secret = \"hunter2\" }",
        "token_params = { api_key = \"hunter2\" }",
        "scopes = [\"ghp_hunter2hunter2\"]",
        "parameters = { password = \"hunter2\" }",
        "jwt = { issuer = \"sk_live_hunter2hunter2\" }",
        "jwt = { key = \"hunter2\" }",
        "token_url = \"https://u:hunter2@a.example/\"",
        "token_url = \"https://a.example/?token=hunter2\"",
        "tls = { secret = \"hunter2\" }",
    ] {
        let (config, diagnostics) = check(&bare(line));
        assert_eq!(config, None, "{line}");
        assert!(!format!("{diagnostics:?}").contains("hunter2"), "{line}: {diagnostics:?}");
    }
}

#[test]
fn providers_are_bounded() {
    let providers: String =
        (0..=64).map(|n| format!("[providers.p{n}]\nclient_id = \"c\"\nissuer = \"https://a.example\"\n")).collect();
    assert_eq!(found(&providers), [("TOO_LARGE", 1, 2, "providers".to_owned())]);
    let params: String = (0..=MAX_PARAMETERS).map(|n| format!("a{n} = \"x\"\n")).collect();
    let params = format!("{}[providers.p.token_params]\n{params}", provider(""));
    assert_eq!(found(&params), [("TOO_LARGE", 7, 14, "providers.p.token_params".to_owned())]);
}

proptest! {
    #[test]
    fn no_text_panics(noise in "[\\[\\]{}=.\"'#\\\\a-c\n1, ]{0,60}", name in "[a-z_]{1,16}") {
        let _ = check(&provider(&noise));
        let _ = check(&ready("salesforce", &noise));
        let _ = check(&provider(&format!("{name} = \"{noise}\"")));
        let _ = check(&provider(&format!("token_params = {{ a = '{noise}' }}")));
    }
}
