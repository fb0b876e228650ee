//! Google Pub/Sub push: a JSON Web Token (RFC 7519) of the push subscription's service account. The body is not signed.
//! <https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions>

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::Asked;
use super::rsa::by_key_set;
use crate::mac::same_token;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::verify::Wanted;

const KEY_SET: &str = "https://www.googleapis.com/oauth2/v3/certs";
const ISSUERS: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];
const PLACE: &str = "Authorization";

/// How far clocks may differ, in seconds (RFC 7519 section 4.1.4 asks for no more than a few minutes).
const LEEWAY_S: i64 = 60;

/// Google's tokens are about 1 KB.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    aud: Option<Audience>,
    email: Option<String>,
    #[serde(default)]
    email_verified: bool,
    iat: Option<i64>,
    nbf: Option<i64>,
    exp: i64,
}

pub(super) fn wanted(request: &Request<'_>) -> Result<Wanted, Refusal> {
    // Without a token there is nothing to fetch for.
    let value = request.headers.one(PLACE).map_err(|_| Refusal::HeaderDuplicated { header: PLACE.into() })?;
    Token::read(value)?;
    Ok(Wanted::at(KEY_SET.to_owned()))
}

/// A token in its three parts, decoded and not yet believed.
struct Token<'a> {
    signed: &'a [u8],
    header: Header,
    claims: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    fn read(value: Option<&'a [u8]>) -> Result<Self, Refusal> {
        let value = value.filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| Refusal::SignatureMissing { place: PLACE.into() })?;
        let malformed =
            || Refusal::SignatureMalformed { header: PLACE.into(), expected: "Bearer and a JSON Web Token".into() };
        let (scheme, token) = value.split_at_checked(7).ok_or_else(malformed)?;
        if !scheme.eq_ignore_ascii_case(b"Bearer ") || token.len() > MAX_TOKEN_BYTES {
            return Err(malformed());
        }
        let parts: Vec<&[u8]> = token.split(|byte| *byte == b'.').collect();
        let [header, claims, signature] = parts.as_slice() else { return Err(malformed()) };
        let decoded = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
        let signed = &token[..header.len() + 1 + claims.len()];
        let header: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| malformed())?;
        if header.alg != "RS256" || header.crit.is_some() {
            let place = "alg in the token's header".to_owned();
            return Err(Refusal::VersionUnsupported { place, accepted: "RS256" });
        }
        Ok(Self { signed, header, claims: decoded(claims)?, signature: decoded(signature)? })
    }
}

pub(super) fn verify(asked: &Asked<'_>) -> Result<usize, Refusal> {
    let token = Token::read(asked.header(PLACE)?)?;
    let kid = || "kid in the token's header".to_owned();
    let key = asked.key.ok_or_else(|| Refusal::KeyUnknown { place: kid() })?;
    let named = token.header.kid.as_deref().ok_or_else(|| Refusal::KeyUnknown { place: kid() })?;
    if !by_key_set(key, named, token.signed, &token.signature)? {
        return Err(Refusal::SignatureMismatch { secrets: asked.source.secret_count() });
    }
    let claims: Claims =
        serde_json::from_slice(&token.claims).map_err(|_| wrong("exp", "the claims of Google's tokens".into()))?;
    if !claims.iss.is_some_and(|iss| ISSUERS.contains(&iss.as_str())) {
        return Err(wrong("iss", ISSUERS[0].into()));
    }
    let url = asked.source.options().audience.is_none().then(|| asked.url()).transpose()?;
    let audience = match (&asked.source.options().audience, &url) {
        (Some(audience), _) => audience.as_str(),
        (None, url) => url.as_deref().unwrap_or_default().split('?').next().unwrap_or_default(),
    };
    let made_out = match &claims.aud {
        Some(Audience::One(one)) => one == audience,
        Some(Audience::Many(many)) => many.iter().any(|one| one == audience),
        None => false,
    };
    if !made_out {
        return Err(wrong("aud", audience.to_owned()));
    }
    let now = asked.now_unix_seconds;
    if claims.exp.saturating_add(LEEWAY_S) < now {
        return Err(wrong("exp", "a time that has not passed".into()));
    }
    if claims.iat.into_iter().chain(claims.nbf).any(|from| from.saturating_sub(LEEWAY_S) > now) {
        return Err(wrong("iat", "a time that has come".into()));
    }
    let account = claims.email.filter(|_| claims.email_verified);
    let account = account.ok_or_else(|| wrong("email_verified", "true".into()))?;
    let listed = asked.source.keys().position(|key| same_token(account.as_bytes(), key));
    listed.ok_or_else(|| wrong("email", "a service account that the source lists".into()))
}

fn wrong(claim: &'static str, expected: String) -> Refusal {
    Refusal::ClaimMismatch { claim, expected }
}

/// A service account's address.
pub(super) fn account(text: &str) -> Result<Vec<u8>, &'static str> {
    match text.split_once('@') {
        Some((name, host)) if !name.is_empty() && host.contains('.') => Ok(text.as_bytes().to_vec()),
        _ => Err("is not the e-mail address of a service account, as in push@project.iam.gserviceaccount.com"),
    }
}
