//! Token responses (RFC 6749, section 5.1).

use std::collections::BTreeMap;

use clawbridge_clock::Timestamp;
use clawbridge_config::Provider;
use serde_json::{Map, Value};
use std::time::Duration;

use crate::answer::Refused;
use crate::encoding::cleaned;
use crate::fields::{Answer, at, seconds, text};
use crate::scopes;
use crate::token_set::{TokenKind, TokenSet};
use crate::verdict::{refusal, unexpected};

/// The longest token, bytes: what fits into a header with the others, and twice into a secret.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// The longest value of a kept field, characters.
const MAX_KEPT_CHARS: usize = 256;
/// A lifetime above this is no lifetime: a hundred years, seconds.
const MAX_LIFETIME: i64 = 100 * 365 * 86_400;
/// Kinds of access token that are not kinds of sending: they are sent as RFC 6750 says (Slack; Shopify and Twitch say nothing or `bearer`).
const BEARERS: [&str; 4] = ["bearer", "bot", "user", "app"];

/// What an answer is read against.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The provider's declaration.
    pub provider: &'a Provider,
    /// The scopes that were asked for.
    pub asked: &'a [String],
    /// The token set that was refreshed. `None`: the first of a consent.
    pub previous: Option<&'a TokenSet>,
    /// The generation that comes of it, where `previous` does not say: one more than that of a token set that is replaced, or 1.
    pub generation: u64,
    /// The account's own values of the provider's parameters.
    pub parameters: &'a BTreeMap<String, String>,
    /// The key that the request was proven with: [`DpopKey::stored`](crate::DpopKey::stored).
    pub dpop_key: Option<&'a str>,
    /// When the answer came.
    pub now: Timestamp,
}

impl Expected<'_> {
    /// The token set of an answer to a token request.
    ///
    /// A strange field beside the tokens is never a reason to refuse them: where refresh tokens rotate, those of the answer are the only good
    /// ones left. A lifetime of 0, below 0 or beyond a hundred years is none.
    ///
    /// # Errors
    /// The server refuses, or sent something else; see [`Refused`]. Nothing of the answer but a registered error code is repeated.
    pub fn tokens(&self, answer: &Answer<'_>) -> Result<TokenSet, Refused> {
        let fields = answer.fields();
        if let Some(refused) = refusal(answer, fields.as_ref(), self.now) {
            return Err(refused);
        }
        let all = fields.ok_or_else(|| unexpected(answer, "sent no token response"))?;
        let fields = self
            .place(&all)
            .ok_or_else(|| unexpected(answer, "sent an answer without the part that has the tokens"))?;
        let access_token = text(fields, "access_token").ok_or_else(|| unexpected(answer, "sent no access token"))?;
        if !is_token(access_token) {
            return Err(unexpected(answer, "sent an access token that no header can carry"));
        }
        let refresh_token = text(fields, "refresh_token").filter(|token| token.len() <= MAX_TOKEN_BYTES);
        let kind = self.kind(fields)?;
        let lifetime =
            lifetime(fields, &["expires_in"]).or(self.provider.token_lifetime.map(|lifetime| lifetime.duration()));
        let refresh_lifetime = lifetime_of_refresh(fields);
        // RFC 6749, section 6: without a new refresh token, the old one stays.
        let (refresh_token, refresh_expires_at) = match (refresh_token, self.previous) {
            (None, Some(previous)) => (previous.refresh_token.clone(), previous.refresh_expires_at),
            (token, _) => (token.map(str::to_owned), refresh_lifetime.map(|lifetime| self.now.plus(lifetime))),
        };
        Ok(TokenSet {
            v: 1,
            generation: self.previous.map_or(self.generation, |previous| previous.generation.saturating_add(1)),
            access_token: access_token.to_owned(),
            kind,
            kept: self.kept(&all, &[Some(access_token), refresh_token.as_deref(), text(fields, "id_token")]),
            refresh_token,
            expires_at: lifetime.map(|lifetime| self.now.plus(lifetime)),
            refresh_expires_at,
            scopes: self.scopes(fields),
            obtained_at: self.now,
            dpop_key: (kind == TokenKind::Dpop).then(|| self.dpop_key.map(str::to_owned)).flatten(),
            parameters: self.parameters.clone(),
        })
    }

    /// Where the tokens stand. A refresh is answered at the top by servers that put the first tokens elsewhere (Slack), but the top may hold
    /// the tokens of somebody else (Slack's bot).
    fn place<'f>(&self, all: &'f Map<String, Value>) -> Option<&'f Map<String, Value>> {
        let Some(path) = &self.provider.token_at else { return Some(all) };
        let nested = at(all, path).and_then(Value::as_object).filter(|fields| fields.contains_key("access_token"));
        let is_own = self.previous.is_some() && text(all, "token_type") != Some("bot");
        nested.or((is_own && all.contains_key("access_token")).then_some(all))
    }

    /// RFC 6749, section 7.1: a client must not use a token whose type it does not know.
    fn kind(&self, fields: &Map<String, Value>) -> Result<TokenKind, Refused> {
        let word = text(fields, "token_type").unwrap_or("bearer").to_ascii_lowercase();
        let misdeclared = |code: &str, reason: &str| Refused::Client { code: code.into(), reason: reason.into() };
        match (word.as_str(), self.dpop_key.is_some()) {
            ("dpop", true) => Ok(TokenKind::Dpop),
            ("dpop", false) => {
                Err(misdeclared("unsupported_token_type", "the provider binds tokens to a key; declare dpop = true"))
            }
            // RFC 9449, section 5: whoever counts on the binding discards a token without it.
            (word, true) if BEARERS.contains(&word) => Err(misdeclared(
                "unsupported_token_type",
                "the provider does not bind its tokens to the key; remove dpop = true, or have DPoP enabled for the client",
            )),
            (word, false) if BEARERS.contains(&word) => Ok(TokenKind::Bearer),
            _ => Err(misdeclared(
                "unsupported_token_type",
                "the provider gives tokens of a type other than Bearer and DPoP",
            )),
        }
    }

    /// Where the answer does not say, they are those that were asked for (RFC 6749, section 5.1), or those of before (section 6).
    fn scopes(&self, fields: &Map<String, Value>) -> Vec<String> {
        let parse = |text: &str| scopes::parse(text, &self.provider.scope_separator, self.asked);
        match fields.get("scope").or_else(|| fields.get("scopes")) {
            Some(Value::String(text)) if !text.trim().is_empty() => parse(text),
            Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => self.previous.map_or_else(|| self.asked.to_vec(), |previous| previous.scopes.clone()),
        }
    }

    /// The fields that the declaration keeps, over those of before. A credential is not kept, whatever the declaration says.
    fn kept(&self, all: &Map<String, Value>, secrets: &[Option<&str>]) -> BTreeMap<String, String> {
        let mut kept = self.previous.map(|previous| previous.kept.clone()).unwrap_or_default();
        for path in &self.provider.keep {
            let value = match at(all, path) {
                Some(Value::String(text)) => text.clone(),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
                _ => continue,
            };
            let name = path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
            let is_secret = ["token", "secret", "assertion", "password"].iter().any(|word| name.ends_with(word));
            if !is_secret && !secrets.contains(&Some(value.as_str())) {
                kept.insert(path.clone(), cleaned(&value, MAX_KEPT_CHARS));
            }
        }
        kept
    }
}

/// What a header can carry (RFC 6750, section 2.1, and what providers make of it): visible ASCII.
fn is_token(token: &str) -> bool {
    token.len() <= MAX_TOKEN_BYTES && token.bytes().all(|byte| byte.is_ascii_graphic())
}

fn lifetime(fields: &Map<String, Value>, names: &[&str]) -> Option<Duration> {
    let value = names.iter().find_map(|name| seconds(fields, name))?;
    u64::try_from(value).ok().filter(|_| (1..=MAX_LIFETIME).contains(&value)).map(Duration::from_secs)
}

/// No standard has it: GitHub and Microsoft say `refresh_token_expires_in`, Intuit `x_refresh_token_expires_in`, Keycloak
/// `refresh_expires_in`.
fn lifetime_of_refresh(fields: &Map<String, Value>) -> Option<Duration> {
    lifetime(fields, &["refresh_token_expires_in", "x_refresh_token_expires_in", "refresh_expires_in"])
}

#[cfg(test)]
#[path = "response_tests.rs"]
pub(crate) mod tests;
