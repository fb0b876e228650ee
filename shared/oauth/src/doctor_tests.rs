use super::*;
use crate::response::tests::{NOW, provider};

fn metadata() -> Metadata {
    Metadata {
        issuer: "https://login.example.com".into(),
        token: Some("https://login.example.com/token".into()),
        challenge_methods: Some(vec!["S256".into()]),
        auth_methods: vec!["client_secret_post".into()],
        ..Metadata::default()
    }
}

fn found(provider: &Provider, metadata: &Metadata) -> Vec<(Level, &'static str)> {
    let observed = Observed { metadata: Some(metadata), has_secret: true, ..Observed::default() };
    check(provider, &observed).into_iter().map(|finding| (finding.level, finding.check)).collect()
}

#[test]
fn a_declaration_that_agrees_with_its_server_has_no_findings() {
    assert_eq!(found(&provider(), &metadata()), []);
}

#[test]
fn an_issuer_that_names_itself_is_nothing_to_a_grant_without_answers_to_a_browser() {
    let machine = Provider { grant: Grant::ClientCredentials, pkce: false, ..provider() };
    assert_eq!(found(&machine, &Metadata { names_itself: true, ..metadata() }), []);
}

#[test]
fn each_disagreement_is_told_once() {
    use Level::{Doubtful, Wrong};
    let p = provider;
    let m = metadata;
    for (provider, metadata, expected) in [
        (p(), Metadata { token: Some("https://x/t".into()), ..m() }, (Doubtful, "token_url")),
        (p(), Metadata { challenge_methods: Some(vec!["plain".into()]), ..m() }, (Wrong, "pkce")),
        (Provider { pkce: false, ..p() }, m(), (Doubtful, "pkce")),
        (Provider { client_auth: ClientAuth::Basic, ..p() }, m(), (Doubtful, "client_auth")),
        (Provider { iss: IssuerCheck::Required, ..p() }, m(), (Wrong, "iss")),
        (p(), Metadata { names_itself: true, ..m() }, (Doubtful, "iss")),
        (Provider { dpop: true, ..p() }, m(), (Wrong, "dpop")),
        (
            Provider { scopes: vec!["reed".into()], ..p() },
            Metadata { scopes: Some(vec!["read".into()]), ..m() },
            (Doubtful, "scopes"),
        ),
        (
            Provider { authorize_params: [("response_mode".to_owned(), "form_post".to_owned())].into(), ..p() },
            m(),
            (Doubtful, "response_mode"),
        ),
    ] {
        assert_eq!(found(&provider, &metadata), [expected]);
    }
}

#[test]
fn a_missing_secret_a_wrong_clock_and_missing_scopes_are_told() {
    let none = check(&provider(), &Observed::default());
    assert!(none.len() == 1 && none[0].check == "secret" && none[0].to_string().contains("clawbridge/providers/"));

    let at = |seconds: i64| {
        let theirs =
            std::time::UNIX_EPOCH + std::time::Duration::from_secs(u64::try_from(NOW.seconds() + seconds).unwrap());
        let date = httpdate::fmt_http_date(theirs);
        let observed = Observed { has_secret: true, date: Some((&date, NOW)), ..Observed::default() };
        check(&provider(), &observed).iter().map(|finding| finding.found.clone()).collect::<Vec<_>>()
    };
    assert_eq!(at(60), Vec::<String>::new());
    assert_eq!(at(-60), Vec::<String>::new());
    assert_eq!(at(61), ["this machine's clock is 61 s behind the provider's"]);
    assert_eq!(at(-3600), ["this machine's clock is 3600 s ahead of the provider's"]);
    let nonsense = Observed { has_secret: true, date: Some(("soon", NOW)), ..Observed::default() };
    assert_eq!(check(&provider(), &nonsense), []);

    let (asked, granted) = (["a".to_owned(), "b".to_owned()], ["a".to_owned()]);
    let observed = Observed { has_secret: true, scopes: Some((&asked, &granted)), ..Observed::default() };
    assert_eq!(check(&provider(), &observed)[0].found, "these scopes were asked for and not granted: b");
}

#[test]
fn people_are_sent_back_to_a_safe_address_of_the_provider() {
    for (public, expected) in [
        ("https://b.example.com", Some("https://b.example.com/oauth/callback/x")),
        ("https://b.example.com/prod/", Some("https://b.example.com/prod/oauth/callback/x")),
        ("http://localhost:8080", Some("http://localhost:8080/oauth/callback/x")),
        ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080/oauth/callback/x")),
        ("http://b.example.com", None),
        ("https://b.example.com/?a", None),
        ("https://b.example.com/#a", None),
        ("https://u@b.example.com", None),
        ("b.example.com", None),
    ] {
        assert_eq!(redirect_uri(public, "x").ok().as_deref(), expected, "{public}");
    }
}
