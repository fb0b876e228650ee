use super::*;
use crate::device::DeviceAnswer;
use crate::response::Expected;
use crate::response::tests::{answer, expected, provider};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

fn with<T>(read: impl FnOnce(&Expected<'_>) -> T) -> T {
    let (provider, asked, none) = (provider(), [], BTreeMap::new());
    read(&expected(&provider, &asked, &none))
}

/// `Grant CODE`, `Client CODE`, `Later CODE`.
fn verdict(status: u16, body: &str) -> String {
    match with(|expected| expected.tokens(&answer(status, body))).expect_err(body) {
        Refused::Grant { code, .. } => format!("Grant {code}"),
        Refused::Client { code, .. } => format!("Client {code}"),
        Refused::Later(retry) => format!("Later {}", retry.code),
        Refused::Nonce(nonce) => format!("Nonce {nonce}"),
    }
}

#[test]
fn each_providers_refusals_mean_what_they_mean() {
    for (status, body, expected) in [
        // RFC 6749, section 5.2
        (400, r#"{"error":"invalid_grant"}"#, "Grant invalid_grant"),
        (401, r#"{"error":"invalid_client","error_description":"x"}"#, "Client invalid_client"),
        (400, r#"{"error":"unauthorized_client"}"#, "Client unauthorized_client"),
        (400, r#"{"error":"unsupported_grant_type"}"#, "Client unsupported_grant_type"),
        (400, r#"{"error":"invalid_scope"}"#, "Client invalid_scope"),
        (400, r#"{"error":"invalid_request"}"#, "Client invalid_request"),
        (400, r#"{"error":"temporarily_unavailable"}"#, "Later UNAVAILABLE"),
        (400, r#"{"error":"<b>secret</b>"}"#, "Client unregistered"),
        (400, r#"{"error":null}"#, "Client unregistered"),
        // Google
        (
            400,
            r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#,
            "Grant invalid_grant",
        ),
        (
            400,
            r#"{"error":"invalid_grant","error_description":"reauth related error (invalid_rapt)","error_subtype":"invalid_rapt"}"#,
            "Grant invalid_grant",
        ),
        (400, r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#, "Client invalid_grant"),
        (
            400,
            r#"{"error":"invalid_grant","error_description":"Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."}"#,
            "Client invalid_grant",
        ),
        (
            401,
            r#"{"error":"deleted_client","error_description":"The OAuth client was deleted."}"#,
            "Client deleted_client",
        ),
        (403, r#"{"error":{"code":403,"message":"Quota","status":"RESOURCE_EXHAUSTED"}}"#, "Later RATE_LIMITED"),
        // Microsoft
        (
            400,
            r#"{"error":"invalid_grant","error_description":"AADSTS700082: The refresh token has expired due to inactivity.","error_codes":[700082],"trace_id":"t"}"#,
            "Grant invalid_grant",
        ),
        (
            400,
            r#"{"error":"interaction_required","error_description":"AADSTS50076: ...","suberror":"basic_action"}"#,
            "Grant interaction_required",
        ),
        (400, r#"{"error":"consent_required"}"#, "Grant consent_required"),
        (
            401,
            r#"{"error":"invalid_client","error_description":"AADSTS7000222: The provided client secret keys are expired."}"#,
            "Client invalid_client",
        ),
        // GitHub and Slack, under 200
        (
            200,
            r#"{"error":"bad_verification_code","error_description":"The code passed is incorrect or expired."}"#,
            "Grant bad_verification_code",
        ),
        (200, r#"{"error":"bad_refresh_token"}"#, "Grant bad_refresh_token"),
        (200, r#"{"error":"incorrect_client_credentials"}"#, "Client incorrect_client_credentials"),
        (200, r#"{"error":"redirect_uri_mismatch"}"#, "Client redirect_uri_mismatch"),
        (200, r#"{"ok":false,"error":"invalid_refresh_token"}"#, "Grant invalid_refresh_token"),
        (200, r#"{"ok":false,"error":"invalid_code"}"#, "Grant invalid_code"),
        (200, r#"{"ok":false,"error":"bad_client_secret"}"#, "Client bad_client_secret"),
        (200, r#"{"ok":false,"error":"ratelimited"}"#, "Later RATE_LIMITED"),
        (200, r#"{"ok":false,"error":"internal_error"}"#, "Later UNAVAILABLE"),
        (200, r#"{"ok":false}"#, "Client unregistered"),
        // HubSpot
        (
            400,
            r#"{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token","correlationId":"c"}"#,
            "Grant bad_refresh_token",
        ),
        (400, r#"{"status":"BAD_AUTH_CODE","message":"missing or unknown auth code"}"#, "Grant bad_auth_code"),
        (400, r#"{"status":"BAD_CLIENT_SECRET","message":"m"}"#, "Client bad_client_secret"),
        // Salesforce
        (400, r#"{"error":"invalid_grant","error_description":"expired access/refresh token"}"#, "Grant invalid_grant"),
        (400, r#"{"error":"invalid_grant","error_description":"login rate exceeded"}"#, "Later RATE_LIMITED"),
        (400, r#"{"error":"inactive_user","error_description":"user is inactive"}"#, "Grant inactive_user"),
        (
            400,
            r#"{"error":"invalid_client_id","error_description":"client identifier invalid"}"#,
            "Client invalid_client_id",
        ),
        (400, r#"{"error":"unknown_error","error_description":"retry your request"}"#, "Later UNAVAILABLE"),
        // Atlassian, Zoom, Shopify, Meta, Notion
        (
            403,
            r#"{"error":"unauthorized_client","error_description":"refresh_token is invalid"}"#,
            "Grant unauthorized_client",
        ),
        (
            403,
            r#"{"error":"invalid_grant","error_description":"Unknown or invalid refresh token."}"#,
            "Grant invalid_grant",
        ),
        (401, r#"{"reason":"Invalid Token!","error":"invalid_request"}"#, "Grant invalid_request"),
        (
            400,
            r#"{"error":"invalid_request","error_description":"The authorization code was not found or was already used"}"#,
            "Grant invalid_request",
        ),
        (
            400,
            r#"{"error":{"message":"Error validating access token: Session has expired","type":"OAuthException","code":190}}"#,
            "Grant oauthexception",
        ),
        (
            400,
            r#"{"error":{"message":"Error validating client secret.","type":"OAuthException","code":1}}"#,
            "Client oauthexception",
        ),
        (401, r#"{"object":"error","status":401,"code":"unauthorized","message":"m"}"#, "Client unregistered"),
        // No OAuth at all
        (401, "", "Client unregistered"),
        (401, "<html>", "Client unregistered"),
        (403, "<html>Access denied by the firewall</html>", "Later UNEXPECTED_RESPONSE"),
        (429, "", "Later RATE_LIMITED"),
        (429, r#"{"error":"invalid_grant"}"#, "Later RATE_LIMITED"),
        (408, "", "Later TIMEOUT"),
        (500, "", "Later UPSTREAM_ERROR"),
        (500, r#"{"error":"invalid_grant"}"#, "Later UPSTREAM_ERROR"),
        (502, "<html>", "Later UPSTREAM_ERROR"),
        (503, r#"{"error":"temporarily_unavailable"}"#, "Later UNAVAILABLE"),
        (0, "", "Later UNEXPECTED_RESPONSE"),
        (999, "", "Later UNEXPECTED_RESPONSE"),
    ] {
        assert_eq!(verdict(status, body), expected, "{status} {body}");
    }
}

#[test]
fn a_description_is_never_repeated() {
    for error in ["invalid_grant", "invalid_client", "hunter2", "server_error"] {
        let body = format!(r#"{{"error":"{error}","error_description":"hunter2","error_uri":"https://hunter2"}}"#);
        for status in [200, 400, 401, 429, 500] {
            let refused = with(|expected| expected.tokens(&answer(status, &body))).expect_err("refused");
            assert!(!format!("{refused:?} {refused}").contains("hunter2"));
        }
    }
}

#[test]
fn a_server_says_how_long_it_wants_to_be_left_alone() {
    let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(1_790_000_090));
    for (header, expected) in [
        (Some("7"), Some(7)),
        (Some(" 120 "), Some(120)),
        (Some(date.as_str()), Some(90)),
        (Some("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0)),
        (Some("99999999999999999999999"), Some(86_400)),
        (Some("-1"), None),
        (Some("soon"), None),
        (Some(""), None),
        (None, None),
    ] {
        let answer = Answer { retry_after: header, ..answer(429, "") };
        let Err(Refused::Later(retry)) = with(|expected| expected.tokens(&answer)) else { panic!("{header:?}") };
        assert_eq!(retry.after, expected.map(Duration::from_secs), "{header:?}");
        assert!(!retry.may_have_acted);
    }
}

#[test]
fn a_nonce_is_asked_for() {
    let answer = Answer { dpop_nonce: Some("eyJ7S.zG"), ..answer(400, r#"{"error":"use_dpop_nonce"}"#) };
    assert_eq!(with(|expected| expected.tokens(&answer)), Err(Refused::Nonce("eyJ7S.zG".into())));
}

#[test]
fn polls_of_a_device_flow_have_their_own_answers() {
    let poll = |status, body: &str| with(|expected| expected.poll(&answer(status, body)));
    for (status, code, expected) in [
        (400, "authorization_pending", DeviceAnswer::Pending),
        (200, "authorization_pending", DeviceAnswer::Pending),
        (428, "authorization_pending", DeviceAnswer::Pending),
        (400, "slow_down", DeviceAnswer::SlowDown),
        (400, "expired_token", DeviceAnswer::Expired),
        (403, "access_denied", DeviceAnswer::Denied),
    ] {
        assert_eq!(poll(status, &format!(r#"{{"error":"{code}"}}"#)), Ok(expected), "{code}");
    }
    assert!(matches!(poll(200, r#"{"access_token":"a"}"#), Ok(DeviceAnswer::Tokens(_))));
    assert!(matches!(poll(400, r#"{"error":"invalid_client"}"#), Err(Refused::Client { .. })));
    assert!(matches!(poll(500, r#"{"error":"access_denied"}"#), Err(Refused::Later(_))));
}

#[test]
fn a_device_authorization_is_read_and_bounded() {
    let device = |body: &str| with(|expected| expected.device(&answer(200, body)));
    let body = r#"{"device_code":"hunter2","user_code":"WDJB-MJHT","verification_uri":"https://example.com/device","expires_in":1800}"#;
    let got = device(body).expect("a device authorization");
    assert_eq!(
        (got.user_code.as_str(), got.interval, got.lifetime),
        ("WDJB-MJHT", Duration::from_secs(5), Duration::from_secs(1800))
    );
    assert!(!format!("{got:?}").contains("hunter2"));
    let google = body.replace("verification_uri", "verification_url").replace("1800", "\"99999999\",\"interval\":0");
    let got = device(&google).expect("a device authorization");
    assert_eq!((got.lifetime, got.interval), (Duration::from_secs(3600), Duration::from_secs(5)));
    for (from, to) in [
        ("https://example.com", "javascript:alert(1)//"),
        ("https://", "http://"),
        ("WDJB", "a\\u001b"),
        ("hunter2", ""),
    ] {
        assert!(matches!(device(&body.replace(from, to)), Err(Refused::Later(_))), "{to}");
    }
}

proptest! {
    #[test]
    fn no_answer_panics_or_is_repeated(
        status in 0..1000_u16, body in proptest::collection::vec(any::<u8>(), 0..300), kind in "\\PC{0,40}", header in "\\PC{0,40}", is_cut: bool
    ) {
        let answer = Answer { status, content_type: Some(&kind), retry_after: Some(&header), dpop_nonce: Some(&header), body: &body, is_cut };
        with(|expected| {
            let _ = expected.tokens(&answer);
            let _ = expected.poll(&answer);
            let _ = expected.device(&answer);
        });
    }

    #[test]
    fn no_json_panics_or_shows_a_token(status in 100..600_u16, name in "(error|status|code|ok|scope|expires_in|token_type|message)", value in json(), token in "hunter2[!-~]{0,20}") {
        let body = serde_json::json!({name: value, "access_token": token, "refresh_token": token, "error_description": token}).to_string();
        let shown = with(|expected| format!("{:?} {:?}", expected.tokens(&answer(status, &body)), expected.poll(&answer(status, &body))));
        prop_assert!(!shown.contains("hunter2"), "{}", shown);
    }
}

fn json() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z_]{0,12}".prop_map(Value::from),
        proptest::collection::vec("[a-z]{0,5}", 0..3).prop_map(Value::from),
        Just(serde_json::json!({"status": "X", "type": 1, "message": {}})),
    ]
}
