//! What is wrong with a provider's declaration, by what its server says and does: for `clawbridge doctor`.

use std::fmt;

use clawbridge_clock::Timestamp;
use clawbridge_config::{ClientAuth, Grant, IssuerCheck, Provider};
use url::Url;

use crate::discovery::Metadata;
use crate::endpoints::is_loopback;
use crate::scopes;

/// A difference between two clocks that assertions and proofs do not survive everywhere, seconds.
const MAX_SKEW: i64 = 60;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// It will not work.
    Wrong,
    /// It may not work, or is less safe than it could be.
    Doubtful,
}

/// Something to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// A stable name of what was checked.
    pub check: &'static str,
    /// What was found, in plain words.
    pub found: String,
    /// What to do.
    pub advice: String,
}

/// What was seen of a provider and of the stack.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observed<'a> {
    /// The issuer's metadata, if it has any.
    pub metadata: Option<&'a Metadata>,
    /// Whether the provider's secret is there.
    pub has_secret: bool,
    /// The header `Date` of an answer of the provider's, and when it came.
    pub date: Option<(&'a str, Timestamp)>,
    /// What a connection was asked for and what it was granted.
    pub scopes: Option<(&'a [String], &'a [String])>,
}

/// A public address that no provider sends people back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bridge's public address must be https:// (http:// for localhost only), without user, query and fragment")]
pub struct RedirectUriError;

/// Where a provider sends people back to: what its console has to have, to the character.
///
/// # Errors
/// The public address cannot be one (RFC 6749, section 3.1.2; RFC 9700, section 2.6).
pub fn redirect_uri(public_url: &str, provider: &str) -> Result<String, RedirectUriError> {
    let url = Url::parse(public_url).map_err(|_| RedirectUriError)?;
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    let is_bare =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if !(is_safe && is_bare) {
        return Err(RedirectUriError);
    }
    Ok(format!("{}/oauth/callback/{provider}", public_url.trim_end_matches('/')))
}

/// All that is found wrong with a provider.
#[must_use]
pub fn check(provider: &Provider, observed: &Observed<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    secret(provider, observed, &mut findings);
    if let Some(metadata) = observed.metadata {
        against(provider, metadata, &mut findings);
    }
    if !provider.pkce && provider.grant == Grant::AuthorizationCode && observed.metadata.is_none() {
        let found = "PKCE is off";
        findings.push(Finding::new(
            Level::Doubtful,
            "pkce",
            found,
            "remove pkce = false unless the provider refuses it",
        ));
    }
    clock(observed, &mut findings);
    if let Some((asked, granted)) = observed.scopes {
        let missing = scopes::missing(asked, granted);
        if !missing.is_empty() {
            let found = format!("these scopes were asked for and not granted: {}", missing.join(" "));
            let advice =
                "enable them for the app in the provider's console and connect the account again, or ask for fewer";
            findings.push(Finding::new(Level::Wrong, "scopes", found, advice));
        }
    }
    findings
}

fn secret(provider: &Provider, observed: &Observed<'_>, findings: &mut Vec<Finding>) {
    let needs = matches!(provider.client_auth, ClientAuth::Basic | ClientAuth::Post | ClientAuth::PrivateKeyJwt)
        || provider.grant == Grant::JwtBearer;
    if needs && !observed.has_secret {
        let name = provider.secret.as_deref().unwrap_or("clawbridge/providers/NAME");
        let found = format!("client_auth = {:?} needs a secret, and there is none", provider.client_auth.as_str());
        let advice = format!("store the client secret or the private key as {name}");
        findings.push(Finding::new(Level::Wrong, "secret", found, advice));
    }
}

fn against(provider: &Provider, metadata: &Metadata, findings: &mut Vec<Finding>) {
    let mut differ = |field: &'static str, declared: &Option<String>, discovered: &Option<String>| {
        if let (Some(declared), Some(discovered)) = (declared, discovered)
            && declared != discovered
            && !declared.contains('{')
        {
            let found = format!("{field} is declared as {declared}, and the issuer says {discovered}");
            findings.push(Finding::new(Level::Doubtful, field, found, "remove the declared one, unless it is meant"));
        }
    };
    differ("authorize_url", &provider.authorize_url, &metadata.authorize);
    differ("token_url", &provider.token_url, &metadata.token);
    differ("revoke_url", &provider.revoke_url, &metadata.revoke);
    differ("device_url", &provider.device_url, &metadata.device);
    let does_s256 = metadata.challenge_methods.as_ref().map(|methods| methods.iter().any(|method| method == "S256"));
    match (provider.pkce, does_s256) {
        (true, Some(false)) => findings.push(Finding::new(
            Level::Wrong,
            "pkce",
            "the issuer does not know PKCE with S256",
            "set pkce = false, if the provider cannot be brought to it",
        )),
        (false, Some(true)) if provider.grant == Grant::AuthorizationCode => {
            findings.push(Finding::new(
                Level::Doubtful,
                "pkce",
                "PKCE is off, and the issuer knows it",
                "remove pkce = false",
            ));
        }
        _ => {}
    }
    let method = auth_method(provider.client_auth);
    if !metadata.auth_methods.iter().any(|one| method.contains(&one.as_str())) {
        let found = format!(
            "client_auth = {:?} is not among what the issuer takes: {}",
            provider.client_auth.as_str(),
            metadata.auth_methods.join(", ")
        );
        findings.push(Finding::new(Level::Doubtful, "client_auth", found, "declare one of those"));
    }
    let wants_form_post = provider.authorize_params.get("response_mode").is_some_and(|mode| mode == "form_post");
    if wants_form_post && !metadata.response_modes.iter().any(|mode| mode == "form_post") {
        let found = "response_mode = form_post is not among what the issuer knows";
        findings.push(Finding::new(
            Level::Doubtful,
            "response_mode",
            found,
            "remove response_mode from authorize_params",
        ));
    }
    match (provider.iss, metadata.names_itself) {
        (IssuerCheck::Required, false) => {
            let found =
                "iss = \"required\", and the issuer does not say that it names itself in its answers (RFC 9207)";
            findings.push(Finding::new(Level::Wrong, "iss", found, "set iss = \"if_present\""));
        }
        (IssuerCheck::IfPresent, true) if provider.grant == Grant::AuthorizationCode => {
            let found = "the issuer names itself in its answers (RFC 9207), and that is not required";
            findings.push(Finding::new(Level::Doubtful, "iss", found, "set iss = \"required\""));
        }
        _ => {}
    }
    if provider.dpop && !metadata.dpop_algorithms.iter().any(|algorithm| algorithm == "ES256") {
        let found = "dpop = true, and the issuer does not say that it takes DPoP with ES256";
        findings.push(Finding::new(Level::Wrong, "dpop", found, "remove dpop = true"));
    }
    if let Some(known) = &metadata.scopes {
        let unknown = scopes::missing(&provider.scopes, known);
        if !unknown.is_empty() {
            let found = format!("the issuer does not name these scopes: {}", unknown.join(" "));
            findings.push(Finding::new(
                Level::Doubtful,
                "scopes",
                found,
                "check their spelling; an issuer need not name all",
            ));
        }
    }
}

fn auth_method(auth: ClientAuth) -> &'static [&'static str] {
    match auth {
        ClientAuth::None => &["none"],
        ClientAuth::Basic => &["client_secret_basic"],
        ClientAuth::Post => &["client_secret_post"],
        ClientAuth::PrivateKeyJwt => &["private_key_jwt"],
        ClientAuth::Tls => &["tls_client_auth", "self_signed_tls_client_auth"],
    }
}

fn clock(observed: &Observed<'_>, findings: &mut Vec<Finding>) {
    let Some((date, now)) = observed.date else { return };
    let Ok(theirs) = httpdate::parse_http_date(date) else { return };
    let behind = Timestamp::from(theirs).seconds().saturating_sub(now.seconds());
    if behind.abs() > MAX_SKEW {
        let direction = if behind > 0 { "behind" } else { "ahead of" };
        let found = format!("this machine's clock is {} s {direction} the provider's", behind.unsigned_abs());
        findings.push(Finding::new(
            Level::Wrong,
            "clock",
            found,
            "set the clock (NTP): assertions and proofs would be refused",
        ));
    }
}

impl Finding {
    fn new(level: Level, check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { level, check, found: found.into(), advice: advice.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.found, self.advice)
    }
}

#[cfg(test)]
#[path = "doctor_tests.rs"]
mod tests;
