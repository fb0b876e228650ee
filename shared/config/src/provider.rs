//! Reading OAuth providers, `[providers.NAME]`.

mod account;
mod lifetime;
mod preset;
mod rules;
mod text;

pub use account::ParameterError;
pub use lifetime::Lifetime;
pub use preset::{Preset, presets};

use std::collections::BTreeMap;

use crate::diagnostic::Code;
use crate::document;
use crate::header;
use crate::model::{Assertion, ClientAuth, Grant, IssuerCheck, Jwt, Provider, Revocation, Tls, TokenBody};
use crate::node::Entry;
use crate::reader::{Fields, Found, Reader, short};
use crate::tool::{unit, word};
use text::{SECRETS, Templates, credential, field_path, secret_name};

/// The keys of a provider, but for `use`, which is answered by what it stands for.
const KEYS: [&str; 29] = [
    "title",
    "grant",
    "issuer",
    "authorize_url",
    "token_url",
    "revoke_url",
    "device_url",
    "test_url",
    "client_id",
    "client_auth",
    "secret",
    "scopes",
    "optional_scopes",
    "scope_separator",
    "pkce",
    "authorize_params",
    "token_params",
    "token_body",
    "token_at",
    "keep",
    "token_lifetime",
    "refresh_before",
    "wait",
    "iss",
    "revocation",
    "jwt",
    "dpop",
    "tls",
    "parameters",
];

/// The most characters of a title.
const MAX_TITLE_CHARS: usize = 64;
/// The most scopes of each list.
const MAX_SCOPES: usize = 64;
/// The most parameters of each table.
const MAX_PARAMETERS: usize = 32;
/// The most fields of an answer that are kept.
const MAX_KEPT: usize = 16;
/// The longest text, in bytes: a scope, a parameter, a client's identifier.
const MAX_TEXT_BYTES: usize = 512;

/// What the bridge says itself in an authorization request (RFC 6749, section 4.1.1; RFC 7636; RFC 9101; RFC 9449).
const AUTHORIZE_RESERVED: [&str; 14] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "request",
    "request_uri",
    "dpop_jkt",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
];

/// What the bridge says itself in a token request (RFC 6749, sections 4 and 6; RFC 7521; RFC 7636; RFC 8628).
const TOKEN_RESERVED: [&str; 14] = [
    "grant_type",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "code",
    "code_verifier",
    "redirect_uri",
    "refresh_token",
    "scope",
    "assertion",
    "device_code",
    "username",
    "password",
];

/// Read a provider. `None` if something is wrong with it; that has been reported then.
pub(crate) fn read(reader: &mut Reader<'_>, entry: &Entry, path: &str) -> Option<Provider> {
    if !document::is_name(&entry.key, b"-_") {
        let message = format!(
            "{:?} cannot be the name of a provider: names have up to 64 small letters, digits, - and _",
            short(&entry.key)
        );
        reader.error(Code::InvalidName, path, entry.key_at, message);
    }
    let own = reader.table(&entry.node, path, &known_keys(reader))?;
    let chosen = preset::chosen(reader, &own)?;
    let written = chosen.map_or_else(|| entry.node.clone(), |chosen| chosen.fill_in(&own));
    let fields = reader.any_table(&written, path)?;
    let preset = match chosen {
        Some(chosen) => Some(chosen.preset.name.clone()),
        None => reader.optional(&fields, "preset").map(|found| found.value().to_owned()),
    };
    let needs = chosen.and_then(|chosen| chosen.preset.needs.as_deref());
    let provider = declaration(reader, &fields, &entry.key, preset)?;
    rules::check(reader, &fields, &provider, needs);
    Some(provider)
}

/// A document that is stored has everything filled in already, and only says what it was filled in with.
fn known_keys(reader: &Reader<'_>) -> Vec<&'static str> {
    let origin: &[&str] = if reader.has_text() { &["use"] } else { &["use", "preset"] };
    origin.iter().chain(&KEYS).copied().collect()
}

/// `None` where a word that decides what else belongs here could not be read: what follows from it would only mislead.
fn declaration(reader: &mut Reader<'_>, fields: &Fields<'_>, name: &str, preset: Option<String>) -> Option<Provider> {
    let grant = chosen_word(reader, fields, "grant", Grant::ALL, Grant::as_str, Grant::AuthorizationCode);
    let default_auth = match (grant, fields.entry("secret")) {
        (Some(Grant::JwtBearer), _) | (_, None) => ClientAuth::None,
        _ => ClientAuth::Basic,
    };
    let client_auth = chosen_word(reader, fields, "client_auth", ClientAuth::ALL, ClientAuth::as_str, default_auth);
    let can_revoke = fields.entry("revoke_url").is_some() || fields.entry("issuer").is_some();
    let default_revocation = if can_revoke { Revocation::Rfc7009 } else { Revocation::Never };
    let revocation = chosen_word(reader, fields, "revocation", Revocation::ALL, Revocation::as_str, default_revocation);

    let parameters = parameters(reader, fields);
    let mut templates = Templates::new(&parameters);
    let title = title(reader, fields, name);
    let issuer = templates.issuer(reader, fields);
    let authorize_url = templates.address(reader, fields, "authorize_url");
    let token_url = templates.address(reader, fields, "token_url");
    let revoke_url = templates.address(reader, fields, "revoke_url");
    let device_url = templates.address(reader, fields, "device_url");
    let test_url = templates.address(reader, fields, "test_url");
    let client_id = client_id(reader, fields);
    let secret = reader.optional(fields, "secret");
    if let Some(found) = &secret {
        secret_name(reader, found);
    }
    let scope_separator = scope_separator(reader, fields);
    let scopes = scopes(reader, fields, "scopes", &scope_separator, &mut templates);
    let optional_scopes = scopes_beside(reader, fields, &scopes, &scope_separator, &mut templates);
    let authorize_params = request_params(reader, fields, "authorize_params", &AUTHORIZE_RESERVED, &mut templates);
    let token_params = request_params(reader, fields, "token_params", &TOKEN_RESERVED, &mut templates);
    let token_body = chosen_word(reader, fields, "token_body", TokenBody::ALL, TokenBody::as_str, TokenBody::Form);
    let token_at = reader.optional(fields, "token_at").map(|found| field_path(reader, &found));
    let keep = keep(reader, fields);
    let token_lifetime = lifetime(reader, fields, "token_lifetime", 30, 400 * 86_400);
    let refresh_before = lifetime(reader, fields, "refresh_before", 0, 86_400);
    let wait = lifetime(reader, fields, "wait", 0, 14 * 86_400);
    let iss = chosen_word(reader, fields, "iss", IssuerCheck::ALL, IssuerCheck::as_str, IssuerCheck::IfPresent);
    let jwt = jwt(reader, fields, &mut templates);
    let dpop = reader.boolean(fields, "dpop");
    let tls = tls(reader, fields);
    let uses_pkce = match fields.entry("pkce") {
        Some(_) => reader.boolean(fields, "pkce"),
        None => grant == Some(Grant::AuthorizationCode),
    };
    templates.report_unused(reader, fields);
    let is_anonymous = grant == Some(Grant::JwtBearer) && client_auth == Some(ClientAuth::None);
    if fields.entry("client_id").is_none() && (!is_anonymous || templates.uses_client_id()) {
        let message = format!("{} has no client_id", fields.path);
        reader.error(Code::MissingKey, &fields.path_of("client_id"), fields.at, message);
    }
    Some(Provider {
        preset,
        title,
        grant: grant?,
        issuer,
        authorize_url,
        token_url,
        revoke_url,
        device_url,
        test_url,
        client_id,
        client_auth: client_auth?,
        secret: secret.map(|found| found.value().to_owned()),
        scopes,
        optional_scopes,
        scope_separator,
        pkce: uses_pkce,
        authorize_params,
        token_params,
        token_body: token_body?,
        token_at,
        keep,
        token_lifetime,
        refresh_before: refresh_before.unwrap_or(Lifetime::of_seconds(300)),
        wait: wait.unwrap_or(Lifetime::of_seconds(86_400)),
        iss: iss?,
        revocation: revocation?,
        jwt,
        dpop,
        tls,
        parameters,
    })
}

/// A word; `default` where it is not there, `None` where it is none of those that the key takes.
fn chosen_word<T: Copy>(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    key: &str,
    all: &'static [T],
    text_of: fn(T) -> &'static str,
    default: T,
) -> Option<T> {
    if fields.entry(key).is_none() { Some(default) } else { word(reader, fields, key, all, text_of, false) }
}

fn title(reader: &mut Reader<'_>, fields: &Fields<'_>, name: &str) -> String {
    let Some(found) = reader.optional(fields, "title") else { return name.to_owned() };
    let title = found.value();
    if title.trim().is_empty() || title.chars().count() > MAX_TITLE_CHARS || title.chars().any(char::is_control) {
        let message = format!("{} must be 1 to {MAX_TITLE_CHARS} characters on one line", found.path);
        reader.error(Code::InvalidValue, &found.path, found.at, message);
    }
    title.to_owned()
}

/// Left out it is empty. Only where an assertion is all that counts, that is right.
fn client_id(reader: &mut Reader<'_>, fields: &Fields<'_>) -> String {
    let Some(found) = reader.optional(fields, "client_id") else { return String::new() };
    if header::looks_like_a_secret(found.value()) {
        let message = format!("{} identifies the client and is public, and this looks like a secret", found.path);
        reader.error(Code::SecretInConfig, &found.path, found.at, message).suggestion = Some(format!(
            "put it in a secret called {SECRETS}NAME, and name that in secret; it is public now, so replace it"
        ));
    } else if found.value().is_empty() || !is_text(found.value()) {
        let message = format!("{} must be 1 to {MAX_TEXT_BYTES} visible ASCII characters and spaces", found.path);
        reader.error(Code::InvalidValue, &found.path, found.at, message);
    }
    found.value().to_owned()
}

/// Whether it can be the value of a parameter (RFC 6749, appendix A).
fn is_text(text: &str) -> bool {
    text.len() <= MAX_TEXT_BYTES && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn scope_separator(reader: &mut Reader<'_>, fields: &Fields<'_>) -> String {
    const SEPARATORS: [&str; 4] = [" ", ",", ";", "|"];
    let Some(found) = reader.optional(fields, "scope_separator") else { return " ".to_owned() };
    if !SEPARATORS.contains(&found.value()) {
        let message = format!("{} must be a space, a comma, a semicolon or a bar", found.path);
        reader.error(Code::InvalidValue, &found.path, found.at, message);
        return " ".to_owned();
    }
    found.value().to_owned()
}

/// A list of scopes, each by itself (RFC 6749, section 3.3).
fn scopes(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    key: &str,
    separator: &str,
    templates: &mut Templates<'_>,
) -> Vec<String> {
    let mut scopes: Vec<String> = Vec::new();
    for found in texts(reader, fields, key, MAX_SCOPES) {
        let scope = found.value();
        let is_token = |byte: u8| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~');
        if scope.contains(separator) || scope.contains(' ') {
            let message = format!("{} holds what stands between two scopes", found.path);
            reader.error(Code::InvalidValue, &found.path, found.at, message).suggestion =
                Some("write each scope as a string of its own".to_owned());
        } else if scope.is_empty() || scope.len() > MAX_TEXT_BYTES || !scope.bytes().all(is_token) {
            let message =
                format!("{} must be a scope: 1 to {MAX_TEXT_BYTES} visible ASCII characters but \" and \\", found.path);
            reader.error(Code::InvalidValue, &found.path, found.at, message);
        } else if scopes.iter().any(|other| other == scope) {
            let message = format!("{} is there twice", found.path);
            reader.error(Code::InvalidValue, &found.path, found.at, message);
        } else if !credential(reader, "", &found) && templates.text(reader, &found) {
            scopes.push(scope.to_owned());
        }
    }
    scopes
}

fn scopes_beside(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    scopes_of_all: &[String],
    separator: &str,
    templates: &mut Templates<'_>,
) -> Vec<String> {
    // Somebody who insists on a scope that a ready-made declaration does not insist on says so once.
    let mut optional = scopes(reader, fields, "optional_scopes", separator, templates);
    optional.retain(|scope| !scopes_of_all.contains(scope));
    optional
}

/// An array of strings.
fn texts<'n>(reader: &mut Reader<'_>, fields: &Fields<'n>, key: &str, max: usize) -> Vec<Found<'n>> {
    let Some(entry) = fields.entry(key) else { return Vec::new() };
    let path = fields.path_of(key);
    let Some(items) = reader.array(&entry.node, &path, "an array of strings") else { return Vec::new() };
    if items.len() > max {
        reader.error(Code::TooLarge, &path, entry.node.at, format!("{path} has more than {max} items"));
        return Vec::new();
    }
    let read = items.iter().enumerate().map(|(index, item)| reader.text(item, &format!("{path}[{index}]")));
    read.collect::<Vec<_>>().into_iter().flatten().collect()
}

/// Further parameters of a request, by name. One that is empty is left out: so a document takes away what a ready-made declaration adds.
fn request_params(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    key: &str,
    reserved: &[&str],
    templates: &mut Templates<'_>,
) -> BTreeMap<String, String> {
    let mut params = BTreeMap::new();
    for (name, key_at, found) in named_texts(reader, fields, key) {
        if reserved.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            let message = format!("{} is what the bridge says itself", found.path);
            reader.error(Code::ReservedParameter, &found.path, key_at, message).suggestion =
                (name == "scope").then(|| "name scopes in scopes".to_owned());
            continue;
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.[]:".contains(&byte);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(is_name) {
            let message = format!("{} must be the name of a parameter: letters, digits and -_.[]:", found.path);
            reader.error(Code::InvalidName, &found.path, key_at, message);
            continue;
        }
        if credential(reader, name, &found) {
            continue;
        }
        if name == "response_mode" && !["query", "form_post"].contains(&found.value()) {
            let message = format!("{} is none of query, form_post, which the bridge can read", found.path);
            reader.error(Code::InvalidValue, &found.path, found.at, message);
            continue;
        }
        if !is_text(found.value()) {
            let message = format!("{} must be up to {MAX_TEXT_BYTES} visible ASCII characters and spaces", found.path);
            reader.error(Code::InvalidValue, &found.path, found.at, message);
        } else if templates.text(reader, &found) && !found.value().is_empty() {
            params.insert(name.to_owned(), found.value().to_owned());
        }
    }
    params
}

/// A table of strings.
fn named_texts<'n>(
    reader: &mut Reader<'_>,
    fields: &Fields<'n>,
    key: &str,
) -> Vec<(&'n str, Option<usize>, Found<'n>)> {
    let Some(entry) = fields.entry(key) else { return Vec::new() };
    let path = fields.path_of(key);
    let Some(table) = reader.any_table(&entry.node, &path) else { return Vec::new() };
    if table.entries().len() > MAX_PARAMETERS {
        let message = format!("{path} has more than {MAX_PARAMETERS} keys");
        reader.error(Code::TooLarge, &path, entry.key_at, message);
        return Vec::new();
    }
    let mut named = Vec::new();
    for Entry { key, key_at, node } in table.entries() {
        named.extend(reader.text(node, &table.path_of(key)).map(|found| (key.as_str(), *key_at, found)));
    }
    named
}

/// `parameters`: the values of names in addresses and texts. An empty one must be set by each account.
fn parameters(reader: &mut Reader<'_>, fields: &Fields<'_>) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    for (name, key_at, found) in named_texts(reader, fields, "parameters") {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || name.len() > 32 || !name.bytes().all(is_name) || name == text::CLIENT_ID {
            let message = format!(
                "{:?} cannot be the name of a parameter: names have up to 32 letters, digits and _, and client_id is taken",
                short(name)
            );
            reader.error(Code::InvalidName, &found.path, key_at, message);
        } else if !credential(reader, name, &found) {
            if let Err(error) = account::check_value(name, found.value()) {
                reader.error(Code::InvalidValue, &found.path, found.at, format!("{}: {error}", fields.path));
            }
            parameters.insert(name.to_owned(), found.value().to_owned());
        }
    }
    parameters
}

/// `keep`: fields of a token response that are shown with the connection.
fn keep(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Vec<String> {
    let mut kept = Vec::new();
    for found in texts(reader, fields, "keep", MAX_KEPT) {
        let path = field_path(reader, &found);
        let is_credential =
            |name: &str| header::is_for_credentials(name) || header::may_be_for_credentials(name) || name == "code";
        if path.split('.').any(is_credential) {
            let message = format!("{} is a credential, and what is kept is stored in a table and shown", found.path);
            reader.error(Code::InvalidValue, &found.path, found.at, message);
        } else {
            kept.push(path);
        }
    }
    kept
}

/// A time within a range of seconds.
pub(crate) fn lifetime(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    key: &str,
    min: u32,
    max: u32,
) -> Option<Lifetime> {
    let range = (Lifetime::of_seconds(min), Lifetime::of_seconds(max));
    let form = "a whole number of s, m, h or d, such as \"5m\"";
    let found = unit::<Lifetime>(reader, fields, key, Code::InvalidDuration, form, range)?;
    if !(range.0..=range.1).contains(&found) {
        let path = fields.path_of(key);
        let message = format!("{path} must be from {} to {}, not {found}", range.0, range.1);
        let at = fields.entry(key).and_then(|entry| entry.node.at);
        reader.error(Code::OutOfRange, &path, at, message);
        return None;
    }
    Some(found)
}

/// `jwt`: how assertions are made.
fn jwt(reader: &mut Reader<'_>, fields: &Fields<'_>, templates: &mut Templates<'_>) -> Option<Jwt> {
    let entry = fields.entry("jwt")?;
    let keys = ["algorithm", "key_id", "issuer", "subject", "audience", "scope_claim"];
    let jwt = reader.table(&entry.node, &fields.path_of("jwt"), &keys)?;
    let algorithm = chosen_word(reader, &jwt, "algorithm", Assertion::ALL, Assertion::as_str, Assertion::Rs256)?;
    let mut text = |reader: &mut Reader<'_>, key: &str| {
        let found = reader.optional(&jwt, key)?;
        if found.value().is_empty() || !is_text(found.value()) {
            let message = format!("{} must be 1 to {MAX_TEXT_BYTES} visible ASCII characters and spaces", found.path);
            reader.error(Code::InvalidValue, &found.path, found.at, message);
        } else if !credential(reader, "", &found) {
            templates.text(reader, &found);
        }
        Some(found.value().to_owned())
    };
    let issuer = text(reader, "issuer");
    let subject = text(reader, "subject");
    let audience = text(reader, "audience");
    let key_id = text(reader, "key_id");
    Some(Jwt { algorithm, key_id, issuer, subject, audience, scope_claim: reader.boolean(&jwt, "scope_claim") })
}

/// `tls`: the names of two secrets, one at least.
fn tls(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Tls> {
    let entry = fields.entry("tls")?;
    let path = fields.path_of("tls");
    let tls = reader.table(&entry.node, &path, &["secret", "ca"])?;
    let secret = reader.optional(&tls, "secret");
    let ca = reader.optional(&tls, "ca");
    for found in [&secret, &ca].into_iter().flatten() {
        secret_name(reader, found);
    }
    if tls.entry("secret").is_none() && tls.entry("ca").is_none() {
        let message =
            format!("{path} has no secret, with the certificate to show, and no ca, with the authority to trust");
        reader.error(Code::MissingKey, &tls.path_of("secret"), tls.at, message);
    }
    let name = |found: Option<Found<'_>>| found.map(|found| found.value().to_owned());
    Some(Tls { secret: name(secret), ca: name(ca) })
}

#[cfg(test)]
#[path = "provider_tests.rs"]
mod tests;
