//! How the connecting of an account fails: a stable code, a sentence for the person in the browser, and one for the operator.

use crate::answer::Refused;

/// Why an account was not connected. Displayed, it is for the operator; nothing in it is secret or a text of the provider's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No such link.
    #[error("no link of this stack has this ticket; links are removed some time after they expire")]
    LinkUnknown,
    /// Ten minutes are over.
    #[error("the link's ten minutes were over")]
    LinkExpired,
    /// An account was connected with it.
    #[error("an account has been connected with this link already")]
    LinkUsed,
    /// A response without `state`.
    #[error(
        "the provider's answer has no state; some providers leave it out of errors, and anybody can open the address without one"
    )]
    StateMissing,
    /// Not a state of this stack, or not of this provider.
    #[error(
        "the state is not one that this stack gave to this provider: forged, of another stack, or answered at another provider's address"
    )]
    StateUnknown,
    /// Consent took longer than ten minutes.
    #[error("the state's ten minutes were over when the provider answered")]
    StateExpired,
    /// The same response twice.
    #[error("the state was used before: the page was loaded again, or somebody else had the address")]
    StateUsed,
    /// Not the browser that began.
    #[error("the answer came from another browser than the one that began, or its cookies are off")]
    BrowserMismatch,
    /// RFC 9207.
    #[error(
        "the answer names another issuer than the provider's, or none where one is required (RFC 9207); check issuer and iss in the declaration"
    )]
    IssuerMismatch,
    /// The person said no.
    #[error("access was denied at the provider")]
    Denied,
    /// Another error of the authorization endpoint: a registered code, or `unregistered`.
    #[error("the provider's authorization endpoint answered with the error {0}")]
    ProviderError(&'static str),
    /// An authorization response that is none (RFC 6749, section 4.1.2).
    #[error("the provider's answer is malformed: {0}")]
    Malformed(&'static str),
    /// The token endpoint did not take the code.
    #[error("the provider did not take the authorization code: {code}: {reason}")]
    CodeRefused {
        /// The server's, registered.
        code: String,
        /// In plain words.
        reason: String,
    },
    /// Fewer scopes than asked.
    #[error("the provider granted fewer scopes than were asked for; missing: {}", .0.join(" "))]
    ScopesMissing(Vec<String>),
    /// The token endpoint could not be asked, or what it answered is no answer.
    #[error("the token request failed: {code}: {reason}")]
    ExchangeFailed {
        /// Of [`Retry`](crate::Retry).
        code: String,
        /// In plain words.
        reason: String,
    },
    /// The tokens came and could not be stored.
    #[error("the tokens could not be stored, and were revoked if the provider has a way")]
    NotStored,
    /// Not in the configuration.
    #[error("the configuration has no provider of this name")]
    UnknownProvider,
    /// The stack's registration with the provider is wrong.
    #[error("the provider refuses this stack's client: {code}: {reason}")]
    ClientRefused {
        /// The server's, registered.
        code: String,
        /// In plain words.
        reason: String,
    },
}

impl Failure {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::LinkUnknown => "OAUTH_LINK_UNKNOWN",
            Self::LinkExpired => "OAUTH_LINK_EXPIRED",
            Self::LinkUsed => "OAUTH_LINK_USED",
            Self::StateMissing => "OAUTH_STATE_MISSING",
            Self::StateUnknown => "OAUTH_STATE_UNKNOWN",
            Self::StateExpired => "OAUTH_STATE_EXPIRED",
            Self::StateUsed => "OAUTH_STATE_USED",
            Self::BrowserMismatch => "OAUTH_BROWSER_MISMATCH",
            Self::IssuerMismatch => "OAUTH_ISSUER_MISMATCH",
            Self::Denied => "OAUTH_DENIED",
            Self::ProviderError(_) => "OAUTH_PROVIDER_ERROR",
            Self::Malformed(_) => "OAUTH_ANSWER_MALFORMED",
            Self::CodeRefused { .. } => "OAUTH_CODE_REFUSED",
            Self::ScopesMissing(_) => "OAUTH_SCOPES_MISSING",
            Self::ExchangeFailed { .. } => "OAUTH_EXCHANGE_FAILED",
            Self::NotStored => "OAUTH_NOT_STORED",
            Self::UnknownProvider => "OAUTH_UNKNOWN_PROVIDER",
            Self::ClientRefused { .. } => "OAUTH_CLIENT_REFUSED",
        }
    }

    /// The status of the page that tells it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::LinkUnknown | Self::UnknownProvider => 404,
            Self::LinkExpired | Self::LinkUsed | Self::StateExpired | Self::StateUsed => 410,
            Self::StateMissing | Self::StateUnknown | Self::Malformed(_) => 400,
            Self::BrowserMismatch | Self::IssuerMismatch | Self::Denied | Self::ScopesMissing(_) => 403,
            Self::ProviderError(_)
            | Self::CodeRefused { .. }
            | Self::ExchangeFailed { .. }
            | Self::ClientRefused { .. } => 502,
            Self::NotStored => 503,
        }
    }

    /// What the person in the browser reads: what happened to them and what they can do. `title` is what people call the provider.
    #[must_use]
    pub fn for_person(&self, title: &str) -> String {
        const AGAIN: &str = "Open the link that you were given once more.";
        match self {
            Self::LinkUnknown => "This link is not known. Check that you have all of it, or ask for a new one.".into(),
            Self::LinkExpired => "This link has expired. Ask for a new one.".into(),
            Self::LinkUsed => {
                "An account has already been connected with this link. Ask for a new one to connect another.".into()
            }
            Self::StateMissing | Self::StateUnknown | Self::Malformed(_) => {
                format!("We could not tell what this answer of {title} belongs to, so nothing was connected. {AGAIN}")
            }
            Self::StateExpired => format!("It took more than ten minutes, so nothing was connected. {AGAIN}"),
            Self::StateUsed => {
                format!(
                    "This page was opened before. If it said then that your account is connected, all is well. Otherwise: {AGAIN}"
                )
            }
            Self::BrowserMismatch => {
                format!("You began in another browser, or cookies are turned off, so nothing was connected. {AGAIN}")
            }
            Self::IssuerMismatch => {
                format!(
                    "This answer does not seem to come from {title}, so nothing was connected. Tell whoever gave you the link."
                )
            }
            Self::Denied => {
                format!("Access was declined at {title}, so nothing was connected. If that was a mistake: {AGAIN}")
            }
            Self::ProviderError(_) | Self::ClientRefused { .. } => {
                format!("{title} did not accept the request, so nothing was connected. Tell whoever gave you the link.")
            }
            Self::CodeRefused { .. } => format!("{title} did not complete the connection. {AGAIN}"),
            Self::ScopesMissing(_) => {
                format!(
                    "{title} did not give all the permissions that are needed, so nothing was connected. {AGAIN} Leave all boxes ticked."
                )
            }
            Self::ExchangeFailed { .. } => {
                format!("{title} could not be reached, so nothing was connected. Wait a minute. {AGAIN}")
            }
            Self::NotStored => {
                format!("Your account could not be saved on our side, so nothing was connected. {AGAIN}")
            }
            Self::UnknownProvider => "This address is not in use. Ask for a new link.".into(),
        }
    }
}

/// Of the exchange of a code.
impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        match refused {
            Refused::Grant { code, reason } => Self::CodeRefused { code, reason },
            Refused::Client { code, reason } => Self::ClientRefused { code, reason },
            Refused::Later(retry) => Self::ExchangeFailed { code: retry.code.to_owned(), reason: retry.reason },
            Refused::Nonce(_) => Self::ExchangeFailed {
                code: "UNEXPECTED_RESPONSE".into(),
                reason: "the provider asks for DPoP nonces again and again".into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_failure_has_its_code_and_a_sentence_without_technical_words() {
        let (code, reason) = ("invalid_grant".to_owned(), "why".to_owned());
        let all = [
            Failure::LinkUnknown,
            Failure::LinkExpired,
            Failure::LinkUsed,
            Failure::StateMissing,
            Failure::StateUnknown,
            Failure::StateExpired,
            Failure::StateUsed,
            Failure::BrowserMismatch,
            Failure::IssuerMismatch,
            Failure::Denied,
            Failure::ProviderError("server_error"),
            Failure::Malformed("twice"),
            Failure::CodeRefused { code: code.clone(), reason: reason.clone() },
            Failure::ScopesMissing(vec!["repo".into()]),
            Failure::ExchangeFailed { code: code.clone(), reason: reason.clone() },
            Failure::NotStored,
            Failure::UnknownProvider,
            Failure::ClientRefused { code, reason },
        ];
        let codes: HashSet<&str> = all.iter().map(Failure::code).collect();
        assert_eq!(codes.len(), all.len());
        for failure in all {
            let page = failure.for_person("Example");
            for word in ["state", "token", "scope", "OAuth", "invalid_grant", "server_error", "issuer", "RFC", "repo"] {
                assert!(!page.contains(word), "{page}");
            }
            assert!(failure.code().starts_with("OAUTH_") && (400..=599).contains(&failure.status()));
            assert!(!failure.to_string().is_empty());
        }
    }
}
