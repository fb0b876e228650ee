//! JSON Web Tokens (RFC 7519) signed with RS256 (RFC 7515, RFC 7518 section 3.3) by a key of a JSON Web Key Set (RFC 7517).
//!
//! The algorithm is not the token's choice: RS256 or refused, so neither `none` nor an HMAC keyed with a public key exists here. Keys are
//! found by `kid` and nothing else; `jwk`, `jku` and `x5u` in a header are not looked at, and `crit` is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::rsa::{Hash, Key};
use crate::refusal::Refusal;

/// How far the clocks of provider and receiver may differ when a token's times are checked, in seconds.
const LEEWAY_S: f64 = 60.0;

/// The largest token that is looked at, in bytes. Google's have some 1000, Microsoft's some 2000.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// The largest key set, in bytes. Microsoft's has some 20000.
const MAX_KEY_SET_BYTES: usize = 64 * 1024;
/// Tokens in one notification: one for each app and tenant.
const MAX_TOKENS: usize = 32;

/// Microsoft's application that sends change notifications
/// (<https://learn.microsoft.com/graph/change-notifications-with-resource-data>).
const CHANGE_NOTIFICATION_PUBLISHER: &str = "0bf30f3b-4a52-48df-9a82-234910c0a086";

/// The key set that Microsoft signs change notifications' tokens with, for every tenant.
pub(super) const MICROSOFT_KEYS: &str = "https://login.microsoftonline.com/common/discovery/v2.0/keys";

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// The claims of a token that some scheme looks at. Only [`verify`] makes one.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: Option<String>,
    aud: Option<Audience>,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    pub(super) email: Option<String>,
    pub(super) email_verified: Option<bool>,
    azp: Option<String>,
    appid: Option<String>,
    tid: Option<String>,
}

/// RFC 7519 section 4.1.3.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Claims {
    /// Refuses a token that is made out to somebody else.
    pub(super) fn check_audience(&self, expected: &str) -> Result<(), Refusal> {
        let found = match &self.aud {
            Some(Audience::One(audience)) => audience == expected,
            Some(Audience::Many(audiences)) => audiences.iter().any(|audience| audience == expected),
            None => false,
        };
        if found { Ok(()) } else { Err(Refusal::ClaimMismatch { claim: "aud", expected: expected.to_owned() }) }
    }

    fn check_times(&self, now_unix_seconds: i64) -> Result<(), Refusal> {
        // Exact for the next 280 million years.
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
        let now = now_unix_seconds as f64;
        let mismatch = |claim, expected: &str| Err(Refusal::ClaimMismatch { claim, expected: expected.to_owned() });
        match self.exp {
            Some(exp) if now < exp + LEEWAY_S => {}
            Some(_) => return mismatch("exp", "a time to come, or at most 60 s ago; a replay, or clocks that differ"),
            None => return mismatch("exp", "a time; tokens without end are not accepted"),
        }
        for (claim, time) in [("nbf", self.nbf), ("iat", self.iat)] {
            if time.is_some_and(|time| time > now + LEEWAY_S) {
                return mismatch(claim, "a time that has come, or comes within 60 s; clocks that differ");
            }
        }
        Ok(())
    }
}

/// The claims of a token, if a key of `key_set` signed it and now is its time. `place` is where the token came from.
///
/// A key that is not in the set, or no set, is [`Refusal::KeyUnknown`]: the caller may fetch the set anew.
pub(super) fn verify(
    token: &[u8],
    key_set: Option<&[u8]>,
    place: &str,
    now_unix_seconds: i64,
) -> Result<Claims, Refusal> {
    let malformed = |expected: &str| Refusal::SignatureMalformed { header: place.into(), expected: expected.into() };
    if token.len() > MAX_TOKEN_BYTES {
        return Err(malformed("a JSON Web Token of at most 16 KiB"));
    }
    let form = || malformed("a JSON Web Token: header, claims and signature in base64url, separated by dots");
    let parts: Vec<&[u8]> = token.splitn(4, |byte| *byte == b'.').collect();
    let [header, claims, signature] = parts[..] else { return Err(form()) };
    let signed = &token[..header.len() + 1 + claims.len()];
    let decode = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).map_err(|_| form());
    let (header, claims, signature) = (decode(header)?, decode(claims)?, decode(signature)?);
    let header: Header = object(&header).ok_or_else(form)?;
    if header.alg != "RS256" {
        return Err(Refusal::VersionUnsupported { place: format!("alg of {place}"), accepted: "RS256" });
    }
    if header.crit.is_some() {
        return Err(Refusal::VersionUnsupported { place: format!("crit of {place}"), accepted: "no extension" });
    }
    let kid = header.kid.ok_or_else(|| malformed("a token that names its key (kid)"))?;
    let unknown = || Refusal::KeyUnknown { place: format!("kid of {place}") };
    let key = find(key_set.ok_or_else(unknown)?, &kid)?.ok_or_else(unknown)?;
    if !key.signed(Hash::Sha256, signed, &signature) {
        return Err(Refusal::KeyMismatch { place: format!("kid of {place}") });
    }
    let claims: Claims = object(&claims).ok_or_else(|| malformed("a token whose claims have the types of RFC 7519"))?;
    claims.check_times(now_unix_seconds)?;
    Ok(claims)
}

/// A JSON object with the members of `T`, each at most once. (An array would do for serde.)
pub(super) fn object<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.trim_ascii_start();
    if bytes.first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// The key with this `kid`, if the set has it as an RSA key for signatures.
fn find(document: &[u8], kid: &str) -> Result<Option<Key>, Refusal> {
    let invalid = |problem| Refusal::KeyInvalid { problem };
    if document.len() > MAX_KEY_SET_BYTES {
        return Err(invalid("the document is larger than a key set can be"));
    }
    let set: KeySet =
        serde_json::from_slice(document).map_err(|_| invalid("the document is not a JSON Web Key Set"))?;
    let text = |key: &Value, name: &str| key.get(name).and_then(Value::as_str).map(str::to_owned);
    // Keys of other kinds and uses may stand in the same set (RFC 7517 section 5), even under the same name.
    let named = set.keys.iter().find(|key| {
        text(key, "kid").as_deref() == Some(kid)
            && text(key, "kty").as_deref() == Some("RSA")
            && text(key, "use").is_none_or(|value| value == "sig")
            && text(key, "alg").is_none_or(|value| value == "RS256")
    });
    let Some(named) = named else { return Ok(None) };
    let number = |name| text(named, name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    match (number("n"), number("e")) {
        (Some(modulus), Some(exponent)) => Key::new(&modulus, &exponent).map(Some),
        _ => Err(invalid("the key's n or e is not base64url")),
    }
}

/// Refuses a pinned key set that could verify nothing.
pub(super) fn check_pinned(keys: Option<&str>) -> Result<(), (&'static str, String)> {
    let Some(keys) = keys else { return Ok(()) };
    let bad = |problem: &str| Err(("keys", format!("is not a JSON Web Key Set with an RSA key: {problem}")));
    if let Err(problem) = find(keys.as_bytes(), "") {
        return bad(&problem.to_string());
    }
    let names = serde_json::from_str::<KeySet>(keys).map(|set| set.keys).unwrap_or_default();
    let names = names.iter().filter_map(|key| key.get("kid").and_then(Value::as_str));
    match names.map(|kid| find(keys.as_bytes(), kid)).find(|key| !matches!(key, Ok(None))) {
        Some(Ok(_)) => Ok(()),
        Some(Err(problem)) => bad(&problem.to_string()),
        None => bad("none of its keys has a kid and is for RS256 signatures"),
    }
}

/// Checks the `validationTokens` of a Microsoft Graph notification with resource data: each is signed by Microsoft, made out to the app
/// `audience`, and was issued to the publisher of change notifications
/// (<https://learn.microsoft.com/graph/change-notifications-with-resource-data>). At least one is needed.
pub(super) fn microsoft(
    tokens: &[&str],
    key_set: Option<&[u8]>,
    audience: &str,
    now_unix_seconds: i64,
) -> Result<(), Refusal> {
    const PLACE: &str = "validationTokens";
    let mismatch = |claim, expected: &str| Err(Refusal::ClaimMismatch { claim, expected: expected.to_owned() });
    if tokens.is_empty() {
        return Err(Refusal::SignatureMissing { place: PLACE.into() });
    }
    if tokens.len() > MAX_TOKENS {
        return Err(Refusal::SignatureMalformed { header: PLACE.into(), expected: "at most 32 tokens".into() });
    }
    for token in tokens {
        let claims = verify(token.as_bytes(), key_set, PLACE, now_unix_seconds)?;
        let tenant = claims.tid.as_deref().filter(|tid| is_guid(tid)).unwrap_or_default();
        let issuers =
            [format!("https://login.microsoftonline.com/{tenant}/v2.0"), format!("https://sts.windows.net/{tenant}/")];
        if tenant.is_empty() || !issuers.iter().any(|issuer| claims.iss.as_ref() == Some(issuer)) {
            return mismatch("iss", "login.microsoftonline.com or sts.windows.net with the tenant in tid");
        }
        claims.check_audience(audience)?;
        // Version 2 tokens have azp, version 1 tokens appid.
        if claims.azp.as_deref().or(claims.appid.as_deref()) != Some(CHANGE_NOTIFICATION_PUBLISHER) {
            return mismatch("azp", "the app id of Microsoft's change notification publisher");
        }
    }
    Ok(())
}

/// 8-4-4-4-12 hexadecimal digits, as Microsoft writes tenants.
fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::testdata::{KEY_SET, sign, token, token_with};
    use proptest::prelude::*;
    use proptest::sample::Index;
    use serde_json::json;

    const NOW: i64 = 1_790_000_000;

    fn outcome(token: &str) -> Result<Claims, &'static str> {
        verify(token.as_bytes(), Some(KEY_SET.as_bytes()), "Authorization", NOW).map_err(|refusal| refusal.code())
    }

    fn claims() -> Value {
        json!({ "iss": "i", "aud": "a", "exp": NOW + 60, "iat": NOW })
    }

    #[test]
    fn a_token_of_the_key_set_is_read() {
        let read = outcome(&token(&claims())).expect("a good token");
        assert_eq!(read.iss.as_deref(), Some("i"));
        assert_eq!(read.check_audience("a"), Ok(()));
        assert!(read.check_audience("b").is_err());
        let listed = outcome(&token(&json!({ "aud": ["x", "a"], "exp": NOW }))).expect("a list of audiences");
        assert_eq!(listed.check_audience("a"), Ok(()));
        assert!(listed.check_audience("i").is_err());
        let none = outcome(&token(&json!({ "exp": NOW }))).expect("no audience");
        assert!(none.check_audience("a").is_err() && none.check_audience("").is_err());
    }

    #[test]
    fn the_times_of_a_token_have_a_leeway_of_a_minute() {
        for (times, expected) in [
            (json!({ "exp": NOW - 59 }), Ok(())),
            (json!({ "exp": NOW - 60 }), Err("CLAIM_MISMATCH")),
            (json!({ "exp": 1.79e9 }), Ok(())),
            (json!({}), Err("CLAIM_MISMATCH")),
            (json!({ "exp": "1790000000" }), Err("SIGNATURE_MALFORMED")),
            (json!({ "exp": NOW, "nbf": NOW + 60 }), Ok(())),
            (json!({ "exp": NOW, "nbf": NOW + 61 }), Err("CLAIM_MISMATCH")),
            (json!({ "exp": NOW, "iat": NOW + 60 }), Ok(())),
            (json!({ "exp": NOW, "iat": NOW + 61 }), Err("CLAIM_MISMATCH")),
        ] {
            assert_eq!(outcome(&token(&times)).map(drop), expected, "{times}");
        }
    }

    #[test]
    fn the_header_of_a_token_decides_nothing() {
        for (header, expected) in [
            (json!({ "alg": "RS256", "kid": "test-1" }), None),
            (json!({ "alg": "RS256", "kid": "test-1", "typ": "JWT", "jku": "https://evil.example/" }), None),
            (json!({ "alg": "none", "kid": "test-1" }), Some("VERSION_UNSUPPORTED")),
            (json!({ "alg": "HS256", "kid": "test-1" }), Some("VERSION_UNSUPPORTED")),
            (json!({ "alg": "RS512", "kid": "test-1" }), Some("VERSION_UNSUPPORTED")),
            (json!({ "alg": "rs256", "kid": "test-1" }), Some("VERSION_UNSUPPORTED")),
            (json!({ "alg": "RS256", "kid": "test-1", "crit": ["b64"] }), Some("VERSION_UNSUPPORTED")),
            (json!({ "alg": "RS256", "kid": "test-2" }), Some("KEY_UNKNOWN")),
            (json!({ "alg": "RS256" }), Some("SIGNATURE_MALFORMED")),
            (json!({ "kid": "test-1" }), Some("SIGNATURE_MALFORMED")),
            (json!(["RS256", "test-1", null]), Some("SIGNATURE_MALFORMED")),
        ] {
            assert_eq!(outcome(&token_with(&header, &claims())).err(), expected, "{header}");
        }
        let twice = r#"{"alg":"none","alg":"RS256","kid":"test-1"}"#;
        let head = format!("{}.{}", URL_SAFE_NO_PAD.encode(twice), URL_SAFE_NO_PAD.encode(claims().to_string()));
        let token = format!("{head}.{}", URL_SAFE_NO_PAD.encode(sign(head.as_bytes())));
        assert_eq!(outcome(&token).err(), Some("SIGNATURE_MALFORMED"));
    }

    #[test]
    fn what_is_not_a_token_is_refused() {
        let good = token(&claims());
        let parts: Vec<&str> = good.split('.').collect();
        for text in [
            String::new(),
            "..".into(),
            parts[..2].join("."),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{good}.{good}"),
            format!("{good}="),
            format!("{good} "),
            format!(" {good}"),
            good.replace('.', ","),
            "a".repeat(MAX_TOKEN_BYTES + 1),
        ] {
            let code = outcome(&text).expect_err("not a token");
            let empty_signature = text.ends_with('.') && text.len() > 2;
            assert_eq!(code, if empty_signature { "SIGNATURE_MISMATCH" } else { "SIGNATURE_MALFORMED" }, "{text}");
        }
        let of_another = format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode(sign(b"another")));
        assert_eq!(outcome(&of_another).err(), Some("SIGNATURE_MISMATCH"));
    }

    #[test]
    fn a_key_is_found_by_name_among_others() {
        let key: Value = serde_json::from_str::<Value>(KEY_SET).expect("a key set")["keys"][0].clone();
        let with = |changes: Value| {
            let mut key = key.clone();
            for (name, value) in changes.as_object().expect("an object") {
                key[name] = value.clone();
            }
            key
        };
        let found = |keys: Value| {
            find(json!({ "keys": keys }).to_string().as_bytes(), "test-1")
                .map(|key| key.is_some())
                .map_err(|e| e.code())
        };
        for (keys, expected) in [
            (json!([]), Ok(false)),
            (json!([key]), Ok(true)),
            (json!([7, null, {}, { "kid": "test-1", "kty": "EC" }, key]), Ok(true)),
            (json!([with(json!({ "use": "enc" }))]), Ok(false)),
            (json!([with(json!({ "use": "enc" })), key]), Ok(true)),
            (json!([with(json!({ "alg": "RS512" }))]), Ok(false)),
            (json!([with(json!({ "alg": null, "use": null }))]), Ok(true)),
            (json!([with(json!({ "kid": 1 }))]), Ok(false)),
            (json!([with(json!({ "n": "AQAB" }))]), Err("KEY_INVALID")),
            (json!([with(json!({ "n": "!" }))]), Err("KEY_INVALID")),
            (json!([with(json!({ "e": null }))]), Err("KEY_INVALID")),
            (json!({}), Err("KEY_INVALID")),
        ] {
            assert_eq!(found(keys.clone()), expected, "{keys}");
            let pinned = check_pinned(Some(&json!({ "keys": keys }).to_string()));
            assert_eq!(pinned.is_ok(), expected == Ok(true), "{keys}");
        }
        assert_eq!(find(&[b' '; MAX_KEY_SET_BYTES + 1], "").map_err(|e| e.code()), Err("KEY_INVALID"));
        assert_eq!(check_pinned(Some(KEY_SET)), Ok(()));
        assert!(check_pinned(Some("https://www.googleapis.com/oauth2/v3/certs")).is_err());
    }

    #[test]
    fn microsofts_tokens_are_all_checked() {
        const TENANT: &str = "84bd8158-6d4d-4958-8b9f-9d6445542f95";
        const APP: &str = "8e460676-ae3f-4b1e-8790-ee0fb5d6148f";
        let good = json!({
            "iss": format!("https://sts.windows.net/{TENANT}/"), "aud": APP, "exp": NOW + 3600, "tid": TENANT,
            "appid": CHANGE_NOTIFICATION_PUBLISHER,
        });
        let with = |changes: Value| {
            let mut claims = good.clone();
            for (name, value) in changes.as_object().expect("an object") {
                claims[name] = value.clone();
            }
            token(&claims)
        };
        let outcome =
            |tokens: &[&str]| microsoft(tokens, Some(KEY_SET.as_bytes()), APP, NOW).map_err(|refusal| refusal.code());
        let second = with(json!({
            "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"), "appid": null,
            "azp": CHANGE_NOTIFICATION_PUBLISHER,
        }));
        let first = token(&good);
        assert_eq!(outcome(&[&first, &second]), Ok(()));
        assert_eq!(outcome(&[]), Err("SIGNATURE_MISSING"));
        assert_eq!(outcome(&[&*first; 33]), Err("SIGNATURE_MALFORMED"));
        assert_eq!(microsoft(&[&first], None, APP, NOW).map_err(|r| r.code()), Err("KEY_UNKNOWN"));
        for changes in [
            json!({ "iss": "https://sts.windows.net//", "tid": "" }),
            json!({ "tid": null }),
            json!({ "tid": "84bd8158-6d4d-4958-8b9f-9d6445542f96" }),
            json!({ "iss": format!("https://sts.evil.example/{TENANT}/") }),
            json!({ "iss": "https://sts.windows.net/../", "tid": ".." }),
            json!({ "aud": "00000003-0000-0000-c000-000000000000" }),
            json!({ "appid": null }),
            json!({ "appid": APP }),
            json!({ "azp": APP }),
            json!({ "exp": NOW - 61 }),
        ] {
            assert_eq!(outcome(&[&first, &with(changes.clone())]), Err("CLAIM_MISMATCH"), "{changes}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_bit_of_a_token_is_refused(at in any::<Index>(), bit in 0..8_u32) {
            let mut token = token(&claims()).into_bytes();
            let at = at.index(token.len());
            token[at] ^= 1 << bit;
            prop_assert!(verify(&token, Some(KEY_SET.as_bytes()), "t", NOW).is_err());
        }

        #[test]
        fn no_token_and_no_key_set_panics(
            token in "([A-Za-z0-9_-]{0,40}[.]){0,4}|\\PC{0,40}", header in "[{}\\[\\]\":,a-z0-9]{0,40}", set in "[{}\\[\\]\":,a-z0-9]{0,60}",
        ) {
            prop_assert!(verify(token.as_bytes(), Some(KEY_SET.as_bytes()), "t", NOW).is_err());
            let made = format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(&header), URL_SAFE_NO_PAD.encode(&set));
            prop_assert!(verify(made.as_bytes(), Some(set.as_bytes()), "t", NOW).is_err());
            let _ = check_pinned(Some(&set));
            let _ = find(format!(r#"{{"keys":[{header}]}}"#).as_bytes(), "");
        }
    }
}
