//! Authorization responses (RFC 6749, sections 4.1.2 and 4.1.2.1; RFC 9207), from a query or a form.

use std::collections::BTreeMap;
use std::fmt;

use clawbridge_config::IssuerCheck;

use crate::encoding::cleaned;
use crate::failure::Failure;
use crate::verdict::UNREGISTERED;
use crate::word::State;

/// The longest query or form, bytes.
pub const MAX_CALLBACK_BYTES: usize = 16 * 1024;
/// The longest code, bytes.
const MAX_CODE_BYTES: usize = 8 * 1024;
/// What an operator sees of a provider's description, characters.
const MAX_DESCRIPTION_CHARS: usize = 300;

/// Error codes of authorization endpoints (RFC 6749, section 4.1.2.1; OpenID Connect Core, section 3.1.2.6; RFC 8707; RFC 9101, section 7).
const REGISTERED: [&str; 16] = [
    "invalid_request",
    "unauthorized_client",
    "access_denied",
    "unsupported_response_type",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
    "interaction_required",
    "login_required",
    "account_selection_required",
    "consent_required",
    "invalid_request_uri",
    "invalid_request_object",
    "request_not_supported",
    "request_uri_not_supported",
    "invalid_target",
];
/// What providers say for a person's no (LinkedIn).
const DENIALS: [&str; 4] = ["access_denied", "user_cancelled_login", "user_cancelled_authorize", "user_denied"];

/// An authorization response that can be one. Debug output shows neither code nor state.
#[derive(Clone, PartialEq, Eq)]
pub struct Callback {
    /// Which authorization request it answers.
    pub state: State,
    /// What the server says.
    pub outcome: Outcome,
    issuer: Option<String>,
    description: Option<String>,
}

/// What an authorization server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The person has consented.
    Code(AuthorizationCode),
    /// [`Failure::Denied`] or [`Failure::ProviderError`].
    Failed(Failure),
}

/// An authorization code. Debug output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorizationCode(String);

impl AuthorizationCode {
    /// What the token request carries.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Callback {
    /// From a query, without its question mark, or a form.
    ///
    /// Parameters without a value count as left out, unknown ones are ignored, and none may come twice (RFC 6749, section 3.1).
    ///
    /// # Errors
    /// [`Failure::Malformed`], [`Failure::StateMissing`], [`Failure::StateUnknown`] for a state that cannot be one.
    pub fn parse(text: &str) -> Result<Callback, Failure> {
        if text.len() > MAX_CALLBACK_BYTES {
            return Err(Failure::Malformed("it is too long"));
        }
        let mut fields = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            if fields.insert(name, value).is_some() {
                return Err(Failure::Malformed("a parameter comes twice"));
            }
        }
        let field = |name: &str| fields.get(name).map(|value| &**value).filter(|value| !value.is_empty());
        let state = State::parse(field("state").ok_or(Failure::StateMissing)?).ok_or(Failure::StateUnknown)?;
        let outcome = match (field("code"), field("error")) {
            (Some(code), None) => {
                // RFC 6749, appendix A.11.
                if code.len() > MAX_CODE_BYTES || !code.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
                    return Err(Failure::Malformed("the code has characters that none has, or is too long"));
                }
                Outcome::Code(AuthorizationCode(code.to_owned()))
            }
            (None, Some(error)) => Outcome::Failed(failure(error)),
            (Some(_), Some(_)) => return Err(Failure::Malformed("it has both a code and an error")),
            (None, None) => return Err(Failure::Malformed("it has neither a code nor an error")),
        };
        let description = field("error_description").map(|text| cleaned(text, MAX_DESCRIPTION_CHARS));
        Ok(Callback { state, outcome, issuer: field("iss").map(str::to_owned), description })
    }

    /// Checks that the response comes from the server that was asked (RFC 9207, section 2.4). `issuer`: its identifier, where it is known;
    /// without it, an issuer that is named says nothing, and the redirect URI of each provider has to do (RFC 9700, section 4.4.2.2).
    ///
    /// # Errors
    /// [`Failure::IssuerMismatch`]
    pub fn check_issuer(&self, check: IssuerCheck, issuer: Option<&str>) -> Result<(), Failure> {
        let is_right = match (&self.issuer, issuer) {
            (Some(named), Some(issuer)) => named == issuer,
            (None, _) | (Some(_), None) => check == IssuerCheck::IfPresent,
        };
        if is_right { Ok(()) } else { Err(Failure::IssuerMismatch) }
    }

    /// What the server says of its error, cut and without control characters: for the operator's log only, as somebody else's text.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }
}

fn failure(error: &str) -> Failure {
    if DENIALS.contains(&error) {
        return Failure::Denied;
    }
    Failure::ProviderError(REGISTERED.iter().find(|code| **code == error).copied().unwrap_or(UNREGISTERED))
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").field("outcome", &self.outcome).finish_non_exhaustive()
    }
}

impl fmt::Debug for AuthorizationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuthorizationCode").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::form_body;
    use proptest::prelude::*;

    fn state() -> State {
        State::new([5; 32])
    }

    fn parse(rest: &str) -> Result<Callback, Failure> {
        Callback::parse(&format!("state={}&{rest}", state().expose()))
    }

    #[test]
    fn a_code_comes_with_its_state() {
        let callback = parse("code=4%2F0Ab_x%3D&scope=a+b&authuser=0&iss=https%3A%2F%2Faccounts.example.com&error=")
            .expect("good");
        assert_eq!(callback.state, state());
        let Outcome::Code(code) = &callback.outcome else { panic!("{callback:?}") };
        assert_eq!(code.expose(), "4/0Ab_x=");
        let shown = format!("{callback:?}");
        assert!(!shown.contains("0Ab_x") && !shown.contains(state().expose()), "{shown}");
    }

    #[test]
    fn errors_keep_their_code_if_it_is_registered() {
        for (query, expected) in [
            ("error=access_denied&error_description=The+user+said+no", Failure::Denied),
            ("error=user_cancelled_login", Failure::Denied),
            ("error=server_error", Failure::ProviderError("server_error")),
            ("error=invalid_scope&error_uri=https://evil.example", Failure::ProviderError("invalid_scope")),
            ("error=%3Cscript%3E", Failure::ProviderError("unregistered")),
            ("error=SERVER_ERROR", Failure::ProviderError("unregistered")),
        ] {
            assert_eq!(parse(query).expect("a response").outcome, Outcome::Failed(expected), "{query}");
        }
        let long =
            parse(&format!("error=server_error&error_description=a%0D%0A%1B[31m{}", "b".repeat(999))).expect("good");
        let description = long.description().expect("one");
        assert!(description.starts_with("a[31mbbb") && description.len() == 300);
    }

    #[test]
    fn what_cannot_be_an_authorization_response_is_refused() {
        let word = state();
        let word = word.expose();
        for (text, expected) in [
            (String::new(), "OAUTH_STATE_MISSING"),
            ("code=a".into(), "OAUTH_STATE_MISSING"),
            ("code=a&state=".into(), "OAUTH_STATE_MISSING"),
            ("code=a&state=short".into(), "OAUTH_STATE_UNKNOWN"),
            (format!("state={word}"), "OAUTH_ANSWER_MALFORMED"),
            (format!("state={word}&code="), "OAUTH_ANSWER_MALFORMED"),
            (format!("state={word}&code=a&error=access_denied"), "OAUTH_ANSWER_MALFORMED"),
            (format!("state={word}&code=a&code=b"), "OAUTH_ANSWER_MALFORMED"),
            (format!("state={word}&code=a&state={word}"), "OAUTH_ANSWER_MALFORMED"),
            (format!("state={word}&code=a&x=1&x=1"), "OAUTH_ANSWER_MALFORMED"),
            (format!("state={word}&code=a%0Ab"), "OAUTH_ANSWER_MALFORMED"),
            (format!("state={word}&code=%FF"), "OAUTH_ANSWER_MALFORMED"),
            (format!("state={word}&code={}", "a".repeat(8193)), "OAUTH_ANSWER_MALFORMED"),
            (format!("state={word}&code=a&x={}", "a".repeat(MAX_CALLBACK_BYTES)), "OAUTH_ANSWER_MALFORMED"),
        ] {
            assert_eq!(Callback::parse(&text).expect_err("no response").code(), expected, "{text}");
        }
    }

    #[test]
    fn the_issuer_must_be_the_one_that_was_asked() {
        let issuer = "https://accounts.example.com";
        let named = parse("code=a&iss=https%3A%2F%2Faccounts.example.com").expect("good");
        let other = parse("code=a&iss=https%3A%2F%2Faccounts.example.com%2F").expect("good");
        let none = parse("code=a").expect("good");
        for (callback, check, known, is_good) in [
            (&named, IssuerCheck::Required, Some(issuer), true),
            (&named, IssuerCheck::IfPresent, Some(issuer), true),
            (&other, IssuerCheck::Required, Some(issuer), false),
            (&other, IssuerCheck::IfPresent, Some(issuer), false),
            (&none, IssuerCheck::Required, Some(issuer), false),
            (&none, IssuerCheck::IfPresent, Some(issuer), true),
            (&named, IssuerCheck::IfPresent, None, true),
            (&named, IssuerCheck::Required, None, false),
        ] {
            assert_eq!(callback.check_issuer(check, known).is_ok(), is_good, "{check} {known:?}");
        }
    }

    proptest! {
        #[test]
        fn what_a_server_writes_is_read_back(code in "[ -~]{1,60}", bytes in any::<[u8; 32]>()) {
            let state = State::new(bytes);
            let text = form_body(&[("code", &code), ("state", state.expose())]);
            let callback = Callback::parse(&text).expect("good");
            prop_assert_eq!(callback.outcome, Outcome::Code(AuthorizationCode(code)));
            prop_assert_eq!(callback.state, state);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,200}", rest in "[a-z=&%+0-9A-F]{0,80}") {
            let _ = Callback::parse(&text);
            let _ = parse(&rest);
        }
    }
}
