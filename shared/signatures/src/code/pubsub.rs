//! Google Cloud Pub/Sub push (<https://docs.cloud.google.com/pubsub/docs/authenticate-push-subscriptions>): a JSON Web Token in
//! `Authorization`, signed by Google for the subscription's service account.
//!
//! The token says who sends and to whom; it does not cover the body. What keeps the body is TLS.

use super::{Asked, jwt};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::source::Options;
use crate::verify::Wanted;

/// Google's key set for OpenID Connect tokens.
const KEY_SET: &str = "https://www.googleapis.com/oauth2/v3/certs";

const PLACE: &str = "Authorization";

pub(super) fn wanted(request: &Request<'_>) -> Result<Wanted, Refusal> {
    token(request)?;
    Ok(Wanted::at(KEY_SET.to_owned()))
}

/// The token; `Bearer` compares without case (RFC 9110 section 11.1).
fn token<'a>(request: &Request<'a>) -> Result<&'a [u8], Refusal> {
    let value = request.headers.one(PLACE).map_err(|_| Refusal::HeaderDuplicated { header: PLACE.into() })?;
    let value = value.ok_or_else(|| Refusal::SignatureMissing {
        place: format!("{PLACE} (is authentication enabled for the push subscription?)"),
    })?;
    match value.split_at_checked("Bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty() => Ok(token),
        _ => Err(Refusal::SignatureMalformed { header: PLACE.into(), expected: "Bearer and a JSON Web Token".into() }),
    }
}

pub(super) fn verify(asked: &Asked<'_>) -> Result<usize, Refusal> {
    let claims = jwt::verify(token(asked.request)?, asked.key, PLACE, asked.now_unix_seconds)?;
    if !matches!(claims.iss.as_deref(), Some("accounts.google.com" | "https://accounts.google.com")) {
        return Err(Refusal::ClaimMismatch { claim: "iss", expected: "https://accounts.google.com".into() });
    }
    match &asked.source.options().audience {
        Some(audience) => claims.check_audience(audience)?,
        // What Pub/Sub takes when the subscription names no audience, but for a query.
        None => claims.check_audience(asked.url()?.split('?').next().unwrap_or_default())?,
    }
    if claims.email_verified != Some(true) {
        return Err(Refusal::ClaimMismatch { claim: "email_verified", expected: "true".into() });
    }
    let email = claims.email.unwrap_or_default();
    asked.source.keys().position(|listed| listed == email.as_bytes()).ok_or_else(|| Refusal::SenderNotListed {
        place: format!("email of the token in {PLACE}"),
        listed: asked.source.secret_count(),
    })
}

/// A secret of such a source is the address of a service account that may send.
pub(super) fn account(text: &str) -> Result<Vec<u8>, &'static str> {
    let plain = text.len() <= 254 && text.bytes().all(|b| b.is_ascii_graphic());
    match text.split_once('@') {
        Some((name, host)) if plain && !name.is_empty() && host.contains('.') && !host.contains('@') => {
            Ok(text.as_bytes().to_vec())
        }
        _ => Err(
            "is not the e-mail address of a service account, as in push@project.iam.gserviceaccount.com; it is the one that the push \
                  subscription authenticates with",
        ),
    }
}

pub(super) fn check_options(options: &Options) -> Result<(), (&'static str, String)> {
    if let Some(audience) = &options.audience {
        check_audience(audience)?;
    }
    jwt::check_pinned(options.keys.as_deref())
}

fn check_audience(audience: &str) -> Result<(), (&'static str, String)> {
    let plain = audience.bytes().all(|b| b.is_ascii_graphic()) && audience.len() <= 2048;
    if audience.is_empty() || !plain {
        return Err((
            "audience",
            "must be printable ASCII without spaces: what the subscription has as its audience".into(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;
    use crate::code::testdata::{KEY_SET as KEYS, token as make};
    use crate::verify::{verify_with, wanted};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const NOW: i64 = 1_790_000_000;
    const EMAIL: &str = "push@proj.iam.gserviceaccount.com";

    fn claims() -> Value {
        json!({
            "iss": "https://accounts.google.com", "aud": "https://hooks.example/hooks/a", "email": EMAIL, "email_verified": true,
            "sub": "113774264463038321964", "iat": NOW - 60, "exp": NOW + 3540,
        })
    }

    fn source(more: Value) -> Source {
        let mut document =
            json!({ "scheme": "google-pubsub", "secrets": ["other@proj.iam.gserviceaccount.com", EMAIL] });
        for (name, value) in more.as_object().expect("an object") {
            document[name] = value.clone();
        }
        Source::from_secret(document.to_string().as_bytes()).expect("a source")
    }

    fn outcome(source: &Source, authorization: &str, url: Option<&str>) -> Result<usize, &'static str> {
        let headers = [("authorization", authorization.as_bytes())].into_iter().collect();
        let request = Request { method: "POST", url, query: "", headers, body: b"{}" };
        verify_with(source, &request, Some(KEYS.as_bytes()), NOW)
            .map(|verified| verified.secret_index())
            .map_err(|refusal| refusal.code())
    }

    const URL: Option<&str> = Some("https://hooks.example/hooks/a?x=y");

    #[test]
    fn a_token_of_a_listed_account_is_verified() {
        let token = make(&claims());
        let source = source(json!({}));
        assert_eq!(outcome(&source, &format!("Bearer {token}"), URL), Ok(1));
        assert_eq!(outcome(&source, &format!("bearer {token}"), URL), Ok(1));
        assert_eq!(outcome(&source, &token, URL), Err("SIGNATURE_MALFORMED"));
        assert_eq!(outcome(&source, "Bearer ", URL), Err("SIGNATURE_MALFORMED"));
        assert_eq!(outcome(&source, "", URL), Err("SIGNATURE_MALFORMED"));
        assert_eq!(outcome(&source, &format!("Bearer {token},Bearer {token}"), URL), Err("SIGNATURE_MALFORMED"));
        assert_eq!(outcome(&source, &format!("Bearer {token}"), None), Err("URL_UNKNOWN"));
        assert_eq!(
            outcome(&source, &format!("Bearer {token}"), Some("https://hooks.example/hooks/b")),
            Err("CLAIM_MISMATCH")
        );
    }

    #[test]
    fn every_claim_counts() {
        let source = source(json!({}));
        for (name, value, expected) in [
            ("iss", json!("accounts.google.com"), Ok(1)),
            ("iss", json!("https://evil.example"), Err("CLAIM_MISMATCH")),
            ("iss", Value::Null, Err("CLAIM_MISMATCH")),
            ("aud", json!(["https://hooks.example/hooks/a"]), Ok(1)),
            ("aud", json!("https://hooks.example/hooks/b"), Err("CLAIM_MISMATCH")),
            ("aud", Value::Null, Err("CLAIM_MISMATCH")),
            ("exp", json!(NOW - 3600), Err("CLAIM_MISMATCH")),
            ("email", json!("x@evil.iam.gserviceaccount.com"), Err("SENDER_NOT_LISTED")),
            ("email", Value::Null, Err("SENDER_NOT_LISTED")),
            ("email_verified", json!(false), Err("CLAIM_MISMATCH")),
            ("email_verified", Value::Null, Err("CLAIM_MISMATCH")),
            ("email_verified", json!("true"), Err("SIGNATURE_MALFORMED")),
        ] {
            let mut claims = claims();
            claims[name] = value.clone();
            assert_eq!(outcome(&source, &format!("Bearer {}", make(&claims)), URL), expected, "{name} {value}");
        }
    }

    #[test]
    fn an_audience_of_the_sources_own_goes_before_the_url() {
        let mut claims = claims();
        claims["aud"] = json!("clawbridge");
        let token = format!("Bearer {}", make(&claims));
        assert_eq!(outcome(&source(json!({ "audience": "clawbridge" })), &token, None), Ok(1));
        assert_eq!(outcome(&source(json!({ "audience": "other" })), &token, URL), Err("CLAIM_MISMATCH"));
        assert_eq!(outcome(&source(json!({ "url": "https://own.example/a" })), &token, URL), Err("CLAIM_MISMATCH"));
        claims["aud"] = json!("https://own.example/a");
        let token = format!("Bearer {}", make(&claims));
        assert_eq!(outcome(&source(json!({ "url": "https://own.example/a" })), &token, URL), Ok(1));
    }

    #[test]
    fn the_key_set_is_wanted_for_a_token_and_not_without() {
        let asked = |source: &Source, headers: &[(&str, &str)]| {
            let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            let request = Request { method: "POST", url: URL, query: "", headers, body: b"" };
            wanted(source, &request)
                .map(|wanted| wanted.map(|wanted| wanted.url().to_owned()))
                .map_err(|refusal| refusal.code())
        };
        let fetching = source(json!({}));
        assert_eq!(asked(&fetching, &[(PLACE, "Bearer x")]), Ok(Some(KEY_SET.to_owned())));
        assert_eq!(asked(&fetching, &[]), Err("SIGNATURE_MISSING"));
        assert_eq!(asked(&fetching, &[(PLACE, "Basic x")]), Err("SIGNATURE_MALFORMED"));
        assert_eq!(asked(&fetching, &[(PLACE, "Bearer x"), (PLACE, "Bearer x")]), Err("HEADER_DUPLICATED"));
        assert_eq!(asked(&source(json!({ "keys": KEYS })), &[]), Ok(None));
    }

    #[test]
    fn secrets_and_options_are_checked_when_configured() {
        assert!(account(EMAIL).is_ok());
        for bad in ["", "push", "@a.b", "a@b", "a@b@c.d", "a b@c.d", "113774264463038321964"] {
            assert!(account(bad).expect_err(bad).contains("service account"), "{bad}");
        }
        for (options, option) in [
            (Options { audience: Some(String::new()), ..Options::default() }, "audience"),
            (Options { audience: Some("a b".into()), ..Options::default() }, "audience"),
            (Options { keys: Some("{}".into()), ..Options::default() }, "keys"),
            (Options { keys: Some(KEY_SET.into()), ..Options::default() }, "keys"),
        ] {
            assert_eq!(check_options(&options).expect_err(option).0, option);
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(value in "(Bearer )?\\PC{0,60}") {
            let source = source(json!({}));
            prop_assert!(outcome(&source, &value, URL).is_err());
        }
    }
}
