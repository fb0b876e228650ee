use super::*;
use crate::{HmacOptions, Options, Outgoing, sign};

const NOW: i64 = 1_790_000_000;
const URL: &str = "https://h.example/hooks/s?a=1";

/// A request whose parts can be changed after it was signed.
struct Sent {
    method: &'static str,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Sent {
    /// What the sender of `document` sends.
    fn signed(document: &str, body: &[u8]) -> Self {
        let outgoing = Outgoing { method: "POST", url: Some(URL), body, delivery_id: "d-1", event_type: Some("push") };
        let headers = sign(&source(document), &outgoing, NOW).expect(document);
        Self { method: "POST", url: URL.to_owned(), headers, body: body.to_vec() }
    }

    fn explained(&self, document: &str, now: i64) -> Explanation {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let request = Request { method: self.method, url: Some(&self.url), query: "", headers, body: &self.body };
        explain(&source(document), &request, None, now)
    }

    fn header(&mut self, name: &str) -> &mut String {
        let found = self.headers.iter_mut().find(|(header, _)| header.eq_ignore_ascii_case(name));
        &mut found.expect(name).1
    }
}

fn source(document: &str) -> Source {
    Source::from_secret(document.as_bytes()).expect(document)
}

fn codes(explanation: &Explanation) -> Vec<&'static str> {
    explanation.findings.iter().map(|finding| finding.code).collect()
}

const GITHUB: &str = r#"{"scheme":"github","secrets":["topsecretvalue"]}"#;
const STRIPE: &str = r#"{"scheme":"stripe","secrets":["topsecretvalue"]}"#;

fn hmac(secret: &str, options: &str) -> String {
    format!(r#"{{"scheme":"hmac","secrets":["{secret}"],"hmac":{{"header":"X-Sig",{options}}}}}"#)
}

#[test]
fn a_body_that_was_changed_on_its_way_is_named() {
    for (sent, received, code) in [
        (&b"{}"[..], &b"{}\n"[..], "BODY_FINAL_NEWLINE_ADDED"),
        (b"{}", b"{}\r\n", "BODY_FINAL_NEWLINE_ADDED"),
        (b"{}\n", b"{}", "BODY_FINAL_NEWLINE_MISSING"),
        (b"{}\r\n", b"{}", "BODY_FINAL_NEWLINE_MISSING"),
        (b"{}", b" {} \n\n", "BODY_WHITESPACE_ADDED"),
        (b"a\nb\nc", b"a\r\nb\r\nc", "BODY_LINE_ENDS_CRLF"),
        (b"a\r\nb\r\nc", b"a\nb\nc", "BODY_LINE_ENDS_LF"),
        (b"{}", b"\xef\xbb\xbf{}", "BODY_BOM_ADDED"),
        (b"\xef\xbb\xbf{}", b"{}", "BODY_BOM_MISSING"),
        (b"{\"a\":1}", b"eyJhIjoxfQ==", "BODY_IS_BASE64"),
        (b"{\"a\":1}", b"\"{\\\"a\\\":1}\"", "BODY_IS_JSON_TEXT"),
        ("ü".as_bytes(), "Ã¼".as_bytes(), "BODY_ENCODED_TWICE"),
        (b"", b"{}", "BODY_REPLACED"),
        (b"{\"a\":[1,2]}", b"{ \"a\": [1, 2] }", "BODY_JSON_REWRITTEN"),
        (b"{\"a\": [1, 2]}", b"{\"a\":[1,2]}", "BODY_JSON_REWRITTEN"),
        (b"{\n  \"a\": [\n    1\n  ]\n}", b"{\"a\":[1]}", "BODY_JSON_REWRITTEN"),
        (br#"{"a":"\u00fc\/"}"#, r#"{"a":"ü/"}"#.as_bytes(), "BODY_JSON_REWRITTEN"),
    ] {
        for document in [GITHUB, STRIPE] {
            let request = Sent { body: received.to_vec(), ..Sent::signed(document, sent) };
            let explanation = request.explained(document, NOW);
            assert_eq!(codes(&explanation), [code], "{document} {explanation}");
            assert_eq!(explanation.findings[0].part, Part::Body);
            let good = Sent::signed(document, sent).explained(document, NOW);
            assert!(good.is_valid() && good.findings.is_empty(), "{good}");
        }
    }
}

#[test]
fn a_url_or_method_that_differs_is_named() {
    let square =
        r#"{"scheme":"hmac","secrets":["topsecretvalue"],"hmac":{"header":"X-Sig","signed":"{method}{url}{body}"}}"#;
    for (url, words) in [
        ("http://h.example/hooks/s?a=1", "with https instead of http"),
        ("https://h.example:8443/hooks/s?a=1", "without its port"),
        ("https://h.example/hooks/s/?a=1", "without the slash at the end"),
        ("https://H.example/hooks/s?a=1", "with its host in lower case"),
        ("https://h.example/prod/hooks/s?a=1", "without the first segment of its path"),
    ] {
        let request = Sent { url: url.to_owned(), ..Sent::signed(square, b"{}") };
        let explanation = request.explained(square, NOW);
        assert_eq!(codes(&explanation), ["URL_DIFFERS"], "{url}: {explanation}");
        assert!(explanation.findings[0].text.contains(words), "{url}: {explanation}");
    }
    for (signed, words) in [
        ("https://h.example/hooks/s/?a=1", "with a slash at the end"),
        ("https://h.example/hooks/s", "without its query"),
        ("https://h.example:443/hooks/s?a=1", "with its default port"),
    ] {
        let outgoing = Outgoing { method: "POST", url: Some(signed), body: b"{}", delivery_id: "d", event_type: None };
        let headers = sign(&source(square), &outgoing, NOW).expect("headers");
        let request = Sent { headers, ..Sent::signed(square, b"{}") };
        let explanation = request.explained(square, NOW);
        assert_eq!(codes(&explanation), ["URL_DIFFERS"], "{signed}: {explanation}");
        assert!(explanation.findings[0].text.contains(words), "{signed}: {explanation}");
    }
    let request = Sent { method: "PUT", ..Sent::signed(square, b"{}") };
    assert_eq!(codes(&request.explained(square, NOW)), ["METHOD_DIFFERS"]);
}

#[test]
fn a_url_that_the_source_configures_is_varied_too() {
    let hmac = HmacOptions { signed: "{url}{body}".into(), ..HmacOptions::new("X-Sig") };
    let source = Source::new(
        Scheme::parse("hmac").expect("a scheme"),
        vec!["topsecretvalue".into()],
        Options { hmac: Some(hmac), url: Some("http://h.example/hooks/s".into()), ..Options::default() },
    );
    let source = source.expect("a source");
    let url = "https://h.example/hooks/s?a=1";
    let outgoing = Outgoing { method: "POST", url: Some(url), body: b"{}", delivery_id: "d", event_type: None };
    let headers = sign(&source, &outgoing, NOW).expect("headers");
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let request = Request { method: "POST", url: Some(url), query: "a=1", headers, body: b"{}" };
    assert_eq!(codes(&explain(&source, &request, None, NOW)), ["URL_DIFFERS"]);
}

#[test]
fn a_secret_that_is_read_otherwise_is_named() {
    for (sender, receiver, words) in [
        (r#""secret_encoding":"base64""#, r#""secret_encoding":"utf8""#, "decoded from base64"),
        (r#""secret_encoding":"hex""#, r#""secret_encoding":"base64""#, "decoded from hexadecimal"),
        (r#""secret_encoding":"utf8""#, r#""secret_encoding":"hex""#, "taken as text"),
    ] {
        let (sender, receiver) = (hmac("00ff00ff00ff00ff", sender), hmac("00ff00ff00ff00ff", receiver));
        let explanation = Sent::signed(&sender, b"{}").explained(&receiver, NOW);
        assert_eq!(codes(&explanation), ["SECRET_READ_OTHERWISE"], "{explanation}");
        assert!(explanation.findings[0].text.contains(words), "{explanation}");
    }
    for (sender, receiver, words) in [
        ("whsec_AAAAAAAAAAAA", "AAAAAAAAAAAA", "with whsec_ before it"),
        ("AAAAAAAAAAAA", "whsec_AAAAAAAAAAAA", "without its whsec_, as text"),
        ("topsecretvalue", "'topsecretvalue'", "without the quotes"),
    ] {
        let document = |secret: &str| format!(r#"{{"scheme":"stripe","secrets":["{secret}"]}}"#);
        let explanation = Sent::signed(&document(sender), b"{}").explained(&document(receiver), NOW);
        assert_eq!(codes(&explanation), ["SECRET_READ_OTHERWISE"], "{explanation}");
        assert!(explanation.findings[0].text.contains(words), "{explanation}");
    }
    // Standard Webhooks' own secret, taken as text by the sender.
    let sender = hmac(
        "whsec_AAAAAAAAAAAA",
        r#""encoding":"base64","prefix":"v1,","signed":"{id}.{timestamp}.{body}","timestamp_header":"webhook-timestamp","delivery_header":"webhook-id""#,
    );
    let mut request = Sent::signed(&sender, b"{}");
    request
        .headers
        .iter_mut()
        .filter(|(name, _)| name == "X-Sig")
        .for_each(|(name, _)| *name = "webhook-signature".into());
    let receiver = r#"{"scheme":"standard-webhooks","secrets":["whsec_AAAAAAAAAAAA"]}"#;
    assert!(codes(&request.explained(receiver, NOW)).contains(&"SECRET_READ_OTHERWISE"));
}

#[test]
fn a_header_in_another_form_is_named() {
    let plain = hmac("topsecretvalue", r#""encoding":"hex""#);
    for sender in [
        r#""encoding":"base64""#,
        r#""algorithm":"sha512""#,
        r#""prefix":"sha256=""#,
        r#""prefix":"sha1=","encoding":"base64","algorithm":"sha512""#,
        r#""encoding":"base64","secret_encoding":"hex""#,
    ] {
        let sender = hmac("00ff00ff", sender);
        let receiver = plain.replace("topsecretvalue", "00ff00ff");
        let explanation = Sent::signed(&sender, b"{}").explained(&receiver, NOW);
        assert_eq!(codes(&explanation), ["FORM_DIFFERS"], "{sender}: {explanation}");
    }
    let stamped = r#""timestamp_header":"X-Ts","signed":"{timestamp}.{body}""#;
    let milliseconds = hmac("topsecretvalue", &format!(r#""timestamp_unit":"ms",{stamped}"#));
    let explanation = Sent::signed(&milliseconds, b"{}").explained(&hmac("topsecretvalue", stamped), NOW);
    assert_eq!(codes(&explanation), ["TIMESTAMP_UNIT_DIFFERS"], "{explanation}");
    for (sender, template) in [
        (r#""signed":"{timestamp}:{body}""#, "{timestamp}:{body}"),
        (r#""signed":"v0:{timestamp}:{body}""#, "v0:{timestamp}:{body}"),
    ] {
        let sender = hmac("topsecretvalue", &format!(r#""timestamp_header":"X-Ts",{sender}"#));
        let explanation = Sent::signed(&sender, b"{}").explained(&hmac("topsecretvalue", stamped), NOW);
        assert_eq!(codes(&explanation), ["TEMPLATE_DIFFERS"], "{explanation}");
        assert!(explanation.findings[0].text.contains(template), "{explanation}");
    }
    let explanation = Sent::signed(&plain, b"{}");
    let explanation =
        Sent { headers: [explanation.headers, vec![("X-Ts".into(), NOW.to_string())]].concat(), ..explanation };
    assert_eq!(codes(&explanation.explained(&hmac("topsecretvalue", stamped), NOW)), ["TEMPLATE_DIFFERS"]);
}

#[test]
fn a_signature_of_another_scheme_is_named() {
    let explanation = Sent::signed(GITHUB, b"{}").explained(STRIPE, NOW);
    assert!(codes(&explanation).contains(&"SCHEME_DIFFERS"), "{explanation}");
    assert!(explanation.findings.iter().any(|finding| finding.text.contains("the scheme github")), "{explanation}");
    assert_eq!(explanation.headers[0].values, Vec::<String>::new());
    assert_eq!(explanation.look_alikes, ["X-Hub-Signature-256"]);
    assert!(
        explanation.to_string().contains("Stripe-Signature: missing (signature; expected a list with v1="),
        "{explanation}"
    );
    let token = r#"{"scheme":"openclaw-token","secrets":["topsecretvalue"]}"#;
    let explanation = Sent::signed(token, b"{}").explained(GITHUB, NOW);
    assert!(explanation.to_string().contains("openclaw-token"), "{explanation}");
}

#[test]
fn what_cannot_be_explained_is_not_guessed() {
    let other = GITHUB.replace("topsecretvalue", "another");
    let explanation = Sent::signed(&other, b"{}").explained(GITHUB, NOW);
    assert!(explanation.findings.is_empty(), "{explanation}");
    assert!(explanation.to_string().contains("nothing that was tried makes it hold"), "{explanation}");
}

#[test]
fn a_signature_that_is_only_old_is_told_from_a_wrong_one() {
    for (now, age, words) in [
        (NOW, 0, "0 s old; 300 s are allowed"),
        (NOW + 301, 301, "301 s old; 300 s are allowed"),
        (NOW - 400, -400, "400 s ahead; 300 s are allowed"),
    ] {
        let explanation = Sent::signed(STRIPE, b"{}").explained(STRIPE, now);
        assert_eq!(explanation.age, Some(Age { seconds: age, tolerance_s: Some(300) }));
        assert!(explanation.signature_holds() && explanation.findings.is_empty(), "{explanation}");
        assert_eq!(explanation.is_valid(), age == 0);
        assert!(explanation.to_string().contains(words), "{explanation}");
        assert_eq!(explanation.to_string().contains("the time alone"), age != 0, "{explanation}");
    }
}

#[test]
fn what_is_both_old_and_changed_is_told_as_both() {
    let request = Sent { body: b"{}\n".to_vec(), ..Sent::signed(STRIPE, b"{}") };
    let explanation = request.explained(STRIPE, NOW + 1000);
    assert_eq!(codes(&explanation), ["BODY_FINAL_NEWLINE_ADDED"], "{explanation}");
    assert_eq!(explanation.age, Some(Age { seconds: 1000, tolerance_s: Some(300) }));
    assert!(!explanation.signature_holds());
}

#[test]
fn a_header_that_is_repeated_or_missing_is_shown_so() {
    let mut request = Sent::signed(GITHUB, b"{}");
    request.headers.push(("x-hub-signature-256".into(), "sha1=zz".into()));
    let explanation = request.explained(GITHUB, NOW);
    assert_eq!(explanation.headers[0].values, ["sha256= and 64 hexadecimal digits", "sha1= and 2 characters"]);
    assert!(explanation.to_string().contains("X-Hub-Signature-256: sent 2 times"), "{explanation}");

    let standard = r#"{"scheme":"standard-webhooks","secrets":["dG9wc2VjcmV0dmFsdWU="]}"#;
    let mut request = Sent::signed(standard, b"{}");
    request.headers.retain(|(name, _)| name != "webhook-timestamp");
    let explanation = request.explained(standard, NOW).to_string();
    assert!(explanation.contains("webhook-timestamp: missing (timestamp; expected 10 digits"), "{explanation}");
    assert!(explanation.contains("webhook-id: \"d-1\" (delivery id)"), "{explanation}");
    assert!(explanation.contains("timestamp missing"), "{explanation}");
}

#[test]
fn what_was_signed_is_shown_with_its_values() {
    let long = [b'x'; 200];
    let square = hmac("topsecretvalue", r#""signed":"{method}{url}{body}""#);
    let explanation = Sent::signed(&square, &long).explained(&square, NOW);
    assert_eq!(explanation.signed.template, "{method}{url}{body}");
    assert_eq!(explanation.signed.values, [("method", "\"POST\"".to_owned()), ("url", format!("\"{URL}\""))]);
    assert_eq!(explanation.body.bytes, 200);
    assert_eq!(explanation.body.first.as_deref(), Some("x".repeat(40).as_str()));
    assert_eq!(explanation.body.last.as_deref(), Some("x".repeat(40).as_str()));
    let explanation = Sent::signed(STRIPE, b"Hello\n").explained(STRIPE, NOW);
    assert_eq!(explanation.signed.values, [("timestamp", format!("\"{NOW}\""))]);
    assert_eq!((explanation.body.first.as_deref(), explanation.body.last), (Some("Hello\\n"), None));
    // The SHA-256 of the body, from coreutils.
    assert_eq!(explanation.body.sha256, "66a045b452102c59d840ec097d59d9467e13a3f34f6494e539ffd32c1bb35f18");
}

/// The secret in each of its forms, and whatever signature the sender computed.
#[test]
fn neither_secret_nor_signature_is_ever_shown() {
    for scheme in Scheme::all() {
        for secret in [
            "topsecretvalue",
            "dG9wc2VjcmV0dmFsdWU=",
            "00D000000000062",
            "arn:aws:sns:eu-west-1:123456789012:topsecret",
        ] {
            let document = json!({ "scheme": scheme.name(), "secrets": [secret], "hmac": Value::Null }).to_string();
            let mut document: Value = serde_json::from_str(&document).expect("JSON");
            document.as_object_mut().expect("an object").remove("hmac");
            if scheme.name() == "hmac" {
                document["hmac"] = json!({"header": "X-Sig"});
            }
            let Ok(source) = Source::from_secret(document.to_string().as_bytes()) else { continue };
            let body = format!(
                r#"{{"value":[{{"clientState":"{secret}"}}],"signature":{{"token":"{secret}"}},"key":"{secret}"}}"#
            );
            let url = format!("https://h.example/hooks/s?key={secret}");
            let outgoing = Outgoing {
                method: "POST",
                url: Some(&url),
                body: body.as_bytes(),
                delivery_id: "d-1",
                event_type: None,
            };
            let headers = sign(&source, &outgoing, NOW).unwrap_or_default();
            let proofs: Vec<String> = headers
                .iter()
                .filter(|(name, _)| {
                    let name = name.to_lowercase();
                    let is_proof = ["signature", "hmac", "mac", "token", "auth"].iter().any(|word| name.contains(word));
                    is_proof && !name.contains("timestamp")
                })
                .flat_map(|(_, value)| value.split([' ', ',', '=', ';']).map(str::to_owned).collect::<Vec<_>>())
                .filter(|part| part.len() >= 12 && !part.bytes().all(|b| b.is_ascii_digit()))
                .collect();
            for (now, body) in [(NOW, body.as_str()), (NOW, "{}"), (NOW + 100_000, body.as_str())] {
                let fields = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
                let request =
                    Request { method: "POST", url: Some(&url), query: "", headers: fields, body: body.as_bytes() };
                let explanation = explain(&source, &request, None, now);
                for said in [explanation.to_string(), explanation.to_json().to_string(), format!("{explanation:?}")] {
                    assert!(!said.contains(secret), "{scheme}: {said}");
                    for proof in &proofs {
                        assert!(!said.contains(proof), "{scheme}: {said}");
                    }
                }
            }
        }
    }
}

#[test]
fn json_has_what_the_words_say() {
    let mut request = Sent::signed(STRIPE, b"{}");
    request.body.push(b'\n');
    let json = request.explained(STRIPE, NOW).to_json();
    assert_eq!(json["valid"], false);
    assert_eq!(json["code"], "SIGNATURE_MISMATCH");
    assert_eq!(json["findings"][0]["code"], "BODY_FINAL_NEWLINE_ADDED");
    assert_eq!(json["findings"][0]["part"], "body");
    assert_eq!(json["headers"][0]["role"], "signature");
    assert_eq!(json["age"], json!({"seconds": 0, "tolerance_s": 300}));
    assert_eq!(json["signed"], json!({"template": "{timestamp}.{body}", "values": {"timestamp": "\"1790000000\""}}));
    let json = Sent::signed(STRIPE, b"{}").explained(STRIPE, NOW).to_json();
    assert_eq!((&json["valid"], &json["secret"], &json["code"]), (&json!(true), &json!(1), &Value::Null));
}

#[test]
fn a_changed_header_is_seen() {
    let mut request = Sent::signed(STRIPE, b"{}");
    let header = request.header("Stripe-Signature");
    *header = header.replace("v1=", "v0=");
    let explanation = request.explained(STRIPE, NOW);
    assert_eq!(explanation.headers[0].values, ["t= and 10 digits; v0= and 64 hexadecimal digits"]);
    assert_eq!(codes(&explanation), ["FORM_DIFFERS"], "{explanation}");
}
