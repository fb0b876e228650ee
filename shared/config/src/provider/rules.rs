//! What of a provider goes together, and what does not.

use crate::diagnostic::Code;
use crate::model::{ClientAuth, Grant, IssuerCheck, Provider, Revocation};
use crate::reader::{Fields, Reader};

/// Report what contradicts itself or is missing. `needs` is what a ready-made declaration leaves to the document.
pub(super) fn check(reader: &mut Reader<'_>, fields: &Fields<'_>, provider: &Provider, needs: Option<&str>) {
    endpoints(reader, fields, provider, needs);
    client(reader, fields, provider);
    assertions(reader, fields, provider);
    proofs(reader, fields, provider);
    revocation(reader, fields, provider);
    times(reader, fields, provider);
}

/// The addresses that a grant needs, and the settings that mean nothing without another.
fn endpoints(reader: &mut Reader<'_>, fields: &Fields<'_>, provider: &Provider, needs: Option<&str>) {
    let needed: &[&str] = match provider.grant {
        Grant::AuthorizationCode => &["authorize_url", "token_url"],
        Grant::ClientCredentials | Grant::JwtBearer => &["token_url"],
        Grant::DeviceCode => &["device_url", "token_url"],
    };
    if fields.entry("issuer").is_none() {
        for key in needed.iter().filter(|key| fields.entry(key).is_none()) {
            let message = format!(
                "{} has no {key}, which the grant {} needs, and no issuer at which it could be looked up",
                fields.path, provider.grant
            );
            reader.error(Code::MissingKey, &fields.path_of(key), fields.at, message).suggestion =
                needs.map(str::to_owned);
        }
    }
    let others: &[&str] = match provider.grant {
        Grant::AuthorizationCode => &["device_url"],
        Grant::ClientCredentials | Grant::JwtBearer => &["authorize_url", "authorize_params", "device_url"],
        Grant::DeviceCode => &["authorize_url", "authorize_params"],
    };
    for key in others {
        not_allowed(reader, fields, key, &format!("the grant {} has no use for it", provider.grant));
    }
    if provider.grant != Grant::AuthorizationCode {
        if provider.iss == IssuerCheck::Required {
            not_allowed(reader, fields, "iss", "there is no authorization response whose issuer could be checked");
        }
    } else if provider.iss == IssuerCheck::Required && fields.entry("issuer").is_none() {
        let message = format!("{} has no issuer to compare with, and iss requires one", fields.path);
        reader.error(Code::MissingKey, &fields.path_of("issuer"), fields.at, message);
    }
}

fn not_allowed(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str, why: &str) {
    if let Some(entry) = fields.entry(key) {
        let path = fields.path_of(key);
        reader.error(Code::KeyNotAllowed, &path, entry.key_at, format!("{path} does not go here: {why}"));
    }
}

fn missing(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str, why: &str, suggestion: &str) {
    if fields.entry(key).is_none() {
        let message = format!("{} has no {key}: {why}", fields.path);
        reader.error(Code::MissingKey, &fields.path_of(key), fields.at, message).suggestion =
            Some(suggestion.to_owned());
    }
}

/// Report a value that another setting rules out, or the place where it would have to be said otherwise.
fn invalid(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str, message: &str) {
    let at = fields.entry(key).map_or(fields.at, |entry| entry.node.at);
    let path = fields.path_of(key);
    reader.error(Code::InvalidValue, &path, at, format!("{path}: {message}"));
}

/// How the client proves itself, and what it needs for that.
fn client(reader: &mut Reader<'_>, fields: &Fields<'_>, provider: &Provider) {
    let auth = provider.client_auth;
    let signs = auth == ClientAuth::PrivateKeyJwt || provider.grant == Grant::JwtBearer;
    let suggestion = "name it: secret = \"clawbridge/providers/NAME\", and put it there with `clawbridge secret set`";
    match auth {
        _ if signs => missing(reader, fields, "secret", "the key that signs assertions lies in one", suggestion),
        ClientAuth::Basic | ClientAuth::Post => {
            let why = format!("client_auth {auth} proves the client with a client secret");
            missing(reader, fields, "secret", &why, suggestion);
        }
        ClientAuth::None | ClientAuth::PrivateKeyJwt | ClientAuth::Tls => {
            not_allowed(reader, fields, "secret", &format!("with client_auth {auth} nothing uses it"));
        }
    }
    if auth == ClientAuth::Tls && provider.tls.as_ref().is_none_or(|tls| tls.secret.is_none()) {
        let path = format!("{}.secret", fields.path_of("tls"));
        let message = format!("{path} is missing: client_auth tls proves the client with a certificate");
        reader.error(Code::MissingKey, &path, fields.entry("tls").map_or(fields.at, |tls| tls.key_at), message);
    }
    match (provider.grant, auth) {
        (Grant::ClientCredentials, ClientAuth::None) if fields.entry("client_auth").is_none() => {
            missing(
                reader,
                fields,
                "secret",
                "the grant client_credentials is for clients that prove themselves",
                suggestion,
            );
        }
        (Grant::ClientCredentials, ClientAuth::None) => {
            invalid(reader, fields, "client_auth", "the grant client_credentials is for clients that prove themselves");
        }
        (Grant::JwtBearer, ClientAuth::Basic | ClientAuth::Post) => {
            invalid(
                reader,
                fields,
                "client_auth",
                "the secret is the key that signs the grant's assertion, and cannot be a client secret as well",
            );
        }
        _ => {}
    }
}

/// Assertions (RFC 7523), for the client or as the grant.
fn assertions(reader: &mut Reader<'_>, fields: &Fields<'_>, provider: &Provider) {
    let is_grant = provider.grant == Grant::JwtBearer;
    if !is_grant && provider.client_auth != ClientAuth::PrivateKeyJwt {
        not_allowed(reader, fields, "jwt", "only client_auth private_key_jwt and the grant jwt_bearer sign assertions");
        return;
    }
    let example = "say how it signs: jwt = { algorithm = \"RS256\" }";
    missing(reader, fields, "jwt", "assertions are signed", example);
    let Some(entry) = fields.entry("jwt").filter(|_| !is_grant) else { return };
    let Some(jwt) = reader.any_table(&entry.node, &fields.path_of("jwt")) else { return };
    for key in ["issuer", "subject"] {
        not_allowed(reader, &jwt, key, "in the assertion of a client it is the client id (RFC 7523, section 3)");
    }
    if provider.jwt.as_ref().is_some_and(|jwt| jwt.scope_claim) {
        not_allowed(reader, &jwt, "scope_claim", "in the assertion of a client there are no scopes");
    }
}

/// PKCE and DPoP.
fn proofs(reader: &mut Reader<'_>, fields: &Fields<'_>, provider: &Provider) {
    if provider.pkce && provider.grant != Grant::AuthorizationCode {
        not_allowed(reader, fields, "pkce", &format!("the grant {} has no code to protect", provider.grant));
    }
    if provider.grant == Grant::AuthorizationCode && provider.client_auth == ClientAuth::None && !provider.pkce {
        let message =
            "a client that proves nothing needs it, or whoever sees a code can use it (RFC 9700, section 2.1.1)";
        invalid(reader, fields, "pkce", message);
    }
    let revoked_as_bearer = matches!(provider.revocation, Revocation::Bearer | Revocation::Shopify);
    if provider.dpop && revoked_as_bearer {
        let message =
            format!("revocation {} sends the token alone, which a bound token does not allow", provider.revocation);
        invalid(reader, fields, "dpop", &message);
    }
}

fn revocation(reader: &mut Reader<'_>, fields: &Fields<'_>, provider: &Provider) {
    let kind = provider.revocation;
    if kind == Revocation::Never {
        not_allowed(reader, fields, "revoke_url", "revocation never asks nobody");
        return;
    }
    let can_be_found = kind == Revocation::Rfc7009 && fields.entry("issuer").is_some();
    if !can_be_found {
        let why = format!("revocation {kind} asks at an address");
        missing(reader, fields, "revoke_url", &why, "name it, or say revocation = \"never\"");
    }
    let has_client_secret = matches!(provider.client_auth, ClientAuth::Basic | ClientAuth::Post);
    if matches!(kind, Revocation::Github | Revocation::Deauthorize) && !has_client_secret {
        invalid(
            reader,
            fields,
            "revocation",
            &format!("{kind} proves the client with a client secret, and there is none"),
        );
    }
    if kind == Revocation::Deauthorize && !provider.keep.iter().any(|kept| kept == "stripe_user_id") {
        invalid(
            reader,
            fields,
            "keep",
            "revocation deauthorize names the account, so keep must have \"stripe_user_id\"",
        );
    }
}

fn times(reader: &mut Reader<'_>, fields: &Fields<'_>, provider: &Provider) {
    if let Some(lifetime) = provider.token_lifetime
        && provider.refresh_before >= lifetime
    {
        let key = if fields.entry("refresh_before").is_some() { "refresh_before" } else { "token_lifetime" };
        let path = fields.path_of(key);
        let at = fields.entry(key).map_or(fields.at, |entry| entry.node.at);
        let message = format!(
            "{path}: a token that lives {lifetime} would be refreshed {} before its end, which is at once",
            provider.refresh_before
        );
        reader.error(Code::OutOfRange, &path, at, message).suggestion =
            Some("make refresh_before shorter than token_lifetime".to_owned());
    }
}
