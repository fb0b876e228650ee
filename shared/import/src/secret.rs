//! The secrets that declarations name. The importer never sees what is in them.

use std::collections::BTreeSet;

use crate::form::{Auth, Carrier, NOW};

/// Where the secrets lie that tools can read.
pub(crate) const SECRETS: &str = "clawbridge/tools/";

/// A secret, and what a person has to put into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretUse {
    pub(crate) name: String,
    pub(crate) holds: String,
    /// `OAuth 2.0`, where a token that expires is what is wanted.
    pub(crate) kind: &'static str,
    pub(crate) scopes: BTreeSet<String>,
}

impl SecretUse {
    pub(crate) fn of(auth: &Auth, kind: &'static str) -> SecretUse {
        let holds = NOW.secret_holds(&auth.carrier);
        SecretUse { name: auth.secret.clone(), holds, kind, scopes: BTreeSet::new() }
    }

    /// For what the person who imports says is needed, of which the document says nothing.
    pub(crate) fn bearer(secret: &str) -> (Auth, SecretUse) {
        let auth = Auth { secret: secret.to_owned(), carrier: Carrier::Bearer };
        let used = SecretUse::of(&auth, "");
        (auth, used)
    }

    /// Lines for the head of the declarations.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("- {}: {}", self.name, self.holds)];
        if !self.scopes.is_empty() {
            let scopes: Vec<&str> = self.scopes.iter().map(String::as_str).take(30).collect();
            lines.push(format!("- its scopes: {}", scopes.join(", ")));
        }
        if !self.kind.is_empty() {
            lines.push(format!(
                "- TODO: the API wants {}. A token in a secret is not renewed: put one there that lives long enough, or renew it \
                 with `clawbridge secret set`",
                self.kind
            ));
        }
        lines
    }
}

/// Adds `used` to what is used already.
pub(crate) fn collect(secrets: &mut Vec<SecretUse>, used: SecretUse) {
    match secrets
        .iter_mut()
        .find(|known| known.name == used.name && known.holds == used.holds && known.kind == used.kind)
    {
        Some(known) => known.scopes.extend(used.scopes),
        None => secrets.push(used),
    }
}

/// The full name of the secret that a person calls `name`: the part before it can be left out.
///
/// # Errors
/// If it cannot be a secret of tools. The message does not repeat it: somebody may have given the secret itself.
pub(crate) fn full_name(name: &str) -> Result<String, String> {
    if clawbridge_config::header::looks_like_a_secret(name) {
        return Err("the name of a secret is wanted, and this looks like a secret itself".to_owned());
    }
    let full = if name.starts_with(SECRETS) { name.to_owned() } else { format!("{SECRETS}{name}") };
    let is_name = full.len() > SECRETS.len()
        && full.len() <= 256
        && full.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte));
    if is_name {
        Ok(full)
    } else {
        Err(format!("a secret of tools is called {SECRETS}NAME, of letters, digits and /_+=.@-"))
    }
}
