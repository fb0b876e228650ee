use super::*;
use proptest::prelude::*;

fn log() -> GithubLog {
    GithubLog {
        hook: "repos/acme/shop/hooks/42".to_owned(),
        secret: "clawbridge/tools/github".to_owned(),
        api: "https://api.github.com".to_owned(),
    }
}

fn headers_of(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).expect("a name"), HeaderValue::from_str(value).expect("a value"))
    };
    pairs.iter().map(pair).collect()
}

#[test]
fn addresses_are_those_of_the_rest_api() {
    let page = |log: &GithubLog, cursor| page_url(log, cursor).expect("a URL").to_string();
    assert_eq!(page(&log(), None), "https://api.github.com/repos/acme/shop/hooks/42/deliveries?per_page=100");
    assert_eq!(
        page(&log(), Some("v1_1&x=/..")),
        "https://api.github.com/repos/acme/shop/hooks/42/deliveries?per_page=100&cursor=v1_1%26x%3D%2F.."
    );
    let server =
        GithubLog { api: "https://github.example/api/v3".to_owned(), hook: "orgs/acme/hooks/7".to_owned(), ..log() };
    assert_eq!(page(&server, None), "https://github.example/api/v3/orgs/acme/hooks/7/deliveries?per_page=100");
    assert_eq!(
        attempts_url(&server, "12").expect("a URL").to_string(),
        "https://github.example/api/v3/orgs/acme/hooks/7/deliveries/12/attempts"
    );
}

#[test]
fn the_token_is_sent_and_not_shown() {
    let headers = headers("ghp_token").expect("headers");
    assert_eq!(headers[AUTHORIZATION], "Bearer ghp_token");
    assert!(!format!("{headers:?}").contains("ghp_token"));
    assert!(matches!(super::headers("two\nlines"), Err(CatchUpError::NoToken(_))));
}

#[test]
fn a_page_is_read_as_github_documents_it() {
    // The example of the documentation (hook-delivery-items), and a connection that never came about.
    let body = br#"[
        {"id": 12345678, "guid": "0b989ba4-242f-11e5-81e1-c7b6966d2516", "delivered_at": "2019-06-03T00:57:16Z", "redelivery": false,
         "duration": 0.27, "status": "OK", "status_code": 200, "event": "issues", "action": "opened", "installation_id": 123,
         "repository_id": 456, "throttled_at": "2019-06-03T00:57:16Z"},
        {"id": 18446744073709551615, "guid": "g", "delivered_at": "2021-05-12T20:33:44.250Z", "redelivery": true,
         "duration": 10, "status": "failed to connect", "status_code": 502, "event": "push", "action": null,
         "installation_id": null, "repository_id": null},
        {"id": 1, "guid": "h", "delivered_at": "2021-05-12T20:33:44Z", "status": null, "status_code": null, "event": "ping"}
    ]"#;
    let attempts = page(body).expect("a page");
    let attempt = |id: &str, delivery: &str, event: &str, at: &str, redelivery, status, outcome: &str| Attempt {
        id: id.to_owned(),
        delivery: delivery.to_owned(),
        event: event.to_owned(),
        at: Timestamp::parse_rfc3339(at).expect("a time"),
        redelivery,
        status,
        outcome: outcome.to_owned(),
    };
    let guid = "0b989ba4-242f-11e5-81e1-c7b6966d2516";
    assert_eq!(
        attempts,
        [
            attempt("12345678", guid, "issues.opened", "2019-06-03T00:57:16Z", false, Some(200), "OK"),
            attempt(
                "18446744073709551615",
                "g",
                "push",
                "2021-05-12T20:33:44.250Z",
                true,
                Some(502),
                "failed to connect"
            ),
            attempt("1", "h", "ping", "2021-05-12T20:33:44Z", false, None, ""),
        ]
    );
    assert_eq!(page(b"[]"), Ok(Vec::new()));
}

#[test]
fn what_is_not_a_log_is_refused_without_being_repeated() {
    for body in [
        "",
        "<html>hunter2</html>",
        "{\"message\": \"hunter2\"}",
        "[{\"id\": 1}]",
        "[{\"id\": \"hunter2\", \"guid\": \"g\", \"delivered_at\": \"2021-05-12T20:33:44Z\"}]",
        "[{\"id\": 1, \"guid\": \"g\", \"delivered_at\": \"hunter2\"}]",
    ] {
        let error = page(body.as_bytes()).expect_err(body);
        assert_eq!(error.code(), "UNEXPECTED_RESPONSE");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn of_the_next_link_only_the_cursor_is_taken_and_only_from_the_same_server() {
    let url = page_url(&log(), None).expect("a URL");
    let cursor = |text: &str| Next::Cursor(text.to_owned());
    let rows: [(&str, Next); 14] = [
        (
            "<https://api.github.com/repositories/9/hooks/42/deliveries?per_page=100&cursor=v1_7>; rel=\"next\"",
            cursor("v1_7"),
        ),
        (
            "<https://api.github.com/x?cursor=a>; rel=\"prev\", <https://api.github.com/x?cursor=b>; rel=\"next\"",
            cursor("b"),
        ),
        ("<https://api.github.com/x,y?cursor=a,b>; rel=\"next\"; title=\"x\"", cursor("a,b")),
        ("<https://api.github.com/x?cursor=c>; REL=next", cursor("c")),
        ("</x?cursor=d>; rel=\"first next\"", cursor("d")),
        ("<https://api.github.com/x?cursor=a>; rel=\"prev\"", Next::End),
        ("<https://api.github.com/x?cursor=a>", Next::End),
        ("nonsense", Next::End),
        ("<https://api.github.com.evil.example/x?cursor=a>; rel=\"next\"", Next::Elsewhere),
        ("<https://api.github.com@evil.example/x?cursor=a>; rel=\"next\"", Next::Elsewhere),
        ("<http://api.github.com/x?cursor=a>; rel=\"next\"", Next::Elsewhere),
        ("<//evil.example/x?cursor=a>; rel=\"next\"", Next::Elsewhere),
        ("<https://api.github.com:444/x?cursor=a>; rel=\"next\"", Next::Elsewhere),
        ("<https://api.github.com/x?page=2>; rel=\"next\"", Next::Elsewhere),
    ];
    for (link, expected) in rows {
        assert_eq!(next(&headers_of(&[("link", link)]), &url), expected, "{link}");
    }
    assert_eq!(next(&HeaderMap::new(), &url), Next::End);
    let long = format!("<https://api.github.com/x?cursor={}>; rel=\"next\"", "x".repeat(MAX_CURSOR_BYTES + 1));
    assert_eq!(next(&headers_of(&[("link", &long)]), &url), Next::Elsewhere);
}

#[test]
fn an_answer_says_what_to_do_next() {
    let now = Timestamp::from_millis(1_795_232_439_120);
    let later = |seconds| Judged::RateLimited { until: now.plus(Duration::from_secs(seconds)) };
    let reset = (now.seconds() + 600).to_string();
    let limited = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset.as_str())];
    let at_reset = Judged::RateLimited { until: Timestamp::from_millis((now.seconds() + 600) * 1000) };
    let failed = Judged::Failed;
    type Row<'a> = (bool, u16, &'a [(&'a str, &'a str)], &'a str, Judged);
    let rows: Vec<Row<'_>> = vec![
        (true, 200, &[], "", Judged::Good),
        (false, 202, &[], "", Judged::Good),
        (true, 401, &[], "", failed(CatchUpError::TokenRefused)),
        (false, 401, &[], "", failed(CatchUpError::TokenRefused)),
        (true, 403, &[], "", failed(CatchUpError::TokenForbidden)),
        (
            true,
            403,
            &[("x-ratelimit-remaining", "4999")],
            "Resource not accessible",
            failed(CatchUpError::TokenForbidden),
        ),
        (true, 403, &limited, "", at_reset.clone()),
        (false, 429, &limited, "", at_reset),
        (false, 403, &[("retry-after", "30")], "", later(30)),
        (
            true,
            429,
            &[("retry-after", "30"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")],
            "",
            later(30),
        ),
        (true, 403, &[], "You have exceeded a secondary rate limit", later(60)),
        (true, 429, &[("x-ratelimit-remaining", "7"), ("x-ratelimit-reset", "1")], "", later(60)),
        // A reset that has passed, and headers that are nonsense.
        (true, 429, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")], "", later(0)),
        (true, 429, &[("retry-after", "soon")], "", later(60)),
        (true, 404, &[], "", failed(CatchUpError::HookNotFound)),
        (false, 404, &[], "", Judged::Refused),
        (false, 400, &[], "", Judged::Refused),
        (false, 422, &[], "", Judged::Refused),
        (true, 503, &[], "", failed(CatchUpError::Unavailable("the provider answered 503".into()))),
        (false, 502, &[], "", failed(CatchUpError::Unavailable("the provider answered 502".into()))),
        (true, 301, &[], "", failed(CatchUpError::Unexpected("the provider answered 301".into()))),
        (true, 202, &[], "", failed(CatchUpError::Unexpected("the provider answered 202".into()))),
    ];
    for (is_page, status, headers, body, expected) in rows {
        let found = judge(is_page, status, &headers_of(headers), body.as_bytes(), now);
        assert_eq!(found, expected, "{is_page} {status} {headers:?} {body}");
    }
    assert_eq!(used_up(&headers_of(&[("x-ratelimit-remaining", "1")]), now), None);
    assert_eq!(used_up(&headers_of(&[("x-ratelimit-remaining", "0")]), now), Some(now.plus(LEAST_WAIT)));
}

proptest! {
    #[test]
    fn no_answer_panics(body in prop::collection::vec(any::<u8>(), 0..200), link in "\\PC{0,80}", noise in "[<>;,=\" a-z]{0,60}") {
        drop(page(&body));
        let url = page_url(&log(), None).expect("a URL");
        for link in [link, noise] {
            if let Ok(value) = HeaderValue::from_str(&link) {
                drop(next(&HeaderMap::from_iter([(LINK, value)]), &url));
            }
        }
    }

    #[test]
    fn no_link_makes_the_token_leave_the_server(host in "[a-z.@:/\\\\]{0,30}", cursor in "\\PC{0,30}") {
        let url = page_url(&log(), None).expect("a URL");
        let link = format!("<https://{host}?cursor={cursor}>; rel=\"next\"");
        if let Ok(value) = HeaderValue::from_str(&link)
            && let Next::Cursor(cursor) = next(&HeaderMap::from_iter([(LINK, value)]), &url)
        {
            let next = page_url(&log(), Some(&cursor)).expect("a URL");
            prop_assert_eq!(next.origin(), url.origin());
            prop_assert_eq!(next.path(), url.path());
        }
    }
}
