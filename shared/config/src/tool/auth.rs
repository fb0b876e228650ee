//! Reading where a tool's credential is and how it is sent.

use crate::diagnostic::Code;
use crate::header;
use crate::model::{Auth, Carrier, Credential};
use crate::names::{self, is_loopback};
use crate::reader::{Fields, Found, Reader};
use crate::template::{ConnectionTemplate, UrlTemplate};
use crate::tool::request::{Claims, Texts, header_name, parameter_once, secret_in, template_error};

/// Where the secrets lie that tools can read. The functions that call tools are permitted these and no others.
pub(super) const SECRETS: &str = "clawbridge/tools/";

/// `auth`: a header, a query parameter or Basic, with a secret; a header, with a connection's token.
pub(super) fn auth(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    url: Option<&str>,
    parameters: &Texts,
    claims: &mut Claims,
) -> Option<Auth> {
    let entry = fields.entry("auth")?;
    let path = fields.path_of("auth");
    let keys = ["secret", "connection", "header", "prefix", "query", "basic", "user"];
    let auth = reader.table(&entry.node, &path, &keys)?;
    if let Some(connection) = reader.optional(&auth, "connection") {
        return token(reader, &auth, &connection, claims);
    }
    let secret = reader.required(&auth, "secret");
    if let Some(found) = &secret {
        secret_name(reader, found);
    }
    let header = reader.optional(&auth, "header");
    let prefix = reader.optional(&auth, "prefix");
    let query = reader.optional(&auth, "query");
    let is_basic = reader.boolean(&auth, "basic");
    let user = reader.optional(&auth, "user");
    let others: &[&str] = match (&query, is_basic) {
        (Some(_), _) => &["header", "prefix", "basic", "user"],
        (None, true) => &["header", "prefix"],
        (None, false) => &["user"],
    };
    for key in others {
        if let Some(other) = auth.entry(key) {
            let message = format!("{path} has header and prefix, or query, or basic and user: {key} does not go here");
            let at = other.key_at.or(auth.at);
            reader.error(Code::KeyNotAllowed, &auth.path_of(key), at, message);
        }
    }
    let carrier = match (query, is_basic) {
        (Some(found), _) => {
            parameter_name(reader, &found);
            parameter_once(reader, &found, url, parameters);
            Carrier::Query { name: found.value().to_owned() }
        }
        (None, true) => {
            claims.claim(reader, "authorization", &path, entry.node.at);
            if let Some(found) = &user {
                basic_user(reader, found);
            }
            Carrier::Basic { user: user.map(|found| found.value().to_owned()) }
        }
        (None, false) => header_carrier(reader, &auth, header, prefix, claims),
    };
    Some(Auth { credential: Credential::Secret(secret?.value().to_owned()), carrier })
}

/// `connection`: an OAuth access token, which goes into a header and nowhere else (RFC 9700, section 4.3.2).
fn token(reader: &mut Reader<'_>, auth: &Fields<'_>, connection: &Found<'_>, claims: &mut Claims) -> Option<Auth> {
    let mut is_plain = true;
    for key in ["secret", "query", "basic", "user"] {
        if let Some(other) = auth.entry(key) {
            let message = format!(
                "{} has a secret or a connection, and a connection's token goes into a header: {key} does not go here",
                auth.path
            );
            let at = other.key_at.or(auth.at);
            reader.error(Code::KeyNotAllowed, &auth.path_of(key), at, message);
            is_plain = false;
        }
    }
    let template = match ConnectionTemplate::parse(connection.value()) {
        Ok(template) => Some(template),
        Err(error) => {
            template_error(reader, connection, &error, Code::InvalidName);
            None
        }
    };
    let header = reader.optional(auth, "header");
    let prefix = reader.optional(auth, "prefix");
    let carrier = header_carrier(reader, auth, header, prefix, claims);
    template
        .filter(|_| is_plain)
        .map(|_| Auth { credential: Credential::Connection(connection.value().to_owned()), carrier })
}

fn header_carrier(
    reader: &mut Reader<'_>,
    auth: &Fields<'_>,
    header: Option<Found<'_>>,
    prefix: Option<Found<'_>>,
    claims: &mut Claims,
) -> Carrier {
    match &header {
        Some(found) => {
            header_name(reader, found.value(), &found.path, found.at);
            claims.claim(reader, found.value(), &found.path, found.at);
        }
        None => claims.claim(reader, "authorization", &auth.path, auth.at),
    }
    if let Some(found) = &prefix {
        // It ends in a space more often than not, so that is allowed here; the secret follows.
        if found.value().len() > 64
            || !header::is_value(&format!("x{}x", found.value()))
            || found.value().starts_with(' ')
        {
            let message = format!("{} must be up to 64 visible ASCII characters and spaces", found.path);
            reader.error(Code::InvalidHeader, &found.path, found.at, message);
        } else {
            secret_in(reader, "", found.value(), &found.path, found.at, &found.path);
        }
    }
    let name = header.map_or("authorization", |found| found.value());
    let default_prefix = if name.eq_ignore_ascii_case("authorization") { "Bearer " } else { "" };
    Carrier::Header { name: name.to_owned(), prefix: prefix.map_or(default_prefix, |found| found.value()).to_owned() }
}

/// RFC 7617, section 2: a colon would end the user.
fn basic_user(reader: &mut Reader<'_>, found: &Found<'_>) {
    let user = found.value();
    if user.is_empty() || user.len() > 128 || user.contains(':') || !header::is_value(user) {
        let message = format!("{} must be 1 to 128 visible ASCII characters without a colon", found.path);
        reader.error(Code::InvalidValue, &found.path, found.at, message);
    } else {
        secret_in(reader, "", user, &found.path, found.at, &found.path);
    }
}

/// Report what cannot be the name of a query parameter.
pub(super) fn parameter_name(reader: &mut Reader<'_>, found: &Found<'_>) {
    let name = found.value();
    if name.is_empty() || name.len() > 64 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message =
            format!("{} must be the name of a query parameter: up to 64 visible ASCII characters", found.path);
        reader.error(Code::InvalidName, &found.path, found.at, message);
    }
}

/// Report what is not the name of a secret that tools can read.
pub(crate) fn secret_name(reader: &mut Reader<'_>, found: &Found<'_>) {
    names::secret(reader, found, SECRETS, "tools");
}

/// Warn of a secret that is sent without encryption.
pub(crate) fn insecure(reader: &mut Reader<'_>, found: &Found<'_>, url: &UrlTemplate, whose: &str) {
    if !url.origin().starts_with("http:") || is_loopback(url.origin()) {
        return;
    }
    let message = format!("{whose} sends its secret without encryption");
    reader.warning(Code::InsecureUrl, &found.path, found.at, message).suggestion = Some("use https".to_owned());
}
