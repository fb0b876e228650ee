//! What an authorization server's error means: a table of codes, and of the few sentences that say more than their code.
//!
//! Sources: RFC 6749, section 5.2; RFC 7009, section 2.2.1; RFC 8628, section 3.5; RFC 9449, section 5; OpenID Connect Core, section 3.1.2.6;
//! and what the providers named beside the rows document or send.

use clawbridge_clock::Timestamp;
use serde_json::{Map, Value};

use crate::answer::{Refused, Retry};
use crate::dpop::nonce;
use crate::fields::{Answer, at, text};

/// What is said in place of a code that is not in the table: an unknown text of a server's is not shown.
pub(crate) const UNREGISTERED: &str = "unregistered";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// What was presented is not good.
    Grant,
    /// The registration or the declaration is wrong.
    Client,
    /// It may pass.
    Busy,
    /// Too many requests.
    Rate,
}

use Meaning::{Busy, Client, Grant, Rate};

/// Error codes in lower case, and what they mean.
const CODES: &[(&str, Meaning)] = &[
    // RFC 6749, section 5.2
    ("invalid_grant", Grant),
    ("invalid_client", Client),
    ("unauthorized_client", Client),
    ("unsupported_grant_type", Client),
    ("invalid_scope", Client),
    ("invalid_request", Client),
    // RFC 6749, section 4.1.2.1, sent by token endpoints too
    ("access_denied", Grant),
    ("unsupported_response_type", Client),
    ("server_error", Busy),
    ("temporarily_unavailable", Busy),
    // RFC 7009, RFC 8628, RFC 8707, RFC 9449
    ("unsupported_token_type", Client),
    ("expired_token", Grant),
    ("invalid_target", Client),
    ("invalid_dpop_proof", Client),
    // OpenID Connect Core; Microsoft
    ("interaction_required", Grant),
    ("login_required", Grant),
    ("consent_required", Grant),
    ("invalid_resource", Client),
    // Slack
    ("invalid_refresh_token", Grant),
    ("invalid_code", Grant),
    ("code_already_used", Grant),
    ("code_expired", Grant),
    ("token_revoked", Grant),
    ("token_expired", Grant),
    ("invalid_auth", Grant),
    ("account_inactive", Grant),
    ("org_login_required", Grant),
    ("bad_client_secret", Client),
    ("invalid_client_id", Client),
    ("bad_redirect_uri", Client),
    ("invalid_grant_type", Client),
    ("oauth_authorization_url_mismatch", Client),
    ("ratelimited", Rate),
    ("rate_limited", Rate),
    ("fatal_error", Busy),
    ("internal_error", Busy),
    ("service_unavailable", Busy),
    ("request_timeout", Busy),
    // GitHub
    ("bad_refresh_token", Grant),
    ("bad_verification_code", Grant),
    ("unverified_user_email", Grant),
    ("incorrect_device_code", Grant),
    ("incorrect_client_credentials", Client),
    ("redirect_uri_mismatch", Client),
    ("application_suspended", Client),
    ("device_flow_disabled", Client),
    // Google
    ("invalid_rapt", Grant),
    ("admin_policy_enforced", Grant),
    ("deleted_client", Client),
    ("disabled_client", Client),
    ("org_internal", Client),
    ("rate_limit_exceeded", Rate),
    ("resource_exhausted", Rate),
    ("internal_failure", Busy),
    ("backend_error", Busy),
    // HubSpot, which shares some with the two above
    ("bad_auth_code", Grant),
    ("bad_client_id", Client),
    ("bad_grant_type", Client),
    ("rate_limit", Rate),
    // Salesforce
    ("inactive_user", Grant),
    ("inactive_org", Grant),
    ("invalid_client_credentials", Client),
    ("invalid_app_access", Client),
    ("unknown_error", Busy),
    // Shopify, Dropbox, Notion, Meta
    ("invalid_subject_token", Grant),
    ("application_cannot_be_found", Client),
    ("oauthexception", Client),
    ("too_many_requests", Rate),
];

/// Sentences that say more than the code above them: code, a part of the description in lower case, meaning.
const SENTENCES: &[(&str, &str, Meaning)] = &[
    // Salesforce counts logins under the code of a dead grant; believed, it would disconnect the account.
    ("invalid_grant", "login rate exceeded", Rate),
    ("invalid_grant", "rate limit", Rate),
    ("invalid_grant", "retry your request", Busy),
    // RFC 7521, section 4.1.1, as Google writes it: the clock or the key, not the account.
    ("invalid_grant", "invalid jwt signature", Client),
    ("invalid_grant", "invalid jwt: token must be a short-lived token", Client),
    // Atlassian
    ("unauthorized_client", "refresh_token is invalid", Grant),
    // Zoom
    ("invalid_request", "invalid token!", Grant),
    ("invalid_request", "invalid authorization code", Grant),
    // Shopify
    ("invalid_request", "authorization code was not found or was already used", Grant),
    // Meta
    ("oauthexception", "authorization code has", Grant),
    ("oauthexception", "session has expired", Grant),
    ("oauthexception", "validating access token", Grant),
];

/// The error of an answer, if it has one: the server's code in lower case and its description.
pub(crate) struct Said {
    code: String,
    description: String,
}

/// Where servers put their error. RFC 6749: `error`. Google's and Meta's APIs: an object there. HubSpot: `status`. Notion: `code`.
pub(crate) fn said(fields: &Map<String, Value>) -> Option<Said> {
    let is_not_ok = fields.get("ok") == Some(&Value::Bool(false));
    let code = match fields.get("error") {
        Some(Value::String(code)) => code.as_str(),
        Some(Value::Object(object)) => text(object, "status").or_else(|| text(object, "type")).unwrap_or_default(),
        _ => text(fields, "status").or_else(|| text(fields, "code")).unwrap_or_default(),
    };
    let description = ["error_description", "error.message", "reason", "message", "error_subtype"]
        .iter()
        .find_map(|path| at(fields, path).and_then(Value::as_str))
        .unwrap_or_default();
    let has_error = fields.contains_key("error") || is_not_ok || !code.is_empty();
    has_error.then(|| Said { code: code.to_ascii_lowercase(), description: description.to_ascii_lowercase() })
}

impl Said {
    /// The code, if it is one that the table knows.
    pub(crate) fn known(&self) -> &'static str {
        CODES.iter().find(|(code, _)| *code == self.code).map_or(UNREGISTERED, |(code, _)| code)
    }

    pub(crate) fn is(&self, code: &str) -> bool {
        self.code == code
    }

    fn meaning(&self) -> Option<Meaning> {
        let sentence = SENTENCES.iter().find(|(code, part, _)| *code == self.code && self.description.contains(part));
        sentence.map(|row| row.2).or_else(|| CODES.iter().find(|(code, _)| *code == self.code).map(|row| row.1))
    }
}

/// What an answer without tokens means. `None`: it may have tokens.
pub(crate) fn refusal(answer: &Answer<'_>, fields: Option<&Map<String, Value>>, now: Timestamp) -> Option<Refused> {
    let is_success = (200..=299).contains(&answer.status);
    let said = fields.and_then(said);
    match said {
        // A success has a `status` or a `code` of its own now and then; only `error` and `ok` make an error of it.
        Some(_) if is_success && !fields.is_some_and(is_error) => None,
        Some(said) => Some(meant(answer, &said, now)),
        None if is_success => None,
        None => Some(by_status(answer, now)),
    }
}

fn is_error(fields: &Map<String, Value>) -> bool {
    let error = fields.get("error").is_some_and(|error| !matches!(error, Value::Null | Value::Bool(false)));
    error || fields.get("ok") == Some(&Value::Bool(false))
}

fn meant(answer: &Answer<'_>, said: &Said, now: Timestamp) -> Refused {
    if said.is("use_dpop_nonce") {
        return answer
            .dpop_nonce
            .and_then(nonce)
            .map_or_else(|| unexpected(answer, "asks for a DPoP nonce and gives none"), Refused::Nonce);
    }
    let code = said.known().to_owned();
    let meaning = match (answer.status, said.meaning()) {
        // A server that is not itself is not believed that a grant is dead.
        (408 | 429 | 500.., _) => return by_status(answer, now),
        (_, Some(meaning)) => meaning,
        (_, None) => Client,
    };
    match meaning {
        Grant => Refused::Grant { code, reason: "the provider no longer accepts what this connection presents".into() },
        Client => Refused::Client {
            reason: match said.known() {
                UNREGISTERED => {
                    "the provider refuses with an error code that is not a standard one; see its documentation".into()
                }
                _ => "the provider refuses the client or the request; check the provider's declaration and its secret"
                    .into(),
            },
            code,
        },
        Rate => later(answer, now, "RATE_LIMITED", "the provider gets too many token requests", false),
        Busy => later(answer, now, "UNAVAILABLE", "the provider cannot answer at present", true),
    }
}

fn by_status(answer: &Answer<'_>, now: Timestamp) -> Refused {
    match answer.status {
        429 => later(answer, now, "RATE_LIMITED", "the provider gets too many token requests", false),
        408 => later(answer, now, "TIMEOUT", "the provider waited too long for the request", true),
        503 => later(answer, now, "UNAVAILABLE", "the provider is not available", true),
        500..=599 => later(answer, now, "UPSTREAM_ERROR", "the provider had an error of its own", true),
        401 => Refused::Client {
            code: UNREGISTERED.into(),
            reason:
                "the provider answers 401 without an error code; check the client id, the secret and how it is sent"
                    .into(),
        },
        300..=399 => {
            unexpected(answer, "redirects, and redirects are not followed; declare the address that it redirects to")
        }
        404 | 405 => unexpected(answer, "knows no token endpoint at this address; check the declared address"),
        _ => unexpected(answer, "sent no answer of OAuth's form"),
    }
}

fn later(answer: &Answer<'_>, now: Timestamp, code: &'static str, reason: &str, may_have_acted: bool) -> Refused {
    let reason = format!("{reason} (status {})", answer.status);
    Refused::Later(Retry { code, reason, after: answer.wait(now), may_have_acted })
}

/// An answer that is none. It may have been made after the request was acted upon.
pub(crate) fn unexpected(answer: &Answer<'_>, what: &str) -> Refused {
    let size = if answer.is_cut { "; it was longer than is read" } else { "" };
    Refused::Later(Retry {
        code: "UNEXPECTED_RESPONSE",
        reason: format!("the provider {what} (status {}, {} bytes{size})", answer.status, answer.body.len()),
        after: None,
        may_have_acted: true,
    })
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
