use super::*;
use crate::jws::tests::{P256_SEC1, RSA_PKCS1, verified};
use crate::response::tests::{NOW, provider, tokens};
use crate::token_set::TokenSet;
use crate::word::State;
use clawbridge_config::{Jwt, Revocation};
use ring::rand::SystemRandom;
use std::collections::BTreeMap;

fn asked(
    provider: &Provider,
    secret: Option<&str>,
    ask: impl FnOnce(&Asking<'_>) -> Result<Request, RequestError>,
) -> Result<Request, RequestError> {
    ask(&Asking {
        provider,
        endpoints: &Endpoints::of(provider).expect("endpoints"),
        credential: &Credential::read(provider, secret.map(str::as_bytes))?,
        now: NOW,
        random: &SystemRandom::new(),
    })
}

fn form_of(request: &Request) -> BTreeMap<String, String> {
    assert_eq!(header(request, "content-type"), Some("application/x-www-form-urlencoded"));
    url::form_urlencoded::parse(&request.body).into_owned().collect()
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str())
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn jwt(scope_claim: bool) -> Jwt {
    Jwt {
        algorithm: Assertion::Rs256,
        key_id: Some("k".into()),
        issuer: None,
        subject: None,
        audience: None,
        scope_claim,
    }
}

const SCOPES: [&str; 2] = ["a", "b"];

fn scopes() -> Vec<String> {
    SCOPES.iter().map(|scope| (*scope).to_owned()).collect()
}

#[test]
fn a_code_is_exchanged_with_its_verifier_and_its_address() {
    let state = State::new([1; 32]);
    let verifier = Verifier::derive(&[2; 32], &state).expect("a verifier");
    let presented = Presented::Code { code: "4/0A&=", redirect_uri: "https://b.example/cb", verifier: Some(&verifier) };
    let request = asked(&provider(), Some(" s3cret&+\n"), |asking| asking.token(&presented)).expect("a request");
    assert_eq!((request.method, request.url.as_str()), (Method::Post, "https://login.example.com/token"));
    assert_eq!(header(&request, "accept"), Some("application/json"));
    let expected = [
        ("grant_type", "authorization_code"),
        ("code", "4/0A&="),
        ("redirect_uri", "https://b.example/cb"),
        ("code_verifier", verifier.expose()),
        ("client_id", "the-client"),
        ("client_secret", "s3cret&+"),
    ];
    assert_eq!(form_of(&request), map(&expected));
}

#[test]
fn the_client_proves_itself_as_declared() {
    let with = |client_auth| Provider { client_auth, client_id: "a b:c".into(), ..provider() };
    let ask = |asking: &Asking<'_>| asking.token(&Presented::Refresh("r1"));
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", "r1")];

    let basic = asked(&with(ClientAuth::Basic), Some("p:%é".replace('é', "&").as_str()), ask).expect("a request");
    // RFC 6749, section 2.3.1: base64("a+b%3Ac:p%3A%25%26").
    assert_eq!(header(&basic, "authorization"), Some("Basic YStiJTNBYzpwJTNBJTI1JTI2"));
    assert_eq!(form_of(&basic), map(&refresh));

    for auth in [ClientAuth::None, ClientAuth::Tls] {
        let request = asked(&with(auth), None, ask).expect("a request");
        assert_eq!(header(&request, "authorization"), None);
        assert_eq!(form_of(&request), map(&[refresh[0], refresh[1], ("client_id", "a b:c")]));
    }

    let signing = Provider { jwt: Some(jwt(false)), ..with(ClientAuth::PrivateKeyJwt) };
    let request = asked(&signing, Some(RSA_PKCS1), ask).expect("a request");
    let form = form_of(&request);
    assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    let key = SigningKey::read(Assertion::Rs256, RSA_PKCS1.as_bytes()).expect("a key");
    let (header, claims) = verified(&form["client_assertion"], &key);
    assert_eq!((&header["kid"], &claims["iss"], &claims["sub"]), (&"k".into(), &"a b:c".into(), &"a b:c".into()));
    assert_eq!(claims["aud"], "https://login.example.com/token");
}

#[test]
fn the_other_grants_carry_what_their_rfcs_say() {
    let grant = |grant| Provider { grant, device_url: Some("https://login.example.com/device".into()), ..provider() };
    let ours = [("client_id", "the-client"), ("client_secret", "s")];
    let client = asked(&grant(Grant::ClientCredentials), Some("s"), |a| a.token(&Presented::Client(&scopes())));
    let expected = map(&[("grant_type", "client_credentials"), ("scope", "a b"), ours[0], ours[1]]);
    assert_eq!(form_of(&client.expect("a request")), expected);
    let none = asked(&grant(Grant::ClientCredentials), Some("s"), |a| a.token(&Presented::Client(&[])));
    assert!(!form_of(&none.expect("a request")).contains_key("scope"));

    let device = asked(&grant(Grant::DeviceCode), Some("s"), |a| a.device(&scopes())).expect("a request");
    assert_eq!(device.url, "https://login.example.com/device");
    assert_eq!(form_of(&device), map(&[("scope", "a b"), ours[0], ours[1]]));
    let poll = asked(&grant(Grant::DeviceCode), Some("s"), |a| a.token(&Presented::Device("d"))).expect("a request");
    assert_eq!(form_of(&poll)["grant_type"], "urn:ietf:params:oauth:grant-type:device_code");
    assert_eq!(form_of(&poll)["device_code"], "d");
}

#[test]
fn a_service_account_signs_for_itself_or_for_somebody() {
    let key = SigningKey::read(Assertion::Rs256, RSA_PKCS1.as_bytes()).expect("a key");
    let file = serde_json::json!({"private_key": RSA_PKCS1, "client_email": "robot@example.com"}).to_string();
    let google = Provider {
        grant: Grant::JwtBearer,
        client_auth: ClientAuth::None,
        jwt: Some(Jwt { subject: Some("boss@example.com".into()), audience: Some("https://aud".into()), ..jwt(true) }),
        ..provider()
    };
    let request = asked(&google, Some(&file), |a| a.token(&Presented::Assertion(&scopes()))).expect("a request");
    let form = form_of(&request);
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert!(!form.contains_key("scope"));
    let (_, claims) = verified(&form["assertion"], &key);
    assert_eq!((&claims["iss"], &claims["sub"]), (&"robot@example.com".into(), &"boss@example.com".into()));
    assert_eq!((&claims["aud"], &claims["scope"]), (&"https://aud".into(), &"a b".into()));

    let plain = Provider { jwt: Some(jwt(false)), ..google };
    let request = asked(&plain, Some(RSA_PKCS1), |a| a.token(&Presented::Assertion(&scopes()))).expect("a request");
    assert_eq!(form_of(&request)["scope"], "a b");
    let (_, claims) = verified(&form_of(&request)["assertion"], &key);
    assert_eq!((&claims["iss"], &claims["sub"]), (&"the-client".into(), &"the-client".into()));
    assert!(claims.get("scope").is_none());
}

#[test]
fn json_and_further_parameters_are_as_declared() {
    let json = Provider {
        token_body: TokenBody::Json,
        token_params: map(&[("audience", "https://eu.example.com")]),
        ..provider()
    };
    let request = asked(&json, Some("s"), |a| a.token(&Presented::Refresh("r\"1"))).expect("a request");
    assert_eq!(header(&request, "content-type"), Some("application/json"));
    let body: BTreeMap<String, String> = serde_json::from_slice(&request.body).expect("JSON");
    assert_eq!((body["refresh_token"].as_str(), body["audience"].as_str()), ("r\"1", "https://eu.example.com"));

    for name in ["grant_type", "refresh_token", "client_id", "client_secret", "client_assertion"] {
        let provider = Provider { token_params: map(&[(name, "x")]), ..provider() };
        let error = asked(&provider, Some("s"), |a| a.token(&Presented::Refresh("r"))).expect_err("reserved");
        assert_eq!(error, RequestError::Reserved(name.into()));
    }
}

#[test]
fn a_declaration_and_a_secret_that_do_not_go_together_are_told() {
    let ask = |asking: &Asking<'_>| asking.token(&Presented::Refresh("r"));
    let misdeclared = |error: RequestError| matches!(error, RequestError::Misdeclared(_));
    assert!(misdeclared(asked(&provider(), None, ask).expect_err("no secret")));
    for secret in ["", " \n", "a\nb", "sécret"] {
        assert!(misdeclared(asked(&provider(), Some(secret), ask).expect_err("no secret")), "{secret}");
    }
    let signing = Provider { client_auth: ClientAuth::PrivateKeyJwt, jwt: Some(jwt(false)), ..provider() };
    assert!(misdeclared(asked(&signing, None, ask).expect_err("no key")));
    assert!(matches!(asked(&signing, Some(P256_SEC1), ask), Err(RequestError::Key(KeyError::Unfit { .. }))));
    let nowhere = Provider { token_url: None, ..provider() };
    assert_eq!(asked(&nowhere, Some("s"), ask), Err(EndpointError::Missing("token_url").into()));
}

#[test]
fn tokens_are_revoked_in_each_providers_way() {
    let mut set = TokenSet { kept: map(&[("stripe_user_id", "acct_1")]), ..tokens("a/1", Some("r/1")) };
    let revoked = |revocation, set: &TokenSet| {
        let provider = Provider { revocation, ..provider() };
        asked(&provider, Some("s"), |a| a.revocation(set).map(|request| request.expect("a request")))
    };
    let good = |revocation| revoked(revocation, &set).expect("a request");
    let ours = [("client_id", "the-client"), ("client_secret", "s")];
    let url = "https://login.example.com/revoke";

    let expected = map(&[("token", "r/1"), ("token_type_hint", "refresh_token"), ours[0], ours[1]]);
    assert_eq!(form_of(&good(Revocation::Rfc7009)), expected);
    assert_eq!(form_of(&good(Revocation::Token)), map(&[("token", "r/1")]));

    let github = good(Revocation::Github);
    assert_eq!((github.method, github.url.as_str()), (Method::Delete, url));
    assert_eq!(header(&github, "authorization"), Some("Basic dGhlLWNsaWVudDpz"));
    assert_eq!(github.body, br#"{"access_token":"a/1"}"#);

    let slack = good(Revocation::Bearer);
    assert_eq!((slack.method, header(&slack, "authorization")), (Method::Get, Some("Bearer a/1")));
    let hubspot = good(Revocation::DeletePath);
    assert_eq!((hubspot.method, hubspot.url.as_str()), (Method::Delete, "https://login.example.com/revoke/r%2F1"));
    let shopify = good(Revocation::Shopify);
    assert_eq!((shopify.method, header(&shopify, "x-shopify-access-token")), (Method::Delete, Some("a/1")));
    let stripe = good(Revocation::Deauthorize);
    assert_eq!(header(&stripe, "authorization"), Some("Bearer s"));
    assert_eq!(form_of(&stripe), map(&[ours[0], ("stripe_user_id", "acct_1")]));

    (set.refresh_token, set.kept) = (None, BTreeMap::new());
    let form = form_of(&revoked(Revocation::Rfc7009, &set).expect("a request"));
    assert_eq!((form["token"].as_str(), form["token_type_hint"].as_str()), ("a/1", "access_token"));
    for revocation in [Revocation::DeletePath, Revocation::Deauthorize] {
        assert!(matches!(revoked(revocation, &set), Err(RequestError::Lacking(_))), "{revocation}");
    }
    let never = Provider { revocation: Revocation::Never, revoke_url: None, ..provider() };
    let nothing = asked(&never, Some("s"), |a| {
        assert_eq!(a.revocation(&set), Ok(None));
        a.token(&Presented::Refresh("r"))
    });
    assert!(nothing.is_ok());
}

#[test]
fn a_proof_is_put_in_the_place_of_the_one_before() {
    let random = SystemRandom::new();
    let key = DpopKey::generate(&random).expect("a key");
    let request = asked(&provider(), Some("s"), |a| a.token(&Presented::Refresh("r"))).expect("a request");
    let first = request.with_proof(&key, None, NOW, &random).expect("proven");
    let proof = header(&first, "dpop").expect("a proof").to_owned();
    let second = first.with_proof(&key, Some("n"), NOW, &random).expect("proven");
    assert_eq!(second.headers.iter().filter(|(name, _)| *name == "dpop").count(), 1);
    assert_ne!(header(&second, "dpop"), Some(proof.as_str()));
}

#[test]
fn nothing_that_is_secret_is_shown() {
    let set = tokens("hunter2", Some("hunter2"));
    for revocation in Revocation::ALL.iter().filter(|way| !matches!(way, Revocation::Never | Revocation::Deauthorize)) {
        let provider = Provider { revocation: *revocation, client_auth: ClientAuth::Basic, ..provider() };
        let shown = asked(&provider, Some("hunter2"), |asking| {
            assert!(!format!("{asking:?} {:?}", asking.credential).contains("hunter2"));
            asking.revocation(&set).map(|request| request.expect("a request"))
        });
        let shown = format!("{:?}", shown.expect("a request"));
        assert!(shown.contains("login.example.com") && !shown.contains("hunter2"), "{shown}");
    }
    let code = Presented::Code { code: "hunter2", redirect_uri: "x", verifier: None };
    for presented in [code, Presented::Refresh("hunter2"), Presented::Device("hunter2")] {
        assert!(!format!("{presented:?}").contains("hunter2"));
        let request = asked(&provider(), Some("hunter2"), |a| a.token(&presented)).expect("a request");
        assert!(!format!("{request:?}").contains("hunter2"));
    }
    assert!(!format!("{set:?}").contains("hunter2"));
}
