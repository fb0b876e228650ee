//! Reading where a tool's credential is and how it is sent.

use crate::diagnostic::Code;
use crate::header;
use crate::model::Auth;
use crate::reader::{Fields, Found, Reader};
use crate::template::UrlTemplate;
use crate::tool::request::{Texts, header_name, secret_in, set_once};

/// Where the secrets lie that tools can read. The functions that call tools are permitted these and no others.
pub(super) const SECRETS: &str = "clawbridge/tools/";

pub(super) fn auth(reader: &mut Reader<'_>, fields: &Fields<'_>, headers: &Texts) -> Option<Auth> {
    let entry = fields.entry("auth")?;
    let auth = reader.table(&entry.node, &fields.path_of("auth"), &["secret", "header", "prefix"])?;
    let secret = reader.required(&auth, "secret");
    if let Some(found) = &secret {
        secret_name(reader, found);
    }
    let header = reader.optional(&auth, "header");
    if let Some(found) = &header {
        header_name(reader, found.value(), &found.path, found.at);
        set_once(reader, found, headers);
    }
    let prefix = reader.optional(&auth, "prefix");
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
    let header = header.map_or("authorization", |found| found.value());
    let default_prefix = if header.eq_ignore_ascii_case("authorization") { "Bearer " } else { "" };
    Some(Auth {
        secret: secret?.value().to_owned(),
        header: header.to_owned(),
        prefix: prefix.map_or(default_prefix, |found| found.value()).to_owned(),
    })
}

/// Report what is not the name of a secret that tools can read.
pub(crate) fn secret_name(reader: &mut Reader<'_>, found: &Found<'_>) {
    let name = found.value();
    let is_name = |rest: &str| {
        !rest.is_empty()
            && name.len() <= 256
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte))
    };
    if header::looks_like_a_secret(name) {
        let message = format!("{} is the name of a secret, and this looks like a secret itself", found.path);
        reader.error(Code::SecretInConfig, &found.path, found.at, message).suggestion = Some(format!(
            "put it in a secret called {SECRETS}NAME, and write that name here; it is public now, so replace it"
        ));
    } else if !name.strip_prefix(SECRETS).is_some_and(is_name) {
        // Not repeated: somebody may have written the secret where its name belongs.
        let message = format!("{} must be the name of a secret of tools: {SECRETS}NAME", found.path);
        reader.error(Code::InvalidSecretName, &found.path, found.at, message);
    }
}

/// Warn of a secret that is sent without encryption.
pub(crate) fn insecure(reader: &mut Reader<'_>, found: &Found<'_>, url: &UrlTemplate, whose: &str) {
    if !url.origin().starts_with("http:") || is_local(url.origin()) {
        return;
    }
    let message = format!("{whose} sends its secret without encryption");
    reader.warning(Code::InsecureUrl, &found.path, found.at, message).suggestion = Some("use https".to_owned());
}

fn is_local(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").unwrap_or(origin);
    let host = if host.starts_with('[') { host.split_inclusive(']').next() } else { host.split(':').next() };
    let host = host.unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}
