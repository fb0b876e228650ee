//! `doctor`: what is wrong with providers and connections, and what to do about it.

use super::accounts::{Accounts, connect_again, name, when};
use super::connections::all;
use super::print_json;
use crate::cli::{DoctorArgs, Global};
use crate::failure::Failure;
use crate::out::say;
use clawbridge_clock::Timestamp;
use clawbridge_config::{ClientAuth, Grant, Provider};
use clawbridge_connections::ConnectionName;
use clawbridge_connections::record::{Record, Status};
use clawbridge_oauth::discovery::Metadata;
use clawbridge_oauth::{Credential, Endpoints, Finding, Level, Observed, Refused, check, redirect_uri};
use clawbridge_outbound::Request;
use reqwest::header::{DATE, HeaderMap};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long an endpoint may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// A refresh token that ends within so long is told.
const SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What stands in a redirect URI where the public address is not known.
const UNKNOWN_ADDRESS: &str = "https://PUBLIC_URL";

/// A provider, or a connection, and what was found.
struct Subject {
    provider: String,
    connection: Option<ConnectionName>,
    redirect_uri: Option<String>,
    token_expires_at: Option<Timestamp>,
    findings: Vec<Finding>,
}

pub(crate) async fn run(global: &Global, args: &DoctorArgs) -> Result<(), Failure> {
    let wanted = args.name.as_deref();
    let connection = wanted.filter(|text| text.contains('/')).map(name).transpose()?;
    let accounts = Accounts::reach(global).await?;
    let doctor = Doctor { accounts: &accounts, public: args.url.as_deref().or(accounts.reached.public_url()) };
    let mut subjects = Vec::new();
    let records: Vec<Record> = match (&connection, wanted) {
        (Some(name), _) => {
            accounts.declared(name.provider())?;
            let record = accounts.connected(name).await?;
            subjects.push(doctor.connection(&record, true).await?);
            Vec::new()
        }
        (None, Some(provider)) => {
            let declared = accounts.declared(provider)?;
            subjects.push(doctor.provider(provider, declared).await?);
            all(&accounts).await?.into_iter().filter(|record| record.name.provider() == provider).collect()
        }
        (None, None) => {
            for (name, declared) in accounts.providers.declared.iter() {
                subjects.push(doctor.provider(name, declared).await?);
            }
            all(&accounts).await?
        }
    };
    for record in records.iter().filter(|record| record.status != Status::Revoked) {
        // With parameters of its own it may be at another server than its provider's other accounts.
        subjects.push(doctor.connection(record, !record.parameters.is_empty()).await?);
    }
    report(&subjects, global.json)
}

fn report(subjects: &[Subject], json: bool) -> Result<(), Failure> {
    let is_wrong = subjects.iter().flat_map(|subject| &subject.findings).any(|finding| finding.level == Level::Wrong);
    if json {
        let subjects: Vec<Value> = subjects.iter().map(document).collect();
        print_json(&json!({"ok": !is_wrong, "checked": subjects}));
    } else if subjects.is_empty() {
        say!("The configuration has no providers, and no account is connected.");
    } else {
        subjects.iter().for_each(print);
    }
    if is_wrong { Err(Failure::said("SOMETHING_IS_WRONG")) } else { Ok(()) }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Wrong => "wrong",
        Level::Doubtful => "doubtful",
    }
}

fn document(subject: &Subject) -> Value {
    let finding = |finding: &Finding| json!({"level": word(finding.level), "check": finding.check, "found": finding.found, "advice": finding.advice});
    json!({
        "provider": subject.provider,
        "connection": subject.connection.as_ref().map(ToString::to_string),
        "redirect_uri": subject.redirect_uri,
        "token_expires_at": subject.token_expires_at.map(Timestamp::rfc3339),
        "findings": subject.findings.iter().map(finding).collect::<Vec<Value>>(),
    })
}

fn print(subject: &Subject) {
    match &subject.connection {
        Some(connection) => say!("connection {connection}"),
        None => say!("provider {}", subject.provider),
    }
    if let Some(uri) = &subject.redirect_uri {
        say!("  redirect  {uri}");
        say!("            to be entered in the provider's console, exactly so");
    }
    if let Some(at) = subject.token_expires_at {
        say!("  token     expires {}", when(at, Timestamp::now()));
    }
    if subject.findings.is_empty() {
        say!("  fine      nothing is wrong");
    }
    for finding in &subject.findings {
        say!("  {:<8}  {}: {}", word(finding.level), finding.check, finding.found.escape_debug());
        say!("            {}", finding.advice);
    }
}

fn finding(level: Level, check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { level, check, found: found.into(), advice: advice.into() }
}

struct Doctor<'a> {
    accounts: &'a Accounts,
    public: Option<&'a str>,
}

impl Doctor<'_> {
    async fn provider(&self, name: &str, declared: &Provider) -> Result<Subject, Failure> {
        let mut findings = Vec::new();
        let redirect_uri = self.redirect(name, declared, &mut findings);
        match declared.for_account(&BTreeMap::new()) {
            Ok(provider) => self.declaration(&provider, &mut findings).await?,
            // Each account has its own server.
            Err(error) => {
                let found = format!("{error} but an account's own, so its server is not asked");
                let advice = format!("give each account its own: --set {}=VALUE", error.name());
                findings.push(finding(Level::Doubtful, "parameters", found, advice));
                self.secrets(declared, &mut findings).await?;
            }
        }
        Ok(Subject { provider: name.to_owned(), connection: None, redirect_uri, token_expires_at: None, findings })
    }

    fn redirect(&self, name: &str, declared: &Provider, findings: &mut Vec<Finding>) -> Option<String> {
        if declared.grant != Grant::AuthorizationCode {
            return None;
        }
        match redirect_uri(self.public.unwrap_or(UNKNOWN_ADDRESS), name) {
            Ok(uri) => Some(uri),
            Err(error) => {
                let advice = "give the stack an address over https (dev: --public-url)";
                findings.push(finding(Level::Wrong, "redirect_uri", error.to_string(), advice));
                None
            }
        }
    }

    /// What the declaration says, against what the server says and does.
    async fn declaration(&self, provider: &Provider, findings: &mut Vec<Finding>) -> Result<(), Failure> {
        let has_secret = self.secrets(provider, findings).await?;
        let endpoints = match Endpoints::of(provider) {
            Ok(endpoints) => endpoints,
            Err(error) => {
                findings.push(finding(Level::Wrong, "endpoints", error.to_string(), "mend it in bridge.toml"));
                return Ok(());
            }
        };
        let metadata = match &endpoints.issuer {
            Some(issuer) => self.discovered(provider, issuer, findings).await,
            None => None,
        };
        let endpoints = match &metadata {
            Some(metadata) => endpoints.with(metadata),
            None => endpoints,
        };
        let date = match &endpoints.token {
            Some(url) => self.date(provider, url, findings).await?,
            None => None,
        };
        let date = date.as_ref().map(|(date, at)| (date.as_str(), *at));
        let observed = Observed { metadata: metadata.as_ref(), has_secret, date, scopes: None };
        // A secret that is named and missing has been told.
        let is_told = provider.secret.is_some();
        findings.extend(check(provider, &observed).into_iter().filter(|one| one.check != "secret" || !is_told));
        Ok(())
    }

    async fn discovered(&self, provider: &Provider, issuer: &str, findings: &mut Vec<Finding>) -> Option<Metadata> {
        let metadata = match self.accounts.exchange().metadata(self.accounts.outbound(), issuer).await {
            Ok(metadata) => metadata,
            Err(error) => {
                let is_needed = provider.token_url.is_none();
                let level = if is_needed { Level::Wrong } else { Level::Doubtful };
                let (level, check) = match &error {
                    Refused::Client { .. } | Refused::Grant { .. } => (Level::Wrong, "issuer"),
                    Refused::Later(_) | Refused::Nonce(_) => (level, "discovery"),
                };
                let reason = match error {
                    Refused::Client { reason, .. } => reason,
                    error => error.to_string(),
                };
                let advice = "check issuer, or declare the endpoints (authorize_url, token_url) in its place";
                findings.push(finding(level, check, format!("{issuer}: {reason}"), advice));
                return None;
            }
        };
        let grant = grant_type(provider.grant);
        // RFC 8414: a server that says nothing does codes, and many say nothing that do more.
        if !metadata.grant_types.is_empty() && !metadata.grant_types.iter().any(|known| known == grant) {
            let found = format!("the issuer does not say that it knows the grant {grant}");
            let advice = "enable it for the client in the provider's console, or declare another grant";
            findings.push(finding(Level::Doubtful, "grant", found, advice));
        }
        Some(metadata)
    }

    /// What the clock of the token endpoint says, and when.
    async fn date(
        &self,
        provider: &Provider,
        url: &str,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<(String, Timestamp)>, Failure> {
        let Ok(target) = Url::parse(url) else { return Ok(None) };
        let identity = self.accounts.identity(provider).await.unwrap_or_default();
        let identity = provider.tls.as_ref().map(|tls| (tls, &identity));
        let request = Request { method: Method::GET, url: target, headers: HeaderMap::new(), body: None };
        match self.accounts.outbound().exchange(request, identity, LIMIT, 4096).await {
            // It refuses a GET, which is an answer all the same.
            Ok(answer) => {
                let date = answer.headers.get(DATE).and_then(|date| date.to_str().ok());
                Ok(date.map(|date| (date.to_owned(), Timestamp::now())))
            }
            Err(error) => {
                let found = format!("{url} does not answer: {}", error.message);
                let advice = "check the address; if it may be called, is it in [network] allow?";
                findings.push(finding(Level::Wrong, "token_url", found, advice));
                Ok(None)
            }
        }
    }

    /// Whether the secret is there; told where one is missing or cannot be what it should be.
    async fn secrets(&self, provider: &Provider, findings: &mut Vec<Finding>) -> Result<bool, Failure> {
        let of_tls = provider.tls.iter().flat_map(|tls| [("tls.secret", &tls.secret), ("tls.ca", &tls.ca)]);
        for (check, name) in of_tls.filter_map(|(check, name)| Some((check, name.as_ref()?))) {
            if self.accounts.secret(name).await?.is_none() {
                findings.push(missing(check, name));
            }
        }
        let Some(name) = &provider.secret else { return Ok(false) };
        let Some(value) = self.accounts.secret(name).await? else {
            findings.push(missing("secret", name));
            return Ok(false);
        };
        if let Some(found) = unlikely(provider, &value) {
            let advice = format!("copy it again from the provider's console: `clawbridge secret set {name}`");
            findings.push(finding(Level::Wrong, "secret", format!("{name}: {found}"), advice));
        }
        Ok(true)
    }

    async fn connection(&self, record: &Record, with_declaration: bool) -> Result<Subject, Failure> {
        let name = &record.name;
        let mut findings = Vec::new();
        let mut redirect_uri = None;
        match self.accounts.providers.declared.get(name.provider()) {
            None => {
                let advice = format!("declare it again, or `clawbridge connections revoke {name}`");
                findings.push(finding(Level::Wrong, "provider", "bridge.toml does not declare its provider", advice));
            }
            Some(declared) => {
                if with_declaration {
                    redirect_uri = self.redirect(name.provider(), declared, &mut findings);
                }
                match declared.for_account(&record.parameters) {
                    Ok(provider) => {
                        if with_declaration {
                            self.declaration(&provider, &mut findings).await?;
                        }
                        granted(&provider, record, &mut findings);
                    }
                    Err(error) => {
                        findings.push(finding(Level::Wrong, "parameters", error.to_string(), connect_again(name)));
                    }
                }
                self.tokens(declared, record, &mut findings).await?;
            }
        }
        Ok(Subject {
            provider: name.provider().to_owned(),
            connection: Some(name.clone()),
            redirect_uri,
            token_expires_at: record.token_expires_at,
            findings,
        })
    }

    /// Whether there are tokens, and whether there will be.
    async fn tokens(&self, declared: &Provider, record: &Record, findings: &mut Vec<Finding>) -> Result<(), Failure> {
        let (name, now) = (&record.name, Timestamp::now());
        let again = || connect_again(name);
        if record.status == Status::NeedsReauth {
            let code = record.last_error.as_ref().map_or("invalid_grant", |error| error.code.as_str());
            findings.push(finding(Level::Wrong, "needs_reauth", format!("its tokens are refused: {code}"), again()));
            return Ok(());
        }
        if let Some(error) = &record.last_error {
            let found = format!(
                "the last {} refreshes failed, {}: {}",
                record.failures.max(1),
                when(error.at, now),
                error.code
            );
            let advice = format!("`clawbridge connections refresh {name}` tries again and says more");
            findings.push(finding(Level::Doubtful, "refresh", found, advice));
        }
        let set = match self.accounts.tokens(name).await {
            Ok(Some(set)) => set,
            Ok(None) => {
                findings.push(finding(Level::Wrong, "tokens", "the secret with its tokens is gone", again()));
                return Ok(());
            }
            Err(failure) if failure.code == "TOKEN_SET_UNREADABLE" => {
                findings.push(finding(Level::Wrong, "tokens", "what is stored is no token set", again()));
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        let needs_person = matches!(declared.grant, Grant::AuthorizationCode | Grant::DeviceCode);
        if let Some(at) = set.expires_at.filter(|_| needs_person && set.refresh_token.is_none()) {
            let level = if at <= now { Level::Wrong } else { Level::Doubtful };
            let found = format!("the provider gave no refresh token, and the token expires {}", when(at, now));
            let advice = "ask for what the provider wants for one (offline_access, access_type=offline; docs/providers.md), and connect again";
            findings.push(finding(level, "refresh_token", found, advice));
        } else if let Some(at) = set.expires_at.filter(|at| *at <= now) {
            let found = format!("the token expired {}", when(at, now));
            let advice = format!("`clawbridge connections refresh {name}` says why there is no new one");
            findings.push(finding(Level::Doubtful, "token", found, advice));
        }
        if let Some(at) = set.refresh_expires_at.filter(|at| at.minus(SOON) <= now) {
            let found = format!("the refresh token expires {}", when(at, now));
            findings.push(finding(Level::Doubtful, "refresh_token", found, again()));
        }
        Ok(())
    }
}

fn missing(check: &'static str, name: &str) -> Finding {
    let advice = format!("`clawbridge secret set {name}` makes it, with what the provider's console shows");
    finding(Level::Wrong, check, format!("there is no secret {name}"), advice)
}

/// Scopes that must be granted and were not, or were never asked for.
fn granted(provider: &Provider, record: &Record, findings: &mut Vec<Finding>) {
    let (asked, new): (Vec<String>, Vec<String>) =
        provider.scopes.iter().cloned().partition(|scope| record.asked_scopes.contains(scope));
    if record.generation > 0 {
        let observed = Observed { scopes: Some((&asked, &record.scopes)), has_secret: true, ..Observed::default() };
        findings.extend(check(provider, &observed).into_iter().filter(|one| one.check == "scopes"));
    }
    if !new.is_empty() {
        let found = format!("bridge.toml names scopes that it was not asked for: {}", new.join(" "));
        findings.push(finding(Level::Wrong, "scopes", found, connect_again(&record.name)));
    }
}

/// Why a secret cannot be what the provider gave, without a word of it.
fn unlikely(provider: &Provider, value: &[u8]) -> Option<String> {
    if let Err(error) = Credential::read(provider, Some(value)) {
        return Some(error.to_string());
    }
    let is_text =
        matches!(provider.client_auth, ClientAuth::Basic | ClientAuth::Post) && provider.grant != Grant::JwtBearer;
    let text = std::str::from_utf8(value).map(str::trim).unwrap_or_default();
    if !is_text {
        None
    } else if text.contains(char::is_whitespace) {
        Some("it has white space within".to_owned())
    } else if text.starts_with(['"', '\'']) || text.ends_with(['"', '\'']) {
        Some("it has quotation marks around it".to_owned())
    } else if text == provider.client_id {
        Some("it is the client_id".to_owned())
    } else {
        None
    }
}

/// As metadata names it.
fn grant_type(grant: Grant) -> &'static str {
    match grant {
        Grant::AuthorizationCode => "authorization_code",
        Grant::ClientCredentials => "client_credentials",
        Grant::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
        Grant::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clawbridge_config::check;

    #[test]
    fn a_secret_that_cannot_be_one_is_told_without_a_word_of_it() {
        let text = "[providers.p]\nclient_id = \"an-id\"\nsecret = \"clawbridge/providers/p\"\nissuer = \"https://a.example\"\n";
        let config = check(text).0.unwrap();
        let provider = &config.providers["p"];
        for good in ["s3cret", " s3cret\n"] {
            assert_eq!(unlikely(provider, good.as_bytes()), None);
        }
        for (bad, why) in [
            ("", "no client secret"),
            ("\u{e9}", "no client secret"),
            ("s3 cret", "white space"),
            ("\"s3cret\"", "quotation marks"),
            ("an-id", "client_id"),
        ] {
            let found = unlikely(provider, bad.as_bytes()).unwrap();
            assert!(found.contains(why) && !found.contains("s3"), "{bad}: {found}");
        }
    }
}
