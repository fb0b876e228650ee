use super::*;
use clawbridge_config::{ClientAuth, Grant, IssuerCheck, Lifetime, Revocation, TokenBody};

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// A provider that declares as little as one can.
pub(crate) fn provider() -> Provider {
    Provider {
        preset: None,
        title: "Example".into(),
        grant: Grant::AuthorizationCode,
        issuer: None,
        authorize_url: Some("https://login.example.com/authorize".into()),
        token_url: Some("https://login.example.com/token".into()),
        revoke_url: Some("https://login.example.com/revoke".into()),
        device_url: None,
        test_url: None,
        client_id: "the-client".into(),
        client_auth: ClientAuth::Post,
        secret: None,
        optional_scopes: Vec::new(),
        scopes: vec![],
        scope_separator: " ".into(),
        pkce: true,
        authorize_params: BTreeMap::new(),
        token_params: BTreeMap::new(),
        token_body: TokenBody::Form,
        token_at: None,
        keep: vec![],
        token_lifetime: None,
        refresh_before: Lifetime::of_seconds(300),
        wait: Lifetime::of_seconds(3600),
        iss: IssuerCheck::IfPresent,
        revocation: Revocation::Rfc7009,
        jwt: None,
        dpop: false,
        tls: None,
        parameters: BTreeMap::new(),
    }
}

/// A token set that has been obtained before.
pub(crate) fn tokens(access: &str, refresh: Option<&str>) -> TokenSet {
    TokenSet {
        v: 1,
        generation: 4,
        access_token: access.into(),
        kind: TokenKind::Bearer,
        refresh_token: refresh.map(str::to_owned),
        expires_at: Some(NOW),
        refresh_expires_at: None,
        scopes: vec!["before".into()],
        obtained_at: NOW.minus(Duration::from_secs(3600)),
        dpop_key: None,
        kept: BTreeMap::from([("team.id".into(), "T0".into()), ("old".into(), "o".into())]),
        parameters: BTreeMap::new(),
    }
}

pub(crate) fn expected<'a>(
    provider: &'a Provider,
    asked: &'a [String],
    none: &'a BTreeMap<String, String>,
) -> Expected<'a> {
    Expected { provider, asked, previous: None, generation: 1, parameters: none, dpop_key: None, now: NOW }
}

pub(crate) fn answer(status: u16, body: &str) -> Answer<'_> {
    Answer { status, content_type: Some("application/json; charset=utf-8"), body: body.as_bytes(), ..Answer::default() }
}

fn read(provider: &Provider, previous: Option<&TokenSet>, body: &str) -> Result<TokenSet, Refused> {
    let (asked, none) = (["asked".to_owned()], BTreeMap::new());
    Expected { previous, ..expected(provider, &asked, &none) }.tokens(&answer(200, body))
}

fn good(body: &str) -> TokenSet {
    read(&provider(), None, body).expect(body)
}

fn seconds_left(set: &TokenSet) -> Option<u64> {
    set.expires_at.map(|at| NOW.until(at).as_secs())
}

#[test]
fn a_token_response_becomes_a_token_set() {
    let set = good(
        r#"{"access_token":"2YotnFZFEjr1zCsicMWpAA","token_type":"Bearer","expires_in":3600,"refresh_token":"tGzv3JOkF0XG5Qx2TlKWIA","scope":"a b","refresh_token_expires_in":"15897600"}"#,
    );
    assert_eq!(
        (set.access_token.as_str(), set.refresh_token.as_deref()),
        ("2YotnFZFEjr1zCsicMWpAA", Some("tGzv3JOkF0XG5Qx2TlKWIA"))
    );
    assert_eq!(
        (set.generation, set.kind, seconds_left(&set), set.obtained_at),
        (1, TokenKind::Bearer, Some(3600), NOW)
    );
    assert_eq!(set.scopes, ["a", "b"]);
    assert_eq!(set.refresh_expires_at, Some(NOW.plus(Duration::from_secs(15_897_600))));
    assert_eq!(TokenSet::read(set.write().as_bytes()), Ok(set));
}

#[test]
fn lifetimes_are_read_in_every_spelling_and_absurd_ones_are_none() {
    for (value, left) in [
        ("3600", Some(3600)),
        ("\"3599\"", Some(3599)),
        ("\" 60 \"", Some(60)),
        ("3600.7", Some(3600)),
        ("0", None),
        ("-1", None),
        ("\"-5\"", None),
        ("1e300", None),
        ("99999999999999999999999", None),
        ("9223372036854775807", None),
        ("\"NaN\"", None),
        ("\"inf\"", None),
        ("\"soon\"", None),
        ("null", None),
        ("[1]", None),
        ("{}", None),
        ("true", None),
    ] {
        let body = format!(r#"{{"access_token":"a","expires_in":{value}}}"#);
        assert_eq!(seconds_left(&good(&body)), left, "{value}");
        let declared = Provider { token_lifetime: Some(Lifetime::of_seconds(7200)), ..provider() };
        let set = read(&declared, None, &body).expect("tokens");
        assert_eq!(seconds_left(&set), left.or(Some(7200)), "{value}");
    }
    let intuit = good(r#"{"access_token":"a","x_refresh_token_expires_in":8726400,"refresh_token":"r"}"#);
    assert_eq!(intuit.refresh_expires_at, Some(NOW.plus(Duration::from_secs(8_726_400))));
}

#[test]
fn a_refresh_keeps_what_the_answer_does_not_replace() {
    let previous = TokenSet { refresh_expires_at: Some(NOW), ..tokens("old", Some("keep")) };
    let keeping = Provider { keep: vec!["team.id".into()], ..provider() };
    for body in [
        r#"{"access_token":"new"}"#,
        r#"{"access_token":"new","refresh_token":""}"#,
        r#"{"access_token":"new","refresh_token":null,"scope":""}"#,
    ] {
        let set = read(&keeping, Some(&previous), body).expect("tokens");
        assert_eq!(
            (set.refresh_token.as_deref(), set.refresh_expires_at, set.generation),
            (Some("keep"), Some(NOW), 5)
        );
        assert_eq!((set.scopes, set.kept), (previous.scopes.clone(), previous.kept.clone()));
    }
    let body = r#"{"access_token":"new","refresh_token":"next","scope":"c","team":{"id":"T1"}}"#;
    let set = read(&keeping, Some(&previous), body).expect("tokens");
    assert_eq!((set.refresh_token.as_deref(), set.refresh_expires_at), (Some("next"), None));
    assert_eq!((set.scopes, set.kept["team.id"].as_str(), set.kept["old"].as_str()), (vec!["c".to_owned()], "T1", "o"));
}

#[test]
fn scopes_of_a_first_answer_are_those_asked_for_if_it_does_not_say() {
    assert_eq!(good(r#"{"access_token":"a"}"#).scopes, ["asked"]);
    assert_eq!(good(r#"{"access_token":"a","scope":["x","y"]}"#).scopes, ["x", "y"]);
    assert_eq!(good(r#"{"access_token":"a","scope":"repo,gist"}"#).scopes, ["repo", "gist"]);
}

#[test]
fn declared_fields_are_kept_and_never_a_credential() {
    let keep = [
        "instance_url",
        "team.id",
        "n",
        "ok",
        "team",
        "none",
        "access_token",
        "authed_user.access_token",
        "copy",
        "client_secret",
        "long",
    ];
    let provider = Provider { keep: keep.map(str::to_owned).into(), ..provider() };
    let body = format!(
        r#"{{"access_token":"hunter2","instance_url":"https://x.my.example.com","team":{{"id":"T1"}},"n":7,"ok":true,"copy":"hunter2",
            "authed_user":{{"access_token":"hunter3"}},"client_secret":"hunter4","long":"a\n{}"}}"#,
        "b".repeat(999)
    );
    let kept = read(&provider, None, &body).expect("tokens").kept;
    assert_eq!(kept.keys().map(String::as_str).collect::<Vec<_>>(), ["instance_url", "long", "n", "ok", "team.id"]);
    assert_eq!((kept["n"].as_str(), kept["ok"].as_str(), kept["long"].len()), ("7", "true", 256));
    assert!(!format!("{kept:?}").contains("hunter"));
}

#[test]
fn slacks_user_tokens_are_found_where_they_stand() {
    let slack = Provider { token_at: Some("authed_user".into()), scope_separator: ",".into(), ..provider() };
    let first = r#"{"ok":true,"access_token":"xoxb-bot","token_type":"bot","scope":"commands","team":{"id":"T1"},
        "authed_user":{"id":"U1","scope":"chat:write,im:read","access_token":"xoxe.xoxp-user","token_type":"user","refresh_token":"xoxe-1","expires_in":43200}}"#;
    let set = read(&slack, None, first).expect("tokens");
    assert_eq!((set.access_token.as_str(), set.refresh_token.as_deref()), ("xoxe.xoxp-user", Some("xoxe-1")));
    assert_eq!(set.scopes, ["chat:write", "im:read"]);
    let again = r#"{"ok":true,"access_token":"xoxe.xoxp-2","token_type":"user","refresh_token":"xoxe-2","authed_user":{"id":"U1"}}"#;
    assert_eq!(read(&slack, Some(&set), again).expect("tokens").access_token, "xoxe.xoxp-2");
    for (previous, body) in [(None, again), (Some(&set), r#"{"ok":true,"access_token":"xoxb","token_type":"bot"}"#)] {
        let Err(Refused::Later(retry)) = read(&slack, previous, body) else { panic!("somebody else's token") };
        assert_eq!(retry.code, "UNEXPECTED_RESPONSE");
    }
}

#[test]
fn a_token_is_of_the_type_that_was_asked_for() {
    let (asked, none) = ([], BTreeMap::new());
    let provider = provider();
    for (word, key, kind) in [
        (r#""Bearer""#, None, Some(TokenKind::Bearer)),
        (r#""bearer""#, None, Some(TokenKind::Bearer)),
        (r#""bot""#, None, Some(TokenKind::Bearer)),
        (r#""user""#, None, Some(TokenKind::Bearer)),
        (r#""""#, None, Some(TokenKind::Bearer)),
        ("null", None, Some(TokenKind::Bearer)),
        (r#""mac""#, None, None),
        (r#""DPoP""#, None, None),
        (r#""DPoP""#, Some("k"), Some(TokenKind::Dpop)),
        (r#""dpop""#, Some("k"), Some(TokenKind::Dpop)),
        (r#""Bearer""#, Some("k"), None),
        ("null", Some("k"), None),
    ] {
        let body = format!(r#"{{"access_token":"a","token_type":{word}}}"#);
        let got = Expected { dpop_key: key, ..expected(&provider, &asked, &none) }.tokens(&answer(200, &body));
        match (got, kind) {
            (Ok(set), Some(kind)) => assert_eq!((set.kind, set.dpop_key.as_deref()), (kind, key), "{word}"),
            (Err(Refused::Client { code, .. }), None) => assert_eq!(code, "unsupported_token_type"),
            (got, _) => panic!("{word} {key:?}: {got:?}"),
        }
    }
}

#[test]
fn answers_without_usable_tokens_are_unexpected_and_never_repeated() {
    let (asked, none, provider) = ([], BTreeMap::new(), provider());
    let cut = Answer { is_cut: true, ..answer(200, r#"{"access_token":"hunter2"}"#) };
    let html = Answer { content_type: Some("text/html"), ..answer(200, "<html>hunter2=a</html>") };
    let plain = Answer { content_type: Some("text/html"), ..answer(200, "access_token=hunter2") };
    let binary = Answer { body: b"{\"access_token\":\"hunter2\xff\"}", ..answer(200, "") };
    let twice = Answer {
        content_type: Some("application/x-www-form-urlencoded"),
        ..answer(200, "access_token=hunter2&access_token=b")
    };
    for answer in [
        cut,
        html,
        plain,
        binary,
        twice,
        answer(200, ""),
        answer(204, ""),
        answer(200, "null"),
        answer(200, r#"["hunter2"]"#),
        answer(200, r#"{"access_token":"hunter2""#),
        answer(200, r#"{"access_token":""}"#),
        answer(200, r#"{"access_token":7}"#),
        answer(200, r#"{"access_token":"hunter2\r\nx: y"}"#),
        answer(200, r#"{"access_token":"hunter2 é"}"#),
        answer(200, r#"{"refresh_token":"hunter2"}"#),
        answer(302, "hunter2"),
        answer(404, "hunter2"),
        answer(400, "hunter2"),
        answer(403, r#"{"message":"hunter2"}"#),
        Answer { dpop_nonce: None, ..answer(400, r#"{"error":"use_dpop_nonce"}"#) },
        Answer { dpop_nonce: Some("hunter2 \""), ..answer(400, r#"{"error":"use_dpop_nonce"}"#) },
    ] {
        let refused = expected(&provider, &asked, &none).tokens(&answer).expect_err("no tokens");
        let shown = format!("{refused:?} {refused} {answer:?}");
        let Refused::Later(retry) = refused else { panic!("{shown}") };
        assert_eq!((retry.code, retry.may_have_acted), ("UNEXPECTED_RESPONSE", true), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn a_form_is_an_answer_too() {
    let (asked, none, provider) = ([], BTreeMap::new(), provider());
    let body = "access_token=gho_16C7&scope=repo%2Cgist&token_type=bearer&expires_in=28800";
    let form = Answer { content_type: Some("application/x-www-form-urlencoded; charset=utf-8"), ..answer(200, body) };
    let set = expected(&provider, &asked, &none).tokens(&form).expect("tokens");
    assert_eq!((set.access_token.as_str(), seconds_left(&set)), ("gho_16C7", Some(28_800)));
    assert_eq!(set.scopes, ["repo", "gist"]);
    let refused = Answer { body: b"error=bad_verification_code&error_description=x", ..form };
    let refused = expected(&provider, &asked, &none).tokens(&refused).expect_err("refused");
    assert!(matches!(refused, Refused::Grant { code, .. } if code == "bad_verification_code"));
}
