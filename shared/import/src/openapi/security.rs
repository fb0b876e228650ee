//! Which credential an operation needs, and in which secret it is.

use crate::at::At;
use crate::form::{Auth, Carrier, NOW};
use crate::names::snake;
use crate::problem::{Code, NoteCode, Problem, one_line};
use crate::secret::{SECRETS, SecretUse};
use crate::tree::Node;

/// The security schemes of a document and the secrets for them.
#[derive(Debug)]
pub(super) struct Security {
    /// By name, in their order; what cannot be sent has a reason.
    schemes: Vec<(String, Result<Scheme, String>)>,
    /// The name of the secret of a document with one scheme.
    secret: String,
    /// Whether each scheme has a secret of its own.
    is_several: bool,
}

#[derive(Debug, Clone)]
struct Scheme {
    carrier: Carrier,
    /// What kind it is, where that says more than the carrier.
    kind: &'static str,
}

/// What an operation needs.
#[derive(Debug, Default)]
pub(super) struct Needed {
    pub(super) auth: Option<Auth>,
    pub(super) used: Option<SecretUse>,
    pub(super) notes: Vec<(NoteCode, String)>,
}

impl Security {
    /// Reads the schemes of the document. `used` are the names that some operation needs, whether it is selected or not, so that a
    /// selection changes no secret's name.
    pub(super) fn read(
        root: &At<'_>,
        document: &Node,
        title: &str,
        said: Option<&str>,
        used: &[String],
    ) -> Result<Security, Problem> {
        let mut schemes = Vec::new();
        if let Some(components) = root.get("components") {
            for (name, at) in components.entries("securitySchemes")? {
                schemes.push((name.to_owned(), scheme(&at.resolved(document)?)?));
            }
        }
        let slug = snake(title).replace('_', "-");
        let slug = slug.strip_suffix("-api").unwrap_or(&slug);
        let slug: String = slug.chars().take(40).collect();
        let slug = if slug.is_empty() { "api" } else { slug.trim_end_matches('-') };
        let sendable = schemes.iter().filter(|(name, scheme)| scheme.is_ok() && used.contains(name)).count();
        let secret = said.map_or_else(|| format!("{SECRETS}{slug}"), str::to_owned);
        Ok(Security { schemes, secret, is_several: sendable > 1 && said.is_none() })
    }

    /// Whether the document has none.
    pub(super) fn is_empty(&self) -> bool {
        self.schemes.is_empty()
    }

    /// The secret for what a document declares as a parameter, or for what the person who imports says is needed.
    pub(super) fn plain(&self, carrier: Carrier) -> (Auth, SecretUse) {
        let auth = Auth { secret: self.secret.clone(), carrier };
        let used = SecretUse::of(&auth, "");
        (auth, used)
    }

    fn secret_of(&self, scheme: &str) -> String {
        let name = snake(scheme).replace('_', "-");
        if self.is_several && !name.is_empty() {
            format!("{}-{}", self.secret, name.chars().take(40).collect::<String>().trim_end_matches('-'))
        } else {
            self.secret.clone()
        }
    }

    /// What an operation needs: the first of the alternatives that a tool can send.
    pub(super) fn needed(&self, operation: &At<'_>, root: &At<'_>) -> Result<Needed, Problem> {
        let place = if operation.get("security").is_some() { operation } else { root };
        let mut best: Option<(usize, Needed)> = None;
        let mut reasons = Vec::new();
        let mut is_optional = false;
        for alternative in place.items("security")? {
            let mut names = Vec::new();
            for (name, scopes) in alternative.object()?.entries() {
                names.push((name, scopes));
            }
            is_optional |= names.is_empty();
            let mut needed = Needed::default();
            let mut missing = 0;
            for (name, scopes) in &names {
                let found = self.schemes.iter().find(|(known, _)| known == name);
                let Some((_, scheme)) = found else {
                    let message = format!("there is no security scheme {:?} in components", one_line(name, 80));
                    return Err(alternative.problem(Code::Missing, message));
                };
                match scheme {
                    Ok(scheme) if needed.auth.is_none() => {
                        let auth = Auth { secret: self.secret_of(name), carrier: scheme.carrier.clone() };
                        let mut used = SecretUse::of(&auth, scheme.kind);
                        let scopes = scopes.as_list().unwrap_or_default().iter().filter_map(Node::as_text);
                        used.scopes.extend(scopes.map(|scope| one_line(scope, 80)));
                        (needed.auth, needed.used) = (Some(auth), Some(used));
                    }
                    Ok(_) => {
                        missing += 1;
                        needed.notes.push(note(name, "is needed too, and a tool sends one credential"));
                    }
                    Err(reason) => {
                        missing += 1;
                        let (_, text) = note(name, reason);
                        reasons.push(text.clone());
                        needed.notes.push((NoteCode::Security, text));
                    }
                }
            }
            if needed.auth.is_some() && best.as_ref().is_none_or(|(least, _)| missing < *least) {
                best = Some((missing, needed));
            }
        }
        Ok(match best {
            Some((_, needed)) => needed,
            None if is_optional => Needed::default(),
            None => {
                reasons.dedup();
                Needed {
                    notes: reasons.into_iter().map(|text| (NoteCode::Security, text)).collect(),
                    ..Needed::default()
                }
            }
        })
    }
}

fn note(scheme: &str, text: &str) -> (NoteCode, String) {
    (NoteCode::Security, format!("credential {:?} {text}", one_line(scheme, 60)))
}

/// How a scheme's credential is sent, or why a tool cannot.
fn scheme(at: &At<'_>) -> Result<Result<Scheme, String>, Problem> {
    let kind = at.required("type")?.text()?;
    let bearer = |kind| Ok(Scheme { carrier: Carrier::Bearer, kind });
    Ok(match kind {
        "apiKey" => {
            let name = at.required("name")?.text()?.to_owned();
            let carrier = match at.required("in")?.text()? {
                "header" if clawbridge_config::header::is_name(&name) => Carrier::Header(name),
                "query" if !name.is_empty() && name.len() <= 64 => Carrier::Query(name),
                place => return Ok(Err(format!("is sent in a {}, which a tool cannot", one_line(place, 20)))),
            };
            match NOW.can_send(&carrier) {
                true => Ok(Scheme { carrier, kind: "" }),
                false => Err("is sent in the query, which a tool cannot".to_owned()),
            }
        }
        "http" => match at.required("scheme")?.text()?.to_ascii_lowercase().as_str() {
            "bearer" => bearer(""),
            "basic" => Ok(Scheme { carrier: Carrier::Basic, kind: "" }),
            other => Err(format!("is of HTTP's scheme {:?}, which a tool cannot send", one_line(other, 40))),
        },
        "oauth2" => bearer("OAuth 2.0"),
        "openIdConnect" => bearer("OpenID Connect"),
        "mutualTLS" => Err("is a client certificate, which is not imported".to_owned()),
        other => Err(format!("is of the unknown type {:?}", one_line(other, 40))),
    })
}

#[cfg(test)]
#[path = "security_tests.rs"]
mod tests;
